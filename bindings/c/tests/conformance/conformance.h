#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "script.h"

#include <sys/types.h>

#define SETTINGS_MAX 16
#define VERSIONS_MAX 16

typedef struct listener listener;

/* Where a case stands. */
typedef struct {
  char path[4096];
  /* The words of its option lines; they point into the script. */
  char *settings[SETTINGS_MAX][2];
  size_t setting_count;
  char version_names[VERSIONS_MAX][32];
  uint64_t versions[VERSIONS_MAX];
  size_t version_count;
  kv_clock *clock;
  uint64_t clock_ms;
  kv_db *db;
  kv_session *session;
  kv_watch *watch;
  /* NULL: nobody listens. */
  listener *listener;
  /* The last generated key. */
  uint8_t generated[KV_KEY_BYTES_MAX];
  size_t generated_len;
  /* A redis-server; 0: none. */
  pid_t redis;
} script_case;

/* By the numbers of KV_CAUSE_... */
extern const char *const causes[];

/* Where the case's mirror stands. */
const char *mirror_of(const script_case *c);
/* Of the case's redis-server. */
const char *redis_url_of(const script_case *c);
void redis_down(script_case *c);
int use_tier(script_case *c, char **words, size_t count, text *answer);
/* Keeps a version under the name that is expected, and answers with that. */
void save(script_case *c, uint64_t version, const char *name, text *answer);
int use_files_and_watches(script_case *c, char **words, size_t count, const char *expected, text *answer);
listener *listener_new(void);
/* For stores that are freed. */
void listener_free(listener *l);
/* Lets the listener hear of a store's removals, if there is one. */
void let_hear(kv_options *options, listener *l);
/* What it was told since it was asked last, once that is so many. */
void events(listener *l, size_t count, text *answer);
void add_codec(text *answer, uint32_t codec);
uint64_t version_of(const script_case *c, const char *word);
void answer_status(text *answer, kv_status status);
uint32_t expiry_of(const char *word, uint64_t *ms);
int use_session(script_case *c, char **words, size_t count, text *answer);
int use_codec(const script_case *c, char **words, size_t count, text *answer);
void answer_many(text *answer, const kv_db *db, uint32_t codec, char **words, size_t count);
int32_t load(void *userdata, const void *key, size_t key_len, kv_sink *value);
void answer_owned(text *answer, kv_status status, uint8_t *value, size_t len);
void operate(script_case *c, char **words, size_t count, text *answer);

#endif

/* Users, as values of a codec, which programs in other languages read. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  char name[32];
  unsigned age;
} user;

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

/* A program with a library for JSON has that do it. */
static int to_json(char *json, size_t size, const user *from) {
  return snprintf(json, size, "{\"name\":\"%s\",\"age\":%u}", from->name, from->age);
}

static user from_json(const void *json, size_t len) {
  char text[64];
  user read = {"", 0};
  if (len >= sizeof text) exit(1);
  memcpy(text, json, len);
  text[len] = 0;
  if (sscanf(text, "{\"name\":\"%31[^\"]\",\"age\":%u}", read.name, &read.age) != 2) exit(1);
  return read;
}

static const char *outcome(kv_status status) {
  return status == KV_WRONG_CODEC ? "of another codec" : status == KV_OK ? "read" : "failed";
}

int main(void) {
  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");
  user alice = {"Alice", 30};
  char json[64];
  size_t len = (size_t)to_json(json, sizeof json, &alice);
  kv_set_options options = {0};
  options.codec = KV_CODEC_JSON;
  check(kv_set_with(db, "user:1", 6, json, len, &options, NULL, NULL), "set");

  /* A session edits the bytes, and leaves them their codec. */
  kv_session *session = NULL;
  check(kv_get_and_lock(db, "user:1", 6, KV_WAIT_FOREVER, &session, NULL), "lock");
  const uint8_t *at = NULL;
  check(kv_session_value(session, &at, &len, NULL), "value");
  alice = from_json(at, len);
  alice.age++;
  len = (size_t)to_json(json, sizeof json, &alice);
  check(kv_session_set_value(session, json, len, NULL), "set value");
  check(kv_session_commit(session, 0, NULL, NULL), "commit");
  kv_session_free(session);
  check(kv_get_as(db, "user:1", 6, KV_CODEC_JSON, json, sizeof json, &len, NULL), "get");
  alice = from_json(json, len);
  printf("%s is %u\n", alice.name, alice.age);

  /* What stands there is JSON, and is marked so. Whoever expects another codec is told. */
  printf("%.*s\n", (int)len, json);
  uint32_t codec = KV_CODEC_RAW;
  check(kv_key_codec(db, "user:1", 6, &codec, NULL), "codec");
  printf("codec: %s\n", codec == KV_CODEC_JSON ? "json" : "another");
  kv_status status = kv_get_as(db, "user:1", 6, KV_CODEC_TEXT, json, sizeof json, &len, NULL);
  printf("as text: %s\n", outcome(status));

  /* A plain write marks nothing, so that is no user. */
  check(kv_set(db, "user:2", 6, "{}", 2, NULL), "set");
  status = kv_get_as(db, "user:2", 6, KV_CODEC_JSON, json, sizeof json, &len, NULL);
  printf("raw bytes as JSON: %s\n", outcome(status));
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

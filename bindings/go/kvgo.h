/* What Go calls: each function of kv.h, with what it stores and the error given back as one struct. No pointer to a Go
 * variable crosses, so nothing escapes to Go's heap and nothing has to be checked; bytes cross as uint8_t, which cgo knows to
 * hold no pointers, and the store as a number, which it does not look at. */
#ifndef KVGO_H
#define KVGO_H

#ifdef LIBKV_SYSTEM
#include <kv.h>
#elif defined(__has_include) && !__has_include("libkv.h")
#error "libkv.h is lacking: run `make lib-go` in libkv's tree, or build with -tags libkv_system"
#else
#include "libkv.h"
#endif

#include <stdlib.h>

typedef struct {
  kv_status status;
  kv_error *error;
  void *data;
  size_t len;
  uint64_t number;
} kvgo_answer;

typedef struct {
  kv_status status;
  kv_error *error;
  kv_transferred done;
} kvgo_moved;

typedef struct {
  kv_status status;
  kv_error *error;
  kv_preloaded done;
} kvgo_filled;

typedef struct {
  kv_status status;
  kv_error *error;
  kv_watch_change change;
} kvgo_watched;

/* kvgo.c: threads that are in a callback or hold a pin. */
void kvgo_enter(void);
void kvgo_leave(void);
int kvgo_is_inside(void);
void kvgo_pinned(int change);
int kvgo_is_pinned(void);
int kvgo_is_in_callback(void);
/* Whether it is one that must not call a store; and that this thread is there for those alone. */
int kvgo_is_barred(void);
void kvgo_bar(void);
kv_status kvgo_set_listener(kv_options *options, uintptr_t handle);
kv_status kvgo_set_logger(kv_options *options, uintptr_t handle);
/* weigher.c: what calls a weigher of Go's. */
typedef struct kvgo_weigher kvgo_weigher;
kvgo_weigher *kvgo_weigher_new(uintptr_t handle);
void kvgo_weigher_free(kvgo_weigher *weigher);
int32_t kvgo_ask_weigher(void *weigher, const void *key, size_t key_len, const void *value, size_t value_len,
                         uint32_t *weight);
kv_status kvgo_set_weigher(kv_options *options, kvgo_weigher *weigher);
static inline kv_status kvgo_sink_write(kv_sink *sink, const uint8_t *data, size_t len) {
  return kv_sink_write(sink, data, len);
}
static inline kv_status kvgo_sink_fail(kv_sink *sink, const uint8_t *reason, size_t len) {
  return kv_sink_fail(sink, (const char *)reason, len);
}
kv_status kvgo_set_tier_encoder(kv_options *options, uint32_t numbers, uintptr_t handle);
kvgo_answer kvgo_get_or_load_with(uintptr_t store, const uint8_t *key, size_t key_len, kv_load_options options,
                                  uintptr_t handle);
kvgo_answer kvgo_load_behind(uintptr_t store, const uint8_t *key, size_t key_len, kv_load_options options,
                             uintptr_t handle);
kvgo_answer kvgo_get_or_load(uintptr_t store, const uint8_t *key, size_t key_len, uint32_t expiry, uint64_t expiry_ms,
                             uint32_t codec, uintptr_t handle);
/* Which entries, as the options of a scan. */
#define KVGO_ENTRIES                                                                                                     \
  const uint8_t *prefix, size_t prefix_len, const uint8_t *start, size_t start_len, const uint8_t *end, size_t end_len, \
      size_t limit, uint32_t ordered, uint32_t reverse, uint32_t snapshot
#define KVGO_SCAN_OPTIONS \
  {{prefix, prefix_len}, {start, start_len}, {end, end_len}, limit, ordered, reverse, snapshot}

/* How entries are moved, as options of a transfer. */
#define KVGO_HOW                                                                                                     \
  const uint8_t *key_column, size_t key_column_len, const uint8_t *value_column, size_t value_column_len,           \
      uint64_t total_bytes, uint32_t database, uint32_t skip_unknown
#define KVGO_TRANSFER_OPTIONS \
  {transfer_progress, (void *)handle, {key_column, key_column_len}, {value_column, value_column_len}, total_bytes, database, skip_unknown}

kvgo_moved kvgo_export_to(uintptr_t store, uintptr_t handle, uint32_t format, KVGO_HOW, KVGO_ENTRIES);
kvgo_moved kvgo_import_from(uintptr_t store, uintptr_t handle, uint32_t format, KVGO_HOW);
kvgo_filled kvgo_preload(uintptr_t store, const uint8_t *pattern, size_t pattern_len, uint64_t cursor, uintptr_t handle);

/* kvgo_NAME gives `a`, whose fields `call` fills. */
#define KVGO(name, params, call)                                                                                        \
  static inline kvgo_answer kvgo_##name params {                                                                        \
    kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};                                                                          \
    a.status = (call);                                                                                                  \
    return a;                                                                                                           \
  }
/* KVGO, for calls of the store `db`. */
#define KVGO_DB(name, params, call)                                                                                     \
  static inline kvgo_answer kvgo_##name params {                                                                        \
    const kv_db *db = (const kv_db *)store;                                                                             \
    kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};                                                                          \
    a.status = (call);                                                                                                  \
    return a;                                                                                                           \
  }
#define KVGO_KEY uintptr_t store, const uint8_t *key, size_t key_len

KVGO(options_set, (kv_options * options, const char *name, const char *value),
     kv_options_set(options, name, value, &a.error))
KVGO(open, (const char *path, const kv_options *options), kv_open(path, options, (kv_db **)&a.data, &a.error))
KVGO(open_in_memory, (const kv_options *options), kv_open_in_memory(options, (kv_db **)&a.data, &a.error))
KVGO(close, (uintptr_t store), kv_close((kv_db *)store, &a.error))
static inline kv_status kvgo_db_free(uintptr_t store) { return kv_db_free((kv_db *)store); }

KVGO_DB(get, (KVGO_KEY, uint32_t codec, uint8_t *to, size_t to_len),
     kv_get_as(db, key, key_len, codec, to, to_len, &a.len, &a.error))
/* The length of a value that fits, or the status with its sign turned. Nothing else has to come back in the common case. */
static inline int64_t kvgo_try_get(KVGO_KEY, uint32_t codec, uint8_t *to, size_t to_len) {
  size_t len;
  kv_status status = kv_get_as((const kv_db *)store, key, key_len, codec, to, to_len, &len, NULL);
  return status == KV_OK ? (int64_t)len : -(int64_t)status;
}
KVGO_DB(get_owned, (KVGO_KEY, uint32_t codec),
     kv_get_owned_as(db, key, key_len, codec, (uint8_t **)&a.data, &a.len, &a.error))
static inline kvgo_answer kvgo_key_codec(KVGO_KEY) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  uint32_t codec = 0;
  a.status = kv_key_codec((const kv_db *)store, key, key_len, &codec, &a.error);
  a.number = codec;
  return a;
}
KVGO_DB(contains, (KVGO_KEY), kv_contains(db, key, key_len, &a.error))
KVGO_DB(key_version, (KVGO_KEY), kv_key_version(db, key, key_len, &a.number, &a.error))
KVGO_DB(len, (uintptr_t store), kv_len(db, &a.number, &a.error))

KVGO_DB(set, (KVGO_KEY, const uint8_t *value, size_t value_len), kv_set(db, key, key_len, value, value_len, &a.error))
KVGO_DB(add, (KVGO_KEY, const uint8_t *value, size_t value_len), kv_add(db, key, key_len, value, value_len, &a.error))
KVGO_DB(replace, (KVGO_KEY, const uint8_t *value, size_t value_len),
     kv_replace(db, key, key_len, value, value_len, &a.error))
KVGO_DB(compare_and_swap, (KVGO_KEY, uint64_t version, const uint8_t *value, size_t value_len),
     kv_compare_and_swap(db, key, key_len, version, value, value_len, &a.number, &a.error))
KVGO_DB(increment, (KVGO_KEY, int64_t delta, uint32_t codec),
     kv_increment_as(db, key, key_len, delta, codec, (int64_t *)&a.number, &a.error))
KVGO_DB(delete, (KVGO_KEY), kv_delete(db, key, key_len, &a.error))
KVGO_DB(take, (KVGO_KEY, uint32_t codec), kv_take_as(db, key, key_len, codec, (uint8_t **)&a.data, &a.len, &a.error))
static inline kvgo_answer kvgo_set_with(KVGO_KEY, const uint8_t *value, size_t value_len, uint32_t condition,
                                        uint64_t version, uint32_t expiry, uint64_t expiry_ms, uint32_t codec) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_set_options options = {condition, expiry, expiry_ms, version, codec};
  a.status = kv_set_with((const kv_db *)store, key, key_len, value, value_len, &options, &a.number, &a.error);
  return a;
}

KVGO_DB(expire, (KVGO_KEY, uint64_t ttl_ms), kv_expire(db, key, key_len, ttl_ms, &a.error))
KVGO_DB(expire_at, (KVGO_KEY, uint64_t unix_ms), kv_expire_at(db, key, key_len, unix_ms, &a.error))
KVGO_DB(touch, (KVGO_KEY), kv_touch(db, key, key_len, &a.error))
KVGO_DB(persist, (KVGO_KEY), kv_persist(db, key, key_len, &a.error))
KVGO_DB(ttl, (KVGO_KEY), kv_ttl(db, key, key_len, &a.number, &a.error))

KVGO_DB(clear, (uintptr_t store), kv_clear(db, &a.error))
KVGO_DB(sync, (uintptr_t store), kv_sync(db, &a.error))
KVGO_DB(compact, (uintptr_t store), kv_compact(db, &a.error))
KVGO_DB(sweep, (uintptr_t store), kv_sweep(db, &a.error))
KVGO_DB(pause, (uintptr_t store), kv_pause(db, &a.error))
KVGO_DB(resume, (uintptr_t store), kv_resume(db, &a.error))
KVGO_DB(backup, (uintptr_t store, const char *to), kv_backup(db, to, &a.error))
KVGO_DB(now, (uintptr_t store), kv_now(db, &a.number, &a.error))
KVGO_DB(stats_get, (uintptr_t store, const char *name), kv_stats_get(db, name, &a.number, &a.error))
KVGO_DB(stats_json, (uintptr_t store), kv_stats_json(db, (char **)&a.data, &a.error))
KVGO_DB(stats_prometheus, (uintptr_t store), kv_stats_prometheus(db, (char **)&a.data, &a.error))
KVGO_DB(damage_json, (uintptr_t store), kv_damage_json(db, (char **)&a.data, &a.error))
KVGO_DB(flush, (uintptr_t store, uint64_t timeout_ms), kv_flush(db, timeout_ms, &a.error))
KVGO_DB(tier_stats_json, (uintptr_t store), kv_tier_stats_json(db, (char **)&a.data, &a.error))
KVGO_DB(tier_stats_prometheus, (uintptr_t store), kv_tier_stats_prometheus(db, (char **)&a.data, &a.error))
KVGO_DB(increment_shared, (KVGO_KEY, int64_t delta),
     kv_increment_shared(db, key, key_len, delta, (int64_t *)&a.number, &a.error))
static inline kvgo_answer kvgo_add_shared(KVGO_KEY, const uint8_t *value, size_t value_len, uint32_t expiry,
                                          uint64_t expiry_ms) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_set_options options = {KV_ALWAYS, expiry, expiry_ms, 0, KV_CODEC_RAW};
  a.status = kv_add_shared((const kv_db *)store, key, key_len, value, value_len, &options, &a.error);
  return a;
}
static inline kvgo_answer kvgo_compare_and_swap_shared(KVGO_KEY, uint32_t has_expected, const uint8_t *expected,
                                                       size_t expected_len, const uint8_t *value, size_t value_len) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_slice slice = {expected, expected_len};
  a.status = kv_compare_and_swap_shared((const kv_db *)store, key, key_len, has_expected ? &slice : NULL, value,
                                        value_len, &a.error);
  return a;
}
static inline kvgo_answer kvgo_get_loaded(KVGO_KEY, kv_load_options options) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  uint32_t is_due = 0;
  a.status = kv_get_loaded((const kv_db *)store, key, key_len, &options, (uint8_t **)&a.data, &a.len, &is_due,
                           &a.error);
  a.number = is_due;
  return a;
}
KVGO(verify, (const char *path), kv_verify(path, &a.number, (char **)&a.data, &a.error))
KVGO(salvage, (const char *from, const char *to), kv_salvage(from, to, &a.number, (char **)&a.data, &a.error))

static inline kvgo_answer kvgo_pin_open(uintptr_t store) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  a.status = kv_pin_open((const kv_db *)store, (kv_pin **)&a.data, &a.error);
  if (a.status == KV_OK) {
    kvgo_enter();
    kvgo_pinned(1);
  }
  return a;
}
KVGO(pin_get, (const kv_pin *pin, const uint8_t *key, size_t key_len),
     kv_pin_get(pin, key, key_len, (const uint8_t **)&a.data, &a.len, &a.error))
static inline void kvgo_pin_release(kv_pin *pin) {
  kv_pin_release(pin);
  kvgo_pinned(-1);
  kvgo_leave();
}

static inline kvgo_answer kvgo_scan_open(uintptr_t store, KVGO_ENTRIES) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_scan_options options = KVGO_SCAN_OPTIONS;
  a.status = kv_scan_open((const kv_db *)store, &options, (kv_scan **)&a.data, &a.error);
  return a;
}
KVGO(scan_next, (kv_scan * scan, size_t entries_max),
     kv_scan_next(scan, entries_max, (const kv_entry **)&a.data, &a.len, &a.error))

static inline kvgo_moved kvgo_export(uintptr_t store, const char *path, uint32_t format, KVGO_ENTRIES) {
  kvgo_moved m = {KV_OK, NULL, {0, 0, 0, 0, 0, 0, 0}};
  kv_scan_options entries = KVGO_SCAN_OPTIONS;
  m.status = kv_export((const kv_db *)store, path, format, NULL, &entries, &m.done, &m.error);
  return m;
}
static inline kvgo_moved kvgo_import(uintptr_t store, const char *path, uint32_t format) {
  kvgo_moved m = {KV_OK, NULL, {0, 0, 0, 0, 0, 0, 0}};
  m.status = kv_import((const kv_db *)store, path, format, NULL, &m.done, &m.error);
  return m;
}

/* Batches come as one piece of bytes and the lengths of its parts. */
#define KVGO_FEW 128

static inline kv_slice *kvgo_slices(kv_slice *few, const uint8_t *bytes, const size_t *lens, size_t count) {
  kv_slice *slices = count <= KVGO_FEW ? few : (kv_slice *)malloc(count * sizeof *slices);
  if (slices == NULL) return NULL;
  for (size_t at = 0; at < count; at++) {
    slices[at] = (kv_slice){bytes, lens[at]};
    bytes += lens[at];
  }
  return slices;
}

#define KVGO_SLICES(name, call)                                                                                         \
  static inline kvgo_answer kvgo_##name(uintptr_t store, const uint8_t *bytes, const size_t *lens, size_t count) {      \
    const kv_db *db = (const kv_db *)store;                                                                             \
    kvgo_answer a = {KV_NO_MEMORY, NULL, NULL, 0, 0};                                                                   \
    kv_slice few[KVGO_FEW], *slices = kvgo_slices(few, bytes, lens, count);                                             \
    if (slices != NULL) a.status = (call);                                                                              \
    if (slices != few) free(slices);                                                                                    \
    return a;                                                                                                           \
  }

static inline kvgo_answer kvgo_get_many(uintptr_t store, const uint8_t *bytes, const size_t *lens, size_t count,
                                        uint32_t codec) {
  kvgo_answer a = {KV_NO_MEMORY, NULL, NULL, 0, 0};
  kv_slice few[KVGO_FEW], *slices = kvgo_slices(few, bytes, lens, count);
  if (slices != NULL)
    a.status = kv_get_many_as((const kv_db *)store, slices, count, codec, (kv_slice **)&a.data, &a.error);
  if (slices != few) free(slices);
  return a;
}
KVGO_SLICES(delete_many, kv_delete_many(db, slices, count, &a.len, &a.error))
/* `count` slices, a key and its value in turn: a kv_pair is two slices. */
_Static_assert(sizeof(kv_pair) == 2 * sizeof(kv_slice), "a kv_pair is two slices");
KVGO_SLICES(set_many, kv_set_many(db, (const kv_pair *)slices, count / 2, &a.error))

/* A kv_change without its bytes. */
typedef struct {
  size_t key_len;
  size_t value_len;
  uint64_t expiry_ms;
  uint32_t kind;
  uint32_t expiry;
  uint32_t codec;
} kvgo_change;

static inline kvgo_answer kvgo_apply(uintptr_t store, const uint8_t *bytes, const kvgo_change *parts, size_t count) {
  kvgo_answer a = {KV_NO_MEMORY, NULL, NULL, 0, 0};
  kv_change *changes = (kv_change *)malloc((count + 1) * sizeof *changes);
  if (changes == NULL) return a;
  for (size_t at = 0; at < count; at++) {
    const kvgo_change *part = &parts[at];
    const uint8_t *value = bytes + part->key_len;
    changes[at] = (kv_change){
        {bytes, part->key_len}, {value, part->value_len}, part->kind, part->expiry, part->expiry_ms, part->codec};
    bytes = value + part->value_len;
  }
  a.status = kv_apply((const kv_db *)store, changes, count, &a.error);
  free(changes);
  return a;
}

/* Sessions: Go's own table says who waits, so the library's locks are only tried. */
KVGO_DB(get_and_lock, (KVGO_KEY), kv_get_and_lock(db, key, key_len, 0, (kv_session **)&a.data, &a.error))
static inline kvgo_answer kvgo_create_and_lock(KVGO_KEY, uint32_t allow_existing, const uint8_t *initial,
                                               size_t initial_len) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_create_options options = {allow_existing, {initial, initial_len}};
  a.status = kv_create_and_lock((const kv_db *)store, key, key_len, 0, &options, (kv_session **)&a.data, &a.error);
  return a;
}
KVGO(session_version, (const kv_session *session), kv_session_version(session, &a.number, &a.error))
KVGO(session_value, (const kv_session *session),
     kv_session_value(session, (const uint8_t **)&a.data, &a.len, &a.error))
KVGO(session_metadata, (const kv_session *session),
     kv_session_metadata(session, (kv_pair **)&a.data, &a.len, &a.error))
static inline kvgo_answer kvgo_session_codec(const kv_session *session) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  uint32_t codec = 0;
  a.status = kv_session_codec(session, &codec, &a.error);
  a.number = codec;
  return a;
}
KVGO_DB(watch_open, (uintptr_t store, const uint8_t *prefix, size_t prefix_len, uint64_t after),
     kv_watch_open(db, prefix, prefix_len, after, (kv_watch **)&a.data, &a.error))
KVGO(watch_position, (const kv_watch *watch), kv_watch_position(watch, &a.number, &a.error))
static inline kvgo_watched kvgo_watch_next(kv_watch *watch, uint64_t wait_ms) {
  kvgo_watched w = {KV_OK, NULL, {0}};
  w.status = kv_watch_next(watch, wait_ms, &w.change, &w.error);
  return w;
}
KVGO(session_reload, (kv_session * session), kv_session_reload(session, &a.error))
/* `count` slices, a name and what it holds in turn. The session stays; who called ends it. */
static inline kvgo_answer kvgo_session_commit(kv_session *session, const uint8_t *value, size_t value_len,
                                              const uint8_t *bytes, const size_t *lens, size_t count, uint32_t expiry,
                                              uint64_t expiry_ms, uint32_t codec, uint32_t deletes) {
  kvgo_answer a = {KV_NO_MEMORY, NULL, NULL, 0, 0};
  kv_slice few[KVGO_FEW], *slices = kvgo_slices(few, bytes, lens, count);
  if (slices != NULL) a.status = kv_session_set_metadata(session, (const kv_pair *)slices, count / 2, &a.error);
  if (slices != few) free(slices);
  if (a.status == KV_OK) a.status = kv_session_set_value(session, value, value_len, &a.error);
  if (a.status == KV_OK) a.status = kv_session_set_expiry(session, expiry, expiry_ms, &a.error);
  if (a.status == KV_OK) a.status = kv_session_set_codec(session, codec, &a.error);
  if (a.status == KV_OK)
    a.status = kv_session_commit(session, KV_COMMIT_KEEP | (deletes ? KV_COMMIT_DELETE : 0), &a.number, &a.error);
  return a;
}

typedef struct {
  kvgo_answer value;
  kvgo_answer metadata;
} kvgo_whole;

static inline kvgo_whole kvgo_get_with_metadata(KVGO_KEY, uint32_t codec) {
  kvgo_whole w = {{KV_OK, NULL, NULL, 0, 0}, {KV_OK, NULL, NULL, 0, 0}};
  w.value.status =
      kv_get_with_metadata_as((const kv_db *)store, key, key_len, codec, (uint8_t **)&w.value.data, &w.value.len,
                              (kv_pair **)&w.metadata.data, &w.metadata.len, &w.value.error);
  return w;
}
static inline kvgo_answer kvgo_generate_key(uintptr_t store, const uint8_t *prefix, size_t prefix_len, uint32_t base,
                                            uint32_t width) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_key_options options = {{prefix, prefix_len}, base, width};
  a.status = kv_generate_key((const kv_db *)store, &options, (uint8_t **)&a.data, &a.len, &a.error);
  return a;
}

#endif

/* Call sequences that nobody would write, with every handle of every kind: KV_SEED replays one, KV_CALLS sets how many. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <stdint.h>
#include <time.h>

static uint64_t state;

/* In a fuzzer, what it brings takes the place of the generator; zeros follow. */
static const uint8_t *input;
static size_t input_len;

static uint64_t next_input(void) {
  uint64_t number = 0;
  for (unsigned at = 0; at < 2 && input_len > 0; at++, input_len--) number = number << 8 | *input++;
  return number * 0x9e3779b97f4a7c15;
}

static uint64_t next(void) {
  if (input != NULL) return next_input();
  /* xorshift64 */
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static unsigned below(unsigned limit) { return (unsigned)(next() >> 33) % limit; }

enum kind { DB, OPTIONS, CLOCK, PIN, SCAN, SESSION, ERROR, KINDS };
#define EACH 4

static void *pool[KINDS][EACH];
static unsigned char memory[1 << 17];
static char path[128];

static kv_status release(enum kind kind, void *handle) {
  switch (kind) {
    case DB: return kv_db_free(handle);
    case OPTIONS: return kv_options_free(handle);
    case CLOCK: return kv_clock_free(handle);
    case PIN: return kv_pin_release(handle);
    case SCAN: return kv_scan_free(handle);
    case SESSION: return kv_session_free(handle);
    default: return kv_error_free(handle);
  }
}

static enum kind kind_of(const void *handle) {
  for (unsigned kind = 0; kind < KINDS; kind++) {
    for (unsigned at = 0; at < EACH; at++) {
      if (pool[kind][at] == handle) return (enum kind)kind;
    }
  }
  return KINDS;
}

/* Mostly a handle of that kind, sometimes NULL or one of another. */
static void *pick(enum kind kind) {
  unsigned luck = below(40);
  if (luck == 0) return NULL;
  if (luck == 1) return pool[below(KINDS)][below(EACH)];
  return pool[kind][below(EACH)];
}

static kv_slice bytes(void) {
  kv_slice slice = {memory + below(64), below(12)};
  switch (below(50)) {
    case 0: slice.data = NULL; break;
    case 1: slice = (kv_slice){NULL, 0}; break;
    case 2: slice.len = SIZE_MAX; break;
    case 3: slice.len = SIZE_MAX / 2; break;
    case 4: slice.len = 65536; break;
    case 5: slice.len = 65535; break;
    default: break;
  }
  return slice;
}

/* An output: mostly `at`, sometimes NULL or misaligned. */
static void *out(void *at) {
  unsigned luck = below(60);
  return luck == 0 ? NULL : luck == 1 ? (char *)at + 1 : at;
}

static void keep(enum kind kind, void *handle) {
  void **at = &pool[kind][below(EACH)];
  if (*at != NULL) OK(release(kind, *at));
  *at = handle;
}

static int32_t load(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  kv_slice slice = bytes();
  (void)kv_sink_write(below(20) ? value : (kv_sink *)userdata, slice.data, slice.len);
  if (below(4) == 0) (void)kv_set(userdata, key, key_len, "x", 1, NULL);
  if (below(8) == 0) IS(userdata ? KV_IN_CALLBACK : KV_INVALID_HANDLE, kv_close(userdata, NULL));
  return (int32_t)below(4) - 1;
}

static int32_t write_some(void *userdata, const void *data, size_t len) {
  (void)userdata;
  return len > 0 && data == NULL ? -1 : below(50) == 0;
}

static int32_t read_some(void *userdata, void *data, size_t len, size_t *read) {
  (void)userdata;
  (void)data;
  *read = below(3) ? 0 : len + 1;
  return (int32_t)below(5) - 3;
}

static void *make_copy(const void *data, size_t len) {
  void *made = below(10) ? malloc(len + 1) : NULL;
  if (made) memcpy(made, data, len);
  return made;
}

static void share_copy(void *object) { (void)object; }

static void *slice_at(void *list, size_t index) { return below(20) ? (kv_slice *)list + index : NULL; }

static int32_t bytes_of_slice(void *object, void **data, size_t *len) {
  const kv_slice *slice = object;
  *data = (void *)(uintptr_t)slice->data;
  *len = slice->len;
  return below(20) == 0;
}

static int32_t put_copy(void *list, size_t index, void *object) {
  free(object);
  return list == NULL || index > 3;
}

static kv_status open_one(kv_error **error) {
  kv_db *db = NULL;
  kv_status status;
  kv_options *options = pick(OPTIONS);
  if (below(4) == 0) {
    status = kv_open(below(10) ? path : NULL, options, out(&db), error);
  } else {
    status = kv_open_in_memory(options, out(&db), error);
  }
  CHECK((status == KV_OK) == (db != NULL));
  if (db) keep(DB, db);
  return status;
}

static kv_status set_option(kv_error **error) {
  static const char *names[] = {"mode", "sync", "segment_bytes", "default_ttl", "compression", "recover", "listener_queue",
                                "background", "value_bytes_max", "nonsense", ""};
  static const char *values[] = {"create", "always", "10ms", "65536", "1048576", "none", "1h", "off", "zstd", "zstd:1:10",
                                 "strict", "salvage", "16", "true", "false", "", "\377", "99999999999999999999"};
  kv_options *options = pick(OPTIONS);
  switch (below(9)) {
    case 0: return kv_options_set_mode(options, below(2) * 3);
    case 1: return kv_options_set_sync(options, below(4), below(3) * 50);
    case 2: return kv_options_set_segment_bytes(options, below(3) ? 1 << 20 : next());
    case 3: return kv_options_set_default_ttl(options, below(3) ? 0 : next());
    case 4: return kv_options_set_compression(options, (int32_t)below(40) - 20, below(100));
    case 5: return kv_options_set_clock(options, pick(CLOCK));
    case 6: return kv_options_set_background(options, (int32_t)below(2));
    default: return kv_options_set(options, names[below(11)], values[below(18)], error);
  }
}

/* Waits of a millisecond at most: nobody else would end them. */
static kv_status lock_one(kv_slice key, kv_slice value, kv_error **error) {
  kv_db *db = pick(DB);
  kv_session *session = NULL;
  kv_create_options create = {below(2), value};
  kv_key_options generate = {key, below(70), below(70)};
  kv_status status;
  switch (below(3)) {
    case 0: status = kv_get_and_lock(db, key.data, key.len, below(2), out(&session), error); break;
    case 1:
      status = kv_create_and_lock(db, key.data, key.len, below(2), below(4) ? &create : NULL, out(&session), error);
      break;
    default:
      status = kv_create_generated_and_lock(db, below(4) ? &generate : NULL, value.data, value.len, out(&session), error);
  }
  CHECK((status == KV_OK) == (session != NULL));
  if (session) keep(SESSION, session);
  return status;
}

static kv_status use_session(kv_slice key, kv_slice value, kv_error **error) {
  kv_session *session = pick(SESSION);
  const uint8_t *pinned = NULL;
  uint64_t number = 0;
  size_t len = 0, count = 0;
  uint8_t *owned = NULL;
  kv_pair *pairs = NULL, given[2] = {{key, value}, {value, key}};
  kv_status status = KV_OK;
  switch (below(12)) {
    case 0: return kv_session_key(session, out(&pinned), out(&len), error);
    case 1: return kv_session_value(session, out(&pinned), out(&len), error);
    case 2: return kv_session_version(session, out(&number), error);
    case 3: return kv_session_set_value(session, value.data, value.len, error);
    case 4: return kv_session_set_metadata(session, given, below(3), error);
    case 5: return kv_session_set_expiry(session, below(6), next() >> below(64), error);
    case 6: return kv_session_reload(session, error);
    case 7: return below(4) ? KV_OK : kv_session_rollback(session, error);
    case 8: status = kv_session_metadata(session, out(&pairs), out(&count), error); break;
    case 9:
      status = kv_get_with_metadata(pick(DB), key.data, key.len, out(&owned), out(&len), out(&pairs), out(&count), error);
      break;
    case 10: {
      kv_key_options options = {key, below(70), below(70)};
      status = kv_generate_key(pick(DB), below(4) ? &options : NULL, out(&owned), out(&len), error);
      break;
    }
    default: return kv_session_commit(session, below(9), out(&number), error);
  }
  CHECK(status == KV_OK || (owned == NULL && pairs == NULL));
  for (size_t at = 0; at < count; at++) {
    CHECK((pairs[at].key.data == NULL) == (pairs[at].key.len == 0));
    CHECK((pairs[at].value.data == NULL) == (pairs[at].value.len == 0));
  }
  kv_free(owned);
  kv_free(pairs);
  return status;
}

static kv_status call(kv_error **error) {
  kv_slice key = bytes(), value = bytes();
  kv_db *db = pick(DB);
  size_t len = 0;
  uint64_t number = 0;
  uint8_t *owned = NULL;
  kv_slice *values = NULL;
  char *text = NULL;
  const uint8_t *pinned = NULL;
  const kv_entry *entries = NULL;
  kv_status status;
  kv_set_options how = {below(5), below(6), below(2) ? below(100) : next(), below(2) * number, below(2) ? 0 : below(300)};
  kv_slice keys[3] = {key, value, bytes()};
  kv_scan_options which = {
      .prefix = key,
      .start = below(2) ? value : (kv_slice){NULL, 0},
      .end = below(2) ? value : (kv_slice){NULL, 0},
      .limit = below(20),
      .ordered = below(2),
      .reverse = below(2),
      .snapshot = below(2),
  };
  unsigned count = below(30) ? below(4) : (unsigned)-1;
  switch (below(44)) {
    case 0: return open_one(error);
    case 1: return below(8) ? set_option(error) : kv_close(db, error);
    case 2: {
      enum kind kind = (enum kind)below(KINDS);
      void *handle = pick(kind);
      enum kind real = kind_of(handle);
      status = release(kind, handle);
      CHECK(status == (handle == NULL || real == kind ? KV_OK : KV_INVALID_HANDLE));
      for (unsigned at = 0; at < EACH && status == KV_OK && handle; at++) {
        if (pool[kind][at] == handle) pool[kind][at] = NULL;
      }
      return status;
    }
    case 3: keep(OPTIONS, kv_options_new()); return KV_OK;
    case 4: keep(CLOCK, kv_clock_new(next() >> below(64))); return KV_OK;
    case 5: return kv_clock_advance(pick(CLOCK), next() >> (20 + below(44)));
    case 6: {
      kv_pin *pin = NULL;
      status = kv_pin_open(db, out(&pin), error);
      if (pin) keep(PIN, pin);
      return status;
    }
    case 7: return kv_pin_get(pick(PIN), key.data, key.len, out(&pinned), out(&len), error);
    case 8: {
      kv_scan *scan = NULL;
      status = kv_scan_open(db, below(4) ? &which : NULL, out(&scan), error);
      if (scan) keep(SCAN, scan);
      return status;
    }
    case 9: return kv_scan_next(pick(SCAN), below(5), out(&entries), out(&len), error);
    case 10: return kv_get(db, key.data, key.len, out(memory + 70000), below(40), out(&len), error);
    case 11: return kv_get(db, key.data, key.len, (void *)(uintptr_t)key.data, below(40), out(&len), error);
    case 12:
      status = below(2) ? kv_get_owned(db, key.data, key.len, out(&owned), out(&len), error)
                        : kv_get_owned_as(db, key.data, key.len, below(300), out(&owned), out(&len), error);
      break;
    case 13:
      status = below(2) ? kv_take(db, key.data, key.len, out(&owned), out(&len), error)
                        : kv_take_as(db, key.data, key.len, below(9), out(&owned), out(&len), error);
      break;
    case 14:
      if (below(2)) {
        kv_host host = {below(20) ? make_copy : NULL, below(20) ? share_copy : NULL, slice_at, bytes_of_slice,
                        below(20) ? put_copy : NULL, memory, memory + 1, below(20), below(2) ? 0 : below(300)};
        void *made = below(2) ? kv_get_made(db, key.data, key.len, below(20) ? &host : NULL) : NULL;
        if (made != host.absent && made != host.failed) free(made);
        return kv_get_many_made(db, &host, below(20) ? keys : NULL, memory, 0, count, error);
      }
      status = below(2) ? kv_get_many(db, keys, count, out(&values), error)
                        : kv_get_many_as(db, keys, count, below(9), out(&values), error);
      break;
    case 15: return kv_delete_many(db, keys, count, out(&len), error);
    case 16: {
      kv_pair pairs[3] = {{key, value}, {value, key}, {bytes(), bytes()}};
      return kv_set_many(db, pairs, count, error);
    }
    case 17: {
      kv_change changes[3] = {
          {key, value, below(3), below(6), next(), below(2) ? 0 : below(300)},
          {value, key, 0, 0, 0, KV_CODEC_TEXT},
          {key, key, 1, 0, 0, 0}};
      return kv_apply(db, changes, count, error);
    }
    case 18: return kv_set_with(db, key.data, key.len, value.data, value.len, &how, out(&number), error);
    case 19: return kv_add(db, key.data, key.len, value.data, value.len, error);
    case 20: return kv_replace(db, key.data, key.len, value.data, value.len, error);
    case 21: return kv_compare_and_swap(db, key.data, key.len, next(), value.data, value.len, NULL, error);
    case 22: return kv_increment(db, key.data, key.len, (int64_t)next(), out(&number), error);
    case 23: return kv_delete(db, key.data, key.len, error);
    case 24: return kv_expire(db, key.data, key.len, next() >> below(64), error);
    case 25: return kv_expire_at(db, key.data, key.len, next() >> below(64), error);
    case 26: return below(2) ? kv_touch(db, key.data, key.len, error) : kv_persist(db, key.data, key.len, error);
    case 27: return kv_ttl(db, key.data, key.len, out(&number), error);
    case 28: return kv_key_version(db, key.data, key.len, out(&number), error);
    case 29: return below(2) ? kv_len(db, out(&number), error) : kv_now(db, out(&number), error);
    case 30: return below(20) ? KV_OK : kv_clear(db, error);
    case 31: return below(20) ? KV_OK : kv_compact(db, error);
    case 32: return below(4) ? kv_sweep(db, error) : kv_sync(db, error);
    case 33: return below(2) ? kv_pause(db, error) : kv_resume(db, error);
    case 34: status = below(2) ? kv_stats_json(db, out(&text), error) : kv_damage_json(db, out(&text), error); break;
    case 35:
      if (kind_of(db) != DB) db = NULL;
      status = kv_get_or_load(db, key.data, key.len, below(2) ? &how : NULL, load, db, out(&owned), out(&len), error);
      break;
    case 36: return kv_export_to(db, write_some, NULL, below(3), NULL, &which, NULL, error);
    case 38:
      if (below(20)) return KV_OK;
      status = kv_verify(below(10) ? path : NULL, out(&number), out(&text), error);
      break;
    case 37: return kv_import_from(db, read_some, NULL, below(3), NULL, NULL, error);
    case 39: {
      kv_preloaded done;
      switch (below(4)) {
        case 0: return kv_increment_shared(db, key.data, key.len, (int64_t)next(), out(&number), error);
        case 1: return kv_add_shared(db, key.data, key.len, value.data, value.len, below(2) ? &how : NULL, error);
        case 2: return kv_compare_and_swap_shared(db, key.data, key.len, below(2) ? &keys[2] : NULL, value.data, value.len, error);
        default: return kv_preload(db, key.data, key.len, next(), NULL, NULL, out(&done), error);
      }
    }
    case 40: return lock_one(key, value, error);
    case 41:
    case 42: return use_session(key, value, error);
    default: return kv_set(db, key.data, key.len, value.data, value.len, error);
  }
  CHECK(status == KV_OK || (owned == NULL && values == NULL && text == NULL));
  kv_free(owned);
  kv_free(values);
  kv_free(text);
  return status;
}

static unsigned long seen[128];

static void call_once(void) {
  if (pool[DB][0] == NULL) OK(kv_open_in_memory(NULL, (kv_db **)&pool[DB][0], NULL));
  kv_error *error = NULL;
  kv_status status = call(below(2) ? &error : NULL);
  CHECK(strcmp(kv_strerror(status), "unknown status") != 0 && status != KV_INTERNAL);
  CHECK(error == NULL || status >= KV_INVALID_ARGUMENT);
  seen[status]++;
  if (error) keep(ERROR, error);
}

static void release_all(void) {
  for (unsigned kind = 0; kind < KINDS; kind++) {
    for (unsigned at = 0; at < EACH; at++) {
      OK(release((enum kind)kind, pool[kind][at]));
      pool[kind][at] = NULL;
    }
  }
}

#ifdef KV_FUZZ
static void call_until_the_input_ends(void) {
  strcpy(path, fresh_dir());
  while (input_len > 0) call_once();
  release_all();
}
#else
static void random_calls_give_a_status_and_nothing_worse(void) {
  const char *seed = getenv("KV_SEED"), *calls = getenv("KV_CALLS");
  state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
  unsigned long wanted = calls ? strtoul(calls, NULL, 10) : 100000;
  printf("  KV_SEED=%llu KV_CALLS=%lu\n", (unsigned long long)state, wanted);
  fflush(stdout);
  state |= 1;
  strcpy(path, fresh_dir());
  for (unsigned long at = 0; at < wanted; at++) call_once();
  /* A run in which nothing is ever done, refused or absent would prove little. */
  CHECK(wanted < 1000 || (seen[KV_OK] && seen[KV_NOT_FOUND] && seen[KV_INVALID_ARGUMENT] && seen[KV_INVALID_HANDLE]));
  CHECK(wanted < 100000 || (seen[KV_KEY_LOCKED] && seen[KV_CONFLICT] && seen[KV_SESSION_ENDED]));
  release_all();
}

const test random_tests[] = {
    {"random_calls_give_a_status_and_nothing_worse", random_calls_give_a_status_and_nothing_worse},
    {NULL, NULL},
};
#endif

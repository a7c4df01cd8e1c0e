/* Every operation does what its doc says. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <dirent.h>
#include <stdint.h>

static int holds(const kv_db *db, const char *key, const char *expected) {
  char buffer[256];
  size_t len;
  kv_status status = kv_get(db, key, strlen(key), buffer, sizeof buffer, &len, NULL);
  if (expected == NULL) return status == KV_NOT_FOUND;
  return status == KV_OK && len == strlen(expected) && memcmp(buffer, expected, len) == 0;
}

static void a_value_is_read_into_a_buffer_owned_and_pinned(void) {
  kv_db *db = memory_store();
  size_t len = 77;
  char buffer[8] = "unusedx";
  IS(KV_NOT_FOUND, kv_get(db, S("k"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 77 && strcmp(buffer, "unusedx") == 0);
  OK(kv_set(db, S("k"), S("a longer value"), NULL));
  IS(KV_TOO_SMALL, kv_get(db, S("k"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 14 && strcmp(buffer, "unusedx") == 0);
  IS(KV_TOO_SMALL, kv_get(db, S("k"), NULL, 0, &len, NULL));
  OK(kv_set(db, S("k"), S("v"), NULL));
  OK(kv_get(db, S("k"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 1 && buffer[0] == 'v' && buffer[1] == 'n');

  uint8_t *owned = NULL;
  OK(kv_get_owned(db, S("k"), &owned, &len, NULL));
  CHECK(len == 1 && owned[0] == 'v');
  kv_free(owned);
  OK(kv_set(db, NULL, 0, NULL, 0, NULL));
  OK(kv_get(db, NULL, 0, NULL, 0, &len, NULL));
  CHECK(len == 0);
  OK(kv_get_owned(db, NULL, 0, &owned, &len, NULL));
  CHECK(owned != NULL && len == 0);
  kv_free(owned);
  kv_free(NULL);

  kv_pin *pin = NULL;
  OK(kv_pin_open(db, &pin, NULL));
  const uint8_t *pinned = NULL;
  OK(kv_pin_get(pin, S("k"), &pinned, &len, NULL));
  OK(kv_set(db, S("k"), S("changed"), NULL));
  IS(KV_PINNED, kv_compact(db, NULL));
  IS(KV_PINNED, kv_clear(db, NULL));
  IS(KV_PINNED, kv_sweep(db, NULL));
  CHECK(len == 1 && pinned[0] == 'v');
  IS(KV_NOT_FOUND, kv_pin_get(pin, S("none"), &pinned, &len, NULL));
  OK(kv_pin_release(pin));
  OK(kv_db_free(db));
}

static void a_compressed_value_stays_until_its_pin_goes(void) {
  kv_options *options = kv_options_new();
  OK(kv_options_set_compression(options, 3, 100));
  kv_db *db = NULL;
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_options_free(options));
  static char text[5000];
  memset(text, 'x', sizeof text);
  OK(kv_set(db, S("k"), text, sizeof text, NULL));
  kv_pin *pin = NULL;
  OK(kv_pin_open(db, &pin, NULL));
  const uint8_t *a, *b;
  size_t len;
  OK(kv_pin_get(pin, S("k"), &a, &len, NULL));
  OK(kv_pin_get(pin, S("k"), &b, &len, NULL));
  CHECK(len == sizeof text && memcmp(a, text, len) == 0 && memcmp(b, text, len) == 0);
  OK(kv_pin_release(pin));
  OK(kv_db_free(db));
}

static void conditions_hold_on_the_value_that_is_replaced(void) {
  kv_db *db = memory_store();
  IS(KV_NOT_MET, kv_replace(db, S("k"), S("0"), NULL));
  OK(kv_add(db, S("k"), S("1"), NULL));
  IS(KV_NOT_MET, kv_add(db, S("k"), S("2"), NULL));
  OK(kv_replace(db, S("k"), S("3"), NULL));
  uint64_t version = 0, next = 0;
  OK(kv_key_version(db, S("k"), &version, NULL));
  IS(KV_NOT_MET, kv_compare_and_swap(db, S("k"), version + 8, S("x"), &next, NULL));
  CHECK(next == 0);
  OK(kv_compare_and_swap(db, S("k"), version, S("4"), &next, NULL));
  CHECK(next > version && holds(db, "k", "4"));
  kv_set_options options = {0};
  options.condition = KV_IF_VERSION;
  options.version = version;
  IS(KV_NOT_MET, kv_set_with(db, S("k"), S("5"), &options, NULL, NULL));
  options.version = next;
  OK(kv_set_with(db, S("k"), S("5"), &options, &next, NULL));
  options.condition = 9;
  IS(KV_INVALID_ARGUMENT, kv_set_with(db, S("k"), S("6"), &options, NULL, NULL));
  OK(kv_set_with(db, S("k"), S("7"), NULL, NULL, NULL));
  CHECK(holds(db, "k", "7"));
  OK(kv_contains(db, S("k"), NULL));
  uint8_t *taken;
  size_t len;
  OK(kv_take(db, S("k"), &taken, &len, NULL));
  CHECK(len == 1 && taken[0] == '7');
  kv_free(taken);
  IS(KV_NOT_FOUND, kv_take(db, S("k"), &taken, &len, NULL));
  IS(KV_NOT_FOUND, kv_delete(db, S("k"), NULL));
  IS(KV_NOT_FOUND, kv_contains(db, S("k"), NULL));
  IS(KV_NOT_FOUND, kv_key_version(db, S("k"), &version, NULL));
  OK(kv_db_free(db));
}

static void increments_are_checked(void) {
  kv_db *db = memory_store();
  int64_t sum = 99;
  OK(kv_increment(db, S("n"), 5, &sum, NULL));
  OK(kv_increment(db, S("n"), -7, &sum, NULL));
  CHECK(sum == -2 && holds(db, "n", "-2"));
  OK(kv_set(db, S("n"), S("9223372036854775807"), NULL));
  kv_error *error = NULL;
  IS(KV_OVERFLOW, kv_increment(db, S("n"), 1, &sum, &error));
  CHECK(sum == -2 && kv_error_status(error) == KV_OVERFLOW);
  CHECK(strstr(kv_error_message(error), "9223372036854775807") != NULL);
  OK(kv_error_free(error));
  OK(kv_set(db, S("n"), S("1.5"), NULL));
  IS(KV_NOT_AN_INTEGER, kv_increment(db, S("n"), 1, NULL, NULL));
  OK(kv_db_free(db));
}

static void an_entry_is_gone_the_moment_its_time_is_over(void) {
  kv_clock *clock = kv_clock_new(1700000000000u);
  kv_options *options = kv_options_new();
  OK(kv_options_set_clock(options, clock));
  OK(kv_options_set_default_ttl(options, 5000));
  kv_db *db = NULL;
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_options_free(options));
  uint64_t now = 0, ttl = 0, entries = 0;
  OK(kv_now(db, &now, NULL));
  CHECK(now == 1700000000000u);
  OK(kv_set(db, S("default"), S(""), NULL));
  kv_set_options how = {KV_ALWAYS, KV_EXPIRE_AFTER, 1000, 0, 0};
  OK(kv_set_with(db, S("after"), S(""), &how, NULL, NULL));
  how.expiry = KV_EXPIRE_AT;
  how.expiry_ms = now + 2000;
  OK(kv_set_with(db, S("at"), S(""), &how, NULL, NULL));
  how.expiry_ms = UINT64_MAX;
  OK(kv_set_with(db, S("far"), S(""), &how, NULL, NULL));
  how.expiry = KV_EXPIRE_AFTER;
  OK(kv_set_with(db, S("further"), S(""), &how, NULL, NULL));
  how.expiry = KV_EXPIRE_NEVER;
  OK(kv_set_with(db, S("never"), S(""), &how, NULL, NULL));
  OK(kv_ttl(db, S("default"), &ttl, NULL));
  CHECK(ttl == 5000);
  OK(kv_ttl(db, S("at"), &ttl, NULL));
  CHECK(ttl == 2000);
  OK(kv_ttl(db, S("never"), &ttl, NULL));
  CHECK(ttl == KV_TTL_NEVER);
  OK(kv_clock_advance(clock, 1000));
  IS(KV_NOT_FOUND, kv_ttl(db, S("after"), &ttl, NULL));
  OK(kv_touch(db, S("default"), NULL));
  OK(kv_persist(db, S("at"), NULL));
  OK(kv_clock_advance(clock, 4000));
  CHECK(holds(db, "default", "") && holds(db, "at", "") && holds(db, "far", "") && holds(db, "further", ""));
  OK(kv_expire(db, S("at"), 10, NULL));
  OK(kv_expire_at(db, S("never"), now, NULL));
  IS(KV_NOT_FOUND, kv_contains(db, S("never"), NULL));
  IS(KV_NOT_FOUND, kv_expire(db, S("never"), 10, NULL));
  OK(kv_clock_advance(clock, 60000));
  OK(kv_sweep(db, NULL));
  OK(kv_len(db, &entries, NULL));
  CHECK(entries == 2);
  OK(kv_clock_free(clock));
  OK(kv_db_free(db));
}

/* A host whose lists are arrays and whose objects are counted. */
typedef struct {
  unsigned references;
  size_t len;
  char bytes[16];
} object;

static void *make_object(const void *data, size_t len) {
  object *made = len == 13 ? NULL : calloc(1, sizeof *made);
  if (made) memcpy(made->bytes, data, made->len = len), made->references = 1;
  return made;
}

static void share_object(void *it) {
  if (it) ((object *)it)->references++;
}

static void *object_at(void *list, size_t index) { return ((object **)list)[index]; }

static int32_t bytes_of_object(void *it, void **data, size_t *len) {
  *data = ((object *)it)->bytes;
  *len = ((object *)it)->len;
  return *len == 7;
}

static int32_t put_object(void *list, size_t index, void *it) {
  ((object **)list)[index] = it;
  return index == 6;
}

static void values_are_made_by_the_host(void) {
  kv_db *db = memory_store();
  object absent = {1, 0, ""}, failed = {1, 0, ""};
  kv_host host = {make_object, share_object, object_at, bytes_of_object, put_object, &absent, &failed, 14, 0};
  OK(kv_set(db, S("a"), S("one"), NULL));
  OK(kv_set(db, S("empty"), NULL, 0, NULL));
  OK(kv_set(db, S("long"), S("fifteen letters"), NULL));
  OK(kv_set(db, S("unmade"), S("thirteen ones"), NULL));
  object *made = kv_get_made(db, S("a"), &host);
  CHECK(made->references == 1 && made->len == 3 && memcmp(made->bytes, "one", 3) == 0);
  free(made);
  made = kv_get_made(db, S("empty"), &host);
  CHECK(made->references == 1 && made->len == 0);
  free(made);
  CHECK(kv_get_made(db, S("none"), &host) == &absent && absent.references == 2);
  CHECK(kv_get_made(db, S("long"), &host) == &failed && failed.references == 2);
  CHECK(kv_get_made(NULL, S("a"), &host) == &failed && kv_get_made(db, NULL, 1, &host) == &failed);
  CHECK(kv_get_made(db, "a", KV_KEY_BYTES_MAX + 1, &host) == &failed && failed.references == 5);
  CHECK(kv_get_made(db, S("unmade"), &host) == NULL && kv_get_made(db, S("a"), NULL) == NULL);

  object keys[] = {{1, 1, "a"}, {1, 4, "none"}, {1, 5, "empty"}, {1, 4, "long"}, {1, 7, "refused"}, {1, 6, "unmade"},
                   {1, 1, "a"}};
  object *list[8] = {&keys[0], &keys[1], &keys[2], &keys[3], &keys[4], &keys[5], &keys[6], NULL}, *values[8] = {0};
  OK(kv_get_many_made(db, &host, list, values, 1, 4, NULL));
  CHECK(values[0] == NULL && values[1] == NULL && values[2]->len == 0);
  CHECK(values[3]->len == 15 && memcmp(values[3]->bytes, "fifteen letters", 15) == 0);
  free(values[2]);
  free(values[3]);
  OK(kv_get_many_made(db, &host, list, values, 3, 3, NULL));
  /* Each function of the host fails once; each is lacking once. */
  for (size_t at = 4; at < 8; at++) IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &host, list, values, at, at + 1, NULL));
  free(values[6]);
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, NULL, list, values, 0, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &host, NULL, values, 0, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &host, list, NULL, 0, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &host, list, values, 1, 0, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &host, list, values, 0, (size_t)-1, NULL));
  IS(KV_INVALID_HANDLE, kv_get_many_made(NULL, &host, list, values, 0, 1, NULL));
  static const kv_host none;
  IS(KV_INVALID_ARGUMENT, kv_get_many_made(db, &none, list, values, 0, 1, NULL));
  CHECK(kv_get_made(db, S("a"), &none) == NULL);
  keys[0].len = KV_KEY_BYTES_MAX + 1;
  IS(KV_KEY_TOO_LONG, kv_get_many_made(db, &host, list, values, 0, 1, NULL));
  OK(kv_close(db, NULL));
  CHECK(kv_get_made(db, S("a"), &host) == &failed);
  IS(KV_CLOSED, kv_get_many_made(db, &host, list, values, 0, 1, NULL));
  OK(kv_db_free(db));
}

static void many_keys_cross_in_one_call(void) {
  kv_db *db = memory_store();
  kv_pair pairs[] = {{SLICE("a"), SLICE("1")}, {SLICE("b"), SLICE("")}, {SLICE("a"), SLICE("2")}};
  OK(kv_set_many(db, pairs, 3, NULL));
  kv_slice keys[] = {SLICE("b"), SLICE("none"), SLICE("a")};
  kv_slice *values = NULL;
  OK(kv_get_many(db, keys, 3, &values, NULL));
  CHECK(values[0].data != NULL && values[0].len == 0);
  CHECK(values[1].data == NULL);
  CHECK(values[2].len == 1 && memcmp(values[2].data, "2", 1) == 0);
  kv_free(values);
  OK(kv_get_many(db, NULL, 0, &values, NULL));
  kv_free(values);
  kv_change changes[] = {
      {SLICE("c"), SLICE("3"), KV_CHANGE_SET, KV_EXPIRE_AFTER, 60000, 0},
      {SLICE("a"), {NULL, 0}, KV_CHANGE_DELETE, 0, 0, 0},
  };
  OK(kv_apply(db, changes, 2, NULL));
  uint64_t ttl = 0;
  OK(kv_ttl(db, S("c"), &ttl, NULL));
  CHECK(ttl <= 60000 && holds(db, "a", NULL) && holds(db, "c", "3"));
  changes[0].kind = 7;
  IS(KV_INVALID_ARGUMENT, kv_apply(db, changes, 2, NULL));
  size_t removed = 0;
  OK(kv_delete_many(db, keys, 3, &removed, NULL));
  CHECK(removed == 1);
  OK(kv_set_many(db, NULL, 0, NULL));
  OK(kv_db_free(db));
}

static void a_scan_gives_each_entry_once_and_many_a_call(void) {
  kv_db *db = memory_store();
  for (int n = 0; n < 1000; n++) {
    char key[16];
    int len = snprintf(key, sizeof key, "%c%03d", n % 2 ? 'a' : 'b', n);
    OK(kv_set(db, key, (size_t)len, key, (size_t)len, NULL));
  }
  kv_scan_options options = {.prefix = SLICE("a"), .ordered = 1};
  kv_scan *scan = NULL;
  OK(kv_scan_open(db, &options, &scan, NULL));
  const kv_entry *entries;
  size_t count, seen = 0, calls = 0;
  do {
    OK(kv_scan_next(scan, 64, &entries, &count, NULL));
    calls++;
    for (size_t at = 0; at < count; at++, seen++) {
      char expected[16];
      snprintf(expected, sizeof expected, "a%03d", (int)seen * 2 + 1);
      CHECK(entries[at].key.len == 4 && memcmp(entries[at].key.data, expected, 4) == 0);
      CHECK(memcmp(entries[at].value.data, expected, 4) == 0 && entries[at].version > 0);
    }
  } while (count > 0);
  CHECK(seen == 500 && calls == 9);
  OK(kv_scan_next(scan, SIZE_MAX, &entries, &count, NULL));
  CHECK(count == 0);
  IS(KV_INVALID_ARGUMENT, kv_scan_next(scan, 0, &entries, &count, NULL));
  OK(kv_scan_free(scan));
  options.limit = 7;
  OK(kv_scan_open(db, &options, &scan, NULL));
  OK(kv_scan_next(scan, SIZE_MAX, &entries, &count, NULL));
  CHECK(count == 7);
  OK(kv_scan_free(scan));
  OK(kv_clear(db, NULL));
  uint64_t left = 1;
  OK(kv_len(db, &left, NULL));
  CHECK(left == 0);
  OK(kv_db_free(db));
}

/* Flips a bit of the first place that holds `text`, in any file of the directory, and tells which file that is. */
static int flip_after(const char *path, const char *text, char *file, size_t file_len) {
  static char bytes[1 << 20];
  DIR *dir = opendir(path);
  int flipped = 0;
  for (struct dirent *entry; !flipped && (entry = readdir(dir)) != NULL;) {
    snprintf(file, file_len, "%s/%s", path, entry->d_name);
    FILE *stream = fopen(file, "r+b");
    if (stream == NULL) continue;
    size_t len = fread(bytes, 1, sizeof bytes, stream);
    for (size_t at = 0; !flipped && at + strlen(text) <= len; at++) {
      if (memcmp(bytes + at, text, strlen(text)) != 0) continue;
      bytes[at] ^= 1;
      flipped = fseek(stream, (long)at, SEEK_SET) == 0 && fwrite(bytes + at, 1, 1, stream) == 1;
    }
    fclose(stream);
  }
  closedir(dir);
  return flipped;
}

static void a_store_is_found_again_backed_up_and_locked(void) {
  char path[128], copy[128];
  strcpy(path, fresh_dir());
  strcpy(copy, fresh_dir());
  kv_options *options = kv_options_new();
  OK(kv_options_set_sync(options, KV_SYNC_ALWAYS, 0));
  kv_db *db = NULL, *other = NULL;
  OK(kv_open(path, options, &db, NULL));
  OK(kv_set(db, S("k"), S("v"), NULL));
  OK(kv_sync(db, NULL));
  kv_error *error = NULL;
  IS(KV_LOCKED, kv_open(path, NULL, &other, &error));
  CHECK(strstr(kv_error_message(error), path) != NULL && other == NULL);
  OK(kv_error_free(error));
  OK(kv_backup(db, copy, NULL));
  IS(KV_NOT_A_STORE, kv_backup(db, copy, NULL));
  OK(kv_pause(db, NULL));
  OK(kv_resume(db, NULL));
  OK(kv_compact(db, NULL));
  OK(kv_close(db, NULL));
  OK(kv_db_free(db));
  OK(kv_options_set_mode(options, KV_MODE_MUST_EXIST));
  OK(kv_open(path, options, &db, NULL));
  CHECK(holds(db, "k", "v"));
  OK(kv_db_free(db));
  OK(kv_options_set(options, "mode", "read_only", NULL));
  OK(kv_open(copy, options, &db, NULL));
  CHECK(holds(db, "k", "v"));
  IS(KV_READ_ONLY, kv_set(db, S("k"), S("w"), NULL));
  char *damage = NULL;
  OK(kv_damage_json(db, &damage, NULL));
  CHECK(strcmp(damage, "[]") == 0);
  kv_free(damage);
  OK(kv_db_free(db));
  OK(kv_options_set_mode(options, KV_MODE_MUST_EXIST));
  IS(KV_NOT_A_STORE, kv_open(fresh_dir(), options, &db, NULL));
  OK(kv_options_free(options));
}

static void a_store_is_verified_and_saved_without_being_opened(void) {
  char path[128], saved[128], file[512];
  strcpy(path, fresh_dir());
  strcpy(saved, fresh_dir());
  kv_db *db = NULL;
  OK(kv_open(path, NULL, &db, NULL));
  OK(kv_set(db, S("intact"), S("v"), NULL));
  OK(kv_set(db, S("damaged"), S("needle"), NULL));
  OK(kv_db_free(db));
  uint64_t damaged = 7, entries = 7;
  char *report = NULL;
  OK(kv_verify(path, &damaged, &report, NULL));
  CHECK(damaged == 0 && strstr(report, "\"ok\":true") != NULL && strstr(report, "\"entries\":2") != NULL);
  kv_free(report);
  CHECK(flip_after(path, "needle", file, sizeof file));
  OK(kv_verify(path, &damaged, &report, NULL));
  CHECK(damaged == 1 && strstr(report, "\"offset\"") != NULL && strstr(report, file) != NULL);
  kv_free(report);
  OK(kv_salvage(path, saved, &entries, &report, NULL));
  CHECK(entries == 1 && strstr(report, "\"salvaged\":1") != NULL);
  kv_free(report);
  IS(KV_NOT_A_STORE, kv_salvage(path, saved, NULL, NULL, NULL));
  IS(KV_NOT_A_STORE, kv_verify(fresh_dir(), &damaged, NULL, NULL));
  OK(kv_verify(saved, &damaged, NULL, NULL));
  CHECK(damaged == 0);
  OK(kv_open(saved, NULL, &db, NULL));
  CHECK(holds(db, "intact", "v") && holds(db, "damaged", NULL));
  OK(kv_db_free(db));
}

static void every_option_has_a_name_and_a_setter(void) {
  kv_options *options = kv_options_new();
  const char *good[][2] = {
      {"mode", "create"},           {"sync", "250ms"},          {"sync", "always"},
      {"segment_bytes", "1048576"}, {"value_bytes_max", "100"}, {"default_ttl", "none"},
      {"compression", "zstd:1:64"}, {"recover", "salvage"},     {"listener_queue", "16"},
      {"background", "true"},
  };
  for (size_t at = 0; at < sizeof good / sizeof *good; at++) {
    OK(kv_options_set(options, good[at][0], good[at][1], NULL));
  }
  kv_error *error = NULL;
  IS(KV_INVALID_OPTION, kv_options_set(options, "snyc", "always", &error));
  CHECK(strstr(kv_error_message(error), "known are mode, sync") != NULL);
  OK(kv_error_free(error));
  error = NULL;
  IS(KV_INVALID_OPTION, kv_options_set(options, "sync", "sometimes", &error));
  CHECK(strstr(kv_error_message(error), "sometimes") != NULL);
  OK(kv_error_free(error));
  kv_db *db = NULL;
  OK(kv_open_in_memory(options, &db, NULL));
  char big[200] = {0};
  IS(KV_VALUE_TOO_LONG, kv_set(db, S("k"), big, sizeof big, NULL));
  OK(kv_db_free(db));
  OK(kv_options_set_sync(options, KV_SYNC_EVERY, 0));
  db = NULL;
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, NULL));
  OK(kv_options_set_sync(options, KV_SYNC_NEVER, 0));
  OK(kv_options_set_segment_bytes(options, 1));
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, NULL));
  OK(kv_options_set_segment_bytes(options, 1 << 20));
  OK(kv_options_set_value_bytes_max(options, 1 << 20));
  OK(kv_options_set_recover(options, KV_RECOVER_STRICT));
  OK(kv_options_set_background(options, 0));
  OK(kv_options_set_listener_queue(options, 8));
  OK(kv_options_set_compression(options, 0, SIZE_MAX));
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_db_free(db));
  OK(kv_options_free(options));
}

static void a_store_tells_its_figures(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  uint64_t entries = 0;
  OK(kv_stats_get(db, "entries", &entries, NULL));
  CHECK(entries == 1);
  kv_error *error = NULL;
  IS(KV_INVALID_ARGUMENT, kv_stats_get(db, "entires", &entries, &error));
  CHECK(strstr(kv_error_message(error), "entries") != NULL);
  OK(kv_error_free(error));
  char *text = NULL;
  OK(kv_stats_json(db, &text, NULL));
  CHECK(strncmp(text, "{\"entries\":1,", 13) == 0);
  kv_free(text);
  OK(kv_stats_prometheus(db, &text, NULL));
  CHECK(strstr(text, "\nkv_writes_total 1\n") != NULL);
  kv_free(text);
  OK(kv_db_free(db));
}

static void the_version_is_that_of_the_header(void) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", KV_VERSION_MAJOR, KV_VERSION_MINOR, KV_VERSION_PATCH);
  CHECK(kv_version() == KV_VERSION && strcmp(kv_version_text(), text) == 0);
  CHECK(strcmp(kv_strerror(KV_CLOSED), "the store is closed") == 0);
  CHECK(strcmp(kv_strerror(-1), "unknown status") == 0 && strcmp(kv_strerror(INT32_MAX), "unknown status") == 0);
}

const test operations_tests[] = {
    {"a_value_is_read_into_a_buffer_owned_and_pinned", a_value_is_read_into_a_buffer_owned_and_pinned},
    {"a_compressed_value_stays_until_its_pin_goes", a_compressed_value_stays_until_its_pin_goes},
    {"conditions_hold_on_the_value_that_is_replaced", conditions_hold_on_the_value_that_is_replaced},
    {"increments_are_checked", increments_are_checked},
    {"an_entry_is_gone_the_moment_its_time_is_over", an_entry_is_gone_the_moment_its_time_is_over},
    {"many_keys_cross_in_one_call", many_keys_cross_in_one_call},
    {"values_are_made_by_the_host", values_are_made_by_the_host},
    {"a_scan_gives_each_entry_once_and_many_a_call", a_scan_gives_each_entry_once_and_many_a_call},
    {"a_store_is_found_again_backed_up_and_locked", a_store_is_found_again_backed_up_and_locked},
    {"a_store_is_verified_and_saved_without_being_opened", a_store_is_verified_and_saved_without_being_opened},
    {"every_option_has_a_name_and_a_setter", every_option_has_a_name_and_a_setter},
    {"a_store_tells_its_figures", a_store_tells_its_figures},
    {"the_version_is_that_of_the_header", the_version_is_that_of_the_header},
    {NULL, NULL},
};

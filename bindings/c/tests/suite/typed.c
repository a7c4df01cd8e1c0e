/* Values with their codecs: what one wrote is read by it and by no other. */
#include "check.h"

#include <stdint.h>

/* Of one's own. */
#define DEGREES (KV_CODEC_USER_MIN + 1)

static void set_as(const kv_db *db, const char *key, const char *value, uint32_t codec) {
  kv_set_options options = {.codec = codec};
  OK(kv_set_with(db, key, strlen(key), value, strlen(value), &options, NULL, NULL));
}

static void is_of(const kv_db *db, const char *key, uint32_t expected) {
  uint32_t codec = 99;
  OK(kv_key_codec(db, key, strlen(key), &codec, NULL));
  CHECK(codec == expected);
}

static void a_value_is_read_by_the_codec_that_wrote_it_and_by_no_other(void) {
  kv_db *db = memory_store();
  set_as(db, "json", "{}", KV_CODEC_JSON);
  set_as(db, "own", "21.5", DEGREES);
  OK(kv_set(db, S("raw"), S("{}"), NULL));
  is_of(db, "json", KV_CODEC_JSON);
  is_of(db, "own", DEGREES);
  is_of(db, "raw", KV_CODEC_RAW);
  uint32_t codec = 99;
  IS(KV_NOT_FOUND, kv_key_codec(db, S("none"), &codec, NULL));
  CHECK(codec == 99);
  char buffer[8];
  size_t len = 99;
  OK(kv_get_as(db, S("json"), KV_CODEC_JSON, buffer, sizeof buffer, &len, NULL));
  CHECK(len == 2 && memcmp(buffer, "{}", 2) == 0);
  IS(KV_TOO_SMALL, kv_get_as(db, S("json"), KV_CODEC_JSON, NULL, 0, &len, NULL));
  OK(kv_get_as(db, S("json"), KV_CODEC_RAW, buffer, sizeof buffer, &len, NULL));
  IS(KV_NOT_FOUND, kv_get_as(db, S("none"), KV_CODEC_JSON, buffer, sizeof buffer, &len, NULL));
  kv_error *error = NULL;
  len = 99;
  IS(KV_WRONG_CODEC, kv_get_as(db, S("own"), KV_CODEC_JSON, buffer, sizeof buffer, &len, &error));
  CHECK(len == 99);
  CHECK(strcmp(kv_error_message(error), "the value of a key of 3 bytes was written as 65, not as json") == 0);
  OK(kv_error_free(error));
  IS(KV_WRONG_CODEC, kv_get_as(db, S("raw"), KV_CODEC_JSON, buffer, sizeof buffer, &len, NULL));
  uint8_t *owned = NULL;
  IS(KV_WRONG_CODEC, kv_get_owned_as(db, S("json"), DEGREES, &owned, &len, NULL));
  IS(KV_WRONG_CODEC, kv_take_as(db, S("json"), DEGREES, &owned, &len, NULL));
  CHECK(owned == NULL);
  OK(kv_get_owned_as(db, S("own"), DEGREES, &owned, &len, NULL));
  CHECK(len == 4);
  kv_free(owned);
  OK(kv_take_as(db, S("own"), DEGREES, &owned, &len, NULL));
  CHECK(len == 4 && memcmp(owned, "21.5", 4) == 0);
  kv_free(owned);
  IS(KV_NOT_FOUND, kv_contains(db, S("own"), NULL));
  kv_slice keys[] = {SLICE("json"), SLICE("none"), SLICE("raw")}, *values = NULL;
  OK(kv_get_many_as(db, keys, 2, KV_CODEC_JSON, &values, NULL));
  CHECK(values[0].len == 2 && values[1].data == NULL);
  kv_free(values);
  IS(KV_WRONG_CODEC, kv_get_many_as(db, keys, 3, KV_CODEC_JSON, &values, NULL));
  OK(kv_get_many_as(db, keys, 3, KV_CODEC_RAW, &values, NULL));
  kv_free(values);
  OK(kv_db_free(db));
}

static void a_number_that_no_codec_has_is_refused_and_writes_nothing(void) {
  kv_db *db = memory_store();
  uint32_t numbers[] = {KV_CODEC_PICKLE + 1, KV_CODEC_USER_MIN - 1, KV_CODEC_USER_MAX + 1, 256, UINT32_MAX};
  for (size_t at = 0; at < sizeof numbers / sizeof *numbers; at++) {
    kv_set_options options = {.codec = numbers[at]};
    IS(KV_INVALID_ARGUMENT, kv_set_with(db, S("k"), S("v"), &options, NULL, NULL));
    kv_change change = {.key = SLICE("k"), .value = SLICE("v"), .codec = numbers[at]};
    IS(KV_INVALID_ARGUMENT, kv_apply(db, &change, 1, NULL));
    size_t len;
    IS(KV_INVALID_ARGUMENT, kv_get_as(db, S("k"), numbers[at], NULL, 0, &len, NULL));
  }
  IS(KV_NOT_FOUND, kv_contains(db, S("k"), NULL));
  OK(kv_db_free(db));
}

static void batches_scans_and_sessions_have_the_codec_too(void) {
  kv_db *db = memory_store();
  kv_change changes[] = {
      {SLICE("a"), SLICE("1"), KV_CHANGE_SET, 0, 0, KV_CODEC_JSON},
      {SLICE("b"), SLICE("2"), KV_CHANGE_SET, 0, 0, KV_CODEC_RAW},
  };
  OK(kv_apply(db, changes, 2, NULL));
  int64_t sum;
  OK(kv_increment(db, S("a"), 1, &sum, NULL));
  OK(kv_increment_as(db, S("a"), 1, KV_CODEC_JSON, &sum, NULL));
  CHECK(sum == 3);
  IS(KV_WRONG_CODEC, kv_increment_as(db, S("b"), 1, KV_CODEC_JSON, &sum, NULL));
  OK(kv_increment_as(db, S("n"), 7, KV_CODEC_JSON, &sum, NULL));
  is_of(db, "n", KV_CODEC_JSON);
  OK(kv_delete(db, S("n"), NULL));
  kv_scan_options options = {.ordered = 1};
  kv_scan *scan = NULL;
  const kv_entry *entries = NULL;
  size_t count = 0;
  OK(kv_scan_open(db, &options, &scan, NULL));
  OK(kv_scan_next(scan, 10, &entries, &count, NULL));
  CHECK(count == 2 && entries[0].codec == KV_CODEC_JSON && entries[1].codec == KV_CODEC_RAW);
  OK(kv_scan_free(scan));
  kv_session *session = NULL;
  uint32_t codec = 99;
  OK(kv_get_and_lock(db, S("a"), 0, &session, NULL));
  OK(kv_session_codec(session, &codec, NULL));
  CHECK(codec == KV_CODEC_JSON);
  OK(kv_session_commit(session, KV_COMMIT_KEEP, NULL, NULL));
  is_of(db, "a", KV_CODEC_JSON);
  IS(KV_INVALID_ARGUMENT, kv_session_set_codec(session, 8, NULL));
  OK(kv_session_set_codec(session, KV_CODEC_TEXT, NULL));
  OK(kv_session_commit(session, 0, NULL, NULL));
  IS(KV_SESSION_ENDED, kv_session_set_codec(session, KV_CODEC_TEXT, NULL));
  IS(KV_SESSION_ENDED, kv_session_codec(session, &codec, NULL));
  OK(kv_session_free(session));
  is_of(db, "a", KV_CODEC_TEXT);
  uint8_t *value = NULL;
  size_t len = 0;
  kv_pair *pairs = NULL;
  IS(KV_WRONG_CODEC, kv_get_with_metadata_as(db, S("a"), KV_CODEC_JSON, &value, &len, &pairs, &count, NULL));
  OK(kv_get_with_metadata_as(db, S("a"), KV_CODEC_TEXT, &value, &len, &pairs, &count, NULL));
  kv_free(value);
  kv_free(pairs);
  OK(kv_db_free(db));
}

static int32_t brings_json(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  (void)userdata, (void)key, (void)key_len;
  return (int32_t)kv_sink_write(value, "3", 1);
}

static void what_a_loader_brings_has_the_codec_of_the_options(void) {
  kv_db *db = memory_store();
  kv_set_options options = {.codec = KV_CODEC_JSON};
  uint8_t *value = NULL;
  size_t len = 0;
  OK(kv_get_or_load(db, S("k"), &options, brings_json, NULL, &value, &len, NULL));
  kv_free(value);
  is_of(db, "k", KV_CODEC_JSON);
  value = NULL;
  options.codec = KV_CODEC_TEXT;
  IS(KV_WRONG_CODEC, kv_get_or_load(db, S("k"), &options, brings_json, NULL, &value, &len, NULL));
  kv_load_options how = {.codec = KV_CODEC_TEXT};
  IS(KV_WRONG_CODEC, kv_get_or_load_with(db, S("k"), &how, brings_json, NULL, NULL, &value, &len, NULL));
  uint32_t is_due;
  IS(KV_WRONG_CODEC, kv_get_loaded(db, S("k"), &how, &value, &len, &is_due, NULL));
  CHECK(value == NULL);
  OK(kv_get_or_load_with(db, S("other"), &how, brings_json, NULL, NULL, &value, &len, NULL));
  kv_free(value);
  is_of(db, "other", KV_CODEC_TEXT);
  OK(kv_db_free(db));
}

const test typed_tests[] = {
    TEST(a_value_is_read_by_the_codec_that_wrote_it_and_by_no_other),
    TEST(a_number_that_no_codec_has_is_refused_and_writes_nothing),
    TEST(batches_scans_and_sessions_have_the_codec_too),
    TEST(what_a_loader_brings_has_the_codec_of_the_options),
    {NULL, NULL},
};

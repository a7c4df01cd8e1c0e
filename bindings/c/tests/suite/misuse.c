/* Arguments that no correct program gives. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <stdint.h>

#define HUGE_LEN ((size_t)-1)

static void null_is_refused_everywhere_and_nothing_is_written(void) {
  kv_db *db = memory_store();
  size_t len = 7;
  uint8_t *owned = NULL;
  const uint8_t *pinned = NULL;
  kv_error *error = NULL;
  IS(KV_INVALID_ARGUMENT, kv_open(NULL, NULL, &db, NULL));
  IS(KV_INVALID_ARGUMENT, kv_open("", NULL, &db, NULL));
  IS(KV_INVALID_ARGUMENT, kv_open("x", NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_open_in_memory(NULL, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_close(NULL, &error));
  CHECK(kv_error_status(error) == KV_INVALID_HANDLE);
  OK(kv_error_free(error));
  IS(KV_INVALID_HANDLE, kv_get(NULL, S("k"), NULL, 0, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, S("k"), NULL, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, NULL, 1, NULL, 0, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, S("k"), NULL, 1, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_owned(db, S("k"), NULL, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_owned(db, S("k"), &owned, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_set(db, NULL, 1, S("v"), NULL));
  IS(KV_INVALID_ARGUMENT, kv_set(db, S("k"), NULL, 1, NULL));
  IS(KV_INVALID_HANDLE, kv_set(NULL, S("k"), S("v"), NULL));
  IS(KV_INVALID_ARGUMENT, kv_take(db, S("k"), NULL, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_key_version(db, S("k"), NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_ttl(db, S("k"), NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_len(db, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_now(db, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many(db, NULL, 1, (kv_slice **)&owned, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many(db, NULL, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_set_many(db, NULL, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_delete_many(db, NULL, 1, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_apply(db, NULL, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_scan_open(db, NULL, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_scan_next(NULL, 1, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_pin_open(db, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_pin_get(NULL, S("k"), &pinned, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_backup(db, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_stats_get(db, NULL, (uint64_t *)&len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_stats_get(db, "entries", NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_stats_json(db, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_export(db, NULL, 0, NULL, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_import(db, NULL, 0, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_verify(NULL, (uint64_t *)&len, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_verify("x", NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_salvage(NULL, "x", NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_salvage("x", "", NULL, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_options_set_mode(NULL, 0));
  IS(KV_INVALID_ARGUMENT, kv_options_set(NULL, NULL, "x", NULL));
  IS(KV_INVALID_HANDLE, kv_options_set(NULL, "mode", "create", NULL));
  IS(KV_INVALID_HANDLE, kv_clock_advance(NULL, 1));
  IS(KV_INVALID_HANDLE, kv_sink_write(NULL, S("x")));
  IS(KV_INVALID_HANDLE, kv_error_status(NULL));
  CHECK(kv_error_message(NULL)[0] == 0);
  OK(kv_error_free(NULL));
  OK(kv_options_free(NULL));
  OK(kv_clock_free(NULL));
  OK(kv_db_free(NULL));
  OK(kv_pin_release(NULL));
  OK(kv_scan_free(NULL));
  CHECK(len == 7 && owned == NULL && pinned == NULL);
  uint64_t entries = 1;
  OK(kv_len(db, &entries, NULL));
  CHECK(entries == 0);
  OK(kv_db_free(db));
}

static void lengths_beyond_the_limits_are_refused_unread(void) {
  kv_db *db = memory_store();
  size_t len = 7;
  static char key[KV_KEY_BYTES_MAX + 1];
  OK(kv_set(db, key, KV_KEY_BYTES_MAX, S("v"), NULL));
  kv_error *error = NULL;
  IS(KV_KEY_TOO_LONG, kv_set(db, key, KV_KEY_BYTES_MAX + 1, S("v"), &error));
  CHECK(strstr(kv_error_message(error), "65536") != NULL);
  OK(kv_error_free(error));
  IS(KV_KEY_TOO_LONG, kv_set(db, key, HUGE_LEN, S("v"), NULL));
  IS(KV_KEY_TOO_LONG, kv_get(db, NULL, HUGE_LEN, NULL, 0, &len, NULL));
  IS(KV_KEY_TOO_LONG, kv_delete(db, key, HUGE_LEN / 2, NULL));
  IS(KV_VALUE_TOO_LONG, kv_set(db, S("k"), key, HUGE_LEN, NULL));
  IS(KV_VALUE_TOO_LONG, kv_set(db, S("k"), NULL, HUGE_LEN / 2 + 1, NULL));
  kv_slice slice = {key, HUGE_LEN}, *values = NULL;
  IS(KV_KEY_TOO_LONG, kv_get_many(db, &slice, 1, &values, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many(db, &slice, HUGE_LEN, &values, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_many(db, &slice, KV_COUNT_MAX + 1, &values, NULL));
  kv_pair pair = {SLICE("k"), {key, HUGE_LEN}};
  IS(KV_VALUE_TOO_LONG, kv_set_many(db, &pair, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_set_many(db, &pair, HUGE_LEN, NULL));
  kv_change change = {SLICE("k"), {key, HUGE_LEN}, KV_CHANGE_SET, 0, 0, 0};
  IS(KV_VALUE_TOO_LONG, kv_apply(db, &change, 1, NULL));
  kv_slice huge = {key, HUGE_LEN};
  kv_scan_options ranges[] = {{.prefix = huge}, {.start = huge}, {.end = huge}};
  kv_scan *scan = NULL;
  for (int at = 0; at < 3; at++) IS(KV_KEY_TOO_LONG, kv_scan_open(db, &ranges[at], &scan, NULL));
  kv_options *store_options = kv_options_new();
  IS(KV_INVALID_ARGUMENT, kv_options_set_listener_queue(store_options, HUGE_LEN));
  OK(kv_options_free(store_options));
  /* A buffer that long would have the length in it. */
  struct {
    char buffer[8];
    size_t len;
  } inside = {{0}, 7};
  IS(KV_INVALID_ARGUMENT, kv_get(db, key, KV_KEY_BYTES_MAX, inside.buffer, HUGE_LEN, &inside.len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, key, KV_KEY_BYTES_MAX, inside.buffer, 9, &inside.len, NULL));
  CHECK(inside.len == 7 && len == 7);
  OK(kv_db_free(db));
}

static void overlapping_and_misaligned_outputs_are_refused(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("value of twenty bytes"), NULL));
  union {
    size_t len;
    uint8_t *owned;
    kv_error *error;
    uint64_t number;
    char bytes[64];
  } u = {.bytes = "k"};
  IS(KV_INVALID_ARGUMENT, kv_get(db, S("k"), u.bytes, sizeof u, &u.len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, u.bytes, 1, u.bytes, sizeof u, &(size_t){0}, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get(db, S("k"), NULL, 0, (size_t *)(u.bytes + 1), NULL));
  CHECK(strcmp(u.bytes, "k") == 0);
  IS(KV_INVALID_ARGUMENT, kv_get_owned(db, S("k"), &u.owned, (size_t *)&u.owned, NULL));
  CHECK(strcmp(u.bytes, "k") == 0);
  IS(KV_INVALID_ARGUMENT, kv_set(db, S("k"), S("w"), (kv_error **)(u.bytes + 3)));
  u.error = NULL;
  /* The error's place is the number's place: the text has nowhere else to go. */
  IS(KV_INVALID_ARGUMENT, kv_len(db, &u.number, &u.error));
  OK(kv_error_free(u.error));
  IS(KV_INVALID_HANDLE, kv_len((kv_db *)((char *)db + 1), &u.number, NULL));
  IS(KV_INVALID_ARGUMENT, kv_set_many(db, (kv_pair *)(u.bytes + 1), 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_set_with(db, S("k"), S("v"), (kv_set_options *)(u.bytes + 1), NULL, NULL));
  OK(kv_db_free(db));
}

static void a_handle_of_another_kind_is_refused_and_stays(void) {
  kv_db *db = memory_store();
  kv_options *options = kv_options_new();
  kv_clock *clock = kv_clock_new(0);
  kv_pin *pin = NULL;
  kv_scan *scan = NULL;
  kv_error *error = NULL;
  OK(kv_pin_open(db, &pin, NULL));
  OK(kv_scan_open(db, NULL, &scan, NULL));
  IS(KV_KEY_TOO_LONG, kv_delete(db, NULL, HUGE_LEN, &error));
  void *all[] = {db, options, clock, pin, scan, error};
  for (size_t at = 0; at < 6; at++) {
    size_t len = 7;
    const uint8_t *value = NULL;
    const kv_entry *entries = NULL;
    kv_db *other = NULL;
    if (all[at] != db) {
      IS(KV_INVALID_HANDLE, kv_set(all[at], S("k"), S("v"), NULL));
      IS(KV_INVALID_HANDLE, kv_close(all[at], NULL));
      IS(KV_INVALID_HANDLE, kv_db_free(all[at]));
    }
    if (all[at] != options) {
      IS(KV_INVALID_HANDLE, kv_options_set_mode(all[at], 0));
      IS(KV_INVALID_HANDLE, kv_open_in_memory(all[at], &other, NULL));
      IS(KV_INVALID_HANDLE, kv_options_free(all[at]));
    }
    if (all[at] != clock) {
      IS(KV_INVALID_HANDLE, kv_options_set_clock(options, all[at]));
      IS(KV_INVALID_HANDLE, kv_clock_advance(all[at], 1));
      IS(KV_INVALID_HANDLE, kv_clock_free(all[at]));
    }
    if (all[at] != pin) {
      IS(KV_INVALID_HANDLE, kv_pin_get(all[at], S("k"), &value, &len, NULL));
      IS(KV_INVALID_HANDLE, kv_pin_release(all[at]));
    }
    if (all[at] != scan) {
      IS(KV_INVALID_HANDLE, kv_scan_next(all[at], 1, &entries, &len, NULL));
      IS(KV_INVALID_HANDLE, kv_scan_free(all[at]));
    }
    if (all[at] != error) {
      IS(KV_INVALID_HANDLE, kv_error_status(all[at]));
      CHECK(kv_error_message(all[at])[0] == 0);
      IS(KV_INVALID_HANDLE, kv_error_free(all[at]));
    }
    CHECK(len == 7 && value == NULL && other == NULL && entries == NULL);
  }
  OK(kv_error_free(error));
  OK(kv_pin_release(pin));
  OK(kv_scan_free(scan));
  OK(kv_clock_free(clock));
  OK(kv_options_free(options));
  OK(kv_db_free(db));
}

const test misuse_tests[] = {
    {"null_is_refused_everywhere_and_nothing_is_written", null_is_refused_everywhere_and_nothing_is_written},
    {"lengths_beyond_the_limits_are_refused_unread", lengths_beyond_the_limits_are_refused_unread},
    {"overlapping_and_misaligned_outputs_are_refused", overlapping_and_misaligned_outputs_are_refused},
    {"a_handle_of_another_kind_is_refused_and_stays", a_handle_of_another_kind_is_refused_and_stays},
    {NULL, NULL},
};

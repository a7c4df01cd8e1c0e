/* Watches: changes in their order, behind a version, waited for, and misused. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <pthread.h>
#include <stdint.h>

static int is(kv_slice slice, const char *expected) {
  return slice.len == strlen(expected) && memcmp(slice.data, expected, slice.len) == 0;
}

static void changes_are_told_in_the_order_of_writes(void) {
  kv_db *db = memory_store();
  kv_watch *watch = NULL;
  kv_watch_change change;
  OK(kv_watch_open(db, S("user:"), KV_WATCH_FROM_NOW, &watch, NULL));
  IS(KV_NOT_FOUND, kv_watch_next(watch, 0, &change, NULL));
  IS(KV_NOT_FOUND, kv_watch_next(watch, 1, &change, NULL));
  OK(kv_set(db, S("user:1"), S("Alice"), NULL));
  OK(kv_set(db, S("order:1"), S("tea"), NULL));
  OK(kv_delete(db, S("user:1"), NULL));
  OK(kv_clear(db, NULL));
  OK(kv_watch_next(watch, KV_WAIT_FOREVER, &change, NULL));
  CHECK(change.kind == KV_WATCH_PUT && is(change.key, "user:1") && is(change.value, "Alice"));
  CHECK(change.metadata_count == 0 && change.expires_at_ms == 0 && change.codec == 0);
  uint64_t put = change.version, position = 0;
  OK(kv_watch_position(watch, &position, NULL));
  CHECK(position == put);
  OK(kv_watch_next(watch, 0, &change, NULL));
  CHECK(change.kind == KV_WATCH_REMOVED && change.cause == KV_CAUSE_DELETED && change.version > put);
  OK(kv_watch_next(watch, 0, &change, NULL));
  CHECK(change.kind == KV_WATCH_CLEARED && change.key.len == 0);
  OK(kv_watch_free(watch));
  /* Behind the put, the rest comes again. */
  OK(kv_watch_open(db, NULL, 0, put, &watch, NULL));
  OK(kv_watch_next(watch, 0, &change, NULL));
  CHECK(change.kind == KV_WATCH_PUT && is(change.key, "order:1"));
  OK(kv_watch_free(watch));
  OK(kv_close(db, NULL));
  OK(kv_db_free(db));
}

static void *wakes(void *watch) {
  OK(kv_watch_wake(watch));
  return NULL;
}

static void *closes(void *db) {
  OK(kv_close(db, NULL));
  return NULL;
}

static void a_wait_ends_with_a_wake_up_and_with_the_store(void) {
  kv_db *db = memory_store();
  kv_watch *watch = NULL;
  kv_watch_change change;
  pthread_t thread;
  OK(kv_watch_open(db, NULL, 0, 0, &watch, NULL));
  CHECK(pthread_create(&thread, NULL, wakes, watch) == 0);
  IS(KV_NOT_FOUND, kv_watch_next(watch, KV_WAIT_FOREVER, &change, NULL));
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, closes, db) == 0);
  IS(KV_CLOSED, kv_watch_next(watch, KV_WAIT_FOREVER, &change, NULL));
  CHECK(pthread_join(thread, NULL) == 0);
  OK(kv_db_free(db));
  IS(KV_CLOSED, kv_watch_next(watch, 0, &change, NULL));
  OK(kv_watch_free(watch));
}

static void what_makes_no_sense_is_refused(void) {
  kv_db *db = memory_store();
  kv_watch *watch = NULL;
  uint64_t position = 0;
  IS(KV_INVALID_ARGUMENT, kv_watch_open(db, NULL, 0, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_watch_open(db, NULL, 1, 0, &watch, NULL));
  IS(KV_INVALID_HANDLE, kv_watch_open(NULL, NULL, 0, 0, &watch, NULL));
  IS(KV_INVALID_OPTION, kv_watch_open(db, NULL, 0, UINT64_C(1) << 50, &watch, NULL));
  CHECK(watch == NULL);
  OK(kv_watch_open(db, NULL, 0, 0, &watch, NULL));
  IS(KV_INVALID_ARGUMENT, kv_watch_next(watch, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_watch_position(watch, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_watch_position((const kv_watch *)db, &position, NULL));
  IS(KV_INVALID_HANDLE, kv_watch_wake(NULL));
  OK(kv_watch_free(NULL));
  OK(kv_watch_free(watch));
  OK(kv_close(db, NULL));
  OK(kv_db_free(db));
}

const test watching_tests[] = {
    TEST(changes_are_told_in_the_order_of_writes),
    TEST(a_wait_ends_with_a_wake_up_and_with_the_store),
    TEST(what_makes_no_sense_is_refused),
    {NULL, NULL},
};

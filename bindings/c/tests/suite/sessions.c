/* Entries that are locked, edited and committed, and keys that the store makes up. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static kv_session *locked(const kv_db *db, const char *key, size_t key_len) {
  kv_session *session = NULL;
  OK(kv_get_and_lock(db, key, key_len, 0, &session, NULL));
  return session;
}

static void has(const kv_db *db, const char *key, const char *expected) {
  char buffer[64];
  size_t len = 0;
  kv_status status = kv_get(db, key, strlen(key), buffer, sizeof buffer, &len, NULL);
  if (expected == NULL) {
    CHECK(status == KV_NOT_FOUND);
  } else {
    CHECK(status == KV_OK && len == strlen(expected) && memcmp(buffer, expected, len) == 0);
  }
}

static void edits_are_seen_when_they_are_committed_and_not_before(void) {
  kv_db *db = memory_store();
  kv_session *session = NULL;
  kv_create_options options = {0, SLICE("first")};
  OK(kv_create_and_lock(db, S("k"), 0, &options, &session, NULL));
  const uint8_t *bytes = NULL;
  size_t len = 0;
  uint64_t version = 7;
  OK(kv_session_key(session, &bytes, &len, NULL));
  CHECK(len == 1 && bytes[0] == 'k');
  OK(kv_session_value(session, &bytes, &len, NULL));
  CHECK(len == 5 && memcmp(bytes, "first", 5) == 0);
  OK(kv_session_version(session, &version, NULL));
  CHECK(version == 0);
  /* What the session gave may be given back, in part too. */
  OK(kv_session_set_value(session, bytes + 1, len - 1, NULL));
  has(db, "k", NULL);
  OK(kv_session_commit(session, KV_COMMIT_KEEP, &version, NULL));
  has(db, "k", "irst");
  CHECK(version > 0);
  kv_session *other = NULL;
  IS(KV_KEY_LOCKED, kv_get_and_lock(db, S("k"), 0, &other, NULL));
  IS(KV_KEY_LOCKED, kv_get_and_lock(db, S("k"), 1, &other, NULL));
  CHECK(other == NULL);
  OK(kv_session_set_value(session, S("second"), NULL));
  OK(kv_session_set_expiry(session, KV_EXPIRE_AFTER, 60000, NULL));
  has(db, "k", "irst");
  uint64_t second = 0;
  OK(kv_session_commit(session, 0, &second, NULL));
  CHECK(second > version);
  has(db, "k", "second");
  uint64_t ttl_ms = 0;
  OK(kv_ttl(db, S("k"), &ttl_ms, NULL));
  CHECK(ttl_ms > 0 && ttl_ms <= 60000);
  OK(kv_session_free(session));
  IS(KV_NOT_MET, kv_create_and_lock(db, S("k"), 0, NULL, &session, NULL));
  IS(KV_NOT_FOUND, kv_get_and_lock(db, S("none"), 0, &session, NULL));
  options.allow_existing = 1;
  OK(kv_create_and_lock(db, S("k"), KV_WAIT_FOREVER, &options, &session, NULL));
  OK(kv_session_commit(session, KV_COMMIT_DELETE, &version, NULL));
  CHECK(version == 0);
  has(db, "k", NULL);
  OK(kv_session_free(session));
  OK(kv_db_free(db));
}

static void use_after_the_end_is_an_error(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  for (int way = 0; way < 3; way++) {
    kv_session *session = locked(db, S("k"));
    if (way == 0) OK(kv_session_commit(session, 0, NULL, NULL));
    if (way == 1) OK(kv_session_rollback(session, NULL));
    if (way == 2) {
      OK(kv_set(db, S("k"), S("theirs"), NULL));
      IS(KV_CONFLICT, kv_session_commit(session, 0, NULL, NULL));
    }
    const uint8_t *bytes;
    size_t len;
    uint64_t version;
    kv_pair *pairs;
    kv_error *error = NULL;
    IS(KV_SESSION_ENDED, kv_session_key(session, &bytes, &len, NULL));
    IS(KV_SESSION_ENDED, kv_session_value(session, &bytes, &len, NULL));
    IS(KV_SESSION_ENDED, kv_session_version(session, &version, NULL));
    IS(KV_SESSION_ENDED, kv_session_metadata(session, &pairs, &len, NULL));
    IS(KV_SESSION_ENDED, kv_session_set_value(session, S("v"), NULL));
    IS(KV_SESSION_ENDED, kv_session_set_metadata(session, NULL, 0, NULL));
    IS(KV_SESSION_ENDED, kv_session_set_expiry(session, KV_EXPIRE_NEVER, 0, NULL));
    IS(KV_SESSION_ENDED, kv_session_reload(session, NULL));
    IS(KV_SESSION_ENDED, kv_session_rollback(session, NULL));
    IS(KV_SESSION_ENDED, kv_session_commit(session, 0, NULL, &error));
    CHECK(kv_error_status(error) == KV_SESSION_ENDED);
    OK(kv_error_free(error));
    /* The lock is free, though the handle is there. */
    OK(kv_session_free(locked(db, S("k"))));
    OK(kv_session_free(session));
  }
  OK(kv_db_free(db));
}

static void a_conflict_changes_nothing_and_may_leave_the_session(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  kv_session *session = locked(db, S("k"));
  OK(kv_session_set_value(session, S("mine"), NULL));
  OK(kv_set(db, S("k"), S("theirs"), NULL));
  uint64_t version = 7;
  IS(KV_CONFLICT, kv_session_commit(session, KV_COMMIT_KEEP_ON_FAILURE, &version, NULL));
  IS(KV_CONFLICT, kv_session_commit(session, KV_COMMIT_KEEP | KV_COMMIT_DELETE, &version, NULL));
  CHECK(version == 7);
  has(db, "k", "theirs");
  const uint8_t *bytes = NULL;
  size_t len = 0;
  OK(kv_session_value(session, &bytes, &len, NULL));
  CHECK(len == 4 && memcmp(bytes, "mine", 4) == 0);
  OK(kv_session_reload(session, NULL));
  OK(kv_session_value(session, &bytes, &len, NULL));
  CHECK(len == 6 && memcmp(bytes, "theirs", 6) == 0);
  OK(kv_session_set_value(session, S("mine"), NULL));
  OK(kv_session_commit(session, KV_COMMIT_KEEP_ON_FAILURE, &version, NULL));
  has(db, "k", "mine");
  IS(KV_SESSION_ENDED, kv_session_commit(session, 0, NULL, NULL));
  OK(kv_session_free(session));
  OK(kv_db_free(db));
}

static void metadata_stands_beside_the_value(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  uint8_t *value = NULL;
  size_t len = 0, count = 7;
  kv_pair *pairs = NULL;
  OK(kv_get_with_metadata(db, S("k"), &value, &len, &pairs, &count, NULL));
  CHECK(len == 1 && count == 0 && value != NULL && pairs != NULL);
  kv_free(value);
  kv_free(pairs);
  kv_session *session = locked(db, S("k"));
  const kv_pair given[] = {{SLICE("z"), SLICE("first")}, {SLICE("a"), {NULL, 0}}, {SLICE("z"), SLICE("last")}};
  OK(kv_session_set_metadata(session, given, 3, NULL));
  const kv_pair bad = {SLICE("\xff"), SLICE("x")};
  IS(KV_INVALID_ARGUMENT, kv_session_set_metadata(session, &bad, 1, NULL));
  OK(kv_session_metadata(session, &pairs, &count, NULL));
  CHECK(count == 2);
  kv_free(pairs);
  OK(kv_session_commit(session, 0, NULL, NULL));
  OK(kv_session_free(session));
  has(db, "k", "v");
  OK(kv_get_with_metadata(db, S("k"), &value, &len, &pairs, &count, NULL));
  CHECK(len == 1 && value[0] == 'v' && count == 2);
  CHECK(pairs[0].key.len == 1 && *(const char *)pairs[0].key.data == 'a' && pairs[0].value.len == 0);
  CHECK(pairs[1].value.len == 4 && memcmp(pairs[1].value.data, "last", 4) == 0);
  kv_free(value);
  kv_free(pairs);
  IS(KV_NOT_FOUND, kv_get_with_metadata(db, S("none"), &value, &len, &pairs, &count, NULL));
  OK(kv_db_free(db));
}

typedef struct {
  kv_db *db;
  kv_status status;
} waiter;

static void *wait_for_key(void *state) {
  waiter *w = state;
  kv_session *session = NULL;
  w->status = kv_get_and_lock(w->db, S("k"), KV_WAIT_FOREVER, &session, NULL);
  OK(kv_session_free(session));
  return NULL;
}

static void a_free_or_a_close_lets_those_go_on_that_wait(void) {
  for (unsigned round = 0; round < scaled(100); round++) {
    kv_db *db = memory_store();
    OK(kv_set(db, S("k"), S("v"), NULL));
    kv_session *session = locked(db, S("k"));
    waiter waiters[4];
    pthread_t threads[4];
    for (int n = 0; n < 4; n++) {
      waiters[n] = (waiter){db, KV_INTERNAL};
      CHECK(pthread_create(&threads[n], NULL, wait_for_key, &waiters[n]) == 0);
    }
    if (round % 2) {
      OK(kv_session_free(session));
    } else {
      OK(kv_close(db, NULL));
    }
    for (int n = 0; n < 4; n++) {
      CHECK(pthread_join(threads[n], NULL) == 0);
      CHECK(waiters[n].status == (round % 2 ? KV_OK : KV_CLOSED));
    }
    if (round % 2 == 0) {
      IS(KV_CLOSED, kv_session_commit(session, 0, NULL, NULL));
      OK(kv_session_free(session));
    }
    OK(kv_db_free(db));
  }
}

static void generated_keys_grow_and_are_locked_where_they_are_free(void) {
  kv_db *db = memory_store();
  kv_key_options options = {SLICE("job:"), 36, 6};
  char last[16] = "";
  for (int n = 0; n < 100; n++) {
    uint8_t *key = NULL;
    size_t len = 0;
    OK(kv_generate_key(db, &options, &key, &len, NULL));
    CHECK(len == 10 && memcmp(key, "job:", 4) == 0 && memcmp(key, last, 10) > 0);
    memcpy(last, key, 10);
    kv_free(key);
  }
  kv_session *session = NULL;
  OK(kv_create_generated_and_lock(db, &options, S("v"), &session, NULL));
  const uint8_t *key = NULL;
  size_t len = 0;
  OK(kv_session_key(session, &key, &len, NULL));
  CHECK(len == 10 && memcmp(key, last, 10) > 0);
  OK(kv_session_commit(session, 0, NULL, NULL));
  OK(kv_session_free(session));
  OK(kv_create_generated_and_lock(db, NULL, NULL, 0, &session, NULL));
  OK(kv_session_free(session));
  uint64_t entries = 0;
  OK(kv_len(db, &entries, NULL));
  CHECK(entries == 1);
  uint8_t *owned = NULL;
  options = (kv_key_options){SLICE("job:"), 10, 2};
  IS(KV_INVALID_OPTION, kv_generate_key(db, &options, &owned, &len, NULL));
  options = (kv_key_options){{NULL, 0}, 63, 0};
  IS(KV_INVALID_OPTION, kv_generate_key(db, &options, &owned, &len, NULL));
  CHECK(owned == NULL);
  OK(kv_db_free(db));
}

static void arguments_that_make_no_sense_are_refused(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  kv_session *session = locked(db, S("k")), *other = NULL;
  const uint8_t *bytes = NULL;
  size_t len = 0;
  kv_pair *pairs = NULL;
  IS(KV_INVALID_ARGUMENT, kv_get_and_lock(db, S("k"), 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_and_lock(db, NULL, 1, 0, &other, NULL));
  IS(KV_KEY_TOO_LONG, kv_get_and_lock(db, "k", (size_t)-1, 0, &other, NULL));
  IS(KV_INVALID_HANDLE, kv_get_and_lock(NULL, S("k"), 0, &other, NULL));
  IS(KV_INVALID_ARGUMENT, kv_create_and_lock(db, S("x"), 0, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_create_generated_and_lock(db, NULL, NULL, 1, &other, NULL));
  IS(KV_INVALID_ARGUMENT, kv_generate_key(db, NULL, NULL, &len, NULL));
  IS(KV_INVALID_HANDLE, kv_session_value(NULL, &bytes, &len, NULL));
  IS(KV_INVALID_HANDLE, kv_session_value((kv_session *)db, &bytes, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_value(session, NULL, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_value(session, (const uint8_t **)&len, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_set_value(session, NULL, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_metadata(session, &pairs, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_set_metadata(session, NULL, 1, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_set_expiry(session, 9, 0, NULL));
  IS(KV_INVALID_ARGUMENT, kv_session_commit(session, 8, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_session_commit(NULL, 0, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_session_free((kv_session *)db));
  OK(kv_session_free(NULL));
  /* None of these has ended it. */
  OK(kv_session_commit(session, 0, NULL, NULL));
  OK(kv_session_free(session));
  OK(kv_db_free(db));
}

static void a_forked_child_may_free_a_session_and_not_use_it(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  kv_session *session = locked(db, S("k"));
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    IS(KV_FORKED, kv_session_commit(session, KV_COMMIT_KEEP, NULL, NULL));
    IS(KV_FORKED, kv_session_reload(session, NULL));
    OK(kv_session_free(session));
    kv_db_free(db);
    /* Not _exit: what the parent's threads owned is out of reach here, and a checker would call that a leak. */
    execlp("true", "child", (char *)NULL);
    _exit(1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  OK(kv_session_commit(session, 0, NULL, NULL));
  OK(kv_session_free(session));
  OK(kv_db_free(db));
}

const test sessions_tests[] = {
    TEST(edits_are_seen_when_they_are_committed_and_not_before),
    TEST(use_after_the_end_is_an_error),
    TEST(a_conflict_changes_nothing_and_may_leave_the_session),
    TEST(metadata_stands_beside_the_value),
    TEST(a_free_or_a_close_lets_those_go_on_that_wait),
    TEST(generated_keys_grow_and_are_locked_where_they_are_free),
    TEST(arguments_that_make_no_sense_are_refused),
    TEST(a_forked_child_may_free_a_session_and_not_use_it),
    {NULL, NULL},
};

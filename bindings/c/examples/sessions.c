/* Orders, each edited by one worker at a time and seen by all others as it was committed last. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

static const char *yes(int is_so) { return is_so ? "yes" : "no"; }

/* Adds to the value of a session's entry. */
static void append(kv_session *session, const char *text) {
  const uint8_t *value = NULL;
  size_t len = 0;
  char longer[64];
  check(kv_session_value(session, &value, &len, NULL), "value");
  int longer_len = snprintf(longer, sizeof longer, "%.*s%s", (int)len, (const char *)value, text);
  check(kv_session_set_value(session, longer, (size_t)longer_len, NULL), "set value");
}

static void set_by(kv_session *session, const char *name) {
  kv_pair by = {{"by", 2}, {name, strlen(name)}};
  check(kv_session_set_metadata(session, &by, 1, NULL), "set metadata");
}

int main(void) {
  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");

  /* A key that was never given before; the entry is there with the commit. */
  kv_key_options options = {{"order:", 6}, 36, 8};
  kv_session *order = NULL;
  check(kv_create_generated_and_lock(db, &options, "apples", 6, &order, NULL), "create");
  set_by(order, "Alice");
  char key[16];
  const uint8_t *at = NULL;
  size_t key_len = 0;
  check(kv_session_key(order, &at, &key_len, NULL), "key");
  memcpy(key, at, key_len);
  printf("there before the commit: %s\n", yes(kv_contains(db, key, key_len, NULL) == KV_OK));
  check(kv_session_commit(order, 0, NULL, NULL), "commit");
  kv_session_free(order);

  /* Readers see what was committed last, and another worker is told that the order is taken. */
  check(kv_get_and_lock(db, key, key_len, KV_WAIT_FOREVER, &order, NULL), "lock");
  append(order, ", pears");
  char seen[64];
  size_t len = 0;
  check(kv_get(db, key, key_len, seen, sizeof seen, &len, NULL), "get");
  printf("seen meanwhile: %.*s\n", (int)len, seen);
  kv_session *other = NULL;
  printf("taken: %s\n", yes(kv_get_and_lock(db, key, key_len, 0, &other, NULL) == KV_KEY_LOCKED));

  /* A plain write is not held up. The commit says so, and the edit is made anew on what stands there now. */
  check(kv_set(db, key, key_len, "plums", 5, NULL), "set");
  kv_status status = kv_session_commit(order, KV_COMMIT_KEEP_ON_FAILURE, NULL, NULL);
  printf("conflict: %s\n", yes(status == KV_CONFLICT));
  check(kv_session_reload(order, NULL), "reload");
  append(order, ", pears");
  set_by(order, "Bob");
  check(kv_session_commit(order, 0, NULL, NULL), "commit");
  kv_session_free(order);
  uint8_t *value = NULL;
  kv_pair *pairs = NULL;
  size_t count = 0;
  check(kv_get_with_metadata(db, key, key_len, &value, &len, &pairs, &count, NULL), "get");
  printf("%.*s, by %.*s\n", (int)len, (const char *)value, (int)pairs[0].value.len, (const char *)pairs[0].value.data);
  kv_free(value);
  kv_free(pairs);

  /* One that sees to it that nothing stays. */
  kv_create_options either = {1, {NULL, 0}};
  check(kv_create_and_lock(db, key, key_len, 0, &either, &order, NULL), "lock");
  check(kv_session_commit(order, KV_COMMIT_DELETE, NULL, NULL), "commit");
  kv_session_free(order);
  uint64_t left = 0;
  check(kv_len(db, &left, NULL), "len");
  printf("left: %d\n", (int)left);
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

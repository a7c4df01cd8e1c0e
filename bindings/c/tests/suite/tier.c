/* Stores that share their entries through a redis-server which each test starts, on a unix socket in a directory of its own. */
#include "redis.h"

#include <stdint.h>

/* Whether the figures of the tier have these words. */
static int tells(kv_db *db, const char *words) {
  char *text = NULL;
  OK(kv_tier_stats_json(db, &text, NULL));
  int has = strstr(text, words) != NULL;
  kv_free(text);
  return has;
}

static void what_one_store_sets_another_one_reads_in_every_way(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(r.url, NULL, NULL), *there = sharing(r.url, NULL, NULL);
  OK(kv_set(here, S("a"), S("1"), NULL));
  OK(kv_set(here, S("b"), S("2"), NULL));
  OK(kv_set(here, S("c"), S("3"), NULL));
  OK(kv_expire(here, S("c"), 60000, NULL));
  OK(kv_flush(here, 60000, NULL));
  CHECK(tells(here, "\"unsent_keys\":0") && tells(here, "\"failing\":null"));

  kv_slice keys[] = {SLICE("none"), SLICE("a")};
  kv_slice *values = NULL;
  OK(kv_get_many(there, keys, 2, &values, NULL));
  CHECK(values[0].data == NULL && values[1].len == 1 && memcmp(values[1].data, "1", 1) == 0);
  kv_free(values);
  char buffer[8];
  size_t len = 0;
  OK(kv_get(there, S("b"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 1 && buffer[0] == '2');
  uint64_t ttl_ms = 0;
  OK(kv_ttl(there, S("c"), &ttl_ms, NULL));
  CHECK(ttl_ms > 0 && ttl_ms <= 60000);
  IS(KV_NOT_FOUND, kv_contains(there, S("none"), NULL));

  OK(kv_delete(there, S("a"), NULL));
  OK(kv_flush(there, 60000, NULL));
  kv_db *later = sharing(r.url, NULL, NULL);
  IS(KV_NOT_FOUND, kv_get(later, S("a"), buffer, sizeof buffer, &len, NULL));
  OK(kv_db_free(later));
  OK(kv_db_free(there));
  OK(kv_db_free(here));
  down(&r);
}

typedef struct {
  size_t len;
  char bytes[8];
} object;

static void *make(const void *data, size_t len) {
  object *made = calloc(1, sizeof *made);
  CHECK(made != NULL && len < sizeof made->bytes);
  made->len = len;
  memcpy(made->bytes, data, len);
  return made;
}

static void share(void *shared) { (void)shared; }

static void a_host_that_must_not_be_held_up_gets_what_is_here_and_asks_for_the_rest(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(r.url, NULL, NULL), *there = sharing(r.url, NULL, NULL);
  OK(kv_set(here, S("k"), S("v"), NULL));
  OK(kv_flush(here, 60000, NULL));
  object absent, failed;
  kv_host host = {make, share, NULL, NULL, NULL, &absent, &failed, 7, 0};
  CHECK(kv_get_made(there, S("k"), &host) == &failed);
  uint8_t *value = NULL;
  size_t len = 0;
  OK(kv_get_owned(there, S("k"), &value, &len, NULL));
  CHECK(len == 1 && value[0] == 'v');
  kv_free(value);
  object *made = kv_get_made(there, S("k"), &host);
  CHECK(made->len == 1 && made->bytes[0] == 'v');
  free(made);
  OK(kv_db_free(there));
  /* Who never asks is told at once that there is none. */
  kv_db *alone = sharing(r.url, "tier_reads", "false");
  CHECK(kv_get_made(alone, S("k"), &host) == &absent);
  OK(kv_db_free(alone));
  OK(kv_db_free(here));
  down(&r);
}

static void writes_go_on_while_redis_is_down_and_it_converges_when_it_is_back(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(r.url, NULL, NULL), *through = sharing(r.url, "tier_writes", "through");
  OK(kv_set(through, S("t"), S("1"), NULL));
  OK(kv_set(here, S("k"), S("old"), NULL));
  OK(kv_flush(here, 60000, NULL));
  down(&r);
  for (char n = '0'; n <= '9'; n++) OK(kv_set(here, &n, 1, S("v"), NULL));
  OK(kv_delete(here, S("k"), NULL));
  time_t since = time(NULL);
  while (!tells(here, "\"unsent_keys\":11") || tells(here, "\"failing\":null")) moment(since);
  kv_error *error = NULL;
  IS(KV_TIER, kv_flush(here, 10, &error));
  CHECK(strncmp(kv_error_message(error), "tier: ", 6) == 0 && kv_error_status(error) == KV_TIER);
  OK(kv_error_free(error));
  IS(KV_TIER, kv_contains(here, S("none"), NULL));
  IS(KV_TIER, kv_set(through, S("t"), S("2"), NULL));
  CHECK(strstr(kv_strerror(KV_TIER), "Redis") != NULL);

  up(&r);
  OK(kv_flush(here, 60000, NULL));
  OK(kv_flush(through, 60000, NULL));
  CHECK(tells(here, "\"unsent_keys\":0") && tells(here, "\"failing\":null"));
  char *prometheus = NULL;
  OK(kv_tier_stats_prometheus(here, &prometheus, NULL));
  CHECK(strstr(prometheus, "\nkv_tier_unsent_keys 0\n") != NULL);
  kv_free(prometheus);
  kv_db *there = sharing(r.url, NULL, NULL);
  OK(kv_contains(there, S("9"), NULL));
  IS(KV_NOT_FOUND, kv_contains(there, S("k"), NULL));
  char buffer[8];
  size_t len = 0;
  OK(kv_get(there, S("t"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 1 && buffer[0] == '2');
  OK(kv_db_free(there));
  OK(kv_db_free(through));
  OK(kv_db_free(here));
  down(&r);
}

static void what_redis_decides_holds_for_every_store_that_shares_the_key(void) {
  redis r;
  start(&r);
  kv_db *stores[2] = {sharing(r.url, NULL, NULL), sharing(r.url, NULL, NULL)};
  int64_t sum = 0;
  /* What was changed here before counts. */
  OK(kv_set(stores[0], S("n"), S("40"), NULL));
  for (int n = 0; n < 20; n++) OK(kv_increment_shared(stores[n % 2], S("n"), 2, &sum, NULL));
  CHECK(sum == 80);
  OK(kv_increment_shared(stores[0], S("n"), -1, NULL, NULL));
  kv_set_options options = {KV_ALWAYS, KV_EXPIRE_AFTER, 60000, 0, 0};
  OK(kv_add_shared(stores[0], S("lock"), S("me"), &options, NULL));
  IS(KV_NOT_MET, kv_add_shared(stores[1], S("lock"), S("you"), NULL, NULL));
  kv_slice mine = SLICE("me"), empty = {NULL, 0};
  IS(KV_NOT_MET, kv_compare_and_swap_shared(stores[1], S("lock"), NULL, S("you"), NULL));
  IS(KV_NOT_MET, kv_compare_and_swap_shared(stores[1], S("lock"), &empty, S("you"), NULL));
  OK(kv_compare_and_swap_shared(stores[1], S("lock"), &mine, S("you"), NULL));
  OK(kv_compare_and_swap_shared(stores[1], S("new"), NULL, NULL, 0, NULL));
  OK(kv_compare_and_swap_shared(stores[0], S("new"), &empty, S("full"), NULL));
  uint64_t ttl_ms = 0;
  OK(kv_ttl(stores[1], S("lock"), &ttl_ms, NULL));
  CHECK(ttl_ms > 0 && ttl_ms <= 60000);

  kv_error *error = NULL;
  OK(kv_set(stores[0], S("text"), S("t"), NULL));
  IS(KV_NOT_AN_INTEGER, kv_increment_shared(stores[0], S("text"), 1, &sum, &error));
  OK(kv_error_free(error));
  options.expiry = 9;
  IS(KV_INVALID_ARGUMENT, kv_add_shared(stores[0], S("x"), S("v"), &options, NULL));
  IS(KV_INVALID_ARGUMENT, kv_compare_and_swap_shared(stores[0], NULL, 1, NULL, S("v"), NULL));
  IS(KV_INVALID_HANDLE, kv_increment_shared(NULL, S("x"), 1, NULL, NULL));
  down(&r);
  IS(KV_TIER, kv_increment_shared(stores[0], S("n"), 1, &sum, &error));
  CHECK(strncmp(kv_error_message(error), "tier: ", 6) == 0);
  OK(kv_error_free(error));
  CHECK(sum == 80);
  OK(kv_db_free(stores[0]));
  OK(kv_db_free(stores[1]));
}

typedef struct {
  kv_db *db;
  kv_preloaded last;
  unsigned calls, calls_max;
} loading;

static int32_t on_portion(void *userdata, const kv_preloaded *done) {
  loading *told = userdata;
  told->last = *done;
  IS(KV_IN_CALLBACK, kv_close(told->db, NULL));
  return ++told->calls < told->calls_max;
}

static void a_pattern_is_preloaded_in_portions_and_can_be_gone_on_from(void) {
  enum { KEYS = 3000 };
  redis r;
  start(&r);
  kv_db *here = sharing(r.url, NULL, NULL), *there = sharing(r.url, NULL, NULL);
  char key[16];
  for (int n = 0; n < KEYS; n++) OK(kv_set(here, key, (size_t)snprintf(key, sizeof key, "user:%d", n), S("v"), NULL));
  OK(kv_set(here, S("other"), S("x"), NULL));
  OK(kv_flush(here, 60000, NULL));

  kv_preloaded done = {0};
  loading told = {there, {0}, 0, 2};
  OK(kv_preload(there, S("user:*"), 0, on_portion, &told, &done, NULL));
  CHECK(told.calls == 2 && done.is_complete == 0 && done.cursor != 0);
  CHECK(done.cursor == told.last.cursor && done.copied == told.last.copied && done.copied > 0 && done.copied < KEYS);
  uint64_t copied = done.copied, len = 0;
  told.calls = 0, told.calls_max = ~0u;
  OK(kv_preload(there, S("user:*"), done.cursor, on_portion, &told, &done, NULL));
  CHECK(done.is_complete == 1 && told.last.is_complete == 1 && done.removed == 0);
  copied += done.copied;
  OK(kv_len(there, &len, NULL));
  CHECK(len == KEYS && copied == KEYS);

  OK(kv_delete(here, S("user:7"), NULL));
  OK(kv_flush(here, 60000, NULL));
  OK(kv_preload(there, S("user:*"), 0, NULL, NULL, &done, NULL));
  CHECK(done.removed == 1 && done.copied == 0);
  IS(KV_INVALID_ARGUMENT, kv_preload(there, NULL, 1, 0, NULL, NULL, &done, NULL));
  IS(KV_INVALID_HANDLE, kv_preload(NULL, S("*"), 0, NULL, NULL, NULL, NULL));
  down(&r);
  kv_error *error = NULL;
  IS(KV_TIER, kv_preload(there, S("*"), 0, NULL, NULL, NULL, &error));
  OK(kv_error_free(error));
  OK(kv_db_free(there));
  OK(kv_db_free(here));
}

static void wrong_options_are_named_with_their_values_and_no_password_is_shown(void) {
  static const struct {
    const char *name, *value, *said;
  } cases[] = {
      {"tier_writes", "maybe", "option tier_writes: \"maybe\" is not behind, through or refused"},
      {"tier_fresh", "yes", "option tier_fresh: \"yes\" is not none, drop or keep"},
      {"tier_timeout", "0s", "option tier_timeout: \"0s\" is not "},
      {"tier_database", "-1", "option tier_database: \"-1\" is not "},
      {"tier_pasword", "hunter2", "option tier_pasword: unknown"},
  };
  kv_options *options = kv_options_new();
  kv_error *error = NULL;
  for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
    IS(KV_INVALID_OPTION, kv_options_set(options, cases[at].name, cases[at].value, &error));
    CHECK(strncmp(kv_error_message(error), cases[at].said, strlen(cases[at].said)) == 0);
    CHECK(strstr(kv_error_message(error), "hunter2") == NULL);
    OK(kv_error_free(error));
  }
  kv_db *db = NULL;
  OK(kv_options_set(options, "tier_password", "hunter2", NULL));
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, &error));
  CHECK(strncmp(kv_error_message(error), "option tier_url: lacking", 24) == 0);
  OK(kv_error_free(error));
  OK(kv_options_set(options, "tier_url", "redis://u:hunter2@", NULL));
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, &error));
  CHECK(strstr(kv_error_message(error), "hunter2") == NULL);
  OK(kv_error_free(error));
  OK(kv_options_free(options));
}

static void a_store_without_a_tier_has_nothing_to_send(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  OK(kv_flush(db, 0, NULL));
  char *text = NULL;
  OK(kv_tier_stats_json(db, &text, NULL));
  CHECK(strcmp(text, "null") == 0);
  kv_free(text);
  OK(kv_tier_stats_prometheus(db, &text, NULL));
  CHECK(text[0] == '\0');
  kv_free(text);
  IS(KV_INVALID_ARGUMENT, kv_tier_stats_json(db, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_flush(NULL, 0, NULL));
  kv_error *error = NULL;
  IS(KV_TIER, kv_increment_shared(db, S("n"), 1, NULL, &error));
  CHECK(strcmp(kv_error_message(error), "tier: not applied: the store has no tier") == 0);
  OK(kv_error_free(error));
  IS(KV_TIER, kv_preload(db, S("*"), 0, NULL, NULL, NULL, NULL));
  OK(kv_close(db, NULL));
  IS(KV_CLOSED, kv_add_shared(db, S("k"), S("v"), NULL, NULL));
  IS(KV_CLOSED, kv_flush(db, 0, NULL));
  IS(KV_CLOSED, kv_tier_stats_json(db, &text, NULL));
  OK(kv_db_free(db));
}

const test tier_tests[] = {
    TEST(what_one_store_sets_another_one_reads_in_every_way),
    TEST(a_host_that_must_not_be_held_up_gets_what_is_here_and_asks_for_the_rest),
    TEST(writes_go_on_while_redis_is_down_and_it_converges_when_it_is_back),
    TEST(what_redis_decides_holds_for_every_store_that_shares_the_key),
    TEST(a_pattern_is_preloaded_in_portions_and_can_be_gone_on_from),
    TEST(wrong_options_are_named_with_their_values_and_no_password_is_shown),
    TEST(a_store_without_a_tier_has_nothing_to_send),
    {NULL, NULL},
};

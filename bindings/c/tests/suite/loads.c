/* Loading anew behind a read, what is remembered of keys that are nowhere, and when userdata is released. */
#define _XOPEN_SOURCE 700
#include "redis.h"

#include <pthread.h>
#include <stdint.h>

/* What loaders bring and what became of them; each userdata is one of these `order`s. */
typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  kv_db *db;
  pthread_t caller;
  unsigned calls, releases, behind;
  /* A loader waits until it is let go. */
  int is_held;
  kv_status close;
} bench;

typedef struct {
  bench *of;
  const char *brings;
  unsigned released;
} order;

static int32_t load(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  order *o = userdata;
  bench *b = o->of;
  pthread_mutex_lock(&b->lock);
  CHECK(key_len == 1 && memcmp(key, "k", 1) == 0 && o->released == 0);
  b->calls++;
  if (!pthread_equal(pthread_self(), b->caller)) b->behind++;
  pthread_cond_broadcast(&b->changed);
  while (b->is_held) pthread_cond_wait(&b->changed, &b->lock);
  b->close = kv_close(b->db, NULL);
  pthread_mutex_unlock(&b->lock);
  if (o->brings == NULL) return KV_NOT_FOUND;
  if (strcmp(o->brings, "!") == 0) {
    OK(kv_sink_write(value, S("secret")));
    OK(kv_sink_fail(value, S("no network\377")));
    return KV_IO;
  }
  return kv_sink_write(value, o->brings, strlen(o->brings));
}

static void release(void *userdata) {
  order *o = userdata;
  pthread_mutex_lock(&o->of->lock);
  CHECK(o->released == 0);
  o->released = 1;
  o->of->releases++;
  IS(KV_IN_CALLBACK, kv_close(o->of->db, NULL));
  pthread_cond_broadcast(&o->of->changed);
  pthread_mutex_unlock(&o->of->lock);
  free(o);
}

static void *ordered(bench *b, const char *brings) {
  order *o = calloc(1, sizeof *o);
  CHECK(o != NULL);
  o->of = b;
  o->brings = brings;
  return o;
}

/* What is loaded for "k", as a text. */
static kv_status loaded(bench *b, const kv_load_options *options, const char *brings, char text[16]) {
  uint8_t *value = NULL;
  size_t len = 0;
  kv_error *error = NULL;
  kv_status status =
      kv_get_or_load_with(b->db, S("k"), options, load, ordered(b, brings), release, &value, &len, &error);
  snprintf(text, 16, "%.*s", (int)len, value == NULL ? "" : (const char *)value);
  if (status == KV_LOADER_FAILED) CHECK(strstr(kv_error_message(error), "no network\xef\xbf\xbd") != NULL);
  CHECK(strstr(kv_error_message(error), "secret") == NULL);
  OK(kv_error_free(error));
  kv_free(value);
  return status;
}

static unsigned releases_of(bench *b) {
  pthread_mutex_lock(&b->lock);
  unsigned releases = b->releases;
  pthread_mutex_unlock(&b->lock);
  return releases;
}

static void wait_for(bench *b, const unsigned *figure, unsigned count) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 60;
  pthread_mutex_lock(&b->lock);
  while (*figure < count) CHECK(pthread_cond_timedwait(&b->changed, &b->lock, &until) == 0);
  pthread_mutex_unlock(&b->lock);
}

static void set_held(bench *b, int is_held) {
  pthread_mutex_lock(&b->lock);
  b->is_held = is_held;
  pthread_cond_broadcast(&b->changed);
  pthread_mutex_unlock(&b->lock);
}

static void begin(bench *b, kv_clock **clock) {
  memset(b, 0, sizeof *b);
  pthread_mutex_init(&b->lock, NULL);
  pthread_cond_init(&b->changed, NULL);
  b->caller = pthread_self();
  *clock = kv_clock_new(1700000000000u);
  kv_options *options = kv_options_new();
  OK(kv_options_set_clock(options, *clock));
  OK(kv_open_in_memory(options, &b->db, NULL));
  OK(kv_options_free(options));
}

static void end(bench *b, kv_clock *clock) {
  OK(kv_db_free(b->db));
  OK(kv_clock_free(clock));
  pthread_mutex_destroy(&b->lock);
  pthread_cond_destroy(&b->changed);
}

static const kv_load_options fresh_for_10 = {100000, 10000, 0, 0, 0, 0};

static void a_stale_value_is_served_while_a_thread_of_the_store_loads_it_anew(void) {
  bench b;
  kv_clock *clock;
  char text[16];
  begin(&b, &clock);
  OK(loaded(&b, &fresh_for_10, "1", text));
  CHECK(strcmp(text, "1") == 0 && b.releases == 1 && b.behind == 0 && b.close == KV_IN_CALLBACK);
  OK(kv_clock_advance(clock, 9999));
  OK(loaded(&b, &fresh_for_10, "unwanted", text));
  CHECK(strcmp(text, "1") == 0 && b.calls == 1 && b.releases == 2);
  OK(kv_clock_advance(clock, 1));
  set_held(&b, 1);
  OK(loaded(&b, &fresh_for_10, "2", text));
  CHECK(strcmp(text, "1") == 0);
  wait_for(&b, &b.calls, 2);
  CHECK(releases_of(&b) == 2);
  /* Another refresh is not begun; what it was given is released at once. */
  OK(loaded(&b, &fresh_for_10, "unwanted", text));
  CHECK(strcmp(text, "1") == 0 && releases_of(&b) == 3);
  set_held(&b, 0);
  wait_for(&b, &b.releases, 4);
  CHECK(b.calls == 2 && b.behind == 1 && b.close == KV_IN_CALLBACK);
  OK(kv_close(b.db, NULL));
  IS(KV_CLOSED, loaded(&b, &fresh_for_10, "unwanted", text));
  CHECK(b.releases == 5 && b.calls == 2);
  end(&b, clock);
}

static void close_waits_for_a_loader_that_runs_and_releases_all(void) {
  bench b;
  kv_clock *clock;
  char text[16];
  begin(&b, &clock);
  OK(loaded(&b, &fresh_for_10, "1", text));
  OK(kv_clock_advance(clock, 10000));
  set_held(&b, 1);
  OK(kv_load_behind(b.db, S("k"), &fresh_for_10, load, ordered(&b, "2"), release, NULL));
  wait_for(&b, &b.calls, 2);
  pthread_t closer;
  CHECK(pthread_create(&closer, NULL, (void *(*)(void *))(void (*)(void))kv_db_free, b.db) == 0);
  set_held(&b, 0);
  CHECK(pthread_join(closer, NULL) == 0);
  /* Nothing is called any more: not even the lock is needed. */
  CHECK(b.calls == 2 && b.releases == 2);
  b.db = NULL;
  end(&b, clock);
}

static void what_a_loader_says_reaches_those_who_wait_and_absence_is_remembered(void) {
  bench b;
  kv_clock *clock;
  char text[16];
  begin(&b, &clock);
  kv_load_options options = {0, 0, 0, 10000, 0, 0};
  IS(KV_LOADER_FAILED, loaded(&b, &options, "!", text));
  IS(KV_NOT_FOUND, loaded(&b, &options, NULL, text));
  IS(KV_NOT_FOUND, loaded(&b, &options, "unwanted", text));
  CHECK(b.calls == 2 && b.releases == 3);
  uint8_t *value = NULL;
  size_t len = 0;
  uint32_t is_due = 2;
  IS(KV_NOT_FOUND, kv_get_loaded(b.db, S("k"), &options, &value, &len, &is_due, NULL));
  OK(kv_clock_advance(clock, 10000));
  IS(KV_NOT_MET, kv_get_loaded(b.db, S("k"), &options, &value, &len, &is_due, NULL));
  CHECK(value == NULL && is_due == 2);
  OK(loaded(&b, &fresh_for_10, "1", text));
  for (uint32_t due = 0; due < 2; due++) {
    OK(kv_get_loaded(b.db, S("k"), &fresh_for_10, &value, &len, &is_due, NULL));
    CHECK(len == 1 && value[0] == '1' && is_due == due);
    kv_free(value);
    OK(kv_clock_advance(clock, 10000));
  }
  end(&b, clock);
}

static void what_cannot_work_is_refused_and_released(void) {
  bench b;
  kv_clock *clock;
  char text[16];
  begin(&b, &clock);
  kv_load_options refused[] = {
      {0, 10, 0, 0, 0, 0}, {10, 10, 0, 0, 0, 0}, {0, 0, -1, 0, 0, 0}, {0, 0, 1e308 * 10, 0, 0, 0}};
  for (size_t at = 0; at < 4; at++) IS(KV_INVALID_OPTION, loaded(&b, &refused[at], "1", text));
  CHECK(b.releases == 4);
  uint8_t *value = NULL;
  size_t len = 0;
  uint32_t is_due;
  IS(KV_INVALID_ARGUMENT,
     kv_get_or_load_with(b.db, S("k"), NULL, NULL, ordered(&b, ""), release, &value, &len, NULL));
  IS(KV_INVALID_ARGUMENT,
     kv_get_or_load_with(b.db, S("k"), NULL, load, ordered(&b, ""), release, &value, NULL, NULL));
  IS(KV_INVALID_HANDLE,
     kv_get_or_load_with(NULL, S("k"), NULL, load, ordered(&b, ""), release, &value, &len, NULL));
  IS(KV_KEY_TOO_LONG,
     kv_get_or_load_with(b.db, "k", 65536, NULL, load, ordered(&b, ""), release, &value, &len, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_or_load_with(b.db, S("k"), NULL, load, ordered(&b, ""), release, &value, &len,
                                              (kv_error **)((char *)&b + 1)));
  IS(KV_INVALID_ARGUMENT, kv_load_behind(b.db, S("k"), NULL, NULL, ordered(&b, ""), release, NULL));
  IS(KV_INVALID_HANDLE, kv_load_behind(NULL, S("k"), NULL, load, ordered(&b, ""), release, NULL));
  OK(kv_load_behind(b.db, S("k"), NULL, load, ordered(&b, "nothing stands there"), release, NULL));
  IS(KV_INVALID_OPTION, kv_load_behind(b.db, S("k"), &refused[0], load, ordered(&b, ""), release, NULL));
  CHECK(b.releases == 13 && b.calls == 0);
  IS(KV_INVALID_OPTION, kv_get_loaded(b.db, S("k"), &refused[0], &value, &len, &is_due, NULL));
  IS(KV_INVALID_ARGUMENT, kv_get_loaded(b.db, S("k"), NULL, &value, &len, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_sink_fail(NULL, S("x")));
  /* Without a release there is nothing to be told. */
  order standing = {&b, "1", 0};
  OK(kv_get_or_load_with(b.db, S("k"), NULL, load, &standing, NULL, &value, &len, NULL));
  CHECK(len == 1 && value[0] == '1' && b.releases == 13);
  kv_free(value);
  end(&b, clock);
}

typedef struct {
  kv_db *db;
  kv_status inner;
} capitals;

/* The store holds text, Redis the same in capitals; what begins with '#' has no form. */
static int32_t shifted(void *userdata, const void *data, size_t len, char from, char to, kv_sink *sink) {
  capitals *c = userdata;
  if (c->db != NULL) c->inner = kv_set(c->db, S("k"), S("v"), NULL);
  if (len > 0 && memcmp(data, "#", 1) == 0) {
    OK(kv_sink_fail(sink, S("it has no form")));
    return -1;
  }
  OK(kv_sink_write(sink, NULL, 0));
  for (size_t at = 0; at < len; at++) {
    char letter = ((const char *)data)[at];
    if (letter >= from && letter <= from + 25) letter = (char)(letter - from + to);
    OK(kv_sink_write(sink, &letter, 1));
  }
  return KV_OK;
}

static int32_t to_capitals(void *c, const void *key, size_t key_len, const void *data, size_t len, kv_sink *to) {
  CHECK(key_len > 0 && key != NULL);
  return shifted(c, data, len, 'a', 'A', to);
}

static int32_t from_capitals(void *c, const void *key, size_t key_len, const void *data, size_t len, kv_sink *to) {
  CHECK(key_len > 0 && key != NULL);
  return shifted(c, data, len, 'A', 'a', to);
}

static kv_db *in_capitals(const char *url, capitals *c) {
  kv_options *options = kv_options_new();
  kv_db *db = NULL;
  OK(kv_options_set_tier_encoder(options, to_capitals, from_capitals, KV_NUMBERS_DECIMAL, c, NULL));
  OK(kv_options_set(options, "tier_prefix", "t:", NULL));
  OK(kv_options_set(options, "tier_timeout", "20s", NULL));
  OK(kv_options_set(options, "tier_url", url, NULL));
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_options_free(options));
  return db;
}

static void redis_holds_what_the_encoder_of_a_host_makes_of_a_value(void) {
  redis r;
  start(&r);
  kv_options *options = kv_options_new();
  IS(KV_INVALID_ARGUMENT, kv_options_set_tier_encoder(options, NULL, from_capitals, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_options_set_tier_encoder(options, to_capitals, NULL, 0, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_options_set_tier_encoder(options, to_capitals, from_capitals, 2, NULL, NULL));
  OK(kv_options_free(options));
  capitals here = {NULL, KV_OK}, there = {NULL, KV_OK};
  kv_db *db = in_capitals(r.url, &here), *other = in_capitals(r.url, &there), *plain = sharing(r.url, NULL, NULL);
  here.db = db;
  OK(kv_set(db, S("a"), S("text"), NULL));
  OK(kv_set(db, S("b"), S("# text"), NULL));
  OK(kv_set(db, S("empty"), S(""), NULL));
  OK(kv_flush(db, 60000, NULL));
  CHECK(here.inner == KV_IN_CALLBACK);
  char buffer[16];
  size_t len = 0;
  OK(kv_get(plain, S("a"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 4 && memcmp(buffer, "TEXT", 4) == 0);
  IS(KV_NOT_FOUND, kv_get(plain, S("b"), buffer, sizeof buffer, &len, NULL));
  OK(kv_get(other, S("a"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 4 && memcmp(buffer, "text", 4) == 0);
  OK(kv_get(other, S("empty"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 0);
  OK(kv_set(plain, S("c"), S("#"), NULL));
  OK(kv_flush(plain, 60000, NULL));
  kv_error *error = NULL;
  IS(KV_TIER, kv_get(other, S("c"), buffer, sizeof buffer, &len, &error));
  CHECK(strstr(kv_error_message(error), "it has no form") != NULL);
  OK(kv_error_free(error));
  int64_t sum = 0;
  OK(kv_increment_shared(db, S("n"), 41, &sum, NULL));
  OK(kv_increment_shared(other, S("n"), 1, &sum, NULL));
  CHECK(sum == 42);
  OK(kv_db_free(db));
  OK(kv_db_free(other));
  OK(kv_db_free(plain));
  down(&r);
}

static void of_two_stores_that_miss_a_key_one_loads_it_under_a_lease(void) {
  redis r;
  start(&r);
  bench b;
  kv_clock *clock;
  char text[16];
  begin(&b, &clock);
  kv_db *unshared = b.db, *stores[] = {sharing(r.url, NULL, NULL), sharing(r.url, NULL, NULL)};
  kv_load_options leased = {100000, 0, 0, 0, 60000, 0};
  for (size_t at = 0; at < 2; at++) {
    b.db = stores[at];
    OK(loaded(&b, &leased, at == 0 ? "1" : "unwanted", text));
    CHECK(strcmp(text, "1") == 0);
  }
  CHECK(b.calls == 1 && b.releases == 2);
  OK(kv_db_free(stores[0]));
  OK(kv_db_free(stores[1]));
  b.db = unshared;
  end(&b, clock);
  down(&r);
}

const test loads_tests[] = {
    TEST(a_stale_value_is_served_while_a_thread_of_the_store_loads_it_anew),
    TEST(close_waits_for_a_loader_that_runs_and_releases_all),
    TEST(what_a_loader_says_reaches_those_who_wait_and_absence_is_remembered),
    TEST(what_cannot_work_is_refused_and_released),
    TEST(redis_holds_what_the_encoder_of_a_host_makes_of_a_value),
    TEST(of_two_stores_that_miss_a_key_one_loads_it_under_a_lease),
    {NULL, NULL},
};

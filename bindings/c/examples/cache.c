/* A cache in memory: values that expire, one loader per key however many ask, and a limit on what is held. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

/* Stands for a slow query. */
static int32_t load_user(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  int *queries = userdata;
  ++*queries;
  kv_sink_write(value, "name of ", 8);
  return kv_sink_write(value, key, key_len);
}

/* Weighs a page by its lines. */
static int32_t lines(void *userdata, const void *key, size_t key_len, const void *value, size_t value_len, uint32_t *weight) {
  (void)userdata, (void)key, (void)key_len;
  *weight = 1;
  for (size_t at = 0; at < value_len; at++) *weight += ((const char *)value)[at] == '\n';
  return KV_OK;
}

static uint64_t figure(const kv_db *db, const char *name) {
  uint64_t value = 0;
  check(kv_stats_get(db, name, &value, NULL), name);
  return value;
}

int main(void) {
  kv_options *options = kv_options_new();
  check(kv_options_set(options, "default_ttl", "5m", NULL), "default_ttl");
  kv_db *db = NULL;
  check(kv_open_in_memory(options, &db, NULL), "open");
  kv_options_free(options);

  int queries = 0;
  for (int at = 0; at < 3; at++) {
    uint8_t *value = NULL;
    size_t len = 0;
    check(kv_get_or_load(db, "user:7", 6, NULL, load_user, &queries, &value, &len, NULL), "load");
    printf("%.*s\n", (int)len, (const char *)value);
    kv_free(value);
  }
  printf("queries: %d\n", queries);

  uint64_t ttl_ms = 0;
  check(kv_ttl(db, "user:7", 6, &ttl_ms, NULL), "ttl");
  printf("expires within five minutes: %s\n", ttl_ms <= 300000 ? "yes" : "no");
  check(kv_close(db, NULL), "close");
  kv_db_free(db);

  /* Holds a hundred entries, or a thousand lines; what nobody asks for goes. */
  options = kv_options_new();
  check(kv_options_set(options, "max_entries", "100", NULL), "max_entries");
  check(kv_options_set(options, "max_bytes", "1000", NULL), "max_bytes");
  check(kv_options_set_weigher(options, lines, NULL), "weigher");
  check(kv_open_in_memory(options, &db, NULL), "open");
  kv_options_free(options);
  for (int n = 0; n < 500; n++) {
    char key[32];
    int key_len = snprintf(key, sizeof key, "page %d", n);
    check(kv_set(db, key, (size_t)key_len, "one\ntwo\nthree", 13, NULL), "set");
  }
  printf("pages: %llu, lines: %llu, evicted: %llu\n", (unsigned long long)figure(db, "entries"),
         (unsigned long long)figure(db, "weight"), (unsigned long long)figure(db, "evicted"));
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

/* A cache in memory: values that expire, and one loader per key however many ask. */
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
  return 0;
}

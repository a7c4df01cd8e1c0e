/* A value that is dear to make: served while a thread of the store makes it anew. The clock is the example's own. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

/* Counts: one loader runs for a key at a time. With a `release` function the library would say when it needs `userdata` no more. */
static int32_t load_price(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  char text[32];
  int len = sprintf(text, "price %d", ++*(int *)userdata);
  (void)key, (void)key_len;
  return kv_sink_write(value, text, (size_t)len);
}

static int loads = 0;

static const char *price(kv_db *db) {
  /* Served for a minute, and loaded anew after ten seconds of it. */
  kv_load_options options = {60000, 10000, 0, 0, 0, 0};
  static char text[32];
  uint8_t *value = NULL;
  size_t len = 0;
  check(kv_get_or_load_with(db, "gold", 4, &options, load_price, &loads, NULL, &value, &len, NULL), "load");
  sprintf(text, "%.*s", (int)len, (const char *)value);
  kv_free(value);
  return text;
}

int main(void) {
  kv_clock *clock = kv_clock_new(1700000000000u);
  kv_options *options = kv_options_new();
  check(kv_options_set_clock(options, clock), "clock");
  kv_db *db = NULL;
  check(kv_open_in_memory(options, &db, NULL), "open");
  kv_options_free(options);

  printf("loaded: %s\n", price(db));
  check(kv_clock_advance(clock, 10000), "advance");
  printf("served while it is loaded anew: %s\n", price(db));
  while (strcmp(price(db), "price 1") == 0) continue;
  printf("loaded anew: %s\n", price(db));

  /* Waits for a loader that runs. */
  check(kv_close(db, NULL), "close");
  printf("loads: %d\n", loads);
  kv_db_free(db);
  kv_clock_free(clock);
  return 0;
}

/* Reads in place: no copy, however large the value is. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES (8 << 20)

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

int main(void) {
  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");
  char *image = malloc(VALUE_BYTES);
  if (image == NULL) return 1;
  memset(image, 'i', VALUE_BYTES);
  check(kv_set(db, "image", 5, image, VALUE_BYTES, NULL), "set");
  free(image);

  kv_pin *pin = NULL;
  check(kv_pin_open(db, &pin, NULL), "pin");
  const uint8_t *value = NULL;
  size_t len = 0;
  check(kv_pin_get(pin, "image", 5, &value, &len, NULL), "get");
  /* An overwrite does not disturb what is pinned. */
  check(kv_set(db, "image", 5, "new", 3, NULL), "overwrite");
  size_t sum = 0;
  for (size_t at = 0; at < len; at++) sum += value[at] == 'i';
  printf("%zu of %d bytes read in place\n", sum, VALUE_BYTES);
  check(kv_pin_release(pin), "release");
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

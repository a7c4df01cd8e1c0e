/* Many keys in one call: set, read, scanned, deleted. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

int main(void) {
  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");

  kv_pair pairs[] = {{{"city:1", 6}, {"Oslo", 4}}, {{"city:2", 6}, {"Lima", 4}}, {{"city:3", 6}, {"Kyoto", 5}}};
  check(kv_set_many(db, pairs, 3, NULL), "set");

  kv_slice keys[] = {{"city:2", 6}, {"city:9", 6}};
  kv_slice *values = NULL;
  check(kv_get_many(db, keys, 2, &values, NULL), "get");
  for (int at = 0; at < 2; at++) {
    printf("%s: %.*s\n", (const char *)keys[at].data, (int)values[at].len,
           values[at].data ? (const char *)values[at].data : "");
  }
  kv_free(values);

  /* Sets and deletes together: after a crash all of it is there or nothing. */
  kv_change changes[] = {
      {{"city:1", 6}, {NULL, 0}, KV_CHANGE_DELETE, 0, 0, 0},
      {{"city:4", 6}, {"Quito", 5}, KV_CHANGE_SET, KV_EXPIRE_AFTER, 60000, KV_CODEC_TEXT},
  };
  check(kv_apply(db, changes, 2, NULL), "apply");

  kv_scan_options cities = {.prefix = {"city:", 5}, .ordered = 1};
  kv_scan *scan = NULL;
  check(kv_scan_open(db, &cities, &scan, NULL), "scan");
  const kv_entry *entries = NULL;
  size_t count = 0;
  do {
    check(kv_scan_next(scan, 100, &entries, &count, NULL), "next");
    for (size_t at = 0; at < count; at++) {
      printf("%.*s = %.*s\n", (int)entries[at].key.len, (const char *)entries[at].key.data,
             (int)entries[at].value.len, (const char *)entries[at].value.data);
    }
  } while (count > 0);
  kv_scan_free(scan);
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

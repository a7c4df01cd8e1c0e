/* Keys in order: from one to another, the last first, and all as of one moment. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

static kv_scan *scan(const kv_db *db, kv_scan_options options) {
  kv_scan *scan = NULL;
  check(kv_scan_open(db, &options, &scan, NULL), "scan");
  return scan;
}

static void show(const char *what, kv_scan *scan) {
  printf("%s:", what);
  const kv_entry *entries = NULL;
  size_t count = 0;
  do {
    check(kv_scan_next(scan, 100, &entries, &count, NULL), "next");
    for (size_t at = 0; at < count; at++) {
      printf(" %.*s=%.*s", (int)entries[at].key.len, (const char *)entries[at].key.data, (int)entries[at].value.len,
             (const char *)entries[at].value.data);
    }
  } while (count > 0);
  printf("\n");
  kv_scan_free(scan);
}

int main(void) {
  /* Worth its memory where scans are frequent; without it they give the same. */
  kv_options *options = kv_options_new();
  check(kv_options_set(options, "ordered_index", "true", NULL), "option");
  kv_db *db = NULL;
  check(kv_open_in_memory(options, &db, NULL), "open");
  kv_options_free(options);
  kv_pair pairs[] = {
      {{"05-02", 5}, {"rain", 4}}, {{"05-04", 5}, {"sun", 3}}, {{"05-03", 5}, {"fog", 3}}, {{"06-01", 5}, {"sun", 3}}};
  check(kv_set_many(db, pairs, 4, NULL), "set");

  show("from 05-03 on", scan(db, (kv_scan_options){.start = {"05-03", 5}}));
  show("before 06", scan(db, (kv_scan_options){.end = {"06", 2}}));
  show("the last in May", scan(db, (kv_scan_options){.prefix = {"05-", 3}, .reverse = 1, .limit = 1}));

  kv_scan *snapshot = scan(db, (kv_scan_options){.ordered = 1, .snapshot = 1});
  check(kv_set(db, "05-02", 5, "snow", 4, NULL), "set");
  check(kv_delete(db, "06-01", 5, NULL), "delete");
  show("as it was", snapshot);
  show("as it is", scan(db, (kv_scan_options){.ordered = 1}));
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

/* Being told what changes, and going on later where one stood. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

static void tell(kv_watch *watch) {
  kv_watch_change change;
  kv_status status;
  while ((status = kv_watch_next(watch, 0, &change, NULL)) == KV_OK) {
    printf("%.*s", (int)change.key.len, (const char *)change.key.data);
    switch (change.kind) {
      case KV_WATCH_PUT: printf(" is %.*s\n", (int)change.value.len, (const char *)change.value.data); break;
      case KV_WATCH_REMOVED: printf(" is gone\n"); break;
      default: printf("all are gone\n");
    }
  }
  if (status != KV_NOT_FOUND) check(status, "next");
}

int main(void) {
  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");
  kv_watch *watch = NULL;
  check(kv_watch_open(db, "user:", 5, KV_WATCH_FROM_NOW, &watch, NULL), "watch");
  check(kv_set(db, "user:7", 6, "Alice", 5, NULL), "set");
  check(kv_set(db, "order:1", 7, "tea", 3, NULL), "set");
  check(kv_delete(db, "user:7", 6, NULL), "delete");
  tell(watch);

  /* To be kept with what was made of the changes: in a store in a directory it counts after a restart too. */
  uint64_t position;
  check(kv_watch_position(watch, &position, NULL), "position");
  kv_watch_free(watch);
  check(kv_set(db, "user:8", 6, "Bob", 3, NULL), "set");
  kv_watch *later = NULL;
  check(kv_watch_open(db, "user:", 5, position, &later, NULL), "watch");
  printf("later:\n");
  tell(later);
  check(kv_clear(db, NULL), "clear");
  tell(later);
  kv_watch_free(later);
  check(kv_close(db, NULL), "close");
  kv_db_free(db);
  return 0;
}

/* A store on disk: each write is durable before its call returns, and is found again. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>

static void check(kv_status status, kv_error *error) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s\n", error ? kv_error_message(error) : kv_strerror(status));
  kv_error_free(error);
  exit(1);
}

static kv_db *open_store(const char *path) {
  kv_options *options = kv_options_new();
  kv_error *error = NULL;
  kv_db *db = NULL;
  check(kv_options_set(options, "sync", "always", &error), error);
  check(kv_open(path, options, &db, &error), error);
  kv_options_free(options);
  return db;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  kv_error *error = NULL;
  kv_db *db = open_store(argv[1]);
  int64_t visits = 0;
  check(kv_increment(db, "visits", 6, 1, &visits, &error), error);
  check(kv_close(db, &error), error);
  kv_db_free(db);

  db = open_store(argv[1]);
  char text[32];
  size_t len = 0;
  check(kv_get(db, "visits", 6, text, sizeof text, &len, &error), error);
  printf("visits: %.*s\n", (int)len, text);
  check(kv_close(db, &error), error);
  kv_db_free(db);
  return 0;
}

/* A store that people read and edit as a JSON file, and entries that come in as a table and go out as lines. */
#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(kv_status status, const char *what) {
  if (status == KV_OK) return;
  fprintf(stderr, "%s: %s\n", what, kv_strerror(status));
  exit(1);
}

/* Brings a text, a part a call. */
static int32_t read_text(void *userdata, void *data, size_t len, size_t *read) {
  const char **rest = userdata;
  *read = strlen(*rest) < len ? strlen(*rest) : len;
  memcpy(data, *rest, *read);
  *rest += *read;
  return 0;
}

static int32_t print(void *userdata, const void *data, size_t len) {
  (void)userdata;
  return fwrite(data, 1, len, stdout) == len ? 0 : -1;
}

static void print_file(const char *path) {
  char part[4096];
  FILE *file = fopen(path, "r");
  if (file == NULL) exit(1);
  for (size_t len; (len = fread(part, 1, sizeof part, file)) > 0;) fwrite(part, 1, len, stdout);
  fclose(file);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  FILE *file = fopen(argv[1], "w");
  if (file == NULL) return 1;
  fputs("{\"name\": \"Alice\", \"age\": 30}", file);
  fclose(file);

  /* The file is taken into the store, and written anew when that has changed: at the latest as it closes. */
  kv_options *options = kv_options_new();
  check(kv_options_set(options, "json_mirror", argv[1], NULL), "option");
  kv_db *people = NULL;
  check(kv_open_in_memory(options, &people, NULL), "open");
  kv_options_free(options);
  check(kv_increment(people, "age", 3, 1, NULL, NULL), "increment");
  check(kv_set(people, "city", 4, "Bern", 4, NULL), "set");
  check(kv_close(people, NULL), "close");
  kv_db_free(people);
  print_file(argv[1]);

  kv_db *db = NULL;
  check(kv_open_in_memory(NULL, &db, NULL), "open");
  const char *table = "id,name,mail\n7,Alice,a@example.org\n8,Bob,b@example.org\n";
  kv_transfer_options columns;
  memset(&columns, 0, sizeof columns);
  columns.key_column.data = "id";
  columns.key_column.len = 2;
  columns.value_column.data = "name";
  columns.value_column.len = 4;
  kv_transferred done;
  check(kv_import_from(db, read_text, &table, KV_FORMAT_CSV, &columns, &done, NULL), "import");
  printf("%llu entries\n", (unsigned long long)done.entries);
  kv_scan_options entries;
  memset(&entries, 0, sizeof entries);
  entries.ordered = 1;
  check(kv_export_to(db, print, NULL, KV_FORMAT_NDJSON, NULL, &entries, NULL, NULL), "export");
  kv_db_free(db);
  return 0;
}

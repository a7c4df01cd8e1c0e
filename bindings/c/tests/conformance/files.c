/* Mirrors, entries by the thousand, and watches: the operations of the script that need more than one call. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#define LINE_BYTES_MAX 65536

static void write_mirror(const script_case *c, char **words, size_t count) {
  FILE *file = fopen(mirror_of(c), "wb");
  NEED(file != NULL, "%s cannot be written", mirror_of(c));
  for (size_t at = 0; at < count; at++) {
    kv_slice line = bytes_of(words[at]);
    NEED(fwrite(line.data, 1, line.len, file) == line.len && fputc('\n', file) == '\n', "no room for the mirror");
  }
  NEED(fclose(file) == 0, "no room for the mirror");
}

static void read_mirror(const script_case *c, text *answer) {
  FILE *file = fopen(mirror_of(c), "rb");
  NEED(file != NULL, "%s cannot be read", mirror_of(c));
  char *line = line_memory(LINE_BYTES_MAX);
  while (fgets(line, LINE_BYTES_MAX, file) != NULL) {
    if (answer->len > 0) text_add(answer, " ");
    text_add_word(answer, line, strcspn(line, "\n"));
  }
  fclose(file);
}

static void fill(kv_db *db, uint64_t count) {
  for (uint32_t n = 0; n < count; n++) {
    char key[16], value[128];
    int key_len = snprintf(key, sizeof key, "%u", n);
    int len = snprintf(value, sizeof value, "name: package-%u; section: libs; priority: optional; sum: %u", n, n * 2654435761u);
    NEED(kv_set(db, key, (size_t)key_len, value, (size_t)len, NULL) == KV_OK, "%s is not set", key);
  }
}

static kv_status watch(script_case *c, const char *prefix, const char *after) {
  kv_slice begins = bytes_of(prefix);
  uint64_t version = strcmp(after, "now") == 0 ? KV_WATCH_FROM_NOW : version_of(c, after);
  NEED(kv_watch_free(c->watch) == KV_OK, "the watch stays");
  c->watch = NULL;
  return kv_watch_open(c->db, begins.data, begins.len, version, &c->watch, NULL);
}

static void add_change(text *answer, const kv_watch_change *change) {
  if (change->kind == KV_WATCH_CLEARED) {
    text_add(answer, "cleared");
    return;
  }
  text_add(answer, change->kind == KV_WATCH_PUT ? "put:" : "removed:");
  text_add_word(answer, change->key.data, change->key.len);
  if (change->kind == KV_WATCH_PUT) {
    text_add(answer, "=");
    text_add_word(answer, change->value.data, change->value.len);
  } else {
    text_add(answer, ":%s", causes[change->cause]);
  }
}

/* What there is to tell by now. */
static void changes(script_case *c, text *answer) {
  for (;;) {
    kv_watch_change change;
    kv_status status = kv_watch_next(c->watch, 0, &change, NULL);
    if (status == KV_NOT_FOUND) break;
    if (status != KV_OK && status != KV_LAGGED) {
      answer->len = 0;
      answer_status(answer, status);
      return;
    }
    if (answer->len > 0) text_add(answer, " ");
    if (status == KV_LAGGED) {
      text_add(answer, "lagged");
    } else {
      add_change(answer, &change);
    }
  }
  if (answer->len == 0) text_add(answer, "none");
}

int use_files_and_watches(script_case *c, char **words, size_t count, const char *expected, text *answer) {
  if (strcmp(words[0], "write_mirror") == 0) {
    write_mirror(c, words + 1, count - 1);
    text_add(answer, "ok");
  } else if (strcmp(words[0], "mirror") == 0) {
    read_mirror(c, answer);
  } else if (strcmp(words[0], "fill") == 0 && count == 2) {
    fill(c->db, number_of(words[1]));
    text_add(answer, "ok");
  } else if (strcmp(words[0], "watch") == 0 && count == 3) {
    answer_status(answer, watch(c, words[1], words[2]));
  } else if (strcmp(words[0], "changes") == 0) {
    changes(c, answer);
  } else if (strcmp(words[0], "position") == 0) {
    uint64_t position = 0;
    kv_status status = kv_watch_position(c->watch, &position, NULL);
    NEED(status == KV_OK, "a watch without a position");
    save(c, position, expected, answer);
  } else {
    return 0;
  }
  return 1;
}

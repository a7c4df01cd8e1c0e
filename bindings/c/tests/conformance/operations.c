/* What each operation of the script is in C, and how its outcome is written as an answer. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#include <stdint.h>
#include <time.h>

#define IS_OPERATION(name, arguments) (strcmp(words[0], name) == 0 && count == (arguments) + 1)

static const char *name_of(kv_status status) {
  switch (status) {
    case KV_INVALID_OPTION: return "invalid_option";
    case KV_KEY_TOO_LONG: return "key_too_long";
    case KV_VALUE_TOO_LONG: return "value_too_long";
    case KV_NOT_AN_INTEGER: return "not_an_integer";
    case KV_OVERFLOW: return "overflow";
    case KV_NOT_TEXT: return "not_text";
    case KV_BAD_IMPORT: return "bad_import";
    case KV_CLOSED: return "closed";
    case KV_READ_ONLY: return "read_only";
    case KV_LOADER_FAILED: return "loader_failed";
    case KV_NOT_A_STORE: return "not_a_store";
    case KV_LOCKED: return "locked";
    case KV_CORRUPT: return "corrupt";
    case KV_KEY_LOCKED: return "key_locked";
    case KV_CONFLICT: return "conflict";
    case KV_SESSION_ENDED: return "session_ended";
    case KV_WRONG_CODEC: return "wrong_codec";
    case KV_TIER: return "tier";
    default: return "of another kind";
  }
}

void answer_status(text *answer, kv_status status) {
  switch (status) {
    case KV_OK: text_add(answer, "ok"); break;
    case KV_NOT_FOUND: text_add(answer, "absent"); break;
    case KV_NOT_MET: text_add(answer, "not_met"); break;
    default: text_add(answer, "error %s", name_of(status));
  }
}

/* For calls whose answer is whether they did something. */
static void answer_done(text *answer, kv_status status) {
  int is_no = status == KV_NOT_FOUND || status == KV_NOT_MET;
  if (status == KV_OK || is_no) {
    text_add(answer, is_no ? "false" : "true");
  } else {
    answer_status(answer, status);
  }
}

static void answer_number(text *answer, kv_status status, uint64_t number) {
  if (status == KV_OK) {
    text_add(answer, "%llu", (unsigned long long)number);
  } else {
    answer_status(answer, status);
  }
}

static void answer_value(text *answer, kv_status status, const void *value, size_t len) {
  if (status == KV_OK) {
    text_add_word(answer, value, len);
  } else {
    answer_status(answer, status);
  }
}

void answer_owned(text *answer, kv_status status, uint8_t *value, size_t len) {
  answer_value(answer, status, value, len);
  kv_free(value);
}

static void answer_buffered(text *answer, const kv_db *db, kv_slice key, size_t room) {
  unsigned char *buffer = line_memory(room);
  size_t len = 0;
  kv_status status = kv_get(db, key.data, key.len, buffer, room, &len, NULL);
  if (status == KV_TOO_SMALL) {
    text_add(answer, "too_small %zu", len);
  } else {
    answer_value(answer, status, buffer, len);
  }
}

static void answer_pinned(text *answer, const kv_db *db, kv_slice key) {
  kv_pin *pin = NULL;
  const uint8_t *value = NULL;
  size_t len = 0;
  kv_status status = kv_pin_open(db, &pin, NULL);
  if (status == KV_OK) status = kv_pin_get(pin, key.data, key.len, &value, &len, NULL);
  answer_value(answer, status, value, len);
  NEED(kv_pin_release(pin) == KV_OK, "the pin stays");
}

uint32_t expiry_of(const char *word, uint64_t *ms) {
  static const char *const names[] = {"default", "never", "after:", "at:", "keep"};
  for (uint32_t kind = 0; kind < 5; kind++) {
    size_t len = strlen(names[kind]);
    if (strncmp(word, names[kind], len) != 0) continue;
    if (kind == KV_EXPIRE_AFTER || kind == KV_EXPIRE_AT) *ms = number_of(word + len);
    return kind;
  }
  NEED(0, "%s is no expiry", word);
  return 0;
}

static uint32_t condition_of(const script_case *c, const char *word, uint64_t *version) {
  if (strcmp(word, "always") == 0) return KV_ALWAYS;
  if (strcmp(word, "if_absent") == 0) return KV_IF_ABSENT;
  if (strcmp(word, "if_present") == 0) return KV_IF_PRESENT;
  NEED(strncmp(word, "if_version:", 11) == 0, "%s is no condition", word);
  *version = version_of(c, word + 11);
  return KV_IF_VERSION;
}

static kv_slice *keys_of(char **words, size_t count) {
  kv_slice *keys = line_memory(count * sizeof *keys);
  for (size_t at = 0; at < count; at++) keys[at] = bytes_of(words[at]);
  return keys;
}

void answer_many(text *answer, const kv_db *db, uint32_t codec, char **words, size_t count) {
  kv_slice *values = NULL;
  kv_status status = codec == KV_CODEC_RAW
                         ? kv_get_many(db, keys_of(words, count), count, &values, NULL)
                         : kv_get_many_as(db, keys_of(words, count), count, codec, &values, NULL);
  if (status != KV_OK) {
    answer_status(answer, status);
    return;
  }
  if (count == 0) text_add(answer, "none");
  for (size_t at = 0; at < count; at++) {
    if (at > 0) text_add(answer, " ");
    if (values[at].data == NULL) {
      text_add(answer, "-");
    } else {
      text_add_word(answer, values[at].data, values[at].len);
    }
  }
  kv_free(values);
}

static kv_status set_many(const kv_db *db, char **words, size_t count) {
  kv_slice *slices = keys_of(words, count);
  kv_pair *pairs = line_memory(count / 2 * sizeof *pairs);
  for (size_t at = 0; at < count / 2; at++) pairs[at] = (kv_pair){slices[2 * at], slices[2 * at + 1]};
  return kv_set_many(db, pairs, count / 2, NULL);
}

static kv_status apply(const kv_db *db, char **words, size_t count) {
  kv_change *changes = line_memory(count * sizeof *changes);
  for (size_t at = 0; at < count; at++) {
    memset(&changes[at], 0, sizeof *changes);
    char *kind = strtok(words[at], ":"), *key = strtok(NULL, ":");
    changes[at].key = bytes_of(key);
    if (strcmp(kind, "delete") == 0) {
      changes[at].kind = KV_CHANGE_DELETE;
      continue;
    }
    NEED(strcmp(kind, "set") == 0, "%s is no change", kind);
    changes[at].value = bytes_of(strtok(NULL, ":"));
    changes[at].expiry = expiry_of(strtok(NULL, ""), &changes[at].expiry_ms);
  }
  return kv_apply(db, changes, count, NULL);
}

int32_t load(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  const char *word = userdata;
  (void)key;
  (void)key_len;
  if (strcmp(word, "!") == 0) return KV_IO;
  if (strcmp(word, "-") == 0) return KV_NOT_FOUND;
  kv_slice loaded = bytes_of(word);
  return (int32_t)kv_sink_write(value, loaded.data, loaded.len);
}

/* What a loader brings that may run when its line is long done. */
typedef struct {
  int32_t status;
  size_t len;
  char bytes[];
} later;

static later *later_of(const char *word) {
  int brings = strcmp(word, "!") != 0 && strcmp(word, "-") != 0;
  kv_slice bytes = {NULL, 0};
  if (brings) bytes = bytes_of(word);
  later *made = malloc(sizeof *made + bytes.len);
  NEED(made != NULL, "no memory");
  made->status = brings ? KV_OK : word[0] == '-' ? KV_NOT_FOUND : KV_IO;
  made->len = bytes.len;
  if (bytes.len > 0) memcpy(made->bytes, bytes.data, bytes.len);
  return made;
}

static int32_t load_later(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  const later *brings = userdata;
  (void)key;
  (void)key_len;
  return brings->status == KV_OK ? (int32_t)kv_sink_write(value, brings->bytes, brings->len) : brings->status;
}

static kv_load_options load_options_of(char **words, int count) {
  kv_load_options options = {0};
  for (int at = 0; at < count; at++) {
    const char *name = strtok(words[at], ":"), *figure = strtok(NULL, "");
    NEED(figure != NULL, "%s is no option", name);
    if (strcmp(name, "ttl") == 0) options.ttl_ms = number_of(figure);
    else if (strcmp(name, "fresh_for") == 0) options.fresh_for_ms = number_of(figure);
    else if (strcmp(name, "early") == 0) options.early = strtod(figure, NULL);
    else if (strcmp(name, "absent_for") == 0) options.absent_for_ms = number_of(figure);
    else if (strcmp(name, "lease") == 0) options.lease_ms = number_of(figure);
    else NEED(0, "%s is no option", name);
  }
  return options;
}

/* Whether a key comes to have what `get` answers with `expected`. */
static void await(text *answer, const kv_db *db, kv_slice key, const char *expected) {
  text now = {NULL, 0};
  for (int at = 0; at < 60000; at++) {
    uint8_t *owned = NULL;
    size_t len = 0;
    kv_status status = kv_get_owned(db, key.data, key.len, &owned, &len, NULL);
    now.len = 0;
    answer_owned(&now, status, owned, len);
    if (now.len == strlen(expected) && memcmp(now.data, expected, now.len) == 0) {
      text_add(answer, "ok");
      return;
    }
    struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  text_add(answer, "late");
}

static kv_status scan(text *answer, const kv_db *db, const kv_scan_options *options) {
  kv_scan *cursor = NULL;
  kv_status status = kv_scan_open(db, options, &cursor, NULL);
  size_t count = 1;
  while (status == KV_OK && count > 0) {
    const kv_entry *entries;
    status = kv_scan_next(cursor, 3, &entries, &count, NULL);
    for (size_t at = 0; status == KV_OK && at < count; at++) {
      if (answer->len > 0) text_add(answer, " ");
      text_add_word(answer, entries[at].key.data, entries[at].key.len);
      text_add(answer, "=");
      text_add_word(answer, entries[at].value.data, entries[at].value.len);
    }
  }
  NEED(kv_scan_free(cursor) == KV_OK, "the cursor stays");
  return status;
}

static uint32_t format_of(const char *word) {
  static const char *const names[] = {"ndjson", "json", "csv", "resp"};
  for (uint32_t format = 0; format < 4; format++) {
    if (strcmp(word, names[format]) == 0) return format;
  }
  NEED(0, "%s is no format", word);
  return 0;
}

static int32_t write_text(void *userdata, const void *data, size_t len) {
  text_add_bytes(userdata, data, len);
  return 0;
}

static kv_status export(text *answer, const kv_db *db, const char *format, kv_slice prefix) {
  kv_scan_options options = {.prefix = prefix, .ordered = 1};
  text lines = {NULL, 0};
  kv_status status = kv_export_to(db, write_text, &lines, format_of(format), NULL, &options, NULL, NULL);
  if (status != KV_OK || lines.len == 0) return status;
  /* Each line ends with a line feed. */
  const char *line = lines.data, *end = lines.data + lines.len, *feed;
  for (; (feed = memchr(line, '\n', (size_t)(end - line))) != NULL; line = feed + 1) {
    if (feed == line) continue;
    if (answer->len > 0) text_add(answer, " ");
    text_add_word(answer, line, (size_t)(feed - line));
  }
  return status;
}

typedef struct {
  char **words;
  size_t count, at;
} lines_left;

/* Brings one line a call. */
static int32_t read_line(void *userdata, void *data, size_t len, size_t *read) {
  lines_left *left = userdata;
  *read = 0;
  if (left->at == left->count) return 0;
  kv_slice line = bytes_of(left->words[left->at++]);
  NEED(line.len < len, "a line of %zu bytes", line.len);
  memcpy(data, line.data, line.len);
  ((char *)data)[line.len] = '\n';
  *read = line.len + 1;
  return 0;
}

void operate(script_case *c, char **words, size_t count, text *answer) {
  kv_db *db = c->db;
  NEED(db != NULL, "%s before open", words[0]);
  if (use_session(c, words, count, answer) || use_codec(c, words, count, answer)) return;
  kv_slice key = count > 1 ? bytes_of(words[1]) : (kv_slice){NULL, 0};
  kv_slice value = count > 2 ? bytes_of(words[2]) : (kv_slice){NULL, 0};
  const void *k = key.data, *v = value.data;
  uint8_t *owned = NULL;
  uint64_t number = 0;
  int64_t sum = 0;
  size_t len = 0;
  kv_status status;

  if (IS_OPERATION("get", 1)) {
    answer_buffered(answer, db, key, 1 << 18);
  } else if (IS_OPERATION("get_small", 2)) {
    answer_buffered(answer, db, key, (size_t)number_of(words[2]));
  } else if (IS_OPERATION("get_owned", 1)) {
    status = kv_get_owned(db, k, key.len, &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (IS_OPERATION("get_pinned", 1)) {
    answer_pinned(answer, db, key);
  } else if (IS_OPERATION("contains", 1)) {
    answer_done(answer, kv_contains(db, k, key.len, NULL));
  } else if (IS_OPERATION("ttl", 1)) {
    status = kv_ttl(db, k, key.len, &number, NULL);
    if (status == KV_OK && number == KV_TTL_NEVER) {
      text_add(answer, "never");
    } else {
      answer_number(answer, status, number);
    }
  } else if (IS_OPERATION("len", 0)) {
    status = kv_len(db, &number, NULL);
    answer_number(answer, status, number);
  } else if (IS_OPERATION("set", 2)) {
    answer_status(answer, kv_set(db, k, key.len, v, value.len, NULL));
  } else if (IS_OPERATION("set_with", 4)) {
    kv_set_options how = {0};
    how.condition = condition_of(c, words[3], &how.version);
    how.expiry = expiry_of(words[4], &how.expiry_ms);
    answer_status(answer, kv_set_with(db, k, key.len, v, value.len, &how, NULL, NULL));
  } else if (IS_OPERATION("add", 2)) {
    answer_done(answer, kv_add(db, k, key.len, v, value.len, NULL));
  } else if (IS_OPERATION("replace", 2)) {
    answer_done(answer, kv_replace(db, k, key.len, v, value.len, NULL));
  } else if (IS_OPERATION("compare_and_swap", 3)) {
    value = bytes_of(words[3]);
    number = version_of(c, words[2]);
    answer_status(answer, kv_compare_and_swap(db, k, key.len, number, value.data, value.len, NULL, NULL));
  } else if (IS_OPERATION("increment", 2)) {
    status = kv_increment(db, k, key.len, strtoll(words[2], NULL, 10), &sum, NULL);
    if (status == KV_OK) {
      text_add(answer, "%lld", (long long)sum);
    } else {
      answer_status(answer, status);
    }
  } else if (IS_OPERATION("expire", 2)) {
    answer_done(answer, kv_expire(db, k, key.len, number_of(words[2]), NULL));
  } else if (IS_OPERATION("expire_at", 2)) {
    answer_done(answer, kv_expire_at(db, k, key.len, number_of(words[2]), NULL));
  } else if (IS_OPERATION("touch", 1)) {
    answer_done(answer, kv_touch(db, k, key.len, NULL));
  } else if (IS_OPERATION("persist", 1)) {
    answer_done(answer, kv_persist(db, k, key.len, NULL));
  } else if (IS_OPERATION("take", 1)) {
    status = kv_take(db, k, key.len, &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (IS_OPERATION("delete", 1)) {
    answer_done(answer, kv_delete(db, k, key.len, NULL));
  } else if (strcmp(words[0], "get_many") == 0) {
    answer_many(answer, db, KV_CODEC_RAW, words + 1, count - 1);
  } else if (strcmp(words[0], "set_many") == 0) {
    answer_status(answer, set_many(db, words + 1, count - 1));
  } else if (strcmp(words[0], "delete_many") == 0) {
    status = kv_delete_many(db, keys_of(words + 1, count - 1), count - 1, &len, NULL);
    answer_number(answer, status, len);
  } else if (strcmp(words[0], "apply") == 0) {
    answer_status(answer, apply(db, words + 1, count - 1));
  } else if (IS_OPERATION("get_or_load", 2)) {
    status = kv_get_or_load(db, k, key.len, NULL, load, words[2], &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (strcmp(words[0], "get_or_load_with") == 0 && count > 2) {
    kv_load_options options = load_options_of(words + 3, count - 3);
    status = kv_get_or_load_with(db, k, key.len, &options, load_later, later_of(words[2]), free, &owned, &len, NULL);
    answer_owned(answer, status, owned, len);
  } else if (IS_OPERATION("await", 2)) {
    await(answer, db, key, words[2]);
  } else if (IS_OPERATION("scan", 2) || IS_OPERATION("range", 5) || IS_OPERATION("export", 2)) {
    kv_scan_options options = {.prefix = key, .ordered = 1};
    if (words[0][0] == 's') {
      options.limit = (size_t)number_of(words[2]);
    } else if (words[0][0] == 'r') {
      options.ordered = 0;
      options.start = bytes_of(words[2]);
      options.end = bytes_of(words[3]);
      options.limit = (size_t)number_of(words[4]);
      const char *how = words[5], *ways[] = {"forward", "reverse", "snapshot", "reverse+snapshot"};
      size_t way = 0;
      while (way < 4 && strcmp(how, ways[way]) != 0) way++;
      NEED(way < 4, "range: %s", how);
      options.reverse = way % 2;
      options.snapshot = way / 2;
    }
    status = words[0][0] == 'e' ? export(answer, db, words[1], value) : scan(answer, db, &options);
    if (status != KV_OK) {
      answer->len = 0;
      answer_status(answer, status);
    } else if (answer->len == 0) {
      text_add(answer, "none");
    }
  } else if (strcmp(words[0], "import") == 0 && count > 1) {
    lines_left lines = {words + 2, count - 2, 0};
    kv_transferred done = {0};
    status = kv_import_from(db, read_line, &lines, format_of(words[1]), NULL, &done, NULL);
    answer_number(answer, status, done.entries);
  } else if (IS_OPERATION("close", 0)) {
    answer_status(answer, kv_close(db, NULL));
  } else if (IS_OPERATION("clear", 0)) {
    answer_status(answer, kv_clear(db, NULL));
  } else if (IS_OPERATION("sweep", 0)) {
    answer_status(answer, kv_sweep(db, NULL));
  } else if (IS_OPERATION("sync", 0)) {
    answer_status(answer, kv_sync(db, NULL));
  } else if (IS_OPERATION("compact", 0)) {
    answer_status(answer, kv_compact(db, NULL));
  } else if (IS_OPERATION("now", 0)) {
    status = kv_now(db, &number, NULL);
    answer_number(answer, status, number);
  } else if (IS_OPERATION("figure", 1)) {
    status = kv_stats_get(db, words[1], &number, NULL);
    answer_number(answer, status, number);
  } else {
    NEED(0, "%s with %zu words is no operation", words[0], count - 1);
  }
}

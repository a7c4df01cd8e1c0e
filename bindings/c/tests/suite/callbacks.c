/* What the host's functions are told, in which thread, and what they may call. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <pthread.h>
#include <stdint.h>

typedef struct {
  pthread_mutex_t lock;
  pthread_t opener;
  kv_db *db;
  unsigned events[3];
  kv_status close, free_, set, logger;
  unsigned lines;
} heard;

static unsigned events_of(heard *h, int cause) {
  pthread_mutex_lock(&h->lock);
  unsigned count = h->events[cause];
  pthread_mutex_unlock(&h->lock);
  return count;
}

static int all_heard(void *state) { return events_of(state, KV_CAUSE_DELETED) == 2 && events_of(state, KV_CAUSE_EXPIRED) == 1; }

static void listen(void *userdata, const kv_event *event) {
  heard *h = userdata;
  CHECK(!pthread_equal(pthread_self(), h->opener));
  pthread_mutex_lock(&h->lock);
  uint32_t codec = memcmp(event->key.data, "a", 1) == 0 ? KV_CODEC_TEXT : KV_CODEC_RAW;
  CHECK(event->codec == codec);
  CHECK(event->version > 0 && event->value.len == 1 && memcmp(event->value.data, "v", 1) == 0);
  h->close = kv_close(h->db, NULL);
  h->free_ = kv_db_free(h->db);
  h->set = kv_set(h->db, S("from the listener"), S("v"), NULL);
  h->events[event->cause]++;
  pthread_mutex_unlock(&h->lock);
}

static void a_listener_hears_once_in_its_own_thread_and_may_call_but_not_close(void) {
  static heard h = {.lock = PTHREAD_MUTEX_INITIALIZER};
  h.opener = pthread_self();
  kv_clock *clock = kv_clock_new(1700000000000u);
  kv_options *options = kv_options_new();
  OK(kv_options_set_clock(options, clock));
  OK(kv_options_set_listener(options, listen, &h));
  IS(KV_INVALID_ARGUMENT, kv_options_set_listener(options, NULL, &h));
  OK(kv_open_in_memory(options, &h.db, NULL));
  kv_set_options as_text = {.codec = KV_CODEC_TEXT};
  OK(kv_set_with(h.db, S("a"), S("v"), &as_text, NULL, NULL));
  OK(kv_set(h.db, S("b"), S("v"), NULL));
  OK(kv_set(h.db, S("c"), S("v"), NULL));
  OK(kv_delete(h.db, S("a"), NULL));
  size_t removed;
  kv_slice keys[] = {SLICE("b")};
  OK(kv_delete_many(h.db, keys, 1, &removed, NULL));
  OK(kv_expire(h.db, S("c"), 5, NULL));
  OK(kv_clock_advance(clock, 10));
  OK(kv_sweep(h.db, NULL));
  CHECK(comes_true(all_heard, &h));
  OK(kv_close(h.db, NULL));
  CHECK(events_of(&h, KV_CAUSE_DELETED) == 2 && events_of(&h, KV_CAUSE_EXPIRED) == 1);
  CHECK(h.close == KV_IN_CALLBACK && h.free_ == KV_IN_CALLBACK && h.set == KV_OK);
  OK(kv_db_free(h.db));
  OK(kv_options_free(options));
  OK(kv_clock_free(clock));
}

static void take_line(void *userdata, const char *line, size_t line_len) {
  heard *h = userdata;
  CHECK(strlen(line) == line_len && line_len > 0);
  uint64_t entries;
  kv_db *other = NULL;
  pthread_mutex_lock(&h->lock);
  h->lines++;
  h->logger = h->db ? kv_len(h->db, &entries, NULL) : KV_OK;
  h->close = kv_close(h->db, NULL);
  h->set = kv_open_in_memory(NULL, &other, NULL);
  pthread_mutex_unlock(&h->lock);
}

/* A stored time that lies far ahead of the clock is reported at open. */
static void a_logger_takes_lines_and_may_call_nothing(void) {
  static heard h = {.lock = PTHREAD_MUTEX_INITIALIZER};
  char path[128];
  strcpy(path, fresh_dir());
  kv_clock *ahead = kv_clock_new(1700000000000u + 30u * 86400000u), *behind = kv_clock_new(1600000000000u);
  kv_options *options = kv_options_new();
  OK(kv_options_set_clock(options, ahead));
  kv_db *db = NULL;
  OK(kv_open(path, options, &db, NULL));
  kv_set_options soon = {KV_ALWAYS, KV_EXPIRE_AFTER, 1, 0, 0};
  OK(kv_set_with(db, S("k"), S("v"), &soon, NULL, NULL));
  OK(kv_clock_advance(ahead, 1000));
  IS(KV_NOT_FOUND, kv_contains(db, S("k"), NULL));
  OK(kv_db_free(db));
  h.db = memory_store();
  OK(kv_options_set_clock(options, behind));
  OK(kv_options_set_logger(options, take_line, &h));
  IS(KV_INVALID_ARGUMENT, kv_options_set_logger(options, NULL, &h));
  OK(kv_open(path, options, &db, NULL));
  OK(kv_db_free(db));
  CHECK(h.lines > 0 && h.logger == KV_IN_CALLBACK && h.close == KV_IN_CALLBACK && h.set == KV_IN_CALLBACK);
  OK(kv_db_free(h.db));
  OK(kv_options_free(options));
  OK(kv_clock_free(ahead));
  OK(kv_clock_free(behind));
}

typedef struct {
  kv_db *db;
  unsigned calls;
  int answer;
  kv_status close, nested;
} loading;

static int32_t load(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  loading *l = userdata;
  l->calls++;
  l->close = kv_close(l->db, NULL);
  OK(kv_sink_write(value, S("loaded ")));
  OK(kv_sink_write(value, key, key_len));
  OK(kv_sink_write(value, NULL, 0));
  IS(KV_INVALID_ARGUMENT, kv_sink_write(value, NULL, 1));
  IS(KV_INVALID_HANDLE, kv_sink_write((kv_sink *)l->db, S("x")));
  return l->answer;
}

static int32_t load_itself(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  loading *l = userdata;
  uint8_t *inner;
  size_t len;
  l->nested = kv_get_or_load(l->db, key, key_len, NULL, load_itself, l, &inner, &len, NULL);
  return value == NULL ? 0 : l->nested;
}

static int32_t load_nothing(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  return userdata || key_len == 0 || key == NULL ? kv_sink_write(value, NULL, 0) : KV_OK;
}

static void a_loader_runs_in_the_callers_thread_once_a_key(void) {
  loading l = {.db = memory_store(), .answer = KV_OK};
  uint8_t *value = NULL;
  size_t len = 0;
  kv_set_options how = {0, KV_EXPIRE_AFTER, 60000, 0, 0};
  for (int twice = 0; twice < 2; twice++) {
    OK(kv_get_or_load(l.db, S("k"), &how, load, &l, &value, &len, NULL));
    CHECK(len == 8 && memcmp(value, "loaded k", 8) == 0);
    kv_free(value);
  }
  CHECK(l.calls == 1 && l.close == KV_IN_CALLBACK);
  uint64_t ttl;
  OK(kv_ttl(l.db, S("k"), &ttl, NULL));
  CHECK(ttl <= 60000);
  value = NULL;
  l.answer = KV_NOT_FOUND;
  IS(KV_NOT_FOUND, kv_get_or_load(l.db, S("n"), NULL, load, &l, &value, &len, NULL));
  l.answer = -12345;
  kv_error *error = NULL;
  IS(KV_LOADER_FAILED, kv_get_or_load(l.db, S("n"), NULL, load, &l, &value, &len, &error));
  CHECK(strstr(kv_error_message(error), "-12345") != NULL && value == NULL);
  OK(kv_error_free(error));
  IS(KV_LOADER_FAILED, kv_get_or_load(l.db, S("n"), NULL, load_itself, &l, &value, &len, NULL));
  CHECK(l.nested == KV_LOADER_FAILED);
  /* As a host answers whose callback was cut off. */
  IS(KV_LOADER_FAILED, kv_get_or_load(l.db, S("n"), NULL, load_nothing, NULL, &value, &len, NULL));
  OK(kv_get_or_load(l.db, S("empty"), NULL, load_nothing, &l, &value, &len, NULL));
  CHECK(len == 0 && value != NULL);
  kv_free(value);
  IS(KV_INVALID_ARGUMENT, kv_get_or_load(l.db, S("n"), NULL, NULL, &l, &value, &len, NULL));
  IS(KV_NOT_FOUND, kv_contains(l.db, S("n"), NULL));
  OK(kv_db_free(l.db));
}

typedef struct {
  char text[4096];
  size_t len, at;
  int fails, lies;
} pipe_end;

static int32_t write_text(void *userdata, const void *data, size_t len) {
  pipe_end *to = userdata;
  if (to->fails || to->len + len > sizeof to->text) return -1;
  memcpy(to->text + to->len, data, len);
  to->len += len;
  return 0;
}

static int32_t read_text(void *userdata, void *data, size_t len, size_t *read) {
  pipe_end *from = userdata;
  size_t left = from->len - from->at;
  /* Few at a time, as a socket would. */
  size_t take = left < 7 ? left : 7;
  if (from->fails) return -1;
  CHECK(take <= len);
  memcpy(data, from->text + from->at, take);
  from->at += take;
  *read = from->lies ? len + 1 : take;
  return 0;
}

static int32_t read_nothing(void *userdata, void *data, size_t len, size_t *read) {
  (void)userdata;
  return data == NULL || len == 0 || read == NULL;
}

static void entries_are_exported_and_imported_by_function_and_file(void) {
  kv_db *db = memory_store(), *other = memory_store();
  OK(kv_set(db, S("a"), S("1"), NULL));
  OK(kv_set(db, S("b\377"), S("\0\1"), NULL));
  static pipe_end text;
  kv_transferred done = {0};
  OK(kv_export_to(db, write_text, &text, KV_FORMAT_NDJSON, NULL, NULL, &done, NULL));
  CHECK(done.entries == 2 && done.bytes == 6 && text.len > 0);
  OK(kv_import_from(other, read_text, &text, KV_FORMAT_NDJSON, NULL, &done, NULL));
  CHECK(done.entries == 2);
  char buffer[8];
  size_t len;
  OK(kv_get(other, S("b\377"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 2 && memcmp(buffer, "\0\1", 2) == 0);
  char path[140];
  snprintf(path, sizeof path, "%s.ndjson", fresh_dir());
  kv_scan_options only_a = {.prefix = SLICE("a")};
  OK(kv_export(db, path, KV_FORMAT_JSON, NULL, &only_a, &done, NULL));
  CHECK(done.entries == 1);
  OK(kv_clear(other, NULL));
  OK(kv_import(other, path, KV_FORMAT_JSON, NULL, &done, NULL));
  CHECK(done.entries == 1);
  IS(KV_NOT_TEXT, kv_export(db, path, KV_FORMAT_JSON, NULL, NULL, NULL, NULL));
  IS(KV_BAD_IMPORT, kv_import(other, path, KV_FORMAT_NDJSON, NULL, NULL, NULL));
  IS(KV_IO, kv_import(other, fresh_dir(), KV_FORMAT_NDJSON, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_import(other, path, 5, NULL, NULL, NULL));
  text.at = 0;
  text.lies = 1;
  IS(KV_IO, kv_import_from(other, read_text, &text, KV_FORMAT_NDJSON, NULL, NULL, NULL));
  IS(KV_IO, kv_import_from(other, read_nothing, NULL, KV_FORMAT_NDJSON, NULL, NULL, NULL));
  text.fails = 1;
  IS(KV_IO, kv_import_from(other, read_text, &text, KV_FORMAT_NDJSON, NULL, NULL, NULL));
  IS(KV_IO, kv_export_to(db, write_text, &text, KV_FORMAT_NDJSON, NULL, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_export_to(db, NULL, &text, KV_FORMAT_NDJSON, NULL, NULL, NULL, NULL));
  IS(KV_INVALID_ARGUMENT, kv_import_from(db, NULL, &text, KV_FORMAT_NDJSON, NULL, NULL, NULL));
  OK(kv_db_free(db));
  OK(kv_db_free(other));
}

typedef struct {
  uint64_t calls, entries;
  int goes_on;
  char skipped[64];
} told;

static int32_t hear(void *userdata, const kv_transferred *done, const char *skipped, size_t skipped_len) {
  told *to = userdata;
  to->calls++;
  to->entries = done->entries;
  CHECK(skipped_len < sizeof to->skipped);
  memcpy(to->skipped, skipped, skipped_len);
  to->skipped[skipped_len] = 0;
  return to->goes_on;
}

static void a_transfer_takes_options_and_tells_its_progress(void) {
  kv_db *db = memory_store();
  told heard = {.goes_on = 1};
  kv_transfer_options how = {.progress = hear, .progress_userdata = &heard, .skip_unknown = 1};
  pipe_end text = {.text = "SET a 1\nHSET h f v\nSELECT 1\nSET b 2\n"};
  text.len = strlen(text.text);
  kv_transferred done = {0};
  OK(kv_import_from(db, read_text, &text, KV_FORMAT_RESP, &how, &done, NULL));
  CHECK(done.entries == 1 && done.skipped == 2 && done.text_bytes == text.len);
  CHECK(heard.calls == 1 && heard.entries == 1 && strcmp(heard.skipped, "{\"HSET\":1,\"database 1\":1}") == 0);
  text.at = 0;
  how.database = 1;
  heard.goes_on = 0;
  IS(KV_CANCELLED, kv_import_from(db, read_text, &text, KV_FORMAT_RESP, &how, NULL, NULL));
  kv_transfer_options columns = {.key_column = SLICE("id"), .value_column = SLICE("name")};
  pipe_end table = {.text = "id,name\n7,Alice\n"};
  table.len = strlen(table.text);
  OK(kv_import_from(db, read_text, &table, KV_FORMAT_CSV, &columns, &done, NULL));
  CHECK(done.entries == 1);
  columns.key_column = (kv_slice){"\377", 1};
  IS(KV_INVALID_ARGUMENT, kv_import_from(db, read_text, &table, KV_FORMAT_CSV, &columns, NULL, NULL));
  OK(kv_db_free(db));
}

typedef struct {
  kv_db *db;
  unsigned asked;
  kv_status answer, nested;
} weighing;

/* By lines. */
static int32_t weigh(void *userdata, const void *key, size_t key_len, const void *value, size_t value_len, uint32_t *weight) {
  weighing *w = userdata;
  CHECK(key != NULL && *weight == key_len + value_len);
  w->asked++;
  w->nested = kv_delete(w->db, S("any"), NULL);
  *weight = 1;
  for (size_t at = 0; at < value_len; at++) *weight += ((const char *)value)[at] == '\n';
  return w->answer;
}

static void a_weigher_says_what_counts_and_may_call_nothing(void) {
  weighing w = {.answer = KV_OK};
  kv_options *options = kv_options_new();
  IS(KV_INVALID_ARGUMENT, kv_options_set_weigher(options, NULL, &w));
  OK(kv_options_set_weigher(options, weigh, &w));
  kv_db *db = NULL;
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, NULL));
  OK(kv_options_set(options, "max_bytes", "10", NULL));
  OK(kv_options_set(options, "compression", "zstd:1:1", NULL));
  OK(kv_open_in_memory(options, &db, NULL));
  w.db = db;
  for (int n = 0; n < 8; n++) {
    char key = (char)('a' + n);
    OK(kv_set(db, &key, 1, S("one line\ntwo lines\nand three lines lines lines lines"), NULL));
  }
  uint64_t weight = 0, entries = 0;
  OK(kv_stats_get(db, "weight", &weight, NULL));
  OK(kv_len(db, &entries, NULL));
  CHECK(weight == 9 && entries == 3 && w.asked == 8 && w.nested == KV_IN_CALLBACK);
  /* One that fails leaves the bytes, of which these are too many. */
  w.answer = KV_INVALID_ARGUMENT;
  OK(kv_set(db, S("k"), S("0123456789"), NULL));
  IS(KV_NOT_FOUND, kv_contains(db, S("k"), NULL));
  OK(kv_set(db, S("k"), S("0123456"), NULL));
  OK(kv_stats_get(db, "weight", &weight, NULL));
  CHECK(weight == 8);
  OK(kv_db_free(db));
  OK(kv_options_free(options));
}

typedef struct {
  kv_db *db;
  kv_status get, close, free_;
} barred;

static void *call_barred(void *at) {
  barred *b = at;
  OK(kv_bar_thread());
  b->get = kv_contains(b->db, S("k"), NULL);
  b->close = kv_close(b->db, NULL);
  b->free_ = kv_db_free(b->db);
  return NULL;
}

static void a_thread_that_bars_itself_may_call_nothing_and_others_may(void) {
  barred b = {0};
  pthread_t thread;
  OK(kv_open_in_memory(NULL, &b.db, NULL));
  CHECK(pthread_create(&thread, NULL, call_barred, &b) == 0 && pthread_join(thread, NULL) == 0);
  CHECK(b.get == KV_IN_CALLBACK && b.close == KV_IN_CALLBACK && b.free_ == KV_IN_CALLBACK);
  OK(kv_set(b.db, S("k"), S("v"), NULL));
  OK(kv_db_free(b.db));
}

const test callbacks_tests[] = {
    {"a_listener_hears_once_in_its_own_thread_and_may_call_but_not_close",
     a_listener_hears_once_in_its_own_thread_and_may_call_but_not_close},
    {"a_logger_takes_lines_and_may_call_nothing", a_logger_takes_lines_and_may_call_nothing},
    {"a_thread_that_bars_itself_may_call_nothing_and_others_may", a_thread_that_bars_itself_may_call_nothing_and_others_may},
    {"a_weigher_says_what_counts_and_may_call_nothing", a_weigher_says_what_counts_and_may_call_nothing},
    {"a_loader_runs_in_the_callers_thread_once_a_key", a_loader_runs_in_the_callers_thread_once_a_key},
    {"entries_are_exported_and_imported_by_function_and_file",
     entries_are_exported_and_imported_by_function_and_file},
    {"a_transfer_takes_options_and_tells_its_progress", a_transfer_takes_options_and_tells_its_progress},
    {NULL, NULL},
};

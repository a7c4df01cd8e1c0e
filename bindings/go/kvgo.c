/* The functions that the store calls, and which pass on to Go. */
#include "_cgo_export.h"

/* How many callbacks and pins this thread is in. While it is in one, what it calls may not be moved to another thread: the
 * store tells by the thread what would wait for itself. */
static _Thread_local int inside;

void kvgo_enter(void) { inside++; }
void kvgo_leave(void) { inside--; }
int kvgo_is_inside(void) { return inside > 0; }

/* How many of these are pins. */
static _Thread_local int pins;

void kvgo_pinned(int change) { pins += change; }
int kvgo_is_pinned(void) { return pins > 0; }
int kvgo_is_in_callback(void) { return inside > pins; }

/* In how many of them this thread is that must not call a store. Who waits in Go asks: the library refuses by itself. */
static _Thread_local int barred;

int kvgo_is_barred(void) { return barred > 0; }
void kvgo_bar(void) {
  barred++;
  kv_bar_thread();
}

static void enter_barred(void) {
  kvgo_enter();
  barred++;
}

static void leave_barred(void) {
  barred--;
  kvgo_leave();
}

static void listener(void *userdata, const kv_event *event) {
  kvgo_enter();
  kvgoListener((uintptr_t)userdata, (kv_event *)event);
  kvgo_leave();
}

static void logger(void *userdata, const char *line, size_t line_len) {
  enter_barred();
  kvgoLogger((uintptr_t)userdata, (char *)line, line_len);
  leave_barred();
}

static int32_t loader(void *userdata, const void *key, size_t key_len, kv_sink *value) {
  (void)key, (void)key_len;
  kvgo_enter();
  kv_status status = kvgoLoader((uintptr_t)userdata, value);
  kvgo_leave();
  return (int32_t)status;
}

static void release(void *userdata) {
  kvgo_enter();
  kvgoRelease((uintptr_t)userdata);
  kvgo_leave();
}

static int32_t encode(void *userdata, const void *key, size_t key_len, const void *data, size_t len, kv_sink *to) {
  enter_barred();
  kv_status status = kvgoEncode((uintptr_t)userdata, (uint8_t *)key, key_len, (uint8_t *)data, len, to);
  leave_barred();
  return (int32_t)status;
}

static int32_t decode(void *userdata, const void *key, size_t key_len, const void *data, size_t len, kv_sink *to) {
  enter_barred();
  kv_status status = kvgoDecode((uintptr_t)userdata, (uint8_t *)key, key_len, (uint8_t *)data, len, to);
  leave_barred();
  return (int32_t)status;
}

static int32_t writer(void *userdata, const void *data, size_t len) {
  kvgo_enter();
  int32_t failed = kvgoWriter((uintptr_t)userdata, (uint8_t *)data, len);
  kvgo_leave();
  return failed;
}

static int32_t reader(void *userdata, void *data, size_t len, size_t *read) {
  kvgo_enter();
  int32_t failed = kvgoReader((uintptr_t)userdata, (uint8_t *)data, len, read);
  kvgo_leave();
  return failed;
}

static int32_t progress(void *userdata, const kv_preloaded *done) {
  kvgo_enter();
  int32_t goes_on = kvgoProgress((uintptr_t)userdata, (kv_preloaded *)done);
  kvgo_leave();
  return goes_on;
}

kv_status kvgo_set_listener(kv_options *options, uintptr_t handle) {
  return kv_options_set_listener(options, listener, (void *)handle);
}

kv_status kvgo_set_logger(kv_options *options, uintptr_t handle) {
  return kv_options_set_logger(options, logger, (void *)handle);
}

kv_status kvgo_set_weigher(kv_options *options, kvgo_weigher *weigher) {
  return kv_options_set_weigher(options, kvgo_ask_weigher, weigher);
}

kv_status kvgo_set_tier_encoder(kv_options *options, uint32_t numbers, uintptr_t handle) {
  return kv_options_set_tier_encoder(options, encode, decode, numbers, (void *)handle, NULL);
}

kvgo_answer kvgo_get_or_load_with(uintptr_t store, const uint8_t *key, size_t key_len, kv_load_options options,
                                  uintptr_t handle) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  a.status = kv_get_or_load_with((const kv_db *)store, key, key_len, &options, loader, (void *)handle, release,
                                 (uint8_t **)&a.data, &a.len, &a.error);
  return a;
}

kvgo_answer kvgo_load_behind(uintptr_t store, const uint8_t *key, size_t key_len, kv_load_options options,
                             uintptr_t handle) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  a.status = kv_load_behind((const kv_db *)store, key, key_len, &options, loader, (void *)handle, release, &a.error);
  return a;
}

kvgo_answer kvgo_get_or_load(uintptr_t store, const uint8_t *key, size_t key_len, uint32_t expiry, uint64_t expiry_ms,
                             uint32_t codec, uintptr_t handle) {
  kvgo_answer a = {KV_OK, NULL, NULL, 0, 0};
  kv_set_options options = {KV_ALWAYS, expiry, expiry_ms, 0, codec};
  a.status = kv_get_or_load((const kv_db *)store, key, key_len, &options, loader, (void *)handle, (uint8_t **)&a.data, &a.len, &a.error);
  return a;
}

static int32_t transfer_progress(void *userdata, const kv_transferred *done, const char *skipped, size_t skipped_len) {
  kvgo_enter();
  int32_t goes_on = kvgoTransferred((uintptr_t)userdata, (kv_transferred *)done, (uint8_t *)skipped, skipped_len);
  kvgo_leave();
  return goes_on;
}

kvgo_moved kvgo_export_to(uintptr_t store, uintptr_t handle, uint32_t format, KVGO_HOW, KVGO_ENTRIES) {
  kvgo_moved m = {KV_OK, NULL, {0, 0, 0, 0, 0, 0, 0}};
  kv_scan_options entries = KVGO_SCAN_OPTIONS;
  kv_transfer_options options = KVGO_TRANSFER_OPTIONS;
  m.status = kv_export_to((const kv_db *)store, writer, (void *)handle, format, &options, &entries, &m.done, &m.error);
  return m;
}

kvgo_moved kvgo_import_from(uintptr_t store, uintptr_t handle, uint32_t format, KVGO_HOW) {
  kvgo_moved m = {KV_OK, NULL, {0, 0, 0, 0, 0, 0, 0}};
  kv_transfer_options options = KVGO_TRANSFER_OPTIONS;
  m.status = kv_import_from((const kv_db *)store, reader, (void *)handle, format, &options, &m.done, &m.error);
  return m;
}

kvgo_filled kvgo_preload(uintptr_t store, const uint8_t *pattern, size_t pattern_len, uint64_t cursor, uintptr_t handle) {
  kvgo_filled f = {KV_OK, NULL, {0, 0, 0, 0, 0}};
  f.status = kv_preload((const kv_db *)store, pattern, pattern_len, cursor, progress, (void *)handle, &f.done, &f.error);
  return f;
}

/* Handles, threads, processes: when calls are refused, and what is left behind. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
  kv_db *db;
  unsigned number;
  unsigned calls;
  pthread_barrier_t *start;
} caller;

/* Calls until it is told that the store is closed, and that only. */
static void *call_in(void *state) {
  caller *c = state;
  char key[16], buffer[64];
  pthread_barrier_wait(c->start);
  for (unsigned n = 0;; n++) {
    size_t len = (size_t)snprintf(key, sizeof key, "%u", n % 100);
    kv_status status;
    uint8_t *owned = NULL;
    kv_scan *scan = NULL;
    kv_pin *pin = NULL;
    kv_slice slice = {key, len}, *values = NULL;
    int64_t sum;
    switch ((n + c->number) % 8) {
      case 0: status = kv_set(c->db, key, len, "17", 2, NULL); break;
      case 1: status = kv_get(c->db, key, len, buffer, sizeof buffer, &len, NULL); break;
      case 2: status = kv_get_owned(c->db, key, len, &owned, &len, NULL); break;
      case 3: status = kv_get_many(c->db, &slice, 1, &values, NULL); break;
      case 4: status = kv_increment(c->db, key, len, 1, &sum, NULL); break;
      case 5: status = kv_delete(c->db, key, len, NULL); break;
      case 6: status = kv_scan_open(c->db, NULL, &scan, NULL); break;
      default: status = kv_pin_open(c->db, &pin, NULL); break;
    }
    kv_free(owned);
    kv_free(values);
    OK(kv_scan_free(scan));
    OK(kv_pin_release(pin));
    if (status == KV_CLOSED) return NULL;
    CHECK(status == KV_OK || status == KV_NOT_FOUND);
    c->calls++;
  }
}

static void close_while_eight_threads_call_in_gives_them_closed(void) {
  for (unsigned round = 0; round < scaled(20); round++) {
    kv_db *db = NULL;
    if (round % 2) {
      OK(kv_open(fresh_dir(), NULL, &db, NULL));
    } else {
      db = memory_store();
    }
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 9);
    pthread_t threads[8];
    caller callers[8];
    for (unsigned at = 0; at < 8; at++) {
      callers[at] = (caller){db, at, 0, &start};
      CHECK(pthread_create(&threads[at], NULL, call_in, &callers[at]) == 0);
    }
    pthread_barrier_wait(&start);
    uint64_t figure;
    for (unsigned at = 0; at < round; at++) OK(kv_stats_get(db, "writes", &figure, NULL));
    OK(kv_close(db, NULL));
    for (unsigned at = 0; at < 8; at++) pthread_join(threads[at], NULL);
    pthread_barrier_destroy(&start);
    IS(KV_CLOSED, kv_set(db, S("k"), S("v"), NULL));
    OK(kv_db_free(db));
  }
}

static void *close_too(void *db) {
  OK(kv_close(db, NULL));
  return NULL;
}

static void a_second_close_does_nothing_and_every_call_after_it_is_refused(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  kv_pin *pin = NULL;
  kv_scan *scan = NULL;
  OK(kv_pin_open(db, &pin, NULL));
  OK(kv_scan_open(db, NULL, &scan, NULL));
  pthread_t threads[4];
  for (int at = 0; at < 4; at++) CHECK(pthread_create(&threads[at], NULL, close_too, db) == 0);
  for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
  OK(kv_close(db, NULL));
  uint8_t *owned = NULL;
  char *text = NULL;
  kv_slice *values = NULL;
  kv_scan *other_scan = NULL;
  kv_pin *other_pin = NULL;
  size_t len = 0;
  uint64_t number;
  kv_slice key = SLICE("k");
  kv_pair pair = {SLICE("k"), SLICE("v")};
  const kv_entry *entries;
  IS(KV_CLOSED, kv_get(db, S("k"), NULL, 0, &len, NULL));
  IS(KV_CLOSED, kv_get_owned(db, S("k"), &owned, &len, NULL));
  IS(KV_CLOSED, kv_get_many(db, &key, 1, &values, NULL));
  IS(KV_CLOSED, kv_set_many(db, &pair, 1, NULL));
  IS(KV_CLOSED, kv_delete_many(db, &key, 1, NULL, NULL));
  IS(KV_CLOSED, kv_contains(db, S("k"), NULL));
  IS(KV_CLOSED, kv_ttl(db, S("k"), &number, NULL));
  IS(KV_CLOSED, kv_len(db, &number, NULL));
  IS(KV_CLOSED, kv_now(db, &number, NULL));
  IS(KV_CLOSED, kv_take(db, S("k"), &owned, &len, NULL));
  IS(KV_CLOSED, kv_increment(db, S("k"), 1, NULL, NULL));
  IS(KV_CLOSED, kv_expire(db, S("k"), 1, NULL));
  IS(KV_CLOSED, kv_touch(db, S("k"), NULL));
  IS(KV_CLOSED, kv_persist(db, S("k"), NULL));
  IS(KV_CLOSED, kv_clear(db, NULL));
  IS(KV_CLOSED, kv_sync(db, NULL));
  IS(KV_CLOSED, kv_compact(db, NULL));
  IS(KV_CLOSED, kv_sweep(db, NULL));
  IS(KV_CLOSED, kv_pause(db, NULL));
  IS(KV_CLOSED, kv_resume(db, NULL));
  IS(KV_CLOSED, kv_backup(db, fresh_dir(), NULL));
  IS(KV_CLOSED, kv_stats_json(db, &text, NULL));
  IS(KV_CLOSED, kv_damage_json(db, &text, NULL));
  IS(KV_CLOSED, kv_scan_open(db, NULL, &other_scan, NULL));
  IS(KV_CLOSED, kv_pin_open(db, &other_pin, NULL));
  IS(KV_CLOSED, kv_export(db, fresh_dir(), 0, NULL, NULL, NULL, NULL));
  IS(KV_CLOSED, kv_scan_next(scan, 10, &entries, &len, NULL));
  OK(kv_db_free(db));
  /* What was pinned is there, also without the handle. */
  const uint8_t *value = NULL;
  OK(kv_pin_get(pin, S("k"), &value, &len, NULL));
  CHECK(len == 1 && value[0] == 'v');
  OK(kv_pin_release(pin));
  OK(kv_scan_free(scan));
}

static void *use_pin(void *state) {
  const uint8_t *value = NULL;
  size_t len;
  IS(KV_WRONG_THREAD, kv_pin_get(state, S("k"), &value, &len, NULL));
  IS(KV_WRONG_THREAD, kv_pin_release(state));
  return NULL;
}

static void a_pin_belongs_to_its_thread(void) {
  kv_db *db = memory_store();
  kv_pin *pin = NULL;
  OK(kv_pin_open(db, &pin, NULL));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, use_pin, pin) == 0);
  pthread_join(thread, NULL);
  OK(kv_pin_release(pin));
  OK(kv_db_free(db));
}

static int in_child(kv_db *db, kv_pin *pin, kv_scan *scan) {
  size_t len;
  const uint8_t *value;
  const kv_entry *entries;
  uint64_t number;
  char *text;
  kv_pin *other;
  return kv_get(db, S("k"), NULL, 0, &len, NULL) == KV_FORKED && kv_set(db, S("k"), S("c"), NULL) == KV_FORKED &&
         kv_len(db, &number, NULL) == KV_FORKED && kv_sync(db, NULL) == KV_FORKED &&
         kv_clear(db, NULL) == KV_FORKED && kv_compact(db, NULL) == KV_FORKED &&
         kv_pause(db, NULL) == KV_FORKED && kv_stats_json(db, &text, NULL) == KV_FORKED &&
         kv_damage_json(db, &text, NULL) == KV_FORKED && kv_pin_open(db, &other, NULL) == KV_FORKED &&
         kv_pin_get(pin, S("k"), &value, &len, NULL) == KV_FORKED &&
         kv_scan_next(scan, 1, &entries, &len, NULL) == KV_FORKED && kv_close(db, NULL) == KV_FORKED &&
         kv_pin_release(pin) == KV_OK && kv_scan_free(scan) == KV_OK && kv_db_free(db) == KV_OK;
}

static void a_forked_child_is_refused_and_harms_nothing(void) {
  char path[128];
  strcpy(path, fresh_dir());
  kv_db *db = NULL, *other = NULL;
  kv_pin *pin = NULL;
  kv_scan *scan = NULL;
  OK(kv_open(path, NULL, &db, NULL));
  OK(kv_set(db, S("k"), S("v"), NULL));
  OK(kv_pin_open(db, &pin, NULL));
  OK(kv_scan_open(db, NULL, &scan, NULL));
  fflush(NULL);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    /* A hang is a failure too. */
    alarm(60);
    int all = in_child(db, pin, scan);
    /* A store of its own works in the child. */
    kv_db *own = NULL;
    all = all && kv_open_in_memory(NULL, &own, NULL) == KV_OK && kv_set(own, S("k"), S("v"), NULL) == KV_OK &&
          kv_close(own, NULL) == KV_OK && kv_db_free(own) == KV_OK;
    /* Not _exit: what the parent's threads owned is out of reach here, and a checker would call that a leak. */
    execlp(all ? "true" : "false", "child", (char *)NULL);
    _exit(1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  OK(kv_pin_release(pin));
  OK(kv_scan_free(scan));
  OK(kv_set(db, S("k"), S("w"), NULL));
  IS(KV_LOCKED, kv_open(path, NULL, &other, NULL));
  OK(kv_db_free(db));
  OK(kv_open(path, NULL, &db, NULL));
  char buffer[1];
  size_t len;
  OK(kv_get(db, S("k"), buffer, 1, &len, NULL));
  CHECK(buffer[0] == 'w');
  OK(kv_db_free(db));
}

static unsigned listed(const char *path) {
  DIR *dir = opendir(path);
  CHECK(dir != NULL);
  unsigned count = 0;
  while (readdir(dir) != NULL) count++;
  closedir(dir);
  return count;
}

/* A thread that was joined leaves the list a moment later. */
static int few_threads(void *most) { return listed("/proc/self/task") <= *(unsigned *)most; }

static unsigned long resident_pages(void) {
  unsigned long size, resident;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file != NULL && fscanf(file, "%lu %lu", &size, &resident) == 2);
  fclose(file);
  return resident;
}

static void opens_and_closes_leave_no_descriptor_thread_or_memory(void) {
  char path[128];
  strcpy(path, fresh_dir());
  unsigned rounds = scaled(10000), warm = rounds / 5;
  unsigned descriptors = 0, threads = 0;
  unsigned long pages = 0;
  for (unsigned round = 0; round < rounds; round++) {
    kv_db *db = NULL;
    if (round % 100 == 0) {
      OK(kv_open(path, NULL, &db, NULL));
    } else {
      db = memory_store();
    }
    OK(kv_set(db, S("k"), S("v"), NULL));
    OK(kv_close(db, NULL));
    OK(kv_db_free(db));
    if (round == warm) {
      descriptors = listed("/proc/self/fd");
      threads = listed("/proc/self/task");
      pages = resident_pages();
    }
  }
  CHECK(listed("/proc/self/fd") == descriptors);
  CHECK(comes_true(few_threads, &threads));
  /* Allocators round; 8,000 leaks of a page would be 8,000 pages. */
  CHECK(scaled(2) < 2 || resident_pages() < pages + 1000);
}

const test lifetime_tests[] = {
    {"close_while_eight_threads_call_in_gives_them_closed", close_while_eight_threads_call_in_gives_them_closed},
    {"a_second_close_does_nothing_and_every_call_after_it_is_refused",
     a_second_close_does_nothing_and_every_call_after_it_is_refused},
    {"a_pin_belongs_to_its_thread", a_pin_belongs_to_its_thread},
    {"a_forked_child_is_refused_and_harms_nothing", a_forked_child_is_refused_and_harms_nothing},
    {"opens_and_closes_leave_no_descriptor_thread_or_memory", opens_and_closes_leave_no_descriptor_thread_or_memory},
    {NULL, NULL},
};

/* Runs the tests, or those whose name contains the first argument. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *program;

static char root[64];
static unsigned dirs;

const char *fresh_dir(void) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%u", root, dirs++);
  return path;
}

static void remove_all(const char *path) {
  DIR *dir = opendir(path);
  if (dir == NULL) {
    CHECK(unlink(path) == 0);
    return;
  }
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char inner[512];
    snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
    remove_all(inner);
  }
  closedir(dir);
  CHECK(rmdir(path) == 0);
}

unsigned scaled(unsigned count) {
  const char *scale = getenv("KV_SCALE");
  unsigned divisor = scale ? (unsigned)atoi(scale) : 1;
  return divisor > 1 ? count / divisor + 1 : count;
}

kv_db *memory_store(void) {
  kv_db *db = NULL;
  OK(kv_open_in_memory(NULL, &db, NULL));
  return db;
}

int comes_true(int (*done)(void *), void *state) {
  for (int at = 0; at < 60000; at++) {
    if (done(state)) return 1;
    struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
  }
  return 0;
}

int main(int argc, char **argv) {
  const test *files[] = {operations_tests, callbacks_tests, lifetime_tests, misuse_tests, random_tests,
                          sessions_tests, typed_tests, watching_tests, tier_tests, cluster_tests, loads_tests,
                          processes_tests};
  program = argv[0];
  if (argc > 2 && strcmp(argv[1], "--peer") == 0) return peer(argv[2]);
  const char *tmp = getenv("TMPDIR");
  snprintf(root, sizeof root, "%.40s/libkv-c-XXXXXX", tmp ? tmp : "/tmp");
  CHECK(mkdtemp(root) != NULL);
  unsigned ran = 0;
  for (size_t file = 0; file < sizeof files / sizeof *files; file++) {
    for (const test *t = files[file]; t->name != NULL; t++) {
      if (argc > 1 && strstr(t->name, argv[1]) == NULL) continue;
      printf("%s\n", t->name);
      fflush(stdout);
      t->run();
      ran++;
    }
  }
  remove_all(root);
  printf("%u tests passed\n", ran);
  return ran == 0;
}

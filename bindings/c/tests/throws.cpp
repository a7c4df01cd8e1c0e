// kv.h in C++17, twice; and a C++ exception that leaves a callback ends the process at once, with nothing undone in silence.
#include <kv.h>
#include <kv.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int32_t loader_that_throws(void *, const void *, size_t, kv_sink *) { throw 7; }

int main() {
  pid_t child = fork();
  if (child == 0) {
    rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    // The text of the abort is expected.
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
    kv_db *db = nullptr;
    if (kv_open_in_memory(nullptr, &db, nullptr) != KV_OK) _exit(2);
    uint8_t *value = nullptr;
    size_t len = 0;
    kv_get_or_load(db, "k", 1, nullptr, loader_that_throws, nullptr, &value, &len, nullptr);
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
    std::fprintf(stderr, "an exception in a callback: status %d\n", status);
    return 1;
  }
  return 0;
}

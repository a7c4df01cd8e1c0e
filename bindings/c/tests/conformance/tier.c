/* A redis-server for a case, a client that knows nothing of the library, and the calls of the tier. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IS_OPERATION(name, arguments) (strcmp(words[0], name) == 0 && count == (arguments) + 1)
#define PATIENCE_MS 60000

static const char *socket_of(const script_case *c) {
  char *path = line_memory(strlen(c->path) + 1);
  strcpy(path, c->path);
  strcpy(strrchr(path, '/'), "/s");
  return path;
}

const char *redis_url_of(const script_case *c) {
  const char *socket = socket_of(c);
  char *url = line_memory(strlen(socket) + sizeof "redis+unix://");
  return strcat(strcpy(url, "redis+unix://"), socket);
}

/* A connection; -1: nobody listens. */
static int connected(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  NEED(strlen(path) < sizeof at.sun_path, "%s is too long for a socket", path);
  strcpy(at.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0) return fd;
  close(fd);
  return -1;
}

/* Of a script that ends before its case does; 0: none. */
static pid_t running;

static void kill_running(void) {
  if (running != 0) kill(running, SIGKILL);
}

static void redis_up(script_case *c) {
  const char *path = socket_of(c);
  char *dir = line_memory(strlen(path));
  strcpy(dir, path);
  *strrchr(dir, '/') = 0;
  mkdir(dir, 0700);
  c->redis = fork();
  NEED(c->redis >= 0, "no process");
  if (c->redis == 0) {
    if (freopen("/dev/null", "w", stdout) != NULL) {
      execlp("redis-server", "redis-server", "--port", "0", "--save", "", "--unixsocket", path, "--dir", dir, (char *)NULL);
    }
    _exit(127);
  }
  static int is_registered;
  if (!is_registered) NEED(atexit(kill_running) == 0, "no memory");
  is_registered = 1;
  running = c->redis;
  for (int waited = 0;; waited += 5) {
    int fd = connected(path);
    if (fd >= 0) {
      close(fd);
      return;
    }
    NEED(waitpid(c->redis, NULL, WNOHANG) == 0, "redis-server has ended (scripts/need.sh redis-server=redis-server installs it)");
    NEED(waited < PATIENCE_MS, "redis-server does not answer");
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
}

void redis_down(script_case *c) {
  if (c->redis == 0) return;
  NEED(kill(c->redis, SIGKILL) == 0 && waitpid(c->redis, NULL, 0) == c->redis, "redis-server stays");
  c->redis = 0;
  running = 0;
  unlink(socket_of(c));
}

/* The first answer of one piece. */
static void ask_redis(const script_case *c, char **words, size_t count, text *answer) {
  int fd = connected(socket_of(c));
  FILE *redis = fd >= 0 ? fdopen(fd, "r+") : NULL;
  NEED(redis != NULL, "redis-server does not listen");
  fprintf(redis, "*%zu\r\n", count);
  for (size_t at = 0; at < count; at++) {
    kv_slice word = bytes_of(words[at]);
    fprintf(redis, "$%zu\r\n", word.len);
    fwrite(word.data, 1, word.len, redis);
    fputs("\r\n", redis);
  }
  NEED(fflush(redis) == 0, "redis-server takes no command");
  char line[256] = "*";
  while (line[0] == '*') NEED(fgets(line, sizeof line, redis) != NULL, "redis-server does not answer %s", words[0]);
  line[strcspn(line, "\r")] = 0;
  if (line[0] == '$' && line[1] == '-') {
    text_add(answer, "absent");
  } else if (line[0] == '$') {
    size_t len = (size_t)number_of(line + 1);
    char *value = line_memory(len);
    NEED(fread(value, 1, len, redis) == len, "redis-server breaks off");
    text_add_word(answer, value, len);
  } else {
    NEED(line[0] == '+' || line[0] == ':', "%s: %s", words[0], line);
    text_add(answer, "%s", line + 1);
  }
  fclose(redis);
}

static void answer_met(text *answer, kv_status status) {
  if (status == KV_OK || status == KV_NOT_MET) {
    text_add(answer, status == KV_OK ? "true" : "false");
  } else {
    answer_status(answer, status);
  }
}

/* Does what a line says, if it is of the tier. */
int use_tier(script_case *c, char **words, size_t count, text *answer) {
  if (IS_OPERATION("redis_up", 0)) {
    redis_up(c);
    text_add(answer, "ok");
    return 1;
  }
  if (IS_OPERATION("redis_down", 0)) {
    redis_down(c);
    text_add(answer, "ok");
    return 1;
  }
  if (strcmp(words[0], "redis") == 0) {
    ask_redis(c, words + 1, count - 1, answer);
    return 1;
  }
  if (IS_OPERATION("flush", 0)) {
    answer_status(answer, kv_flush(c->db, PATIENCE_MS, NULL));
    return 1;
  }
  if (count < 3) return 0;
  kv_slice key = bytes_of(words[1]);
  if (IS_OPERATION("increment_shared", 2)) {
    int64_t sum = 0;
    kv_status status = kv_increment_shared(c->db, key.data, key.len, strtoll(words[2], NULL, 10), &sum, NULL);
    if (status == KV_OK) text_add(answer, "%" PRId64, sum);
    else answer_status(answer, status);
  } else if (IS_OPERATION("add_shared", 3)) {
    kv_slice value = bytes_of(words[2]);
    kv_set_options options = {0};
    options.expiry = expiry_of(words[3], &options.expiry_ms);
    answer_met(answer, kv_add_shared(c->db, key.data, key.len, value.data, value.len, &options, NULL));
  } else if (IS_OPERATION("compare_and_swap_shared", 3)) {
    kv_slice expected = bytes_of(words[2]), value = bytes_of(words[3]);
    answer_met(answer, kv_compare_and_swap_shared(c->db, key.data, key.len, &expected, value.data, value.len, NULL));
  } else if (IS_OPERATION("ttl_between", 3)) {
    uint64_t ttl_ms = 0;
    kv_status status = kv_ttl(c->db, key.data, key.len, &ttl_ms, NULL);
    text_add(answer, status == KV_OK && number_of(words[2]) <= ttl_ms && ttl_ms <= number_of(words[3]) ? "true" : "false");
  } else {
    return 0;
  }
  return 1;
}

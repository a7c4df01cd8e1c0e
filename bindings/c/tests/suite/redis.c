#define _XOPEN_SOURCE 700
#include "redis.h"

#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 120

static int answers(const redis *r) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  CHECK(strlen(r->socket) < sizeof at.sun_path);
  strcpy(at.sun_path, r->socket);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  char reply[8] = {0};
  int is_up = connect(fd, (struct sockaddr *)&at, sizeof at) == 0 && write(fd, "PING\r\n", 6) == 6 &&
              read(fd, reply, 7) == 7 && strcmp(reply, "+PONG\r\n") == 0;
  close(fd);
  return is_up;
}

void moment(time_t since) {
  CHECK(time(NULL) - since < PATIENCE_S);
  nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

void up(redis *r) {
  r->pid = fork();
  CHECK(r->pid >= 0);
  if (r->pid == 0) {
    if (freopen("/dev/null", "w", stdout) != NULL) {
      execlp("redis-server", "redis-server", "--port", "0", "--save", "", "--unixsocket", r->socket, "--dir", r->dir, (char *)NULL);
    }
    _exit(127);
  }
  time_t since = time(NULL);
  while (!answers(r)) {
    /* Not installed: scripts/need.sh redis-server=redis-server. */
    CHECK(waitpid(r->pid, NULL, WNOHANG) == 0);
    moment(since);
  }
}

void start(redis *r) {
  snprintf(r->dir, sizeof r->dir, "%s", fresh_dir());
  CHECK(mkdir(r->dir, 0700) == 0);
  snprintf(r->socket, sizeof r->socket, "%s/s", r->dir);
  snprintf(r->url, sizeof r->url, "redis+unix://%s", r->socket);
  up(r);
}

void down(redis *r) {
  CHECK(kill(r->pid, SIGKILL) == 0 && waitpid(r->pid, NULL, 0) == r->pid);
  unlink(r->socket);
}

kv_db *sharing(const char *url, const char *name, const char *value) {
  kv_options *options = kv_options_new();
  kv_db *db = NULL;
  OK(kv_options_set(options, "tier_prefix", "t:", NULL));
  OK(kv_options_set(options, "tier_timeout", "20s", NULL));
  OK(kv_options_set(options, "tier_backoff_max", "50ms", NULL));
  OK(kv_options_set(options, "tier_url", url, NULL));
  if (name != NULL) OK(kv_options_set(options, name, value, NULL));
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_options_free(options));
  return db;
}


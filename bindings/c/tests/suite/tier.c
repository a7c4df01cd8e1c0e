/* Stores that share their entries through a redis-server which each test starts, on a unix socket in a directory of its own. */
#define _XOPEN_SOURCE 700
#include "check.h"

#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 120

typedef struct {
  char dir[128], socket[160], url[192];
  pid_t pid;
} redis;

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

/* One look at what is waited for. */
static void moment(time_t since) {
  CHECK(time(NULL) - since < PATIENCE_S);
  nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static void up(redis *r) {
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

static void start(redis *r) {
  snprintf(r->dir, sizeof r->dir, "%s", fresh_dir());
  CHECK(mkdir(r->dir, 0700) == 0);
  snprintf(r->socket, sizeof r->socket, "%s/s", r->dir);
  snprintf(r->url, sizeof r->url, "redis+unix://%s", r->socket);
  up(r);
}

static void down(redis *r) {
  CHECK(kill(r->pid, SIGKILL) == 0 && waitpid(r->pid, NULL, 0) == r->pid);
  unlink(r->socket);
}

static kv_db *sharing(const redis *r, const char *name, const char *value) {
  kv_options *options = kv_options_new();
  kv_db *db = NULL;
  OK(kv_options_set(options, "tier_prefix", "t:", NULL));
  OK(kv_options_set(options, "tier_timeout", "20s", NULL));
  OK(kv_options_set(options, "tier_backoff_max", "50ms", NULL));
  OK(kv_options_set(options, "tier_url", r->url, NULL));
  if (name != NULL) OK(kv_options_set(options, name, value, NULL));
  OK(kv_open_in_memory(options, &db, NULL));
  OK(kv_options_free(options));
  return db;
}

/* Whether the figures of the tier have these words. */
static int tells(kv_db *db, const char *words) {
  char *text = NULL;
  OK(kv_tier_stats_json(db, &text, NULL));
  int has = strstr(text, words) != NULL;
  kv_free(text);
  return has;
}

static void what_one_store_sets_another_one_reads_in_every_way(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(&r, NULL, NULL), *there = sharing(&r, NULL, NULL);
  OK(kv_set(here, S("a"), S("1"), NULL));
  OK(kv_set(here, S("b"), S("2"), NULL));
  OK(kv_set(here, S("c"), S("3"), NULL));
  OK(kv_expire(here, S("c"), 60000, NULL));
  OK(kv_flush(here, 60000, NULL));
  CHECK(tells(here, "\"unsent_keys\":0") && tells(here, "\"failing\":null"));

  kv_slice keys[] = {SLICE("none"), SLICE("a")};
  kv_slice *values = NULL;
  OK(kv_get_many(there, keys, 2, &values, NULL));
  CHECK(values[0].data == NULL && values[1].len == 1 && memcmp(values[1].data, "1", 1) == 0);
  kv_free(values);
  char buffer[8];
  size_t len = 0;
  OK(kv_get(there, S("b"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 1 && buffer[0] == '2');
  uint64_t ttl_ms = 0;
  OK(kv_ttl(there, S("c"), &ttl_ms, NULL));
  CHECK(ttl_ms > 0 && ttl_ms <= 60000);
  IS(KV_NOT_FOUND, kv_contains(there, S("none"), NULL));

  OK(kv_delete(there, S("a"), NULL));
  OK(kv_flush(there, 60000, NULL));
  kv_db *later = sharing(&r, NULL, NULL);
  IS(KV_NOT_FOUND, kv_get(later, S("a"), buffer, sizeof buffer, &len, NULL));
  OK(kv_db_free(later));
  OK(kv_db_free(there));
  OK(kv_db_free(here));
  down(&r);
}

typedef struct {
  size_t len;
  char bytes[8];
} object;

static void *make(const void *data, size_t len) {
  object *made = calloc(1, sizeof *made);
  CHECK(made != NULL && len < sizeof made->bytes);
  made->len = len;
  memcpy(made->bytes, data, len);
  return made;
}

static void share(void *shared) { (void)shared; }

static void a_host_that_must_not_be_held_up_gets_what_is_here_and_asks_for_the_rest(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(&r, NULL, NULL), *there = sharing(&r, NULL, NULL);
  OK(kv_set(here, S("k"), S("v"), NULL));
  OK(kv_flush(here, 60000, NULL));
  object absent, failed;
  kv_host host = {make, share, NULL, NULL, NULL, &absent, &failed, 7};
  CHECK(kv_get_made(there, S("k"), &host) == &failed);
  uint8_t *value = NULL;
  size_t len = 0;
  OK(kv_get_owned(there, S("k"), &value, &len, NULL));
  CHECK(len == 1 && value[0] == 'v');
  kv_free(value);
  object *made = kv_get_made(there, S("k"), &host);
  CHECK(made->len == 1 && made->bytes[0] == 'v');
  free(made);
  OK(kv_db_free(there));
  /* Who never asks is told at once that there is none. */
  kv_db *alone = sharing(&r, "tier_reads", "false");
  CHECK(kv_get_made(alone, S("k"), &host) == &absent);
  OK(kv_db_free(alone));
  OK(kv_db_free(here));
  down(&r);
}

static void writes_go_on_while_redis_is_down_and_it_converges_when_it_is_back(void) {
  redis r;
  start(&r);
  kv_db *here = sharing(&r, NULL, NULL), *through = sharing(&r, "tier_writes", "through");
  OK(kv_set(through, S("t"), S("1"), NULL));
  OK(kv_set(here, S("k"), S("old"), NULL));
  OK(kv_flush(here, 60000, NULL));
  down(&r);
  for (char n = '0'; n <= '9'; n++) OK(kv_set(here, &n, 1, S("v"), NULL));
  OK(kv_delete(here, S("k"), NULL));
  time_t since = time(NULL);
  while (!tells(here, "\"unsent_keys\":11") || tells(here, "\"failing\":null")) moment(since);
  kv_error *error = NULL;
  IS(KV_TIER, kv_flush(here, 10, &error));
  CHECK(strncmp(kv_error_message(error), "tier: ", 6) == 0 && kv_error_status(error) == KV_TIER);
  OK(kv_error_free(error));
  IS(KV_TIER, kv_contains(here, S("none"), NULL));
  IS(KV_TIER, kv_set(through, S("t"), S("2"), NULL));
  CHECK(strstr(kv_strerror(KV_TIER), "Redis") != NULL);

  up(&r);
  OK(kv_flush(here, 60000, NULL));
  OK(kv_flush(through, 60000, NULL));
  CHECK(tells(here, "\"unsent_keys\":0") && tells(here, "\"failing\":null"));
  char *prometheus = NULL;
  OK(kv_tier_stats_prometheus(here, &prometheus, NULL));
  CHECK(strstr(prometheus, "\nkv_tier_unsent_keys 0\n") != NULL);
  kv_free(prometheus);
  kv_db *there = sharing(&r, NULL, NULL);
  OK(kv_contains(there, S("9"), NULL));
  IS(KV_NOT_FOUND, kv_contains(there, S("k"), NULL));
  char buffer[8];
  size_t len = 0;
  OK(kv_get(there, S("t"), buffer, sizeof buffer, &len, NULL));
  CHECK(len == 1 && buffer[0] == '2');
  OK(kv_db_free(there));
  OK(kv_db_free(through));
  OK(kv_db_free(here));
  down(&r);
}

static void wrong_options_are_named_with_their_values_and_no_password_is_shown(void) {
  static const struct {
    const char *name, *value, *said;
  } cases[] = {
      {"tier_writes", "maybe", "option tier_writes: \"maybe\" is not behind, through or refused"},
      {"tier_fresh", "yes", "option tier_fresh: \"yes\" is not none, drop or keep"},
      {"tier_timeout", "0s", "option tier_timeout: \"0s\" is not "},
      {"tier_database", "-1", "option tier_database: \"-1\" is not "},
      {"tier_pasword", "hunter2", "option tier_pasword: unknown"},
  };
  kv_options *options = kv_options_new();
  kv_error *error = NULL;
  for (size_t at = 0; at < sizeof cases / sizeof *cases; at++) {
    IS(KV_INVALID_OPTION, kv_options_set(options, cases[at].name, cases[at].value, &error));
    CHECK(strncmp(kv_error_message(error), cases[at].said, strlen(cases[at].said)) == 0);
    CHECK(strstr(kv_error_message(error), "hunter2") == NULL);
    OK(kv_error_free(error));
  }
  kv_db *db = NULL;
  OK(kv_options_set(options, "tier_password", "hunter2", NULL));
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, &error));
  CHECK(strncmp(kv_error_message(error), "option tier_url: lacking", 24) == 0);
  OK(kv_error_free(error));
  OK(kv_options_set(options, "tier_url", "redis://u:hunter2@", NULL));
  IS(KV_INVALID_OPTION, kv_open_in_memory(options, &db, &error));
  CHECK(strstr(kv_error_message(error), "hunter2") == NULL);
  OK(kv_error_free(error));
  OK(kv_options_free(options));
}

static void a_store_without_a_tier_has_nothing_to_send(void) {
  kv_db *db = memory_store();
  OK(kv_set(db, S("k"), S("v"), NULL));
  OK(kv_flush(db, 0, NULL));
  char *text = NULL;
  OK(kv_tier_stats_json(db, &text, NULL));
  CHECK(strcmp(text, "null") == 0);
  kv_free(text);
  OK(kv_tier_stats_prometheus(db, &text, NULL));
  CHECK(text[0] == '\0');
  kv_free(text);
  IS(KV_INVALID_ARGUMENT, kv_tier_stats_json(db, NULL, NULL));
  IS(KV_INVALID_HANDLE, kv_flush(NULL, 0, NULL));
  OK(kv_close(db, NULL));
  IS(KV_CLOSED, kv_flush(db, 0, NULL));
  IS(KV_CLOSED, kv_tier_stats_json(db, &text, NULL));
  OK(kv_db_free(db));
}

#define TEST(name) {#name, name}
const test tier_tests[] = {
    TEST(what_one_store_sets_another_one_reads_in_every_way),
    TEST(a_host_that_must_not_be_held_up_gets_what_is_here_and_asks_for_the_rest),
    TEST(writes_go_on_while_redis_is_down_and_it_converges_when_it_is_back),
    TEST(wrong_options_are_named_with_their_values_and_no_password_is_shown),
    TEST(a_store_without_a_tier_has_nothing_to_send),
    {NULL, NULL},
};

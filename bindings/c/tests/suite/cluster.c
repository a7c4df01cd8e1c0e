/* A store over several slots of a cluster of three nodes, which the test starts. */
#define _XOPEN_SOURCE 700
#include "redis.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODES 3
#define SHARDS 8
#define KEYS 100

typedef struct {
  unsigned port, bus;
  pid_t pid;
} node;

static int connected(unsigned port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0);
  if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) return fd;
  close(fd);
  return -1;
}

/* The first bytes of the answer to a command, which come in one piece; nothing while the node does not answer. */
static const char *ask(unsigned port, const char *command) {
  static char reply[4096];
  char line[256];
  int len = snprintf(line, sizeof line, "%s\r\n", command);
  int fd = connected(port);
  ssize_t got = fd >= 0 && write(fd, line, (size_t)len) == len ? read(fd, reply, sizeof reply - 1) : 0;
  if (fd >= 0) close(fd);
  reply[got > 0 ? got : 0] = 0;
  return reply;
}

static unsigned free_port(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && getsockname(fd, (struct sockaddr *)&at, &len) == 0);
  close(fd);
  return ntohs(at.sin_port);
}

/* Whether it is this node that answers at its port, and not another process that took that first. */
static int answers(const node *n) {
  char id[32];
  snprintf(id, sizeof id, "\nprocess_id:%d\r\n", (int)n->pid);
  return strstr(ask(n->port, "INFO server"), id) != NULL;
}

static node start_node(const char *dir) {
  for (;;) {
    /* Another process may take one of them first: then the node ends, and others are tried. */
    node started = {.port = free_port(), .bus = free_port()};
    char port[16], bus[16];
    snprintf(port, sizeof port, "%u", started.port);
    snprintf(bus, sizeof bus, "%u", started.bus);
    started.pid = fork();
    CHECK(started.pid >= 0);
    if (started.pid == 0) {
      if (freopen("/dev/null", "w", stdout) != NULL) {
        execlp("redis-server", "redis-server", "--port", port, "--cluster-port", bus, "--bind", "127.0.0.1", "--save", "",
               "--cluster-enabled", "yes", "--cluster-config-file", port, "--dir", dir, (char *)NULL);
      }
      _exit(127);
    }
    time_t since = time(NULL);
    int ended = 0, state = 0;
    while (!ended && !answers(&started)) {
      ended = waitpid(started.pid, &state, WNOHANG) != 0;
      /* Not installed: scripts/need.sh redis-server=redis-server. */
      CHECK(!ended || !WIFEXITED(state) || WEXITSTATUS(state) != 127);
      moment(since);
    }
    if (!ended) return started;
  }
}

static void tell(const node *n, const char *command) { CHECK(strcmp(ask(n->port, command), "+OK\r\n") == 0); }

static void start_cluster(node *nodes) {
  static const char *const shares[NODES] = {"0 5460", "5461 10922", "10923 16383"};
  const char *dir = fresh_dir();
  char command[128];
  CHECK(mkdir(dir, 0700) == 0);
  for (int at = 0; at < NODES; at++) {
    nodes[at] = start_node(dir);
    snprintf(command, sizeof command, "CLUSTER ADDSLOTSRANGE %s", shares[at]);
    tell(&nodes[at], command);
    snprintf(command, sizeof command, "CLUSTER MEET 127.0.0.1 %u %u", nodes[0].port, nodes[0].bus);
    if (at > 0) tell(&nodes[at], command);
  }
  time_t since = time(NULL);
  for (int at = 0; at < NODES; at++) {
    const char *state = ask(nodes[at].port, "CLUSTER INFO");
    if (strstr(state, "cluster_state:ok") == NULL || strstr(state, "cluster_known_nodes:3") == NULL) {
      moment(since);
      at = -1;
    }
  }
}

static kv_db *over(const node *nodes, const char *shards) {
  char url[64];
  snprintf(url, sizeof url, "redis-cluster://127.0.0.1:%u", nodes[0].port);
  return sharing(url, "tier_shards", shards);
}

/* A shard's keys stand together, each shard where its slot is: as the cluster itself computes slots. */
static void each_key_stands_in_its_shard_and_the_nodes_share_them(void) {
  node nodes[NODES];
  start_cluster(nodes);
  kv_db *here = over(nodes, "8"), *there = over(nodes, "8");
  char names[KEYS][8];
  kv_slice keys[KEYS];
  for (int at = 0; at < KEYS; at++) {
    int len = snprintf(names[at], sizeof names[at], "k%d", at);
    keys[at] = (kv_slice){names[at], (size_t)len};
    OK(kv_set(here, names[at], (size_t)len, names[at], (size_t)len, NULL));
  }
  OK(kv_flush(here, 60000, NULL));
  kv_slice *values = NULL;
  OK(kv_get_many(there, keys, KEYS, &values, NULL));
  for (int at = 0; at < KEYS; at++) {
    CHECK(values[at].len == keys[at].len && memcmp(values[at].data, names[at], keys[at].len) == 0);
  }
  kv_free(values);

  unsigned held[NODES] = {0};
  for (int at = 0; at < KEYS; at++) {
    char command[64];
    snprintf(command, sizeof command, "CLUSTER KEYSLOT %s", names[at]);
    unsigned shard = (unsigned)atoi(ask(nodes[0].port, command) + 1) % SHARDS;
    snprintf(command, sizeof command, "EXISTS {t:%u}%s", shard, names[at]);
    unsigned found = 0;
    for (int of = 0; of < NODES; of++) {
      int is_here = strcmp(ask(nodes[of].port, command), ":1\r\n") == 0;
      held[of] += is_here;
      found += is_here;
    }
    CHECK(found == 1);
    int64_t sum = 0;
    OK(kv_increment_shared(here, names[at] + 1, keys[at].len - 1, 1, &sum, NULL));
    CHECK(sum == 1);
    OK(kv_increment_shared(there, names[at] + 1, keys[at].len - 1, 1, &sum, NULL));
    CHECK(sum == 2);
  }
  CHECK(held[0] > 0 && held[1] > 0 && held[2] > 0 && held[0] + held[1] + held[2] == KEYS);

  OK(kv_delete(here, S("k7"), NULL));
  OK(kv_set(here, S("k8"), S("new"), NULL));
  OK(kv_flush(here, 60000, NULL));
  kv_preloaded done;
  OK(kv_preload(there, S("k*"), 0, NULL, NULL, &done, NULL));
  CHECK(done.is_complete && done.copied == 1 && done.removed == 1);
  IS(KV_NOT_FOUND, kv_contains(there, S("k7"), NULL));
  char value[8];
  size_t len = 0;
  OK(kv_get(there, S("k8"), value, sizeof value, &len, NULL));
  CHECK(len == 3 && memcmp(value, "new", 3) == 0);
  OK(kv_db_free(there));
  OK(kv_db_free(here));
  for (int at = 0; at < NODES; at++) CHECK(kill(nodes[at].pid, SIGKILL) == 0 && waitpid(nodes[at].pid, NULL, 0) == nodes[at].pid);
}

static void a_number_of_shards_that_cannot_be_is_refused(void) {
  static const char *const wrong[] = {"0", "65", "-1", "two", ""};
  for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
    kv_options *options = kv_options_new();
    kv_error *error = NULL;
    kv_db *db = NULL;
    OK(kv_options_set(options, "tier_url", "redis+unix:///nowhere", NULL));
    kv_status status = kv_options_set(options, "tier_shards", wrong[at], &error);
    if (status == KV_OK) status = kv_open_in_memory(options, &db, &error);
    CHECK(status == KV_INVALID_OPTION && strstr(kv_error_message(error), "tier_shards") != NULL);
    OK(kv_error_free(error));
    OK(kv_options_free(options));
  }
}

const test cluster_tests[] = {
    TEST(each_key_stands_in_its_shard_and_the_nodes_share_them),
    TEST(a_number_of_shards_that_cannot_be_is_refused),
    {NULL, NULL},
};

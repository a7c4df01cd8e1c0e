/* Two processes, each with a store, that share their entries through a redis-server: this program runs itself as the other one. */
#define _XOPEN_SOURCE 700
#include "redis.h"

#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

/* The other process: does what the lines of its input say, one answer a line. */
int peer(const char *url) {
  kv_db *db = sharing(url, "tier_fresh", "drop");
  char line[256], word[16], key[64], value[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    key[0] = value[0] = '\0';
    CHECK(sscanf(line, "%15s %63s %63s", word, key, value) >= 1);
    kv_status status = KV_OK;
    int64_t sum = 0;
    char answer[128] = "ok";
    if (strcmp(word, "set") == 0) {
      status = kv_set(db, key, strlen(key), value, strlen(value), NULL);
    } else if (strcmp(word, "delete") == 0) {
      status = kv_delete(db, key, strlen(key), NULL);
    } else if (strcmp(word, "flush") == 0) {
      status = kv_flush(db, 60000, NULL);
    } else if (strcmp(word, "add") == 0) {
      status = kv_add_shared(db, key, strlen(key), value, strlen(value), NULL, NULL);
    } else if (strcmp(word, "increment") == 0) {
      for (int n = atoi(value); n > 0 && status == KV_OK; n--) {
        status = kv_increment_shared(db, key, strlen(key), 1, &sum, NULL);
      }
    } else if (strcmp(word, "hears") == 0) {
      char *figures = NULL;
      OK(kv_tier_stats_json(db, &figures, NULL));
      strcpy(answer, strstr(figures, "\"hears\":true") != NULL ? "yes" : "no");
      kv_free(figures);
    } else {
      CHECK(strcmp(word, "get") == 0);
      size_t len = 0;
      status = kv_get(db, key, strlen(key), answer, sizeof answer - 1, &len, NULL);
      if (status == KV_OK) answer[len] = '\0';
    }
    if (status == KV_NOT_FOUND || status == KV_NOT_MET) strcpy(answer, "no");
    else if (status != KV_OK) snprintf(answer, sizeof answer, "%s", kv_strerror(status));
    printf("%s\n", answer);
    fflush(stdout);
  }
  OK(kv_db_free(db));
  return 0;
}

typedef struct {
  pid_t pid;
  FILE *input, *output;
} process;

static void run_peer(process *p, const redis *r) {
  int to[2], from[2];
  CHECK(pipe(to) == 0 && pipe(from) == 0);
  fflush(NULL);
  p->pid = fork();
  CHECK(p->pid >= 0);
  if (p->pid == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    close(to[0]), close(to[1]), close(from[0]), close(from[1]);
    execl(program, program, "--peer", r->url, (char *)NULL);
    _exit(127);
  }
  close(to[0]), close(from[1]);
  p->input = fdopen(to[1], "w");
  p->output = fdopen(from[0], "r");
  CHECK(p->input != NULL && p->output != NULL);
}

static void tell(process *p, const char *line) {
  CHECK(fprintf(p->input, "%s\n", line) > 0 && fflush(p->input) == 0);
}

static void answers(process *p, const char *expected) {
  char answer[128] = {0};
  CHECK(fgets(answer, sizeof answer, p->output) != NULL);
  answer[strcspn(answer, "\n")] = '\0';
  if (strcmp(answer, expected) != 0) fprintf(stderr, "the other process: %s, expected %s\n", answer, expected);
  CHECK(strcmp(answer, expected) == 0);
}

static void any_answer(process *p) {
  char answer[128];
  CHECK(fgets(answer, sizeof answer, p->output) != NULL);
}

static void says(process *p, const char *line, const char *expected) {
  tell(p, line);
  answers(p, expected);
}

static void comes_to(process *p, const char *line, const char *expected) {
  char answer[128];
  time_t since = time(NULL);
  for (;;) {
    tell(p, line);
    CHECK(fgets(answer, sizeof answer, p->output) != NULL);
    answer[strcspn(answer, "\n")] = '\0';
    if (strcmp(answer, expected) == 0) return;
    moment(since);
  }
}

static void end_peer(process *p) {
  int status = -1;
  CHECK(fclose(p->input) == 0);
  CHECK(waitpid(p->pid, &status, 0) == p->pid && status == 0);
  CHECK(fclose(p->output) == 0);
}

static void two_processes_see_each_others_changes_and_count_together(void) {
  redis r;
  start(&r);
  process there;
  run_peer(&there, &r);
  kv_db *here = sharing(r.url, "tier_fresh", "drop");
  comes_to(&there, "hears", "yes");
  OK(kv_set(here, S("k"), S("v"), NULL));
  comes_to(&there, "get k", "v");
  OK(kv_set(here, S("k"), S("w"), NULL));
  /* Its copy goes, since it is told of the change. */
  comes_to(&there, "get k", "w");
  OK(kv_flush(here, 60000, NULL));
  /* What is told late may have dropped its copy once more: then the key was not there. */
  tell(&there, "delete k");
  any_answer(&there);
  says(&there, "flush", "ok");
  says(&there, "get k", "no");
  time_t since = time(NULL);
  while (kv_contains(here, S("k"), NULL) != KV_NOT_FOUND) moment(since);

  tell(&there, "increment n 100");
  for (int n = 0; n < 100; n++) OK(kv_increment_shared(here, S("n"), 1, NULL, NULL));
  answers(&there, "ok");
  int64_t sum = 0;
  OK(kv_increment_shared(here, S("n"), 0, &sum, NULL));
  CHECK(sum == 200);
  OK(kv_add_shared(here, S("lock"), S("here"), NULL, NULL));
  says(&there, "add lock there", "no");
  says(&there, "get lock", "here");

  end_peer(&there);
  OK(kv_db_free(here));
  down(&r);
}

static void a_process_that_is_killed_leaves_what_it_was_acknowledged_to_the_others(void) {
  redis r;
  start(&r);
  process there;
  run_peer(&there, &r);
  says(&there, "set k v", "ok");
  says(&there, "flush", "ok");
  CHECK(kill(there.pid, SIGKILL) == 0 && waitpid(there.pid, NULL, 0) == there.pid);
  fclose(there.input);
  CHECK(fclose(there.output) == 0);
  kv_db *here = sharing(r.url, NULL, NULL);
  OK(kv_contains(here, S("k"), NULL));
  OK(kv_db_free(here));
  down(&r);
}

const test processes_tests[] = {
    TEST(two_processes_see_each_others_changes_and_count_together),
    TEST(a_process_that_is_killed_leaves_what_it_was_acknowledged_to_the_others),
    {NULL, NULL},
};

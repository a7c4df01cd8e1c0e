/* The conformance script (tests/conformance) as C executes it: RUNNER FILE DIR [LINE CLOCK_MS]. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#include <sys/wait.h>
#include <unistd.h>

#define CLOCK_MS 1000000000000ull

static char **lines;
static size_t line_count;

static void read_script(const char *path) {
  FILE *file = fopen(path, "rb");
  NEED(file != NULL, "%s cannot be read", path);
  char *line = NULL;
  size_t room = 0;
  ssize_t len;
  while ((len = getline(&line, &room, file)) >= 0) {
    if (len > 0 && line[len - 1] == '\n') line[len - 1] = 0;
    lines = realloc(lines, (line_count + 1) * sizeof *lines);
    NEED(lines != NULL, "no memory for line %zu", line_count);
    lines[line_count++] = line;
    line = NULL;
    room = 0;
  }
  free(line);
  fclose(file);
}

/* The words of a line up to `=>`, and what is expected behind it. */
static size_t split(const char *line, char ***words, char **expected) {
  char *call = line_memory(strlen(line));
  strcpy(call, line);
  char *arrow = strstr(call, " => ");
  *expected = arrow ? arrow + 4 : "";
  if (arrow) *arrow = 0;
  *words = line_memory((strlen(call) / 2 + 2) * sizeof **words);
  size_t count = 0;
  for (char *word = strtok(call, " "); word != NULL; word = strtok(NULL, " ")) (*words)[count++] = word;
  return count;
}

static void case_end(script_case *c) {
  NEED(kv_session_free(c->session) == KV_OK, "the session stays");
  NEED(kv_watch_free(c->watch) == KV_OK, "the watch stays");
  NEED(kv_db_free(c->db) == KV_OK && kv_clock_free(c->clock) == KV_OK, "the case's store stays");
  listener_free(c->listener);
  redis_down(c);
  for (size_t at = 0; at < c->setting_count; at++) free(c->settings[at][0]);
  memset(c, 0, sizeof *c);
}

static void case_begin(script_case *c, const char *dir, const char *name, uint64_t clock_ms) {
  case_end(c);
  snprintf(c->path, sizeof c->path, "%s/%s", dir, name);
  c->clock = kv_clock_new(clock_ms);
  c->clock_ms = clock_ms;
}

const char *mirror_of(const script_case *c) {
  char *path = line_memory(strlen(c->path) + sizeof ".json");
  return strcat(strcpy(path, c->path), ".json");
}

/* The value of an option. */
static const char *setting(const script_case *c, const char *word) {
  if (strcmp(word, "$mirror") == 0) return mirror_of(c);
  return strcmp(word, "$redis") == 0 ? redis_url_of(c) : word;
}

static void keep_setting(script_case *c, const char *name, const char *value) {
  NEED(c->setting_count < SETTINGS_MAX, "too many options");
  char *both = malloc(strlen(name) + strlen(value) + 2);
  NEED(both != NULL, "no memory");
  c->settings[c->setting_count][0] = strcpy(both, name);
  c->settings[c->setting_count++][1] = strcpy(both + strlen(name) + 1, value);
}

static kv_status set_option(script_case *c, const char *name, const char *value) {
  kv_options *options = kv_options_new();
  kv_status status = kv_options_set(options, name, value, NULL);
  kv_options_free(options);
  if (status == KV_OK) keep_setting(c, name, value);
  return status;
}

static kv_status open_store(script_case *c, int is_on_disk) {
  kv_options *options = kv_options_new();
  NEED(kv_options_set_clock(options, c->clock) == KV_OK, "no clock");
  NEED(kv_options_set_background(options, 0) == KV_OK, "no background");
  for (size_t at = 0; at < c->setting_count; at++) {
    NEED(kv_options_set(options, c->settings[at][0], c->settings[at][1], NULL) == KV_OK, "%s", c->settings[at][0]);
  }
  let_hear(options, c->listener);
  if (c->db != NULL) NEED(kv_close(c->db, NULL) == KV_OK, "the store does not close");
  NEED(kv_db_free(c->db) == KV_OK, "the store stays");
  c->db = NULL;
  kv_status status = is_on_disk ? kv_open(c->path, options, &c->db, NULL) : kv_open_in_memory(options, &c->db, NULL);
  kv_options_free(options);
  return status;
}

uint64_t version_of(const script_case *c, const char *word) {
  if (word[0] != '$') return number_of(word);
  for (size_t at = c->version_count; at > 0; at--) {
    if (strcmp(c->version_names[at - 1], word + 1) == 0) return c->versions[at - 1];
  }
  NEED(0, "%s was not saved", word);
  return 0;
}

void save(script_case *c, uint64_t version, const char *name, text *answer) {
  if (name[0] != '$') {
    text_add(answer, "%llu", (unsigned long long)version);
    return;
  }
  NEED(c->version_count < VERSIONS_MAX && strlen(name) < sizeof c->version_names[0], "too many versions");
  c->versions[c->version_count] = version;
  strcpy(c->version_names[c->version_count++], name + 1);
  text_add(answer, "%s", name);
}

static void save_version(script_case *c, const char *word, const char *name, text *answer) {
  kv_slice key = bytes_of(word);
  uint64_t version;
  kv_status status = kv_key_version(c->db, key.data, key.len, &version, NULL);
  if (status != KV_OK) {
    answer_status(answer, status);
    return;
  }
  save(c, version, name, answer);
}

static void verify(const script_case *c, text *answer) {
  uint64_t damaged = 0;
  kv_status status = kv_verify(c->path, &damaged, NULL, NULL);
  if (status == KV_OK && damaged > 0) {
    text_add(answer, "damaged");
  } else {
    answer_status(answer, status);
  }
}

/* Goes on in a process of its own, with this program from the beginning: nothing of this one is left there. */
static int go_on_elsewhere(script_case *c, const char *self, const char *file, const char *dir, size_t line) {
  char line_text[32], clock_text[32];
  snprintf(line_text, sizeof line_text, "%zu", line);
  snprintf(clock_text, sizeof clock_text, "%llu", (unsigned long long)c->clock_ms);
  NEED(kv_db_free(c->db) == KV_OK, "the store stays");
  c->db = NULL;
  fflush(stdout);
  pid_t child = fork();
  NEED(child >= 0, "no process");
  if (child == 0) {
    execl(self, self, file, dir, line_text, clock_text, (char *)NULL);
    _exit(2);
  }
  int state;
  NEED(waitpid(child, &state, 0) == child, "the process is lost");
  return WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

static void resume(script_case *c, const char *dir, size_t done, uint64_t clock_ms) {
  size_t begin = done;
  do begin--;
  while (strncmp(lines[begin], "case ", 5) != 0);
  case_begin(c, dir, lines[begin] + 5, clock_ms);
  for (size_t at = begin; at < done; at++) {
    char **words, *expected;
    size_t count = split(lines[at], &words, &expected);
    if (count == 3 && strcmp(words[0], "option") == 0 && strcmp(expected, "ok") == 0) keep_setting(c, words[1], setting(c, words[2]));
    line_end();
  }
  NEED(open_store(c, 1) == KV_OK, "the store does not open in another process");
}

static void call(script_case *c, char **words, size_t count, const char *expected, text *answer) {
  if (strcmp(words[0], "option") == 0 && count == 3) {
    answer_status(answer, set_option(c, words[1], setting(c, words[2])));
  } else if (strcmp(words[0], "listen") == 0) {
    NEED(c->listener == NULL, "a second listener");
    c->listener = listener_new();
    text_add(answer, "ok");
  } else if (strcmp(words[0], "events") == 0 && count == 2) {
    NEED(c->listener != NULL, "no listener");
    events(c->listener, (size_t)number_of(words[1]), answer);
  } else if (strcmp(words[0], "open") == 0) {
    answer_status(answer, open_store(c, 1));
  } else if (strcmp(words[0], "open_in_memory") == 0) {
    answer_status(answer, open_store(c, 0));
  } else if (strcmp(words[0], "reopen") == 0) {
    answer_status(answer, open_store(c, 1));
  } else if (strcmp(words[0], "advance") == 0 && count == 2) {
    c->clock_ms += number_of(words[1]);
    NEED(kv_clock_advance(c->clock, number_of(words[1])) == KV_OK, "the clock stands");
  } else if (strcmp(words[0], "version") == 0 && count == 2) {
    save_version(c, words[1], expected, answer);
  } else if (strcmp(words[0], "verify") == 0) {
    verify(c, answer);
  } else if (use_tier(c, words, count, answer)) {
    /* Done. */
  } else if (use_files_and_watches(c, words, count, expected, answer)) {
    /* Done. */
  } else {
    operate(c, words, count, answer);
  }
}

int main(int argc, char **argv) {
  NEED(argc == 3 || argc == 5, "%s FILE DIR [LINE CLOCK_MS]", argv[0]);
  int is_other_process = argc == 5, failures = 0;
  size_t cases = 0, checked = 0;
  static script_case c;
  read_script(argv[1]);
  size_t at = is_other_process ? (size_t)number_of(argv[3]) : 0;
  NEED(at <= line_count, "%s has no line %s", argv[1], argv[3]);
  if (is_other_process) resume(&c, argv[2], at, number_of(argv[4]));
  while (at < line_count) {
    const char *line = lines[at++];
    char **words, *expected;
    size_t count = split(line, &words, &expected);
    text answer = {"", 0};
    if (count == 0 || line[0] == '#') continue;
    if (strcmp(words[0], "case") == 0) {
      if (is_other_process) break;
      NEED(count == 2, "%s:%zu: a case has one name", argv[1], at);
      case_begin(&c, argv[2], words[1], CLOCK_MS);
      cases++;
    } else if (strcmp(words[0], "process") == 0) {
      failures += !go_on_elsewhere(&c, argv[0], argv[1], argv[2], at);
      while (at < line_count && strncmp(lines[at], "case ", 5) != 0) at++;
    } else {
      NEED(c.clock != NULL, "%s:%zu: no case has begun", argv[1], at);
      call(&c, words, count, expected, &answer);
      checked++;
      if (strcmp(answer.data, expected) != 0) {
        printf("%s:%zu: expected %s, got %s\n", argv[1], at, expected, answer.data);
        failures++;
      }
    }
    line_end();
  }
  line_end();
  case_end(&c);
  if (!is_other_process) printf("%s: %zu cases, %zu lines\n", argv[1], cases, checked);
  for (size_t line = 0; line < line_count; line++) free(lines[line]);
  free(lines);
  return failures > 0;
}

/* Sessions and generated keys. */
#include "conformance.h"

#define IS_OPERATION(name, arguments) (strcmp(words[0], name) == 0 && count == (arguments) + 1)

static void take_over(script_case *c, kv_status status, kv_session *locked, text *answer) {
  if (status == KV_OK) {
    NEED(kv_session_free(c->session) == KV_OK, "the session stays");
    c->session = locked;
  }
  answer_status(answer, status);
}

static void add_pairs(text *answer, kv_pair *pairs, size_t count) {
  for (size_t at = 0; at < count; at++) {
    text_add(answer, " ");
    text_add_word(answer, pairs[at].key.data, pairs[at].key.len);
    text_add(answer, "=");
    text_add_word(answer, pairs[at].value.data, pairs[at].value.len);
  }
  kv_free(pairs);
}

static void answer_session(const script_case *c, text *answer) {
  const uint8_t *value = NULL;
  size_t len = 0, count = 0;
  kv_pair *pairs = NULL;
  kv_status status = kv_session_value(c->session, &value, &len, NULL);
  if (status == KV_OK) status = kv_session_metadata(c->session, &pairs, &count, NULL);
  if (status != KV_OK) {
    answer_status(answer, status);
    return;
  }
  text_add_word(answer, value, len);
  add_pairs(answer, pairs, count);
}

static kv_status edit(const script_case *c, char **words, size_t count) {
  kv_slice value = bytes_of(words[1]);
  kv_pair *pairs = line_memory(count * sizeof *pairs);
  for (size_t at = 2; at < count; at++) {
    char *held = strchr(words[at], '=');
    NEED(held != NULL, "%s is no pair", words[at]);
    *held = 0;
    pairs[at - 2] = (kv_pair){bytes_of(words[at]), bytes_of(held + 1)};
  }
  kv_status status = kv_session_set_value(c->session, value.data, value.len, NULL);
  return status == KV_OK ? kv_session_set_metadata(c->session, pairs, count - 2, NULL) : status;
}

static kv_status commit(const script_case *c, const char *when, const char *how) {
  static const char *const names[] = {"keep", "keep_on_failure", "delete"};
  uint32_t options = 0;
  uint64_t ms = 0;
  for (uint32_t bit = 0; bit < 3; bit++) {
    if (strcmp(how, names[bit]) == 0) options = 1u << bit;
  }
  NEED(options != 0 || strcmp(how, "end") == 0, "%s ends no commit", how);
  uint32_t kind = expiry_of(when, &ms);
  kv_status status = kv_session_set_expiry(c->session, kind, ms, NULL);
  return status == KV_OK ? kv_session_commit(c->session, options, NULL, NULL) : status;
}

static void generate(script_case *c, char **words, text *answer) {
  kv_key_options options = {bytes_of(words[1]), (uint32_t)number_of(words[2]), (uint32_t)number_of(words[3])};
  uint8_t *key = NULL;
  size_t len = 0;
  kv_status status = kv_generate_key(c->db, &options, &key, &len, NULL);
  if (status != KV_OK) {
    answer_status(answer, status);
    return;
  }
  size_t common = len < c->generated_len ? len : c->generated_len;
  int order = memcmp(key, c->generated, common);
  int is_later = order > 0 || (order == 0 && len > c->generated_len);
  is_later &= len > options.prefix.len && memcmp(key, options.prefix.data, options.prefix.len) == 0;
  text_add(answer, is_later ? "later" : "earlier");
  memcpy(c->generated, key, len);
  c->generated_len = len;
  kv_free(key);
}

/* Does what a line says, if it is of sessions or generated keys. */
int use_session(script_case *c, char **words, size_t count, text *answer) {
  kv_slice key = count > 1 ? bytes_of(words[1]) : (kv_slice){NULL, 0};
  kv_session *locked = NULL;
  if (IS_OPERATION("lock", 1)) {
    kv_status status = kv_get_and_lock(c->db, key.data, key.len, 0, &locked, NULL);
    take_over(c, status, locked, answer);
  } else if (IS_OPERATION("create", 3)) {
    NEED(strcmp(words[3], "any") == 0 || strcmp(words[3], "new") == 0, "%s", words[3]);
    kv_create_options options = {strcmp(words[3], "any") == 0, bytes_of(words[2])};
    kv_status status = kv_create_and_lock(c->db, key.data, key.len, 0, &options, &locked, NULL);
    take_over(c, status, locked, answer);
  } else if (IS_OPERATION("session", 0)) {
    answer_session(c, answer);
  } else if (strcmp(words[0], "edit") == 0 && count > 1) {
    answer_status(answer, edit(c, words, count));
  } else if (IS_OPERATION("commit", 2)) {
    answer_status(answer, commit(c, words[1], words[2]));
  } else if (IS_OPERATION("reload", 0)) {
    answer_status(answer, kv_session_reload(c->session, NULL));
  } else if (IS_OPERATION("rollback", 0)) {
    answer_status(answer, kv_session_rollback(c->session, NULL));
  } else if (IS_OPERATION("get_with_metadata", 1)) {
    uint8_t *value = NULL;
    size_t len = 0, pair_count = 0;
    kv_pair *pairs = NULL;
    kv_status status = kv_get_with_metadata(c->db, key.data, key.len, &value, &len, &pairs, &pair_count, NULL);
    if (status == KV_OK) {
      text_add_word(answer, value, len);
      add_pairs(answer, pairs, pair_count);
      kv_free(value);
    } else {
      answer_status(answer, status);
    }
  } else if (IS_OPERATION("generate", 3)) {
    generate(c, words, answer);
  } else {
    return 0;
  }
  return 1;
}

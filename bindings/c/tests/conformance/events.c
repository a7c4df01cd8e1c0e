/* What the store's listener was told, by a thread of the store. */
#define _XOPEN_SOURCE 700
#include "conformance.h"

#include <pthread.h>
#include <time.h>

/* An event, with copies of its key and its value behind it. */
typedef struct event {
  struct event *next;
  size_t key_len, value_len;
  uint32_t codec, cause;
  unsigned char bytes[];
} event;

struct listener {
  pthread_mutex_t lock;
  pthread_cond_t told;
  event *first, **end;
};

const char *const causes[] = {"deleted", "expired", "evicted", "replaced"};

static void take_event(void *userdata, const kv_event *told) {
  listener *l = userdata;
  event *kept = malloc(sizeof *kept + told->key.len + told->value.len);
  NEED(kept != NULL, "no memory for an event");
  *kept = (event){NULL, told->key.len, told->value.len, told->codec, told->cause};
  if (told->key.len > 0) memcpy(kept->bytes, told->key.data, told->key.len);
  if (told->value.len > 0) memcpy(kept->bytes + told->key.len, told->value.data, told->value.len);
  pthread_mutex_lock(&l->lock);
  *l->end = kept;
  l->end = &kept->next;
  pthread_cond_signal(&l->told);
  pthread_mutex_unlock(&l->lock);
}

/* The next event; NULL: there is none by the deadline. */
static event *next_event(listener *l, const struct timespec *deadline) {
  pthread_mutex_lock(&l->lock);
  while (l->first == NULL && deadline != NULL && pthread_cond_timedwait(&l->told, &l->lock, deadline) == 0) continue;
  event *next = l->first;
  if (next != NULL) l->first = next->next;
  if (l->first == NULL) l->end = &l->first;
  pthread_mutex_unlock(&l->lock);
  return next;
}

listener *listener_new(void) {
  listener *l = malloc(sizeof *l);
  NEED(l != NULL, "no memory for a listener");
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->told, NULL);
  l->first = NULL;
  l->end = &l->first;
  return l;
}

void listener_free(listener *l) {
  if (l == NULL) return;
  for (event *left = next_event(l, NULL); left != NULL; left = next_event(l, NULL)) free(left);
  pthread_mutex_destroy(&l->lock);
  pthread_cond_destroy(&l->told);
  free(l);
}

void let_hear(kv_options *options, listener *l) {
  if (l != NULL) NEED(kv_options_set_listener(options, take_event, l) == KV_OK, "no listener");
}

void events(listener *l, size_t count, text *answer) {
  struct timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += 60;
  for (size_t told = 0;; told++) {
    event *next = next_event(l, told < count ? &deadline : NULL);
    if (next == NULL) break;
    if (told > 0) text_add(answer, " ");
    text_add_word(answer, next->bytes, next->key_len);
    text_add(answer, "=");
    text_add_word(answer, next->bytes + next->key_len, next->value_len);
    text_add(answer, ":");
    add_codec(answer, next->codec);
    text_add(answer, ":%s", causes[next->cause]);
    free(next);
  }
  if (answer->len == 0) text_add(answer, "none");
}

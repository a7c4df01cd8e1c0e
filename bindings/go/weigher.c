/* A thread that asks a weigher of Go's. The store asks in the thread that writes, and that is within a call of which Go was told that it
 * does not call back: so nothing that crosses to the library need be on Go's heap. Who writes waits for this thread meanwhile. */
#include "_cgo_export.h"
#include <pthread.h>

enum state { IDLE, ASKED, ANSWERED, ENDING };

struct kvgo_weigher {
  uintptr_t handle;
  pthread_t thread;
  /* Held by who asks, from the question to the answer. */
  pthread_mutex_t turn;
  /* Guards what follows. */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  enum state state;
  const void *key, *value;
  size_t key_len, value_len;
  uint32_t weight;
  int32_t status;
};

static void *answer(void *at) {
  kvgo_weigher *w = at;
  /* Who writes would wait for what it calls here, and that for who writes. */
  kvgo_bar();
  pthread_mutex_lock(&w->lock);
  for (;;) {
    while (w->state != ASKED && w->state != ENDING) pthread_cond_wait(&w->changed, &w->lock);
    if (w->state == ENDING) break;
    pthread_mutex_unlock(&w->lock);
    uint32_t weight = 0;
    kvgo_enter();
    int32_t status = kvgoWeigh(w->handle, (uint8_t *)w->key, w->key_len, (uint8_t *)w->value, w->value_len, &weight);
    kvgo_leave();
    pthread_mutex_lock(&w->lock);
    w->weight = weight;
    w->status = status;
    w->state = ANSWERED;
    pthread_cond_broadcast(&w->changed);
  }
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

int32_t kvgo_ask_weigher(void *userdata, const void *key, size_t key_len, const void *value, size_t value_len,
                         uint32_t *weight) {
  kvgo_weigher *w = userdata;
  pthread_mutex_lock(&w->turn);
  pthread_mutex_lock(&w->lock);
  w->key = key, w->key_len = key_len, w->value = value, w->value_len = value_len;
  w->state = ASKED;
  pthread_cond_broadcast(&w->changed);
  while (w->state != ANSWERED) pthread_cond_wait(&w->changed, &w->lock);
  w->state = IDLE;
  int32_t status = w->status;
  if (status == KV_OK) *weight = w->weight;
  pthread_mutex_unlock(&w->lock);
  pthread_mutex_unlock(&w->turn);
  return status;
}

kvgo_weigher *kvgo_weigher_new(uintptr_t handle) {
  kvgo_weigher *w = calloc(1, sizeof *w);
  if (w == NULL) return NULL;
  w->handle = handle;
  pthread_mutex_init(&w->turn, NULL);
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->changed, NULL);
  if (pthread_create(&w->thread, NULL, answer, w) != 0) {
    free(w);
    return NULL;
  }
  return w;
}

/* Nobody asks any more. */
void kvgo_weigher_free(kvgo_weigher *w) {
  pthread_mutex_lock(&w->lock);
  w->state = ENDING;
  pthread_cond_broadcast(&w->changed);
  pthread_mutex_unlock(&w->lock);
  pthread_join(w->thread, NULL);
  pthread_mutex_destroy(&w->turn);
  pthread_mutex_destroy(&w->lock);
  pthread_cond_destroy(&w->changed);
  free(w);
}

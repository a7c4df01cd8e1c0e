/* A runner of a few lines: a check that fails names its place and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <kv.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                \
  do {                                                                                  \
    if (!(condition)) {                                                                 \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                   \
      abort();                                                                          \
    }                                                                                   \
  } while (0)

/* The status that a call must have. */
#define IS(expected, call)                                                              \
  do {                                                                                  \
    kv_status check_status = (call);                                                    \
    if (check_status != (expected)) {                                                   \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, kv_strerror(check_status)); \
      abort();                                                                          \
    }                                                                                   \
  } while (0)

#define OK(call) IS(KV_OK, call)

/* A key or value from a string literal: address and length. */
#define S(literal) (literal), (sizeof(literal) - 1)
#define SLICE(literal) {(literal), sizeof(literal) - 1}

typedef struct {
  const char *name;
  void (*run)(void);
} test;
#define TEST(name) {#name, name}

/* Tests of each file; the names are promises. */
extern const test operations_tests[];
extern const test callbacks_tests[];
extern const test lifetime_tests[];
extern const test misuse_tests[];
extern const test random_tests[];
extern const test sessions_tests[];
extern const test typed_tests[];
extern const test watching_tests[];
extern const test tier_tests[];
extern const test cluster_tests[];
extern const test loads_tests[];
extern const test processes_tests[];

/* What this program was started as. */
extern const char *program;
/* What it does when it is started with `--peer URL`. */
int peer(const char *url);

/* A directory of its own for each call; all are removed at the end. */
const char *fresh_dir(void);

/* Less of it where each call costs much (valgrind, sanitizers): KV_SCALE is a divisor. */
unsigned scaled(unsigned count);

kv_db *memory_store(void);

/* Polls until `done` is true; a minute without it is a failure. */
int comes_true(int (*done)(void *), void *state);

#endif

/* The words of the conformance script: from text to bytes and back. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <kv.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A script that is not of the language's page ends the program: it proves nothing. */
#define NEED(condition, ...)            \
  do {                                  \
    if (!(condition)) {                 \
      fprintf(stderr, __VA_ARGS__);     \
      fputc('\n', stderr);              \
      exit(2);                          \
    }                                   \
  } while (0)

/* Memory that is given back at the end of the line. */
void *line_memory(size_t len);
void line_end(void);

/* A text that grows. */
typedef struct {
  char *data;
  size_t len;
} text;

void text_add(text *to, const char *format, ...);
void text_add_bytes(text *to, const void *data, size_t len);
void text_add_word(text *to, const void *data, size_t len);

kv_slice bytes_of(const char *word);
uint64_t number_of(const char *word);

#endif

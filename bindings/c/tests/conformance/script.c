#include "script.h"

static void **pieces;
static size_t piece_count;

void *line_memory(size_t len) {
  pieces = realloc(pieces, (piece_count + 1) * sizeof *pieces);
  void *memory = malloc(len + 1);
  NEED(pieces != NULL && memory != NULL, "no memory for %zu bytes", len);
  pieces[piece_count++] = memory;
  return memory;
}

void line_end(void) {
  while (piece_count > 0) free(pieces[--piece_count]);
  free(pieces);
  pieces = NULL;
}

static void grow(text *to, size_t by) {
  char *data = line_memory(to->len + by);
  if (to->len > 0) memcpy(data, to->data, to->len);
  data[to->len] = 0;
  to->data = data;
}

void text_add(text *to, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  grow(to, (size_t)len);
  va_start(args, format);
  vsnprintf(to->data + to->len, (size_t)len + 1, format, args);
  va_end(args);
  to->len += (size_t)len;
}

void text_add_bytes(text *to, const void *data, size_t len) {
  grow(to, len);
  memcpy(to->data + to->len, data, len);
  to->data[to->len += len] = 0;
}

void text_add_word(text *to, const void *data, size_t len) {
  const unsigned char *bytes = data;
  if (len == 0) {
    text_add(to, "\"\"");
    return;
  }
  size_t same = 1;
  while (same < len && bytes[same] == bytes[0]) same++;
  if (same == len && len > 16) {
    text_add(to, "@%zu*%02X", len, bytes[0]);
    return;
  }
  grow(to, 3 * len);
  for (size_t at = 0; at < len; at++) {
    int is_plain = bytes[at] > ' ' && bytes[at] <= '~' && bytes[at] != '%';
    to->len += (size_t)sprintf(to->data + to->len, is_plain ? "%c" : "%%%02X", bytes[at]);
  }
}

static unsigned char hex(const char *digits) {
  unsigned byte;
  NEED(strlen(digits) >= 2 && sscanf(digits, "%2x", &byte) == 1, "%s: no two hex digits", digits);
  return (unsigned char)byte;
}

kv_slice bytes_of(const char *word) {
  kv_slice slice = {"", 0};
  if (strcmp(word, "\"\"") == 0) return slice;
  const char *star = word[0] == '@' ? strchr(word, '*') : NULL;
  unsigned char *bytes;
  if (star != NULL) {
    slice.len = (size_t)strtoull(word + 1, NULL, 10);
    bytes = line_memory(slice.len);
    memset(bytes, hex(star + 1), slice.len);
  } else {
    bytes = line_memory(strlen(word));
    for (; *word != 0; word++) {
      bytes[slice.len++] = *word == '%' ? hex(word + 1) : (unsigned char)*word;
      if (*word == '%') word += 2;
    }
  }
  slice.data = bytes;
  return slice;
}

uint64_t number_of(const char *word) {
  char *end;
  uint64_t number = strtoull(word, &end, 10);
  NEED(*word != 0 && *end == 0, "%s is no number", word);
  return number;
}

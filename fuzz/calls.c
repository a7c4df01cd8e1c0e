/* The random calls of the C suite, drawn from a fuzzer's bytes instead of a generator. */
#define KV_FUZZ
#include "random.c"

static const char *directory;

const char *fresh_dir(void) { return directory; }

void fuzz_calls(const uint8_t *data, size_t len, const char *dir) {
  input = data;
  input_len = len;
  directory = dir;
  call_until_the_input_ends();
}

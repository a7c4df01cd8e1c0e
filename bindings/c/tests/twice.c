/* kv.h in C99, twice. */
#include <kv.h>
#include <kv.h>

int main(void) { return kv_version() == KV_VERSION ? 0 : 1; }

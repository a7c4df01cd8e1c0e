/* A redis-server of a test's own, on a unix socket in a directory of its own. */
#ifndef REDIS_H
#define REDIS_H

#include "check.h"

#include <sys/types.h>
#include <time.h>

typedef struct {
  char dir[128], socket[160], url[192];
  pid_t pid;
} redis;

void start(redis *r);
/* Again, after `down`. */
void up(redis *r);
/* As `kill -9`. */
void down(redis *r);
/* One look at what is waited for. */
void moment(time_t since);
/* A store in memory with a tier; an option more, unless `name` is NULL. */
kv_db *sharing(const char *url, const char *name, const char *value);

#endif

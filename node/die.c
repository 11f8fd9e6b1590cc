#include <stdlib.h>

#include "node/log.h"
#include "proto/base.h"

/* A broken invariant: say which, and stop before anyone is told something wrong. A restart is the recovery. */
void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    log_write(LOG_ERROR,
              "assert_failed condition=\"%s\" at=%s:%d function=%s "
              "action=\"this is a bug: keep the data directory and the core "
              "file, restart the node, and report it\"",
              condition, file, line, function);
    abort();
}

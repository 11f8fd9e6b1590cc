/* A program without an assert_failed() of its own gets this one: libbaton's users, and the command line. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base.h"

void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    (void)fprintf(stderr, "baton: %s:%d: %s: ASSERT(%s)\n", file, line,
                  function, condition);
    abort();
}

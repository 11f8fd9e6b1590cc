/* assert_stub.h - a unit test's own assert_failed(): print where, and abort, so that the run fails loudly. */
#ifndef TESTS_UNIT_ASSERT_STUB_H
#define TESTS_UNIT_ASSERT_STUB_H

#include <stdio.h>
#include <stdlib.h>

#include "proto/base.h"

void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    (void)fprintf(stderr, "%s:%d: %s: ASSERT(%s)\n", file, line, function,
                  condition);
    abort();
}

#endif

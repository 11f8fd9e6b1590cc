/* base.h - what every other file stands on: assertions, views of bytes, a few sizes.
 *
 * ASSERT is always on, in every variant: a broken invariant must stop the process before it speaks to anyone. It calls
 * assert_failed(), which belongs to the shell (node/die.c prints it and aborts; the simulator records it and aborts;
 * tests have their own), so that pure code needs nothing from libc. */
#ifndef PROTO_BASE_H
#define PROTO_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASSERT(cond)                                                           \
    ((cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__, __func__))
#define ASSERT_IMPLIES(a, b) ASSERT(!(a) || (b))
#define countof(array)       (sizeof(array) / sizeof((array)[0]))
#define MUST_USE             __attribute__((warn_unused_result))

/* Never returns. Provided by whoever links the pure code. */
void assert_failed(const char *condition, const char *file, int line,
                   const char *function) __attribute__((noreturn));

/* A view: owns nothing, valid as long as what it points into. `n` bytes, no terminating NUL promised. */
struct bytes {
    const uint8_t *data;
    size_t n;
};

/* Longest name (namespace, group, device, tab), in bytes of UTF-8. */
#define NAME_BYTES_MAX 128

/* Highest number that a node may have. */
#define NODE_MAX 1000000u

/* Version of the wire protocol and of the commands in the log. Both start at 1 and move apart when they must. */
#define PROTOCOL_VERSION 1
#define COMMAND_VERSION  1

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif

#include "proto/arena.h"

#include <string.h>

void arena_init(struct arena *a, void *memory, size_t n)
{
    ASSERT(a != NULL);
    ASSERT(memory != NULL);
    uintptr_t misaligned = (uintptr_t)memory % ARENA_ALIGN;
    size_t skip = misaligned == 0 ? 0 : ARENA_ALIGN - (size_t)misaligned;
    ASSERT(n >= skip);
    /* A multiple, so that rounding a request up can't reach past the end. */
    *a = (struct arena){
        .base = (uint8_t *)memory + skip,
        .n = (n - skip) / ARENA_ALIGN * ARENA_ALIGN,
    };
}

void arena_reset(struct arena *a)
{
    ASSERT(a->used <= a->high);
    ASSERT(a->high <= a->n);
    a->used = 0;
    a->full = false;
}

void *arena_alloc(struct arena *a, size_t n)
{
    ASSERT(a->used <= a->n);
    ASSERT(a->used % ARENA_ALIGN == 0);
    /* Compared before it's rounded up: a size near SIZE_MAX would wrap to a small one. */
    if (n > a->n - a->used) {
        a->full = true;
        return NULL;
    }
    void *at = a->base + a->used;
    a->used += (n + (ARENA_ALIGN - 1)) / ARENA_ALIGN * ARENA_ALIGN;
    ASSERT(a->used <= a->n);
    if (a->used > a->high) {
        a->high = a->used;
    }
    return at;
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    ASSERT(b.n < SIZE_MAX);
    ASSERT_IMPLIES(b.n > 0, b.data != NULL);
    uint8_t *to = arena_alloc(a, b.n + 1);
    if (to == NULL) {
        return (struct bytes){0};
    }
    if (b.n > 0) {
        memcpy(to, b.data, b.n);
    }
    to[b.n] = 0;
    return (struct bytes){to, b.n};
}

static void *allocate(void *arena, size_t n)
{
    return arena_alloc(arena, n);
}

static void keep(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

ProtobufCAllocator arena_allocator(struct arena *a)
{
    ASSERT(a != NULL);
    ASSERT(a->base != NULL);
    return (ProtobufCAllocator){
        .alloc = allocate,
        .free = keep,
        .allocator_data = a,
    };
}

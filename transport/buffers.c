#include "transport/buffers.h"

#include <stdlib.h>
#include <string.h>

/* AddressSanitizer sees a use of what was given back only if it was freed. */
#ifdef __SANITIZE_ADDRESS__
static const uint32_t kept_max = 0;
#else
static const uint32_t kept_max = BUFFERS_KEPT_MAX;
#endif

/* A kept buffer's first bytes point to the next one. */
struct kept {
    struct kept *next;
};

void buffers_init(struct buffers *p)
{
    *p = (struct buffers){0};
}

void buffers_fini(struct buffers *p)
{
    for (size_t i = 0; i < BUFFERS_CLASSES; i++) {
        struct kept *k = p->kept[i];
        while (k != NULL) {
            struct kept *next = k->next;
            free(k);
            k = next;
        }
    }
    buffers_init(p);
}

static size_t round_up(size_t n)
{
    size_t cap = BUFFERS_BYTES_MIN;
    while (cap < n) {
        ASSERT(cap <= SIZE_MAX / 2);
        cap *= 2;
    }
    return cap;
}

/* BUFFERS_CLASSES: too big to be kept. */
static size_t class_of(size_t cap)
{
    size_t i = 0;
    while (i < BUFFERS_CLASSES && (BUFFERS_BYTES_MIN << i) < cap) {
        i++;
    }
    return i;
}

bool buffers_take(struct buffers *p, size_t n, struct buffer *out)
{
    size_t cap = round_up(n);
    size_t i = class_of(cap);
    if (i < BUFFERS_CLASSES && p->kept[i] != NULL) {
        struct kept *k = p->kept[i];
        ASSERT(p->kept_n[i] > 0);
        p->kept[i] = k->next;
        p->kept_n[i]--;
        *out = (struct buffer){(uint8_t *)k, cap};
        return true;
    }
    uint8_t *data = malloc(cap);
    if (data == NULL) {
        return false;
    }
    *out = (struct buffer){data, cap};
    return true;
}

void buffers_give(struct buffers *p, struct buffer *b)
{
    if (b->data == NULL) {
        return;
    }
    size_t i = class_of(b->cap);
    if (i < BUFFERS_CLASSES && p->kept_n[i] < kept_max) {
        struct kept *k = (struct kept *)(void *)b->data;
        k->next = p->kept[i];
        p->kept[i] = k;
        p->kept_n[i]++;
    } else {
        free(b->data);
    }
    *b = (struct buffer){0};
}

bool buffers_grow(struct buffers *p, struct buffer *b, size_t n,
                  struct bytes keep)
{
    ASSERT(keep.n <= n);
    if (n <= b->cap) {
        if (keep.n > 0 && keep.data != b->data) {
            memmove(b->data, keep.data, keep.n);
        }
        return true;
    }
    struct buffer bigger;
    if (!buffers_take(p, n, &bigger)) {
        return false;
    }
    if (keep.n > 0) {
        memcpy(bigger.data, keep.data, keep.n);
    }
    buffers_give(p, b);
    *b = bigger;
    return true;
}

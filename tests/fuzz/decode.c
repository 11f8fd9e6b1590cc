#include "tests/fuzz/decode.h"

#include <string.h>

#include "proto/arena.h"
#include "proto/codec.h"
#include "proto/json.h"

#define ARENA_BYTES (4u << 20)
#define OUT_BYTES   (1u << 20)

static _Alignas(ARENA_ALIGN) uint8_t memory[ARENA_BYTES];
static _Alignas(ARENA_ALIGN) uint8_t memory_again[ARENA_BYTES];
static uint8_t once[OUT_BYTES];
static uint8_t twice[OUT_BYTES];
static char text[OUT_BYTES];

/* One object on one line, or nothing where it is too long for the buffer. */
static void check_text(const ProtobufCMessage *m)
{
    size_t n = json_write(m, 0, text, sizeof text);
    ASSERT(n < sizeof text);
    ASSERT(text[n] == '\0');
    if (n > 0) {
        ASSERT(text[0] == '{');
        ASSERT(text[n - 1] == '}');
        ASSERT(memchr(text, '\0', n) == NULL);
        ASSERT(memchr(text, '\n', n) == NULL);
    }
    size_t short_n = json_write(m, JSON_SKIP_DEFAULTS, text, sizeof text);
    ASSERT_IMPLIES(n > 0, short_n > 0 && short_n <= n);
}

/* Encoding is stable: what came in may have been written in a roundabout way, what goes out is not. */
static void check_encoding(const ProtobufCMessage *m)
{
    size_t n = codec_size(m);
    if (n > sizeof once) {
        ASSERT(codec_encode(m, once, sizeof once) == 0);
        return;
    }
    ASSERT(codec_encode(m, once, sizeof once) == n);
    struct arena a;
    arena_init(&a, memory_again, sizeof memory_again);
    ProtobufCMessage *again =
        codec_decode(m->descriptor, (struct bytes){once, n}, &a);
    ASSERT_IMPLIES(again == NULL, a.full);
    if (again != NULL) {
        ASSERT(codec_size(again) == n);
        ASSERT(codec_encode(again, twice, sizeof twice) == n);
        ASSERT(n == 0 || memcmp(once, twice, n) == 0);
    }
}

void decode_and_use(const ProtobufCMessageDescriptor *type, struct bytes in)
{
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    ProtobufCMessage *m = codec_decode(type, in, &a);
    if (m == NULL) {
        return;
    }
    ASSERT(!a.full);
    size_t needed = a.used;
    check_text(m);
    check_encoding(m);
    struct arena small;
    arena_init(&small, memory_again, needed - ARENA_ALIGN);
    ASSERT(codec_decode(type, in, &small) == NULL);
    ASSERT(small.full);
}

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

/* --- the oracle ---------------------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

/* Of bytes that are known to decode. */
static uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte = 0x80;
    while (byte >= 0x80) {
        ASSERT(r->at < r->end);
        byte = *r->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        shift += 7;
    }
    return value;
}

static bool repeats_a_message(const ProtobufCMessageDescriptor *type,
                              struct bytes in);

/* Is the field a message that came before, or one in which a message does? */
static bool is_repeated_message(const ProtobufCFieldDescriptor *f,
                                struct bytes value, bool *seen)
{
    if (f == NULL || f->type != PROTOBUF_C_TYPE_MESSAGE) {
        return false;
    }
    bool again = *seen && f->label != PROTOBUF_C_LABEL_REPEATED;
    *seen = true;
    return again || repeats_a_message(f->descriptor, value);
}

/* Does a message field that isn't repeated come twice, at any depth? */
static bool repeats_a_message(const ProtobufCMessageDescriptor *type,
                              struct bytes in)
{
    bool seen[64] = {false};
    ASSERT(type->n_fields <= countof(seen));
    struct reader r = {in.data, in.data + in.n};
    while (r.at < r.end) {
        uint64_t tag = read_varint(&r);
        size_t n = 0;
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            (void)read_varint(&r);
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            n = 8;
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            n = 4;
            break;
        default:
            n = (size_t)read_varint(&r);
            break;
        }
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        size_t i = f == NULL ? 0 : (size_t)(f - type->fields);
        if (is_repeated_message(f, (struct bytes){r.at, n}, &seen[i])) {
            return true;
        }
        r.at += n;
    }
    return false;
}

/* What codec_decode() takes, protobuf-c takes, and reads the same way. (But for a message that comes twice: there, protobuf-c lets
 * a 0 in the second lose against a number in the first.) */
static void check_against_oracle(const ProtobufCMessage *m, struct bytes in)
{
    struct arena a;
    arena_init(&a, memory_again, sizeof memory_again);
    ProtobufCAllocator allocator = arena_allocator(&a);
    ProtobufCMessage *theirs =
        protobuf_c_message_unpack(m->descriptor, &allocator, in.n, in.data);
    ASSERT_IMPLIES(theirs == NULL, a.full);
    size_t n = codec_size(m);
    if (theirs == NULL || n > sizeof once ||
        repeats_a_message(m->descriptor, in)) {
        return;
    }
    ASSERT(codec_size(theirs) == n);
    ASSERT(codec_encode(m, once, sizeof once) == n);
    ASSERT(codec_encode(theirs, twice, sizeof twice) == n);
    ASSERT(n == 0 || memcmp(once, twice, n) == 0);
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
    check_against_oracle(m, in);
    check_encoding(m);
    struct arena small;
    arena_init(&small, memory_again, needed - ARENA_ALIGN);
    ASSERT(codec_decode(type, in, &small) == NULL);
    ASSERT(small.full);
}

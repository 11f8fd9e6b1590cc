/* encode.c - a message into bytes, by its descriptor: codec_size(), codec_encode(), codec_frame().
 *
 * A first walk looks which fields are there, and adds up how long they become; a second writes them. Types have many fields, of which a
 * message has few, and in front of a text, or of a message in a message, stands its length: so the first walk leaves notes of both, in the
 * order in which the second needs them.
 *
 *     Event { tab: "t1", path: { group: "g" }, epoch: 7 }        notes: {tab, path, epoch}, 2, 3, {group}, 1
 *
 * protobuf-c's own encoder comes to the same bytes (what is in the log is hashed: they must never change) and finds each length anew at each
 * level above it; it remains the oracle that tests and the fuzz targets hold this one against. */
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/shape.h"

/* For more of them, as in a list of a thousand sessions, the second walk looks again. */
#define NOTES_MAX 256u

/* Fields of a type: the bit of fields[i] is 1 << i. A unit test sees to it that no type has more. */
#define FIELDS_MAX 64u

struct notes {
    uint32_t n;    /* made so far; the first NOTES_MAX are kept */
    uint32_t next; /* the one that the second walk comes to next */
    uint64_t at[NOTES_MAX];
};

static size_t message_size(const ProtobufCMessage *m, struct notes *l);
static uint8_t *put_message(uint8_t *out, const ProtobufCMessage *m,
                            struct notes *l);

/* --- values ------------------------------------------------------------------------------------------------------- */

static inline size_t varint_size(uint64_t v)
{
    /* A byte for each seven bits, and one for 0: bits / 7, rounded up, for 1 to 64 of them. */
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);
    return (9 * bits + 64) / 64;
}

static inline uint8_t *put_varint(uint8_t *out, uint64_t v)
{
    while (v >= 0x80) {
        *out++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *out++ = (uint8_t)v;
    return out;
}

/* Little-endian, n bytes. */
static inline uint8_t *put_fixed(uint8_t *out, uint64_t v, size_t n)
{
    ASSERT(n == 4 || n == 8);
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(v >> (8 * i));
    }
    return out + n;
}

static uint32_t load_u32(const uint8_t *at)
{
    uint32_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t load_u64(const uint8_t *at)
{
    uint64_t value = 0;
    memcpy(&value, at, sizeof value);
    return value;
}

/* A number as it goes onto the wire. */
static uint64_t bits_of(ProtobufCType type, struct shape shape,
                        const uint8_t *at)
{
    if (shape.size == 8) {
        uint64_t wide = load_u64(at);
        return shape.zigzag ? wide << 1 ^ (0 - (wide >> 63)) : wide;
    }
    uint32_t narrow = load_u32(at);
    if (shape.zigzag) {
        return narrow << 1 ^ (0 - (narrow >> 31));
    }
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        return narrow != 0;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        /* Negative ones take ten bytes, so that they may be read as 64 bits. */
        return (uint64_t)(int64_t)(int32_t)narrow;
    default:
        return narrow;
    }
}

static size_t number_size(ProtobufCType type, struct shape shape,
                          const uint8_t *at)
{
    return shape.wire == PROTOBUF_C_WIRE_TYPE_VARINT
               ? varint_size(bits_of(type, shape, at))
               : shape.size;
}

static uint8_t *put_number(uint8_t *out, ProtobufCType type, struct shape shape,
                           const uint8_t *at)
{
    uint64_t bits = bits_of(type, shape, at);
    return shape.wire == PROTOBUF_C_WIRE_TYPE_VARINT
               ? put_varint(out, bits)
               : put_fixed(out, bits, shape.size);
}

/* --- lengths ------------------------------------------------------------------------------------------------------ */

static struct bytes text_at(ProtobufCType type, const uint8_t *at)
{
    if (type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data = {0, NULL};
        memcpy(&data, at, sizeof data);
        return (struct bytes){data.data, data.len};
    }
    return codec_text(load_pointer(at));
}

/* Of what has a length in front: that. */
static size_t length_at(ProtobufCType type, const uint8_t *at, struct notes *l)
{
    if (type != PROTOBUF_C_TYPE_MESSAGE) {
        return text_at(type, at).n;
    }
    const ProtobufCMessage *m = load_pointer(at);
    return m == NULL ? 0 : message_size(m, l);
}

static size_t with_length(size_t n)
{
    return varint_size(n) + n;
}

static void note(struct notes *l, uint32_t place, uint64_t what)
{
    if (place < NOTES_MAX) {
        l->at[place] = what;
    }
}

/* In the first walk. Its place comes before those of what's inside. */
static size_t found_length(ProtobufCType type, const uint8_t *at,
                           struct notes *l)
{
    uint32_t place = l->n++;
    size_t n = length_at(type, at, l);
    note(l, place, n);
    return n;
}

/* In the second one. */
static size_t next_length(ProtobufCType type, const uint8_t *at,
                          struct notes *l)
{
    uint32_t place = l->next++;
    if (place < NOTES_MAX) {
        return (size_t)l->at[place];
    }
    /* Nothing is noted of these: they come behind the last that is. */
    struct notes none;
    none.n = NOTES_MAX;
    return length_at(type, at, &none);
}

static const uint8_t *elements_of(const ProtobufCFieldDescriptor *f,
                                  const uint8_t *base, size_t *out_n)
{
    memcpy(out_n, base + f->quantifier_offset, sizeof *out_n);
    return load_pointer(base + f->offset);
}

static bool is_packed(const ProtobufCFieldDescriptor *f)
{
    return (f->flags & PROTOBUF_C_FIELD_FLAG_PACKED) != 0;
}

static size_t packed_length(const ProtobufCFieldDescriptor *f,
                            struct shape shape, const uint8_t *base)
{
    size_t n = 0;
    const uint8_t *elements = elements_of(f, base, &n);
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        length += number_size(f->type, shape, elements + i * shape.size);
    }
    return length;
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

/* A field that isn't repeated goes out if it was chosen, of a oneof; else if it isn't at its default. */
static inline bool is_there(const ProtobufCFieldDescriptor *f,
                            const uint8_t *base)
{
    const uint8_t *at = base + f->offset;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        if (load_u32(base + f->quantifier_offset) != f->id) {
            return false;
        }
        if (f->type != PROTOBUF_C_TYPE_STRING &&
            f->type != PROTOBUF_C_TYPE_MESSAGE) {
            return true;
        }
        const void *value = load_pointer(at);
        return value != NULL && value != f->default_value;
    }
    /* proto3 without `optional`: there's no has_ field to ask. */
    ASSERT(f->label == PROTOBUF_C_LABEL_NONE);
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = load_pointer(at);
        return text != NULL && text[0] != '\0';
    }
    /* Of bytes, the length comes first. */
    _Static_assert(offsetof(ProtobufCBinaryData, len) == 0, "the length");
    return shape_of(f->type).size == 4 ? load_u32(at) != 0 : load_u64(at) != 0;
}

static uint64_t fields_there(const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    const uint8_t *base = (const uint8_t *)m;
    uint64_t there = 0;
    ASSERT(type != NULL);
    ASSERT(type->n_fields <= FIELDS_MAX);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        bool is = f->label == PROTOBUF_C_LABEL_REPEATED
                      ? load_u64(base + f->quantifier_offset) != 0
                      : is_there(f, base);
        there |= (uint64_t)is << i;
    }
    return there;
}

/* The lowest of a set that isn't empty; it's taken out. */
static const ProtobufCFieldDescriptor *
take_field(const ProtobufCMessageDescriptor *type, uint64_t *set)
{
    ASSERT(*set != 0);
    const ProtobufCFieldDescriptor *f = &type->fields[__builtin_ctzll(*set)];
    *set &= *set - 1;
    return f;
}

static size_t tag_size(const ProtobufCFieldDescriptor *f)
{
    return varint_size((uint64_t)f->id << 3);
}

static uint8_t *put_tag(uint8_t *out, uint32_t id, unsigned wire)
{
    return put_varint(out, (uint64_t)id << 3 | wire);
}

static size_t repeated_size(const ProtobufCFieldDescriptor *f,
                            struct shape shape, const uint8_t *base,
                            struct notes *l)
{
    size_t n = 0;
    size_t size = 0;
    const uint8_t *elements = elements_of(f, base, &n);
    ASSERT(n > 0);
    ASSERT(elements != NULL);
    if (is_packed(f)) {
        return tag_size(f) + with_length(packed_length(f, shape, base));
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *at = elements + i * shape.size;
        size += shape.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED
                    ? with_length(found_length(f->type, at, l))
                    : number_size(f->type, shape, at);
    }
    return n * tag_size(f) + size;
}

static uint8_t *put_value(uint8_t *out, const ProtobufCFieldDescriptor *f,
                          struct shape shape, const uint8_t *at,
                          struct notes *l)
{
    out = put_tag(out, f->id, shape.wire);
    if (shape.wire != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        return put_number(out, f->type, shape, at);
    }
    size_t n = next_length(f->type, at, l);
    out = put_varint(out, n);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *m = load_pointer(at);
        uint8_t *end = m == NULL ? out : put_message(out, m, l);
        ASSERT(end == out + n);
        return end;
    }
    if (n > 0) {
        const uint8_t *data = f->type == PROTOBUF_C_TYPE_BYTES
                                  ? text_at(f->type, at).data
                                  : load_pointer(at);
        memcpy(out, data, n);
    }
    return out + n;
}

static uint8_t *put_repeated(uint8_t *out, const ProtobufCFieldDescriptor *f,
                             struct shape shape, const uint8_t *base,
                             struct notes *l)
{
    size_t n = 0;
    const uint8_t *elements = elements_of(f, base, &n);
    bool packed = is_packed(f);
    if (packed) {
        out = put_tag(out, f->id, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED);
        out = put_varint(out, packed_length(f, shape, base));
    }
    for (size_t i = 0; i < n; i++) {
        const uint8_t *at = elements + i * shape.size;
        out = packed ? put_number(out, f->type, shape, at)
                     : put_value(out, f, shape, at, l);
    }
    return out;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static size_t message_size(const ProtobufCMessage *m, struct notes *l)
{
    const uint8_t *base = (const uint8_t *)m;
    uint64_t there = fields_there(m);
    size_t size = 0;
    note(l, l->n++, there);
    while (there != 0) {
        const ProtobufCFieldDescriptor *f = take_field(m->descriptor, &there);
        struct shape shape = shape_of(f->type);
        const uint8_t *at = base + f->offset;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size += repeated_size(f, shape, base, l);
        } else if (shape.wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
            size += tag_size(f) + with_length(found_length(f->type, at, l));
        } else {
            size += tag_size(f) + number_size(f->type, shape, at);
        }
    }
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &m->unknown_fields[i];
        size += varint_size((uint64_t)u->tag << 3) + u->len;
    }
    return size;
}

static uint8_t *put_message(uint8_t *out, const ProtobufCMessage *m,
                            struct notes *l)
{
    const uint8_t *base = (const uint8_t *)m;
    uint32_t place = l->next++;
    uint64_t there = place < NOTES_MAX ? l->at[place] : fields_there(m);
    while (there != 0) {
        const ProtobufCFieldDescriptor *f = take_field(m->descriptor, &there);
        struct shape shape = shape_of(f->type);
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            out = put_repeated(out, f, shape, base, l);
        } else {
            out = put_value(out, f, shape, base + f->offset, l);
        }
    }
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &m->unknown_fields[i];
        out = put_tag(out, u->tag, u->wire_type);
        memcpy(out, u->data, u->len);
        out += u->len;
    }
    return out;
}

/* Behind the first `head` bytes, and only if it's no more than `most` and fits. */
static size_t encode_behind(const ProtobufCMessage *m, size_t head, size_t most,
                            uint8_t *out, size_t out_bytes)
{
    struct notes l;
    l.n = 0;
    l.next = 0;
    ASSERT(m != NULL);
    size_t n = message_size(m, &l);
    if (n == 0 || n > most || out_bytes < head || n > out_bytes - head) {
        return 0;
    }
    ASSERT(out != NULL);
    uint8_t *end = put_message(out + head, m, &l);
    ASSERT(end == out + head + n);
    ASSERT(l.next == l.n);
    return n;
}

size_t codec_size(const ProtobufCMessage *m)
{
    struct notes none;
    none.n = NOTES_MAX;
    ASSERT(m != NULL);
    return message_size(m, &none);
}

size_t codec_encode(const ProtobufCMessage *m, uint8_t *out, size_t out_bytes)
{
    return encode_behind(m, 0, SIZE_MAX, out, out_bytes);
}

size_t codec_frame(const ProtobufCMessage *m, uint8_t *out, size_t out_bytes)
{
    size_t n = encode_behind(m, FRAME_HEAD_BYTES, FRAME_PEER_BYTES_MAX, out,
                             out_bytes);
    if (n == 0) {
        return 0;
    }
    frame_head(out, n);
    return FRAME_HEAD_BYTES + n;
}

/* decode.c - codec_decode(): bytes into a message, in one pass, by its descriptor.
 *
 * Fields come one after the other, and each goes where the descriptor says; a message in a message is decoded where it stands. One that
 * comes twice is decoded into the one that's there, which is what protobuf means by merging. protobuf-c's own decoder does the same in
 * three passes and takes three times as long; it remains the oracle that the fuzz targets hold this one against. It's
 * also laxer: it copies a text with a NUL, whose front a reader would take for the whole, and takes a field number 0 if that's
 * written in two bytes, which it then encodes to what it refuses. */
#include <string.h>

#include "proto/codec.h"
#include "proto/frame.h"

/* Elements that a repeated field begins with room for; doubled when they're used up, so that its length alone says its room. */
#define ELEMENTS_MIN 4

struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

/* One field as it was read: of varints and fixed numbers the value, of what has a length its bytes. */
struct value {
    uint32_t number;
    uint32_t wire; /* ProtobufCWireType */
    uint64_t bits;
    struct bytes bytes;
    struct bytes raw; /* all of it but the tag */
};

static bool decode_fields(ProtobufCMessage *m, struct bytes in, struct arena *a,
                          unsigned depth);

/* A varint of at most bytes_max bytes. False if it's cut or longer, or has more than 64 bits. */
static inline bool read_varint(struct reader *r, size_t bytes_max,
                               uint64_t *out)
{
    /* Nearly all of them are tags and lengths of one byte. */
    if (r->at < r->end && *r->at < 0x80) {
        *out = *r->at++;
        return true;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes_max && r->at < r->end; i++) {
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return i < 9 || byte <= 1;
        }
    }
    return false;
}

/* Little-endian, n bytes. */
static inline uint64_t load(const uint8_t *at, size_t n)
{
    ASSERT(n == 4 || n == 8);
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

static bool read_value(struct reader *r, struct value *out)
{
    uint64_t tag = 0;
    uint64_t n = 0;
    if (!read_varint(r, 5, &tag) || tag > UINT32_MAX || tag < 8) {
        return false;
    }
    out->number = (uint32_t)tag >> 3;
    out->wire = tag & 7;
    out->raw.data = r->at;
    switch (out->wire) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        if (!read_varint(r, 10, &out->bits)) {
            return false;
        }
        break;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        n = out->wire == PROTOBUF_C_WIRE_TYPE_64BIT ? 8 : 4;
        if (n > (size_t)(r->end - r->at)) {
            return false;
        }
        out->bits = load(r->at, (size_t)n);
        break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!read_varint(r, 5, &n) || n > (size_t)(r->end - r->at)) {
            return false;
        }
        out->bytes = (struct bytes){r->at, (size_t)n};
        break;
    default:
        return false; /* groups, and what was never given out */
    }
    r->at += n;
    out->raw.n = (size_t)(r->at - out->raw.data);
    return true;
}

/* Types have a few runs of numbers, mostly one; protobuf-c's own search is a call away and asserts. */
static inline const ProtobufCFieldDescriptor *
field_of(const ProtobufCMessageDescriptor *type, uint32_t number)
{
    for (unsigned i = 0; i < type->n_field_ranges; i++) {
        const ProtobufCIntRange *range = &type->field_ranges[i];
        uint32_t within = number - (uint32_t)range->start_value;
        /* There is one range more than counted, for the end of the last. */
        if (within < range[1].orig_index - range->orig_index) {
            return &type->fields[range->orig_index + within];
        }
    }
    return NULL;
}

/* How the values of a type lie on the wire, and how many bytes one takes in memory. */
struct shape {
    uint8_t wire;
    uint8_t size;
    bool zigzag;
};

static struct shape shape_of(ProtobufCType type)
{
    static const struct shape shapes[] = {
        [PROTOBUF_C_TYPE_INT32] = {PROTOBUF_C_WIRE_TYPE_VARINT, 4, false},
        [PROTOBUF_C_TYPE_SINT32] = {PROTOBUF_C_WIRE_TYPE_VARINT, 4, true},
        [PROTOBUF_C_TYPE_SFIXED32] = {PROTOBUF_C_WIRE_TYPE_32BIT, 4, false},
        [PROTOBUF_C_TYPE_INT64] = {PROTOBUF_C_WIRE_TYPE_VARINT, 8, false},
        [PROTOBUF_C_TYPE_SINT64] = {PROTOBUF_C_WIRE_TYPE_VARINT, 8, true},
        [PROTOBUF_C_TYPE_SFIXED64] = {PROTOBUF_C_WIRE_TYPE_64BIT, 8, false},
        [PROTOBUF_C_TYPE_UINT32] = {PROTOBUF_C_WIRE_TYPE_VARINT, 4, false},
        [PROTOBUF_C_TYPE_FIXED32] = {PROTOBUF_C_WIRE_TYPE_32BIT, 4, false},
        [PROTOBUF_C_TYPE_UINT64] = {PROTOBUF_C_WIRE_TYPE_VARINT, 8, false},
        [PROTOBUF_C_TYPE_FIXED64] = {PROTOBUF_C_WIRE_TYPE_64BIT, 8, false},
        [PROTOBUF_C_TYPE_FLOAT] = {PROTOBUF_C_WIRE_TYPE_32BIT, 4, false},
        [PROTOBUF_C_TYPE_DOUBLE] = {PROTOBUF_C_WIRE_TYPE_64BIT, 8, false},
        [PROTOBUF_C_TYPE_BOOL] = {PROTOBUF_C_WIRE_TYPE_VARINT, 4, false},
        [PROTOBUF_C_TYPE_ENUM] = {PROTOBUF_C_WIRE_TYPE_VARINT, 4, false},
        [PROTOBUF_C_TYPE_STRING] = {PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                    sizeof(char *), false},
        [PROTOBUF_C_TYPE_BYTES] = {PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                   sizeof(ProtobufCBinaryData), false},
        [PROTOBUF_C_TYPE_MESSAGE] = {PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                     sizeof(void *), false},
    };
    _Static_assert(sizeof(protobuf_c_boolean) == 4, "a bool is an int");
    ASSERT((size_t)type < countof(shapes));
    return shapes[type];
}

static void store_number(ProtobufCType type, struct shape shape, uint64_t bits,
                         uint8_t *to)
{
    if (shape.size == 8) {
        uint64_t wide = shape.zigzag ? bits >> 1 ^ (0 - (bits & 1)) : bits;
        memcpy(to, &wide, sizeof wide);
        return;
    }
    uint32_t narrow = (uint32_t)bits;
    if (shape.zigzag) {
        narrow = narrow >> 1 ^ (0 - (narrow & 1));
    } else if (type == PROTOBUF_C_TYPE_BOOL) {
        narrow = bits != 0;
    }
    memcpy(to, &narrow, sizeof narrow);
}

static bool has_zero(struct bytes b)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t highs = 0x8080808080808080u;
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= b.n; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, b.data + i, sizeof word);
        /* Borrows from a byte only if it was zero. */
        if (((word - ones) & ~word & highs) != 0) {
            return true;
        }
    }
    for (; i < b.n; i++) {
        if (b.data[i] == 0) {
            return true;
        }
    }
    return false;
}

/* Pointers in a message, of whatever type, are read and written as bytes: the C type only the descriptor knows. */
static void *load_pointer(const uint8_t *at)
{
    void *value = NULL;
    memcpy((void *)&value, at, sizeof value);
    return value;
}

static void store_pointer(uint8_t *to, const void *value)
{
    memcpy(to, (const void *)&value, sizeof value);
}

/* A string or bytes at `to`. Nothing of no length is copied: it stays, or becomes again, what an unset field is. */
static bool store_bytes(const ProtobufCFieldDescriptor *f, struct bytes b,
                        uint8_t *to, struct arena *a)
{
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData data = {0, NULL};
        if (b.n > 0) {
            data = (ProtobufCBinaryData){b.n, arena_alloc(a, b.n)};
            if (data.data == NULL) {
                return false;
            }
            memcpy(data.data, b.data, b.n);
        }
        memcpy(to, &data, sizeof data);
        return true;
    }
    const char *text = protobuf_c_empty_string;
    if (b.n > 0) {
        if (has_zero(b)) {
            return false;
        }
        text = (const char *)arena_copy(a, b).data;
    }
    store_pointer(to, text);
    return text != NULL;
}

/* Into the message at `to`, which is made if there's none yet. */
static bool store_message(const ProtobufCFieldDescriptor *f, struct bytes b,
                          uint8_t *to, struct arena *a, unsigned depth)
{
    const ProtobufCMessageDescriptor *type = f->descriptor;
    ProtobufCMessage *m = load_pointer(to);
    if (m == NULL) {
        m = arena_alloc(a, type->sizeof_message);
        if (m == NULL) {
            return false;
        }
        type->message_init(m);
        store_pointer(to, m);
    }
    ASSERT(m->descriptor == type);
    return decode_fields(m, b, a, depth + 1);
}

static bool store_value(const ProtobufCFieldDescriptor *f,
                        const struct value *v, uint8_t *to, struct arena *a,
                        unsigned depth)
{
    struct shape shape = shape_of(f->type);
    if (v->wire != shape.wire) {
        return false;
    }
    if (shape.wire != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        store_number(f->type, shape, v->bits, to);
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        return store_message(f, v->bytes, to, a, depth);
    }
    return store_bytes(f, v->bytes, to, a);
}

/* An array of n elements, in memory for `room` of them, to be one longer. NULL if the arena is full. */
static void *grow(void *elements, size_t n, size_t size, struct arena *a)
{
    bool is_full = n == 0 || (n >= ELEMENTS_MIN && (n & (n - 1)) == 0);
    if (!is_full) {
        return elements;
    }
    size_t room = n == 0 ? ELEMENTS_MIN : 2 * n;
    void *more = arena_alloc(a, room * size);
    if (more != NULL && n > 0) {
        memcpy(more, elements, n * size);
    }
    return more;
}

/* One more element; where its value is to be stored. NULL if the arena is full. */
static uint8_t *add_element(const ProtobufCFieldDescriptor *f, uint8_t *base,
                            size_t size, struct arena *a)
{
    size_t n = 0;
    memcpy(&n, base + f->quantifier_offset, sizeof n);
    void *elements = grow(load_pointer(base + f->offset), n, size, a);
    if (elements == NULL) {
        return NULL;
    }
    uint8_t *element = (uint8_t *)elements + n * size;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        store_pointer(element, NULL); /* none yet: store_message() makes it */
    }
    n++;
    memcpy(base + f->quantifier_offset, &n, sizeof n);
    store_pointer(base + f->offset, elements);
    return element;
}

/* Many numbers in one field, without tags between them. */
static bool store_packed(const ProtobufCFieldDescriptor *f, struct bytes b,
                         uint8_t *base, struct arena *a)
{
    struct shape shape = shape_of(f->type);
    struct reader r = {b.data, b.data + b.n};
    while (r.at < r.end) {
        uint64_t bits = 0;
        if (shape.wire == PROTOBUF_C_WIRE_TYPE_VARINT) {
            if (!read_varint(&r, 10, &bits)) {
                return false;
            }
        } else {
            if ((size_t)(r.end - r.at) < shape.size) {
                return false;
            }
            bits = load(r.at, shape.size);
            r.at += shape.size;
        }
        uint8_t *to = add_element(f, base, shape.size, a);
        if (to == NULL) {
            return false;
        }
        store_number(f->type, shape, bits, to);
    }
    return true;
}

static bool store_repeated(const ProtobufCFieldDescriptor *f,
                           const struct value *v, uint8_t *base,
                           struct arena *a, unsigned depth)
{
    struct shape shape = shape_of(f->type);
    if (v->wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
        shape.wire != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        return store_packed(f, v->bytes, base, a);
    }
    if (v->wire != shape.wire) {
        return false;
    }
    uint8_t *to = add_element(f, base, shape.size, a);
    return to != NULL && store_value(f, v, to, a, depth);
}

/* Another member of the oneof than before: what the union holds is of another type, and void. */
static void choose_member(const ProtobufCFieldDescriptor *f, uint8_t *base)
{
    uint32_t chosen = 0;
    memcpy(&chosen, base + f->quantifier_offset, sizeof chosen);
    if (chosen != f->id) {
        if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
            store_pointer(base + f->offset, NULL);
        }
        memcpy(base + f->quantifier_offset, &f->id, sizeof f->id);
    }
}

/* Kept as it came, for whoever knows it. */
static bool store_unknown(ProtobufCMessage *m, const struct value *v,
                          struct arena *a)
{
    ASSERT(v->raw.n > 0);
    ProtobufCMessageUnknownField *fields = grow(
        m->unknown_fields, m->n_unknown_fields, sizeof *m->unknown_fields, a);
    uint8_t *data = arena_alloc(a, v->raw.n);
    if (fields == NULL || data == NULL) {
        return false;
    }
    memcpy(data, v->raw.data, v->raw.n);
    fields[m->n_unknown_fields++] = (ProtobufCMessageUnknownField){
        .tag = v->number,
        .wire_type = (ProtobufCWireType)v->wire,
        .len = v->raw.n,
        .data = data,
    };
    m->unknown_fields = fields;
    return true;
}

static bool decode_fields(ProtobufCMessage *m, struct bytes in, struct arena *a,
                          unsigned depth)
{
    ASSERT(depth < CODEC_DEPTH_MAX);
    uint8_t *base = (uint8_t *)m;
    struct reader r = {in.data, in.n == 0 ? in.data : in.data + in.n};
    while (r.at < r.end) {
        struct value v;
        if (!read_value(&r, &v)) {
            return false;
        }
        const ProtobufCFieldDescriptor *f = field_of(m->descriptor, v.number);
        bool good = false;
        if (f == NULL) {
            good = store_unknown(m, &v, a);
        } else if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            good = store_repeated(f, &v, base, a, depth);
        } else {
            /* proto3 without `optional`: there's no has_ field to be set. */
            ASSERT(f->label == PROTOBUF_C_LABEL_NONE);
            if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
                choose_member(f, base);
            }
            good = store_value(f, &v, base + f->offset, a, depth);
        }
        if (!good) {
            return false;
        }
    }
    ASSERT(r.at == r.end);
    return true;
}

ProtobufCMessage *codec_decode(const ProtobufCMessageDescriptor *type,
                               struct bytes in, struct arena *a)
{
    ASSERT(type != NULL);
    ASSERT_IMPLIES(in.n > 0, in.data != NULL);
    if (in.n > FRAME_PEER_BYTES_MAX) {
        return NULL;
    }
    ProtobufCMessage *m = arena_alloc(a, type->sizeof_message);
    if (m == NULL) {
        return NULL;
    }
    type->message_init(m);
    ASSERT(m->descriptor == type);
    return decode_fields(m, in, a, 0) ? m : NULL;
}

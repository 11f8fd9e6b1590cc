#include "tests/unit/fill.h"

#include <string.h>

#include "proto/codec.h"

#define DEPTH_MAX 32

struct filler {
    struct arena *arena;
    uint32_t variant;
    uint64_t count; /* of values given so far */
};

static void *take(struct arena *a, size_t n)
{
    void *at = arena_alloc(a, n);
    ASSERT(at != NULL);
    return at;
}

static void add_type(struct fill_types *all,
                     const ProtobufCMessageDescriptor *type)
{
    for (size_t i = 0; i < all->n; i++) {
        if (all->types[i] == type) {
            return;
        }
    }
    ASSERT(all->n < FILL_TYPES_MAX);
    all->types[all->n++] = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            add_type(all, type->fields[i].descriptor);
        }
    }
}

struct fill_types fill_types_all(void)
{
    static const ProtobufCMessageDescriptor *const roots[] = {
        &pb__peer_frame__descriptor,     &pb__client_request__descriptor,
        &pb__client_message__descriptor, &pb__admin_request__descriptor,
        &pb__admin_reply__descriptor,    &pb__command__descriptor,
        &pb__config_data__descriptor,    &pb__lease_row__descriptor,
        &pb__window_row__descriptor,     &pb__session_row__descriptor,
        &pb__scope_row__descriptor,      &pb__policy_row__descriptor,
        &pb__cluster_row__descriptor,    &pb__event_batch__descriptor,
    };
    struct fill_types all = {.n = 0};
    for (size_t i = 0; i < countof(roots); i++) {
        add_type(&all, roots[i]);
    }
    return all;
}

/* 64 bits, the extremes among them; never 0, which proto3 wouldn't send. */
static uint64_t next_value(struct filler *f)
{
    f->count++;
    switch (f->count % 5) {
    case 0:
        return UINT64_MAX - f->count;
    case 1:
        return (UINT64_C(1) << 63) + f->count;
    default:
        return f->count * UINT64_C(0x9E3779B97F4A7C15) | 1;
    }
}

static ProtobufCBinaryData next_bytes(struct filler *f)
{
    size_t n = 1 + (size_t)(f->count++ % 40);
    uint8_t *data = take(f->arena, n);
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)(f->count * 31 + i * 37);
    }
    data[n / 2] = 0;
    return (ProtobufCBinaryData){n, data};
}

static char *next_text(struct filler *f)
{
    static const char *const texts[] = {"a", "tab-3", "\xC3\xA9tude", "\"q\"\n",
                                        "0123456789abcdef0123456789"};
    const char *text = texts[f->count % countof(texts)];
    size_t n = strlen(text);
    char *out = take(f->arena, n + 4);
    memcpy(out, text, n);
    out[n] = (char)('a' + f->count % 26);
    out[n + 1] = (char)('a' + f->count / 26 % 26);
    out[n + 2] = '\0';
    f->count++;
    return out;
}

static int32_t next_enum(struct filler *f, const ProtobufCEnumDescriptor *d)
{
    ASSERT(d->n_values > 1);
    uint64_t which = 1 + f->count++ % (d->n_values - 1);
    return d->values[which].value;
}

static ProtobufCMessage *fill(struct filler *f,
                              const ProtobufCMessageDescriptor *type);

/* One value at `at`; its size. */
static size_t set_value(struct filler *f, const ProtobufCFieldDescriptor *field,
                        uint8_t *at)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    protobuf_c_boolean yes = 1;
    void *pointer = NULL;
    ProtobufCBinaryData b = {0};
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(at, &yes, sizeof yes);
        return sizeof yes;
    case PROTOBUF_C_TYPE_ENUM:
        narrow = (uint32_t)next_enum(f, field->descriptor);
        memcpy(at, &narrow, sizeof narrow);
        return sizeof narrow;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        narrow = (uint32_t)(next_value(f) >> 32) | 1;
        memcpy(at, &narrow, sizeof narrow);
        return sizeof narrow;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        wide = next_value(f);
        memcpy(at, &wide, sizeof wide);
        return sizeof wide;
    case PROTOBUF_C_TYPE_STRING:
        pointer = next_text(f);
        memcpy(at, (void *)&pointer, sizeof pointer);
        return sizeof pointer;
    case PROTOBUF_C_TYPE_MESSAGE:
        pointer = fill(f, field->descriptor);
        memcpy(at, (void *)&pointer, sizeof pointer);
        return sizeof pointer;
    case PROTOBUF_C_TYPE_BYTES:
        b = next_bytes(f);
        memcpy(at, &b, sizeof b);
        return sizeof b;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    ASSERT(!"no floating point in Baton's messages");
    return 0;
}

static void set_repeated(struct filler *f,
                         const ProtobufCFieldDescriptor *field, uint8_t *base)
{
    const size_t n = 3;
    uint8_t *elements = take(f->arena, n * sizeof(ProtobufCBinaryData));
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at += set_value(f, field, elements + at);
    }
    memcpy(base + field->offset, (void *)&elements, sizeof elements);
    memcpy(base + field->quantifier_offset, &n, sizeof n);
}

/* Members of the oneofs of a type, which has one at most. */
static uint32_t members_n(const ProtobufCMessageDescriptor *type)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        n += (type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    }
    return n;
}

static ProtobufCMessage *fill(struct filler *f,
                              const ProtobufCMessageDescriptor *type)
{
    uint8_t *base = take(f->arena, type->sizeof_message);
    type->message_init((ProtobufCMessage *)base);
    uint32_t in_oneof = members_n(type);
    uint32_t member = 0;
    uint32_t variant = f->variant;
    /* What's left of the variant chooses below: so all combinations come up. */
    f->variant = in_oneof == 0 ? variant : variant / in_oneof;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            set_repeated(f, field, base);
            continue;
        }
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            ASSERT(in_oneof > 0);
            if (member++ != variant % in_oneof) {
                continue;
            }
            memcpy(base + field->quantifier_offset, &field->id,
                   sizeof field->id);
        }
        (void)set_value(f, field, base + field->offset);
    }
    f->variant = variant;
    return (ProtobufCMessage *)base;
}

ProtobufCMessage *fill_message(const ProtobufCMessageDescriptor *type,
                               uint32_t variant, struct arena *a)
{
    struct filler f = {.arena = a, .variant = variant, .count = variant};
    return fill(&f, type);
}

uint32_t fill_variants(const ProtobufCMessageDescriptor *type)
{
    /* A oneof below another one is reached only where that one's member is chosen: by the product, not the sum. */
    uint32_t below = 1;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            uint32_t n = fill_variants(type->fields[i].descriptor);
            below = n > below ? n : below;
        }
    }
    uint32_t here = members_n(type);
    return here == 0 ? below : here * below;
}

static unsigned depth_below(const ProtobufCMessageDescriptor *type,
                            unsigned above)
{
    ASSERT(above < DEPTH_MAX);
    unsigned deepest = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            unsigned n = depth_below(type->fields[i].descriptor, above + 1);
            deepest = n > deepest ? n : deepest;
        }
    }
    return deepest + 1;
}

unsigned fill_depth(const ProtobufCMessageDescriptor *type)
{
    return depth_below(type, 0);
}

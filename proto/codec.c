#include "proto/codec.h"

#include <string.h>

#include "proto/frame.h"

/* Reads a varint of at most bytes_max bytes. Where it ends; NULL if it's cut or longer. */
static const uint8_t *take_varint(const uint8_t *at, const uint8_t *end,
                                  size_t bytes_max, uint64_t *out)
{
    /* Nearly all of them are tags and lengths of one byte. */
    if (at < end && *at < 0x80) {
        *out = *at;
        return at + 1;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes_max && at + i < end; i++) {
        value |= (uint64_t)(at[i] & 0x7F) << (7 * i);
        if (at[i] < 0x80) {
            *out = value;
            return at + i + 1;
        }
    }
    return NULL;
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

/* As protobuf_c_message_descriptor_get_field(), which asserts and searches: types have a few runs of numbers, mostly one. */
static const ProtobufCFieldDescriptor *
field_of(const ProtobufCMessageDescriptor *type, uint32_t number)
{
    for (unsigned i = 0; i < type->n_field_ranges; i++) {
        const ProtobufCIntRange *range = &type->field_ranges[i];
        uint32_t within = number - (uint32_t)range->start_value;
        /* There is one range more than counted, for the end of the last. */
        if (within < range[1].orig_index - range->orig_index) {
            ASSERT(range->orig_index + within < type->n_fields);
            return &type->fields[range->orig_index + within];
        }
    }
    return NULL;
}

/* True if the bytes are fields one after the other, at every level, and no text in them has a NUL. protobuf-c alone won't do:
 *  - it copies a text with a NUL, and who reads it as a C string sees the front of it, another name than was sent;
 *  - it takes a field number 0 if that's written in two bytes or more, writes it in one, and then refuses its own writing:
 *    a command that a client sent would decode at the edge, and not from the log.
 * What's refused here protobuf-c could have taken; what passes, it reads the same way. */
static bool is_sound(const ProtobufCMessageDescriptor *type, struct bytes in,
                     unsigned depth);

static bool is_value_sound(const ProtobufCFieldDescriptor *field,
                           struct bytes value, unsigned depth)
{
    if (field == NULL) {
        return true;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return !has_zero(value);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return is_sound(field->descriptor, value, depth + 1);
    }
    return true;
}

static bool is_sound(const ProtobufCMessageDescriptor *type, struct bytes in,
                     unsigned depth)
{
    ASSERT(depth < CODEC_DEPTH_MAX);
    const uint8_t *at = in.data;
    const uint8_t *end = in.n == 0 ? at : at + in.n;
    while (at < end) {
        uint64_t tag = 0;
        uint64_t n = 0;
        at = take_varint(at, end, 5, &tag);
        if (at == NULL || tag > UINT32_MAX || tag < 8) {
            return false;
        }
        switch (tag & 7) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            at = take_varint(at, end, 10, &n);
            n = 0;
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            n = 8;
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            n = 4;
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            at = take_varint(at, end, 5, &n);
            if (at == NULL || n > (size_t)(end - at) ||
                !is_value_sound(field_of(type, (uint32_t)tag >> 3),
                                (struct bytes){at, (size_t)n}, depth)) {
                return false;
            }
            break;
        default:
            return false; /* groups, and what was never given out */
        }
        if (at == NULL || n > (size_t)(end - at)) {
            return false;
        }
        at += n;
    }
    return true;
}

ProtobufCMessage *codec_decode(const ProtobufCMessageDescriptor *type,
                               struct bytes in, struct arena *a)
{
    ASSERT(type != NULL);
    ASSERT_IMPLIES(in.n > 0, in.data != NULL);
    /* Lengths on the wire are 32 bits, and protobuf-c counts with int here and there. */
    if (in.n > FRAME_PEER_BYTES_MAX || !is_sound(type, in, 0)) {
        return NULL;
    }
    ProtobufCAllocator allocator = arena_allocator(a);
    ProtobufCMessage *m =
        protobuf_c_message_unpack(type, &allocator, in.n, in.data);
    ASSERT_IMPLIES(m != NULL, m->descriptor == type);
    return m;
}

/* The struct that the compiler of the .proto files made for a type begins with its ProtobufCMessage, so the pointers are the
 * same. */
#define DECODE(name, pb_type, descriptor)                                      \
    pb_type *name(struct bytes in, struct arena *a)                            \
    {                                                                          \
        return (pb_type *)codec_decode(&(descriptor), in, a);                  \
    }

DECODE(codec_decode_peer, Pb__PeerFrame, pb__peer_frame__descriptor)
DECODE(codec_decode_request, Pb__ClientRequest, pb__client_request__descriptor)
DECODE(codec_decode_message, Pb__ClientMessage, pb__client_message__descriptor)
DECODE(codec_decode_admin_request, Pb__AdminRequest,
       pb__admin_request__descriptor)
DECODE(codec_decode_admin_reply, Pb__AdminReply, pb__admin_reply__descriptor)
DECODE(codec_decode_command, Pb__Command, pb__command__descriptor)
DECODE(codec_decode_config, Pb__ConfigData, pb__config_data__descriptor)
DECODE(codec_decode_lease_row, Pb__LeaseRow, pb__lease_row__descriptor)
DECODE(codec_decode_window_row, Pb__WindowRow, pb__window_row__descriptor)
DECODE(codec_decode_session_row, Pb__SessionRow, pb__session_row__descriptor)
DECODE(codec_decode_scope_row, Pb__ScopeRow, pb__scope_row__descriptor)
DECODE(codec_decode_policy_row, Pb__PolicyRow, pb__policy_row__descriptor)
DECODE(codec_decode_cluster_row, Pb__ClusterRow, pb__cluster_row__descriptor)
DECODE(codec_decode_event_batch, Pb__EventBatch, pb__event_batch__descriptor)

size_t codec_size(const ProtobufCMessage *m)
{
    ASSERT(m != NULL);
    ASSERT(m->descriptor != NULL);
    return protobuf_c_message_get_packed_size(m);
}

size_t codec_encode(const ProtobufCMessage *m, uint8_t *out, size_t out_bytes)
{
    size_t n = codec_size(m);
    if (n == 0 || n > out_bytes) {
        return 0;
    }
    ASSERT(out != NULL);
    size_t written = protobuf_c_message_pack(m, out);
    ASSERT(written == n);
    return written;
}

size_t codec_frame(const ProtobufCMessage *m, uint8_t *out, size_t out_bytes)
{
    size_t n = codec_size(m);
    if (n == 0 || n > FRAME_PEER_BYTES_MAX ||
        out_bytes < FRAME_HEAD_BYTES + n) {
        return 0;
    }
    ASSERT(out != NULL);
    frame_head(out, n);
    size_t written = protobuf_c_message_pack(m, out + FRAME_HEAD_BYTES);
    ASSERT(written == n);
    return FRAME_HEAD_BYTES + written;
}

struct bytes codec_bytes(ProtobufCBinaryData b)
{
    ASSERT_IMPLIES(b.len > 0, b.data != NULL);
    return (struct bytes){b.data, b.len};
}

ProtobufCBinaryData codec_binary(struct bytes b)
{
    ASSERT_IMPLIES(b.n > 0, b.data != NULL);
    return (ProtobufCBinaryData){.len = b.n, .data = (uint8_t *)b.data};
}

struct bytes codec_text(const char *text)
{
    if (text == NULL) {
        return (struct bytes){0};
    }
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

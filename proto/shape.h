/* shape.h - what decode.c and encode.c both know of protobuf's types: how values lie on the wire, and in memory. */
#ifndef PROTO_SHAPE_H
#define PROTO_SHAPE_H

#include <protobuf-c/protobuf-c.h>
#include <string.h>

#include "proto/base.h"

/* How the values of a type lie on the wire, and how many bytes one takes in memory. */
struct shape {
    uint8_t wire; /* ProtobufCWireType */
    uint8_t size;
    bool zigzag;
};

static inline struct shape shape_of(ProtobufCType type)
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

/* Pointers in a message, of whatever type, are read and written as bytes: the C type only the descriptor knows. */
static inline void *load_pointer(const uint8_t *at)
{
    void *value = NULL;
    memcpy((void *)&value, at, sizeof value);
    return value;
}

static inline void store_pointer(uint8_t *to, const void *value)
{
    memcpy(to, (const void *)&value, sizeof value);
}

#endif

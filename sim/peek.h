/* peek.h - a message's fields, one after the other, without taking it apart: for those who look at every frame and want little of it. */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include "proto/base.h"

struct peek {
    struct bytes rest;
    uint32_t field;     /* its number in the .proto file */
    uint64_t value;     /* of a varint, or fixed64 */
    struct bytes inner; /* of text, bytes or a message */
};

/* The next field; false: that was all, or it's no message. Begin with {.rest = message}. */
bool peek_next(struct peek *p);
/* A field's number; 0: it isn't there. */
uint64_t peek_value(struct bytes message, uint32_t field);
/* Likewise a field's bytes; false: it isn't there. */
bool peek_inner(struct bytes message, uint32_t field, struct bytes *out);

#endif

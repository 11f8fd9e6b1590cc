#include "sim/peek.h"

#include <string.h>

/* How protobuf writes a field. */
enum wire {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
};

static bool varint(struct bytes *rest, uint64_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < rest->n && i < 10; i++) {
        *out |= (uint64_t)(rest->data[i] & 0x7fu) << (7 * i);
        if (rest->data[i] < 0x80) {
            rest->data += i + 1;
            rest->n -= i + 1;
            return true;
        }
    }
    return false;
}

bool peek_next(struct peek *p)
{
    uint64_t tag = 0;
    uint64_t n = sizeof p->value;
    if (!varint(&p->rest, &tag)) {
        return false;
    }
    p->field = (uint32_t)(tag >> 3);
    p->inner = (struct bytes){NULL, 0};
    switch (tag & 7) {
    case WIRE_VARINT:
        return varint(&p->rest, &p->value);
    case WIRE_FIXED64:
        break;
    case WIRE_BYTES:
        if (!varint(&p->rest, &n)) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (n > p->rest.n) {
        return false;
    }
    if ((tag & 7) == WIRE_FIXED64) {
        memcpy(&p->value, p->rest.data, sizeof p->value);
    } else {
        p->inner = (struct bytes){p->rest.data, (size_t)n};
    }
    p->rest.data += n;
    p->rest.n -= (size_t)n;
    return true;
}

uint64_t peek_value(struct bytes message, uint32_t field)
{
    struct peek p = {.rest = message};
    while (peek_next(&p)) {
        if (p.field == field) {
            return p.value;
        }
    }
    return 0;
}

bool peek_inner(struct bytes message, uint32_t field, struct bytes *out)
{
    struct peek p = {.rest = message};
    while (peek_next(&p)) {
        if (p.field == field) {
            *out = p.inner;
            return true;
        }
    }
    return false;
}

/* fill.h - every message type of the .proto files, and values for every field, by way of the descriptors: so that a test
 * covers a field from the day it is added. */
#ifndef TESTS_UNIT_FILL_H
#define TESTS_UNIT_FILL_H

#include <protobuf-c/protobuf-c.h>

#include "proto/arena.h"

#define FILL_TYPES_MAX 128

struct fill_types {
    const ProtobufCMessageDescriptor *types[FILL_TYPES_MAX];
    size_t n;
};

/* What streams, log, rows and history begin with, and all that's in them: each type once. */
struct fill_types fill_types_all(void);

/* A message with each field set: no two values alike, the extremes among them, repeated fields with three elements, of a
 * oneof the member number `variant` (round and round). Lives in `a`. */
ProtobufCMessage *fill_message(const ProtobufCMessageDescriptor *type,
                               uint32_t variant, struct arena *a);

/* How many variants reach each member of each oneof in the type and below. */
uint32_t fill_variants(const ProtobufCMessageDescriptor *type);

/* How deep messages nest below the type, itself counted; fails an assertion where a type holds itself. */
unsigned fill_depth(const ProtobufCMessageDescriptor *type);

#endif

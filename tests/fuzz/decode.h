/* decode.h - what the fuzz targets do with bytes that claim to be a message. */
#ifndef TESTS_FUZZ_DECODE_H
#define TESTS_FUZZ_DECODE_H

#include <protobuf-c/protobuf-c.h>

#include "proto/base.h"

/* Decodes; if it's a message: protobuf-c's own decoder reads it the same way, it encodes, what that gives decodes and encodes to the same bytes, its JSON fits what it may, and
 * less memory gives NULL and nothing worse. Asserts all of it. */
void decode_and_use(const ProtobufCMessageDescriptor *type, struct bytes in);

#endif

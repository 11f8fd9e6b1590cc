/* command_fuzz.c - what the log, the rows and the history may hold. */
#include "proto/codec.h"
#include "tests/fuzz/decode.h"
#include "tests/unit/assert_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &pb__command__descriptor,     &pb__lease_row__descriptor,
        &pb__window_row__descriptor,  &pb__session_row__descriptor,
        &pb__scope_row__descriptor,   &pb__policy_row__descriptor,
        &pb__cluster_row__descriptor, &pb__event_batch__descriptor,
    };
    struct bytes in = {data, size};
    for (size_t i = 0; i < countof(types); i++) {
        decode_and_use(types[i], in);
    }
    return 0;
}

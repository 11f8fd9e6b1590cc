/* client_message_fuzz.c - what a client, or a node to its client, may send. */
#include "proto/codec.h"
#include "tests/fuzz/decode.h"
#include "tests/unit/assert_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = {data, size};
    decode_and_use(&pb__client_request__descriptor, in);
    decode_and_use(&pb__client_message__descriptor, in);
    decode_and_use(&pb__admin_request__descriptor, in);
    decode_and_use(&pb__admin_reply__descriptor, in);
    return 0;
}

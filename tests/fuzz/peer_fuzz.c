/* peer_fuzz.c - what a node may send another one. */
#include "proto/codec.h"
#include "tests/fuzz/decode.h"
#include "tests/unit/assert_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = {data, size};
    decode_and_use(&pb__peer_frame__descriptor, in);
    decode_and_use(&pb__config_data__descriptor, in);
    return 0;
}

#include "proto/codec.h"

#include <string.h>

#include "proto/frame.h"

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

/* codec.h - bytes to messages and back.
 *
 * Decoding is for bytes that anyone may have sent. It returns NULL for what isn't a message of the type asked for, for text
 * with a NUL in it (the copy would end there, and stand for something else than what was sent), and when the arena is
 * full; it never crashes, and never takes more memory than the arena has. It doesn't look at meaning: ranges, names,
 * UTF-8, and enum values that it doesn't know are for who uses the message. Fields that it doesn't know are kept, and
 * encoded again behind the others.
 *
 * What is returned lives in the arena: strings are NUL-terminated and never NULL, a message field that wasn't sent is NULL,
 * repeated fields are arrays. No bytes at all are a message, with every field at its default. */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include <protobuf-c/protobuf-c.h>

#include "baton/v1/admin.pb-c.h"
#include "baton/v1/client.pb-c.h"
#include "baton/v1/command.pb-c.h"
#include "baton/v1/peer.pb-c.h"
#include "baton/v1/types.pb-c.h"
#include "proto/arena.h"
#include "proto/base.h"

/* Messages nest at most this deep; a unit test walks the .proto files to see that they do. */
#define CODEC_DEPTH_MAX 8

/* Any type; the others are this one with the type filled in. */
MUST_USE ProtobufCMessage *codec_decode(const ProtobufCMessageDescriptor *type,
                                        struct bytes in, struct arena *a);

MUST_USE Pb__PeerFrame *codec_decode_peer(struct bytes in, struct arena *a);
MUST_USE Pb__ClientRequest *codec_decode_request(struct bytes in,
                                                 struct arena *a);
MUST_USE Pb__ClientMessage *codec_decode_message(struct bytes in,
                                                 struct arena *a);
MUST_USE Pb__AdminRequest *codec_decode_admin_request(struct bytes in,
                                                      struct arena *a);
MUST_USE Pb__AdminReply *codec_decode_admin_reply(struct bytes in,
                                                  struct arena *a);

/* What the log carries. */
MUST_USE Pb__Command *codec_decode_command(struct bytes in, struct arena *a);
MUST_USE Pb__ConfigData *codec_decode_config(struct bytes in, struct arena *a);

/* What rows and the history hold. */
MUST_USE Pb__LeaseRow *codec_decode_lease_row(struct bytes in, struct arena *a);
MUST_USE Pb__WindowRow *codec_decode_window_row(struct bytes in,
                                                struct arena *a);
MUST_USE Pb__SessionRow *codec_decode_session_row(struct bytes in,
                                                  struct arena *a);
MUST_USE Pb__ScopeRow *codec_decode_scope_row(struct bytes in, struct arena *a);
MUST_USE Pb__PolicyRow *codec_decode_policy_row(struct bytes in,
                                                struct arena *a);
MUST_USE Pb__ClusterRow *codec_decode_cluster_row(struct bytes in,
                                                  struct arena *a);
MUST_USE Pb__EventBatch *codec_decode_event_batch(struct bytes in,
                                                  struct arena *a);

/* Bytes that the message encodes to; 0 if every field is at its default. */
size_t codec_size(const ProtobufCMessage *m);

/* Bytes written; 0, with nothing written, if it wouldn't fit (or the message is all defaults: see codec_size()). */
MUST_USE size_t codec_encode(const ProtobufCMessage *m, uint8_t *out,
                             size_t out_bytes);

/* As a frame: the length in front. Bytes written with the head; 0, with nothing written, if it wouldn't fit, or if the body
 * is empty or longer than FRAME_PEER_BYTES_MAX. */
MUST_USE size_t codec_frame(const ProtobufCMessage *m, uint8_t *out,
                            size_t out_bytes);

/* Views, both ways: nothing is copied. A message made with codec_binary() must not be written through. */
struct bytes codec_bytes(ProtobufCBinaryData b);
ProtobufCBinaryData codec_binary(struct bytes b);

/* The bytes of a C string without its NUL; NULL gives none. */
struct bytes codec_text(const char *text);

#endif

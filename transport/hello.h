/* hello.h - the first words on a stream, and the proof that they come from a node of this cluster.
 *
 *    peer that dials                     peer that accepts
 *      Hello(nonce d)            ---->
 *                                <----   Hello(nonce a, proof a over d, a)
 *      Hello(nonce d, proof d)   ---->                       only if there's a secret
 *
 *    client: ClientRequest(hello)  ---->   <----  ClientMessage(hello), or a status that says why not
 *
 * A proof is HMAC-SHA256 under the cluster's secret over the role of who proves, its nonce, the other's nonce and its identity: so it
 * can't be played again, nor sent back to whom it came from. Encodings are bodies; the stream puts the length in front. */
#ifndef TRANSPORT_HELLO_H
#define TRANSPORT_HELLO_H

#include "proto/arena.h"
#include "proto/base.h"
#include "proto/lineage.h"
#include "proto/status.h"

#define HELLO_NONCE_BYTES    16
#define HELLO_PROOF_BYTES    32
#define HELLO_SETTINGS_BYTES 128

/* Longest body of a frame before a stream is open: what strangers can make us hold. */
#define HELLO_BODY_MAX 4096
/* Memory that decoding one takes at most. */
#define HELLO_ARENA_BYTES 65536

struct hello {
    uint32_t version;
    uint64_t cluster;
    uint32_t node;
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
    uint8_t nonce[HELLO_NONCE_BYTES];
    uint8_t proof[HELLO_PROOF_BYTES];
    bool has_proof;
    uint64_t frame_bytes_max;
    char endpoint[128];
    char http[128];
    char settings[HELLO_SETTINGS_BYTES];
};

enum hello_role {
    HELLO_DIALS = 1,
    HELLO_ACCEPTS = 2,
};

/* False: no randomness to be had. */
MUST_USE bool hello_nonce(uint8_t out[HELLO_NONCE_BYTES]);

/* Sets h->proof: h proves itself to who sent their_nonce. */
void hello_prove(struct hello *h, enum hello_role role,
                 const uint8_t their_nonce[HELLO_NONCE_BYTES],
                 struct bytes secret);
/* Does theirs prove who sent it, in that role, to us who sent our_nonce? */
MUST_USE bool hello_is_proven(const struct hello *theirs, enum hello_role role,
                              const uint8_t our_nonce[HELLO_NONCE_BYTES],
                              struct bytes secret);

/* What else the frame around a Hello says. */
struct hello_frame {
    uint64_t id;              /* of the request */
    enum baton_status status; /* OK, or why the stream ends here */
    char why[160];            /* a sentence for people, unless OK */
    bool retry;               /* Goodbye: it's worth trying again */
};

/* Bytes written; out has HELLO_BODY_MAX. h may be NULL in a message (Goodbye: id 0), never else. */
size_t hello_encode_peer(const struct hello *h, const struct hello_frame *f,
                         uint8_t *out);
size_t hello_encode_request(const struct hello *h, uint8_t *out);
size_t hello_encode_message(const struct hello *h, const struct hello_frame *f,
                            uint8_t *out);
size_t hello_encode_goodbye(const char *reason, bool retry, uint8_t *out);

enum hello_result {
    HELLO_OK,
    HELLO_UNDECODABLE,
    HELLO_OTHER, /* a frame of this kind, but no Hello */
};

/* Outputs untouched unless OK. `a` is reset. A message with a status that isn't OK is OK, with f->status and f->why set. */
MUST_USE enum hello_result hello_decode_peer(struct bytes body, struct arena *a,
                                             struct hello *out,
                                             struct hello_frame *f);
MUST_USE enum hello_result hello_decode_request(struct bytes body,
                                                struct arena *a,
                                                struct hello *out,
                                                struct hello_frame *f);
MUST_USE enum hello_result hello_decode_message(struct bytes body,
                                                struct arena *a,
                                                struct hello *out,
                                                struct hello_frame *f);

#endif

#include "transport/hello.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proto/codec.h"
#include "proto/frame.h"

bool hello_nonce(uint8_t out[HELLO_NONCE_BYTES])
{
    return getrandom(out, HELLO_NONCE_BYTES, 0) == HELLO_NONCE_BYTES;
}

/* --- proof -------------------------------------------------------------------------------------------------------- */

static void put_u64(uint8_t *out, uint64_t value)
{
    for (size_t i = 0; i < sizeof value; i++) {
        out[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

struct proof_input {
    const struct hello *prover;
    enum hello_role role;
    const uint8_t *verifier_nonce;
    struct bytes secret;
};

/* Fixed shape, each part at its place: no two different inputs make the same bytes. */
static void make_proof(const struct proof_input *in,
                       uint8_t out[HELLO_PROOF_BYTES])
{
    static const char label[16] = "baton peer 1";
    const struct hello *h = in->prover;
    uint8_t text[sizeof label + 8 + 2 * HELLO_NONCE_BYTES + 5 * 8];
    uint8_t *at = text;
    memcpy(at, label, sizeof label);
    at += sizeof label;
    put_u64(at, (uint64_t)in->role);
    at += 8;
    memcpy(at, h->nonce, HELLO_NONCE_BYTES);
    at += HELLO_NONCE_BYTES;
    memcpy(at, in->verifier_nonce, HELLO_NONCE_BYTES);
    at += HELLO_NONCE_BYTES;
    const uint64_t numbers[] = {h->version, h->cluster, h->node, h->incarnation,
                                h->boot};
    for (size_t i = 0; i < countof(numbers); i++) {
        put_u64(at, numbers[i]);
        at += 8;
    }
    ASSERT(at == text + sizeof text);
    unsigned int n = 0;
    uint8_t *made = HMAC(EVP_sha256(), in->secret.data, (int)in->secret.n, text,
                         sizeof text, out, &n);
    ASSERT(made != NULL);
    ASSERT(n == HELLO_PROOF_BYTES);
}

void hello_prove(struct hello *h, enum hello_role role,
                 const uint8_t their_nonce[HELLO_NONCE_BYTES],
                 struct bytes secret)
{
    make_proof(&(struct proof_input){h, role, their_nonce, secret}, h->proof);
    h->has_proof = true;
}

bool hello_is_proven(const struct hello *theirs, enum hello_role role,
                     const uint8_t our_nonce[HELLO_NONCE_BYTES],
                     struct bytes secret)
{
    if (!theirs->has_proof) {
        return false;
    }
    uint8_t expected[HELLO_PROOF_BYTES];
    make_proof(&(struct proof_input){theirs, role, our_nonce, secret},
               expected);
    return CRYPTO_memcmp(expected, theirs->proof, sizeof expected) == 0;
}

/* --- encode ------------------------------------------------------------------------------------------------------- */

/* Views into h, which must stay; protobuf-c wants writable pointers for what it only reads. */
static void to_message(const struct hello *h, Pb__Hello *out)
{
    pb__hello__init(out);
    out->version = h->version;
    out->cluster = h->cluster;
    out->node = h->node;
    out->incarnation = h->incarnation;
    out->boot = h->boot;
    out->own = h->lineage.own;
    out->before = h->lineage.before;
    out->before_boot = h->lineage.before_boot;
    out->nonce = codec_binary((struct bytes){h->nonce, HELLO_NONCE_BYTES});
    if (h->has_proof) {
        out->proof = codec_binary((struct bytes){h->proof, HELLO_PROOF_BYTES});
    }
    out->endpoint = (char *)(uintptr_t)h->endpoint;
    out->http = (char *)(uintptr_t)h->http;
    out->settings = (char *)(uintptr_t)h->settings;
    out->frame_bytes_max = h->frame_bytes_max;
}

static size_t encode(const ProtobufCMessage *m, uint8_t *out)
{
    size_t n = codec_encode(m, out, HELLO_BODY_MAX);
    ASSERT(n > 0);
    return n;
}

size_t hello_encode_peer(const struct hello *h, const struct hello_frame *f,
                         uint8_t *out)
{
    Pb__Hello hello;
    to_message(h, &hello);
    Pb__PeerFrame m = PB__PEER_FRAME__INIT;
    m.version = PROTOCOL_VERSION;
    m.type = 0;
    m.hello = &hello;
    if (f->status != BATON_OK) {
        m.quarantine_reason = (char *)(uintptr_t)f->why;
    }
    return encode(&m.base, out);
}

size_t hello_encode_request(const struct hello *h, uint8_t *out)
{
    Pb__Hello hello;
    to_message(h, &hello);
    Pb__ClientRequest m = PB__CLIENT_REQUEST__INIT;
    m.version = PROTOCOL_VERSION;
    m.op_case = PB__CLIENT_REQUEST__OP_HELLO;
    m.hello = &hello;
    return encode(&m.base, out);
}

size_t hello_encode_message(const struct hello *h, const struct hello_frame *f,
                            uint8_t *out)
{
    Pb__Hello hello;
    to_message(h, &hello);
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.version = PROTOCOL_VERSION;
    m.id = f->id;
    m.status = (Pb__Status)f->status;
    m.message = (char *)(uintptr_t)f->why;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_HELLO;
    m.hello = &hello;
    return encode(&m.base, out);
}

size_t hello_encode_goodbye(const char *reason, bool retry, uint8_t *out)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s", reason);
    Pb__Goodbye goodbye = PB__GOODBYE__INIT;
    goodbye.reason = text;
    goodbye.retry = retry;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.version = PROTOCOL_VERSION;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_GOODBYE;
    m.goodbye = &goodbye;
    return encode(&m.base, out);
}

/* --- decode ------------------------------------------------------------------------------------------------------- */

static void copy_text(char *out, size_t out_bytes, const char *in)
{
    (void)snprintf(out, out_bytes, "%s", in);
}

static bool from_message(const Pb__Hello *m, struct hello *out)
{
    if (m->nonce.len != HELLO_NONCE_BYTES ||
        (m->proof.len != 0 && m->proof.len != HELLO_PROOF_BYTES) ||
        strlen(m->endpoint) >= sizeof out->endpoint ||
        strlen(m->http) >= sizeof out->http ||
        strlen(m->settings) >= sizeof out->settings) {
        return false;
    }
    *out = (struct hello){
        .version = m->version,
        .cluster = m->cluster,
        .node = m->node,
        .incarnation = m->incarnation,
        .boot = m->boot,
        .lineage = {m->own, m->before, m->before_boot},
        .has_proof = m->proof.len != 0,
        .frame_bytes_max = m->frame_bytes_max,
    };
    memcpy(out->nonce, m->nonce.data, HELLO_NONCE_BYTES);
    if (out->has_proof) {
        memcpy(out->proof, m->proof.data, HELLO_PROOF_BYTES);
    }
    copy_text(out->endpoint, sizeof out->endpoint, m->endpoint);
    copy_text(out->http, sizeof out->http, m->http);
    copy_text(out->settings, sizeof out->settings, m->settings);
    return true;
}

/* A Hello of another version may have grown other shapes in it: all that counts is the version, and that it says it. */
static enum hello_result take(const Pb__Hello *m, uint32_t version,
                              struct hello *out)
{
    if (version != PROTOCOL_VERSION || m->version != PROTOCOL_VERSION) {
        *out = (struct hello){
            .version = version != PROTOCOL_VERSION ? version : m->version,
            .node = m->node,
        };
        return HELLO_OK;
    }
    return from_message(m, out) ? HELLO_OK : HELLO_UNDECODABLE;
}

enum hello_result hello_decode_peer(struct bytes body, struct arena *a,
                                    struct hello *out, struct hello_frame *f)
{
    arena_reset(a);
    const Pb__PeerFrame *m = codec_decode_peer(body, a);
    if (m == NULL) {
        return HELLO_UNDECODABLE;
    }
    if (m->type != 0 || m->hello == NULL) {
        return HELLO_OTHER;
    }
    *f = (struct hello_frame){0};
    if (m->quarantine_reason[0] != 0) {
        f->status = BATON_NOT_ALLOWED;
        copy_text(f->why, sizeof f->why, m->quarantine_reason);
    }
    return take(m->hello, m->version, out);
}

enum hello_result hello_decode_request(struct bytes body, struct arena *a,
                                       struct hello *out, struct hello_frame *f)
{
    arena_reset(a);
    const Pb__ClientRequest *m = codec_decode_request(body, a);
    if (m == NULL) {
        return HELLO_UNDECODABLE;
    }
    *f = (struct hello_frame){.id = m->id};
    if (m->op_case != PB__CLIENT_REQUEST__OP_HELLO) {
        return HELLO_OTHER;
    }
    return take(m->hello, m->version, out);
}

enum hello_result hello_decode_message(struct bytes body, struct arena *a,
                                       struct hello *out, struct hello_frame *f)
{
    arena_reset(a);
    const Pb__ClientMessage *m = codec_decode_message(body, a);
    if (m == NULL) {
        return HELLO_UNDECODABLE;
    }
    *f = (struct hello_frame){
        .id = m->id,
        .status = (enum baton_status)m->status,
    };
    copy_text(f->why, sizeof f->why, m->message);
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_GOODBYE) {
        f->status = BATON_UNAVAILABLE;
        f->retry = m->goodbye->retry;
        copy_text(f->why, sizeof f->why, m->goodbye->reason);
        *out = (struct hello){.version = m->version};
        return HELLO_OK;
    }
    if (m->result_case != PB__CLIENT_MESSAGE__RESULT_HELLO) {
        if (m->status == PB__STATUS__OK) {
            return HELLO_OTHER;
        }
        *out = (struct hello){.version = m->version};
        return HELLO_OK;
    }
    return take(m->hello, m->version, out);
}

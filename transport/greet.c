#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/frame.h"
#include "transport/internal.h"

/* --- refusing ----------------------------------------------------------------------------------------------------- */

/* Says why, and hangs up when it has left. */
static void refuse(struct conn *c, const struct hello_frame *f,
                   const char *reason)
{
    struct transport *t = c->t;
    note_line(t, NOTE_REFUSED, 1,
              "transport_refused conn=%" PRIu64 " kind=%s node=%u reason=%s",
              c->id, conn_kind_name(c->kind), c->them.node, reason);
    if (c->kind == CONN_PEER_OUT) {
        /* Without a secret it takes us for open already, and would hand our last word to its node. */
        conn_close(c);
        return;
    }
    uint8_t body[HELLO_BODY_MAX];
    struct hello self = t->self;
    self.frame_bytes_max =
        c->kind == CONN_CLIENT ? FRAME_CLIENT_BYTES_MAX : FRAME_PEER_BYTES_MAX;
    memcpy(self.nonce, c->nonce, sizeof self.nonce);
    size_t n = c->kind == CONN_CLIENT ? hello_encode_message(&self, f, body)
                                      : hello_encode_peer(&self, f, body);
    (void)conn_send(c, (struct bytes){body, n});
    conn_drain(c);
}

static void refuse_version(struct conn *c, struct hello_frame *f,
                           uint32_t version)
{
    c->t->stats.refused_version++;
    f->status = BATON_UNSUPPORTED;
    (void)snprintf(f->why, sizeof f->why,
                   "this node speaks protocol version %d, not %" PRIu32,
                   PROTOCOL_VERSION, version);
    char reason[64];
    (void)snprintf(reason, sizeof reason, "version theirs=%" PRIu32 " ours=%d",
                   version, PROTOCOL_VERSION);
    refuse(c, f, reason);
}

static void refuse_cluster(struct conn *c, struct hello_frame *f,
                           uint64_t cluster)
{
    c->t->stats.refused_cluster++;
    f->status = BATON_NOT_ALLOWED;
    (void)snprintf(f->why, sizeof f->why,
                   "this node is of cluster %016" PRIx64 ", not of %016" PRIx64,
                   c->t->o.cluster, cluster);
    char reason[64];
    (void)snprintf(reason, sizeof reason, "cluster theirs=%016" PRIx64,
                   cluster);
    refuse(c, f, reason);
}

static void refuse_proof(struct conn *c, struct hello_frame *f)
{
    c->t->stats.refused_proof++;
    f->status = BATON_NOT_ALLOWED;
    (void)snprintf(f->why, sizeof f->why,
                   "the proof isn't made with this cluster's secret");
    const char *reason = c->t->secret.n == 0 ? "proof_without_secret_here"
                         : c->them.has_proof ? "proof_wrong"
                                             : "proof_missing";
    refuse(c, f, reason);
}

static void refuse_node(struct conn *c, struct hello_frame *f,
                        const char *reason)
{
    f->status = BATON_NOT_ALLOWED;
    (void)snprintf(f->why, sizeof f->why,
                   "node %" PRIu32 " isn't expected here", c->them.node);
    refuse(c, f, reason);
}

/* No answer: who doesn't speak the protocol wouldn't read it. */
static void refuse_undecodable(struct conn *c)
{
    c->t->stats.refused_undecodable++;
    note_line(c->t, NOTE_REFUSED, 1,
              "transport_refused conn=%" PRIu64 " kind=%s reason=undecodable",
              c->id, conn_kind_name(c->kind));
    conn_close(c);
}

static void refuse_other(struct conn *c, struct hello_frame *f)
{
    c->t->stats.refused_undecodable++;
    f->status = BATON_UNSUPPORTED;
    (void)snprintf(f->why, sizeof f->why,
                   "the first frame on a stream must be a Hello");
    refuse(c, f, "no_hello");
}

void greet_send_away(struct conn *c, const char *reason)
{
    struct hello_frame f = {.status = BATON_NOT_ALLOWED};
    (void)snprintf(f.why, sizeof f.why, "%s", reason);
    refuse(c, &f, reason);
}

void greet_full(struct conn *c)
{
    struct hello_frame f = {.status = BATON_LIMIT};
    c->t->stats.refused_limit++;
    (void)snprintf(f.why, sizeof f.why,
                   "this node takes %" PRIu32
                   " connections, and has them: try another node",
                   c->t->o.connections_max);
    refuse(c, &f, "connections_max");
}

/* --- greeting ----------------------------------------------------------------------------------------------------- */

static void become_open(struct conn *c)
{
    c->state = CONN_OPEN;
    c->deadline_ms = 0;
    c->stream.body_max =
        c->kind == CONN_CLIENT ? FRAME_CLIENT_BYTES_MAX : FRAME_PEER_BYTES_MAX;
}

/* Our Hello to a peer, with a proof over their nonce if it came and there's a secret. */
static void send_peer_hello(struct conn *c, bool prove)
{
    struct hello self = c->t->self;
    self.frame_bytes_max = FRAME_PEER_BYTES_MAX;
    memcpy(self.nonce, c->nonce, sizeof self.nonce);
    if (prove && c->t->secret.n > 0) {
        enum hello_role role =
            c->kind == CONN_PEER_OUT ? HELLO_DIALS : HELLO_ACCEPTS;
        hello_prove(&self, role, c->them.nonce, c->t->secret);
    }
    uint8_t body[HELLO_BODY_MAX];
    struct hello_frame f = {0};
    size_t n = hello_encode_peer(&self, &f, body);
    (void)conn_send(c, (struct bytes){body, n});
    stream_flush(&c->stream);
}

void greet_begin(struct conn *c)
{
    if (!hello_nonce(c->nonce)) {
        conn_close(c);
        return;
    }
    send_peer_hello(c, false);
}

/* Version and cluster, the same for everybody. False: refused. */
static bool is_kin(struct conn *c, struct hello_frame *f)
{
    const struct hello *h = &c->them;
    if (h->version != PROTOCOL_VERSION) {
        refuse_version(c, f, h->version);
        return false;
    }
    bool any = c->kind == CONN_CLIENT && h->cluster == 0;
    if (h->cluster != c->t->o.cluster && !any) {
        refuse_cluster(c, f, h->cluster);
        return false;
    }
    return true;
}

static void greet_client(struct conn *c, struct hello_frame *f)
{
    if (!is_kin(c, f)) {
        return;
    }
    c->them.node = 0;
    if (!hello_nonce(c->nonce)) {
        conn_close(c);
        return;
    }
    struct hello self = c->t->self;
    self.frame_bytes_max = FRAME_CLIENT_BYTES_MAX;
    memcpy(self.nonce, c->nonce, sizeof self.nonce);
    uint8_t body[HELLO_BODY_MAX];
    size_t n = hello_encode_message(&self, f, body);
    become_open(c);
    (void)conn_send(c, (struct bytes){body, n});
    stream_flush(&c->stream);
}

static bool is_peer_node(struct conn *c, struct hello_frame *f)
{
    if (c->them.node == 0) {
        refuse_node(c, f, "node_missing");
        return false;
    }
    if (c->them.node == c->t->o.node) {
        refuse_node(c, f, "node_is_ours");
        return false;
    }
    return true;
}

/* The first Hello of who dialled us. */
static void greet_peer_in(struct conn *c, struct hello_frame *f)
{
    if (!is_kin(c, f) || !is_peer_node(c, f)) {
        return;
    }
    if (!hello_nonce(c->nonce)) {
        conn_close(c);
        return;
    }
    send_peer_hello(c, true);
    if (c->t->secret.n > 0) {
        c->state = CONN_PROOF;
        return;
    }
    become_open(c);
    peer_came_in(c->t, c);
}

/* The second one: it must be who it was, and prove it. */
static void greet_peer_proof(struct conn *c, struct hello *h,
                             struct hello_frame *f)
{
    bool same = h->version == c->them.version &&
                h->cluster == c->them.cluster && h->node == c->them.node &&
                h->incarnation == c->them.incarnation &&
                h->boot == c->them.boot &&
                memcmp(h->nonce, c->them.nonce, sizeof h->nonce) == 0;
    c->them.has_proof = h->has_proof;
    if (!same || !hello_is_proven(h, HELLO_DIALS, c->nonce, c->t->secret)) {
        refuse_proof(c, f);
        return;
    }
    become_open(c);
    peer_came_in(c->t, c);
}

/* What whom we dialled answers: its Hello, or why it sends us away. */
static void greet_peer_out(struct conn *c, uint32_t expected,
                           struct hello_frame *f)
{
    if (f->status != BATON_OK) {
        note_line(c->t, NOTE_PEER_DIAL, 1,
                  "peer_refused_us node=%" PRIu32 " why=\"%s\"", expected,
                  f->why);
        c->them.node = expected;
        conn_close(c);
        return;
    }
    if (!is_kin(c, f)) {
        return;
    }
    if (c->them.node != expected) {
        refuse_node(c, f, "node_is_another");
        return;
    }
    if (c->t->secret.n > 0) {
        if (!hello_is_proven(&c->them, HELLO_ACCEPTS, c->nonce, c->t->secret)) {
            refuse_proof(c, f);
            return;
        }
        send_peer_hello(c, true);
    } else if (c->them.has_proof) {
        /* It will wait for ours, and we have no secret. */
        refuse_proof(c, f);
        return;
    }
    become_open(c);
    peer_went_up(c->t, c);
}

static enum hello_result decode(struct conn *c, struct bytes body,
                                struct hello *h, struct hello_frame *f)
{
    return c->kind == CONN_CLIENT
               ? hello_decode_request(body, &c->t->arena, h, f)
               : hello_decode_peer(body, &c->t->arena, h, f);
}

void greet_frame(struct conn *c, struct bytes body)
{
    ASSERT(c->kind != CONN_ADMIN);
    struct hello h;
    struct hello_frame f = {0};
    switch (decode(c, body, &h, &f)) {
    case HELLO_OK:
        break;
    case HELLO_UNDECODABLE:
        refuse_undecodable(c);
        return;
    case HELLO_OTHER:
        refuse_other(c, &f);
        return;
    }
    if (c->state == CONN_PROOF) {
        greet_peer_proof(c, &h, &f);
        return;
    }
    if (c->state == CONN_OPEN && f.status == BATON_OK) {
        refuse_other(c, &f); /* it has greeted us already */
        return;
    }
    uint32_t expected = c->them.node;
    c->them = h;
    switch (c->kind) {
    case CONN_CLIENT:
        greet_client(c, &f);
        break;
    case CONN_PEER_IN:
        greet_peer_in(c, &f);
        break;
    case CONN_PEER_OUT:
        greet_peer_out(c, expected, &f);
        break;
    case CONN_ADMIN:
        break;
    }
}

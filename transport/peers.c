#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/frame.h"
#include "transport/internal.h"

/* Up for so long, its next redial is quick again; a stream that's sent away at once isn't. */
#define STEADY_MS 2000

struct peer *peer_find(struct transport *t, uint32_t node)
{
    if (node == 0) {
        return NULL;
    }
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        if (t->peers[i].node == node) {
            return &t->peers[i];
        }
    }
    return NULL;
}

static struct peer *find_out(struct transport *t, const struct conn *c)
{
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        if (t->peers[i].out == c) {
            return &t->peers[i];
        }
    }
    return NULL;
}

/* xorshift64*: only spreads redials. */
static uint64_t draw(struct transport *t)
{
    uint64_t x = t->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    t->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D) >> 33;
}

static void redial_later(struct transport *t, struct peer *p)
{
    uint32_t ms = p->backoff_ms == 0 ? REDIAL_MIN_MS : p->backoff_ms;
    p->redial_ms = net_now_ms() + ms / 2 + draw(t) % (ms / 2 + 1);
    p->backoff_ms = ms * 2 > REDIAL_MAX_MS ? REDIAL_MAX_MS : ms * 2;
}

static void dial_failed(struct transport *t, struct peer *p, const char *why)
{
    p->unreachable = true;
    note_line(t, NOTE_PEER_DIAL, 2,
              "peer_unreachable node=%" PRIu32 " address=%s why=\"%s\"",
              p->node, p->address, why);
    redial_later(t, p);
}

static void dial(struct transport *t, struct peer *p, uint64_t now_ms)
{
    ASSERT(p->out == NULL);
    ASSERT(p->dialing == NULL);
    int error = 0;
    t->stats.peer_dials++;
    p->dialing =
        net_dial(&t->env.inbox, p->address, false, t->tls.client, &error);
    if (p->dialing == NULL) {
        dial_failed(t, p, nng_strerror(error));
        return;
    }
    t->dials_n++;
    p->dialing->user = p;
    p->dial_deadline_ms = now_ms + t->o.hello_ms;
}

static void cancel(struct peer *p)
{
    if (p->dialing != NULL) {
        net_dial_cancel(p->dialing);
        p->dialing = NULL;
    }
}

void peer_dialed(struct transport *t, struct net_dialer *d)
{
    struct peer *p = d->user;
    nng_stream *nng = NULL;
    int rv = net_dialed(d, &nng);
    ASSERT(t->dials_n > 0);
    t->dials_n--;
    if (p == NULL) {
        if (rv == 0) {
            nng_stream_close(nng);
            nng_stream_free(nng);
        }
        return;
    }
    ASSERT(p->dialing == d);
    p->dialing = NULL;
    if (rv != 0) {
        dial_failed(t, p, nng_strerror(rv));
        return;
    }
    p->unreachable = false;
    p->out = conn_open(t, CONN_PEER_OUT, nng);
    if (p->out == NULL) {
        dial_failed(t, p, "out of memory");
        return;
    }
    p->out->them.node = p->node;
    greet_begin(p->out);
}

void peer_went_up(struct transport *t, struct conn *c)
{
    struct peer *p = find_out(t, c);
    ASSERT(p != NULL);
    p->up_ms = net_now_ms();
    note_line(t, NOTE_PEER_UP, 2,
              "peer_up node=%" PRIu32 " address=%s incarnation=%016" PRIx64
              " boot=%" PRIu64,
              p->node, p->address, c->them.incarnation, c->them.boot);
}

void peer_came_in(struct transport *t, struct conn *c)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&t->all); n != NULL; n = next) {
        next = list_after(&t->all, n);
        struct conn *older = LIST_OWNER(n, struct conn, in_all);
        if (older != c && older->kind == CONN_PEER_IN &&
            older->state == CONN_OPEN && older->them.node == c->them.node) {
            conn_close(older);
        }
    }
    note_line(t, NOTE_PEER_IN, 3,
              "peer_in node=%" PRIu32 " conn=%" PRIu64
              " incarnation=%016" PRIx64 " boot=%" PRIu64,
              c->them.node, c->id, c->them.incarnation, c->them.boot);
    struct peer *p = peer_find(t, c->them.node);
    /* It wasn't there, and now it is: don't let it wait. */
    if (p != NULL && p->unreachable && p->out == NULL && p->dialing == NULL) {
        p->redial_ms = net_now_ms();
        p->backoff_ms = 0;
    }
}

void peer_lost(struct transport *t, struct conn *c)
{
    struct peer *p = c->kind == CONN_PEER_OUT ? find_out(t, c) : NULL;
    if (p == NULL) {
        return;
    }
    p->out = NULL;
    if (p->up_ms != 0) {
        note_line(t, NOTE_PEER_DOWN, 1,
                  "peer_down node=%" PRIu32
                  " address=%s why=\"%s\" lost=%" PRIu64,
                  p->node, p->address,
                  c->stream.error != 0 ? nng_strerror(c->stream.error)
                                       : "closed here",
                  stream_queued(&c->stream));
        if (net_now_ms() - p->up_ms >= STEADY_MS) {
            p->backoff_ms = 0;
        }
        p->up_ms = 0;
    }
    redial_later(t, p);
}

void peers_tick(struct transport *t, uint64_t now_ms)
{
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX && !t->closing; i++) {
        struct peer *p = &t->peers[i];
        if (p->node == 0 || p->out != NULL) {
            continue;
        }
        if (p->dialing != NULL && now_ms >= p->dial_deadline_ms) {
            cancel(p);
            dial_failed(t, p, "no connection in time");
        } else if (p->dialing == NULL && now_ms >= p->redial_ms) {
            dial(t, p, now_ms);
        }
    }
}

uint64_t peers_due_ms(const struct transport *t)
{
    uint64_t due = UINT64_MAX;
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        const struct peer *p = &t->peers[i];
        if (p->node != 0 && p->out == NULL) {
            due = min_u64(due, p->dialing != NULL ? p->dial_deadline_ms
                                                  : p->redial_ms);
        }
    }
    return due;
}

void peers_cancel(struct transport *t)
{
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        cancel(&t->peers[i]);
    }
}

/* --- the contract's part ---------------------------------------------------------------------------------------------- */

/* Closes what we dialled; the end is told if its beginning was. */
static void drop(struct peer *p)
{
    cancel(p);
    struct conn *out = p->out;
    *p = (struct peer){0};
    if (out != NULL) {
        conn_close(out);
    }
}

static const struct transport_peer *
find_given(const struct transport_peer *peers, size_t peers_n, uint32_t node)
{
    for (size_t i = 0; i < peers_n; i++) {
        if (peers[i].node == node) {
            return &peers[i];
        }
    }
    return NULL;
}

void transport_set_peers(struct transport *t,
                         const struct transport_peer *peers, size_t peers_n)
{
    ASSERT(peers_n <= TRANSPORT_PEERS_MAX);
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        struct peer *p = &t->peers[i];
        const struct transport_peer *given =
            find_given(peers, peers_n, p->node);
        if (p->node != 0 &&
            (given == NULL || strcmp(given->address, p->address) != 0)) {
            drop(p);
        }
    }
    for (size_t i = 0; i < peers_n; i++) {
        if (peers[i].node == 0 || peers[i].node == t->o.node ||
            peer_find(t, peers[i].node) != NULL) {
            continue;
        }
        struct peer *p = t->peers;
        while (p->node != 0) {
            p++;
            ASSERT(p < t->peers + TRANSPORT_PEERS_MAX);
        }
        *p = (struct peer){.node = peers[i].node};
        (void)snprintf(p->address, sizeof p->address, "%s", peers[i].address);
        dial(t, p, net_now_ms());
    }
}

bool transport_peer_send(struct transport *t, uint32_t node, struct bytes body)
{
    ASSERT(body.n <= FRAME_PEER_BYTES_MAX);
    struct peer *p = peer_find(t, node);
    if (p == NULL || p->out == NULL || p->out->state != CONN_OPEN) {
        return false;
    }
    if (!conn_send(p->out, body)) {
        t->stats.queue_full++;
        return false;
    }
    return true;
}

void transport_peer_refuse(struct transport *t, uint32_t node,
                           const char *reason)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&t->all); n != NULL; n = next) {
        next = list_after(&t->all, n);
        struct conn *c = LIST_OWNER(n, struct conn, in_all);
        bool peers = (c->kind == CONN_PEER_IN || c->kind == CONN_PEER_OUT) &&
                     c->state == CONN_OPEN;
        if (peers && c->them.node == node) {
            greet_send_away(c, reason);
        }
    }
}

#include "sim/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cover.h"
#include "sim/oracle.h"
#include "transport/transport.h"

#define DIAL_US       (5 * SIM_S) /* as hello_ms */
#define REDIAL_MIN_US (20 * SIM_MS)
#define REDIAL_MAX_US (1 * SIM_S)
/* Up for so long, its next redial is quick again; a stream that's sent away at once isn't (transport/peers.c). */
#define STEADY_US (2 * SIM_S)

struct sim_input {
    struct sim_input *after;
    struct transport_input input;
    char settings[TURN_SETTINGS_BYTES];
    uint8_t data[];
};

struct transport {
    struct sim_node *node;
    struct sim_input *shown; /* given out last */
};

void sim_address(uint32_t node, uint32_t port, char out[SIM_ADDRESS_BYTES])
{
    (void)snprintf(out, SIM_ADDRESS_BYTES, "10.0.0.%u:%u", node, port);
}

uint32_t sim_address_node(const char *address)
{
    static const char prefix[] = "10.0.0.";
    if (strncmp(address, prefix, sizeof prefix - 1) != 0) {
        return 0;
    }
    unsigned long n = strtoul(address + sizeof prefix - 1, NULL, 10);
    return n >= 1 && n <= SIM_NODES_MAX ? (uint32_t)n : 0;
}

struct transport *sim_transport_new(struct sim_node *n)
{
    struct transport *t = calloc(1, sizeof *t);
    ASSERT(t != NULL);
    t->node = n;
    memset(n->peers, 0, sizeof n->peers);
    return t;
}

void sim_transport_free(struct transport *t)
{
    struct sim_node *n = t->node;
    while (n->inputs != NULL) {
        struct sim_input *i = n->inputs;
        n->inputs = i->after;
        free(i);
    }
    n->inputs_end = &n->inputs;
    free(t->shown);
    free(t);
    /* Redials that are planned are nobody's now. */
    for (uint32_t p = 1; p <= SIM_NODES_MAX; p++) {
        n->peers[p].wanted = false;
    }
}

/* --- what comes in ------------------------------------------------------------------------------------------------------- */

static struct sim_input *push(struct sim_node *n,
                              const struct transport_input *input)
{
    struct sim_input *i = malloc(sizeof *i + input->body.n);
    ASSERT(i != NULL);
    i->after = NULL;
    i->input = *input;
    i->settings[0] = 0;
    i->input.settings = i->settings;
    i->input.body = (struct bytes){i->data, input->body.n};
    if (input->body.n > 0) {
        memcpy(i->data, input->body.data, input->body.n);
    }
    *n->inputs_end = i;
    n->inputs_end = &i->after;
    sim_node_wake(n, n->world->now_us);
    return i;
}

static void push_peer(struct sim_node *n, enum transport_input_type type,
                      raft_id peer)
{
    struct transport_input input = {.type = type, .node = peer};
    const struct sim_node *other = &n->world->nodes[peer];
    sim_disk_identity(other->disk, &input.incarnation, &input.boot,
                      &input.lineage);
    struct sim_input *i = push(n, &input);
    memcpy(i->settings, n->world->settings, sizeof i->settings);
}

static bool is_clients(const struct sim_input *i)
{
    return i->input.type == TRANSPORT_CLIENT_FRAME ||
           i->input.type == TRANSPORT_CLIENT_OPEN;
}

bool sim_transport_next(struct transport *t, bool clients,
                        struct transport_input *out)
{
    struct sim_node *n = t->node;
    struct sim_input **at = &n->inputs;
    while (*at != NULL && !clients && is_clients(*at)) {
        at = &(*at)->after;
    }
    struct sim_input *i = *at;
    if (i == NULL) {
        return false;
    }
    *at = i->after;
    if (*at == NULL && n->inputs_end == &i->after) {
        n->inputs_end = at;
    }
    free(t->shown);
    t->shown = i;
    *out = i->input;
    return true;
}

/* --- peers --------------------------------------------------------------------------------------------------------------- */

static void dial(struct sim_node *n, raft_id peer);

static void redial(void *arg, uint64_t peer, uint64_t serial)
{
    struct sim_node *n = arg;
    struct sim_peer *p = &n->peers[peer];
    if (n->up && p->wanted && p->out == NULL && p->dial_serial == serial) {
        dial(n, (raft_id)peer);
    }
}

static void redial_later(struct sim_node *n, raft_id peer)
{
    struct sim_peer *p = &n->peers[peer];
    if (p->up_us != 0 && n->world->now_us >= p->up_us + STEADY_US) {
        p->backoff_us = 0;
    }
    p->up_us = 0;
    uint64_t us = p->backoff_us == 0 ? REDIAL_MIN_US : p->backoff_us;
    p->backoff_us = min_u64(us * 2, REDIAL_MAX_US);
    sim_world_later(
        n->world, us / 2 + sim_below(&n->random, us / 2 + 1),
        &(struct sim_event){
            .happen = redial, .arg = n, .a = peer, .b = ++p->dial_serial});
}

/* No answer in time. */
static void give_up(void *arg, uint64_t peer, uint64_t stream)
{
    struct sim_node *n = arg;
    struct sim_peer *p = &n->peers[peer];
    if (n->up && p->out != NULL && p->out->id == stream && p->out->dialing) {
        sim_net_close(n->world->net, p->out, 0, "no connection in time");
        p->out = NULL;
        p->unreachable = true;
        redial_later(n, (raft_id)peer);
    }
}

static void dial(struct sim_node *n, raft_id peer)
{
    struct sim_peer *p = &n->peers[peer];
    ASSERT(p->out == NULL);
    p->dial_serial++;
    p->out = sim_net_dial(n->world->net, SIM_PEERS, n->id, peer, n);
    sim_world_later(
        n->world, DIAL_US,
        &(struct sim_event){
            .happen = give_up, .arg = n, .a = peer, .b = p->out->id});
}

void transport_set_peers(struct transport *t,
                         const struct transport_peer *peers, size_t peers_n)
{
    struct sim_node *n = t->node;
    bool wanted[SIM_NODES_MAX + 1] = {false};
    for (size_t i = 0; i < peers_n; i++) {
        ASSERT(peers[i].node >= 1 && peers[i].node <= SIM_NODES_MAX);
        wanted[peers[i].node] = peers[i].node != n->id;
    }
    for (raft_id id = 1; id <= SIM_NODES_MAX; id++) {
        struct sim_peer *p = &n->peers[id];
        if (p->wanted && !wanted[id] && p->out != NULL) {
            struct sim_stream *out = p->out;
            bool told = out->open[0];
            p->out = NULL;
            sim_net_close(n->world->net, out, 0, "not wanted any more");
            if (told) {
                push_peer(n, TRANSPORT_PEER_DOWN, id);
            }
        }
        bool begin = wanted[id] && !p->wanted;
        p->wanted = wanted[id];
        if (begin && p->out == NULL) {
            p->backoff_us = 0;
            dial(n, id);
        }
    }
}

bool transport_peer_send(struct transport *t, uint32_t node, struct bytes body)
{
    struct sim_node *n = t->node;
    ASSERT(node >= 1 && node <= SIM_NODES_MAX);
    struct sim_peer *p = &n->peers[node];
    if (p->out == NULL || !p->out->open[0]) {
        return false;
    }
    oracle_peer_send(n, node, body);
    return sim_net_send(n->world->net, p->out, 0, body);
}

/* What came on its stream and wasn't read yet goes with the stream. */
static void drop_frames(struct sim_node *n, uint32_t peer)
{
    struct sim_input **at = &n->inputs;
    while (*at != NULL) {
        struct sim_input *i = *at;
        if (i->input.type != TRANSPORT_PEER_FRAME || i->input.node != peer) {
            at = &i->after;
            continue;
        }
        *at = i->after;
        free(i);
    }
    n->inputs_end = at;
}

void transport_peer_refuse(struct transport *t, uint32_t node,
                           const char *reason)
{
    struct sim_node *n = t->node;
    struct sim_peer *p = &n->peers[node];
    (void)reason;
    n->world->coverage.amnesia_refused++;
    drop_frames(n, node);
    if (p->in != NULL) {
        sim_net_close(n->world->net, p->in, 1, "refused");
        p->in = NULL;
    }
    if (p->out != NULL) {
        struct sim_stream *out = p->out;
        p->out = NULL;
        bool told = out->open[0];
        sim_net_close(n->world->net, out, 0, "refused");
        if (told) {
            push_peer(n, TRANSPORT_PEER_DOWN, node);
        }
        redial_later(n, node);
    }
}

/* --- what the net tells ----------------------------------------------------------------------------------------------------- */

bool sim_node_accept(struct sim_node *n, struct sim_stream *s)
{
    if (!n->up) {
        return false;
    }
    s->users[1] = n;
    if (s->kind == SIM_CLIENT) {
        (void)push(n, &(struct transport_input){.type = TRANSPORT_CLIENT_OPEN,
                                                .conn = s->id});
        return true;
    }
    struct sim_peer *p = &n->peers[s->hosts[0]];
    if (p->in != NULL) {
        sim_net_close(n->world->net, p->in, 1, "a newer stream came");
    }
    p->in = s;
    push_peer(n, TRANSPORT_PEER_HELLO, s->hosts[0]);
    /* It wasn't there, and now it is. */
    if (p->wanted && p->out == NULL && p->unreachable) {
        p->backoff_us = 0;
        redial_later(n, s->hosts[0]);
    }
    return true;
}

void sim_node_up(struct sim_node *n, struct sim_stream *s)
{
    struct sim_peer *p = &n->peers[s->hosts[1]];
    if (!n->up || p->out != s) {
        return;
    }
    p->up_us = n->world->now_us;
    p->unreachable = false;
    push_peer(n, TRANSPORT_PEER_UP, s->hosts[1]);
}

void sim_node_frame(struct sim_node *n, struct sim_stream *s, uint32_t side,
                    struct bytes body)
{
    if (!n->up || side != 1) {
        return;
    }
    struct transport_input input = {
        .type = TRANSPORT_PEER_FRAME, .node = s->hosts[0], .body = body};
    if (s->kind == SIM_CLIENT) {
        input.type = TRANSPORT_CLIENT_FRAME;
        input.node = 0;
        input.conn = s->id;
    }
    (void)push(n, &input);
}

void sim_node_room(struct sim_node *n, struct sim_stream *s)
{
    if (n->up && s->kind == SIM_CLIENT) {
        cover_room(n);
        (void)push(n, &(struct transport_input){.type = TRANSPORT_CLIENT_ROOM,
                                                .conn = s->id});
    }
}

void sim_node_down(struct sim_node *n, struct sim_stream *s, uint32_t side,
                   const char *why)
{
    (void)why;
    if (!n->up) {
        return;
    }
    if (s->kind == SIM_CLIENT) {
        (void)push(n, &(struct transport_input){.type = TRANSPORT_CLIENT_CLOSED,
                                                .conn = s->id});
        return;
    }
    struct sim_peer *p = &n->peers[s->hosts[1 - side]];
    if (side == 1) {
        p->in = p->in == s ? NULL : p->in;
        return;
    }
    if (p->out != s) {
        return;
    }
    p->out = NULL;
    p->unreachable = p->up_us == 0;
    push_peer(n, TRANSPORT_PEER_DOWN, s->hosts[1]);
    if (p->wanted) {
        redial_later(n, s->hosts[1]);
    }
}

/* --- clients -------------------------------------------------------------------------------------------------------------- */

static struct sim_stream *client_of(const struct transport *t, uint64_t conn)
{
    struct sim_stream *s = sim_net_stream(t->node->world->net, conn);
    return s != NULL && s->kind == SIM_CLIENT && s->open[1] &&
                   s->hosts[1] == t->node->id
               ? s
               : NULL;
}

bool transport_send(struct transport *t, uint64_t conn, struct bytes body)
{
    struct sim_stream *s = client_of(t, conn);
    if (s == NULL) {
        return false;
    }
    oracle_client_send(t->node, s, body);
    return sim_net_send(t->node->world->net, s, 1, body);
}

uint64_t transport_room(const struct transport *t, uint64_t conn)
{
    const struct sim_stream *s = client_of(t, conn);
    return s == NULL ? 0 : sim_net_room(t->node->world->net, s, 1);
}

void transport_want_room(struct transport *t, uint64_t conn)
{
    struct sim_stream *s = client_of(t, conn);
    if (s != NULL) {
        s->wants_room[1] = true;
    }
}

void transport_conn_close(struct transport *t, uint64_t conn,
                          const char *reason)
{
    struct sim_stream *s = client_of(t, conn);
    (void)reason;
    if (s != NULL) {
        sim_net_close(t->node->world->net, s, 1, "closed by the node");
    }
}

void transport_clients_pause(struct transport *t, bool pause)
{
    (void)t;
    (void)pause; /* sim_transport_next() is told */
}

void transport_flush(struct transport *t)
{
    (void)t;
}

void transport_http_reply(struct transport *t, uint64_t ticket, uint32_t status,
                          const char *content_type, struct bytes body)
{
    (void)t;
    (void)ticket;
    (void)status;
    (void)content_type;
    (void)body;
}

void transport_stats(const struct transport *t, struct transport_stats *out)
{
    (void)t;
    *out = (struct transport_stats){0};
}

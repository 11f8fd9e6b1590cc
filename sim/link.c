#include "sim/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/transport.h"

#define DIAL_US (1 * SIM_S)

enum link_state {
    LINK_DIALS,
    LINK_OPEN,
    LINK_ENDED,
};

struct link {
    struct link_loop *loop;
    struct link *after;
    void *user;
    struct sim_stream *stream;
    enum link_state state;
    struct link_peer peer;
    const char *why;
};

/* Something that happened to a link. */
struct pending {
    struct pending *after;
    struct link *link;
    enum link_event_type type;
    size_t n;
    uint8_t data[];
};

struct link_loop {
    struct sim_client *client;
    struct link *links;
    struct pending *first;
    struct pending **last;
    struct pending *shown;
};

static struct sim_client *owner;

void sim_link_owner(struct sim_client *c)
{
    owner = c;
}

struct link_loop *link_loop_open(const struct link_loop_options *options,
                                 char *error, size_t error_bytes)
{
    struct link_loop *loop = calloc(1, sizeof *loop);
    (void)options;
    (void)error;
    (void)error_bytes;
    ASSERT(loop != NULL);
    ASSERT(owner != NULL);
    loop->client = owner;
    loop->last = &loop->first;
    return loop;
}

/* Events of it that nobody will hear. */
static void forget(struct link_loop *loop, const struct link *l)
{
    struct pending **at = &loop->first;
    while (*at != NULL) {
        struct pending *p = *at;
        if (l != NULL && p->link != l) {
            at = &p->after;
            continue;
        }
        *at = p->after;
        free(p);
    }
    loop->last = at;
}

void link_close(struct link *l)
{
    struct link_loop *loop = l->loop;
    struct link **at = &loop->links;
    while (*at != l) {
        ASSERT(*at != NULL);
        at = &(*at)->after;
    }
    *at = l->after;
    forget(loop, l);
    l->stream->users[0] = NULL;
    sim_net_close(loop->client->world->net, l->stream, 0, "closed");
    free(l);
}

void link_loop_close(struct link_loop *loop)
{
    struct link *next = NULL;
    for (struct link *l = loop->links; l != NULL; l = next) {
        next = l->after;
        link_close(l);
    }
    forget(loop, NULL);
    free(loop->shown);
    free(loop);
}

void link_loop_wait(struct link_loop *loop, int timeout_ms)
{
    (void)loop;
    (void)timeout_ms;
}

void link_loop_wake(struct link_loop *loop)
{
    sim_client_wake(loop->client, loop->client->world->now_us);
}

bool sim_link_waiting(const struct link_loop *loop)
{
    return loop->first != NULL;
}

bool link_loop_next(struct link_loop *loop, struct link_event *out)
{
    free(loop->shown);
    loop->shown = loop->first;
    if (loop->shown == NULL) {
        return false;
    }
    struct pending *p = loop->shown;
    loop->first = p->after;
    if (loop->first == NULL) {
        loop->last = &loop->first;
    }
    *out = (struct link_event){
        .type = p->type, .link = p->link, .body = {p->data, p->n}};
    return true;
}

void link_loop_flush(struct link_loop *loop)
{
    (void)loop;
}

static void put(struct link *l, enum link_event_type type, struct bytes body)
{
    struct link_loop *loop = l->loop;
    struct pending *p = malloc(sizeof *p + body.n);
    ASSERT(p != NULL);
    p->after = NULL;
    p->link = l;
    p->type = type;
    p->n = body.n;
    if (body.n > 0) {
        memcpy(p->data, body.data, body.n);
    }
    *loop->last = p;
    loop->last = &p->after;
    sim_client_wake(loop->client, loop->client->world->now_us);
}

static void end(struct link *l, const char *why)
{
    if (l->state != LINK_ENDED) {
        l->state = LINK_ENDED;
        l->why = why;
        put(l, LINK_DOWN, (struct bytes){NULL, 0});
    }
}

/* Streams are never freed, so whoever is the user of this one by then is asked. */
static void give_up(void *arg, uint64_t stream, uint64_t b)
{
    struct sim_world *w = arg;
    struct sim_stream *s = sim_net_stream(w->net, stream);
    (void)b;
    struct link *l = s->users[0];
    if (l != NULL && s->dialing) {
        sim_net_close(w->net, s, 0, "no connection in time");
        end(l, "no connection in time");
    }
}

struct link *link_open(struct link_loop *loop,
                       const struct link_options *options)
{
    struct sim_world *w = loop->client->world;
    struct link *l = calloc(1, sizeof *l);
    ASSERT(l != NULL);
    l->loop = loop;
    l->user = options->user;
    l->after = loop->links;
    loop->links = l;
    uint32_t node = sim_address_node(options->address);
    ASSERT(node != 0);
    l->stream = sim_net_dial(w->net, SIM_CLIENT, loop->client->host, node, l);
    sim_world_later(
        w, DIAL_US,
        &(struct sim_event){.happen = give_up, .arg = w, .a = l->stream->id});
    return l;
}

bool link_send(struct link *l, struct bytes body)
{
    return l->state == LINK_OPEN &&
           sim_net_send(l->loop->client->world->net, l->stream, 0, body);
}

bool link_is_up(const struct link *l)
{
    return l->state == LINK_OPEN;
}

uint64_t link_room(const struct link *l)
{
    return l->state == LINK_OPEN
               ? sim_net_room(l->loop->client->world->net, l->stream, 0)
               : 0;
}

uint64_t link_queued(const struct link *l)
{
    return l->stream->queued[0];
}

void *link_user(const struct link *l)
{
    return l->user;
}

const struct link_peer *link_peer(const struct link *l)
{
    return &l->peer;
}

const char *link_why(const struct link *l)
{
    return l->why;
}

int link_status(const struct link *l)
{
    (void)l;
    return BATON_UNAVAILABLE;
}

void sim_link_up(struct link_loop *loop, struct sim_stream *s)
{
    struct link *l = s->users[0];
    (void)loop;
    if (l != NULL) {
        l->state = LINK_OPEN;
        l->peer.cluster = 7;
        l->peer.node = s->hosts[1];
        sim_address(s->hosts[1], SIM_CLIENT_PORT, l->peer.endpoint);
        put(l, LINK_UP, (struct bytes){NULL, 0});
    }
}

void sim_link_frame(struct link_loop *loop, struct sim_stream *s,
                    struct bytes body)
{
    struct link *l = s->users[0];
    (void)loop;
    if (l != NULL && l->state == LINK_OPEN) {
        put(l, LINK_FRAME, body);
    }
}

void sim_link_room(struct link_loop *loop, struct sim_stream *s)
{
    struct link *l = s->users[0];
    (void)loop;
    if (l != NULL && l->state == LINK_OPEN) {
        put(l, LINK_ROOM, (struct bytes){NULL, 0});
    }
}

void sim_link_down(struct link_loop *loop, struct sim_stream *s,
                   const char *why)
{
    struct link *l = s->users[0];
    (void)loop;
    if (l != NULL) {
        end(l, why);
    }
}

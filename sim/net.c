#include "sim/net.h"

#include <stdlib.h>
#include <string.h>

#include "sim/trace.h"

#define STREAMS_A_BLOCK 256u
#define BLOCKS_MAX      4096u
/* After a link healed, TCP's next try may be a while off: at most this, and no more than the link was cut for. */
#define RETRY_MAX_US 1500000u

enum packet_type {
    PACKET_SYN,
    PACKET_ACK,
    PACKET_FRAME,
    PACKET_RESET,
};

/* On its way from `side` of a stream. */
struct packet {
    struct packet *after; /* on the same link, if that's cut */
    struct sim_stream *stream;
    enum packet_type type;
    uint32_t side;
    bool out_of_order;
    size_t n;
    const char *why; /* static; of a RESET */
    uint64_t trace;  /* its record; 0: none */
    uint8_t data[];
};

struct wire {
    bool cut;
    uint64_t cut_us; /* since when */
    uint64_t extra_us;
    uint64_t packets_n;
    struct packet *held; /* oldest first */
    struct packet **held_end;
};

struct block {
    struct sim_stream streams[STREAMS_A_BLOCK];
};

struct sim_net {
    struct sim_queue *queue;
    const uint64_t *now_us;
    struct sim_net_options options;
    struct sim_net_hooks hooks;
    struct sim_net_stats stats;
    struct sim_trace *trace; /* NULL: nobody draws this */
    struct wire wires[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
    bool off[SIM_HOSTS_MAX];
    struct block *blocks[BLOCKS_MAX];
    uint64_t streams_n;
};

struct sim_net *sim_net_new(struct sim_queue *queue, const uint64_t *now_us,
                            const struct sim_net_options *options,
                            const struct sim_net_hooks *hooks)
{
    struct sim_net *net = calloc(1, sizeof *net);
    ASSERT(net != NULL);
    net->queue = queue;
    net->now_us = now_us;
    net->options = *options;
    net->hooks = *hooks;
    return net;
}

static void free_held(struct wire *w)
{
    while (w->held != NULL) {
        struct packet *p = w->held;
        w->held = p->after;
        free(p);
    }
}

static void arrive(void *arg, uint64_t a, uint64_t b);

void sim_net_free(struct sim_net *net)
{
    for (uint32_t a = 0; a < SIM_HOSTS_MAX; a++) {
        for (uint32_t b = 0; b < SIM_HOSTS_MAX; b++) {
            free_held(&net->wires[a][b]);
        }
    }
    for (uint32_t i = 0; i < net->queue->n; i++) {
        if (net->queue->at[i].happen == arrive) {
            free((struct packet *)(uintptr_t)net->queue->at[i].a);
        }
    }
    for (uint32_t i = 0; i < BLOCKS_MAX; i++) {
        free(net->blocks[i]);
    }
    free(net);
}

/* --- packets ------------------------------------------------------------------------------------------------------------ */

static struct wire *wire_of(struct sim_net *net, const struct sim_stream *s,
                            uint32_t side)
{
    return &net->wires[s->hosts[side]][s->hosts[1 - side]];
}

static uint64_t delay_of(struct sim_net *net, const struct wire *w,
                         uint64_t fate)
{
    const struct sim_net_options *o = &net->options;
    uint64_t span = o->delay_max_us - o->delay_min_us + 1;
    return o->delay_min_us + fate % span + w->extra_us;
}

static void fly(struct sim_net *net, struct packet *p, uint64_t at_us)
{
    sim_queue_put(net->queue, &(struct sim_event){.at_us = at_us,
                                                  .happen = arrive,
                                                  .arg = net,
                                                  .a = (uintptr_t)p});
}

static struct packet *packet_of(struct sim_stream *s, uint32_t side,
                                enum packet_type type, struct bytes body)
{
    struct packet *p = malloc(sizeof *p + body.n);
    ASSERT(p != NULL);
    *p = (struct packet){.stream = s, .type = type, .side = side, .n = body.n};
    if (body.n > 0) {
        memcpy(p->data, body.data, body.n);
    }
    return p;
}

/* In its place behind what the same side sent before. */
static uint64_t in_order(struct sim_net *net, struct packet *p, uint64_t delay)
{
    uint64_t *last = &p->stream->last_us[p->side];
    uint64_t at_us = *net->now_us + delay;
    *last = max_u64(*last, at_us);
    return *last;
}

static void hold(struct sim_net *net, struct wire *w, struct packet *p)
{
    net->stats.held++;
    trace_flag(net->trace, p->trace, TRACE_HELD);
    p->after = NULL;
    if (w->held == NULL) {
        w->held_end = &w->held;
    }
    *w->held_end = p;
    w->held_end = &p->after;
}

static void send_packet(struct sim_net *net, struct packet *p)
{
    struct wire *w = wire_of(net, p->stream, p->side);
    const uint32_t link = p->stream->hosts[p->side] * SIM_HOSTS_MAX +
                          p->stream->hosts[1 - p->side];
    uint64_t fate = sim_mix(net->options.seed, link, ++w->packets_n);
    if (w->cut || w->held != NULL) {
        hold(net, w, p);
        return;
    }
    uint64_t at_us = in_order(net, p, delay_of(net, w, fate));
    fly(net, p, at_us);
}

/* Between nodes, when the net is hostile. True: it was dealt with. */
static bool send_hostile(struct sim_net *net, struct packet *p)
{
    struct sim_net_options *o = &net->options;
    struct wire *w = wire_of(net, p->stream, p->side);
    if (o->loss + o->twice + o->overtaken == 0 ||
        p->stream->kind != SIM_PEERS || w->cut || w->held != NULL) {
        return false;
    }
    const uint32_t link = p->stream->hosts[p->side] * SIM_HOSTS_MAX +
                          p->stream->hosts[1 - p->side];
    struct sim_random r = {sim_mix(o->seed, link, ++w->packets_n)};
    if (sim_chance(&r, o->loss)) {
        net->stats.lost++;
        trace_fate(net->trace, p->trace, TRACE_LOST, *net->now_us);
        p->stream->queued[p->side] -= p->n;
        free(p);
        return true;
    }
    if (sim_chance(&r, o->twice)) {
        net->stats.doubled++;
        struct packet *again = packet_of(p->stream, p->side, p->type,
                                         (struct bytes){p->data, p->n});
        again->out_of_order = true;
        again->trace = trace_again(net->trace, p->trace);
        p->stream->queued[p->side] += p->n;
        uint64_t delay = delay_of(net, w, sim_random(&r));
        delay += sim_seldom(&r, 20 * o->delay_max_us);
        fly(net, again, *net->now_us + delay);
    }
    uint64_t at_us = *net->now_us + delay_of(net, w, sim_random(&r));
    if (sim_chance(&r, o->overtaken)) {
        net->stats.overtaken++;
        trace_flag(net->trace, p->trace, TRACE_OVERTAKEN);
        at_us += sim_seldom(&r, 10 * o->delay_max_us);
    } else {
        at_us = in_order(net, p, at_us - *net->now_us);
    }
    fly(net, p, at_us);
    return true;
}

static void reset_from(struct sim_net *net, struct sim_stream *s, uint32_t side,
                       const char *why)
{
    struct packet *p =
        packet_of(s, side, PACKET_RESET, (struct bytes){NULL, 0});
    p->why = why;
    net->stats.resets++;
    send_packet(net, p);
}

static void down(struct sim_net *net, struct sim_stream *s, uint32_t side,
                 const char *why)
{
    bool heard = s->open[side] || (side == 0 && s->dialing);
    s->open[side] = false;
    if (side == 0) {
        s->dialing = false;
    }
    if (heard) {
        net->hooks.down(net->hooks.arg, s, side, why);
    }
}

static void arrive_syn(struct sim_net *net, struct sim_stream *s)
{
    if (!net->hooks.accept(net->hooks.arg, s)) {
        reset_from(net, s, 1, "connection refused");
        return;
    }
    s->open[1] = true;
    send_packet(net, packet_of(s, 1, PACKET_ACK, (struct bytes){NULL, 0}));
}

static void arrive_frame(struct sim_net *net, struct packet *p)
{
    struct sim_stream *s = p->stream;
    uint32_t to = 1 - p->side;
    s->queued[p->side] -= p->n;
    if (s->wants_room[p->side] && s->open[p->side] &&
        s->queued[p->side] < net->options.queue_bytes[s->kind] / 2) {
        s->wants_room[p->side] = false;
        net->hooks.room(net->hooks.arg, s, p->side);
    }
    trace_fate(net->trace, p->trace, s->open[to] ? TRACE_ARRIVED : TRACE_NOBODY,
               *net->now_us);
    if (s->open[to]) {
        net->hooks.frame(net->hooks.arg, s, to, (struct bytes){p->data, p->n});
    } else if (s->open[p->side]) {
        /* Nobody here knows this stream. */
        reset_from(net, s, to, "connection reset by peer");
    }
}

static void arrive(void *arg, uint64_t a, uint64_t b)
{
    struct sim_net *net = arg;
    struct packet *p = (struct packet *)(uintptr_t)a;
    struct sim_stream *s = p->stream;
    (void)b;
    if (net->off[s->hosts[1 - p->side]]) {
        /* Into the void: it's sent again for as long as somebody cares. */
        if (p->type == PACKET_FRAME) {
            s->queued[p->side] -= p->n;
            trace_fate(net->trace, p->trace, TRACE_NOBODY, *net->now_us);
        }
        free(p);
        return;
    }
    switch (p->type) {
    case PACKET_SYN:
        if (s->dialing) {
            arrive_syn(net, s);
        }
        break;
    case PACKET_ACK:
        if (s->dialing) {
            s->dialing = false;
            s->open[0] = true;
            net->hooks.up(net->hooks.arg, s);
        } else {
            reset_from(net, s, 0, "connection reset by peer");
        }
        break;
    case PACKET_FRAME:
        arrive_frame(net, p);
        break;
    case PACKET_RESET:
        down(net, s, 1 - p->side, p->why);
        break;
    }
    free(p);
}

/* --- streams ------------------------------------------------------------------------------------------------------------- */

struct sim_stream *sim_net_dial(struct sim_net *net, enum sim_stream_kind kind,
                                uint32_t from, uint32_t to, void *user)
{
    ASSERT(from < SIM_HOSTS_MAX && to < SIM_HOSTS_MAX && from != to);
    struct block **b = &net->blocks[net->streams_n / STREAMS_A_BLOCK];
    ASSERT(b < net->blocks + BLOCKS_MAX);
    if (*b == NULL) {
        *b = calloc(1, sizeof **b);
        ASSERT(*b != NULL);
    }
    struct sim_stream *s = &(*b)->streams[net->streams_n % STREAMS_A_BLOCK];
    *s = (struct sim_stream){.id = ++net->streams_n,
                             .kind = kind,
                             .hosts = {from, to},
                             .users = {user, NULL},
                             .dialing = true};
    send_packet(net, packet_of(s, 0, PACKET_SYN, (struct bytes){NULL, 0}));
    return s;
}

struct sim_stream *sim_net_stream(const struct sim_net *net, uint64_t id)
{
    if (id == 0 || id > net->streams_n) {
        return NULL;
    }
    return &net->blocks[(id - 1) / STREAMS_A_BLOCK]
                ->streams[(id - 1) % STREAMS_A_BLOCK];
}

uint64_t sim_net_room(const struct sim_net *net, const struct sim_stream *s,
                      uint32_t side)
{
    uint64_t most = net->options.queue_bytes[s->kind];
    return s->open[side] && s->queued[side] < most ? most - s->queued[side] : 0;
}

bool sim_net_send(struct sim_net *net, struct sim_stream *s, uint32_t side,
                  struct bytes body)
{
    uint64_t record = s->kind == SIM_PEERS ? trace_take(net->trace) : 0;
    if (sim_net_room(net, s, side) < body.n || !s->open[side]) {
        s->wants_room[side] = s->open[side];
        trace_fate(net->trace, record, TRACE_FULL, *net->now_us);
        return false;
    }
    struct packet *p = packet_of(s, side, PACKET_FRAME, body);
    p->trace = record;
    net->stats.frames++;
    net->stats.bytes += body.n;
    s->queued[side] += body.n;
    if (!send_hostile(net, p)) {
        send_packet(net, p);
    }
    return true;
}

void sim_net_close(struct sim_net *net, struct sim_stream *s, uint32_t side,
                   const char *why)
{
    if (s->open[side] || (side == 0 && s->dialing)) {
        s->open[side] = false;
        if (side == 0) {
            s->dialing = false;
        }
        reset_from(net, s, side, why);
    }
}

void sim_net_process_died(struct sim_net *net, uint32_t host, bool silently)
{
    for (uint64_t id = 1; id <= net->streams_n; id++) {
        struct sim_stream *s = sim_net_stream(net, id);
        for (uint32_t side = 0; side < 2; side++) {
            if (s->hosts[side] != host) {
                continue;
            }
            if (!silently) {
                sim_net_close(net, s, side, "connection reset by peer");
            }
            s->open[side] = false;
            s->dialing = s->dialing && side != 0;
        }
    }
}

void sim_net_machine(struct sim_net *net, uint32_t host, bool on)
{
    ASSERT(host < SIM_HOSTS_MAX);
    net->off[host] = !on;
}

/* --- faults ------------------------------------------------------------------------------------------------------------- */

static void release(struct sim_net *net, struct wire *w, uint32_t link)
{
    uint64_t cut_for = *net->now_us - w->cut_us;
    struct sim_random r = {sim_mix(net->options.seed, link, w->cut_us)};
    uint64_t pause = sim_below(&r, min_u64(cut_for, RETRY_MAX_US) + 1);
    struct packet *p = w->held;
    w->held = NULL;
    while (p != NULL) {
        struct packet *after = p->after;
        fly(net, p, in_order(net, p, pause + delay_of(net, w, sim_random(&r))));
        p = after;
    }
}

void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut)
{
    ASSERT(from < SIM_HOSTS_MAX && to < SIM_HOSTS_MAX);
    struct wire *w = &net->wires[from][to];
    if (cut && !w->cut) {
        w->cut_us = *net->now_us;
    }
    if (!cut && w->cut) {
        w->cut = false;
        release(net, w, from * SIM_HOSTS_MAX + to);
    }
    w->cut = cut;
}

bool sim_net_is_cut(const struct sim_net *net, uint32_t from, uint32_t to)
{
    return net->wires[from][to].cut;
}

void sim_net_slow(struct sim_net *net, uint32_t from, uint32_t to,
                  uint64_t extra_us)
{
    net->wires[from][to].extra_us = extra_us;
}

void sim_net_hostile(struct sim_net *net, uint32_t loss, uint32_t twice,
                     uint32_t overtaken)
{
    net->options.loss = loss;
    net->options.twice = twice;
    net->options.overtaken = overtaken;
}

bool sim_net_is_hostile(const struct sim_net *net)
{
    return net->options.loss + net->options.twice + net->options.overtaken > 0;
}

uint64_t sim_net_extra_us(const struct sim_net *net, uint32_t from, uint32_t to)
{
    return net->wires[from][to].extra_us;
}

void sim_net_trace(struct sim_net *net, struct sim_trace *trace)
{
    net->trace = trace;
}

void sim_net_stats(const struct sim_net *net, struct sim_net_stats *out)
{
    *out = net->stats;
}

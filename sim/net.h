/* net.h - hosts and what lies between them: streams that keep order, and links that are slow, cut in one direction, or clogged.
 *
 *    dial ---SYN---> UP there ---ACK---> UP here        a dead process answers RST, a dead machine nothing
 *    send ---frame--> frame there                       on a cut link frames wait, and arrive after it heals (TCP sends again)
 *    close ---RST---> DOWN there                        likewise
 *
 * Directed links: a -> b may be cut while b -> a isn't. Order within a stream and direction always holds, but for streams between nodes in
 * hostile mode, where each frame may be lost, doubled or overtaken: more than TCP would ever do, and what Raft must bear.
 *
 * A packet's fate is drawn from (seed, link, its number on that link), so that it doesn't change because something else did.
 *
 * Sides: 0 dialled, 1 accepted. A stream lives as long as the net; a side that closed it hears of it no more. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim/queue.h"
#include "sim/random.h"

#define SIM_HOSTS_MAX 64u

enum sim_stream_kind {
    SIM_PEERS,
    SIM_CLIENT,
    SIM_STREAM_KINDS,
};

struct sim_net;
struct sim_trace;

struct sim_stream {
    uint64_t id; /* from 1 */
    enum sim_stream_kind kind;
    uint32_t hosts[2];
    void *users[2];
    bool open[2];        /* that side may send, and hears */
    bool dialing;        /* side 0 waits for an answer */
    uint64_t last_us[2]; /* when the last packet sent by that side arrives */
    uint64_t queued[2];  /* bytes that side sent, and that haven't arrived */
    bool wants_room[2];  /* a send of that side was refused */
};

/* What a net tells its hosts. */
struct sim_net_hooks {
    void *arg;
    /* Somebody dialled side 1's host: false refuses it. */
    bool (*accept)(void *arg, struct sim_stream *s);
    void (*up)(void *arg, struct sim_stream *s); /* to side 0 */
    void (*frame)(void *arg, struct sim_stream *s, uint32_t side,
                  struct bytes body); /* came to `side` */
    void (*down)(void *arg, struct sim_stream *s, uint32_t side,
                 const char *why);
    /* What that side sends, once refused, is below half of its bound again. */
    void (*room)(void *arg, struct sim_stream *s, uint32_t side);
};

struct sim_net_options {
    uint64_t seed;
    uint64_t delay_min_us; /* one way */
    uint64_t delay_max_us;
    uint64_t queue_bytes[SIM_STREAM_KINDS]; /* a stream's bound, each way */
    /* Hostile: of frames between nodes, per mille. */
    uint32_t loss;
    uint32_t twice;
    uint32_t overtaken;
};

struct sim_net_stats {
    uint64_t frames;
    uint64_t bytes;
    uint64_t lost;
    uint64_t doubled;
    uint64_t overtaken;
    uint64_t held;
    uint64_t resets;
};

struct sim_net *sim_net_new(struct sim_queue *queue, const uint64_t *now_us,
                            const struct sim_net_options *options,
                            const struct sim_net_hooks *hooks);
void sim_net_free(struct sim_net *net);

struct sim_stream *sim_net_dial(struct sim_net *net, enum sim_stream_kind kind,
                                uint32_t from, uint32_t to, void *user);
/* NULL: there never was one. */
struct sim_stream *sim_net_stream(const struct sim_net *net, uint64_t id);
/* False: that side isn't open, or its queue is full. The body is copied. */
bool sim_net_send(struct sim_net *net, struct sim_stream *s, uint32_t side,
                  struct bytes body);
uint64_t sim_net_room(const struct sim_net *net, const struct sim_stream *s,
                      uint32_t side);
/* That side hears no more; the other one hears DOWN, once that arrives. */
void sim_net_close(struct sim_net *net, struct sim_stream *s, uint32_t side,
                   const char *why);

/* A host's process ended: its streams break. `silently`: so did the machine, and nobody is told until they send it something and it's there
 * again. */
void sim_net_process_died(struct sim_net *net, uint32_t host, bool silently);
/* Whether the machine is there at all; all are at first. */
void sim_net_machine(struct sim_net *net, uint32_t host, bool on);

void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut);
bool sim_net_is_cut(const struct sim_net *net, uint32_t from, uint32_t to);
/* Everything on that link takes so much longer. */
void sim_net_slow(struct sim_net *net, uint32_t from, uint32_t to,
                  uint64_t extra_us);
/* Changes the hostility from now on. */
void sim_net_hostile(struct sim_net *net, uint32_t loss, uint32_t twice,
                     uint32_t overtaken);
bool sim_net_is_hostile(const struct sim_net *net);
uint64_t sim_net_extra_us(const struct sim_net *net, uint32_t from,
                          uint32_t to);
/* Tells `trace` what becomes of messages between nodes; NULL: nobody. */
void sim_net_trace(struct sim_net *net, struct sim_trace *trace);
void sim_net_stats(const struct sim_net *net, struct sim_net_stats *out);

#endif

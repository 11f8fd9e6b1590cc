/* trace.h - what happened in a run, kept so that it can be drawn (draw.h). A world without one pays a pointer test for each record.
 *
 *     look   after each event the recorder compares the world with how it was: who is up, who leads, which links are cut
 *     put    what no look can see is told by whoever knows: messages, log lines, calls, history, writes
 *
 * Memory is taken once, and shared with the process that draws: a run that ends by an ASSERT, or a signal, is drawn all the same. Each of
 * the four lists is a ring: what is too much drops the oldest, and the picture says so. True time, in us.
 *
 * A recorder changes nothing: it draws no random number and notes nothing in the trace hash. */
#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include "sim/client.h"

#define TRACE_MESSAGES_MAX   262144u
#define TRACE_HEARTBEATS_MAX 131072u
#define TRACE_LINES_MAX      262144u
#define TRACE_EVENTS_MAX     524288u
#define TRACE_LINE_BYTES     244u

/* A scope as one number: NS/gG/dD, or the group's own. */
#define TRACE_GROUP_SCOPE 255u
#define TRACE_SCOPE(group, device, own)                                        \
    ((group) << 8 | ((own) ? TRACE_GROUP_SCOPE : (device)))

/* What `who`, a, b, c and d are. The names go into the file. Hosts as in world.h. */
#define TRACE_KINDS(X)                                                         \
    X(node_up)          /* node */                                             \
    X(node_down)        /* node; a: enum trace_end */                          \
    X(node_paused)      /* node */                                             \
    X(node_resumed)     /* node */                                             \
    X(node_role)        /* node; a: enum raft_role, b: term */                 \
    X(node_commit)      /* node; a: index */                                   \
    X(node_disk)        /* node; a: enum trace_disk, b: times as slow */       \
    X(clock)            /* host; a: ppm, b: wall clock off by ms (signed) */   \
    X(link)             /* from; a: to, b: it is cut, c: slower by us */       \
    X(hostile)          /* a: frames get lost, doubled, overtaken */           \
    X(client_up)        /* client */                                           \
    X(client_down)      /* client */                                           \
    X(client_paused)    /* client */                                           \
    X(client_resumed)   /* client */                                           \
    X(client_throttled) /* client; a: its timers' grain in ms */               \
    X(client_right)     /* client; a: when its right to lead ends */           \
    X(session_opened)   /* client; a: session, b: scope */                     \
    X(session_closed)   /* a: session, b: enum Pb__Cause */                    \
    X(session_taken)    /* client, which attached it; a: session */            \
    X(granted)          /* scope; a: session, b: epoch, c: reason, d: rev. */  \
    X(vacated)          /* scope; a: session, b: epoch, c: cause, d: rev. */   \
    X(belief_begin)     /* client; a: scope, b: tab, c: session, d: epoch */   \
    X(belief_end)       /* client; a: scope, b: tab, c: session, d: epoch */   \
    X(call)             /* client; a: op, b: asked at, c: status, d: scope */  \
    X(write)            /* scope; a: session, b: epoch, c: it was accepted */  \
    X(phase)            /* a: enum trace_phase */

#define TRACE_NAME(name) TRACE_##name,
enum trace_kind {
    TRACE_KINDS(TRACE_NAME)
};
#undef TRACE_NAME

enum trace_end {
    TRACE_KILLED,
    TRACE_POWER,
    TRACE_STOPPED, /* as it was asked to */
    TRACE_ENDED,   /* by itself: its last line says why */
};

enum trace_disk {
    TRACE_DISK_WELL,
    TRACE_DISK_STALLED,
    TRACE_DISK_SLOW,
    TRACE_DISK_ERROR,
    TRACE_DISK_FULL,
};

enum trace_phase {
    TRACE_BOOT,
    TRACE_CHAOS,
    TRACE_CORE_HEALED,
    TRACE_ALL_HEALED,
    TRACE_QUIET,
};

/* A call's status, beside enum baton_status. */
#define TRACE_CALL_LOST    (-1) /* its process ended first */
#define TRACE_CALL_PENDING (-2) /* the run ended first */

struct trace_event {
    uint64_t at_us;
    enum trace_kind kind;
    uint32_t who;
    int64_t a;
    int64_t b;
    int64_t c;
    int64_t d;
};

enum trace_fate {
    TRACE_FLYING, /* on its way when the run ended, or held until then */
    TRACE_ARRIVED,
    TRACE_LOST,
    TRACE_NOBODY, /* nobody was there any more */
    TRACE_FULL,   /* not sent: the queue was full */
};

/* Flags of a message. */
#define TRACE_HELD      1u /* waited for a cut link to heal */
#define TRACE_DOUBLED   2u /* the second of two */
#define TRACE_OVERTAKEN 4u
#define TRACE_PRE       8u /* of a pre-vote */
#define TRACE_SUCCESS   16u
#define TRACE_FORCE     32u

struct trace_message {
    uint64_t serial;
    uint64_t sent_us;
    uint64_t until_us; /* when its fate was known */
    raft_term term;
    raft_index index;
    uint32_t entries_n;
    uint8_t from;
    uint8_t to;
    uint8_t type; /* enum raft_message_type; 0: hello */
    uint8_t fate;
    uint8_t flags;
};

struct trace_line {
    uint64_t at_us;
    raft_id node;
    char text[TRACE_LINE_BYTES]; /* cut if it must be */
};

/* All that was ever put; the last ones are kept, number i at [i % max]. */
struct sim_trace {
    struct trace_event events[TRACE_EVENTS_MAX];
    struct trace_message messages[TRACE_MESSAGES_MAX];
    struct trace_message heartbeats[TRACE_HEARTBEATS_MAX];
    struct trace_line lines[TRACE_LINES_MAX];
    uint64_t events_n;
    uint64_t messages_n;
    uint64_t heartbeats_n;
    uint64_t lines_n;
    uint64_t pending; /* the message that goes to the net next */
    struct trace_looks *looks;
};

/* Never NULL. */
struct sim_trace *trace_new(void);
void trace_free(struct sim_trace *t);

/* From now on, of this world, until it ends. */
void trace_begin(struct sim_world *w, struct sim_trace *t);
void trace_end(struct sim_world *w);
/* Notes what the last event changed. */
void trace_look(struct sim_world *w);

/* All of these do nothing if nobody draws. `at_us` is filled in. */
void trace_put(struct sim_world *w, const struct trace_event *e);
void trace_phase(struct sim_world *w, enum trace_phase phase);
void trace_line(struct sim_world *w, raft_id node, const char *line);
void trace_node_ended(struct sim_node *n, const char *why);
void trace_history(struct sim_world *w, const Pb__Event *e, uint32_t scope);
void trace_call(struct sim_client *c, const struct sim_op *op, int status);

/* A message between nodes, just before it's given to the net, which takes the handle and tells what becomes of it. 0: of no message. */
void trace_message(struct sim_world *w, const struct trace_message *m);
uint64_t trace_take(struct sim_trace *t);
/* A second one of the same. */
uint64_t trace_again(struct sim_trace *t, uint64_t handle);
void trace_flag(struct sim_trace *t, uint64_t handle, uint32_t flag);
void trace_fate(struct sim_trace *t, uint64_t handle, enum trace_fate fate,
                uint64_t at_us);

#endif

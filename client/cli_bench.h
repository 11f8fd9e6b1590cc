/* cli_bench.h - the load generator: cheap, because it shares the machine with the nodes that it measures.
 *
 *    template --copy, patch--> link (many frames a write) --> node --> link --> four fields of the answer --> histogram
 *
 * Requests are encoded once, with marks where numbers and names go; each one sent is a copy with those written over, of
 * the same length. Answers aren't decoded but looked through for what counts. Nothing is allocated while it runs. */
#ifndef CLIENT_CLI_BENCH_H
#define CLIENT_CLI_BENCH_H

#include "client/cli.h"

#define BENCH_CLIENTS_MAX 4096
/* Below WINDOW_MAX: that many may be outstanding on a lease. */
#define BENCH_PIPELINE_MAX 8000
#define BENCH_BODY_BYTES   512
#define BENCH_ABSENT       SIZE_MAX

struct histogram {
    uint64_t counts[64 * 32]; /* 32 steps for each power of two of ns */
    uint64_t n;
    uint64_t max_ns;
};
void histogram_add(struct histogram *h, uint64_t ns);
/* Upper edge of the step in which `part` (0.99) of all lie. */
uint64_t histogram_at(const struct histogram *h, double part);

struct bench_template {
    uint8_t body[BENCH_BODY_BYTES];
    size_t n;
    /* Where what goes; BENCH_ABSENT if it has none. */
    size_t id;
    size_t lease;
    size_t sequence;
    size_t first;
    size_t session;
    size_t secret;
    size_t group;
    size_t device;
    size_t tab;
    size_t number;
};

enum bench_kind {
    BENCH_OPEN,
    BENCH_CLOSE,
    BENCH_LEADER,
    BENCH_LEASE,
    BENCH_RENEW,
    BENCH_CLOSE_LEASE,
    BENCH_WATCH,
    BENCH_KINDS,
};

/* One request in flight. */
struct bench_slot {
    uint64_t sent_ns;
    uint64_t sequence; /* 0: has none */
    uint64_t session;  /* churn: opened, to be closed */
    uint64_t op;
    bool counts; /* not part of the warm-up */
};

struct bench_conn {
    struct link *link;
    uint32_t index;
    bool up;
    bool watching; /* synced */
    uint64_t lease;
    struct client_window window;
    struct bench_slot *slots;
    uint32_t *free;
    uint32_t free_n;
    uint64_t renew_ns; /* next renewal */
    uint64_t renew_sent_ns;
    uint64_t renew_number;
};

/* What of an answer counts. */
struct bench_answer {
    uint64_t id;
    uint64_t reply_id;
    uint32_t status;
    uint32_t next_ms;
    struct bytes message;
    bool watch;
};
/* False: it isn't a message. */
bool bench_look(struct bytes body, struct bench_answer *out);

enum bench_phase {
    PHASE_CONNECT, /* links and leases */
    PHASE_FILL,    /* sessions that the op needs */
    PHASE_RUN,
    PHASE_LEAVE,
    PHASE_OVER,
};

struct bench {
    struct cli *c;
    const char *op;
    uint64_t clients;
    uint64_t total;
    uint64_t pipeline;
    uint64_t sessions;
    uint64_t seconds;
    uint64_t tabs;
    uint64_t devices;
    uint32_t ttl_ms;
    bool keep;

    char endpoint[ROUTE_ADDRESS_BYTES]; /* of the leader */
    /* Of the leader, before the operations that count. */
    uint64_t commit_before;
    uint64_t commit_after;
    struct link_loop *loop;
    struct bench_conn *conns;
    struct bench_template templates[BENCH_KINDS];
    enum bench_phase phase;
    uint32_t run_id;
    uint64_t sent; /* operations of this phase */
    uint64_t done;
    uint64_t warm;   /* the first so many don't count */
    uint64_t goal;   /* of this phase */
    uint64_t filled; /* sessions there are */
    uint64_t errors;
    uint64_t begun_ns; /* the first operation that counts was sent */
    uint64_t ended_ns;
    uint64_t until_ns; /* renew: the run's end */
    uint64_t ready;    /* connections that are ready for the next phase */
    uint64_t *sent_ns; /* watch: when each operation was sent */
    struct histogram histogram;
    struct arena arena; /* watch: one part */
    char error[256];    /* the first one */
    bool failed;
};

uint64_t bench_now_ns(void);
/* How far the leader's log is; 0 if it doesn't say. */
uint64_t bench_commit(struct bench *b);

/* cli_bench_wire.c */
void bench_templates(struct bench *b);
/* A request on a free slot, which must be there. */
void bench_send(struct bench *b, struct bench_conn *k, enum bench_kind kind,
                uint64_t op, uint64_t session);
void bench_send_plain(struct bench *b, struct bench_conn *k,
                      enum bench_kind kind);
void bench_first_error(struct bench *b, const char *what, struct bytes message);

/* Ids of requests without a slot. */
#define BENCH_ID_LEASE 0x10000001u
#define BENCH_ID_RENEW 0x10000002u
#define BENCH_ID_CLOSE 0x10000003u
#define BENCH_ID_WATCH 0x10000004u

/* cli_bench_run.c */
/* Opens links and leases, fills, runs, leaves. False: b->error says why. */
bool bench_run(struct bench *b);

#endif

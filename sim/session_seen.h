/* session_seen.h - what the oracle of sessions knows, shared by its files and by nobody else: session_oracle.c, and watch_oracle.c, which
 * holds what watches tell against history; lease_oracle.c: who is gone ends in time; election_oracle.c: who comes next, and who is accused;
 * belief_oracle.c: what clients believe. */
#ifndef SIM_SESSION_SEEN_H
#define SIM_SESSION_SEEN_H

#include "proto/codec.h"
#include "sim/client.h"

#define GROUPS_MAX  SIM_GROUPS_MAX
#define DEVICES_MAX SIM_DEVICES_MAX

/* Who held a scope from a revision on; session 0: nobody. */
struct reign {
    uint64_t revision;
    uint64_t session;
    uint64_t epoch;
};

struct scope_seen {
    struct reign *reigns;
    uint32_t n;
    uint32_t capacity;
    uint64_t epoch;    /* highest ever granted */
    uint32_t grants_n; /* ever */
    uint64_t backup;   /* the session that was told to be next; 0: nobody */
    uint64_t offered;  /* the session that it's being handed to; 0: none */
    uint64_t since_us; /* of the last reign */
    uint64_t resource; /* highest that was accepted: the fence */
    /* the last grant came since the lease of the one before ended */
    bool by_expiry;
    uint64_t by_expiry_of; /* that session */
};

/* A session that was ever opened. */
struct session_seen {
    uint64_t id;
    uint64_t lease;
    bool live;
    bool expired;       /* its lease ended by time */
    bool orphan;        /* its lease ended, and it isn't on another one yet */
    uint64_t orphan_us; /* since when */
    bool observer;
    uint32_t group;
    uint32_t device;
    uint32_t client; /* whose name its tab has */
    uint32_t serial;
};

/* A lease that was ever opened. */
struct lease_seen {
    uint64_t id;
    uint64_t opened_us;
    uint32_t client; /* that it was opened for */
    bool ended;
};

/* One event of the load's namespace: what a watch must tell, in order. */
struct told {
    uint64_t revision;
    uint64_t session;
    uint64_t epoch;
    uint64_t at_us;
    int kind;
};

/* A tab whose opening nobody was told the end of. */
struct unknown_open {
    uint32_t client;
    uint32_t serial;
};

struct session_oracle {
    struct sim_world *world;
    struct scope_seen scopes[GROUPS_MAX]
                            [DEVICES_MAX + 1]; /* the last: the group's */
    struct session_seen *sessions;             /* by id */
    uint32_t sessions_n;
    uint32_t sessions_capacity;
    uint32_t live_n;           /* sessions */
    struct lease_seen *leases; /* by id */
    uint32_t leases_n;
    uint32_t leases_capacity;
    struct told *told;
    uint32_t told_n;
    uint32_t told_capacity;
    uint64_t revision; /* of the last events */
    uint64_t
        answered; /* the highest revision that a linearizable answer reflected */
    uint64_t ok_us;    /* when something linearizable was answered last */
    uint64_t asked_us; /* the first call since then */
    uint64_t
        gap_us; /* the longest time from such a call to the next such answer */
    uint64_t overlap_us;
    struct unknown_open *unknown;
    uint32_t unknown_n;
    uint32_t unknown_capacity;
    uint32_t watch_at[SIM_CLIENTS_MAX]; /* the next of `told` */
    bool watch_synced[SIM_CLIENTS_MAX];
    uint8_t *memory;
    struct arena arena;
};

struct scope_seen *scope_seen_at(struct session_oracle *o, uint32_t group,
                                 uint32_t device, bool group_scope);
struct session_seen *session_seen_of(struct session_oracle *o, uint64_t id);
/* Who holds now; session 0: nobody. */
static inline struct reign scope_seen_now(const struct scope_seen *s)
{
    return s->n > 0 ? s->reigns[s->n - 1] : (struct reign){0, 0, 0};
}

/* lease_oracle.c: leases begin and end. */
void lease_seen_opened(struct session_oracle *o, const Pb__Event *e);
void lease_seen_ended(struct session_oracle *o, uint64_t id);
/* election_oracle.c: before what happened becomes part of the scope's history. */
void election_seen(struct session_oracle *o, const Pb__Event *e,
                   struct scope_seen *scope);

#endif

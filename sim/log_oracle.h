/* log_oracle.h - what the log says, against what came of it: exactly-once (S13) and conditional expiry (S8) can only be judged by the
 * command itself. A part of the Raft oracle, which sees every entry; owns its memory, and starts out zeroed. */
#ifndef SIM_LOG_ORACLE_H
#define SIM_LOG_ORACLE_H

#include "sim/facts.h"
#include "sim/world.h"

/* What of an entry's command matters here. */
struct said {
    raft_term term; /* 0: no command, or one that isn't of interest */
    raft_term proposer_term;
    uint64_t lease;
    uint64_t sequence; /* a client's; 0: the leader's own */
    uint64_t renewals; /* that an expiry is conditional on */
    bool expire;
};

struct log_oracle {
    struct said *at; /* from index 1 */
    raft_index n;
    /* (lease, sequence) -> the revision at which it was carried out */
    struct facts done;
    /* lease -> the revision at which time ended it */
    struct facts expired;
    /* (lease, sequence) -> the first committed entry that asked for it */
    struct facts asked;
    raft_index
        settled; /* looked at up to here, once some node had applied it */
};

void log_oracle_fini(struct log_oracle *o);
/* An entry that nobody appended before. `scratch` is reset. */
void log_oracle_entry(struct log_oracle *o, const struct store_entry *e,
                      struct arena *scratch);
/* What a node has applied may be the first to be: what came to nothing is counted. */
void log_oracle_settled(struct log_oracle *o, const struct sim_node *n);
/* A node applied the entry at this revision, just now, and it had events. */
void log_oracle_applied(struct log_oracle *o, struct sim_node *n,
                        raft_index revision);

#endif

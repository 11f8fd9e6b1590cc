/* world.h - everything that is simulated, in one place: what the files of sim/ share.
 *
 *    baton_sim_main.c   the command             report.c    what a run came to, for people and tools
 *    run.c              a run and its phases    chaos.c     what a seed draws: options, load and faults
 *    node.c             a node: the real turn   client.c    a client: the real libbaton, and what its program does
 *    net.c, store.c     what they stand on      link.c, system.c   what libbaton stands on
 *    operator.c         who adds and removes nodes
 *    raft_oracle.c      R1 .. R21               session_oracle.c   S1 .. S20, what clients believe, the fenced resource
 *    history.c          what clients were told  linear.c           can it have been so?
 *    trace.c            a run, recorded         draw.c, draw.html  and drawn
 *    cover.c            what happened, counted  amnesia.c          who may forget
 *
 * One run is one process, since a broken ASSERT ends it; nothing in it depends on anything but its seed. Time is true time, in us;
 * each host has a clock of its own, that runs a little fast or slow. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "node/turn.h"
#include "sim/net.h"
#include "sim/store.h"

#define SIM_NODES_MAX   9u
#define SIM_CLIENTS_MAX 48u
#define SIM_GROUPS_MAX  32u
#define SIM_DEVICES_MAX 16u /* in each */
#define SIM_MS          1000u
#define SIM_S           1000000u

/* Hosts: nodes are 1 .. SIM_NODES_MAX, clients come behind them, and then the operator. */
#define SIM_HOST_OF_CLIENT(c) (SIM_NODES_MAX + 1u + (c))
#define SIM_HOST_OF_OPERATOR  SIM_HOST_OF_CLIENT(SIM_CLIENTS_MAX)

/* --- clocks ----------------------------------------------------------------------------------------------------------- */

/* Runs during suspend. local = base + (true - since) * (1 + ppm / 1e6); setting the rate sets the anchor anew, so it never jumps. */
struct sim_clock {
    uint64_t since_us;
    uint64_t base_us;
    int32_t ppm;
    int64_t wall_offset_ms; /* may jump: nobody may care */
};
uint64_t sim_clock_ms(const struct sim_clock *c, uint64_t true_us);
/* The earliest true time at which it shows `ms`. */
uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t ms);
void sim_clock_rate(struct sim_clock *c, uint64_t true_us, int32_t ppm);

/* --- options ---------------------------------------------------------------------------------------------------------- */

/* What a run is made of, beside its faults. Drawn from the seed, or given by a scenario. */
struct sim_options {
    uint64_t seed;
    uint32_t nodes_n;  /* that the cluster begins with */
    uint32_t spares_n; /* that may be added */
    uint32_t clients_n;
    uint64_t chaos_us; /* how long faults go on */
    uint64_t election_ms;
    uint64_t heartbeat_ms;
    uint32_t ttl_ms;
    uint32_t rate; /* operations a second, all clients together */
    uint32_t groups_n;
    uint32_t devices_n; /* a group */
    uint32_t tabs_n;    /* a client */
    uint32_t drift_ppm; /* the worst that clocks do */
    uint64_t delay_min_us;
    uint64_t delay_max_us;
    uint64_t disk_min_us; /* of a transaction */
    uint64_t disk_max_us;
    uint32_t checkpoint_entries;
    uint32_t log_keep_entries;
    uint64_t
        read_bytes; /* of the store, at a time: how many parts a snapshot has; 0: as asked */
    uint64_t client_queue_bytes; /* that a client's stream holds, each way */
    uint32_t events_keep;  /* revisions of history that are kept, at least */
    uint32_t sessions_max; /* in the cluster */
    bool lease_reads;
    bool calm;    /* no faults */
    bool changes; /* members are added and removed, in between */
    bool linear;  /* histories are checked, whichever seed it is */
};

/* --- coverage ---------------------------------------------------------------------------------------------------------- */

/* Things that must happen now and then, or the simulator doesn't look where it should. */
#define SIM_COVERAGE(X)                                                        \
    X(elections)                                                               \
    X(leader_changes)                                                          \
    X(kills)                                                                   \
    X(power_losses)                                                            \
    X(lost_unsynced)                                                           \
    X(kept_unacknowledged)                                                     \
    X(wipes)                                                                   \
    X(images)                                                                  \
    X(crc_reject)                                                              \
    X(torn_meta)                                                               \
    X(map_full)                                                                \
    X(restarts)                                                                \
    X(pauses)                                                                  \
    X(suspends)                                                                \
    X(cuts)                                                                    \
    X(one_way_cuts)                                                            \
    X(partitions)                                                              \
    X(clogs)                                                                   \
    X(hostile_times)                                                           \
    X(frames_lost)                                                             \
    X(frames_doubled)                                                          \
    X(frames_overtaken)                                                        \
    X(frames_held)                                                             \
    X(disk_stalls)                                                             \
    X(disk_failures)                                                           \
    X(disk_full)                                                               \
    X(clock_changes)                                                           \
    X(wall_jumps)                                                              \
    X(amnesia_refused)                                                         \
    X(transfers)                                                               \
    X(truncations)                                                             \
    X(snapshots_installed)                                                     \
    X(checkpoints)                                                             \
    X(commits)                                                                 \
    X(ops_ok)                                                                  \
    X(ops_refused)                                                             \
    X(ops_unknown)                                                             \
    X(reads)                                                                   \
    X(grants)                                                                  \
    X(leases_expired)                                                          \
    X(handoffs)                                                                \
    X(beliefs)                                                                 \
    X(overlaps_fenced)                                                         \
    X(writes_accepted)                                                         \
    X(writes_fenced)                                                           \
    X(watch_events)                                                            \
    X(watch_resets)                                                            \
    X(attaches)                                                                \
    X(claims_rejected)                                                         \
    X(split_vote)                                                              \
    X(prevote_reject_sticky)                                                   \
    X(stepdown_checkquorum)                                                    \
    X(stale_term_resp_ignored)                                                 \
    X(commit_blocked_old_term)                                                 \
    X(snapshot_chunk_crash)                                                    \
    X(snapshot_rejected_old)                                                   \
    X(transfer_done)                                                           \
    X(transfer_timeout)                                                        \
    X(readindex_retry)                                                         \
    X(readindex_wait_own_term)                                                 \
    X(lease_read_refused)                                                      \
    X(enospc_leader)                                                           \
    X(eio_abort)                                                               \
    X(ack_regression_seen)                                                     \
    X(renew_vs_expire_1tick)                                                   \
    X(expire_refused_seq)                                                      \
    X(hb_refused_no_quorum)                                                    \
    X(session_reconnect_other_node)                                            \
    X(dedupe_hit_after_failover)                                               \
    X(handoff_dead_target)                                                     \
    X(epoch_gt_10)                                                             \
    X(watch_overflow_resync)                                                   \
    X(watch_resume_compacted)                                                  \
    X(unknown_outcome_applied)                                                 \
    X(unknown_outcome_lost)                                                    \
    X(limits_refused)                                                          \
    X(linear_checked)                                                          \
    X(learner_added)                                                           \
    X(learner_promoted)                                                        \
    X(joint_left)                                                              \
    X(trunc_conf_entry)                                                        \
    X(members_removed)                                                         \
    X(leader_removed)

#define SIM_COUNTER(name) uint64_t name;
struct sim_coverage {
    SIM_COVERAGE(SIM_COUNTER)
};
#undef SIM_COUNTER

/* --- what went wrong ---------------------------------------------------------------------------------------------------- */

enum sim_verdict {
    SIM_PASS = 0,
    SIM_UNSAFE = 1,
    SIM_NOT_LIVE = 2,
    SIM_VACUOUS = 3,   /* too little happened to say anything */
    SIM_UNDECIDED = 4, /* a history was too much to be checked */
};

struct sim_failure {
    enum sim_verdict verdict;
    char invariant[16]; /* "R7", "S4", "L1"; "ASSERT": the product's own */
    char text[400];
    uint64_t at_us;
};

/* --- nodes -------------------------------------------------------------------------------------------------------------- */

struct sim_world;
struct sim_input;

struct sim_peer {
    bool wanted;
    struct sim_stream *out; /* that we dialled */
    struct sim_stream *in;  /* that it dialled */
    uint64_t backoff_us;
    uint64_t up_us;       /* since when `out` is open */
    bool unreachable;     /* it was dialled in vain, last */
    uint64_t dial_serial; /* tells a redial that was overtaken */
};

struct sim_disk_faults {
    bool stalled;
    uint32_t slow; /* transactions take so many times as long; 0: once */
    enum store_failure failure;
};

/* How often, in a second that began then. */
struct sim_budget {
    uint64_t since_us;
    uint32_t n;
};

struct sim_node {
    struct sim_world *world;
    raft_id id;
    bool machine; /* the machine runs */
    bool up;      /* so does the process */
    bool paused;
    bool ready; /* somebody set it up: a founder, or one to be added */
    bool join;
    uint32_t told; /* the nodes that its settings name: a set */
    bool
        forgot; /* its disk was wiped, or an older image took its place: the others must notice */
    bool rotten;  /* what its disk has is damaged: it must notice itself */
    bool refused; /* and did: nobody starts it any more */
    bool anew;    /* since then it was added anew */
    bool stopping;
    struct sim_clock clock;
    struct sim_random random;
    struct sim_disk *disk;
    struct sim_disk *image; /* an old copy of it; NULL: none */
    struct sim_disk *lost;  /* what it had and forgot; NULL: nothing */
    struct store *store;
    struct transport *transport;
    struct turn *turn;
    struct sim_input *inputs; /* oldest first */
    struct sim_input **inputs_end;
    struct sim_peer peers[SIM_NODES_MAX + 1];
    uint64_t run_us;    /* when its next turn is; UINT64_MAX: none is planned */
    uint32_t run_place; /* in the queue */
    uint64_t busy_us;   /* the turn at hand takes until then */
    uint32_t writing_n; /* batches in the transaction at hand */
    bool write_planned;
    uint64_t write_serial;
    struct sim_disk_faults faults;
    uint64_t turns;
    struct sim_budget frames[SIM_NODES_MAX + 1]; /* to that node */
};

/* Makes the process of a machine that runs; false: its data can't be used, or it runs already. */
bool sim_node_start(struct sim_node *n);
/* kill -9: what the disk was given may still get there. */
void sim_node_kill(struct sim_node *n);
/* The machine loses power: what wasn't synced may be gone. */
void sim_node_power_off(struct sim_node *n);
/* SIGTERM. */
void sim_node_stop(struct sim_node *n);
void sim_node_pause(struct sim_node *n, bool paused);
/* Something changed that its disk waited for. */
void sim_node_disk(struct sim_node *n);
/* Plans a turn, unless an earlier one is planned. */
void sim_node_wake(struct sim_node *n, uint64_t at_us);
/* Of a node that's down: its data directory is gone. */
void sim_node_wipe(struct sim_node *n);
/* Keeps a copy of its disk; puts that in the place of the disk of a node that's down. */
void sim_node_image(struct sim_node *n);
/* It forgot, and nobody has added it anew: what it says counts for nothing. */
bool sim_node_keeps_out(const struct sim_node *n);
void sim_node_restore(struct sim_node *n);
/* A bit of its disk flips, in the row with that number, of a node that's down. */
void sim_node_rot(struct sim_node *n, uint32_t row);
/* By its own word. */
bool sim_node_leads(const struct sim_node *n);
void sim_node_fini(struct sim_node *n);

/* What the net tells a node; see sim_net_hooks. */
bool sim_node_accept(struct sim_node *n, struct sim_stream *s);
void sim_node_up(struct sim_node *n, struct sim_stream *s);
void sim_node_frame(struct sim_node *n, struct sim_stream *s, uint32_t side,
                    struct bytes body);
void sim_node_down(struct sim_node *n, struct sim_stream *s, uint32_t side,
                   const char *why);
void sim_node_room(struct sim_node *n, struct sim_stream *s);

/* --- the world ------------------------------------------------------------------------------------------------------------- */

struct sim_client;
struct sim_record;
struct raft_oracle;
struct session_oracle;
struct cover;
struct sim_history;
struct sim_operator;

struct sim_world {
    struct sim_options options;
    struct sim_queue queue;
    uint64_t now_us;
    struct sim_net *net;
    struct sim_node nodes[SIM_NODES_MAX + 1]; /* 0 isn't used */
    uint32_t nodes_n; /* 1 .. nodes_n exist, spares last */
    struct sim_operator *operator;
    struct sim_client *clients[SIM_CLIENTS_MAX];
    uint32_t clients_n;
    uint64_t incarnations;
    char settings[TURN_SETTINGS_BYTES]; /* that nodes tell each other */
    struct raft_oracle *raft;
    struct session_oracle *sessions;
    struct cover *cover;
    struct sim_history *history; /* NULL: it isn't kept */
    struct sim_coverage coverage;
    struct sim_failure failure;
    uint64_t trace_hash; /* of all that happened, in order */
    uint64_t events_n;
    void (*log)(struct sim_world *w, raft_id node,
                const char *line); /* NULL: nobody reads it */
    int64_t healed; /* nodes that were made whole, and stay so: a set */
    struct sim_record *record; /* action.h; NULL: nobody wants to know */
    struct sim_trace *trace;   /* NULL: nobody draws it */
    uint64_t
        whole_us; /* since when nothing is broken; UINT64_MAX: something is */
    uint32_t instant_n; /* events that happened at this very moment */
    bool quiet; /* chaos is over: the load may be asked to come to its end */
};

struct sim_world *sim_world_new(const struct sim_options *options);
void sim_world_free(struct sim_world *w);
/* Goes on until then, or until something went wrong (false). */
bool sim_world_run(struct sim_world *w, uint64_t until_us);
/* Something to happen in a while: `what` without its time. */
void sim_world_later(struct sim_world *w, uint64_t in_us,
                     const struct sim_event *what);
/* The first failure counts: an invariant's name, and a sentence. */
void sim_world_fail(struct sim_world *w, enum sim_verdict verdict,
                    const char *invariant, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Makes what happened part of the trace hash. */
void sim_world_note(struct sim_world *w, uint64_t a, uint64_t b, uint64_t c);
/* The leader of the highest term, by the nodes' own word; NULL: nobody leads. */
struct sim_node *sim_world_leader(struct sim_world *w);

/* The one that runs: what an ASSERT, and libbaton's clock, belong to. */
struct sim_world *sim_world_now(void);

#endif

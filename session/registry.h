/* registry.h - the replicated registry: leases, sessions, devices, groups, and who leads them. A pure function of the log.
 *
 *     namespace --< group --< device --< session >-- lease
 *      policy       scope      scope       tab        TTL, client window
 *                 (led by a  (led by a
 *                  device)    session)
 *
 * registry_apply() takes one committed entry and gives at most one reply and a bounded list of events. Nothing else changes
 * it. Time in here is the entry's stamp, which never goes back. Results never depend on slots, on the order of lists or of a
 * hash table: replicas that loaded rows and replicas that replayed the log hold the same objects in different places.
 *
 * Owns the memory given at init; allocates nothing. Limits that change results are replicated (SetLimits, Policy); the
 * pools below are at least twice as large, and running out of one is a bug or a broken configuration: ASSERT.
 *
 * Rows: what changed since the last checkpoint is remembered; registry_rows_next() walks it, encodes each row once, and keeps
 * the state hash (a sum over all rows, so independent of order) up to date. */
#ifndef SESSION_REGISTRY_H
#define SESSION_REGISTRY_H

#include "baton/v1/client.pb-c.h"
#include "baton/v1/command.pb-c.h"
#include "proto/arena.h"
#include "proto/lineage.h"
#include "proto/status.h"
#include "session/event.h"

struct registry;

/* Capacities of the pools, in objects; all nodes of a cluster use the same ones (REGISTRY_LIMITS_DEFAULT), tests smaller ones. */
struct registry_limits {
    uint32_t namespaces_n;
    uint32_t groups_n;
    uint32_t devices_n;
    uint32_t sessions_n;
    uint32_t leases_n;
    uint32_t window_blocks_n; /* of 16 replies */
    /* scopes that are being handed over, are vacant-with-history, flapping or audited */
    uint32_t scope_extras_n;
    /* sessions that are detached, cooling down, demoted or slow */
    uint32_t session_extras_n;
    uint32_t states_n; /* states on their way to a successor, 64 KiB each */
};
#define REGISTRY_LIMITS_DEFAULT                                                \
    {                                                                          \
        .namespaces_n = 1u << 16, .groups_n = 1u << 22, .devices_n = 1u << 22, \
        .sessions_n = 1u << 22, .leases_n = 1u << 20,                          \
        .window_blocks_n = 1u << 21, .scope_extras_n = 1u << 22,               \
        .session_extras_n = 1u << 22, .states_n = 1u << 12,                    \
    }

/* Bounds of what one entry may cause. */
#define EVENTS_MAX         512  /* events of one entry */
#define SWEEP_MAX          64   /* sessions in one SweepLease */
#define TOUCHED_MAX        4096 /* leases in one Touched */
#define DUE_MAX            256
#define LEASE_TTL_MIN_MS   1000
#define LEASE_TTL_MAX_MS   600000
#define WINDOW_REPLIES_MAX 8192 /* of one client, not yet acknowledged */
#define STATE_BYTES_MAX    65536
#define TEXT_BYTES_MAX     256

struct registry_entry {
    uint64_t index;
    uint64_t term;
    uint64_t time_ms; /* cluster time; >= that of the entry before */
    /* NULL: nothing to do but move the index and the time (no-op, configuration) */
    const Pb__Command *command;
};

struct reply {
    enum baton_status status;
    uint32_t reason;
    uint64_t id;
    uint64_t epoch;
    uint64_t revision;
    int64_t detail;
};

/* What applying one entry gave. The views in events are valid until the next apply. */
struct registry_out {
    bool has_reply; /* the entry carried a client's or the leader's command */
    bool duplicate; /* the reply is an older one, found in the window */
    struct reply reply;
    uint32_t events_n;
    struct event events[EVENTS_MAX];
};

size_t registry_bytes(const struct registry_limits *limits);

/* `memory`: registry_bytes(), zeroed, aligned to 64; may be a lazily backed mapping: only what's used is touched. */
struct registry *registry_init(void *memory,
                               const struct registry_limits *limits);

/* Random bits of this node's own, before the first entry or row: they decide where in memory named things lie, and nothing else, so that
 * nobody can choose names that make lookups slow. Without: 0. */
void registry_seed(struct registry *r, uint64_t seed);

/* Entries in order without a gap. Bad commands (of any bytes: the edge may have been wrong) are refused in the reply, never
 * trusted. `out` needs no reset. */
void registry_apply(struct registry *r, const struct registry_entry *entry,
                    struct registry_out *out);

/* Every reference resolves, every list is consistent, holders and backups are what the slow oracle elects, heap order, counts. O(n). */
void registry_check(const struct registry *r);

/* --- rows ------------------------------------------------------------------------------------------------------------ */
struct row_change {
    struct bytes key;   /* <= 32 bytes */
    struct bytes value; /* empty: the row is deleted */
};
/* Room that a row needs in the arena, its message included. */
#define ROW_BYTES_MAX (STATE_BYTES_MAX + 8192)
/* Next row that changed since it was last walked; false at the end. Encoded into `arena`, which has ROW_BYTES_MAX free (reset it between
 * rows, or don't, as you like). The views in the events of the last apply end here. After the end, registry_hash() is the state
 * hash at the applied index. Always walk to the end. */
bool registry_rows_next(struct registry *r, struct arena *arena,
                        struct row_change *out);
uint64_t registry_hash(const struct registry *r);
/* Deleted objects wait for the walk: true when so many do that the shell should checkpoint soon. */
bool registry_wants_checkpoint(const struct registry *r);

/* Loading, into a fresh registry: every row in key order, then finish with the checkpoint's index. INVALID: a row doesn't decode or
 * refers to nothing: the checkpoint is damaged. `scratch` for decoding, reset by the callee. */
MUST_USE enum baton_status registry_load_row(struct registry *r,
                                             struct bytes key,
                                             struct bytes value,
                                             struct arena *scratch);
MUST_USE enum baton_status registry_load_end(struct registry *r,
                                             uint64_t applied);

/* --- time: what the leader proposes --------------------------------------------------------------------------------- */
/* Deadline of the earliest thing that is due (cluster time), UINT64_MAX if none. */
uint64_t registry_due_ms(const struct registry *r);
/* Commands for what is due at `now_ms`, at most `max` (<= DUE_MAX), into out[], fields in `arena`: EndGrace, ScopeDue,
 * SweepLease. Changes nothing: asked again before they applied, it gives the same ones. */
uint32_t registry_due(const struct registry *r, uint64_t now_ms,
                      Pb__Command *out, uint32_t max, struct arena *arena);

/* --- looking --------------------------------------------------------------------------------------------------------- */
/* A node as it was when it was seen last. */
struct node_past {
    uint64_t incarnation;
    struct lineage_record record; /* boot: of that start */
};

struct scope_view {
    struct bytes namespace_name;
    struct bytes group;
    struct bytes device; /* of the scope; empty for a group scope */
    bool group_scope;
    uint64_t epoch;   /* 0: never granted */
    uint64_t session; /* 0: vacant */
    uint64_t lease;
    struct bytes holder_device;
    struct bytes holder_tab;
    struct bytes relay; /* label of the lease */
    uint64_t backup;    /* session that would be next, 0 */
    uint64_t granted_ms;
    uint64_t previous_session;
    uint64_t previous_epoch;
    enum grant_reason reason;
    bool handing_over;
    uint64_t offer;    /* handing over: index of the offer */
    uint64_t offer_to; /* session */
    bool accepted;
    uint64_t deadline_ms;
};

struct session_view {
    uint64_t id;
    uint64_t lease;
    struct bytes namespace_name;
    struct bytes group;
    struct bytes device;
    struct bytes tab;
    struct capabilities caps;
    int32_t score;
    uint32_t attachment;
    uint32_t namespace_slot;
    uint32_t group_slot;
    enum role role; /* on its device */
    bool group_leader;
    bool group_backup;
    bool observer;
    bool detached;
    uint64_t opened_ms;
    uint64_t device_epoch; /* under which it leads, 0 */
    uint64_t group_epoch;
};

struct lease_view {
    uint64_t id;
    uint32_t slot;
    uint32_t ttl_ms;
    uint32_t sessions_n;
    uint64_t renewals;   /* logged proofs of life: Expire names it */
    uint64_t touched_ms; /* stamp of the last one */
    bool ended;
    struct bytes label;
};

struct registry_counts {
    uint64_t namespaces;
    uint64_t groups;
    uint64_t devices;
    uint64_t sessions;
    uint64_t detached;
    uint64_t leases; /* not ended */
    uint64_t batons; /* scopes that are held */
};

uint64_t registry_applied(const struct registry *r);
uint64_t registry_time_ms(const struct registry *r);
uint64_t registry_wall_ms(
    const struct registry
        *r); /* of the same moment, for people; 0 before the first term */
void registry_counts(const struct registry *r, struct registry_counts *out);

/* INVALID (malformed path), NOT_FOUND (no such scope, or vacant: then *out is filled all the same, session 0, and *out_reason
 * says which). An empty device: the group's scope. */
MUST_USE enum baton_status registry_scope(const struct registry *r,
                                          const Pb__Path *path,
                                          struct scope_view *out,
                                          uint32_t *out_reason);
MUST_USE enum baton_status registry_session(const struct registry *r,
                                            uint64_t id,
                                            struct session_view *out);
MUST_USE enum baton_status registry_lease(const struct registry *r, uint64_t id,
                                          struct lease_view *out);
/* Every candidate's score part by part; result, strings and arrays in `arena`, at most `max` candidates, best first, the rest counted in left_out. */
MUST_USE enum baton_status registry_explain(const struct registry *r,
                                            const Pb__Path *path, uint32_t max,
                                            struct arena *arena,
                                            Pb__ExplainResult *out,
                                            uint32_t *out_reason);
/* The namespace's policy with defaults filled in (also for a namespace that doesn't exist yet: all defaults). */
MUST_USE enum baton_status registry_policy(const struct registry *r,
                                           struct bytes namespace_name,
                                           struct arena *arena,
                                           Pb__Policy *out);
/* State handed over to the holder of (scope, epoch), if it is that session. */
MUST_USE enum baton_status
registry_state(const struct registry *r, const Pb__Path *path, uint64_t session,
               uint64_t epoch, struct bytes *out, uint32_t *out_reason);
/* What a claim is worth: CAUSE_NONE (true), STALE or FORGED; out_scope as registry_scope(). */
enum cause registry_claim(const struct registry *r, const Pb__Path *path,
                          uint64_t session, uint64_t epoch,
                          struct scope_view *out_scope);
/* True if this very claim is on record already: no second entry for it. */
bool registry_claim_audited(const struct registry *r, const Pb__Path *path,
                            uint64_t session, uint64_t epoch);
/* True if it's an update by the session's lease, and would change nothing after quantising: answered without an entry, OK with the
 * session's id and the attachment as detail. */
bool registry_update_is_noop(const struct registry *r,
                             const Pb__Command *command);
/* Edge check of a client's command before it is proposed: the same functions as apply uses, on the fields alone. */
MUST_USE enum baton_status registry_check_command(const Pb__Command *command,
                                                  uint32_t *out_reason,
                                                  int64_t *out_detail);
/* What's on record of this node; false if it was never seen. */
bool registry_node(const struct registry *r, uint32_t node,
                   struct node_past *out);

/* Walks. Slots run from 1 to registry_*_slots(); an empty slot gives false. Namespace and group slots appear in events; a slot may be
 * used again for another object once its own is gone (its last event tells). */
uint32_t registry_group_slots(const struct registry *r);
uint32_t registry_session_slots(const struct registry *r);
uint32_t registry_lease_slots(const struct registry *r);
uint32_t registry_find_namespace(const struct registry *r,
                                 struct bytes name); /* 0: none */
uint32_t registry_find_group(const struct registry *r,
                             struct bytes namespace_name,
                             struct bytes group); /* 0: none */
uint32_t
registry_group_namespace(const struct registry *r,
                         uint32_t group); /* namespace slot; 0: empty slot */
bool registry_group_scope(const struct registry *r, uint32_t group,
                          struct scope_view *out);
/* The devices' scopes and the sessions of one group: *cursor 0 first; false at the end. Not across an apply, unless
 * registry_group_resumes(). */
bool registry_group_device(const struct registry *r, uint32_t group,
                           uint32_t *cursor, struct scope_view *out);
bool registry_group_session(const struct registry *r, uint32_t group,
                            uint64_t *cursor, struct session_view *out);
/* Both: each session, and with the first of a device its scope. */
struct group_row {
    struct session_view session;
    bool first; /* on its device: */
    struct scope_view device;
};
bool registry_group_row(const struct registry *r, uint32_t group,
                        uint64_t *cursor, struct group_row *out);
/* Is the session that gave this cursor still in the group? Then a walk can go on behind it; what came into the group since its
 * beginning, it doesn't see. */
bool registry_group_resumes(const struct registry *r, uint32_t group,
                            uint64_t cursor, uint64_t session);
bool registry_session_at(const struct registry *r, uint32_t slot,
                         struct session_view *out);
/* Is there a session on this lease? Its slot is the same for as long as it lives. */
bool registry_session_is_of(const struct registry *r, uint32_t slot,
                            uint64_t lease);
/* The scope that it leads, the group's or its device's; false: it doesn't. */
bool registry_session_leads(const struct registry *r, uint32_t slot, bool group,
                            struct scope_view *out);
bool registry_lease_at(const struct registry *r, uint32_t slot,
                       struct lease_view *out);

#endif

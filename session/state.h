/* state.h - the inside of the registry: pools, slots and the objects in them. For session/'s own files only.
 *
 * An object is named by its slot in a pool (from 1; 0 is none), linked by slots, and found by hash. Hot fields first; what
 * few objects need (a hand-off running, a detached session) lives in an "extra" of its own, so that a million sessions stay
 * within 700 bytes each, devices, groups, names and tables included.
 *
 * Whoever changes an object marks it dirty (dirty_*): its row is written at the next checkpoint, and its hash enters the
 * state hash then. */
#ifndef SESSION_STATE_H
#define SESSION_STATE_H

#include "session/registry.h"

typedef uint32_t slot;

/* Fixed-size objects in one array; freed ones form a list. Slot 0 isn't used. */
struct pool {
    uint8_t *base;
    uint32_t item_bytes;
    uint32_t capacity;
    uint32_t high; /* slots 1 .. high were used at some time */
    uint32_t live;
    slot free_head;
};

/* Linear hashing: grows one bucket at a time, so that no insert is long. Chains run through the objects; see table.h. */
struct table {
    slot *heads;
    uint32_t hash_at;  /* where in an object its hash is, */
    uint32_t next_at;  /* and the next slot of its chain */
    uint32_t capacity; /* buckets at most; a power of two */
    uint32_t level;    /* 1 << level buckets, and `split` more */
    uint32_t split;
    uint32_t n;
};

/* First fields of every object that has a row. */
struct object {
    uint64_t row_hash; /* of the row as last walked; 0: never written */
    slot hash_next;
    uint32_t hash;
    slot dirty_next; /* list of its pool; valid if FLAG_DIRTY */
    uint16_t flags;
    uint16_t reserved;
};
#define FLAG_DIRTY 1u
#define FLAG_DELETED                                                           \
    2u /* unlinked; freed by the walk, once its row is deleted */
#define FLAG_OBSERVER 4u
#define FLAG_DETACHED 8u
#define FLAG_ENDED    16u /* lease */
#define FLAG_HOLDER_GRACE_OVER                                                 \
    32u /* detached for longer than a holder may be: not eligible */
#define FLAG_CLOSING                                                           \
    64u /* lease: ended by its client, sessions are closed, not detached */

typedef uint32_t name_ref; /* into struct names; 0: empty */

/* Variable-length names in size classes of 16, 32, 64 and 136 bytes, one byte of length in front and a NUL behind. A name lives
 * as long as its object, and that until the walk: so views in events outlive the entry that closes what they name. */
struct names {
    struct pool classes[4];
};

enum scope_phase {
    PHASE_IDLE = 0,     /* vacant or held */
    PHASE_OFFERED = 1,  /* waiting for the successor's answer */
    PHASE_YIELDING = 2, /* accepted; waiting for the holder to hand over */
};

/* Leadership of one group or device, see election.h. Members are sessions (device scope) or devices (group scope). */
struct scope {
    uint64_t epoch; /* of the last grant; 0: never */
    uint64_t granted_ms;
    /* id; 0: vacant. Group scope: the leading device's leader tab */
    uint64_t holder_session;
    uint64_t previous_epoch;
    uint64_t previous_session;
    slot holder;      /* member; 0: vacant */
    slot backup;      /* member; 0: none */
    slot extra;       /* struct scope_extra; 0: none */
    uint32_t heap_at; /* position in the due heap; 0: not in it */
    uint8_t phase;
    uint8_t reason; /* enum grant_reason */
    uint16_t reserved;
};

struct scope_extra {
    uint64_t offer;          /* index of the entry that offered */
    uint64_t offer_session;  /* to whom */
    uint64_t deadline_ms;    /* of the phase */
    uint64_t moves_since_ms; /* breaker */
    uint64_t breaker_until_ms;
    uint64_t audited_session; /* last false claim on record */
    uint64_t audited_epoch;
    uint64_t state_epoch; /* `state` is for the holder under this epoch */
    slot offer_to;        /* member */
    slot state;           /* struct state_blob; 0: none */
    uint32_t moves;
    uint8_t offer_reason;
    uint8_t reserved[3];
};

struct state_blob {
    uint32_t n;
    uint8_t data[STATE_BYTES_MAX];
};

struct namespace_ {
    struct object object;
    uint64_t born; /* index of the entry that made it: key of its row */
    name_ref name;
    uint32_t sessions_n;
    uint32_t groups_n;
    uint32_t policy_version; /* +1 for each SetPolicy */
    uint32_t heap_at;        /* rescoring: in the due heap */
    /* leader's own hint where to look on; never in a row, never in a result */
    slot rescore_from;
    bool rescoring;
    bool has_policy; /* replicated by SetPolicy; else defaults */
    struct policy {
        int32_t weights[CAP_END];
        uint32_t margin;
        uint32_t breaker_moves;
        uint32_t demote_rtt_ms;
        uint32_t demote_clear_rtt_ms;
        uint32_t sessions_max;
        uint32_t sessions_per_lease_max;
        uint32_t devices_per_group_max;
        uint32_t tabs_per_device_max;
        uint32_t state_bytes_max;
        uint64_t min_tenure_ms;
        uint64_t cooldown_ms;
        uint64_t max_tenure_ms;
        uint64_t offer_ms;
        uint64_t yield_ms;
        uint64_t session_grace_ms;
        uint64_t holder_grace_ms;
        uint64_t breaker_window_ms;
        uint64_t breaker_open_ms;
        uint64_t demote_after_ms;
        uint64_t demote_for_ms;
    } policy;
};

struct group {
    struct object object; /* hash over (namespace, name) */
    uint64_t born;        /* index of the entry that made it: key of its row */
    struct scope scope;
    slot namespace_;
    name_ref name;
    slot devices; /* head of the list */
    uint32_t devices_n;
};

struct device {
    struct object object; /* hash over (group, name) */
    /* index of the entry that made it; a group and a device may share one: kinds differ */
    uint64_t born;
    struct scope scope;
    slot group;
    name_ref name;
    slot next; /* in the group */
    slot prev;
    slot sessions; /* head of the list */
    uint32_t sessions_n;
};

struct session {
    struct object object; /* hash over id */
    uint64_t id;
    uint64_t opened_ms;
    uint8_t secret[16];
    struct capabilities caps; /* quantised */
    slot device;
    slot lease;
    slot next; /* on the device */
    slot prev;
    slot lease_next; /* a ring; see struct lease */
    slot lease_prev;
    name_ref tab;
    slot extra; /* struct session_extra; 0: none */
    int32_t score;
    uint32_t policy_version; /* of its namespace, when `score` was made */
    uint32_t attachment;     /* from 1, +1 for each attach */
    uint32_t heap_at;
};

struct session_extra {
    uint64_t detached_ms; /* stamp; valid if FLAG_DETACHED */
    /* not chosen before, unless... never: resigned or declined */
    uint64_t cooldown_until_ms;
    uint64_t demoted_until_ms; /* ranks behind everybody else until then */
    /* rtt at or above demote_rtt_ms since; 0: not slow */
    uint64_t slow_since_ms;
};

struct lease {
    struct object object; /* hash over id */
    uint64_t id;
    uint64_t renewals;
    uint64_t touched_ms;
    uint64_t opened_ms;
    uint64_t ended_ms;
    uint64_t sequence_min; /* sequences below it are past the window */
    uint8_t nonce[16];
    uint32_t ttl_ms;
    uint32_t sessions_n;
    uint32_t detached_n; /* of them */
    slot sessions;       /* a ring: those that aren't detached first */
    slot window;         /* newest block; 0: none */
    slot nonce_next;     /* chain of the nonce table */
    uint32_t nonce_hash;
    name_ref label;
    uint32_t window_n; /* replies kept */
    uint32_t heap_at;  /* ended, with sessions to sweep */
    uint8_t end_cause;
};

#define WINDOW_BLOCK 16
/* Replies to sequences block * 16 .. + 15 of one client. */
struct window {
    struct object object;
    uint64_t lease_id; /* outlives the lease's slot, for the row's key */
    uint64_t block;
    struct reply replies[WINDOW_BLOCK];
    slot lease;
    slot next;        /* older */
    uint32_t present; /* bit i: reply i is there */
};

/* What has a deadline in cluster time: kept in one indexed binary heap, in slots of the objects named. */
enum due_kind {
    DUE_SESSION = 1, /* detached: holder's grace, then the session's */
    DUE_LEASE = 2,   /* ended: sessions to sweep */
    DUE_DEVICE =
        3, /* the device's scope: offer, yield, tenure, rotation, cooldown, demotion */
    DUE_GROUP = 4,
    DUE_NAMESPACE = 5, /* sessions to rescore under a new policy */
};
struct due {
    uint64_t at_ms;
    slot object;
    uint32_t kind;
};

enum object_kind {
    OBJECT_NAMESPACE,
    OBJECT_GROUP,
    OBJECT_DEVICE,
    OBJECT_SESSION,
    OBJECT_LEASE,
    OBJECT_WINDOW,
    OBJECT_KINDS,
};

#define REGISTRY_NODES_MAX 64
struct seen_node {
    uint32_t node;
    struct node_past past;
};

struct registry {
    struct registry_limits limits;
    uint64_t hash_seed; /* of tables of what clients name; this node's own */
    uint64_t applied;
    uint64_t time_ms;
    /* wall clock less cluster time, as of the last TermStart */
    int64_t wall_offset_ms;
    bool wall_known;
    bool cluster_dirty;
    uint64_t cluster_row_hash;
    uint64_t hash;         /* sum of row hashes */
    uint64_t sessions_max; /* replicated, SetLimits */
    uint64_t leases_max;
    uint64_t namespaces_max;

    struct pool pools[OBJECT_KINDS];
    /* without those that are deleted and wait for the walk: limits count these */
    uint32_t objects_n[OBJECT_KINDS];
    slot dirty[OBJECT_KINDS]; /* heads of lists */
    uint32_t deleted_n;       /* objects that wait for the walk */
    struct pool scope_extras;
    struct pool session_extras;
    struct pool states;
    struct names names;

    struct table namespaces;
    struct table groups;
    struct table devices;
    struct table sessions;
    struct table leases;
    struct table nonces;

    struct due *heap; /* 1-based; heap_n entries */
    uint32_t heap_n;
    uint32_t heap_capacity;

    struct seen_node nodes[REGISTRY_NODES_MAX];
    uint32_t nodes_n;
    uint64_t sessions_live;
    uint64_t detached_n;
    uint64_t leases_live;
    uint64_t batons_n;
};

/* One apply: what every function below works on. */
struct apply {
    struct registry *r;
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;
    slot lease; /* live, of the client that commands; 0: the leader itself */
    struct registry_out *out;
};

/* --- apply.c --------------------------------------------------------------------------------------------------------- */
/* The reply, to what isn't done: nothing was changed before, nothing is after. */
void apply_refuse(struct apply *a, enum baton_status status, uint32_t reason,
                  int64_t detail);
/* The session, if it's the commanding lease's to speak for, under this attachment (0: whichever); else 0, and it's refused: NO_SESSION,
 * OTHER_LEASE, ATTACHMENT. */
slot apply_own_session(struct apply *a, uint64_t id, uint32_t attachment);

/* --- pool.c ---------------------------------------------------------------------------------------------------------- */
slot pool_take(struct pool *p); /* zeroed object; ASSERTs that there's one */
void pool_give(struct pool *p, slot s);
static inline void *pool_at(const struct pool *p, slot s)
{
    ASSERT(s != 0 && s <= p->high);
    return p->base + (size_t)s * p->item_bytes;
}
static inline struct namespace_ *namespace_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_NAMESPACE], s);
}
static inline struct group *group_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_GROUP], s);
}
static inline struct device *device_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_DEVICE], s);
}
static inline struct session *session_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_SESSION], s);
}
static inline struct lease *lease_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_LEASE], s);
}
static inline struct window *window_at(const struct registry *r, slot s)
{
    return pool_at(&r->pools[OBJECT_WINDOW], s);
}

/* --- names.c --------------------------------------------------------------------------------------------------------- */
name_ref name_put(struct names *n, struct bytes name); /* <= NAME_BYTES_MAX */
struct bytes name_get(const struct names *n, name_ref ref); /* with a NUL */
void name_drop(struct names *n, name_ref ref);

/* --- extras.c: what few objects need --------------------------------------------------------------------------------- */
/* NULL: none, which means the same as all zero. */
const struct session_extra *session_extra(const struct registry *r,
                                          const struct session *s);
const struct scope_extra *scope_extra(const struct registry *r,
                                      const struct scope *scope);
/* The one there is, or a new zeroed one. */
struct session_extra *session_extra_need(struct registry *r, struct session *s);
struct scope_extra *scope_extra_need(struct registry *r, struct scope *scope);
/* Frees it if it's all zero. */
void session_extra_trim(struct registry *r, struct session *s);
void scope_extra_trim(struct registry *r, struct scope *scope);
/* Frees it whatever is in it, with its state. */
void session_extra_drop(struct registry *r, struct session *s);
void scope_extra_drop(struct registry *r, struct scope *scope);

/* --- find.c ---------------------------------------------------------------------------------------------------------- */
slot find_namespace(const struct registry *r, struct bytes name);
slot find_group(const struct registry *r, slot namespace_, struct bytes name);
slot find_device(const struct registry *r, slot group, struct bytes name);
slot find_session(const struct registry *r, uint64_t id);
slot find_lease(const struct registry *r, uint64_t id);
slot find_nonce(const struct registry *r, const uint8_t nonce[16]);
/* The scope that a path names, with its group and (device scopes) device. INVALID: malformed, reason says which part;
 * NOT_FOUND: no such namespace or scope. */
struct scope_ref {
    slot group;
    slot device; /* 0: the group's scope */
};
MUST_USE enum baton_status find_scope(const struct registry *r,
                                      const Pb__Path *path,
                                      struct scope_ref *out,
                                      uint32_t *out_reason);
struct scope *scope_at(const struct registry *r, struct scope_ref ref);
/* The session that a member of the scope stands for: itself, or its device's leader tab. Its slot and its id, 0 if none. */
slot scope_session_slot(const struct registry *r, struct scope_ref ref,
                        slot member);
uint64_t scope_session(const struct registry *r, struct scope_ref ref,
                       slot member);
/* Namespace of a group, and of a session. */
struct namespace_ *group_namespace(const struct registry *r, slot group);
struct namespace_ *session_namespace(const struct registry *r, slot session);

/* --- objects.c: making and removing ---------------------------------------------------------------------------------- */
slot make_namespace(struct registry *r, uint64_t born, struct bytes name);
slot make_group(struct registry *r, uint64_t born, slot namespace_,
                struct bytes name);
slot make_device(struct registry *r, uint64_t born, slot group,
                 struct bytes name);
/* On its device and its lease; FLAG_DETACHED is set before if it's to be. */
struct session_seed {
    uint64_t id;
    slot device;
    slot lease;
    struct bytes tab;
    bool detached;
};
slot make_session(struct registry *r, const struct session_seed *seed);
slot make_lease(struct registry *r, uint64_t id, const uint8_t nonce[16],
                struct bytes label);
/* Unlinked from lists, tables and the heap at once; the slot is freed by the walk. Nothing may hang on it any more. A session's device
 * and group go too if they're empty then, and the namespace if it has no policy of its own. */
void remove_session(struct apply *a, slot session);
void remove_lease(struct registry *r, slot lease);
/* Puts a session on a lease (another, or its own), detached or not: sets the flag, not the times. */
void move_session(struct registry *r, slot session, slot lease, bool detached);

/* --- dirty.c ----------------------------------------------------------------------------------------------------------- */
void dirty_mark(struct registry *r, enum object_kind kind, slot s);
void dirty_scope(struct registry *r, struct scope_ref ref);
/* Deletes: its row goes with the next walk, and its slot then. */
void dirty_delete(struct registry *r, enum object_kind kind, slot s);

/* --- due.c --------------------------------------------------------------------------------------------------------------- */
/* at_ms == UINT64_MAX takes it out. heap_at of the object is kept by the heap. */
void due_set(struct registry *r, enum due_kind kind, slot object,
             uint64_t at_ms);
uint64_t due_at(const struct registry *r,
                uint32_t heap_at); /* UINT64_MAX if 0 */
/* Ids of up to `max` sessions of the namespace that are scored under an older policy, from its rescore_from on; *out_next is where to
 * look on (SLOT_END: there are no more). Looks at a bounded number of slots, so it may find none and not be at the end. */
#define SLOT_END UINT32_MAX
uint32_t due_rescore(const struct registry *r, slot namespace_, uint64_t *out,
                     uint32_t max, slot *out_next);
/* A part was rescored: moves rescore_from on, so that the next part begins where there's something left. A hint of this replica's own:
 * slots differ, and so may hints. */
void due_rescored(struct registry *r, slot namespace_);

/* --- emit.c: events ------------------------------------------------------------------------------------------------------- */
/* A new event with the paths, slots, score, capabilities and lease of the session (0: none) filled in. */
struct event *emit_session(struct apply *a, enum event_kind kind, slot session);
/* A new event about a scope: path, epoch, holder's session and lease as they are now, previous_*, backup. */
struct event *emit_scope(struct apply *a, enum event_kind kind,
                         struct scope_ref ref);

#endif

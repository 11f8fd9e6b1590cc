/* event.h - one change of the registry, as apply tells it.
 *
 * Applying an entry appends events to its output; the shell encodes those of one entry as one EventBatch (the history, and what
 * watches deliver), and looks at `group_slot`, `namespace_slot` and the leases to find who watches. The views point into the
 * registry and are valid until the next apply. The numbers of the enums are those of types.proto. */
#ifndef SESSION_EVENT_H
#define SESSION_EVENT_H

#include "proto/base.h"

enum role {
    ROLE_NONE = 0,
    ROLE_OBSERVER = 1,
    ROLE_CANDIDATE = 2,
    ROLE_BACKUP = 3,
    ROLE_LEADER = 4,
};

enum grant_reason {
    GRANT_NONE = 0,
    GRANT_FIRST = 1,
    GRANT_SUCCESSION = 2,
    GRANT_RESIGNED = 3,
    GRANT_HANDOFF = 4,
    GRANT_BETTER = 5,
    GRANT_ROTATION = 6,
    GRANT_DEMOTION = 7,
    GRANT_DEVICE = 8,
};

enum event_kind {
    EVENT_NONE = 0,
    EVENT_SESSION_OPENED = 1,
    EVENT_SESSION_UPDATED = 2,
    EVENT_SESSION_DETACHED = 3,
    EVENT_SESSION_ATTACHED = 4,
    EVENT_SESSION_CLOSED = 5,
    EVENT_GRANTED = 6,
    EVENT_VACATED = 7,
    EVENT_BACKUP_CHANGED = 8,
    EVENT_OFFERED = 9,
    EVENT_ACCEPTED = 10,
    EVENT_HANDOFF_FAILED = 11,
    EVENT_DEMOTED = 12,
    EVENT_CLAIM_REJECTED = 13,
    EVENT_POLICY_SET = 14,
    EVENT_LEASE_OPENED = 15,
    EVENT_LEASE_ENDED = 16,
    EVENT_NODE_SEEN = 17, /* attachment: the node; epoch: its boot */
};

enum cause {
    CAUSE_NONE = 0,
    CAUSE_CLOSED = 1,
    CAUSE_EXPIRED = 2,
    CAUSE_GRACE = 3,
    CAUSE_LAPSED = 4,
    CAUSE_DECLINED = 5,
    CAUSE_GONE = 6,
    CAUSE_REPLACED = 7,
    CAUSE_STALE_CLAIM = 8,
    CAUSE_FORGED_CLAIM = 9,
    CAUSE_DOUBLE_CLAIM = 10,
};

enum capability {
    CAP_BATTERY = 1,
    CAP_CHARGING = 2,
    CAP_KIND = 3,
    CAP_NETWORK = 4,
    CAP_RTT_MS = 5,
    CAP_VISIBLE = 6,
    CAP_CORES = 7,
    CAP_MEMORY_MB = 8,
    CAP_PRIORITY = 9,
    CAP_END = 10,
};

/* What a session reports. `known` has bit (1 << key) set for each key that's known; values of unknown keys are 0. */
struct capabilities {
    uint32_t rtt_ms;
    uint32_t memory_mb;
    uint16_t cores;
    uint16_t known;
    uint8_t battery;
    uint8_t charging;
    uint8_t kind;
    uint8_t network;
    uint8_t visible;
    int8_t priority;
};

/* The value of one that's known; 0 of one that isn't. */
int32_t capability_value(const struct capabilities *caps, enum capability key);

/* One side of a disputed claim, as evidence. */
struct claim {
    uint64_t session;
    uint64_t epoch;
    uint64_t lease;
    struct bytes relay;
    uint64_t time_ms;
};

/* Fields as in Event (types.proto). Leases: of `session`, of `previous_session` and of `backup`, 0 if none: whom to tell. */
struct event {
    enum event_kind kind;
    enum grant_reason reason;
    enum cause cause;
    enum role role;
    bool group_scope;
    struct bytes namespace_name;
    struct bytes group;
    struct bytes device;
    struct bytes tab;
    struct bytes text;
    uint64_t session;
    uint64_t lease;
    uint64_t previous_lease;
    uint64_t backup_lease;
    uint64_t epoch;
    uint64_t previous_epoch;
    uint64_t previous_session;
    uint64_t backup;
    uint64_t deadline_ms;
    struct capabilities caps; /* SESSION_OPENED, _UPDATED, _ATTACHED */
    int32_t score;
    uint32_t attachment;
    uint32_t state_bytes;
    uint32_t namespace_slot;
    uint32_t group_slot;
    struct claim claims[2]; /* CLAIM_REJECTED: stale, valid */
};

#endif

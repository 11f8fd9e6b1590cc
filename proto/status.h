/* status.h - what a request came to, and why: the same numbers in the library, on the wire and in the registry.
 *
 * `enum baton_status` mirrors Status in types.proto (proto/status.c asserts it at compile time). `enum baton_reason`
 * says which field, object or limit a refusal is about; status_text() makes the sentence that a person reads. The
 * installed baton.h has this file in it: keep it free of project includes. */
#ifndef PROTO_STATUS_H
#define PROTO_STATUS_H

#include <stddef.h>
#include <stdint.h>

enum baton_status {
    BATON_OK = 0,
    BATON_NOT_LEADER = 1, /* ask the node that the answer names */
    BATON_NO_QUORUM =
        2, /* no majority, or nobody reachable, before the deadline; nothing was done */
    BATON_UNKNOWN =
        3, /* the deadline passed: it may or may not have been done */
    BATON_NOT_FOUND =
        4, /* no leader, no such session, lease, scope or namespace */
    BATON_EXPIRED = 5,     /* the lease or session ended */
    BATON_STALE_EPOCH = 6, /* the epoch isn't the scope's current one */
    BATON_CONFLICT = 7,    /* the state named isn't the current one */
    BATON_NOT_ALLOWED = 8, /* not by this client */
    BATON_INVALID = 9,     /* a field is malformed or out of range */
    BATON_LIMIT = 10,      /* a limit would be passed */
    BATON_COMPACTED = 11,  /* the revision is no longer kept */
    BATON_WINDOW =
        12, /* older than the client's window: outcome no longer known */
    BATON_BUSY = 13,        /* queues are full here */
    BATON_UNSUPPORTED = 14, /* a version or request that isn't spoken there */
    BATON_UNAVAILABLE = 15, /* starting, stopping, quarantined or behind */
};

enum baton_reason {
    REASON_NONE = 0,
    /* INVALID: which field. */
    REASON_NAMESPACE,
    REASON_GROUP,
    REASON_DEVICE,
    REASON_TAB,
    REASON_LABEL,
    REASON_TTL,
    REASON_NONCE,
    REASON_SECRET,
    REASON_CAPABILITY_KEY,
    REASON_CAPABILITY_TWICE,
    REASON_BATTERY,
    REASON_CHARGING,
    REASON_KIND,
    REASON_NETWORK,
    REASON_RTT,
    REASON_VISIBLE,
    REASON_CORES,
    REASON_MEMORY,
    REASON_PRIORITY,
    REASON_STATE_BYTES,
    REASON_TEXT,
    REASON_SEQUENCE,
    REASON_OP,
    REASON_EPOCH,
    REASON_SESSION,
    REASON_CORRELATION,
    REASON_LEASE_DELTAS,
    /* INVALID in a policy: field number of Policy in `detail`. */
    REASON_POLICY_FIELD,
    REASON_POLICY_WEIGHT,
    /* LIMIT: which; the limit is in `detail`. */
    REASON_SESSIONS_NAMESPACE,
    REASON_SESSIONS_LEASE,
    REASON_SESSIONS_CLUSTER,
    REASON_LEASES_CLUSTER,
    REASON_NAMESPACES_CLUSTER,
    REASON_GROUPS_CLUSTER,
    REASON_DEVICES_CLUSTER,
    REASON_DEVICES_GROUP,
    REASON_TABS_DEVICE,
    REASON_WINDOW_REPLIES,
    REASON_STATES_CLUSTER,
    REASON_WATCHES_NODE,
    REASON_WATCHES_CONNECTION,
    REASON_QUEUE_BYTES,
    REASON_PENDING_NODE,
    REASON_READS_NODE,
    /* NOT_FOUND, EXPIRED, CONFLICT, NOT_ALLOWED, STALE_EPOCH: about what. */
    REASON_NO_NAMESPACE,
    REASON_NO_SCOPE,
    REASON_NO_HOLDER,
    REASON_NO_SESSION,
    REASON_NO_LEASE,
    REASON_LEASE_ENDED,
    REASON_TAB_IN_USE,  /* detail: the session that has the name */
    REASON_ATTACHMENT,  /* detail: the current attachment */
    REASON_OTHER_LEASE, /* detail: the lease that the session is on */
    REASON_WRONG_SECRET,
    REASON_NOT_ELIGIBLE, /* the session named can't lead: observer, detached, or its device's tab doesn't lead */
    REASON_ALREADY_HOLDER,
    REASON_HANDOFF_RUNNING, /* detail: its offer */
    REASON_NO_OFFER,
    REASON_NO_SUCCESSOR,
    REASON_EPOCH_CURRENT, /* detail: the current epoch */
    REASON_NO_STATE,
    REASON_OTHER_SCOPE,
    REASON_CONFIG_INDEX,
    REASON_CONFIG_RUNNING,
    REASON_LEARNER_BEHIND, /* detail: entries that it lacks */
    REASON_UNKNOWN_NODE,
    REASON_TERM, /* a leader's own command from another term: void */
    REASON_NOT_DUE, /* a leader's own command whose condition no longer holds: void */
    REASON_BEHIND, /* detail: the last revision that the node has applied */
    REASON_NODE,   /* a new member's number */
    REASON_PEER_ADDRESS,
    REASON_CLIENT_ADDRESS,
    REASON_HTTP_ADDRESS,
    REASON_ADDRESS_TAKEN, /* detail: who has it */
    REASON_MEMBER_ALREADY,
    REASON_NO_LEARNER,
    REASON_NO_MEMBER,
    REASON_LAST_VOTER,
    REASON_END,
};

/* The status's name as in the .proto ("STALE_EPOCH"), or "?" for a number that isn't one. Static, never NULL. */
const char *status_name(enum baton_status status);

/* Writes the sentence for a refusal into out[0 .. out_bytes), NUL-terminated, cut if it must be: what happened, to what, what to do. `detail` as the reason says. Returns its length. */
size_t status_text(enum baton_status status, uint32_t reason, int64_t detail,
                   char *out, size_t out_bytes);

#endif

/* baton.h - libbaton: leadership and sessions from a Baton cluster, in C.
 *
 *    struct baton *b;
 *    char error[256];
 *    struct baton_options o = {.endpoints = "10.0.0.1:7201,10.0.0.2:7201", .label = "relay-7"};
 *    if (baton_open(&o, &b, error, sizeof error) != BATON_OK) ...
 *
 *    struct baton_reply r;
 *    struct baton_session_options s = {.scope = {"acme", "alice", "laptop"}, .tab = "tab-3"};
 *    if (baton_session_open(b, NULL, &s, &r) == BATON_OK) ... r.id is the session
 *
 *    struct baton_event e;
 *    while (baton_poll(b, -1, &e)) {
 *        if (e.type == BATON_GRANTED) ... lead e.scope under e.epoch; pass the epoch to whatever you write to
 *        if (e.type == BATON_LOST) ... stop
 *    }
 *
 * A `struct baton` is one client process: its endpoints, a lease (opened with the first call that needs one, kept alive by a thread
 * of the library), and the sessions on it. It finds the leader by itself, and follows it.
 *
 * Calls. Each function with a `struct baton_call *` works in two ways. NULL, or a call with tag 0: it waits for the answer, at most
 * call->timeout_ms, and fills *out. Another tag: it returns BATON_OK at once (or BATON_INVALID, BATON_LIMIT), `out` must be NULL, and
 * the answer comes through baton_poll() as BATON_DONE with that tag. A call that changes something is sent again only as the same
 * request, which the cluster applies once; at its deadline it is BATON_UNKNOWN if it may have been done, BATON_NO_QUORUM if it was not.
 *
 * Events are fetched with baton_poll(), by a thread of yours: never a callback in the middle of your code, and never your code on the
 * thread that keeps the lease alive. baton_fd() is readable while something waits, for poll(2) and event loops. The one callback
 * is on_lost, because it must not wait for you. Who opens sessions must fetch: what isn't fetched is kept (watches pause when much
 * waits, roles don't).
 *
 * The right to lead ends before the cluster can give it to somebody else: at the send time of the last acknowledged renewal +
 * TTL * (1 - drift) / (1 + drift), on CLOCK_BOOTTIME, which runs while the machine sleeps. BATON_ENDING comes warn_ms before
 * it, BATON_LOST and on_lost at the latest then; baton_right_ms() says how much is left. A process that was stopped past it (SIGSTOP,
 * a suspended machine) cannot be told in time by anybody: so pass the epoch with what you do, and let its receiver refuse older ones.
 *
 * Threads: every function may be called from any thread, baton_poll() from one at a time, baton_close() last. Strings are UTF-8,
 * NUL-terminated; those passed in are copied. Times are ms; sessions, leases, epochs and revisions are 64-bit log indexes, 0: none. */
#ifndef BATON_H
#define BATON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BATON_STATE_BYTES_MAX 65536
#define BATON_SECRET_BYTES    16
#define BATON_MESSAGE_BYTES   512

struct baton;
struct baton_event;

struct baton_options {
    /* HOST:PORT,...; NULL: $BATON_ENDPOINTS if it's set, else 127.0.0.1:7201 to 7203. An empty list is refused. */
    const char *endpoints;
    /* Names this process in audits; NULL: none; at most 128 bytes. */
    const char *label;
    uint32_t ttl_ms;     /* of the lease: 1,000 to 600,000; 0: 10,000 */
    uint32_t timeout_ms; /* of a call without one of its own; 0: 5,000 */
    /* How far clocks may drift apart; 0: 10 (1 %); at most 200. */
    uint32_t drift_permille;
    /* BATON_ENDING comes so long before the right to lead ends; 0: a quarter of the TTL. */
    uint32_t warn_ms;
    /* If this thread hasn't called baton_poll() for so long, the lease isn't renewed: a hung program shouldn't lead. 0: off. */
    uint32_t stall_ms;
    /* You answer offers, with baton_answer(); else they're accepted at once. */
    bool answer_offers;
    /* Both or neither: mutual TLS; PEM, of the authority. */
    const char *tls_ca_file;
    const char *tls_cert_key_file; /* certificate and key in one file */
    /* Called on the library's thread, before the right to lead `scope` under `epoch` ends: return fast, call no function of this
     * header but baton_right_ms(). The same comes as BATON_LOST. NULL: none. */
    void (*on_lost)(void *arg, uint64_t session, const char *scope,
                    uint64_t epoch);
    void *arg;
};

/* BATON_INVALID (an option; `error` says which), BATON_UNAVAILABLE (no threads, no descriptors, a bad certificate). It doesn't wait
 * for a node: the first call does. `error` may be NULL with error_bytes 0. */
enum baton_status baton_open(const struct baton_options *options,
                             struct baton **out, char *error,
                             size_t error_bytes);

enum baton_leave {
    BATON_LEAVE_CLOSE, /* close the lease: its sessions end, others take over at once */
    BATON_LEAVE_DETACH, /* keep the sessions for their grace, to be attached elsewhere */
    BATON_LEAVE_ABANDON, /* say nothing: the lease expires */
};
/* Waits for the cluster's answer, at most timeout_ms (0: the default). Frees everything; outstanding calls and events are gone. What
 * leaving came to: BATON_OK, BATON_UNKNOWN, BATON_NO_QUORUM. NULL is fine. */
enum baton_status baton_close(struct baton *b, enum baton_leave how,
                              uint32_t timeout_ms);

struct baton_call {
    /* 0: wait for the answer; else it comes as BATON_DONE with this tag. */
    uint64_t tag;
    uint32_t timeout_ms; /* 0: the default */
    bool correlated;     /* correlation_id is set; else a random one is made */
    uint8_t correlation_id[16]; /* to be found again in the nodes' logs */
};

/* device NULL or "": the group's scope, led by a device; else the device's, led by a tab. */
struct baton_scope {
    const char *namespace_name;
    const char *group;
    const char *device;
};

enum baton_consistency {
    BATON_LINEARIZABLE = 0, /* confirmed by a majority after you asked */
    BATON_STALE = 1, /* what some node knows; age_ms says how fresh that is */
    BATON_LEASED =
        2, /* the leader's word, vouched for by its quorum lease: faster; relies on bounded drift */
};

enum baton_role {
    BATON_ROLE_NONE = 0, /* not eligible now */
    BATON_ROLE_OBSERVER = 1,
    BATON_ROLE_CANDIDATE = 2,
    BATON_ROLE_BACKUP = 3, /* the chosen next */
    BATON_ROLE_LEADER = 4,
};

/* A session as the cluster lists it. Roles: on its device; of the group if it is its device's leader. */
struct baton_session {
    uint64_t session;
    uint64_t lease;
    const char *namespace_name;
    const char *group;
    const char *device;
    const char *tab;
    enum baton_role role;
    bool group_leader;
    bool group_backup;
    bool detached;
    bool observer;
    int32_t score;
    uint32_t attachment;
    uint64_t device_epoch; /* under which it leads, 0 */
    uint64_t group_epoch;
    uint64_t opened_ms; /* ago */
};

/* What a call came to. Strings and arrays live in `memory`: baton_reply_free(). Fields that a call doesn't name in its comment are 0. */
struct baton_reply {
    enum baton_status status;
    uint32_t reason;                   /* enum baton_reason */
    char message[BATON_MESSAGE_BYTES]; /* a refusal in words; empty if OK */
    uint64_t id;
    uint64_t epoch;
    uint64_t revision; /* that the answer reflects */
    int64_t detail;
    /* baton_leader(), baton_verify(), baton_claim(): */
    uint64_t session;
    uint64_t backup;
    uint64_t since_ms;
    /* STALE, and of baton_sessions(), baton_events() too: how long since that node heard of a leader. */
    uint64_t age_ms;
    bool age_unknown; /* it hasn't since it started, age_ms ago */
    bool valid;
    bool handing_over;
    const char *device;
    const char *tab;
    /* baton_sessions(): */
    const struct baton_session *sessions;
    size_t sessions_n;
    uint64_t next; /* cursor of the next page, 0 at the end */
    /* baton_state(): */
    const uint8_t *state;
    size_t state_n;
    /* baton_explain(), baton_policy(), baton_events(), baton_status(): the answer as a JSON document, field names as in docs/protocol.md,
     * NUL-terminated: for people and tools, so that a new field needs no new library. */
    const char *json;
    void *memory;
};
/* Accepts a zeroed one, and one that was freed. */
void baton_reply_free(struct baton_reply *r);

/* --- sessions -------------------------------------------------------------------------------------------------------- */
enum baton_capability_key { /* docs/protocol.md has the ranges */
    BATON_BATTERY = 1,
    BATON_CHARGING = 2,
    BATON_KIND = 3,
    BATON_NETWORK = 4,
    BATON_RTT_MS = 5,
    BATON_VISIBLE = 6,
    BATON_CORES = 7,
    BATON_MEMORY_MB = 8,
    BATON_PRIORITY = 9,
};
struct baton_capability {
    enum baton_capability_key key;
    int32_t value;
};

struct baton_session_options {
    struct baton_scope scope; /* with a device */
    const char *tab;
    /* BATON_SECRET_BYTES; who has it may attach the session elsewhere. NULL: a random one nobody knows. */
    const uint8_t *secret;
    /* What's left out is unknown, which is neutral. */
    const struct baton_capability *capabilities;
    size_t capabilities_n;
    bool observer; /* never leads */
};

/* OK: id is the session, detail its attachment. What happens to it comes as events, which baton_poll() gives behind the BATON_DONE that names
 * it (without a tag: perhaps just before this returns). Also: CONFLICT (the tab's name is in use: detail is that session), INVALID, LIMIT,
 * EXPIRED (the lease ended; the next call opens a new one). */
enum baton_status baton_session_open(struct baton *b,
                                     const struct baton_call *call,
                                     const struct baton_session_options *o,
                                     struct baton_reply *out);
/* Reports capabilities anew: those named change, the others stay. OK, NOT_FOUND, EXPIRED, NOT_ALLOWED (on another lease), INVALID. */
enum baton_status baton_session_update(
    struct baton *b, const struct baton_call *call, uint64_t session,
    const struct baton_capability *capabilities, size_t capabilities_n);
/* Ends it; a successor gets `state` (at most BATON_STATE_BYTES_MAX, may be NULL with 0). OK, NOT_FOUND, NOT_ALLOWED, LIMIT. */
enum baton_status baton_session_close(struct baton *b,
                                      const struct baton_call *call,
                                      uint64_t session, const void *state,
                                      size_t state_n);
/* Takes over a session that another lease opened, with its secret; its roles and epochs stay. OK: id, detail is the attachment.
 * NOT_FOUND, NOT_ALLOWED (wrong secret). */
enum baton_status baton_session_attach(struct baton *b,
                                       const struct baton_call *call,
                                       uint64_t session, const uint8_t *secret,
                                       struct baton_reply *out);

/* --- leading --------------------------------------------------------------------------------------------------------- */
/* How many ms the sessions of this client may still act as leaders if no renewal is acknowledged any more; 0: none may. Any thread, no
 * waiting: ask it right before what must not be done twice. */
uint64_t baton_right_ms(struct baton *b);

/* After BATON_OFFERED with answer_offers set: take it or not. OK, CONFLICT (the offer is over). */
enum baton_status baton_answer(struct baton *b, const struct baton_call *call,
                               const struct baton_event *offered, bool accept);
/* After BATON_YIELD, once the work has stopped: hand over, with `state` for the successor. OK, STALE_EPOCH, CONFLICT, LIMIT. */
struct baton_handover {
    struct baton_scope scope;
    uint64_t session;
    uint64_t epoch;
    const void *state;
    size_t state_n;
};
enum baton_status baton_yield(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out);
/* What the holder before handed over to (session, epoch): state, state_n, epoch. NOT_FOUND: nothing. */
enum baton_status baton_state(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out);
/* Gives up the baton of `epoch`: epoch is the new one (0: vacant), id the new holder. STALE_EPOCH, NOT_FOUND. (h->session isn't used.) */
enum baton_status baton_resign(struct baton *b, const struct baton_call *call,
                               const struct baton_handover *h,
                               struct baton_reply *out);
/* "I act as the leader": OK either way: valid says whether that's so, epoch is the current one, session its holder. One that isn't so is
 * on record, with both sides, if the scope is still there. */
enum baton_status baton_claim(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out);

/* --- asking ---------------------------------------------------------------------------------------------------------- */
struct baton_query {
    /* baton_policy: the namespace; baton_sessions, baton_events: namespace and group may be empty. */
    struct baton_scope scope;
    enum baton_consistency consistency;
    uint64_t session; /* baton_sessions: just this one */
    uint64_t epoch;   /* baton_verify */
    /* baton_events: first revision; baton_sessions: cursor, 0 first. */
    uint64_t from;
    uint64_t to;    /* baton_events: last revision, 0: the newest */
    uint32_t limit; /* of a page; 0: 1,000 */
    /* baton_events: `revision` of the page before, 0: none. Another node may be asked for each page; one that hasn't got so far yet then
     * doesn't answer that this is all there is. */
    uint64_t seen;
};
/* Who leads: session, device, tab, epoch, backup, since_ms, age_ms, handing_over. NOT_FOUND: nobody. */
enum baton_status baton_leader(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out);
/* Is q->epoch the current one? OK either way: valid, epoch (the current one), session (its holder); both 0 if nobody leads, or the scope,
 * its group or namespace isn't there. */
enum baton_status baton_verify(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out);
/* sessions[0 .. sessions_n), next. */
enum baton_status baton_sessions(struct baton *b, const struct baton_call *call,
                                 const struct baton_query *q,
                                 struct baton_reply *out);
/* Every candidate's score, part by part: json. */
enum baton_status baton_explain(struct baton *b, const struct baton_call *call,
                                const struct baton_query *q,
                                struct baton_reply *out);
/* json. */
enum baton_status baton_policy(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out);
/* Kept history, as one node has it: json, next (revision to go on from, 0 at the end), revision, age_ms. COMPACTED: id is the oldest kept. */
enum baton_status baton_events(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out);
/* The cluster as one node sees it: json; session is its leader's number, 0 if it knows none. */
enum baton_status baton_cluster(struct baton *b, const struct baton_call *call,
                                struct baton_reply *out);

/* --- deciding -------------------------------------------------------------------------------------------------------- */
/* Offers the baton to session `to` (0: the backup). OK: id is the offer; the outcome is an event of a watch. NOT_FOUND, CONFLICT. */
enum baton_status baton_handoff(struct baton *b, const struct baton_call *call,
                                const struct baton_scope *scope, uint64_t to,
                                struct baton_reply *out);
/* Takes it away, for `reason` (at most 256 bytes): epoch is the new one, id the new holder. CONFLICT: nobody else can lead. */
enum baton_status baton_demote(struct baton *b, const struct baton_call *call,
                               const struct baton_scope *scope,
                               const char *reason, struct baton_reply *out);
/* Replaces the namespace's policy. `json`: an object with the fields of Policy; a field that's unknown, of a wrong type or out of range
 * refuses the whole: INVALID, and the message names it. */
enum baton_status baton_policy_set(struct baton *b,
                                   const struct baton_call *call,
                                   const char *namespace_name, const char *json,
                                   struct baton_reply *out);
/* Moves Raft leadership to `node` (0: the best follower): session is the new leader's number, epoch its term. */
enum baton_status baton_transfer(struct baton *b, const struct baton_call *call,
                                 uint32_t node, struct baton_reply *out);

/* --- watching -------------------------------------------------------------------------------------------------------- */
/* State, then events, in order of revisions, without a gap or a duplicate, from whichever node answers; it goes on by itself when that
 * one fails. Events carry w->tag. `from`: 0: the state first (BATON_WATCH_SESSION, BATON_WATCH_SCOPE), then BATON_WATCH_SYNCED;
 * else every event from that revision on. Returns at once. */
struct baton_watch {
    uint64_t tag;               /* not 0, not in use */
    const char *namespace_name; /* NULL or "": everything */
    const char *group;          /* NULL or "": the namespace */
    uint64_t from;
};
enum baton_status baton_watch(struct baton *b, const struct baton_watch *w);
/* No event with that tag comes any more, but those already waiting. */
enum baton_status baton_unwatch(struct baton *b, uint64_t tag);

/* --- events ---------------------------------------------------------------------------------------------------------- */
enum baton_event_type {
    BATON_DONE =
        1, /* a call's answer: tag, reply (yours to read until the next baton_poll()) */
    BATON_LEASE_OPENED, /* session: the lease's id */
    BATON_LEASE_ENDED, /* it expired or was closed: its sessions are lost to us; message says why */
    BATON_ROLE, /* role of `session` in `scope` changed, and it's neither granted nor lost */
    BATON_GRANTED, /* it leads `scope` under `epoch`; state_bytes wait for baton_state(). The same epoch may come again after BATON_LOST,
                      if the lease was only late: nobody else led meanwhile */
    BATON_OFFERED, /* it may have it: deadline_ms from now; epoch is the offer's number */
    BATON_YIELD, /* its successor is ready: stop, then baton_yield(), within deadline_ms */
    BATON_ENDING, /* no renewal was acknowledged lately: the right to lead ends in deadline_ms */
    BATON_LOST, /* it doesn't lead any more, or may not: stop */
    BATON_SESSION_CLOSED,
    BATON_SESSION_TAKEN, /* attached to another lease */
    BATON_WATCH_SESSION, /* state: a session */
    BATON_WATCH_SCOPE,   /* state: who holds a scope */
    BATON_WATCH_SYNCED, /* the state is complete, at `revision`; events follow */
    BATON_WATCH_RESET, /* forget what this watch has told: the state comes again */
    BATON_WATCH_EVENT,  /* something happened: kind, and json with all of it */
    BATON_WATCH_FAILED, /* it was refused, and ended: status, message */
};

struct baton_event {
    enum baton_event_type type;
    enum baton_status status;
    enum baton_role role;
    uint64_t tag;
    uint64_t session;
    uint64_t epoch;
    uint64_t revision;
    uint64_t previous_session;
    uint64_t deadline_ms; /* from now */
    uint32_t state_bytes;
    bool group_scope;
    const char *scope;  /* NS/GROUP or NS/GROUP/DEVICE */
    const char *device; /* of the session */
    const char *tab;
    /* BATON_WATCH_EVENT: as EventKind in docs/protocol.md, "GRANTED". */
    const char *kind;
    const char *json;    /* BATON_WATCH_*: all fields */
    const char *message; /* in words, may be empty */
    const struct baton_reply *reply;
};

/* The next event; waits at most timeout_ms (-1: for ever, 0: not at all). False: none. What *out points to lives until the next call
 * of this function. Strings are never NULL. */
bool baton_poll(struct baton *b, int timeout_ms, struct baton_event *out);
/* Readable while baton_poll() would not wait. The library's: don't read or close it. */
int baton_fd(struct baton *b);

#ifdef __cplusplus
}
#endif

#endif

/* logic.h - what a client decides, without a clock, a thread or a socket: time and random numbers come in as arguments, so that
 * the simulator links these very functions (client/loop.c puts threads and streams around them).
 *
 *    route    whom to ask: the leader as far as known, else the endpoints in turn; backoff of those that don't answer
 *    call     one request's fate: when to send it (again), and what it came to when its deadline passes
 *    window   sequences of mutations, so that a retry is the same request
 *    lease    renewals, and the moment at which the right to lead ends
 *    role     one scope as one session sees it
 *    watch    where a stream of events goes on after a break, without a gap or a duplicate
 *
 * Times are ms of one clock that runs during suspend (CLOCK_BOOTTIME): a laptop that slept has lost its right to lead, and its
 * own clock must say so. Nothing in here owns memory. */
#ifndef CLIENT_LOGIC_H
#define CLIENT_LOGIC_H

#include "proto/base.h"
#include "proto/status.h"

/* --- route (logic_route.c) ------------------------------------------------------------------------------------------- */
#define ROUTE_ENDPOINTS_MAX  16
#define ROUTE_ADDRESS_BYTES  128
#define ROUTE_BACKOFF_MIN_MS 50
#define ROUTE_BACKOFF_MAX_MS 2000
#define ROUTE_NONE           UINT32_MAX

struct route_endpoint {
    char address[ROUTE_ADDRESS_BYTES]; /* HOST:PORT */
    uint32_t node;                     /* 0: not known yet */
    uint32_t failures;                 /* in a row */
    uint64_t not_before_ms;            /* backoff: not asked before */
    bool up;                           /* a stream to it is open */
};

/* Invariant: leader == ROUTE_NONE or < endpoints_n; turn < endpoints_n. */
struct route {
    struct route_endpoint endpoints[ROUTE_ENDPOINTS_MAX];
    uint32_t endpoints_n;
    uint32_t leader; /* index, ROUTE_NONE if nobody has said */
    uint32_t turn;   /* whose turn it is when nobody knows the leader */
};

/* `list`: HOST:PORT,HOST:PORT,... Returns 0; else, with *r untouched, the 1-based number of the entry at fault (an empty list has
 * an empty first one), and in `error` a sentence about it, in which `name` says where the list is from. */
uint32_t route_init(struct route *r, const char *list, const char *name,
                    char *error, size_t error_bytes);
/* NULL if that's HOST:PORT; else what is wrong with it. Static. */
const char *route_fault(const char *text, size_t n);
/* The index of an address, which is added if it's new; ROUTE_NONE if it's malformed or there's no room. */
uint32_t route_add(struct route *r, const char *address);
/* Whom to ask what only the leader answers; ROUTE_NONE if all are backing off. */
uint32_t route_leader(const struct route *r, uint64_t now_ms);
/* Whom to ask what any node answers: an open stream rather than one to be opened, the leader rather than others. */
uint32_t route_any(const struct route *r, uint64_t now_ms);
/* `from` said who leads. An address that we don't have yet is added if there's room. An unusable hint counts as none. */
void route_hint(struct route *r, uint32_t from, uint32_t node,
                const char *address);
/* `from` doesn't lead and doesn't know who does: the next one is asked. */
void route_no_leader(struct route *r, uint32_t from);
/* `from` answered as a leader does. */
void route_is_leader(struct route *r, uint32_t from);
void route_up(struct route *r, uint32_t at, uint32_t node);
/* A stream broke or didn't open, or its peer went silent. `random`: any number, for jitter. */
void route_down(struct route *r, uint32_t at, uint64_t now_ms, uint32_t random);
/* When an endpoint that backs off may be asked again; UINT64_MAX if none does. */
uint64_t route_wake_ms(const struct route *r, uint64_t now_ms);

/* --- call (logic_call.c) ---------------------------------------------------------------------------------------------- */
/* Unanswered for this long: asked elsewhere, too. */
#define CALL_ATTEMPT_MS     1000
#define CALL_BACKOFF_MS     20
#define CALL_BACKOFF_MAX_MS 500

enum call_kind {
    CALL_READ, /* changes nothing: may be repeated freely */
    CALL_MUTATION, /* carries (lease, sequence) or a nonce: repeated as the same request */
    CALL_ONCE, /* has no sequence: repeated only if the answer said that nothing was done */
};

enum call_verdict {
    CALL_DONE,  /* the answer is final */
    CALL_AGAIN, /* call_ready() says when */
};

struct call_state {
    enum call_kind kind;
    uint64_t deadline_ms;
    uint64_t not_before_ms;
    uint64_t sent_ms;
    uint32_t attempts;
    uint32_t endpoint; /* asked last */
    bool in_flight;
    bool maybe_done; /* an attempt's fate isn't known */
    enum baton_status
        last; /* what the last attempt came to, OK if there's none */
};

void call_init(struct call_state *c, enum call_kind kind, uint64_t deadline_ms);
bool call_ready(const struct call_state *c, uint64_t now_ms);
void call_sent(struct call_state *c, uint32_t endpoint, uint64_t now_ms);
/* An answer came. `hinted`: it named a leader that can be asked at once. `retry_ms`: the server's wish, 0 if none. */
MUST_USE enum call_verdict call_answered(struct call_state *c,
                                         enum baton_status status, bool hinted,
                                         uint32_t retry_ms, uint64_t now_ms);
/* The stream broke with the request on it, or CALL_ATTEMPT_MS passed. DONE: call_outcome(). */
MUST_USE enum call_verdict call_broken(struct call_state *c, uint64_t now_ms);
/* True if the attempt in flight has been unanswered for too long. */
bool call_stuck(const struct call_state *c, uint64_t now_ms);
/* What a call came to that has no final answer: UNKNOWN if it may have been done, else NO_QUORUM: nothing was done. */
enum baton_status call_outcome(const struct call_state *c);
/* When this call has to be looked at next. */
uint64_t call_wake_ms(const struct call_state *c);

/* --- window (logic_call.c) --------------------------------------------------------------------------------------------- */
#define WINDOW_MAX 8192 /* as WINDOW_REPLIES_MAX of the registry */

/* Invariant: first <= next <= first + WINDOW_MAX; done[] has a bit for each of first .. next - 1. */
struct client_window {
    /* The oldest sequence without an outcome: replies below it may be forgotten. */
    uint64_t first;
    uint64_t next;
    uint64_t done[WINDOW_MAX / 64];
};

void window_init(struct client_window *w);
/* The next sequence, from 1; 0 if WINDOW_MAX are outstanding. */
MUST_USE uint64_t window_take(struct client_window *w);
/* This one has its outcome, or nobody will ask for it any more. */
void window_finish(struct client_window *w, uint64_t sequence);

/* --- lease (logic_lease.c) --------------------------------------------------------------------------------------------- */
#define LEASE_SENT_MAX 16
/* 1 %: clocks of client and cluster drift by at most this. */
#define LEASE_DRIFT_PERMILLE 10

enum lease_phase {
    LEASE_NONE,
    LEASE_OPENING,
    LEASE_LIVE,
    LEASE_ENDED
};

struct lease_sent {
    uint64_t number;
    uint64_t sent_ms;
};

/* Counted from when a renewal was *sent*: an acknowledgement proves only that the cluster heard it after that moment, and
 * counts the TTL from there at the earliest. With clocks that drift by up to rho, T * (1 - rho) / (1 + rho) on ours has passed
 * before T has on the cluster's. */
struct client_lease {
    enum lease_phase phase;
    uint64_t id;
    uint32_t ttl_ms;
    uint32_t drift_permille;
    uint64_t opening_ms;  /* when OpenLease was first sent */
    uint64_t proven_ms;   /* send time of the newest acknowledged renewal */
    uint64_t deadline_ms; /* the right to lead ends here */
    uint64_t next_ms;     /* renew then */
    uint64_t number;      /* of the renewal sent last */
    struct lease_sent sent[LEASE_SENT_MAX];
};

void lease_init(struct client_lease *l, uint32_t ttl_ms,
                uint32_t drift_permille);
/* What of a TTL we may count on. */
uint64_t lease_usable_ms(uint32_t ttl_ms, uint32_t drift_permille);
/* OpenLease leaves (again): the first time counts, since that one may be the one that arrived. */
void lease_opening(struct client_lease *l, uint64_t now_ms);
void lease_opened(struct client_lease *l, uint64_t id, uint64_t now_ms);
bool lease_renew_due(const struct client_lease *l, uint64_t now_ms);
/* A renewal leaves now; its number. Unless it's acknowledged, the next one follows soon. */
MUST_USE uint64_t lease_renew_sent(struct client_lease *l, uint64_t now_ms);
/* What the server said to a renewal. */
struct client_ack {
    uint64_t number;
    uint32_t ttl_ms;  /* 0: as before */
    uint32_t next_ms; /* its wish for the next one; 0: none */
};
/* One was acknowledged, in whatever order. False: it isn't one of ours, or too old to know when it was sent. */
bool lease_renew_acked(struct client_lease *l, const struct client_ack *ack,
                       uint64_t now_ms, uint32_t random);
/* The cluster says that it's gone. */
void lease_ended(struct client_lease *l);
/* May sessions of this lease act as leaders now? */
bool lease_leads(const struct client_lease *l, uint64_t now_ms);
/* When the next renewal is due; UINT64_MAX without a lease. */
uint64_t lease_wake_ms(const struct client_lease *l);

/* --- role (logic_role.c) ----------------------------------------------------------------------------------------------- */
enum role_kind { /* as Role in types.proto */
    ROLE_IS_NONE = 0,
    ROLE_IS_OBSERVER = 1,
    ROLE_IS_CANDIDATE = 2,
    ROLE_IS_BACKUP = 3,
    ROLE_IS_LEADER = 4,
};

/* What an event or a row says about one scope, from one session's point of view. */
enum role_news {
    ROLE_NEWS_GRANTED,   /* to us: epoch */
    ROLE_NEWS_LOST,      /* somebody else holds it, or nobody */
    ROLE_NEWS_BACKUP,    /* we are next */
    ROLE_NEWS_CANDIDATE, /* we are not next */
    ROLE_NEWS_OFFERED,   /* to us: offer, deadline_ms */
    ROLE_NEWS_YIELD, /* we hold it, and the successor accepted: finish and hand over */
    ROLE_NEWS_KEPT,   /* the hand-off failed: we still hold it */
    ROLE_NEWS_CLOSED, /* the session ended */
};

enum role_change {
    ROLE_SAME,
    ROLE_CHANGED, /* between none, observer, candidate and backup */
    ROLE_GRANTED,
    ROLE_LOST,
    ROLE_OFFERED,
    ROLE_YIELD,
};

/* Invariant: epoch != 0 exactly if role is LEADER; told implies LEADER. */
struct client_role {
    enum role_kind role;
    uint64_t epoch;
    uint64_t last_epoch; /* highest ever granted: older news is refused */
    uint64_t offer;      /* an offer to us that wasn't decided yet */
    bool yielding;       /* we were asked to hand over */
    /* The holder was told that it leads, and not yet that it doesn't. */
    bool told;
};

/* News at `epoch` (GRANTED, LOST: the epoch that's granted or ended; OFFERED: the offer). `leads`: lease_leads() now; without it a
 * grant is kept, and told once the lease is proven again. */
enum role_change role_news(struct client_role *r, enum role_news news,
                           uint64_t epoch, bool leads);
/* The lease was proven again, or its deadline passed: GRANTED, LOST or SAME. */
enum role_change role_lease(struct client_role *r, bool leads);

/* --- watch (logic_watch.c) --------------------------------------------------------------------------------------------- */
enum watch_verdict {
    WATCH_DELIVER,
    WATCH_DROP
};

struct client_watch {
    /* The first revision not delivered yet; 0: the state comes first. */
    uint64_t next;
    bool synced;
    bool started; /* something was delivered */
    /* This stream told us to ask again: what it still says is dropped. */
    bool stale;
};

/* `from` 0: the state first. */
void watch_init(struct client_watch *w, uint64_t from);
/* (Re)opened on some stream: the revision to ask for. *out_reset: what was delivered so far must be forgotten, since the state
 * comes again. */
uint64_t watch_start(struct client_watch *w, bool *out_reset);
/* A row of the state. */
enum watch_verdict watch_row(struct client_watch *w);
enum watch_verdict watch_batch(struct client_watch *w, uint64_t revision);
enum watch_verdict watch_synced(struct client_watch *w, uint64_t revision);
/* COMPACTED: the state again. */
void watch_reset(struct client_watch *w);
/* The stream was too slow, and skips from here on: what it still says is dropped, until watch_start() asks for what comes next. */
void watch_lagging(struct client_watch *w);

#endif

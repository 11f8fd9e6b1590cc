/* client.h - the inside of libbaton: what its files share.
 *
 *    your threads --calls--> [ lock ] <--step-- loop thread --- links ---> nodes
 *    baton_poll() <--events--    |
 *                          struct baton
 *
 * One mutex guards all of struct baton. The loop thread holds it while it works and never while it waits; link functions are
 * the loop thread's alone. client/logic.h decides, these files carry out.
 *
 *    api.c      options, open, close          calls.c    requests: made, sent, answered, given up
 *    ops.c      the functions of baton.h      watches.c  streams of events, and where they go on
 *    reply.c    messages to baton_reply       leases.c   the lease and what ends with it
 *    events.c   the queue behind baton_poll   roles.c    sessions of the lease and their two roles each
 *    loop.c     a turn of the loop, links     policy.c   a policy from JSON
 *    system.c   clock, random, thread */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/baton.h"
#include "client/logic.h"
#include "proto/codec.h"
#include "transport/dial.h"

#define CALLS_MAX   65536 /* in flight and waiting */
#define WATCHES_MAX 1024
/* Waiting for baton_poll(): above, watches pause. */
#define EVENTS_HELD_MAX 65536
#define SCOPE_BYTES     (3 * NAME_BYTES_MAX + 3)
#define CORRELATION_N   16

enum call_place {
    PLACE_LEADER,
    PLACE_ANY,
    PLACE_NODE, /* the endpoint named, no other: it answers or it doesn't */
};

/* An answer as it came. Empty body: there's none, and status and message are our own. */
struct answer {
    enum baton_status status;
    uint8_t *body;
    size_t body_n;
    char message[BATON_MESSAGE_BYTES];
};

struct ask {
    const Pb__ClientRequest *request; /* its op; the rest is filled in here */
    enum call_kind kind;
    enum call_place place;
    uint32_t endpoint; /* PLACE_NODE */
    const struct baton_call *call;
};

enum call_purpose {
    FOR_CALLER,
    FOR_TAG,        /* BATON_DONE */
    FOR_OPEN_LEASE, /* our own */
    FOR_SESSION,    /* GetSessions of one that was attached to us */
    FOR_NOBODY, /* sent on behalf of the caller's setting (an offer's acceptance) */
};

struct call {
    struct call *before; /* in calls.all */
    struct call *after;
    struct call *dead_after; /* in calls.dead */
    uint64_t id;
    enum call_purpose purpose;
    enum call_place place;
    struct call_state state;
    bool is_command;
    /* A Command that waits for its lease and sequence, or has them. */
    bool wants_lease;
    bool done;
    bool
        opens; /* its answer names a session that the program doesn't know yet */
    uint64_t lease;
    uint64_t sequence;
    uint64_t tag;
    uint32_t node; /* PLACE_NODE: endpoint */
    uint8_t *op;   /* of a Command: the Command's; else the ClientRequest's */
    size_t op_n;
    uint8_t correlation[CORRELATION_N];
    struct answer answer;
};

/* id & (CALLS_MAX - 1) is the slot, so that an answer finds its call at once; the rest of the id is never used twice. */
struct calls {
    struct call *slots[CALLS_MAX];
    struct call *first; /* oldest first */
    struct call *last;
    struct call *dead; /* finished, and nobody's to read any more */
    uint32_t free[CALLS_MAX];
    uint32_t free_n;
    uint64_t round;
    bool changed; /* something may be sent: look through them now */
    uint64_t wake_ms;
};

struct client_link {
    struct link *link;
    uint64_t heard_ms;
    uint64_t pinged_ms; /* > heard_ms: asked whether it's still there */
    bool up;
};

struct watcher {
    struct watcher *after;
    uint64_t id; /* of the request on the stream, 0: not asked now */
    uint64_t tag;
    bool of_lease; /* our own, for roles */
    bool removed;  /* the program has had enough: ended at the next step */
    uint32_t endpoint;
    uint64_t not_before_ms;
    uint32_t failures;
    struct client_watch state;
    char namespace_name[NAME_BYTES_MAX + 1];
    char group[NAME_BYTES_MAX + 1];
};

/* One session of our lease. */
struct member {
    uint64_t id; /* 0: an empty place */
    struct client_role device;
    struct client_role group;
    uint32_t attachment;
    uint32_t state_seen; /* rows of which telling of the state named it last */
    char *path;          /* NS\0GROUP\0DEVICE\0TAB\0 */
};

struct members {
    struct member *table; /* open addressing, a power of two */
    uint32_t table_n;
    uint32_t n;
    uint32_t state_round;
    uint64_t leading_n;    /* roles whose holder was told that it leads */
    uint32_t opening_n;    /* calls on their way that open a session */
    uint64_t answered_max; /* the highest that such a call was answered by */
    struct event_node *held_first; /* events of higher ones, until then */
    struct event_node *held_last;
};

enum raw_type {
    RAW_NONE,
    RAW_ANSWER,
    RAW_EVENT,
    RAW_SESSION,
    RAW_SCOPE
};

struct event_node {
    struct event_node *after;
    struct baton_event event;
    char scope[SCOPE_BYTES];
    char names[2][NAME_BYTES_MAX + 1]; /* device, tab */
    char *message;                     /* NULL: empty, as mostly */
    enum raw_type raw_type;
    /* Our clock; event.deadline_ms is filled in when it's fetched. */
    uint64_t wall_deadline_ms;
    uint8_t *raw;
    size_t raw_n;
};

/* Memory that grows and is used again. Zeroed: none. */
struct room {
    void *at;
    size_t n;
};

struct events {
    struct event_node *first;
    struct event_node *last;
    uint32_t n;
    int fd; /* readable while n > 0, once somebody asked for it */
    bool fd_asked;
    struct event_node *polled; /* what baton_poll() gave out last */
    struct baton_reply polled_reply;
    struct room json;   /* its text, */
    struct room memory; /* and its message; both are used again for the next */
    const ProtobufCMessage *polled_raw; /* NULL: none, or not decoded yet */
    bool waiting;                       /* somebody is in baton_poll() */
    uint64_t polled_ms;                 /* when somebody was, last */
};

struct baton {
    pthread_mutex_t lock;
    pthread_cond_t answered; /* a caller's call is done */
    pthread_cond_t arrived;  /* an event is there */
    pthread_t thread;
    bool stopping;
    struct link_loop *loop;
    struct baton_options options;
    char label[NAME_BYTES_MAX + 1];
    uint8_t nonce[16];
    uint64_t random_state;
    struct route route;
    struct client_link links[ROUTE_ENDPOINTS_MAX];
    struct calls calls;
    struct client_window window;
    struct client_lease lease;
    bool lease_wanted;  /* a call waits for one */
    bool lease_asked;   /* OpenLease is on its way */
    char last_why[192]; /* why a stream broke or didn't open, last */
    bool leads;         /* lease_leads() as the members were last told */
    bool ending_told;
    _Atomic uint64_t deadline_ms; /* lease.deadline_ms, for baton_right_ms() */
    uint64_t renew_ids[LEASE_SENT_MAX];
    uint64_t renew_retry_ms; /* due, but nobody to send it to: again then */
    uint32_t renew_unanswered;
    uint32_t renew_refused; /* in a row */
    struct watcher *watchers;
    uint32_t watchers_n;
    uint64_t next_stream_id; /* of renewals and watches */
    struct members members;
    struct events events;
    struct arena arena; /* of the loop thread: one message */
    uint8_t *arena_memory;
};

/* Renewals and watches have ids above all calls'. */
#define STREAM_ID_FIRST (1ull << 63)

/* api.c */
uint32_t client_random(struct baton *b);
void *client_alloc(size_t n); /* zeroed; never NULL */

/* calls.c */
void calls_init(struct calls *c);
void calls_fini(struct baton *b);
/* NULL: CALLS_MAX are there already. */
struct call *call_make(struct baton *b, const struct ask *ask,
                       enum call_purpose purpose);
void call_free(struct baton *b, struct call *c);
/* Sends what may be sent, gives up what is past its deadline. */
void calls_step(struct baton *b, uint64_t now_ms);
/* Frees what finished. Not while somebody walks the list. */
void calls_sweep(struct baton *b);
void calls_answer(struct baton *b, uint32_t from, const Pb__ClientMessage *m,
                  struct bytes body);
void calls_link_down(struct baton *b, uint32_t at, const char *why);
/* The lease that waiting calls want can't be had. */
void calls_no_lease(struct baton *b, const struct answer *why);
/* Waits for the answer, which is the caller's to free. */
enum baton_status client_ask(struct baton *b, const struct ask *ask,
                             struct answer *out);
/* Asynchronous if ask->call has a tag. */
enum baton_status client_call(struct baton *b, const struct ask *ask,
                              struct baton_reply *out);
void answer_free(struct answer *a);
void answer_set(struct answer *a, enum baton_status status,
                const char *message);
/* The message in *out_memory's arena (free() it), NULL if there's none. */
Pb__ClientMessage *answer_decode(const struct answer *a, void **out_memory);
/* Frames and sends one request of our own to an endpoint that's up; `op` has everything but version and id. */
bool client_send(struct baton *b, uint32_t at, Pb__ClientRequest *op,
                 uint64_t id);

/* ops.c */
/* A request with that op, which must be one of a ClientRequest's. */
Pb__ClientRequest request_of(ProtobufCMessage *op);
/* How it's asked, and whom, by what its op is. */
struct ask ask_of(const Pb__ClientRequest *request);

/* system.c: the clock, random numbers and the thread. */
uint64_t client_now_ms(void);
bool client_fill_random(void *out, size_t n);
/* Opens b->loop, and a thread that goes round: loop_work(), a wait, loop_take(). */
bool loop_start(struct baton *b, const struct link_loop_options *options,
                char *error, size_t error_bytes);
void loop_stop(struct baton *b);

/* loop.c */
/* What is due is done; how long there's nothing more, in ms, -1: until something comes. */
int loop_work(struct baton *b);
/* What came. */
void loop_take(struct baton *b);
/* An open stream to it? If not, one is begun. */
bool loop_link_ready(struct baton *b, uint32_t at, uint64_t now_ms);
bool loop_send(struct baton *b, uint32_t at, struct bytes body);
/* It went silent: closed, and asked again later. */
void loop_suspect(struct baton *b, uint32_t at, uint64_t now_ms);

/* leases.c */
void lease_step(struct baton *b, uint64_t now_ms);
uint64_t lease_next_ms(const struct baton *b);
void lease_open_answered(struct baton *b, const struct answer *a);
void lease_renew_answered(struct baton *b, uint32_t from,
                          const Pb__ClientMessage *m, uint64_t now_ms);
void lease_gone(struct baton *b, const char *why);
bool lease_is_renewal(const struct baton *b, uint64_t id);

/* roles.c */
void members_fini(struct members *m);
void roles_row(struct baton *b, const Pb__SessionInfo *row);
void roles_state_begin(struct baton *b);
void roles_state_end(struct baton *b, uint64_t revision);
void roles_event(struct baton *b, const Pb__Event *e);
/* The lease's right to lead began or ended. */
void roles_lease(struct baton *b, bool leads);
/* The lease is gone: every session with it. */
void roles_drop_all(struct baton *b);
/* A call that opens a session is on its way; and it was answered, by session `id` (0: by none). What happens to a session meanwhile is told
 * after the answer: before that, the program doesn't know whom it concerns. Sessions are numbered in the order of their opening, and answered
 * mostly in it: one that is answered later than a later one isn't waited for. */
void roles_opening(struct baton *b);
void roles_opened(struct baton *b, uint64_t id);
bool roles_any_leads(const struct baton *b);

/* watches.c */
void watches_step(struct baton *b, uint64_t now_ms);
uint64_t watches_next_ms(const struct baton *b);
bool watches_message(struct baton *b, uint32_t from, const Pb__ClientMessage *m,
                     uint64_t now_ms);
void watches_link_down(struct baton *b, uint32_t at, uint64_t now_ms);
/* The node at `at` is known to lead: what concerns our own roles is watched there. */
void watches_lease_at(struct baton *b, uint32_t at, uint64_t now_ms);
enum baton_status watch_add(struct baton *b, const struct baton_watch *w,
                            bool of_lease);
bool watch_remove(struct baton *b, uint64_t tag, bool of_lease);
void watches_fini(struct baton *b);

/* events.c */
struct event_node *event_make(enum baton_event_type type);
void event_push(struct baton *b, struct event_node *n);
void event_free(struct event_node *n); /* NULL is none */
void event_set_scope(struct event_node *n, const char *namespace_name,
                     const char *group, const char *device);
void event_set_message(struct event_node *n, const char *text);
void event_set_raw(struct event_node *n, enum raw_type type,
                   const ProtobufCMessage *m);
void events_fini(struct baton *b);
/* The message behind the event that baton_poll() gave out last; NULL if it has none. Lives as long as that. */
const ProtobufCMessage *client_polled(struct baton *b);
/* Its memory is the caller's from now on: free() it. */
void *client_keep_polled(struct baton *b);

/* reply.c */
void reply_fill(struct baton_reply *out, const struct answer *a);
Pb__Path path_of(const struct baton_scope *s);

/* policy.c */
/* NULL, and a sentence that names the field in error. The result is in `memory` (free() it). */
Pb__Policy *policy_parse(const char *json, void **out_memory, char *error,
                         size_t error_bytes);

#endif

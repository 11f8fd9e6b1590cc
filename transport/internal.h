/* internal.h - the inside of a transport, as its parts share it. Nobody else includes this but http.c.
 *
 *    transport.c  open, wait, next, close: the inbox's nodes go to whom they concern, inputs come out
 *    conn.c       one stream with a state: its life, its frames, its deadlines
 *    greet.c      the Hello of each kind of connection
 *    peers.c      who we dial, when again; who dialled us
 *    note.c       log lines, at most one a second of a kind
 *
 *    conn:   HELLO --[PROOF]--> OPEN --> DRAIN --> CLOSED --> freed
 *            '-----------------------------^  refused: the answer leaves first
 *
 * A conn with something to do is in the ready list of its rank: peers and admin before clients. One with output since the last
 * flush is in `dirty`. A CLOSED one whose operations came back, and of which the last input was handed out, is freed by the next
 * transport_next(): bytes handed out stay valid until then. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include "transport/hello.h"
#include "transport/list.h"
#include "transport/net.h"
#include "transport/stream.h"
#include "transport/transport.h"

/* Frames of one stream in a row, while others wait. */
#define TURN_FRAMES_MAX 64
/* Deadlines of connections are looked at this often. */
#define SWEEP_MS 200
/* A frame that began must be whole by then. */
#define FRAME_MS 30000
/* A client may take so many times as long as a peer before it counts as gone. */
#define CLIENT_STALL_FACTOR 6
/* How long a last word may take to leave, and its reader to hang up. */
#define DRAIN_MS 1000
/* Redials: 20 ms doubling to 1 s, each half drawn. */
#define REDIAL_MIN_MS 20
#define REDIAL_MAX_MS 1000
/* Streams that others open to us as peers, proven or not. */
#define PEER_CONNS_MAX 128
/* Clients over the limit that are being told so. */
#define REFUSING_MAX 64
#define ADMIN_MAX    64
#define ADMIN_QUEUE  (16u << 20)
#define CONNS_MAX    1000000

enum conn_kind {
    CONN_PEER_OUT = 1, /* we dialled: only written to, after the Hello */
    CONN_PEER_IN,      /* dialled to us: only read from */
    CONN_CLIENT,
    CONN_ADMIN,
};

enum conn_state {
    CONN_HELLO = 1,
    CONN_PROOF, /* peer in: its Hello came, its proof hasn't */
    CONN_OPEN,
    CONN_DRAIN,  /* the last words are leaving */
    CONN_CLOSED, /* the stream is closed; its operations come back */
};

struct peer;

struct conn {
    struct stream stream;
    struct transport *t;
    uint64_t id;
    enum conn_kind kind;
    enum conn_state state;
    struct list_node in_all;
    struct list_node in_ready;
    struct list_node in_dirty;
    struct list_node in_closed;
    uint64_t deadline_ms; /* of HELLO, PROOF, DRAIN */
    uint64_t part_ms;     /* since when there's a part of a frame; 0: none */
    uint64_t stall_ms;    /* since when nothing was written; 0: nothing waits */
    uint32_t turn_n;      /* frames in this turn */
    bool told_open;
    bool told_end;
    bool wants_room;
    bool refusing;     /* a client over the limit */
    struct hello them; /* peer: once the Hello came */
    uint8_t nonce[HELLO_NONCE_BYTES];
};

struct peer {
    uint32_t node; /* 0: free */
    char address[128];
    struct conn *out; /* HELLO or OPEN, else NULL */
    struct net_dialer *dialing;
    uint64_t dial_deadline_ms;
    /* when to dial; looked at only while neither out nor dialing */
    uint64_t redial_ms;
    uint64_t up_ms; /* when out became open */
    uint32_t backoff_ms;
    /* the last dial didn't connect, as far as we know it isn't there */
    bool unreachable;
};

/* Kinds of log lines, limited one by one. */
enum note_kind {
    NOTE_REFUSED,
    NOTE_PEER_UP,
    NOTE_PEER_DOWN,
    NOTE_PEER_DIAL,
    NOTE_PEER_IN,
    NOTE_ACCEPT,
    NOTE_CLOSED,
    NOTE_STALLED,
    NOTE_END,
};

struct note {
    uint64_t last_ms;
    uint32_t suppressed;
};

struct transport {
    struct transport_options o; /* strings are copies */
    struct stream_env env;
    struct net_tls tls;
    struct hello self; /* without nonce and proof */
    struct bytes secret;
    struct net_listener peer_listener;
    struct net_listener client_listener;
    struct net_listener admin_listener;
    struct peer peers[TRANSPORT_PEERS_MAX];
    struct list all; /* every conn that isn't freed */
    struct list ready_first;
    struct list ready_clients;
    struct list dirty;
    struct list closed;
    struct conn *current; /* whose turn it is */
    struct conn **slots;
    uint32_t *generations;
    uint32_t slots_n;
    uint32_t *free_slots;
    uint32_t free_n;
    uint32_t dials_n; /* not yet come back, cancelled ones too */
    uint32_t kinds_n[CONN_ADMIN + 1];
    uint32_t refusing_n;
    uint64_t sweep_ms;
    bool paused;
    bool closing;
    struct transport_stats stats;
    struct note notes[NOTE_END];
    struct arena arena;
    uint8_t *arena_memory;
    uint64_t random;
    /* HTTP, if it's open. */
    struct inbox_node http_node;
    bool http_ready;
    bool http_turn;
    struct http *http;
    bool (*http_next)(struct http *h, struct transport_input *out);
    void (*http_reply)(struct http *h, uint64_t ticket, uint32_t status,
                       const char *content_type, struct bytes body);
};

/* note.c */
void note_line(struct transport *t, enum note_kind kind, int level,
               const char *format, ...) __attribute__((format(printf, 4, 5)));

/* conn.c. NULL: no memory, or too many; nng is closed and freed. */
struct conn *conn_open(struct transport *t, enum conn_kind kind,
                       nng_stream *nng);
struct conn *conn_find(struct transport *t, uint64_t id);
/* Puts it where transport_next() finds it. */
void conn_ready(struct conn *c);
/* One input from it, or false: it has none, and isn't in a ready list any more. */
bool conn_serve(struct conn *c, struct transport_input *out);
bool conn_send(struct conn *c, struct bytes body);
/* Last words were queued (or none): they leave, then it closes. Nothing of it is handed out any more but its end. */
void conn_drain(struct conn *c);
void conn_close(struct conn *c);
void conn_took(struct conn *c, enum inbox_kind kind);
/* Looks at its deadlines. */
void conn_sweep(struct conn *c, uint64_t now_ms);
/* Frees what can be. */
void conn_reap(struct transport *t);
const char *conn_kind_name(enum conn_kind kind);

/* greet.c */
/* A peer stream that we dialled: says Hello first. */
void greet_begin(struct conn *c);
/* A frame that came before the stream was open. */
void greet_frame(struct conn *c, struct bytes body);
/* A peer that the node won't have: says why, and hangs up. */
void greet_send_away(struct conn *c, const char *reason);
/* Too many clients: says so. */
void greet_full(struct conn *c);

/* peers.c */
struct peer *peer_find(struct transport *t, uint32_t node);
void peer_dialed(struct transport *t, struct net_dialer *d);
/* Its stream to us is open; an older one goes. */
void peer_came_in(struct transport *t, struct conn *c);
void peer_went_up(struct transport *t, struct conn *c);
/* Its stream, either way, is closed. */
void peer_lost(struct transport *t, struct conn *c);
void peers_tick(struct transport *t, uint64_t now_ms);
/* When peers_tick() is due next; UINT64_MAX: never. */
uint64_t peers_due_ms(const struct transport *t);
void peers_cancel(struct transport *t);

#endif

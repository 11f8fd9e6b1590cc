/* dial.h - framed connections outwards, many on one thread: what libbaton and the command line reach nodes with.
 *
 *    link_open ---> connecting ---Hello both ways---> LINK_UP ---> LINK_FRAME ... ---> LINK_DOWN
 *                        '---------- refused, late, broken --------------------------------^
 *
 * A link_loop owns one eventfd, one inbox and any number of links; one thread uses it (all functions but link_loop_wake()).
 * Nothing blocks but link_loop_wait(). A link is one attempt at one node: it doesn't redial. When it is down, link_close() it
 * and open another one, with whatever backoff and choice of node fits.
 *
 * Ownership: sends copy. Bytes of an event are valid until the next link_loop_next(). A link belongs to its loop, and stays valid
 * until link_close() or link_loop_close(), also after LINK_DOWN.
 *
 *    struct link_loop *loop = link_loop_open(&options, error, sizeof error);
 *    struct link *l = link_open(loop, &(struct link_options){.address = "127.0.0.1:7400"});
 *    for (;;) {
 *        link_loop_wait(loop, timeout_ms);
 *        struct link_event e;
 *        while (link_loop_next(loop, &e)) {
 *            ... link_send(l, body) ...
 *        }
 *        link_loop_flush(loop);
 *    } */
#ifndef TRANSPORT_DIAL_H
#define TRANSPORT_DIAL_H

#include "proto/base.h"

struct link_loop;
struct link;

struct link_loop_options {
    /* Both or neither: TLS, with a certificate of this CA on both sides. The second is a PEM file with certificate and key. */
    const char *tls_ca_file;
    const char *tls_cert_key_file;
    uint64_t queue_bytes; /* output bound of one link; 0: 4 MiB */
    uint32_t dial_ms;     /* until connected; 0: 5,000 */
    uint32_t hello_ms;    /* from connected until proven; 0: 5,000 */
};

struct link_options {
    const char *address; /* HOST:PORT; of an admin socket its path */
    /* the node's admin socket: AdminRequest and AdminReply, and no Hello */
    bool admin;
    uint64_t cluster; /* the node must be of it; 0: any */
    void *user;       /* comes back with link_user() */
};

enum link_event_type {
    LINK_UP = 1, /* link_peer() tells who it is; requests may be sent */
    LINK_FRAME, /* body: one ClientMessage (AdminReply), pushes and Goodbye too */
    LINK_ROOM, /* once refused, its output is below half of the bound again */
    LINK_DOWN, /* the last one of a link; link_why() tells why */
};

struct link_event {
    enum link_event_type type;
    struct link *link;
    struct bytes body;
};

/* Who answered, from its Hello. */
struct link_peer {
    uint64_t cluster;
    uint32_t node;
    uint64_t incarnation;
    uint64_t boot;
    char endpoint[128]; /* where it says clients reach it */
    char http[128];
};

/* NULL, and a sentence in error (a bad certificate, no descriptors). */
struct link_loop *link_loop_open(const struct link_loop_options *options,
                                 char *error, size_t error_bytes);
/* Closes every link, without waiting for what is still queued. */
void link_loop_close(struct link_loop *loop);

/* Waits until link_loop_next() may have something, somebody called link_loop_wake(), or timeout_ms passed (-1: never). May
 * return early. */
void link_loop_wait(struct link_loop *loop, int timeout_ms);
/* From any thread, or a signal handler. */
void link_loop_wake(struct link_loop *loop);

/* False: nothing now. A link's events come in order; links take turns. */
bool link_loop_next(struct link_loop *loop, struct link_event *out);

/* What was sent since the last call starts to leave: one write a link. */
void link_loop_flush(struct link_loop *loop);

/* Starts to connect. Never NULL: what goes wrong comes as LINK_DOWN. */
struct link *link_open(struct link_loop *loop,
                       const struct link_options *options);

/* At once; what's queued and not written is lost, and no event of it comes any more. The pointer is no longer valid. */
void link_close(struct link *l);

/* One ClientRequest (AdminRequest): the length goes in front. 0 < body.n <= FRAME_CLIENT_BYTES_MAX. False: it isn't up, or its
 * queue is full; then nothing was queued. */
bool link_send(struct link *l, struct bytes body);

bool link_is_up(const struct link *l);
/* Bytes that may still be queued; 0 if it isn't up. */
uint64_t link_room(const struct link *l);
/* Bytes queued and not yet taken by the kernel. 0: everything sent has left. */
uint64_t link_queued(const struct link *l);
void *link_user(const struct link *l);
/* All zero until LINK_UP. */
const struct link_peer *link_peer(const struct link *l);
/* After LINK_DOWN: a sentence, and BATON_UNSUPPORTED, BATON_NOT_ALLOWED (another cluster), BATON_LIMIT (too many connections there)
 * or BATON_UNAVAILABLE (anything else: refused, unreachable, closed, late). */
const char *link_why(const struct link *l);
int link_status(const struct link *l);

#endif

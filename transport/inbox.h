/* inbox.h - where other threads leave what happened for the loop's thread to find.
 *
 *    NNG's callbacks, libwebsockets' thread --inbox_post()--> [ node, node, ... ] --inbox_take()--> the loop
 *
 * A node is a member of what it is about (a stream's receive, its send, an accept, a dial), and is posted once for each operation that was
 * started; who owns it doesn't start another before it took the node. So the queue is bounded by what is open, and needs no memory.
 *
 * The eventfd is written only if the loop sleeps. A post can be quiet: it doesn't wake the loop, because there's nothing to do
 * (all of a write left, nothing is behind it), unless the loop has said in between that it waits for just that. */
#ifndef TRANSPORT_INBOX_H
#define TRANSPORT_INBOX_H

#include <pthread.h>
#include <stdatomic.h>

#include "proto/base.h"

enum inbox_kind {
    INBOX_STREAM_RX = 1,
    INBOX_STREAM_TX,
    INBOX_ACCEPT,
    INBOX_DIAL,
    INBOX_HTTP,
};

struct inbox_node {
    struct inbox_node *next;
    void *owner;
    enum inbox_kind kind;
    bool queued; /* under the lock */
    bool wanted; /* under the lock: a quiet post of it wakes all the same */
};

struct inbox {
    pthread_mutex_t lock;
    struct inbox_node *head;
    struct inbox_node *tail;
    bool asleep;       /* under the lock */
    atomic_bool any;   /* head != NULL, to be looked at without the lock */
    atomic_bool woken; /* inbox_wake() was called */
    int fd;
};

/* False: no descriptor to be had. */
bool inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);

void inbox_node_init(struct inbox_node *n, enum inbox_kind kind, void *owner);

/* Any thread. */
void inbox_post(struct inbox *in, struct inbox_node *n, bool quiet);

/* The loop's thread: the next post of n wakes. Holds until n is taken. */
void inbox_want(struct inbox *in, struct inbox_node *n);

/* The loop's thread: everything posted, oldest first, or NULL. Read a node's `next` before acting on it: it may be posted again. */
struct inbox_node *inbox_take(struct inbox *in);

/* The loop's thread: returns when something is there, at once if it is already, or after timeout_ms (-1: never). */
void inbox_sleep(struct inbox *in, int timeout_ms);

/* Any thread, and signal handlers. */
void inbox_wake(struct inbox *in);

/* Was it called since this was last asked? */
bool inbox_woken(struct inbox *in);

#endif

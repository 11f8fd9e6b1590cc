/* net.h - what must be right before the first byte: NNG's threads without our signals, TLS configurations, addresses, listening and
 * dialling. Everything in here is of the loop's thread; completions come through the inbox as INBOX_ACCEPT and INBOX_DIAL. */
#ifndef TRANSPORT_NET_H
#define TRANSPORT_NET_H

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "transport/inbox.h"

/* Starts NNG's threads with every signal blocked, so that signals reach the threads of our own that want them. Any number of
 * times; before any other call of NNG. */
void net_start(void);

uint64_t net_now_ms(void); /* CLOCK_MONOTONIC */

/* Both NULL: plain. */
struct net_tls {
    nng_tls_config *server;
    nng_tls_config *client;
};

/* The first of the two that can't be used, and a sentence in error; NULL: both can. */
MUST_USE const char *net_tls_wrong_file(const char *ca_file,
                                        const char *cert_key_file, char *error,
                                        size_t error_bytes);

/* Both files NULL: plain. Mutual: each side shows a certificate of this CA and wants to see one. The CA is the cluster's own: who has
 * one is trusted, whatever host its name says (a node moves). False, and a sentence in error. */
MUST_USE bool net_tls_init(struct net_tls *tls, const char *ca_file,
                           const char *cert_key_file, char *error,
                           size_t error_bytes);
void net_tls_fini(struct net_tls *tls);

/* --- listening ---------------------------------------------------------------------------------------------------- */
#define NET_ACCEPTS_MAX 64

struct net_accept {
    nng_aio *aio;
    struct inbox_node node;
    struct net_listener *listener;
    bool busy;
};

/* Several accepts wait at once: connections arrive in bursts, and the kernel's queue is 128 long. */
struct net_listener {
    struct inbox *inbox;
    nng_stream_listener *nng; /* NULL: not open */
    struct net_accept accepts[NET_ACCEPTS_MAX];
    uint32_t accepts_n;
    uint32_t waiting;  /* accepts that aren't busy and wait for retry_ms */
    uint64_t retry_ms; /* out of descriptors: try again then; 0: no */
    uint16_t port;
    void *user; /* whose it is: the owner knows what to do with a stream */
    bool closed;
};

struct net_listen_options {
    const char *address; /* HOST:PORT, or a path with ipc */
    bool ipc;            /* a unix socket of mode 0600 */
    nng_tls_config *tls; /* NULL: plain */
    void *user;
};

MUST_USE bool net_listen(struct net_listener *l, struct inbox *inbox,
                         const struct net_listen_options *options, char *error,
                         size_t error_bytes);
/* An accept came back: 0 and a stream, or NNG's error. It waits again, at once or (after an error) from retry_ms on. */
MUST_USE int net_accepted(struct net_accept *a, nng_stream **out);
/* Arms again what waits for retry_ms, if it's time. */
void net_listener_tick(struct net_listener *l, uint64_t now_ms);
void net_listener_close(struct net_listener *l);
/* Has everything come back? */
bool net_listener_is_idle(const struct net_listener *l);
void net_listener_fini(struct net_listener *l); /* closed and idle */

/* --- dialling: one attempt each ------------------------------------------------------------------------------------- */
struct net_dialer {
    nng_stream_dialer *nng;
    nng_aio *aio;
    struct inbox_node node;
    void *user; /* NULL once nobody waits for it any more */
};

/* Starts to connect. NULL and NNG's error in *out_error if it can't even. */
MUST_USE struct net_dialer *net_dial(struct inbox *inbox, const char *address,
                                     bool ipc, nng_tls_config *tls,
                                     int *out_error);
/* It came back: 0 and a stream, or NNG's error. Frees d. */
MUST_USE int net_dialed(struct net_dialer *d, nng_stream **out);
/* Nobody waits for it any more; it still comes back, with user NULL. */
void net_dial_cancel(struct net_dialer *d);

#endif

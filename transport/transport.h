/* transport.h - bytes between this node and everybody else: peers, clients, the admin socket. NNG streams, framed.
 *
 *   peers    one stream each way: we dial every peer and send on what we dialled; what a peer dials to us, we only read.
 *            Dialled again with backoff when it breaks; each frame is a PeerFrame.
 *   clients  accept on one address; requests in, replies and pushes out on the same stream, in order.
 *   admin    an ipc listener, mode 0600; frames are AdminRequest / AdminReply.
 *
 * NNG's callbacks only note what happened and wake the loop (transport_wait); frames are parsed, handed out and buffers re-armed on
 * the loop's thread. A stream is a peer or a client only after its Hello, within a deadline: version, cluster, node, proof (HMAC over
 * nonces under the cluster's secret, if there is one) are checked in here; refusals are logged with the reason and counted.
 *
 * Nothing in here blocks the loop. Output is bounded: per peer and per connection; a full one refuses (false), and the caller decides. A frame
 * over the size, or one that isn't whole in time, closes that one stream.
 *
 * Ownership: sends copy. Bytes of an input are valid until the next transport_next(). The simulator has its own implementation. */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "proto/base.h"
#include "proto/lineage.h"

struct transport;

#define TRANSPORT_PEERS_MAX 32

struct transport_peer {
    uint32_t node;
    char address[128]; /* HOST:PORT */
};

enum transport_listener {
    TRANSPORT_LISTEN_PEER,
    TRANSPORT_LISTEN_CLIENT,
    TRANSPORT_LISTEN_ADMIN,
    TRANSPORT_LISTENERS,
};

struct transport_options {
    uint32_t node;
    uint64_t cluster;
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
    const char *peer_listen;      /* HOST:PORT; NULL: none (a client, a test) */
    const char *client_listen;    /* HOST:PORT */
    const char *client_advertise; /* what Hello tells clients and peers */
    const char *http_advertise;
    const char *settings;   /* told to peers as it is; NULL: none */
    const char *admin_path; /* NULL: none */
    /* Where each address is from: begins the sentence if it can't be listened on. NULL: nothing does. */
    const char *listen_names[TRANSPORT_LISTENERS];
    const char *secret; /* of the cluster; NULL: peers prove nothing */
    size_t secret_bytes;
    /* With certificate and key: TLS for peers and clients, both sides must show a certificate of this CA. NULL: plain. */
    const char *tls_ca_file;
    const char *tls_cert_key_file;
    uint32_t connections_max;    /* clients; more are told so and closed */
    uint64_t peer_queue_bytes;   /* output bound of one peer, e.g. 64 MiB */
    uint64_t client_queue_bytes; /* output bound of one client connection */
    uint32_t hello_ms;           /* deadline of a Hello, 5,000 */
    /* Nothing could be written to a peer for so long: closed, and dialled anew; to a client, for six times as long: closed. What was queued
     * is freed. 0: 10,000. */
    uint32_t stall_ms;
    /* "event key=value ..."; level 0 error .. 3 debug; loop's thread only. */
    void (*log)(void *arg, int level, const char *line);
    void *log_arg;
};

enum transport_input_type {
    TRANSPORT_PEER_UP =
        1, /* our stream to `node` is open and proven: sends go through; incarnation, boot of it */
    TRANSPORT_PEER_DOWN,  /* it broke */
    TRANSPORT_PEER_HELLO, /* a peer opened its stream to us: incarnation, boot; transport_peer_refuse() sends it away */
    TRANSPORT_PEER_FRAME, /* body: one PeerFrame from `node` */
    TRANSPORT_CLIENT_OPEN,  /* conn; after its Hello was answered */
    TRANSPORT_CLIENT_FRAME, /* conn, body: one ClientRequest */
    TRANSPORT_CLIENT_ROOM, /* conn's output, once refused, is below half of its bound again */
    TRANSPORT_CLIENT_CLOSED, /* conn is gone */
    TRANSPORT_ADMIN_FRAME, /* conn, body: one AdminRequest; answer with transport_send(conn) */
    TRANSPORT_HTTP, /* conn: ticket; body: path with query, no NUL; answer with transport_http_reply() */
    TRANSPORT_WAKE, /* somebody called transport_wake(): the store has news, a signal came */
};

struct transport_input {
    enum transport_input_type type;
    uint32_t node;
    uint64_t conn;
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
    const char *settings; /* a peer's, never NULL, until the next call */
    struct bytes body;
};

/* NULL, and a sentence in error (address in use, bad certificate, ...). */
struct transport *transport_open(const struct transport_options *options,
                                 char *error, size_t error_bytes);
/* Closes every stream after what is queued left, at most timeout_ms. */
void transport_close(struct transport *t, uint32_t timeout_ms);

/* Who the peers are now: opens, closes and redials accordingly. Ourselves among them is skipped. */
void transport_set_peers(struct transport *t,
                         const struct transport_peer *peers, size_t peers_n);

/* Waits until there's an input or timeout_ms passed (-1: no end). May return early. */
void transport_wait(struct transport *t, int timeout_ms);
/* Next input; false: none now. Frames of one stream come in order; streams take turns, so that none starves the others. Peers come first. */
bool transport_next(struct transport *t, struct transport_input *out);
/* From any thread or a signal handler (one write to an eventfd). */
void transport_wake(struct transport *t);

/* A frame's body; the length goes in front. False: not connected, or its queue is full (nothing was queued). */
bool transport_peer_send(struct transport *t, uint32_t node, struct bytes body);
/* Closes its stream to us, after telling it why, and ours to it; both may be tried again. */
void transport_peer_refuse(struct transport *t, uint32_t node,
                           const char *reason);

/* To a client or admin connection. False: unknown, closed, or its queue is full. */
bool transport_send(struct transport *t, uint64_t conn, struct bytes body);
uint64_t transport_room(const struct transport *t, uint64_t conn);
/* As if a send had been refused: TRANSPORT_CLIENT_ROOM comes when its queue is below half of its bound. */
void transport_want_room(struct transport *t, uint64_t conn);
void transport_conn_close(struct transport *t, uint64_t conn,
                          const char *reason);
/* Stop or go on reading client connections (backpressure); peers and admin are always read. */
void transport_clients_pause(struct transport *t, bool pause);

/* Everything queued since the last call starts to leave: one write per stream. */
void transport_flush(struct transport *t);

/* transport/http.h runs libwebsockets in a thread of its own and feeds TRANSPORT_HTTP inputs; this answers one. content_type is static. */
void transport_http_reply(struct transport *t, uint64_t ticket, uint32_t status,
                          const char *content_type, struct bytes body);

/* Where it listens, if it was told port 0. */
uint16_t transport_client_port(const struct transport *t);
uint16_t transport_peer_port(const struct transport *t);

struct transport_stats {
    uint64_t peers_connected;
    uint64_t clients;
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t refused_version;
    uint64_t refused_cluster;
    uint64_t refused_proof;
    uint64_t refused_size;
    uint64_t refused_undecodable;
    uint64_t refused_limit;
    uint64_t hello_late;
    uint64_t peer_dials;
    uint64_t queue_full;
    uint64_t queued_bytes;
};
void transport_stats(const struct transport *t, struct transport_stats *out);

#endif

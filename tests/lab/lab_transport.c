#include "tests/lab/lab_transport.h"

#include <stdlib.h>

struct transport {
    uint32_t node;
    struct lab_transport_hooks hooks;
    struct transport_peer peers[TRANSPORT_PEERS_MAX];
    size_t peers_n;
    struct transport_stats stats;
};

struct transport *lab_transport_new(uint32_t node,
                                    const struct lab_transport_hooks *hooks)
{
    struct transport *t = calloc(1, sizeof *t);
    ASSERT(t != NULL);
    t->node = node;
    t->hooks = *hooks;
    return t;
}

void lab_transport_free(struct transport *t)
{
    free(t);
}

bool lab_transport_has_peer(const struct transport *t, uint32_t node)
{
    for (size_t i = 0; i < t->peers_n; i++) {
        if (t->peers[i].node == node) {
            return true;
        }
    }
    return false;
}

void transport_set_peers(struct transport *t,
                         const struct transport_peer *peers, size_t peers_n)
{
    ASSERT(peers_n <= TRANSPORT_PEERS_MAX);
    t->peers_n = peers_n;
    for (size_t i = 0; i < peers_n; i++) {
        ASSERT(peers[i].node != t->node);
        t->peers[i] = peers[i];
    }
}

bool transport_peer_send(struct transport *t, uint32_t node, struct bytes body)
{
    ASSERT(body.n > 0);
    t->stats.frames_out++;
    return t->hooks.peer_send != NULL &&
           t->hooks.peer_send(t->hooks.arg, t->node, node, body);
}

void transport_peer_refuse(struct transport *t, uint32_t node,
                           const char *reason)
{
    if (t->hooks.peer_refuse != NULL) {
        t->hooks.peer_refuse(t->hooks.arg, t->node, node, reason);
    }
}

bool transport_send(struct transport *t, uint64_t conn, struct bytes body)
{
    ASSERT(body.n > 0);
    return t->hooks.send != NULL &&
           t->hooks.send(t->hooks.arg, t->node, conn, body);
}

uint64_t transport_room(const struct transport *t, uint64_t conn)
{
    return t->hooks.room == NULL ? 0
                                 : t->hooks.room(t->hooks.arg, t->node, conn);
}

void transport_want_room(struct transport *t, uint64_t conn)
{
    (void)t;
    (void)conn; /* the test says when there's room */
}

void transport_conn_close(struct transport *t, uint64_t conn,
                          const char *reason)
{
    if (t->hooks.close != NULL) {
        t->hooks.close(t->hooks.arg, t->node, conn, reason);
    }
}

/* Everything left at once already. */
void transport_flush(struct transport *t)
{
    t->stats.queued_bytes = 0;
}

void transport_http_reply(struct transport *t, uint64_t ticket, uint32_t status,
                          const char *content_type, struct bytes body)
{
    ASSERT(content_type != NULL);
    if (t->hooks.http != NULL) {
        t->hooks.http(t->hooks.arg, t->node, ticket, status, body);
    }
}

void transport_stats(const struct transport *t, struct transport_stats *out)
{
    *out = t->stats;
}

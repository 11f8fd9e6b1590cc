#include "transport/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/frame.h"
#include "transport/internal.h"

/* --- open --------------------------------------------------------------------------------------------------------- */

static const char *copy_string(const char *s, bool *failed)
{
    char *copy = s == NULL ? NULL : strdup(s);
    *failed = *failed || (s != NULL && copy == NULL);
    return copy;
}

static void free_string(const char *s)
{
    free((void *)(uintptr_t)s);
}

/* The caller's strings may go. False: no memory. */
static bool copy_options(struct transport *t, const struct transport_options *o)
{
    bool failed = false;
    t->o = *o;
    t->o.peer_listen = copy_string(o->peer_listen, &failed);
    t->o.client_listen = copy_string(o->client_listen, &failed);
    t->o.admin_path = copy_string(o->admin_path, &failed);
    t->o.client_advertise = NULL; /* these are in `self`, or used up */
    t->o.http_advertise = NULL;
    t->o.tls_ca_file = NULL;
    t->o.tls_cert_key_file = NULL;
    memset((void *)t->o.listen_names, 0, sizeof t->o.listen_names);
    t->o.secret = NULL;
    if (t->o.hello_ms == 0) {
        t->o.hello_ms = 5000;
    }
    if (t->o.stall_ms == 0) {
        t->o.stall_ms = 10000;
    }
    if (o->secret != NULL && o->secret_bytes > 0) {
        uint8_t *secret = malloc(o->secret_bytes);
        failed = failed || secret == NULL;
        if (secret != NULL) {
            memcpy(secret, o->secret, o->secret_bytes);
            t->secret = (struct bytes){secret, o->secret_bytes};
        }
    }
    t->arena_memory = malloc(HELLO_ARENA_BYTES);
    if (failed || t->arena_memory == NULL) {
        return false;
    }
    arena_init(&t->arena, t->arena_memory, HELLO_ARENA_BYTES);
    return true;
}

static bool make_self(struct transport *t, const struct transport_options *o,
                      char *error, size_t error_bytes)
{
    t->self = (struct hello){
        .version = PROTOCOL_VERSION,
        .cluster = o->cluster,
        .node = o->node,
        .incarnation = o->incarnation,
        .boot = o->boot,
        .lineage = o->lineage,
    };
    if (o->settings != NULL) {
        ASSERT(strlen(o->settings) < sizeof t->self.settings);
        memcpy(t->self.settings, o->settings, strlen(o->settings) + 1);
    }
    const struct {
        const char *from;
        char *to;
    } texts[] = {{o->client_advertise, t->self.endpoint},
                 {o->http_advertise, t->self.http}};
    for (size_t i = 0; i < countof(texts); i++) {
        const char *from = texts[i].from == NULL ? "" : texts[i].from;
        if (strlen(from) >= sizeof t->self.endpoint) {
            (void)snprintf(error, error_bytes,
                           "%s is too long for an address (at most %zu bytes)",
                           from, sizeof t->self.endpoint - 1);
            return false;
        }
        memcpy(texts[i].to, from, strlen(from) + 1);
    }
    return true;
}

static bool open_listeners(struct transport *t, const char *const *names,
                           char *error, size_t error_bytes)
{
    const struct {
        struct net_listener *listener;
        struct net_listen_options options;
    } all[TRANSPORT_LISTENERS] = {
        [TRANSPORT_LISTEN_PEER] = {&t->peer_listener,
                                   {.address = t->o.peer_listen,
                                    .tls = t->tls.server,
                                    .user = t}},
        [TRANSPORT_LISTEN_CLIENT] = {&t->client_listener,
                                     {.address = t->o.client_listen,
                                      .tls = t->tls.server,
                                      .user = t}},
        [TRANSPORT_LISTEN_ADMIN] = {&t->admin_listener,
                                    {.address = t->o.admin_path,
                                     .ipc = true,
                                     .user = t}},
    };
    for (size_t i = 0; i < countof(all); i++) {
        char why[512] = "";
        if (all[i].options.address != NULL &&
            !net_listen(all[i].listener, &t->env.inbox, &all[i].options, why,
                        sizeof why)) {
            (void)snprintf(error, error_bytes, "%s%s%s",
                           names[i] == NULL ? "" : names[i],
                           names[i] == NULL ? "" : ": ", why);
            return false;
        }
    }
    return true;
}

static void init_lists(struct transport *t)
{
    list_init(&t->all);
    list_init(&t->ready_first);
    list_init(&t->ready_clients);
    list_init(&t->dirty);
    list_init(&t->closed);
}

struct transport *transport_open(const struct transport_options *options,
                                 char *error, size_t error_bytes)
{
    ASSERT(options->connections_max <= CONNS_MAX / 2);
    net_start();
    struct transport *t = calloc(1, sizeof *t);
    if (t == NULL || !stream_env_init(&t->env)) {
        (void)snprintf(error, error_bytes, "out of memory or descriptors");
        free(t);
        return NULL;
    }
    init_lists(t);
    if (getrandom(&t->random, sizeof t->random, 0) != sizeof t->random) {
        t->random = net_now_ms();
    }
    t->random |= 1;
    if (!copy_options(t, options)) {
        (void)snprintf(error, error_bytes, "out of memory");
    } else if (make_self(t, options, error, error_bytes) &&
               net_tls_init(&t->tls, options->tls_ca_file,
                            options->tls_cert_key_file, error, error_bytes) &&
               open_listeners(t, options->listen_names, error, error_bytes)) {
        return t;
    }
    transport_close(t, 0);
    return NULL;
}

/* --- what the inbox has --------------------------------------------------------------------------------------------- */

static enum conn_kind kind_of(const struct transport *t,
                              const struct net_listener *l)
{
    if (l == &t->peer_listener) {
        return CONN_PEER_IN;
    }
    return l == &t->client_listener ? CONN_CLIENT : CONN_ADMIN;
}

static void accept_stream(struct transport *t, enum conn_kind kind,
                          nng_stream *nng)
{
    uint32_t n = t->kinds_n[kind];
    bool full = false;
    bool tell = false;
    if (kind == CONN_CLIENT) {
        tell = n - t->refusing_n >= t->o.connections_max;
        full = tell && t->refusing_n >= REFUSING_MAX;
    } else {
        full = n >= (kind == CONN_ADMIN ? ADMIN_MAX : PEER_CONNS_MAX);
    }
    struct conn *c = full || t->closing ? NULL : conn_open(t, kind, nng);
    if (c == NULL) {
        t->stats.refused_limit += !t->closing;
        note_line(t, NOTE_REFUSED, 1,
                  "transport_refused kind=%s reason=connections connections=%u",
                  conn_kind_name(kind), n);
        if (full || t->closing) {
            nng_stream_close(nng);
            nng_stream_free(nng);
        }
        return;
    }
    if (tell) {
        c->refusing = true;
        t->refusing_n++;
        greet_full(c);
    }
}

static void take_accept(struct transport *t, struct net_accept *a)
{
    struct net_listener *l = a->listener;
    nng_stream *nng = NULL;
    int rv = net_accepted(a, &nng);
    if (rv == 0) {
        accept_stream(t, kind_of(t, l), nng);
    } else if (!l->closed) {
        note_line(t, NOTE_ACCEPT, 0, "accept_failed kind=%s why=\"%s\"",
                  conn_kind_name(kind_of(t, l)), nng_strerror(rv));
    }
}

static void drain_inbox(struct transport *t)
{
    struct inbox_node *next = NULL;
    for (struct inbox_node *n = inbox_take(&t->env.inbox); n != NULL;
         n = next) {
        next = n->next;
        switch (n->kind) {
        case INBOX_STREAM_RX:
        case INBOX_STREAM_TX:
            conn_took(((struct stream *)n->owner)->user, n->kind);
            break;
        case INBOX_ACCEPT:
            take_accept(t, n->owner);
            break;
        case INBOX_DIAL:
            peer_dialed(t, n->owner);
            break;
        case INBOX_HTTP:
            t->http_ready = true;
            break;
        }
    }
}

/* --- waiting -------------------------------------------------------------------------------------------------------- */

static void tick(struct transport *t)
{
    uint64_t now = net_now_ms();
    struct net_listener *listeners[] = {&t->peer_listener, &t->client_listener,
                                        &t->admin_listener};
    for (size_t i = 0; i < countof(listeners); i++) {
        net_listener_tick(listeners[i], now);
    }
    peers_tick(t, now);
    if (now < t->sweep_ms) {
        return;
    }
    t->sweep_ms = now + SWEEP_MS;
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&t->all); n != NULL; n = next) {
        next = list_after(&t->all, n);
        conn_sweep(LIST_OWNER(n, struct conn, in_all), now);
    }
}

/* When tick() has something to do next. */
static uint64_t due_ms(struct transport *t)
{
    uint64_t due = t->closing ? UINT64_MAX : peers_due_ms(t);
    if (list_first(&t->all) != NULL) {
        due = min_u64(due, t->sweep_ms);
    }
    const struct net_listener *listeners[] = {
        &t->peer_listener, &t->client_listener, &t->admin_listener};
    for (size_t i = 0; i < countof(listeners); i++) {
        if (listeners[i]->retry_ms != 0) {
            due = min_u64(due, listeners[i]->retry_ms);
        }
    }
    return due;
}

static bool has_ready(struct transport *t)
{
    return list_first(&t->ready_first) != NULL ||
           (list_first(&t->ready_clients) != NULL && !t->paused) ||
           t->http_ready;
}

void transport_wait(struct transport *t, int timeout_ms)
{
    drain_inbox(t);
    if (!has_ready(t) && timeout_ms != 0) {
        uint64_t now = net_now_ms();
        uint64_t due = due_ms(t);
        uint64_t wait = due > now ? due - now : 0;
        if (timeout_ms > 0) {
            wait = min_u64(wait, (uint64_t)timeout_ms);
        }
        inbox_sleep(&t->env.inbox, wait > INT32_MAX ? -1 : (int)wait);
        drain_inbox(t);
    }
    tick(t);
}

void transport_wake(struct transport *t)
{
    inbox_wake(&t->env.inbox);
}

/* --- inputs --------------------------------------------------------------------------------------------------------- */

static bool next_http(struct transport *t, struct transport_input *out)
{
    if (!t->http_ready || t->http == NULL) {
        return false;
    }
    *out = (struct transport_input){0};
    t->http_ready = t->http_next(t->http, out);
    return t->http_ready;
}

/* Whose turn it is; NULL: nobody's. One that had its frames goes behind the others. */
static struct conn *next_conn(struct transport *t)
{
    struct conn *c = t->current;
    if (c != NULL && list_is_in(&c->in_ready)) {
        if (c->turn_n < TURN_FRAMES_MAX &&
            !(t->paused && c->kind == CONN_CLIENT)) {
            return c;
        }
        list_remove(&c->in_ready);
        conn_ready(c);
    }
    t->current = NULL;
    struct list_node *n = list_first(&t->ready_first);
    if (n == NULL && !t->paused) {
        n = list_first(&t->ready_clients);
    }
    if (n == NULL) {
        return NULL;
    }
    c = LIST_OWNER(n, struct conn, in_ready);
    c->turn_n = 0;
    t->current = c;
    return c;
}

bool transport_next(struct transport *t, struct transport_input *out)
{
    drain_inbox(t);
    conn_reap(t);
    if (inbox_woken(&t->env.inbox)) {
        *out = (struct transport_input){.type = TRANSPORT_WAKE};
        return true;
    }
    for (;;) {
        struct conn *c = next_conn(t);
        bool client = c == NULL || c->kind == CONN_CLIENT;
        /* HTTP's requests are among the clients': one at each change of turn. */
        if (client && (c == NULL || c->turn_n == 0) && !t->http_turn &&
            next_http(t, out)) {
            t->http_turn = true;
            return true;
        }
        t->http_turn = false;
        if (c == NULL) {
            return next_http(t, out);
        }
        if (conn_serve(c, out)) {
            c->turn_n++;
            return true;
        }
        t->current = NULL;
    }
}

/* --- answers -------------------------------------------------------------------------------------------------------- */

static struct conn *find_open(struct transport *t, uint64_t id)
{
    struct conn *c = conn_find(t, id);
    bool ours = c != NULL && c->state == CONN_OPEN &&
                (c->kind == CONN_CLIENT || c->kind == CONN_ADMIN);
    return ours ? c : NULL;
}

bool transport_send(struct transport *t, uint64_t conn, struct bytes body)
{
    ASSERT(body.n <= FRAME_CLIENT_BYTES_MAX);
    struct conn *c = find_open(t, conn);
    if (c == NULL) {
        return false;
    }
    if (!conn_send(c, body)) {
        t->stats.queue_full++;
        c->wants_room = true;
        stream_watch(&c->stream, true);
        return false;
    }
    return true;
}

uint64_t transport_room(const struct transport *t, uint64_t conn)
{
    /* Looking changes nothing. */
    const struct conn *c = find_open((struct transport *)(uintptr_t)t, conn);
    return c == NULL ? 0 : stream_room(&c->stream);
}

void transport_want_room(struct transport *t, uint64_t conn)
{
    struct conn *c = find_open(t, conn);
    if (c != NULL) {
        c->wants_room = true;
    }
}

static void goodbye(struct conn *c, const char *reason, bool retry)
{
    if (c->kind == CONN_CLIENT && c->state == CONN_OPEN) {
        uint8_t body[HELLO_BODY_MAX];
        size_t n = hello_encode_goodbye(reason, retry, body);
        (void)conn_send(c, (struct bytes){body, n});
    }
    conn_drain(c);
}

void transport_conn_close(struct transport *t, uint64_t conn,
                          const char *reason)
{
    struct conn *c = find_open(t, conn);
    if (c == NULL) {
        return;
    }
    note_line(t, NOTE_CLOSED, 2,
              "transport_closed conn=%llu kind=%s reason=\"%s\"",
              (unsigned long long)conn, conn_kind_name(c->kind), reason);
    goodbye(c, reason, false);
}

void transport_clients_pause(struct transport *t, bool pause)
{
    t->paused = pause;
}

void transport_flush(struct transport *t)
{
    struct list_node *n = NULL;
    while ((n = list_first(&t->dirty)) != NULL) {
        list_remove(n);
        stream_flush(&LIST_OWNER(n, struct conn, in_dirty)->stream);
    }
}

void transport_http_reply(struct transport *t, uint64_t ticket, uint32_t status,
                          const char *content_type, struct bytes body)
{
    if (t->http != NULL) {
        t->http_reply(t->http, ticket, status, content_type, body);
    }
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

uint16_t transport_client_port(const struct transport *t)
{
    return t->client_listener.port;
}

uint16_t transport_peer_port(const struct transport *t)
{
    return t->peer_listener.port;
}

void transport_stats(const struct transport *t, struct transport_stats *out)
{
    *out = t->stats;
    for (size_t i = 0; i < TRANSPORT_PEERS_MAX; i++) {
        const struct conn *c = t->peers[i].out;
        out->peers_connected += c != NULL && c->state == CONN_OPEN;
    }
    out->clients = t->kinds_n[CONN_CLIENT] - t->refusing_n;
    out->frames_in = t->env.frames_in;
    out->frames_out = t->env.frames_out;
    out->bytes_in = t->env.bytes_in;
    out->bytes_out = t->env.bytes_out;
    out->queued_bytes = t->env.queued_bytes;
}

/* --- close ---------------------------------------------------------------------------------------------------------- */

/* Hands out to nobody: the caller is leaving. */
static void serve_nobody(struct transport *t)
{
    drain_inbox(t);
    struct conn *c = NULL;
    t->paused = false;
    while ((c = next_conn(t)) != NULL) {
        struct transport_input ignored;
        while (conn_serve(c, &ignored)) {
        }
        t->current = NULL;
    }
    conn_reap(t);
}

static void close_listeners(struct transport *t)
{
    struct net_listener *all[] = {&t->peer_listener, &t->client_listener,
                                  &t->admin_listener};
    for (size_t i = 0; i < countof(all); i++) {
        if (all[i]->nng != NULL) {
            net_listener_close(all[i]);
        }
    }
}

static void for_all(struct transport *t, void (*act)(struct conn *c))
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&t->all); n != NULL; n = next) {
        next = list_after(&t->all, n);
        act(LIST_OWNER(n, struct conn, in_all));
    }
}

static void say_goodbye(struct conn *c)
{
    goodbye(c, "the node is stopping", true);
}

static bool is_idle(struct transport *t)
{
    return list_first(&t->all) == NULL && t->dials_n == 0 &&
           net_listener_is_idle(&t->peer_listener) &&
           net_listener_is_idle(&t->client_listener) &&
           net_listener_is_idle(&t->admin_listener);
}

/* Serves until nothing is left of it, or until a time. */
static void serve_until_idle(struct transport *t, uint64_t until_ms)
{
    serve_nobody(t);
    for (uint64_t now = net_now_ms(); !is_idle(t) && now < until_ms;
         now = net_now_ms()) {
        inbox_sleep(&t->env.inbox, (int)min_u64(until_ms - now, SWEEP_MS));
        serve_nobody(t);
    }
}

/* What closing can't get back in this time, NNG holds for good: it's left to it. */
#define CLOSE_MS 2000

void transport_close(struct transport *t, uint32_t timeout_ms)
{
    ASSERT(t->http == NULL); /* http_close() comes first */
    t->closing = true;
    uint64_t now = net_now_ms();
    close_listeners(t);
    peers_cancel(t);
    for_all(t, say_goodbye);
    serve_until_idle(t, now + timeout_ms);
    for_all(t, conn_close);
    serve_until_idle(t, net_now_ms() + CLOSE_MS);
    if (!is_idle(t)) {
        return;
    }
    net_listener_fini(&t->peer_listener);
    net_listener_fini(&t->client_listener);
    net_listener_fini(&t->admin_listener);
    net_tls_fini(&t->tls);
    (void)inbox_take(&t->env.inbox); /* HTTP's node, if its thread was quick */
    stream_env_fini(&t->env);
    free_string(t->o.peer_listen);
    free_string(t->o.client_listen);
    free_string(t->o.admin_path);
    free((void *)(uintptr_t)t->secret.data);
    free(t->arena_memory);
    free((void *)t->slots);
    free(t->generations);
    free(t->free_slots);
    free(t);
}

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "transport/internal.h"

const char *conn_kind_name(enum conn_kind kind)
{
    switch (kind) {
    case CONN_PEER_OUT:
        return "peer-out";
    case CONN_PEER_IN:
        return "peer-in";
    case CONN_CLIENT:
        return "client";
    case CONN_ADMIN:
        return "admin";
    }
    return "?";
}

/* --- slots: id = generation << 32 | slot + 1, so that an id is never of two connections --------------------------------- */

static bool grow_slots(struct transport *t)
{
    uint32_t n = t->slots_n == 0 ? 64 : t->slots_n * 2;
    if (n > CONNS_MAX) {
        return false;
    }
    struct conn **slots = realloc(t->slots, n * sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    t->slots = slots;
    uint32_t *generations = realloc(t->generations, n * sizeof *generations);
    if (generations == NULL) {
        return false;
    }
    t->generations = generations;
    uint32_t *free_slots = realloc(t->free_slots, n * sizeof *free_slots);
    if (free_slots == NULL) {
        return false;
    }
    t->free_slots = free_slots;
    for (uint32_t i = n; i > t->slots_n; i--) {
        t->slots[i - 1] = NULL;
        t->generations[i - 1] = 0;
        t->free_slots[t->free_n++] = i - 1;
    }
    t->slots_n = n;
    return true;
}

static bool take_slot(struct transport *t, struct conn *c)
{
    if (t->free_n == 0 && !grow_slots(t)) {
        return false;
    }
    uint32_t slot = t->free_slots[--t->free_n];
    ASSERT(t->slots[slot] == NULL);
    t->generations[slot]++;
    t->slots[slot] = c;
    c->id = (uint64_t)t->generations[slot] << 32 | (slot + 1);
    return true;
}

static void give_slot(struct transport *t, const struct conn *c)
{
    uint32_t slot = (uint32_t)c->id - 1;
    ASSERT(t->slots[slot] == c);
    t->slots[slot] = NULL;
    t->free_slots[t->free_n++] = slot;
}

struct conn *conn_find(struct transport *t, uint64_t id)
{
    uint32_t slot = (uint32_t)id - 1;
    if (slot >= t->slots_n || t->slots[slot] == NULL ||
        t->slots[slot]->id != id) {
        return NULL;
    }
    return t->slots[slot];
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static uint64_t queue_max(const struct transport *t, enum conn_kind kind)
{
    switch (kind) {
    case CONN_PEER_OUT:
        return t->o.peer_queue_bytes;
    case CONN_CLIENT:
        return t->o.client_queue_bytes;
    case CONN_PEER_IN:
    case CONN_ADMIN:
        break;
    }
    return ADMIN_QUEUE;
}

struct conn *conn_open(struct transport *t, enum conn_kind kind,
                       nng_stream *nng)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL || !take_slot(t, c)) {
        free(c);
        nng_stream_close(nng);
        nng_stream_free(nng);
        return NULL;
    }
    struct stream_options o = {
        .body_max =
            kind == CONN_ADMIN ? FRAME_CLIENT_BYTES_MAX : HELLO_BODY_MAX,
        .queue_max = queue_max(t, kind),
        .user = c,
    };
    if (!stream_init(&c->stream, &t->env, nng, &o)) {
        give_slot(t, c);
        free(c);
        return NULL;
    }
    c->t = t;
    c->kind = kind;
    c->state = kind == CONN_ADMIN ? CONN_OPEN : CONN_HELLO;
    c->deadline_ms = net_now_ms() + t->o.hello_ms;
    list_append(&t->all, &c->in_all);
    t->kinds_n[kind]++;
    stream_read(&c->stream);
    return c;
}

void conn_ready(struct conn *c)
{
    if (list_is_in(&c->in_ready)) {
        return;
    }
    bool client = c->kind == CONN_CLIENT;
    list_append(client ? &c->t->ready_clients : &c->t->ready_first,
                &c->in_ready);
}

bool conn_send(struct conn *c, struct bytes body)
{
    if (!stream_send(&c->stream, body)) {
        return false;
    }
    if (!list_is_in(&c->in_dirty)) {
        list_append(&c->t->dirty, &c->in_dirty);
    }
    return true;
}

void conn_drain(struct conn *c)
{
    if (c->state >= CONN_DRAIN) {
        return;
    }
    bool open = c->state == CONN_OPEN;
    c->state = CONN_DRAIN;
    c->deadline_ms = net_now_ms() + DRAIN_MS;
    if (c->kind == CONN_PEER_IN || c->kind == CONN_PEER_OUT) {
        peer_lost(c->t, c);
    }
    if (open && c->kind == CONN_CLIENT && !c->told_open) {
        c->told_end = true; /* nobody heard of it */
    }
    stream_watch(&c->stream, true);
    stream_flush(&c->stream);
    conn_ready(c);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSED) {
        return;
    }
    c->state = CONN_CLOSED;
    stream_close(&c->stream);
    if (c->kind == CONN_PEER_IN || c->kind == CONN_PEER_OUT) {
        peer_lost(c->t, c);
    }
    list_remove(&c->in_dirty);
    list_append(&c->t->closed, &c->in_closed);
    conn_ready(c);
}

/* Is there an input that says that it ended? Peers that dialled us are heard of by their frames alone. */
static bool owes_end(const struct conn *c)
{
    return c->told_open && !c->told_end &&
           (c->kind == CONN_PEER_OUT || c->kind == CONN_CLIENT);
}

void conn_reap(struct transport *t)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&t->closed); n != NULL; n = next) {
        next = list_after(&t->closed, n);
        struct conn *c = LIST_OWNER(n, struct conn, in_closed);
        ASSERT(c->state == CONN_CLOSED);
        if (!stream_is_idle(&c->stream) || owes_end(c)) {
            continue;
        }
        if (t->current == c) {
            t->current = NULL;
        }
        list_remove(&c->in_closed);
        list_remove(&c->in_ready);
        list_remove(&c->in_dirty);
        list_remove(&c->in_all);
        ASSERT(t->kinds_n[c->kind] > 0);
        t->kinds_n[c->kind]--;
        t->refusing_n -= c->refusing;
        give_slot(t, c);
        stream_fini(&c->stream);
        free(c);
    }
}

/* --- what happens to it --------------------------------------------------------------------------------------------- */

static void refuse_frame(struct conn *c, const char *reason)
{
    c->t->stats.refused_size++;
    note_line(c->t, NOTE_REFUSED, 1,
              "transport_refused conn=%llu kind=%s node=%u reason=%s",
              (unsigned long long)c->id, conn_kind_name(c->kind), c->them.node,
              reason);
    conn_close(c);
}

static void ended(struct conn *c)
{
    if (c->kind == CONN_PEER_IN || c->state < CONN_OPEN) {
        note_line(c->t, NOTE_CLOSED, 3,
                  "transport_closed conn=%llu kind=%s node=%u reason=\"%s\"",
                  (unsigned long long)c->id, conn_kind_name(c->kind),
                  c->them.node, nng_strerror(c->stream.error));
    }
    conn_close(c);
}

void conn_took(struct conn *c, enum inbox_kind kind)
{
    if (kind == INBOX_STREAM_RX) {
        stream_took_rx(&c->stream);
        conn_ready(c);
        return;
    }
    stream_took_tx(&c->stream);
    if (c->state == CONN_CLOSED) {
        return;
    }
    uint64_t queued = stream_queued(&c->stream);
    if (c->stream.broken || c->state == CONN_DRAIN ||
        (c->wants_room && queued < c->stream.queue_max / 2)) {
        conn_ready(c);
    }
}

/* Its own last words, first: who it is, that there's room. */
static bool tell(struct conn *c, struct transport_input *out)
{
    if (c->state == CONN_OPEN && !c->told_open) {
        c->told_open = true;
        switch (c->kind) {
        case CONN_PEER_OUT:
            out->type = TRANSPORT_PEER_UP;
            return true;
        case CONN_PEER_IN:
            out->type = TRANSPORT_PEER_HELLO;
            return true;
        case CONN_CLIENT:
            out->type = TRANSPORT_CLIENT_OPEN;
            return true;
        case CONN_ADMIN:
            break;
        }
    }
    if (c->wants_room && c->state == CONN_OPEN &&
        stream_queued(&c->stream) < c->stream.queue_max / 2) {
        c->wants_room = false;
        stream_watch(&c->stream, false);
        if (c->kind == CONN_CLIENT) {
            out->type = TRANSPORT_CLIENT_ROOM;
            return true;
        }
    }
    return false;
}

static bool tell_end(struct conn *c, struct transport_input *out)
{
    if (c->state != CONN_CLOSED || !owes_end(c)) {
        return false;
    }
    c->told_end = true;
    out->type =
        c->kind == CONN_CLIENT ? TRANSPORT_CLIENT_CLOSED : TRANSPORT_PEER_DOWN;
    return true;
}

static void frame_out(struct conn *c, struct bytes body,
                      struct transport_input *out)
{
    switch (c->kind) {
    case CONN_PEER_OUT:
    case CONN_PEER_IN:
        out->type = TRANSPORT_PEER_FRAME;
        break;
    case CONN_CLIENT:
        out->type = TRANSPORT_CLIENT_FRAME;
        break;
    case CONN_ADMIN:
        out->type = TRANSPORT_ADMIN_FRAME;
        break;
    }
    out->body = body;
}

/* A frame came: true if it's an input. On what we dialled nothing comes but Hellos: the last of them says why we are sent away. */
static bool take_frame(struct conn *c, struct bytes body,
                       struct transport_input *out)
{
    c->part_ms = 0;
    if (c->state == CONN_OPEN && c->kind != CONN_PEER_OUT) {
        frame_out(c, body, out);
        return true;
    }
    greet_frame(c, body);
    return tell(c, out);
}

/* Reads on until there's an input (true), or nothing to do. */
static bool take_frames(struct conn *c, struct transport_input *out)
{
    while (c->state < CONN_DRAIN) {
        struct bytes body;
        switch (stream_next(&c->stream, &body)) {
        case STREAM_FRAME:
            if (take_frame(c, body, out)) {
                return true;
            }
            break;
        case STREAM_MORE:
            stream_read(&c->stream);
            if (c->stream.broken) {
                ended(c);
            }
            return false;
        case STREAM_END:
            ended(c);
            return false;
        case STREAM_TOO_LONG:
            refuse_frame(c, "frame_too_long");
            return false;
        case STREAM_EMPTY:
            refuse_frame(c, "frame_empty");
            return false;
        }
    }
    return false;
}

bool conn_serve(struct conn *c, struct transport_input *out)
{
    *out = (struct transport_input){
        .conn = c->id,
        .node = c->them.node,
        .incarnation = c->them.incarnation,
        .boot = c->them.boot,
        .lineage = c->them.lineage,
        .settings = c->them.settings,
    };
    if (tell(c, out) || take_frames(c, out)) {
        /* What's told of a peer may only have become known in there. */
        out->node = c->them.node;
        out->incarnation = c->them.incarnation;
        out->boot = c->them.boot;
        out->lineage = c->them.lineage;
        return true;
    }
    if (c->state == CONN_DRAIN) {
        /* Whoever closes with bytes unread sends a reset, which can overtake the last words: so these are read, and dropped. */
        stream_discard(&c->stream);
        bool left = stream_queued(&c->stream) == 0 && c->t->closing;
        if (c->stream.broken || left) {
            conn_close(c);
        }
    }
    if (tell_end(c, out)) {
        return true;
    }
    list_remove(&c->in_ready);
    return false;
}

static void late(struct conn *c, const char *what)
{
    note_line(c->t, NOTE_STALLED, 1,
              "transport_late conn=%llu kind=%s node=%u what=%s queued=%llu",
              (unsigned long long)c->id, conn_kind_name(c->kind), c->them.node,
              what, (unsigned long long)stream_queued(&c->stream));
    conn_close(c);
}

void conn_sweep(struct conn *c, uint64_t now_ms)
{
    struct stream *s = &c->stream;
    if (c->state == CONN_CLOSED) {
        return;
    }
    bool unread = c->t->paused && c->kind == CONN_CLIENT;
    if (unread && c->state == CONN_HELLO) {
        /* It can't be late for what we don't read. */
        c->deadline_ms = max_u64(c->deadline_ms, now_ms + DRAIN_MS);
    }
    if (c->state != CONN_OPEN) {
        if (now_ms >= c->deadline_ms && c->state == CONN_DRAIN) {
            conn_close(c);
        } else if (now_ms >= c->deadline_ms) {
            c->t->stats.hello_late++;
            late(c, "hello");
        }
        return;
    }
    if (!stream_has_part(s) || unread) {
        c->part_ms = 0;
    } else if (c->part_ms == 0) {
        c->part_ms = now_ms;
    } else if (now_ms - c->part_ms >= FRAME_MS) {
        late(c, "frame");
        return;
    }
    uint64_t limit_ms = c->t->o.stall_ms;
    if (c->kind != CONN_PEER_OUT) {
        limit_ms *= CLIENT_STALL_FACTOR;
    }
    if (stream_queued(s) == 0 || s->wrote || c->stall_ms == 0) {
        c->stall_ms = stream_queued(s) == 0 ? 0 : now_ms;
        s->wrote = false;
    } else if (now_ms - c->stall_ms >= limit_ms) {
        late(c, "write");
    }
}

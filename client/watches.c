#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* A watch may have nothing to tell for long, and so may a node that hangs: after a while without a word it's asked. */
#define QUIET_MS 5000
#define PING_MS  2000

enum baton_status watch_add(struct baton *b, const struct baton_watch *w,
                            bool of_lease)
{
    if (b->watchers_n >= WATCHES_MAX) {
        return BATON_LIMIT;
    }
    struct watcher *made = client_alloc(sizeof *made);
    made->of_lease = of_lease;
    if (w != NULL) {
        made->tag = w->tag;
        if (w->namespace_name != NULL) {
            (void)snprintf(made->namespace_name, sizeof made->namespace_name,
                           "%s", w->namespace_name);
        }
        if (w->group != NULL) {
            (void)snprintf(made->group, sizeof made->group, "%s", w->group);
        }
    }
    watch_init(&made->state, w != NULL ? w->from : 0);
    made->after = b->watchers;
    b->watchers = made;
    b->watchers_n++;
    return BATON_OK;
}

static void stop_stream(struct baton *b, struct watcher *w)
{
    if (w->id == 0) {
        return;
    }
    Pb__Unwatch op = PB__UNWATCH__INIT;
    op.id = w->id;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_UNWATCH;
    request.unwatch = &op;
    /* If it can't be sent, the stream breaks, and that ends it too. */
    (void)client_send(b, w->endpoint, &request, b->next_stream_id++);
    w->id = 0;
}

bool watch_remove(struct baton *b, uint64_t tag, bool of_lease)
{
    for (struct watcher **at = &b->watchers; *at != NULL; at = &(*at)->after) {
        struct watcher *w = *at;
        if (w->of_lease == of_lease && w->tag == tag) {
            stop_stream(b, w);
            *at = w->after;
            free(w);
            b->watchers_n--;
            return true;
        }
    }
    return false;
}

void watches_fini(struct baton *b)
{
    while (b->watchers != NULL) {
        struct watcher *w = b->watchers;
        b->watchers = w->after;
        free(w);
    }
}

static struct event_node *watch_event(const struct watcher *w,
                                      enum baton_event_type type,
                                      uint64_t revision)
{
    struct event_node *n = event_make(type);
    n->event.tag = w->tag;
    n->event.revision = revision;
    return n;
}

static void begin_again(struct watcher *w, uint64_t now_ms, uint64_t wait_ms)
{
    w->id = 0;
    w->not_before_ms = now_ms + wait_ms;
}

static void open_stream(struct baton *b, struct watcher *w, uint64_t now_ms)
{
    /* What concerns our own roles is told soonest where it's decided. */
    uint32_t at = w->of_lease ? route_leader(&b->route, now_ms)
                              : route_any(&b->route, now_ms);
    if (at == ROUTE_NONE || !loop_link_ready(b, at, now_ms)) {
        w->not_before_ms = now_ms + 20;
        return;
    }
    bool reset = false;
    Pb__Watch op = PB__WATCH__INIT;
    op.namespace_ = w->namespace_name;
    op.group = w->group;
    op.lease = w->of_lease ? b->lease.id : 0;
    op.from = watch_start(&w->state, &reset);
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_WATCH;
    request.watch = &op;
    uint64_t id = b->next_stream_id++;
    if (!client_send(b, at, &request, id)) {
        w->not_before_ms = now_ms + 20;
        return;
    }
    w->id = id;
    w->endpoint = at;
    if (w->of_lease && op.from == 0) {
        roles_state_begin(b);
    }
    if (reset && !w->of_lease) {
        event_push(b, watch_event(w, BATON_WATCH_RESET, 0));
    }
}

static void end_removed(struct baton *b)
{
    struct watcher **at = &b->watchers;
    while (*at != NULL) {
        struct watcher *w = *at;
        if (!w->removed) {
            at = &w->after;
            continue;
        }
        stop_stream(b, w);
        *at = w->after;
        free(w);
        b->watchers_n--;
    }
}

static uint64_t ping_due_ms(const struct client_link *l)
{
    return l->pinged_ms > l->heard_ms ? l->pinged_ms + PING_MS
                                      : l->heard_ms + QUIET_MS;
}

static void ping(struct baton *b, uint32_t at, uint64_t now_ms)
{
    struct client_link *l = &b->links[at];
    if (!l->up || now_ms < ping_due_ms(l)) {
        return;
    }
    if (l->pinged_ms > l->heard_ms) {
        loop_suspect(b, at, now_ms);
        return;
    }
    Pb__GetStatus op = PB__GET_STATUS__INIT;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_GET_STATUS;
    request.get_status = &op;
    /* That an answer comes is the answer; its id is nobody's. */
    (void)client_send(b, at, &request, b->next_stream_id++);
    l->pinged_ms = now_ms;
}

void watches_step(struct baton *b, uint64_t now_ms)
{
    end_removed(b);
    bool full = b->events.n >= EVENTS_HELD_MAX / 2;
    for (struct watcher *w = b->watchers; w != NULL; w = w->after) {
        /* The program fetches too slowly: the cluster keeps the rest until it has caught up. */
        bool paused = full && !w->of_lease;
        if (w->id == 0 && !paused && now_ms >= w->not_before_ms) {
            open_stream(b, w, now_ms);
        } else if (w->id != 0 && !w->of_lease &&
                   b->events.n >= EVENTS_HELD_MAX) {
            stop_stream(b, w);
        } else if (w->id != 0) {
            ping(b, w->endpoint, now_ms);
        }
    }
}

uint64_t watches_next_ms(const struct baton *b)
{
    uint64_t wake = UINT64_MAX;
    bool full = b->events.n >= EVENTS_HELD_MAX / 2;
    for (const struct watcher *w = b->watchers; w != NULL; w = w->after) {
        if (w->id == 0 && (w->of_lease || !full)) {
            wake = min_u64(wake, w->not_before_ms);
        } else if (w->id != 0 && b->links[w->endpoint].up) {
            wake = min_u64(wake, ping_due_ms(&b->links[w->endpoint]));
        }
    }
    return wake;
}

static struct watcher *watch_find(struct baton *b, uint64_t id)
{
    struct watcher *w = b->watchers;
    while (w != NULL && w->id != id) {
        w = w->after;
    }
    return w;
}

static const char *device_of(const Pb__Event *e)
{
    /* A group scope's event names the device of its holder, too. */
    return e->group_scope ? "" : e->device;
}

static void deliver_event(struct baton *b, const struct watcher *w,
                          const Pb__Event *e, uint64_t revision)
{
    if (w->of_lease) {
        Pb__Event copy = *e;
        copy.revision = revision;
        roles_event(b, &copy);
        return;
    }
    struct event_node *n = watch_event(w, BATON_WATCH_EVENT, revision);
    n->event.session = e->session;
    n->event.epoch = e->epoch;
    n->event.previous_session = e->previous_session;
    n->event.state_bytes = e->state_bytes;
    n->event.role = (enum baton_role)e->role;
    if (e->namespace_[0] != '\0') {
        event_set_scope(n, e->namespace_, e->group, device_of(e));
    }
    (void)snprintf(n->names[0], sizeof n->names[0], "%s", e->device);
    (void)snprintf(n->names[1], sizeof n->names[1], "%s", e->tab);
    event_set_raw(n, RAW_EVENT, &e->base);
    event_push(b, n);
}

static void deliver_session(struct baton *b, const struct watcher *w,
                            const Pb__SessionInfo *row, uint64_t revision)
{
    if (w->of_lease) {
        roles_row(b, row);
        return;
    }
    struct event_node *n = watch_event(w, BATON_WATCH_SESSION, revision);
    n->event.session = row->session;
    n->event.role = (enum baton_role)row->role;
    n->event.epoch = row->device_epoch;
    event_set_scope(n, row->namespace_, row->group, row->device);
    (void)snprintf(n->names[0], sizeof n->names[0], "%s", row->device);
    (void)snprintf(n->names[1], sizeof n->names[1], "%s", row->tab);
    event_set_raw(n, RAW_SESSION, &row->base);
    event_push(b, n);
}

static void deliver_scope(struct baton *b, const struct watcher *w,
                          const Pb__LeaderResult *row, uint64_t revision)
{
    if (w->of_lease || row->scope == NULL) {
        return; /* the rows of sessions say who leads */
    }
    struct event_node *n = watch_event(w, BATON_WATCH_SCOPE, revision);
    n->event.session = row->session;
    n->event.epoch = row->epoch;
    event_set_scope(n, row->scope->namespace_, row->scope->group,
                    row->scope->device);
    (void)snprintf(n->names[0], sizeof n->names[0], "%s", row->device);
    (void)snprintf(n->names[1], sizeof n->names[1], "%s", row->tab);
    event_set_raw(n, RAW_SCOPE, &row->base);
    event_push(b, n);
}

/* False: the lease ended while it was told, and the watch with it. */
static bool deliver_batches(struct baton *b, struct watcher *w,
                            const Pb__WatchPart *part)
{
    uint64_t id = w->id;
    for (size_t i = 0; i < part->n_batches; i++) {
        const Pb__EventBatch *batch = part->batches[i];
        if (watch_batch(&w->state, batch->revision) != WATCH_DELIVER) {
            continue;
        }
        for (size_t j = 0; j < batch->n_events; j++) {
            deliver_event(b, w, batch->events[j], batch->revision);
            if (watch_find(b, id) == NULL) {
                return false;
            }
        }
    }
    return true;
}

static void reset(struct baton *b, struct watcher *w)
{
    watch_reset(&w->state);
    if (w->of_lease) {
        roles_state_begin(b);
    } else {
        event_push(b, watch_event(w, BATON_WATCH_RESET, 0));
    }
    bool again = false;
    (void)watch_start(&w->state, &again);
}

static void take_part(struct baton *b, struct watcher *w,
                      const Pb__WatchPart *part, uint64_t now_ms)
{
    if (part->reset) {
        reset(b, w);
    }
    for (size_t i = 0; i < part->n_sessions; i++) {
        if (watch_row(&w->state) == WATCH_DELIVER) {
            deliver_session(b, w, part->sessions[i], part->revision);
        }
    }
    for (size_t i = 0; i < part->n_scopes; i++) {
        if (watch_row(&w->state) == WATCH_DELIVER) {
            deliver_scope(b, w, part->scopes[i], part->revision);
        }
    }
    if (!deliver_batches(b, w, part)) {
        return;
    }
    if (part->synced &&
        watch_synced(&w->state, part->revision) == WATCH_DELIVER) {
        if (w->of_lease) {
            roles_state_end(b, part->revision);
        } else {
            event_push(b, watch_event(w, BATON_WATCH_SYNCED, part->revision));
        }
    }
    if (part->lagging) {
        watch_lagging(&w->state);
        stop_stream(b, w);
        begin_again(w, now_ms, 0);
    }
}

/* Refused: COMPACTED starts over, what passes by itself is asked again, the rest is the program's to know. */
static void refused(struct baton *b, struct watcher *w,
                    const Pb__ClientMessage *m, uint64_t now_ms)
{
    uint32_t doublings = w->failures < 5 ? w->failures : 5;
    uint64_t wait_ms = max_u64(m->retry_ms, 20ull << doublings);
    w->failures++;
    switch ((enum baton_status)m->status) {
    case BATON_COMPACTED:
        reset(b, w);
        w->state.started = false; /* it was told to forget just now */
        begin_again(w, now_ms, 0);
        return;
    case BATON_NOT_LEADER:
    case BATON_NO_QUORUM:
    case BATON_BUSY:
    case BATON_UNAVAILABLE:
    case BATON_UNKNOWN:
        route_no_leader(&b->route, w->endpoint);
        begin_again(w, now_ms, wait_ms);
        return;
    default:
        break;
    }
    if (w->of_lease) {
        /* The lease itself decides whether it lives; without this watch we'd be blind to roles: again. */
        begin_again(w, now_ms, max_u64(wait_ms, 500));
        return;
    }
    struct event_node *n = watch_event(w, BATON_WATCH_FAILED, m->revision);
    n->event.status = (enum baton_status)m->status;
    event_set_message(n, m->message);
    event_push(b, n);
    w->id = 0;
    (void)watch_remove(b, w->tag, false);
}

bool watches_message(struct baton *b, uint32_t from, const Pb__ClientMessage *m,
                     uint64_t now_ms)
{
    struct watcher *w = watch_find(b, m->id);
    if (w == NULL || m->id == 0 || w->removed) {
        return false; /* ended meanwhile */
    }
    ASSERT(w->endpoint == from);
    if (m->status != PB__STATUS__OK) {
        refused(b, w, m, now_ms);
        return true;
    }
    w->failures = 0;
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_WATCH) {
        take_part(b, w, m->watch, now_ms);
    }
    return true;
}

/* A node that doesn't lead may hang behind for long, with its disk or cut off from the others, and still answer us: what we were granted
 * would be news to us only when it has caught up. */
void watches_lease_at(struct baton *b, uint32_t at, uint64_t now_ms)
{
    for (struct watcher *w = b->watchers; w != NULL; w = w->after) {
        if (w->of_lease && w->id != 0 && w->endpoint != at) {
            stop_stream(b, w);
            begin_again(w, now_ms, 0);
        }
    }
}

void watches_link_down(struct baton *b, uint32_t at, uint64_t now_ms)
{
    for (struct watcher *w = b->watchers; w != NULL; w = w->after) {
        if (w->id != 0 && w->endpoint == at) {
            begin_again(w, now_ms, 0);
        }
    }
}

#include <stdlib.h>
#include <string.h>

#include "client/cli_bench.h"

static bool is_op(const struct bench *b, const char *name)
{
    return strcmp(b->op, name) == 0;
}

/* How many connections do the operation; `watch` has one more that causes what the others see. */
static uint64_t workers(const struct bench *b)
{
    return is_op(b, "watch") ? 1 : b->clients;
}

static uint64_t conns_n(const struct bench *b)
{
    return is_op(b, "watch") ? b->clients + 1 : b->clients;
}

static void fail(struct bench *b, const char *what, struct bytes message)
{
    bench_first_error(b, what, message);
    b->failed = true;
}

/* --- phases ------------------------------------------------------------------------------------------------------ */

static void begin_phase(struct bench *b, enum bench_phase phase)
{
    b->phase = phase;
    b->sent = 0;
    b->done = 0;
    b->ready = 0;
    b->warm = 0;
    b->goal = 0;
    uint64_t per_conn = b->sessions;
    switch (phase) {
    case PHASE_FILL:
        b->goal = is_op(b, "leader")  ? per_conn
                  : is_op(b, "renew") ? per_conn * b->clients
                                      : 0;
        break;
    case PHASE_RUN:
        b->commit_before = bench_commit(b);
        b->warm = is_op(b, "renew") ? 0 : b->total / 10;
        b->goal = is_op(b, "renew") ? 0 : b->total + b->warm;
        if (is_op(b, "renew")) {
            b->begun_ns = bench_now_ns();
            b->until_ns = b->begun_ns + b->seconds * 1000000000;
        }
        break;
    case PHASE_LEAVE:
        if (is_op(b, "renew") || b->ended_ns == 0) {
            b->ended_ns = bench_now_ns();
        }
        b->commit_after = bench_commit(b);
        for (uint64_t i = 0; i < conns_n(b) && !b->keep; i++) {
            bench_send_plain(b, &b->conns[i], BENCH_CLOSE_LEASE);
        }
        break;
    case PHASE_CONNECT:
    case PHASE_OVER:
        break;
    }
}

static bool phase_is_over(const struct bench *b)
{
    switch (b->phase) {
    case PHASE_CONNECT:
        return b->ready == conns_n(b);
    case PHASE_FILL:
        return b->done >= b->goal;
    case PHASE_RUN:
        return is_op(b, "renew") ? bench_now_ns() >= b->until_ns
                                 : b->done >= b->goal;
    case PHASE_LEAVE:
        return b->keep || b->ready == conns_n(b);
    case PHASE_OVER:
        break;
    }
    return true;
}

/* --- what a connection does -------------------------------------------------------------------------------------- */

static void send_some(struct bench *b, struct bench_conn *k)
{
    bool fills = b->phase == PHASE_FILL;
    bool runs =
        b->phase == PHASE_RUN && !is_op(b, "renew") && k->index < workers(b);
    if ((!fills && !runs) || !k->up) {
        return;
    }
    /* Sessions are spread evenly over the leases when they're filled. */
    while (k->free_n > 0 && b->sent < b->goal && !b->failed) {
        if (fills || !is_op(b, "leader")) {
            bench_send(b, k, BENCH_OPEN, b->filled++, 0);
        } else {
            /* Scopes in an order that no cache likes, all of them again and again. */
            uint64_t session = (b->sent * 2654435761u) % b->filled;
            bench_send(b, k, BENCH_LEADER, session, 0);
        }
        if (fills && k->free_n % 64 == 0) {
            return; /* the others' turn */
        }
    }
}

static void renew_if_due(struct bench *b, struct bench_conn *k, uint64_t now_ns)
{
    if (k->lease == 0 || now_ns < k->renew_ns || b->phase >= PHASE_LEAVE) {
        return;
    }
    k->renew_sent_ns = now_ns;
    k->renew_ns = now_ns + (uint64_t)b->ttl_ms * 1000000 / 4;
    bench_send_plain(b, k, BENCH_RENEW);
}

static void count(struct bench *b, uint64_t sent_ns, uint64_t now_ns)
{
    histogram_add(&b->histogram, now_ns - sent_ns);
    b->ended_ns = now_ns;
}

static void take_operation(struct bench *b, struct bench_conn *k,
                           const struct bench_answer *a)
{
    uint32_t at = (uint32_t)a->id - 1;
    if (at >= b->pipeline) {
        return;
    }
    uint64_t now_ns = bench_now_ns();
    struct bench_slot *s = &k->slots[at];
    if (s->sequence != 0) {
        window_finish(&k->window, s->sequence);
    }
    k->free[k->free_n++] = at;
    b->done++;
    if (a->status != 0) {
        b->errors++;
        bench_first_error(b, status_name((enum baton_status)a->status),
                          a->message);
    } else if (s->counts && b->sent_ns == NULL) {
        count(b, s->sent_ns, now_ns);
    }
    /* Churn: what was opened is closed on the same slot, which counts as one more. */
    if (b->phase == PHASE_RUN && is_op(b, "churn") && a->status == 0 &&
        s->session == 0 && b->sent < b->goal) {
        bench_send(b, k, BENCH_CLOSE, s->op, a->reply_id);
    }
}

static void take_renewal(struct bench *b, struct bench_conn *k,
                         const struct bench_answer *a)
{
    uint64_t now_ns = bench_now_ns();
    if (a->status != 0) {
        fail(b, "a renewal was refused", a->message);
        return;
    }
    if (a->next_ms != 0) {
        k->renew_ns = k->renew_sent_ns + (uint64_t)a->next_ms * 1000000;
    }
    if (b->phase == PHASE_RUN && is_op(b, "renew")) {
        count(b, k->renew_sent_ns, now_ns);
    }
}

static uint64_t tab_number(const char *tab)
{
    return tab[0] == 't' ? strtoull(tab + 1, NULL, 10) : UINT64_MAX;
}

/* An event's way to a watcher: from when the request that caused it was sent. */
static void take_part(struct bench *b, struct bench_conn *k, struct bytes body)
{
    arena_reset(&b->arena);
    const Pb__ClientMessage *m = codec_decode_message(body, &b->arena);
    if (m == NULL || m->result_case != PB__CLIENT_MESSAGE__RESULT_WATCH) {
        return;
    }
    uint64_t now_ns = bench_now_ns();
    const Pb__WatchPart *p = m->watch;
    if (p->synced && !k->watching) {
        k->watching = true;
        b->ready++;
    }
    for (size_t i = 0; i < p->n_batches; i++) {
        for (size_t j = 0; j < p->batches[i]->n_events; j++) {
            const Pb__Event *e = p->batches[i]->events[j];
            uint64_t op = tab_number(e->tab);
            if (e->kind == PB__EVENT_KIND__SESSION_OPENED &&
                b->phase == PHASE_RUN && op >= b->warm && op < b->goal &&
                b->sent_ns[op] != 0) {
                count(b, b->sent_ns[op], now_ns);
            }
        }
    }
}

static void take_frame(struct bench *b, struct bench_conn *k, struct bytes body)
{
    struct bench_answer a;
    if (!bench_look(body, &a)) {
        fail(b, "an answer can't be read", (struct bytes){NULL, 0});
        return;
    }
    switch (a.id) {
    case 0:
        fail(b, "the node says goodbye", a.message);
        return;
    case BENCH_ID_LEASE:
        if (a.status != 0 || a.reply_id == 0) {
            fail(b, "no lease", a.message);
            return;
        }
        k->lease = a.reply_id;
        if (is_op(b, "watch") && k->index > 0) {
            bench_send_plain(b, k, BENCH_WATCH);
        } else {
            b->ready++;
        }
        return;
    case BENCH_ID_RENEW:
        take_renewal(b, k, &a);
        return;
    case BENCH_ID_CLOSE:
        b->ready += b->phase == PHASE_LEAVE;
        return;
    case BENCH_ID_WATCH:
        if (a.status != 0) {
            fail(b, "a watch was refused", a.message);
        } else {
            take_part(b, k, body);
        }
        return;
    default:
        take_operation(b, k, &a);
        return;
    }
}

static void take_event(struct bench *b, const struct link_event *e)
{
    struct bench_conn *k = link_user(e->link);
    switch (e->type) {
    case LINK_UP:
        k->up = true;
        bench_send_plain(b, k, BENCH_LEASE);
        break;
    case LINK_FRAME:
        take_frame(b, k, e->body);
        break;
    case LINK_ROOM:
        break;
    case LINK_DOWN:
        k->up = false;
        fail(b, link_why(e->link), (struct bytes){NULL, 0});
        break;
    }
}

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static void connect_all(struct bench *b)
{
    for (uint64_t i = 0; i < conns_n(b); i++) {
        struct bench_conn *k = &b->conns[i];
        k->index = (uint32_t)i;
        window_init(&k->window);
        k->slots = client_alloc(b->pipeline * sizeof *k->slots);
        k->free = client_alloc(b->pipeline * sizeof *k->free);
        for (uint32_t j = 0; j < b->pipeline; j++) {
            k->free[k->free_n++] = (uint32_t)b->pipeline - 1 - j;
        }
        struct link_options options = {.address = b->endpoint, .user = k};
        k->link = link_open(b->loop, &options);
    }
}

static void work(struct bench *b)
{
    uint64_t now_ns = bench_now_ns();
    uint64_t before = 0;
    do {
        before = b->sent;
        for (uint64_t i = 0; i < conns_n(b) && !b->failed; i++) {
            renew_if_due(b, &b->conns[i], now_ns);
            send_some(b, &b->conns[i]);
        }
        /* Filling goes round and round, so that all leases carry the same. */
    } while (b->phase == PHASE_FILL && b->sent > before && !b->failed);
}

/* An event for each operation and watcher is still on its way when the last answer came. */
static void await_events(struct bench *b)
{
    uint64_t wanted = b->total * b->clients;
    uint64_t until_ns = bench_now_ns() + (uint64_t)b->c->timeout_ms * 1000000;
    while (b->histogram.n < wanted && bench_now_ns() < until_ns && !b->failed) {
        link_loop_wait(b->loop, 50);
        struct link_event e;
        while (link_loop_next(b->loop, &e)) {
            take_event(b, &e);
        }
    }
    b->errors += b->histogram.n < wanted ? wanted - b->histogram.n : 0;
}

bool bench_run(struct bench *b)
{
    connect_all(b);
    begin_phase(b, PHASE_CONNECT);
    uint64_t moved_ns = bench_now_ns();
    uint64_t limit_ns = (uint64_t)b->c->timeout_ms * 1000000;
    uint64_t seen = 0;
    while (b->phase != PHASE_OVER && !b->failed && cli_signalled() == 0) {
        link_loop_wait(b->loop, 10);
        struct link_event e;
        while (!b->failed && link_loop_next(b->loop, &e)) {
            take_event(b, &e);
        }
        while (b->phase != PHASE_OVER && phase_is_over(b)) {
            if (b->phase == PHASE_RUN && b->sent_ns != NULL) {
                await_events(b);
            }
            begin_phase(b, b->phase + 1);
            moved_ns = bench_now_ns();
        }
        work(b);
        link_loop_flush(b->loop);
        uint64_t now_ns = bench_now_ns();
        bool paced = b->phase == PHASE_RUN && is_op(b, "renew");
        if (b->done + b->ready != seen || paced) {
            seen = b->done + b->ready;
            moved_ns = now_ns;
        }
        if (now_ns - moved_ns > limit_ns) {
            fail(b, "nothing was answered for as long as --timeout",
                 (struct bytes){NULL, 0});
        }
    }
    return !b->failed;
}

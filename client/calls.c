#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/client.h"

/* Of a request in front of its op: version, id, correlation, timeout, a Command's own head. */
#define HEAD_BYTES 128

void calls_init(struct calls *c)
{
    /* Taken from the end: low slots first. */
    for (uint32_t i = 0; i < CALLS_MAX; i++) {
        c->free[i] = CALLS_MAX - 1 - i;
    }
    c->free_n = CALLS_MAX;
    c->wake_ms = UINT64_MAX;
}

void answer_free(struct answer *a)
{
    free(a->body);
    *a = (struct answer){0};
}

void answer_set(struct answer *a, enum baton_status status, const char *message)
{
    a->status = status;
    (void)snprintf(a->message, sizeof a->message, "%s", message);
}

static struct call *calls_find(struct baton *b, uint64_t id)
{
    struct call *c = b->calls.slots[id % CALLS_MAX];
    return c != NULL && c->id == id ? c : NULL;
}

static void calls_link(struct calls *list, struct call *c)
{
    c->before = list->last;
    if (list->last != NULL) {
        list->last->after = c;
    } else {
        list->first = c;
    }
    list->last = c;
}

static void calls_unlink(struct calls *list, struct call *c)
{
    if (c->before != NULL) {
        c->before->after = c->after;
    } else {
        list->first = c->after;
    }
    if (c->after != NULL) {
        c->after->before = c->before;
    } else {
        list->last = c->before;
    }
    c->before = NULL;
    c->after = NULL;
}

/* The op alone, encoded once: a retry carries the same bytes. */
static void take_op(struct call *c, const Pb__ClientRequest *request)
{
    const ProtobufCMessage *m = &request->base;
    if (request->op_case == PB__CLIENT_REQUEST__OP_COMMAND) {
        m = &request->command->base;
        c->is_command = true;
        c->wants_lease =
            request->command->op_case != PB__COMMAND__OP_OPEN_LEASE;
    }
    size_t n = codec_size(m);
    c->op = client_alloc(n + 1);
    c->op_n = codec_encode(m, c->op, n + 1);
    ASSERT(c->op_n == n);
}

static void take_correlation(struct call *c, const struct baton_call *call)
{
    if (call != NULL && call->correlated) {
        memcpy(c->correlation, call->correlation_id, CORRELATION_N);
        return;
    }
    bool filled = client_fill_random(c->correlation, CORRELATION_N);
    ASSERT(filled);
}

static bool opens_session(const Pb__ClientRequest *request)
{
    return request->op_case == PB__CLIENT_REQUEST__OP_COMMAND &&
           request->command->op_case == PB__COMMAND__OP_OPEN_SESSION;
}

struct call *call_make(struct baton *b, const struct ask *ask,
                       enum call_purpose purpose)
{
    struct calls *list = &b->calls;
    if (list->free_n == 0) {
        return NULL;
    }
    struct call *c = client_alloc(sizeof *c);
    uint32_t slot = list->free[--list->free_n];
    ASSERT(list->slots[slot] == NULL);
    list->slots[slot] = c;
    c->id = ++list->round * CALLS_MAX + slot;
    ASSERT(c->id < STREAM_ID_FIRST);
    c->purpose = purpose;
    c->place = ask->place;
    c->node = ask->endpoint;
    uint32_t timeout_ms = b->options.timeout_ms;
    if (ask->call != NULL) {
        c->tag = ask->call->tag;
        timeout_ms =
            ask->call->timeout_ms != 0 ? ask->call->timeout_ms : timeout_ms;
    }
    call_init(&c->state, ask->kind, client_now_ms() + timeout_ms);
    take_op(c, ask->request);
    take_correlation(c, ask->call);
    c->opens = opens_session(ask->request);
    if (c->opens) {
        roles_opening(b);
    }
    calls_link(list, c);
    list->changed = true;
    return c;
}

void call_free(struct baton *b, struct call *c)
{
    struct calls *list = &b->calls;
    uint32_t slot = (uint32_t)(c->id % CALLS_MAX);
    ASSERT(list->slots[slot] == c);
    list->slots[slot] = NULL;
    list->free[list->free_n++] = slot;
    calls_unlink(list, c);
    answer_free(&c->answer);
    free(c->op);
    free(c);
}

void calls_fini(struct baton *b)
{
    while (b->calls.first != NULL) {
        call_free(b, b->calls.first);
    }
}

/* A session that was attached to us: what it leads. */
static void take_session(struct baton *b, const struct answer *a)
{
    void *memory = NULL;
    const Pb__ClientMessage *m = answer_decode(a, &memory);
    if (m != NULL && m->result_case == PB__CLIENT_MESSAGE__RESULT_SESSIONS &&
        m->sessions->n_sessions == 1 &&
        m->sessions->sessions[0]->lease == b->lease.id) {
        roles_row(b, m->sessions->sessions[0]);
    }
    free(memory);
}

/* The session that the call opened; 0: none. */
static uint64_t opened(const struct call *c)
{
    void *memory = NULL;
    const Pb__ClientMessage *m = answer_decode(&c->answer, &memory);
    bool any = c->answer.status == BATON_OK && m != NULL &&
               m->result_case == PB__CLIENT_MESSAGE__RESULT_REPLY;
    uint64_t id = any ? m->reply->id : 0;
    free(memory);
    return id;
}

static void push_done(struct baton *b, struct call *c)
{
    struct event_node *n = event_make(BATON_DONE);
    n->event.tag = c->tag;
    n->event.status = c->answer.status;
    event_set_message(n, c->answer.message);
    n->raw_type = RAW_ANSWER;
    n->raw = c->answer.body;
    n->raw_n = c->answer.body_n;
    c->answer.body = NULL;
    event_push(b, n);
}

/* c->answer is final. Whoever walks the list may be on this call or the next one: it's freed later, by calls_sweep(). */
static void finish(struct baton *b, struct call *c)
{
    ASSERT(!c->done);
    c->done = true;
    if (c->sequence != 0 && c->lease == b->lease.id) {
        window_finish(&b->window, c->sequence);
    }
    uint64_t id = c->opens ? opened(c) : 0; /* before its body is given away */
    if (c->purpose == FOR_TAG) {
        push_done(b, c);
    }
    if (c->opens) {
        roles_opened(b, id);
    }
    switch (c->purpose) {
    case FOR_CALLER:
        (void)pthread_cond_broadcast(&b->answered);
        return;
    case FOR_OPEN_LEASE:
        lease_open_answered(b, &c->answer);
        break;
    case FOR_SESSION:
        take_session(b, &c->answer);
        break;
    case FOR_TAG:
    case FOR_NOBODY:
        break;
    }
    c->dead_after = b->calls.dead;
    b->calls.dead = c;
}

void calls_sweep(struct baton *b)
{
    while (b->calls.dead != NULL) {
        struct call *c = b->calls.dead;
        b->calls.dead = c->dead_after;
        call_free(b, c);
    }
}

static bool any_link_up(const struct baton *b)
{
    for (uint32_t i = 0; i < b->route.endpoints_n; i++) {
        if (b->links[i].up) {
            return true;
        }
    }
    return false;
}

/* Past its deadline, or not to be repeated: what it came to, in words. */
static void give_up(struct baton *b, struct call *c)
{
    enum baton_status status = call_outcome(&c->state);
    char text[BATON_MESSAGE_BYTES];
    const char *last = b->last_why[0] != '\0' ? b->last_why : "no answer";
    if (status == BATON_UNKNOWN) {
        (void)snprintf(text, sizeof text,
                       "no answer in time: it may or may not have been done; "
                       "look before you repeat it");
    } else if (c->place == PLACE_NODE) {
        (void)snprintf(text, sizeof text, "no answer in time");
    } else if (!any_link_up(b)) {
        (void)snprintf(text, sizeof text,
                       "nobody reachable in time (%s); nothing was done", last);
    } else {
        (void)snprintf(text, sizeof text,
                       "no leader with a majority answered in time; nothing "
                       "was done: baton status shows which nodes run");
    }
    answer_set(&c->answer, status, text);
    finish(b, c);
}

void calls_no_lease(struct baton *b, const struct answer *why)
{
    for (struct call *c = b->calls.first; c != NULL; c = c->after) {
        if (c->wants_lease && c->lease == 0 && !c->done) {
            answer_set(&c->answer, why->status, why->message);
            finish(b, c);
        }
    }
}

/* True if it may go now; else something has to happen first, which sets calls.changed. */
static bool has_lease(struct baton *b, struct call *c)
{
    if (!c->wants_lease || c->sequence != 0) {
        return true;
    }
    if (b->lease.phase != LEASE_LIVE) {
        b->lease_wanted = true;
        return false;
    }
    c->sequence = window_take(&b->window);
    c->lease = c->sequence != 0 ? b->lease.id : 0;
    return c->sequence != 0;
}

static size_t put_varint(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

/* Messages of protobuf merge when they stand one behind the other: so the op's bytes are appended to a fresh head. */
static size_t write_request(const struct baton *b, const struct call *c,
                            uint64_t now_ms, uint8_t *out, size_t out_bytes)
{
    Pb__ClientRequest head = PB__CLIENT_REQUEST__INIT;
    head.version = PROTOCOL_VERSION;
    head.id = c->id;
    head.correlation_id =
        codec_binary((struct bytes){c->correlation, CORRELATION_N});
    head.timeout_ms = (uint32_t)(c->state.deadline_ms - now_ms);
    size_t n = codec_encode(&head.base, out, out_bytes);
    ASSERT(n > 0);
    if (c->is_command) {
        Pb__Command command = PB__COMMAND__INIT;
        command.version = COMMAND_VERSION;
        command.lease = c->lease;
        command.sequence = c->sequence;
        /* Of a lease that ended meanwhile there's nothing to say. */
        bool current = c->sequence != 0 && c->lease == b->lease.id;
        command.first_outstanding = current ? b->window.first : 0;
        size_t command_n = codec_size(&command.base);
        out[n++] = 10u << 3 | 2u; /* ClientRequest.command, length-delimited */
        n += put_varint(out + n, command_n + c->op_n);
        size_t written = codec_encode(&command.base, out + n, out_bytes - n);
        ASSERT(written == command_n);
        n += written;
    }
    memcpy(out + n, c->op, c->op_n);
    return n + c->op_n;
}

static bool transmit(struct baton *b, struct call *c, uint32_t at,
                     uint64_t now_ms)
{
    uint8_t small[2048];
    size_t bytes = HEAD_BYTES + c->op_n;
    uint8_t *out = bytes <= sizeof small ? small : client_alloc(bytes);
    size_t n = write_request(b, c, now_ms, out, bytes);
    ASSERT(n <= bytes);
    bool sent = loop_send(b, at, (struct bytes){out, n});
    if (out != small) {
        free(out);
    }
    return sent;
}

static uint32_t choose(const struct baton *b, const struct call *c,
                       uint64_t now_ms)
{
    switch (c->place) {
    case PLACE_LEADER:
        return route_leader(&b->route, now_ms);
    case PLACE_ANY:
        return route_any(&b->route, now_ms);
    case PLACE_NODE:
        break;
    }
    return c->node;
}

/* When it has to be looked at again. */
static uint64_t try_send(struct baton *b, struct call *c, uint64_t now_ms)
{
    if (!has_lease(b, c)) {
        return c->state.deadline_ms;
    }
    uint32_t at = choose(b, c, now_ms);
    if (at == ROUTE_NONE) {
        return min_u64(c->state.deadline_ms, route_wake_ms(&b->route, now_ms));
    }
    if (!loop_link_ready(b, at, now_ms) || !transmit(b, c, at, now_ms)) {
        /* LINK_UP, LINK_ROOM and LINK_DOWN wake us. */
        return c->state.deadline_ms;
    }
    call_sent(&c->state, at, now_ms);
    return call_wake_ms(&c->state);
}

static void step_call(struct baton *b, struct call *c, uint64_t now_ms)
{
    if (now_ms >= c->state.deadline_ms) {
        give_up(b, c);
        return;
    }
    if (c->place == PLACE_NODE && c->state.in_flight) {
        b->calls.wake_ms = min_u64(b->calls.wake_ms, c->state.deadline_ms);
        return;
    }
    if (call_stuck(&c->state, now_ms)) {
        uint32_t at = c->state.endpoint;
        /* Reads and mutations with a sequence only: there's always another attempt. */
        enum call_verdict verdict = call_broken(&c->state, now_ms);
        ASSERT(verdict == CALL_AGAIN);
        route_no_leader(&b->route, at);
        if (now_ms >= b->links[at].heard_ms + CALL_ATTEMPT_MS) {
            loop_suspect(b, at, now_ms);
        }
    }
    uint64_t wake = call_ready(&c->state, now_ms) ? try_send(b, c, now_ms)
                                                  : call_wake_ms(&c->state);
    b->calls.wake_ms = min_u64(b->calls.wake_ms, wake);
}

void calls_step(struct baton *b, uint64_t now_ms)
{
    if (!b->calls.changed && now_ms < b->calls.wake_ms) {
        return;
    }
    b->calls.changed = false;
    b->calls.wake_ms = UINT64_MAX;
    for (struct call *c = b->calls.first; c != NULL; c = c->after) {
        if (!c->done) {
            step_call(b, c, now_ms);
        }
    }
}

/* What an answer says about who leads. True: it named somebody to ask at once. */
static bool take_hint(struct baton *b, uint32_t from,
                      const Pb__ClientMessage *m)
{
    if (m->status != PB__STATUS__NOT_LEADER) {
        return false;
    }
    if (m->leader == 0 && m->leader_endpoint[0] == '\0') {
        route_no_leader(&b->route, from);
        return false;
    }
    route_hint(&b->route, from, m->leader, m->leader_endpoint);
    return b->route.leader != ROUTE_NONE;
}

void calls_answer(struct baton *b, uint32_t from, const Pb__ClientMessage *m,
                  struct bytes body)
{
    struct call *c = calls_find(b, m->id);
    if (c == NULL || c->done) {
        return; /* given up meanwhile */
    }
    enum baton_status status = (enum baton_status)m->status;
    bool hinted = take_hint(b, from, m);
    if (status == BATON_UNAVAILABLE) {
        route_no_leader(&b->route, from);
    }
    bool wants_leader = c->place == PLACE_LEADER;
    if (status == BATON_OK && wants_leader) {
        route_is_leader(&b->route, from);
    }
    enum call_verdict verdict =
        c->place == PLACE_NODE ? CALL_DONE
                               : call_answered(&c->state, status, hinted,
                                               m->retry_ms, client_now_ms());
    b->calls.changed = true;
    if (verdict == CALL_AGAIN) {
        return;
    }
    if (status == BATON_UNKNOWN ||
        (status == BATON_NOT_LEADER && c->place != PLACE_NODE)) {
        c->state.maybe_done |= status == BATON_UNKNOWN;
        give_up(b, c);
        return;
    }
    answer_set(&c->answer, status, m->message);
    c->answer.body = client_alloc(body.n);
    memcpy(c->answer.body, body.data, body.n);
    c->answer.body_n = body.n;
    if (c->wants_lease && c->lease == b->lease.id &&
        (m->reason == REASON_LEASE_ENDED || m->reason == REASON_NO_LEASE)) {
        lease_gone(b, m->message);
    }
    finish(b, c);
}

void calls_link_down(struct baton *b, uint32_t at, const char *why)
{
    uint64_t now_ms = client_now_ms();
    b->calls.changed = true;
    for (struct call *c = b->calls.first; c != NULL; c = c->after) {
        if (c->done) {
            continue;
        }
        if (c->place == PLACE_NODE && c->node == at) {
            answer_set(&c->answer, BATON_UNAVAILABLE, why);
            finish(b, c);
            continue;
        }
        if (c->state.in_flight && c->state.endpoint == at &&
            call_broken(&c->state, now_ms) == CALL_DONE) {
            give_up(b, c);
        }
    }
}

/* --- the callers' side ------------------------------------------------------------------------------------------- */

enum baton_status client_ask(struct baton *b, const struct ask *ask,
                             struct answer *out)
{
    *out = (struct answer){0};
    (void)pthread_mutex_lock(&b->lock);
    struct call *c = call_make(b, ask, FOR_CALLER);
    if (c == NULL) {
        (void)pthread_mutex_unlock(&b->lock);
        answer_set(out, BATON_LIMIT, "too many calls are outstanding: 65536");
        return out->status;
    }
    link_loop_wake(b->loop);
    while (!c->done) {
        (void)pthread_cond_wait(&b->answered, &b->lock);
    }
    *out = c->answer;
    c->answer.body = NULL;
    call_free(b, c);
    (void)pthread_mutex_unlock(&b->lock);
    return out->status;
}

enum baton_status client_call(struct baton *b, const struct ask *ask,
                              struct baton_reply *out)
{
    if (ask->call != NULL && ask->call->tag != 0) {
        ASSERT(out == NULL);
        (void)pthread_mutex_lock(&b->lock);
        struct call *c = call_make(b, ask, FOR_TAG);
        (void)pthread_mutex_unlock(&b->lock);
        link_loop_wake(b->loop);
        return c != NULL ? BATON_OK : BATON_LIMIT;
    }
    struct answer answer;
    enum baton_status status = client_ask(b, ask, &answer);
    if (out != NULL) {
        reply_fill(out, &answer);
    }
    answer_free(&answer);
    return status;
}

Pb__ClientMessage *answer_decode(const struct answer *a, void **out_memory)
{
    ASSERT(out_memory != NULL);
    *out_memory = NULL;
    if (a->body_n == 0) {
        return NULL;
    }
    /* How much a message grows depends on what it is: try with more until it fits. */
    for (size_t n = 2048 + a->body_n * 8; n <= 256u << 20; n *= 4) {
        void *memory = malloc(n);
        ASSERT(memory != NULL);
        struct arena arena;
        arena_init(&arena, memory, n);
        Pb__ClientMessage *m =
            codec_decode_message((struct bytes){a->body, a->body_n}, &arena);
        if (m != NULL) {
            *out_memory = memory;
            return m;
        }
        free(memory);
        if (!arena.full) {
            return NULL;
        }
    }
    return NULL;
}

bool client_send(struct baton *b, uint32_t at, Pb__ClientRequest *op,
                 uint64_t id)
{
    uint8_t out[1024];
    uint8_t correlation[CORRELATION_N];
    bool filled = client_fill_random(correlation, sizeof correlation);
    ASSERT(filled);
    op->version = PROTOCOL_VERSION;
    op->id = id;
    op->correlation_id =
        codec_binary((struct bytes){correlation, CORRELATION_N});
    size_t n = codec_encode(&op->base, out, sizeof out);
    ASSERT(n > 0);
    return loop_send(b, at, (struct bytes){out, n});
}

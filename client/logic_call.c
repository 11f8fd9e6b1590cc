#include <string.h>

#include "client/logic.h"

void call_init(struct call_state *c, enum call_kind kind, uint64_t deadline_ms)
{
    ASSERT(c != NULL);
    *c = (struct call_state){
        .kind = kind,
        .deadline_ms = deadline_ms,
        .endpoint = ROUTE_NONE,
    };
}

bool call_ready(const struct call_state *c, uint64_t now_ms)
{
    return !c->in_flight && now_ms >= c->not_before_ms &&
           now_ms < c->deadline_ms;
}

void call_sent(struct call_state *c, uint32_t endpoint, uint64_t now_ms)
{
    ASSERT(!c->in_flight);
    ASSERT(now_ms < c->deadline_ms);
    c->in_flight = true;
    c->endpoint = endpoint;
    c->sent_ms = now_ms;
    c->attempts++;
}

static uint64_t backoff_ms(uint32_t attempts)
{
    uint32_t doublings = attempts < 5 ? attempts : 5;
    return min_u64((uint64_t)CALL_BACKOFF_MS << doublings, CALL_BACKOFF_MAX_MS);
}

enum call_verdict call_answered(struct call_state *c, enum baton_status status,
                                bool hinted, uint32_t retry_ms, uint64_t now_ms)
{
    c->in_flight = false;
    switch (status) {
    case BATON_NOT_LEADER:
    case BATON_BUSY:
    case BATON_UNAVAILABLE:
    case BATON_NO_QUORUM:
        /* Nothing was done this time. */
        break;
    case BATON_UNKNOWN:
        c->maybe_done = true;
        if (c->kind == CALL_ONCE) {
            return CALL_DONE;
        }
        break;
    case BATON_OK:
    case BATON_NOT_FOUND:
    case BATON_EXPIRED:
    case BATON_STALE_EPOCH:
    case BATON_CONFLICT:
    case BATON_NOT_ALLOWED:
    case BATON_INVALID:
    case BATON_LIMIT:
    case BATON_COMPACTED:
    case BATON_WINDOW:
    case BATON_UNSUPPORTED:
    default:
        return CALL_DONE;
    }
    c->last = status;
    bool at_once = status == BATON_NOT_LEADER && hinted && c->attempts < 4;
    uint64_t wait = at_once ? 0 : max_u64(retry_ms, backoff_ms(c->attempts));
    c->not_before_ms = now_ms + wait;
    /* Waiting past the deadline would only turn this answer into a worse one. */
    return c->not_before_ms < c->deadline_ms ? CALL_AGAIN : CALL_DONE;
}

enum call_verdict call_broken(struct call_state *c, uint64_t now_ms)
{
    ASSERT(c->in_flight);
    c->in_flight = false;
    c->not_before_ms = now_ms;
    if (c->kind == CALL_READ) {
        return CALL_AGAIN;
    }
    c->maybe_done = true;
    return c->kind == CALL_ONCE ? CALL_DONE : CALL_AGAIN;
}

bool call_stuck(const struct call_state *c, uint64_t now_ms)
{
    return c->in_flight && c->kind != CALL_ONCE &&
           now_ms >= c->sent_ms + CALL_ATTEMPT_MS;
}

enum baton_status call_outcome(const struct call_state *c)
{
    bool unanswered = c->in_flight && c->kind != CALL_READ;
    return c->maybe_done || unanswered ? BATON_UNKNOWN : BATON_NO_QUORUM;
}

uint64_t call_wake_ms(const struct call_state *c)
{
    uint64_t wake = c->deadline_ms;
    if (!c->in_flight) {
        return min_u64(wake, c->not_before_ms);
    }
    if (c->kind != CALL_ONCE) {
        wake = min_u64(wake, c->sent_ms + CALL_ATTEMPT_MS);
    }
    return wake;
}

/* --- window ------------------------------------------------------------------------------------------------------- */

static uint64_t *window_word(struct client_window *w, uint64_t sequence)
{
    return &w->done[sequence % WINDOW_MAX / 64];
}

static uint64_t window_bit(uint64_t sequence)
{
    return 1ull << (sequence % 64);
}

void window_init(struct client_window *w)
{
    ASSERT(w != NULL);
    *w = (struct client_window){.first = 1, .next = 1};
}

uint64_t window_take(struct client_window *w)
{
    ASSERT(w->first <= w->next);
    ASSERT(w->next - w->first <= WINDOW_MAX);
    if (w->next - w->first == WINDOW_MAX) {
        return 0;
    }
    *window_word(w, w->next) &= ~window_bit(w->next);
    return w->next++;
}

void window_finish(struct client_window *w, uint64_t sequence)
{
    ASSERT(sequence < w->next);
    if (sequence < w->first) {
        return;
    }
    *window_word(w, sequence) |= window_bit(sequence);
    while (w->first < w->next &&
           (*window_word(w, w->first) & window_bit(w->first)) != 0) {
        w->first++;
    }
}

#include <stdlib.h>

#include "sim/linear_inner.h"

/* Which session an epoch is said to be. */
struct binding {
    uint64_t epoch;
    uint64_t session;
};

struct life {
    uint64_t session;
    uint64_t first; /* epoch that it's known to have had; 0: none */
    uint64_t last;
    uint64_t began_us;   /* it wasn't there before; 0: nobody knows */
    uint64_t used_us;    /* it was there at some time up to here */
    uint64_t touched_us; /* and at some time from here */
    uint64_t ended_us;   /* it wasn't any more at some time up to here */
    uint32_t opened_n;
    uint32_t closed_n;
};

struct reading {
    const struct linear_op *ops;
    struct steps *out;
    struct binding *bindings; /* by epoch */
    uint32_t bindings_n;
    struct life *lives; /* by session */
    uint32_t lives_n;
};

static int by_epoch(const void *left, const void *right)
{
    const struct binding *a = left;
    const struct binding *b = right;
    if (a->epoch != b->epoch) {
        return a->epoch < b->epoch ? -1 : 1;
    }
    return a->session < b->session ? -1 : a->session > b->session;
}

static int by_session(const void *left, const void *right)
{
    const struct life *a = left;
    const struct life *b = right;
    return a->session < b->session ? -1 : a->session > b->session;
}

static int by_time(const void *left, const void *right)
{
    const struct step *a = left;
    const struct step *b = right;
    if (a->from_us != b->from_us) {
        return a->from_us < b->from_us ? -1 : 1;
    }
    return a->op < b->op ? -1 : a->op > b->op;
}

/* --- who is who ----------------------------------------------------------------------------------------------------------- */

static void bind(struct reading *r, uint64_t epoch, uint64_t session)
{
    if (epoch != 0 && session != 0) {
        r->bindings[r->bindings_n++] = (struct binding){epoch, session};
    }
}

static void bind_op(struct reading *r, const struct linear_op *op)
{
    if (op->answer == LINEAR_LOST || op->answer == LINEAR_REFUSED) {
        return;
    }
    bind(r, op->told.epoch, op->told.session);
    if (op->call == LINEAR_YIELD && op->answer == LINEAR_DONE) {
        bind(r, op->epoch, op->session);
    }
}

static void bind_all(struct reading *r, const uint32_t *which, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bind_op(r, &r->ops[which[i]]);
    }
    qsort(r->bindings, r->bindings_n, sizeof *r->bindings, by_epoch);
    for (uint32_t i = 1; i < r->bindings_n; i++) {
        const struct binding *a = &r->bindings[i - 1];
        const struct binding *b = &r->bindings[i];
        /* S1: an epoch is one session's. */
        r->out->bad |= a->epoch == b->epoch && a->session != b->session;
    }
}

static struct life *life_of(struct reading *r, uint64_t session)
{
    const struct life key = {.session = session};
    return r->lives_n == 0 ? NULL
                           : bsearch(&key, r->lives, r->lives_n,
                                     sizeof *r->lives, by_session);
}

static bool is_of_a_session(const struct linear_op *op)
{
    return op->call == LINEAR_OPEN || op->call == LINEAR_TOUCH ||
           op->call == LINEAR_CLOSE || op->answer == LINEAR_NO_SESSION;
}

static void live_op(struct life *l, const struct linear_op *op)
{
    if (op->answer == LINEAR_NO_SESSION) {
        l->ended_us = min_u64(l->ended_us, op->answered_us);
    } else if (op->call == LINEAR_OPEN && op->answer != LINEAR_REFUSED) {
        l->opened_n += op->answer == LINEAR_DONE;
        l->began_us = op->asked_us;
        l->touched_us = max_u64(l->touched_us, op->asked_us);
    } else if (op->answer == LINEAR_DONE) {
        l->touched_us = max_u64(l->touched_us, op->asked_us);
        l->used_us = min_u64(l->used_us, op->answered_us);
        if (op->call == LINEAR_CLOSE) {
            l->ended_us = min_u64(l->ended_us, op->answered_us);
            l->closed_n++;
        }
    }
}

static void lives_make(struct reading *r, const uint32_t *which, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct linear_op *op = &r->ops[which[i]];
        if (is_of_a_session(op) && op->session != 0) {
            r->lives[r->lives_n++] = (struct life){.session = op->session,
                                                   .used_us = UINT64_MAX,
                                                   .ended_us = UINT64_MAX};
        }
    }
    qsort(r->lives, r->lives_n, sizeof *r->lives, by_session);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->lives_n; i++) {
        if (kept == 0 || r->lives[kept - 1].session != r->lives[i].session) {
            r->lives[kept++] = r->lives[i];
        }
    }
    r->lives_n = kept;
    for (uint32_t i = 0; i < n; i++) {
        const struct linear_op *op = &r->ops[which[i]];
        if (is_of_a_session(op) && op->session != 0) {
            live_op(life_of(r, op->session), op);
        }
    }
    for (uint32_t i = 0; i < r->bindings_n; i++) {
        struct life *l = life_of(r, r->bindings[i].session);
        if (l != NULL) {
            l->first = l->first == 0 ? r->bindings[i].epoch : l->first;
            l->last = r->bindings[i].epoch;
        }
    }
    for (uint32_t i = 0; i < r->lives_n; i++) {
        const struct life *l = &r->lives[i];
        /* S7: nothing succeeds before the beginning or after the end, and there is one of each. */
        r->out->bad |= l->used_us < l->began_us ||
                       l->touched_us > l->ended_us || l->opened_n > 1 ||
                       l->closed_n > 1;
    }
}

/* --- what each answer demands ------------------------------------------------------------------------------------------------- */

static void demand(struct reading *r, uint32_t op, enum step_kind kind,
                   const struct step *what)
{
    struct step step = *what;
    step.kind = kind;
    step.op = op;
    if (step.to_us == 0) {
        step.from_us = r->ops[op].asked_us;
        step.to_us = r->ops[op].answered_us;
    }
    ASSERT(step.from_us <= step.to_us);
    r->out->steps[r->out->n++] = step;
}

static void demand_session(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    const struct life *l = life_of(r, op->session);
    if (l == NULL || l->first == 0) {
        return; /* it isn't known to have held: nothing to forbid */
    }
    if (op->answer == LINEAR_NO_SESSION) {
        /* If it was closed it ended there, and that has its own demand. */
        if (l->closed_n == 0) {
            demand(
                r, i, STEP_END,
                &(struct step){.from_us = max_u64(op->asked_us, l->touched_us),
                               .to_us = op->answered_us,
                               .epoch = l->last});
        }
    } else if (op->call == LINEAR_OPEN) {
        /* The earlier the better, for whatever order. */
        demand(r, i, STEP_BEGIN,
               &(struct step){.from_us = op->asked_us,
                              .to_us = op->asked_us,
                              .epoch = l->first});
    } else if (op->call == LINEAR_CLOSE) {
        demand(r, i, STEP_END,
               &(struct step){.from_us = max_u64(op->asked_us, l->touched_us),
                              .to_us = l->ended_us,
                              .epoch = l->last});
    }
}

static void demand_holder(struct reading *r, uint32_t i)
{
    uint64_t epoch = r->ops[i].told.epoch;
    demand(r, i, epoch == 0 ? STEP_VACANT : STEP_HOLD,
           &(struct step){.epoch = epoch});
}

/* "The epoch isn't the current one." */
static void demand_stale(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    if (op->told.epoch == 0) {
        demand(r, i, STEP_NOT, &(struct step){.epoch = op->epoch});
        return;
    }
    r->out->bad |= op->told.epoch == op->epoch;
    demand_holder(r, i);
}

static void demand_seen(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    if (op->told.epoch != 0) {
        demand(r, i, STEP_SEEN,
               &(struct step){.from_us = op->answered_us,
                              .to_us = op->answered_us,
                              .epoch = op->told.epoch});
    }
}

/* One epoch follows upon the other in one step: none is in between, also not one that is only told of later. */
static void demand_pass(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    uint32_t low = 0;
    uint32_t high = r->bindings_n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->bindings[middle].epoch <= op->epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    r->out->bad |= low < r->bindings_n && op->told.epoch != 0 &&
                   r->bindings[low].epoch < op->told.epoch;
    demand(r, i, STEP_PASS,
           &(struct step){.epoch = op->epoch, .next = op->told.epoch});
}

/* A call that was done, of those that are about the scope. */
static void demand_done(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    bool current = op->told.epoch != 0 && op->told.epoch == op->epoch;
    switch (op->call) {
    case LINEAR_LEADER:
    case LINEAR_HANDOFF:
        demand_holder(r, i);
        break;
    case LINEAR_LEADER_STALE:
    case LINEAR_GRANTED:
        demand_seen(r, i);
        break;
    case LINEAR_VERIFY:
        r->out->bad |= op->valid != current;
        demand_holder(r, i);
        break;
    case LINEAR_CLAIM:
        r->out->bad |=
            op->valid != (current && op->told.session == op->session);
        demand_holder(r, i);
        break;
    case LINEAR_DEMOTE:
        /* "Never to nobody." */
        r->out->bad |= op->told.epoch == 0;
        demand(r, i, STEP_GRANT, &(struct step){.next = op->told.epoch});
        break;
    case LINEAR_YIELD:
        r->out->bad |= op->told.epoch == 0;
        demand_pass(r, i);
        break;
    case LINEAR_RESIGN:
        demand_pass(r, i);
        break;
    case LINEAR_OPEN:
    case LINEAR_TOUCH:
    case LINEAR_CLOSE:
        demand_session(r, i);
        break;
    }
}

static void demand_all(struct reading *r, uint32_t i)
{
    const struct linear_op *op = &r->ops[i];
    switch (op->answer) {
    case LINEAR_DONE:
        demand_done(r, i);
        break;
    case LINEAR_NOBODY:
        if (op->call != LINEAR_LEADER_STALE) {
            demand(r, i, STEP_VACANT, &(struct step){.epoch = 0});
        }
        break;
    case LINEAR_STALE:
        demand_stale(r, i);
        break;
    case LINEAR_NO_SESSION:
        demand_session(r, i);
        break;
    case LINEAR_LOST:
        if (op->call == LINEAR_OPEN) {
            demand_session(r, i);
        }
        break;
    case LINEAR_REFUSED:
        break;
    }
}

void steps_make(struct steps *s, const struct linear_op *ops,
                const uint32_t *which, uint32_t n)
{
    struct reading r = {.ops = ops, .out = s};
    *s = (struct steps){.n = 0};
    s->steps = calloc(n + 1u, sizeof *s->steps);
    r.bindings = calloc(2u * n + 1u, sizeof *r.bindings);
    r.lives = calloc(n + 1u, sizeof *r.lives);
    ASSERT(s->steps != NULL && r.bindings != NULL && r.lives != NULL);
    bind_all(&r, which, n);
    lives_make(&r, which, n);
    for (uint32_t i = 0; i < n && !s->bad; i++) {
        demand_all(&r, which[i]);
    }
    qsort(s->steps, s->n, sizeof *s->steps, by_time);
    free(r.bindings);
    free(r.lives);
}

void steps_free(struct steps *s)
{
    free(s->steps);
    *s = (struct steps){.n = 0};
}

/* --- the scope ------------------------------------------------------------------------------------------------------------------ */

/* `epoch` is the current one, be it that it was granted just now without anybody's asking. */
static bool take_hold(uint64_t epoch, struct state *state)
{
    if (epoch < state->epoch || (epoch == state->epoch && state->over)) {
        return false;
    }
    *state = (struct state){.epoch = epoch};
    return true;
}

static bool take_grant(uint64_t epoch, struct state *state)
{
    if (epoch <= state->epoch) {
        return false;
    }
    *state = (struct state){.epoch = epoch};
    return true;
}

bool step_take(const struct step *step, struct state *state)
{
    switch (step->kind) {
    case STEP_HOLD:
        return take_hold(step->epoch, state);
    case STEP_VACANT:
        state->over = true;
        return true;
    case STEP_NOT:
        state->over |= step->epoch == state->epoch;
        return true;
    case STEP_SEEN:
        (void)take_grant(step->epoch, state);
        return true;
    case STEP_PASS:
        if (!take_hold(step->epoch, state)) {
            return false;
        }
        state->over = true;
        return step->next == 0 || take_grant(step->next, state);
    case STEP_GRANT:
        return take_grant(step->next, state);
    case STEP_BEGIN:
        return state->epoch < step->epoch;
    case STEP_END:
        (void)take_grant(step->epoch, state);
        state->over |= step->epoch == state->epoch;
        return true;
    }
    return false;
}

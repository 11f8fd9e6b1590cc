#include "tests/unit/linear_model.h"

#include <string.h>

static uint64_t *any_alive(struct linear_model *m)
{
    uint64_t *found = NULL;
    uint64_t n = 0;
    for (uint32_t i = 0; i < LINEAR_MODEL_ALIVE_MAX; i++) {
        if (m->alive[i] != 0 && sim_below(&m->random, ++n) == 0) {
            found = &m->alive[i];
        }
    }
    return found;
}

static bool model_grant(struct linear_model *m)
{
    const uint64_t *to = any_alive(m);
    m->holder = (struct linear_holder){0, 0};
    if (to == NULL || m->grants_max == 0) {
        return false;
    }
    m->grants_max--;
    m->index += 1 + sim_below(&m->random, 3);
    m->holder = (struct linear_holder){*to, m->index};
    m->past[m->past_n++ % countof(m->past)] = m->holder;
    return true;
}

struct linear_holder linear_model_past(struct linear_model *m)
{
    uint64_t n = m->past_n < countof(m->past) ? m->past_n : countof(m->past);
    return n == 0 ? (struct linear_holder){0, 0}
                  : m->past[sim_below(&m->random, n)];
}

static void model_end(struct linear_model *m, uint64_t *alive)
{
    if (m->holder.epoch != 0 && m->holder.session == *alive) {
        m->holder = (struct linear_holder){0, 0};
    }
    *alive = 0;
}

/* What goes on without anybody's asking. */
static void model_moves(struct linear_model *m)
{
    uint64_t *alive = any_alive(m);
    switch (sim_below(&m->random, 8)) {
    case 0:
        (void)model_grant(m);
        break;
    case 1:
        m->holder = (struct linear_holder){0, 0};
        break;
    case 2:
        if (alive != NULL && sim_chance(&m->random, 300)) {
            model_end(m, alive);
        }
        break;
    default:
        break;
    }
}

static bool model_open(struct linear_model *m, struct linear_op *op)
{
    for (uint32_t i = 0; i < LINEAR_MODEL_ALIVE_MAX; i++) {
        if (m->alive[i] == 0) {
            op->call = LINEAR_OPEN;
            op->session = ++m->index;
            m->alive[i] = op->session;
            return true;
        }
    }
    return false;
}

/* About an epoch: the current one, or one of before. */
static void model_asks(struct linear_model *m, struct linear_op *op,
                       enum linear_call call)
{
    struct linear_holder about =
        sim_chance(&m->random, 600) ? m->holder : linear_model_past(m);
    op->call = call;
    op->epoch = about.epoch == 0 ? 1 : about.epoch;
    op->told = m->holder;
    op->valid = m->holder.epoch == op->epoch;
    if (call == LINEAR_CLAIM) {
        const uint64_t *as = any_alive(m);
        op->session =
            sim_chance(&m->random, 800) || as == NULL ? about.session : *as;
        op->valid = op->valid && op->session == m->holder.session;
    }
}

static void model_passes(struct linear_model *m, struct linear_op *op,
                         enum linear_call call)
{
    model_asks(m, op, call);
    op->valid = false;
    op->told.session = 0;
    if (m->holder.epoch == 0) {
        op->answer = LINEAR_NOBODY;
        op->epoch = call == LINEAR_DEMOTE ? 0 : op->epoch;
    } else if (call != LINEAR_DEMOTE && op->epoch != m->holder.epoch) {
        op->answer = LINEAR_STALE;
        op->told.epoch = sim_chance(&m->random, 500) ? 0 : op->told.epoch;
    } else {
        op->epoch = call == LINEAR_DEMOTE ? 0 : op->epoch;
        op->session = call == LINEAR_YIELD ? m->holder.session : 0;
        bool granted = model_grant(m);
        op->told = m->holder;
        if (!granted && call != LINEAR_RESIGN) {
            /* It can't be: let it be a resignation, of the epoch that it was. */
            op->answer = LINEAR_LOST;
        }
    }
}

static bool model_session(struct linear_model *m, struct linear_op *op,
                          enum linear_call call)
{
    uint64_t *alive = any_alive(m);
    struct linear_holder past = linear_model_past(m);
    op->call = call;
    if (alive != NULL) {
        op->session = *alive;
        if (call == LINEAR_CLOSE) {
            model_end(m, alive);
        }
        return true;
    }
    /* One that held once, and is gone: all are. */
    op->answer = LINEAR_NO_SESSION;
    op->session = past.session;
    return past.session != 0;
}

static bool model_answers(struct linear_model *m, struct linear_op *op)
{
    switch (sim_below(&m->random, 14)) {
    case 0:
    case 1:
        return model_open(m, op);
    case 2:
        return model_session(m, op, LINEAR_TOUCH);
    case 3:
        return model_session(m, op, LINEAR_CLOSE);
    case 4:
        op->call = LINEAR_LEADER_STALE;
        op->told = linear_model_past(m);
        op->answer = op->told.epoch == 0 ? LINEAR_NOBODY : LINEAR_DONE;
        return true;
    case 5:
        op->call = LINEAR_GRANTED;
        op->told = linear_model_past(m);
        return op->told.epoch != 0;
    case 6:
        model_asks(m, op, LINEAR_VERIFY);
        return true;
    case 7:
        model_asks(m, op, LINEAR_CLAIM);
        return true;
    case 8:
        op->call = LINEAR_HANDOFF;
        op->told.epoch = m->holder.epoch;
        op->answer = m->holder.epoch == 0 ? LINEAR_NOBODY : LINEAR_DONE;
        return true;
    case 9:
        model_passes(m, op, LINEAR_DEMOTE);
        return true;
    case 10:
        model_passes(m, op, LINEAR_RESIGN);
        return true;
    case 11:
        model_passes(m, op, LINEAR_YIELD);
        return true;
    default:
        op->call = LINEAR_LEADER;
        op->told = m->holder;
        op->answer = m->holder.epoch == 0 ? LINEAR_NOBODY : LINEAR_DONE;
        return true;
    }
}

/* Asked before it was done and answered after; one in ten isn't answered at all, though it was done. */
static void model_step(struct linear_model *m)
{
    struct linear_op op = {.client = (uint32_t)sim_below(&m->random, 9)};
    m->now_us += 2 + sim_below(&m->random, 10);
    model_moves(m);
    if (!model_answers(m, &op)) {
        return;
    }
    op.asked_us = m->now_us - sim_below(&m->random, m->spread_us);
    op.answered_us = m->now_us + sim_below(&m->random, m->spread_us);
    if (op.call == LINEAR_GRANTED) {
        op.asked_us = op.answered_us;
    } else if (sim_chance(&m->random, 100)) {
        op.answer = LINEAR_LOST;
    }
    if (op.answer == LINEAR_LOST) {
        op.told = (struct linear_holder){0, 0};
        op.valid = false;
    }
    m->ops[m->n++] = op;
}

void linear_model_make(struct linear_model *m, uint64_t seed, uint32_t n,
                       uint32_t grants_max)
{
    memset(m, 0, sizeof *m);
    m->random = sim_random_of(seed, SIM_FOR_WORKLOAD, n);
    m->now_us = 1000;
    m->spread_us = sim_magnitude(&m->random, 1, 200);
    m->grants_max = grants_max;
    while (m->n < n) {
        model_step(m);
    }
}

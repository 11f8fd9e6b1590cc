#include "sim/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/linear.h"

/* The share of seeds whose history is kept unasked. */
#define ONE_IN 20u

/* A call, and where it belongs. */
struct record {
    struct linear_op op;
    uint64_t tag;
    uint32_t group;
    uint32_t device;
    bool of_device; /* the device's scope knows of it */
    bool of_group;
};

struct sim_history {
    uint32_t groups_n;
    uint32_t devices_n;
    struct record *records;
    uint32_t n;
    uint32_t capacity;
    uint32_t *lost; /* the records that are openings which nobody answered */
    uint32_t lost_n;
    uint32_t lost_capacity;
    uint64_t undecided_n; /* scopes */
};

struct sim_history *sim_history_new(const struct sim_options *options)
{
    uint64_t one = sim_mix(options->seed, ONE_IN, 0x11AEA2u) % ONE_IN;
    if (!options->linear && one != 0) {
        return NULL;
    }
    struct sim_history *h = calloc(1, sizeof *h);
    ASSERT(h != NULL);
    h->groups_n = options->groups_n;
    h->devices_n = options->devices_n;
    return h;
}

void sim_history_free(struct sim_history *h)
{
    if (h != NULL) {
        free(h->records);
        free(h->lost);
        free(h);
    }
}

static void put_lost(struct sim_history *h, uint32_t record)
{
    if (h->lost_n == h->lost_capacity) {
        h->lost_capacity = h->lost_capacity == 0 ? 64 : h->lost_capacity * 2;
        h->lost = realloc(h->lost, h->lost_capacity * sizeof *h->lost);
        ASSERT(h->lost != NULL);
    }
    h->lost[h->lost_n++] = record;
}

static void put(struct sim_history *h, const struct record *r)
{
    if (h->n == h->capacity) {
        h->capacity = h->capacity == 0 ? 1024 : h->capacity * 2;
        h->records = realloc(h->records, h->capacity * sizeof *h->records);
        ASSERT(h->records != NULL);
    }
    if (r->op.call == LINEAR_OPEN && r->op.answer == LINEAR_LOST) {
        put_lost(h, h->n);
    }
    h->records[h->n++] = *r;
}

/* --- what calls came to ------------------------------------------------------------------------------------------------------ */

/* False: nothing that a scope could be asked about. */
static bool call_of(enum sim_op_kind kind, enum linear_call *out)
{
    switch (kind) {
    case SIM_OP_OPEN:
        *out = LINEAR_OPEN;
        return true;
    case SIM_OP_CLOSE:
        *out = LINEAR_CLOSE;
        return true;
    case SIM_OP_UPDATE:
    case SIM_OP_ATTACH:
        *out = LINEAR_TOUCH;
        return true;
    case SIM_OP_LEADER: /* a leased one is as good */
        *out = LINEAR_LEADER;
        return true;
    case SIM_OP_LEADER_STALE:
        *out = LINEAR_LEADER_STALE;
        return true;
    case SIM_OP_VERIFY:
        *out = LINEAR_VERIFY;
        return true;
    case SIM_OP_CLAIM:
        *out = LINEAR_CLAIM;
        return true;
    case SIM_OP_HANDOFF:
        *out = LINEAR_HANDOFF;
        return true;
    case SIM_OP_DEMOTE:
        *out = LINEAR_DEMOTE;
        return true;
    case SIM_OP_RESIGN:
        *out = LINEAR_RESIGN;
        return true;
    case SIM_OP_YIELD:
        *out = LINEAR_YIELD;
        return true;
    case SIM_OP_SESSIONS:
    case SIM_OP_POLICY:
    case SIM_OPS_N:
        break;
    }
    return false;
}

static enum linear_answer answer_of(const struct baton_reply *reply)
{
    switch (reply->status) {
    case BATON_OK:
        return LINEAR_DONE;
    case BATON_UNKNOWN:
        return LINEAR_LOST;
    case BATON_STALE_EPOCH:
        return LINEAR_STALE;
    case BATON_NOT_FOUND:
        break;
    default:
        return LINEAR_REFUSED;
    }
    switch ((enum baton_reason)reply->reason) {
    case REASON_NO_HOLDER:
    case REASON_NO_SCOPE:
    case REASON_NO_NAMESPACE:
        return LINEAR_NOBODY;
    case REASON_NO_SESSION:
        return LINEAR_NO_SESSION;
    default: /* no lease, for one */
        return LINEAR_REFUSED;
    }
}

static struct linear_holder told_by(enum linear_call call,
                                    const struct baton_reply *reply)
{
    switch (call) {
    case LINEAR_LEADER:
    case LINEAR_LEADER_STALE:
    case LINEAR_VERIFY:
    case LINEAR_CLAIM:
        return (struct linear_holder){reply->session, reply->epoch};
    case LINEAR_DEMOTE:
    case LINEAR_RESIGN:
    case LINEAR_YIELD:
        return (struct linear_holder){reply->id, reply->epoch};
    case LINEAR_HANDOFF:
        return (struct linear_holder){0, reply->epoch};
    case LINEAR_OPEN:
    case LINEAR_TOUCH:
    case LINEAR_CLOSE:
    case LINEAR_GRANTED:
        break;
    }
    return (struct linear_holder){0, 0};
}

static struct record record_of(const struct sim_client *c,
                               const struct sim_op *op, enum linear_call call)
{
    bool of_session =
        call == LINEAR_OPEN || call == LINEAR_TOUCH || call == LINEAR_CLOSE;
    struct record r = {
        .op = {.asked_us = op->invoked_us,
               .answered_us = c->world->now_us,
               .client = c->number,
               .call = call,
               .answer = LINEAR_LOST},
        .tag = op->tag,
        .group = op->group,
        .device = op->device,
        .of_device = of_session || !op->group_scope,
        .of_group = of_session || op->group_scope,
    };
    /* Sessions are those of calls in somebody's name. */
    if (of_session || call == LINEAR_CLAIM || call == LINEAR_YIELD) {
        r.op.session = op->session;
    }
    if (call == LINEAR_VERIFY || call == LINEAR_CLAIM ||
        call == LINEAR_RESIGN || call == LINEAR_YIELD) {
        r.op.epoch = max_u64(op->epoch, 1); /* as it is asked */
    }
    return r;
}

/* A session whose opening nobody answered: its tab's name tells which it is. */
static void name_opening(struct sim_history *h, const char *tab,
                         uint64_t session)
{
    char *behind = NULL;
    if (tab == NULL || tab[0] != 't') {
        return;
    }
    uint64_t client = strtoull(tab + 1, &behind, 10);
    uint64_t tag = behind[0] == '-' ? strtoull(behind + 1, NULL, 10) : 0;
    for (uint32_t i = 0; i < h->lost_n; i++) {
        struct record *r = &h->records[h->lost[i]];
        if (r->op.client == client && r->tag == tag) {
            r->op.session = session;
        }
    }
}

void sim_history_end(struct sim_history *h, const struct sim_client *c,
                     const struct sim_op *op, const struct baton_reply *reply)
{
    enum linear_call call = LINEAR_OPEN;
    if (h == NULL || !call_of(op->kind, &call)) {
        return;
    }
    struct record r = record_of(c, op, call);
    r.op.answer = answer_of(reply);
    if (r.op.answer == LINEAR_DONE) {
        r.op.told = told_by(call, reply);
        r.op.valid = reply->valid;
        r.op.session = call == LINEAR_OPEN ? reply->id : r.op.session;
    } else if (r.op.answer == LINEAR_STALE && reply->detail > 0) {
        r.op.told.epoch = (uint64_t)reply->detail;
    } else if (r.op.answer == LINEAR_NO_SESSION && r.op.session == 0) {
        r.op.answer = LINEAR_REFUSED;
    }
    put(h, &r);
    if (r.op.answer == LINEAR_DONE && reply->tab != NULL) {
        name_opening(h, reply->tab, r.op.told.session);
    }
}

void sim_history_lost(struct sim_history *h, const struct sim_client *c,
                      const struct sim_op *op)
{
    enum linear_call call = LINEAR_OPEN;
    if (h != NULL && call_of(op->kind, &call)) {
        struct record r = record_of(c, op, call);
        put(h, &r);
    }
}

void sim_history_granted(struct sim_history *h, const struct sim_client *c,
                         const struct sim_tab *tab, bool group, uint64_t epoch)
{
    if (h == NULL) {
        return;
    }
    put(h, &(struct record){
               .op = {.asked_us = c->world->now_us,
                      .answered_us = c->world->now_us,
                      .client = c->number,
                      .call = LINEAR_GRANTED,
                      .answer = LINEAR_DONE,
                      .told = {tab->session, epoch}},
               .group = tab->group,
               .device = tab->device,
               .of_device = !group,
               .of_group = group,
           });
}

/* --- the end --------------------------------------------------------------------------------------------------------------------- */

struct scope_name {
    uint32_t group;
    uint32_t device;
    bool of_group;
};

static uint32_t take_scope(const struct sim_history *h, struct scope_name scope,
                           struct linear_op *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n; i++) {
        const struct record *r = &h->records[i];
        if (r->group == scope.group &&
            (scope.of_group ? r->of_group
                            : r->of_device && r->device == scope.device)) {
            out[n++] = r->op;
        }
    }
    return n;
}

static void check_scope(struct sim_history *h, struct sim_world *w,
                        struct scope_name scope, struct linear_op *ops)
{
    struct linear_report report;
    char name[40];
    uint32_t n = take_scope(h, scope, ops);
    if (n == 0) {
        return;
    }
    (void)snprintf(name, sizeof name, "g%u/d%u", scope.group, scope.device);
    if (scope.of_group) {
        (void)snprintf(name, sizeof name, "g%u", scope.group);
    }
    w->coverage.linear_checked++;
    switch (linear_check(ops, n, &linear_limits_default, &report)) {
    case LINEAR_OK:
        break;
    case LINEAR_BAD:
        sim_world_fail(w, SIM_UNSAFE, "S16", "%s: %s", name, report.text);
        break;
    case LINEAR_UNKNOWN:
        h->undecided_n++;
        break;
    }
}

/* What nobody answered any more. */
static void take_pending(struct sim_history *h, struct sim_world *w)
{
    for (uint32_t i = 0; i < w->clients_n; i++) {
        const struct sim_client *c = w->clients[i];
        for (uint32_t k = 0; k < SIM_OPS_MAX; k++) {
            if (c->ops[k].tag != 0) {
                sim_history_lost(h, c, &c->ops[k]);
            }
        }
    }
}

void sim_history_check(struct sim_history *h, struct sim_world *w)
{
    if (h == NULL || w->failure.verdict != SIM_PASS) {
        return;
    }
    take_pending(h, w);
    struct linear_op *ops = calloc(h->n + 1u, sizeof *ops);
    ASSERT(ops != NULL);
    for (uint32_t g = 0; g < h->groups_n; g++) {
        check_scope(h, w, (struct scope_name){g, 0, true}, ops);
        for (uint32_t d = 0; d < h->devices_n; d++) {
            check_scope(h, w, (struct scope_name){g, d, false}, ops);
        }
    }
    free(ops);
    if (w->failure.verdict == SIM_PASS && h->undecided_n > 0) {
        sim_world_fail(w, SIM_UNDECIDED, "S16",
                       "of %llu histories %llu were too much to be checked",
                       (unsigned long long)w->coverage.linear_checked,
                       (unsigned long long)h->undecided_n);
    }
}

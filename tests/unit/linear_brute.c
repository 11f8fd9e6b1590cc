#include "tests/unit/linear_brute.h"

#include <stdlib.h>
#include <string.h>

#define EPOCHS_MAX   16u
#define SESSIONS_MAX 6u
#define SEEN_MAX     (1u << 16)
#define NO_ONE       UINT32_MAX

enum life {
    UNBORN,
    ALIVE,
    DEAD
};

/* 10 + 5 + 1 + 16 + 12 bits: a number of 64 says which. */
struct scope_now {
    uint32_t done;  /* ops, a bit each */
    uint32_t epoch; /* place in `epochs` + 1; 0: none yet */
    bool held;
    uint32_t granted;
    enum life lives[SESSIONS_MAX];
};

struct brute {
    const struct linear_op *ops;
    uint32_t n;
    uint32_t must; /* ops that an order must have */
    uint64_t epochs[EPOCHS_MAX];
    uint32_t epochs_n;
    uint32_t owner[EPOCHS_MAX + 1]; /* a session's place, by place + 1 */
    uint64_t sessions[SESSIONS_MAX];
    uint32_t sessions_n;
    uint64_t *seen;
    uint32_t seen_n;
};

static uint32_t place(uint64_t *list, uint32_t *n, uint32_t max, uint64_t what)
{
    uint32_t i = 0;
    while (i < *n && list[i] != what) {
        i++;
    }
    if (i == *n) {
        ASSERT(*n < max);
        list[(*n)++] = what;
    }
    return i;
}

static uint32_t session_at(struct brute *b, uint64_t id)
{
    return id == 0 ? NO_ONE
                   : place(b->sessions, &b->sessions_n, SESSIONS_MAX, id);
}

/* 0: none. */
static uint32_t epoch_at(const struct brute *b, uint64_t epoch)
{
    for (uint32_t i = 0; epoch != 0 && i < b->epochs_n; i++) {
        if (b->epochs[i] == epoch) {
            return i + 1;
        }
    }
    return 0;
}

static bool said(const struct linear_op *op)
{
    return op->answer != LINEAR_LOST && op->answer != LINEAR_REFUSED;
}

static bool own(struct brute *b, uint64_t epoch, uint64_t session)
{
    uint32_t e = epoch_at(b, epoch);
    uint32_t s = session_at(b, session);
    if (e == 0 || s == NO_ONE) {
        return true;
    }
    if (b->owner[e] != NO_ONE && b->owner[e] != s) {
        return false;
    }
    b->owner[e] = s;
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* False: an epoch is said to be two sessions'. */
static bool meet(struct brute *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const struct linear_op *op = &b->ops[i];
        (void)session_at(b, op->session);
        (void)session_at(b, op->told.session);
        if (op->told.epoch != 0) {
            (void)place(b->epochs, &b->epochs_n, EPOCHS_MAX, op->told.epoch);
        }
        if (op->epoch != 0) {
            (void)place(b->epochs, &b->epochs_n, EPOCHS_MAX, op->epoch);
        }
    }
    qsort(b->epochs, b->epochs_n, sizeof *b->epochs, by_number);
    bool ok = true;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct linear_op *op = &b->ops[i];
        if (said(op)) {
            ok = ok && own(b, op->told.epoch, op->told.session);
            b->must |= 1u << i;
        }
        if (op->answer == LINEAR_DONE && op->call == LINEAR_YIELD) {
            ok = ok && own(b, op->epoch, op->session);
        }
    }
    return ok;
}

/* --- moves ------------------------------------------------------------------------------------------------------------------ */

static bool may_have(const struct brute *b, const struct scope_now *s,
                     uint32_t epoch)
{
    uint32_t owner = b->owner[epoch];
    return epoch > s->epoch && (owner == NO_ONE || s->lives[owner] == ALIVE);
}

static bool grant(const struct brute *b, struct scope_now *s, uint32_t epoch)
{
    if (!may_have(b, s, epoch)) {
        return false;
    }
    s->epoch = epoch;
    s->held = true;
    s->granted |= 1u << (epoch - 1);
    return true;
}

static void die(const struct brute *b, struct scope_now *s, uint32_t session)
{
    s->lives[session] = DEAD;
    if (s->epoch != 0 && b->owner[s->epoch] == session) {
        s->held = false;
    }
}

static bool holds(const struct brute *b, const struct scope_now *s,
                  uint64_t epoch)
{
    return s->held && s->epoch == epoch_at(b, epoch);
}

/* What it is told is so. */
static bool is_so(const struct brute *b, const struct scope_now *s,
                  const struct linear_op *op)
{
    return op->told.epoch == 0 ? !s->held : holds(b, s, op->told.epoch);
}

static bool pass_on(const struct brute *b, struct scope_now *s,
                    const struct linear_op *op)
{
    if (!holds(b, s, op->epoch)) {
        return false;
    }
    s->held = false;
    return op->told.epoch == 0 ? op->call == LINEAR_RESIGN
                               : grant(b, s, epoch_at(b, op->told.epoch));
}

static bool done(const struct brute *b, struct scope_now *s,
                 const struct linear_op *op, uint32_t session)
{
    switch (op->call) {
    case LINEAR_OPEN:
        if (s->lives[session] != UNBORN) {
            return false;
        }
        s->lives[session] = ALIVE;
        return true;
    case LINEAR_TOUCH:
        return s->lives[session] == ALIVE;
    case LINEAR_CLOSE:
        if (s->lives[session] != ALIVE) {
            return false;
        }
        die(b, s, session);
        return true;
    case LINEAR_LEADER:
    case LINEAR_HANDOFF:
        return is_so(b, s, op);
    case LINEAR_LEADER_STALE:
    case LINEAR_GRANTED:
        return op->told.epoch == 0 ||
               (s->granted >> (epoch_at(b, op->told.epoch) - 1) & 1) != 0;
    case LINEAR_VERIFY:
        return is_so(b, s, op) && op->valid == holds(b, s, op->epoch);
    case LINEAR_CLAIM:
        return is_so(b, s, op) &&
               op->valid ==
                   (holds(b, s, op->epoch) && op->told.session == op->session);
    case LINEAR_DEMOTE:
        return op->told.epoch != 0 && grant(b, s, epoch_at(b, op->told.epoch));
    case LINEAR_RESIGN:
    case LINEAR_YIELD:
        return pass_on(b, s, op);
    }
    return false;
}

/* What a call with no answer may have done; that it did nothing is to leave it out. */
static bool lost(const struct brute *b, struct scope_now *s,
                 const struct linear_op *op, uint32_t session)
{
    switch (op->call) {
    case LINEAR_OPEN:
    case LINEAR_CLOSE:
        return session != NO_ONE && done(b, s, op, session);
    case LINEAR_RESIGN:
    case LINEAR_YIELD:
        s->held = s->held && !holds(b, s, op->epoch);
        return true;
    case LINEAR_DEMOTE:
        s->held = false;
        return true;
    default:
        return false;
    }
}

static bool take(const struct brute *b, struct scope_now *s, uint32_t i)
{
    const struct linear_op *op = &b->ops[i];
    uint32_t session = session_at((struct brute *)b, op->session);
    s->done |= 1u << i;
    switch (op->answer) {
    case LINEAR_DONE:
        return done(b, s, op, session);
    case LINEAR_NOBODY:
        return op->call == LINEAR_LEADER_STALE || !s->held;
    case LINEAR_STALE:
        return !holds(b, s, op->epoch) &&
               (op->told.epoch == 0 || holds(b, s, op->told.epoch));
    case LINEAR_NO_SESSION:
        return s->lives[session] == DEAD;
    case LINEAR_LOST:
        return lost(b, s, op, session);
    case LINEAR_REFUSED:
        break;
    }
    return false;
}

/* --- all of them -------------------------------------------------------------------------------------------------------------- */

static bool is_seen(struct brute *b, const struct scope_now *s)
{
    uint64_t key = s->done | (uint64_t)s->epoch << 10 |
                   (uint64_t)s->held << 15 | (uint64_t)s->granted << 16;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        key |= (uint64_t)s->lives[i] << (32 + 2 * i);
    }
    key |= (uint64_t)1 << 63;
    uint64_t at = key * 0x9E3779B97F4A7C15u >> 48;
    while (b->seen[at] != 0 && b->seen[at] != key) {
        at = (at + 1) % SEEN_MAX;
    }
    bool seen = b->seen[at] == key;
    b->seen[at] = key;
    b->seen_n += !seen;
    ASSERT(b->seen_n < SEEN_MAX);
    return seen;
}

/* Nobody who must come was answered before it was asked. */
static bool may_come(const struct brute *b, const struct scope_now *s,
                     uint32_t i)
{
    if ((s->done >> i & 1) != 0) {
        return false;
    }
    for (uint32_t k = 0; k < b->n; k++) {
        bool waits = (b->must >> k & 1) != 0 && (s->done >> k & 1) == 0;
        if (k != i && waits && b->ops[k].answered_us < b->ops[i].asked_us) {
            return false;
        }
    }
    return true;
}

/* NOLINTNEXTLINE(misc-no-recursion): one level an op or a move of the scope, a few dozen at most. */
static bool visit(struct brute *b, const struct scope_now *now)
{
    if (is_seen(b, now)) {
        return false;
    }
    if ((now->done & b->must) == b->must) {
        return true;
    }
    bool found = false;
    for (uint32_t i = 0; i < b->n && !found; i++) {
        struct scope_now next = *now;
        found = may_come(b, now, i) && take(b, &next, i) && visit(b, &next);
    }
    for (uint32_t e = 1; e <= b->epochs_n && !found; e++) {
        struct scope_now next = *now;
        found = grant(b, &next, e) && visit(b, &next);
    }
    for (uint32_t k = 0; k < b->sessions_n && !found; k++) {
        struct scope_now next = *now;
        if (now->lives[k] == ALIVE) {
            die(b, &next, k);
            found = visit(b, &next);
        }
    }
    if (now->held && !found) {
        struct scope_now next = *now;
        next.held = false;
        found = visit(b, &next);
    }
    return found;
}

bool brute_is_linear(const struct linear_op *ops, uint32_t n)
{
    struct brute b = {.ops = ops, .n = n};
    struct scope_now now = {.epoch = 0};
    ASSERT(n <= BRUTE_OPS_MAX);
    for (uint32_t e = 0; e <= EPOCHS_MAX; e++) {
        b.owner[e] = NO_ONE;
    }
    if (!meet(&b)) {
        return false;
    }
    /* Sessions that nobody opens were there before. */
    for (uint32_t k = 0; k < b.sessions_n; k++) {
        now.lives[k] = ALIVE;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (ops[i].call == LINEAR_OPEN && ops[i].answer != LINEAR_REFUSED &&
            ops[i].session != 0) {
            now.lives[session_at(&b, ops[i].session)] = UNBORN;
        }
    }
    b.seen = calloc(SEEN_MAX, sizeof *b.seen);
    ASSERT(b.seen != NULL);
    bool found = visit(&b, &now);
    free(b.seen);
    return found;
}

#include <stdlib.h>
#include <string.h>

#include "sim/linear_inner.h"

#define NONE UINT32_MAX

/* A beginning or an end of a step: a list that a step is lifted out of while it's taken. */
struct mark {
    uint32_t step;
    bool is_end;
    uint32_t other; /* the mark of the step's end */
    uint32_t previous;
    uint32_t next;
};

/* A step that may be taken next: those that bring the scope the least far come first. */
struct choice {
    uint64_t rank; /* of the state behind it */
    uint32_t mark; /* 0: none */
};

struct taken {
    struct choice choice;
    bool only; /* to take another one instead can't be better */
    struct state before;
};

/* Which step must come before the scope gets any further than `rank`. */
struct deadline {
    uint64_t rank;
    uint32_t step;
};

/* One piece of the history: no step of it overlaps with one outside. Its steps that are taken are bits of `done`, those that can't wait
 * first; `memory` has the least rank that was reached with them, each entry 1 + words numbers, found by the hash of its bits.
 *
 * The scope may go on by itself at any time, so whatever can follow a state can follow one of a lower rank, too: of two states with the same
 * steps taken the lower one is enough, and so it is of those that a piece may end in. */
struct search {
    const struct linear_limits *limits;
    struct linear_report *report;
    const struct step *steps;
    uint32_t n;
    uint32_t words;
    struct mark *marks;         /* [0]: before the first */
    struct deadline *deadlines; /* soonest first */
    uint32_t *bits; /* a step's in `done`: its place in `deadlines` */
    struct taken *stack;
    uint32_t depth;
    uint64_t *done;
    uint64_t *memory;
    uint32_t *slots; /* place in memory + 1; 0: free */
    uint32_t entries_n;
    uint32_t entries_capacity;
    struct state end; /* the lowest that was found */
    bool has_end;
    bool gave_up;
};

/* --- how long a step can wait -------------------------------------------------------------------------------------------------- */

/* States in the order in which a scope goes through them. */
static uint64_t rank_of(const struct state *state)
{
    return state->epoch * 2 + state->over;
}

/* The last state from which a step can be taken. */
static uint64_t last_rank(const struct step *step)
{
    switch (step->kind) {
    case STEP_HOLD:
    case STEP_PASS:
        return step->epoch * 2;
    case STEP_GRANT:
        return step->next * 2 - 1;
    case STEP_BEGIN:
        return step->epoch * 2 - 1;
    case STEP_VACANT:
    case STEP_NOT:
    case STEP_SEEN:
    case STEP_END:
        break;
    }
    return UINT64_MAX;
}

static int by_rank(const void *left, const void *right)
{
    const struct deadline *a = left;
    const struct deadline *b = right;
    if (a->rank != b->rank) {
        return a->rank < b->rank ? -1 : 1;
    }
    return a->step < b->step ? -1 : a->step > b->step;
}

static void deadlines_make(struct search *s)
{
    s->deadlines = calloc(s->n, sizeof *s->deadlines);
    s->bits = calloc(s->n, sizeof *s->bits);
    ASSERT(s->deadlines != NULL && s->bits != NULL);
    for (uint32_t i = 0; i < s->n; i++) {
        s->deadlines[i] = (struct deadline){last_rank(&s->steps[i]), i};
    }
    qsort(s->deadlines, s->n, sizeof *s->deadlines, by_rank);
    for (uint32_t i = 0; i < s->n; i++) {
        s->bits[s->deadlines[i].step] = i;
    }
}

/* A step that isn't taken can't be any more, in that state or after it. */
static bool is_too_late(const struct search *s, const struct state *state)
{
    for (uint32_t i = 0; i < s->words; i++) {
        if (s->done[i] != UINT64_MAX) {
            uint32_t bit = 64 * i + (uint32_t)__builtin_ctzll(~s->done[i]);
            return bit < s->n && s->deadlines[bit].rank < rank_of(state);
        }
    }
    return false;
}

/* --- memory ------------------------------------------------------------------------------------------------------------------ */

static uint64_t hash_of(const uint64_t *numbers, uint32_t n)
{
    uint64_t h = 0x9E3779B97F4A7C15u;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ numbers[i]) * 0xBF58476D1CE4E5B9u;
        h ^= h >> 29;
    }
    return h ^ (h >> 32);
}

static uint32_t *slot_of(struct search *s, const uint64_t *bits)
{
    uint32_t mask = 2 * s->entries_capacity - 1;
    uint32_t at = (uint32_t)hash_of(bits, s->words) & mask;
    while (s->slots[at] != 0 &&
           memcmp(&s->memory[(size_t)(s->slots[at] - 1) * (1 + s->words) + 1],
                  bits, s->words * sizeof *bits) != 0) {
        at = (at + 1) & mask;
    }
    return &s->slots[at];
}

static void memory_grow(struct search *s)
{
    size_t entry = 1 + (size_t)s->words;
    s->entries_capacity =
        s->entries_capacity == 0 ? 64 : s->entries_capacity * 2;
    s->memory = realloc(s->memory, (size_t)s->entries_capacity * entry *
                                       sizeof *s->memory);
    free(s->slots);
    s->slots = calloc(2 * (size_t)s->entries_capacity, sizeof *s->slots);
    ASSERT(s->memory != NULL && s->slots != NULL);
    for (uint32_t i = 0; i < s->entries_n; i++) {
        *slot_of(s, &s->memory[i * entry + 1]) = i + 1;
    }
}

/* Was this, or a lower state, reached before with these steps taken? If not, it's remembered. */
static bool is_new(struct search *s, const struct state *state)
{
    if (s->entries_n == s->entries_capacity) {
        memory_grow(s);
    }
    uint32_t *slot = slot_of(s, s->done);
    size_t entry = 1 + (size_t)s->words;
    if (*slot != 0) {
        uint64_t *known = &s->memory[(*slot - 1) * entry];
        bool lower = rank_of(state) < *known;
        *known = min_u64(*known, rank_of(state));
        return lower;
    }
    uint64_t *made = &s->memory[s->entries_n * entry];
    made[0] = rank_of(state);
    memcpy(made + 1, s->done, s->words * sizeof *made);
    *slot = ++s->entries_n;
    s->gave_up |= s->entries_n >= s->limits->states;
    return true;
}

/* --- the list ---------------------------------------------------------------------------------------------------------------- */

static void lift(struct search *s, uint32_t mark)
{
    const uint32_t both[2] = {mark, s->marks[mark].other};
    for (uint32_t i = 0; i < 2; i++) {
        const struct mark *m = &s->marks[both[i]];
        s->marks[m->previous].next = m->next;
        if (m->next != NONE) {
            s->marks[m->next].previous = m->previous;
        }
    }
}

static void unlift(struct search *s, uint32_t mark)
{
    const uint32_t both[2] = {s->marks[mark].other, mark};
    for (uint32_t i = 0; i < 2; i++) {
        const struct mark *m = &s->marks[both[i]];
        s->marks[m->previous].next = both[i];
        if (m->next != NONE) {
            s->marks[m->next].previous = both[i];
        }
    }
}

struct when {
    uint64_t at_us;
    uint32_t step;
    bool is_end;
};

/* Of what is at one time, beginnings come first: it overlaps. */
static int by_when(const void *left, const void *right)
{
    const struct when *a = left;
    const struct when *b = right;
    if (a->at_us != b->at_us) {
        return a->at_us < b->at_us ? -1 : 1;
    }
    if (a->is_end != b->is_end) {
        return a->is_end ? 1 : -1;
    }
    return a->step < b->step ? -1 : a->step > b->step;
}

static void list_make(struct search *s)
{
    uint32_t n = 2 * s->n;
    struct when *when = calloc(n + 1u, sizeof *when);
    uint32_t *begin = calloc(s->n + 1u, sizeof *begin);
    s->marks = calloc(n + 1u, sizeof *s->marks);
    ASSERT(when != NULL && begin != NULL && s->marks != NULL);
    for (uint32_t i = 0; i < s->n; i++) {
        when[2 * i] = (struct when){s->steps[i].from_us, i, false};
        when[2 * i + 1] = (struct when){s->steps[i].to_us, i, true};
    }
    qsort(when, n, sizeof *when, by_when);
    for (uint32_t i = 0; i < n; i++) {
        struct mark *m = &s->marks[i + 1];
        *m = (struct mark){.step = when[i].step,
                           .is_end = when[i].is_end,
                           .previous = i,
                           .next = i + 1 < n ? i + 2 : NONE};
        if (m->is_end) {
            s->marks[begin[m->step]].other = i + 1;
        } else {
            begin[m->step] = i + 1;
        }
    }
    s->marks[0] = (struct mark){.next = n > 0 ? 1 : NONE};
    free(when);
    free(begin);
}

/* --- the search ------------------------------------------------------------------------------------------------------------------ */

static bool is_less(const struct choice *a, const struct choice *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->mark < b->mark;
}

/* The next choice behind `last`. False: none is left, or a step can't be taken, now or ever. */
static bool choose(struct search *s, const struct state *state,
                   const struct choice *last, struct choice *out)
{
    struct choice best = {.rank = UINT64_MAX, .mark = NONE};
    uint32_t at = s->marks[0].next;
    /* Up to the first that ends: what begins later can't come before it. */
    for (; !s->marks[at].is_end; at = s->marks[at].next) {
        struct state after = *state;
        s->report->steps++;
        if (!step_take(&s->steps[s->marks[at].step], &after)) {
            return false;
        }
        const struct choice choice = {rank_of(&after), at};
        if (is_less(last, &choice) && is_less(&choice, &best)) {
            best = choice;
        }
    }
    s->gave_up |= s->report->steps >= s->limits->steps;
    *out = best;
    return best.mark != NONE;
}

static void flip(struct search *s, uint32_t step)
{
    uint32_t bit = s->bits[step];
    s->done[bit / 64] ^= (uint64_t)1 << (bit % 64);
}

/* Takes back the last step that another could have been taken for, which is where to go on: `last`. False: there is none. */
static bool go_back(struct search *s, struct state *state, struct choice *last)
{
    while (s->depth > 0) {
        const struct taken *t = &s->stack[--s->depth];
        unlift(s, t->choice.mark);
        flip(s, s->marks[t->choice.mark].step);
        *state = t->before;
        *last = t->choice;
        if (!t->only) {
            return true;
        }
    }
    return false;
}

/* Returns false if it's no use. */
static bool advance(struct search *s, const struct choice *choice,
                    struct state *state)
{
    uint32_t step = s->marks[choice->mark].step;
    struct state after = *state;
    bool taken = step_take(&s->steps[step], &after);
    ASSERT(taken);
    flip(s, step);
    if ((s->has_end && rank_of(&after) >= rank_of(&s->end)) ||
        is_too_late(s, &after) || !is_new(s, &after)) {
        flip(s, step);
        return false;
    }
    /* Nobody waits for the state before: what doesn't bring another epoch is in nobody's way here. */
    bool only = state->epoch == after.epoch;
    s->stack[s->depth++] = (struct taken){*choice, only, *state};
    *state = after;
    lift(s, choice->mark);
    return true;
}

static void put_end(struct search *s, const struct state *state)
{
    if (!s->has_end || rank_of(state) < rank_of(&s->end)) {
        s->end = *state;
    }
    s->has_end = true;
}

/* The lowest state that the piece may end in, if it began in this one. */
static void explore(struct search *s, struct state state)
{
    struct choice last = {.mark = 0};
    bool more = true;
    while (more && !s->gave_up) {
        struct choice choice;
        if (s->marks[0].next == NONE) {
            put_end(s, &state);
            more = go_back(s, &state, &last);
        } else if (!choose(s, &state, &last, &choice)) {
            more = go_back(s, &state, &last);
        } else if (advance(s, &choice, &state)) {
            last = (struct choice){.mark = 0};
        } else {
            last = choice;
        }
    }
    ASSERT(s->gave_up || s->depth == 0);
}

/* `end` is what the piece begins in, and then what it ends in. */
static void search_piece(struct search *s, const struct step *steps, uint32_t n)
{
    s->steps = steps;
    s->n = n;
    s->words = (n + 63) / 64;
    s->has_end = false;
    s->depth = 0;
    s->entries_n = 0;
    s->entries_capacity = 0;
    s->memory = NULL;
    s->slots = NULL;
    s->stack = calloc(n, sizeof *s->stack);
    s->done = calloc(s->words, sizeof *s->done);
    ASSERT(s->stack != NULL && s->done != NULL);
    deadlines_make(s);
    list_make(s);
    explore(s, s->end);
    free(s->stack);
    free(s->done);
    free(s->marks);
    free(s->deadlines);
    free(s->bits);
    free(s->memory);
    free(s->slots);
}

enum linear_verdict search_order(const struct steps *all,
                                 const struct linear_limits *limits,
                                 struct linear_report *out)
{
    struct search s = {.limits = limits, .report = out, .has_end = true};
    uint32_t at = 0;
    while (at < all->n && s.has_end && !s.gave_up) {
        uint64_t until_us = all->steps[at].to_us;
        uint32_t n = 1;
        while (at + n < all->n && all->steps[at + n].from_us <= until_us) {
            until_us = max_u64(until_us, all->steps[at + n].to_us);
            n++;
        }
        search_piece(&s, &all->steps[at], n);
        out->pieces++;
        out->widest = n > out->widest ? n : out->widest;
        at += n;
    }
    if (s.gave_up) {
        return LINEAR_UNKNOWN;
    }
    return s.has_end ? LINEAR_OK : LINEAR_BAD;
}

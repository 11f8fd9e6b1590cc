#include <stdlib.h>
#include <string.h>

#include "sim/linear_inner.h"

/* States that a piece may end in. */
#define ENDS_MAX 64u
#define NONE     UINT32_MAX

/* A beginning or an end of a step: a list that a step is lifted out of while it's taken. */
struct mark {
    uint32_t step;
    bool is_end;
    uint32_t other; /* the mark of the step's end */
    uint32_t previous;
    uint32_t next;
};

struct taken {
    uint32_t mark;
    bool only; /* to take another one instead can't be better */
    struct state before;
};

/* One piece of the history: no step of it overlaps with one outside. Its steps that are taken are bits of `done`; what was reached with
 * them is in `memory`, each entry of 1 + words numbers, found by its hash. */
struct search {
    const struct linear_limits *limits;
    struct linear_report *report;
    const struct step *steps;
    uint32_t n;
    uint32_t words;
    struct mark *marks; /* [0]: before the first */
    struct taken *stack;
    uint32_t depth;
    uint64_t *done;
    uint64_t *memory;
    uint32_t *slots; /* place in memory + 1; 0: free */
    uint32_t entries_n;
    uint32_t entries_capacity;
    struct state ends[ENDS_MAX];
    uint32_t ends_n;
    bool gave_up;
};

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

static uint32_t *slot_of(struct search *s, const uint64_t *entry)
{
    uint32_t mask = 2 * s->entries_capacity - 1;
    uint32_t at = (uint32_t)hash_of(entry, 1 + s->words) & mask;
    while (s->slots[at] != 0 &&
           memcmp(&s->memory[(size_t)(s->slots[at] - 1) * (1 + s->words)],
                  entry, (1 + s->words) * sizeof *entry) != 0) {
        at = (at + 1) & mask;
    }
    return &s->slots[at];
}

static void memory_grow(struct search *s)
{
    size_t entry = 1 + (size_t)s->words;
    s->entries_capacity =
        s->entries_capacity == 0 ? 64 : s->entries_capacity * 2;
    /* One more: the entry that is asked for lies behind the others. */
    s->memory = realloc(s->memory, ((size_t)s->entries_capacity + 1) * entry *
                                       sizeof *s->memory);
    free(s->slots);
    s->slots = calloc(2 * (size_t)s->entries_capacity, sizeof *s->slots);
    ASSERT(s->memory != NULL && s->slots != NULL);
    for (uint32_t i = 0; i < s->entries_n; i++) {
        *slot_of(s, &s->memory[i * entry]) = i + 1;
    }
}

/* Was it reached before, with these steps taken? If not, it's remembered. */
static bool is_new(struct search *s, const struct state *state)
{
    if (s->entries_n == s->entries_capacity) {
        memory_grow(s);
    }
    uint64_t *entry = &s->memory[(size_t)s->entries_n * (1 + s->words)];
    entry[0] = state->epoch * 2 + state->over;
    memcpy(entry + 1, s->done, s->words * sizeof *entry);
    uint32_t *slot = slot_of(s, entry);
    if (*slot != 0) {
        return false;
    }
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

static bool is_same(const struct state *a, const struct state *b)
{
    return a->epoch == b->epoch && a->over == b->over;
}

static void put_end(struct search *s, const struct state *state)
{
    for (uint32_t i = 0; i < s->ends_n; i++) {
        if (is_same(&s->ends[i], state)) {
            return;
        }
    }
    if (s->ends_n == ENDS_MAX) {
        s->gave_up = true;
        return;
    }
    s->ends[s->ends_n++] = *state;
}

static void flip(struct search *s, uint32_t step)
{
    s->done[step / 64] ^= (uint64_t)1 << (step % 64);
}

/* Takes back the last step that another could have been taken for. Returns where to go on, NONE: there is none. */
static uint32_t go_back(struct search *s, struct state *state)
{
    while (s->depth > 0) {
        const struct taken *t = &s->stack[--s->depth];
        unlift(s, t->mark);
        flip(s, s->marks[t->mark].step);
        *state = t->before;
        if (!t->only) {
            return s->marks[t->mark].next;
        }
    }
    return NONE;
}

/* Takes the step at that mark. Returns false if it was no use. */
static bool advance(struct search *s, uint32_t mark, struct state *state,
                    const struct state *after)
{
    uint32_t step = s->marks[mark].step;
    flip(s, step);
    if (!is_new(s, after)) {
        flip(s, step);
        return false;
    }
    /* A step that changes nothing is in nobody's way here. */
    s->stack[s->depth++] = (struct taken){mark, is_same(state, after), *state};
    *state = *after;
    lift(s, mark);
    return true;
}

/* All states that the piece may end in, if it began in this one. */
static void explore(struct search *s, struct state state)
{
    uint32_t at = s->marks[0].next;
    for (;;) {
        if (s->marks[0].next == NONE) {
            put_end(s, &state);
            at = go_back(s, &state);
        } else if (s->marks[at].is_end) {
            at = go_back(s, &state); /* it's too late for that one */
        } else {
            struct state after = state;
            s->report->steps++;
            s->gave_up |= s->report->steps >= s->limits->steps;
            if (!step_take(&s->steps[s->marks[at].step], &after)) {
                at = go_back(s, &state); /* nor will it ever be */
            } else if (advance(s, at, &state, &after)) {
                at = s->marks[0].next;
                continue; /* which may be NONE: all are taken */
            } else {
                at = s->marks[at].next;
            }
        }
        if (at == NONE || s->gave_up) {
            break;
        }
    }
    /* Given up in the middle: the piece isn't looked at any more. */
    ASSERT(s->gave_up || s->depth == 0);
}

/* `ends` is what the piece may begin in, and then what it may end in. */
static void search_piece(struct search *s, const struct step *steps, uint32_t n)
{
    struct state begins[ENDS_MAX];
    uint32_t begins_n = s->ends_n;
    memcpy(begins, s->ends, sizeof begins);
    s->steps = steps;
    s->n = n;
    s->words = (n + 63) / 64;
    s->ends_n = 0;
    s->depth = 0;
    s->stack = calloc(n, sizeof *s->stack);
    s->done = calloc(s->words, sizeof *s->done);
    ASSERT(s->stack != NULL && s->done != NULL);
    list_make(s);
    for (uint32_t i = 0; i < begins_n && !s->gave_up; i++) {
        explore(s, begins[i]);
    }
    free(s->stack);
    free(s->done);
    free(s->marks);
    free(s->memory);
    free(s->slots);
    s->memory = NULL;
    s->slots = NULL;
    s->entries_n = 0;
    s->entries_capacity = 0;
}

enum linear_verdict search_order(const struct steps *all,
                                 const struct linear_limits *limits,
                                 struct linear_report *out)
{
    struct search s = {.limits = limits, .report = out, .ends_n = 1};
    uint32_t at = 0;
    while (at < all->n && s.ends_n > 0 && !s.gave_up) {
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
    return s.ends_n > 0 ? LINEAR_OK : LINEAR_BAD;
}

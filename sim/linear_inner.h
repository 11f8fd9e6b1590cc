/* linear_inner.h - what the files of the checker share: a history as demands on the scope, and the search for an order of them.
 *
 * linear.c          the verdict, and the smallest witness        linear_steps.c    what each answer demands
 * linear_search.c   the search                                   linear_text.c     calls in words
 *
 * The state of a scope is the highest epoch that was granted so far as anybody noticed, and whether that one is over. Nothing else is
 * needed: an epoch is one session's, so who holds follows from it; and what a session's beginning and end forbid is said by the epochs that
 * it is known to have had. */
#ifndef SIM_LINEAR_INNER_H
#define SIM_LINEAR_INNER_H

#include "sim/linear.h"

enum step_kind {
    STEP_HOLD,   /* `epoch` is the current one */
    STEP_VACANT, /* nobody holds */
    STEP_NOT,    /* `epoch` isn't the current one */
    STEP_SEEN,   /* `epoch` was granted, by now */
    STEP_PASS, /* `epoch` is the current one; then `next` is granted, or nobody holds */
    STEP_GRANT, /* `next` is granted */
    STEP_BEGIN, /* a session is opened: `epoch`, its first, comes later */
    STEP_END, /* a session ends: `epoch`, its last, was granted before, and is over */
};

struct step {
    enum step_kind kind;
    uint32_t op;
    uint64_t from_us; /* it's done at some time from here */
    uint64_t to_us;   /* to here */
    uint64_t epoch;
    uint64_t next;
};

struct state {
    uint64_t epoch;
    bool over;
};

struct steps {
    struct step *steps; /* by from_us */
    uint32_t n;
    /* What contradicts itself without any search. */
    bool bad;
};

/* Takes the ops[which[0 .. n)]. */
void steps_make(struct steps *s, const struct linear_op *ops,
                const uint32_t *which, uint32_t n);
void steps_free(struct steps *s);

/* Works on `state`; false: not from there, and, since epochs only rise, never more from any state that comes behind it. */
bool step_take(const struct step *step, struct state *state);

/* Adds to out->steps, pieces and widest. */
enum linear_verdict search_order(const struct steps *s,
                                 const struct linear_limits *limits,
                                 struct linear_report *out);

#endif

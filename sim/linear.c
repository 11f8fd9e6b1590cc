#include "sim/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/linear_inner.h"

const struct linear_limits linear_limits_default = {.steps = 4000000,
                                                    .states = 200000};

/* Some of the ops. */
static enum linear_verdict check_some(const struct linear_op *ops,
                                      const uint32_t *which, uint32_t n,
                                      const struct linear_limits *limits,
                                      struct linear_report *out)
{
    struct steps s;
    enum linear_verdict verdict = LINEAR_BAD;
    memset(out, 0, sizeof *out);
    steps_make(&s, ops, which, n);
    if (!s.bad) {
        verdict = search_order(&s, limits, out);
    }
    steps_free(&s);
    return verdict;
}

/* --- the smallest witness ------------------------------------------------------------------------------------------------------ */

struct witness {
    const struct linear_op *ops;
    const struct linear_limits *limits;
    uint32_t *which; /* in the order of answers; the last one is the misfit */
    uint32_t n;
};

static bool is_bad(const struct witness *w, const uint32_t *which, uint32_t n)
{
    struct linear_report ignored;
    return check_some(w->ops, which, n, w->limits, &ignored) == LINEAR_BAD;
}

/* What is left out can only make a history better, so there is one place where it turns bad. */
static void find_misfit(struct witness *w)
{
    uint32_t good = 0;
    uint32_t bad = w->n;
    while (bad - good > 1) {
        uint32_t middle = good + (bad - good) / 2;
        if (is_bad(w, w->which, middle)) {
            bad = middle;
        } else {
            good = middle;
        }
    }
    w->n = bad;
}

/* Leaves out what the misfit doesn't need to be one: first in large parts, then call by call. */
static void leave_out(struct witness *w)
{
    uint32_t *less = calloc(w->n, sizeof *less);
    ASSERT(less != NULL);
    for (uint32_t part = w->n; part > 0; part /= 2) {
        uint32_t at = 0;
        while (at + 1 < w->n) {
            uint32_t out = w->n - 1 - at < part ? w->n - 1 - at : part;
            uint32_t n = w->n - out;
            memcpy(less, w->which, at * sizeof *less);
            memcpy(less + at, w->which + at + out, (n - at) * sizeof *less);
            if (is_bad(w, less, n)) {
                memcpy(w->which, less, n * sizeof *less);
                w->n = n;
            } else {
                at += out;
            }
        }
    }
    free(less);
}

static void put_in_words(const struct linear_op *ops, struct linear_report *out)
{
    size_t size = sizeof out->text;
    size_t at = (size_t)snprintf(out->text, size, "%u answers fit, but not ",
                                 out->prefix_n);
    at += (size_t)linear_op_text(&ops[out->misfit], out->text + at, size - at);
    for (uint32_t i = 0; i < out->against_n && at < size; i++) {
        at += (size_t)snprintf(out->text + at, size - at, "%s",
                               i == 0 ? ", after: " : "; ");
        if (at < size) {
            at += (size_t)linear_op_text(&ops[out->against[i]], out->text + at,
                                         size - at);
        }
    }
}

static void explain(struct witness *w, struct linear_report *out)
{
    find_misfit(w);
    out->prefix_n = w->n - 1;
    leave_out(w);
    out->misfit = w->which[w->n - 1];
    for (uint32_t i = 0; i + 1 < w->n && i < LINEAR_WITNESS_MAX; i++) {
        out->against[out->against_n++] = w->which[i];
    }
    out->against_more = w->n - 1 > LINEAR_WITNESS_MAX;
    put_in_words(w->ops, out);
}

/* --- the verdict --------------------------------------------------------------------------------------------------------------- */

struct answered {
    uint64_t at_us;
    uint32_t op;
};

static int by_answer(const void *left, const void *right)
{
    const struct answered *a = left;
    const struct answered *b = right;
    if (a->at_us != b->at_us) {
        return a->at_us < b->at_us ? -1 : 1;
    }
    return a->op < b->op ? -1 : a->op > b->op;
}

static uint32_t *in_order_of_answers(const struct linear_op *ops, uint32_t n)
{
    struct answered *sorted = calloc(n + 1u, sizeof *sorted);
    uint32_t *which = calloc(n + 1u, sizeof *which);
    ASSERT(sorted != NULL && which != NULL);
    for (uint32_t i = 0; i < n; i++) {
        bool lost = ops[i].answer == LINEAR_LOST;
        ASSERT(lost || ops[i].asked_us <= ops[i].answered_us);
        sorted[i] =
            (struct answered){lost ? ops[i].asked_us : ops[i].answered_us, i};
    }
    qsort(sorted, n, sizeof *sorted, by_answer);
    for (uint32_t i = 0; i < n; i++) {
        which[i] = sorted[i].op;
    }
    free(sorted);
    return which;
}

enum linear_verdict linear_check(const struct linear_op *ops, uint32_t n,
                                 const struct linear_limits *limits,
                                 struct linear_report *out)
{
    struct witness w = {.ops = ops, .limits = limits, .n = n};
    w.which = in_order_of_answers(ops, n);
    enum linear_verdict verdict = check_some(ops, w.which, n, limits, out);
    if (verdict == LINEAR_BAD) {
        explain(&w, out);
    } else if (verdict == LINEAR_UNKNOWN) {
        (void)snprintf(out->text, sizeof out->text,
                       "undecided after %llu steps: up to %u calls overlap",
                       (unsigned long long)out->steps, out->widest);
    }
    free(w.which);
    return verdict;
}

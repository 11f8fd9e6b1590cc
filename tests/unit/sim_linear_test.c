#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/linear.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/linear_brute.h"
#include "tests/unit/linear_model.h"

/* When it was asked and answered. */
#define AT(from, to) .asked_us = (from), .answered_us = (to)

/* clang-format off: each call in one line, as the API has it. */
#define OPEN(at, s)                                                            \
    {                                                                          \
        at, .call = LINEAR_OPEN, .session = (s)                                \
    }
#define LOST_OPEN(at, s)                                                       \
    {                                                                          \
        at, .call = LINEAR_OPEN, .session = (s), .answer = LINEAR_LOST         \
    }
#define TOUCH(at, s)                                                           \
    {                                                                          \
        at, .call = LINEAR_TOUCH, .session = (s)                               \
    }
#define CLOSE(at, s)                                                           \
    {                                                                          \
        at, .call = LINEAR_CLOSE, .session = (s)                               \
    }
#define LOST_CLOSE(at, s)                                                      \
    {                                                                          \
        at, .call = LINEAR_CLOSE, .session = (s), .answer = LINEAR_LOST        \
    }
#define GONE(at, s)                                                            \
    {                                                                          \
        at, .call = LINEAR_TOUCH, .session = (s), .answer = LINEAR_NO_SESSION  \
    }
#define LEADER(at, s, e)                                                       \
    {                                                                          \
        at, .call = LINEAR_LEADER, .told = {(s), (e) }                         \
    }
#define NOBODY(at)                                                             \
    {                                                                          \
        at, .call = LINEAR_LEADER, .answer = LINEAR_NOBODY                     \
    }
#define STALE_LEADER(at, s, e)                                                 \
    {                                                                          \
        at, .call = LINEAR_LEADER_STALE, .told = {(s), (e) }                   \
    }
#define GRANTED(at, s, e)                                                      \
    {                                                                          \
        at, .call = LINEAR_GRANTED, .told = {(s), (e) }                        \
    }
#define VALID(at, e, s)                                                        \
    {                                                                          \
        at, .call = LINEAR_VERIFY, .epoch = (e), .valid = true, .told = {      \
            (s),                                                               \
            (e)                                                                \
        }                                                                      \
    }
#define FENCED(at, e, s, now)                                                  \
    {                                                                          \
        at, .call = LINEAR_VERIFY, .epoch = (e), .told = {(s), (now) }         \
    }
#define CLAIM(at, s, e)                                                        \
    {                                                                          \
        at, .call = LINEAR_CLAIM, .session = (s), .epoch = (e), .valid = true, \
            .told = {                                                          \
                (s),                                                           \
                (e)                                                            \
            }                                                                  \
    }
#define REJECTED(at, s, e, holder, now)                                        \
    {                                                                          \
        at, .call = LINEAR_CLAIM, .session = (s), .epoch = (e), .told = {      \
            (holder),                                                          \
            (now)                                                              \
        }                                                                      \
    }
#define HANDOFF(at, e)                                                         \
    {                                                                          \
        at, .call = LINEAR_HANDOFF, .told = { 0, (e) }                         \
    }
#define DEMOTE(at, s, e)                                                       \
    {                                                                          \
        at, .call = LINEAR_DEMOTE, .told = {(s), (e) }                         \
    }
#define RESIGN(at, e, s, next)                                                 \
    {                                                                          \
        at, .call = LINEAR_RESIGN, .epoch = (e), .told = {(s), (next) }        \
    }
#define LOST_RESIGN(at, e)                                                     \
    {                                                                          \
        at, .call = LINEAR_RESIGN, .epoch = (e), .answer = LINEAR_LOST         \
    }
#define STALE_RESIGN(at, e, now)                                               \
    {                                                                          \
        at, .call = LINEAR_RESIGN, .epoch = (e), .answer = LINEAR_STALE,       \
            .told = {                                                          \
                0,                                                             \
                (now)                                                          \
            }                                                                  \
    }
#define YIELD(at, s, e, to, next)                                              \
    {                                                                          \
        at, .call = LINEAR_YIELD, .session = (s), .epoch = (e), .told = {      \
            (to),                                                              \
            (next)                                                             \
        }                                                                      \
    }
/* clang-format on */

#define CASE_OPS_MAX 8u

struct linear_case {
    const char *name;
    struct linear_op
        ops[CASE_OPS_MAX]; /* up to the first that was never asked */
};

static uint32_t ops_n(const struct linear_case *c)
{
    uint32_t n = 0;
    while (n < CASE_OPS_MAX && c->ops[n].asked_us != 0) {
        n++;
    }
    return n;
}

static enum linear_verdict check(const struct linear_op *ops, uint32_t n,
                                 struct linear_report *report)
{
    return linear_check(ops, n, &linear_limits_default, report);
}

/* --- good ones ---------------------------------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct linear_case good[] = {
    {"nothing was asked", {{.asked_us = 0}}},
    {"one after the other",
     {OPEN(AT(1, 2), 3), LEADER(AT(3, 4), 3, 3), RESIGN(AT(5, 6), 3, 0, 0),
      NOBODY(AT(7, 8)), OPEN(AT(9, 10), 5), LEADER(AT(11, 12), 5, 5),
      VALID(AT(13, 14), 5, 5), FENCED(AT(15, 16), 3, 5, 5)}},
    {"two reads that overlap, the later one answered first",
     {LEADER(AT(1, 9), 1, 10), LEADER(AT(2, 3), 1, 10), LEADER(AT(4, 10), 2, 11)}},
    {"a read asked first sees what came last",
     {LEADER(AT(1, 9), 2, 12), YIELD(AT(2, 8), 1, 10, 2, 12), LEADER(AT(3, 4), 1, 10)}},
    {"a resignation between two reads that overlap with it",
     {RESIGN(AT(1, 20), 10, 2, 11), LEADER(AT(2, 12), 2, 11), LEADER(AT(3, 11), 1, 10),
      FENCED(AT(4, 13), 10, 2, 11), CLAIM(AT(5, 6), 1, 10)}},
    {"the lease expired: nobody asked for that",
     {LEADER(AT(1, 2), 1, 10), NOBODY(AT(3, 4)), LEADER(AT(5, 6), 2, 11)}},
    {"the cluster promotes a better one by itself",
     {LEADER(AT(1, 2), 1, 10), LEADER(AT(3, 4), 2, 15), LEADER(AT(5, 6), 1, 19)}},
    {"a resignation nobody answered, done late",
     {LOST_RESIGN(AT(1, 2), 10), LEADER(AT(3, 4), 1, 10), LEADER(AT(5, 6), 1, 10),
      LEADER(AT(7, 8), 2, 11)}},
    {"a resignation nobody answered, never done",
     {LOST_RESIGN(AT(1, 2), 10), LEADER(AT(3, 4), 1, 10), VALID(AT(5, 6), 10, 1)}},
    {"an opening nobody answered, done late",
     {LOST_OPEN(AT(1, 1), 5), NOBODY(AT(2, 3)), NOBODY(AT(4, 5)), LEADER(AT(6, 7), 5, 5)}},
    {"a closing nobody answered, never done",
     {OPEN(AT(1, 2), 5), LOST_CLOSE(AT(3, 3), 5), LEADER(AT(8, 9), 5, 5)}},
    {"a stale answer is of any time before",
     {LEADER(AT(1, 2), 1, 10), LEADER(AT(3, 4), 2, 11), STALE_LEADER(AT(5, 6), 1, 10),
      LEADER(AT(7, 8), 2, 11)}},
    {"a closing that overlaps with a read of its holder",
     {OPEN(AT(1, 2), 5), CLOSE(AT(3, 9), 5), LEADER(AT(4, 8), 5, 5), NOBODY(AT(5, 6)),
      GONE(AT(7, 8), 5)}},
    {"a handoff is an offer: the holder stays",
     {LEADER(AT(1, 2), 1, 10), HANDOFF(AT(3, 4), 10), LEADER(AT(5, 6), 1, 10)}},
    {"a demotion names the next one",
     {LEADER(AT(1, 2), 1, 10), DEMOTE(AT(3, 4), 2, 11), LEADER(AT(5, 6), 2, 11),
      STALE_RESIGN(AT(7, 8), 10, 11), STALE_RESIGN(AT(9, 10), 10, 0)}},
    {"an event may come late",
     {LEADER(AT(1, 2), 2, 11), GRANTED(AT(3, 3), 1, 10), LEADER(AT(4, 5), 2, 11)}},
    {"the first of two claims is true, then it isn't",
     {CLAIM(AT(1, 5), 1, 10), REJECTED(AT(2, 6), 1, 10, 2, 12)}},
};

/* --- doctored ones -------------------------------------------------------------------------------------------------------------- */

static const struct linear_case bad[] = {
    {"two reads swapped", {LEADER(AT(1, 2), 2, 11), LEADER(AT(3, 4), 1, 10)}},
    {"two reads swapped, around one that overlaps with both",
     {LEADER(AT(1, 2), 2, 11), NOBODY(AT(1, 9)), LEADER(AT(3, 4), 1, 10)}},
    {"an epoch that goes back", {RESIGN(AT(1, 2), 10, 2, 9)}},
    {"an epoch that comes back",
     {LEADER(AT(1, 2), 1, 10), NOBODY(AT(3, 4)), LEADER(AT(5, 6), 1, 10)}},
    {"two sessions of one epoch", {LEADER(AT(1, 9), 1, 10), LEADER(AT(1, 9), 2, 10)}},
    {"two sessions of one epoch, one in a stale answer",
     {LEADER(AT(1, 2), 1, 10), STALE_LEADER(AT(3, 4), 2, 10)}},
    {"a read of a holder after its close was answered",
     {OPEN(AT(1, 2), 5), CLOSE(AT(3, 4), 5), LEADER(AT(5, 6), 5, 5)}},
    {"a grant to a session that was closed",
     {OPEN(AT(1, 2), 5), LEADER(AT(3, 4), 5, 5), CLOSE(AT(5, 6), 5), LEADER(AT(7, 8), 5, 9)}},
    {"a read of a holder before its opening was asked",
     {LEADER(AT(1, 2), 5, 5), OPEN(AT(3, 4), 5)}},
    {"a holder of an opening nobody answered, before that was asked",
     {LEADER(AT(1, 2), 5, 5), LOST_OPEN(AT(3, 3), 5)}},
    {"verify says yes to an epoch that is fenced",
     {LEADER(AT(1, 2), 1, 10), LEADER(AT(3, 4), 2, 11), VALID(AT(5, 6), 10, 1)}},
    {"verify says no to the epoch that it names", {FENCED(AT(1, 2), 10, 1, 10)}},
    {"verify says no while the holder stays",
     {LEADER(AT(1, 2), 1, 10), FENCED(AT(3, 4), 10, 0, 0), LEADER(AT(5, 6), 1, 10)}},
    {"a claim is accepted after another one was",
     {CLAIM(AT(1, 2), 2, 12), CLAIM(AT(3, 4), 1, 10)}},
    {"a handoff that was acknowledged is lost",
     {LEADER(AT(1, 2), 1, 10), YIELD(AT(3, 4), 1, 10, 2, 11), LEADER(AT(5, 6), 1, 10)}},
    {"a handoff that was acknowledged never came",
     {YIELD(AT(3, 4), 1, 10, 0, 0)}},
    {"a resignation that was acknowledged is lost",
     {RESIGN(AT(1, 2), 10, 0, 0), VALID(AT(3, 4), 10, 1)}},
    {"a grant twice", {DEMOTE(AT(1, 9), 2, 11), DEMOTE(AT(2, 8), 2, 11)}},
    {"a grant of what was granted before",
     {LEADER(AT(1, 2), 2, 11), RESIGN(AT(3, 4), 10, 2, 11)}},
    {"a baton given up twice", {RESIGN(AT(1, 9), 10, 2, 11), RESIGN(AT(2, 8), 10, 3, 12)}},
    {"a stale answer that says it is linearizable",
     {LEADER(AT(1, 2), 1, 10), LEADER(AT(3, 4), 2, 11), STALE_LEADER(AT(5, 6), 1, 10),
      LEADER(AT(7, 8), 1, 10)}},
    {"a stale answer from the future",
     {STALE_LEADER(AT(1, 2), 2, 11), LEADER(AT(3, 4), 1, 10)}},
    {"an event from the future",
     {GRANTED(AT(1, 1), 2, 11), LEADER(AT(3, 4), 1, 10)}},
    {"nobody between two who were told of one holder, around one who overlaps",
     {LEADER(AT(1, 2), 1, 10), VALID(AT(1, 9), 10, 1), NOBODY(AT(3, 4)), LEADER(AT(5, 6), 1, 10)}},
    {"an update after the session's end",
     {OPEN(AT(1, 2), 5), CLOSE(AT(3, 4), 5), TOUCH(AT(5, 6), 5)}},
    {"a session that was gone is there", {OPEN(AT(1, 2), 5), GONE(AT(3, 4), 5), TOUCH(AT(5, 6), 5)}},
    {"a session closed twice", {OPEN(AT(1, 2), 5), CLOSE(AT(3, 9), 5), CLOSE(AT(4, 8), 5)}},
    {"a session opened twice", {OPEN(AT(1, 2), 5), OPEN(AT(3, 4), 5)}},
    {"a grant between two of which one followed upon the other",
     {RESIGN(AT(1, 2), 10, 2, 13), GRANTED(AT(3, 3), 1, 11)}},
    {"refused for an epoch that isn't stale", {STALE_RESIGN(AT(1, 2), 10, 10)}},
    {"refused as stale while it holds",
     {VALID(AT(1, 2), 10, 1), STALE_RESIGN(AT(3, 4), 10, 0), VALID(AT(5, 6), 10, 1)}},
};
/* clang-format on */

static void test_good_histories_are_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(good); i++) {
        struct linear_report report;
        uint32_t n = ops_n(&good[i]);
        if (check(good[i].ops, n, &report) != LINEAR_OK) {
            fail_msg("%s: %s", good[i].name, report.text);
        }
        if (!brute_is_linear(good[i].ops, n)) {
            fail_msg("%s: by all orders it is bad", good[i].name);
        }
    }
}

static void test_doctored_histories_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(bad); i++) {
        struct linear_report report;
        uint32_t n = ops_n(&bad[i]);
        if (check(bad[i].ops, n, &report) != LINEAR_BAD) {
            fail_msg("%s: it was accepted", bad[i].name);
        }
        if (brute_is_linear(bad[i].ops, n)) {
            fail_msg("%s: by all orders it is good", bad[i].name);
        }
        assert_true(report.misfit < n);
        assert_non_null(strstr(report.text, "answers fit, but not client"));
    }
}

/* --- histories of a model ----------------------------------------------------------------------------------------------- */

static void test_what_a_model_does_is_accepted(void **state)
{
    (void)state;
    static struct linear_model m;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct linear_report report;
        linear_model_make(&m, seed, 10 + (uint32_t)(seed % 390), UINT32_MAX);
        if (check(m.ops, m.n, &report) != LINEAR_OK) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, report.text);
        }
    }
}

/* --- one answer changed ---------------------------------------------------------------------------------------------------------------- */

static void change_told(struct linear_model *m, struct linear_op *op,
                        const struct linear_op *other)
{
    switch (sim_below(&m->random, 3)) {
    case 0:
        op->told = other->told;
        break;
    case 1:
        op->told.epoch = other->told.epoch + sim_below(&m->random, 3);
        break;
    default:
        if (op->told.session != 0 && other->told.session != 0) {
            op->told.session = other->told.session;
        }
        break;
    }
    if (op->told.epoch == 0) {
        op->told.session = 0;
    }
}

/* False: that changed nothing. */
static bool mutate_once(struct linear_model *m)
{
    char before[200];
    char after[200];
    struct linear_op *op = &m->ops[sim_below(&m->random, m->n)];
    struct linear_op *other = &m->ops[sim_below(&m->random, m->n)];
    struct linear_holder told = op->told;
    bool of_session = op->call == LINEAR_OPEN || op->call == LINEAR_TOUCH ||
                      op->call == LINEAR_CLOSE;
    (void)linear_op_text(op, before, sizeof before);
    switch (sim_below(&m->random, 5)) {
    case 0:
        op->valid = op->valid !=
                    (op->call == LINEAR_VERIFY || op->call == LINEAR_CLAIM);
        break;
    case 1: /* at another time */
        op->asked_us = other->asked_us;
        op->answered_us = max_u64(other->asked_us, other->answered_us);
        break;
    case 2:
        if (op->call == other->call && op->answer == other->answer &&
            !of_session) {
            op->told = other->told;
            other->told = told;
        }
        break;
    case 3:
        if (op->call == LINEAR_LEADER) {
            op->answer =
                op->answer == LINEAR_DONE ? LINEAR_NOBODY : LINEAR_DONE;
            op->told = op->answer == LINEAR_DONE ? linear_model_past(m)
                                                 : (struct linear_holder){0, 0};
        }
        break;
    default:
        if (op->answer == LINEAR_DONE && !of_session) {
            change_told(m, op, other);
        }
        break;
    }
    if (op->call == LINEAR_GRANTED) {
        op->asked_us = op->answered_us;
    }
    (void)linear_op_text(op, after, sizeof after);
    return strcmp(before, after) != 0;
}

static void mutate(struct linear_model *m)
{
    for (uint32_t i = 0; i < 20 && !mutate_once(m); i++) {
    }
}

/* Fails unless both judges say the same; counts what they say. */
static void compare(const struct linear_model *m, uint64_t seed,
                    uint32_t *good_n, uint32_t *bad_n)
{
    struct linear_report report;
    enum linear_verdict verdict = check(m->ops, m->n, &report);
    bool linear = brute_is_linear(m->ops, m->n);
    if (verdict != (linear ? LINEAR_OK : LINEAR_BAD)) {
        char text[200];
        for (uint32_t i = 0; i < m->n; i++) {
            (void)linear_op_text(&m->ops[i], text, sizeof text);
            print_message("%s\n", text);
        }
        fail_msg("seed %llu: %s, but by all orders it is %s: %s",
                 (unsigned long long)seed,
                 verdict == LINEAR_OK ? "good" : "bad", linear ? "good" : "bad",
                 report.text);
    }
    *good_n += linear;
    *bad_n += !linear;
}

static void test_it_says_what_all_orders_say(void **state)
{
    (void)state;
    static struct linear_model m;
    uint32_t good_n = 0;
    uint32_t bad_n = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        linear_model_make(&m, seed, 4 + (uint32_t)(seed % 5), 4);
        compare(&m, seed, &good_n, &bad_n);
        const struct linear_model kept = m;
        for (uint32_t i = 0; i < 6; i++) {
            struct sim_random random = m.random;
            m = kept;
            m.random = random;
            mutate(&m);
            compare(&m, seed, &good_n, &bad_n);
        }
    }
    /* Else it compares nothing. */
    assert_true(good_n > 3000);
    assert_true(bad_n > 2000);
}

/* --- what it says of a bad one, and when it gives up ------------------------------------------------------------------------------------ */

static void test_the_witness_is_small(void **state)
{
    (void)state;
    static struct linear_model m;
    uint32_t small = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct linear_report report;
        linear_model_make(&m, seed, 200, UINT32_MAX);
        /* One more, after all the others: of the first epoch that anybody was told. */
        uint32_t first = 0;
        while (m.ops[first].call != LINEAR_LEADER ||
               m.ops[first].answer != LINEAR_DONE) {
            first++;
        }
        m.ops[m.n] = m.ops[first];
        m.ops[m.n].asked_us = m.now_us + 1000;
        m.ops[m.n].answered_us = m.now_us + 1001;
        assert_int_equal(check(m.ops, m.n + 1, &report), LINEAR_BAD);
        assert_int_equal(report.misfit, m.n);
        assert_int_equal(report.prefix_n, m.n);
        assert_false(report.against_more);
        assert_true(report.against_n >= 1);
        small += report.against_n == 1;
    }
    /* Mostly one is enough: somebody who was told of a later epoch. */
    assert_true(small > 90);
}

static void test_words(void **state)
{
    (void)state;
    const struct linear_op ops[] = {
        {AT(1000000, 1200000), .client = 3, .call = LINEAR_YIELD, .session = 7,
         .epoch = 10, .told = {8, 11}},
        {AT(1200001, 1300000), .client = 4, .call = LINEAR_LEADER,
         .told = {8, 11}},
        {AT(1400000, 1500000), .client = 5, .call = LINEAR_VERIFY, .epoch = 10,
         .valid = true, .told = {7, 10}},
    };
    struct linear_report report;
    assert_int_equal(check(ops, countof(ops), &report), LINEAR_BAD);
    assert_string_equal(
        report.text,
        "2 answers fit, but not client 5's verify of 10 (1.400000 to 1.500000 "
        "s): valid, 7 under 10, after: client 4's leader (1.200001 to 1.300000 "
        "s): 8 under 11");
}

static void test_it_gives_up_rather_than_guess(void **state)
{
    (void)state;
    static struct linear_model m;
    struct linear_report report;
    struct linear_report full;
    linear_model_make(&m, 1, 300, UINT32_MAX);
    assert_int_equal(check(m.ops, m.n, &full), LINEAR_OK);
    const struct linear_limits steps = {.steps = full.steps / 2,
                                        .states = UINT32_MAX};
    assert_int_equal(linear_check(m.ops, m.n, &steps, &report), LINEAR_UNKNOWN);
    assert_non_null(strstr(report.text, "undecided after"));
    const struct linear_limits states = {.steps = UINT64_MAX, .states = 2};
    assert_int_equal(linear_check(m.ops, m.n, &states, &report),
                     LINEAR_UNKNOWN);
    /* Cut at every point at which nobody waits: long runs stay cheap. */
    assert_true(full.pieces > 1);
    assert_true(full.widest < m.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_histories_are_accepted),
        cmocka_unit_test(test_doctored_histories_are_found),
        cmocka_unit_test(test_what_a_model_does_is_accepted),
        cmocka_unit_test(test_it_says_what_all_orders_say),
        cmocka_unit_test(test_the_witness_is_small),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_it_gives_up_rather_than_guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tables of what a leader does with acks, rejections and losses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft/progress.h"
#include "tests/unit/assert_stub.h"

static struct progress streaming(raft_index match)
{
    struct progress p = {.id = 2};
    progress_reset(&p, match, 0);
    progress_sent(&p, 0, 0);
    (void)progress_ack(&p, match, 0);
    assert_int_equal(p.mode, PROGRESS_STREAM);
    assert_int_equal(p.next, match + 1);
    return p;
}

static void probe_finds_the_match(void **state)
{
    (void)state;
    struct progress p = {.id = 2};
    progress_reset(&p, 100, 5);
    assert_int_equal(p.next, 101);
    assert_true(progress_ready(&p, 4));
    progress_sent(&p, 3, 5);
    assert_int_equal(p.next, 101);
    assert_false(progress_ready(&p, 4));
    assert_true(progress_reject(&p, 100, 60));
    assert_int_equal(p.next, 61);
    assert_true(progress_ready(&p, 4));
    progress_sent(&p, 3, 6);
    assert_true(progress_ack(&p, 63, 7));
    assert_int_equal(p.mode, PROGRESS_STREAM);
    assert_int_equal(p.match, 63);
    assert_int_equal(p.next, 64);
    progress_check(&p);
}

static void rejections(void **state)
{
    (void)state;
    static const struct {
        enum progress_mode mode;
        raft_index match;
        raft_index next;
        raft_index rejected;
        raft_index hint;
        bool moves;
        raft_index next_after;
    } rows[] = {
        /* The answer to the probe: go where the hint says, but not behind the match, and at least one step. */
        {PROGRESS_PROBE, 0, 10, 9, 4, true, 5},
        {PROGRESS_PROBE, 0, 10, 9, 0, true, 1},
        {PROGRESS_PROBE, 0, 10, 9, 30, true, 9},
        {PROGRESS_PROBE, 6, 10, 9, 4, true, 7},
        /* Old answers. */
        {PROGRESS_PROBE, 0, 10, 5, 1, false, 10},
        {PROGRESS_PROBE, 0, 10, 12, 1, false, 10},
        {PROGRESS_PROBE, 5, 10, 5, 1, false, 10},
        {PROGRESS_STREAM, 5, 10, 5, 1, false, 10},
        {PROGRESS_STREAM, 5, 10, 3, 1, false, 10},
        {PROGRESS_STREAM, 5, 10, 10, 1, false, 10},
        /* Something on the way was lost: from what is known. */
        {PROGRESS_STREAM, 5, 10, 7, 1, true, 6},
        {PROGRESS_SNAPSHOT, 5, 10, 7, 1, false, 10},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct progress p = {.id = 2,
                             .mode = rows[i].mode,
                             .match = rows[i].match,
                             .next = rows[i].next,
                             .snapshot = rows[i].next - 1};
        assert_int_equal(progress_reject(&p, rows[i].rejected, rows[i].hint),
                         rows[i].moves);
        assert_int_equal(p.next, rows[i].next_after);
        assert_int_equal(p.match, rows[i].match);
        progress_check(&p);
    }
}

static void window(void **state)
{
    (void)state;
    struct progress p = streaming(10);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(progress_ready(&p, 4));
        progress_sent(&p, 5, 100 + i);
        progress_check(&p);
    }
    assert_false(progress_ready(&p, 4));
    assert_int_equal(p.next, 31);
    assert_int_equal(p.wait_ms, 100);
    /* In the middle of the second message: frees the first. */
    assert_true(progress_ack(&p, 17, 200));
    assert_int_equal(p.inflight_n, 3);
    assert_int_equal(p.wait_ms, 200);
    assert_false(progress_ack(&p, 15, 300));
    assert_int_equal(p.match, 17);
    assert_int_equal(p.wait_ms, 200);
    assert_true(progress_ack(&p, 30, 400));
    assert_int_equal(p.inflight_n, 0);
    progress_check(&p);
    /* The commit index alone takes no room. */
    progress_sent(&p, 0, 500);
    assert_int_equal(p.inflight_n, 0);
    assert_int_equal(p.next, 31);
}

static void window_wraps(void **state)
{
    (void)state;
    struct progress p = streaming(0);
    raft_index acked = 0;
    for (uint32_t i = 0; i < 5 * PROGRESS_INFLIGHT_MAX; i++) {
        progress_sent(&p, 1, i);
        if (p.inflight_n == 700) {
            acked += 650;
            assert_true(progress_ack(&p, acked, i));
        }
    }
    progress_check(&p);
    assert_int_equal(p.match, acked);
    assert_int_equal(p.next - 1 - p.match, p.inflight_n);
}

static void loss_and_return(void **state)
{
    (void)state;
    struct progress p = streaming(10);
    progress_sent(&p, 5, 1);
    progress_probe(&p);
    assert_int_equal(p.mode, PROGRESS_PROBE);
    assert_int_equal(p.next, 11);
    progress_check(&p);
    /* The ack wasn't lost after all. */
    assert_true(progress_ack(&p, 15, 2));
    assert_int_equal(p.mode, PROGRESS_STREAM);
    assert_int_equal(p.next, 16);
    progress_check(&p);
    /* A probe that has found nothing yet keeps its place. */
    struct progress fresh = {.id = 3};
    progress_reset(&fresh, 50, 0);
    progress_sent(&fresh, 1, 0);
    progress_probe(&fresh);
    assert_int_equal(fresh.next, 51);
    assert_true(progress_ready(&fresh, 1));
}

static void snapshot(void **state)
{
    (void)state;
    struct progress p = streaming(10);
    progress_sent(&p, 5, 1);
    progress_snapshot(&p, 40);
    progress_check(&p);
    assert_int_equal(p.next, 41);
    assert_false(progress_ready(&p, 4));
    /* A late ack moves the match, and not the mode. */
    assert_true(progress_ack(&p, 15, 2));
    assert_int_equal(p.mode, PROGRESS_SNAPSHOT);
    assert_int_equal(p.next, 41);
    progress_check(&p);
    assert_true(progress_ack(&p, 45, 2));
    assert_int_equal(p.next, 46);
    progress_check(&p);
    progress_snapshot_end(&p, 42);
    assert_int_equal(p.mode, PROGRESS_PROBE);
    assert_int_equal(p.next, 46);
    progress_snapshot(&p, 60);
    progress_snapshot_end(&p, 60);
    assert_int_equal(p.match, 45);
    assert_int_equal(p.next, 61);
    progress_snapshot(&p, 70);
    progress_snapshot_end(&p, 0);
    assert_int_equal(p.next, 46);
    progress_check(&p);
}

static void reset_keeps_who_it_is(void **state)
{
    (void)state;
    struct progress p = streaming(10);
    p.down = true;
    p.quarantined = true;
    p.vote = PROGRESS_VOTE_GRANTED;
    progress_reset(&p, 20, 9);
    assert_int_equal(p.id, 2);
    assert_true(p.down);
    assert_true(p.quarantined);
    assert_int_equal(p.vote, PROGRESS_VOTE_NONE);
    assert_int_equal(p.match, 0);
    assert_int_equal(p.next, 21);
    assert_int_equal(p.heard_ms, 9);
    progress_check(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_finds_the_match),
        cmocka_unit_test(rejections),
        cmocka_unit_test(window),
        cmocka_unit_test(window_wraps),
        cmocka_unit_test(loss_and_return),
        cmocka_unit_test(snapshot),
        cmocka_unit_test(reset_keeps_who_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

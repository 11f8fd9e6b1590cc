/* What a client decides: deadlines, retries, sequences, roles, watches. Time is an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "client/logic.h"
#include "tests/unit/assert_stub.h"

/* --- lease ------------------------------------------------------------------------------------------------------- */

static void lease_usable(void **state)
{
    (void)state;
    static const struct {
        uint32_t ttl_ms;
        uint32_t drift;
        uint64_t usable_ms;
    } rows[] = {
        {10000, 10, 9801}, /* 0.980 of it */
        {10000, 50, 9047}, /* 0.905 */
        {1000, 10, 980},   {10000, 0, 10000}, {600000, 200, 400000},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        assert_int_equal(lease_usable_ms(rows[i].ttl_ms, rows[i].drift),
                         rows[i].usable_ms);
    }
}

static struct client_lease opened(uint64_t sent_ms, uint64_t answered_ms)
{
    struct client_lease l;
    lease_init(&l, 10000, 10);
    lease_opening(&l, sent_ms);
    lease_opened(&l, 77, answered_ms);
    return l;
}

static bool acked(struct client_lease *l, uint64_t number, uint32_t next_ms,
                  uint64_t now_ms, uint32_t random)
{
    const struct client_ack ack = {
        .number = number, .ttl_ms = 10000, .next_ms = next_ms};
    return lease_renew_acked(l, &ack, now_ms, random);
}

static void lease_deadline_counts_from_send(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1900);
    assert_int_equal(l.deadline_ms, 1000 + 9801);
    assert_true(lease_renew_due(&l, 1900));
    uint64_t n = lease_renew_sent(&l, 2000);
    assert_false(lease_renew_due(&l, 2000));
    /* The acknowledgement is four seconds late: it proves nothing about those. */
    assert_true(acked(&l, n, 3000, 6000, 0));
    assert_int_equal(l.deadline_ms, 2000 + 9801);
    assert_true(lease_leads(&l, 11800));
    assert_false(lease_leads(&l, 11801));
}

static void lease_opening_again_keeps_the_first_send(void **state)
{
    (void)state;
    struct client_lease l;
    lease_init(&l, 10000, 10);
    lease_opening(&l, 1000);
    lease_opening(&l, 4000); /* the same nonce, sent again */
    lease_opened(&l, 77, 4100);
    assert_int_equal(l.deadline_ms, 1000 + 9801);
}

static void lease_acks_out_of_order(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1000);
    uint64_t first = lease_renew_sent(&l, 2000);
    uint64_t second = lease_renew_sent(&l, 3000);
    assert_true(acked(&l, second, 3000, 3100, 0));
    assert_int_equal(l.deadline_ms, 3000 + 9801);
    /* The older one comes later: it moves nothing back. */
    assert_true(acked(&l, first, 3000, 3200, 0));
    assert_int_equal(l.deadline_ms, 3000 + 9801);
    assert_int_equal(l.proven_ms, 3000);
}

static void lease_foreign_acks(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1000);
    uint64_t first = lease_renew_sent(&l, 2000);
    assert_false(acked(&l, 0, 0, 2100, 0));
    assert_false(acked(&l, first + 1, 0, 2100, 0));
    for (int i = 0; i < LEASE_SENT_MAX; i++) {
        assert_int_equal(lease_renew_sent(&l, 2100), first + 1 + (uint64_t)i);
    }
    /* Nobody knows any more when that one was sent. */
    assert_false(acked(&l, first, 0, 2200, 0));
    assert_int_equal(l.deadline_ms, 1000 + 9801);
}

static void lease_next_renewal(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1000);
    uint64_t n = lease_renew_sent(&l, 2000);
    /* Unanswered: again well before the server's usual gap. */
    assert_int_equal(lease_wake_ms(&l), 3000);
    assert_true(acked(&l, n, 3000, 2010, 0));
    assert_int_equal(lease_wake_ms(&l), 5000);
    for (uint32_t random = 0; random < 1000; random += 7) {
        n = lease_renew_sent(&l, 5000);
        assert_true(acked(&l, n, 3000, 5001, random));
        assert_in_range(lease_wake_ms(&l), 5000 + 2700, 5000 + 3000);
    }
    /* A server that asks for too much: never later than half of the TTL. */
    n = lease_renew_sent(&l, 9000);
    assert_true(acked(&l, n, 60000, 9001, 0));
    assert_int_equal(lease_wake_ms(&l), 9000 + 5000);
}

static void lease_that_ended(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1000);
    uint64_t n = lease_renew_sent(&l, 2000);
    lease_ended(&l);
    assert_false(lease_leads(&l, 2001));
    assert_false(acked(&l, n, 3000, 2100, 0));
    assert_false(lease_leads(&l, 2101));
    assert_int_equal(lease_wake_ms(&l), UINT64_MAX);
    lease_opening(&l, 3000);
    lease_opened(&l, 78, 3100);
    assert_true(lease_leads(&l, 3100));
}

static void lease_late_but_alive(void **state)
{
    (void)state;
    struct client_lease l = opened(1000, 1000);
    uint64_t n = lease_renew_sent(&l, 2000);
    assert_false(lease_leads(&l, 11000));
    assert_true(acked(&l, n, 3000, 11500, 0));
    assert_true(lease_leads(&l, 11500));
    assert_false(lease_leads(&l, 11801));
}

/* --- route ------------------------------------------------------------------------------------------------------- */

#define BAD_PORT "isn't HOST:PORT: the port must be from 1 to 65535"
#define BAD_BYTE                                                               \
    "isn't HOST:PORT: there is a blank, a control character or a / in it"
#define A4 "a:1,a:1,a:1,a:1,"

static void route_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        uint32_t wrong; /* entry; 0: fine */
        uint32_t n;
        const char *said;
    } rows[] = {
        {"127.0.0.1:7201", 0, 1, ""},
        {"a:1,b:2,c:65535", 0, 3, ""},
        {"[::1]:7201", 0, 1, ""},
        {"", 1, 0, "list: entry 1, \"\", isn't HOST:PORT: it is empty"},
        {"a:1,", 2, 0, "list: entry 2, \"\", isn't HOST:PORT: it is empty"},
        {"a:1,,b:2", 2, 0, "list: entry 2, \"\", isn't HOST:PORT: it is empty"},
        {"a", 1, 0, "list: entry 1, \"a\", isn't HOST:PORT: it has no port"},
        {":1", 1, 0, "list: entry 1, \":1\", isn't HOST:PORT: it has no host"},
        {"a:", 1, 0, "list: entry 1, \"a:\", " BAD_PORT},
        {"a:0", 1, 0, "list: entry 1, \"a:0\", " BAD_PORT},
        {"a:65536", 1, 0, "list: entry 1, \"a:65536\", " BAD_PORT},
        {"a:1x", 1, 0, "list: entry 1, \"a:1x\", " BAD_PORT},
        {"a:4294967297", 1, 0, "list: entry 1, \"a:4294967297\", " BAD_PORT},
        {"a:1, b:2", 2, 0, "list: entry 2, \" b:2\", " BAD_BYTE},
        {"http://a:1", 1, 0, "list: entry 1, \"http://a:1\", " BAD_BYTE},
        {A4 A4 A4 A4 "b:2", 17, 0,
         "list: entry 17, \"b:2\", is one too many: at most 16"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct route r = {.endpoints_n = 9};
        char error[200] = "";
        assert_int_equal(
            route_init(&r, rows[i].list, "list", error, sizeof error),
            rows[i].wrong);
        assert_int_equal(r.endpoints_n, rows[i].wrong != 0 ? 9 : rows[i].n);
        assert_string_equal(error, rows[i].said);
    }
}

static struct route three(void)
{
    struct route r;
    char error[200];
    assert_int_equal(route_init(&r, "a:1,b:2,c:3", "list", error, sizeof error),
                     0);
    return r;
}

static void route_takes_turns(void **state)
{
    (void)state;
    struct route r = three();
    assert_int_equal(route_leader(&r, 0), 0);
    route_no_leader(&r, 0);
    assert_int_equal(route_leader(&r, 0), 1);
    route_no_leader(&r, 1);
    assert_int_equal(route_leader(&r, 0), 2);
    route_no_leader(&r, 2);
    assert_int_equal(route_leader(&r, 0), 0);
}

static void route_follows_hints(void **state)
{
    (void)state;
    struct route r = three();
    route_hint(&r, 0, 3, "c:3");
    assert_int_equal(route_leader(&r, 0), 2);
    /* One that we weren't told of. */
    route_hint(&r, 2, 4, "d:4");
    assert_int_equal(r.endpoints_n, 4);
    assert_int_equal(route_leader(&r, 0), 3);
    /* By number, where its own address differs from the one we know. */
    route_up(&r, 1, 2);
    route_hint(&r, 3, 2, "elsewhere:9");
    assert_int_equal(route_leader(&r, 0), 1);
    assert_int_equal(r.endpoints_n, 4);
    /* Nonsense counts as none. */
    route_hint(&r, 1, 0, "not an address");
    assert_int_equal(r.leader, ROUTE_NONE);
    /* It names itself, and refuses. */
    route_is_leader(&r, 1);
    route_hint(&r, 1, 2, "elsewhere:9");
    assert_int_equal(r.leader, ROUTE_NONE);
    assert_int_not_equal(route_leader(&r, 0), 1);
}

static void route_backs_off(void **state)
{
    (void)state;
    struct route r = three();
    route_is_leader(&r, 0);
    route_down(&r, 0, 1000, 0);
    assert_int_equal(route_leader(&r, 1000), 1);
    route_down(&r, 1, 1000, 0);
    route_down(&r, 2, 1000, 0);
    assert_int_equal(route_leader(&r, 1000), ROUTE_NONE);
    assert_int_equal(route_wake_ms(&r, 1000), 1025);
    assert_int_not_equal(route_leader(&r, 1025), ROUTE_NONE);
    uint64_t longest = 0;
    for (uint32_t i = 0; i < 20; i++) {
        route_down(&r, 0, 2000, i * 977);
        longest = max_u64(longest, r.endpoints[0].not_before_ms - 2000);
    }
    assert_in_range(longest, ROUTE_BACKOFF_MAX_MS / 2, ROUTE_BACKOFF_MAX_MS);
    route_up(&r, 0, 1);
    assert_int_equal(route_any(&r, 2000), 0);
}

/* --- call -------------------------------------------------------------------------------------------------------- */

static void call_follows_the_leader(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_MUTATION, 5000);
    assert_true(call_ready(&c, 0));
    call_sent(&c, 0, 0);
    assert_false(call_ready(&c, 0));
    assert_int_equal(call_answered(&c, BATON_NOT_LEADER, true, 0, 10),
                     CALL_AGAIN);
    assert_true(call_ready(&c, 10));
    call_sent(&c, 2, 10);
    assert_int_equal(call_answered(&c, BATON_OK, false, 0, 20), CALL_DONE);
    assert_false(c.maybe_done);
}

static void call_waits_without_a_hint(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_READ, 5000);
    call_sent(&c, 0, 0);
    assert_int_equal(call_answered(&c, BATON_NOT_LEADER, false, 300, 10),
                     CALL_AGAIN);
    assert_false(call_ready(&c, 309));
    assert_true(call_ready(&c, 310));
    assert_int_equal(call_wake_ms(&c), 310);
}

static void call_past_its_deadline(void **state)
{
    (void)state;
    static const struct {
        enum call_kind kind;
        bool sent;
        bool broken;
        enum baton_status outcome;
    } rows[] = {
        {CALL_READ, false, false, BATON_NO_QUORUM},
        {CALL_READ, true, false, BATON_NO_QUORUM},
        {CALL_MUTATION, false, false, BATON_NO_QUORUM},
        {CALL_MUTATION, true, false, BATON_UNKNOWN},
        {CALL_MUTATION, true, true, BATON_UNKNOWN},
        {CALL_ONCE, false, false, BATON_NO_QUORUM},
        {CALL_ONCE, true, false, BATON_UNKNOWN},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct call_state c;
        call_init(&c, rows[i].kind, 1000);
        if (rows[i].sent) {
            call_sent(&c, 0, 10);
        }
        if (rows[i].broken) {
            assert_int_equal(call_broken(&c, 20), CALL_AGAIN);
        }
        assert_false(call_ready(&c, 1000));
        assert_int_equal(call_outcome(&c), rows[i].outcome);
    }
}

static void call_refused_attempts_leave_no_doubt(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_MUTATION, 1000);
    call_sent(&c, 0, 0);
    assert_int_equal(call_answered(&c, BATON_NO_QUORUM, false, 0, 5),
                     CALL_AGAIN);
    assert_int_equal(call_outcome(&c), BATON_NO_QUORUM);
    call_sent(&c, 1, 100);
    assert_int_equal(call_broken(&c, 200), CALL_AGAIN);
    call_sent(&c, 2, 300);
    /* That this attempt did nothing says nothing about the one before. */
    assert_int_equal(call_answered(&c, BATON_NO_QUORUM, false, 0, 310),
                     CALL_AGAIN);
    assert_int_equal(call_outcome(&c), BATON_UNKNOWN);
}

static void call_without_a_sequence_is_sent_once(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_ONCE, 5000);
    call_sent(&c, 0, 0);
    assert_false(call_stuck(&c, 4000));
    assert_int_equal(call_broken(&c, 10), CALL_DONE);
    assert_int_equal(call_outcome(&c), BATON_UNKNOWN);
    call_init(&c, CALL_ONCE, 5000);
    call_sent(&c, 0, 0);
    assert_int_equal(call_answered(&c, BATON_NOT_LEADER, true, 0, 10),
                     CALL_AGAIN);
}

static void call_is_asked_elsewhere(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_MUTATION, 5000);
    call_sent(&c, 0, 0);
    assert_false(call_stuck(&c, CALL_ATTEMPT_MS - 1));
    assert_true(call_stuck(&c, CALL_ATTEMPT_MS));
    assert_int_equal(call_wake_ms(&c), CALL_ATTEMPT_MS);
}

static void call_no_wait_past_the_deadline(void **state)
{
    (void)state;
    struct call_state c;
    call_init(&c, CALL_READ, 100);
    call_sent(&c, 0, 0);
    assert_int_equal(call_answered(&c, BATON_BUSY, false, 500, 10), CALL_DONE);
}

/* --- window ------------------------------------------------------------------------------------------------------ */

static void window_moves(void **state)
{
    (void)state;
    struct client_window w;
    window_init(&w);
    assert_int_equal(window_take(&w), 1);
    assert_int_equal(window_take(&w), 2);
    assert_int_equal(window_take(&w), 3);
    window_finish(&w, 2);
    assert_int_equal(w.first, 1);
    window_finish(&w, 1);
    assert_int_equal(w.first, 3);
    window_finish(&w, 1);
    window_finish(&w, 3);
    assert_int_equal(w.first, 4);
}

static void window_is_bounded(void **state)
{
    (void)state;
    struct client_window w;
    window_init(&w);
    for (uint64_t i = 1; i <= WINDOW_MAX; i++) {
        assert_int_equal(window_take(&w), i);
    }
    assert_int_equal(window_take(&w), 0);
    for (uint64_t i = WINDOW_MAX; i > 1; i--) {
        window_finish(&w, i);
    }
    assert_int_equal(window_take(&w), 0);
    window_finish(&w, 1);
    /* The bits of the last round don't count for this one. */
    assert_int_equal(window_take(&w), WINDOW_MAX + 1);
    assert_int_equal(w.first, WINDOW_MAX + 1);
}

/* --- role -------------------------------------------------------------------------------------------------------- */

struct role_step {
    enum role_news news;
    uint64_t epoch;
    bool leads;
    enum role_change change;
    enum role_kind role;
};

static void run_roles(const struct role_step *steps, size_t n)
{
    struct client_role r = {.role = ROLE_IS_NONE};
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(
            role_news(&r, steps[i].news, steps[i].epoch, steps[i].leads),
            steps[i].change);
        assert_int_equal(r.role, steps[i].role);
    }
}

static void role_life(void **state)
{
    (void)state;
    static const struct role_step steps[] = {
        {ROLE_NEWS_CANDIDATE, 0, true, ROLE_CHANGED, ROLE_IS_CANDIDATE},
        {ROLE_NEWS_BACKUP, 0, true, ROLE_CHANGED, ROLE_IS_BACKUP},
        {ROLE_NEWS_BACKUP, 0, true, ROLE_SAME, ROLE_IS_BACKUP},
        {ROLE_NEWS_OFFERED, 50, true, ROLE_OFFERED, ROLE_IS_BACKUP},
        {ROLE_NEWS_OFFERED, 50, true, ROLE_SAME, ROLE_IS_BACKUP},
        {ROLE_NEWS_GRANTED, 60, true, ROLE_GRANTED, ROLE_IS_LEADER},
        {ROLE_NEWS_GRANTED, 60, true, ROLE_SAME, ROLE_IS_LEADER},
        {ROLE_NEWS_BACKUP, 0, true, ROLE_SAME, ROLE_IS_LEADER},
        {ROLE_NEWS_YIELD, 60, true, ROLE_YIELD, ROLE_IS_LEADER},
        {ROLE_NEWS_YIELD, 60, true, ROLE_SAME, ROLE_IS_LEADER},
        {ROLE_NEWS_KEPT, 60, true, ROLE_SAME, ROLE_IS_LEADER},
        {ROLE_NEWS_YIELD, 60, true, ROLE_YIELD, ROLE_IS_LEADER},
        {ROLE_NEWS_LOST, 70, true, ROLE_LOST, ROLE_IS_CANDIDATE},
        {ROLE_NEWS_LOST, 70, true, ROLE_SAME, ROLE_IS_CANDIDATE},
        {ROLE_NEWS_CLOSED, 0, true, ROLE_CHANGED, ROLE_IS_NONE},
    };
    run_roles(steps, countof(steps));
}

static void role_old_news(void **state)
{
    (void)state;
    static const struct role_step steps[] = {
        {ROLE_NEWS_GRANTED, 60, true, ROLE_GRANTED, ROLE_IS_LEADER},
        /* Of an epoch before ours: not about us. */
        {ROLE_NEWS_LOST, 50, true, ROLE_SAME, ROLE_IS_LEADER},
        {ROLE_NEWS_LOST, 60, true, ROLE_LOST, ROLE_IS_CANDIDATE},
        /* A node that lags tells of a reign that's over. */
        {ROLE_NEWS_GRANTED, 55, true, ROLE_SAME, ROLE_IS_CANDIDATE},
        {ROLE_NEWS_GRANTED, 80, true, ROLE_GRANTED, ROLE_IS_LEADER},
        {ROLE_NEWS_GRANTED, 90, true, ROLE_GRANTED, ROLE_IS_LEADER},
    };
    run_roles(steps, countof(steps));
}

static void role_and_lease(void **state)
{
    (void)state;
    struct client_role r = {.role = ROLE_IS_CANDIDATE};
    /* Granted while the lease is late: not told, so not acted upon. */
    assert_int_equal(role_news(&r, ROLE_NEWS_GRANTED, 60, false), ROLE_SAME);
    assert_int_equal(role_lease(&r, false), ROLE_SAME);
    assert_int_equal(role_lease(&r, true), ROLE_GRANTED);
    assert_int_equal(role_lease(&r, true), ROLE_SAME);
    assert_int_equal(role_lease(&r, false), ROLE_LOST);
    assert_int_equal(role_lease(&r, false), ROLE_SAME);
    assert_int_equal(role_lease(&r, true), ROLE_GRANTED);
    assert_int_equal(r.epoch, 60);
    /* Lost for good while it wasn't told: nothing to take back. */
    assert_int_equal(role_lease(&r, false), ROLE_LOST);
    assert_int_equal(role_news(&r, ROLE_NEWS_LOST, 70, false), ROLE_CHANGED);
    assert_int_equal(role_lease(&r, true), ROLE_SAME);
}

/* --- watch ------------------------------------------------------------------------------------------------------- */

static void watch_from_state(void **state)
{
    (void)state;
    struct client_watch w;
    bool reset = true;
    watch_init(&w, 0);
    assert_int_equal(watch_start(&w, &reset), 0);
    assert_false(reset);
    assert_int_equal(watch_row(&w), WATCH_DELIVER);
    assert_int_equal(watch_batch(&w, 101), WATCH_DELIVER);
    assert_int_equal(watch_row(&w), WATCH_DELIVER);
    assert_int_equal(watch_synced(&w, 105), WATCH_DELIVER);
    /* Rows after that have no place; what the state holds already isn't told again. */
    assert_int_equal(watch_row(&w), WATCH_DROP);
    assert_int_equal(watch_batch(&w, 105), WATCH_DROP);
    assert_int_equal(watch_batch(&w, 106), WATCH_DELIVER);
    assert_int_equal(watch_batch(&w, 106), WATCH_DROP);
    assert_int_equal(watch_start(&w, &reset), 107);
    assert_false(reset);
}

static void watch_resumes(void **state)
{
    (void)state;
    struct client_watch w;
    bool reset = false;
    watch_init(&w, 50);
    assert_int_equal(watch_start(&w, &reset), 50);
    assert_int_equal(watch_batch(&w, 49), WATCH_DROP);
    assert_int_equal(watch_batch(&w, 60), WATCH_DELIVER);
    /* Another node: from the next one; what it repeats is dropped. */
    assert_int_equal(watch_start(&w, &reset), 61);
    assert_int_equal(watch_batch(&w, 60), WATCH_DROP);
    assert_int_equal(watch_batch(&w, 61), WATCH_DELIVER);
}

static void watch_half_a_state(void **state)
{
    (void)state;
    struct client_watch w;
    bool reset = false;
    watch_init(&w, 0);
    assert_int_equal(watch_start(&w, &reset), 0);
    assert_int_equal(watch_row(&w), WATCH_DELIVER);
    assert_int_equal(watch_batch(&w, 101), WATCH_DELIVER);
    /* Broken before it was whole: all of it again, and the program is told to forget. */
    assert_int_equal(watch_start(&w, &reset), 0);
    assert_true(reset);
    assert_int_equal(watch_batch(&w, 90), WATCH_DELIVER);
    assert_int_equal(watch_synced(&w, 110), WATCH_DELIVER);
}

static void watch_compacted(void **state)
{
    (void)state;
    struct client_watch w;
    bool reset = false;
    watch_init(&w, 50);
    assert_int_equal(watch_start(&w, &reset), 50);
    watch_reset(&w);
    assert_int_equal(watch_start(&w, &reset), 0);
    assert_int_equal(watch_row(&w), WATCH_DELIVER);
    assert_int_equal(watch_synced(&w, 500), WATCH_DELIVER);
    assert_int_equal(watch_batch(&w, 501), WATCH_DELIVER);
}

static void watch_that_lags(void **state)
{
    (void)state;
    struct client_watch w;
    bool reset = false;
    watch_init(&w, 50);
    (void)watch_start(&w, &reset);
    assert_int_equal(watch_batch(&w, 50), WATCH_DELIVER);
    watch_lagging(&w);
    /* What this stream still says has a gap before it. */
    assert_int_equal(watch_batch(&w, 90), WATCH_DROP);
    assert_int_equal(watch_start(&w, &reset), 51);
    assert_int_equal(watch_batch(&w, 51), WATCH_DELIVER);
    assert_int_equal(watch_batch(&w, 90), WATCH_DELIVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lease_usable),
        cmocka_unit_test(lease_deadline_counts_from_send),
        cmocka_unit_test(lease_opening_again_keeps_the_first_send),
        cmocka_unit_test(lease_acks_out_of_order),
        cmocka_unit_test(lease_foreign_acks),
        cmocka_unit_test(lease_next_renewal),
        cmocka_unit_test(lease_that_ended),
        cmocka_unit_test(lease_late_but_alive),
        cmocka_unit_test(route_lists),
        cmocka_unit_test(route_takes_turns),
        cmocka_unit_test(route_follows_hints),
        cmocka_unit_test(route_backs_off),
        cmocka_unit_test(call_follows_the_leader),
        cmocka_unit_test(call_waits_without_a_hint),
        cmocka_unit_test(call_past_its_deadline),
        cmocka_unit_test(call_refused_attempts_leave_no_doubt),
        cmocka_unit_test(call_without_a_sequence_is_sent_once),
        cmocka_unit_test(call_is_asked_elsewhere),
        cmocka_unit_test(call_no_wait_past_the_deadline),
        cmocka_unit_test(window_moves),
        cmocka_unit_test(window_is_bounded),
        cmocka_unit_test(role_life),
        cmocka_unit_test(role_old_news),
        cmocka_unit_test(role_and_lease),
        cmocka_unit_test(watch_from_state),
        cmocka_unit_test(watch_resumes),
        cmocka_unit_test(watch_half_a_state),
        cmocka_unit_test(watch_compacted),
        cmocka_unit_test(watch_that_lags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

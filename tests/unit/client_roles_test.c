/* The sessions of a lease and their roles, as rows and events tell of them; no node is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/client.h"
#include "tests/unit/assert_stub.h"

#define LEASE 7

static struct baton *b;
static uint64_t lost_by_callback;

static void note_lost(void *arg, uint64_t session, const char *scope,
                      uint64_t epoch)
{
    (void)arg;
    (void)scope;
    (void)epoch;
    lost_by_callback = session;
}

static int setup(void **state)
{
    (void)state;
    char error[256];
    struct baton_options o = {.endpoints = "127.0.0.1:1",
                              .answer_offers = true,
                              .on_lost = note_lost};
    if (baton_open(&o, &b, error, sizeof error) != BATON_OK) {
        fail_msg("%s", error);
    }
    (void)pthread_mutex_lock(&b->lock);
    b->lease.id = LEASE;
    b->leads = true;
    (void)pthread_mutex_unlock(&b->lock);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return baton_close(b, BATON_LEAVE_ABANDON, 0) == BATON_OK ? 0 : 1;
}

static Pb__Event about(Pb__EventKind kind, uint64_t revision, uint64_t session)
{
    Pb__Event e = PB__EVENT__INIT;
    e.kind = kind;
    e.revision = revision;
    e.namespace_ = (char *)"acme";
    e.group = (char *)"alice";
    e.device = (char *)"laptop";
    e.tab = (char *)"t";
    e.session = session;
    e.lease = LEASE;
    e.epoch = revision;
    return e;
}

static void tell(const Pb__Event *e)
{
    (void)pthread_mutex_lock(&b->lock);
    roles_event(b, e);
    (void)pthread_mutex_unlock(&b->lock);
}

static void expect(enum baton_event_type type, uint64_t session, uint64_t epoch)
{
    struct baton_event e;
    assert_true(baton_poll(b, 0, &e));
    assert_int_equal(e.type, type);
    assert_int_equal(e.session, session);
    assert_int_equal(e.epoch, epoch);
}

static void expect_nothing(void)
{
    struct baton_event e;
    assert_false(baton_poll(b, 0, &e));
}

static void a_session_s_life(void **state)
{
    (void)state;
    Pb__Event e = about(PB__EVENT_KIND__SESSION_OPENED, 10, 10);
    tell(&e);
    expect(BATON_ROLE, 10, 0);
    e = about(PB__EVENT_KIND__BACKUP_CHANGED, 11, 3);
    e.backup = 10;
    tell(&e);
    expect(BATON_ROLE, 10, 0);
    e = about(PB__EVENT_KIND__OFFERED, 12, 10);
    e.previous_session = 3;
    tell(&e);
    expect(BATON_OFFERED, 10, 12);
    e = about(PB__EVENT_KIND__GRANTED, 13, 10);
    e.previous_session = 3;
    tell(&e);
    expect(BATON_GRANTED, 10, 13);
    e = about(PB__EVENT_KIND__ACCEPTED, 14, 20);
    e.previous_session = 10;
    tell(&e);
    expect(BATON_YIELD, 10, 13);
    e = about(PB__EVENT_KIND__GRANTED, 15, 20);
    e.lease = 99;
    e.previous_session = 10;
    tell(&e);
    expect(BATON_LOST, 10, 13);
    assert_int_equal(lost_by_callback, 10);
    e = about(PB__EVENT_KIND__SESSION_CLOSED, 16, 10);
    tell(&e);
    expect(BATON_SESSION_CLOSED, 10, 0);
    expect_nothing();
    assert_int_equal(b->members.n, 0);
}

static void group_and_device_are_two(void **state)
{
    (void)state;
    Pb__Event e = about(PB__EVENT_KIND__SESSION_OPENED, 10, 10);
    tell(&e);
    expect(BATON_ROLE, 10, 0);
    e = about(PB__EVENT_KIND__GRANTED, 10, 10);
    tell(&e);
    expect(BATON_GRANTED, 10, 10);
    e.group_scope = true;
    tell(&e);
    struct baton_event got;
    assert_true(baton_poll(b, 0, &got));
    assert_true(got.group_scope);
    assert_string_equal(got.scope, "acme/alice");
    assert_true(roles_any_leads(b));
    e = about(PB__EVENT_KIND__VACATED, 20, 0);
    e.group_scope = true;
    e.epoch = 10;
    e.previous_session = 10;
    tell(&e);
    expect(BATON_LOST, 10, 10);
    assert_true(roles_any_leads(b));
    (void)pthread_mutex_lock(&b->lock);
    b->leads = false;
    roles_lease(b, false);
    (void)pthread_mutex_unlock(&b->lock);
    expect(BATON_LOST, 10, 10);
    assert_false(roles_any_leads(b));
}

static void row(uint64_t session, uint64_t epoch)
{
    Pb__SessionInfo s = PB__SESSION_INFO__INIT;
    s.session = session;
    s.lease = LEASE;
    s.namespace_ = (char *)"acme";
    s.group = (char *)"alice";
    s.device = (char *)"laptop";
    s.tab = (char *)"t";
    s.role = epoch != 0 ? PB__ROLE__ROLE_LEADER : PB__ROLE__ROLE_CANDIDATE;
    s.device_epoch = epoch;
    roles_row(b, &s);
}

static void what_the_state_leaves_out_is_gone(void **state)
{
    (void)state;
    (void)pthread_mutex_lock(&b->lock);
    roles_state_begin(b);
    row(10, 10);
    row(11, 0);
    roles_state_end(b, 20);
    roles_state_begin(b);
    row(11, 0);
    (void)pthread_mutex_unlock(&b->lock);
    /* Opened while the state is told: part of it, though no row names it. */
    Pb__Event e = about(PB__EVENT_KIND__SESSION_OPENED, 25, 25);
    tell(&e);
    (void)pthread_mutex_lock(&b->lock);
    roles_state_end(b, 30);
    (void)pthread_mutex_unlock(&b->lock);
    expect(BATON_GRANTED, 10, 10);
    expect(BATON_ROLE, 11, 0);
    expect(BATON_ROLE, 25, 0);
    expect(BATON_LOST, 10, 10);
    expect(BATON_SESSION_CLOSED, 10, 0);
    expect_nothing();
    assert_int_equal(b->members.n, 2);
}

/* Thousands come and go: the table finds each that's there, and none that isn't. */
static void many(void **state)
{
    (void)state;
    enum {
        N = 4000
    };
    static bool there[N + 1];
    uint64_t seed = 1;
    size_t n = 0;
    memset(there, 0, sizeof there);
    for (int i = 0; i < 20000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t id = 1 + (seed >> 33) % N;
        Pb__Event e = about(there[id] ? PB__EVENT_KIND__SESSION_CLOSED
                                      : PB__EVENT_KIND__SESSION_OPENED,
                            (uint64_t)i + 1, id);
        tell(&e);
        there[id] = !there[id];
        n = there[id] ? n + 1 : n - 1;
        assert_int_equal(b->members.n, n);
        struct baton_event got;
        uint64_t closed = 0;
        while (baton_poll(b, 0, &got)) {
            assert_int_equal(got.session, id);
            closed += got.type == BATON_SESSION_CLOSED;
        }
        assert_int_equal(closed, !there[id]);
    }
    for (uint64_t id = 1; id <= N; id++) {
        Pb__Event e = about(PB__EVENT_KIND__SESSION_CLOSED, 99999, id);
        tell(&e);
        n -= there[id];
        assert_int_equal(b->members.n, n);
    }
    assert_int_equal(b->members.n, 0);
}

static void opening(void)
{
    (void)pthread_mutex_lock(&b->lock);
    roles_opening(b);
    (void)pthread_mutex_unlock(&b->lock);
}

static void opened(uint64_t session)
{
    (void)pthread_mutex_lock(&b->lock);
    roles_opened(b, session);
    (void)pthread_mutex_unlock(&b->lock);
}

static void open_and_grant(uint64_t session)
{
    Pb__Event e = about(PB__EVENT_KIND__SESSION_OPENED, session, session);
    tell(&e);
    e = about(PB__EVENT_KIND__GRANTED, session + 1, session);
    tell(&e);
}

static void nothing_of_a_session_before_its_answer(void **state)
{
    (void)state;
    opening();
    open_and_grant(10);
    Pb__Event e = about(PB__EVENT_KIND__SESSION_CLOSED, 12, 10);
    tell(&e);
    expect_nothing();
    opened(10);
    expect(BATON_ROLE, 10, 0);
    expect(BATON_GRANTED, 10, 11);
    expect(BATON_LOST, 10, 11);
    expect(BATON_SESSION_CLOSED, 10, 0);
    expect_nothing();
}

static void sessions_known_already_wait_for_nobody(void **state)
{
    (void)state;
    opening();
    opened(10);
    opening();
    open_and_grant(10);
    expect(BATON_ROLE, 10, 0);
    expect(BATON_GRANTED, 10, 11);
    expect_nothing();
}

/* There's always one on its way, and nobody waits for that. */
static void overlapping_opens_starve_nobody(void **state)
{
    (void)state;
    opening();
    for (uint64_t session = 10; session < 100; session += 10) {
        opening();
        open_and_grant(session);
        expect_nothing();
        opened(session);
        expect(BATON_ROLE, session, 0);
        expect(BATON_GRANTED, session, session + 1);
        expect_nothing();
    }
}

static void an_opening_without_an_answer_holds_nothing_back(void **state)
{
    (void)state;
    opening();
    opening();
    open_and_grant(10);
    opened(0);
    expect_nothing(); /* it may be the other one's */
    opened(0);
    expect(BATON_ROLE, 10, 0);
    expect(BATON_GRANTED, 10, 11);
    expect_nothing();
}

/* What waits when we leave is freed; the sanitizers look. */
static void what_is_held_at_the_end_is_freed(void **state)
{
    (void)state;
    opening();
    open_and_grant(10);
    expect_nothing();
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(nothing_of_a_session_before_its_answer),
        WITH(sessions_known_already_wait_for_nobody),
        WITH(overlapping_opens_starve_nobody),
        WITH(an_opening_without_an_answer_holds_nothing_back),
        WITH(what_is_held_at_the_end_is_freed),
        WITH(a_session_s_life),
        WITH(group_and_device_are_two),
        WITH(what_the_state_leaves_out_is_gone),
        WITH(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

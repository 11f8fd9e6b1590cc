#include "tests/unit/transport_harness.h"

/* --- Hello ---------------------------------------------------------------------------------------------------------- */

static void close_says_goodbye(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = greeted(&n);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 1);
    uint64_t conn = n.conn;
    struct bytes body = {(const uint8_t *)"before", 6};
    assert_true(transport_send(n.t, conn, body));
    transport_conn_close(n.t, conn, "enough");
    assert_false(transport_send(n.t, conn, body));
    assert_int_equal(transport_room(n.t, conn), 0);
    size_t size = 0;
    uint8_t *first = get_frame(&n, fd, &size);
    assert_non_null(first);
    assert_int_equal(size, 6);
    free(first);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    assert_string_equal(f.why, "enough");
    assert_false(f.retry);
    expect_end(&n, fd);
    (void)close(fd);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_CLOSED] == 1);
    assert_int_equal(n.conn, conn);
    node_close(&n);
}

static void stopping_says_goodbye(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = greeted(&n);
    node_close(&n);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    assert_int_equal(f.status, BATON_UNAVAILABLE);
    assert_true(f.retry);
    expect_end(&n, fd);
    (void)close(fd);
}

/* Goodbyes of streams with requests in flight arrive whole: what's unread at our end must not turn them into a reset. */
static void goodbye_survives_unread_requests(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = greeted(&n);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 1);
    uint64_t conn = n.conn;
    static uint8_t body[200000];
    put_frame(&n, fd, body, sizeof body);
    transport_conn_close(n.t, conn, "enough");
    put_frame(&n, fd, body, sizeof body);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    assert_string_equal(f.why, "enough");
    (void)close(fd);
    node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_says_goodbye),
        cmocka_unit_test(stopping_says_goodbye),
        cmocka_unit_test(goodbye_survives_unread_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

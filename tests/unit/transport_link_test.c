#include "tests/unit/transport_harness.h"

static struct bytes text(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static void link_asks_and_is_answered(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.echo = true;
    node_open(&n);
    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    int mark = 0;
    struct link *l =
        link_open(loop, &(struct link_options){
                            .address = local(transport_client_port(n.t)),
                            .cluster = CLUSTER,
                            .user = &mark,
                        });
    assert_false(link_is_up(l));
    assert_false(link_send(l, text("too early")));
    assert_int_equal(link_room(l), 0);
    struct link_event e = next_event(&n, loop);
    assert_int_equal(e.type, LINK_UP);
    assert_ptr_equal(e.link, l);
    assert_ptr_equal(link_user(l), &mark);
    const struct link_peer *p = link_peer(l);
    assert_int_equal(p->cluster, CLUSTER);
    assert_int_equal(p->node, 3);
    assert_int_equal(p->incarnation, 103);
    assert_int_equal(p->boot, 7);
    assert_string_equal(p->endpoint, "clients.example:1");
    assert_string_equal(p->http, "http.example:2");
    assert_true(link_send(l, text("one")));
    assert_true(link_send(l, text("two")));
    assert_int_equal(link_queued(l), 14);
    const char *const expected[] = {"one", "two"};
    for (size_t i = 0; i < 2; i++) {
        e = next_event(&n, loop);
        assert_int_equal(e.type, LINK_FRAME);
        assert_int_equal(e.body.n, 3);
        assert_memory_equal(e.body.data, expected[i], 3);
    }
    /* The node closes it: a Goodbye, then the end. */
    transport_conn_close(n.t, n.conn, "enough");
    assert_int_equal(next_event(&n, loop).type, LINK_FRAME);
    e = next_event(&n, loop);
    assert_int_equal(e.type, LINK_DOWN);
    assert_int_equal(link_status(l), BATON_UNAVAILABLE);
    assert_false(link_is_up(l));
    assert_false(link_send(l, text("too late")));
    link_close(l);
    link_loop_close(loop);
    node_close(&n);
}

/* What goes wrong comes as LINK_DOWN, with a reason. */
static void link_says_why(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.o.connections_max = 1;
    node_open(&n);
    struct link_loop *loop = loop_open(&(struct link_loop_options){
        .hello_ms = 300,
        .dial_ms = 2000,
    });
    int keep = greeted(&n);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(silent, (void *)&sa, sizeof sa), 0);
    socklen_t sa_n = sizeof sa;
    assert_int_equal(getsockname(silent, (void *)&sa, &sa_n), 0);
    char silent_at[32];
    char limit_at[32];
    (void)snprintf(silent_at, sizeof silent_at, "127.0.0.1:%u",
                   ntohs(sa.sin_port));
    (void)snprintf(limit_at, sizeof limit_at, "127.0.0.1:%u",
                   transport_client_port(n.t));
    const struct {
        const char *address;
        uint64_t cluster;
        int status;
        const char *why;
        bool listen;
    } all[] = {
        {silent_at, 0, BATON_UNAVAILABLE, "refused", false},
        {silent_at, 0, BATON_UNAVAILABLE, "in time", true},
        {limit_at, 0, BATON_LIMIT, "connections", true},
        {"nowhere", 0, BATON_UNAVAILABLE, "nowhere", true},
        {"no.such.host.invalid:1", 0, BATON_UNAVAILABLE, "no.such", true},
    };
    for (size_t i = 0; i < countof(all); i++) {
        if (all[i].listen) {
            (void)listen(silent, 8);
        }
        struct link *l =
            link_open(loop, &(struct link_options){.address = all[i].address,
                                                   .cluster = all[i].cluster});
        struct link_event e = next_event(&n, loop);
        assert_int_equal(e.type, LINK_DOWN);
        assert_ptr_equal(e.link, l);
        if (strstr(link_why(l), all[i].why) == NULL) {
            fail_msg("%s: %s", all[i].address, link_why(l));
        }
        assert_int_equal(link_status(l), all[i].status);
        link_close(l);
    }
    (void)close(keep);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_CLOSED] == 1);
    turn(&n, 0);
    struct link *l = link_open(
        loop, &(struct link_options){.address = limit_at, .cluster = 99});
    assert_int_equal(next_event(&n, loop).type, LINK_DOWN);
    assert_int_equal(link_status(l), BATON_NOT_ALLOWED);
    (void)close(silent);
    link_loop_close(loop);
    node_close(&n);
}

/* A node of another protocol version, by hand. */
static void link_hears_of_versions(void **state)
{
    (void)state;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (void *)&sa, sizeof sa), 0);
    socklen_t sa_n = sizeof sa;
    assert_int_equal(getsockname(listener, (void *)&sa, &sa_n), 0);
    assert_int_equal(listen(listener, 8), 0);
    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    struct hello h = {.version = 9, .cluster = CLUSTER, .node = 1};
    const struct hello_frame frames[] = {
        {.status = BATON_OK},
        {.status = BATON_UNSUPPORTED, .why = "speak version 9"},
    };
    for (size_t i = 0; i < countof(frames); i++) {
        struct link *l = link_open(
            loop, &(struct link_options){.address = local(ntohs(sa.sin_port))});
        int fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        uint8_t body[4 + HELLO_BODY_MAX];
        size_t size = hello_encode_message(&h, &frames[i], body + 4);
        frame_head(body, size);
        assert_int_equal(send(fd, body, 4 + size, MSG_NOSIGNAL), 4 + size);
        struct link_event e;
        uint64_t until = now_ms() + DEADLINE_MS;
        while (!link_loop_next(loop, &e)) {
            assert_true(now_ms() < until);
            link_loop_wait(loop, 1);
        }
        assert_int_equal(e.type, LINK_DOWN);
        assert_int_equal(link_status(l), BATON_UNSUPPORTED);
        assert_non_null(strstr(link_why(l), "version 9"));
        (void)close(fd);
        link_close(l);
    }
    (void)close(listener);
    link_loop_close(loop);
}

static void many_links(void **state)
{
    (void)state;
    enum {
        COUNT = 400,
        ASKS = 10
    };
    struct node n;
    node_options(&n, 3);
    n.echo = true;
    node_open(&n);
    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    static struct link *links[COUNT];
    uint32_t answers[COUNT] = {0};
    for (uintptr_t i = 0; i < COUNT; i++) {
        links[i] =
            link_open(loop, &(struct link_options){
                                .address = local(transport_client_port(n.t)),
                                .user = (void *)i,
                            });
    }
    for (uint32_t total = 0; total < COUNT * ASKS;) {
        struct link_event e = next_event(&n, loop);
        uintptr_t i = (uintptr_t)link_user(e.link);
        assert_ptr_equal(e.link, links[i]);
        assert_true(e.type == LINK_UP || e.type == LINK_FRAME);
        if (e.type == LINK_FRAME) {
            uint32_t number = 0;
            assert_int_equal(e.body.n, sizeof number);
            memcpy(&number, e.body.data, sizeof number);
            assert_int_equal(number, answers[i]);
            answers[i]++;
            total++;
        }
        if (answers[i] < ASKS) {
            assert_true(
                link_send(e.link, (struct bytes){(const uint8_t *)&answers[i],
                                                 sizeof(uint32_t)}));
        }
    }
    /* Half are closed one by one, while events of them may be on their way; the rest with the loop. */
    for (size_t i = 0; i < COUNT; i += 2) {
        assert_true(link_send(links[i], text("last words")));
        link_loop_flush(loop);
        link_close(links[i]);
    }
    struct transport_stats s;
    WAIT_FOR(&n, (transport_stats(n.t, &s), s.clients == COUNT / 2));
    struct link_event e;
    while (link_loop_next(loop, &e)) {
        fail_msg("an event of a link that was closed");
    }
    link_loop_close(loop);
    WAIT_FOR(&n, (transport_stats(n.t, &s), s.clients == 0));
    node_close(&n);
}

static void link_has_a_bound(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    struct link_loop *loop =
        loop_open(&(struct link_loop_options){.queue_bytes = 100000});
    struct link *l = link_open(
        loop,
        &(struct link_options){.address = local(transport_client_port(n.t))});
    assert_int_equal(next_event(&n, loop).type, LINK_UP);
    static uint8_t body[30000];
    uint64_t sent = 0;
    while (link_send(l, (struct bytes){body, sizeof body})) {
        sent++;
    }
    assert_int_equal(sent, 3);
    assert_true(link_room(l) < sizeof body);
    struct link_event e = next_event(&n, loop);
    assert_int_equal(e.type, LINK_ROOM);
    assert_true(link_room(l) >= 50000);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_FRAME] == sent);
    link_loop_close(loop);
    node_close(&n);
}

static void closing_while_dialling(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    for (int i = 0; i < 200; i++) {
        struct link *l =
            link_open(loop, &(struct link_options){
                                .address = local(transport_client_port(n.t))});
        if (i % 3 == 0) {
            link_loop_wait(loop, 0);
        }
        if (i % 5 == 0) {
            turn(&n, 0);
        }
        link_close(l);
    }
    link_loop_close(loop);
    struct transport_stats s;
    WAIT_FOR(&n, (transport_stats(n.t, &s), s.clients == 0));
    node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(link_asks_and_is_answered),
        cmocka_unit_test(link_says_why),
        cmocka_unit_test(link_hears_of_versions),
        cmocka_unit_test(many_links),
        cmocka_unit_test(link_has_a_bound),
        cmocka_unit_test(closing_while_dialling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

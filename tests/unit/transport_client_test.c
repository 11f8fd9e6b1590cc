#include "tests/unit/transport_harness.h"

/* --- Hello ---------------------------------------------------------------------------------------------------------- */

static void hello_is_answered(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = tcp_connect(transport_client_port(n.t));
    put_client_hello(&n, fd);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    assert_int_equal(f.status, BATON_OK);
    assert_int_equal(h.version, PROTOCOL_VERSION);
    assert_int_equal(h.cluster, CLUSTER);
    assert_int_equal(h.node, 3);
    assert_int_equal(h.incarnation, 103);
    assert_int_equal(h.boot, 7);
    assert_string_equal(h.endpoint, "clients.example:1");
    assert_string_equal(h.http, "http.example:2");
    assert_int_equal(h.frame_bytes_max, FRAME_CLIENT_BYTES_MAX);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 1);
    (void)close(fd);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_CLOSED] == 1);
    node_close(&n);
}

struct refusal {
    struct hello hello;
    enum baton_status status;
    const char *reason;
};

static void hello_is_refused(void **state)
{
    (void)state;
    const struct refusal all[] = {
        {{.version = 2, .cluster = CLUSTER}, BATON_UNSUPPORTED, "version"},
        {{.version = 0, .cluster = CLUSTER}, BATON_UNSUPPORTED, "version"},
        {{.version = PROTOCOL_VERSION, .cluster = CLUSTER + 1},
         BATON_NOT_ALLOWED,
         "cluster"},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct node n;
        node_options(&n, 3);
        node_open(&n);
        int fd = tcp_connect(transport_client_port(n.t));
        uint8_t body[HELLO_BODY_MAX];
        put_frame(&n, fd, body, hello_encode_request(&all[i].hello, body));
        struct hello h;
        struct hello_frame f;
        assert_true(get_message(&n, fd, &h, &f));
        assert_int_equal(f.status, all[i].status);
        assert_true(f.why[0] != 0);
        assert_int_equal(h.version, PROTOCOL_VERSION);
        expect_end(&n, fd);
        (void)close(fd);
        assert_int_equal(n.n[TRANSPORT_CLIENT_OPEN], 0);
        assert_non_null(strstr(n.log, "transport_refused conn="));
        assert_non_null(strstr(n.log, all[i].reason));
        struct transport_stats s;
        transport_stats(n.t, &s);
        assert_int_equal(s.refused_version + s.refused_cluster, 1);
        node_close(&n);
    }
}

static void first_frame_must_be_hello(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = tcp_connect(transport_client_port(n.t));
    Pb__ClientRequest m = PB__CLIENT_REQUEST__INIT;
    m.version = PROTOCOL_VERSION;
    m.id = 77;
    uint8_t body[64];
    put_frame(&n, fd, body, codec_encode(&m.base, body, sizeof body));
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    assert_int_equal(f.status, BATON_UNSUPPORTED);
    assert_int_equal(f.id, 77);
    (void)close(fd);
    /* What isn't even a message gets no answer. */
    fd = tcp_connect(transport_client_port(n.t));
    put_frame(&n, fd, "\xff\xff\xff\xff\xff\xff", 6);
    expect_end(&n, fd);
    (void)close(fd);
    struct transport_stats s;
    transport_stats(n.t, &s);
    assert_int_equal(s.refused_undecodable, 2);
    node_close(&n);
}

static void silent_client_is_closed(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.o.hello_ms = 300;
    node_open(&n);
    int fd = tcp_connect(transport_client_port(n.t));
    expect_end(&n, fd);
    (void)close(fd);
    struct transport_stats s;
    transport_stats(n.t, &s);
    assert_int_equal(s.hello_late, 1);
    assert_non_null(strstr(n.log, "transport_late"));
    assert_int_equal(n.n[TRANSPORT_CLIENT_OPEN], 0);
    node_close(&n);
}

/* A stranger can't make us hold more than a Hello. */
static void stranger_may_send_little(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int fd = tcp_connect(transport_client_port(n.t));
    static const uint8_t head[4] = {0, 0, (HELLO_BODY_MAX + 1) >> 8, 1};
    put(&n, fd, head, sizeof head);
    expect_end(&n, fd);
    (void)close(fd);
    struct transport_stats s;
    transport_stats(n.t, &s);
    assert_int_equal(s.refused_size, 1);
    node_close(&n);
}

/* --- frames --------------------------------------------------------------------------------------------------------- */

static void frames_of_all_sizes(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.o.client_queue_bytes = 4u << 20;
    n.echo = true;
    node_open(&n);
    int fd = greeted(&n);
    static const size_t sizes[] = {1,
                                   2,
                                   200,
                                   4091,
                                   4092,
                                   4093,
                                   8192,
                                   65531,
                                   65532,
                                   65533,
                                   70000,
                                   1,
                                   131072,
                                   1000000,
                                   FRAME_CLIENT_BYTES_MAX - 1,
                                   5,
                                   65536,
                                   3 * 1000 + 1,
                                   FRAME_CLIENT_BYTES_MAX,
                                   1};
    uint8_t *body = malloc(FRAME_CLIENT_BYTES_MAX);
    assert_non_null(body);
    for (size_t i = 0; i < countof(sizes); i++) {
        for (size_t k = 0; k < sizes[i]; k++) {
            body[k] = (uint8_t)(k * 7 + i);
        }
        put_frame(&n, fd, body, sizes[i]);
        size_t back_n = 0;
        uint8_t *back = get_frame(&n, fd, &back_n);
        assert_non_null(back);
        assert_int_equal(back_n, sizes[i]);
        assert_memory_equal(back, body, back_n);
        free(back);
    }
    free(body);
    (void)close(fd);
    node_close(&n);
}

static void bad_frame_closes_only_its_stream(void **state)
{
    (void)state;
    static const struct {
        uint8_t head[4];
        const char *reason;
    } all[] = {
        {{0x00, 0x10, 0x00, 0x01}, "frame_too_long"},
        {{0xff, 0xff, 0xff, 0xff}, "frame_too_long"},
        {{0, 0, 0, 0}, "frame_empty"},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct node n;
        node_options(&n, 3);
        n.echo = true;
        node_open(&n);
        int good = greeted(&n);
        int bad = greeted(&n);
        put_frame(&n, bad, "x", 1);
        put(&n, bad, all[i].head, sizeof all[i].head);
        expect_end(&n, bad); /* what came before is answered first */
        WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_CLOSED] == 1);
        assert_non_null(strstr(n.log, all[i].reason));
        struct transport_stats s;
        transport_stats(n.t, &s);
        assert_int_equal(s.refused_size, 1);
        put_frame(&n, good, "y", 1);
        size_t size = 0;
        uint8_t *back = get_frame(&n, good, &size);
        assert_non_null(back);
        free(back);
        (void)close(good);
        (void)close(bad);
        node_close(&n);
    }
}

static void torn_frames(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.echo = true;
    node_open(&n);
    int fd = tcp_connect(transport_client_port(n.t));
    struct hello hello = {.version = PROTOCOL_VERSION, .cluster = CLUSTER};
    uint8_t wire[4096];
    size_t wire_n = 0;
    uint8_t body[HELLO_BODY_MAX];
    size_t body_n = hello_encode_request(&hello, body);
    frame_head(wire, body_n);
    memcpy(wire + 4, body, body_n);
    wire_n = 4 + body_n;
    for (size_t i = 1; i <= 20; i++) {
        frame_head(wire + wire_n, i);
        memset(wire + wire_n + 4, (int)i, i);
        wire_n += 4 + i;
    }
    for (size_t i = 0; i < wire_n; i++) {
        put(&n, fd, wire + i, 1);
        turn(&n, 0);
    }
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, fd, &h, &f));
    for (size_t i = 1; i <= 20; i++) {
        size_t size = 0;
        uint8_t *back = get_frame(&n, fd, &size);
        assert_non_null(back);
        assert_int_equal(size, i);
        assert_int_equal(back[size - 1], i);
        free(back);
    }
    (void)close(fd);
    node_close(&n);
}

static void pipelined_frames_stay_in_order(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.echo = true;
    node_open(&n);
    int fd = greeted(&n);
    enum {
        COUNT = 20000
    };
    static uint8_t wire[COUNT * 12];
    for (uint32_t i = 0; i < COUNT; i++) {
        frame_head(wire + (size_t)i * 12, 8);
        memset(wire + (size_t)i * 12 + 4, 0, 8);
        memcpy(wire + (size_t)i * 12 + 4, &i, sizeof i);
    }
    put(&n, fd, wire, sizeof wire);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t back[12];
        assert_true(get(&n, fd, back, sizeof back));
        assert_memory_equal(back, wire + (size_t)i * 12, sizeof back);
    }
    assert_int_equal(n.echo_refused, 0);
    (void)close(fd);
    node_close(&n);
}

/* --- bounds --------------------------------------------------------------------------------------------------------- */

/* Who doesn't read fills its own queue, is refused, and hears of room later. Others go on. */
static void stopped_reader(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.o.client_queue_bytes = 256u << 10;
    node_open(&n);
    int slow = greeted(&n);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 1);
    uint64_t slow_conn = n.conn;
    static uint8_t body[10000];
    uint64_t sent = 0;
    n.echo = true;
    int good = greeted(&n);
    size_t size = 0;
    /* Until the kernel takes no more either: several times round another client, it had nothing to say about room. */
    for (int quiet = 0; quiet < 5; quiet++) {
        while (
            transport_send(n.t, slow_conn, (struct bytes){body, sizeof body})) {
            sent++;
            quiet = 0;
            turn(&n, 0);
            assert_true(sent < 100000);
        }
        put_frame(&n, good, "hello", 5);
        uint8_t *echoed = get_frame(&n, good, &size);
        assert_non_null(echoed);
        free(echoed);
    }
    assert_true(transport_room(n.t, slow_conn) < sizeof body + 4);
    struct transport_stats s;
    transport_stats(n.t, &s);
    assert_true(s.queue_full >= 5);
    assert_true(s.queued_bytes <= n.o.client_queue_bytes + 100);
    assert_true(s.queued_bytes >= n.o.client_queue_bytes / 2);
    n.n[TRANSPORT_CLIENT_ROOM] = 0;
    uint8_t *back = NULL;
    for (uint64_t i = 0; i < sent; i++) {
        back = get_frame(&n, slow, &size);
        assert_non_null(back);
        assert_int_equal(size, sizeof body);
        free(back);
    }
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_ROOM] == 1);
    assert_true(transport_room(n.t, slow_conn) >= n.o.client_queue_bytes / 2);
    (void)close(slow);
    (void)close(good);
    node_close(&n);
}

/* Whoever sends a lot doesn't keep the others waiting: 64 frames, then it's the next one's turn. */
static void streams_take_turns(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    int busy = greeted(&n);
    int other = greeted(&n);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 2);
    transport_clients_pause(n.t, true);
    struct transport_stats s;
    transport_stats(n.t, &s);
    uint64_t before = s.bytes_in;
    static uint8_t wire[4000];
    for (size_t i = 0; i + 5 <= sizeof wire; i += 5) {
        frame_head(wire + i, 1);
    }
    put(&n, busy, wire, sizeof wire);
    WAIT_FOR(&n,
             (transport_stats(n.t, &s), s.bytes_in == before + sizeof wire));
    /* In one piece: while clients are paused, each is read once. */
    put(&n, other, "\0\0\0\2ab", 6);
    WAIT_FOR(
        &n, (transport_stats(n.t, &s), s.bytes_in == before + sizeof wire + 6));
    assert_int_equal(n.n[TRANSPORT_CLIENT_FRAME], 0);
    transport_clients_pause(n.t, false);
    struct transport_input in;
    uint32_t waited = 0;
    while (transport_next(n.t, &in) && in.body.n != 2) {
        waited += in.type == TRANSPORT_CLIENT_FRAME;
    }
    assert_int_equal(in.body.n, 2);
    assert_int_equal(waited, 64);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_FRAME] == sizeof wire / 5 - 64);
    (void)close(busy);
    (void)close(other);
    node_close(&n);
}

static void too_many_are_told(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.o.connections_max = 2;
    node_open(&n);
    int a = greeted(&n);
    int b = greeted(&n);
    int c = tcp_connect(transport_client_port(n.t));
    put_client_hello(&n, c);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(&n, c, &h, &f));
    assert_int_equal(f.status, BATON_LIMIT);
    expect_end(&n, c);
    struct transport_stats s;
    transport_stats(n.t, &s);
    assert_int_equal(s.refused_limit, 1);
    assert_int_equal(s.clients, 2);
    (void)close(a);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_CLOSED] == 1);
    turn(&n, 0);
    int d = greeted(&n);
    (void)close(b);
    (void)close(c);
    (void)close(d);
    node_close(&n);
}

/* --- closing -------------------------------------------------------------------------------------------------------- */

static uint32_t rest(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void abrupt_disconnects_under_load(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    n.echo = true;
    node_open(&n);
    uint32_t seed = 42;
    int steady = greeted(&n);
    static uint8_t body[8192];
    for (int i = 0; i < 200; i++) {
        int fd = tcp_connect(transport_client_port(n.t));
        if (rest(&seed) % 4 != 0) {
            put_client_hello(&n, fd);
        }
        uint32_t frames = rest(&seed) % 8;
        for (uint32_t k = 0; k < frames; k++) {
            uint8_t head[4];
            size_t size = 1 + rest(&seed) % sizeof body;
            frame_head(head, size);
            (void)send(fd, head, sizeof head, MSG_NOSIGNAL);
            /* Some of it, mostly. */
            (void)send(fd, body, size - rest(&seed) % 2, MSG_NOSIGNAL);
            if (rest(&seed) % 3 == 0) {
                turn(&n, 0);
            }
        }
        if (rest(&seed) % 2 == 0) {
            struct linger reset = {.l_onoff = 1, .l_linger = 0};
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        (void)close(fd);
        put_frame(&n, steady, &seed, sizeof seed);
        size_t size = 0;
        uint8_t *back = get_frame(&n, steady, &size);
        assert_non_null(back);
        assert_memory_equal(back, &seed, sizeof seed);
        free(back);
    }
    struct transport_stats s;
    WAIT_FOR(&n, (transport_stats(n.t, &s), s.clients == 1));
    assert_int_equal(n.n[TRANSPORT_CLIENT_OPEN],
                     n.n[TRANSPORT_CLIENT_CLOSED] + 1);
    (void)close(steady);
    node_close(&n);
}

/* --- the rest ------------------------------------------------------------------------------------------------------- */

static void pause_stops_clients_only(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    char dir[] = "/tmp/baton-pause-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    (void)snprintf(path, sizeof path, "%s/admin.sock", dir);
    n.o.admin_path = path;
    n.echo = true;
    node_open(&n);
    int fd = greeted(&n);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_OPEN] == 1);
    transport_clients_pause(n.t, true);
    put_frame(&n, fd, "one", 3);
    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    struct link *admin = link_open(
        loop, &(struct link_options){.address = n.o.admin_path, .admin = true});
    assert_int_equal(next_event(&n, loop).type, LINK_UP);
    assert_true(link_send(admin, (struct bytes){(const uint8_t *)"ask", 3}));
    assert_int_equal(next_event(&n, loop).type, LINK_FRAME);
    assert_int_equal(n.n[TRANSPORT_CLIENT_FRAME], 0);
    transport_clients_pause(n.t, false);
    WAIT_FOR(&n, n.n[TRANSPORT_CLIENT_FRAME] == 1);
    link_loop_close(loop);
    (void)close(fd);
    node_close(&n);
    assert_int_equal(rmdir(dir), 0); /* the socket went with it */
}

static void admin_socket(void **state)
{
    (void)state;
    char dir[] = "/tmp/baton-admin-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    (void)snprintf(path, sizeof path, "%s/admin.sock", dir);
    struct node n;
    node_options(&n, 3);
    n.o.admin_path = path;
    n.echo = true;
    node_open(&n);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);

    struct link_loop *loop = loop_open(&(struct link_loop_options){0});
    struct link *l =
        link_open(loop, &(struct link_options){.address = path, .admin = true});
    assert_int_equal(next_event(&n, loop).type, LINK_UP);
    assert_true(link_send(l, (struct bytes){(const uint8_t *)"status?", 7}));
    struct link_event e = next_event(&n, loop);
    assert_int_equal(e.type, LINK_FRAME);
    assert_int_equal(e.body.n, 7);
    assert_int_equal(n.n[TRANSPORT_ADMIN_FRAME], 1);

    /* Somebody listens there already. */
    struct transport_options o = n.o;
    char error[256] = "";
    o.log = NULL;
    assert_null(transport_open(&o, error, sizeof error));
    assert_non_null(strstr(error, path));
    assert_int_equal(stat(path, &st), 0);
    link_loop_close(loop);
    node_close(&n);

    /* What a killed process left is taken over; what isn't a socket is left alone. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    (void)snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    (void)unlink(path);
    assert_int_equal(bind(fd, (void *)&sa, sizeof sa), 0);
    (void)close(fd);
    node_open(&n);
    node_close(&n);
    (void)unlink(path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_null(transport_open(&o, error, sizeof error));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    (void)unlink(path);
    (void)rmdir(dir);
}

static void open_says_what_is_wrong(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    char used[32];
    (void)snprintf(used, sizeof used, "127.0.0.1:%u",
                   transport_client_port(n.t));
    const struct {
        const char *address;
        const char *says;
    } all[] = {
        {used, "in use"},
        {"nowhere", "HOST:PORT"},
        {"127.0.0.1:99999", "HOST:PORT"},
        {"127.0.0.1:12x", "HOST:PORT"},
        {"127.0.0.1/x:12", "HOST:PORT"},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct transport_options o = n.o;
        char error[256] = "";
        o.log = NULL;
        o.client_listen = all[i].address;
        assert_null(transport_open(&o, error, sizeof error));
        assert_non_null(strstr(error, all[i].address));
        if (strstr(error, all[i].says) == NULL) {
            fail_msg("%s: %s", all[i].address, error);
        }
    }
    node_close(&n);
}

static void wake_is_an_input(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 3);
    node_open(&n);
    transport_wake(n.t);
    transport_wake(n.t);
    transport_wait(n.t, -1);
    struct transport_input in;
    assert_true(transport_next(n.t, &in));
    assert_int_equal(in.type, TRANSPORT_WAKE);
    assert_false(transport_next(n.t, &in));
    transport_wake(n.t);
    transport_wait(n.t, -1);
    assert_true(transport_next(n.t, &in));
    node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_is_answered),
        cmocka_unit_test(hello_is_refused),
        cmocka_unit_test(first_frame_must_be_hello),
        cmocka_unit_test(silent_client_is_closed),
        cmocka_unit_test(stranger_may_send_little),
        cmocka_unit_test(frames_of_all_sizes),
        cmocka_unit_test(bad_frame_closes_only_its_stream),
        cmocka_unit_test(torn_frames),
        cmocka_unit_test(pipelined_frames_stay_in_order),
        cmocka_unit_test(stopped_reader),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(too_many_are_told),
        cmocka_unit_test(abrupt_disconnects_under_load),
        cmocka_unit_test(pause_stops_clients_only),
        cmocka_unit_test(admin_socket),
        cmocka_unit_test(open_says_what_is_wrong),
        cmocka_unit_test(wake_is_an_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

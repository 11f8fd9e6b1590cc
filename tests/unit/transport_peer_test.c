#include "tests/unit/transport_harness.h"

/* --- two nodes ------------------------------------------------------------------------------------------------------ */

static struct transport_peer peer_at(uint32_t node, uint16_t port)
{
    struct transport_peer p = {.node = node};
    (void)snprintf(p.address, sizeof p.address, "127.0.0.1:%u", port);
    return p;
}

static void know(struct node *n, const struct node *other)
{
    struct transport_peer p =
        peer_at(other->o.node, transport_peer_port(other->t));
    transport_set_peers(n->t, &p, 1);
}

static void two_nodes(struct node *a, struct node *b)
{
    node_options(a, 1);
    node_options(b, 2);
    a->also = b;
    node_open(a);
    node_open(b);
    know(a, b);
    know(b, a);
}

static bool say(struct node *n, uint32_t to, const char *text)
{
    bool sent = transport_peer_send(
        n->t, to, (struct bytes){(const uint8_t *)text, strlen(text)});
    transport_flush(n->t);
    return sent;
}

static void peers_find_each_other(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    two_nodes(&a, &b);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 && b.n[TRANSPORT_PEER_UP] == 1 &&
                     a.n[TRANSPORT_PEER_HELLO] == 1 &&
                     b.n[TRANSPORT_PEER_HELLO] == 1);
    assert_int_equal(a.peer, 2);
    assert_int_equal(a.incarnation, 102);
    assert_int_equal(a.boot, 7);
    assert_int_equal(b.peer, 1);
    assert_true(say(&a, 2, "append"));
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == 1);
    assert_int_equal(b.body_n, 6);
    assert_memory_equal(b.body, "append", 6);
    assert_false(say(&a, 3, "nobody"));
    assert_false(say(&a, 1, "ourselves"));
    struct transport_stats s;
    transport_stats(a.t, &s);
    assert_int_equal(s.peers_connected, 1);
    node_close(&a);
    WAIT_FOR(&b, b.n[TRANSPORT_PEER_DOWN] == 1);
    assert_false(say(&b, 1, "gone"));
    node_close(&b);
}

static void largest_frame(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    two_nodes(&a, &b);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1);
    uint8_t *body = malloc(FRAME_PEER_BYTES_MAX);
    assert_non_null(body);
    for (size_t i = 0; i < FRAME_PEER_BYTES_MAX; i++) {
        body[i] = (uint8_t)(i * 31 >> 5);
    }
    struct bytes whole = {body, FRAME_PEER_BYTES_MAX};
    assert_true(transport_peer_send(a.t, 2, whole));
    assert_true(transport_peer_send(a.t, 2, (struct bytes){body, 1}));
    transport_flush(a.t);
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] >= 1);
    if (b.n[TRANSPORT_PEER_FRAME] == 1) {
        assert_int_equal(b.body_n, whole.n);
        assert_memory_equal(b.body, body, whole.n);
    }
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == 2);
    assert_int_equal(b.body_sum, whole.n + 1);
    free(body);
    node_close(&a);
    node_close(&b);
}

/* --- redials -------------------------------------------------------------------------------------------------------- */

static void peer_comes_later_and_again(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_options(&a, 1);
    node_options(&b, 2);
    a.also = &b;
    /* A port that's free: b will have it. */
    node_open(&b);
    uint16_t port = transport_peer_port(b.t);
    node_close(&b);
    char listen[32];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u", port);
    b.o.peer_listen = listen;

    node_open(&a);
    struct transport_peer p = peer_at(2, port);
    transport_set_peers(a.t, &p, 1);
    struct transport_stats s;
    WAIT_FOR(&a, (transport_stats(a.t, &s), s.peer_dials >= 3));
    assert_int_equal(a.n[TRANSPORT_PEER_UP], 0);
    assert_non_null(strstr(a.log, "peer_unreachable node=2"));
    for (uint64_t i = 1; i <= 3; i++) {
        b.o.boot = 10 + i;
        node_open(&b);
        WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == i);
        assert_int_equal(a.boot, 10 + i);
        assert_true(say(&a, 2, "again"));
        WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == i);
        node_close(&b);
        WAIT_FOR(&a, a.n[TRANSPORT_PEER_DOWN] == i);
        assert_false(say(&a, 2, "gone"));
    }
    node_close(&a);
}

/* Whoever comes back says so to those who had given up dialling. */
static void hello_hurries_the_redial(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    two_nodes(&a, &b);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 && b.n[TRANSPORT_PEER_UP] == 1);
    char listen[32];
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%u",
                   transport_peer_port(b.t));
    node_close(&b);
    struct transport_stats s;
    transport_stats(a.t, &s);
    uint64_t dials = s.peer_dials;
    WAIT_FOR(&a, (transport_stats(a.t, &s), s.peer_dials >= dials + 8));
    b.o.peer_listen = listen;
    node_open(&b);
    know(&b, &a);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 2 && b.n[TRANSPORT_PEER_UP] == 2);
    node_close(&a);
    node_close(&b);
}

static void set_peers_drops_and_moves(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    struct node c;
    node_options(&a, 1);
    node_options(&b, 2);
    node_options(&c, 2); /* node 2 again, elsewhere */
    a.also = &b;
    b.also = &c;
    node_open(&a);
    node_open(&b);
    node_open(&c);
    know(&a, &b);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1);
    know(&a, &b); /* the same: nothing happens */
    know(&a, &c);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 2);
    assert_int_equal(a.n[TRANSPORT_PEER_DOWN], 1);
    assert_true(say(&a, 2, "moved"));
    WAIT_FOR(&a, c.n[TRANSPORT_PEER_FRAME] == 1);
    assert_int_equal(b.n[TRANSPORT_PEER_FRAME], 0);
    transport_set_peers(a.t, NULL, 0);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_DOWN] == 2);
    assert_false(say(&a, 2, "dropped"));
    node_close(&a);
    node_close(&b);
    node_close(&c);
}

/* --- bounds --------------------------------------------------------------------------------------------------------- */

/* A peer that doesn't read: what's for it piles up to the bound and no further, and the loop goes on with the others. */
static void stopped_peer(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    struct node c;
    node_options(&a, 1);
    node_options(&b, 2);
    node_options(&c, 3);
    a.o.peer_queue_bytes = 1u << 20;
    a.also = &b;
    b.also = &c;
    node_open(&a);
    node_open(&b);
    node_open(&c);
    struct transport_peer peers[] = {peer_at(2, transport_peer_port(b.t)),
                                     peer_at(3, transport_peer_port(c.t))};
    transport_set_peers(a.t, peers, 2);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 2 && b.n[TRANSPORT_PEER_HELLO] == 1);
    a.also = &c; /* b is stopped */
    static uint8_t body[50000];
    uint64_t sent = 0;
    for (int quiet = 0; quiet < 5; quiet++) {
        while (transport_peer_send(a.t, 2, (struct bytes){body, sizeof body})) {
            transport_flush(a.t);
            sent++;
            quiet = 0;
            turn(&a, 0);
            assert_true(sent < 10000);
        }
        uint64_t heard = c.n[TRANSPORT_PEER_FRAME];
        assert_true(say(&a, 3, "others"));
        WAIT_FOR(&a, c.n[TRANSPORT_PEER_FRAME] == heard + 1);
    }
    struct transport_stats s;
    transport_stats(a.t, &s);
    assert_true(s.queued_bytes <= a.o.peer_queue_bytes);
    assert_true(s.queued_bytes + sizeof body + 4 > a.o.peer_queue_bytes);
    a.also = &b;
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == sent);
    WAIT_FOR(&a, (transport_stats(a.t, &s), s.queued_bytes == 0));
    node_close(&a);
    node_close(&b);
    node_close(&c);
}

/* One that takes nothing at all is closed after a while, and what was for it freed; it's dialled anew. A client likewise. */
static void stalled_streams_are_given_up(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_options(&a, 1);
    node_options(&b, 2);
    a.o.stall_ms = 100;
    a.o.client_queue_bytes = 64u << 20;
    a.also = &b;
    node_open(&a);
    node_open(&b);
    know(&a, &b);
    int client = greeted(&a);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 &&
                     b.n[TRANSPORT_PEER_HELLO] == 1 &&
                     a.n[TRANSPORT_CLIENT_OPEN] == 1);
    a.also = NULL; /* b is stopped */
    static uint8_t body[1000000];
    for (int i = 0; i < 40; i++) {
        struct bytes whole = {body, sizeof body};
        assert_true(transport_peer_send(a.t, 2, whole));
        assert_true(transport_send(a.t, a.conn, whole));
    }
    struct transport_stats s;
    transport_stats(a.t, &s);
    assert_true(s.queued_bytes >= 80000000);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_DOWN] == 1 &&
                     a.n[TRANSPORT_CLIENT_CLOSED] == 1);
    assert_non_null(strstr(a.log, "what=write"));
    WAIT_FOR(&a, (transport_stats(a.t, &s), s.queued_bytes < 1000));
    a.also = &b;
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 2);
    (void)close(client);
    node_close(&a);
    node_close(&b);
}

/* --- who is let in ---------------------------------------------------------------------------------------------------- */

static void with_secret(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_options(&a, 1);
    node_options(&b, 2);
    a.o.secret = "between us";
    a.o.secret_bytes = 10;
    b.o.secret = "between us";
    b.o.secret_bytes = 10;
    a.also = &b;
    node_open(&a);
    node_open(&b);
    know(&a, &b);
    know(&b, &a);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 && b.n[TRANSPORT_PEER_UP] == 1 &&
                     a.n[TRANSPORT_PEER_HELLO] == 1 &&
                     b.n[TRANSPORT_PEER_HELLO] == 1);
    assert_true(say(&a, 2, "secretly"));
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == 1);
    node_close(&a);
    node_close(&b);
}

static void wrong_secrets(void **state)
{
    (void)state;
    static const char *const secrets[][2] = {
        {"right", "wrong"}, {"right", NULL}, {NULL, "right"}};
    for (size_t i = 0; i < countof(secrets); i++) {
        struct node a;
        struct node b;
        node_options(&a, 1);
        node_options(&b, 2);
        a.o.secret = secrets[i][0];
        a.o.secret_bytes = secrets[i][0] == NULL ? 0 : 5;
        b.o.secret = secrets[i][1];
        b.o.secret_bytes = secrets[i][1] == NULL ? 0 : 5;
        a.also = &b;
        node_open(&a);
        node_open(&b);
        know(&a, &b);
        struct transport_stats sa;
        WAIT_FOR(&a, (transport_stats(a.t, &sa), sa.refused_proof >= 2));
        assert_int_equal(a.n[TRANSPORT_PEER_UP], 0);
        assert_int_equal(b.n[TRANSPORT_PEER_FRAME], 0);
        node_close(&a);
        node_close(&b);
    }
}

/* A raw peer's Hello. */
static void put_peer_hello(struct node *n, int fd, const struct hello *h)
{
    uint8_t body[HELLO_BODY_MAX];
    struct hello_frame f = {0};
    put_frame(n, fd, body, hello_encode_peer(h, &f, body));
}

static bool get_peer_hello(struct node *n, int fd, struct hello *h,
                           struct hello_frame *f)
{
    static uint8_t memory[HELLO_ARENA_BYTES];
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    size_t size = 0;
    uint8_t *body = get_frame(n, fd, &size);
    if (body == NULL) {
        return false;
    }
    enum hello_result r =
        hello_decode_peer((struct bytes){body, size}, &a, h, f);
    free(body);
    assert_int_equal(r, HELLO_OK);
    return true;
}

static void peer_hello_is_refused(void **state)
{
    (void)state;
    const struct {
        struct hello hello;
        const char *reason;
    } all[] = {
        {{.version = 9, .cluster = CLUSTER, .node = 2}, "version theirs=9"},
        {{.version = PROTOCOL_VERSION, .cluster = 5, .node = 2}, "cluster"},
        {{.version = PROTOCOL_VERSION, .cluster = CLUSTER}, "node_missing"},
        {{.version = PROTOCOL_VERSION, .cluster = CLUSTER, .node = 1},
         "node_is_ours"},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct node n;
        node_options(&n, 1);
        node_open(&n);
        int fd = tcp_connect(transport_peer_port(n.t));
        put_peer_hello(&n, fd, &all[i].hello);
        struct hello h;
        struct hello_frame f;
        assert_true(get_peer_hello(&n, fd, &h, &f));
        assert_int_equal(h.version, PROTOCOL_VERSION);
        assert_int_equal(f.status, BATON_NOT_ALLOWED);
        assert_true(f.why[0] != 0);
        (void)close(fd);
        assert_int_equal(n.n[TRANSPORT_PEER_HELLO], 0);
        assert_non_null(strstr(n.log, all[i].reason));
        node_close(&n);
    }
}

/* A proof that was seen once is worth nothing on another stream, nor is the acceptor's own sent back to it. */
static void proofs_cannot_be_replayed(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 1);
    n.o.secret = "s";
    n.o.secret_bytes = 1;
    node_open(&n);
    struct bytes secret = {(const uint8_t *)"s", 1};
    struct hello mine = {
        .version = PROTOCOL_VERSION, .cluster = CLUSTER, .node = 2};
    struct hello theirs;
    struct hello_frame f;

    int fd = tcp_connect(transport_peer_port(n.t));
    put_peer_hello(&n, fd, &mine);
    assert_true(get_peer_hello(&n, fd, &theirs, &f));
    assert_true(hello_is_proven(&theirs, HELLO_ACCEPTS, mine.nonce, secret));
    struct hello proven = mine;
    hello_prove(&proven, HELLO_DIALS, theirs.nonce, secret);
    put_peer_hello(&n, fd, &proven);
    WAIT_FOR(&n, n.n[TRANSPORT_PEER_HELLO] == 1);

    struct transport_stats s;
    const struct {
        bool replay; /* the proof of before */
        bool mirror; /* its own */
        uint32_t node;
    } all[] = {{.replay = true, .node = 2},
               {.mirror = true, .node = 2},
               {.node = 3}, /* proven for another node than was said first */
               {.replay = true, .node = 3}};
    for (size_t i = 0; i < countof(all); i++) {
        int other = tcp_connect(transport_peer_port(n.t));
        put_peer_hello(&n, other, &mine);
        struct hello again;
        assert_true(get_peer_hello(&n, other, &again, &f));
        assert_memory_not_equal(again.nonce, theirs.nonce, sizeof again.nonce);
        struct hello forged = mine;
        forged.node = all[i].node;
        hello_prove(&forged, HELLO_DIALS, again.nonce, secret);
        if (all[i].replay) {
            memcpy(forged.proof, proven.proof, sizeof forged.proof);
        }
        if (all[i].mirror) {
            memcpy(forged.proof, again.proof, sizeof forged.proof);
        }
        put_peer_hello(&n, other, &forged);
        WAIT_FOR(&n, (transport_stats(n.t, &s), s.refused_proof == i + 1));
        (void)close(other);
    }
    assert_int_equal(n.n[TRANSPORT_PEER_HELLO], 1);
    (void)close(fd);
    node_close(&n);
}

/* Another node answers at the address: it isn't taken for the one that was meant. */
static void another_node_answers(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    node_options(&a, 1);
    node_options(&b, 4);
    a.also = &b;
    node_open(&a);
    node_open(&b);
    struct transport_peer p = peer_at(2, transport_peer_port(b.t));
    transport_set_peers(a.t, &p, 1);
    WAIT_FOR(&a, strstr(a.log, "node_is_another") != NULL);
    assert_int_equal(a.n[TRANSPORT_PEER_UP], 0);
    node_close(&a);
    node_close(&b);
}

static void node_sends_a_peer_away(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    two_nodes(&a, &b);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 && b.n[TRANSPORT_PEER_UP] == 1 &&
                     b.n[TRANSPORT_PEER_HELLO] == 1);
    transport_peer_refuse(b.t, 1, "it isn't who it was");
    assert_false(say(&b, 1, "x"));
    WAIT_FOR(&a,
             a.n[TRANSPORT_PEER_DOWN] == 1 && b.n[TRANSPORT_PEER_DOWN] == 1);
    assert_non_null(strstr(a.log, "peer_refused_us node=2"));
    assert_non_null(strstr(a.log, "it isn't who it was"));
    node_close(&a);
    node_close(&b);
}

/* A peer that dials anew, while its old stream looks alive: the new one counts. */
static void newer_stream_replaces_the_older(void **state)
{
    (void)state;
    struct node n;
    node_options(&n, 1);
    node_open(&n);
    struct hello h = {
        .version = PROTOCOL_VERSION, .cluster = CLUSTER, .node = 2, .boot = 1};
    struct hello theirs;
    struct hello_frame f;
    int old = tcp_connect(transport_peer_port(n.t));
    put_peer_hello(&n, old, &h);
    assert_true(get_peer_hello(&n, old, &theirs, &f));
    WAIT_FOR(&n, n.n[TRANSPORT_PEER_HELLO] == 1);
    h.boot = 2;
    int new = tcp_connect(transport_peer_port(n.t));
    put_peer_hello(&n, new, &h);
    WAIT_FOR(&n, n.n[TRANSPORT_PEER_HELLO] == 2);
    assert_int_equal(n.boot, 2);
    expect_end(&n, old);
    put_frame(&n, new, "x", 1);
    WAIT_FOR(&n, n.n[TRANSPORT_PEER_FRAME] == 1);
    (void)close(old);
    (void)close(new);
    node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_find_each_other),
        cmocka_unit_test(largest_frame),
        cmocka_unit_test(peer_comes_later_and_again),
        cmocka_unit_test(hello_hurries_the_redial),
        cmocka_unit_test(set_peers_drops_and_moves),
        cmocka_unit_test(stopped_peer),
        cmocka_unit_test(stalled_streams_are_given_up),
        cmocka_unit_test(with_secret),
        cmocka_unit_test(wrong_secrets),
        cmocka_unit_test(peer_hello_is_refused),
        cmocka_unit_test(proofs_cannot_be_replayed),
        cmocka_unit_test(another_node_answers),
        cmocka_unit_test(node_sends_a_peer_away),
        cmocka_unit_test(newer_stream_replaces_the_older),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

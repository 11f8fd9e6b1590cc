#include "tests/unit/transport_harness.h"

/* Certificates are made anew with openssl: two authorities, a node's certificate of each. */
static char dir[64];

static const char *in_dir(const char *name)
{
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % countof(paths)];
    (void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static int make_certificates(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/baton-tls-XXXXXX");
    assert_non_null(mkdtemp(dir));
    static const char *const script =
        "set -e; cd %s; for ca in good other; do "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout $ca-ca.key -out $ca-ca.pem -days 2 -subj /CN=$ca-ca; "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout $ca.key -out $ca.csr -subj /CN=$ca; "
        "openssl x509 -req -in $ca.csr -CA $ca-ca.pem -CAkey $ca-ca.key "
        "-CAcreateserial -days 2 -out $ca.crt; "
        "cat $ca.crt $ca.key >$ca.pem; done";
    char command[1024];
    (void)snprintf(command, sizeof command, script, dir);
    char quiet[1200];
    (void)snprintf(quiet, sizeof quiet, "(%s) >%s/log 2>&1", command, dir);
    return system(quiet); /* NOLINT: our own text */
}

static int remove_certificates(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command); /* NOLINT */
}

static void with_tls(struct node *n, uint32_t id, const char *name)
{
    static char ca[4][128];
    static char pem[4][128];
    static size_t next;
    size_t i = next++ % countof(ca);
    (void)snprintf(ca[i], sizeof ca[i], "%s/%s-ca.pem", dir, name);
    (void)snprintf(pem[i], sizeof pem[i], "%s/%s.pem", dir, name);
    node_options(n, id);
    n->o.tls_ca_file = ca[i];
    n->o.tls_cert_key_file = pem[i];
}

static void know(struct node *n, const struct node *other)
{
    struct transport_peer p = {.node = other->o.node};
    (void)snprintf(p.address, sizeof p.address, "127.0.0.1:%u",
                   transport_peer_port(other->t));
    transport_set_peers(n->t, &p, 1);
}

static void peers_and_clients_of_one_authority(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    with_tls(&a, 1, "good");
    with_tls(&b, 2, "good");
    a.echo = true;
    a.also = &b;
    node_open(&a);
    node_open(&b);
    know(&a, &b);
    know(&b, &a);
    WAIT_FOR(&a, a.n[TRANSPORT_PEER_UP] == 1 && b.n[TRANSPORT_PEER_UP] == 1);
    static uint8_t body[3000000];
    memset(body, 7, sizeof body);
    assert_true(transport_peer_send(a.t, 2, (struct bytes){body, sizeof body}));
    assert_true(transport_peer_send(a.t, 2, (struct bytes){body, 10}));
    WAIT_FOR(&a, b.n[TRANSPORT_PEER_FRAME] == 2);
    assert_int_equal(b.body_sum, sizeof body + 10);

    struct link_loop *loop = loop_open(&(struct link_loop_options){
        .tls_ca_file = in_dir("good-ca.pem"),
        .tls_cert_key_file = in_dir("good.pem"),
    });
    struct link *l = link_open(
        loop,
        &(struct link_options){.address = local(transport_client_port(a.t))});
    assert_int_equal(next_event(&a, loop).type, LINK_UP);
    for (size_t i = 1; i <= 100; i++) {
        assert_true(link_send(l, (struct bytes){body, i * 100}));
    }
    for (size_t i = 1; i <= 100; i++) {
        struct link_event e = next_event(&a, loop);
        assert_int_equal(e.type, LINK_FRAME);
        assert_int_equal(e.body.n, i * 100);
    }
    link_loop_close(loop);
    node_close(&a);
    node_close(&b);
}

static void peer_of_another_authority(void **state)
{
    (void)state;
    struct node a;
    struct node b;
    with_tls(&a, 1, "good");
    with_tls(&b, 2, "other");
    a.also = &b;
    node_open(&a);
    node_open(&b);
    know(&a, &b);
    know(&b, &a);
    struct transport_stats sa;
    struct transport_stats sb;
    WAIT_FOR(&a, (transport_stats(a.t, &sa), transport_stats(b.t, &sb),
                  sa.peer_dials >= 3 && sb.peer_dials >= 3));
    assert_int_equal(a.n[TRANSPORT_PEER_UP] + b.n[TRANSPORT_PEER_UP], 0);
    assert_int_equal(a.n[TRANSPORT_PEER_HELLO] + b.n[TRANSPORT_PEER_HELLO], 0);
    node_close(&a);
    node_close(&b);
}

static void clients_without_a_certificate(void **state)
{
    (void)state;
    struct node n;
    with_tls(&n, 1, "good");
    n.o.hello_ms = 500;
    node_open(&n);
    /* In plain text, and silent. */
    int fd = tcp_connect(transport_client_port(n.t));
    int silent = tcp_connect(transport_client_port(n.t));
    put_client_hello(&n, fd);
    expect_end(&n, fd);
    const struct link_loop_options all[] = {
        {.hello_ms = 2000}, /* no TLS at all */
        {.tls_ca_file = in_dir("other-ca.pem"),
         .tls_cert_key_file = in_dir("other.pem"),
         .hello_ms = 2000},
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct link_loop *loop = loop_open(&all[i]);
        struct link *l =
            link_open(loop, &(struct link_options){
                                .address = local(transport_client_port(n.t))});
        assert_int_equal(next_event(&n, loop).type, LINK_DOWN);
        assert_int_equal(link_status(l), BATON_UNAVAILABLE);
        link_loop_close(loop);
    }
    assert_int_equal(n.n[TRANSPORT_CLIENT_OPEN], 0);
    expect_end(&n, silent);
    (void)close(fd);
    (void)close(silent);
    node_close(&n);
}

/* Links that are closed while they dial, shake hands or greet. */
static void closing_at_every_stage(void **state)
{
    (void)state;
    struct node n;
    with_tls(&n, 1, "good");
    node_open(&n);
    struct link_loop *loop = loop_open(&(struct link_loop_options){
        .tls_ca_file = in_dir("good-ca.pem"),
        .tls_cert_key_file = in_dir("good.pem"),
    });
    for (int i = 0; i < 100; i++) {
        struct link *l =
            link_open(loop, &(struct link_options){
                                .address = local(transport_client_port(n.t))});
        for (int turns = 0; turns < i % 7; turns++) {
            struct link_event e;
            link_loop_wait(loop, 1);
            (void)link_loop_next(loop, &e);
            turn(&n, 0);
        }
        link_close(l);
    }
    link_loop_close(loop);
    struct transport_stats s;
    WAIT_FOR(&n, (transport_stats(n.t, &s), s.clients == 0));
    node_close(&n);
}

static void wrong_files_are_named(void **state)
{
    (void)state;
    const struct {
        const char *ca;
        const char *pem;
        const char *says;
    } all[] = {
        {"good-ca.pem", "missing.pem", "missing.pem"},
        {"missing.pem", "good.pem", "missing.pem"},
        {"good-ca.pem", "good.crt", "good.crt"}, /* no key in it */
        {"good.key", "good.pem", "good.key"},    /* no certificate in it */
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct node n;
        node_options(&n, 1);
        char ca[128];
        char pem[128];
        (void)snprintf(ca, sizeof ca, "%s/%s", dir, all[i].ca);
        (void)snprintf(pem, sizeof pem, "%s/%s", dir, all[i].pem);
        n.o.tls_ca_file = ca;
        n.o.tls_cert_key_file = pem;
        char error[256] = "";
        assert_null(transport_open(&n.o, error, sizeof error));
        if (strstr(error, all[i].says) == NULL) {
            fail_msg("%s", error);
        }
    }
    struct node n;
    node_options(&n, 1);
    n.o.tls_ca_file = in_dir("good-ca.pem");
    char error[256] = "";
    assert_null(transport_open(&n.o, error, sizeof error));
    assert_non_null(strstr(error, "both"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peers_and_clients_of_one_authority),
        cmocka_unit_test(peer_of_another_authority),
        cmocka_unit_test(clients_without_a_certificate),
        cmocka_unit_test(closing_at_every_stage),
        cmocka_unit_test(wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, make_certificates,
                                  remove_certificates);
}

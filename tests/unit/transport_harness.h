/* transport_harness.h - what the transport's tests share: nodes that note what came in, sockets that speak by hand, and one pump that
 * turns all of them until a condition holds. It fails after a deadline; nothing sleeps for luck. */
#ifndef TESTS_UNIT_TRANSPORT_HARNESS_H
#define TESTS_UNIT_TRANSPORT_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/codec.h"
#include "proto/frame.h"
#include "tests/unit/assert_stub.h"
#include "transport/dial.h"
#include "transport/hello.h"
#include "transport/transport.h"

#define CLUSTER     UINT64_C(0xC1)
#define DEADLINE_MS 30000

static inline uint64_t now_ms(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- nodes ---------------------------------------------------------------------------------------------------------- */

struct node {
    struct transport *t;
    struct transport_options o;
    uint64_t n[TRANSPORT_WAKE + 1]; /* inputs by type */
    uint64_t conn;                  /* of the last client or admin input */
    uint32_t peer;                  /* of the last peer input */
    uint64_t incarnation;
    uint64_t boot;
    uint8_t *body; /* of the last frame */
    size_t body_n;
    uint64_t body_sum; /* bytes of all frames */
    uint64_t echo_refused;
    bool echo;         /* every client and admin frame goes back */
    char log[65536];   /* all lines */
    struct node *also; /* turned together with this one */
};

static inline void node_log(void *arg, int level, const char *line)
{
    struct node *n = arg;
    size_t used = strlen(n->log);
    (void)snprintf(n->log + used, sizeof n->log - used, "%d %s\n", level, line);
}

static inline void node_options(struct node *n, uint32_t id)
{
    *n = (struct node){
        .o =
            {
                .node = id,
                .cluster = CLUSTER,
                .incarnation = 100 + id,
                .boot = 7,
                .peer_listen = "127.0.0.1:0",
                .client_listen = "127.0.0.1:0",
                .client_advertise = "clients.example:1",
                .http_advertise = "http.example:2",
                .connections_max = 1000,
                .peer_queue_bytes = 64u << 20,
                .client_queue_bytes = 1u << 20,
                .hello_ms = 20000,
                .log = node_log,
            },
    };
    n->o.log_arg = n;
}

static inline void node_open(struct node *n)
{
    char error[256] = "";
    n->o.log_arg = n;
    n->t = transport_open(&n->o, error, sizeof error);
    if (n->t == NULL) {
        fail_msg("%s", error);
    }
}

static inline void node_close(struct node *n)
{
    transport_close(n->t, 2000);
    free(n->body);
    n->body = NULL;
    n->t = NULL;
}

static inline void node_take(struct node *n, const struct transport_input *in)
{
    n->n[in->type]++;
    if (in->type <= TRANSPORT_PEER_FRAME) {
        n->peer = in->node;
        n->incarnation = in->incarnation;
        n->boot = in->boot;
    } else {
        n->conn = in->conn;
    }
    if (in->body.n > 0) {
        n->body = realloc(n->body, in->body.n);
        assert_non_null(n->body);
        memcpy(n->body, in->body.data, in->body.n);
        n->body_n = in->body.n;
        n->body_sum += in->body.n;
    }
    bool question =
        in->type == TRANSPORT_CLIENT_FRAME || in->type == TRANSPORT_ADMIN_FRAME;
    if (n->echo && question && !transport_send(n->t, in->conn, in->body)) {
        n->echo_refused++;
    }
}

/* One turn, of it and of who goes with it. */
static inline void turn(struct node *n, int wait_ms)
{
    for (; n != NULL; n = n->also) {
        if (n->t == NULL) {
            continue;
        }
        transport_wait(n->t, wait_ms);
        struct transport_input in;
        while (transport_next(n->t, &in)) {
            node_take(n, &in);
        }
        transport_flush(n->t);
    }
}

#define WAIT_FOR(node, cond)                                                   \
    do {                                                                       \
        uint64_t until_ = now_ms() + DEADLINE_MS;                              \
        while (!(cond)) {                                                      \
            if (now_ms() > until_) {                                           \
                fail_msg("not in time: %s", #cond);                            \
            }                                                                  \
            turn((node), 1);                                                   \
        }                                                                      \
    } while (0)

/* --- sockets by hand -------------------------------------------------------------------------------------------------- */

static inline int tcp_connect(uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (void *)&sa, sizeof sa), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* Sends all of it, while the node turns. */
static inline void put(struct node *n, int fd, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint64_t until = now_ms() + DEADLINE_MS;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        } else {
            assert_true(now_ms() < until);
            turn(n, 1);
        }
    }
}

static inline void put_frame(struct node *n, int fd, const void *body,
                             size_t size)
{
    uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16),
                       (uint8_t)(size >> 8), (uint8_t)size};
    put(n, fd, head, sizeof head);
    put(n, fd, body, size);
}

/* Reads exactly that many while the node turns; false: the end came first. */
static inline bool get(struct node *n, int fd, void *out, size_t size)
{
    uint8_t *at = out;
    uint64_t until = now_ms() + DEADLINE_MS;
    while (size > 0) {
        ssize_t got = recv(fd, at, size, 0);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        } else if (got == 0 || errno != EAGAIN) {
            return false;
        } else {
            if (now_ms() > until) {
                fail_msg("nothing to read in time");
            }
            turn(n, 1);
        }
    }
    return true;
}

/* A frame's body, malloc'd; NULL: the end came. */
static inline uint8_t *get_frame(struct node *n, int fd, size_t *out_n)
{
    uint8_t head[4];
    if (!get(n, fd, head, sizeof head)) {
        return NULL;
    }
    size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 |
                  (size_t)head[2] << 8 | head[3];
    assert_true(size > 0 && size <= FRAME_PEER_BYTES_MAX);
    uint8_t *body = malloc(size);
    assert_non_null(body);
    if (!get(n, fd, body, size)) {
        free(body);
        return NULL;
    }
    *out_n = size;
    return body;
}

/* Is the stream at its end? What comes before it is dropped. */
static inline void expect_end(struct node *n, int fd)
{
    uint8_t byte = 0;
    while (get(n, fd, &byte, 1)) {
    }
}

static inline void put_client_hello(struct node *n, int fd)
{
    struct hello h = {.version = PROTOCOL_VERSION, .cluster = CLUSTER};
    uint8_t body[HELLO_BODY_MAX];
    put_frame(n, fd, body, hello_encode_request(&h, body));
}

static inline bool get_message(struct node *n, int fd, struct hello *h,
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
        hello_decode_message((struct bytes){body, size}, &a, h, f);
    free(body);
    assert_int_equal(r, HELLO_OK);
    return true;
}

/* A raw client, greeted. */
static inline int greeted(struct node *n)
{
    int fd = tcp_connect(transport_client_port(n->t));
    put_client_hello(n, fd);
    struct hello h;
    struct hello_frame f;
    assert_true(get_message(n, fd, &h, &f));
    assert_int_equal(f.status, BATON_OK);
    return fd;
}

/* --- links ------------------------------------------------------------------------------------------------------------ */

static inline const char *local(uint16_t port)
{
    static char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    return address;
}

static inline struct link_loop *
loop_open(const struct link_loop_options *options)
{
    char error[256] = "";
    struct link_loop *loop = link_loop_open(options, error, sizeof error);
    if (loop == NULL) {
        fail_msg("%s", error);
    }
    return loop;
}

/* The next event, while the node turns. */
static inline struct link_event next_event(struct node *n,
                                           struct link_loop *loop)
{
    uint64_t until = now_ms() + DEADLINE_MS;
    struct link_event e;
    link_loop_flush(loop);
    while (!link_loop_next(loop, &e)) {
        if (now_ms() > until) {
            fail_msg("no event in time");
        }
        turn(n, 0);
        link_loop_wait(loop, 1);
    }
    return e;
}

#endif

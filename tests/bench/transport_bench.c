/* transport_bench.c - what a message costs: echo between two processes over the transport, as a client of a node.
 *
 *    transport_bench [BYTES [WINDOW [MESSAGES [CLIENTS]]]]      200 64 1000000 1
 *
 * A child serves; the parent keeps WINDOW messages in flight on each of CLIENTS links, and prints round trips a second, percentiles,
 * and the CPU time of each side for one. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/frame.h"
#include "transport/dial.h"
#include "transport/transport.h"

void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    (void)fprintf(stderr, "%s:%d: %s: ASSERT(%s)\n", file, line, function,
                  condition);
    abort();
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void serve(int port_fd)
{
    char error[256] = "";
    struct transport *t = transport_open(
        &(struct transport_options){
            .node = 1,
            .cluster = 1,
            .client_listen = "127.0.0.1:0",
            .connections_max = 10000,
            .client_queue_bytes = 64u << 20,
        },
        error, sizeof error);
    if (t == NULL) {
        (void)fprintf(stderr, "transport_bench: %s\n", error);
        _exit(1);
    }
    uint16_t port = transport_client_port(t);
    if (write(port_fd, &port, sizeof port) != sizeof port) {
        _exit(1);
    }
    bool seen = false;
    struct transport_stats s = {0};
    do {
        transport_wait(t, -1);
        struct transport_input in;
        while (transport_next(t, &in)) {
            seen = seen || in.type == TRANSPORT_CLIENT_OPEN;
            if (in.type == TRANSPORT_CLIENT_FRAME) {
                (void)transport_send(t, in.conn, in.body);
            }
        }
        transport_flush(t);
        transport_stats(t, &s);
    } while (!seen || s.clients > 0);
    _exit(0);
}

struct run {
    struct link_loop *loop;
    uint8_t *body;
    size_t bytes;
    uint64_t window;
    uint64_t total;
    uint64_t sent;
    uint64_t done;
    uint64_t *ns;
};

static void ask(struct run *r, struct link *l)
{
    if (r->sent == r->total) {
        return;
    }
    uint64_t now = now_ns();
    memcpy(r->body, &now, sizeof now);
    if (!link_send(l, (struct bytes){r->body, r->bytes})) {
        (void)fprintf(stderr, "transport_bench: a queue is full\n");
        exit(1);
    }
    r->sent++;
}

static void turn(struct run *r)
{
    struct link_event e;
    link_loop_wait(r->loop, 1000);
    while (link_loop_next(r->loop, &e)) {
        switch (e.type) {
        case LINK_UP:
            for (uint64_t i = 0; i < r->window; i++) {
                ask(r, e.link);
            }
            break;
        case LINK_FRAME: {
            uint64_t then = 0;
            memcpy(&then, e.body.data, sizeof then);
            r->ns[r->done++] = now_ns() - then;
            ask(r, e.link);
            break;
        }
        case LINK_ROOM:
            break;
        case LINK_DOWN:
            (void)fprintf(stderr, "transport_bench: %s\n", link_why(e.link));
            exit(1);
        }
    }
    link_loop_flush(r->loop);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of a thousand, sorted. */
static double us_at(const struct run *r, uint64_t permille)
{
    uint64_t i = r->total * permille / 1000;
    return (double)r->ns[i] / 1e3;
}

static double cpu_us(int who)
{
    struct rusage u;
    (void)getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static uint64_t argument(int argc, char **argv, int i, uint64_t otherwise)
{
    return argc > i ? strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    int fds[2];
    if (pipe(fds) != 0) {
        return 1;
    }
    pid_t child = fork();
    if (child == 0) {
        serve(fds[1]);
    }
    uint16_t port = 0;
    if (child < 0 || read(fds[0], &port, sizeof port) != sizeof port) {
        return 1;
    }
    struct run r = {
        .bytes = argument(argc, argv, 1, 200),
        .window = argument(argc, argv, 2, 64),
        .total = argument(argc, argv, 3, 1000000),
    };
    uint64_t clients = argument(argc, argv, 4, 1);
    if (r.bytes < sizeof(uint64_t) || r.bytes > FRAME_CLIENT_BYTES_MAX ||
        r.total == 0 || r.window == 0 || clients == 0) {
        (void)fprintf(stderr, "transport_bench: BYTES from 8, others from 1\n");
        return 1;
    }
    char error[256] = "";
    r.loop =
        link_loop_open(&(struct link_loop_options){.queue_bytes = 256u << 20},
                       error, sizeof error);
    r.body = calloc(1, r.bytes);
    r.ns = calloc(r.total, sizeof *r.ns);
    if (r.loop == NULL || r.body == NULL || r.ns == NULL) {
        (void)fprintf(stderr, "transport_bench: %s\n", error);
        return 1;
    }
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    uint64_t from = now_ns();
    for (uint64_t i = 0; i < clients; i++) {
        (void)link_open(r.loop, &(struct link_options){.address = address});
    }
    while (r.done < r.total) {
        turn(&r);
    }
    double seconds = (double)(now_ns() - from) / 1e9;
    link_loop_close(r.loop);
    (void)waitpid(child, NULL, 0);
    qsort(r.ns, r.total, sizeof *r.ns, by_value);
    double total = (double)r.total;
    (void)printf("bytes=%zu window=%" PRIu64 " clients=%" PRIu64
                 " messages=%" PRIu64 " per_second=%.0f p50_us=%.1f "
                 "p99_us=%.1f p999_us=%.1f client_cpu_us=%.2f "
                 "server_cpu_us=%.2f\n",
                 r.bytes, r.window, clients, r.total, total / seconds,
                 us_at(&r, 500), us_at(&r, 990), us_at(&r, 999),
                 cpu_us(RUSAGE_SELF) / total, cpu_us(RUSAGE_CHILDREN) / total);
    free(r.body);
    free(r.ns);
    return 0;
}

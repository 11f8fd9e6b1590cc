#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/cli_bench.h"
#include "client/cli_view.h"

static int check_most(const struct cli *c, const char *name, uint64_t value,
                      uint64_t most)
{
    return value <= most
               ? CLI_DONE
               : cli_usage(c, "%s must be from 1 to %llu, not %llu", name,
                           (unsigned long long)most, (unsigned long long)value);
}

static int take_args(struct cli *c, struct bench *b)
{
    const struct cli_option options[] = {
        {"--clients", CLI_ID, &b->clients},
        {"--total", CLI_ID, &b->total},
        {"--pipeline", CLI_ID, &b->pipeline},
        {"--sessions", CLI_ID, &b->sessions},
        {"--seconds", CLI_ID, &b->seconds},
        {"--tabs", CLI_ID, &b->tabs},
        {"--devices", CLI_ID, &b->devices},
        {"--ttl", CLI_TTL, &b->ttl_ms},
        {"--keep", CLI_FLAG, &b->keep},
        {NULL, CLI_FLAG, NULL},
    };
    static const char *const ops[] = {"open", "renew", "leader", "watch",
                                      "churn"};
    const char *args[CLI_POSITIONAL_MAX] = {""};
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    for (size_t i = 0; i < countof(ops); i++) {
        b->op = strcmp(ops[i], args[0]) == 0 ? ops[i] : b->op;
    }
    if (b->op == NULL) {
        return cli_usage(
            c, "OP must be open, renew, leader, watch or churn, not \"%s\"",
            args[0]);
    }
    if (n > 1) {
        return cli_surplus(c, args[1]);
    }
    rc = check_most(c, "--clients", b->clients, BENCH_CLIENTS_MAX - 1);
    if (rc == CLI_DONE) {
        rc = check_most(c, "--pipeline", b->pipeline, BENCH_PIPELINE_MAX);
    }
    return rc == CLI_DONE ? check_most(c, "--total", b->total, 1000000000) : rc;
}

static int find_leader(struct bench *b)
{
    struct view v;
    view_take(b->c, b->c->timeout_ms, &v);
    const struct view_node *leader = view_leader(&v);
    if (leader != NULL) {
        memcpy(b->endpoint, leader->address, ROUTE_ADDRESS_BYTES);
    }
    bool found = leader != NULL;
    view_free(&v);
    return found ? CLI_DONE
                 : cli_fail(b->c, BATON_NO_QUORUM, "there is no leader");
}

uint64_t bench_commit(struct bench *b)
{
    struct view v;
    view_take(b->c, b->c->timeout_ms, &v);
    const struct view_node *leader = view_leader(&v);
    uint64_t commit = leader != NULL ? leader->status->self->commit : 0;
    view_free(&v);
    return commit;
}

static double micros(uint64_t ns)
{
    return (double)ns / 1000;
}

static void report(const struct bench *b)
{
    uint64_t entries = b->commit_after - b->commit_before;
    const struct histogram *h = &b->histogram;
    uint64_t ns = b->ended_ns > b->begun_ns ? b->ended_ns - b->begun_ns : 1;
    double seconds = (double)ns / 1e9;
    double per_second = (double)h->n / seconds;
    uint64_t p50 = histogram_at(h, 0.50);
    uint64_t p95 = histogram_at(h, 0.95);
    uint64_t p99 = histogram_at(h, 0.99);
    uint64_t p999 = histogram_at(h, 0.999);
    if (!b->c->json) {
        (void)printf("%s: %llu in %.3f s: %.0f a second, %llu clients, %llu in "
                     "flight each\n",
                     b->op, (unsigned long long)h->n, seconds, per_second,
                     (unsigned long long)b->clients,
                     (unsigned long long)b->pipeline);
        (void)printf("latency us: p50 %.0f  p95 %.0f  p99 %.0f  p99.9 %.0f  "
                     "max %.0f\n",
                     micros(p50), micros(p95), micros(p99), micros(p999),
                     micros(h->max_ns));
        (void)printf("errors %llu, log entries %llu\n",
                     (unsigned long long)b->errors,
                     (unsigned long long)entries);
        return;
    }
    /* Numbers and a name of our own: nothing in it to escape, and the writer of proto/ has no fractions. */
    (void)printf("{\"op\":\"%s\",\"total\":%llu,\"seconds\":%.3f,"
                 "\"per_second\":%.0f,\"p50_us\":%.1f,\"p95_us\":%.1f,"
                 "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,"
                 "\"errors\":%llu,\"clients\":%llu,\"pipeline\":%llu,"
                 "\"log_entries\":%llu}\n",
                 b->op, (unsigned long long)h->n, seconds, per_second,
                 micros(p50), micros(p95), micros(p99), micros(p999),
                 micros(h->max_ns), (unsigned long long)b->errors,
                 (unsigned long long)b->clients,
                 (unsigned long long)b->pipeline, (unsigned long long)entries);
}

static void release(struct bench *b)
{
    for (uint64_t i = 0; b->conns != NULL && i < b->clients + 1; i++) {
        free(b->conns[i].slots);
        free(b->conns[i].free);
    }
    free(b->conns);
    free(b->sent_ns);
    free(b->arena.base);
    free(b);
}

static int drive(struct bench *b)
{
    int rc = find_leader(b);
    if (rc != CLI_DONE) {
        return rc;
    }
    struct link_loop_options options = {.tls_ca_file = b->c->tls_ca,
                                        .tls_cert_key_file = b->c->tls_cert_key,
                                        .queue_bytes = 64u << 20};
    b->loop = link_loop_open(&options, b->error, sizeof b->error);
    if (b->loop == NULL) {
        return cli_fail(b->c, BATON_UNAVAILABLE, b->error);
    }
    bench_templates(b);
    bool ok = bench_run(b);
    link_loop_close(b->loop);
    if (!ok) {
        return cli_fail(b->c, BATON_UNAVAILABLE, b->error);
    }
    if (b->histogram.n == 0 && b->errors == 0) {
        return cli_fail(b->c, BATON_INVALID,
                        strcmp(b->op, "renew") == 0
                            ? "nothing was measured: a lease is renewed about "
                              "every third of its --ttl; give --seconds more "
                              "than that"
                            : "nothing was measured before it was ended");
    }
    report(b);
    if (b->errors > 0) {
        (void)fprintf(stderr, "baton: %llu errors, the first: %s\n",
                      (unsigned long long)b->errors, b->error);
        return CLI_REFUSED;
    }
    return CLI_DONE;
}

int cli_bench(struct cli *c)
{
    struct bench *b = client_alloc(sizeof *b);
    *b = (struct bench){.c = c,
                        .clients = 4,
                        .total = 100000,
                        .pipeline = 64,
                        .sessions = 10000,
                        .seconds = 10,
                        .tabs = 4,
                        .devices = 2,
                        .ttl_ms = 10000};
    int rc = take_args(c, b);
    if (rc == CLI_DONE) {
        cli_signals();
        rc = cli_connect(c, NULL);
    }
    if (rc == CLI_DONE) {
        ssize_t n = getrandom(&b->run_id, sizeof b->run_id, 0);
        ASSERT(n == (ssize_t)sizeof b->run_id);
        b->conns = client_alloc((b->clients + 1) * sizeof *b->conns);
        size_t arena_bytes = 16u << 20;
        void *memory = client_alloc(arena_bytes);
        arena_init(&b->arena, memory, arena_bytes);
        if (strcmp(b->op, "watch") == 0) {
            b->sent_ns =
                client_alloc((b->total + b->total / 10 + 1) * sizeof(uint64_t));
        }
        rc = drive(b);
    }
    release(b);
    return rc;
}

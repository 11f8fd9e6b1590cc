/* The load generator's parts: its histogram against sorted numbers, its templates against the codec, its short look at answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/cli_bench.h"
#include "tests/unit/assert_stub.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = 0;
    uint64_t y = 0;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void percentiles(void **state)
{
    (void)state;
    static uint64_t numbers[20000];
    static struct histogram h;
    uint64_t seed = 42;
    for (size_t i = 0; i < countof(numbers); i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        /* Over many powers of two, small ones too. */
        numbers[i] = (seed >> 33) >> (seed % 31);
        histogram_add(&h, numbers[i]);
    }
    qsort(numbers, countof(numbers), sizeof numbers[0], compare);
    static const double parts[] = {0, 0.5, 0.95, 0.99, 0.999};
    for (size_t i = 0; i < countof(parts); i++) {
        uint64_t exact = numbers[(size_t)((double)h.n * parts[i])];
        uint64_t got = histogram_at(&h, parts[i]);
        /* The step's upper edge: never below, and at most a thirty-second above. */
        assert_true(got >= exact);
        assert_true(got <= exact + exact / 32 + 1);
    }
    assert_true(histogram_at(&h, 0.99999) <= h.max_ns);
}

static void templates_are_requests(void **state)
{
    (void)state;
    static struct bench b;
    static uint8_t memory[16384];
    struct cli c = {.timeout_ms = 5000};
    b = (struct bench){.c = &c, .run_id = 0x12345678, .ttl_ms = 10000};
    bench_templates(&b);
    for (int kind = 0; kind < BENCH_KINDS; kind++) {
        const struct bench_template *t = &b.templates[kind];
        struct arena arena;
        arena_init(&arena, memory, sizeof memory);
        const Pb__ClientRequest *r =
            codec_decode_request((struct bytes){t->body, t->n}, &arena);
        assert_non_null(r);
        assert_int_not_equal(t->id, BENCH_ABSENT);
        assert_true(t->id + 8 <= t->n);
        bool command = r->op_case == PB__CLIENT_REQUEST__OP_COMMAND;
        bool leases = command && kind != BENCH_LEASE;
        assert_int_equal(t->sequence != BENCH_ABSENT, leases);
        assert_int_equal(t->first != BENCH_ABSENT, leases);
        assert_int_equal(t->number != BENCH_ABSENT, kind == BENCH_RENEW);
        assert_int_equal(t->session != BENCH_ABSENT, kind == BENCH_CLOSE);
        assert_int_equal(t->tab != BENCH_ABSENT, kind == BENCH_OPEN);
        assert_int_equal(t->group != BENCH_ABSENT,
                         kind == BENCH_OPEN || kind == BENCH_LEADER);
    }
}

static void looks_at_answers(void **state)
{
    (void)state;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    Pb__Reply reply = PB__REPLY__INIT;
    uint8_t out[512];
    struct bench_answer a;
    m.version = 1;
    m.id = 0x0102030405060708;
    m.status = PB__STATUS__LIMIT;
    m.message = (char *)"too many";
    m.revision = 99;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_REPLY;
    reply.id = 4711;
    reply.epoch = 5;
    reply.detail = -1;
    m.reply = &reply;
    size_t n = codec_encode(&m.base, out, sizeof out);
    assert_true(bench_look((struct bytes){out, n}, &a));
    assert_true(a.id == m.id);
    assert_int_equal(a.status, PB__STATUS__LIMIT);
    assert_int_equal(a.reply_id, 4711);
    assert_int_equal(a.message.n, 8);
    assert_false(a.watch);
    /* Cut anywhere, it's refused or a whole message of fewer fields; it never reads on. */
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, out, cut);
        (void)bench_look((struct bytes){copy, cut}, &a);
        free(copy);
    }
    Pb__RenewResult renew = PB__RENEW_RESULT__INIT;
    renew.number = 3;
    renew.next_ms = 3333;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_RENEW;
    m.renew = &renew;
    n = codec_encode(&m.base, out, sizeof out);
    assert_true(bench_look((struct bytes){out, n}, &a));
    assert_int_equal(a.next_ms, 3333);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles),
        cmocka_unit_test(templates_are_requests),
        cmocka_unit_test(looks_at_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

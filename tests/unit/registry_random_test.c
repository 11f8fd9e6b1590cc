/* Random commands, good and bad, over many leases and groups. After each one every invariant is checked; and a second registry, that has
 * loaded rows instead of replaying, must answer the same, tell the same events and reach the same hash from there on
 * (S17, S20); and a retry must get the very same reply (S13). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"
#include "tests/unit/registry_noise.h"

#define STEPS       10000
#define RESTORE_MAX 97 /* steps between two restores, at most */
#define HISTORY     64

/* A command as it went into the log, and what came of it. */
struct sent {
    uint8_t bytes[2048];
    size_t n;
    struct reply reply;
    uint64_t lease;
};

struct run {
    struct kit a; /* replays */
    struct kit b; /* loaded rows, some time ago */
    struct kit_rows rows;
    struct noise noise;
    struct sent sent[HISTORY];
    uint32_t sent_n;
    uint32_t ops[64]; /* how many of each were OK */
    uint32_t duplicates;
    uint32_t restores;
    uint32_t events_most;
};

/* --- running --------------------------------------------------------------------------------------------------------- */
static void apply_both(struct run *run, const Pb__Command *c)
{
    (void)kit_apply(&run->a, c);
    run->b.time_ms = run->a.time_ms;
    run->b.term = run->a.term;
    (void)kit_apply(&run->b, c);
    assert_true(kit_same_out(run->a.out, run->b.out));
    const struct registry_out *out = run->a.out;
    if (out->events_n > run->events_most) {
        run->events_most = out->events_n;
    }
    if (out->reply.status == BATON_OK && !out->duplicate) {
        run->ops[c->op_case]++;
    }
}

/* Due commands, most of them; some are lost, some come twice. */
static void apply_due(struct run *run)
{
    static uint8_t memory[1 << 20];
    static Pb__Command commands[DUE_MAX];
    static uint8_t bytes[DUE_MAX][1024];
    size_t sizes[DUE_MAX];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    uint32_t max = 1 + noise_below(&run->noise, DUE_MAX);
    uint32_t n = registry_due(run->a.r, run->a.time_ms, commands, max, &arena);
    assert_true(n <= max);
    for (uint32_t i = 0; i < n; i++) {
        commands[i].proposer_term = run->a.term;
        sizes[i] = codec_encode(&commands[i].base, bytes[i], sizeof bytes[i]);
        assert_true(sizes[i] > 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t times = noise_one_in(&run->noise, 20)
                                  ? 2
                                  : !noise_one_in(&run->noise, 20);
             times > 0; times--) {
            arena_init(&arena, memory, sizeof memory);
            Pb__Command *c = codec_decode_command(
                (struct bytes){bytes[i], sizes[i]}, &arena);
            assert_non_null(c);
            apply_both(run, c);
        }
    }
}

static void restore(struct run *run)
{
    kit_checkpoint(&run->a, &run->rows);
    if (run->b.r != NULL) {
        /* Its rows, too: what it changed since it was loaded. */
        struct kit_rows other = {.rows = NULL};
        struct arena arena;
        static uint8_t memory[ROW_BYTES_MAX];
        struct row_change change;
        arena_init(&arena, memory, sizeof memory);
        while (registry_rows_next(run->b.r, &arena, &change)) {
            arena_reset(&arena);
        }
        kit_rows_fini(&other);
        assert_true(registry_hash(run->a.r) == registry_hash(run->b.r));
        registry_check(run->b.r);
        kit_fini(&run->b);
    }
    kit_restore(&run->a, &run->rows, &run->b);
    run->restores++;
}

/* What was said once is said again, while the lease remembers. */
static void retry(struct run *run)
{
    static uint8_t memory[1 << 16];
    if (run->sent_n == 0) {
        return;
    }
    uint32_t kept = run->sent_n < HISTORY ? run->sent_n : HISTORY;
    const struct sent *sent = &run->sent[noise_below(&run->noise, kept)];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    Pb__Command *c =
        codec_decode_command((struct bytes){sent->bytes, sent->n}, &arena);
    assert_non_null(c);
    slot s = find_lease(run->a.r, c->lease);
    bool remembered =
        s != 0 && c->sequence >= lease_at(run->a.r, s)->sequence_min;
    bool gone = s == 0;
    apply_both(run, c);
    const struct reply *reply = &run->a.out->reply;
    if (gone) {
        assert_int_equal(reply->status, BATON_NOT_FOUND);
        assert_int_equal(reply->reason, REASON_NO_LEASE);
    } else if (remembered) {
        run->duplicates++;
        assert_true(run->a.out->duplicate);
        assert_int_equal(run->a.out->events_n, 0);
        assert_int_equal(reply->status, sent->reply.status);
        assert_int_equal(reply->reason, sent->reply.reason);
        assert_int_equal(reply->id, sent->reply.id);
        assert_int_equal(reply->epoch, sent->reply.epoch);
        assert_int_equal(reply->revision, sent->reply.revision);
        assert_int_equal(reply->detail, sent->reply.detail);
    } else {
        assert_true(reply->status == BATON_WINDOW ||
                    reply->status == BATON_EXPIRED);
    }
}

/* Only what's kept: a command that got as far as the window. */
static void note_sent(struct run *run, const Pb__Command *c)
{
    slot s =
        c->lease == 0 || c->sequence == 0 ? 0 : find_lease(run->a.r, c->lease);
    if (s == 0 || run->a.out->duplicate ||
        c->op_case == PB__COMMAND__OP_OPEN_LEASE ||
        c->first_outstanding > c->sequence) {
        return;
    }
    const struct reply *reply = &run->a.out->reply;
    if (reply->status == BATON_EXPIRED || reply->status == BATON_WINDOW ||
        reply->reason == REASON_WINDOW_REPLIES) {
        return;
    }
    struct sent *sent = &run->sent[run->sent_n++ % HISTORY];
    sent->n = codec_encode(&c->base, sent->bytes, sizeof sent->bytes);
    assert_true(sent->n > 0);
    sent->reply = *reply;
    sent->lease = c->lease;
}

static void step(struct run *run)
{
    static struct message message;
    static uint8_t memory[1 << 16];
    static uint8_t bytes[2048];
    struct arena arena;
    if (noise_one_in(&run->noise, 12)) {
        run->a.time_ms +=
            noise_below(&run->noise, noise_one_in(&run->noise, 9) ? 6000 : 700);
    }
    if (noise_one_in(&run->noise, 400)) {
        run->a.term++;
    }
    if (noise_one_in(&run->noise, 6)) {
        apply_due(run);
        noise_note(&run->noise, run->a.out);
    }
    if (noise_one_in(&run->noise, 8)) {
        retry(run);
        return;
    }
    run->noise.term = run->a.term;
    noise_command(&run->noise, &message);
    size_t n = codec_encode(&message.command.base, bytes, sizeof bytes);
    assert_true(n > 0);
    arena_init(&arena, memory, sizeof memory);
    Pb__Command *c = codec_decode_command((struct bytes){bytes, n}, &arena);
    assert_non_null(c);
    apply_both(run, c);
    note_sent(run, c);
    noise_note(&run->noise, run->a.out);
}

static void random_run(uint64_t seed)
{
    static struct run run;
    run = (struct run){.noise = {.seed = seed}};
    kit_init(&run.a);
    run.noise.r = run.a.r;
    (void)kit_apply(&run.a, NULL);
    restore(&run);
    uint32_t next = 1;
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&run);
        if (i == next) {
            restore(&run);
            next = i + 1 + noise_below(&run.noise, RESTORE_MAX);
        }
    }
    if (getenv("STATS") != NULL) {
        struct registry_counts n;
        registry_counts(run.a.r, &n);
        for (uint32_t i = 0; i < countof(run.ops); i++) {
            if (run.ops[i] != 0) {
                printf("op %u: %u\n", i, run.ops[i]);
            }
        }
        printf("%u retries, %u restores, %u events at most in an entry\n",
               run.duplicates, run.restores, run.events_most);
        printf("at the end: %u sessions, %u batons\n", (uint32_t)n.sessions,
               (uint32_t)n.batons);
    }
    kit_fini(&run.a);
    kit_fini(&run.b);
    kit_rows_fini(&run.rows);
    /* The run was about something. */
    static const Pb__Command__OpCase some[] = {
        PB__COMMAND__OP_OPEN_LEASE,     PB__COMMAND__OP_CLOSE_LEASE,
        PB__COMMAND__OP_EXPIRE_LEASE,   PB__COMMAND__OP_OPEN_SESSION,
        PB__COMMAND__OP_UPDATE_SESSION, PB__COMMAND__OP_CLOSE_SESSION,
        PB__COMMAND__OP_ATTACH_SESSION, PB__COMMAND__OP_END_GRACE,
        PB__COMMAND__OP_HANDOFF,        PB__COMMAND__OP_ANSWER_OFFER,
        PB__COMMAND__OP_YIELD,          PB__COMMAND__OP_RESIGN,
        PB__COMMAND__OP_DEMOTE,         PB__COMMAND__OP_SCOPE_DUE,
        PB__COMMAND__OP_RECORD_CLAIM,   PB__COMMAND__OP_RESCORE,
        PB__COMMAND__OP_SET_POLICY,     PB__COMMAND__OP_TOUCHED,
    };
    for (size_t i = 0; i < countof(some); i++) {
        if (run.ops[some[i]] == 0) {
            (void)fprintf(stderr, "op %d never succeeded\n", (int)some[i]);
        }
        assert_true(run.ops[some[i]] > 0);
    }
    assert_true(run.duplicates > 100);
    assert_true(run.restores > 50);
}

static void test_random(void **state)
{
    (void)state;
    const char *seed = getenv("SEED");
    if (seed != NULL) {
        random_run(strtoull(seed, NULL, 10));
        return;
    }
    /* 127: a demoted holder that kept its device for an instant, and a hand-off before that was over. */
    static const uint64_t seeds[] = {1, 2, 3, 127};
    for (size_t i = 0; i < countof(seeds); i++) {
        random_run(seeds[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

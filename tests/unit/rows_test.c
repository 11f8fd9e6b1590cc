/* Rows: what changed is walked once; what was walked loads into the same registry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/rows.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

static uint32_t walk(struct kit *k)
{
    static uint8_t memory[ROW_BYTES_MAX];
    struct arena arena;
    struct row_change change;
    uint32_t n = 0;
    arena_init(&arena, memory, sizeof memory);
    while (registry_rows_next(k->r, &arena, &change)) {
        arena_reset(&arena);
        n++;
    }
    return n;
}

static void test_only_what_changed(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    assert_int_equal(walk(&k), 1); /* the cluster's */
    assert_int_equal(walk(&k), 0);
    uint64_t lease = kit_lease(&k, 1, "relay");
    assert_int_equal(walk(&k), 2); /* lease, cluster */
    uint64_t a = kit_session(&k, lease, "ns/g/d/t1", 0);
    /* namespace, group, device, session, lease (renewals), window, cluster */
    assert_int_equal(walk(&k), 7);
    (void)kit_session(&k, lease, "ns/g/d/t2", 0);
    /* device (backup), session, lease, window, cluster */
    assert_int_equal(walk(&k), 5);
    (void)kit_close(&k, lease, a, 1);
    /* device and group (new holder), session gone, lease, window, cluster */
    assert_int_equal(walk(&k), 6);
    kit_fini(&k);
}

/* Made and gone between two walks: nobody hears of it. */
static void test_short_lives_leave_no_row(void **state)
{
    (void)state;
    struct kit k;
    struct kit_rows rows = {.rows = NULL};
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    uint64_t other = kit_lease(&k, 2, "relay");
    kit_checkpoint(&k, &rows);
    uint32_t before = rows.n;
    uint64_t hash = registry_hash(k.r);
    uint64_t session = kit_session(&k, other, "ns/g/d/t", 0);
    assert_int_equal(kit_close(&k, other, session, 1)->status, BATON_OK);
    assert_true(k.r->deleted_n > 0);
    kit_checkpoint(&k, &rows); /* aborts on deleting a row that isn't there */
    assert_int_equal(rows.n, before + 1); /* other's window */
    assert_int_equal(k.r->deleted_n, 0);
    assert_true(registry_hash(k.r) != hash);
    assert_int_equal(kit_close_lease(&k, lease, false)->status, BATON_OK);
    assert_int_equal(kit_close_lease(&k, other, false)->status, BATON_OK);
    kit_checkpoint(&k, &rows);
    assert_int_equal(rows.n, 1); /* the cluster's own */
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        assert_int_equal(k.r->pools[kind].live, 0);
    }
    for (size_t i = 0; i < countof(k.r->names.classes); i++) {
        assert_int_equal(k.r->names.classes[i].live, 0);
    }
    kit_rows_fini(&rows);
    kit_fini(&k);
}

/* A registry with one of everything. */
static void fill(struct kit *k)
{
    kit_init(k);
    Pb__Command c = PB__COMMAND__INIT;
    Pb__TermStart start = PB__TERM_START__INIT;
    start.wall_ms = 1700000000000;
    c.op_case = PB__COMMAND__OP_TERM_START;
    c.term_start = &start;
    (void)kit_leader(k, &c);
    Pb__NodeSeen seen = PB__NODE_SEEN__INIT;
    seen.node = 3;
    seen.incarnation = 77;
    seen.own = 9;
    seen.boot = 5;
    c.op_case = PB__COMMAND__OP_NODE_SEEN;
    c.node_seen = &seen;
    (void)kit_leader(k, &c);
    Pb__SetPolicy set = PB__SET_POLICY__INIT;
    Pb__Policy policy = PB__POLICY__INIT;
    policy.session_grace_ms = 60000;
    policy.holder_grace_ms = 2000;
    set.namespace_ = "ns";
    set.policy = &policy;
    uint64_t lease = kit_lease(k, 1, "relay-1");
    c = (Pb__Command)PB__COMMAND__INIT;
    c.op_case = PB__COMMAND__OP_SET_POLICY;
    c.set_policy = &set;
    (void)kit_client(k, lease, &c);
    uint64_t away = kit_lease(k, 2, "relay-2");
    (void)kit_session(k, lease, "ns/g/laptop/t1", 10);
    (void)kit_session(k, lease, "ns/g/laptop/t2", 5);
    (void)kit_session(k, away, "ns/g/phone/t1", 5);
    (void)kit_session(k, away, "other/g/phone/t1", 5);
    (void)kit_expire(k, away);
}

static void test_loads_into_the_same(void **state)
{
    (void)state;
    struct kit a;
    struct kit b;
    struct kit_rows rows = {.rows = NULL};
    fill(&a);
    kit_checkpoint(&a, &rows);
    kit_restore(&a, &rows, &b); /* compares the hashes */
    struct node_past past;
    assert_true(registry_node(b.r, 3, &past));
    assert_int_equal(past.incarnation, 77);
    assert_int_equal(past.record.boot, 5);
    assert_int_equal(past.record.own, 9);
    assert_int_equal(registry_wall_ms(b.r), registry_wall_ms(a.r));
    assert_int_equal(registry_due_ms(b.r), registry_due_ms(a.r));
    struct registry_counts x;
    struct registry_counts y;
    registry_counts(a.r, &x);
    registry_counts(b.r, &y);
    assert_memory_equal(&x, &y, sizeof x);
    assert_int_equal(x.detached, 2);
    /* And from there on they go the same way. */
    while (registry_due_ms(a.r) != UINT64_MAX) {
        a.time_ms = registry_due_ms(a.r);
        b.time_ms = a.time_ms;
        assert_int_equal(kit_due(&a), kit_due(&b));
        assert_true(kit_same_out(a.out, b.out));
    }
    assert_int_equal(walk(&a) > 0, walk(&b) > 0);
    assert_true(registry_hash(a.r) == registry_hash(b.r));
    kit_rows_fini(&rows);
    kit_fini(&a);
    kit_fini(&b);
}

/* Applies what's due to both, and they stay the same. */
static void due_to_both(struct kit *a, struct kit *b)
{
    /* What was due before is due now. */
    b->time_ms = max_u64(a->time_ms, registry_due_ms(b->r));
    a->time_ms = max_u64(a->time_ms, registry_due_ms(a->r));
    assert_int_equal(a->time_ms, b->time_ms);
    b->sequence = a->sequence;
    /* The commands of one: which sessions they name isn't the same on both. */
    static uint8_t memory[2][1 << 18];
    static Pb__Command commands[DUE_MAX];
    static uint8_t bytes[DUE_MAX][1024];
    size_t sizes[DUE_MAX];
    struct arena arena;
    arena_init(&arena, memory[0], sizeof memory[0]);
    uint32_t n = registry_due(b->r, b->time_ms, commands, DUE_MAX, &arena);
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        commands[i].proposer_term = a->term;
        sizes[i] = codec_encode(&commands[i].base, bytes[i], sizeof bytes[i]);
        assert_true(sizes[i] > 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        arena_init(&arena, memory[1], sizeof memory[1]);
        Pb__Command *c =
            codec_decode_command((struct bytes){bytes[i], sizes[i]}, &arena);
        (void)kit_apply(a, c);
        (void)kit_apply(b, c);
        assert_true(kit_same_out(a->out, b->out));
    }
}

/* A large lease on its way out, and a policy on its way in: what's left to do is loaded, too. */
static void test_loads_what_is_half_done(void **state)
{
    (void)state;
    for (int detach = 0; detach < 3; detach++) {
        struct kit a;
        struct kit b;
        struct kit_rows rows = {.rows = NULL};
        kit_init(&a);
        uint64_t lease = kit_lease(&a, 1, "relay-1");
        uint64_t other = kit_lease(&a, 2, "relay-2");
        for (uint32_t i = 0; i < 4 * SWEEP_MAX; i++) {
            char path[64];
            (void)snprintf(path, sizeof path, "ns/g%u/d%u/t%u", i % 9, i % 4,
                           i);
            (void)kit_session(&a, i % 8 == 0 ? other : lease, path,
                              (int)(i % 50));
        }
        Pb__Command c = PB__COMMAND__INIT;
        Pb__SetPolicy set = PB__SET_POLICY__INIT;
        Pb__Policy policy = PB__POLICY__INIT;
        policy.margin = 30;
        policy.min_tenure_ms = 1000;
        set.namespace_ = "ns";
        set.policy = &policy;
        c.op_case = PB__COMMAND__OP_SET_POLICY;
        c.set_policy = &set;
        if (detach == 2) {
            (void)kit_client(&a, other, &c);
        } else {
            (void)kit_close_lease(&a, lease, detach != 0);
        }
        assert_int_equal(a.out->events_n, 1);
        assert_int_equal(kit_due_some(&a, 1), 1);
        kit_checkpoint(&a, &rows);
        a.time_ms += 100;
        (void)kit_apply(&a, NULL);
        kit_checkpoint(&a, &rows);
        kit_restore(&a, &rows, &b);
        for (int i = 0; i < 200 && registry_due_ms(a.r) != UINT64_MAX; i++) {
            due_to_both(&a, &b);
        }
        (void)walk(&a);
        (void)walk(&b);
        assert_true(registry_hash(a.r) == registry_hash(b.r));
        struct registry_counts n;
        registry_counts(b.r, &n);
        assert_int_equal(n.leases, detach == 2 ? 2 : 1);
        kit_rows_fini(&rows);
        kit_fini(&a);
        kit_fini(&b);
    }
}

static void test_reset_wall_clock(void **state)
{
    (void)state;
    struct kit k;
    fill(&k);
    k.time_ms += 500;
    (void)kit_apply(&k, NULL);
    assert_int_equal(registry_wall_ms(k.r), 1700000000500);
    kit_fini(&k);
}

/* Loads all rows, with this damage to those of one kind. */
enum damage {
    NONE,
    MISSING,
    CUT,
    TWICE,
    WRONG_INDEX,
    NO_KEY,
    STRANGE_KIND
};

static enum baton_status load_damaged(const struct kit *from,
                                      const struct kit_rows *rows,
                                      enum damage damage, uint8_t kind)
{
    static uint8_t memory[1 << 20];
    struct arena arena;
    struct kit k;
    enum baton_status status = BATON_OK;
    uint8_t strange = 99;
    arena_init(&arena, memory, sizeof memory);
    kit_init(&k);
    for (uint32_t i = 0; i < rows->n && status == BATON_OK; i++) {
        struct bytes key = {rows->rows[i].key, rows->rows[i].key_n};
        struct bytes value = {rows->rows[i].value, rows->rows[i].value_n};
        bool here = key.data[0] == kind;
        if (here && damage == MISSING) {
            continue;
        }
        if (here && damage == CUT) {
            value.n--;
        }
        if (here && damage == NO_KEY) {
            key.n = 0;
        }
        if (here && damage == STRANGE_KIND) {
            key = (struct bytes){&strange, 1};
        }
        status = registry_load_row(k.r, key, value, &arena);
        if (here && damage == TWICE && status == BATON_OK) {
            status = registry_load_row(k.r, key, value, &arena);
        }
    }
    if (status == BATON_OK) {
        status = registry_load_end(k.r, from->index + (damage == WRONG_INDEX));
    }
    kit_fini(&k);
    return status;
}

static void test_damaged_rows_are_refused(void **state)
{
    (void)state;
    static const enum damage damages[] = {MISSING, CUT, TWICE, NO_KEY,
                                          STRANGE_KIND};
    struct kit k;
    struct kit sorted;
    struct kit_rows rows = {.rows = NULL};
    fill(&k);
    kit_checkpoint(&k, &rows);
    kit_restore(&k, &rows, &sorted); /* sorts the rows */
    assert_int_equal(load_damaged(&k, &rows, NONE, 0), BATON_OK);
    assert_int_equal(load_damaged(&k, &rows, WRONG_INDEX, 0), BATON_INVALID);
    for (int kind = ROW_CLUSTER; kind <= ROW_DEVICE; kind++) {
        for (size_t i = 0; i < countof(damages); i++) {
            enum baton_status status =
                load_damaged(&k, &rows, damages[i], (uint8_t)kind);
            /* Nothing refers to a window: that it's missing shows in the hash. */
            bool unseen = kind == ROW_WINDOW && damages[i] == MISSING;
            assert_int_equal(status, unseen ? BATON_OK : BATON_INVALID);
        }
    }
    kit_rows_fini(&rows);
    kit_fini(&k);
    kit_fini(&sorted);
}

static void test_wants_a_checkpoint(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    uint32_t n = 0;
    while (!registry_wants_checkpoint(k.r)) {
        char path[64];
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", n);
        uint64_t session = kit_session(&k, lease, path, 0);
        (void)kit_close(&k, lease, session, 0);
        n++;
        assert_true(n < 100);
    }
    /* The namespaces: 16 in the pool, a quarter of them and one more gone. */
    assert_int_equal(n, 5);
    (void)walk(&k);
    assert_false(registry_wants_checkpoint(k.r));
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_changed),
        cmocka_unit_test(test_short_lives_leave_no_row),
        cmocka_unit_test(test_loads_into_the_same),
        cmocka_unit_test(test_loads_what_is_half_done),
        cmocka_unit_test(test_reset_wall_clock),
        cmocka_unit_test(test_damaged_rows_are_refused),
        cmocka_unit_test(test_wants_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

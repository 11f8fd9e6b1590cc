/* Messages of the core to frames and back; configurations to bytes and back, and what's refused of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/turn_state.h"
#include "tests/unit/assert_stub.h"

#define ARENA_BYTES (1u << 20)

static struct arena arena;
static uint8_t *memory;

static int make_arena(void **state)
{
    (void)state;
    memory = malloc(ARENA_BYTES);
    arena_init(&arena, memory, ARENA_BYTES);
    return memory == NULL;
}

static int drop_arena(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

static void assert_same(const struct raft_message *a,
                        const struct raft_message *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->to, b->to);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->log_term, b->log_term);
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->round, b->round);
    assert_int_equal(a->hint_index, b->hint_index);
    assert_int_equal(a->hint_term, b->hint_term);
    assert_int_equal(a->success, b->success);
    assert_int_equal(a->pre, b->pre);
    assert_int_equal(a->force, b->force);
    assert_int_equal(a->quiet, b->quiet);
}

/* Through bytes, as in life. */
static void round_trip(const struct raft_message *m)
{
    uint8_t bytes[512];
    Pb__PeerFrame frame;
    struct raft_message back;
    wire_from_message(m, &frame);
    size_t n = codec_encode(&frame.base, bytes, sizeof bytes);
    assert_true(n > 0);
    arena_reset(&arena);
    Pb__PeerFrame *decoded =
        codec_decode_peer((struct bytes){bytes, n}, &arena);
    assert_non_null(decoded);
    assert_int_equal(decoded->version, PROTOCOL_VERSION);
    memset(&back, 0xff, sizeof back);
    assert_true(wire_to_message(decoded, m->from, m->to, &back));
    assert_same(m, &back);
    /* The bytes of entries are the turn's. */
    assert_int_equal(back.entries_n, 0);
    assert_null(back.entries);
}

static void test_every_type(void **state)
{
    (void)state;
    for (int type = RAFT_VOTE; type <= RAFT_SNAPSHOT_REPLY; type++) {
        const struct raft_message full = {
            .type = (enum raft_message_type)type,
            .from = 3,
            .to = 7,
            .term = 1ull << 40,
            .index = UINT64_MAX,
            .log_term = 12,
            .commit = 13,
            .round = 14,
            .hint_index = 15,
            .hint_term = 16,
            .success = true,
            .pre = (type & 1) != 0,
            .force = (type & 2) != 0,
            .quiet = (type & 4) != 0,
        };
        const struct raft_message empty = {
            .type = (enum raft_message_type)type, .from = 1, .to = 2};
        round_trip(&full);
        round_trip(&empty);
    }
}

static void test_unknown_types(void **state)
{
    (void)state;
    const uint32_t types[] = {0, 10, PEER_SNAPSHOT_ACK, UINT32_MAX};
    for (size_t i = 0; i < countof(types); i++) {
        Pb__PeerFrame frame = PB__PEER_FRAME__INIT;
        struct raft_message m;
        frame.type = types[i];
        assert_false(wire_to_message(&frame, 1, 2, &m));
    }
}

/* --- configurations ---------------------------------------------------------------------------------------------------- */

static struct raft_nodes nodes(uint32_t n, const raft_id *ids)
{
    struct raft_nodes set = {.n = n};
    memcpy(set.ids, ids, n * sizeof *ids);
    return set;
}

static void test_config(void **state)
{
    (void)state;
    const struct raft_config config = {
        .index = 40,
        .voters = nodes(3, (raft_id[]){1, 2, 9}),
        .voters_old = nodes(2, (raft_id[]){1, 5}),
        .learners = nodes(1, (raft_id[]){4}),
    };
    const struct turn_member members[] = {
        {.id = 1, .peer = "a:1", .client = "a:2", .http = "a:3"},
        {.id = 9, .peer = "b:1", .client = "b:2"},
    };
    const struct wire_members with = {members, countof(members), 33};
    uint8_t bytes[1024];
    arena_reset(&arena);
    size_t n = wire_config(&config, with, bytes, sizeof bytes, &arena);
    assert_true(n > 0);
    struct raft_config back;
    Pb__ConfigData *message = NULL;
    assert_true(
        wire_to_config((struct bytes){bytes, n}, 40, &arena, &back, &message));
    assert_int_equal(back.index, 40);
    assert_memory_equal(&back.voters, &config.voters, sizeof back.voters);
    assert_memory_equal(&back.voters_old, &config.voters_old,
                        sizeof back.voters_old);
    assert_memory_equal(&back.learners, &config.learners, sizeof back.learners);
    assert_int_equal(message->previous, 33);
    assert_int_equal(message->n_members, 2);
    assert_int_equal(message->members[1]->node, 9);
    assert_string_equal(message->members[0]->http, "a:3");
    assert_string_equal(message->members[1]->peer, "b:1");
    assert_string_equal(message->members[1]->http, "");
    /* It doesn't fit: nothing. */
    assert_int_equal(wire_config(&config, with, bytes, n - 1, &arena), 0);
}

static bool takes(const Pb__ConfigData *m)
{
    uint8_t bytes[4096];
    struct raft_config out;
    Pb__ConfigData *message = NULL;
    arena_reset(&arena);
    size_t n = codec_encode(&m->base, bytes, sizeof bytes);
    return wire_to_config((struct bytes){bytes, n}, 1, &arena, &out, &message);
}

static void test_sets_are_ascending(void **state)
{
    (void)state;
    const struct {
        uint32_t ids[3];
        uint32_t n;
        bool good;
    } table[] = {
        {{1, 2, 3}, 3, true},          {{7}, 1, true},
        {{1, 2, UINT32_MAX}, 3, true}, {{0, 1, 2}, 3, false},
        {{1, 1, 2}, 3, false},         {{2, 1, 3}, 3, false},
        {{1, 2, 2}, 3, false},         {{0}, 1, false},
    };
    for (size_t i = 0; i < countof(table); i++) {
        uint32_t one[] = {1};
        uint32_t ids[3];
        memcpy(ids, table[i].ids, sizeof ids);
        Pb__ConfigData m = PB__CONFIG_DATA__INIT;
        m.voters = ids;
        m.n_voters = table[i].n;
        assert_int_equal(takes(&m), table[i].good);
        m.voters = one;
        m.n_voters = 1;
        m.voters_old = ids;
        m.n_voters_old = table[i].n;
        assert_int_equal(takes(&m), table[i].good);
        m.n_voters_old = 0;
        m.learners = ids;
        m.n_learners = table[i].n;
        assert_int_equal(takes(&m), table[i].good);
    }
}

static void test_hostile_configs(void **state)
{
    (void)state;
    uint32_t many[RAFT_NODES_MAX + 1];
    Pb__Member member = PB__MEMBER__INIT;
    Pb__Member *members[WIRE_MEMBERS_MAX + 1];
    for (uint32_t i = 0; i <= RAFT_NODES_MAX; i++) {
        many[i] = i + 1;
    }
    for (uint32_t i = 0; i <= WIRE_MEMBERS_MAX; i++) {
        members[i] = &member;
    }
    Pb__ConfigData m = PB__CONFIG_DATA__INIT;
    assert_false(takes(&m)); /* nobody decides */
    m.voters = many;
    m.n_voters = RAFT_NODES_MAX;
    assert_true(takes(&m));
    m.n_voters = RAFT_NODES_MAX + 1;
    assert_false(takes(&m));
    m.n_voters = 1;
    m.members = members;
    m.n_members = WIRE_MEMBERS_MAX;
    assert_true(takes(&m));
    m.n_members = WIRE_MEMBERS_MAX + 1;
    assert_false(takes(&m));
    struct raft_config out;
    Pb__ConfigData *message = NULL;
    const uint8_t junk[] = {0xff, 0xff, 0xff};
    assert_false(wire_to_config((struct bytes){junk, sizeof junk}, 1, &arena,
                                &out, &message));
    assert_false(
        wire_to_config((struct bytes){junk, 0}, 1, &arena, &out, &message));
}

/* What wire_config writes, wire_to_config takes: also as many members as a turn can know of. */
static void test_most_members(void **state)
{
    (void)state;
    struct turn_member *members = calloc(RAFT_NODES_MAX, sizeof *members);
    assert_non_null(members);
    struct raft_config config = {.index = 2};
    uint8_t bytes[8192];
    for (uint32_t i = 0; i < RAFT_NODES_MAX; i++) {
        config.voters.ids[config.voters.n++] = i + 1;
        members[i].id = i + 1;
        memset(members[i].peer, 'p', TURN_ADDRESS_BYTES - 1);
        memset(members[i].client, 'c', TURN_ADDRESS_BYTES - 1);
        memset(members[i].http, 'h', TURN_ADDRESS_BYTES - 1);
    }
    arena_reset(&arena);
    size_t n =
        wire_config(&config, (struct wire_members){members, RAFT_NODES_MAX, 1},
                    bytes, sizeof bytes, &arena);
    assert_true(n > 0);
    struct raft_config back;
    Pb__ConfigData *message = NULL;
    assert_true(
        wire_to_config((struct bytes){bytes, n}, 2, &arena, &back, &message));
    free(members);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_unknown_types),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_sets_are_ascending),
        cmocka_unit_test(test_hostile_configs),
        cmocka_unit_test(test_most_members),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}

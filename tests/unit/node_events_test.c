/* Events of the registry as messages: every field of every kind arrives, also after encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/events.h"
#include "proto/codec.h"
#include "tests/unit/assert_stub.h"

#define ARENA_BYTES (4u << 20)

static const struct event_stamp stamp = {55, 66, 77};
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

static struct bytes text(const char *s)
{
    return codec_text(s);
}

/* Every field has a value of its own. */
static struct event full_event(enum event_kind kind)
{
    return (struct event){
        .kind = kind,
        .reason = GRANT_ROTATION,
        .cause = CAUSE_LAPSED,
        .role = ROLE_BACKUP,
        .group_scope = true,
        .namespace_name = text("ns"),
        .group = text("group"),
        .device = text("device"),
        .tab = text("tab"),
        .text = text("why"),
        .session = 101,
        .lease = 102,
        .previous_lease = 103,
        .backup_lease = 104,
        .epoch = 105,
        .previous_epoch = 106,
        .previous_session = 107,
        .backup = 108,
        .deadline_ms = 109,
        .caps = {.battery = 80,
                 .priority = -5,
                 .rtt_ms = 40,
                 .known = (1u << CAP_BATTERY) | (1u << CAP_PRIORITY) |
                          (1u << CAP_RTT_MS)},
        .score = -110,
        .attachment = 111,
        .state_bytes = 112,
        .namespace_slot = 1,
        .group_slot = 2,
        .claims = {{.session = 201,
                    .epoch = 202,
                    .lease = 203,
                    .relay = text("relay-1"),
                    .time_ms = 204},
                   {.session = 301,
                    .epoch = 302,
                    .lease = 303,
                    .relay = text("relay-2"),
                    .time_ms = 304}},
    };
}

static void assert_full(const Pb__Event *e, enum event_kind kind)
{
    assert_int_equal(e->kind, kind);
    assert_int_equal(e->revision, 55);
    assert_int_equal(e->time_ms, 66);
    assert_int_equal(e->wall_ms, 77);
    assert_int_equal(e->reason, GRANT_ROTATION);
    assert_int_equal(e->cause, CAUSE_LAPSED);
    assert_int_equal(e->role, ROLE_BACKUP);
    assert_true(e->group_scope);
    assert_string_equal(e->namespace_, "ns");
    assert_string_equal(e->group, "group");
    assert_string_equal(e->device, "device");
    assert_string_equal(e->tab, "tab");
    assert_string_equal(e->text, "why");
    assert_int_equal(e->session, 101);
    assert_int_equal(e->lease, 102);
    assert_int_equal(e->previous_lease, 103);
    assert_int_equal(e->backup_lease, 104);
    assert_int_equal(e->epoch, 105);
    assert_int_equal(e->previous_epoch, 106);
    assert_int_equal(e->previous_session, 107);
    assert_int_equal(e->backup, 108);
    assert_int_equal(e->deadline_ms, 109);
    assert_int_equal(e->score, -110);
    assert_int_equal(e->attachment, 111);
    assert_int_equal(e->state_bytes, 112);
    assert_int_equal(e->n_capabilities, 3);
    assert_int_equal(e->capabilities[0]->key, CAP_BATTERY);
    assert_int_equal(e->capabilities[0]->value, 80);
    assert_int_equal(e->capabilities[1]->key, CAP_RTT_MS);
    assert_int_equal(e->capabilities[1]->value, 40);
    assert_int_equal(e->capabilities[2]->key, CAP_PRIORITY);
    assert_int_equal(e->capabilities[2]->value, -5);
}

static void assert_claims(const Pb__Event *e)
{
    if (e->kind != PB__EVENT_KIND__CLAIM_REJECTED) {
        assert_int_equal(e->n_claims, 0);
        return;
    }
    assert_int_equal(e->n_claims, 2);
    assert_int_equal(e->claims[0]->session, 201);
    assert_int_equal(e->claims[0]->epoch, 202);
    assert_int_equal(e->claims[0]->lease, 203);
    assert_int_equal(e->claims[0]->time_ms, 204);
    assert_string_equal(e->claims[0]->relay, "relay-1");
    assert_int_equal(e->claims[1]->session, 301);
    assert_string_equal(e->claims[1]->relay, "relay-2");
}

static void test_every_kind(void **state)
{
    (void)state;
    for (int k = EVENT_SESSION_OPENED; k <= EVENT_NODE_SEEN; k++) {
        struct event e = full_event((enum event_kind)k);
        arena_reset(&arena);
        Pb__EventBatch *batch = events_to_batch(&e, 1, stamp, &arena);
        assert_non_null(batch);
        assert_int_equal(batch->revision, 55);
        assert_int_equal(batch->n_events, 1);
        assert_full(batch->events[0], e.kind);
        assert_claims(batch->events[0]);
        uint8_t bytes[4096];
        size_t n = codec_encode(&batch->base, bytes, sizeof bytes);
        assert_true(n > 0);
        Pb__EventBatch *again =
            codec_decode_event_batch((struct bytes){bytes, n}, &arena);
        assert_non_null(again);
        assert_full(again->events[0], e.kind);
        assert_claims(again->events[0]);
    }
}

static void test_empty_event(void **state)
{
    (void)state;
    struct event e = {.kind = EVENT_VACATED};
    arena_reset(&arena);
    Pb__EventBatch *batch =
        events_to_batch(&e, 1, (struct event_stamp){.revision = 9}, &arena);
    assert_non_null(batch);
    assert_string_equal(batch->events[0]->device, "");
    assert_string_equal(batch->events[0]->text, "");
    assert_int_equal(batch->events[0]->n_capabilities, 0);
    assert_int_equal(batch->events[0]->wall_ms, 0);
}

/* As many as one entry may cause, of the largest kind, fit the arena that the turn has for it, and keep their order. */
static void test_most_events(void **state)
{
    (void)state;
    static char name[NAME_BYTES_MAX + 1];
    struct event *all = calloc(512, sizeof *all);
    uint8_t *bytes = malloc(1u << 20);
    assert_non_null(all);
    assert_non_null(bytes);
    memset(name, 'n', NAME_BYTES_MAX);
    for (uint32_t i = 0; i < 512; i++) {
        all[i] = full_event(EVENT_CLAIM_REJECTED);
        all[i].group = all[i].device = all[i].tab = text(name);
        all[i].namespace_name = text(name);
        all[i].session = i + 1;
    }
    arena_reset(&arena);
    Pb__EventBatch *batch = events_to_batch(all, 512, stamp, &arena);
    assert_non_null(batch);
    assert_int_equal(batch->n_events, 512);
    for (uint32_t i = 0; i < 512; i++) {
        assert_int_equal(batch->events[i]->session, i + 1);
    }
    /* And one client frame. */
    assert_true(codec_encode(&batch->base, bytes, 1u << 20) > 0);
    free(bytes);
    free(all);
}

static void test_full_arena(void **state)
{
    (void)state;
    struct event e = full_event(EVENT_CLAIM_REJECTED);
    struct arena small;
    uint8_t room[4096];
    bool made = false;
    /* Whatever is left, it's the whole batch or none. */
    for (size_t n = 0; n <= sizeof room && !made; n += 16) {
        arena_init(&small, room, n);
        Pb__EventBatch *batch = events_to_batch(&e, 1, stamp, &small);
        made = batch != NULL && !small.full;
        assert_true(batch == NULL || batch->events[0]->n_claims == 2);
    }
    assert_true(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_empty_event),
        cmocka_unit_test(test_most_events),
        cmocka_unit_test(test_full_arena),
    };
    return cmocka_run_group_tests(tests, make_arena, drop_arena);
}

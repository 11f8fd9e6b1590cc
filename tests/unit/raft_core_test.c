/* One core alone, its peers played by the test: what scripts can't reach, malformed input and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "raft/core.h"
#include "tests/unit/assert_stub.h"

#define ELECTION_MS 1000

static struct raft_out out;

struct fixture {
    void *memory;
    struct raft *r;
    struct raft_in in;
};

static const struct raft_options options = {.id = 1,
                                            .election_ms = ELECTION_MS,
                                            .heartbeat_ms = 100,
                                            .clock_drift_ppm = 500,
                                            .inflight_max = 1024,
                                            .append_entries_max = 4,
                                            .seed = 3,
                                            .prevote = true,
                                            .check_quorum = true};

static struct raft_config voters_up_to(raft_id n)
{
    struct raft_config c = {.index = 0};
    for (raft_id id = 1; id <= n; id++) {
        c.voters.ids[c.voters.n] = id;
        c.voters.n++;
    }
    return c;
}

static struct fixture booted(raft_id voters, const struct raft_boot *given)
{
    struct fixture f = {.in = {.now_ms = 50, .batch = 1}};
    struct raft_boot boot = *given;
    boot.snapshot_config = voters_up_to(voters);
    f.memory = aligned_alloc(16, (raft_bytes() + 15) / 16 * 16);
    assert_non_null(f.memory);
    memset(f.memory, 0, raft_bytes());
    f.r = raft_init(f.memory, &options, &boot);
    for (raft_index i = boot.snapshot.index; i < boot.last; i++) {
        const struct raft_entry entry = {.term = boot.term,
                                         .kind = RAFT_NORMAL};
        raft_boot_entry(f.r, &entry);
    }
    raft_booted(f.r, f.in.now_ms);
    raft_out_reset(&out);
    return f;
}

static void hear(struct fixture *f, const struct raft_message *m)
{
    raft_out_reset(&out);
    raft_receive(f->r, &f->in, m, &out);
    raft_check(f->r);
}

static void store(struct fixture *f)
{
    const uint64_t batch = f->in.batch;
    f->in.batch++;
    raft_out_reset(&out);
    raft_stored(f->r, &f->in, batch,
                (struct raft_pos){.index = raft_last(f->r), .term = 0}, &out);
    raft_check(f->r);
}

static void tick(struct fixture *f, uint64_t now_ms)
{
    f->in.now_ms = now_ms;
    raft_out_reset(&out);
    raft_tick(f->r, &f->in, &out);
    raft_check(f->r);
}

/* Elected with the vote of node 2, and of the others up to a majority. */
static void elect(struct fixture *f, raft_id voters)
{
    tick(f, raft_deadline_ms(f->r));
    struct raft_message reply = {.type = RAFT_VOTE_REPLY,
                                 .term = raft_term_now(f->r) + 1,
                                 .round = f->r->campaign,
                                 .success = true,
                                 .pre = true};
    for (raft_id id = 2; id <= voters / 2 + 1; id++) {
        reply.from = id;
        hear(f, &reply);
    }
    assert_int_equal(raft_role_now(f->r), RAFT_CANDIDATE);
    store(f);
    reply.pre = false;
    for (raft_id id = 2; id <= voters / 2 + 1; id++) {
        reply.from = id;
        hear(f, &reply);
    }
    assert_int_equal(raft_role_now(f->r), RAFT_LEADER);
}

static raft_index propose(struct fixture *f, uint32_t n)
{
    raft_index first = 0;
    raft_out_reset(&out);
    assert_int_equal(raft_propose(f->r, &f->in, n, &out, &first), BATON_OK);
    assert_int_equal(out.append_first, first);
    assert_int_equal(out.append_n, n);
    raft_check(f->r);
    return first;
}

static void flush(struct fixture *f)
{
    raft_out_reset(&out);
    raft_flush(f->r, &f->in, &out);
    raft_check(f->r);
}

static void ack(struct fixture *f, raft_id from, raft_index index)
{
    hear(f, &(struct raft_message){.type = RAFT_APPEND_REPLY,
                                   .from = from,
                                   .term = raft_term_now(f->r),
                                   .index = index,
                                   .success = true});
}

static void timeouts_are_spread(void **state)
{
    (void)state;
    uint64_t lowest = UINT64_MAX;
    uint64_t highest = 0;
    struct fixture f = booted(3, &(struct raft_boot){.term = 0});
    for (int i = 0; i < 1000; i++) {
        const uint64_t now_ms = raft_deadline_ms(f.r);
        tick(&f, now_ms);
        const uint64_t wait_ms = raft_deadline_ms(f.r) - now_ms;
        lowest = wait_ms < lowest ? wait_ms : lowest;
        highest = wait_ms > highest ? wait_ms : highest;
    }
    assert_true(lowest >= ELECTION_MS);
    assert_true(lowest < ELECTION_MS + 50);
    assert_true(highest <= 2 * ELECTION_MS);
    assert_true(highest > 2 * ELECTION_MS - 50);
    /* A thousand pre-votes later the term is what it was. */
    assert_int_equal(raft_term_now(f.r), 0);
    free(f.memory);
}

static void malformed_entries(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 2, .last = 4});
    const struct raft_config bad = {.index = 0};
    const struct raft_entry falling[] = {{.term = 3, .kind = RAFT_NORMAL},
                                         {.term = 2, .kind = RAFT_NORMAL}};
    const struct raft_entry future[] = {{.term = 9, .kind = RAFT_NORMAL}};
    const struct raft_entry zero[] = {{.term = 0, .kind = RAFT_NORMAL}};
    const struct raft_entry no_config[] = {{.term = 3, .kind = RAFT_CONFIG}};
    const struct raft_entry bad_config[] = {
        {.term = 3, .kind = RAFT_CONFIG, .config = &bad}};
    const struct {
        const struct raft_entry *entries;
        uint32_t n;
        raft_index index;
        raft_term log_term;
    } rows[] = {
        {falling, 2, 4, 2},   {future, 1, 4, 2},     {zero, 1, 4, 2},
        {no_config, 1, 4, 2}, {bad_config, 1, 4, 2}, {NULL, 1, 4, 2},
        {falling, 1, 4, 4}, /* older than the one before */
        {NULL, 0, 9, 0},    /* behind our log, of no term */
        {NULL, 0, 4, 7},    /* of a later term than the leader's */
    };
    for (size_t i = 0; i < countof(rows); i++) {
        hear(&f, &(struct raft_message){.type = RAFT_APPEND,
                                        .from = 2,
                                        .term = 3,
                                        .index = rows[i].index,
                                        .log_term = rows[i].log_term,
                                        .entries_n = rows[i].n,
                                        .entries = rows[i].entries});
        assert_int_equal(raft_last(f.r), 4);
        assert_int_equal(out.sends_n, 0);
        assert_int_equal(out.append_n, 0);
        assert_int_equal(out.truncate_from, 0);
    }
    free(f.memory);
}

static void strange_messages(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 2, .last = 4});
    for (int type = RAFT_VOTE; type <= RAFT_SNAPSHOT_REPLY; type++) {
        const enum raft_message_type t = (enum raft_message_type)type;
        /* From nobody, from ourselves, of no term. */
        hear(&f, &(struct raft_message){.type = t, .from = 0, .term = 9});
        hear(&f, &(struct raft_message){.type = t, .from = 1, .term = 9});
        hear(&f, &(struct raft_message){.type = t, .from = 2, .term = 0});
        assert_int_equal(raft_term_now(f.r), 2);
        assert_int_equal(out.sends_n, 0);
    }
    elect(&f, 3);
    (void)propose(&f, 1);
    flush(&f);
    /* About entries and rounds that never were. */
    ack(&f, 2, 99);
    hear(&f, &(struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                    .from = 2,
                                    .term = 3,
                                    .round = 77,
                                    .index = 5});
    hear(&f, &(struct raft_message){.type = RAFT_SNAPSHOT_REPLY,
                                    .from = 2,
                                    .term = 3,
                                    .index = 99,
                                    .success = true});
    assert_int_equal(raft_commit(f.r), 0);
    assert_false(raft_lease_valid(f.r, f.in.now_ms, 0));
    free(f.memory);
}

/* What the leader has committed may be other entries than those that we have there. */
static void commit_stops_at_the_match(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 2, .last = 9});
    hear(&f, &(struct raft_message){.type = RAFT_APPEND,
                                    .from = 2,
                                    .term = 3,
                                    .index = 4,
                                    .log_term = 2,
                                    .commit = 8});
    assert_int_equal(raft_commit(f.r), 4);
    assert_int_equal(out.sends[0].message.index, 4);
    assert_true(out.sends[0].message.success);
    const struct raft_entry known[] = {{.term = 2, .kind = RAFT_NORMAL},
                                       {.term = 2, .kind = RAFT_NORMAL}};
    hear(&f, &(struct raft_message){.type = RAFT_APPEND,
                                    .from = 2,
                                    .term = 3,
                                    .index = 4,
                                    .log_term = 2,
                                    .commit = 8,
                                    .entries_n = 2,
                                    .entries = known});
    assert_int_equal(raft_commit(f.r), 6);
    assert_int_equal(raft_last(f.r), 9);
    assert_int_equal(out.truncate_from, 0);
    /* Behind the commit index an old append asks for nothing, whatever it holds. */
    const struct raft_entry old[] = {{.term = 1, .kind = RAFT_NORMAL}};
    hear(&f, &(struct raft_message){.type = RAFT_APPEND,
                                    .from = 2,
                                    .term = 3,
                                    .index = 2,
                                    .log_term = 1,
                                    .commit = 8,
                                    .entries_n = 1,
                                    .entries = old});
    assert_int_equal(raft_last(f.r), 9);
    assert_int_equal(raft_commit(f.r), 6);
    assert_int_equal(out.sends[0].message.index, 6);
    free(f.memory);
}

static void out_is_bounded(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 0});
    elect(&f, 3);
    (void)propose(&f, 1);
    flush(&f);
    ack(&f, 2, 1);
    ack(&f, 3, 1);
    flush(&f);
    (void)propose(&f, 2000);
    flush(&f);
    /* 500 messages for each of two: what doesn't fit goes with the next flush, which is due at once. */
    assert_int_equal(out.sends_n, RAFT_SENDS_MAX);
    assert_int_equal(raft_deadline_ms(f.r), 0);
    uint32_t sent = out.sends_n;
    while (raft_deadline_ms(f.r) == 0) {
        flush(&f);
        sent += out.sends_n;
    }
    assert_int_equal(sent, 1000);
    /* Notes beyond the last place are dropped, messages too, and nothing breaks. */
    raft_out_reset(&out);
    for (int i = 0; i < 1000; i++) {
        raft_receive(f.r, &f.in,
                     &(struct raft_message){
                         .type = RAFT_VOTE, .from = 2, .term = 5, .pre = true},
                     &out);
    }
    assert_int_equal(out.notes_n, RAFT_NOTES_MAX);
    assert_int_equal(out.sends_n, RAFT_SENDS_MAX);
    free(f.memory);
}

static void uncommitted_is_bounded(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 0});
    raft_index first = 0;
    elect(&f, 3);
    (void)propose(&f, UNCOMMITTED_MAX);
    raft_out_reset(&out);
    assert_int_equal(raft_propose(f.r, &f.in, 1, &out, &first), BATON_BUSY);
    assert_int_equal(first, 0);
    assert_int_equal(out.append_n, 0);
    free(f.memory);
}

/* A log of one entry a term, as elections in a row would leave it. */
static void too_many_terms(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 0});
    for (raft_term term = 1; term <= TERMS_MAX + 3; term++) {
        const struct raft_entry entry = {.term = term, .kind = RAFT_NOOP};
        hear(&f, &(struct raft_message){.type = RAFT_APPEND,
                                        .from = 2 + (term & 1),
                                        .term = term,
                                        .index = term - 1,
                                        .log_term = term - 1,
                                        .commit = term - 1,
                                        .entries_n = 1,
                                        .entries = &entry});
        store(&f);
    }
    /* What there was room for. */
    assert_int_equal(raft_last(f.r), TERMS_MAX);
    tick(&f, raft_deadline_ms(f.r));
    assert_int_equal(raft_role_now(f.r), RAFT_FOLLOWER);
    assert_non_null(strstr(out.notes[0], "too many terms"));
    raft_applied(f.r, 1000);
    raft_compacted(f.r, 1001);
    raft_check(f.r);
    tick(&f, raft_deadline_ms(f.r));
    assert_int_equal(raft_role_now(f.r), RAFT_PRECANDIDATE);
    free(f.memory);
}

static void snapshot_rules(void **state)
{
    (void)state;
    struct fixture f =
        booted(3, &(struct raft_boot){.term = 2, .last = 10, .commit = 4});
    const struct raft_config config = voters_up_to(3);
    /* Nothing to win (R17). */
    assert_false(raft_snapshot_installed(
        f.r, (struct raft_pos){.index = 4, .term = 2}, &config));
    assert_int_equal(raft_first(f.r), 1);
    /* Ours at 7 is of that term: what's behind stays. */
    assert_true(raft_snapshot_installed(
        f.r, (struct raft_pos){.index = 7, .term = 2}, &config));
    raft_check(f.r);
    assert_int_equal(raft_first(f.r), 8);
    assert_int_equal(raft_last(f.r), 10);
    assert_int_equal(raft_commit(f.r), 7);
    /* Ours at 9 isn't: all of it goes. */
    struct raft_config other = voters_up_to(5);
    other.index = 9;
    assert_true(raft_snapshot_installed(
        f.r, (struct raft_pos){.index = 9, .term = 1}, &other));
    raft_check(f.r);
    assert_int_equal(raft_first(f.r), 10);
    assert_int_equal(raft_last(f.r), 9);
    assert_int_equal(raft_term_at(f.r, 9), 1);
    assert_int_equal(raft_config_now(f.r)->voters.n, 5);
    assert_null(raft_config_at(f.r, 8));
    free(f.memory);
}

/* Between the queue and the disk a snapshot mustn't be overtaken. */
static void nothing_overtakes_an_install(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 2, .last = 10});
    const struct raft_config config = voters_up_to(3);
    struct raft_message m = {.type = RAFT_SNAPSHOT, .from = 2, .term = 2};
    hear(&f, &m);
    raft_snapshot_installing(f.r);
    m.type = RAFT_APPEND;
    m.index = 10;
    m.log_term = 2;
    m.commit = 10;
    hear(&f, &m);
    assert_int_equal(out.sends_n, 0);
    m.type = RAFT_HEARTBEAT;
    m.round = 3;
    hear(&f, &m);
    assert_int_equal(out.sends_n, 1);
    assert_int_equal(raft_commit(f.r), 0);
    tick(&f, raft_deadline_ms(f.r));
    assert_int_equal(raft_role_now(f.r), RAFT_FOLLOWER);
    assert_non_null(strstr(out.notes[0], "installs a snapshot"));
    assert_true(raft_snapshot_installed(
        f.r, (struct raft_pos){.index = 8, .term = 2}, &config));
    hear(&f, &m);
    assert_int_equal(raft_commit(f.r), 10);
    tick(&f, raft_deadline_ms(f.r));
    assert_int_equal(raft_role_now(f.r), RAFT_PRECANDIDATE);
    free(f.memory);
}

static void one_snapshot_at_a_time(void **state)
{
    (void)state;
    struct fixture f =
        booted(3, &(struct raft_boot){.term = 2,
                                      .snapshot = {.index = 50, .term = 2},
                                      .last = 60,
                                      .commit = 50});
    elect(&f, 3);
    (void)propose(&f, 1);
    flush(&f);
    for (raft_id id = 2; id <= 3; id++) {
        hear(&f, &(struct raft_message){.type = RAFT_APPEND_REPLY,
                                        .from = id,
                                        .term = 3,
                                        .index = 60,
                                        .hint_index = 3,
                                        .hint_term = 1});
    }
    flush(&f);
    assert_int_equal(out.snapshot_to, 2);
    flush(&f);
    assert_int_equal(out.snapshot_to, 3);
    flush(&f);
    assert_int_equal(out.snapshot_to, 0);
    raft_out_reset(&out);
    raft_snapshot_sent(f.r, &f.in, 2, 50, true, &out);
    flush(&f);
    assert_int_equal(out.sends_n, 1);
    assert_int_equal(out.sends[0].message.index, 50);
    assert_int_equal(out.sends[0].message.log_term, 2);
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    assert_int_equal(raft_peers(f.r, peers), 2);
    assert_false(peers[0].snapshot);
    assert_true(peers[1].snapshot);
    assert_true(peers[1].voter);
    free(f.memory);
}

static void quiet_follower(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 2, .last = 3});
    raft_out_reset(&out);
    raft_step_down(f.r, &f.in, "no reason", &out);
    raft_flush(f.r, &f.in, &out);
    assert_int_equal(out.notes_n, 0);
    assert_false(out.role_changed);
    assert_int_equal(out.sends_n, 0);
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    assert_int_equal(raft_peers(f.r, peers), 0);
    uint64_t ticket = 0;
    assert_int_equal(raft_read(f.r, &f.in, &ticket), BATON_NOT_LEADER);
    assert_int_equal(raft_transfer(f.r, &f.in, 2, &out), BATON_NOT_LEADER);
    assert_string_equal(raft_role_name(RAFT_PRECANDIDATE), "precandidate");
    free(f.memory);
}

/* A leader whose quorum is all quarantined commits nothing, and isn't counted as heard. */
static void quarantine_counts_for_nothing(void **state)
{
    (void)state;
    struct fixture f = booted(3, &(struct raft_boot){.term = 0});
    elect(&f, 3);
    (void)propose(&f, 1);
    flush(&f);
    store(&f);
    raft_quarantine(f.r, 2, true);
    ack(&f, 2, 1);
    assert_int_equal(raft_commit(f.r), 0);
    raft_quarantine(f.r, 2, false);
    ack(&f, 2, 1);
    assert_int_equal(raft_commit(f.r), 1);
    assert_true(raft_term_committed(f.r));
    raft_quarantine(f.r, 2, true);
    raft_quarantine(f.r, 3, true);
    tick(&f, f.in.now_ms + ELECTION_MS);
    assert_int_equal(raft_role_now(f.r), RAFT_FOLLOWER);
    free(f.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timeouts_are_spread),
        cmocka_unit_test(malformed_entries),
        cmocka_unit_test(strange_messages),
        cmocka_unit_test(commit_stops_at_the_match),
        cmocka_unit_test(out_is_bounded),
        cmocka_unit_test(uncommitted_is_bounded),
        cmocka_unit_test(too_many_terms),
        cmocka_unit_test(snapshot_rules),
        cmocka_unit_test(nothing_overtakes_an_install),
        cmocka_unit_test(one_snapshot_at_a_time),
        cmocka_unit_test(quiet_follower),
        cmocka_unit_test(quarantine_counts_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

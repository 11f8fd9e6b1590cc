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

#define STEPS       10000
#define RESTORE_MAX 97 /* steps between two restores, at most */
#define LEASES      8
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
    uint64_t seed;
    uint64_t leases[LEASES];    /* ids, 0: none */
    uint64_t sequences[LEASES]; /* last used */
    struct sent sent[HISTORY];
    uint32_t sent_n;
    uint32_t ops[64]; /* how many of each were OK */
    uint32_t duplicates;
    uint32_t restores;
    uint32_t events_most;
};

/* splitmix64 */
static uint64_t draw(struct run *run)
{
    uint64_t z = run->seed += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static uint32_t below(struct run *run, uint32_t n)
{
    return (uint32_t)(draw(run) % n);
}

static bool one_in(struct run *run, uint32_t n)
{
    return below(run, n) == 0;
}

/* --- picking --------------------------------------------------------------------------------------------------------- */
static char *pick_text(struct run *run, const char *const *list, uint32_t n)
{
    static const char *const bad[] = {"", "a/b", "\x01", "\xff\xfe"};
    const char *text =
        one_in(run, 60) ? bad[below(run, countof(bad))] : list[below(run, n)];
    return (char *)(uintptr_t)text;
}

static void pick_path(struct run *run, Pb__Path *out, bool device)
{
    static const char *const namespaces[] = {"acme", "umbrella"};
    static const char *const groups[] = {"alice", "bob", "chatroom-7"};
    static const char *const devices[] = {
        "laptop", "phone", "a device with a name of more than thirty bytes"};
    pb__path__init(out);
    out->namespace_ = pick_text(run, namespaces, countof(namespaces));
    out->group = pick_text(run, groups, countof(groups));
    if (device) {
        out->device = pick_text(run, devices, countof(devices));
    }
}

/* Mostly one that's there. */
static uint64_t pick_session(struct run *run)
{
    uint32_t high = registry_session_slots(run->a.r);
    for (int i = 0; i < 8 && high > 0; i++) {
        struct session_view view;
        if (registry_session_at(run->a.r, 1 + below(run, high), &view)) {
            return view.id;
        }
    }
    return 1 + draw(run) % (run->a.index + 2);
}

static uint64_t pick_lease(struct run *run)
{
    uint32_t high = registry_lease_slots(run->a.r);
    struct lease_view view;
    if (!one_in(run, 50) && high > 0 &&
        registry_lease_at(run->a.r, 1 + below(run, high), &view)) {
        return view.id;
    }
    return 1 + draw(run) % (run->a.index + 2);
}

/* --- one command, in static storage until the next ----------------------------------------------------------------- */
struct message {
    Pb__Command command;
    Pb__Path path;
    Pb__Capability caps[10];
    Pb__Capability *cap_list[10];
    uint8_t secret[16];
    uint8_t state[300];
    uint64_t ids[SWEEP_MAX + 1];
    Pb__ClaimEvidence claims[2];
    Pb__Policy policy;
    Pb__Weight weight;
    Pb__Weight *weights[1];
    Pb__OpenLease open_lease;
    Pb__CloseLease close_lease;
    Pb__ExpireLease expire_lease;
    Pb__SweepLease sweep_lease;
    Pb__Touched touched;
    Pb__TermStart term_start;
    Pb__NodeSeen node_seen;
    Pb__OpenSession open_session;
    Pb__UpdateSession update_session;
    Pb__CloseSession close_session;
    Pb__AttachSession attach_session;
    Pb__EndGrace end_grace;
    Pb__Handoff handoff;
    Pb__AnswerOffer answer_offer;
    Pb__Yield yield;
    Pb__Resign resign;
    Pb__Demote demote;
    Pb__ScopeDue scope_due;
    Pb__RecordClaim record_claim;
    Pb__Rescore rescore;
    Pb__SetPolicy set_policy;
    Pb__SetLimits set_limits;
};

static uint32_t make_caps(struct run *run, struct message *m)
{
    uint32_t n = below(run, 4);
    for (uint32_t i = 0; i < n; i++) {
        pb__capability__init(&m->caps[i]);
        m->caps[i].key =
            (Pb__CapabilityKey)(one_in(run, 80) ? 77 : 1 + below(run, 9));
        m->caps[i].value = one_in(run, 60)  ? -101
                           : one_in(run, 2) ? (int32_t)below(run, 2)
                                            : (int32_t)below(run, 100);
        if (m->caps[i].key == PB__CAPABILITY_KEY__RTT_MS && one_in(run, 2)) {
            m->caps[i].value = 3000;
        }
        if (m->caps[i].key == PB__CAPABILITY_KEY__KIND ||
            m->caps[i].key == PB__CAPABILITY_KEY__NETWORK) {
            m->caps[i].value = 1 + (int32_t)below(run, 5);
        }
        m->cap_list[i] = &m->caps[i];
    }
    return n;
}

static ProtobufCBinaryData make_secret(struct run *run, struct message *m)
{
    memset(m->secret, 0, sizeof m->secret);
    m->secret[0] = one_in(run, 20) ? 1 : 7;
    return codec_binary((struct bytes){m->secret, one_in(run, 90) ? 3 : 16});
}

static ProtobufCBinaryData make_state(struct run *run, struct message *m)
{
    memset(m->state, 5, sizeof m->state);
    size_t n = one_in(run, 2) ? 0 : below(run, sizeof m->state);
    return codec_binary((struct bytes){m->state, n});
}

static uint32_t pick_attachment(struct run *run, uint64_t session)
{
    struct session_view view;
    if (one_in(run, 3)) {
        return 0;
    }
    return registry_session(run->a.r, session, &view) == BATON_OK &&
                   !one_in(run, 20)
               ? view.attachment
               : 1 + below(run, 3);
}

static void make_client(struct run *run, struct message *m, uint32_t at);

/* From the lease that may speak for the session, mostly. */
static void aim(struct run *run, struct message *m, uint64_t session)
{
    struct session_view view;
    if (one_in(run, 12) ||
        registry_session(run->a.r, session, &view) != BATON_OK) {
        return;
    }
    for (uint32_t k = 0; k < LEASES; k++) {
        if (run->leases[k] == view.lease) {
            make_client(run, m, k);
            return;
        }
    }
}

static void set_op(struct message *m, Pb__Command__OpCase op, void *body)
{
    m->command.op_case = op;
    m->command.open_lease = body; /* all members are pointers to messages */
}

static void make_session_op(struct run *run, struct message *m)
{
    uint64_t id = pick_session(run);
    switch (below(run, 9)) {
    case 8:
    case 0:
    case 1:
    case 2: {
        static const char *const tabs[] = {"t1", "t2", "t3", "tab-four"};
        pb__open_session__init(&m->open_session);
        pick_path(run, &m->path, true);
        m->open_session.path = &m->path;
        m->open_session.tab = pick_text(run, tabs, countof(tabs));
        m->open_session.secret = make_secret(run, m);
        m->open_session.n_capabilities = make_caps(run, m);
        m->open_session.capabilities = m->cap_list;
        m->open_session.observer = one_in(run, 8);
        set_op(m, PB__COMMAND__OP_OPEN_SESSION, &m->open_session);
        return;
    }
    case 3:
    case 4:
    case 5:
        pb__update_session__init(&m->update_session);
        aim(run, m, id);
        m->update_session.session = id;
        m->update_session.attachment = pick_attachment(run, id);
        m->update_session.n_capabilities = make_caps(run, m);
        m->update_session.capabilities = m->cap_list;
        m->update_session.set_observer = one_in(run, 6);
        m->update_session.observer = one_in(run, 2);
        set_op(m, PB__COMMAND__OP_UPDATE_SESSION, &m->update_session);
        return;
    case 6:
        pb__close_session__init(&m->close_session);
        aim(run, m, id);
        m->close_session.session = id;
        m->close_session.attachment = pick_attachment(run, id);
        m->close_session.state = make_state(run, m);
        set_op(m, PB__COMMAND__OP_CLOSE_SESSION, &m->close_session);
        return;
    default:
        pb__attach_session__init(&m->attach_session);
        m->attach_session.session = id;
        m->attach_session.secret = make_secret(run, m);
        set_op(m, PB__COMMAND__OP_ATTACH_SESSION, &m->attach_session);
        return;
    }
}

/* A scope as it is now: the fields that a command about it may name. */
static void pick_scope(struct run *run, struct message *m,
                       struct scope_view *out)
{
    uint32_t reason = REASON_NONE;
    *out = (struct scope_view){.session = 0};
    for (int i = 0; i < 12; i++) {
        pick_path(run, &m->path, one_in(run, 2));
        if (registry_scope(run->a.r, &m->path, out, &reason) == BATON_OK &&
            out->handing_over && !one_in(run, 3)) {
            return;
        }
    }
    if (registry_scope(run->a.r, &m->path, out, &reason) != BATON_OK &&
        one_in(run, 2)) {
        pick_path(run, &m->path, one_in(run, 2));
        (void)!registry_scope(run->a.r, &m->path, out, &reason);
    }
}

static void make_offer_op(struct run *run, struct message *m,
                          const struct scope_view *v)
{
    uint64_t to = one_in(run, 9) ? pick_session(run) : v->offer_to;
    if (v->accepted && !one_in(run, 5)) {
        uint64_t holder = one_in(run, 9) ? pick_session(run) : v->session;
        pb__yield__init(&m->yield);
        aim(run, m, holder);
        m->yield.scope = &m->path;
        m->yield.session = holder;
        m->yield.attachment = pick_attachment(run, holder);
        m->yield.epoch = v->epoch - one_in(run, 9);
        m->yield.state = make_state(run, m);
        set_op(m, PB__COMMAND__OP_YIELD, &m->yield);
        return;
    }
    pb__answer_offer__init(&m->answer_offer);
    aim(run, m, to);
    m->answer_offer.scope = &m->path;
    m->answer_offer.session = to;
    m->answer_offer.attachment = pick_attachment(run, to);
    m->answer_offer.offer = v->offer + one_in(run, 9);
    m->answer_offer.accept = !one_in(run, 4);
    set_op(m, PB__COMMAND__OP_ANSWER_OFFER, &m->answer_offer);
}

static void make_scope_op(struct run *run, struct message *m)
{
    static const char *const reasons[] = {"slow", "asked for"};
    struct scope_view v;
    pick_scope(run, m, &v);
    uint64_t epoch = one_in(run, 9) ? draw(run) % (run->a.index + 2) : v.epoch;
    if (v.handing_over && !one_in(run, 3)) {
        make_offer_op(run, m, &v);
        return;
    }
    switch (below(run, 4)) {
    case 0:
    case 1:
        pb__handoff__init(&m->handoff);
        m->handoff.scope = &m->path;
        m->handoff.to = one_in(run, 2)   ? 0
                        : one_in(run, 2) ? v.backup
                                         : pick_session(run);
        m->handoff.epoch = one_in(run, 2) ? 0 : epoch;
        set_op(m, PB__COMMAND__OP_HANDOFF, &m->handoff);
        return;
    case 2:
        pb__resign__init(&m->resign);
        m->resign.scope = &m->path;
        m->resign.epoch = epoch;
        m->resign.state = make_state(run, m);
        set_op(m, PB__COMMAND__OP_RESIGN, &m->resign);
        return;
    default:
        pb__demote__init(&m->demote);
        m->demote.scope = &m->path;
        m->demote.epoch = one_in(run, 2) ? 0 : epoch;
        m->demote.reason = pick_text(run, reasons, countof(reasons));
        set_op(m, PB__COMMAND__OP_DEMOTE, &m->demote);
        return;
    }
}

static void make_policy(struct run *run, struct message *m)
{
    pick_path(run, &m->path, false);
    pb__policy__init(&m->policy);
    pb__weight__init(&m->weight);
    m->weight.key = (Pb__CapabilityKey)(1 + below(run, 9));
    m->weight.weight = (int32_t)below(run, 1000) - 300;
    m->weights[0] = &m->weight;
    m->policy.n_weights = below(run, 2);
    m->policy.weights = m->weights;
    m->policy.margin = 1 + below(run, 100);
    m->policy.min_tenure_ms = 100 + below(run, 3000);
    m->policy.cooldown_ms = 1000 + below(run, 4000);
    m->policy.max_tenure_ms = one_in(run, 2) ? 0 : 5000 + below(run, 9000);
    m->policy.offer_ms = 100 + below(run, 2000);
    m->policy.yield_ms = 100 + below(run, 2000);
    m->policy.session_grace_ms = 4000 + below(run, 9000);
    m->policy.holder_grace_ms = 100 + below(run, 3000);
    m->policy.breaker_moves = below(run, 4);
    m->policy.breaker_window_ms = 1000 + below(run, 20000);
    m->policy.breaker_open_ms = 1000 + below(run, 20000);
    m->policy.demote_after_ms = 1000 * below(run, 3);
    m->policy.tabs_per_device_max = one_in(run, 4) ? 2 : 0;
    m->policy.devices_per_group_max = one_in(run, 9) ? 2 : 0;
    m->policy.state_bytes_max = one_in(run, 4) ? 100 : 0;
    pb__set_policy__init(&m->set_policy);
    m->set_policy.namespace_ = m->path.namespace_;
    m->set_policy.policy = &m->policy;
    set_op(m, PB__COMMAND__OP_SET_POLICY, &m->set_policy);
}

/* What the leader proposes of itself, right or wrong. */
static void make_leader_op(struct run *run, struct message *m)
{
    struct lease_view lease = {.renewals = 0};
    struct scope_view v;
    uint64_t id = pick_lease(run);
    m->command.proposer_term = one_in(run, 20) ? 99 : run->a.term;
    switch (one_in(run, 3) ? below(run, 3) : 2 + below(run, 7)) {
    case 0:
    case 1:
        (void)!registry_lease(run->a.r, id, &lease);
        pb__expire_lease__init(&m->expire_lease);
        m->expire_lease.lease = id;
        m->expire_lease.renewals = lease.renewals - one_in(run, 4);
        set_op(m, PB__COMMAND__OP_EXPIRE_LEASE, &m->expire_lease);
        return;
    case 2:
        pb__sweep_lease__init(&m->sweep_lease);
        m->sweep_lease.lease = id;
        m->sweep_lease.n_sessions =
            one_in(run, 20) ? SWEEP_MAX + 1 : below(run, 6);
        m->sweep_lease.sessions = m->ids;
        for (size_t i = 0; i < m->sweep_lease.n_sessions; i++) {
            m->ids[i] = pick_session(run);
        }
        set_op(m, PB__COMMAND__OP_SWEEP_LEASE, &m->sweep_lease);
        return;
    case 3:
        pb__touched__init(&m->touched);
        m->touched.lease_deltas = m->ids;
        m->touched.n_lease_deltas = 2;
        m->ids[0] = id;
        m->ids[1] = one_in(run, 9) ? 0 : 1 + below(run, 200);
        set_op(m, PB__COMMAND__OP_TOUCHED, &m->touched);
        return;
    case 4:
        pb__term_start__init(&m->term_start);
        m->term_start.wall_ms = draw(run) >> 20;
        set_op(m, PB__COMMAND__OP_TERM_START, &m->term_start);
        return;
    case 5:
        pb__node_seen__init(&m->node_seen);
        m->node_seen.node = below(run, 6);
        m->node_seen.incarnation = 1 + below(run, 2);
        m->node_seen.boot = below(run, 100);
        set_op(m, PB__COMMAND__OP_NODE_SEEN, &m->node_seen);
        return;
    case 6:
        pick_scope(run, m, &v);
        pb__scope_due__init(&m->scope_due);
        m->scope_due.scope = &m->path;
        m->scope_due.epoch = v.epoch;
        m->scope_due.offer = v.offer;
        set_op(m, PB__COMMAND__OP_SCOPE_DUE, &m->scope_due);
        return;
    case 7:
        pb__end_grace__init(&m->end_grace);
        m->end_grace.session = pick_session(run);
        m->end_grace.attachment = pick_attachment(run, m->end_grace.session);
        set_op(m, PB__COMMAND__OP_END_GRACE, &m->end_grace);
        return;
    default:
        pick_scope(run, m, &v);
        pb__record_claim__init(&m->record_claim);
        for (int i = 0; i < 2; i++) {
            pb__claim_evidence__init(&m->claims[i]);
            m->claims[i].session = pick_session(run);
            m->claims[i].epoch = draw(run) % (run->a.index + 2);
            m->claims[i].lease = pick_lease(run);
            m->claims[i].relay = "relay-1";
        }
        m->record_claim.scope = &m->path;
        m->record_claim.cause = PB__CAUSE__CAUSE_STALE_CLAIM;
        m->record_claim.stale = &m->claims[0];
        m->record_claim.valid = one_in(run, 2) ? &m->claims[1] : NULL;
        set_op(m, PB__COMMAND__OP_RECORD_CLAIM, &m->record_claim);
        return;
    }
}

static void make_client(struct run *run, struct message *m, uint32_t at)
{
    uint64_t sequence = ++run->sequences[at];
    m->command.lease = one_in(run, 50) ? pick_lease(run) : run->leases[at];
    m->command.sequence = one_in(run, 100) ? 0 : sequence;
    if (one_in(run, 200)) {
        m->command.sequence += 100000;
    }
    uint64_t lag = below(run, 40);
    m->command.first_outstanding =
        one_in(run, 100) ? sequence + 3 : (sequence > lag ? sequence - lag : 0);
}

static void make_command(struct run *run, struct message *m)
{
    pb__command__init(&m->command);
    m->command.version = COMMAND_VERSION;
    uint32_t at = below(run, LEASES);
    uint32_t kind = below(run, 100);
    if (kind < 6 || run->leases[at] == 0) {
        static const char *const labels[] = {"relay-1", "relay-2"};
        pb__open_lease__init(&m->open_lease);
        memset(m->secret, (int)below(run, 40), sizeof m->secret);
        m->open_lease.nonce =
            codec_binary((struct bytes){m->secret, one_in(run, 40) ? 5 : 16});
        m->open_lease.ttl_ms = one_in(run, 40) ? 5 : 10000;
        m->open_lease.label = pick_text(run, labels, countof(labels));
        set_op(m, PB__COMMAND__OP_OPEN_LEASE, &m->open_lease);
        return;
    }
    if (kind < 22) {
        make_leader_op(run, m);
        return;
    }
    make_client(run, m, at);
    if (kind < 23) {
        pb__close_lease__init(&m->close_lease);
        m->close_lease.detach = one_in(run, 2);
        set_op(m, PB__COMMAND__OP_CLOSE_LEASE, &m->close_lease);
    } else if (kind < 26) {
        make_policy(run, m);
    } else if (kind < 27) {
        pb__set_limits__init(&m->set_limits);
        m->set_limits.sessions_max = 20 + below(run, 600);
        set_op(m, PB__COMMAND__OP_SET_LIMITS, &m->set_limits);
    } else if (kind < 60) {
        make_scope_op(run, m);
    } else {
        make_session_op(run, m);
    }
}

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
    uint32_t max = 1 + below(run, DUE_MAX);
    uint32_t n = registry_due(run->a.r, run->a.time_ms, commands, max, &arena);
    assert_true(n <= max);
    for (uint32_t i = 0; i < n; i++) {
        commands[i].proposer_term = run->a.term;
        sizes[i] = codec_encode(&commands[i].base, bytes[i], sizeof bytes[i]);
        assert_true(sizes[i] > 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t times = one_in(run, 20) ? 2 : !one_in(run, 20); times > 0;
             times--) {
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

/* Leases as they were opened, by hand: those that ended make room. */
static void note_leases(struct run *run)
{
    const struct registry_out *out = run->a.out;
    for (uint32_t i = 0; i < out->events_n; i++) {
        const struct event *e = &out->events[i];
        uint32_t at = below(run, LEASES);
        for (uint32_t k = 0; k < LEASES; k++) {
            if (e->kind == EVENT_LEASE_ENDED && run->leases[k] == e->lease &&
                !one_in(run, 4)) {
                run->leases[k] = 0;
            }
            at = run->leases[k] == 0 ? k : at;
        }
        if (e->kind == EVENT_LEASE_OPENED) {
            run->leases[at] = e->lease;
            run->sequences[at] = 0;
        }
    }
}

/* What was said once is said again, while the lease remembers. */
static void retry(struct run *run)
{
    static uint8_t memory[1 << 16];
    if (run->sent_n == 0) {
        return;
    }
    uint32_t kept = run->sent_n < HISTORY ? run->sent_n : HISTORY;
    const struct sent *sent = &run->sent[below(run, kept)];
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
    if (one_in(run, 12)) {
        run->a.time_ms += below(run, one_in(run, 9) ? 6000 : 700);
    }
    if (one_in(run, 400)) {
        run->a.term++;
    }
    if (one_in(run, 6)) {
        apply_due(run);
        note_leases(run);
    }
    if (one_in(run, 8)) {
        retry(run);
        return;
    }
    make_command(run, &message);
    size_t n = codec_encode(&message.command.base, bytes, sizeof bytes);
    assert_true(n > 0);
    arena_init(&arena, memory, sizeof memory);
    Pb__Command *c = codec_decode_command((struct bytes){bytes, n}, &arena);
    assert_non_null(c);
    apply_both(run, c);
    note_sent(run, c);
    note_leases(run);
}

static void random_run(uint64_t seed)
{
    static struct run run;
    run = (struct run){.seed = seed};
    kit_init(&run.a);
    (void)kit_apply(&run.a, NULL);
    restore(&run);
    uint32_t next = 1;
    for (uint32_t i = 0; i < STEPS; i++) {
        step(&run);
        if (i == next) {
            restore(&run);
            next = i + 1 + below(&run, RESTORE_MAX);
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
    for (uint64_t i = 1; i <= 4; i++) {
        random_run(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/registry_noise.h"

#include <string.h>

#include "proto/codec.h"

/* splitmix64 */
uint64_t noise_draw(struct noise *noise)
{
    uint64_t z = noise->seed += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

uint32_t noise_below(struct noise *noise, uint32_t n)
{
    return (uint32_t)(noise_draw(noise) % n);
}

bool noise_one_in(struct noise *noise, uint32_t n)
{
    return noise_below(noise, n) == 0;
}

/* --- picking --------------------------------------------------------------------------------------------------------- */
static char *pick_text(struct noise *noise, const char *const *list, uint32_t n)
{
    static const char *const bad[] = {"", "a/b", "\x01", "\xff\xfe"};
    const char *text = noise_one_in(noise, 60)
                           ? bad[noise_below(noise, countof(bad))]
                           : list[noise_below(noise, n)];
    return (char *)(uintptr_t)text;
}

static void pick_path(struct noise *noise, Pb__Path *out, bool device)
{
    static const char *const namespaces[] = {"acme", "umbrella"};
    static const char *const groups[] = {"alice", "bob", "chatroom-7"};
    static const char *const devices[] = {
        "laptop", "phone", "a device with a name of more than thirty bytes"};
    pb__path__init(out);
    out->namespace_ = pick_text(noise, namespaces, countof(namespaces));
    out->group = pick_text(noise, groups, countof(groups));
    if (device) {
        out->device = pick_text(noise, devices, countof(devices));
    }
}

/* Mostly one that's there. */
static uint64_t pick_session(struct noise *noise)
{
    uint32_t high = registry_session_slots(noise->r);
    for (int i = 0; i < 8 && high > 0; i++) {
        struct session_view view;
        if (registry_session_at(noise->r, 1 + noise_below(noise, high),
                                &view)) {
            return view.id;
        }
    }
    return 1 + noise_draw(noise) % (registry_applied(noise->r) + 2);
}

static uint64_t pick_lease(struct noise *noise)
{
    uint32_t high = registry_lease_slots(noise->r);
    struct lease_view view;
    if (!noise_one_in(noise, 50) && high > 0 &&
        registry_lease_at(noise->r, 1 + noise_below(noise, high), &view)) {
        return view.id;
    }
    return 1 + noise_draw(noise) % (registry_applied(noise->r) + 2);
}

static uint32_t make_caps(struct noise *noise, struct message *m)
{
    uint32_t n = noise_below(noise, 4);
    for (uint32_t i = 0; i < n; i++) {
        pb__capability__init(&m->caps[i]);
        m->caps[i].key = (Pb__CapabilityKey)(noise_one_in(noise, 80)
                                                 ? 77
                                                 : 1 + noise_below(noise, 9));
        m->caps[i].value = noise_one_in(noise, 60) ? -101
                           : noise_one_in(noise, 2)
                               ? (int32_t)noise_below(noise, 2)
                               : (int32_t)noise_below(noise, 100);
        if (m->caps[i].key == PB__CAPABILITY_KEY__RTT_MS &&
            noise_one_in(noise, 2)) {
            m->caps[i].value = 3000;
        }
        if (m->caps[i].key == PB__CAPABILITY_KEY__KIND ||
            m->caps[i].key == PB__CAPABILITY_KEY__NETWORK) {
            m->caps[i].value = 1 + (int32_t)noise_below(noise, 5);
        }
        m->cap_list[i] = &m->caps[i];
    }
    return n;
}

static ProtobufCBinaryData make_secret(struct noise *noise, struct message *m)
{
    memset(m->secret, 0, sizeof m->secret);
    m->secret[0] = noise_one_in(noise, 20) ? 1 : 7;
    return codec_binary(
        (struct bytes){m->secret, noise_one_in(noise, 90) ? 3 : 16});
}

static ProtobufCBinaryData make_state(struct noise *noise, struct message *m)
{
    memset(m->state, 5, sizeof m->state);
    size_t n = noise_one_in(noise, 2) ? 0 : noise_below(noise, sizeof m->state);
    return codec_binary((struct bytes){m->state, n});
}

static uint32_t pick_attachment(struct noise *noise, uint64_t session)
{
    struct session_view view;
    if (noise_one_in(noise, 3)) {
        return 0;
    }
    return registry_session(noise->r, session, &view) == BATON_OK &&
                   !noise_one_in(noise, 20)
               ? view.attachment
               : 1 + noise_below(noise, 3);
}

static void make_client(struct noise *noise, struct message *m, uint32_t at);

/* From the lease that may speak for the session, mostly. */
static void aim(struct noise *noise, struct message *m, uint64_t session)
{
    struct session_view view;
    if (noise_one_in(noise, 12) ||
        registry_session(noise->r, session, &view) != BATON_OK) {
        return;
    }
    for (uint32_t k = 0; k < NOISE_LEASES; k++) {
        if (noise->leases[k] == view.lease) {
            make_client(noise, m, k);
            return;
        }
    }
}

static void set_op(struct message *m, Pb__Command__OpCase op, void *body)
{
    m->command.op_case = op;
    m->command.open_lease = body; /* all members are pointers to messages */
}

static void make_session_op(struct noise *noise, struct message *m)
{
    uint64_t id = pick_session(noise);
    switch (noise_below(noise, 9)) {
    case 8:
    case 0:
    case 1:
    case 2: {
        static const char *const tabs[] = {"t1", "t2", "t3", "tab-four"};
        pb__open_session__init(&m->open_session);
        pick_path(noise, &m->path, true);
        m->open_session.path = &m->path;
        m->open_session.tab = pick_text(noise, tabs, countof(tabs));
        m->open_session.secret = make_secret(noise, m);
        m->open_session.n_capabilities = make_caps(noise, m);
        m->open_session.capabilities = m->cap_list;
        m->open_session.observer = noise_one_in(noise, 8);
        set_op(m, PB__COMMAND__OP_OPEN_SESSION, &m->open_session);
        return;
    }
    case 3:
    case 4:
    case 5:
        pb__update_session__init(&m->update_session);
        aim(noise, m, id);
        m->update_session.session = id;
        m->update_session.attachment = pick_attachment(noise, id);
        m->update_session.n_capabilities = make_caps(noise, m);
        m->update_session.capabilities = m->cap_list;
        m->update_session.set_observer = noise_one_in(noise, 6);
        m->update_session.observer = noise_one_in(noise, 2);
        set_op(m, PB__COMMAND__OP_UPDATE_SESSION, &m->update_session);
        return;
    case 6:
        pb__close_session__init(&m->close_session);
        aim(noise, m, id);
        m->close_session.session = id;
        m->close_session.attachment = pick_attachment(noise, id);
        m->close_session.state = make_state(noise, m);
        set_op(m, PB__COMMAND__OP_CLOSE_SESSION, &m->close_session);
        return;
    default:
        pb__attach_session__init(&m->attach_session);
        m->attach_session.session = id;
        m->attach_session.secret = make_secret(noise, m);
        set_op(m, PB__COMMAND__OP_ATTACH_SESSION, &m->attach_session);
        return;
    }
}

/* A scope as it is now: the fields that a command about it may name. */
static void pick_scope(struct noise *noise, struct message *m,
                       struct scope_view *out)
{
    uint32_t reason = REASON_NONE;
    *out = (struct scope_view){.session = 0};
    for (int i = 0; i < 12; i++) {
        pick_path(noise, &m->path, noise_one_in(noise, 2));
        if (registry_scope(noise->r, &m->path, out, &reason) == BATON_OK &&
            out->handing_over && !noise_one_in(noise, 3)) {
            return;
        }
    }
    if (registry_scope(noise->r, &m->path, out, &reason) != BATON_OK &&
        noise_one_in(noise, 2)) {
        pick_path(noise, &m->path, noise_one_in(noise, 2));
        (void)!registry_scope(noise->r, &m->path, out, &reason);
    }
}

static void make_offer_op(struct noise *noise, struct message *m,
                          const struct scope_view *v)
{
    uint64_t to = noise_one_in(noise, 9) ? pick_session(noise) : v->offer_to;
    if (v->accepted && !noise_one_in(noise, 5)) {
        uint64_t holder =
            noise_one_in(noise, 9) ? pick_session(noise) : v->session;
        pb__yield__init(&m->yield);
        aim(noise, m, holder);
        m->yield.scope = &m->path;
        m->yield.session = holder;
        m->yield.attachment = pick_attachment(noise, holder);
        m->yield.epoch = v->epoch - noise_one_in(noise, 9);
        m->yield.state = make_state(noise, m);
        set_op(m, PB__COMMAND__OP_YIELD, &m->yield);
        return;
    }
    pb__answer_offer__init(&m->answer_offer);
    aim(noise, m, to);
    m->answer_offer.scope = &m->path;
    m->answer_offer.session = to;
    m->answer_offer.attachment = pick_attachment(noise, to);
    m->answer_offer.offer = v->offer + noise_one_in(noise, 9);
    m->answer_offer.accept = !noise_one_in(noise, 4);
    set_op(m, PB__COMMAND__OP_ANSWER_OFFER, &m->answer_offer);
}

static void make_scope_op(struct noise *noise, struct message *m)
{
    static const char *const reasons[] = {"slow", "asked for"};
    struct scope_view v;
    pick_scope(noise, m, &v);
    uint64_t epoch = noise_one_in(noise, 9)
                         ? noise_draw(noise) % (registry_applied(noise->r) + 2)
                         : v.epoch;
    if (v.handing_over && !noise_one_in(noise, 3)) {
        make_offer_op(noise, m, &v);
        return;
    }
    switch (noise_below(noise, 4)) {
    case 0:
    case 1:
        pb__handoff__init(&m->handoff);
        m->handoff.scope = &m->path;
        m->handoff.to = noise_one_in(noise, 2)   ? 0
                        : noise_one_in(noise, 2) ? v.backup
                                                 : pick_session(noise);
        m->handoff.epoch = noise_one_in(noise, 2) ? 0 : epoch;
        set_op(m, PB__COMMAND__OP_HANDOFF, &m->handoff);
        return;
    case 2:
        pb__resign__init(&m->resign);
        m->resign.scope = &m->path;
        m->resign.epoch = epoch;
        m->resign.state = make_state(noise, m);
        set_op(m, PB__COMMAND__OP_RESIGN, &m->resign);
        return;
    default:
        pb__demote__init(&m->demote);
        m->demote.scope = &m->path;
        m->demote.epoch = noise_one_in(noise, 2) ? 0 : epoch;
        m->demote.reason = pick_text(noise, reasons, countof(reasons));
        set_op(m, PB__COMMAND__OP_DEMOTE, &m->demote);
        return;
    }
}

static void make_policy(struct noise *noise, struct message *m)
{
    pick_path(noise, &m->path, false);
    pb__policy__init(&m->policy);
    pb__weight__init(&m->weight);
    m->weight.key = (Pb__CapabilityKey)(1 + noise_below(noise, 9));
    m->weight.weight = (int32_t)noise_below(noise, 1000) - 300;
    m->weights[0] = &m->weight;
    m->policy.n_weights = noise_below(noise, 2);
    m->policy.weights = m->weights;
    m->policy.margin = 1 + noise_below(noise, 100);
    m->policy.min_tenure_ms = 100 + noise_below(noise, 3000);
    m->policy.cooldown_ms = 1000 + noise_below(noise, 4000);
    m->policy.max_tenure_ms =
        noise_one_in(noise, 2) ? 0 : 5000 + noise_below(noise, 9000);
    m->policy.offer_ms = 100 + noise_below(noise, 2000);
    m->policy.yield_ms = 100 + noise_below(noise, 2000);
    m->policy.session_grace_ms = 4000 + noise_below(noise, 9000);
    m->policy.holder_grace_ms = 100 + noise_below(noise, 3000);
    m->policy.breaker_moves = noise_below(noise, 4);
    m->policy.breaker_window_ms = 1000 + noise_below(noise, 20000);
    m->policy.breaker_open_ms = 1000 + noise_below(noise, 20000);
    m->policy.demote_after_ms = 1000 * noise_below(noise, 3);
    m->policy.tabs_per_device_max = noise_one_in(noise, 4) ? 2 : 0;
    m->policy.devices_per_group_max = noise_one_in(noise, 9) ? 2 : 0;
    m->policy.state_bytes_max = noise_one_in(noise, 4) ? 100 : 0;
    pb__set_policy__init(&m->set_policy);
    m->set_policy.namespace_ = m->path.namespace_;
    m->set_policy.policy = &m->policy;
    set_op(m, PB__COMMAND__OP_SET_POLICY, &m->set_policy);
}

/* What a deadline or a claim brings. */
static void make_due_op(struct noise *noise, struct message *m)
{
    struct scope_view v;
    switch (noise_below(noise, 3)) {
    case 0:
        pick_scope(noise, m, &v);
        pb__scope_due__init(&m->scope_due);
        m->scope_due.scope = &m->path;
        m->scope_due.epoch = v.epoch;
        m->scope_due.offer = v.offer;
        set_op(m, PB__COMMAND__OP_SCOPE_DUE, &m->scope_due);
        return;
    case 1:
        pb__end_grace__init(&m->end_grace);
        m->end_grace.session = pick_session(noise);
        m->end_grace.attachment = pick_attachment(noise, m->end_grace.session);
        set_op(m, PB__COMMAND__OP_END_GRACE, &m->end_grace);
        return;
    default:
        pick_scope(noise, m, &v);
        pb__record_claim__init(&m->record_claim);
        for (int i = 0; i < 2; i++) {
            pb__claim_evidence__init(&m->claims[i]);
            m->claims[i].session = pick_session(noise);
            m->claims[i].epoch =
                noise_draw(noise) % (registry_applied(noise->r) + 2);
            m->claims[i].lease = pick_lease(noise);
            m->claims[i].relay = "relay-1";
        }
        m->record_claim.scope = &m->path;
        m->record_claim.cause = PB__CAUSE__CAUSE_STALE_CLAIM;
        m->record_claim.stale = &m->claims[0];
        m->record_claim.valid = noise_one_in(noise, 2) ? &m->claims[1] : NULL;
        set_op(m, PB__COMMAND__OP_RECORD_CLAIM, &m->record_claim);
        return;
    }
}

/* What the leader proposes of itself, right or wrong. */
static void make_leader_op(struct noise *noise, struct message *m)
{
    struct lease_view lease = {.renewals = 0};
    uint64_t id = pick_lease(noise);
    m->command.proposer_term = noise_one_in(noise, 20) ? 99 : noise->term;
    switch (noise_one_in(noise, 3) ? noise_below(noise, 3)
                                   : 2 + noise_below(noise, 7)) {
    case 0:
    case 1:
        (void)!registry_lease(noise->r, id, &lease);
        pb__expire_lease__init(&m->expire_lease);
        m->expire_lease.lease = id;
        m->expire_lease.renewals = lease.renewals - noise_one_in(noise, 4);
        set_op(m, PB__COMMAND__OP_EXPIRE_LEASE, &m->expire_lease);
        return;
    case 2:
        pb__sweep_lease__init(&m->sweep_lease);
        m->sweep_lease.lease = id;
        m->sweep_lease.n_sessions =
            noise_one_in(noise, 20) ? SWEEP_MAX + 1 : noise_below(noise, 6);
        m->sweep_lease.sessions = m->ids;
        for (size_t i = 0; i < m->sweep_lease.n_sessions; i++) {
            m->ids[i] = pick_session(noise);
        }
        set_op(m, PB__COMMAND__OP_SWEEP_LEASE, &m->sweep_lease);
        return;
    case 3:
        pb__touched__init(&m->touched);
        m->touched.lease_deltas = m->ids;
        m->touched.n_lease_deltas = 2;
        m->ids[0] = id;
        m->ids[1] = noise_one_in(noise, 9) ? 0 : 1 + noise_below(noise, 200);
        set_op(m, PB__COMMAND__OP_TOUCHED, &m->touched);
        return;
    case 4:
        pb__term_start__init(&m->term_start);
        m->term_start.wall_ms = noise_draw(noise) >> 20;
        set_op(m, PB__COMMAND__OP_TERM_START, &m->term_start);
        return;
    case 5:
        pb__node_seen__init(&m->node_seen);
        m->node_seen.node = noise_below(noise, 6);
        m->node_seen.incarnation = noise_below(noise, 3); /* 0: forget it */
        m->node_seen.boot = noise_below(noise, 100);
        set_op(m, PB__COMMAND__OP_NODE_SEEN, &m->node_seen);
        return;
    default:
        make_due_op(noise, m);
        return;
    }
}

static void make_client(struct noise *noise, struct message *m, uint32_t at)
{
    uint64_t sequence = ++noise->sequences[at];
    m->command.lease =
        noise_one_in(noise, 50) ? pick_lease(noise) : noise->leases[at];
    m->command.sequence = noise_one_in(noise, 100) ? 0 : sequence;
    if (noise_one_in(noise, 200)) {
        m->command.sequence += 100000;
    }
    uint64_t lag = noise_below(noise, 40);
    m->command.first_outstanding = noise_one_in(noise, 100)
                                       ? sequence + 3
                                       : (sequence > lag ? sequence - lag : 0);
}

void noise_command(struct noise *noise, struct message *m)
{
    pb__command__init(&m->command);
    m->command.version = COMMAND_VERSION;
    uint32_t at = noise_below(noise, NOISE_LEASES);
    uint32_t kind = noise_below(noise, 100);
    if (kind < 6 || noise->leases[at] == 0) {
        static const char *const labels[] = {"relay-1", "relay-2"};
        pb__open_lease__init(&m->open_lease);
        memset(m->secret, (int)noise_below(noise, 40), sizeof m->secret);
        m->open_lease.nonce = codec_binary(
            (struct bytes){m->secret, noise_one_in(noise, 40) ? 5 : 16});
        m->open_lease.ttl_ms = noise_one_in(noise, 40) ? 5 : 10000;
        m->open_lease.label = pick_text(noise, labels, countof(labels));
        set_op(m, PB__COMMAND__OP_OPEN_LEASE, &m->open_lease);
        return;
    }
    if (kind < 22) {
        make_leader_op(noise, m);
        return;
    }
    make_client(noise, m, at);
    if (kind < 23) {
        pb__close_lease__init(&m->close_lease);
        m->close_lease.detach = noise_one_in(noise, 2);
        set_op(m, PB__COMMAND__OP_CLOSE_LEASE, &m->close_lease);
    } else if (kind < 26) {
        make_policy(noise, m);
    } else if (kind < 27) {
        pb__set_limits__init(&m->set_limits);
        m->set_limits.sessions_max = 20 + noise_below(noise, 600);
        set_op(m, PB__COMMAND__OP_SET_LIMITS, &m->set_limits);
    } else if (kind < 60) {
        make_scope_op(noise, m);
    } else {
        make_session_op(noise, m);
    }
}

void noise_note(struct noise *noise, const struct registry_out *out)
{
    for (uint32_t i = 0; i < out->events_n; i++) {
        const struct event *e = &out->events[i];
        uint32_t at = noise_below(noise, NOISE_LEASES);
        for (uint32_t k = 0; k < NOISE_LEASES; k++) {
            if (e->kind == EVENT_LEASE_ENDED && noise->leases[k] == e->lease &&
                !noise_one_in(noise, 4)) {
                noise->leases[k] = 0;
            }
            at = noise->leases[k] == 0 ? k : at;
        }
        if (e->kind == EVENT_LEASE_OPENED) {
            noise->leases[at] = e->lease;
            noise->sequences[at] = 0;
        }
    }
}

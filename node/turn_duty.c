#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "node/turn_state.h"
#include "raft/config.h"

/* What time decides is noticed here, by the leader, and proposed as a conditional command: applying it checks the condition
 * again, so that what a deposed or paused leader noticed does nothing. */

#define DUTY_MS          20u
#define EXPIRE_MAX       256u
#define FIRST_TOUCH_MS   2000u
#define CLAIM_AT_ONCE_MS 10000u
/* False claims of one scope that are put on record at once, and how long until there's room for one more. The others are answered all
 * the same. */
#define CLAIMS_MAX  16u
#define CLAIMS_MS   4000u
#define CLAIMS_WAYS 4u /* places that a scope's count may have */

static Pb__Command own_command(const struct turn *t, Pb__Command__OpCase op)
{
    Pb__Command command = PB__COMMAND__INIT;
    command.version = COMMAND_VERSION;
    command.proposer_term = raft_term_now(t->raft);
    command.op_case = op;
    return command;
}

/* --- the beginning of a term ---------------------------------------------------------------------------------------------- */

bool turn_leads(const struct turn *t)
{
    return raft_role_now(t->raft) == RAFT_LEADER && t->leading &&
           t->leading_term == raft_term_now(t->raft) &&
           raft_term_committed(t->raft) && t->applied >= t->term_index;
}

void turn_log_node(struct turn *t, raft_id node, const struct peer_self *self)
{
    raft_index index = 0;
    Pb__NodeSeen seen = PB__NODE_SEEN__INIT;
    Pb__Command command = own_command(t, PB__COMMAND__OP_NODE_SEEN);
    seen.node = node;
    seen.incarnation = self->incarnation;
    seen.boot = self->boot;
    seen.own = self->lineage.own;
    command.node_seen = &seen;
    if (turn_propose_command(t, &command, &index) == BATON_OK) {
        t->duty_index = max_u64(t->duty_index, index);
    }
}

void turn_forget_node(struct turn *t, raft_id node)
{
    const struct peer_self nobody = {.incarnation = 0};
    turn_log_node(t, node, &nobody);
}

static void propose_node_seen(struct turn *t, raft_id node,
                              const struct peer_self *self)
{
    struct node_past past;
    /* Another incarnation under a known name is for turn_peer_hello() to refuse, not for the log. */
    if (registry_node(t->registry, node, &past) &&
        (past.incarnation != self->incarnation ||
         past.record.boot >= self->boot)) {
        return;
    }
    turn_log_node(t, node, self);
}

static void begin_term(struct turn *t)
{
    Pb__TermStart start = PB__TERM_START__INIT;
    Pb__Command command = own_command(t, PB__COMMAND__OP_TERM_START);
    start.wall_ms = t->wall_ms;
    start.node = t->options.id;
    command.term_start = &start;
    t->leading = true;
    t->leading_term = raft_term_now(t->raft);
    t->led_since_ms = t->now_ms;
    t->touch_ms = t->now_ms + FIRST_TOUCH_MS;
    t->duty_index = 0;
    t->expiring_n = 0;
    t->counters.elections++;
    deadlines_takeover(t->deadlines, t->now_ms, turn_cluster_ms(t));
    enum baton_status status =
        turn_propose_command(t, &command, &t->term_index);
    if (status != BATON_OK) {
        struct raft_in in = turn_in(t);
        raft_step_down(t->raft, &in, "no room for the first entry of a term",
                       &t->out);
        turn_act(t);
    }
}

static void end_term(struct turn *t)
{
    t->leading = false;
    for (uint32_t i = 0; i < t->expiring_n; i++) {
        deadlines_rearm(t->deadlines, t->expiring[i].slot, t->now_ms);
    }
    t->expiring_n = 0;
}

void turn_role_changed(struct turn *t)
{
    bool leads = raft_role_now(t->raft) == RAFT_LEADER;
    if (t->leading && (!leads || t->leading_term != raft_term_now(t->raft))) {
        end_term(t);
    }
    turn_log(t, 2, "role role=%s term=%llu leader=%u",
             raft_role_name(raft_role_now(t->raft)),
             (unsigned long long)raft_term_now(t->raft), raft_leader(t->raft));
    if (leads && !t->leading) {
        begin_term(t);
    }
}

/* --- expiry --------------------------------------------------------------------------------------------------------------------- */

static void propose_expire(struct turn *t, uint32_t slot)
{
    struct lease_view lease;
    if (!registry_lease_at(t->registry, slot, &lease) || lease.ended) {
        deadlines_remove(t->deadlines, slot);
        return;
    }
    raft_index index = 0;
    Pb__ExpireLease expire = PB__EXPIRE_LEASE__INIT;
    Pb__Command command = own_command(t, PB__COMMAND__OP_EXPIRE_LEASE);
    expire.lease = lease.id;
    expire.renewals = lease.renewals;
    command.expire_lease = &expire;
    if (t->expiring_n == countof(t->expiring) ||
        turn_propose_command(t, &command, &index) != BATON_OK) {
        deadlines_rearm(t->deadlines, slot, t->now_ms);
        return;
    }
    t->expiring[t->expiring_n].lease = lease.id;
    t->expiring[t->expiring_n].slot = slot;
    t->expiring[t->expiring_n].index = index;
    t->expiring_n++;
}

static void expire_leases(struct turn *t)
{
    uint32_t slots[EXPIRE_MAX];
    uint32_t room = (uint32_t)countof(t->expiring) - t->expiring_n;
    uint32_t n = deadlines_expired(t->deadlines, t->now_ms, slots,
                                   room < EXPIRE_MAX ? room : EXPIRE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        propose_expire(t, slots[i]);
    }
}

static void expire_applied(struct turn *t, raft_index index)
{
    for (uint32_t i = 0; i < t->expiring_n; i++) {
        if (t->expiring[i].index != index) {
            continue;
        }
        uint32_t slot = t->expiring[i].slot;
        t->expiring[i] = t->expiring[--t->expiring_n];
        if (deadlines_expiring(t->deadlines, slot)) {
            /* S8: it gave proof of life meanwhile. */
            deadlines_rearm(t->deadlines, slot, t->now_ms);
        } else {
            t->counters.expired++;
        }
        return;
    }
}

/* --- who renewed ------------------------------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void touch_some(struct turn *t, const uint32_t *slots, uint32_t n)
{
    uint64_t *ids = arena_alloc(&t->duty, n * sizeof *ids);
    ASSERT(ids != NULL);
    size_t ids_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct lease_view lease;
        if (registry_lease_at(t->registry, slots[i], &lease) && !lease.ended) {
            ids[ids_n++] = lease.id;
        }
    }
    if (ids_n == 0) {
        return;
    }
    qsort(ids, ids_n, sizeof *ids, by_id);
    for (size_t i = ids_n - 1; i > 0; i--) {
        ids[i] -= ids[i - 1];
    }
    raft_index index = 0;
    Pb__Touched touched = PB__TOUCHED__INIT;
    Pb__Command command = own_command(t, PB__COMMAND__OP_TOUCHED);
    touched.lease_deltas = ids;
    touched.n_lease_deltas = ids_n;
    command.touched = &touched;
    if (turn_propose_command(t, &command, &index) != BATON_OK) {
        t->touch_ms =
            t->now_ms + FIRST_TOUCH_MS; /* they'll renew again before that */
    }
}

static void touch_leases(struct turn *t)
{
    uint32_t cursor = 0;
    uint32_t *slots;
    uint32_t n;
    t->touch_ms = t->now_ms + DEADLINES_TOUCH_MS;
    do {
        arena_reset(&t->duty);
        slots = arena_alloc(&t->duty, TOUCHED_MAX * sizeof *slots);
        ASSERT(slots != NULL);
        n = deadlines_touched(t->deadlines, &cursor, slots, TOUCHED_MAX);
        if (n > 0) {
            touch_some(t, slots, n);
        }
    } while (n == TOUCHED_MAX);
}

/* --- what's due in the registry ---------------------------------------------------------------------------------------------------- */

static void propose_due(struct turn *t)
{
    uint64_t now = turn_cluster_ms(t);
    /* One batch in flight: asked again before it applied, the registry would name the same ones. */
    if (t->applied < t->duty_index || registry_due_ms(t->registry) > now) {
        return;
    }
    Pb__Command *due = t->due;
    arena_reset(&t->duty);
    uint32_t n = registry_due(t->registry, now, due, DUE_MAX, &t->duty);
    for (uint32_t i = 0; i < n; i++) {
        raft_index index = 0;
        due[i].version = COMMAND_VERSION;
        due[i].proposer_term = raft_term_now(t->raft);
        if (turn_propose_command(t, &due[i], &index) != BATON_OK) {
            break;
        }
        t->duty_index = max_u64(t->duty_index, index);
    }
}

static void see_nodes(struct turn *t)
{
    if (t->applied < t->duty_index) {
        return;
    }
    for (uint32_t i = 0; i < t->members_n; i++) {
        struct node_past past;
        raft_id node = t->members[i].id;
        if (raft_config_committed(t->raft) && !turn_is_member(t, node) &&
            registry_node(t->registry, node, &past)) {
            turn_forget_node(t, node);
        }
    }
    if (turn_is_member(t, t->options.id)) {
        propose_node_seen(t, t->options.id, &t->me);
    }
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        const struct catchup *c = &t->catchups[i];
        /* Only of one that spoke since it is a member: what is known of another may be what somebody said who was removed, or never
         * added, and who has given the number away since. */
        if (c->node != 0 && c->spoke && c->self.incarnation != 0 &&
            turn_is_member(t, c->node)) {
            propose_node_seen(t, c->node, &c->self);
        }
    }
}

void turn_duties(struct turn *t)
{
    /* Silence while our own loop stood still counts against nobody. */
    if (t->leading &&
        t->now_ms > t->last_turn_ms + t->options.election_ms / 2) {
        t->counters.stalls++;
        turn_log(t, 1, "stalled ms=%llu",
                 (unsigned long long)(t->now_ms - t->last_turn_ms));
        deadlines_takeover(t->deadlines, t->now_ms, turn_cluster_ms(t));
    }
    if (!turn_leads(t) || t->stopping) {
        return;
    }
    propose_due(t);
    if (t->now_ms < t->duty_scan_ms) {
        return;
    }
    t->duty_scan_ms = t->now_ms + DUTY_MS;
    expire_leases(t);
    if (t->now_ms >= t->touch_ms) {
        touch_leases(t);
    }
    see_nodes(t);
}

void turn_duty_applied(struct turn *t, raft_index index,
                       const Pb__Command *command)
{
    if (command->op_case == PB__COMMAND__OP_EXPIRE_LEASE) {
        expire_applied(t, index);
    }
}

/* --- claims --------------------------------------------------------------------------------------------------------------------------- */

static Pb__ClaimEvidence evidence_of(struct turn *t, uint64_t session,
                                     uint64_t epoch, uint64_t lease,
                                     uint64_t cluster_ms)
{
    Pb__ClaimEvidence e = PB__CLAIM_EVIDENCE__INIT;
    struct lease_view view;
    e.session = session;
    e.epoch = epoch;
    e.lease = lease;
    e.time_ms = cluster_ms;
    if (lease != 0 && registry_lease(t->registry, lease, &view) == BATON_OK) {
        char *relay = answer_text(&t->duty, view.label);
        e.relay = relay == NULL ? e.relay : relay;
    }
    return e;
}

static void forget_records(struct recorded *of, uint64_t now_ms)
{
    uint64_t room = (now_ms - of->since_ms) / CLAIMS_MS;
    of->n = room < of->n ? of->n - (uint32_t)room : 0;
    of->since_ms = of->n == 0 ? now_ms : of->since_ms + room * CLAIMS_MS;
}

/* Two that claim in turn would fill the log, since a record only keeps the last one from being repeated. A proof a few times told is
 * one. The seed is ours alone, so that nobody can choose a scope that shares its places with another. If they're all taken, the one
 * that's counted least begins anew: better a record too many than none. */
static struct recorded *records_of(struct turn *t, const Pb__Path *path)
{
    XXH64_hash_t h = t->options.seed;
    h = XXH3_64bits_withSeed(path->namespace_, strlen(path->namespace_), h);
    h = XXH3_64bits_withSeed(path->group, strlen(path->group), h);
    h = XXH3_64bits_withSeed(path->device, strlen(path->device), h);
    struct recorded *set =
        &t->recorded[h % (countof(t->recorded) / CLAIMS_WAYS) * CLAIMS_WAYS];
    struct recorded *least = set;
    for (uint32_t i = 0; i < CLAIMS_WAYS; i++) {
        forget_records(&set[i], t->now_ms);
        if (set[i].scope == h) {
            return &set[i];
        }
        least = set[i].n < least->n ? &set[i] : least;
    }
    *least = (struct recorded){.since_ms = t->now_ms, .scope = h};
    return least;
}

void turn_claimed(struct turn *t, enum cause cause, const Pb__Path *path,
                  const struct read *read, const struct scope_view *scope)
{
    uint64_t now = turn_cluster_ms(t);
    if (cause == CAUSE_NONE) {
        uint64_t i = read->session % countof(t->claims);
        t->claims[i].session = read->session;
        t->claims[i].epoch = read->epoch;
        t->claims[i].lease = read->lease;
        t->claims[i].cluster_ms = now;
        t->claims[i].now_ms = t->now_ms;
        return;
    }
    /* Of a scope that isn't there nothing is put on record. */
    if (!turn_leads(t) || scope->epoch == 0 || read->session == 0 ||
        registry_claim_audited(t->registry, path, read->session, read->epoch)) {
        return;
    }
    struct recorded *records = records_of(t, path);
    if (records->n == CLAIMS_MAX) {
        return;
    }
    raft_index index = 0;
    arena_reset(&t->duty);
    Pb__RecordClaim record = PB__RECORD_CLAIM__INIT;
    Pb__Command command = own_command(t, PB__COMMAND__OP_RECORD_CLAIM);
    Pb__ClaimEvidence stale =
        evidence_of(t, read->session, read->epoch, read->lease, now);
    Pb__ClaimEvidence valid =
        evidence_of(t, scope->session, scope->epoch, scope->lease, 0);
    uint64_t i = scope->session % countof(t->claims);
    if (scope->session != 0 && t->claims[i].session == scope->session &&
        t->claims[i].epoch == scope->epoch) {
        valid.time_ms = t->claims[i].cluster_ms;
        if (t->now_ms < t->claims[i].now_ms + CLAIM_AT_ONCE_MS) {
            cause = CAUSE_DOUBLE_CLAIM;
        }
    }
    record.scope = (Pb__Path *)(uintptr_t)path; /* encoding only reads it */
    record.cause = (Pb__Cause)cause;
    record.stale = &stale;
    record.valid = &valid;
    command.record_claim = &record;
    if (turn_propose_command(t, &command, &index) == BATON_OK) {
        records->n++;
    } else {
        turn_log(t, 1, "claim_not_recorded session=%llu epoch=%llu",
                 (unsigned long long)read->session,
                 (unsigned long long)read->epoch);
    }
}

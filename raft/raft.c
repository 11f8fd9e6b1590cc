#include "raft/raft.h"

#include "raft/core.h"

size_t raft_bytes(void)
{
    return sizeof(struct raft);
}

static void check_options(const struct raft_options *o)
{
    ASSERT(o->id != 0);
    ASSERT(o->election_ms >= 100);
    ASSERT(o->election_ms <= 60000);
    ASSERT(o->heartbeat_ms >= 10);
    ASSERT(o->heartbeat_ms <= o->election_ms / 3);
    ASSERT(o->clock_drift_ppm < 500000);
    ASSERT(o->inflight_max >= 1);
    ASSERT(o->inflight_max <= PROGRESS_INFLIGHT_MAX);
    ASSERT(o->append_entries_max >= 1);
    ASSERT(o->append_entries_max <= 65536);
}

struct raft *raft_init(void *memory, const struct raft_options *options,
                       const struct raft_boot *boot)
{
    struct raft *r = memory;
    check_options(options);
    ASSERT(boot->commit >= boot->snapshot.index);
    ASSERT(boot->commit <= boot->last);
    ASSERT(boot->snapshot_config.index <= boot->snapshot.index);
    r->options = *options;
    if (r->options.stall_ms == 0) {
        r->options.stall_ms = 3 * options->election_ms;
    }
    r->rng = options->seed;
    r->term = boot->term;
    r->vote = boot->vote;
    r->role = RAFT_FOLLOWER;
    r->commit = boot->commit;
    r->applied = boot->commit;
    r->durable.stored = boot->last;
    terms_reset(&r->terms, boot->snapshot);
    configs_reset(&r->configs, &boot->snapshot_config);
    /* Until raft_booted() the time isn't known: here it only says that the promise is still to be dated. */
    r->promised_ms = boot->withhold ? 1 : 0;
    return r;
}

void raft_boot_entry(struct raft *r, const struct raft_entry *entry)
{
    ASSERT(!r->booted);
    ASSERT(r->terms.last < r->durable.stored);
    if (!terms_append(&r->terms, 1, entry->term)) {
        /* The store trims in its own time, so a disk can hold more than the core did: what is committed may go. */
        const raft_index base = terms_drop_oldest(&r->terms);
        ASSERT(base <= r->commit);
        configs_compact(&r->configs, base);
        ASSERT(terms_append(&r->terms, 1, entry->term));
    }
    if (entry->kind == RAFT_CONFIG) {
        ASSERT(entry->config != NULL);
        raft_config_append(r, entry->config, r->terms.last);
    }
}

void raft_booted(struct raft *r, uint64_t now_ms)
{
    ASSERT(!r->booted);
    ASSERT(r->terms.last == r->durable.stored);
    ASSERT(terms_last(&r->terms).term <= r->term);
    const bool withhold = r->promised_ms != 0;
    r->booted = true;
    r->term_since_ms = now_ms;
    r->contact_ms = now_ms;
    /* Before the crash we may have answered a leader's round, and it counts on us for election_ms from the time it sent that
     * round, which is no later than now. So one election timeout is enough (bug 18). */
    r->promised_ms = withhold ? now_ms + r->options.election_ms : 0;
    raft_peers_sync(r, now_ms);
    raft_election_reset(r, now_ms);
    const struct raft_config *config = configs_latest(&r->configs);
    if (!config_joint(config) && config->voters.n == 1 && raft_we_vote(r) &&
        config->index <= r->commit) {
        /* Nobody else can lead: that's committed, so whoever led before us knew it too, and stepped down. */
        r->promised_ms = 0;
        r->election_ms = now_ms;
    }
    raft_check(r);
}

void raft_set_term(struct raft *r, const struct raft_in *in,
                   struct raft_out *out, raft_term term, raft_id vote)
{
    ASSERT(term >= r->term);
    ASSERT_IMPLIES(term == r->term, r->vote == 0);
    const bool term_new = term > r->term;
    if (term_new) {
        r->term_since_ms = in->now_ms;
        r->heard_round = 0;
        r->leader = 0;
        r->term_leader = 0;
    }
    r->term = term;
    r->vote = vote;
    out->hard_state = true;
    out->term = term;
    out->vote = vote;
    durable_hard(&r->durable, in->batch, term_new);
}

void raft_become_follower(struct raft *r, const struct raft_in *in,
                          struct raft_out *out, raft_term term, raft_id leader)
{
    const enum raft_role was = r->role;
    ASSERT(term >= r->term);
    ASSERT(leader != r->options.id);
    if (term > r->term) {
        raft_note(out, "%u is a follower in term %llu, was %s in term %llu",
                  r->options.id, (unsigned long long)term, raft_role_name(was),
                  (unsigned long long)r->term);
        raft_set_term(r, in, out, term, 0);
    } else if (was != RAFT_FOLLOWER) {
        raft_note(out, "%u is a follower in term %llu, was %s", r->options.id,
                  (unsigned long long)term, raft_role_name(was));
    }
    r->role = RAFT_FOLLOWER;
    if (was != RAFT_FOLLOWER) {
        out->role_changed = true;
    }
    if (was == RAFT_LEADER) {
        raft_reads_fail(r, out);
        raft_election_reset(r, in->now_ms);
    }
    if (leader != r->leader && leader != 0) {
        raft_note(out, "%u follows %u in term %llu", r->options.id, leader,
                  (unsigned long long)term);
        raft_transfer_ended(r, out, leader);
    }
    r->leader = leader;
    if (leader != 0) {
        r->term_leader = leader;
    }
}

void raft_tick(struct raft *r, const struct raft_in *in, struct raft_out *out)
{
    ASSERT(r->booted);
    raft_transfer_tick(r, in, out);
    if (r->role == RAFT_LEADER) {
        raft_lead_tick(r, in, out);
    } else if (in->now_ms >= r->election_ms) {
        raft_election_timeout(r, in, out);
    }
}

uint64_t raft_deadline_ms(const struct raft *r)
{
    if (r->flush_pending) {
        return 0;
    }
    uint64_t deadline =
        r->role == RAFT_LEADER ? r->heartbeat_ms : r->election_ms;
    if (r->transfer.to != 0) {
        deadline = min_u64(deadline, r->transfer.deadline_ms);
    }
    return deadline;
}

/* Someone leads a term that is over. Tell it ours, so that it stops; if it was told and goes on for long, say so aloud. */
static void on_stale_leader(struct raft *r, const struct raft_in *in,
                            const struct raft_message *m, struct raft_out *out)
{
    struct raft_message reply = {.to = m->from, .index = m->index};
    switch (m->type) {
    case RAFT_APPEND:
        reply.type = RAFT_APPEND_REPLY;
        reply.hint_index = m->index;
        break;
    case RAFT_HEARTBEAT:
        reply.type = RAFT_HEARTBEAT_REPLY;
        reply.index = r->durable.stored;
        reply.round = m->round;
        break;
    default:
        return;
    }
    raft_send(r, out, reply, 0);
    if (r->stale_alarm == r->term ||
        in->now_ms < r->term_since_ms + 2 * r->options.election_ms) {
        return;
    }
    r->stale_alarm = r->term;
    raft_note(out, "%u: %u still leads term %llu, which ended before %llu",
              r->options.id, m->from, (unsigned long long)m->term,
              (unsigned long long)r->term);
    raft_raise(out, RAFT_ALARM_STALE_LEADER, m->from,
               (struct raft_pos){.index = m->index, .term = m->term});
}

/* Two nodes can't both have had a quorum's votes in one term: someone's disk or identity lies. Neither is followed. */
static void on_two_leaders(struct raft *r, const struct raft_in *in,
                           const struct raft_message *m, struct raft_out *out)
{
    raft_note(out, "%u: two leaders in term %llu: %u and %u", r->options.id,
              (unsigned long long)r->term, r->term_leader, m->from);
    raft_raise(out, RAFT_ALARM_TWO_LEADERS, m->from,
               (struct raft_pos){.index = m->index, .term = m->term});
    if (r->role == RAFT_LEADER) {
        raft_become_follower(r, in, out, r->term, 0);
    }
}

/* APPEND, HEARTBEAT, SNAPSHOT, TIMEOUT_NOW: its sender won an election, so that its term counts whoever it is. */
static void on_leader_message(struct raft *r, const struct raft_in *in,
                              const struct raft_message *m,
                              struct raft_out *out)
{
    if (m->term < r->term) {
        on_stale_leader(r, in, m, out);
        return;
    }
    if (m->term == r->term && r->term_leader != 0 &&
        r->term_leader != m->from) {
        on_two_leaders(r, in, m, out);
        return;
    }
    if (m->term > r->term || r->role != RAFT_FOLLOWER || r->leader != m->from) {
        raft_become_follower(r, in, out, m->term, m->from);
    }
    ASSERT(r->leader == m->from);
    if (m->type == RAFT_TIMEOUT_NOW) {
        raft_on_timeout_now(r, in, m, out);
        return;
    }
    r->contact_ms = in->now_ms;
    r->contacted = true;
    if (r->options.check_quorum) {
        r->promised_ms =
            max_u64(r->promised_ms, in->now_ms + r->options.election_ms);
    }
    raft_election_reset(r, in->now_ms);
    if (m->type == RAFT_APPEND) {
        raft_on_append(r, in, m, out);
    } else if (m->type == RAFT_HEARTBEAT) {
        raft_on_heartbeat(r, in, m, out);
    }
}

/* Replies: only members of our configuration are heard, so that a removed node can't raise our term (R13). */
static void on_reply(struct raft *r, const struct raft_in *in,
                     const struct raft_message *m, struct raft_out *out)
{
    const struct progress *p = raft_peer(r, m->from);
    if (p == NULL || p->quarantined) {
        return;
    }
    if (m->type == RAFT_VOTE_REPLY && m->pre && m->success) {
        raft_on_vote_reply(r, in, m, out);
        return;
    }
    if (m->term > r->term) {
        raft_become_follower(r, in, out, m->term, 0);
        return;
    }
    if (m->type == RAFT_VOTE_REPLY) {
        raft_on_vote_reply(r, in, m, out);
        return;
    }
    if (m->term < r->term || r->role != RAFT_LEADER) {
        return;
    }
    if (m->type == RAFT_APPEND_REPLY) {
        raft_on_append_reply(r, in, m, out);
    } else if (m->type == RAFT_HEARTBEAT_REPLY) {
        raft_on_heartbeat_reply(r, in, m, out);
    } else {
        ASSERT(m->type == RAFT_SNAPSHOT_REPLY);
        raft_on_snapshot_reply(r, in, m, out);
    }
}

void raft_receive(struct raft *r, const struct raft_in *in,
                  const struct raft_message *m, struct raft_out *out)
{
    ASSERT(r->booted);
    if (m->from == 0 || m->from == r->options.id || m->term == 0) {
        return;
    }
    struct progress *p = raft_peer(r, m->from);
    if (p != NULL) {
        p->down = false;
    }
    switch (m->type) {
    case RAFT_VOTE:
        raft_on_vote(r, in, m, out);
        break;
    case RAFT_VOTE_REPLY:
    case RAFT_APPEND_REPLY:
    case RAFT_HEARTBEAT_REPLY:
    case RAFT_SNAPSHOT_REPLY:
        on_reply(r, in, m, out);
        break;
    case RAFT_APPEND:
    case RAFT_HEARTBEAT:
    case RAFT_SNAPSHOT:
    case RAFT_TIMEOUT_NOW:
        on_leader_message(r, in, m, out);
        break;
    }
}

void raft_stored(struct raft *r, const struct raft_in *in, uint64_t batch,
                 struct raft_pos last, struct raft_out *out)
{
    ASSERT(batch <= in->batch);
    ASSERT(last.term <= r->term);
    durable_stored(&r->durable, batch);
    raft_election_stored(r, in, out);
    if (r->role == RAFT_LEADER) {
        raft_commit_advance(r, in, out);
    }
}

void raft_applied(struct raft *r, raft_index applied)
{
    ASSERT(applied >= r->applied);
    ASSERT(applied <= r->commit);
    r->applied = applied;
}

void raft_mute(struct raft *r)
{
    r->muted = true;
}

void raft_step_down(struct raft *r, const struct raft_in *in, const char *why,
                    struct raft_out *out)
{
    if (r->role == RAFT_FOLLOWER) {
        return;
    }
    raft_note(out, "%u steps down in term %llu: %s", r->options.id,
              (unsigned long long)r->term, why);
    raft_become_follower(r, in, out, r->term, 0);
    raft_election_reset(r, in->now_ms);
}

void raft_compacted(struct raft *r, raft_index first)
{
    ASSERT(first > 0);
    ASSERT(first - 1 <= r->applied);
    if (first - 1 <= r->terms.base.index) {
        return;
    }
    terms_compact(&r->terms, first - 1);
    configs_compact(&r->configs, first - 1);
}

void raft_snapshot_installing(struct raft *r)
{
    ASSERT(r->role == RAFT_FOLLOWER);
    r->installing = true;
}

bool raft_snapshot_installed(struct raft *r, struct raft_pos pos,
                             const struct raft_config *config)
{
    ASSERT(config->index <= pos.index);
    ASSERT(config_valid(config));
    r->installing = false;
    if (pos.index <= r->commit || r->role == RAFT_LEADER) {
        return false;
    }
    const bool kept = terms_at(&r->terms, pos.index) == pos.term;
    if (kept) {
        terms_compact(&r->terms, pos.index);
        configs_compact(&r->configs, pos.index);
    } else {
        terms_reset(&r->terms, pos);
        configs_reset(&r->configs, config);
    }
    durable_snapshot(&r->durable, pos.index, kept);
    r->commit = pos.index;
    r->applied = pos.index;
    raft_peers_sync(r, r->contact_ms);
    return true;
}

enum raft_role raft_role_now(const struct raft *r)
{
    return r->role;
}

raft_term raft_term_now(const struct raft *r)
{
    return r->term;
}

bool raft_term_stored(const struct raft *r)
{
    return durable_term_stored(&r->durable);
}

raft_id raft_vote_now(const struct raft *r)
{
    return r->vote;
}

raft_id raft_leader(const struct raft *r)
{
    return r->leader;
}

raft_index raft_commit(const struct raft *r)
{
    return r->commit;
}

raft_index raft_last(const struct raft *r)
{
    return r->terms.last;
}

raft_index raft_first(const struct raft *r)
{
    return r->terms.base.index + 1;
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    return terms_at(&r->terms, index);
}

bool raft_term_committed(const struct raft *r)
{
    return r->role == RAFT_LEADER && terms_at(&r->terms, r->commit) == r->term;
}

uint64_t raft_last_contact_ms(const struct raft *r)
{
    return r->contact_ms;
}

bool raft_contacted(const struct raft *r)
{
    return r->contacted;
}

void raft_check(const struct raft *r)
{
    terms_check(&r->terms);
    configs_check(&r->configs);
    durable_check(&r->durable, r->terms.last);
    ASSERT(r->terms.base.index <= r->commit);
    ASSERT(r->commit <= r->terms.last);
    ASSERT(r->applied <= r->commit);
    ASSERT(terms_last(&r->terms).term <= r->term);
    ASSERT(configs_latest(&r->configs)->index <= r->terms.last);
    ASSERT(r->reads_n <= RAFT_READS_MAX);
    for (uint32_t i = 0; i < r->peers_n; i++) {
        ASSERT(r->peers[i].id != r->options.id);
        progress_check(&r->peers[i]);
    }
    ASSERT_IMPLIES(r->installing, r->role == RAFT_FOLLOWER);
    if (r->role != RAFT_LEADER) {
        ASSERT(r->reads_n == 0);
        ASSERT(!r->reads_open);
        return;
    }
    ASSERT(r->vote == r->options.id);
    ASSERT(r->leader == r->options.id);
    ASSERT(durable_hard_stored(&r->durable));
    for (uint32_t i = 0; i < r->peers_n; i++) {
        ASSERT(r->peers[i].match <= r->terms.last);
        ASSERT(r->peers[i].next <= r->terms.last + 1);
    }
    if (raft_term_committed(r)) {
        /* On a follower several may look uncommitted, because its commit index lags; a leader that knows has one at most. */
        const uint32_t n = r->configs.n;
        ASSERT_IMPLIES(n > 1, r->configs.items[n - 2].index <= r->commit);
    }
}

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "follower";
    case RAFT_PRECANDIDATE:
        return "precandidate";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_LEADER:
        return "leader";
    }
    return "?";
}

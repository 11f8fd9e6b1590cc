#include "raft/core.h"

#include <string.h>

struct progress *raft_peer(struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->peers_n; i++) {
        if (r->peers[i].id == id) {
            return &r->peers[i];
        }
    }
    return NULL;
}

void raft_peers_sync(struct raft *r, uint64_t now_ms)
{
    raft_id members[3 * RAFT_NODES_MAX];
    const uint32_t n = config_members(configs_latest(&r->configs), members);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->peers_n; i++) {
        if (config_has(configs_latest(&r->configs), r->peers[i].id)) {
            if (kept != i) {
                r->peers[kept] = r->peers[i];
            }
            kept++;
        }
    }
    r->peers_n = kept;
    for (uint32_t i = 0; i < n; i++) {
        if (members[i] == r->options.id || raft_peer(r, members[i]) != NULL) {
            continue;
        }
        ASSERT(r->peers_n < RAFT_PEERS_MAX);
        struct progress *p = &r->peers[r->peers_n];
        p->id = members[i];
        p->down = false;
        p->quarantined = false;
        progress_reset(p, r->terms.last, now_ms);
        r->peers_n++;
    }
}

void raft_config_append(struct raft *r, const struct raft_config *config,
                        raft_index index)
{
    struct raft_config copy = *config;
    copy.index = index;
    ASSERT(config_valid(&copy));
    configs_push(&r->configs, &copy);
}

bool raft_we_vote(const struct raft *r)
{
    return config_votes(configs_latest(&r->configs), r->options.id);
}

bool raft_may_campaign(const struct raft *r)
{
    if (raft_we_vote(r)) {
        return true;
    }
    /* Only we may have the log that the remaining voters accept, until the entry that leaves us out is committed: then we
     * lead once more, without counting ourselves (Raft thesis 4.2.2). */
    const struct raft_config *now = configs_latest(&r->configs);
    return now->index > r->commit && r->configs.n > 1 &&
           config_votes(&r->configs.items[r->configs.n - 2], r->options.id);
}

static uint64_t measure_of(const struct progress *p, enum raft_measure measure)
{
    if (p->quarantined) {
        return 0;
    }
    switch (measure) {
    case RAFT_MEASURE_MATCH:
        return p->match;
    case RAFT_MEASURE_ROUND:
        return p->acked_round;
    case RAFT_MEASURE_SENT_MS:
        return p->acked_sent_ms;
    case RAFT_MEASURE_HEARD_MS:
        return p->heard_ms;
    case RAFT_MEASURE_GRANTED:
        return p->vote == PROGRESS_VOTE_GRANTED ? 1 : 0;
    case RAFT_MEASURE_NOT_REJECTED:
        return p->vote == PROGRESS_VOTE_REJECTED ? 0 : 1;
    }
    return 0;
}

uint64_t raft_quorum(const struct raft *r, enum raft_measure measure,
                     uint64_t own)
{
    struct config_value values[RAFT_PEERS_MAX + 1];
    ASSERT(r->peers_n <= RAFT_PEERS_MAX);
    for (uint32_t i = 0; i < r->peers_n; i++) {
        values[i] = (struct config_value){
            .id = r->peers[i].id, .value = measure_of(&r->peers[i], measure)};
    }
    values[r->peers_n] =
        (struct config_value){.id = r->options.id, .value = own};
    return config_quorum(configs_latest(&r->configs), values, r->peers_n + 1);
}

static void append_config(struct raft *r, const struct raft_in *in,
                          const struct raft_config *config,
                          struct raft_out *out)
{
    raft_append_own(r, in, 1, out);
    raft_config_append(r, config, r->terms.last);
    raft_peers_sync(r, in->now_ms);
    out->config_changed = true;
    raft_note(out, "%u proposes configuration %llu%s: %u voters, %u learners",
              r->options.id, (unsigned long long)r->terms.last,
              config_joint(config) ? " (joint)" : "", config->voters.n,
              config->learners.n);
}

/* May a configuration be proposed at all? Never before our term's first commit: an earlier leader's change may still be
 * open then, and two single steps from one base can have quorums that don't meet (Ongaro 2015, bug 26). */
static enum baton_status config_gate(const struct raft *r)
{
    if (r->role != RAFT_LEADER) {
        return BATON_NOT_LEADER;
    }
    if (r->transfer.to != 0 || !raft_term_committed(r) ||
        r->terms.last - r->commit >= UNCOMMITTED_MAX) {
        return BATON_BUSY;
    }
    return raft_config_committed(r) ? BATON_OK : BATON_CONFLICT;
}

/* The history must still answer for every checkpoint that the shell can take: from applied on. */
static bool history_full(const struct raft *r)
{
    return r->configs.n == CONFIGS_MAX &&
           r->configs.items[1].index > r->applied;
}

/* Eight parameters, as the contract has them: what's wanted, whose turn it is, and where the answer goes. */
/* NOLINTBEGIN(readability-function-size) */
enum baton_status
raft_propose_config(struct raft *r, const struct raft_in *in,
                    raft_index expected, const struct raft_nodes *voters,
                    const struct raft_nodes *learners, struct raft_out *out,
                    struct raft_config *out_config, raft_index *out_index)
{
    const enum baton_status gate = config_gate(r);
    const struct raft_config *now = configs_latest(&r->configs);
    if (gate != BATON_OK) {
        return gate;
    }
    if (expected != now->index || config_joint(now)) {
        return BATON_CONFLICT;
    }
    struct raft_config next = {
        .index = r->terms.last + 1, .voters = *voters, .learners = *learners};
    if (!nodes_valid(voters) || !nodes_equal(voters, &now->voters)) {
        next.voters_old = now->voters;
    }
    if (!config_valid(&next)) {
        return BATON_INVALID;
    }
    if (history_full(r)) {
        return BATON_BUSY;
    }
    append_config(r, in, &next, out);
    *out_config = next;
    *out_index = next.index;
    return BATON_OK;
}
/* NOLINTEND(readability-function-size) */

bool raft_config_leave(const struct raft *r)
{
    const struct raft_config *now = configs_latest(&r->configs);
    return r->role == RAFT_LEADER && config_joint(now) &&
           now->index <= r->commit && raft_term_committed(r) &&
           r->transfer.to == 0;
}

enum baton_status raft_propose_leave(struct raft *r, const struct raft_in *in,
                                     struct raft_out *out,
                                     struct raft_config *out_config,
                                     raft_index *out_index)
{
    const enum baton_status gate = config_gate(r);
    if (gate != BATON_OK) {
        return gate;
    }
    if (!raft_config_leave(r)) {
        return BATON_CONFLICT;
    }
    if (history_full(r)) {
        return BATON_BUSY;
    }
    struct raft_config next = *configs_latest(&r->configs);
    next.index = r->terms.last + 1;
    next.voters_old = (struct raft_nodes){.n = 0};
    append_config(r, in, &next, out);
    *out_config = next;
    *out_index = next.index;
    return BATON_OK;
}

void raft_quarantine(struct raft *r, raft_id node, bool on)
{
    struct progress *p = raft_peer(r, node);
    if (p == NULL || p->quarantined == on) {
        return;
    }
    p->quarantined = on;
    /* Whatever it acked doesn't hold: begin again, now or when it's let back in. */
    progress_reset(p, r->terms.last, p->heard_ms);
}

const struct raft_config *raft_config_now(const struct raft *r)
{
    return configs_latest(&r->configs);
}

bool raft_config_committed(const struct raft *r)
{
    return configs_latest(&r->configs)->index <= r->commit;
}

const struct raft_config *raft_config_at(const struct raft *r, raft_index index)
{
    return configs_at(&r->configs, index);
}

uint32_t raft_peers(const struct raft *r, struct raft_peer_view *out)
{
    if (r->role != RAFT_LEADER) {
        return 0;
    }
    const struct raft_config *now = configs_latest(&r->configs);
    for (uint32_t i = 0; i < r->peers_n; i++) {
        const struct progress *p = &r->peers[i];
        out[i] = (struct raft_peer_view){
            .id = p->id,
            .match = p->match,
            .next = p->next,
            .heard_ms = p->heard_ms,
            .voter = config_votes(now, p->id),
            .learner = nodes_has(&now->learners, p->id),
            .snapshot = p->mode == PROGRESS_SNAPSHOT,
            .quarantined = p->quarantined,
        };
    }
    return r->peers_n;
}

#include "tests/script/raft_oracle.h"

static const struct cluster_entry *entry_at(const struct cluster_log *log,
                                            raft_index index)
{
    if (index <= log->base.index || index > log->base.index + log->n) {
        return NULL;
    }
    return &log->items[index - log->base.index - 1];
}

static void vote_once(struct cluster *c, raft_id node, raft_term term,
                      raft_id vote)
{
    ASSERT(term < CLUSTER_TERMS_MAX);
    ASSERT(c->votes[node][term] == 0 || c->votes[node][term] == vote);
    c->votes[node][term] = vote;
}

void oracle_send(struct cluster *c, const struct cluster_node *node,
                 const struct cluster_message *message)
{
    const struct raft_message *m = &message->m;
    if (m->pre) {
        return;
    }
    ASSERT(m->term <= node->disk_term);
    if (m->type == RAFT_VOTE) {
        vote_once(c, node->id, m->term, node->id);
    }
    if (m->type == RAFT_VOTE_REPLY && m->success) {
        vote_once(c, node->id, m->term, m->to);
    }
    if (m->type == RAFT_APPEND_REPLY && m->success) {
        ASSERT(node->disk.base.index + node->disk.n >= m->index);
    }
    if (m->type == RAFT_HEARTBEAT_REPLY) {
        ASSERT(node->disk.base.index + node->disk.n >= m->index);
    }
}

void oracle_append(struct cluster *c, const struct cluster_node *node,
                   raft_index index)
{
    const struct cluster_entry *e = entry_at(&node->log, index);
    const struct cluster_entry *before = entry_at(&node->log, index - 1);
    ASSERT(e != NULL);
    ASSERT(index < CLUSTER_LOG_MAX);
    const raft_term past = before != NULL ? before->term : node->log.base.term;
    struct cluster_seen *seen = c->seen[index];
    for (uint32_t i = 0; i < CLUSTER_SEEN_MAX; i++) {
        if (seen[i].term == 0) {
            seen[i] = (struct cluster_seen){
                .term = e->term, .value = e->value, .past = past};
            return;
        }
        if (seen[i].term == e->term) {
            ASSERT(seen[i].value == e->value);
            ASSERT(seen[i].past == past);
            return;
        }
    }
}

void oracle_leader(struct cluster *c, const struct cluster_node *node)
{
    const raft_term term = raft_term_now(node->raft);
    ASSERT(term < CLUSTER_TERMS_MAX);
    if (c->lies) {
        return;
    }
    ASSERT(c->term_leader[term] == 0);
    c->term_leader[term] = node->id;
    for (raft_index i = node->log.base.index + 1; i <= c->committed_n; i++) {
        const struct cluster_entry *e = entry_at(&node->log, i);
        ASSERT(e != NULL);
        ASSERT(e->term == c->committed[i].term);
        ASSERT(e->value == c->committed[i].value);
    }
}

static uint32_t disks_with(const struct cluster *c,
                           const struct raft_nodes *voters, raft_index index,
                           raft_term term)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < voters->n; i++) {
        const struct cluster_log *disk = &c->nodes[voters->ids[i] - 1].disk;
        const struct cluster_entry *e = entry_at(disk, index);
        if (index <= disk->base.index || (e != NULL && e->term == term)) {
            n++;
        }
    }
    return n;
}

void oracle_apply(struct cluster *c, const struct cluster_node *node,
                  raft_index index)
{
    const struct cluster_entry *e = entry_at(&node->log, index);
    ASSERT(e != NULL);
    ASSERT(index < CLUSTER_LOG_MAX);
    if (c->lies) {
        return;
    }
    if (index <= c->committed_n) {
        ASSERT(e->term == c->committed[index].term);
        ASSERT(e->value == c->committed[index].value);
        return;
    }
    ASSERT(index == c->committed_n + 1);
    c->committed_n = index;
    c->committed[index] = *e;
    const struct raft_config *config = raft_config_now(node->raft);
    ASSERT(disks_with(c, &config->voters, index, e->term) >
           config->voters.n / 2);
    ASSERT_IMPLIES(config->voters_old.n > 0,
                   disks_with(c, &config->voters_old, index, e->term) >
                       config->voters_old.n / 2);
}

void oracle_read(struct cluster *c, struct cluster_node *node, uint64_t ticket)
{
    ASSERT(ticket < CLUSTER_TICKET_MAX);
    ASSERT(ticket >= node->ticket_last);
    ASSERT(ticket > node->ticket_done);
    node->ticket_last = ticket;
    node->ticket_needs[ticket] = c->committed_n;
}

void oracle_reads(struct cluster *c, struct cluster_node *node,
                  const struct raft_out *out)
{
    ASSERT(out->reads_ticket <= node->ticket_last);
    while (node->ticket_done < out->reads_ticket) {
        node->ticket_done++;
        ASSERT(out->reads_index >= node->ticket_needs[node->ticket_done]);
        c->reads_done++;
    }
    if (out->reads_failed > node->ticket_done) {
        c->reads_failed += out->reads_failed - node->ticket_done;
        node->ticket_done = out->reads_failed;
    }
    ASSERT_IMPLIES(out->reads_ticket != 0,
                   out->reads_index <= raft_commit(node->raft));
}

void oracle_lease(struct cluster *c, const struct cluster_node *node)
{
    if (!c->leases_checked || raft_role_now(node->raft) != RAFT_LEADER) {
        return;
    }
    const raft_term term = raft_term_now(node->raft);
    if (raft_lease_valid(node->raft, node->now_ms, 0)) {
        c->leases_seen++;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const struct cluster_node *other = &c->nodes[i];
        if (other->up && raft_role_now(other->raft) == RAFT_LEADER &&
            raft_term_now(other->raft) < term) {
            ASSERT(!raft_lease_valid(other->raft, other->now_ms, 0));
        }
    }
}

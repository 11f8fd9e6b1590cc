#include "raft/core.h"

/* Are these entries such as a leader of this term can send? If not, its memory or the wire is damaged: nothing of them may reach
 * our log (bug 49). */
static bool entries_valid(const struct raft_message *m)
{
    if (m->entries_n > 0 && m->entries == NULL) {
        return false;
    }
    raft_term before = m->log_term;
    for (uint32_t i = 0; i < m->entries_n; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->term < before || e->term > m->term || e->term == 0) {
            return false;
        }
        if (e->kind == RAFT_CONFIG &&
            (e->config == NULL || !config_valid(e->config))) {
            return false;
        }
        before = e->term;
    }
    return m->log_term <= m->term && (m->log_term == 0) == (m->index == 0);
}

static void append_reject(struct raft *r, const struct raft_message *m,
                          struct raft_out *out)
{
    /* The largest entry of ours that can match: skips a whole term of ours that the leader doesn't have. */
    const raft_index hint = terms_find(&r->terms, m->index, m->log_term);
    raft_note(out, "%u rejects entries behind %llu^%llu: has %llu^%llu there",
              r->options.id, (unsigned long long)m->index,
              (unsigned long long)m->log_term,
              (unsigned long long)min_u64(m->index, r->terms.last),
              (unsigned long long)terms_at(&r->terms,
                                           min_u64(m->index, r->terms.last)));
    raft_send(r, out,
              (struct raft_message){.type = RAFT_APPEND_REPLY,
                                    .to = m->from,
                                    .index = m->index,
                                    .hint_index = hint,
                                    .hint_term = terms_at(&r->terms, hint)},
              0);
}

static void truncate(struct raft *r, raft_index from, raft_term theirs,
                     struct raft_out *out)
{
    /* What is committed is never taken back; who asks for it has lost it. */
    ASSERT(from > r->commit);
    /* The shell has acted on earlier work on the log: one range fits into `out`. */
    ASSERT(out->append_n == 0);
    ASSERT(out->truncate_from == 0);
    raft_note(out, "%u drops %llu..%llu: has %llu^%llu, leader %llu^%llu",
              r->options.id, (unsigned long long)from,
              (unsigned long long)r->terms.last, (unsigned long long)from,
              (unsigned long long)terms_at(&r->terms, from),
              (unsigned long long)from, (unsigned long long)theirs);
    terms_truncate(&r->terms, from);
    durable_truncate(&r->durable, from);
    out->truncate_from = from;
    if (configs_truncate(&r->configs, from)) {
        out->config_changed = true;
        raft_note(out, "%u goes back to configuration %llu", r->options.id,
                  (unsigned long long)configs_latest(&r->configs)->index);
    }
}

/* Appends m's entries from number `skip` on, as many as there are runs of terms for. */
static void append_new(struct raft *r, const struct raft_in *in,
                       const struct raft_message *m, uint32_t skip,
                       struct raft_out *out)
{
    const raft_index first = r->terms.last + 1;
    ASSERT(first == m->index + 1 + skip);
    for (uint32_t i = skip; i < m->entries_n; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (!terms_append(&r->terms, 1, e->term)) {
            raft_note(out, "%u takes no more: its log holds too many terms",
                      r->options.id);
            break;
        }
        if (e->kind == RAFT_CONFIG) {
            raft_config_append(r, e->config, r->terms.last);
            out->config_changed = true;
        }
    }
    if (r->terms.last < first) {
        return;
    }
    ASSERT(out->append_n == 0);
    out->append_first = first;
    out->append_n = (uint32_t)(r->terms.last - first + 1);
    durable_append(&r->durable, r->terms.last, in->batch, in->now_ms);
}

/* Number of leading entries that need nothing: committed, or ours already. */
static uint32_t entries_known(const struct raft *r,
                              const struct raft_message *m)
{
    uint32_t known = 0;
    while (known < m->entries_n) {
        const raft_index index = m->index + 1 + known;
        if (index > r->commit &&
            terms_at(&r->terms, index) != m->entries[known].term) {
            break;
        }
        known++;
    }
    return known;
}

void raft_on_append(struct raft *r, const struct raft_in *in,
                    const struct raft_message *m, struct raft_out *out)
{
    if (r->installing) {
        return;
    }
    if (!entries_valid(m)) {
        raft_note(out, "%u ignores malformed entries behind %llu from %u",
                  r->options.id, (unsigned long long)m->index, m->from);
        return;
    }
    /* Up to our commit index every leader's log is ours (leader completeness), whatever was compacted. */
    if (m->index > r->commit && terms_at(&r->terms, m->index) != m->log_term) {
        append_reject(r, m, out);
        return;
    }
    const raft_index sent = m->index + m->entries_n;
    const uint32_t known = entries_known(r, m);
    if (known < m->entries_n) {
        const raft_index from = m->index + 1 + known;
        if (from <= r->terms.last) {
            truncate(r, from, m->entries[known].term, out);
        }
        append_new(r, in, m, known, out);
    }
    if (out->config_changed) {
        raft_peers_sync(r, in->now_ms);
    }
    const raft_index match = max_u64(r->commit, min_u64(sent, r->terms.last));
    r->commit = max_u64(r->commit, min_u64(m->commit, match));
    if (m->quiet && m->entries_n == 0) {
        return;
    }
    raft_send(r, out,
              (struct raft_message){.type = RAFT_APPEND_REPLY,
                                    .to = m->from,
                                    .index = match,
                                    .success = true},
              match);
}

void raft_on_heartbeat(struct raft *r, const struct raft_in *in,
                       const struct raft_message *m, struct raft_out *out)
{
    (void)in;
    r->heard_round = max_u64(r->heard_round, m->round);
    if (m->commit > r->terms.last) {
        /* The leader only tells what we acknowledged to it, so we have lost some of that. */
        if (r->lost_noted < m->commit) { /* it's told with each heartbeat */
            r->lost_noted = m->commit;
            raft_note(out,
                      "%u: the leader counts on us up to %llu, but our log "
                      "ends at %llu",
                      r->options.id, (unsigned long long)m->commit,
                      (unsigned long long)r->terms.last);
        }
        raft_raise(out, RAFT_ALARM_ACK_REGRESSION, r->options.id,
                   (struct raft_pos){.index = m->commit, .term = m->term});
    } else if (!r->installing) {
        r->commit = max_u64(r->commit, m->commit);
    }
    raft_send(r, out,
              (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                    .to = m->from,
                                    .index = r->durable.stored,
                                    .round = m->round},
              0);
}

#include "raft/core.h"

/* splitmix64 (Vigna, public domain): one word of state, good enough to keep two nodes from campaigning in step. */
static uint64_t random_next(struct raft *r)
{
    r->rng += 0x9e3779b97f4a7c15U;
    uint64_t z = r->rng;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void raft_election_reset(struct raft *r, uint64_t now_ms)
{
    const uint64_t base = r->options.election_ms;
    r->election_ms = now_ms + base + random_next(r) % (base + 1);
}

bool raft_disk_stalled(const struct raft *r, uint64_t now_ms)
{
    uint64_t since_ms = 0;
    return durable_oldest(&r->durable, &since_ms) &&
           now_ms >= since_ms + r->options.stall_ms;
}

/* Why this node may not campaign; NULL if it may. */
static const char *campaign_obstacle(const struct raft *r, uint64_t now_ms)
{
    if (r->muted) {
        return "it doesn't trust its own state";
    }
    if (terms_room(&r->terms) < TERMS_ROOM_MIN) {
        return "its log holds too many terms, and must be trimmed first";
    }
    if (r->installing) {
        return "it installs a snapshot";
    }
    if (raft_disk_stalled(r, now_ms)) {
        return "its disk is behind";
    }
    return NULL;
}

static void votes_clear(struct raft *r)
{
    for (uint32_t i = 0; i < r->peers_n; i++) {
        r->peers[i].vote = PROGRESS_VOTE_NONE;
    }
}

static void votes_ask(struct raft *r, struct raft_out *out, bool pre,
                      bool force)
{
    const struct raft_config *config = configs_latest(&r->configs);
    const struct raft_pos last = terms_last(&r->terms);
    for (uint32_t i = 0; i < r->peers_n; i++) {
        if (!config_votes(config, r->peers[i].id) || r->peers[i].quarantined) {
            continue;
        }
        raft_send(r, out,
                  (struct raft_message){.type = RAFT_VOTE,
                                        .to = r->peers[i].id,
                                        .term = pre ? r->term + 1 : r->term,
                                        .index = last.index,
                                        .log_term = last.term,
                                        .round = r->campaign,
                                        .pre = pre,
                                        .force = force},
                  0);
    }
}

static void campaign(struct raft *r, const struct raft_in *in,
                     struct raft_out *out, bool force)
{
    const struct raft_pos last = terms_last(&r->terms);
    r->campaign++;
    raft_set_term(r, in, out, r->term + 1, r->options.id);
    r->role = RAFT_CANDIDATE;
    r->leader = 0;
    out->role_changed = true;
    raft_election_reset(r, in->now_ms);
    votes_clear(r);
    raft_note(out, "%u campaigns in term %llu with log %llu^%llu%s",
              r->options.id, (unsigned long long)r->term,
              (unsigned long long)last.index, (unsigned long long)last.term,
              force ? ", told to by the leader" : "");
    /* Our own vote counts when it is on disk, and not before: see raft_election_stored(). */
    votes_ask(r, out, false, force);
}

void raft_campaign_forced(struct raft *r, const struct raft_in *in,
                          struct raft_out *out)
{
    const char *obstacle = campaign_obstacle(r, in->now_ms);
    if (obstacle != NULL || !raft_may_campaign(r)) {
        raft_note(out, "%u doesn't campaign: %s", r->options.id,
                  obstacle != NULL ? obstacle : "it has no vote");
        return;
    }
    campaign(r, in, out, true);
}

static void campaign_pre(struct raft *r, const struct raft_in *in,
                         struct raft_out *out)
{
    r->campaign++;
    r->role = RAFT_PRECANDIDATE;
    r->leader = 0;
    out->role_changed = true;
    raft_election_reset(r, in->now_ms);
    votes_clear(r);
    raft_note(out,
              "%u asks for pre-votes for term %llu: heard no leader for "
              "%llu ms",
              r->options.id, (unsigned long long)r->term + 1,
              (unsigned long long)(in->now_ms - r->contact_ms));
    if (raft_quorum(r, RAFT_MEASURE_GRANTED, 1) != 0) {
        campaign(r, in, out, false);
        return;
    }
    votes_ask(r, out, true, false);
}

void raft_election_timeout(struct raft *r, const struct raft_in *in,
                           struct raft_out *out)
{
    ASSERT(r->role != RAFT_LEADER);
    if (!raft_may_campaign(r)) {
        raft_election_reset(r, in->now_ms);
        if (r->role != RAFT_FOLLOWER) {
            raft_become_follower(r, in, out, r->term, 0);
        }
        r->leader = 0;
        return;
    }
    const char *obstacle = campaign_obstacle(r, in->now_ms);
    if (obstacle != NULL) {
        raft_note(out, "%u doesn't campaign: %s", r->options.id, obstacle);
        raft_election_reset(r, in->now_ms);
        if (r->role != RAFT_FOLLOWER) {
            raft_become_follower(r, in, out, r->term, 0);
        }
        r->leader = 0;
        return;
    }
    if (r->options.prevote) {
        campaign_pre(r, in, out);
    } else {
        campaign(r, in, out, false);
    }
}

static void votes_count(struct raft *r, const struct raft_in *in,
                        struct raft_out *out)
{
    if (r->role == RAFT_PRECANDIDATE) {
        if (raft_quorum(r, RAFT_MEASURE_GRANTED, 1) != 0) {
            campaign(r, in, out, false);
        } else if (raft_quorum(r, RAFT_MEASURE_NOT_REJECTED, 1) == 0) {
            raft_note(out, "%u gives up its campaign: pre-votes refused",
                      r->options.id);
            raft_become_follower(r, in, out, r->term, 0);
        }
        return;
    }
    ASSERT(r->role == RAFT_CANDIDATE);
    const bool own = durable_hard_stored(&r->durable);
    if (raft_quorum(r, RAFT_MEASURE_GRANTED, own ? 1 : 0) != 0 && own) {
        raft_lead(r, in, out);
    } else if (raft_quorum(r, RAFT_MEASURE_NOT_REJECTED, 1) == 0) {
        raft_note(out, "%u loses the election of term %llu", r->options.id,
                  (unsigned long long)r->term);
        raft_become_follower(r, in, out, r->term, 0);
    }
}

void raft_election_stored(struct raft *r, const struct raft_in *in,
                          struct raft_out *out)
{
    if (r->role == RAFT_CANDIDATE) {
        votes_count(r, in, out);
    }
}

void raft_on_vote_reply(struct raft *r, const struct raft_in *in,
                        const struct raft_message *m, struct raft_out *out)
{
    struct progress *p = raft_peer(r, m->from);
    ASSERT(p != NULL);
    /* Answers to an earlier campaign of ours don't count in this one (bug 5, R16). */
    if (m->pre) {
        if (r->role != RAFT_PRECANDIDATE || m->round != r->campaign ||
            (m->success && m->term != r->term + 1)) {
            return;
        }
    } else if (r->role != RAFT_CANDIDATE || m->term != r->term) {
        return;
    }
    if (p->vote != PROGRESS_VOTE_NONE) {
        return;
    }
    p->vote = m->success ? PROGRESS_VOTE_GRANTED : PROGRESS_VOTE_REJECTED;
    votes_count(r, in, out);
}

static void vote_answer(const struct raft *r, const struct raft_message *m,
                        bool grant, struct raft_out *out)
{
    raft_send(r, out,
              (struct raft_message){.type = RAFT_VOTE_REPLY,
                                    .to = m->from,
                                    .term = m->pre && grant ? m->term : r->term,
                                    .round = m->round,
                                    .pre = m->pre,
                                    .success = grant},
              0);
}

/* Why this candidate isn't listened to at all, whatever its log; NULL if it is. A leader counts on that (quorum lease), and
 * a node that can't hear the leader can't depose it (bugs 18, 21, 25). */
static const char *vote_obstacle(const struct raft *r,
                                 const struct raft_message *m, uint64_t now_ms)
{
    if (m->force) {
        return NULL;
    }
    if (now_ms < r->promised_ms) {
        return "heard a leader, or started, less than a timeout ago";
    }
    if (r->role == RAFT_LEADER && r->options.check_quorum) {
        return "leads itself";
    }
    return NULL;
}

static void note_vote(const struct raft *r, const struct raft_message *m,
                      const char *what, const char *why, struct raft_out *out)
{
    const struct raft_pos last = terms_last(&r->terms);
    raft_note(out,
              "%u %s %s to %u in term %llu: %s (its log %llu^%llu, ours "
              "%llu^%llu)",
              r->options.id, what, m->pre ? "pre-vote" : "vote", m->from,
              (unsigned long long)m->term, why, (unsigned long long)m->index,
              (unsigned long long)m->log_term, (unsigned long long)last.index,
              (unsigned long long)last.term);
}

static bool log_covers(const struct raft *r, const struct raft_message *m)
{
    const struct raft_pos last = terms_last(&r->terms);
    return m->log_term > last.term ||
           (m->log_term == last.term && m->index >= last.index);
}

static void on_vote_pre(struct raft *r, const struct raft_message *m,
                        struct raft_out *out)
{
    const bool covers = log_covers(r, m);
    const bool grant = covers && m->term > r->term;
    note_vote(r, m, grant ? "grants" : "refuses",
              grant     ? "log is as good"
              : !covers ? "log is behind"
                        : "term isn't new",
              out);
    vote_answer(r, m, grant, out);
}

void raft_on_vote(struct raft *r, const struct raft_in *in,
                  const struct raft_message *m, struct raft_out *out)
{
    const struct progress *p = raft_peer(r, m->from);
    if (r->muted || (p != NULL && p->quarantined)) {
        return;
    }
    if (m->term < r->term) {
        /* It learns our term, and so doesn't stay behind for ever with a longer log (bug 19). */
        vote_answer(r, m, false, out);
        return;
    }
    const char *obstacle = vote_obstacle(r, m, in->now_ms);
    if (obstacle != NULL) {
        note_vote(r, m, "refuses", obstacle, out);
        if (m->pre) {
            vote_answer(r, m, false, out);
        }
        return;
    }
    if (m->pre) {
        on_vote_pre(r, m, out);
        return;
    }
    const bool covers = log_covers(r, m);
    if (p == NULL && !covers) {
        /* A node outside the configuration whose log can't win: don't let it raise our term (R13). One with a good log may be
         * in a later configuration than we know, and needs our vote (bug 51). */
        note_vote(r, m, "refuses", "not a member, log is behind", out);
        return;
    }
    if (m->term > r->term) {
        raft_become_follower(r, in, out, m->term, 0);
    }
    const bool free =
        r->vote == m->from || (r->vote == 0 && r->term_leader == 0);
    const bool grant = free && covers;
    note_vote(r, m, grant ? "grants" : "refuses",
              grant   ? "log is as good"
              : !free ? "voted, or has a leader, in this term"
                      : "log is behind",
              out);
    if (grant) {
        if (r->vote == 0) {
            raft_set_term(r, in, out, r->term, m->from);
        }
        raft_election_reset(r, in->now_ms);
    }
    vote_answer(r, m, grant, out);
}

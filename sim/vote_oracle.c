/* Who is elected, and what nodes tell each other: that they promise no more than is on disk, to nobody else, and for long enough. */
#include <stdlib.h>

#include "proto/codec.h"
#include "raft/message.h"
#include "sim/cover.h"
#include "sim/oracle.h"
#include "sim/raft_seen.h"
#include "sim/trace.h"

/* A node that was healed last may still be on its way. */
#define QUIET_ELECTIONS_MAX 2u

static void put_reign(struct raft_oracle *o, raft_term term, uint64_t at_us)
{
    if (o->reigns_n > 0 && o->reigns[o->reigns_n - 1].term >= term) {
        return; /* it comes late, and leads nobody */
    }
    if (o->reigns_n == o->reigns_capacity) {
        o->reigns_capacity =
            o->reigns_capacity == 0 ? 64 : o->reigns_capacity * 2;
        o->reigns = realloc(o->reigns, o->reigns_capacity * sizeof *o->reigns);
        ASSERT(o->reigns != NULL);
    }
    o->reigns[o->reigns_n++] = (struct reign_began){term, at_us};
}

/* How many of them said that they vote for it in that term; its own vote needs no saying. */
static uint32_t votes_for(const struct raft_oracle *o,
                          const struct raft_nodes *nodes, raft_term term,
                          raft_id candidate)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < nodes->n; i++) {
        uint64_t vote = 0;
        n += nodes->ids[i] == candidate ||
             (facts_get(&o->votes, raft_seen_key(term, nodes->ids[i]), &vote) &&
              vote == candidate);
    }
    return n;
}

/* R1: nobody leads whom no quorum voted for. */
static void check_elected(struct sim_node *n, raft_term term)
{
    const struct raft_oracle *o = n->world->raft;
    const struct raft_config *c = raft_config_now(turn_raft(n->turn));
    uint32_t votes = votes_for(o, &c->voters, term, n->id);
    uint32_t votes_old = votes_for(o, &c->voters_old, term, n->id);
    if (2 * votes <= c->voters.n ||
        (c->voters_old.n > 0 && 2 * votes_old <= c->voters_old.n)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R1",
                       "node %u leads term %llu with %u votes of %u", n->id,
                       (unsigned long long)term, votes, c->voters.n);
    }
}

/* R15: by the time that somebody is elected, nobody serves by a lease any more. */
static void check_leases(const struct sim_node *n, raft_term term)
{
    struct sim_world *w = n->world;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *other = &w->nodes[id];
        if (other == n || !other->up) {
            continue;
        }
        uint64_t now_ms = sim_clock_ms(&other->clock, w->now_us);
        const struct raft *raft = turn_raft(other->turn);
        if (raft_role_now(raft) == RAFT_LEADER && raft_term_now(raft) < term &&
            raft_lease_valid(raft, now_ms, 0)) {
            sim_world_fail(w, SIM_UNSAFE, "R15",
                           "node %u leads term %llu, and node %u has a lease "
                           "of term %llu",
                           n->id, (unsigned long long)term, id,
                           (unsigned long long)raft_term_now(raft));
        }
    }
}

/* L2: where all is whole and nothing is asked, whoever leads goes on. */
static void check_quiet(struct sim_node *n, raft_term term)
{
    struct sim_world *w = n->world;
    w->raft->quiet_elections += w->quiet;
    if (w->raft->quiet_elections > QUIET_ELECTIONS_MAX) {
        sim_world_fail(w, SIM_NOT_LIVE, "L2",
                       "nothing is wrong, but node %u leads term %llu, the "
                       "%u. change in so short a time",
                       n->id, (unsigned long long)term,
                       w->raft->quiet_elections);
    }
}

/* R1: one leader a term, in all of history. R6: it has whatever was committed before. */
void raft_seen_leader(struct sim_node *n, struct node_seen *seen,
                      raft_term term)
{
    struct sim_world *w = n->world;
    struct raft_oracle *o = w->raft;
    if (seen->led_term == term) {
        return;
    }
    seen->led_term = term;
    seen->led_us = w->now_us;
    w->coverage.elections++;
    w->coverage.leader_changes += o->last_leader != n->id;
    o->last_leader = n->id;
    uint64_t who = facts_first(&o->leaders, term, n->id);
    if (who != n->id) {
        sim_world_fail(
            w, SIM_UNSAFE, "R1", "nodes %llu and %u both led term %llu",
            (unsigned long long)who, n->id, (unsigned long long)term);
    }
    put_reign(o, term, w->now_us);
    uint64_t forced = 0;
    cover_leads(n, term,
                facts_get(&o->forced, raft_seen_key(term, n->id), &forced));
    check_elected(n, term);
    check_leases(n, term);
    check_quiet(n, term);
    for (raft_index i = seen->log.base + 1; i <= o->committed_n; i++) {
        const struct entry_id *e = raft_seen_entry(&seen->log, i);
        const struct entry_id *c = &o->committed[i - 1];
        /* A leader of an older term than that may come late, and lead nobody. */
        if (c->committed < term &&
            (e == NULL || e->term != c->term || e->chain != c->chain)) {
            sim_world_fail(w, SIM_UNSAFE, "R6",
                           "node %u leads term %llu without index %llu, which "
                           "was committed",
                           n->id, (unsigned long long)term,
                           (unsigned long long)i);
            return;
        }
    }
}

/* --- what's sent ------------------------------------------------------------------------------------------------------------------------- */

/* R2: one vote a term, and it's on disk before anybody hears of it. */
static void check_vote(struct sim_node *n, raft_term term, raft_id candidate)
{
    raft_id vote = 0;
    raft_term durable = sim_disk_term(n->disk, &vote);
    uint64_t first = facts_first(&n->world->raft->votes,
                                 raft_seen_key(term, n->id), candidate);
    if (first != candidate) {
        sim_world_fail(n->world, SIM_UNSAFE, "R2",
                       "node %u votes for %u in term %llu, after %llu", n->id,
                       candidate, (unsigned long long)term,
                       (unsigned long long)first);
    }
    /* Held back until then, it may leave when a later term is on disk already. */
    if (durable < term || (durable == term && vote != candidate)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R2",
                       "node %u tells its vote for %u in term %llu before "
                       "it's on disk",
                       n->id, candidate, (unsigned long long)term);
    }
}

/* Who has just heard its leader helps nobody else: R15, a leader's lease counts on the votes; L2, a node that can't hear the leader deposes
 * it otherwise. Only where the answer was made now: one that waited for the disk may be older than what was heard. */
static void check_loyal(struct sim_node *n, const Pb__PeerFrame *f, raft_id to)
{
    const struct node_seen *seen = raft_seen_of(n);
    const struct raft *raft = turn_raft(n->turn);
    uint64_t now_ms = sim_clock_ms(&n->clock, n->world->now_us);
    uint64_t election_ms = n->world->options.election_ms;
    uint64_t heard_ms = raft_last_contact_ms(raft);
    uint64_t forced = 0;
    /* A leader's contact is with its quorum, and it has promised nothing to anybody. */
    bool led = raft_role_now(raft) == RAFT_LEADER ||
               (seen->led_ms != 0 && heard_ms <= seen->led_ms + election_ms);
    bool told = !f->pre && facts_get(&n->world->raft->forced,
                                     raft_seen_key(f->term, to), &forced);
    if (!seen->prompt || led || told || !raft_contacted(raft) ||
        now_ms >= heard_ms + election_ms) {
        return;
    }
    sim_world_fail(n->world, SIM_UNSAFE, f->pre ? "L2" : "R15",
                   "node %u grants %u its %svote for term %llu, %llu ms after "
                   "it heard its leader",
                   n->id, to, f->pre ? "pre-" : "", (unsigned long long)f->term,
                   (unsigned long long)(now_ms - heard_ms));
}

/* R10: what is acknowledged is on disk, and is what the log says. */
static void check_ack(struct sim_node *n, raft_index index)
{
    raft_term term = 0;
    uint64_t chain = 0;
    struct sim_disk_counts counts;
    sim_disk_counts(n->disk, &counts);
    const struct entry_id *e = raft_seen_entry(&raft_seen_of(n)->log, index);
    bool has = sim_disk_entry(n->disk, index, &term, &chain) &&
               (e == NULL || (e->term == term && e->chain == chain));
    if (!has && index >= counts.first) {
        sim_world_fail(n->world, SIM_UNSAFE, "R10",
                       "node %u acknowledges index %llu before it's on disk "
                       "(its disk has %llu to %llu)",
                       n->id, (unsigned long long)index,
                       (unsigned long long)counts.first,
                       (unsigned long long)counts.last);
    }
}

void oracle_peer_send(struct sim_node *n, raft_id to, struct bytes body)
{
    struct raft_oracle *o = n->world->raft;
    arena_reset(&o->arena);
    const Pb__PeerFrame *f = codec_decode_peer(body, &o->arena);
    if (f == NULL) {
        sim_world_fail(n->world, SIM_UNSAFE, "R19",
                       "node %u sends a frame that can't be decoded", n->id);
        return;
    }
    trace_message(n->world,
                  &(struct trace_message){
                      .from = (uint8_t)n->id,
                      .to = (uint8_t)to,
                      .type = (uint8_t)f->type,
                      .term = f->term,
                      .index = f->index,
                      .entries_n = (uint32_t)f->n_entries,
                      .flags = (uint8_t)((f->pre ? TRACE_PRE : 0) |
                                         (f->success ? TRACE_SUCCESS : 0) |
                                         (f->force ? TRACE_FORCE : 0))});
    cover_peer_sends(n, to, f);
    oracle_frame(n, to);
    raft_id vote = 0;
    bool binding =
        !f->pre && f->type >= RAFT_VOTE && f->type <= RAFT_SNAPSHOT_REPLY;
    /* R3: nobody hears of a term that its node could forget. */
    if (binding && f->term > sim_disk_term(n->disk, &vote)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R3",
                       "node %u sends term %llu before it's on disk", n->id,
                       (unsigned long long)f->term);
    }
    if (binding && f->type == RAFT_VOTE) {
        check_vote(n, f->term, n->id);
    }
    if (binding && f->type == RAFT_VOTE && f->force) {
        (void)facts_first(&o->forced, raft_seen_key(f->term, n->id), 1);
    }
    if (f->type == RAFT_VOTE_REPLY && f->success) {
        check_loyal(n, f, to);
    }
    if (binding && f->type == RAFT_VOTE_REPLY && f->success) {
        check_vote(n, f->term, to);
    }
    /* One that was held back until a later leader took the entries away tells a deposed one nothing that it could use. */
    if (binding && f->type == RAFT_APPEND_REPLY && f->success &&
        f->term == raft_term_now(turn_raft(n->turn))) {
        check_ack(n, f->index);
    }
}

/* When a later term than that had its first leader; UINT64_MAX: none has. */
static uint64_t deposed_us(const struct raft_oracle *o, raft_term term)
{
    uint32_t i = o->reigns_n;
    while (i > 0 && o->reigns[i - 1].term > term) {
        i--;
    }
    return i < o->reigns_n ? o->reigns[i].at_us : UINT64_MAX;
}

/* S14: a heartbeat is acknowledged by who led at some moment since it was sent. Looked into only where somebody else leads. */
void oracle_client_send(struct sim_node *n, const struct sim_stream *s,
                        struct bytes body)
{
    struct sim_world *w = n->world;
    struct raft_oracle *o = w->raft;
    const struct raft *raft = turn_raft(n->turn);
    uint64_t deposed = deposed_us(o, raft_term_now(raft));
    if (s->hosts[0] == SIM_HOST_OF_OPERATOR) {
        return; /* it has no lease */
    }
    uint32_t number = s->hosts[0] - SIM_HOST_OF_CLIENT(0);
    ASSERT(number < w->clients_n);
    cover_client_sends(n, w->clients[number], s->id, body);
    if (raft_role_now(raft) != RAFT_LEADER || deposed == UINT64_MAX ||
        !w->clients[number]->up) {
        return;
    }
    arena_reset(&o->arena);
    const Pb__ClientMessage *m = codec_decode_message(body, &o->arena);
    if (m == NULL || m->status != PB__STATUS__OK ||
        m->result_case != PB__CLIENT_MESSAGE__RESULT_RENEW) {
        return;
    }
    const struct sim_client *c = w->clients[number];
    const struct lease_sent *sent =
        &c->baton->lease.sent[m->renew->number % LEASE_SENT_MAX];
    /* One that its client gave up, or that was another lease's, does no harm. From before its clock's last change, it can't be dated. */
    if (sent->number != m->renew->number ||
        sent->sent_ms * 1000 <= c->clock.base_us ||
        sim_clock_when_us(&c->clock, sent->sent_ms) <= deposed) {
        return;
    }
    sim_world_fail(w, SIM_UNSAFE, "S14",
                   "node %u acknowledges client %u's heartbeat in term %llu, "
                   "which was over when it was sent",
                   n->id, number, (unsigned long long)raft_term_now(raft));
}

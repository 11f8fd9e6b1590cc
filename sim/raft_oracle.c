/* Raft's invariants, by an onlooker who sees every node, its disk and every message. What is committed is kept once, for all: each node
 * that commits must say the same.
 *
 * R20, a trace that a TLA+ specification accepts, isn't checked apart: what such a specification states (LogInv, ElectionSafety, LogMatching,
 * LeaderCompleteness, CommittedIsDurable) is R1, R5, R6, R7 and R9 here, looked at after every turn and not in a trace of some. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "proto/codec.h"
#include "sim/cover.h"
#include "sim/oracle.h"
#include "sim/raft_seen.h"
#include "sim/trace.h"

#define FRAME_ARENA_BYTES (16u << 20)

struct raft_oracle *raft_oracle_new(void)
{
    struct raft_oracle *o = calloc(1, sizeof *o);
    ASSERT(o != NULL);
    o->memory = malloc(FRAME_ARENA_BYTES);
    ASSERT(o->memory != NULL);
    arena_init(&o->arena, o->memory, FRAME_ARENA_BYTES);
    return o;
}

void raft_oracle_free(struct raft_oracle *o)
{
    for (uint32_t i = 0; i <= SIM_NODES_MAX; i++) {
        free(o->nodes[i].log.entries);
    }
    free(o->committed);
    facts_fini(&o->chains);
    facts_fini(&o->votes);
    facts_fini(&o->forced);
    facts_fini(&o->leaders);
    facts_fini(&o->hashes);
    facts_fini(&o->events);
    log_oracle_fini(&o->log);
    members_seen_fini(&o->members);
    free(o->reigns);
    free(o->memory);
    free(o);
}

/* --- logs ------------------------------------------------------------------------------------------------------------------------- */

struct node_seen *raft_seen_of(const struct sim_node *n)
{
    return &n->world->raft->nodes[n->id];
}

const struct entry_id *raft_seen_entry(const struct shadow *s, raft_index index)
{
    return index > s->base && index <= s->base + s->n
               ? &s->entries[index - s->base - 1]
               : NULL;
}

static void shadow_append(struct shadow *s, raft_term term, uint64_t chain)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity == 0 ? 256 : s->capacity * 2;
        s->entries = realloc(s->entries, s->capacity * sizeof *s->entries);
        ASSERT(s->entries != NULL);
    }
    s->entries[s->n++] = (struct entry_id){term, chain, 0};
}

/* R5, log matching, and R18, one payload for ever: the chain hashes everything up to there. */
static void check_entry(struct sim_node *n, raft_index index, raft_term term,
                        uint64_t chain)
{
    struct raft_oracle *o = n->world->raft;
    if (facts_first(&o->chains, raft_seen_key(index, term), chain) != chain) {
        sim_world_fail(n->world, SIM_UNSAFE, "R5",
                       "node %u has another entry at index %llu of term %llu "
                       "than was there before",
                       n->id, (unsigned long long)index,
                       (unsigned long long)term);
    }
}

static void on_append(void *arg, const struct store_entry *e)
{
    struct sim_node *n = arg;
    struct shadow *s = &raft_seen_of(n)->log;
    raft_index last = s->base + s->n;
    if (e->index != last + 1) {
        sim_world_fail(n->world, SIM_UNSAFE, "R4",
                       "node %u appends index %llu behind %llu", n->id,
                       (unsigned long long)e->index, (unsigned long long)last);
        return;
    }
    /* R11: what's taken back was in conflict with what the leader has. */
    struct entry_id *dropped = &raft_seen_of(n)->dropped;
    if (dropped->term == e->term && dropped->chain == e->chain) {
        sim_world_fail(n->world, SIM_UNSAFE, "R11",
                       "node %u truncated from %llu, which was the leader's "
                       "entry as well",
                       n->id, (unsigned long long)e->index);
    }
    dropped->term = 0;
    shadow_append(s, e->term, e->chain);
    struct raft_oracle *o = n->world->raft;
    uint32_t before = o->chains.n;
    if (e->kind == RAFT_CONFIG) {
        members_seen_append(n, e);
    }
    check_entry(n, e->index, e->term, e->chain);
    if (o->chains.n != before) {
        log_oracle_entry(&o->log, e, &o->arena);
    }
}

static void on_truncate(void *arg, raft_index from)
{
    struct sim_node *n = arg;
    struct node_seen *seen = raft_seen_of(n);
    struct shadow *s = &seen->log;
    n->world->coverage.truncations++;
    /* R11: what's committed stays. R4: a leader never takes back. */
    if (from <= seen->commit) {
        sim_world_fail(n->world, SIM_UNSAFE, "R11",
                       "node %u truncates from %llu, but committed %llu", n->id,
                       (unsigned long long)from,
                       (unsigned long long)seen->commit);
    }
    if (n->turn != NULL && raft_role_now(turn_raft(n->turn)) == RAFT_LEADER) {
        sim_world_fail(n->world, SIM_UNSAFE, "R4",
                       "node %u truncates its log while it leads", n->id);
    }
    const struct entry_id *first = raft_seen_entry(s, from);
    seen->dropped = first != NULL ? *first : (struct entry_id){.term = 0};
    s->n = from > s->base ? (uint32_t)(from - s->base - 1) : 0;
    members_seen_truncate(n, from);
}

static void on_install(void *arg, const struct store_checkpoint *c)
{
    struct sim_node *n = arg;
    struct shadow *s = &raft_seen_of(n)->log;
    const struct entry_id *held = raft_seen_entry(s, c->pos.index);
    n->world->coverage.snapshots_installed++;
    cover_installs(n, c->pos.index);
    /* R17: never what is known already, let alone less. */
    raft_index commit = raft_commit(turn_raft(n->turn));
    if (c->pos.index <= commit) {
        sim_world_fail(n->world, SIM_UNSAFE, "R17",
                       "node %u installs a snapshot of %llu, but committed "
                       "%llu",
                       n->id, (unsigned long long)c->pos.index,
                       (unsigned long long)commit);
    }
    members_seen_checkpoint(n, c);
    if (held != NULL && held->term == c->pos.term && held->chain == c->chain) {
        return; /* what follows it is kept */
    }
    s->base = c->pos.index;
    s->base_term = c->pos.term;
    s->base_config = raft_seen_of(n)->checkpoint_config;
    s->config = s->base_config;
    s->n = 0;
}

/* S17: the same state at the same index, on every replica. */
static void on_checkpoint(void *arg, const struct store_checkpoint *c)
{
    struct sim_node *n = arg;
    n->world->coverage.checkpoints++;
    members_seen_checkpoint(n, c);
    if (facts_first(&n->world->raft->hashes, c->pos.index, c->hash) !=
        c->hash) {
        sim_world_fail(n->world, SIM_UNSAFE, "S17",
                       "node %u has another state at index %llu", n->id,
                       (unsigned long long)c->pos.index);
    }
}

static void on_event(void *arg, raft_index revision, struct bytes batch)
{
    struct sim_node *n = arg;
    uint64_t h = XXH3_64bits(batch.data, batch.n);
    log_oracle_applied(&n->world->raft->log, n, revision);
    struct facts *f = &n->world->raft->events;
    uint32_t before = f->n;
    if (facts_first(f, revision, h) != h) {
        sim_world_fail(n->world, SIM_UNSAFE, "S17",
                       "node %u tells other events of revision %llu", n->id,
                       (unsigned long long)revision);
    } else if (f->n != before) {
        oracle_events(n, revision, batch);
    }
}

/* --- a node's life ------------------------------------------------------------------------------------------------------------------- */

static void say(struct sim_node *n, const char *line)
{
    struct sim_world *w = n->world;
    trace_line(w, n->id, line);
    if (w->log != NULL) {
        w->log(w, n->id, line);
    }
}

/* What the leader knows that it has: the leader's term; 0: nobody leads. */
static raft_term promised_to(const struct sim_node *n, raft_index *out_acked)
{
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    struct sim_node *leader = sim_world_leader(n->world);
    if (leader == NULL) {
        return 0;
    }
    uint32_t peers_n = raft_peers(turn_raft(leader->turn), peers);
    for (uint32_t i = 0; i < peers_n; i++) {
        *out_acked = peers[i].id == n->id ? peers[i].match : *out_acked;
    }
    return raft_term_now(turn_raft(leader->turn));
}

void oracle_node_started(struct sim_node *n, const struct store_boot *boot)
{
    struct node_seen *seen = raft_seen_of(n);
    const struct sim_store_hooks hooks = {.arg = n,
                                          .append = on_append,
                                          .truncate = on_truncate,
                                          .checkpoint = on_checkpoint,
                                          .install = on_install,
                                          .event = on_event};
    sim_store_observe(n->store, &hooks);
    raft_index acked = 0;
    raft_term acked_term = promised_to(n, &acked);
    struct shadow log = seen->log;
    log.n = 0;
    log.base = boot->first > 0 ? boot->first - 1 : 0;
    log.base_term =
        log.base == boot->checkpoint.index ? boot->checkpoint.term : 0;
    for (raft_index i = log.base + 1; i <= boot->last.index; i++) {
        raft_term term = 0;
        uint64_t chain = 0;
        bool there = sim_disk_entry(n->disk, i, &term, &chain);
        ASSERT(there);
        shadow_append(&log, term, chain);
        check_entry(n, i, term, chain);
    }
    members_seen_boot(n, &log, boot);
    *seen = (struct node_seen){.log = log, .term = boot->term};
    /* Later, what it had acknowledged before may come late, and is as good. */
    if (n->forgot && n->world->quiet && acked > boot->last.index) {
        seen->promised = acked;
        seen->promised_term = acked_term;
        seen->promised_us = n->world->now_us;
    }
    cover_started(n);
    n->world->coverage.restarts += boot->boot > 1;
    sim_world_note(n->world, 0xA1u, n->id, boot->boot);
    if (n->world->log != NULL || n->world->trace != NULL) {
        char line[200];
        (void)snprintf(line, sizeof line,
                       "starts boot=%llu own=%llx before=%llx@%llu log "
                       "%llu..%llu checkpoint %llu",
                       (unsigned long long)boot->boot,
                       (unsigned long long)boot->lineage.own,
                       (unsigned long long)boot->lineage.before,
                       (unsigned long long)boot->lineage.before_boot,
                       (unsigned long long)boot->first,
                       (unsigned long long)boot->last.index,
                       (unsigned long long)boot->checkpoint.index);
        say(n, line);
    }
}

void oracle_node_down(struct sim_node *n)
{
    cover_down(n);
    sim_world_note(n->world, 0xA2u, n->id, 0);
}

void oracle_node_ended(struct sim_node *n, const char *why)
{
    trace_node_ended(n, why);
    if (n->world->log != NULL) {
        char line[600];
        (void)snprintf(line, sizeof line, "ended: %s", why);
        n->world->log(n->world, n->id, line);
    }
    sim_world_note(n->world, 0xA3u, n->id, 0);
    /* S20: whatever moment it ended at, what it has on disk is whole: our disks fail, but they don't lie, unless we made them. */
    if (n->turn == NULL && !n->up && n->rotten) {
        n->world->coverage.crc_reject += !n->refused;
        n->refused = true;
    } else if (n->turn == NULL && !n->up &&
               strstr(why, "remove this node") != NULL) {
        sim_world_fail(n->world, SIM_UNSAFE, "S20",
                       "node %u doesn't start from its own data: %s", n->id,
                       why);
    }
}

void oracle_stored(struct sim_node *n)
{
    sim_world_note(n->world, 0xA4u, n->id, 0);
}

/* An alarm about a node that did forget is right. */
static bool is_about_who_forgot(const struct sim_world *w, const char *line)
{
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        char name[24];
        (void)snprintf(name, sizeof name, "node %u", id);
        if (w->nodes[id].forgot && strstr(line, name) != NULL) {
            return true;
        }
    }
    return false;
}

void oracle_log(struct sim_node *n, int level, const char *line)
{
    struct sim_world *w = n->world;
    cover_log(n, line);
    if (level == 0 && strncmp(line, "alarm ", 6) == 0 &&
        strstr(line, "deposed leader") == NULL && !n->forgot &&
        !is_about_who_forgot(w, line)) {
        sim_world_fail(w, SIM_UNSAFE, "R21", "node %u: %s", n->id, line);
    }
    say(n, line);
}

/* --- turns ----------------------------------------------------------------------------------------------------------------------------- */

static bool disk_has(const struct sim_disk *disk, raft_index index,
                     const struct entry_id *e)
{
    raft_term term = 0;
    uint64_t chain = 0;
    struct sim_disk_counts counts;
    sim_disk_counts(disk, &counts);
    return index < counts.first ||
           (sim_disk_entry(disk, index, &term, &chain) && term == e->term &&
            chain == e->chain);
}

/* Who has that entry, or what stands for it, on disk. Of a node that forgot, what it had counts as well: a minority of those doesn't take back
 * what is committed. */
static uint32_t media_with(const struct sim_world *w, raft_index index,
                           const struct entry_id *e)
{
    uint32_t set = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *node = &w->nodes[id];
        bool has = disk_has(node->disk, index, e) ||
                   (node->lost != NULL && disk_has(node->lost, index, e));
        set |= has ? 1u << id : 0;
    }
    return set;
}

/* A turn may first commit, and then propose a configuration. */
static bool quorum_has(const struct sim_node *n, raft_index index,
                       const struct entry_id *e)
{
    const uint32_t set = media_with(n->world, index, e);
    const struct node_seen *seen = raft_seen_of(n);
    return sim_members_quorum(&seen->log.config, set) ||
           (seen->config_before.voters != 0 &&
            sim_members_quorum(&seen->config_before, set));
}

static void commit_one(struct sim_node *n, raft_index index,
                       const struct entry_id *e)
{
    struct sim_world *w = n->world;
    struct raft_oracle *o = w->raft;
    if (index <= o->committed_n) {
        const struct entry_id *c = &o->committed[index - 1];
        if (c->term != e->term || c->chain != e->chain) {
            sim_world_fail(w, SIM_UNSAFE, "R7",
                           "node %u commits index %llu of term %llu, but "
                           "term %llu was committed there",
                           n->id, (unsigned long long)index,
                           (unsigned long long)e->term,
                           (unsigned long long)c->term);
        }
        return;
    }
    if (index != o->committed_n + 1) {
        return; /* what's between is known to whoever committed it */
    }
    if (o->committed_n == o->committed_capacity) {
        o->committed_capacity =
            o->committed_capacity == 0 ? 1024 : o->committed_capacity * 2;
        o->committed = realloc(o->committed, o->committed_capacity * sizeof *e);
        ASSERT(o->committed != NULL);
    }
    o->committed[o->committed_n] = *e;
    o->committed[o->committed_n++].committed =
        raft_term_now(turn_raft(n->turn));
    w->coverage.commits++;
    members_seen_commit(n, (struct raft_pos){index, e->term});
    /* R9: at this instant a quorum has it on disk. The first configuration is what all founders begin with. */
    if (index > 1 && !quorum_has(n, index, e)) {
        sim_world_fail(w, SIM_UNSAFE, "R9",
                       "node %u commits index %llu, which no quorum has on "
                       "disk",
                       n->id, (unsigned long long)index);
    }
}

static void check_commit(struct sim_node *n, struct node_seen *seen)
{
    const struct raft *raft = turn_raft(n->turn);
    raft_index commit = raft_commit(raft);
    raft_index applied = turn_applied(n->turn);
    /* R8: neither goes back, and they stand in order. */
    if (commit < seen->commit || applied < seen->applied || applied > commit ||
        commit > raft_last(raft)) {
        sim_world_fail(
            n->world, SIM_UNSAFE, "R8",
            "node %u: commit %llu after %llu, applied %llu after "
            "%llu, last %llu",
            n->id, (unsigned long long)commit, (unsigned long long)seen->commit,
            (unsigned long long)applied, (unsigned long long)seen->applied,
            (unsigned long long)raft_last(raft));
    }
    /* R9: a leader counts copies of what its own term appended, and of nothing else. */
    if (commit > seen->commit && raft_role_now(raft) == RAFT_LEADER &&
        raft_term_at(raft, commit) != raft_term_now(raft)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R9",
                       "node %u leads term %llu, and commits index %llu of "
                       "term %llu by counting",
                       n->id, (unsigned long long)raft_term_now(raft),
                       (unsigned long long)commit,
                       (unsigned long long)raft_term_at(raft, commit));
    }
    raft_index from = max_u64(seen->commit, seen->log.base) + 1;
    for (raft_index i = from; i <= commit; i++) {
        const struct entry_id *e = raft_seen_entry(&seen->log, i);
        if (e != NULL) {
            commit_one(n, i, e);
        }
    }
    seen->commit = commit;
    seen->applied = applied;
}

/* R12: what a follower acknowledged to a leader only grows, and what comes next is behind it. */
static void check_peers(struct sim_node *n, struct node_seen *seen,
                        raft_term term)
{
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    uint32_t peers_n = raft_peers(turn_raft(n->turn), peers);
    if (seen->match_term != term) {
        seen->match_term = term;
        memset(seen->match, 0, sizeof seen->match);
    }
    raft_index match[SIM_NODES_MAX + 1] = {0};
    for (uint32_t i = 0; i < peers_n; i++) {
        const struct raft_peer_view *p = &peers[i];
        raft_index before =
            p->id <= SIM_NODES_MAX ? seen->match[p->id] : p->match;
        /* With nothing it begins anew: it was quarantined, or came back under its number. */
        if ((p->match < before && p->match != 0) || p->next <= p->match) {
            sim_world_fail(n->world, SIM_UNSAFE, "R12",
                           "node %u counts node %u up to %llu after %llu, next "
                           "%llu",
                           n->id, p->id, (unsigned long long)p->match,
                           (unsigned long long)before,
                           (unsigned long long)p->next);
        }
        if (p->id <= SIM_NODES_MAX) {
            match[p->id] = p->match;
        }
    }
    /* Of one that was removed nothing is known when it comes again. */
    memcpy(seen->match, match, sizeof match);
}

/* L9: whose disk failed for good ends, and is no leader in the meantime for long. */
static void check_disk(const struct sim_node *n, struct node_seen *seen)
{
    struct sim_world *w = n->world;
    uint64_t within_us = (3 * w->options.election_ms + 2000) * SIM_MS;
    if (!sim_store_failed(n->store)) {
        return;
    }
    seen->failed_us = seen->failed_us == 0 ? w->now_us : seen->failed_us;
    if (turn_fatal(n->turn) == NULL &&
        w->now_us > seen->failed_us + within_us) {
        sim_world_fail(
            w, SIM_NOT_LIVE, "L9",
            "node %u goes on %llu ms after its disk failed", n->id,
            (unsigned long long)((w->now_us - seen->failed_us) / SIM_MS));
    }
}

void oracle_turn(struct sim_node *n)
{
    struct node_seen *seen = raft_seen_of(n);
    const struct raft *raft = turn_raft(n->turn);
    raft_term term = raft_term_now(raft);
    if (term < seen->term) {
        sim_world_fail(n->world, SIM_UNSAFE, "R3",
                       "node %u goes back from term %llu to %llu", n->id,
                       (unsigned long long)seen->term,
                       (unsigned long long)term);
    }
    /* R2: a vote that was given once is given, whether anybody heard of it or not. */
    raft_id vote = raft_vote_now(raft);
    if (term == seen->term && seen->vote != 0 && vote != seen->vote) {
        sim_world_fail(n->world, SIM_UNSAFE, "R2",
                       "node %u changes its vote of term %llu from %u to %u",
                       n->id, (unsigned long long)term, seen->vote, vote);
    }
    seen->vote = vote;
    seen->term = term;
    if (raft_role_now(raft) == RAFT_LEADER) {
        raft_seen_leader(n, seen, term);
        check_peers(n, seen, term);
        oracle_leader_works(n, seen->led_us);
        seen->led_ms = sim_clock_ms(&n->clock, n->world->now_us);
    }
    check_commit(n, seen);
    log_oracle_settled(&n->world->raft->log, n);
    members_seen_turn(n);
    cover_turn(n);
    check_disk(n, seen);
    seen->dropped.term = 0;
    struct store_stats stats;
    store_stats(n->store, &stats);
    seen->prompt = n->writing_n == 0 && stats.batches_waiting == 0 &&
                   !sim_store_has_news(n->store);
    if ((n->turns & 255) == 0) {
        turn_check(n->turn);
    }
}

/* --- looking ----------------------------------------------------------------------------------------------------------------------------- */

bool oracle_rolled_back(struct sim_world *w)
{
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    const struct sim_node *leader = sim_world_leader(w);
    uint32_t peers_n =
        leader == NULL ? 0 : raft_peers(turn_raft(leader->turn), peers);
    for (uint32_t i = 0; i < peers_n; i++) {
        const struct raft_peer_view *p = &peers[i];
        const struct node_seen *seen = &w->raft->nodes[p->id];
        struct sim_disk_counts counts;
        if (seen->promised == 0) {
            continue;
        }
        sim_disk_counts(w->nodes[p->id].disk, &counts);
        /* R12, R21: what it can't show any more it has lost, and nobody counts on it again; but it may have been sent all of it anew before
         * it was asked. Refused at the door, it isn't heard at all. */
        if (counts.last < seen->promised &&
            seen->promised_term == raft_term_now(turn_raft(leader->turn)) &&
            !p->quarantined && p->match >= seen->promised &&
            sim_clock_when_us(&leader->clock, p->heard_ms) >
                seen->promised_us + SIM_S) {
            sim_world_fail(w, SIM_UNSAFE, "R12",
                           "node %u acknowledged index %llu to node %u, which "
                           "still counts on that, but its disk went back",
                           p->id, (unsigned long long)seen->promised,
                           leader->id);
        }
    }
    return w->failure.verdict == SIM_PASS;
}

raft_index oracle_committed(const struct sim_world *w)
{
    return w->raft->committed_n;
}

/* All members have applied the same, and none of them is on its way in or out. */
bool oracle_converged(const struct sim_world *w)
{
    const struct sim_members m = oracle_members(w);
    raft_index applied = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *n = &w->nodes[id];
        if ((sim_members_all(&m) & 1u << id) == 0 || sim_node_keeps_out(n)) {
            continue; /* who forgot keeps out until somebody adds it anew */
        }
        if (!n->up || n->paused) {
            return false;
        }
        raft_index its = turn_applied(n->turn);
        if (applied != 0 && its != applied) {
            return false;
        }
        applied = its;
    }
    return applied == w->raft->committed_n && m.voters_old == 0;
}

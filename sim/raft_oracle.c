/* Raft's invariants, by an onlooker who sees every node, its disk and every message. What is committed is kept once, for all: each node
 * that commits must say the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "raft/message.h"
#include "sim/oracle.h"

#define FRAME_ARENA_BYTES (16u << 20)

struct entry_id {
    raft_term term;
    uint64_t chain;
    raft_term committed; /* the term in which it was; 0: of a log */
};

/* A node's log as it believes it to be: what it gave to its store. entries[i] is at base + 1 + i. */
struct shadow {
    raft_index base;
    struct entry_id *entries;
    uint32_t n;
    uint32_t capacity;
};

struct node_seen {
    struct shadow log;
    raft_term term;
    raft_index commit;
    raft_index applied;
    raft_term led_term; /* checked as its leader */
};

/* (index, term) -> chain, and (node, term) -> vote, and term -> leader: written once. Open addressing. */
struct fact {
    uint64_t key;
    uint64_t value;
    bool used;
};
struct facts {
    struct fact *at;
    uint32_t capacity; /* a power of two */
    uint32_t n;
};

struct raft_oracle {
    struct node_seen nodes[SIM_NODES_MAX + 1];
    struct entry_id *committed; /* from index 1 */
    uint32_t committed_n;
    uint32_t committed_capacity;
    struct facts chains;
    struct facts votes;
    struct facts leaders;
    struct facts hashes; /* state at a checkpoint, by index */
    struct facts events; /* hash of what happened, by revision */
    uint8_t *memory;
    struct arena arena;
    raft_id last_leader;
};

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
    free(o->chains.at);
    free(o->votes.at);
    free(o->leaders.at);
    free(o->hashes.at);
    free(o->events.at);
    free(o->memory);
    free(o);
}

/* --- facts ------------------------------------------------------------------------------------------------------------------------ */

static struct fact *fact_place(const struct facts *f, uint64_t key)
{
    uint32_t mask = f->capacity - 1;
    uint32_t i = (uint32_t)sim_mix(key, 1, 2) & mask;
    while (f->at[i].used && f->at[i].key != key) {
        i = (i + 1) & mask;
    }
    return &f->at[i];
}

static void facts_grow(struct facts *f)
{
    struct facts more = {.capacity = f->capacity == 0 ? 1024 : f->capacity * 2};
    more.at = calloc(more.capacity, sizeof *more.at);
    ASSERT(more.at != NULL);
    for (uint32_t i = 0; i < f->capacity; i++) {
        if (f->at[i].used) {
            *fact_place(&more, f->at[i].key) = f->at[i];
            more.n++;
        }
    }
    free(f->at);
    *f = more;
}

/* What was said first about `key`; `value`, if that's now. */
static uint64_t fact_of(struct facts *f, uint64_t key, uint64_t value)
{
    if (2 * (f->n + 1) > f->capacity) {
        facts_grow(f);
    }
    struct fact *at = fact_place(f, key);
    if (!at->used) {
        *at = (struct fact){key, value, true};
        f->n++;
    }
    return at->value;
}

static uint64_t two(uint64_t a, uint64_t b)
{
    ASSERT(a < 1ull << 40 && b < 1ull << 24);
    return a << 24 | b;
}

/* --- logs ------------------------------------------------------------------------------------------------------------------------- */

static struct node_seen *seen_of(const struct sim_node *n)
{
    return &n->world->raft->nodes[n->id];
}

static const struct entry_id *shadow_at(const struct shadow *s,
                                        raft_index index)
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
    if (fact_of(&o->chains, two(index, term), chain) != chain) {
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
    struct shadow *s = &seen_of(n)->log;
    raft_index last = s->base + s->n;
    if (e->index != last + 1) {
        sim_world_fail(n->world, SIM_UNSAFE, "R4",
                       "node %u appends index %llu behind %llu", n->id,
                       (unsigned long long)e->index, (unsigned long long)last);
        return;
    }
    shadow_append(s, e->term, e->chain);
    check_entry(n, e->index, e->term, e->chain);
}

static void on_truncate(void *arg, raft_index from)
{
    struct sim_node *n = arg;
    struct node_seen *seen = seen_of(n);
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
    s->n = from > s->base ? (uint32_t)(from - s->base - 1) : 0;
}

static void on_install(void *arg, const struct store_checkpoint *c)
{
    struct sim_node *n = arg;
    struct shadow *s = &seen_of(n)->log;
    const struct entry_id *held = shadow_at(s, c->pos.index);
    n->world->coverage.snapshots_installed++;
    if (held != NULL && held->term == c->pos.term && held->chain == c->chain) {
        return; /* what follows it is kept */
    }
    s->base = c->pos.index;
    s->n = 0;
}

/* S17: the same state at the same index, on every replica. */
static void on_checkpoint(void *arg, const struct store_checkpoint *c)
{
    struct sim_node *n = arg;
    n->world->coverage.checkpoints++;
    if (fact_of(&n->world->raft->hashes, c->pos.index, c->hash) != c->hash) {
        sim_world_fail(n->world, SIM_UNSAFE, "S17",
                       "node %u has another state at index %llu", n->id,
                       (unsigned long long)c->pos.index);
    }
}

static void on_event(void *arg, raft_index revision, struct bytes batch)
{
    struct sim_node *n = arg;
    uint64_t h = batch.n;
    for (size_t i = 0; i < batch.n; i++) {
        h = (h ^ batch.data[i]) * 0x100000001B3u;
    }
    struct facts *f = &n->world->raft->events;
    uint32_t before = f->n;
    if (fact_of(f, revision, h) != h) {
        sim_world_fail(n->world, SIM_UNSAFE, "S17",
                       "node %u tells other events of revision %llu", n->id,
                       (unsigned long long)revision);
    } else if (f->n != before) {
        oracle_events(n, revision, batch);
    }
}

/* --- a node's life ------------------------------------------------------------------------------------------------------------------- */

void oracle_node_started(struct sim_node *n, const struct store_boot *boot)
{
    struct node_seen *seen = seen_of(n);
    const struct sim_store_hooks hooks = {.arg = n,
                                          .append = on_append,
                                          .truncate = on_truncate,
                                          .checkpoint = on_checkpoint,
                                          .install = on_install,
                                          .event = on_event};
    sim_store_observe(n->store, &hooks);
    struct shadow log = seen->log;
    log.n = 0;
    log.base = boot->first > 0 ? boot->first - 1 : 0;
    for (raft_index i = log.base + 1; i <= boot->last.index; i++) {
        raft_term term = 0;
        uint64_t chain = 0;
        bool there = sim_disk_entry(n->disk, i, &term, &chain);
        ASSERT(there);
        shadow_append(&log, term, chain);
        check_entry(n, i, term, chain);
    }
    *seen = (struct node_seen){.log = log, .term = boot->term};
    n->world->coverage.restarts += boot->boot > 1;
    sim_world_note(n->world, 0xA1u, n->id, boot->boot);
    if (n->world->log != NULL) {
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
        n->world->log(n->world, n->id, line);
    }
}

void oracle_node_down(struct sim_node *n)
{
    sim_world_note(n->world, 0xA2u, n->id, 0);
}

void oracle_node_ended(struct sim_node *n, const char *why)
{
    (void)why;
    sim_world_note(n->world, 0xA3u, n->id, 0);
}

void oracle_stored(struct sim_node *n)
{
    sim_world_note(n->world, 0xA4u, n->id, 0);
}

void oracle_log(struct sim_node *n, int level, const char *line)
{
    struct sim_world *w = n->world;
    if (level == 0 && strncmp(line, "alarm ", 6) == 0 &&
        strstr(line, "deposed leader") == NULL) {
        sim_world_fail(w, SIM_UNSAFE, "R21", "node %u: %s", n->id, line);
    }
    if (w->log != NULL) {
        w->log(w, n->id, line);
    }
}

/* --- turns ----------------------------------------------------------------------------------------------------------------------------- */

/* How many of them have that entry, or what stands for it, on disk. */
static uint32_t media_with(const struct sim_world *w,
                           const struct raft_nodes *nodes, raft_index index,
                           const struct entry_id *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < nodes->n; i++) {
        const struct sim_node *node = &w->nodes[nodes->ids[i]];
        raft_term term = 0;
        uint64_t chain = 0;
        struct sim_disk_counts counts;
        sim_disk_counts(node->disk, &counts);
        bool has = sim_disk_entry(node->disk, index, &term, &chain) &&
                   term == e->term && chain == e->chain;
        n += has || index < counts.first;
    }
    return n;
}

static bool quorum_has(const struct sim_world *w,
                       const struct raft_config *config, raft_index index,
                       const struct entry_id *e)
{
    return 2 * media_with(w, &config->voters, index, e) > config->voters.n &&
           (config->voters_old.n == 0 ||
            2 * media_with(w, &config->voters_old, index, e) >
                config->voters_old.n);
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
    /* R9: at this instant a quorum has it on disk. The first configuration is what all founders begin with. */
    if (index > 1 &&
        !quorum_has(w, raft_config_now(turn_raft(n->turn)), index, e)) {
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
    raft_index from = max_u64(seen->commit, seen->log.base) + 1;
    for (raft_index i = from; i <= commit; i++) {
        const struct entry_id *e = shadow_at(&seen->log, i);
        if (e != NULL) {
            commit_one(n, i, e);
        }
    }
    seen->commit = commit;
    seen->applied = applied;
}

/* R1: one leader a term, in all of history. R6: it has whatever was committed before. */
static void check_leader(struct sim_node *n, struct node_seen *seen,
                         raft_term term)
{
    struct sim_world *w = n->world;
    struct raft_oracle *o = w->raft;
    if (seen->led_term == term) {
        return;
    }
    seen->led_term = term;
    w->coverage.elections++;
    w->coverage.leader_changes += o->last_leader != n->id;
    o->last_leader = n->id;
    uint64_t who = fact_of(&o->leaders, term, n->id);
    if (who != n->id) {
        sim_world_fail(
            w, SIM_UNSAFE, "R1", "nodes %llu and %u both led term %llu",
            (unsigned long long)who, n->id, (unsigned long long)term);
    }
    for (raft_index i = seen->log.base + 1; i <= o->committed_n; i++) {
        const struct entry_id *e = shadow_at(&seen->log, i);
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

void oracle_turn(struct sim_node *n)
{
    struct node_seen *seen = seen_of(n);
    const struct raft *raft = turn_raft(n->turn);
    raft_term term = raft_term_now(raft);
    if (term < seen->term) {
        sim_world_fail(n->world, SIM_UNSAFE, "R3",
                       "node %u goes back from term %llu to %llu", n->id,
                       (unsigned long long)seen->term,
                       (unsigned long long)term);
    }
    seen->term = term;
    if (raft_role_now(raft) == RAFT_LEADER) {
        check_leader(n, seen, term);
    }
    check_commit(n, seen);
    if ((n->turns & 255) == 0) {
        turn_check(n->turn);
    }
}

/* --- what's sent ------------------------------------------------------------------------------------------------------------------------- */

/* R2: one vote a term, and it's on disk before anybody hears of it. */
static void check_vote(struct sim_node *n, raft_term term, raft_id candidate)
{
    raft_id vote = 0;
    raft_term durable = sim_disk_term(n->disk, &vote);
    uint64_t first =
        fact_of(&n->world->raft->votes, two(term, n->id), candidate);
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

/* R10: what is acknowledged is on disk, and is what the log says. */
static void check_ack(struct sim_node *n, raft_index index)
{
    raft_term term = 0;
    uint64_t chain = 0;
    struct sim_disk_counts counts;
    sim_disk_counts(n->disk, &counts);
    const struct entry_id *e = shadow_at(&seen_of(n)->log, index);
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
    if (binding && f->type == RAFT_VOTE_REPLY && f->success) {
        check_vote(n, f->term, to);
    }
    /* One that was held back until a later leader took the entries away tells a deposed one nothing that it could use. */
    if (binding && f->type == RAFT_APPEND_REPLY && f->success &&
        f->term == raft_term_now(turn_raft(n->turn))) {
        check_ack(n, f->index);
    }
}

/* --- looking ----------------------------------------------------------------------------------------------------------------------------- */

raft_index oracle_committed(const struct sim_world *w)
{
    return w->raft->committed_n;
}

bool oracle_converged(const struct sim_world *w)
{
    raft_index applied = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *n = &w->nodes[id];
        if (!n->up || n->paused) {
            return false;
        }
        raft_index its = turn_applied(n->turn);
        if (applied != 0 && its != applied) {
            return false;
        }
        applied = its;
    }
    return applied == w->raft->committed_n;
}

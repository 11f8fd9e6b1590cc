#include "sim/log_oracle.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "session/registry.h"
#include "sim/cover.h"
#include "sim/oracle.h"
#include "sim/raft_seen.h"
#include "sim/random.h"

void log_oracle_fini(struct log_oracle *o)
{
    free(o->at);
    facts_fini(&o->done);
    facts_fini(&o->expired);
    facts_fini(&o->asked);
    *o = (struct log_oracle){.n = 0};
}

static struct said *said_at(struct log_oracle *o, raft_index index)
{
    if (index > o->n) {
        raft_index n = max_u64(index, o->n == 0 ? 1024 : 2 * o->n);
        o->at = realloc(o->at, n * sizeof *o->at);
        ASSERT(o->at != NULL);
        memset(o->at + o->n, 0, (n - o->n) * sizeof *o->at);
        o->n = n;
    }
    return &o->at[index - 1];
}

void log_oracle_entry(struct log_oracle *o, const struct store_entry *e,
                      struct arena *scratch)
{
    struct said *s = said_at(o, e->index);
    if (e->term < s->term) {
        return; /* of a term that is over: it won't be committed any more, or was */
    }
    *s = (struct said){.term = e->term};
    arena_reset(scratch);
    const Pb__Command *c =
        e->kind == RAFT_NORMAL ? codec_decode_command(e->data, scratch) : NULL;
    if (c == NULL) {
        return;
    }
    s->proposer_term = c->proposer_term;
    s->lease = c->lease;
    s->sequence = c->sequence;
    if (c->op_case == PB__COMMAND__OP_EXPIRE_LEASE) {
        s->expire = true;
        s->lease = c->expire_lease->lease;
        s->renewals = c->expire_lease->renewals;
        cover_expiry(sim_world_now(), s->lease);
    }
}

/* S8: a lease is ended by time only if it gave no proof of life since whoever decided that, and only by who leads. */
static void check_expire(struct sim_node *n, const struct said *s,
                         raft_index revision)
{
    struct lease_view lease;
    if (s->proposer_term != s->term) {
        sim_world_fail(
            n->world, SIM_UNSAFE, "S8",
            "lease %llu is ended at %llu of term %llu by who led "
            "term %llu",
            (unsigned long long)s->lease, (unsigned long long)revision,
            (unsigned long long)s->term, (unsigned long long)s->proposer_term);
    }
    /* Gone if it had no sessions: then nobody lost anything. */
    if (registry_lease(turn_registry(n->turn), s->lease, &lease) == BATON_OK &&
        lease.renewals != s->renewals) {
        sim_world_fail(n->world, SIM_UNSAFE, "S8",
                       "lease %llu is ended at %llu, decided when it had given "
                       "proof of life %llu times; now it has %llu times",
                       (unsigned long long)s->lease,
                       (unsigned long long)revision,
                       (unsigned long long)s->renewals,
                       (unsigned long long)lease.renewals);
    }
}

/* S13: what a client sent under one number is carried out once, whatever was restored in between. */
static void check_once(struct log_oracle *o, struct sim_node *n,
                       const struct said *s, raft_index revision)
{
    uint64_t key = sim_mix(s->lease, s->sequence, 13);
    uint64_t first = facts_first(&o->done, key, revision);
    if (first != revision) {
        sim_world_fail(n->world, SIM_UNSAFE, "S13",
                       "node %u carries out command %llu of lease %llu at "
                       "%llu, but that was done at %llu",
                       n->id, (unsigned long long)s->sequence,
                       (unsigned long long)s->lease,
                       (unsigned long long)revision, (unsigned long long)first);
    }
}

void log_oracle_applied(struct log_oracle *o, struct sim_node *n,
                        raft_index revision)
{
    const struct said *s = said_at(o, revision);
    /* The log may be trimmed already, or another entry have been there, too. */
    if (s->term == 0 || raft_term_at(turn_raft(n->turn), revision) != s->term) {
        return;
    }
    if (s->expire) {
        (void)facts_first(&o->expired, s->lease, revision);
        check_expire(n, s, revision);
    } else if (s->sequence != 0) {
        check_once(o, n, s, revision);
    }
}

/* A lease that was to be ended lives on, since it gave proof of life in between. */
static bool expiry_was_overtaken(const struct sim_node *n, const struct said *s)
{
    struct lease_view lease;
    return registry_lease(turn_registry(n->turn), s->lease, &lease) ==
               BATON_OK &&
           !lease.ended && lease.renewals != s->renewals;
}

static void count_settled(struct log_oracle *o, const struct sim_node *n,
                          raft_index index, const struct said *s)
{
    struct sim_coverage *coverage = &n->world->coverage;
    if (s->expire) {
        coverage->expire_refused_seq += expiry_was_overtaken(n, s);
    } else if (s->sequence != 0) {
        uint64_t key = sim_mix(s->lease, s->sequence, 14);
        raft_index first = facts_first(&o->asked, key, index);
        coverage->dedupe_hit_after_failover +=
            first != index && o->at[first - 1].term != s->term;
    }
}

void log_oracle_settled(struct log_oracle *o, const struct sim_node *n)
{
    const struct raft_oracle *raft = n->world->raft;
    raft_index applied = min_u64(turn_applied(n->turn), raft->committed_n);
    for (; o->settled < applied; o->settled++) {
        const struct said *s = said_at(o, o->settled + 1);
        if (s->term == raft->committed[o->settled].term) {
            count_settled(o, n, o->settled + 1, s);
        }
    }
}

/* S4: a right to lead ends one TTL after the heartbeat that was acknowledged last, as the client's clock may count it, and whose lease was
 * ended by time has stopped before that: no answer that comes late changes it. */
void oracle_right(struct sim_client *c)
{
    const struct log_oracle *o = &c->world->raft->log;
    const struct client_lease *l = &c->baton->lease;
    uint64_t drift = max_u64(c->world->options.drift_ppm / 1000, 1);
    uint64_t usable_ms = l->ttl_ms * (1000 - drift) / (1000 + drift);
    uint64_t revision = 0;
    sim_system_of(c);
    /* From when it was sent, as it may have been on its way since. */
    if (l->phase == LEASE_LIVE && l->deadline_ms > l->proven_ms + usable_ms) {
        sim_world_fail(c->world, SIM_UNSAFE, "S4",
                       "client %u may lead until %llu by its own clock, but "
                       "what was acknowledged last it sent at %llu",
                       c->number, (unsigned long long)l->deadline_ms,
                       (unsigned long long)l->proven_ms);
    }
    if (facts_get(&o->expired, c->baton->lease.id, &revision) &&
        baton_right_ms(c->baton) > 0) {
        sim_world_fail(c->world, SIM_UNSAFE, "S4",
                       "client %u may lead for another %llu ms by its own "
                       "clock, but its lease %llu expired at %llu",
                       c->number, (unsigned long long)baton_right_ms(c->baton),
                       (unsigned long long)c->baton->lease.id,
                       (unsigned long long)revision);
    }
}

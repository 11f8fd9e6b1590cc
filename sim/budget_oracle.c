/* What it may cost: L3, how soon a leader commits; L10, how much is said; and L11, that nothing happens where nothing is asked. */
#include "sim/oracle.h"
#include "sim/raft_seen.h"

/* A client's renewals in a second: libbaton's own retries are 25 ms apart at the least, but for three hints in a row that it follows. */
#define RENEWALS_A_SECOND 60u
/* Frames of one node to one peer in a second, besides heartbeats and what is asked of it: appends and their answers, and reads. */
#define FRAMES_A_SECOND 2000u
/* Links that were mended come back, and nodes that were away are told what they missed. */
#define COMING_BACK_US (5 * SIM_S)
/* Turns of three nodes, each as long as a thousand inputs take. */
#define TURNS_US (10 * SIM_MS)

void oracle_leader_works(struct sim_node *n, uint64_t led_us)
{
    struct sim_world *w = n->world;
    const struct sim_options *o = &w->options;
    /* L3: 3 round trips and 2 writes after its election. */
    uint64_t within_us = 6 * o->delay_max_us + 2 * o->disk_max_us + TURNS_US;
    bool well = w->whole_us != UINT64_MAX &&
                (w->whole_us == 0 || led_us >= w->whole_us + COMING_BACK_US);
    if (well && !raft_term_committed(turn_raft(n->turn)) &&
        w->now_us > led_us + within_us) {
        sim_world_fail(w, SIM_NOT_LIVE, "L3",
                       "node %u has led term %llu for %llu us, all is well, "
                       "and it hasn't committed yet",
                       n->id,
                       (unsigned long long)raft_term_now(turn_raft(n->turn)),
                       (unsigned long long)(w->now_us - led_us));
    }
}

void oracle_renewals(struct sim_client *c)
{
    struct sim_world *w = c->world;
    struct sim_budget *b = &c->renewals;
    uint64_t number = c->baton->lease.number;
    if (c->baton->lease.phase != LEASE_LIVE) {
        return;
    }
    if (c->baton->lease.id != c->renewed_lease || number < c->renewed) {
        c->renewed_lease = c->baton->lease.id;
        c->renewed = 0;
    }
    b->n += (uint32_t)(number - c->renewed);
    c->renewed = number;
    /* L10: a leader that can't be reached isn't asked for in a circle. */
    if (b->n > RENEWALS_A_SECOND) {
        sim_world_fail(
            w, SIM_NOT_LIVE, "L10", "client %u sent %u renewals in %llu ms",
            c->number, b->n,
            (unsigned long long)((w->now_us - b->since_us) / SIM_MS));
    }
    if (w->now_us >= b->since_us + SIM_S) {
        *b = (struct sim_budget){.since_us = w->now_us};
    }
}

void oracle_frame(struct sim_node *n, raft_id to)
{
    struct sim_world *w = n->world;
    struct sim_budget *b = &n->frames[to];
    const struct sim_options *o = &w->options;
    uint64_t most = FRAMES_A_SECOND + 4000 / o->heartbeat_ms + 20ull * o->rate;
    b->n++;
    if (b->n > most) {
        sim_world_fail(
            w, SIM_NOT_LIVE, "L10", "node %u sent node %u %u frames in %llu ms",
            n->id, to, b->n,
            (unsigned long long)((w->now_us - b->since_us) / SIM_MS));
    }
    if (w->now_us >= b->since_us + SIM_S) {
        *b = (struct sim_budget){.since_us = w->now_us};
    }
}

void oracle_idle_begins(struct sim_world *w, struct sim_idle *out)
{
    const struct sim_node *leader = sim_world_leader(w);
    *out = (struct sim_idle){.committed = w->raft->committed_n};
    if (leader != NULL) {
        out->term = raft_term_now(turn_raft(leader->turn));
        out->last = raft_last(turn_raft(leader->turn));
    }
}

void oracle_idle_ends(struct sim_world *w, const struct sim_idle *before)
{
    struct sim_idle now;
    oracle_idle_begins(w, &now);
    /* L11: no election, and no entry. */
    if (now.term != before->term || now.last != before->last ||
        now.committed != before->committed) {
        sim_world_fail(
            w, SIM_NOT_LIVE, "L11",
            "nobody asked for anything, but term %llu is %llu now, "
            "and the log ends at %llu, not %llu",
            (unsigned long long)before->term, (unsigned long long)now.term,
            (unsigned long long)now.last, (unsigned long long)before->last);
    }
}

/* Who is gone ends, and in time: leases that nobody renews (S6, L7), and batons that their sessions hold (L6). Looked into where all that
 * it takes is whole: before that, nobody can promise when something is committed. */
#include <stdlib.h>
#include <string.h>

#include "session/deadlines.h"
#include "sim/oracle.h"
#include "sim/raft_seen.h"
#include "sim/session_seen.h"

/* The wheel's tick, the leader's turn, an entry's way, and what was still in the links when they were mended. */
#define SLACK_US (3 * SIM_S)
/* As program.c draws policies: the longest that a holder who lost its lease keeps its baton. */
#define HOLDER_GRACE_US (8 * SIM_S)
/* The policy's default, which no client changes. */
#define COOLDOWN_US (30 * SIM_S)

static struct lease_seen *find(struct session_oracle *o, uint64_t id)
{
    for (uint32_t i = o->leases_n; i > 0; i--) {
        if (o->leases[i - 1].id == id) {
            return &o->leases[i - 1];
        }
    }
    return NULL;
}

void lease_seen_opened(struct session_oracle *o, const Pb__Event *e)
{
    static const char prefix[] = "client-";
    if (strncmp(e->text, prefix, sizeof prefix - 1) != 0) {
        return;
    }
    if (o->leases_n == o->leases_capacity) {
        o->leases_capacity =
            o->leases_capacity == 0 ? 64 : o->leases_capacity * 2;
        o->leases = realloc(o->leases, o->leases_capacity * sizeof *o->leases);
        ASSERT(o->leases != NULL);
    }
    o->leases[o->leases_n++] = (struct lease_seen){
        .id = e->lease,
        .opened_us = o->world->now_us,
        .client = (uint32_t)strtoul(e->text + sizeof prefix - 1, NULL, 10)};
}

void lease_seen_ended(struct session_oracle *o, uint64_t id)
{
    struct lease_seen *l = find(o, id);
    if (l != NULL) {
        l->ended = true;
    }
}

/* So long on any clock of the cluster, in true time. */
static uint64_t at_most_us(const struct sim_world *w, uint64_t ms)
{
    return ms * (1000000u + 2 * (uint64_t)w->options.drift_ppm) / 1000u;
}

/* When the last leader took over. */
static uint64_t led_us(const struct sim_world *w)
{
    const struct raft_oracle *o = w->raft;
    return o->reigns_n > 0 ? o->reigns[o->reigns_n - 1].at_us : w->now_us;
}

/* The process that had it is gone, or has another one; and since when. */
static bool is_silent(const struct sim_world *w, const struct lease_seen *l,
                      uint64_t *out_since_us)
{
    const struct sim_client *c =
        l->client < w->clients_n ? w->clients[l->client] : NULL;
    if (l->ended || c == NULL ||
        (c->up && (c->baton->lease.phase != LEASE_LIVE ||
                   c->baton->lease.id == l->id))) {
        return false;
    }
    *out_since_us = max_u64(l->opened_us, c->changed_us);
    return true;
}

static void zombie(struct sim_world *w, const char *invariant,
                   const struct lease_seen *l, uint64_t since_us)
{
    sim_world_fail(w, SIM_NOT_LIVE, invariant,
                   "lease %llu of client %u is there still, and its client is "
                   "gone for %llu ms",
                   (unsigned long long)l->id, l->client,
                   (unsigned long long)((w->now_us - since_us) / SIM_MS));
}

void oracle_churned(struct sim_world *w)
{
    /* L7: however often leaders change, a lease isn't there for longer than its TTL and what one may be renewed without a log entry, and
     * one more round of entries that say who renewed (docs/guarantees.md, 5). A leader is there, and answers. */
    uint64_t most_us = at_most_us(w, w->options.ttl_ms + DEADLINES_UNLOGGED_MS +
                                         DEADLINES_TOUCH_MS);
    const struct session_oracle *o = w->sessions;
    uint64_t since_us = 0;
    for (uint32_t i = 0; i < o->leases_n; i++) {
        if (is_silent(w, &o->leases[i], &since_us) &&
            w->now_us > since_us + most_us + SLACK_US) {
            zombie(w, "L7", &o->leases[i], since_us);
        }
    }
}

/* S6: with one leader that is well, nothing outlives its TTL. */
static void check_zombies(struct sim_world *w, uint64_t well_us)
{
    const struct session_oracle *o = w->sessions;
    uint64_t most_us = at_most_us(w, w->options.ttl_ms) + SLACK_US;
    uint64_t since_us = 0;
    for (uint32_t i = 0; i < o->leases_n; i++) {
        if (is_silent(w, &o->leases[i], &since_us) &&
            w->now_us > max_u64(since_us, well_us) + most_us) {
            zombie(w, "S6", &o->leases[i], since_us);
        }
    }
}

/* Somebody who may lead it, and has been there for long enough for any cooldown to be over. */
static bool has_waiter(const struct session_oracle *o, uint32_t group,
                       uint32_t device, uint64_t well_us)
{
    for (uint32_t i = 0; i < o->sessions_n; i++) {
        const struct session_seen *s = &o->sessions[i];
        if (s->live && !s->orphan && !s->observer && s->group == group &&
            s->device == device &&
            o->world->now_us > well_us + COOLDOWN_US + SLACK_US) {
            return true;
        }
    }
    return false;
}

/* L6: a baton whose holder is gone is somebody else's, and none lies about where somebody waits for it. */
static void check_scope(struct sim_world *w, uint32_t group, uint32_t device,
                        uint64_t well_us)
{
    struct session_oracle *o = w->sessions;
    const struct scope_seen *scope = &o->scopes[group][device];
    struct reign r = scope_seen_now(scope);
    const struct session_seen *holder = session_seen_of(o, r.session);
    uint64_t most_us = at_most_us(w, HOLDER_GRACE_US / SIM_MS) + SLACK_US;
    bool kept = holder != NULL && holder->orphan &&
                w->now_us > max_u64(holder->orphan_us, well_us) + most_us;
    bool vacant =
        scope->n > 0 && r.session == 0 && device < DEVICES_MAX &&
        has_waiter(o, group, device, max_u64(scope->since_us, well_us));
    if (kept || vacant) {
        sim_world_fail(
            w, SIM_NOT_LIVE, "L6", "scope g%u/%u: %s %llu since %llu ms", group,
            device,
            kept ? "it's still held by the orphaned session"
                 : "somebody waits, but it's vacant; epoch",
            (unsigned long long)(kept ? r.session : r.epoch),
            (unsigned long long)((w->now_us - scope->since_us) / SIM_MS));
    }
}

void oracle_leases_end(struct sim_world *w)
{
    uint64_t well_us = max_u64(w->whole_us, led_us(w));
    if (w->whole_us == UINT64_MAX) {
        return;
    }
    oracle_churned(w);
    check_zombies(w, well_us);
    for (uint32_t g = 0; g < GROUPS_MAX; g++) {
        for (uint32_t d = 0; d <= DEVICES_MAX; d++) {
            check_scope(w, g, d, well_us);
        }
    }
}

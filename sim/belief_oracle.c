/* What clients believe, and what they do while they believe it, at a resource that checks epochs: S3, S4, S10. */
#include <stdlib.h>

#include "sim/history.h"
#include "sim/oracle.h"
#include "sim/session_seen.h"
#include "sim/trace.h"

/* --- beliefs ---------------------------------------------------------------------------------------------------------------------------- */

/* When that client's right to lead ends, by its own clock, in true time. */
static uint64_t right_ends_us(struct sim_client *c)
{
    sim_system_of(c);
    uint64_t right_ms = baton_right_ms(c->baton);
    return sim_clock_when_us(&c->clock, client_now_ms() + right_ms);
}

void oracle_belief_begin(struct sim_client *c, struct sim_tab *tab, bool group,
                         uint64_t epoch)
{
    struct sim_world *w = c->world;
    struct session_oracle *o = w->sessions;
    struct scope_seen *scope = scope_seen_at(o, tab->group, tab->device, group);
    w->coverage.beliefs++;
    sim_history_granted(w->history, c, tab, group, epoch);
    bool granted = false;
    for (uint32_t i = scope->n; i > 0 && !granted; i--) {
        granted = scope->reigns[i - 1].epoch == epoch &&
                  scope->reigns[i - 1].session == tab->session;
    }
    /* S10: a role that's told is one that history has. */
    if (!granted) {
        sim_world_fail(w, SIM_UNSAFE, "S10",
                       "session %llu is told that it leads under epoch %llu, "
                       "which it never did",
                       (unsigned long long)tab->session,
                       (unsigned long long)epoch);
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        struct sim_client *other = w->clients[i];
        for (uint32_t k = 0; k < SIM_TABS_MAX; k++) {
            struct sim_tab *t = &other->tabs[k];
            struct sim_belief *b = &t->beliefs[group];
            if (!t->used || t == tab || !b->leads || t->group != tab->group ||
                (!group && t->device != tab->device) || b->epoch >= epoch ||
                !sim_client_may_lead(other)) {
                continue;
            }
            /* S4: who takes over since a lease ended may count on that its holder has stopped. */
            if (scope->by_expiry && scope->by_expiry_of == t->session &&
                scope->epoch == epoch) {
                sim_world_fail(w, SIM_UNSAFE, "S4",
                               "sessions %llu and %llu both believe to lead, "
                               "and the lease of the first one had expired",
                               (unsigned long long)t->session,
                               (unsigned long long)tab->session);
            }
            b->overlap_us = b->overlap_us == 0 ? w->now_us : b->overlap_us;
        }
    }
    sim_system_of(c);
    tab->beliefs[group] = (struct sim_belief){.leads = true, .epoch = epoch};
}

void oracle_belief_end(struct sim_client *c, struct sim_tab *tab, bool group)
{
    struct sim_world *w = c->world;
    struct sim_belief *b = &tab->beliefs[group];
    if (!b->leads) {
        return;
    }
    if (b->overlap_us != 0 && c->up) {
        uint64_t until = min_u64(w->now_us, right_ends_us(c));
        w->sessions->overlap_us +=
            until > b->overlap_us ? until - b->overlap_us : 0;
        w->coverage.overlaps_fenced++;
    }
    *b = (struct sim_belief){.leads = false};
}

struct write {
    struct sim_world *world;
    struct scope_seen *scope;
    uint32_t number; /* the scope's, for the trace */
    uint64_t session;
    uint64_t epoch;
};

/* S3: the resource takes nothing older than what it took; what it takes was granted to whoever wrote it. */
static void arrive(void *arg, uint64_t session, uint64_t epoch)
{
    (void)session, (void)epoch;
    struct write *write = arg;
    struct scope_seen *s = write->scope;
    struct sim_world *w = write->world;
    trace_put(w, &(struct trace_event){.kind = TRACE_write,
                                       .who = write->number,
                                       .a = (int64_t)write->session,
                                       .b = (int64_t)write->epoch,
                                       .c = write->epoch >= s->resource});
    bool granted = false;
    for (uint32_t i = s->n; i > 0 && !granted; i--) {
        granted = s->reigns[i - 1].epoch == write->epoch &&
                  s->reigns[i - 1].session == write->session;
    }
    if (write->epoch < s->resource) {
        w->coverage.writes_fenced++;
    } else {
        s->resource = write->epoch;
        w->coverage.writes_accepted++;
        if (!granted) {
            sim_world_fail(w, SIM_UNSAFE, "S3",
                           "a write of session %llu under epoch %llu is "
                           "accepted, which it was never granted",
                           (unsigned long long)write->session,
                           (unsigned long long)write->epoch);
        }
    }
    free(write);
}

void oracle_write(struct sim_client *c, const struct sim_tab *tab, bool group)
{
    struct sim_world *w = c->world;
    struct write *write = malloc(sizeof *write);
    oracle_right(c);
    ASSERT(write != NULL);
    *write = (struct write){
        .world = w,
        .scope = scope_seen_at(w->sessions, tab->group, tab->device, group),
        .number = TRACE_SCOPE(tab->group, tab->device, group),
        .session = tab->session,
        .epoch = tab->beliefs[group].epoch,
    };
    sim_world_later(w, sim_seldom(&c->random, 20 * SIM_MS),
                    &(struct sim_event){.happen = arrive, .arg = write});
}

/* What watches tell, against what happened: S15, and L8 in the end. */
#include "sim/oracle.h"
#include "sim/session_seen.h"
#include "sim/transport.h"

/* A watch may be so far behind, with all well. */
#define LATE_US (3 * SIM_S)

void oracle_watch_reset(struct sim_client *c)
{
    c->world->sessions->watch_synced[c->number] = false;
    c->world->coverage.watch_resets++;
}

void oracle_watch_synced(struct sim_client *c, uint64_t revision)
{
    struct session_oracle *o = c->world->sessions;
    uint32_t at = o->told_n;
    while (at > 0 && o->told[at - 1].revision > revision) {
        at--;
    }
    o->watch_at[c->number] = at;
    o->watch_synced[c->number] = true;
}

/* S15: all of it, in order, none twice. */
void oracle_watch_event(struct sim_client *c, const Pb__Event *e)
{
    struct session_oracle *o = c->world->sessions;
    if (!o->watch_synced[c->number]) {
        return; /* the state isn't whole yet */
    }
    c->world->coverage.watch_events++;
    uint32_t at = o->watch_at[c->number]++;
    if (at >= o->told_n || o->told[at].revision != e->revision ||
        o->told[at].kind != (int)e->kind || o->told[at].session != e->session ||
        o->told[at].epoch != e->epoch) {
        sim_world_fail(
            c->world, SIM_UNSAFE, "S15",
            "client %u's watch tells kind %d of revision %llu, but next is "
            "kind %d of %llu",
            c->number, (int)e->kind, (unsigned long long)e->revision,
            at < o->told_n ? o->told[at].kind : 0,
            (unsigned long long)(at < o->told_n ? o->told[at].revision : 0));
    }
}

/* False: a client that runs has that session, and doesn't know that it leads. */
static bool knows(const struct sim_world *w, const struct reign *r, bool group)
{
    for (uint32_t i = 0; i < w->clients_n; i++) {
        const struct sim_client *c = w->clients[i];
        for (uint32_t t = 0; c->up && !c->paused && t < SIM_TABS_MAX; t++) {
            const struct sim_tab *tab = &c->tabs[t];
            if (tab->used && !tab->closing && tab->session == r->session &&
                !tab->beliefs[group].leads) {
                return false;
            }
        }
    }
    return true;
}

bool oracle_all_told(const struct sim_world *w)
{
    const struct session_oracle *o = w->sessions;
    for (uint32_t g = 0; g < GROUPS_MAX; g++) {
        for (uint32_t d = 0; d <= DEVICES_MAX; d++) {
            const struct scope_seen *s = &o->scopes[g][d];
            const struct reign *last = s->n > 0 ? &s->reigns[s->n - 1] : NULL;
            if (last != NULL && last->session != 0 &&
                !knows(w, last, d == DEVICES_MAX)) {
                return false;
            }
        }
    }
    return true;
}

/* One that was removed and runs all the same hears nothing more, and so does who watches there: docs/operations.md has it stopped. */
static bool watches_member(const struct sim_client *c)
{
    const struct sim_members now = oracle_members(c->world);
    for (const struct watcher *x = c->baton->watchers; x != NULL;
         x = x->after) {
        const struct route_endpoint *at =
            &c->baton->route.endpoints[x->endpoint];
        if (!x->of_lease && x->id != 0 &&
            (sim_members_all(&now) & 1u << sim_address_node(at->address)) ==
                0) {
            return false;
        }
    }
    return true;
}

void oracle_end(struct sim_world *w)
{
    struct session_oracle *o = w->sessions;
    uint32_t due = o->told_n;
    while (due > 0 && o->told[due - 1].at_us + LATE_US > w->now_us) {
        due--;
    }
    /* L8: what happened was told to everybody who watches, soon. */
    for (uint32_t i = 0; i < w->clients_n; i++) {
        const struct sim_client *c = w->clients[i];
        if (c->up && !c->paused && c->watching && watches_member(c) &&
            (!o->watch_synced[i] || o->watch_at[i] < due)) {
            sim_world_fail(w, SIM_NOT_LIVE, "L8",
                           "client %u's watch was told %u of %u events%s", i,
                           o->watch_at[i], due,
                           o->watch_synced[i] ? "" : ", and isn't synced");
        }
    }
}

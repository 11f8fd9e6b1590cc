#include "sim/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/oracle.h"

#define NAMESPACE "ns"
#define WATCH_TAG UINT64_MAX
#define WRITE_US  (250 * SIM_MS)

static const char *const op_names[SIM_OPS_N] = {
    "open",   "close",  "update",   "leader", "leader_stale",
    "verify", "claim",  "handoff",  "demote", "resign",
    "yield",  "attach", "sessions", "policy",
};

const char *sim_op_name(enum sim_op_kind kind)
{
    return op_names[kind];
}

static void group_name(uint32_t group, char out[16])
{
    (void)snprintf(out, 16, "g%u", group);
}

static void device_name(uint32_t device, char out[16])
{
    (void)snprintf(out, 16, "d%u", device);
}

static bool number_behind(const char *name, char letter, uint32_t *out)
{
    if (name[0] != letter || name[1] == 0) {
        return false;
    }
    *out = (uint32_t)strtoul(name + 1, NULL, 10);
    return true;
}

bool sim_group_number(const char *name, uint32_t *out)
{
    return number_behind(name, 'g', out);
}

bool sim_device_number(const char *name, uint32_t *out)
{
    return number_behind(name, 'd', out);
}

/* --- ops --------------------------------------------------------------------------------------------------------------------- */

struct scope_names {
    char group[16];
    char device[16];
    struct baton_scope scope;
};

static void name_scope(struct scope_names *out, uint32_t group, uint32_t device,
                       bool group_scope)
{
    group_name(group, out->group);
    device_name(device, out->device);
    out->scope = (struct baton_scope){NAMESPACE, out->group,
                                      group_scope ? "" : out->device};
}

static struct sim_op *op_make(struct sim_client *c, enum sim_op_kind kind)
{
    for (uint32_t i = 0; i < SIM_OPS_MAX; i++) {
        struct sim_op *op = &c->ops[i];
        if (op->tag == 0) {
            *op = (struct sim_op){.tag = ++c->tags,
                                  .kind = kind,
                                  .invoked_us = c->world->now_us,
                                  .tab = SIM_TABS_MAX};
            c->ops_n++;
            return op;
        }
    }
    return NULL;
}

static void op_free(struct sim_client *c, struct sim_op *op)
{
    op->tag = 0;
    ASSERT(c->ops_n > 0);
    c->ops_n--;
}

/* It wasn't even sent. */
static void sent(struct sim_client *c, struct sim_op *op,
                 enum baton_status status)
{
    if (status != BATON_OK) {
        oracle_op_lost(c, op);
        op_free(c, op);
    }
}

static void begin(struct sim_client *c, struct sim_op *op,
                  const struct sim_tab *tab, bool group_scope)
{
    if (tab != NULL) {
        op->tab = (uint32_t)(tab - c->tabs);
        op->group = tab->group;
        op->device = tab->device;
        op->session = tab->session;
        op->epoch = tab->beliefs[group_scope].epoch;
    } else {
        op->group = (uint32_t)sim_below(&c->random, c->world->options.groups_n);
        op->device =
            (uint32_t)sim_below(&c->random, c->world->options.devices_n);
    }
    op->group_scope = group_scope;
    oracle_op_begin(c, op);
}

static size_t draw_capabilities(struct sim_client *c,
                                struct baton_capability out[4])
{
    size_t n = 0;
    out[n++] = (struct baton_capability){BATON_VISIBLE,
                                         (int32_t)sim_below(&c->random, 2)};
    if (sim_chance(&c->random, 500)) {
        out[n++] = (struct baton_capability){
            BATON_BATTERY, (int32_t)sim_below(&c->random, 101)};
    }
    if (sim_chance(&c->random, 500)) {
        out[n++] = (struct baton_capability){
            BATON_RTT_MS, (int32_t)sim_magnitude(&c->random, 1, 4000)};
    }
    if (sim_chance(&c->random, 300)) {
        out[n++] = (struct baton_capability){
            BATON_PRIORITY, (int32_t)sim_between(&c->random, 0, 200) - 100};
    }
    return n;
}

static void open_tab(struct sim_client *c, struct sim_tab *tab)
{
    struct sim_op *op = op_make(c, SIM_OP_OPEN);
    struct scope_names names;
    struct baton_capability caps[4];
    char name[40];
    if (op == NULL) {
        return;
    }
    *tab = (struct sim_tab){
        .used = true, .opening = true, .serial = (uint32_t)op->tag};
    tab->group = (uint32_t)sim_below(&c->random, c->world->options.groups_n);
    tab->device = (uint32_t)sim_below(&c->random, c->world->options.devices_n);
    bool filled = client_fill_random(tab->secret, sizeof tab->secret);
    ASSERT(filled);
    (void)snprintf(name, sizeof name, "t%u-%u", c->number, tab->serial);
    name_scope(&names, tab->group, tab->device, false);
    struct baton_session_options o = {
        .scope = names.scope,
        .tab = name,
        .secret = tab->secret,
        .capabilities = caps,
    };
    o.capabilities_n = draw_capabilities(c, caps);
    o.observer = sim_chance(&c->random, 50);
    begin(c, op, tab, false);
    const struct baton_call call = {.tag = op->tag};
    sent(c, op, baton_session_open(c->baton, &call, &o, NULL));
}

static void close_tab(struct sim_client *c, struct sim_tab *tab)
{
    struct sim_op *op = op_make(c, SIM_OP_CLOSE);
    if (op == NULL) {
        return;
    }
    begin(c, op, tab, false);
    tab->closing = true;
    /* It stops first: whoever comes next may lead before we're told. */
    oracle_belief_end(c, tab, false);
    oracle_belief_end(c, tab, true);
    const struct baton_call call = {.tag = op->tag};
    sent(c, op, baton_session_close(c->baton, &call, tab->session, "bye", 3));
}

static void update_tab(struct sim_client *c, struct sim_tab *tab)
{
    struct sim_op *op = op_make(c, SIM_OP_UPDATE);
    struct baton_capability caps[4];
    if (op == NULL) {
        return;
    }
    begin(c, op, tab, false);
    const struct baton_call call = {.tag = op->tag};
    size_t n = draw_capabilities(c, caps);
    sent(c, op, baton_session_update(c->baton, &call, tab->session, caps, n));
}

static void ask(struct sim_client *c, enum sim_op_kind kind,
                const struct sim_tab *tab)
{
    struct sim_op *op = op_make(c, kind);
    struct scope_names names;
    if (op == NULL) {
        return;
    }
    begin(c, op, tab, sim_chance(&c->random, 500));
    name_scope(&names, op->group, op->device, op->group_scope);
    const struct baton_call call = {.tag = op->tag};
    struct baton_query q = {.scope = names.scope,
                            .consistency = kind == SIM_OP_LEADER_STALE
                                               ? BATON_STALE
                                               : BATON_LINEARIZABLE,
                            .epoch = max_u64(op->epoch, 1)};
    if (kind == SIM_OP_LEADER && c->world->options.lease_reads &&
        sim_chance(&c->random, 500)) {
        q.consistency = BATON_LEASED;
    }
    if (kind == SIM_OP_VERIFY) {
        sent(c, op, baton_verify(c->baton, &call, &q, NULL));
    } else if (kind == SIM_OP_SESSIONS) {
        q.scope.device = "";
        sent(c, op, baton_sessions(c->baton, &call, &q, NULL));
    } else {
        sent(c, op, baton_leader(c->baton, &call, &q, NULL));
    }
}

/* Claim, resign and yield: as the holder of the epoch that we believe in, or would like to. */
static void act_as_holder(struct sim_client *c, enum sim_op_kind kind,
                          struct sim_tab *tab, bool group_scope)
{
    struct sim_op *op = op_make(c, kind);
    struct scope_names names;
    if (op == NULL) {
        return;
    }
    begin(c, op, tab, group_scope);
    name_scope(&names, op->group, op->device, group_scope);
    const struct baton_handover h = {.scope = names.scope,
                                     .session = tab->session,
                                     .epoch = max_u64(op->epoch, 1),
                                     .state = "state",
                                     .state_n = 5};
    const struct baton_call call = {.tag = op->tag};
    if (kind == SIM_OP_CLAIM) {
        sent(c, op, baton_claim(c->baton, &call, &h, NULL));
        return;
    }
    oracle_belief_end(c, tab, group_scope);
    if (!group_scope) {
        /* The device's leader takes the group's baton along. */
        oracle_belief_end(c, tab, true);
    }
    if (kind == SIM_OP_RESIGN) {
        sent(c, op, baton_resign(c->baton, &call, &h, NULL));
    } else {
        sent(c, op, baton_yield(c->baton, &call, &h, NULL));
    }
}

static void decide(struct sim_client *c, enum sim_op_kind kind)
{
    struct sim_op *op = op_make(c, kind);
    struct scope_names names;
    if (op == NULL) {
        return;
    }
    begin(c, op, NULL, sim_chance(&c->random, 500));
    name_scope(&names, op->group, op->device, op->group_scope);
    const struct baton_call call = {.tag = op->tag};
    if (kind == SIM_OP_HANDOFF) {
        sent(c, op, baton_handoff(c->baton, &call, &names.scope, 0, NULL));
    } else {
        sent(c, op,
             baton_demote(c->baton, &call, &names.scope, "simulated", NULL));
    }
}

static void set_policy(struct sim_client *c)
{
    struct sim_op *op = op_make(c, SIM_OP_POLICY);
    char json[256];
    if (op == NULL) {
        return;
    }
    begin(c, op, NULL, true);
    uint64_t grace = sim_magnitude(&c->random, 500, 8000);
    /* One draw a statement: compilers differ in the order in which they evaluate arguments. */
    uint64_t max_tenure = 0;
    if (sim_chance(&c->random, 300)) {
        max_tenure = sim_magnitude(&c->random, 10000, 60000);
    }
    uint64_t yield = sim_magnitude(&c->random, 200, 2000);
    uint64_t offer = sim_magnitude(&c->random, 200, 2000);
    uint64_t min_tenure = sim_magnitude(&c->random, 100, 8000);
    uint64_t margin = sim_between(&c->random, 1, 200);
    (void)snprintf(
        json, sizeof json,
        "{\"margin\": %u, \"min_tenure_ms\": %u, \"session_grace_ms\": %llu, "
        "\"holder_grace_ms\": %llu, \"offer_ms\": %u, \"yield_ms\": %u, "
        "\"max_tenure_ms\": %u}",
        (unsigned)margin, (unsigned)min_tenure, (unsigned long long)grace * 2,
        (unsigned long long)grace, (unsigned)offer, (unsigned)yield,
        (unsigned)max_tenure);
    const struct baton_call call = {.tag = op->tag};
    sent(c, op, baton_policy_set(c->baton, &call, NAMESPACE, json, NULL));
}

/* A session of another client comes to us, as if a relay had died. */
static void attach(struct sim_client *c, struct sim_tab *place)
{
    struct sim_world *w = c->world;
    struct sim_client *from = w->clients[sim_below(&c->random, w->clients_n)];
    const struct sim_tab *theirs =
        &from->tabs[sim_below(&c->random, SIM_TABS_MAX)];
    if (from == c || !theirs->used || theirs->opening) {
        return;
    }
    struct sim_op *op = op_make(c, SIM_OP_ATTACH);
    if (op == NULL) {
        return;
    }
    *place = *theirs;
    place->opening = true;
    place->closing = false;
    memset(place->beliefs, 0, sizeof place->beliefs);
    begin(c, op, place, false);
    op->session = theirs->session;
    const struct baton_call call = {.tag = op->tag};
    sent(c, op,
         baton_session_attach(c->baton, &call, theirs->session, place->secret,
                              NULL));
}

/* --- answers ------------------------------------------------------------------------------------------------------------------ */

static void tab_gone(struct sim_client *c, struct sim_tab *tab)
{
    oracle_belief_end(c, tab, false);
    oracle_belief_end(c, tab, true);
    *tab = (struct sim_tab){.used = false};
}

/* The tab is the one that this call was to make ours, and nothing has been heard of it since. */
static bool waits_for(const struct sim_tab *tab, const struct sim_op *op)
{
    if (!tab->used || !tab->opening) {
        return false;
    }
    return op->kind == SIM_OP_OPEN
               ? tab->serial == op->tag
               : op->kind == SIM_OP_ATTACH && tab->session == op->session;
}

static void done(struct sim_client *c, const struct baton_event *e)
{
    struct sim_op *op = c->ops;
    while (op < c->ops + SIM_OPS_MAX && op->tag != e->tag) {
        op++;
    }
    if (op == c->ops + SIM_OPS_MAX) {
        return;
    }
    const struct baton_reply *reply = e->reply;
    struct sim_tab *tab = op->tab < SIM_TABS_MAX ? &c->tabs[op->tab] : NULL;
    oracle_op_end(c, op, reply);
    if (tab == NULL) {
        op_free(c, op);
        return;
    }
    if (waits_for(tab, op)) {
        if (reply->status == BATON_OK) {
            tab->opening = false;
            tab->session = reply->id;
        } else {
            tab_gone(c, tab);
        }
    } else if (op->kind == SIM_OP_CLOSE && tab->session == op->session) {
        tab_gone(c, tab);
    }
    op_free(c, op);
}

static struct sim_tab *tab_of(struct sim_client *c, uint64_t session)
{
    for (uint32_t i = 0; session != 0 && i < SIM_TABS_MAX; i++) {
        if (c->tabs[i].used && c->tabs[i].session == session) {
            return &c->tabs[i];
        }
    }
    return NULL;
}

static void all_lost(struct sim_client *c)
{
    for (uint32_t i = 0; i < SIM_TABS_MAX; i++) {
        if (c->tabs[i].used && !c->tabs[i].opening) {
            tab_gone(c, &c->tabs[i]);
        }
    }
}

static void watched(struct sim_client *c, const struct baton_event *e)
{
    switch (e->type) {
    case BATON_WATCH_SYNCED:
        oracle_watch_synced(c, e->revision);
        break;
    case BATON_WATCH_RESET:
        oracle_watch_reset(c);
        break;
    case BATON_WATCH_EVENT:
        oracle_watch_event(c, (const Pb__Event *)client_polled(c->baton));
        break;
    default:
        break;
    }
}

void program_event(struct sim_client *c, const struct baton_event *e)
{
    struct sim_tab *tab = tab_of(c, e->session);
    switch (e->type) {
    case BATON_DONE:
        done(c, e);
        break;
    case BATON_GRANTED:
        if (tab != NULL && !tab->closing) {
            oracle_belief_begin(c, tab, e->group_scope, e->epoch);
        }
        break;
    case BATON_LOST:
        if (tab != NULL) {
            oracle_belief_end(c, tab, e->group_scope);
        }
        break;
    case BATON_YIELD:
        if (tab != NULL && tab->beliefs[e->group_scope].leads) {
            act_as_holder(c, SIM_OP_YIELD, tab, e->group_scope);
        }
        break;
    case BATON_SESSION_CLOSED:
    case BATON_SESSION_TAKEN:
        if (tab != NULL) {
            tab_gone(c, tab);
        }
        break;
    case BATON_LEASE_ENDED:
        all_lost(c);
        break;
    default:
        watched(c, e);
        break;
    }
}

/* --- what it does next ------------------------------------------------------------------------------------------------------------ */

static void one_op(struct sim_client *c)
{
    struct sim_tab *tab = &c->tabs[sim_below(&c->random, c->tabs_n)];
    struct sim_tab *place = NULL;
    for (uint32_t i = 0; i < SIM_TABS_MAX; i++) {
        place = c->tabs[i].used ? place : &c->tabs[i];
    }
    uint64_t dice = sim_below(&c->random, 1000);
    if (!tab->used) {
        if (dice < 80 && place != NULL) {
            attach(c, place);
        } else {
            open_tab(c, tab);
        }
        return;
    }
    if (tab->opening || tab->closing) {
        ask(c, SIM_OP_LEADER, NULL);
        return;
    }
    bool group = dice % 2 == 0;
    bool leads = tab->beliefs[group].leads;
    if (dice < 300) {
        ask(c, SIM_OP_LEADER, tab);
    } else if (dice < 400) {
        ask(c, SIM_OP_LEADER_STALE, tab);
    } else if (dice < 480) {
        ask(c, SIM_OP_VERIFY, tab);
    } else if (dice < 500) {
        ask(c, SIM_OP_SESSIONS, NULL);
    } else if (dice < 700) {
        update_tab(c, tab);
    } else if (dice < 760) {
        act_as_holder(c, SIM_OP_CLAIM, tab, group);
    } else if (dice < 820) {
        decide(c, SIM_OP_HANDOFF);
    } else if (dice < 840) {
        decide(c, SIM_OP_DEMOTE);
    } else if (dice < 900 && leads) {
        act_as_holder(c, SIM_OP_RESIGN, tab, group);
    } else if (dice < 990) {
        close_tab(c, tab);
    } else {
        set_policy(c);
    }
}

/* The first tab with a session; one that leads is preferred. NULL: none. */
static struct sim_tab *tab_to_use(struct sim_client *c, bool *out_group)
{
    struct sim_tab *found = NULL;
    *out_group = false;
    for (uint32_t i = 0; i < SIM_TABS_MAX; i++) {
        struct sim_tab *tab = &c->tabs[i];
        if (!tab->used || tab->opening || tab->closing) {
            continue;
        }
        found = found != NULL ? found : tab;
        for (uint32_t group = 0; group < 2; group++) {
            if (tab->beliefs[group].leads) {
                *out_group = group == 1;
                return tab;
            }
        }
    }
    return found;
}

void program_call(struct sim_client *c, enum sim_op_kind kind)
{
    bool group = false;
    struct sim_tab *tab = tab_to_use(c, &group);
    struct sim_tab *place = NULL;
    for (uint32_t i = 0; i < SIM_TABS_MAX && place == NULL; i++) {
        place = c->tabs[i].used ? NULL : &c->tabs[i];
    }
    if (!c->up || c->paused || c->ops_n == SIM_OPS_MAX) {
        return;
    }
    sim_system_of(c);
    switch (kind) {
    case SIM_OP_OPEN:
        if (place != NULL) {
            open_tab(c, place);
        }
        break;
    case SIM_OP_ATTACH:
        if (place != NULL) {
            attach(c, place);
        }
        break;
    case SIM_OP_HANDOFF:
    case SIM_OP_DEMOTE:
        decide(c, kind);
        break;
    case SIM_OP_POLICY:
        set_policy(c);
        break;
    case SIM_OP_LEADER:
    case SIM_OP_LEADER_STALE:
    case SIM_OP_VERIFY:
    case SIM_OP_SESSIONS:
        ask(c, kind, tab);
        break;
    case SIM_OP_CLOSE:
        if (tab != NULL) {
            close_tab(c, tab);
        }
        break;
    case SIM_OP_UPDATE:
        if (tab != NULL) {
            update_tab(c, tab);
        }
        break;
    default:
        if (tab != NULL) {
            act_as_holder(c, kind, tab, group);
        }
        break;
    }
    sim_client_wake(c, c->world->now_us);
}

static void write_as_leader(struct sim_client *c)
{
    for (uint32_t i = 0; i < SIM_TABS_MAX; i++) {
        struct sim_tab *tab = &c->tabs[i];
        for (uint32_t group = 0; group < 2; group++) {
            /* Looks at its right just before, as the guide says. */
            if (tab->used && tab->beliefs[group].leads &&
                baton_right_ms(c->baton) > 0) {
                oracle_write(c, tab, group == 1);
            }
        }
    }
}

void program_start(struct sim_client *c)
{
    const struct baton_watch watch = {.tag = WATCH_TAG,
                                      .namespace_name = NAMESPACE};
    memset(c->tabs, 0, sizeof c->tabs);
    memset(c->ops, 0, sizeof c->ops);
    c->ops_n = 0;
    c->op_us = c->world->now_us + sim_below(&c->random, SIM_S / 2);
    oracle_watch_reset(c);
    if (c->number % 3 == 0) {
        c->watching = true;
        enum baton_status status = baton_watch(c->baton, &watch);
        ASSERT(status == BATON_OK);
    }
}

void program_gone(struct sim_client *c)
{
    for (uint32_t i = 0; i < SIM_TABS_MAX; i++) {
        if (c->tabs[i].used) {
            tab_gone(c, &c->tabs[i]);
        }
    }
    for (uint32_t i = 0; i < SIM_OPS_MAX; i++) {
        if (c->ops[i].tag != 0) {
            oracle_op_lost(c, &c->ops[i]);
            op_free(c, &c->ops[i]);
        }
    }
}

void program_step(struct sim_client *c)
{
    const struct sim_options *o = &c->world->options;
    uint64_t now_us = c->world->now_us;
    if (now_us < c->op_us) {
        return;
    }
    write_as_leader(c);
    if (c->world->quiet) {
        c->op_us = now_us + WRITE_US;
        return;
    }
    if (c->ops_n < 32) {
        one_op(c);
    }
    uint64_t mean = (uint64_t)o->clients_n * SIM_S / max_u64(o->rate, 1);
    c->op_us = now_us + 1 + sim_seldom(&c->random, mean);
}

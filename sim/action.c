#include "sim/action.h"

#include <stdio.h>

#include "sim/client.h"
#include "sim/operator.h"
#include "sim/oracle.h"

static bool is_node(const struct sim_world *w, uint32_t host)
{
    return host >= 1 && host <= w->nodes_n;
}

static struct sim_client *client_of(struct sim_world *w, uint32_t host)
{
    uint32_t number = host - SIM_HOST_OF_CLIENT(0);
    return host >= SIM_HOST_OF_CLIENT(0) && number < w->clients_n
               ? w->clients[number]
               : NULL;
}

/* --- nodes ---------------------------------------------------------------------------------------------------------------- */

static void machine_on(struct sim_world *w, struct sim_node *n)
{
    if (!n->machine) {
        n->machine = true;
        sim_net_machine(w->net, n->id, true);
    }
}

static void start(struct sim_world *w, struct sim_node *n)
{
    if (!n->up) {
        machine_on(w, n);
        n->faults = (struct sim_disk_faults){.stalled = false};
        (void)sim_node_start(n);
    }
}

static void act_on_process(struct sim_world *w, const struct sim_action *x)
{
    struct sim_node *n = &w->nodes[x->a];
    switch (x->verb) {
    case SIM_CRASH:
        sim_node_kill(n);
        break;
    case SIM_POWER:
        sim_node_power_off(n);
        break;
    case SIM_STOP:
        sim_node_stop(n);
        break;
    case SIM_START:
        start(w, n);
        break;
    case SIM_WIPE:
        sim_node_wipe(n);
        break;
    case SIM_IMAGE:
        sim_node_image(n);
        break;
    case SIM_RESTORE:
        sim_node_restore(n);
        break;
    default:
        ASSERT(x->verb == SIM_PAUSE || x->verb == SIM_RESUME);
        w->coverage.pauses += x->verb == SIM_PAUSE;
        sim_node_pause(n, x->verb == SIM_PAUSE);
        break;
    }
}

static void act_on_client(struct sim_world *w, const struct sim_action *x)
{
    struct sim_client *c = client_of(w, x->a);
    switch (x->verb) {
    case SIM_CRASH:
    case SIM_POWER:
        sim_client_kill(c);
        break;
    case SIM_START:
        (void)sim_client_start(c);
        break;
    case SIM_PAUSE:
        w->coverage.suspends++;
        sim_client_pause(c, true);
        break;
    case SIM_RESUME:
        sim_client_pause(c, false);
        break;
    default:
        break;
    }
}

/* --- the net -------------------------------------------------------------------------------------------------------------- */

static void act_on_net(struct sim_world *w, const struct sim_action *x)
{
    switch (x->verb) {
    case SIM_CUT:
    case SIM_MEND:
        sim_net_cut(w->net, x->a, x->b, x->verb == SIM_CUT);
        break;
    case SIM_CLOG:
        w->coverage.clogs += x->v > 0;
        sim_net_slow(w->net, x->a, x->b, (uint64_t)x->v);
        break;
    default:
        ASSERT(x->verb == SIM_HOSTILE);
        w->coverage.hostile_times += x->a > 0 || x->b > 0 || x->v > 0;
        sim_net_hostile(w->net, x->a, x->b, (uint32_t)x->v);
        break;
    }
}

/* --- disks and clocks ------------------------------------------------------------------------------------------------------- */

static void act_on_disk(struct sim_world *w, const struct sim_action *x)
{
    struct sim_node *n = &w->nodes[x->a];
    switch (x->verb) {
    case SIM_STALL:
        w->coverage.disk_stalls++;
        n->faults.stalled = true;
        break;
    case SIM_SLOW_DISK:
        n->faults.slow = (uint32_t)x->v;
        break;
    case SIM_EIO:
        w->coverage.disk_failures++;
        n->faults.failure = STORE_FAILURE_IO;
        break;
    case SIM_FULL:
        w->coverage.disk_full++;
        n->faults.failure = STORE_FAILURE_DISK_FULL;
        break;
    case SIM_ROT:
        sim_node_rot(n, (uint32_t)x->v);
        break;
    default:
        ASSERT(x->verb == SIM_DISK_OK);
        n->faults = (struct sim_disk_faults){.stalled = false};
        sim_node_disk(n);
        break;
    }
}

static void act_on_clock(struct sim_world *w, const struct sim_action *x)
{
    struct sim_client *c = client_of(w, x->a);
    struct sim_clock *clock = c != NULL ? &c->clock : &w->nodes[x->a].clock;
    if (x->verb == SIM_JUMP) {
        w->coverage.wall_jumps++;
        clock->wall_offset_ms += x->v;
        return;
    }
    w->coverage.clock_changes++;
    sim_clock_rate(clock, w->now_us, (int32_t)x->v);
}

static void transfer(struct sim_world *w, const struct sim_action *x)
{
    struct sim_client *c = client_of(w, x->a);
    if (c != NULL && c->up && !c->paused) {
        const struct baton_call call = {.tag = UINT64_MAX - 1};
        w->coverage.transfers++;
        sim_system_of(c);
        (void)baton_transfer(c->baton, &call, x->b, NULL);
    }
}

/* --- members ---------------------------------------------------------------------------------------------------------------- */

/* As docs/operations.md has it: it is started empty, with the addresses of who is there, and then made a member. */
static void set_up(struct sim_world *w, struct sim_node *n)
{
    const struct sim_members now = oracle_members(w);
    n->join = true;
    n->ready = true;
    n->told = sim_members_all(&now) | 1u << n->id;
    start(w, n);
}

static void change_members(struct sim_world *w, const struct sim_action *x)
{
    if (x->verb == SIM_ADD) {
        set_up(w, &w->nodes[x->a]);
    }
    sim_operator_ask(w->operator, x->verb, x->a, x->b);
}

/* --- healing ---------------------------------------------------------------------------------------------------------------- */

static void heal_node(struct sim_world *w, struct sim_node *n)
{
    n->faults = (struct sim_disk_faults){.stalled = false};
    machine_on(w, n);
    sim_node_pause(n, false);
    (void)sim_node_start(n);
    sim_node_disk(n);
}

static void heal_links(struct sim_world *w, uint32_t a, uint32_t b)
{
    sim_net_cut(w->net, a, b, false);
    sim_net_cut(w->net, b, a, false);
    sim_net_slow(w->net, a, b, 0);
    sim_net_slow(w->net, b, a, 0);
}

static void heal(struct sim_world *w)
{
    sim_net_hostile(w->net, 0, 0, 0);
    for (raft_id a = 1; a <= w->nodes_n; a++) {
        if ((w->healed & SIM_SET(a)) == 0) {
            continue;
        }
        for (raft_id b = 1; b <= w->nodes_n; b++) {
            if ((w->healed & SIM_SET(b)) != 0) {
                heal_links(w, a, b);
            }
        }
        for (uint32_t i = 0; i < w->clients_n; i++) {
            heal_links(w, a, w->clients[i]->host);
        }
        heal_node(w, &w->nodes[a]);
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        w->clients[i]->throttle_ms = 0;
        sim_client_pause(w->clients[i], false);
        (void)sim_client_start(w->clients[i]);
    }
}

/* Everybody but who forgot, whom nobody lets in. */
static bool all_healed(const struct sim_world *w)
{
    bool all = true;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        all = all && (w->nodes[id].forgot || (w->healed & SIM_SET(id)) != 0);
    }
    return all;
}

void sim_tend(struct sim_world *w)
{
    const uint32_t more = oracle_lacking(w, (uint32_t)w->healed);
    if (more != 0) {
        w->healed |= more;
        heal(w);
    }
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if ((w->healed & SIM_SET(id)) != 0 && !w->nodes[id].up) {
            heal_node(w, &w->nodes[id]);
        }
    }
}

/* --- all of them ------------------------------------------------------------------------------------------------------------ */

static void record(struct sim_world *w, const struct sim_action *x)
{
    struct sim_record *r = w->record;
    if (r == NULL || r->n == SIM_RECORD_MAX) {
        return;
    }
    r->at[r->n] = *x;
    r->at[r->n].at_us = w->now_us;
    r->n++;
}

static bool breaks(const struct sim_action *x)
{
    switch (x->verb) {
    case SIM_START:
    case SIM_IMAGE:
    case SIM_RESUME:
    case SIM_MEND:
    case SIM_DISK_OK:
    case SIM_JUMP:
    case SIM_TRANSFER:
    case SIM_HEAL:
    case SIM_VERBS_N:
        return false;
    case SIM_CLOG:
    case SIM_THROTTLE:
        return x->v != 0;
    case SIM_HOSTILE:
        return x->a + x->b > 0 || x->v != 0;
    default:
        return true;
    }
}

void sim_act(struct sim_world *w, const struct sim_action *x)
{
    record(w, x);
    w->whole_us = breaks(x) ? UINT64_MAX : w->whole_us;
    switch (x->verb) {
    case SIM_CRASH:
    case SIM_POWER:
    case SIM_STOP:
    case SIM_START:
    case SIM_WIPE:
    case SIM_IMAGE:
    case SIM_RESTORE:
    case SIM_PAUSE:
    case SIM_RESUME:
        if (is_node(w, x->a)) {
            act_on_process(w, x);
        } else if (client_of(w, x->a) != NULL) {
            act_on_client(w, x);
        }
        break;
    case SIM_CUT:
    case SIM_MEND:
    case SIM_CLOG:
    case SIM_HOSTILE:
        act_on_net(w, x);
        break;
    case SIM_STALL:
    case SIM_SLOW_DISK:
    case SIM_EIO:
    case SIM_FULL:
    case SIM_DISK_OK:
    case SIM_ROT:
        if (is_node(w, x->a)) {
            act_on_disk(w, x);
        }
        break;
    case SIM_DRIFT:
    case SIM_JUMP:
        if (is_node(w, x->a) || client_of(w, x->a) != NULL) {
            act_on_clock(w, x);
        }
        break;
    case SIM_THROTTLE:
        if (client_of(w, x->a) != NULL) {
            client_of(w, x->a)->throttle_ms = (uint32_t)x->v;
        }
        break;
    case SIM_TRANSFER:
        transfer(w, x);
        break;
    case SIM_ADD:
    case SIM_PROMOTE:
    case SIM_REMOVE:
        if (is_node(w, x->a) && (x->b == 0 || is_node(w, x->b))) {
            change_members(w, x);
        }
        break;
    case SIM_HEAL:
        w->healed = x->v;
        heal(w);
        w->whole_us = all_healed(w) ? w->now_us : UINT64_MAX;
        break;
    case SIM_VERBS_N:
        break;
    }
}

/* --- in words ----------------------------------------------------------------------------------------------------------------- */

struct host_name {
    char text[16];
};

static struct host_name name_of(uint32_t host)
{
    struct host_name name;
    bool client = host >= SIM_HOST_OF_CLIENT(0);
    (void)snprintf(name.text, sizeof name.text, client ? "c%u" : "n%u",
                   client ? host - SIM_HOST_OF_CLIENT(0) : host);
    return name;
}

static void heal_text(int64_t set, char *out, size_t out_bytes)
{
    size_t n = (size_t)snprintf(out, out_bytes, "heal {");
    for (raft_id id = 1; id <= SIM_NODES_MAX && n < out_bytes; id++) {
        if ((set & SIM_SET(id)) != 0) {
            n += (size_t)snprintf(out + n, out_bytes - n, " n%u", id);
        }
    }
    if (n < out_bytes) {
        (void)snprintf(out + n, out_bytes - n, " }");
    }
}

void sim_action_text(const struct sim_action *x, char *out, size_t out_bytes)
{
    static const struct {
        const char *verb;
        const char *rest;
    } simple[SIM_VERBS_N] = {
        [SIM_CRASH] = {"crash", ""},     [SIM_POWER] = {"crash", " power"},
        [SIM_STOP] = {"stop", ""},       [SIM_START] = {"restart", ""},
        [SIM_WIPE] = {"wipe", ""},       [SIM_IMAGE] = {"image", ""},
        [SIM_RESTORE] = {"restore", ""}, [SIM_PAUSE] = {"pause", ""},
        [SIM_RESUME] = {"resume", ""},   [SIM_STALL] = {"disk", " stall"},
        [SIM_EIO] = {"disk", " eio"},    [SIM_FULL] = {"disk", " full"},
        [SIM_DISK_OK] = {"disk", " ok"},
    };
    struct host_name a = name_of(x->a);
    struct host_name b = name_of(x->b);
    long long v = (long long)x->v;
    switch (x->verb) {
    case SIM_CUT:
        (void)snprintf(out, out_bytes, "cut %s -> %s", a.text, b.text);
        break;
    case SIM_MEND:
        (void)snprintf(out, out_bytes, "mend %s -> %s", a.text, b.text);
        break;
    case SIM_CLOG:
        (void)snprintf(out, out_bytes, "clog %s -> %s by %lldus", a.text,
                       b.text, v);
        break;
    case SIM_HOSTILE:
        (void)snprintf(out, out_bytes, "hostile loss %u twice %u reorder %lld",
                       x->a, x->b, v);
        break;
    case SIM_SLOW_DISK:
        (void)snprintf(out, out_bytes, "disk %s slow %lld", a.text, v);
        break;
    case SIM_ROT:
        (void)snprintf(out, out_bytes, "disk %s rot %lld", a.text, v);
        break;
    case SIM_DRIFT:
        (void)snprintf(out, out_bytes, "clock %s drift %lldppm", a.text, v);
        break;
    case SIM_JUMP:
        (void)snprintf(out, out_bytes, "clock %s jump %lldms", a.text, v);
        break;
    case SIM_THROTTLE:
        (void)snprintf(out, out_bytes, "throttle %s %lldms", a.text, v);
        break;
    case SIM_TRANSFER:
        (void)snprintf(out, out_bytes, "transfer %s by %s",
                       x->b == 0 ? "any" : b.text, a.text);
        break;
    case SIM_ADD:
    case SIM_PROMOTE:
    case SIM_REMOVE:
        (void)snprintf(out, out_bytes, "%s %s%s%s",
                       x->verb == SIM_ADD       ? "add"
                       : x->verb == SIM_PROMOTE ? "promote"
                                                : "remove",
                       a.text, x->b == 0 ? "" : " via ",
                       x->b == 0 ? "" : b.text);
        break;
    case SIM_HEAL:
        heal_text(x->v, out, out_bytes);
        break;
    default:
        (void)snprintf(out, out_bytes, "%s %s%s", simple[x->verb].verb, a.text,
                       simple[x->verb].rest);
        break;
    }
}

#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/codec.h"
#include "raft/message.h"

/* How a node, a client, a link was when it was looked at last. */
struct node_look {
    bool up;
    bool paused;
    bool ended; /* by itself, since the last look: so */
    enum trace_end end;
    uint64_t turns;
    enum raft_role role;
    raft_term term;
    raft_index commit;
    enum trace_disk disk;
    int32_t ppm;
    int64_t wall_ms;
};

struct tab_look {
    bool leads;
    uint32_t scope;
    uint64_t session;
    uint64_t epoch;
};

struct client_look {
    bool up;
    bool paused;
    uint32_t throttle_ms;
    uint64_t deadline_ms; /* when its right ends, by its own clock */
    int32_t ppm;
    int64_t wall_ms;
    struct tab_look tabs[SIM_TABS_MAX][2];
};

struct link_look {
    bool cut;
    uint64_t extra_us;
};

struct trace_looks {
    struct node_look nodes[SIM_NODES_MAX + 1];
    struct client_look clients[SIM_CLIENTS_MAX];
    struct link_look links[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
    bool hostile;
    bool quiet;
};

struct sim_trace *trace_new(void)
{
    struct sim_trace *t =
        mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT(t != MAP_FAILED);
    return t;
}

void trace_free(struct sim_trace *t)
{
    (void)munmap(t, sizeof *t);
}

void trace_begin(struct sim_world *w, struct sim_trace *t)
{
    if (t == NULL) {
        return;
    }
    ASSERT(w->trace == NULL && t->looks == NULL);
    t->looks = calloc(1, sizeof *t->looks);
    ASSERT(t->looks != NULL);
    w->trace = t;
    sim_net_trace(w->net, t);
    trace_phase(w, TRACE_BOOT);
    trace_look(w);
}

void trace_end(struct sim_world *w)
{
    struct sim_trace *t = w->trace;
    if (t == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        for (uint32_t k = 0; k < SIM_OPS_MAX; k++) {
            if (w->clients[i]->ops[k].tag != 0) {
                trace_call(w->clients[i], &w->clients[i]->ops[k],
                           TRACE_CALL_PENDING);
            }
        }
    }
    w->trace = NULL;
    sim_net_trace(w->net, NULL);
    free(t->looks);
    t->looks = NULL;
}

/* --- putting --------------------------------------------------------------------------------------------------------------------- */

void trace_put(struct sim_world *w, const struct trace_event *e)
{
    struct sim_trace *t = w->trace;
    if (t != NULL) {
        struct trace_event *at = &t->events[t->events_n++ % TRACE_EVENTS_MAX];
        *at = *e;
        at->at_us = w->now_us;
    }
}

static void note(struct sim_world *w, enum trace_kind kind, uint32_t who,
                 int64_t a, int64_t b)
{
    trace_put(w,
              &(struct trace_event){.kind = kind, .who = who, .a = a, .b = b});
}

void trace_phase(struct sim_world *w, enum trace_phase phase)
{
    trace_put(w, &(struct trace_event){.kind = TRACE_phase, .a = phase});
}

void trace_line(struct sim_world *w, raft_id node, const char *line)
{
    struct sim_trace *t = w->trace;
    if (t != NULL) {
        struct trace_line *at = &t->lines[t->lines_n++ % TRACE_LINES_MAX];
        at->at_us = w->now_us;
        at->node = node;
        (void)snprintf(at->text, sizeof at->text, "%s", line);
    }
}

void trace_node_ended(struct sim_node *n, const char *why)
{
    char line[TRACE_LINE_BYTES];
    if (n->world->trace != NULL) {
        struct node_look *l = &n->world->trace->looks->nodes[n->id];
        l->ended = true;
        l->end = strcmp(why, "stopped") == 0 ? TRACE_STOPPED : TRACE_ENDED;
        (void)snprintf(line, sizeof line, "ended: %s", why);
        trace_line(n->world, n->id, line);
    }
}

void trace_history(struct sim_world *w, const Pb__Event *e, uint32_t scope)
{
    struct trace_event event = {.who = scope,
                                .a = (int64_t)e->session,
                                .b = (int64_t)e->epoch,
                                .d = (int64_t)e->revision};
    switch (e->kind) {
    case PB__EVENT_KIND__SESSION_OPENED:
        event.kind = TRACE_session_opened;
        event.who = (uint32_t)strtoul(e->tab + 1, NULL, 10);
        event.b = scope;
        break;
    case PB__EVENT_KIND__SESSION_CLOSED:
        event.kind = TRACE_session_closed;
        event.b = e->cause;
        break;
    case PB__EVENT_KIND__GRANTED:
        event.kind = TRACE_granted;
        event.c = e->reason;
        break;
    case PB__EVENT_KIND__VACATED:
        event.kind = TRACE_vacated;
        event.c = e->cause;
        break;
    default:
        return;
    }
    trace_put(w, &event);
}

void trace_call(struct sim_client *c, const struct sim_op *op, int status)
{
    struct sim_world *w = c->world;
    trace_put(w, &(struct trace_event){
                     .kind = TRACE_call,
                     .who = c->number,
                     .a = op->kind,
                     .b = (int64_t)op->invoked_us,
                     .c = status,
                     .d = TRACE_SCOPE(op->group, op->device, op->group_scope)});
    if (op->kind == SIM_OP_ATTACH && status == BATON_OK) {
        note(w, TRACE_session_taken, c->number, (int64_t)op->session, 0);
    }
}

/* --- messages -------------------------------------------------------------------------------------------------------------------- */

/* A handle is the serial, and whether it's a heartbeat's, so that those who are many drop each other only. */
static struct trace_message *message_of(struct sim_trace *t, uint64_t handle)
{
    uint64_t serial = handle >> 1;
    struct trace_message *m =
        (handle & 1) != 0 ? &t->heartbeats[serial % TRACE_HEARTBEATS_MAX]
                          : &t->messages[serial % TRACE_MESSAGES_MAX];
    return handle != 0 && m->serial == serial ? m : NULL;
}

static uint64_t add_message(struct sim_trace *t, const struct trace_message *m)
{
    bool heartbeat =
        m->type == RAFT_HEARTBEAT || m->type == RAFT_HEARTBEAT_REPLY;
    uint64_t *n = heartbeat ? &t->heartbeats_n : &t->messages_n;
    uint64_t serial = ++*n;
    struct trace_message *at =
        heartbeat ? &t->heartbeats[serial % TRACE_HEARTBEATS_MAX]
                  : &t->messages[serial % TRACE_MESSAGES_MAX];
    *at = *m;
    at->serial = serial;
    return serial << 1 | heartbeat;
}

void trace_message(struct sim_world *w, const struct trace_message *m)
{
    if (w->trace != NULL) {
        struct trace_message copy = *m;
        copy.sent_us = w->now_us;
        w->trace->pending = add_message(w->trace, &copy);
    }
}

uint64_t trace_take(struct sim_trace *t)
{
    uint64_t handle = 0;
    if (t != NULL) {
        handle = t->pending;
        t->pending = 0;
    }
    return handle;
}

uint64_t trace_again(struct sim_trace *t, uint64_t handle)
{
    const struct trace_message *m = t == NULL ? NULL : message_of(t, handle);
    if (m == NULL) {
        return 0;
    }
    struct trace_message copy = *m;
    copy.flags |= TRACE_DOUBLED;
    return add_message(t, &copy);
}

void trace_flag(struct sim_trace *t, uint64_t handle, uint32_t flag)
{
    struct trace_message *m = t == NULL ? NULL : message_of(t, handle);
    if (m != NULL) {
        m->flags |= (uint8_t)flag;
    }
}

void trace_fate(struct sim_trace *t, uint64_t handle, enum trace_fate fate,
                uint64_t at_us)
{
    struct trace_message *m = t == NULL ? NULL : message_of(t, handle);
    if (m != NULL) {
        m->fate = (uint8_t)fate;
        m->until_us = at_us;
    }
}

/* --- looking --------------------------------------------------------------------------------------------------------------------- */

static enum trace_disk disk_of(const struct sim_disk_faults *f)
{
    switch (f->failure) {
    case STORE_FAILURE_NONE:
        break;
    case STORE_FAILURE_DISK_FULL:
        return TRACE_DISK_FULL;
    default:
        return TRACE_DISK_ERROR;
    }
    if (f->stalled) {
        return TRACE_DISK_STALLED;
    }
    return f->slow > 1 ? TRACE_DISK_SLOW : TRACE_DISK_WELL;
}

static void look_at_turn(struct sim_node *n, struct node_look *l)
{
    const struct raft *raft = turn_raft(n->turn);
    enum raft_role role = raft_role_now(raft);
    raft_term term = raft_term_now(raft);
    raft_index commit = raft_commit(raft);
    if (role != l->role || term != l->term) {
        note(n->world, TRACE_node_role, n->id, role, (int64_t)term);
    }
    if (commit != l->commit) {
        note(n->world, TRACE_node_commit, n->id, (int64_t)commit, 0);
    }
    l->role = role;
    l->term = term;
    l->commit = commit;
    l->turns = n->turns;
}

static void look_at_node(struct sim_node *n, struct node_look *l)
{
    struct sim_world *w = n->world;
    if (n->up != l->up || (!n->up && l->ended)) {
        enum trace_end end = l->ended ? l->end : TRACE_KILLED;
        note(w, n->up ? TRACE_node_up : TRACE_node_down, n->id,
             n->machine ? end : TRACE_POWER, 0);
        *l = (struct node_look){.up = n->up,
                                .turns = UINT64_MAX,
                                .disk = l->disk,
                                .ppm = l->ppm,
                                .wall_ms = l->wall_ms};
        if (n->up) {
            note(w, TRACE_node_role, n->id, RAFT_FOLLOWER, 0);
        }
    }
    if (n->up && n->turns != l->turns) {
        look_at_turn(n, l);
    }
    if (n->paused != l->paused) {
        note(w, n->paused ? TRACE_node_paused : TRACE_node_resumed, n->id, 0,
             0);
        l->paused = n->paused;
    }
    enum trace_disk disk = disk_of(&n->faults);
    if (disk != l->disk) {
        note(w, TRACE_node_disk, n->id, disk, n->faults.slow);
        l->disk = disk;
    }
    if (n->clock.ppm != l->ppm || n->clock.wall_offset_ms != l->wall_ms) {
        l->ppm = n->clock.ppm;
        l->wall_ms = n->clock.wall_offset_ms;
        note(w, TRACE_clock, n->id, l->ppm, l->wall_ms);
    }
}

static void look_at_tab(struct sim_client *c, uint32_t tab, uint32_t group)
{
    struct sim_world *w = c->world;
    const struct sim_tab *t = &c->tabs[tab];
    const struct sim_belief *b = &t->beliefs[group];
    struct tab_look *l = &w->trace->looks->clients[c->number].tabs[tab][group];
    bool leads = c->up && t->used && b->leads;
    if (l->leads &&
        (!leads || l->epoch != b->epoch || l->session != t->session)) {
        trace_put(w, &(struct trace_event){.kind = TRACE_belief_end,
                                           .who = c->number,
                                           .a = l->scope,
                                           .b = tab,
                                           .c = (int64_t)l->session,
                                           .d = (int64_t)l->epoch});
        l->leads = false;
    }
    if (leads && !l->leads) {
        *l = (struct tab_look){
            .leads = true,
            .scope = TRACE_SCOPE(t->group, t->device, group == 1),
            .session = t->session,
            .epoch = b->epoch,
        };
        trace_put(w, &(struct trace_event){.kind = TRACE_belief_begin,
                                           .who = c->number,
                                           .a = l->scope,
                                           .b = tab,
                                           .c = (int64_t)l->session,
                                           .d = (int64_t)l->epoch});
    }
}

/* Its right is renewed, or its clock runs at another rate: the true time of its end is another. */
static void look_at_right(struct sim_client *c, struct client_look *l)
{
    uint64_t deadline_ms = c->up ? c->baton->deadline_ms : 0;
    bool clock =
        c->clock.ppm != l->ppm || c->clock.wall_offset_ms != l->wall_ms;
    if (deadline_ms != l->deadline_ms ||
        (c->clock.ppm != l->ppm && deadline_ms != 0)) {
        uint64_t until =
            deadline_ms == 0 ? 0 : sim_clock_when_us(&c->clock, deadline_ms);
        note(c->world, TRACE_client_right, c->number, (int64_t)until, 0);
    }
    if (clock) {
        note(c->world, TRACE_clock, c->host, c->clock.ppm,
             c->clock.wall_offset_ms);
    }
    l->deadline_ms = deadline_ms;
    l->ppm = c->clock.ppm;
    l->wall_ms = c->clock.wall_offset_ms;
}

static void look_at_client(struct sim_client *c, struct client_look *l)
{
    struct sim_world *w = c->world;
    if (c->up != l->up) {
        note(w, c->up ? TRACE_client_up : TRACE_client_down, c->number, 0, 0);
        l->up = c->up;
        l->paused = false;
    }
    bool paused = c->up && c->paused;
    if (paused != l->paused) {
        note(w, paused ? TRACE_client_paused : TRACE_client_resumed, c->number,
             0, 0);
        l->paused = paused;
    }
    if (c->throttle_ms != l->throttle_ms) {
        note(w, TRACE_client_throttled, c->number, c->throttle_ms, 0);
        l->throttle_ms = c->throttle_ms;
    }
    look_at_right(c, l);
    for (uint32_t tab = 0; tab < SIM_TABS_MAX; tab++) {
        look_at_tab(c, tab, 0);
        look_at_tab(c, tab, 1);
    }
}

static void look_at_link(struct sim_world *w, uint32_t from, uint32_t to)
{
    struct link_look *l = &w->trace->looks->links[from][to];
    bool cut = sim_net_is_cut(w->net, from, to);
    uint64_t extra_us = sim_net_extra_us(w->net, from, to);
    if (cut != l->cut || extra_us != l->extra_us) {
        l->cut = cut;
        l->extra_us = extra_us;
        trace_put(w, &(struct trace_event){.kind = TRACE_link,
                                           .who = from,
                                           .a = to,
                                           .b = cut,
                                           .c = (int64_t)extra_us});
    }
}

static void look_at_net(struct sim_world *w)
{
    bool hostile = sim_net_is_hostile(w->net);
    for (raft_id a = 1; a <= w->nodes_n; a++) {
        for (raft_id b = 1; b <= w->nodes_n; b++) {
            look_at_link(w, a, b);
        }
        for (uint32_t i = 0; i < w->clients_n; i++) {
            look_at_link(w, a, w->clients[i]->host);
            look_at_link(w, w->clients[i]->host, a);
        }
    }
    if (hostile != w->trace->looks->hostile) {
        w->trace->looks->hostile = hostile;
        note(w, TRACE_hostile, 0, hostile, 0);
    }
}

void trace_look(struct sim_world *w)
{
    if (w->trace == NULL) {
        return;
    }
    struct trace_looks *looks = w->trace->looks;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        look_at_node(&w->nodes[id], &looks->nodes[id]);
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        look_at_client(w->clients[i], &looks->clients[i]);
    }
    look_at_net(w);
    if (w->quiet != looks->quiet) {
        looks->quiet = w->quiet;
        trace_phase(w, TRACE_QUIET);
    }
}

#include "tests/lab/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lab/lab_transport.h"

#define TIME_START_MS  1000u
#define ROOM_UNLIMITED UINT64_MAX
#define TURNS_AT_ONCE  1000u

struct lab_input {
    struct transport_input input; /* body owned */
    struct lab_input *next;
};

struct lab_frame {
    raft_id from;
    raft_id to;
    uint8_t *data;
    size_t n;
    struct lab_frame *next;
};

static uint8_t *copy_of(struct bytes b)
{
    uint8_t *data = malloc(b.n + 1);
    ASSERT(data != NULL);
    if (b.n > 0) {
        memcpy(data, b.data, b.n);
    }
    data[b.n] = 0;
    return data;
}

struct lab_node *lab_node(struct lab *lab, raft_id id)
{
    ASSERT(id > 0);
    ASSERT(id <= lab->n);
    return &lab->nodes[id];
}

/* --- what nodes ask of their transport --------------------------------------------------------------------------------- */

static bool on_peer_send(void *arg, uint32_t node, uint32_t to,
                         struct bytes body)
{
    struct lab *lab = ((struct lab_node *)arg)->lab;
    if (to > lab->n || !lab->linked[node][to]) {
        return false;
    }
    struct lab_frame **at = &lab->frames;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    struct lab_frame *f = calloc(1, sizeof *f);
    ASSERT(f != NULL);
    f->from = node;
    f->to = to;
    f->data = copy_of(body);
    f->n = body.n;
    *at = f;
    if (lab->listener.frame != NULL) {
        lab->listener.frame(lab->listener.arg, node, to, body);
    }
    return true;
}

static void on_refuse(void *arg, uint32_t node, uint32_t peer,
                      const char *reason)
{
    struct lab *lab = ((struct lab_node *)arg)->lab;
    char line[256];
    lab->refused[peer][node] = true;
    lab->refused[node][peer] = true;
    (void)snprintf(line, sizeof line, "refuses node=%u reason=\"%s\"", peer,
                   reason);
    if (lab->listener.log != NULL) {
        lab->listener.log(lab->listener.arg, node, 1, line);
    }
}

static uint64_t *room_of(struct lab_node *node, uint64_t conn)
{
    ASSERT(conn < LAB_CONNS_MAX);
    return &node->rooms[conn];
}

static bool on_send(void *arg, uint32_t id, uint64_t conn, struct bytes body)
{
    struct lab_node *node = arg;
    struct lab *lab = node->lab;
    uint64_t *room = room_of(node, conn);
    if (*room < body.n) {
        return false;
    }
    if (*room != ROOM_UNLIMITED) {
        *room -= body.n;
    }
    if (lab->listener.client != NULL) {
        lab->listener.client(lab->listener.arg, id, conn, body);
    }
    return true;
}

static uint64_t on_room(void *arg, uint32_t id, uint64_t conn)
{
    (void)id;
    return *room_of(arg, conn);
}

static void push(struct lab_node *node, const struct transport_input *input)
{
    struct lab_input **at = &node->inputs;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    struct lab_input *i = calloc(1, sizeof *i);
    ASSERT(i != NULL);
    i->input = *input;
    i->input.body.data = copy_of(input->body);
    *at = i;
}

static void on_close(void *arg, uint32_t id, uint64_t conn, const char *reason)
{
    struct lab_node *node = arg;
    struct lab *lab = node->lab;
    if (lab->listener.closed != NULL) {
        lab->listener.closed(lab->listener.arg, id, conn, reason);
    }
    push(node, &(struct transport_input){.type = TRANSPORT_CLIENT_CLOSED,
                                         .conn = conn});
}

static void on_log(void *arg, int level, const char *line)
{
    const struct lab_node *node = arg;
    const struct lab_listener *l = &node->lab->listener;
    if (l->log != NULL) {
        l->log(l->arg, node->id, level, line);
    }
}

/* --- starting and ending -------------------------------------------------------------------------------------------------- */

static void default_options(struct lab *lab)
{
    struct turn_options *o = &lab->options;
    turn_options_default(o);
    o->cluster = 7;
    o->registry_limits = (struct registry_limits){
        .namespaces_n = 16,
        .groups_n = 256,
        .devices_n = 512,
        .sessions_n = 1024,
        .leases_n = 64,
        .window_blocks_n = 1024,
        .scope_extras_n = 1024,
        .session_extras_n = 1024,
        .states_n = 16,
    };
    o->entries_n = 1024;
    o->entries_bytes = 8u << 20;
    o->events_bytes = 1u << 20;
    o->pending_max = 256;
    o->reads_max = 256;
    o->watches_max = 16;
    o->watches_per_connection_max = 8;
    o->members_n = lab->founders_n;
    for (uint32_t i = 0; i < lab->founders_n; i++) {
        struct turn_member *m = &o->members[i];
        m->id = i + 1;
        (void)snprintf(m->peer, sizeof m->peer, "peer-%u:1", m->id);
        (void)snprintf(m->client, sizeof m->client, "client-%u:2", m->id);
        (void)snprintf(m->http, sizeof m->http, "http-%u:3", m->id);
    }
}

static void add_node(struct lab *lab, bool join)
{
    ASSERT(lab->n < LAB_NODES_MAX);
    struct lab_node *node = &lab->nodes[++lab->n];
    *node = (struct lab_node){.lab = lab, .id = lab->n, .join = join};
    node->disk = sim_disk_new(1000 + ++lab->incarnations);
    node->now_ms = TIME_START_MS;
    for (uint32_t i = 0; i < LAB_CONNS_MAX; i++) {
        node->rooms[i] = ROOM_UNLIMITED;
    }
}

void lab_init(struct lab *lab, uint32_t founders_n,
              const struct lab_listener *listener)
{
    memset(lab, 0, sizeof *lab);
    lab->founders_n = founders_n;
    lab->listener = *listener;
    default_options(lab);
    for (uint32_t i = 0; i < founders_n; i++) {
        add_node(lab, false);
    }
}

raft_id lab_join(struct lab *lab)
{
    uint64_t now_ms = lab->nodes[1].now_ms;
    add_node(lab, true);
    lab->nodes[lab->n].now_ms = now_ms;
    return lab->n;
}

static void ended(struct lab_node *node, const char *why)
{
    const struct lab_listener *l = &node->lab->listener;
    if (l->ended != NULL) {
        l->ended(l->arg, node->id, why);
    }
}

bool lab_start(struct lab *lab, raft_id id)
{
    struct lab_node *node = lab_node(lab, id);
    const struct lab_transport_hooks hooks = {
        .arg = node,
        .peer_send = on_peer_send,
        .peer_refuse = on_refuse,
        .send = on_send,
        .room = on_room,
        .close = on_close,
    };
    struct turn_options options = lab->options;
    struct store_boot boot;
    char error[512] = "";
    ASSERT(!node->up);
    options.id = id;
    options.seed = id;
    options.join = node->join;
    options.log = on_log;
    options.log_arg = node;
    node->store = sim_store_open(node->disk, &boot);
    sim_store_set_read_bytes(node->store, lab->read_bytes_max);
    const struct turn_start start = {
        .store = node->store, .boot = &boot, .now_ms = node->now_ms};
    node->turn = turn_open(&options, &start, error, sizeof error);
    if (node->turn == NULL) {
        sim_store_crash(node->store);
        node->store = NULL;
        ended(node, error);
        return false;
    }
    node->transport = lab_transport_new(id, &hooks);
    turn_set_transport(node->turn, node->transport, node->now_ms);
    node->up = true;
    node->stopping = false;
    turn_check(node->turn);
    return true;
}

static void free_frame(struct lab_frame *f)
{
    free(f->data);
    free(f);
}

/* A stream broke: what's on its way is lost. */
static void drop_frames(struct lab *lab, raft_id from, raft_id to)
{
    while (lab_lose(lab, from, to)) {
    }
}

static void free_inputs(struct lab_node *node)
{
    while (node->inputs != NULL) {
        struct lab_input *i = node->inputs;
        node->inputs = i->next;
        free((void *)(uintptr_t)i->input.body.data);
        free(i);
    }
}

/* Frees the node's parts; its streams go down with the next lab_link(). */
static void take_down(struct lab *lab, raft_id id)
{
    struct lab_node *node = lab_node(lab, id);
    turn_close(node->turn);
    sim_store_crash(node->store);
    lab_transport_free(node->transport);
    node->turn = NULL;
    node->store = NULL;
    node->transport = NULL;
    node->up = false;
    free_inputs(node);
    for (raft_id other = 1; other <= lab->n; other++) {
        drop_frames(lab, id, other);
        drop_frames(lab, other, id);
        if (lab->linked[other][id] && lab->nodes[other].up) {
            push(&lab->nodes[other],
                 &(struct transport_input){.type = TRANSPORT_PEER_DOWN,
                                           .node = id});
        }
        lab->linked[id][other] = false;
        lab->linked[other][id] = false;
        lab->refused[id][other] = false;
        lab->refused[other][id] = false;
    }
}

void lab_crash(struct lab *lab, raft_id id)
{
    if (lab_node(lab, id)->up) {
        take_down(lab, id);
    }
}

void lab_fini(struct lab *lab)
{
    for (raft_id id = 1; id <= lab->n; id++) {
        lab_crash(lab, id);
        sim_disk_free(lab->nodes[id].disk);
    }
    memset(lab, 0, sizeof *lab);
}

void lab_replace_disk(struct lab *lab, raft_id id, struct sim_disk *disk)
{
    struct lab_node *node = lab_node(lab, id);
    ASSERT(!node->up);
    sim_disk_free(node->disk);
    node->disk = disk != NULL ? disk : sim_disk_new(1000 + ++lab->incarnations);
}

/* --- turns ------------------------------------------------------------------------------------------------------------------- */

/* What came of the turn: the process goes on, or ends. */
static void after_turn(struct lab_node *node)
{
    const char *fatal = turn_fatal(node->turn);
    char why[512];
    if (fatal != NULL) {
        (void)snprintf(why, sizeof why, "%s", fatal);
        take_down(node->lab, node->id);
        ended(node, why);
        return;
    }
    turn_check(node->turn);
    if (node->stopping && turn_stopped(node->turn)) {
        /* As store_close() does. */
        while (sim_store_write(node->store)) {
        }
        take_down(node->lab, node->id);
        ended(node, "stopped");
    }
}

static void one_turn(struct lab_node *node)
{
    struct store_event event;
    if (node->gathers) {
        return;
    }
    turn_begin(node->turn, node->now_ms, LAB_WALL_MS + node->now_ms);
    while (store_next(node->store, &event)) {
        turn_store(node->turn, &event);
    }
    while (node->inputs != NULL) {
        struct lab_input *i = node->inputs;
        node->inputs = i->next;
        turn_clock(node->turn, node->now_ms);
        turn_input(node->turn, &i->input);
        free((void *)(uintptr_t)i->input.body.data);
        free(i);
    }
    turn_end(node->turn);
    after_turn(node);
}

void lab_stop(struct lab *lab, raft_id id)
{
    struct lab_node *node = lab_node(lab, id);
    ASSERT(node->up);
    node->stopping = true;
    turn_begin(node->turn, node->now_ms, LAB_WALL_MS + node->now_ms);
    turn_stop(node->turn);
    turn_end(node->turn);
    after_turn(node);
}

void lab_gather(struct lab *lab, raft_id id, bool on)
{
    struct lab_node *node = lab_node(lab, id);
    ASSERT(node->up && node->gathers != on);
    node->gathers = on;
    one_turn(node);
}

void lab_stall(struct lab *lab, raft_id id, uint64_t ms)
{
    struct lab_node *node = lab_node(lab, id);
    node->now_ms += ms;
    if (node->up) {
        one_turn(node);
    }
}

void lab_tick(struct lab *lab, raft_id id, uint64_t ms)
{
    while (ms > 0) {
        uint64_t step = min_u64(ms, LAB_STEP_MS);
        lab_stall(lab, id, step);
        ms -= step;
    }
}

bool lab_write(struct lab *lab, raft_id id)
{
    struct lab_node *node = lab_node(lab, id);
    char what[512];
    if (!node->up) {
        return false;
    }
    sim_store_text(node->store, what, sizeof what);
    if (!sim_store_write(node->store)) {
        return false;
    }
    if (lab->listener.stored != NULL) {
        lab->listener.stored(lab->listener.arg, id, what);
    }
    one_turn(node);
    return true;
}

void lab_client(struct lab *lab, raft_id id, uint64_t conn, struct bytes body)
{
    struct lab_node *node = lab_node(lab, id);
    push(node, &(struct transport_input){
                   .type = TRANSPORT_CLIENT_FRAME, .conn = conn, .body = body});
    one_turn(node);
}

void lab_client_close(struct lab *lab, raft_id id, uint64_t conn)
{
    struct lab_node *node = lab_node(lab, id);
    push(node, &(struct transport_input){.type = TRANSPORT_CLIENT_CLOSED,
                                         .conn = conn});
    one_turn(node);
}

void lab_set_room(struct lab *lab, raft_id id, uint64_t conn, uint64_t bytes)
{
    struct lab_node *node = lab_node(lab, id);
    *room_of(node, conn) = bytes;
    push(node, &(struct transport_input){.type = TRANSPORT_CLIENT_ROOM,
                                         .conn = conn});
    one_turn(node);
}

/* --- streams and frames ---------------------------------------------------------------------------------------------------------- */

static bool wanted(const struct lab *lab, raft_id from, raft_id to)
{
    const struct lab_node *a = &lab->nodes[from];
    return from != to && a->up && lab->nodes[to].up &&
           lab_transport_has_peer(a->transport, to) && !lab->cut[from][to] &&
           !lab->refused[from][to];
}

static void link_up(struct lab *lab, raft_id from, raft_id to)
{
    struct lab_node *a = lab_node(lab, from);
    struct lab_node *b = lab_node(lab, to);
    struct transport_input hello = {.type = TRANSPORT_PEER_HELLO,
                                    .node = from,
                                    .settings = turn_settings(a->turn)};
    struct transport_input up = {.type = TRANSPORT_PEER_UP,
                                 .node = to,
                                 .settings = turn_settings(b->turn)};
    sim_disk_identity(a->disk, &hello.incarnation, &hello.boot, &hello.lineage);
    sim_disk_identity(b->disk, &up.incarnation, &up.boot, &up.lineage);
    push(b, &hello);
    one_turn(b);
    if (!wanted(lab, from, to)) {
        return; /* sent away */
    }
    lab->linked[from][to] = true;
    push(a, &up);
    one_turn(a);
}

static void link_down(struct lab *lab, raft_id from, raft_id to)
{
    struct lab_node *a = lab_node(lab, from);
    drop_frames(lab, from, to);
    lab->linked[from][to] = false;
    if (a->up) {
        push(a, &(struct transport_input){.type = TRANSPORT_PEER_DOWN,
                                          .node = to});
        one_turn(a);
    }
}

bool lab_link(struct lab *lab)
{
    bool changed = false;
    for (raft_id from = 1; from <= lab->n; from++) {
        for (raft_id to = 1; to <= lab->n; to++) {
            bool want = wanted(lab, from, to);
            if (want == lab->linked[from][to]) {
                continue;
            }
            changed = true;
            if (want) {
                link_up(lab, from, to);
            } else {
                link_down(lab, from, to);
            }
        }
    }
    return changed;
}

/* Takes the oldest such frame out. */
static struct lab_frame *take(struct lab *lab, raft_id from, raft_id to)
{
    struct lab_frame **at = &lab->frames;
    while (*at != NULL && ((from != 0 && (*at)->from != from) ||
                           (to != 0 && (*at)->to != to))) {
        at = &(*at)->next;
    }
    struct lab_frame *f = *at;
    if (f != NULL) {
        *at = f->next;
    }
    return f;
}

bool lab_lose(struct lab *lab, raft_id from, raft_id to)
{
    struct lab_frame *f = take(lab, from, to);
    if (f == NULL) {
        return false;
    }
    free_frame(f);
    return true;
}

bool lab_deliver(struct lab *lab, raft_id from, raft_id to)
{
    struct lab_frame *f = take(lab, from, to);
    if (f == NULL) {
        return false;
    }
    struct lab_node *node = lab_node(lab, f->to);
    ASSERT(node->up); /* a crash drops them */
    push(node, &(struct transport_input){.type = TRANSPORT_PEER_FRAME,
                                         .node = f->from,
                                         .body = {f->data, f->n}});
    free_frame(f);
    one_turn(node);
    return true;
}

uint32_t lab_frames(const struct lab *lab, raft_id from, raft_id to)
{
    uint32_t n = 0;
    for (const struct lab_frame *f = lab->frames; f != NULL; f = f->next) {
        n += (from == 0 || f->from == from) && (to == 0 || f->to == to);
    }
    return n;
}

/* --- until nothing moves ------------------------------------------------------------------------------------------------------------ */

/* One node as far as it comes without the others. */
static bool settle_node(struct lab *lab, raft_id id)
{
    struct lab_node *node = lab_node(lab, id);
    bool moved = false;
    while (node->up && !node->held && lab_write(lab, id)) {
        moved = true;
    }
    while (node->up &&
           (node->inputs != NULL || sim_store_has_news(node->store))) {
        moved = true;
        one_turn(node);
    }
    return moved;
}

void lab_settle(struct lab *lab)
{
    uint32_t steps = 0;
    bool moved = true;
    while (moved) {
        moved = lab_link(lab);
        for (raft_id id = 1; id <= lab->n; id++) {
            moved = settle_node(lab, id) || moved;
        }
        moved = lab_deliver(lab, 0, 0) || moved;
        /* A node that has more to do right now (apply, watches) says so by its deadline; that alone keeps nobody going for ever. */
        for (raft_id id = 1; id <= lab->n && !moved; id++) {
            struct lab_node *node = lab_node(lab, id);
            if (node->up && steps < TURNS_AT_ONCE &&
                turn_deadline_ms(node->turn) <= node->now_ms) {
                steps++;
                one_turn(node);
                moved = true;
            }
        }
    }
}

void lab_run(struct lab *lab, uint64_t ms)
{
    lab_settle(lab);
    while (ms > 0) {
        uint64_t step = min_u64(ms, LAB_STEP_MS);
        for (raft_id id = 1; id <= lab->n; id++) {
            lab_stall(lab, id, step);
        }
        lab_settle(lab);
        ms -= step;
    }
}

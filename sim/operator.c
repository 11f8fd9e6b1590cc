#include "sim/operator.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/status.h"
#include "sim/oracle.h"
#include "sim/transport.h"

#define TASKS_MAX     8u
#define TRY_US        (3 * SIM_S)  /* then it asks another node */
#define GIVE_UP_US    (40 * SIM_S) /* then it's left undone */
#define PAUSE_MIN_US  (5 * SIM_MS)
#define PAUSE_MAX_US  (500 * SIM_MS)
#define REQUEST_BYTES 1024u
#define ARENA_BYTES   (1u << 20)

struct task {
    bool used;
    enum sim_verb verb;
    raft_id node;
    uint64_t until_us;
    raft_id asked; /* whom the stream goes to */
    struct sim_stream *stream;
    raft_index expected; /* 0: that's to be asked */
    uint64_t serial;     /* of the try; timers of older ones mean nothing */
};

struct sim_operator {
    struct sim_world *world;
    struct sim_random random;
    uint64_t requests;
    struct task tasks[TASKS_MAX];
    uint8_t *memory;
    struct arena arena;
};

struct sim_operator *sim_operator_new(struct sim_world *w)
{
    struct sim_operator *o = calloc(1, sizeof *o);
    ASSERT(o != NULL);
    o->world = w;
    o->random = sim_random_of(w->options.seed, SIM_FOR_OPERATOR, 0);
    o->memory = malloc(ARENA_BYTES);
    ASSERT(o->memory != NULL);
    arena_init(&o->arena, o->memory, ARENA_BYTES);
    return o;
}

void sim_operator_free(struct sim_operator *o)
{
    free(o->memory);
    free(o);
}

/* --- tries ------------------------------------------------------------------------------------------------------------------------ */

static void later(struct sim_operator *o, const struct task *t, uint64_t us,
                  void (*happen)(void *arg, uint64_t a, uint64_t b))
{
    sim_world_later(o->world, us,
                    &(struct sim_event){.happen = happen,
                                        .arg = o,
                                        .a = (uint64_t)(t - o->tasks),
                                        .b = t->serial});
}

static void hang_up(struct sim_operator *o, struct task *t)
{
    if (t->stream != NULL) {
        sim_net_close(o->world->net, t->stream, 0, "closed");
        t->stream = NULL;
    }
    t->serial++;
}

static void done(struct sim_operator *o, struct task *t)
{
    hang_up(o, t);
    t->used = false;
}

/* One of those that were ever set up; it knows where they are, not how. */
static raft_id anyone(struct sim_operator *o)
{
    struct sim_world *w = o->world;
    raft_id id = 0;
    do {
        id = (raft_id)sim_between(&o->random, 1, w->nodes_n);
    } while (!w->nodes[id].ready);
    return id;
}

static void again(void *arg, uint64_t task, uint64_t serial);

static void give_up_try(void *arg, uint64_t task, uint64_t serial);

static void begin_try(struct sim_operator *o, struct task *t, raft_id node)
{
    hang_up(o, t);
    t->asked = node;
    t->stream = sim_net_dial(o->world->net, SIM_CLIENT, SIM_HOST_OF_OPERATOR,
                             node, NULL);
    later(o, t, TRY_US, give_up_try);
}

static void try_later(struct sim_operator *o, struct task *t)
{
    hang_up(o, t);
    t->expected = 0;
    if (o->world->now_us >= t->until_us) {
        t->used = false;
        return;
    }
    later(o, t, sim_magnitude(&o->random, PAUSE_MIN_US, PAUSE_MAX_US), again);
}

static void again(void *arg, uint64_t task, uint64_t serial)
{
    struct sim_operator *o = arg;
    struct task *t = &o->tasks[task];
    if (t->used && t->serial == serial) {
        /* Often it was right, and had its reasons. */
        begin_try(o, t, sim_chance(&o->random, 500) ? t->asked : anyone(o));
    }
}

static void give_up_try(void *arg, uint64_t task, uint64_t serial)
{
    struct sim_operator *o = arg;
    struct task *t = &o->tasks[task];
    if (t->used && t->serial == serial) {
        t->asked = anyone(o);
        try_later(o, t);
    }
}

void sim_operator_ask(struct sim_operator *o, enum sim_verb verb, raft_id node,
                      raft_id via)
{
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        struct task *t = &o->tasks[i];
        if (!t->used) {
            *t = (struct task){.used = true,
                               .verb = verb,
                               .node = node,
                               .until_us = o->world->now_us + GIVE_UP_US,
                               .serial = t->serial};
            begin_try(o, t, via != 0 ? via : anyone(o));
            return;
        }
    }
}

bool sim_operator_busy(const struct sim_operator *o)
{
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        if (o->tasks[i].used) {
            return true;
        }
    }
    return false;
}

void sim_operator_stop(struct sim_operator *o)
{
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        if (o->tasks[i].used) {
            done(o, &o->tasks[i]);
        }
    }
}

/* --- what it asks ----------------------------------------------------------------------------------------------------------------- */

static void send(struct sim_operator *o, struct task *t,
                 Pb__ClientRequest *request)
{
    uint8_t correlation[CORRELATION_N] = {0};
    uint8_t body[REQUEST_BYTES];
    request->version = PROTOCOL_VERSION;
    request->id = ++o->requests;
    request->correlation_id =
        codec_binary((struct bytes){correlation, sizeof correlation});
    size_t n = codec_encode(&request->base, body, sizeof body);
    ASSERT(n > 0);
    if (!sim_net_send(o->world->net, t->stream, 0, (struct bytes){body, n})) {
        try_later(o, t);
    }
}

static void ask_status(struct sim_operator *o, struct task *t)
{
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    Pb__GetStatus get = PB__GET_STATUS__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_GET_STATUS;
    request.get_status = &get;
    send(o, t, &request);
}

static void ask_change(struct sim_operator *o, struct task *t)
{
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    Pb__ChangeMembers change = PB__CHANGE_MEMBERS__INIT;
    Pb__Member member = PB__MEMBER__INIT;
    Pb__Member *members = &member;
    char addresses[3][SIM_ADDRESS_BYTES];
    sim_address(t->node, SIM_PEER_PORT, addresses[0]);
    sim_address(t->node, SIM_CLIENT_PORT, addresses[1]);
    sim_address(t->node, SIM_HTTP_PORT, addresses[2]);
    change.expected = t->expected;
    if (t->verb == SIM_ADD) {
        member.node = t->node;
        member.peer = addresses[0];
        member.client = addresses[1];
        member.http = addresses[2];
        change.add_learners = &members;
        change.n_add_learners = 1;
    } else if (t->verb == SIM_PROMOTE) {
        change.promote = &t->node;
        change.n_promote = 1;
    } else {
        ASSERT(t->verb == SIM_REMOVE);
        change.remove = &t->node;
        change.n_remove = 1;
    }
    request.op_case = PB__CLIENT_REQUEST__OP_CHANGE_MEMBERS;
    request.change_members = &change;
    send(o, t, &request);
}

/* --- what it's told --------------------------------------------------------------------------------------------------------------- */

static void on_status(struct sim_operator *o, struct task *t,
                      const Pb__StatusResult *s)
{
    t->expected = s->config;
    if (t->expected == 0) {
        t->asked = anyone(o); /* a node that waits to be added knows none */
        try_later(o, t);
        return;
    }
    ask_change(o, t);
}

static void on_not_leader(struct sim_operator *o, struct task *t,
                          raft_id leader)
{
    if (leader != 0 && leader <= o->world->nodes_n && leader != t->asked) {
        begin_try(o, t, leader);
        return;
    }
    t->asked = anyone(o);
    try_later(o, t);
}

/* There's nothing to do, or nothing that could be done. */
static bool is_settled(uint32_t reason)
{
    return reason == REASON_MEMBER_ALREADY || reason == REASON_NO_LEARNER ||
           reason == REASON_NO_MEMBER || reason == REASON_LAST_VOTER;
}

static struct task *task_of(struct sim_operator *o, const struct sim_stream *s)
{
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        if (o->tasks[i].used && o->tasks[i].stream == s) {
            return &o->tasks[i];
        }
    }
    return NULL;
}

void sim_operator_up(struct sim_operator *o, struct sim_stream *s)
{
    struct task *t = task_of(o, s);
    if (t != NULL && t->expected == 0) {
        ask_status(o, t);
    } else if (t != NULL) {
        ask_change(o, t);
    }
}

void sim_operator_frame(struct sim_operator *o, struct sim_stream *s,
                        struct bytes body)
{
    struct task *t = task_of(o, s);
    if (t == NULL) {
        return;
    }
    arena_reset(&o->arena);
    const Pb__ClientMessage *m = codec_decode_message(body, &o->arena);
    if (m == NULL) {
        sim_world_fail(o->world, SIM_UNSAFE, "R19",
                       "node %u answers the operator with a frame that can't "
                       "be decoded",
                       t->asked);
    } else if (m->result_case == PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT) {
        on_status(o, t, m->status_result);
    } else if (m->result_case == PB__CLIENT_MESSAGE__RESULT_CHANGE) {
        oracle_changed(o->world, m->change->config);
        done(o, t);
    } else if (m->status == PB__STATUS__NOT_LEADER) {
        on_not_leader(o, t, m->leader);
    } else if (is_settled(m->reason)) {
        done(o, t);
    } else {
        try_later(o, t);
    }
}

void sim_operator_down(struct sim_operator *o, struct sim_stream *s)
{
    struct task *t = task_of(o, s);
    if (t != NULL) {
        t->stream = NULL;
        t->asked = anyone(o);
        try_later(o, t);
    }
}

#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"
#include "proto/address.h"
#include "raft/config.h"

/* How far behind a learner may be when it's made a voter: what's on its way in a busy moment. */
#define CLOSE_ENTRIES 1000u
/* Who is no member, and said so long ago where it is, isn't dialled any more. */
#define MET_MS 60000u

/* Who's in the cluster, where they are, and who leads it: changes that an operator asks for. */

const struct turn_member *turn_member_find(const struct turn *t, raft_id id)
{
    for (uint32_t i = 0; i < t->members_n; i++) {
        if (id != 0 && t->members[i].id == id) {
            return &t->members[i];
        }
    }
    return NULL;
}

static void copy_address(char out[TURN_ADDRESS_BYTES], const char *address)
{
    struct bytes b = codec_text(address);
    if (b.n > 0 && b.n < TURN_ADDRESS_BYTES) {
        memcpy(out, b.data, b.n);
        out[b.n] = 0;
    }
}

/* A new place, or that of one who left. NULL: all are members. */
static struct turn_member *place_for_member(struct turn *t)
{
    if (t->members_n < countof(t->members)) {
        return &t->members[t->members_n++];
    }
    if (t->raft == NULL) {
        return NULL; /* at boot, before the core knows who is a member */
    }
    for (uint32_t i = 0; i < t->members_n; i++) {
        raft_id id = t->members[i].id;
        if (id != t->options.id && !turn_is_member(t, id)) {
            return &t->members[i];
        }
    }
    return NULL;
}

/* Its addresses, as a configuration names them; empty ones leave what's known. False: there's no room, or it's no node. */
static bool member_learn(struct turn *t, const Pb__Member *member)
{
    struct turn_member *m = NULL;
    if (member->node == 0) {
        return false;
    }
    for (uint32_t i = 0; i < t->members_n; i++) {
        m = t->members[i].id == member->node ? &t->members[i] : m;
    }
    if (m == NULL) {
        m = place_for_member(t);
        if (m == NULL) {
            return false;
        }
        memset(m, 0, sizeof *m);
        m->id = member->node;
        t->met_ms[m - t->members] = 0;
    }
    copy_address(m->peer, member->peer);
    copy_address(m->client, member->client);
    copy_address(m->http, member->http);
    return true;
}

void turn_request_transfer(struct turn *t, uint64_t conn,
                           const Pb__ClientRequest *request)
{
    struct raft_in in = turn_in(t);
    raft_id to = request->transfer->node;
    enum baton_status status = BATON_BUSY;
    if (t->transfer_conn == 0) {
        status = raft_transfer(t->raft, &in, to, &t->out);
    }
    if (status == BATON_OK) {
        t->transfer_conn = conn;
        t->transfer_id = request->id;
    } else if (status == BATON_NOT_LEADER) {
        answer_not_leader(t, conn, request->id);
    } else if (status == BATON_NOT_FOUND && to == t->options.id) {
        Pb__ClientMessage m;
        Pb__ChangeResult r = PB__CHANGE_RESULT__INIT;
        answer_init(t, &m, request->id);
        r.leader = to;
        r.term = raft_term_now(t->raft);
        m.result_case = PB__CLIENT_MESSAGE__RESULT_CHANGE;
        m.change = &r;
        (void)answer_send(t, conn, &m);
    } else {
        answer_refuse(t, conn, request->id,
                      (struct refusal){status,
                                       status == BATON_NOT_FOUND
                                           ? REASON_UNKNOWN_NODE
                                           : REASON_NONE,
                                       (int64_t)to});
    }
    t->incoming = NULL;
    turn_act(t);
}

/* The log's configurations name addresses; they win over what this node was started with. */
void turn_members_learn(struct turn *t, const Pb__ConfigData *config)
{
    for (size_t i = 0; i < config->n_members; i++) {
        (void)member_learn(t, config->members[i]);
    }
}

/* --- membership ------------------------------------------------------------------------------------------------------------ */

static bool nodes_add(struct raft_nodes *nodes, raft_id id)
{
    if (id == 0 || nodes->n == RAFT_NODES_MAX || nodes_has(nodes, id)) {
        return false;
    }
    uint32_t at = nodes->n++;
    while (at > 0 && nodes->ids[at - 1] > id) {
        nodes->ids[at] = nodes->ids[at - 1];
        at--;
    }
    nodes->ids[at] = id;
    return true;
}

static bool nodes_remove(struct raft_nodes *nodes, raft_id id)
{
    for (uint32_t i = 0; i < nodes->n; i++) {
        if (nodes->ids[i] == id) {
            memmove(&nodes->ids[i], &nodes->ids[i + 1],
                    (nodes->n - i - 1) * sizeof nodes->ids[0]);
            nodes->n--;
            return true;
        }
    }
    return false;
}

static bool may_be_dialled(const char *address)
{
    return address_ok(address, false) && strlen(address) < TURN_ADDRESS_BYTES;
}

/* What's wrong with a new member: under this number it couldn't start, there nobody would reach it. Where clients and HTTP find it, it
 * says itself too. */
static enum baton_reason fault_of(const Pb__Member *m)
{
    if (m->node == 0 || m->node > NODE_MAX) {
        return REASON_NODE;
    }
    if (!may_be_dialled(m->peer)) {
        return REASON_PEER_ADDRESS;
    }
    if (m->client[0] != 0 && !may_be_dialled(m->client)) {
        return REASON_CLIENT_ADDRESS;
    }
    return m->http[0] != 0 && !may_be_dialled(m->http) ? REASON_HTTP_ADDRESS
                                                       : REASON_NONE;
}

/* Of the first new member that has one. */
static struct refusal fault_in(const Pb__ChangeMembers *change)
{
    for (size_t i = 0; i < change->n_add_learners; i++) {
        const Pb__Member *m = change->add_learners[i];
        if (fault_of(m) != REASON_NONE) {
            return (struct refusal){BATON_INVALID, fault_of(m),
                                    (int64_t)m->node};
        }
    }
    return (struct refusal){BATON_OK, REASON_NONE, 0};
}

bool turn_met_lately(const struct turn *t, const struct turn_member *m)
{
    const uint64_t met_ms = t->met_ms[m - t->members];
    return met_ms != 0 && t->now_ms < met_ms + MET_MS;
}

/* A node that was away doesn't know who joined meanwhile, and couldn't answer a new leader, or a new candidate. Where the log names an address,
 * that holds. */
void turn_member_met(struct turn *t, raft_id node, const Pb__Member *sender)
{
    const struct turn_member *m = turn_member_find(t, node);
    if (sender->node != node || node == t->options.id ||
        fault_of(sender) != REASON_NONE ||
        (turn_is_member(t, node) && m != NULL && m->peer[0] != 0) ||
        !member_learn(t, sender)) {
        return;
    }
    m = turn_member_find(t, node);
    const bool known = turn_met_lately(t, m);
    t->met_ms[m - t->members] = max_u64(t->now_ms, 1);
    if (!known) {
        turn_members_changed(t);
    }
}

static bool same_address(const char *a, const char *b)
{
    return a[0] != 0 && strcmp(a, b) == 0;
}

/* Who has one of these addresses, for whatever; 0: nobody. */
static raft_id who_has(const struct turn *t, const Pb__Member *m)
{
    const char *const theirs[] = {m->peer, m->client, m->http};
    for (size_t a = 0; a < countof(theirs); a++) {
        for (size_t b = a + 1; b < countof(theirs); b++) {
            if (same_address(theirs[a], theirs[b])) {
                return m->node;
            }
        }
        for (uint32_t i = 0; i < t->members_n; i++) {
            const struct turn_member *o = &t->members[i];
            if (o->id != m->node && turn_is_member(t, o->id) &&
                (same_address(theirs[a], o->peer) ||
                 same_address(theirs[a], o->client) ||
                 same_address(theirs[a], o->http))) {
                return o->id;
            }
        }
    }
    return 0;
}

static struct refusal refuse_node(enum baton_status status,
                                  enum baton_reason reason, raft_id node)
{
    return (struct refusal){status, reason, (int64_t)node};
}

/* The sets that a change asks for; or why it can't be done. */
static struct refusal target(const struct turn *t,
                             const Pb__ChangeMembers *change,
                             struct raft_nodes *voters,
                             struct raft_nodes *learners)
{
    for (size_t i = 0; i < change->n_add_learners; i++) {
        const Pb__Member *m = change->add_learners[i];
        if (nodes_has(voters, m->node) || !nodes_add(learners, m->node)) {
            return refuse_node(BATON_CONFLICT, REASON_MEMBER_ALREADY, m->node);
        }
        if (who_has(t, m) != 0) {
            return refuse_node(BATON_CONFLICT, REASON_ADDRESS_TAKEN,
                               who_has(t, m));
        }
    }
    for (size_t i = 0; i < change->n_promote; i++) {
        raft_id node = change->promote[i];
        if (!nodes_remove(learners, node) || !nodes_add(voters, node)) {
            return refuse_node(BATON_CONFLICT, REASON_NO_LEARNER, node);
        }
    }
    for (size_t i = 0; i < change->n_remove; i++) {
        raft_id node = change->remove[i];
        if (!nodes_remove(learners, node) && !nodes_remove(voters, node)) {
            return refuse_node(BATON_NOT_FOUND, REASON_NO_MEMBER, node);
        }
    }
    bool fits = voters->n > 0 && voters->n + learners->n <= RAFT_NODES_MAX;
    return refuse_node(fits ? BATON_OK : BATON_CONFLICT,
                       fits ? REASON_NONE : REASON_LAST_VOTER, 0);
}

/* A learner that's made a voter before it has the log would leave the cluster one failure from a standstill. Entries that the
 * furthest one behind of those to be promoted lacks; 0: all are close enough. */
static uint64_t behind(struct turn *t, const Pb__ChangeMembers *change)
{
    struct raft_peer_view views[RAFT_NODES_MAX * 2];
    uint32_t n = raft_peers(t->raft, views);
    uint64_t most = 0;
    for (size_t i = 0; i < change->n_promote; i++) {
        for (uint32_t v = 0; v < n; v++) {
            uint64_t lacks = views[v].id == change->promote[i]
                                 ? raft_last(t->raft) - views[v].match
                                 : 0;
            most = max_u64(most, lacks > CLOSE_ENTRIES ? lacks : 0);
        }
    }
    return most;
}

void turn_request_members(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request)
{
    const Pb__ChangeMembers *change = request->change_members;
    const struct raft_config *now = raft_config_now(t->raft);
    struct raft_nodes voters = now->voters;
    struct raft_nodes learners = now->learners;
    if (raft_role_now(t->raft) != RAFT_LEADER) {
        answer_not_leader(t, conn, request->id);
        return;
    }
    if (t->member_conn != 0) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_CONFLICT, REASON_CONFIG_RUNNING,
                                       (int64_t)now->index});
        return;
    }
    struct refusal fault = fault_in(change);
    if (fault.status == BATON_OK) {
        fault = target(t, change, &voters, &learners);
    }
    if (fault.status != BATON_OK) {
        answer_refuse(t, conn, request->id, fault);
        return;
    }
    if (behind(t, change) > 0) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_CONFLICT, REASON_LEARNER_BEHIND,
                                       (int64_t)behind(t, change)});
        return;
    }
    struct raft_config config;
    raft_index index = 0;
    struct raft_in in = turn_in(t);
    enum baton_status status = raft_propose_config(
        t->raft, &in, change->expected == 0 ? now->index : change->expected,
        &voters, &learners, &t->out, &config, &index);
    if (status != BATON_OK) {
        turn_act(t);
        answer_refuse(t, conn, request->id,
                      (struct refusal){status,
                                       status == BATON_CONFLICT
                                           ? REASON_CONFIG_INDEX
                                           : REASON_NONE,
                                       (int64_t)now->index});
        return;
    }
    for (size_t i = 0; i < change->n_add_learners; i++) {
        (void)member_learn(t, change->add_learners[i]);
    }
    t->member_conn = conn;
    t->member_id = request->id;
    t->member_index = index;
    t->member_term = raft_term_now(t->raft);
    turn_put_config(t, &config, index);
    /* At once, and behind the change: its number may be given to another before the next look. */
    for (size_t i = 0; i < change->n_remove; i++) {
        turn_forget_node(t, change->remove[i]);
    }
}

/* The last configuration that we proposed is committed; a leader that removed itself has stepped down by then. */
static bool members_done(const struct turn *t)
{
    return raft_commit(t->raft) >= t->member_index &&
           raft_term_at(t->raft, t->member_index) == t->member_term &&
           raft_config_now(t->raft)->voters_old.n == 0;
}

/* Leaves a joint configuration once it's committed, and answers who asked once nothing is left to do. */
void turn_members_tick(struct turn *t)
{
    if (raft_config_leave(t->raft)) {
        struct raft_config config;
        raft_index index = 0;
        struct raft_in in = turn_in(t);
        if (raft_propose_leave(t->raft, &in, &t->out, &config, &index) ==
            BATON_OK) {
            t->member_index = index;
            t->member_term = raft_term_now(t->raft);
            turn_put_config(t, &config, index);
        } else {
            turn_act(t);
        }
    }
    if (t->member_conn == 0) {
        return;
    }
    if (members_done(t)) {
        Pb__ClientMessage m;
        Pb__ChangeResult r = PB__CHANGE_RESULT__INIT;
        answer_init(t, &m, t->member_id);
        r.leader = raft_leader(t->raft);
        r.term = raft_term_now(t->raft);
        r.config = raft_config_now(t->raft)->index;
        m.result_case = PB__CLIENT_MESSAGE__RESULT_CHANGE;
        m.change = &r;
        (void)answer_send(t, t->member_conn, &m);
        t->member_conn = 0;
    } else if (raft_role_now(t->raft) != RAFT_LEADER) {
        answer_refuse(t, t->member_conn, t->member_id,
                      (struct refusal){BATON_UNKNOWN, REASON_NONE, 0});
        t->member_conn = 0;
    }
}

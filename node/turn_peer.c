#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"
#include "raft/config.h"

#define APPEND_ENTRIES_MAX 65536u

bool turn_is_member(const struct turn *t, raft_id node)
{
    const struct raft_config *config = raft_config_now(t->raft);
    return nodes_has(&config->voters, node) ||
           nodes_has(&config->voters_old, node) ||
           nodes_has(&config->learners, node);
}

/* Nobody needs what it has: a member may need the place. */
static bool is_idle(const struct turn *t, const struct catchup *c)
{
    return c->node == 0 || (!c->up && !turn_is_member(t, c->node));
}

struct catchup *turn_catchup(struct turn *t, raft_id node)
{
    struct catchup *place = NULL;
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        struct catchup *c = &t->catchups[i];
        if (c->node == node) {
            return c;
        }
        if (is_idle(t, c) &&
            (place == NULL || (place->node != 0 && c->node == 0))) {
            place = c;
        }
    }
    if (place != NULL) {
        memset(place, 0, sizeof *place);
        place->node = node;
    }
    return place;
}

/* --- who the peers are ------------------------------------------------------------------------------------------------ */

/* Who's in the configuration; and who leads, in it or not: a leader that removes itself still needs our acks to commit that. And whoever
 * speaks to us and waits for an answer: its configuration may be later than ours. */
static bool is_peer(const struct turn *t, const struct turn_member *m)
{
    /* A node that waits to be added knows no configuration: it answers whom it was told of at the start. */
    bool any = raft_config_now(t->raft)->voters.n == 0;
    return m->id != t->options.id && m->peer[0] != 0 &&
           (any || m->id == t->peers_leader || turn_is_member(t, m->id) ||
            turn_met_lately(t, m));
}

/* Of every member that said which settings it has: some may have become members, or left. */
static void compare_settings(struct turn *t)
{
    t->settings_agree = true;
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        const struct catchup *c = &t->catchups[i];
        if (c->settings[0] == 0 || !turn_is_member(t, c->node) ||
            strcmp(c->settings, t->settings) == 0) {
            continue;
        }
        t->settings_agree = false;
        turn_alarm(t, c->node,
                   "settings differ: node %u has %s, and this node %s; give "
                   "all nodes the same",
                   c->node, c->settings, t->settings);
    }
}

void turn_members_changed(struct turn *t)
{
    struct transport_peer peers[RAFT_NODES_MAX * 2];
    size_t n = 0;
    t->peers_leader = raft_leader(t->raft);
    for (uint32_t i = 0; i < t->members_n; i++) {
        const struct turn_member *m = &t->members[i];
        if (!is_peer(t, m)) {
            continue;
        }
        peers[n].node = m->id;
        memcpy(peers[n].address, m->peer, sizeof peers[n].address);
        n++;
    }
    transport_set_peers(t->transport, peers, n);
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        struct catchup *c = &t->catchups[i];
        c->spoke = c->spoke && turn_is_member(t, c->node);
    }
    compare_settings(t);
    turn_alarms_end_of_strangers(t);
}

/* What the registry knows of a node's past; while the log's tail from before our start isn't applied, what that tail says. */
static bool past_of(const struct turn *t, raft_id node, struct node_past *out)
{
    bool seen = registry_node(t->registry, node, out);
    for (uint32_t i = 0; t->applied < t->tail_last && i < t->tail_seen_n; i++) {
        const struct tail_seen *last = &t->tail_seen[i];
        if (last->node == node && last->gone) {
            seen = false;
        } else if (last->node == node && last->past.incarnation != 0) {
            *out = last->past;
            seen = true;
        }
    }
    return seen;
}

bool turn_draw(struct turn *t)
{
    struct node_past past;
    return !past_of(t, t->options.id, &past) ||
           past.incarnation != t->me.incarnation ||
           past.record.own != t->me.lineage.own ||
           store_draw(t->store, past.record.boot, &t->me.lineage);
}

/* R21: a node with another data directory, or an older image of its own, may have forgotten votes and acks. */
static bool is_older(const struct node_past *past, const struct peer_self *self)
{
    return past->record.boot > self->boot ||
           !lineage_shows(&self->lineage, &past->record);
}

static bool refuse_amnesia(struct turn *t, raft_id node,
                           const struct peer_self *self)
{
    struct node_past past;
    if (!past_of(t, node, &past)) {
        return false;
    }
    if (past.incarnation != self->incarnation) {
        turn_alarm(t, node,
                   "node %u came back with another data directory: refused; "
                   "remove it from the cluster and add it anew",
                   node);
        transport_peer_refuse(t->transport, node,
                              "another data directory than this node had");
        return true;
    }
    if (is_older(&past, self)) {
        turn_alarm(t, node,
                   "node %u came back with an older image of its data: "
                   "refused (it doesn't know of start %llu); remove it from "
                   "the cluster and add it anew",
                   node, (unsigned long long)past.record.boot);
        transport_peer_refuse(t->transport, node,
                              "an older image of its data directory");
        return true;
    }
    return false;
}

bool turn_peer_refused(struct turn *t, const struct transport_input *input)
{
    const struct peer_self self = {input->incarnation, input->boot,
                                   input->lineage};
    return refuse_amnesia(t, input->node, &self);
}

void turn_peer_hello(struct turn *t, const struct transport_input *input)
{
    if (turn_peer_refused(t, input)) {
        return;
    }
    struct catchup *c = turn_catchup(t, input->node);
    if (c != NULL && c->self.incarnation != input->incarnation &&
        c->quarantined) {
        /* Another one under this number: what was wrong with the one before is over. */
        c->quarantined = false;
        c->verdict[0] = 0;
        raft_quarantine(t->raft, input->node, false);
    }
    if (c != NULL) {
        c->self =
            (struct peer_self){input->incarnation, input->boot, input->lineage};
        c->spoke = false;
        (void)snprintf(c->settings, sizeof c->settings, "%s", input->settings);
        /* It was let in: unless it was found wrong itself, what was said of it is over. */
        if (!c->quarantined) {
            turn_alarms_end(t, c->node);
        }
        compare_settings(t);
    }
}

/* A node is about to be forgotten, since it was removed: so is what it said of itself, unless another one has spoken under its number since. */
void turn_node_seen(struct turn *t, const Pb__NodeSeen *seen)
{
    struct node_past past;
    struct catchup *c = turn_catchup(t, seen->node);
    if (c != NULL && seen->incarnation == 0 &&
        registry_node(t->registry, seen->node, &past) &&
        c->self.incarnation == past.incarnation) {
        c->self.incarnation = 0;
    }
}

/* After the registry learned something of nodes: what one said of itself may be from before its last start, since whoever told us of that
 * start heard of it sooner. Or it's an older image, which we took for the node. What it says when it comes again will tell. */
void turn_check_peers(struct turn *t)
{
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        struct catchup *c = &t->catchups[i];
        struct node_past past;
        if (c->node == 0 || c->self.incarnation == 0 ||
            !past_of(t, c->node, &past)) {
            continue;
        }
        if (past.incarnation != c->self.incarnation) {
            if (refuse_amnesia(t, c->node, &c->self)) {
                c->self.incarnation = 0;
            }
        } else if (is_older(&past, &c->self)) {
            transport_peer_refuse(t->transport, c->node,
                                  "it was started again since");
            c->self.incarnation = 0;
        }
    }
}

/* --- entries -------------------------------------------------------------------------------------------------------------- */

static bool entry_is_sane(const Pb__LogEntry *e, raft_index index)
{
    return e->index == index && e->term > 0 && e->kind >= RAFT_NORMAL &&
           e->kind <= RAFT_CONFIG;
}

/* The entries of an APPEND as the core sees them. NULL: something in it isn't as it must be. */
static struct raft_entry *
decode_entries(struct turn *t, const Pb__PeerFrame *frame, size_t *out_bytes)
{
    size_t n = frame->n_entries;
    struct raft_entry *entries =
        arena_alloc(&t->input, (n + 1) * sizeof *entries);
    if (entries == NULL || n > APPEND_ENTRIES_MAX) {
        return NULL;
    }
    uint64_t chain = frame->chain;
    *out_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const Pb__LogEntry *e = frame->entries[i];
        if (!entry_is_sane(e, frame->index + 1 + i)) {
            return NULL;
        }
        struct store_entry whole = {
            e->index,   e->term,  (enum raft_kind)e->kind,
            e->time_ms, e->chain, codec_bytes(e->data)};
        if (chain != 0 && store_chain(chain, &whole) != e->chain) {
            return NULL;
        }
        chain = e->chain;
        *out_bytes += e->data.len;
        entries[i] = (struct raft_entry){e->term, whole.kind, NULL};
        if (whole.kind == RAFT_CONFIG) {
            struct raft_config *config = arena_alloc(&t->input, sizeof *config);
            Pb__ConfigData *message = NULL;
            if (config == NULL ||
                !wire_to_config(whole.data, e->index, &t->input, config,
                                &message)) {
                return NULL;
            }
            turn_members_learn(t, message);
            entries[i].config = config;
        }
    }
    return entries;
}

/* R5: equal (index, term) means equal history. Where ours and the leader's part under the same name, one of us is wrong, and it's
 * not the quorum's. */
static bool chain_agrees(struct turn *t, raft_id from,
                         const Pb__PeerFrame *frame)
{
    uint64_t ours = 0;
    if (frame->chain == 0 || frame->term < raft_term_now(t->raft) ||
        raft_term_at(t->raft, frame->index) != frame->log_term ||
        !entries_chain(t->entries, frame->index, &ours) ||
        ours == frame->chain) {
        return true;
    }
    char reason[160];
    (void)snprintf(reason, sizeof reason,
                   "the log differs from node %u's at index %llu of term "
                   "%llu%s",
                   from, (unsigned long long)frame->index,
                   (unsigned long long)frame->log_term,
                   frame->index == 1
                       ? ": the nodes were first started with different peers"
                       : "");
    turn_quarantine(t, reason);
    return false;
}

static void receive_append(struct turn *t, const Pb__PeerFrame *frame,
                           struct raft_message *m)
{
    size_t bytes_n = 0;
    if (t->installing || !chain_agrees(t, m->from, frame)) {
        return;
    }
    struct raft_entry *entries = decode_entries(t, frame, &bytes_n);
    if (entries == NULL) {
        t->counters.undecodable++;
        turn_log(t, 1,
                 "append_refused from=%u index=%llu entries=%zu "
                 "reason=\"malformed, or the chain of hashes is broken\"",
                 m->from, (unsigned long long)frame->index, frame->n_entries);
        return;
    }
    if (!entries_fits(t->entries, (uint32_t)frame->n_entries, bytes_n,
                      t->applied) ||
        store_room(t->store) < bytes_n) {
        return; /* the leader sends it again */
    }
    m->entries = entries;
    m->entries_n = (uint32_t)frame->n_entries;
    struct raft_in in = turn_in(t);
    t->incoming = frame;
    raft_receive(t->raft, &in, m, &t->out);
    turn_act(t);
    t->incoming = NULL;
}

/* --- state hashes ------------------------------------------------------------------------------------------------------------ */

static const struct state_hash *hash_at(const struct turn *t, raft_index index)
{
    for (uint32_t i = 0; i < t->hashes_n; i++) {
        if (t->hashes[i].index == index) {
            return &t->hashes[i];
        }
    }
    return NULL;
}

/* S17: every replica has the same state at the same index. The leader compares; who stands against the majority is wrong. */
static void compare_hash(struct turn *t, raft_id from, raft_index index,
                         uint64_t hash)
{
    const struct state_hash *ours = index == 0 ? NULL : hash_at(t, index);
    if (ours == NULL || raft_role_now(t->raft) != RAFT_LEADER) {
        return;
    }
    struct catchup *c = turn_catchup(t, from);
    if (c == NULL) {
        return;
    }
    c->hash_index = index;
    c->hash = hash;
    if (hash == ours->hash) {
        return;
    }
    uint32_t with = 1;
    uint32_t against = 0;
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        if (t->catchups[i].node != 0 && t->catchups[i].hash_index == index) {
            with += t->catchups[i].hash == ours->hash;
            against += t->catchups[i].hash == hash;
        }
    }
    char reason[160];
    (void)snprintf(reason, sizeof reason,
                   "state differs between nodes %u and %u at index %llu",
                   t->options.id, from, (unsigned long long)index);
    if (against > with) {
        turn_quarantine(t, reason);
    } else if (with > against && !c->quarantined) {
        c->quarantined = true;
        memcpy(c->verdict, reason, sizeof c->verdict);
        raft_quarantine(t->raft, from, true);
        turn_alarm(t, from,
                   "%s: node %u is no longer counted; stop it, remove it "
                   "and add it anew",
                   reason, from);
    }
}

/* --- frames -------------------------------------------------------------------------------------------------------------------- */

static void receive_other(struct turn *t, raft_id from,
                          const Pb__PeerFrame *frame)
{
    struct raft_message m;
    if (!wire_to_message(frame, from, t->options.id, &m)) {
        t->counters.undecodable++;
        turn_log(t, 1,
                 "peer_frame_refused from=%u type=%u "
                 "reason=\"unknown type\"",
                 from, frame->type);
        return;
    }
    if (m.type == RAFT_APPEND) {
        receive_append(t, frame, &m);
        return;
    }
    struct raft_in in = turn_in(t);
    t->incoming = NULL;
    raft_receive(t->raft, &in, &m, &t->out);
    turn_act(t);
    if (m.type == RAFT_SNAPSHOT && frame->chunk != NULL &&
        m.term == raft_term_now(t->raft)) {
        turn_install_chunk(t, from, frame->chunk);
    }
    if (m.type == RAFT_SNAPSHOT_REPLY) {
        turn_snapshot_ack(t, from, frame);
    }
}

void turn_peer_frame(struct turn *t, raft_id from, struct bytes body)
{
    arena_reset(&t->input);
    Pb__PeerFrame *frame = codec_decode_peer(body, &t->input);
    if (frame == NULL || frame->version != PROTOCOL_VERSION) {
        t->counters.undecodable++;
        transport_peer_refuse(t->transport, from,
                              frame == NULL ? "undecodable frame"
                                            : "unknown protocol version");
        return;
    }
    struct catchup *c = turn_catchup(t, from);
    if (c != NULL) {
        c->applied = frame->applied;
        c->answers = true;
        c->spoke = turn_is_member(t, from);
    }
    if (frame->sender != NULL) {
        turn_member_met(t, from, frame->sender);
    }
    if (c != NULL && c->stale_leader && !c->quarantined &&
        frame->term >= raft_term_now(t->raft)) {
        c->stale_leader = false;
        turn_alarms_end(t, from);
    }
    if (frame->quarantined) {
        if (c != NULL && !c->quarantined && turn_is_member(t, from)) {
            c->quarantined = true;
            raft_quarantine(t->raft, from, true);
            turn_alarm(t, from, "node %u keeps out of the cluster: %s", from,
                       frame->quarantine_reason);
        }
    }
    /* S17, the other side of compare_hash(): a majority has another state than ours. */
    if (frame->verdict[0] != 0 && frame->term >= raft_term_now(t->raft)) {
        turn_quarantine(t, frame->verdict);
        return;
    }
    if (frame->type == PEER_SNAPSHOT_ACK) {
        turn_snapshot_ack(t, from, frame);
    } else {
        receive_other(t, from, frame);
    }
    compare_hash(t, from, frame->hash_index, frame->hash);
}

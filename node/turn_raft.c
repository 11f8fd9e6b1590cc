#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"

/* An idle node's events and rows go to disk this long after they came up, if nothing more urgent takes them along. */
#define LAZY_BATCH_MS 200

static const char *alarm_text(enum raft_alarm alarm)
{
    switch (alarm) {
    case RAFT_ALARM_TWO_LEADERS:
        return "two leaders in one term";
    case RAFT_ALARM_ACK_REGRESSION:
        return "a node's log ends before what it has acknowledged: it lost "
               "data; remove it from the cluster and add it anew";
    case RAFT_ALARM_STALE_LEADER:
        return "a deposed leader is still sending";
    case RAFT_ALARM_NONE:
        break;
    }
    return "none";
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

void turn_send_peer(struct turn *t, raft_id to, Pb__PeerFrame *frame)
{
    frame->applied = t->applied;
    frame->quarantined = t->quarantined;
    if (t->quarantined) {
        frame->quarantine_reason = t->quarantine_reason;
    }
    const struct catchup *c = turn_catchup(t, to);
    const struct turn_member *self = turn_member_find(t, t->options.id);
    Pb__Member sender = PB__MEMBER__INIT;
    if (self != NULL && (c == NULL || !c->answers)) {
        sender.node = t->options.id;
        sender.peer = (char *)(uintptr_t)self->peer; /* only read by encoding */
        sender.client = (char *)(uintptr_t)self->client;
        sender.http = (char *)(uintptr_t)self->http;
        frame->sender = &sender;
    }
    if (c != NULL && c->verdict[0] != 0) {
        frame->verdict =
            (char *)(uintptr_t)c->verdict; /* only read by encoding */
    }
    if (t->hashes_n > 0) {
        const struct state_hash *h = &t->hashes[t->hashes_n - 1];
        frame->hash_index = h->index;
        frame->hash = h->hash;
    }
    /* R3: nobody hears of a term that we could forget. (A pre-vote names the next one, and binds nobody.) */
    ASSERT(frame->pre || frame->term < raft_term_now(t->raft) ||
           raft_term_stored(t->raft));
    size_t n = codec_encode(&frame->base, t->frame, FRAME_SCRATCH_BYTES);
    ASSERT(n > 0);
    frame->sender = NULL;
    /* A full queue or a broken stream is a lost message, which Raft repeats. */
    (void)transport_peer_send(t->transport, to, (struct bytes){t->frame, n});
}

static void send_message(struct turn *t, const struct raft_message *m)
{
    if (m->type == RAFT_APPEND) {
        turn_send_append(t, m);
        return;
    }
    Pb__PeerFrame frame;
    wire_from_message(m, &frame);
    turn_send_peer(t, m->to, &frame);
}

static void hold(struct turn *t, const struct raft_send *send)
{
    if (t->held_n == HELD_MAX) {
        turn_log(t, 1, "held_full dropped=%d to=%u", (int)send->message.type,
                 send->message.to);
        return;
    }
    t->held[(t->held_head + t->held_n) % HELD_MAX] =
        (struct held){.message = send->message, .after = send->after};
    t->held_n++;
}

void turn_release_held(struct turn *t)
{
    while (t->held_n > 0 && t->held[t->held_head].after <= t->stored_batch) {
        send_message(t, &t->held[t->held_head].message);
        t->held_head = (t->held_head + 1) % HELD_MAX;
        t->held_n--;
    }
}

/* --- store work ---------------------------------------------------------------------------------------------------- */

static void mark_urgent(struct turn *t)
{
    t->urgent = true;
    t->batch_dirty = true;
}

void turn_append_entry(struct turn *t, const struct store_entry *entry)
{
    entries_append(t->entries, entry);
    store_append(t->store, entry);
    turn_clock_observe(t, entry->time_ms);
    mark_urgent(t);
}

/* The core took entries append_first .. of the APPEND at hand. */
static void append_incoming(struct turn *t)
{
    const Pb__PeerFrame *frame = t->incoming;
    ASSERT(t->out.append_first > frame->index);
    size_t from = (size_t)(t->out.append_first - frame->index - 1);
    ASSERT(from + t->out.append_n <= frame->n_entries);
    for (size_t i = 0; i < t->out.append_n; i++) {
        const Pb__LogEntry *e = frame->entries[from + i];
        struct store_entry entry = {
            .index = e->index,
            .term = e->term,
            .kind = (enum raft_kind)e->kind,
            .time_ms = e->time_ms,
            .chain = e->chain,
            .data = codec_bytes(e->data),
        };
        turn_append_entry(t, &entry);
    }
}

static void act_on_store_work(struct turn *t)
{
    struct raft_out *o = &t->out;
    if (o->truncate_from != 0) {
        ASSERT(o->truncate_from >
               t->applied); /* R11: never below what was committed */
        entries_truncate(t->entries, o->truncate_from);
        store_truncate(t->store, o->truncate_from);
        mark_urgent(t);
    }
    if (o->append_n > 0 && t->incoming != NULL) {
        append_incoming(t);
    }
    if (o->hard_state) {
        store_put_hard_state(t->store, o->term, o->vote);
        mark_urgent(t);
    }
}

/* Closes the open batch if someone waits for it, or if it has lain long enough. */
void turn_commit_batch(struct turn *t)
{
    if (!t->batch_dirty) {
        t->batch_since_ms = t->now_ms;
        return;
    }
    uint64_t number = store_batch(t->store);
    if (number > t->stored_batch + countof(t->batch_last) - 1) {
        return; /* many are on their way: this one grows meanwhile */
    }
    if (!t->urgent && t->now_ms < t->batch_since_ms + LAZY_BATCH_MS &&
        !t->stopping) {
        return;
    }
    raft_index last = raft_last(t->raft);
    t->batch_last[number % countof(t->batch_last)] =
        (struct raft_pos){last, raft_term_at(t->raft, last)};
    uint64_t committed = store_commit(t->store);
    ASSERT(committed == number);
    t->batch_dirty = false;
    t->urgent = false;
    t->batch_since_ms = t->now_ms;
}

/* --- everything the core asks for ---------------------------------------------------------------------------------- */

static void act_on_reads(struct turn *t)
{
    const struct raft_out *o = &t->out;
    if (o->reads_ticket > t->confirmed_ticket) {
        t->confirmed_ticket = o->reads_ticket;
        t->confirmed_index = max_u64(t->confirmed_index, o->reads_index);
    }
    if (o->reads_failed > t->confirmed_ticket) {
        turn_reads_failed(t, o->reads_failed);
    }
}

static void act_on_transfer(struct turn *t)
{
    const struct raft_out *o = &t->out;
    if (!o->transfer_done && !o->transfer_failed) {
        return;
    }
    if (t->transfer_conn != 0) {
        Pb__ClientMessage m;
        Pb__ChangeResult r = PB__CHANGE_RESULT__INIT;
        answer_init(t, &m, t->transfer_id);
        r.leader = raft_leader(t->raft);
        r.term = raft_term_now(t->raft);
        if (o->transfer_failed) {
            m.status = PB__STATUS__CONFLICT;
            m.message = (char *)(uintptr_t) "the transfer was given up: the "
                                            "node named didn't take over in "
                                            "time; leadership stays";
        }
        m.result_case = PB__CLIENT_MESSAGE__RESULT_CHANGE;
        m.change = &r;
        (void)answer_send(t, t->transfer_conn, &m);
        t->transfer_conn = 0;
    }
}

/* What stands against Raft itself is never over; that one node lost data is, with that node; that one still sends, once it follows. */
static void raise_alarm(struct turn *t)
{
    const struct raft_out *o = &t->out;
    struct catchup *c =
        o->alarm_node == t->options.id ? NULL : turn_catchup(t, o->alarm_node);
    if (o->alarm == RAFT_ALARM_STALE_LEADER) {
        if (c != NULL) {
            c->stale_leader = true;
        }
        turn_alarm(t, o->alarm_node, "%s (node %u, term %llu)",
                   alarm_text(o->alarm), o->alarm_node,
                   (unsigned long long)o->alarm_term);
        return;
    }
    bool of_node = o->alarm == RAFT_ALARM_ACK_REGRESSION && c != NULL;
    if (of_node) {
        c->quarantined = true;
    }
    turn_alarm(t, of_node ? o->alarm_node : 0,
               "%s (node %u, term %llu, index %llu)", alarm_text(o->alarm),
               o->alarm_node, (unsigned long long)o->alarm_term,
               (unsigned long long)o->alarm_index);
}

static void act_on_signs(struct turn *t)
{
    const struct raft_out *o = &t->out;
    for (uint32_t i = 0; i < o->notes_n; i++) {
        turn_log(t, 2, "raft note=\"%s\"", o->notes[i]);
    }
    if (o->alarm != RAFT_ALARM_NONE) {
        raise_alarm(t);
        /* Our own disk lost what we acknowledged: nothing that we say can be relied on. */
        if (o->alarm == RAFT_ALARM_ACK_REGRESSION &&
            o->alarm_node == t->options.id) {
            turn_quarantine(t, "its log ends before what it acknowledged");
        }
    }
}

void turn_act(struct turn *t)
{
    struct raft_out *o = &t->out;
    act_on_store_work(t);
    for (uint32_t i = 0; i < o->sends_n; i++) {
        if (o->sends[i].after > t->stored_batch) {
            hold(t, &o->sends[i]);
        } else {
            send_message(t, &o->sends[i].message);
        }
    }
    act_on_reads(t);
    act_on_signs(t);
    act_on_transfer(t);
    raft_id snapshot_to = o->snapshot_to;
    bool role_changed = o->role_changed;
    bool config_changed = o->config_changed;
    raft_out_reset(o);
    /* These step the core again, so the output is empty before them. */
    if (config_changed) {
        turn_members_changed(t);
    }
    if (snapshot_to != 0) {
        turn_snapshot_start(t, snapshot_to);
    }
    if (role_changed) {
        turn_role_changed(t);
    }
}

/* --- proposals ------------------------------------------------------------------------------------------------------ */

static void append_own(struct turn *t, raft_index index, enum raft_kind kind,
                       struct bytes data)
{
    struct store_entry entry = {
        .index = index,
        .term = raft_term_now(t->raft),
        .kind = kind,
        .time_ms = turn_cluster_ms(t),
        .data = data,
    };
    uint64_t before = 0;
    bool known = entries_chain(t->entries, index - 1, &before);
    ASSERT(known); /* a leader holds its log's end in memory */
    entry.chain = store_chain(before, &entry);
    turn_append_entry(t, &entry);
}

enum baton_status turn_propose(struct turn *t, enum raft_kind kind,
                               struct bytes data, raft_index *out_index)
{
    if (!entries_fits(t->entries, 1, data.n, t->applied) ||
        store_room(t->store) < data.n + 4096) {
        return BATON_BUSY;
    }
    struct raft_in in = turn_in(t);
    enum baton_status status =
        raft_propose(t->raft, &in, 1, &t->out, out_index);
    if (status == BATON_OK) {
        append_own(t, *out_index, kind, data);
    }
    t->incoming = NULL;
    turn_act(t);
    return status;
}

/* What's in the log must be applied by every node, or none goes on: so an entry is tried here in the very memory that apply has, which is the same
 * everywhere. Unknown fields of a client can blow a command up; half of the memory is left for its events. */
static bool fits_apply(struct turn *t, struct bytes data)
{
    arena_reset(&t->apply);
    return codec_decode_command(data, &t->apply) != NULL &&
           t->apply.used <= ARENA_APPLY_BYTES / 2;
}

enum baton_status turn_propose_command(struct turn *t,
                                       const Pb__Command *command,
                                       raft_index *out_index)
{
    size_t n = codec_encode(&command->base, t->command, FRAME_CLIENT_BYTES_MAX);
    ASSERT(n > 0);
    struct bytes data = {t->command, n};
    return fits_apply(t, data) ? turn_propose(t, RAFT_NORMAL, data, out_index)
                               : BATON_INVALID;
}

void turn_put_config(struct turn *t, const struct raft_config *config,
                     raft_index index)
{
    uint8_t data[CONFIG_BYTES_MAX];
    arena_reset(&t->answer);
    size_t n =
        wire_config(config,
                    (struct wire_members){t->members, t->members_n,
                                          raft_config_now(t->raft)->index},
                    data, sizeof data, &t->answer);
    ASSERT(n > 0);
    append_own(t, index, RAFT_CONFIG, (struct bytes){data, n});
    t->incoming = NULL;
    turn_act(t);
}

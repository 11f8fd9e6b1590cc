#include <string.h>

#include "node/turn_state.h"

/* A part of the log, or of rows, that goes into one frame. */
#define PART_BYTES (1u << 20)
#define PIN_MS     60000u

/* --- by log ------------------------------------------------------------------------------------------------------------ */

/* Fills `out` from entries in memory, at most PART_BYTES of them. Returns the index behind the last. */
static raft_index fill_from_memory(struct turn *t, raft_index from,
                                   raft_index to, Pb__PeerFrame *out)
{
    Pb__LogEntry **list =
        arena_alloc(&t->answer, (size_t)(to - from) * sizeof(void *));
    Pb__LogEntry *all =
        arena_alloc(&t->answer, (size_t)(to - from) * sizeof *all);
    ASSERT(list != NULL && all != NULL);
    size_t bytes_n = 0;
    size_t n = 0;
    raft_index index = from;
    while (index < to && bytes_n < PART_BYTES) {
        struct store_entry e;
        bool held = entries_get(t->entries, index, &e);
        ASSERT(held);
        pb__log_entry__init(&all[n]);
        all[n].index = e.index;
        all[n].term = e.term;
        all[n].kind = (uint32_t)e.kind;
        all[n].time_ms = e.time_ms;
        all[n].chain = e.chain;
        all[n].data = codec_binary(e.data);
        list[n] = &all[n];
        bytes_n += e.data.n + 64;
        n++;
        index++;
    }
    out->entries = list;
    out->n_entries = n;
    return index;
}

/* Sends entries m->index + 1 .. + entries_n from memory, in as many frames as it takes. */
static void send_from_memory(struct turn *t, const struct raft_message *m)
{
    raft_index next = m->index + 1;
    raft_index end = next + m->entries_n;
    raft_term before_term = m->log_term;
    do {
        Pb__PeerFrame frame;
        arena_reset(&t->answer);
        wire_from_message(m, &frame);
        frame.index = next - 1;
        frame.log_term = before_term;
        (void)entries_chain(t->entries, next - 1, &frame.chain);
        if (next < end) {
            next = fill_from_memory(t, next, end, &frame);
            before_term = frame.entries[frame.n_entries - 1]->term;
        }
        turn_send_peer(t, m->to, &frame);
    } while (next < end);
}

static void read_more(struct turn *t, struct catchup *c)
{
    const struct raft_message *m = &c->queue[c->head];
    c->reading = true;
    store_read_log(t->store, TAG(TAG_PEER_LOG, c->node), c->next,
                   m->index + m->entries_n, PART_BYTES);
}

void turn_send_append(struct turn *t, const struct raft_message *m)
{
    struct catchup *c = turn_catchup(t, m->to);
    if (c == NULL) {
        return;
    }
    bool in_memory =
        m->entries_n == 0 || m->index + 1 >= entries_first(t->entries);
    if (in_memory && c->n == 0) {
        send_from_memory(t, m);
        return;
    }
    /* Behind what's being read back, so that they leave in order. A full queue is a lost message. */
    if (c->n == CATCHUP_QUEUE) {
        return;
    }
    c->queue[(c->head + c->n) % CATCHUP_QUEUE] = *m;
    c->n++;
    if (c->n == 1) {
        c->next = m->index + 1;
        read_more(t, c);
    }
}

static void pop(struct catchup *c)
{
    c->head = (c->head + 1) % CATCHUP_QUEUE;
    c->n--;
}

/* Sends what the disk gave of the first message in the queue. */
static void send_records(struct turn *t, struct catchup *c,
                         const struct store_event *event)
{
    const struct raft_message *m = &c->queue[c->head];
    Pb__PeerFrame frame;
    wire_from_message(m, &frame);
    arena_reset(&t->answer);
    Pb__LogEntry *all = arena_alloc(&t->answer, event->records_n * sizeof *all);
    frame.entries = arena_alloc(&t->answer, event->records_n * sizeof(void *));
    if (all == NULL || frame.entries == NULL) {
        return;
    }
    for (uint32_t i = 0; i < event->records_n; i++) {
        const struct store_entry *e = &event->records[i].entry;
        pb__log_entry__init(&all[i]);
        all[i].index = e->index;
        all[i].term = e->term;
        all[i].kind = (uint32_t)e->kind;
        all[i].time_ms = e->time_ms;
        all[i].chain = e->chain;
        all[i].data = codec_binary(e->data);
        frame.entries[i] = &all[i];
    }
    frame.n_entries = event->records_n;
    frame.index = c->next - 1;
    frame.log_term = raft_term_at(t->raft, c->next - 1);
    frame.chain = 0; /* of the entry before: not read back */
    turn_send_peer(t, c->node, &frame);
    c->next += event->records_n;
}

void turn_catchup_read(struct turn *t, const struct store_event *event)
{
    struct catchup *c = turn_catchup(t, (raft_id)TAG_ID(event->tag));
    if (c == NULL || !c->reading || c->n == 0) {
        return;
    }
    c->reading = false;
    const struct raft_message *m = &c->queue[c->head];
    bool stale = m->term != raft_term_now(t->raft) || event->gone ||
                 event->records_n == 0 || event->records[0].index != c->next;
    if (stale) {
        turn_catchup_reset(t, c->node);
        return;
    }
    send_records(t, c, event);
    if (c->next <= m->index + m->entries_n) {
        read_more(t, c);
        return;
    }
    pop(c);
    while (c->n > 0) {
        m = &c->queue[c->head];
        if (m->entries_n > 0 && m->index + 1 < entries_first(t->entries)) {
            c->next = m->index + 1;
            read_more(t, c);
            return;
        }
        send_from_memory(t, m);
        pop(c);
    }
}

void turn_catchup_reset(struct turn *t, raft_id node)
{
    struct catchup *c = turn_catchup(t, node);
    if (c != NULL) {
        c->n = 0;
        c->reading = false;
    }
}

/* --- by snapshot ---------------------------------------------------------------------------------------------------------- */

static void fill_chunk(struct turn *t, const struct catchup *c,
                       Pb__SnapshotChunk *chunk)
{
    pb__snapshot_chunk__init(chunk);
    chunk->index = c->checkpoint.pos.index;
    chunk->term = c->checkpoint.pos.term;
    chunk->chain = c->checkpoint.chain;
    chunk->hash = c->checkpoint.hash;
    chunk->time_ms = c->checkpoint.time_ms;
    chunk->config = codec_binary(t->checkpoint.config);
    chunk->config_index = t->checkpoint.config_index;
    chunk->from_key = codec_binary((struct bytes){c->last_key, c->last_key_n});
}

static void send_chunk(struct turn *t, struct catchup *c,
                       Pb__SnapshotChunk *chunk)
{
    Pb__PeerFrame frame = PB__PEER_FRAME__INIT;
    frame.version = PROTOCOL_VERSION;
    frame.type = RAFT_SNAPSHOT;
    frame.term = raft_term_now(t->raft);
    frame.index = chunk->index;
    frame.chunk = chunk;
    c->acked_ms = t->now_ms;
    turn_send_peer(t, c->node, &frame);
}

/* The first chunk has no rows: it asks how far the receiver has come with this very checkpoint. */
static void send_begin(struct turn *t, struct catchup *c)
{
    Pb__SnapshotChunk chunk;
    c->last_key_n = 0;
    fill_chunk(t, c, &chunk);
    send_chunk(t, c, &chunk);
}

void turn_snapshot_start(struct turn *t, raft_id node)
{
    struct catchup *c = turn_catchup(t, node);
    if (c == NULL || c->snapshot || !c->up || t->checkpoint_stored == 0 ||
        t->checkpoint_stored != t->checkpoint.pos.index) {
        return; /* the core asks again */
    }
    c->snapshot = true;
    c->snapshot_reading = false;
    c->checkpoint = t->checkpoint;
    t->pinned = true;
    t->pinned_until_ms = t->now_ms + PIN_MS;
    turn_log(t, 2, "snapshot_begin to=%u index=%llu", node,
             (unsigned long long)c->checkpoint.pos.index);
    send_begin(t, c);
}

static void end_snapshot(struct turn *t, struct catchup *c, bool ok)
{
    struct raft_in in = turn_in(t);
    raft_index index = c->checkpoint.pos.index;
    turn_log(t, ok ? 2 : 1, "snapshot_%s to=%u index=%llu",
             ok ? "sent" : "given_up", c->node, (unsigned long long)index);
    c->snapshot = false;
    c->snapshot_reading = false;
    t->counters.snapshots_sent += ok;
    raft_snapshot_sent(t->raft, &in, c->node, index, ok, &t->out);
    turn_act(t);
}

void turn_snapshot_stop(struct turn *t, raft_id node)
{
    struct catchup *c = turn_catchup(t, node);
    if (c != NULL && c->snapshot) {
        end_snapshot(t, c, false);
    }
}

/* Unpins the checkpoint once nobody is being sent from it, and gives up on who doesn't answer. */
void turn_snapshot_tick(struct turn *t)
{
    bool sending = false;
    for (uint32_t i = 0; i < countof(t->catchups); i++) {
        struct catchup *c = &t->catchups[i];
        if (c->node == 0 || !c->snapshot) {
            continue;
        }
        if (raft_role_now(t->raft) != RAFT_LEADER ||
            t->now_ms > t->pinned_until_ms || !c->up) {
            end_snapshot(t, c, false);
        } else if (!c->snapshot_reading &&
                   t->now_ms > c->acked_ms + 2 * t->options.election_ms) {
            send_begin(t, c);
            sending = true;
        } else {
            sending = true;
        }
    }
    t->pinned = sending;
}

void turn_snapshot_ack(struct turn *t, raft_id from, const Pb__PeerFrame *frame)
{
    struct catchup *c = turn_catchup(t, from);
    if (c == NULL || !c->snapshot || c->snapshot_reading) {
        return;
    }
    if (frame->type == RAFT_SNAPSHOT_REPLY) {
        if (frame->index == c->checkpoint.pos.index) {
            end_snapshot(t, c, frame->success);
        }
        return;
    }
    const Pb__SnapshotChunk *chunk = frame->chunk;
    if (chunk == NULL || chunk->index != c->checkpoint.pos.index ||
        chunk->from_key.len > sizeof c->last_key) {
        return;
    }
    c->last_key_n = (uint32_t)chunk->from_key.len;
    if (chunk->from_key.len > 0) {
        memcpy(c->last_key, chunk->from_key.data, chunk->from_key.len);
    }
    c->acked_ms = t->now_ms;
    /* It goes on: the checkpoint stays for as long as it does. */
    t->pinned_until_ms = t->now_ms + PIN_MS;
    c->snapshot_reading = true;
    store_read_rows(t->store, TAG(TAG_PEER_ROWS, from), c->checkpoint.pos.index,
                    (struct bytes){c->last_key, c->last_key_n}, PART_BYTES);
}

void turn_snapshot_rows(struct turn *t, const struct store_event *event)
{
    struct catchup *c = turn_catchup(t, (raft_id)TAG_ID(event->tag));
    if (c == NULL || !c->snapshot || !c->snapshot_reading) {
        return;
    }
    c->snapshot_reading = false;
    if (event->gone || raft_role_now(t->raft) != RAFT_LEADER) {
        end_snapshot(t, c, false);
        return;
    }
    arena_reset(&t->answer);
    Pb__SnapshotChunk chunk;
    fill_chunk(t, c, &chunk);
    Pb__Row *all =
        arena_alloc(&t->answer, (event->records_n + 1) * sizeof *all);
    chunk.rows =
        arena_alloc(&t->answer, (event->records_n + 1) * sizeof(void *));
    if (all == NULL || chunk.rows == NULL) {
        end_snapshot(t, c, false);
        return;
    }
    for (uint32_t i = 0; i < event->records_n; i++) {
        pb__row__init(&all[i]);
        all[i].key = codec_binary(event->records[i].key);
        all[i].value = codec_binary(event->records[i].value);
        chunk.rows[i] = &all[i];
    }
    chunk.n_rows = event->records_n;
    chunk.last = event->end;
    send_chunk(t, c, &chunk);
}

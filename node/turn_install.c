#include <string.h>

#include "node/turn_state.h"

/* Rows of the leader's checkpoint arrive in chunks, each stored before it's acknowledged, in a table of their own that survives
 * a restart; with the last one the table becomes ours, in one transaction with the log's new beginning (R17). */

static bool checkpoint_from(struct turn *t, const Pb__SnapshotChunk *chunk,
                            struct store_checkpoint *out)
{
    if (chunk->config.len == 0 ||
        chunk->config.len > sizeof t->incoming_config) {
        return false;
    }
    memcpy(t->incoming_config, chunk->config.data, chunk->config.len);
    *out = (struct store_checkpoint){
        .pos = {chunk->index, chunk->term},
        .chain = chunk->chain,
        .hash = chunk->hash,
        .time_ms = chunk->time_ms,
        .config = {t->incoming_config, chunk->config.len},
        .config_index = chunk->config_index,
    };
    return true;
}

/* Both answers name our term, which must be on disk by then (R3). If it isn't, nothing is said, and the sender asks again. */
static void send_ack(struct turn *t, raft_id to)
{
    if (!raft_term_stored(t->raft)) {
        return;
    }
    Pb__PeerFrame frame = PB__PEER_FRAME__INIT;
    Pb__SnapshotChunk chunk = PB__SNAPSHOT_CHUNK__INIT;
    frame.version = PROTOCOL_VERSION;
    frame.type = PEER_SNAPSHOT_ACK;
    frame.term = raft_term_now(t->raft);
    chunk.index = t->incoming_checkpoint.pos.index;
    chunk.from_key =
        codec_binary((struct bytes){t->incoming_key, t->incoming_key_n});
    frame.chunk = &chunk;
    turn_send_peer(t, to, &frame);
}

static void send_done(struct turn *t, raft_id to, raft_index index, bool ok)
{
    if (!raft_term_stored(t->raft)) {
        return;
    }
    Pb__PeerFrame frame = PB__PEER_FRAME__INIT;
    frame.version = PROTOCOL_VERSION;
    frame.type = RAFT_SNAPSHOT_REPLY;
    frame.term = raft_term_now(t->raft);
    frame.index = index;
    frame.success = ok;
    turn_send_peer(t, to, &frame);
}

static void begin(struct turn *t, raft_id from, const Pb__SnapshotChunk *chunk)
{
    if (!checkpoint_from(t, chunk, &t->incoming_checkpoint)) {
        return;
    }
    t->receiving = true;
    t->incoming_from = from;
    t->incoming_key_n = 0;
    t->incoming_batch = 0;
    store_incoming_begin(t->store, &t->incoming_checkpoint);
    t->urgent = true;
    t->batch_dirty = true;
    store_read_incoming(t->store, TAG(TAG_INCOMING, from));
}

/* How far an earlier try came, perhaps before a restart. */
void turn_install_where(struct turn *t, const struct store_event *event)
{
    if (!t->receiving || t->installing) {
        return;
    }
    if (!event->gone && event->records_n > 0 &&
        event->checkpoint.pos.index == t->incoming_checkpoint.pos.index &&
        event->records[0].key.n <= sizeof t->incoming_key) {
        t->incoming_key_n = (uint32_t)event->records[0].key.n;
        memcpy(t->incoming_key, event->records[0].key.data, t->incoming_key_n);
    }
    send_ack(t, (raft_id)TAG_ID(event->tag));
}

static void take_rows(struct turn *t, const Pb__SnapshotChunk *chunk)
{
    for (size_t i = 0; i < chunk->n_rows; i++) {
        const Pb__Row *row = chunk->rows[i];
        if (row->key.len == 0 || row->key.len > sizeof t->incoming_key) {
            t->receiving = false;
            return;
        }
        store_incoming_row(t->store, codec_bytes(row->key),
                           codec_bytes(row->value));
        t->incoming_key_n = (uint32_t)row->key.len;
        memcpy(t->incoming_key, row->key.data, row->key.len);
    }
    t->incoming_batch = store_batch(t->store);
    t->urgent = true;
    t->batch_dirty = true;
}

/* It begins behind the last row that we have. */
static bool goes_on(const struct turn *t, const Pb__SnapshotChunk *chunk)
{
    size_t n = chunk->from_key.len;
    return n == t->incoming_key_n &&
           (n == 0 || memcmp(chunk->from_key.data, t->incoming_key, n) == 0);
}

void turn_install_chunk(struct turn *t, raft_id from,
                        const Pb__SnapshotChunk *chunk)
{
    if (t->installing) {
        return;
    }
    /* Nothing new in it: we've got further by ourselves. */
    if (chunk->index <= raft_commit(t->raft)) {
        t->receiving = false;
        send_done(t, from, chunk->index, true);
        return;
    }
    bool same = t->receiving && t->incoming_from == from &&
                t->incoming_checkpoint.pos.index == chunk->index &&
                t->incoming_checkpoint.pos.term == chunk->term;
    if (chunk->n_rows == 0 && !chunk->last) {
        begin(t, from, chunk);
        return;
    }
    if (!same || t->incoming_batch != 0 || !goes_on(t, chunk)) {
        return; /* not the part that we wait for: the sender asks again */
    }
    take_rows(t, chunk);
    if (t->receiving && chunk->last) {
        store_incoming_install(t->store, &t->incoming_checkpoint);
        t->installing = true;
        raft_snapshot_installing(t->raft);
        t->install_batch = store_batch(t->store);
        t->incoming_batch = 0;
    }
}

static void finish(struct turn *t)
{
    struct store_checkpoint *c = &t->incoming_checkpoint;
    struct raft_config config;
    Pb__ConfigData *message = NULL;
    arena_reset(&t->answer);
    bool ok = wire_to_config(c->config, c->config_index, &t->answer, &config,
                             &message);
    if (!ok) {
        turn_die(t,
                 "the snapshot of node %u at index %llu has no valid "
                 "configuration",
                 t->incoming_from, (unsigned long long)c->pos.index);
        return;
    }
    turn_members_learn(t, message);
    bool installed = raft_snapshot_installed(t->raft, c->pos, &config);
    ASSERT(
        installed); /* nothing was committed meanwhile: appends were refused */
    memcpy(t->checkpoint_config, t->incoming_config, c->config.n);
    t->checkpoint = *c;
    t->checkpoint.config = (struct bytes){t->checkpoint_config, c->config.n};
    t->checkpoint_batch = 0;
    t->checkpoint_stored = c->pos.index;
    if (raft_last(t->raft) == c->pos.index) {
        entries_reset(t->entries, c->pos, c->chain);
    }
    entries_set_time(t->entries, c->time_ms);
    turn_clock_observe(t, c->time_ms);
    if (!turn_load_rows(t, c->pos.index)) {
        return;
    }
    if (c->hash != 0 && registry_hash(t->registry) != c->hash) {
        turn_quarantine(t, "the rows of a snapshot don't have the state hash "
                           "that came with them");
        return;
    }
    /* What happened between our last event and the checkpoint is nobody's to tell: the history begins anew. */
    t->horizon = c->pos.index + 1;
    t->events_stored = c->pos.index;
    t->event_marks_n = 0;
    t->counters.snapshots_installed++;
    turn_log(t, 2, "snapshot_installed from=%u index=%llu", t->incoming_from,
             (unsigned long long)c->pos.index);
    send_done(t, t->incoming_from, c->pos.index, true);
    turn_members_changed(t);
}

/* A batch was stored: chunks in it can be acknowledged, and an install in it is done. */
void turn_install_stored(struct turn *t)
{
    if (t->installing && t->install_batch <= t->stored_batch) {
        t->installing = false;
        t->receiving = false;
        finish(t);
    } else if (t->receiving && t->incoming_batch != 0 &&
               t->incoming_batch <= t->stored_batch) {
        t->incoming_batch = 0;
        send_ack(t, t->incoming_from);
    }
}

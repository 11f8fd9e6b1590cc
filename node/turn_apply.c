#include <string.h>
#include <sys/mman.h>

#include "node/events.h"
#include "node/turn_state.h"

/* Entries applied in one turn at most: the loop has other things to do as well. */
#define APPLY_MAX        4096u
#define APPLY_READ_BYTES (1u << 20)

struct watch_env turn_watch_env(struct turn *t)
{
    return (struct watch_env){
        .transport = t->transport,
        .store = t->store,
        .registry = t->registry,
        .history = t->history,
        .arena = &t->answer,
        .frame = t->frame,
        .frame_bytes = FRAME_SCRATCH_BYTES,
        .cluster_ms = turn_cluster_ms(t),
        .applied = t->applied,
        .horizon = t->horizon,
        .read_tag = TAG(TAG_WATCH, 0),
        .room_bytes = t->options.watch_room_bytes,
    };
}

/* --- leases of the entry at hand ------------------------------------------------------------------------------------------- */

/* The entry was a proof of life if the registry took it for one: a duplicate, or what it refused to hear, isn't. */
static void lease_logged(struct turn *t, uint64_t id, uint64_t time_ms)
{
    struct lease_view lease;
    if (registry_lease(t->registry, id, &lease) == BATON_OK && !lease.ended &&
        lease.touched_ms == time_ms) {
        deadlines_logged(t->deadlines, lease.slot, lease.ttl_ms, time_ms,
                         t->now_ms);
    }
}

static void touched_logged(struct turn *t, const Pb__Touched *touched,
                           uint64_t time_ms)
{
    uint64_t id = 0;
    for (size_t i = 0; i < touched->n_lease_deltas; i++) {
        struct lease_view lease;
        id += touched->lease_deltas[i];
        if (registry_lease(t->registry, id, &lease) == BATON_OK &&
            !lease.ended) {
            deadlines_touched_at(t->deadlines, lease.slot, time_ms);
        }
    }
}

/* The slot of the lease that a command may end: afterwards it can't be found any more. */
static uint32_t ending_slot(const struct turn *t, const Pb__Command *command)
{
    struct lease_view lease;
    uint64_t id = 0;
    if (command->op_case == PB__COMMAND__OP_EXPIRE_LEASE) {
        id = command->expire_lease->lease;
    } else if (command->op_case == PB__COMMAND__OP_CLOSE_LEASE) {
        id = command->lease;
    }
    if (id == 0 || registry_lease(t->registry, id, &lease) != BATON_OK ||
        lease.ended) {
        return 0;
    }
    return lease.slot;
}

static void leases_applied(struct turn *t, const Pb__Command *command,
                           uint32_t ending, uint64_t time_ms)
{
    if (ending != 0) {
        struct lease_view lease;
        if (!registry_lease_at(t->registry, ending, &lease) || lease.ended) {
            deadlines_remove(t->deadlines, ending);
            return;
        }
    }
    if (command->lease != 0 && command->op_case != PB__COMMAND__OP_OPEN_LEASE) {
        lease_logged(t, command->lease, time_ms);
    }
    if (command->op_case == PB__COMMAND__OP_TOUCHED) {
        touched_logged(t, command->touched, time_ms);
    } else if (command->op_case == PB__COMMAND__OP_OPEN_LEASE &&
               t->result.reply.status == BATON_OK) {
        lease_logged(t, t->result.reply.id, time_ms);
    }
}

/* --- events -------------------------------------------------------------------------------------------------------------------- */

static void count_events(struct turn *t)
{
    t->counters.events += t->result.events_n;
    for (uint32_t i = 0; i < t->result.events_n; i++) {
        t->counters.grants += t->result.events[i].kind == EVENT_GRANTED;
        t->counters.claims_rejected +=
            t->result.events[i].kind == EVENT_CLAIM_REJECTED;
    }
}

static void publish(struct turn *t, uint64_t time_ms)
{
    if (t->result.events_n == 0) {
        return;
    }
    ASSERT(t->result.events_n <= EVENTS_MAX);
    count_events(t);
    struct event_stamp stamp = {t->applied, time_ms,
                                registry_wall_ms(t->registry)};
    Pb__EventBatch *batch =
        events_to_batch(t->result.events, t->result.events_n, stamp, &t->apply);
    ASSERT(batch != NULL); /* ARENA_APPLY_BYTES is made for EVENTS_MAX */
    size_t n = codec_encode(&batch->base, t->frame, FRAME_SCRATCH_BYTES);
    ASSERT(n > 0);
    struct bytes encoded = {t->frame, n};
    history_put(t->history, t->applied, encoded);
    if (t->applied > t->events_stored) {
        store_put_event(t->store, t->applied, encoded);
        t->events_stored = t->applied;
        t->batch_dirty = true;
    }
    struct watch_env env = turn_watch_env(t);
    watches_publish(t->watches, &env, t->result.events, batch);
}

/* --- checkpoints ---------------------------------------------------------------------------------------------------------------- */

static void mark_event(struct turn *t, raft_index index, uint64_t time_ms)
{
    if (t->event_marks_n == countof(t->event_marks)) {
        /* Thin out: every other one. */
        for (uint32_t i = 0; i < countof(t->event_marks) / 2; i++) {
            t->event_marks[i] = t->event_marks[2 * i + 1];
        }
        t->event_marks_n /= 2;
    }
    t->event_marks[t->event_marks_n].index = index;
    t->event_marks[t->event_marks_n].time_ms = time_ms;
    t->event_marks_n++;
}

static void remember_hash(struct turn *t, raft_index index, uint64_t hash)
{
    if (t->hashes_n == HASHES_MAX) {
        memmove(&t->hashes[0], &t->hashes[1],
                (HASHES_MAX - 1) * sizeof t->hashes[0]);
        t->hashes_n--;
    }
    t->hashes[t->hashes_n++] = (struct state_hash){index, hash};
}

static bool put_checkpoint_config(struct turn *t, struct store_checkpoint *c)
{
    const struct raft_config *config = raft_config_at(t->raft, c->pos.index);
    if (config == NULL) {
        return false;
    }
    arena_reset(&t->answer);
    size_t n = wire_config(
        config, (struct wire_members){t->members, t->members_n, config->index},
        t->checkpoint_config, sizeof t->checkpoint_config, &t->answer);
    ASSERT(n > 0);
    c->config = (struct bytes){t->checkpoint_config, n};
    c->config_index = config->index;
    return true;
}

/* Rows that changed, the state hash and the applied index, in the batch at hand: one transaction, so that none is without the others. */
static void checkpoint(struct turn *t, const struct store_entry *entry)
{
    struct row_change row;
    struct store_checkpoint c = {.pos = {entry->index, entry->term},
                                 .chain = entry->chain,
                                 .time_ms = registry_time_ms(t->registry)};
    uint32_t rows_n = 0;
    /* The rows that a snapshot is being sent from are about to change. */
    for (uint32_t i = 0; t->pinned && i < countof(t->catchups); i++) {
        turn_snapshot_stop(t, t->catchups[i].node);
    }
    arena_reset(&t->answer);
    while (registry_rows_next(t->registry, &t->answer, &row)) {
        if (row.value.n == 0) {
            store_delete_row(t->store, row.key);
        } else {
            store_put_row(t->store, row.key, row.value);
        }
        arena_reset(&t->answer);
        rows_n++;
    }
    if (!put_checkpoint_config(t, &c)) {
        turn_die(t, "no configuration is known at index %llu",
                 (unsigned long long)entry->index);
        return;
    }
    c.hash = registry_hash(t->registry);
    store_put_checkpoint(t->store, &c);
    t->checkpoint = c;
    t->checkpoint_batch = store_batch(t->store);
    t->batch_dirty = true;
    t->counters.checkpoints++;
    remember_hash(t, c.pos.index, c.hash);
    mark_event(t, c.pos.index, c.time_ms);
    turn_log(t, 3, "checkpoint index=%llu rows=%u hash=%016llx",
             (unsigned long long)c.pos.index, rows_n,
             (unsigned long long)c.hash);
}

static void trim_events(struct turn *t)
{
    raft_index first = t->horizon;
    if (t->applied > t->options.events_keep_n) {
        first = max_u64(first, t->applied - t->options.events_keep_n);
    }
    uint64_t now = registry_time_ms(t->registry);
    for (uint32_t i = 0; i < t->event_marks_n; i++) {
        if (t->event_marks[i].time_ms + t->options.events_keep_ms < now) {
            first = max_u64(first, t->event_marks[i].index);
        }
    }
    if (first > t->horizon) {
        t->horizon = first;
        store_trim_events(t->store, first);
        t->batch_dirty = true;
    }
}

/* The rows are on disk: the log before them, less what is kept for peers that were away, isn't needed any more. */
void turn_checkpoint_stored(struct turn *t)
{
    if (t->checkpoint_batch == 0 || t->checkpoint_batch > t->stored_batch) {
        return;
    }
    t->checkpoint_batch = 0;
    t->checkpoint_stored = t->checkpoint.pos.index;
    raft_index first = t->checkpoint_stored + 1;
    first = first > t->options.log_keep_entries
                ? first - t->options.log_keep_entries
                : 1;
    if (first > raft_first(t->raft)) {
        raft_compacted(t->raft, first);
        store_trim_log(t->store, first);
        t->batch_dirty = true;
    }
    trim_events(t);
}

/* --- entries ---------------------------------------------------------------------------------------------------------------------- */

static void apply_command(struct turn *t, const struct store_entry *entry,
                          const Pb__Command *command)
{
    struct registry_entry e = {entry->index, entry->term, entry->time_ms,
                               command};
    uint32_t ending = command == NULL ? 0 : ending_slot(t, command);
    if (command != NULL && command->op_case == PB__COMMAND__OP_NODE_SEEN) {
        turn_node_seen(t, command->node_seen);
    }
    registry_apply(t->registry, &e, &t->result);
    t->applied = entry->index;
    t->counters.entries_applied++;
    t->counters.duplicates += t->result.duplicate;
    if (command != NULL) {
        leases_applied(t, command, ending, entry->time_ms);
    }
    if (command != NULL && command->op_case == PB__COMMAND__OP_NODE_SEEN) {
        turn_check_peers(t);
    }
    publish(t, entry->time_ms);
    turn_pending_applied(t, entry->index, entry->term,
                         t->result.has_reply ? &t->result.reply : NULL);
    if (command != NULL && command->lease == 0) {
        turn_duty_applied(t, entry->index, command);
    }
}

static bool apply_entry(struct turn *t, const struct store_entry *entry)
{
    ASSERT(entry->index == t->applied + 1); /* R7: in order, no skip */
    Pb__Command *command = NULL;
    arena_reset(&t->apply);
    if (entry->kind == RAFT_NORMAL) {
        command = codec_decode_command(entry->data, &t->apply);
        if (command == NULL || command->version > COMMAND_VERSION) {
            turn_die(t,
                     "log entry %llu %s: install the version of batond that "
                     "the other nodes run",
                     (unsigned long long)entry->index,
                     command == NULL ? "can't be decoded"
                                     : "is of a newer kind than this node "
                                       "knows");
            return false;
        }
    }
    apply_command(t, entry, command);
    bool at_mark = entry->index % t->options.checkpoint_entries == 0;
    /* A snapshot that's being sent holds checkpoints up, but not for ever: deleted objects wait for one. */
    /* The core keeps a few dozen configurations: of so long a log that there were more, the first are applied without one. */
    bool known = raft_config_at(t->raft, entry->index) != NULL;
    if (((at_mark && !t->pinned) || registry_wants_checkpoint(t->registry)) &&
        known) {
        checkpoint(t, entry);
    }
    return t->fatal[0] == 0;
}

bool turn_may_apply(const struct turn *t)
{
    return !t->apply_reading && !t->installing && t->fatal[0] == 0 &&
           !t->quarantined;
}

void turn_apply(struct turn *t)
{
    raft_index commit = raft_commit(t->raft);
    uint32_t n = 0;
    while (t->applied < commit && n < APPLY_MAX && turn_may_apply(t)) {
        struct store_entry entry;
        if (!entries_get(t->entries, t->applied + 1, &entry)) {
            t->apply_reading = true;
            store_read_log(t->store, TAG(TAG_APPLY, 0), t->applied + 1, commit,
                           APPLY_READ_BYTES);
            break;
        }
        if (!apply_entry(t, &entry)) {
            break;
        }
        n++;
    }
    if (n > 0) {
        raft_applied(t->raft, t->applied);
    }
}

/* A log tail that's longer than memory, after a restart: the beginning comes from the disk. */
void turn_apply_read(struct turn *t, const struct store_event *event)
{
    t->apply_reading = false;
    raft_index commit = raft_commit(t->raft);
    for (uint32_t i = 0; i < event->records_n && turn_may_apply(t); i++) {
        const struct store_entry *entry = &event->records[i].entry;
        if (entry->index != t->applied + 1 || entry->index > commit ||
            entry->term != raft_term_at(t->raft, entry->index)) {
            break;
        }
        if (!apply_entry(t, entry)) {
            return;
        }
    }
    raft_applied(t->raft, t->applied);
}

/* --- loading ------------------------------------------------------------------------------------------------------------------------- */

static void load_deadlines(struct turn *t)
{
    t->deadlines = deadlines_init(
        t->deadlines_memory, t->options.registry_limits.leases_n, t->now_ms);
    uint32_t slots = registry_lease_slots(t->registry);
    for (uint32_t s = 1; s <= slots; s++) {
        struct lease_view lease;
        if (registry_lease_at(t->registry, s, &lease) && !lease.ended) {
            deadlines_logged(t->deadlines, s, lease.ttl_ms, lease.touched_ms,
                             0);
        }
    }
}

/* Gives the memory back to the system, so that it's zero again, and only what's used is backed. */
static void *fresh(void *memory, size_t bytes_n)
{
    void *again =
        mmap(memory, bytes_n, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    ASSERT(again == memory);
    return again;
}

bool turn_load_rows(struct turn *t, raft_index applied)
{
    uint64_t cursor = 0;
    struct bytes key;
    struct bytes value;
    (void)fresh(t->registry_memory, t->registry_memory_bytes);
    (void)fresh(t->deadlines_memory, t->deadlines_memory_bytes);
    t->registry =
        registry_init(t->registry_memory, &t->options.registry_limits);
    registry_seed(t->registry, t->options.seed);
    while (store_rows_next(t->store, &cursor, &key, &value)) {
        if (registry_load_row(t->registry, key, value, &t->answer) !=
            BATON_OK) {
            store_rows_end(t->store);
            turn_die(t,
                     "a row of the checkpoint at index %llu is damaged: "
                     "remove this node from the cluster and add it anew",
                     (unsigned long long)applied);
            return false;
        }
    }
    store_rows_end(t->store);
    /* Without a checkpoint there's nothing to load: the log begins at the beginning. */
    if (applied > 0 && registry_load_end(t->registry, applied) != BATON_OK) {
        turn_die(t,
                 "the rows of the checkpoint at index %llu don't fit "
                 "together: remove this node from the cluster and add it "
                 "anew",
                 (unsigned long long)applied);
        return false;
    }
    t->applied = applied;
    turn_pending_unknown(t, applied);
    load_deadlines(t);
    history_reset(t->history, applied + 1);
    watches_reset(t->watches);
    t->confirmed_index = max_u64(t->confirmed_index, applied);
    return true;
}

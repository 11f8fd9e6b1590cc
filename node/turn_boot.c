#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "node/turn_state.h"
#include "raft/config.h"

/* From what the store found to a node that can take its first turn, and back. */

static void *reserve(size_t bytes_n)
{
    void *memory = mmap(NULL, bytes_n, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool take_memory(struct turn *t)
{
    const struct turn_options *o = &t->options;
    t->registry_memory_bytes = registry_bytes(&o->registry_limits);
    t->registry_memory = reserve(t->registry_memory_bytes);
    t->deadlines_memory_bytes = deadlines_bytes(o->registry_limits.leases_n);
    t->deadlines_memory = reserve(t->deadlines_memory_bytes);
    t->raft_memory = reserve(raft_bytes());
    t->entries = entries_new(o->entries_n, o->entries_bytes);
    t->history = history_new(o->events_bytes);
    t->watches = watches_new(o->watches_max, o->watches_per_connection_max);
    t->frame = reserve(FRAME_SCRATCH_BYTES);
    t->command = reserve(FRAME_CLIENT_BYTES_MAX);
    t->pending = calloc(o->pending_max, sizeof *t->pending);
    t->reads = reserve((size_t)o->reads_max * sizeof *t->reads);
    void *input = reserve(ARENA_INPUT_BYTES);
    void *apply = reserve(ARENA_APPLY_BYTES);
    void *answer = reserve(ARENA_ANSWER_BYTES);
    void *duty = reserve(ARENA_DUTY_BYTES);
    arena_init(&t->input, input, input == NULL ? 0 : ARENA_INPUT_BYTES);
    arena_init(&t->apply, apply, apply == NULL ? 0 : ARENA_APPLY_BYTES);
    arena_init(&t->answer, answer, answer == NULL ? 0 : ARENA_ANSWER_BYTES);
    arena_init(&t->duty, duty, duty == NULL ? 0 : ARENA_DUTY_BYTES);
    return t->registry_memory != NULL && duty != NULL &&
           t->deadlines_memory != NULL && t->raft_memory != NULL &&
           t->entries != NULL && t->history != NULL && t->watches != NULL &&
           t->frame != NULL && t->command != NULL && t->pending != NULL &&
           t->reads != NULL && input != NULL && apply != NULL && answer != NULL;
}

/* The first configuration is an entry that every node writes for itself, byte for byte the same: index 1, term 1, no addresses. */
static void bootstrap(struct turn *t, struct raft_boot *boot)
{
    struct raft_config config = {.index = 1};
    uint8_t data[1024];
    for (uint32_t i = 0; i < t->options.members_n; i++) {
        config.voters.ids[config.voters.n++] = t->options.members[i].id;
    }
    size_t n = wire_config(&config, (struct wire_members){NULL, 0, 0}, data,
                           sizeof data, &t->answer);
    ASSERT(n > 0);
    struct store_entry entry = {.index = 1,
                                .term = 1,
                                .kind = RAFT_CONFIG,
                                .time_ms = 1,
                                .data = {data, n}};
    entry.chain = store_chain(0, &entry);
    store_put_hard_state(t->store, 1, 0);
    turn_append_entry(t, &entry);
    boot->term = 1;
    boot->last = 1;
    boot->commit = 1;
    boot->withhold = false;
}

static bool boot_config(struct turn *t, const struct store_boot *found,
                        struct raft_boot *boot)
{
    Pb__ConfigData *message = NULL;
    if (found->checkpoint.index == 0) {
        return true;
    }
    struct bytes config = found->checkpoint_config;
    if (config.n == 0 || config.n > sizeof t->checkpoint_config ||
        !wire_to_config(config, found->checkpoint_config_index, &t->answer,
                        &boot->snapshot_config, &message)) {
        return false;
    }
    turn_members_learn(t, message);
    memcpy(t->checkpoint_config, config.data, config.n);
    t->checkpoint = (struct store_checkpoint){
        .pos = found->checkpoint,
        .chain = found->checkpoint_chain,
        .hash = found->checkpoint_hash,
        .time_ms = found->checkpoint_time_ms,
        .config = {t->checkpoint_config, config.n},
        .config_index = found->checkpoint_config_index,
    };
    t->checkpoint_stored = found->checkpoint.index;
    return true;
}

static struct raft_options raft_options_of(const struct turn_options *o)
{
    return (struct raft_options){
        .id = o->id,
        .election_ms = o->election_ms,
        .heartbeat_ms = o->heartbeat_ms,
        .clock_drift_ppm = o->clock_drift_ppm,
        .inflight_max = o->inflight_max,
        .append_entries_max = o->append_entries_max,
        .seed = o->seed,
        .prevote = true,
        .check_quorum = true,
    };
}

/* Log that's kept from before the checkpoint is there for peers that were away. Where it begins, the entry before it was trimmed, and its
 * term with it: so the first kept entry itself stands for the position that the core's log follows. It must be the
 * checkpoint's configuration or a later one, since that's the only configuration known. 0: nothing is kept from before. */
static raft_index base_of(const struct store_boot *found)
{
    bool kept = found->first > 0 && found->first <= found->last.index &&
                found->first <= found->checkpoint.index;
    return kept ? max_u64(found->first, found->checkpoint_config_index) : 0;
}

static struct tail_seen *tail_seen_of(struct turn *t, raft_id node)
{
    for (uint32_t i = 0; i < t->tail_seen_n; i++) {
        if (t->tail_seen[i].node == node) {
            return &t->tail_seen[i];
        }
    }
    if (t->tail_seen_n == countof(t->tail_seen)) {
        return NULL;
    }
    struct tail_seen *made = &t->tail_seen[t->tail_seen_n++];
    *made = (struct tail_seen){.node = node};
    return made;
}

/* A voter that's removed is still one of the old voters until that is committed: only then there's a configuration without it. (One that had
 * no vote has promised nothing.) */
static void remember_gone(struct tail_seen *last,
                          const struct raft_config *config)
{
    last->gone =
        last->gone || (last->removed && !config_votes(config, last->node));
}

/* Who was seen last under each number, as far as the tail knows: until it's applied, nobody else may come under it. */
static void remember_seen(struct turn *t, struct bytes data)
{
    const Pb__Command *c = codec_decode_command(data, &t->answer);
    if (c == NULL || c->op_case != PB__COMMAND__OP_NODE_SEEN) {
        return;
    }
    const Pb__NodeSeen *seen = c->node_seen;
    struct tail_seen *last = tail_seen_of(t, seen->node);
    if (last == NULL) {
        return;
    }
    if (seen->incarnation == 0) {
        last->removed = true;
        remember_gone(last, raft_config_now(t->raft));
    } else {
        *last = (struct tail_seen){
            .node = seen->node,
            .past = {seen->incarnation, {seen->own, seen->boot}}};
    }
}

static void remember_members(struct turn *t, const struct raft_config *config)
{
    for (uint32_t i = 0; i < t->tail_seen_n; i++) {
        remember_gone(&t->tail_seen[i], config);
    }
}

/* Tells the core of every entry in the kept log, and holds the bytes of the last ones. */
static bool boot_entries(struct turn *t, const struct store_boot *found)
{
    struct store_entry entry;
    raft_index base = base_of(found);
    raft_index at = base != 0 ? base : found->first;
    entries_reset(t->entries, found->checkpoint, found->checkpoint_chain);
    if (found->last.index == 0 || found->first > found->last.index) {
        return true;
    }
    /* To the end, and once more: that's what closes the store's walk. */
    while (store_boot_entry(t->store, at, &entry)) {
        struct raft_config config;
        struct raft_entry e = {entry.term, entry.kind, NULL};
        arena_reset(&t->answer);
        if (entry.kind == RAFT_CONFIG) {
            Pb__ConfigData *message = NULL;
            if (!wire_to_config(entry.data, entry.index, &t->answer, &config,
                                &message)) {
                return false;
            }
            turn_members_learn(t, message);
            remember_members(t, &config);
            e.config = &config;
        }
        if (entry.kind == RAFT_NORMAL && at > found->checkpoint.index) {
            remember_seen(t, entry.data);
        }
        if (at == base) {
            entries_reset(t->entries, (struct raft_pos){at - 1, 0}, 0);
        } else {
            raft_boot_entry(t->raft, &e);
        }
        entries_append(t->entries, &entry);
        at++;
    }
    return at == found->last.index + 1;
}

/* Hard state, log and configuration to the core. The core's log begins at what's kept, or behind the checkpoint if nothing is. */
static bool boot_raft(struct turn *t, const struct store_boot *found)
{
    struct raft_boot boot = {.term = found->term,
                             .vote = found->vote,
                             .last = found->last.index,
                             .commit = found->checkpoint.index,
                             .withhold = !found->fresh};
    struct raft_options options = raft_options_of(&t->options);
    bool first = found->fresh && !t->options.join;
    if (!boot_config(t, found, &boot)) {
        return false;
    }
    boot.snapshot = found->checkpoint;
    boot.commit = max_u64(boot.commit, found->last.index > 0 ? 1 : 0);
    if (base_of(found) != 0) {
        struct store_entry entry;
        if (!store_boot_entry(t->store, base_of(found), &entry)) {
            return false;
        }
        boot.snapshot = (struct raft_pos){entry.index, entry.term};
    }
    if (first) {
        entries_reset(t->entries, (struct raft_pos){0, 0}, 0);
        bootstrap(t, &boot);
    }
    t->raft = raft_init(t->raft_memory, &options, &boot);
    if (first) {
        struct raft_config config = {.index = 1};
        for (uint32_t i = 0; i < t->options.members_n; i++) {
            config.voters.ids[config.voters.n++] = t->options.members[i].id;
        }
        struct raft_entry entry = {1, RAFT_CONFIG, &config};
        raft_boot_entry(t->raft, &entry);
    } else if (!boot_entries(t, found)) {
        return false;
    }
    raft_booted(t->raft, t->now_ms);
    return true;
}

static bool boot_all(struct turn *t, const struct store_boot *found)
{
    t->me = (struct peer_self){found->incarnation, found->boot, found->lineage};
    t->horizon = found->events_from;
    t->events_stored = found->events_last;
    t->tail_last = found->last.index;
    t->clock_base_cluster_ms = max_u64(found->checkpoint_time_ms, 1);
    t->clock_base_ms = t->now_ms;
    if (!boot_raft(t, found)) {
        turn_die(t, "the log or the checkpoint on disk has an invalid "
                    "configuration: remove this node from the cluster and add "
                    "it anew");
        return false;
    }
    turn_clock_observe(
        t, max_u64(entries_time_ms(t->entries), found->checkpoint_time_ms));
    t->stored = found->last;
    if (!turn_load_rows(t, found->checkpoint.index)) {
        return false;
    }
    if (found->checkpoint_hash != 0 &&
        registry_hash(t->registry) != found->checkpoint_hash) {
        turn_die(t,
                 "the rows of the checkpoint at index %llu don't have its "
                 "state hash: the data directory is damaged; remove this "
                 "node from the cluster and add it anew",
                 (unsigned long long)found->checkpoint.index);
        return false;
    }
    if (!turn_draw(t)) {
        turn_die(t, "the identity file can't be written");
        return false;
    }
    return true;
}

static int by_member_id(const void *a, const void *b)
{
    raft_id x = ((const struct turn_member *)a)->id;
    raft_id y = ((const struct turn_member *)b)->id;
    return x < y ? -1 : x > y;
}

static void set_settings(struct turn *t)
{
    const struct turn_options *o = &t->options;
    int n = snprintf(t->settings, sizeof t->settings,
                     "election-ms=%llu heartbeat-ms=%llu clock-drift-ppm=%u "
                     "checkpoint-entries=%u",
                     (unsigned long long)o->election_ms,
                     (unsigned long long)o->heartbeat_ms, o->clock_drift_ppm,
                     o->checkpoint_entries);
    ASSERT(n > 0 && (size_t)n < sizeof t->settings);
    t->settings_agree = true;
}

struct turn *turn_open(const struct turn_options *options,
                       const struct turn_start *start, char *error,
                       size_t error_bytes)
{
    ASSERT((options->pending_max & (options->pending_max - 1)) == 0);
    ASSERT((options->reads_max & (options->reads_max - 1)) == 0);
    struct turn *t = calloc(1, sizeof *t);
    if (t == NULL) {
        (void)snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    t->options = *options;
    set_settings(t);
    qsort(t->options.members, t->options.members_n,
          sizeof t->options.members[0], by_member_id);
    memcpy(t->members, t->options.members,
           t->options.members_n * sizeof t->members[0]);
    t->members_n = t->options.members_n;
    t->store = start->store;
    t->now_ms = start->now_ms;
    t->last_turn_ms = start->now_ms;
    t->started_ms = start->now_ms;
    if (!take_memory(t)) {
        (void)snprintf(error, error_bytes, "out of memory");
        turn_close(t);
        return NULL;
    }
    if (!boot_all(t, start->boot)) {
        (void)snprintf(error, error_bytes, "%s", t->fatal);
        turn_close(t);
        return NULL;
    }
    return t;
}

struct lineage turn_lineage(const struct turn *t)
{
    return t->me.lineage;
}

const char *turn_settings(const struct turn *t)
{
    return t->settings;
}

void turn_set_transport(struct turn *t, struct transport *transport,
                        uint64_t now_ms)
{
    t->transport = transport;
    t->now_ms = now_ms;
    turn_members_changed(t);
}

static void release(void *memory, size_t bytes_n)
{
    if (memory != NULL) {
        (void)munmap(memory, bytes_n);
    }
}

void turn_close(struct turn *t)
{
    if (t == NULL) {
        return;
    }
    release(t->registry_memory, t->registry_memory_bytes);
    release(t->deadlines_memory, t->deadlines_memory_bytes);
    release(t->raft_memory, raft_bytes());
    release(t->frame, FRAME_SCRATCH_BYTES);
    release(t->command, FRAME_CLIENT_BYTES_MAX);
    release(t->reads, (size_t)t->options.reads_max * sizeof *t->reads);
    release(t->input.base, ARENA_INPUT_BYTES);
    release(t->apply.base, ARENA_APPLY_BYTES);
    release(t->answer.base, ARENA_ANSWER_BYTES);
    release(t->duty.base, ARENA_DUTY_BYTES);
    free(t->pending);
    entries_free(t->entries);
    history_free(t->history);
    watches_free(t->watches);
    free(t);
}

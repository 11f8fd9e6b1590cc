#include "tests/script/raft_cluster.h"

#include <stdlib.h>
#include <string.h>

#include "raft/config.h"
#include "tests/script/raft_log.h"
#include "tests/script/raft_oracle.h"
#include "tests/script/raft_text.h"

/* What a node's steps write; one at a time. */
static struct raft_out out;

struct cluster_node *cluster_node(struct cluster *c, raft_id id)
{
    ASSERT(id >= 1);
    ASSERT(id <= c->n);
    return &c->nodes[id - 1];
}

/* --- the network */
static void pool_add(struct cluster *c, const struct cluster_message *message)
{
    const struct raft_message *m = &message->m;
    if (m->to > c->n || c->cut[m->from][m->to] ||
        c->pool_n == CLUSTER_POOL_MAX) {
        free(message->entries);
        return;
    }
    c->pool[c->pool_n] = *message;
    c->pool_n++;
}

void cluster_drop(struct cluster *c, uint32_t i)
{
    ASSERT(i < c->pool_n);
    free(c->pool[i].entries);
    c->pool_n--;
    memmove(&c->pool[i], &c->pool[i + 1], (c->pool_n - i) * sizeof(c->pool[0]));
}

void cluster_repeat(struct cluster *c, uint32_t i)
{
    ASSERT(i < c->pool_n);
    struct cluster_message copy = c->pool[i];
    if (copy.entries != NULL) {
        const size_t bytes = copy.m.entries_n * sizeof(*copy.entries);
        copy.entries = malloc(bytes);
        ASSERT(copy.entries != NULL);
        memcpy(copy.entries, c->pool[i].entries, bytes);
    }
    pool_add(c, &copy);
}

void cluster_forge(struct cluster *c, const struct raft_message *m)
{
    const struct cluster_message message = {.m = *m};
    pool_add(c, &message);
}

static void release(struct cluster *c, struct cluster_node *node,
                    const struct cluster_message *message)
{
    oracle_send(c, node, message);
    if (c->trace != NULL) {
        char text[200];
        (void)fprintf(c->trace, "  %s\n",
                      raft_message_text(&message->m, text, sizeof(text)));
    }
    pool_add(c, message);
}

/* --- one turn */
static struct raft_in input(const struct cluster_node *node)
{
    return (struct raft_in){.now_ms = node->now_ms, .batch = node->open.number};
}

static void act_sends(struct cluster *c, struct cluster_node *node)
{
    for (uint32_t i = 0; i < out.sends_n; i++) {
        const struct raft_message *m = &out.sends[i].message;
        struct cluster_message message = {.m = *m};
        if (m->type == RAFT_APPEND) {
            message.entries =
                cluster_log_slice(&node->log, m->index + 1, m->entries_n);
        }
        if (out.sends[i].after <= node->batch_stored) {
            release(c, node, &message);
            continue;
        }
        if (c->trace != NULL) {
            char text[200];
            (void)fprintf(c->trace, "  (waits for batch %llu) %s\n",
                          (unsigned long long)out.sends[i].after,
                          raft_message_text(m, text, sizeof(text)));
        }
        ASSERT(node->held_n < CLUSTER_HELD_MAX);
        node->held[node->held_n] = (struct cluster_held){
            .message = message, .after = out.sends[i].after};
        node->held_n++;
    }
}

static void act_snapshot(struct cluster *c, struct cluster_node *node)
{
    if (out.snapshot_to == 0) {
        return;
    }
    const struct raft_config *config =
        raft_config_at(node->raft, node->applied);
    ASSERT(config != NULL);
    struct cluster_message message = {
        .m = {.type = RAFT_SNAPSHOT,
              .from = node->id,
              .to = out.snapshot_to,
              .term = raft_term_now(node->raft),
              .index = node->applied},
        .snapshot = {.index = node->applied,
                     .term = raft_term_at(node->raft, node->applied)},
        .config = *config};
    c->snapshots++;
    release(c, node, &message);
}

static void act_report(struct cluster *c, struct cluster_node *node)
{
    if (out.alarm != RAFT_ALARM_NONE) {
        c->alarms[out.alarm]++;
    }
    if (c->trace != NULL) {
        for (uint32_t i = 0; i < out.notes_n; i++) {
            (void)fprintf(c->trace, "%s\n", out.notes[i]);
        }
        if (out.alarm != RAFT_ALARM_NONE) {
            (void)fprintf(c->trace, "ALARM %d about %u at %llu^%llu\n",
                          (int)out.alarm, out.alarm_node,
                          (unsigned long long)out.alarm_index,
                          (unsigned long long)out.alarm_term);
        }
        if (out.transfer_done) {
            (void)fprintf(c->trace, "%u: transfer %s\n", node->id,
                          out.transfer_failed ? "failed" : "done");
        }
        if (out.reads_ticket != 0) {
            (void)fprintf(c->trace, "%u: reads up to %llu served at %llu\n",
                          node->id, (unsigned long long)out.reads_ticket,
                          (unsigned long long)out.reads_index);
        }
        if (out.reads_failed != 0) {
            (void)fprintf(c->trace, "%u: reads up to %llu failed\n", node->id,
                          (unsigned long long)out.reads_failed);
        }
    }
}

/* Does what the core asks for. `source` holds the entries that it was given: the first of them is for index `first`. */
static void act(struct cluster *c, struct cluster_node *node,
                const struct cluster_entry *source, raft_index first)
{
    act_report(c, node);
    struct cluster_batch *open = &node->open;
    if (out.hard_state) {
        open->hard = true;
        open->term = out.term;
        open->vote = out.vote;
    }
    if (out.truncate_from != 0) {
        c->truncations++;
        cluster_log_truncate(&node->log, out.truncate_from);
        if (open->first == 0 || open->first > out.truncate_from) {
            open->first = out.truncate_from;
        }
    }
    for (uint32_t i = 0; i < out.append_n; i++) {
        const struct cluster_entry *e = &source[out.append_first + i - first];
        cluster_log_append(&node->log, e);
        oracle_append(c, node, out.append_first + i);
    }
    if (out.append_n > 0 && open->first == 0) {
        open->first = out.append_first;
    }
    ASSERT(node->log.base.index + node->log.n == raft_last(node->raft));
    act_sends(c, node);
    act_snapshot(c, node);
    oracle_reads(c, node, &out);
    if (out.role_changed && raft_role_now(node->raft) == RAFT_LEADER) {
        node->first_due = true;
        oracle_leader(c, node);
    }
    raft_out_reset(&out);
    raft_check(node->raft);
}

static void propose(struct cluster *c, struct cluster_node *node,
                    const struct cluster_entry *e)
{
    const struct raft_in in = input(node);
    raft_index first = 0;
    const enum baton_status status =
        raft_propose(node->raft, &in, 1, &out, &first);
    if (status == BATON_OK) {
        struct cluster_entry entry = *e;
        entry.term = raft_term_now(node->raft);
        act(c, node, &entry, first);
    }
}

static void leave(struct cluster *c, struct cluster_node *node)
{
    const struct raft_in in = input(node);
    raft_index index = 0;
    struct cluster_entry entry = {.kind = RAFT_CONFIG,
                                  .term = raft_term_now(node->raft)};
    if (raft_propose_leave(node->raft, &in, &out, &entry.config, &index) ==
        BATON_OK) {
        act(c, node, &entry, index);
    }
}

static void batch_close(struct cluster_node *node)
{
    struct cluster_batch *open = &node->open;
    if (!open->hard && open->first == 0) {
        return;
    }
    if (open->first != 0) {
        const raft_index last = node->log.base.index + node->log.n;
        open->n = (uint32_t)(last + 1 - open->first);
        open->entries = cluster_log_slice(&node->log, open->first, open->n);
    }
    ASSERT(node->queue_n < CLUSTER_BATCH_MAX);
    node->queue[node->queue_n] = *open;
    node->queue_n++;
    *open = (struct cluster_batch){.number = open->number + 1};
}

/* The rest of a turn, after its first step. */
static void turn_end(struct cluster *c, struct cluster_node *node)
{
    if (node->first_due && raft_role_now(node->raft) == RAFT_LEADER) {
        node->first_due = false;
        propose(c, node, &(struct cluster_entry){.kind = RAFT_NOOP});
    }
    if (raft_config_leave(node->raft)) {
        leave(c, node);
    }
    const struct raft_in in = input(node);
    raft_flush(node->raft, &in, &out);
    act(c, node, NULL, 0);
    batch_close(node);
    while (node->applied < raft_commit(node->raft)) {
        node->applied++;
        oracle_apply(c, node, node->applied);
    }
    raft_applied(node->raft, node->applied);
    oracle_lease(c, node);
}

void cluster_tick(struct cluster *c, raft_id id, uint64_t ms)
{
    struct cluster_node *node = cluster_node(c, id);
    node->now_ms += ms;
    if (!node->up) {
        return;
    }
    const struct raft_in in = input(node);
    raft_tick(node->raft, &in, &out);
    act(c, node, NULL, 0);
    turn_end(c, node);
}

enum baton_status cluster_propose(struct cluster *c, raft_id id, uint32_t n)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    raft_index first = 0;
    struct cluster_entry entries[16];
    ASSERT(n <= countof(entries));
    const enum baton_status status =
        raft_propose(node->raft, &in, n, &out, &first);
    if (status == BATON_OK) {
        for (uint32_t i = 0; i < n; i++) {
            c->value++;
            entries[i] =
                (struct cluster_entry){.term = raft_term_now(node->raft),
                                       .kind = RAFT_NORMAL,
                                       .value = c->value};
        }
        act(c, node, entries, first);
    }
    turn_end(c, node);
    return status;
}

enum baton_status cluster_read(struct cluster *c, raft_id id,
                               uint64_t *out_ticket)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    const enum baton_status status = raft_read(node->raft, &in, out_ticket);
    if (status == BATON_OK) {
        oracle_read(c, node, *out_ticket);
    }
    turn_end(c, node);
    return status;
}

enum baton_status cluster_transfer(struct cluster *c, raft_id id, raft_id to)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    const enum baton_status status = raft_transfer(node->raft, &in, to, &out);
    act(c, node, NULL, 0);
    turn_end(c, node);
    return status;
}

enum baton_status cluster_config(struct cluster *c, raft_id id,
                                 raft_index expected,
                                 const struct raft_config *target)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    raft_index index = 0;
    struct cluster_entry entry = {.kind = RAFT_CONFIG,
                                  .term = raft_term_now(node->raft)};
    const enum baton_status status =
        raft_propose_config(node->raft, &in, expected, &target->voters,
                            &target->learners, &out, &entry.config, &index);
    if (status == BATON_OK) {
        act(c, node, &entry, index);
    }
    turn_end(c, node);
    return status;
}

void cluster_peer_up(struct cluster *c, raft_id id, raft_id peer)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    raft_peer_up(node->raft, &in, peer, &out);
    act(c, node, NULL, 0);
    turn_end(c, node);
}

void cluster_step_down(struct cluster *c, raft_id id)
{
    struct cluster_node *node = cluster_node(c, id);
    const struct raft_in in = input(node);
    raft_step_down(node->raft, &in, "asked to", &out);
    act(c, node, NULL, 0);
    turn_end(c, node);
}

/* --- the disk */
static void batch_write(struct cluster_node *node, struct cluster_batch *batch)
{
    if (batch->hard) {
        ASSERT(batch->term >= node->disk_term);
        node->disk_term = batch->term;
        node->disk_vote = batch->vote;
    }
    if (batch->first != 0) {
        cluster_log_truncate(&node->disk, batch->first);
        ASSERT(node->disk.base.index + node->disk.n + 1 == batch->first);
        for (uint32_t i = 0; i < batch->n; i++) {
            cluster_log_append(&node->disk, &batch->entries[i]);
        }
    }
    node->batch_stored = batch->number;
    free(batch->entries);
    batch->entries = NULL;
}

static void held_release(struct cluster *c, struct cluster_node *node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->held_n; i++) {
        if (node->held[i].after <= node->batch_stored) {
            release(c, node, &node->held[i].message);
        } else {
            node->held[kept] = node->held[i];
            kept++;
        }
    }
    node->held_n = kept;
}

bool cluster_store(struct cluster *c, raft_id id)
{
    struct cluster_node *node = cluster_node(c, id);
    if (!node->up || node->queue_n == 0) {
        return false;
    }
    batch_write(node, &node->queue[0]);
    node->queue_n--;
    memmove(&node->queue[0], &node->queue[1],
            node->queue_n * sizeof(node->queue[0]));
    const struct raft_in in = input(node);
    raft_stored(node->raft, &in, node->batch_stored,
                cluster_log_last(&node->disk), &out);
    held_release(c, node);
    act(c, node, NULL, 0);
    turn_end(c, node);
    return true;
}

/* --- messages that arrive */
static void install(struct cluster *c, struct cluster_node *node,
                    const struct cluster_message *message)
{
    if (message->snapshot.index > raft_commit(node->raft)) {
        while (cluster_store(c, node->id)) {
        }
        if (!raft_snapshot_installed(node->raft, message->snapshot,
                                     &message->config)) {
            return;
        }
        struct cluster_log *log = &node->log;
        const raft_index index = message->snapshot.index;
        const uint64_t at = index - log->base.index;
        if (at > log->n || log->items[at - 1].term != message->snapshot.term) {
            log->n = 0;
        }
        cluster_log_compact(log, message->snapshot, &message->config);
        cluster_log_copy(&node->disk, log);
        node->applied = index;
        raft_check(node->raft);
    }
    release(c, node,
            &(struct cluster_message){.m = {.type = RAFT_SNAPSHOT_REPLY,
                                            .from = node->id,
                                            .to = message->m.from,
                                            .term = raft_term_now(node->raft),
                                            .index = message->snapshot.index,
                                            .success = true}});
}

void cluster_deliver(struct cluster *c, uint32_t i)
{
    ASSERT(i < c->pool_n);
    struct cluster_message message = c->pool[i];
    c->pool[i].entries = NULL;
    cluster_drop(c, i);
    struct cluster_node *node = cluster_node(c, message.m.to);
    if (!node->up) {
        free(message.entries);
        return;
    }
    struct raft_message m = message.m;
    struct raft_entry *entries = calloc(m.entries_n + 1U, sizeof(*entries));
    ASSERT(entries != NULL);
    for (uint32_t e = 0; e < m.entries_n; e++) {
        entries[e] =
            (struct raft_entry){.term = message.entries[e].term,
                                .kind = message.entries[e].kind,
                                .config = message.entries[e].kind == RAFT_CONFIG
                                              ? &message.entries[e].config
                                              : NULL};
    }
    m.entries = entries;
    const struct raft_in in = input(node);
    raft_receive(node->raft, &in, &m, &out);
    act(c, node, message.entries, m.index + 1);
    turn_end(c, node);
    if (m.type == RAFT_SNAPSHOT && m.term == raft_term_now(node->raft)) {
        install(c, node, &message);
        turn_end(c, node);
    }
    free(entries);
    free(message.entries);
}

/* --- life and death */
void cluster_crash(struct cluster *c, raft_id id)
{
    struct cluster_node *node = cluster_node(c, id);
    node->up = false;
    for (uint32_t i = 0; i < node->queue_n; i++) {
        free(node->queue[i].entries);
    }
    node->queue_n = 0;
    for (uint32_t i = 0; i < node->held_n; i++) {
        free(node->held[i].message.entries);
    }
    node->held_n = 0;
}

void cluster_forget(struct cluster *c, raft_id id, raft_index last)
{
    struct cluster_node *node = cluster_node(c, id);
    ASSERT(!node->up);
    cluster_log_truncate(&node->disk, last + 1);
}

void cluster_restart(struct cluster *c, raft_id id)
{
    struct cluster_node *node = cluster_node(c, id);
    ASSERT(!node->up);
    const bool first = node->memory == NULL;
    if (first) {
        node->memory = aligned_alloc(16, (raft_bytes() + 15) / 16 * 16);
        ASSERT(node->memory != NULL);
    }
    memset(node->memory, 0, raft_bytes());
    cluster_log_copy(&node->log, &node->disk);
    const struct raft_boot boot = {.term = node->disk_term,
                                   .vote = node->disk_vote,
                                   .snapshot = node->disk.base,
                                   .snapshot_config = node->disk.base_config,
                                   .last = cluster_log_last(&node->disk).index,
                                   .commit = node->disk.base.index,
                                   .withhold = !first};
    node->raft = raft_init(node->memory, &node->options, &boot);
    for (uint32_t i = 0; i < node->log.n; i++) {
        const struct cluster_entry *e = &node->log.items[i];
        const struct raft_entry entry = {
            .term = e->term,
            .kind = e->kind,
            .config = e->kind == RAFT_CONFIG ? &e->config : NULL};
        raft_boot_entry(node->raft, &entry);
    }
    raft_booted(node->raft, node->now_ms);
    node->up = true;
    node->open = (struct cluster_batch){.number = 1};
    node->batch_stored = 0;
    node->applied = node->disk.base.index;
    node->first_due = false;
    node->ticket_done = 0;
    node->ticket_last = 0;
    /* Another start, another course of random numbers: as the shell seeds it. */
    node->options.seed += 1000;
}

void cluster_compact(struct cluster *c, raft_id id, raft_index index)
{
    struct cluster_node *node = cluster_node(c, id);
    ASSERT(index <= node->applied);
    ASSERT(index <= cluster_log_last(&node->disk).index);
    if (index <= node->log.base.index) {
        return;
    }
    const struct raft_config config = *raft_config_at(node->raft, index);
    const struct raft_pos pos = {.index = index,
                                 .term = raft_term_at(node->raft, index)};
    raft_compacted(node->raft, index + 1);
    cluster_log_compact(&node->log, pos, &config);
    cluster_log_compact(&node->disk, pos, &config);
    raft_check(node->raft);
}

raft_id cluster_leader(const struct cluster *c)
{
    raft_id leader = 0;
    raft_term term = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct cluster_node *node = &c->nodes[i];
        if (node->up && raft_role_now(node->raft) == RAFT_LEADER &&
            raft_term_now(node->raft) > term) {
            leader = node->id;
            term = raft_term_now(node->raft);
        }
    }
    return leader;
}

void cluster_init(struct cluster *c, uint32_t n,
                  const struct raft_options *options,
                  const struct raft_config *config)
{
    ASSERT(n <= CLUSTER_NODES_MAX);
    c->n = n;
    c->leases_checked = true;
    for (uint32_t i = 0; i < n; i++) {
        struct cluster_node *node = &c->nodes[i];
        node->id = i + 1;
        node->options = *options;
        node->options.id = node->id;
        node->options.seed = options->seed + node->id;
        if (config_has(config, node->id)) {
            node->disk.base_config = *config;
        }
        cluster_restart(c, node->id);
    }
}

void cluster_fini(struct cluster *c)
{
    while (c->pool_n > 0) {
        cluster_drop(c, c->pool_n - 1);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        struct cluster_node *node = &c->nodes[i];
        cluster_crash(c, node->id);
        free(node->memory);
        free(node->log.items);
        free(node->disk.items);
    }
}

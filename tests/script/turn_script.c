/* turn_script.c - runs tests/script/turn/NAME.txt: whole nodes in one process (tests/lab/lab.h), moved by hand.
 *
 *   nodes N [checkpoint=N] [keep=N] [events=N] [chunk=N] [lease-reads]   N founders, started. Entries between checkpoints, log and
 *                        history kept, bytes that a read of the disk gives
 *   tick N MS            that node's time goes on, a turn each 10 ms; stall N MS: in one turn
 *   run MS               time for all, everything settled after every 10 ms
 *   settle               disks write and frames arrive until nothing moves; held disks and cut links stay as they are
 *   deliver [from=N] [to=N] [n=N]     frames, oldest first; without n: all there are at the start
 *   drop [from=N] [to=N]
 *   store N              its disk writes one batch
 *   gather N / turn N    what comes to it waits; it takes all of that in one turn
 *   hold N / release N   settle and run leave its disk alone / no longer
 *   cut A B [oneway] / heal
 *   crash N / start N / stop N / wipe N / join
 *   image N / restore N  keeps a copy of a disk; puts it in place of the present one of a node that's down
 *   corrupt N            a row on the disk of a node that's down, and the state hash with it: it won't notice by itself
 *   fail N TEXT          the next write of its disk fails
 *   client N [conn=C] REQUEST...      see turn_request.h; replies are printed as "C<N #ID ..."
 *   junk N [conn=C]      a frame that's no message
 *   gone N conn=C        the client closes its connection; room N conn=C bytes=B: what its connection still takes
 *   status / frames / digest          where the nodes are; what's on its way; a number for each that's equal for equal registries
 *
 * Output: what clients are told, and what nodes log ("N: ..."). A command may have the words frames (each frame as it's sent; heartbeats: those too), stores
 * (each batch as it's written), quiet (only what clients are told) or silent. turn_check() runs after each turn. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "session/rows.h"
#include "tests/lab/lab.h"
#include "tests/script/datadriven.h"
#include "tests/script/turn_request.h"
#include "tests/script/turn_text.h"
#include "tests/unit/assert_stub.h"

#define ARENA_BYTES (16u << 20)

struct script {
    struct lab lab;
    struct turn_requests requests;
    struct sim_disk *images[LAB_NODES_MAX + 1];
    uint8_t *memory; /* for decoding */
    FILE *output;
    bool shows_log;
    bool shows_clients;
    bool shows_frames;
    bool shows_beats;
    bool shows_stores;
};

struct script_verb {
    const char *name;
    void (*run)(struct script *s, const struct datadriven_command *d);
};

/* --- what nodes say ------------------------------------------------------------------------------------------------------- */

static void on_log(void *arg, raft_id node, int level, const char *line)
{
    struct script *s = arg;
    static const char note[] = "raft note=\"";
    if (s->output == NULL || !s->shows_log || level > 2) {
        return;
    }
    if (strncmp(line, note, sizeof note - 1) == 0) {
        /* The core's own words, which say who speaks. */
        size_t n = strlen(line) - sizeof note;
        (void)fprintf(s->output, "%u: %.*s\n", node, (int)n,
                      line + sizeof note - 1);
        return;
    }
    (void)fprintf(s->output, "%u: %s\n", node, line);
}

static void on_client(void *arg, raft_id node, uint64_t conn, struct bytes body)
{
    struct script *s = arg;
    struct arena arena;
    if (s->output == NULL || !s->shows_clients) {
        return;
    }
    arena_init(&arena, s->memory, ARENA_BYTES);
    Pb__ClientMessage *m = codec_decode_message(body, &arena);
    ASSERT(m != NULL);
    turn_text_message(s->output, conn, node, m);
}

static void on_closed(void *arg, raft_id node, uint64_t conn, const char *why)
{
    struct script *s = arg;
    if (s->output != NULL && s->shows_clients) {
        (void)fprintf(s->output, "%" PRIu64 "<%u closed: %s\n", conn, node,
                      why);
    }
}

static void on_frame(void *arg, raft_id from, raft_id to, struct bytes body)
{
    struct script *s = arg;
    struct arena arena;
    if (s->output == NULL || !s->shows_frames) {
        return;
    }
    arena_init(&arena, s->memory, ARENA_BYTES);
    Pb__PeerFrame *frame = codec_decode_peer(body, &arena);
    ASSERT(frame != NULL);
    if (!s->shows_beats && (frame->type == RAFT_HEARTBEAT ||
                            frame->type == RAFT_HEARTBEAT_REPLY)) {
        return;
    }
    turn_text_frame(s->output, from, to, frame);
}

static void on_stored(void *arg, raft_id node, const char *what)
{
    struct script *s = arg;
    if (s->output != NULL && s->shows_stores) {
        (void)fprintf(s->output, "  %u stored%s\n", node, what);
    }
}

static void on_ended(void *arg, raft_id node, const char *why)
{
    struct script *s = arg;
    if (s->output != NULL) {
        (void)fprintf(s->output, "%u ended: %s\n", node, why);
    }
}

/* --- words of commands ------------------------------------------------------------------------------------------------------ */

static raft_id node_at(struct script *s, const struct datadriven_command *d,
                       unsigned i)
{
    const char *text = datadriven_plain(d, i);
    unsigned long id = text == NULL ? 0 : strtoul(text, NULL, 10);
    if (id == 0 || id > s->lab.n) {
        datadriven_fail(d, "a node's number was expected");
    }
    return (raft_id)id;
}

static raft_id running(struct script *s, const struct datadriven_command *d)
{
    raft_id id = node_at(s, d, 0);
    if (!lab_node(&s->lab, id)->up) {
        datadriven_fail(d, "that node is down");
    }
    return id;
}

static raft_id down(struct script *s, const struct datadriven_command *d)
{
    raft_id id = node_at(s, d, 0);
    if (lab_node(&s->lab, id)->up) {
        datadriven_fail(d, "that node runs");
    }
    return id;
}

/* "500", "500ms" or "5s". */
static uint64_t time_at(const struct datadriven_command *d, unsigned i)
{
    const char *text = datadriven_plain(d, i);
    char *end = NULL;
    uint64_t ms = text == NULL ? 0 : strtoull(text, &end, 10);
    if (text == NULL || end == text) {
        datadriven_fail(d, "how many ms?");
    }
    return strcmp(end, "s") == 0 ? ms * 1000 : ms;
}

static uint64_t conn_of(const struct datadriven_command *d)
{
    uint64_t conn = datadriven_number(d, "conn", 7);
    if (conn == 0 || conn >= LAB_CONNS_MAX) {
        datadriven_fail(d, "conn is 1 to 15");
    }
    return conn;
}

/* --- nodes and time ----------------------------------------------------------------------------------------------------------- */

static void run_nodes(struct script *s, const struct datadriven_command *d)
{
    const char *text = datadriven_plain(d, 0);
    uint32_t n = text == NULL ? 0 : (uint32_t)strtoul(text, NULL, 10);
    const struct lab_listener listener = {
        .arg = s,
        .log = on_log,
        .client = on_client,
        .closed = on_closed,
        .frame = on_frame,
        .stored = on_stored,
        .ended = on_ended,
    };
    if (n == 0 || n > LAB_NODES_MAX || s->lab.n > 0) {
        datadriven_fail(d, "nodes, 1 to 7, once");
    }
    lab_init(&s->lab, n, &listener);
    struct turn_options *o = &s->lab.options;
    o->checkpoint_entries =
        (uint32_t)datadriven_number(d, "checkpoint", o->checkpoint_entries);
    o->log_keep_entries =
        (uint32_t)datadriven_number(d, "keep", o->log_keep_entries);
    o->events_keep_n = datadriven_number(d, "events", o->events_keep_n);
    s->lab.read_bytes_max = datadriven_number(d, "chunk", 0);
    o->lease_reads = datadriven_has(d, "lease-reads");
    for (raft_id id = 1; id <= n; id++) {
        (void)lab_start(&s->lab, id);
    }
}

static void run_tick(struct script *s, const struct datadriven_command *d)
{
    lab_tick(&s->lab, node_at(s, d, 0), time_at(d, 1));
}

static void run_stall(struct script *s, const struct datadriven_command *d)
{
    lab_stall(&s->lab, node_at(s, d, 0), time_at(d, 1));
}

static void run_run(struct script *s, const struct datadriven_command *d)
{
    lab_run(&s->lab, time_at(d, 0));
}

static void run_settle(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    lab_settle(&s->lab);
}

static void run_deliver(struct script *s, const struct datadriven_command *d)
{
    raft_id from = (raft_id)datadriven_number(d, "from", 0);
    raft_id to = (raft_id)datadriven_number(d, "to", 0);
    uint32_t there = lab_frames(&s->lab, from, to);
    uint64_t n = datadriven_number(d, "n", there);
    if (there == 0) {
        datadriven_fail(d, "no such frame");
    }
    while (n > 0 && lab_deliver(&s->lab, from, to)) {
        n--;
    }
}

static void run_gather(struct script *s, const struct datadriven_command *d)
{
    lab_gather(&s->lab, node_at(s, d, 0), strcmp(d->verb, "gather") == 0);
}

static void run_drop(struct script *s, const struct datadriven_command *d)
{
    raft_id from = (raft_id)datadriven_number(d, "from", 0);
    raft_id to = (raft_id)datadriven_number(d, "to", 0);
    while (lab_lose(&s->lab, from, to)) {
    }
}

static void run_cut(struct script *s, const struct datadriven_command *d)
{
    raft_id a = node_at(s, d, 0);
    raft_id b = node_at(s, d, 1);
    s->lab.cut[a][b] = true;
    s->lab.cut[b][a] = s->lab.cut[b][a] || !datadriven_has(d, "oneway");
    (void)lab_link(&s->lab);
}

static void run_heal(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    memset(s->lab.cut, 0, sizeof s->lab.cut);
    (void)lab_link(&s->lab);
}

static void run_store(struct script *s, const struct datadriven_command *d)
{
    if (!lab_write(&s->lab, running(s, d))) {
        datadriven_fail(d, "its disk has nothing to write");
    }
}

static void run_hold(struct script *s, const struct datadriven_command *d)
{
    lab_node(&s->lab, node_at(s, d, 0))->held = strcmp(d->verb, "hold") == 0;
}

static void run_fail(struct script *s, const struct datadriven_command *d)
{
    const char *text = datadriven_plain(d, 1);
    struct lab_node *node = lab_node(&s->lab, running(s, d));
    sim_store_fail(node->store, STORE_FAILURE_IO,
                   text == NULL ? "the disk failed" : text);
}

static void run_crash(struct script *s, const struct datadriven_command *d)
{
    lab_crash(&s->lab, running(s, d));
}

static void run_start(struct script *s, const struct datadriven_command *d)
{
    (void)lab_start(&s->lab, down(s, d));
}

static void run_stop(struct script *s, const struct datadriven_command *d)
{
    lab_stop(&s->lab, running(s, d));
}

static void run_join(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    (void)lab_start(&s->lab, lab_join(&s->lab));
}

static void run_wipe(struct script *s, const struct datadriven_command *d)
{
    lab_replace_disk(&s->lab, down(s, d), NULL);
}

static void run_image(struct script *s, const struct datadriven_command *d)
{
    raft_id id = node_at(s, d, 0);
    sim_disk_free(s->images[id]);
    s->images[id] = sim_disk_copy(lab_node(&s->lab, id)->disk);
}

static void run_restore(struct script *s, const struct datadriven_command *d)
{
    raft_id id = down(s, d);
    if (s->images[id] == NULL) {
        datadriven_fail(d, "there's no image of it");
    }
    lab_replace_disk(&s->lab, id, s->images[id]);
    s->images[id] = NULL;
}

/* A lease's row counts one renewal more: harmless by itself, and another state. */
static void run_corrupt(struct script *s, const struct datadriven_command *d)
{
    struct sim_disk *disk = lab_node(&s->lab, down(s, d))->disk;
    struct sim_disk_counts counts;
    uint8_t value[1024];
    struct arena arena;
    sim_disk_counts(disk, &counts);
    arena_init(&arena, s->memory, ARENA_BYTES);
    for (uint32_t i = 0; i < counts.rows_n; i++) {
        struct bytes key;
        struct bytes old;
        sim_disk_row(disk, i, &key, &old);
        if (key.data[0] != ROW_LEASE) {
            continue;
        }
        Pb__LeaseRow *row = codec_decode_lease_row(old, &arena);
        ASSERT(row != NULL);
        row->renewals++;
        size_t n = codec_encode(&row->base, value, sizeof value);
        ASSERT(n > 0);
        struct bytes changed = {value, n};
        sim_disk_set_hash(disk, sim_disk_hash(disk) - row_hash(key, old) +
                                    row_hash(key, changed));
        sim_disk_set_row(disk, key, changed);
        return;
    }
    datadriven_fail(d, "its checkpoint has no lease");
}

/* --- clients -------------------------------------------------------------------------------------------------------------------- */

static void run_client(struct script *s, const struct datadriven_command *d)
{
    static uint8_t bytes[1u << 20];
    const char *verb = datadriven_plain(d, 1);
    raft_id id = running(s, d);
    if (verb == NULL) {
        datadriven_fail(d, "which request?");
    }
    size_t n = turn_request(&s->requests, d, verb, bytes, sizeof bytes);
    lab_client(&s->lab, id, conn_of(d), (struct bytes){bytes, n});
}

static void run_junk(struct script *s, const struct datadriven_command *d)
{
    const uint8_t junk[] = {0xff, 0xff, 0xff, 0xff};
    lab_client(&s->lab, running(s, d), conn_of(d),
               (struct bytes){junk, sizeof junk});
}

static void run_gone(struct script *s, const struct datadriven_command *d)
{
    lab_client_close(&s->lab, running(s, d), conn_of(d));
}

static void run_room(struct script *s, const struct datadriven_command *d)
{
    lab_set_room(&s->lab, running(s, d), conn_of(d),
                 datadriven_number(d, "bytes", UINT64_MAX));
}

/* --- looking ---------------------------------------------------------------------------------------------------------------------- */

static void print_nodes(FILE *f, const char *name,
                        const struct raft_nodes *nodes)
{
    if (nodes->n == 0) {
        return;
    }
    (void)fprintf(f, " %s", name);
    for (uint32_t i = 0; i < nodes->n; i++) {
        (void)fprintf(f, "%c%u", i == 0 ? '(' : ' ', nodes->ids[i]);
    }
    (void)fprintf(f, ")");
}

static void run_status(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    for (raft_id id = 1; id <= s->lab.n; id++) {
        struct lab_node *node = lab_node(&s->lab, id);
        struct sim_disk_counts c;
        sim_disk_counts(node->disk, &c);
        if (!node->up) {
            (void)fprintf(s->output, "%u is down;", id);
        } else {
            const struct raft *r = turn_raft(node->turn);
            const struct raft_config *config = raft_config_now(r);
            (void)fprintf(s->output,
                          "%u %s term %" PRIu64 " leader %u log %" PRIu64
                          "..%" PRIu64 " commit %" PRIu64 " applied %" PRIu64,
                          id, raft_role_name(raft_role_now(r)),
                          raft_term_now(r), raft_leader(r), raft_first(r),
                          raft_last(r), raft_commit(r),
                          turn_applied(node->turn));
            print_nodes(s->output, "voters", &config->voters);
            print_nodes(s->output, "old", &config->voters_old);
            print_nodes(s->output, "learners", &config->learners);
            (void)fprintf(s->output, ";");
        }
        (void)fprintf(s->output,
                      " disk %" PRIu64 "..%" PRIu64 " checkpoint %" PRIu64
                      " rows %u events %u",
                      c.first, c.last, c.checkpoint, c.rows_n, c.events_n);
        if (c.incoming_n > 0) {
            (void)fprintf(s->output, " incoming %u", c.incoming_n);
        }
        (void)fprintf(s->output, "\n");
    }
}

static void run_frames(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    for (raft_id from = 1; from <= s->lab.n; from++) {
        for (raft_id to = 1; to <= s->lab.n; to++) {
            uint32_t n = lab_frames(&s->lab, from, to);
            if (n > 0) {
                (void)fprintf(s->output, "%u>%u %u\n", from, to, n);
            }
        }
    }
}

static uint64_t hash_of_text(struct bytes text, uint64_t seed)
{
    return XXH3_64bits_withSeed(text.data, text.n, seed);
}

static uint64_t hash_of_scope(const struct scope_view *v)
{
    const uint64_t numbers[] = {
        v->group_scope, v->epoch,      v->session,          v->lease,
        v->backup,      v->granted_ms, v->previous_session, v->previous_epoch,
        v->reason,      v->offer,      v->offer_to,         v->accepted,
        v->deadline_ms};
    uint64_t h = XXH3_64bits(numbers, sizeof numbers);
    h = hash_of_text(v->namespace_name, h);
    h = hash_of_text(v->group, h);
    return hash_of_text(v->device, h);
}

static uint64_t hash_of_session(const struct session_view *v)
{
    const uint64_t numbers[] = {
        v->id,           v->lease,        v->attachment,  v->role,
        v->group_leader, v->group_backup, v->observer,    v->detached,
        v->opened_ms,    v->device_epoch, v->group_epoch, (uint64_t)v->score};
    uint64_t h = XXH3_64bits(numbers, sizeof numbers);
    h = hash_of_text(v->namespace_name, h);
    h = hash_of_text(v->group, h);
    h = hash_of_text(v->device, h);
    return hash_of_text(v->tab, h);
}

/* A sum, so that it doesn't depend on the slots that things lie in. */
static uint64_t digest_of(const struct registry *r)
{
    uint64_t sum = registry_time_ms(r);
    for (uint32_t s = 1; s <= registry_session_slots(r); s++) {
        struct session_view v;
        sum += registry_session_at(r, s, &v) ? hash_of_session(&v) : 0;
    }
    for (uint32_t s = 1; s <= registry_lease_slots(r); s++) {
        struct lease_view v;
        if (registry_lease_at(r, s, &v)) {
            const uint64_t numbers[] = {v.id,         v.ttl_ms, v.renewals,
                                        v.touched_ms, v.ended,  v.sessions_n};
            sum += hash_of_text(v.label, XXH3_64bits(numbers, sizeof numbers));
        }
    }
    for (uint32_t g = 1; g <= registry_group_slots(r); g++) {
        struct scope_view v;
        uint32_t cursor = 0;
        if (!registry_group_scope(r, g, &v)) {
            continue;
        }
        sum += hash_of_scope(&v);
        while (registry_group_device(r, g, &cursor, &v)) {
            sum += hash_of_scope(&v);
        }
    }
    return sum;
}

static void run_digest(struct script *s, const struct datadriven_command *d)
{
    (void)d;
    for (raft_id id = 1; id <= s->lab.n; id++) {
        const struct lab_node *node = lab_node(&s->lab, id);
        if (node->up) {
            (void)fprintf(s->output, "%u at %" PRIu64 ": %016" PRIx64 "\n", id,
                          turn_applied(node->turn),
                          digest_of(turn_registry(node->turn)));
        }
    }
}

/* --- the runner ------------------------------------------------------------------------------------------------------------------- */

static const struct script_verb verbs[] = {
    {"nodes", run_nodes},     {"tick", run_tick},
    {"stall", run_stall},     {"run", run_run},
    {"settle", run_settle},   {"deliver", run_deliver},
    {"drop", run_drop},       {"cut", run_cut},
    {"heal", run_heal},       {"gather", run_gather},
    {"turn", run_gather},     {"store", run_store},
    {"hold", run_hold},       {"release", run_hold},
    {"fail", run_fail},       {"crash", run_crash},
    {"start", run_start},     {"stop", run_stop},
    {"join", run_join},       {"wipe", run_wipe},
    {"image", run_image},     {"restore", run_restore},
    {"corrupt", run_corrupt}, {"client", run_client},
    {"junk", run_junk},       {"gone", run_gone},
    {"room", run_room},       {"status", run_status},
    {"frames", run_frames},   {"digest", run_digest},
};

static void script_run(void *state, const struct datadriven_command *command,
                       FILE *output)
{
    struct script *s = state;
    bool quiet = datadriven_has(command, "quiet");
    bool silent = datadriven_has(command, "silent");
    s->shows_log = !quiet && !silent;
    s->shows_clients = !silent;
    s->shows_beats = datadriven_has(command, "heartbeats");
    s->shows_frames = datadriven_has(command, "frames") || s->shows_beats;
    s->shows_stores = datadriven_has(command, "stores");
    for (size_t i = 0; i < countof(verbs); i++) {
        if (strcmp(verbs[i].name, command->verb) == 0) {
            s->output = output;
            verbs[i].run(s, command);
            s->output = NULL;
            return;
        }
    }
    datadriven_fail(command, "no such command");
}

static void *script_begin(void *arg)
{
    (void)arg;
    struct script *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    s->memory = malloc(ARENA_BYTES);
    ASSERT(s->memory != NULL);
    return s;
}

static void script_end(void *state)
{
    struct script *s = state;
    lab_fini(&s->lab);
    for (uint32_t i = 0; i <= LAB_NODES_MAX; i++) {
        sim_disk_free(s->images[i]);
    }
    free(s->memory);
    free(s);
}

int main(int argc, char **argv)
{
    const struct datadriven_runner runner = {
        .begin = script_begin, .run = script_run, .end = script_end};
    return datadriven_main(argc, argv, &runner);
}

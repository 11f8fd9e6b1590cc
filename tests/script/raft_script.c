/* raft_script.c - runs tests/script/raft/NAME.txt: a few cores, a pool of messages, and every move by hand.
 *
 *   nodes N [voters=(..)] [learners=(..)] [noprevote] [noquorum] [entries=N] [inflight=N] [drift=PPM] [stall=MS]
 *   advance MS                time passes for all, in steps of a tenth of a heartbeat, without any message being delivered
 *   tick N MS                 for one node
 *   campaign N                that node's time goes on until it campaigns
 *   propose N [n=N] / read N / transfer N to=N / down N
 *   config N voters=(..) [learners=(..)] [expected=INDEX]
 *   store N | store all       the disk writes one batch (all that wait)
 *   deliver [from=N] [to=N] [type=T] [n=N]    messages of the pool, oldest first; last: the newest first
 *   drop ... / repeat ...     likewise
 *   stabilize [except=(..)]   stores and delivers, until nothing is left; nodes named don't take part
 *   cut A B [oneway] / heal
 *   crash N / restart N / forget N last=INDEX / compact N index=I / up N peer=N / mute N / quarantine N peer=N
 *   forge type=T from=A to=B term=T [...]     a message that nobody sent
 *   pool / state / log [N] / lease N [margin=MS] / alarms
 *
 * Output: the core's notes; under them, indented, what it sent. The word "quiet" in a command keeps back what was sent, "silent"
 * everything. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "raft/config.h"
#include "tests/script/datadriven.h"
#include "tests/script/raft_cluster.h"
#include "tests/script/raft_text.h"
#include "tests/unit/assert_stub.h"

struct script_verb {
    const char *name;
    void (*run)(struct cluster *c, const struct datadriven_command *d,
                FILE *output);
};

static raft_id node_named(const struct cluster *c,
                          const struct datadriven_command *d, unsigned i)
{
    const char *text = datadriven_plain(d, i);
    const unsigned long id = text == NULL ? 0 : strtoul(text, NULL, 10);
    if (id == 0 || id > c->n) {
        datadriven_fail(d, "a node's number was expected");
    }
    return (raft_id)id;
}

static struct raft_nodes nodes_of(const struct datadriven_command *d,
                                  const char *key)
{
    struct raft_nodes nodes = {.n = 0};
    uint64_t ids[RAFT_NODES_MAX];
    const char *text = datadriven_value(d, key);
    if (text != NULL) {
        nodes.n = datadriven_list(d, text, ids, RAFT_NODES_MAX);
        for (uint32_t i = 0; i < nodes.n; i++) {
            nodes.ids[i] = (raft_id)ids[i];
        }
    }
    return nodes;
}

static void print_nodes(FILE *output, const char *name,
                        const struct raft_nodes *nodes)
{
    if (nodes->n == 0) {
        return;
    }
    (void)fprintf(output, " %s", name);
    for (uint32_t i = 0; i < nodes->n; i++) {
        (void)fprintf(output, "%c%u", i == 0 ? '(' : ' ', nodes->ids[i]);
    }
    (void)fprintf(output, ")");
}

static void verb_nodes(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    (void)output;
    const char *n = datadriven_plain(d, 0);
    struct raft_config config = {.voters = nodes_of(d, "voters"),
                                 .learners = nodes_of(d, "learners")};
    const uint32_t count = n == NULL ? 0 : (uint32_t)strtoul(n, NULL, 10);
    if (count == 0 || count > CLUSTER_NODES_MAX) {
        datadriven_fail(d, "how many nodes?");
    }
    if (config.voters.n == 0) {
        for (raft_id id = 1; id <= count; id++) {
            config.voters.ids[config.voters.n] = id;
            config.voters.n++;
        }
    }
    const struct raft_options options = {
        .election_ms = 1000,
        .heartbeat_ms = 100,
        .clock_drift_ppm = (uint32_t)datadriven_number(d, "drift", 1000),
        .inflight_max = (uint32_t)datadriven_number(d, "inflight", 8),
        .append_entries_max = (uint32_t)datadriven_number(d, "entries", 16),
        .stall_ms = datadriven_number(d, "stall", 0),
        .seed = 7,
        .prevote = !datadriven_has(d, "noprevote"),
        .check_quorum = !datadriven_has(d, "noquorum")};
    cluster_init(c, count, &options, &config);
    /* Each node has a clock of its own here, moved by hand. */
    c->leases_checked = false;
}

static void verb_advance(struct cluster *c, const struct datadriven_command *d,
                         FILE *output)
{
    (void)output;
    const char *text = datadriven_plain(d, 0);
    const uint64_t ms = text == NULL ? 0 : strtoull(text, NULL, 10);
    for (uint64_t passed = 0; passed < ms; passed += 10) {
        for (raft_id id = 1; id <= c->n; id++) {
            cluster_tick(c, id, 10);
        }
    }
}

static void verb_tick(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    (void)output;
    const char *text = datadriven_plain(d, 1);
    if (text == NULL) {
        datadriven_fail(d, "how many ms?");
    }
    cluster_tick(c, node_named(c, d, 0), strtoull(text, NULL, 10));
}

static void verb_campaign(struct cluster *c, const struct datadriven_command *d,
                          FILE *output)
{
    (void)output;
    struct cluster_node *node = cluster_node(c, node_named(c, d, 0));
    const uint64_t due = raft_deadline_ms(node->raft);
    cluster_tick(c, node->id, due > node->now_ms ? due - node->now_ms : 0);
}

static void print_status(FILE *output, enum baton_status status)
{
    static const char *const names[] = {
        [BATON_NOT_LEADER] = "NOT_LEADER",
        [BATON_NOT_FOUND] = "NOT_FOUND",
        [BATON_CONFLICT] = "CONFLICT",
        [BATON_INVALID] = "INVALID",
        [BATON_BUSY] = "BUSY",
    };
    if (status != BATON_OK) {
        (void)fprintf(output, "%s\n", names[status]);
    }
}

static void verb_propose(struct cluster *c, const struct datadriven_command *d,
                         FILE *output)
{
    const uint32_t n = (uint32_t)datadriven_number(d, "n", 1);
    print_status(output, cluster_propose(c, node_named(c, d, 0), n));
}

static void verb_read(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    uint64_t ticket = 0;
    const enum baton_status status =
        cluster_read(c, node_named(c, d, 0), &ticket);
    print_status(output, status);
    if (status == BATON_OK) {
        (void)fprintf(output, "ticket %" PRIu64 "\n", ticket);
    }
}

static void verb_transfer(struct cluster *c, const struct datadriven_command *d,
                          FILE *output)
{
    const raft_id to = (raft_id)datadriven_number(d, "to", 0);
    print_status(output, cluster_transfer(c, node_named(c, d, 0), to));
}

static void verb_down(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    (void)output;
    cluster_step_down(c, node_named(c, d, 0));
}

static void verb_config(struct cluster *c, const struct datadriven_command *d,
                        FILE *output)
{
    const raft_id id = node_named(c, d, 0);
    const struct raft_config target = {.voters = nodes_of(d, "voters"),
                                       .learners = nodes_of(d, "learners")};
    const raft_index now = raft_config_now(cluster_node(c, id)->raft)->index;
    print_status(
        output,
        cluster_config(c, id, datadriven_number(d, "expected", now), &target));
}

static void verb_store(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    (void)output;
    if (!datadriven_has(d, "all")) {
        if (!cluster_store(c, node_named(c, d, 0))) {
            datadriven_fail(d, "there is nothing to store");
        }
        return;
    }
    for (raft_id id = 1; id <= c->n; id++) {
        while (cluster_store(c, id)) {
        }
    }
}

static bool type_matches(const struct raft_message *m, const char *type)
{
    char text[200];
    (void)raft_message_text(m, text, sizeof(text));
    const char *name = strchr(text, ' ') + 1;
    const size_t n = strcspn(name, " ");
    return strlen(type) == n && strncmp(name, type, n) == 0;
}

/* Does what `command` says with the messages that it names. */
static void verb_move(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    const raft_id from = (raft_id)datadriven_number(d, "from", 0);
    const raft_id to = (raft_id)datadriven_number(d, "to", 0);
    const char *type = datadriven_value(d, "type");
    const bool newest = datadriven_has(d, "last");
    uint64_t left = datadriven_number(d, "n", newest ? 1 : UINT64_MAX);
    (void)output;
    uint32_t n = c->pool_n;
    uint32_t moved = 0;
    for (uint32_t i = 0; i < n && left > 0;) {
        const uint32_t at = newest ? n - 1 - i : i;
        const struct raft_message *m = &c->pool[at].m;
        if ((from != 0 && m->from != from) || (to != 0 && m->to != to) ||
            (type != NULL && !type_matches(m, type))) {
            i++;
            continue;
        }
        left--;
        moved++;
        if (strcmp(d->verb, "repeat") == 0) {
            cluster_repeat(c, at);
            i++;
        } else if (strcmp(d->verb, "drop") == 0) {
            cluster_drop(c, at);
            n--;
        } else {
            /* What that makes joins the pool behind place n. */
            cluster_deliver(c, at);
            n--;
        }
    }
    if (moved == 0 && strcmp(d->verb, "drop") != 0) {
        datadriven_fail(d, "no such message");
    }
}

static void verb_stabilize(struct cluster *c,
                           const struct datadriven_command *d, FILE *output)
{
    (void)output;
    const struct raft_nodes except = nodes_of(d, "except");
    bool more = true;
    while (more) {
        more = false;
        for (raft_id id = 1; id <= c->n; id++) {
            while (!nodes_has(&except, id) && cluster_store(c, id)) {
                more = true;
            }
        }
        for (uint32_t i = 0; i < c->pool_n; i++) {
            if (!nodes_has(&except, c->pool[i].m.to) &&
                !nodes_has(&except, c->pool[i].m.from)) {
                cluster_deliver(c, i);
                more = true;
                break;
            }
        }
    }
}

static void verb_cut(struct cluster *c, const struct datadriven_command *d,
                     FILE *output)
{
    (void)output;
    const raft_id a = node_named(c, d, 0);
    const raft_id b = node_named(c, d, 1);
    c->cut[a][b] = true;
    c->cut[b][a] = c->cut[b][a] || !datadriven_has(d, "oneway");
}

static void verb_heal(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    (void)d;
    (void)output;
    memset(c->cut, 0, sizeof(c->cut));
}

static void verb_crash(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    (void)output;
    cluster_crash(c, node_named(c, d, 0));
}

static void verb_restart(struct cluster *c, const struct datadriven_command *d,
                         FILE *output)
{
    (void)output;
    cluster_restart(c, node_named(c, d, 0));
}

static void verb_forget(struct cluster *c, const struct datadriven_command *d,
                        FILE *output)
{
    (void)output;
    c->lies = true;
    cluster_forget(c, node_named(c, d, 0), datadriven_number(d, "last", 0));
}

static void verb_compact(struct cluster *c, const struct datadriven_command *d,
                         FILE *output)
{
    (void)output;
    cluster_compact(c, node_named(c, d, 0), datadriven_number(d, "index", 0));
}

static void verb_up(struct cluster *c, const struct datadriven_command *d,
                    FILE *output)
{
    (void)output;
    cluster_peer_up(c, node_named(c, d, 0),
                    (raft_id)datadriven_number(d, "peer", 0));
}

static void verb_mute(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    (void)output;
    raft_mute(cluster_node(c, node_named(c, d, 0))->raft);
}

static void verb_quarantine(struct cluster *c,
                            const struct datadriven_command *d, FILE *output)
{
    (void)output;
    raft_quarantine(cluster_node(c, node_named(c, d, 0))->raft,
                    (raft_id)datadriven_number(d, "peer", 0),
                    !datadriven_has(d, "off"));
}

static void verb_forge(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    (void)output;
    struct raft_message m = {.from = (raft_id)datadriven_number(d, "from", 0),
                             .to = (raft_id)datadriven_number(d, "to", 0),
                             .term = datadriven_number(d, "term", 0),
                             .index = datadriven_number(d, "index", 0),
                             .log_term = datadriven_number(d, "log_term", 0),
                             .commit = datadriven_number(d, "commit", 0),
                             .round = datadriven_number(d, "round", 0),
                             .success = datadriven_has(d, "success"),
                             .pre = datadriven_has(d, "pre"),
                             .force = datadriven_has(d, "force")};
    const char *type = datadriven_value(d, "type");
    for (int t = RAFT_VOTE; type != NULL && t <= RAFT_SNAPSHOT_REPLY; t++) {
        m.type = (enum raft_message_type)t;
        if (type_matches(&m, type)) {
            c->lies = true;
            cluster_forge(c, &m);
            return;
        }
    }
    datadriven_fail(d, "what type of message?");
}

static void verb_pool(struct cluster *c, const struct datadriven_command *d,
                      FILE *output)
{
    (void)d;
    char text[200];
    for (uint32_t i = 0; i < c->pool_n; i++) {
        (void)fprintf(output, "%s\n",
                      raft_message_text(&c->pool[i].m, text, sizeof(text)));
    }
}

static void verb_state(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    (void)d;
    for (raft_id id = 1; id <= c->n; id++) {
        const struct cluster_node *node = cluster_node(c, id);
        if (!node->up) {
            (void)fprintf(output, "%u is down\n", id);
            continue;
        }
        const struct raft *r = node->raft;
        const struct raft_config *config = raft_config_now(r);
        (void)fprintf(output,
                      "%u %s term %" PRIu64 " vote %u leader %u log %" PRIu64
                      "..%" PRIu64 " commit %" PRIu64 " config %" PRIu64,
                      id, raft_role_name(raft_role_now(r)), raft_term_now(r),
                      raft_vote_now(r), raft_leader(r), raft_first(r),
                      raft_last(r), raft_commit(r), config->index);
        print_nodes(output, "voters", &config->voters);
        print_nodes(output, "old", &config->voters_old);
        print_nodes(output, "learners", &config->learners);
        (void)fprintf(output, "\n");
        struct raft_peer_view peers[RAFT_NODES_MAX * 2];
        const uint32_t n = raft_peers(r, peers);
        for (uint32_t i = 0; i < n; i++) {
            (void)fprintf(output,
                          "  %u match %" PRIu64 " next %" PRIu64 "%s%s\n",
                          peers[i].id, peers[i].match, peers[i].next,
                          peers[i].snapshot ? " snapshot" : "",
                          peers[i].quarantined ? " quarantined" : "");
        }
    }
}

static void verb_log(struct cluster *c, const struct datadriven_command *d,
                     FILE *output)
{
    const bool one = datadriven_plain(d, 0) != NULL;
    for (raft_id id = 1; id <= c->n; id++) {
        if (one && id != node_named(c, d, 0)) {
            continue;
        }
        const struct cluster_log *log = &cluster_node(c, id)->log;
        (void)fprintf(output, "%u:", id);
        for (uint32_t i = 0; i < log->n; i++) {
            (void)fprintf(output, " %" PRIu64 "^%" PRIu64 "%s",
                          log->base.index + i + 1, log->items[i].term,
                          log->items[i].kind == RAFT_CONFIG ? "c" : "");
        }
        (void)fprintf(output, "\n");
    }
}

static void verb_lease(struct cluster *c, const struct datadriven_command *d,
                       FILE *output)
{
    const struct cluster_node *node = cluster_node(c, node_named(c, d, 0));
    (void)fprintf(output, "%s\n",
                  raft_lease_valid(node->raft, node->now_ms,
                                   datadriven_number(d, "margin", 0))
                      ? "valid"
                      : "void");
}

static const struct script_verb verbs[] = {
    {"nodes", verb_nodes},
    {"advance", verb_advance},
    {"tick", verb_tick},
    {"campaign", verb_campaign},
    {"propose", verb_propose},
    {"read", verb_read},
    {"transfer", verb_transfer},
    {"down", verb_down},
    {"config", verb_config},
    {"store", verb_store},
    {"deliver", verb_move},
    {"drop", verb_move},
    {"repeat", verb_move},
    {"stabilize", verb_stabilize},
    {"cut", verb_cut},
    {"heal", verb_heal},
    {"crash", verb_crash},
    {"restart", verb_restart},
    {"forget", verb_forget},
    {"compact", verb_compact},
    {"up", verb_up},
    {"mute", verb_mute},
    {"quarantine", verb_quarantine},
    {"forge", verb_forge},
    {"pool", verb_pool},
    {"state", verb_state},
    {"log", verb_log},
    {"lease", verb_lease},
};

/* Copies the lines that "quiet" lets through: notes, alarms, results. */
static void print_quiet(FILE *output, const char *text)
{
    while (*text != '\0') {
        const size_t n = strcspn(text, "\n") + 1;
        if (text[0] != ' ') {
            (void)fwrite(text, 1, n, output);
        }
        text += n;
    }
}

static void script_run(void *state, const struct datadriven_command *command,
                       FILE *output)
{
    struct cluster *c = state;
    const bool quiet = datadriven_has(command, "quiet");
    const bool silent = datadriven_has(command, "silent");
    for (size_t i = 0; i < countof(verbs); i++) {
        if (strcmp(verbs[i].name, command->verb) != 0) {
            continue;
        }
        char *text = NULL;
        size_t bytes = 0;
        FILE *filtered = open_memstream(&text, &bytes);
        ASSERT(filtered != NULL);
        c->trace = quiet || silent ? filtered : output;
        verbs[i].run(c, command, c->trace);
        c->trace = NULL;
        (void)fclose(filtered);
        if (quiet) {
            print_quiet(output, text);
        }
        free(text);
        return;
    }
    datadriven_fail(command, "no such command");
}

static void *script_begin(void *arg)
{
    (void)arg;
    struct cluster *c = calloc(1, sizeof(*c));
    ASSERT(c != NULL);
    return c;
}

static void script_end(void *state)
{
    cluster_fini(state);
    free(state);
}

int main(int argc, char **argv)
{
    const struct datadriven_runner runner = {
        .begin = script_begin, .run = script_run, .end = script_end};
    return datadriven_main(argc, argv, &runner);
}

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"

#define BATONS_MAX 20u

const char *status_role(const struct turn *t)
{
    const struct raft_config *config = raft_config_now(t->raft);
    if (t->quarantined) {
        return "quarantined";
    }
    switch (raft_role_now(t->raft)) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_CANDIDATE:
    case RAFT_PRECANDIDATE:
        return "candidate";
    case RAFT_FOLLOWER:
        break;
    }
    for (uint32_t i = 0; i < config->learners.n; i++) {
        if (config->learners.ids[i] == t->options.id) {
            return "learner";
        }
    }
    return "follower";
}

static void fill_addresses(const struct turn *t, Pb__NodeStatus *n)
{
    const struct turn_member *m = turn_member_find(t, n->id);
    if (m != NULL) {
        n->endpoint = (char *)(uintptr_t)m->client; /* only read by encoding */
        n->http = (char *)(uintptr_t)m->http;
    }
}

static void fill_self(struct turn *t, Pb__NodeStatus *n)
{
    struct store_stats stats;
    store_stats(t->store, &stats);
    pb__node_status__init(n);
    n->id = t->options.id;
    fill_addresses(t, n);
    n->role = (char *)(uintptr_t)status_role(t);
    n->term = raft_term_now(t->raft);
    n->commit = raft_commit(t->raft);
    n->applied = t->applied;
    n->match = raft_last(t->raft);
    n->quarantined = t->quarantined;
    n->note = t->quarantined ? t->quarantine_reason : n->note;
    n->version = t->options.version;
    n->log_first = raft_first(t->raft);
    n->log_last = raft_last(t->raft);
    n->stored = t->stored.index;
    n->checkpoint = t->checkpoint_stored;
    n->disk_ms = stats.oldest_wait_us / 1000;
    n->uptime_ms = t->now_ms - t->started_ms;
    uint64_t heard = raft_last_contact_ms(t->raft);
    n->last_contact_ms = t->now_ms > heard ? t->now_ms - heard : 0;
    n->contact_unknown = !raft_contacted(t->raft);
}

static void fill_peer(struct turn *t, const struct raft_peer_view *view,
                      Pb__NodeStatus *n)
{
    const struct catchup *c = turn_catchup(t, view->id);
    pb__node_status__init(n);
    n->id = view->id;
    fill_addresses(t, n);
    n->role = (char *)(uintptr_t)(view->learner ? "learner" : "follower");
    n->term = raft_term_now(t->raft);
    n->match = view->match;
    n->commit = min_u64(view->match, raft_commit(t->raft));
    n->applied = c == NULL ? 0 : c->applied;
    n->quarantined = view->quarantined;
    n->last_contact_ms =
        t->now_ms > view->heard_ms ? t->now_ms - view->heard_ms : 0;
    n->note =
        (char *)(uintptr_t)(view->snapshot
                                ? "taking a snapshot"
                                : (c != NULL && !c->up ? "not connected" : ""));
}

static void fill_nodes(struct turn *t, struct arena *a, Pb__StatusResult *out)
{
    struct raft_peer_view views[RAFT_NODES_MAX * 2];
    uint32_t n = raft_peers(t->raft, views);
    Pb__NodeStatus *all = arena_alloc(a, (n + 1) * sizeof *all);
    out->nodes = arena_alloc(a, (n + 1) * sizeof(void *));
    ASSERT(all != NULL && out->nodes != NULL);
    for (uint32_t i = 0; i < n; i++) {
        fill_peer(t, &views[i], &all[i]);
        out->nodes[out->n_nodes++] = &all[i];
    }
}

static bool add_baton(const struct scope_view *scope, uint64_t time_ms,
                      struct arena *a, Pb__HeldBaton *out)
{
    char *name = arena_alloc(a, 3 * NAME_BYTES_MAX + 3);
    char *holder = arena_alloc(a, 2 * NAME_BYTES_MAX + 3);
    if (name == NULL || holder == NULL) {
        return false;
    }
    (void)snprintf(
        name, 3 * NAME_BYTES_MAX + 3, "%.*s/%.*s%s%.*s",
        (int)scope->namespace_name.n, scope->namespace_name.data,
        (int)scope->group.n, scope->group.data, scope->group_scope ? "" : "/",
        scope->group_scope ? 0 : (int)scope->device.n, scope->device.data);
    (void)snprintf(holder, 2 * NAME_BYTES_MAX + 3, "%.*s/%.*s",
                   (int)scope->holder_device.n, scope->holder_device.data,
                   (int)scope->holder_tab.n, scope->holder_tab.data);
    pb__held_baton__init(out);
    out->scope = name;
    out->holder = holder;
    out->epoch = scope->epoch;
    out->since_ms =
        time_ms > scope->granted_ms ? time_ms - scope->granted_ms : 0;
    return true;
}

/* The first few scopes that are held: for a table that people look at. */
static void fill_batons(struct turn *t, struct arena *a, Pb__StatusResult *out)
{
    Pb__HeldBaton *all = arena_alloc(a, BATONS_MAX * sizeof *all);
    out->batons = arena_alloc(a, BATONS_MAX * sizeof(void *));
    uint32_t end = registry_group_slots(t->registry);
    uint64_t time_ms = turn_cluster_ms(t);
    ASSERT(all != NULL && out->batons != NULL);
    end = end > 4096 ? 4096 : end;
    for (uint32_t g = 1; g <= end && out->n_batons < BATONS_MAX; g++) {
        struct scope_view scope;
        uint32_t cursor = 0;
        if (registry_group_namespace(t->registry, g) == 0 ||
            !registry_group_scope(t->registry, g, &scope)) {
            continue;
        }
        if (scope.session != 0 &&
            add_baton(&scope, time_ms, a, &all[out->n_batons])) {
            out->batons[out->n_batons] = &all[out->n_batons];
            out->n_batons++;
        }
        while (out->n_batons < BATONS_MAX &&
               registry_group_device(t->registry, g, &cursor, &scope)) {
            if (scope.session != 0 &&
                add_baton(&scope, time_ms, a, &all[out->n_batons])) {
                out->batons[out->n_batons] = &all[out->n_batons];
                out->n_batons++;
            }
        }
    }
}

void status_fill(struct turn *t, struct arena *a, Pb__StatusResult *out)
{
    struct registry_counts counts;
    struct transport_stats stats;
    registry_counts(t->registry, &counts);
    transport_stats(t->transport, &stats);
    pb__status_result__init(out);
    out->cluster = t->options.cluster;
    out->node = t->options.id;
    out->leader = raft_leader(t->raft);
    out->sessions = counts.sessions;
    out->leases = counts.leases;
    out->scopes = counts.groups + counts.devices;
    out->groups = counts.groups;
    out->devices = counts.devices;
    out->watches = watches_count(t->watches);
    out->connections = stats.clients;
    out->config = raft_config_now(t->raft)->index;
    if (t->hashes_n > 0) {
        out->state_hash = t->hashes[t->hashes_n - 1].hash;
        out->state_hash_index = t->hashes[t->hashes_n - 1].index;
    }
    out->self = arena_alloc(a, sizeof *out->self);
    ASSERT(out->self != NULL);
    fill_self(t, out->self);
    fill_nodes(t, a, out);
    fill_batons(t, a, out);
    ASSERT(counts.batons >= out->n_batons);
    out->batons_more = counts.batons - out->n_batons;
    out->alarms = arena_alloc(a, (ALARMS_MAX + 1) * sizeof(char *));
    ASSERT(out->alarms != NULL);
    for (uint32_t i = 0; i < t->alarms_n; i++) {
        out->alarms[out->n_alarms++] = t->alarms[i].text;
    }
}

/* --- metrics ---------------------------------------------------------------------------------------------------------------- */

struct text {
    char *out;
    size_t bytes;
    size_t n;
};

static void put(struct text *x, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct text *x, const char *format, ...)
{
    va_list args;
    if (x->n >= x->bytes) {
        return;
    }
    va_start(args, format);
    int n = vsnprintf(x->out + x->n, x->bytes - x->n, format, args);
    va_end(args);
    x->n += n > 0 ? (size_t)n : 0;
}

struct metric {
    const char *name;
    const char *type;
    const char *help;
    uint64_t value;
};

static void put_metrics(struct text *x, const struct metric *metrics, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct metric *m = &metrics[i];
        put(x, "# HELP baton_%s %s\n# TYPE baton_%s %s\nbaton_%s %llu\n",
            m->name, m->help, m->name, m->type, m->name,
            (unsigned long long)m->value);
    }
}

static void put_raft(struct turn *t, struct text *x)
{
    const struct metric metrics[] = {
        {"raft_is_leader", "gauge", "1 if this node leads.",
         raft_role_now(t->raft) == RAFT_LEADER},
        {"raft_has_leader", "gauge", "1 if this node knows a leader.",
         raft_leader(t->raft) != 0},
        {"raft_term", "gauge", "Current term.", raft_term_now(t->raft)},
        {"raft_commit_index", "gauge", "Last committed entry.",
         raft_commit(t->raft)},
        {"raft_applied_index", "gauge", "Last applied entry.", t->applied},
        {"raft_last_index", "gauge", "Last entry in the log.",
         raft_last(t->raft)},
        {"raft_stored_index", "gauge", "Last entry on disk.", t->stored.index},
        {"raft_elections_won_total", "counter",
         "Times this node became leader.", t->counters.elections},
        {"raft_quarantined", "gauge",
         "1 if this node keeps out of the cluster because its data is wrong.",
         t->quarantined},
        {"checkpoints_total", "counter", "Checkpoints written.",
         t->counters.checkpoints},
        {"snapshots_sent_total", "counter", "Snapshots sent to peers.",
         t->counters.snapshots_sent},
        {"snapshots_installed_total", "counter",
         "Snapshots received and installed.", t->counters.snapshots_installed},
        {"alarms", "gauge", "Alarms that aren't over.", t->alarms_n},
        {"loop_stalls_total", "counter",
         "Times the node's own loop stood still for half an election timeout.",
         t->counters.stalls},
    };
    put_metrics(x, metrics, countof(metrics));
}

static void put_registry(struct turn *t, struct text *x)
{
    struct registry_counts counts;
    registry_counts(t->registry, &counts);
    const struct metric metrics[] = {
        {"sessions", "gauge", "Open sessions.", counts.sessions},
        {"sessions_detached", "gauge", "Sessions whose lease ended.",
         counts.detached},
        {"leases", "gauge", "Live leases.", counts.leases},
        {"groups", "gauge", "Groups.", counts.groups},
        {"devices", "gauge", "Devices.", counts.devices},
        {"namespaces", "gauge", "Namespaces.", counts.namespaces},
        {"batons_held", "gauge", "Scopes that have a leader.", counts.batons},
        {"watches", "gauge", "Open watches on this node.",
         watches_count(t->watches)},
        {"entries_applied_total", "counter", "Log entries applied.",
         t->counters.entries_applied},
        {"events_total", "counter", "Events of applied entries.",
         t->counters.events},
        {"grants_total", "counter", "Batons granted.", t->counters.grants},
        {"claims_rejected_total", "counter",
         "False claims to lead, put on record.", t->counters.claims_rejected},
        {"leases_expired_total", "counter",
         "Leases that this node, as leader, saw expire.", t->counters.expired},
        {"duplicates_total", "counter",
         "Retries answered from the client window.", t->counters.duplicates},
    };
    put_metrics(x, metrics, countof(metrics));
}

static void put_requests(struct turn *t, struct text *x)
{
    struct transport_stats s;
    transport_stats(t->transport, &s);
    const struct metric metrics[] = {
        {"requests_total", "counter", "Requests received.",
         t->counters.requests},
        {"requests_bad_total", "counter",
         "Requests of an unknown version or without a correlation id.",
         t->counters.requests_bad},
        {"frames_undecodable_total", "counter",
         "Frames that could not be decoded; each closed its stream.",
         t->counters.undecodable + s.refused_undecodable},
        {"commands_total", "counter", "Commands proposed for clients.",
         t->counters.commands},
        {"commands_refused_total", "counter", "Commands refused.",
         t->counters.commands_refused},
        {"commands_pending", "gauge", "Commands waiting for their entry.",
         t->pending_n},
        {"unknown_total", "counter",
         "Commands answered UNKNOWN at their deadline.", t->counters.unknown},
        {"reads_total", "counter", "Reads served.", t->counters.reads},
        {"reads_stale_total", "counter", "Reads served from this node's view.",
         t->counters.reads_stale},
        {"reads_failed_total", "counter", "Reads refused.",
         t->counters.reads_failed},
        {"renewals_total", "counter", "Heartbeats acknowledged.",
         t->counters.renewals},
        {"renewals_refused_total", "counter", "Heartbeats refused.",
         t->counters.renewals_refused},
        {"connections", "gauge", "Client connections.", s.clients},
        {"peers_connected", "gauge", "Peers connected.", s.peers_connected},
        {"bytes_received_total", "counter", "Bytes received.", s.bytes_in},
        {"bytes_sent_total", "counter", "Bytes sent.", s.bytes_out},
        {"streams_refused_version_total", "counter",
         "Streams refused for their protocol version.", s.refused_version},
        {"streams_refused_cluster_total", "counter",
         "Streams refused because they are of another cluster.",
         s.refused_cluster},
        {"streams_refused_proof_total", "counter",
         "Streams refused because they didn't know the cluster's secret.",
         s.refused_proof},
        {"streams_refused_size_total", "counter",
         "Streams closed for a frame over the size.", s.refused_size},
        {"streams_refused_limit_total", "counter",
         "Streams refused because there were too many.", s.refused_limit},
        {"output_queue_bytes", "gauge", "Bytes waiting to be sent.",
         s.queued_bytes},
    };
    put_metrics(x, metrics, countof(metrics));
}

static void put_store(struct turn *t, struct text *x)
{
    struct store_stats s;
    uint64_t bound_us = 100;
    uint64_t sum = 0;
    store_stats(t->store, &s);
    put(x, "# HELP baton_store_commit_seconds Time of one durable "
           "transaction.\n# TYPE baton_store_commit_seconds histogram\n");
    for (size_t i = 0; i + 1 < countof(s.commit_us_buckets); i++) {
        sum += s.commit_us_buckets[i];
        put(x, "baton_store_commit_seconds_bucket{le=\"%.4f\"} %llu\n",
            (double)bound_us / 1e6, (unsigned long long)sum);
        bound_us *= 2;
    }
    put(x,
        "baton_store_commit_seconds_bucket{le=\"+Inf\"} %llu\n"
        "baton_store_commit_seconds_sum %.6f\n"
        "baton_store_commit_seconds_count %llu\n",
        (unsigned long long)s.commits, (double)s.commit_us_total / 1e6,
        (unsigned long long)s.commits);
    const struct metric metrics[] = {
        {"store_batches_waiting", "gauge", "Batches not yet on disk.",
         s.batches_waiting},
        {"store_queue_bytes", "gauge", "Bytes not yet on disk.", s.queue_bytes},
        {"store_oldest_wait_microseconds", "gauge",
         "Age of the oldest batch not yet on disk.", s.oldest_wait_us},
        {"store_map_bytes", "gauge", "Size of the database's map.",
         s.map_bytes},
        {"store_used_bytes", "gauge", "Bytes of the map in use.", s.used_bytes},
    };
    put_metrics(x, metrics, countof(metrics));
}

size_t status_metrics(struct turn *t, char *out, size_t out_bytes)
{
    struct text x = {.out = out, .bytes = out_bytes};
    put(&x,
        "# HELP baton_info Version of this node.\n# TYPE baton_info "
        "gauge\nbaton_info{version=\"%s\",node=\"%u\"} 1\n",
        t->options.version, t->options.id);
    put_raft(t, &x);
    put_registry(t, &x);
    put_requests(t, &x);
    put_store(t, &x);
    return x.n < out_bytes ? x.n : out_bytes - 1;
}

/* --- the admin socket --------------------------------------------------------------------------------------------------------- */

void status_admin(struct turn *t, uint64_t conn, struct bytes body)
{
    Pb__AdminReply reply = PB__ADMIN_REPLY__INIT;
    Pb__StatusResult status;
    arena_reset(&t->input);
    arena_reset(&t->answer);
    const Pb__AdminRequest *request =
        codec_decode_admin_request(body, &t->input);
    if (request == NULL) {
        t->counters.undecodable++;
        transport_conn_close(t->transport, conn, "undecodable frame");
        return;
    }
    if (request->version != PROTOCOL_VERSION) {
        reply.status = PB__STATUS__UNSUPPORTED;
        reply.message = (char *)(uintptr_t) "unknown protocol version";
    } else if (request->op_case == PB__ADMIN_REQUEST__OP_STATUS) {
        status_fill(t, &t->answer, &status);
        reply.status_result = &status;
    } else if (request->op_case == PB__ADMIN_REQUEST__OP_METRICS) {
        size_t bytes_n = 128u << 10;
        reply.metrics = arena_alloc(&t->answer, bytes_n);
        ASSERT(reply.metrics != NULL);
        (void)status_metrics(t, reply.metrics, bytes_n);
    } else if (request->op_case == PB__ADMIN_REQUEST__OP_SET_LOG_LEVEL &&
               request->set_log_level->level <= 3) {
        t->options.log_level = (int)request->set_log_level->level;
        t->log_level_set = true;
        reply.message = (char *)(uintptr_t) "log level set";
    } else {
        reply.status = PB__STATUS__UNSUPPORTED;
        reply.message =
            (char *)(uintptr_t) "unknown admin request, or a level above 3";
    }
    size_t n = codec_encode(&reply.base, t->frame, FRAME_SCRATCH_BYTES);
    if (n > 0) {
        (void)transport_send(t->transport, conn, (struct bytes){t->frame, n});
    }
}

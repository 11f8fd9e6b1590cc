#include <string.h>

#include "session/check.h"
#include "session/commands.h"
#include "session/election.h"

void settings_term_start(struct apply *a, const Pb__TermStart *c)
{
    struct registry *r = a->r;
    /* Two's complement carries a wall clock behind the cluster's, too. */
    r->wall_offset_ms = (int64_t)(c->wall_ms - a->time_ms);
    r->wall_known = true;
    r->cluster_dirty = true;
}

/* Where the node is, or belongs: they're kept in order. */
static uint32_t node_position(const struct registry *r, uint32_t node)
{
    uint32_t i = 0;
    while (i < r->nodes_n && r->nodes[i].node < node) {
        i++;
    }
    return i;
}

void settings_node_seen(struct apply *a, const Pb__NodeSeen *c)
{
    struct registry *r = a->r;
    uint32_t i = node_position(r, c->node);
    uint32_t known = i < r->nodes_n && r->nodes[i].node == c->node;
    if (c->node == 0 || (!known && r->nodes_n == REGISTRY_NODES_MAX)) {
        apply_refuse(a, BATON_INVALID, REASON_UNKNOWN_NODE, c->node);
        return;
    }
    if (c->incarnation == 0) {
        /* Removed from the cluster: who comes under its number some day is another. */
        r->nodes_n -= known;
        memmove(&r->nodes[i], &r->nodes[i + known],
                (r->nodes_n - i) * sizeof r->nodes[0]);
        r->cluster_dirty = true;
        return;
    }
    if (!known) {
        memmove(&r->nodes[i + 1], &r->nodes[i],
                (r->nodes_n - i) * sizeof r->nodes[0]);
        r->nodes[i] = (struct seen_node){.node = c->node};
        r->nodes_n++;
    }
    struct seen_node *n = &r->nodes[i];
    struct node_past *past = &n->past;
    if (past->incarnation != c->incarnation) {
        /* A directory made anew counts its starts anew. */
        *past = (struct node_past){.incarnation = c->incarnation};
    }
    if (c->boot >= past->record.boot) {
        past->record = (struct lineage_record){c->own, c->boot};
    }
    r->cluster_dirty = true;
    struct event *e = emit_session(a, EVENT_NODE_SEEN, 0);
    e->attachment = c->node;
    e->epoch = past->record.boot;
}

bool registry_node(const struct registry *r, uint32_t node,
                   struct node_past *out)
{
    uint32_t i = node_position(r, node);
    if (i == r->nodes_n || r->nodes[i].node != node) {
        return false;
    }
    *out = r->nodes[i].past;
    return true;
}

void settings_policy(struct apply *a, const Pb__SetPolicy *c)
{
    struct registry *r = a->r;
    struct policy policy;
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    ASSERT(check_name(c->namespace_) && c->policy != NULL);
    enum baton_status status =
        policy_from_message(c->policy, &policy, &reason, &detail);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, detail);
        return;
    }
    slot s = find_namespace(r, check_bytes(c->namespace_));
    if (s == 0 && r->objects_n[OBJECT_NAMESPACE] >= r->namespaces_max) {
        apply_refuse(a, BATON_LIMIT, REASON_NAMESPACES_CLUSTER,
                     (int64_t)r->namespaces_max);
        return;
    }
    if (s == 0) {
        s = make_namespace(r, a->index, check_bytes(c->namespace_));
    }
    struct namespace_ *ns = namespace_at(r, s);
    ns->policy = policy;
    ns->has_policy = true;
    ns->policy_version++;
    ns->rescore_from = 0;
    dirty_mark(r, OBJECT_NAMESPACE, s);
    a->out->reply.detail = ns->policy_version;
    struct event *e = emit_session(a, EVENT_POLICY_SET, 0);
    e->namespace_name = name_get(&r->names, ns->name);
    e->namespace_slot = s;
    election_policy_changed(a, s);
}

/* What's asked for, if it's in the pool's half. 0: as it is. */
static bool limit_fits(struct apply *a, uint64_t asked, uint32_t pool_n,
                       uint32_t reason)
{
    if (asked <= pool_n / 2) {
        return true;
    }
    apply_refuse(a, BATON_INVALID, reason, pool_n / 2);
    return false;
}

void settings_limits(struct apply *a, const Pb__SetLimits *c)
{
    struct registry *r = a->r;
    if (!limit_fits(a, c->sessions_max, r->limits.sessions_n,
                    REASON_SESSIONS_CLUSTER) ||
        !limit_fits(a, c->leases_max, r->limits.leases_n,
                    REASON_LEASES_CLUSTER) ||
        !limit_fits(a, c->namespaces_max, r->limits.namespaces_n,
                    REASON_NAMESPACES_CLUSTER)) {
        return;
    }
    r->sessions_max = c->sessions_max != 0 ? c->sessions_max : r->sessions_max;
    r->leases_max = c->leases_max != 0 ? c->leases_max : r->leases_max;
    r->namespaces_max =
        c->namespaces_max != 0 ? c->namespaces_max : r->namespaces_max;
    r->cluster_dirty = true;
}

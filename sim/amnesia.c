#include "sim/amnesia.h"

uint32_t amnesia_n(const struct sim_world *w)
{
    uint32_t n = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        n += w->nodes[id].forgot;
    }
    return n;
}

static bool one_more(const struct sim_world *w, const struct sim_node *n)
{
    /* Where members change, who may forget would have to be asked of each configuration. */
    return !w->options.changes && !n->forgot &&
           amnesia_n(w) < (w->nodes_n - 1) / 2;
}

/* Every other node that remembers has the record of a start of n, from that data directory, after `boot`. */
static bool all_know(const struct sim_world *w, const struct sim_node *n,
                     uint64_t boot)
{
    uint64_t incarnation = 0;
    uint64_t its = 0;
    struct lineage lineage;
    sim_disk_identity(n->disk, &incarnation, &its, &lineage);
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *other = &w->nodes[id];
        struct node_past past;
        if (other == n || other->forgot) {
            continue;
        }
        if (!other->up ||
            !registry_node(turn_registry(other->turn), n->id, &past) ||
            past.incarnation != incarnation || past.record.boot <= boot) {
            return false;
        }
    }
    return true;
}

bool amnesia_may_wipe(const struct sim_world *w, const struct sim_node *n)
{
    return one_more(w, n) && all_know(w, n, 0);
}

bool amnesia_may_restore(const struct sim_world *w, const struct sim_node *n)
{
    uint64_t incarnation = 0;
    uint64_t boot = 0;
    struct lineage lineage;
    if (n->image == NULL || !one_more(w, n)) {
        return false;
    }
    sim_disk_identity(n->image, &incarnation, &boot, &lineage);
    return all_know(w, n, boot);
}

bool amnesia_may_rot(const struct sim_world *w, const struct sim_node *n)
{
    struct sim_disk_counts counts;
    sim_disk_counts(n->disk, &counts);
    return one_more(w, n) && counts.rows_n > 0;
}

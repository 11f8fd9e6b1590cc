#include "sim/cover.h"

#include <stdlib.h>
#include <string.h>

#include "raft/message.h"
#include "sim/facts.h"
#include "sim/oracle.h"
#include "sim/peek.h"
#include "sim/raft_seen.h"

/* As session/deadlines.c looks at leases. */
#define TICK_MS    64u
#define DOUBTFUL_N 256u
#define EXPIRIES_N 64u

/* Fields of client.proto and peer.proto that have no name in C. */
enum field {
    FIELD_PEER_TYPE = 2,
    FIELD_PEER_TERM = 3,
    FIELD_PEER_PRE = 10,
    FIELD_ID = 2,
    FIELD_STATUS = 3,
    FIELD_CONSISTENCY = 2,
    FIELD_WATCH_RESET = 5,
    FIELD_RENEW_LEASE = 1,
};

/* A pre-vote that was asked for. */
struct asked {
    uint64_t round;
    raft_term term;
};

struct node_cover {
    raft_term led; /* the term that it led after its last turn; 0: none */
    raft_term
        blocked; /* the term for which commit_blocked_old_term was counted */
    raft_index installed; /* the snapshot that it took last */
    bool receives;        /* parts of one came, and it isn't installed */
    uint64_t read_round;  /* the oldest that reads wait for */
    uint64_t read_us;     /* since when */
    struct asked asked[SIM_NODES_MAX + 1]; /* by whom */
};

/* A renewal that came to a leader whose quorum lease had ended. */
struct doubtful {
    uint64_t conn;
    uint64_t id;
};

/* A leader decided that time ends a lease. */
struct expiry {
    uint64_t lease;
    uint64_t at_us;
};

/* Who stood for election in a term: a set. */
struct candidates {
    raft_term term;
    int64_t set;
};

/* Where a client's lease was renewed last. */
struct renewed {
    uint64_t lease;
    raft_id node;
};

struct cover {
    struct node_cover nodes[SIM_NODES_MAX + 1];
    struct renewed renewed[SIM_CLIENTS_MAX];
    struct doubtful doubtful[DOUBTFUL_N];
    uint32_t doubtful_n; /* ever; the oldest is forgotten */
    struct expiry expiries[EXPIRIES_N];
    uint32_t expiries_n; /* likewise */
    struct candidates *terms;
    uint32_t terms_n;
    uint32_t terms_capacity;
};

struct cover *cover_new(void)
{
    struct cover *c = calloc(1, sizeof *c);
    ASSERT(c != NULL);
    return c;
}

void cover_free(struct cover *c)
{
    free(c->terms);
    free(c);
}

static struct node_cover *of(const struct sim_node *n)
{
    return &n->world->cover->nodes[n->id];
}

static uint64_t now_ms(const struct sim_node *n)
{
    return sim_clock_ms(&n->clock, n->world->now_us);
}

/* --- a node's life ----------------------------------------------------------------------------------------------------------- */

void cover_started(struct sim_node *n)
{
    *of(n) = (struct node_cover){.led = 0};
}

void cover_down(struct sim_node *n)
{
    struct sim_disk_counts counts;
    sim_disk_counts(n->disk, &counts);
    /* Between two parts, of which it has one on disk. */
    n->world->coverage.snapshot_chunk_crash +=
        of(n)->receives && counts.incoming_n > 0;
}

void cover_log(struct sim_node *n, const char *line)
{
    n->world->coverage.ack_regression_seen +=
        strncmp(line, "alarm ", 6) == 0 &&
        strstr(line, "ends before what it has acknowledged") != NULL;
}

void cover_installs(struct sim_node *n, raft_index index)
{
    of(n)->installed = index;
    of(n)->receives = false;
}

void cover_leads(struct sim_node *n, raft_term term, bool forced)
{
    (void)term;
    n->world->coverage.transfer_done += forced;
}

/* How many of them have it, by what they acknowledged to this leader. */
static uint32_t acked_by(const struct sim_node *n,
                         const struct raft_nodes *nodes, raft_index index)
{
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    struct sim_disk_counts own;
    uint32_t peers_n = raft_peers(turn_raft(n->turn), peers);
    uint32_t have = 0;
    sim_disk_counts(n->disk, &own);
    for (uint32_t i = 0; i < nodes->n; i++) {
        have += nodes->ids[i] == n->id && own.last >= index;
        for (uint32_t p = 0; p < peers_n; p++) {
            have += peers[p].id == nodes->ids[i] && peers[p].match >= index;
        }
    }
    return have;
}

/* A majority has what isn't committed yet, and nothing of this term: figure 8 of the Raft paper. */
static bool is_blocked(const struct sim_node *n)
{
    const struct raft *raft = turn_raft(n->turn);
    const struct raft_nodes *voters = &raft_config_now(raft)->voters;
    raft_index next = raft_commit(raft) + 1;
    return !raft_term_committed(raft) && next <= raft_last(raft) &&
           raft_term_at(raft, next) < raft_term_now(raft) &&
           2 * acked_by(n, voters, next) > voters->n;
}

void cover_turn(struct sim_node *n)
{
    struct node_cover *c = of(n);
    const struct raft *raft = turn_raft(n->turn);
    raft_term term = raft_term_now(raft);
    bool leads = raft_role_now(raft) == RAFT_LEADER;
    uint64_t silent_ms = now_ms(n) - raft_last_contact_ms(raft);
    if (!leads && c->led == term &&
        silent_ms >= n->world->options.election_ms) {
        n->world->coverage.stepdown_checkquorum++;
    }
    if (leads && c->blocked != term && is_blocked(n)) {
        c->blocked = term;
        n->world->coverage.commit_blocked_old_term++;
    }
    c->led = leads ? term : 0;
}

/* --- elections ----------------------------------------------------------------------------------------------------------------- */

static void stands(struct cover *c, raft_term term, raft_id node)
{
    uint32_t i = c->terms_n;
    while (i > 0 && c->terms[i - 1].term > term) {
        i--;
    }
    if (i > 0 && c->terms[i - 1].term == term) {
        c->terms[i - 1].set |= (int64_t)1 << node;
        return;
    }
    if (c->terms_n == c->terms_capacity) {
        c->terms_capacity = c->terms_capacity == 0 ? 64 : c->terms_capacity * 2;
        c->terms = realloc(c->terms, c->terms_capacity * sizeof *c->terms);
        ASSERT(c->terms != NULL);
    }
    memmove(&c->terms[i + 1], &c->terms[i],
            (c->terms_n - i) * sizeof *c->terms);
    c->terms[i] = (struct candidates){term, (int64_t)1 << node};
    c->terms_n++;
}

/* Who has heard its leader, or leads, refuses a term that would be new to it. */
static bool is_sticky(const struct sim_node *n, const struct asked *asked,
                      uint64_t round)
{
    const struct raft *raft = turn_raft(n->turn);
    bool heard =
        raft_role_now(raft) == RAFT_LEADER ||
        (raft_contacted(raft) && now_ms(n) < raft_last_contact_ms(raft) +
                                                 n->world->options.election_ms);
    return heard && asked->round == round && asked->term > raft_term_now(raft);
}

/* --- between nodes --------------------------------------------------------------------------------------------------------------- */

/* A round left for reads that an earlier one, sent a heartbeat interval ago or more, didn't get through. */
static void count_read_round(struct sim_node *n, uint64_t round)
{
    struct node_cover *c = of(n);
    struct sim_world *w = n->world;
    uint64_t oldest = raft_read_waits(turn_raft(n->turn));
    if (oldest == 0 || oldest != c->read_round) {
        c->read_round = oldest;
        c->read_us = w->now_us;
    } else if (round > oldest && c->read_us != UINT64_MAX &&
               w->now_us >= c->read_us + w->options.heartbeat_ms * SIM_MS) {
        w->coverage.readindex_retry++;
        c->read_us = UINT64_MAX; /* once for each */
    }
}

void cover_peer_sends(struct sim_node *n, raft_id to, const Pb__PeerFrame *f)
{
    struct sim_coverage *coverage = &n->world->coverage;
    switch (f->type) {
    case RAFT_VOTE:
        if (f->pre) {
            n->world->cover->nodes[to].asked[n->id] =
                (struct asked){f->round, f->term};
        } else {
            stands(n->world->cover, f->term, n->id);
        }
        break;
    case RAFT_VOTE_REPLY:
        coverage->prevote_reject_sticky +=
            f->pre && !f->success && is_sticky(n, &of(n)->asked[to], f->round);
        break;
    case RAFT_SNAPSHOT_REPLY:
        coverage->snapshot_rejected_old +=
            f->success && f->index != of(n)->installed;
        break;
    case RAFT_HEARTBEAT:
        count_read_round(n, f->round);
        break;
    default:
        break;
    }
}

void cover_peer_takes(struct sim_node *n, struct bytes frame)
{
    struct peek p = {.rest = frame};
    uint64_t type = 0;
    uint64_t term = 0;
    bool pre = false;
    while (peek_next(&p)) {
        type = p.field == FIELD_PEER_TYPE ? p.value : type;
        term = p.field == FIELD_PEER_TERM ? p.value : term;
        pre = pre || (p.field == FIELD_PEER_PRE && p.value != 0);
    }
    of(n)->receives = of(n)->receives || type == RAFT_SNAPSHOT;
    bool reply = type == RAFT_APPEND_REPLY || type == RAFT_HEARTBEAT_REPLY ||
                 (type == RAFT_VOTE_REPLY && !pre);
    n->world->coverage.stale_term_resp_ignored +=
        reply && term < raft_term_now(turn_raft(n->turn));
}

/* --- with clients ------------------------------------------------------------------------------------------------------------------ */

/* A renewal comes to a leader within a tick of when it decided that this lease has ended. */
static bool comes_too_late(const struct sim_world *w, uint64_t lease)
{
    const struct cover *c = w->cover;
    for (uint32_t i = 0; i < EXPIRIES_N && i < c->expiries_n; i++) {
        if (c->expiries[i].lease == lease &&
            w->now_us <= c->expiries[i].at_us + TICK_MS * SIM_MS) {
            return true;
        }
    }
    return false;
}

static bool is_linearizable_read(const struct peek *op)
{
    switch (op->field) {
    case PB__CLIENT_REQUEST__OP_GET_LEADER:
        return peek_value(op->inner, FIELD_CONSISTENCY) ==
               PB__CONSISTENCY__LINEARIZABLE;
    case PB__CLIENT_REQUEST__OP_GET_VERIFY:
    case PB__CLIENT_REQUEST__OP_CLAIM:
        return true;
    default:
        return false;
    }
}

void cover_client_takes(struct sim_node *n, uint64_t conn, struct bytes frame)
{
    struct sim_world *w = n->world;
    struct cover *c = w->cover;
    const struct raft *raft = turn_raft(n->turn);
    struct peek p = {.rest = frame};
    uint64_t id = 0;
    if (raft_role_now(raft) != RAFT_LEADER) {
        return;
    }
    bool vouched = raft_lease_valid(raft, now_ms(n), 0);
    while (peek_next(&p)) {
        id = p.field == FIELD_ID ? p.value : id;
        w->coverage.renew_vs_expire_1tick +=
            p.field == PB__CLIENT_REQUEST__OP_RENEW &&
            comes_too_late(w, peek_value(p.inner, FIELD_RENEW_LEASE));
        if (vouched) {
            continue;
        }
        if (p.field == PB__CLIENT_REQUEST__OP_RENEW) {
            c->doubtful[c->doubtful_n++ % DOUBTFUL_N] =
                (struct doubtful){conn, id};
        }
        w->coverage.readindex_wait_own_term +=
            is_linearizable_read(&p) && !raft_term_committed(raft);
        w->coverage.lease_read_refused +=
            w->options.lease_reads &&
            p.field == PB__CLIENT_REQUEST__OP_GET_LEADER &&
            peek_value(p.inner, FIELD_CONSISTENCY) == PB__CONSISTENCY__LEASE;
    }
}

/* Was that a renewal which came to a leader that no quorum vouched for? */
static bool was_doubtful(struct cover *c, uint64_t conn, uint64_t id)
{
    for (uint32_t i = 0; i < DOUBTFUL_N && i < c->doubtful_n; i++) {
        struct doubtful *d = &c->doubtful[i];
        if (d->conn == conn && d->id == id) {
            *d = (struct doubtful){0, 0};
            return true;
        }
    }
    return false;
}

static void count_renewed(struct sim_node *n, const struct sim_client *to)
{
    struct renewed *r = &n->world->cover->renewed[to->number];
    uint64_t lease = to->baton->lease.id;
    n->world->coverage.session_reconnect_other_node +=
        r->lease == lease && lease != 0 && r->node != n->id;
    *r = (struct renewed){lease, n->id};
}

void cover_client_sends(struct sim_node *n, const struct sim_client *to,
                        uint64_t conn, struct bytes frame)
{
    struct sim_world *w = n->world;
    struct peek p = {.rest = frame};
    uint64_t id = 0;
    uint64_t status = PB__STATUS__OK;
    while (peek_next(&p)) {
        id = p.field == FIELD_ID ? p.value : id;
        status = p.field == FIELD_STATUS ? p.value : status;
        if (p.field == PB__CLIENT_MESSAGE__RESULT_RENEW && to->up) {
            count_renewed(n, to);
        } else if (p.field == PB__CLIENT_MESSAGE__RESULT_CHANGE) {
            w->coverage.transfer_timeout += status == PB__STATUS__CONFLICT;
        } else if (p.field == PB__CLIENT_MESSAGE__RESULT_WATCH) {
            w->coverage.watch_resume_compacted +=
                peek_value(p.inner, FIELD_WATCH_RESET) != 0;
        }
    }
    if (status == PB__STATUS__NO_QUORUM || status == PB__STATUS__NOT_LEADER) {
        w->coverage.hb_refused_no_quorum += was_doubtful(w->cover, conn, id);
    }
}

void cover_room(struct sim_node *n)
{
    n->world->coverage.watch_overflow_resync++;
}

void cover_expiry(struct sim_world *w, uint64_t lease)
{
    struct cover *c = w->cover;
    c->expiries[c->expiries_n++ % EXPIRIES_N] =
        (struct expiry){lease, w->now_us};
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------ */

void cover_end(struct sim_world *w)
{
    const struct cover *c = w->cover;
    for (uint32_t i = 0; i < c->terms_n; i++) {
        const struct candidates *t = &c->terms[i];
        uint64_t leader = 0;
        bool several = (t->set & (t->set - 1)) != 0;
        w->coverage.split_vote +=
            several && !facts_get(&w->raft->leaders, t->term, &leader);
    }
    oracle_end_unknown(w);
}

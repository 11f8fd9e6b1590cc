#include <string.h>

#include "node/turn_state.h"
#include "raft/config.h"

void wire_from_message(const struct raft_message *m, Pb__PeerFrame *out)
{
    pb__peer_frame__init(out);
    out->version = PROTOCOL_VERSION;
    out->type = (uint32_t)m->type;
    out->term = m->term;
    out->index = m->index;
    out->log_term = m->log_term;
    out->commit = m->commit;
    out->round = m->round;
    out->success = m->success;
    out->pre = m->pre;
    out->force = m->force;
    out->quiet = m->quiet;
    out->hint_index = m->hint_index;
    out->hint_term = m->hint_term;
}

bool wire_to_message(const Pb__PeerFrame *frame, raft_id from, raft_id to,
                     struct raft_message *out)
{
    if (frame->type < RAFT_VOTE || frame->type > RAFT_SNAPSHOT_REPLY) {
        return false;
    }
    *out = (struct raft_message){
        .type = (enum raft_message_type)frame->type,
        .from = from,
        .to = to,
        .term = frame->term,
        .index = frame->index,
        .log_term = frame->log_term,
        .commit = frame->commit,
        .round = frame->round,
        .hint_index = frame->hint_index,
        .hint_term = frame->hint_term,
        .success = frame->success,
        .pre = frame->pre,
        .force = frame->force,
        .quiet = frame->quiet,
    };
    return true;
}

static uint32_t *ids_of(const struct raft_nodes *nodes)
{
    return (uint32_t *)(uintptr_t)nodes->ids; /* only read by encoding */
}

size_t wire_config(const struct raft_config *config, struct wire_members with,
                   uint8_t *out, size_t out_bytes, struct arena *scratch)
{
    Pb__ConfigData m = PB__CONFIG_DATA__INIT;
    m.voters = ids_of(&config->voters);
    m.n_voters = config->voters.n;
    m.voters_old = ids_of(&config->voters_old);
    m.n_voters_old = config->voters_old.n;
    m.learners = ids_of(&config->learners);
    m.n_learners = config->learners.n;
    m.previous = with.previous;
    Pb__Member *all = arena_alloc(scratch, with.n * sizeof *all);
    Pb__Member **list = arena_alloc(scratch, with.n * sizeof *list);
    if (all == NULL || list == NULL) {
        return 0;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < with.n; i++) {
        const struct turn_member *from = &with.members[i];
        if (!nodes_has(&config->voters, from->id) &&
            !nodes_has(&config->voters_old, from->id) &&
            !nodes_has(&config->learners, from->id)) {
            continue;
        }
        pb__member__init(&all[n]);
        all[n].node = from->id;
        all[n].peer = (char *)(uintptr_t)from->peer;
        all[n].client = (char *)(uintptr_t)from->client;
        all[n].http = (char *)(uintptr_t)from->http;
        list[n] = &all[n];
        n++;
    }
    ASSERT(n <= WIRE_MEMBERS_MAX);
    m.n_members = n;
    m.members = list;
    return codec_encode(&m.base, out, out_bytes);
}

/* Ascending and without repetition, as the core wants them: bytes on disk or from a peer may be anything. */
static bool nodes_from(const uint32_t *ids, size_t n, struct raft_nodes *out)
{
    if (n > RAFT_NODES_MAX) {
        return false;
    }
    out->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == 0 || (i > 0 && ids[i] <= ids[i - 1])) {
            return false;
        }
        out->ids[i] = ids[i];
    }
    return true;
}

bool wire_to_config(struct bytes data, raft_index index, struct arena *scratch,
                    struct raft_config *out, Pb__ConfigData **out_message)
{
    Pb__ConfigData *m = codec_decode_config(data, scratch);
    if (m == NULL) {
        return false;
    }
    memset(out, 0, sizeof *out);
    out->index = index;
    *out_message = m;
    return m->n_voters > 0 && m->n_members <= WIRE_MEMBERS_MAX &&
           nodes_from(m->voters, m->n_voters, &out->voters) &&
           nodes_from(m->voters_old, m->n_voters_old, &out->voters_old) &&
           nodes_from(m->learners, m->n_learners, &out->learners);
}

#include "tests/script/raft_text.h"

#include <inttypes.h>

static const char *message_name(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_VOTE:
        return m->pre ? "PREVOTE" : "VOTE";
    case RAFT_VOTE_REPLY:
        return m->pre ? "PREVOTE_REPLY" : "VOTE_REPLY";
    case RAFT_APPEND:
        return "APPEND";
    case RAFT_APPEND_REPLY:
        return "APPEND_REPLY";
    case RAFT_HEARTBEAT:
        return "HEARTBEAT";
    case RAFT_HEARTBEAT_REPLY:
        return "HEARTBEAT_REPLY";
    case RAFT_TIMEOUT_NOW:
        return "TIMEOUT_NOW";
    case RAFT_SNAPSHOT:
        return "SNAPSHOT";
    case RAFT_SNAPSHOT_REPLY:
        return "SNAPSHOT_REPLY";
    }
    return "?";
}

static void body(const struct raft_message *m, char *out, size_t bytes)
{
    switch (m->type) {
    case RAFT_VOTE:
        (void)snprintf(out, bytes, " log %" PRIu64 "^%" PRIu64 "%s", m->index,
                       m->log_term, m->force ? " force" : "");
        return;
    case RAFT_VOTE_REPLY:
        (void)snprintf(out, bytes, " %s", m->success ? "yes" : "no");
        return;
    case RAFT_APPEND:
        (void)snprintf(out, bytes,
                       " %u behind %" PRIu64 "^%" PRIu64 " commit %" PRIu64
                       "%s",
                       m->entries_n, m->index, m->log_term, m->commit,
                       m->quiet ? " quiet" : "");
        return;
    case RAFT_APPEND_REPLY:
        if (m->success) {
            (void)snprintf(out, bytes, " stored %" PRIu64, m->index);
        } else {
            (void)snprintf(out, bytes,
                           " rejects %" PRIu64 " hint %" PRIu64 "^%" PRIu64,
                           m->index, m->hint_index, m->hint_term);
        }
        return;
    case RAFT_HEARTBEAT:
        (void)snprintf(out, bytes, " round %" PRIu64 " commit %" PRIu64,
                       m->round, m->commit);
        return;
    case RAFT_HEARTBEAT_REPLY:
        (void)snprintf(out, bytes, " round %" PRIu64 " stored %" PRIu64,
                       m->round, m->index);
        return;
    case RAFT_TIMEOUT_NOW:
        (void)snprintf(out, bytes, " round %" PRIu64, m->round);
        return;
    case RAFT_SNAPSHOT:
        (void)snprintf(out, bytes, " of %" PRIu64, m->index);
        return;
    case RAFT_SNAPSHOT_REPLY:
        (void)snprintf(out, bytes, " %s %" PRIu64,
                       m->success ? "installed" : "gave up", m->index);
        return;
    }
}

const char *raft_message_text(const struct raft_message *m, char *out,
                              size_t bytes)
{
    char rest[120] = "";
    body(m, rest, sizeof(rest));
    (void)snprintf(out, bytes, "%u>%u %s term %" PRIu64 "%s", m->from, m->to,
                   message_name(m), m->term, rest);
    return out;
}

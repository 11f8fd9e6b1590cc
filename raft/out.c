#include "raft/core.h"

#include <stdarg.h>
#include <stdio.h>

void raft_note(struct raft_out *out, const char *format, ...)
{
    if (out->notes_n == RAFT_NOTES_MAX) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out->notes[out->notes_n], RAFT_NOTE_BYTES, format, args);
    va_end(args);
    out->notes_n++;
}

bool raft_out_room(const struct raft_out *out)
{
    return out->sends_n < RAFT_SENDS_MAX;
}

void raft_send(const struct raft *r, struct raft_out *out,
               struct raft_message m, raft_index promise)
{
    ASSERT(m.to != 0);
    ASSERT(m.to != r->options.id);
    if (!raft_out_room(out)) {
        return;
    }
    m.from = r->options.id;
    m.entries = NULL;
    if (m.term == 0) {
        m.term = r->term;
    }
    out->sends[out->sends_n] = (struct raft_send){
        .message = m, .after = durable_after(&r->durable, promise)};
    out->sends_n++;
}

void raft_raise(struct raft_out *out, enum raft_alarm alarm, raft_id node,
                struct raft_pos at)
{
    ASSERT(alarm != RAFT_ALARM_NONE);
    ASSERT(node != 0);
    out->alarm = alarm;
    out->alarm_node = node;
    out->alarm_term = at.term;
    out->alarm_index = at.index;
}

void raft_out_reset(struct raft_out *out)
{
    out->hard_state = false;
    out->term = 0;
    out->vote = 0;
    out->truncate_from = 0;
    out->append_first = 0;
    out->append_n = 0;
    out->sends_n = 0;
    out->reads_ticket = 0;
    out->reads_index = 0;
    out->reads_failed = 0;
    out->snapshot_to = 0;
    out->role_changed = false;
    out->config_changed = false;
    out->transfer_done = false;
    out->transfer_failed = false;
    out->alarm = RAFT_ALARM_NONE;
    out->alarm_node = 0;
    out->alarm_term = 0;
    out->alarm_index = 0;
    out->notes_n = 0;
}

/* What a batch has, in words: for tests that show it. */
#include <stdio.h>

#include "sim/disk.h"

struct counts {
    raft_index append_first;
    raft_index append_last;
    uint32_t rows_n;
    uint32_t deleted_n;
    uint32_t events_n;
    uint32_t incoming_n;
};

static void count_op(const struct sim_op *op, struct counts *c)
{
    if (op->type == SIM_APPEND) {
        c->append_first =
            c->append_first == 0 ? op->item.index : c->append_first;
        c->append_last = op->item.index;
    }
    c->rows_n += op->type == SIM_PUT_ROW;
    c->deleted_n += op->type == SIM_DELETE_ROW;
    c->events_n += op->type == SIM_EVENT;
    c->incoming_n += op->type == SIM_INCOMING_ROW;
}

static size_t say(char *out, size_t bytes, size_t at, const char *name,
                  uint64_t value)
{
    if (at >= bytes) {
        return at;
    }
    int n = snprintf(out + at, bytes - at, " %s=%llu", name,
                     (unsigned long long)value);
    return n < 0 ? at : at + (size_t)n;
}

static size_t say_op(char *out, size_t bytes, size_t at,
                     const struct sim_op *op)
{
    switch (op->type) {
    case SIM_HARD_STATE:
        at = say(out, bytes, at, "term", op->item.term);
        return say(out, bytes, at, "vote", op->vote);
    case SIM_TRUNCATE:
        return say(out, bytes, at, "truncate", op->item.index);
    case SIM_CHECKPOINT:
        return say(out, bytes, at, "checkpoint", op->checkpoint.pos.index);
    case SIM_TRIM_LOG:
        return say(out, bytes, at, "trim_log", op->item.index);
    case SIM_TRIM_EVENTS:
        return say(out, bytes, at, "trim_events", op->item.index);
    case SIM_INCOMING_BEGIN:
        return say(out, bytes, at, "incoming", op->checkpoint.pos.index);
    case SIM_INCOMING_INSTALL:
        return say(out, bytes, at, "install", op->checkpoint.pos.index);
    case SIM_APPEND:
    case SIM_PUT_ROW:
    case SIM_DELETE_ROW:
    case SIM_EVENT:
    case SIM_INCOMING_ROW:
        break; /* counted */
    }
    return at;
}

void sim_store_text(const struct store *s, char *out, size_t out_bytes)
{
    const struct sim_op *ops = NULL;
    uint32_t n = 0;
    struct counts c = {0};
    size_t at = 0;
    out[0] = 0;
    if (!sim_store_oldest(s, &ops, &n)) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        at = say_op(out, out_bytes, at, &ops[i]);
        count_op(&ops[i], &c);
    }
    const struct {
        const char *name;
        uint64_t value;
    } totals[] = {
        {"first", c.append_first}, {"last", c.append_last},
        {"rows", c.rows_n},        {"deleted", c.deleted_n},
        {"events", c.events_n},    {"incoming_rows", c.incoming_n},
    };
    for (size_t i = 0; i < countof(totals); i++) {
        if (totals[i].value > 0) {
            at = say(out, out_bytes, at, totals[i].name, totals[i].value);
        }
    }
}

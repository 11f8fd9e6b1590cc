#include <stdio.h>

#include "sim/linear_inner.h"

static const char *call_name(enum linear_call call)
{
    static const char *const names[] = {
        "open",   "touch", "close",   "leader", "stale leader", "granted",
        "verify", "claim", "handoff", "demote", "resign",       "yield",
    };
    return names[call];
}

/* What it was about, with a space before it. */
static void about(const struct linear_op *op, char out[64])
{
    if (op->epoch != 0 && op->session != 0) {
        (void)snprintf(out, 64, " of %llu by session %llu",
                       (unsigned long long)op->epoch,
                       (unsigned long long)op->session);
    } else if (op->epoch != 0) {
        (void)snprintf(out, 64, " of %llu", (unsigned long long)op->epoch);
    } else if (op->session != 0) {
        (void)snprintf(out, 64, " of session %llu",
                       (unsigned long long)op->session);
    } else {
        out[0] = 0;
    }
}

/* What is said beside who holds; empty if nothing. */
static const char *how(const struct linear_op *op)
{
    if (op->answer == LINEAR_STALE) {
        return "stale, ";
    }
    if (op->answer != LINEAR_DONE ||
        (op->call != LINEAR_VERIFY && op->call != LINEAR_CLAIM)) {
        return "";
    }
    return op->valid ? "valid, " : "not valid, ";
}

/* What came of it. */
static void told(const struct linear_op *op, char out[64])
{
    static const char *const names[] = {"done",       "nobody",  "stale",
                                        "no session", "refused", "lost"};
    if (op->told.session != 0) {
        (void)snprintf(out, 64, "%s%llu under %llu", how(op),
                       (unsigned long long)op->told.session,
                       (unsigned long long)op->told.epoch);
    } else if (op->told.epoch != 0) {
        (void)snprintf(out, 64, "%sunder %llu", how(op),
                       (unsigned long long)op->told.epoch);
    } else if (op->answer == LINEAR_DONE && how(op)[0] != 0) {
        (void)snprintf(out, 64, "%snobody", how(op));
    } else {
        (void)snprintf(out, 64, "%s", names[op->answer]);
    }
}

int linear_op_text(const struct linear_op *op, char *out, size_t n)
{
    char of[64];
    char what[64];
    about(op, of);
    told(op, what);
    if (op->answer == LINEAR_LOST) {
        return snprintf(out, n, "client %u's %s%s (%.6f s): lost", op->client,
                        call_name(op->call), of, (double)op->asked_us / 1e6);
    }
    return snprintf(out, n, "client %u's %s%s (%.6f to %.6f s): %s", op->client,
                    call_name(op->call), of, (double)op->asked_us / 1e6,
                    (double)op->answered_us / 1e6, what);
}

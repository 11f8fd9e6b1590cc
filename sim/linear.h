/* linear.h - can what clients were told of one scope have been so at all? By nothing but the calls, the answers, and when they were asked
 * and answered: the log, the revisions and the nodes aren't looked at.
 *
 * A history is linearizable if its calls can be put in one order that keeps whoever was answered before whoever was asked later, and in
 * which each answer is right. The search is Wing and Gong's (1993) with the memory that Lowe added (2017). What one scope is:
 *
 *     nobody  --- granted: an epoch above all before --->  held (epoch, session)  --- expired, passed on, given up --->  nobody, held ...
 *
 * Who is chosen, when a lease expires, and when the cluster moves a baton by itself isn't the clients' to say: the holder may go, and any
 * session that is there may be granted the baton, at any time. What binds all the same:
 *   - each grant has an epoch above all before, and an epoch is one session's;
 *   - a linearizable answer, or a leased one, is what is so at its point; so is "that epoch is (isn't) the current one";
 *   - who resigned, yielded or was demoted doesn't hold any more, and who is named as the next one holds, from that point on;
 *   - a session holds nothing before it was opened, or after it was closed, and is closed once;
 *   - a stale answer, and an event that tells of a grant, tell of one that was made by then.
 * So a history is left as a row of states, each with a higher epoch or with the same one over, and calls that are right in some of them only:
 * cut where no call is under way, long runs stay cheap.
 *
 * A call whose outcome nobody knows may have been done at any time after it was asked, or never: as all that it could do the cluster may do
 * by itself at any time too, it binds nothing, but for an opening: its session isn't there before. */
#ifndef SIM_LINEAR_H
#define SIM_LINEAR_H

#include "proto/base.h"

enum linear_call {
    LINEAR_OPEN,
    LINEAR_TOUCH, /* update, attach: the session must be there */
    LINEAR_CLOSE,
    LINEAR_LEADER,
    LINEAR_LEADER_STALE,
    LINEAR_GRANTED, /* an event: asked and answered when it is told */
    LINEAR_VERIFY,
    LINEAR_CLAIM,
    LINEAR_HANDOFF,
    LINEAR_DEMOTE,
    LINEAR_RESIGN,
    LINEAR_YIELD,
};

enum linear_answer {
    LINEAR_DONE,
    LINEAR_NOBODY, /* holds, or the scope isn't there */
    LINEAR_STALE, /* the epoch isn't the current one: told.epoch is, if it's said */
    LINEAR_NO_SESSION, /* such a session isn't there (any more) */
    LINEAR_REFUSED,    /* nothing was done, and nothing is said of the scope */
    LINEAR_LOST,       /* it may have been done, or may yet be */
};

/* Session 0: not said; epoch 0: nobody. */
struct linear_holder {
    uint64_t session;
    uint64_t epoch;
};

struct linear_op {
    uint64_t asked_us;
    uint64_t answered_us; /* LINEAR_LOST: it doesn't matter */
    uint32_t client;
    enum linear_call call;
    enum linear_answer answer;
    uint64_t
        session;    /* that is opened, touched, closed; that claims or yields */
    uint64_t epoch; /* that is verified, claimed, resigned, yielded */
    /* leader, granted, verify, claim, handoff: who holds; demote, resign, yield: who does since. */
    struct linear_holder told;
    bool valid; /* verify, claim */
};

/* Counted, not timed: the same history comes to the same on every machine. */
struct linear_limits {
    uint64_t steps;  /* calls that are tried */
    uint32_t states; /* that are remembered at once */
};
extern const struct linear_limits linear_limits_default;

enum linear_verdict {
    LINEAR_OK,
    LINEAR_BAD,
    LINEAR_UNKNOWN, /* a limit was reached: that isn't OK */
};

#define LINEAR_WITNESS_MAX 8u

struct linear_report {
    uint64_t steps;
    uint32_t pieces; /* between points at which no call was under way */
    uint32_t widest; /* calls in one of them */
    /* BAD: the calls in the order of their answers can be put in order up to, and without, ops[misfit]. */
    uint32_t prefix_n;
    uint32_t misfit;
    /* Of those before it: the fewest that it contradicts. */
    uint32_t against[LINEAR_WITNESS_MAX];
    uint32_t against_n;
    bool against_more; /* there are more than fit */
    char text[384];    /* the same in words */
};

/* The ops of one scope, in any order. */
enum linear_verdict linear_check(const struct linear_op *ops, uint32_t n,
                                 const struct linear_limits *limits,
                                 struct linear_report *out);

/* One call and its answer in words; returns snprintf's count. */
int linear_op_text(const struct linear_op *op, char *out, size_t n);

#endif

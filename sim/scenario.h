/* scenario.h - a run that is told: a file of lines (docs/simulation.md explains them to who writes one).
 *
 *    scenario_parse.c   text --> struct scenario, or where it's wrong, what was expected there, and what may have been meant
 *    scenario_run.c     its steps, each at its time: who is meant is found out then, and becomes actions; expectations are watched
 *
 * A scenario's seed decides what it leaves open: delays, the load, who is elected, who "random" is. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include "sim/action.h"

#define SCENARIO_STEPS_MAX (SIM_RECORD_MAX + 16u)
#define SCENARIO_NAMES_MAX 16u
#define SCENARIO_NAME      24u

enum target_kind {
    TARGET_HOST,     /* n3, c2 */
    TARGET_LEADER,   /* that leads now; of several the one of the latest term */
    TARGET_FOLLOWER, /* the index-th node that doesn't, from 0 */
    TARGET_RANDOM,
    TARGET_NAME, /* given by "as" in a step before */
    TARGET_NODES,
    TARGET_CLIENTS,
};

struct target {
    enum target_kind kind;
    uint32_t index; /* the host, the follower, the name */
};

enum step_verb {
    STEP_CRASH,
    STEP_STOP,
    STEP_RESTART,
    STEP_WIPE,
    STEP_IMAGE,
    STEP_RESTORE,
    STEP_PAUSE,
    STEP_RESUME,
    STEP_CUT,
    STEP_MEND,
    STEP_CLOG,
    STEP_ISOLATE,
    STEP_MUTE,
    STEP_DEAF,
    STEP_SPLIT,
    STEP_BRIDGE,
    STEP_RING,
    STEP_CHAIN,
    STEP_STAR,
    STEP_SWIZZLE,
    STEP_HOSTILE,
    STEP_DISK,
    STEP_CLOCK,
    STEP_THROTTLE,
    STEP_TRANSFER,
    STEP_ADD,
    STEP_PROMOTE,
    STEP_REMOVE,
    STEP_CALL,
    STEP_LOAD,
    STEP_HEAL,
    STEP_EXPECT,
    STEP_VERBS_N,
};

enum expectation {
    EXPECT_LEADER,    /* somebody leads, within us */
    EXPECT_NO_LEADER, /* nobody does, within us */
    EXPECT_LEADS,     /* the target does, within us */
    EXPECT_LEADS_NOT, /* somebody else does, within us */
    EXPECT_UP,        /* the target's process runs, within us */
    EXPECT_DOWN,      /* it doesn't, within us */
    EXPECT_VOTER,     /* it's one by what is committed, within us */
    EXPECT_LEARNER,   /* likewise */
    EXPECT_NO_MEMBER, /* likewise, and not one of the old ones of a joint one either */
    EXPECT_ANSWERS,        /* a call made from now on is answered, within us */
    EXPECT_LEADER_CHANGES, /* at most `number`, over us */
    EXPECT_CONVERGED,      /* all that run are equal, within us */
    EXPECT_TOLD, /* at some moment within us, whoever holds a scope believes to */
    EXPECT_COVERED, /* at the end: a coverage counter is at least `number`, in so many seeds */
    EXPECT_OVERLAP, /* at the end: beliefs overlapped for at most so many us */
    EXPECT_UNAVAILABLE, /* at the end: never longer without an answer than so many us */
    EXPECTATIONS_N,
};

/* In which of the seeds that are run a counter must get so far. */
enum expected_in {
    EXPECTED_IN_EACH,
    EXPECTED_IN_HALF, /* at least */
    EXPECTED_IN_ONE,  /* at least */
};

struct step {
    uint64_t at_us;    /* UINT64_MAX: at the end */
    uint64_t every_us; /* repeated until to_us; 0: once */
    uint64_t to_us;
    uint64_t for_us; /* undone after that; 0: it stays */
    uint32_t line;
    enum step_verb verb;
    struct target a;
    struct target b;
    bool both;  /* <-> */
    bool power; /* crash: the machine, not the process alone */
    uint32_t
        name; /* who is meant is called that from now on; UINT32_MAX: no name */
    uint64_t sides;    /* split, bridge, heal: a set of nodes */
    enum sim_verb act; /* of a disk, a clock */
    int64_t v;
    uint32_t loss;
    uint32_t twice;
    uint32_t call; /* enum sim_op_kind */
    enum expectation expect;
    uint64_t within_us;
    uint64_t number;
    uint32_t counter; /* place in struct sim_coverage */
    enum expected_in in;
};

struct scenario {
    char name[64];
    struct sim_options options; /* its seed is the first one to be run */
    uint64_t seed_to;
    bool swarm; /* faults are drawn as well */
    bool
        settles; /* at the end a quorum is healed, then all, as in a drawn run */
    uint64_t core; /* that quorum: a set of nodes; 0: the seed draws it */
    uint32_t steps_n;
    struct step steps[SCENARIO_STEPS_MAX];
    uint32_t names_n;
    char names[SCENARIO_NAMES_MAX][SCENARIO_NAME];
};

/* Reads a file. False: `error` is "FILE:LINE:COLUMN: what's wrong; what was expected". */
MUST_USE bool scenario_read(const char *path, struct scenario *out, char *error,
                            size_t error_bytes);
/* The same, of a text in memory; `path` is for messages. */
MUST_USE bool scenario_parse(const char *path, const char *text,
                             struct scenario *out, char *error,
                             size_t error_bytes);

/* A run's place in its scenario. */
struct telling;
/* Plans all steps; `s` is borrowed until telling_free(). */
struct telling *telling_new(struct sim_world *w, const struct scenario *s);
/* After everything: expectations that are about the end. */
void telling_end(struct telling *t);
void telling_free(struct telling *t);
/* Simulated time when the last step has happened, and is undone. */
uint64_t scenario_lasts_us(const struct scenario *s);

#endif

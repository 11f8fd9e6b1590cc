/* action.h - what is done to a run from outside: each fault and each mending, with all that chance decides about it decided.
 *
 *    chaos.c draws them -----------+
 *    scenario_run.c reads them ----+--> sim_act() --> nodes, net, disks, clocks, clients
 *                                            +------> w->record: what was done, for shrink.c to try with less
 *
 * So a drawn run can be told as a scenario: the same actions at the same times. */
#ifndef SIM_ACTION_H
#define SIM_ACTION_H

#include "sim/world.h"

/* Hosts a and b as in world.h; v and u are numbers with the unit named. */
enum sim_verb {
    SIM_CRASH,   /* a: kill -9 */
    SIM_POWER,   /* a: the machine loses power */
    SIM_STOP,    /* a: SIGTERM */
    SIM_START,   /* a: machine, disk and process */
    SIM_WIPE,    /* a, which is down: its data directory is gone */
    SIM_IMAGE,   /* a: a copy of its disk is kept */
    SIM_RESTORE, /* a, which is down: that copy takes the disk's place */
    SIM_PAUSE,   /* a: SIGSTOP, or a machine that sleeps; its clock goes on */
    SIM_RESUME,  /* a */
    SIM_CUT,     /* a to b */
    SIM_MEND,    /* a to b */
    SIM_CLOG,    /* a to b takes v us longer; 0: no longer */
    SIM_HOSTILE, /* frames between nodes: a lost, b doubled, v overtaken, per mille */
    SIM_STALL,     /* a's disk doesn't answer */
    SIM_SLOW_DISK, /* a's disk takes v times as long */
    SIM_EIO,       /* a's disk fails */
    SIM_FULL,      /* a's disk is full */
    SIM_DISK_OK,   /* a */
    SIM_ROT,       /* a, which is down: a bit flips in its row number v */
    SIM_DRIFT,     /* a's clock is v ppm fast (slow: negative) */
    SIM_JUMP,      /* a's wall clock goes on by v ms (back: negative) */
    SIM_THROTTLE, /* client a's timers fire at multiples of v ms; 0: as they should */
    SIM_TRANSFER, /* client a asks for node b to lead; 0: anyone */
    SIM_ADD, /* a, set up and started if it wasn't, as a learner; b is asked first; 0: anyone */
    SIM_PROMOTE, /* a, a learner: to a voter; likewise */
    SIM_REMOVE,  /* a; likewise */
    SIM_HEAL, /* the nodes of the set v, and all clients, are made whole, and so is what connects them */
    SIM_VERBS_N,
};

struct sim_action {
    uint64_t at_us; /* filled in by sim_act() */
    enum sim_verb verb;
    uint32_t a;
    uint32_t b;
    int64_t v;
};

#define SIM_SET(id) ((int64_t)1 << (id))

/* What was done, in order. Bounded: what comes behind the end is not kept. */
#define SIM_RECORD_MAX 16384u
struct sim_record {
    struct sim_action at[SIM_RECORD_MAX];
    uint32_t n;
};

/* Does it, now. What makes no sense at the moment (to crash who is down) does nothing. */
void sim_act(struct sim_world *w, const struct sim_action *action);
/* Who was healed last is started again when its process ends, as a supervisor does; and if those are no quorum any more, since members
 * changed, others are healed with them. Call it now and then. */
void sim_tend(struct sim_world *w);

/* As a scenario says it: "cut n1 -> n2". */
void sim_action_text(const struct sim_action *action, char *out,
                     size_t out_bytes);

#endif

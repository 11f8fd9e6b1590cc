/* client.h - a client process: the real libbaton on the simulated net, and the program that uses it. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "client/client.h"
#include "sim/world.h"

#define SIM_TABS_MAX 8u
#define SIM_OPS_MAX  256u

/* What a tab knows of one of its two scopes. */
struct sim_belief {
    bool leads;
    uint64_t epoch;
    uint64_t
        overlap_us; /* since when another one believes in it too; 0: nobody */
};

struct sim_tab {
    bool used;
    bool opening;
    bool closing;
    uint64_t session; /* 0: not open */
    uint32_t group;
    uint32_t device;
    uint32_t serial; /* of its name, which is never used twice */
    uint8_t secret[BATON_SECRET_BYTES];
    struct sim_belief beliefs[2]; /* of its device, of the group */
};

enum sim_op_kind {
    SIM_OP_OPEN,
    SIM_OP_CLOSE,
    SIM_OP_UPDATE,
    SIM_OP_LEADER,
    SIM_OP_LEADER_STALE,
    SIM_OP_VERIFY,
    SIM_OP_CLAIM,
    SIM_OP_HANDOFF,
    SIM_OP_DEMOTE,
    SIM_OP_RESIGN,
    SIM_OP_YIELD,
    SIM_OP_ATTACH,
    SIM_OP_SESSIONS,
    SIM_OP_POLICY,
    SIM_OPS_N,
};
const char *sim_op_name(enum sim_op_kind kind);

/* One call, from when it was made until it was answered. */
struct sim_op {
    uint64_t tag; /* 0: unused */
    enum sim_op_kind kind;
    uint64_t invoked_us;
    uint32_t tab;
    uint32_t group;
    uint32_t device;
    bool group_scope;
    uint64_t session;
    uint64_t epoch;
    uint64_t
        floor; /* the revision that was committed and answered for before it was made */
};

struct sim_client {
    struct sim_world *world;
    uint32_t number; /* from 0 */
    uint32_t host;
    bool up;
    bool paused;
    struct sim_clock clock;
    struct sim_random random; /* of its program */
    struct sim_random system; /* what libbaton draws */
    struct baton *baton;
    struct link_loop *loop;
    char endpoints[256];
    char label[32];
    uint32_t
        throttle_ms; /* its timers fire at multiples of this only; 0: as they should */
    uint64_t changed_us;    /* when its process began, or ended */
    uint64_t renewed_lease; /* whose renewals are counted */
    uint64_t renewed;       /* the number of the last one */
    struct sim_budget renewals;
    uint64_t run_us;
    uint32_t run_place; /* in the queue */
    uint64_t op_us;     /* when its program does something next */
    uint64_t tags;
    uint32_t tabs_n;
    struct sim_tab tabs[SIM_TABS_MAX];
    struct sim_op ops[SIM_OPS_MAX];
    uint32_t ops_n;
    bool watching;
};

struct sim_client *sim_client_new(struct sim_world *w, uint32_t number);
void sim_client_free(struct sim_client *c);
bool sim_client_start(struct sim_client *c);
/* The process is killed: its lease is left to expire. */
void sim_client_kill(struct sim_client *c);
/* Stopped, or on a machine that sleeps: its clock goes on. */
void sim_client_pause(struct sim_client *c, bool paused);
void sim_client_wake(struct sim_client *c, uint64_t at_us);
/* May its sessions act as leaders now, by its own clock? */
bool sim_client_may_lead(struct sim_client *c);

/* What the net tells it. */
void sim_client_up(struct sim_client *c, struct sim_stream *s);
void sim_client_frame(struct sim_client *c, struct sim_stream *s,
                      struct bytes body);
void sim_client_down(struct sim_client *c, struct sim_stream *s,
                     const char *why);
void sim_client_room(struct sim_client *c, struct sim_stream *s);

/* The number behind a group or device of the load; false: it isn't of the load. */
bool sim_group_number(const char *name, uint32_t *out);
bool sim_device_number(const char *name, uint32_t *out);

/* system.c: whose clock and random numbers libbaton uses from now on. */
void sim_system_of(struct sim_client *c);

#endif

/* registry_noise.h - random commands for a registry: mostly such as make sense to it now, some that don't, some malformed. The same seed
 * and the same registry draw the same ones. */
#ifndef TESTS_UNIT_REGISTRY_NOISE_H
#define TESTS_UNIT_REGISTRY_NOISE_H

#include "session/registry.h"

#define NOISE_LEASES 8

struct noise {
    uint64_t seed;
    const struct registry *r;
    uint64_t term;
    uint64_t leases[NOISE_LEASES];    /* ids, 0: none */
    uint64_t sequences[NOISE_LEASES]; /* last used */
};

/* One command, and all that it points to. */
struct message {
    Pb__Command command;
    Pb__Path path;
    Pb__Capability caps[10];
    Pb__Capability *cap_list[10];
    uint8_t secret[16];
    uint8_t state[300];
    uint64_t ids[SWEEP_MAX + 1];
    Pb__ClaimEvidence claims[2];
    Pb__Policy policy;
    Pb__Weight weight;
    Pb__Weight *weights[1];
    Pb__OpenLease open_lease;
    Pb__CloseLease close_lease;
    Pb__ExpireLease expire_lease;
    Pb__SweepLease sweep_lease;
    Pb__Touched touched;
    Pb__TermStart term_start;
    Pb__NodeSeen node_seen;
    Pb__OpenSession open_session;
    Pb__UpdateSession update_session;
    Pb__CloseSession close_session;
    Pb__AttachSession attach_session;
    Pb__EndGrace end_grace;
    Pb__Handoff handoff;
    Pb__AnswerOffer answer_offer;
    Pb__Yield yield;
    Pb__Resign resign;
    Pb__Demote demote;
    Pb__ScopeDue scope_due;
    Pb__RecordClaim record_claim;
    Pb__Rescore rescore;
    Pb__SetPolicy set_policy;
    Pb__SetLimits set_limits;
};

uint64_t noise_draw(struct noise *noise);
uint32_t noise_below(struct noise *noise, uint32_t n);
bool noise_one_in(struct noise *noise, uint32_t n);

/* Valid until the next call with this message. */
void noise_command(struct noise *noise, struct message *m);
/* Leases as they were opened and ended, by hand; some of those that ended are used on. */
void noise_note(struct noise *noise, const struct registry_out *out);

#endif

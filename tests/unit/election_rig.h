/* election_rig.h - a small registry, driven by commands, whose events come out as text.
 *
 * A session is given by its path "ns/group/device/tab" and its priority: with the default weight of 500 it scores 5 points for
 * each. Ids are log indices, so they're stable as long as a test's commands are. After every entry each scope is checked against
 * the slow oracle. */
#ifndef TESTS_UNIT_ELECTION_RIG_H
#define TESTS_UNIT_ELECTION_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/election.h"
#include "session/policy.h"
#include "session/settle.h"
#include "tests/unit/assert_stub.h"

#define RIG_TEXT 4096
#define RIG_ANY  UINT64_MAX /* the scope's current epoch */

struct rig {
    void *memory;
    struct registry *r;
    struct registry_out *out;
    uint64_t index;
    uint64_t time_ms;
    uint64_t lease;
    uint64_t sequence;
    char text[RIG_TEXT]; /* of the last entry's events */
    char names[4][NAME_BYTES_MAX + 1];
    Pb__Path path;
};

static inline const struct reply *rig_apply(struct rig *g, Pb__Command *c);

static inline struct rig *rig_new(void)
{
    static const struct registry_limits limits = {
        .namespaces_n = 16,
        .groups_n = 64,
        .devices_n = 256,
        .sessions_n = 1024,
        .leases_n = 64,
        .window_blocks_n = 256,
        .scope_extras_n = 320,
        .session_extras_n = 1024,
        .states_n = 2,
    };
    struct rig *g = calloc(1, sizeof *g);
    assert_non_null(g);
    size_t n = registry_bytes(&limits);
    g->memory = aligned_alloc(64, (n + 63) / 64 * 64);
    assert_non_null(g->memory);
    memset(g->memory, 0, n);
    g->r = registry_init(g->memory, &limits);
    g->out = calloc(1, sizeof *g->out);
    assert_non_null(g->out);
    g->time_ms = 1000000;
    return g;
}

static inline void rig_free(struct rig *g)
{
    free(g->out);
    free(g->memory);
    free(g);
}

static inline uint64_t rig_lease(struct rig *g)
{
    uint8_t nonce[16] = {(uint8_t)g->index, (uint8_t)(g->index >> 8), 7};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenLease m = PB__OPEN_LEASE__INIT;
    m.nonce.data = nonce;
    m.nonce.len = sizeof nonce;
    m.ttl_ms = 10000;
    m.label = "relay";
    c.version = COMMAND_VERSION;
    c.op_case = PB__COMMAND__OP_OPEN_LEASE;
    c.open_lease = &m;
    assert_int_equal(rig_apply(g, &c)->status, BATON_OK);
    g->lease = g->out->reply.id;
    return g->lease;
}

/* "ns/group[/device[/tab]]" into g->names and g->path. */
static inline Pb__Path *rig_path(struct rig *g, const char *text)
{
    memset(g->names, 0, sizeof g->names);
    for (int i = 0; i < 4 && text != NULL; i++) {
        const char *slash = strchr(text, '/');
        size_t n = slash == NULL ? strlen(text) : (size_t)(slash - text);
        assert_true(n <= NAME_BYTES_MAX);
        memcpy(g->names[i], text, n);
        text = slash == NULL ? NULL : slash + 1;
    }
    pb__path__init(&g->path);
    g->path.namespace_ = g->names[0];
    g->path.group = g->names[1];
    g->path.device = g->names[2];
    return &g->path;
}

static inline struct scope_ref rig_ref(struct rig *g, const char *path)
{
    struct scope_ref ref = {0, 0};
    uint32_t reason = 0;
    assert_int_equal(find_scope(g->r, rig_path(g, path), &ref, &reason),
                     BATON_OK);
    return ref;
}

static inline const struct scope *rig_scope(struct rig *g, const char *path)
{
    return scope_at(g->r, rig_ref(g, path));
}

/* --- events as text -------------------------------------------------------------------------------------------------- */
static inline const char *rig_word(enum event_kind kind)
{
    static const char *const words[] = {
        [EVENT_SESSION_OPENED] = "opened",
        [EVENT_SESSION_UPDATED] = "updated",
        [EVENT_SESSION_DETACHED] = "detached",
        [EVENT_SESSION_ATTACHED] = "attached",
        [EVENT_SESSION_CLOSED] = "closed",
        [EVENT_GRANTED] = "granted",
        [EVENT_VACATED] = "vacated",
        [EVENT_BACKUP_CHANGED] = "backup",
        [EVENT_OFFERED] = "offered",
        [EVENT_ACCEPTED] = "accepted",
        [EVENT_HANDOFF_FAILED] = "failed",
        [EVENT_DEMOTED] = "demoted",
        [EVENT_CLAIM_REJECTED] = "claim",
        [EVENT_POLICY_SET] = "policy",
        [EVENT_LEASE_OPENED] = "lease",
        [EVENT_LEASE_ENDED] = "ended",
        [EVENT_NODE_SEEN] = "node",
    };
    return kind > 0 && kind < (int)countof(words) ? words[kind] : "?";
}

static inline const char *rig_reason(enum grant_reason reason)
{
    static const char *const words[] = {
        "none",   "first",    "succession", "resigned", "handoff",
        "better", "rotation", "demotion",   "device",
    };
    return reason < countof(words) ? words[reason] : "?";
}

static inline const char *rig_cause(enum cause cause)
{
    static const char *const words[] = {
        "",      " closed",   " expired", " grace",  " lapsed", " declined",
        " gone", " replaced", " stale",   " forged", " double",
    };
    return cause < countof(words) ? words[cause] : " ?";
}

/* "granted laptop 3 first" for a device's scope, "granted * 3 first" for the group's; then the holder before, the backup. */
static inline void rig_event_text(struct rig *g, const struct event *e)
{
    size_t used = strlen(g->text);
    char *out = g->text + used;
    size_t room = sizeof g->text - used;
    const char *scope = e->group_scope ? "*" : (const char *)e->device.data;
    int n = 0;
    switch (e->kind) {
    case EVENT_GRANTED:
        n = snprintf(out, room, "granted %s %llu %s from %llu next %llu%s\n",
                     scope, (unsigned long long)e->session,
                     rig_reason(e->reason),
                     (unsigned long long)e->previous_session,
                     (unsigned long long)e->backup, rig_cause(e->cause));
        break;
    case EVENT_VACATED:
        n = snprintf(out, room, "vacated %s from %llu %s%s\n", scope,
                     (unsigned long long)e->previous_session,
                     rig_reason(e->reason), rig_cause(e->cause));
        break;
    case EVENT_BACKUP_CHANGED:
        n = snprintf(out, room, "backup %s %llu\n", scope,
                     (unsigned long long)e->backup);
        break;
    case EVENT_OFFERED:
    case EVENT_ACCEPTED:
    case EVENT_HANDOFF_FAILED:
        n = snprintf(out, room, "%s %s %llu by %llu %s%s\n", rig_word(e->kind),
                     scope, (unsigned long long)e->session,
                     (unsigned long long)e->previous_session,
                     rig_reason(e->reason), rig_cause(e->cause));
        break;
    default:
        n = snprintf(out, room, "%s %llu%s\n", rig_word(e->kind),
                     (unsigned long long)e->session, rig_cause(e->cause));
        break;
    }
    assert_true(n > 0 && (size_t)n < room);
}

/* --- commands ---------------------------------------------------------------------------------------------------------- */
static inline void rig_check(const struct rig *g)
{
    const struct registry *r = g->r;
    for (slot s = 1; s <= r->pools[OBJECT_GROUP].high; s++) {
        const struct group *group = group_at(r, s);
        if (group->born == 0 || (group->object.flags & FLAG_DELETED) != 0) {
            continue;
        }
        election_check_scope(r, (struct scope_ref){s, 0});
        for (slot d = group->devices; d != 0; d = device_at(r, d)->next) {
            election_check_scope(r, (struct scope_ref){s, d});
        }
    }
}

static inline const struct reply *rig_apply(struct rig *g, Pb__Command *c)
{
    struct registry_entry entry = {
        .index = ++g->index, .term = 1, .time_ms = g->time_ms, .command = c};
    registry_apply(g->r, &entry, g->out);
    g->text[0] = 0;
    for (uint32_t i = 0; i < g->out->events_n; i++) {
        rig_event_text(g, &g->out->events[i]);
    }
    rig_check(g);
    return &g->out->reply;
}

static inline void rig_client(struct rig *g, Pb__Command *c)
{
    c->version = COMMAND_VERSION;
    c->lease = g->lease;
    c->sequence = ++g->sequence;
    c->first_outstanding = g->sequence;
}

/* Applies what's due at the rig's time, until nothing is; returns how many entries that took. */
static inline uint32_t rig_due(struct rig *g)
{
    static uint8_t memory[1 << 20];
    static char text[RIG_TEXT];
    uint32_t entries = 0;
    size_t used = 0;
    while (registry_due_ms(g->r) <= g->time_ms) {
        struct arena arena;
        arena_init(&arena, memory, sizeof memory);
        Pb__Command c[1];
        assert_int_equal(registry_due(g->r, g->time_ms, c, 1, &arena), 1);
        c[0].proposer_term = 1;
        const struct reply *reply = rig_apply(g, &c[0]);
        /* What's due is done; or, scheduled under an older policy, it isn't due, and isn't proposed for ever. */
        assert_true(reply->status == BATON_OK ||
                    reply->reason == REASON_NOT_DUE);
        assert_true(++entries < 1000);
        size_t n = strlen(g->text);
        assert_true(used + n < sizeof text);
        memcpy(text + used, g->text, n);
        used += n;
    }
    memcpy(g->text, text, used);
    g->text[used] = 0;
    return entries;
}

static inline uint32_t rig_after(struct rig *g, uint64_t ms)
{
    g->time_ms += ms;
    return rig_due(g);
}

struct rig_caps {
    Pb__Capability item[CAP_END];
    Pb__Capability *list[CAP_END];
    size_t n;
};

static inline void rig_cap(struct rig_caps *caps, enum capability key,
                           int32_t value)
{
    pb__capability__init(&caps->item[caps->n]);
    caps->item[caps->n].key = (Pb__CapabilityKey)key;
    caps->item[caps->n].value = value;
    caps->list[caps->n] = &caps->item[caps->n];
    caps->n++;
}

/* Returns its id. */
static inline uint64_t rig_open_caps(struct rig *g, const char *path,
                                     struct rig_caps *caps, bool observer)
{
    if (g->lease == 0) {
        (void)rig_lease(g);
    }
    static uint8_t secret[16] = "secret of a tab";
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    rig_client(g, &c);
    m.path = rig_path(g, path);
    m.tab = g->names[3];
    m.secret.data = secret;
    m.secret.len = sizeof secret;
    m.capabilities = caps->list;
    m.n_capabilities = caps->n;
    m.observer = observer;
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &m;
    assert_int_equal(rig_apply(g, &c)->status, BATON_OK);
    return g->out->reply.id;
}

static inline uint64_t rig_open(struct rig *g, const char *path,
                                int32_t priority)
{
    struct rig_caps caps = {.n = 0};
    rig_cap(&caps, CAP_PRIORITY, priority);
    return rig_open_caps(g, path, &caps, false);
}

static inline const struct reply *rig_update(struct rig *g, uint64_t session,
                                             enum capability key, int32_t value)
{
    struct rig_caps caps = {.n = 0};
    rig_cap(&caps, key, value);
    Pb__Command c = PB__COMMAND__INIT;
    Pb__UpdateSession m = PB__UPDATE_SESSION__INIT;
    rig_client(g, &c);
    m.session = session;
    m.capabilities = caps.list;
    m.n_capabilities = caps.n;
    c.op_case = PB__COMMAND__OP_UPDATE_SESSION;
    c.update_session = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_observe(struct rig *g, uint64_t session,
                                              bool observer)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__UpdateSession m = PB__UPDATE_SESSION__INIT;
    rig_client(g, &c);
    m.session = session;
    m.set_observer = true;
    m.observer = observer;
    c.op_case = PB__COMMAND__OP_UPDATE_SESSION;
    c.update_session = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_close(struct rig *g, uint64_t session,
                                            const char *state)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseSession m = PB__CLOSE_SESSION__INIT;
    rig_client(g, &c);
    m.session = session;
    m.state.data = (uint8_t *)(uintptr_t)state;
    m.state.len = strlen(state);
    c.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    c.close_session = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_attach(struct rig *g, uint64_t session)
{
    static uint8_t secret[16] = "secret of a tab";
    Pb__Command c = PB__COMMAND__INIT;
    Pb__AttachSession m = PB__ATTACH_SESSION__INIT;
    rig_client(g, &c);
    m.session = session;
    m.secret.data = secret;
    m.secret.len = sizeof secret;
    c.op_case = PB__COMMAND__OP_ATTACH_SESSION;
    c.attach_session = &m;
    return rig_apply(g, &c);
}

/* Ends the rig's lease by its client; a new one is there afterwards. */
static inline void rig_close_lease(struct rig *g, bool detach)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseLease m = PB__CLOSE_LEASE__INIT;
    rig_client(g, &c);
    m.detach = detach;
    c.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    c.close_lease = &m;
    assert_int_equal(rig_apply(g, &c)->status, BATON_OK);
}

static inline const struct reply *rig_handoff(struct rig *g, const char *path,
                                              uint64_t to, uint64_t epoch)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Handoff m = PB__HANDOFF__INIT;
    rig_client(g, &c);
    m.scope = rig_path(g, path);
    m.to = to;
    m.epoch = epoch;
    c.op_case = PB__COMMAND__OP_HANDOFF;
    c.handoff = &m;
    return rig_apply(g, &c);
}

/* To the offer that's running. */
static inline const struct reply *rig_answer(struct rig *g, const char *path,
                                             uint64_t session, bool accept)
{
    const struct scope_extra *e = scope_extra(g->r, rig_scope(g, path));
    Pb__Command c = PB__COMMAND__INIT;
    Pb__AnswerOffer m = PB__ANSWER_OFFER__INIT;
    rig_client(g, &c);
    m.scope = rig_path(g, path);
    m.session = session;
    m.offer = e == NULL ? 0 : e->offer;
    m.accept = accept;
    c.op_case = PB__COMMAND__OP_ANSWER_OFFER;
    c.answer_offer = &m;
    return rig_apply(g, &c);
}

static inline uint64_t rig_epoch(struct rig *g, const char *path,
                                 uint64_t epoch)
{
    return epoch == RIG_ANY ? rig_scope(g, path)->epoch : epoch;
}

static inline const struct reply *rig_yield(struct rig *g, const char *path,
                                            uint64_t session, const char *state)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Yield m = PB__YIELD__INIT;
    rig_client(g, &c);
    m.epoch = rig_epoch(g, path, RIG_ANY);
    m.scope = rig_path(g, path);
    m.session = session;
    m.state.data = (uint8_t *)(uintptr_t)state;
    m.state.len = strlen(state);
    c.op_case = PB__COMMAND__OP_YIELD;
    c.yield = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_resign(struct rig *g, const char *path,
                                             uint64_t epoch, const char *state)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Resign m = PB__RESIGN__INIT;
    rig_client(g, &c);
    m.epoch = rig_epoch(g, path, epoch);
    m.scope = rig_path(g, path);
    m.state.data = (uint8_t *)(uintptr_t)state;
    m.state.len = strlen(state);
    c.op_case = PB__COMMAND__OP_RESIGN;
    c.resign = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_demote(struct rig *g, const char *path,
                                             uint64_t epoch)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Demote m = PB__DEMOTE__INIT;
    rig_client(g, &c);
    m.scope = rig_path(g, path);
    m.epoch = epoch;
    m.reason = "too slow for us";
    c.op_case = PB__COMMAND__OP_DEMOTE;
    c.demote = &m;
    return rig_apply(g, &c);
}

static inline const struct reply *rig_policy(struct rig *g, const char *name,
                                             Pb__Policy *policy)
{
    if (g->lease == 0) {
        (void)rig_lease(g);
    }
    Pb__Command c = PB__COMMAND__INIT;
    Pb__SetPolicy m = PB__SET_POLICY__INIT;
    rig_client(g, &c);
    m.namespace_ = (char *)(uintptr_t)name;
    m.policy = policy;
    c.op_case = PB__COMMAND__OP_SET_POLICY;
    c.set_policy = &m;
    return rig_apply(g, &c);
}

/* The whole path of a hand-off that's offered to `to`. */
static inline void rig_pass(struct rig *g, const char *path, uint64_t to,
                            const char *state)
{
    uint64_t from = rig_scope(g, path)->holder_session;
    assert_int_equal(rig_answer(g, path, to, true)->status, BATON_OK);
    assert_int_equal(rig_yield(g, path, from, state)->status, BATON_OK);
    assert_int_equal(g->out->reply.id, to);
    assert_int_equal(g->out->reply.epoch, g->index);
}

/* A reply that's a refusal. */
static inline void rig_refused(const struct reply *reply,
                               enum baton_status status, uint32_t reason)
{
    assert_int_equal(reply->status, status);
    assert_int_equal(reply->reason, reason);
}

#endif

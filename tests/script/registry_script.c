/* The registry's scripts (tests/script/registry/): each command is a log entry, and what's expected is its reply and all its events. Ids
 * are indices of entries, so they can be read off. registry_check() runs after each.
 *
 *     lease nonce=1 label=relay-1 ttl=10000            open lease=1 path=ns/g/d/t secret=7 priority=5 battery=80 observer=1
 *     close-lease lease=1 [detach=1]                   update lease=1 session=2 attachment=1 battery=20 observer=0
 *     expire lease=1 [renewals=N] [term=N]             close lease=1 session=2 attachment=1 state=TEXT
 *     sweep lease=1 sessions=(2,3)                     attach lease=4 session=2 secret=7
 *     touched leases=(1,4)                             end-grace session=2 attachment=1
 *     handoff lease=1 scope=ns/g to=5 epoch=3          answer lease=1 scope=ns/g session=5 offer=6 accept=1
 *     yield lease=1 scope=ns/g session=2 epoch=3 state=TEXT     resign lease=1 scope=ns/g epoch=3 state=TEXT
 *     demote lease=1 scope=ns/g epoch=3 text=slow      record-claim scope=ns/g session=2 epoch=3 lease=1
 *     policy lease=1 ns=ns margin=10 ...               limits sessions=10 leases=3 namespaces=2
 *     term-start wall=N         node node=1 incarnation=N boot=N        noop
 *
 * Every client's command takes seq=N and first=N; without, sequences count up by themselves. `again` applies the last command
 * once more. time ms=500 moves the clock; due applies what's due now, wait ms=N what becomes due until then, command by command. scope,
 * sessions, leases, claim, state show; restart loads a second registry from rows, says if both are the same, and goes on with it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/script/datadriven.h"
#include "tests/script/registry_text.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

#define SEQUENCES_MAX 64

struct world {
    struct kit kit;
    struct kit_rows rows;
    uint64_t sequences[SEQUENCES_MAX]; /* by lease id, the low ones */
    uint8_t last[65536 + 1024];
    size_t last_n;
};

/* A command under construction, and its parts. */
struct build {
    const struct datadriven_command *text;
    Pb__Command command;
    struct kit_path path;
    Pb__Capability caps[CAP_END];
    Pb__Capability *cap_list[CAP_END];
    uint8_t secret[16];
    uint64_t ids[DATADRIVEN_WORDS_MAX];
};

static uint64_t num(const struct build *b, const char *key)
{
    return datadriven_number(b->text, key, 0);
}

static char *text(const struct build *b, const char *key)
{
    const char *value = datadriven_value(b->text, key);
    return (char *)(uintptr_t)(value == NULL ? "" : value);
}

static ProtobufCBinaryData state_of(const struct build *b)
{
    return codec_binary(codec_text(text(b, "state")));
}

static ProtobufCBinaryData secret_of(struct build *b, const char *key)
{
    memset(b->secret, 0, sizeof b->secret);
    b->secret[0] = (uint8_t)datadriven_number(b->text, key, 7);
    return codec_binary((struct bytes){b->secret, sizeof b->secret});
}

static Pb__Path *path_of(struct build *b, const char *key)
{
    kit_path(&b->path, text(b, key));
    return &b->path.path;
}

static int32_t signed_number(const struct datadriven_command *c,
                             const char *value)
{
    char *end = NULL;
    long number = strtol(value, &end, 10);
    if (end == value || *end != 0 || number < INT32_MIN || number > INT32_MAX) {
        datadriven_fail(c, "a capability needs a number");
    }
    return (int32_t)number;
}

static size_t caps_of(struct build *b)
{
    static const char *const names[CAP_END] = {
        [CAP_BATTERY] = "battery",   [CAP_CHARGING] = "charging",
        [CAP_KIND] = "kind",         [CAP_NETWORK] = "network",
        [CAP_RTT_MS] = "rtt",        [CAP_VISIBLE] = "visible",
        [CAP_CORES] = "cores",       [CAP_MEMORY_MB] = "memory",
        [CAP_PRIORITY] = "priority",
    };
    size_t n = 0;
    for (uint32_t key = 1; key < CAP_END; key++) {
        const char *value = datadriven_value(b->text, names[key]);
        if (value != NULL) {
            pb__capability__init(&b->caps[n]);
            b->caps[n].key = (Pb__CapabilityKey)key;
            b->caps[n].value = signed_number(b->text, value);
            b->cap_list[n] = &b->caps[n];
            n++;
        }
    }
    return n;
}

static size_t ids_of(struct build *b, const char *key)
{
    const char *value = datadriven_value(b->text, key);
    return value == NULL
               ? 0
               : datadriven_list(b->text, value, b->ids, DATADRIVEN_WORDS_MAX);
}

/* --- applying -------------------------------------------------------------------------------------------------------- */
static void apply(struct world *w, const Pb__Command *c, FILE *f)
{
    (void)kit_apply(&w->kit, c);
    text_out(f, w->kit.index, w->kit.out);
}

static void apply_built(struct world *w, struct build *b, FILE *f)
{
    w->last_n = codec_encode(&b->command.base, w->last, sizeof w->last);
    if (w->last_n == 0) {
        datadriven_fail(b->text, "the command is too long");
    }
    apply(w, &b->command, f);
}

static void from_client(struct world *w, struct build *b, FILE *f)
{
    uint64_t lease = num(b, "lease");
    uint64_t *sequence = &w->sequences[lease % SEQUENCES_MAX];
    b->command.version = COMMAND_VERSION;
    b->command.lease = lease;
    b->command.sequence = datadriven_number(b->text, "seq", *sequence + 1);
    b->command.first_outstanding = num(b, "first");
    if (b->command.sequence > *sequence) {
        *sequence = b->command.sequence;
    }
    apply_built(w, b, f);
}

static void from_leader(struct world *w, struct build *b, FILE *f)
{
    b->command.version = COMMAND_VERSION;
    b->command.proposer_term = datadriven_number(b->text, "term", w->kit.term);
    apply_built(w, b, f);
}

/* --- leases ---------------------------------------------------------------------------------------------------------- */
static void run_lease(struct world *w, struct build *b, FILE *f)
{
    Pb__OpenLease m = PB__OPEN_LEASE__INIT;
    m.nonce = secret_of(b, "nonce");
    m.ttl_ms = (uint32_t)datadriven_number(b->text, "ttl", 10000);
    m.label = text(b, "label");
    b->command.version = COMMAND_VERSION;
    b->command.op_case = PB__COMMAND__OP_OPEN_LEASE;
    b->command.open_lease = &m;
    apply_built(w, b, f);
    w->sequences[w->kit.out->reply.id % SEQUENCES_MAX] = 0;
}

static void run_close_lease(struct world *w, struct build *b, FILE *f)
{
    Pb__CloseLease m = PB__CLOSE_LEASE__INIT;
    m.detach = num(b, "detach") != 0;
    b->command.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    b->command.close_lease = &m;
    from_client(w, b, f);
}

static void run_expire(struct world *w, struct build *b, FILE *f)
{
    Pb__ExpireLease m = PB__EXPIRE_LEASE__INIT;
    struct lease_view view = {.renewals = 0};
    m.lease = num(b, "lease");
    (void)!registry_lease(w->kit.r, m.lease, &view);
    m.renewals = datadriven_number(b->text, "renewals", view.renewals);
    b->command.op_case = PB__COMMAND__OP_EXPIRE_LEASE;
    b->command.expire_lease = &m;
    from_leader(w, b, f);
}

static void run_sweep(struct world *w, struct build *b, FILE *f)
{
    Pb__SweepLease m = PB__SWEEP_LEASE__INIT;
    m.lease = num(b, "lease");
    m.n_sessions = ids_of(b, "sessions");
    m.sessions = b->ids;
    b->command.op_case = PB__COMMAND__OP_SWEEP_LEASE;
    b->command.sweep_lease = &m;
    from_leader(w, b, f);
}

static void run_touched(struct world *w, struct build *b, FILE *f)
{
    Pb__Touched m = PB__TOUCHED__INIT;
    m.n_lease_deltas = ids_of(b, "leases");
    for (size_t i = m.n_lease_deltas; i > 1; i--) {
        b->ids[i - 1] -= b->ids[i - 2];
    }
    m.lease_deltas = b->ids;
    b->command.op_case = PB__COMMAND__OP_TOUCHED;
    b->command.touched = &m;
    from_leader(w, b, f);
}

/* --- sessions -------------------------------------------------------------------------------------------------------- */
static void run_open(struct world *w, struct build *b, FILE *f)
{
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    m.path = path_of(b, "path");
    m.tab = b->path.tab;
    m.secret = secret_of(b, "secret");
    m.n_capabilities = caps_of(b);
    m.capabilities = b->cap_list;
    m.observer = num(b, "observer") != 0;
    b->command.op_case = PB__COMMAND__OP_OPEN_SESSION;
    b->command.open_session = &m;
    from_client(w, b, f);
}

static void run_update(struct world *w, struct build *b, FILE *f)
{
    Pb__UpdateSession m = PB__UPDATE_SESSION__INIT;
    m.session = num(b, "session");
    m.attachment = (uint32_t)num(b, "attachment");
    m.n_capabilities = caps_of(b);
    m.capabilities = b->cap_list;
    m.set_observer = datadriven_value(b->text, "observer") != NULL;
    m.observer = num(b, "observer") != 0;
    b->command.op_case = PB__COMMAND__OP_UPDATE_SESSION;
    b->command.update_session = &m;
    from_client(w, b, f);
}

static void run_close(struct world *w, struct build *b, FILE *f)
{
    Pb__CloseSession m = PB__CLOSE_SESSION__INIT;
    m.session = num(b, "session");
    m.attachment = (uint32_t)num(b, "attachment");
    m.state = state_of(b);
    b->command.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    b->command.close_session = &m;
    from_client(w, b, f);
}

static void run_attach(struct world *w, struct build *b, FILE *f)
{
    Pb__AttachSession m = PB__ATTACH_SESSION__INIT;
    m.session = num(b, "session");
    m.secret = secret_of(b, "secret");
    b->command.op_case = PB__COMMAND__OP_ATTACH_SESSION;
    b->command.attach_session = &m;
    from_client(w, b, f);
}

static void run_end_grace(struct world *w, struct build *b, FILE *f)
{
    Pb__EndGrace m = PB__END_GRACE__INIT;
    m.session = num(b, "session");
    m.attachment = (uint32_t)datadriven_number(b->text, "attachment", 1);
    b->command.op_case = PB__COMMAND__OP_END_GRACE;
    b->command.end_grace = &m;
    from_leader(w, b, f);
}

/* --- scopes ---------------------------------------------------------------------------------------------------------- */
static void run_handoff(struct world *w, struct build *b, FILE *f)
{
    Pb__Handoff m = PB__HANDOFF__INIT;
    m.scope = path_of(b, "scope");
    m.to = num(b, "to");
    m.epoch = num(b, "epoch");
    b->command.op_case = PB__COMMAND__OP_HANDOFF;
    b->command.handoff = &m;
    from_client(w, b, f);
}

static void run_answer(struct world *w, struct build *b, FILE *f)
{
    Pb__AnswerOffer m = PB__ANSWER_OFFER__INIT;
    m.scope = path_of(b, "scope");
    m.session = num(b, "session");
    m.attachment = (uint32_t)num(b, "attachment");
    m.offer = num(b, "offer");
    m.accept = num(b, "accept") != 0;
    b->command.op_case = PB__COMMAND__OP_ANSWER_OFFER;
    b->command.answer_offer = &m;
    from_client(w, b, f);
}

static void run_yield(struct world *w, struct build *b, FILE *f)
{
    Pb__Yield m = PB__YIELD__INIT;
    m.scope = path_of(b, "scope");
    m.session = num(b, "session");
    m.attachment = (uint32_t)num(b, "attachment");
    m.epoch = num(b, "epoch");
    m.state = state_of(b);
    b->command.op_case = PB__COMMAND__OP_YIELD;
    b->command.yield = &m;
    from_client(w, b, f);
}

static void run_resign(struct world *w, struct build *b, FILE *f)
{
    Pb__Resign m = PB__RESIGN__INIT;
    m.scope = path_of(b, "scope");
    m.epoch = num(b, "epoch");
    m.state = state_of(b);
    b->command.op_case = PB__COMMAND__OP_RESIGN;
    b->command.resign = &m;
    from_client(w, b, f);
}

static void run_demote(struct world *w, struct build *b, FILE *f)
{
    Pb__Demote m = PB__DEMOTE__INIT;
    m.scope = path_of(b, "scope");
    m.epoch = num(b, "epoch");
    m.reason = text(b, "text");
    b->command.op_case = PB__COMMAND__OP_DEMOTE;
    b->command.demote = &m;
    from_client(w, b, f);
}

static void run_record_claim(struct world *w, struct build *b, FILE *f)
{
    Pb__RecordClaim m = PB__RECORD_CLAIM__INIT;
    Pb__ClaimEvidence stale = PB__CLAIM_EVIDENCE__INIT;
    struct scope_view view;
    m.scope = path_of(b, "scope");
    stale.session = num(b, "session");
    stale.epoch = num(b, "epoch");
    stale.lease = num(b, "lease");
    stale.relay = text(b, "relay");
    stale.time_ms = w->kit.time_ms;
    m.stale = &stale;
    m.cause = (Pb__Cause)registry_claim(w->kit.r, m.scope, stale.session,
                                        stale.epoch, &view);
    b->command.op_case = PB__COMMAND__OP_RECORD_CLAIM;
    b->command.record_claim = &m;
    from_leader(w, b, f);
}

/* --- settings -------------------------------------------------------------------------------------------------------- */
/* Any field of Policy by its name; weights as weight-KEY=N, KEY a number. */
static void run_policy(struct world *w, struct build *b, FILE *f)
{
    Pb__SetPolicy m = PB__SET_POLICY__INIT;
    Pb__Policy policy = PB__POLICY__INIT;
    Pb__Weight weights[DATADRIVEN_WORDS_MAX];
    Pb__Weight *list[DATADRIVEN_WORDS_MAX];
    for (unsigned i = 0; i < b->text->words_n; i++) {
        const struct datadriven_word *word = &b->text->words[i];
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(
                &pb__policy__descriptor, word->key);
        if (strncmp(word->key, "weight-", 7) == 0) {
            size_t n = policy.n_weights++;
            pb__weight__init(&weights[n]);
            weights[n].key =
                (Pb__CapabilityKey)signed_number(b->text, word->key + 7);
            weights[n].weight = signed_number(b->text, word->value);
            list[n] = &weights[n];
        } else if (field != NULL && field->type == PROTOBUF_C_TYPE_UINT32) {
            uint32_t value = (uint32_t)num(b, word->key);
            memcpy((uint8_t *)&policy + field->offset, &value, sizeof value);
        } else if (field != NULL && field->type == PROTOBUF_C_TYPE_UINT64) {
            uint64_t value = num(b, word->key);
            memcpy((uint8_t *)&policy + field->offset, &value, sizeof value);
        }
    }
    policy.weights = list;
    m.namespace_ = text(b, "ns");
    m.policy = &policy;
    b->command.op_case = PB__COMMAND__OP_SET_POLICY;
    b->command.set_policy = &m;
    from_client(w, b, f);
}

static void run_limits(struct world *w, struct build *b, FILE *f)
{
    Pb__SetLimits m = PB__SET_LIMITS__INIT;
    m.sessions_max = num(b, "sessions");
    m.leases_max = num(b, "leases");
    m.namespaces_max = num(b, "namespaces");
    b->command.op_case = PB__COMMAND__OP_SET_LIMITS;
    b->command.set_limits = &m;
    from_leader(w, b, f);
}

static void run_term_start(struct world *w, struct build *b, FILE *f)
{
    Pb__TermStart m = PB__TERM_START__INIT;
    m.wall_ms = num(b, "wall");
    b->command.op_case = PB__COMMAND__OP_TERM_START;
    b->command.term_start = &m;
    from_leader(w, b, f);
    (void)fprintf(f, "wall %" PRIu64 "\n", registry_wall_ms(w->kit.r));
}

static void run_node(struct world *w, struct build *b, FILE *f)
{
    Pb__NodeSeen m = PB__NODE_SEEN__INIT;
    m.node = (uint32_t)num(b, "node");
    m.incarnation = num(b, "incarnation");
    m.boot = num(b, "boot");
    b->command.op_case = PB__COMMAND__OP_NODE_SEEN;
    b->command.node_seen = &m;
    from_leader(w, b, f);
}

static void run_noop(struct world *w, struct build *b, FILE *f)
{
    (void)b;
    apply(w, NULL, f);
}

/* The same bytes once more, as a client that heard nothing sends them. */
static void run_again(struct world *w, struct build *b, FILE *f)
{
    static uint8_t memory[1u << 18];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    Pb__Command *c =
        codec_decode_command((struct bytes){w->last, w->last_n}, &arena);
    if (w->last_n == 0 || c == NULL) {
        datadriven_fail(b->text, "there was no command before");
    }
    apply(w, c, f);
}

/* --- time ------------------------------------------------------------------------------------------------------------ */
static void run_time(struct world *w, struct build *b, FILE *f)
{
    w->kit.time_ms += num(b, "ms");
    (void)fprintf(f, "%" PRIu64 "\n", w->kit.time_ms);
}

static uint32_t apply_due(struct world *w, FILE *f)
{
    static uint8_t memory[2][1u << 18];
    static uint8_t bytes[DUE_MAX][1024];
    static Pb__Command commands[DUE_MAX];
    size_t sizes[DUE_MAX];
    struct arena arena;
    arena_init(&arena, memory[0], sizeof memory[0]);
    uint32_t n =
        registry_due(w->kit.r, w->kit.time_ms, commands, DUE_MAX, &arena);
    for (uint32_t i = 0; i < n; i++) {
        commands[i].proposer_term = w->kit.term;
        sizes[i] = codec_encode(&commands[i].base, bytes[i], sizeof bytes[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        arena_init(&arena, memory[1], sizeof memory[1]);
        Pb__Command *c =
            codec_decode_command((struct bytes){bytes[i], sizes[i]}, &arena);
        (void)fprintf(f, "at %" PRIu64 " ", w->kit.time_ms);
        text_command(f, c);
        apply(w, c, f);
    }
    return n;
}

static void run_due(struct world *w, struct build *b, FILE *f)
{
    (void)b;
    if (apply_due(w, f) == 0) {
        (void)fprintf(f, "nothing\n");
    }
}

static void run_wait(struct world *w, struct build *b, FILE *f)
{
    uint64_t until = w->kit.time_ms + num(b, "ms");
    uint32_t n = 0;
    for (int i = 0; registry_due_ms(w->kit.r) <= until; i++) {
        if (i == 1000) {
            datadriven_fail(b->text, "something is due for ever");
        }
        w->kit.time_ms = max_u64(w->kit.time_ms, registry_due_ms(w->kit.r));
        n += apply_due(w, f);
    }
    w->kit.time_ms = until;
    if (n == 0) {
        (void)fprintf(f, "nothing\n");
    }
}

/* --- looking --------------------------------------------------------------------------------------------------------- */
static void run_scope(struct world *w, struct build *b, FILE *f)
{
    struct scope_view view;
    uint32_t reason = REASON_NONE;
    struct kit_path p;
    kit_path(&p, datadriven_plain(b->text, 0) == NULL
                     ? ""
                     : datadriven_plain(b->text, 0));
    enum baton_status status =
        registry_scope(w->kit.r, &p.path, &view, &reason);
    if (status == BATON_OK || reason == REASON_NO_HOLDER) {
        text_scope(f, &view);
    } else {
        (void)fprintf(f, "%s/%s\n", status_name(status), text_reason(reason));
    }
}

static void run_sessions(struct world *w, struct build *b, FILE *f)
{
    (void)b;
    struct session_view view;
    /* By id, not by slot. */
    for (uint64_t id = 1; id <= w->kit.index; id++) {
        if (registry_session(w->kit.r, id, &view) == BATON_OK) {
            text_session(f, &view);
        }
    }
}

static void run_leases(struct world *w, struct build *b, FILE *f)
{
    (void)b;
    struct lease_view view;
    for (uint64_t id = 1; id <= w->kit.index; id++) {
        if (registry_lease(w->kit.r, id, &view) == BATON_OK) {
            text_lease(f, &view);
        }
    }
}

static void run_claim(struct world *w, struct build *b, FILE *f)
{
    struct scope_view view;
    const Pb__Path *p = path_of(b, "scope");
    uint64_t session = num(b, "session");
    uint64_t epoch = num(b, "epoch");
    enum cause cause = registry_claim(w->kit.r, p, session, epoch, &view);
    (void)fprintf(f, "%s%s\n", cause == CAUSE_NONE ? "true" : text_cause(cause),
                  registry_claim_audited(w->kit.r, p, session, epoch)
                      ? ", on record"
                      : "");
}

static void run_state(struct world *w, struct build *b, FILE *f)
{
    struct bytes state = {NULL, 0};
    uint32_t reason = REASON_NONE;
    enum baton_status status =
        registry_state(w->kit.r, path_of(b, "scope"), num(b, "session"),
                       num(b, "epoch"), &state, &reason);
    if (status == BATON_OK) {
        (void)fprintf(f, "%.*s\n", (int)state.n, (const char *)state.data);
    } else {
        (void)fprintf(f, "%s/%s\n", status_name(status), text_reason(reason));
    }
}

static void run_restart(struct world *w, struct build *b, FILE *f)
{
    (void)b;
    struct kit loaded;
    kit_checkpoint(&w->kit, &w->rows);
    kit_restore(&w->kit, &w->rows, &loaded); /* aborts if it isn't the same */
    (void)fprintf(f, "%u rows, the same hash\n", w->rows.n);
    kit_fini(&w->kit);
    w->kit = loaded;
}

static const struct {
    const char *verb;
    void (*run)(struct world *w, struct build *b, FILE *f);
} verbs[] = {
    {"lease", run_lease},
    {"close-lease", run_close_lease},
    {"expire", run_expire},
    {"sweep", run_sweep},
    {"touched", run_touched},
    {"open", run_open},
    {"update", run_update},
    {"close", run_close},
    {"attach", run_attach},
    {"end-grace", run_end_grace},
    {"handoff", run_handoff},
    {"answer", run_answer},
    {"yield", run_yield},
    {"resign", run_resign},
    {"demote", run_demote},
    {"record-claim", run_record_claim},
    {"policy", run_policy},
    {"limits", run_limits},
    {"term-start", run_term_start},
    {"node", run_node},
    {"noop", run_noop},
    {"again", run_again},
    {"time", run_time},
    {"due", run_due},
    {"wait", run_wait},
    {"scope", run_scope},
    {"sessions", run_sessions},
    {"leases", run_leases},
    {"claim", run_claim},
    {"state", run_state},
    {"restart", run_restart},
};

static void *begin(void *arg)
{
    (void)arg;
    static struct world world;
    world = (struct world){.last_n = 0};
    kit_init(&world.kit);
    return &world;
}

static void run(void *state, const struct datadriven_command *command,
                FILE *output)
{
    struct build *b = calloc(1, sizeof *b);
    ASSERT(b != NULL);
    b->text = command;
    pb__command__init(&b->command);
    size_t i = 0;
    while (i < countof(verbs) && strcmp(verbs[i].verb, command->verb) != 0) {
        i++;
    }
    if (i == countof(verbs)) {
        datadriven_fail(command, "no such command");
    }
    verbs[i].run(state, b, output);
    free(b);
}

static void end(void *state)
{
    struct world *w = state;
    kit_rows_fini(&w->rows);
    kit_fini(&w->kit);
}

int main(int argc, char **argv)
{
    const struct datadriven_runner runner = {
        .begin = begin,
        .run = run,
        .end = end,
    };
    return datadriven_main(argc, argv, &runner);
}

#include "tests/script/turn_request.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/registry_kit.h"

/* A request under construction, and its parts. */
struct build {
    struct turn_requests *counts;
    const struct datadriven_command *d;
    Pb__ClientRequest request;
    Pb__Command command;
    struct kit_path path;
    Pb__Capability caps[2];
    Pb__Capability *cap_list[2];
    size_t caps_n;
    uint8_t secret[16];
    uint8_t correlation[16];
    union {
        Pb__OpenLease open_lease;
        Pb__CloseLease close_lease;
        Pb__OpenSession open_session;
        Pb__UpdateSession update_session;
        Pb__CloseSession close_session;
        Pb__AttachSession attach_session;
        Pb__Handoff handoff;
        Pb__AnswerOffer answer_offer;
        Pb__Yield yield;
        Pb__Resign resign;
        Pb__Demote demote;
        Pb__Renew renew;
        Pb__Claim claim;
        Pb__GetLeader get_leader;
        Pb__GetVerify get_verify;
        Pb__GetExplain get_explain;
        Pb__GetSessions get_sessions;
        Pb__GetEvents get_events;
        Pb__Watch watch;
        Pb__Unwatch unwatch;
        Pb__Transfer transfer;
        Pb__ChangeMembers members;
        Pb__GetStatus status;
    } op;
    Pb__Member member[4];
    Pb__Member *member_list[4];
    char addresses[4][3][32];
    uint32_t promote[4];
    uint32_t remove[4];
};

static uint64_t num(const struct build *b, const char *key)
{
    return datadriven_number(b->d, key, 0);
}

static char *text(const struct build *b, const char *key)
{
    const char *value = datadriven_value(b->d, key);
    return (char *)(uintptr_t)(value == NULL ? "" : value);
}

static Pb__Path *path_of(struct build *b, const char *key)
{
    kit_path(&b->path, text(b, key));
    return &b->path.path;
}

static ProtobufCBinaryData secret_of(struct build *b, uint64_t value)
{
    memset(b->secret, 0, sizeof b->secret);
    b->secret[0] = (uint8_t)value;
    return codec_binary((struct bytes){b->secret, sizeof b->secret});
}

static void take_cap(struct build *b, const char *name,
                     Pb__CapabilityKey capability)
{
    if (datadriven_value(b->d, name) != NULL) {
        Pb__Capability *c = &b->caps[b->caps_n];
        pb__capability__init(c);
        c->key = capability;
        c->value = (int32_t)num(b, name);
        b->cap_list[b->caps_n++] = c;
    }
}

static Pb__Consistency consistency_of(const struct build *b)
{
    const char *value = text(b, "consistency");
    return strcmp(value, "stale") == 0   ? PB__CONSISTENCY__STALE
           : strcmp(value, "lease") == 0 ? PB__CONSISTENCY__LEASE
                                         : PB__CONSISTENCY__LINEARIZABLE;
}

/* --- commands ------------------------------------------------------------------------------------------------------------ */

static void build_leases(struct build *b, const char *verb)
{
    Pb__Command *c = &b->command;
    if (strcmp(verb, "open-lease") == 0) {
        pb__open_lease__init(&b->op.open_lease);
        b->op.open_lease.nonce =
            secret_of(b, datadriven_number(b->d, "nonce", ++b->counts->nonce));
        b->op.open_lease.ttl_ms =
            (uint32_t)datadriven_number(b->d, "ttl", 10000);
        b->op.open_lease.label = text(b, "label");
        c->op_case = PB__COMMAND__OP_OPEN_LEASE;
        c->open_lease = &b->op.open_lease;
    } else if (strcmp(verb, "close-lease") == 0) {
        pb__close_lease__init(&b->op.close_lease);
        b->op.close_lease.detach = num(b, "detach") != 0;
        c->op_case = PB__COMMAND__OP_CLOSE_LEASE;
        c->close_lease = &b->op.close_lease;
    }
}

static void build_open_session(struct build *b)
{
    Pb__OpenSession *m = &b->op.open_session;
    pb__open_session__init(m);
    m->path = path_of(b, "path");
    m->tab = b->path.tab;
    m->secret = secret_of(b, datadriven_number(b->d, "secret", 7));
    m->n_capabilities = b->caps_n;
    m->capabilities = b->cap_list;
    m->observer = num(b, "observer") != 0;
    b->command.op_case = PB__COMMAND__OP_OPEN_SESSION;
    b->command.open_session = m;
}

static void build_sessions(struct build *b, const char *verb)
{
    Pb__Command *c = &b->command;
    take_cap(b, "priority", PB__CAPABILITY_KEY__PRIORITY);
    take_cap(b, "battery", PB__CAPABILITY_KEY__BATTERY);
    if (strcmp(verb, "open-session") == 0) {
        build_open_session(b);
    } else if (strcmp(verb, "update-session") == 0) {
        pb__update_session__init(&b->op.update_session);
        b->op.update_session.session = num(b, "session");
        b->op.update_session.n_capabilities = b->caps_n;
        b->op.update_session.capabilities = b->cap_list;
        c->op_case = PB__COMMAND__OP_UPDATE_SESSION;
        c->update_session = &b->op.update_session;
    } else if (strcmp(verb, "close-session") == 0) {
        pb__close_session__init(&b->op.close_session);
        b->op.close_session.session = num(b, "session");
        c->op_case = PB__COMMAND__OP_CLOSE_SESSION;
        c->close_session = &b->op.close_session;
    } else if (strcmp(verb, "attach") == 0) {
        pb__attach_session__init(&b->op.attach_session);
        b->op.attach_session.session = num(b, "session");
        b->op.attach_session.secret =
            secret_of(b, datadriven_number(b->d, "secret", 7));
        c->op_case = PB__COMMAND__OP_ATTACH_SESSION;
        c->attach_session = &b->op.attach_session;
    }
}

static void build_scopes(struct build *b, const char *verb)
{
    Pb__Command *c = &b->command;
    if (strcmp(verb, "handoff") == 0) {
        pb__handoff__init(&b->op.handoff);
        b->op.handoff.scope = path_of(b, "scope");
        b->op.handoff.to = num(b, "to");
        c->op_case = PB__COMMAND__OP_HANDOFF;
        c->handoff = &b->op.handoff;
    } else if (strcmp(verb, "answer") == 0) {
        pb__answer_offer__init(&b->op.answer_offer);
        b->op.answer_offer.scope = path_of(b, "scope");
        b->op.answer_offer.session = num(b, "session");
        b->op.answer_offer.offer = num(b, "offer");
        b->op.answer_offer.accept = num(b, "accept") != 0;
        c->op_case = PB__COMMAND__OP_ANSWER_OFFER;
        c->answer_offer = &b->op.answer_offer;
    } else if (strcmp(verb, "yield") == 0) {
        pb__yield__init(&b->op.yield);
        b->op.yield.scope = path_of(b, "scope");
        b->op.yield.session = num(b, "session");
        b->op.yield.epoch = num(b, "epoch");
        b->op.yield.state = codec_binary(codec_text(text(b, "state")));
        c->op_case = PB__COMMAND__OP_YIELD;
        c->yield = &b->op.yield;
    } else if (strcmp(verb, "resign") == 0) {
        pb__resign__init(&b->op.resign);
        b->op.resign.scope = path_of(b, "scope");
        b->op.resign.epoch = num(b, "epoch");
        c->op_case = PB__COMMAND__OP_RESIGN;
        c->resign = &b->op.resign;
    } else if (strcmp(verb, "demote") == 0) {
        pb__demote__init(&b->op.demote);
        b->op.demote.scope = path_of(b, "scope");
        b->op.demote.reason = text(b, "text");
        c->op_case = PB__COMMAND__OP_DEMOTE;
        c->demote = &b->op.demote;
    }
}

static bool build_command(struct build *b, const char *verb)
{
    uint64_t lease = num(b, "lease");
    pb__command__init(&b->command);
    build_leases(b, verb);
    build_sessions(b, verb);
    build_scopes(b, verb);
    if (b->command.op_case == PB__COMMAND__OP__NOT_SET) {
        return false;
    }
    if (b->command.op_case != PB__COMMAND__OP_OPEN_LEASE) {
        uint64_t *sequence = &b->counts->sequences[lease % TURN_LEASES_MAX];
        b->command.lease = lease;
        b->command.sequence = datadriven_number(b->d, "seq", *sequence + 1);
        b->command.first_outstanding = num(b, "first");
        *sequence = max_u64(*sequence, b->command.sequence);
    }
    b->request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    b->request.command = &b->command;
    return true;
}

/* --- everything else ------------------------------------------------------------------------------------------------------ */

static bool build_read(struct build *b, const char *verb)
{
    Pb__ClientRequest *r = &b->request;
    if (strcmp(verb, "leader") == 0) {
        pb__get_leader__init(&b->op.get_leader);
        b->op.get_leader.scope = path_of(b, "scope");
        b->op.get_leader.consistency = consistency_of(b);
        r->op_case = PB__CLIENT_REQUEST__OP_GET_LEADER;
        r->get_leader = &b->op.get_leader;
    } else if (strcmp(verb, "verify") == 0) {
        pb__get_verify__init(&b->op.get_verify);
        b->op.get_verify.scope = path_of(b, "scope");
        b->op.get_verify.epoch = num(b, "epoch");
        b->op.get_verify.consistency = consistency_of(b);
        r->op_case = PB__CLIENT_REQUEST__OP_GET_VERIFY;
        r->get_verify = &b->op.get_verify;
    } else if (strcmp(verb, "explain") == 0) {
        pb__get_explain__init(&b->op.get_explain);
        b->op.get_explain.scope = path_of(b, "scope");
        b->op.get_explain.consistency = consistency_of(b);
        r->op_case = PB__CLIENT_REQUEST__OP_GET_EXPLAIN;
        r->get_explain = &b->op.get_explain;
    } else if (strcmp(verb, "sessions") == 0) {
        pb__get_sessions__init(&b->op.get_sessions);
        b->op.get_sessions.namespace_ = text(b, "ns");
        b->op.get_sessions.group = text(b, "group");
        b->op.get_sessions.session = num(b, "session");
        b->op.get_sessions.limit = (uint32_t)num(b, "limit");
        b->op.get_sessions.cursor = num(b, "cursor");
        b->op.get_sessions.consistency = consistency_of(b);
        r->op_case = PB__CLIENT_REQUEST__OP_GET_SESSIONS;
        r->get_sessions = &b->op.get_sessions;
    } else if (strcmp(verb, "events") == 0) {
        pb__get_events__init(&b->op.get_events);
        b->op.get_events.from = num(b, "from");
        b->op.get_events.to = num(b, "to");
        b->op.get_events.seen = num(b, "seen");
        r->op_case = PB__CLIENT_REQUEST__OP_GET_EVENTS;
        r->get_events = &b->op.get_events;
    } else {
        return false;
    }
    return true;
}

static bool build_live(struct build *b, const char *verb)
{
    Pb__ClientRequest *r = &b->request;
    if (strcmp(verb, "renew") == 0) {
        pb__renew__init(&b->op.renew);
        b->op.renew.lease = num(b, "lease");
        b->op.renew.number =
            datadriven_number(b->d, "number", ++b->counts->number);
        r->op_case = PB__CLIENT_REQUEST__OP_RENEW;
        r->renew = &b->op.renew;
    } else if (strcmp(verb, "claim") == 0) {
        pb__claim__init(&b->op.claim);
        b->op.claim.scope = path_of(b, "scope");
        b->op.claim.session = num(b, "session");
        b->op.claim.epoch = num(b, "epoch");
        b->op.claim.lease = num(b, "lease");
        r->op_case = PB__CLIENT_REQUEST__OP_CLAIM;
        r->claim = &b->op.claim;
    } else if (strcmp(verb, "watch") == 0) {
        pb__watch__init(&b->op.watch);
        b->op.watch.namespace_ = text(b, "ns");
        b->op.watch.group = text(b, "group");
        b->op.watch.lease = num(b, "lease");
        b->op.watch.from = num(b, "from");
        r->op_case = PB__CLIENT_REQUEST__OP_WATCH;
        r->watch = &b->op.watch;
    } else if (strcmp(verb, "unwatch") == 0) {
        pb__unwatch__init(&b->op.unwatch);
        b->op.unwatch.id = num(b, "of");
        r->op_case = PB__CLIENT_REQUEST__OP_UNWATCH;
        r->unwatch = &b->op.unwatch;
    } else if (strcmp(verb, "transfer") == 0) {
        pb__transfer__init(&b->op.transfer);
        b->op.transfer.node = (uint32_t)num(b, "to");
        r->op_case = PB__CLIENT_REQUEST__OP_TRANSFER;
        r->transfer = &b->op.transfer;
    } else {
        return false;
    }
    return true;
}

static size_t ids_of(struct build *b, const char *key, uint32_t out[4])
{
    uint64_t ids[4];
    const char *value = datadriven_value(b->d, key);
    size_t n = value == NULL ? 0 : datadriven_list(b->d, value, ids, 4);
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint32_t)ids[i];
    }
    return n;
}

/* A dash: empty. */
static void take_address(const struct build *b, const char *key, char **out)
{
    if (datadriven_value(b->d, key) != NULL) {
        *out = strcmp(text(b, key), "-") == 0 ? "" : text(b, key);
    }
}

static bool build_members(struct build *b, const char *verb)
{
    static const char *const kinds[3] = {"peer", "client", "http"};
    uint32_t add[4];
    Pb__ChangeMembers *m = &b->op.members;
    if (strcmp(verb, "members") != 0) {
        return false;
    }
    pb__change_members__init(m);
    m->expected = num(b, "expected");
    m->n_add_learners = ids_of(b, "add", add);
    m->add_learners = b->member_list;
    for (size_t i = 0; i < m->n_add_learners; i++) {
        for (size_t k = 0; k < countof(kinds); k++) {
            (void)snprintf(b->addresses[i][k], sizeof b->addresses[i][k],
                           "%s-%u:%zu", kinds[k], add[i], k + 1);
        }
        pb__member__init(&b->member[i]);
        b->member[i].node = add[i];
        b->member[i].peer = b->addresses[i][0];
        b->member[i].client = b->addresses[i][1];
        b->member[i].http = b->addresses[i][2];
        take_address(b, "peer", &b->member[i].peer);
        take_address(b, "client", &b->member[i].client);
        take_address(b, "http", &b->member[i].http);
        b->member_list[i] = &b->member[i];
    }
    m->n_promote = ids_of(b, "promote", b->promote);
    m->promote = b->promote;
    m->n_remove = ids_of(b, "remove", b->remove);
    m->remove = b->remove;
    b->request.op_case = PB__CLIENT_REQUEST__OP_CHANGE_MEMBERS;
    b->request.change_members = m;
    return true;
}

size_t turn_request(struct turn_requests *r, const struct datadriven_command *d,
                    const char *verb, uint8_t *out, size_t out_bytes)
{
    struct build *b = calloc(1, sizeof *b);
    ASSERT(b != NULL);
    b->counts = r;
    b->d = d;
    pb__client_request__init(&b->request);
    b->request.version = (uint32_t)datadriven_number(d, "version", 1);
    r->id = datadriven_number(d, "id", r->id + 1);
    b->request.id = r->id;
    b->request.timeout_ms = (uint32_t)num(b, "timeout");
    b->request.correlation_id =
        codec_binary((struct bytes){b->correlation, sizeof b->correlation});
    if (!build_command(b, verb) && !build_read(b, verb) &&
        !build_live(b, verb) && !build_members(b, verb)) {
        datadriven_fail(d, "no such request");
    }
    size_t n = codec_encode(&b->request.base, out, out_bytes);
    free(b);
    if (n == 0) {
        datadriven_fail(d, "the request is too long");
    }
    return n;
}

#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* Puts `op` into the one place of `m` that takes messages of its type. */
static void set_op(ProtobufCMessage *m, ProtobufCMessage *op)
{
    const ProtobufCFieldDescriptor *f = m->descriptor->fields;
    const ProtobufCFieldDescriptor *end = f + m->descriptor->n_fields;
    while (f < end && f->descriptor != op->descriptor) {
        f++;
    }
    ASSERT(f < end);
    ASSERT((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0);
    memcpy((uint8_t *)m + f->offset, &op, sizeof op);
    memcpy((uint8_t *)m + f->quantifier_offset, &f->id, sizeof f->id);
}

Pb__ClientRequest request_of(ProtobufCMessage *op)
{
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    set_op(&request.base, op);
    return request;
}

static enum call_place place_of(Pb__Consistency consistency)
{
    return consistency == PB__CONSISTENCY__STALE ? PLACE_ANY : PLACE_LEADER;
}

struct ask ask_of(const Pb__ClientRequest *request)
{
    struct ask ask = {
        .request = request, .kind = CALL_READ, .place = PLACE_LEADER};
    switch (request->op_case) {
    case PB__CLIENT_REQUEST__OP_COMMAND:
        ask.kind = CALL_MUTATION;
        break;
    case PB__CLIENT_REQUEST__OP_TRANSFER:
    case PB__CLIENT_REQUEST__OP_CHANGE_MEMBERS:
        ask.kind = CALL_ONCE;
        break;
    case PB__CLIENT_REQUEST__OP_GET_LEADER:
        ask.place = place_of(request->get_leader->consistency);
        break;
    case PB__CLIENT_REQUEST__OP_GET_SESSIONS:
        ask.place = place_of(request->get_sessions->consistency);
        break;
    case PB__CLIENT_REQUEST__OP_GET_EXPLAIN:
        ask.place = place_of(request->get_explain->consistency);
        break;
    case PB__CLIENT_REQUEST__OP_GET_VERIFY:
        ask.place = place_of(request->get_verify->consistency);
        break;
    case PB__CLIENT_REQUEST__OP_GET_POLICY:
        ask.place = place_of(request->get_policy->consistency);
        break;
    case PB__CLIENT_REQUEST__OP_GET_STATUS:
    case PB__CLIENT_REQUEST__OP_GET_EVENTS:
        ask.place = PLACE_ANY;
        break;
    default:
        break;
    }
    return ask;
}

static enum baton_status query(struct baton *b, const struct baton_call *call,
                               ProtobufCMessage *op, struct baton_reply *out)
{
    Pb__ClientRequest request = request_of(op);
    struct ask ask = ask_of(&request);
    ask.call = call;
    return client_call(b, &ask, out);
}

static enum baton_status command(struct baton *b, const struct baton_call *call,
                                 ProtobufCMessage *op, struct baton_reply *out)
{
    Pb__Command c = PB__COMMAND__INIT;
    set_op(&c.base, op);
    return query(b, call, &c.base, out);
}

/* As many as there are keys: more would be refused anyway, and a key twice is the cluster's to refuse. */
struct capability_list {
    Pb__Capability items[32];
    Pb__Capability *pointers[32];
    size_t n;
};

static bool fill_capabilities(struct capability_list *list,
                              const struct baton_capability *from, size_t n)
{
    if (n > 32) {
        return false;
    }
    list->n = n;
    for (size_t i = 0; i < n; i++) {
        pb__capability__init(&list->items[i]);
        list->items[i].key = (Pb__CapabilityKey)from[i].key;
        list->items[i].value = from[i].value;
        list->pointers[i] = &list->items[i];
    }
    return true;
}

enum baton_status baton_session_open(struct baton *b,
                                     const struct baton_call *call,
                                     const struct baton_session_options *o,
                                     struct baton_reply *out)
{
    struct capability_list list;
    if (!fill_capabilities(&list, o->capabilities, o->capabilities_n)) {
        return BATON_INVALID;
    }
    uint8_t secret[BATON_SECRET_BYTES];
    if (o->secret != NULL) {
        memcpy(secret, o->secret, sizeof secret);
    } else if (!client_fill_random(secret, sizeof secret)) {
        return BATON_UNAVAILABLE;
    }
    Pb__Path path = path_of(&o->scope);
    Pb__OpenSession op = PB__OPEN_SESSION__INIT;
    op.path = &path;
    op.tab = (char *)(o->tab != NULL ? o->tab : "");
    op.secret = codec_binary((struct bytes){secret, sizeof secret});
    op.n_capabilities = list.n;
    op.capabilities = list.pointers;
    op.observer = o->observer;
    return command(b, call, &op.base, out);
}

enum baton_status baton_session_update(
    struct baton *b, const struct baton_call *call, uint64_t session,
    const struct baton_capability *capabilities, size_t capabilities_n)
{
    struct capability_list list;
    if (!fill_capabilities(&list, capabilities, capabilities_n)) {
        return BATON_INVALID;
    }
    Pb__UpdateSession op = PB__UPDATE_SESSION__INIT;
    op.session = session;
    op.n_capabilities = list.n;
    op.capabilities = list.pointers;
    return command(b, call, &op.base, NULL);
}

enum baton_status baton_session_close(struct baton *b,
                                      const struct baton_call *call,
                                      uint64_t session, const void *state,
                                      size_t state_n)
{
    if (state_n > BATON_STATE_BYTES_MAX) {
        return BATON_LIMIT;
    }
    Pb__CloseSession op = PB__CLOSE_SESSION__INIT;
    op.session = session;
    op.state = codec_binary((struct bytes){state, state_n});
    return command(b, call, &op.base, NULL);
}

enum baton_status baton_session_attach(struct baton *b,
                                       const struct baton_call *call,
                                       uint64_t session, const uint8_t *secret,
                                       struct baton_reply *out)
{
    Pb__AttachSession op = PB__ATTACH_SESSION__INIT;
    op.session = session;
    op.secret = codec_binary((struct bytes){secret, BATON_SECRET_BYTES});
    return command(b, call, &op.base, out);
}

/* "NS/GROUP/DEVICE" taken apart into `buffer`. */
static Pb__Path split_scope(const char *scope, char buffer[SCOPE_BYTES])
{
    Pb__Path path = PB__PATH__INIT;
    char *parts[3] = {(char *)"", (char *)"", (char *)""};
    size_t n = strlen(scope);
    ASSERT(n < SCOPE_BYTES);
    memcpy(buffer, scope, n + 1);
    char *at = buffer;
    for (int i = 0; i < 3 && at != NULL; i++) {
        parts[i] = at;
        at = strchr(at, '/');
        if (at != NULL) {
            *at++ = '\0';
        }
    }
    path.namespace_ = parts[0];
    path.group = parts[1];
    path.device = parts[2];
    return path;
}

enum baton_status baton_answer(struct baton *b, const struct baton_call *call,
                               const struct baton_event *offered, bool accept)
{
    if (offered->type != BATON_OFFERED) {
        return BATON_INVALID;
    }
    char buffer[SCOPE_BYTES];
    Pb__Path path = split_scope(offered->scope, buffer);
    Pb__AnswerOffer op = PB__ANSWER_OFFER__INIT;
    op.scope = &path;
    op.session = offered->session;
    op.offer = offered->epoch;
    op.accept = accept;
    return command(b, call, &op.base, NULL);
}

enum baton_status baton_yield(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out)
{
    if (h->state_n > BATON_STATE_BYTES_MAX) {
        return BATON_LIMIT;
    }
    Pb__Path path = path_of(&h->scope);
    Pb__Yield op = PB__YIELD__INIT;
    op.scope = &path;
    op.session = h->session;
    op.epoch = h->epoch;
    op.state = codec_binary((struct bytes){h->state, h->state_n});
    return command(b, call, &op.base, out);
}

enum baton_status baton_resign(struct baton *b, const struct baton_call *call,
                               const struct baton_handover *h,
                               struct baton_reply *out)
{
    if (h->state_n > BATON_STATE_BYTES_MAX) {
        return BATON_LIMIT;
    }
    Pb__Path path = path_of(&h->scope);
    Pb__Resign op = PB__RESIGN__INIT;
    op.scope = &path;
    op.epoch = h->epoch;
    op.state = codec_binary((struct bytes){h->state, h->state_n});
    return command(b, call, &op.base, out);
}

enum baton_status baton_handoff(struct baton *b, const struct baton_call *call,
                                const struct baton_scope *scope, uint64_t to,
                                struct baton_reply *out)
{
    Pb__Path path = path_of(scope);
    Pb__Handoff op = PB__HANDOFF__INIT;
    op.scope = &path;
    op.to = to;
    return command(b, call, &op.base, out);
}

enum baton_status baton_demote(struct baton *b, const struct baton_call *call,
                               const struct baton_scope *scope,
                               const char *reason, struct baton_reply *out)
{
    Pb__Path path = path_of(scope);
    Pb__Demote op = PB__DEMOTE__INIT;
    op.scope = &path;
    op.reason = (char *)(reason != NULL ? reason : "");
    return command(b, call, &op.base, out);
}

enum baton_status baton_state(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out)
{
    Pb__Path path = path_of(&h->scope);
    Pb__GetState op = PB__GET_STATE__INIT;
    op.scope = &path;
    op.session = h->session;
    op.epoch = h->epoch;
    return query(b, call, &op.base, out);
}

enum baton_status baton_claim(struct baton *b, const struct baton_call *call,
                              const struct baton_handover *h,
                              struct baton_reply *out)
{
    (void)pthread_mutex_lock(&b->lock);
    uint64_t lease = b->lease.id;
    (void)pthread_mutex_unlock(&b->lock);
    Pb__Path path = path_of(&h->scope);
    Pb__Claim op = PB__CLAIM__INIT;
    op.scope = &path;
    op.session = h->session;
    op.epoch = h->epoch;
    op.lease = lease;
    /* Said twice, a claim is on record once: so it may be repeated like a question. */
    return query(b, call, &op.base, out);
}

enum baton_status baton_leader(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetLeader op = PB__GET_LEADER__INIT;
    op.scope = &path;
    op.consistency = (Pb__Consistency)q->consistency;
    return query(b, call, &op.base, out);
}

enum baton_status baton_verify(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetVerify op = PB__GET_VERIFY__INIT;
    op.scope = &path;
    op.epoch = q->epoch;
    op.consistency = (Pb__Consistency)q->consistency;
    return query(b, call, &op.base, out);
}

enum baton_status baton_sessions(struct baton *b, const struct baton_call *call,
                                 const struct baton_query *q,
                                 struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetSessions op = PB__GET_SESSIONS__INIT;
    op.namespace_ = path.namespace_;
    op.group = path.group;
    op.consistency = (Pb__Consistency)q->consistency;
    op.session = q->session;
    op.cursor = q->from;
    op.limit = q->limit;
    return query(b, call, &op.base, out);
}

enum baton_status baton_explain(struct baton *b, const struct baton_call *call,
                                const struct baton_query *q,
                                struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetExplain op = PB__GET_EXPLAIN__INIT;
    op.scope = &path;
    op.consistency = (Pb__Consistency)q->consistency;
    return query(b, call, &op.base, out);
}

enum baton_status baton_policy(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetPolicy op = PB__GET_POLICY__INIT;
    op.namespace_ = path.namespace_;
    op.consistency = (Pb__Consistency)q->consistency;
    return query(b, call, &op.base, out);
}

enum baton_status baton_events(struct baton *b, const struct baton_call *call,
                               const struct baton_query *q,
                               struct baton_reply *out)
{
    Pb__Path path = path_of(&q->scope);
    Pb__GetEvents op = PB__GET_EVENTS__INIT;
    op.namespace_ = path.namespace_;
    op.group = path.group;
    op.from = q->from;
    op.to = q->to;
    op.limit = q->limit;
    op.seen = q->seen;
    return query(b, call, &op.base, out);
}

enum baton_status baton_cluster(struct baton *b, const struct baton_call *call,
                                struct baton_reply *out)
{
    Pb__GetStatus op = PB__GET_STATUS__INIT;
    return query(b, call, &op.base, out);
}

enum baton_status baton_policy_set(struct baton *b,
                                   const struct baton_call *call,
                                   const char *namespace_name, const char *json,
                                   struct baton_reply *out)
{
    char error[BATON_MESSAGE_BYTES];
    void *memory = NULL;
    Pb__Policy *policy = policy_parse(json, &memory, error, sizeof error);
    if (policy == NULL) {
        if (out != NULL) {
            struct answer refused = {0};
            answer_set(&refused, BATON_INVALID, error);
            reply_fill(out, &refused);
        }
        return BATON_INVALID;
    }
    Pb__SetPolicy op = PB__SET_POLICY__INIT;
    op.namespace_ = (char *)namespace_name;
    op.policy = policy;
    enum baton_status status = command(b, call, &op.base, out);
    free(memory);
    return status;
}

enum baton_status baton_transfer(struct baton *b, const struct baton_call *call,
                                 uint32_t node, struct baton_reply *out)
{
    Pb__Transfer op = PB__TRANSFER__INIT;
    op.node = node;
    return query(b, call, &op.base, out);
}

enum baton_status baton_watch(struct baton *b, const struct baton_watch *w)
{
    bool long_name = (w->namespace_name != NULL &&
                      strlen(w->namespace_name) > NAME_BYTES_MAX) ||
                     (w->group != NULL && strlen(w->group) > NAME_BYTES_MAX);
    if (w->tag == 0 || long_name) {
        return BATON_INVALID;
    }
    (void)pthread_mutex_lock(&b->lock);
    enum baton_status status = watch_add(b, w, false);
    (void)pthread_mutex_unlock(&b->lock);
    link_loop_wake(b->loop);
    return status;
}

enum baton_status baton_unwatch(struct baton *b, uint64_t tag)
{
    (void)pthread_mutex_lock(&b->lock);
    struct watcher *w = b->watchers;
    while (w != NULL && (w->of_lease || w->tag != tag)) {
        w = w->after;
    }
    if (w != NULL) {
        /* The stream is the loop thread's to end. */
        w->removed = true;
    }
    (void)pthread_mutex_unlock(&b->lock);
    link_loop_wake(b->loop);
    return w != NULL ? BATON_OK : BATON_NOT_FOUND;
}

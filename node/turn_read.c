#include <string.h>

#include "node/turn_state.h"

#define SESSIONS_PAGE_DEFAULT 1000u
#define SESSIONS_PAGE_MAX     5000u
#define GROUPS_A_PAGE         65536u /* looked at for one page */
#define EXPLAIN_MAX           200u
#define EVENTS_PAGE_DEFAULT   1000u
#define HISTORY_READ_BYTES    (256u << 10)
#define HISTORY_LOOK_BYTES                                                     \
    (2u << 20) /* looked through in one turn, for what may not be in it */

/* --- waiting for a round ---------------------------------------------------------------------------------------------- */

static struct read *read_at(struct turn *t, uint64_t i)
{
    return &t->reads[i & (t->options.reads_max - 1)];
}

static void set_names(struct read *read, const Pb__Path *path)
{
    const char *parts[] = {path->namespace_, path->group, path->device};
    uint8_t *lengths[] = {&read->namespace_n, &read->group_n, &read->device_n};
    size_t at = 0;
    for (size_t i = 0; i < countof(parts); i++) {
        struct bytes text = codec_text(parts[i]);
        /* A name that's too long can't be one that exists; cut, it's still refused as too long. */
        size_t n = text.n > NAME_BYTES_MAX ? NAME_BYTES_MAX + 1 : text.n;
        memcpy(read->names + at, text.data, n);
        *lengths[i] = (uint8_t)n;
        at += n;
    }
}

static void read_path(const struct read *read, char *scratch, Pb__Path *out)
{
    const uint8_t lengths[] = {read->namespace_n, read->group_n,
                               read->device_n};
    char *texts[3];
    size_t from = 0;
    for (size_t i = 0; i < countof(lengths); i++) {
        texts[i] = scratch;
        memcpy(scratch, read->names + from, lengths[i]);
        scratch[lengths[i]] = 0;
        scratch += lengths[i] + 1;
        from += lengths[i];
    }
    pb__path__init(out);
    out->namespace_ = texts[0];
    out->group = texts[1];
    out->device = texts[2];
}

static void refuse(struct turn *t, const struct read *read,
                   enum baton_status status, uint32_t reason, int64_t detail)
{
    t->counters.reads_failed++;
    if (read->http) {
        turn_http_refuse(t, read->conn, status, reason, detail);
    } else if (status == BATON_NOT_LEADER) {
        answer_not_leader(t, read->conn, read->id);
    } else {
        answer_refuse(t, read->conn, read->id,
                      (struct refusal){status, reason, detail});
    }
}

static void serve(struct turn *t, struct read *read);

void turn_read_request(struct turn *t, const struct read *want,
                       const Pb__Path *path)
{
    struct read local = *want;
    if (path != NULL) {
        set_names(&local, path);
    }
    /* R14 holds without a round, too: a new leader may have committed what the one before answered for, and not applied it yet. */
    bool leased = local.consistency == PB__CONSISTENCY__LEASE &&
                  t->options.lease_reads && t->settings_agree &&
                  raft_lease_valid(t->raft, t->now_ms, 0) &&
                  t->applied == raft_commit(t->raft);
    if (local.consistency == PB__CONSISTENCY__STALE || leased) {
        t->counters.reads_stale += !leased;
        serve(t, &local);
        return;
    }
    local.consistency = PB__CONSISTENCY__LINEARIZABLE;
    if (t->reads_tail - t->reads_head == t->options.reads_max) {
        refuse(t, &local, BATON_BUSY, REASON_READS_NODE,
               (int64_t)t->options.reads_max);
        return;
    }
    struct raft_in in = turn_in(t);
    if (raft_read(t->raft, &in, &local.ticket) != BATON_OK) {
        refuse(t, &local, BATON_NOT_LEADER, REASON_NONE, 0);
        return;
    }
    *read_at(t, t->reads_tail++) = local;
}

/* These tickets won't be confirmed: leadership was lost. */
void turn_reads_failed(struct turn *t, uint64_t ticket)
{
    for (uint64_t i = t->reads_head; i < t->reads_tail; i++) {
        struct read *read = read_at(t, i);
        if (!read->done && read->ticket <= ticket &&
            read->ticket > t->confirmed_ticket) {
            read->done = true;
            refuse(t, read, BATON_NOT_LEADER, REASON_NONE, 0);
        }
    }
}

void turn_reads_serve(struct turn *t)
{
    while (t->reads_head < t->reads_tail) {
        struct read *read = read_at(t, t->reads_head);
        if (!read->done) {
            /* R14: its round began after it, and what was committed by then is applied. */
            if (read->ticket > t->confirmed_ticket ||
                t->applied < t->confirmed_index) {
                break;
            }
            serve(t, read);
        }
        t->reads_head++;
    }
}

void turn_reads_tick(struct turn *t)
{
    if (t->now_ms < t->reads_scan_ms) {
        return;
    }
    t->reads_scan_ms = t->now_ms + 20;
    for (uint64_t i = t->reads_head; i < t->reads_tail; i++) {
        struct read *read = read_at(t, i);
        if (!read->done && read->deadline_ms <= t->now_ms) {
            read->done = true;
            refuse(t, read, BATON_NO_QUORUM, REASON_NONE, 0);
        }
    }
    for (uint32_t i = 0; i < HISTORY_READS_MAX; i++) {
        struct history_read *h = &t->history_reads[i];
        if (h->used && h->deadline_ms <= t->now_ms) {
            h->used = false;
            answer_refuse(t, h->conn, h->id,
                          (struct refusal){BATON_UNAVAILABLE, REASON_NONE, 0});
        }
    }
}

/* --- answers ---------------------------------------------------------------------------------------------------------------- */

static uint64_t age_ms(const struct turn *t)
{
    if (raft_role_now(t->raft) == RAFT_LEADER) {
        return 0;
    }
    uint64_t heard = raft_last_contact_ms(t->raft);
    return t->now_ms > heard ? t->now_ms - heard : 0;
}

/* What a restarted node knows may be of any age, until a leader has told it what's committed. */
static bool age_unknown(const struct turn *t)
{
    return !raft_contacted(t->raft);
}

/* What an answer is made of, while it's being made. */
struct building {
    Pb__ClientMessage message;
    Pb__Path path;
    Pb__Path scope_path;
    union {
        Pb__LeaderResult leader;
        Pb__SessionsResult sessions;
        Pb__ExplainResult explain;
        Pb__VerifyResult verify;
        Pb__PolicyRow policy;
        Pb__StateResult state;
    } result;
    Pb__Policy policy;
    uint32_t reason;
    int64_t detail;
    char names[PATH_BYTES_MAX + 8];
    char text[400];
};

static enum baton_status build_leader(struct turn *t, const struct read *read,
                                      struct building *b)
{
    struct scope_view scope;
    memset(&scope, 0, sizeof scope);
    enum baton_status status =
        registry_scope(t->registry, &b->path, &scope, &b->reason);
    if (status != BATON_OK && status != BATON_NOT_FOUND) {
        return status;
    }
    scope.group_scope = read->device_n == 0;
    answer_scope(&scope, turn_cluster_ms(t), &t->answer, &b->result.leader,
                 &b->scope_path);
    b->result.leader.scope = &b->path;
    b->result.leader.consistency = (Pb__Consistency)read->consistency;
    b->result.leader.age_ms = age_ms(t);
    b->result.leader.age_unknown = age_unknown(t);
    b->message.result_case = PB__CLIENT_MESSAGE__RESULT_LEADER_RESULT;
    b->message.leader_result = &b->result.leader;
    return status;
}

/* A page being filled. */
struct page {
    Pb__SessionsResult *out;
    uint32_t limit;
    bool full;
};

/* Appends sessions of one group, from the skip-th on. Returns how many of the group were looked at. */
static uint32_t page_group(struct turn *t, uint32_t group, uint32_t skip,
                           struct page *page)
{
    struct session_view view;
    uint64_t cursor = 0;
    uint32_t looked = 0;
    while (registry_group_session(t->registry, group, &cursor, &view)) {
        if (looked >= skip) {
            Pb__SessionInfo *info = page->out->n_sessions == page->limit
                                        ? NULL
                                        : arena_alloc(&t->answer, sizeof *info);
            if (info == NULL) {
                page->full = true;
                return looked;
            }
            answer_session(&view, turn_cluster_ms(t), &t->answer, info);
            page->out->sessions[page->out->n_sessions++] = info;
        }
        looked++;
    }
    return looked;
}

/* The next page: cursor is the group's slot above 32 bits, and how many of its sessions were told. */
static void page_sessions(struct turn *t, const struct read *read,
                          const struct building *b, struct page *page)
{
    uint32_t end = registry_group_slots(t->registry);
    uint32_t group = (uint32_t)(read->cursor >> 32);
    uint32_t skip = (uint32_t)read->cursor;
    struct bytes namespace_name = codec_text(b->path.namespace_);
    uint32_t namespace_ = registry_find_namespace(t->registry, namespace_name);
    group = group == 0 ? 1 : group;
    if (read->group_n > 0) {
        group = registry_find_group(t->registry, namespace_name,
                                    codec_text(b->path.group));
        end = group;
    }
    if (group == 0 || (read->namespace_n > 0 && namespace_ == 0)) {
        return;
    }
    uint32_t last =
        group > UINT32_MAX - GROUPS_A_PAGE ? UINT32_MAX : group + GROUPS_A_PAGE;
    for (; group <= end; group++) {
        if (group == last) {
            page->out->next = (uint64_t)group << 32;
            return;
        }
        uint32_t of = registry_group_namespace(t->registry, group);
        if (of == 0 || (namespace_ != 0 && of != namespace_)) {
            skip = 0;
            continue;
        }
        uint32_t looked = page_group(t, group, skip, page);
        if (page->full) {
            page->out->next = ((uint64_t)group << 32) | looked;
            return;
        }
        skip = 0;
    }
}

static enum baton_status build_sessions(struct turn *t, const struct read *read,
                                        struct building *b)
{
    Pb__SessionsResult *out = &b->result.sessions;
    uint32_t limit = read->limit == 0 ? SESSIONS_PAGE_DEFAULT : read->limit;
    limit = limit > SESSIONS_PAGE_MAX ? SESSIONS_PAGE_MAX : limit;
    pb__sessions_result__init(out);
    out->age_ms = age_ms(t);
    out->age_unknown = age_unknown(t);
    out->sessions = arena_alloc(&t->answer, limit * sizeof(void *));
    ASSERT(out->sessions != NULL);
    b->message.result_case = PB__CLIENT_MESSAGE__RESULT_SESSIONS;
    b->message.sessions = out;
    if (read->session == 0) {
        struct page page = {.out = out, .limit = limit};
        page_sessions(t, read, b, &page);
        return BATON_OK;
    }
    struct session_view view;
    enum baton_status status =
        registry_session(t->registry, read->session, &view);
    if (status != BATON_OK) {
        b->reason = REASON_NO_SESSION;
        b->detail = (int64_t)read->session;
        return status;
    }
    Pb__SessionInfo *info = arena_alloc(&t->answer, sizeof *info);
    ASSERT(info != NULL);
    answer_session(&view, turn_cluster_ms(t), &t->answer, info);
    out->sessions[out->n_sessions++] = info;
    return BATON_OK;
}

static enum baton_status build_verify(struct turn *t, const struct read *read,
                                      struct building *b)
{
    struct scope_view scope;
    Pb__VerifyResult *out = &b->result.verify;
    memset(&scope, 0, sizeof scope);
    enum baton_status status =
        registry_scope(t->registry, &b->path, &scope, &b->reason);
    pb__verify_result__init(out);
    b->message.result_case = PB__CLIENT_MESSAGE__RESULT_VERIFY;
    b->message.verify = out;
    out->epoch = read->epoch;
    out->current = scope.session == 0 ? 0 : scope.epoch;
    out->holder = scope.session;
    out->valid =
        status == BATON_OK && scope.session != 0 && read->epoch == scope.epoch;
    if (status != BATON_NOT_FOUND) {
        return status;
    }
    /* A scope that is vacant, or gone, has an answer too: no epoch is current. */
    b->reason = REASON_NONE;
    return BATON_OK;
}

static enum baton_status build_claim(struct turn *t, const struct read *read,
                                     struct building *b)
{
    struct scope_view scope;
    Pb__VerifyResult *out = &b->result.verify;
    memset(&scope, 0, sizeof scope);
    enum cause cause = registry_claim(t->registry, &b->path, read->session,
                                      read->epoch, &scope);
    pb__verify_result__init(out);
    b->message.result_case = PB__CLIENT_MESSAGE__RESULT_VERIFY;
    b->message.verify = out;
    out->epoch = read->epoch;
    out->current = scope.session == 0 ? 0 : scope.epoch;
    out->holder = scope.session;
    out->valid = cause == CAUSE_NONE;
    out->cause = (Pb__Cause)cause;
    turn_claimed(t, cause, &b->path, read, &scope);
    return BATON_OK;
}

static enum baton_status build_state(struct turn *t, const struct read *read,
                                     struct building *b)
{
    struct bytes state = {NULL, 0};
    enum baton_status status = registry_state(
        t->registry, &b->path, read->session, read->epoch, &state, &b->reason);
    if (status == BATON_OK) {
        pb__state_result__init(&b->result.state);
        b->result.state.state = codec_binary(state);
        b->result.state.epoch = read->epoch;
        b->message.result_case = PB__CLIENT_MESSAGE__RESULT_STATE;
        b->message.state = &b->result.state;
    }
    return status;
}

static enum baton_status build_policy(struct turn *t, struct building *b)
{
    enum baton_status status = registry_policy(
        t->registry, codec_text(b->path.namespace_), &t->answer, &b->policy);
    if (status == BATON_OK) {
        pb__policy_row__init(&b->result.policy);
        b->result.policy.namespace_ = b->path.namespace_;
        b->result.policy.policy = &b->policy;
        b->message.result_case = PB__CLIENT_MESSAGE__RESULT_POLICY;
        b->message.policy = &b->result.policy;
    } else {
        b->reason = REASON_NAMESPACE;
    }
    return status;
}

static enum baton_status build(struct turn *t, const struct read *read,
                               struct building *b)
{
    switch ((enum read_kind)read->kind) {
    case READ_LEADER:
        return build_leader(t, read, b);
    case READ_SESSIONS:
        return build_sessions(t, read, b);
    case READ_EXPLAIN:
        b->message.result_case = PB__CLIENT_MESSAGE__RESULT_EXPLAIN;
        b->message.explain = &b->result.explain;
        return registry_explain(t->registry, &b->path, EXPLAIN_MAX, &t->answer,
                                &b->result.explain, &b->reason);
    case READ_VERIFY:
        return build_verify(t, read, b);
    case READ_CLAIM:
        return build_claim(t, read, b);
    case READ_POLICY:
        return build_policy(t, b);
    case READ_STATE:
        return build_state(t, read, b);
    case READ_RENEW:
    case READ_UPDATED:
        break;
    }
    return BATON_UNSUPPORTED;
}

/* A heartbeat whose sender's leader is confirmed now: it counts from when it came in (S5). */
static void serve_renew(struct turn *t, const struct read *read)
{
    struct lease_view lease;
    if (registry_lease(t->registry, read->lease, &lease) != BATON_OK ||
        lease.ended) {
        refuse(t, read, BATON_EXPIRED, REASON_LEASE_ENDED,
               (int64_t)read->lease);
    } else if (!deadlines_heard(t->deadlines, lease.slot, read->received_ms)) {
        refuse(t, read, BATON_BUSY, REASON_NONE, 0);
    } else {
        answer_renew(t, read->conn, read->id, read->cursor, lease.ttl_ms);
    }
}

static void serve(struct turn *t, struct read *read)
{
    struct building b;
    t->counters.reads++;
    if (read->kind == READ_RENEW) {
        serve_renew(t, read);
        return;
    }
    if (read->kind == READ_UPDATED) {
        const struct reply reply = {.id = read->session,
                                    .revision = t->applied,
                                    .detail = (int64_t)read->epoch};
        answer_reply(t, read->conn, read->id, &reply);
        return;
    }
    b.reason = REASON_NONE;
    b.detail = 0;
    arena_reset(&t->answer);
    read_path(read, b.names, &b.path);
    answer_init(t, &b.message, read->id);
    enum baton_status status = build(t, read, &b);
    b.message.status = (Pb__Status)status;
    b.message.reason = b.reason;
    if (status != BATON_OK) {
        (void)status_text(status, b.reason, b.detail, b.text, sizeof b.text);
        b.message.message = b.text;
        if (status != BATON_NOT_FOUND || read->kind != READ_LEADER) {
            b.message.result_case = PB__CLIENT_MESSAGE__RESULT__NOT_SET;
        }
    }
    if (read->http) {
        turn_http_answer(t, read->conn, &b.message);
    } else {
        (void)answer_send(t, read->conn, &b.message);
    }
}

/* --- history ------------------------------------------------------------------------------------------------------------------ */

static void answer_events(struct turn *t, const struct history_read *h,
                          Pb__EventBatch **batches, size_t n, raft_index next)
{
    Pb__ClientMessage m;
    Pb__EventsResult result = PB__EVENTS_RESULT__INIT;
    answer_init(t, &m, h->id);
    result.batches = batches;
    result.n_batches = n;
    result.next = next;
    result.horizon = t->horizon;
    result.age_ms = age_ms(t);
    result.age_unknown = age_unknown(t);
    m.result_case = PB__CLIENT_MESSAGE__RESULT_EVENTS;
    m.events = &result;
    (void)answer_send(t, h->conn, &m);
}

/* Decodes a batch into *out, and keeps what's asked for; NULL: nothing in it. False: there's no room for more in this answer. */
static bool select_events(struct turn *t, const struct history_read *h,
                          struct bytes encoded, Pb__EventBatch **out)
{
    size_t mark = t->answer.used;
    Pb__EventBatch *batch = codec_decode_event_batch(encoded, &t->answer);
    if (batch == NULL) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < batch->n_events; i++) {
        if (watch_matches(h->namespace_name, h->group, 0, batch->events[i])) {
            batch->events[n++] = batch->events[i];
        }
    }
    batch->n_events = n;
    *out = n == 0 ? NULL : batch;
    if (n == 0) {
        t->answer.used = mark; /* what isn't asked for takes no room */
    }
    return true;
}

static void events_from_memory(struct turn *t, const struct history_read *h)
{
    Pb__EventBatch **batches =
        arena_alloc(&t->answer, (h->limit + 1) * sizeof(void *));
    ASSERT(batches != NULL);
    size_t n = 0;
    size_t bytes_n = 0;
    size_t looked_n = 0;
    raft_index at = h->from;
    uint64_t revision = 0;
    struct bytes encoded;
    while (n < h->limit && bytes_n < HISTORY_READ_BYTES &&
           looked_n < HISTORY_LOOK_BYTES &&
           history_get(t->history, at, &revision, &encoded) &&
           revision <= h->to) {
        Pb__EventBatch *batch = NULL;
        if (!select_events(t, h, encoded, &batch)) {
            break;
        }
        if (batch != NULL) {
            batches[n++] = batch;
            bytes_n += encoded.n;
        }
        looked_n += encoded.n;
        at = revision + 1;
    }
    bool more =
        history_get(t->history, at, &revision, &encoded) && revision <= h->to;
    answer_events(t, h, batches, n, more ? at : 0);
}

void turn_history_request(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request)
{
    const Pb__GetEvents *get = request->get_events;
    struct history_read h = {
        .used = true,
        .conn = conn,
        .id = request->id,
        .deadline_ms = t->now_ms + (request->timeout_ms == 0
                                        ? 5000
                                        : min_u64(request->timeout_ms, 60000)),
        .from = max_u64(get->from, 1),
        .to = get->to == 0 ? t->applied : min_u64(get->to, t->applied),
        .limit = get->limit == 0 ? EVENTS_PAGE_DEFAULT
                                 : (uint32_t)min_u64(get->limit, 10000),
    };
    struct bytes namespace_name = codec_text(get->namespace_);
    struct bytes group = codec_text(get->group);
    if (namespace_name.n > NAME_BYTES_MAX || group.n > NAME_BYTES_MAX) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_INVALID, REASON_NAMESPACE, 0});
        return;
    }
    memcpy(h.namespace_name, namespace_name.data, namespace_name.n);
    memcpy(h.group, group.data, group.n);
    if (h.from < t->horizon) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_COMPACTED, REASON_NONE,
                                       (int64_t)t->horizon});
        return;
    }
    /* Our end isn't that of the history: whoever was told of more by another node would take it for that. */
    if (h.from > t->applied + 1 || get->seen > t->applied) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_UNAVAILABLE, REASON_BEHIND,
                                       (int64_t)t->applied});
        return;
    }
    arena_reset(&t->answer);
    if (h.from >= history_from(t->history)) {
        events_from_memory(t, &h);
        return;
    }
    for (uint32_t i = 0; i < HISTORY_READS_MAX; i++) {
        if (!t->history_reads[i].used) {
            h.serial = ++t->history_serial & 0xffffffffu;
            t->history_reads[i] = h;
            store_read_events(t->store, TAG(TAG_HISTORY, (h.serial << 8) | i),
                              h.from, h.to, HISTORY_READ_BYTES);
            return;
        }
    }
    answer_refuse(
        t, conn, request->id,
        (struct refusal){BATON_BUSY, REASON_READS_NODE, HISTORY_READS_MAX});
}

void turn_history_read(struct turn *t, const struct store_event *event)
{
    uint64_t i = TAG_ID(event->tag) & 0xffu;
    /* A slot's last owner may have given up: its answer isn't for the next one. */
    if (i >= HISTORY_READS_MAX || !t->history_reads[i].used ||
        t->history_reads[i].serial != TAG_ID(event->tag) >> 8) {
        return;
    }
    struct history_read h = t->history_reads[i];
    t->history_reads[i].used = false;
    if (event->gone) {
        answer_refuse(t, h.conn, h.id,
                      (struct refusal){BATON_COMPACTED, REASON_NONE,
                                       (int64_t)t->horizon});
        return;
    }
    arena_reset(&t->answer);
    Pb__EventBatch **batches =
        arena_alloc(&t->answer, (event->records_n + 1) * sizeof(void *));
    ASSERT(batches != NULL);
    size_t n = 0;
    raft_index next = h.from;
    for (uint32_t r = 0; r < event->records_n && n < h.limit; r++) {
        Pb__EventBatch *batch = NULL;
        if (!select_events(t, &h, event->records[r].value, &batch)) {
            break;
        }
        if (batch != NULL) {
            batches[n++] = batch;
        }
        next = event->records[r].index + 1;
    }
    if (event->end && (event->records_n == 0 ||
                       event->records[event->records_n - 1].index < next)) {
        next = h.to + 1; /* all was looked at */
    }
    answer_events(t, &h, batches, n, next <= h.to ? next : 0);
}

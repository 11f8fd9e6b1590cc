#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"
#include "proto/json.h"
#include "proto/utf8.h"

/* Routes of the HTTP API. It only reads; what it reads through the log waits for its round like any other read.
 *
 *   /metrics   /healthz   /readyz   /status
 *   /v1/leader/NAMESPACE/GROUP[/DEVICE]      ?consistency=stale | lease
 *   /v1/sessions/NAMESPACE[/GROUP]           ?consistency=stale, ?cursor=N, ?limit=N
 *
 * What begins with /v1/ refuses parameters that it doesn't know: who writes ?stale must not take the answer for a stale one. The others
 * have none and ignore any, for health checks add their own to get past caches. */

#define JSON_BYTES      (1u << 20)
#define PARTS_MAX       4u
#define HTTP_TIMEOUT_MS 4000u
#define WHY_BYTES       256u

static void reply_text(struct turn *t, uint64_t ticket, uint32_t status,
                       const char *text)
{
    transport_http_reply(t->transport, ticket, status,
                         "text/plain; charset=utf-8", codec_text(text));
}

static void reply_json(struct turn *t, uint64_t ticket, uint32_t status,
                       struct json_writer *w)
{
    size_t n = json_finish(w);
    if (n == 0) {
        reply_text(t, ticket, 500, "the answer is too large: ask for less\n");
        return;
    }
    transport_http_reply(t->transport, ticket, status,
                         "application/json; charset=utf-8",
                         (struct bytes){(const uint8_t *)w->out, n});
}

static uint32_t http_status(enum baton_status status)
{
    switch (status) {
    case BATON_OK:
        return 200;
    case BATON_NOT_FOUND:
        return 404;
    case BATON_INVALID:
    case BATON_UNSUPPORTED:
        return 400;
    case BATON_EXPIRED:
    case BATON_COMPACTED:
    case BATON_WINDOW:
        return 410;
    case BATON_STALE_EPOCH:
    case BATON_CONFLICT:
        return 409;
    case BATON_NOT_ALLOWED:
        return 403;
    case BATON_LIMIT:
        return 429;
    case BATON_NOT_LEADER:
    case BATON_NO_QUORUM:
    case BATON_UNKNOWN:
    case BATON_BUSY:
    case BATON_UNAVAILABLE:
        break;
    }
    return 503;
}

static struct json_writer json_begin(struct turn *t)
{
    struct json_writer w;
    char *out = arena_alloc(&t->answer, JSON_BYTES);
    ASSERT(out != NULL);
    json_init(&w, out, JSON_BYTES);
    return w;
}

static void put_text(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_cstring(w, text);
}

static void put_number(struct json_writer *w, const char *key, uint64_t number)
{
    json_key(w, key);
    json_u64(w, number);
}

/* Null: not known. */
static void put_age(struct json_writer *w, uint64_t age_ms, bool unknown)
{
    json_key(w, "age_ms");
    if (unknown) {
        json_nothing(w);
    } else {
        json_u64(w, age_ms);
    }
}

/* 64 bits: a string, see docs/protocol.md. */
static void put_id(struct json_writer *w, const char *key, uint64_t id)
{
    json_key(w, key);
    json_u64_string(w, id);
}

static void put_error(struct json_writer *w, enum baton_status status,
                      const char *message)
{
    put_text(w, "error", status_name(status));
    put_text(w, "message", message);
}

/* What isn't known is left out. */
static void put_leader_hint(struct turn *t, struct json_writer *w)
{
    const struct turn_member *leader =
        turn_member_find(t, raft_leader(t->raft));
    if (leader == NULL) {
        return;
    }
    put_number(w, "leader", leader->id);
    if (leader->http[0] != 0) {
        put_text(w, "leader_http", leader->http);
    }
}

static void refuse(struct turn *t, uint64_t ticket, enum baton_status status,
                   const char *message)
{
    arena_reset(&t->answer);
    struct json_writer w = json_begin(t);
    json_object_begin(&w);
    put_error(&w, status, message);
    if (status == BATON_NOT_LEADER) {
        put_leader_hint(t, &w);
    }
    json_object_end(&w);
    reply_json(t, ticket, http_status(status), &w);
}

void turn_http_refuse(struct turn *t, uint64_t ticket, enum baton_status status,
                      uint32_t reason, int64_t detail)
{
    char text[400];
    (void)status_text(status, reason, detail, text, sizeof text);
    refuse(t, ticket, status, text);
}

static void put_leader(struct json_writer *w, const Pb__LeaderResult *r,
                       uint64_t revision)
{
    static const char *const consistencies[] = {"linearizable", "stale",
                                                "lease"};
    char scope[3 * NAME_BYTES_MAX + 3];
    (void)snprintf(scope, sizeof scope, "%s/%s%s%s", r->scope->namespace_,
                   r->scope->group, r->scope->device[0] == 0 ? "" : "/",
                   r->scope->device);
    put_text(w, "scope", scope);
    put_id(w, "session", r->session);
    put_text(w, "device", r->device);
    put_text(w, "tab", r->tab);
    put_id(w, "epoch", r->epoch);
    put_id(w, "backup", r->backup);
    put_number(w, "since_ms", r->since_ms);
    put_id(w, "revision", revision);
    put_text(w, "consistency",
             r->consistency < countof(consistencies)
                 ? consistencies[r->consistency]
                 : "unknown");
    put_age(w, r->age_ms, r->age_unknown);
    put_text(w, "relay", r->relay);
}

static const char *role_text(Pb__Role role)
{
    switch (role) {
    case PB__ROLE__ROLE_OBSERVER:
        return "observer";
    case PB__ROLE__ROLE_CANDIDATE:
        return "candidate";
    case PB__ROLE__ROLE_BACKUP:
        return "backup";
    case PB__ROLE__ROLE_LEADER:
        return "leader";
    case PB__ROLE__ROLE_NONE:
    default:
        return "none";
    }
}

static void put_session(struct json_writer *w, const Pb__SessionInfo *s)
{
    char group[2 * NAME_BYTES_MAX + 2];
    (void)snprintf(group, sizeof group, "%s/%s", s->namespace_, s->group);
    json_object_begin(w);
    put_id(w, "session", s->session);
    put_text(w, "group", group);
    put_text(w, "device", s->device);
    put_text(w, "tab", s->tab);
    put_text(w, "role", role_text(s->role));
    json_key(w, "group_leader");
    json_bool(w, s->group_leader);
    json_key(w, "score");
    json_i64(w, s->score);
    put_id(w, "lease", s->lease);
    put_text(w, "state", s->detached ? "detached" : "attached");
    json_object_end(w);
}

static void put_sessions(struct json_writer *w, const Pb__SessionsResult *r,
                         uint64_t revision)
{
    json_key(w, "sessions");
    json_array_begin(w);
    for (size_t i = 0; i < r->n_sessions; i++) {
        put_session(w, r->sessions[i]);
    }
    json_array_end(w);
    put_id(w, "next", r->next);
    put_id(w, "revision", revision);
    put_age(w, r->age_ms, r->age_unknown);
}

void turn_http_answer(struct turn *t, uint64_t ticket,
                      const Pb__ClientMessage *m)
{
    enum baton_status status = (enum baton_status)m->status;
    struct json_writer w = json_begin(t);
    json_object_begin(&w);
    if (status != BATON_OK) {
        put_error(&w, status, m->message);
    }
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_LEADER_RESULT) {
        put_leader(&w, m->leader_result, m->revision);
    } else if (m->result_case == PB__CLIENT_MESSAGE__RESULT_SESSIONS) {
        put_sessions(&w, m->sessions, m->revision);
    }
    json_object_end(&w);
    reply_json(t, ticket, http_status(status), &w);
}

/* --- the request ------------------------------------------------------------------------------------------------------------- */

static int hex_of(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes, once: + is a plus. NULL in data: malformed. NUL-terminated. */
static struct bytes decode(struct turn *t, struct bytes in)
{
    static const struct bytes none = {NULL, 0};
    uint8_t *out = arena_alloc(&t->input, in.n + 1);
    size_t n = 0;
    for (size_t i = 0; out != NULL && i < in.n; i++) {
        int c = in.data[i];
        if (c == '%') {
            int high = i + 2 < in.n ? hex_of(in.data[i + 1]) : -1;
            int low = i + 2 < in.n ? hex_of(in.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return none;
            }
            c = high * 16 + low;
            i += 2;
        }
        out[n++] = (uint8_t)c;
    }
    if (out == NULL) {
        return none;
    }
    out[n] = 0;
    return (struct bytes){out, n};
}

/* One segment's name. NULL: malformed, or no name. */
static char *segment(struct turn *t, struct bytes in)
{
    struct bytes name = decode(t, in);
    return name.data != NULL && utf8_is_name(name, NAME_BYTES_MAX)
               ? (char *)(uintptr_t)name.data
               : NULL;
}

static bool same(struct bytes a, const char *b)
{
    return a.n == strlen(b) && memcmp(a.data, b, a.n) == 0;
}

/* False: not a number. */
static bool number(struct bytes text, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' ||
            value > (UINT64_MAX - 9) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = value;
    return text.n > 0;
}

static bool set_consistency(struct bytes text, struct read *read)
{
    if (same(text, "linearizable")) {
        read->consistency = PB__CONSISTENCY__LINEARIZABLE;
    } else if (same(text, "stale")) {
        read->consistency = PB__CONSISTENCY__STALE;
    } else if (same(text, "lease")) {
        read->consistency = PB__CONSISTENCY__LEASE;
    } else {
        return false;
    }
    return true;
}

static bool set_cursor(struct bytes text, struct read *read)
{
    return number(text, &read->cursor);
}

static bool set_limit(struct bytes text, struct read *read)
{
    uint64_t limit = 0;
    if (!number(text, &limit) || limit > UINT32_MAX) {
        return false;
    }
    read->limit = (uint32_t)limit;
    return true;
}

static const struct parameter {
    const char *name;
    bool (*set)(struct bytes text, struct read *read);
    const char *expected;
} parameters[] = {
    /* Leaders have the first of them, sessions all. */
    {"consistency", set_consistency, "linearizable, stale or lease"},
    {"cursor", set_cursor, "a whole number, `next` of the page before"},
    {"limit", set_limit, "a whole number up to 4294967295"},
};

/* NAME=VALUE, or NAME alone. False, and a sentence: it can't be understood. */
static bool take_parameter(struct turn *t, struct bytes text, struct read *read,
                           uint32_t *seen, char why[WHY_BYTES])
{
    const uint8_t *equals = memchr(text.data, '=', text.n);
    size_t n = equals == NULL ? text.n : (size_t)(equals - text.data);
    struct bytes name = decode(t, (struct bytes){text.data, n});
    struct bytes value = {text.data + n, 0};
    size_t known_n = read->kind == READ_SESSIONS ? countof(parameters) : 1;
    if (equals != NULL) {
        value = decode(t, (struct bytes){equals + 1, text.n - n - 1});
    }
    if (name.data == NULL || value.data == NULL) {
        (void)snprintf(why, WHY_BYTES,
                       "malformed parameter: expected two hex digits behind "
                       "each %%");
        return false;
    }
    for (size_t i = 0; i < known_n; i++) {
        const struct parameter *p = &parameters[i];
        if (!same(name, p->name)) {
            continue;
        }
        if ((*seen & 1u << i) != 0) {
            (void)snprintf(why, WHY_BYTES,
                           "%s is given twice: expected it once", p->name);
            return false;
        }
        *seen |= 1u << i;
        if (!p->set(value, read)) {
            (void)snprintf(why, WHY_BYTES, "%s: expected %s, got \"%.*s\"",
                           p->name, p->expected, (int)min_u64(value.n, 64),
                           (const char *)value.data);
            return false;
        }
        return true;
    }
    (void)snprintf(
        why, WHY_BYTES, "there is no parameter \"%.*s\" here: expected %s",
        (int)min_u64(name.n, 64), (const char *)name.data,
        known_n == 1 ? "consistency" : "consistency, cursor or limit");
    return false;
}

static bool take_query(struct turn *t, struct bytes query, struct read *read,
                       char why[WHY_BYTES])
{
    uint32_t seen = 0;
    size_t at = 0;
    while (at < query.n) {
        const uint8_t *from = query.data + at;
        const uint8_t *mark = memchr(from, '&', query.n - at);
        size_t n = mark == NULL ? query.n - at : (size_t)(mark - from);
        if (n > 0 &&
            !take_parameter(t, (struct bytes){from, n}, read, &seen, why)) {
            return false;
        }
        at += n + 1;
    }
    return true;
}

/* Splits what's behind the route's prefix at '/', at most PARTS_MAX parts. 0: malformed. */
static size_t split(struct turn *t, struct bytes rest, char *out[PARTS_MAX])
{
    size_t n = 0;
    size_t at = 0;
    while (at <= rest.n && n < PARTS_MAX) {
        size_t end = at;
        while (end < rest.n && rest.data[end] != '/') {
            end++;
        }
        out[n] = segment(t, (struct bytes){rest.data + at, end - at});
        if (out[n++] == NULL) {
            return 0;
        }
        at = end + 1;
    }
    return at <= rest.n ? 0 : n;
}

static void api(struct turn *t, uint64_t ticket, enum read_kind kind,
                struct bytes rest, struct bytes query)
{
    char *parts[PARTS_MAX];
    char why[WHY_BYTES];
    if (t->quarantined || t->stopping) {
        turn_http_refuse(t, ticket, BATON_UNAVAILABLE, REASON_NONE, 0);
        return;
    }
    Pb__Path path = PB__PATH__INIT;
    struct read read = {
        .kind = (uint8_t)kind,
        .conn = ticket,
        .http = true,
        .deadline_ms = t->now_ms + HTTP_TIMEOUT_MS,
        .received_ms = t->now_ms,
    };
    size_t n = split(t, rest, parts);
    bool leader = kind == READ_LEADER;
    if (n < (leader ? 2u : 1u) || n > (leader ? 3u : 2u)) {
        refuse(t, ticket, BATON_INVALID,
               leader ? "expected GET /v1/leader/NAMESPACE/GROUP[/DEVICE], "
                        "names of 1 to 128 bytes of UTF-8, percent-encoded"
                      : "expected GET /v1/sessions/NAMESPACE[/GROUP], "
                        "names of 1 to 128 bytes of UTF-8, percent-encoded");
        return;
    }
    if (!take_query(t, query, &read, why)) {
        refuse(t, ticket, BATON_INVALID, why);
        return;
    }
    path.namespace_ = parts[0];
    path.group = n > 1 ? parts[1] : path.group;
    path.device = n > 2 ? parts[2] : path.device;
    turn_read_request(t, &read, &path);
}

static void http_metrics(struct turn *t, uint64_t ticket)
{
    char *out = arena_alloc(&t->answer, JSON_BYTES);
    ASSERT(out != NULL);
    size_t n = status_metrics(t, out, JSON_BYTES);
    transport_http_reply(t->transport, ticket, 200,
                         "text/plain; version=0.0.4; charset=utf-8",
                         (struct bytes){(const uint8_t *)out, n});
}

static void http_ready(struct turn *t, uint64_t ticket)
{
    if (t->quarantined) {
        reply_text(t, ticket, 503, "not ready: quarantined\n");
    } else if (t->stopping) {
        reply_text(t, ticket, 503, "not ready: stopping\n");
    } else if (raft_leader(t->raft) == 0) {
        reply_text(t, ticket, 503, "not ready: no leader is known\n");
    } else if (t->applied == 0) {
        reply_text(t, ticket, 503, "not ready: nothing is applied yet\n");
    } else {
        reply_text(t, ticket, 200, "ready\n");
    }
}

static void http_status_page(struct turn *t, uint64_t ticket)
{
    Pb__StatusResult result;
    status_fill(t, &t->answer, &result);
    struct json_writer w = json_begin(t);
    json_message(&w, &result.base, 0);
    reply_json(t, ticket, 200, &w);
}

static bool has_prefix(struct bytes path, const char *prefix,
                       struct bytes *out_rest)
{
    size_t n = strlen(prefix);
    if (path.n < n || memcmp(path.data, prefix, n) != 0) {
        return false;
    }
    *out_rest = (struct bytes){path.data + n, path.n - n};
    return true;
}

void turn_http(struct turn *t, uint64_t ticket, struct bytes path)
{
    struct bytes query = {NULL, 0};
    struct bytes rest;
    arena_reset(&t->input);
    arena_reset(&t->answer);
    for (size_t i = 0; i < path.n; i++) {
        if (path.data[i] == '?') {
            query = (struct bytes){path.data + i + 1, path.n - i - 1};
            path.n = i;
            break;
        }
    }
    if (same(path, "/metrics")) {
        http_metrics(t, ticket);
    } else if (same(path, "/healthz")) {
        reply_text(t, ticket, 200, "ok\n");
    } else if (same(path, "/readyz")) {
        http_ready(t, ticket);
    } else if (same(path, "/status")) {
        http_status_page(t, ticket);
    } else if (has_prefix(path, "/v1/leader/", &rest)) {
        api(t, ticket, READ_LEADER, rest, query);
    } else if (has_prefix(path, "/v1/sessions/", &rest)) {
        api(t, ticket, READ_SESSIONS, rest, query);
    } else {
        reply_text(t, ticket, 404,
                   "there is /metrics, /healthz, /readyz, /status, "
                   "/v1/leader/NAMESPACE/GROUP[/DEVICE] and "
                   "/v1/sessions/NAMESPACE[/GROUP]\n");
    }
}

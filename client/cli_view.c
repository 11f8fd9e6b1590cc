#include "client/cli_view.h"

#include <stdlib.h>
#include <string.h>

static void ask_node(struct cli *c, uint32_t at, uint64_t tag,
                     uint32_t timeout_ms)
{
    Pb__GetStatus op = PB__GET_STATUS__INIT;
    Pb__ClientRequest request = request_of(&op.base);
    struct baton_call call = {.tag = tag, .timeout_ms = timeout_ms};
    struct ask ask = ask_of(&request);
    ask.place = PLACE_NODE;
    ask.endpoint = at;
    ask.call = &call;
    enum baton_status status = client_call(c->b, &ask, NULL);
    ASSERT(status == BATON_OK);
}

static void take_answer(struct cli *c, const struct baton_event *e,
                        struct view_node *n)
{
    const Pb__ClientMessage *m = (const Pb__ClientMessage *)client_polled(c->b);
    if (e->status == BATON_OK && m != NULL &&
        m->result_case == PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT &&
        m->status_result->self != NULL) {
        n->status = m->status_result;
        n->id = m->status_result->node;
        n->memory = client_keep_polled(c->b);
        return;
    }
    (void)snprintf(n->why, sizeof n->why, "%.190s", e->message);
}

static uint32_t endpoints_n(struct cli *c)
{
    (void)pthread_mutex_lock(&c->b->lock);
    uint32_t n = c->b->route.endpoints_n;
    (void)pthread_mutex_unlock(&c->b->lock);
    return n;
}

/* Asks the endpoints from nodes_n on, and waits for their answers. */
static void ask_new(struct cli *c, uint32_t timeout_ms, struct view *v)
{
    uint32_t n = endpoints_n(c);
    uint32_t first = (uint32_t)v->nodes_n;
    for (uint32_t i = first; i < n; i++) {
        (void)pthread_mutex_lock(&c->b->lock);
        memcpy(v->nodes[i].address, c->b->route.endpoints[i].address,
               ROUTE_ADDRESS_BYTES);
        (void)pthread_mutex_unlock(&c->b->lock);
        ask_node(c, i, i + 1, timeout_ms);
    }
    v->nodes_n = n;
    for (uint32_t waiting = n - first; waiting > 0;) {
        struct baton_event e;
        if (!baton_poll(c->b, -1, &e)) {
            continue;
        }
        if (e.type == BATON_DONE && e.tag > first && e.tag <= n) {
            take_answer(c, &e, &v->nodes[e.tag - 1]);
            waiting--;
        }
    }
}

/* Members that nobody told us to ask. */
static void learn(struct cli *c, const struct view *v)
{
    (void)pthread_mutex_lock(&c->b->lock);
    for (size_t i = 0; i < v->nodes_n; i++) {
        const Pb__StatusResult *s = v->nodes[i].status;
        for (size_t j = 0; s != NULL && j < s->n_nodes; j++) {
            bool reached = false;
            for (size_t k = 0; k < v->nodes_n; k++) {
                reached |= v->nodes[k].id == s->nodes[j]->id;
            }
            if (!reached) {
                (void)route_add(&c->b->route, s->nodes[j]->endpoint);
            }
        }
    }
    (void)pthread_mutex_unlock(&c->b->lock);
}

static const Pb__NodeStatus *find_member(const Pb__StatusResult *s,
                                         const char *address)
{
    for (size_t i = 0; s != NULL && i < s->n_nodes; i++) {
        if (strcmp(s->nodes[i]->endpoint, address) == 0) {
            return s->nodes[i];
        }
    }
    return NULL;
}

/* Who an address belongs to that didn't answer: the leader knows, and so do we if it answered before. */
static void name_unreached(struct cli *c, struct view *v)
{
    for (size_t i = 0; i < v->nodes_n; i++) {
        struct view_node *n = &v->nodes[i];
        if (n->status == NULL) {
            (void)pthread_mutex_lock(&c->b->lock);
            n->id = c->b->route.endpoints[i].node;
            (void)pthread_mutex_unlock(&c->b->lock);
        }
        for (size_t j = 0; n->status == NULL && j < v->nodes_n; j++) {
            const Pb__NodeStatus *member =
                find_member(v->nodes[j].status, n->address);
            n->id = member != NULL ? member->id : n->id;
            n->http = member != NULL ? member->http : n->http;
        }
    }
}

static void judge(struct view *v)
{
    uint64_t term = 0;
    for (size_t i = 0; i < v->nodes_n; i++) {
        struct view_node *n = &v->nodes[i];
        if (n->status == NULL) {
            continue;
        }
        v->reached_n++;
        const Pb__StatusResult *s = n->status;
        /* The newest term knows best who leads. */
        if (s->leader != 0 && s->self->term >= term) {
            v->leader = s->leader;
            term = s->self->term;
        }
        bool better = v->best == NULL || s->node == s->leader ||
                      (v->best->node != v->best->leader &&
                       s->self->applied > v->best->self->applied);
        if (better) {
            v->best = s;
        }
    }
    for (size_t i = 0; i < v->nodes_n; i++) {
        for (size_t j = 0; j < v->nodes_n; j++) {
            struct view_node *n = &v->nodes[i];
            const struct view_node *other = &v->nodes[j];
            bool same = i != j && n->id != 0 && n->id == other->id;
            bool lesser = (n->status == NULL && other->status != NULL) ||
                          (!n->status == !other->status && i > j);
            n->hidden |= same && lesser;
        }
    }
}

/* Only the leader knows the members. If it isn't among the endpoints, a question that only it answers brings its address to light. */
static void find_leader(struct cli *c, const struct view *v,
                        uint32_t timeout_ms)
{
    uint32_t leader = 0;
    for (size_t i = 0; i < v->nodes_n; i++) {
        const Pb__StatusResult *s = v->nodes[i].status;
        leader = s != NULL && s->leader != 0 ? s->leader : leader;
    }
    for (size_t i = 0; i < v->nodes_n; i++) {
        if (v->nodes[i].status != NULL && v->nodes[i].id == leader) {
            return;
        }
    }
    if (leader == 0) {
        return;
    }
    struct baton_call call = {.timeout_ms = timeout_ms};
    struct baton_query q = {.limit = 1};
    struct baton_reply r = {0};
    (void)baton_sessions(c->b, &call, &q, &r);
    baton_reply_free(&r);
}

void view_take(struct cli *c, uint32_t timeout_ms, struct view *out)
{
    *out = (struct view){.best = NULL};
    ask_new(c, timeout_ms, out);
    find_leader(c, out, timeout_ms);
    for (int i = 0; i < 2; i++) {
        if (endpoints_n(c) > out->nodes_n) {
            ask_new(c, timeout_ms, out);
        }
        learn(c, out);
    }
    if (endpoints_n(c) > out->nodes_n) {
        ask_new(c, timeout_ms, out);
    }
    name_unreached(c, out);
    judge(out);
}

const struct view_node *view_leader(const struct view *v)
{
    for (size_t i = 0; i < v->nodes_n; i++) {
        if (v->nodes[i].status != NULL && v->nodes[i].id == v->leader) {
            return &v->nodes[i];
        }
    }
    return NULL;
}

struct cli_age view_age(const struct view *v)
{
    if (v->best == NULL || strcmp(v->best->self->role, "leader") == 0) {
        return (struct cli_age){.kind = CLI_AGE_UNTOLD};
    }
    return cli_age(v->best->self->last_contact_ms,
                   v->best->self->contact_unknown);
}

void view_free(struct view *v)
{
    for (size_t i = 0; i < v->nodes_n; i++) {
        free(v->nodes[i].memory);
    }
    *v = (struct view){.best = NULL};
}

static const char *role_of(const struct view_node *n)
{
    return n->status != NULL ? n->status->self->role : "unreachable";
}

static const char *http_of(const struct view_node *n)
{
    if (n->status != NULL) {
        return n->status->self->http;
    }
    return n->http != NULL ? n->http : "";
}

static void print_nodes(const struct view *v, FILE *to)
{
    static const char *const heads[] = {"NODE",   "ENDPOINT", "ROLE", "TERM",
                                        "COMMIT", "APPLIED",  "HTTP", "NOTE"};
    struct cli_table *t = cli_table_make(heads, (int)countof(heads));
    for (size_t i = 0; i < v->nodes_n; i++) {
        const struct view_node *n = &v->nodes[i];
        if (n->hidden) {
            continue;
        }
        if (n->id != 0) {
            cli_table_add(t, "%u", n->id);
        } else {
            cli_table_add(t, "-");
        }
        cli_table_add(t, "%s", n->address);
        cli_table_add(t, "%s", role_of(n));
        if (n->status == NULL) {
            cli_table_add(t, "-");
            cli_table_add(t, "-");
            cli_table_add(t, "-");
            cli_table_add(t, "%s", http_of(n));
            cli_table_add(t, "%s", n->why);
            continue;
        }
        const Pb__NodeStatus *s = n->status->self;
        cli_table_add(t, "%llu", (unsigned long long)s->term);
        cli_table_add(t, "%llu", (unsigned long long)s->commit);
        cli_table_add(t, "%llu", (unsigned long long)s->applied);
        cli_table_add(t, "%s", s->http);
        cli_table_add(t, "%s%s", s->quarantined ? "quarantined: " : "",
                      s->note);
    }
    cli_table_print(t, to);
    cli_table_free(t);
}

static void print_batons(const Pb__StatusResult *s, FILE *to)
{
    static const char *const heads[] = {"BATON", "HOLDER", "EPOCH", "HELD FOR"};
    struct cli_table *t = cli_table_make(heads, (int)countof(heads));
    for (size_t i = 0; i < s->n_batons; i++) {
        const Pb__HeldBaton *h = s->batons[i];
        cli_table_add(t, "%s", h->scope);
        cli_table_add(t, "%s", h->holder);
        cli_table_add(t, "%llu", (unsigned long long)h->epoch);
        cli_table_add(t, "%s", cli_span(h->since_ms));
    }
    (void)fprintf(to, "\n");
    cli_table_print(t, to);
    cli_table_free(t);
    if (s->batons_more > 0) {
        (void)fprintf(to, "... and %llu more: baton sessions NS\n",
                      (unsigned long long)s->batons_more);
    }
}

void view_print(const struct view *v, FILE *to)
{
    print_nodes(v, to);
    if (v->best == NULL) {
        return;
    }
    const Pb__StatusResult *s = v->best;
    (void)fprintf(to, "\n");
    if (v->leader != 0) {
        (void)fprintf(to, "leader %u", v->leader);
    } else {
        (void)fprintf(to, "no leader");
    }
    (void)fprintf(to, "   sessions %llu   leases %llu   scopes %llu\n",
                  (unsigned long long)s->sessions,
                  (unsigned long long)s->leases, (unsigned long long)s->scopes);
    for (size_t i = 0; i < s->n_alarms; i++) {
        (void)fprintf(to, "ALARM: %s\n", s->alarms[i]);
    }
    if (s->n_batons > 0 || s->batons_more > 0) {
        print_batons(s, to);
    }
}

static void json_node(struct json_writer *w, const struct view_node *n)
{
    json_object_begin(w);
    json_key(w, "id");
    if (n->id != 0) {
        json_u64_string(w, n->id);
    } else {
        json_nothing(w);
    }
    cli_json_text(w, "endpoint", n->address);
    cli_json_text(w, "http", http_of(n));
    cli_json_text(w, "role", role_of(n));
    const Pb__NodeStatus *s = n->status != NULL ? n->status->self : NULL;
    cli_json_id(w, "term", s != NULL ? s->term : 0);
    cli_json_id(w, "commit", s != NULL ? s->commit : 0);
    cli_json_id(w, "applied", s != NULL ? s->applied : 0);
    if (s == NULL) {
        cli_json_text(w, "error", n->why);
        json_object_end(w);
        return;
    }
    cli_json_id(w, "log_first", s->log_first);
    cli_json_id(w, "log_last", s->log_last);
    cli_json_id(w, "stored", s->stored);
    cli_json_id(w, "checkpoint", s->checkpoint);
    cli_json_number(w, "disk_ms", s->disk_ms);
    cli_json_number(w, "uptime_ms", s->uptime_ms);
    cli_json_flag(w, "quarantined", s->quarantined);
    cli_json_text(w, "note", s->note);
    cli_json_text(w, "version", s->version);
    json_object_end(w);
}

static void json_summary(struct json_writer *w, const Pb__StatusResult *s)
{
    cli_json_id(w, "cluster", s->cluster);
    cli_json_number(w, "sessions", s->sessions);
    cli_json_number(w, "leases", s->leases);
    cli_json_number(w, "scopes", s->scopes);
    cli_json_number(w, "groups", s->groups);
    cli_json_number(w, "devices", s->devices);
    cli_json_number(w, "watches", s->watches);
    cli_json_number(w, "connections", s->connections);
    cli_json_id(w, "config", s->config);
    cli_json_id(w, "state_hash", s->state_hash);
    cli_json_id(w, "state_hash_index", s->state_hash_index);
    json_key(w, "alarms");
    json_array_begin(w);
    for (size_t i = 0; i < s->n_alarms; i++) {
        json_cstring(w, s->alarms[i]);
    }
    json_array_end(w);
    json_key(w, "batons");
    json_array_begin(w);
    for (size_t i = 0; i < s->n_batons; i++) {
        json_object_begin(w);
        cli_json_text(w, "scope", s->batons[i]->scope);
        cli_json_text(w, "holder", s->batons[i]->holder);
        cli_json_id(w, "epoch", s->batons[i]->epoch);
        cli_json_number(w, "since_ms", s->batons[i]->since_ms);
        json_object_end(w);
    }
    json_array_end(w);
    cli_json_number(w, "batons_more", s->batons_more);
}

void view_print_json(const struct view *v)
{
    struct json_writer *w = cli_json_begin();
    json_key(w, "nodes");
    json_array_begin(w);
    for (size_t i = 0; i < v->nodes_n; i++) {
        if (!v->nodes[i].hidden) {
            json_node(w, &v->nodes[i]);
        }
    }
    json_array_end(w);
    cli_json_id(w, "leader", v->leader);
    static const Pb__StatusResult none = PB__STATUS_RESULT__INIT;
    json_summary(w, v->best != NULL ? v->best : &none);
    if (view_age(v).kind != CLI_AGE_UNTOLD) {
        cli_json_one_view(w, view_age(v));
    }
    cli_json_end();
}

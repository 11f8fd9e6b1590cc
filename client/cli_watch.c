#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"

#define WATCH_TAG 1

static const char *event_scope(const Pb__Event *e)
{
    static char text[SCOPE_BYTES];
    if (e->namespace_[0] == '\0') {
        return "";
    }
    bool device = !e->group_scope && e->device[0] != '\0';
    (void)snprintf(text, sizeof text, "%s%s%s%s%s", e->namespace_,
                   e->group[0] != '\0' ? "/" : "", e->group, device ? "/" : "",
                   device ? e->device : "");
    return text;
}

static void claims_json(struct json_writer *w, const Pb__Event *e)
{
    json_key(w, "claims");
    json_array_begin(w);
    for (size_t i = 0; i < e->n_claims; i++) {
        json_object_begin(w);
        cli_json_id(w, "session", e->claims[i]->session);
        cli_json_id(w, "epoch", e->claims[i]->epoch);
        cli_json_id(w, "lease", e->claims[i]->lease);
        cli_json_text(w, "relay", e->claims[i]->relay);
        cli_json_number(w, "time_ms", e->claims[i]->time_ms);
        json_object_end(w);
    }
    json_array_end(w);
}

static void event_json(const Pb__Event *e, uint64_t revision)
{
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "revision", revision);
    cli_json_text(w, "event",
                  cli_enum(&pb__event_kind__descriptor, (int)e->kind));
    cli_json_text(w, "scope", event_scope(e));
    cli_json_id(w, "session", e->session);
    cli_json_text(w, "device", e->device);
    cli_json_text(w, "tab", e->tab);
    cli_json_id(w, "epoch", e->epoch);
    cli_json_id(w, "previous_session", e->previous_session);
    cli_json_id(w, "previous_epoch", e->previous_epoch);
    cli_json_id(w, "backup", e->backup);
    cli_json_id(w, "lease", e->lease);
    cli_json_text(w, "reason",
                  cli_enum(&pb__grant_reason__descriptor, (int)e->reason));
    cli_json_text(w, "cause", cli_enum(&pb__cause__descriptor, (int)e->cause));
    cli_json_text(w, "text", e->text);
    cli_json_number(w, "time_ms", e->time_ms);
    cli_json_number(w, "wall_ms", e->wall_ms);
    if (e->deadline_ms != 0) {
        cli_json_number(w, "deadline_ms", e->deadline_ms);
    }
    if (e->n_claims > 0) {
        claims_json(w, e);
    }
    cli_json_end();
}

static void id_text(const char *name, uint64_t id)
{
    if (id != 0) {
        (void)printf("  %s %llu", name, (unsigned long long)id);
    }
}

static void event_text(const Pb__Event *e, uint64_t revision)
{
    (void)printf("%-10llu %-16s %s", (unsigned long long)revision,
                 cli_enum(&pb__event_kind__descriptor, (int)e->kind),
                 event_scope(e));
    if (e->tab[0] != '\0') {
        (void)printf("  %s/%s", e->device, e->tab);
    }
    id_text("session", e->session);
    id_text("epoch", e->epoch);
    id_text("from", e->previous_session);
    id_text("backup", e->backup);
    if (e->session == 0) {
        id_text("lease", e->lease);
    }
    if (e->reason != PB__GRANT_REASON__GRANT_NONE) {
        (void)printf("  (%s)",
                     cli_enum(&pb__grant_reason__descriptor, (int)e->reason));
    }
    if (e->cause != PB__CAUSE__CAUSE_NONE) {
        (void)printf("  (%s)", cli_enum(&pb__cause__descriptor, (int)e->cause));
    }
    if (e->text[0] != '\0') {
        (void)printf("  %s", e->text);
    }
    (void)printf("\n");
}

static void print_event(const struct cli *c, const Pb__Event *e,
                        uint64_t revision)
{
    if (c->json) {
        event_json(e, revision);
    } else {
        event_text(e, revision);
    }
}

/* --- the state's rows -------------------------------------------------------------------------------------------- */

static void print_session(const struct cli *c, const Pb__SessionInfo *s,
                          const struct baton_event *e)
{
    if (!c->json) {
        (void)printf("%-10s %-16s %s  %s/%s  session %llu  %s\n", "state",
                     "session", e->scope, s->device, s->tab,
                     (unsigned long long)s->session, cli_role((int)s->role));
        return;
    }
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "revision", e->revision);
    cli_json_text(w, "event", "session");
    cli_json_text(w, "scope", e->scope);
    cli_json_id(w, "session", s->session);
    cli_json_id(w, "epoch", s->device_epoch);
    cli_json_text(w, "device", s->device);
    cli_json_text(w, "tab", s->tab);
    cli_json_text(w, "role", cli_role((int)s->role));
    cli_json_id(w, "lease", s->lease);
    cli_json_text(w, "state", s->detached ? "detached" : "attached");
    cli_json_end();
}

static void print_scope(const struct cli *c, const Pb__LeaderResult *l,
                        const struct baton_event *e)
{
    if (!c->json) {
        (void)printf("%-10s %-16s %s", "state", "leader", e->scope);
        id_text("session", l->session);
        id_text("epoch", l->epoch);
        id_text("backup", l->backup);
        (void)printf("\n");
        return;
    }
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "revision", e->revision);
    cli_json_text(w, "event", "leader");
    cli_json_text(w, "scope", e->scope);
    cli_json_id(w, "session", l->session);
    cli_json_id(w, "epoch", l->epoch);
    cli_json_id(w, "backup", l->backup);
    cli_json_text(w, "device", l->device);
    cli_json_text(w, "tab", l->tab);
    cli_json_end();
}

static void print_mark(const struct cli *c, const char *what, uint64_t revision)
{
    if (!c->json) {
        (void)printf("%-10llu %s\n", (unsigned long long)revision, what);
        return;
    }
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "revision", revision);
    cli_json_text(w, "event", what);
    cli_json_text(w, "scope", "");
    cli_json_id(w, "session", 0);
    cli_json_id(w, "epoch", 0);
    cli_json_end();
}

/* --- watch ------------------------------------------------------------------------------------------------------- */

/* False: the watch is over. */
static bool take(struct cli *c, const struct baton_event *e, int *out_code)
{
    const ProtobufCMessage *raw = client_polled(c->b);
    switch (e->type) {
    case BATON_WATCH_EVENT:
        print_event(c, (const Pb__Event *)raw, e->revision);
        break;
    case BATON_WATCH_SESSION:
        print_session(c, (const Pb__SessionInfo *)raw, e);
        break;
    case BATON_WATCH_SCOPE:
        print_scope(c, (const Pb__LeaderResult *)raw, e);
        break;
    case BATON_WATCH_SYNCED:
        print_mark(c, "synced", e->revision);
        break;
    case BATON_WATCH_RESET:
        print_mark(c, "reset", e->revision);
        break;
    case BATON_WATCH_FAILED:
        *out_code = cli_fail(c, e->status, e->message);
        return false;
    default:
        break;
    }
    return true;
}

static int follow(struct cli *c)
{
    int code = CLI_DONE;
    for (;;) {
        (void)fflush(stdout);
        struct pollfd fds[] = {
            {.fd = baton_fd(c->b), .events = POLLIN},
            {.fd = cli_signal_fd(), .events = POLLIN},
        };
        (void)poll(fds, countof(fds), -1);
        if (cli_signalled() != 0 || ferror(stdout)) {
            return code;
        }
        struct baton_event e;
        while (baton_poll(c->b, 0, &e)) {
            if (!take(c, &e, &code)) {
                return code;
            }
        }
    }
}

/* Somebody must answer in time, if only to say that it's refused: a watch of its own waits for ever. Without a leader nothing will
 * happen, and the state is what one node knew. */
static int check_reachable(struct cli *c)
{
    Pb__GetStatus get = PB__GET_STATUS__INIT;
    void *memory = NULL;
    int rc = CLI_DONE;
    const Pb__ClientMessage *m = cli_ask(
        c, &get.base, PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT, &memory, &rc);
    if (m != NULL && m->status_result->leader == 0 &&
        m->status_result->self != NULL) {
        const Pb__NodeStatus *self = m->status_result->self;
        cli_one_view(c, cli_age(self->last_contact_ms, self->contact_unknown));
    }
    free(memory);
    return rc;
}

int cli_watch(struct cli *c)
{
    uint64_t from = 0;
    const struct cli_option options[] = {{"--from", CLI_U64, &from},
                                         {NULL, CLI_FLAG, NULL}};
    struct cli_scope scope;
    int rc = cli_take_filter(c, options, &scope);
    if (rc != CLI_DONE) {
        return rc;
    }
    cli_signals();
    rc = cli_connect(c, NULL);
    if (rc == CLI_DONE) {
        rc = check_reachable(c);
    }
    if (rc != CLI_DONE) {
        return rc;
    }
    struct baton_watch w = {.tag = WATCH_TAG,
                            .namespace_name = scope.namespace_name,
                            .group = scope.group,
                            .from = from};
    enum baton_status status = baton_watch(c->b, &w);
    return status == BATON_OK ? follow(c) : cli_fail(c, status, NULL);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static int print_pages(struct cli *c, Pb__GetEvents *op)
{
    int rc = CLI_DONE;
    while (op->from != 0) {
        void *memory = NULL;
        const Pb__ClientMessage *m = cli_ask(
            c, &op->base, PB__CLIENT_MESSAGE__RESULT_EVENTS, &memory, &rc);
        if (m == NULL) {
            return rc;
        }
        const Pb__EventsResult *r = m->events;
        for (size_t i = 0; i < r->n_batches; i++) {
            for (size_t j = 0; j < r->batches[i]->n_events; j++) {
                print_event(c, r->batches[i]->events[j],
                            r->batches[i]->revision);
            }
        }
        op->from = r->next;
        op->seen = m->revision;
        free(memory);
    }
    return rc;
}

int cli_events(struct cli *c)
{
    uint64_t from = 0;
    uint64_t to = 0;
    const struct cli_option options[] = {{"--from", CLI_ID, &from},
                                         {"--to", CLI_ID, &to},
                                         {NULL, CLI_FLAG, NULL}};
    struct cli_scope scope;
    int rc = cli_take_filter(c, options, &scope);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (from == 0) {
        return cli_usage(c, "--from REVISION is missing (from 1)");
    }
    if (to != 0 && to < from) {
        return cli_usage(c, "--to must be from %llu, as --from, not \"%llu\"",
                         (unsigned long long)from, (unsigned long long)to);
    }
    rc = cli_connect(c, NULL);
    if (rc != CLI_DONE) {
        return rc;
    }
    Pb__GetEvents op = PB__GET_EVENTS__INIT;
    op.namespace_ = scope.namespace_name;
    op.group = scope.group;
    op.from = from;
    op.to = to;
    return print_pages(c, &op);
}

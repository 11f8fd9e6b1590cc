#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"

#define CLOSED_MS 500

struct opening {
    const char *group;
    const char *device;
    const char *tab;
    const char *cap;
    bool observer;
    uint32_t ttl_ms;
    struct cli_scope scope;
    struct baton_capability caps[16];
    size_t caps_n;
};

static int take_args(struct cli *c, struct opening *o)
{
    const struct cli_option options[] = {
        {"--group", CLI_TEXT, &o->group},
        {"--device", CLI_NAME, &o->device},
        {"--tab", CLI_NAME, &o->tab},
        {"--cap", CLI_TEXT, &o->cap},
        {"--observer", CLI_FLAG, &o->observer},
        {"--ttl", CLI_TTL, &o->ttl_ms},
        {NULL, CLI_FLAG, NULL},
    };
    const char *args[CLI_POSITIONAL_MAX] = {""};
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (strcmp(args[0], "open") != 0) {
        return cli_usage(
            c, "what to do with a session must be \"open\", not \"%s\"",
            args[0]);
    }
    if (n > 1) {
        return cli_surplus(c, args[1]);
    }
    if (o->group == NULL || o->device == NULL || o->tab == NULL) {
        return cli_usage(c, "%s is missing",
                         o->group == NULL    ? "--group NAMESPACE/GROUP"
                         : o->device == NULL ? "--device NAME"
                                             : "--tab NAME");
    }
    rc = cli_parse_scope(c, o->group, o->device, 2, &o->scope);
    if (rc != CLI_DONE) {
        return rc;
    }
    char error[256];
    if (o->cap != NULL &&
        !cli_capabilities(o->cap, o->caps, &o->caps_n, error, sizeof error)) {
        return cli_usage(c, "%s", error);
    }
    return CLI_DONE;
}

struct line {
    const char *event;
    uint64_t session;
    const char *role;
    const char *scope;
    uint64_t epoch;
    uint64_t revision;
};

static void print_line(const struct cli *c, const struct line *l)
{
    if (c->json) {
        struct json_writer *w = cli_json_begin();
        cli_json_text(w, "event", l->event);
        cli_json_id(w, "session", l->session);
        cli_json_text(w, "role", l->role);
        cli_json_text(w, "scope", l->scope);
        cli_json_id(w, "epoch", l->epoch);
        cli_json_id(w, "revision", l->revision);
        cli_json_end();
        return;
    }
    (void)printf("%-8s session %-8llu", l->event,
                 (unsigned long long)l->session);
    if (l->scope[0] != '\0') {
        (void)printf("  %-10s %s", l->role, l->scope);
    }
    if (l->epoch != 0) {
        (void)printf("  epoch %llu", (unsigned long long)l->epoch);
    }
    /* What time decided here has no place in history. */
    if (l->revision != 0) {
        (void)printf("  revision %llu", (unsigned long long)l->revision);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* The work of this program is to hold the baton: it can stop at once. */
static void yield(struct cli *c, const struct opening *o,
                  const struct baton_event *e)
{
    struct baton_handover h = {.scope = cli_scope_view(&o->scope),
                               .session = e->session,
                               .epoch = e->epoch};
    if (e->group_scope) {
        h.scope.device = NULL;
    }
    static uint64_t tag = 1000;
    struct baton_call call = {.tag = ++tag};
    enum baton_status status = baton_yield(c->b, &call, &h, NULL);
    if (status != BATON_OK) {
        (void)cli_fail(c, status, "the baton could not be handed over");
    }
}

/* False: it's over. */
static bool take_event(struct cli *c, const struct opening *o, uint64_t session,
                       const struct baton_event *e, int *out_code)
{
    struct line l = {.session = e->session,
                     .role = cli_role((int)e->role),
                     .scope = e->scope,
                     .epoch = e->epoch,
                     .revision = e->revision};
    switch (e->type) {
    case BATON_ROLE:
    case BATON_GRANTED:
        l.event = "role";
        break;
    case BATON_OFFERED:
        l.event = "offered";
        break;
    case BATON_LOST:
        l.event = "lost";
        break;
    case BATON_YIELD:
        l.event = "yield";
        break;
    case BATON_SESSION_CLOSED:
    case BATON_SESSION_TAKEN:
        if (e->session != session) {
            return true;
        }
        l.event = "closed";
        l.scope = "";
        l.role = "none";
        l.epoch = 0;
        break;
    case BATON_LEASE_ENDED:
        *out_code = cli_fail(c, BATON_EXPIRED, e->message);
        return false;
    case BATON_DONE:
        if (e->status != BATON_OK) {
            (void)cli_fail(c, e->status, e->message);
        }
        return true;
    default:
        return true;
    }
    print_line(c, &l);
    if (e->type == BATON_YIELD) {
        yield(c, o, e);
    }
    return true;
}

/* Until a signal, or until the lease is gone. */
static int follow(struct cli *c, const struct opening *o, uint64_t session)
{
    for (;;) {
        struct pollfd fds[] = {
            {.fd = baton_fd(c->b), .events = POLLIN},
            {.fd = cli_signal_fd(), .events = POLLIN},
        };
        (void)poll(fds, countof(fds), -1);
        if (cli_signalled() != 0) {
            return CLI_DONE;
        }
        struct baton_event e;
        while (baton_poll(c->b, 0, &e)) {
            int code = CLI_DONE;
            if (!take_event(c, o, session, &e, &code)) {
                return code;
            }
        }
    }
}

/* What it led is lost, and then it's closed: told by the watch, soon after the answer. */
static void await_closed(struct cli *c, const struct opening *o,
                         uint64_t session)
{
    struct baton_event e;
    while (baton_poll(c->b, CLOSED_MS, &e)) {
        int code = CLI_DONE;
        if (!take_event(c, o, session, &e, &code) ||
            (e.type == BATON_SESSION_CLOSED && e.session == session)) {
            return;
        }
    }
    struct line closed = {
        .event = "closed", .session = session, .role = "none", .scope = ""};
    print_line(c, &closed);
}

static int open_and_follow(struct cli *c, const struct opening *o)
{
    struct baton_session_options so = {
        .scope = cli_scope_view(&o->scope),
        .tab = o->tab,
        .capabilities = o->caps,
        .capabilities_n = o->caps_n,
        .observer = o->observer,
    };
    struct baton_reply r = {0};
    enum baton_status status = baton_session_open(c->b, NULL, &so, &r);
    if (status != BATON_OK) {
        int code = cli_fail(c, status, r.message);
        baton_reply_free(&r);
        return code;
    }
    char scope[SCOPE_BYTES];
    (void)snprintf(scope, sizeof scope, "%s/%s/%s", o->scope.namespace_name,
                   o->scope.group, o->scope.device);
    struct line l = {.event = "opened",
                     .session = r.id,
                     .role = o->observer ? "observer" : "candidate",
                     .scope = scope,
                     .revision = r.revision};
    uint64_t session = r.id;
    baton_reply_free(&r);
    print_line(c, &l);
    int code = follow(c, o, session);
    if (code != CLI_DONE) {
        return code;
    }
    /* Closing resigns: the backup has the baton in the same entry. */
    status = baton_session_close(c->b, NULL, session, NULL, 0);
    if (status == BATON_OK) {
        await_closed(c, o, session);
    }
    return status == BATON_OK
               ? CLI_DONE
               : cli_fail(c, status,
                          "the session could not be closed: it expires with "
                          "its lease");
}

int cli_session(struct cli *c)
{
    struct opening o = {.ttl_ms = 10000};
    int rc = take_args(c, &o);
    if (rc != CLI_DONE) {
        return rc;
    }
    cli_signals();
    struct baton_options options = {.ttl_ms = o.ttl_ms,
                                    .label = "baton session"};
    rc = cli_connect(c, &options);
    return rc == CLI_DONE ? open_and_follow(c, &o) : rc;
}

/* elect: a command that runs only while it holds the baton.
 *
 *    campaign --granted--> COMMAND runs --exits--> resign, exit with its code
 *                             |  '--asked to yield--> SIGTERM .. SIGKILL --gone--> yield, exit
 *                             '--right to lead is ending--> SIGTERM .. SIGKILL before it ends
 *
 * A guard of its own (cli_guard.h) starts and ends COMMAND. It's told again and again until when the right to lead lasts, so that it holds
 * also if this program is stopped, stuck or killed. If it's the guard that is stuck, the lease's thread kills it, in on_lost. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"
#include "client/cli_guard.h"

struct election {
    struct cli *c;
    struct cli_scope scope; /* of the group */
    char device[NAME_BYTES_MAX + 1];
    char tab[NAME_BYTES_MAX + 1];
    uint32_t ttl_ms;
    uint32_t warn_ms; /* SIGTERM so long before the right to lead ends */
    struct guard guard;
    uint64_t session;
    bool running;      /* COMMAND */
    bool yielding;     /* a successor waits */
    bool yield_device; /* for the device's baton, not the group's */
    uint64_t yield_epoch;
    bool over; /* its exit code is known */
    int code;
};

/* For on_lost, on the library's thread: the guard's pid while COMMAND runs. */
static _Atomic pid_t running;
static struct baton *client;

static void on_lost(void *arg, uint64_t session, const char *scope,
                    uint64_t epoch)
{
    (void)arg;
    (void)session;
    (void)scope;
    (void)epoch;
    pid_t pid = atomic_load(&running);
    /* The lease ran out: others may lead from now on. (A demotion leaves time to stop.) A guard that still has something to do is late. */
    if (pid > 0 && client != NULL && baton_right_ms(client) == 0) {
        (void)kill(pid, SIGKILL);
    }
}

/* A quarter of the warning is for SIGKILL to take effect. */
static struct guard_until right_until(const struct election *e)
{
    uint64_t end_ms = client_now_ms() + baton_right_ms(e->c->b);
    return (struct guard_until){.term_ms = end_ms - e->warn_ms,
                                .kill_ms = end_ms - e->warn_ms / 4};
}

static void start(struct election *e, uint64_t epoch)
{
    e->running = true;
    atomic_store(&running, e->guard.pid);
    guard_start(&e->guard, epoch, right_until(e));
}

/* SIGTERM now, SIGKILL within `within_ms`. */
static void stop(struct election *e, uint64_t within_ms)
{
    if (e->running) {
        guard_stop(&e->guard, client_now_ms() + within_ms);
    }
}

/* The group's baton, or the device's, which has the group's in its train. */
static void hand_over(struct election *e)
{
    struct baton_handover h = {.scope = {e->scope.namespace_name,
                                         e->scope.group,
                                         e->yield_device ? e->device : NULL},
                               .session = e->session,
                               .epoch = e->yield_epoch};
    struct baton_reply r = {0};
    enum baton_status status = baton_yield(e->c->b, NULL, &h, &r);
    if (status != BATON_OK) {
        (void)cli_fail(e->c, status, r.message);
    }
    baton_reply_free(&r);
    e->yielding = false;
}

static void look_at_guard(struct election *e)
{
    int code = 0;
    int error = 0;
    if (e->over || !guard_report(&e->guard, &code, &error)) {
        return;
    }
    atomic_store(&running, 0);
    e->running = false;
    e->over = true;
    e->code =
        error == 0 ? code : cli_fail(e->c, BATON_UNAVAILABLE, strerror(error));
    if (e->yielding) {
        hand_over(e);
    }
}

static void take_event(struct election *e, const struct baton_event *ev)
{
    bool ours = ev->session == e->session && ev->group_scope;
    switch (ev->type) {
    case BATON_GRANTED:
        if (ours && !e->running && !e->over) {
            start(e, ev->epoch);
        }
        break;
    case BATON_YIELD:
        if (ev->session == e->session) {
            e->yielding = true;
            e->yield_device = !ev->group_scope;
            e->yield_epoch = ev->epoch;
            if (!e->running) {
                hand_over(e);
            }
            stop(e, ev->deadline_ms * 3 / 4);
        }
        break;
    case BATON_ENDING:
        /* A quarter of what's left is for the kill to take effect. */
        stop(e, ev->deadline_ms * 3 / 4);
        break;
    case BATON_LOST:
        if (ours) {
            e->yielding = false;
            /* Somebody else may lead already: there is no time left to be polite in. */
            stop(e, 0);
        }
        break;
    case BATON_LEASE_ENDED:
        stop(e, 0);
        e->session = 0;
        break;
    default:
        break;
    }
}

/* CLI_DONE: a session is there. */
static int campaign(struct election *e)
{
    struct baton_session_options o = {
        .scope = {e->scope.namespace_name, e->scope.group, e->device},
        .tab = e->tab};
    struct baton_reply r = {0};
    enum baton_status status = baton_session_open(e->c->b, NULL, &o, &r);
    int rc = CLI_DONE;
    if (status == BATON_OK) {
        e->session = r.id;
    } else {
        rc = cli_fail(e->c, status, r.message);
    }
    baton_reply_free(&r);
    return rc;
}

/* Ours goes to the command; with none, the campaign is over. */
static void pass_signal(struct election *e, int signo)
{
    if (e->running) {
        guard_signal(&e->guard, signo);
        return;
    }
    e->over = true;
    e->code = 128 + signo;
}

static int run(struct election *e)
{
    while (!e->over) {
        if (e->session == 0 && !e->running) {
            int rc = campaign(e);
            if (rc != CLI_DONE) {
                return rc;
            }
        }
        struct pollfd fds[] = {
            {.fd = baton_fd(e->c->b), .events = POLLIN},
            {.fd = cli_signal_fd(), .events = POLLIN},
            {.fd = e->guard.fd, .events = POLLIN},
        };
        (void)poll(fds, countof(fds), e->running ? (int)e->ttl_ms / 20 : -1);
        if (fds[1].revents != 0) {
            pass_signal(e, cli_signalled());
        }
        look_at_guard(e);
        struct baton_event ev;
        while (!e->over && baton_poll(e->c->b, 0, &ev)) {
            take_event(e, &ev);
        }
        if (e->running) {
            guard_extend(&e->guard, right_until(e));
        }
    }
    return e->code;
}

static int take_args(struct cli *c, struct election *e, char ***out_command)
{
    const char *tab = NULL;
    const struct cli_option options[] = {{"--tab", CLI_NAME, &tab},
                                         {"--ttl", CLI_TTL, &e->ttl_ms},
                                         {NULL, CLI_FLAG, NULL}};
    const char *args[CLI_POSITIONAL_MAX];
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    int at = 0;
    while (at < c->argc && strcmp(c->argv[at], "--") != 0) {
        at++;
    }
    if (n == 0) {
        return cli_usage(c, "NAMESPACE/GROUP is missing");
    }
    if (n > 1) {
        return cli_usage(c,
                         "too many arguments, from \"%s\" on: COMMAND goes "
                         "behind --",
                         args[1]);
    }
    if (at + 1 >= c->argc) {
        return cli_usage(c, "-- COMMAND is missing");
    }
    *out_command = &c->argv[at + 1];
    if (gethostname(e->device, sizeof e->device - 1) != 0 ||
        e->device[0] == '\0') {
        (void)snprintf(e->device, sizeof e->device, "localhost");
    }
    if (tab != NULL) {
        (void)snprintf(e->tab, sizeof e->tab, "%s", tab);
    } else {
        (void)snprintf(e->tab, sizeof e->tab, "elect-%d", (int)getpid());
    }
    return cli_parse_group(c, args[0], 2, &e->scope);
}

static int elect(struct election *e)
{
    cli_signals();
    struct baton_options options = {.ttl_ms = e->ttl_ms,
                                    .label = "baton elect",
                                    .warn_ms = e->warn_ms,
                                    .on_lost = on_lost};
    int rc = cli_connect(e->c, &options);
    if (rc != CLI_DONE) {
        return rc;
    }
    client = e->c->b;
    return run(e);
}

int cli_elect(struct cli *c)
{
    struct election e = {.c = c, .ttl_ms = 10000};
    char scope[SCOPE_BYTES];
    char **command = NULL;
    int rc = take_args(c, &e, &command);
    if (rc != CLI_DONE) {
        return rc;
    }
    ASSERT(command != NULL);
    e.warn_ms = e.ttl_ms / 3;
    (void)snprintf(scope, sizeof scope, "%s/%s", e.scope.namespace_name,
                   e.scope.group);
    if (!guard_open(&e.guard, scope, command)) {
        return cli_fail(c, BATON_UNAVAILABLE, strerror(errno));
    }
    rc = elect(&e);
    guard_close(&e.guard);
    return rc;
}

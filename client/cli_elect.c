/* elect: a command that runs only while it holds the baton.
 *
 *    campaign --granted--> COMMAND runs --exits--> resign, exit with its code
 *                             |  '--asked to yield--> SIGTERM .. SIGKILL --gone--> yield, exit
 *                             '--right to lead is ending--> SIGTERM .. SIGKILL before it ends
 *
 * The lease's thread kills it too, in on_lost: also if this program's main thread is stuck. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli.h"

struct election {
    struct cli *c;
    struct cli_scope scope; /* of the group */
    char device[NAME_BYTES_MAX + 1];
    char tab[NAME_BYTES_MAX + 1];
    uint32_t ttl_ms;
    uint64_t session;
    uint64_t epoch; /* of the group's baton, while we hold it */
    pid_t child;    /* 0: not running */
    int child_fd;
    bool asked;        /* it got SIGTERM from us */
    uint64_t kill_ms;  /* SIGKILL then; 0: not planned */
    bool yielding;     /* a successor waits */
    bool yield_device; /* for the device's baton, not the group's */
    uint64_t yield_epoch;
    bool over; /* its exit code is known */
    int code;
};

/* For on_lost, on the library's thread. */
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
    /* The lease ran out: others may lead from now on. (A demotion leaves time to stop.) */
    if (pid > 0 && client != NULL && baton_right_ms(client) == 0) {
        (void)kill(-pid, SIGKILL);
    }
}

static void child_exec(const struct election *e, char **command)
{
    ASSERT(command != NULL && command[0] != NULL);
    char epoch[32];
    char scope[SCOPE_BYTES];
    (void)snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)e->epoch);
    (void)snprintf(scope, sizeof scope, "%s/%s", e->scope.namespace_name,
                   e->scope.group);
    (void)setpgid(0, 0);
    /* If we're killed, nobody is left to stop it in time. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setenv("BATON_EPOCH", epoch, 1);
    (void)setenv("BATON_SCOPE", scope, 1);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvp(command[0], command);
    (void)fprintf(stderr, "baton: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static void start(struct election *e, char **command)
{
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(e, command);
    }
    if (pid < 0) {
        e->code = cli_fail(e->c, BATON_UNAVAILABLE, strerror(errno));
        e->over = true;
        return;
    }
    /* Both do it: whoever is first. */
    (void)setpgid(pid, pid);
    e->child = pid;
    e->child_fd = pidfd_open(pid, 0);
    atomic_store(&running, pid);
    if (baton_right_ms(e->c->b) == 0) {
        (void)kill(-pid, SIGKILL);
    }
}

/* SIGTERM now, SIGKILL within `within_ms`. */
static void stop(struct election *e, uint64_t within_ms)
{
    if (e->child == 0) {
        return;
    }
    if (!e->asked) {
        (void)kill(-e->child, SIGTERM);
        e->asked = true;
    }
    uint64_t at = client_now_ms() + within_ms;
    e->kill_ms = e->kill_ms == 0 ? at : min_u64(e->kill_ms, at);
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

static void child_gone(struct election *e)
{
    int state = 0;
    if (e->child == 0 || waitpid(e->child, &state, WNOHANG) != e->child) {
        return;
    }
    atomic_store(&running, 0);
    /* What it left behind in its group must not go on either. */
    (void)kill(-e->child, SIGKILL);
    (void)close(e->child_fd);
    e->child = 0;
    e->over = true;
    e->code = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
    if (e->yielding) {
        hand_over(e);
    }
}

static void take_event(struct election *e, const struct baton_event *ev,
                       char **command)
{
    bool ours = ev->session == e->session && ev->group_scope;
    switch (ev->type) {
    case BATON_GRANTED:
        if (ours && e->child == 0 && !e->over) {
            e->epoch = ev->epoch;
            start(e, command);
        }
        break;
    case BATON_YIELD:
        if (ev->session == e->session) {
            e->yielding = true;
            e->yield_device = !ev->group_scope;
            e->yield_epoch = ev->epoch;
            if (e->child == 0) {
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

static int wait_ms(const struct election *e)
{
    if (e->kill_ms == 0 || e->child == 0) {
        return -1;
    }
    uint64_t now_ms = client_now_ms();
    return e->kill_ms > now_ms ? (int)(e->kill_ms - now_ms) : 0;
}

/* Ours goes to the command; with none, the campaign is over. */
static void pass_signal(struct election *e, int signo)
{
    if (e->child != 0) {
        (void)kill(-e->child, signo);
        return;
    }
    e->over = true;
    e->code = 128 + signo;
}

static int run(struct election *e, char **command)
{
    while (!e->over) {
        if (e->session == 0 && e->child == 0) {
            int rc = campaign(e);
            if (rc != CLI_DONE) {
                return rc;
            }
        }
        struct pollfd fds[] = {
            {.fd = baton_fd(e->c->b), .events = POLLIN},
            {.fd = cli_signal_fd(), .events = POLLIN},
            {.fd = e->child != 0 ? e->child_fd : -1, .events = POLLIN},
        };
        (void)poll(fds, countof(fds), wait_ms(e));
        if (fds[1].revents != 0) {
            pass_signal(e, cli_signalled());
        }
        child_gone(e);
        struct baton_event ev;
        while (!e->over && baton_poll(e->c->b, 0, &ev)) {
            take_event(e, &ev, command);
        }
        if (e->child != 0 && e->kill_ms != 0 && client_now_ms() >= e->kill_ms) {
            (void)kill(-e->child, SIGKILL);
            e->kill_ms = 0;
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

int cli_elect(struct cli *c)
{
    struct election e = {.c = c, .ttl_ms = 10000, .child_fd = -1};
    char **command = NULL;
    int rc = take_args(c, &e, &command);
    if (rc != CLI_DONE) {
        return rc;
    }
    ASSERT(command != NULL);
    cli_signals();
    struct baton_options options = {.ttl_ms = e.ttl_ms,
                                    .label = "baton elect",
                                    .warn_ms = e.ttl_ms / 3,
                                    .on_lost = on_lost};
    rc = cli_connect(c, &options);
    if (rc != CLI_DONE) {
        return rc;
    }
    client = c->b;
    return run(&e, command);
}

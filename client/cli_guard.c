#include "client/cli_guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"

/* Between two looks at what is still to be killed. */
#define SWEEP_MS 10

enum order_kind {
    ORDER_START = 1,
    ORDER_EXTEND,
    ORDER_STOP,
    ORDER_SIGNAL
};

struct order {
    enum order_kind kind;
    int signo;
    uint64_t epoch;
    struct guard_until until;
};

struct report {
    int code;
    int error;
};

/* The guard's own. */
struct ward {
    int fd;
    int timer_fd;
    const char *scope;
    char **command;
    pid_t child; /* 0: not running */
    bool asked;  /* it got SIGTERM from us */
    struct guard_until until;
    uint64_t stop_ms; /* SIGKILL by then; 0: nobody said so */
};

/* --- all that descends from us ------------------------------------------------------------------------------------- */

struct process {
    pid_t pid;
    pid_t parent;
};

struct processes {
    struct process *all;
    size_t n;
    size_t max;
};

/* "PID (NAME) STATE PARENT ...": the name may hold anything. False: it's gone. */
static bool read_parent(const char *pid, pid_t *out)
{
    char path[64];
    char text[512];
    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *name_end = strrchr(text, ')');
    if (name_end == NULL || strlen(name_end) < 5) {
        return false;
    }
    *out = (pid_t)strtol(name_end + 4, NULL, 10);
    return true;
}

static void list_processes(struct processes *p)
{
    p->n = 0;
    DIR *dir = opendir("/proc");
    if (dir == NULL) {
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        pid_t parent = 0;
        if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
            !read_parent(e->d_name, &parent)) {
            continue;
        }
        if (p->n == p->max) {
            p->max = p->max == 0 ? 512 : p->max * 2;
            p->all = realloc(p->all, p->max * sizeof *p->all);
            ASSERT(p->all != NULL);
        }
        p->all[p->n++] = (struct process){
            .pid = (pid_t)strtol(e->d_name, NULL, 10), .parent = parent};
    }
    (void)closedir(dir);
}

/* Looked at again behind a pidfd: the number may be a stranger's by now. Who has another parent by now is found in the next round. */
static void kill_process(const struct process *p)
{
    char pid[16];
    pid_t parent = 0;
    int fd = pidfd_open(p->pid, 0);
    (void)snprintf(pid, sizeof pid, "%d", (int)p->pid);
    if (fd >= 0 && read_parent(pid, &parent) && parent == p->parent) {
        (void)pidfd_send_signal(fd, SIGKILL, NULL, 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void kill_below(const struct processes *p, pid_t root, int depth)
{
    for (size_t i = 0; i < p->n && depth < 64; i++) {
        if (p->all[i].parent == root) {
            kill_process(&p->all[i]);
            kill_below(p, p->all[i].pid, depth + 1);
        }
    }
}

/* Kills and waits until there's nothing left. Who has lost its parent is ours: so each round gets further down, and who is about to be killed
 * can't fork any more. */
static void sweep(void)
{
    struct processes p = {NULL, 0, 0};
    for (;;) {
        list_processes(&p);
        kill_below(&p, getpid(), 0);
        pid_t reaped = 0;
        do {
            reaped = waitpid(-1, NULL, WNOHANG);
        } while (reaped > 0);
        if (reaped < 0 && errno == ECHILD) {
            break;
        }
        (void)poll(NULL, 0, SWEEP_MS);
    }
    free(p.all);
}

/* --- the guard ----------------------------------------------------------------------------------------------------- */

static _Noreturn void child_exec(const struct ward *w, uint64_t epoch,
                                 pid_t guard)
{
    ASSERT(w->command != NULL && w->command[0] != NULL);
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)epoch);
    (void)setpgid(0, 0);
    /* If somebody kills the guard too, at least COMMAND itself goes with it. */
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guard) {
        _exit(128 + SIGKILL);
    }
    (void)setenv("BATON_EPOCH", text, 1);
    (void)setenv("BATON_SCOPE", w->scope, 1);
    (void)signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execvp(w->command[0], w->command);
    int error = errno;
    (void)fprintf(stderr, "baton: %s: %s\n", w->command[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

static void report(const struct ward *w, int code, int error)
{
    struct report r = {.code = code, .error = error};
    (void)send(w->fd, &r, sizeof r, MSG_NOSIGNAL);
}

static void start(struct ward *w, uint64_t epoch)
{
    pid_t guard = getpid();
    if (client_now_ms() >= w->until.kill_ms) {
        report(w, 128 + SIGKILL, 0); /* it has lost the baton already */
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_exec(w, epoch, guard);
    }
    if (pid < 0) {
        report(w, 0, errno);
        return;
    }
    /* Both do it: whoever is first. */
    (void)setpgid(pid, pid);
    w->child = pid;
}

static void ask_to_end(struct ward *w)
{
    if (w->child != 0 && !w->asked) {
        (void)kill(-w->child, SIGTERM);
        w->asked = true;
    }
}

static void obey(struct ward *w, const struct order *o)
{
    switch (o->kind) {
    case ORDER_START:
        w->until = o->until;
        start(w, o->epoch);
        break;
    case ORDER_EXTEND:
        w->until = o->until;
        break;
    case ORDER_STOP:
        ask_to_end(w);
        w->stop_ms = w->stop_ms == 0 ? o->until.kill_ms
                                     : min_u64(w->stop_ms, o->until.kill_ms);
        break;
    case ORDER_SIGNAL:
        if (w->child != 0) {
            (void)kill(-w->child, o->signo);
        }
        break;
    }
}

/* False: elect is gone. */
static bool take_orders(struct ward *w)
{
    for (;;) {
        struct order o;
        ssize_t n = read(w->fd, &o, sizeof o);
        if (n == (ssize_t)sizeof o) {
            obey(w, &o);
        } else {
            return n < 0 && (errno == EAGAIN || errno == EINTR);
        }
    }
}

/* Orphans that came to us, and COMMAND: when that one has ended, so does all that it left behind. */
static void reap(struct ward *w)
{
    siginfo_t info = {0};
    while (w->child != 0 &&
           waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0) {
        int state = 0;
        pid_t pid = info.si_pid;
        if (pid == w->child) {
            /* Not waited for yet, so the group's number is still its own. */
            (void)kill(-pid, SIGKILL);
        }
        (void)waitpid(pid, &state, 0);
        if (pid == w->child) {
            sweep();
            w->child = 0;
            report(w,
                   WIFSIGNALED(state) ? 128 + WTERMSIG(state)
                                      : WEXITSTATUS(state),
                   0);
        }
        info.si_pid = 0;
    }
}

/* Everything at once, without waiting: reap() sees to the rest. */
static void kill_all(struct ward *w)
{
    struct processes p = {NULL, 0, 0};
    (void)kill(-w->child, SIGKILL);
    list_processes(&p);
    kill_below(&p, getpid(), 0);
    free(p.all);
}

static void look_at_clock(struct ward *w)
{
    uint64_t now_ms = client_now_ms();
    uint64_t kill_ms = w->stop_ms == 0 ? w->until.kill_ms
                                       : min_u64(w->stop_ms, w->until.kill_ms);
    if (w->child == 0) {
        return;
    }
    if (now_ms >= w->until.term_ms) {
        ask_to_end(w);
    }
    if (now_ms >= kill_ms) {
        kill_all(w);
        kill_ms = now_ms + SWEEP_MS; /* what was born meanwhile */
    }
    uint64_t at_ms = w->asked ? kill_ms : min_u64(kill_ms, w->until.term_ms);
    /* On that clock, which goes on while the machine sleeps. */
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(at_ms / 1000),
                     .tv_nsec = (long)(at_ms % 1000) * 1000000}};
    (void)timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static _Noreturn void guard_run(struct ward *w)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_NAME, "elect-guard"); /* `killall baton` isn't for it */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t children;
    (void)sigemptyset(&children);
    (void)sigaddset(&children, SIGCHLD);
    int child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    w->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    ASSERT(child_fd >= 0 && w->timer_fd >= 0);
    bool there = true;
    while (there) {
        struct pollfd fds[] = {{.fd = w->fd, .events = POLLIN},
                               {.fd = child_fd, .events = POLLIN},
                               {.fd = w->timer_fd, .events = POLLIN}};
        (void)poll(fds, countof(fds), -1);
        struct signalfd_siginfo info;
        uint64_t times = 0;
        while (read(child_fd, &info, sizeof info) > 0) {
        }
        (void)!read(w->timer_fd, &times, sizeof times);
        there = take_orders(w);
        reap(w);
        look_at_clock(w);
    }
    if (w->child != 0) {
        (void)kill(-w->child, SIGKILL);
    }
    sweep();
    _exit(0);
}

/* --- elect's side -------------------------------------------------------------------------------------------------- */

bool guard_open(struct guard *g, const char *scope, char **command)
{
    int fds[2];
    *g = (struct guard){.fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                   fds) != 0) {
        return false;
    }
    siginfo_t info;
    bool alone = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 &&
                 errno == ECHILD;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        struct ward w = {.fd = fds[1], .scope = scope, .command = command};
        guard_run(&w);
    }
    int error = errno;
    (void)close(fds[1]);
    if (pid < 0) {
        (void)close(fds[0]);
        errno = error;
        return false;
    }
    /* If the guard is killed, what it guarded comes to us. Not if we were given children by whoever ran in this process before: theirs
     * couldn't be told from COMMAND's. */
    if (alone) {
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    *g = (struct guard){.pid = pid, .fd = fds[0], .alone = alone};
    return true;
}

/* A guard that doesn't take its orders can't be waited for: it knows until when COMMAND may run. */
static void tell(const struct guard *g, const struct order *o)
{
    (void)send(g->fd, o, sizeof *o, MSG_NOSIGNAL);
}

void guard_start(const struct guard *g, uint64_t epoch, struct guard_until u)
{
    const struct order o = {.kind = ORDER_START, .epoch = epoch, .until = u};
    tell(g, &o);
}

void guard_extend(const struct guard *g, struct guard_until u)
{
    const struct order o = {.kind = ORDER_EXTEND, .until = u};
    tell(g, &o);
}

void guard_stop(const struct guard *g, uint64_t kill_ms)
{
    const struct order o = {.kind = ORDER_STOP, .until = {.kill_ms = kill_ms}};
    tell(g, &o);
}

void guard_signal(const struct guard *g, int signo)
{
    const struct order o = {.kind = ORDER_SIGNAL, .signo = signo};
    tell(g, &o);
}

bool guard_report(struct guard *g, int *out_code, int *out_errno)
{
    struct report r;
    ssize_t n = read(g->fd, &r, sizeof r);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n != (ssize_t)sizeof r) {
        guard_close(g);
        r = (struct report){.code = 128 + SIGKILL};
    }
    *out_code = r.code;
    *out_errno = r.error;
    return true;
}

void guard_close(struct guard *g)
{
    if (g->pid == 0) {
        return;
    }
    /* Its end of the socket tells it; one that was killed has left us the rest. */
    bool alone = g->alone;
    (void)close(g->fd);
    (void)kill(g->pid, SIGCONT);
    (void)waitpid(g->pid, NULL, 0);
    *g = (struct guard){.fd = -1};
    if (alone) {
        sweep();
    }
}

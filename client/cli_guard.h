/* cli_guard.h - a process of elect's own, between it and COMMAND, which sees to it that nothing of COMMAND outlives the right to lead.
 *
 *    elect --orders--> guard --fork--> COMMAND --fork--> what it starts
 *      '<---reports------'  '--SIGKILL--^------------------^
 *
 * The guard is forked before elect has threads and knows neither network nor lease: elect tells it until when COMMAND may run. It ends COMMAND
 * then, and when elect is gone (the end of their socket), whatever ended it. It's the reaper of all that COMMAND starts
 * (PR_SET_CHILD_SUBREAPER), so it finds what has a group or session of its own, too. It has a process group of its own and takes no signal,
 * so that what is sent to elect's group doesn't hit it. If the guard is killed, the same falls to elect. */
#ifndef CLIENT_CLI_GUARD_H
#define CLIENT_CLI_GUARD_H

#include <sys/types.h>

#include "proto/base.h"

struct guard {
    pid_t pid;  /* 0: there is none */
    int fd;     /* readable: guard_report() has something */
    bool alone; /* it's our only child */
};

/* By client_now_ms(). */
struct guard_until {
    uint64_t term_ms; /* SIGTERM */
    uint64_t kill_ms; /* SIGKILL, for all there is */
};

/* Before any thread. `scope` and `command` are COMMAND's, for guard_start(). False, and errno: it can't be done. */
MUST_USE bool guard_open(struct guard *g, const char *scope, char **command);
/* Starts COMMAND: once. */
void guard_start(const struct guard *g, uint64_t epoch, struct guard_until u);
/* COMMAND may run until then, instead of what was said before. */
void guard_extend(const struct guard *g, struct guard_until u);
/* SIGTERM now, and SIGKILL by kill_ms, whatever guard_extend() says. */
void guard_stop(const struct guard *g, uint64_t kill_ms);
/* To COMMAND's process group. */
void guard_signal(const struct guard *g, int signo);
/* True: COMMAND has ended, and all that it started. Its exit code, 128 + signal; or 0 and an errno: it couldn't be started. */
MUST_USE bool guard_report(struct guard *g, int *out_code, int *out_errno);
/* Ends the guard, and COMMAND if it runs. Accepts one without a process. */
void guard_close(struct guard *g);

#endif

#include "client/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define OLD_HISTORY_MS 2000u

static int signal_fd = -1;
static int signal_seen;

int cli_connect(struct cli *c, const struct baton_options *extra)
{
    struct baton_options options = {0};
    if (extra != NULL) {
        options = *extra;
    }
    char error[256];
    struct route route;
    if (c->endpoints != NULL && route_init(&route, c->endpoints, "--endpoints",
                                           error, sizeof error) != 0) {
        return cli_usage(c, "%s", error);
    }
    if ((c->tls_ca == NULL) != (c->tls_cert_key == NULL)) {
        return cli_usage(c,
                         "--tls-ca and --tls-cert-key (or BATON_TLS_CA and "
                         "BATON_TLS_CERT_KEY) go together: %s is missing",
                         c->tls_ca == NULL ? "--tls-ca" : "--tls-cert-key");
    }
    options.endpoints = c->endpoints;
    options.timeout_ms = c->timeout_ms;
    options.tls_ca_file = c->tls_ca;
    options.tls_cert_key_file = c->tls_cert_key;
    enum baton_status status = baton_open(&options, &c->b, error, sizeof error);
    if (status == BATON_INVALID) {
        return cli_usage(c, "%s", error);
    }
    return status == BATON_OK ? CLI_DONE : cli_fail(c, status, error);
}

Pb__Consistency cli_consistency(bool stale)
{
    return stale ? PB__CONSISTENCY__STALE : PB__CONSISTENCY__LINEARIZABLE;
}

/* Of an answer that is one node's view. */
static struct cli_age age_of(const Pb__ClientMessage *m)
{
    switch (m->result_case) {
    case PB__CLIENT_MESSAGE__RESULT_LEADER_RESULT:
        return cli_age(m->leader_result->age_ms, m->leader_result->age_unknown);
    case PB__CLIENT_MESSAGE__RESULT_SESSIONS:
        return cli_age(m->sessions->age_ms, m->sessions->age_unknown);
    case PB__CLIENT_MESSAGE__RESULT_EVENTS:
        return cli_age(m->events->age_ms, m->events->age_unknown);
    default:
        return (struct cli_age){.kind = CLI_AGE_UNTOLD};
    }
}

/* History is what was decided, whoever tells it: it's worth a word only if the node hasn't heard of anything new for long. */
static bool is_one_view(const Pb__ClientRequest *request, const struct ask *ask,
                        const Pb__ClientMessage *m)
{
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_EVENTS) {
        return m->events->age_ms >= OLD_HISTORY_MS || m->events->age_unknown;
    }
    return ask->place == PLACE_ANY &&
           request->op_case != PB__CLIENT_REQUEST__OP_GET_STATUS;
}

Pb__ClientMessage *cli_ask(struct cli *c, ProtobufCMessage *op,
                           Pb__ClientMessage__ResultCase want,
                           void **out_memory, int *out_exit)
{
    Pb__ClientRequest request = request_of(op);
    struct ask ask = ask_of(&request);
    struct answer answer;
    enum baton_status status = client_ask(c->b, &ask, &answer);
    Pb__ClientMessage *m = answer_decode(&answer, out_memory);
    bool one_view = m != NULL && is_one_view(&request, &ask, m);
    *out_exit = CLI_DONE;
    if (status == BATON_NOT_FOUND && one_view) {
        *out_exit = cli_fail_one_view(c, status, answer.message, age_of(m));
    } else if (status != BATON_OK) {
        *out_exit = cli_fail(c, status, answer.message);
    } else if (m == NULL || m->result_case != want) {
        *out_exit =
            cli_fail(c, BATON_UNSUPPORTED, "the node gave another answer");
    } else if (one_view && !c->one_view_told) {
        cli_one_view(c, age_of(m));
        c->one_view_told = true;
    }
    answer_free(&answer);
    if (*out_exit != CLI_DONE) {
        free(*out_memory);
        *out_memory = NULL;
        return NULL;
    }
    return m;
}

void cli_signals(void)
{
    if (signal_fd >= 0) {
        return;
    }
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    ASSERT(signal_fd >= 0);
}

int cli_signal_fd(void)
{
    return signal_fd;
}

int cli_signalled(void)
{
    struct signalfd_siginfo info;
    if (signal_fd >= 0 &&
        read(signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        signal_seen = (int)info.ssi_signo;
    }
    return signal_seen;
}

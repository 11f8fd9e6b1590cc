/* baton - the command line: one verb a run. See cli_help.c for what there is. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli.h"

int main(int argc, char **argv)
{
    struct cli c = {.timeout_ms = 5000,
                    .tls_ca = getenv("BATON_TLS_CA"),
                    .tls_cert_key = getenv("BATON_TLS_CERT_KEY")};
    bool help = false;
    bool version = false;
    /* A reader that went away is an error of write(), not the end of a process that holds batons. */
    (void)signal(SIGPIPE, SIG_IGN);
    int rc = cli_parse_globals(&c, &argc, argv, &help, &version);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (version) {
        (void)printf("baton %s\n", BATON_VERSION);
        return CLI_DONE;
    }
    if (argc < 2) {
        return help ? cli_help(NULL) : cli_usage(&c, "a verb is missing");
    }
    if (strcmp(argv[1], "help") == 0) {
        return cli_help(argc > 2 ? argv[2] : NULL);
    }
    c.verb = cli_find_verb(argv[1]);
    if (c.verb == NULL) {
        return cli_usage(&c, "there is no verb \"%s\"", argv[1]);
    }
    if (help) {
        return cli_help(argv[1]);
    }
    c.argc = argc - 2;
    c.argv = argv + 2;
    rc = c.verb->run(&c);
    /* Without a majority the lease can't be closed: it expires. */
    uint32_t patience_ms = c.timeout_ms < 2000 ? c.timeout_ms : 2000;
    (void)baton_close(c.b, BATON_LEAVE_CLOSE, patience_ms);
    if (fflush(stdout) != 0 && rc == CLI_DONE) {
        rc = CLI_REFUSED;
    }
    return rc;
}

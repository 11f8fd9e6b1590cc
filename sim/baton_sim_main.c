/* baton-sim: a cluster, its clients, and all that can go wrong with them, out of one number. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/report.h"

enum {
    EXIT_PASS = 0,
    EXIT_UNSAFE = 1,
    EXIT_NOT_LIVE = 2,
    EXIT_VACUOUS = 3,
    EXIT_BAD_USE = 4,
    EXIT_NOT_DETERMINISTIC = 5,
};

static const char usage[] =
    "usage: baton-sim swarm [--seeds A..B] [--seconds N] [--jobs J] [--json]\n"
    "       baton-sim replay SEED [--log] [--json]\n"
    "\n"
    "swarm runs a seed after the other: each draws a cluster, its load and "
    "what goes\n"
    "wrong, and every invariant is checked. replay runs one of them once "
    "more;\n"
    "--log prints what the nodes say. Exit: 0 pass, 1 a safety rule was "
    "broken, 2 a\n"
    "liveness rule, 3 too little happened to say anything, 4 wrong use, 5 a "
    "seed\n"
    "didn't come to the same twice.\n";

static int bad_use(const char *format, const char *what)
{
    (void)fprintf(stderr, "baton-sim: ");
    (void)fprintf(stderr, format, what);
    (void)fprintf(stderr, "\n%s", usage);
    return EXIT_BAD_USE;
}

/* Digits, up to `end`, which is what must follow. */
static bool take_number(const char *text, const char *end, uint64_t *out,
                        const char **out_rest)
{
    char *rest = NULL;
    errno = 0;
    *out = strtoull(text, &rest, 10);
    *out_rest = rest;
    return text[0] >= '0' && text[0] <= '9' && errno == 0 &&
           strncmp(rest, end, strlen(end)) == 0 && (end[0] != 0 || *rest == 0);
}

static bool take_seeds(const char *text, struct swarm *s)
{
    const char *rest = NULL;
    return take_number(text, "..", &s->from, &rest) &&
           take_number(rest + 2, "", &s->to, &rest) && s->from <= s->to;
}

static int swarm(int argc, char **argv)
{
    struct swarm s = {.from = 1, .to = UINT64_MAX, .jobs = 1, .progress = true};
    bool json = false;
    bool bounded = false;
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        const char *rest = NULL;
        uint64_t jobs = 0;
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seeds") == 0) {
            bounded = true;
            if (!take_seeds(value, &s)) {
                return bad_use("--seeds wants A..B, two numbers, not \"%s\"",
                               value);
            }
        } else if (strcmp(argv[i - 1], "--seconds") == 0) {
            bounded = true;
            if (!take_number(value, "", &s.seconds, &rest) || s.seconds == 0) {
                return bad_use("--seconds wants a number from 1, not \"%s\"",
                               value);
            }
        } else if (strcmp(argv[i - 1], "--jobs") == 0) {
            if (!take_number(value, "", &jobs, &rest) || jobs == 0 ||
                jobs > SWARM_JOBS_MAX) {
                return bad_use("--jobs wants a number, 1 to 64, not \"%s\"",
                               value);
            }
            s.jobs = (uint32_t)jobs;
        } else {
            return bad_use("swarm has no option \"%s\"", argv[i - 1]);
        }
    }
    if (!bounded) {
        return bad_use("%s", "swarm wants --seeds or --seconds, or it never "
                             "ends");
    }
    static struct swarm_result r;
    swarm_run(&s, &r);
    report_swarm(&r, json);
    if (r.not_deterministic > 0) {
        return EXIT_NOT_DETERMINISTIC;
    }
    return r.failures_n > 0 ? (int)r.failures[0].failure.verdict : EXIT_PASS;
}

static int replay(int argc, char **argv)
{
    struct sim_result r;
    uint64_t seed = 0;
    const char *rest = NULL;
    bool log = false;
    bool json = false;
    if (argc < 3 || !take_number(argv[2], "", &seed, &rest)) {
        return bad_use("replay wants a seed, not \"%s\"",
                       argc < 3 ? "" : argv[2]);
    }
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--log") == 0) {
            log = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else {
            return bad_use("replay has no option \"%s\"", argv[i]);
        }
    }
    swarm_one(seed, log, &r);
    report_run(&r, json);
    return (int)r.failure.verdict;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "swarm") == 0) {
        return swarm(argc, argv);
    }
    if (argc > 1 && strcmp(argv[1], "replay") == 0) {
        return replay(argc, argv);
    }
    if (argc > 1 &&
        (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        (void)printf("%s", usage);
        return EXIT_PASS;
    }
    return bad_use("there is no verb \"%s\"", argc > 1 ? argv[1] : "");
}

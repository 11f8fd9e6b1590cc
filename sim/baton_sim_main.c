/* baton-sim: a cluster, its clients, and all that can go wrong with them, out of one number or a file that tells it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/arguments.h"
#include "sim/draw.h"
#include "sim/report.h"
#include "sim/scenario_find.h"
#include "sim/shrink.h"

enum {
    EXIT_PASS = 0,
    EXIT_UNSAFE = 1,
    EXIT_NOT_LIVE = 2,
    EXIT_VACUOUS = 3,
    EXIT_BAD_USE = 4,
    EXIT_NOT_DETERMINISTIC = 5,
};

static int exit_code(enum sim_verdict verdict)
{
    return verdict == SIM_UNDECIDED ? EXIT_VACUOUS : (int)verdict;
}

#define ERROR_BYTES    1024
#define SHRINK_SECONDS 60

static const char usage[] =
    "usage: baton-sim run SCENARIO [--seed N | --seeds A..B] [--jobs J] "
    "[--log] [--json]\n"
    "       baton-sim swarm [--seeds A..B] [--seconds N] [--jobs J] "
    "[--covered] [--json]\n"
    "       baton-sim replay SEED [--log] [--json]\n"
    "       baton-sim shrink SEED [-o FILE] [--seconds N]\n"
    "       baton-sim draw SEED|SCENARIO -o FILE [--seed N]\n"
    "       baton-sim list\n"
    "\n"
    "run runs a scenario: a file, or one of those that list names. swarm runs "
    "a seed\n"
    "after the other: each draws a cluster, its load and what goes wrong; "
    "with\n"
    "--covered, what never happened fails it. replay runs one of them once "
    "more;\n"
    "--log prints what the nodes say. shrink writes the smallest scenario that "
    "fails\n"
    "as the seed does. draw runs a seed, or a scenario, and draws it: one HTML "
    "page for\n"
    "a browser. Every invariant is checked in each run.\n"
    "Exit: 0 pass, 1 a safety rule was broken, 2 a liveness rule, 3 too "
    "little\n"
    "happened to say anything, or a history was too much to be checked, 4 "
    "wrong use,\n"
    "5 a seed didn't come to the same twice.\n";

static int bad_use(const char *text)
{
    (void)fprintf(stderr, "baton-sim: %s\n%s", text, usage);
    return EXIT_BAD_USE;
}

/* What's wrong is in a file, and how to use baton-sim isn't. */
static int bad_file(const char *text)
{
    (void)fprintf(stderr, "baton-sim: %s\n", text);
    return EXIT_BAD_USE;
}

static int code_of(const struct swarm_result *r)
{
    const struct sim_result *worst = &r->failures[0];
    for (uint32_t i = 0; i < r->failures_n; i++) {
        if (worst->failure.verdict == SIM_VACUOUS) {
            worst = &r->failures[i];
        }
    }
    if (r->failures_n > 0) {
        return exit_code(worst->failure.verdict);
    }
    if (r->stopped_by != 0) {
        return 128 + (int)r->stopped_by;
    }
    if (r->not_deterministic > 0) {
        return EXIT_NOT_DETERMINISTIC;
    }
    return r->missing[0] != 0 ? EXIT_VACUOUS : EXIT_PASS;
}

/* --- the verbs ---------------------------------------------------------------------------------------------------------------- */

static int swarm(const struct arguments *a)
{
    struct swarm s = {.from = 1,
                      .to = UINT64_MAX,
                      .seconds = a->seconds,
                      .jobs = (uint32_t)a->jobs,
                      .progress = true,
                      .covered = (a->given & ARG_COVERED) != 0};
    static struct swarm_result r;
    if ((a->given & (ARG_SEEDS | ARG_SECONDS)) == 0) {
        return bad_use("swarm wants --seeds or --seconds, or it never ends");
    }
    if ((a->given & ARG_SEEDS) != 0) {
        s.from = a->seed_from;
        s.to = a->seed_to;
    }
    swarm_run(&s, &r);
    report_swarm(&r, NULL, (a->given & ARG_JSON) != 0);
    return code_of(&r);
}

static int replay(const struct arguments *a)
{
    struct sim_plan plan;
    struct sim_result r;
    uint64_t seed = 0;
    if (a->what == NULL || !arguments_number(a->what, &seed)) {
        return bad_use("replay wants a seed, a number");
    }
    swarm_plan(NULL, seed, &plan);
    plan.log = (a->given & ARG_LOG) != 0;
    swarm_one(&plan, &r);
    report_run(&r, NULL, (a->given & ARG_JSON) != 0);
    return exit_code(r.failure.verdict);
}

static bool read_scenario(const char *name, struct scenario *out,
                          char error[ERROR_BYTES])
{
    char path[SCENARIO_PATH];
    if (!scenario_find(name, path)) {
        (void)snprintf(error, ERROR_BYTES, "%s", path);
        return false;
    }
    return scenario_read(path, out, error, ERROR_BYTES);
}

static int run(const struct arguments *a)
{
    static struct scenario scenario;
    static struct swarm_result all;
    char error[ERROR_BYTES];
    bool json = (a->given & ARG_JSON) != 0;
    bool log = (a->given & ARG_LOG) != 0;
    if (a->what == NULL) {
        return bad_use("run wants a scenario: a file, or a name that baton-sim "
                       "list has");
    }
    if (!read_scenario(a->what, &scenario, error)) {
        return bad_file(error);
    }
    struct swarm s = {.scenario = &scenario,
                      .from = scenario.options.seed,
                      .to = scenario.seed_to,
                      .jobs = (uint32_t)a->jobs,
                      .progress = true};
    if ((a->given & ARG_SEEDS) != 0) {
        s.from = a->seed_from;
        s.to = a->seed_to;
    }
    if (s.from != s.to) {
        if (log) {
            return bad_use("--log wants one seed: --seed N");
        }
        swarm_run(&s, &all);
        report_swarm(&all, a->what, json);
        return code_of(&all);
    }
    struct sim_plan plan;
    struct sim_result r;
    swarm_plan(&scenario, s.from, &plan);
    plan.log = log;
    swarm_one(&plan, &r);
    swarm_vacuous(&scenario, &r);
    report_run(&r, a->what, json);
    return exit_code(r.failure.verdict);
}

static bool write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL && fputs(text, file) >= 0;
    if (file != NULL && fclose(file) != 0) {
        ok = false;
    }
    if (!ok) {
        (void)fprintf(stderr, "baton-sim: writing %s: %s\n", path,
                      strerror(errno));
    }
    return ok;
}

static int shrink(const struct arguments *a)
{
    struct shrink s = {.seconds = a->seconds > 0 ? a->seconds : SHRINK_SECONDS,
                       .progress = true};
    struct shrunk r;
    char name[64];
    if (a->what == NULL || !arguments_number(a->what, &s.seed)) {
        return bad_use("shrink wants a seed, a number");
    }
    (void)snprintf(name, sizeof name, "seed-%llu.scn",
                   (unsigned long long)s.seed);
    const char *path = a->out != NULL ? a->out : name;
    switch (shrink_run(&s, &r)) {
    case SHRINK_PASSES:
        (void)printf("seed %llu passes: there's nothing to make smaller\n",
                     (unsigned long long)s.seed);
        return EXIT_PASS;
    case SHRINK_NOT_TOLD:
        (void)printf("seed %llu fails (%s: %s), but not the same way when its "
                     "faults are told one by one\nagain: baton-sim replay "
                     "%llu\n",
                     (unsigned long long)s.seed, r.failure.failure.invariant,
                     r.failure.failure.text, (unsigned long long)s.seed);
        return exit_code(r.failure.failure.verdict);
    case SHRINK_DONE:
        break;
    }
    bool ok = write_file(path, r.text);
    (void)printf("%s: %s\n%u of %u actions are enough, found in %u runs\n"
                 "again: baton-sim run %s%s\n",
                 r.failure.failure.invariant, r.failure.failure.text,
                 r.actions_after, r.actions_before, r.runs,
                 strchr(path, '/') == NULL ? "./" : "", path);
    free(r.text);
    return ok ? exit_code(r.failure.failure.verdict) : EXIT_BAD_USE;
}

/* What to run: a seed, or a scenario's first one, or the one that was asked for. False: `error` says what's wrong. */
static bool plan_of(const struct arguments *a, struct scenario *scenario,
                    struct sim_plan *out, char error[ERROR_BYTES])
{
    uint64_t seed = 0;
    if (arguments_number(a->what, &seed)) {
        swarm_plan(NULL, seed, out);
        return true;
    }
    if (!read_scenario(a->what, scenario, error)) {
        return false;
    }
    bool given = (a->given & ARG_SEEDS) != 0;
    swarm_plan(scenario, given ? a->seed_from : scenario->options.seed, out);
    return true;
}

/* The file is opened first: a long run isn't made for nothing. */
static int draw(const struct arguments *a)
{
    static struct scenario scenario;
    struct sim_plan plan;
    struct sim_result r;
    char error[ERROR_BYTES];
    if (a->what == NULL) {
        return bad_use("draw wants a seed, or a scenario");
    }
    if (a->out == NULL) {
        return bad_use("draw wants -o FILE, where the page goes");
    }
    if (!plan_of(a, &scenario, &plan, error)) {
        return bad_file(error);
    }
    FILE *out = fopen(a->out, "w");
    bool written = false;
    if (out != NULL) {
        plan.trace = trace_new();
        swarm_one(&plan, &r);
        written = draw_write(out, plan.trace, &r,
                             plan.scenario == NULL ? NULL : a->what);
        written = fclose(out) == 0 && written;
        trace_free(plan.trace);
    }
    if (!written) {
        (void)snprintf(error, sizeof error, "%s can't be written: %s", a->out,
                       strerror(errno));
        return bad_file(error);
    }
    report_run(&r, plan.scenario == NULL ? NULL : a->what, false);
    return exit_code(r.failure.verdict);
}

static void list_one(void *arg, const char *name, const char *comment)
{
    (void)arg;
    (void)printf("%-26s %s\n", name, comment);
}

static int list(const struct arguments *a)
{
    char folder[SCENARIO_PATH];
    (void)a;
    if (!scenario_folder(folder)) {
        return bad_file("the scenarios that ship aren't beside this program: "
                        "../share/baton/scenarios is where they belong");
    }
    scenario_each(list_one, NULL);
    return EXIT_PASS;
}

struct verb {
    const char *name;
    uint32_t options;
    int (*run)(const struct arguments *a);
};

int main(int argc, char **argv)
{
    static const struct verb verbs[] = {
        {"run", ARG_SEED | ARG_SEEDS | ARG_JOBS | ARG_JSON | ARG_LOG, run},
        {"swarm", ARG_SEEDS | ARG_SECONDS | ARG_JOBS | ARG_JSON | ARG_COVERED,
         swarm},
        {"replay", ARG_JSON | ARG_LOG, replay},
        {"shrink", ARG_OUT | ARG_SECONDS, shrink},
        {"draw", ARG_OUT | ARG_SEED, draw},
        {"list", 0, list},
    };
    struct arguments a;
    char error[ERROR_BYTES];
    if (argc > 1 &&
        (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        (void)printf("%s", usage);
        return EXIT_PASS;
    }
    for (size_t i = 0; argc > 1 && i < countof(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return arguments_read(argc, argv, verbs[i].options, &a)
                       ? verbs[i].run(&a)
                       : bad_use(a.error);
        }
    }
    (void)snprintf(error, sizeof error, "there is no verb \"%.60s\"",
                   argc > 1 ? argv[1] : "");
    return bad_use(error);
}

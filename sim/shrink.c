#include "sim/shrink.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_BYTES (SIM_RECORD_MAX * 80u + 4096u)

/* A scenario that may be the smallest yet. */
struct tale {
    struct sim_options options;
    uint64_t core;
    bool settles;
    uint32_t n;
    struct sim_action at[SIM_RECORD_MAX];
};

struct shrinking {
    const struct shrink *options;
    struct shrunk *out;
    struct sim_failure wanted;
    struct tale *best;
    struct tale *trial;
    struct scenario *scenario;
    char *text;
    uint64_t until_ms;
    uint64_t said_ms;
};

static uint64_t clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- telling --------------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void say(struct shrinking *s,
                                                      const char *format, ...)
{
    size_t used = strlen(s->text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(s->text + used, TEXT_BYTES - used, format, args);
    va_end(args);
}

static void say_set(struct shrinking *s, uint64_t set)
{
    say(s, "settle {");
    for (raft_id id = 1; id <= SIM_NODES_MAX; id++) {
        if ((set >> id & 1) != 0) {
            say(s, " n%u", id);
        }
    }
    say(s, " }\n");
}

static void tell(struct shrinking *s, const struct tale *t)
{
    const struct sim_options *o = &t->options;
    s->text[0] = 0;
    say(s, "scenario \"seed-%llu\"\n", (unsigned long long)o->seed);
    say(s, "nodes %u spares %u\nclients %u rate %u tabs %u\n", o->nodes_n,
        o->spares_n, o->clients_n, o->rate, o->tabs_n);
    if (o->changes) {
        say(s, "set changes on\n");
    }
    say(s, "set election %llums heartbeat %llums ttl %ums drift %uppm\n",
        (unsigned long long)o->election_ms, (unsigned long long)o->heartbeat_ms,
        o->ttl_ms, o->drift_ppm);
    say(s, "set groups %u devices %u lease-reads %s\n", o->groups_n,
        o->devices_n, o->lease_reads ? "on" : "off");
    say(s, "set delay %lluus..%lluus disk %lluus..%lluus\n",
        (unsigned long long)o->delay_min_us,
        (unsigned long long)o->delay_max_us, (unsigned long long)o->disk_min_us,
        (unsigned long long)o->disk_max_us);
    say(s, "set checkpoint %u keep %u chunk %llu\n", o->checkpoint_entries,
        o->log_keep_entries, (unsigned long long)o->read_bytes);
    say(s, "set queue %llu events %u sessions %u\n",
        (unsigned long long)o->client_queue_bytes, o->events_keep,
        o->sessions_max);
    say(s, "seeds %llu\nlast %lluus\n", (unsigned long long)o->seed,
        (unsigned long long)o->chaos_us);
    if (t->settles) {
        say_set(s, t->core);
    } else {
        say(s, "settle off\n");
    }
    for (uint32_t i = 0; i < t->n; i++) {
        char text[80];
        sim_action_text(&t->at[i], text, sizeof text);
        say(s, "at %lluus %s\n", (unsigned long long)t->at[i].at_us, text);
    }
}

/* --- trying ---------------------------------------------------------------------------------------------------------------- */

static bool same(const struct sim_failure *a, const struct sim_failure *b)
{
    bool assertion = strcmp(a->invariant, "ASSERT") == 0;
    return a->verdict == b->verdict &&
           strcmp(a->invariant, b->invariant) == 0 &&
           (!assertion || strcmp(a->text, b->text) == 0);
}

static bool time_is_up(const struct shrinking *s)
{
    return clock_ms() >= s->until_ms;
}

static void say_progress(struct shrinking *s)
{
    uint64_t now = clock_ms();
    if (s->options->progress && now >= s->said_ms + 3000) {
        s->said_ms = now;
        (void)fprintf(stderr,
                      "baton-sim: %u actions, %u nodes, %u clients after %u "
                      "runs\n",
                      s->best->n, s->best->options.nodes_n,
                      s->best->options.clients_n, s->out->runs);
    }
}

/* Does the trial fail the same way? Then it's the best one. */
static bool try_it(struct shrinking *s)
{
    struct sim_plan plan;
    struct sim_result r;
    char error[200];
    tell(s, s->trial);
    bool read =
        scenario_parse("told", s->text, s->scenario, error, sizeof error);
    if (!read) {
        return false; /* a node that's named isn't there any more */
    }
    swarm_plan(s->scenario, s->scenario->options.seed, &plan);
    swarm_one(&plan, &r);
    s->out->runs++;
    if (!same(&r.failure, &s->wanted)) {
        return false;
    }
    s->out->failure = r;
    memcpy(s->best, s->trial, sizeof *s->best);
    say_progress(s);
    return true;
}

static struct tale *begin(struct shrinking *s)
{
    memcpy(s->trial, s->best, sizeof *s->trial);
    return s->trial;
}

/* --- less and less ------------------------------------------------------------------------------------------------------------ */

/* A broken safety rule needs nothing that comes after it. */
static void cut_off(struct shrinking *s)
{
    uint64_t at_us = s->out->failure.failure.at_us;
    struct tale *t = begin(s);
    t->settles = false;
    t->options.chaos_us = at_us + SIM_MS;
    while (t->n > 0 && t->at[t->n - 1].at_us > at_us) {
        t->n--;
    }
    (void)try_it(s);
}

static bool without(struct shrinking *s, uint32_t from, uint32_t n)
{
    struct tale *t = begin(s);
    memmove(t->at + from, t->at + from + n,
            (t->n - from - n) * sizeof t->at[0]);
    t->n -= n;
    return try_it(s);
}

/* From the end, since what came first made what came later possible. */
static void fewer_actions(struct shrinking *s)
{
    for (uint32_t n = s->best->n; n > 0; n /= 2) {
        uint32_t end = s->best->n;
        while (end > 0 && !time_is_up(s)) {
            uint32_t from = end > n ? end - n : 0;
            (void)without(s, from, end - from);
            end = from;
        }
    }
}

/* Halves a number, as long as that goes, and then counts it down. */
static void less_of(struct shrinking *s, size_t place, uint32_t least)
{
    for (int slow = 0; slow < 2; slow++) {
        for (;;) {
            struct tale *t = begin(s);
            uint32_t *number = (uint32_t *)((uint8_t *)&t->options + place);
            uint32_t to = slow == 0 ? *number / 2 : *number - 1;
            if (*number <= least || to < least || time_is_up(s)) {
                break;
            }
            *number = to;
            if (!try_it(s)) {
                break;
            }
        }
    }
}

static void simpler_options(struct shrinking *s)
{
    less_of(s, offsetof(struct sim_options, clients_n), 1);
    less_of(s, offsetof(struct sim_options, rate), 1);
    less_of(s, offsetof(struct sim_options, tabs_n), 1);
    less_of(s, offsetof(struct sim_options, groups_n), 1);
    less_of(s, offsetof(struct sim_options, devices_n), 1);
    less_of(s, offsetof(struct sim_options, spares_n), 0);
    less_of(s, offsetof(struct sim_options, nodes_n), 1);
    begin(s)->options.changes = false;
    (void)try_it(s);
    begin(s)->options.drift_ppm = 0;
    (void)try_it(s);
    begin(s)->options.read_bytes = 0;
    (void)try_it(s);
    begin(s)->options.lease_reads = false;
    (void)try_it(s);
}

/* Times that a reader can keep in mind: whole seconds, else tenths, else hundredths. */
static void rounder_times(struct shrinking *s)
{
    static const uint64_t units[] = {SIM_S, SIM_S / 10, SIM_S / 100};
    for (uint32_t i = 0; i < s->best->n; i++) {
        for (size_t u = 0; u < countof(units) && !time_is_up(s); u++) {
            struct tale *t = begin(s);
            uint64_t *at = &t->at[i].at_us;
            uint64_t to = (*at + units[u] / 2) / units[u] * units[u];
            if (to == *at) {
                break;
            }
            *at = to;
            if (try_it(s)) {
                break;
            }
        }
    }
}

static void shrink_all(struct shrinking *s)
{
    uint32_t before = UINT32_MAX;
    if (s->wanted.verdict == SIM_UNSAFE) {
        cut_off(s);
    }
    while (s->best->n < before && !time_is_up(s)) {
        before = s->best->n;
        fewer_actions(s);
        simpler_options(s);
    }
    rounder_times(s);
}

/* --- from a seed ---------------------------------------------------------------------------------------------------------------- */

static bool record(struct shrinking *s, uint64_t seed)
{
    struct sim_record *r = swarm_shared(sizeof *r);
    struct sim_plan plan;
    swarm_plan(NULL, seed, &plan);
    plan.record = r;
    swarm_one(&plan, &s->out->failure);
    s->wanted = s->out->failure.failure;
    struct tale *t = s->trial;
    *t = (struct tale){.options = plan.options, .settles = true};
    t->options.chaos_us += SIM_BOOT_US;
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->at[i].verb == SIM_HEAL) {
            t->core = (uint64_t)r->at[i].v;
            break; /* the phases of a run do the rest */
        }
        t->at[t->n++] = r->at[i];
    }
    if (t->core == 0) {
        t->core = (2ull << (t->options.nodes_n + t->options.spares_n)) - 2;
    }
    s->out->actions_before = t->n;
    return s->wanted.verdict == SIM_UNSAFE || s->wanted.verdict == SIM_NOT_LIVE;
}

/* What was found, over the smallest scenario. */
static char *final_text(struct shrinking *s)
{
    const struct sim_failure *f = &s->out->failure.failure;
    char *text = malloc(TEXT_BYTES + 1024);
    ASSERT(text != NULL);
    tell(s, s->best);
    (void)snprintf(text, TEXT_BYTES + 1024,
                   "# %s: %s\n"
                   "# Made smaller from seed %llu: %u of %u actions, in %u "
                   "runs.\n%s",
                   f->invariant, f->text, (unsigned long long)s->options->seed,
                   s->best->n, s->out->actions_before, s->out->runs, s->text);
    return text;
}

enum shrink_result shrink_run(const struct shrink *options, struct shrunk *out)
{
    /* A process shrinks one seed. */
    static struct tale best;
    static struct tale trial;
    static struct scenario told;
    static char text[TEXT_BYTES];
    struct shrinking s = {.options = options,
                          .out = out,
                          .best = &best,
                          .trial = &trial,
                          .scenario = &told,
                          .text = text};
    enum shrink_result result = SHRINK_PASSES;
    *out = (struct shrunk){.runs = 0};
    s.until_ms = clock_ms() + options->seconds * 1000;
    if (record(&s, options->seed)) {
        result = try_it(&s) ? SHRINK_DONE : SHRINK_NOT_TOLD;
    }
    if (result == SHRINK_DONE) {
        shrink_all(&s);
        out->actions_after = s.best->n;
        out->text = final_text(&s);
    }
    return result;
}

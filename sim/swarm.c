#include "sim/swarm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/chaos.h"

/* One seed in so many runs twice, and must come to the same. */
#define TWICE_EVERY 50u

static uint64_t clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void *swarm_shared(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(at != MAP_FAILED);
    return at;
}

void swarm_plan(const struct scenario *scenario, uint64_t seed,
                struct sim_plan *out)
{
    *out = (struct sim_plan){.scenario = scenario};
    if (scenario == NULL) {
        chaos_options(seed, &out->options);
    } else {
        out->options = scenario->options;
        out->options.seed = seed;
    }
}

/* --- being told to end ------------------------------------------------------------------------------------------------------------- */

static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t told; /* the signal that came; 0: none */

static void on_signal(int signal_n)
{
    told = signal_n;
}

/* Waits are cut short by it, and what was made for the runs is removed on the way out. What is ignored, as by nohup, stays so. */
static void hear_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < countof(ends); i++) {
        struct sigaction before;
        int rc = sigaction(ends[i], NULL, &before);
        if (rc == 0 && before.sa_handler != SIG_IGN) {
            rc = sigaction(ends[i], &action, NULL);
        }
        ASSERT(rc == 0);
    }
}

/* Of a run: the terminal's Ctrl-C is for who began it, and who began it ends it, or dies. */
static void end_with_parent(pid_t parent)
{
    for (size_t i = 0; i < countof(ends); i++) {
        (void)signal(ends[i], SIG_IGN);
    }
    int rc = prctl(PR_SET_PDEATHSIG, SIGKILL);
    ASSERT(rc == 0);
    if (getppid() != parent) {
        _exit(1); /* it was faster */
    }
}

/* True if a child ended; false: none is left, or a signal came. */
static bool wait_for(pid_t *out_pid, int *out_status)
{
    do {
        *out_pid = told != 0 ? -1 : waitpid(-1, out_status, 0);
    } while (*out_pid < 0 && told == 0 && errno == EINTR);
    return *out_pid > 0;
}

static void end_run(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* --- one --------------------------------------------------------------------------------------------------------------------------- */

static pid_t begin(const struct sim_plan *plan, struct sim_result *out)
{
    const pid_t parent = getpid();
    memset(out, 0, sizeof *out);
    /* What stays if it doesn't live to say more. */
    out->options = plan->options;
    out->failure.verdict = SIM_UNSAFE;
    (void)snprintf(out->failure.invariant, sizeof out->failure.invariant,
                   "CRASH");
    (void)fflush(NULL);
    pid_t pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        end_with_parent(parent);
        sim_run(plan, out);
        _exit(0);
    }
    return pid;
}

static void end(struct sim_result *r, int status)
{
    if (WIFSIGNALED(status)) {
        (void)snprintf(r->failure.text, sizeof r->failure.text,
                       "the run ended by signal %d", WTERMSIG(status));
    }
}

void swarm_one(const struct sim_plan *plan, struct sim_result *out)
{
    struct sim_result *r = swarm_shared(sizeof *r);
    int status = 0;
    struct sim_plan thorough = *plan;
    thorough.options.linear = true; /* one run may take its time */
    hear_signals();
    pid_t pid = begin(&thorough, r);
    pid_t ended = 0;
    if (!wait_for(&ended, &status)) {
        end_run(pid);
        exit(128 + told);
    }
    end(r, status);
    *out = *r;
    (void)munmap(r, sizeof *r);
}

/* --- many --------------------------------------------------------------------------------------------------------------------------- */

struct job {
    pid_t pid; /* 0: free */
    uint64_t seed;
    uint64_t hash; /* of the first run; 0: this is it */
};

static const char *const counter_names[] = {
#define NAME(name) #name,
    SIM_COVERAGE(NAME)
#undef NAME
};

static void add_coverage(struct sim_coverage *to,
                         const struct sim_coverage *from)
{
#define ADD(name) to->name += from->name;
    SIM_COVERAGE(ADD)
#undef ADD
}

static void take(struct swarm_result *out, const struct sim_result *r,
                 bool a_scenario)
{
    out->seeds++;
    out->events_n += r->events_n;
    out->simulated_us += r->simulated_us;
    add_coverage(&out->coverage, &r->coverage);
    bool vacuous = r->failure.verdict == SIM_VACUOUS;
    bool failed = r->failure.verdict != SIM_PASS && !vacuous;
    out->vacuous += vacuous;
    out->failed += failed;
    /* A drawn seed may come to nothing; one of a scenario isn't the scenario then. */
    if ((failed || (vacuous && a_scenario)) &&
        out->failures_n < SWARM_FAILED_MAX) {
        out->failures[out->failures_n++] = *r;
    }
}

static bool is_covered(const struct step *s, const struct sim_coverage *c)
{
    return ((const uint64_t *)c)[s->counter] >= s->number;
}

bool swarm_covered(const struct scenario *scenario,
                   const struct sim_coverage *coverage, char *out,
                   size_t out_bytes)
{
    out[0] = 0;
    for (uint32_t i = 0; i < scenario->steps_n; i++) {
        const struct step *s = &scenario->steps[i];
        if (s->verb == STEP_EXPECT && s->expect == EXPECT_COVERED &&
            s->in == EXPECTED_IN_EACH && !is_covered(s, coverage)) {
            (void)snprintf(
                out, out_bytes,
                "line %u expected \"covered %s >= %llu\": it was %llu", s->line,
                counter_names[s->counter], (unsigned long long)s->number,
                (unsigned long long)((const uint64_t *)coverage)[s->counter]);
            return false;
        }
    }
    return true;
}

void swarm_vacuous(const struct scenario *scenario, struct sim_result *r)
{
    if (scenario != NULL && r->failure.verdict == SIM_PASS &&
        !swarm_covered(scenario, &r->coverage, r->failure.text,
                       sizeof r->failure.text)) {
        r->failure.verdict = SIM_VACUOUS;
        (void)snprintf(r->failure.invariant, sizeof r->failure.invariant,
                       "EXPECT");
    }
}

/* In how many seeds each expectation of the scenario's was met. */
static void count_reached(const struct scenario *scenario,
                          const struct sim_result *r, struct swarm_result *out)
{
    for (uint32_t i = 0; scenario != NULL && i < scenario->steps_n; i++) {
        const struct step *s = &scenario->steps[i];
        if (s->expect == EXPECT_COVERED && i < SWARM_REACHED_MAX) {
            out->reached[i] += is_covered(s, &r->coverage);
        }
    }
}

/* Where a fault can't happen in each seed: did it in as many as were said? */
static void all_reached(const struct scenario *scenario,
                        struct swarm_result *out)
{
    for (uint32_t i = 0; i < scenario->steps_n && i < SWARM_REACHED_MAX; i++) {
        const struct step *s = &scenario->steps[i];
        bool half = s->in == EXPECTED_IN_HALF;
        uint64_t wanted = half ? (out->seeds + 1) / 2 : 1;
        if (s->verb == STEP_EXPECT && s->expect == EXPECT_COVERED &&
            s->in != EXPECTED_IN_EACH && out->reached[i] < wanted) {
            (void)snprintf(out->missing, sizeof out->missing,
                           "line %u expected \"covered %s >= %llu in %s\": it "
                           "was so in %llu of %llu seeds",
                           s->line, counter_names[s->counter],
                           (unsigned long long)s->number, half ? "half" : "one",
                           (unsigned long long)out->reached[i],
                           (unsigned long long)out->seeds);
            return;
        }
    }
}

struct going {
    const struct swarm *swarm;
    struct swarm_result *out;
    struct sim_result *results; /* one a job */
    struct job jobs[SWARM_JOBS_MAX];
    uint64_t next;
    uint64_t began_ms;
    uint64_t said_ms;
};

/* True if the seed is to run once more. */
static bool finished(const struct going *g, struct job *job,
                     struct sim_result *r)
{
    struct swarm_result *out = g->out;
    job->pid = 0;
    if (job->hash != 0) {
        if (job->hash != r->trace_hash) {
            out->not_deterministic++;
            (void)fprintf(stderr,
                          "baton-sim: seed %llu came to %016llx, and then to "
                          "%016llx\n",
                          (unsigned long long)job->seed,
                          (unsigned long long)job->hash,
                          (unsigned long long)r->trace_hash);
        }
        job->hash = 0;
        return false;
    }
    swarm_vacuous(g->swarm->scenario, r);
    count_reached(g->swarm->scenario, r, out);
    take(out, r, g->swarm->scenario != NULL);
    job->hash = r->trace_hash;
    return job->seed % TWICE_EVERY == 0 && r->failure.verdict == SIM_PASS;
}

static bool can_happen(const char *counter)
{
    for (size_t i = 0; sim_store_never[i] != NULL; i++) {
        if (strcmp(sim_store_never[i], counter) == 0) {
            return false;
        }
    }
    return true;
}

/* Sometimes-assertions: what never happened wasn't tested. */
static void all_covered(struct swarm_result *out)
{
    const uint64_t *counters = (const uint64_t *)&out->coverage;
    size_t used = 0;
    for (size_t i = 0; i < countof(counter_names); i++) {
        if (counters[i] == 0 && can_happen(counter_names[i]) &&
            used < sizeof out->missing) {
            used += (size_t)snprintf(
                out->missing + used, sizeof out->missing - used, "%s%s",
                used == 0 ? "never happened: " : ", ", counter_names[i]);
        }
    }
}

static void begin_job(struct going *g, uint32_t i)
{
    struct sim_plan plan;
    swarm_plan(g->swarm->scenario, g->jobs[i].seed, &plan);
    g->jobs[i].pid = begin(&plan, &g->results[i]);
}

static void start_one(struct going *g, uint32_t i)
{
    const struct swarm *s = g->swarm;
    bool over = s->seconds > 0 && clock_ms() - g->began_ms >= s->seconds * 1000;
    if (g->next <= s->to && !over) {
        g->jobs[i] = (struct job){.seed = g->next++};
        begin_job(g, i);
    }
}

/* At once: it may be hours until the summary. */
static void say_failure(const struct swarm *s, const struct sim_result *r)
{
    const struct sim_failure *f = &r->failure;
    if (s->progress && f->verdict != SIM_PASS && f->verdict != SIM_VACUOUS) {
        (void)fprintf(stderr, "baton-sim: seed %llu fails: %s: %s\n",
                      (unsigned long long)r->options.seed, f->invariant,
                      f->text);
    }
}

/* Every five seconds at first, then once a minute: some runs last for a night. */
static void say_progress(struct going *g)
{
    uint64_t now = clock_ms();
    uint64_t pause_ms = now < g->began_ms + 60000 ? 5000 : 60000;
    if (!g->swarm->progress || now < g->said_ms + pause_ms) {
        return;
    }
    g->said_ms = now;
    (void)fprintf(stderr,
                  "baton-sim: %llu seeds, %llu failed, %.1f simulated hours in "
                  "%.0f s\n",
                  (unsigned long long)g->out->seeds,
                  (unsigned long long)g->out->failed,
                  (double)g->out->simulated_us / 3.6e9,
                  (double)(now - g->began_ms) / 1e3);
}

/* Those that go on although somebody told us to end. */
static void end_jobs(struct going *g)
{
    for (uint32_t i = 0; i < g->swarm->jobs; i++) {
        if (g->jobs[i].pid != 0) {
            end_run(g->jobs[i].pid);
            g->jobs[i].pid = 0;
        }
    }
}

static void look_for_missing(const struct swarm *s, struct swarm_result *out)
{
    if (s->scenario != NULL) {
        all_reached(s->scenario, out);
    } else if (s->covered) {
        all_covered(out);
    }
}

void swarm_run(const struct swarm *s, struct swarm_result *out)
{
    struct going g = {.swarm = s, .out = out, .next = s->from};
    ASSERT(s->jobs >= 1 && s->jobs <= SWARM_JOBS_MAX);
    memset(out, 0, sizeof *out);
    g.began_ms = clock_ms();
    g.said_ms = g.began_ms;
    g.results = swarm_shared(s->jobs * sizeof *g.results);
    hear_signals();
    for (uint32_t i = 0; i < s->jobs; i++) {
        start_one(&g, i);
    }
    int status = 0;
    pid_t pid = 0;
    while (wait_for(&pid, &status)) {
        for (uint32_t i = 0; i < s->jobs; i++) {
            if (g.jobs[i].pid != pid) {
                continue;
            }
            end(&g.results[i], status);
            say_failure(s, &g.results[i]);
            if (finished(&g, &g.jobs[i], &g.results[i])) {
                begin_job(&g, i);
            } else {
                start_one(&g, i);
            }
        }
        say_progress(&g);
    }
    end_jobs(&g);
    out->real_ms = clock_ms() - g.began_ms;
    out->stopped_by = (uint32_t)told;
    if (told == 0) {
        look_for_missing(s, out);
    }
    (void)munmap(g.results, s->jobs * sizeof *g.results);
}

#include "sim/report.h"

#include <errno.h>
#include <stdio.h>

#include "proto/json.h"

#define LINE_BYTES 16384

const char *report_verdict(enum sim_verdict verdict)
{
    static const char *const names[] = {"pass", "unsafe", "not live", "vacuous",
                                        "undecided"};
    return names[verdict];
}

static void print_coverage(const struct sim_coverage *c)
{
    uint32_t column = 0;
#define PRINT(name)                                                            \
    (void)printf("  %-22s %10llu%s", #name, (unsigned long long)c->name,       \
                 ++column % 3 == 0 ? "\n" : "");
    SIM_COVERAGE(PRINT)
#undef PRINT
    (void)printf("%s", column % 3 == 0 ? "" : "\n");
}

static void json_coverage(struct json_writer *w, const struct sim_coverage *c)
{
    json_key(w, "coverage");
    json_object_begin(w);
#define PUT(name)                                                              \
    json_key(w, #name);                                                        \
    json_u64(w, c->name);
    SIM_COVERAGE(PUT)
#undef PUT
    json_object_end(w);
}

static void json_failure(struct json_writer *w, const struct sim_result *r)
{
    json_key(w, "seed");
    json_u64(w, r->options.seed);
    json_key(w, "verdict");
    json_cstring(w, report_verdict(r->failure.verdict));
    json_key(w, "invariant");
    json_cstring(w, r->failure.invariant);
    json_key(w, "text");
    json_cstring(w, r->failure.text);
}

static void print_line(struct json_writer *w, const char *line)
{
    if (json_finish(w) > 0) {
        (void)printf("%s\n", line);
    }
}

static void run_json(const struct sim_result *r)
{
    static char line[LINE_BYTES];
    struct json_writer w;
    json_init(&w, line, sizeof line);
    json_object_begin(&w);
    json_failure(&w, r);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"nodes", r->options.nodes_n},
        {"clients", r->options.clients_n},
        {"simulated_ms", r->simulated_us / 1000},
        {"events", r->events_n},
        {"commits", r->commits},
        {"unavailable_ms", r->unavailable_ms},
        {"overlap_ms", r->overlap_ms},
    };
    for (size_t i = 0; i < countof(numbers); i++) {
        json_key(&w, numbers[i].name);
        json_u64(&w, numbers[i].value);
    }
    char trace[17];
    (void)snprintf(trace, sizeof trace, "%016llx",
                   (unsigned long long)r->trace_hash);
    json_key(&w, "trace");
    json_cstring(&w, trace);
    json_coverage(&w, &r->coverage);
    json_object_end(&w);
    print_line(&w, line);
}

static void print_again(const char *scenario, uint64_t seed)
{
    if (scenario != NULL) {
        (void)printf("\nagain: %s run %s --seed %llu\n",
                     program_invocation_short_name, scenario,
                     (unsigned long long)seed);
    } else {
        (void)printf("\nagain: %s replay %llu\n", program_invocation_short_name,
                     (unsigned long long)seed);
    }
}

void report_run(const struct sim_result *r, const char *scenario, bool json)
{
    const struct sim_options *o = &r->options;
    if (json) {
        run_json(r);
        return;
    }
    (void)printf("%s", report_verdict(r->failure.verdict));
    if (r->failure.verdict != SIM_PASS) {
        (void)printf(": %s at %.6f s: %s", r->failure.invariant,
                     (double)r->failure.at_us / 1e6, r->failure.text);
    }
    (void)printf(
        "\n\nseed %llu, baton %s: %u nodes, %u clients; election %llu ms, TTL "
        "%u ms, clocks within %u ppm\n"
        "%.1f s simulated, %llu events, trace %016llx\n"
        "%llu entries committed; calls: %llu ok, %llu refused, %llu unknown\n"
        "longest without an answer %llu ms; two believed at once for %llu "
        "ms\n\n",
        (unsigned long long)o->seed, BATON_VERSION, o->nodes_n, o->clients_n,
        (unsigned long long)o->election_ms, o->ttl_ms, o->drift_ppm,
        (double)r->simulated_us / 1e6, (unsigned long long)r->events_n,
        (unsigned long long)r->trace_hash, (unsigned long long)r->commits,
        (unsigned long long)r->coverage.ops_ok,
        (unsigned long long)r->coverage.ops_refused,
        (unsigned long long)r->coverage.ops_unknown,
        (unsigned long long)r->unavailable_ms,
        (unsigned long long)r->overlap_ms);
    print_coverage(&r->coverage);
    print_again(scenario, o->seed);
}

static double hours_a_minute(const struct swarm_result *r)
{
    return r->real_ms == 0
               ? 0.0
               : (double)r->simulated_us / 3.6e9 / ((double)r->real_ms / 6e4);
}

static void swarm_json(const struct swarm_result *r)
{
    static char line[LINE_BYTES];
    struct json_writer w;
    json_init(&w, line, sizeof line);
    json_object_begin(&w);
    json_key(&w, "verdict");
    bool vacuous = r->failures_n > 0 || r->missing[0] != 0;
    json_cstring(&w, r->failed + r->not_deterministic > 0 ? "fail"
                     : vacuous                            ? "vacuous"
                                                          : "pass");
    json_key(&w, "seeds");
    json_u64(&w, r->seeds);
    json_key(&w, "failed");
    json_u64(&w, r->failed);
    json_key(&w, "vacuous");
    json_u64(&w, r->vacuous);
    json_key(&w, "not_deterministic");
    json_u64(&w, r->not_deterministic);
    if (r->stopped_by != 0) {
        json_key(&w, "stopped_by");
        json_u64(&w, r->stopped_by);
    }
    json_key(&w, "sim_hours_per_minute");
    json_hundredths(&w, (uint64_t)(hours_a_minute(r) * 100));
    json_coverage(&w, &r->coverage);
    json_object_end(&w);
    print_line(&w, line);
}

void report_swarm(const struct swarm_result *r, const char *scenario, bool json)
{
    for (uint32_t i = 0; i < r->failures_n && !json; i++) {
        const struct sim_result *f = &r->failures[i];
        (void)printf("seed %llu %s: %s: %s\n",
                     (unsigned long long)f->options.seed,
                     report_verdict(f->failure.verdict), f->failure.invariant,
                     f->failure.text);
    }
    if (json) {
        swarm_json(r);
        return;
    }
    (void)printf(
        "%s%llu seeds, %llu failed, %llu vacuous, %llu not the same "
        "twice\n"
        "%.1f simulated hours in %.1f s: %.1f a minute; %llu events\n\n",
        r->failures_n > 0 ? "\n" : "", (unsigned long long)r->seeds,
        (unsigned long long)r->failed, (unsigned long long)r->vacuous,
        (unsigned long long)r->not_deterministic,
        (double)r->simulated_us / 3.6e9, (double)r->real_ms / 1e3,
        hours_a_minute(r), (unsigned long long)r->events_n);
    print_coverage(&r->coverage);
    if (r->stopped_by != 0) {
        (void)printf("\nstopped by signal %u before all was run\n",
                     r->stopped_by);
    }
    if (r->missing[0] != 0) {
        (void)printf("\n%s\n", r->missing);
    }
    if (r->failures_n > 0) {
        print_again(scenario, r->failures[0].options.seed);
    }
}

#include "sim/draw.h"

#include <string.h>

#include "proto/codec.h"
#include "proto/json.h"

/* Each byte of a text may become six. */
#define TEXT_BYTES (6 * 512)

/* Whether it worked is asked once, at the end: ferror(). */
static void put(FILE *out, const char *text)
{
    (void)fputs(text, out);
}

static void put_number(FILE *out, int64_t n)
{
    (void)fprintf(out, "%lld", (long long)n);
}

/* As JSON, and so that no tag of the page ends in it. */
static void put_text(FILE *out, const char *text)
{
    char json[TEXT_BYTES];
    struct json_writer w;
    json_init(&w, json, sizeof json);
    json_cstring(&w, text);
    size_t n = json_finish(&w);
    ASSERT(n > 0);
    for (size_t i = 0; i < n; i++) {
        if (json[i] == '<') {
            put(out, "\\u003c");
        } else {
            (void)putc(json[i], out);
        }
    }
}

static void put_key(FILE *out, const char *key)
{
    (void)fprintf(out, ",\n\"%s\":", key);
}

static void put_field(FILE *out, const char *key, uint64_t n)
{
    put_key(out, key);
    put_number(out, (int64_t)n);
}

/* Numbers in brackets, without the zeros at the end. */
static void put_row(FILE *out, const int64_t *row, size_t n)
{
    while (n > 1 && row[n - 1] == 0) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        (void)putc(i == 0 ? '[' : ',', out);
        put_number(out, row[i]);
    }
    (void)putc(']', out);
}

/* --- names ----------------------------------------------------------------------------------------------------------------------- */

static void put_names(FILE *out, const char *key, const char *const *names,
                      size_t n)
{
    put_key(out, key);
    for (size_t i = 0; i < n; i++) {
        put(out, i == 0 ? "[" : ",");
        put_text(out, names[i]);
    }
    put(out, "]");
}

/* An enum of the wire, as an object from number to name. */
static void put_enum(FILE *out, const char *key,
                     const ProtobufCEnumDescriptor *d)
{
    put_key(out, key);
    for (unsigned i = 0; i < d->n_values; i++) {
        (void)fprintf(out, "%s\"%d\":", i == 0 ? "{" : ",", d->values[i].value);
        put_text(out, d->values[i].name);
    }
    put(out, "}");
}

static void put_all_names(FILE *out)
{
#define NAME(name) #name,
    static const char *const kinds[] = {TRACE_KINDS(NAME)};
#undef NAME
    static const char *const types[] = {
        "hello",        "vote",          "vote_reply",      "append",
        "append_reply", "heartbeat",     "heartbeat_reply", "timeout_now",
        "snapshot",     "snapshot_reply"};
    static const char *const fates[] = {"flying", "arrived", "lost", "nobody",
                                        "full"};
    static const char *const disks[] = {"well", "stalled", "slow", "error",
                                        "full"};
    static const char *const ends[] = {"killed", "power", "stopped", "ended"};
    static const char *const phases[] = {"boot", "chaos", "core healed",
                                         "all healed", "quiet"};
    const char *names[SIM_OPS_N];
    put_names(out, "kinds", kinds, countof(kinds));
    put_names(out, "types", types, countof(types));
    put_names(out, "fates", fates, countof(fates));
    put_names(out, "disks", disks, countof(disks));
    put_names(out, "ends", ends, countof(ends));
    put_names(out, "phases", phases, countof(phases));
    for (uint32_t i = 0; i < SIM_OPS_N; i++) {
        names[i] = sim_op_name((enum sim_op_kind)i);
    }
    put_names(out, "ops", names, SIM_OPS_N);
    for (uint32_t i = 0; i <= RAFT_LEADER; i++) {
        names[i] = raft_role_name((enum raft_role)i);
    }
    put_names(out, "roles", names, RAFT_LEADER + 1);
    put_enum(out, "reasons", &pb__grant_reason__descriptor);
    put_enum(out, "causes", &pb__cause__descriptor);
    put_enum(out, "statuses", &pb__status__descriptor);
}

/* --- the run --------------------------------------------------------------------------------------------------------------------- */

static void put_options(FILE *out, const struct sim_options *o)
{
    put_key(out, "options");
    put(out, "{\"calm\":");
    put(out, o->calm ? "true" : "false");
    put_field(out, "nodes", o->nodes_n);
    put_field(out, "clients", o->clients_n);
    put_field(out, "chaos_us", o->chaos_us);
    put_field(out, "election_ms", o->election_ms);
    put_field(out, "heartbeat_ms", o->heartbeat_ms);
    put_field(out, "ttl_ms", o->ttl_ms);
    put_field(out, "rate", o->rate);
    put_field(out, "groups", o->groups_n);
    put_field(out, "devices", o->devices_n);
    put_field(out, "tabs", o->tabs_n);
    put_field(out, "drift_ppm", o->drift_ppm);
    put_field(out, "delay_min_us", o->delay_min_us);
    put_field(out, "delay_max_us", o->delay_max_us);
    put_field(out, "disk_min_us", o->disk_min_us);
    put_field(out, "disk_max_us", o->disk_max_us);
    put_field(out, "lease_reads", o->lease_reads);
    put(out, "}");
}

static void put_result(FILE *out, const struct sim_result *r)
{
    put(out, "{\"seed\":");
    (void)fprintf(out, "\"%llu\"", (unsigned long long)r->options.seed);
    put_key(out, "version");
    put_text(out, BATON_VERSION);
    put_key(out, "verdict");
    put_text(out, report_verdict(r->failure.verdict));
    put_key(out, "invariant");
    put_text(out, r->failure.invariant);
    put_key(out, "text");
    put_text(out, r->failure.text);
    put_key(out, "trace");
    (void)fprintf(out, "\"%016llx\"", (unsigned long long)r->trace_hash);
    put_field(out, "at_us", r->failure.at_us);
    put_field(out, "end_us", r->simulated_us);
    put_field(out, "happened", r->events_n);
    put_field(out, "commits", r->commits);
    put_field(out, "overlap_ms", r->overlap_ms);
    put_field(out, "unavailable_ms", r->unavailable_ms);
    put_options(out, &r->options);
    put_key(out, "coverage");
    const char *comma = "{";
#define PUT(name)                                                              \
    (void)fprintf(out, "%s\"%s\":%llu", comma, #name,                          \
                  (unsigned long long)r->coverage.name);                       \
    comma = ",";
    SIM_COVERAGE(PUT)
#undef PUT
    put(out, "}");
}

static uint64_t first_of(uint64_t n, uint64_t max)
{
    return n > max ? n - max : 0;
}

/* Serials begin with 1. */
static void put_messages(FILE *out, const struct trace_message *ring,
                         uint64_t n, uint64_t max)
{
    uint64_t before_us = 0;
    put(out, "[");
    for (uint64_t i = first_of(n, max) + 1; i <= n; i++) {
        const struct trace_message *m = &ring[i % max];
        uint64_t took = m->until_us > m->sent_us ? m->until_us - m->sent_us : 0;
        (void)fprintf(out, "%s%lld,%u,%u,%u,%u,%u,%llu,%llu,%llu,%u",
                      before_us == 0 ? "\n" : ",\n",
                      (long long)(m->sent_us - before_us), m->from, m->to,
                      m->type, m->fate, m->flags, (unsigned long long)took,
                      (unsigned long long)m->term, (unsigned long long)m->index,
                      m->entries_n);
        before_us = m->sent_us;
    }
    put(out, "]");
}

static void put_events(FILE *out, const struct sim_trace *t)
{
    uint64_t first = first_of(t->events_n, TRACE_EVENTS_MAX);
    put(out, "[");
    for (uint64_t i = first; i < t->events_n; i++) {
        const struct trace_event *e = &t->events[i % TRACE_EVENTS_MAX];
        const int64_t row[] = {
            (int64_t)e->at_us, e->kind, e->who, e->a, e->b, e->c, e->d};
        put(out, i == first ? "\n" : ",\n");
        put_row(out, row, countof(row));
    }
    put(out, "]");
}

static void put_lines(FILE *out, const struct sim_trace *t)
{
    uint64_t first = first_of(t->lines_n, TRACE_LINES_MAX);
    put(out, "[");
    for (uint64_t i = first; i < t->lines_n; i++) {
        const struct trace_line *l = &t->lines[i % TRACE_LINES_MAX];
        (void)fprintf(out, "%s[%llu,%u,", i == first ? "\n" : ",\n",
                      (unsigned long long)l->at_us, l->node);
        put_text(out, l->text);
        put(out, "]");
    }
    put(out, "]");
}

static void put_dropped(FILE *out, const struct sim_trace *t)
{
    put_key(out, "dropped");
    (void)fprintf(
        out,
        "{\"events\":%llu,\"messages\":%llu,\"heartbeats\":%llu,\"lines\":%"
        "llu}",
        (unsigned long long)first_of(t->events_n, TRACE_EVENTS_MAX),
        (unsigned long long)first_of(t->messages_n, TRACE_MESSAGES_MAX),
        (unsigned long long)first_of(t->heartbeats_n, TRACE_HEARTBEATS_MAX),
        (unsigned long long)first_of(t->lines_n, TRACE_LINES_MAX));
}

bool draw_write(FILE *out, const struct sim_trace *t,
                const struct sim_result *r, const char *scenario)
{
    const char *mark = strstr(draw_page, DRAW_MARK);
    ASSERT(mark != NULL);
    (void)fwrite(draw_page, 1, (size_t)(mark - draw_page), out);
    put_result(out, r);
    put_key(out, "scenario");
    put_text(out, scenario == NULL ? "" : scenario);
    put_all_names(out);
    put_dropped(out, t);
    put_key(out, "events");
    put_events(out, t);
    put_key(out, "messages");
    put_messages(out, t->messages, t->messages_n, TRACE_MESSAGES_MAX);
    put_key(out, "heartbeats");
    put_messages(out, t->heartbeats, t->heartbeats_n, TRACE_HEARTBEATS_MAX);
    put_key(out, "lines");
    put_lines(out, t);
    put(out, "}");
    put(out, mark + strlen(DRAW_MARK));
    return fflush(out) == 0 && ferror(out) == 0;
}

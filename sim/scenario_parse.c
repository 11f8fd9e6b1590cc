#include "sim/scenario.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/client.h"
#include "sim/scenario_words.h"

#define FILE_BYTES_MAX (1u << 20)
#define AT_END         UINT64_MAX

/* --- steps --------------------------------------------------------------------------------------------------------------------- */

static const char *const step_words[STEP_VERBS_N] = {
    "crash",  "stop",   "restart",  "wipe",     "image",   "restore", "pause",
    "resume", "cut",    "mend",     "clog",     "isolate", "mute",    "deaf",
    "split",  "bridge", "ring",     "chain",    "star",    "swizzle", "hostile",
    "disk",   "clock",  "throttle", "transfer", "add",     "promote", "remove",
    "call",   "load",   "heal",     "expect",
};

static bool parse_link(struct words *p, struct step *s)
{
    if (!words_target(p, &s->a)) {
        return false;
    }
    if (!words_accept(p, "->")) {
        if (!words_accept(p, "<->")) {
            return words_wrong(p, "expected -> or <->, found \"%s\"",
                               words_here(p));
        }
        s->both = true;
    }
    return words_target(p, &s->b);
}

static bool parse_hostile(struct words *p, struct step *s)
{
    static const char *const words[] = {"loss", "twice", "reorder"};
    uint32_t which = 0;
    uint32_t value = 0;
    do {
        if (!words_word(p, "loss, twice or reorder", words, countof(words),
                        &which) ||
            !words_u32(p, 0, 1000, &value)) {
            return false;
        }
        if (which == 0) {
            s->loss = value;
        } else if (which == 1) {
            s->twice = value;
        } else {
            s->v = value;
        }
    } while (p->at < p->n && strcmp(words_here(p), "for") != 0);
    return true;
}

static bool parse_disk(struct words *p, struct step *s)
{
    static const char *const words[] = {"stall", "slow", "eio",
                                        "full",  "ok",   "rot"};
    static const enum sim_verb acts[] = {SIM_STALL, SIM_SLOW_DISK, SIM_EIO,
                                         SIM_FULL,  SIM_DISK_OK,   SIM_ROT};
    uint32_t which = 0;
    uint64_t factor = 0;
    if (!words_target(p, &s->a) || !words_word(p, "what happens to the disk",
                                               words, countof(words), &which)) {
        return false;
    }
    s->act = acts[which];
    if (s->act == SIM_SLOW_DISK || s->act == SIM_ROT) {
        if (!words_number(p, s->act == SIM_ROT ? 0 : 1, 100000, &factor)) {
            return false;
        }
        s->v = (int64_t)factor;
    }
    return true;
}

static bool parse_clock(struct words *p, struct step *s)
{
    if (!words_target(p, &s->a)) {
        return false;
    }
    if (words_accept(p, "drift")) {
        s->act = SIM_DRIFT;
        return words_share(p, 100000, &s->v);
    }
    if (words_accept(p, "jump")) {
        s->act = SIM_JUMP;
        if (!words_time(p, -(int64_t)(86400ull * SIM_S), &s->v)) {
            return false;
        }
        s->v /= SIM_MS;
        return true;
    }
    return words_wrong(p, "expected drift or jump, found \"%s\"",
                       words_here(p));
}

static bool parse_call(struct words *p, struct step *s)
{
    const char *words[SIM_OPS_N];
    for (uint32_t i = 0; i < SIM_OPS_N; i++) {
        words[i] = sim_op_name((enum sim_op_kind)i);
    }
    return words_target(p, &s->a) &&
           words_word(p, "a call", words, SIM_OPS_N, &s->call);
}

static const char *const counter_words[] = {
#define WORD(name) #name,
    SIM_COVERAGE(WORD)
#undef WORD
};

static bool parse_at_most(struct words *p, uint64_t *out)
{
    return words_want(p, "<=") && words_number(p, 0, 1000000, out);
}

static bool parse_in(struct words *p, struct step *s)
{
    static const char *const words[] = {"each", "half", "one"};
    uint32_t which = EXPECTED_IN_EACH;
    if (words_accept(p, "in") &&
        !words_word(p, "each, half or one, of the seeds", words, countof(words),
                    &which)) {
        return false;
    }
    s->in = (enum expected_in)which;
    return true;
}

static bool parse_expect(struct words *p, struct step *s)
{
    static const char *const words[EXPECTATIONS_N] = {
        "leader",    "no-leader", "leads",          "leads-not",
        "up",        "down",      "voter",          "learner",
        "no-member", "answers",   "leader-changes", "converged",
        "told",      "covered",   "overlap",        "unavailable"};
    uint32_t which = 0;
    if (!words_word(p, "what is expected", words, countof(words), &which)) {
        return false;
    }
    s->expect = (enum expectation)which;
    switch (s->expect) {
    case EXPECT_LEADS:
    case EXPECT_LEADS_NOT:
    case EXPECT_UP:
    case EXPECT_DOWN:
    case EXPECT_VOTER:
    case EXPECT_LEARNER:
    case EXPECT_NO_MEMBER:
        return words_target(p, &s->a) && words_want(p, "within") &&
               words_span(p, 1, &s->within_us);
    case EXPECT_LEADER_CHANGES:
        return parse_at_most(p, &s->number) && words_want(p, "over") &&
               words_span(p, 1, &s->within_us);
    case EXPECT_COVERED:
        return words_word(p, "a counter", counter_words, countof(counter_words),
                          &s->counter) &&
               words_want(p, ">=") &&
               words_number(p, 1, UINT64_MAX, &s->number) && parse_in(p, s);
    case EXPECT_OVERLAP:
    case EXPECT_UNAVAILABLE:
        return words_want(p, "<=") && words_span(p, 0, &s->within_us);
    default:
        return words_want(p, "within") && words_span(p, 1, &s->within_us);
    }
}

static bool parse_heal(struct words *p, struct step *s)
{
    const struct sim_options *o = &p->s->options;
    if (words_accept(p, "all")) {
        s->sides = (2ull << (o->nodes_n + o->spares_n)) - 2;
        return true;
    }
    return words_sides(p, false, &s->sides);
}

static bool parse_transfer(struct words *p, struct step *s)
{
    if (words_accept(p, "any")) {
        s->b = (struct target){TARGET_HOST, 0};
    } else if (!words_target(p, &s->b)) {
        return false;
    }
    s->a = (struct target){TARGET_HOST, SIM_HOST_OF_CLIENT(0)};
    return !words_accept(p, "by") || words_target(p, &s->a);
}

/* Whom the operator asks first is `b`. */
static bool parse_change(struct words *p, struct step *s)
{
    if (!words_target(p, &s->a)) {
        return false;
    }
    s->b = (struct target){TARGET_HOST, 0};
    return !words_accept(p, "via") || words_target(p, &s->b);
}

static bool parse_verb(struct words *p, struct step *s)
{
    int64_t us = 0;
    bool on = false;
    switch (s->verb) {
    case STEP_CRASH:
        if (!words_target(p, &s->a)) {
            return false;
        }
        s->power = words_accept(p, "power");
        return true;
    case STEP_CUT:
    case STEP_MEND:
        return parse_link(p, s);
    case STEP_CLOG:
        if (!parse_link(p, s) || !words_want(p, "by") ||
            !words_time(p, 0, &us)) {
            return false;
        }
        s->v = us;
        return true;
    case STEP_SPLIT:
        return words_sides(p, true, &s->sides);
    case STEP_BRIDGE:
        return words_target(p, &s->a) && words_sides(p, true, &s->sides);
    case STEP_RING:
    case STEP_CHAIN:
    case STEP_SWIZZLE:
        return true;
    case STEP_HOSTILE:
        return parse_hostile(p, s);
    case STEP_DISK:
        return parse_disk(p, s);
    case STEP_CLOCK:
        return parse_clock(p, s);
    case STEP_THROTTLE:
        if (!words_target(p, &s->a) || !words_time(p, 0, &us)) {
            return false;
        }
        s->v = us / SIM_MS;
        return true;
    case STEP_TRANSFER:
        return parse_transfer(p, s);
    case STEP_ADD:
    case STEP_PROMOTE:
    case STEP_REMOVE:
        return parse_change(p, s);
    case STEP_CALL:
        return parse_call(p, s);
    case STEP_LOAD:
        if (!words_switch(p, &on)) {
            return false;
        }
        s->v = on;
        return true;
    case STEP_HEAL:
        return parse_heal(p, s);
    case STEP_EXPECT:
        return parse_expect(p, s);
    default:
        return words_target(p, &s->a);
    }
}

/* Whether it can be undone. */
static bool lasts(enum step_verb verb)
{
    switch (verb) {
    case STEP_CRASH:
    case STEP_STOP:
    case STEP_PAUSE:
    case STEP_CUT:
    case STEP_CLOG:
    case STEP_ISOLATE:
    case STEP_MUTE:
    case STEP_DEAF:
    case STEP_SPLIT:
    case STEP_BRIDGE:
    case STEP_RING:
    case STEP_CHAIN:
    case STEP_STAR:
    case STEP_SWIZZLE:
    case STEP_HOSTILE:
    case STEP_DISK:
    case STEP_CLOCK:
    case STEP_THROTTLE:
    case STEP_LOAD:
        return true;
    default:
        return false;
    }
}

static bool parse_step(struct words *p, struct step *s)
{
    uint32_t verb = 0;
    s->line = p->line;
    s->name = UINT32_MAX;
    if (words_accept(p, "suspend")) {
        verb = STEP_PAUSE; /* a clock that goes on is all the difference */
    } else if (!words_word(p, "a verb", step_words, STEP_VERBS_N, &verb)) {
        return false;
    }
    s->verb = (enum step_verb)verb;
    if (!parse_verb(p, s)) {
        return false;
    }
    if (words_accept(p, "as") && !words_name(p, &s->name)) {
        return false;
    }
    if (p->at < p->n && strcmp(words_here(p), "for") == 0 && !lasts(s->verb)) {
        return words_wrong(p, "\"%s\" doesn't last, so it can't be for a time",
                           step_words[s->verb]);
    }
    if (words_accept(p, "for") && !words_span(p, 1, &s->for_us)) {
        return false;
    }
    if (p->at < p->n && strcmp(words_here(p), "as") == 0) {
        return words_wrong(p, "\"as\" stands before \"for\"");
    }
    return true;
}

static struct step *new_step(struct words *p)
{
    if (p->s->steps_n == SCENARIO_STEPS_MAX) {
        (void)words_wrong(p, "there are %u steps already, no more",
                          p->s->steps_n);
        return NULL;
    }
    struct step *s = &p->s->steps[p->s->steps_n++];
    *s = (struct step){0};
    return s;
}

static bool parse_at(struct words *p)
{
    struct step *s = new_step(p);
    if (s == NULL) {
        return false;
    }
    if (words_accept(p, "end")) {
        s->at_us = AT_END;
    } else if (!words_span(p, 0, &s->at_us)) {
        return false;
    }
    if (!parse_step(p, s)) {
        return false;
    }
    bool of_end = s->verb == STEP_EXPECT && s->expect >= EXPECT_COVERED;
    if (s->at_us == AT_END && !of_end) {
        p->at = 2;
        return words_wrong(p,
                           "at the end, only \"expect covered\", \"expect "
                           "overlap\" and \"expect unavailable\" can be asked");
    }
    return true;
}

static bool parse_every(struct words *p)
{
    struct step *s = new_step(p);
    return s != NULL && words_span(p, SIM_MS, &s->every_us) &&
           words_want(p, "from") && words_span(p, 0, &s->at_us) &&
           words_want(p, "to") && words_span(p, 0, &s->to_us) &&
           parse_step(p, s);
}

/* --- what it's made of ----------------------------------------------------------------------------------------------------------- */

static bool parse_nodes(struct words *p)
{
    struct sim_options *o = &p->s->options;
    return words_u32(p, 1, SIM_NODES_MAX, &o->nodes_n) &&
           (!words_accept(p, "spares") ||
            words_u32(p, 0, SIM_NODES_MAX - o->nodes_n, &o->spares_n));
}

static bool parse_clients(struct words *p)
{
    struct sim_options *o = &p->s->options;
    static const char *const words[] = {"rate", "tabs"};
    uint32_t which = 0;
    if (!words_u32(p, 1, SIM_CLIENTS_MAX, &o->clients_n)) {
        return false;
    }
    while (p->at < p->n) {
        if (!words_word(p, "rate or tabs", words, countof(words), &which)) {
            return false;
        }
        if (which == 0 ? !words_u32(p, 0, 100000, &o->rate)
                       : !words_u32(p, 1, SIM_TABS_MAX, &o->tabs_n)) {
            return false;
        }
    }
    return true;
}

enum setting {
    SET_ELECTION,
    SET_HEARTBEAT,
    SET_TTL,
    SET_GROUPS,
    SET_DEVICES,
    SET_DRIFT,
    SET_DELAY,
    SET_DISK,
    SET_CHECKPOINT,
    SET_KEEP,
    SET_CHUNK,
    SET_LEASE_READS,
    SET_QUEUE,
    SET_EVENTS,
    SET_SESSIONS,
    SET_CHANGES,
    SETTINGS_N,
};

static bool parse_setting(struct words *p, enum setting which)
{
    struct sim_options *o = &p->s->options;
    int64_t v = 0;
    switch (which) {
    case SET_ELECTION:
    case SET_HEARTBEAT:
    case SET_TTL:
        if (!words_time(p, which == SET_TTL ? SIM_S : SIM_MS, &v)) {
            return false;
        }
        v /= SIM_MS;
        o->election_ms = which == SET_ELECTION ? (uint64_t)v : o->election_ms;
        o->heartbeat_ms =
            which == SET_HEARTBEAT ? (uint64_t)v : o->heartbeat_ms;
        o->ttl_ms = which == SET_TTL ? (uint32_t)v : o->ttl_ms;
        return true;
    case SET_GROUPS:
        return words_u32(p, 1, SIM_GROUPS_MAX, &o->groups_n);
    case SET_DEVICES:
        return words_u32(p, 1, SIM_DEVICES_MAX, &o->devices_n);
    case SET_DRIFT:
        if (!words_share(p, 100000, &v)) {
            return false;
        }
        o->drift_ppm = (uint32_t)(v < 0 ? -v : v);
        return true;
    case SET_DELAY:
        return words_range(p, &o->delay_min_us, &o->delay_max_us);
    case SET_DISK:
        return words_range(p, &o->disk_min_us, &o->disk_max_us);
    case SET_CHECKPOINT:
        return words_u32(p, 1, 1000000, &o->checkpoint_entries);
    case SET_KEEP:
        return words_u32(p, 0, 1000000, &o->log_keep_entries);
    case SET_CHUNK:
        return words_number(p, 0, 1 << 20, &o->read_bytes);
    case SET_LEASE_READS:
        return words_switch(p, &o->lease_reads);
    case SET_QUEUE:
        return words_number(p, 64u << 10, 64u << 20, &o->client_queue_bytes);
    case SET_EVENTS:
        return words_u32(p, 1, 1000000, &o->events_keep);
    case SET_SESSIONS:
        return words_u32(p, 1, 2048, &o->sessions_max);
    case SET_CHANGES:
        return words_switch(p, &o->changes);
    case SETTINGS_N:
        break;
    }
    return false;
}

static bool parse_set(struct words *p)
{
    static const char *const words[SETTINGS_N] = {
        "election",   "heartbeat", "ttl",      "groups",
        "devices",    "drift",     "delay",    "disk",
        "checkpoint", "keep",      "chunk",    "lease-reads",
        "queue",      "events",    "sessions", "changes"};
    uint32_t which = 0;
    do {
        if (!words_word(p, "a setting", words, countof(words), &which) ||
            !parse_setting(p, (enum setting)which)) {
            return false;
        }
    } while (p->at < p->n);
    return true;
}

static bool parse_seeds(struct words *p)
{
    const char *dots = strstr(words_here(p), "..");
    char *rest = NULL;
    p->s->options.seed = strtoull(words_here(p), &rest, 10);
    bool ok = p->at < p->n && rest != words_here(p) && words_here(p)[0] != '-';
    p->s->seed_to = p->s->options.seed;
    if (ok && dots != NULL && rest == dots) {
        p->s->seed_to = strtoull(dots + 2, &rest, 10);
        ok = rest != dots + 2;
    }
    if (!ok || *rest != 0 || p->s->seed_to < p->s->options.seed) {
        return words_wrong(p, "expected a seed, or A..B, found \"%s\"",
                           words_here(p));
    }
    p->at++;
    return true;
}

static bool parse_name(struct words *p)
{
    if (p->at == p->n) {
        return words_wrong(p, "expected the scenario's name");
    }
    (void)snprintf(p->s->name, sizeof p->s->name, "%s", words_here(p));
    p->at++;
    return true;
}

static bool parse_line(struct words *p)
{
    static const char *const words[] = {
        "scenario", "nodes", "clients", "set", "seeds",
        "last",     "swarm", "settle",  "at",  "every"};
    struct scenario *s = p->s;
    uint32_t which = 0;
    if (!words_word(p, "how a line begins", words, countof(words), &which)) {
        return false;
    }
    if (which <= 2 && s->steps_n > 0) {
        p->at = 0;
        return words_wrong(p, "\"%s\" must come before the first step",
                           words[which]);
    }
    switch (which) {
    case 0:
        return parse_name(p);
    case 1:
        return parse_nodes(p);
    case 2:
        return parse_clients(p);
    case 3:
        return parse_set(p);
    case 4:
        return parse_seeds(p);
    case 5:
        return words_span(p, 1, &s->options.chaos_us);
    case 6:
        return words_switch(p, &s->swarm);
    case 7:
        if (p->at < p->n && strcmp(words_here(p), "{") == 0) {
            return words_sides(p, false, &s->core);
        }
        return words_switch(p, &s->settles);
    case 8:
        return parse_at(p);
    default:
        return parse_every(p);
    }
}

static void defaults(struct scenario *s)
{
    memset(s, 0, sizeof *s);
    s->seed_to = 1;
    s->settles = true;
    s->options = (struct sim_options){
        .seed = 1,
        .nodes_n = 3,
        .clients_n = 4,
        .election_ms = 300,
        .heartbeat_ms = 50,
        .ttl_ms = 3000,
        .rate = 20,
        .groups_n = 2,
        .devices_n = 2,
        .tabs_n = 3,
        .delay_min_us = 500,
        .delay_max_us = 2000,
        .disk_min_us = 200,
        .disk_max_us = 1000,
        .checkpoint_entries = 200,
        .log_keep_entries = 100,
        .client_queue_bytes = 8u << 20,
        .events_keep = 100000,
        .sessions_max = 2048,
    };
}

bool scenario_parse(const char *path, const char *text, struct scenario *out,
                    char *error, size_t error_bytes)
{
    struct words p = {
        .path = path, .s = out, .error = error, .error_bytes = error_bytes};
    defaults(out);
    while (*text != 0) {
        size_t bytes = strcspn(text, "\n");
        p.line++;
        if (!words_split(&p, text, bytes) || (p.n > 0 && !parse_line(&p))) {
            return false;
        }
        if (p.at < p.n) {
            return words_wrong(&p, "expected the end of the line, found \"%s\"",
                               words_here(&p));
        }
        text += bytes + (text[bytes] == '\n');
    }
    if (out->options.heartbeat_ms * 2 > out->options.election_ms) {
        return words_wrong(
            &p,
            "the heartbeat interval (%llu ms) must be at most half "
            "of the election timeout (%llu ms)",
            (unsigned long long)out->options.heartbeat_ms,
            (unsigned long long)out->options.election_ms);
    }
    if (out->options.chaos_us != 0 &&
        scenario_lasts_us(out) > out->options.chaos_us) {
        return words_wrong(&p, "a step begins, ends or is to be met behind "
                               "\"last\"");
    }
    if (out->options.chaos_us == 0) {
        out->options.chaos_us = scenario_lasts_us(out) + SIM_S;
    }
    return true;
}

bool scenario_read(const char *path, struct scenario *out, char *error,
                   size_t error_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    char *text = calloc(1, FILE_BYTES_MAX + 1);
    ASSERT(text != NULL);
    size_t n = fread(text, 1, FILE_BYTES_MAX, file);
    bool whole = ferror(file) == 0 && n < FILE_BYTES_MAX;
    (void)fclose(file);
    bool ok = false;
    if (!whole || memchr(text, 0, n) != NULL) {
        (void)snprintf(error, error_bytes,
                       "%s: can't be read as text of less than 1 MiB", path);
    } else {
        ok = scenario_parse(path, text, out, error, error_bytes);
    }
    free(text);
    return ok;
}

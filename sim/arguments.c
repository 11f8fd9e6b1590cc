#include "sim/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/swarm.h"

/* Digits up to `end`, which must follow. */
static const char *number(const char *text, const char *end, uint64_t *out)
{
    char *rest = NULL;
    errno = 0;
    *out = strtoull(text, &rest, 10);
    bool ok = text[0] >= '0' && text[0] <= '9' && errno == 0 &&
              strncmp(rest, end, strlen(end)) == 0 &&
              (end[0] != 0 || *rest == 0);
    return ok ? rest + strlen(end) : NULL;
}

bool arguments_number(const char *text, uint64_t *out)
{
    return number(text, "", out) != NULL;
}

static bool take_seeds(const char *text, struct arguments *out)
{
    const char *rest = number(text, "..", &out->seed_from);
    return rest != NULL && arguments_number(rest, &out->seed_to) &&
           out->seed_from <= out->seed_to;
}

struct option {
    const char *name;
    uint32_t bit;
    const char *wants; /* NULL: it has no value */
};

static const struct option options[] = {
    {"--seeds", ARG_SEEDS, "A..B, two numbers, the smaller one first"},
    {"--seed", ARG_SEED, "a number"},
    {"--seconds", ARG_SECONDS, "a number from 1"},
    {"--jobs", ARG_JOBS, "a number, 1 to 64"},
    {"-o", ARG_OUT, "a file to write"},
    {"--json", ARG_JSON, NULL},
    {"--log", ARG_LOG, NULL},
    {"--covered", ARG_COVERED, NULL},
};

static bool take_value(const struct option *o, const char *value,
                       struct arguments *out)
{
    switch (o->bit) {
    case ARG_SEEDS:
        return take_seeds(value, out);
    case ARG_SEED:
        out->given |= ARG_SEEDS;
        return take_seeds(value, out) ||
               (arguments_number(value, &out->seed_from) &&
                (out->seed_to = out->seed_from, true));
    case ARG_SECONDS:
        return arguments_number(value, &out->seconds) && out->seconds > 0;
    case ARG_JOBS:
        return arguments_number(value, &out->jobs) && out->jobs > 0 &&
               out->jobs <= SWARM_JOBS_MAX;
    default:
        out->out = value;
        return value[0] != 0;
    }
}

static const struct option *find(const char *name)
{
    for (size_t i = 0; i < countof(options); i++) {
        if (strcmp(options[i].name, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

bool arguments_read(int argc, char **argv, uint32_t taken,
                    struct arguments *out)
{
    *out = (struct arguments){.jobs = 1};
    for (int i = 2; i < argc; i++) {
        const struct option *o = find(argv[i]);
        if (o == NULL && argv[i][0] != '-' && out->what == NULL) {
            out->what = argv[i];
            continue;
        }
        if (o == NULL || (taken & o->bit) == 0) {
            (void)snprintf(out->error, sizeof out->error,
                           "%s doesn't take \"%.80s\"", argv[1], argv[i]);
            return false;
        }
        out->given |= o->bit;
        if (o->wants == NULL) {
            continue;
        }
        i++;
        if (i == argc || !take_value(o, argv[i], out)) {
            (void)snprintf(out->error, sizeof out->error,
                           "%s wants %s, not \"%.80s\"", o->name, o->wants,
                           i < argc ? argv[i] : "");
            return false;
        }
    }
    return true;
}

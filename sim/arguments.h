/* arguments.h - what baton-sim was asked for. */
#ifndef SIM_ARGUMENTS_H
#define SIM_ARGUMENTS_H

#include "proto/base.h"

/* Options, as bits: which a verb takes. */
enum {
    ARG_SEEDS = 1,
    ARG_SECONDS = 2,
    ARG_JOBS = 4,
    ARG_JSON = 8,
    ARG_LOG = 16,
    ARG_COVERED = 32,
    ARG_OUT = 64,
    ARG_SEED = 128,
};

struct arguments {
    const char *what; /* the word behind the verb; NULL: there's none */
    uint32_t given;   /* options, as bits */
    uint64_t seed_from;
    uint64_t seed_to;
    uint64_t seconds;
    uint64_t jobs;
    const char *out; /* a file's name */
    char error[256]; /* what is wrong */
};

/* What stands behind the verb argv[1], which takes the options `taken`. False: out->error says what is wrong. */
MUST_USE bool arguments_read(int argc, char **argv, uint32_t taken,
                             struct arguments *out);
MUST_USE bool arguments_number(const char *text, uint64_t *out);

#endif

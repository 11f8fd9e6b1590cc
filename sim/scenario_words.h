/* scenario_words.h - a line of a scenario, word by word; and what to say where one is wrong.
 *
 * Each words_NAME() takes the next word if it is one of that kind; if not, it notes what was expected there, what was found, and what may
 * have been meant, and returns false. The first such note stays. */
#ifndef SIM_SCENARIO_WORDS_H
#define SIM_SCENARIO_WORDS_H

#include "sim/scenario.h"

#define LINE_TOKENS_MAX 64u
#define TOKEN_BYTES     64u

struct token {
    char text[TOKEN_BYTES];
    uint32_t column;
};

struct words {
    const char *path;
    struct scenario *s;
    uint32_t line;
    struct token tokens[LINE_TOKENS_MAX];
    uint32_t n;
    uint32_t at;
    uint32_t end_column;
    bool failed;
    char *error;
    size_t error_bytes;
};

/* Always false. */
bool words_wrong(struct words *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The next word, or what to call the line's end. */
const char *words_here(const struct words *p);
/* Words between blanks; braces and bars are words by themselves; "..." is one; # begins a comment. */
MUST_USE bool words_split(struct words *p, const char *text, size_t bytes);
/* Takes this word if it's next; nothing is wrong if it isn't. */
bool words_accept(struct words *p, const char *word);
MUST_USE bool words_want(struct words *p, const char *word);
/* One of n; `what` they are. NULL among them is none. */
MUST_USE bool words_word(struct words *p, const char *what,
                         const char *const *words, size_t n, uint32_t *out);
MUST_USE bool words_number(struct words *p, uint64_t min, uint64_t max,
                           uint64_t *out);
MUST_USE bool words_u32(struct words *p, uint64_t min, uint64_t max,
                        uint32_t *out);
/* 250ms, 1.5m, -2s; at least min_us, at most a day. */
MUST_USE bool words_time(struct words *p, int64_t min_us, int64_t *out_us);
MUST_USE bool words_span(struct words *p, int64_t min_us, uint64_t *out_us);
/* 5%, -200ppm; at most so much either way. */
MUST_USE bool words_share(struct words *p, int64_t most_ppm, int64_t *out_ppm);
/* 1ms..5ms, or one time for both. */
MUST_USE bool words_range(struct words *p, uint64_t *out_min,
                          uint64_t *out_max);
MUST_USE bool words_switch(struct words *p, bool *out);
MUST_USE bool words_target(struct words *p, struct target *out);
/* A name that exists, or a new one. */
MUST_USE bool words_name(struct words *p, uint32_t *out);
/* { n1 n2 }, a set of nodes; with `bar` { n1 n2 | n3 }, and those before the bar are meant. */
MUST_USE bool words_sides(struct words *p, bool bar, uint64_t *out);

#endif

#include "sim/scenario_words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/client.h"
#include "sim/scenario_find.h"

/* --- what's wrong ------------------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) bool words_wrong(struct words *p,
                                                       const char *format, ...)
{
    va_list args;
    if (p->failed) {
        return false;
    }
    p->failed = true;
    uint32_t column = p->at < p->n ? p->tokens[p->at].column : p->end_column;
    int n = snprintf(p->error, p->error_bytes, "%s:%u:%u: ", p->path, p->line,
                     column);
    if (n > 0 && (size_t)n < p->error_bytes) {
        va_start(args, format);
        (void)vsnprintf(p->error + n, p->error_bytes - (size_t)n, format, args);
        va_end(args);
    }
    return false;
}

const char *words_here(const struct words *p)
{
    return p->at < p->n ? p->tokens[p->at].text : "the end of the line";
}

static bool wrong_word(struct words *p, const char *what,
                       const char *const *words, size_t n)
{
    char all[400] = "";
    const char *nearest = NULL;
    uint32_t best = 3;
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (words[i] == NULL) {
            continue;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                 used > 0 ? ", " : "", words[i]);
        used = used < sizeof all ? used : sizeof all - 1;
        uint32_t d = scenario_distance(words[i], words_here(p));
        if (d < best) {
            best = d;
            nearest = words[i];
        }
    }
    if (nearest != NULL) {
        return words_wrong(p, "expected %s, found \"%s\": did you mean \"%s\"?",
                           what, words_here(p), nearest);
    }
    return words_wrong(p, "expected %s (%s), found %s%s%s", what, all,
                       p->at < p->n ? "\"" : "", words_here(p),
                       p->at < p->n ? "\"" : "");
}

/* --- tokens ------------------------------------------------------------------------------------------------------------------- */

static bool alone(char c)
{
    return c == '{' || c == '}' || c == '|';
}

/* Words between blanks; braces and bars are words by themselves; "..." is one; # begins a comment. */
bool words_split(struct words *p, const char *text, size_t bytes)
{
    size_t i = 0;
    p->n = 0;
    p->at = 0;
    p->end_column = (uint32_t)bytes + 1;
    while (i < bytes) {
        if (text[i] == ' ' || text[i] == '\t' || text[i] == '\r') {
            i++;
            continue;
        }
        if (text[i] == '#') {
            p->end_column = (uint32_t)i + 1;
            return true;
        }
        size_t from = i;
        bool quoted = text[i] == '"';
        if (quoted) {
            from = ++i;
            while (i < bytes && text[i] != '"') {
                i++;
            }
        } else if (alone(text[i])) {
            i++;
        } else {
            while (i < bytes && strchr(" \t\r#{}|", text[i]) == NULL) {
                i++;
            }
        }
        if (p->n == LINE_TOKENS_MAX || i - from >= TOKEN_BYTES) {
            p->end_column = (uint32_t)from + 1;
            p->at = p->n;
            return words_wrong(p,
                               "the line has too many words, or a word is too "
                               "long; at most %u words of less than %u bytes",
                               LINE_TOKENS_MAX, TOKEN_BYTES);
        }
        struct token *t = &p->tokens[p->n++];
        memcpy(t->text, text + from, i - from);
        t->text[i - from] = 0;
        t->column = (uint32_t)from + 1;
        i += quoted ? 1 : 0;
    }
    return true;
}

bool words_accept(struct words *p, const char *word)
{
    if (p->at < p->n && strcmp(p->tokens[p->at].text, word) == 0) {
        p->at++;
        return true;
    }
    return false;
}

bool words_want(struct words *p, const char *word)
{
    return words_accept(p, word) ||
           words_wrong(p, "expected \"%s\", found \"%s\"", word, words_here(p));
}

bool words_word(struct words *p, const char *what, const char *const *words,
                size_t n, uint32_t *out)
{
    for (size_t i = 0; i < n; i++) {
        if (words[i] != NULL && words_accept(p, words[i])) {
            *out = (uint32_t)i;
            return true;
        }
    }
    return wrong_word(p, what, words, n);
}

bool words_number(struct words *p, uint64_t min, uint64_t max, uint64_t *out)
{
    const char *text = words_here(p);
    char *rest = NULL;
    errno = 0;
    *out = strtoull(text, &rest, 10);
    if (p->at == p->n || text[0] < '0' || text[0] > '9' || *rest != 0 ||
        errno != 0 || *out < min || *out > max) {
        return words_wrong(p, "expected a number, %llu to %llu, found \"%s\"",
                           (unsigned long long)min, (unsigned long long)max,
                           text);
    }
    p->at++;
    return true;
}

bool words_u32(struct words *p, uint64_t min, uint64_t max, uint32_t *out)
{
    uint64_t number = 0;
    if (!words_number(p, min, max, &number)) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

/* A number and its unit, in millionths of the first unit. False: it's no such thing. */
struct unit {
    const char *name;
    uint64_t worth;
};

static bool measure(const char *text, size_t bytes, const struct unit *units,
                    size_t units_n, int64_t *out)
{
    bool negative = bytes > 0 && text[0] == '-';
    uint64_t whole = 0;
    uint64_t part = 0;
    uint64_t part_of = 1;
    size_t i = negative;
    size_t digits = 0;
    for (; i < bytes && text[i] >= '0' && text[i] <= '9'; i++, digits++) {
        whole = whole * 10 + (uint64_t)(text[i] - '0');
    }
    if (i < bytes && text[i] == '.') {
        for (i++; i < bytes && text[i] >= '0' && text[i] <= '9'; i++) {
            if (part_of < 1000000) {
                part = part * 10 + (uint64_t)(text[i] - '0');
                part_of *= 10;
            }
        }
    }
    if (digits == 0 || digits > 12) {
        return false;
    }
    for (size_t u = 0; u < units_n; u++) {
        if (strlen(units[u].name) == bytes - i &&
            memcmp(units[u].name, text + i, bytes - i) == 0) {
            uint64_t value =
                whole * units[u].worth + part * units[u].worth / part_of;
            *out = negative ? -(int64_t)value : (int64_t)value;
            return true;
        }
    }
    return false;
}

static const struct unit times[] = {{"us", 1},
                                    {"ms", SIM_MS},
                                    {"s", SIM_S},
                                    {"m", 60ull * SIM_S},
                                    {"h", 3600ull * SIM_S}};
static const struct unit shares[] = {{"ppm", 1}, {"%", 10000}};

bool words_time(struct words *p, int64_t min_us, int64_t *out_us)
{
    if (p->at == p->n || !measure(words_here(p), strlen(words_here(p)), times,
                                  countof(times), out_us)) {
        return words_wrong(p,
                           "expected a time such as 250ms, 3s or 1.5m, found "
                           "\"%s\"",
                           words_here(p));
    }
    if (*out_us < min_us || *out_us > (int64_t)(86400ull * SIM_S)) {
        return words_wrong(
            p,
            "\"%s\" is too short or too long: at least %lld us, at "
            "most a day",
            words_here(p), (long long)min_us);
    }
    p->at++;
    return true;
}

bool words_span(struct words *p, int64_t min_us, uint64_t *out_us)
{
    int64_t us = 0;
    if (!words_time(p, min_us, &us)) {
        return false;
    }
    *out_us = (uint64_t)us;
    return true;
}

bool words_share(struct words *p, int64_t most_ppm, int64_t *out_ppm)
{
    if (p->at == p->n || !measure(words_here(p), strlen(words_here(p)), shares,
                                  countof(shares), out_ppm)) {
        return words_wrong(
            p, "expected a share such as 5%% or 200ppm, found \"%s\"",
            words_here(p));
    }
    if (*out_ppm > most_ppm || *out_ppm < -most_ppm) {
        return words_wrong(p, "\"%s\" is more than %lld%%", words_here(p),
                           (long long)most_ppm / 10000);
    }
    p->at++;
    return true;
}

/* 1ms..5ms, or one time for both. */
bool words_range(struct words *p, uint64_t *out_min, uint64_t *out_max)
{
    const char *text = words_here(p);
    const char *dots = strstr(text, "..");
    int64_t a = 0;
    int64_t b = 0;
    bool ok = p->at < p->n;
    if (ok && dots == NULL) {
        ok = measure(text, strlen(text), times, countof(times), &a);
        b = a;
    } else if (ok) {
        ok = measure(text, (size_t)(dots - text), times, countof(times), &a) &&
             measure(dots + 2, strlen(dots + 2), times, countof(times), &b);
    }
    if (!ok || a < 1 || b < a || b > (int64_t)(60ull * SIM_S)) {
        return words_wrong(p,
                           "expected a range of times such as 1ms..5ms, the "
                           "smaller one first, found \"%s\"",
                           text);
    }
    p->at++;
    *out_min = (uint64_t)a;
    *out_max = (uint64_t)b;
    return true;
}

bool words_switch(struct words *p, bool *out)
{
    static const char *const words[] = {"off", "on"};
    uint32_t which = 0;
    if (!words_word(p, "on or off", words, countof(words), &which)) {
        return false;
    }
    *out = which == 1;
    return true;
}

/* --- who is meant ------------------------------------------------------------------------------------------------------------- */

/* n1, c0: a letter and a number behind it, below `end`. */
static bool numbered(const char *text, char letter, uint32_t end, uint32_t *out)
{
    char *rest = NULL;
    if (text[0] != letter || text[1] < '0' || text[1] > '9') {
        return false;
    }
    unsigned long number = strtoul(text + 1, &rest, 10);
    *out = (uint32_t)number;
    return *rest == 0 && number < end;
}

static uint32_t nodes_n(const struct words *p)
{
    return p->s->options.nodes_n + p->s->options.spares_n;
}

static bool is_node(const struct words *p, uint32_t *out)
{
    return p->at < p->n && numbered(words_here(p), 'n', nodes_n(p) + 1, out) &&
           *out > 0;
}

bool words_target(struct words *p, struct target *out)
{
    static const char *const words[] = {"leader", "random", "nodes", "clients"};
    static const enum target_kind kinds[] = {TARGET_LEADER, TARGET_RANDOM,
                                             TARGET_NODES, TARGET_CLIENTS};
    const char *text = words_here(p);
    uint32_t i = 0;
    bool any = p->at < p->n;
    if (is_node(p, &i)) {
        *out = (struct target){TARGET_HOST, i};
    } else if (any && numbered(text, 'c', p->s->options.clients_n, &i)) {
        *out = (struct target){TARGET_HOST, SIM_HOST_OF_CLIENT(i)};
    } else if (any && strncmp(text, "follower[", 9) == 0 && text[9] >= '0' &&
               text[9] <= '8' && strcmp(text + 10, "]") == 0) {
        *out = (struct target){TARGET_FOLLOWER, (uint32_t)(text[9] - '0')};
    } else {
        for (i = 0; any && i < p->s->names_n; i++) {
            if (words_accept(p, p->s->names[i])) {
                *out = (struct target){TARGET_NAME, i};
                return true;
            }
        }
        for (i = 0; any && i < countof(words); i++) {
            if (words_accept(p, words[i])) {
                *out = (struct target){.kind = kinds[i]};
                return true;
            }
        }
        return words_wrong(
            p,
            "expected who is meant, found \"%s\": n1 to n%u, c0 to "
            "c%u, leader, follower[0], random, nodes, clients, or "
            "a name that an \"as\" gave",
            text, nodes_n(p), p->s->options.clients_n - 1);
    }
    p->at++;
    return true;
}

bool words_name(struct words *p, uint32_t *out)
{
    const char *text = words_here(p);
    if (p->at == p->n || strlen(text) >= SCENARIO_NAME || text[0] < 'a' ||
        text[0] > 'z') {
        return words_wrong(
            p,
            "expected a name, which begins with a small letter and "
            "has less than %u of them, found \"%s\"",
            SCENARIO_NAME, text);
    }
    for (uint32_t i = 0; i < p->s->names_n; i++) {
        if (words_accept(p, p->s->names[i])) {
            *out = i;
            return true;
        }
    }
    if (p->s->names_n == SCENARIO_NAMES_MAX) {
        return words_wrong(p, "there are %u names already, no more",
                           p->s->names_n);
    }
    (void)snprintf(p->s->names[p->s->names_n], SCENARIO_NAME, "%s", text);
    *out = p->s->names_n++;
    p->at++;
    return true;
}

/* { n1 n2 | n3 }: a set of nodes, before the bar; or without one. */
bool words_sides(struct words *p, bool bar, uint64_t *out)
{
    uint64_t side = 0;
    bool behind = false;
    uint32_t id = 0;
    *out = 0;
    if (!words_want(p, "{")) {
        return false;
    }
    while (!words_accept(p, "}")) {
        if (bar && !behind && words_accept(p, "|")) {
            *out = side;
            behind = true;
            continue;
        }
        if (!is_node(p, &id)) {
            return words_wrong(p,
                               "expected a node, n1 to n%u,%s or \"}\", found "
                               "\"%s\"",
                               nodes_n(p), bar ? " or \"|\"," : "",
                               words_here(p));
        }
        side |= behind ? 0 : 1ull << id;
        p->at++;
    }
    if (bar && !behind) {
        p->at--;
        return words_wrong(p, "expected two sides with a \"|\" between them");
    }
    *out = side;
    return true;
}

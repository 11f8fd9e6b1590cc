#include "node/config_inner.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names with our prefix that aren't batond's: the command line's, and what `baton elect` sets. */
static const char *const other_names[] = {"BATON_ENDPOINTS", "BATON_EPOCH",
                                          "BATON_SCOPE", "BATON_BIN",
                                          "BATON_CONFIG"};

struct reading {
    struct config *out;
    char *error;
    size_t error_bytes;
    const char *file; /* NULL: not a file */
    FILE *stream;
    /* Of the file, counted as it's read: Debian's inih doesn't tell. */
    int line;
    /* Settings that the file gave, by their place in the table. */
    uint64_t lines_seen;
    bool failed;
};
_Static_assert(CONFIG_SETTINGS_MAX <= 64, "one bit each in lines_seen");

bool config_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    /* strtoull() would skip blanks and take a sign. */
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != 0) {
        return false;
    }
    *out = value;
    return true;
}

static bool assign(struct reading *r, const struct setting *s,
                   const char *value, const char *where)
{
    char *at = (char *)r->out + s->offset;
    (void)snprintf(r->out->where[s - config_settings], sizeof r->out->where[0],
                   "%s", where);
    if (s->kind == SETTING_TEXT) {
        if (strlen(value) >= s->bytes) {
            (void)snprintf(r->error, r->error_bytes,
                           "%s: %s: expected at most %zu bytes, got %zu", where,
                           s->name, s->bytes - 1, strlen(value));
            return false;
        }
        memcpy(at, value, strlen(value) + 1);
        return true;
    }
    uint64_t number = 0;
    if (!config_number(value, &number) || number < s->min || number > s->max) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: %s: expected a whole number from %llu to %llu, "
                       "got \"%s\"",
                       where, s->name, (unsigned long long)s->min,
                       (unsigned long long)s->max, value);
        return false;
    }
    memcpy(at, &number, sizeof number);
    return true;
}

static bool set_by_name(struct reading *r, const char *name, const char *value,
                        const char *where)
{
    const struct setting *s = config_find(name);
    if (s == NULL) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: unknown setting \"%s\": batond --help lists those "
                       "there are",
                       where, name);
        return false;
    }
    return assign(r, s, value, where);
}

/* --- the file ------------------------------------------------------------------------------------------------------------- */

/* A comment behind something would be part of it, of a name or a path without anybody noticing; or, by inih, cut off: ; begins one. */
static bool has_comment(const char *text)
{
    for (const char *at = text; *at != 0; at++) {
        if ((*at == '#' || *at == ';') &&
            (at == text || at[-1] == ' ' || at[-1] == '\t')) {
            return true;
        }
    }
    return false;
}

/* What the line holds can't be taken as it stands; the sentence is set. */
static bool is_misplaced(struct reading *r, const char *line)
{
    const char *text = line + strspn(line, " \t");
    int n = (int)strcspn(text, "\r\n");
    /* Here, because inih tells of a section only with the next setting. */
    if (line[0] == '[') {
        (void)snprintf(r->error, r->error_bytes,
                       "%s:%d: expected `name = value` lines without sections, "
                       "found %.*s",
                       r->file, r->line, n, text);
        return true;
    }
    if (text[0] != '#' && text[0] != ';' && has_comment(text)) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s:%d: a comment needs a line of its own, got \"%.*s\"",
                       r->file, r->line, n, text);
        return true;
    }
    return false;
}

/* Debian's inih takes lines of 199 bytes, and would take the rest of a longer one for a line of its own. */
static char *next_line(char *out, int bytes, void *arg)
{
    struct reading *r = arg;
    r->line++;
    if (r->failed || fgets(out, bytes, r->stream) == NULL) {
        return NULL;
    }
    if (is_misplaced(r, out)) {
        r->failed = true;
        return NULL;
    }
    if (strchr(out, '\n') == NULL && !feof(r->stream)) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s:%d: expected at most %d bytes in a line: go on "
                       "with a list on the next line, indented",
                       r->file, r->line, bytes - 2);
        r->failed = true;
        return NULL;
    }
    return out;
}

/* A list may go on: on an indented line, or by naming the setting again. */
static bool set_from_line(struct reading *r, const char *name,
                          const char *value, const char *where)
{
    char longer[CONFIG_PATH_BYTES * 5];
    const struct setting *s = config_find(name);
    uint64_t bit = s == NULL ? 0 : 1ull << (s - config_settings);
    if ((r->lines_seen & bit) == 0) {
        r->lines_seen |= bit;
        return set_by_name(r, name, value, where);
    }
    if (s->kind != SETTING_TEXT || s->bytes != CONFIG_LIST_BYTES) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: %s is given twice: expected it once", where, name);
        return false;
    }
    const char *so_far = (const char *)r->out + s->offset;
    size_t n = strlen(so_far);
    (void)snprintf(longer, sizeof longer, "%s%s%s", so_far,
                   n > 0 && so_far[n - 1] == ',' ? "" : ",", value);
    return assign(r, s, longer, where);
}

static bool take_line(struct reading *r, const char *name, const char *value,
                      const char *where)
{
    if (set_from_line(r, name, value, where)) {
        return true;
    }
    size_t n = strlen(r->error);
    if (strpbrk(value, "#;") != NULL && n < r->error_bytes) {
        (void)snprintf(r->error + n, r->error_bytes - n,
                       "; a comment needs a line of its own");
    }
    return false;
}

static int on_line(void *arg, const char *section, const char *name,
                   const char *value)
{
    struct reading *r = arg;
    char where[CONFIG_WHERE_BYTES];
    (void)snprintf(where, sizeof where, "%s:%d", r->file, r->line);
    if (r->failed) {
        return 1;
    }
    if (section[0] != 0) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: expected `name = value` lines without sections, "
                       "found one in [%s]",
                       where, section);
        r->failed = true;
    } else {
        r->failed = !take_line(r, name, value, where);
    }
    return 1;
}

static bool read_file(struct reading *r, const char *path)
{
    r->file = path;
    r->stream = fopen(path, "re");
    if (r->stream == NULL) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: can't be read: %s: check the path given with "
                       "--config",
                       path, strerror(errno));
        return false;
    }
    int wrong = ini_parse_stream(next_line, r, on_line, r);
    if (ferror(r->stream) && !r->failed) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: can't be read: %s: check the path given with "
                       "--config",
                       path, strerror(errno));
        r->failed = true;
    }
    (void)fclose(r->stream);
    if (!r->failed && wrong != 0) {
        (void)snprintf(r->error, r->error_bytes,
                       "%s:%d: expected `name = value`, or a comment behind #",
                       path, wrong);
        r->failed = true;
    }
    return !r->failed;
}

/* --- the environment --------------------------------------------------------------------------------------------------------- */

static bool is_other(const char *name, size_t n)
{
    for (size_t i = 0; i < countof(other_names); i++) {
        if (strlen(other_names[i]) == n &&
            memcmp(other_names[i], name, n) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_environment(struct reading *r, char **environment)
{
    static const char prefix[] = "BATON_";
    for (char **e = environment; *e != NULL; e++) {
        char name[64];
        char where[80];
        const char *equals = strchr(*e, '=');
        size_t n = equals == NULL ? 0 : (size_t)(equals - *e);
        if (n <= sizeof prefix - 1 ||
            memcmp(*e, prefix, sizeof prefix - 1) != 0 || is_other(*e, n)) {
            continue;
        }
        (void)snprintf(where, sizeof where, "environment: %.*s", (int)n, *e);
        size_t name_n = n - (sizeof prefix - 1);
        name_n = name_n < sizeof name ? name_n : sizeof name - 1;
        for (size_t i = 0; i < name_n; i++) {
            char c = (*e)[sizeof prefix - 1 + i];
            name[i] = (char)(c == '_'               ? '-'
                             : c >= 'A' && c <= 'Z' ? c + 32
                                                    : c);
        }
        name[name_n] = 0;
        if (!set_by_name(r, name, equals + 1, where)) {
            return false;
        }
    }
    return true;
}

/* --- flags ---------------------------------------------------------------------------------------------------------------------- */

static bool read_flag(struct reading *r, char **argv, int *at)
{
    char name[64];
    const char *flag = argv[*at];
    const char *equals = strchr(flag, '=');
    size_t n = equals == NULL ? strlen(flag) : (size_t)(equals - flag);
    if (n < 3 || n >= sizeof name || flag[0] != '-' || flag[1] != '-') {
        (void)snprintf(r->error, r->error_bytes,
                       "%s: expected --NAME VALUE: batond --help lists the "
                       "names",
                       flag);
        return false;
    }
    memcpy(name, flag + 2, n - 2);
    name[n - 2] = 0;
    const struct setting *s = config_find(name);
    const char *value = equals == NULL ? NULL : equals + 1;
    if (s != NULL && value == NULL && s->kind == SETTING_SWITCH &&
        (argv[*at + 1] == NULL || argv[*at + 1][0] == '-')) {
        value = "1";
    }
    if (value == NULL && argv[*at + 1] != NULL) {
        value = argv[++*at];
    }
    if (value == NULL) {
        (void)snprintf(r->error, r->error_bytes, "--%s: expected a value",
                       name);
        return false;
    }
    if (strcmp(name, "config") == 0) {
        return true; /* read before */
    }
    return set_by_name(r, name, value, "command line");
}

static const char *config_path(int argc, char **argv, char **environment)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            return argv[i + 1];
        }
        if (strncmp(argv[i], "--config=", 9) == 0) {
            return argv[i] + 9;
        }
    }
    for (char **e = environment; *e != NULL; e++) {
        if (strncmp(*e, "BATON_CONFIG=", 13) == 0) {
            return *e + 13;
        }
    }
    return NULL;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static bool asked(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], flag) == 0) {
            return true;
        }
    }
    return false;
}

enum config_result config_read(struct config *out,
                               const struct config_source *source, char *error,
                               size_t error_bytes)
{
    int argc = source->argc;
    char **argv = source->argv;
    struct reading r = {.out = out, .error = error, .error_bytes = error_bytes};
    memset(out, 0, sizeof *out);
    if (asked(argc, argv, "--help")) {
        config_print_help();
        return CONFIG_DONE;
    }
    if (asked(argc, argv, "--version")) {
        (void)printf("batond %s\n", BATON_VERSION);
        return CONFIG_DONE;
    }
    if (asked(argc, argv, "--settings")) {
        config_print_table();
        return CONFIG_DONE;
    }
    for (size_t i = 0; i < config_settings_n; i++) {
        if (config_settings[i].value[0] != 0 &&
            !assign(&r, &config_settings[i], config_settings[i].value, "")) {
            return CONFIG_WRONG;
        }
    }
    const char *path = config_path(argc, argv, source->environment);
    if ((path != NULL && !read_file(&r, path)) ||
        !read_environment(&r, source->environment)) {
        return CONFIG_WRONG;
    }
    for (int i = 1; i < argc && argv[i] != NULL; i++) {
        if (!read_flag(&r, argv, &i)) {
            return CONFIG_WRONG;
        }
    }
    return config_check(out, error, error_bytes) ? CONFIG_RUN : CONFIG_WRONG;
}

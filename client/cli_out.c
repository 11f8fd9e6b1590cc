#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"
#include "proto/utf8.h"

#define COLUMNS_MAX 16
#define LINE_BYTES  (4u << 20)

/* --- tables ------------------------------------------------------------------------------------------------------ */

struct cli_table {
    int columns;
    size_t cells_n;
    size_t cells_max;
    char **cells;
};

struct cli_table *cli_table_make(const char *const *heads, int columns)
{
    ASSERT(columns > 0 && columns <= COLUMNS_MAX);
    struct cli_table *t = client_alloc(sizeof *t);
    t->columns = columns;
    for (int i = 0; i < columns; i++) {
        cli_table_add(t, "%s", heads[i]);
    }
    return t;
}

void cli_table_add(struct cli_table *t, const char *format, ...)
{
    char text[512] = "";
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof text, format, args);
        va_end(args);
    }
    if (t->cells_n == t->cells_max) {
        t->cells_max = t->cells_max == 0 ? 64 : t->cells_max * 2;
        t->cells = realloc(t->cells, t->cells_max * sizeof *t->cells);
        ASSERT(t->cells != NULL);
    }
    t->cells[t->cells_n] = strdup(text);
    ASSERT(t->cells[t->cells_n] != NULL);
    t->cells_n++;
}

/* Code points, which is near enough to columns for names. */
static int width(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) {
        n += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return n;
}

void cli_table_print(struct cli_table *t, FILE *to)
{
    int widths[COLUMNS_MAX] = {0};
    size_t columns = (size_t)t->columns;
    for (size_t i = 0; i < t->cells_n; i++) {
        int w = width(t->cells[i]);
        if (w > widths[i % columns]) {
            widths[i % columns] = w;
        }
    }
    for (size_t i = 0; i < t->cells_n; i++) {
        bool last = i % columns == columns - 1;
        int pad = last ? 0 : widths[i % columns] + 2 - width(t->cells[i]);
        (void)fprintf(to, "%s%*s%s", t->cells[i], pad, "", last ? "\n" : "");
    }
}

void cli_table_free(struct cli_table *t)
{
    for (size_t i = 0; i < t->cells_n; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    free(t);
}

/* --- JSON -------------------------------------------------------------------------------------------------------- */

static struct json_writer writer;
static char *line;

struct json_writer *cli_json_begin(void)
{
    if (line == NULL) {
        line = malloc(LINE_BYTES);
        ASSERT(line != NULL);
    }
    json_init(&writer, line, LINE_BYTES);
    json_object_begin(&writer);
    return &writer;
}

void cli_json_end(void)
{
    json_object_end(&writer);
    if (json_finish(&writer) == 0) {
        (void)fprintf(stderr, "baton: an answer is too long to print\n");
        return;
    }
    (void)puts(line);
    (void)fflush(stdout);
}

void cli_json_id(struct json_writer *w, const char *key, uint64_t id)
{
    json_key(w, key);
    json_u64_string(w, id);
}

void cli_json_number(struct json_writer *w, const char *key, uint64_t n)
{
    json_key(w, key);
    json_u64(w, n);
}

void cli_json_text(struct json_writer *w, const char *key, const char *text)
{
    json_key(w, key);
    json_cstring(w, text);
}

void cli_json_flag(struct json_writer *w, const char *key, bool value)
{
    json_key(w, key);
    json_bool(w, value);
}

struct cli_age cli_age(uint64_t ms, bool unknown)
{
    return (struct cli_age){unknown ? CLI_AGE_UNKNOWN : CLI_AGE_KNOWN, ms};
}

void cli_json_age(struct json_writer *w, struct cli_age age)
{
    switch (age.kind) {
    case CLI_AGE_UNTOLD:
        break;
    case CLI_AGE_KNOWN:
        cli_json_number(w, "age_ms", age.ms);
        break;
    case CLI_AGE_UNKNOWN:
        json_key(w, "age_ms");
        json_nothing(w);
        break;
    }
}

void cli_json_one_view(struct json_writer *w, struct cli_age age)
{
    cli_json_text(w, "consistency", "stale");
    cli_json_age(w, age);
}

/* --- words ------------------------------------------------------------------------------------------------------- */

const char *cli_path(const Pb__Path *path)
{
    static char text[SCOPE_BYTES];
    text[0] = '\0';
    if (path != NULL) {
        bool device = path->device[0] != '\0';
        (void)snprintf(text, sizeof text, "%s/%s%s%s", path->namespace_,
                       path->group, device ? "/" : "",
                       device ? path->device : "");
    }
    return text;
}

const char *cli_span(uint64_t ms)
{
    static char texts[4][32];
    static unsigned next;
    char *text = texts[next++ % 4];
    if (ms < 1000) {
        (void)snprintf(text, sizeof texts[0], "%llu ms",
                       (unsigned long long)ms);
    } else if (ms < 10000) {
        (void)snprintf(text, sizeof texts[0], "%.1f s", (double)ms / 1000);
    } else if (ms < 120000) {
        (void)snprintf(text, sizeof texts[0], "%llu s",
                       (unsigned long long)(ms / 1000));
    } else if (ms < 7200000) {
        (void)snprintf(text, sizeof texts[0], "%llu min",
                       (unsigned long long)(ms / 60000));
    } else {
        (void)snprintf(text, sizeof texts[0], "%llu h",
                       (unsigned long long)(ms / 3600000));
    }
    return text;
}

const char *cli_role(int role)
{
    static const char *const names[] = {"none", "observer", "candidate",
                                        "backup", "leader"};
    return role >= 0 && role < (int)countof(names) ? names[role] : "unknown";
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* "ROLE_LEADER" as people and scripts have it: without the type's prefix, in lower case. One of four static buffers. */
const char *cli_enum(const ProtobufCEnumDescriptor *type, int value)
{
    static char texts[4][48];
    static unsigned next;
    char *text = texts[next++ % 4];
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(type, value);
    const char *name = v != NULL ? v->name : "unknown";
    static const char *const prefixes[] = {"GRANT_", "CAUSE_", "EVENT_",
                                           "ROLE_",  "KIND_",  "NETWORK_"};
    for (size_t i = 0; i < countof(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0) {
            name += n;
            break;
        }
    }
    size_t n = 0;
    for (; name[n] != '\0' && n + 1 < sizeof texts[0]; n++) {
        text[n] = lower(name[n]);
    }
    text[n] = '\0';
    return text;
}

/* --- refusals ---------------------------------------------------------------------------------------------------- */

int cli_exit_of(enum baton_status status)
{
    switch (status) {
    case BATON_OK:
        return CLI_DONE;
    case BATON_NOT_FOUND:
        return CLI_NONE;
    case BATON_NOT_LEADER:
    case BATON_NO_QUORUM:
    case BATON_UNKNOWN:
    case BATON_BUSY:
    case BATON_UNAVAILABLE:
        return CLI_NO_QUORUM;
    case BATON_EXPIRED:
    case BATON_STALE_EPOCH:
    case BATON_CONFLICT:
    case BATON_NOT_ALLOWED:
    case BATON_INVALID:
    case BATON_LIMIT:
    case BATON_COMPACTED:
    case BATON_WINDOW:
    case BATON_UNSUPPORTED:
        break;
    }
    return CLI_REFUSED;
}

const char *cli_one_view_text(struct cli_age age)
{
    static char text[128];
    const char *when = "";
    const char *ago = "";
    switch (age.kind) {
    case CLI_AGE_UNTOLD:
        break;
    case CLI_AGE_KNOWN:
        when = ", which heard of a leader ";
        ago = cli_span(age.ms);
        break;
    case CLI_AGE_UNKNOWN:
        when = ", which has not heard of a leader since it started";
        break;
    }
    (void)snprintf(text, sizeof text, "as one node knew it%s%s%s", when, ago,
                   ago[0] != '\0' ? " ago" : "");
    return text;
}

static void print_one_view(struct cli_age age)
{
    (void)fprintf(stderr, "baton: %s\n", cli_one_view_text(age));
}

void cli_one_view(const struct cli *c, struct cli_age age)
{
    if (!c->json) {
        print_one_view(age);
        return;
    }
    char text[256];
    struct json_writer w;
    json_init(&w, text, sizeof text);
    json_object_begin(&w);
    cli_json_one_view(&w, age);
    json_object_end(&w);
    if (json_finish(&w) > 0) {
        (void)fprintf(stderr, "%s\n", text);
    }
}

/* One object with --json, whatever is in it. */
static int fail(const struct cli *c, enum baton_status status,
                const char *message, bool one_view, struct cli_age age)
{
    int code = cli_exit_of(status);
    if (message == NULL || message[0] == '\0') {
        message = status_name(status);
    }
    if (!c->json) {
        char shown[2048];
        utf8_show(codec_text(message), shown, sizeof shown);
        (void)fprintf(stderr, "baton: %s\n", shown);
        if (one_view) {
            print_one_view(age);
        }
        return code;
    }
    char text[2048];
    struct json_writer w;
    json_init(&w, text, sizeof text);
    json_object_begin(&w);
    cli_json_text(&w, "error", status_name(status));
    cli_json_text(&w, "message", message);
    if (one_view) {
        cli_json_one_view(&w, age);
    }
    json_object_end(&w);
    if (json_finish(&w) > 0) {
        (void)fprintf(stderr, "%s\n", text);
    }
    return code;
}

int cli_fail(const struct cli *c, enum baton_status status, const char *message)
{
    return fail(c, status, message, false,
                (struct cli_age){.kind = CLI_AGE_UNTOLD});
}

int cli_fail_one_view(const struct cli *c, enum baton_status status,
                      const char *message, struct cli_age age)
{
    return fail(c, status, message, true, age);
}

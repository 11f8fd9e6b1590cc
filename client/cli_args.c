#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/cli.h"
#include "proto/utf8.h"

#define SHOWN_BYTES 1024
#define DAY_MS      (24u * 3600 * 1000)

int cli_usage(const struct cli *c, const char *format, ...)
{
    char shown[SHOWN_BYTES];
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    ASSERT(n >= 0);
    /* What was given is in it, whatever that is. */
    utf8_show(codec_text(text), shown, sizeof shown);
    free(text);
    (void)fprintf(stderr, "baton: %s\n", shown);
    if (c->verb != NULL) {
        (void)fprintf(stderr, "usage: baton %s %s\n       baton help %s\n",
                      c->verb->name, c->verb->form, c->verb->name);
    } else {
        (void)fprintf(stderr, "usage: baton [--endpoints HOST:PORT,...] "
                              "[--json] [--timeout 5s] VERB ...\n"
                              "       baton help\n");
    }
    return CLI_USAGE;
}

bool cli_number(const char *text, uint64_t max, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *out = value;
    return true;
}

bool cli_duration(const char *text, uint32_t *out_ms)
{
    static const struct {
        const char *unit;
        uint32_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || value > DAY_MS) {
        return false;
    }
    if (value == 0 && *end == '\0') {
        *out_ms = 0;
        return true;
    }
    for (size_t i = 0; i < countof(units); i++) {
        if (strcmp(end, units[i].unit) == 0 && value * units[i].ms <= DAY_MS) {
            *out_ms = (uint32_t)value * units[i].ms;
            return true;
        }
    }
    return false;
}

int cli_surplus(const struct cli *c, const char *arg)
{
    return cli_usage(c, "too many arguments, from \"%s\" on", arg);
}

static int check_name(const struct cli *c, const char *what, const char *name,
                      size_t n)
{
    if (utf8_is_name((struct bytes){(const uint8_t *)name, n},
                     NAME_BYTES_MAX)) {
        return CLI_DONE;
    }
    return cli_usage(c,
                     "the %s \"%.*s\" must be 1 to 128 bytes of UTF-8 "
                     "without control characters or /",
                     what, n > 200 ? 200 : (int)n, name);
}

static int take_text(const struct cli *c, const struct cli_option *o,
                     const char *value)
{
    *(const char **)o->out = value;
    if (o->type == CLI_NAME) {
        return check_name(c, o->name + 2, value, strlen(value));
    }
    const char *fault =
        o->type == CLI_ADDRESS ? route_fault(value, strlen(value)) : NULL;
    return fault == NULL ? CLI_DONE
                         : cli_usage(c, "%s \"%.150s\" isn't HOST:PORT: %s",
                                     o->name, value, fault);
}

static int take_number(const struct cli *c, const struct cli_option *o,
                       const char *value)
{
    uint64_t number = 0;
    if (!cli_number(value, UINT64_MAX, &number) ||
        (o->type == CLI_ID && number == 0)) {
        return cli_usage(c, "%s must be a whole number%s, not \"%s\"", o->name,
                         o->type == CLI_ID ? " from 1" : "", value);
    }
    *(uint64_t *)o->out = number;
    return CLI_DONE;
}

static int take_duration(const struct cli *c, const struct cli_option *o,
                         const char *value)
{
    uint32_t ms = 0;
    if (!cli_duration(value, &ms)) {
        return cli_usage(c,
                         "%s must be a duration such as 500ms, 10s or 1m, "
                         "not \"%s\"",
                         o->name, value);
    }
    if (o->type == CLI_TTL && (ms < 1000 || ms > 600000)) {
        return cli_usage(c, "%s must be from 1s to 10m, not \"%s\"", o->name,
                         value);
    }
    *(uint32_t *)o->out = ms;
    return CLI_DONE;
}

static int take_value(const struct cli *c, const struct cli_option *o,
                      const char *value)
{
    switch (o->type) {
    case CLI_FLAG:
        return cli_usage(c, "%s takes no value", o->name);
    case CLI_TEXT:
    case CLI_NAME:
    case CLI_ADDRESS:
        return take_text(c, o, value);
    case CLI_U64:
    case CLI_ID:
        return take_number(c, o, value);
    case CLI_MS:
    case CLI_TTL:
        break;
    }
    return take_duration(c, o, value);
}

/* "--name" or "--name=value" */
static const struct cli_option *match(const struct cli_option *options,
                                      const char *arg, const char **out_value)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        size_t n = strlen(o->name);
        if (strncmp(arg, o->name, n) != 0) {
            continue;
        }
        if (arg[n] == '\0' || arg[n] == '=') {
            *out_value = arg[n] == '=' ? arg + n + 1 : NULL;
            return o;
        }
    }
    return NULL;
}

struct words {
    int argc;
    char **argv;
    int at;
    uint64_t seen; /* options that came with a value, by their place */
};

/* The option at w->at, which moves to its last word; `place`: in its table. */
static int take_option(struct cli *c, const struct cli_option *o, size_t place,
                       const char *value, struct words *w)
{
    ASSERT(place < 64);
    if (o->type == CLI_FLAG && value == NULL) {
        *(bool *)o->out = true; /* twice says no more than once */
        return CLI_DONE;
    }
    if (value == NULL) {
        /* What's behind -- is COMMAND's: an option can't take it for its value. */
        if (w->at + 1 >= w->argc || strcmp(w->argv[w->at + 1], "--") == 0) {
            return cli_usage(c, "%s needs a value", o->name);
        }
        value = w->argv[++w->at];
    }
    if ((w->seen & 1ull << place) != 0) {
        return cli_usage(c, "%s is given twice: expected it once", o->name);
    }
    w->seen |= 1ull << place;
    return take_value(c, o, value);
}

int cli_parse(struct cli *c, const struct cli_option *options,
              const char *out[CLI_POSITIONAL_MAX], int *out_n)
{
    *out_n = 0;
    struct words w = {.argc = c->argc, .argv = c->argv};
    for (; w.at < w.argc; w.at++) {
        const char *arg = w.argv[w.at];
        if (strcmp(arg, "--") == 0) {
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0') {
            if (*out_n == CLI_POSITIONAL_MAX) {
                return cli_surplus(c, arg);
            }
            out[(*out_n)++] = arg;
            continue;
        }
        const char *value = NULL;
        const struct cli_option *o = match(options, arg, &value);
        if (o == NULL) {
            return cli_usage(c, "%s has no option %s", c->verb->name, arg);
        }
        int rc = take_option(c, o, (size_t)(o - options), value, &w);
        if (rc != CLI_DONE) {
            return rc;
        }
    }
    return CLI_DONE;
}

int cli_parse_globals(struct cli *c, int *argc, char **argv, bool *out_help,
                      bool *out_version)
{
    const struct cli_option globals[] = {
        {"--endpoints", CLI_TEXT, &c->endpoints},
        {"--json", CLI_FLAG, &c->json},
        {"--tls-ca", CLI_TEXT, &c->tls_ca},
        {"--tls-cert-key", CLI_TEXT, &c->tls_cert_key},
        {"--timeout", CLI_MS, &c->timeout_ms},
        {"--help", CLI_FLAG, out_help},
        {"-h", CLI_FLAG, out_help},
        {"--version", CLI_FLAG, out_version},
        {NULL, CLI_FLAG, NULL},
    };
    int kept = 1;
    bool behind = false;
    struct words w = {.argc = *argc, .argv = argv, .at = 1};
    for (; w.at < w.argc; w.at++) {
        behind = behind || strcmp(argv[w.at], "--") == 0;
        const char *value = NULL;
        const struct cli_option *o =
            behind ? NULL : match(globals, argv[w.at], &value);
        if (o == NULL) {
            argv[kept++] = argv[w.at];
            continue;
        }
        int rc = take_option(c, o, (size_t)(o - globals), value, &w);
        if (rc != CLI_DONE) {
            return rc;
        }
    }
    *argc = kept;
    argv[kept] = NULL; /* as main() got it: elect hands its end to exec */
    return c->timeout_ms == 0 ? cli_usage(c, "--timeout must not be 0")
                              : CLI_DONE;
}

static int take_name(struct cli *c, const char *what, const char *from,
                     size_t n, char out[NAME_BYTES_MAX + 1])
{
    int rc = check_name(c, what, from, n);
    if (rc == CLI_DONE) {
        memcpy(out, from, n);
        out[n] = '\0';
    }
    return rc;
}

int cli_parse_scope(struct cli *c, const char *path, const char *device,
                    int parts_min, struct cli_scope *out)
{
    static const char *const what[] = {"namespace", "group", "device"};
    *out = (struct cli_scope){{0}, {0}, {0}};
    char *to[] = {out->namespace_name, out->group, out->device};
    int parts = 0;
    for (const char *at = path; at != NULL && parts < 3; parts++) {
        const char *slash = strchr(at, '/');
        size_t n = slash != NULL ? (size_t)(slash - at) : strlen(at);
        if (parts == 2) {
            n = strlen(at); /* a further / is refused by name */
            slash = NULL;
        }
        int rc = take_name(c, what[parts], at, n, to[parts]);
        if (rc != CLI_DONE) {
            return rc;
        }
        at = slash != NULL ? slash + 1 : NULL;
    }
    if (parts < parts_min) {
        return parts == 0
                   ? cli_usage(c, parts_min == 1 ? "a NAMESPACE is missing"
                                                 : "NAMESPACE/GROUP is missing")
                   : cli_usage(c,
                               "\"%s\" names a namespace alone: expected "
                               "NAMESPACE/GROUP",
                               out->namespace_name);
    }
    if (device == NULL) {
        return CLI_DONE;
    }
    if (parts == 3) {
        return cli_usage(c, "the device is named twice: \"%s\" and \"%s\"",
                         out->device, device);
    }
    return take_name(c, what[2], device, strlen(device), out->device);
}

struct baton_scope cli_scope_view(const struct cli_scope *s)
{
    return (struct baton_scope){s->namespace_name, s->group, s->device};
}

int cli_parse_group(struct cli *c, const char *path, int parts_min,
                    struct cli_scope *out)
{
    int rc = cli_parse_scope(c, path, NULL, parts_min, out);
    if (rc == CLI_DONE && out->device[0] != '\0') {
        return cli_usage(
            c, "%s takes %sNAMESPACE/GROUP, without the device: not \"%s\"",
            c->verb->name, parts_min < 2 ? "NAMESPACE or " : "", path);
    }
    return rc;
}

int cli_take_scope(struct cli *c, const struct cli_option *options,
                   bool with_epoch, struct cli_target *out)
{
    const char *args[CLI_POSITIONAL_MAX] = {NULL};
    int n = 0;
    int extra = with_epoch ? 1 : 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (n < 1 + extra) {
        return cli_usage(c, "%s",
                         n == 0 ? "NAMESPACE/GROUP is missing"
                                : "EPOCH is missing");
    }
    if (n > 2 + extra) {
        return cli_surplus(c, args[2 + extra]);
    }
    rc = cli_parse_scope(c, args[0], n - extra == 2 ? args[1] : NULL, 2,
                         &out->scope);
    out->epoch = 0;
    if (rc == CLI_DONE && with_epoch &&
        (!cli_number(args[n - 1], UINT64_MAX, &out->epoch) ||
         out->epoch == 0)) {
        return cli_usage(c, "EPOCH must be a whole number from 1, not \"%s\"",
                         args[n - 1]);
    }
    return rc;
}

int cli_take_filter(struct cli *c, const struct cli_option *options,
                    struct cli_scope *out)
{
    const char *args[CLI_POSITIONAL_MAX] = {NULL};
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    return n > 1 ? cli_surplus(c, args[1])
                 : cli_parse_group(c, args[0], 0, out);
}

/* --- capabilities ------------------------------------------------------------------------------------------------ */

struct cap_key {
    const char *name;
    enum baton_capability_key key;
    int32_t min;
    int32_t max;
};

static const struct cap_key cap_keys[] = {
    {"battery", BATON_BATTERY, 0, 100},
    {"charging", BATON_CHARGING, 0, 1},
    {"kind", BATON_KIND, 0, 0},
    {"network", BATON_NETWORK, 0, 0},
    {"rtt_ms", BATON_RTT_MS, 0, 600000},
    {"visible", BATON_VISIBLE, 0, 1},
    {"cores", BATON_CORES, 1, 4096},
    {"memory_mb", BATON_MEMORY_MB, 1, 16777216},
    {"priority", BATON_PRIORITY, -100, 100},
};

static const char *const kinds[] = {"desktop", "laptop", "tablet", "phone",
                                    "server"};
static const char *const networks[] = {"ethernet", "wifi", "4g",
                                       "3g",       "slow", "none"};

/* The 1-based place in a list, 0 if it isn't there. */
static int32_t place_in(const char *const *list, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(list[i], word) == 0) {
            return (int32_t)i + 1;
        }
    }
    return 0;
}

const char *cli_capability_word(const char *key, int32_t value)
{
    if (strcmp(key, "kind") == 0 && value > 0 &&
        value <= (int32_t)countof(kinds)) {
        return kinds[value - 1];
    }
    if (strcmp(key, "network") == 0 && value > 0 &&
        value <= (int32_t)countof(networks)) {
        return networks[value - 1];
    }
    return NULL;
}

static bool take_cap_value(const struct cap_key *k, const char *value,
                           int32_t *out, char *error, size_t error_bytes)
{
    if (k->key == BATON_KIND) {
        *out = place_in(kinds, countof(kinds), value);
        (void)snprintf(error, error_bytes,
                       "kind must be desktop, laptop, tablet, phone or server, "
                       "not \"%.64s\"",
                       value);
        return *out != 0;
    }
    if (k->key == BATON_NETWORK) {
        *out = place_in(networks, countof(networks), value);
        (void)snprintf(error, error_bytes,
                       "network must be ethernet, wifi, 4g, 3g, slow or none, "
                       "not \"%.64s\"",
                       value);
        return *out != 0;
    }
    char *end = NULL;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (errno != 0 || value[0] == '\0' || *end != '\0' || number < k->min ||
        number > k->max) {
        (void)snprintf(error, error_bytes,
                       "%s must be from %d to %d, not \"%.64s\"", k->name,
                       k->min, k->max, value);
        return false;
    }
    *out = (int32_t)number;
    return true;
}

static bool take_cap(char *item, struct baton_capability *out, char *error,
                     size_t error_bytes)
{
    char *equals = strchr(item, '=');
    if (equals == NULL) {
        (void)snprintf(error, error_bytes,
                       "\"%.64s\" isn't KEY=VALUE, such as battery=80", item);
        return false;
    }
    *equals = '\0';
    for (size_t i = 0; i < countof(cap_keys); i++) {
        if (strcmp(cap_keys[i].name, item) == 0) {
            out->key = cap_keys[i].key;
            return take_cap_value(&cap_keys[i], equals + 1, &out->value, error,
                                  error_bytes);
        }
    }
    (void)snprintf(error, error_bytes,
                   "there's no capability \"%.64s\": known are battery, "
                   "charging, kind, network, rtt_ms, visible, cores, "
                   "memory_mb, priority",
                   item);
    return false;
}

bool cli_capabilities(const char *text, struct baton_capability *out,
                      size_t *out_n, char *error, size_t error_bytes)
{
    char copy[1024];
    size_t n = strlen(text);
    if (n >= sizeof copy) {
        (void)snprintf(error, error_bytes, "--cap is too long");
        return false;
    }
    memcpy(copy, text, n + 1);
    *out_n = 0;
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item != NULL;
         item = strsep(&rest, ",")) {
        if (*out_n == 16) {
            (void)snprintf(error, error_bytes, "too many capabilities");
            return false;
        }
        if (!take_cap(item, &out[*out_n], error, error_bytes)) {
            return false;
        }
        for (size_t i = 0; i < *out_n; i++) {
            if (out[i].key == out[*out_n].key) {
                (void)snprintf(error, error_bytes, "%s is given twice", item);
                return false;
            }
        }
        (*out_n)++;
    }
    return true;
}

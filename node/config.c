#include "node/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum setting_kind {
    SETTING_NUMBER,
    SETTING_TEXT,
    SETTING_SWITCH, /* 0 or 1; as a flag it needs no value */
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    size_t bytes; /* TEXT */
    uint64_t min;
    uint64_t max;
    const char *value; /* default */
    const char *help;
};

#define TEXT(field)                                                            \
    SETTING_TEXT, offsetof(struct config, field),                              \
        sizeof(((struct config *)NULL)->field), 0, 0
#define NUMBER(field, min, max)                                                \
    SETTING_NUMBER, offsetof(struct config, field), 0, min, max
#define SWITCH(field) SETTING_SWITCH, offsetof(struct config, field), 0, 0, 1

/* clang-format off */
static const struct setting settings[] = {
    {"id", NUMBER(id, 1, 1000000), "", "This node's number, unique in the cluster. Needed."},
    {"data", TEXT(data), "", "Directory for this node's data; made if it isn't there. Needed."},
    {"cluster", TEXT(cluster), "", "The cluster's name; nodes and data of another name are refused. Needed."},
    {"peers", TEXT(peers), "", "Where nodes reach each other: ID=HOST:PORT,... with this node among them. The same on all nodes at the first start. Needed."},
    {"clients", TEXT(clients), "", "Where clients reach the nodes: ID=HOST:PORT,... Needed."},
    {"http", TEXT(http), "", "Where HTTP is served: ID=HOST:PORT,... Empty: no HTTP."},
    {"listen-peer", TEXT(listen_peer), "", "HOST:PORT to bind for peers, where it differs from the address in `peers`."},
    {"listen-client", TEXT(listen_client), "", "HOST:PORT to bind for clients, where it differs from the address in `clients`."},
    {"listen-http", TEXT(listen_http), "", "HOST:PORT to bind for HTTP, where it differs from the address in `http`."},
    {"admin", TEXT(admin), "", "Path of the admin status socket. Empty: DATA/admin.sock."},
    {"secret-file", TEXT(secret_file), "", "File with the cluster's secret, at least 16 bytes: nodes must prove to each other that they know it. Empty: nobody proves anything."},
    {"tls-ca", TEXT(tls_ca), "", "PEM file of the authority that signed the cluster's certificates: turns TLS on, both sides must show one. Use an authority of its own."},
    {"tls-cert-key", TEXT(tls_cert_key), "", "PEM file with this node's certificate and key. Needed with tls-ca."},
    {"join", SWITCH(join), "0", "Start empty and wait to be added to a running cluster (baton member add)."},
    {"log-level", TEXT(log_level), "info", "error, warn, info or debug."},
    {"election-ms", NUMBER(election_ms, 100, 60000), "1000", "Election timeout; drawn anew from this to twice this. The same on all nodes."},
    {"heartbeat-ms", NUMBER(heartbeat_ms, 10, 20000), "100", "Heartbeat of the Raft leader; at most a third of election-ms."},
    {"clock-drift-ppm", NUMBER(clock_drift_ppm, 0, 100000), "10000", "How far clocks of two nodes may run apart, in millionths: shortens the leader's quorum lease."},
    {"lease-reads", SWITCH(lease_reads), "0", "Serve reads that ask for it on the leader's quorum lease, without a round; relies on clock-drift-ppm."},
    {"map-mb", NUMBER(map_mb, 16, 1048576), "1024", "Size of the database's map at the start, MiB of address space; grows by itself."},
    {"reserve-mb", NUMBER(reserve_mb, 0, 65536), "16", "Disk kept aside, and freed when the disk is full, so that the node can stop in order."},
    {"queue-mb", NUMBER(queue_mb, 16, 65536), "128", "Bytes that may wait for the disk, MiB."},
    {"entries-mb", NUMBER(entries_mb, 8, 65536), "64", "Log entries kept in memory for slow peers, MiB."},
    {"events-mb", NUMBER(events_mb, 1, 65536), "32", "History kept in memory for watches that lag, MiB."},
    {"events-keep", NUMBER(events_keep, 1, 1000000000000), "1000000", "History kept on disk, in log entries."},
    {"events-keep-hours", NUMBER(events_keep_hours, 1, 1000000), "168", "History kept on disk, in hours; whichever is less."},
    {"checkpoint-entries", NUMBER(checkpoint_entries, 16, 10000000), "8192", "A checkpoint at each multiple of this many entries. The same on all nodes."},
    {"log-keep-entries", NUMBER(log_keep_entries, 0, 100000000), "16384", "Log kept behind a checkpoint, so that a node that was away catches up without a snapshot."},
    {"connections-max", NUMBER(connections_max, 1, 1000000), "10000", "Client connections; more are told so and closed."},
    {"client-queue-mb", NUMBER(client_queue_mb, 1, 4096), "8", "Bytes that may wait for one client that reads slowly, MiB."},
    {"peer-queue-mb", NUMBER(peer_queue_mb, 16, 4096), "64", "Bytes that may wait for one peer, MiB."},
    {"pending-max", NUMBER(pending_max, 64, 1048576), "65536", "Commands and reads in flight, each; rounded up to a power of two."},
    {"watches-max", NUMBER(watches_max, 1, 10000000), "65536", "Watches on this node."},
    {"spin-us", NUMBER(spin_us, 0, 10000), "1000", "How long the loop looks for the next answer of the disk or a peer before it sleeps, in us, while somebody waits for one: spares waking an idle processor. 0: never."},
    {"watches-per-connection-max", NUMBER(watches_per_connection_max, 1, 1000000), "1024", "Watches of one connection."},
};
/* clang-format on */

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
    int line; /* of the file, counted as it's read: Debian's inih doesn't tell */
    char where
        [64]
        [96]; /* of each setting, by its place in the table; empty: its default */
    /* settings that the file gave, by their place in the table */
    uint64_t lines_seen;
    bool failed;
};
_Static_assert(countof(settings) <= 64, "one bit each in lines_seen");

static const struct setting *find_setting(const char *name)
{
    for (size_t i = 0; i < countof(settings); i++) {
        if (strcmp(settings[i].name, name) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

static bool to_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || text[0] == '-' ||
        text[0] == '+' || text[0] == ' ') {
        return false;
    }
    *out = value;
    return true;
}

static bool assign(struct reading *r, const struct setting *s,
                   const char *value, const char *where)
{
    char *at = (char *)r->out + s->offset;
    (void)snprintf(r->where[s - settings], sizeof r->where[0], "%.95s", where);
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
    if (!to_number(value, &number) || number < s->min || number > s->max) {
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
    const struct setting *s = find_setting(name);
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

/* Debian's inih takes lines of 199 bytes, and would take the rest of a longer one for a line of its own. */
static char *next_line(char *out, int bytes, void *arg)
{
    struct reading *r = arg;
    r->line++;
    if (r->failed || fgets(out, bytes, r->stream) == NULL) {
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
    const struct setting *s = find_setting(name);
    uint64_t bit = s == NULL ? 0 : 1ull << (s - settings);
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

static int on_line(void *arg, const char *section, const char *name,
                   const char *value)
{
    struct reading *r = arg;
    char where[CONFIG_PATH_BYTES + 32];
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
        r->failed = !set_from_line(r, name, value, where);
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

static bool read_flag(struct reading *r, int argc, char **argv, int *at)
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
    const struct setting *s = find_setting(name);
    const char *value = equals == NULL ? NULL : equals + 1;
    if (s != NULL && value == NULL && s->kind == SETTING_SWITCH &&
        (*at + 1 == argc || argv[*at + 1][0] == '-')) {
        value = "1";
    }
    if (value == NULL && *at + 1 < argc) {
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

/* --- what follows from them ------------------------------------------------------------------------------------------------------ */

static bool complain(struct reading *r, const char *name, const char *what)
{
    const struct setting *s = find_setting(name);
    const char *where = s == NULL ? "" : r->where[s - settings];
    bool given = where[0] != 0 && strcmp(where, "default") != 0;
    (void)snprintf(r->error, r->error_bytes, "%s%s%s: %s", given ? where : "",
                   given ? ": " : "", name, what);
    return false;
}

static struct turn_member *member_of(struct config *c, raft_id id, bool add)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].id == id) {
            return &c->members[i];
        }
    }
    if (!add || c->members_n == RAFT_NODES_MAX) {
        return NULL;
    }
    struct turn_member *m = &c->members[c->members_n++];
    m->id = id;
    return m;
}

/* Parses ID=HOST:PORT,... into one address of each member. */
static bool take_addresses(struct reading *r, const char *name,
                           const char *list, size_t field_offset, bool add)
{
    static const char form[] =
        "expected ID=HOST:PORT,... with IDs from 1 that `peers` has";
    char copy[CONFIG_LIST_BYTES];
    char *rest = NULL;
    memcpy(copy, list, strlen(list) + 1);
    for (char *part = strtok_r(copy, ",", &rest); part != NULL;
         part = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(part, '=');
        uint64_t id = 0;
        if (equals == NULL) {
            return complain(r, name, form);
        }
        *equals = 0;
        const char *address = equals + 1;
        const char *colon = strrchr(address, ':');
        uint64_t port = 0;
        if (!to_number(part, &id) || id == 0 || id > 1000000 || colon == NULL ||
            colon == address || !to_number(colon + 1, &port) || port == 0 ||
            port > 65535 || strlen(address) >= TURN_ADDRESS_BYTES) {
            return complain(r, name, form);
        }
        if (add && member_of(r->out, (raft_id)id, false) != NULL) {
            return complain(r, name, "names a node twice");
        }
        struct turn_member *m = member_of(r->out, (raft_id)id, add);
        if (m == NULL) {
            return complain(r, name, form);
        }
        memcpy((char *)m + field_offset, address, strlen(address) + 1);
    }
    return true;
}

static uint64_t round_up_to_power(uint64_t n)
{
    uint64_t power = 1;
    while (power < n) {
        power *= 2;
    }
    return power;
}

const struct turn_member *config_self(const struct config *c)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].id == c->id) {
            return &c->members[i];
        }
    }
    return NULL;
}

static bool check_needed(struct reading *r)
{
    struct config *c = r->out;
    if (c->id == 0) {
        return complain(r, "id", "needed: --id N");
    }
    if (c->data[0] == 0) {
        return complain(r, "data", "needed: --data DIRECTORY");
    }
    if (c->cluster[0] == 0) {
        return complain(r, "cluster", "needed: --cluster NAME");
    }
    if (c->peers[0] == 0) {
        return complain(r, "peers", "needed: --peers 1=HOST:PORT,2=...");
    }
    if (c->heartbeat_ms * 3 > c->election_ms) {
        return complain(r, "heartbeat-ms",
                        "expected at most a third of election-ms");
    }
    if ((c->tls_ca[0] == 0) != (c->tls_cert_key[0] == 0)) {
        return complain(r, "tls-ca",
                        "needs tls-cert-key, and the other way "
                        "round");
    }
    if (!log_level_from(c->log_level, &c->level)) {
        return complain(r, "log-level", "expected error, warn, info or debug");
    }
    return true;
}

static bool derive(struct reading *r)
{
    struct config *c = r->out;
    if (!check_needed(r) ||
        !take_addresses(r, "peers", c->peers,
                        offsetof(struct turn_member, peer), true) ||
        !take_addresses(r, "clients", c->clients,
                        offsetof(struct turn_member, client), false) ||
        !take_addresses(r, "http", c->http, offsetof(struct turn_member, http),
                        false)) {
        return false;
    }
    const struct turn_member *self = config_self(c);
    if (self == NULL) {
        return complain(r, "peers", "doesn't have this node's id");
    }
    if (self->client[0] == 0) {
        return complain(r, "clients", "doesn't have this node's id");
    }
    if (c->admin[0] == 0) {
        (void)snprintf(c->admin, sizeof c->admin, "%.*s/admin.sock",
                       (int)sizeof c->admin - 16, c->data);
    }
    c->cluster_id = XXH3_64bits(c->cluster, strlen(c->cluster));
    c->pending_max = round_up_to_power(c->pending_max);
    return true;
}

/* --- all of it -------------------------------------------------------------------------------------------------------------------- */

static void print_help(void)
{
    (void)printf(
        "batond - a node of a Baton cluster\n\n"
        "usage: batond [--config FILE] [--NAME VALUE ...]\n"
        "       batond --help | --version | --settings\n\n"
        "Every setting can be given as a flag (--name value), in the\n"
        "environment (BATON_NAME), or in the file (name = value); flags win\n"
        "over the environment, which wins over the file.\n\n");
    for (size_t i = 0; i < countof(settings); i++) {
        (void)printf("  --%-28s %s%s%s%s\n", settings[i].name, settings[i].help,
                     settings[i].value[0] == 0 ? "" : " Default: ",
                     settings[i].value, settings[i].value[0] == 0 ? "" : ".");
    }
    (void)printf(
        "\nSIGTERM and SIGINT: hand over leadership, flush, exit 0.\n");
}

void config_print_table(void)
{
    (void)printf("| setting | default | range | meaning |\n"
                 "| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < countof(settings); i++) {
        char range[64] = "";
        if (settings[i].kind != SETTING_TEXT) {
            (void)snprintf(range, sizeof range, "%llu to %llu",
                           (unsigned long long)settings[i].min,
                           (unsigned long long)settings[i].max);
        }
        (void)printf("| `%s` | %s | %s | %s |\n", settings[i].name,
                     settings[i].value, range, settings[i].help);
    }
}

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
        print_help();
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
    for (size_t i = 0; i < countof(settings); i++) {
        if (settings[i].value[0] != 0 &&
            !assign(&r, &settings[i], settings[i].value, "default")) {
            return CONFIG_WRONG;
        }
    }
    const char *path = config_path(argc, argv, source->environment);
    if ((path != NULL && !read_file(&r, path)) ||
        !read_environment(&r, source->environment)) {
        return CONFIG_WRONG;
    }
    for (int i = 1; i < argc; i++) {
        if (!read_flag(&r, argc, argv, &i)) {
            return CONFIG_WRONG;
        }
    }
    return derive(&r) ? CONFIG_RUN : CONFIG_WRONG;
}

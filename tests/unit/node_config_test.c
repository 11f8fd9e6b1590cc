/* What batond is told: where it comes from, which source wins, and what each refusal says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/config.h"
#include "tests/unit/assert_stub.h"

#define WORDS_MAX 64

static struct config config;
static char error[1024];

#define NEEDED                                                                 \
    "--id", "1", "--data", "/d", "--cluster", "c", "--peers", "1=h:1",         \
        "--clients", "1=h:2"

/* Lists end with NULL. */
static enum config_result read_all(const char *const *flags,
                                   const char *const *environment)
{
    char *argv[WORDS_MAX] = {(char *)(uintptr_t) "batond"};
    char *envp[WORDS_MAX] = {NULL};
    int argc = 1;
    for (; flags[argc - 1] != NULL; argc++) {
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
    }
    for (int i = 0; environment[i] != NULL; i++) {
        envp[i] = (char *)(uintptr_t)environment[i];
    }
    error[0] = 0;
    const struct config_source source = {argc, argv, envp};
    return config_read(&config, &source, error, sizeof error);
}

static const char *const nothing[] = {NULL};

static void assert_runs(const char *const *flags,
                        const char *const *environment)
{
    if (read_all(flags, environment) != CONFIG_RUN) {
        fail_msg("%s", error);
    }
}

static void assert_wrong(const char *const *flags,
                         const char *const *environment, const char *want)
{
    assert_int_equal(read_all(flags, environment), CONFIG_WRONG);
    assert_string_equal(error, want);
}

/* A file with this text; the name is good until the next call. */
static const char *file_with(const char *text)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/node_config_test.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    return path;
}

static void test_defaults(void **state)
{
    (void)state;
    const char *const flags[] = {NEEDED, NULL};
    assert_runs(flags, nothing);
    assert_int_equal(config.id, 1);
    assert_string_equal(config.data, "/d");
    assert_string_equal(config.admin, "/d/admin.sock");
    assert_int_equal(config.election_ms, 1000);
    assert_int_equal(config.heartbeat_ms, 100);
    assert_int_equal(config.join, 0);
    assert_int_equal(config.level, LOG_INFO);
    assert_int_equal(config.pending_max, 65536);
    assert_int_equal(config.members_n, 1);
    assert_string_equal(config_self(&config)->peer, "h:1");
    assert_string_equal(config_self(&config)->client, "h:2");
    assert_string_equal(config_self(&config)->http, "");
}

static void test_flags(void **state)
{
    (void)state;
    const char *const flags[] = {NEEDED,
                                 "--join",
                                 "--lease-reads",
                                 "--log-level=debug",
                                 "--pending-max",
                                 "100",
                                 "--admin",
                                 "/a.sock",
                                 NULL};
    assert_runs(flags, nothing);
    assert_int_equal(config.join, 1);
    assert_int_equal(config.lease_reads, 1);
    assert_int_equal(config.level, LOG_DEBUG);
    /* Rounded up to a power of two. */
    assert_int_equal(config.pending_max, 128);
    assert_string_equal(config.admin, "/a.sock");
    const char *const off[] = {NEEDED, "--join", "0", NULL};
    assert_runs(off, nothing);
    assert_int_equal(config.join, 0);
}

static void test_addresses(void **state)
{
    (void)state;
    const char *const flags[] = {"--id",      "2",
                                 "--data",    "/d",
                                 "--cluster", "c",
                                 "--peers",   "1=a:1,2=[::1]:2,30=c.d:65535",
                                 "--clients", "2=b:20,1=a:10",
                                 "--http",    "2=b:80",
                                 NULL};
    assert_runs(flags, nothing);
    assert_int_equal(config.members_n, 3);
    assert_int_equal(config.members[2].id, 30);
    assert_string_equal(config.members[2].peer, "c.d:65535");
    assert_string_equal(config.members[2].client, "");
    assert_string_equal(config.members[0].client, "a:10");
    const struct turn_member *self = config_self(&config);
    assert_int_equal(self->id, 2);
    assert_string_equal(self->peer, "[::1]:2");
    assert_string_equal(self->client, "b:20");
    assert_string_equal(self->http, "b:80");
}

static void test_environment(void **state)
{
    (void)state;
    const char *const environment[] = {
        "BATON_ID=3",        "BATON_DATA=/d",       "BATON_CLUSTER=c",
        "BATON_PEERS=3=h:1", "BATON_CLIENTS=3=h:2", "BATON_ELECTION_MS=2000",
        "PATH=/bin",         "BATON_ENDPOINTS=x",   "BATON_EPOCH=9",
        "BATON_SCOPE=a/b",   "BATON_BIN=/x",        NULL};
    assert_runs(nothing, environment);
    assert_int_equal(config.id, 3);
    assert_int_equal(config.election_ms, 2000);
}

static void test_precedence(void **state)
{
    (void)state;
    const char *path = file_with("# a comment\n"
                                 "id = 1\n"
                                 "data = /d\n"
                                 "cluster = from-file\n"
                                 "peers = 1=h:1\n"
                                 "clients = 1=h:2\n"
                                 "election-ms = 3000\n"
                                 "heartbeat-ms = 300\n"
                                 "map-mb = 64\n");
    const char *const flags[] = {"--config", path, "--map-mb", "128", NULL};
    const char *const environment[] = {"BATON_ELECTION_MS=4000",
                                       "BATON_MAP_MB=96", NULL};
    assert_runs(flags, environment);
    assert_string_equal(config.cluster, "from-file");
    assert_int_equal(config.heartbeat_ms, 300); /* the file's alone */
    assert_int_equal(config.election_ms, 4000); /* the environment's */
    assert_int_equal(config.map_mb, 128);       /* the flag's */
    char with_equals[128];
    (void)snprintf(with_equals, sizeof with_equals, "--config=%s", path);
    const char *const short_flags[] = {with_equals, NULL};
    assert_runs(short_flags, nothing);
    assert_int_equal(config.map_mb, 64);
    char variable[128];
    (void)snprintf(variable, sizeof variable, "BATON_CONFIG=%s", path);
    const char *const config_variable[] = {variable, NULL};
    assert_runs(nothing, config_variable);
    assert_int_equal(config.map_mb, 64);
    (void)unlink(path);
}

/* Seven nodes with long names don't fit a line: the list goes on, indented. */
static void test_list_goes_on(void **state)
{
    (void)state;
    char text[4096] = "id = 7\ndata = /d\ncluster = c\n";
    const char *const names[] = {"peers", "clients"};
    size_t at = strlen(text);
    for (size_t k = 0; k < countof(names); k++) {
        for (int i = 1; i <= 7; i++) {
            at += (size_t)snprintf(
                text + at, sizeof text - at,
                "%s %s %d=node-%d.some.long.domain.example.org:710%zu%s\n",
                i == 1 ? names[k] : "", i == 1 ? "=" : "   ", i, i, k,
                i % 2 == 0 || i == 7 ? "" : ",");
        }
    }
    const char *path = file_with(text);
    const char *const flags[] = {"--config", path, NULL};
    assert_runs(flags, nothing);
    assert_int_equal(config.members_n, 7);
    for (uint32_t i = 0; i < 7; i++) {
        char want[TURN_ADDRESS_BYTES];
        (void)snprintf(want, sizeof want,
                       "node-%u.some.long.domain.example.org:7101", i + 1);
        assert_string_equal(config.members[i].client, want);
    }
    (void)unlink(path);
}

static void test_long_line_in_a_file(void **state)
{
    (void)state;
    char text[512] = "id = 1\ncluster = ";
    char want[512];
    memset(text + strlen(text), 'x', 300);
    const char *path = file_with(text);
    const char *const flags[] = {"--config", path, NULL};
    assert_int_equal(read_all(flags, nothing), CONFIG_WRONG);
    (void)snprintf(want, sizeof want, "%s:2: expected at most ", path);
    assert_int_equal(strncmp(error, want, strlen(want)), 0);
    assert_non_null(strstr(error, " bytes in a line"));
    (void)unlink(path);
}

static void test_wrong_flags(void **state)
{
    (void)state;
    static const struct {
        const char *flags[4];
        const char *error;
    } table[] = {
        {{"--colour", "red"},
         "command line: unknown setting \"colour\": batond --help lists those "
         "there are"},
        {{"--id", "x"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"x\""},
        {{"--id", "0"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"0\""},
        {{"--id", "-1"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"-1\""},
        {{"--id", "1000001"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"1000001\""},
        {{"--id", "99999999999999999999"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"99999999999999999999\""},
        {{"--id", "1x"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"1x\""},
        {{"--id", "\t5"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"\t5\""},
        {{"--id", "\n+5"},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"\n+5\""},
        {{"--id="},
         "command line: id: expected a whole number from 1 to 1000000, got "
         "\"\""},
        {{"--join=2"},
         "command line: join: expected a whole number from 0 to 1, got \"2\""},
        {{"--id"}, "--id: expected a value"},
        {{"id", "1"},
         "id: expected --NAME VALUE: batond --help lists the names"},
        {{"-i", "1"},
         "-i: expected --NAME VALUE: batond --help lists the names"},
        {{"--", "1"},
         "--: expected --NAME VALUE: batond --help lists the names"},
        {{"--config", "/nowhere/at/all"},
         "/nowhere/at/all: can't be read: No such file or directory: check "
         "the path given with --config"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        assert_wrong(table[i].flags, nothing, table[i].error);
    }
}

static void test_too_long(void **state)
{
    (void)state;
    static char value[CONFIG_PATH_BYTES + 1];
    memset(value, 'x', CONFIG_PATH_BYTES);
    const char *const flags[] = {"--data", value, NULL};
    assert_wrong(flags, nothing,
                 "command line: data: expected at most 511 bytes, got 512");
}

/* The admin socket's default is a path in `data`: it's whole, or refused. */
static void test_too_long_for_the_default(void **state)
{
    (void)state;
    static char data[CONFIG_PATH_BYTES];
    char want[CONFIG_PATH_BYTES + 16];
    memset(data, 'x', 501);
    const char *const flags[] = {NEEDED, "--data", data, NULL};
    assert_wrong(flags, nothing,
                 "command line: data: expected at most 500 bytes without "
                 "admin, got 501");
    data[500] = 0;
    assert_runs(flags, nothing);
    (void)snprintf(want, sizeof want, "%s/admin.sock", data);
    assert_string_equal(config.admin, want);
    memset(data, 'x', CONFIG_PATH_BYTES - 1);
    const char *const named[] = {NEEDED,    "--data",  data,
                                 "--admin", "/a.sock", NULL};
    assert_runs(named, nothing);
}

static void test_wrong_environment(void **state)
{
    (void)state;
    const char *const unknown[] = {"BATON_COLOUR=red", NULL};
    assert_wrong(nothing, unknown,
                 "environment: BATON_COLOUR: unknown setting \"colour\": "
                 "batond --help lists those there are");
    const char *const range[] = {"BATON_ELECTION_MS=5", NULL};
    assert_wrong(nothing, range,
                 "environment: BATON_ELECTION_MS: election-ms: expected a "
                 "whole number from 100 to 60000, got \"5\"");
}

static void test_wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *error; /* behind the file's name */
    } table[] = {
        {"id = 1\n\n# more\ncolour = red\n",
         ":4: unknown setting \"colour\": batond --help lists those there are"},
        {"id = 1\nelection-ms = fast\n",
         ":2: election-ms: expected a whole number from 100 to 60000, got "
         "\"fast\""},
        {"id = 1\nthis is no setting\n",
         ":2: expected `name = value`, or a comment behind #"},
        {"[node]\nid = 1\n",
         ":1: expected `name = value` lines without sections, found [node]"},
        {"election-ms = 500 # half\n",
         ":1: a comment needs a line of its own, got \"election-ms = 500 # "
         "half\""},
        {"# one\n  ; two\nelection-ms = 500\t; half\n",
         ":3: a comment needs a line of its own, got \"election-ms = "
         "500\t; half\""},
        {"cluster = shop # ours\n",
         ":1: a comment needs a line of its own, got \"cluster = shop # "
         "ours\""},
        {"election-ms = 500#half\n",
         ":1: election-ms: expected a whole number from 100 to 60000, got "
         "\"500#half\"; a comment needs a line of its own"},
        {"id = 1\nid = 2\n", ":2: id is given twice: expected it once"},
        {"id = 1\n  id = 2\n", ":2: id is given twice: expected it once"},
        /* The first mistake is the one that's told. */
        {"x = 1\ny = 2\n",
         ":1: unknown setting \"x\": batond --help lists those there are"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        char want[512];
        const char *path = file_with(table[i].text);
        const char *const flags[] = {NEEDED, "--config", path, NULL};
        (void)snprintf(want, sizeof want, "%s%s", path, table[i].error);
        assert_wrong(flags, nothing, want);
        (void)unlink(path);
    }
}

static void test_needed(void **state)
{
    (void)state;
#define FORM(got)                                                              \
    "command line: peers: expected ID=HOST:PORT,... with IDs from 1 to "       \
    "1000000, got \"" got "\""
    static const struct {
        const char *flags[16];
        const char *error;
    } table[] = {
        {{NULL}, "id: needed: --id N"},
        {{"--id", "1"}, "data: needed: --data DIRECTORY"},
        {{"--id", "1", "--data", "d"}, "cluster: needed: --cluster NAME"},
        {{"--id", "1", "--data", "d", "--cluster", "c"},
         "peers: needed: --peers 1=HOST:PORT,2=..."},
        {{NEEDED, "--heartbeat-ms", "334"},
         "command line: heartbeat-ms: expected at most a third of election-ms, "
         "which is 1000"},
        {{NEEDED, "--election-ms", "299"},
         "command line: election-ms: expected at least three times "
         "heartbeat-ms, which is 100"},
        {{NEEDED, "--tls-ca", "x"}, "command line: tls-ca: needs tls-cert-key"},
        {{NEEDED, "--tls-cert-key", "x"},
         "command line: tls-cert-key: needs tls-ca"},
        {{NEEDED, "--log-level", "loud"},
         "command line: log-level: expected error, warn, info or debug"},
        {{NEEDED, "--peers", "2=h:1"},
         "command line: peers: doesn't name this node, 1"},
        {{NEEDED, "--clients", "1=h:2,2=h:3"},
         "command line: clients: names node 2, which `peers` doesn't name"},
        {{NEEDED, "--clients", ""},
         "command line: clients: doesn't name this node, 1"},
        {{NEEDED, "--http", "7=h:1"},
         "command line: http: names node 7, which `peers` doesn't name"},
        {{NEEDED, "--peers", "1=h:1,1=h:3"},
         "command line: peers: names node 1 twice"},
        {{NEEDED, "--clients", "1=h:2,1=h:3"},
         "command line: clients: names node 1 twice"},
        {{NEEDED, "--peers", "h:1"}, FORM("h:1")},
        {{NEEDED, "--peers", "1=h"}, FORM("1=h")},
        {{NEEDED, "--peers", "1=:1"}, FORM("1=:1")},
        {{NEEDED, "--peers", "1=h:"}, FORM("1=h:")},
        {{NEEDED, "--peers", "1=h:0"}, FORM("1=h:0")},
        {{NEEDED, "--peers", "1=h:65536"}, FORM("1=h:65536")},
        {{NEEDED, "--peers", "1=a b:1"}, FORM("1=a b:1")},
        {{NEEDED, "--peers", "0=h:1"}, FORM("0=h:1")},
        {{NEEDED, "--peers", "\t+1=h:1"}, FORM("\t+1=h:1")},
        {{NEEDED, "--peers", "x=h:1"}, FORM("x=h:1")},
        {{NEEDED, "--peers", "=h:1"}, FORM("=h:1")},
        {{NEEDED, "--peers", "1000001=h:1"}, FORM("1000001=h:1")},
        {{NEEDED, "--peers", "0000000000000001=h:1"},
         FORM("0000000000000001=h:1")},
    };
    for (size_t i = 0; i < countof(table); i++) {
        assert_wrong(table[i].flags, nothing, table[i].error);
    }
}

/* One listens at an address, for one purpose. */
static void test_addresses_differ(void **state)
{
    (void)state;
    static const struct {
        const char *flags[18];
        const char *error;
    } table[] = {
        {{NEEDED, "--peers", "1=h:1,2=g:1,3=G:1"},
         "command line: peers: nodes 2 and 3 have the same address, G:1"},
        {{NEEDED, "--peers", "1=h:1,2=g:1", "--clients", "1=h:2,2=h:2"},
         "command line: clients: nodes 1 and 2 have the same address, h:2"},
        {{NEEDED, "--clients", "1=h:1"},
         "command line: clients: node 1 has the address that node 1 has in "
         "`peers`, h:1"},
        {{NEEDED, "--peers", "1=h:1,2=g:1", "--clients", "1=h:2,2=h:1"},
         "command line: clients: node 2 has the address that node 1 has in "
         "`peers`, h:1"},
        {{NEEDED, "--http", "1=h:2"},
         "command line: http: node 1 has the address that node 1 has in "
         "`clients`, h:2"},
        {{NEEDED, "--listen-peer", "0.0.0.0"},
         "command line: listen-peer: expected HOST:PORT, got \"0.0.0.0\""},
        {{NEEDED, "--listen-client", "0.0.0.0:x"},
         "command line: listen-client: expected HOST:PORT, got \"0.0.0.0:x\""},
        {{NEEDED, "--listen-http", "::1:7"},
         "command line: listen-http: expected HOST:PORT, got \"::1:7\""},
        {{NEEDED, "--listen-client", "h:1"},
         "command line: listen-client: has the address of peers, h:1"},
        {{NEEDED, "--listen-peer", ":1", "--listen-http", ":1"},
         "command line: listen-peer: has the address of listen-http, :1"},
    };
    for (size_t i = 0; i < countof(table); i++) {
        assert_wrong(table[i].flags, nothing, table[i].error);
    }
    const char *path = file_with("peers = 1=h:1,\n  2=h:1\nclients = 1=h:2\n");
    char want[256];
    const char *const flags[] = {"--config", path,        "--id", "1", "--data",
                                 "/d",       "--cluster", "c",    NULL};
    (void)snprintf(want, sizeof want,
                   "%s:2: peers: nodes 1 and 2 have the same address, h:1",
                   path);
    assert_wrong(flags, nothing, want);
    (void)unlink(path);
}

static void test_listening(void **state)
{
    (void)state;
    const char *const flags[] = {NEEDED, "--listen-client", ":2", NULL};
    char named[CONFIG_NAMED_BYTES];
    assert_runs(flags, nothing);
    struct config_listen l = config_listen(&config, CONFIG_PEER);
    assert_string_equal(l.setting, "peers");
    assert_string_equal(l.address, "h:1");
    l = config_listen(&config, CONFIG_CLIENT);
    assert_string_equal(l.setting, "listen-client");
    assert_string_equal(l.address, ":2");
    l = config_listen(&config, CONFIG_HTTP);
    assert_string_equal(l.address, "");
    config_where(&config, "listen-client", named);
    assert_string_equal(named, "command line: listen-client");
    config_where(&config, "admin", named);
    assert_string_equal(named, "admin");
}

static void test_too_many_members(void **state)
{
    (void)state;
    char list[1024] = "";
    size_t at = 0;
    for (int i = 1; i <= RAFT_NODES_MAX + 1; i++) {
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%d=h:%d",
                               i == 1 ? "" : ",", i, i);
    }
    const char *const flags[] = {NEEDED, "--peers", list, NULL};
    assert_wrong(flags, nothing,
                 "command line: peers: expected at most 16 nodes, got more");
}

static void test_names_make_ids(void **state)
{
    (void)state;
    const char *const one[] = {NEEDED, "--cluster", "one", NULL};
    const char *const two[] = {NEEDED, "--cluster", "two", NULL};
    assert_runs(one, nothing);
    uint64_t id = config.cluster_id;
    assert_runs(two, nothing);
    assert_int_not_equal(id, config.cluster_id);
    assert_runs(one, nothing);
    assert_int_equal(id, config.cluster_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_list_goes_on),
        cmocka_unit_test(test_long_line_in_a_file),
        cmocka_unit_test(test_wrong_flags),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_too_long_for_the_default),
        cmocka_unit_test(test_wrong_environment),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_needed),
        cmocka_unit_test(test_addresses_differ),
        cmocka_unit_test(test_listening),
        cmocka_unit_test(test_too_many_members),
        cmocka_unit_test(test_names_make_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

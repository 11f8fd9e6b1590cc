/* The command line's words: durations, numbers, scopes, capabilities, options; what each verb refuses; and the exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/cli.h"
#include "tests/unit/assert_stub.h"

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint32_t ms;
    } rows[] = {
        {"10s", true, 10000}, {"500ms", true, 500},
        {"1m", true, 60000},  {"24h", true, 86400000},
        {"0", true, 0},       {"0s", true, 0},
        {"", false, 0},       {"10", false, 0},
        {"s", false, 0},      {"-1s", false, 0},
        {"+1s", false, 0},    {"1.5s", false, 0},
        {"10 s", false, 0},   {"10sec", false, 0},
        {"25h", false, 0},    {"99999999999999999999s", false, 0},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        uint32_t ms = 7;
        assert_int_equal(cli_duration(rows[i].text, &ms), rows[i].ok);
        assert_int_equal(ms, rows[i].ok ? rows[i].ms : 7);
    }
}

static void numbers(void **state)
{
    (void)state;
    uint64_t n = 7;
    assert_true(cli_number("18446744073709551615", UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
    assert_false(cli_number("18446744073709551616", UINT64_MAX, &n));
    assert_false(cli_number("", 9, &n));
    assert_false(cli_number("-1", 9, &n));
    assert_false(cli_number("1x", 9, &n));
    assert_false(cli_number(" 1", 9, &n));
    assert_false(cli_number("10", 9, &n));
    assert_true(cli_number("9", 9, &n));
}

static const struct verb a_verb = {"leader", "NS/G [D]", "", "", NULL};

static void scopes(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *device;
        int parts_min;
        int rc;
        const char *parts[3];
    } rows[] = {
        {"acme/alice", NULL, 2, CLI_DONE, {"acme", "alice", ""}},
        {"acme/alice", "laptop", 2, CLI_DONE, {"acme", "alice", "laptop"}},
        {"acme/alice/laptop", NULL, 2, CLI_DONE, {"acme", "alice", "laptop"}},
        {"acme", NULL, 1, CLI_DONE, {"acme", "", ""}},
        {NULL, NULL, 0, CLI_DONE, {"", "", ""}},
        {"acme", NULL, 2, CLI_USAGE, {0}},
        {"acme/alice/laptop", "phone", 2, CLI_USAGE, {0}},
        {"acme/alice/lap/top", NULL, 2, CLI_USAGE, {0}},
        {"acme//x", NULL, 2, CLI_USAGE, {0}},
        {"/alice", NULL, 2, CLI_USAGE, {0}},
        {"acme/", NULL, 2, CLI_USAGE, {0}},
        {"acme/al\x01ice", NULL, 2, CLI_USAGE, {0}},
        {"acme/\xff", NULL, 2, CLI_USAGE, {0}},
        {"acme/alice", "", 2, CLI_USAGE, {0}},
    };
    struct cli c = {.verb = &a_verb};
    for (size_t i = 0; i < countof(rows); i++) {
        struct cli_scope s;
        assert_int_equal(cli_parse_scope(&c, rows[i].path, rows[i].device,
                                         rows[i].parts_min, &s),
                         rows[i].rc);
        if (rows[i].rc == CLI_DONE) {
            assert_string_equal(s.namespace_name, rows[i].parts[0]);
            assert_string_equal(s.group, rows[i].parts[1]);
            assert_string_equal(s.device, rows[i].parts[2]);
        }
    }
    char longest[NAME_BYTES_MAX + 8] = "n/";
    struct cli_scope s;
    memset(longest + 2, 'g', NAME_BYTES_MAX);
    assert_int_equal(cli_parse_scope(&c, longest, NULL, 2, &s), CLI_DONE);
    longest[2 + NAME_BYTES_MAX] = 'g';
    assert_int_equal(cli_parse_scope(&c, longest, NULL, 2, &s), CLI_USAGE);
}

static void capabilities(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        const char *names; /* in the refusal */
    } rows[] = {
        {"battery=80,charging=1", true, ""},
        {"kind=laptop,network=wifi,visible=0", true, ""},
        {"priority=-100,rtt_ms=600000,cores=1,memory_mb=16777216", true, ""},
        {"battery=101", false, "battery must be from 0 to 100"},
        {"battery=-1", false, "battery must be from 0 to 100"},
        {"battery=", false, "battery"},
        {"battery=8x", false, "battery"},
        {"battery", false, "KEY=VALUE"},
        {"", false, "KEY=VALUE"},
        {"battery=1,", false, "KEY=VALUE"},
        {"battery=1,battery=2", false, "twice"},
        {"colour=3", false, "colour"},
        {"kind=toaster", false, "toaster"},
        {"network=5g", false, "5g"},
        {"cores=0", false, "cores must be from 1 to 4096"},
        {"priority=101", false, "-100 to 100"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct baton_capability caps[16];
        size_t n = 0;
        char error[256] = "";
        assert_int_equal(
            cli_capabilities(rows[i].text, caps, &n, error, sizeof error),
            rows[i].ok);
        if (!rows[i].ok) {
            assert_non_null(strstr(error, rows[i].names));
        }
    }
    struct baton_capability caps[16];
    size_t n = 0;
    char error[256];
    assert_true(cli_capabilities("kind=server,network=none,battery=0", caps, &n,
                                 error, sizeof error));
    assert_int_equal(n, 3);
    assert_int_equal(caps[0].value, PB__DEVICE_KIND__SERVER);
    assert_int_equal(caps[1].value, PB__NETWORK__OFFLINE);
    assert_int_equal(caps[2].key, PB__CAPABILITY_KEY__BATTERY);
    assert_int_equal(caps[2].value, 0);
}

static void options(void **state)
{
    (void)state;
    bool flag = false;
    const char *text = NULL;
    uint64_t number = 0;
    uint32_t ms = 0;
    const struct cli_option table[] = {
        {"--flag", CLI_FLAG, &flag},    {"--text", CLI_TEXT, &text},
        {"--number", CLI_U64, &number}, {"--ttl", CLI_MS, &ms},
        {NULL, CLI_FLAG, NULL},
    };
    char *good[] = {(char *)"acme/a", (char *)"--flag",     (char *)"--text",
                    (char *)"--odd",  (char *)"--number=5", (char *)"laptop",
                    (char *)"--ttl",  (char *)"2s",         (char *)"--",
                    (char *)"--rest"};
    struct cli c = {.verb = &a_verb, .argc = (int)countof(good), .argv = good};
    const char *args[CLI_POSITIONAL_MAX];
    int n = 0;
    assert_int_equal(cli_parse(&c, table, args, &n), CLI_DONE);
    assert_int_equal(n, 2);
    assert_string_equal(args[1], "laptop");
    assert_true(flag);
    assert_string_equal(text, "--odd");
    assert_int_equal(number, 5);
    assert_int_equal(ms, 2000);
    static const char *const bad[] = {"--nothing", "--text",   "--number=x",
                                      "--ttl=5",   "--flag=1", "--fla"};
    for (size_t i = 0; i < countof(bad); i++) {
        char *one[] = {(char *)bad[i]};
        c.argc = 1;
        c.argv = one;
        assert_int_equal(cli_parse(&c, table, args, &n), CLI_USAGE);
    }
}

static void globals(void **state)
{
    (void)state;
    char *argv[] = {(char *)"baton",
                    (char *)"leader",
                    (char *)"--json",
                    (char *)"acme/a",
                    (char *)"--timeout=2s",
                    (char *)"--endpoints",
                    (char *)"h:1",
                    (char *)"--",
                    (char *)"--json",
                    (char *)"--endpoints",
                    NULL};
    int argc = (int)countof(argv) - 1;
    struct cli c = {.timeout_ms = 5000};
    bool help = false;
    bool version = false;
    assert_int_equal(cli_parse_globals(&c, &argc, argv, &help, &version),
                     CLI_DONE);
    assert_true(c.json);
    assert_int_equal(c.timeout_ms, 2000);
    assert_string_equal(c.endpoints, "h:1");
    assert_int_equal(argc, 6);
    assert_string_equal(argv[2], "acme/a");
    assert_string_equal(argv[4], "--json");
    assert_string_equal(argv[5], "--endpoints");
    /* What's behind it goes to exec: it must end there. */
    assert_null(argv[6]);
    /* A timeout of 0; one twice; -- is no value; a flag twice says what it says once. */
    static const struct {
        const char *words[5];
        int rc;
    } rows[] = {
        {{"--timeout", "0"}, CLI_USAGE},
        {{"--timeout", "1s", "--timeout", "1s"}, CLI_USAGE},
        {{"--endpoints=h:1", "leader", "--endpoints", "h:1"}, CLI_USAGE},
        {{"elect", "a/b", "--endpoints", "--", "--json"}, CLI_USAGE},
        {{"--json", "leader", "--json"}, CLI_DONE},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char *line[7] = {(char *)"baton"};
        for (argc = 1; argc <= 5 && rows[i].words[argc - 1] != NULL; argc++) {
            line[argc] = (char *)rows[i].words[argc - 1];
        }
        assert_int_equal(cli_parse_globals(&c, &argc, line, &help, &version),
                         rows[i].rc);
    }
}

/* --- what verbs refuse, before they ask anybody ------------------------------------------------------------------ */

#define WORDS_MAX 16
#define NAME_RULE                                                              \
    "must be 1 to 128 bytes of UTF-8 without control characters or /"
#define X16       "xxxxxxxxxxxxxxxx"
#define LONG_NAME X16 X16 X16 X16 X16 X16 X16 X16 "y"
#define OPEN      "session", "open", "--group", "a/b"
#define OPEN_D    OPEN, "--device", "d"
#define OPEN_DT   OPEN_D, "--tab", "t"
#define ADD_PEER  "member", "add", "4", "--peer", "h:1"

struct refused {
    const char *words[WORDS_MAX]; /* the first is the verb */
    const char *said[2];
};

static const struct refused refusals[] = {
    /* Names: one wording, whatever the verb. */
    {{"elect", "a/b", "--tab", "x/y", "--", "true"},
     {"the tab \"x/y\" " NAME_RULE}},
    {{"elect", "a/b", "--tab", "", "--", "true"}, {"the tab \"\" " NAME_RULE}},
    {{"elect", "a/b", "--tab", LONG_NAME, "--", "true"},
     {"the tab \"" LONG_NAME "\" " NAME_RULE}},
    {{OPEN_D, "--tab", "x/y"}, {"the tab \"x/y\" " NAME_RULE}},
    {{OPEN_D, "--tab", ""}, {"the tab \"\" " NAME_RULE}},
    {{OPEN, "--device", "x/y", "--tab", "t"},
     {"the device \"x/y\" " NAME_RULE}},
    {{"session", "open", "--group", "a/", "--device", "d", "--tab", "t"},
     {"the group \"\" " NAME_RULE}},
    {{"sessions", "a/"}, {"the group \"\" " NAME_RULE}},
    {{"sessions", ""}, {"the namespace \"\" " NAME_RULE}},
    {{"sessions", "a\x01"}, {"the namespace", NAME_RULE}},
    {{"watch", "/b"}, {"the namespace \"\" " NAME_RULE}},
    {{"events", "a/\xff", "--from", "1"}, {"the group", NAME_RULE}},
    {{"leader", "a/b/c/d"}, {"the device \"c/d\" " NAME_RULE}},
    {{"explain", "a/b", ""}, {"the device \"\" " NAME_RULE}},
    {{"verify", "a/" LONG_NAME, "1"}, {"the group", NAME_RULE}},
    {{"handoff", "a//c", "--to", "7"}, {"the group \"\" " NAME_RULE}},
    {{"resign", "a/b", "x/y", "7"}, {"the device \"x/y\" " NAME_RULE}},
    {{"demote", "a/b/", "--reason", "slow"}, {"the device \"\" " NAME_RULE}},
    {{"policy", "get", ""}, {"the namespace \"\" " NAME_RULE}},
    /* More parts than it takes. */
    {{"sessions", "a/b/c"}, {"without the device", "\"a/b/c\""}},
    {{"watch", "a/b/c"}, {"without the device", "\"a/b/c\""}},
    {{"events", "a/b/c", "--from", "1"}, {"without the device", "\"a/b/c\""}},
    {{"elect", "a/b/c", "--", "true"}, {"without the device", "\"a/b/c\""}},
    {{"policy", "get", "a/b"}, {"without a group", "\"a/b\""}},
    {{"sessions", "a", "b"}, {"too many arguments", "\"b\""}},
    {{"leader", "a/b", "c", "d"}, {"too many arguments", "\"d\""}},
    {{"transfer", "1", "2"}, {"too many arguments", "\"2\""}},
    {{"status", "a"}, {"too many arguments", "\"a\""}},
    {{OPEN_DT, "again"}, {"too many arguments", "\"again\""}},
    {{"session", "close"}, {"\"open\"", "\"close\""}},
    {{"elect", "a/b", "c", "--", "true"}, {"too many arguments", "\"c\""}},
    /* Numbers and texts. */
    {{"verify", "a/b", "0"}, {"EPOCH must be a whole number from 1", "\"0\""}},
    {{"resign", "a/b", "x"}, {"EPOCH must be a whole number from 1", "\"x\""}},
    {{"handoff", "a/b", "--to", "0"},
     {"--to must be a whole number from 1", "\"0\""}},
    {{"handoff", "a/b"}, {"--to SESSION is missing"}},
    {{"events", "--from", "0"},
     {"--from must be a whole number from 1", "\"0\""}},
    {{"events", "--from", "9", "--to", "8"}, {"--to must be from 9", "\"8\""}},
    {{"watch", "--from", "x"}, {"--from must be a whole number", "\"x\""}},
    {{"demote", "a/b"}, {"--reason TEXT is missing"}},
    {{"demote", "a/b", "--reason", ""},
     {"--reason must be 1 to 256 bytes of UTF-8 without control characters"}},
    {{"demote", "a/b", "--reason", "one\ntwo"}, {"--reason must be 1 to 256"}},
    {{"demote", "a/b", "--reason", LONG_NAME LONG_NAME},
     {"--reason must be 1 to 256"}},
    {{"transfer", "two"}, {"NODE must be a whole number", "\"two\""}},
    {{"member", "promote", "0"},
     {"NODE must be a whole number from 1", "\"0\""}},
    {{"member", "add", "1000001", "--peer", "h:1", "--client", "h:2"},
     {"NODE must be a whole number from 1 to 1000000", "\"1000001\""}},
    {{"transfer", "1000001"}, {"from 0 to 1000000", "\"1000001\""}},
    {{"member", "grow", "4"}, {"list, add NODE, promote NODE or remove NODE"}},
    {{"member", "promote", "4", "--peer", "h:1"},
     {"--peer", "only for member add"}},
    {{"member", "list", "--http", "h:1"}, {"--http", "only for member add"}},
    {{ADD_PEER}, {"--client HOST:PORT"}},
    {{ADD_PEER, "--client", "h"}, {"--client", "\"h\" isn't HOST:PORT"}},
    {{ADD_PEER, "--client", "h:2", "--http", ":3"},
     {"--http", "\":3\" isn't HOST:PORT"}},
    /* Durations and ranges: one wording again. */
    {{OPEN_DT, "--ttl", "999ms"},
     {"--ttl must be from 1s to 10m", "\"999ms\""}},
    {{"elect", "a/b", "--ttl", "11m", "--", "true"},
     {"--ttl must be from 1s to 10m", "\"11m\""}},
    {{"bench", "open", "--ttl", "0"},
     {"--ttl must be from 1s to 10m", "\"0\""}},
    {{"bench", "open", "--clients", "0"},
     {"--clients must be a whole number from 1", "\"0\""}},
    {{"bench", "open", "--pipeline", "8001"},
     {"--pipeline must be from 1 to 8000, not 8001"}},
    {{"bench", "open", "--tabs", "0"},
     {"--tabs must be a whole number from 1", "\"0\""}},
    {{OPEN_DT, "--group", "c/d"}, {"--group is given twice"}},
    {{"elect", "a/b", "--tab", "--", "true"}, {"--tab needs a value"}},
    {{"leader", "acme"},
     {"\"acme\" names a namespace alone: expected NAMESPACE/GROUP"}},
    {{"elect", "acme", "--", "true"}, {"\"acme\" names a namespace alone"}},
    {{"verify", "acme", "7"}, {"\"acme\" names a namespace alone"}},
    {{"leader"}, {"NAMESPACE/GROUP is missing"}},
    {{"events", "--from", "1\x1b[2J\n"}, {"not \"1\\x1b[2J\\x0a\""}},
    {{"bench", "close"}, {"open, renew, leader, watch or churn", "\"close\""}},
    {{OPEN_DT, "--cap", "battery=101"}, {"battery must be from 0 to 100"}},
};

/* Runs the verb; what it said is the caller's to free. */
static char *say(const char *const words[WORDS_MAX], struct cli *c,
                 int *out_code)
{
    char *argv[WORDS_MAX];
    c->argc = 0;
    for (int i = 1; i < WORDS_MAX && words[i] != NULL; i++) {
        argv[c->argc++] = (char *)words[i];
    }
    c->argv = argv;
    c->verb = cli_find_verb(words[0]);
    assert_non_null(c->verb);
    char *text = NULL;
    size_t n = 0;
    FILE *before = stderr;
    stderr = open_memstream(&text, &n);
    assert_non_null(stderr);
    *out_code = c->verb->run(c);
    (void)fclose(stderr);
    stderr = before;
    c->argv = NULL;
    return text;
}

static void verbs_refuse(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(refusals); i++) {
        const struct refused *r = &refusals[i];
        /* Nobody is there: whoever asks all the same fails soon, with another code. */
        struct cli c = {.endpoints = "127.0.0.1:1", .timeout_ms = 50};
        int code = 0;
        char *said = say(r->words, &c, &code);
        if (code != CLI_USAGE) {
            fail_msg("%s %s: exit code %d, %s", r->words[0], r->words[1], code,
                     said);
        }
        for (size_t j = 0; j < countof(r->said); j++) {
            if (r->said[j] != NULL && strstr(said, r->said[j]) == NULL) {
                fail_msg("%s %s: no \"%s\" in: %s", r->words[0], r->words[1],
                         r->said[j], said);
            }
        }
        assert_null(c.b);
        free(said);
    }
}

static void long_words_are_cut(void **state)
{
    (void)state;
    static char word[100001];
    memset(word, 'x', sizeof word - 1);
    const char *const words[WORDS_MAX] = {"status", word};
    struct cli c = {.endpoints = "127.0.0.1:1", .timeout_ms = 50};
    int code = 0;
    char *said = say(words, &c, &code);
    assert_int_equal(code, CLI_USAGE);
    assert_true(strlen(said) < 2000);
    assert_non_null(strstr(said, "too many arguments, from \"xxx"));
    assert_non_null(strstr(said, "x ... x"));
    assert_non_null(strstr(said, "x\" on\n"));
    free(said);
}

static void endpoints_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *endpoints;
        const char *environment;
        const char *said;
    } rows[] = {
        {"", NULL,
         "baton: --endpoints: entry 1, \"\", isn't HOST:PORT: it is "},
        {"h:1,h", NULL,
         "baton: --endpoints: entry 2, \"h\", isn't HOST:PORT: "},
        {"h:x", "h:1", "baton: --endpoints: entry 1, \"h:x\", "},
        {NULL, "", "baton: BATON_ENDPOINTS, in the environment: entry 1, \"\""},
        {NULL, "h:1,:2",
         "baton: BATON_ENDPOINTS, in the environment: entry 2, \":2\", "},
    };
    static const char *const words[WORDS_MAX] = {"leader", "a/b"};
    for (size_t i = 0; i < countof(rows); i++) {
        struct cli c = {.endpoints = rows[i].endpoints, .timeout_ms = 50};
        if (rows[i].environment != NULL) {
            assert_int_equal(setenv("BATON_ENDPOINTS", rows[i].environment, 1),
                             0);
        }
        int code = 0;
        char *said = say(words, &c, &code);
        assert_int_equal(unsetenv("BATON_ENDPOINTS"), 0);
        if (code != CLI_USAGE ||
            strncmp(said, rows[i].said, strlen(rows[i].said)) != 0) {
            fail_msg("row %zu: exit code %d: %s", i, code, said);
        }
        assert_null(c.b);
        free(said);
    }
    struct cli half = {.endpoints = "h:1", .tls_ca = "ca.pem"};
    int code = 0;
    char *said = say(words, &half, &code);
    assert_int_equal(code, CLI_USAGE);
    assert_non_null(strstr(said, "--tls-cert-key is missing"));
    free(said);
}

static void exit_codes(void **state)
{
    (void)state;
    static const struct {
        enum baton_status status;
        int code;
    } rows[] = {
        {BATON_OK, 0},          {BATON_NOT_LEADER, 3}, {BATON_NO_QUORUM, 3},
        {BATON_UNKNOWN, 3},     {BATON_NOT_FOUND, 2},  {BATON_EXPIRED, 4},
        {BATON_STALE_EPOCH, 4}, {BATON_CONFLICT, 4},   {BATON_NOT_ALLOWED, 4},
        {BATON_INVALID, 4},     {BATON_LIMIT, 4},      {BATON_COMPACTED, 4},
        {BATON_WINDOW, 4},      {BATON_BUSY, 3},       {BATON_UNSUPPORTED, 4},
        {BATON_UNAVAILABLE, 3},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        assert_int_equal(cli_exit_of(rows[i].status), rows[i].code);
    }
}

static void every_verb_has_help(void **state)
{
    (void)state;
    for (const struct verb *v = cli_verbs; v->name != NULL; v++) {
        assert_ptr_equal(cli_find_verb(v->name), v);
        assert_non_null(v->run);
        assert_true(strlen(v->help) > 0);
        /* An example that can be copied. */
        assert_non_null(strstr(v->help, "baton "));
    }
    assert_null(cli_find_verb("nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(numbers),
        cmocka_unit_test(scopes),
        cmocka_unit_test(capabilities),
        cmocka_unit_test(options),
        cmocka_unit_test(globals),
        cmocka_unit_test(verbs_refuse),
        cmocka_unit_test(long_words_are_cut),
        cmocka_unit_test(endpoints_are_named),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(every_verb_has_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

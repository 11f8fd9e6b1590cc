/* HTTP routes: what's asked, decoded and refused, by a node that leads alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/turn.h"
#include "sim/store.h"
#include "tests/lab/lab_transport.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

#define ANSWER_BYTES (2u << 20)

struct rig {
    struct sim_disk *disk;
    struct store *store;
    struct transport *transport;
    struct turn *turn;
    uint64_t now_ms;
    uint64_t sequence;
    uint32_t status; /* of the last answer; 0: none yet */
    uint64_t ticket;
    char *body;
    uint64_t reply_id; /* of the last client command */
};

static struct rig *rig;

static void on_http(void *arg, uint32_t node, uint64_t ticket, uint32_t status,
                    struct bytes body)
{
    (void)arg;
    (void)node;
    assert_true(body.n < ANSWER_BYTES);
    rig->status = status;
    rig->ticket = ticket;
    memcpy(rig->body, body.data, body.n);
    rig->body[body.n] = 0;
}

static bool on_send(void *arg, uint32_t node, uint64_t conn, struct bytes body)
{
    static uint8_t memory[1 << 16];
    struct arena arena;
    (void)arg;
    (void)node;
    assert_int_equal(conn, 1);
    arena_init(&arena, memory, sizeof memory);
    Pb__ClientMessage *m = codec_decode_message(body, &arena);
    assert_non_null(m);
    assert_int_equal(m->status, PB__STATUS__OK);
    assert_non_null(m->reply);
    rig->reply_id = m->reply->id;
    return true;
}

/* A turn at the present, with at most one input. */
static void turn(const struct transport_input *input)
{
    struct store_event event;
    turn_begin(rig->turn, rig->now_ms, 1700000000000ull);
    while (store_next(rig->store, &event)) {
        turn_store(rig->turn, &event);
    }
    if (input != NULL) {
        turn_input(rig->turn, input);
    }
    turn_end(rig->turn);
    turn_check(rig->turn);
    assert_null(turn_fatal(rig->turn));
}

static void run(uint64_t ms)
{
    for (uint64_t end = rig->now_ms + ms; rig->now_ms < end;) {
        rig->now_ms += 10;
        turn(NULL);
        while (sim_store_write(rig->store)) {
        }
        turn(NULL);
    }
}

/* The answer to GET `path`. */
static uint32_t get(const char *path)
{
    static uint64_t tickets;
    const struct transport_input input = {
        .type = TRANSPORT_HTTP, .conn = ++tickets, .body = codec_text(path)};
    rig->status = 0;
    rig->body[0] = 0;
    turn(&input);
    if (rig->status == 0) {
        run(300);
    }
    assert_int_not_equal(rig->status, 0);
    assert_int_equal(rig->ticket, tickets);
    return rig->status;
}

static uint64_t client(Pb__Command *command)
{
    static uint8_t frame[4096];
    uint8_t correlation[16] = {1};
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.version = PROTOCOL_VERSION;
    request.id = 1;
    request.correlation_id =
        codec_binary((struct bytes){correlation, sizeof correlation});
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = command;
    size_t n = codec_encode(&request.base, frame, sizeof frame);
    assert_true(n > 0);
    const struct transport_input input = {
        .type = TRANSPORT_CLIENT_FRAME, .conn = 1, .body = {frame, n}};
    rig->reply_id = 0;
    turn(&input);
    run(50);
    assert_int_not_equal(rig->reply_id, 0);
    return rig->reply_id;
}

static uint64_t open_lease(void)
{
    uint8_t nonce[16] = {3};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenLease m = PB__OPEN_LEASE__INIT;
    m.nonce = codec_binary((struct bytes){nonce, sizeof nonce});
    m.ttl_ms = 600000;
    m.label = (char *)(uintptr_t) "relay-1";
    c.op_case = PB__COMMAND__OP_OPEN_LEASE;
    c.open_lease = &m;
    return client(&c);
}

static uint64_t open_session(uint64_t lease, const char *text)
{
    uint8_t secret[16] = {7};
    struct kit_path path;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    kit_path(&path, text);
    m.path = &path.path;
    m.tab = path.tab;
    m.secret = codec_binary((struct bytes){secret, sizeof secret});
    c.lease = lease;
    c.sequence = ++rig->sequence;
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &m;
    return client(&c);
}

static struct turn_options options(void)
{
    struct turn_options o;
    turn_options_default(&o);
    o.id = 1;
    o.cluster = 9;
    o.seed = 5;
    o.members_n = 1;
    o.members[0].id = 1;
    (void)snprintf(o.members[0].peer, TURN_ADDRESS_BYTES, "h:1");
    (void)snprintf(o.members[0].http, TURN_ADDRESS_BYTES, "h:3");
    o.registry_limits = (struct registry_limits)KIT_LIMITS;
    o.entries_n = 1024;
    o.entries_bytes = 8u << 20;
    o.events_bytes = 1u << 20;
    o.pending_max = 64;
    o.reads_max = 64;
    o.watches_max = 8;
    return o;
}

static int make_rig(void **state)
{
    (void)state;
    const struct lab_transport_hooks hooks = {.send = on_send, .http = on_http};
    struct store_boot boot;
    char error[256] = "";
    rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    struct turn_options o = options();
    rig->body = malloc(ANSWER_BYTES);
    rig->disk = sim_disk_new(1);
    rig->store = sim_store_open(rig->disk, &boot);
    rig->now_ms = 1000;
    const struct turn_start start = {
        .store = rig->store, .boot = &boot, .now_ms = rig->now_ms};
    rig->turn = turn_open(&o, &start, error, sizeof error);
    assert_non_null(rig->turn);
    rig->transport = lab_transport_new(1, &hooks);
    turn_set_transport(rig->turn, rig->transport, rig->now_ms);
    return 0;
}

static int drop_rig(void **state)
{
    (void)state;
    turn_close(rig->turn);
    sim_store_crash(rig->store);
    sim_disk_free(rig->disk);
    lab_transport_free(rig->transport);
    free(rig->body);
    free(rig);
    return 0;
}

static bool has(const char *text)
{
    return strstr(rig->body, text) != NULL;
}

static void test_before_a_leader(void **state)
{
    (void)state;
    assert_int_equal(get("/healthz"), 200);
    assert_string_equal(rig->body, "ok\n");
    assert_int_equal(get("/readyz"), 503);
    assert_string_equal(rig->body, "not ready: no leader is known\n");
    assert_int_equal(get("/v1/leader/ns/g"), 503);
    assert_true(has("\"error\":\"NOT_LEADER\""));
    assert_false(has("\"leader")); /* nor its address */
    /* What doesn't need one is answered all the same. */
    assert_int_equal(get("/v1/leader/ns/g?consistency=stale"), 404);
    assert_true(has("\"consistency\":\"stale\""));
    assert_int_equal(get("/status"), 200);
    assert_int_equal(get("/metrics"), 200);
}

static void test_pages(void **state)
{
    (void)state;
    run(3000);
    assert_int_equal(get("/readyz"), 200);
    assert_string_equal(rig->body, "ready\n");
    assert_int_equal(get("/status"), 200);
    assert_true(has("\"role\":\"leader\""));
    assert_int_equal(rig->body[0], '{');
    assert_int_equal(get("/metrics"), 200);
    assert_true(has("# TYPE "));
    assert_true(has("# HELP "));
}

static void test_unknown_paths(void **state)
{
    (void)state;
    const char *const paths[] = {
        "",
        "/",
        "/v1",
        "/v1/leader",
        "/v1/sessions",
        "/metricsx",
        "healthz",
        "/v2/leader/a/b",
        "/V1/leader/a/b",
    };
    for (size_t i = 0; i < countof(paths); i++) {
        assert_int_equal(get(paths[i]), 404);
        assert_true(has("/v1/leader/NAMESPACE/GROUP[/DEVICE]"));
    }
    assert_int_equal(get("/healthz?x=1"), 200);
}

static void test_malformed(void **state)
{
    (void)state;
    static char long_name[64 + 3 * NAME_BYTES_MAX];
    static const char *const paths[] = {
        "/v1/leader/",         "/v1/leader/ns",
        "/v1/leader/ns/",      "/v1/leader//g",
        "/v1/leader/ns/g/d/t", "/v1/leader/ns/g/d/t/u",
        "/v1/leader/ns/g/",    "/v1/leader/ns/%",
        "/v1/leader/ns/%4",    "/v1/leader/ns/%4g",
        "/v1/leader/ns/%g4",   "/v1/leader/ns/a%2Fb", /* no name has a slash */
        "/v1/leader/ns/%00",   "/v1/leader/ns/%0a",
        "/v1/leader/ns/%ff", /* no UTF-8 */
        "/v1/leader/ns/%c3",   "/v1/sessions/",
        "/v1/sessions/ns/g/d",
    };
    for (size_t i = 0; i < countof(paths); i++) {
        if (get(paths[i]) != 400) {
            fail_msg("%s: %u", paths[i], rig->status);
        }
        assert_true(
            has("{\"error\":\"INVALID\",\"message\":\"expected GET /v1/"));
    }
    (void)snprintf(long_name, sizeof long_name, "/v1/sessions/");
    memset(long_name + strlen(long_name), 'x', NAME_BYTES_MAX + 1);
    assert_int_equal(get(long_name), 400);
}

/* Each is named, and what was expected: nobody takes an answer for another than it is. */
static void test_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *message;
    } table[] = {
        {"leader/ns/g?stale", "there is no parameter \\\"stale\\\" here: "
                              "expected consistency"},
        {"leader/ns/g?stale=", "there is no parameter \\\"stale\\\" here"},
        {"leader/ns/g?stale=maybe", "there is no parameter \\\"stale\\\""},
        {"leader/ns/g??", "there is no parameter \\\"?\\\" here"},
        {"leader/ns/g?%zz=1", "malformed parameter: expected two hex digits"},
        {"leader/ns/g?consistency=%4", "malformed parameter"},
        {"leader/ns/g?consistency=st+ale", "got \\\"st+ale\\\""},
        {"leader/ns/g?=1", "there is no parameter \\\"\\\" here"},
        {"leader/ns/g?limit=1", "there is no parameter \\\"limit\\\" here"},
        {"leader/ns/g?cursor=1", "there is no parameter \\\"cursor\\\" here"},
        {"leader/ns/g?consistency=none",
         "consistency: expected linearizable, stale or lease, got "
         "\\\"none\\\"\""},
        {"leader/ns/g?consistency=STALE", "got \\\"STALE\\\""},
        {"leader/ns/g?consistency=", "got \\\"\\\""},
        {"leader/ns/g?consistency", "got \\\"\\\""},
        {"leader/ns/g?consistency=stale&consistency=stale",
         "consistency is given twice: expected it once"},
        {"sessions/ns?stale=1", "there is no parameter \\\"stale\\\" here: "
                                "expected consistency, cursor or limit"},
        {"sessions/ns?consistency=1", "consistency: expected "},
        {"sessions/ns?cursor", "cursor: expected a whole number, `next` of "
                               "the page before, got \\\"\\\""},
        {"sessions/ns?cursor=-1", "got \\\"-1\\\""},
        {"sessions/ns?cursor=18446744073709551616", "cursor: expected"},
        {"sessions/ns?limit=", "limit: expected a whole number up to "
                               "4294967295, got \\\"\\\""},
        {"sessions/ns?limit=4294967296", "got \\\"4294967296\\\""},
        {"sessions/ns?limit=1x", "got \\\"1x\\\""},
        {"sessions/ns?limit=1&cursor=0&limit=1", "limit is given twice"},
    };
    run(3000);
    for (size_t i = 0; i < countof(table); i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "/v1/%s", table[i].path);
        if (get(path) != 400 || !has("\"error\":\"INVALID\"") ||
            !has(table[i].message)) {
            fail_msg("%s: %u %s", path, rig->status, rig->body);
        }
    }
    assert_int_equal(get("/v1/sessions/ns?"), 200);
    assert_int_equal(get("/v1/sessions/ns?&consistency=stale&"), 200);
    assert_int_equal(get("/v1/sessions/ns?c%6Fnsistency=st%61le"), 200);
    assert_int_equal(get("/v1/sessions/ns?&&limit=1&&cursor=0&"), 200);
    /* Health checks add what gets them past caches. */
    assert_int_equal(get("/readyz?nocache=1"), 200);
    assert_int_equal(get("/status?x"), 200);
    assert_int_equal(get("/metrics?x="), 200);
}

static void test_leader(void **state)
{
    (void)state;
    char want[64];
    run(3000);
    uint64_t lease = open_lease();
    uint64_t session = open_session(lease, "acme/ann \xc3\xa9/lap top/t1");
    assert_int_equal(get("/v1/leader/acme/ann%20%C3%a9"), 200);
    assert_true(has("\"scope\":\"acme/ann \xc3\xa9\""));
    assert_true(has("\"device\":\"lap top\""));
    assert_true(has("\"tab\":\"t1\""));
    assert_true(has("\"relay\":\"relay-1\""));
    assert_true(has("\"consistency\":\"linearizable\""));
    (void)snprintf(want, sizeof want, "\"session\":\"%llu\"",
                   (unsigned long long)session);
    assert_true(has(want));
    assert_int_equal(get("/v1/leader/acme/ann%20%C3%A9/lap%20top"), 200);
    assert_true(has("\"scope\":\"acme/ann \xc3\xa9/lap top\""));
    assert_true(has(want));
    assert_int_equal(get("/v1/leader/acme/nobody"), 404);
    assert_true(has("\"error\":\"NOT_FOUND\""));
    assert_int_equal(get("/v1/leader/acme/ann%20%C3%A9?consistency=stale"),
                     200);
    assert_true(has("\"consistency\":\"stale\""));
    /* Each is decoded once, and is what it says. */
    static const char *const names[][2] = {
        {".", "."}, {"..", "%2e%2E"}, {"g+", "g+"}, {"%2f", "%252f"}};
    for (size_t i = 0; i < countof(names); i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "acme/%s/d/t1", names[i][0]);
        (void)open_session(lease, text);
        (void)snprintf(text, sizeof text, "/v1/leader/acme/%s", names[i][1]);
        assert_int_equal(get(text), 200);
        (void)snprintf(text, sizeof text, "\"scope\":\"acme/%s\"", names[i][0]);
        assert_true(has(text));
    }
    assert_int_equal(get("/v1/leader/acme/g%20"), 404);
    /* Asked for, but not turned on: by a round. */
    assert_int_equal(get("/v1/leader/acme/ann%20%C3%A9?consistency=lease"),
                     200);
    assert_true(has("\"consistency\":\"linearizable\""));
}

static uint32_t count(const char *text)
{
    uint32_t n = 0;
    for (const char *at = strstr(rig->body, text); at != NULL;
         at = strstr(at + 1, text)) {
        n++;
    }
    return n;
}

static void test_sessions(void **state)
{
    (void)state;
    char path[128];
    uint32_t total = 0;
    uint32_t pages = 0;
    uint64_t cursor = 0;
    run(3000);
    uint64_t lease = open_lease();
    for (uint32_t i = 0; i < 11; i++) {
        (void)snprintf(path, sizeof path, "%s/g%u/d/t%u", i < 9 ? "a" : "b",
                       i % 3, i);
        (void)open_session(lease, path);
    }
    assert_int_equal(get("/v1/sessions/a"), 200);
    assert_int_equal(count("\"session\":"), 9);
    assert_true(has("\"next\":\"0\""));
    assert_int_equal(get("/v1/sessions/a/g1"), 200);
    assert_int_equal(count("\"session\":"), 3);
    assert_int_equal(count("\"group\":\"a/g1\""), 3);
    assert_int_equal(get("/v1/sessions/b"), 200);
    assert_int_equal(count("\"session\":"), 2);
    assert_int_equal(get("/v1/sessions/c"), 200);
    assert_true(has("\"sessions\":[]"));
    /* Pages end, and have each session once. */
    do {
        (void)snprintf(path, sizeof path, "/v1/sessions/a?limit=2&cursor=%llu",
                       (unsigned long long)cursor);
        assert_int_equal(get(path), 200);
        assert_true(count("\"session\":") <= 2);
        total += count("\"session\":");
        const char *next = strstr(rig->body, "\"next\":\"");
        assert_non_null(next);
        cursor = strtoull(next + 8, NULL, 10);
        pages++;
    } while (cursor != 0 && pages < 20);
    assert_int_equal(total, 9);
    assert_true(pages <= 6);
    /* A cursor that nobody gave is just the end. */
    assert_int_equal(get("/v1/sessions/a?cursor=9223372036854775807"), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_rig, drop_rig)
    const struct CMUnitTest tests[] = {
        TEST(test_before_a_leader), TEST(test_pages),
        TEST(test_unknown_paths),   TEST(test_malformed),
        TEST(test_parameters),      TEST(test_leader),
        TEST(test_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

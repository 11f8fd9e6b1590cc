/* libbaton against nodes that say what a test wants them to: two small servers in this process, turned by the test's thread
 * while the client's own thread works. Nothing sleeps: conditions with a deadline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/client.h"
#include "tests/unit/assert_stub.h"
#include "transport/transport.h"

#define PATIENCE_MS 20000
#define LEASE_ID    500
#define SEEN_MAX    256

/* What a fake node was asked. */
struct seen {
    int op; /* PB__CLIENT_REQUEST__OP_*, or 1000 + PB__COMMAND__OP_* */
    uint64_t conn;
    uint64_t id;
    uint64_t lease;
    uint64_t sequence;
    uint64_t number;
    uint64_t from;
};

struct fake {
    struct transport *t;
    char address[64];
    uint32_t node;
    bool silent;   /* takes everything, answers nothing */
    bool follower; /* answers NOT_LEADER, naming `leader` */
    struct fake *leader;
    /* the next mutation is applied, and its connection closed instead of an answer */
    bool drop_once;
    bool mute_renew; /* renewals are lost */
    bool no_quorum;
    uint64_t applied; /* mutations with a new (lease, sequence) */
    uint64_t done[64];
    struct seen seen[SEEN_MAX];
    size_t seen_n;
    uint64_t watch_conn;
    uint64_t watch_id;
    uint64_t watch_from;
};

static struct fake fakes[2];
static struct baton *client;

static void quiet(void *arg, int level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
}

static uint16_t free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof sa;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(sa.sin_port);
}

static void fake_open(struct fake *f, uint32_t node)
{
    *f = (struct fake){.node = node};
    (void)snprintf(f->address, sizeof f->address, "127.0.0.1:%u", free_port());
    struct transport_options o = {.node = node,
                                  .cluster = 9,
                                  .incarnation = node,
                                  .boot = 1,
                                  .client_listen = f->address,
                                  .client_advertise = f->address,
                                  .http_advertise = "",
                                  .connections_max = 100,
                                  .peer_queue_bytes = 1u << 20,
                                  .client_queue_bytes = 1u << 20,
                                  .hello_ms = 20000,
                                  .log = quiet};
    char error[256];
    f->t = transport_open(&o, error, sizeof error);
    if (f->t == NULL) {
        fail_msg("%s", error);
    }
}

static void fake_close(struct fake *f)
{
    if (f->t != NULL) {
        transport_close(f->t, 100);
        f->t = NULL;
    }
}

static void answer(struct fake *f, uint64_t conn, Pb__ClientMessage *m)
{
    uint8_t out[4096];
    m->version = PROTOCOL_VERSION;
    size_t n = codec_encode(&m->base, out, sizeof out);
    assert_true(n > 0);
    (void)transport_send(f->t, conn, (struct bytes){out, n});
}

static void refuse(struct fake *f, const struct seen *s,
                   enum baton_status status)
{
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.id = s->id;
    m.status = (Pb__Status)status;
    m.message = (char *)"no";
    if (status == BATON_NOT_LEADER && f->leader != NULL) {
        m.leader = f->leader->node;
        m.leader_endpoint = f->leader->address;
    }
    answer(f, s->conn, &m);
}

/* Exactly once: a sequence that was seen gets the same reply. */
static void apply(struct fake *f, const struct seen *s)
{
    struct fake *registry = &fakes[0]; /* replicated, as it were */
    bool known = s->sequence != 0 && s->sequence < countof(registry->done) &&
                 registry->done[s->sequence] != 0;
    if (!known) {
        registry->applied++;
        if (s->sequence != 0 && s->sequence < countof(registry->done)) {
            registry->done[s->sequence] = registry->applied;
        }
    }
    if (f->drop_once && s->op != 1000 + PB__COMMAND__OP_OPEN_LEASE) {
        f->drop_once = false;
        transport_conn_close(f->t, s->conn, "the test wants it");
        return;
    }
    Pb__Reply reply = PB__REPLY__INIT;
    reply.id = s->op == 1000 + PB__COMMAND__OP_OPEN_LEASE ? LEASE_ID
                                                          : 600 + s->sequence;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.id = s->id;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_REPLY;
    m.reply = &reply;
    answer(f, s->conn, &m);
}

static void renew(struct fake *f, const struct seen *s)
{
    if (f->mute_renew) {
        return;
    }
    Pb__RenewResult r = PB__RENEW_RESULT__INIT;
    r.number = s->number;
    r.ttl_ms = 1000;
    r.next_ms = 300;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.id = s->id;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_RENEW;
    m.renew = &r;
    answer(f, s->conn, &m);
}

static void respond(struct fake *f, const struct seen *s)
{
    if (s->op == PB__CLIENT_REQUEST__OP_WATCH) {
        f->watch_conn = s->conn;
        f->watch_id = s->id;
        f->watch_from = s->from;
        return;
    }
    if (f->silent || s->op == PB__CLIENT_REQUEST__OP_UNWATCH) {
        return;
    }
    if (f->no_quorum || f->follower) {
        refuse(f, s, f->follower ? BATON_NOT_LEADER : BATON_NO_QUORUM);
        return;
    }
    if (s->op > 1000) {
        apply(f, s);
    } else if (s->op == PB__CLIENT_REQUEST__OP_RENEW) {
        renew(f, s);
    } else {
        refuse(f, s, BATON_NOT_FOUND);
    }
}

static void take(struct fake *f, const struct transport_input *in)
{
    static uint8_t memory[65536];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    const Pb__ClientRequest *r = codec_decode_request(in->body, &arena);
    assert_non_null(r);
    assert_int_equal(r->correlation_id.len, 16);
    struct seen s = {.op = (int)r->op_case, .conn = in->conn, .id = r->id};
    if (r->op_case == PB__CLIENT_REQUEST__OP_COMMAND) {
        s.op = 1000 + (int)r->command->op_case;
        s.lease = r->command->lease;
        s.sequence = r->command->sequence;
    } else if (r->op_case == PB__CLIENT_REQUEST__OP_RENEW) {
        s.number = r->renew->number;
    } else if (r->op_case == PB__CLIENT_REQUEST__OP_WATCH) {
        s.from = r->watch->from;
    }
    assert_true(f->seen_n < SEEN_MAX);
    f->seen[f->seen_n++] = s;
    respond(f, &s);
}

static void turn(void)
{
    for (size_t i = 0; i < countof(fakes); i++) {
        struct fake *f = &fakes[i];
        if (f->t == NULL) {
            continue;
        }
        transport_wait(f->t, 1);
        struct transport_input in;
        while (transport_next(f->t, &in)) {
            if (in.type == TRANSPORT_CLIENT_FRAME) {
                take(f, &in);
            }
        }
        transport_flush(f->t);
    }
}

/* Turns the nodes until an event of that type (and tag, if it isn't 0) came. */
static struct baton_event await(enum baton_event_type type, uint64_t tag)
{
    uint64_t until = client_now_ms() + PATIENCE_MS;
    struct baton_event e;
    for (;;) {
        turn();
        while (baton_poll(client, 0, &e)) {
            if (e.type == type && (tag == 0 || e.tag == tag)) {
                return e;
            }
        }
        if (client_now_ms() > until) {
            fail_msg("no event %d with tag %d", (int)type, (int)tag);
        }
    }
}

#define AWAIT(cond)                                                            \
    do {                                                                       \
        uint64_t until_ = client_now_ms() + PATIENCE_MS;                       \
        while (!(cond)) {                                                      \
            turn();                                                            \
            if (client_now_ms() > until_) {                                    \
                fail_msg("not in time: %s", #cond);                            \
            }                                                                  \
        }                                                                      \
    } while (0)

static uint64_t count(const struct fake *f, int op)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->seen_n; i++) {
        n += f->seen[i].op == op;
    }
    return n;
}

static int setup(void **state)
{
    (void)state;
    fake_open(&fakes[0], 1);
    fake_open(&fakes[1], 2);
    char endpoints[160];
    char error[256];
    (void)snprintf(endpoints, sizeof endpoints, "%s,%s", fakes[0].address,
                   fakes[1].address);
    struct baton_options o = {.endpoints = endpoints,
                              .ttl_ms = 1000,
                              .warn_ms = 300,
                              .timeout_ms = PATIENCE_MS};
    if (baton_open(&o, &client, error, sizeof error) != BATON_OK) {
        fail_msg("%s", error);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(baton_close(client, BATON_LEAVE_ABANDON, 100), BATON_OK);
    fake_close(&fakes[0]);
    fake_close(&fakes[1]);
    return 0;
}

static void open_session(uint64_t tag, uint32_t timeout_ms)
{
    struct baton_session_options o = {.scope = {"acme", "alice", "laptop"},
                                      .tab = "t"};
    struct baton_call call = {.tag = tag, .timeout_ms = timeout_ms};
    assert_int_equal(baton_session_open(client, &call, &o, NULL), BATON_OK);
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static void a_hint_is_followed(void **state)
{
    (void)state;
    fakes[0].follower = true;
    fakes[0].leader = &fakes[1];
    open_session(1, 0);
    struct baton_event e = await(BATON_DONE, 1);
    assert_int_equal(e.status, BATON_OK);
    assert_int_equal(e.reply->id, 601);
    /* Asked once where the leader wasn't, and from then on where it is. */
    assert_int_equal(count(&fakes[0], 1000 + PB__COMMAND__OP_OPEN_LEASE), 1);
    assert_int_equal(count(&fakes[0], 1000 + PB__COMMAND__OP_OPEN_SESSION), 0);
    assert_int_equal(count(&fakes[1], 1000 + PB__COMMAND__OP_OPEN_SESSION), 1);
}

static void a_retry_is_the_same_request(void **state)
{
    (void)state;
    open_session(1, 0);
    (void)await(BATON_DONE, 1);
    uint64_t applied = fakes[0].applied;
    /* Applied, but the answer is lost with the connection; then another node answers. */
    fakes[0].drop_once = true;
    open_session(2, 0);
    struct baton_event e = await(BATON_DONE, 2);
    assert_int_equal(e.status, BATON_OK);
    assert_int_equal(fakes[0].applied, applied + 1);
    uint64_t attempts = 0;
    for (size_t i = 0; i < countof(fakes); i++) {
        for (size_t j = 0; j < fakes[i].seen_n; j++) {
            const struct seen *s = &fakes[i].seen[j];
            if (s->op == 1000 + PB__COMMAND__OP_OPEN_SESSION &&
                s->sequence == 2) {
                assert_int_equal(s->lease, LEASE_ID);
                attempts++;
            }
        }
    }
    assert_int_equal(attempts, 2);
}

static void unanswered_is_unknown(void **state)
{
    (void)state;
    open_session(1, 0);
    (void)await(BATON_DONE, 1);
    fakes[0].silent = true;
    fakes[1].silent = true;
    open_session(2, 300);
    struct baton_event e = await(BATON_DONE, 2);
    assert_int_equal(e.status, BATON_UNKNOWN);
    assert_non_null(strstr(e.message, "may or may not"));
    struct baton_query q = {.scope = {"acme", "alice", NULL}};
    struct baton_call call = {.tag = 3, .timeout_ms = 300};
    assert_int_equal(baton_leader(client, &call, &q, NULL), BATON_OK);
    e = await(BATON_DONE, 3);
    assert_int_equal(e.status, BATON_NO_QUORUM);
}

static void no_quorum_is_said_by_the_deadline(void **state)
{
    (void)state;
    fakes[0].no_quorum = true;
    fakes[1].no_quorum = true;
    uint64_t begun = client_now_ms();
    open_session(1, 400);
    struct baton_event e = await(BATON_DONE, 1);
    assert_int_equal(e.status, BATON_NO_QUORUM);
    assert_true(strlen(e.message) > 0);
    assert_true(client_now_ms() >= begun);
    /* It comes back, and so do we: with the next call. */
    fakes[0].no_quorum = false;
    fakes[1].no_quorum = false;
    open_session(2, 0);
    e = await(BATON_DONE, 2);
    assert_int_equal(e.status, BATON_OK);
}

static void nobody_is_reachable(void **state)
{
    (void)state;
    fake_close(&fakes[0]);
    fake_close(&fakes[1]);
    struct baton_query q = {.scope = {"acme", "alice", NULL}};
    struct baton_call call = {.timeout_ms = 300};
    struct baton_reply r = {0};
    assert_int_equal(baton_leader(client, &call, &q, &r), BATON_NO_QUORUM);
    assert_non_null(strstr(r.message, "nobody reachable"));
    baton_reply_free(&r);
}

/* --- the lease --------------------------------------------------------------------------------------------------- */

/* Tells the client that session 601 leads, as the watch of its lease would. */
static void grant(struct fake *f, uint64_t revision, bool synced)
{
    Pb__SessionInfo row = PB__SESSION_INFO__INIT;
    Pb__SessionInfo *rows[] = {&row};
    row.session = 601;
    row.lease = LEASE_ID;
    row.namespace_ = (char *)"acme";
    row.group = (char *)"alice";
    row.device = (char *)"laptop";
    row.tab = (char *)"t";
    row.role = PB__ROLE__ROLE_LEADER;
    row.device_epoch = 601;
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    part.sessions = rows;
    part.n_sessions = 1;
    part.synced = synced;
    part.revision = revision;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.id = f->watch_id;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_WATCH;
    m.watch = &part;
    answer(f, f->watch_conn, &m);
}

static void the_holder_is_told_before_its_right_ends(void **state)
{
    (void)state;
    open_session(1, 0);
    (void)await(BATON_DONE, 1);
    AWAIT(fakes[0].watch_id != 0);
    grant(&fakes[0], 700, true);
    struct baton_event e = await(BATON_GRANTED, 0);
    assert_int_equal(e.session, 601);
    assert_int_equal(e.epoch, 601);
    assert_string_equal(e.scope, "acme/alice/laptop");
    assert_true(baton_right_ms(client) > 0);
    /* Renewals are lost from now on: a warning, then the end, and both of them without a word from the cluster. */
    fakes[0].mute_renew = true;
    fakes[1].mute_renew = true;
    e = await(BATON_ENDING, 0);
    assert_true(e.deadline_ms <= 300);
    e = await(BATON_LOST, 0);
    assert_int_equal(e.epoch, 601);
    assert_int_equal(baton_right_ms(client), 0);
    /* Only late, not over: the cluster still has us as the leader. */
    fakes[0].mute_renew = false;
    fakes[1].mute_renew = false;
    e = await(BATON_GRANTED, 0);
    assert_int_equal(e.epoch, 601);
    assert_true(baton_right_ms(client) > 0);
}

/* --- watches ----------------------------------------------------------------------------------------------------- */

static void batch(struct fake *f, uint64_t revision)
{
    Pb__Event event = PB__EVENT__INIT;
    Pb__Event *events[] = {&event};
    event.kind = PB__EVENT_KIND__GRANTED;
    event.revision = revision;
    event.namespace_ = (char *)"acme";
    event.group = (char *)"alice";
    event.session = 1;
    event.group_scope = true;
    Pb__EventBatch one = PB__EVENT_BATCH__INIT;
    Pb__EventBatch *batches[] = {&one};
    one.revision = revision;
    one.events = events;
    one.n_events = 1;
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    part.batches = batches;
    part.n_batches = 1;
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.id = f->watch_id;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_WATCH;
    m.watch = &part;
    answer(f, f->watch_conn, &m);
}

static void a_watch_goes_on_elsewhere(void **state)
{
    (void)state;
    struct baton_watch w = {.tag = 5, .namespace_name = "acme", .from = 100};
    assert_int_equal(baton_watch(client, &w), BATON_OK);
    AWAIT(fakes[0].watch_id != 0);
    assert_int_equal(fakes[0].watch_from, 100);
    batch(&fakes[0], 100);
    batch(&fakes[0], 104);
    struct baton_event e = await(BATON_WATCH_EVENT, 5);
    assert_int_equal(e.revision, 100);
    assert_string_equal(e.kind, "GRANTED");
    assert_string_equal(e.scope, "acme/alice");
    e = await(BATON_WATCH_EVENT, 5);
    assert_int_equal(e.revision, 104);
    fake_close(&fakes[0]);
    AWAIT(fakes[1].watch_id != 0);
    /* From the next one; a node that repeats itself isn't believed twice. */
    assert_int_equal(fakes[1].watch_from, 105);
    batch(&fakes[1], 104);
    batch(&fakes[1], 105);
    e = await(BATON_WATCH_EVENT, 5);
    assert_int_equal(e.revision, 105);
}

static void a_compacted_watch_starts_over(void **state)
{
    (void)state;
    struct baton_watch w = {.tag = 5, .namespace_name = "acme", .from = 3};
    assert_int_equal(baton_watch(client, &w), BATON_OK);
    AWAIT(fakes[0].watch_id != 0);
    struct seen s = {.conn = fakes[0].watch_conn, .id = fakes[0].watch_id};
    uint64_t first = fakes[0].watch_id;
    refuse(&fakes[0], &s, BATON_COMPACTED);
    (void)await(BATON_WATCH_RESET, 5);
    AWAIT(fakes[0].watch_id != first);
    assert_int_equal(fakes[0].watch_from, 0);
}

static void a_refused_watch_ends(void **state)
{
    (void)state;
    struct baton_watch w = {.tag = 5, .namespace_name = "acme", .from = 3};
    assert_int_equal(baton_watch(client, &w), BATON_OK);
    AWAIT(fakes[0].watch_id != 0);
    struct seen s = {.conn = fakes[0].watch_conn, .id = fakes[0].watch_id};
    refuse(&fakes[0], &s, BATON_LIMIT);
    struct baton_event e = await(BATON_WATCH_FAILED, 5);
    assert_int_equal(e.status, BATON_LIMIT);
    assert_int_equal(baton_unwatch(client, 5), BATON_NOT_FOUND);
}

static void options_are_checked(void **state)
{
    (void)state;
    static const struct baton_options bad[] = {
        {.ttl_ms = 999},           {.ttl_ms = 600001},
        {.drift_permille = 201},   {.endpoints = "nonsense"},
        {.tls_ca_file = "ca.pem"},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct baton *none = NULL;
        char error[256] = "";
        assert_int_equal(baton_open(&bad[i], &none, error, sizeof error),
                         BATON_INVALID);
        assert_null(none);
        assert_true(strlen(error) > 0);
    }
}

#define WITH_NODES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_NODES(a_hint_is_followed),
        WITH_NODES(a_retry_is_the_same_request),
        WITH_NODES(unanswered_is_unknown),
        WITH_NODES(no_quorum_is_said_by_the_deadline),
        WITH_NODES(nobody_is_reachable),
        WITH_NODES(the_holder_is_told_before_its_right_ends),
        WITH_NODES(a_watch_goes_on_elsewhere),
        WITH_NODES(a_compacted_watch_starts_over),
        WITH_NODES(a_refused_watch_ends),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/transport_harness.h"
#include "transport/http.h"

/* --- a node that answers ---------------------------------------------------------------------------------------------- */

struct served {
    struct node n;
    struct http *h;
};

/* Turns the transport once; each request is answered with its own target, but those that begin with /late, which get none. */
static void serve(struct served *s)
{
    transport_wait(s->n.t, 1);
    struct transport_input in;
    while (transport_next(s->n.t, &in)) {
        node_take(&s->n, &in);
        if (in.type != TRANSPORT_HTTP) {
            continue;
        }
        if (in.body.n >= 5 && memcmp(in.body.data, "/late", 5) == 0) {
            continue;
        }
        if (in.body.n == 4 && memcmp(in.body.data, "/big", 4) == 0) {
            static uint8_t big[1000000];
            memset(big, 'b', sizeof big);
            transport_http_reply(s->n.t, in.conn, 200, "text/plain",
                                 (struct bytes){big, sizeof big});
            continue;
        }
        bool none = in.body.n == 5 && memcmp(in.body.data, "/none", 5) == 0;
        transport_http_reply(s->n.t, in.conn, none ? 404 : 200, "text/x-echo",
                             none ? (struct bytes){0} : in.body);
    }
    transport_flush(s->n.t);
}

static void open_served(struct served *s, uint32_t timeout_ms,
                        uint32_t connections_max)
{
    node_options(&s->n, 1);
    node_open(&s->n);
    char error[256] = "";
    s->h = http_open(s->n.t,
                     &(struct http_options){
                         .listen = "127.0.0.1:0",
                         .timeout_ms = timeout_ms,
                         .connections_max = connections_max,
                     },
                     error, sizeof error);
    if (s->h == NULL) {
        fail_msg("%s", error);
    }
    assert_true(http_port(s->h) != 0);
}

static void close_served(struct served *s)
{
    http_close(s->h);
    node_close(&s->n);
}

/* --- a client by hand ------------------------------------------------------------------------------------------------- */

static void send_text(int fd, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), n);
}

/* Reads until it holds `until` or the connection ends, while the node turns. NUL-terminated; the same buffer each time. */
static char got[2000000];
static size_t got_n;

static void receive(struct served *s, int fd, const char *until)
{
    uint64_t deadline = now_ms() + DEADLINE_MS;
    got_n = 0;
    got[0] = 0;
    for (;;) {
        ssize_t n = recv(fd, got + got_n, sizeof got - 1 - got_n, 0);
        if (n > 0) {
            got_n += (size_t)n;
            got[got_n] = 0;
        } else if (n == 0 || errno != EAGAIN) {
            return;
        }
        if (until != NULL && strstr(got, until) != NULL) {
            return;
        }
        if (now_ms() > deadline) {
            fail_msg("not in time; got: %s", got);
        }
        serve(s);
    }
}

static void expect_in(const char *text)
{
    if (strstr(got, text) == NULL) {
        fail_msg("no \"%s\" in: %s", text, got);
    }
}

/* One request on a connection of its own, and all of the answer. */
static void ask(struct served *s, const char *line, const char *headers)
{
    int fd = tcp_connect(http_port(s->h));
    char request[512];
    (void)snprintf(request, sizeof request,
                   "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
                   line, headers);
    send_text(fd, request);
    receive(s, fd, NULL);
    (void)close(fd);
}

/* --- tests ------------------------------------------------------------------------------------------------------------ */

static void get_is_answered(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    ask(&s, "GET /status", "");
    expect_in("HTTP/1.1 200");
    expect_in("content-type: text/x-echo\r\n");
    expect_in("content-length: 7\r\n");
    expect_in("cache-control: no-store\r\n");
    expect_in("\r\n\r\n/status");
    ask(&s, "GET /none", "");
    expect_in("HTTP/1.1 404");
    expect_in("content-length: 0\r\n");
    close_served(&s);
}

static void head_has_no_body(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    ask(&s, "HEAD /status", "");
    expect_in("HTTP/1.1 200");
    expect_in("content-length: 7\r\n");
    assert_string_equal(got + got_n - 4, "\r\n\r\n");
    close_served(&s);
}

/* The loop gets what was sent, byte for byte: libwebsockets would make another scope's of most of these. */
static void targets_are_as_sent(void **state)
{
    (void)state;
    static const char *const all[] = {
        "/v1/leader/acme/alice",
        "/v1/leader/a%20b/%c3%a9",
        "/v1/x?limit=1&cursor=7",
        "/v1/100%25/%3F",
        "/v1/x?a=1%262&b=%3D",
        "/v1/leader/h%2Fg/d",
        "/v1/leader/%2e%2e/h/g",
        "/v1/leader/h/..",
        "/v1/leader/h/.",
        "/v1/leader/../../../..",
        "/..",
        "//v1///x/",
        "/v1/leader/h/g+",
        "/v1/leader/h/g%2B",
        "/v1/leader/h/g;x=1",
        "/v1/leader/h/g??",
        "/v1/leader/h/g?&consistency=stale&",
        "/v1/x?a+b=c+d",
        "/?",
        "/",
    };
    struct served s;
    open_served(&s, 0, 0);
    for (size_t i = 0; i < countof(all); i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "GET %s", all[i]);
        ask(&s, line, "");
        expect_in("HTTP/1.1 200");
        const char *body = strstr(got, "\r\n\r\n") + 4;
        assert_string_equal(body, all[i]);
    }
    /* All of them at once, on one connection, and in small pieces: each its own. */
    int fd = tcp_connect(http_port(s.h));
    for (size_t i = 0; i < countof(all); i++) {
        char request[256];
        (void)snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", all[i]);
        send_text(fd, request);
    }
    send_text(fd, "GET /l");
    receive(&s, fd, "\r\n\r\n/?");
    send_text(fd, "ast HTTP/1.1\r\nHost: x\r\n\r");
    send_text(fd, "\n");
    receive(&s, fd, "\r\n\r\n/last");
    (void)close(fd);
    close_served(&s);
}

/* What might be read in two ways isn't read at all. */
static void control_characters(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/v1/leader/h/g%0a",       "/v1/leader/h/g%0d",
        "/v1/leader/h/g%0ax",      "/v1/leader/h/g%0d%0a%0d%0aGET%20/two",
        "/v1/leader/h/g%1f",       "/v1/leader/h/g%7F",
        "/v1/x?consistency=a%0Ab",
    };
    struct served s;
    open_served(&s, 0, 0);
    for (size_t i = 0; i < countof(targets); i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "GET %s", targets[i]);
        ask(&s, line, "");
        expect_in(" 400 ");
        expect_in("no name has a control character\n");
    }
    static const char *const requests[] = {
        "GET /a HTTP/1.1\nHost: x\n\n",
        "GET /a HTTP/1.1\r\nHost: x\r\n\n",
        "GET /a HTTP/1.1\r\nHost: x\r\n and: y\r\n\r\n",
        "GET /a HTTP/1.1\r\nX: a\rb\r\nHost: x\r\n\r\n",
    };
    for (size_t i = 0; i < countof(requests); i++) {
        int fd = tcp_connect(http_port(s.h));
        send_text(fd, requests[i]);
        (void)shutdown(fd, SHUT_WR);
        receive(&s, fd, NULL);
        assert_null(strstr(got, " 200 "));
        (void)close(fd);
    }
    assert_int_equal(s.n.n[TRANSPORT_HTTP], 0);
    close_served(&s);
}

static void other_methods(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    ask(&s, "POST /status", "Content-Length: 3\r\n");
    expect_in("HTTP/1.1 405");
    expect_in("allow: GET, HEAD\r\n");
    ask(&s, "PUT /status", "");
    expect_in("HTTP/1.1 405");
    ask(&s, "DELETE /status", "");
    expect_in("HTTP/1.1 405");
    ask(&s, "OPTIONS /status", "");
    expect_in("HTTP/1.1 405");
    static const char *const unknown[] = {"FOO /status", "get /status",
                                          "BREW /v1/leader/h/g", "PROPFIND /",
                                          "X /%zz"};
    for (size_t i = 0; i < countof(unknown); i++) {
        ask(&s, unknown[i], "");
        expect_in(" 405 ");
        expect_in("allow: GET, HEAD\r\n");
        expect_in("\r\n\r\n405 only GET and HEAD\n");
    }
    static const char *const none[] = {"\x01\x02\x03 BREW / COFFEE",
                                       "\x16\x03\x01\x02", "GET x", "GET",
                                       "{\"a\": 1}"};
    for (size_t i = 0; i < countof(none); i++) {
        ask(&s, none[i], "");
        assert_null(strstr(got, " 200 "));
        assert_null(strstr(got, "hex digits"));
    }
    ask(&s, "GET /status", "Content-Length: 3\r\n");
    expect_in("HTTP/1.1 413");
    assert_int_equal(s.n.n[TRANSPORT_HTTP], 0);
    close_served(&s);
}

static void no_upgrades(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    int fd = tcp_connect(http_port(s.h));
    send_text(fd, "GET /status HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    receive(&s, fd, NULL);
    expect_in(" 403");
    (void)close(fd);
    fd = tcp_connect(http_port(s.h));
    send_text(fd, "GET /status HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
                  "Connection: Upgrade, HTTP2-Settings\r\n"
                  "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n");
    receive(&s, fd, NULL);
    expect_in(" 403");
    (void)close(fd);
    close_served(&s);
}

static void bounds(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    static char request[20000];
    /* A long target. */
    int fd = tcp_connect(http_port(s.h));
    (void)snprintf(request, sizeof request,
                   "GET /%05000d HTTP/1.1\r\nHost: x\r\n\r\n", 7);
    send_text(fd, request);
    receive(&s, fd, NULL);
    expect_in(" 414 ");
    (void)close(fd);
    /* One longer than all that libwebsockets keeps, in one piece, as an argument, as many. */
    static const char *const long_ones[] = {"/v1/%015000d", "/v1/x?a=%015000d",
                                            "/%09000d?b=%05000d",
                                            "/?a=%05000d&b=%05000d"};
    for (size_t i = 0; i < countof(long_ones); i++) {
        char *at = request;
        const char *end = request + sizeof request;
        fd = tcp_connect(http_port(s.h));
        at += snprintf(at, (size_t)(end - at), "GET ");
        at += snprintf(at, (size_t)(end - at), long_ones[i], 7, 7);
        (void)snprintf(at, (size_t)(end - at), " HTTP/1.1\r\nHost: x\r\n\r\n");
        send_text(fd, request);
        receive(&s, fd, NULL);
        expect_in(" 414 ");
        expect_in(
            "\r\n\r\n414 the request's target is longer than 4096 bytes\n");
        (void)close(fd);
    }
    /* A long argument that isn't too long is whole, and so is what's behind it. */
    char *whole = request + 4;
    (void)snprintf(request, sizeof request, "GET /v1/x?a=%03000d&b=1", 7);
    fd = tcp_connect(http_port(s.h));
    send_text(fd, request);
    send_text(fd, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    receive(&s, fd, NULL);
    expect_in("HTTP/1.1 200 ");
    assert_string_equal(strstr(got, "\r\n\r\n") + 4, whole);
    (void)close(fd);
    /* Headers past all bounds: the end, with whatever words. */
    fd = tcp_connect(http_port(s.h));
    (void)snprintf(request, sizeof request,
                   "GET / HTTP/1.1\r\nHost: x\r\nCookie: %015000d\r\n\r\n", 7);
    send_text(fd, request);
    receive(&s, fd, NULL);
    (void)close(fd);
    /* Garbage. */
    fd = tcp_connect(http_port(s.h));
    send_text(fd, "\x01\x02\x03 BREW / COFFEE\r\n\r\n");
    receive(&s, fd, NULL);
    (void)close(fd);
    assert_int_equal(s.n.n[TRANSPORT_HTTP], 1);
    ask(&s, "GET /still", "");
    expect_in("/still");
    close_served(&s);
}

/* libwebsockets has a page of its own for these, which isn't sent. */
static void malformed_targets(void **state)
{
    (void)state;
    static const char *const escapes[] = {
        "GET /v1/%zz",    "GET /v1/%4",     "GET /v1/%",  "GET /v1/%4/x",
        "GET /v1/x?a=%z", "GET /v1/x?%=%4", "GET /v1/%?", "HEAD /v1/%-1",
    };
    struct served s;
    open_served(&s, 0, 0);
    for (size_t i = 0; i < countof(escapes); i++) {
        ask(&s, escapes[i], "");
        expect_in(" 400 ");
        expect_in("content-type: text/plain; charset=utf-8\r\n");
        expect_in("connection: close\r\n");
        expect_in(
            "\r\n\r\n400 malformed request target: expected two hex digits "
            "behind each %\n");
        assert_null(strstr(got, "<html>"));
    }
    /* On a connection that was good so far, too. */
    int fd = tcp_connect(http_port(s.h));
    send_text(fd, "GET /good HTTP/1.1\r\nHost: x\r\n\r\n");
    receive(&s, fd, "\r\n\r\n/good");
    send_text(fd, "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n");
    receive(&s, fd, NULL);
    expect_in(" 400 ");
    (void)close(fd);
    ask(&s, "GET /x", "Upgrade: coffee\r\n");
    expect_in(" 403 ");
    expect_in("\r\n\r\n403 no upgrades here\n");
    assert_int_equal(s.n.n[TRANSPORT_HTTP], 1);
    close_served(&s);
}

static void keep_alive_and_pipelining(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    int fd = tcp_connect(http_port(s.h));
    for (int i = 0; i < 20; i++) {
        char request[64];
        char expected[32];
        (void)snprintf(request, sizeof request,
                       "GET /turn/%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
        (void)snprintf(expected, sizeof expected, "\r\n\r\n/turn/%d", i);
        send_text(fd, request);
        receive(&s, fd, expected);
        expect_in("HTTP/1.1 200");
    }
    send_text(fd,
              "GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
              "HEAD /two HTTP/1.1\r\nHost: x\r\n\r\n"
              "GET /three HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    receive(&s, fd, "\r\n\r\n/three");
    const char *one = strstr(got, "\r\n\r\n/one");
    const char *three = strstr(got, "\r\n\r\n/three");
    assert_non_null(one);
    assert_non_null(three);
    assert_true(one < three);
    assert_null(strstr(got, "\r\n\r\n/two"));
    assert_int_equal(s.n.n[TRANSPORT_HTTP], 23);
    (void)close(fd);
    close_served(&s);
}

static void large_answers(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    for (int i = 0; i < 3; i++) {
        ask(&s, "GET /big", "");
        expect_in("content-length: 1000000\r\n");
        const char *body = strstr(got, "\r\n\r\n") + 4;
        assert_int_equal(strspn(body, "b"), 1000000);
        assert_int_equal(got + got_n - body, 1000000);
    }
    close_served(&s);
}

static void unanswered_gets_503(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 100, 0);
    ask(&s, "GET /late", "");
    expect_in("HTTP/1.1 503");
    /* An answer after that is dropped, whoever has the place by then. */
    uint64_t late = s.n.conn;
    transport_http_reply(s.n.t, late, 200, "text/plain",
                         (struct bytes){(const uint8_t *)"stale", 5});
    ask(&s, "GET /fresh", "");
    expect_in("\r\n\r\n/fresh");
    transport_http_reply(s.n.t, UINT64_MAX, 200, "text/plain",
                         (struct bytes){0});
    close_served(&s);
}

/* Those who send half a request, hang up before the answer, or stay silent do no harm. */
static void half_open(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 20000, 0);
    int held[20];
    for (size_t i = 0; i < countof(held); i++) {
        held[i] = tcp_connect(http_port(s.h));
        if (i % 2 == 0) {
            send_text(held[i], "GET /half HTTP/1.1\r\nHos");
        }
    }
    for (int i = 0; i < 50; i++) {
        int fd = tcp_connect(http_port(s.h));
        send_text(fd, i % 2 == 0 ? "GET /late HTTP/1.1\r\nHost: x\r\n\r\n"
                                 : "GET /gone HTTP/1.1\r\nHost: x\r\n\r\n");
        if (i % 3 == 0) {
            serve(&s);
        }
        (void)close(fd);
    }
    ask(&s, "GET /fine", "");
    expect_in("\r\n\r\n/fine");
    /* Closed by the server, some seconds later. */
    receive(&s, held[0], NULL);
    for (size_t i = 0; i < countof(held); i++) {
        (void)close(held[i]);
    }
    close_served(&s);
}

static void more_connections_than_allowed(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 20000, 4);
    int held[12];
    for (size_t i = 0; i < countof(held); i++) {
        held[i] = tcp_connect(http_port(s.h));
        send_text(held[i], "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    /* The first may find the places taken by the others: then it's told. */
    receive(&s, held[0], "\r\n\r\n");
    assert_true(strstr(got, " 200 ") != NULL || strstr(got, " 503 ") != NULL);
    for (size_t i = 0; i < countof(held); i++) {
        (void)close(held[i]);
    }
    do {
        ask(&s, "GET /after", "");
    } while (strstr(got, " 503 ") != NULL);
    expect_in("\r\n\r\n/after");
    close_served(&s);
}

static void open_says_what_is_wrong(void **state)
{
    (void)state;
    struct served s;
    open_served(&s, 0, 0);
    struct node other;
    node_options(&other, 2);
    node_open(&other);
    char used[32];
    (void)snprintf(used, sizeof used, "127.0.0.1:%u", http_port(s.h));
    const char *const all[] = {used, "nowhere", "192.0.2.1:80",
                               "no.such.host.invalid:80"};
    for (size_t i = 0; i < countof(all); i++) {
        char error[256] = "";
        assert_null(http_open(other.t, &(struct http_options){.listen = all[i]},
                              error, sizeof error));
        assert_non_null(strstr(error, all[i]));
    }
    node_close(&other);
    close_served(&s);
}

/* Closing while requests wait, on either side. */
static void close_with_requests_under_way(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct served s;
        open_served(&s, 20000, 0);
        int fds[8];
        for (size_t k = 0; k < countof(fds); k++) {
            fds[k] = tcp_connect(http_port(s.h));
            send_text(fds[k], "GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        for (int turns = 0; turns < i; turns++) {
            serve(&s);
        }
        close_served(&s);
        for (size_t k = 0; k < countof(fds); k++) {
            (void)close(fds[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_is_answered),
        cmocka_unit_test(head_has_no_body),
        cmocka_unit_test(targets_are_as_sent),
        cmocka_unit_test(control_characters),

        cmocka_unit_test(other_methods),
        cmocka_unit_test(no_upgrades),
        cmocka_unit_test(bounds),
        cmocka_unit_test(malformed_targets),
        cmocka_unit_test(keep_alive_and_pipelining),
        cmocka_unit_test(large_answers),
        cmocka_unit_test(unanswered_gets_503),
        cmocka_unit_test(half_open),
        cmocka_unit_test(more_connections_than_allowed),
        cmocka_unit_test(open_says_what_is_wrong),
        cmocka_unit_test(close_with_requests_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

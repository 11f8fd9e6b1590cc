#include "transport/http_edge.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/address.h"
#include "transport/net.h"

/* --- requests ------------------------------------------------------------------------------------------------------- */

const struct lws_token_limits http_limits = {
    .token_limit =
        {
            [WSI_TOKEN_GET_URI] = HTTP_TARGET_MAX + 1,
            [WSI_TOKEN_HEAD_URI] = HTTP_TARGET_MAX + 1,
        },
};

static bool same(struct bytes a, const char *b)
{
    return a.n == strlen(b) && memcmp(a.data, b, a.n) == 0;
}

/* What's before the first blank; that and the blank are taken off *rest. */
static struct bytes take_word(struct bytes *rest)
{
    const uint8_t *blank =
        rest->n == 0 ? NULL : memchr(rest->data, ' ', rest->n);
    size_t n = blank == NULL ? rest->n : (size_t)(blank - rest->data);
    struct bytes word = {rest->data, n};
    size_t gone = blank == NULL ? n : n + 1;
    *rest = (struct bytes){rest->data + gone, rest->n - gone};
    return word;
}

static bool is_method(struct bytes word)
{
    for (size_t i = 0; i < word.n; i++) {
        uint8_t c = word.data[i];
        if (!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') && c != '-' &&
            c != '_') {
            return false;
        }
    }
    return word.n > 0 && word.n <= 32;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
           (c >= 'A' && c <= 'F');
}

/* Decoded by whoever it concerns, and libwebsockets, both must see the same end of the line: so no control characters, however written. */
static const char *target_fault(struct bytes target)
{
    if (target.n == 0 || target.data[0] != '/') {
        return "malformed request target: expected one that begins with /";
    }
    for (size_t i = 0; i < target.n; i++) {
        if (target.data[i] != '%') {
            continue;
        }
        if (i + 2 >= target.n || !is_hex(target.data[i + 1]) ||
            !is_hex(target.data[i + 2])) {
            return "malformed request target: expected two hex digits behind "
                   "each %";
        }
        uint8_t high = target.data[i + 1];
        uint8_t low = (uint8_t)(target.data[i + 2] | 0x20);
        if (high == '0' || high == '1' || (high == '7' && low == 'f')) {
            return "malformed request target: no name has a control "
                   "character";
        }
    }
    return NULL;
}

struct http_fault http_target(struct http_line line, struct bytes *out)
{
    static const char no_http[] =
        "not an HTTP request: expected GET TARGET HTTP/1.1, lines that end "
        "with CR LF, no control characters";
    static const char too_long[] =
        "the request's target is longer than 4096 bytes";
    _Static_assert(HTTP_TARGET_MAX == 4096, "as in the sentence");
    struct bytes rest = line.text;
    struct bytes method = take_word(&rest);
    if (line.odd || !is_method(method)) {
        return (struct http_fault){400, no_http};
    }
    if (!same(method, "GET") && !same(method, "HEAD")) {
        return (struct http_fault){405, "only GET and HEAD"};
    }
    struct bytes target = take_word(&rest);
    if (target.n > HTTP_TARGET_MAX) {
        return (struct http_fault){414, too_long};
    }
    const char *fault = target_fault(target);
    if (fault != NULL) {
        return (struct http_fault){400, fault};
    }
    if (!line.whole || (!same(rest, "HTTP/1.1") && !same(rest, "HTTP/1.0"))) {
        return (struct http_fault){400, no_http};
    }
    *out = target;
    return (struct http_fault){0, NULL};
}

size_t http_header_bytes(struct lws *wsi)
{
    size_t n = 0;
    for (int i = 0; i < WSI_TOKEN_COUNT; i++) {
        n += (size_t)lws_hdr_total_length(wsi, (enum lws_token_indexes)i);
    }
    return n;
}

bool http_has_body(struct lws *wsi)
{
    char length[24] = "";
    int n =
        lws_hdr_copy(wsi, length, sizeof length, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    return n < 0 || (n > 0 && strcmp(length, "0") != 0) ||
           lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0;
}

/* --- answers -------------------------------------------------------------------------------------------------------- */

bool http_write_headers(struct lws *wsi, const struct http_answer *a)
{
    uint8_t memory[LWS_PRE + 1024];
    uint8_t *start = memory + LWS_PRE;
    uint8_t *at = start;
    uint8_t *end = memory + sizeof memory - 1;
    static const char no_store[] = "no-store";
    static const char methods[] = "GET, HEAD";
    static const char hang_up[] = "close";
    bool failed =
        lws_add_http_common_headers(wsi, a->status, a->content_type, a->body_n,
                                    &at, end) != 0 ||
        lws_add_http_header_by_token(wsi, WSI_TOKEN_HTTP_CACHE_CONTROL,
                                     (const uint8_t *)no_store,
                                     (int)strlen(no_store), &at, end) != 0;
    if (!failed && a->status == 405) {
        failed = lws_add_http_header_by_token(
                     wsi, WSI_TOKEN_HTTP_ALLOW, (const uint8_t *)methods,
                     (int)strlen(methods), &at, end) != 0;
    }
    if (!failed && a->last) {
        failed = lws_add_http_header_by_token(
                     wsi, WSI_TOKEN_CONNECTION, (const uint8_t *)hang_up,
                     (int)strlen(hang_up), &at, end) != 0;
    }
    return !failed && lws_finalize_write_http_header(wsi, start, &at, end) == 0;
}

int http_refuse(struct lws *wsi, uint32_t status, const char *text)
{
    uint8_t memory[LWS_PRE + 256];
    char *body = (char *)memory + LWS_PRE;
    int n = snprintf(body, sizeof memory - LWS_PRE, "%u %s\n", status, text);
    ASSERT(n > 0);
    struct http_answer a = {status, "text/plain; charset=utf-8", (size_t)n,
                            true};
    if (http_write_headers(wsi, &a)) {
        (void)lws_write(wsi, memory + LWS_PRE, (size_t)n, LWS_WRITE_HTTP_FINAL);
    }
    return -1;
}

/* What libwebsockets refuses by itself gets a page of its own making, with no callback and no option to change it. So this takes the place
 * of its function of this name, by which it sends them: a definition in the program comes before a shared library's. What ends here it
 * refused while it read the first line, or it's an upgrade that it doesn't know. */
int lws_return_http_status(struct lws *wsi, unsigned int code,
                           const char *html_body)
{
    (void)html_body;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) > 0) {
        return http_refuse(wsi, 403, "no upgrades here");
    }
    struct bytes target;
    struct http_fault f =
        http_target(http_wire_line(lws_get_socket_fd(wsi)), &target);
    return f.status != 0
               ? http_refuse(wsi, f.status, f.text)
               : http_refuse(wsi, code == 403 ? 400 : code, "refused");
}

/* --- addresses ------------------------------------------------------------------------------------------------------ */

bool http_resolve(const char *address, char host[HTTP_HOST_BYTES], int *port)
{
    char name[128];
    if (!address_ok(address, true)) {
        return false;
    }
    const char *colon = strrchr(address, ':');
    (void)snprintf(name, sizeof name, "%.*s", (int)(colon - address), address);
    *port = (int)strtol(colon + 1, NULL, 10);
    host[0] = 0;
    if (name[0] == 0 || strcmp(name, "*") == 0) {
        return true;
    }
    size_t n = strlen(name);
    if (name[0] == '[' && name[n - 1] == ']') {
        memmove(name, name + 1, n - 2);
        name[n - 2] = 0;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) != 0) {
        return false;
    }
    int failed = getnameinfo(found->ai_addr, found->ai_addrlen, host,
                             HTTP_HOST_BYTES, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return failed == 0;
}

bool http_can_listen(const char *host, int port, char *error,
                     size_t error_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host[0] == 0 ? NULL : host, service, &hints, &found) != 0) {
        (void)snprintf(error, error_bytes, "not an address");
        return false;
    }
    int on = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool can = fd >= 0 &&
               setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
               bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
               listen(fd, 1) == 0;
    if (!can) {
        (void)snprintf(error, error_bytes, "%s", strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    freeaddrinfo(found);
    return can;
}

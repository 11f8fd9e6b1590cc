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

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           c == '~' || c == '/';
}

/* Bytes written; at most three times as many. */
static size_t encode(struct bytes in, uint8_t *out)
{
    static const char hex[16] = "0123456789ABCDEF";
    size_t at = 0;
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.data[i];
        if (is_plain(c)) {
            out[at++] = c;
        } else {
            out[at++] = '%';
            out[at++] = (uint8_t)hex[c >> 4];
            out[at++] = (uint8_t)hex[c & 15];
        }
    }
    return at;
}

/* KEY=VALUE: the first '=' ends the key, others are the value's. */
static size_t encode_argument(struct bytes in, uint8_t *out)
{
    const uint8_t *mark = memchr(in.data, '=', in.n);
    if (mark == NULL) {
        return encode(in, out);
    }
    size_t key_n = (size_t)(mark - in.data);
    size_t n = encode((struct bytes){in.data, key_n}, out);
    out[n++] = '=';
    return n + encode((struct bytes){mark + 1, in.n - key_n - 1}, out + n);
}

size_t http_target(struct lws *wsi, struct bytes path, uint8_t *out)
{
    if (path.n > HTTP_TARGET_MAX) {
        return 0;
    }
    size_t n = encode(path, out);
    size_t used = path.n;
    /* As long as http_limits lets one be: of one that doesn't fit, it's said that there is none. */
    char part[HTTP_TARGET_MAX + 2];
    for (int i = 0;; i++) {
        int part_n = lws_hdr_copy_fragment(wsi, part, sizeof part,
                                           WSI_TOKEN_HTTP_URI_ARGS, i);
        if (part_n < 0) {
            return n;
        }
        used += (size_t)part_n + 1;
        if (used > HTTP_TARGET_MAX) {
            return 0;
        }
        out[n++] = i == 0 ? '?' : '&';
        n += encode_argument(
            (struct bytes){(const uint8_t *)part, (size_t)part_n}, out + n);
    }
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
 * of its function of this name, by which it sends them: a definition in the program comes before a shared library's. Two requests end here:
 * one with a malformed escape, refused while its first line is read, and one for an upgrade that libwebsockets doesn't know. */
int lws_return_http_status(struct lws *wsi, unsigned int code,
                           const char *html_body)
{
    (void)html_body;
    if (code != 403) {
        return http_refuse(wsi, code, "refused");
    }
    return lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) > 0
               ? http_refuse(wsi, 403, "no upgrades here")
               : http_refuse(
                     wsi, 400,
                     "malformed request target: expected two hex digits "
                     "behind each %");
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

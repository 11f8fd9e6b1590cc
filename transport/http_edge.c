#include "transport/http_edge.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/net.h"

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
    char part[1024];
    for (int i = 0;; i++) {
        int part_n = lws_hdr_copy_fragment(wsi, part, sizeof part,
                                           WSI_TOKEN_HTTP_URI_ARGS, i);
        if (part_n == -1) {
            return n;
        }
        if (part_n < 0) {
            return 0; /* longer than `part` */
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

bool http_resolve(const char *address, char host[HTTP_HOST_BYTES], int *port)
{
    char name[128];
    if (!net_address_ok(address, true)) {
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

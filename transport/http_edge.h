/* http_edge.h - what HTTP needs around libwebsockets: request targets as they were asked for, answers without the loop, addresses as it
 * wants them. No state. */
#ifndef TRANSPORT_HTTP_EDGE_H
#define TRANSPORT_HTTP_EDGE_H

#include <libwebsockets.h>

#include "proto/base.h"
#include "transport/http_wire.h"

#define HTTP_TARGET_MAX 4096
#define HTTP_HOST_BYTES 64

struct http_fault {
    uint32_t status; /* 0: none */
    const char *text;
};

/* The target in a request's first line, as it was sent; or what's wrong with that line. */
struct http_fault http_target(struct http_line line, struct bytes *out);

/* A target that is longer is cut off at these, and gets its 414: else it would fill the header memory, and libwebsockets would hang up. */
extern const struct lws_token_limits http_limits;

size_t http_header_bytes(struct lws *wsi);
bool http_has_body(struct lws *wsi);

struct http_answer {
    uint32_t status;
    const char *content_type;
    size_t body_n;
    bool last; /* the connection closes after it */
};

/* False: the connection is to go. */
MUST_USE bool http_write_headers(struct lws *wsi, const struct http_answer *a);

/* At once, with a line of text; the connection closes after it. Returns what a callback returns for that. */
int http_refuse(struct lws *wsi, uint32_t status, const char *text);

/* libwebsockets listens on a numeric address and a port; an empty host: on all. False: not HOST:PORT, or unknown. */
MUST_USE bool http_resolve(const char *address, char host[HTTP_HOST_BYTES],
                           int *port);

/* libwebsockets doesn't say why it can't listen, and loses memory over it: so this tries first. False, and the reason in error. */
MUST_USE bool http_can_listen(const char *host, int port, char *error,
                              size_t error_bytes);

#endif

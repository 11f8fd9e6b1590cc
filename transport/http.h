/* http.h - GET over HTTP for people, scrapers and relays in any language: libwebsockets in a thread of its own.
 *
 * It knows no routes: each request becomes a TRANSPORT_HTTP input (through the transport's inbox, with a ticket), and the loop answers
 * with transport_http_reply(). A request unanswered after timeout_ms gets 503. Only GET and HEAD; headers up to 8 KiB; a bounded number of
 * connections (fd_limit_per_thread below RLIMIT_NOFILE: libwebsockets spins on EMFILE); idle ones are closed. */
#ifndef TRANSPORT_HTTP_H
#define TRANSPORT_HTTP_H

#include "transport/transport.h"

struct http;

struct http_options {
    const char *listen; /* HOST:PORT */
    uint32_t connections_max;
    uint32_t timeout_ms;
};

/* NULL, and a sentence in error. */
struct http *http_open(struct transport *t, const struct http_options *options,
                       char *error, size_t error_bytes);
void http_close(struct http *h);

#endif

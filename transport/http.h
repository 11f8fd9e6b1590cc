/* http.h - GET over HTTP for people, scrapers and relays in any language: libwebsockets in a thread of its own.
 *
 *    its thread: request --> waiting --inbox--> transport_next(): TRANSPORT_HTTP (ticket, target)
 *                response <-- replied <--------- transport_http_reply(ticket, ...)
 *
 * It knows no routes: each request becomes an input of the loop, which answers it when it can. The body of the input is the request's target as it was
 * sent, path and query, with its percent-encoding: who decodes each of its parts once has what was asked for, whatever is in it. A request unanswered after timeout_ms gets 503, and its late answer is dropped.
 *
 * Only GET and HEAD (405), no bodies, no upgrades (403). A malformed first line, escape, or one of a control character gets 400, a target over 4 KiB 414, headers over 8 KiB 431, more
 * than 12 KiB of them the end of the connection. Connections are bounded (fd_limit_per_thread below RLIMIT_NOFILE: libwebsockets spins on
 * EMFILE); who doesn't finish a request, or is idle, is closed after some seconds. Answers aren't to be cached. */
#ifndef TRANSPORT_HTTP_H
#define TRANSPORT_HTTP_H

#include "transport/transport.h"

struct http;

struct http_options {
    const char *listen;       /* HOST:PORT */
    uint32_t connections_max; /* 0: 256 */
    uint32_t timeout_ms;      /* 0: 5,000 */
};

/* NULL, and a sentence in error. One for a transport. */
struct http *http_open(struct transport *t, const struct http_options *options,
                       char *error, size_t error_bytes);
/* Before transport_close(). Requests under way are cut off. */
void http_close(struct http *h);

/* Where it listens, if it was told port 0. */
uint16_t http_port(const struct http *h);

#endif

#include "transport/http.h"

#include <libwebsockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/http_edge.h"
#include "transport/internal.h"

#define HEADER_BYTES_MAX 8192
#define HEADER_MEMORY    12288
#define WRITE_BYTES_MAX  16384
#define IDLE_SECONDS     10
/* Descriptors of libwebsockets that aren't connections: listening, waking. */
#define OTHER_FDS 8

enum request_state {
    REQUEST_FREE = 0,
    REQUEST_WAITING, /* for the loop to take it */
    REQUEST_ASKED,   /* the loop has it */
    REQUEST_REPLIED,
};

/* One of these for each connection that has a request. All of it is under the lock, but `wsi`, and what a reply is once the request is REPLIED:
 * those are of the HTTP thread. */
struct request {
    enum request_state state;
    uint32_t generation;
    struct lws *wsi;
    struct list_node in_list; /* of waiting, or of replied */
    uint8_t *target;
    size_t target_n;
    uint32_t status;
    const char *content_type;
    uint8_t *body; /* LWS_PRE bytes in front of it */
    size_t body_n;
};

/* What libwebsockets keeps for each connection. */
struct session {
    struct request *request;
    size_t sent;
    bool head;
    bool headers_sent;
};

struct http {
    struct transport *t;
    struct lws_context *context;
    pthread_t thread;
    pthread_mutex_t lock;
    atomic_bool stop;
    uint32_t timeout_ms;
    uint16_t port;
    struct request *requests;
    uint32_t requests_n;
    struct list waiting;
    struct list replied;
    bool posted; /* the loop was told, and hasn't emptied `waiting` since */
    uint8_t *current; /* what the loop's last input points to */
};

static void lock(struct http *h)
{
    int failed = pthread_mutex_lock(&h->lock);
    ASSERT(failed == 0);
}

static void unlock(struct http *h)
{
    int failed = pthread_mutex_unlock(&h->lock);
    ASSERT(failed == 0);
}

/* --- requests ------------------------------------------------------------------------------------------------------- */

static uint64_t ticket_of(const struct http *h, const struct request *r)
{
    return (uint64_t)r->generation << 32 | (uint64_t)(r - h->requests);
}

static struct request *take_request(struct http *h, struct lws *wsi)
{
    for (uint32_t i = 0; i < h->requests_n; i++) {
        struct request *r = &h->requests[i];
        if (r->state == REQUEST_FREE) {
            r->generation++;
            r->wsi = wsi;
            return r;
        }
    }
    return NULL;
}

static void give_request(struct request *r)
{
    list_remove(&r->in_list);
    free(r->target);
    free(r->body);
    uint32_t generation = r->generation;
    *r = (struct request){.generation = generation};
}

/* Copies; false: no memory. Under the lock. */
static bool set_reply(struct request *r, uint32_t status,
                      const char *content_type, struct bytes body)
{
    r->body = malloc(LWS_PRE + body.n + 1);
    if (r->body == NULL) {
        return false;
    }
    if (body.n > 0) {
        memcpy(r->body + LWS_PRE, body.data, body.n);
    }
    r->body_n = body.n;
    r->status = status;
    r->content_type = content_type;
    r->state = REQUEST_REPLIED;
    list_remove(&r->in_list);
    return true;
}

/* --- the loop's side ------------------------------------------------------------------------------------------------ */

static bool next_request(struct http *h, struct transport_input *out)
{
    free(h->current);
    h->current = NULL;
    lock(h);
    struct list_node *n = list_first(&h->waiting);
    if (n == NULL) {
        h->posted = false;
        unlock(h);
        return false;
    }
    list_remove(n);
    struct request *r = LIST_OWNER(n, struct request, in_list);
    r->state = REQUEST_ASKED;
    h->current = r->target;
    r->target = NULL;
    *out = (struct transport_input){
        .type = TRANSPORT_HTTP,
        .conn = ticket_of(h, r),
        .body = {h->current, r->target_n},
    };
    unlock(h);
    return true;
}

static void reply(struct http *h, uint64_t ticket, uint32_t status,
                  const char *content_type, struct bytes body)
{
    uint32_t i = (uint32_t)ticket;
    lock(h);
    struct request *r = i < h->requests_n ? &h->requests[i] : NULL;
    /* Whoever asked may have gone, or been told 503. */
    bool ours = r != NULL && r->generation == (uint32_t)(ticket >> 32) &&
                r->state == REQUEST_ASKED;
    bool first = false;
    if (ours && set_reply(r, status, content_type, body)) {
        first = list_first(&h->replied) == NULL;
        list_append(&h->replied, &r->in_list);
    }
    unlock(h);
    if (first) {
        lws_cancel_service(h->context);
    }
}

/* --- the HTTP thread's side: in ------------------------------------------------------------------------------------- */

/* Queues it for the loop. False: no memory, or too many (then the connection goes). */
static bool ask(struct http *h, struct lws *wsi, struct session *s,
                struct bytes target)
{
    uint8_t *copy = malloc(target.n + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, target.data, target.n);
    lock(h);
    struct request *r = take_request(h, wsi);
    bool post = false;
    if (r != NULL) {
        r->state = REQUEST_WAITING;
        r->target = copy;
        r->target_n = target.n;
        list_append(&h->waiting, &r->in_list);
        post = !h->posted;
        h->posted = true;
    }
    unlock(h);
    if (r == NULL) {
        free(copy);
        return false;
    }
    s->request = r;
    if (post) {
        inbox_post(&h->t->env.inbox, &h->t->http_node, false);
    }
    /* In this state libwebsockets doesn't read, but polls for it: who hangs up, or sends on, would have it spin. */
    (void)lws_rx_flow_control(wsi, 0);
    lws_set_timer_usecs(wsi, (lws_usec_t)h->timeout_ms * 1000);
    return true;
}

/* --- the HTTP thread's side: out ------------------------------------------------------------------------------------ */

static void end_request(struct http *h, struct session *s)
{
    if (s->request == NULL) {
        return;
    }
    lock(h);
    give_request(s->request);
    unlock(h);
    *s = (struct session){0};
}

/* A part of the reply, if there's one: headers first, then the body piece by piece. */
static int write_reply(struct http *h, struct lws *wsi, struct session *s)
{
    struct request *r = s->request;
    if (r == NULL) {
        return 0;
    }
    lock(h);
    bool replied = r->state == REQUEST_REPLIED;
    unlock(h);
    if (!replied) {
        return 0;
    }
    if (!s->headers_sent) {
        struct http_answer a = {r->status, r->content_type, r->body_n, false};
        if (!http_write_headers(wsi, &a)) {
            return -1;
        }
        s->headers_sent = true;
    }
    size_t n = s->head ? 0 : r->body_n - s->sent;
    bool last = n <= WRITE_BYTES_MAX;
    n = last ? n : WRITE_BYTES_MAX;
    if (n > 0) {
        /* libwebsockets may use the LWS_PRE bytes in front, which are sent already, or ours. */
        int wrote = lws_write(wsi, r->body + LWS_PRE + s->sent, n,
                              last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP);
        if (wrote < (int)n) {
            return -1;
        }
        s->sent += n;
    }
    if (!last) {
        (void)lws_callback_on_writable(wsi);
        return 0;
    }
    lws_set_timer_usecs(wsi, LWS_SET_TIMER_USEC_CANCEL);
    end_request(h, s);
    return lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

/* --- libwebsockets' callback ---------------------------------------------------------------------------------------- */

static int on_request(struct http *h, struct lws *wsi, struct session *s)
{
    if (s->request != NULL) {
        return -1; /* its last one isn't answered: pipelining waits in libwebsockets, so this can't be */
    }
    int fd = lws_get_socket_fd(wsi);
    struct bytes target;
    struct http_line line = http_wire_line(fd);
    struct http_fault fault = http_target(line, &target);
    if (fault.status != 0) {
        return http_refuse(wsi, fault.status, fault.text);
    }
    s->head = lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) > 0;
    if (s->head != (line.text.data[0] == 'H')) {
        return http_refuse(wsi, 400, "malformed request");
    }
    if (http_header_bytes(wsi) > HEADER_BYTES_MAX + HTTP_TARGET_MAX) {
        return http_refuse(wsi, 431, "headers too large");
    }
    if (http_has_body(wsi)) {
        return http_refuse(wsi, 413, "requests have no body here");
    }
    if (!ask(h, wsi, s, target)) {
        return http_refuse(wsi, 503, "too many requests at once");
    }
    http_wire_drop(fd);
    return 0;
}

/* Whoever isn't read isn't written to either: see ask(). */
static void want_to_write(struct lws *wsi)
{
    (void)lws_rx_flow_control(wsi, 1);
    (void)lws_callback_on_writable(wsi);
}

static void on_timer(struct http *h, struct lws *wsi, struct session *s)
{
    static const char text[] = "503 the node didn't answer in time\n";
    lock(h);
    struct request *r = s->request;
    bool late = r != NULL && r->state != REQUEST_REPLIED;
    bool set =
        late && set_reply(r, 503, "text/plain; charset=utf-8",
                          (struct bytes){(const uint8_t *)text, strlen(text)});
    unlock(h);
    if (set) {
        want_to_write(wsi);
    }
}

static void on_cancelled(struct http *h)
{
    lock(h);
    struct list_node *n = NULL;
    while ((n = list_first(&h->replied)) != NULL) {
        list_remove(n);
        want_to_write(LIST_OWNER(n, struct request, in_list)->wsi);
    }
    unlock(h);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason,
                    void *user, void *in, size_t in_n)
{
    (void)in_n;
    struct session *s = user;
    struct lws_context *context = lws_get_context(wsi);
    struct http *h = context == NULL ? NULL : lws_context_user(context);
    if (h == NULL) {
        return 0;
    }
    switch ((int)reason) {
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        http_wire_accepted((int)(intptr_t)in);
        return 0;
    case LWS_CALLBACK_HTTP:
        return on_request(h, wsi, s);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return write_reply(h, wsi, s);
    case LWS_CALLBACK_TIMER:
        on_timer(h, wsi, s);
        return 0;
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        on_cancelled(h);
        return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return http_refuse(wsi, 403, "no upgrades here");
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
        if (s != NULL) {
            end_request(h, s);
        }
        return 0;
    default:
        return 0;
    }
}

/* --- open, close ---------------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
    struct http *h = arg;
    http_wire_open();
    while (!atomic_load(&h->stop)) {
        if (lws_service(h->context, 0) < 0) {
            break;
        }
    }
    http_wire_close();
    return NULL;
}

static bool open_context(struct http *h, const struct http_options *o,
                         char *error, size_t error_bytes)
{
    static const struct lws_protocols protocols[] = {
        {"http", callback, sizeof(struct session), 0, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
    };
    char host[HTTP_HOST_BYTES];
    int port = 0;
    if (!http_resolve(o->listen, host, &port)) {
        (void)snprintf(error, error_bytes, "%s isn't HOST:PORT of this machine",
                       o->listen);
        return false;
    }
    char why[128] = "libwebsockets can't";
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.port = port;
    info.iface = host[0] == 0 ? NULL : host;
    info.protocols = protocols;
    info.gid = -1;
    info.uid = -1;
    info.user = h;
    info.options = LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND |
                   LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
    if (strchr(host, ':') == NULL && host[0] != 0) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    }
    info.max_http_header_data = HEADER_MEMORY;
    info.token_limits = &http_limits;
    info.fd_limit_per_thread = h->requests_n + OTHER_FDS;
    info.keepalive_timeout = IDLE_SECONDS;
    info.timeout_secs = IDLE_SECONDS;
    info.timeout_secs_ah_idle = IDLE_SECONDS;
    info.vhost_name = "baton";
    lws_set_log_level(0, NULL);
    if (http_can_listen(host, port, why, sizeof why)) {
        h->context = lws_create_context(&info);
    }
    struct lws_vhost *vhost =
        h->context == NULL ? NULL : lws_get_vhost_by_name(h->context, "baton");
    if (vhost == NULL) {
        (void)snprintf(error, error_bytes, "can't listen on %s for HTTP: %s",
                       o->listen, why);
        return false;
    }
    h->port = (uint16_t)lws_get_vhost_listen_port(vhost);
    return true;
}

static bool start_thread(struct http *h)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int failed = pthread_sigmask(SIG_SETMASK, &all, &before);
    ASSERT(failed == 0);
    int started = pthread_create(&h->thread, NULL, serve, h);
    failed = pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(failed == 0);
    return started == 0;
}

static void free_all(struct http *h)
{
    if (h->context != NULL) {
        lws_context_destroy(h->context);
    }
    for (uint32_t i = 0; i < h->requests_n && h->requests != NULL; i++) {
        give_request(&h->requests[i]);
    }
    (void)pthread_mutex_destroy(&h->lock);
    free(h->requests);
    free(h->current);
    free(h);
}

struct http *http_open(struct transport *t, const struct http_options *options,
                       char *error, size_t error_bytes)
{
    ASSERT(t->http == NULL);
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL) {
        (void)snprintf(error, error_bytes, "out of memory");
        return NULL;
    }
    h->t = t;
    h->timeout_ms = options->timeout_ms == 0 ? 5000 : options->timeout_ms;
    h->requests_n =
        options->connections_max == 0 ? 256 : options->connections_max;
    h->requests = calloc(h->requests_n, sizeof *h->requests);
    list_init(&h->waiting);
    list_init(&h->replied);
    int failed = pthread_mutex_init(&h->lock, NULL);
    ASSERT(failed == 0);
    if (h->requests == NULL) {
        (void)snprintf(error, error_bytes, "out of memory");
        free_all(h);
        return NULL;
    }
    if (!open_context(h, options, error, error_bytes)) {
        free_all(h);
        return NULL;
    }
    inbox_node_init(&t->http_node, INBOX_HTTP, h);
    if (!start_thread(h)) {
        (void)snprintf(error, error_bytes, "can't start a thread for HTTP");
        free_all(h);
        return NULL;
    }
    t->http_next = next_request;
    t->http_reply = reply;
    t->http = h;
    return h;
}

void http_close(struct http *h)
{
    atomic_store(&h->stop, true);
    lws_cancel_service(h->context);
    int failed = pthread_join(h->thread, NULL);
    ASSERT(failed == 0);
    h->t->http = NULL;
    h->t->http_ready = false;
    free_all(h);
}

uint16_t http_port(const struct http *h)
{
    return h->port;
}

#include "transport/net.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "proto/address.h"

/* How long accepting rests after an error: out of descriptors, it would spin. */
#define ACCEPT_REST_MS 100

void net_start(void)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int failed = pthread_sigmask(SIG_SETMASK, &all, &before);
    ASSERT(failed == 0);
    nng_aio *aio = NULL;
    if (nng_aio_alloc(&aio, NULL, NULL) == 0) {
        nng_aio_free(aio);
    }
    failed = pthread_sigmask(SIG_SETMASK, &before, NULL);
    ASSERT(failed == 0);
}

uint64_t net_now_ms(void)
{
    struct timespec t;
    int failed = clock_gettime(CLOCK_MONOTONIC, &t);
    ASSERT(failed == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int tls_config(nng_tls_config **out, nng_tls_mode mode,
                      const char *ca_file, const char *cert_key_file)
{
    int rv = nng_tls_config_alloc(out, mode);
    if (rv != 0) {
        *out = NULL;
        return rv;
    }
    rv = nng_tls_config_ca_file(*out, ca_file);
    if (rv == 0) {
        rv = nng_tls_config_cert_key_file(*out, cert_key_file, NULL);
    }
    if (rv == 0) {
        rv = nng_tls_config_auth_mode(*out, NNG_TLS_AUTH_MODE_REQUIRED);
    }
    return rv;
}

const char *net_tls_wrong_file(const char *ca_file, const char *cert_key_file,
                               char *error, size_t error_bytes)
{
    const char *files[] = {ca_file, cert_key_file};
    for (size_t i = 0; i < countof(files); i++) {
        if (access(files[i], R_OK) != 0) {
            (void)snprintf(error, error_bytes, "can't read %s: %s", files[i],
                           strerror(errno));
            return files[i];
        }
    }
    nng_tls_config *scratch = NULL;
    int rv = nng_tls_config_alloc(&scratch, NNG_TLS_MODE_SERVER);
    if (rv != 0) {
        (void)snprintf(error, error_bytes, "no TLS here: %s", nng_strerror(rv));
        return ca_file;
    }
    const char *wrong = NULL;
    rv = nng_tls_config_ca_file(scratch, ca_file);
    if (rv != 0) {
        wrong = ca_file;
        (void)snprintf(error, error_bytes,
                       "%s: expected certificates in PEM: %s", ca_file,
                       nng_strerror(rv));
    } else {
        rv = nng_tls_config_cert_key_file(scratch, cert_key_file, NULL);
        if (rv != 0) {
            wrong = cert_key_file;
            (void)snprintf(error, error_bytes,
                           "%s: expected a certificate and its key, without a "
                           "passphrase, in PEM: %s",
                           cert_key_file, nng_strerror(rv));
        }
    }
    nng_tls_config_free(scratch);
    return wrong;
}

bool net_tls_init(struct net_tls *tls, const char *ca_file,
                  const char *cert_key_file, char *error, size_t error_bytes)
{
    *tls = (struct net_tls){0};
    if (ca_file == NULL && cert_key_file == NULL) {
        return true;
    }
    if (ca_file == NULL || cert_key_file == NULL) {
        (void)snprintf(error, error_bytes,
                       "TLS needs both a CA file and a file with certificate "
                       "and key");
        return false;
    }
    if (net_tls_wrong_file(ca_file, cert_key_file, error, error_bytes) !=
        NULL) {
        return false;
    }
    int rv =
        tls_config(&tls->server, NNG_TLS_MODE_SERVER, ca_file, cert_key_file);
    if (rv == 0) {
        rv = tls_config(&tls->client, NNG_TLS_MODE_CLIENT, ca_file,
                        cert_key_file);
    }
    if (rv != 0) {
        (void)snprintf(error, error_bytes,
                       "%s and %s don't make a TLS configuration: %s", ca_file,
                       cert_key_file, nng_strerror(rv));
        net_tls_fini(tls);
        return false;
    }
    return true;
}

void net_tls_fini(struct net_tls *tls)
{
    if (tls->server != NULL) {
        nng_tls_config_free(tls->server);
    }
    if (tls->client != NULL) {
        nng_tls_config_free(tls->client);
    }
    *tls = (struct net_tls){0};
}

static void make_url(char *out, size_t out_bytes, const char *address, bool ipc,
                     bool tls)
{
    const char *scheme = ipc ? "ipc" : tls ? "tls+tcp" : "tcp";
    (void)snprintf(out, out_bytes, "%s://%s", scheme, address);
}

/* --- listening ---------------------------------------------------------------------------------------------------- */

/* NNG's thread. */
static void on_accept(void *arg)
{
    struct net_accept *a = arg;
    inbox_post(a->listener->inbox, &a->node, false);
}

static void arm(struct net_accept *a)
{
    ASSERT(!a->busy);
    a->busy = true;
    nng_stream_listener_accept(a->listener->nng, a->aio);
}

/* A path that nobody listens on any more is removed; one that somebody does, or that isn't a socket, is left alone. */
static bool clear_path(const char *path, char *error, size_t error_bytes)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path) {
        (void)snprintf(error, error_bytes,
                       "%s is too long for a socket's path (at most %zu bytes)",
                       path, sizeof sa.sun_path - 1);
        return false;
    }
    struct stat st;
    if (lstat(path, &st) != 0) {
        return true; /* not there; or listening says why it can't be */
    }
    if (!S_ISSOCK(st.st_mode)) {
        (void)snprintf(error, error_bytes,
                       "%s exists and isn't a socket: move it away", path);
        return false;
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        (void)snprintf(error, error_bytes, "can't open a socket: %s",
                       strerror(errno));
        return false;
    }
    /* EAGAIN: somebody listens, with a full queue. */
    bool stale = connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa) != 0 &&
                 errno == ECONNREFUSED;
    (void)close(fd);
    if (!stale) {
        (void)snprintf(error, error_bytes,
                       "%s: another process listens there (or we may not ask)",
                       path);
        return false;
    }
    (void)unlink(path);
    return true;
}

static int listen_now(struct net_listener *l,
                      const struct net_listen_options *o)
{
    if (o->tls != NULL) {
        int rv =
            nng_stream_listener_set_ptr(l->nng, NNG_OPT_TLS_CONFIG, o->tls);
        if (rv != 0) {
            return rv;
        }
    }
    if (!o->ipc) {
        (void)nng_stream_listener_set_bool(l->nng, NNG_OPT_TCP_KEEPALIVE, true);
        /* NNG 1.5.2 turns Nagle's algorithm on for what it accepts: a small frame would wait for the ack of the one before, which the
         * other side delays by 40 ms. We gather frames ourselves. */
        (void)nng_stream_listener_set_bool(l->nng, NNG_OPT_TCP_NODELAY, true);
        int rv = nng_stream_listener_listen(l->nng);
        int port = 0;
        if (rv == 0 && nng_stream_listener_get_int(
                           l->nng, NNG_OPT_TCP_BOUND_PORT, &port) == 0) {
            l->port = (uint16_t)port;
        }
        return rv;
    }
    int rv = nng_stream_listener_set_int(l->nng, NNG_OPT_IPC_PERMISSIONS, 0600);
    if (rv != 0) {
        return rv;
    }
    /* NNG changes the mode after it bound: nobody is to slip in between. */
    mode_t before = umask(0177);
    rv = nng_stream_listener_listen(l->nng);
    (void)umask(before);
    return rv;
}

bool net_listen(struct net_listener *l, struct inbox *inbox,
                const struct net_listen_options *o, char *error,
                size_t error_bytes)
{
    *l = (struct net_listener){.inbox = inbox, .user = o->user};
    if (o->ipc) {
        if (!clear_path(o->address, error, error_bytes)) {
            return false;
        }
    } else if (!address_ok(o->address, true)) {
        (void)snprintf(error, error_bytes, "%s isn't HOST:PORT", o->address);
        return false;
    }
    char url[256];
    make_url(url, sizeof url, o->address, o->ipc, o->tls != NULL);
    int rv = nng_stream_listener_alloc(&l->nng, url);
    if (rv != 0) {
        l->nng = NULL;
    } else {
        rv = listen_now(l, o);
    }
    /* Each waiting TLS accept holds a whole connection's buffers. */
    uint32_t want = o->tls != NULL ? 8 : NET_ACCEPTS_MAX;
    while (rv == 0 && l->accepts_n < want) {
        struct net_accept *a = &l->accepts[l->accepts_n];
        a->listener = l;
        inbox_node_init(&a->node, INBOX_ACCEPT, a);
        rv = nng_aio_alloc(&a->aio, on_accept, a);
        l->accepts_n += rv == 0;
    }
    if (rv != 0) {
        (void)snprintf(error, error_bytes, "can't listen on %s: %s", o->address,
                       nng_strerror(rv));
        net_listener_close(l);
        net_listener_fini(l);
        return false;
    }
    for (uint32_t i = 0; i < l->accepts_n; i++) {
        arm(&l->accepts[i]);
    }
    return true;
}

int net_accepted(struct net_accept *a, nng_stream **out)
{
    struct net_listener *l = a->listener;
    ASSERT(a->busy);
    a->busy = false;
    int rv = nng_aio_result(a->aio);
    if (rv == 0) {
        *out = nng_aio_get_output(a->aio, 0);
    }
    if (l->closed) {
        return rv;
    }
    if (rv == 0) {
        arm(a);
    } else {
        l->waiting++;
        l->retry_ms = net_now_ms() + ACCEPT_REST_MS;
    }
    return rv;
}

void net_listener_tick(struct net_listener *l, uint64_t now_ms)
{
    if (l->closed || l->waiting == 0 || now_ms < l->retry_ms) {
        return;
    }
    l->waiting = 0;
    l->retry_ms = 0;
    for (uint32_t i = 0; i < l->accepts_n; i++) {
        if (!l->accepts[i].busy) {
            arm(&l->accepts[i]);
        }
    }
}

void net_listener_close(struct net_listener *l)
{
    if (l->closed) {
        return;
    }
    l->closed = true;
    l->retry_ms = 0;
    if (l->nng != NULL) {
        nng_stream_listener_close(l->nng);
    }
}

bool net_listener_is_idle(const struct net_listener *l)
{
    for (uint32_t i = 0; i < l->accepts_n; i++) {
        if (l->accepts[i].busy) {
            return false;
        }
    }
    return true;
}

void net_listener_fini(struct net_listener *l)
{
    if (l->nng == NULL) {
        return;
    }
    ASSERT(l->closed);
    ASSERT(net_listener_is_idle(l));
    for (uint32_t i = 0; i < l->accepts_n; i++) {
        nng_aio_stop(l->accepts[i].aio);
    }
    nng_stream_listener_free(l->nng);
    for (uint32_t i = 0; i < l->accepts_n; i++) {
        nng_aio_free(l->accepts[i].aio);
    }
    *l = (struct net_listener){.closed = true};
}

/* --- dialling ----------------------------------------------------------------------------------------------------- */

struct dial {
    struct net_dialer d;
    struct inbox *inbox;
};

/* NNG's thread. */
static void on_dial(void *arg)
{
    struct dial *d = arg;
    inbox_post(d->inbox, &d->d.node, false);
}

struct net_dialer *net_dial(struct inbox *inbox, const char *address, bool ipc,
                            nng_tls_config *tls, int *out_error)
{
    if (!ipc && !address_ok(address, false)) {
        *out_error = NNG_EADDRINVAL;
        return NULL;
    }
    struct dial *d = calloc(1, sizeof *d);
    if (d == NULL) {
        *out_error = NNG_ENOMEM;
        return NULL;
    }
    d->inbox = inbox;
    inbox_node_init(&d->d.node, INBOX_DIAL, &d->d);
    char url[256];
    make_url(url, sizeof url, address, ipc, tls != NULL);
    int rv = nng_stream_dialer_alloc(&d->d.nng, url);
    if (rv != 0) {
        goto no_dialer;
    }
    if (tls != NULL) {
        rv = nng_stream_dialer_set_ptr(d->d.nng, NNG_OPT_TLS_CONFIG, tls);
    }
    if (rv == 0) {
        rv = nng_aio_alloc(&d->d.aio, on_dial, d);
    }
    if (rv != 0) {
        goto no_aio;
    }
    (void)nng_stream_dialer_set_bool(d->d.nng, NNG_OPT_TCP_NODELAY, true);
    nng_stream_dialer_dial(d->d.nng, d->d.aio);
    return &d->d;
no_aio:
    nng_stream_dialer_free(d->d.nng);
no_dialer:
    free(d);
    *out_error = rv;
    return NULL;
}

int net_dialed(struct net_dialer *dialer, nng_stream **out)
{
    struct dial *d = (struct dial *)(void *)dialer;
    int rv = nng_aio_result(dialer->aio);
    if (rv == 0) {
        *out = nng_aio_get_output(dialer->aio, 0);
    }
    nng_aio_stop(dialer->aio);
    nng_stream_dialer_close(dialer->nng);
    nng_stream_dialer_free(dialer->nng);
    nng_aio_free(dialer->aio);
    free(d);
    return rv;
}

/* Closing fails what is pending. An abort of the aio would do for plain TCP, but not for TLS. */
void net_dial_cancel(struct net_dialer *d)
{
    d->user = NULL;
    nng_stream_dialer_close(d->nng);
}

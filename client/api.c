#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/client.h"

#define DEFAULT_ENDPOINTS "127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203"
/* Of address space: touched as messages need it. */
#define ARENA_BYTES (64u << 20)

/* splitmix64: jitter needs no more. */
uint32_t client_random(struct baton *b)
{
    b->random_state += 0x9E3779B97F4A7C15u;
    uint64_t z = b->random_state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)(z >> 32);
}

void *client_alloc(size_t n)
{
    void *p = calloc(1, n);
    ASSERT(p != NULL);
    return p;
}

static enum baton_status complain(char *error, size_t error_bytes,
                                  enum baton_status status, const char *text)
{
    if (error_bytes > 0) {
        (void)snprintf(error, error_bytes, "%s", text);
    }
    return status;
}

/* Fills in what's left out; NULL, or a sentence about what's wrong. */
static const char *take_options(struct baton *b, const struct baton_options *o)
{
    b->options = *o;
    struct baton_options *mine = &b->options;
    mine->ttl_ms = o->ttl_ms != 0 ? o->ttl_ms : 10000;
    mine->timeout_ms = o->timeout_ms != 0 ? o->timeout_ms : 5000;
    mine->drift_permille =
        o->drift_permille != 0 ? o->drift_permille : LEASE_DRIFT_PERMILLE;
    mine->warn_ms = o->warn_ms != 0 ? o->warn_ms : mine->ttl_ms / 4;
    if (mine->ttl_ms < 1000 || mine->ttl_ms > 600000) {
        return "ttl_ms is out of range: 1000 to 600000 (1 s to 10 min)";
    }
    if (mine->drift_permille > 200) {
        return "drift_permille is out of range: 1 to 200";
    }
    if (o->label != NULL) {
        size_t n = strlen(o->label);
        if (n > NAME_BYTES_MAX) {
            return "label is too long: at most 128 bytes";
        }
        memcpy(b->label, o->label, n);
    }
    if ((o->tls_ca_file == NULL) != (o->tls_cert_key_file == NULL)) {
        return "tls_ca_file and tls_cert_key_file go together";
    }
    return NULL;
}

/* NULL: the environment's, else our own. False: `error` says which entry is wrong, and of what. */
static bool take_endpoints(struct baton *b, const char *list, char *error,
                           size_t error_bytes)
{
    const char *name = "endpoints";
    if (list == NULL) {
        list = getenv("BATON_ENDPOINTS");
        name = "BATON_ENDPOINTS, in the environment";
    }
    if (list == NULL) {
        list = DEFAULT_ENDPOINTS;
    }
    return route_init(&b->route, list, name, error, error_bytes) == 0;
}

static bool start(struct baton *b, char *error, size_t error_bytes)
{
    struct link_loop_options lo = {
        .tls_ca_file = b->options.tls_ca_file,
        .tls_cert_key_file = b->options.tls_cert_key_file,
        .dial_ms = 1000,
        .hello_ms = 1500,
    };
    return loop_start(b, &lo, error, error_bytes);
}

static void release(struct baton *b)
{
    events_fini(b);
    watches_fini(b);
    calls_fini(b);
    members_fini(&b->members);
    (void)pthread_cond_destroy(&b->arrived);
    (void)pthread_cond_destroy(&b->answered);
    (void)pthread_mutex_destroy(&b->lock);
    free(b->arena_memory);
    free(b);
}

static bool prepare(struct baton *b)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->answered, &attr);
    (void)pthread_cond_init(&b->arrived, &attr);
    (void)pthread_condattr_destroy(&attr);
    b->events.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Not client_alloc(): zeroing would touch all of it. */
    b->arena_memory = malloc(ARENA_BYTES);
    if (b->events.fd < 0 || b->arena_memory == NULL) {
        return false;
    }
    arena_init(&b->arena, b->arena_memory, ARENA_BYTES);
    calls_init(&b->calls);
    window_init(&b->window);
    lease_init(&b->lease, b->options.ttl_ms, b->options.drift_permille);
    b->next_stream_id = STREAM_ID_FIRST;
    b->events.polled_ms = client_now_ms();
    return client_fill_random(&b->random_state, sizeof b->random_state);
}

enum baton_status baton_open(const struct baton_options *options,
                             struct baton **out, char *error,
                             size_t error_bytes)
{
    struct baton *b = client_alloc(sizeof *b);
    b->events.fd = -1;
    const char *wrong = take_options(b, options);
    if (wrong != NULL) {
        free(b);
        return complain(error, error_bytes, BATON_INVALID, wrong);
    }
    if (!take_endpoints(b, options->endpoints, error, error_bytes)) {
        free(b);
        return BATON_INVALID;
    }
    if (!prepare(b)) {
        release(b);
        return complain(error, error_bytes, BATON_UNAVAILABLE,
                        "no descriptor, memory or random numbers to be had");
    }
    if (!start(b, error, error_bytes)) {
        release(b);
        return BATON_UNAVAILABLE;
    }
    *out = b;
    return BATON_OK;
}

static enum baton_status leave(struct baton *b, enum baton_leave how,
                               uint32_t timeout_ms)
{
    (void)pthread_mutex_lock(&b->lock);
    bool live = b->lease.phase == LEASE_LIVE;
    (void)pthread_mutex_unlock(&b->lock);
    if (!live || how == BATON_LEAVE_ABANDON) {
        return BATON_OK;
    }
    Pb__CloseLease close = PB__CLOSE_LEASE__INIT;
    close.detach = how == BATON_LEAVE_DETACH;
    Pb__Command command = PB__COMMAND__INIT;
    command.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    command.close_lease = &close;
    Pb__ClientRequest request = request_of(&command.base);
    struct baton_call call = {.timeout_ms = timeout_ms};
    struct ask ask = ask_of(&request);
    ask.call = &call;
    struct answer answer;
    enum baton_status status = client_ask(b, &ask, &answer);
    answer_free(&answer);
    /* Gone already: that's what was wanted. */
    return status == BATON_EXPIRED || status == BATON_NOT_FOUND ? BATON_OK
                                                                : status;
}

enum baton_status baton_close(struct baton *b, enum baton_leave how,
                              uint32_t timeout_ms)
{
    if (b == NULL) {
        return BATON_OK;
    }
    enum baton_status status = leave(b, how, timeout_ms);
    loop_stop(b);
    release(b);
    return status;
}

uint64_t baton_right_ms(struct baton *b)
{
    uint64_t deadline =
        atomic_load_explicit(&b->deadline_ms, memory_order_acquire);
    uint64_t now_ms = client_now_ms();
    return now_ms < deadline ? deadline - now_ms : 0;
}

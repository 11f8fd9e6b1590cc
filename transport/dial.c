#include "transport/dial.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "transport/hello.h"
#include "transport/list.h"
#include "transport/net.h"
#include "transport/stream.h"

/* Frames of one link in a row, while others wait. */
#define TURN_FRAMES_MAX 64
/* Dials under way at once: the other side's kernel queues no more than 128, and what it drops is tried again only after a second. */
#define DIALS_MAX 64
/* Deadlines of links that aren't up are looked at this often. */
#define SWEEP_MS 100
/* How long closing waits for NNG to let go. */
#define CLOSE_MS 2000

enum link_state {
    LINK_WAITING = 1, /* for its turn to dial */
    LINK_DIALING,
    LINK_HELLO,
    LINK_OPEN,
    LINK_ENDED,
};

struct link {
    struct stream stream;
    struct link_loop *loop;
    enum link_state state;
    struct list_node in_all;
    struct list_node in_state; /* of waiting, or of starting */
    struct list_node in_ready;
    struct list_node in_dirty;
    struct list_node in_closed;
    struct net_dialer *dialer;
    uint64_t deadline_ms;
    uint64_t cluster;
    uint32_t turn_n;
    bool admin;
    bool has_stream;
    bool told_up;
    bool told_down;
    bool wants_room;
    bool gone; /* the user closed it */
    int status;
    void *user;
    struct link_peer peer;
    char address[128];
    char why[256];
};

struct link_loop {
    struct stream_env env;
    struct link_loop_options o; /* files are used up */
    struct net_tls tls;
    struct list all;
    struct list waiting;  /* LINK_WAITING, oldest first */
    struct list starting; /* LINK_DIALING and LINK_HELLO */
    struct list ready;
    struct list dirty;
    struct list closed; /* gone, to be freed when idle */
    struct link *current;
    uint32_t dials_n;
    uint64_t sweep_ms;
    struct arena arena;
    uint8_t arena_memory[HELLO_ARENA_BYTES];
};

/* --- life --------------------------------------------------------------------------------------------------------- */

static void make_ready(struct link *l)
{
    if (!list_is_in(&l->in_ready)) {
        list_append(&l->loop->ready, &l->in_ready);
    }
}

static void set_state(struct link *l, enum link_state state)
{
    list_remove(&l->in_state);
    l->state = state;
    if (state == LINK_WAITING) {
        list_append(&l->loop->waiting, &l->in_state);
    } else if (state == LINK_DIALING || state == LINK_HELLO) {
        list_append(&l->loop->starting, &l->in_state);
    }
}

static void end(struct link *l, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void end(struct link *l, int status, const char *format, ...)
{
    if (l->state == LINK_ENDED) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(l->why, sizeof l->why, format, args);
    va_end(args);
    l->status = status;
    set_state(l, LINK_ENDED);
    if (l->dialer != NULL) {
        net_dial_cancel(l->dialer);
        l->dialer = NULL;
    }
    if (l->has_stream) {
        stream_close(&l->stream);
    }
    list_remove(&l->in_dirty);
    make_ready(l);
}

static void start_dial(struct link *l)
{
    struct link_loop *loop = l->loop;
    int error = 0;
    l->deadline_ms = net_now_ms() + loop->o.dial_ms;
    set_state(l, LINK_DIALING);
    l->dialer = net_dial(&loop->env.inbox, l->address, l->admin,
                         l->admin ? NULL : loop->tls.client, &error);
    if (l->dialer == NULL) {
        end(l, BATON_UNAVAILABLE, "can't dial %s: %s", l->address,
            nng_strerror(error));
        return;
    }
    l->dialer->user = l;
    loop->dials_n++;
}

static void start_dials(struct link_loop *loop)
{
    struct list_node *n = NULL;
    while (loop->dials_n < DIALS_MAX &&
           (n = list_first(&loop->waiting)) != NULL) {
        start_dial(LIST_OWNER(n, struct link, in_state));
    }
}

struct link *link_open(struct link_loop *loop,
                       const struct link_options *options)
{
    struct link *l = calloc(1, sizeof *l);
    ASSERT(l != NULL);
    l->loop = loop;
    l->admin = options->admin;
    l->cluster = options->cluster;
    l->user = options->user;
    list_append(&loop->all, &l->in_all);
    set_state(l, LINK_WAITING);
    if (strlen(options->address) >= sizeof l->address) {
        end(l, BATON_UNAVAILABLE, "the address is too long");
        return l;
    }
    memcpy(l->address, options->address, strlen(options->address) + 1);
    start_dials(loop);
    return l;
}

void link_close(struct link *l)
{
    ASSERT(!l->gone);
    end(l, BATON_UNAVAILABLE, "closed here");
    l->gone = true;
    list_append(&l->loop->closed, &l->in_closed);
}

static void reap(struct link_loop *loop)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&loop->closed); n != NULL; n = next) {
        next = list_after(&loop->closed, n);
        struct link *l = LIST_OWNER(n, struct link, in_closed);
        if (l->has_stream && !stream_is_idle(&l->stream)) {
            continue;
        }
        if (loop->current == l) {
            loop->current = NULL;
        }
        list_remove(&l->in_closed);
        list_remove(&l->in_ready);
        list_remove(&l->in_all);
        if (l->has_stream) {
            stream_fini(&l->stream);
        }
        free(l);
    }
}

/* --- greeting ------------------------------------------------------------------------------------------------------ */

static void send_hello(struct link *l)
{
    struct hello h = {
        .version = PROTOCOL_VERSION,
        .cluster = l->cluster,
        .frame_bytes_max = FRAME_CLIENT_BYTES_MAX,
    };
    if (!hello_nonce(h.nonce)) {
        end(l, BATON_UNAVAILABLE, "the system has no randomness");
        return;
    }
    uint8_t body[HELLO_BODY_MAX];
    size_t n = hello_encode_request(&h, body);
    bool sent = stream_send(&l->stream, (struct bytes){body, n});
    ASSERT(sent);
    stream_flush(&l->stream);
}

static void dialed(struct link_loop *loop, struct net_dialer *d)
{
    struct link *l = d->user;
    nng_stream *nng = NULL;
    int rv = net_dialed(d, &nng);
    ASSERT(loop->dials_n > 0);
    loop->dials_n--;
    if (l == NULL) {
        if (rv == 0) {
            nng_stream_close(nng);
            nng_stream_free(nng);
        }
        start_dials(loop);
        return;
    }
    l->dialer = NULL;
    struct stream_options o = {
        .body_max = FRAME_CLIENT_BYTES_MAX,
        .queue_max = loop->o.queue_bytes,
        .user = l,
    };
    if (rv != 0) {
        end(l, BATON_UNAVAILABLE, "can't reach %s: %s", l->address,
            nng_strerror(rv));
    } else if (!stream_init(&l->stream, &loop->env, nng, &o)) {
        end(l, BATON_UNAVAILABLE, "out of memory");
    } else {
        l->has_stream = true;
        l->deadline_ms = net_now_ms() + loop->o.hello_ms;
        set_state(l, l->admin ? LINK_OPEN : LINK_HELLO);
        stream_read(&l->stream);
        make_ready(l);
        if (!l->admin) {
            send_hello(l);
        }
    }
    start_dials(loop);
}

static int shown_status(enum baton_status status)
{
    bool shown = status == BATON_UNSUPPORTED || status == BATON_NOT_ALLOWED ||
                 status == BATON_LIMIT;
    return (int)(shown ? status : BATON_UNAVAILABLE);
}

static void greet(struct link *l, struct bytes body)
{
    struct hello h;
    struct hello_frame f;
    if (hello_decode_message(body, &l->loop->arena, &h, &f) != HELLO_OK) {
        end(l, BATON_UNAVAILABLE,
            "what answers at %s doesn't speak this protocol", l->address);
        return;
    }
    if (f.status != BATON_OK) {
        end(l, shown_status(f.status), "%s: %s", l->address, f.why);
        return;
    }
    if (h.version != PROTOCOL_VERSION) {
        end(l, BATON_UNSUPPORTED,
            "%s speaks protocol version %" PRIu32 ", this is version %d",
            l->address, h.version, PROTOCOL_VERSION);
        return;
    }
    if (l->cluster != 0 && h.cluster != l->cluster) {
        end(l, BATON_NOT_ALLOWED,
            "%s is of cluster %016" PRIx64 ", not of %016" PRIx64, l->address,
            h.cluster, l->cluster);
        return;
    }
    l->peer = (struct link_peer){
        .cluster = h.cluster,
        .node = h.node,
        .incarnation = h.incarnation,
        .boot = h.boot,
    };
    memcpy(l->peer.endpoint, h.endpoint, sizeof l->peer.endpoint);
    memcpy(l->peer.http, h.http, sizeof l->peer.http);
    set_state(l, LINK_OPEN);
}

/* --- the loop ------------------------------------------------------------------------------------------------------ */

struct link_loop *link_loop_open(const struct link_loop_options *options,
                                 char *error, size_t error_bytes)
{
    net_start();
    struct link_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL || !stream_env_init(&loop->env)) {
        (void)snprintf(error, error_bytes, "out of memory or descriptors");
        free(loop);
        return NULL;
    }
    loop->o = *options;
    loop->o.queue_bytes =
        options->queue_bytes == 0 ? 4u << 20 : options->queue_bytes;
    loop->o.dial_ms = options->dial_ms == 0 ? 5000 : options->dial_ms;
    loop->o.hello_ms = options->hello_ms == 0 ? 5000 : options->hello_ms;
    struct list *lists[] = {&loop->all,   &loop->waiting, &loop->starting,
                            &loop->ready, &loop->dirty,   &loop->closed};
    for (size_t i = 0; i < countof(lists); i++) {
        list_init(lists[i]);
    }
    arena_init(&loop->arena, loop->arena_memory, sizeof loop->arena_memory);
    if (!net_tls_init(&loop->tls, options->tls_ca_file,
                      options->tls_cert_key_file, error, error_bytes)) {
        stream_env_fini(&loop->env);
        free(loop);
        return NULL;
    }
    return loop;
}

static void took(struct link *l, enum inbox_kind kind)
{
    if (kind == INBOX_STREAM_RX) {
        stream_took_rx(&l->stream);
        make_ready(l);
        return;
    }
    stream_took_tx(&l->stream);
    if (l->stream.broken || l->wants_room) {
        make_ready(l);
    }
}

static void drain_inbox(struct link_loop *loop)
{
    struct inbox_node *next = NULL;
    for (struct inbox_node *n = inbox_take(&loop->env.inbox); n != NULL;
         n = next) {
        next = n->next;
        if (n->kind == INBOX_DIAL) {
            dialed(loop, n->owner);
        } else {
            took(((struct stream *)n->owner)->user, n->kind);
        }
    }
}

static void sweep(struct link_loop *loop)
{
    uint64_t now = net_now_ms();
    if (now < loop->sweep_ms) {
        return;
    }
    loop->sweep_ms = now + SWEEP_MS;
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&loop->starting); n != NULL;
         n = next) {
        next = list_after(&loop->starting, n);
        struct link *l = LIST_OWNER(n, struct link, in_state);
        if (now >= l->deadline_ms) {
            end(l, BATON_UNAVAILABLE, "%s didn't answer in time", l->address);
        }
    }
}

void link_loop_wait(struct link_loop *loop, int timeout_ms)
{
    drain_inbox(loop);
    if (list_first(&loop->ready) == NULL && timeout_ms != 0) {
        int wait = timeout_ms;
        bool starts = list_first(&loop->starting) != NULL;
        if (starts && (wait < 0 || wait > SWEEP_MS)) {
            wait = SWEEP_MS;
        }
        inbox_sleep(&loop->env.inbox, wait);
        drain_inbox(loop);
    }
    (void)inbox_woken(&loop->env.inbox);
    sweep(loop);
}

void link_loop_wake(struct link_loop *loop)
{
    inbox_wake(&loop->env.inbox);
}

/* Reads on until there's an event (true), or nothing to do. */
static bool take_frames(struct link *l, struct link_event *out)
{
    while (l->state == LINK_HELLO || l->state == LINK_OPEN) {
        struct bytes body;
        enum stream_result r = stream_next(&l->stream, &body);
        if (r == STREAM_FRAME && l->state == LINK_OPEN) {
            *out = (struct link_event){LINK_FRAME, l, body};
            return true;
        }
        if (r == STREAM_FRAME) {
            greet(l, body);
            if (l->state == LINK_OPEN) {
                l->told_up = true;
                *out = (struct link_event){LINK_UP, l, {0}};
                return true;
            }
        } else if (r == STREAM_MORE) {
            stream_read(&l->stream);
            if (!l->stream.broken) {
                return false;
            }
            r = STREAM_END;
        }
        if (r == STREAM_END) {
            end(l, BATON_UNAVAILABLE, "%s closed the connection: %s",
                l->address, nng_strerror(l->stream.error));
        } else if (r != STREAM_FRAME) {
            end(l, BATON_UNAVAILABLE,
                "%s sent a frame that is too long or empty", l->address);
        }
    }
    return false;
}

static bool serve(struct link *l, struct link_event *out)
{
    if (!l->gone && l->state == LINK_OPEN && !l->told_up) {
        l->told_up = true;
        *out = (struct link_event){LINK_UP, l, {0}};
        return true;
    }
    if (!l->gone && l->wants_room && l->state == LINK_OPEN &&
        stream_queued(&l->stream) < l->stream.queue_max / 2) {
        l->wants_room = false;
        stream_watch(&l->stream, false);
        *out = (struct link_event){LINK_ROOM, l, {0}};
        return true;
    }
    if (!l->gone && take_frames(l, out)) {
        return true;
    }
    list_remove(&l->in_ready);
    if (!l->gone && l->state == LINK_ENDED && !l->told_down) {
        l->told_down = true;
        *out = (struct link_event){LINK_DOWN, l, {0}};
        return true;
    }
    return false;
}

bool link_loop_next(struct link_loop *loop, struct link_event *out)
{
    drain_inbox(loop);
    reap(loop);
    for (;;) {
        struct link *l = loop->current;
        if (l != NULL && list_is_in(&l->in_ready) &&
            l->turn_n >= TURN_FRAMES_MAX) {
            list_remove(&l->in_ready);
            make_ready(l);
            l = NULL;
        }
        if (l == NULL || !list_is_in(&l->in_ready)) {
            struct list_node *n = list_first(&loop->ready);
            if (n == NULL) {
                loop->current = NULL;
                return false;
            }
            l = LIST_OWNER(n, struct link, in_ready);
            l->turn_n = 0;
            loop->current = l;
        }
        if (serve(l, out)) {
            l->turn_n++;
            return true;
        }
        loop->current = NULL;
    }
}

void link_loop_flush(struct link_loop *loop)
{
    struct list_node *n = NULL;
    while ((n = list_first(&loop->dirty)) != NULL) {
        list_remove(n);
        stream_flush(&LIST_OWNER(n, struct link, in_dirty)->stream);
    }
}

void link_loop_close(struct link_loop *loop)
{
    struct list_node *next = NULL;
    for (struct list_node *n = list_first(&loop->all); n != NULL; n = next) {
        next = list_after(&loop->all, n);
        struct link *l = LIST_OWNER(n, struct link, in_all);
        if (!l->gone) {
            link_close(l);
        }
    }
    uint64_t until = net_now_ms() + CLOSE_MS;
    for (;;) {
        drain_inbox(loop);
        reap(loop);
        uint64_t now = net_now_ms();
        bool idle = list_first(&loop->all) == NULL && loop->dials_n == 0;
        if (idle) {
            break;
        }
        if (now >= until) {
            return; /* NNG holds on to it for good: it's left to it */
        }
        inbox_sleep(&loop->env.inbox, SWEEP_MS);
    }
    net_tls_fini(&loop->tls);
    stream_env_fini(&loop->env);
    free(loop);
}

/* --- one link ------------------------------------------------------------------------------------------------------- */

bool link_send(struct link *l, struct bytes body)
{
    ASSERT(body.n <= FRAME_CLIENT_BYTES_MAX);
    if (l->state != LINK_OPEN) {
        return false;
    }
    if (!stream_send(&l->stream, body)) {
        l->wants_room = true;
        stream_watch(&l->stream, true);
        return false;
    }
    if (!list_is_in(&l->in_dirty)) {
        list_append(&l->loop->dirty, &l->in_dirty);
    }
    return true;
}

bool link_is_up(const struct link *l)
{
    return l->state == LINK_OPEN;
}

uint64_t link_room(const struct link *l)
{
    return l->state == LINK_OPEN ? stream_room(&l->stream) : 0;
}

uint64_t link_queued(const struct link *l)
{
    return l->state == LINK_OPEN ? stream_queued(&l->stream) : 0;
}

void *link_user(const struct link *l)
{
    return l->user;
}

const struct link_peer *link_peer(const struct link *l)
{
    return &l->peer;
}

const char *link_why(const struct link *l)
{
    return l->why;
}

int link_status(const struct link *l)
{
    return l->status;
}

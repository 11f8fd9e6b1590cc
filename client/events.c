#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "client/client.h"
#include "proto/json.h"

struct event_node *event_make(enum baton_event_type type)
{
    struct event_node *n = client_alloc(sizeof *n);
    n->event.type = type;
    return n;
}

void event_set_scope(struct event_node *n, const char *namespace_name,
                     const char *group, const char *device)
{
    bool group_scope = device == NULL || device[0] == '\0';
    (void)snprintf(n->scope, sizeof n->scope, "%s/%s%s%s", namespace_name,
                   group, group_scope ? "" : "/", group_scope ? "" : device);
    n->event.group_scope = group_scope;
}

void event_set_message(struct event_node *n, const char *text)
{
    ASSERT(n->message == NULL);
    if (text[0] != '\0') {
        size_t bytes = strnlen(text, BATON_MESSAGE_BYTES - 1) + 1;
        n->message = client_alloc(bytes);
        memcpy(n->message, text, bytes - 1);
    }
}

void event_set_raw(struct event_node *n, enum raw_type type,
                   const ProtobufCMessage *m)
{
    ASSERT(n->raw == NULL);
    size_t bytes = codec_size(m);
    n->raw = client_alloc(bytes + 1);
    n->raw_n = codec_encode(m, n->raw, bytes + 1);
    ASSERT(n->raw_n == bytes);
    n->raw_type = type;
}

void event_push(struct baton *b, struct event_node *n)
{
    struct events *q = &b->events;
    if (q->last != NULL) {
        q->last->after = n;
    } else {
        q->first = n;
    }
    q->last = n;
    q->n++;
    if (q->n == 1 && q->fd_asked) {
        (void)eventfd_write(q->fd, 1);
    }
    (void)pthread_cond_signal(&b->arrived);
}

static struct event_node *pop(struct events *q)
{
    struct event_node *n = q->first;
    if (n == NULL) {
        return NULL;
    }
    q->first = n->after;
    n->after = NULL;
    if (q->first == NULL) {
        q->last = NULL;
        eventfd_t count = 0;
        if (q->fd_asked) {
            (void)eventfd_read(q->fd, &count);
        }
    }
    q->n--;
    return n;
}

void event_free(struct event_node *n)
{
    if (n != NULL) {
        free(n->message);
        free(n->raw);
        free(n);
    }
}

static void forget_polled(struct events *q)
{
    event_free(q->polled);
    baton_reply_free(&q->polled_reply);
    q->polled = NULL;
    q->polled_raw = NULL;
}

void events_fini(struct baton *b)
{
    struct events *q = &b->events;
    if (q->fd < 0) {
        return;
    }
    forget_polled(q);
    for (struct event_node *n = pop(q); n != NULL; n = pop(q)) {
        event_free(n);
    }
    free(q->json.at);
    free(q->memory.at);
    (void)close(q->fd);
}

/* At least so much of it; what was in there is gone. */
static void *make_room(struct room *r, size_t n)
{
    if (r->n < n) {
        free(r->at);
        *r = (struct room){client_alloc(n), n};
    }
    return r->at;
}

static const ProtobufCMessageDescriptor *raw_descriptor(enum raw_type type)
{
    switch (type) {
    case RAW_EVENT:
        return &pb__event__descriptor;
    case RAW_SESSION:
        return &pb__session_info__descriptor;
    case RAW_SCOPE:
        return &pb__leader_result__descriptor;
    case RAW_NONE:
    case RAW_ANSWER:
        break;
    }
    return NULL;
}

/* What was kept as bytes while it waited, as a message and as text. */
static const char *unfold(struct events *q)
{
    struct event_node *n = q->polled;
    const ProtobufCMessageDescriptor *type = raw_descriptor(n->raw_type);
    if (type == NULL) {
        return "";
    }
    size_t bytes = 65536 + n->raw_n * 16;
    struct arena arena;
    arena_init(&arena, make_room(&q->memory, bytes), bytes);
    const ProtobufCMessage *m =
        codec_decode(type, (struct bytes){n->raw, n->raw_n}, &arena);
    ASSERT(m != NULL); /* we encoded it ourselves */
    q->polled_raw = m;
    size_t text_bytes = 4096 + n->raw_n * 12;
    char *text = make_room(&q->json, text_bytes);
    return json_write(m, JSON_SKIP_DEFAULTS, text, text_bytes) > 0 ? text : "";
}

static struct answer answer_in(const struct event_node *n)
{
    struct answer a = {
        .status = n->event.status, .body = n->raw, .body_n = n->raw_n};
    (void)snprintf(a.message, sizeof a.message, "%s",
                   n->message != NULL ? n->message : "");
    return a;
}

static const char *kind_name(const ProtobufCMessage *m)
{
    const Pb__Event *e = (const Pb__Event *)m;
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
        &pb__event_kind__descriptor, (int)e->kind);
    return v != NULL ? v->name : "UNKNOWN";
}

static void give_out(struct events *q, struct baton_event *out)
{
    struct event_node *n = q->polled;
    *out = n->event;
    out->json = unfold(q);
    out->scope = n->scope;
    out->device = n->names[0];
    out->tab = n->names[1];
    out->message = n->message != NULL ? n->message : "";
    out->kind = n->raw_type == RAW_EVENT ? kind_name(q->polled_raw) : "";
    if (n->wall_deadline_ms != 0) {
        uint64_t now_ms = client_now_ms();
        out->deadline_ms =
            n->wall_deadline_ms > now_ms ? n->wall_deadline_ms - now_ms : 0;
    }
    if (n->event.type == BATON_DONE) {
        struct answer a = answer_in(n);
        reply_fill(&q->polled_reply, &a);
        out->reply = &q->polled_reply;
    }
}

static struct timespec later(int timeout_ms)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    ASSERT(rc == 0);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

bool baton_poll(struct baton *b, int timeout_ms, struct baton_event *out)
{
    struct timespec until = {0};
    if (timeout_ms > 0) {
        until = later(timeout_ms);
    }
    (void)pthread_mutex_lock(&b->lock);
    struct events *q = &b->events;
    forget_polled(q);
    q->waiting = true;
    while (q->first == NULL && timeout_ms != 0) {
        int rc = timeout_ms < 0
                     ? pthread_cond_wait(&b->arrived, &b->lock)
                     : pthread_cond_timedwait(&b->arrived, &b->lock, &until);
        if (rc != 0) {
            break;
        }
    }
    q->waiting = false;
    q->polled_ms = client_now_ms();
    q->polled = pop(q);
    bool paused = q->n + 1 == EVENTS_HELD_MAX / 2;
    (void)pthread_mutex_unlock(&b->lock);
    if (paused) {
        link_loop_wake(b->loop);
    }
    if (q->polled == NULL) {
        return false;
    }
    /* No other thread touches what was popped. */
    give_out(q, out);
    return true;
}

int baton_fd(struct baton *b)
{
    struct events *q = &b->events;
    (void)pthread_mutex_lock(&b->lock);
    if (!q->fd_asked && q->n > 0) {
        (void)eventfd_write(q->fd, 1);
    }
    q->fd_asked = true;
    (void)pthread_mutex_unlock(&b->lock);
    return q->fd;
}

const ProtobufCMessage *client_polled(struct baton *b)
{
    struct events *q = &b->events;
    if (q->polled_raw == NULL && q->polled != NULL &&
        q->polled->raw_type == RAW_ANSWER) {
        struct answer a = answer_in(q->polled);
        free(q->memory.at);
        q->memory = (struct room){NULL, 0};
        Pb__ClientMessage *m = answer_decode(&a, &q->memory.at);
        q->polled_raw = m != NULL ? &m->base : NULL;
    }
    return q->polled_raw;
}

void *client_keep_polled(struct baton *b)
{
    void *memory = b->events.memory.at;
    b->events.memory = (struct room){NULL, 0};
    return memory;
}

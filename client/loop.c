#include <stdio.h>
#include <string.h>

#include "client/client.h"

bool loop_link_ready(struct baton *b, uint32_t at, uint64_t now_ms)
{
    ASSERT(at < b->route.endpoints_n);
    struct client_link *l = &b->links[at];
    if (l->link == NULL) {
        struct link_options options = {
            .address = b->route.endpoints[at].address,
            .user = l,
        };
        l->link = link_open(b->loop, &options);
        l->up = false;
        l->heard_ms = now_ms;
        l->pinged_ms = 0;
    }
    return l->up;
}

bool loop_send(struct baton *b, uint32_t at, struct bytes body)
{
    ASSERT(at < b->route.endpoints_n);
    return b->links[at].up && link_send(b->links[at].link, body);
}

/* `why` may point into the link: it's closed last. */
static void drop_link(struct baton *b, uint32_t at, const char *why,
                      uint64_t now_ms)
{
    struct client_link *l = &b->links[at];
    ASSERT(l->link != NULL);
    const char *address = b->route.endpoints[at].address;
    bool named = strstr(why, address) != NULL;
    (void)snprintf(b->last_why, sizeof b->last_why, "%s%s%s",
                   named ? "" : address, named ? "" : ": ", why);
    l->up = false;
    route_down(&b->route, at, now_ms, client_random(b));
    watches_link_down(b, at, now_ms);
    char text[192];
    (void)snprintf(text, sizeof text, "%s", why);
    link_close(l->link);
    l->link = NULL;
    calls_link_down(b, at, text);
}

void loop_suspect(struct baton *b, uint32_t at, uint64_t now_ms)
{
    if (b->links[at].link != NULL) {
        drop_link(b, at, "it accepts connections and answers nothing", now_ms);
    }
}

static void take_goodbye(struct baton *b, uint32_t from,
                         const Pb__Goodbye *goodbye)
{
    (void)snprintf(b->last_why, sizeof b->last_why, "%s: %.120s",
                   b->route.endpoints[from].address, goodbye->reason);
    route_no_leader(&b->route, from);
}

static void take_frame(struct baton *b, uint32_t from, struct bytes body,
                       uint64_t now_ms)
{
    arena_reset(&b->arena);
    const Pb__ClientMessage *m = codec_decode_message(body, &b->arena);
    if (m == NULL) {
        drop_link(b, from, "it sent something that isn't a message", now_ms);
        return;
    }
    if (m->result_case == PB__CLIENT_MESSAGE__RESULT_GOODBYE) {
        take_goodbye(b, from, m->goodbye);
    } else if (m->id < STREAM_ID_FIRST) {
        calls_answer(b, from, m, body);
    } else if (lease_is_renewal(b, m->id)) {
        lease_renew_answered(b, from, m, now_ms);
    } else {
        (void)watches_message(b, from, m, now_ms);
    }
}

static void take_event(struct baton *b, const struct link_event *e,
                       uint64_t now_ms)
{
    struct client_link *l = link_user(e->link);
    uint32_t at = (uint32_t)(l - b->links);
    ASSERT(at < b->route.endpoints_n);
    ASSERT(l->link == e->link);
    switch (e->type) {
    case LINK_UP:
        l->up = true;
        l->heard_ms = now_ms;
        route_up(&b->route, at, link_peer(e->link)->node);
        b->calls.changed = true;
        break;
    case LINK_FRAME:
        l->heard_ms = now_ms;
        take_frame(b, at, e->body, now_ms);
        break;
    case LINK_ROOM:
        b->calls.changed = true;
        break;
    case LINK_DOWN:
        drop_link(b, at, link_why(e->link), now_ms);
        break;
    }
}

/* Until when nothing has to be done unless a message or a caller comes. */
static int next_wait_ms(const struct baton *b, uint64_t now_ms)
{
    uint64_t wake = b->calls.changed ? now_ms : b->calls.wake_ms;
    wake = min_u64(wake, lease_next_ms(b));
    wake = min_u64(wake, watches_next_ms(b));
    if (wake == UINT64_MAX) {
        return -1;
    }
    if (wake <= now_ms) {
        return 0;
    }
    /* A clock that runs during suspend, a wait that may not: look now and then. */
    return (int)min_u64(wake - now_ms, 1000);
}

int loop_work(struct baton *b)
{
    uint64_t now_ms = client_now_ms();
    calls_step(b, now_ms);
    lease_step(b, now_ms);
    calls_sweep(b);
    watches_step(b, now_ms);
    return next_wait_ms(b, now_ms);
}

void loop_take(struct baton *b)
{
    /* First what time has decided: after a stop of the process, a late acknowledgement must not come before the news that the
     * right to lead was over in between. */
    uint64_t now_ms = client_now_ms();
    lease_step(b, now_ms);
    struct link_event e;
    while (!b->stopping && link_loop_next(b->loop, &e)) {
        take_event(b, &e, now_ms);
    }
}

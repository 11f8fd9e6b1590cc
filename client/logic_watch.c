#include "client/logic.h"

void watch_init(struct client_watch *w, uint64_t from)
{
    ASSERT(w != NULL);
    *w = (struct client_watch){.next = from, .synced = from != 0};
}

uint64_t watch_start(struct client_watch *w, bool *out_reset)
{
    ASSERT(out_reset != NULL);
    w->stale = false;
    /* Half a state is of no use: another node would tell it in another order, at another revision. */
    bool again = !w->synced;
    *out_reset = again && w->started;
    if (again) {
        w->next = 0;
        w->started = false;
    }
    return w->next;
}

enum watch_verdict watch_row(struct client_watch *w)
{
    if (w->stale || w->synced) {
        return WATCH_DROP;
    }
    w->started = true;
    return WATCH_DELIVER;
}

enum watch_verdict watch_batch(struct client_watch *w, uint64_t revision)
{
    if (w->stale || revision < w->next) {
        return WATCH_DROP;
    }
    w->started = true;
    w->next = revision + 1;
    return WATCH_DELIVER;
}

enum watch_verdict watch_synced(struct client_watch *w, uint64_t revision)
{
    if (w->stale || w->synced) {
        return WATCH_DROP;
    }
    w->synced = true;
    w->started = true;
    w->next = max_u64(w->next, revision + 1);
    return WATCH_DELIVER;
}

void watch_reset(struct client_watch *w)
{
    ASSERT(w != NULL);
    w->next = 0;
    w->synced = false;
    w->stale = false;
}

void watch_lagging(struct client_watch *w)
{
    ASSERT(w != NULL);
    w->stale = true;
}

#include "transport/inbox.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool inbox_init(struct inbox *in)
{
    *in = (struct inbox){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (in->fd < 0) {
        return false;
    }
    if (pthread_mutex_init(&in->lock, NULL) != 0) {
        (void)close(in->fd);
        return false;
    }
    return true;
}

void inbox_fini(struct inbox *in)
{
    ASSERT(in->head == NULL);
    (void)pthread_mutex_destroy(&in->lock);
    (void)close(in->fd);
}

void inbox_node_init(struct inbox_node *n, enum inbox_kind kind, void *owner)
{
    ASSERT(owner != NULL);
    *n = (struct inbox_node){.kind = kind, .owner = owner};
}

static void lock(struct inbox *in)
{
    int failed = pthread_mutex_lock(&in->lock);
    ASSERT(failed == 0);
}

static void unlock(struct inbox *in)
{
    int failed = pthread_mutex_unlock(&in->lock);
    ASSERT(failed == 0);
}

/* An eventfd's write fails only when its counter is full, and then it is readable: nothing to handle. A signal handler leaves errno as
 * it was. */
static void ring(struct inbox *in)
{
    int before = errno;
    uint64_t one = 1;
    ssize_t n = write(in->fd, &one, sizeof one);
    (void)n;
    errno = before;
}

void inbox_post(struct inbox *in, struct inbox_node *n, bool quiet)
{
    lock(in);
    ASSERT(!n->queued);
    n->next = NULL;
    n->queued = true;
    if (in->head == NULL) {
        in->head = n;
    } else {
        in->tail->next = n;
    }
    in->tail = n;
    atomic_store_explicit(&in->any, true, memory_order_release);
    bool wake = in->asleep && (!quiet || n->wanted);
    if (wake) {
        in->asleep = false;
    }
    unlock(in);
    if (wake) {
        ring(in);
    }
}

void inbox_want(struct inbox *in, struct inbox_node *n)
{
    lock(in);
    n->wanted = true;
    unlock(in);
}

struct inbox_node *inbox_take(struct inbox *in)
{
    if (!atomic_load_explicit(&in->any, memory_order_acquire)) {
        return NULL;
    }
    lock(in);
    struct inbox_node *all = in->head;
    in->head = NULL;
    in->tail = NULL;
    atomic_store_explicit(&in->any, false, memory_order_release);
    for (struct inbox_node *n = all; n != NULL; n = n->next) {
        ASSERT(n->queued);
        n->queued = false;
        n->wanted = false;
    }
    unlock(in);
    return all;
}

void inbox_sleep(struct inbox *in, int timeout_ms)
{
    lock(in);
    bool idle = in->head == NULL && !atomic_load(&in->woken);
    in->asleep = idle;
    unlock(in);
    if (!idle) {
        return;
    }
    struct pollfd p = {.fd = in->fd, .events = POLLIN};
    int n = poll(&p, 1, timeout_ms);
    ASSERT(n >= 0 || errno == EINTR);
    lock(in);
    in->asleep = false;
    unlock(in);
    if (n > 0) {
        uint64_t count = 0;
        ssize_t got = read(in->fd, &count, sizeof count);
        (void)got;
    }
}

void inbox_wake(struct inbox *in)
{
    if (!atomic_exchange(&in->woken, true)) {
        ring(in);
    }
}

bool inbox_woken(struct inbox *in)
{
    return atomic_load_explicit(&in->woken, memory_order_relaxed) &&
           atomic_exchange(&in->woken, false);
}

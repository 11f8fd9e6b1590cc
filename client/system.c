/* What libbaton has of the system: its clock, random numbers and a thread. The simulator has its own of each, in place of this file. */
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "client/client.h"

uint64_t client_now_ms(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_BOOTTIME, &t);
    ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool client_fill_random(void *out, size_t n)
{
    return getrandom(out, n, 0) == (ssize_t)n;
}

static void *loop_run(void *baton)
{
    struct baton *b = baton;
    (void)pthread_mutex_lock(&b->lock);
    while (!b->stopping) {
        int wait_ms = loop_work(b);
        (void)pthread_mutex_unlock(&b->lock);
        link_loop_flush(b->loop);
        link_loop_wait(b->loop, wait_ms);
        (void)pthread_mutex_lock(&b->lock);
        loop_take(b);
    }
    (void)pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Signals are the program's: neither our thread nor the transport's may take them. */
bool loop_start(struct baton *b, const struct link_loop_options *options,
                char *error, size_t error_bytes)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    b->loop = link_loop_open(options, error, error_bytes);
    bool started = b->loop != NULL;
    if (started && pthread_create(&b->thread, NULL, loop_run, b) != 0) {
        (void)snprintf(error, error_bytes, "no thread could be started");
        link_loop_close(b->loop);
        started = false;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void loop_stop(struct baton *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->stopping = true;
    (void)pthread_mutex_unlock(&b->lock);
    link_loop_wake(b->loop);
    (void)pthread_join(b->thread, NULL);
    link_loop_close(b->loop);
}

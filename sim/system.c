/* What libbaton has of the system, in place of client/system.c: the clock and the chance of the client that runs now, and no thread: its
 * loop goes round when the simulated client does. */
#include <string.h>

#include "sim/client.h"

static struct sim_client *current;

void sim_system_of(struct sim_client *c)
{
    current = c;
}

uint64_t client_now_ms(void)
{
    ASSERT(current != NULL);
    return sim_clock_ms(&current->clock, current->world->now_us);
}

bool client_fill_random(void *out, size_t n)
{
    uint8_t *at = out;
    ASSERT(current != NULL);
    while (n > 0) {
        uint64_t word = sim_random(&current->system);
        size_t part = n < sizeof word ? n : sizeof word;
        memcpy(at, &word, part);
        at += part;
        n -= part;
    }
    return true;
}

bool loop_start(struct baton *b, const struct link_loop_options *options,
                char *error, size_t error_bytes)
{
    b->loop = link_loop_open(options, error, error_bytes);
    ASSERT(current != NULL);
    current->loop = b->loop;
    return b->loop != NULL;
}

void loop_stop(struct baton *b)
{
    b->stopping = true;
    link_loop_close(b->loop);
}

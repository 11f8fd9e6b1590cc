/* lead.c - one program of many, of which one leads: start it on several machines.
 *
 *    cc lead.c $(pkg-config --cflags --libs baton) -o lead
 *    ./lead acme report-builder $(hostname)
 *
 * It prints when it leads and when it doesn't any more. What a leader writes should carry the epoch: then whoever receives it can refuse
 * what a former leader, stopped for a while and not aware of it, still sends. */
#include <baton.h>

#include <stdio.h>

/* The work: one step of it, short against the TTL. */
static void work(struct baton *b, unsigned long long epoch)
{
    /* Right before what must not be done by two: how long may we still act? */
    unsigned long long right_ms = baton_right_ms(b);
    if (right_ms > 100) {
        (void)printf("leading, epoch %llu, sure for %llu ms\n", epoch,
                     right_ms);
        (void)fflush(stdout);
    }
}

/* Hand over once the work has stopped (here: it has, between two steps), with what the successor should know. */
static void hand_over(struct baton *b, const struct baton_handover *h)
{
    struct baton_reply r = {0};
    if (baton_yield(b, NULL, h, &r) != BATON_OK) {
        (void)fprintf(stderr, "could not hand over: %s\n", r.message);
    }
    baton_reply_free(&r);
}

static void lead(struct baton *b, struct baton_handover *h)
{
    h->epoch = 0; /* not leading */
    for (;;) {
        struct baton_event e;
        if (!baton_poll(b, 1000, &e)) {
            if (h->epoch != 0) {
                work(b, h->epoch);
            }
            continue;
        }
        if (e.type == BATON_LEASE_ENDED) {
            (void)fprintf(stderr, "the lease ended: %s\n", e.message);
            return;
        }
        if (e.session != h->session || !e.group_scope) {
            continue; /* of the device's own baton: one tab on it, no rivals */
        }
        if (e.type == BATON_GRANTED) {
            h->epoch = e.epoch;
            (void)printf("granted, epoch %llu\n", (unsigned long long)e.epoch);
        } else if (e.type == BATON_YIELD) {
            h->state = "all done up to here";
            h->state_n = 19;
            hand_over(b, h);
        } else if (e.type == BATON_LOST) {
            h->epoch = 0;
            (void)printf("lost\n");
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: lead NAMESPACE GROUP DEVICE\n");
        return 1;
    }
    struct baton *b = NULL;
    char error[256];
    struct baton_options options = {.label = "lead.c", .ttl_ms = 5000};
    if (baton_open(&options, &b, error, sizeof error) != BATON_OK) {
        (void)fprintf(stderr, "%s\n", error);
        return 1;
    }
    struct baton_session_options session = {
        .scope = {argv[1], argv[2], argv[3]}, .tab = "main"};
    struct baton_reply r = {0};
    int code = 1;
    if (baton_session_open(b, NULL, &session, &r) == BATON_OK) {
        struct baton_handover h = {.scope = {argv[1], argv[2], NULL},
                                   .session = r.id};
        lead(b, &h);
        code = 0;
    } else {
        (void)fprintf(stderr, "%s: %s\n", status_name(r.status), r.message);
    }
    baton_reply_free(&r);
    baton_close(b, BATON_LEAVE_CLOSE, 0);
    return code;
}

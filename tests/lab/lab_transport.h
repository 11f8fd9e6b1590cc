/* lab_transport.h - transport/transport.h in memory: what a test links in place of the transport. It only passes on what is asked of it:
 * who is connected, what arrives and when is the test's business (tests/lab/lab.h, or a test's own hooks). */
#ifndef TESTS_LAB_LAB_TRANSPORT_H
#define TESTS_LAB_LAB_TRANSPORT_H

#include "transport/transport.h"

/* Called during the call that causes it; NULL: such calls fail or do nothing. `node`: whose transport it is. */
struct lab_transport_hooks {
    void *arg;
    bool (*peer_send)(void *arg, uint32_t node, uint32_t to, struct bytes body);
    void (*peer_refuse)(void *arg, uint32_t node, uint32_t peer,
                        const char *reason);
    bool (*send)(void *arg, uint32_t node, uint64_t conn, struct bytes body);
    uint64_t (*room)(void *arg, uint32_t node, uint64_t conn);
    void (*close)(void *arg, uint32_t node, uint64_t conn, const char *reason);
    void (*http)(void *arg, uint32_t node, uint64_t ticket, uint32_t status,
                 struct bytes body);
};

struct transport *lab_transport_new(uint32_t node,
                                    const struct lab_transport_hooks *hooks);
void lab_transport_free(struct transport *t);
/* Is it among the last transport_set_peers()? */
bool lab_transport_has_peer(const struct transport *t, uint32_t node);

#endif

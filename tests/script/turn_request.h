/* turn_request.h - a client's request from a line of a turn's script. Ids, sequences and nonces count up by themselves.
 *
 *     open-lease [nonce=N] [ttl=MS] [label=L]         close-lease lease=L [detach=1]
 *     open-session lease=L path=ns/g/d/t [secret=N] [priority=N] [battery=N] [observer=1]
 *     update-session lease=L session=S [priority=N] [battery=N]
 *     close-session lease=L session=S                 attach lease=L session=S [secret=N]
 *     handoff lease=L scope=ns/g to=S                 answer lease=L scope=ns/g session=S offer=O accept=1
 *     yield lease=L scope=ns/g session=S epoch=E [state=TEXT]
 *     resign lease=L scope=ns/g epoch=E               demote lease=L scope=ns/g text=WHY
 *     renew lease=L [number=N]                        claim scope=ns/g session=S epoch=E lease=L
 *     leader scope=ns/g    verify scope=ns/g epoch=E  sessions [ns=N] [group=G] [session=S] [limit=N] [cursor=N]
 *     explain scope=ns/g   events from=R [to=R]       watch [ns=N] [group=G] [lease=L] [from=R]    unwatch id=N
 *     transfer to=N        members [add=(4)] [promote=(4)] [remove=(4)] [expected=I]
 *
 * Each takes id=N, timeout=MS and, if it's a command, seq=N and first=N; reads take consistency=stale or lease. */
#ifndef TESTS_SCRIPT_TURN_REQUEST_H
#define TESTS_SCRIPT_TURN_REQUEST_H

#include "proto/codec.h"
#include "tests/script/datadriven.h"

#define TURN_LEASES_MAX 256u

struct turn_requests {
    uint64_t id; /* of the last one */
    uint64_t nonce;
    uint64_t number;                     /* of the last renewal */
    uint64_t sequences[TURN_LEASES_MAX]; /* by lease */
};

/* Encodes the request into out; the bytes written. `verb` is the plain word that says which. */
size_t turn_request(struct turn_requests *r, const struct datadriven_command *d,
                    const char *verb, uint8_t *out, size_t out_bytes);

#endif

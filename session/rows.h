/* rows.h - one row for each object: how it's named, and how its hash enters the state hash.
 *
 *    kind    | key behind the byte of the kind     | message
 *    --------|-------------------------------------|-----------
 *    CLUSTER |                                     | ClusterRow
 *    ...     | born, id, or lease and block: big-endian, so that keys order as numbers
 *
 * Rows are loaded in the order of kinds: what a row refers to is there before it. Sessions come before the scopes that name
 * them as holder or backup, and bring their groups and devices along (a group or device without a session doesn't exist).
 *
 * State hash: the sum, modulo 2^64, of the hashes of all rows; so it doesn't depend on their order, and a changed row costs
 * one subtraction and one addition. */
#ifndef SESSION_ROWS_H
#define SESSION_ROWS_H

#include "session/state.h"

enum row_kind {
    ROW_CLUSTER = 1,
    ROW_NAMESPACE = 2, /* born */
    ROW_LEASE = 3,     /* id */
    ROW_WINDOW = 4,    /* id of the lease, block */
    ROW_SESSION = 5,   /* id */
    ROW_GROUP = 6,     /* born */
    ROW_DEVICE = 7,    /* born */
};

#define ROW_KEY_MAX 17

struct row_key {
    uint32_t n;
    uint8_t data[ROW_KEY_MAX];
};

/* Never 0. */
uint64_t row_hash(struct bytes key, struct bytes value);

#endif

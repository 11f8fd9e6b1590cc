/* lineage.h - how a node shows that it's the one that started last under its number, and not an older image of its disk (R21).
 *
 * A counter of starts isn't enough: an image that is started often enough catches up with it. So a node draws `own` at random, and the
 * cluster puts it on record. Once a start finds it on record on its own disk, it draws another one, and keeps what was on record as
 * `before`. An older image can show neither what is on record now, nor that it knew it:
 *
 *     on record          start        own   before      shows
 *     -                  1            A     -           A on record: nothing is, so it's believed
 *     A                  2            B     A           A
 *     B                  3            C     B           B
 *     B                  image of 2   D     A           neither: refused, however often it starts */
#ifndef PROTO_LINEAGE_H
#define PROTO_LINEAGE_H

#include "proto/base.h"

struct lineage {
    uint64_t own; /* 0: none was drawn yet */
    uint64_t before;
    uint64_t before_boot; /* the start that `before` was on record for */
};

/* What's on record: 0: nothing of this kind. */
struct lineage_record {
    uint64_t own;
    uint64_t boot;
};

/* A record from before what the node itself has seen says nothing: whoever holds it is behind. */
static inline bool lineage_shows(const struct lineage *l,
                                 const struct lineage_record *record)
{
    return record->own == 0 || record->own == l->own ||
           record->own == l->before || record->boot < l->before_boot;
}

#endif

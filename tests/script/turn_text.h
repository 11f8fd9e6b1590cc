/* turn_text.h - what nodes say to clients and to each other, as text for the turn's scripts. Fields at their default are left out, and so
 * are sentences for people. */
#ifndef TESTS_SCRIPT_TURN_TEXT_H
#define TESTS_SCRIPT_TURN_TEXT_H

#include <stdio.h>

#include "proto/codec.h"

/* "7<1 #3 OK revision=5 reply{id=3 revision=5}"; each row and event of a watch or a history on a line of its own. */
void turn_text_message(FILE *f, uint64_t conn, uint32_t node,
                       const Pb__ClientMessage *m);
/* "1>2 APPEND term 2 1 behind 3^2 commit 3". */
void turn_text_frame(FILE *f, uint32_t from, uint32_t to,
                     const Pb__PeerFrame *frame);

#endif

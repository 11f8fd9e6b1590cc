/* raft_text.h - a message on a line, for traces and expected outputs. */
#ifndef TESTS_SCRIPT_RAFT_TEXT_H
#define TESTS_SCRIPT_RAFT_TEXT_H

#include <stdio.h>

#include "raft/message.h"

/* Writes it, NUL-terminated, cut to `bytes`; returns out. */
const char *raft_message_text(const struct raft_message *m, char *out,
                              size_t bytes);

#endif

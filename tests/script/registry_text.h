/* registry_text.h - what the registry says, as text for its scripts: replies, events, scopes, sessions, leases. Nothing of it depends on slots
 * or on the order of lists. */
#ifndef TESTS_SCRIPT_REGISTRY_TEXT_H
#define TESTS_SCRIPT_REGISTRY_TEXT_H

#include <stdio.h>

#include "session/registry.h"

/* "12: OK id=3 detail=1", then a line an event. */
void text_out(FILE *f, uint64_t index, const struct registry_out *out);
void text_command(FILE *f, const Pb__Command *c);
void text_scope(FILE *f, const struct scope_view *v);
void text_session(FILE *f, const struct session_view *v);
void text_lease(FILE *f, const struct lease_view *v);
const char *text_cause(enum cause cause);
const char *text_reason(uint32_t reason);

#endif

/* check.h - the fields of commands: what's refused whatever the state is. The same functions at the edge and in apply.
 *
 * Each returns INVALID with the reason that names the field, and a detail where the reason has one. */
#ifndef SESSION_CHECK_H
#define SESSION_CHECK_H

#include "session/state.h"

/* The bytes of a C string; NULL is the empty one. */
struct bytes check_bytes(const char *text);

enum check_path {
    CHECK_SCOPE,  /* the device may be empty: the group's scope */
    CHECK_DEVICE, /* all three are needed */
};
MUST_USE enum baton_status
check_path(const Pb__Path *path, enum check_path kind, uint32_t *out_reason);

/* 1 to NAME_BYTES_MAX bytes, as utf8_is_name(). */
bool check_name(const char *name);

/* Into *out, not quantised. A key twice, an unknown one, a value out of range: *out_detail is the value, or the key. */
MUST_USE enum baton_status check_capabilities(Pb__Capability **list, size_t n,
                                              struct capabilities *out,
                                              uint32_t *out_reason,
                                              int64_t *out_detail);

/* All fields of a command that a client may give. */
MUST_USE enum baton_status check_fields(const Pb__Command *command,
                                        uint32_t *out_reason,
                                        int64_t *out_detail);
MUST_USE enum baton_status check_open_lease(const Pb__OpenLease *c,
                                            uint32_t *out_reason,
                                            int64_t *out_detail);

/* Equal, in a time that doesn't tell where they differ. */
bool check_secret(const uint8_t a[16], const uint8_t b[16]);

/* True for what a client may ask for. */
bool check_is_client_op(const Pb__Command *command);

#endif

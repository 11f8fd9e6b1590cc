/* utf8.h - one code point at a time (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include "proto/base.h"

/* Bytes of the first code point of `in`, which goes to *out_point; 0, untouched, if it's malformed or cut. `in` isn't empty. */
MUST_USE size_t utf8_next(struct bytes in, uint32_t *out_point);

/* How many of the first bytes of a malformed `in` one U+FFFD stands for: the longest start of a sequence that could have
 * become good, at least 1 (Unicode 15, 3.9, "maximal subpart"). */
size_t utf8_bad(struct bytes in);

/* 1 to bytes_max bytes of well-formed UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F) or '/': what a
 * namespace, group, device or tab may be called. */
bool utf8_is_name(struct bytes in, size_t bytes_max);

/* As a name, but '/' may be in it, and it may be empty: labels, reasons. */
bool utf8_is_text(struct bytes in, size_t bytes_max);

/* `in` as it may be shown to people, on one line: control characters and malformed bytes as \xNN; what doesn't fit into `bytes` (at least
 * 64) is cut out of the middle, where "..." stands. */
void utf8_show(struct bytes in, char *out, size_t bytes);

#endif

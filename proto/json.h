/* json.h - JSON out: a writer, and a view of any message through its descriptor.
 *
 * The writer is bounded: what doesn't fit sets `overflow`, and from there on nothing is written. Commas are its business.
 *
 *    struct json_writer w;
 *    json_init(&w, out, sizeof out);
 *    json_object_begin(&w);
 *    json_key(&w, "epoch");
 *    json_u64_string(&w, epoch);
 *    json_object_end(&w);
 *    size_t n = json_finish(&w);      0: it didn't fit
 *
 * The view of a message has the field names of the .proto files. 64-bit numbers are decimal strings, because JavaScript's
 * numbers end at 2^53; times (_ms, _us) and counts (json.c has their names) are numbers all the same. `bytes` are lowercase hex,
 * enums are names (a number if it isn't a known one). What isn't set is left out: members of a oneof, messages. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <protobuf-c/protobuf-c.h>

#include "proto/base.h"

#define JSON_SKIP_DEFAULTS 1u /* leave out fields at their default, too */

#define JSON_DEPTH_MAX 32

struct json_writer {
    char *out;
    size_t out_bytes; /* one of them is for the NUL */
    size_t n;
    uint32_t depth;
    bool comma;    /* before the next key or value */
    bool overflow; /* something didn't fit: the result is void */
};

void json_init(struct json_writer *w, char *out, size_t out_bytes);

/* NUL-terminates. Everything that was begun has been ended. The length without the NUL, or 0 if it didn't fit (`out` is then
 * an empty string, if it has room for one). */
MUST_USE size_t json_finish(struct json_writer *w);

void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);

/* In an object, before each value. */
void json_key(struct json_writer *w, const char *key);

/* Malformed UTF-8 comes out as U+FFFD. NULL is the empty string. (Not json_string and json_null: jansson, which programs link
 * beside this, has functions of those names, and would call ours.) */
void json_cstring(struct json_writer *w, const char *text);
void json_text(struct json_writer *w, struct bytes text);
void json_hex(struct json_writer *w, struct bytes b);
void json_u64(struct json_writer *w, uint64_t value);
void json_u64_string(struct json_writer *w, uint64_t value);
/* hundredths / 100, with two places. */
void json_hundredths(struct json_writer *w, uint64_t hundredths);
void json_i64(struct json_writer *w, int64_t value);
void json_i64_string(struct json_writer *w, int64_t value);
void json_bool(struct json_writer *w, bool value);
void json_nothing(struct json_writer *w);

/* A whole message as one value. `flags`: JSON_*. */
void json_message(struct json_writer *w, const ProtobufCMessage *m,
                  uint32_t flags);

/* Just that: the length, or 0 if it didn't fit. NUL-terminated. */
MUST_USE size_t json_write(const ProtobufCMessage *m, uint32_t flags, char *out,
                           size_t out_bytes);

#endif

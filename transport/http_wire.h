/* http_wire.h - the first line of each HTTP request as it was sent.
 *
 *    socket --recv()--> libwebsockets --> the request: its target decoded, dots and slashes merged, + a blank
 *                 '---> here          --> its first line, byte for byte
 *
 * libwebsockets keeps no raw target, and what it makes of one can be another scope's. So this takes the place of the recv() by which it
 * reads (a definition in the program comes before a shared library's), and looks on. Only in the thread that called http_wire_open(), and only
 * there may the others be called. A connection on which something reads as if it could be understood in two ways is `odd`: it must be
 * refused, for the lines might not be those of libwebsockets' requests any more. */
#ifndef TRANSPORT_HTTP_WIRE_H
#define TRANSPORT_HTTP_WIRE_H

#include "proto/base.h"

struct http_line {
    struct bytes text; /* without CR LF; valid until the next recv() */
    bool whole;        /* its end has come; one that's too long is cut */
    bool odd;
};

/* What is longer is cut: more than any line that is answered. */
#define HTTP_LINE_MAX 8192

void http_wire_open(void);
void http_wire_close(void);
/* A new connection has this descriptor. */
void http_wire_accepted(int fd);
/* Of the oldest request that wasn't dropped yet; empty if nothing came. */
struct http_line http_wire_line(int fd);
/* That request is answered: the next one. */
void http_wire_drop(int fd);

#endif

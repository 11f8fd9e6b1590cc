#include "transport/http_wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Lines of requests that came at once; libwebsockets reads on only when they're answered. */
#define LINES_BYTES_MAX (4 * HTTP_LINE_MAX)

enum place {
    BETWEEN = 0, /* requests: empty lines don't count */
    LINE,        /* the first */
    HEADER_BEGIN,
    HEADER,
};

struct wire {
    enum place place;
    bool cr; /* the last byte was one */
    bool odd;
    size_t line_n;  /* of the line that isn't whole yet */
    uint8_t *lines; /* each ends with LF, which none can hold */
    size_t n;
    size_t max;
};

static _Thread_local struct wires {
    bool open;
    struct wire *all; /* by descriptor */
    size_t n;
} wires;

static void keep(struct wire *w, uint8_t c)
{
    if (c != '\n' && w->line_n++ >= HTTP_LINE_MAX) {
        return;
    }
    if (w->n == w->max) {
        size_t max = w->max == 0 ? 256 : w->max * 2;
        uint8_t *more = max > LINES_BYTES_MAX ? NULL : realloc(w->lines, max);
        if (more == NULL) {
            w->odd = true;
            return;
        }
        w->lines = more;
        w->max = max;
    }
    w->lines[w->n++] = c;
}

static void line_end(struct wire *w)
{
    switch (w->place) {
    case BETWEEN:
    case HEADER_BEGIN:
        w->place = BETWEEN;
        break;
    case LINE:
        keep(w, '\n');
        w->line_n = 0;
        w->place = HEADER_BEGIN;
        break;
    case HEADER:
        w->place = HEADER_BEGIN;
        break;
    }
}

static void see(struct wire *w, uint8_t c)
{
    bool after_cr = w->cr;
    w->cr = c == '\r';
    if (w->cr) {
        w->odd = w->odd || after_cr;
        return;
    }
    if (c == '\n') {
        w->odd = w->odd || !after_cr;
        line_end(w);
        return;
    }
    /* A CR alone, other control characters, a header that goes on in the next line. */
    w->odd = w->odd || after_cr || (c < ' ' && c != '\t') || c == 0x7f ||
             (w->place == HEADER_BEGIN && (c == ' ' || c == '\t'));
    if (w->place == BETWEEN) {
        w->place = LINE;
    } else if (w->place == HEADER_BEGIN) {
        w->place = HEADER;
    }
    if (w->place == LINE) {
        keep(w, c);
    }
}

static struct wire *find(int fd)
{
    ASSERT(wires.open);
    return fd >= 0 && (size_t)fd < wires.n ? &wires.all[fd] : NULL;
}

/* The libc's would go into libwebsockets' hands alone. */
ssize_t recv(int fd, void *out, size_t bytes, int flags)
{
    ssize_t n = recvfrom(fd, out, bytes, flags, NULL, NULL);
    struct wire *w = wires.open && (flags & MSG_PEEK) == 0 ? find(fd) : NULL;
    for (ssize_t i = 0; w != NULL && i < n; i++) {
        see(w, ((const uint8_t *)out)[i]);
    }
    return n;
}

void http_wire_open(void)
{
    ASSERT(!wires.open);
    wires.open = true;
}

void http_wire_close(void)
{
    for (size_t i = 0; i < wires.n; i++) {
        free(wires.all[i].lines);
    }
    free(wires.all);
    memset(&wires, 0, sizeof wires);
}

void http_wire_accepted(int fd)
{
    ASSERT(wires.open);
    ASSERT(fd >= 0);
    if ((size_t)fd >= wires.n) {
        size_t n = (size_t)fd + 64;
        struct wire *more = realloc(wires.all, n * sizeof *more);
        if (more == NULL) {
            return; /* its requests have no line, and are refused */
        }
        memset(more + wires.n, 0, (n - wires.n) * sizeof *more);
        wires.all = more;
        wires.n = n;
    }
    free(wires.all[fd].lines);
    wires.all[fd] = (struct wire){.place = BETWEEN};
}

struct http_line http_wire_line(int fd)
{
    const struct wire *w = find(fd);
    if (w == NULL || w->n == 0) {
        return (struct http_line){.odd = w == NULL || w->odd};
    }
    const uint8_t *end = memchr(w->lines, '\n', w->n);
    size_t n = end != NULL ? (size_t)(end - w->lines) : w->n;
    return (struct http_line){
        .text = {w->lines, n}, .whole = end != NULL, .odd = w->odd};
}

void http_wire_drop(int fd)
{
    struct wire *w = find(fd);
    const uint8_t *end =
        w == NULL || w->n == 0 ? NULL : memchr(w->lines, '\n', w->n);
    if (end == NULL) {
        return;
    }
    size_t n = (size_t)(end - w->lines) + 1;
    w->n -= n;
    memmove(w->lines, w->lines + n, w->n);
    if (w->n == 0) {
        free(w->lines);
        w->lines = NULL;
        w->max = 0;
    }
}

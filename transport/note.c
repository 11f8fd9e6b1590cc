#include <stdarg.h>
#include <stdio.h>

#include "transport/internal.h"

/* One line a second of a kind: a port scan, or a peer that's down for a night, mustn't fill the disk. */
#define NOTE_MS 1000

void note_line(struct transport *t, enum note_kind kind, int level,
               const char *format, ...)
{
    ASSERT(kind < NOTE_END);
    if (t->o.log == NULL) {
        return;
    }
    struct note *n = &t->notes[kind];
    uint64_t now = net_now_ms();
    if (n->last_ms != 0 && now - n->last_ms < NOTE_MS) {
        n->suppressed++;
        return;
    }
    char line[512];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (used > 0 && (size_t)used < sizeof line && n->suppressed > 0) {
        (void)snprintf(line + used, sizeof line - (size_t)used,
                       " suppressed=%u", n->suppressed);
    }
    n->last_ms = now;
    n->suppressed = 0;
    t->o.log(t->o.log_arg, level, line);
}

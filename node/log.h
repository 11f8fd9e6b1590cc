/* log.h - the node's log: one event a line, `level event key=value`, to stderr.
 *
 *    2026-11-20T15:16:00.123Z info node=1 role role=leader term=3 leader=1
 *
 * Never payloads: names of groups and devices are people's, and stay out of it. The loop's thread only. */
#ifndef NODE_LOG_H
#define NODE_LOG_H

#include "proto/base.h"

enum log_level {
    LOG_ERROR = 0,
    LOG_WARN = 1,
    LOG_INFO = 2,
    LOG_DEBUG = 3,
};

void log_set(uint32_t node, enum log_level level);
void log_set_level(enum log_level level);
/* As turn_options.log and transport_options.log: `line` is "event key=value ...". */
void log_line(void *arg, int level, const char *line);
void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *log_level_name(enum log_level level);
/* False: not a level's name. */
bool log_level_from(const char *name, enum log_level *out);

#endif

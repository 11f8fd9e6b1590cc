#include "node/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const names[] = {"error", "warn", "info", "debug"};

static uint32_t log_node;
static enum log_level log_level_now = LOG_INFO;

void log_set(uint32_t node, enum log_level level)
{
    log_node = node;
    log_level_now = level;
}

void log_set_level(enum log_level level)
{
    log_level_now = level;
}

const char *log_level_name(enum log_level level)
{
    return (size_t)level < countof(names) ? names[level] : "?";
}

bool log_level_from(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < countof(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_line(void *arg, int level, const char *line)
{
    struct timespec now;
    struct tm utc;
    char stamp[40];
    (void)arg;
    if (level > (int)log_level_now) {
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    stamp[n] = 0;
    (void)fprintf(stderr, "%s.%03dZ %s node=%u %s\n", stamp,
                  (int)(now.tv_nsec / 1000000),
                  log_level_name((enum log_level)level), log_node, line);
}

void log_write(enum log_level level, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_line(NULL, (int)level, line);
}

/* config_inner.h - what the three parts of config.h share.
 *
 *    config_table.c   the settings: the one table
 *    config.c         where values come from: defaults, file, environment, flags
 *    config_check.c   whether they go together, and what follows from them */
#ifndef NODE_CONFIG_INNER_H
#define NODE_CONFIG_INNER_H

#include "node/config.h"

enum setting_kind {
    SETTING_NUMBER,
    SETTING_TEXT,
    SETTING_SWITCH, /* 0 or 1; as a flag it needs no value */
};

struct setting {
    const char *name;
    enum setting_kind kind;
    size_t offset;
    size_t bytes; /* TEXT */
    uint64_t min;
    uint64_t max;
    const char *value; /* default */
    const char *help;
};

extern const struct setting config_settings[];
extern const size_t config_settings_n; /* at most CONFIG_SETTINGS_MAX */

/* NULL: there is none of this name. */
const struct setting *config_find(const char *name);

void config_print_help(void);

/* Digits only. */
MUST_USE bool config_number(const char *text, uint64_t *out);

/* All values are in: makes what is made of them. False, and a sentence in error: they don't go together. */
MUST_USE bool config_check(struct config *c, char *error, size_t error_bytes);

#endif

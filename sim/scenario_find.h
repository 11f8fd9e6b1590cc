/* scenario_find.h - the scenarios that ship: where they are, and what they are called. */
#ifndef SIM_SCENARIO_FIND_H
#define SIM_SCENARIO_FIND_H

#include "proto/base.h"

#define SCENARIO_PATH 512u

/* A path as it is, if it has a slash or ends in .scn; else the file of a scenario that ships. False: there's none of that name; then `out` is
 * what to say, with the most similar name. */
MUST_USE bool scenario_find(const char *name, char out[SCENARIO_PATH]);
/* The folder, beside the program or where it was installed; false: there's none. */
MUST_USE bool scenario_folder(char out[SCENARIO_PATH]);
/* Each name once, in order, with the file's first comment line. */
void scenario_each(void (*each)(void *arg, const char *name,
                                const char *comment),
                   void *arg);
/* Edits that make b of a (Levenshtein 1965); both of less than 64 bytes. */
uint32_t scenario_distance(const char *a, const char *b);

#endif

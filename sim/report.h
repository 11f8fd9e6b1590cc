/* report.h - what runs came to, on one screen or as JSON. */
#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include "sim/swarm.h"

/* `scenario`: its name as it was given, or NULL: all was drawn. */
void report_run(const struct sim_result *r, const char *scenario, bool json);
void report_swarm(const struct swarm_result *r, const char *scenario,
                  bool json);
const char *report_verdict(enum sim_verdict verdict);

#endif

/* draw.h - a run as one HTML file that needs nothing else: the page (draw.html, which the build puts into the program) and, in it, what
 * was recorded, as one JSON object in <script id="run">.
 *
 *    seed .. trace             as replay tells them; a failure's time is at_us
 *    scenario                  its name as it was given; empty: all was drawn
 *    options, coverage         by name
 *    kinds, fates, ops, ...    what the numbers below mean, by position
 *    events                    [at_us, kind, who, a, b, c, d], zeros at the end left out: see trace.h
 *    messages, heartbeats      10 numbers each, one behind the other: sent_us less that of the one before, from, to, type, fate, flags, us
 *                              until its fate was known, term, index, entries
 *    lines                     [at_us, node, text]
 *    dropped                   how many of each list the recorder hadn't room for: the oldest */
#ifndef SIM_DRAW_H
#define SIM_DRAW_H

#include <stdio.h>

#include "sim/report.h"
#include "sim/trace.h"

/* Made of draw.html by the build. The data goes in place of DRAW_MARK. */
extern const char draw_page[];
#define DRAW_MARK "@RUN@"

/* `scenario`: its name as it was given, or NULL: all was drawn. False: something couldn't be written, and errno says why. */
bool draw_write(FILE *out, const struct sim_trace *t,
                const struct sim_result *r, const char *scenario);

#endif

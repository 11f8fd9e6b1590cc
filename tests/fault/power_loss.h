/* power_loss.h - what a disk may hold after the power went in the middle of journaled work.
 *
 * What was synced is there. Of the rest, each write is there, or not, or torn at a sector; a rename or a new file that the
 * directory was not synced after is there or not. `choice` 0 drops all that may be dropped, 1 keeps all, others draw. */
#ifndef TESTS_FAULT_POWER_LOSS_H
#define TESTS_FAULT_POWER_LOSS_H

#include "tests/fault/disk_fault.h"

/* Writes such a state into the directory, which is empty, from a journal that began with an empty one. */
bool power_loss_image(const struct disk_journal *journal, uint64_t choice,
                      const char *dir);

#endif

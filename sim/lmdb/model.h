/* model.h - sim/store.c under other names, see model_names.h: the shadow of a real store. Its `struct store` isn't raft's; neither is
 * ever given to the other's functions. */
#ifndef SIM_LMDB_MODEL_H
#define SIM_LMDB_MODEL_H

#include "sim/store.h"

struct store *model_open(struct sim_disk *d, struct store_boot *out);
void model_observe(struct store *s, const struct sim_store_hooks *hooks);
void model_crash(struct store *s);
bool model_write(struct store *s);
bool model_boot_entry(struct store *s, raft_index from,
                      struct store_entry *out);
bool model_rows_next(struct store *s, uint64_t *cursor, struct bytes *out_key,
                     struct bytes *out_value);
void model_put_hard_state(struct store *s, raft_term term, raft_id vote);
void model_truncate(struct store *s, raft_index from);
void model_append(struct store *s, const struct store_entry *entry);
void model_put_row(struct store *s, struct bytes key, struct bytes value);
void model_delete_row(struct store *s, struct bytes key);
void model_put_checkpoint(struct store *s, const struct store_checkpoint *c);
void model_put_event(struct store *s, raft_index revision, struct bytes batch);
void model_trim_log(struct store *s, raft_index first);
void model_trim_events(struct store *s, raft_index first);
void model_incoming_begin(struct store *s, const struct store_checkpoint *c);
void model_incoming_row(struct store *s, struct bytes key, struct bytes value);
void model_incoming_install(struct store *s, const struct store_checkpoint *c);
uint64_t model_commit(struct store *s);
bool model_next(struct store *s, struct store_event *out);

#endif

/* model_names.h - read before sim/store.c when it's built for baton-sim-lmdb, where raft's own store has these names. */
#ifndef SIM_LMDB_MODEL_NAMES_H
#define SIM_LMDB_MODEL_NAMES_H

#define sim_store_never          model_never
#define sim_store_open           model_open
#define sim_store_observe        model_observe
#define sim_store_crash          model_crash
#define sim_store_begin          model_begin
#define sim_store_cut            model_cut
#define sim_store_write          model_write
#define sim_store_has_news       model_has_news
#define sim_store_fail           model_fail
#define sim_store_failed         model_failed
#define sim_store_oldest         model_oldest
#define sim_store_set_read_bytes model_set_read_bytes
#define store_draw               model_draw
#define store_boot_entry         model_boot_entry
#define store_rows_next          model_rows_next
#define store_rows_end           model_rows_end
#define store_put_hard_state     model_put_hard_state
#define store_truncate           model_truncate
#define store_append             model_append
#define store_put_row            model_put_row
#define store_delete_row         model_delete_row
#define store_put_checkpoint     model_put_checkpoint
#define store_put_event          model_put_event
#define store_trim_log           model_trim_log
#define store_trim_events        model_trim_events
#define store_incoming_begin     model_incoming_begin
#define store_incoming_row       model_incoming_row
#define store_incoming_install   model_incoming_install
#define store_commit             model_commit
#define store_batch              model_batch
#define store_room               model_room
#define store_read_log           model_read_log
#define store_read_events        model_read_events
#define store_read_rows          model_read_rows
#define store_read_incoming      model_read_incoming
#define store_next               model_next
#define store_stats              model_stats

#endif

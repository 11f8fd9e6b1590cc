/* deadlines.h - when each lease runs out: the Raft leader's own table, never in the log.
 *
 *    heard (a renewal, not logged) ---.
 *    logged (opened, touched, any      +--> deadline = last of them + TTL --> expired: propose ExpireLease
 *            command of the lease) ---'
 *
 * A hashed timing wheel of leases, by their registry slots, kept on every node; only the leader asks what has expired. A
 * renewal writes one field; the wheel finds out when the old deadline comes up. A new leader gives every lease its full TTL
 * again by moving one number (`takeover`), so taking over costs nothing however many leases there are.
 *
 * How long can a dead lease ride on repeated leader changes? A renewal is acknowledged without a log entry only while the
 * lease's last logged proof of life is at most DEADLINES_UNLOGGED_MS old (cluster time); past that it's logged first
 * (deadlines_must_log). So whoever was acknowledged at t was logged no earlier than t - DEADLINES_UNLOGGED_MS, and a new leader need
 * not give more than logged + DEADLINES_UNLOGGED_MS + TTL. Leaders log who renewed (Touched) every DEADLINES_TOUCH_MS, so
 * the rule is met without anybody waiting.
 *
 * Pure; owns the memory given at init. Invariant: a lease is in exactly one bucket, or expiring, or absent. */
#ifndef SESSION_DEADLINES_H
#define SESSION_DEADLINES_H

#include "proto/base.h"

struct deadlines;

#define DEADLINES_TOUCH_MS    15000
#define DEADLINES_UNLOGGED_MS 30000

/* Bytes for slots 1 .. leases_n; zeroed memory, may be lazily backed. */
size_t deadlines_bytes(uint32_t leases_n);
struct deadlines *deadlines_init(void *memory, uint32_t leases_n,
                                 uint64_t now_ms);

/* The lease in `slot` exists since, or gave proof of life in, an entry stamped cluster_ms. */
void deadlines_logged(struct deadlines *d, uint32_t slot, uint32_t ttl_ms,
                      uint64_t cluster_ms, uint64_t now_ms);
/* A Touched entry stamped cluster_ms named it: proof of life of some time before, so that it moves what a new leader inherits, and not the
 * deadline. */
void deadlines_touched_at(struct deadlines *d, uint32_t slot,
                          uint64_t cluster_ms);
void deadlines_remove(struct deadlines *d, uint32_t slot);

/* We lead since now_ms, which is cluster_ms in cluster time; also called after our own loop stood still for long: silence while
 * nobody listened counts against nobody. */
void deadlines_takeover(struct deadlines *d, uint64_t now_ms,
                        uint64_t cluster_ms);

/* A renewal that reached us at now_ms is about to be acknowledged. False: the lease is expiring (ask again) or unknown. */
bool deadlines_heard(struct deadlines *d, uint32_t slot, uint64_t now_ms);

/* True if a renewal at cluster time cluster_ms must be logged before it's acknowledged. */
bool deadlines_must_log(const struct deadlines *d, uint32_t slot,
                        uint64_t cluster_ms);
bool deadlines_expiring(const struct deadlines *d, uint32_t slot);

/* Leases whose deadline has passed, at most `max`; each is marked expiring, and reported once, until deadlines_rearm() or
 * _remove(). */
uint32_t deadlines_expired(struct deadlines *d, uint64_t now_ms,
                           uint32_t *out_slots, uint32_t max);
/* The expiry came to nothing (the lease gave proof of life in the log meanwhile, or we don't lead any more). */
void deadlines_rearm(struct deadlines *d, uint32_t slot, uint64_t now_ms);

/* Slots heard since they were last logged, from *cursor (0 first) on, at most `max`; looking clears the marks. */
uint32_t deadlines_touched(struct deadlines *d, uint32_t *cursor,
                           uint32_t *out_slots, uint32_t max);

/* When the lease runs out, on the node's clock; UINT64_MAX: unknown. */
uint64_t deadlines_of(const struct deadlines *d, uint32_t slot);
void deadlines_check(const struct deadlines *d);

#endif

#include "node/turn.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"

#define STOP_TRANSFER_MS 800u
#define FAIL_HANDOVER_MS 300u

/* --- small things -------------------------------------------------------------------------------------------------------- */

void turn_options_default(struct turn_options *out)
{
    memset(out, 0, sizeof *out);
    out->election_ms = 1000;
    out->heartbeat_ms = 100;
    out->clock_drift_ppm = 10000;
    out->append_entries_max = 4096;
    out->inflight_max = 256;
    out->registry_limits = (struct registry_limits)REGISTRY_LIMITS_DEFAULT;
    out->checkpoint_entries = 8192;
    out->log_keep_entries = 16384;
    out->events_keep_n = 1000000;
    out->events_keep_ms = 7ull * 24 * 3600 * 1000;
    out->entries_bytes = 64u << 20;
    out->entries_n = 1u << 18;
    out->events_bytes = 64u << 20;
    out->pending_max = 1u << 16;
    out->reads_max = 1u << 16;
    out->watches_max = 1u << 16;
    out->watches_per_connection_max = 1024;
    out->watch_room_bytes = WATCH_ROOM_BYTES;
    out->log_level = 2;
}

void turn_log(struct turn *t, int level, const char *format, ...)
{
    char line[1024];
    va_list args;
    if (t->options.log == NULL || level > t->options.log_level) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    t->options.log(t->options.log_arg, level, line);
}

/* The one that this replaces, or is again; else NULL. */
static struct alarm *alarm_like(struct turn *t, const struct alarm *alarm)
{
    for (uint32_t i = 0; i < t->alarms_n; i++) {
        struct alarm *a = &t->alarms[i];
        bool same_kind =
            a->about != 0 && a->about == alarm->about && a->kind == alarm->kind;
        if (same_kind || strcmp(a->text, alarm->text) == 0) {
            return a;
        }
    }
    return NULL;
}

/* The oldest about some node goes first: those about none are about Raft itself, or about us. */
static struct alarm *alarm_place(struct turn *t)
{
    if (t->alarms_n < ALARMS_MAX) {
        return &t->alarms[t->alarms_n++];
    }
    uint32_t oldest = 0;
    while (oldest < ALARMS_MAX - 1 && t->alarms[oldest].about == 0) {
        oldest++;
    }
    memmove(&t->alarms[oldest], &t->alarms[oldest + 1],
            sizeof t->alarms[0] * (ALARMS_MAX - 1 - oldest));
    return &t->alarms[ALARMS_MAX - 1];
}

void turn_alarm(struct turn *t, raft_id about, const char *format, ...)
{
    struct alarm alarm = {.kind = format, .about = about};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(alarm.text, sizeof alarm.text, format, args);
    va_end(args);
    struct alarm *known = alarm_like(t, &alarm);
    if (known != NULL && strcmp(known->text, alarm.text) == 0) {
        return; /* said already */
    }
    *(known != NULL ? known : alarm_place(t)) = alarm;
    turn_log(t, 0, "alarm text=\"%s\"", alarm.text);
}

/* Drops alarms about `about`, or with 0 about all that are no members. */
static void end_alarms(struct turn *t, raft_id about)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->alarms_n; i++) {
        const struct alarm *a = &t->alarms[i];
        bool over = about != 0 ? a->about == about
                               : a->about != 0 && !turn_is_member(t, a->about);
        if (over) {
            turn_log(t, 1, "alarm_over text=\"%s\"", a->text);
        } else {
            t->alarms[kept++] = t->alarms[i];
        }
    }
    t->alarms_n = kept;
}

void turn_alarms_end(struct turn *t, raft_id about)
{
    ASSERT(about != 0);
    end_alarms(t, about);
}

void turn_alarms_end_of_strangers(struct turn *t)
{
    end_alarms(t, 0);
}

void turn_die(struct turn *t, const char *format, ...)
{
    va_list args;
    if (t->fatal[0] != 0) {
        return; /* the first reason is the one that matters */
    }
    va_start(args, format);
    (void)vsnprintf(t->fatal, sizeof t->fatal, format, args);
    va_end(args);
}

/* This node is wrong, and knows it: it answers on the admin socket and by HTTP how it is, and neither votes nor leads nor applies. */
void turn_quarantine(struct turn *t, const char *reason)
{
    if (t->quarantined) {
        return;
    }
    struct raft_in in = turn_in(t);
    t->quarantined = true;
    (void)snprintf(t->quarantine_reason, sizeof t->quarantine_reason, "%s",
                   reason);
    turn_alarm(t, 0,
               "this node keeps out of the cluster: %s; stop it, remove it "
               "and add it anew",
               reason);
    raft_step_down(t->raft, &in, "quarantined", &t->out);
    raft_mute(t->raft);
}

struct raft_in turn_in(struct turn *t)
{
    return (struct raft_in){.now_ms = t->now_ms,
                            .batch = store_batch(t->store)};
}

uint64_t turn_cluster_ms(const struct turn *t)
{
    uint64_t run = t->now_ms - t->clock_base_ms;
    return max_u64(t->clock_base_cluster_ms + run, entries_time_ms(t->entries));
}

void turn_clock_observe(struct turn *t, uint64_t cluster_ms)
{
    /* Back as well as forth: a follower whose clock runs fast would otherwise lead the cluster's time by more and more, and as
     * leader take its lead for silence of everybody. turn_cluster_ms() never goes below a stamp. */
    t->clock_base_cluster_ms = cluster_ms;
    t->clock_base_ms = t->now_ms;
}

const char *turn_fatal(const struct turn *t)
{
    return t->fatal[0] == 0 ? NULL : t->fatal;
}

const struct raft *turn_raft(const struct turn *t)
{
    return t->raft;
}

const struct registry *turn_registry(const struct turn *t)
{
    return t->registry;
}

raft_index turn_applied(const struct turn *t)
{
    return t->applied;
}

/* --- a turn ---------------------------------------------------------------------------------------------------------------------- */

void turn_begin(struct turn *t, uint64_t now_ms, uint64_t wall_ms)
{
    ASSERT(now_ms >= t->now_ms);
    t->now_ms = now_ms;
    t->wall_ms = wall_ms;
    t->counters.turns++;
}

void turn_clock(struct turn *t, uint64_t now_ms)
{
    ASSERT(now_ms >= t->now_ms);
    t->now_ms = now_ms;
}

static void peer_up(struct turn *t, raft_id node, bool up)
{
    struct catchup *c = turn_catchup(t, node);
    struct raft_in in = turn_in(t);
    if (c != NULL) {
        c->up = up;
        c->answers = false;
    }
    turn_catchup_reset(t, node);
    turn_snapshot_stop(t, node);
    turn_log(t, 2, "peer_%s node=%u", up ? "up" : "down", node);
    if (up) {
        raft_peer_up(t->raft, &in, node, &t->out);
        turn_act(t);
    } else {
        raft_peer_down(t->raft, node);
    }
}

void turn_input(struct turn *t, const struct transport_input *input)
{
    switch (input->type) {
    case TRANSPORT_PEER_UP:
        if (!turn_peer_refused(t, input)) {
            peer_up(t, input->node, true);
        }
        break;
    case TRANSPORT_PEER_DOWN:
        peer_up(t, input->node, false);
        break;
    case TRANSPORT_PEER_HELLO:
        turn_peer_hello(t, input);
        break;
    case TRANSPORT_PEER_FRAME:
        turn_peer_frame(t, input->node, input->body);
        break;
    case TRANSPORT_CLIENT_FRAME:
        turn_client_frame(t, input->conn, input->body);
        break;
    case TRANSPORT_CLIENT_CLOSED:
        watches_close_conn(t->watches, input->conn);
        break;
    case TRANSPORT_ADMIN_FRAME:
        status_admin(t, input->conn, input->body);
        break;
    case TRANSPORT_HTTP:
        turn_http(t, input->conn, input->body);
        break;
    case TRANSPORT_CLIENT_OPEN:
    case TRANSPORT_CLIENT_ROOM: /* turn_end() looks at every watch that lags */
    case TRANSPORT_WAKE:
        break;
    }
}

static void stored(struct turn *t, const struct store_event *event)
{
    ASSERT(event->batch >= t->stored_batch);
    struct raft_in in = turn_in(t);
    t->stored_batch = event->batch;
    t->stored = t->batch_last[event->batch % countof(t->batch_last)];
    raft_stored(t->raft, &in, event->batch, t->stored, &t->out);
    turn_act(t);
    turn_release_held(t);
    turn_checkpoint_stored(t);
    turn_install_stored(t);
}

static void store_read_back(struct turn *t, const struct store_event *event)
{
    struct watch_env env;
    switch (TAG_KIND(event->tag)) {
    case TAG_APPLY:
        turn_apply_read(t, event);
        break;
    case TAG_PEER_LOG:
        turn_catchup_read(t, event);
        break;
    case TAG_PEER_ROWS:
        turn_snapshot_rows(t, event);
        break;
    case TAG_INCOMING:
        turn_install_where(t, event);
        break;
    case TAG_HISTORY:
        turn_history_read(t, event);
        break;
    case TAG_WATCH:
        env = turn_watch_env(t);
        watches_read(t->watches, &env, TAG_ID(event->tag), event);
        break;
    }
}

/* The disk failed us for good. What isn't stored was acknowledged to nobody, and nothing more will be: all that's left to do is
 * to hand leadership to a node whose disk works, rather than let the others wait for an election timeout. */
static void store_failed(struct turn *t, const struct store_event *event)
{
    struct raft_in in = turn_in(t);
    if (t->failure[0] != 0) {
        return;
    }
    (void)snprintf(t->failure, sizeof t->failure, "%s", event->error);
    t->failed_ms = t->now_ms;
    turn_log(t, 0, "store_failed reason=\"%s\"", t->failure);
    if (raft_role_now(t->raft) == RAFT_LEADER &&
        raft_transfer(t->raft, &in, 0, &t->out) == BATON_OK) {
        turn_act(t);
    }
}

static void end_if_failed(struct turn *t)
{
    if (t->failure[0] != 0 && (raft_role_now(t->raft) != RAFT_LEADER ||
                               t->now_ms >= t->failed_ms + FAIL_HANDOVER_MS)) {
        turn_die(t, "%s", t->failure);
    }
}

void turn_store(struct turn *t, const struct store_event *event)
{
    switch (event->type) {
    case STORE_STORED:
        stored(t, event);
        break;
    case STORE_READ:
        store_read_back(t, event);
        break;
    case STORE_FAILED:
        store_failed(t, event);
        break;
    }
}

static void tick(struct turn *t)
{
    struct raft_in in = turn_in(t);
    raft_tick(t->raft, &in, &t->out);
    turn_act(t);
    if (raft_leader(t->raft) != t->peers_leader) {
        turn_members_changed(t);
    }
    turn_duties(t);
    turn_members_tick(t);
    turn_pending_tick(t);
    turn_reads_tick(t);
    turn_snapshot_tick(t);
}

static void flush_raft(struct turn *t)
{
    struct raft_in in = turn_in(t);
    raft_flush(t->raft, &in, &t->out);
    turn_act(t);
}

void turn_end(struct turn *t)
{
    tick(t);
    /* The leader's appends leave before its own batch is on disk (Raft thesis 10.2.1). */
    flush_raft(t);
    transport_flush(t->transport);
    turn_commit_batch(t);
    turn_apply(t);
    turn_reads_serve(t);
    struct watch_env env = turn_watch_env(t);
    t->pump_more = watches_pump(t->watches, &env);
    if (t->quarantined) {
        struct raft_in in = turn_in(t);
        raft_step_down(t->raft, &in, "quarantined", &t->out);
    }
    turn_act(t);
    turn_commit_batch(t);
    transport_flush(t->transport);
    end_if_failed(t);
    t->last_turn_ms = t->now_ms;
}

uint64_t turn_deadline_ms(const struct turn *t)
{
    if (t->pump_more ||
        (t->applied < raft_commit(t->raft) && turn_may_apply(t))) {
        return t->now_ms;
    }
    uint64_t at = raft_deadline_ms(t->raft);
    if (t->leading) {
        at = min_u64(at, t->now_ms + 50);
    }
    if (t->batch_dirty) {
        at = min_u64(at, t->now_ms + 200);
    }
    if (t->pending_n > 0 || t->reads_head < t->reads_tail || t->stopping ||
        t->failure[0] != 0) {
        at = min_u64(at, t->now_ms + 20);
    }
    return at;
}

bool turn_has_room(const struct turn *t)
{
    return store_room(t->store) > (4u << 20) &&
           entries_fits(t->entries, 1, 1u << 20, t->applied) &&
           t->held_n < HELD_MAX / 2;
}

/* --- stopping ----------------------------------------------------------------------------------------------------------------------- */

void turn_stop(struct turn *t)
{
    if (t->stopping) {
        return;
    }
    struct raft_in in = turn_in(t);
    t->stopping = true;
    t->stop_ms = t->now_ms;
    turn_log(t, 2, "stopping leader=%d", raft_role_now(t->raft) == RAFT_LEADER);
    if (raft_role_now(t->raft) == RAFT_LEADER) {
        t->transfer_sent = raft_transfer(t->raft, &in, 0, &t->out) == BATON_OK;
        turn_act(t);
    }
}

bool turn_stopped(const struct turn *t)
{
    if (!t->stopping) {
        return false;
    }
    bool waits = t->transfer_sent && raft_role_now(t->raft) == RAFT_LEADER &&
                 t->now_ms < t->stop_ms + STOP_TRANSFER_MS;
    bool writes = t->batch_dirty || store_batch(t->store) > t->stored_batch + 1;
    return !waits &&
           (!writes || t->now_ms >= t->stop_ms + STOP_TRANSFER_MS + 200);
}

void turn_check(const struct turn *t)
{
    raft_check(t->raft);
    registry_check(t->registry);
    deadlines_check(t->deadlines);
    ASSERT(t->applied <= raft_commit(t->raft)); /* R8 */
    ASSERT(registry_applied(t->registry) == t->applied);
    ASSERT(entries_last(t->entries) == raft_last(t->raft));
}

bool turn_log_level(const struct turn *t, uint32_t *out_level)
{
    if (t->log_level_set) {
        *out_level = (uint32_t)t->options.log_level;
    }
    return t->log_level_set;
}

bool turn_expects_soon(const struct turn *t)
{
    return t->pending_n > 0 || t->held_n > 0 ||
           store_batch(t->store) > t->stored_batch + 1;
}

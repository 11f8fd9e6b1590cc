/* turn_state.h - the inside of a node's turn. For node/turn_*.c only.
 *
 * Each file has one part: turn.c the order; turn_boot.c the start; turn_raft.c what the core asks for; turn_peer.c what peers say; turn_catchup.c peers that are behind,
 * by log and by snapshot; turn_install.c ourselves behind, by snapshot; turn_apply.c committed entries and checkpoints; turn_client.c
 * requests; turn_read.c reads that wait for their round; turn_answer.c replies; turn_duty.c what only a leader does; turn_status.c
 * how it is. Events in memory and watches have modules of their own (history.h, watches.h). */
#ifndef NODE_TURN_STATE_H
#define NODE_TURN_STATE_H

#include "node/entries.h"
#include "node/history.h"
#include "node/turn.h"
#include "node/watches.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "session/deadlines.h"

#define HELD_MAX       4096 /* sends that wait for the disk */
#define CATCHUP_QUEUE  64
#define HASHES_MAX     16
#define ALARMS_MAX     16
#define PATH_BYTES_MAX (3 * NAME_BYTES_MAX)

/* Members whose addresses a configuration may name, and what it then takes at most. */
#define WIRE_MEMBERS_MAX (2 * RAFT_NODES_MAX)
#define CONFIG_BYTES_MAX 16384

/* Scratch for one encoded frame, and arenas of one input, of one apply and of one answer. */
#define FRAME_SCRATCH_BYTES (FRAME_PEER_BYTES_MAX + 4096u)
#define ARENA_INPUT_BYTES   (64u << 20)
#define ARENA_APPLY_BYTES   (8u << 20)
#define ARENA_ANSWER_BYTES  (16u << 20)
#define ARENA_DUTY_BYTES    (1u << 20)

/* A message that promises something, until batch `after` is on disk. */
struct held {
    struct raft_message message;
    uint64_t after;
};

/* What a peer is sent from the disk, because memory no longer has it, and what must wait behind it. */
/* Who a node says it is; incarnation 0: nobody said so yet. */
struct peer_self {
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
};

struct catchup {
    raft_id node; /* 0: unused */
    struct raft_message queue[CATCHUP_QUEUE];
    uint32_t head;
    uint32_t n;
    /* of the first in the queue: what was sent already ends before it */
    raft_index next;
    bool reading;

    /* A snapshot on its way to it. */
    bool snapshot;
    bool snapshot_reading;
    /* config not held: see turn.checkpoint_config */
    struct store_checkpoint checkpoint;
    uint8_t last_key[64];
    uint32_t last_key_n;
    uint64_t acked_ms;

    struct peer_self self; /* as it said when it opened its stream */
    bool spoke;            /* on that stream, and since it is a member */
    bool stale_leader;     /* it leads a term that is over, and is said to */
    char settings
        [TURN_SETTINGS_BYTES]; /* that must be the same on all nodes, as it said; "": it didn't yet */
    bool up;
    bool answers;          /* it said something since our stream to it is up */
    raft_index applied;    /* as last told */
    raft_index hash_index; /* its state hash, as last compared */
    uint64_t hash;
    bool quarantined;
    /* why its state is wrong, as it is told; empty: it is not */
    char verdict[160];
};

/* What the log's tail at boot, which isn't applied yet, says of a node's past: the last word. */
struct tail_seen {
    raft_id node;
    struct node_past past; /* incarnation 0: the tail names none */
    bool removed;          /* it's to be forgotten, if that is committed */
    bool gone; /* it is: whoever comes under its number is the first */
};

/* A client's command that was proposed and isn't applied yet. */
struct pending {
    raft_index index; /* 0: free */
    raft_term term;
    uint64_t conn;
    uint64_t id;
    uint64_t deadline_ms;
    uint64_t received_ms;
    uint64_t renew; /* not 0: answer as Renew number `renew` once applied */
    uint64_t lease;
};

enum read_kind {
    READ_LEADER = 1,
    READ_SESSIONS,
    READ_EXPLAIN,
    READ_VERIFY,
    READ_CLAIM,
    READ_POLICY,
    READ_STATE,
    READ_RENEW,
    READ_UPDATED, /* no question: an update that changed nothing when it came; epoch: the attachment */
};

/* A read that waits for its round. HTTP ones have `http` set and a ticket in conn. */
struct read {
    uint64_t ticket; /* 0: stale, serve at once */
    uint64_t conn;
    uint64_t id;
    uint64_t deadline_ms;
    uint64_t received_ms;
    uint64_t session;
    uint64_t epoch;
    uint64_t lease;
    uint64_t cursor; /* RENEW: its number */
    uint32_t limit;
    uint8_t kind;
    uint8_t consistency;
    bool http;
    bool done;
    uint8_t namespace_n;
    uint8_t group_n;
    uint8_t device_n;
    char names[PATH_BYTES_MAX +
               3]; /* a byte more each, so that one too long is seen to be */
};

/* A read of old history that waits for the disk. */
#define HISTORY_READS_MAX 64
struct history_read {
    bool used;
    uint64_t serial; /* tells a slot's owners apart in store answers */
    uint64_t conn;
    uint64_t id;
    uint64_t deadline_ms;
    raft_index from;
    raft_index to;
    uint32_t limit;
    char namespace_name[NAME_BYTES_MAX + 1];
    char group[NAME_BYTES_MAX + 1];
};

struct state_hash {
    raft_index index;
    uint64_t hash;
};

/* Tags of store reads: kind in the high byte. */
enum read_tag {
    TAG_APPLY = 1,
    TAG_PEER_LOG,
    TAG_PEER_ROWS,
    TAG_INCOMING,
    TAG_HISTORY,
    TAG_WATCH,
};
#define TAG(kind, id) (((uint64_t)(kind) << 56) | (uint64_t)(id))
#define TAG_KIND(tag) ((enum read_tag)((tag) >> 56))
#define TAG_ID(tag)   ((tag) & ((1ull << 56) - 1))

/* Why a request isn't done: as status_text() takes it. */
struct refusal {
    enum baton_status status;
    uint32_t reason;
    int64_t detail;
};

struct counters {
    uint64_t requests;
    uint64_t requests_bad;
    uint64_t commands;
    uint64_t commands_refused;
    uint64_t duplicates;
    uint64_t reads;
    uint64_t reads_stale;
    uint64_t reads_failed;
    uint64_t renewals;
    uint64_t renewals_refused;
    uint64_t expired;
    uint64_t unknown;
    uint64_t events;
    uint64_t grants;
    uint64_t claims_rejected;
    uint64_t elections; /* times we became leader */
    uint64_t checkpoints;
    uint64_t snapshots_sent;
    uint64_t snapshots_installed;
    uint64_t undecodable;
    uint64_t turns;
    uint64_t stalls; /* our own loop stood still */
    uint64_t entries_applied;
};

struct turn {
    struct turn_options options;
    struct store *store;
    struct transport *transport;
    struct raft *raft;
    void *raft_memory;
    struct registry *registry;
    void *registry_memory;
    size_t registry_memory_bytes;
    struct deadlines *deadlines;
    void *deadlines_memory;
    size_t deadlines_memory_bytes;
    struct entries *entries;
    struct history *history;
    struct watches *watches;

    struct arena input; /* decoded message of one input, and what it leads to */
    struct arena apply; /* decoded command of one entry */
    /* what a leader proposes of itself, while it's being proposed */
    struct arena duty;
    struct arena answer; /* an answer being built; rows of a checkpoint */
    uint8_t *frame;      /* FRAME_SCRATCH_BYTES: one encoded message */
    uint8_t *command;    /* FRAME_CLIENT_BYTES_MAX: one encoded command */

    struct raft_out out;
    /* the APPEND being received: has the bytes that the core asks to append */
    const Pb__PeerFrame *incoming;
    struct registry_out result;

    uint64_t now_ms;
    uint64_t last_turn_ms;
    uint64_t wall_ms;
    struct peer_self me;
    char settings[TURN_SETTINGS_BYTES]; /* that must be the same on all nodes */
    /* No member said otherwise: what a leader's lease builds on. */
    bool settings_agree;
    uint64_t started_ms;

    /* Cluster time: the last stamp plus what our clock has run since then. */
    uint64_t clock_base_cluster_ms;
    uint64_t clock_base_ms;

    bool urgent;      /* the open batch has something that others wait for */
    bool batch_dirty; /* it has something at all */
    uint64_t batch_since_ms;
    uint64_t stored_batch;
    struct raft_pos stored; /* last entry known stored */
    /* last entry of each batch on its way, by number */
    struct raft_pos batch_last[64];
    raft_index applied;
    bool apply_reading; /* entries to apply are being read back */

    struct held held[HELD_MAX];
    uint32_t held_head;
    uint32_t held_n;

    struct catchup catchups[RAFT_NODES_MAX * 2];

    struct turn_member members[RAFT_NODES_MAX * 2];
    uint64_t met_ms[RAFT_NODES_MAX *
                    2]; /* when each said itself where it is; 0: it didn't */
    uint32_t members_n;
    struct tail_seen tail_seen[2 * RAFT_NODES_MAX];
    uint32_t tail_seen_n;
    raft_index tail_last;
    raft_id peers_leader; /* who led when peers were last set */

    /* The last checkpoint, and the configuration that belongs to it. */
    struct store_checkpoint checkpoint;
    uint8_t checkpoint_config[CONFIG_BYTES_MAX];
    uint64_t checkpoint_batch; /* in which it goes to disk; 0: it's there */
    raft_index checkpoint_stored;
    bool pinned; /* a snapshot is being sent from it: no newer one yet */
    uint64_t pinned_until_ms;
    struct state_hash hashes[HASHES_MAX];
    uint32_t hashes_n;
    struct {
        raft_index index;
        uint64_t time_ms;
    } event_marks[256]; /* when old history was made, for trimming by age */
    uint32_t event_marks_n;
    raft_index events_stored; /* written to the open or an earlier batch */
    raft_index horizon;       /* oldest revision kept on disk; 0: none yet */

    /* Installing rows that a leader sent. */
    bool receiving;  /* chunks are being taken */
    bool installing; /* the install is in a batch on its way */
    uint64_t install_batch;
    uint64_t incoming_batch; /* ack when it's stored; 0: none */
    raft_id incoming_from;
    struct store_checkpoint incoming_checkpoint;
    uint8_t incoming_config[CONFIG_BYTES_MAX];
    uint8_t incoming_key[64];
    uint32_t incoming_key_n;

    struct pending *pending;
    uint64_t pending_n;
    raft_index pending_high; /* highest index ever waited for */
    uint64_t pending_scan_ms;
    struct read *reads;
    uint64_t reads_scan_ms;
    uint64_t reads_head; /* counted without wrapping */
    uint64_t reads_tail;
    uint64_t confirmed_ticket;
    raft_index confirmed_index;
    struct history_read history_reads[HISTORY_READS_MAX];
    uint64_t history_serial;

    /* Leader's duties. */
    bool leading; /* role, as acted upon */
    raft_term leading_term;
    raft_index term_index; /* of its TermStart */
    uint64_t led_since_ms;
    uint64_t touch_ms; /* next Touched */
    /* last of our own commands in flight; none while applied < it */
    raft_index duty_index;
    uint64_t duty_scan_ms;
    Pb__Command due[DUE_MAX];
    struct {
        uint64_t lease;
        uint32_t slot;
        raft_index index;
    } expiring[1024];
    uint32_t expiring_n;
    struct {
        uint64_t session;
        uint64_t epoch;
        uint64_t lease;
        uint64_t cluster_ms;
        uint64_t now_ms;
    } claims
        [1024]; /* true claims of late, by hash of the session: the other side of a dispute */

    struct recorded {
        uint64_t since_ms;
        uint64_t scope; /* its hash, whole */
        uint32_t n;
    } recorded[1024]; /* false claims of late, by hash of the scope */

    bool log_level_set; /* over the admin socket */
    bool pump_more;     /* watches could go on at once */
    bool stopping;
    bool transfer_sent;
    uint64_t stop_ms;
    uint64_t transfer_conn; /* who asked for a transfer */
    uint64_t transfer_id;
    /* who asked for a membership change, until it's committed */
    uint64_t member_conn;
    uint64_t member_id;
    raft_index member_index;
    raft_term member_term;
    bool quarantined;
    char quarantine_reason[160];
    /* One of a kind about a node; those of before are replaced. */
    struct alarm {
        const char *kind; /* its format */
        /* ends when that node is well or gone; 0: with the process */
        raft_id about;
        char text[320];
    } alarms[ALARMS_MAX];
    uint32_t alarms_n;
    char failure[512]; /* the store's, once it failed */
    uint64_t failed_ms;
    char fatal[512];
    struct counters counters;
};

/* Types of PeerFrame beyond those of the core. */
#define PEER_SNAPSHOT_ACK                                                      \
    20 /* chunk.index: the checkpoint; chunk.from_key: the last row stored */

/* turn.c */
uint64_t turn_cluster_ms(const struct turn *t);
/* A stamp was seen: cluster time isn't earlier than it. */
void turn_clock_observe(struct turn *t, uint64_t cluster_ms);
struct raft_in turn_in(struct turn *t);
void turn_log(struct turn *t, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Said once, and shown until the node that it's about is well again or gone; about 0: until the process ends. */
void turn_alarm(struct turn *t, raft_id about, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void turn_alarms_end(struct turn *t, raft_id about);
/* Those about nodes that aren't members any more. */
void turn_alarms_end_of_strangers(struct turn *t);
void turn_die(struct turn *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void turn_quarantine(struct turn *t, const char *reason);
bool turn_leads(
    const struct turn *t); /* leads, and its term has begun in the registry */

/* turn_raft.c: acts on t->out, and empties it. After every step of the core. */
void turn_act(struct turn *t);
void turn_commit_batch(struct turn *t);
void turn_release_held(struct turn *t);
void turn_send_peer(struct turn *t, raft_id to, Pb__PeerFrame *frame);
/* Proposes one entry. OK and *out_index, or NOT_LEADER, BUSY. Bytes are copied. */
MUST_USE enum baton_status turn_propose(struct turn *t, enum raft_kind kind,
                                        struct bytes data,
                                        raft_index *out_index);
MUST_USE enum baton_status turn_propose_command(struct turn *t,
                                                const Pb__Command *command,
                                                raft_index *out_index);
/* An entry of our own log position: its bytes go to memory and to the open batch. */
void turn_append_entry(struct turn *t, const struct store_entry *entry);
void turn_put_config(struct turn *t, const struct raft_config *config,
                     raft_index index);

/* turn_wire.c: messages of the core to frames and back, configurations to bytes and back. */
void wire_from_message(const struct raft_message *m, Pb__PeerFrame *out);
bool wire_to_message(const Pb__PeerFrame *frame, raft_id from, raft_id to,
                     struct raft_message *out);
struct wire_members {
    const struct turn_member *members; /* whose addresses go along */
    uint32_t n;
    raft_index previous; /* configuration that this one replaces */
};
size_t wire_config(const struct raft_config *config, struct wire_members with,
                   uint8_t *out, size_t out_bytes, struct arena *scratch);
bool wire_to_config(struct bytes data, raft_index index, struct arena *scratch,
                    struct raft_config *out, Pb__ConfigData **out_message);

/* turn_peer.c */
void turn_peer_frame(struct turn *t, raft_id from, struct bytes body);
/* Is it one that forgot (R21)? Then its streams are closed, and it's told nothing: whoever of us two dialled first. */
bool turn_peer_refused(struct turn *t, const struct transport_input *input);
/* At our start: if what we drew last is on record, we draw again. False: it can't be written. */
bool turn_draw(struct turn *t);
void turn_peer_hello(struct turn *t, const struct transport_input *input);
/* A voter or learner of the configuration in the log. */
bool turn_is_member(const struct turn *t, raft_id node);
struct catchup *turn_catchup(struct turn *t,
                             raft_id node); /* NULL: too many peers */
void turn_members_changed(struct turn *t);
/* Before a NodeSeen is applied. */
void turn_node_seen(struct turn *t, const Pb__NodeSeen *seen);
void turn_check_peers(struct turn *t);

/* turn_catchup.c */
void turn_send_append(struct turn *t, const struct raft_message *m);
void turn_catchup_read(struct turn *t, const struct store_event *event);
void turn_snapshot_start(struct turn *t, raft_id node);
void turn_snapshot_rows(struct turn *t, const struct store_event *event);
void turn_snapshot_ack(struct turn *t, raft_id from,
                       const Pb__PeerFrame *frame);
void turn_snapshot_tick(struct turn *t);
/* What was on its way may be lost: the core asks for it again. */
void turn_snapshot_stop(struct turn *t, raft_id node);
void turn_catchup_reset(struct turn *t, raft_id node);

/* turn_install.c */
void turn_install_chunk(struct turn *t, raft_id from,
                        const Pb__SnapshotChunk *chunk);
void turn_install_stored(struct turn *t);
void turn_install_where(struct turn *t, const struct store_event *event);

/* turn_apply.c */
struct watch_env turn_watch_env(struct turn *t);
void turn_apply(struct turn *t);
bool turn_may_apply(const struct turn *t);
void turn_apply_read(struct turn *t, const struct store_event *event);
void turn_checkpoint_stored(struct turn *t);
bool turn_load_rows(struct turn *t, raft_index applied);

/* turn_client.c */
void turn_client_frame(struct turn *t, uint64_t conn, struct bytes body);
void turn_pending_applied(struct turn *t, raft_index index, raft_term term,
                          const struct reply *reply);
void turn_pending_tick(struct turn *t);
/* What was waited for up to `applied` came with a snapshot: nobody can say any more what became of it. */
void turn_pending_unknown(struct turn *t, raft_index applied);

/* turn_member.c */
const struct turn_member *turn_member_find(const struct turn *t,
                                           raft_id id); /* NULL: not known */
void turn_members_learn(struct turn *t, const Pb__ConfigData *config);
/* `node` speaks to us, and says where it waits for the answer. */
void turn_member_met(struct turn *t, raft_id node, const Pb__Member *sender);
/* Lately it did. */
bool turn_met_lately(const struct turn *t, const struct turn_member *m);
void turn_request_transfer(struct turn *t, uint64_t conn,
                           const Pb__ClientRequest *request);
void turn_request_members(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request);
void turn_members_tick(struct turn *t);

/* turn_read.c */
void turn_read_request(struct turn *t, const struct read *want,
                       const Pb__Path *path);
void turn_reads_failed(struct turn *t, uint64_t ticket);
void turn_reads_serve(struct turn *t);
void turn_reads_tick(struct turn *t);
void turn_history_request(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request);
void turn_history_read(struct turn *t, const struct store_event *event);

/* turn_answer.c */
void answer_init(struct turn *t, Pb__ClientMessage *m, uint64_t id);
bool answer_send(struct turn *t, uint64_t conn, const Pb__ClientMessage *m);
void answer_refuse(struct turn *t, uint64_t conn, uint64_t id,
                   struct refusal refusal);
void answer_not_leader(struct turn *t, uint64_t conn, uint64_t id);
void answer_reply(struct turn *t, uint64_t conn, uint64_t id,
                  const struct reply *reply);
void answer_renew(struct turn *t, uint64_t conn, uint64_t id, uint64_t number,
                  uint32_t ttl_ms);
/* Views to messages; names and arrays in `a`. NULL-safe strings. */
void answer_scope(const struct scope_view *scope, uint64_t time_ms,
                  struct arena *a, Pb__LeaderResult *out, Pb__Path *out_path);
void answer_session(const struct session_view *session, uint64_t time_ms,
                    struct arena *a, Pb__SessionInfo *out);
char *answer_text(struct arena *a, struct bytes text);
size_t answer_caps(const struct capabilities *caps, struct arena *a,
                   Pb__Capability ***out);

/* turn_duty.c */
void turn_role_changed(struct turn *t);
void turn_duties(struct turn *t);
/* Proposes what is known of a node; or that nothing is, any more. */
void turn_log_node(struct turn *t, raft_id node, const struct peer_self *self);
void turn_forget_node(struct turn *t, raft_id node);
void turn_duty_applied(struct turn *t, raft_index index,
                       const Pb__Command *command);
/* A claim was judged: a true one is remembered, a false one put on record. */
void turn_claimed(struct turn *t, enum cause cause, const Pb__Path *path,
                  const struct read *read, const struct scope_view *scope);

/* turn_status.c */
void status_fill(struct turn *t, struct arena *a, Pb__StatusResult *out);
void status_admin(struct turn *t, uint64_t conn, struct bytes body);
size_t status_metrics(struct turn *t, char *out, size_t out_bytes);
const char *status_role(const struct turn *t);

/* turn_http.c */
void turn_http(struct turn *t, uint64_t ticket, struct bytes path);
void turn_http_answer(struct turn *t, uint64_t ticket,
                      const Pb__ClientMessage *m);
void turn_http_refuse(struct turn *t, uint64_t ticket, enum baton_status status,
                      uint32_t reason, int64_t detail);

#endif

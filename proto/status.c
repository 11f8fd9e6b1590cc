#include "proto/status.h"

#include <string.h>

#include "baton/v1/types.pb-c.h"
#include "proto/base.h"

/* Two lists of the same numbers: one for C programs that know nothing of protobuf, one for the wire. */
#define SAME(name)                                                             \
    _Static_assert((int)BATON_##name == (int)PB__STATUS__##name,               \
                   "status.h and types.proto disagree on " #name)
SAME(OK);
SAME(NOT_LEADER);
SAME(NO_QUORUM);
SAME(UNKNOWN);
SAME(NOT_FOUND);
SAME(EXPIRED);
SAME(STALE_EPOCH);
SAME(CONFLICT);
SAME(NOT_ALLOWED);
SAME(INVALID);
SAME(LIMIT);
SAME(COMPACTED);
SAME(WINDOW);
SAME(BUSY);
SAME(UNSUPPORTED);
SAME(UNAVAILABLE);

#define STATUS_END ((uint32_t)BATON_UNAVAILABLE + 1)

/* A sentence for people. In it, {} stands for the detail as a number; {field} and {range} for the policy field of that number and
 * what it may hold; {weight} for the capability of that number. */
struct sentence {
    enum baton_status status;
    enum baton_reason reason;
    const char *text;
};

#define AN_ADDRESS                                                             \
    "give HOST:PORT, with a host of at most 100 bytes and a port of 1 to "     \
    "65535."
#define A_NAME "give 1 to 128 bytes of UTF-8 without control characters or '/'."
#define A_TEXT "bytes of UTF-8 without control characters."

/* What session/policy.c takes; a test of status_text() holds the two together. By field number. */
static const char *const policy_ranges[] = {
    [1] = "each capability at most once, with -1000 to 1000 points",
    [2] = "1 to 20000 points",
    [3] = "100 to 86400000 ms",
    [4] = "1000 to 86400000 ms",
    [5] = "1000 to 2592000000 ms, at least min_tenure_ms, or 0 for off",
    [6] = "100 to 60000 ms",
    [7] = "100 to 60000 ms",
    [8] = "1000 to 86400000 ms",
    [9] = "100 to 86400000 ms, at most session_grace_ms",
    [10] = "1 to 1000 moves, or 0 for off",
    [11] = "1000 to 86400000 ms",
    [12] = "1000 to 86400000 ms",
    [13] = "32 to 600000 ms",
    [14] = "100 to 3600000 ms, or 0 for off",
    [15] = "32 to 600000 ms, at most demote_rtt_ms",
    [16] = "1000 to 86400000 ms",
    [17] = "1 to 4294967295 sessions",
    [18] = "1 to 4294967295 sessions",
    [19] = "1 to 1048576 devices",
    [20] = "1 to 65536 tabs",
    [21] = "1 to 65536 bytes",
};

/* What a status says when there is no more to be said, in the order of their numbers. */
static const struct sentence by_status[] = {
    {BATON_OK, REASON_NONE, "Done."},
    {BATON_NOT_LEADER, REASON_NONE,
     "This node doesn't lead the cluster: ask the node that the answer "
     "names, or try again shortly if it names none."},
    {BATON_NO_QUORUM, REASON_NONE,
     "No majority of the nodes answered before the deadline, and nothing was "
     "done: see that most nodes run and reach each other, then try again."},
    {BATON_UNKNOWN, REASON_NONE,
     "The deadline passed first, so the request may or may not have been "
     "carried out: send it again with the same lease and sequence to learn "
     "which."},
    {BATON_NOT_FOUND, REASON_NONE, "There is none: check the name or the id."},
    {BATON_EXPIRED, REASON_NONE,
     "The lease or session has ended: open a new one."},
    {BATON_STALE_EPOCH, REASON_NONE,
     "The epoch isn't the scope's current one: stop acting as its leader."},
    {BATON_CONFLICT, REASON_NONE,
     "What the request named has changed meanwhile: read the state again and "
     "decide anew."},
    {BATON_NOT_ALLOWED, REASON_NONE,
     "This client may not do that: only who owns the object may."},
    {BATON_INVALID, REASON_NONE,
     "The request is malformed: docs/protocol.md has its fields and their "
     "ranges."},
    {BATON_LIMIT, REASON_NONE,
     "A limit would be passed: close what isn't needed any more, or have the "
     "limit raised."},
    {BATON_COMPACTED, REASON_NONE,
     "The revision asked for is no longer kept: start again from the state."},
    {BATON_WINDOW, REASON_NONE,
     "The request is older than what is remembered of this client, so what "
     "came of it is no longer known: read the state, and go on with a new "
     "sequence."},
    {BATON_BUSY, REASON_NONE,
     "This node's queues are full, and nothing was done: try again after the "
     "time that the answer names."},
    {BATON_UNSUPPORTED, REASON_NONE,
     "This node doesn't speak that version or doesn't know that request: use "
     "client and nodes of versions that go together."},
    {BATON_UNAVAILABLE, REASON_NONE,
     "This node is starting, stopping or quarantined: ask another one."},
};
_Static_assert(countof(by_status) == STATUS_END, "a status has no sentence");

/* The first row of a reason stands for it under statuses that have no row of their own. */
static const struct sentence by_reason[] = {
    {BATON_INVALID, REASON_NAMESPACE, "The namespace is malformed: " A_NAME},
    {BATON_INVALID, REASON_GROUP, "The group's name is malformed: " A_NAME},
    {BATON_INVALID, REASON_DEVICE, "The device's name is malformed: " A_NAME},
    {BATON_INVALID, REASON_TAB, "The tab's name is malformed: " A_NAME},
    {BATON_INVALID, REASON_LABEL,
     "The lease's label is malformed: give at most 128 " A_TEXT},
    {BATON_INVALID, REASON_TTL,
     "The lease's TTL is out of range: give 1000 to 600000 ms."},
    {BATON_INVALID, REASON_NONCE,
     "The lease's nonce is malformed: give 16 random bytes, the same ones on "
     "a retry."},
    {BATON_INVALID, REASON_SECRET,
     "The session's secret is malformed: give the 16 random bytes that it "
     "was or is opened with."},
    {BATON_INVALID, REASON_CAPABILITY_KEY,
     "A capability isn't a known one: use battery, charging, kind, network, "
     "rtt_ms, visible, cores, memory_mb or priority."},
    {BATON_INVALID, REASON_CAPABILITY_TWICE,
     "A capability is given twice: give each at most once."},
    {BATON_INVALID, REASON_BATTERY,
     "The capability battery is out of range: give 0 to 100, in percent."},
    {BATON_INVALID, REASON_CHARGING,
     "The capability charging is out of range: give 0 or 1."},
    {BATON_INVALID, REASON_KIND,
     "The capability kind isn't a known one: give desktop, laptop, tablet, "
     "phone or server."},
    {BATON_INVALID, REASON_NETWORK,
     "The capability network isn't a known one: give ethernet, wifi, 4g, 3g, "
     "slow or none."},
    {BATON_INVALID, REASON_RTT,
     "The capability rtt_ms is out of range: give 0 to 600000 ms."},
    {BATON_INVALID, REASON_VISIBLE,
     "The capability visible is out of range: give 0 or 1."},
    {BATON_INVALID, REASON_CORES,
     "The capability cores is out of range: give 1 to 4096."},
    {BATON_INVALID, REASON_MEMORY,
     "The capability memory_mb is out of range: give 1 to 16777216 MiB."},
    {BATON_INVALID, REASON_PRIORITY,
     "The capability priority is out of range: give -100 to 100."},
    {BATON_INVALID, REASON_STATE_BYTES,
     "The state for the successor is too long: give at most {} bytes; the "
     "namespace's policy can allow up to 65536 (state_bytes_max)."},
    {BATON_INVALID, REASON_TEXT,
     "The text is malformed: give at most 256 " A_TEXT},
    {BATON_INVALID, REASON_SEQUENCE,
     "The sequence is out of range: number a lease's requests from 1 up, and "
     "never below the first_outstanding that was sent."},
    {BATON_WINDOW, REASON_SEQUENCE,
     "The sequence is older than what is remembered of this client, so what "
     "came of the request is no longer known: read the state, and go on with "
     "a new sequence."},
    {BATON_INVALID, REASON_OP,
     "The request asks for nothing, or for what a client may not ask for: "
     "docs/protocol.md lists the requests."},
    {BATON_UNSUPPORTED, REASON_OP,
     "This node doesn't know the request: use client and nodes of versions "
     "that go together."},
    {BATON_INVALID, REASON_EPOCH,
     "The epoch is missing: give the one that the grant came with, which is "
     "1 or more."},
    {BATON_INVALID, REASON_SESSION,
     "The session is missing: give the id that opening it returned, which is "
     "1 or more."},
    {BATON_INVALID, REASON_CORRELATION,
     "The correlation id is malformed: give 16 bytes, random or the ones "
     "that the user's action came with."},
    {BATON_INVALID, REASON_LEASE_DELTAS,
     "The list of renewed leases is malformed: give 1 to 4096 ids in "
     "ascending order, as differences, none of them 0."},

    {BATON_INVALID, REASON_POLICY_FIELD,
     "The policy's field {field} is out of range, and nothing was changed: "
     "give {range}."},
    {BATON_INVALID, REASON_POLICY_WEIGHT,
     "The policy's weight of {weight} is wrong, and nothing was changed: name "
     "each known capability at most once, with -1000 to 1000 points."},

    {BATON_LIMIT, REASON_SESSIONS_NAMESPACE,
     "The namespace has all the {} sessions that its policy allows: close "
     "some, or raise sessions_max."},
    {BATON_LIMIT, REASON_SESSIONS_LEASE,
     "The lease carries all the {} sessions that the namespace's policy "
     "allows: open another lease, or raise sessions_per_lease_max."},
    {BATON_LIMIT, REASON_SESSIONS_CLUSTER,
     "The cluster has all the {} sessions that it may have: close some, or "
     "raise the cluster's sessions_max."},
    {BATON_LIMIT, REASON_LEASES_CLUSTER,
     "The cluster has all the {} leases that it may have: close some, or "
     "raise the cluster's leases_max."},
    {BATON_LIMIT, REASON_NAMESPACES_CLUSTER,
     "The cluster has all the {} namespaces that it may have: use one that's "
     "there, or raise the cluster's namespaces_max."},
    {BATON_INVALID, REASON_SESSIONS_CLUSTER,
     "The cluster's sessions_max is out of range: give 1 to {}, or 0 to leave "
     "it."},
    {BATON_INVALID, REASON_LEASES_CLUSTER,
     "The cluster's leases_max is out of range: give 1 to {}, or 0 to leave "
     "it."},
    {BATON_INVALID, REASON_NAMESPACES_CLUSTER,
     "The cluster's namespaces_max is out of range: give 1 to {}, or 0 to "
     "leave it."},
    {BATON_LIMIT, REASON_GROUPS_CLUSTER,
     "The cluster has all the {} groups that it can hold: wait until some "
     "are empty."},
    {BATON_LIMIT, REASON_DEVICES_CLUSTER,
     "The cluster has all the {} devices that it can hold: wait until some "
     "are empty."},
    {BATON_LIMIT, REASON_DEVICES_GROUP,
     "The group has all the {} devices that its policy allows: close the "
     "sessions of one, or raise devices_per_group_max."},
    {BATON_LIMIT, REASON_TABS_DEVICE,
     "The device has all the {} tabs that its policy allows: close one, or "
     "raise tabs_per_device_max."},
    {BATON_LIMIT, REASON_WINDOW_REPLIES,
     "This client has {} requests whose replies it hasn't acknowledged, the "
     "most there may be: raise first_outstanding as replies arrive."},
    {BATON_LIMIT, REASON_STATES_CLUSTER,
     "The cluster keeps all the {} states for successors that it can hold: "
     "try again shortly, or hand over without one."},
    {BATON_LIMIT, REASON_WATCHES_NODE,
     "This node serves all the {} watches that it is configured for: end "
     "some, ask another node, or raise its limit."},
    {BATON_LIMIT, REASON_WATCHES_CONNECTION,
     "This connection has all the {} watches that it may have: end one "
     "before the next."},
    {BATON_LIMIT, REASON_QUEUE_BYTES,
     "The answer doesn't fit in the {} bytes that may go out on this "
     "connection: ask for less at once, and read what has arrived first."},
    {BATON_LIMIT, REASON_PENDING_NODE,
     "This node has {} requests under way, the most there may be: send "
     "fewer at once, or try again shortly."},
    {BATON_LIMIT, REASON_READS_NODE,
     "This node has {} reads under way, the most there may be: send fewer "
     "at once, or try again shortly."},

    {BATON_NOT_FOUND, REASON_NO_NAMESPACE,
     "There is no such namespace: it begins with its first session or "
     "policy."},
    {BATON_NOT_FOUND, REASON_NO_SCOPE,
     "There is no such group or device: it begins with its first session, "
     "and ends with its last."},
    {BATON_NOT_FOUND, REASON_NO_HOLDER,
     "Nobody leads the scope: wait until a session that can lead is there."},
    {BATON_NOT_FOUND, REASON_NO_SESSION,
     "There is no such session: check the id; it was never opened, or ended "
     "long ago."},
    {BATON_EXPIRED, REASON_NO_SESSION,
     "The session has ended: open a new one."},
    {BATON_NOT_FOUND, REASON_NO_LEASE,
     "There is no such lease: check the id; it was never opened, or ended "
     "long ago."},
    {BATON_EXPIRED, REASON_NO_LEASE,
     "The lease has ended: open a new one, and attach its sessions to that."},
    {BATON_EXPIRED, REASON_LEASE_ENDED,
     "The lease has ended: open a new one, and attach its sessions to that "
     "before their grace is over."},
    {BATON_CONFLICT, REASON_TAB_IN_USE,
     "Session {} has that tab's name on the device: use another name, or "
     "attach to that session with its secret."},
    {BATON_CONFLICT, REASON_ATTACHMENT,
     "The session was attached anew, as attachment {}: who holds an older "
     "one speaks for it no more."},
    {BATON_NOT_ALLOWED, REASON_OTHER_LEASE,
     "The session is on lease {}: only that lease's client may do that, or "
     "one that attaches the session first."},
    {BATON_NOT_ALLOWED, REASON_WRONG_SECRET,
     "The secret isn't the one that the session was opened with: open a new "
     "session if it's lost."},
    {BATON_CONFLICT, REASON_NOT_ELIGIBLE,
     "That session can't lead now: it must not be an observer nor detached, "
     "and to lead a group it must lead its device."},
    {BATON_CONFLICT, REASON_ALREADY_HOLDER,
     "That session leads the scope already: there is nothing to pass on."},
    {BATON_CONFLICT, REASON_HANDOFF_RUNNING,
     "The scope is being handed over, under offer {}: wait for its outcome."},
    {BATON_CONFLICT, REASON_NO_OFFER,
     "There is no such offer: it was answered, withdrawn, or ran out of "
     "time."},
    {BATON_CONFLICT, REASON_NO_SUCCESSOR,
     "Nobody else can lead the scope now: open another session that can, or "
     "resign to leave it without a leader."},
    {BATON_STALE_EPOCH, REASON_EPOCH_CURRENT,
     "The epoch isn't the scope's current one, which is {}: stop acting as "
     "its leader under the old one."},
    {BATON_NOT_FOUND, REASON_NO_STATE,
     "There is no state to fetch: the holder before handed none over, or it "
     "was for another epoch."},
    {BATON_CONFLICT, REASON_OTHER_SCOPE,
     "The session isn't in that scope: name the group or device that it was "
     "opened in."},
    {BATON_CONFLICT, REASON_CONFIG_INDEX,
     "The members were changed meanwhile, by entry {}: look at them again "
     "and decide anew."},
    {BATON_CONFLICT, REASON_CONFIG_RUNNING,
     "Another change of the members is under way: wait until it is done."},
    {BATON_CONFLICT, REASON_LEARNER_BEHIND,
     "The learner still lacks {} entries: promote it once it has caught up "
     "(`baton status` shows what each node has applied)."},
    {BATON_NOT_FOUND, REASON_UNKNOWN_NODE,
     "The cluster has no such node: `baton status` lists the members."},
    {BATON_CONFLICT, REASON_MEMBER_ALREADY,
     "Node {} is a member already: a number is given to a new node once the "
     "old one was removed (`baton status` lists the members)."},
    {BATON_CONFLICT, REASON_NO_LEARNER,
     "Node {} isn't a learner: only one that was added and doesn't vote yet "
     "can be promoted (`baton status` lists the members and their roles)."},
    {BATON_NOT_FOUND, REASON_NO_MEMBER,
     "Node {} isn't a member: `baton status` lists them."},
    {BATON_CONFLICT, REASON_LAST_VOTER,
     "The change would leave no voter, or more members than a cluster can "
     "have."},
    {BATON_CONFLICT, REASON_ADDRESS_TAKEN,
     "One of the addresses is node {}'s, or is given twice: each is where "
     "one node listens for one thing."},
    {BATON_CONFLICT, REASON_TERM,
     "The leader that proposed this was replaced before it was carried out: "
     "nothing was done, and nothing has to be."},
    {BATON_CONFLICT, REASON_NOT_DUE,
     "What this was proposed for no longer holds: nothing was done, and "
     "nothing has to be."},
    {BATON_UNAVAILABLE, REASON_BEHIND,
     "This node has nothing behind revision {} yet: ask another one, or this "
     "one again shortly."},
    {BATON_INVALID, REASON_NODE,
     "The new node's number is out of range: give 1 to 1000000."},
    {BATON_INVALID, REASON_PEER_ADDRESS,
     "The new node's address for peers is malformed: " AN_ADDRESS},
    {BATON_INVALID, REASON_CLIENT_ADDRESS,
     "The new node's address for clients is malformed: " AN_ADDRESS},
    {BATON_INVALID, REASON_HTTP_ADDRESS,
     "The new node's address for HTTP is malformed: " AN_ADDRESS},
};

const char *status_name(enum baton_status status)
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(
        &pb__status__descriptor, (int)status);
    return known == NULL ? "?" : known->name;
}

static const char *text_of(enum baton_status status, uint32_t reason)
{
    const char *text = NULL;
    for (size_t i = 0; i < countof(by_reason) && status != BATON_OK; i++) {
        if ((uint32_t)by_reason[i].reason != reason) {
            continue;
        }
        if (by_reason[i].status == status) {
            return by_reason[i].text;
        }
        if (text == NULL) {
            text = by_reason[i].text;
        }
    }
    if (text != NULL) {
        return text;
    }
    if ((uint32_t)status < STATUS_END) {
        ASSERT(by_status[status].status == status);
        return by_status[status].text;
    }
    return "The answer has a status that this version doesn't know: use "
           "client and nodes of versions that go together.";
}

/* Where the sentence goes; one byte is kept for the NUL. */
struct sink {
    char *out;
    size_t out_bytes;
    size_t n;
};

static void put(struct sink *s, const char *text, size_t n)
{
    ASSERT(s->n < s->out_bytes);
    size_t room = s->out_bytes - 1 - s->n;
    size_t fits = n < room ? n : room;
    if (fits > 0) {
        memcpy(s->out + s->n, text, fits);
    }
    s->n += fits;
}

static void put_number(struct sink *s, int64_t value)
{
    char digits[20]; /* of 2^64 - 1; the sign goes out by itself */
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        ASSERT(at > 0);
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        put(s, "-", 1);
    }
    put(s, digits + at, sizeof digits - at);
}

static void put_text(struct sink *s, const char *text)
{
    put(s, text, strlen(text));
}

static void put_policy_field(struct sink *s, int64_t number)
{
    const ProtobufCFieldDescriptor *field = NULL;
    if (number > 0 && (uint64_t)number < countof(policy_ranges)) {
        field = protobuf_c_message_descriptor_get_field(&pb__policy__descriptor,
                                                        (unsigned)number);
    }
    if (field == NULL) {
        put_text(s, "number ");
        put_number(s, number);
        return;
    }
    put_text(s, field->name);
}

static void put_policy_range(struct sink *s, int64_t number)
{
    if (number > 0 && (uint64_t)number < countof(policy_ranges)) {
        put_text(s, policy_ranges[number]);
        return;
    }
    put_text(s, "only fields that this version knows");
}

/* The capability's name as people write it: the one in the .proto, in lower case. */
static void put_weight(struct sink *s, int64_t key)
{
    const ProtobufCEnumValue *known = NULL;
    if (key > 0 && key <= INT32_MAX) {
        known = protobuf_c_enum_descriptor_get_value(
            &pb__capability_key__descriptor, (int)key);
    }
    if (known == NULL) {
        put_text(s, "an unknown capability");
        return;
    }
    for (const char *at = known->name; *at != '\0'; at++) {
        bool is_upper = *at >= 'A' && *at <= 'Z';
        char c = is_upper ? (char)(*at - 'A' + 'a') : *at;
        put(s, &c, 1);
    }
}

/* What's in the braces at `at`; how many bytes of the sentence that was. */
static size_t put_part(struct sink *s, const char *at, int64_t detail)
{
    static const struct {
        const char *name;
        void (*write)(struct sink *s, int64_t detail);
    } parts[] = {
        {"{}", put_number},
        {"{field}", put_policy_field},
        {"{range}", put_policy_range},
        {"{weight}", put_weight},
    };
    for (size_t i = 0; i < countof(parts); i++) {
        size_t n = strlen(parts[i].name);
        if (memcmp(at, parts[i].name, min_u64(n, strlen(at))) == 0) {
            parts[i].write(s, detail);
            return n;
        }
    }
    ASSERT(!"a sentence has something else in braces");
    return 0;
}

size_t status_text(enum baton_status status, uint32_t reason, int64_t detail,
                   char *out, size_t out_bytes)
{
    ASSERT(out != NULL);
    ASSERT(out_bytes > 0);
    struct sink s = {out, out_bytes, 0};
    const char *at = text_of(status, reason);
    while (*at != '\0') {
        size_t n = 0;
        while (at[n] != '\0' && at[n] != '{') {
            n++;
        }
        put(&s, at, n);
        at += n;
        if (*at == '{') {
            at += put_part(&s, at, detail);
        }
    }
    out[s.n] = '\0';
    return s.n;
}

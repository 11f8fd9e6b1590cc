/* codec_bench.c - what messages cost: codec_bench
 *
 * Prints, for messages of the main paths, their size, and the nanoseconds (best of five) that decoding, protobuf-c's decoding
 * into the same arena, framing and the JSON view take. */
#include <stdio.h>
#include <time.h>

#include "proto/codec.h"
#include "proto/json.h"
#include "tests/unit/assert_stub.h"

#define ROUNDS  5
#define ENTRIES 100

static _Alignas(64) uint8_t memory[1u << 20];
static uint8_t encoded[1u << 17];
static uint8_t framed[1u << 17];
static char text[1u << 20];

struct subject {
    const ProtobufCMessage *m;
    struct bytes in;
};

static double now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void decode(const struct subject *s)
{
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    ASSERT(codec_decode(s->m->descriptor, s->in, &a) != NULL);
}

static void decode_by_library(const struct subject *s)
{
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    ProtobufCAllocator allocator = arena_allocator(&a);
    ASSERT(protobuf_c_message_unpack(s->m->descriptor, &allocator, s->in.n,
                                     s->in.data) != NULL);
}

static void frame(const struct subject *s)
{
    ASSERT(codec_frame(s->m, framed, sizeof framed) > 0);
}

static void view(const struct subject *s)
{
    ASSERT(json_write(s->m, 0, text, sizeof text) > 0);
}

static double best_ns(void (*what)(const struct subject *s),
                      const struct subject *s)
{
    unsigned times = (unsigned)(4000000 / (s->in.n + 100));
    double best = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double began = now_ns();
        for (unsigned i = 0; i < times; i++) {
            what(s);
        }
        double took = (now_ns() - began) / times;
        best = round == 0 || took < best ? took : best;
    }
    return best;
}

static void measure(const char *name, const ProtobufCMessage *m)
{
    struct subject s = {m, {encoded, codec_encode(m, encoded, sizeof encoded)}};
    ASSERT(s.in.n > 0);
    printf("%-24s %8zu %8.0f %10.0f %8.0f %8.0f\n", name, s.in.n,
           best_ns(decode, &s), best_ns(decode_by_library, &s),
           best_ns(frame, &s), best_ns(view, &s));
}

static uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static char namespace_name[] = "acme";
static char group[] = "alice";
static char device[] = "laptop";
static char tab[] = "tab-3";

static void measure_requests(void)
{
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.version = PROTOCOL_VERSION;
    request.id = 77;
    request.correlation_id = codec_binary((struct bytes){id, sizeof id});
    Pb__Renew renew = PB__RENEW__INIT;
    renew.lease = 123456;
    renew.number = 99;
    request.op_case = PB__CLIENT_REQUEST__OP_RENEW;
    request.renew = &renew;
    measure("heartbeat", &request.base);

    Pb__Path path = PB__PATH__INIT;
    path.namespace_ = namespace_name;
    path.group = group;
    path.device = device;
    Pb__GetLeader get = PB__GET_LEADER__INIT;
    get.scope = &path;
    request.op_case = PB__CLIENT_REQUEST__OP_GET_LEADER;
    request.get_leader = &get;
    measure("leader query", &request.base);

    Pb__Capability capabilities[4];
    Pb__Capability *list[countof(capabilities)];
    for (int32_t i = 0; i < (int32_t)countof(capabilities); i++) {
        pb__capability__init(&capabilities[i]);
        capabilities[i].key = (Pb__CapabilityKey)(i + 1);
        capabilities[i].value = 40 + i;
        list[i] = &capabilities[i];
    }
    Pb__OpenSession open = PB__OPEN_SESSION__INIT;
    open.path = &path;
    open.tab = tab;
    open.secret = request.correlation_id;
    open.n_capabilities = countof(capabilities);
    open.capabilities = list;
    Pb__Command command = PB__COMMAND__INIT;
    command.version = COMMAND_VERSION;
    command.lease = 123456;
    command.sequence = 1000;
    command.first_outstanding = 990;
    command.op_case = PB__COMMAND__OP_OPEN_SESSION;
    command.open_session = &open;
    measure("command: open session", &command.base);
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = &command;
    measure("request: open session", &request.base);
}

static void measure_rest(void)
{
    Pb__Reply reply = PB__REPLY__INIT;
    reply.id = reply.epoch = reply.revision = 12345;
    Pb__ClientMessage message = PB__CLIENT_MESSAGE__INIT;
    message.version = PROTOCOL_VERSION;
    message.id = 77;
    message.revision = 12345;
    message.result_case = PB__CLIENT_MESSAGE__RESULT_REPLY;
    message.reply = &reply;
    measure("reply", &message.base);

    static uint8_t data[120];
    static Pb__LogEntry entries[ENTRIES];
    static Pb__LogEntry *list[ENTRIES];
    for (uint32_t i = 0; i < ENTRIES; i++) {
        pb__log_entry__init(&entries[i]);
        entries[i].index = i + 1;
        entries[i].term = 3;
        entries[i].kind = 1;
        entries[i].time_ms = 1234567;
        entries[i].chain = 0x123456789ABCDEF;
        entries[i].data = codec_binary((struct bytes){data, sizeof data});
        list[i] = &entries[i];
    }
    Pb__PeerFrame peer = PB__PEER_FRAME__INIT;
    peer.version = PROTOCOL_VERSION;
    peer.type = 5;
    peer.term = 3;
    peer.commit = 1000;
    peer.round = 88;
    measure("peers' heartbeat", &peer.base);
    peer.type = 3;
    peer.n_entries = ENTRIES;
    peer.entries = list;
    measure("append of 100 entries", &peer.base);
}

int main(void)
{
    printf("%-24s %8s %8s %10s %8s %8s\n", "message", "bytes", "decode",
           "protobuf-c", "frame", "JSON");
    measure_requests();
    measure_rest();
    return 0;
}

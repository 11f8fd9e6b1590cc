#include <string.h>
#include <time.h>

#include "client/cli_bench.h"

/* Marks that a template is encoded with, to find where to write: fixed64 ones, and varints of five bytes. */
#define MARK_ID       0xB1B2B3B4B5B6B7B1u
#define MARK_LEASE    0xB1B2B3B4B5B6B7B2u
#define MARK_SESSION  0xB1B2B3B4B5B6B7B3u
#define MARK_SEQUENCE 0x712345671u
#define MARK_FIRST    0x712345672u
#define MARK_NUMBER   0x712345673u
#define MARK_GROUP    "g!!!!!!!!-##########"
#define MARK_DEVICE   "d##########"
#define MARK_TAB      "t##########"
#define DIGITS        10

uint64_t bench_now_ns(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- histogram --------------------------------------------------------------------------------------------------- */

static size_t step_of(uint64_t ns)
{
    if (ns < 32) {
        return (size_t)ns;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)(top - 4) * 32 + (size_t)((ns >> (top - 5)) & 31);
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->counts[step_of(ns)]++;
    h->n++;
    h->max_ns = max_u64(h->max_ns, ns);
}

uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t rank = (uint64_t)((double)h->n * part);
    uint64_t seen = 0;
    for (size_t i = 0; i < countof(h->counts); i++) {
        seen += h->counts[i];
        if (seen > rank) {
            if (i < 32) {
                return i;
            }
            unsigned top = (unsigned)(i / 32) + 4;
            return min_u64(((i % 32 + 33) << (top - 5)) - 1, h->max_ns);
        }
    }
    return h->max_ns;
}

/* --- templates --------------------------------------------------------------------------------------------------- */

static size_t find(const struct bench_template *t, const void *mark, size_t n)
{
    const uint8_t *at = memmem(t->body, t->n, mark, n);
    return at != NULL ? (size_t)(at - t->body) : BENCH_ABSENT;
}

static size_t find_fixed(const struct bench_template *t, uint64_t mark)
{
    return find(t, &mark, sizeof mark);
}

/* Five bytes, whatever the value: protobuf takes varints with zeros on top. */
static void put_padded(uint8_t *at, uint64_t value)
{
    ASSERT(value < 1ull << 35);
    for (int i = 0; i < 5; i++) {
        at[i] = (uint8_t)((value & 0x7F) | (i < 4 ? 0x80 : 0));
        value >>= 7;
    }
}

static size_t find_padded(const struct bench_template *t, uint64_t mark)
{
    uint8_t bytes[5];
    put_padded(bytes, mark);
    return find(t, bytes, sizeof bytes);
}

static void make(struct bench *b, enum bench_kind kind,
                 Pb__ClientRequest *request)
{
    struct bench_template *t = &b->templates[kind];
    uint8_t correlation[16];
    memset(correlation, 0x42, sizeof correlation);
    request->version = PROTOCOL_VERSION;
    request->id = MARK_ID;
    request->correlation_id =
        codec_binary((struct bytes){correlation, sizeof correlation});
    request->timeout_ms = b->c->timeout_ms;
    t->n = codec_encode(&request->base, t->body, sizeof t->body);
    ASSERT(t->n > 0);
    t->id = find_fixed(t, MARK_ID);
    t->lease = find_fixed(t, MARK_LEASE);
    t->session = find_fixed(t, MARK_SESSION);
    t->sequence = find_padded(t, MARK_SEQUENCE);
    t->first = find_padded(t, MARK_FIRST);
    t->number = find_padded(t, MARK_NUMBER);
    t->group = find(t, MARK_GROUP, strlen(MARK_GROUP));
    t->device = find(t, MARK_DEVICE, strlen(MARK_DEVICE));
    t->tab = find(t, MARK_TAB, strlen(MARK_TAB));
    uint8_t secret[16];
    memset(secret, 0x73, sizeof secret);
    t->secret = find(t, secret, sizeof secret);
    if (t->group != BENCH_ABSENT) {
        static const char hex[] = "0123456789abcdef";
        for (unsigned i = 0; i < 8; i++) {
            t->body[t->group + 1 + i] =
                (uint8_t)hex[(b->run_id >> (4 * i)) & 15];
        }
    }
}

static void make_command(struct bench *b, enum bench_kind kind, Pb__Command *c)
{
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = c;
    c->version = COMMAND_VERSION;
    if (kind != BENCH_LEASE) {
        c->lease = MARK_LEASE;
        c->sequence = MARK_SEQUENCE;
        c->first_outstanding = MARK_FIRST;
    }
    make(b, kind, &request);
}

static void make_session_commands(struct bench *b, Pb__Path *path)
{
    uint8_t secret[16];
    memset(secret, 0x73, sizeof secret);
    Pb__OpenSession open = PB__OPEN_SESSION__INIT;
    open.path = path;
    open.tab = (char *)MARK_TAB;
    open.secret = codec_binary((struct bytes){secret, sizeof secret});
    Pb__Command c = PB__COMMAND__INIT;
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &open;
    make_command(b, BENCH_OPEN, &c);

    Pb__CloseSession close = PB__CLOSE_SESSION__INIT;
    close.session = MARK_SESSION;
    pb__command__init(&c);
    c.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    c.close_session = &close;
    make_command(b, BENCH_CLOSE, &c);
}

static void make_lease_commands(struct bench *b)
{
    uint8_t nonce[16];
    memset(nonce, 0x73, sizeof nonce); /* found as a secret is */
    Pb__OpenLease open = PB__OPEN_LEASE__INIT;
    open.nonce = codec_binary((struct bytes){nonce, sizeof nonce});
    open.ttl_ms = b->ttl_ms;
    open.label = (char *)"baton bench";
    Pb__Command c = PB__COMMAND__INIT;
    c.op_case = PB__COMMAND__OP_OPEN_LEASE;
    c.open_lease = &open;
    make_command(b, BENCH_LEASE, &c);

    Pb__CloseLease close = PB__CLOSE_LEASE__INIT;
    pb__command__init(&c);
    c.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    c.close_lease = &close;
    make_command(b, BENCH_CLOSE_LEASE, &c);
}

void bench_templates(struct bench *b)
{
    Pb__Path path = PB__PATH__INIT;
    path.namespace_ = (char *)"bench";
    path.group = (char *)MARK_GROUP;
    path.device = (char *)MARK_DEVICE;
    make_session_commands(b, &path);
    make_lease_commands(b);

    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    Pb__GetLeader leader = PB__GET_LEADER__INIT;
    Pb__Path group = path;
    group.device = (char *)"";
    leader.scope = &group;
    request.op_case = PB__CLIENT_REQUEST__OP_GET_LEADER;
    request.get_leader = &leader;
    make(b, BENCH_LEADER, &request);

    Pb__Renew renew = PB__RENEW__INIT;
    renew.lease = MARK_LEASE;
    renew.number = MARK_NUMBER;
    request.op_case = PB__CLIENT_REQUEST__OP_RENEW;
    request.renew = &renew;
    make(b, BENCH_RENEW, &request);

    Pb__Watch watch = PB__WATCH__INIT;
    watch.namespace_ = (char *)"bench";
    request.op_case = PB__CLIENT_REQUEST__OP_WATCH;
    request.watch = &watch;
    make(b, BENCH_WATCH, &request);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static void put_digits(uint8_t *at, uint64_t value)
{
    for (int i = DIGITS - 1; i >= 0; i--) {
        at[i] = (uint8_t)('0' + value % 10);
        value /= 10;
    }
}

static void put_fixed(uint8_t *body, size_t at, uint64_t value)
{
    if (at != BENCH_ABSENT) {
        memcpy(body + at, &value, sizeof value);
    }
}

/* Operation `op` as a path: so many tabs a device, so many devices a group. */
static void put_names(const struct bench *b, const struct bench_template *t,
                      uint8_t *body, uint64_t op)
{
    uint64_t device = op / b->tabs;
    if (t->group != BENCH_ABSENT) {
        put_digits(body + t->group + 10, device / b->devices);
    }
    if (t->device != BENCH_ABSENT) {
        put_digits(body + t->device + 1, device % b->devices);
    }
    if (t->tab != BENCH_ABSENT) {
        /* The whole number, so that an event tells which operation caused it. */
        put_digits(body + t->tab + 1, op);
    }
}

static void fill_body(const struct bench *b, struct bench_conn *k,
                      const struct bench_template *t, uint8_t *body,
                      uint64_t *out_sequence)
{
    memcpy(body, t->body, t->n);
    put_fixed(body, t->lease, k->lease);
    if (t->sequence != BENCH_ABSENT) {
        *out_sequence = window_take(&k->window);
        ASSERT(*out_sequence != 0);
        put_padded(body + t->sequence, *out_sequence);
        put_padded(body + t->first, k->window.first);
    }
    if (t->secret != BENCH_ABSENT) {
        put_fixed(body, t->secret, ((uint64_t)b->run_id << 32) | k->index);
    }
}

static void transmit(struct bench *b, struct bench_conn *k,
                     const struct bench_template *t, const uint8_t *body)
{
    if (!link_send(k->link, (struct bytes){body, t->n})) {
        bench_first_error(b, "a connection's queue is full",
                          (struct bytes){NULL, 0});
        b->failed = true;
    }
}

void bench_send(struct bench *b, struct bench_conn *k, enum bench_kind kind,
                uint64_t op, uint64_t session)
{
    ASSERT(k->free_n > 0);
    const struct bench_template *t = &b->templates[kind];
    uint32_t at = k->free[--k->free_n];
    struct bench_slot *s = &k->slots[at];
    uint8_t body[BENCH_BODY_BYTES];
    s->sequence = 0;
    fill_body(b, k, t, body, &s->sequence);
    put_fixed(body, t->id, at + 1);
    put_fixed(body, t->session, session);
    put_names(b, t, body, op);
    s->op = op;
    s->session = session;
    s->counts = b->phase == PHASE_RUN && b->sent >= b->warm;
    s->sent_ns = bench_now_ns();
    if (s->counts && b->begun_ns == 0) {
        b->begun_ns = s->sent_ns;
    }
    if (b->sent_ns != NULL) {
        b->sent_ns[op] = s->sent_ns;
    }
    b->sent++;
    transmit(b, k, t, body);
}

void bench_send_plain(struct bench *b, struct bench_conn *k,
                      enum bench_kind kind)
{
    static const uint32_t ids[BENCH_KINDS] = {
        [BENCH_LEASE] = BENCH_ID_LEASE,
        [BENCH_RENEW] = BENCH_ID_RENEW,
        [BENCH_CLOSE_LEASE] = BENCH_ID_CLOSE,
        [BENCH_WATCH] = BENCH_ID_WATCH,
    };
    const struct bench_template *t = &b->templates[kind];
    ASSERT(ids[kind] != 0);
    uint8_t body[BENCH_BODY_BYTES];
    uint64_t sequence = 0;
    fill_body(b, k, t, body, &sequence);
    put_fixed(body, t->id, ids[kind]);
    if (t->number != BENCH_ABSENT) {
        put_padded(body + t->number, ++k->renew_number);
    }
    transmit(b, k, t, body);
}

void bench_first_error(struct bench *b, const char *what, struct bytes message)
{
    if (b->error[0] == '\0') {
        (void)snprintf(b->error, sizeof b->error, "%s%s%.*s", what,
                       message.n > 0 ? ": " : "",
                       message.n > 200 ? 200 : (int)message.n,
                       message.n > 0 ? (const char *)message.data : "");
    }
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

static bool take_varint(struct bytes *in, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < in->n && i < 10; i++) {
        value |= (uint64_t)(in->data[i] & 0x7F) << (7 * i);
        if (in->data[i] < 0x80) {
            in->data += i + 1;
            in->n -= i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

struct field {
    uint32_t number;
    uint64_t value; /* of a varint or fixed one */
    struct bytes bytes;
};

static bool take_bytes(struct bytes *in, size_t n, struct bytes *out)
{
    if (n > in->n) {
        return false;
    }
    *out = (struct bytes){in->data, n};
    in->data += n;
    in->n -= n;
    return true;
}

static bool next_field(struct bytes *in, struct field *out)
{
    uint64_t tag = 0;
    uint64_t n = 0;
    if (in->n == 0 || !take_varint(in, &tag)) {
        return false;
    }
    *out = (struct field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        return take_varint(in, &out->value);
    case 1:
        if (!take_bytes(in, 8, &out->bytes)) {
            return false;
        }
        memcpy(&out->value, out->bytes.data, 8);
        return true;
    case 2:
        return take_varint(in, &n) && take_bytes(in, (size_t)n, &out->bytes);
    case 5:
        return take_bytes(in, 4, &out->bytes);
    default:
        return false;
    }
}

/* Field numbers as in client.proto. */
bool bench_look(struct bytes body, struct bench_answer *out)
{
    *out = (struct bench_answer){.id = 0};
    struct field f;
    struct field inner;
    while (next_field(&body, &f)) {
        switch (f.number) {
        case 2: /* id */
            out->id = f.value;
            break;
        case 3: /* status */
            out->status = (uint32_t)f.value;
            break;
        case 5: /* message */
            out->message = f.bytes;
            break;
        case 11: /* reply.id */
            while (next_field(&f.bytes, &inner)) {
                out->reply_id = inner.number == 3 ? inner.value : out->reply_id;
            }
            break;
        case 12: /* renew.next_ms */
            while (next_field(&f.bytes, &inner)) {
                out->next_ms =
                    inner.number == 3 ? (uint32_t)inner.value : out->next_ms;
            }
            break;
        case 30:
            out->watch = true;
            break;
        default:
            break;
        }
    }
    return body.n == 0;
}

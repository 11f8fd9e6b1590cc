#include "tests/unit/registry_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/state.h"

#define SCRATCH_BYTES (1u << 20)

/* Test code may stop at once: a test that can't be set up has failed. */
static void must(bool good, const char *what)
{
    if (!good) {
        (void)fprintf(stderr, "kit: %s\n", what);
        abort();
    }
}

static void *must_alloc(size_t n)
{
    void *at = calloc(1, n);
    must(at != NULL, "no memory");
    return at;
}

void kit_init_limits(struct kit *k, const struct registry_limits *limits)
{
    size_t n = registry_bytes(limits);
    void *memory = aligned_alloc(64, n);
    must(memory != NULL, "no memory");
    memset(memory, 0, n);
    *k = (struct kit){
        .r = registry_init(memory, limits),
        .out = must_alloc(sizeof(struct registry_out)),
        .term = 1,
        .time_ms = 1000000,
    };
    /* Another one for each registry: nothing that's compared may depend on it. */
    static uint64_t seed;
    registry_seed(k->r, ++seed * 0x9E3779B97F4A7C15ull);
}

void kit_init(struct kit *k)
{
    struct registry_limits limits = KIT_LIMITS;
    kit_init_limits(k, &limits);
}

void kit_fini(struct kit *k)
{
    free(k->r);
    free(k->out);
    *k = (struct kit){.r = NULL};
}

const struct reply *kit_apply(struct kit *k, const Pb__Command *command)
{
    struct registry_entry entry = {
        .index = ++k->index,
        .term = k->term,
        .time_ms = k->time_ms,
        .command = command,
    };
    registry_apply(k->r, &entry, k->out);
    if (!k->unchecked) {
        registry_check(k->r);
    }
    return &k->out->reply;
}

const struct reply *kit_client(struct kit *k, uint64_t lease, Pb__Command *c)
{
    c->version = COMMAND_VERSION;
    c->lease = lease;
    c->sequence = ++k->sequence;
    c->first_outstanding = c->sequence > 8 ? c->sequence - 8 : 0;
    return kit_apply(k, c);
}

const struct reply *kit_leader(struct kit *k, Pb__Command *c)
{
    c->version = COMMAND_VERSION;
    c->proposer_term = k->term;
    return kit_apply(k, c);
}

uint32_t kit_due(struct kit *k)
{
    return kit_due_some(k, DUE_MAX);
}

uint32_t kit_due_some(struct kit *k, uint32_t max)
{
    struct arena arena;
    uint8_t *memory = must_alloc(SCRATCH_BYTES);
    Pb__Command *commands = must_alloc(DUE_MAX * sizeof *commands);
    arena_init(&arena, memory, SCRATCH_BYTES);
    uint32_t n = registry_due(k->r, k->time_ms, commands, max, &arena);
    for (uint32_t i = 0; i < n; i++) {
        /* Through bytes, as in life: the messages have views of the registry in them. */
        uint8_t bytes[8192];
        commands[i].proposer_term = k->term;
        size_t size = codec_encode(&commands[i].base, bytes, sizeof bytes);
        must(size > 0, "a due command doesn't encode");
        struct arena copy;
        uint8_t *copy_memory = must_alloc(SCRATCH_BYTES);
        arena_init(&copy, copy_memory, SCRATCH_BYTES);
        Pb__Command *c =
            codec_decode_command((struct bytes){bytes, size}, &copy);
        must(c != NULL, "a due command doesn't decode");
        (void)kit_apply(k, c);
        free(copy_memory);
    }
    free(commands);
    free(memory);
    return n;
}

void kit_wait(struct kit *k, uint64_t ms)
{
    uint64_t until = k->time_ms + ms;
    for (int i = 0; registry_due_ms(k->r) <= until; i++) {
        must(i < 10000, "something is due for ever");
        k->time_ms = max_u64(k->time_ms, registry_due_ms(k->r));
        (void)kit_due(k);
    }
    k->time_ms = until;
}

uint64_t kit_lease(struct kit *k, uint8_t nonce, const char *label)
{
    uint8_t bytes[16] = {nonce};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenLease m = PB__OPEN_LEASE__INIT;
    m.nonce = codec_binary((struct bytes){bytes, sizeof bytes});
    m.ttl_ms = 10000;
    m.label = (char *)(uintptr_t)label;
    c.version = COMMAND_VERSION;
    c.op_case = PB__COMMAND__OP_OPEN_LEASE;
    c.open_lease = &m;
    const struct reply *reply = kit_apply(k, &c);
    must(reply->status == BATON_OK, "OpenLease was refused");
    return reply->id;
}

void kit_path(struct kit_path *out, const char *text)
{
    pb__path__init(&out->path);
    out->tab = out->path.device;
    must(strlen(text) < sizeof out->text, "a path is too long");
    memcpy(out->text, text, strlen(text) + 1);
    char **parts[] = {&out->path.namespace_, &out->path.group,
                      &out->path.device, &out->tab};
    char *at = out->text;
    for (size_t i = 0; i < countof(parts) && at != NULL; i++) {
        *parts[i] = at;
        at = strchr(at, '/');
        if (at != NULL) {
            *at++ = 0;
        }
    }
}

const struct reply *kit_open(struct kit *k, uint64_t lease, const char *path,
                             int priority, uint8_t secret)
{
    uint8_t bytes[16] = {secret};
    struct kit_path p;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    Pb__Capability cap = PB__CAPABILITY__INIT;
    Pb__Capability *caps[] = {&cap};
    kit_path(&p, path);
    cap.key = PB__CAPABILITY_KEY__PRIORITY;
    cap.value = priority;
    m.path = &p.path;
    m.tab = p.tab;
    m.secret = codec_binary((struct bytes){bytes, sizeof bytes});
    m.n_capabilities = 1;
    m.capabilities = caps;
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &m;
    return kit_client(k, lease, &c);
}

uint64_t kit_session(struct kit *k, uint64_t lease, const char *path,
                     int priority)
{
    const struct reply *reply = kit_open(k, lease, path, priority, 7);
    must(reply->status == BATON_OK, "OpenSession was refused");
    return reply->id;
}

const struct reply *kit_attach(struct kit *k, uint64_t lease, uint64_t session,
                               uint8_t secret)
{
    uint8_t bytes[16] = {secret};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__AttachSession m = PB__ATTACH_SESSION__INIT;
    m.session = session;
    m.secret = codec_binary((struct bytes){bytes, sizeof bytes});
    c.op_case = PB__COMMAND__OP_ATTACH_SESSION;
    c.attach_session = &m;
    return kit_client(k, lease, &c);
}

const struct reply *kit_close(struct kit *k, uint64_t lease, uint64_t session,
                              uint32_t attachment)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseSession m = PB__CLOSE_SESSION__INIT;
    m.session = session;
    m.attachment = attachment;
    c.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    c.close_session = &m;
    return kit_client(k, lease, &c);
}

const struct reply *kit_close_lease(struct kit *k, uint64_t lease, bool detach)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseLease m = PB__CLOSE_LEASE__INIT;
    m.detach = detach;
    c.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    c.close_lease = &m;
    return kit_client(k, lease, &c);
}

const struct reply *kit_expire(struct kit *k, uint64_t lease)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__ExpireLease m = PB__EXPIRE_LEASE__INIT;
    struct lease_view view = {.renewals = 0};
    must(registry_lease(k->r, lease, &view) == BATON_OK, "no such lease");
    m.lease = lease;
    m.renewals = view.renewals;
    c.op_case = PB__COMMAND__OP_EXPIRE_LEASE;
    c.expire_lease = &m;
    return kit_leader(k, &c);
}

uint64_t kit_holder(struct kit *k, const char *path)
{
    struct kit_path p;
    struct scope_view view = {.session = 0};
    uint32_t reason = 0;
    kit_path(&p, path);
    (void)!registry_scope(k->r, &p.path, &view, &reason);
    return view.session;
}

uint64_t kit_epoch(struct kit *k, const char *path)
{
    struct kit_path p;
    struct scope_view view = {.session = 0};
    uint32_t reason = 0;
    kit_path(&p, path);
    (void)!registry_scope(k->r, &p.path, &view, &reason);
    return view.epoch;
}

uint32_t kit_events(const struct kit *k, enum event_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->out->events_n; i++) {
        n += k->out->events[i].kind == kind;
    }
    return n;
}

/* --- rows ------------------------------------------------------------------------------------------------------------ */
static void put_row(struct kit_rows *rows, const struct row_change *change)
{
    must(change->key.n > 0 && change->key.n <= sizeof rows->rows[0].key,
         "a row's key is too long");
    uint32_t i = 0;
    while (i < rows->n &&
           (rows->rows[i].key_n != change->key.n ||
            memcmp(rows->rows[i].key, change->key.data, change->key.n) != 0)) {
        i++;
    }
    if (change->value.n == 0) {
        must(i < rows->n, "a row is deleted that isn't there");
        free(rows->rows[i].value);
        rows->n--;
        memmove(&rows->rows[i], &rows->rows[i + 1],
                (rows->n - i) * sizeof rows->rows[0]);
        return;
    }
    if (i == rows->n && rows->n == rows->capacity) {
        rows->capacity = rows->capacity * 2 + 64;
        rows->rows = realloc(rows->rows, rows->capacity * sizeof rows->rows[0]);
        must(rows->rows != NULL, "no memory");
    }
    struct kit_row *row = &rows->rows[i];
    if (i == rows->n) {
        rows->n++;
        *row = (struct kit_row){.key_n = (uint32_t)change->key.n};
        memcpy(row->key, change->key.data, change->key.n);
    }
    free(row->value);
    row->value = must_alloc(change->value.n);
    row->value_n = (uint32_t)change->value.n;
    memcpy(row->value, change->value.data, change->value.n);
}

void kit_checkpoint(struct kit *k, struct kit_rows *rows)
{
    struct arena arena;
    uint8_t *memory = must_alloc(ROW_BYTES_MAX);
    struct row_change change;
    arena_init(&arena, memory, ROW_BYTES_MAX);
    while (registry_rows_next(k->r, &arena, &change)) {
        put_row(rows, &change);
        arena_reset(&arena);
    }
    free(memory);
    registry_check(k->r);
}

static int by_key(const void *x, const void *y)
{
    const struct kit_row *a = x;
    const struct kit_row *b = y;
    size_t n = a->key_n < b->key_n ? a->key_n : b->key_n;
    int order = memcmp(a->key, b->key, n);
    return order != 0 ? order : (int)a->key_n - (int)b->key_n;
}

/* Every row once more, from what was loaded. */
static void rewrite_all(struct kit *k)
{
    struct arena arena;
    uint8_t *memory = must_alloc(ROW_BYTES_MAX);
    struct row_change change;
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        for (slot s = 1; s <= k->r->pools[kind].high; s++) {
            dirty_mark(k->r, (enum object_kind)kind, s);
        }
    }
    arena_init(&arena, memory, ROW_BYTES_MAX);
    while (registry_rows_next(k->r, &arena, &change)) {
        must(change.value.n > 0, "a row is deleted after loading");
        arena_reset(&arena);
    }
    free(memory);
}

void kit_restore(const struct kit *from, struct kit_rows *rows, struct kit *out)
{
    struct arena arena;
    uint8_t *memory = must_alloc(SCRATCH_BYTES);
    arena_init(&arena, memory, SCRATCH_BYTES);
    kit_init(out);
    out->index = from->index;
    out->term = from->term;
    out->time_ms = from->time_ms;
    out->sequence = from->sequence;
    qsort(rows->rows, rows->n, sizeof rows->rows[0], by_key);
    for (uint32_t i = 0; i < rows->n; i++) {
        const struct kit_row *row = &rows->rows[i];
        must(registry_load_row(out->r, (struct bytes){row->key, row->key_n},
                               (struct bytes){row->value, row->value_n},
                               &arena) == BATON_OK,
             "a row isn't taken");
    }
    must(registry_load_end(out->r, out->index) == BATON_OK,
         "the rows aren't a registry");
    registry_check(out->r);
    must(registry_hash(out->r) == registry_hash(from->r),
         "the hash isn't the same after loading");
    rewrite_all(out);
    must(registry_hash(out->r) == registry_hash(from->r),
         "what was loaded isn't written as it was");
    free(memory);
}

void kit_rows_fini(struct kit_rows *rows)
{
    for (uint32_t i = 0; i < rows->n; i++) {
        free(rows->rows[i].value);
    }
    free(rows->rows);
    *rows = (struct kit_rows){.rows = NULL};
}

/* --- comparing ------------------------------------------------------------------------------------------------------- */
static bool same_text(struct bytes x, struct bytes y)
{
    return x.n == y.n && (x.n == 0 || memcmp(x.data, y.data, x.n) == 0);
}

static bool same_caps(const struct capabilities *x,
                      const struct capabilities *y)
{
    return x->known == y->known && x->rtt_ms == y->rtt_ms &&
           x->memory_mb == y->memory_mb && x->cores == y->cores &&
           x->battery == y->battery && x->charging == y->charging &&
           x->kind == y->kind && x->network == y->network &&
           x->visible == y->visible && x->priority == y->priority;
}

static bool same_claim(const struct claim *x, const struct claim *y)
{
    return x->session == y->session && x->epoch == y->epoch &&
           x->lease == y->lease && same_text(x->relay, y->relay) &&
           x->time_ms == y->time_ms;
}

static bool same_numbers(const struct event *x, const struct event *y)
{
    return x->kind == y->kind && x->reason == y->reason &&
           x->cause == y->cause && x->role == y->role &&
           x->group_scope == y->group_scope && x->session == y->session &&
           x->lease == y->lease && x->previous_lease == y->previous_lease &&
           x->backup_lease == y->backup_lease && x->epoch == y->epoch &&
           x->previous_epoch == y->previous_epoch &&
           x->previous_session == y->previous_session &&
           x->backup == y->backup && x->deadline_ms == y->deadline_ms &&
           x->score == y->score && x->attachment == y->attachment &&
           x->state_bytes == y->state_bytes &&
           (x->group_slot == 0) == (y->group_slot == 0);
}

static bool same_event(const struct event *x, const struct event *y)
{
    return same_numbers(x, y) &&
           same_text(x->namespace_name, y->namespace_name) &&
           same_text(x->group, y->group) && same_text(x->device, y->device) &&
           same_text(x->tab, y->tab) && same_text(x->text, y->text) &&
           same_caps(&x->caps, &y->caps) &&
           same_claim(&x->claims[0], &y->claims[0]) &&
           same_claim(&x->claims[1], &y->claims[1]);
}

static bool same_reply(const struct reply *x, const struct reply *y)
{
    return x->status == y->status && x->reason == y->reason && x->id == y->id &&
           x->epoch == y->epoch && x->revision == y->revision &&
           x->detail == y->detail;
}

bool kit_same_out(const struct registry_out *x, const struct registry_out *y)
{
    if (x->has_reply != y->has_reply || x->duplicate != y->duplicate ||
        !same_reply(&x->reply, &y->reply)) {
        (void)fprintf(stderr, "replies differ: %d/%u and %d/%u\n",
                      (int)x->reply.status, x->reply.reason,
                      (int)y->reply.status, y->reply.reason);
        return false;
    }
    if (x->events_n != y->events_n) {
        (void)fprintf(stderr, "%u and %u events\n", x->events_n, y->events_n);
        return false;
    }
    for (uint32_t i = 0; i < x->events_n; i++) {
        if (!same_event(&x->events[i], &y->events[i])) {
            (void)fprintf(stderr, "event %u differs: kinds %d and %d\n", i,
                          (int)x->events[i].kind, (int)y->events[i].kind);
            return false;
        }
    }
    return true;
}

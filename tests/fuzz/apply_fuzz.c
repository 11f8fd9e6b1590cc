/* apply_fuzz.c - any commands at all into the registry, as if nobody had checked them at the edge.
 *
 * Input: entries of one byte of time (in 256 ms), two of length (little-endian), and a Command. Every entry leaves a sound
 * registry; in the end its rows load into another one with the same hash. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "session/registry.h"
#include "tests/unit/assert_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX   200
#define SCRATCH_BYTES (1u << 20)

static const struct registry_limits limits = {
    .namespaces_n = 8,
    .groups_n = 16,
    .devices_n = 16,
    .sessions_n = 32,
    .leases_n = 16,
    .window_blocks_n = 64,
    .scope_extras_n = 32,
    .session_extras_n = 32,
    .states_n = 2,
};

static uint8_t scratch[SCRATCH_BYTES];
static struct registry_out out;

static struct registry *fresh(int which)
{
    static uint8_t *memory[2];
    size_t n = registry_bytes(&limits);
    if (memory[which] == NULL) {
        memory[which] = aligned_alloc(64, n);
        ASSERT(memory[which] != NULL);
    }
    memset(memory[which], 0, n);
    return registry_init(memory[which], &limits);
}

/* The rows of a walk, to be loaded in the order of their kinds. */
struct rows {
    struct row_change rows[256];
    uint32_t n;
    uint8_t bytes[SCRATCH_BYTES];
    size_t used;
};

static struct bytes keep(struct rows *rows, struct bytes b)
{
    ASSERT(b.n <= sizeof rows->bytes - rows->used);
    uint8_t *to = rows->bytes + rows->used;
    if (b.n > 0) {
        memcpy(to, b.data, b.n);
    }
    rows->used += b.n;
    return (struct bytes){to, b.n};
}

static void check_rows(struct registry *r)
{
    static struct rows rows;
    struct arena arena;
    struct row_change change;
    rows.n = 0;
    rows.used = 0;
    arena_init(&arena, scratch, sizeof scratch);
    while (registry_rows_next(r, &arena, &change)) {
        ASSERT(change.value.n >
               0); /* nothing was ever stored: nothing to delete */
        ASSERT(rows.n < countof(rows.rows));
        rows.rows[rows.n++] = (struct row_change){keep(&rows, change.key),
                                                  keep(&rows, change.value)};
        arena_reset(&arena);
    }
    struct registry *other = fresh(1);
    for (uint8_t kind = 0; kind < 16; kind++) {
        for (uint32_t i = 0; i < rows.n; i++) {
            if (rows.rows[i].key.data[0] == kind) {
                enum baton_status status = registry_load_row(
                    other, rows.rows[i].key, rows.rows[i].value, &arena);
                ASSERT(status == BATON_OK);
            }
        }
    }
    enum baton_status status = registry_load_end(other, registry_applied(r));
    ASSERT(status == BATON_OK);
    ASSERT(registry_hash(other) == registry_hash(r));
    registry_check(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct registry *r = fresh(0);
    struct registry_entry entry = {.term = 1, .time_ms = 1000000};
    struct arena arena;
    size_t at = 0;
    while (at + 3 <= size && entry.index < ENTRIES_MAX) {
        size_t n = (size_t)(data[at + 1] | data[at + 2] << 8);
        entry.time_ms += (uint64_t)data[at] * 256;
        at += 3;
        n = n < size - at ? n : size - at;
        arena_init(&arena, scratch, sizeof scratch);
        Pb__Command *command =
            codec_decode_command((struct bytes){data + at, n}, &arena);
        at += n;
        if (command == NULL) {
            continue; /* the edge and the log hold decoded ones only */
        }
        if (command->version > COMMAND_VERSION) {
            command->version =
                COMMAND_VERSION; /* a later one stops a replica */
        }
        entry.index++;
        entry.command = command;
        registry_apply(r, &entry, &out);
        registry_check(r);
    }
    if (entry.index > 0) {
        check_rows(r);
    }
    return 0;
}

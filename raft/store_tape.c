/* store_tape.c - operations as bytes. */
#include "raft/store_tape.h"

#include <errno.h>
#include <sys/mman.h>

#include "raft/store_record.h"

/* What a tape keeps resident between bursts. */
#define KEEP_BYTES ((size_t)4 << 20)

static size_t padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

int store_tape_init(struct store_tape *tape, size_t bytes_max)
{
    ASSERT(bytes_max >= sizeof(struct store_batch));
    void *memory = mmap(NULL, bytes_max, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    tape->memory = memory;
    tape->bytes_max = bytes_max;
    store_tape_rewind(tape);
    return 0;
}

void store_tape_fini(struct store_tape *tape)
{
    if (tape->memory != NULL) {
        (void)munmap(tape->memory, tape->bytes_max);
        tape->memory = NULL;
    }
}

void store_tape_rewind(struct store_tape *tape)
{
    ASSERT(tape->memory != NULL);
    ASSERT(tape->taken == tape->committed);
    tape->taken = 0;
    tape->committed = 0;
    tape->open = 0;
    tape->end = sizeof(struct store_batch);
}

void store_tape_shrink(struct store_tape *tape)
{
    ASSERT(tape->taken == tape->committed);
    if (tape->committed > KEEP_BYTES) {
        /* Only advice: if it is not taken, the pages stay. */
        (void)madvise(tape->memory + KEEP_BYTES, tape->bytes_max - KEEP_BYTES,
                      MADV_DONTNEED);
    }
}

void store_tape_add(struct store_tape *tape, const struct store_op *op,
                    struct bytes key, struct bytes data)
{
    ASSERT(op->key_n == key.n);
    ASSERT(op->data_n == data.n);
    size_t bytes = padded(sizeof(*op) + key.n + data.n);
    ASSERT(bytes <= tape->bytes_max - tape->end);
    uint8_t *at = tape->memory + tape->end;
    __builtin_memcpy(at, op, sizeof(*op));
    store_copy(at + sizeof(*op), key.data, key.n);
    store_copy(at + sizeof(*op) + key.n, data.data, data.n);
    tape->end += bytes;
}

void store_tape_close(struct store_tape *tape, uint64_t number, uint64_t now_us)
{
    ASSERT(tape->end >= tape->open + sizeof(struct store_batch));
    ASSERT(tape->bytes_max - tape->end >= sizeof(struct store_batch));
    struct store_batch head = {
        .number = number,
        .committed_us = now_us,
        .bytes = tape->end - tape->open,
    };
    __builtin_memcpy(tape->memory + tape->open, &head, sizeof(head));
    tape->committed = tape->end;
    tape->open = tape->end;
    tape->end += sizeof(struct store_batch);
}

const struct store_batch *store_tape_batch(const struct store_tape *tape,
                                           size_t offset)
{
    ASSERT(offset < tape->bytes_max);
    ASSERT(offset % 8 == 0);
    return (const struct store_batch *)(const void *)(tape->memory + offset);
}

struct store_tape_walk store_tape_ops(const struct store_batch *batch)
{
    const uint8_t *start = (const uint8_t *)batch;
    return (struct store_tape_walk){
        .at = start + sizeof(*batch),
        .end = start + batch->bytes,
    };
}

const struct store_op *store_tape_op(struct store_tape_walk *walk,
                                     struct bytes *out_key,
                                     struct bytes *out_data)
{
    ASSERT(walk->at <= walk->end);
    if (walk->at == walk->end) {
        return NULL;
    }
    const struct store_op *op = (const struct store_op *)(const void *)walk->at;
    *out_key = (struct bytes){walk->at + sizeof(*op), op->key_n};
    *out_data = (struct bytes){walk->at + sizeof(*op) + op->key_n, op->data_n};
    walk->at += padded(sizeof(*op) + op->key_n + op->data_n);
    return op;
}

#include "node/history.h"

#include <stdlib.h>
#include <string.h>

struct record {
    uint64_t revision;
    uint64_t at; /* counted without wrapping */
    size_t n;
};

struct history {
    size_t bytes_n;
    uint32_t records_n; /* a power of two */
    uint64_t head;      /* bytes */
    uint64_t first;     /* records, counted without wrapping */
    uint64_t end;
    uint64_t from;
    uint8_t *bytes;
    struct record *records;
};

struct history *history_new(size_t bytes_n)
{
    struct history *h = calloc(1, sizeof *h);
    if (h == NULL) {
        return NULL;
    }
    h->bytes_n = bytes_n;
    h->records_n = 1024;
    /* A batch is seldom below 64 bytes: that many records are never the bound. */
    while (h->records_n < bytes_n / 64 && h->records_n < (1u << 24)) {
        h->records_n *= 2;
    }
    h->bytes = malloc(bytes_n);
    h->records = calloc(h->records_n, sizeof *h->records);
    if (h->bytes == NULL || h->records == NULL) {
        history_free(h);
        return NULL;
    }
    h->from = 1;
    return h;
}

void history_free(struct history *h)
{
    if (h == NULL) {
        return;
    }
    free(h->bytes);
    free(h->records);
    free(h);
}

void history_reset(struct history *h, uint64_t from)
{
    h->head = 0;
    h->first = h->end;
    h->from = from;
}

static struct record *record_at(const struct history *h, uint64_t i)
{
    return &h->records[i & (h->records_n - 1)];
}

static void forget_first(struct history *h)
{
    ASSERT(h->first < h->end);
    h->from = record_at(h, h->first)->revision + 1;
    h->first++;
}

void history_put(struct history *h, uint64_t revision, struct bytes batch)
{
    ASSERT(h->first == h->end || revision > record_at(h, h->end - 1)->revision);
    if (batch.n > h->bytes_n / 2) {
        history_reset(h, revision + 1);
        return;
    }
    uint64_t at = h->head;
    size_t offset = (size_t)(at % h->bytes_n);
    if (offset + batch.n > h->bytes_n) {
        at += h->bytes_n - offset;
    }
    while (h->first < h->end &&
           (h->end - h->first == h->records_n ||
            at + batch.n - record_at(h, h->first)->at > h->bytes_n)) {
        forget_first(h);
    }
    memcpy(h->bytes + at % h->bytes_n, batch.data, batch.n);
    *record_at(h, h->end) =
        (struct record){.revision = revision, .at = at, .n = batch.n};
    h->end++;
    h->head = at + batch.n;
}

uint64_t history_from(const struct history *h)
{
    return h->from;
}

bool history_get(const struct history *h, uint64_t from, uint64_t *out_revision,
                 struct bytes *out_batch)
{
    uint64_t low = h->first;
    uint64_t high = h->end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (record_at(h, middle)->revision < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == h->end) {
        return false;
    }
    const struct record *r = record_at(h, low);
    *out_revision = r->revision;
    *out_batch = (struct bytes){h->bytes + r->at % h->bytes_n, r->n};
    return true;
}

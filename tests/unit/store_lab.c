/* store_lab.c - see store_lab.h. */
#include "tests/unit/store_lab.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

static void wake(void *arg)
{
    struct lab *lab = arg;
    (void)pthread_mutex_lock(&lab->lock);
    lab->wakes++;
    (void)pthread_cond_signal(&lab->woken);
    (void)pthread_mutex_unlock(&lab->lock);
}

void lab_init(struct lab *lab)
{
    const char *base = getenv("TMPDIR");
    memset(lab, 0, sizeof(*lab));
    (void)snprintf(lab->dir, sizeof(lab->dir), "%s/baton-store.XXXXXX",
                   base != NULL && strlen(base) < 80 ? base : "/tmp");
    assert_non_null(mkdtemp(lab->dir));
    (void)pthread_mutex_init(&lab->lock, NULL);
    (void)pthread_cond_init(&lab->woken, NULL);
    lab->term = 1;
    lab->options = (struct store_options){
        .dir = lab->dir,
        .cluster = 7,
        .node = 1,
        .map_bytes = (uint64_t)64 << 20,
        .queue_bytes_max = (uint64_t)8 << 20,
        .create = true,
        .wake = wake,
        .wake_arg = lab,
    };
}

const char *lab_path(const struct lab *lab, const char *name)
{
    static char path[400];
    (void)snprintf(path, sizeof(path), "%s/%s", lab->dir, name);
    return path;
}

void lab_fini(struct lab *lab)
{
    assert_null(lab->s);
    DIR *dir = opendir(lab->dir);
    if (dir != NULL) {
        for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
            (void)unlink(lab_path(lab, e->d_name));
        }
        (void)closedir(dir);
    }
    (void)rmdir(lab->dir);
    (void)pthread_mutex_destroy(&lab->lock);
    (void)pthread_cond_destroy(&lab->woken);
}

bool lab_open(struct lab *lab)
{
    assert_null(lab->s);
    lab->error[0] = '\0';
    lab->stored = 0;
    lab->failed = false;
    lab->wakes = 0;
    lab->s =
        store_open(&lab->options, &lab->boot, lab->error, sizeof(lab->error));
    if (lab->s == NULL) {
        return false;
    }
    lab->last = lab->boot.last.index;
    lab->chain = lab->boot.last_chain;
    lab->term = max_u64(max_u64(lab->boot.term, lab->boot.last.term), 1);
    return true;
}

bool lab_close(struct lab *lab)
{
    assert_non_null(lab->s);
    bool ok = store_close(lab->s, 20000);
    lab->s = NULL;
    return ok;
}

void lab_must_open(struct lab *lab)
{
    if (!lab_open(lab)) {
        fail_msg("%s", lab->error);
    }
}

void lab_must_close(struct lab *lab)
{
    assert_true(lab_close(lab));
}

struct bytes lab_data(raft_index index, size_t n)
{
    static uint8_t data[LAB_DATA_MAX];
    assert_true(n <= sizeof(data));
    for (size_t i = 0; i < n; i++) {
        data[i] = (uint8_t)(index * 31 + i * 7 + (i >> 8));
    }
    return (struct bytes){data, n};
}

struct bytes lab_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

void lab_append(struct lab *lab, size_t n)
{
    struct store_entry entry = {
        .index = ++lab->last,
        .term = lab->term,
        .kind = RAFT_NORMAL,
        .time_ms = 1000 + lab->last,
        .data = lab_data(lab->last, n),
    };
    entry.chain = store_chain(lab->chain, &entry);
    lab->chain = entry.chain;
    store_append(lab->s, &entry);
}

void lab_truncate(struct lab *lab, raft_index from, uint64_t chain_before)
{
    store_truncate(lab->s, from);
    lab->last = from - 1;
    lab->chain = chain_before;
}

struct store_checkpoint lab_checkpoint(raft_index index, raft_term term,
                                       uint64_t chain)
{
    return (struct store_checkpoint){
        .pos = {index, term},
        .chain = chain,
        .hash = index * 1000,
        .time_ms = index * 10,
        .config = lab_text("configuration"),
        .config_index = 1,
    };
}

/* Sleeps until the store woke us; the store promises that after store_next() said that there is nothing. */
static void wait_wake(struct lab *lab)
{
    (void)pthread_mutex_lock(&lab->lock);
    while (lab->wakes == 0) {
        (void)pthread_cond_wait(&lab->woken, &lab->lock);
    }
    lab->wakes = 0;
    (void)pthread_mutex_unlock(&lab->lock);
}

/* The next event, noted in what the lab knows; false: nothing. */
static bool next_event(struct lab *lab, struct store_event *out)
{
    if (!store_next(lab->s, out)) {
        return false;
    }
    assert_false(lab->failed); /* the last word */
    if (out->type == STORE_STORED) {
        assert_true(out->batch > lab->stored);
        lab->stored = out->batch;
    } else if (out->type == STORE_FAILED) {
        lab->failed = true;
        lab->failure = *out;
    }
    return true;
}

void lab_event(struct lab *lab, struct store_event *out)
{
    do {
        while (!next_event(lab, out)) {
            wait_wake(lab);
        }
    } while (out->type == STORE_STORED);
}

bool lab_wait(struct lab *lab, uint64_t batch)
{
    struct store_event event;
    while (lab->stored < batch && !lab->failed) {
        if (next_event(lab, &event)) {
            assert_true(event.type != STORE_READ);
        } else {
            wait_wake(lab);
        }
    }
    return !lab->failed;
}

bool lab_try_commit(struct lab *lab)
{
    return lab_wait(lab, store_commit(lab->s));
}

uint64_t lab_commit(struct lab *lab)
{
    uint64_t batch = store_commit(lab->s);
    if (!lab_wait(lab, batch)) {
        fail_msg("%s", lab->failure.error);
    }
    return batch;
}

/* --- fingerprint ---------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t sum, struct bytes bytes)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.n, sum);
}

static uint64_t mix_number(uint64_t sum, uint64_t number)
{
    return XXH3_64bits_withSeed(&number, sizeof(number), sum);
}

static uint64_t mix_entries(struct lab *lab, uint64_t sum)
{
    struct store_entry entry;
    uint64_t n = 0;
    for (raft_index i = lab->boot.first; store_boot_entry(lab->s, i, &entry);
         i++) {
        assert_true(entry.index == i);
        sum = mix_number(sum, entry.term);
        sum = mix_number(sum, entry.chain);
        sum = mix(sum, entry.data);
        n++;
    }
    assert_true(n == lab->boot.last.index + 1 - lab->boot.first);
    return sum;
}

static uint64_t mix_rows(struct lab *lab, uint64_t sum)
{
    uint64_t cursor = 0;
    struct bytes key;
    struct bytes value;
    while (store_rows_next(lab->s, &cursor, &key, &value)) {
        sum = mix(mix(sum, key), value);
    }
    return mix_number(sum, cursor);
}

static uint64_t mix_reads(struct lab *lab, uint64_t sum)
{
    struct store_event event;
    if (lab->boot.events_last > 0) {
        store_read_events(lab->s, 1, lab->boot.events_from, UINT64_MAX,
                          1 << 20);
        lab_event(lab, &event);
        assert_int_equal(event.type, STORE_READ);
        assert_false(event.gone);
        for (uint32_t i = 0; i < event.records_n; i++) {
            sum = mix_number(sum, event.records[i].index);
            sum = mix(sum, event.records[i].value);
        }
    }
    store_read_incoming(lab->s, 2);
    lab_event(lab, &event);
    assert_int_equal(event.type, STORE_READ);
    sum = mix_number(sum, event.checkpoint.pos.index);
    if (event.records_n > 0) {
        sum = mix(sum, event.records[0].key);
    }
    return sum;
}

uint64_t lab_fingerprint(struct lab *lab)
{
    const struct store_boot *b = &lab->boot;
    const uint64_t numbers[] = {
        b->term,
        b->vote,
        b->first,
        b->last.index,
        b->last.term,
        b->last_chain,
        b->checkpoint.index,
        b->checkpoint.term,
        b->checkpoint_chain,
        b->checkpoint_hash,
        b->checkpoint_time_ms,
        b->checkpoint_config_index,
        b->events_from,
        b->events_last,
    };
    uint64_t sum = 0;
    for (size_t i = 0; i < countof(numbers); i++) {
        sum = mix_number(sum, numbers[i]);
    }
    sum = mix(sum, b->checkpoint_config);
    return mix_reads(lab, mix_rows(lab, mix_entries(lab, sum)));
}

/* --- the fixed work ------------------------------------------------------------------------------------------------- */

/* Chains of a snapshot come from elsewhere: any number will do. */
#define AWAY_CHAIN(index) ((index)*0x9e3779b97f4a7c15U)

static void work_rows(struct lab *lab, const char *prefix, uint32_t n,
                      bool incoming)
{
    char key[64];
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(key, sizeof(key), "%s/%03u", prefix, i);
        struct bytes value = lab_data(i, 10 + i * 40);
        if (incoming) {
            store_incoming_row(lab->s, lab_text(key), value);
        } else {
            store_put_row(lab->s, lab_text(key), value);
        }
    }
}

static void work_entries(struct lab *lab, uint32_t n, size_t bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        lab_append(lab, bytes);
        store_put_event(lab->s, lab->last, lab_text("event"));
    }
}

static void work_checkpoint(struct lab *lab)
{
    struct store_checkpoint c =
        lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &c);
}

static void work_late(struct lab *lab, uint32_t batch)
{
    struct store_checkpoint away = lab_checkpoint(40, 3, AWAY_CHAIN(40));
    struct store_checkpoint next = lab_checkpoint(90, 5, AWAY_CHAIN(90));
    switch (batch) {
    case 9:
        store_incoming_begin(lab->s, &away);
        work_rows(lab, "away", 5, true);
        return;
    case 10:
        work_rows(lab, "away2", 5, true);
        work_entries(lab, 1, 100);
        return;
    case 11:
        store_incoming_install(lab->s, &away);
        lab->last = 40;
        lab->chain = away.chain;
        return;
    case 12:
        lab->term = 4;
        store_put_hard_state(lab->s, 4, 1);
        work_entries(lab, 6, 200);
        return;
    case 13:
        store_put_row(lab->s, lab_text("away/001"), lab_text("other"));
        work_checkpoint(lab);
        return;
    case 14:
        store_trim_log(lab->s, lab->last - 1);
        store_trim_events(lab->s, lab->last - 2);
        return;
    case 15:
        store_incoming_begin(lab->s, &next);
        work_rows(lab, "next", 3, true);
        return;
    default:
        work_entries(lab, 2, 4081);
        return;
    }
}

void lab_work(struct lab *lab, uint32_t batch)
{
    static uint64_t chain_3; /* behind entry 3, to truncate to */
    switch (batch) {
    case 1:
        store_put_hard_state(lab->s, 1, 1);
        work_entries(lab, 3, 10);
        chain_3 = lab->chain;
        return;
    case 2:
        work_entries(lab, 2, 5000);
        return;
    case 3:
        lab->term = 2;
        store_put_hard_state(lab->s, 2, 3);
        lab_truncate(lab, 4, chain_3);
        lab_append(lab, 0);
        lab_append(lab, 64);
        return;
    case 4:
        work_rows(lab, "row", 8, false);
        work_checkpoint(lab);
        return;
    case 5:
        work_entries(lab, 1, 20000);
        return;
    case 6:
        store_trim_log(lab->s, 4);
        store_trim_events(lab->s, 3);
        return;
    case 7:
        store_put_row(lab->s, lab_text("row/001"), lab_text("changed"));
        store_delete_row(lab->s, lab_text("row/002"));
        work_checkpoint(lab);
        return;
    case 8:
        work_entries(lab, 4, 300);
        return;
    default:
        work_late(lab, batch);
        return;
    }
}

/* store.c - the store as the loop sees it: opening, the open batch, reads, what happened, closing. */
#include "raft/store_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- opening -------------------------------------------------------------------------------------------------------- */

static void destroy(struct store *s)
{
    free(s->boot_config);
    free(s->boot_walk.buffer.data);
    free(s->rows_walk.buffer.data);
    free(s->gather.data);
    if (s->handed != NULL) {
        store_read_free(s->handed);
    }
    struct store_reads *lists[] = {&s->asked, &s->answered, &s->spare};
    for (size_t i = 0; i < countof(lists); i++) {
        struct store_read *read;
        while ((read = store_reads_pop(lists[i])) != NULL) {
            store_read_free(read);
        }
    }
    if (s->env != NULL) {
        mdb_env_close(s->env);
    }
    store_tape_fini(&s->tapes[0]);
    store_tape_fini(&s->tapes[1]);
    if (s->lock_fd >= 0) {
        (void)close(s->lock_fd);
    }
    if (s->dir_fd >= 0) {
        (void)close(s->dir_fd);
    }
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_cond_destroy(&s->done);
    (void)pthread_mutex_destroy(&s->lock_memory);
    (void)pthread_mutex_destroy(&s->wake_lock);
    free(s->dir);
    free(s);
}

static struct store *make(const struct store_options *options)
{
    struct store *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->dir_fd = -1;
    s->lock_fd = -1;
    s->options = *options;
    s->batch = 1;
    s->lock = &s->lock_memory;
    pthread_condattr_t attr;
    /* Waits with a deadline are on the clock that nobody sets. */
    if (pthread_mutex_init(&s->lock_memory, NULL) != 0 ||
        pthread_mutex_init(&s->wake_lock, NULL) != 0 ||
        pthread_condattr_init(&attr) != 0 ||
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&s->work, NULL) != 0 ||
        pthread_cond_init(&s->done, &attr) != 0) {
        free(s);
        return NULL;
    }
    (void)pthread_condattr_destroy(&attr);
    s->dir = strdup(options->dir);
    uint64_t tape = options->queue_bytes_max * 2 + STORE_SLACK_BYTES;
    if (s->dir == NULL || store_tape_init(&s->tapes[0], tape) != 0 ||
        store_tape_init(&s->tapes[1], tape) != 0) {
        destroy(s);
        return NULL;
    }
    return s;
}

static bool open_dir(struct store *s, char *error, size_t error_bytes)
{
    if (s->options.create && mkdir(s->dir, 0700) != 0 && errno != EEXIST) {
        (void)snprintf(error, error_bytes, "%s: cannot be made (%s)", s->dir,
                       strerror(errno));
        return false;
    }
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        (void)snprintf(error, error_bytes, "%s: cannot be opened (%s)", s->dir,
                       strerror(errno));
        return false;
    }
    return true;
}

static bool lock_dir(struct store *s, char *error, size_t error_bytes)
{
    uint64_t pid = 0;
    int code = 0;
    s->lock_fd = store_lock(s->dir_fd, &pid, &code);
    if (s->lock_fd >= 0) {
        return true;
    }
    if (code == 0) {
        (void)snprintf(error, error_bytes,
                       "%s: in use by process %" PRIu64
                       "; stop that one first, or use another directory",
                       s->dir, pid);
    } else {
        (void)snprintf(error, error_bytes, "%s: cannot be locked (%s)", s->dir,
                       strerror(code));
    }
    return false;
}

static bool matches(struct store *s, char *error, size_t error_bytes)
{
    const struct store_identity *id = &s->identity;
    if (id->cluster == s->options.cluster && id->node == s->options.node) {
        return true;
    }
    (void)snprintf(error, error_bytes,
                   "%s: belongs to cluster %" PRIu64 " node %" PRIu32
                   ", and not to cluster %" PRIu64 " node %" PRIu32
                   "; give this node its own directory",
                   s->dir, id->cluster, id->node, s->options.cluster,
                   s->options.node);
    return false;
}

/* The identity before the database: whatever happens in between, the next start knows that nothing was promised yet. */
static bool make_identity(struct store *s, char *error, size_t error_bytes)
{
    s->identity = (struct store_identity){
        .cluster = s->options.cluster,
        .node = s->options.node,
    };
    int rc = store_random(&s->identity.incarnation);
    if (rc == 0) {
        rc = store_random(&s->identity.lineage.own);
    }
    if (rc == 0) {
        rc = store_identity_write(s->dir_fd, &s->identity);
    }
    if (rc != 0) {
        (void)snprintf(error, error_bytes,
                       "%s: the identity file cannot be written (%s)", s->dir,
                       strerror(rc));
    }
    return rc == 0;
}

/* A database that was begun and not finished is made again from nothing. */
static bool clear_database(struct store *s, char *error, size_t error_bytes)
{
    const char *names[] = {STORE_FILE_DATA, STORE_FILE_READERS};
    for (size_t i = 0; i < countof(names); i++) {
        if (unlinkat(s->dir_fd, names[i], 0) != 0 && errno != ENOENT) {
            (void)snprintf(error, error_bytes, "%s: %s cannot be removed (%s)",
                           s->dir, names[i], strerror(errno));
            return false;
        }
    }
    return true;
}

static bool database_there(struct store *s, char *error, size_t error_bytes)
{
    struct stat st;
    if (fstatat(s->dir_fd, STORE_FILE_DATA, &st, 0) == 0 && st.st_size > 0) {
        return true;
    }
    (void)snprintf(error, error_bytes,
                   "%s: %s is missing or empty although this node stored in "
                   "it: what it promised is lost; move the directory away and "
                   "let this node join again as a new member",
                   s->dir, STORE_FILE_DATA);
    return false;
}

static bool find_identity(struct store *s, char *error, size_t error_bytes)
{
    char name[256] = "";
    int code = 0;
    switch (store_identity_find(s->dir_fd, &s->identity, name, sizeof(name),
                                &code)) {
    case STORE_FOUND_IDENTITY:
        return matches(s, error, error_bytes);
    case STORE_FOUND_NOTHING:
        if (s->options.create) {
            return true;
        }
        (void)snprintf(error, error_bytes,
                       "%s: holds no store; is it the right directory?",
                       s->dir);
        return false;
    case STORE_FOUND_FOREIGN:
        (void)snprintf(error, error_bytes,
                       "%s: has no identity file, but holds other files (%s); "
                       "use an empty directory, or put the file back",
                       s->dir, name);
        return false;
    case STORE_FOUND_DAMAGED:
        (void)snprintf(error, error_bytes,
                       "%s: the identity file is damaged; restore it, or move "
                       "the directory away and let this node join again as a "
                       "new member",
                       s->dir);
        return false;
    case STORE_FOUND_ERROR:
        break;
    }
    (void)snprintf(error, error_bytes, "%s: cannot be read (%s)", s->dir,
                   strerror(code));
    return false;
}

static bool open_files(struct store *s, char *error, size_t error_bytes)
{
    /* Looked at before the lock, so that a directory that is not ours stays as it is; and after, when nobody writes it. */
    if (!open_dir(s, error, error_bytes) ||
        !find_identity(s, error, error_bytes) ||
        !lock_dir(s, error, error_bytes)) {
        return false;
    }
    s->identity = (struct store_identity){0};
    if (!find_identity(s, error, error_bytes)) {
        return false;
    }
    if (s->identity.initialised) {
        return database_there(s, error, error_bytes);
    }
    return make_identity(s, error, error_bytes) &&
           clear_database(s, error, error_bytes);
}

static bool start_writer(struct store *s, char *error, size_t error_bytes)
{
    /* Signals belong to the threads that the program chose for them. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&s->writer, NULL, store_writer_main, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        (void)snprintf(error, error_bytes, "%s: no thread for the writer (%s)",
                       s->dir, strerror(rc));
    }
    if (rc == 0) {
        /* For whoever looks at threads; a name is all that it is. */
        (void)pthread_setname_np(s->writer, "store");
    }
    s->writer_started = rc == 0;
    return rc == 0;
}

struct store *store_open(const struct store_options *options,
                         struct store_boot *out_boot, char *error,
                         size_t error_bytes)
{
    ASSERT(options->dir != NULL);
    ASSERT(options->node != 0);
    ASSERT(error_bytes > 0);
    struct store *s = make(options);
    if (s == NULL) {
        (void)snprintf(error, error_bytes, "%s: not enough memory",
                       options->dir);
        return NULL;
    }
    struct store_boot boot;
    if (!open_files(s, error, error_bytes) ||
        !store_boot_open(s, &boot, error, error_bytes) ||
        !start_writer(s, error, error_bytes)) {
        destroy(s);
        return NULL;
    }
    *out_boot = boot;
    return s;
}

bool store_draw(struct store *s, uint64_t seen_boot, struct lineage *out)
{
    struct store_identity next = s->identity;
    next.lineage.before = next.lineage.own;
    next.lineage.before_boot = seen_boot;
    if (store_random(&next.lineage.own) != 0 ||
        store_identity_write(s->dir_fd, &next) != 0) {
        return false;
    }
    s->identity = next;
    *out = next.lineage;
    return true;
}

/* --- closing -------------------------------------------------------------------------------------------------------- */

/* With the lock held. */
static bool wait_stored(struct store *s, uint64_t timeout_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + timeout_ms % 1000 * 1000000;
    until.tv_sec += (time_t)(timeout_ms / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    while (!s->failed && s->stored_batch < s->committed) {
        if (pthread_cond_timedwait(&s->done, s->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    return s->failed || s->stored_batch == s->committed;
}

bool store_close(struct store *s, uint64_t timeout_ms)
{
    ASSERT(s->writer_started);
    store_walk_end(s, &s->boot_walk);
    store_walk_end(s, &s->rows_walk);
    (void)pthread_mutex_lock(s->lock);
    bool ended = wait_stored(s, timeout_ms);
    bool ok = ended && !s->failed;
    s->stop = true;
    (void)pthread_cond_broadcast(&s->work);
    (void)pthread_cond_broadcast(&s->done);
    (void)pthread_mutex_unlock(s->lock);
    if (!ended) {
        /* The writer hangs in the disk and cannot be taken back: all stays as it is for the rest of the process. */
        (void)pthread_mutex_lock(&s->wake_lock);
        s->wake_off = true;
        (void)pthread_mutex_unlock(&s->wake_lock);
        (void)pthread_detach(s->writer);
        return false;
    }
    (void)pthread_join(s->writer, NULL);
    destroy(s);
    return ok;
}

/* --- the open batch ------------------------------------------------------------------------------------------------- */

static void add(struct store *s, struct store_op op, struct bytes key,
                struct bytes data)
{
    ASSERT(key.n <= STORE_ROW_KEY_BYTES_MAX);
    ASSERT(data.n <= STORE_DATA_BYTES_MAX);
    op.key_n = (uint32_t)key.n;
    op.data_n = (uint32_t)data.n;
    store_tape_add(&s->tapes[s->fill], &op, key, data);
}

static const struct bytes nothing = {NULL, 0};

void store_put_hard_state(struct store *s, raft_term term, raft_id vote)
{
    add(s,
        (struct store_op){
            .type = STORE_OP_HARD_STATE, .term = term, .index = vote},
        nothing, nothing);
}

void store_truncate(struct store *s, raft_index from)
{
    ASSERT(from > 0);
    add(s, (struct store_op){.type = STORE_OP_TRUNCATE, .index = from}, nothing,
        nothing);
}

void store_append(struct store *s, const struct store_entry *entry)
{
    ASSERT(entry->index > 0);
    ASSERT(entry->term > 0);
    ASSERT(entry->kind >= RAFT_NORMAL);
    ASSERT(entry->kind <= RAFT_CONFIG);
    add(s,
        (struct store_op){
            .type = STORE_OP_APPEND,
            .kind = (uint32_t)entry->kind,
            .index = entry->index,
            .term = entry->term,
            .time_ms = entry->time_ms,
            .chain = entry->chain,
        },
        nothing, entry->data);
}

void store_put_row(struct store *s, struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    add(s, (struct store_op){.type = STORE_OP_PUT_ROW}, key, value);
}

void store_delete_row(struct store *s, struct bytes key)
{
    ASSERT(key.n > 0);
    add(s, (struct store_op){.type = STORE_OP_DELETE_ROW}, key, nothing);
}

/* A checkpoint travels as it is stored; key and data make one record. */
static void add_checkpoint(struct store *s, enum store_op_type type,
                           const struct store_checkpoint *c)
{
    uint8_t fixed[STORE_CHECKPOINT_BYTES];
    store_checkpoint_encode(c, fixed);
    add(s, (struct store_op){.type = (uint32_t)type},
        (struct bytes){fixed, sizeof(fixed)}, c->config);
}

void store_put_checkpoint(struct store *s, const struct store_checkpoint *c)
{
    add_checkpoint(s, STORE_OP_CHECKPOINT, c);
}

void store_put_event(struct store *s, raft_index revision, struct bytes batch)
{
    ASSERT(revision > 0);
    add(s, (struct store_op){.type = STORE_OP_EVENT, .index = revision},
        nothing, batch);
}

void store_trim_log(struct store *s, raft_index first)
{
    add(s, (struct store_op){.type = STORE_OP_TRIM_LOG, .index = first},
        nothing, nothing);
}

void store_trim_events(struct store *s, raft_index first)
{
    add(s, (struct store_op){.type = STORE_OP_TRIM_EVENTS, .index = first},
        nothing, nothing);
}

void store_incoming_begin(struct store *s, const struct store_checkpoint *c)
{
    add_checkpoint(s, STORE_OP_INCOMING_BEGIN, c);
}

void store_incoming_row(struct store *s, struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    add(s, (struct store_op){.type = STORE_OP_INCOMING_ROW}, key, value);
}

void store_incoming_install(struct store *s, const struct store_checkpoint *c)
{
    add_checkpoint(s, STORE_OP_INCOMING_INSTALL, c);
}

uint64_t store_commit(struct store *s)
{
    store_walk_end(s, &s->boot_walk);
    store_walk_end(s, &s->rows_walk);
    uint64_t number = s->batch++;
    uint64_t now_us = store_now_us();
    (void)pthread_mutex_lock(s->lock);
    struct store_tape *tape = &s->tapes[s->fill];
    uint64_t bytes = store_tape_open_bytes(tape);
    store_tape_close(tape, number, now_us);
    s->committed = number;
    s->queue_bytes += bytes;
    s->stats.batches_waiting++;
    if (s->drain == s->fill) {
        /* The writer is on this tape, so the other one is empty. */
        s->fill ^= 1U;
        store_tape_rewind(&s->tapes[s->fill]);
    }
    (void)pthread_mutex_unlock(s->lock);
    (void)pthread_cond_signal(&s->work);
    return number;
}

uint64_t store_batch(const struct store *s)
{
    return s->batch;
}

uint64_t store_room(const struct store *s)
{
    (void)pthread_mutex_lock(s->lock);
    uint64_t used = s->queue_bytes + store_tape_open_bytes(&s->tapes[s->fill]);
    (void)pthread_mutex_unlock(s->lock);
    return used < s->options.queue_bytes_max ? s->options.queue_bytes_max - used
                                             : 0;
}

/* --- reads ---------------------------------------------------------------------------------------------------------- */

static struct store_read *new_read(struct store *s, enum store_read_type type,
                                   uint64_t tag, uint64_t bytes_max)
{
    (void)pthread_mutex_lock(s->lock);
    struct store_read *read = store_reads_pop(&s->spare);
    (void)pthread_mutex_unlock(s->lock);
    if (read == NULL) {
        read = calloc(1, sizeof(*read));
        ASSERT(read != NULL);
    }
    store_read_reset(read);
    read->type = type;
    read->tag = tag;
    read->bytes_max = bytes_max;
    return read;
}

static void ask(struct store *s, struct store_read *read)
{
    (void)pthread_mutex_lock(s->lock);
    /* Whatever was asked for before is seen, in the open batch too; an empty one is not waited for. */
    bool open =
        store_tape_open_bytes(&s->tapes[s->fill]) > sizeof(struct store_batch);
    read->after = open ? s->batch : s->committed;
    store_reads_push(&s->asked, read);
    (void)pthread_mutex_unlock(s->lock);
    (void)pthread_cond_signal(&s->work);
}

void store_read_log(struct store *s, uint64_t tag, raft_index from,
                    raft_index to, uint64_t bytes_max)
{
    struct store_read *read = new_read(s, STORE_READ_LOG, tag, bytes_max);
    read->from = from;
    read->to = to;
    ask(s, read);
}

void store_read_events(struct store *s, uint64_t tag, raft_index from,
                       raft_index to, uint64_t bytes_max)
{
    struct store_read *read = new_read(s, STORE_READ_EVENTS, tag, bytes_max);
    read->from = from;
    read->to = to;
    ask(s, read);
}

void store_read_rows(struct store *s, uint64_t tag, raft_index index,
                     struct bytes after, uint64_t bytes_max)
{
    ASSERT(after.n <= STORE_ROW_KEY_BYTES_MAX);
    struct store_read *read = new_read(s, STORE_READ_ROWS, tag, bytes_max);
    read->from = index;
    store_copy(read->key, after.data, after.n);
    read->key_n = after.n;
    ask(s, read);
}

void store_read_incoming(struct store *s, uint64_t tag)
{
    ask(s, new_read(s, STORE_READ_INCOMING, tag, 0));
}

/* --- what happened -------------------------------------------------------------------------------------------------- */

static void hand_out(struct store *s, struct store_read *read,
                     struct store_event *out)
{
    s->handed = read;
    out->type = STORE_READ;
    out->tag = read->tag;
    out->records = read->records;
    out->records_n = read->records_n;
    out->end = read->end;
    out->gone = read->gone;
    out->checkpoint = read->checkpoint;
}

/* With the lock held. */
static bool next_event(struct store *s, struct store_event *out)
{
    if (s->stored_n > 0) {
        const struct store_stored *first = &s->stored[s->stored_first];
        out->type = STORE_STORED;
        out->batch = first->batch;
        out->took_us = first->took_us;
        s->stored_first = (s->stored_first + 1) % STORE_STORED_MAX;
        s->stored_n--;
        return true;
    }
    struct store_read *read = store_reads_pop(&s->answered);
    if (read != NULL) {
        hand_out(s, read, out);
        return true;
    }
    if (s->failed && !s->failure_told) {
        s->failure_told = true;
        out->type = STORE_FAILED;
        out->failure = s->failure;
        out->took_us = s->failure_took_us;
        _Static_assert(sizeof(out->error) == sizeof(s->error),
                       "the sentence fits");
        memcpy(out->error, s->error, sizeof(out->error));
        return true;
    }
    return false;
}

bool store_next(struct store *s, struct store_event *out)
{
    free(s->boot_config);
    s->boot_config = NULL;
    *out = (struct store_event){0};
    (void)pthread_mutex_lock(s->lock);
    if (s->handed != NULL) {
        store_reads_push(&s->spare, s->handed);
        s->handed = NULL;
    }
    bool found = next_event(s, out);
    (void)pthread_mutex_unlock(s->lock);
    return found;
}

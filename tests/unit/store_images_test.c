/* store_images_test.c - every legal image that a crash can leave of the store, opened again.
 *
 * A child does its work once, with all its calls to the disk in a journal. For each prefix of the journal, crash_images.h makes what
 * the disk may hold if the machine stopped right there, and the store is opened on it: what is there must be exactly what was there
 * before the batch at hand, or after it; and after it, once that was reported as stored. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/store.h"
#include "tests/fault/crash_images.h"
#include "tests/fault/disk_fault.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/store_lab.h"

#define TYPICAL_BATCHES 48u
#define BATCHES_MAX     48u
#define INDEX_MAX       600u
/* Images that were opened, by hash: most of what is legal at one place is legal at the next. */
#define SEEN_MAX (1u << 17)

struct work {
    const char *name;
    void (*batch)(struct lab *lab, uint32_t i);
    uint32_t n;
    uint64_t fingerprints[BATCHES_MAX + 1]; /* [n]: behind n batches */
};

/* What the child tells, in memory shared with it. */
struct told {
    /* Length of the journal when it was told that the batch is stored. */
    uint32_t ops_at[BATCHES_MAX + 1];
    uint64_t stored;
    uint64_t boot;
    /* The store failed, and its process ended; then it was opened, and stored one more batch. */
    bool again;
    uint32_t ended_at; /* lengths of the journal then */
    uint32_t opened_at;
    uint64_t again_boot;
    raft_index again_last;
    uint64_t again_chain;
    void (*lab_wake)(void *arg);
    struct disk_journal journal;
};

struct seen {
    uint64_t hash;
    uint64_t found; /* fingerprint; 0: it doesn't open */
};

static char folder[] = "/dev/shm/baton-images.XXXXXX";
static struct told *told;
static struct seen *seen;
static const struct disk_fault_plan lazy_plan = {.lazy = true};

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

/* Opening thousands of stores is for a file system in memory. */
static int prepare(void **state)
{
    (void)state;
    if (mkdtemp(folder) != NULL) {
        (void)setenv("TMPDIR", folder, 1);
    }
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    seen = calloc(SEEN_MAX, sizeof *seen);
    return told == MAP_FAILED || seen == NULL ? -1 : 0;
}

static int clean(void **state)
{
    (void)state;
    disk_fault_set(NULL, NULL);
    free(seen);
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return munmap(told, sizeof *told);
}

/* --- typical work ----------------------------------------------------------------------------------------------------- */

static void entries(struct lab *lab, uint64_t *chains, uint32_t n, size_t bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        lab_append(lab, bytes + i * 37 % 200);
        assert_true(lab->last < INDEX_MAX);
        chains[lab->last] = lab->chain;
    }
}

static void term(struct lab *lab)
{
    lab->term++;
    store_put_hard_state(lab->s, lab->term, (raft_id)(lab->term % 3));
}

static void rows(struct lab *lab, uint32_t from, uint32_t n, size_t bytes)
{
    char key[64];
    for (uint32_t i = from; i < from + n; i++) {
        (void)snprintf(key, sizeof key, "session/%05u", i * 7919 % 100);
        store_put_row(lab->s, lab_text(key), lab_data(lab->last, bytes));
    }
}

static void checkpoint(struct lab *lab)
{
    struct store_checkpoint c =
        lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &c);
}

/* What a node of a small cluster gives its store, in an order that uses all of it; each batch shows. */
static void typical(struct lab *lab, uint32_t i)
{
    static uint64_t chains[INDEX_MAX];
    raft_index last = lab->last;
    switch (i % 12) {
    case 1:
        term(lab);
        entries(lab, chains, 1, 100);
        return;
    case 2:
        entries(lab, chains, 8, 50);
        return;
    case 3:
        term(lab);
        return;
    case 4:
        entries(lab, chains, 2, 9000);
        return;
    case 5:
        term(lab);
        lab_truncate(lab, last - 2, chains[last - 3]);
        entries(lab, chains, 2, 70);
        return;
    case 6:
        rows(lab, i, 12, 300);
        checkpoint(lab);
        return;
    case 7:
        entries(lab, chains, 4, 120);
        for (raft_index at = last + 1; at <= lab->last; at++) {
            store_put_event(lab->s, at, lab_text("granted"));
        }
        return;
    case 8:
        rows(lab, i, 30, 20);
        store_delete_row(lab->s, lab_text("session/00019"));
        checkpoint(lab);
        return;
    case 9:
        store_trim_log(lab->s, last - 1);
        return;
    case 10:
        entries(lab, chains, 1, 0);
        return;
    case 11:
        store_trim_events(lab->s, last - 1);
        return;
    default:
        entries(lab, chains, 3, 3000);
        rows(lab, i, 3, 5000);
        checkpoint(lab);
        return;
    }
}

static struct work works[] = {
    {.name = "every op", .batch = lab_work, .n = LAB_WORK_BATCHES},
    {.name = "typical", .batch = typical, .n = TYPICAL_BATCHES},
};

/* fingerprints[n]: what is there after n batches. */
static void learn(struct work *w)
{
    struct lab lab;
    lab_init(&lab);
    disk_fault_set(lab.dir, &lazy_plan);
    lab_must_open(&lab);
    w->fingerprints[0] = lab_fingerprint(&lab);
    for (uint32_t i = 1; i <= w->n; i++) {
        w->batch(&lab, i);
        lab_commit(&lab);
        lab_must_close(&lab);
        lab_must_open(&lab);
        w->fingerprints[i] = lab_fingerprint(&lab);
        assert_true(w->fingerprints[i] != w->fingerprints[i - 1]);
    }
    lab_must_close(&lab);
    lab_fini(&lab);
}

/* --- the child ---------------------------------------------------------------------------------------------------------- */

/* Called by the writer, before it does anything more. */
static void note_stored(void *arg)
{
    struct lab *lab = arg;
    uint64_t batch = told->stored + 1;
    if (batch <= BATCHES_MAX && told->ops_at[batch] == 0) {
        told->ops_at[batch] = told->journal.ops_n;
    }
    told->lab_wake(lab);
}

static void open_again(struct lab *lab)
{
    told->ended_at = told->journal.ops_n;
    disk_fault_set(lab->dir, &lazy_plan);
    lab_must_open(lab);
    told->opened_at = told->journal.ops_n;
    told->again_boot = lab->boot.boot;
    lab_append(lab, 5000);
    lab_commit(lab);
    told->again_last = lab->last;
    told->again_chain = lab->chain;
    told->again = true;
}

/* Never returns. Opens a second time if the plan made the store fail. */
static void child(struct lab *lab, const struct work *w,
                  const struct disk_fault_plan *plan)
{
    told->lab_wake = lab->options.wake;
    lab->options.wake = note_stored;
    disk_fault_journal(&told->journal);
    disk_fault_set(lab->dir, &lazy_plan);
    lab_must_open(lab);
    told->boot = lab->boot.boot;
    disk_fault_set(lab->dir, plan);
    bool ok = true;
    for (uint32_t i = 1; ok && i <= w->n; i++) {
        w->batch(lab, i);
        ok = lab_try_commit(lab);
        told->stored = ok ? i : told->stored;
    }
    /* It may also have been a deletion that came behind it. */
    if (!lab_close(lab)) {
        lab->options.wake = told->lab_wake;
        open_again(lab);
        lab_must_close(lab);
    }
    _exit(0);
}

static void run_child(const struct work *w, const struct disk_fault_plan *plan)
{
    struct lab lab;
    int status = 0;
    memset(told, 0, offsetof(struct told, journal));
    told->journal.ops_n = 0;
    told->journal.pool_n = 0;
    told->journal.full = false;
    lab_init(&lab);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child(&lab, w, plan);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_false(told->journal.full);
    lab_fini(&lab);
}

/* --- opening images --------------------------------------------------------------------------------------------------------- */

struct tally {
    uint64_t images; /* legal ones */
    uint64_t opened; /* different ones */
    uint64_t wrong;
    char first[700]; /* that was wrong */
};

static void wrong(struct tally *t, const struct crash_images *c,
                  const char *text)
{
    if (t->wrong++ == 0) {
        (void)snprintf(t->first, sizeof t->first, "%s: %.500s", c->what, text);
    }
}

/* Opens it as the node would at its next start. 0: it doesn't open. */
static uint64_t open_image(struct crash_images *c, bool goes_on,
                           struct store_boot *out, char error[512])
{
    struct lab lab;
    uint64_t found = 0;
    lab_init(&lab);
    assert_true(crash_images_write(c, lab.dir));
    disk_fault_set(lab.dir, &lazy_plan);
    if (lab_open(&lab)) {
        found = lab_fingerprint(&lab) | 1;
        if (goes_on) {
            lab_append(&lab, 10);
            lab_commit(&lab);
        }
        *out = lab.boot;
        lab_must_close(&lab);
    }
    (void)snprintf(error, 512, "%s", lab.error);
    lab_fini(&lab);
    return found;
}

static struct seen *seen_of(uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (SEEN_MAX - 1);
    while (seen[at].hash != 0 && seen[at].hash != hash) {
        at = (at + 1) & (SEEN_MAX - 1);
    }
    return &seen[at];
}

static void check_image(struct crash_images *c, const struct work *w,
                        uint32_t before, uint32_t after, struct tally *t)
{
    struct store_boot boot = {0};
    char error[512] = "what's there is of no batch that may be there";
    struct seen *s = seen_of(c->hash);
    t->images++;
    if (s->hash != c->hash) {
        assert_true(++t->opened < SEEN_MAX / 2);
        s->found = open_image(c, t->opened % 8 == 0, &boot, error);
        s->hash = c->hash;
    }
    if (s->found != (w->fingerprints[before] | 1) &&
        s->found != (w->fingerprints[after] | 1)) {
        char text[700];
        (void)snprintf(text, sizeof text, "batches %u to %u: %s", before, after,
                       error);
        wrong(t, c, text);
    }
}

static void check_prefix(struct crash_images *c, const struct work *w,
                         uint32_t prefix, bool under_way, struct tally *t)
{
    uint32_t stored = 0;
    uint32_t returned = prefix - (under_way ? 1 : 0);
    while (stored < w->n && told->ops_at[stored + 1] != 0 &&
           told->ops_at[stored + 1] <= returned) {
        stored++;
    }
    crash_images_at(c, &told->journal, prefix, under_way);
    while (t->wrong == 0 && crash_images_next(c)) {
        check_image(c, w, stored, stored < w->n ? stored + 1 : stored, t);
    }
}

static void check_all(const struct work *w, struct tally *t)
{
    struct crash_images c = {.journal = NULL};
    memset(seen, 0, SEEN_MAX * sizeof *seen);
    for (uint32_t prefix = 1; prefix <= told->journal.ops_n; prefix++) {
        check_prefix(&c, w, prefix, true, t);
    }
    check_prefix(&c, w, told->journal.ops_n, false, t);
    crash_images_fini(&c);
}

static void every_image(struct work *w)
{
    struct tally t = {.images = 0};
    learn(w);
    run_child(w, &lazy_plan);
    assert_int_equal(told->stored, w->n);
    check_all(w, &t);
    if (t.wrong > 0) {
        fail_msg("%llu of %llu images are wrong, the first: %s",
                 (unsigned long long)t.wrong, (unsigned long long)t.images,
                 t.first);
    }
    print_message("%s: %u batches, %u calls, %llu images, %llu different\n",
                  w->name, w->n, told->journal.ops_n,
                  (unsigned long long)t.images, (unsigned long long)t.opened);
    assert_true(t.images > 1000);
}

static void every_image_of_every_op(void **state)
{
    (void)state;
    every_image(&works[0]);
}

static void every_image_of_typical_work(void **state)
{
    (void)state;
    every_image(&works[1]);
}

/* --- a disk that says EIO once ---------------------------------------------------------------------------------------------- */

/* All that was reported stored before the failure is there, whichever of the pages that the kernel took for clean got lost; and so is
 * what a second process stored on top of what it found in the cache. */
static void check_again(const struct work *w, struct tally *t)
{
    struct crash_images c = {.journal = NULL};
    struct store_boot boot;
    char error[512];
    memset(seen, 0, SEEN_MAX * sizeof *seen);
    const uint32_t stored = (uint32_t)told->stored;
    const uint32_t next = stored < w->n ? stored + 1 : stored;
    const uint32_t prefixes[] = {told->ended_at, told->opened_at};
    for (size_t i = 0; i < countof(prefixes); i++) {
        crash_images_at(&c, &told->journal, prefixes[i], false);
        while (crash_images_next(&c)) {
            check_image(&c, w, stored, next, t);
        }
    }
    crash_images_at(&c, &told->journal, told->journal.ops_n, false);
    while (crash_images_next(&c)) {
        struct seen *s = seen_of(c.hash);
        t->images++;
        if (s->hash == c.hash) {
            continue;
        }
        s->hash = c.hash;
        t->opened++;
        if (open_image(&c, true, &boot, error) == 0) {
            wrong(t, &c, error);
        } else if (boot.last.index != told->again_last ||
                   boot.last_chain != told->again_chain ||
                   boot.boot <= told->again_boot) {
            wrong(t, &c, "what the second process stored isn't there");
        }
    }
    crash_images_fini(&c);
}

static void every_image_after_eio(void **state)
{
    (void)state;
    struct work *w = &works[0];
    struct disk_fault_plan plan = {
        .kind = DISK_FAULT_ERROR, .error = 5, .half = true, .lazy = true};
    struct tally t = {.images = 0};
    learn(w);
    for (plan.at = 1;; plan.at++) {
        run_child(w, &plan);
        if (!told->again) {
            break;
        }
        uint64_t before = t.wrong;
        check_again(w, &t);
        if (t.wrong > before) {
            fail_msg("call %llu failed: %s", (unsigned long long)plan.at,
                     t.first);
        }
    }
    print_message("a call that fails: %llu of them, %llu images, %llu "
                  "different\n",
                  (unsigned long long)plan.at - 1, (unsigned long long)t.images,
                  (unsigned long long)t.opened);
    assert_true(plan.at > 30);
}

/* --- would it be noticed? --------------------------------------------------------------------------------------------------- */

/* True if some image is wrong once the disk doesn't do as it's told. In a child: LMDB may trust what it finds, and end by a signal. */
static bool noticed(void (*spoil)(struct disk_op *op))
{
    struct tally t = {.images = 0};
    int status = 0;
    run_child(&works[0], &lazy_plan);
    for (uint32_t i = 0; i < told->journal.ops_n; i++) {
        spoil(&told->journal.ops[i]);
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        check_all(&works[0], &t);
        _exit(t.wrong > 0 ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* As MDB_NOMETASYNC would have it: the last commit is lost. */
static void meta_unsynced(struct disk_op *op)
{
    op->durable = false;
}

/* As MDB_NOSYNC would have it: a meta page that points to what isn't there. */
static void data_unsynced(struct disk_op *op)
{
    if (op->type == DISK_OP_SYNC && op->file == DISK_FILE_DATA) {
        op->file = DISK_FILE_OTHER;
    }
}

static void identity_unsynced(struct disk_op *op)
{
    if (op->type == DISK_OP_SYNC && op->file == DISK_FILE_ASIDE) {
        op->file = DISK_FILE_OTHER;
    }
}

static void dir_unsynced(struct disk_op *op)
{
    if (op->type == DISK_OP_SYNC_DIR) {
        op->file = DISK_FILE_OTHER;
    }
}

static void lies_are_noticed(void **state)
{
    (void)state;
    learn(&works[0]);
    assert_true(noticed(meta_unsynced));
    assert_true(noticed(data_unsynced));
    assert_true(noticed(identity_unsynced));
    assert_true(noticed(dir_unsynced));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_image_of_every_op),
        cmocka_unit_test(every_image_of_typical_work),
        cmocka_unit_test(every_image_after_eio),
        cmocka_unit_test(lies_are_noticed),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}

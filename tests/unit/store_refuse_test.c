/* store_refuse_test.c - directories that are refused, each with a sentence that says why and what to do. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/store.h"
#include "raft/store_identity.h"
#include "raft/store_record.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/store_lab.h"

static int setup(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    assert_non_null(lab);
    lab_init(lab);
    *state = lab;
    return 0;
}

static int teardown(void **state)
{
    struct lab *lab = *state;
    if (lab->s != NULL) {
        lab_must_close(lab);
    }
    lab_fini(lab);
    free(lab);
    return 0;
}

/* Makes a store with something in it, and closes it. */
static void fill(struct lab *lab)
{
    lab_must_open(lab);
    for (uint32_t i = 0; i < 20; i++) {
        lab_append(lab, 300);
    }
    store_put_row(lab->s, lab_text("row"), lab_text("a row's own value"));
    struct store_checkpoint c =
        lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    lab_must_close(lab);
}

static void refused(struct lab *lab, const char *why)
{
    if (lab_open(lab)) {
        fail_msg("opened, although: %s", why);
    }
    if (strstr(lab->error, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lab->error, why);
    }
    assert_non_null(strstr(lab->error, lab->dir));
}

/* Reads a file of the directory whole; *out is to be freed. */
static size_t slurp(struct lab *lab, const char *name, uint8_t **out)
{
    struct stat st;
    int fd = open(lab_path(lab, name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *out = malloc((size_t)st.st_size + 1);
    assert_non_null(*out);
    assert_int_equal(read(fd, *out, (size_t)st.st_size), st.st_size);
    (*out)[st.st_size] = 0;
    (void)close(fd);
    return (size_t)st.st_size;
}

static void spill(struct lab *lab, const char *name, const void *bytes,
                  size_t n)
{
    int fd = open(lab_path(lab, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                  0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    (void)close(fd);
}

/* Flips a bit in the middle of every place where the pattern stands (copy on write leaves old ones). */
static void flip(struct lab *lab, struct bytes pattern)
{
    uint8_t *file;
    size_t n = slurp(lab, STORE_FILE_DATA, &file);
    uint32_t places = 0;
    for (uint8_t *at = file; (at = memmem(at, (size_t)(file + n - at),
                                          pattern.data, pattern.n)) != NULL;) {
        at[pattern.n / 2] ^= 0x10;
        at += pattern.n;
        places++;
    }
    assert_true(places > 0);
    spill(lab, STORE_FILE_DATA, file, n);
    free(file);
}

static void nothing_there(void **state)
{
    struct lab *lab = *state;
    lab->options.create = false;
    refused(lab, "holds no store");
    assert_int_equal(access(lab_path(lab, "lock"), F_OK), -1);
    assert_int_equal(rmdir(lab->dir), 0);
    refused(lab, "cannot be opened");
    lab->options.create = true;
    lab_must_open(lab);
    struct stat st;
    assert_int_equal(stat(lab->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void cannot_be_made(void **state)
{
    struct lab *lab = *state;
    char dir[256];
    (void)snprintf(dir, sizeof(dir), "%s/not/there", lab->dir);
    lab->options.dir = dir;
    assert_false(lab_open(lab));
    assert_non_null(strstr(lab->error, "cannot be made"));
    spill(lab, "file", "x", 1);
    (void)snprintf(dir, sizeof(dir), "%s/file", lab->dir);
    assert_false(lab_open(lab));
    assert_non_null(strstr(lab->error, "cannot be opened"));
}

static void foreign_directory(void **state)
{
    struct lab *lab = *state;
    spill(lab, "precious.txt", "x", 1);
    refused(lab, "precious.txt");
    assert_int_equal(access(lab_path(lab, "lock"), F_OK), -1);
}

/* What belongs to a node beside its store may be there before. */
static void node_files_are_no_strangers(void **state)
{
    struct lab *lab = *state;
    spill(lab, "log", "x", 1);
    spill(lab, "log.1", "x", 1);
    spill(lab, "pid", "x", 1);
    spill(lab, "admin.sock", "x", 1);
    spill(lab, "batond.conf", "x", 1);
    lab_must_open(lab);
    assert_true(lab->boot.fresh);
}

static void database_without_identity(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    assert_int_equal(unlink(lab_path(lab, STORE_FILE_IDENTITY)), 0);
    refused(lab, "has no identity file");
}

static void another_cluster_or_node(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    lab->options.node = 2;
    refused(lab, "belongs to cluster 7 node 1, and not to cluster 7 node 2");
    lab->options.node = 1;
    lab->options.cluster = 8;
    refused(lab, "belongs to cluster 7 node 1, and not to cluster 8 node 1");
    lab->options.cluster = 7;
    lab_must_open(lab);
}

static void damaged_identity(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    uint8_t *text;
    size_t n = slurp(lab, STORE_FILE_IDENTITY, &text);
    for (size_t i = 0; i < n; i++) {
        text[i] ^= 1;
        spill(lab, STORE_FILE_IDENTITY, text, n);
        refused(lab, "identity file is damaged");
        text[i] ^= 1;
    }
    for (size_t i = 0; i < n; i += 7) {
        spill(lab, STORE_FILE_IDENTITY, text, i);
        refused(lab, "identity file is damaged");
    }
    spill(lab, STORE_FILE_IDENTITY, text, n);
    free(text);
    lab_must_open(lab);
}

static void database_gone(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    assert_int_equal(truncate(lab_path(lab, STORE_FILE_DATA), 0), 0);
    refused(lab, "missing or empty");
    assert_int_equal(unlink(lab_path(lab, STORE_FILE_DATA)), 0);
    refused(lab, "missing or empty");
    assert_non_null(strstr(lab->error, "new member"));
}

static void database_cut_short(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    uint8_t *file;
    size_t n = slurp(lab, STORE_FILE_DATA, &file);
    for (size_t keep = 0x1000; keep < n; keep += 0x1000) {
        spill(lab, STORE_FILE_DATA, file, keep);
        /* The last pages may be free ones: then it's whole all the same. */
        if (lab_open(lab)) {
            assert_int_equal(lab->boot.last.index, 20);
            lab_must_close(lab);
            break;
        }
        assert_non_null(strstr(lab->error, "damaged"));
    }
    spill(lab, STORE_FILE_DATA, file, 100);
    refused(lab, "damaged");
    free(file);
}

static void database_of_another(void **state)
{
    struct lab *lab = *state;
    struct lab other;
    fill(lab);
    lab_init(&other);
    other.options.node = 2;
    fill(&other);
    uint8_t *file;
    size_t n = slurp(&other, STORE_FILE_DATA, &file);
    spill(lab, STORE_FILE_DATA, file, n);
    refused(lab, "another was copied here");
    free(file);
    lab_fini(&other);
}

static void older_database(void **state)
{
    struct lab *lab = *state;
    uint8_t *file;
    fill(lab);
    size_t n = slurp(lab, STORE_FILE_DATA, &file);
    lab_must_open(lab);
    lab_must_close(lab);
    spill(lab, STORE_FILE_DATA, file, n);
    free(file);
    refused(lab, "older copy");
}

static void older_identity(void **state)
{
    struct lab *lab = *state;
    uint8_t *text;
    fill(lab);
    size_t n = slurp(lab, STORE_FILE_IDENTITY, &text);
    lab_must_open(lab);
    lab_must_close(lab);
    /* One start behind is what a crash between the two writes leaves; two is an older copy. */
    lab_must_open(lab);
    lab_must_close(lab);
    spill(lab, STORE_FILE_IDENTITY, text, n);
    free(text);
    refused(lab, "older copy");
}

static void half_made(void **state)
{
    struct lab *lab = *state;
    lab_must_open(lab);
    uint64_t incarnation = lab->boot.incarnation;
    lab_must_close(lab);
    /* What a crash leaves before the second identity: the first one, and a database in any state. */
    int fd = open(lab->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct store_identity id = {
        .cluster = 7, .node = 1, .incarnation = incarnation};
    assert_int_equal(store_identity_write(fd, &id), 0);
    (void)close(fd);
    spill(lab, STORE_FILE_DATA, "half", 4);
    lab_must_open(lab);
    assert_true(lab->boot.fresh);
    assert_int_equal(lab->boot.boot, 1);
    assert_true(lab->boot.incarnation != incarnation);
    lab_append(lab, 1);
    lab_commit(lab);
}

static void flipped_bits(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    uint8_t *whole;
    size_t n = slurp(lab, STORE_FILE_DATA, &whole);
    struct bytes data = lab_data(13, 300);
    flip(lab, data);
    refused(lab, "log entry 13 is damaged (its checksum does not hold)");
    assert_non_null(strstr(lab->error, "new member"));
    spill(lab, STORE_FILE_DATA, whole, n);
    flip(lab, lab_text("a row's own value"));
    refused(lab, "row 1 of the checkpoint is damaged");
    spill(lab, STORE_FILE_DATA, whole, n);
    flip(lab, lab_text("configuration"));
    refused(lab, "is damaged");
    spill(lab, STORE_FILE_DATA, whole, n);
    free(whole);
    lab_must_open(lab);
}

static void check_mdb(int rc)
{
    assert_int_equal(rc, 0);
}

/* Replaces or (data == NULL) deletes entry 13 behind the store's back; with a checksum that holds. */
static void forge(struct lab *lab, const struct store_entry *entry)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    uint8_t key_bytes[STORE_KEY_BYTES];
    uint8_t bytes[STORE_LOG_HEAD_BYTES + 300];
    store_pack_u64(key_bytes, 13);
    MDB_val key = {sizeof(key_bytes), key_bytes};
    check_mdb(mdb_env_create(&env));
    check_mdb(mdb_env_set_maxdbs(env, 8));
    check_mdb(mdb_env_open(env, lab->dir, 0, 0600));
    check_mdb(mdb_txn_begin(env, NULL, 0, &txn));
    check_mdb(mdb_dbi_open(txn, "log", 0, &db));
    if (entry == NULL) {
        check_mdb(mdb_del(txn, db, &key, NULL));
    } else {
        assert_int_equal(entry->data.n, 300);
        store_log_encode(entry, bytes);
        memcpy(bytes + STORE_LOG_HEAD_BYTES, entry->data.data, 300);
        MDB_val value = {sizeof(bytes), bytes};
        check_mdb(mdb_put(txn, db, &key, &value, 0));
    }
    check_mdb(mdb_txn_commit(txn));
    mdb_env_close(env);
}

/* An entry that is sound by itself, but not the one that was there. */
static void forged_entries(void **state)
{
    struct lab *lab = *state;
    struct store_entry right = {0};
    fill(lab);
    lab_must_open(lab);
    for (raft_index i = 1; i <= 13; i++) {
        assert_true(store_boot_entry(lab->s, i, &right));
    }
    lab_must_close(lab);
    right.data = lab_data(13, 300);
    struct store_entry entry = right;
    entry.time_ms++;
    forge(lab, &entry);
    refused(lab, "log entry 13 is damaged (it does not follow");
    entry = right;
    entry.chain++;
    forge(lab, &entry);
    refused(lab, "log entry 13 is damaged (it does not follow");
    entry = right;
    entry.data = lab_data(14, 300);
    forge(lab, &entry);
    refused(lab, "log entry 13 is damaged (it does not follow");
    forge(lab, NULL);
    refused(lab, "log entry 13 is damaged (it is missing");
    right.data = lab_data(13, 300);
    forge(lab, &right);
    lab_must_open(lab);
}

/* Damage that appears while we run is found by the next read of it, by index. */
static void flipped_while_open(void **state)
{
    struct lab *lab = *state;
    struct store_event event;
    fill(lab);
    lab_must_open(lab);
    flip(lab, lab_data(13, 300));
    store_read_log(lab->s, 1, 10, 20, 100000);
    lab_event(lab, &event);
    assert_int_equal(event.type, STORE_FAILED);
    assert_int_equal(event.failure, STORE_FAILURE_CORRUPT);
    assert_non_null(strstr(event.error, "log entry 13"));
    assert_false(lab_close(lab));
    refused(lab, "log entry 13 is damaged");
}

static void in_use(void **state)
{
    struct lab *lab = *state;
    struct store_boot boot;
    char expected[64];
    lab_must_open(lab);
    assert_null(
        store_open(&lab->options, &boot, lab->error, sizeof(lab->error)));
    (void)snprintf(expected, sizeof(expected), "in use by process %ld",
                   (long)getpid());
    assert_non_null(strstr(lab->error, expected));
    lab_must_close(lab);
    /* And by another process, until that one is gone. */
    int ready[2];
    int go[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(go[1]);
        bool ok = lab_open(lab);
        (void)!write(ready[1], ok ? "1" : "0", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0); /* without closing: the lock goes with the process */
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, '1');
    (void)snprintf(expected, sizeof(expected), "in use by process %ld",
                   (long)child);
    refused(lab, expected);
    (void)close(go[1]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)close(ready[0]);
    (void)close(go[0]);
    lab_must_open(lab);
    assert_int_equal(lab->boot.boot, 3);
}

static void read_only(void **state)
{
    struct lab *lab = *state;
    fill(lab);
    if (geteuid() == 0) {
        skip(); /* root may write anywhere */
    }
    assert_int_equal(chmod(lab->dir, 0500), 0);
    assert_false(lab_open(lab));
    assert_int_equal(chmod(lab->dir, 0700), 0);
}

static void the_reserve(void **state)
{
    struct lab *lab = *state;
    struct stat st;
    lab->options.reserve_bytes = 1 << 20;
    lab_must_open(lab);
    assert_int_equal(stat(lab_path(lab, STORE_FILE_RESERVE), &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(st.st_blocks * 512 >= 1 << 20);
    lab_must_close(lab);
    lab->options.reserve_bytes = 0;
    lab_must_open(lab);
    assert_int_equal(stat(lab_path(lab, STORE_FILE_RESERVE), &st), 0);
    assert_int_equal(st.st_size, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_there),
        TEST(cannot_be_made),
        TEST(foreign_directory),
        TEST(node_files_are_no_strangers),
        TEST(database_without_identity),
        TEST(another_cluster_or_node),
        TEST(damaged_identity),
        TEST(database_gone),
        TEST(database_cut_short),
        TEST(database_of_another),
        TEST(older_database),
        TEST(older_identity),
        TEST(half_made),
        TEST(flipped_bits),
        TEST(forged_entries),
        TEST(flipped_while_open),
        TEST(in_use),
        TEST(read_only),
        TEST(the_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "sim/lmdb/pilot.h"

#include <errno.h>
#include <lmdb.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "sim/lmdb/wrap.h"
#include "sim/world.h"

static struct pilot *expected;
static _Thread_local struct pilot *mine; /* NULL: the main thread */

int wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
    WRAP_OF(pthread_create);
int real_pthread_create(pthread_t *out, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
    REAL_OF(pthread_create);
int wrap_pthread_join(pthread_t thread, void **out) WRAP_OF(pthread_join);
int real_pthread_join(pthread_t thread, void **out) REAL_OF(pthread_join);
int wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
    WRAP_OF(pthread_cond_wait);
int real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
    REAL_OF(pthread_cond_wait);
int wrap_mdb_txn_commit(MDB_txn *txn) WRAP_OF(mdb_txn_commit);
int real_mdb_txn_commit(MDB_txn *txn) REAL_OF(mdb_txn_commit);
int wrap_clock_gettime(clockid_t id, struct timespec *out)
    WRAP_OF(clock_gettime);
int real_clock_gettime(clockid_t id, struct timespec *out)
    REAL_OF(clock_gettime);
ssize_t wrap_getrandom(void *out, size_t n, unsigned flags) WRAP_OF(getrandom);
ssize_t real_getrandom(void *out, size_t n, unsigned flags) REAL_OF(getrandom);

/* --- turn and turn about -------------------------------------------------------------------------------------------------- */

static void wait_for(sem_t *s)
{
    while (sem_wait(s) != 0) {
        ASSERT(errno == EINTR);
    }
}

static void tell(sem_t *s)
{
    int rc = sem_post(s);
    ASSERT(rc == 0);
}

static void give_back(enum pilot_state state)
{
    mine->state = state;
    tell(&mine->back);
    wait_for(&mine->go);
}

enum pilot_state pilot_go(struct pilot *p)
{
    ASSERT(mine == NULL);
    ASSERT(p->state != PILOT_ENDED);
    tell(&p->go);
    wait_for(&p->back);
    return p->state;
}

static void *fly(void *arg)
{
    mine = arg;
    wait_for(&mine->go);
    void *result = mine->main(mine->arg);
    mine->state = PILOT_ENDED;
    tell(&mine->back);
    return result;
}

void pilot_expect(struct pilot *p)
{
    expected = p;
}

void pilot_fini(struct pilot *p)
{
    (void)sem_destroy(&p->go);
    (void)sem_destroy(&p->back);
}

/* --- what the writer calls ------------------------------------------------------------------------------------------------- */

int wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
{
    struct pilot *p = expected;
    if (p == NULL) {
        return real_pthread_create(out, attr, run, arg);
    }
    expected = NULL;
    p->main = run;
    p->arg = arg;
    p->state = PILOT_WAITS;
    (void)sem_init(&p->go, 0, 0);
    (void)sem_init(&p->back, 0, 0);
    int rc = real_pthread_create(&p->thread, attr, fly, p);
    *out = p->thread;
    return rc;
}

/* Only the store joins a thread here: its writer, which was told to stop. */
int wrap_pthread_join(pthread_t thread, void **out)
{
    struct pilot *p = expected;
    while (p != NULL && p->state != PILOT_ENDED) {
        (void)pilot_go(p);
    }
    return real_pthread_join(thread, out);
}

int wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    if (mine == NULL) {
        return real_pthread_cond_wait(cond, lock);
    }
    /* May return without reason, as ever: the caller looks again. */
    (void)pthread_mutex_unlock(lock);
    give_back(PILOT_WAITS);
    return pthread_mutex_lock(lock);
}

int wrap_mdb_txn_commit(MDB_txn *txn)
{
    if (mine == NULL) {
        return real_mdb_txn_commit(txn);
    }
    give_back(PILOT_COMMITS);
    mine->commit_rc = real_mdb_txn_commit(txn);
    mine->commits++;
    if (mine->committed != NULL) {
        mine->committed(mine->committed_arg);
    }
    return mine->commit_rc;
}

/* --- time and chance --------------------------------------------------------------------------------------------------------- */

/* A run's own time, while there's a run. */
int wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    const struct sim_world *w = sim_world_now();
    if (w == NULL) {
        return real_clock_gettime(id, out);
    }
    out->tv_sec = (time_t)(w->now_us / SIM_S);
    out->tv_nsec = (long)(w->now_us % SIM_S * 1000);
    return 0;
}

ssize_t wrap_getrandom(void *out, size_t n, unsigned flags)
{
    static uint64_t drawn;
    const struct sim_world *w = sim_world_now();
    if (w == NULL) {
        return real_getrandom(out, n, flags);
    }
    uint64_t word = sim_mix(w->options.seed, 0x6c6d6462, ++drawn);
    ASSERT(n == sizeof word);
    memcpy(out, &word, n);
    return (ssize_t)n;
}

#include "sim/lmdb/pilot.h"

#include <lmdb.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#include "sim/lmdb/wrap.h"
#include "sim/world.h"

#define STACK_BYTES ((size_t)1 << 20)

static struct pilot *expected;
static struct pilot *mine; /* that runs; NULL: none */
static ucontext_t main_context;
static const void *main_stack; /* for AddressSanitizer */
static size_t main_stack_n;

int wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
    WRAP_OF(pthread_create);
int real_pthread_create(pthread_t *out, const pthread_attr_t *attr,
                        void *(*run)(void *), void *arg)
    REAL_OF(pthread_create);
int wrap_pthread_join(pthread_t thread, void **out) WRAP_OF(pthread_join);
int real_pthread_join(pthread_t thread, void **out) REAL_OF(pthread_join);
int wrap_pthread_setname_np(pthread_t thread, const char *name)
    WRAP_OF(pthread_setname_np);
int real_pthread_setname_np(pthread_t thread, const char *name)
    REAL_OF(pthread_setname_np);
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

/* AddressSanitizer wants to know on which stack we are. */
#ifdef __SANITIZE_ADDRESS__
static void leaves(void **own, const void *stack, size_t n)
{
    __sanitizer_start_switch_fiber(own, stack, n);
}

static void arrives(void *own, const void **out_stack, size_t *out_n)
{
    __sanitizer_finish_switch_fiber(own, out_stack, out_n);
}
#else
static void leaves(void **own, const void *stack, size_t n)
{
    (void)own;
    (void)stack;
    (void)n;
}

static void arrives(void *own, const void **out_stack, size_t *out_n)
{
    (void)own;
    (void)out_stack;
    (void)out_n;
}
#endif

static void give_back(enum pilot_state state)
{
    struct pilot *p = mine;
    p->state = state;
    leaves(state == PILOT_ENDED ? NULL : &p->sanitizers, main_stack,
           main_stack_n);
    int rc = swapcontext(&p->context, &main_context);
    ASSERT(rc == 0);
    arrives(p->sanitizers, &main_stack, &main_stack_n);
}

enum pilot_state pilot_go(struct pilot *p)
{
    void *sanitizers = NULL;
    ASSERT(mine == NULL);
    ASSERT(p->state != PILOT_ENDED);
    mine = p;
    leaves(&sanitizers, p->stack, STACK_BYTES);
    int rc = swapcontext(&main_context, &p->context);
    ASSERT(rc == 0);
    arrives(sanitizers, NULL, NULL);
    mine = NULL;
    return p->state;
}

static void fly(void)
{
    arrives(NULL, &main_stack, &main_stack_n);
    (void)mine->main(mine->arg);
    give_back(PILOT_ENDED);
    ASSERT(false);
}

void pilot_expect(struct pilot *p)
{
    expected = p;
}

void pilot_fini(struct pilot *p)
{
    ASSERT(p->state == PILOT_ENDED);
    (void)munmap(p->stack, STACK_BYTES);
    p->stack = NULL;
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
    p->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    ASSERT(p->stack != MAP_FAILED);
    int rc = getcontext(&p->context);
    ASSERT(rc == 0);
    p->context.uc_stack.ss_sp = p->stack;
    p->context.uc_stack.ss_size = STACK_BYTES;
    p->context.uc_link = NULL;
    makecontext(&p->context, fly, 0);
    *out = pthread_self();
    return 0;
}

/* It has no name of its own. */
int wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    return pthread_equal(thread, pthread_self())
               ? 0
               : real_pthread_setname_np(thread, name);
}

/* Only the store joins a thread here: its writer, which was told to stop. */
int wrap_pthread_join(pthread_t thread, void **out)
{
    struct pilot *p = expected;
    if (p == NULL) {
        return real_pthread_join(thread, out);
    }
    while (p->state != PILOT_ENDED) {
        (void)pilot_go(p);
    }
    return 0;
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

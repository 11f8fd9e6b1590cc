/* batond_main.c - a node as a process: configuration, signals, the one loop around turn.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "node/config.h"
#include "proto/codec.h"
#include "proto/utf8.h"
#include "raft/store_identity.h"
#include "transport/http.h"
#include "transport/net.h"

extern char **environ;

#define INPUTS_A_TURN 1024u
#define WAIT_MS_MAX   100u
#define CLOSE_MS      300u
#define ERROR_BYTES   2048u

static volatile sig_atomic_t stop_asked;
static struct transport *volatile wake_transport;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
    struct transport *t = wake_transport;
    if (t != NULL) {
        transport_wake(t);
    }
}

/* The store's writer thread has news. */
static void on_store(void *arg)
{
    struct transport *const *t = arg;
    struct transport *now = __atomic_load_n(t, __ATOMIC_ACQUIRE);
    if (now != NULL) {
        transport_wake(now);
    }
}

/* A clock that runs during suspend and never goes back: deadlines are promises about real time. */
static uint64_t clock_us(clockid_t id)
{
    struct timespec now;
    if (clock_gettime(id, &now) != 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t clock_ms(clockid_t id)
{
    return clock_us(id) / 1000u;
}

struct node {
    struct config config;
    uint64_t looking_since_us; /* 0: nothing is due */
    struct store *store;
    struct store_boot boot;
    struct transport *transport;
    struct http *http;
    struct turn *turn;
    char secret[256];
    size_t secret_n;
};

static int fail(const struct node *n, const char *what, const char *why)
{
    log_write(LOG_ERROR,
              "start_failed part=%s cluster=%s cluster_id=%llu reason=\"%s\"",
              what, n->config.cluster, (unsigned long long)n->config.cluster_id,
              why);
    return 1;
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

/* A setting that's well-formed, but can't be used. */
static bool complain(const struct node *n, const char *name, const char *why,
                     char error[ERROR_BYTES])
{
    char named[CONFIG_NAMED_BYTES];
    config_where(&n->config, name, named);
    (void)snprintf(error, ERROR_BYTES, "%s: %s", named, why);
    return false;
}

static bool read_secret(struct node *n, char error[ERROR_BYTES])
{
    const char *path = n->config.secret_file;
    char why[CONFIG_PATH_BYTES + 128];
    if (path[0] == 0) {
        return true;
    }
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        (void)snprintf(why, sizeof why, "can't read %s: %s", path,
                       strerror(errno));
        return complain(n, "secret-file", why, error);
    }
    n->secret_n = fread(n->secret, 1, sizeof n->secret, f);
    int failed = ferror(f) != 0 ? errno : 0;
    (void)fclose(f);
    if (failed != 0) {
        (void)snprintf(why, sizeof why, "can't read %s: %s", path,
                       strerror(failed));
        return complain(n, "secret-file", why, error);
    }
    while (n->secret_n > 0 && (n->secret[n->secret_n - 1] == '\n' ||
                               n->secret[n->secret_n - 1] == '\r')) {
        n->secret_n--;
    }
    if (n->secret_n < 16 || n->secret_n == sizeof n->secret) {
        (void)snprintf(why, sizeof why,
                       "%s: expected a secret of 16 to 255 bytes, got %zu%s",
                       path, n->secret_n,
                       n->secret_n == sizeof n->secret ? " or more" : "");
        return complain(n, "secret-file", why, error);
    }
    return true;
}

static bool check_tls(const struct node *n, char error[ERROR_BYTES])
{
    const struct config *c = &n->config;
    char why[2 * CONFIG_PATH_BYTES];
    if (c->tls_ca[0] == 0) {
        return true;
    }
    net_start();
    const char *wrong =
        net_tls_wrong_file(c->tls_ca, c->tls_cert_key, why, sizeof why);
    return wrong == NULL ||
           complain(n, wrong == c->tls_ca ? "tls-ca" : "tls-cert-key", why,
                    error);
}

/* The store knows clusters by numbers alone: so what it would refuse for those is said here, with the name. */
static bool is_our_cluster(const struct node *n, char *error,
                           size_t error_bytes)
{
    const struct config *c = &n->config;
    struct store_identity id;
    char name[256];
    int failed = 0;
    int fd = open(c->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool known =
        fd >= 0 && store_identity_find(fd, &id, name, sizeof name, &failed) ==
                       STORE_FOUND_IDENTITY;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!known || id.cluster == c->cluster_id) {
        return true; /* or the store's to say */
    }
    (void)snprintf(error, error_bytes,
                   "%s: belongs to another cluster than \"%s\" (numbers made "
                   "from the names: %llu there, %llu for this name); give this "
                   "node its own directory, or the name that it had",
                   c->data, c->cluster, (unsigned long long)id.cluster,
                   (unsigned long long)c->cluster_id);
    return false;
}

static bool open_store(struct node *n, char *error, size_t error_bytes)
{
    const struct config *c = &n->config;
    if (!is_our_cluster(n, error, error_bytes)) {
        return false;
    }
    struct store_options options = {
        .dir = c->data,
        .cluster = c->cluster_id,
        .node = (raft_id)c->id,
        .map_bytes = c->map_mb << 20,
        .reserve_bytes = c->reserve_mb << 20,
        .queue_bytes_max = c->queue_mb << 20,
        .create = true,
        .wake = on_store,
        .wake_arg = &n->transport,
    };
    n->store = store_open(&options, &n->boot, error, error_bytes);
    return n->store != NULL;
}

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        seed = clock_ms(CLOCK_REALTIME) ^ ((uint64_t)getpid() << 32);
    }
    return seed;
}

static bool open_turn(struct node *n, char *error, size_t error_bytes)
{
    const struct config *c = &n->config;
    struct turn_options o;
    turn_options_default(&o);
    o.id = (raft_id)c->id;
    o.cluster = c->cluster_id;
    (void)snprintf(o.version, sizeof o.version, "%s", BATON_VERSION);
    o.election_ms = c->election_ms;
    o.heartbeat_ms = c->heartbeat_ms;
    o.clock_drift_ppm = (uint32_t)c->clock_drift_ppm;
    o.seed = random_seed();
    memcpy(o.members, c->members, sizeof o.members);
    o.members_n = c->members_n;
    o.join = c->join != 0;
    o.lease_reads = c->lease_reads != 0;
    o.checkpoint_entries = (uint32_t)c->checkpoint_entries;
    o.log_keep_entries = (uint32_t)c->log_keep_entries;
    o.events_keep_n = c->events_keep;
    o.events_keep_ms = c->events_keep_hours * 3600u * 1000u;
    o.entries_bytes = (size_t)(c->entries_mb << 20);
    o.events_bytes = (size_t)(c->events_mb << 20);
    o.pending_max = (uint32_t)c->pending_max;
    o.reads_max = (uint32_t)c->pending_max;
    o.watches_max = (uint32_t)c->watches_max;
    o.watches_per_connection_max = (uint32_t)c->watches_per_connection_max;
    o.log = log_line;
    o.log_level = (int)c->level;
    struct turn_start start = {n->store, &n->boot, clock_ms(CLOCK_BOOTTIME)};
    n->turn = turn_open(&o, &start, error, error_bytes);
    return n->turn != NULL;
}

static bool open_http(struct node *n, char *error, size_t error_bytes)
{
    struct config_listen l = config_listen(&n->config, CONFIG_HTTP);
    char named[CONFIG_NAMED_BYTES];
    char why[512] = "";
    if (l.address[0] == 0) {
        return true;
    }
    struct http_options h = {
        .listen = l.address, .connections_max = 256, .timeout_ms = 5000};
    n->http = http_open(n->transport, &h, why, sizeof why);
    if (n->http == NULL) {
        config_where(&n->config, l.setting, named);
        (void)snprintf(error, error_bytes, "%s: %s", named, why);
    }
    return n->http != NULL;
}

static bool open_transport(struct node *n, char *error, size_t error_bytes)
{
    const struct config *c = &n->config;
    const struct turn_member *self = config_self(c);
    struct config_listen peer = config_listen(c, CONFIG_PEER);
    struct config_listen client = config_listen(c, CONFIG_CLIENT);
    char named[TRANSPORT_LISTENERS][CONFIG_NAMED_BYTES];
    config_where(c, peer.setting, named[TRANSPORT_LISTEN_PEER]);
    config_where(c, client.setting, named[TRANSPORT_LISTEN_CLIENT]);
    config_where(c, "admin", named[TRANSPORT_LISTEN_ADMIN]);
    struct transport_options o = {
        .node = (uint32_t)c->id,
        .settings = turn_settings(n->turn),
        .cluster = c->cluster_id,
        .incarnation = n->boot.incarnation,
        .boot = n->boot.boot,
        .lineage = turn_lineage(n->turn),
        .peer_listen = peer.address,
        .client_listen = client.address,
        .client_advertise = self->client,
        .http_advertise = self->http,
        .admin_path = c->admin,
        .listen_names =
            {
                [TRANSPORT_LISTEN_PEER] = named[TRANSPORT_LISTEN_PEER],
                [TRANSPORT_LISTEN_CLIENT] = named[TRANSPORT_LISTEN_CLIENT],
                [TRANSPORT_LISTEN_ADMIN] = named[TRANSPORT_LISTEN_ADMIN],
            },
        .secret = n->secret_n > 0 ? n->secret : NULL,
        .secret_bytes = n->secret_n,
        .tls_ca_file = c->tls_ca[0] != 0 ? c->tls_ca : NULL,
        .tls_cert_key_file = c->tls_cert_key[0] != 0 ? c->tls_cert_key : NULL,
        .connections_max = (uint32_t)c->connections_max,
        .peer_queue_bytes = c->peer_queue_mb << 20,
        .client_queue_bytes = c->client_queue_mb << 20,
        .hello_ms = 5000,
        .log = log_line,
    };
    struct transport *t = transport_open(&o, error, error_bytes);
    __atomic_store_n(&n->transport, t, __ATOMIC_RELEASE);
    wake_transport = t;
    if (t == NULL) {
        return false;
    }
    turn_set_transport(n->turn, t, clock_ms(CLOCK_BOOTTIME));
    return open_http(n, error, error_bytes);
}

/* Each connection is a descriptor; running out of them is worse than refusing at the door. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* LMDB trusts its pages: it may crash over one that was damaged before the store can see what's wrong with it. Only while the data is being
 * opened, and nothing else runs, is that the only explanation. */
static void on_damage(int number)
{
    static const char text[] =
        "batond: the data directory is damaged: the database in it can't be "
        "read; move the directory away, remove this node from the cluster and "
        "add it anew\n";
    (void)number;
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    _exit(n > 0 ? 1 : 2);
}

static void watch_for_damage(bool on)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = on ? on_damage : SIG_DFL;
    for (size_t i = 0; i < countof(numbers); i++) {
        (void)sigaction(numbers[i], &action, NULL);
    }
}

static int open_data(struct node *n)
{
    char error[ERROR_BYTES] = "";
    watch_for_damage(true);
    bool ok =
        open_store(n, error, sizeof error) && open_turn(n, error, sizeof error);
    watch_for_damage(false);
    return ok ? 0 : fail(n, "data", error);
}

static int open_all(struct node *n)
{
    char error[ERROR_BYTES] = "";
    if (open_data(n) != 0) {
        return 1;
    }
    if (!open_transport(n, error, sizeof error)) {
        return fail(n, "listen", error);
    }
    return 0;
}

/* --- the loop ----------------------------------------------------------------------------------------------------------------- */

static int wait_ms(const struct node *n, uint64_t now)
{
    uint64_t at = turn_deadline_ms(n->turn);
    if (at <= now) {
        return 0;
    }
    return (int)min_u64(at - now, WAIT_MS_MAX);
}

static void one_turn(struct node *n)
{
    struct transport_input input;
    struct store_event event;
    uint32_t level = 0;
    turn_begin(n->turn, clock_ms(CLOCK_BOOTTIME), clock_ms(CLOCK_REALTIME));
    while (store_next(n->store, &event)) {
        turn_store(n->turn, &event);
    }
    bool room = turn_has_room(n->turn);
    transport_clients_pause(n->transport, !room);
    for (uint32_t i = 0;
         i < INPUTS_A_TURN && transport_next(n->transport, &input); i++) {
        turn_clock(n->turn, clock_ms(CLOCK_BOOTTIME));
        turn_input(n->turn, &input);
    }
    turn_end(n->turn);
    if (turn_log_level(n->turn, &level)) {
        log_set_level((enum log_level)level);
    }
}

/* While an answer is due any moment, sleeping costs more than it saves: waking a processor that went idle takes longer than most answers
 * do. So at the beginning of a busy spell the loop looks for a while first, and gives way to whoever wants the processor. */
static int wait_or_look_ms(struct node *n, uint64_t now_us)
{
    int ms = wait_ms(n, clock_ms(CLOCK_BOOTTIME));
    if (!turn_expects_soon(n->turn)) {
        n->looking_since_us = 0;
        return ms;
    }
    if (n->looking_since_us == 0) {
        n->looking_since_us = now_us;
    }
    if (now_us >= n->looking_since_us + n->config.spin_us) {
        return ms;
    }
    (void)sched_yield();
    return 0;
}

static int loop(struct node *n)
{
    for (;;) {
        transport_wait(n->transport,
                       wait_or_look_ms(n, clock_us(CLOCK_MONOTONIC)));
        one_turn(n);
        if (turn_fatal(n->turn) != NULL) {
            log_write(LOG_ERROR, "fatal reason=\"%s\"", turn_fatal(n->turn));
            return 1;
        }
        if (stop_asked) {
            turn_stop(n->turn);
        }
        if (turn_stopped(n->turn)) {
            return 0;
        }
    }
}

static void set_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

/* NNG 1.5.2's own shutdown can hang (upstream #1543): everything of ours is closed and flushed, then the process ends at once. */
static void end(struct node *n, int code)
{
    wake_transport = NULL;
    if (n->http != NULL) {
        http_close(n->http);
    }
    /* The store first: its thread wakes the transport. */
    bool flushed =
        n->store == NULL || store_close(n->store, code == 0 ? CLOSE_MS : 50);
    if (!flushed && code == 0) {
        log_write(LOG_WARN, "store_not_flushed reason=\"the disk didn't "
                            "answer in time; nothing acknowledged is lost\"");
    }
    if (n->transport != NULL) {
        transport_close(n->transport, code == 0 ? CLOSE_MS : 0);
    }
    log_write(code == 0 ? LOG_INFO : LOG_ERROR, "stopped code=%d", code);
    (void)fflush(stderr);
    _exit(code);
}

int main(int argc, char **argv)
{
    static struct node node;
    struct config_source source = {argc, argv, environ};
    char error[ERROR_BYTES];
    enum config_result read =
        config_read(&node.config, &source, error, sizeof error);
    if (read == CONFIG_DONE) {
        return 0;
    }
    if (read == CONFIG_WRONG || !read_secret(&node, error) ||
        !check_tls(&node, error)) {
        char shown[ERROR_BYTES];
        utf8_show(codec_text(error), shown, sizeof shown);
        (void)fprintf(stderr, "batond: %s\n", shown);
        (void)fflush(stderr);
        _exit(2); /* NNG may be running: see end() */
    }
    log_set((uint32_t)node.config.id, node.config.level);
    set_signals();
    raise_descriptors();
    int code = open_all(&node);
    if (code == 0) {
        log_write(LOG_INFO,
                  "started version=%s cluster=%s data=%s incarnation=%016llx "
                  "start=%llu log_first=%llu log_last=%llu checkpoint=%llu",
                  BATON_VERSION, node.config.cluster, node.config.data,
                  (unsigned long long)node.boot.incarnation,
                  (unsigned long long)node.boot.boot,
                  (unsigned long long)node.boot.first,
                  (unsigned long long)node.boot.last.index,
                  (unsigned long long)node.boot.checkpoint.index);
        code = loop(&node);
    }
    end(&node, code);
}

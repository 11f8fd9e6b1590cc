/* config.h - what batond is told: by flags, by BATON_* in the environment, by a file; flags win over the environment, which wins over the file.
 *
 * One table in config_table.c has every setting: its name, range, default and a sentence. --help, the check, and docs/operations.md (which a
 * test compares with it) come from that table. Anything unknown or out of range stops the start, with where it was and what was expected. */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include "node/log.h"
#include "node/turn.h"

#define CONFIG_PATH_BYTES   512
#define CONFIG_LIST_BYTES   2048 /* of addresses */
#define CONFIG_SETTINGS_MAX 64
#define CONFIG_WHERE_BYTES  (CONFIG_PATH_BYTES + 32)
#define CONFIG_NAMED_BYTES  (CONFIG_WHERE_BYTES + 64)

struct config {
    uint64_t id;
    char data[CONFIG_PATH_BYTES];
    char cluster[CONFIG_PATH_BYTES];
    char peers[CONFIG_LIST_BYTES]; /* ID=HOST:PORT,... */
    char clients[CONFIG_LIST_BYTES];
    char http[CONFIG_LIST_BYTES];
    char listen_peer[CONFIG_PATH_BYTES];
    char listen_client[CONFIG_PATH_BYTES];
    char listen_http[CONFIG_PATH_BYTES];
    char admin[CONFIG_PATH_BYTES];
    char secret_file[CONFIG_PATH_BYTES];
    char tls_ca[CONFIG_PATH_BYTES];
    char tls_cert_key[CONFIG_PATH_BYTES];
    char log_level[CONFIG_PATH_BYTES];
    uint64_t join;
    uint64_t election_ms;
    uint64_t heartbeat_ms;
    uint64_t clock_drift_ppm;
    uint64_t lease_reads;
    uint64_t map_mb;
    uint64_t reserve_mb;
    uint64_t queue_mb;
    uint64_t entries_mb;
    uint64_t events_mb;
    uint64_t events_keep;
    uint64_t events_keep_hours;
    uint64_t checkpoint_entries;
    uint64_t log_keep_entries;
    uint64_t connections_max;
    uint64_t client_queue_mb;
    uint64_t peer_queue_mb;
    uint64_t pending_max;
    uint64_t watches_max;
    uint64_t watches_per_connection_max;
    uint64_t spin_us;

    /* Made of the above. */
    enum log_level level;
    uint64_t cluster_id;
    struct turn_member members[RAFT_NODES_MAX];
    uint32_t members_n;

    /* Where each setting, by its place in the table, got its value: "batond.conf:7", "command line". Empty: it has its default. */
    char where[CONFIG_SETTINGS_MAX][CONFIG_WHERE_BYTES];
};

enum config_result {
    CONFIG_RUN,
    CONFIG_DONE,  /* --help or --version was asked for and printed */
    CONFIG_WRONG, /* error has a sentence */
};

struct config_source {
    int argc;
    char **argv;        /* ends with NULL, as main()'s */
    char **environment; /* as environ */
};
enum config_result config_read(struct config *out,
                               const struct config_source *source, char *error,
                               size_t error_bytes);
/* The member that's us. */
const struct turn_member *config_self(const struct config *c);

enum config_listener {
    CONFIG_PEER,
    CONFIG_CLIENT,
    CONFIG_HTTP,
};
struct config_listen {
    const char *setting; /* that the address is from */
    const char *address; /* empty: don't */
};
/* Where to listen: as the setting for it says, else at the address that others are told. */
struct config_listen config_listen(const struct config *c,
                                   enum config_listener which);
/* "batond.conf:7: peers": a setting, and where it was given, for whoever finds out later that it can't be used. Just "peers" if nowhere. */
void config_where(const struct config *c, const char *name,
                  char out[CONFIG_NAMED_BYTES]);
/* Every setting as a Markdown table, for docs/operations.md. */
void config_print_table(void);

#endif

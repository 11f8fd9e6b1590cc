#include <stdio.h>
#include <string.h>

#include "node/config_inner.h"

#define TEXT(field)                                                            \
    SETTING_TEXT, offsetof(struct config, field),                              \
        sizeof(((struct config *)NULL)->field), 0, 0
#define NUMBER(field, min, max)                                                \
    SETTING_NUMBER, offsetof(struct config, field), 0, min, max
#define SWITCH(field) SETTING_SWITCH, offsetof(struct config, field), 0, 0, 1

/* clang-format off */
const struct setting config_settings[] = {
    {"id", NUMBER(id, 1, NODE_MAX), "", "This node's number, unique in the cluster. Needed."},
    {"data", TEXT(data), "", "Directory for this node's data; made if it isn't there. Needed."},
    {"cluster", TEXT(cluster), "", "The cluster's name; nodes and data of another name are refused. Needed."},
    {"peers", TEXT(peers), "", "Where nodes reach each other: ID=HOST:PORT,... with this node among them. The same on all nodes at the first start. Needed."},
    {"clients", TEXT(clients), "", "Where clients reach the nodes: ID=HOST:PORT,... Needed."},
    {"http", TEXT(http), "", "Where HTTP is served: ID=HOST:PORT,... Empty: no HTTP."},
    {"listen-peer", TEXT(listen_peer), "", "HOST:PORT to bind for peers, where it differs from the address in `peers`."},
    {"listen-client", TEXT(listen_client), "", "HOST:PORT to bind for clients, where it differs from the address in `clients`."},
    {"listen-http", TEXT(listen_http), "", "HOST:PORT to bind for HTTP, where it differs from the address in `http`."},
    {"admin", TEXT(admin), "", "Path of the admin status socket. Empty: DATA/admin.sock."},
    {"secret-file", TEXT(secret_file), "", "File with the cluster's secret, at least 16 bytes: nodes must prove to each other that they know it. Empty: nobody proves anything."},
    {"tls-ca", TEXT(tls_ca), "", "PEM file of the authority that signed the cluster's certificates: turns TLS on, both sides must show one. Use an authority of its own."},
    {"tls-cert-key", TEXT(tls_cert_key), "", "PEM file with this node's certificate and key. Needed with tls-ca."},
    {"join", SWITCH(join), "0", "Start empty and wait to be added to a running cluster (baton member add)."},
    {"log-level", TEXT(log_level), "info", "error, warn, info or debug."},
    {"election-ms", NUMBER(election_ms, 100, 60000), "1000", "Election timeout; drawn anew from this to twice this. The same on all nodes."},
    {"heartbeat-ms", NUMBER(heartbeat_ms, 10, 20000), "100", "Heartbeat of the Raft leader; at most a third of election-ms."},
    {"clock-drift-ppm", NUMBER(clock_drift_ppm, 0, 100000), "10000", "How far clocks of two nodes may run apart, in millionths: shortens the leader's quorum lease."},
    {"lease-reads", SWITCH(lease_reads), "0", "Serve reads that ask for it on the leader's quorum lease, without a round; relies on clock-drift-ppm."},
    {"map-mb", NUMBER(map_mb, 16, 1048576), "1024", "Size of the database's map at the start, MiB of address space; grows by itself."},
    {"reserve-mb", NUMBER(reserve_mb, 0, 65536), "16", "Disk kept aside, and freed when the disk is full, so that the node can stop in order."},
    {"queue-mb", NUMBER(queue_mb, 16, 65536), "128", "Bytes that may wait for the disk, MiB."},
    {"entries-mb", NUMBER(entries_mb, 8, 65536), "64", "Log entries kept in memory for slow peers, MiB."},
    {"events-mb", NUMBER(events_mb, 1, 65536), "32", "History kept in memory for watches that lag, MiB."},
    {"events-keep", NUMBER(events_keep, 1, 1000000000000), "1000000", "History kept on disk, in log entries."},
    {"events-keep-hours", NUMBER(events_keep_hours, 1, 1000000), "168", "History kept on disk, in hours; whichever is less."},
    {"checkpoint-entries", NUMBER(checkpoint_entries, 16, 10000000), "8192", "A checkpoint at each multiple of this many entries. The same on all nodes."},
    {"log-keep-entries", NUMBER(log_keep_entries, 0, 100000000), "16384", "Log kept behind a checkpoint, so that a node that was away catches up without a snapshot."},
    {"connections-max", NUMBER(connections_max, 1, 1000000), "10000", "Client connections; more are told so and closed."},
    {"client-queue-mb", NUMBER(client_queue_mb, 1, 4096), "8", "Bytes that may wait for one client that reads slowly, MiB."},
    {"peer-queue-mb", NUMBER(peer_queue_mb, 16, 4096), "64", "Bytes that may wait for one peer, MiB."},
    {"pending-max", NUMBER(pending_max, 64, 1048576), "65536", "Commands and reads in flight, each; rounded up to a power of two."},
    {"watches-max", NUMBER(watches_max, 1, 10000000), "65536", "Watches on this node."},
    {"spin-us", NUMBER(spin_us, 0, 10000), "1000", "How long the loop looks for the next answer of the disk or a peer before it sleeps, in us, while somebody waits for one: spares waking an idle processor. 0: never."},
    {"watches-per-connection-max", NUMBER(watches_per_connection_max, 1, 1000000), "1024", "Watches of one connection."},
};
/* clang-format on */

const size_t config_settings_n = countof(config_settings);
_Static_assert(countof(config_settings) <= CONFIG_SETTINGS_MAX,
               "struct config has a place for each");

const struct setting *config_find(const char *name)
{
    for (size_t i = 0; i < config_settings_n; i++) {
        if (strcmp(config_settings[i].name, name) == 0) {
            return &config_settings[i];
        }
    }
    return NULL;
}

void config_print_help(void)
{
    (void)printf(
        "batond - a node of a Baton cluster\n\n"
        "usage: batond [--config FILE] [--NAME VALUE ...]\n"
        "       batond --help | --version | --settings\n\n"
        "Every setting can be given as a flag (--name value), in the\n"
        "environment (BATON_NAME), or in the file (name = value); flags win\n"
        "over the environment, which wins over the file.\n\n");
    for (size_t i = 0; i < config_settings_n; i++) {
        (void)printf("  --%-28s %s%s%s%s\n", config_settings[i].name,
                     config_settings[i].help,
                     config_settings[i].value[0] == 0 ? "" : " Default: ",
                     config_settings[i].value,
                     config_settings[i].value[0] == 0 ? "" : ".");
    }
    (void)printf(
        "\nSIGTERM and SIGINT: hand over leadership, flush, exit 0.\n");
}

void config_print_table(void)
{
    (void)printf("| setting | default | range | meaning |\n"
                 "| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < config_settings_n; i++) {
        char range[64] = "";
        if (config_settings[i].kind != SETTING_TEXT) {
            (void)snprintf(range, sizeof range, "%llu to %llu",
                           (unsigned long long)config_settings[i].min,
                           (unsigned long long)config_settings[i].max);
        }
        (void)printf("| `%s` | %s | %s | %s |\n", config_settings[i].name,
                     config_settings[i].value, range, config_settings[i].help);
    }
}

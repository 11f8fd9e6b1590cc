#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "node/config_inner.h"
#include "proto/address.h"

#define ADMIN_NAME "/admin.sock"

struct checking {
    struct config *c;
    char *error;
    size_t error_bytes;
};

void config_where(const struct config *c, const char *name,
                  char out[CONFIG_NAMED_BYTES])
{
    const struct setting *s = config_find(name);
    const char *where = s == NULL ? "" : c->where[s - config_settings];
    (void)snprintf(out, CONFIG_NAMED_BYTES, "%s%s%s", where,
                   where[0] == 0 ? "" : ": ", name);
}

static bool complain(const struct checking *k, const char *name,
                     const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool complain(const struct checking *k, const char *name,
                     const char *format, ...)
{
    char named[CONFIG_NAMED_BYTES];
    char what[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    config_where(k->c, name, named);
    (void)snprintf(k->error, k->error_bytes, "%s: %s", named, what);
    return false;
}

static bool is_given(const struct config *c, const char *name)
{
    const struct setting *s = config_find(name);
    ASSERT(s != NULL);
    return c->where[s - config_settings][0] != 0;
}

/* --- lists of addresses --------------------------------------------------------------------------------------------- */

struct address_list {
    const char *name;
    size_t from; /* in struct config */
    size_t to;   /* in struct turn_member */
    const char *listen_name;
    size_t listen_from; /* in struct config */
};

/* The first says who the members are. */
static const struct address_list lists[] = {
    [CONFIG_PEER] = {"peers", offsetof(struct config, peers),
                     offsetof(struct turn_member, peer), "listen-peer",
                     offsetof(struct config, listen_peer)},
    [CONFIG_CLIENT] = {"clients", offsetof(struct config, clients),
                       offsetof(struct turn_member, client), "listen-client",
                       offsetof(struct config, listen_client)},
    [CONFIG_HTTP] = {"http", offsetof(struct config, http),
                     offsetof(struct turn_member, http), "listen-http",
                     offsetof(struct config, listen_http)},
};

static char *address_in(struct turn_member *m, const struct address_list *list)
{
    return (char *)m + list->to;
}

static struct turn_member *find_member(struct config *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->members_n; i++) {
        if (c->members[i].id == id) {
            return &c->members[i];
        }
    }
    return NULL;
}

const struct turn_member *config_self(const struct config *c)
{
    /* Looking changes nothing. */
    return find_member((struct config *)(uintptr_t)c, c->id);
}

/* One ID=HOST:PORT of a list. */
static bool take_address(const struct checking *k,
                         const struct address_list *list, const char *part)
{
    char id_text[16];
    uint64_t id = 0;
    const char *equals = strchr(part, '=');
    (void)snprintf(id_text, sizeof id_text, "%.*s",
                   equals == NULL ? 0 : (int)(equals - part), part);
    if (equals == NULL || equals - part >= (ptrdiff_t)sizeof id_text ||
        !config_number(id_text, &id) || id == 0 || id > NODE_MAX ||
        !address_ok(equals + 1, false) ||
        strlen(equals + 1) >= TURN_ADDRESS_BYTES) {
        return complain(k, list->name,
                        "expected ID=HOST:PORT,... with IDs from 1 to %u, got "
                        "\"%.200s\"",
                        NODE_MAX, part);
    }
    struct turn_member *m = find_member(k->c, id);
    if (m != NULL && address_in(m, list)[0] != 0) {
        return complain(k, list->name, "names node %s twice", id_text);
    }
    if (m == NULL && list != &lists[CONFIG_PEER]) {
        return complain(k, list->name,
                        "names node %s, which `peers` doesn't name", id_text);
    }
    if (m == NULL && k->c->members_n == RAFT_NODES_MAX) {
        return complain(k, list->name, "expected at most %d nodes, got more",
                        RAFT_NODES_MAX);
    }
    if (m == NULL) {
        m = &k->c->members[k->c->members_n++];
        m->id = (raft_id)id;
    }
    memcpy(address_in(m, list), equals + 1, strlen(equals + 1) + 1);
    return true;
}

static bool take_addresses(const struct checking *k,
                           const struct address_list *list)
{
    char copy[CONFIG_LIST_BYTES];
    char *rest = NULL;
    const char *text = (const char *)k->c + list->from;
    memcpy(copy, text, strlen(text) + 1);
    for (char *part = strtok_r(copy, ",", &rest); part != NULL;
         part = strtok_r(NULL, ",", &rest)) {
        if (!take_address(k, list, part)) {
            return false;
        }
    }
    return true;
}

/* At an address one listens, and for one purpose. */
static bool check_different(const struct checking *k)
{
    uint32_t members_n = k->c->members_n;
    for (uint32_t i = 0; i < countof(lists) * members_n; i++) {
        const struct address_list *list = &lists[i / members_n];
        struct turn_member *m = &k->c->members[i % members_n];
        const char *address = address_in(m, list);
        for (uint32_t j = 0; j < i && address[0] != 0; j++) {
            const struct address_list *other_list = &lists[j / members_n];
            struct turn_member *other = &k->c->members[j % members_n];
            if (strcasecmp(address, address_in(other, other_list)) != 0) {
                continue;
            }
            if (list == other_list) {
                return complain(k, list->name,
                                "nodes %u and %u have the same address, %s",
                                other->id, m->id, address);
            }
            return complain(k, list->name,
                            "node %u has the address that node %u has in "
                            "`%s`, %s",
                            m->id, other->id, other_list->name, address);
        }
    }
    return true;
}

/* --- where to listen ------------------------------------------------------------------------------------------------ */

struct config_listen config_listen(const struct config *c,
                                   enum config_listener which)
{
    const struct address_list *list = &lists[which];
    const char *own = (const char *)c + list->listen_from;
    if (own[0] != 0) {
        return (struct config_listen){list->listen_name, own};
    }
    return (struct config_listen){list->name,
                                  (const char *)config_self(c) + list->to};
}

static bool check_listening(const struct checking *k)
{
    for (size_t i = 0; i < countof(lists); i++) {
        const char *own = (const char *)k->c + lists[i].listen_from;
        if (own[0] == 0) {
            continue;
        }
        if (!address_ok(own, true)) {
            return complain(k, lists[i].listen_name,
                            "expected HOST:PORT, got \"%s\"", own);
        }
        for (size_t j = 0; j < countof(lists); j++) {
            struct config_listen other =
                config_listen(k->c, (enum config_listener)j);
            if (j != i && strcasecmp(own, other.address) == 0) {
                return complain(k, lists[i].listen_name,
                                "has the address of %s, %s", other.setting,
                                own);
            }
        }
    }
    return true;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static bool check_needed(const struct checking *k)
{
    const struct config *c = k->c;
    if (c->id == 0) {
        return complain(k, "id", "needed: --id N");
    }
    if (c->data[0] == 0) {
        return complain(k, "data", "needed: --data DIRECTORY");
    }
    if (c->cluster[0] == 0) {
        return complain(k, "cluster", "needed: --cluster NAME");
    }
    if (c->peers[0] == 0) {
        return complain(k, "peers", "needed: --peers 1=HOST:PORT,2=...");
    }
    return true;
}

/* Named is what was given, not what has its default. */
static bool check_pairs(const struct checking *k)
{
    struct config *c = k->c;
    if (c->heartbeat_ms * 3 > c->election_ms) {
        return is_given(c, "heartbeat-ms")
                   ? complain(k, "heartbeat-ms",
                              "expected at most a third of election-ms, which "
                              "is %llu",
                              (unsigned long long)c->election_ms)
                   : complain(k, "election-ms",
                              "expected at least three times heartbeat-ms, "
                              "which is %llu",
                              (unsigned long long)c->heartbeat_ms);
    }
    if (c->tls_ca[0] != 0 && c->tls_cert_key[0] == 0) {
        return complain(k, "tls-ca", "needs tls-cert-key");
    }
    if (c->tls_ca[0] == 0 && c->tls_cert_key[0] != 0) {
        return complain(k, "tls-cert-key", "needs tls-ca");
    }
    if (!log_level_from(c->log_level, &c->level)) {
        return complain(k, "log-level", "expected error, warn, info or debug");
    }
    return true;
}

static uint64_t round_up_to_power(uint64_t n)
{
    uint64_t power = 1;
    while (power < n) {
        power *= 2;
    }
    return power;
}

static bool default_admin(const struct checking *k)
{
    struct config *c = k->c;
    const size_t most = sizeof c->admin - sizeof ADMIN_NAME;
    const size_t n = strlen(c->data);
    if (c->admin[0] != 0) {
        return true;
    }
    if (n > most) {
        return complain(k, "data",
                        "expected at most %zu bytes without admin, got %zu",
                        most, n);
    }
    memcpy(c->admin, c->data, n);
    memcpy(c->admin + n, ADMIN_NAME, sizeof ADMIN_NAME);
    return true;
}

bool config_check(struct config *c, char *error, size_t error_bytes)
{
    const struct checking k = {c, error, error_bytes};
    if (!check_needed(&k) || !check_pairs(&k)) {
        return false;
    }
    if (!take_addresses(&k, &lists[CONFIG_PEER])) {
        return false;
    }
    const struct turn_member *self = config_self(c);
    if (self == NULL) {
        return complain(&k, "peers", "doesn't name this node, %llu",
                        (unsigned long long)c->id);
    }
    if (!take_addresses(&k, &lists[CONFIG_CLIENT]) ||
        !take_addresses(&k, &lists[CONFIG_HTTP])) {
        return false;
    }
    if (self->client[0] == 0) {
        return complain(&k, "clients", "doesn't name this node, %llu",
                        (unsigned long long)c->id);
    }
    if (!check_different(&k) || !check_listening(&k) || !default_admin(&k)) {
        return false;
    }
    c->cluster_id = XXH3_64bits(c->cluster, strlen(c->cluster));
    c->pending_max = round_up_to_power(c->pending_max);
    return true;
}

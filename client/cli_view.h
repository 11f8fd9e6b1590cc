/* cli_view.h - the cluster as the nodes reached see it: what `status` prints. */
#ifndef CLIENT_CLI_VIEW_H
#define CLIENT_CLI_VIEW_H

#include "client/cli.h"

#define VIEW_NODES_MAX 32

struct view_node {
    char address[ROUTE_ADDRESS_BYTES]; /* that we asked */
    Pb__StatusResult *status;          /* NULL: unreachable */
    void *memory;
    char why[192];
    uint32_t id; /* 0: not known */
    const char *http;
    bool hidden; /* the same node under another address */
};

struct view {
    struct view_node nodes[VIEW_NODES_MAX];
    size_t nodes_n;
    size_t reached_n;
    /* The leader's word, else that of the node furthest on; NULL: nobody answered. */
    const Pb__StatusResult *best;
    uint32_t leader; /* 0: nobody knows one */
};

/* Asks every endpoint, and those that they name, at the same time; each has timeout_ms. */
void view_take(struct cli *c, uint32_t timeout_ms, struct view *out);
/* NULL: it didn't answer. */
const struct view_node *view_leader(const struct view *v);
/* Of the node that told `best`; UNTOLD: it leads, or there's none. */
struct cli_age view_age(const struct view *v);
void view_free(struct view *v);
void view_print(const struct view *v, FILE *to);
void view_print_json(const struct view *v);

#endif

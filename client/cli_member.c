#include <stdlib.h>
#include <string.h>

#include "client/cli_view.h"

/* From `min` on, which is 0 or 1. */
static int take_node(struct cli *c, const char *text, uint64_t min,
                     uint32_t *out)
{
    uint64_t node = 0;
    if (!cli_number(text, NODE_MAX, &node) || node < min) {
        return cli_usage(c,
                         "NODE must be a whole number from %llu to %u, not "
                         "\"%s\"",
                         (unsigned long long)min, NODE_MAX, text);
    }
    *out = (uint32_t)node;
    return CLI_DONE;
}

static int print_change(struct cli *c, ProtobufCMessage *op)
{
    void *memory = NULL;
    int rc = CLI_DONE;
    const Pb__ClientMessage *m =
        cli_ask(c, op, PB__CLIENT_MESSAGE__RESULT_CHANGE, &memory, &rc);
    if (m == NULL) {
        return rc;
    }
    const Pb__ChangeResult *r = m->change;
    if (c->json) {
        struct json_writer *w = cli_json_begin();
        cli_json_id(w, "leader", r->leader);
        cli_json_id(w, "term", r->term);
        cli_json_id(w, "config", r->config);
        cli_json_end();
    } else {
        (void)printf("leader %u, term %llu", r->leader,
                     (unsigned long long)r->term);
        if (r->config != 0) {
            (void)printf(", configuration %llu", (unsigned long long)r->config);
        }
        (void)printf("\n");
    }
    free(memory);
    return rc;
}

int cli_transfer(struct cli *c)
{
    const struct cli_option options[] = {{NULL, CLI_FLAG, NULL}};
    const char *args[CLI_POSITIONAL_MAX];
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (n != 1) {
        return n == 0 ? cli_usage(c, "NODE is missing (0: the best follower)")
                      : cli_surplus(c, args[1]);
    }
    Pb__Transfer op = PB__TRANSFER__INIT;
    rc = take_node(c, args[0], 0, &op.node);
    if (rc == CLI_DONE) {
        rc = cli_connect(c, NULL);
    }
    if (rc != CLI_DONE) {
        return rc;
    }
    return print_change(c, &op.base);
}

/* --- members ----------------------------------------------------------------------------------------------------- */

static void list_member(struct cli *c, struct cli_table *t,
                        const Pb__NodeStatus *n, uint64_t config)
{
    if (!c->json) {
        cli_table_add(t, "%u", n->id);
        cli_table_add(t, "%s", n->endpoint);
        cli_table_add(t, "%s", n->role);
        cli_table_add(t, "%s", n->http);
        return;
    }
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "id", n->id);
    cli_json_text(w, "endpoint", n->endpoint);
    cli_json_text(w, "role", n->role);
    cli_json_text(w, "http", n->http);
    cli_json_id(w, "config", config);
    cli_json_end();
}

static int list(struct cli *c)
{
    struct view v;
    view_take(c, c->timeout_ms, &v);
    const struct view_node *leader = view_leader(&v);
    if (leader == NULL) {
        view_free(&v);
        return cli_fail(c, BATON_NO_QUORUM,
                        "the leader, which knows the members, didn't answer");
    }
    static const char *const heads[] = {"NODE", "ENDPOINT", "ROLE", "HTTP"};
    struct cli_table *t = cli_table_make(heads, (int)countof(heads));
    const Pb__StatusResult *s = leader->status;
    list_member(c, t, s->self, s->config);
    for (size_t i = 0; i < s->n_nodes; i++) {
        list_member(c, t, s->nodes[i], s->config);
    }
    if (!c->json) {
        cli_table_print(t, stdout);
        (void)printf("\nconfiguration %llu\n", (unsigned long long)s->config);
    }
    cli_table_free(t);
    view_free(&v);
    return CLI_DONE;
}

/* The change names the configuration that it's of, so that two at once can't both be made of the same one. Any node's word will
 * do: an old one is refused. */
static int change(struct cli *c, Pb__ChangeMembers *op)
{
    Pb__GetStatus get = PB__GET_STATUS__INIT;
    void *memory = NULL;
    int rc = CLI_DONE;
    const Pb__ClientMessage *m = cli_ask(
        c, &get.base, PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT, &memory, &rc);
    if (m == NULL) {
        return rc;
    }
    op->expected = m->status_result->config;
    free(memory);
    return print_change(c, &op->base);
}

static int act(struct cli *c, const char *what, uint32_t node,
               Pb__Member *member)
{
    Pb__ChangeMembers op = PB__CHANGE_MEMBERS__INIT;
    if (strcmp(what, "add") == 0) {
        member->node = node;
        op.add_learners = &member;
        op.n_add_learners = 1;
    } else if (strcmp(what, "promote") == 0) {
        op.promote = &node;
        op.n_promote = 1;
    } else {
        op.remove = &node;
        op.n_remove = 1;
    }
    int rc = cli_connect(c, NULL);
    return rc == CLI_DONE ? change(c, &op) : rc;
}

static int take_member(struct cli *c, Pb__Member *member, const char **out_what,
                       const char **out_node)
{
    const char *peer = NULL;
    const char *client = NULL;
    const char *http = NULL;
    const struct cli_option options[] = {{"--peer", CLI_ADDRESS, &peer},
                                         {"--client", CLI_ADDRESS, &client},
                                         {"--http", CLI_ADDRESS, &http},
                                         {NULL, CLI_FLAG, NULL}};
    const char *args[CLI_POSITIONAL_MAX] = {""};
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    const char *what = args[0];
    bool add = strcmp(what, "add") == 0;
    int takes = strcmp(what, "list") == 0 ? 1 : 2;
    if (takes == 2 && !add && strcmp(what, "promote") != 0 &&
        strcmp(what, "remove") != 0) {
        return cli_usage(c,
                         "it's list, add NODE, promote NODE or remove NODE, "
                         "not \"%s\"",
                         what);
    }
    if (n != takes) {
        return n < takes ? cli_usage(c, "NODE is missing")
                         : cli_surplus(c, args[takes]);
    }
    if (!add && (peer != NULL || client != NULL || http != NULL)) {
        return cli_usage(c, "--peer, --client and --http are only for member "
                            "add");
    }
    if (add && (peer == NULL || client == NULL)) {
        return cli_usage(c, "a new node needs --peer HOST:PORT and "
                            "--client HOST:PORT");
    }
    member->peer = (char *)(peer != NULL ? peer : "");
    member->client = (char *)(client != NULL ? client : "");
    member->http = (char *)(http != NULL ? http : "");
    *out_what = what;
    *out_node = args[1];
    return CLI_DONE;
}

int cli_member(struct cli *c)
{
    Pb__Member member = PB__MEMBER__INIT;
    const char *what = "";
    const char *text = "";
    int rc = take_member(c, &member, &what, &text);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (strcmp(what, "list") == 0) {
        rc = cli_connect(c, NULL);
        return rc == CLI_DONE ? list(c) : rc;
    }
    uint32_t node = 0;
    rc = take_node(c, text, 1, &node);
    return rc == CLI_DONE ? act(c, what, node, &member) : rc;
}

#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

/* What leader, verify and explain ask about. */
struct question {
    struct cli_target target;
    Pb__Path path; /* of `target` */
    Pb__Consistency consistency;
};

/* Takes the arguments, and connects. */
static int take_question(struct cli *c, bool with_epoch, struct question *out)
{
    bool stale = false;
    const struct cli_option options[] = {{"--stale", CLI_FLAG, &stale},
                                         {NULL, CLI_FLAG, NULL}};
    int rc = cli_take_scope(c, options, with_epoch, &out->target);
    if (rc != CLI_DONE) {
        return rc;
    }
    struct baton_scope view = cli_scope_view(&out->target.scope);
    out->path = path_of(&view);
    out->consistency = cli_consistency(stale);
    return cli_connect(c, NULL);
}

/* --- leader ------------------------------------------------------------------------------------------------------ */

static void leader_json(const Pb__LeaderResult *l, uint64_t revision)
{
    struct json_writer *w = cli_json_begin();
    cli_json_text(w, "scope", cli_path(l->scope));
    cli_json_id(w, "session", l->session);
    cli_json_text(w, "device", l->device);
    cli_json_text(w, "tab", l->tab);
    cli_json_id(w, "epoch", l->epoch);
    cli_json_id(w, "backup", l->backup);
    cli_json_number(w, "since_ms", l->since_ms);
    cli_json_id(w, "revision", revision);
    cli_json_text(w, "consistency",
                  cli_enum(&pb__consistency__descriptor, (int)l->consistency));
    cli_json_age(w, cli_age(l->age_ms, l->age_unknown));
    cli_json_text(w, "reason",
                  cli_enum(&pb__grant_reason__descriptor, (int)l->reason));
    cli_json_id(w, "lease", l->lease);
    cli_json_text(w, "relay", l->relay);
    cli_json_flag(w, "handing_over", l->handing_over);
    cli_json_end();
}

static void leader_text(const Pb__LeaderResult *l, uint64_t revision)
{
    (void)printf("scope     %s\n", cli_path(l->scope));
    (void)printf("holder    %s/%s  session %llu\n", l->device, l->tab,
                 (unsigned long long)l->session);
    (void)printf("epoch     %llu\n", (unsigned long long)l->epoch);
    if (l->backup != 0) {
        (void)printf("backup    session %llu\n", (unsigned long long)l->backup);
    } else {
        (void)printf("backup    none\n");
    }
    (void)printf("held for  %s (%s)%s\n", cli_span(l->since_ms),
                 cli_enum(&pb__grant_reason__descriptor, (int)l->reason),
                 l->handing_over ? ", being handed over" : "");
    if (l->relay[0] != '\0') {
        (void)printf("relay     %s\n", l->relay);
    }
    (void)printf("revision  %llu\n", (unsigned long long)revision);
}

int cli_leader(struct cli *c)
{
    struct question q;
    int rc = take_question(c, false, &q);
    if (rc != CLI_DONE) {
        return rc;
    }
    Pb__GetLeader op = PB__GET_LEADER__INIT;
    op.scope = &q.path;
    op.consistency = q.consistency;
    void *memory = NULL;
    const Pb__ClientMessage *m = cli_ask(
        c, &op.base, PB__CLIENT_MESSAGE__RESULT_LEADER_RESULT, &memory, &rc);
    if (m == NULL) {
        return rc;
    }
    if (c->json) {
        leader_json(m->leader_result, m->revision);
    } else {
        leader_text(m->leader_result, m->revision);
    }
    free(memory);
    return rc;
}

/* --- verify ------------------------------------------------------------------------------------------------------ */

int cli_verify(struct cli *c)
{
    struct question q;
    int rc = take_question(c, true, &q);
    if (rc != CLI_DONE) {
        return rc;
    }
    Pb__GetVerify op = PB__GET_VERIFY__INIT;
    op.scope = &q.path;
    op.epoch = q.target.epoch;
    op.consistency = q.consistency;
    void *memory = NULL;
    const Pb__ClientMessage *m =
        cli_ask(c, &op.base, PB__CLIENT_MESSAGE__RESULT_VERIFY, &memory, &rc);
    if (m == NULL) {
        return rc;
    }
    const Pb__VerifyResult *v = m->verify;
    if (c->json) {
        struct json_writer *w = cli_json_begin();
        cli_json_id(w, "current", v->current);
        cli_json_id(w, "epoch", op.epoch);
        cli_json_flag(w, "valid", v->valid);
        cli_json_id(w, "holder", v->holder);
        cli_json_id(w, "revision", m->revision);
        if (q.consistency == PB__CONSISTENCY__STALE) {
            cli_json_one_view(w, (struct cli_age){.kind = CLI_AGE_UNTOLD});
        }
        cli_json_end();
    } else {
        (void)printf("%s: epoch %llu, current %llu\n",
                     v->valid ? "valid" : "stale", (unsigned long long)op.epoch,
                     (unsigned long long)v->current);
    }
    rc = v->valid ? CLI_DONE : CLI_REFUSED;
    free(memory);
    return rc;
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

/* The age of a linearizable answer is untold. */
static void session_json(const Pb__SessionInfo *s, uint64_t revision,
                         struct cli_age age)
{
    char group[SCOPE_BYTES];
    (void)snprintf(group, sizeof group, "%s/%s", s->namespace_, s->group);
    struct json_writer *w = cli_json_begin();
    cli_json_id(w, "session", s->session);
    cli_json_text(w, "group", group);
    cli_json_text(w, "device", s->device);
    cli_json_text(w, "tab", s->tab);
    cli_json_text(w, "role", cli_role((int)s->role));
    cli_json_flag(w, "group_leader", s->group_leader);
    cli_json_flag(w, "group_backup", s->group_backup);
    json_key(w, "score");
    json_i64(w, s->score);
    cli_json_id(w, "lease", s->lease);
    cli_json_text(w, "state", s->detached ? "detached" : "attached");
    cli_json_id(w, "device_epoch", s->device_epoch);
    cli_json_id(w, "group_epoch", s->group_epoch);
    cli_json_number(w, "opened_ms", s->opened_ms);
    cli_json_id(w, "revision", revision);
    if (age.kind != CLI_AGE_UNTOLD) {
        cli_json_one_view(w, age);
    }
    cli_json_end();
}

static void session_row(struct cli_table *t, const Pb__SessionInfo *s)
{
    cli_table_add(t, "%llu", (unsigned long long)s->session);
    cli_table_add(t, "%s/%s", s->namespace_, s->group);
    cli_table_add(t, "%s", s->device);
    cli_table_add(t, "%s", s->tab);
    cli_table_add(t, "%s%s", cli_role((int)s->role),
                  s->group_leader   ? ", group leader"
                  : s->group_backup ? ", group backup"
                                    : "");
    cli_table_add(t, "%d", s->score);
    cli_table_add(t, "%llu", (unsigned long long)s->lease);
    cli_table_add(t, "%s", s->detached ? "detached" : "attached");
}

/* One page after the other, printed as they come. */
static int list_pages(struct cli *c, Pb__GetSessions *op)
{
    static const char *const heads[] = {"SESSION", "GROUP", "DEVICE", "TAB",
                                        "ROLE",    "SCORE", "LEASE",  "STATE"};
    const bool stale = op->consistency == PB__CONSISTENCY__STALE;
    int rc = CLI_DONE;
    do {
        void *memory = NULL;
        const Pb__ClientMessage *m = cli_ask(
            c, &op->base, PB__CLIENT_MESSAGE__RESULT_SESSIONS, &memory, &rc);
        if (m == NULL) {
            return rc;
        }
        const Pb__SessionsResult *s = m->sessions;
        struct cli_age age = {.kind = CLI_AGE_UNTOLD};
        if (stale) {
            age = cli_age(s->age_ms, s->age_unknown);
        }
        struct cli_table *t = cli_table_make(heads, (int)countof(heads));
        for (size_t i = 0; i < s->n_sessions; i++) {
            if (c->json) {
                session_json(s->sessions[i], m->revision, age);
            } else {
                session_row(t, s->sessions[i]);
            }
        }
        if (!c->json && (s->n_sessions > 0 || op->cursor == 0)) {
            cli_table_print(t, stdout);
        }
        cli_table_free(t);
        op->cursor = s->next;
        free(memory);
    } while (op->cursor != 0);
    return rc;
}

int cli_sessions(struct cli *c)
{
    bool stale = false;
    const struct cli_option options[] = {{"--stale", CLI_FLAG, &stale},
                                         {NULL, CLI_FLAG, NULL}};
    struct cli_scope scope;
    int rc = cli_take_filter(c, options, &scope);
    if (rc == CLI_DONE) {
        rc = cli_connect(c, NULL);
    }
    if (rc != CLI_DONE) {
        return rc;
    }
    Pb__GetSessions op = PB__GET_SESSIONS__INIT;
    op.namespace_ = scope.namespace_name;
    op.group = scope.group;
    op.consistency = cli_consistency(stale);
    return list_pages(c, &op);
}

/* --- explain ----------------------------------------------------------------------------------------------------- */

static void explain_json(const Pb__ExplainResult *x, uint64_t revision,
                         bool stale)
{
    struct json_writer *w = cli_json_begin();
    cli_json_text(w, "scope", cli_path(x->scope));
    cli_json_id(w, "epoch", x->epoch);
    cli_json_id(w, "session", x->session);
    cli_json_text(w, "reason",
                  cli_enum(&pb__grant_reason__descriptor, (int)x->reason));
    cli_json_text(w, "why", x->why);
    cli_json_id(w, "revision", revision);
    json_key(w, "candidates");
    json_array_begin(w);
    for (size_t i = 0; i < x->n_candidates; i++) {
        const Pb__Candidate *k = x->candidates[i];
        json_object_begin(w);
        cli_json_id(w, "session", k->session);
        cli_json_text(w, "device", k->device);
        cli_json_text(w, "tab", k->tab);
        cli_json_text(w, "role", cli_role((int)k->role));
        json_key(w, "score");
        json_i64(w, k->score);
        cli_json_text(w, "note", k->note);
        json_key(w, "parts");
        json_array_begin(w);
        for (size_t j = 0; j < k->n_parts; j++) {
            const Pb__ScorePart *p = k->parts[j];
            json_object_begin(w);
            cli_json_text(w, "name", p->name);
            cli_json_flag(w, "known", p->known);
            json_key(w, "value");
            json_i64(w, p->value);
            json_key(w, "points");
            json_i64(w, p->points);
            json_object_end(w);
        }
        json_array_end(w);
        json_object_end(w);
    }
    json_array_end(w);
    cli_json_number(w, "left_out", x->left_out);
    if (stale) {
        cli_json_one_view(w, (struct cli_age){.kind = CLI_AGE_UNTOLD});
    }
    cli_json_end();
}

/* "battery 80: +160" as one cell. */
static void explain_part(struct cli_table *t, const Pb__ScorePart *p)
{
    const char *word = cli_capability_word(p->name, p->value);
    if (p->known && word != NULL) {
        cli_table_add(t, "%+d (%s)", p->points, word);
    } else if (p->known) {
        cli_table_add(t, "%+d (%d)", p->points, p->value);
    } else {
        cli_table_add(t, "%+d (?)", p->points);
    }
}

static void explain_text(const Pb__ExplainResult *x)
{
    (void)printf("%s  epoch %llu  %s\n", cli_path(x->scope),
                 (unsigned long long)x->epoch, x->why);
    if (x->n_candidates == 0) {
        (void)printf("no candidates\n");
        return;
    }
    const char *heads[16] = {"SESSION", "HOLDER", "ROLE", "SCORE"};
    int columns = 4;
    const Pb__Candidate *first = x->candidates[0];
    for (size_t j = 0; j < first->n_parts && columns < 15; j++) {
        heads[columns++] = first->parts[j]->name;
    }
    int parts = columns - 4;
    heads[columns++] = "NOTE";
    (void)printf("\n");
    struct cli_table *t = cli_table_make(heads, columns);
    for (size_t i = 0; i < x->n_candidates; i++) {
        const Pb__Candidate *k = x->candidates[i];
        cli_table_add(t, "%llu", (unsigned long long)k->session);
        cli_table_add(t, "%s%s%s", k->device, k->tab[0] != '\0' ? "/" : "",
                      k->tab);
        cli_table_add(t, "%s", cli_role((int)k->role));
        cli_table_add(t, "%d", k->score);
        for (int j = 0; j < parts; j++) {
            if ((size_t)j < k->n_parts) {
                explain_part(t, k->parts[j]);
            } else {
                cli_table_add(t, "-");
            }
        }
        cli_table_add(t, "%s", k->note);
    }
    cli_table_print(t, stdout);
    cli_table_free(t);
    (void)printf("\npoints (value); ? isn't reported, and counts neutrally\n");
    if (x->left_out > 0) {
        (void)printf("%u more candidates are not shown\n", x->left_out);
    }
}

int cli_explain(struct cli *c)
{
    struct question q;
    int rc = take_question(c, false, &q);
    if (rc != CLI_DONE) {
        return rc;
    }
    Pb__GetExplain op = PB__GET_EXPLAIN__INIT;
    op.scope = &q.path;
    op.consistency = q.consistency;
    void *memory = NULL;
    const Pb__ClientMessage *m =
        cli_ask(c, &op.base, PB__CLIENT_MESSAGE__RESULT_EXPLAIN, &memory, &rc);
    if (m == NULL) {
        return rc;
    }
    if (c->json) {
        explain_json(m->explain, m->revision,
                     q.consistency == PB__CONSISTENCY__STALE);
    } else {
        explain_text(m->explain);
    }
    free(memory);
    return rc;
}

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"
#include "proto/utf8.h"

#define WATCH_TAG        1
#define REASON_BYTES_MAX 256 /* the registry's limit of a text */

static const char *scope_text(const struct cli_scope *s)
{
    struct baton_scope view = cli_scope_view(s);
    Pb__Path path = path_of(&view);
    return cli_path(&path);
}

/* A lease for the request's (client, sequence): it's closed when the program ends. */
static int connect_acting(struct cli *c)
{
    struct baton_options options = {.label = "baton command line"};
    return cli_connect(c, &options);
}

static int finish(struct cli *c, enum baton_status status,
                  struct baton_reply *r)
{
    int code = status == BATON_OK ? CLI_DONE : cli_fail(c, status, r->message);
    baton_reply_free(r);
    return code;
}

/* --- handoff ----------------------------------------------------------------------------------------------------- */

static bool is_about(const struct baton_event *e, const struct cli_scope *s)
{
    bool group = s->device[0] == '\0';
    return group == e->group_scope && strcmp(e->scope, scope_text(s)) == 0;
}

static void handoff_done(const struct cli *c, const struct cli_scope *s,
                         const Pb__Event *e)
{
    if (c->json) {
        struct json_writer *w = cli_json_begin();
        cli_json_text(w, "scope", scope_text(s));
        cli_json_id(w, "from", e->previous_session);
        cli_json_id(w, "to", e->session);
        cli_json_id(w, "epoch", e->epoch);
        cli_json_end();
        return;
    }
    (void)printf("%s passed from session %llu to %llu, epoch %llu\n",
                 scope_text(s), (unsigned long long)e->previous_session,
                 (unsigned long long)e->session, (unsigned long long)e->epoch);
}

/* True once the hand-off has ended; *until moves with its deadlines. */
static bool handoff_event(struct cli *c, const struct cli_scope *s, uint64_t to,
                          uint64_t *until, int *out_code)
{
    const Pb__Event *e = (const Pb__Event *)client_polled(c->b);
    char text[256];
    switch (e->kind) {
    case PB__EVENT_KIND__OFFERED:
    case PB__EVENT_KIND__ACCEPTED:
        if (e->deadline_ms > e->time_ms) {
            *until =
                client_now_ms() + (e->deadline_ms - e->time_ms) + c->timeout_ms;
        }
        return false;
    case PB__EVENT_KIND__GRANTED:
        if (e->session == to) {
            handoff_done(c, s, e);
            *out_code = CLI_DONE;
            return true;
        }
        (void)snprintf(text, sizeof text,
                       "overtaken: session %llu has the baton now, epoch %llu",
                       (unsigned long long)e->session,
                       (unsigned long long)e->epoch);
        break;
    case PB__EVENT_KIND__HANDOFF_FAILED:
        (void)snprintf(text, sizeof text,
                       "the hand-off failed (%s): session %llu keeps the baton",
                       cli_enum(&pb__cause__descriptor, (int)e->cause),
                       (unsigned long long)e->previous_session);
        break;
    case PB__EVENT_KIND__VACATED:
        (void)snprintf(text, sizeof text,
                       "the scope fell vacant before the hand-off was done");
        break;
    default:
        return false;
    }
    *out_code = cli_fail(c, BATON_CONFLICT, text);
    return true;
}

static int handoff_wait(struct cli *c, const struct cli_scope *s, uint64_t to,
                        uint64_t offer)
{
    struct baton_watch w = {.tag = WATCH_TAG,
                            .namespace_name = s->namespace_name,
                            .group = s->group,
                            .from = offer};
    enum baton_status status = baton_watch(c->b, &w);
    if (status != BATON_OK) {
        return cli_fail(c, status, NULL);
    }
    uint64_t until = client_now_ms() + c->timeout_ms;
    for (;;) {
        uint64_t now_ms = client_now_ms();
        struct baton_event e;
        if (now_ms >= until || !baton_poll(c->b, (int)(until - now_ms), &e)) {
            return cli_fail(c, BATON_UNKNOWN,
                            "offered, but how it ended wasn't heard in time: "
                            "see baton leader");
        }
        int code = CLI_DONE;
        if (e.type == BATON_WATCH_FAILED) {
            return cli_fail(c, e.status, e.message);
        }
        if (e.type == BATON_WATCH_EVENT && is_about(&e, s) &&
            handoff_event(c, s, to, &until, &code)) {
            return code;
        }
    }
}

int cli_handoff(struct cli *c)
{
    uint64_t to = 0;
    const struct cli_option options[] = {{"--to", CLI_ID, &to},
                                         {NULL, CLI_FLAG, NULL}};
    struct cli_target target;
    int rc = cli_take_scope(c, options, false, &target);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (to == 0) {
        return cli_usage(c, "--to SESSION is missing (baton sessions lists "
                            "them)");
    }
    rc = connect_acting(c);
    if (rc != CLI_DONE) {
        return rc;
    }
    struct baton_scope scope = cli_scope_view(&target.scope);
    struct baton_reply r = {0};
    enum baton_status status = baton_handoff(c->b, NULL, &scope, to, &r);
    uint64_t offer = r.id;
    rc = finish(c, status, &r);
    return rc == CLI_DONE ? handoff_wait(c, &target.scope, to, offer) : rc;
}

/* --- resign, demote ---------------------------------------------------------------------------------------------- */

static int moved(struct cli *c, const struct cli_scope *s,
                 enum baton_status status, struct baton_reply *r)
{
    if (status == BATON_OK && c->json) {
        struct json_writer *w = cli_json_begin();
        cli_json_text(w, "scope", scope_text(s));
        cli_json_id(w, "epoch", r->epoch);
        cli_json_id(w, "session", r->id);
        cli_json_id(w, "revision", r->revision);
        cli_json_end();
    } else if (status == BATON_OK && r->id != 0) {
        (void)printf("%s is led by session %llu now, epoch %llu\n",
                     scope_text(s), (unsigned long long)r->id,
                     (unsigned long long)r->epoch);
    } else if (status == BATON_OK) {
        (void)printf("%s is vacant now\n", scope_text(s));
    }
    return finish(c, status, r);
}

int cli_resign(struct cli *c)
{
    const struct cli_option options[] = {{NULL, CLI_FLAG, NULL}};
    struct cli_target target;
    int rc = cli_take_scope(c, options, true, &target);
    if (rc != CLI_DONE) {
        return rc;
    }
    rc = connect_acting(c);
    if (rc != CLI_DONE) {
        return rc;
    }
    struct baton_handover h = {.scope = cli_scope_view(&target.scope),
                               .epoch = target.epoch};
    struct baton_reply r = {0};
    enum baton_status status = baton_resign(c->b, NULL, &h, &r);
    return moved(c, &target.scope, status, &r);
}

int cli_demote(struct cli *c)
{
    const char *reason = NULL;
    const struct cli_option options[] = {{"--reason", CLI_TEXT, &reason},
                                         {NULL, CLI_FLAG, NULL}};
    struct cli_target target;
    int rc = cli_take_scope(c, options, false, &target);
    if (rc != CLI_DONE) {
        return rc;
    }
    if (reason == NULL) {
        return cli_usage(c, "--reason TEXT is missing: it goes on record");
    }
    if (reason[0] == '\0' ||
        !utf8_is_text(codec_text(reason), REASON_BYTES_MAX)) {
        return cli_usage(c,
                         "--reason must be 1 to %d bytes of UTF-8 without "
                         "control characters, not \"%.300s\"",
                         REASON_BYTES_MAX, reason);
    }
    rc = connect_acting(c);
    if (rc != CLI_DONE) {
        return rc;
    }
    struct baton_scope scope = cli_scope_view(&target.scope);
    struct baton_reply r = {0};
    enum baton_status status = baton_demote(c->b, NULL, &scope, reason, &r);
    return moved(c, &target.scope, status, &r);
}

/* --- policy ------------------------------------------------------------------------------------------------------ */

static void policy_weights(struct json_writer *w, const Pb__Policy *p)
{
    json_key(w, "weights");
    json_object_begin(w);
    for (size_t i = 0; i < p->n_weights; i++) {
        json_key(w, cli_enum(&pb__capability_key__descriptor,
                             (int)p->weights[i]->key));
        json_i64(w, p->weights[i]->weight);
    }
    json_object_end(w);
}

static uint64_t policy_value(const Pb__Policy *p,
                             const ProtobufCFieldDescriptor *d)
{
    const uint8_t *at = (const uint8_t *)p + d->offset;
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (d->type == PROTOBUF_C_TYPE_UINT32) {
        memcpy(&narrow, at, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, at, sizeof wide);
    return wide;
}

/* As `policy set` takes it: on many lines for people, on one for scripts. */
static void policy_print(const struct cli *c, const Pb__Policy *p)
{
    struct json_writer *w = NULL;
    if (c->json) {
        w = cli_json_begin();
        policy_weights(w, p);
    } else {
        (void)printf("{\n  \"weights\": {");
        for (size_t i = 0; i < p->n_weights; i++) {
            (void)printf("%s\n    \"%s\": %d", i == 0 ? "" : ",",
                         cli_enum(&pb__capability_key__descriptor,
                                  (int)p->weights[i]->key),
                         p->weights[i]->weight);
        }
        (void)printf("%s}", p->n_weights == 0 ? "" : "\n  ");
    }
    for (unsigned i = 0; i < pb__policy__descriptor.n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &pb__policy__descriptor.fields[i];
        if (d->type == PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        uint64_t value = policy_value(p, d);
        if (c->json) {
            cli_json_number(w, d->name, value);
        } else {
            (void)printf(",\n  \"%s\": %llu", d->name,
                         (unsigned long long)value);
        }
    }
    if (c->json) {
        cli_json_end();
    } else {
        (void)printf("\n}\n");
    }
}

static int policy_get(struct cli *c, const char *namespace_name)
{
    Pb__GetPolicy op = PB__GET_POLICY__INIT;
    op.namespace_ = (char *)namespace_name;
    void *memory = NULL;
    int rc = CLI_DONE;
    const Pb__ClientMessage *m =
        cli_ask(c, &op.base, PB__CLIENT_MESSAGE__RESULT_POLICY, &memory, &rc);
    if (m != NULL && m->policy->policy != NULL) {
        policy_print(c, m->policy->policy);
    }
    free(memory);
    return rc;
}

static char *read_all(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL) {
        return NULL;
    }
    size_t n = 0;
    size_t max = 1u << 20;
    char *text = client_alloc(max + 1);
    n = fread(text, 1, max, f);
    bool bad = ferror(f) != 0;
    if (f != stdin) {
        (void)fclose(f);
    }
    text[n] = '\0';
    if (bad) {
        free(text);
        return NULL;
    }
    return text;
}

static int policy_set(struct cli *c, const char *namespace_name,
                      const char *file)
{
    char *json = read_all(file);
    if (json == NULL) {
        return cli_usage(c, "%s: %s", file, strerror(errno));
    }
    struct baton_reply r = {0};
    enum baton_status status =
        baton_policy_set(c->b, NULL, namespace_name, json, &r);
    free(json);
    if (status == BATON_INVALID && !c->json) {
        (void)fprintf(stderr, "baton: %s is refused, nothing was changed:\n",
                      file);
    }
    int rc = finish(c, status, &r);
    return rc == CLI_DONE ? policy_get(c, namespace_name) : rc;
}

int cli_policy(struct cli *c)
{
    const struct cli_option options[] = {{NULL, CLI_FLAG, NULL}};
    const char *args[CLI_POSITIONAL_MAX];
    int n = 0;
    int rc = cli_parse(c, options, args, &n);
    if (rc != CLI_DONE) {
        return rc;
    }
    bool get = n == 2 && strcmp(args[0], "get") == 0;
    bool set = n == 3 && strcmp(args[0], "set") == 0;
    if (!get && !set) {
        return cli_usage(c, "it's `get NAMESPACE` or `set NAMESPACE FILE`");
    }
    struct cli_scope scope;
    rc = cli_parse_scope(c, args[1], NULL, 1, &scope);
    if (rc == CLI_DONE && scope.group[0] != '\0') {
        return cli_usage(
            c, "a policy is of a NAMESPACE, without a group: not \"%s\"",
            args[1]);
    }
    if (rc == CLI_DONE) {
        rc = get ? cli_connect(c, NULL) : connect_acting(c);
    }
    if (rc != CLI_DONE) {
        return rc;
    }
    return get ? policy_get(c, scope.namespace_name)
               : policy_set(c, scope.namespace_name, args[2]);
}

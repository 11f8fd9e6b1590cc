#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "proto/json.h"

Pb__Path path_of(const struct baton_scope *s)
{
    Pb__Path path = PB__PATH__INIT;
    path.namespace_ =
        (char *)(s->namespace_name != NULL ? s->namespace_name : "");
    path.group = (char *)(s->group != NULL ? s->group : "");
    path.device = (char *)(s->device != NULL ? s->device : "");
    return path;
}

void baton_reply_free(struct baton_reply *r)
{
    free(r->memory);
    free((void *)r->json);
    free((void *)r->sessions);
    *r = (struct baton_reply){0};
}

static void fill_leader(struct baton_reply *out, const Pb__LeaderResult *l)
{
    out->session = l->session;
    out->epoch = l->epoch;
    out->backup = l->backup;
    out->since_ms = l->since_ms;
    out->age_ms = l->age_ms;
    out->age_unknown = l->age_unknown;
    out->handing_over = l->handing_over;
    out->device = l->device;
    out->tab = l->tab;
}

static void fill_sessions(struct baton_reply *out, const Pb__SessionsResult *s)
{
    struct baton_session *rows =
        client_alloc((s->n_sessions + 1) * sizeof *rows);
    for (size_t i = 0; i < s->n_sessions; i++) {
        const Pb__SessionInfo *from = s->sessions[i];
        rows[i] = (struct baton_session){
            .session = from->session,
            .lease = from->lease,
            .namespace_name = from->namespace_,
            .group = from->group,
            .device = from->device,
            .tab = from->tab,
            .role = (enum baton_role)from->role,
            .group_leader = from->group_leader,
            .group_backup = from->group_backup,
            .detached = from->detached,
            .observer = from->observer,
            .score = from->score,
            .attachment = from->attachment,
            .device_epoch = from->device_epoch,
            .group_epoch = from->group_epoch,
            .opened_ms = from->opened_ms,
        };
    }
    out->sessions = rows;
    out->sessions_n = s->n_sessions;
    out->next = s->next;
    out->age_ms = s->age_ms;
    out->age_unknown = s->age_unknown;
}

static void fill_json(struct baton_reply *out, const ProtobufCMessage *m)
{
    for (size_t n = 4096 + codec_size(m) * 8; n <= 256u << 20; n *= 4) {
        char *text = client_alloc(n);
        if (json_write(m, 0, text, n) > 0) {
            out->json = text;
            return;
        }
        free(text);
    }
}

static void fill_result(struct baton_reply *out, const Pb__ClientMessage *m)
{
    switch (m->result_case) {
    case PB__CLIENT_MESSAGE__RESULT_REPLY:
        out->id = m->reply->id;
        out->epoch = m->reply->epoch;
        out->detail = m->reply->detail;
        out->revision = max_u64(out->revision, m->reply->revision);
        break;
    case PB__CLIENT_MESSAGE__RESULT_VERIFY:
        out->epoch = m->verify->current;
        out->valid = m->verify->valid;
        out->session = m->verify->holder;
        break;
    case PB__CLIENT_MESSAGE__RESULT_LEADER_RESULT:
        fill_leader(out, m->leader_result);
        break;
    case PB__CLIENT_MESSAGE__RESULT_SESSIONS:
        fill_sessions(out, m->sessions);
        break;
    case PB__CLIENT_MESSAGE__RESULT_EXPLAIN:
        fill_json(out, &m->explain->base);
        break;
    case PB__CLIENT_MESSAGE__RESULT_POLICY:
        fill_json(out, &m->policy->base);
        break;
    case PB__CLIENT_MESSAGE__RESULT_EVENTS:
        fill_json(out, &m->events->base);
        out->next = m->events->next;
        out->id = m->events->horizon;
        out->age_ms = m->events->age_ms;
        out->age_unknown = m->events->age_unknown;
        break;
    case PB__CLIENT_MESSAGE__RESULT_STATE:
        out->state = m->state->state.data;
        out->state_n = m->state->state.len;
        out->epoch = m->state->epoch;
        break;
    case PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT:
        fill_json(out, &m->status_result->base);
        out->session = m->status_result->leader;
        break;
    case PB__CLIENT_MESSAGE__RESULT_CHANGE:
        out->session = m->change->leader;
        out->epoch = m->change->term;
        out->id = m->change->config;
        break;
    default:
        break; /* none, or one that isn't an answer to a call */
    }
}

void reply_fill(struct baton_reply *out, const struct answer *a)
{
    *out = (struct baton_reply){.status = a->status};
    memcpy(out->message, a->message, sizeof out->message);
    void *memory = NULL;
    const Pb__ClientMessage *m = answer_decode(a, &memory);
    if (m == NULL) {
        return;
    }
    out->memory = memory;
    out->reason = m->reason;
    out->revision = m->revision;
    fill_result(out, m);
}

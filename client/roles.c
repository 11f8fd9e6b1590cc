#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

/* With more members, nobody is searched for whom an event doesn't name. */
#define SMALL_N 1024

/* --- the table ---------------------------------------------------------------------------------------------------- */

static uint32_t place_of(const struct members *m, uint64_t id)
{
    uint64_t h = id * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32) & (m->table_n - 1);
}

static struct member *members_find(const struct members *m, uint64_t id)
{
    if (m->table_n == 0 || id == 0) {
        return NULL;
    }
    for (uint32_t i = place_of(m, id);; i = (i + 1) & (m->table_n - 1)) {
        if (m->table[i].id == id) {
            return &m->table[i];
        }
        if (m->table[i].id == 0) {
            return NULL;
        }
    }
}

static void members_grow(struct members *m)
{
    struct members made = *m;
    made.table_n = m->table_n == 0 ? 16 : m->table_n * 2;
    made.table = client_alloc(made.table_n * sizeof *made.table);
    for (uint32_t i = 0; i < m->table_n; i++) {
        if (m->table[i].id == 0) {
            continue;
        }
        uint32_t at = place_of(&made, m->table[i].id);
        while (made.table[at].id != 0) {
            at = (at + 1) & (made.table_n - 1);
        }
        made.table[at] = m->table[i];
    }
    free(m->table);
    *m = made;
}

static char *join_path(const char *const parts[4])
{
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        n += strlen(parts[i]) + 1;
    }
    char *path = client_alloc(n);
    char *to = path;
    for (int i = 0; i < 4; i++) {
        size_t part_n = strlen(parts[i]) + 1;
        memcpy(to, parts[i], part_n);
        to += part_n;
    }
    return path;
}

static const char *path_part(const struct member *m, int part)
{
    const char *at = m->path;
    for (int i = 0; i < part; i++) {
        at += strlen(at) + 1;
    }
    return at;
}

static struct member *members_add(struct members *m, uint64_t id,
                                  const char *const parts[4])
{
    ASSERT(id != 0);
    struct member *found = members_find(m, id);
    if (found != NULL) {
        return found;
    }
    if ((m->n + 1) * 2 > m->table_n) {
        members_grow(m);
    }
    uint32_t at = place_of(m, id);
    while (m->table[at].id != 0) {
        at = (at + 1) & (m->table_n - 1);
    }
    m->table[at] = (struct member){.id = id, .path = join_path(parts)};
    m->n++;
    return &m->table[at];
}

static void members_remove(struct members *m, struct member *gone)
{
    uint32_t hole = (uint32_t)(gone - m->table);
    free(gone->path);
    m->n--;
    /* Those behind it that had to step aside move up, so that no search ends too early. */
    uint32_t mask = m->table_n - 1;
    for (uint32_t i = (hole + 1) & mask; m->table[i].id != 0;
         i = (i + 1) & mask) {
        uint32_t home = place_of(m, m->table[i].id);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->table[hole] = m->table[i];
            hole = i;
        }
    }
    m->table[hole] = (struct member){0};
}

void members_fini(struct members *m)
{
    for (uint32_t i = 0; i < m->table_n; i++) {
        free(m->table[i].path);
    }
    while (m->held_first != NULL) {
        struct event_node *n = m->held_first;
        m->held_first = n->after;
        event_free(n);
    }
    free(m->table);
    *m = (struct members){0};
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

struct news {
    enum role_news what;
    bool group;
    uint64_t epoch; /* or the offer */
    uint64_t revision;
    uint64_t previous_session;
    uint64_t left_ms; /* until a deadline */
    uint32_t state_bytes;
};

static enum baton_event_type type_of(enum role_change change)
{
    switch (change) {
    case ROLE_GRANTED:
        return BATON_GRANTED;
    case ROLE_LOST:
        return BATON_LOST;
    case ROLE_OFFERED:
        return BATON_OFFERED;
    case ROLE_YIELD:
        return BATON_YIELD;
    case ROLE_SAME:
    case ROLE_CHANGED:
        break;
    }
    return BATON_ROLE;
}

static struct event_node *make_event(enum baton_event_type type,
                                     const struct member *m,
                                     const struct news *news)
{
    struct event_node *n = event_make(type);
    const struct client_role *r = news->group ? &m->group : &m->device;
    n->event.session = m->id;
    /* Lost to time alone, it's the leader's still as far as the cluster is concerned, and nobody's as far as we are. */
    bool lapsed = type == BATON_LOST && r->role == ROLE_IS_LEADER;
    n->event.role = lapsed ? BATON_ROLE_NONE : (enum baton_role)r->role;
    n->event.epoch = news->epoch;
    n->event.revision = news->revision;
    n->event.previous_session = news->previous_session;
    n->event.state_bytes = news->state_bytes;
    if (news->left_ms != 0) {
        n->wall_deadline_ms = client_now_ms() + news->left_ms;
    }
    event_set_scope(n, path_part(m, 0), path_part(m, 1),
                    news->group ? "" : path_part(m, 2));
    (void)snprintf(n->names[0], sizeof n->names[0], "%s", path_part(m, 2));
    (void)snprintf(n->names[1], sizeof n->names[1], "%s", path_part(m, 3));
    return n;
}

/* Accepted at once, unless the program wants to decide. */
static void accept_offer(struct baton *b, const struct member *m,
                         const struct news *news)
{
    Pb__Path path = PB__PATH__INIT;
    path.namespace_ = m->path;
    path.group = (char *)path_part(m, 1);
    path.device = news->group ? (char *)"" : (char *)path_part(m, 2);
    Pb__AnswerOffer answer = PB__ANSWER_OFFER__INIT;
    answer.scope = &path;
    answer.session = m->id;
    answer.offer = news->epoch;
    answer.accept = true;
    Pb__Command command = PB__COMMAND__INIT;
    command.op_case = PB__COMMAND__OP_ANSWER_OFFER;
    command.answer_offer = &answer;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = &command;
    struct ask ask = {
        .request = &request, .kind = CALL_MUTATION, .place = PLACE_LEADER};
    /* With no call to be had the offer lapses: that's its owner's business. */
    (void)call_make(b, &ask, FOR_NOBODY);
}

static void push(struct baton *b, struct event_node *n)
{
    struct members *ms = &b->members;
    if (ms->opening_n == 0 || n->event.session <= ms->answered_max) {
        event_push(b, n);
        return;
    }
    if (ms->held_last == NULL) {
        ms->held_first = n;
    } else {
        ms->held_last->after = n;
    }
    ms->held_last = n;
}

void roles_opening(struct baton *b)
{
    b->members.opening_n++;
}

void roles_opened(struct baton *b, uint64_t id)
{
    struct members *ms = &b->members;
    ASSERT(ms->opening_n > 0);
    ms->opening_n--;
    ms->answered_max = max_u64(ms->answered_max, id);
    struct event_node *n = ms->held_first;
    ms->held_first = NULL;
    ms->held_last = NULL;
    /* In their order; those that still have to wait are held once more. */
    while (n != NULL) {
        struct event_node *after = n->after;
        n->after = NULL;
        push(b, n);
        n = after;
    }
}

static void tell(struct baton *b, const struct member *m,
                 const struct news *news, enum role_change change)
{
    /* Of a session that's closed, that it has no role goes without saying. */
    if (change == ROLE_SAME ||
        (change == ROLE_CHANGED && news->what == ROLE_NEWS_CLOSED)) {
        return;
    }
    struct event_node *n = make_event(type_of(change), m, news);
    if (change == ROLE_LOST && b->options.on_lost != NULL) {
        b->options.on_lost(b->options.arg, m->id, n->scope, news->epoch);
    }
    push(b, n);
    if (change == ROLE_OFFERED && !b->options.answer_offers) {
        accept_offer(b, m, news);
    }
}

static void count_told(struct members *ms, bool before, bool after)
{
    ASSERT(ms->leading_n > 0 || !before);
    ms->leading_n += (uint64_t)after;
    ms->leading_n -= (uint64_t)before;
}

static void apply(struct baton *b, struct member *m, struct news news)
{
    struct client_role *r = news.group ? &m->group : &m->device;
    uint64_t held = r->epoch;
    bool told = r->told;
    enum role_change change = role_news(r, news.what, news.epoch, b->leads);
    count_told(&b->members, told, r->told);
    if (change == ROLE_LOST || change == ROLE_YIELD) {
        news.epoch = held;
    } else if (change == ROLE_CHANGED) {
        news.epoch = 0;
    }
    tell(b, m, &news, change);
}

/* --- what is heard ------------------------------------------------------------------------------------------------ */

void roles_state_begin(struct baton *b)
{
    b->members.state_round++;
}

static void close_member(struct baton *b, struct member *m, uint64_t revision,
                         enum baton_event_type how)
{
    struct news news = {
        .what = ROLE_NEWS_CLOSED, .group = true, .revision = revision};
    apply(b, m, news);
    news.group = false;
    apply(b, m, news);
    push(b, make_event(how, m, &news));
    members_remove(&b->members, m);
}

/* Members that the whole state didn't name are gone: we missed how. */
void roles_state_end(struct baton *b, uint64_t revision)
{
    struct members *ms = &b->members;
    for (uint32_t i = 0; i < ms->table_n; i++) {
        /* What moves into the place of one that's removed is looked at, too. */
        while (ms->table[i].id != 0 && ms->table[i].id <= revision &&
               ms->table[i].state_seen != ms->state_round) {
            close_member(b, &ms->table[i], revision, BATON_SESSION_CLOSED);
        }
    }
}

static void row_scope(struct baton *b, struct member *m,
                      const Pb__SessionInfo *row, bool group)
{
    uint64_t epoch = group ? row->group_epoch : row->device_epoch;
    bool leader =
        group ? row->group_leader : row->role == PB__ROLE__ROLE_LEADER;
    bool backup =
        group ? row->group_backup : row->role == PB__ROLE__ROLE_BACKUP;
    struct client_role *r = group ? &m->group : &m->device;
    struct news news = {.group = group, .epoch = epoch};
    if (leader && epoch != 0) {
        news.what = ROLE_NEWS_GRANTED;
    } else if (r->role == ROLE_IS_LEADER) {
        news.what = ROLE_NEWS_LOST;
        news.epoch = r->epoch;
    } else {
        news.what = backup ? ROLE_NEWS_BACKUP : ROLE_NEWS_CANDIDATE;
    }
    if (!group && row->observer && news.what == ROLE_NEWS_CANDIDATE) {
        r->role = ROLE_IS_OBSERVER;
        return;
    }
    /* That a tab is one of many in its group goes without saying. */
    if (group && news.what == ROLE_NEWS_CANDIDATE &&
        r->role != ROLE_IS_BACKUP) {
        return;
    }
    apply(b, m, news);
}

void roles_row(struct baton *b, const Pb__SessionInfo *row)
{
    if (row->lease != b->lease.id || row->session == 0) {
        return;
    }
    const char *const parts[4] = {row->namespace_, row->group, row->device,
                                  row->tab};
    struct member *m = members_add(&b->members, row->session, parts);
    m->attachment = row->attachment;
    m->state_seen = b->members.state_round;
    row_scope(b, m, row, false);
    row_scope(b, m, row, true);
}

static void ask_session(struct baton *b, uint64_t session)
{
    Pb__GetSessions get = PB__GET_SESSIONS__INIT;
    get.session = session;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_GET_SESSIONS;
    request.get_sessions = &get;
    struct ask ask = {
        .request = &request, .kind = CALL_READ, .place = PLACE_LEADER};
    (void)call_make(b, &ask, FOR_SESSION);
}

static void session_event(struct baton *b, const Pb__Event *e)
{
    struct member *m = members_find(&b->members, e->session);
    bool ours = e->lease == b->lease.id;
    if (e->kind == PB__EVENT_KIND__SESSION_CLOSED) {
        if (m != NULL) {
            close_member(b, m, e->revision, BATON_SESSION_CLOSED);
        }
        return;
    }
    if (!ours) {
        if (m != NULL && e->kind == PB__EVENT_KIND__SESSION_ATTACHED) {
            close_member(b, m, e->revision, BATON_SESSION_TAKEN);
        }
        return;
    }
    const char *const parts[4] = {e->namespace_, e->group, e->device, e->tab};
    m = members_add(&b->members, e->session, parts);
    m->attachment = e->attachment;
    /* While the state is told, what happens meanwhile is part of it. */
    m->state_seen = b->members.state_round;
    if (e->kind == PB__EVENT_KIND__SESSION_ATTACHED) {
        ask_session(b, e->session);
    } else if (e->role == PB__ROLE__ROLE_OBSERVER) {
        m->device.role = m->device.role == ROLE_IS_LEADER ? ROLE_IS_LEADER
                                                          : ROLE_IS_OBSERVER;
    } else if (e->kind == PB__EVENT_KIND__SESSION_OPENED ||
               m->device.role == ROLE_IS_OBSERVER) {
        struct news news = {.what = ROLE_NEWS_CANDIDATE,
                            .revision = e->revision};
        apply(b, m, news);
    }
}

/* Of ours, who was next in this scope and isn't any more? An event names the new one only. */
static void unseat_backups(struct baton *b, const Pb__Event *e)
{
    struct members *ms = &b->members;
    if (ms->n > SMALL_N) {
        return;
    }
    for (uint32_t i = 0; i < ms->table_n; i++) {
        struct member *m = &ms->table[i];
        const struct client_role *r = e->group_scope ? &m->group : &m->device;
        if (m->id == 0 || m->id == e->backup || r->role != ROLE_IS_BACKUP ||
            strcmp(path_part(m, 0), e->namespace_) != 0 ||
            strcmp(path_part(m, 1), e->group) != 0 ||
            (!e->group_scope && strcmp(path_part(m, 2), e->device) != 0)) {
            continue;
        }
        struct news news = {.what = ROLE_NEWS_CANDIDATE,
                            .group = e->group_scope,
                            .revision = e->revision};
        apply(b, m, news);
    }
}

static void about(struct baton *b, uint64_t session, const Pb__Event *e,
                  enum role_news what)
{
    struct member *m = members_find(&b->members, session);
    if (m == NULL) {
        return;
    }
    struct news news = {
        .what = what,
        .group = e->group_scope,
        .epoch = what == ROLE_NEWS_OFFERED ? e->revision : e->epoch,
        .revision = e->revision,
        .previous_session = e->previous_session,
        .left_ms =
            e->deadline_ms > e->time_ms ? e->deadline_ms - e->time_ms : 0,
        .state_bytes = e->state_bytes,
    };
    apply(b, m, news);
}

/* VACATED names the epoch that ended; where it's not there, the previous one is. */
static void vacated(struct baton *b, const Pb__Event *e)
{
    Pb__Event as = *e;
    as.epoch = max_u64(e->epoch, e->previous_epoch);
    about(b, e->previous_session, &as, ROLE_NEWS_LOST);
    about(b, e->session, &as, ROLE_NEWS_LOST);
}

void roles_event(struct baton *b, const Pb__Event *e)
{
    switch (e->kind) {
    case PB__EVENT_KIND__SESSION_OPENED:
    case PB__EVENT_KIND__SESSION_UPDATED:
    case PB__EVENT_KIND__SESSION_ATTACHED:
    case PB__EVENT_KIND__SESSION_CLOSED:
        session_event(b, e);
        break;
    case PB__EVENT_KIND__GRANTED:
        if (e->previous_session != e->session) {
            about(b, e->previous_session, e, ROLE_NEWS_LOST);
        }
        about(b, e->session, e, ROLE_NEWS_GRANTED);
        unseat_backups(b, e);
        about(b, e->backup, e, ROLE_NEWS_BACKUP);
        break;
    case PB__EVENT_KIND__VACATED:
        vacated(b, e);
        break;
    case PB__EVENT_KIND__BACKUP_CHANGED:
        unseat_backups(b, e);
        about(b, e->backup, e, ROLE_NEWS_BACKUP);
        break;
    case PB__EVENT_KIND__OFFERED:
        about(b, e->session, e, ROLE_NEWS_OFFERED);
        break;
    case PB__EVENT_KIND__ACCEPTED:
        about(b, e->previous_session, e, ROLE_NEWS_YIELD);
        break;
    case PB__EVENT_KIND__HANDOFF_FAILED:
        about(b, e->previous_session, e, ROLE_NEWS_KEPT);
        about(b, e->session, e, ROLE_NEWS_KEPT);
        break;
    case PB__EVENT_KIND__LEASE_ENDED:
        if (e->lease == b->lease.id) {
            lease_gone(b, e->cause == PB__CAUSE__CAUSE_EXPIRED
                              ? "the lease expired: no renewal reached the "
                                "cluster for as long as its TTL"
                              : "the lease was closed");
        }
        break;
    default:
        break; /* of no concern to roles */
    }
}

static void lease_changed(struct baton *b, const struct member *m,
                          struct client_role *r, bool leads)
{
    struct news news = {.group = r == &m->group, .epoch = r->epoch};
    bool told = r->told;
    enum role_change change = role_lease(r, leads);
    count_told(&b->members, told, r->told);
    tell(b, m, &news, change);
}

void roles_lease(struct baton *b, bool leads)
{
    struct members *ms = &b->members;
    for (uint32_t i = 0; i < ms->table_n; i++) {
        struct member *m = &ms->table[i];
        if (m->id != 0) {
            lease_changed(b, m, &m->device, leads);
            lease_changed(b, m, &m->group, leads);
        }
    }
}

void roles_drop_all(struct baton *b)
{
    struct members *ms = &b->members;
    for (uint32_t i = 0; i < ms->table_n; i++) {
        while (ms->table[i].id != 0) {
            close_member(b, &ms->table[i], 0, BATON_SESSION_CLOSED);
        }
    }
}

bool roles_any_leads(const struct baton *b)
{
    return b->members.leading_n > 0;
}

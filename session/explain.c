/* Why the holder holds: every candidate's score part by part, and what would have to happen for the baton to move. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "session/check.h"
#include "session/settle.h"

#define TEXT_MAX 400

/* The candidates shown: at most `max` members, best first. */
struct shown {
    slot *members;
    uint32_t n;
    uint32_t max;
    uint32_t left_out;
};

static char *text_of(struct arena *arena, struct bytes b)
{
    struct bytes copy = arena_copy(arena, b);
    return copy.data == NULL ? (char *)(uintptr_t) "" : (char *)copy.data;
}

__attribute__((format(printf, 2, 3))) static char *
format(struct arena *arena, const char *pattern, ...)
{
    char text[TEXT_MAX];
    va_list list;
    va_start(list, pattern);
    int n = vsnprintf(text, sizeof text, pattern, list);
    va_end(list);
    ASSERT(n >= 0);
    size_t used = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    return text_of(arena, (struct bytes){(const uint8_t *)text, used});
}

/* 0: holds, or may lead; 1: a session that may not; 2: a device that nobody leads. */
static int class_of(const struct registry *r, struct scope_ref ref, slot m)
{
    if (scope_session_slot(r, ref, m) == 0) {
        return 2;
    }
    bool can = m == scope_at(r, ref)->holder || member_may_lead(r, ref, m);
    return can ? 0 : 1;
}

static bool shown_before(const struct registry *r, struct scope_ref ref, slot x,
                         slot y)
{
    int class_x = class_of(r, ref, x);
    int class_y = class_of(r, ref, y);
    if (class_x != class_y) {
        return class_x < class_y;
    }
    if (class_x == 2) {
        /* No entry makes two devices. */
        return device_at(r, x)->born < device_at(r, y)->born;
    }
    return member_before(r, ref, x, y);
}

static void show(const struct registry *r, struct scope_ref ref,
                 struct shown *shown, slot m)
{
    uint32_t i = shown->n;
    while (i > 0 && shown_before(r, ref, m, shown->members[i - 1])) {
        i--;
    }
    if (shown->n == shown->max) {
        shown->left_out++;
        if (i == shown->n) {
            return;
        }
        shown->n--; /* the last makes room */
    }
    memmove(&shown->members[i + 1], &shown->members[i],
            (shown->n - i) * sizeof *shown->members);
    shown->members[i] = m;
    shown->n++;
}

static const char *const key_names[CAP_END] = {
    [CAP_BATTERY] = "battery",   [CAP_CHARGING] = "charging",
    [CAP_KIND] = "kind",         [CAP_NETWORK] = "network",
    [CAP_RTT_MS] = "rtt_ms",     [CAP_VISIBLE] = "visible",
    [CAP_CORES] = "cores",       [CAP_MEMORY_MB] = "memory_mb",
    [CAP_PRIORITY] = "priority",
};

static void fill_parts(const struct policy *policy, const struct session *s,
                       struct arena *arena, Pb__Candidate *out)
{
    size_t n = CAP_END - 1;
    Pb__ScorePart *items = arena_alloc(arena, n * sizeof *items);
    Pb__ScorePart **list = arena_alloc(arena, n * sizeof(void *));
    if (items == NULL || list == NULL) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        enum capability key = (enum capability)(i + 1);
        pb__score_part__init(&items[i]);
        items[i].name = (char *)(uintptr_t)key_names[key];
        items[i].value = capability_value(&s->caps, key);
        items[i].points = score_part(policy, &s->caps, key);
        items[i].known = (s->caps.known & (1u << key)) != 0;
        list[i] = &items[i];
    }
    out->parts = list;
    out->n_parts = n;
}

/* What else decides about a session, in words. */
static char *note_of(const struct registry *r, const struct session *s,
                     struct arena *arena)
{
    const struct session_extra *e = session_extra(r, s);
    uint16_t flags = s->object.flags;
    if ((flags & FLAG_OBSERVER) != 0) {
        return format(arena, "observer: never leads");
    }
    if ((flags & FLAG_HOLDER_GRACE_OVER) != 0) {
        return format(arena, "detached: no relay has it, grace is over");
    }
    if ((flags & FLAG_DETACHED) != 0) {
        return format(arena, "detached: no relay has it");
    }
    if (e != NULL && e->cooldown_until_ms != 0) {
        uint64_t left_ms =
            max_u64(e->cooldown_until_ms, r->time_ms) - r->time_ms;
        return format(arena, "cools down for %llu ms more",
                      (unsigned long long)left_ms);
    }
    if (e != NULL && e->demoted_until_ms != 0) {
        return format(arena, "demoted%s: ranks behind all others",
                      e->slow_since_ms != 0 ? ", and still slow" : "");
    }
    if (e != NULL && e->slow_since_ms != 0) {
        return format(arena, "slow for %llu ms",
                      (unsigned long long)(r->time_ms - e->slow_since_ms));
    }
    return (char *)(uintptr_t) "";
}

static enum role role_in(const struct registry *r, struct scope_ref ref,
                         slot member)
{
    const struct scope *scope = scope_at(r, ref);
    if (member == scope->holder) {
        return ROLE_LEADER;
    }
    if (member == scope->backup) {
        return ROLE_BACKUP;
    }
    slot s = scope_session_slot(r, ref, member);
    if (s != 0 && (session_at(r, s)->object.flags & FLAG_OBSERVER) != 0) {
        return ROLE_OBSERVER;
    }
    return member_may_lead(r, ref, member) ? ROLE_CANDIDATE : ROLE_NONE;
}

static void fill_candidate(const struct registry *r, struct scope_ref ref,
                           slot member, struct arena *arena, Pb__Candidate *out)
{
    pb__candidate__init(out);
    out->role = (Pb__Role)role_in(r, ref, member);
    slot device = ref.device != 0 ? ref.device : member;
    out->device =
        text_of(arena, name_get(&r->names, device_at(r, device)->name));
    slot session = scope_session_slot(r, ref, member);
    if (session == 0) {
        out->note = format(arena, "none of its tabs can lead it");
        return;
    }
    const struct session *s = session_at(r, session);
    out->session = s->id;
    out->tab = text_of(arena, name_get(&r->names, s->tab));
    out->score = s->score;
    out->note = note_of(r, s, arena);
    fill_parts(policy_of(r, ref.group), s, arena, out);
}

static const char *reason_text(enum grant_reason reason)
{
    switch (reason) {
    case GRANT_FIRST:
        return "it was the best when the scope stood empty";
    case GRANT_SUCCESSION:
        return "the holder before it closed, was detached too long or became "
               "an "
               "observer, and it was next";
    case GRANT_RESIGNED:
        return "the holder before it resigned, and it was next";
    case GRANT_HANDOFF:
        return "the baton was handed to it by name";
    case GRANT_BETTER:
        return "it led the holder before it by more than the margin";
    case GRANT_ROTATION:
        return "the holder before it had held for the maximum tenure";
    case GRANT_DEMOTION:
        return "the holder before it was demoted";
    case GRANT_DEVICE:
        return "its device leads, and it became the device's leader tab";
    case GRANT_NONE:
        break;
    }
    return "it was never granted";
}

static char *why_vacant(const struct scope *scope, struct arena *arena)
{
    if (scope->epoch == 0) {
        return format(arena, "Nobody has led yet: no candidate can.");
    }
    const char *what = "can't go on";
    if (scope->reason == GRANT_RESIGNED) {
        what = "resigned";
    }
    return format(arena,
                  "Nobody can lead: session %llu %s, and there is no other "
                  "candidate.",
                  (unsigned long long)scope->previous_session, what);
}

/* What stands between the backup and the baton. */
static char *why_not_backup(const struct registry *r, struct scope_ref ref,
                            struct arena *arena)
{
    const struct scope *scope = scope_at(r, ref);
    const struct policy *p = policy_of(r, ref.group);
    if (scope->phase != PHASE_IDLE) {
        const struct scope_extra *e = scope_extra(r, scope);
        return format(arena, " It is being handed to session %llu: %s.",
                      (unsigned long long)e->offer_session,
                      scope->phase == PHASE_OFFERED
                          ? "its answer is awaited"
                          : "the holder is to hand over");
    }
    if (scope->backup == 0) {
        return format(arena, " Nobody else can lead.");
    }
    const struct session *b =
        session_at(r, scope_session_slot(r, ref, scope->backup));
    const struct session *h =
        session_at(r, scope_session_slot(r, ref, scope->holder));
    long long lead = (long long)b->score - h->score;
    const char *side = lead < 0 ? "behind" : "ahead of";
    unsigned long long points = (unsigned long long)(lead < 0 ? -lead : lead);
    if (p->max_tenure_ms == 0 &&
        !member_leads(r, ref, scope->backup, scope->holder)) {
        return format(arena,
                      " Session %llu is next, %llu points %s it: to move the "
                      "baton it must lead by more than %lu.",
                      (unsigned long long)b->id, points, side,
                      (unsigned long)p->margin);
    }
    uint64_t at_ms = scope_move_ms(r, ref);
    return format(
        arena,
        " Session %llu is next, %llu points %s it: the baton moves in %llu ms, "
        "when tenure and breaker allow it.",
        (unsigned long long)b->id, points, side,
        (unsigned long long)(max_u64(at_ms, r->time_ms) - r->time_ms));
}

static char *why_of(const struct registry *r, struct scope_ref ref,
                    struct arena *arena)
{
    const struct scope *scope = scope_at(r, ref);
    if (scope->holder == 0) {
        return why_vacant(scope, arena);
    }
    return format(arena, "Session %llu leads because %s.%s",
                  (unsigned long long)scope->holder_session,
                  reason_text((enum grant_reason)scope->reason),
                  why_not_backup(r, ref, arena));
}

static void fill_path(const struct registry *r, struct scope_ref ref,
                      struct arena *arena, Pb__ExplainResult *out)
{
    Pb__Path *path = arena_alloc(arena, sizeof *path);
    if (path == NULL) {
        return;
    }
    pb__path__init(path);
    path->namespace_ = text_of(
        arena, name_get(&r->names, group_namespace(r, ref.group)->name));
    path->group =
        text_of(arena, name_get(&r->names, group_at(r, ref.group)->name));
    if (ref.device != 0) {
        path->device =
            text_of(arena, name_get(&r->names, device_at(r, ref.device)->name));
    }
    out->scope = path;
}

static void fill_candidates(const struct registry *r, struct scope_ref ref,
                            struct shown *shown, struct arena *arena,
                            Pb__ExplainResult *out)
{
    for (slot m = member_first(r, ref); m != 0; m = member_next(r, ref, m)) {
        show(r, ref, shown, m);
    }
    out->left_out = shown->left_out;
    Pb__Candidate *items = arena_alloc(arena, shown->n * sizeof *items);
    Pb__Candidate **list = arena_alloc(arena, shown->n * sizeof(void *));
    if (items == NULL || list == NULL) {
        out->left_out += shown->n;
        return;
    }
    for (uint32_t i = 0; i < shown->n; i++) {
        fill_candidate(r, ref, shown->members[i], arena, &items[i]);
        list[i] = &items[i];
    }
    out->candidates = list;
    out->n_candidates = shown->n;
}

/* NOLINTNEXTLINE(readability-function-size): six, and each of a type of its own */
enum baton_status registry_explain(const struct registry *r,
                                   const Pb__Path *path, uint32_t max,
                                   struct arena *arena, Pb__ExplainResult *out,
                                   uint32_t *out_reason)
{
    struct scope_ref ref = {0, 0};
    enum baton_status status = find_scope(r, path, &ref, out_reason);
    if (status != BATON_OK) {
        return status;
    }
    const struct scope *scope = scope_at(r, ref);
    uint32_t members_n = ref.device != 0 ? device_at(r, ref.device)->sessions_n
                                         : group_at(r, ref.group)->devices_n;
    struct shown shown = {.max = max < members_n ? max : members_n};
    /* One more: a member is put in before the last falls out. */
    shown.members = arena_alloc(arena, (shown.max + 1) * sizeof(slot));
    pb__explain_result__init(out);
    fill_path(r, ref, arena, out);
    out->epoch = scope->epoch;
    out->session = scope->holder_session;
    out->reason = (Pb__GrantReason)scope->reason;
    out->why = why_of(r, ref, arena);
    if (shown.members != NULL) {
        fill_candidates(r, ref, &shown, arena, out);
    } else {
        out->left_out = members_n;
    }
    return BATON_OK;
}

/* A session's own deadlines, and what follows: its graces (the registry's part), its cooldown, and demotion when its
 * responsiveness stays bad.
 *
 *     rtt >= demote_rtt --- demote_after passes ---> demoted --- clear, and demote_for passed ---> back among the others
 *          '--- rtt < clear: as if nothing had been
 *
 * A demoted session ranks behind every one that isn't: a baton that it holds goes at once to one of those, and stays where it
 * is if there's none. While it's slow, a demotion doesn't end, and costs no entries. */
#include "session/check.h"
#include "session/settle.h"

static struct session_extra *change_extra(struct apply *a, slot session)
{
    dirty_mark(a->r, OBJECT_SESSION, session);
    return session_extra_need(a->r, session_at(a->r, session));
}

void cooldown_start(struct apply *a, slot session)
{
    change_extra(a, session)->cooldown_until_ms =
        a->time_ms + session_namespace(a->r, session)->policy.cooldown_ms;
    election_session_schedule(a->r, session);
}

static void start_demotion(struct apply *a, slot session, struct bytes text)
{
    change_extra(a, session)->demoted_until_ms =
        a->time_ms + session_namespace(a->r, session)->policy.demote_for_ms;
    struct event *e = emit_session(a, EVENT_DEMOTED, session);
    e->reason = GRANT_DEMOTION;
    e->text = text;
}

void demote_follow_rtt(struct apply *a, slot session)
{
    struct registry *r = a->r;
    struct session *s = session_at(r, session);
    const struct policy *p = &session_namespace(r, session)->policy;
    const struct session_extra *e = session_extra(r, s);
    bool known = (s->caps.known & (1u << CAP_RTT_MS)) != 0;
    bool on = known && p->demote_after_ms != 0;
    bool is_slow = e != NULL && e->slow_since_ms != 0;
    if (on && !is_slow && s->caps.rtt_ms >= p->demote_rtt_ms) {
        change_extra(a, session)->slow_since_ms = max_u64(a->time_ms, 1);
    } else if (is_slow && (!on || s->caps.rtt_ms < p->demote_clear_rtt_ms)) {
        struct session_extra *x = change_extra(a, session);
        x->slow_since_ms = 0;
        bool over =
            x->demoted_until_ms != 0 && a->time_ms >= x->demoted_until_ms;
        x->demoted_until_ms = over ? 0 : x->demoted_until_ms;
        session_extra_trim(r, s);
    }
}

/* The earliest of what the extra says, UINT64_MAX: nothing. */
static uint64_t extra_due_ms(const struct session_extra *e,
                             const struct policy *p)
{
    uint64_t at_ms = UINT64_MAX;
    if (e->cooldown_until_ms != 0) {
        at_ms = e->cooldown_until_ms;
    }
    bool slow = e->slow_since_ms != 0;
    if (e->demoted_until_ms != 0 && !slow) {
        at_ms = min_u64(at_ms, e->demoted_until_ms);
    }
    if (e->demoted_until_ms == 0 && slow && p->demote_after_ms != 0) {
        at_ms = min_u64(at_ms, e->slow_since_ms + p->demote_after_ms);
    }
    return at_ms;
}

void election_session_schedule(struct registry *r, slot session)
{
    const struct session *s = session_at(r, session);
    const struct policy *p = &session_namespace(r, session)->policy;
    const struct session_extra *e = session_extra(r, s);
    uint64_t at_ms = e == NULL ? UINT64_MAX : extra_due_ms(e, p);
    if ((s->object.flags & FLAG_DETACHED) != 0) {
        bool over = (s->object.flags & FLAG_HOLDER_GRACE_OVER) != 0;
        uint64_t since_ms = e == NULL ? 0 : e->detached_ms;
        at_ms = min_u64(at_ms, since_ms + (over ? p->session_grace_ms
                                                : p->holder_grace_ms));
    }
    if (due_at(r, s->heap_at) != at_ms) {
        due_set(r, DUE_SESSION, session, at_ms);
    }
}

bool election_session_due(struct apply *a, slot session)
{
    struct registry *r = a->r;
    struct session *s = session_at(r, session);
    const struct policy *p = &session_namespace(r, session)->policy;
    const struct session_extra *e = session_extra(r, s);
    if (e == NULL || extra_due_ms(e, p) > a->time_ms) {
        return false;
    }
    bool slow = e->slow_since_ms != 0;
    struct session_extra *x = change_extra(a, session);
    if (x->cooldown_until_ms <= a->time_ms) {
        x->cooldown_until_ms = 0;
    }
    if (x->demoted_until_ms == 0 && slow && p->demote_after_ms != 0 &&
        x->slow_since_ms + p->demote_after_ms <= a->time_ms) {
        static const char text[] = "unresponsive";
        start_demotion(a, session,
                       (struct bytes){(const uint8_t *)text, sizeof text - 1});
    } else if (!slow && x->demoted_until_ms <= a->time_ms) {
        x->demoted_until_ms = 0;
    }
    session_extra_trim(r, s);
    const struct change c = {.member = session, .reason = GRANT_DEMOTION};
    session_settle(a, session, &c);
    election_session_schedule(r, session);
    return true;
}

/* The device's scope moves on, and the group's with it. */
static void demote_tab(struct apply *a, struct scope_ref device)
{
    const struct change c = {.reason = GRANT_DEMOTION};
    const struct grant g = {.to = member_successor(a->r, device),
                            .reason = GRANT_DEMOTION};
    scope_grant(a, device, &g);
    scope_settled(a, device);
    group_follow(a, device, &c);
}

/* The group's baton goes from this device to another one that can lead; to another tab of the same if there's none, or only demoted ones
 * that would have to give it back at once. */
static void demote_device(struct apply *a, struct scope_ref group,
                          struct scope_ref device)
{
    const struct registry *r = a->r;
    slot other = member_successor(r, group);
    slot tab = member_successor(r, device);
    bool other_demoted = other == 0 || member_is_demoted(r, group, other);
    if (other == 0 ||
        (other_demoted && tab != 0 && !member_is_demoted(r, device, tab))) {
        demote_tab(a, device);
        return;
    }
    /* The tab may lose its device, too; but the group's own grant comes next, and there's one an entry. */
    const struct change of_tab = {.member = scope_at(r, device)->holder,
                                  .reason = GRANT_DEMOTION};
    scope_settle(a, device, &of_tab);
    const struct grant g = {.to = other, .reason = GRANT_DEMOTION};
    scope_grant(a, group, &g);
    scope_settled(a, group);
}

void election_demote(struct apply *a, const Pb__Demote *c)
{
    struct registry *r = a->r;
    struct scope_ref ref = {0, 0};
    uint32_t reason = REASON_NONE;
    enum baton_status status = find_scope(r, c->scope, &ref, &reason);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, 0);
        return;
    }
    const struct scope *scope = scope_at(r, ref);
    if (scope->holder == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_HOLDER, 0);
        return;
    }
    if (c->epoch != 0 && c->epoch != scope->epoch) {
        apply_refuse(a, BATON_STALE_EPOCH, REASON_EPOCH_CURRENT,
                     (int64_t)scope->epoch);
        return;
    }
    slot session = scope_session_slot(r, ref, scope->holder);
    const struct scope_ref device = {ref.group, session_at(r, session)->device};
    if (member_successor(r, ref) == 0 && member_successor(r, device) == 0) {
        /* Never to nobody. */
        apply_refuse(a, BATON_CONFLICT, REASON_NO_SUCCESSOR, 0);
        return;
    }
    start_demotion(a, session, check_bytes(c->reason));
    if (ref.device != 0) {
        demote_tab(a, ref);
    } else {
        demote_device(a, ref, device);
    }
    election_session_schedule(r, session);
    a->out->reply.id = scope->holder_session;
    a->out->reply.epoch = scope->epoch;
}

#include "client/logic.h"

static void role_check(const struct client_role *r)
{
    ASSERT((r->epoch != 0) == (r->role == ROLE_IS_LEADER));
    ASSERT_IMPLIES(r->told, r->role == ROLE_IS_LEADER);
    ASSERT(r->epoch <= r->last_epoch);
}

static enum role_change lose(struct client_role *r, enum role_kind now)
{
    bool told = r->told;
    enum role_kind before = r->role;
    r->role = now;
    r->epoch = 0;
    r->told = false;
    r->yielding = false;
    if (told) {
        return ROLE_LOST;
    }
    return before == now ? ROLE_SAME : ROLE_CHANGED;
}

static enum role_change grant(struct client_role *r, uint64_t epoch, bool leads)
{
    /* A node that lags, or a state that was made before an event we have seen, may still tell of an older reign. */
    if (epoch < r->last_epoch || (r->told && epoch == r->epoch)) {
        return ROLE_SAME;
    }
    r->role = ROLE_IS_LEADER;
    r->epoch = epoch;
    r->last_epoch = epoch;
    r->offer = 0;
    r->yielding = false;
    r->told = leads;
    return leads ? ROLE_GRANTED : ROLE_SAME;
}

static enum role_change change(struct client_role *r, enum role_kind now)
{
    if (r->role == ROLE_IS_LEADER || r->role == now) {
        return ROLE_SAME;
    }
    r->role = now;
    return ROLE_CHANGED;
}

enum role_change role_news(struct client_role *r, enum role_news news,
                           uint64_t epoch, bool leads)
{
    role_check(r);
    enum role_change result = ROLE_SAME;
    switch (news) {
    case ROLE_NEWS_GRANTED:
        result = grant(r, epoch, leads);
        break;
    case ROLE_NEWS_LOST:
        r->offer = 0;
        if (r->role == ROLE_IS_LEADER && epoch >= r->epoch) {
            result = lose(r, ROLE_IS_CANDIDATE);
        }
        break;
    case ROLE_NEWS_BACKUP:
        result = change(r, ROLE_IS_BACKUP);
        break;
    case ROLE_NEWS_CANDIDATE:
        result = change(r, ROLE_IS_CANDIDATE);
        break;
    case ROLE_NEWS_OFFERED:
        if (r->role != ROLE_IS_LEADER && r->offer != epoch) {
            r->offer = epoch;
            result = ROLE_OFFERED;
        }
        break;
    case ROLE_NEWS_YIELD:
        if (r->role == ROLE_IS_LEADER && !r->yielding && r->told) {
            r->yielding = true;
            result = ROLE_YIELD;
        }
        break;
    case ROLE_NEWS_KEPT:
        r->offer = 0;
        r->yielding = false;
        break;
    case ROLE_NEWS_CLOSED:
        r->offer = 0;
        result = lose(r, ROLE_IS_NONE);
        break;
    }
    role_check(r);
    return result;
}

enum role_change role_lease(struct client_role *r, bool leads)
{
    role_check(r);
    if (r->role != ROLE_IS_LEADER || r->told == leads) {
        return ROLE_SAME;
    }
    r->told = leads;
    return leads ? ROLE_GRANTED : ROLE_LOST;
}

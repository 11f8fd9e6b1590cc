#include "client/logic.h"

void lease_init(struct client_lease *l, uint32_t ttl_ms,
                uint32_t drift_permille)
{
    ASSERT(l != NULL);
    ASSERT(drift_permille < 1000);
    *l = (struct client_lease){
        .phase = LEASE_NONE,
        .ttl_ms = ttl_ms,
        .drift_permille = drift_permille,
    };
}

uint64_t lease_usable_ms(uint32_t ttl_ms, uint32_t drift_permille)
{
    ASSERT(drift_permille < 1000);
    /* Rounded down: early is safe. */
    return (uint64_t)ttl_ms * (1000 - drift_permille) / (1000 + drift_permille);
}

void lease_opening(struct client_lease *l, uint64_t now_ms)
{
    if (l->phase == LEASE_OPENING) {
        return;
    }
    ASSERT(l->phase == LEASE_NONE || l->phase == LEASE_ENDED);
    l->phase = LEASE_OPENING;
    l->opening_ms = now_ms;
}

void lease_opened(struct client_lease *l, uint64_t id, uint64_t now_ms)
{
    ASSERT(l->phase == LEASE_OPENING);
    ASSERT(id != 0);
    ASSERT(now_ms >= l->opening_ms);
    l->phase = LEASE_LIVE;
    l->id = id;
    l->proven_ms = l->opening_ms;
    l->deadline_ms =
        l->opening_ms + lease_usable_ms(l->ttl_ms, l->drift_permille);
    /* At once: the answer tells how often the cluster wants to hear from us. */
    l->next_ms = now_ms;
    l->number = 0;
    for (uint32_t i = 0; i < LEASE_SENT_MAX; i++) {
        l->sent[i] = (struct lease_sent){0};
    }
}

bool lease_renew_due(const struct client_lease *l, uint64_t now_ms)
{
    return l->phase == LEASE_LIVE && now_ms >= l->next_ms;
}

uint64_t lease_renew_sent(struct client_lease *l, uint64_t now_ms)
{
    ASSERT(l->phase == LEASE_LIVE);
    l->number++;
    l->sent[l->number % LEASE_SENT_MAX] =
        (struct lease_sent){.number = l->number, .sent_ms = now_ms};
    /* Until it's acknowledged: often enough that several fit into what's left of the TTL, not so often as to be a load. */
    uint64_t again = l->ttl_ms / 10;
    l->next_ms = now_ms + max_u64(again, 50);
    return l->number;
}

bool lease_renew_acked(struct client_lease *l, const struct client_ack *ack,
                       uint64_t now_ms, uint32_t random)
{
    const struct lease_sent *s = &l->sent[ack->number % LEASE_SENT_MAX];
    if (l->phase != LEASE_LIVE || ack->number == 0 ||
        s->number != ack->number) {
        return false;
    }
    ASSERT(s->sent_ms <= now_ms);
    if (s->sent_ms < l->proven_ms) {
        return true; /* overtaken by a newer one */
    }
    if (ack->ttl_ms != 0) {
        l->ttl_ms = ack->ttl_ms;
    }
    l->proven_ms = s->sent_ms;
    l->deadline_ms = s->sent_ms + lease_usable_ms(l->ttl_ms, l->drift_permille);
    /* Counted from the send, too, and up to a tenth earlier, so that leases opened together drift apart. Never so late that
     * one lost message costs the lease. */
    uint64_t gap = min_u64(ack->next_ms != 0 ? ack->next_ms : l->ttl_ms / 3u,
                           l->ttl_ms / 2u);
    gap -= random % (gap / 10 + 1);
    l->next_ms = max_u64(s->sent_ms + gap, now_ms + 1);
    return true;
}

void lease_ended(struct client_lease *l)
{
    ASSERT(l != NULL);
    l->phase = LEASE_ENDED;
    l->id = 0;
    l->deadline_ms = 0;
}

bool lease_leads(const struct client_lease *l, uint64_t now_ms)
{
    return l->phase == LEASE_LIVE && now_ms < l->deadline_ms;
}

uint64_t lease_wake_ms(const struct client_lease *l)
{
    return l->phase == LEASE_LIVE ? l->next_ms : UINT64_MAX;
}

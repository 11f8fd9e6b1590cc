#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

#define RENEW_RETRY_MS       25
#define RENEW_UNANSWERED_MAX 3
/* So many hints in a row are followed at once. */
#define RENEW_HINTS_MAX   3
#define RENEW_WAIT_MAX_MS 400

/* The deadline moved: what others read of it, and what the sessions are told. */
static void proven(struct baton *b, uint64_t now_ms)
{
    atomic_store_explicit(&b->deadline_ms, b->lease.deadline_ms,
                          memory_order_release);
    bool leads = lease_leads(&b->lease, now_ms);
    if (leads) {
        b->ending_told = false;
    }
    if (leads != b->leads) {
        b->leads = leads;
        roles_lease(b, leads);
    }
}

static void open_lease(struct baton *b, uint64_t now_ms)
{
    if (b->lease.phase != LEASE_OPENING) {
        lease_init(&b->lease, b->options.ttl_ms, b->options.drift_permille);
        window_init(&b->window);
        bool filled = client_fill_random(b->nonce, sizeof b->nonce);
        ASSERT(filled);
    }
    Pb__OpenLease open = PB__OPEN_LEASE__INIT;
    open.nonce = codec_binary((struct bytes){b->nonce, sizeof b->nonce});
    open.ttl_ms = b->options.ttl_ms;
    open.label = b->label;
    Pb__Command command = PB__COMMAND__INIT;
    command.version = COMMAND_VERSION;
    command.op_case = PB__COMMAND__OP_OPEN_LEASE;
    command.open_lease = &open;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_COMMAND;
    request.command = &command;
    struct ask ask = {
        .request = &request, .kind = CALL_MUTATION, .place = PLACE_LEADER};
    if (call_make(b, &ask, FOR_OPEN_LEASE) != NULL) {
        b->lease_asked = true;
        lease_opening(&b->lease, now_ms);
    }
}

void lease_open_answered(struct baton *b, const struct answer *a)
{
    b->lease_asked = false;
    b->lease_wanted = false;
    b->calls.changed = true;
    void *memory = NULL;
    const Pb__ClientMessage *m = answer_decode(a, &memory);
    if (a->status != BATON_OK || m == NULL ||
        m->result_case != PB__CLIENT_MESSAGE__RESULT_REPLY ||
        m->reply->id == 0) {
        /* In time or not at all: calls with a later deadline than this one's ask again, by the same nonce. */
        bool refused =
            a->status != BATON_UNKNOWN && a->status != BATON_NO_QUORUM;
        if (refused) {
            lease_ended(&b->lease);
            calls_no_lease(b, a);
        }
        free(memory);
        return;
    }
    uint64_t now_ms = client_now_ms();
    lease_opened(&b->lease, m->reply->id, now_ms);
    free(memory);
    b->renew_retry_ms = 0;
    b->renew_unanswered = 0;
    b->renew_refused = 0;
    struct event_node *n = event_make(BATON_LEASE_OPENED);
    n->event.session = b->lease.id;
    event_push(b, n);
    (void)watch_add(b, NULL, true);
    b->leads = false;
    proven(b, now_ms);
}

void lease_gone(struct baton *b, const char *why)
{
    if (b->lease.phase != LEASE_LIVE) {
        return;
    }
    lease_ended(&b->lease);
    atomic_store_explicit(&b->deadline_ms, 0, memory_order_release);
    b->leads = false;
    memset(b->renew_ids, 0, sizeof b->renew_ids);
    (void)watch_remove(b, 0, true);
    roles_drop_all(b);
    struct event_node *n = event_make(BATON_LEASE_ENDED);
    n->event.status = BATON_EXPIRED;
    event_set_message(n, why);
    event_push(b, n);
}

/* A program that doesn't fetch its events may be hung: then it shouldn't lead (options.stall_ms). */
static bool is_stalled(const struct baton *b, uint64_t now_ms)
{
    return b->options.stall_ms != 0 && !b->events.waiting &&
           now_ms > b->events.polled_ms + b->options.stall_ms;
}

static void renew(struct baton *b, uint64_t now_ms)
{
    b->renew_retry_ms = now_ms + RENEW_RETRY_MS;
    if (is_stalled(b, now_ms)) {
        return;
    }
    uint32_t at = route_leader(&b->route, now_ms);
    if (at == ROUTE_NONE || !loop_link_ready(b, at, now_ms)) {
        return;
    }
    if (b->renew_unanswered >= RENEW_UNANSWERED_MAX) {
        b->renew_unanswered = 0;
        route_no_leader(&b->route, at);
        if (now_ms >= b->links[at].heard_ms + CALL_ATTEMPT_MS) {
            loop_suspect(b, at, now_ms);
        }
        return;
    }
    Pb__Renew op = PB__RENEW__INIT;
    op.lease = b->lease.id;
    op.number = b->lease.number + 1;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    request.op_case = PB__CLIENT_REQUEST__OP_RENEW;
    request.renew = &op;
    request.timeout_ms = b->lease.ttl_ms;
    uint64_t id = b->next_stream_id++;
    /* The time is taken before it's sent: never later than the truth. */
    if (client_send(b, at, &request, id)) {
        uint64_t number = lease_renew_sent(&b->lease, now_ms);
        ASSERT(number == op.number);
        b->renew_ids[number % LEASE_SENT_MAX] = id;
        b->renew_unanswered++;
        b->renew_retry_ms = 0;
    }
}

static void warn(struct baton *b, uint64_t now_ms)
{
    if (!b->leads || b->ending_told ||
        now_ms + b->options.warn_ms < b->lease.deadline_ms ||
        !roles_any_leads(b)) {
        return;
    }
    b->ending_told = true;
    struct event_node *n = event_make(BATON_ENDING);
    n->wall_deadline_ms = b->lease.deadline_ms;
    char why[100];
    (void)snprintf(why, sizeof why,
                   "no renewal of the lease was acknowledged for %llu ms",
                   (unsigned long long)(now_ms - b->lease.proven_ms));
    event_set_message(n, why);
    event_push(b, n);
}

void lease_step(struct baton *b, uint64_t now_ms)
{
    if (b->lease_wanted && !b->lease_asked && b->lease.phase != LEASE_LIVE) {
        open_lease(b, now_ms);
    }
    if (b->lease.phase != LEASE_LIVE) {
        return;
    }
    if (b->leads && !lease_leads(&b->lease, now_ms)) {
        proven(b, now_ms);
    }
    warn(b, now_ms);
    if (lease_renew_due(&b->lease, now_ms) && now_ms >= b->renew_retry_ms) {
        renew(b, now_ms);
    }
}

uint64_t lease_next_ms(const struct baton *b)
{
    if (b->lease_wanted && !b->lease_asked && b->lease.phase != LEASE_LIVE) {
        return 0;
    }
    if (b->lease.phase != LEASE_LIVE) {
        return UINT64_MAX;
    }
    uint64_t wake = max_u64(lease_wake_ms(&b->lease), b->renew_retry_ms);
    if (b->leads) {
        wake = min_u64(wake, b->lease.deadline_ms);
        if (!b->ending_told && roles_any_leads(b) &&
            b->lease.deadline_ms > b->options.warn_ms) {
            wake = min_u64(wake, b->lease.deadline_ms - b->options.warn_ms);
        }
    }
    return wake;
}

bool lease_is_renewal(const struct baton *b, uint64_t id)
{
    for (uint32_t i = 0; i < LEASE_SENT_MAX; i++) {
        if (b->renew_ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* How long to wait before the next try. Two nodes that point at each other, or at one that can't be reached, are asked ever less often. */
static uint64_t refused_ms(struct baton *b, const Pb__ClientMessage *m,
                           bool hint)
{
    uint32_t n = ++b->renew_refused;
    if (hint && n <= RENEW_HINTS_MAX) {
        return 0;
    }
    uint64_t most = min_u64(RENEW_WAIT_MAX_MS, b->lease.ttl_ms / 8);
    uint64_t wait = (uint64_t)RENEW_RETRY_MS << (n < 8 ? n / 2 : 4);
    return max_u64(m->retry_ms, min_u64(wait, most));
}

void lease_renew_answered(struct baton *b, uint32_t from,
                          const Pb__ClientMessage *m, uint64_t now_ms)
{
    b->renew_unanswered = 0;
    if (m->status == PB__STATUS__OK &&
        m->result_case == PB__CLIENT_MESSAGE__RESULT_RENEW) {
        b->renew_refused = 0;
        const struct client_ack ack = {.number = m->renew->number,
                                       .ttl_ms = m->renew->ttl_ms,
                                       .next_ms = m->renew->next_ms};
        uint64_t before_ms = b->lease.proven_ms;
        if (lease_renew_acked(&b->lease, &ack, now_ms, client_random(b))) {
            proven(b, now_ms);
        }
        /* One that was overtaken may be of a leader that isn't any more. */
        if (b->lease.proven_ms > before_ms) {
            route_is_leader(&b->route, from);
            watches_lease_at(b, from, now_ms);
        }
        return;
    }
    switch ((enum baton_status)m->status) {
    case BATON_EXPIRED:
    case BATON_NOT_FOUND:
        lease_gone(b, m->message[0] != '\0'
                          ? m->message
                          : "the cluster doesn't know the lease any more");
        return;
    case BATON_NOT_LEADER:
        if (m->leader != 0 || m->leader_endpoint[0] != '\0') {
            route_hint(&b->route, from, m->leader, m->leader_endpoint);
            b->lease.next_ms = now_ms;
            b->renew_retry_ms = now_ms + refused_ms(b, m, true);
            return;
        }
        route_no_leader(&b->route, from);
        break;
    default:
        if (m->status == PB__STATUS__UNAVAILABLE) {
            route_no_leader(&b->route, from);
        }
        break;
    }
    b->lease.next_ms = now_ms;
    b->renew_retry_ms = now_ms + refused_ms(b, m, false);
}

#include "session/check.h"

#include <string.h>

#include "proto/utf8.h"
#include "session/election.h"

struct bytes check_bytes(const char *text)
{
    if (text == NULL) {
        return (struct bytes){(const uint8_t *)"", 0};
    }
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool check_name(const char *name)
{
    return utf8_is_name(check_bytes(name), NAME_BYTES_MAX);
}

enum baton_status check_path(const Pb__Path *path, enum check_path kind,
                             uint32_t *out_reason)
{
    uint32_t reason = REASON_NONE;
    if (path == NULL || !check_name(path->namespace_)) {
        reason = REASON_NAMESPACE;
    } else if (!check_name(path->group)) {
        reason = REASON_GROUP;
    } else if (kind == CHECK_SCOPE && check_bytes(path->device).n == 0) {
        reason = REASON_NONE;
    } else if (!check_name(path->device)) {
        reason = REASON_DEVICE;
    }
    if (reason == REASON_NONE) {
        return BATON_OK;
    }
    *out_reason = reason;
    return BATON_INVALID;
}

/* What a capability may be. */
struct range {
    int32_t min;
    int32_t max;
    uint32_t reason;
};

static const struct range ranges[CAP_END] = {
    [CAP_BATTERY] = {0, 100, REASON_BATTERY},
    [CAP_CHARGING] = {0, 1, REASON_CHARGING},
    [CAP_KIND] = {PB__DEVICE_KIND__DESKTOP, PB__DEVICE_KIND__SERVER,
                  REASON_KIND},
    [CAP_NETWORK] = {PB__NETWORK__ETHERNET, PB__NETWORK__OFFLINE,
                     REASON_NETWORK},
    [CAP_RTT_MS] = {0, 600000, REASON_RTT},
    [CAP_VISIBLE] = {0, 1, REASON_VISIBLE},
    [CAP_CORES] = {1, 4096, REASON_CORES},
    [CAP_MEMORY_MB] = {1, 16777216, REASON_MEMORY},
    [CAP_PRIORITY] = {-100, 100, REASON_PRIORITY},
};

/* In its range. */
static void put_capability(struct capabilities *caps, enum capability key,
                           int32_t value)
{
    caps->known = (uint16_t)(caps->known | 1u << key);
    switch (key) {
    case CAP_BATTERY:
        caps->battery = (uint8_t)value;
        break;
    case CAP_CHARGING:
        caps->charging = (uint8_t)value;
        break;
    case CAP_KIND:
        caps->kind = (uint8_t)value;
        break;
    case CAP_NETWORK:
        caps->network = (uint8_t)value;
        break;
    case CAP_RTT_MS:
        caps->rtt_ms = (uint32_t)value;
        break;
    case CAP_VISIBLE:
        caps->visible = (uint8_t)value;
        break;
    case CAP_CORES:
        caps->cores = (uint16_t)value;
        break;
    case CAP_MEMORY_MB:
        caps->memory_mb = (uint32_t)value;
        break;
    case CAP_PRIORITY:
        caps->priority = (int8_t)value;
        break;
    case CAP_END:
        break;
    }
}

enum baton_status check_capabilities(Pb__Capability **list, size_t n,
                                     struct capabilities *out,
                                     uint32_t *out_reason, int64_t *out_detail)
{
    uint32_t seen = 0;
    struct capabilities caps = *out;
    for (size_t i = 0; i < n; i++) {
        /* As a number: the wire may hold any. */
        int64_t key = (int32_t)list[i]->key;
        int32_t value = list[i]->value;
        uint32_t reason = REASON_NONE;
        int64_t detail = key;
        if (key <= 0 || key >= CAP_END) {
            reason = REASON_CAPABILITY_KEY;
        } else if ((seen & 1u << key) != 0) {
            reason = REASON_CAPABILITY_TWICE;
        } else if (value < ranges[key].min || value > ranges[key].max) {
            reason = ranges[key].reason;
            detail = value;
        }
        if (reason != REASON_NONE) {
            *out_reason = reason;
            *out_detail = detail;
            return BATON_INVALID;
        }
        seen |= 1u << key;
        put_capability(&caps, (enum capability)key, value);
    }
    *out = caps;
    return BATON_OK;
}

bool check_secret(const uint8_t a[16], const uint8_t b[16])
{
    unsigned differ = 0;
    for (int i = 0; i < 16; i++) {
        differ |= (unsigned)(a[i] ^ b[i]);
    }
    return differ == 0;
}

bool check_is_client_op(const Pb__Command *command)
{
    switch (command->op_case) {
    case PB__COMMAND__OP_OPEN_LEASE:
    case PB__COMMAND__OP_CLOSE_LEASE:
    case PB__COMMAND__OP_OPEN_SESSION:
    case PB__COMMAND__OP_UPDATE_SESSION:
    case PB__COMMAND__OP_CLOSE_SESSION:
    case PB__COMMAND__OP_ATTACH_SESSION:
    case PB__COMMAND__OP_HANDOFF:
    case PB__COMMAND__OP_ANSWER_OFFER:
    case PB__COMMAND__OP_YIELD:
    case PB__COMMAND__OP_RESIGN:
    case PB__COMMAND__OP_DEMOTE:
    case PB__COMMAND__OP_SET_POLICY:
    case PB__COMMAND__OP_SET_LIMITS:
        return true;
    default: /* the leader's own, and what's unknown here */
        return false;
    }
}

static enum baton_status invalid(uint32_t reason, uint32_t *out_reason)
{
    *out_reason = reason;
    return BATON_INVALID;
}

enum baton_status check_open_lease(const Pb__OpenLease *c, uint32_t *out_reason,
                                   int64_t *out_detail)
{
    if (c->nonce.len != 16) {
        return invalid(REASON_NONCE, out_reason);
    }
    if (c->ttl_ms < LEASE_TTL_MIN_MS || c->ttl_ms > LEASE_TTL_MAX_MS) {
        *out_detail = c->ttl_ms;
        return invalid(REASON_TTL, out_reason);
    }
    if (!utf8_is_text(check_bytes(c->label), NAME_BYTES_MAX)) {
        return invalid(REASON_LABEL, out_reason);
    }
    return BATON_OK;
}

static enum baton_status check_open_session(const Pb__OpenSession *c,
                                            uint32_t *out_reason,
                                            int64_t *out_detail)
{
    struct capabilities caps = {.known = 0};
    enum baton_status status = check_path(c->path, CHECK_DEVICE, out_reason);
    if (status != BATON_OK) {
        return status;
    }
    if (!check_name(c->tab)) {
        return invalid(REASON_TAB, out_reason);
    }
    if (c->secret.len != 16) {
        return invalid(REASON_SECRET, out_reason);
    }
    return check_capabilities(c->capabilities, c->n_capabilities, &caps,
                              out_reason, out_detail);
}

/* A session, and a state for its successor. The namespace's own limit is checked when it's applied. */
static enum baton_status check_state(uint64_t session,
                                     const ProtobufCBinaryData *state,
                                     uint32_t *out_reason, int64_t *out_detail)
{
    if (session == 0) {
        return invalid(REASON_SESSION, out_reason);
    }
    if (state->len > STATE_BYTES_MAX) {
        *out_detail = STATE_BYTES_MAX;
        return invalid(REASON_STATE_BYTES, out_reason);
    }
    return BATON_OK;
}

/* A scope, and the epoch named for it. */
static enum baton_status check_scope(const Pb__Path *scope, bool epoch_needed,
                                     uint64_t epoch, uint32_t *out_reason)
{
    enum baton_status status = check_path(scope, CHECK_SCOPE, out_reason);
    if (status == BATON_OK && epoch_needed && epoch == 0) {
        return invalid(REASON_EPOCH, out_reason);
    }
    return status;
}

static enum baton_status check_election_op(const Pb__Command *command,
                                           uint32_t *out_reason,
                                           int64_t *out_detail)
{
    ProtobufCBinaryData none = {0, NULL};
    enum baton_status status = BATON_OK;
    switch (command->op_case) {
    case PB__COMMAND__OP_HANDOFF:
        return check_scope(command->handoff->scope, false, 0, out_reason);
    case PB__COMMAND__OP_ANSWER_OFFER:
        status =
            check_scope(command->answer_offer->scope, false, 0, out_reason);
        return status != BATON_OK ? status
                                  : check_state(command->answer_offer->session,
                                                &none, out_reason, out_detail);
    case PB__COMMAND__OP_YIELD:
        status = check_scope(command->yield->scope, true, command->yield->epoch,
                             out_reason);
        return status != BATON_OK ? status
                                  : check_state(command->yield->session,
                                                &command->yield->state,
                                                out_reason, out_detail);
    case PB__COMMAND__OP_RESIGN:
        status = check_scope(command->resign->scope, true,
                             command->resign->epoch, out_reason);
        return status != BATON_OK ? status
                                  : check_state(1, &command->resign->state,
                                                out_reason, out_detail);
    case PB__COMMAND__OP_DEMOTE:
        status = check_scope(command->demote->scope, false, 0, out_reason);
        if (status == BATON_OK &&
            !utf8_is_text(check_bytes(command->demote->reason),
                          TEXT_BYTES_MAX)) {
            return invalid(REASON_TEXT, out_reason);
        }
        return status;
    default:
        return invalid(REASON_OP, out_reason);
    }
}

static enum baton_status check_update(const Pb__UpdateSession *c,
                                      uint32_t *out_reason, int64_t *out_detail)
{
    struct capabilities caps = {.known = 0};
    if (c->session == 0) {
        return invalid(REASON_SESSION, out_reason);
    }
    return check_capabilities(c->capabilities, c->n_capabilities, &caps,
                              out_reason, out_detail);
}

static enum baton_status check_set_policy(const Pb__SetPolicy *c,
                                          uint32_t *out_reason,
                                          int64_t *out_detail)
{
    struct policy policy;
    if (!check_name(c->namespace_)) {
        return invalid(REASON_NAMESPACE, out_reason);
    }
    if (c->policy == NULL) {
        return invalid(REASON_POLICY_FIELD, out_reason);
    }
    return policy_from_message(c->policy, &policy, out_reason, out_detail);
}

enum baton_status check_fields(const Pb__Command *command, uint32_t *out_reason,
                               int64_t *out_detail)
{
    switch (command->op_case) {
    case PB__COMMAND__OP_OPEN_LEASE:
        return check_open_lease(command->open_lease, out_reason, out_detail);
    case PB__COMMAND__OP_CLOSE_LEASE:
    case PB__COMMAND__OP_SET_LIMITS:
        return BATON_OK;
    case PB__COMMAND__OP_OPEN_SESSION:
        return check_open_session(command->open_session, out_reason,
                                  out_detail);
    case PB__COMMAND__OP_UPDATE_SESSION:
        return check_update(command->update_session, out_reason, out_detail);
    case PB__COMMAND__OP_CLOSE_SESSION:
        return check_state(command->close_session->session,
                           &command->close_session->state, out_reason,
                           out_detail);
    case PB__COMMAND__OP_ATTACH_SESSION:
        if (command->attach_session->session == 0) {
            return invalid(REASON_SESSION, out_reason);
        }
        return command->attach_session->secret.len == 16
                   ? BATON_OK
                   : invalid(REASON_SECRET, out_reason);
    case PB__COMMAND__OP_SET_POLICY:
        return check_set_policy(command->set_policy, out_reason, out_detail);
    default:
        return check_election_op(command, out_reason, out_detail);
    }
}

enum baton_status registry_check_command(const Pb__Command *command,
                                         uint32_t *out_reason,
                                         int64_t *out_detail)
{
    if (command->version == 0 || command->version > COMMAND_VERSION) {
        *out_reason = REASON_NONE;
        return BATON_UNSUPPORTED;
    }
    /* All members of the union are pointers to messages. */
    if (!check_is_client_op(command) || command->open_lease == NULL ||
        command->proposer_term != 0) {
        return invalid(REASON_OP, out_reason);
    }
    if (command->op_case != PB__COMMAND__OP_OPEN_LEASE) {
        if (command->lease == 0) {
            *out_reason = REASON_NO_LEASE;
            return BATON_NOT_FOUND;
        }
        if (command->sequence == 0 ||
            command->first_outstanding > command->sequence) {
            return invalid(REASON_SEQUENCE, out_reason);
        }
    }
    return check_fields(command, out_reason, out_detail);
}

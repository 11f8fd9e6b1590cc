#include <stdio.h>
#include <string.h>

#include "client/logic.h"

static bool is_backing_off(const struct route_endpoint *e, uint64_t now_ms)
{
    return !e->up && now_ms < e->not_before_ms;
}

static uint32_t find(const struct route *r, const char *address)
{
    size_t n = strlen(address) + 1;
    for (uint32_t i = 0; n <= ROUTE_ADDRESS_BYTES && i < r->endpoints_n; i++) {
        if (memcmp(r->endpoints[i].address, address, n) == 0) {
            return i;
        }
    }
    return ROUTE_NONE;
}

static bool is_port(const char *text, size_t n)
{
    uint32_t port = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    return n <= 5 && port > 0 && port <= 65535;
}

/* Something on both sides of the last colon, and a port behind it. */
const char *route_fault(const char *text, size_t n)
{
    size_t colon = n;
    if (n == 0) {
        return "it is empty";
    }
    if (n >= ROUTE_ADDRESS_BYTES) {
        return "it is longer than 127 bytes";
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == '/') {
            return "there is a blank, a control character or a / in it";
        }
        if (text[i] == ':') {
            colon = i;
        }
    }
    if (colon == n) {
        return "it has no port";
    }
    if (colon == 0) {
        return "it has no host";
    }
    return is_port(text + colon + 1, n - colon - 1)
               ? NULL
               : "the port must be from 1 to 65535";
}

/* False if there's no room for one more. */
static bool add(struct route *r, const char *text, size_t n)
{
    if (r->endpoints_n == ROUTE_ENDPOINTS_MAX) {
        return false;
    }
    struct route_endpoint *e = &r->endpoints[r->endpoints_n];
    *e = (struct route_endpoint){0};
    memcpy(e->address, text, n);
    r->endpoints_n++;
    return true;
}

/* About the entry `at`, which is wrong. Returns its number. */
static uint32_t complain(uint32_t entry, struct bytes at, const char *name,
                         char *error, size_t error_bytes)
{
    const char *text = (const char *)at.data;
    int n = at.n >= ROUTE_ADDRESS_BYTES ? ROUTE_ADDRESS_BYTES - 1 : (int)at.n;
    const char *fault = route_fault(text, at.n);
    if (fault == NULL) {
        (void)snprintf(error, error_bytes,
                       "%s: entry %u, \"%.*s\", is one too many: at most %d",
                       name, entry, n, text, ROUTE_ENDPOINTS_MAX);
    } else {
        (void)snprintf(error, error_bytes,
                       "%s: entry %u, \"%.*s\", isn't HOST:PORT: %s", name,
                       entry, n, text, fault);
    }
    return entry;
}

uint32_t route_init(struct route *r, const char *list, const char *name,
                    char *error, size_t error_bytes)
{
    ASSERT(r != NULL);
    ASSERT(list != NULL);
    struct route made = {.leader = ROUTE_NONE};
    uint32_t entry = 1;
    for (const char *at = list;; entry++) {
        size_t n = 0;
        while (at[n] != '\0' && at[n] != ',') {
            n++;
        }
        if (route_fault(at, n) != NULL || !add(&made, at, n)) {
            return complain(entry, (struct bytes){(const uint8_t *)at, n}, name,
                            error, error_bytes);
        }
        if (at[n] == '\0') {
            break;
        }
        at += n + 1;
    }
    *r = made;
    return 0;
}

uint32_t route_add(struct route *r, const char *address)
{
    ASSERT(address != NULL);
    size_t n = strlen(address);
    if (route_fault(address, n) != NULL) {
        return ROUTE_NONE;
    }
    uint32_t at = find(r, address);
    if (at != ROUTE_NONE) {
        return at;
    }
    return add(r, address, n) ? r->endpoints_n - 1 : ROUTE_NONE;
}

uint32_t route_leader(const struct route *r, uint64_t now_ms)
{
    ASSERT(r->turn < r->endpoints_n);
    if (r->leader != ROUTE_NONE) {
        ASSERT(r->leader < r->endpoints_n);
        if (!is_backing_off(&r->endpoints[r->leader], now_ms)) {
            return r->leader;
        }
    }
    for (uint32_t i = 0; i < r->endpoints_n; i++) {
        uint32_t at = (r->turn + i) % r->endpoints_n;
        if (!is_backing_off(&r->endpoints[at], now_ms)) {
            return at;
        }
    }
    return ROUTE_NONE;
}

uint32_t route_any(const struct route *r, uint64_t now_ms)
{
    ASSERT(r->turn < r->endpoints_n);
    if (r->leader != ROUTE_NONE && r->endpoints[r->leader].up) {
        return r->leader;
    }
    for (uint32_t i = 0; i < r->endpoints_n; i++) {
        uint32_t at = (r->turn + i) % r->endpoints_n;
        if (r->endpoints[at].up) {
            return at;
        }
    }
    return route_leader(r, now_ms);
}

void route_hint(struct route *r, uint32_t from, uint32_t node,
                const char *address)
{
    ASSERT(from < r->endpoints_n);
    ASSERT(address != NULL);
    uint32_t at = ROUTE_NONE;
    /* By number first: a node may tell others another address of itself than the one we were given. */
    for (uint32_t i = 0; node != 0 && i < r->endpoints_n; i++) {
        if (r->endpoints[i].node == node && r->endpoints[i].up) {
            at = i;
        }
    }
    if (at == ROUTE_NONE) {
        at = route_add(r, address);
    }
    /* One that names itself and refuses all the same is confused: ask the others. */
    if (at == ROUTE_NONE || at == from) {
        route_no_leader(r, from);
        return;
    }
    r->leader = at;
}

void route_no_leader(struct route *r, uint32_t from)
{
    ASSERT(from < r->endpoints_n);
    ASSERT(r->endpoints_n > 0);
    if (r->leader == from) {
        r->leader = ROUTE_NONE;
    }
    if (r->turn == from) {
        r->turn = (r->turn + 1) % r->endpoints_n;
    }
}

void route_is_leader(struct route *r, uint32_t from)
{
    ASSERT(from < r->endpoints_n);
    r->leader = from;
    r->turn = from;
}

void route_up(struct route *r, uint32_t at, uint32_t node)
{
    ASSERT(at < r->endpoints_n);
    struct route_endpoint *e = &r->endpoints[at];
    e->up = true;
    e->failures = 0;
    e->not_before_ms = 0;
    e->node = node;
}

void route_down(struct route *r, uint32_t at, uint64_t now_ms, uint32_t random)
{
    ASSERT(at < r->endpoints_n);
    struct route_endpoint *e = &r->endpoints[at];
    uint32_t doublings = e->failures < 6 ? e->failures : 6;
    uint64_t most = min_u64((uint64_t)ROUTE_BACKOFF_MIN_MS << doublings,
                            ROUTE_BACKOFF_MAX_MS);
    /* Half of it fixed, half by chance: clients that lost the same node don't come back as one. */
    e->not_before_ms = now_ms + most / 2 + random % (most / 2 + 1);
    e->failures++;
    e->up = false;
    route_no_leader(r, at);
}

uint64_t route_wake_ms(const struct route *r, uint64_t now_ms)
{
    ASSERT(r->endpoints_n > 0);
    uint64_t wake = UINT64_MAX;
    for (uint32_t i = 0; i < r->endpoints_n; i++) {
        if (is_backing_off(&r->endpoints[i], now_ms)) {
            wake = min_u64(wake, r->endpoints[i].not_before_ms);
        }
    }
    return wake;
}

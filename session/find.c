#include <string.h>

#include "session/check.h"
#include "session/hash.h"
#include "session/table.h"

static bool same_name(const struct registry *r, name_ref ref, struct bytes name)
{
    struct bytes own = name_get(&r->names, ref);
    return own.n == name.n && memcmp(own.data, name.data, name.n) == 0;
}

slot find_namespace(const struct registry *r, struct bytes name)
{
    if (name.n == 0) {
        return 0;
    }
    const struct pool *p = &r->pools[OBJECT_NAMESPACE];
    uint32_t hash = hash_name(r->hash_seed, name, 0);
    slot s = table_first(&r->namespaces, hash);
    for (; s != 0; s = table_next(&r->namespaces, p, s)) {
        const struct namespace_ *ns = namespace_at(r, s);
        if (ns->object.hash == hash && same_name(r, ns->name, name)) {
            break;
        }
    }
    return s;
}

slot find_group(const struct registry *r, slot namespace_, struct bytes name)
{
    if (namespace_ == 0 || name.n == 0) {
        return 0;
    }
    const struct pool *p = &r->pools[OBJECT_GROUP];
    uint32_t hash = hash_name(r->hash_seed, name, namespace_);
    slot s = table_first(&r->groups, hash);
    for (; s != 0; s = table_next(&r->groups, p, s)) {
        const struct group *g = group_at(r, s);
        if (g->object.hash == hash && g->namespace_ == namespace_ &&
            same_name(r, g->name, name)) {
            break;
        }
    }
    return s;
}

slot find_device(const struct registry *r, slot group, struct bytes name)
{
    if (group == 0 || name.n == 0) {
        return 0;
    }
    const struct pool *p = &r->pools[OBJECT_DEVICE];
    uint32_t hash = hash_name(r->hash_seed, name, group);
    slot s = table_first(&r->devices, hash);
    for (; s != 0; s = table_next(&r->devices, p, s)) {
        const struct device *d = device_at(r, s);
        if (d->object.hash == hash && d->group == group &&
            same_name(r, d->name, name)) {
            break;
        }
    }
    return s;
}

slot find_session(const struct registry *r, uint64_t id)
{
    const struct pool *p = &r->pools[OBJECT_SESSION];
    slot s = table_first(&r->sessions, hash_id(id));
    while (s != 0 && session_at(r, s)->id != id) {
        s = table_next(&r->sessions, p, s);
    }
    ASSERT_IMPLIES(s != 0, id != 0);
    return s;
}

slot find_lease(const struct registry *r, uint64_t id)
{
    const struct pool *p = &r->pools[OBJECT_LEASE];
    slot s = table_first(&r->leases, hash_id(id));
    while (s != 0 && lease_at(r, s)->id != id) {
        s = table_next(&r->leases, p, s);
    }
    ASSERT_IMPLIES(s != 0, id != 0);
    return s;
}

slot find_nonce(const struct registry *r, const uint8_t nonce[16])
{
    const struct pool *p = &r->pools[OBJECT_LEASE];
    uint32_t hash = hash_nonce(r->hash_seed, nonce);
    slot s = table_first(&r->nonces, hash);
    for (; s != 0; s = table_next(&r->nonces, p, s)) {
        const struct lease *l = lease_at(r, s);
        if (l->nonce_hash == hash && memcmp(l->nonce, nonce, 16) == 0) {
            break;
        }
    }
    return s;
}

enum baton_status find_scope(const struct registry *r, const Pb__Path *path,
                             struct scope_ref *out, uint32_t *out_reason)
{
    enum baton_status status = check_path(path, CHECK_SCOPE, out_reason);
    if (status != BATON_OK) {
        return status;
    }
    slot ns = find_namespace(r, check_bytes(path->namespace_));
    if (ns == 0) {
        *out_reason = REASON_NO_NAMESPACE;
        return BATON_NOT_FOUND;
    }
    struct scope_ref ref = {
        .group = find_group(r, ns, check_bytes(path->group)),
    };
    bool of_device = path->device[0] != 0;
    if (of_device) {
        ref.device = find_device(r, ref.group, check_bytes(path->device));
    }
    if (ref.group == 0 || (of_device && ref.device == 0)) {
        *out_reason = REASON_NO_SCOPE;
        return BATON_NOT_FOUND;
    }
    *out = ref;
    return BATON_OK;
}

struct scope *scope_at(const struct registry *r, struct scope_ref ref)
{
    ASSERT(ref.group != 0);
    if (ref.device == 0) {
        return &group_at(r, ref.group)->scope;
    }
    struct device *d = device_at(r, ref.device);
    ASSERT(d->group == ref.group);
    return &d->scope;
}

slot scope_session_slot(const struct registry *r, struct scope_ref ref,
                        slot member)
{
    if (member == 0 || ref.device != 0) {
        return member;
    }
    return device_at(r, member)->scope.holder;
}

uint64_t scope_session(const struct registry *r, struct scope_ref ref,
                       slot member)
{
    slot s = scope_session_slot(r, ref, member);
    return s == 0 ? 0 : session_at(r, s)->id;
}

struct namespace_ *group_namespace(const struct registry *r, slot group)
{
    return namespace_at(r, group_at(r, group)->namespace_);
}

struct namespace_ *session_namespace(const struct registry *r, slot session)
{
    const struct device *d = device_at(r, session_at(r, session)->device);
    return group_namespace(r, d->group);
}

#include "session/state.h"

#include <string.h>

const struct session_extra *session_extra(const struct registry *r,
                                          const struct session *s)
{
    return s->extra == 0 ? NULL : pool_at(&r->session_extras, s->extra);
}

const struct scope_extra *scope_extra(const struct registry *r,
                                      const struct scope *scope)
{
    return scope->extra == 0 ? NULL : pool_at(&r->scope_extras, scope->extra);
}

struct session_extra *session_extra_need(struct registry *r, struct session *s)
{
    if (s->extra == 0) {
        s->extra = pool_take(&r->session_extras);
    }
    return pool_at(&r->session_extras, s->extra);
}

struct scope_extra *scope_extra_need(struct registry *r, struct scope *scope)
{
    if (scope->extra == 0) {
        scope->extra = pool_take(&r->scope_extras);
    }
    return pool_at(&r->scope_extras, scope->extra);
}

void session_extra_trim(struct registry *r, struct session *s)
{
    const struct session_extra *e = session_extra(r, s);
    if (e != NULL && e->detached_ms == 0 && e->cooldown_until_ms == 0 &&
        e->demoted_until_ms == 0 && e->slow_since_ms == 0) {
        session_extra_drop(r, s);
    }
}

void scope_extra_trim(struct registry *r, struct scope *scope)
{
    const struct scope_extra *e = scope_extra(r, scope);
    /* Padding was zeroed with the object, and nobody assigns whole structs: bytes will do. */
    static const struct scope_extra none;
    if (e != NULL && memcmp(e, &none, sizeof none) == 0) {
        scope_extra_drop(r, scope);
    }
}

void session_extra_drop(struct registry *r, struct session *s)
{
    if (s->extra != 0) {
        pool_give(&r->session_extras, s->extra);
        s->extra = 0;
    }
}

void scope_extra_drop(struct registry *r, struct scope *scope)
{
    const struct scope_extra *e = scope_extra(r, scope);
    if (e == NULL) {
        return;
    }
    if (e->state != 0) {
        pool_give(&r->states, e->state);
    }
    pool_give(&r->scope_extras, scope->extra);
    scope->extra = 0;
}

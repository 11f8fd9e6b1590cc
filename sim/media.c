#include "sim/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct content {
    uint8_t *bytes;
    size_t n;
    size_t capacity;
};

struct media_file {
    struct content cache;
    struct content durable;
    uint8_t *dirty; /* a sector each, of the cache */
    size_t dirty_capacity;
    bool size_dirty; /* cut, or made longer by zeros */
    size_t cut_to;   /* the shortest it was since the last sync */
    struct media_file *next;
};

struct name {
    char text[MEDIA_NAME_BYTES];
    struct media_file *now;     /* NULL: it isn't there */
    struct media_file *durable; /* likewise */
};

struct media {
    struct name names[MEDIA_NAMES_MAX];
    uint32_t names_n;
    struct media_file *files; /* all of them; freed with the media */
};

/* --- content ------------------------------------------------------------------------------------------------------------- */

static void reserve(uint8_t **bytes, size_t *capacity, size_t n)
{
    if (n > *capacity) {
        size_t more = n * 2;
        *bytes = realloc(*bytes, more);
        ASSERT(*bytes != NULL);
        memset(*bytes + *capacity, 0, more - *capacity);
        *capacity = more;
    }
}

static void set_size(struct content *c, size_t n)
{
    reserve(&c->bytes, &c->capacity, n);
    if (n < c->n) {
        memset(c->bytes + n, 0, c->n - n);
    }
    c->n = n;
}

static void put(struct content *c, uint64_t offset, const void *bytes, size_t n)
{
    if (offset + n > c->n) {
        set_size(c, offset + n);
    }
    memcpy(c->bytes + offset, bytes, n);
}

static void copy_content(struct content *to, const struct content *from)
{
    set_size(to, 0);
    if (from->n > 0) {
        put(to, 0, from->bytes, from->n);
    }
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static size_t sectors(size_t n)
{
    return (n + MEDIA_SECTOR - 1) / MEDIA_SECTOR;
}

static struct media_file *file_new(struct media *m)
{
    struct media_file *f = calloc(1, sizeof *f);
    ASSERT(f != NULL);
    f->next = m->files;
    m->files = f;
    return f;
}

static void make_durable(struct media_file *f, size_t sector)
{
    size_t from = sector * MEDIA_SECTOR;
    if (from < f->cache.n) {
        put(&f->durable, from, f->cache.bytes + from,
            min_u64(MEDIA_SECTOR, f->cache.n - from));
    }
    f->dirty[sector] = 0;
}

void media_write(struct media_file *f, uint64_t offset, const void *bytes,
                 size_t n, bool durable)
{
    if (n == 0) {
        return;
    }
    size_t before = f->cache.n;
    put(&f->cache, offset, bytes, n);
    reserve(&f->dirty, &f->dirty_capacity, sectors(f->cache.n));
    if (offset > before && !f->size_dirty) {
        f->size_dirty = true; /* zeros in between */
        f->cut_to = before;
    }
    for (size_t i = offset / MEDIA_SECTOR; i < sectors(offset + n); i++) {
        f->dirty[i] = 1;
        if (durable) {
            make_durable(f, i);
        }
    }
}

void media_resize(struct media_file *f, uint64_t n)
{
    set_size(&f->cache, n);
    f->cut_to = f->size_dirty ? min_u64(f->cut_to, n) : n;
    reserve(&f->dirty, &f->dirty_capacity, sectors(n) + 1);
    memset(f->dirty + sectors(n), 0, f->dirty_capacity - sectors(n));
    f->size_dirty = true;
}

void media_clear(struct media_file *f)
{
    media_resize(f, 0);
}

static void clean(struct media_file *f)
{
    if (f->dirty_capacity > 0) {
        memset(f->dirty, 0, f->dirty_capacity);
    }
    f->size_dirty = false;
}

static void make_size_durable(struct media_file *f)
{
    if (f->size_dirty) {
        set_size(&f->durable, min_u64(f->durable.n, f->cut_to));
        set_size(&f->durable, f->cache.n);
    }
}

void media_sync(struct media_file *f)
{
    make_size_durable(f);
    for (size_t i = 0; i < sectors(f->cache.n); i++) {
        if (f->dirty[i] != 0) {
            make_durable(f, i);
        }
    }
    clean(f);
}

void media_sync_failed(struct media_file *f)
{
    clean(f);
}

/* --- names ------------------------------------------------------------------------------------------------------------------- */

static struct name *find(struct media *m, const char *text)
{
    for (uint32_t i = 0; i < m->names_n; i++) {
        if (strcmp(m->names[i].text, text) == 0) {
            return &m->names[i];
        }
    }
    ASSERT(m->names_n < MEDIA_NAMES_MAX);
    ASSERT(strlen(text) < MEDIA_NAME_BYTES);
    struct name *name = &m->names[m->names_n++];
    *name = (struct name){.now = NULL};
    (void)snprintf(name->text, sizeof name->text, "%s", text);
    return name;
}

struct media_file *media_open(struct media *m, const char *name)
{
    struct name *at = find(m, name);
    if (at->now == NULL) {
        at->now = file_new(m);
    }
    return at->now;
}

void media_rename(struct media *m, const char *from, const char *to)
{
    struct media_file *f = find(m, from)->now;
    ASSERT(f != NULL);
    find(m, from)->now = NULL;
    find(m, to)->now = f;
}

void media_unlink(struct media *m, const char *name)
{
    find(m, name)->now = NULL;
}

/* Files that no name leads to any more. Whoever has one open has it by a name, as far as our own programs go. */
static void sweep(struct media *m)
{
    struct media_file **at = &m->files;
    while (*at != NULL) {
        struct media_file *f = *at;
        bool named = false;
        for (uint32_t i = 0; i < m->names_n; i++) {
            named = named || m->names[i].now == f || m->names[i].durable == f;
        }
        if (named) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        free(f->cache.bytes);
        free(f->durable.bytes);
        free(f->dirty);
        free(f);
    }
}

void media_sync_dir(struct media *m)
{
    for (uint32_t i = 0; i < m->names_n; i++) {
        m->names[i].durable = m->names[i].now;
    }
    sweep(m);
}

/* --- all of it ---------------------------------------------------------------------------------------------------------------- */

struct media *media_new(void)
{
    struct media *m = calloc(1, sizeof *m);
    ASSERT(m != NULL);
    return m;
}

void media_free(struct media *m)
{
    if (m != NULL) {
        m->names_n = 0;
        sweep(m);
        free(m);
    }
}

struct media *media_copy(const struct media *m)
{
    struct media *copy = media_new();
    for (uint32_t i = 0; i < m->names_n; i++) {
        if (m->names[i].durable != NULL) {
            struct media_file *f = media_open(copy, m->names[i].text);
            copy_content(&f->durable, &m->names[i].durable->durable);
            copy_content(&f->cache, &f->durable);
            reserve(&f->dirty, &f->dirty_capacity, sectors(f->cache.n));
        }
    }
    media_sync_dir(copy);
    return copy;
}

static void lose(struct media_file *f, struct sim_random *r,
                 struct media_lost *out)
{
    if (sim_chance(r, 500)) {
        make_size_durable(f);
    }
    for (size_t i = 0; i < sectors(f->cache.n); i++) {
        if (f->dirty[i] == 0) {
            continue;
        }
        if (sim_chance(r, 500)) {
            make_durable(f, i);
            out->kept++;
        } else {
            out->sectors++;
        }
    }
    clean(f);
    copy_content(&f->cache, &f->durable);
    reserve(&f->dirty, &f->dirty_capacity, sectors(f->cache.n));
}

void media_power_loss(struct media *m, struct sim_random *r,
                      struct media_lost *out)
{
    *out = (struct media_lost){.sectors = 0};
    for (uint32_t i = 0; i < m->names_n; i++) {
        struct name *name = &m->names[i];
        if (name->now != name->durable && sim_chance(r, 500)) {
            name->durable = name->now;
        } else if (name->now != name->durable) {
            out->names++;
        }
        name->now = name->durable;
    }
    sweep(m);
    for (struct media_file *f = m->files; f != NULL; f = f->next) {
        lose(f, r, out);
    }
}

bool media_name(const struct media *m, uint32_t i, const char **out_name,
                struct bytes *out_content)
{
    for (uint32_t at = 0; at < m->names_n; at++) {
        const struct name *name = &m->names[at];
        if (name->now != NULL && i-- == 0) {
            *out_name = name->text;
            *out_content =
                (struct bytes){name->now->cache.bytes, name->now->cache.n};
            return true;
        }
    }
    return false;
}

#include "proto/utf8.h"

#include <string.h>

/* What a lead byte promises: how long, and what its second byte may be (Unicode 15, table 3-7; the third and fourth are
 * always 80 to BF). The bounds of the second are what keeps out overlong forms, surrogates and what's past U+10FFFF. */
struct form {
    uint8_t n; /* 0: can't lead */
    uint8_t low;
    uint8_t high;
};

static struct form form_of(uint8_t lead)
{
    if (lead < 0x80) {
        return (struct form){1, 0, 0};
    }
    if (lead < 0xC2) {
        return (struct form){0, 0, 0};
    }
    if (lead < 0xE0) {
        return (struct form){2, 0x80, 0xBF};
    }
    if (lead < 0xF0) {
        return (struct form){3, lead == 0xE0 ? 0xA0 : 0x80,
                             lead == 0xED ? 0x9F : 0xBF};
    }
    if (lead < 0xF5) {
        return (struct form){4, lead == 0xF0 ? 0x90 : 0x80,
                             lead == 0xF4 ? 0x8F : 0xBF};
    }
    return (struct form){0, 0, 0};
}

/* How many bytes of `in` follow the form, up to its length. */
static size_t form_match(struct form f, struct bytes in)
{
    ASSERT(f.n > 0);
    ASSERT(in.n > 0);
    size_t i = 1;
    for (; i < f.n && i < in.n; i++) {
        uint8_t low = i == 1 ? f.low : 0x80;
        uint8_t high = i == 1 ? f.high : 0xBF;
        if (in.data[i] < low || in.data[i] > high) {
            break;
        }
    }
    return i;
}

size_t utf8_next(struct bytes in, uint32_t *out_point)
{
    ASSERT(in.n > 0);
    ASSERT(in.data != NULL);
    struct form f = form_of(in.data[0]);
    if (f.n == 0 || form_match(f, in) != f.n) {
        return 0;
    }
    uint32_t point = in.data[0];
    if (f.n > 1) {
        point &= 0x7Fu >> f.n;
    }
    for (size_t i = 1; i < f.n; i++) {
        point = point << 6 | (in.data[i] & 0x3Fu);
    }
    *out_point = point;
    return f.n;
}

size_t utf8_bad(struct bytes in)
{
    ASSERT(in.n > 0);
    ASSERT(in.data != NULL);
    struct form f = form_of(in.data[0]);
    return f.n == 0 ? 1 : form_match(f, in);
}

/* Well-formed, without control characters, without `except`. */
static bool is_plain(struct bytes in, uint32_t except)
{
    while (in.n > 0) {
        /* Most names are ASCII all along: a byte is its own code point there, and a check a comparison. */
        if (in.data[0] >= 0x20 && in.data[0] < 0x7F) {
            if (in.data[0] == except) {
                return false;
            }
            in.data++;
            in.n--;
            continue;
        }
        uint32_t point = 0;
        size_t n = utf8_next(in, &point);
        if (n == 0 || point < 0x20 || (point >= 0x7F && point <= 0x9F) ||
            point == except) {
            return false;
        }
        ASSERT(n <= in.n);
        in.data += n;
        in.n -= n;
    }
    return true;
}

bool utf8_is_name(struct bytes in, size_t bytes_max)
{
    ASSERT_IMPLIES(in.n > 0, in.data != NULL);
    ASSERT(bytes_max > 0);
    return in.n > 0 && in.n <= bytes_max && is_plain(in, '/');
}

bool utf8_is_text(struct bytes in, size_t bytes_max)
{
    ASSERT_IMPLIES(in.n > 0, in.data != NULL);
    /* U+0000 is excluded already, as a control character. */
    return in.n <= bytes_max && is_plain(in, 0);
}

/* The first code point of `in` as it's shown; *out_n bytes of it were taken. Returns how many are shown, at most 8. */
static size_t show_next(struct bytes in, char out[8], size_t *out_n)
{
    uint32_t point = 0;
    size_t n = utf8_next(in, &point);
    *out_n = n == 0 ? 1 : n;
    if (n == 0 || point < 0x20 || (point >= 0x7F && point <= 0x9F)) {
        size_t shown = 0;
        for (size_t i = 0; i < *out_n; i++) {
            static const char hex[] = "0123456789abcdef";
            out[shown++] = '\\';
            out[shown++] = 'x';
            out[shown++] = hex[in.data[i] >> 4];
            out[shown++] = hex[in.data[i] & 15];
        }
        return shown;
    }
    memcpy(out, in.data, n);
    return n;
}

static size_t shown_bytes(struct bytes in)
{
    char part[8];
    size_t sum = 0;
    for (size_t n = 0; in.n > 0; in.data += n, in.n -= n) {
        sum += show_next(in, part, &n);
    }
    return sum;
}

void utf8_show(struct bytes in, char *out, size_t bytes)
{
    static const char gap[] = " ... ";
    ASSERT(bytes >= 64);
    size_t whole = shown_bytes(in);
    size_t room = whole < bytes ? whole : bytes - sizeof gap;
    size_t head = whole < bytes ? whole : room - room / 3;
    size_t tail_from = whole - (room - head);
    size_t seen = 0; /* of what would be shown */
    size_t at = 0;
    bool cut = false;
    for (size_t n = 0; in.n > 0; in.data += n, in.n -= n) {
        char part[8];
        size_t shown = show_next(in, part, &n);
        seen += shown;
        if (!cut && seen > head) {
            cut = true;
            memcpy(out + at, gap, sizeof gap - 1);
            at += sizeof gap - 1;
        }
        if (!cut || seen - shown >= tail_from) {
            memcpy(out + at, part, shown);
            at += shown;
        }
    }
    ASSERT(at < bytes);
    out[at] = '\0';
}

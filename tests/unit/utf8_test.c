/* utf8_test.c - proto/utf8.h. */
#include "proto/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/assert_stub.h"

static struct bytes view(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static void test_reads_one_code_point(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n; /* 0: malformed */
        uint32_t point;
        size_t bad;
    } rows[] = {
        {"A", 1, 'A', 0},
        {"\x7F", 1, 0x7F, 0},
        {"\xC2\x80", 2, 0x80, 0},
        {"\xC3\xA9tude", 2, 0xE9, 0},
        {"\xDF\xBF", 2, 0x7FF, 0},
        {"\xE0\xA0\x80", 3, 0x800, 0},
        {"\xED\x9F\xBF", 3, 0xD7FF, 0},
        {"\xEE\x80\x80", 3, 0xE000, 0},
        {"\xEF\xBF\xBF", 3, 0xFFFF, 0},
        {"\xF0\x90\x80\x80", 4, 0x10000, 0},
        {"\xF0\x9F\x8E\xBC", 4, 0x1F3BC, 0},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF, 0},
        {"\x80", 0, 0, 1},             /* a trailing byte alone */
        {"\xC0\x80", 0, 0, 1},         /* overlong NUL */
        {"\xC1\xBF", 0, 0, 1},         /* overlong */
        {"\xE0\x9F\xBF", 0, 0, 1},     /* overlong */
        {"\xF0\x8F\xBF\xBF", 0, 0, 1}, /* overlong */
        {"\xED\xA0\x80", 0, 0, 1},     /* surrogate */
        {"\xF4\x90\x80\x80", 0, 0, 1}, /* past U+10FFFF */
        {"\xF5\x80\x80\x80", 0, 0, 1},
        {"\xFF", 0, 0, 1},
        {"\xC3", 0, 0, 1}, /* cut */
        {"\xE2\x82", 0, 0, 2},
        {"\xF0\x9F\x8E", 0, 0, 3},
        {"\xE2\x82z", 0, 0, 2},
        {"\xF0\x9Fz", 0, 0, 2},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        uint32_t point = 99;
        assert_int_equal(utf8_next(view(rows[i].in), &point), rows[i].n);
        assert_int_equal(point, rows[i].n == 0 ? 99 : rows[i].point);
        if (rows[i].n == 0) {
            assert_int_equal(utf8_bad(view(rows[i].in)), rows[i].bad);
        }
    }
}

static void test_knows_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool is_name;
        bool is_text;
    } rows[] = {
        {"a", true, true},
        {"", false, true},
        {"tab-3", true, true},
        {" ", true, true},
        {"{}\"'\\", true, true},
        {"\xC3\xA9tude", true, true},
        {"\xF0\x9F\x8E\xBC", true, true},
        {"12345678", true, true},
        {"123456789", false, false},
        {"a/b", false, true},
        {"/", false, true},
        {"a\nb", false, false},
        {"\x1F", false, false},
        {"\x7F", false, false},
        {"\xC2\x80", false, false}, /* U+0080 */
        {"\xC2\x9F", false, false},
        {"\xC2\xA0", true, true}, /* a space that doesn't break */
        {"a\xFF", false, false},
        {"\xC3", false, false},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        assert_int_equal(utf8_is_name(view(rows[i].in), 8), rows[i].is_name);
        assert_int_equal(utf8_is_text(view(rows[i].in), 8), rows[i].is_text);
    }
    struct bytes nul = {(const uint8_t *)"a\0b", 3};
    assert_false(utf8_is_name(nul, 8));
    assert_false(utf8_is_text(nul, 8));
}

static void test_shows(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        {"", ""},
        {"plain \xC3\xA9", "plain \xC3\xA9"},
        {"a\x1b[2Jb\n\t\x7f", "a\\x1b[2Jb\\x0a\\x09\\x7f"},
        {"\xC2\x9B", "\\xc2\\x9b"},
        {"\xff\xc3", "\\xff\\xc3"},
        {"123456789012345678901234567890123456789012345678901234567890123",
         "123456789012345678901234567890123456789012345678901234567890123"},
        {"1234567890123456789012345678901234567890123456789012345678901234",
         "123456789012345678901234567890123456789 ... "
         "6789012345678901234"},
    };
    char out[64];
    for (size_t i = 0; i < countof(rows); i++) {
        utf8_show(view(rows[i].in), out, sizeof out);
        assert_string_equal(out, rows[i].out);
    }
    static char large[100001];
    for (size_t i = 0; i + 1 < sizeof large; i++) {
        large[i] = "\xC3\xA9\x01"[i % 3];
    }
    for (size_t from = 0; from < 3; from++) {
        utf8_show(view(large + from), out, sizeof out);
        assert_true(strlen(out) > 48);
        assert_true(utf8_is_text(view(out), sizeof out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_one_code_point),
        cmocka_unit_test(test_knows_a_name),
        cmocka_unit_test(test_shows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

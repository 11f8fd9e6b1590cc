/* The node's log: its form, its levels, lines that are too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/log.h"
#include "tests/unit/assert_stub.h"

static char said[8192];

/* Runs `act` with stderr in a file, and keeps what was said. */
static void listen(void (*act)(void))
{
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stderr);
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    act();
    (void)fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    rewind(file);
    size_t n = fread(said, 1, sizeof said - 1, file);
    said[n] = 0;
    (void)fclose(file);
}

static void say_one(void)
{
    log_write(LOG_INFO, "role role=%s term=%d", "leader", 3);
}

static void test_form(void **state)
{
    (void)state;
    log_set(7, LOG_INFO);
    listen(say_one);
    /* 2026-11-20T15:16:00.123Z info node=7 role role=leader term=3 */
    assert_int_equal(strspn(said, "0123456789"), 4);
    assert_int_equal(said[10], 'T');
    assert_int_equal(said[19], '.');
    assert_int_equal(said[23], 'Z');
    assert_string_equal(said + 24, " info node=7 role role=leader term=3\n");
}

static void say_all(void)
{
    log_write(LOG_ERROR, "a");
    log_write(LOG_WARN, "b");
    log_write(LOG_INFO, "c");
    log_line(NULL, LOG_DEBUG, "d");
}

static uint32_t lines(void)
{
    uint32_t n = 0;
    for (const char *c = said; *c != 0; c++) {
        n += *c == '\n';
    }
    return n;
}

static void test_levels(void **state)
{
    (void)state;
    for (uint32_t level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        log_set_level((enum log_level)level);
        listen(say_all);
        assert_int_equal(lines(), level + 1);
    }
    log_set_level(LOG_ERROR);
    listen(say_all);
    assert_non_null(strstr(said, " error node=7 a\n"));
}

static void say_long(void)
{
    static char text[4096];
    memset(text, 'x', sizeof text - 1);
    log_write(LOG_ERROR, "%s", text);
}

static void test_long_lines_are_cut(void **state)
{
    (void)state;
    listen(say_long);
    assert_int_equal(lines(), 1);
    assert_true(strlen(said) < 1200);
}

static void test_names(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    for (uint32_t i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        assert_true(log_level_from(log_level_name((enum log_level)i), &level));
        assert_int_equal(level, i);
    }
    assert_false(log_level_from("", &level));
    assert_false(log_level_from("INFO", &level));
    assert_false(log_level_from("infos", &level));
    assert_string_equal(log_level_name((enum log_level)9), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* address_test.c - proto/address.h. */
#include "proto/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/assert_stub.h"

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool dialled;
        bool listening;
    } rows[] = {
        {"h:1", true, true},
        {"a.b-c.example:65535", true, true},
        {"127.0.0.1:7101", true, true},
        {"[::1]:7101", true, true},
        {"h:0", false, true},
        {":1", false, true},
        {":0", false, true},
        {"", false, false},
        {":", false, false},
        {"h", false, false},
        {"h:", false, false},
        {"h:x", false, false},
        {"h:1x", false, false},
        {"h:+1", false, false},
        {"h:-1", false, false},
        {"h:65536", false, false},
        {"h:000001", false, false},
        {"h:18446744073709551617", false, false},
        {"::1", false, false},
        {"::1:7", false, false},
        {"[::1:7", false, false},
        {"::1]:7", false, false},
        {"a b:1", false, false},
        {"a\tb:1", false, false},
        {"h:1\n", false, false},
        {"tcp://h:1", false, false},
        {"u@h:1", false, false},
        {"h?:1", false, false},
        {"h#:1", false, false},
        {"h%lo:1", false, false},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        if (address_ok(rows[i].address, false) != rows[i].dialled ||
            address_ok(rows[i].address, true) != rows[i].listening) {
            fail_msg("\"%s\"", rows[i].address);
        }
    }
}

static void test_longest_host(void **state)
{
    (void)state;
    char address[HOST_BYTES_MAX + 8];
    for (size_t n = HOST_BYTES_MAX - 1; n <= HOST_BYTES_MAX + 1; n++) {
        memset(address, 'h', n);
        memcpy(address + n, ":1", 3);
        assert_int_equal(address_ok(address, false), n <= HOST_BYTES_MAX);
        assert_int_equal(address_ok(address, true), n <= HOST_BYTES_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_longest_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

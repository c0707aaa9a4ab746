/* base/fmt.h */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fmt.h"
#include "wasmote/port.h"

void wm_port_panic(const char *file, int line)
{
    fail_msg("panic %s:%d", file, line);
    abort();
}

/* Both formatters get the same arguments. */
#define SAME(...)                                                                                            \
    do {                                                                                                     \
        char      ours[200], theirs[200];                                                                    \
        const int n = wm_format(ours, sizeof ours, __VA_ARGS__);                                             \
        assert_int_equal(n, snprintf(theirs, sizeof theirs, __VA_ARGS__));                                   \
        assert_string_equal(ours, theirs);                                                                   \
    } while (0)

static void test_fmt_agrees_with_printf(void **state)
{
    (void)state;
    SAME("plain");
    SAME("%s and %s", "one", "");
    SAME("<%.*s>", 3, "abcdef");
    SAME("<%.*s>", 0, "abcdef");
    SAME("<%.*s>", 9, "abc");
    SAME("<%.*s>", -1, "abc");
    SAME("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
    SAME("%ld %ld", LONG_MAX, LONG_MIN);
    SAME("%u %lu %zu", UINT_MAX, ULONG_MAX, SIZE_MAX);
    SAME("%x %lx", 0xdeadbeefu, 0x1234567ul);
    SAME("%c%%%c", 'a', 'b');
}

static void test_fmt_needs_no_final_zero_with_a_precision(void **state)
{
    (void)state;
    const char raw[3] = {'a', 'b', 'c'};
    char       out[8];
    assert_int_equal(wm_format(out, sizeof out, "%.*s", 3, raw), 3);
    assert_string_equal(out, "abc");
}

static void test_fmt_cuts_and_terminates(void **state)
{
    (void)state;
    char out[6] = "xxxxx";
    assert_int_equal(wm_format(out, 5, "%s %d", "abc", 12345), 4);
    assert_string_equal(out, "abc ");
    assert_int_equal(wm_format(out, 4, "%d", -12345), 3);
    assert_string_equal(out, "-12");
    assert_int_equal(wm_format(out, 1, "abc"), 0);
    assert_string_equal(out, "");
}

/* Such a format does not pass the compiler's check; it must not read arguments or run past the end. */
static void test_fmt_copies_what_it_does_not_know(void **state)
{
    (void)state;
    char        out[32];
    const char *odd[] = {"50%", "%q!", "%l"};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        wm_format(out, sizeof out, odd[i]);
        assert_string_equal(out, odd[i]);
    }
#pragma GCC diagnostic pop
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fmt_agrees_with_printf),
        cmocka_unit_test(test_fmt_needs_no_final_zero_with_a_precision),
        cmocka_unit_test(test_fmt_cuts_and_terminates),
        cmocka_unit_test(test_fmt_copies_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* CBOR items against the examples of RFC 8949, appendix A, and against every kind of broken input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "wasmote/err.h"
#include "wasmote/port.h"

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "assertion failed: %s:%d\n", file, line);
    abort();
}

static uint8_t buf[512];
static struct wm_sink out;

static void begin(void)
{
    memset(buf, 0xee, sizeof buf);
    wm_sink_init(&out, buf, sizeof buf, 0);
}

static struct wm_span unhex(const char *hex)
{
    static uint8_t bytes[256];
    size_t len = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        const char pair[] = {hex[0], hex[1], 0};
        assert_true(len < sizeof bytes);
        bytes[len++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return wm_span(bytes, len);
}

static void expect(const char *hex)
{
    const struct wm_span want = unhex(hex);
    assert_int_equal(out.total, want.len);
    assert_memory_equal(buf, want.ptr, want.len);
    begin();
}

static void test_cbor_writes_rfc_examples(void **state)
{
    (void)state;
    begin();
    wm_cbor_uint(&out, 0), expect("00");
    wm_cbor_uint(&out, 23), expect("17");
    wm_cbor_uint(&out, 24), expect("1818");
    wm_cbor_uint(&out, 255), expect("18ff");
    wm_cbor_uint(&out, 256), expect("190100");
    wm_cbor_uint(&out, 65536), expect("1a00010000");
    wm_cbor_uint(&out, 1000000000000), expect("1b000000e8d4a51000");
    wm_cbor_uint(&out, UINT64_MAX), expect("1bffffffffffffffff");
    wm_cbor_int(&out, 100), expect("1864");
    wm_cbor_int(&out, -1), expect("20");
    wm_cbor_int(&out, -1000), expect("3903e7");
    wm_cbor_int(&out, INT64_MIN), expect("3b7fffffffffffffff");
    wm_cbor_float32(&out, 0x47c35000), expect("fa47c35000");
    wm_cbor_float32(&out, 0x7fa00001), expect("fa7fa00001"); /* a signalling NaN with a payload */
    wm_cbor_float64(&out, 0x3ff199999999999a), expect("fb3ff199999999999a");
    wm_cbor_float64(&out, 0x7ff0000000000001), expect("fb7ff0000000000001");
    wm_cbor_bool(&out, false), expect("f4");
    wm_cbor_bool(&out, true), expect("f5");
    wm_cbor_str(&out, ""), expect("60");
    wm_cbor_str(&out, "IETF"), expect("6449455446");
    wm_cbor_text(&out, wm_span("a", 1)), expect("6161");
    wm_cbor_bytes(&out, wm_span("\1\2\3\4", 4)), expect("4401020304");
    wm_cbor_bytes(&out, wm_span(NULL, 0)), expect("40");
    wm_cbor_bytes_head(&out, 65536), expect("5a00010000");
    wm_cbor_array(&out, 0), expect("80");
    wm_cbor_array(&out, 25), expect("9819");
    wm_cbor_map(&out, 1), wm_cbor_str(&out, "a"), wm_cbor_uint(&out, 1), expect("a1616101");
}

static void test_cbor_window_of_a_sink(void **state)
{
    (void)state;
    uint8_t window[3];
    wm_sink_init(&out, window, sizeof window, 2);
    wm_cbor_uint(&out, 0x12345678); /* 1a 12 34 56 78 */
    assert_int_equal(out.total, 5);
    assert_memory_equal(window, "\x34\x56\x78", 3);
}

struct example {
    const char        *hex;
    enum wm_cbor_kind  kind;
    uint64_t           value;
    const char        *content; /* strings */
    bool               indefinite;
};

static void test_cbor_reads_rfc_examples(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"00", WM_CBOR_UINT, 0, NULL, false},
        {"17", WM_CBOR_UINT, 23, NULL, false},
        {"1864", WM_CBOR_UINT, 100, NULL, false},
        {"1b000000e8d4a51000", WM_CBOR_UINT, 1000000000000, NULL, false},
        {"1bffffffffffffffff", WM_CBOR_UINT, UINT64_MAX, NULL, false},
        {"1b0000000000000001", WM_CBOR_UINT, 1, NULL, false}, /* longer than it must be: well formed */
        {"20", WM_CBOR_NINT, 0, NULL, false},
        {"3903e7", WM_CBOR_NINT, 999, NULL, false},
        {"3bffffffffffffffff", WM_CBOR_NINT, UINT64_MAX, NULL, false},
        {"f97e00", WM_CBOR_FLOAT16, 0x7e00, NULL, false},
        {"f9fe01", WM_CBOR_FLOAT16, 0xfe01, NULL, false},
        {"fa7fa00001", WM_CBOR_FLOAT32, 0x7fa00001, NULL, false},
        {"fb7ff0000000000001", WM_CBOR_FLOAT64, 0x7ff0000000000001, NULL, false},
        {"f4", WM_CBOR_SIMPLE, 20, NULL, false},
        {"f6", WM_CBOR_SIMPLE, 22, NULL, false},
        {"f8ff", WM_CBOR_SIMPLE, 255, NULL, false},
        {"c0", WM_CBOR_TAG, 0, NULL, false},
        {"d9d9f7", WM_CBOR_TAG, 55799, NULL, false},
        {"40", WM_CBOR_BYTES, 0, "", false},
        {"4401020304", WM_CBOR_BYTES, 4, "\1\2\3\4", false},
        {"6449455446", WM_CBOR_TEXT, 4, "IETF", false},
        {"80", WM_CBOR_ARRAY, 0, NULL, false},
        {"9819", WM_CBOR_ARRAY, 25, NULL, false},
        {"9f", WM_CBOR_ARRAY, 0, NULL, true},
        {"a2", WM_CBOR_MAP, 2, NULL, false},
        {"bf", WM_CBOR_MAP, 0, NULL, true},
        {"ff", WM_CBOR_BREAK, 0, NULL, false},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const struct example *e = &examples[i];
        const struct wm_span whole = unhex(e->hex);
        struct wm_cbor_reader in = {whole};
        struct wm_cbor_item item;
        assert_int_equal(wm_cbor_next(&in, &item), 0);
        assert_int_equal(item.kind, e->kind);
        assert_true(item.value == e->value);
        assert_int_equal(item.indefinite, e->indefinite);
        assert_int_equal(in.rest.len, 0);
        if (e->content) {
            assert_int_equal(item.bytes.len, e->value);
            assert_memory_equal(item.bytes.ptr, e->content, item.bytes.len);
        }
        /* Cut at each byte: always "truncated", and the reader stays where it is. */
        for (size_t len = 0; len < whole.len; len++) {
            uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees a read past the end */
            memcpy(exact, whole.ptr, len);
            in.rest = wm_span(exact, len);
            assert_int_equal(wm_cbor_next(&in, &item), WM_ERR_TRUNCATED);
            assert_int_equal(in.rest.len, len);
            free(exact);
        }
    }
}

static int next_error(const char *hex)
{
    struct wm_cbor_reader in = {unhex(hex)};
    struct wm_cbor_item item;
    return wm_cbor_next(&in, &item);
}

static int skip_item(const char *hex, size_t *left)
{
    struct wm_cbor_reader in = {unhex(hex)};
    const int err = wm_cbor_skip(&in);
    *left = in.rest.len;
    return err;
}

static void test_cbor_refuses_what_is_malformed(void **state)
{
    (void)state;
    static const char *const malformed[] = {"1c", "1d", "1e", "1f", "3f", "5c", "7e", "9d", "bc", "dc",
                                            "df", "fc", "f817", "f800"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        assert_int_equal(next_error(malformed[i]), WM_ERR_MALFORMED);
    }
    assert_int_equal(next_error("5f42010243030405ff"), WM_ERR_UNSUPPORTED);
    assert_int_equal(next_error("7f"), WM_ERR_UNSUPPORTED);
    assert_int_equal(next_error("5bffffffffffffffff00"), WM_ERR_TRUNCATED);
    assert_int_equal(next_error("7affffffff00"), WM_ERR_TRUNCATED);
}

static void test_cbor_skip_takes_one_whole_item(void **state)
{
    (void)state;
    static const char *const items[] = {
        "00", "fb3ff199999999999a", "83010203", "8301820203820405", "a26161016162820203", "9fff",
        "bf61610161629f0203ffff",
        "c11a514b67b0", "c1c2c301", "82c101c240", "818181818181818100", /* 8 levels */
        "80", "a0", "6449455446", "9f9f9fffffff",
    };
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        char text[128];
        size_t left;
        snprintf(text, sizeof text, "%sf6f6", items[i]); /* two more bytes that must stay */
        assert_int_equal(skip_item(text, &left), 0);
        assert_int_equal(left, 2);
        const size_t whole = strlen(items[i]);
        for (size_t cut = 0; cut < whole; cut += 2) {
            snprintf(text, sizeof text, "%.*s", (int)cut, items[i]);
            assert_int_equal(skip_item(text, &left), WM_ERR_TRUNCATED);
            assert_int_equal(left, cut / 2);
        }
    }
}

static void test_cbor_skip_refuses(void **state)
{
    (void)state;
    size_t left;
    assert_int_equal(skip_item("ff", &left), WM_ERR_MALFORMED);
    assert_int_equal(skip_item("81ff", &left), WM_ERR_MALFORMED);
    assert_int_equal(skip_item("c1ff", &left), WM_ERR_MALFORMED);
    assert_int_equal(skip_item("9fc1ff", &left), WM_ERR_MALFORMED);
    assert_int_equal(skip_item("bf01ff", &left), WM_ERR_MALFORMED);
    assert_int_equal(skip_item("81818181818181818100", &left), WM_ERR_UNSUPPORTED); /* 9 levels */
    assert_int_equal(skip_item("9bffffffffffffffff00", &left), WM_ERR_TRUNCATED);
    assert_int_equal(skip_item("bbffffffffffffffff00", &left), WM_ERR_TRUNCATED);
    assert_int_equal(skip_item("bb8000000000000000", &left), WM_ERR_TRUNCATED); /* twice it is 0 in 64 bits */
}

static void test_cbor_survives_random_bytes(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[16];
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(seed >> 24);
        }
        const size_t len = bytes[0] % sizeof bytes;
        struct wm_cbor_reader in = {wm_span(bytes + 1, len)};
        const int err = wm_cbor_skip(&in);
        assert_true(err <= 0);
        assert_true(err ? in.rest.len == len : in.rest.len < len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cbor_writes_rfc_examples),
        cmocka_unit_test(test_cbor_window_of_a_sink),
        cmocka_unit_test(test_cbor_reads_rfc_examples),
        cmocka_unit_test(test_cbor_refuses_what_is_malformed),
        cmocka_unit_test(test_cbor_skip_takes_one_whole_item),
        cmocka_unit_test(test_cbor_skip_refuses),
        cmocka_unit_test(test_cbor_survives_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Numbers between CBOR and WebAssembly cells. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "functions/values.h"
#include "wasmote/err.h"

#define CBOR(...) wm_span((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define TYPES(...) CBOR(__VA_ARGS__)

static struct wm_bad_value bad;

static uint64_t one(uint8_t type, struct wm_span cbor)
{
    uint64_t cell = 0xdeadbeefdeadbeefu;
    assert_int_equal(wm_values_decode(wm_span(&type, 1), cbor, &cell, &bad), 0);
    return cell;
}

static void refused(uint8_t type, struct wm_span cbor, int index)
{
    uint64_t cell;
    assert_int_equal(wm_values_decode(wm_span(&type, 1), cbor, &cell, &bad), WM_ERR_ARG);
    assert_int_equal(bad.index, index);
    assert_non_null(bad.why);
}

static void test_values_i32_takes_both_ranges(void **state)
{
    (void)state;
    assert_int_equal(one(WM_I32, CBOR(0x81, 0x14)), 20);
    assert_int_equal(one(WM_I32, CBOR(0x81, 0x1a, 0xff, 0xff, 0xff, 0xff)), 0xffffffffu);
    assert_int_equal(one(WM_I32, CBOR(0x81, 0x20)), 0xffffffffu); /* -1 */
    assert_int_equal(one(WM_I32, CBOR(0x81, 0x3a, 0x7f, 0xff, 0xff, 0xff)), 0x80000000u);
    refused(WM_I32, CBOR(0x81, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0), 0);    /* 2^32 */
    refused(WM_I32, CBOR(0x81, 0x3a, 0x80, 0, 0, 0), 0);             /* -2^31 - 1 */
    refused(WM_I32, CBOR(0x81, 0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0), 0); /* 1.0 */
    refused(WM_I32, CBOR(0x81, 0xf5), 0);                            /* true */
    refused(WM_I32, CBOR(0x81, 0x61, '1'), 0);
}

static void test_values_i64_takes_both_ranges(void **state)
{
    (void)state;
    assert_true(one(WM_I64, CBOR(0x81, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255)) == UINT64_MAX);
    assert_true(one(WM_I64, CBOR(0x81, 0x3b, 0x7f, 255, 255, 255, 255, 255, 255, 255)) == (uint64_t)INT64_MIN);
    refused(WM_I64, CBOR(0x81, 0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0), 0);
    refused(WM_I64, CBOR(0x81, 0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0), 0); /* bignum 2^64 */
}

static double as_f64(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float as_f32(uint64_t cell)
{
    const uint32_t bits = (uint32_t)cell;
    float          value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void test_values_floats_of_any_width(void **state)
{
    (void)state;
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0xf9, 0x3e, 0x00))) == 1.5);             /* half */
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0xf9, 0x00, 0x01))) == ldexp(1, -24));   /* smallest half */
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0xf9, 0x83, 0xff))) == -ldexp(1023, -24)); /* largest subnormal half */
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0xfa, 0x3f, 0xc0, 0, 0))) == 1.5);
    assert_true(as_f32(one(WM_F32, CBOR(0x81, 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0))) == 1.5f);
    assert_true(as_f32(one(WM_F32, CBOR(0x81, 0xfb, 0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a))) == 0.1f);
    assert_true(isinf(as_f32(one(WM_F32, CBOR(0x81, 0xfb, 0x7f, 0xef, 255, 255, 255, 255, 255, 255)))));
    assert_true(isinf(as_f32(one(WM_F32, CBOR(0x81, 0xf9, 0xfc, 0x00)))));
}

static void test_values_nan_stays_nan(void **state)
{
    (void)state;
    assert_int_equal(one(WM_F32, CBOR(0x81, 0xfa, 0x7f, 0x80, 0x00, 0x01)), 0x7f800001u); /* signalling, as it came */
    assert_true(one(WM_F64, CBOR(0x81, 0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 1)) == 0x7ff0000000000001u);
    assert_true(isnan(as_f32(one(WM_F32, CBOR(0x81, 0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 1))))); /* payload too small for f32 */
    assert_true(isnan(as_f64(one(WM_F64, CBOR(0x81, 0xf9, 0x7e, 0x00)))));
}

static void test_values_integers_for_floats_must_be_exact(void **state)
{
    (void)state;
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0x26))) == -7.0);
    assert_true(as_f32(one(WM_F32, CBOR(0x81, 0x1a, 0x01, 0, 0, 0))) == 16777216.0f);
    refused(WM_F32, CBOR(0x81, 0x1a, 0x01, 0, 0, 0x01), 0); /* 2^24 + 1 */
    assert_true(as_f64(one(WM_F64, CBOR(0x81, 0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0))) == ldexp(1, 63));
    refused(WM_F64, CBOR(0x81, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255), 0); /* 2^64 - 1 */
    refused(WM_F64, CBOR(0x81, 0x3b, 255, 255, 255, 255, 255, 255, 255, 255), 0); /* -2^64: n + 1 wraps */
}

static void test_values_counts_are_checked(void **state)
{
    (void)state;
    const struct wm_span two = TYPES(WM_I32, WM_I32);
    uint64_t             cells[2];
    assert_int_equal(wm_values_decode(wm_span(NULL, 0), wm_span(NULL, 0), cells, &bad), 0);
    assert_int_equal(wm_values_decode(wm_span(NULL, 0), CBOR(0x80), cells, &bad), 0);
    assert_int_equal(wm_values_decode(two, CBOR(0x82, 1, 2), cells, &bad), 0);
    assert_int_equal(wm_values_decode(two, CBOR(0x9f, 1, 2, 0xff), cells, &bad), 0);
    const struct wm_span wrong[] = {
        wm_span(NULL, 0), CBOR(0x80), CBOR(0x81, 1), CBOR(0x83, 1, 2, 3), CBOR(0x9f, 1, 0xff), CBOR(0x9f, 1, 2, 3, 0xff),
        CBOR(0x9f, 1, 2), CBOR(0x82, 1, 2, 0), CBOR(0x01), CBOR(0xa1, 1, 2), CBOR(0x82, 0x82, 1, 2, 2), CBOR(0x82, 1),
        CBOR(0x9b, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(wm_values_decode(two, wrong[i], cells, &bad), WM_ERR_ARG);
        assert_non_null(bad.why);
    }
}

static void test_values_encode_by_type(void **state)
{
    (void)state;
    uint8_t        text[64];
    struct wm_sink out;
    const uint64_t cells[] = {0xffffffffu, UINT64_MAX, 0x7fc00001u, 0x7ff8000000000001u};
    wm_sink_init(&out, text, sizeof text, 0);
    wm_values_encode(wm_span(NULL, 0), cells, &out);
    assert_int_equal(out.total, 1);
    assert_int_equal(text[0], 0x80);
    wm_sink_init(&out, text, sizeof text, 0);
    wm_values_encode(TYPES(WM_I32), cells, &out);
    assert_int_equal(out.total, 1);
    assert_int_equal(text[0], 0x20); /* -1, bare */
    wm_sink_init(&out, text, sizeof text, 0);
    wm_values_encode(TYPES(WM_I32, WM_I64, WM_F32, WM_F64), cells, &out);
    static const uint8_t expected[] = {0x84, 0x20, 0x20, 0xfa, 0x7f, 0xc0, 0, 1, 0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1};
    assert_int_equal(out.total, sizeof expected);
    assert_memory_equal(text, expected, sizeof expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_i32_takes_both_ranges),
        cmocka_unit_test(test_values_i64_takes_both_ranges),
        cmocka_unit_test(test_values_floats_of_any_width),
        cmocka_unit_test(test_values_nan_stays_nan),
        cmocka_unit_test(test_values_integers_for_floats_must_be_exact),
        cmocka_unit_test(test_values_counts_are_checked),
        cmocka_unit_test(test_values_encode_by_type),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}

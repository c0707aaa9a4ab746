/* coap/msg.h. Bytes are spelled out here or in tests/vectors/coap_messages.json (test_codec_agreement.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coap_build.h"
#include "wasmote/err.h"

/* On the heap and of exact size, so that the sanitizer sees a read behind the end. */
static int parse(struct wm_coap_msg *msg, const void *bytes, size_t len, uint8_t **keep)
{
    *keep = malloc(len ? len : 1);
    memcpy(*keep, bytes, len);
    return wm_coap_parse(msg, wm_span(*keep, len));
}

#define ASSERT_PARSE(expected, ...)                                                                          \
    do {                                                                                                     \
        const uint8_t      bytes_[] = {__VA_ARGS__};                                                         \
        struct wm_coap_msg msg_;                                                                             \
        uint8_t           *keep_;                                                                            \
        assert_int_equal(parse(&msg_, bytes_, sizeof bytes_, &keep_), expected);                             \
        free(keep_);                                                                                         \
    } while (0)

static void test_coap_msg_parses_a_whole_message(void **state)
{
    (void)state;
    const uint8_t      bytes[] = {0x42, 0x02, 0x12, 0x34, 0xaa, 0xbb, 0xb1, 'f', 0x03,
                                  'f',  'i',  'b',  0x11, 60,   0xff, 0x81, 0x14};
    struct wm_coap_msg msg;
    assert_int_equal(wm_coap_parse(&msg, wm_span(bytes, sizeof bytes)), 0);
    assert_int_equal(msg.type, WM_COAP_CON);
    assert_int_equal(msg.code, WM_COAP_POST);
    assert_int_equal(msg.mid, 0x1234);
    assert_int_equal(msg.token_len, 2);
    assert_memory_equal(msg.token, "\xaa\xbb", 2);
    assert_true(wm_span_is(msg.payload, "\x81\x14"));

    struct wm_coap_opt_iter iter = wm_coap_opts(&msg);
    struct wm_coap_opt      opt;
    assert_true(wm_coap_opts_next(&iter, &opt));
    assert_true(opt.number == WM_COAP_URI_PATH && wm_span_is(opt.value, "f"));
    assert_true(wm_coap_opts_next(&iter, &opt));
    assert_true(opt.number == WM_COAP_URI_PATH && wm_span_is(opt.value, "fib"));
    assert_true(wm_coap_opts_next(&iter, &opt));
    assert_true(opt.number == WM_COAP_CONTENT_FORMAT && wm_span_is(opt.value, "<"));
    assert_false(wm_coap_opts_next(&iter, &opt));
    assert_false(wm_coap_opts_next(&iter, &opt));
}

static void test_coap_msg_refuses_what_is_cut_off(void **state)
{
    (void)state;
    struct wm_coap_msg msg;
    assert_int_equal(wm_coap_parse(&msg, wm_span(NULL, 0)), WM_ERR_TRUNCATED);
    ASSERT_PARSE(WM_ERR_TRUNCATED, 0x40, 0x01, 0x00);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x44, 0x01, 0x00, 0x01, 1, 2, 3);         /* token */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0xb2, 'f');       /* value */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0xd0);            /* delta, one byte */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0xe0, 0x00);      /* delta, two bytes */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0x1d);            /* length, one byte */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0x1e, 0x00);      /* length, two bytes */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0xdd, 0x00);      /* both */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0x00, 0x01, 0x1d, 0x00, 'a'); /* 13 bytes announced */
}

static void test_coap_msg_refuses_what_is_reserved(void **state)
{
    (void)state;
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x00, 0x01, 0x00, 0x01);                      /* version 0 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x80, 0x01, 0x00, 0x01);                      /* version 2 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0xc0, 0x01, 0x00, 0x01);                      /* version 3 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x49, 0x01, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9); /* TKL 9 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x4f, 0x01, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0, 1, 0xf0, 0, 0, 0); /* delta 15 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0, 1, 0x0f, 0, 0, 0); /* length 15 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0, 1, 0xff);          /* marker without payload */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x01, 0, 1, 0xb1, 'f', 0xff);
}

static void test_coap_msg_empty_message_is_four_bytes(void **state)
{
    (void)state;
    ASSERT_PARSE(0, 0x40, 0x00, 0x00, 0x01);
    ASSERT_PARSE(0, 0x70, 0x00, 0x00, 0x01);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x41, 0x00, 0x00, 0x01, 0xaa);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x41, 0x00, 0x00, 0x01);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x00, 0x00, 0x01, 0x00);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 0x00, 0x00, 0x01, 0xff, 'x');
}

static void test_coap_msg_malformed_still_tells_whom_to_reset(void **state)
{
    (void)state;
    const uint8_t      bytes[] = {0x59, 0x01, 0xbe, 0xef};
    struct wm_coap_msg msg;
    assert_int_equal(wm_coap_parse(&msg, wm_span(bytes, sizeof bytes)), WM_ERR_MALFORMED);
    assert_int_equal(msg.type, WM_COAP_NON);
    assert_int_equal(msg.mid, 0xbeef);
}

static void test_coap_msg_option_number_ends_at_65535(void **state)
{
    (void)state;
    struct wm_coap_msg msg;
    struct wm_coap_opt opt;
    const uint8_t      last[] = {0x40, 1, 0, 1, 0xe0, 0xfe, 0xf2};
    assert_int_equal(wm_coap_parse(&msg, wm_span(last, sizeof last)), 0);
    struct wm_coap_opt_iter iter = wm_coap_opts(&msg);
    assert_true(wm_coap_opts_next(&iter, &opt));
    assert_int_equal(opt.number, 65535);
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 1, 0, 1, 0xe0, 0xfe, 0xf3);       /* 65536 in one step */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 1, 0, 1, 0xe0, 0xff, 0xff);       /* 65804 */
    ASSERT_PARSE(WM_ERR_MALFORMED, 0x40, 1, 0, 1, 0xe0, 0xfe, 0xf2, 0x10); /* 65536 in two */
}

/* Every option number and every length around the borders of the encoding, out and in. */
static void test_coap_msg_writes_what_it_reads(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {0, 1, 12, 13, 14, 268, 269, 270, 292, 1000, 65534, 65535};
    static const size_t   lengths[] = {0, 1, 12, 13, 14, 255, 268, 269, 270, 1034};
    static uint8_t        value[1034], ours[2048];
    for (size_t i = 0; i < sizeof value; i++) {
        value[i] = (uint8_t)(i * 7);
    }
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            struct build theirs = build(WM_COAP_NON, WM_COAP_PUT, 0xabcd, "12345678");
            build_opt(&theirs, numbers[n], value, lengths[l]);
            build_opt(&theirs, 65535, "", 0);
            build_payload(&theirs, "p", 1);

            struct wm_coap_writer w;
            wm_coap_write_begin(&w, ours, sizeof ours, WM_COAP_NON, WM_COAP_PUT, 0xabcd,
                                wm_span_str("12345678"));
            wm_coap_write_opt(&w, numbers[n], wm_span(value, lengths[l]));
            wm_coap_write_opt(&w, 65535, wm_span(NULL, 0));
            wm_coap_write_payload(&w, wm_span_str("p"));
            assert_int_equal(wm_coap_write_finish(&w), theirs.len);
            assert_memory_equal(ours, theirs.bytes, theirs.len);

            struct wm_coap_msg msg;
            struct wm_span     found;
            uint8_t           *keep;
            assert_int_equal(parse(&msg, ours, theirs.len, &keep), 0);
            assert_true(find_opt(&msg, numbers[n], &found));
            assert_true(wm_span_eq(found, wm_span(value, lengths[l])));
            free(keep);
        }
    }
}

static void test_coap_msg_numbers_are_as_short_as_they_can(void **state)
{
    (void)state;
    static const struct {
        uint32_t value;
        size_t   len;
    } cases[] = {{0, 0},     {1, 1},        {255, 1},       {256, 2},       {65535, 2},
                 {65536, 3}, {0xffffff, 3}, {0x1000000, 4}, {UINT32_MAX, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t               buf[16];
        struct wm_coap_writer w;
        struct wm_coap_msg    msg;
        struct wm_span        value;
        wm_coap_write_begin(&w, buf, sizeof buf, WM_COAP_CON, WM_COAP_GET, 1, wm_span(NULL, 0));
        wm_coap_write_opt_uint(&w, WM_COAP_SIZE1, cases[i].value);
        assert_int_equal(wm_coap_parse(&msg, wm_span(buf, (size_t)wm_coap_write_finish(&w))), 0);
        assert_true(find_opt(&msg, WM_COAP_SIZE1, &value));
        assert_int_equal(value.len, cases[i].len);
        assert_int_equal(find_uint(&msg, WM_COAP_SIZE1), cases[i].value);
    }
    uint32_t out;
    assert_int_equal(wm_coap_opt_uint(wm_span("\0\0\0\0\1", 5), &out), WM_ERR_ARG);
    assert_int_equal(wm_coap_opt_uint(wm_span("\0\0\0\1", 4), &out), 0);
    assert_int_equal(out, 1);
}

/* At every capacity: either the whole message, or NOSPACE and nothing beyond the buffer. */
static void test_coap_msg_writer_stops_at_its_capacity(void **state)
{
    (void)state;
    const size_t whole = 4 + 2 + 1 + 3 + 1 + 5;
    for (size_t cap = 0; cap <= whole; cap++) {
        uint8_t              *buf = malloc(cap ? cap : 1);
        struct wm_coap_writer w;
        wm_coap_write_begin(&w, buf, cap, WM_COAP_ACK, WM_COAP_CONTENT, 7, wm_span_str("tk"));
        wm_coap_write_opt(&w, WM_COAP_ETAG, wm_span_str("abc"));
        wm_coap_write_payload(&w, wm_span_str("hello"));
        assert_int_equal(wm_coap_write_finish(&w), cap == whole ? (int)whole : WM_ERR_NOSPACE);
        free(buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coap_msg_parses_a_whole_message),
        cmocka_unit_test(test_coap_msg_refuses_what_is_cut_off),
        cmocka_unit_test(test_coap_msg_refuses_what_is_reserved),
        cmocka_unit_test(test_coap_msg_empty_message_is_four_bytes),
        cmocka_unit_test(test_coap_msg_malformed_still_tells_whom_to_reset),
        cmocka_unit_test(test_coap_msg_option_number_ends_at_65535),
        cmocka_unit_test(test_coap_msg_writes_what_it_reads),
        cmocka_unit_test(test_coap_msg_numbers_are_as_short_as_they_can),
        cmocka_unit_test(test_coap_msg_writer_stops_at_its_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* link/slipmux.h, held to tests/vectors/slipmux.json and to itself on random bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "link/slipmux.h"
#include "vectors.h"

#define READER_BYTES 1536 /* what the vectors say */

static uint8_t wire[8192];
static size_t wire_len;

static void put(void *ctx, uint8_t byte)
{
    (void)ctx;
    assert_true(wire_len < sizeof wire);
    wire[wire_len++] = byte;
}

static void write_frame(uint8_t kind, struct wm_span content)
{
    wire_len = 0;
    wm_slipmux_write(kind, content, put, NULL);
}

static void check_frame(const char *line)
{
    static uint8_t content[2048], frame[4096], buf[READER_BYTES];
    const size_t content_len = vector_hex(vector_member(line, "content"), content, sizeof content, NULL);
    const size_t frame_len = vector_hex(vector_member(line, "frame"), frame, sizeof frame, NULL);
    const bool coap = strncmp(vector_member(line, "kind"), "\"coap\"", 6) == 0;
    const uint8_t kind = coap ? WM_SLIPMUX_COAP : WM_SLIPMUX_TEXT;

    write_frame(kind, wm_span(content, content_len));
    assert_int_equal(wire_len, frame_len);
    assert_memory_equal(wire, frame, frame_len);

    struct wm_slipmux_reader r;
    wm_slipmux_reader_init(&r, buf, sizeof buf);
    for (size_t i = 0; i < frame_len; i++) {
        uint8_t got;
        struct wm_span span;
        const bool whole = wm_slipmux_feed(&r, frame[i], &got, &span);
        assert_int_equal(whole, i == frame_len - 1); /* at the last END, no earlier */
        if (whole) {
            assert_int_equal(got, kind);
            assert_true(wm_span_eq(span, wm_span(content, content_len)));
        }
    }
    assert_int_equal(r.dropped, 0);
}

static void test_slipmux_frames_match_vectors(void **state)
{
    (void)state;
    assert_true(vector_each("slipmux.json", "frame", check_frame) >= 14);
}

static void check_broken(const char *line)
{
    static uint8_t stream[4096], content[2048], buf[READER_BYTES];
    const size_t stream_len = vector_hex(vector_member(line, "stream"), stream, sizeof stream, NULL);
    const char *good = vector_member(line, "good");
    struct wm_slipmux_reader r;
    wm_slipmux_reader_init(&r, buf, sizeof buf);
    for (size_t i = 0; i < stream_len; i++) {
        uint8_t kind;
        struct wm_span span;
        if (wm_slipmux_feed(&r, stream[i], &kind, &span)) {
            good += strspn(good, "[, ");
            const size_t len = vector_hex(good, content, sizeof content, &good);
            assert_int_equal(kind, WM_SLIPMUX_COAP);
            assert_true(wm_span_eq(span, wm_span(content, len)));
        }
    }
    assert_int_equal(*good, ']'); /* all have come */
    assert_int_equal(r.dropped, strtoul(vector_member(line, "dropped"), NULL, 10));
}

static void test_slipmux_broken_frames_match_vectors(void **state)
{
    (void)state;
    assert_true(vector_each("slipmux.json", "stream", check_broken) >= 19);
}

/* RFC 1662 gives no example, the catalogue of CRCs does: CRC-16/X-25 of "123456789". */
static void test_slipmux_fcs_is_crc16_x25(void **state)
{
    (void)state;
    assert_int_equal((uint16_t)~wm_fcs16(0xffff, wm_span_str("123456789")), 0x906e);
    assert_int_equal(wm_fcs16(0xffff, wm_span(NULL, 0)), 0xffff);
}

static void test_slipmux_reader_takes_what_fits_and_no_more(void **state)
{
    (void)state;
    static const uint8_t message[10] = {0xc0, 0xdb, 3, 4, 5, 6, 7, 8, 9, 10};
    for (size_t cap = 0; cap <= sizeof message + 4; cap++) {
        uint8_t buf[sizeof message + 4 + 1];
        struct wm_slipmux_reader r;
        memset(buf, 0x77, sizeof buf);
        wm_slipmux_reader_init(&r, buf, cap);
        write_frame(WM_SLIPMUX_COAP, wm_span(message, sizeof message));
        bool whole = false;
        uint8_t kind;
        struct wm_span content;
        for (size_t i = 0; i < wire_len; i++) {
            whole = wm_slipmux_feed(&r, wire[i], &kind, &content);
        }
        assert_int_equal(whole, cap >= sizeof message + 3);
        assert_int_equal(r.dropped, whole ? 0 : 1);
        assert_int_equal(buf[cap], 0x77);
    }
}

static uint32_t random_state = 1;

static uint8_t random_byte(void)
{
    random_state = random_state * 1103515245u + 12345u;
    return (uint8_t)(random_state >> 16);
}

static void test_slipmux_round_trips_random_content(void **state)
{
    (void)state;
    static uint8_t content[1280], buf[READER_BYTES];
    struct wm_slipmux_reader r;
    wm_slipmux_reader_init(&r, buf, sizeof buf);
    for (int round = 0; round < 2000; round++) {
        const size_t len = (size_t)(random_byte() | random_byte() << 8) % sizeof content;
        for (size_t i = 0; i < len; i++) {
            const uint8_t byte = random_byte();
            content[i] = byte < 0x20 ? 0xc0 : byte < 0x40 ? 0xdb : byte;
        }
        write_frame(WM_SLIPMUX_COAP, wm_span(content, len));
        bool whole = false;
        uint8_t kind;
        struct wm_span got;
        for (size_t i = 0; i < wire_len; i++) {
            whole = wm_slipmux_feed(&r, wire[i], &kind, &got);
        }
        assert_true(whole);
        assert_true(wm_span_eq(got, wm_span(content, len)));
    }
    assert_int_equal(r.dropped, 0);
}

/* Every single-bit error on the line loses that frame at most, and never lets other content through. */
static void test_slipmux_one_wrong_bit_never_changes_content(void **state)
{
    (void)state;
    static const uint8_t message[] = {0x44, 0x02, 0xc0, 0xdb, 1, 2, 3, 4, 0xb1, 'f', 0xff, 0xdc, 0xdd, 0};
    uint8_t buf[64];
    for (size_t bit = 0;; bit++) {
        struct wm_slipmux_reader r;
        wm_slipmux_reader_init(&r, buf, sizeof buf);
        write_frame(WM_SLIPMUX_COAP, wm_span(message, sizeof message));
        if (bit == wire_len * 8) {
            break;
        }
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const size_t first_len = wire_len;
        for (int copy = 0; copy < 2; copy++) {
            unsigned whole = 0;
            for (size_t i = 0; i < first_len; i++) {
                uint8_t kind;
                struct wm_span content;
                if (wm_slipmux_feed(&r, wire[i], &kind, &content) && kind == WM_SLIPMUX_COAP) {
                    assert_true(wm_span_eq(content, wm_span(message, sizeof message)));
                    whole++;
                }
            }
            if (copy == 1) {
                assert_int_equal(whole, 1); /* the next frame is good */
            }
            write_frame(WM_SLIPMUX_COAP, wm_span(message, sizeof message));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slipmux_frames_match_vectors),
        cmocka_unit_test(test_slipmux_broken_frames_match_vectors),
        cmocka_unit_test(test_slipmux_fcs_is_crc16_x25),
        cmocka_unit_test(test_slipmux_reader_takes_what_fits_and_no_more),
        cmocka_unit_test(test_slipmux_round_trips_random_content),
        cmocka_unit_test(test_slipmux_one_wrong_bit_never_changes_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

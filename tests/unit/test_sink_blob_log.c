/* base/sink.h, base/blob.h, base/log.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/blob.h"
#include "base/log.h"
#include "base/sink.h"
#include "wasmote/err.h"

static void test_sink_keeps_exactly_the_window(void **state)
{
    (void)state;
    uint8_t whole[100];
    for (size_t i = 0; i < sizeof whole; i++) {
        whole[i] = (uint8_t)i;
    }
    for (size_t skip = 0; skip <= 110; skip += 7) {
        for (size_t cap = 0; cap <= 40; cap += 8) {
            for (size_t piece = 1; piece <= 100; piece = piece * 3 + 1) {
                uint8_t        buf[41];
                struct wm_sink sink;
                memset(buf, 0xee, sizeof buf);
                wm_sink_init(&sink, buf, cap, skip);
                for (size_t at = 0; at < sizeof whole; at += piece) {
                    const size_t len = sizeof whole - at < piece ? sizeof whole - at : piece;
                    wm_sink_put(&sink, wm_span(whole + at, len));
                }
                const size_t left = skip < sizeof whole ? sizeof whole - skip : 0;
                const size_t kept = left < cap ? left : cap;
                assert_int_equal(sink.total, sizeof whole);
                assert_int_equal(wm_sink_kept(&sink), kept);
                assert_memory_equal(buf, whole + (kept > 0 ? skip : 0), kept);
                assert_int_equal(buf[cap], 0xee);
            }
        }
    }
}

static void test_blob_grows_and_fits(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t region[4096];
    struct wm_heap *heap = wm_heap_init(region, sizeof region);
    const size_t    free_bytes = wm_heap_free_bytes(heap);
    struct wm_blob  blob;
    assert_int_equal(wm_blob_init(&blob, heap, 0), 0);
    for (int i = 0; i < 100; i++) {
        const uint8_t byte = (uint8_t)i;
        assert_int_equal(wm_blob_append(&blob, wm_span(&byte, 1)), 0);
    }
    wm_blob_fit(&blob);
    assert_int_equal(blob.cap, 100);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(blob.bytes[i], i);
    }
    static uint8_t much[5000];
    assert_int_equal(wm_blob_append(&blob, wm_span(much, sizeof much)), WM_ERR_NOMEM);
    assert_int_equal(blob.len, 100);
    wm_blob_free(&blob);
    assert_int_equal(wm_heap_free_bytes(heap), free_bytes);
    assert_int_equal(wm_blob_init(&blob, heap, 5000), WM_ERR_NOMEM);
    assert_int_equal(wm_heap_free_bytes(heap), free_bytes);
}

static void test_log_numbers_lines_and_forgets_the_oldest(void **state)
{
    (void)state;
    struct wm_log_line line;
    const uint32_t lines = WM_LOG_BYTES / 8; /* more than fit: each takes its text and a header */
    wm_log_init();
    assert_int_equal(wm_log_read(0, &line), WM_ERR_NOTFOUND);
    for (uint32_t i = 1; i <= lines; i++) {
        wm_log_printf(i * 10, WM_LOG_INFO, "line %lu", (unsigned long)i);
    }
    assert_int_equal(wm_log_next(), lines + 1);
    assert_int_equal(wm_log_read(0, &line), 0);
    const uint32_t oldest = line.number;
    assert_true(oldest > 1);
    assert_int_equal(wm_log_dropped(), oldest - 1);
    char expected[32];
    for (uint32_t n = oldest; n <= lines; n++) {
        assert_int_equal(wm_log_read(n, &line), 0);
        assert_int_equal(line.number, n);
        assert_int_equal(line.ms, n * 10);
        const int len = snprintf(expected, sizeof expected, "line %u", (unsigned)n);
        assert_int_equal(line.text.len, len);
        assert_memory_equal(line.text.ptr, expected, (size_t)len);
    }
    assert_int_equal(wm_log_read(lines + 1, &line), WM_ERR_NOTFOUND);
}

/* Reading goes on from the line before; lines that come meanwhile may have overwritten it. */
static void test_log_reads_on_after_writes_and_anywhere(void **state)
{
    (void)state;
    struct wm_log_line line;
    wm_log_init();
    for (int i = 0; i < 3; i++) {
        wm_log_write(1, WM_LOG_INFO, wm_span_str("f"), wm_span_str("first"));
    }
    assert_int_equal(wm_log_read(1, &line), 0);
    wm_log_write(2, WM_LOG_INFO, wm_span_str("f"), wm_span_str("later"));
    for (uint32_t n = 2; n <= 4; n++) {
        assert_int_equal(wm_log_read(n, &line), 0);
        assert_int_equal(line.number, n);
        assert_true(wm_span_is(line.text, n == 4 ? "later" : "first"));
    }
    assert_int_equal(wm_log_read(5, &line), WM_ERR_NOTFOUND);
    assert_int_equal(wm_log_read(2, &line), 0); /* back */
    assert_int_equal(line.number, 2);
    while (wm_log_dropped() < 10) {
        wm_log_write(3, WM_LOG_INFO, wm_span_str("f"), wm_span_str("much later"));
    }
    assert_int_equal(wm_log_read(3, &line), 0); /* the next after the one last read, but it is gone */
    assert_int_equal(line.number, 11);
    assert_int_equal(wm_log_read(12, &line), 0);
    assert_int_equal(line.number, 12);
    assert_true(wm_span_is(line.text, "much later"));
}

static void test_log_cuts_and_cleans(void **state)
{
    (void)state;
    struct wm_log_line line;
    uint8_t            text[200];
    memset(text, 'x', sizeof text);
    text[0] = '\n';
    text[1] = 0xff;
    wm_log_init();
    wm_log_write(1, WM_LOG_DEBUG, wm_span(text + 2, 100), wm_span(text, sizeof text));
    assert_int_equal(wm_log_read(1, &line), 0);
    assert_int_equal(line.text.len, WM_LOG_TEXT_BYTES);
    assert_memory_equal(line.text.ptr, "??xx", 4);
    assert_int_equal(line.source.len, WM_NAME_BYTES - 1);
    assert_int_equal(line.level, WM_LOG_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sink_keeps_exactly_the_window),
        cmocka_unit_test(test_blob_grows_and_fits),
        cmocka_unit_test(test_log_numbers_lines_and_forgets_the_oldest),
        cmocka_unit_test(test_log_reads_on_after_writes_and_anywhere),
        cmocka_unit_test(test_log_cuts_and_cleans),
    };
    return cmocka_run_group_tests_name("sink_blob_log", tests, NULL, NULL);
}

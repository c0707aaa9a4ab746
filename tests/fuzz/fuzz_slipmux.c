/* The slipmux reader on any bytes: what it accepts can be written again and reads the same. The first byte chooses the
 * reader's capacity, so that the edges of the buffer are met. */
#include <stdlib.h>

#include "link/slipmux.h"

#define FRAME_MAX 300

static uint8_t wire[2 + 2 * FRAME_MAX];
static size_t wire_len;

static void put(void *ctx, uint8_t byte)
{
    (void)ctx;
    if (wire_len == sizeof wire) {
        abort();
    }
    wire[wire_len++] = byte;
}

static void check_again(uint8_t kind, struct wm_span content)
{
    uint8_t buf[FRAME_MAX];
    struct wm_slipmux_reader r;
    wm_slipmux_reader_init(&r, buf, sizeof buf);
    wire_len = 0;
    wm_slipmux_write(kind, content, put, NULL);
    uint8_t again_kind;
    struct wm_span again;
    for (size_t i = 0; i < wire_len; i++) {
        if (wm_slipmux_feed(&r, wire[i], &again_kind, &again)) {
            if (i != wire_len - 1 || again_kind != kind || !wm_span_eq(again, content)) {
                abort();
            }
            return;
        }
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const size_t cap = data[0];
    uint8_t *buf = malloc(cap + (cap == 0)); /* exact, for the address sanitizer */
    struct wm_slipmux_reader r;
    wm_slipmux_reader_init(&r, buf, cap);
    for (size_t i = 1; i < size; i++) {
        uint8_t kind;
        struct wm_span content;
        if (wm_slipmux_feed(&r, data[i], &kind, &content)) {
            check_again(kind, content);
        }
    }
    free(buf);
    if (size <= FRAME_MAX - 3) { /* few random frames have a good FCS; so also as content */
        check_again(WM_SLIPMUX_COAP, wm_span(data, size));
    }
    return 0;
}

#include "link/slipmux.h"

#define SLIP_END     0xc0
#define SLIP_ESC     0xdb
#define SLIP_ESC_END 0xdc
#define SLIP_ESC_ESC 0xdd

#define FCS_BYTES 2
#define FCS_GOOD  0xf0b8 /* RFC 1662, C.1: over a frame and its own complemented FCS */

/* Four bits at a time: 32 bytes of table instead of 512. */
uint16_t wm_fcs16(uint16_t fcs, struct wm_span bytes)
{
    static const uint16_t nibble[16] = {
        0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
        0x8408, 0x9489, 0xa50a, 0xb58b, 0xc60c, 0xd68d, 0xe70e, 0xf78f,
    };
    for (size_t i = 0; i < bytes.len; i++) {
        fcs = (uint16_t)(fcs ^ bytes.ptr[i]);
        fcs = (uint16_t)(fcs >> 4 ^ nibble[fcs & 15]);
        fcs = (uint16_t)(fcs >> 4 ^ nibble[fcs & 15]);
    }
    return fcs;
}

void wm_slipmux_reader_init(struct wm_slipmux_reader *r, uint8_t *buf, size_t cap)
{
    *r = (struct wm_slipmux_reader){.buf = buf, .cap = cap};
}

/* What lies between two END bytes is a frame: good, or dropped and counted. */
static bool frame_end(struct wm_slipmux_reader *r, uint8_t *kind, struct wm_span *content)
{
    const size_t len = r->len;
    const bool whole = !r->escaped && !r->broken;
    r->len = 0;
    r->escaped = r->broken = false;
    if (len == 0 && whole) {
        return false; /* the END before a frame, or an idle line */
    }
    if (whole && r->buf[0] == WM_SLIPMUX_TEXT) {
        *content = wm_span(r->buf + 1, len - 1);
    } else if (whole && r->buf[0] == WM_SLIPMUX_COAP && len > FCS_BYTES &&
               wm_fcs16(0xffff, wm_span(r->buf, len)) == FCS_GOOD) {
        *content = wm_span(r->buf + 1, len - 1 - FCS_BYTES);
    } else {
        r->dropped++;
        return false;
    }
    *kind = r->buf[0];
    return true;
}

bool wm_slipmux_feed(struct wm_slipmux_reader *r, uint8_t byte, uint8_t *kind, struct wm_span *content)
{
    if (byte == SLIP_END) {
        return frame_end(r, kind, content);
    }
    if (r->broken) {
        return false; /* wait for the next END */
    }
    if (r->escaped) {
        r->escaped = false;
        if (byte != SLIP_ESC_END && byte != SLIP_ESC_ESC) {
            r->broken = true;
            return false;
        }
        byte = byte == SLIP_ESC_END ? SLIP_END : SLIP_ESC;
    } else if (byte == SLIP_ESC) {
        r->escaped = true;
        return false;
    }
    if (r->len == r->cap) {
        r->broken = true;
        return false;
    }
    r->buf[r->len++] = byte;
    return false;
}

static void put_escaped(struct wm_span bytes, void (*put)(void *ctx, uint8_t byte), void *ctx)
{
    for (size_t i = 0; i < bytes.len; i++) {
        const uint8_t byte = bytes.ptr[i];
        if (byte == SLIP_END || byte == SLIP_ESC) {
            put(ctx, SLIP_ESC);
            put(ctx, byte == SLIP_END ? SLIP_ESC_END : SLIP_ESC_ESC);
        } else {
            put(ctx, byte);
        }
    }
}

void wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx)
{
    put(ctx, SLIP_END); /* ends whatever noise the line has picked up */
    put_escaped(wm_span(&kind, 1), put, ctx);
    put_escaped(content, put, ctx);
    if (kind == WM_SLIPMUX_COAP) {
        const uint16_t fcs = (uint16_t)~wm_fcs16(wm_fcs16(0xffff, wm_span(&kind, 1)), content);
        const uint8_t raw[FCS_BYTES] = {(uint8_t)fcs, (uint8_t)(fcs >> 8)};
        put_escaped(wm_span(raw, sizeof raw), put, ctx);
    }
    put(ctx, SLIP_END);
}

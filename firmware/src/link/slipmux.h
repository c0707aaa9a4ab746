/* slipmux.h: frames on a serial line (docs/PROTOCOL.md 1). Pure; feeds on single bytes, so an interrupt's ring buffer can drive it. */
#ifndef WM_LINK_SLIPMUX_H
#define WM_LINK_SLIPMUX_H

#include "base/span.h"

#define WM_SLIPMUX_COAP 0xa9
#define WM_SLIPMUX_TEXT 0x0a

struct wm_slipmux_reader {
    uint8_t *buf; /* holds one unescaped frame: first byte, content, FCS */
    size_t   cap, len;
    bool     escaped, broken;
    uint32_t dropped; /* frames with a bad FCS, unknown first byte, broken escape or too long */
};

void wm_slipmux_reader_init(struct wm_slipmux_reader *r, uint8_t *buf, size_t cap);

/* Take one byte. Returns true when a whole good frame is there: *kind is its first byte, *content is borrowed from the
 * reader's buffer until the next byte is fed. */
bool wm_slipmux_feed(struct wm_slipmux_reader *r, uint8_t byte, uint8_t *kind, struct wm_span *content);

/* Write one frame, byte by byte. COAP frames get their FCS. */
void wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx);

/* RFC 1662 FCS-16 step; start with 0xffff, complement at the end. */
uint16_t wm_fcs16(uint16_t fcs, struct wm_span bytes);

#endif

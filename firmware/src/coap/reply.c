#include "base/assert.h"
#include "coap/internal.h"

_Static_assert(WM_COAP_PAYLOAD_BYTES >= 16, "WM_COAP_PAYLOAD_BYTES: at least the smallest block");
_Static_assert(WM_COAP_TX_BYTES <= WM_COAP_DEDUP_REPLY_MAX, "WM_COAP_DEDUP_BYTES: at least one whole reply");

uint8_t wm_coap_szx_within(size_t payload_bytes)
{
    uint8_t szx = 0;
    while (szx < 6 && (size_t)32 << szx <= payload_bytes) {
        szx++;
    }
    return szx;
}

void wm_coap_reply_open(struct wm_coap_endpoint *ep, struct wm_coap_reply *rep,
                        const struct wm_coap_block *block2, uint8_t szx_max)
{
    uint8_t szx = szx_max;
    while ((size_t)16 << szx > WM_COAP_PAYLOAD_BYTES) {
        szx--;
    }
    if (block2->present && block2->szx < szx) {
        szx = block2->szx;
    }
    wm_coap_reply_reset(rep);
    wm_sink_init(&rep->body, ep->tx + WM_COAP_HEAD_BYTES, (size_t)16 << szx,
                 block2->present ? wm_coap_block_offset(block2) : 0);
}

void wm_coap_reply_validate(struct wm_coap_reply *rep, const struct wm_coap_request *req)
{
    if (rep->code != WM_COAP_CONTENT || rep->etag_len == 0) {
        return;
    }
    for (size_t i = 0; i < req->etag_count; i++) {
        if (wm_span_eq(req->etag[i], wm_span(rep->etag, rep->etag_len))) {
            rep->code = WM_COAP_VALID;
            rep->content_format = WM_FORMAT_NONE;
            rep->body.total = rep->body.skip = 0;
            return;
        }
    }
}

static uint32_t block_value(size_t num, bool more, uint8_t szx)
{
    return (uint32_t)(num << 4 | (size_t)more << 3 | szx);
}

struct wm_span wm_coap_reply_close(struct wm_coap_endpoint *ep, struct wm_coap_reply *rep,
                                   const struct wm_coap_reply_to *to)
{
    WM_ASSERT(rep->code != WM_COAP_EMPTY && rep->etag_len <= WM_COAP_ETAG_BYTES);
    const bool error = rep->code >= WM_COAP_BAD_REQUEST;
    if (!error && rep->body.skip > 0 && rep->body.skip >= rep->body.total) {
        const unsigned long total = (unsigned long)rep->body.total;
        rep->body.skip = 0;
        wm_problem(rep, WM_COAP_BAD_REQUEST, "no such block", "there are %lu bytes", total);
    }
    /* Blocks may be smaller than asked for, so the number is counted again (RFC 7959, 2.4). */
    const size_t  size = rep->body.cap, off = rep->body.skip, total = rep->body.total;
    const size_t  kept = wm_sink_kept(&rep->body);
    const uint8_t szx = wm_coap_szx_within(size);
    const bool    more = off + kept < total;
    const bool    rewound = to->block2->present && off != wm_coap_block_offset(to->block2);
    const bool    blockwise = more || (kept > 0 && to->block2->present && !rewound);

    uint8_t               head[WM_COAP_HEAD_BYTES];
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, head, sizeof head, to->type, rep->code, to->mid, to->token);
    if (rep->etag_len > 0) {
        wm_coap_write_opt(&w, WM_COAP_ETAG, wm_span(rep->etag, rep->etag_len));
    }
    if (to->observe >= 0) {
        wm_coap_write_opt_uint(&w, WM_COAP_OBSERVE, (uint32_t)to->observe);
    }
    if (rep->content_format != WM_FORMAT_NONE) {
        wm_coap_write_opt_uint(&w, WM_COAP_CONTENT_FORMAT, (uint32_t)rep->content_format);
    }
    if (rep->max_age_s >= 0) {
        wm_coap_write_opt_uint(&w, WM_COAP_MAX_AGE, (uint32_t)rep->max_age_s);
    }
    if (blockwise) {
        wm_coap_write_opt_uint(&w, WM_COAP_BLOCK2, block_value(off >> (szx + 4), more, szx));
    }
    if (rep->block1.present) {
        wm_coap_write_opt_uint(&w, WM_COAP_BLOCK1,
                               block_value(rep->block1.num, rep->block1.more, rep->block1.szx));
    }
    if (blockwise && off == 0) {
        wm_coap_write_opt_uint(&w, WM_COAP_SIZE2, (uint32_t)total);
    }
    if (rep->size1 >= 0) {
        wm_coap_write_opt_uint(&w, WM_COAP_SIZE1, (uint32_t)rep->size1);
    }
    if (kept > 0 && w.len < w.cap) {
        head[w.len++] = 0xff;
    }
    WM_ASSERT(w.err == 0);
    /* The body stays where the handler wrote it; the head goes right before it. */
    uint8_t *start = rep->body.buf - w.len;
    WM_ASSERT(start >= ep->tx);
    memcpy(start, head, w.len);
    return wm_span(start, w.len + kept);
}

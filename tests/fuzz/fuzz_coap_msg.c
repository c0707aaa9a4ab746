/* Any bytes to wm_coap_parse. What it takes is decoded as a request, and written again: the copy must parse
 * to the same message, and be written to the same bytes from then on. */
#include <stdlib.h>

#include "base/assert.h"
#include "coap/request.h"

static size_t rewrite(const struct wm_coap_msg *msg, uint8_t *buf, size_t cap)
{
    struct wm_coap_writer   w;
    struct wm_coap_opt_iter iter = wm_coap_opts(msg);
    struct wm_coap_opt      opt;
    wm_coap_write_begin(&w, buf, cap, msg->type, msg->code, msg->mid, wm_span(msg->token, msg->token_len));
    while (wm_coap_opts_next(&iter, &opt)) {
        wm_coap_write_opt(&w, opt.number, opt.value);
    }
    wm_coap_write_payload(&w, msg->payload);
    const int len = wm_coap_write_finish(&w);
    WM_ASSERT(len >= 4);
    return (size_t)len;
}

static void check_same(const struct wm_coap_msg *a, const struct wm_coap_msg *b)
{
    WM_ASSERT(a->type == b->type && a->code == b->code && a->mid == b->mid && a->token_len == b->token_len);
    WM_ASSERT(memcmp(a->token, b->token, a->token_len) == 0 && wm_span_eq(a->payload, b->payload));
    struct wm_coap_opt_iter in_a = wm_coap_opts(a), in_b = wm_coap_opts(b);
    struct wm_coap_opt      opt_a, opt_b;
    while (wm_coap_opts_next(&in_a, &opt_a)) {
        WM_ASSERT(wm_coap_opts_next(&in_b, &opt_b));
        WM_ASSERT(opt_a.number == opt_b.number && wm_span_eq(opt_a.value, opt_b.value));
    }
    WM_ASSERT(!wm_coap_opts_next(&in_b, &opt_b));
}

/* Every span of a decoded request lies in the datagram, and the counts within their tables. */
static void check_request(const struct wm_coap_msg *msg, struct wm_span datagram)
{
    const struct wm_peer   peer = {.link = 0};
    struct wm_coap_request req;
    struct wm_span         value;
    const int              code = wm_coap_request_decode(&req, &peer, msg);
    WM_ASSERT(code == 0 || code == WM_COAP_BAD_OPTION || code == WM_COAP_BAD_REQUEST ||
              code == WM_COAP_PROXYING_UNSUPPORTED);
    WM_ASSERT(req.path_count <= WM_COAP_PATH_MAX && req.query_count <= WM_COAP_QUERY_MAX);
    WM_ASSERT(req.if_match_count <= WM_COAP_ETAG_MAX && req.etag_count <= WM_COAP_ETAG_MAX);
    WM_ASSERT(req.request_tag.len <= WM_COAP_REQUEST_TAG_BYTES);
    if (code != 0) {
        return;
    }
    WM_ASSERT(req.block1.szx < 7 && req.block2.szx < 7);
    for (size_t i = 0; i < req.path_count; i++) {
        WM_ASSERT(req.path[i].ptr >= datagram.ptr &&
                  req.path[i].ptr + req.path[i].len <= datagram.ptr + datagram.len);
    }
    for (size_t i = 0; i < req.etag_count; i++) {
        WM_ASSERT(req.etag[i].len >= 1 && req.etag[i].len <= WM_COAP_ETAG_BYTES);
    }
    (void)wm_coap_query(&req, "from", &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    /* Written as short as it goes: never longer than what was read. */
    static uint8_t     first[1 << 16], second[1 << 16];
    struct wm_coap_msg msg, copy, again;
    if (len > sizeof first || wm_coap_parse(&msg, wm_span(data, len)) != 0) {
        return 0;
    }
    check_request(&msg, wm_span(data, len));
    const size_t first_len = rewrite(&msg, first, sizeof first);
    WM_ASSERT(first_len <= len);
    WM_ASSERT(wm_coap_parse(&copy, wm_span(first, first_len)) == 0);
    check_same(&msg, &copy);
    const size_t second_len = rewrite(&copy, second, sizeof second);
    WM_ASSERT(second_len == first_len && memcmp(first, second, first_len) == 0);
    WM_ASSERT(wm_coap_parse(&again, wm_span(second, second_len)) == 0);
    return 0;
}

#include "coap/msg.h"

#include "base/assert.h"
#include "wasmote/err.h"

#define HEADER_BYTES   4
#define PAYLOAD_MARKER 0xffu
#define NUMBER_MAX     65535u

/* A delta or a length: its nibble, and 0, 1 or 2 bytes more (RFC 7252, 3.1). False: reserved or cut off. */
static bool read_extended(struct wm_span *rest, uint32_t nibble, uint32_t *out)
{
    if (nibble < 13) {
        *out = nibble;
        return true;
    }
    if (nibble == 13 && rest->len >= 1) {
        *out = 13u + rest->ptr[0];
        *rest = wm_span(rest->ptr + 1, rest->len - 1);
        return true;
    }
    if (nibble == 14 && rest->len >= 2) {
        *out = 269u + ((uint32_t)rest->ptr[0] << 8 | rest->ptr[1]);
        *rest = wm_span(rest->ptr + 2, rest->len - 2);
        return true;
    }
    return false;
}

/* The option at the front of rest, which is not empty and does not start with a payload marker. */
static bool read_option(struct wm_span *rest, uint32_t *number, struct wm_span *value)
{
    const uint8_t first = rest->ptr[0];
    uint32_t      delta, len;
    *rest = wm_span(rest->ptr + 1, rest->len - 1);
    if (!read_extended(rest, first >> 4, &delta) || !read_extended(rest, first & 0xfu, &len) ||
        len > rest->len) {
        return false;
    }
    *number += delta;
    *value = wm_span(rest->ptr, len);
    *rest = wm_span(rest->ptr + len, rest->len - len);
    return *number <= NUMBER_MAX;
}

int wm_coap_parse(struct wm_coap_msg *msg, struct wm_span datagram)
{
    if (datagram.len < HEADER_BYTES) {
        return WM_ERR_TRUNCATED;
    }
    const uint8_t *p = datagram.ptr;
    const size_t   token_len = p[0] & 0xfu;
    msg->type = p[0] >> 4 & 3;
    msg->code = p[1];
    msg->mid = (uint16_t)(p[2] << 8 | p[3]);
    msg->options = msg->payload = wm_span(NULL, 0);
    if (p[0] >> 6 != 1 || token_len > WM_COAP_TOKEN_BYTES || token_len > datagram.len - HEADER_BYTES) {
        return WM_ERR_MALFORMED;
    }
    if (msg->code == WM_COAP_EMPTY && datagram.len > HEADER_BYTES) {
        return WM_ERR_MALFORMED;
    }
    msg->token_len = (uint8_t)token_len;
    memcpy(msg->token, p + HEADER_BYTES, token_len);

    struct wm_span rest = wm_span(p + HEADER_BYTES + token_len, datagram.len - HEADER_BYTES - token_len);
    const uint8_t *options = rest.ptr;
    uint32_t       number = 0;
    while (rest.len > 0 && rest.ptr[0] != PAYLOAD_MARKER) {
        struct wm_span value;
        if (!read_option(&rest, &number, &value)) {
            return WM_ERR_MALFORMED;
        }
    }
    if (rest.len == 1) {
        return WM_ERR_MALFORMED; /* a marker without a payload */
    }
    msg->options = wm_span(options, (size_t)(rest.ptr - options));
    if (rest.len > 0) {
        msg->payload = wm_span(rest.ptr + 1, rest.len - 1);
    }
    return 0;
}

bool wm_coap_opts_next(struct wm_coap_opt_iter *iter, struct wm_coap_opt *opt)
{
    if (iter->rest.len == 0) {
        return false;
    }
    const bool sound = read_option(&iter->rest, &iter->number, &opt->value);
    WM_ASSERT(sound); /* parse has checked them */
    opt->number = iter->number;
    return true;
}

int wm_coap_opt_uint(struct wm_span value, uint32_t *out)
{
    if (value.len > 4) {
        return WM_ERR_ARG;
    }
    uint32_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        n = n << 8 | value.ptr[i];
    }
    *out = n;
    return 0;
}

/* Room for len more bytes, or the writer has failed. */
static bool reserve(struct wm_coap_writer *w, size_t len)
{
    if (w->err == 0 && len > w->cap - w->len) {
        w->err = WM_ERR_NOSPACE;
    }
    return w->err == 0;
}

static void append(struct wm_coap_writer *w, struct wm_span bytes)
{
    if (bytes.len > 0) {
        memcpy(w->buf + w->len, bytes.ptr, bytes.len);
        w->len += bytes.len;
    }
}

void wm_coap_write_begin(struct wm_coap_writer *w, uint8_t *buf, size_t cap, uint8_t type, uint8_t code,
                         uint16_t mid, struct wm_span token)
{
    WM_ASSERT(type <= WM_COAP_RST && token.len <= WM_COAP_TOKEN_BYTES);
    *w = (struct wm_coap_writer){.buf = buf, .cap = cap};
    if (!reserve(w, HEADER_BYTES + token.len)) {
        return;
    }
    buf[0] = (uint8_t)(1u << 6 | (uint32_t)type << 4 | token.len);
    buf[1] = code;
    buf[2] = (uint8_t)(mid >> 8);
    buf[3] = (uint8_t)mid;
    w->len = HEADER_BYTES;
    append(w, token);
}

/* Returns the nibble; appends its extension to ext. */
static uint32_t split_extended(uint32_t n, uint8_t *ext, size_t *ext_len)
{
    if (n < 13) {
        return n;
    }
    if (n < 269) {
        ext[(*ext_len)++] = (uint8_t)(n - 13);
        return 13;
    }
    ext[(*ext_len)++] = (uint8_t)((n - 269) >> 8);
    ext[(*ext_len)++] = (uint8_t)(n - 269);
    return 14;
}

void wm_coap_write_opt(struct wm_coap_writer *w, uint32_t number, struct wm_span value)
{
    WM_ASSERT(number >= w->last_number && number <= NUMBER_MAX);
    if (value.len > 65535u + 269u) {
        w->err = w->err ? w->err : WM_ERR_NOSPACE;
        return;
    }
    uint8_t        head[5];
    size_t         head_len = 1;
    const uint32_t delta = split_extended(number - w->last_number, head, &head_len);
    head[0] = (uint8_t)(delta << 4 | split_extended((uint32_t)value.len, head, &head_len));
    if (reserve(w, head_len + value.len)) {
        append(w, wm_span(head, head_len));
        append(w, value);
        w->last_number = number;
    }
}

void wm_coap_write_opt_uint(struct wm_coap_writer *w, uint32_t number, uint32_t value)
{
    const uint8_t raw[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                            (uint8_t)value};
    size_t        zeros = 0;
    while (zeros < sizeof raw && raw[zeros] == 0) {
        zeros++;
    }
    wm_coap_write_opt(w, number, wm_span(raw + zeros, sizeof raw - zeros));
}

void wm_coap_write_payload(struct wm_coap_writer *w, struct wm_span payload)
{
    if (payload.len > 0 && reserve(w, 1 + payload.len)) {
        w->buf[w->len++] = PAYLOAD_MARKER;
        append(w, payload);
    }
}

int wm_coap_write_finish(const struct wm_coap_writer *w)
{
    return w->err ? w->err : (int)w->len;
}

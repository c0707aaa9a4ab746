/* coap_build.h: messages in tests, written by hand rather than with the code under test.
 * Include after the headers that cmocka.h needs. */
#ifndef TEST_COAP_BUILD_H
#define TEST_COAP_BUILD_H

#include "coap/msg.h"

/* A datagram under construction. */
struct build {
    uint8_t  bytes[2048];
    size_t   len;
    uint32_t last;
};

static inline struct build build(uint8_t type, uint8_t code, uint16_t mid, const char *token)
{
    struct build b = {.len = 4};
    b.bytes[0] = (uint8_t)(0x40 | type << 4 | strlen(token));
    b.bytes[1] = code;
    b.bytes[2] = (uint8_t)(mid >> 8);
    b.bytes[3] = (uint8_t)mid;
    memcpy(b.bytes + b.len, token, strlen(token));
    b.len += strlen(token);
    return b;
}

static inline uint8_t build_ext_(uint32_t n)
{
    return n < 13 ? (uint8_t)n : n < 269 ? 13 : 14;
}

static inline void build_ext_bytes_(struct build *b, uint32_t n)
{
    if (n >= 269) {
        b->bytes[b->len++] = (uint8_t)((n - 269) >> 8);
        b->bytes[b->len++] = (uint8_t)(n - 269);
    } else if (n >= 13) {
        b->bytes[b->len++] = (uint8_t)(n - 13);
    }
}

static inline void build_opt(struct build *b, uint32_t number, const void *value, size_t len)
{
    const uint32_t delta = number - b->last;
    b->last = number;
    b->bytes[b->len++] = (uint8_t)(build_ext_(delta) << 4 | build_ext_((uint32_t)len));
    build_ext_bytes_(b, delta);
    build_ext_bytes_(b, (uint32_t)len);
    memcpy(b->bytes + b->len, value, len);
    b->len += len;
}

static inline void build_opt_str(struct build *b, uint32_t number, const char *value)
{
    build_opt(b, number, value, strlen(value));
}

static inline void build_opt_uint(struct build *b, uint32_t number, uint32_t value)
{
    uint8_t raw[4];
    size_t  len = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (len > 0 || value >> shift != 0) {
            raw[len++] = (uint8_t)(value >> shift);
        }
    }
    build_opt(b, number, raw, len);
}

static inline void build_payload(struct build *b, const void *payload, size_t len)
{
    b->bytes[b->len++] = 0xff;
    memcpy(b->bytes + b->len, payload, len);
    b->len += len;
}

static inline struct wm_span build_span(const struct build *b)
{
    return wm_span(b->bytes, b->len);
}

/* The first option of this number; false: none. */
static inline bool find_opt(const struct wm_coap_msg *msg, uint32_t number, struct wm_span *value)
{
    struct wm_coap_opt_iter iter = wm_coap_opts(msg);
    struct wm_coap_opt      opt;
    while (wm_coap_opts_next(&iter, &opt)) {
        if (opt.number == number) {
            *value = opt.value;
            return true;
        }
    }
    return false;
}

/* The same as a number; -1: none. */
static inline int64_t find_uint(const struct wm_coap_msg *msg, uint32_t number)
{
    struct wm_span value;
    uint32_t       n;
    return find_opt(msg, number, &value) && wm_coap_opt_uint(value, &n) == 0 ? (int64_t)n : -1;
}

#endif

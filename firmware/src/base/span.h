/* span.h: borrowed bytes, and a bounded writer. */
#ifndef WM_BASE_SPAN_H
#define WM_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that belong to somebody else; the owner says for how long. */
struct wm_span {
    const uint8_t *ptr; /* may be NULL if len is 0 */
    size_t         len;
};

static inline struct wm_span wm_span(const void *ptr, size_t len)
{
    return (struct wm_span){.ptr = ptr, .len = len};
}

static inline struct wm_span wm_span_str(const char *s)
{
    return wm_span(s, strlen(s));
}

static inline bool wm_span_eq(struct wm_span a, struct wm_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool wm_span_is(struct wm_span a, const char *s)
{
    return wm_span_eq(a, wm_span_str(s));
}

/* memcpy, also of nothing: an empty span may have no address, and memcpy wants one. */
static inline void wm_span_copy(void *dst, struct wm_span from)
{
    if (from.len > 0) {
        memcpy(dst, from.ptr, from.len);
    }
}

#endif

/* hash.h: FNV-1a, 32 bits: cheap, for telling things apart, never for security. */
#ifndef WM_BASE_HASH_H
#define WM_BASE_HASH_H

#include "base/span.h"

#define WM_HASH_START 2166136261u

static inline uint32_t wm_hash(uint32_t h, struct wm_span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        h = (h ^ bytes.ptr[i]) * 16777619u;
    }
    return h;
}

/* The same, and ends the piece, so that "a", "bc" differs from "ab", "c". */
static inline uint32_t wm_hash_piece(uint32_t h, struct wm_span bytes)
{
    return (wm_hash(h, bytes) ^ 0xffu) * 16777619u;
}

#endif

/* sha256.h: SHA-256 (FIPS 180-4), in pieces. */
#ifndef WM_SECURE_SHA256_H
#define WM_SECURE_SHA256_H

#include "base/span.h"

#define WM_SHA256_BYTES 32

struct wm_sha256 {
    uint64_t state[14]; /* the library's own; only sha256.c looks inside */
};

void wm_sha256_init(struct wm_sha256 *sha);
void wm_sha256_update(struct wm_sha256 *sha, struct wm_span bytes);
void wm_sha256_final(struct wm_sha256 *sha, uint8_t digest[WM_SHA256_BYTES]);

#endif

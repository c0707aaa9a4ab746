#include "secure/sha256.h"

#include <assert.h>

#include "sha2.h" /* tinydtls */

static_assert(sizeof(dtls_sha256_ctx) <= sizeof(struct wm_sha256), "wm_sha256 holds the library's context");

void wm_sha256_init(struct wm_sha256 *sha)
{
    dtls_sha256_init((dtls_sha256_ctx *)sha->state);
}

void wm_sha256_update(struct wm_sha256 *sha, struct wm_span bytes)
{
    if (bytes.len > 0) { /* the library asserts a pointer, which an empty span need not have */
        dtls_sha256_update((dtls_sha256_ctx *)sha->state, bytes.ptr, bytes.len);
    }
}

void wm_sha256_final(struct wm_sha256 *sha, uint8_t digest[WM_SHA256_BYTES])
{
    uint32_t words[WM_SHA256_BYTES / 4]; /* the library stores whole words */
    dtls_sha256_final((uint8_t *)words, (dtls_sha256_ctx *)sha->state);
    memcpy(digest, words, sizeof words);
}

/* blob.h: bytes that grow, in a heap. For bodies that arrive or leave in blocks. */
#ifndef WM_BASE_BLOB_H
#define WM_BASE_BLOB_H

#include "base/heap.h"
#include "base/span.h"

struct wm_blob {
    struct wm_heap *heap;
    uint8_t        *bytes; /* owned; NULL while cap is 0; moves when it grows or the heap is tidied */
    size_t          len, cap;
};

/* size_hint: expected bytes in all, 0 if unknown. Returns 0; WM_ERR_NOMEM: the hint does not fit; WM_ERR_BUSY: it does not
 * fit now, because the heap cannot be put in order (wm_heap_tidy). */
int wm_blob_init(struct wm_blob *blob, struct wm_heap *heap, size_t size_hint);

/* Returns 0; WM_ERR_NOMEM, WM_ERR_BUSY: nothing was appended. The heap's keeper must know the blob. */
int wm_blob_append(struct wm_blob *blob, struct wm_span bytes);

/* Give back what was reserved but not used. */
void wm_blob_fit(struct wm_blob *blob);

/* For a heap's keeper: point to where the bytes are about to be moved (wm_heap_pack). */
void wm_blob_packed(struct wm_blob *blob, const void *first);

void wm_blob_free(struct wm_blob *blob);

static inline struct wm_span wm_blob_span(const struct wm_blob *blob)
{
    return wm_span(blob->bytes, blob->len);
}

#endif

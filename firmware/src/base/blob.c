#include "base/blob.h"

#include "wasmote/err.h"

int wm_blob_init(struct wm_blob *blob, struct wm_heap *heap, size_t size_hint)
{
    *blob = (struct wm_blob){.heap = heap};
    if (size_hint > 0) {
        /* High: arenas are many times larger, and a body between two of them keeps their room apart. */
        blob->bytes = wm_heap_alloc_high(heap, size_hint);
        if (blob->bytes == NULL) {
            const int err = wm_heap_tidy(heap, size_hint, NULL);
            if (err) {
                return err;
            }
            blob->bytes = wm_heap_alloc_high(heap, size_hint);
        }
        if (blob->bytes == NULL) {
            return WM_ERR_NOMEM;
        }
        blob->cap = size_hint;
    }
    return 0;
}

int wm_blob_append(struct wm_blob *blob, struct wm_span bytes)
{
    if (bytes.len > blob->cap - blob->len) {
        if (bytes.len > SIZE_MAX / 2 - blob->len) {
            return WM_ERR_NOMEM;
        }
        const size_t need = blob->len + bytes.len;
        /* Half as much again, so that a long body is copied few times; exactly what is needed where
         * memory is short. */
        uint8_t *grown = NULL;
        size_t   cap = need + need / 2;
        grown = wm_heap_resize(blob->heap, blob->bytes, cap);
        if (grown == NULL) {
            cap = need;
            grown = wm_heap_resize(blob->heap, blob->bytes, cap);
        }
        if (grown == NULL) {
            const int err = wm_heap_tidy(blob->heap, need - blob->cap, blob->bytes); /* moves blob->bytes */
            if (err) {
                return err;
            }
            grown = wm_heap_resize(blob->heap, blob->bytes, cap);
        }
        if (grown == NULL) {
            return WM_ERR_NOMEM;
        }
        blob->bytes = grown;
        blob->cap = cap;
    }
    if (bytes.len > 0) { /* or there may be no blob->bytes to count from */
        wm_span_copy(blob->bytes + blob->len, bytes);
        blob->len += bytes.len;
    }
    return 0;
}

void wm_blob_fit(struct wm_blob *blob)
{
    if (blob->len == 0) {
        wm_blob_free(blob);
    } else if (blob->cap > blob->len) {
        blob->bytes = wm_heap_resize(blob->heap, blob->bytes, blob->len);
        blob->cap = blob->len;
    }
}

void wm_blob_packed(struct wm_blob *blob, const void *first)
{
    blob->bytes = wm_heap_packed(blob->heap, first, blob->bytes);
}

void wm_blob_free(struct wm_blob *blob)
{
    if (blob->bytes != NULL) {
        wm_heap_free(blob->heap, blob->bytes);
    }
    blob->bytes = NULL;
    blob->len = blob->cap = 0;
}

/* heap.h: an allocator over one region of RAM. The function pool is one, and each function's arena inside
 * the pool is another. First fit by address, so that what lives long gathers at the low end and
 * the top can be given back; what would part the large pieces goes to the high end. Eight-byte alignment.
 * No locks. */
#ifndef WM_BASE_HEAP_H
#define WM_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* Defined where a heap poisons what it has not handed out: under AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define WM_HEAP_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WM_HEAP_POISONS 1
#endif
#endif

struct wm_heap; /* lives at the start of its region */

/* region: aligned to 8; owned by the heap from now on. Returns NULL if it is too small to hold anything. */
struct wm_heap *wm_heap_init(void *region, size_t region_bytes);

/* Returns NULL when no free piece is large enough. bytes 0 is taken as 1. The content is undefined. */
void *wm_heap_alloc(struct wm_heap *heap, size_t bytes);

/* The same from the high end: the end of the last piece that is large enough. */
void *wm_heap_alloc_high(struct wm_heap *heap, size_t bytes);

/* The whole of the first free piece that has at least min_bytes; *bytes says how many it has. The caller shrinks it
 * (wm_heap_resize) when it knows what it needs. Returns NULL: there is none. */
void *wm_heap_alloc_piece(struct wm_heap *heap, size_t min_bytes, size_t *bytes);

/* ptr may be NULL. Asserts that ptr came from this heap and is in use. */
void wm_heap_free(struct wm_heap *heap, void *ptr);

/* Make the piece at ptr larger or smaller, moving it only if it has to grow and cannot grow in place.
 * Content up to the smaller size is kept. ptr NULL allocates. Returns NULL, the old piece untouched, if it
 * does not fit; shrinking never fails and never moves. */
void *wm_heap_resize(struct wm_heap *heap, void *ptr, size_t bytes);

/* What a piece of this size takes of the heap. */
size_t wm_heap_piece_bytes(size_t bytes);

/* The largest size that wm_heap_alloc would grant now. */
size_t wm_heap_largest(const struct wm_heap *heap);

/* Free bytes in all, counted as one piece: what was free before is free again after everything was given
 * back, however it lies. And bytes that could be allocated in an empty heap. */
size_t wm_heap_free_bytes(const struct wm_heap *heap);
size_t wm_heap_total_bytes(const struct wm_heap *heap);

/* ---- order ----
 * A keeper knows every pointer into a heap, and so can have its pieces moved together. */
struct wm_heap_keeper {
    void *ctx;
    /* Make one free piece of all that is free, and the piece first, if not NULL, the one right above it. Returns 0;
     * WM_ERR_BUSY: not now; WM_ERR_NOMEM: it cannot be done. */
    int (*tidy)(void *ctx, const void *first);
};

/* keeper: borrowed for the life of the heap. */
void wm_heap_set_keeper(struct wm_heap *heap, const struct wm_heap_keeper *keeper);

/* Call this when an allocation, or the growth of the piece first, has failed that needs at least bytes more. Returns 0:
 * try again, all other pointers into the heap are new; WM_ERR_BUSY: there is room, but not now; WM_ERR_NOMEM. */
int wm_heap_tidy(struct wm_heap *heap, size_t bytes, const void *first);

/* For a keeper. Where the piece at ptr will be after wm_heap_pack, which moves all pieces to the high end, first as the
 * lowest. ptr NULL gives NULL. */
void *wm_heap_packed(const struct wm_heap *heap, const void *first, const void *ptr);
void  wm_heap_pack(struct wm_heap *heap, const void *first);

/* Cut the region after its last piece in use. Returns the bytes of the region still needed, counted from its
 * start; the rest is the caller's again. */
size_t wm_heap_trim(struct wm_heap *heap);

#endif

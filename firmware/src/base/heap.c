#include "base/heap.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "wasmote/err.h"

/* The region is the struct, then blocks without gaps, then a sentinel word:
 *
 *     FIRST                tag | content ... (| size, in free blocks only)   tag | ...      end - 4: sentinel
 *
 * A tag is a block's size in bytes, a multiple of 8 that counts the tag, with two flags in its low bits.
 * Tags stand 4 bytes before a multiple of 8, so that contents are aligned to 8 and cost 4 bytes each. A free
 * block repeats its size in its last word; the block after it has PREV_USED clear and finds its start there.
 * Two free blocks never touch. The sentinel is a block in use of size 0. */
#define TAG_BYTES   4u
#define MIN_REGION  (FIRST + 8u + TAG_BYTES)
#define USED        1u
#define PREV_USED   2u
#define SIZE_MASK   (~7u)
#define MAX_REGION  0x7ffffff8u

struct wm_heap {
    uint32_t end;    /* bytes of the region that belong to the heap */
    uint32_t lowest; /* no free block lies below this offset */
    const struct wm_heap_keeper *keeper; /* NULL: pieces stay where they are */
};

#define FIRST ((uint32_t)(sizeof(struct wm_heap) + 3u) / 8u * 8u + TAG_BYTES)

/* Under AddressSanitizer whatever is not handed out is poisoned, to the byte. Arenas nest: the outer heap
 * unpoisons a piece as a whole before the inner one poisons what it keeps back. */
#ifdef WM_HEAP_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(ptr, len)   __asan_poison_memory_region(ptr, len)
#define UNPOISON(ptr, len) __asan_unpoison_memory_region(ptr, len)
#define NO_ASAN            __attribute__((no_sanitize("address"), noinline))
#else
#define POISON(ptr, len)   ((void)0)
#define UNPOISON(ptr, len) ((void)0)
#define NO_ASAN            inline
#endif

static NO_ASAN uint32_t get(const struct wm_heap *h, uint32_t off)
{
    return *(const uint32_t *)(const void *)((const uint8_t *)h + off);
}

static NO_ASAN void set(struct wm_heap *h, uint32_t off, uint32_t word)
{
    *(uint32_t *)(void *)((uint8_t *)h + off) = word;
}

static void *content(struct wm_heap *h, uint32_t block)
{
    return (uint8_t *)h + block + TAG_BYTES;
}

static uint32_t size_of(const struct wm_heap *h, uint32_t block)
{
    return get(h, block) & SIZE_MASK;
}

static bool is_free(const struct wm_heap *h, uint32_t block)
{
    return (get(h, block) & USED) == 0;
}

/* Make [block, block + size) one free block. What lies beside it is in use. */
static void make_free(struct wm_heap *h, uint32_t block, uint32_t size)
{
    set(h, block, size | PREV_USED);
    set(h, block + size - TAG_BYTES, size);
    set(h, block + size, get(h, block + size) & ~PREV_USED);
    POISON(content(h, block), size);
    if (block < h->lowest) {
        h->lowest = block;
    }
}

/* Make the first need bytes of [block, block + size) a block in use, the rest, if any, a free one. What lies
 * beside it is in use. */
static void make_used(struct wm_heap *h, uint32_t block, uint32_t size, uint32_t need)
{
    set(h, block, need | USED | PREV_USED);
    if (size > need) {
        make_free(h, block + need, size - need);
    } else {
        set(h, block + size, get(h, block + size) | PREV_USED);
    }
}

/* Size of a block that holds bytes; 0: more than any region has. */
static uint32_t block_size(size_t bytes)
{
    if (bytes > MAX_REGION - 8u) {
        return 0;
    }
    if (bytes == 0) {
        bytes = 1;
    }
    return ((uint32_t)bytes + TAG_BYTES + 7u) & SIZE_MASK;
}

/* The block in use that ptr is the content of; asserts that there is one. */
static uint32_t block_of(const struct wm_heap *h, const void *ptr)
{
    const uintptr_t base = (uintptr_t)h, at = (uintptr_t)ptr;
    WM_ASSERT(at >= base + FIRST + TAG_BYTES && at < base + h->end && at % 8 == 0);
    const uint32_t block = (uint32_t)(at - base) - TAG_BYTES;
    const uint32_t tag = get(h, block), size = tag & SIZE_MASK;
    WM_ASSERT((tag & USED) != 0 && size != 0 && size <= h->end - TAG_BYTES - block);
    WM_ASSERT((get(h, block + size) & PREV_USED) != 0);
    return block;
}

struct wm_heap *wm_heap_init(void *region, size_t region_bytes)
{
    WM_ASSERT((uintptr_t)region % 8 == 0);
    if (region_bytes > MAX_REGION) {
        region_bytes = MAX_REGION;
    }
    const uint32_t end = (uint32_t)region_bytes & SIZE_MASK;
    if (end < MIN_REGION) {
        return NULL;
    }
    struct wm_heap *h = region;
    h->end = end;
    h->lowest = FIRST;
    h->keeper = NULL;
    set(h, end - TAG_BYTES, USED);
    POISON((uint8_t *)region + end - TAG_BYTES, TAG_BYTES);
    make_free(h, FIRST, end - TAG_BYTES - FIRST);
    return h;
}

void *wm_heap_alloc(struct wm_heap *heap, size_t bytes)
{
    const uint32_t need = block_size(bytes);
    if (need == 0) {
        return NULL;
    }
    bool passed_free = false;
    for (uint32_t at = heap->lowest; at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        if (!is_free(heap, at)) {
            continue;
        }
        if (size_of(heap, at) >= need) {
            make_used(heap, at, size_of(heap, at), need);
            if (!passed_free) {
                heap->lowest = at + need;
            }
            UNPOISON(content(heap, at), bytes ? bytes : 1);
            return content(heap, at);
        }
        if (!passed_free) {
            heap->lowest = at;
            passed_free = true;
        }
    }
    return NULL;
}

/* Take the last need bytes of a free block; they become a block of their own. The poison is off bytes of it. */
static void *take_end(struct wm_heap *h, uint32_t block, uint32_t need, size_t bytes)
{
    (void)bytes;
    const uint32_t size = size_of(h, block), rest = size - need, at = block + rest;
    if (rest > 0) {
        set(h, at, need | USED);
        set(h, at + need, get(h, at + need) | PREV_USED);
        make_free(h, block, rest);
    } else {
        make_used(h, block, size, need);
        if (h->lowest == block) {
            h->lowest = block + size;
        }
    }
    UNPOISON(content(h, at), bytes ? bytes : 1);
    return content(h, at);
}

void *wm_heap_alloc_high(struct wm_heap *heap, size_t bytes)
{
    const uint32_t need = block_size(bytes);
    uint32_t last = 0;
    for (uint32_t at = heap->lowest; need > 0 && at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        if (is_free(heap, at) && size_of(heap, at) >= need) {
            last = at;
        }
    }
    return last > 0 ? take_end(heap, last, need, bytes) : NULL;
}

void *wm_heap_alloc_piece(struct wm_heap *heap, size_t min_bytes, size_t *bytes)
{
    const uint32_t need = block_size(min_bytes);
    for (uint32_t at = heap->lowest; need > 0 && at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        if (is_free(heap, at) && size_of(heap, at) >= need) {
            *bytes = size_of(heap, at) - TAG_BYTES;
            return take_end(heap, at, size_of(heap, at), *bytes);
        }
    }
    return NULL;
}

void wm_heap_free(struct wm_heap *heap, void *ptr)
{
    if (!ptr) {
        return;
    }
    uint32_t block = block_of(heap, ptr), size = size_of(heap, block);
    if (is_free(heap, block + size)) {
        size += size_of(heap, block + size);
    }
    if ((get(heap, block) & PREV_USED) == 0) {
        const uint32_t before = get(heap, block - TAG_BYTES);
        set(heap, block, 0); /* so that freeing it twice is noticed */
        block -= before;
        size += before;
    }
    make_free(heap, block, size);
}

void *wm_heap_resize(struct wm_heap *heap, void *ptr, size_t bytes)
{
    if (!ptr) {
        return wm_heap_alloc(heap, bytes);
    }
    const uint32_t block = block_of(heap, ptr), size = size_of(heap, block), need = block_size(bytes);
    if (need == 0) {
        return NULL;
    }
    const uint32_t flags = get(heap, block) & PREV_USED;
    const uint32_t after = is_free(heap, block + size) ? size_of(heap, block + size) : 0;
    if (need <= size + after) {
        if (need < size || (need > size && after)) {
            if (heap->lowest == block + size) {
                heap->lowest = block + need;
            }
            make_used(heap, block, size + after, need);
            set(heap, block, need | USED | flags);
        }
        POISON(ptr, need - TAG_BYTES);
        UNPOISON(ptr, bytes ? bytes : 1);
        return ptr;
    }
    UNPOISON(ptr, size - TAG_BYTES);
    void *moved = wm_heap_alloc(heap, bytes);
    if (moved) {
        memcpy(moved, ptr, size - TAG_BYTES);
        wm_heap_free(heap, ptr);
        return moved;
    }
    /* The last resort: slide down into a free block before it. */
    const uint32_t before = flags ? 0 : get(heap, block - TAG_BYTES);
    if (before == 0 || before + size + after < need) {
        return NULL;
    }
    const uint32_t start = block - before;
    UNPOISON(content(heap, start), before + size - TAG_BYTES);
    memmove(content(heap, start), ptr, size - TAG_BYTES);
    if (heap->lowest == start) {
        heap->lowest = start + need;
    }
    make_used(heap, start, before + size + after, need);
    POISON(content(heap, start), need - TAG_BYTES);
    UNPOISON(content(heap, start), bytes ? bytes : 1);
    return content(heap, start);
}

size_t wm_heap_piece_bytes(size_t bytes)
{
    return block_size(bytes);
}

size_t wm_heap_largest(const struct wm_heap *heap)
{
    uint32_t best = 0;
    for (uint32_t at = heap->lowest; at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        if (is_free(heap, at) && size_of(heap, at) > best) {
            best = size_of(heap, at);
        }
    }
    return best ? best - TAG_BYTES : 0;
}

size_t wm_heap_free_bytes(const struct wm_heap *heap)
{
    size_t sum = 0;
    for (uint32_t at = heap->lowest; at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        if (is_free(heap, at)) {
            sum += size_of(heap, at);
        }
    }
    return sum ? sum - TAG_BYTES : 0;
}

size_t wm_heap_total_bytes(const struct wm_heap *heap)
{
    return heap->end - TAG_BYTES - FIRST - TAG_BYTES;
}

/* ---- order ---- */

void wm_heap_set_keeper(struct wm_heap *heap, const struct wm_heap_keeper *keeper)
{
    heap->keeper = keeper;
}

int wm_heap_tidy(struct wm_heap *heap, size_t bytes, const void *first)
{
    const size_t free_bytes = wm_heap_free_bytes(heap);
    const bool   in_order = first == NULL && wm_heap_largest(heap) == free_bytes;
    if (heap->keeper == NULL || in_order || free_bytes < bytes) {
        return WM_ERR_NOMEM;
    }
    return heap->keeper->tidy(heap->keeper->ctx, first);
}

void *wm_heap_packed(const struct wm_heap *heap, const void *first, const void *ptr)
{
    if (ptr == NULL) {
        return NULL;
    }
    const uint32_t block = block_of(heap, ptr);
    uint32_t       from = heap->end - TAG_BYTES; /* where what comes next will begin, from the end on */
    for (uint32_t at = FIRST; at < heap->end - TAG_BYTES; at += size_of(heap, at)) {
        const bool behind = ptr == first || (at >= block && content((struct wm_heap *)(uintptr_t)heap, at) != first);
        if (behind && !is_free(heap, at)) {
            from -= size_of(heap, at);
        }
    }
    return (uint8_t *)(uintptr_t)heap + from + TAG_BYTES;
}

static void reverse(struct wm_heap *h, uint32_t from, uint32_t to)
{
    for (to -= 4; from < to; from += 4, to -= 4) {
        const uint32_t word = get(h, from);
        set(h, from, get(h, to));
        set(h, to, word);
    }
}

void wm_heap_pack(struct wm_heap *heap, const void *first)
{
    uint8_t *const base = (uint8_t *)heap;
    const uint32_t sentinel = heap->end - TAG_BYTES;
    uint32_t       to = FIRST, size;
    UNPOISON(base + FIRST, sentinel - FIRST);
    for (uint32_t at = FIRST; at < sentinel; at += size) {
        size = size_of(heap, at);
        if (!is_free(heap, at)) {
            const bool lead = content(heap, at) == first;
            memmove(base + to, base + at, size);
            set(heap, to, size | USED | PREV_USED);
            if (lead) { /* those before it change places with it */
                reverse(heap, FIRST, to);
                reverse(heap, to, to + size);
                reverse(heap, FIRST, to + size);
            }
            to += size;
        }
    }
    const uint32_t gap = sentinel - to;
    memmove(base + FIRST + gap, base + FIRST, to - FIRST);
    for (uint32_t at = FIRST + gap; at < sentinel; at += size_of(heap, at)) {
        POISON(base + at, TAG_BYTES);
    }
    set(heap, sentinel, USED | PREV_USED);
    heap->lowest = FIRST + gap;
    if (gap > 0) {
        make_free(heap, FIRST, gap);
    }
}

size_t wm_heap_trim(struct wm_heap *heap)
{
    const uint32_t sentinel = heap->end - TAG_BYTES;
    if ((get(heap, sentinel) & PREV_USED) == 0) {
        const uint32_t last = sentinel - get(heap, sentinel - TAG_BYTES);
        UNPOISON((uint8_t *)heap + last, heap->end - last);
        heap->end = last + TAG_BYTES;
        set(heap, last, USED | PREV_USED);
        POISON((uint8_t *)heap + last, TAG_BYTES);
        if (heap->lowest > last) {
            heap->lowest = last;
        }
    }
    return heap->end;
}

/* image.h: a module and its instance: what a function is made of, and what is replaced as a whole.
 *
 *     (record, module and digest are set) -> examine -> open -> calls -> close, and open again for a fresh instance
 *
 * An open image is its arena, which holds pointers and cannot be moved, and its state, which can while it sleeps:
 *
 *     open -> sleep -> (module and state may be moved) -> open: the same instance */
#ifndef WM_FUNCTIONS_IMAGE_H
#define WM_FUNCTIONS_IMAGE_H

#include "base/heap.h"
#include "secure/sha256.h"
#include "wasm/engine.h"

struct wm_image {
    int               record; /* in the store; owned */
    struct wm_span    module; /* its bytes */
    struct wm_section section;
    struct wm_quotas  quotas;
    uint8_t           digest[WM_SHA256_BYTES];
    void             *state; /* its memory and globals, in the pool; owned; NULL while stopped */
    void             *arena; /* the rest, in the pool; owned; NULL while it sleeps or is stopped */
    size_t            state_bytes;
    size_t            arena_bytes; /* while stopped: what it took last, or one like it; 0: unknown */
    size_t            peak_bytes;  /* arena in which it can be opened again; 0: unknown */
    struct wm_engine *engine; /* in the arena */
};

/* Validate the module, read what it says of itself, settle its quotas. Returns 0; WM_ERR_UNSUPPORTED: refused, and why;
 * WM_ERR_NOMEM: no room in the pool even for that. */
int wm_image_examine(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused);

/* Make an instance in the pool, or wake the one that sleeps. image->arena_bytes may hold what one took before, as a hint. Returns 0; WM_ERR_UNSUPPORTED;
 * WM_ERR_NOMEM: nothing has changed. */
int wm_image_open(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused);

/* The same, but take memory as it lies: what wm_heap_tidy itself can use. */
int wm_image_wake(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused);

/* Give back the arena, keep the state. The image must be open. */
void wm_image_sleep(struct wm_heap *pool, struct wm_image *image);

/* For the pool's keeper: the state of one that sleeps is about to be moved (wm_heap_pack). */
void wm_image_packed(struct wm_heap *pool, struct wm_image *image, const void *first);

/* Bytes of the pool that it takes: module, arena and state. */
size_t wm_image_ram_bytes(const struct wm_image *image);

/* Free the instance, if there is one. */
void wm_image_close(struct wm_heap *pool, struct wm_image *image);

#endif

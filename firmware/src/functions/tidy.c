/* tidy.c: instances sleep while the pool is put in order. firmware/DESIGN.md tells why.
 *
 * To wake takes more memory for a moment than what stays, so an instance may only sleep if it is sure to wake. Waking
 * those first whose need differs most from what stays is the order that needs least: if it does not work, none does. */
#include "functions/functions.h"

static size_t surplus(const struct wm_function *fn)
{
    return fn->image.peak_bytes - fn->image.arena_bytes;
}

/* Those that are awake, by falling surplus. */
static int sort(const struct wm_functions *fs, uint8_t order[WM_FUNCTIONS])
{
    int count = 0;
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        if (fs->table[i].image.engine == NULL) {
            continue;
        }
        int at = count++;
        for (; at > 0 && surplus(&fs->table[order[at - 1]]) < surplus(&fs->table[i]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = (uint8_t)i;
    }
    return count;
}

/* Bytes that one piece would have if all that is free, and the arenas of these, were one. */
static size_t room_for(const struct wm_functions *fs, const uint8_t *order, int count)
{
    const size_t free_bytes = wm_heap_free_bytes(fs->pool);
    size_t       room = free_bytes > 0 ? wm_heap_piece_bytes(free_bytes) : 0;
    for (int i = 0; i < count; i++) {
        room += wm_heap_piece_bytes(fs->table[order[i]].image.arena_bytes);
    }
    return room;
}

static bool would_wake(const struct wm_functions *fs, const uint8_t *order, int count)
{
    size_t room = room_for(fs, order, count);
    for (int i = 0; i < count; i++) {
        const struct wm_image *image = &fs->table[order[i]].image;
        if (room < wm_heap_piece_bytes(image->peak_bytes)) {
            return false;
        }
        room -= wm_heap_piece_bytes(image->arena_bytes);
    }
    return true;
}

bool wm_functions_could_restart(const struct wm_functions *fs, const struct wm_function *fn)
{
    uint8_t       order[WM_FUNCTIONS];
    const uint8_t place = (uint8_t)(fn - fs->table);
    return room_for(fs, &place, fn->image.engine != NULL) >= wm_heap_piece_bytes(fn->image.peak_bytes) &&
           would_wake(fs, order, sort(fs, order));
}

int wm_functions_sleep(struct wm_functions *fs, uint8_t order[WM_FUNCTIONS])
{
    if (fs->running != NULL) {
        return WM_ERR_BUSY;
    }
    const int count = sort(fs, order);
    if (!would_wake(fs, order, count)) {
        return WM_ERR_NOMEM;
    }
    for (int i = 0; i < count; i++) {
        wm_image_sleep(fs->pool, &fs->table[order[i]].image);
    }
    return count;
}

static void follow(struct wm_functions *fs, struct wm_image *image, const void *first)
{
    image->module = wm_store_bytes(fs->store, image->record);
    wm_image_packed(fs->pool, image, first);
}

void wm_functions_packed(struct wm_functions *fs, const void *first)
{
    fs->tidied++;
    fs->last.fn = NULL;
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        if (fs->table[i].name[0] != '\0') {
            follow(fs, &fs->table[i].image, first);
        }
    }
    if (fs->making != NULL) {
        follow(fs, fs->making, first);
    }
}

void wm_functions_wake(struct wm_functions *fs, const uint8_t order[WM_FUNCTIONS], int count)
{
    for (size_t i = 0; i < WM_FUNCTIONS; i++) { /* sections borrow from their modules */
        if (fs->table[i].name[0] != '\0') {
            (void)wm_section_read(fs->table[i].image.module, &fs->table[i].image.section);
        }
    }
    if (fs->making != NULL) {
        (void)wm_section_read(fs->making->module, &fs->making->section);
    }
    for (int i = 0; i < count; i++) {
        struct wm_refused ignored;
        /* It has been made before, and there is room. Should it fail, it sleeps on with all it knows, and its next call
         * tries again. */
        (void)wm_image_wake(fs->pool, &fs->table[order[i]].image, &ignored);
    }
}

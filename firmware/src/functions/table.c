#include "base/assert.h"
#include "functions/functions.h"

void wm_functions_init(struct wm_functions *fs, struct wm_heap *pool, struct wm_store *store)
{
    memset(fs, 0, sizeof *fs);
    fs->pool = pool;
    fs->store = store;
}

bool wm_name_ok(struct wm_span name)
{
    if (name.len == 0 || name.len >= WM_NAME_BYTES || name.ptr[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        const uint8_t c = name.ptr[i];
        const bool    letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.') {
            return false;
        }
    }
    return true;
}

struct wm_function *wm_functions_find(struct wm_functions *fs, struct wm_span name)
{
    if (name.len == 0) { /* would match a free place */
        return NULL;
    }
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        if (wm_span_is(name, fs->table[i].name)) {
            return &fs->table[i];
        }
    }
    return NULL;
}

int wm_functions_remove(struct wm_functions *fs, struct wm_span name)
{
    struct wm_function *fn = wm_functions_find(fs, name);
    if (fn == NULL) {
        return WM_ERR_NOTFOUND;
    }
    if (fn == fs->running) {
        return WM_ERR_BUSY;
    }
    fs->last.fn = NULL;
    wm_image_close(fs->pool, &fn->image);
    wm_store_drop(fs->store, fn->image.record);
    memset(fn, 0, sizeof *fn);
    return 0;
}

int wm_function_refresh(struct wm_functions *fs, struct wm_function *fn)
{
    WM_ASSERT(fn != fs->running);
    if (fn->image.engine != NULL && !fn->stale) {
        return 0;
    }
    struct wm_refused refused;
    if (fn->stale) {
        wm_image_close(fs->pool, &fn->image);
    }
    const int err = wm_image_open(fs->pool, &fn->image, &refused);
    if (err == 0) {
        fn->stale = false;
    }
    return err;
}

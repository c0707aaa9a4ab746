/* install.c: a new version beside the old one, and the swap. */
#include "base/assert.h"
#include "functions/functions.h"

static struct wm_function *free_place(struct wm_functions *fs)
{
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        if (fs->table[i].name[0] == '\0') {
            return &fs->table[i];
        }
    }
    return NULL;
}

static int make(struct wm_functions *fs, struct wm_image *next, struct wm_install *report)
{
    fs->making = next;
    int err = wm_image_examine(fs->pool, next, &report->refused);
    if (err == 0) {
        err = wm_image_open(fs->pool, next, &report->refused);
    }
    fs->making = NULL;
    return err;
}

/* Start the one again that was stopped. The refused module, of whose bytes the refusal tells, may be moved by it. */
static bool restart(struct wm_functions *fs, struct wm_image *old, struct wm_image *next, struct wm_refused *why)
{
    struct wm_refused    ignored;
    const uint8_t *const was = next->module.ptr;
    fs->making = next;
    const bool started = wm_image_open(fs->pool, old, &ignored) == 0;
    fs->making = NULL;
    if (why->import_module.ptr != NULL) {
        why->import_module.ptr = next->module.ptr + (why->import_module.ptr - was);
        why->import_name.ptr = next->module.ptr + (why->import_name.ptr - was);
    }
    return started;
}

/* Make next beside what runs; where RAM is too small for both, stop the old one, try, and start the old one again. */
static int make_beside_or_instead(struct wm_functions *fs, struct wm_function *fn, struct wm_image *next,
                                  struct wm_install *report)
{
    int err = make(fs, next, report);
    if (err != WM_ERR_NOMEM || fn == NULL || fn->image.state == NULL || !wm_functions_could_restart(fs, fn)) {
        return err;
    }
    struct wm_image *old = &fn->image;
    wm_image_close(fs->pool, old);
    err = make(fs, next, report);
    if (err) {
        /* It fits, as was asked before. Should its start function fail this time, it stays stopped and its next
         * call tries once more (wm_function_refresh). */
        report->restarted = restart(fs, old, next, &report->refused);
    }
    return err;
}

int wm_functions_install(struct wm_functions *fs, struct wm_span name, int record, const uint8_t digest[WM_SHA256_BYTES],
                         struct wm_install *report)
{
    WM_ASSERT(wm_name_ok(name));
    *report = (struct wm_install){.refused = {.function = -1, .offset = -1}};
    struct wm_function *fn = wm_functions_find(fs, name);
    report->replaced = fn != NULL;
    struct wm_function *place = fn != NULL ? fn : free_place(fs);
    struct wm_image     next = {.record = record, .module = wm_store_seal(fs->store, record)};
    memcpy(next.digest, digest, sizeof next.digest);

    int err = place == NULL ? WM_ERR_NOSPACE : fs->running != NULL ? WM_ERR_BUSY : 0;
    if (!err) {
        next.arena_bytes = fn != NULL ? fn->image.arena_bytes : 0;
        err = make_beside_or_instead(fs, fn, &next, report);
    }
    char plain[WM_NAME_BYTES] = "";
    memcpy(plain, name.ptr, name.len);
    if (!err) {
        err = wm_store_activate(fs->store, record, plain); /* the last write: from here on the new one is it */
        if (err) {
            wm_image_close(fs->pool, &next);
        }
    }
    if (err) {
        report->need_bytes = report->refused.need_bytes;
        report->free_bytes = wm_heap_largest(fs->pool);
        return err;
    }
    if (fn != NULL) {
        wm_image_close(fs->pool, &fn->image);
        wm_store_drop(fs->store, fn->image.record);
    }
    /* Counters belong to the name, so a replacement keeps them. */
    memcpy(place->name, plain, sizeof plain);
    fs->last.fn = NULL;
    place->image = next;
    place->stale = false;
    return 0;
}

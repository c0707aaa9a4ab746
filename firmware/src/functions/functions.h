/* functions.h: the table of functions: install, swap, remove. A function is a name, a module's bytes in the store, and an
 * instance of it in the pool.
 *
 * Replacing keeps the old instance until the new one runs: the table entry is swapped between two requests. */
#ifndef WM_FUNCTIONS_FUNCTIONS_H
#define WM_FUNCTIONS_FUNCTIONS_H

#include "functions/image.h"
#include "store/store.h"

struct wm_function {
    char            name[WM_NAME_BYTES]; /* empty: a free place in the table */
    struct wm_image image;
    bool            stale; /* a trap left its memory half-changed: the next call gets a fresh instance */
    uint32_t        calls, traps;
    uint64_t        fuel;
    uint32_t        logged, logged_ms; /* thousandths of a line that count against its log quota, and since when */
};

struct wm_target {
    struct wm_export    export;
    struct wm_signature signature;
    bool                bytes; /* called with streams: () -> () or () -> (i32) */
    bool                pure, idempotent;
};

#define WM_TARGET_REF_BYTES 24 /* longer references are resolved anew each time */

struct wm_functions {
    struct wm_heap    *pool;
    struct wm_store   *store;
    struct wm_function table[WM_FUNCTIONS];
    struct wm_image    *making;  /* an image outside of the table that is being opened; NULL: none */
    uint32_t            tidied;  /* how often the pool was put in order */
    struct wm_function *running; /* whose engine is in use; must not be replaced or removed. NULL: none */
    uint32_t           calls, traps;
    uint64_t           fuel;
    struct {
        const struct wm_function *fn; /* NULL: nothing is remembered. Install and remove forget. */
        uint8_t                   ref_len, ref[WM_TARGET_REF_BYTES];
        struct wm_target          target;
    } last; /* resolved by wm_functions_target */
};

/* Why an installation failed, or what it did. */
struct wm_install {
    bool              replaced;  /* there was one of this name */
    bool              restarted; /* the old one had to stop to make room, and runs again, its memory fresh */
    struct wm_refused refused;   /* for WM_ERR_UNSUPPORTED */
    size_t            need_bytes, free_bytes; /* for WM_ERR_NOMEM, where known */
};

/* store and pool are borrowed for the life of the table. */
void wm_functions_init(struct wm_functions *fs, struct wm_heap *pool, struct wm_store *store);

/* 1 to 31 bytes of a-z A-Z 0-9 _ - . and not starting with a dot. */
bool wm_name_ok(struct wm_span name);

/* NULL: no such function. Valid until it is removed. */
struct wm_function *wm_functions_find(struct wm_functions *fs, struct wm_span name);

/* Make the record run under name, and take it over; on failure it stays the caller's, sealed, because the report may point
 * into it.
 * Returns 0; WM_ERR_NOSPACE: the table is full; WM_ERR_NOMEM: the pool is; WM_ERR_UNSUPPORTED: the module is refused, see
 * report->refused; WM_ERR_BUSY: this function is running; WM_ERR_IO. On any failure the old function, if any, is in place. */
int wm_functions_install(struct wm_functions *fs, struct wm_span name, int record, const uint8_t digest[WM_SHA256_BYTES],
                         struct wm_install *report);

/* Returns 0; WM_ERR_NOTFOUND; WM_ERR_BUSY: it is running. */
int wm_functions_remove(struct wm_functions *fs, struct wm_span name);

/* Give fn a fresh instance if it is stale or stopped. Returns 0 or as wm_functions_install. */
int wm_function_refresh(struct wm_functions *fs, struct wm_function *fn);

/* ---- order in the pool ----
 * For its keeper: sleep -> every owner's packed() -> wm_heap_pack -> wake. */

/* Put all instances to sleep. Returns how many, and which in order; or WM_ERR_BUSY: one is running; WM_ERR_NOMEM: there is
 * not the room to wake them all. On failure all are as they were. packed comes after the store's. */
int  wm_functions_sleep(struct wm_functions *fs, uint8_t order[WM_FUNCTIONS]);
void wm_functions_packed(struct wm_functions *fs, const void *first);
void wm_functions_wake(struct wm_functions *fs, const uint8_t order[WM_FUNCTIONS], int count);

/* Whether fn, once stopped, is sure to find the room that a start takes, unless somebody else takes more. */
bool wm_functions_could_restart(const struct wm_functions *fs, const struct wm_function *fn);

/* ---- exports ---- */

/* The n-th function export. Returns 0 or WM_ERR_NOTFOUND. *index: in the export section, for `:N`; start with 0, it moves on. */
int wm_function_next(const struct wm_function *fn, uint32_t *index, struct wm_target *out);

/* Resolve an export's name, `:N`, or the default (empty). Returns 0 or WM_ERR_NOTFOUND. */
int wm_function_target(const struct wm_function *fn, struct wm_span export_name, struct wm_target *out);

/* The same, and remembers it: a call asks twice, when it comes and when it runs, and calls come in rows. */
int wm_functions_target(struct wm_functions *fs, const struct wm_function *fn, struct wm_span export_name, struct wm_target *out);

#endif

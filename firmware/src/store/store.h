/* store.h: where modules live, as records of bytes in one piece.
 *
 *     begin -> append, append, ... -> seal -> (the bytes can be read in place) -> activate
 *     drop at any time: an open record is aborted, a sealed one is deleted
 *
 * A record's bytes move only when their owner lets the heap be put in order (wm_store_packed). An active record of the same
 * name is superseded by activate, not dropped: its reader decides when it is no longer needed.
 *
 * This implementation keeps records in RAM (ram.c): they are gone after a reset. */
#ifndef WM_STORE_STORE_H
#define WM_STORE_STORE_H

#include "base/blob.h"
#include "wasmote/config.h"

/* Every function may have its record and a newer one that is about to replace it; uploads have theirs. */
#define WM_STORE_RECORDS (WM_FUNCTIONS + WM_UPLOADS + 1)

struct wm_store_record {
    struct wm_blob bytes;
    uint8_t        state; /* ram.c */
};

struct wm_store {
    struct wm_heap        *heap;
    struct wm_store_record records[WM_STORE_RECORDS];
};

/* heap is borrowed for the life of the store. */
void wm_store_init(struct wm_store *st, struct wm_heap *heap);

/* size_bytes: as announced, 0 if unknown. Returns a record >= 0; WM_ERR_NOSPACE: too many records; WM_ERR_NOMEM,
 * WM_ERR_BUSY (wm_blob_init). */
int wm_store_begin(struct wm_store *st, size_t size_bytes);

/* Returns 0; WM_ERR_NOMEM, WM_ERR_BUSY (wm_blob_append): nothing was appended. */
int wm_store_append(struct wm_store *st, int record, struct wm_span bytes);

/* No more bytes follow. Returns them; borrowed until drop or wm_store_packed. */
struct wm_span wm_store_seal(struct wm_store *st, int record);

/* The bytes of a sealed record, where they are or are about to be. */
struct wm_span wm_store_bytes(struct wm_store *st, int record);

/* Make a sealed record the one that name stands for after the next start. Returns 0; WM_ERR_IO: only a restart tells. */
int wm_store_activate(struct wm_store *st, int record, const char *name);

void wm_store_drop(struct wm_store *st, int record);

/* For the heap's keeper: all records are about to be moved (wm_heap_pack). */
void wm_store_packed(struct wm_store *st, const void *first);

/* The most that a record could take now, in bytes. */
size_t wm_store_largest(const struct wm_store *st);

#endif

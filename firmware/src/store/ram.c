#include "base/assert.h"
#include "store/store.h"

enum { FREE, OPEN, SEALED };

static struct wm_store_record *at(struct wm_store *st, int record, int state)
{
    WM_ASSERT(record >= 0 && record < WM_STORE_RECORDS && st->records[record].state == state);
    return &st->records[record];
}

void wm_store_init(struct wm_store *st, struct wm_heap *heap)
{
    *st = (struct wm_store){.heap = heap};
}

int wm_store_begin(struct wm_store *st, size_t size_bytes)
{
    for (int i = 0; i < WM_STORE_RECORDS; i++) {
        struct wm_store_record *rec = &st->records[i];
        if (rec->state == FREE) {
            const int err = wm_blob_init(&rec->bytes, st->heap, size_bytes);
            if (err) {
                return err;
            }
            rec->state = OPEN;
            return i;
        }
    }
    return WM_ERR_NOSPACE;
}

int wm_store_append(struct wm_store *st, int record, struct wm_span bytes)
{
    return wm_blob_append(&at(st, record, OPEN)->bytes, bytes);
}

struct wm_span wm_store_seal(struct wm_store *st, int record)
{
    struct wm_store_record *rec = at(st, record, OPEN);
    wm_blob_fit(&rec->bytes);
    rec->state = SEALED;
    return wm_blob_span(&rec->bytes);
}

struct wm_span wm_store_bytes(struct wm_store *st, int record)
{
    return wm_blob_span(&at(st, record, SEALED)->bytes);
}

int wm_store_activate(struct wm_store *st, int record, const char *name)
{
    (void)at(st, record, SEALED);
    (void)name; /* nothing outlives a reset here */
    return 0;
}

void wm_store_drop(struct wm_store *st, int record)
{
    WM_ASSERT(record >= 0 && record < WM_STORE_RECORDS && st->records[record].state != FREE);
    wm_blob_free(&st->records[record].bytes);
    st->records[record].state = FREE;
}

void wm_store_packed(struct wm_store *st, const void *first)
{
    for (int i = 0; i < WM_STORE_RECORDS; i++) {
        if (st->records[i].state != FREE) {
            wm_blob_packed(&st->records[i].bytes, first);
        }
    }
}

size_t wm_store_largest(const struct wm_store *st)
{
    return wm_heap_largest(st->heap);
}

/* cbor.h: CBOR in and out; the only user of zcbor.
 *
 * Out: to a sink, item by item, so that nothing has to fit a buffer at once. Containers are announced with
 * their number of items, as in RFC 8949, 3.2 (definite length). In: over a borrowed span. */
#ifndef WM_BASE_CBOR_H
#define WM_BASE_CBOR_H

#include "base/sink.h"

void wm_cbor_uint(struct wm_sink *out, uint64_t value);
void wm_cbor_int(struct wm_sink *out, int64_t value);
void wm_cbor_float32(struct wm_sink *out, uint32_t bits); /* NaN payloads survive: bits in, bits out */
void wm_cbor_float64(struct wm_sink *out, uint64_t bits);
void wm_cbor_bool(struct wm_sink *out, bool value);
void wm_cbor_text(struct wm_sink *out, struct wm_span utf8);
void wm_cbor_str(struct wm_sink *out, const char *s);
void wm_cbor_bytes(struct wm_sink *out, struct wm_span bytes);
void wm_cbor_bytes_head(struct wm_sink *out, size_t len); /* the len bytes follow by wm_sink_put */
void wm_cbor_array(struct wm_sink *out, size_t items);
void wm_cbor_map(struct wm_sink *out, size_t pairs);

enum wm_cbor_kind {
    WM_CBOR_UINT, WM_CBOR_NINT, WM_CBOR_BYTES, WM_CBOR_TEXT, WM_CBOR_ARRAY, WM_CBOR_MAP,
    WM_CBOR_TAG, WM_CBOR_FLOAT16, WM_CBOR_FLOAT32, WM_CBOR_FLOAT64, WM_CBOR_SIMPLE, WM_CBOR_BREAK,
};

/* One item's head. */
struct wm_cbor_item {
    enum wm_cbor_kind kind;
    bool              indefinite; /* container or string of indefinite length */
    uint64_t          value; /* UINT: n; NINT: n of -1 - n; lengths; pairs; tag; SIMPLE: number; floats: bits */
    struct wm_span    bytes; /* BYTES, TEXT: the content, borrowed from the input */
};

struct wm_cbor_reader {
    struct wm_span rest;
};

/* Read the next item's head; strings are read whole, containers are entered. Text is not checked to be UTF-8.
 * Returns 0; WM_ERR_TRUNCATED; WM_ERR_MALFORMED; WM_ERR_UNSUPPORTED: a string in chunks. On an error the
 * reader stays where it was. */
int wm_cbor_next(struct wm_cbor_reader *in, struct wm_cbor_item *item);

/* Step over the next item with all that is in it (a tag and what it tags are one item). Errors as
 * wm_cbor_next; WM_ERR_UNSUPPORTED also for containers in more than 8 levels. */
int wm_cbor_skip(struct wm_cbor_reader *in);

#endif

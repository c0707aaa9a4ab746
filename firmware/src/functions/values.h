/* values.h: numbers between CBOR and WebAssembly cells (docs/PROTOCOL.md 4). Pure. */
#ifndef WM_FUNCTIONS_VALUES_H
#define WM_FUNCTIONS_VALUES_H

#include "base/cbor.h"
#include "wasm/module.h"

/* Why arguments were refused. */
struct wm_bad_value {
    int         index; /* of the argument; -1: the array as a whole */
    const char *why;   /* static */
};

/* Decode a CBOR array (or nothing: an empty array) into cells by the types in params: one 64-bit cell each, i32 and f32 in the low
 * half. cells has room for params.len. Returns 0 or WM_ERR_ARG, and *bad. */
int wm_values_decode(struct wm_span params, struct wm_span cbor, uint64_t *cells, struct wm_bad_value *bad);

/* Write results: one as it is, else an array. */
void wm_values_encode(struct wm_span results, const uint64_t *cells, struct wm_sink *out);

const char *wm_valtype_name(uint8_t type); /* "i32" */

#endif

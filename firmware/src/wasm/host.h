/* host.h: what functions may import (docs/PROTOCOL.md 7). Knows nothing of the engine: an address is an
 * offset into a memory that is given. */
#ifndef WM_WASM_HOST_H
#define WM_WASM_HOST_H

#include "wasm/engine.h"

struct wm_host_call {
    struct wm_call_env *env;
    uint8_t            *memory; /* the instance's, as long as it really is */
    size_t              memory_bytes;
    uint64_t            declared_bytes; /* what the module believes that it has */
};

/* cells: room for the results, then the arguments, 64 bits each; i32 and f32 are in the low half. Returns
 * WM_TRAP_NONE, or what ends the call. */
typedef enum wm_trap_kind wm_host_function(struct wm_host_call *call, uint64_t *cells);

struct wm_host_import {
    const char       *module, *name;
    const char       *signature; /* "results(parameters)": i i32, I i64, f f32, F f64 */
    wm_host_function *function;
};

/* NULL: this node does not offer it. */
const struct wm_host_import *wm_host_find(struct wm_span module, struct wm_span name);

/* Whether a function of that type may be linked to the import. */
bool wm_host_signature_is(const struct wm_host_import *import, const struct wm_signature *type);

#endif

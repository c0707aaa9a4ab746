/* host.h: what functions may import (docs/PROTOCOL.md 7). Knows nothing of wasm3: an address is an offset into a memory that is
 * given.
 *
 * An import module is a file host_NAME.c and a line in host.c, which a port leaves out or in (wasmote/config_default.h). */
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
    const char       *name;
    const char       *signature; /* "results(parameters)": i i32, I i64, f f32, F f64 */
    wm_host_function *function;
};

/* A node that offers a module has all of its functions. */
struct wm_host_module {
    const char                  *name;
    const struct wm_host_import *imports;
    size_t                       count;
    bool (*present)(void); /* whether the node has the part that it is about; NULL: always */
};

extern const struct wm_host_module wm_host_wasmote, wm_host_sys, wm_host_communication, wm_host_dht, wm_host_env,
    wm_host_wasi;

/* The n-th module that this node offers; NULL: there are no more. */
const struct wm_host_module *wm_host_module(size_t n);

/* NULL: this node does not offer it. */
const struct wm_host_import *wm_host_find(struct wm_span module, struct wm_span name);

/* Whether a function of that type may be linked to the import. */
bool wm_host_signature_is(const struct wm_host_import *import, const struct wm_signature *type);

/* A call from outside is over: whatever its imports have gathered is put out. Returns as an import does. */
enum wm_trap_kind wm_host_end(struct wm_call_env *env);

/* ---- for imports ---- */

/* The bytes that an import was given. Returns WM_TRAP_NONE, or the trap for bytes that are not in the instance's memory. */
enum wm_trap_kind wm_host_bytes(const struct wm_host_call *call, uint64_t address, uint64_t len, struct wm_span *bytes);

/* The port's clock wraps after 49 days; this one does not, if it is asked that often. */
uint64_t wm_host_now_ms(void);

/* Text for a terminal, which is the node's log (host_sys.c); of more than WM_HOST_PRINT_BYTES, the first of them. Costs fuel. */
#define WM_HOST_PRINT_BYTES ((uint32_t)WM_LOG_BYTES)
enum wm_trap_kind wm_host_print(struct wm_call_env *env, struct wm_span text);
enum wm_trap_kind wm_host_print_end(struct wm_call_env *env);

#endif

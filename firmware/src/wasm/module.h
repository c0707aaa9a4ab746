/* module.h: reads a WebAssembly binary as it lies in flash or RAM: exports, imports, signatures, custom
 * sections. No allocation, no state; every read is bounded by the module. Works on any bytes: what is out
 * of format is an error. */
#ifndef WM_WASM_MODULE_H
#define WM_WASM_MODULE_H

#include "base/span.h"
#include "wasmote/err.h"

enum wm_valtype { WM_I32 = 0x7f, WM_I64 = 0x7e, WM_F32 = 0x7d, WM_F64 = 0x7c };
enum wm_extern { WM_EXTERN_FUNC, WM_EXTERN_TABLE, WM_EXTERN_MEMORY, WM_EXTERN_GLOBAL };

struct wm_signature {
    struct wm_span params, results; /* one enum wm_valtype a byte, borrowed from the module */
};

struct wm_export {
    uint32_t       index; /* in the export section */
    struct wm_span name;
    uint8_t        kind;  /* enum wm_extern */
    uint32_t       item;  /* index in its index space (imports first) */
};

struct wm_import {
    struct wm_span module, name;
    uint8_t        kind;
    uint32_t       type; /* functions: type index */
};

/* Magic, version, and a walk over all section headers. Returns 0, WM_ERR_MALFORMED, WM_ERR_TRUNCATED. Call
 * it once before the others, which then only fail with WM_ERR_NOTFOUND or WM_ERR_MALFORMED for a section's
 * content. */
int wm_module_check(struct wm_span module);

/* n-th export / import. WM_ERR_NOTFOUND past the last one. */
int wm_module_export(struct wm_span module, uint32_t n, struct wm_export *out);
int wm_module_import(struct wm_span module, uint32_t n, struct wm_import *out);
int wm_module_find_export(struct wm_span module, struct wm_span name, struct wm_export *out);
int wm_module_signature(struct wm_span module, uint32_t function, struct wm_signature *out);
/* Initial value of an immutable i32 global that is a constant: for `__heap_base`. WM_ERR_NOTFOUND also for
 * a global of another kind or an imported one. */
int wm_module_global_i32(struct wm_span module, uint32_t global, uint32_t *out);
/* How many globals it defines. */
uint32_t wm_module_globals(struct wm_span module);
/* Declared pages; WM_ERR_NOTFOUND: no memory. max_pages is 65536 where none is given. */
int wm_module_memory(struct wm_span module, uint32_t *initial_pages, uint32_t *max_pages);
/* Declared elements of the table; WM_ERR_NOTFOUND: no table, or an imported one. */
int wm_module_table(struct wm_span module, uint32_t *elements);
/* Content of the first custom section of this name. */
int wm_module_custom(struct wm_span module, const char *name, struct wm_span *out);

/* The `wasmote` section, docs/PROTOCOL.md 5. */
#define WM_SECTION_NONE UINT32_MAX /* a number that is not given */
struct wm_section {
    struct wm_span name, version, default_export;           /* empty: not given */
    /* What is larger than 32 bits is one less than WM_SECTION_NONE here. */
    uint32_t       abi, heap_bytes, stack_bytes, fuel, output_bytes, native_bytes, log_lines;
    struct wm_span permissions, pure, idempotent;           /* CBOR arrays of text, empty: not given */
};
/* Returns 0 (also without a section: all fields then "not given") or WM_ERR_MALFORMED. */
int wm_section_read(struct wm_span module, struct wm_section *out);
/* Whether name is one of the texts in a CBOR array of wm_section. */
bool wm_section_lists(struct wm_span cbor_array, struct wm_span name);

#endif

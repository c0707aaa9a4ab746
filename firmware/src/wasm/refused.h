/* refused.h: why a module cannot be installed. Filled in by the validator and by the engine. */
#ifndef WM_WASM_REFUSED_H
#define WM_WASM_REFUSED_H

#include "base/span.h"

enum wm_refusal {
    WM_REFUSED_MALFORMED,   /* the bytes do not follow the binary format */
    WM_REFUSED_INVALID,     /* they do, but the module breaks a rule of validation */
    WM_REFUSED_LIMIT,       /* a valid module beyond this node's limits (wasmote/config_default.h) */
    WM_REFUSED_UNSUPPORTED, /* a valid module that needs what this node's engine does not have */
    WM_REFUSED_IMPORT,
    WM_REFUSED_MEMORY,
    WM_REFUSED_START,
    WM_REFUSED_SECTION,
};

struct wm_refused {
    enum wm_refusal reason;
    const char     *text;     /* static, for people */
    int32_t         function; /* index; -1 unknown */
    int32_t         offset;   /* byte offset in the module; -1 unknown */
    struct wm_span  import_module, import_name; /* for WM_REFUSED_IMPORT; borrowed from the module */
    size_t          need_bytes;                 /* for WM_REFUSED_MEMORY, where known */
};

/* The word for it in problem details (docs/PROTOCOL.md 6). */
const char *wm_refusal_name(enum wm_refusal reason);

#endif

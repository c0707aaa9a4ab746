/* limits.h: the validator's limits as one table: of a node for `/d`, of any node for the tools.
 *
 * A node's limits are compiled in (wasmote/config.h). The same validator, compiled for the tools (firmware/validator),
 * takes them from `/d` of the node at hand: there the numbers of its configuration only say how much its tables hold. */
#ifndef WM_WASM_LIMITS_H
#define WM_WASM_LIMITS_H

#include <stdint.h>

#include "wasmote/config.h"

/* X(key in `/d`, number): docs/PROTOCOL.md 3.1 */
#define WM_LIMITS(X)                    \
    X("bytes", WM_MODULE_MAX_BYTES)     \
    X("types", WM_MODULE_TYPES)         \
    X("functions", WM_MODULE_FUNCTIONS) \
    X("globals", WM_MODULE_GLOBALS)     \
    X("exports", WM_MODULE_EXPORTS)     \
    X("segments", WM_MODULE_SEGMENTS)   \
    X("name", WM_MODULE_NAME_BYTES)     \
    X("table", WM_MODULE_TABLE)         \
    X("params", WM_MODULE_PARAMS)       \
    X("results", WM_MODULE_RESULTS)     \
    X("height", WM_MODULE_HEIGHT)       \
    X("constants", WM_MODULE_CONSTANTS) \
    X("locals", WM_MODULE_LOCALS)       \
    X("nesting", WM_MODULE_NESTING)     \
    X("br_table", WM_MODULE_BR_TABLE)   \
    X("code", WM_MODULE_CODE_BYTES)

#ifdef WM_LIMITS_AT_RUN_TIME
#define WM_LIMIT_INDEX(key, number) WM_INDEX_OF_##number,
enum { WM_LIMITS(WM_LIMIT_INDEX) WM_LIMIT_COUNT };
extern uint32_t wm_limits[WM_LIMIT_COUNT];
#define WM_LIMIT(number) wm_limits[WM_INDEX_OF_##number]
#else
#define WM_LIMIT(number) number
#endif

#endif

/* m3_config_wasmote.h: wasm3's configuration. Included by force (-include) into every file that sees a header
 * of wasm3: its sources, m3_unit.c and engine.c. The figures behind the sizes: docs/decisions/0001. */
#ifndef WM_M3_CONFIG_WASMOTE_H
#define WM_M3_CONFIG_WASMOTE_H

#include <stdlib.h> /* before its functions are renamed below */

#include "wasmote/config.h"

#define d_m3MaxFunctionStackHeight   WM_MODULE_HEIGHT
#define d_m3MaxConstantTableSize     WM_MODULE_CONSTANTS
#define d_m3CodePageAlignSize        512
#define d_m3VerboseErrorMessages     0
#define d_m3MaxDuplicateFunctionImpl 1
#define d_m3Use32BitSlots            1
#define d_m3HasFloat                 1

/* wasm3 allocates from the arena of the instance that is being opened (m3_unit.c). These never return NULL:
 * when the arena is full they leave wasm3 by longjmp, because its own ways out of memory are not sound (a
 * failed growth of the function table is walked through a null pointer), and the arena is thrown away as a
 * whole. */
void *wm_m3_calloc(size_t count, size_t bytes);
void *wm_m3_realloc(void *ptr, size_t bytes);
void wm_m3_free(void *ptr);

#define calloc(count, bytes)  wm_m3_calloc(count, bytes)
#define realloc(ptr, bytes)   wm_m3_realloc(ptr, bytes)
#define free(ptr)             wm_m3_free(ptr)

#endif

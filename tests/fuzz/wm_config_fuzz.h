/* Limits for fuzzing: little fuel, so that a run is short. Modules may be what they may be on a PC in 64
 * bits, and on a chip in 32, where its small tables fill. */
#include <stdint.h>

#if UINTPTR_MAX > UINT32_MAX
#define WM_MODULE_TYPES      1024
#define WM_MODULE_FUNCTIONS  8192
#define WM_MODULE_GLOBALS    1024
#define WM_MODULE_EXPORTS    1024
#define WM_MODULE_SEGMENTS   4096
#define WM_MODULE_TABLE      65536
#define WM_MODULE_NESTING    256
#define WM_MODULE_BR_TABLE   32768
#define WM_MODULE_CODE_BYTES (256u * 1024u)
#else
#define WM_MODULE_NESTING 32 /* the others are the defaults */
#endif
#define WM_FUEL_DEFAULT       2000u
#define WM_FUEL_MAX           4000u
#define WM_FUEL_SLICE         200u
#define WM_COAP_LEISURE_MS    50
#define WM_IMPORT_COMMUNICATION 1 /* all import modules, on every width */
#define WM_IMPORT_DHT         1
#define WM_IMPORT_ENV         1
#define WM_IMPORT_WASI        1
#define WM_NATIVE_STACK_BYTES (256u * 1024u) /* sanitizers keep wasm3's operations from tail-calling */

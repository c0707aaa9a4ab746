/* Limits for fuzzing: a chip's tables, so that they fill, and little fuel, so that a run is short. */
#define WM_FUEL_DEFAULT       2000u
#define WM_FUEL_MAX           4000u
#define WM_FUEL_SLICE         200u
#define WM_COAP_LEISURE_MS    50
#define WM_NATIVE_STACK_BYTES (256u * 1024u) /* sanitizers keep wasm3's operations from tail-calling */

/* defaults.c: the limits of a node whose port sets none, beside which validator.c has its own. */
#undef WM_CONFIG_FILE
#include "wasm/limits.h"

#define NUMBER(key, number) number,
const uint32_t wm_limit_defaults[WM_LIMIT_COUNT] = {WM_LIMITS(NUMBER)};

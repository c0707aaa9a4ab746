/* engine.h: the same few calls on our engine (engine_ours.c) and on plain wasm3 (engine_plain.c), so that one driver
 * (engine_host.c, engine_stm32f4.c) compares them. */
#ifndef WM_BENCH_ENGINE_H
#define WM_BENCH_ENGINE_H

#include "base/span.h"

/* Load a module and find its export. Returns NULL, or a text that says why not. */
const char *bench_engine_load(struct wm_span module, const char *export_name);

/* Call the export with one i32 (as_numbers), or with input as its request. *result is what it returned, *output_hash FNV-1a
 * of what it wrote. Returns NULL, or a text that says what ended the call. */
const char *bench_engine_call(bool as_numbers, uint32_t argument, struct wm_span input, uint32_t *result,
                              uint32_t *output_hash);

#endif

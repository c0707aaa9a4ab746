#include "engine.h"

#include "base/hash.h"
#include "wasm/engine.h"
#include "wasmote/node.h"

#ifdef __arm__
#define ARENA_BYTES (92u * 1024u)
extern uint8_t wm_pool_bottom[];
#define arena wm_pool_bottom
#else
#define ARENA_BYTES (1024u * 1024u)
static _Alignas(8) uint8_t arena[ARENA_BYTES];
#endif

static struct wm_engine *engine;
static struct wm_export  found;
static uint32_t          hash;

static int output(void *ctx, struct wm_span bytes)
{
    (void)ctx;
    hash = wm_hash(hash, bytes);
    return 0;
}

static int log_line(void *ctx, int level, struct wm_span text)
{
    (void)ctx;
    (void)level;
    (void)text;
    return 0;
}

static bool tick(void *ctx) /* a node always has one */
{
    (void)ctx;
    return false;
}

void wm_node_nudge(void) /* without the rest of a node */
{
    wm_engine_nudge();
}

const char *bench_engine_load(struct wm_span module, const char *export_name)
{
    if (wm_module_check(module) != 0 || wm_module_find_export(module, wm_span_str(export_name), &found) != 0) {
        return "no such export";
    }
    const struct wm_quotas quotas = {
        .fuel = WM_FUEL_MAX, .memory_bytes = 65536, .stack_bytes = 4096, .output_bytes = WM_OUTPUT_MAX_BYTES};
    struct wm_call_env env = {.output = output, .log = log_line, .tick = tick};
    struct wm_refused refused;
    const int err = wm_engine_open(&engine, arena, ARENA_BYTES, module, &quotas, &env, &refused);
    return err >= 0 ? NULL : err == WM_ERR_NOMEM ? "the arena is too small" : refused.text;
}

const char *bench_engine_call(bool as_numbers, uint32_t argument, struct wm_span input, uint32_t *result,
                              uint32_t *output_hash)
{
    const uint64_t args[1] = {argument};
    uint64_t results[1] = {0};
    struct wm_call_env env = {.input = input, .output = output, .log = log_line, .tick = tick};
    enum wm_trap_kind trap;
    hash = WM_HASH_START;
    const int err = wm_engine_call(engine, found.item, as_numbers ? args : NULL, results, WM_FUEL_MAX, &env, &trap);
    *result = (uint32_t)results[0];
    *output_hash = hash;
    return err ? wm_trap_name(trap) : NULL;
}

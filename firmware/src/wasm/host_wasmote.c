/* host_wasmote.c: `wasmote`, the interface of our own: the streams of a call, the log, time. */
#include "base/log.h"
#include "wasm/host.h"

/* (ptr, cap) -> n */
static enum wm_trap_kind input(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span          into;
    const enum wm_trap_kind trap = wm_host_bytes(call, cells[1], cells[2], &into);
    if (trap != WM_TRAP_NONE) {
        return trap;
    }
    struct wm_call_env *env = call->env;
    const size_t        left = env->input.len - env->input_off, n = left < into.len ? left : into.len;
    if (n > 0) {
        memcpy(call->memory + (uint32_t)cells[1], env->input.ptr + env->input_off, n);
        env->input_off += n;
    }
    cells[0] = n;
    return WM_TRAP_NONE;
}

/* (ptr, len) -> len */
static enum wm_trap_kind output(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span          bytes;
    const enum wm_trap_kind trap = wm_host_bytes(call, cells[1], cells[2], &bytes);
    if (trap != WM_TRAP_NONE) {
        return trap;
    }
    struct wm_call_env *env = call->env;
    if (env->output == NULL || env->output(env->ctx, bytes) != 0) {
        return WM_TRAP_OUTPUT;
    }
    cells[0] = bytes.len;
    return WM_TRAP_NONE;
}

/* (level, ptr, len) */
static enum wm_trap_kind log_line(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span          text;
    const enum wm_trap_kind trap = wm_host_bytes(call, cells[1], cells[2], &text);
    if (trap != WM_TRAP_NONE) {
        return trap;
    }
    if (text.len > WM_LOG_TEXT_BYTES) {
        text.len = WM_LOG_TEXT_BYTES;
    }
    int level = (int32_t)(uint32_t)cells[0];
    level = level < WM_LOG_ERROR ? WM_LOG_ERROR : level > WM_LOG_DEBUG ? WM_LOG_DEBUG : level;
    if (call->env->log != NULL && call->env->log(call->env->ctx, level, text) != 0) {
        return WM_TRAP_LOG;
    }
    return WM_TRAP_NONE;
}

/* () -> i64 */
static enum wm_trap_kind millis(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    cells[0] = wm_host_now_ms();
    return WM_TRAP_NONE;
}

static const struct wm_host_import imports[] = {
    {"input", "i(ii)", input},
    {"output", "i(ii)", output},
    {"log", "(iii)", log_line},
    {"millis", "I()", millis},
};

const struct wm_host_module wm_host_wasmote = {.name = "wasmote", .imports = imports, .count = sizeof imports / sizeof imports[0]};

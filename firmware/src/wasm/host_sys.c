/* host_sys.c: `sys`, what wasmiot's functions see of the machine: time, a pause, and a terminal, which is the node's log. */
#include "base/fmt.h"
#include "base/log.h"
#include "wasm/host.h"
#include "wasmote/port.h"

/* () -> i32 */
static enum wm_trap_kind millis(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    cells[0] = wm_port_now_ms();
    return WM_TRAP_NONE;
}

/* ---- the pause ---- */

#define LOOK_MS     10u   /* how often the node has its turn at least: its timers, and links that end no sleep */
#define FUEL_PER_MS 1000u /* about what a chip spends in a busy loop meanwhile, so that the quota bounds a pause as well */

/* (ms). The node sleeps and answers; the engine is this call's. Nothing or less is no pause. */
static enum wm_trap_kind delay(struct wm_host_call *call, uint64_t *cells)
{
    const int32_t  asked = (int32_t)(uint32_t)cells[0];
    const uint32_t ms = asked > 0 ? (uint32_t)asked : 0;
    if (!wm_engine_spend(ms <= UINT32_MAX / FUEL_PER_MS ? ms * FUEL_PER_MS : UINT32_MAX)) {
        return WM_TRAP_FUEL; /* at once: it would not see the end of the pause */
    }
    const struct wm_call_env *env = call->env;
    const uint32_t            began_ms = wm_port_now_ms();
    for (uint32_t past_ms = 0; past_ms < ms; past_ms = wm_port_now_ms() - began_ms) {
        wm_port_wait(ms - past_ms < LOOK_MS ? ms - past_ms : LOOK_MS);
        if (env->tick != NULL && env->tick(env->ctx)) {
            return WM_TRAP_CANCELLED;
        }
    }
    return WM_TRAP_NONE;
}

/* ---- the terminal ---- */

#define FUEL_BYTES 64u /* as memory.copy */

_Static_assert(WM_CALL_LINE_BYTES == WM_LOG_TEXT_BYTES, "what is printed becomes lines of the log");

/* env->printed: what was printed since the last end of a line. */
static enum wm_trap_kind end_line(struct wm_call_env *env)
{
    const struct wm_span text = wm_span(env->printed, env->printed_len);
    env->printed_len = 0;
    if (text.len == 0 || env->log == NULL) {
        return WM_TRAP_NONE;
    }
    return env->log(env->ctx, WM_LOG_INFO, text) == 0 ? WM_TRAP_NONE : WM_TRAP_LOG;
}

enum wm_trap_kind wm_host_print(struct wm_call_env *env, struct wm_span text)
{
    const size_t      len = text.len < WM_HOST_PRINT_BYTES ? text.len : WM_HOST_PRINT_BYTES;
    enum wm_trap_kind trap = wm_engine_spend((uint32_t)len / FUEL_BYTES) ? WM_TRAP_NONE : WM_TRAP_FUEL;
    for (size_t i = 0; i < len && trap == WM_TRAP_NONE; i++) {
        const bool end = text.ptr[i] == '\n';
        if (!end) {
            env->printed[env->printed_len++] = text.ptr[i];
        }
        if (end || env->printed_len == sizeof env->printed) {
            trap = end_line(env);
        }
    }
    return trap;
}

enum wm_trap_kind wm_host_print_end(struct wm_call_env *env)
{
    return end_line(env);
}

/* (ptr, len) */
static enum wm_trap_kind print(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span          text;
    const enum wm_trap_kind trap = wm_host_bytes(call, cells[0], cells[1], &text);
    return trap != WM_TRAP_NONE ? trap : wm_host_print(call->env, text);
}

static enum wm_trap_kind put_number(struct wm_host_call *call, const uint64_t *cells, const char *format)
{
    char      text[16];
    const int len = wm_format(text, sizeof text, format, (long)(int32_t)(uint32_t)cells[0]);
    return wm_host_print(call->env, wm_span(text, (size_t)len));
}

/* (number), with an end of line */
static enum wm_trap_kind println(struct wm_host_call *call, uint64_t *cells)
{
    return put_number(call, cells, "%ld\n");
}

/* (number), without */
static enum wm_trap_kind print_int(struct wm_host_call *call, uint64_t *cells)
{
    return put_number(call, cells, "%ld");
}

static const struct wm_host_import imports[] = {
    {"millis", "i()", millis},   {"delay", "(i)", delay},         {"print", "(ii)", print},
    {"println", "(i)", println}, {"printInt", "(i)", print_int},
};

const struct wm_host_module wm_host_sys = {.name = "sys", .imports = imports, .count = sizeof imports / sizeof imports[0]};

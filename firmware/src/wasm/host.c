#include "wasm/host.h"

#include "base/log.h"
#include "wasmote/port.h"

/* The bytes that an import was given, if they are in the instance's memory. */
static bool in_memory(const struct wm_host_call *call, uint64_t address, uint64_t len)
{
    return (uint32_t)address + (uint64_t)(uint32_t)len <= call->memory_bytes;
}

static enum wm_trap_kind outside(const struct wm_host_call *call, uint64_t address)
{
    return call->memory_bytes < call->declared_bytes && (uint32_t)address < call->declared_bytes
               ? WM_TRAP_MEMORY_QUOTA
               : WM_TRAP_MEMORY;
}

/* (ptr, cap) -> n */
static enum wm_trap_kind input(struct wm_host_call *call, uint64_t *cells)
{
    const uint64_t ptr = cells[1], cap = cells[2];
    if (!in_memory(call, ptr, cap)) {
        return outside(call, ptr);
    }
    struct wm_call_env *env = call->env;
    size_t n = env->input.len - env->input_off;
    if (n > (uint32_t)cap) {
        n = (uint32_t)cap;
    }
    if (n > 0) {
        memcpy(call->memory + (uint32_t)ptr, env->input.ptr + env->input_off, n);
        env->input_off += n;
    }
    cells[0] = n;
    return WM_TRAP_NONE;
}

/* (ptr, len) -> len */
static enum wm_trap_kind output(struct wm_host_call *call, uint64_t *cells)
{
    const uint64_t ptr = cells[1], len = cells[2];
    if (!in_memory(call, ptr, len)) {
        return outside(call, ptr);
    }
    struct wm_call_env *env = call->env;
    const struct wm_span bytes = wm_span(call->memory + (uint32_t)ptr, (uint32_t)len);
    if (env->output == NULL || env->output(env->ctx, bytes) != 0) {
        return WM_TRAP_OUTPUT;
    }
    cells[0] = (uint32_t)len;
    return WM_TRAP_NONE;
}

/* (level, ptr, len) */
static enum wm_trap_kind log_line(struct wm_host_call *call, uint64_t *cells)
{
    const uint64_t ptr = cells[1];
    uint32_t len = (uint32_t)cells[2];
    int level = (int32_t)(uint32_t)cells[0];
    if (!in_memory(call, ptr, len)) {
        return outside(call, ptr);
    }
    if (len > WM_LOG_TEXT_BYTES) {
        len = WM_LOG_TEXT_BYTES;
    }
    level = level < WM_LOG_ERROR ? WM_LOG_ERROR : level > WM_LOG_DEBUG ? WM_LOG_DEBUG : level;
    if (call->env->log != NULL && call->env->log(call->env->ctx, level, wm_span(call->memory + (uint32_t)ptr, len)) != 0) {
        return WM_TRAP_LOG;
    }
    return WM_TRAP_NONE;
}

/* () -> i64. The port's clock wraps after 49 days; this one does not, if it is asked that often. */
static enum wm_trap_kind millis(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    static uint32_t last, wraps;
    const uint32_t now = wm_port_now_ms();
    wraps += now < last;
    last = now;
    cells[0] = (uint64_t)wraps << 32 | now;
    return WM_TRAP_NONE;
}

static const struct wm_host_import imports[] = {
    {"wasmote", "input", "i(ii)", input},
    {"wasmote", "output", "i(ii)", output},
    {"wasmote", "log", "(iii)", log_line},
    {"wasmote", "millis", "I()", millis},
};

const struct wm_host_import *wm_host_find(struct wm_span module, struct wm_span name)
{
    for (size_t i = 0; i < sizeof imports / sizeof imports[0]; i++) {
        if (wm_span_is(module, imports[i].module) && wm_span_is(name, imports[i].name)) {
            return &imports[i];
        }
    }
    return NULL;
}

/* Compare types with letters up to the end mark. Returns what follows it, or NULL if they differ. */
static const char *letters_are(const char *letters, char end, struct wm_span types)
{
    for (size_t i = 0; i < types.len; i++) {
        static const char letter[] = {'F', 'f', 'I', 'i'}; /* WM_F64 to WM_I32 */
        if (letters[i] != letter[types.ptr[i] - WM_F64]) {
            return NULL;
        }
    }
    return letters[types.len] == end ? letters + types.len + 1 : NULL;
}

bool wm_host_signature_is(const struct wm_host_import *import, const struct wm_signature *type)
{
    const char *params = letters_are(import->signature, '(', type->results);
    return params != NULL && letters_are(params, ')', type->params) != NULL;
}

#include "wasm/host.h"

#include "wasmote/port.h"

static const struct wm_host_module *const modules[] = {
    &wm_host_wasmote,
#if WM_IMPORT_SYS
    &wm_host_sys,
#endif
#if WM_IMPORT_COMMUNICATION
    &wm_host_communication,
#endif
#if WM_IMPORT_DHT
    &wm_host_dht,
#endif
#if WM_IMPORT_ENV
    &wm_host_env,
#endif
#if WM_IMPORT_WASI
    &wm_host_wasi,
#endif
};

const struct wm_host_module *wm_host_module(size_t n)
{
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        const bool present = modules[i]->present == NULL || modules[i]->present();
        if (present && n-- == 0) {
            return modules[i];
        }
    }
    return NULL;
}

const struct wm_host_import *wm_host_find(struct wm_span module, struct wm_span name)
{
    const struct wm_host_module *offered;
    for (size_t n = 0; (offered = wm_host_module(n)) != NULL; n++) {
        for (size_t i = 0; i < offered->count && wm_span_is(module, offered->name); i++) {
            if (wm_span_is(name, offered->imports[i].name)) {
                return &offered->imports[i];
            }
        }
    }
    return NULL;
}

uint64_t wm_host_now_ms(void)
{
    static uint32_t last, wraps;
    const uint32_t now = wm_port_now_ms();
    wraps += now < last;
    last = now;
    return (uint64_t)wraps << 32 | now;
}

enum wm_trap_kind wm_host_bytes(const struct wm_host_call *call, uint64_t address, uint64_t len, struct wm_span *bytes)
{
    if ((uint32_t)address + (uint64_t)(uint32_t)len <= call->memory_bytes) {
        *bytes = wm_span(call->memory + (uint32_t)address, (uint32_t)len);
        return WM_TRAP_NONE;
    }
    return call->memory_bytes < call->declared_bytes && (uint32_t)address < call->declared_bytes ? WM_TRAP_MEMORY_QUOTA
                                                                                                 : WM_TRAP_MEMORY;
}

enum wm_trap_kind wm_host_end(struct wm_call_env *env)
{
#if WM_IMPORT_SYS || WM_IMPORT_WASI
    return wm_host_print_end(env);
#else
    (void)env;
    return WM_TRAP_NONE;
#endif
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

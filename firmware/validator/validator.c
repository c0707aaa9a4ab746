/* validator.c: the node's validator (src/wasm/validate.c) as a WebAssembly module without imports, for tools, servers and
 * browsers. What it exports, and how it is used: docs/VALIDATOR.md. */
#include "wasm/limits.h"
#include "wasm/validate.h"
#include "wasmote/port.h"

#define EXPORT(name) __attribute__((export_name(name), visibility("default")))

enum { PAGE_BYTES = 65536 };

extern const uint32_t wm_limit_defaults[]; /* defaults.c */
extern uint8_t __heap_base[]; /* set by the linker: the module to be validated lies from here on */

#define NUMBER(key, number) number,
uint32_t wm_limits[WM_LIMIT_COUNT] = {WM_LIMITS(NUMBER)};
static const uint32_t capacity[WM_LIMIT_COUNT] = {WM_LIMITS(NUMBER)};

static struct wm_refused refused;

void wm_port_panic(const char *file, int line)
{
    (void)file;
    (void)line;
    __builtin_trap();
}

/* ---- limits: what the tables hold, until they are set ---- */

/* The key that limit i has in `/d`, ended by a zero; NULL beyond the last one. */
EXPORT("limit_key") const char *limit_key(uint32_t i)
{
#define KEY(key, number) key,
    static const char *const keys[] = {WM_LIMITS(KEY)};
    return i < WM_LIMIT_COUNT ? keys[i] : NULL;
}

/* What limit i is on a node whose port says nothing else; 0 beyond the last one. */
EXPORT("limit_default") uint32_t limit_default(uint32_t i)
{
    return i < WM_LIMIT_COUNT ? wm_limit_defaults[i] : 0;
}

/* Returns the value that limit i has now: at most what the tables here hold. */
EXPORT("limit_set") uint32_t limit_set(uint32_t i, uint32_t value)
{
    if (i >= WM_LIMIT_COUNT) {
        return 0;
    }
    wm_limits[i] = value < capacity[i] ? value : capacity[i];
    return wm_limits[i];
}

/* ---- validation ---- */

/* Where to put a module of so many bytes; NULL: there is no room. Good until the next call. */
EXPORT("input") uint8_t *input(uint32_t bytes)
{
    const uint64_t need = (uint64_t)(uintptr_t)__heap_base + bytes;
    const uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * PAGE_BYTES;
    if (need > have) {
        const uint64_t pages = (need - have + PAGE_BYTES - 1) / PAGE_BYTES;
        if (pages > UINT16_MAX || __builtin_wasm_memory_grow(0, (size_t)pages) == SIZE_MAX) {
            return NULL;
        }
    }
    return __heap_base;
}

/* Whether a node with these limits accepts the module of so many bytes that lies at input(). */
EXPORT("check") int32_t check(uint32_t bytes)
{
    static uint64_t scratch[(WM_VALIDATE_SCRATCH_BYTES + 7) / 8];
    return wm_validate(wm_span(__heap_base, bytes), scratch, sizeof scratch, &refused) == 0;
}

/* ---- of the module that was refused last ---- */

EXPORT("reason") const char *reason(void)
{
    return wm_refusal_name(refused.reason);
}

EXPORT("text") const char *text(void)
{
    return refused.text;
}

EXPORT("function") int32_t function(void)
{
    return refused.function;
}

EXPORT("offset") int32_t offset(void)
{
    return refused.offset;
}

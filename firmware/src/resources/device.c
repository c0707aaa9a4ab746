/* device.c: /d, who this node is and what it can do. */
#include "resources/resource.h"
#include "wasm/host.h"
#include "wasm/limits.h"

static void put_uint(struct wm_sink *out, const char *key, uint64_t value)
{
    wm_cbor_str(out, key);
    wm_cbor_uint(out, value);
}

static void put_str(struct wm_sink *out, const char *key, const char *value)
{
    wm_cbor_str(out, key);
    wm_cbor_str(out, value);
}

static void put_engine(struct wm_sink *out)
{
    static const char *const features[] = {
        "mvp", "sign-ext", "saturating-float-to-int", "multi-value", "mutable-globals", "bulk-memory-copy-fill",
    };
    const size_t count = sizeof features / sizeof features[0];
    wm_cbor_str(out, "engine");
    wm_cbor_map(out, 3);
    put_str(out, "name", "wasm3");
    put_str(out, "version", "0.5.0");
    wm_cbor_str(out, "features");
    wm_cbor_array(out, count);
    for (size_t i = 0; i < count; i++) {
        wm_cbor_str(out, features[i]);
    }
}

static void put_limits(struct wm_sink *out)
{
    wm_cbor_str(out, "limits");
    wm_cbor_map(out, 11);
    put_uint(out, "functions", WM_FUNCTIONS);
    put_uint(out, "module", WM_MODULE_MAX_BYTES);
    put_uint(out, "memory", WM_MEMORY_MAX_BYTES);
    put_uint(out, "fuel", WM_FUEL_MAX);
    put_uint(out, "stack", WM_WASM_STACK_MAX_BYTES);
    put_uint(out, "native", WM_NATIVE_STACK_BYTES);
    put_uint(out, "output", WM_OUTPUT_MAX_BYTES);
    put_uint(out, "log", WM_LOG_RATE_MAX);
    put_uint(out, "payload", WM_COAP_PAYLOAD_BYTES);
    put_uint(out, "uploads", WM_UPLOADS);
    put_uint(out, "observers", WM_COAP_OBSERVERS);
}

/* What the validator goes by, so that the tools can say beforehand what it will say. */
static void put_validator(struct wm_sink *out)
{
#define LIMIT(key, number) {key, number},
    static const struct {
        const char *key;
        uint32_t    value;
    } limits[] = {WM_LIMITS(LIMIT)};
#undef LIMIT
    const size_t count = sizeof limits / sizeof limits[0];
    wm_cbor_str(out, "validate");
    wm_cbor_map(out, count);
    for (size_t i = 0; i < count; i++) {
        put_uint(out, limits[i].key, limits[i].value);
    }
}

/* Quotas of a function that asks for nothing. Its memory is what it declares. */
static void put_defaults(struct wm_sink *out)
{
    wm_cbor_str(out, "defaults");
    wm_cbor_map(out, 5);
    put_uint(out, "fuel", WM_FUEL_DEFAULT);
    put_uint(out, "stack", WM_WASM_STACK_DEFAULT_BYTES);
    put_uint(out, "native", WM_NATIVE_STACK_BYTES);
    put_uint(out, "output", WM_OUTPUT_DEFAULT_BYTES);
    put_uint(out, "log", WM_LOG_RATE_DEFAULT);
}

/* Import modules. */
static void put_imports(struct wm_sink *out)
{
    size_t count = 0;
    while (wm_host_module(count) != NULL) {
        count++;
    }
    wm_cbor_str(out, "imports");
    wm_cbor_array(out, count);
    for (size_t i = 0; i < count; i++) {
        wm_cbor_str(out, wm_host_module(i)->name);
    }
}

void wm_res_device(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    struct wm_sink *out = &rep->body;
    if (!wm_accepts(req, rep, WM_FORMAT_CBOR)) {
        return;
    }
    wm_cbor_map(out, 15);
    put_str(out, "ep", env->config->ep);
    put_uint(out, "boot", env->config->boot_count);
    put_str(out, "reset", env->config->reset);
    put_str(out, "board", env->config->board);
    put_str(out, "chip", env->config->chip);
    put_str(out, "fw", WM_VERSION);
    put_uint(out, "abi", WM_ABI_VERSION);
    put_str(out, "sec", "open");
    put_engine(out);
    put_limits(out);
    put_validator(out);
    put_defaults(out);
    put_imports(out);
    wm_cbor_str(out, "ram");
    wm_cbor_map(out, 3);
    put_uint(out, "total", wm_heap_total_bytes(env->pool));
    put_uint(out, "free", wm_heap_free_bytes(env->pool));
    put_uint(out, "largest", wm_heap_largest(env->pool));
    put_uint(out, "up_ms", env->now_ms - env->started_ms);
}

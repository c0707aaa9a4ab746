/* wasm3 as it is published, through its public interface. */
#include "engine.h"

#include <string.h>

#include "base/hash.h"
#include "wasm3.h"
#include "wasmote/node.h"

static IM3Runtime  runtime;
static IM3Function function;
static struct
{
    struct wm_span input;
    uint32_t       hash;
} call;

static m3ApiRawFunction(host_input)
{
    m3ApiReturnType(int32_t);
    m3ApiGetArgMem(uint8_t *, to);
    m3ApiGetArg(uint32_t, cap);
    m3ApiCheckMem(to, cap);
    const size_t n = call.input.len < cap ? call.input.len : cap;
    memcpy(to, call.input.ptr, n);
    call.input = wm_span(call.input.ptr + n, call.input.len - n);
    m3ApiReturn((int32_t)n);
}

static m3ApiRawFunction(host_output)
{
    m3ApiReturnType(int32_t);
    m3ApiGetArgMem(const uint8_t *, from);
    m3ApiGetArg(uint32_t, len);
    m3ApiCheckMem(from, len);
    call.hash = wm_hash(call.hash, wm_span(from, len));
    m3ApiReturn((int32_t)len);
}

void wm_node_nudge(void) /* the port calls it; plain wasm3 has no such thing */
{
}

const char *bench_engine_load(struct wm_span module_bytes, const char *export_name)
{
    IM3Environment env = m3_NewEnvironment();
    runtime = m3_NewRuntime(env, 4096, NULL);
    IM3Module module;
    M3Result error = m3_ParseModule(env, &module, module_bytes.ptr, (uint32_t)module_bytes.len);
    if (error == m3Err_none) {
        error = m3_LoadModule(runtime, module);
    }
    if (error == m3Err_none) { /* an app may import none of them */
        (void)m3_LinkRawFunction(module, "wasmote", "input", "i(*i)", host_input);
        (void)m3_LinkRawFunction(module, "wasmote", "output", "i(*i)", host_output);
        error = m3_FindFunction(&function, runtime, export_name);
    }
    return error;
}

const char *bench_engine_call(bool as_numbers, uint32_t argument, struct wm_span input, uint32_t *result,
                              uint32_t *output_hash)
{
    const void *args[1] = {&argument};
    const void *results[1] = {result};
    call.input = input;
    call.hash = WM_HASH_START;
    *result = 0;
    M3Result error = m3_Call(function, as_numbers ? 1 : 0, args);
    if (error == m3Err_none && m3_GetRetCount(function) == 1) {
        error = m3_GetResults(function, 1, results);
    }
    *output_hash = call.hash;
    return error;
}

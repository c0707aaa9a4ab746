#include "wasm/engine.h"

#include "base/assert.h"
#include "wasm/host.h"
#include "wasm/m3_unit.h"

#include "m3_core.h"
#include "m3_env.h"
#include "m3_exception.h"

#define PAGE_BYTES 65536u

struct wm_engine {
    IM3Runtime runtime;
    IM3Module  module;
    uint64_t   declared_bytes; /* of memory; 0: the instance has all of it */
    uint32_t   native_bytes;   /* of C stack, for each call */
    uint32_t   table_elements; /* declared; those behind the last one that is set do not exist */
};

/* In m3_bind.c, but not in its header. A null signature is not compared. */
M3Result LinkRawFunction(IM3Module module, IM3Function function, const char *signature, const void *raw,
                         const void *userdata);

const char *wm_trap_name(enum wm_trap_kind kind)
{
    static const char *const names[] = {
        [WM_TRAP_NONE] = "none",
        [WM_TRAP_FUEL] = "fuel",
        [WM_TRAP_STACK_NATIVE] = "stack-native",
        [WM_TRAP_STACK_WASM] = "stack-wasm",
        [WM_TRAP_MEMORY] = "memory",
        [WM_TRAP_MEMORY_QUOTA] = "memory-quota",
        [WM_TRAP_TABLE] = "table",
        [WM_TRAP_NULL_CALL] = "null-call",
        [WM_TRAP_SIGNATURE] = "signature",
        [WM_TRAP_DIV_ZERO] = "div-zero",
        [WM_TRAP_INT_OVERFLOW] = "int-overflow",
        [WM_TRAP_INT_CONVERT] = "int-convert",
        [WM_TRAP_UNREACHABLE] = "unreachable",
        [WM_TRAP_OUTPUT] = "output",
        [WM_TRAP_LOG] = "log",
        [WM_TRAP_CANCELLED] = "cancelled",
        [WM_TRAP_HOST] = "host",
        [WM_TRAP_EXIT] = "exit",
        [WM_TRAP_OTHER] = "other",
    };
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "other";
}

static enum wm_trap_kind trap_of(M3Result result)
{
    const struct {
        M3Result          result;
        enum wm_trap_kind kind;
    } traps[] = {
        {wm_m3_stopped, wm_m3.trap},
        {m3Err_trapDivisionByZero, WM_TRAP_DIV_ZERO},
        {m3Err_trapIntegerOverflow, WM_TRAP_INT_OVERFLOW},
        {m3Err_trapIntegerConversion, WM_TRAP_INT_CONVERT},
        {m3Err_trapIndirectCallTypeMismatch, WM_TRAP_SIGNATURE},
        {m3Err_trapTableIndexOutOfRange, WM_TRAP_TABLE},
        {m3Err_trapTableElementIsNull, WM_TRAP_NULL_CALL},
        {m3Err_trapUnreachable, WM_TRAP_UNREACHABLE},
        {m3Err_trapStackOverflow, WM_TRAP_STACK_WASM},
    };
    for (size_t i = 0; i < sizeof traps / sizeof traps[0]; i++) {
        if (traps[i].result == result) {
            return traps[i].kind;
        }
    }
    return WM_TRAP_OTHER;
}

/* Every import of every module arrives here, from wasm3's CallRawFunction. */
static const void *call_host(IM3Runtime runtime, IM3ImportContext context, uint64_t *cells, void *memory)
{
    const struct wm_host_import *import = context->userdata;
    struct wm_host_call call = {
        .env = wm_m3.env,
        .memory = memory,
        .memory_bytes = runtime->memory.mallocated->length,
        .declared_bytes = wm_m3.declared_bytes,
    };
    const enum wm_trap_kind trap = import->function(&call, cells);
    if (trap != WM_TRAP_NONE) {
        wm_m3.trap = trap;
        return wm_m3_stopped;
    }
    return NULL;
}

/* ---- open ---- */

struct opening {
    struct wm_span          bytes;
    const struct wm_quotas *quotas;
    struct wm_refused      *refused;
    struct wm_engine_state *state; /* NULL: the memory lies in the arena too */
};

static int refuse(const struct opening *o, enum wm_refusal reason, const char *text)
{
    o->refused->reason = reason;
    o->refused->text = text;
    return WM_ERR_UNSUPPORTED;
}

/* wasm3's words for what is wrong with a module. They are static, and for people. */
static int refuse_m3(const struct opening *o, M3Result result)
{
    if (result == wm_m3_stopped) { /* while compiling: the stack */
        return refuse(o, WM_REFUSED_LIMIT, "blocks are nested too deeply for this node's stack");
    }
    if (result == m3Err_functionStackOverflow) {
        return refuse(o, WM_REFUSED_LIMIT, "a function has too many locals and operands");
    }
    if (result == m3Err_trapStackOverflow) {
        return refuse(o, WM_REFUSED_LIMIT, "the wasm stack is too small to initialize the module");
    }
    if (result == m3Err_unknownOpcode || result == m3Err_noCompiler) {
        return refuse(o, WM_REFUSED_UNSUPPORTED, result);
    }
    const M3Result malformed[] = {
        m3Err_wasmMalformed, m3Err_incompatibleWasmVersion, m3Err_misorderedWasmSection, m3Err_wasmUnderrun,
        m3Err_wasmOverrun, m3Err_lebOverflow, m3Err_missingUTF8, m3Err_wasmSectionUnderrun,
        m3Err_wasmSectionOverrun, m3Err_invalidTypeId,
    };
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        if (malformed[i] == result) {
            return refuse(o, WM_REFUSED_MALFORMED, result);
        }
    }
    return refuse(o, WM_REFUSED_INVALID, result);
}

/* All imports must be there before anything is built. Returns 0, or refuses for the first one that is not. */
static int check_imports(const struct opening *o)
{
    struct wm_import import;
    uint32_t function = 0;
    int err;
    for (uint32_t n = 0; (err = wm_module_import(o->bytes, n, &import)) == 0; n++) {
        o->refused->import_module = import.module;
        o->refused->import_name = import.name;
        if (import.kind != WM_EXTERN_FUNC) {
            return refuse(o, WM_REFUSED_IMPORT, "only functions can be imported");
        }
        const struct wm_host_import *host = wm_host_find(import.module, import.name);
        if (host == NULL) {
            return refuse(o, WM_REFUSED_IMPORT, "this node does not offer an import of the module");
        }
        struct wm_signature type;
        if (wm_module_signature(o->bytes, function++, &type) != 0) {
            return refuse(o, WM_REFUSED_MALFORMED, "an import has no type");
        }
        if (!wm_host_signature_is(host, &type)) {
            return refuse(o, WM_REFUSED_IMPORT, "an import has another type than the node's function");
        }
    }
    o->refused->import_module = o->refused->import_name = wm_span(NULL, 0);
    return err == WM_ERR_NOTFOUND ? 0 : refuse(o, WM_REFUSED_MALFORMED, "the import section is malformed");
}

static M3Result link_imports(const struct opening *o, IM3Module module)
{
    struct wm_import import;
    for (uint32_t n = 0; n < module->numFuncImports && wm_module_import(o->bytes, n, &import) == 0; n++) {
        const M3Result result = LinkRawFunction(module, &module->functions[n], NULL, (const void *)call_host,
                                                wm_host_find(import.module, import.name));
        if (result) {
            return result;
        }
    }
    return m3Err_none;
}

/* Nothing looks up a function by its name: exports go by index (module.h). So the copies that wasm3 made of
 * all names are given back. */
static void free_names(IM3Module module)
{
    for (uint32_t i = 0; i < module->numFunctions; i++) {
        IM3Function f = &module->functions[i];
        if (f->numNames > 0 && f->names[0] != f->import.fieldUtf8) {
            m3_Free(f->names[0]);
        }
        f->names[0] = NULL;
        f->numNames = 0;
        m3_Free(f->import.moduleUtf8);
        m3_Free(f->import.fieldUtf8);
    }
    for (uint32_t i = 0; i < module->numGlobals; i++) {
        m3_Free(module->globals[i].name);
    }
}

/* Bytes beyond the frame of a caller that the arguments and results of a call may reach: wasm3 writes them
 * there before the callee's own check of the wasm stack. */
static uint32_t widest_call_bytes(IM3Module module)
{
    uint32_t widest = 0;
    for (uint32_t i = 0; i < module->numFuncTypes; i++) {
        const uint32_t cells = (uint32_t)module->funcTypes[i]->numArgs + module->funcTypes[i]->numRets;
        widest = cells > widest ? cells : widest;
    }
    return widest * (uint32_t)sizeof(uint64_t);
}

/* Data must lie inside of what the instance's memory really has. It starts at a constant: the other kind, an
 * imported global, cannot be linked. */
static int check_data(const struct opening *o, IM3Module module, uint64_t memory_bytes)
{
    for (uint32_t i = 0; i < module->numDataSegments; i++) {
        const M3DataSegment *segment = &module->dataSegments[i];
        bytes_t at = segment->initExpr + 1;
        i32 offset = 0;
        if (segment->initExprSize == 0 || segment->initExpr[0] != c_waOp_i32_const ||
            ReadLEB_i32(&offset, &at, segment->initExpr + segment->initExprSize)) {
            return refuse(o, WM_REFUSED_UNSUPPORTED, "a data segment does not start at a constant");
        }
        const uint64_t end = (uint64_t)(uint32_t)offset + segment->size;
        if (end > memory_bytes) {
            o->refused->need_bytes = (size_t)end;
            return refuse(o, WM_REFUSED_MEMORY, "the module's data does not fit its memory");
        }
    }
    return 0;
}

static M3Result compile(const struct opening *o, IM3Module module)
{
    M3Result result = m3Err_none;
    for (uint32_t i = 0; i < module->numFunctions && !result; i++) {
        IM3Function f = &module->functions[i];
        if (f->compiled == NULL) {
            result = f->wasm == NULL ? m3Err_wasmMalformed : CompileFunction(f);
            if (result) {
                o->refused->function = (int32_t)i;
                bytes_t at = module->runtime->compilation.lastOpcodeStart;
                if (f->wasm != NULL && at != NULL) {
                    o->refused->offset = (int32_t)(at - o->bytes.ptr);
                }
            }
        }
    }
    return result;
}

/* What m3_NewRuntime does, in 1 KB less. An M3Runtime begins with the compiler's tables, which lie idle once
 * everything is compiled; the wasm stack lies idle until then. So the tables are the upper end of the stack,
 * and what is left of the stack stands before them. (Constant expressions run on the stack while the module
 * is loaded, but wasm3 compiles those in a runtime of their own.) Under AddressSanitizer the stack stands
 * apart, so that a write past its end is seen. */
static IM3Runtime new_runtime(IM3Environment environment, uint32_t stack_bytes, uint32_t guard_bytes)
{
    _Static_assert(offsetof(M3Runtime, compilation) == 0, "M3Runtime begins with the compiler's tables");
    const size_t margin = 4 * sizeof(m3slot_t); /* as m3_NewRuntime */
    const size_t stack_all = (stack_bytes + guard_bytes + margin + 7u) & ~(size_t)7u;
#ifdef WM_HEAP_POISONS
    void *stack = wm_m3_calloc(1, stack_all);
    uint8_t *block = wm_m3_calloc(1, sizeof(M3Runtime));
    const size_t lead = 0;
#else
    const size_t tables = sizeof(M3Compilation) & ~(size_t)7u;
    const size_t lead = stack_all > tables ? stack_all - tables : 0;
    uint8_t *block = wm_m3_calloc(1, lead + sizeof(M3Runtime));
    void *stack = block;
#endif
    IM3Runtime runtime = (IM3Runtime)(void *)(block + lead);
    m3_ResetErrorInfo(runtime);
    runtime->environment = environment;
    runtime->stack = stack;
    runtime->numStackSlots = stack_bytes / sizeof(m3slot_t);
    return runtime;
}

/* ---- state: wasm3's memory with its header, then the globals' values ---- */

size_t wm_engine_state_bytes(struct wm_span module, const struct wm_quotas *quotas)
{
    return sizeof(M3MemoryHeader) + quotas->memory_bytes + wm_module_globals(module) * sizeof(i64);
}

static void move_globals(const struct wm_engine *engine, bool save)
{
    M3MemoryHeader *memory = engine->runtime->memory.mallocated;
    uint8_t *kept = (uint8_t *)(memory + 1) + memory->length;
    for (uint32_t i = 0; i < engine->module->numGlobals; i++, kept += sizeof(i64)) {
        i64 *live = &engine->module->globals[i].intValue;
        memcpy(save ? (void *)kept : live, save ? (void *)live : kept, sizeof(i64));
    }
}

/* Have wasm3 take the block for a memory that it has allocated before. Every allocation comes as it came when the
 * instance was made, or else its peak would not be known: so the data segments stay, but copy nothing. */
static void use_state(const struct opening *o, struct wm_engine *engine)
{
    M3Memory *memory = &engine->runtime->memory;
    wm_m3.state = memory->mallocated = o->state->block;
    if (o->state->resume) {
        memory->numPages = engine->module->memoryInfo.initPages; /* so that it clears nothing */
        for (uint32_t i = 0; i < engine->module->numDataSegments; i++) {
            engine->module->dataSegments[i].size = 0;
        }
    }
}

/* Everything of open that allocates: when the arena is full, this is left by longjmp. */
static int instantiate(const struct opening *o, struct wm_engine **out)
{
    struct wm_engine *engine = wm_m3_calloc(1, sizeof *engine);
    IM3Environment environment = m3_NewEnvironment();
    M3Result result = m3_ParseModule(environment, &engine->module, o->bytes.ptr, (uint32_t)o->bytes.len);
    if (result) {
        return refuse_m3(o, result);
    }
    IM3Module module = engine->module;
    free_names(module);

    const uint64_t declared = (uint64_t)module->memoryInfo.initPages * PAGE_BYTES;
    const uint32_t quota = o->quotas->memory_bytes;
    const bool cut = quota != 0 && quota < declared;
    const int err = check_data(o, module, cut ? quota : declared);
    if (err) {
        return err;
    }
    if (!cut && o->state == NULL && declared > wm_heap_largest(wm_m3.heap)) {
        wm_m3.wanted_bytes = declared > SIZE_MAX ? SIZE_MAX : (size_t)declared;
        return WM_ERR_NOMEM; /* also keeps wasm3 from calculating with 4 GiB in 32 bits */
    }
    engine->declared_bytes = cut ? declared : 0;
    engine->native_bytes = o->quotas->native_bytes != 0 ? o->quotas->native_bytes : WM_NATIVE_STACK_BYTES;

    const uint32_t stack_bytes = (o->quotas->stack_bytes + 7u) & ~7u;
    engine->runtime = new_runtime(environment, stack_bytes, widest_call_bytes(module));
    const u32 declared_pages = module->memoryInfo.initPages;
    if (cut) { /* wasm3 calculates the size of all pages in 32 bits, so it is shown no more than there are */
        engine->runtime->memoryLimit = quota;
        module->memoryInfo.initPages = (quota + PAGE_BYTES - 1) / PAGE_BYTES;
    }
    if (o->state != NULL) {
        use_state(o, engine);
    }
    if (module->numElementSegments > 0) {
        module->table0 = wm_m3_calloc(1, sizeof(IM3Function)); /* wasm3 takes no table for a lack of memory */
    }
    result = m3_LoadModule(engine->runtime, module);
    /* wasm3 knows nothing of the table's declared size: its table ends with the last element. */
    if (wm_module_table(o->bytes, &engine->table_elements) != 0) {
        engine->table_elements = 0;
    }
    if (!result && module->table0Size > engine->table_elements) {
        return refuse(o, WM_REFUSED_MEMORY, "the module's elements do not fit its table");
    }
    if (!result) {
        engine->runtime->memory.numPages = declared_pages; /* what memory.size says */
        m3_Free(module->dataSegments);
        module->numDataSegments = 0;
        result = link_imports(o, module);
    }
    if (!result) {
        result = compile(o, module);
    }
    if (result) {
        return refuse_m3(o, result);
    }
    if (o->state != NULL && o->state->resume) {
        move_globals(engine, false);
    }
    *out = engine;
    return 0;
}

static bool is_plain(const struct wm_engine *engine, uint32_t function)
{
    const M3FuncType *type = engine->module->functions[function].funcType;
    return type->numArgs == 0 && type->numRets == 0;
}

static int run_once(const struct opening *o, struct wm_engine *engine, uint32_t start, struct wm_call_env *env)
{
    enum wm_trap_kind trap;
    if (!is_plain(engine, start)) {
        return refuse(o, WM_REFUSED_INVALID, "the start function has parameters or results");
    }
    if (wm_engine_call(engine, start, NULL, NULL, o->quotas->fuel, env, &trap) != 0) {
        o->refused->function = (int32_t)start;
        const bool timeout = trap == WM_TRAP_CANCELLED; /* the only reason for which that is done */
        return refuse(o, WM_REFUSED_START, timeout ? "the start function takes too long" : wm_trap_name(trap));
    }
    return 0;
}

static int run_start(const struct opening *o, struct wm_engine *engine, struct wm_call_env *env)
{
    env->fuel_used = 0;
    if (o->state != NULL && o->state->resume) {
        return 0;
    }
    int err = engine->module->startFunction < 0 ? 0 : run_once(o, engine, (uint32_t)engine->module->startFunction, env);
#if WM_IMPORT_WASI
    struct wm_export initialize; /* of a library for WASI, before anything else of it is called */
    if (err == 0 && wm_module_find_export(o->bytes, wm_span_str("_initialize"), &initialize) == 0 &&
        initialize.kind == WM_EXTERN_FUNC && is_plain(engine, initialize.item)) {
        err = run_once(o, engine, initialize.item, env);
    }
#endif
    return err;
}

int wm_engine_open(struct wm_engine **out, void *arena, size_t arena_bytes, struct wm_span module,
                   const struct wm_quotas *quotas, struct wm_call_env *env, struct wm_refused *refused)
{
    return wm_engine_open_apart(out, arena, arena_bytes, NULL, module, quotas, env, refused);
}

int wm_engine_open_apart(struct wm_engine **out, void *arena, size_t arena_bytes, struct wm_engine_state *state,
                         struct wm_span module, const struct wm_quotas *quotas, struct wm_call_env *env,
                         struct wm_refused *refused)
{
    WM_ASSERT(out != NULL && arena != NULL && quotas != NULL && env != NULL && refused != NULL);
    const struct opening o = {module, quotas, refused, state};
    *refused = (struct wm_refused){.function = -1, .offset = -1};
    *out = NULL;
    struct wm_heap *heap = wm_heap_init(arena, arena_bytes);
    if (heap == NULL) {
        refused->need_bytes = sizeof(M3Runtime) + quotas->stack_bytes + quotas->memory_bytes;
        return WM_ERR_NOMEM;
    }
    int err = wm_module_check(module);
    if (err) {
        const bool cut = err == WM_ERR_TRUNCATED;
        return refuse(&o, WM_REFUSED_MALFORMED, cut ? "the module ends early" : "not a WebAssembly module");
    }
    err = check_imports(&o);
    if (err) {
        return err;
    }

    const struct wm_m3_run outer = wm_m3;
    jmp_buf no_memory;
    wm_m3_begin(env, 0, SIZE_MAX); /* only the compiler goes deep, and nothing calls back from there */
    wm_m3.heap = heap;
    wm_m3.state = NULL;
    wm_m3.high = 0;
    wm_m3.no_memory = &no_memory;
    if (wm_m3.entry < wm_m3.limit) {
        err = refuse(&o, WM_REFUSED_LIMIT, "this node's stack is too small to open a module now");
    } else if (setjmp(no_memory) == 0) {
        err = instantiate(&o, out);
    } else {
        err = WM_ERR_NOMEM;
    }
    (void)wm_m3_fuel_used(0);
    if (err == WM_ERR_NOMEM) {
        *refused = (struct wm_refused){.function = -1, .offset = -1};
        refused->need_bytes = arena_bytes - wm_heap_free_bytes(heap) + wm_m3.wanted_bytes;
    }
    if (!err && state != NULL) {
        state->peak_bytes = (wm_m3.high - (uintptr_t)arena + sizeof(uint32_t) + 7u) & ~(size_t)7u; /* and a heap's end mark */
    }
    wm_m3 = outer;
    if (!err) {
        err = run_start(&o, *out, env);
    }
    if (err) {
        *out = NULL;
        return err;
    }
    return (int)wm_heap_trim(heap);
}

void wm_engine_suspend(struct wm_engine *engine)
{
    move_globals(engine, true);
    wm_engine_close(engine);
}

void wm_engine_close(struct wm_engine *engine)
{
    WM_ASSERT(engine != NULL && engine->runtime != NULL);
    engine->runtime = NULL; /* nothing lies outside of the arena, which is the caller's again */
}

/* ---- call ---- */

static bool is_half_cell(uint8_t m3_type)
{
    return m3_type == c_m3Type_i32 || m3_type == c_m3Type_f32;
}

int wm_engine_call(struct wm_engine *engine, uint32_t function, const uint64_t *args, uint64_t *results,
                   uint32_t fuel, struct wm_call_env *env, enum wm_trap_kind *trap)
{
    WM_ASSERT(engine != NULL && engine->runtime != NULL && env != NULL && trap != NULL);
    WM_ASSERT(function < engine->module->numFunctions);
    IM3Function f = &engine->module->functions[function];
    const M3FuncType *type = f->funcType;
    uint64_t *cells = engine->runtime->stack; /* results first, then arguments */
    for (uint32_t i = 0; i < type->numArgs; i++) {
        cells[type->numRets + i] = args[i];
    }

    const struct wm_m3_run outer = wm_m3;
    wm_m3_begin(env, fuel, engine->native_bytes);
    wm_m3.declared_bytes = engine->declared_bytes;
    wm_m3.table_elements = engine->table_elements;
    wm_m3.heap = NULL;
    const M3Result result = wm_m3_call(f);
    env->fuel_used = wm_m3_fuel_used(fuel);
    *trap = result ? trap_of(result) : WM_TRAP_NONE;
    wm_m3 = outer;
    const enum wm_trap_kind end = wm_host_end(env);
    *trap = result ? *trap : end;
    if (*trap != WM_TRAP_NONE) {
        return WM_ERR_TRAP;
    }
    for (uint32_t i = 0; i < type->numRets; i++) {
        results[i] = is_half_cell(type->types[i]) ? (uint32_t)cells[i] : cells[i];
    }
    return 0;
}

void wm_engine_nudge(void)
{
    wm_m3_nudge();
}

bool wm_engine_spend(uint32_t fuel)
{
    return wm_m3_spend(fuel);
}

struct wm_span wm_engine_memory(const struct wm_engine *engine)
{
    const M3MemoryHeader *memory = engine->runtime->memory.mallocated;
    return memory == NULL || memory->length == 0 ? wm_span(NULL, 0) : wm_span(memory + 1, memory->length);
}

size_t wm_engine_native_stack_bytes(void)
{
    return wm_m3_stack_bytes();
}

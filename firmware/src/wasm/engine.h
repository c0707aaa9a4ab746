/* engine.h: one WebAssembly instance on wasm3, in an arena of its own. The only user of wasm3.
 *
 * Order: open (parse, link, compile all, instantiate, start function) -> call, call, ... -> close. A module
 * comes to open only after whoever calls has it whole; its bytes are borrowed until close and must not
 * move.
 *
 * What an instance has become since its start lies in its memory and its globals. Where they have a block of
 * their own (struct wm_engine_state), the rest can be built anew from the module, elsewhere: open -> ... ->
 * suspend -> (the block and the module may be moved; the arena is free) -> open again with resume -> ...
 *
 * One call at a time in the whole process: the fuel counter is global. But the tick of a running
 * function may open, call and close other engines. */
#ifndef WM_WASM_ENGINE_H
#define WM_WASM_ENGINE_H

#include "base/span.h"
#include "wasm/module.h"
#include "wasm/refused.h" /* why open refused */
#include "wasmote/port.h"

struct wm_engine; /* lives in its arena */

/* What an instance may use. docs/PROTOCOL.md 5 */
struct wm_quotas {
    uint32_t fuel;         /* loop turns and calls, for each call from outside */
    uint32_t memory_bytes; /* what the instance's memory really has; 0: all of the declared pages */
    uint32_t stack_bytes;  /* wasm stack */
    uint32_t native_bytes; /* C stack of a call; 0: WM_NATIVE_STACK_BYTES, and never more than the port has */
    uint32_t output_bytes;
    uint32_t log_lines; /* a second */
};

enum wm_trap_kind {
    WM_TRAP_NONE, WM_TRAP_FUEL, WM_TRAP_STACK_NATIVE, WM_TRAP_STACK_WASM, WM_TRAP_MEMORY,
    WM_TRAP_MEMORY_QUOTA, WM_TRAP_TABLE, WM_TRAP_NULL_CALL, WM_TRAP_SIGNATURE, WM_TRAP_DIV_ZERO,
    WM_TRAP_INT_OVERFLOW, WM_TRAP_INT_CONVERT, WM_TRAP_UNREACHABLE, WM_TRAP_OUTPUT, WM_TRAP_LOG, WM_TRAP_CANCELLED,
    WM_TRAP_HOST, WM_TRAP_EXIT, WM_TRAP_OTHER,
};
const char *wm_trap_name(enum wm_trap_kind kind); /* as in docs/PROTOCOL.md 6 */

#define WM_CALL_LINE_BYTES 80 /* as much as a log line takes: base/log.h */

/* The world around a call; borrowed for its length. */
struct wm_call_env {
    void          *ctx;
    struct wm_span input;
    size_t         input_off;
    /* Append to the reply: 0, or WM_ERR_NOSPACE / WM_ERR_NOMEM, which trap as WM_TRAP_OUTPUT. */
    int (*output)(void *ctx, struct wm_span bytes);
    /* Write a line: 0, or WM_ERR_NOSPACE: too many, which traps as WM_TRAP_LOG. */
    int (*log)(void *ctx, int level, struct wm_span text);
    /* Ask for a call of another function, without waiting for anything. NULL: it cannot. */
    void (*rpc)(void *ctx, struct wm_span name, struct wm_span data);
    /* Called every WM_FUEL_SLICE of fuel, and after wm_engine_nudge; true cancels the call. NULL: never. */
    bool (*tick)(void *ctx);
    uint32_t fuel_used;   /* out */
    int32_t  exit_status; /* out, with WM_TRAP_EXIT: what the function ended itself with */
    uint8_t  printed_len, printed[WM_CALL_LINE_BYTES]; /* begins empty; see wasm/host_sys.c */
};

/* Instantiate module in arena (8-byte aligned). Returns the bytes of the arena that stay in use: the caller
 * takes back the rest; *out is the engine. Negative: WM_ERR_UNSUPPORTED (see refused) or WM_ERR_NOMEM
 * (arena too small; refused->need_bytes is a hint). The start function, if any, runs with quotas->fuel;
 * env->fuel_used is what it used. After open an instance allocates nothing: memory.grow always gives -1. */
int wm_engine_open(struct wm_engine **out, void *arena, size_t arena_bytes, struct wm_span module,
                   const struct wm_quotas *quotas, struct wm_call_env *env, struct wm_refused *refused);

/* Memory and globals in a block of their own. */
struct wm_engine_state {
    void  *block;      /* wm_engine_state_bytes, aligned to 8; the caller's. May move after suspend, not before */
    bool   resume;     /* suspend has left its content there: the start function does not run again */
    size_t peak_bytes; /* out: an arena of this size, which may be less than what was given, is enough next time */
};

/* What the block takes. quotas->memory_bytes: exactly what the memory really has. */
size_t wm_engine_state_bytes(struct wm_span module, const struct wm_quotas *quotas);

/* As wm_engine_open. state: NULL, or where the memory lies; its block must stay where it is until suspend or close. On
 * failure to resume its content is as it was. */
int wm_engine_open_apart(struct wm_engine **out, void *arena, size_t arena_bytes, struct wm_engine_state *state,
                         struct wm_span module, const struct wm_quotas *quotas, struct wm_call_env *env,
                         struct wm_refused *refused);

/* Leave all that the instance has become in its state's block, and close. Not while it runs. */
void wm_engine_suspend(struct wm_engine *engine);

/* The engine is gone and its arena the caller's again. Not while it runs. */
void wm_engine_close(struct wm_engine *engine);

/* Call the function with this index (module.h: wm_export.item). args and results are raw 64-bit cells in
 * the order of the signature: i32 and f32 in the low half; the high half of such a result is 0. Fuel is
 * spent on turns of loops and on calls, this one too: 0 is an empty tank. Returns 0, or WM_ERR_TRAP and
 * *trap; the instance can be called again after either. */
int wm_engine_call(struct wm_engine *engine, uint32_t function, const uint64_t *args, uint64_t *results,
                   uint32_t fuel, struct wm_call_env *env, enum wm_trap_kind *trap);

/* Let the function that runs, if one does, tick at its next loop turn or call, however much fuel its slice still has: what
 * lies between two of these is straight code, but as long as a function may be. For interrupts and signal handlers: one
 * store. It may get lost, so come again. */
void wm_engine_nudge(void);

/* For imports, while a function runs: use up this much of its fuel. False: it has less, and now none. */
bool wm_engine_spend(uint32_t fuel);

/* The instance's memory; empty if it has none. Valid until the next call. */
struct wm_span wm_engine_memory(const struct wm_engine *engine);

/* Deepest native stack that a check inside of any call or open has seen so far, in bytes. */
size_t wm_engine_native_stack_bytes(void);

#endif

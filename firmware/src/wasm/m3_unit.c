/* m3_unit.c: wasm3's compiler and operations with our own checks in them. docs/decisions/0001 tells why.
 *
 * wasm3 stays as it was published. This unit includes two of its files, and by the preprocessor alone puts
 * in their place: the Loop operation (fuel, stack), the check before every call (m3_Yield, the same),
 * MemGrow (never grows), the result of an access out of bounds (tells a cut memory from a wrong address),
 * and the reading of an opcode while compiling (stack).
 *
 * What costs fuel: 1 for every turn of a loop, also the first; 1 for every call, also those from outside
 * and those of the host; 1 for every 64 bytes of a memory.copy or memory.fill. Other straight code is free:
 * the length of a function bounds it.
 *
 * Every operation must end in a jump to the next one (a sibling call); only Loop, Call and CallIndirect
 * hold a frame, and check the stack. To see that a compiler does it: in the disassembly no other op_* calls
 * through a register that it loaded from the code page (`blx rN` on Arm, `call *` on x86-64, `jalr` on
 * RISC-V). */
#include "wasm/m3_unit.h"

#include "base/assert.h"

#include "m3_core.h"
#include "m3_env.h"

#define m3Err_none NULL /* a variable in wasm3, loaded wherever an operation returns */

/* Stack kept free below the limits: of a running function for what it calls, host imports and the tick, in
 * which whole requests are answered (1.6 KB on a Cortex-M4: a failed job's problem details); of the compiler
 * for what it does with one opcode, which there are 16 results copied by recursion (1.2 KB), and of wasm3's
 * loading for one constant expression, which takes a whole M3Runtime (1.1 KB). */
#ifndef WM_NATIVE_STACK_RESERVE_BYTES
#define WM_NATIVE_STACK_RESERVE_BYTES 2048u
#endif

#define COLD   __attribute__((noinline, cold))
#define INLINE static inline __attribute__((always_inline)) /* -Os would not */

struct wm_m3_run wm_m3;
const char wm_m3_stopped[] = "stopped";

static size_t highest_stack_bytes;

/* Not __builtin_frame_address: that would give the operations a frame pointer. Not the address of a local: a
 * function with one may not end in a jump, and AddressSanitizer moves it elsewhere. */
INLINE uintptr_t stack_pointer(void)
{
    uintptr_t sp;
#if defined(__x86_64__)
    __asm__("movq %%rsp, %0" : "=r"(sp));
#elif defined(__i386__)
    __asm__("movl %%esp, %0" : "=r"(sp));
#elif defined(__arm__) || defined(__aarch64__)
    __asm__("mov %0, sp" : "=r"(sp));
#elif defined(__riscv)
    __asm__("mv %0, sp" : "=r"(sp));
#else
    sp = (uintptr_t)__builtin_frame_address(0);
#endif
    return sp;
}

static COLD M3Result stop(enum wm_trap_kind trap)
{
    wm_m3.trap = trap;
    return wm_m3_stopped;
}

/* A slice is used up. */
static COLD M3Result refuel(void)
{
    wm_m3.left = 0;
    if (wm_m3.reserve == 0) {
        return stop(WM_TRAP_FUEL);
    }
    const uint32_t slice = wm_m3.reserve < WM_FUEL_SLICE ? wm_m3.reserve : WM_FUEL_SLICE;
    wm_m3.reserve -= slice;
    wm_m3.left = (int32_t)slice - 1;
    if (wm_m3.env->tick != NULL && wm_m3.env->tick(wm_m3.env->ctx)) {
        return stop(WM_TRAP_CANCELLED);
    }
    return m3Err_none;
}

/* The stack is deeper than ever before in this run. */
static COLD M3Result deeper(uintptr_t sp)
{
    if (sp < wm_m3.limit) {
        return stop(WM_TRAP_STACK_NATIVE);
    }
    wm_m3.low = sp;
    return m3Err_none;
}

/* The module's address is outside of what its memory really has. */
static COLD M3Result out_of_bounds(u64 address)
{
    return stop(address < wm_m3.declared_bytes ? WM_TRAP_MEMORY_QUOTA : WM_TRAP_MEMORY);
}

/* Two spellings of the same, because each compiler makes the most of another one. */
INLINE M3Result spend(void)
{
#ifdef __arm__
    const int32_t left = wm_m3.left;
    wm_m3.left = left - 1;
    return UNLIKELY(left == 0) ? refuel() : m3Err_none;
#else
    return UNLIKELY(--wm_m3.left < 0) ? refuel() : m3Err_none;
#endif
}

INLINE M3Result check_stack(void)
{
    const uintptr_t sp = stack_pointer();
    return UNLIKELY(sp < wm_m3.low) ? deeper(sp) : m3Err_none;
}

INLINE M3Result enter(void)
{
    M3Result r = check_stack();
    return UNLIKELY(r != NULL) ? r : spend();
}

/* ---- the operations ---- */

/* Loads and stores have the address in a variable of this name. MemCopy and MemFill have not, and take this
 * one: for them a cut memory alone decides. */
enum { operand = 0 };
#define m3Err_trapOutOfBoundsMemoryAccess out_of_bounds(operand)
#define m3_Yield                          enter
INLINE m3ret_t vectorcall Call(d_m3OpSig); /* one function with the operation that calls, and one frame */
#include "m3_exec.h"
#undef m3_Yield
#undef m3Err_trapOutOfBoundsMemoryAccess

/* The accumulators are empty where a loop begins. wasm3 sets them to 0; whatever they hold will do. */
INLINE f64 any_f64(void)
{
    f64 value = 0;
#if defined(__x86_64__)
    __asm__ volatile("" : "=x"(value));
#elif defined(__arm__) && defined(__ARM_PCS_VFP)
    __asm__ volatile("" : "=w"(value));
#endif
    return value;
}

INLINE m3reg_t any_i64(void)
{
    m3reg_t value;
    __asm__ volatile("" : "=r"(value));
    return value;
}

/* As wasm3's Loop, but the memory stays where it is, because nothing grows it. */
d_m3Op(WmLoop)
{
    m3ret_t r = check_stack();
    if (UNLIKELY(r != NULL)) {
        return r;
    }
    do {
        r = spend();
        if (UNLIKELY(r != NULL)) {
            return r;
        }
        _r0 = any_i64();
        _fp0 = any_f64();
        r = nextOpImpl();
    } while (r == _pc);
    return r;
}

/* An instance has all of its memory from the start: there is nothing to grow into. (wasm3's own would
 * reallocate and, under a memory limit, report success without a byte more.) */
d_m3Op(WmMemGrow)
{
    _r0 = (u32)_r0 == 0 ? (m3reg_t)m3MemInfo(_mem)->numPages : -1;
    nextOp();
}

/* One instruction that works through the memory costs what it does: 1 fuel for each FUEL_BYTES. */
#define FUEL_BYTES 64u

static M3Result spend_bytes(uint32_t bytes, size_t memory_bytes)
{
    uint32_t fuel = bytes > memory_bytes ? 0 : bytes / FUEL_BYTES; /* out of bounds does nothing */
    while (fuel > (uint32_t)wm_m3.left) {
        fuel -= (uint32_t)wm_m3.left + 1;
        M3Result r = refuel(); /* spends the last one of these */
        if (r != NULL) {
            return r;
        }
    }
    wm_m3.left -= (int32_t)fuel;
    return m3Err_none;
}

d_m3Op(WmMemCopy)
{
    M3Result r = spend_bytes((u32)_r0, _mem->length);
    return UNLIKELY(r != NULL) ? r : op_MemCopy(d_m3OpAllArgs);
}

d_m3Op(WmMemFill)
{
    M3Result r = spend_bytes((u32)_r0, _mem->length);
    return UNLIKELY(r != NULL) ? r : op_MemFill(d_m3OpAllArgs);
}

/* ---- the compiler ---- */

/* It calls itself for every block in a block, and each level reads opcodes: so the stack is checked here. */
static M3Result read_opcode(m3opcode_t *opcode, bytes_t *bytes, cbytes_t end)
{
    M3Result r = check_stack();
    return r != NULL ? r : Read_opcode(opcode, bytes, end);
}

#define op_Loop     op_WmLoop
#define op_MemGrow  op_WmMemGrow
#define op_MemCopy  op_WmMemCopy
#define op_MemFill  op_WmMemFill
#define Read_opcode read_opcode
#include "m3_compile.c"
#undef Read_opcode

/* ---- for engine.c ---- */

static uintptr_t max(uintptr_t a, uintptr_t b)
{
    return a > b ? a : b;
}

void wm_m3_begin(struct wm_call_env *env, uint32_t fuel, size_t stack_bytes)
{
    const uintptr_t sp = stack_pointer();
    const uint32_t slice = fuel < WM_FUEL_SLICE ? fuel : WM_FUEL_SLICE;
    wm_m3.left = (int32_t)slice;
    wm_m3.reserve = fuel - slice;
    wm_m3.entry = sp;
    wm_m3.limit = wm_port_stack_limit() + WM_NATIVE_STACK_RESERVE_BYTES;
    if (stack_bytes < sp) {
        wm_m3.limit = max(wm_m3.limit, sp - stack_bytes);
    }
    wm_m3.low = max(wm_m3.limit, sp - highest_stack_bytes);
    wm_m3.env = env;
    wm_m3.trap = WM_TRAP_NONE;
}

uint32_t wm_m3_fuel_used(uint32_t fuel)
{
    if (wm_m3.low < wm_m3.entry && wm_m3.entry - wm_m3.low > highest_stack_bytes) {
        highest_stack_bytes = wm_m3.entry - wm_m3.low;
    }
    return fuel - wm_m3.reserve - (uint32_t)wm_m3.left;
}

M3Result wm_m3_call(IM3Function function)
{
    IM3Runtime runtime = function->module->runtime;
    return (M3Result)Call(function->compiled, (m3stack_t)runtime->stack, runtime->memory.mallocated,
                          d_m3OpDefaultArgs);
}

size_t wm_m3_stack_bytes(void)
{
    return highest_stack_bytes;
}

static COLD void leave(size_t bytes)
{
    wm_m3.wanted_bytes = bytes;
    longjmp(*wm_m3.no_memory, 1);
}

void *wm_m3_calloc(size_t count, size_t bytes)
{
    WM_ASSERT(wm_m3.heap != NULL); /* nothing allocates once a module is open */
    void *ptr = count != 0 && bytes > SIZE_MAX / count ? NULL : wm_heap_alloc(wm_m3.heap, count * bytes);
    if (ptr == NULL) {
        leave(count * bytes);
    }
    return memset(ptr, 0, count * bytes);
}

void *wm_m3_realloc(void *ptr, size_t bytes)
{
    WM_ASSERT(wm_m3.heap != NULL);
    void *moved = wm_heap_resize(wm_m3.heap, ptr, bytes);
    if (moved == NULL) {
        leave(bytes);
    }
    return moved;
}

void wm_m3_free(void *ptr)
{
    WM_ASSERT(ptr == NULL || wm_m3.heap != NULL);
    if (ptr != NULL) {
        wm_heap_free(wm_m3.heap, ptr);
    }
}

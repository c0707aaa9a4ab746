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

/* wm_m3.left is the fuel of this slice in its lower three bytes. The upper byte is 0, or what wm_m3_nudge, an
 * interrupt, has put there: that makes it negative, and leaves the fuel alone. An interrupt may come between
 * a load and a store of left; then the nudge is lost, and the next one works, but no fuel is ever gained or lost. */
#define FUEL_MASK 0xffffffu
_Static_assert(WM_FUEL_SLICE > 0 && WM_FUEL_SLICE < FUEL_MASK, "a slice, and one less than nothing, fit three bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the upper byte is the last one");

static uint32_t fuel_left(void)
{
    return (uint32_t)wm_m3.left & FUEL_MASK;
}

void wm_m3_nudge(void)
{
    ((volatile uint8_t *)&wm_m3.left)[3] = 0xff; /* far from where one less would wrap */
}

bool wm_m3_spend(uint32_t fuel)
{
    const uint32_t left = fuel_left();
    if (fuel <= left) {
        wm_m3.left -= (int32_t)fuel; /* the upper byte stays as it is */
        return true;
    }
    const uint32_t more = fuel - left;
    wm_m3.left -= (int32_t)left;
    if (more > wm_m3.reserve) {
        wm_m3.reserve = 0;
        return false;
    }
    wm_m3.reserve -= more;
    return true;
}

/* One unit was taken from a slice that is used up, or the function was nudged: look at the links. */
static COLD M3Result refuel(void)
{
    uint32_t left = fuel_left();
    if (left == FUEL_MASK) {
        wm_m3.left = 0;
        if (wm_m3.reserve == 0) {
            return stop(WM_TRAP_FUEL);
        }
        const uint32_t slice = wm_m3.reserve < WM_FUEL_SLICE ? wm_m3.reserve : WM_FUEL_SLICE;
        wm_m3.reserve -= slice;
        left = slice - 1;
    }
    wm_m3.left = (int32_t)left;
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

/* wasm3's table ends with the last element that is set. */
static COLD M3Result no_element(u32 index)
{
    return index < wm_m3.table_elements ? m3Err_trapTableElementIsNull : m3Err_trapTableIndexOutOfRange;
}

/* Two spellings of the same: gcc for Arm would compare what it has just subtracted. */
INLINE M3Result spend(void)
{
#if defined(__arm__) && defined(__GCC_ASM_FLAG_OUTPUTS__)
    int32_t left = wm_m3.left;
    int     negative;
    __asm__("subs %0, %0, #1" : "+r"(left), "=@ccmi"(negative));
    wm_m3.left = left;
    return UNLIKELY(negative) ? refuel() : m3Err_none;
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

/* ---- floats ---- */

/* Rounding must make a quiet NaN of a signalling one; not every C library and compiler does. */
INLINE f64 ceil_quiet(f64 x)
{
    return UNLIKELY(x != x) ? x + x : ceil(x);
}

INLINE f64 floor_quiet(f64 x)
{
    return UNLIKELY(x != x) ? x + x : floor(x);
}

INLINE f64 trunc_quiet(f64 x)
{
    return UNLIKELY(x != x) ? x + x : trunc(x);
}

INLINE f64 rint_quiet(f64 x)
{
    return UNLIKELY(x != x) ? x + x : rint(x);
}

/* An f32 in wasm3's register is an f64. What only moves must keep every bit, but the conversion makes a
 * signalling NaN quiet. So NaNs go by hand: the sign and the 23 bits of the fraction move, in their order. */
static COLD f64 widen_nan(u32 bits)
{
    const u64 wide = (u64)(bits & 0x80000000u) << 32 | 0x7ff0000000000000u | (u64)(bits & 0x007fffffu) << 29;
    f64 value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static COLD u32 narrow_nan(u64 wide)
{
    return (u32)(wide >> 32 & 0x80000000u) | 0x7f800000u | (u32)(wide >> 29 & 0x007fffffu);
}

#ifdef __OPTIMIZE_SIZE__
#define CONVERSION static __attribute__((noinline)) /* on a chip without f64 it is a call in any case */
#else
#define CONVERSION INLINE
#endif

CONVERSION f64 widen(u32 bits)
{
    f32 value;
    memcpy(&value, &bits, sizeof value);
    return UNLIKELY(bits << 1 > 0xff000000u) ? widen_nan(bits) : value;
}

CONVERSION u32 narrow(f64 value)
{
    u64 wide;
    memcpy(&wide, &value, sizeof wide);
    if (UNLIKELY(wide << 1 > 0xffe0000000000000u)) {
        return narrow_nan(wide);
    }
    const f32 rounded = (f32)value;
    u32 bits;
    memcpy(&bits, &rounded, sizeof bits);
    return bits;
}

/* ---- the operations ---- */

/* Loads and stores have the address in a variable of this name. MemCopy and MemFill have not, and take this
 * one: for them a cut memory alone decides. */
enum { operand = 0 };
#define m3Err_trapOutOfBoundsMemoryAccess out_of_bounds(operand)
#define m3Err_trapTableIndexOutOfRange    no_element(tableIndex)
#define m3_Yield                          enter
#define ceil                              ceil_quiet
#define floor                             floor_quiet
#define trunc                             trunc_quiet
#define rint                              rint_quiet
INLINE m3ret_t vectorcall Call(d_m3OpSig); /* one function with the operation that calls, and one frame */
#include "m3_exec.h"
#undef rint
#undef trunc
#undef floor
#undef ceil
#undef m3_Yield
#undef m3Err_trapTableIndexOutOfRange
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
    while (fuel > fuel_left()) {
        fuel -= fuel_left() + 1;
        wm_m3.left = -1;
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

/* What moves an f32 from or to the register, or touches no more than its sign; as wasm3's otherwise. */
#define F32_SIGN 0x80000000u

#define F32_TO_REGISTER(NAME, BITS)   \
    d_m3Op(NAME)                      \
    {                                 \
        const u32 bits = (BITS);      \
        _fp0 = widen(bits);           \
        nextOp();                     \
    }

F32_TO_REGISTER(WmSetRegister_f32, slot(u32))
F32_TO_REGISTER(f32_WmReinterpret_i32_r_r, (u32)_r0)
F32_TO_REGISTER(f32_WmReinterpret_i32_r_s, slot(u32))
F32_TO_REGISTER(f32_WmAbs_r, narrow(_fp0) & ~F32_SIGN)
F32_TO_REGISTER(f32_WmAbs_s, slot(u32) & ~F32_SIGN)
F32_TO_REGISTER(f32_WmNegate_r, narrow(_fp0) ^ F32_SIGN)
F32_TO_REGISTER(f32_WmNegate_s, slot(u32) ^ F32_SIGN)

INLINE u32 copy_sign(u32 magnitude, u32 sign)
{
    return (magnitude & ~F32_SIGN) | (sign & F32_SIGN);
}

d_m3Op(f32_WmCopySign_rs)
{
    const u32 magnitude = slot(u32);
    _fp0 = widen(copy_sign(magnitude, narrow(_fp0)));
    nextOp();
}

d_m3Op(f32_WmCopySign_sr)
{
    const u32 sign = slot(u32);
    _fp0 = widen(copy_sign(narrow(_fp0), sign));
    nextOp();
}

d_m3Op(f32_WmCopySign_ss)
{
    const u32 sign = slot(u32);
    const u32 magnitude = slot(u32);
    _fp0 = widen(copy_sign(magnitude, sign));
    nextOp();
}

/* The second operand comes first, then the first one; the condition comes before both. */
#define F32_SELECT(NAME, CONDITION, SECOND, FIRST)       \
    d_m3Op(NAME)                                         \
    {                                                    \
        const i32 condition = (i32)(CONDITION);          \
        const u32 second = (SECOND);                     \
        const u32 first = (FIRST);                       \
        _fp0 = widen(condition ? first : second);        \
        nextOp();                                        \
    }

F32_SELECT(WmSelect_f32_rss, _r0, slot(u32), slot(u32))
F32_SELECT(WmSelect_f32_rrs, _r0, narrow(_fp0), slot(u32))
F32_SELECT(WmSelect_f32_rsr, _r0, slot(u32), narrow(_fp0))
F32_SELECT(WmSelect_f32_sss, slot(i32), slot(u32), slot(u32))
F32_SELECT(WmSelect_f32_srs, slot(i32), narrow(_fp0), slot(u32))
F32_SELECT(WmSelect_f32_ssr, slot(i32), slot(u32), narrow(_fp0))

d_m3Op(WmSetSlot_f32)
{
    slot(u32) = narrow(_fp0);
    nextOp();
}

d_m3Op(WmPreserveSetSlot_f32)
{
    u32 *to = slot_ptr(u32);
    u32 *preserved = slot_ptr(u32);
    *preserved = *to;
    *to = narrow(_fp0);
    nextOp();
}

d_m3Op(WmSetGlobal_f32)
{
    u32 *global = immediate(u32 *);
    *global = narrow(_fp0);
    nextOp();
}

d_m3Op(i32_WmReinterpret_f32_r_r)
{
    _r0 = (i32)narrow(_fp0);
    nextOp();
}

d_m3Op(i32_WmReinterpret_f32_s_r)
{
    slot(u32) = narrow(_fp0);
    nextOp();
}

/* The address is in the register or in a slot, before or after the offset. */
#define F32_ACCESS(NAME, FIRST, SECOND, WHAT)                     \
    d_m3Op(NAME)                                                  \
    {                                                             \
        u64 address = (FIRST);                                    \
        address += (SECOND);                                      \
        if (UNLIKELY(address + sizeof(u32) > _mem->length)) {     \
            return out_of_bounds(address);                        \
        }                                                         \
        u8 *at = m3MemData(_mem) + address;                       \
        u32 bits;                                                 \
        WHAT;                                                     \
        nextOp();                                                 \
    }
#define F32_LOAD  (memcpy(&bits, at, sizeof bits), _fp0 = widen(bits))
#define F32_STORE (bits = narrow(_fp0), memcpy(at, &bits, sizeof bits))

F32_ACCESS(f32_WmLoad_f32_r, (u32)_r0, immediate(u32), F32_LOAD)
F32_ACCESS(f32_WmLoad_f32_s, slot(u32), immediate(u32), F32_LOAD)
F32_ACCESS(f32_WmStore_f32_rr, (u32)_r0, immediate(u32), F32_STORE)
F32_ACCESS(f32_WmStore_f32_rs, slot(u32), immediate(u32), F32_STORE)

/* ---- the compiler ---- */

/* It calls itself for every block in a block, and each level reads opcodes: so the stack is checked here. */
static M3Result read_opcode(m3opcode_t *opcode, bytes_t *bytes, cbytes_t end)
{
    M3Result r = check_stack();
    return r != NULL ? r : Read_opcode(opcode, bytes, end);
}

#define op_Loop                     op_WmLoop
#define op_MemGrow                  op_WmMemGrow
#define op_MemCopy                  op_WmMemCopy
#define op_MemFill                  op_WmMemFill
#define op_SetRegister_f32          op_WmSetRegister_f32
#define op_f32_Reinterpret_i32_r_r  op_f32_WmReinterpret_i32_r_r
#define op_f32_Reinterpret_i32_r_s  op_f32_WmReinterpret_i32_r_s
#define op_f32_Abs_r                op_f32_WmAbs_r
#define op_f32_Abs_s                op_f32_WmAbs_s
#define op_f32_Negate_r             op_f32_WmNegate_r
#define op_f32_Negate_s             op_f32_WmNegate_s
#define op_f32_CopySign_rs          op_f32_WmCopySign_rs
#define op_f32_CopySign_sr          op_f32_WmCopySign_sr
#define op_f32_CopySign_ss          op_f32_WmCopySign_ss
#define op_Select_f32_rss           op_WmSelect_f32_rss
#define op_Select_f32_rrs           op_WmSelect_f32_rrs
#define op_Select_f32_rsr           op_WmSelect_f32_rsr
#define op_Select_f32_sss           op_WmSelect_f32_sss
#define op_Select_f32_srs           op_WmSelect_f32_srs
#define op_Select_f32_ssr           op_WmSelect_f32_ssr
#define op_SetSlot_f32              op_WmSetSlot_f32
#define op_PreserveSetSlot_f32      op_WmPreserveSetSlot_f32
#define op_SetGlobal_f32            op_WmSetGlobal_f32
#define op_i32_Reinterpret_f32_r_r  op_i32_WmReinterpret_f32_r_r
#define op_i32_Reinterpret_f32_s_r  op_i32_WmReinterpret_f32_s_r
#define op_f32_Load_f32_r           op_f32_WmLoad_f32_r
#define op_f32_Load_f32_s           op_f32_WmLoad_f32_s
#define op_f32_Store_f32_rr         op_f32_WmStore_f32_rr
#define op_f32_Store_f32_rs         op_f32_WmStore_f32_rs
#define Read_opcode                 read_opcode
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
    return fuel - wm_m3.reserve - fuel_left();
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

static void *note_peak(void *ptr, size_t bytes)
{
    wm_m3.high = max(wm_m3.high, (uintptr_t)ptr + bytes);
    return ptr;
}

void *wm_m3_calloc(size_t count, size_t bytes)
{
    WM_ASSERT(wm_m3.heap != NULL); /* nothing allocates once a module is open */
    void *ptr = count != 0 && bytes > SIZE_MAX / count ? NULL : wm_heap_alloc(wm_m3.heap, count * bytes);
    if (ptr == NULL) {
        leave(count * bytes);
    }
    return memset(note_peak(ptr, count * bytes), 0, count * bytes);
}

void *wm_m3_realloc(void *ptr, size_t bytes)
{
    WM_ASSERT(wm_m3.heap != NULL);
    if (ptr != NULL && ptr == wm_m3.state) {
        return ptr;
    }
    void *moved = wm_heap_resize(wm_m3.heap, ptr, bytes);
    if (moved == NULL) {
        leave(bytes);
    }
    return note_peak(moved, bytes);
}

void wm_m3_free(void *ptr)
{
    WM_ASSERT(ptr == NULL || wm_m3.heap != NULL);
    if (ptr != NULL) {
        wm_heap_free(wm_m3.heap, ptr);
    }
}

#include "cortex_m.h"
#include "board.h"
#include "chip.h"
#include "stack.h"
#include "wasmote/node.h"

#define TICK_HZ 100u

extern uint32_t wm_data_load[], wm_data_start[], wm_data_end[], wm_bss_start[], wm_bss_end[];

static struct {
    uint32_t          cycles, cycles_per_ms; /* of a tick, and of a millisecond */
    volatile uint32_t ticks;
} tick;

/* ---- from reset to main ---- */

int main(void);

__attribute__((noreturn)) void wm_isr_reset(void)
{
    SCB_VTOR = (uint32_t)(uintptr_t)wm_vectors;
    SCB_CPACR |= SCB_CPACR_FPU;
    __asm__ volatile("dsb\n\tisb" ::: "memory"); /* before the first float instruction (PM0214 4.6.6) */
    const uint32_t *from = wm_data_load;
    for (uint32_t *to = wm_data_start; to < wm_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = wm_bss_start; to < wm_bss_end;) {
        *to++ = 0;
    }
    wm_stack_paint();
    main();
    wm_port_panic("main", 0);
}

/* ---- the end ---- */

void wm_isr_unexpected(void)
{
    wm_port_panic("interrupt", 0);
}

/* All faults end here. The stack may be the reason: it lies at the bottom of its RAM, and a frame that would lie
 * below was never written. So look only at a frame inside, and start on a fresh stack. */
__attribute__((naked)) void wm_isr_fault(void)
{
    __asm__ volatile("mov  r2, sp\n"
                     "ldr  r3, =wm_stack_bottom\n"
                     "movs r0, #0\n"
                     "cmp  r2, r3\n"
                     "it   hs\n"
                     "ldrhs r0, [r2, #24]\n" /* the stacked pc */
                     "ldr  r3, =wm_stack_top\n"
                     "mov  sp, r3\n"
                     "ldr  r3, =0xe000ed28\n" /* CFSR: which fault, PM0214 4.4.10 */
                     "ldr  r1, [r3]\n"
                     "b    wm_fault\n"
                     ".ltorg\n"); /* the constants, within reach */
}

void wm_fault(uint32_t pc, uint32_t kind);
__attribute__((used)) void wm_fault(uint32_t pc, uint32_t kind)
{
    wm_serial_cry(&wm_chip_uart, "fault: ", "pc and CFSR", pc, kind);
    wm_chip_reset();
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    __asm__ volatile("cpsid i" ::: "memory");
    wm_serial_cry(&wm_chip_uart, "panic: ", file, (uint32_t)line, (uint32_t)(uintptr_t)__builtin_return_address(0));
    wm_chip_reset();
}

_Noreturn void wm_cortex_m_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)wm_stack_bottom + BOARD_STACK_RESERVE_BYTES;
}

/* ---- time ---- */

void wm_cortex_m_tick(uint32_t core_hz)
{
    tick.cycles = core_hz / TICK_HZ;
    tick.cycles_per_ms = core_hz / 1000;
    SYST_RVR = tick.cycles - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_RUN;
}

void wm_isr_systick(void)
{
    tick.ticks = tick.ticks + 1;
    wm_node_nudge();
}

uint32_t wm_port_now_ms(void)
{
    static uint32_t last_ms;
    uint32_t ticks, left;
    do { /* again if the tick came in between */
        ticks = tick.ticks;
        left = SYST_CVR;
    } while (ticks != tick.ticks);
    const uint32_t ms = ticks * (1000 / TICK_HZ) + (tick.cycles - 1 - left) / tick.cycles_per_ms;
    /* The counter starts over some cycles before its interrupt is taken: never go back by that tick. */
    if ((int32_t)(ms - last_ms) > 0) {
        last_ms = ms;
    }
    return last_ms;
}

uint64_t wm_cortex_m_jitter(void)
{
    return SYST_CVR ^ (uint64_t)tick.ticks << 32;
}

/* startup.c: from reset to main, and the vector table (AN386 table 3-1; PM0214 2.3.4). */
#include "board.h"
#include "chip.h"
#include "mps2.h"
#include "stack.h"

extern uint32_t wm_data_load[], wm_data_start[], wm_data_end[], wm_bss_start[], wm_bss_end[];

int main(void);
void wm_isr_reset(void);
void wm_isr_fault(void);
void wm_isr_systick(void);
void wm_isr_uart(void);
void wm_isr_lan9118(void);
void wm_fault(uint32_t pc, uint32_t kind);
extern void (*const wm_vectors[])(void);

static void unexpected(void)
{
    wm_port_panic("interrupt", 0);
}

#define EXCEPTIONS 16
__attribute__((section(".vectors"), used)) void (*const wm_vectors[EXCEPTIONS + LAN9118_IRQ + 1])(void) = {
    (void (*)(void))wm_stack_top,
    wm_isr_reset,
    unexpected, /* NMI */
    wm_isr_fault,
    wm_isr_fault,
    wm_isr_fault,
    wm_isr_fault,
    [11] = unexpected, /* SVCall */
    [12] = unexpected, /* debug monitor */
    [14] = unexpected, /* PendSV */
    [15] = wm_isr_systick,
    [EXCEPTIONS + UART_IRQ] = wm_isr_uart, /* these two are the only interrupts that are ever enabled */
    [EXCEPTIONS + LAN9118_IRQ] = wm_isr_lan9118,
};

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
    /* What plays flash here is RAM, from address 0 on: a write through a null pointer shall fault, as on a chip. */
    MPU_RNR = 0;
    MPU_RBAR = 0;
    MPU_RASR = MPU_RASR_READ | MPU_RASR_SIZE(BOARD_READ_ONLY_LOG2);
    MPU_CTRL = MPU_CTRL_ON;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    wm_stack_paint();
    main();
    wm_port_panic("main", 0);
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

__attribute__((used)) void wm_fault(uint32_t pc, uint32_t kind)
{
    wm_serial_cry(&wm_chip_uart, "fault: ", "pc and CFSR", pc, kind);
    wm_chip_reset();
}

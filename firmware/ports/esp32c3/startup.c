/* startup.c: from the ROM to main, and the way into traps. Two images share it: IMAGE_IN_FLASH tells the one that the ROM maps and starts
 * where it lies (direct boot) from the one that is loaded into RAM. */
#include "chip.h"
#include "esp32c3.h"
#include "stack.h"

extern uint32_t wm_data_load[], wm_data_start[], wm_data_end[], wm_bss_start[], wm_bss_end[];
extern uint8_t wm_guard_start[], wm_vectors[];

int main(void);
void wm_start(void);
void wm_start_c(void);
void wm_vector_table(void);
void wm_trap_entry(void);

/* Direct boot: the ROM looks for the number twice at the start of the flash, maps the flash from 0x42000000 (code) and 0x3c000000
 * (data) on, and jumps to offset 8 (chips of revision 3 or later; TRM 7, Chip Boot Control, and Espressif's esp32c3-direct-boot-example). */
__attribute__((naked, section(".start"))) void wm_start(void)
{
    __asm__ volatile(
#ifdef IMAGE_IN_FLASH
        ".word 0xaedb041d\n"
        ".word 0xaedb041d\n"
#endif
        ".globl wm_entry\n"
        "wm_entry:\n"
        "csrci mstatus, 8\n"
        ".option push\n"
        ".option norelax\n"
        "la gp, __global_pointer$\n"
        ".option pop\n"
        "la sp, wm_stack_top\n"
        "j wm_start_c\n");
}

__attribute__((used, noreturn)) void wm_start_c(void)
{
    wm_chip_watchdogs_off();
    const uint32_t *from = wm_data_load;
    for (uint32_t *to = wm_data_start; from != to && to < wm_data_end;) { /* loaded into RAM it is in its place */
        *to++ = *from++;
    }
    for (uint32_t *to = wm_bss_start; to < wm_bss_end;) {
        *to++ = 0;
    }
    CSR_WRITE(mtvec, (uintptr_t)wm_vectors | MTVEC_VECTORED);
    /* Below the stack lies nothing, or the code under its address on the data bus: either way an overflow shall be a fault. */
    CSR_WRITE(pmpaddr0, (uintptr_t)wm_guard_start >> 2);
    CSR_WRITE(pmpaddr1, (uintptr_t)wm_stack_bottom >> 2);
    CSR_WRITE(pmpcfg0, PMP_TOR_LOCKED_1);
    wm_stack_paint();
    main();
    wm_port_panic("main", 0);
}

/* TRM 1.5: exceptions go to the first entry, line n to entry n. */
__attribute__((naked, section(".vectors"), used)) void wm_vector_table(void)
{
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".rept 32\n"
                     "j wm_trap_entry\n"
                     ".endr\n"
                     ".option pop\n");
}

/* Interrupts save what C may change. A fault gets a fresh stack, as the old one may be the reason; it never returns.
 * One that came just before the sleep returns behind it (wm_chip_sleep). */
__attribute__((naked, aligned(4))) void wm_trap_entry(void)
{
    __asm__ volatile("csrw mscratch, t0\n"
                     "csrr t0, mcause\n"
                     "bgez t0, 3f\n"
                     "csrr t0, mscratch\n"
                     "addi sp, sp, -64\n"
                     "sw ra, 0(sp)\n sw t0, 4(sp)\n sw t1, 8(sp)\n sw t2, 12(sp)\n"
                     "sw a0, 16(sp)\n sw a1, 20(sp)\n sw a2, 24(sp)\n sw a3, 28(sp)\n"
                     "sw a4, 32(sp)\n sw a5, 36(sp)\n sw a6, 40(sp)\n sw a7, 44(sp)\n"
                     "sw t3, 48(sp)\n sw t4, 52(sp)\n sw t5, 56(sp)\n sw t6, 60(sp)\n"
                     "csrr t0, mepc\n"
                     "la   t1, wm_chip_wfi\n"
                     "bne  t0, t1, 1f\n"
                     "addi t0, t0, 4\n"
                     "csrw mepc, t0\n"
                     "1:\n"
                     "csrr a0, mcause\n"
                     "andi a0, a0, 31\n"
                     "li   t0, 1\n" /* LINE_UART */
                     "bne  a0, t0, 2f\n"
                     "call wm_isr_uart\n"
                     "j    4f\n"
                     "2:\n"
                     "call wm_isr_timer\n"
                     "4:\n"
                     "lw ra, 0(sp)\n lw t0, 4(sp)\n lw t1, 8(sp)\n lw t2, 12(sp)\n"
                     "lw a0, 16(sp)\n lw a1, 20(sp)\n lw a2, 24(sp)\n lw a3, 28(sp)\n"
                     "lw a4, 32(sp)\n lw a5, 36(sp)\n lw a6, 40(sp)\n lw a7, 44(sp)\n"
                     "lw t3, 48(sp)\n lw t4, 52(sp)\n lw t5, 56(sp)\n lw t6, 60(sp)\n"
                     "addi sp, sp, 64\n"
                     "mret\n"
                     "3:\n"
                     "la   sp, wm_stack_top\n"
                     "csrr a0, mcause\n"
                     "csrr a1, mepc\n"
                     "call wm_fault\n");
}
_Static_assert(LINE_UART == 1 && LINE_TIMER == 2, "wm_trap_entry knows them");

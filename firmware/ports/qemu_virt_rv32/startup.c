/* startup.c: from reset to main, and the way into traps. */
#include "chip.h"
#include "stack.h"
#include "virt.h"

extern uint32_t wm_data_load[], wm_data_start[], wm_data_end[], wm_bss_start[], wm_bss_end[];
extern uint8_t wm_flash_start[], wm_flash_bytes[];

int main(void);
void wm_start(void);
void wm_start_c(void);
void wm_trap_entry(void);
void wm_trap(uint32_t cause, uint32_t pc);

__attribute__((naked, section(".start"))) void wm_start(void)
{
    __asm__ volatile(".option push\n"
                     ".option norelax\n"
                     "la gp, __global_pointer$\n"
                     ".option pop\n"
                     "la sp, wm_stack_top\n"
                     "j wm_start_c\n");
}

/* The machine's flash is RAM: lock it against writes, so that a stack that overflows into it faults, as on a chip that has
 * nothing below its RAM. */
__attribute__((used, noreturn)) void wm_start_c(void)
{
    const uint32_t *from = wm_data_load;
    for (uint32_t *to = wm_data_start; to < wm_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = wm_bss_start; to < wm_bss_end;) {
        *to++ = 0;
    }
    CSR_WRITE(mtvec, (uintptr_t)wm_trap_entry);
    CSR_WRITE(pmpaddr0, (uintptr_t)wm_flash_start >> 2 | ((uintptr_t)wm_flash_bytes / 8 - 1));
    CSR_WRITE(pmpcfg0, PMP_LOCKED | PMP_POWER_OF_TWO | PMP_EXECUTE | PMP_READ);
    wm_stack_paint();
    main();
    wm_port_panic("main", 0);
}

/* Interrupts save what C may change. A fault gets a fresh stack, as the old one may be the reason; it never returns. */
__attribute__((naked, aligned(4))) void wm_trap_entry(void)
{
    __asm__ volatile("csrw mscratch, t0\n"
                     "csrr t0, mcause\n"
                     "bltz t0, 1f\n"
                     "la   sp, wm_stack_top\n"
                     "1:\n"
                     "csrr t0, mscratch\n"
                     "addi sp, sp, -64\n"
                     "sw ra, 0(sp)\n sw t0, 4(sp)\n sw t1, 8(sp)\n sw t2, 12(sp)\n"
                     "sw a0, 16(sp)\n sw a1, 20(sp)\n sw a2, 24(sp)\n sw a3, 28(sp)\n"
                     "sw a4, 32(sp)\n sw a5, 36(sp)\n sw a6, 40(sp)\n sw a7, 44(sp)\n"
                     "sw t3, 48(sp)\n sw t4, 52(sp)\n sw t5, 56(sp)\n sw t6, 60(sp)\n"
                     "csrr a0, mcause\n"
                     "csrr a1, mepc\n"
                     "call wm_trap\n"
                     "lw ra, 0(sp)\n lw t0, 4(sp)\n lw t1, 8(sp)\n lw t2, 12(sp)\n"
                     "lw a0, 16(sp)\n lw a1, 20(sp)\n lw a2, 24(sp)\n lw a3, 28(sp)\n"
                     "lw a4, 32(sp)\n lw a5, 36(sp)\n lw a6, 40(sp)\n lw a7, 44(sp)\n"
                     "lw t3, 48(sp)\n lw t4, 52(sp)\n lw t5, 56(sp)\n lw t6, 60(sp)\n"
                     "addi sp, sp, 64\n"
                     "mret\n");
}

/* virt.h: the devices of QEMU's `virt` machine that the port uses (its docs/system/riscv/virt and hw/riscv/virt.c). */
#ifndef WM_VIRT_H
#define WM_VIRT_H

#include <stdint.h>

#define REG(address)  (*(volatile uint32_t *)(uintptr_t)(address))
#define REG8(address) (*(volatile uint8_t *)(uintptr_t)(address))

/* SiFive test device: ends or restarts the emulator. */
#define TEST       REG(0x00100000)
#define TEST_FAIL  0x3333u /* exit status in the upper half */
#define TEST_RESET 0x7777u

/* CLINT: the machine timer, 10 MHz. */
#define TIMER_HZ    10000000u
#define MTIMECMP_LO REG(0x02004000)
#define MTIMECMP_HI REG(0x02004004)
#define MTIME_LO    REG(0x0200bff8)
#define MTIME_HI    REG(0x0200bffc)

/* PLIC, context 0: machine mode of hart 0. */
#define PLIC_PRIORITY(irq) REG(0x0c000000 + 4 * (irq))
#define PLIC_ENABLE        REG(0x0c002000)
#define PLIC_THRESHOLD     REG(0x0c200000)
#define PLIC_CLAIM         REG(0x0c200004)
#define UART_IRQ           10u

/* 16550 UART */
#define UART_DATA     REG8(0x10000000)
#define UART_IER      REG8(0x10000001)
#define UART_IER_RX   1u
#define UART_FCR      REG8(0x10000002)
#define UART_FCR_ON   1u
#define UART_LSR      REG8(0x10000005)
#define UART_LSR_RX   (1u << 0)
#define UART_LSR_TX   (1u << 5)
#define UART_LSR_IDLE (1u << 6)

/* Machine-mode control and status registers, privileged specification 1.10, 3.1 and 3.6 */
#define PMP_READ          1u
#define PMP_EXECUTE       4u
#define PMP_POWER_OF_TWO  (3u << 3)
#define PMP_LOCKED        (1u << 7) /* holds in machine mode too */
#define MSTATUS_MIE       (1u << 3)
#define MIE_TIMER         (1u << 7)
#define MIE_EXTERNAL      (1u << 11)
#define MCAUSE_INTERRUPT  (1u << 31)
#define CSR_READ(name)    ({ uint32_t csr_; __asm__ volatile("csrr %0, " #name : "=r"(csr_)); csr_; })
#define CSR_WRITE(name, v) __asm__ volatile("csrw " #name ", %0" ::"r"((uint32_t)(v)) : "memory")
#define CSR_SET(name, v)   __asm__ volatile("csrs " #name ", %0" ::"r"((uint32_t)(v)) : "memory")
#define CSR_CLEAR(name, v) __asm__ volatile("csrc " #name ", %0" ::"r"((uint32_t)(v)) : "memory")

#endif

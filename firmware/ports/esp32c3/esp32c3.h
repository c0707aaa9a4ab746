/* esp32c3.h: the registers that the port uses. Facts from the ESP32-C3 Technical Reference Manual (TRM) v1.1, named by chapter and
 * register; where it is silent, from the register headers that Espressif publishes. */
#ifndef WM_ESP32C3_H
#define WM_ESP32C3_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define XTAL_HZ 40000000u /* the only crystal that the chip takes (TRM 6, Reset and Clock) */

/* TRM 16, System Registers */
#define SYSTEM_PERIP_CLK_EN0 REG(0x600c0010)
#define SYSTEM_PERIP_RST_EN0 REG(0x600c0018)
#define SYSTEM_UART          (1u << 2)
#define SYSTEM_UART_MEM      (1u << 24)
#define SYSTEM_SYSTIMER      (1u << 29)

/* TRM 8, Interrupt Matrix: which line of the CPU a source goes to, and each line's state */
#define INTERRUPT_UART_MAP     REG(0x600c2054)
#define INTERRUPT_SYSTIMER_MAP REG(0x600c2094) /* of its target 0 */
#define INTERRUPT_ENABLE       REG(0x600c2104)
#define INTERRUPT_TYPE         REG(0x600c2108) /* 0: level */
#define INTERRUPT_PRIORITY(n)  REG(0x600c2114 + 4 * (n))
#define INTERRUPT_THRESHOLD    REG(0x600c2194)

/* TRM 26, UART Controller; UART0 */
#define UART_FIFO             REG(0x60000000)
#define UART_INT_ENA          REG(0x6000000c)
#define UART_INT_CLR          REG(0x60000010)
#define UART_INT_RX_FULL      (1u << 0)
#define UART_INT_RX_TIMEOUT   (1u << 8)
#define UART_CLKDIV           REG(0x60000014) /* divisor; from bit 20 on its sixteenths */
#define UART_STATUS           REG(0x6000001c)
#define UART_RX_COUNT(status) ((status) & 0x3ffu)
#define UART_TX_COUNT(status) ((status) >> 16 & 0x3ffu)
#define UART_FIFO_BYTES       128u
#define UART_CONF0            REG(0x60000020)
#define UART_CONF0_8N1        (1u << 28 | 1u << 4 | 3u << 2) /* memory clock on, one stop bit, eight data bits */
#define UART_CONF1            REG(0x60000024)
#define UART_CONF1_TIMEOUT    (1u << 21) /* the low nine bits: how full the FIFO may get without an interrupt */
#define UART_MEM_CONF         REG(0x60000060)
#define UART_TIMEOUT_BITS(n)  ((n) << 16) /* silence of so many bits */
#define UART_TIMEOUT_MASK     (0x3ffu << 16)
#define UART_FSM_STATUS       REG(0x6000006c)
#define UART_FSM_TX(status)   ((status) >> 4 & 15u) /* 0: nothing on its way */
#define UART_CLK_CONF         REG(0x60000078)
#define UART_CLK_XTAL         (1u << 25 | 1u << 24 | 1u << 22 | 3u << 20) /* RX, TX and core clock on, from the crystal */
#define UART_ID               REG(0x60000080)
#define UART_ID_UPDATE        (1u << 31) /* hand the configuration to the core; 0 when that is done */

/* TRM 5, IO MUX; U0RXD is GPIO20, U0TXD is GPIO21, and both are the pins' function 0 */
#define IO_MUX_GPIO20   REG(0x60009054)
#define IO_MUX_GPIO21   REG(0x60009058)
#define IO_MUX_PULL_UP  (1u << 8)
#define IO_MUX_INPUT    (1u << 9)
#define IO_MUX_FUNCTION (7u << 12)

/* TRM 10, System Timer: 16 MHz from the crystal, whatever the CPU's clock is */
#define SYSTIMER_HZ             16000000u
#define SYSTIMER_CONF           REG(0x60023000)
#define SYSTIMER_CONF_ON        (1u << 31 | 1u << 30 | 1u << 24) /* register clock, unit 0, target 0 */
#define SYSTIMER_UNIT0_OP       REG(0x60023004)
#define SYSTIMER_UNIT0_UPDATE   (1u << 30)
#define SYSTIMER_UNIT0_VALID    (1u << 29)
#define SYSTIMER_UNIT0_VALUE_LO REG(0x60023044)
#define SYSTIMER_TARGET0_CONF   REG(0x60023034) /* the low 26 bits: period; unit 0 */
#define SYSTIMER_PERIOD_MODE    (1u << 30)
#define SYSTIMER_COMP0_LOAD     REG(0x60023050)
#define SYSTIMER_INT_ENA        REG(0x60023064)
#define SYSTIMER_INT_CLR        REG(0x6002306c)
#define SYSTIMER_TARGET0        1u

/* TRM 12, Watchdog Timers: of timer groups 0 and 1, of the RTC, and the super watchdog */
#define TIMG_WDTCONFIG0(group)  REG(0x6001f048 + 0x1000 * (group))
#define TIMG_WDT_UPDATE         (1u << 22)
#define TIMG_WDTWPROTECT(group) REG(0x6001f064 + 0x1000 * (group))
#define RTC_WDTCONFIG0          REG(0x60008090)
#define RTC_WDTWPROTECT         REG(0x600080a8)
#define WDT_KEY                 0x50d83aa1u
#define RTC_SWD_CONF            REG(0x600080ac)
#define RTC_SWD_AUTO_FEED       (1u << 31)
#define RTC_SWD_WPROTECT        REG(0x600080b0)
#define SWD_KEY                 0x8f1d312au

/* TRM 9, Low-power Management, and 6.1, Reset */
#define RTC_OPTIONS0       REG(0x60008000)
#define RTC_SW_SYS_RST     (1u << 31)
#define RTC_RESET_STATE    REG(0x60008038)
#define RTC_RESET_CAUSE(s) ((s) & 0x3fu)

/* TRM 4, eFuse Controller: the MAC address, its last four bytes and its first two */
#define EFUSE_MAC_LO REG(0x60008844)
#define EFUSE_MAC_HI REG(0x60008848)

/* TRM 25, Random Number Generator */
#define RNG_DATA REG(0x600260b0)

/* TRM 1, ESP-RISC-V CPU: machine mode only as far as used here. It has neither mie nor mip (the interrupt matrix stands for them) and no
 * cycle counter of the standard; mtvec takes a table of jumps, aligned to 256 bytes. */
#define MSTATUS_MIE       (1u << 3)
#define MTVEC_VECTORED    1u
#define PMP_TOR_LOCKED_1  ((1u << 7 | 1u << 3) << 8) /* entry 1: from pmpaddr0 to pmpaddr1, no access, in machine mode too */
#define CSR_WRITE(name, v) __asm__ volatile("csrw " #name ", %0" ::"r"((uint32_t)(v)) : "memory")
#define CSR_SET(name, v)   __asm__ volatile("csrs " #name ", %0" ::"r"((uint32_t)(v)) : "memory")
#define CSR_CLEAR(name, v) __asm__ volatile("csrc " #name ", %0" ::"r"((uint32_t)(v)) : "memory")

/* Lines of the CPU that the port uses (1 to 31); startup.c has the table. */
#define LINE_UART  1u
#define LINE_TIMER 2u

#endif

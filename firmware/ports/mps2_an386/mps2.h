/* mps2.h: the devices of Arm's MPS2 board with the FPGA image AN386 that the port uses. AN386: Arm's application note of that name
 * (DAI0386), 2 and 3; CMSDK: Cortex-M System Design Kit TRM (DDI0479), 4; the Cortex-M4's own registers: PM0214 4. */
#ifndef WM_MPS2_H
#define WM_MPS2_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define CLOCK_HZ 25000000u /* processor and peripherals */

/* CMSDK APB UART, number 0; its receive interrupt (CMSDK 4.3, AN386 table 3-1) */
#define UART_IRQ       0u
#define UART_DATA      REG(0x40004000)
#define UART_STATE     REG(0x40004004)
#define UART_STATE_TX  (1u << 0) /* transmit buffer full */
#define UART_STATE_RX  (1u << 1) /* receive buffer full */
#define UART_CTRL      REG(0x40004008)
#define UART_CTRL_ON   (1u << 0 | 1u << 1 | 1u << 3) /* transmitter, receiver, receive interrupt */
#define UART_INT       REG(0x4000400c) /* write 1 to clear */
#define UART_INT_RX    (1u << 1)
#define UART_BAUDDIV   REG(0x40004010)

/* Ethernet: a LAN9118 on the static memory bus (AN386 3.5) */
#define LAN9118_IRQ  13u
#define LAN9118_BASE 0x40200000u

/* SysTick, NVIC, memory protection and system control block, PM0214 4.2 to 4.5 */
#define SYST_CSR        REG(0xe000e010)
#define SYST_CSR_RUN    7u /* processor clock, interrupt, enable */
#define SYST_RVR        REG(0xe000e014)
#define SYST_CVR        REG(0xe000e018)
#define NVIC_ISER       REG(0xe000e100)
#define NVIC_ICER       REG(0xe000e180)
#define NVIC_BIT(irq)   (1u << (irq)) /* of the first 32 */
#define SCB_VTOR        REG(0xe000ed08)
#define SCB_AIRCR       REG(0xe000ed0c)
#define SCB_AIRCR_RESET (0x05fa0000u | 1u << 2)
#define SCB_CPACR       REG(0xe000ed88)
#define SCB_CPACR_FPU   (0xfu << 20)
#define MPU_CTRL        REG(0xe000ed94)
#define MPU_CTRL_ON     (1u << 0 | 1u << 2) /* where no region lies, the default map */
#define MPU_RNR         REG(0xe000ed98)
#define MPU_RBAR        REG(0xe000ed9c)
#define MPU_RASR        REG(0xe000eda0)
#define MPU_RASR_READ   (6u << 24 | 1u << 17) /* read-only memory, may be executed */
#define MPU_RASR_SIZE(log2) (((log2) - 1) << 1 | 1u)

#endif

/* mps2.h: the devices of Arm's MPS2 board with the FPGA image AN386 that the port uses. AN386: Arm's application note of that name
 * (DAI0386), 2 and 3; CMSDK: Cortex-M System Design Kit TRM (DDI0479), 4. The core's own registers: cortex_m.h. */
#ifndef WM_MPS2_H
#define WM_MPS2_H

#include "cortex_m.h"

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

#endif

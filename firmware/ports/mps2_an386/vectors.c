/* vectors.c: the vector table (AN386 table 3-1). */
#include "mps2.h"
#include "stack.h"

void wm_isr_uart(void);
void wm_isr_lan9118(void);

__attribute__((section(".vectors"), used)) void (*const wm_vectors[WM_CORTEX_M_EXCEPTIONS + LAN9118_IRQ + 1])(void) = {
    WM_CORTEX_M_VECTORS,
    [WM_CORTEX_M_EXCEPTIONS + UART_IRQ] = wm_isr_uart, /* these two are the only interrupts that are ever enabled */
    [WM_CORTEX_M_EXCEPTIONS + LAN9118_IRQ] = wm_isr_lan9118,
};

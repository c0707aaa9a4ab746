/* vectors.c: the vector table (RM0090 12.2, RM0383 10.2). */
#include "board.h"
#include "cortex_m.h"
#include "stack.h"

void wm_isr_uart(void);

__attribute__((section(".vectors"), used)) void (*const wm_vectors[WM_CORTEX_M_EXCEPTIONS + BOARD_UART_IRQ + 1])(void) = {
    WM_CORTEX_M_VECTORS,
    [WM_CORTEX_M_EXCEPTIONS + BOARD_UART_IRQ] = wm_isr_uart, /* the only interrupt that is ever enabled */
};

/* chip.h: timer, UART and end of QEMU's `virt` machine. */
#ifndef WM_VIRT_CHIP_H
#define WM_VIRT_CHIP_H

#include "serial.h"

extern const struct wm_uart wm_chip_uart;

/* Once, first: timer, UART, interrupts. */
void wm_chip_init(void);

/* Sleep until an interrupt or for wait_ms, unless idle() has become false meanwhile. */
void wm_chip_sleep(uint32_t wait_ms, bool (*idle)(void));

_Noreturn void wm_chip_reset(void);

#endif

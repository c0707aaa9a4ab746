/* chip.h: clock, UART and identity of an STM32F4. */
#ifndef WM_STM32F4_CHIP_H
#define WM_STM32F4_CHIP_H

#include "serial.h"

extern const struct wm_uart wm_chip_uart;

/* Once, first: clocks, tick, UART. */
void wm_chip_init(void);

/* Sleep until the next interrupt, unless idle() has become false meanwhile. */
void wm_chip_sleep(bool (*idle)(void));

const char *wm_chip_reset_cause(void); /* as in docs/PROTOCOL.md 3.1; the first call clears the chip's record */

/* The chip's unique id as 24 hex digits and a zero. False, nothing written: an emulator has none. */
bool wm_chip_uid(char hex[25]);

_Noreturn void wm_chip_reset(void); /* sends what is still in the UART first */

#endif

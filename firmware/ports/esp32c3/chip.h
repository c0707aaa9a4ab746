/* chip.h: what the port does with an ESP32-C3. */
#ifndef WM_ESP32C3_CHIP_H
#define WM_ESP32C3_CHIP_H

#include "serial.h"

extern const struct wm_uart wm_chip_uart;

/* At once after reset, before RAM is set up: the ROM starts two watchdogs, and a third runs by itself. */
void wm_chip_watchdogs_off(void);

/* Once, first in main: timer, UART, interrupts. */
void wm_chip_init(void);

/* Sleep until an interrupt, unless idle() has become false meanwhile. */
void wm_chip_sleep(bool (*idle)(void));

/* The MAC address in the chip's fuses, 12 digits and a zero. */
void wm_chip_mac(char hex[13]);

/* docs/PROTOCOL.md 3.1 */
const char *wm_chip_reset_cause(void);

_Noreturn void wm_chip_reset(void);

#endif

/* chip.h: clock, UART and end of the MPS2's AN386. */
#ifndef WM_MPS2_CHIP_H
#define WM_MPS2_CHIP_H

#include "serial.h"

extern const struct wm_uart wm_chip_uart;

/* Once, first: tick, UART, interrupts. */
void wm_chip_init(void);

/* Sleep until the next interrupt, unless idle() has become false meanwhile. */
void wm_chip_sleep(bool (*idle)(void));

/* What wm_port_entropy gives is made of words like this: a time of arrival, a counter of another clock. */
void wm_chip_stir(uint32_t word);

_Noreturn void wm_chip_reset(void); /* sends what is still in the UART first */

#endif

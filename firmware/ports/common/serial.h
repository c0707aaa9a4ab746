/* serial.h: a slipmux link over a UART, for bare-metal ports. An interrupt queues received bytes, the node loop takes
 * frames out of the queue; sending is polled.
 *
 *   interrupt: while the UART has a byte: wm_serial_rx_room() ? wm_serial_rx(byte) : mask the interrupt and return
 *   main loop: wm_serial_pump() -> the node's recv
 *
 * The byte that finds the ring full stays in the UART, and the interrupt is masked until the ring is half empty (uart->unmask).
 * On a real line the next bytes are then lost, and the check sequence drops the frame; an emulator holds its sender back. */
#ifndef WM_PORT_SERIAL_H
#define WM_PORT_SERIAL_H

#include "link/slipmux.h"
#include "wasmote/port.h"

#ifndef WM_SERIAL_RING_BYTES
#define WM_SERIAL_RING_BYTES 1024 /* a power of two; 89 ms at 115200 baud */
#endif

struct wm_uart {
    void (*put)(void *ctx, uint8_t byte); /* waits for room, for a bounded time; ctx is NULL */
    void (*unmask)(void);                 /* let the receive interrupt come again */
};

/* Fill link; the one serial link of the image. */
void wm_serial_init(struct wm_link *link, const struct wm_uart *uart);

/* Interrupt side. */
bool wm_serial_rx_room(void);
void wm_serial_rx(uint8_t byte); /* only with room */

/* Take bytes out of the ring until a message is complete. Returns whether one waits for recv. */
bool wm_serial_pump(void);

/* Send a diagnostics frame: text and more, both ASCII. */
void wm_serial_say(const char *text, const char *more);

/* For panics and faults: write a diagnostics frame piece by piece without RAM of its own, with interrupts off. */
void wm_serial_cry(const struct wm_uart *uart, const char *what, const char *where, uint32_t a, uint32_t b);

#endif

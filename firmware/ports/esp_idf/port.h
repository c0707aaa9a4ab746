/* port.h: the parts of the ESP-IDF port. */
#ifndef WM_ESP_IDF_PORT_H
#define WM_ESP_IDF_PORT_H

#include "wasmote/port.h"

#include "esp_err.h"
#include "esp_event.h"
#include "sdkconfig.h"

/* ---- system.c ---- */

/* The node's identity, "esp-" and the MAC address in the chip's fuses. */
void port_ep(char ep[17]);
const char *port_reset_cause(void);

/* ---- node_task.c ---- */

struct port_stack {
    uintptr_t bottom;
    uint32_t  bytes;
};
const struct port_stack *port_stack(void);
uint32_t port_stack_left_min(void); /* bytes that were never used */

/* ---- uart.c ---- */

/* Open the UART of menuconfig and fill link. */
esp_err_t port_uart_open(struct wm_link *link);

/* Take what the driver has; whether a whole message waits for recv. */
bool port_uart_pump(void);

/* Sleep until bytes have come, or ms have passed. */
void port_uart_wait(uint32_t ms);

/* ---- for wifi.c and ethernet.c ---- */

#define PORT_ADDRESS_TIMEOUT_MS 30000u

#endif

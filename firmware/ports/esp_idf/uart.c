/* uart.c: slipmux over a UART. ESP-IDF's driver has the interrupt and buffers; the bytes go through ports/common/serial.c. */
#include "port.h"
#include "serial.h"

#if CONFIG_WASMOTE_SERIAL

#include "driver/uart.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

#define PORT         ((uart_port_t)CONFIG_WASMOTE_UART_NUM)
#define BUFFER_BYTES 2048 /* each way */
#define EVENTS       16
#define FRAME_END    0xc0u

static struct {
    QueueHandle_t events;
    int (*recv)(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap); /* serial.c's */
    size_t  gathered;
    uint8_t out[128];
} uart;

/* A call of the driver takes a lock: gather a frame, or as much of it as fits. */
static void put(void *ctx, uint8_t byte)
{
    (void)ctx;
    uart.out[uart.gathered++] = byte;
    if (byte == FRAME_END || uart.gathered == sizeof uart.out) {
        (void)uart_write_bytes(PORT, uart.out, uart.gathered);
        uart.gathered = 0;
    }
}

static void unmask(void)
{
    /* What did not fit is still the driver's: port_uart_pump takes it. */
}

static const struct wm_uart ops = {.put = put, .unmask = unmask};

bool port_uart_pump(void)
{
    while (!wm_serial_pump()) {
        uint8_t byte;
        if (!wm_serial_rx_room() || uart_read_bytes(PORT, &byte, 1, 0) != 1) {
            return false;
        }
        wm_serial_rx(byte);
    }
    return true;
}

static int uart_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    return port_uart_pump() ? uart.recv(ctx, peer, buf, cap) : 0;
}

void port_uart_wait(uint32_t ms)
{
    uart_event_t event;
    if (xQueueReceive(uart.events, &event, pdMS_TO_TICKS(ms)) == pdTRUE &&
        (event.type == UART_FIFO_OVF || event.type == UART_BUFFER_FULL)) {
        (void)xQueueReset(uart.events); /* bytes are lost: the check sequence of the frame finds that */
    }
}

esp_err_t port_uart_open(struct wm_link *link)
{
    const uart_config_t config = {
        .baud_rate = CONFIG_WASMOTE_UART_BAUD,
        .data_bits = UART_DATA_8_BITS,
        .parity = UART_PARITY_DISABLE,
        .stop_bits = UART_STOP_BITS_1,
        .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
        .source_clk = UART_SCLK_DEFAULT,
    };
    esp_err_t err = uart_driver_install(PORT, BUFFER_BYTES, BUFFER_BYTES, EVENTS, &uart.events, 0);
    if (err == ESP_OK) {
        err = uart_param_config(PORT, &config);
    }
    if (err == ESP_OK) {
        err = uart_set_pin(PORT, CONFIG_WASMOTE_UART_TX, CONFIG_WASMOTE_UART_RX, UART_PIN_NO_CHANGE, UART_PIN_NO_CHANGE);
    }
    if (err != ESP_OK) {
        return err;
    }
    wm_serial_init(link, &ops);
    uart.recv = link->recv;
    link->recv = uart_recv;
    return ESP_OK;
}

#endif

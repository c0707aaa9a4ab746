#ifndef STUB_DRIVER_UART_H
#define STUB_DRIVER_UART_H
#include "esp_err.h"
#include "freertos/queue.h"
typedef int uart_port_t;
typedef enum { UART_DATA_8_BITS = 3 } uart_word_length_t;
typedef enum { UART_PARITY_DISABLE } uart_parity_t;
typedef enum { UART_STOP_BITS_1 = 1 } uart_stop_bits_t;
typedef enum { UART_HW_FLOWCTRL_DISABLE } uart_hw_flowcontrol_t;
typedef enum { UART_SCLK_DEFAULT = 4 } uart_sclk_t;
#define UART_PIN_NO_CHANGE (-1)
typedef struct {
    int                   baud_rate;
    uart_word_length_t    data_bits;
    uart_parity_t         parity;
    uart_stop_bits_t      stop_bits;
    uart_hw_flowcontrol_t flow_ctrl;
    uint8_t               rx_flow_ctrl_thresh;
    uart_sclk_t           source_clk;
} uart_config_t;
typedef enum { UART_DATA, UART_BREAK, UART_BUFFER_FULL, UART_FIFO_OVF } uart_event_type_t;
typedef struct { uart_event_type_t type; size_t size; } uart_event_t;
esp_err_t uart_driver_install(uart_port_t port, int rx_bytes, int tx_bytes, int queue_size, QueueHandle_t *queue, int flags);
esp_err_t uart_param_config(uart_port_t port, const uart_config_t *config);
esp_err_t uart_set_pin(uart_port_t port, int tx, int rx, int rts, int cts);
int uart_read_bytes(uart_port_t port, void *buf, uint32_t len, TickType_t ticks);
int uart_write_bytes(uart_port_t port, const void *src, size_t len);
#endif

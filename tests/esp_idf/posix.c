/* posix.c: the stand-ins behind stubs/, and main: app_main on a PC. A task is a thread on the stack that it is given, a UART a
 * pseudo-terminal whose name is printed, an address comes as soon as the network is started. */
#include "driver/uart.h"
#include "esp_eth_driver.h"
#include "esp_eth_netif_glue.h"
#include "esp_heap_caps.h"
#include "esp_mac.h"
#include "esp_netif.h"
#include "esp_random.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "esp_wifi.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "nvs_flash.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAINT 0xa5

/* ---- FreeRTOS ---- */

static struct {
    TaskFunction_t code;
    void          *arg;
    StackType_t   *stack;
    size_t         bytes;
} task;

static void *task_main(void *arg)
{
    (void)arg;
    task.code(task.arg);
    return NULL;
}

TaskHandle_t xTaskCreateStatic(TaskFunction_t code, const char *name, uint32_t stack_depth, void *arg, UBaseType_t priority,
                               StackType_t *stack, StaticTask_t *control)
{
    (void)name;
    (void)priority;
    task.code = code;
    task.arg = arg;
    task.stack = stack;
    task.bytes = stack_depth;
    memset(stack, PAINT, stack_depth);
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstack(&attributes, stack, stack_depth) != 0 ||
        pthread_create(&thread, &attributes, task_main, NULL) != 0) {
        return NULL;
    }
    return control;
}

UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t handle)
{
    (void)handle;
    size_t left = 0;
    while (left < task.bytes && task.stack[left] == PAINT) {
        left++;
    }
    return (UBaseType_t)left;
}

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t  given;
    int             count, fd;
};

SemaphoreHandle_t xSemaphoreCreateBinary(void)
{
    SemaphoreHandle_t made = calloc(1, sizeof *made);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->given, NULL);
    return made;
}

BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore)
{
    pthread_mutex_lock(&semaphore->lock);
    semaphore->count = 1;
    pthread_cond_signal(&semaphore->given);
    pthread_mutex_unlock(&semaphore->lock);
    return pdTRUE;
}

BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ticks / 1000;
    pthread_mutex_lock(&semaphore->lock);
    int err = 0;
    while (semaphore->count == 0 && err == 0) {
        err = pthread_cond_timedwait(&semaphore->given, &semaphore->lock, &until);
    }
    const BaseType_t taken = semaphore->count == 1 ? pdTRUE : pdFALSE;
    semaphore->count = 0;
    pthread_mutex_unlock(&semaphore->lock);
    return taken;
}

/* ---- UART ---- */

static struct queue uart = {.fd = -1};

esp_err_t uart_driver_install(uart_port_t port, int rx_bytes, int tx_bytes, int queue_size, QueueHandle_t *queue, int flags)
{
    (void)port;
    (void)rx_bytes;
    (void)tx_bytes;
    (void)queue_size;
    (void)flags;
    uart.fd = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios raw;
    if (uart.fd < 0 || grantpt(uart.fd) != 0 || unlockpt(uart.fd) != 0 || tcgetattr(uart.fd, &raw) != 0) {
        return ESP_FAIL;
    }
    cfmakeraw(&raw);
    (void)tcsetattr(uart.fd, TCSANOW, &raw);
    (void)open(ptsname(uart.fd), O_RDWR | O_NOCTTY); /* kept open: without a user at the other end it would be an error */
    printf("uart %s\n", ptsname(uart.fd));
    fflush(stdout);
    *queue = &uart;
    return ESP_OK;
}

esp_err_t uart_param_config(uart_port_t port, const uart_config_t *config)
{
    (void)port;
    return config->baud_rate == 115200 && config->data_bits == UART_DATA_8_BITS ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t uart_set_pin(uart_port_t port, int tx, int rx, int rts, int cts)
{
    (void)port;
    return tx >= 0 && rx >= 0 && rts == UART_PIN_NO_CHANGE && cts == UART_PIN_NO_CHANGE ? ESP_OK : ESP_ERR_INVALID_ARG;
}

static int uart_ready(TickType_t ticks)
{
    struct pollfd fd = {.fd = uart.fd, .events = POLLIN};
    return poll(&fd, 1, (int)ticks) == 1 && (fd.revents & POLLIN) != 0;
}

int uart_read_bytes(uart_port_t port, void *buf, uint32_t len, TickType_t ticks)
{
    (void)port;
    return uart_ready(ticks) ? (int)read(uart.fd, buf, len) : 0;
}

int uart_write_bytes(uart_port_t port, const void *src, size_t len)
{
    (void)port;
    return (int)write(uart.fd, src, len);
}

BaseType_t xQueueReceive(QueueHandle_t queue, void *item, TickType_t ticks)
{
    (void)queue;
    if (!uart_ready(ticks)) {
        return pdFALSE;
    }
    *(uart_event_t *)item = (uart_event_t){.type = UART_DATA};
    return pdTRUE;
}

BaseType_t xQueueReset(QueueHandle_t queue)
{
    (void)queue;
    return pdTRUE;
}

/* ---- ESP-IDF ---- */

struct esp_timer {
    esp_timer_create_args_t args;
    uint64_t                period_us;
};

int64_t esp_timer_get_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *out)
{
    *out = calloc(1, sizeof **out);
    (*out)->args = *args;
    return ESP_OK;
}

static void *timer_main(void *arg)
{
    const struct esp_timer *timer = arg;
    for (;;) {
        usleep((useconds_t)timer->period_us);
        timer->args.callback(timer->args.arg);
    }
    return NULL;
}

esp_err_t esp_timer_start_periodic(esp_timer_handle_t timer, uint64_t period_us)
{
    pthread_t thread;
    timer->period_us = period_us;
    return pthread_create(&thread, NULL, timer_main, timer) == 0 ? ESP_OK : ESP_FAIL;
}

esp_err_t esp_efuse_mac_get_default(uint8_t *mac)
{
    memcpy(mac, "\x58\xcf\x79\x01\x02\xfe", 6);
    return ESP_OK;
}

void esp_fill_random(void *buf, size_t len)
{
    if (getrandom(buf, len, 0) != (ssize_t)len) {
        abort();
    }
}

esp_reset_reason_t esp_reset_reason(void)
{
    return ESP_RST_POWERON;
}

void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps)
{
    (void)caps;
    return aligned_alloc(alignment, size);
}

static struct {
    esp_event_base_t    base;
    int32_t             id;
    esp_event_handler_t handler;
    void               *arg;
} handlers[4];
static unsigned handler_count;

esp_event_base_t const IP_EVENT = "IP_EVENT", WIFI_EVENT = "WIFI_EVENT";

esp_err_t esp_event_loop_create_default(void)
{
    return ESP_ERR_INVALID_STATE; /* the application has one */
}

esp_err_t esp_event_handler_register(esp_event_base_t base, int32_t id, esp_event_handler_t handler, void *arg)
{
    handlers[handler_count].base = base;
    handlers[handler_count].id = id;
    handlers[handler_count].handler = handler;
    handlers[handler_count++].arg = arg;
    return ESP_OK;
}

static void post(esp_event_base_t base, int32_t id)
{
    for (unsigned i = 0; i < handler_count; i++) {
        if (handlers[i].base == base && (handlers[i].id == id || handlers[i].id == ESP_EVENT_ANY_ID)) {
            handlers[i].handler(handlers[i].arg, base, id, NULL);
        }
    }
}

static int thing; /* what handles point to */

esp_err_t esp_netif_init(void)
{
    return ESP_OK;
}

esp_netif_t *esp_netif_new(const esp_netif_config_t *config)
{
    (void)config;
    return (esp_netif_t *)&thing;
}

esp_err_t esp_netif_attach(esp_netif_t *netif, void *driver)
{
    return netif != NULL && driver != NULL ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_netif_t *esp_netif_create_default_wifi_sta(void)
{
    return (esp_netif_t *)&thing;
}

static char ssid[33];

esp_err_t esp_wifi_init(const wifi_init_config_t *config)
{
    return config->magic == 0x1f2f3f4f ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t esp_wifi_set_mode(wifi_mode_t mode)
{
    return mode == WIFI_MODE_STA ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t esp_wifi_set_config(wifi_interface_t interface, wifi_config_t *config)
{
    memcpy(ssid, config->sta.ssid, sizeof config->sta.ssid);
    return interface == WIFI_IF_STA ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_err_t esp_wifi_start(void)
{
    post(WIFI_EVENT, WIFI_EVENT_STA_START);
    return ESP_OK;
}

/* The first try fails, as it may: the station has to try again. */
esp_err_t esp_wifi_connect(void)
{
    static unsigned tries;
    if (tries++ == 0) {
        post(WIFI_EVENT, WIFI_EVENT_STA_DISCONNECTED);
    } else {
        printf("wifi %s\n", ssid);
        fflush(stdout);
        post(IP_EVENT, IP_EVENT_STA_GOT_IP);
    }
    return ESP_OK;
}

esp_err_t nvs_flash_init(void)
{
    static unsigned tries;
    return tries++ == 0 ? ESP_ERR_NVS_NO_FREE_PAGES : ESP_OK;
}

esp_err_t nvs_flash_erase(void)
{
    return ESP_OK;
}

esp_err_t esp_eth_start(esp_eth_handle_t driver)
{
    printf("ethernet\n");
    fflush(stdout);
    post(IP_EVENT, IP_EVENT_ETH_GOT_IP);
    return driver != NULL ? ESP_OK : ESP_ERR_INVALID_ARG;
}

esp_eth_netif_glue_handle_t esp_eth_new_netif_glue(esp_eth_handle_t driver)
{
    return (esp_eth_netif_glue_handle_t)driver;
}

/* ---- the program ---- */

void app_main(void);

int main(void)
{
    app_main();
    printf("started\n");
    fflush(stdout);
    for (;;) {
        pause();
    }
}

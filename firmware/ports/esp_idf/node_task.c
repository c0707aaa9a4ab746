/* node_task.c: the node as a task of FreeRTOS. Everything of the node runs in it; the timer's callback only nudges. */
#include "port.h"
#include "serial.h"
#include "wasmote/node.h"
#include "wasmote_idf.h"

#include "esp_heap_caps.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#if CONFIG_WASMOTE_UDP
#include "udp_socket.h"

#include <sys/select.h>
#endif

#if !CONFIG_WASMOTE_UDP && !CONFIG_WASMOTE_SERIAL
#error "a node needs a link: WASMOTE_UDP or WASMOTE_SERIAL in menuconfig"
#endif

#define NUDGE_US  10000 /* while a function runs, it looks at the links that often at least */
#define SHARED_MS 10u   /* with two links, how late a byte on the serial one may be seen */

static const char TAG[] = "wasmote";

static struct {
    TaskHandle_t         task;
    StaticTask_t         control;
    struct wm_link       links[WM_LINKS];
    size_t               link_count;
    struct wm_node      *node;
    char                 ep[17];
    struct port_stack    stack;
#if CONFIG_WASMOTE_UDP
    struct wm_udp        udp;
#endif
} port;

/* StackType_t is a byte under ESP-IDF: its sizes are in bytes. */
static StackType_t stack[CONFIG_WASMOTE_TASK_STACK_BYTES] __attribute__((aligned(16)));

const struct port_stack *port_stack(void)
{
    return &port.stack;
}

uint32_t port_stack_left_min(void)
{
    return (uint32_t)(uxTaskGetStackHighWaterMark(port.task) * sizeof(StackType_t));
}

static void on_timer(void *arg)
{
    (void)arg;
    wm_node_nudge();
}

#if CONFIG_WASMOTE_UDP
static esp_err_t udp_open(struct wm_link *link)
{
    const union wm_udp_address any = {
        .in4 = {.sin_family = AF_INET, .sin_port = htons(CONFIG_WASMOTE_UDP_PORT), .sin_addr.s_addr = htonl(INADDR_ANY)},
    };
    bool joined;
    port.udp.fd = wm_udp_bind(&any, false);
    if (port.udp.fd < 0) {
        ESP_LOGE(TAG, "cannot bind UDP port %d", CONFIG_WASMOTE_UDP_PORT);
        return ESP_FAIL;
    }
    port.udp.destinations = wm_udp_groups(port.udp.fd, AF_INET, &joined);
    if (!joined) {
        ESP_LOGW(TAG, "no multicast: discovery by group address will not find this node");
    }
    wm_udp_link(link, &port.udp);
    return ESP_OK;
}
#endif

void wm_port_wait(uint32_t ms)
{
#if CONFIG_WASMOTE_UDP
#if CONFIG_WASMOTE_SERIAL
    if (port_uart_pump()) {
        return;
    }
    ms = ms < SHARED_MS ? ms : SHARED_MS;
#endif
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(port.udp.fd, &readable);
    struct timeval timeout = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000};
    (void)select(port.udp.fd + 1, &readable, NULL, NULL, &timeout);
#else
    if (!port_uart_pump()) {
        port_uart_wait(ms);
    }
#endif
}

static void run(void *arg)
{
    (void)arg;
    for (;;) {
        const uint32_t wait_ms = wm_node_poll(port.node, wm_port_now_ms());
        if (wait_ms > 0) {
            wm_port_wait(wait_ms);
        }
    }
}

static esp_err_t links_open(void)
{
    esp_err_t err = ESP_OK;
#if CONFIG_WASMOTE_UDP
    err = udp_open(&port.links[port.link_count++]);
#endif
#if CONFIG_WASMOTE_SERIAL
    if (err == ESP_OK) {
        err = port_uart_open(&port.links[port.link_count++]);
    }
#endif
    return err;
}

esp_err_t wasmote_start(void)
{
    if (port.node != NULL) {
        return ESP_ERR_INVALID_STATE;
    }
    port.stack = (struct port_stack){.bottom = (uintptr_t)stack, .bytes = sizeof stack};
    esp_err_t err = links_open();
    if (err != ESP_OK) {
        return err;
    }
    void *pool = heap_caps_aligned_alloc(8, CONFIG_WASMOTE_POOL_BYTES, MALLOC_CAP_8BIT);
    if (pool == NULL) {
        ESP_LOGE(TAG, "no %d bytes in one piece for functions: make WASMOTE_POOL_BYTES smaller", CONFIG_WASMOTE_POOL_BYTES);
        return ESP_ERR_NO_MEM;
    }
    port_ep(port.ep);
    const struct wm_node_config config = {
        .links = port.links,
        .link_count = port.link_count,
        .pool = pool,
        .pool_bytes = CONFIG_WASMOTE_POOL_BYTES,
        .ep = port.ep,
        .board = CONFIG_WASMOTE_BOARD,
        .chip = CONFIG_IDF_TARGET,
        .reset = port_reset_cause(),
    };
    port.node = wm_node_init(&config);
    const esp_timer_create_args_t nudge = {.callback = on_timer, .name = "wasmote"};
    esp_timer_handle_t timer;
    err = esp_timer_create(&nudge, &timer);
    if (err == ESP_OK) {
        err = esp_timer_start_periodic(timer, NUDGE_US);
    }
    if (err != ESP_OK) {
        return err;
    }
#if CONFIG_WASMOTE_SERIAL
    wm_serial_say("wasmote " WM_VERSION " " CONFIG_WASMOTE_BOARD " " CONFIG_IDF_TARGET " reset: ", port_reset_cause());
#endif
    port.task = xTaskCreateStatic(run, "wasmote", CONFIG_WASMOTE_TASK_STACK_BYTES / sizeof(StackType_t), NULL,
                                  CONFIG_WASMOTE_TASK_PRIORITY, stack, &port.control);
    if (port.task == NULL) {
        return ESP_ERR_NO_MEM;
    }
    ESP_LOGI(TAG, "wasmote " WM_VERSION " %s", port.ep);
    return ESP_OK;
}

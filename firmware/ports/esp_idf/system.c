/* system.c: clock, entropy, stack and identity from ESP-IDF. */
#include "port.h"

#include "esp_log.h"
#include "esp_mac.h"
#include "esp_random.h"
#include "esp_system.h"
#include "esp_timer.h"

#include <stdlib.h>

uint32_t wm_port_now_ms(void)
{
    return (uint32_t)(esp_timer_get_time() / 1000);
}

/* True random while Wi-Fi or Bluetooth is on; pseudo-random otherwise (ESP-IDF, Random Number Generation). */
void wm_port_entropy(void *dst, size_t len)
{
    esp_fill_random(dst, len);
}

uintptr_t wm_port_stack_limit(void)
{
    return port_stack()->bottom + PORT_STACK_RESERVE_BYTES;
}

uint32_t wm_port_stack_used(void)
{
    return port_stack()->bytes - port_stack_left_min();
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    ESP_LOGE("wasmote", "internal error at %s:%d; please report it", file, line);
    abort();
}

void port_ep(char ep[17])
{
    uint8_t mac[6] = {0};
    (void)esp_efuse_mac_get_default(mac);
    static const char prefix[] = "esp-";
    for (unsigned i = 0; i < 4; i++) {
        ep[i] = prefix[i];
    }
    for (unsigned i = 0; i < 12; i++) {
        ep[4 + i] = "0123456789abcdef"[mac[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    }
    ep[16] = '\0';
}

const char *port_reset_cause(void)
{
    switch (esp_reset_reason()) {
    case ESP_RST_POWERON:
        return "power";
    case ESP_RST_EXT:
        return "pin";
    case ESP_RST_SW:
    case ESP_RST_PANIC:
        return "software";
    case ESP_RST_INT_WDT:
    case ESP_RST_TASK_WDT:
    case ESP_RST_WDT:
        return "watchdog";
    case ESP_RST_BROWNOUT:
        return "brownout";
    default:
        return "unknown";
    }
}

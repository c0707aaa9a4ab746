/* network.h: what Wi-Fi and Ethernet have in common: netif, events, and the wait for an address. */
#ifndef WM_ESP_IDF_NETWORK_H
#define WM_ESP_IDF_NETWORK_H

#include "port.h"

#include "esp_netif.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"

/* Once: netif and the default event loop, unless the application has them already. */
static inline esp_err_t network_init(void)
{
    esp_err_t err = esp_netif_init();
    if (err == ESP_OK) {
        err = esp_event_loop_create_default();
    }
    return err == ESP_ERR_INVALID_STATE ? ESP_OK : err; /* it is there */
}

/* For the event of an address: the semaphore is its argument. */
static inline void network_on_address(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)base;
    (void)id;
    (void)data;
    (void)xSemaphoreGive((SemaphoreHandle_t)arg);
}

static inline esp_err_t network_wait(SemaphoreHandle_t address)
{
    return xSemaphoreTake(address, pdMS_TO_TICKS(PORT_ADDRESS_TIMEOUT_MS)) == pdTRUE ? ESP_OK : ESP_ERR_TIMEOUT;
}

#endif

/* wasmote_idf.h: a wasmote node in an ESP-IDF application.
 *
 *     ESP_ERROR_CHECK(wasmote_wifi_connect());     // or wasmote_ethernet_connect(driver), or the application's own network
 *     ESP_ERROR_CHECK(wasmote_start());
 *
 * Settings: menuconfig, "wasmote". One node a chip. */
#ifndef WASMOTE_IDF_H
#define WASMOTE_IDF_H

#include "esp_err.h"
#include "sdkconfig.h"

#if CONFIG_WASMOTE_WIFI
/* Bring up Wi-Fi as a station with the SSID and password of menuconfig, and wait for an address. It connects again for ever when the network
 * goes away. Initializes NVS, netif and the default event loop, unless they are. ESP_ERR_TIMEOUT: no address after 30 s; it goes on trying. */
esp_err_t wasmote_wifi_connect(void);
#endif

#if CONFIG_WASMOTE_ETHERNET
#include "esp_eth_driver.h"

/* Start an installed Ethernet driver and wait for an address. The same errors. */
esp_err_t wasmote_ethernet_connect(esp_eth_handle_t driver);
#endif

/* Start the node's task. ESP_ERR_NO_MEM: no memory for the pool or the task; ESP_FAIL: a link cannot be opened; ESP_ERR_INVALID_STATE: it runs. */
esp_err_t wasmote_start(void);

#endif

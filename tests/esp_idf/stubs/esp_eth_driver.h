#ifndef STUB_ESP_ETH_DRIVER_H
#define STUB_ESP_ETH_DRIVER_H
#include "esp_err.h"
typedef void *esp_eth_handle_t;
esp_err_t esp_eth_start(esp_eth_handle_t driver);
#endif

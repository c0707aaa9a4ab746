/* wifi.c: Wi-Fi as a station. */
#include "network.h"
#include "wasmote_idf.h"

#include "esp_wifi.h"
#include "nvs_flash.h"

#include <string.h>

static void on_wifi(void *arg, esp_event_base_t base, int32_t id, void *data)
{
    (void)arg;
    (void)base;
    (void)data;
    if (id == WIFI_EVENT_STA_START || id == WIFI_EVENT_STA_DISCONNECTED) {
        (void)esp_wifi_connect(); /* a failure comes back as another event */
    }
}

/* The driver keeps its calibration there. */
static esp_err_t nvs_init(void)
{
    esp_err_t err = nvs_flash_init();
    if (err == ESP_ERR_NVS_NO_FREE_PAGES || err == ESP_ERR_NVS_NEW_VERSION_FOUND) {
        err = nvs_flash_erase();
        if (err == ESP_OK) {
            err = nvs_flash_init();
        }
    }
    return err;
}

static esp_err_t start(SemaphoreHandle_t address)
{
    esp_err_t err = nvs_init();
    if (err == ESP_OK) {
        err = network_init();
    }
    if (err != ESP_OK) {
        return err;
    }
    if (esp_netif_create_default_wifi_sta() == NULL) {
        return ESP_ERR_NO_MEM;
    }
    const wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    wifi_config_t config = {0};
    static const char ssid[] = CONFIG_WASMOTE_WIFI_SSID, password[] = CONFIG_WASMOTE_WIFI_PASSWORD;
    if (sizeof ssid - 1 > sizeof config.sta.ssid || sizeof password - 1 > sizeof config.sta.password) {
        return ESP_ERR_INVALID_ARG;
    }
    memcpy(config.sta.ssid, ssid, sizeof ssid - 1);
    memcpy(config.sta.password, password, sizeof password - 1);
    err = esp_wifi_init(&init);
    if (err == ESP_OK) {
        err = esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_wifi, NULL);
    }
    if (err == ESP_OK) {
        err = esp_event_handler_register(IP_EVENT, IP_EVENT_STA_GOT_IP, network_on_address, address);
    }
    if (err == ESP_OK) {
        err = esp_wifi_set_mode(WIFI_MODE_STA);
    }
    if (err == ESP_OK) {
        err = esp_wifi_set_config(WIFI_IF_STA, &config);
    }
    return err == ESP_OK ? esp_wifi_start() : err;
}

esp_err_t wasmote_wifi_connect(void)
{
    const SemaphoreHandle_t address = xSemaphoreCreateBinary(); /* its event may come again: it is never freed */
    if (address == NULL) {
        return ESP_ERR_NO_MEM;
    }
    const esp_err_t err = start(address);
    return err == ESP_OK ? network_wait(address) : err;
}

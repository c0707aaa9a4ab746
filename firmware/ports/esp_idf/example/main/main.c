/* main.c: a node on Wi-Fi, and nothing else. */
#include "wasmote_idf.h"

#include "esp_log.h"

void app_main(void);

void app_main(void)
{
#if CONFIG_WASMOTE_WIFI
    if (wasmote_wifi_connect() != ESP_OK) {
        ESP_LOGW("example", "no address yet; is the SSID in menuconfig right? The node starts, and Wi-Fi goes on trying.");
    }
#endif
    ESP_ERROR_CHECK(wasmote_start());
}

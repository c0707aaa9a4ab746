/* An application with an Ethernet driver of its own. */
#include "wasmote_idf.h"

void app_main(void);

void app_main(void)
{
    static int driver;
    ESP_ERROR_CHECK(wasmote_ethernet_connect(&driver));
    ESP_ERROR_CHECK(wasmote_start());
    if (wasmote_start() != ESP_ERR_INVALID_STATE) {
        abort();
    }
}

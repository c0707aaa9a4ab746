/* ethernet.c: an Ethernet driver that the application has installed: which PHY, and on which pins, is the board's business. */
#include "network.h"
#include "wasmote_idf.h"

#include "esp_eth_netif_glue.h"

esp_err_t wasmote_ethernet_connect(esp_eth_handle_t driver)
{
    const SemaphoreHandle_t address = xSemaphoreCreateBinary(); /* its event may come again: it is never freed */
    if (address == NULL) {
        return ESP_ERR_NO_MEM;
    }
    esp_err_t err = network_init();
    if (err != ESP_OK) {
        return err;
    }
    const esp_netif_config_t config = ESP_NETIF_DEFAULT_ETH();
    esp_netif_t *netif = esp_netif_new(&config);
    if (netif == NULL) {
        return ESP_ERR_NO_MEM;
    }
    err = esp_netif_attach(netif, esp_eth_new_netif_glue(driver));
    if (err == ESP_OK) {
        err = esp_event_handler_register(IP_EVENT, IP_EVENT_ETH_GOT_IP, network_on_address, address);
    }
    if (err == ESP_OK) {
        err = esp_eth_start(driver);
    }
    return err == ESP_OK ? network_wait(address) : err;
}

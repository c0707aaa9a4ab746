#ifndef STUB_ESP_NETIF_H
#define STUB_ESP_NETIF_H
#include "esp_event.h"
typedef struct esp_netif esp_netif_t;
typedef struct { const void *base, *driver, *stack; } esp_netif_config_t;
#define ESP_NETIF_DEFAULT_ETH() {0}
typedef enum { IP_EVENT_STA_GOT_IP, IP_EVENT_STA_LOST_IP, IP_EVENT_AP_STAIPASSIGNED, IP_EVENT_GOT_IP6, IP_EVENT_ETH_GOT_IP } ip_event_t;
extern esp_event_base_t const IP_EVENT;
esp_err_t esp_netif_init(void);
esp_netif_t *esp_netif_new(const esp_netif_config_t *config);
esp_err_t esp_netif_attach(esp_netif_t *netif, void *driver);
esp_netif_t *esp_netif_create_default_wifi_sta(void);
#endif

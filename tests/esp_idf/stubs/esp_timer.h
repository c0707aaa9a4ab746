#ifndef STUB_ESP_TIMER_H
#define STUB_ESP_TIMER_H
#include "esp_err.h"
#include <stdbool.h>
typedef struct esp_timer *esp_timer_handle_t;
typedef enum { ESP_TIMER_TASK } esp_timer_dispatch_t;
typedef struct {
    void (*callback)(void *arg);
    void                *arg;
    esp_timer_dispatch_t dispatch_method;
    const char          *name;
    bool                 skip_unhandled_events;
} esp_timer_create_args_t;
int64_t esp_timer_get_time(void); /* microseconds */
esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *out);
esp_err_t esp_timer_start_periodic(esp_timer_handle_t timer, uint64_t period_us);
#endif

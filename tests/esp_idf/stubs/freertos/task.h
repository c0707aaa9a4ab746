#ifndef STUB_FREERTOS_TASK_H
#define STUB_FREERTOS_TASK_H
#include "freertos/FreeRTOS.h"
typedef struct { void *opaque[4]; } StaticTask_t;
typedef StaticTask_t *TaskHandle_t;
typedef void (*TaskFunction_t)(void *);
TaskHandle_t xTaskCreateStatic(TaskFunction_t code, const char *name, uint32_t stack_depth, void *arg, UBaseType_t priority,
                               StackType_t *stack, StaticTask_t *control);
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task);
#endif

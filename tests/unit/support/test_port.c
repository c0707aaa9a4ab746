/* test_port.c: a port without a world, for unit tests. Weak: a test may define any of these itself. */
#include "test_port.h"
#include "wasmote/port.h"

#include <stdio.h>
#include <stdlib.h>

__attribute__((weak)) uint32_t wm_test_now_ms;

__attribute__((weak)) uint32_t wm_port_now_ms(void)
{
    return wm_test_now_ms;
}

/* Time moves only when somebody waits. */
__attribute__((weak)) void wm_port_wait(uint32_t max_ms)
{
    wm_test_now_ms += max_ms;
}

__attribute__((weak)) float wm_test_sensors[WM_SENSORS];

__attribute__((weak)) bool wm_port_sensor(enum wm_sensor sensor, float *value)
{
    *value = wm_test_sensors[sensor];
    return true;
}

__attribute__((weak)) void wm_port_sensor_set(enum wm_sensor sensor, float value)
{
    wm_test_sensors[sensor] = value;
}

/* Repeatable on purpose. */
__attribute__((weak)) void wm_port_entropy(void *dst, size_t len)
{
    static uint32_t state = 0x2545f491;
    for (size_t i = 0; i < len; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((uint8_t *)dst)[i] = (uint8_t)state;
    }
}

__attribute__((weak)) uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)__builtin_frame_address(0) - WM_NATIVE_STACK_BYTES;
}

__attribute__((weak)) uint32_t wm_port_stack_used(void)
{
    return 0;
}

__attribute__((weak)) _Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "panic: %s:%d\n", file, line);
    abort();
}

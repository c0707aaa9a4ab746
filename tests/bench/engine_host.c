/* engine_host.c: calls an export again and again, to be counted by callgrind.
 *
 *     engine-ours|engine-plain MODULE EXPORT CALLS (number N | bytes N)
 *
 * `number` passes N as the only argument, `bytes` a request of N bytes. Prints the result and a hash of the output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "wasmote/port.h"

uint32_t wm_port_now_ms(void)
{
    return 0;
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)__builtin_frame_address(0) - 1024u * 1024u;
}

/* No measured module pauses, throws dice or has a sensor. */
void wm_port_entropy(void *dst, size_t len)
{
    memset(dst, 0, len);
}

void wm_port_wait(uint32_t max_ms)
{
    (void)max_ms;
}

bool wm_port_sensor(enum wm_sensor sensor, float *value)
{
    (void)sensor;
    (void)value;
    return false;
}

void wm_port_sensor_set(enum wm_sensor sensor, float value)
{
    (void)sensor;
    (void)value;
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "panic: %s:%d\n", file, line);
    abort();
}

static uint8_t module[65536], input[65536];

int main(int argc, char **argv)
{
    FILE *file = argc == 6 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fputs("usage: engine-... MODULE EXPORT CALLS (number N | bytes N)\n", stderr);
        return 2;
    }
    const size_t len = fread(module, 1, sizeof module, file);
    fclose(file);
    const bool     as_numbers = strcmp(argv[4], "number") == 0;
    const uint32_t n = (uint32_t)strtoul(argv[5], NULL, 10);
    for (size_t i = 0; i < sizeof input; i++) {
        input[i] = (uint8_t)(i * 31 + i / 251);
    }
    const char *error = bench_engine_load(wm_span(module, len), argv[2]);
    uint32_t result = 0, hash = 0;
    for (int calls = atoi(argv[3]); calls > 0 && error == NULL; calls--) {
        error = bench_engine_call(as_numbers, n, wm_span(input, as_numbers ? 0 : n), &result, &hash);
    }
    if (error != NULL) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    printf("%u %u\n", result, hash);
    return 0;
}

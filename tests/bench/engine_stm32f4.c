/* engine_stm32f4.c: the second call of an export on the emulated STM32, counted as in icount.c. The module and the order lie in
 * flash, where QEMU's loader has put them. Says `wasmote engine` or what went wrong, then `engine INSTRUCTIONS RESULT HASH`. */
#include "chip.h"
#include "engine.h"

#include "base/fmt.h"
#include "stm32f4.h"

#define TIM2_CNT REG(0x40000024) /* RM0090 18.4.10 */

/* Little-endian, at 512 KB; the module follows at 516 KB. */
struct order {
    uint32_t module_bytes, as_numbers, n;
    char     export_name[32];
};
#define ORDER  ((const struct order *)0x08080000u)
#define MODULE ((const uint8_t *)0x08081000u)

static uint8_t input[2048];

extern uint8_t wm_pool_bottom[], wm_pool_top[];

/* newlib's malloc, for plain wasm3. */
void *_sbrk(ptrdiff_t bytes);
void *_sbrk(ptrdiff_t bytes)
{
    static uint8_t *end = wm_pool_bottom;
    if (bytes > wm_pool_top - end) {
        return (void *)-1;
    }
    uint8_t *const start = end;
    end += bytes;
    return start;
}

/* main.c of the port has it, and no measured module pauses. */
void wm_port_wait(uint32_t max_ms)
{
    (void)max_ms;
}

int main(void)
{
    struct wm_link link;
    wm_serial_init(&link, &wm_chip_uart);
    wm_chip_init();
    const struct order *o = ORDER;
    for (size_t i = 0; i < sizeof input; i++) {
        input[i] = (uint8_t)(i * 31 + i / 251);
    }
    const struct wm_span request = wm_span(input, o->as_numbers ? 0 : o->n);
    uint32_t result = 0, hash = 0, counted = 0;
    const char *error = bench_engine_load(wm_span(MODULE, o->module_bytes), o->export_name);
    if (error == NULL) { /* plain wasm3 compiles what the export calls only now */
        error = bench_engine_call(o->as_numbers, o->n, request, &result, &hash);
    }
    if (error == NULL) {
        const uint32_t start = TIM2_CNT;
        error = bench_engine_call(o->as_numbers, o->n, request, &result, &hash);
        counted = TIM2_CNT - start;
    }
    char text[80];
    wm_format(text, sizeof text, "wasmote %s", error == NULL ? "engine" : error);
    wm_serial_say(text, "");
    wm_format(text, sizeof text, "engine %lu %lu %lu", (unsigned long)counted, (unsigned long)result, (unsigned long)hash);
    wm_serial_say(text, "");
    for (;;) {
        wm_chip_sleep(wm_serial_pump);
    }
}

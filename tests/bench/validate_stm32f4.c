/* validate_stm32f4.c: validates a module on the emulated STM32, its instructions counted as in icount.c. The length and the
 * module lie in flash, where QEMU's loader has put them, as in engine_stm32f4.c. Says `validate INSTRUCTIONS STACK TEXT`:
 * bytes of C stack; `valid` or what is wrong. */
#include "chip.h"

#include "base/fmt.h"
#include "stm32f4.h"
#include "wasm/validate.h"

#define TIM2_CNT REG(0x40000024) /* RM0090 18.4.10 */
#define LENGTH   (*(const uint32_t *)0x08080000u)
#define MODULE   ((const uint8_t *)0x08081000u)

enum { PAINTED_WORDS = 1024, PAINT = 0x5aa5c33c };

/* A function for the linker too, so that link-time optimization puts nothing of it into its caller's frame. */
static __attribute__((noipa)) uint32_t validate(void *scratch, struct wm_refused *refused)
{
    const uint32_t start = TIM2_CNT;
    (void)wm_validate(wm_span(MODULE, LENGTH), scratch, WM_VALIDATE_SCRATCH_BYTES, refused);
    return TIM2_CNT - start;
}

/* Bytes of stack below this frame that validate() uses. On Cortex-M4 gcc's frame address is the frame's lower end. */
static __attribute__((noipa)) uint32_t measure(void *scratch, struct wm_refused *refused, uint32_t *counted)
{
    volatile uint32_t *const bottom = (uint32_t *)__builtin_frame_address(0) - PAINTED_WORDS;
    for (uint32_t i = 0; i < PAINTED_WORDS; i++) {
        bottom[i] = PAINT;
    }
    *counted = validate(scratch, refused);
    uint32_t untouched = 0;
    while (untouched < PAINTED_WORDS && bottom[untouched] == PAINT) {
        untouched++;
    }
    return 4u * (PAINTED_WORDS - untouched);
}

int main(void)
{
    static uint64_t scratch[(WM_VALIDATE_SCRATCH_BYTES + 7) / 8];
    struct wm_link link;
    wm_serial_init(&link, &wm_chip_uart);
    wm_chip_init();
    struct wm_refused refused;
    uint32_t counted = 0;
    const uint32_t stack = measure(scratch, &refused, &counted);
    char text[80];
    wm_serial_say("wasmote validate", "");
    wm_format(text, sizeof text, "validate %lu %lu %s", (unsigned long)counted, (unsigned long)stack,
              refused.text == NULL ? "valid" : refused.text);
    wm_serial_say(text, "");
    for (;;) {
        wm_chip_sleep(wm_serial_pump);
    }
}

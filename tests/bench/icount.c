/* icount.c: counts the instructions of a call on the emulated STM32: the image is the board's own, byte in to byte out,
 * with this file linked around two of its functions (ld --wrap).
 *
 * Under `qemu -icount shift=0` TIM2 of QEMU's netduinoplus2 counts instructions. Counted is everything that runs
 * from the interrupt of a request's first byte to the moment its reply's last byte has been given to the UART:
 * interrupts, the loop's turns between bytes, the whole way through the node. Not counted is what waits for
 * the wire: WFI, and a UART that is not ready, which QEMU's always is. After each reply a diagnostics frame says
 * `icount N`. */
#include "board.h"
#include "chip.h"
#include "base/fmt.h"
#include "link/slipmux.h"
#include "stm32f4.h"

#define TIM2_CNT REG(0x40000024) /* RM0090 18.4.10 */

static struct {
    uint32_t awake_since; /* all in instructions */
    uint32_t spent;       /* awake since the request's first byte, up to awake_since */
    uint32_t at_reply;
    bool     started, replied;
} count;

void __wrap_wm_chip_sleep(bool (*idle)(void));
void __wrap_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx);
void __real_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx);

void __wrap_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx)
{
    __real_wm_slipmux_write(kind, content, put, ctx);
    if (kind == WM_SLIPMUX_COAP) {
        count.at_reply = count.spent + (TIM2_CNT - count.awake_since);
        count.replied = true;
    }
}

static void report(void)
{
    char text[24];
    const int len = wm_format(text, sizeof text, "icount %lu", (unsigned long)count.at_reply);
    count.started = count.replied = false;
    __real_wm_slipmux_write(WM_SLIPMUX_TEXT, wm_span(text, (size_t)len), wm_chip_uart.put, NULL);
}

/* As wm_chip_sleep, with the clock stopped while it sleeps. */
void __wrap_wm_chip_sleep(bool (*idle)(void))
{
    __asm__ volatile("cpsid i" ::: "memory");
    if (idle()) {
        count.spent += TIM2_CNT - count.awake_since;
        if (count.replied) {
            report();
        }
        __asm__ volatile("dsb\n\twfi" ::: "memory");
        if (!count.started) { /* a tick, or the first byte of a request */
            count.started = (USART_SR(BOARD_UART) & USART_SR_RXNE) != 0;
            count.spent = 0;
        }
        count.awake_since = TIM2_CNT;
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

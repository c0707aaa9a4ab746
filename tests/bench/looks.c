/* looks.c: the most instructions between two looks at the link, on the board's own image with this file linked around three of
 * its functions (ld --wrap).
 *
 * TIM2 of QEMU's netduinoplus2 counts nanoseconds, and `qemu -icount shift=N` lets an instruction take 2^N of them. A look is a
 * call of the link's recv. What the node sleeps away does not count. After each reply a diagnostics frame says `looks N`: the
 * most since the frame before, in nanoseconds. */
#include "chip.h"
#include "base/fmt.h"
#include "link/slipmux.h"
#include "stm32f4.h"

#define TIM2_CNT REG(0x40000024) /* RM0090 18.4.10 */

static struct {
    int (*recv)(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap);
    uint32_t last, most;
} look;

void __wrap_wm_chip_sleep(bool (*idle)(void));
void __real_wm_chip_sleep(bool (*idle)(void));
void __wrap_wm_serial_init(struct wm_link *link, const struct wm_uart *uart);
void __real_wm_serial_init(struct wm_link *link, const struct wm_uart *uart);
void __wrap_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx);
void __real_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx);

static int recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    const uint32_t now = TIM2_CNT;
    if (now - look.last > look.most) {
        look.most = now - look.last;
    }
    look.last = now;
    return look.recv(ctx, peer, buf, cap);
}

void __wrap_wm_serial_init(struct wm_link *link, const struct wm_uart *uart)
{
    __real_wm_serial_init(link, uart);
    look.recv = link->recv;
    link->recv = recv;
}

void __wrap_wm_chip_sleep(bool (*idle)(void))
{
    const uint32_t start = TIM2_CNT;
    __real_wm_chip_sleep(idle);
    look.last += TIM2_CNT - start;
}

void __wrap_wm_slipmux_write(uint8_t kind, struct wm_span content, void (*put)(void *ctx, uint8_t byte), void *ctx)
{
    __real_wm_slipmux_write(kind, content, put, ctx);
    if (kind == WM_SLIPMUX_COAP) {
        const uint32_t start = TIM2_CNT;
        char text[24];
        const int len = wm_format(text, sizeof text, "looks %lu", (unsigned long)look.most);
        look.most = 0;
        __real_wm_slipmux_write(WM_SLIPMUX_TEXT, wm_span(text, (size_t)len), put, ctx);
        look.last += TIM2_CNT - start;
    }
}

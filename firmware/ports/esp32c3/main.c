/* main.c: a node on an ESP32-C3: one serial link, and all the RAM that remains for functions. */
#include "board.h"
#include "chip.h"
#include "wasmote/node.h"

extern uint32_t wm_pool_bottom[], wm_pool_top[];

static bool idle(void)
{
    return !wm_serial_pump();
}

void wm_port_wait(uint32_t max_ms)
{
    const uint32_t now_ms = wm_port_now_ms();
    while (wm_port_now_ms() - now_ms < max_ms && idle()) {
        wm_chip_sleep(idle);
    }
}

int main(void)
{
    static char ep[8 + 12 + 1] = "esp32c3-";
    struct wm_link link;
    wm_serial_init(&link, &wm_chip_uart); /* first: the interrupt may come as soon as the chip is set up */
    wm_chip_init();
    wm_chip_mac(ep + 8);
    const char *reset = wm_chip_reset_cause();
    /* A bridge passes it on to the directory that it was told of; one that was not resets it, and the node asks less often. */
    static const struct wm_peer line = {.link = 0};
    const struct wm_node_config config = {
        .links = &link,
        .link_count = 1,
        .pool = wm_pool_bottom,
        .pool_bytes = (size_t)((uintptr_t)wm_pool_top - (uintptr_t)wm_pool_bottom),
        .ep = ep,
        .board = WM_BOARD_NAME,
        .chip = BOARD_CHIP,
        .reset = reset,
        .register_at = &line,
    };
    struct wm_node *node = wm_node_init(&config);
    wm_serial_say("wasmote " WM_VERSION " " WM_BOARD_NAME " " BOARD_CHIP " reset: ", reset);
    for (;;) {
        wm_port_wait(wm_node_poll(node, wm_port_now_ms()));
    }
}

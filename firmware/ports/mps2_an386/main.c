/* main.c: a node on the MPS2 with AN386: CoAP over UDP on its Ethernet, a serial link beside it. */
#include "board.h"
#include "chip.h"
#include "net.h"
#include "wasmote/node.h"

extern uint32_t wm_pool_bottom[], wm_pool_top[];

static bool idle(void)
{
    return !wm_serial_pump() && wm_net_idle();
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
    static char ep[5 + 12 + 1] = "mps2-";
    struct wm_link links[2];
    wm_serial_init(&links[1], &wm_chip_uart); /* first: the interrupt may come as soon as the chip is set up */
    wm_chip_init();
    wm_serial_say("wasmote " WM_VERSION " " WM_BOARD_NAME " ", BOARD_CHIP);
    const bool net = wm_net_init(&links[0], ep + 5);
    /* A bridge passes it on to the directory that it was told of; one that was not resets it, and the node asks less often. */
    const struct wm_peer line = {.link = net ? 1 : 0};
    const struct wm_node_config config = {
        .links = net ? links : links + 1,
        .link_count = net ? 2 : 1,
        .pool = wm_pool_bottom,
        .pool_bytes = (size_t)((uintptr_t)wm_pool_top - (uintptr_t)wm_pool_bottom),
        .ep = net ? ep : WM_BOARD_NAME,
        .board = WM_BOARD_NAME,
        .chip = BOARD_CHIP,
        .reset = "unknown",
        .register_at = &line,
    };
    struct wm_node *node = wm_node_init(&config);
    for (;;) {
        wm_port_wait(wm_node_poll(node, wm_port_now_ms()));
    }
}

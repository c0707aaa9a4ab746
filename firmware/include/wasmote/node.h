/* node.h: a whole node for a port's main(). One node a process: the engine's fuel counter is global.
 *
 *     struct wm_node *node = wm_node_init(&config);
 *     for (;;) {
 *         uint32_t wait_ms = wm_node_poll(node, wm_port_now_ms());
 *         ... sleep until a link has something or wait_ms have passed ...
 *     }
 */
#ifndef WASMOTE_NODE_H
#define WASMOTE_NODE_H

#include "wasmote/port.h"

#define WM_VERSION "0.1.0"
#define WM_ABI_VERSION 1

struct wm_node;

/* Everything is borrowed for the life of the node. */
struct wm_node_config {
    const struct wm_link *links;   /* link_count of them, at most WM_LINKS */
    size_t                link_count;
    void                 *pool;    /* RAM for functions, their modules and large bodies; 8-byte aligned */
    size_t                pool_bytes;
    const char           *ep;      /* identity, unique in a fleet: at most 63 bytes */
    const char           *board;   /* name of the folder in boards/ */
    const char           *chip;
    const char           *reset;   /* docs/PROTOCOL.md 3.1 */
    uint32_t              boot_count;
    uint32_t              ack_timeout_ms; /* 0: WM_COAP_ACK_TIMEOUT_MS */
    uint8_t               max_retransmit; /* 0: WM_COAP_MAX_RETRANSMIT */
    const struct wm_peer *register_at;    /* resource directory to register with (docs/PROTOCOL.md 3.7); NULL: none */
    uint32_t              register_lifetime_s; /* 0: WM_REGISTER_LIFETIME_S; at most 14 days */
};

/* Start the node, or start it again with everything forgotten (tests). Asserts a sound config. */
struct wm_node *wm_node_init(const struct wm_node_config *config);

/* Read the links, answer, run the calls that came, keep the timers. Returns the milliseconds until it has something to do
 * by itself: 0 if a link may have more, at most 1000. */
uint32_t wm_node_poll(struct wm_node *node, uint32_t now_ms);

/* While a function runs, let the node look at its links soon. A port calls it from a timer's interrupt (or a signal
 * handler) every few milliseconds, whether something runs or not: it costs one store. Without it the node looks only every
 * WM_FUEL_SLICE of fuel, which a function with long loop bodies can make as long as it likes. */
void wm_node_nudge(void);

#endif

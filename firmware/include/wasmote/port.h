/* port.h: all that a port supplies. firmware/PORTING.md walks through it.
 *
 * Links are structs of function pointers, because a node may have several and tests replace them.
 * Clock, entropy and assertion are singletons and bound at link time. */
#ifndef WASMOTE_PORT_H
#define WASMOTE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wasmote/config.h"
#include "wasmote/err.h"

/* Who sent a datagram, or who shall get one. Compared byte by byte up to addr_len. */
struct wm_peer {
    uint8_t link;      /* index of the link in wm_node_config.links; set by the node */
    bool    multicast; /* received on a group address: set by recv, ignored by send */
    uint8_t addr_len;  /* 0 on point-to-point links such as a serial line */
    uint8_t addr[WM_PEER_ADDR_BYTES]; /* the link's own format */
};

/* A datagram link. Called from the node loop only, never from an interrupt. */
struct wm_link {
    void       *ctx;
    const char *name; /* "udp", "serial": for the log */

    /* Copy the next whole datagram to buf and fill peer (addr, addr_len, multicast).
     * Returns its length; 0: nothing now; negative: the link is broken. Never blocks.
     * A datagram longer than cap is dropped and counted, not cut. */
    int (*recv)(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap);

    /* Send one datagram. The bytes are borrowed for the call. Returns 0; WM_ERR_BUSY: lost, CoAP sends
     * it again where it matters; WM_ERR_IO. May wait for a polled UART, for no more than
     * the time the bytes take on the wire. */
    int (*send)(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len);

    /* Put out what send has gathered; NULL if send does not gather. Called when the node's round
     * ends, and at each look at the links while a function runs. */
    void (*flush)(void *ctx);

    /* Datagrams that the link itself dropped (FCS, overrun, too long), since start; NULL: none. */
    uint32_t (*dropped)(void *ctx);
};

/* Milliseconds since boot; monotonic, wraps after 49 days. Called often: make it cheap. */
uint32_t wm_port_now_ms(void);

/* Sleep until a link may have something to receive, or about max_ms have passed. May return at any time before, also at
 * once. The node calls it while a function pauses; a main loop can use it, too. */
void wm_port_wait(uint32_t max_ms);

/* Fill dst with unpredictable bytes. A port without a source of entropy says so in its README and
 * mixes what it has (unique id, boot counter, timer). */
void wm_port_entropy(void *dst, size_t len);

/* Lowest address that the C stack may reach: the engine stops a function before it gets there. */
uintptr_t wm_port_stack_limit(void);

/* Most bytes of C stack in use at any time since start; 0: the port does not know. */
uint32_t wm_port_stack_used(void);

/* ---- sensors: only of ports whose limits header asks for import modules that read them ---- */

enum wm_sensor {
    WM_SENSOR_TEMPERATURE, /* degrees Celsius */
    WM_SENSOR_HUMIDITY,    /* percent */
    WM_SENSOR_RAINFALL,    /* millimetres, or what a function made of it */
    WM_SENSORS,
};

/* What it says now. False: this node has no such sensor, and never will while it runs. */
bool wm_port_sensor(enum wm_sensor sensor, float *value);

/* Let wm_port_sensor give this instead until the sensor's next reading. */
void wm_port_sensor_set(enum wm_sensor sensor, float value);

/* An assertion failed: a bug in the firmware. Does not return (reset, breakpoint, abort). */
_Noreturn void wm_port_panic(const char *file, int line);

#endif

/* lan9118.h: the Ethernet controller LAN9118 as an interface of lwIP. It has 10 KB of FIFO for received frames, which is the only
 * queue there is: its interrupt says that something waits and then stays off until the FIFO is empty. */
#ifndef WM_LAN9118_H
#define WM_LAN9118_H

#include <stdbool.h>

#include "lwip/netif.h"

/* lwIP's hook for netif_add: reset the chip, find out its address, switch it on. ERR_IF: no such chip. */
err_t wm_lan9118_init(struct netif *netif);

/* Whether frames may wait: false costs one load. */
bool wm_lan9118_waiting(void);

/* The next frame that came in, or NULL: none. A frame for which there is no buffer is dropped and counted. */
struct pbuf *wm_lan9118_receive(void);

/* Whether the cable has a partner at its other end; asks the PHY, some microseconds. */
bool wm_lan9118_link(void);

/* Frames that were damaged or found no buffer, since start. */
uint32_t wm_lan9118_dropped(void);

#endif

/* net.h: CoAP over UDP on lwIP, for a port without an operating system: everything runs in the node's loop.
 *
 *   wm_net_init -> link; then the node's recv and send do all that the network needs, and wm_net_idle says whether there is more
 *
 * Addresses: DHCP and SLAAC, or what the board's settings say (boards/mps2_an386/README.md). Each that becomes valid is told in
 * a line of diagnostics, `address coap://...`. Datagrams in fragments are dropped: the largest message of a node fits a
 * frame. */
#ifndef WM_NET_H
#define WM_NET_H

#include "wasmote/port.h"

/* Start the interface and fill link. mac: gets the interface's address, 12 hex digits and a zero. Returns false, having
 * said so, if there is none. */
bool wm_net_init(struct wm_link *link, char mac[13]);

/* Nothing to do now: no frame waits, no timer of the stack is due. Cheap; may be called with interrupts off. */
bool wm_net_idle(void);

#endif

/* udp_socket.h: CoAP over a UDP socket, for systems with BSD sockets: shared by the host port and ESP-IDF's (lwIP). */
#ifndef WM_PORT_UDP_SOCKET_H
#define WM_PORT_UDP_SOCKET_H

#include "wasmote/port.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* A socket address as a peer's: address, port, and for IPv6 the scope, without the struct's padding. */
#define WM_UDP_PEER4_BYTES (4 + 2)
#define WM_UDP_PEER6_BYTES (16 + 2 + 4)
_Static_assert(WM_PEER_ADDR_BYTES >= WM_UDP_PEER6_BYTES, "WM_PEER_ADDR_BYTES");

union wm_udp_address {
    struct sockaddr     any;
    struct sockaddr_in  in4;
    struct sockaddr_in6 in6;
};

/* Room for a datagram's destination beside it. */
#ifdef IPV6_PKTINFO
#define WM_UDP_INFO_BYTES sizeof(struct in6_pktinfo)
#elif defined(IP_PKTINFO)
#define WM_UDP_INFO_BYTES sizeof(struct in_pktinfo)
#else
#define WM_UDP_INFO_BYTES sizeof(int)
#endif
union wm_udp_control {
    struct cmsghdr align;
    uint8_t        raw[CMSG_SPACE(WM_UDP_INFO_BYTES)];
};

void wm_udp_peer_encode(struct wm_peer *peer, const union wm_udp_address *a);
socklen_t wm_udp_peer_decode(union wm_udp_address *a, const struct wm_peer *peer);

/* Whether a datagram that was received with its destination went to a group. */
bool wm_udp_to_group(struct msghdr *hdr);

/* A bound socket, or -1 and errno. dual: an IPv6 socket takes IPv4 too. */
int wm_udp_bind(const union wm_udp_address *a, bool dual);

/* Have each datagram come with its destination, and join All CoAP Nodes (RFC 7252, 12.8: 224.0.1.187, and ff02::fd on an IPv6
 * socket). Returns whether destinations come; joined: whether one group was joined at least. Without destinations it joins none: a
 * request to the group would pass for one to this node alone, and those may write. */
bool wm_udp_groups(int fd, int family, bool *joined);

/* ---- the plain link: one datagram a system call. The host has a quicker one of its own. ---- */

struct wm_udp {
    int      fd;
    bool     destinations; /* what wm_udp_groups said */
    uint32_t dropped;
};

/* udp is filled in and outlives the link. */
void wm_udp_link(struct wm_link *link, struct wm_udp *udp);

#endif

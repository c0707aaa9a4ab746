#include "udp_socket.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void wm_udp_peer_encode(struct wm_peer *peer, const union wm_udp_address *a)
{
    if (a->any.sa_family == AF_INET) {
        peer->addr_len = WM_UDP_PEER4_BYTES;
        memcpy(peer->addr, &a->in4.sin_addr, 4);
        memcpy(peer->addr + 4, &a->in4.sin_port, 2);
    } else {
        peer->addr_len = WM_UDP_PEER6_BYTES;
        memcpy(peer->addr, &a->in6.sin6_addr, 16);
        memcpy(peer->addr + 16, &a->in6.sin6_port, 2);
        memcpy(peer->addr + 18, &a->in6.sin6_scope_id, 4);
    }
}

socklen_t wm_udp_peer_decode(union wm_udp_address *a, const struct wm_peer *peer)
{
    if (peer->addr_len == WM_UDP_PEER4_BYTES) {
        a->in4 = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&a->in4.sin_addr, peer->addr, 4);
        memcpy(&a->in4.sin_port, peer->addr + 4, 2);
        return sizeof a->in4;
    }
    a->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    memcpy(&a->in6.sin6_addr, peer->addr, 16);
    memcpy(&a->in6.sin6_port, peer->addr + 16, 2);
    memcpy(&a->in6.sin6_scope_id, peer->addr + 18, 4);
    return sizeof a->in6;
}

static bool group4(const uint8_t *address)
{
    return address[0] >= 224 && address[0] < 240;
}

bool wm_udp_to_group(struct msghdr *hdr)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c != NULL; c = CMSG_NXTHDR(hdr, c)) {
#ifdef IPV6_PKTINFO
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            const uint8_t *a = info.ipi6_addr.s6_addr;
            return a[0] == 0xff || (memcmp(a, mapped, sizeof mapped) == 0 && group4(a + 12));
        }
#endif
#ifdef IP_PKTINFO
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            return group4((const uint8_t *)&info.ipi_addr);
        }
#endif
    }
    return false;
}

int wm_udp_bind(const union wm_udp_address *a, bool dual)
{
    const int family = a->any.sa_family;
    const int fd = socket(family, SOCK_DGRAM, 0);
    if (fd < 0) {
        return -1;
    }
#ifdef IPV6_V6ONLY
    if (family == AF_INET6) {
        const int v6only = dual ? 0 : 1;
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
    }
#else
    (void)dual;
#endif
    if (bind(fd, &a->any, family == AF_INET ? sizeof a->in4 : sizeof a->in6) != 0) {
        const int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Whether an option could be switched on. */
static bool option_on(int fd, int level, int name)
{
    const int one = 1;
    return setsockopt(fd, level, name, &one, sizeof one) == 0;
}

bool wm_udp_groups(int fd, int family, bool *joined)
{
    bool told = false;
    *joined = false;
    if (family == AF_INET6) {
#ifdef IPV6_RECVPKTINFO
        told = option_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
#endif
    } else {
#ifdef IP_PKTINFO
        told = option_on(fd, IPPROTO_IP, IP_PKTINFO);
#endif
    }
    if (!told) {
        return false;
    }
    struct ip_mreq group = {.imr_multiaddr.s_addr = htonl(0xe00001bb)};
    *joined = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0;
#ifdef IPV6_JOIN_GROUP
    if (family == AF_INET6) {
        struct ipv6_mreq group6 = {.ipv6mr_multiaddr = {.s6_addr = {0xff, 0x02, [15] = 0xfd}}};
        *joined |= setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group6, sizeof group6) == 0;
    }
#endif
    return true;
}

/* ---- the plain link ---- */

static int udp_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    struct wm_udp *udp = ctx;
    for (;;) {
        union wm_udp_address address;
        union wm_udp_control control;
        struct iovec iov = {.iov_base = buf, .iov_len = cap};
        struct msghdr hdr = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &iov, .msg_iovlen = 1};
        if (udp->destinations) {
            hdr.msg_control = control.raw;
            hdr.msg_controllen = sizeof control.raw;
        }
        const ssize_t n = recvmsg(udp->fd, &hdr, MSG_DONTWAIT);
        if (n < 0) { /* nothing, or an error that an ICMP message brought: neither breaks the link */
            return 0;
        }
        if (n == 0 || (size_t)n > cap || (hdr.msg_flags & MSG_TRUNC) != 0) {
            udp->dropped++;
            continue;
        }
        peer->multicast = udp->destinations && wm_udp_to_group(&hdr);
        wm_udp_peer_encode(peer, &address);
        return (int)n;
    }
}

static int udp_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    const struct wm_udp *udp = ctx;
    union wm_udp_address address;
    const socklen_t address_len = wm_udp_peer_decode(&address, peer);
    return sendto(udp->fd, buf, len, MSG_DONTWAIT, &address.any, address_len) == (ssize_t)len ? 0 : WM_ERR_BUSY;
}

static uint32_t udp_dropped(void *ctx)
{
    const struct wm_udp *udp = ctx;
    return udp->dropped;
}

void wm_udp_link(struct wm_link *link, struct wm_udp *udp)
{
    *link = (struct wm_link){.ctx = udp, .name = "udp", .recv = udp_recv, .send = udp_send, .dropped = udp_dropped};
}

/* udp.c: one UDP socket that receives and sends in batches.
 *
 * A node on loopback spends nearly all of its time in the kernel, so a system call less counts. Sleeping and receiving are
 * one call (host_udp_wait), which takes up to BATCH datagrams; recv then hands them out without a call. When they are
 * used up it says so once, which ends the node's round; asked again in the same round (while a function runs) it looks at the
 * socket. Replies gather and leave together in flush. */
#include "host.h"
#include "udp_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BATCH 16

#ifndef __linux__ /* macOS has no batches: one datagram a call */
struct mmsghdr {
    struct msghdr msg_hdr;
    unsigned      msg_len;
};
#endif

struct slot {
    union wm_udp_address address;
    struct iovec         iov;
    uint8_t              bytes[WM_COAP_MESSAGE_BYTES];
};

static struct {
    int            fd;
    bool           destinations; /* ask for each datagram's destination: it may be a multicast group */
    bool           said_empty;
    uint16_t       port;
    char           uri_host[INET6_ADDRSTRLEN + 2];
    uint32_t       dropped;
    unsigned       rx_next, rx_count, tx_count;
    unsigned       rx_filled; /* by the last batch: their headers need to be set up again */
    bool           batching;
    unsigned       since_probe, singles;
    struct slot    rx[BATCH], tx[BATCH];
    struct mmsghdr rx_msg[BATCH], tx_msg[BATCH];

    union wm_udp_control control[BATCH];
} udp;

static void slots_init(struct slot *slots, struct mmsghdr *msgs)
{
    for (unsigned i = 0; i < BATCH; i++) {
        slots[i].iov = (struct iovec){.iov_base = slots[i].bytes, .iov_len = sizeof slots[i].bytes};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &slots[i].address, .msg_iov = &slots[i].iov, .msg_iovlen = 1};
    }
}

#ifdef __linux__
/* recvmmsg looks for a second datagram after the first, which costs 5 % of a loopback round trip where there is none. So
 * take single ones by recvfrom until a probe finds several, and go back after some batches of one. */
#define PROBE_EACH      16
#define SINGLES_IN_ROW  4

/* Returns whether it has received, or tried to. */
static bool receive_single(int flags)
{
    if (udp.destinations || udp.batching) { /* recvfrom tells no destination */
        return false;
    }
    if (++udp.since_probe == PROBE_EACH) {
        udp.since_probe = 0;
        udp.batching = true;
        udp.singles = SINGLES_IN_ROW - 1;
        return false;
    }
    socklen_t len = sizeof udp.rx[0].address;
    const ssize_t n = recvfrom(udp.fd, udp.rx[0].bytes, sizeof udp.rx[0].bytes, flags | MSG_TRUNC, &udp.rx[0].address.any,
                               &len);
    if (n >= 0) {
        udp.rx_msg[0].msg_len = (unsigned)n; /* what came, also if it was cut */
        udp.rx_msg[0].msg_hdr.msg_flags = (size_t)n > sizeof udp.rx[0].bytes ? MSG_TRUNC : 0;
        udp.rx_count = 1;
    }
    return true;
}
#endif

/* Receive, with these flags for the first datagram, at least one and at most a batch. */
static void receive(int flags)
{
    const unsigned used = udp.rx_filled;
    udp.rx_next = udp.rx_count = 0;
    udp.said_empty = false;
#ifdef __linux__
    if (receive_single(flags)) {
        return;
    }
#endif
    /* The kernel has overwritten the lengths of those it filled last time. */
    for (unsigned i = 0; i < used; i++) {
        struct msghdr *hdr = &udp.rx_msg[i].msg_hdr;
        hdr->msg_namelen = sizeof udp.rx[i].address;
        if (udp.destinations) {
            hdr->msg_control = &udp.control[i];
            hdr->msg_controllen = sizeof udp.control[i];
        }
    }
#ifdef __linux__
    const int n = recvmmsg(udp.fd, udp.rx_msg, BATCH, flags | (flags == 0 ? MSG_WAITFORONE : 0), NULL);
    udp.rx_count = n > 0 ? (unsigned)n : 0;
    udp.singles = n > 1 ? 0 : udp.singles + 1;
    udp.batching = udp.singles < SINGLES_IN_ROW;
#else
    const ssize_t n = recvmsg(udp.fd, &udp.rx_msg[0].msg_hdr, flags);
    if (n >= 0) {
        udp.rx_msg[0].msg_len = (unsigned)n;
        udp.rx_count = 1;
    }
#endif
    udp.rx_filled = udp.rx_count;
}

void host_udp_wait(void)
{
    receive(0);
}

void host_udp_fetch(void)
{
    if (udp.rx_next == udp.rx_count) {
        receive(MSG_DONTWAIT);
    }
}

static int udp_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    for (;;) {
        if (udp.rx_next == udp.rx_count) {
            if (!udp.said_empty) {
                udp.said_empty = true;
                return 0;
            }
            receive(MSG_DONTWAIT);
            if (udp.rx_count == 0) {
                udp.said_empty = true;
                return 0;
            }
        }
        const unsigned i = udp.rx_next++;
        struct mmsghdr *msg = &udp.rx_msg[i];
        if (msg->msg_len == 0 || msg->msg_len > cap || (msg->msg_hdr.msg_flags & MSG_TRUNC) != 0) {
            udp.dropped++;
            continue;
        }
        peer->multicast = udp.destinations && wm_udp_to_group(&msg->msg_hdr);
        wm_udp_peer_encode(peer, &udp.rx[i].address);
        memcpy(buf, udp.rx[i].bytes, msg->msg_len);
        return (int)msg->msg_len;
    }
}

static void udp_flush(void *ctx)
{
    (void)ctx;
    const unsigned count = udp.tx_count;
    udp.tx_count = 0;
    unsigned sent = 0;
#ifdef __linux__
    while (count - sent > 1) {
        const int n = sendmmsg(udp.fd, udp.tx_msg + sent, count - sent, 0);
        sent += n > 0 ? (unsigned)n : 1; /* one that cannot be sent is lost, like any datagram */
    }
#endif
    for (; sent < count; sent++) {
        const struct slot *slot = &udp.tx[sent];
        (void)sendto(udp.fd, slot->bytes, slot->iov.iov_len, 0, &slot->address.any, udp.tx_msg[sent].msg_hdr.msg_namelen);
    }
}

static int udp_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    if (len > sizeof udp.tx[0].bytes) {
        return WM_ERR_IO;
    }
    if (udp.tx_count == BATCH) {
        udp_flush(ctx);
    }
    struct slot *slot = &udp.tx[udp.tx_count];
    udp.tx_msg[udp.tx_count].msg_hdr.msg_namelen = wm_udp_peer_decode(&slot->address, peer);
    memcpy(slot->bytes, buf, len);
    slot->iov.iov_len = len;
    udp.tx_count++;
    return 0;
}

static uint32_t udp_dropped(void *ctx)
{
    (void)ctx;
    return udp.dropped;
}

int host_udp_open(struct wm_link *link, const char *bind_to, uint16_t port)
{
    union wm_udp_address a;
    memset(&a, 0, sizeof a);
    const bool any = strcmp(bind_to, "any") == 0;
    if (any || inet_pton(AF_INET6, bind_to, &a.in6.sin6_addr) == 1) {
        a.in6.sin6_family = AF_INET6;
        a.in6.sin6_port = htons(port);
    } else if (inet_pton(AF_INET, bind_to, &a.in4.sin_addr) == 1) {
        a.in4.sin_family = AF_INET;
        a.in4.sin_port = htons(port);
    } else {
        host_fail(EXIT_BAD_USAGE, "--bind %s: expected an IPv4 or IPv6 address, or `any`", bind_to);
    }
    udp.fd = wm_udp_bind(&a, any);
    if (any && udp.fd < 0 && errno != EADDRINUSE && errno != EACCES) { /* a machine without IPv6 */
        memset(&a, 0, sizeof a);
        a.in4.sin_family = AF_INET;
        a.in4.sin_port = htons(port);
        udp.fd = wm_udp_bind(&a, any);
    }
    if (udp.fd < 0) {
        if (errno == EADDRINUSE) {
            host_fail(EXIT_UNAVAILABLE, "UDP port %u is in use; stop its owner, or take another with --port N (0: any)", port);
        }
        host_fail(EXIT_UNAVAILABLE, "cannot bind to %s port %u: %s", bind_to, port, strerror(errno));
    }
    const int family = a.any.sa_family;
    if (any) {
        bool joined;
        udp.destinations = wm_udp_groups(udp.fd, family, &joined);
        if (!joined) {
            fputs("wasmote-node: note: no multicast here; discovery by group address will not find this node\n", stderr);
        }
    }
    const struct timeval nap = {.tv_sec = HOST_NAP_MS / 1000};
    (void)setsockopt(udp.fd, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof nap);

    socklen_t len = sizeof a;
    (void)getsockname(udp.fd, &a.any, &len);
    udp.port = ntohs(family == AF_INET ? a.in4.sin_port : a.in6.sin6_port);
    if (any) {
        strcpy(udp.uri_host, "127.0.0.1");
    } else if (family == AF_INET) {
        inet_ntop(AF_INET, &a.in4.sin_addr, udp.uri_host, sizeof udp.uri_host);
    } else {
        char text[INET6_ADDRSTRLEN];
        inet_ntop(AF_INET6, &a.in6.sin6_addr, text, sizeof text);
        snprintf(udp.uri_host, sizeof udp.uri_host, "[%s]", text);
    }
    slots_init(udp.rx, udp.rx_msg);
    slots_init(udp.tx, udp.tx_msg);
    udp.rx_filled = BATCH;
    *link = (struct wm_link){.name = "udp", .recv = udp_recv, .send = udp_send, .flush = udp_flush, .dropped = udp_dropped};
    return udp.fd;
}

void host_udp_find(struct wm_peer *peer, const char *uri)
{
    static const char scheme[] = "coap://";
    char              text[300], *host = text, *port = NULL;
    const bool        coap = strncmp(uri, scheme, sizeof scheme - 1) == 0;
    const int         len = coap ? snprintf(text, sizeof text, "%s", uri + sizeof scheme - 1) : -1;
    size_t            host_len = 0;
    if (len > 0 && (size_t)len < sizeof text) {
        if (text[len - 1] == '/') {
            text[len - 1] = '\0';
        }
        if (text[0] == '[') {
            host++;
            host_len = strcspn(host, "]");
            port = host[host_len] == ']' ? host + host_len + 1 : NULL;
        } else {
            host_len = strcspn(host, ":");
            port = host + host_len;
        }
    }
    if (host_len == 0 || port == NULL || (port[0] != '\0' && port[0] != ':') || strpbrk(host, "/?#@") != NULL) {
        host_fail(EXIT_BAD_USAGE, "--register %s: expected coap://HOST or coap://HOST:PORT", uri);
    }
    const char *service = port[0] == ':' ? port + 1 : "5683";
    host[host_len] = '\0';
    union wm_udp_address own;
    socklen_t     own_len = sizeof own;
    (void)getsockname(udp.fd, &own.any, &own_len);
    struct addrinfo *found = NULL;
    const struct addrinfo wanted = {
        .ai_family = own.any.sa_family, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_V4MAPPED | AI_NUMERICSERV};
    const int err = getaddrinfo(host, service, &wanted, &found);
    if (err != 0) {
        host_fail(EXIT_UNAVAILABLE, "--register %s: %s (from %s): check the name, and --bind", uri, gai_strerror(err),
                  udp.uri_host);
    }
    union wm_udp_address a;
    memset(&a, 0, sizeof a);
    memcpy(&a, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    memset(peer, 0, sizeof *peer); /* link 0: UDP is the first */
    wm_udp_peer_encode(peer, &a);
}

uint16_t host_udp_port(void)
{
    return udp.port;
}

const char *host_udp_uri_host(void)
{
    return udp.uri_host;
}

/* net.c: a link of the node on lwIP's raw API.
 *
 * A frame is at most one datagram, and frames are taken out of the chip one at a time: so one datagram waits here at most, until
 * recv copies it, and the chip's FIFO holds the rest. */
#include "net.h"
#include "board.h"
#include "lan9118.h"
#include "serial.h"

#include "lwip/dhcp.h"
#include "lwip/ethip6.h"
#include "lwip/igmp.h"
#include "lwip/init.h"
#include "lwip/mld6.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"
#include "netif/ethernet.h"

#define COAP_PORT      5683
#define LINK_POLL_MS   500
#define FRAMES_A_ROUND 16 /* that are not for the node: then the serial line and the timers have their turn */

/* Peer addresses: address, then port in the processor's byte order. */
#define PEER4_BYTES (4 + 2)
#define PEER6_BYTES (16 + 2)
_Static_assert(WM_PEER_ADDR_BYTES >= PEER6_BYTES, "WM_PEER_ADDR_BYTES");

static struct {
    struct netif    netif;
    struct dhcp     dhcp;
    bool            is_static;
    struct udp_pcb *pcb;
    struct pbuf    *datagram; /* that recv will take */
    struct wm_peer  from;     /* who sent it */
    uint32_t        dropped;
    ip4_addr_t      said4;
    uint8_t         said6; /* a bit for each address of the interface */
} net;

uint32_t sys_now(void)
{
    return wm_port_now_ms();
}

/* ---- in ---- */

static void on_datagram(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *addr, u16_t port)
{
    (void)arg;
    (void)pcb;
    if (net.datagram != NULL || p->tot_len == 0 || p->tot_len > WM_COAP_MESSAGE_BYTES) {
        net.dropped++;
        pbuf_free(p);
        return;
    }
    const bool is6 = IP_IS_V6(addr);
    const size_t len = is6 ? 16 : 4;
    const ip_addr_t *to = ip_current_dest_addr();
    net.from.addr_len = is6 ? PEER6_BYTES : PEER4_BYTES;
    net.from.multicast = ip_addr_ismulticast(to) || ip_addr_isbroadcast(to, &net.netif);
    memcpy(net.from.addr, is6 ? (const void *)ip_2_ip6(addr)->addr : &ip_2_ip4(addr)->addr, len);
    memcpy(net.from.addr + len, &port, 2);
    net.datagram = p;
}

static int net_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    sys_check_timeouts();
    for (unsigned frames = 0; net.datagram == NULL && frames < FRAMES_A_ROUND; frames++) {
        struct pbuf *p = wm_lan9118_receive();
        if (p == NULL) {
            return 0;
        }
        if (net.netif.input(p, &net.netif) != ERR_OK) {
            pbuf_free(p);
        }
    }
    struct pbuf *p = net.datagram;
    if (p == NULL) {
        return 0;
    }
    net.datagram = NULL;
    const uint16_t len = p->tot_len;
    const bool fits = len <= cap;
    if (fits) {
        peer->multicast = net.from.multicast;
        peer->addr_len = net.from.addr_len;
        memcpy(peer->addr, net.from.addr, net.from.addr_len);
        pbuf_copy_partial(p, buf, len, 0);
    } else {
        net.dropped++;
    }
    pbuf_free(p);
    return fits ? len : 0;
}

bool wm_net_idle(void)
{
    return !wm_lan9118_waiting() && sys_timeouts_sleeptime() != 0;
}

/* ---- out ---- */

static int net_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    (void)ctx;
    ip_addr_t to = {0};
    const bool is6 = peer->addr_len == PEER6_BYTES;
    const size_t addr_len = is6 ? 16 : 4;
    uint16_t port;
    IP_SET_TYPE_VAL(to, is6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
    memcpy(is6 ? (void *)ip_2_ip6(&to)->addr : &ip_2_ip4(&to)->addr, peer->addr, addr_len);
    memcpy(&port, peer->addr + addr_len, 2);
    /* Borrowed: lwIP copies what it has to keep, which is one frame at most while it asks who has the peer's address. */
    struct pbuf *p = pbuf_alloc_reference((void *)(uintptr_t)buf, (uint16_t)len, PBUF_REF);
    if (p == NULL) {
        return WM_ERR_BUSY;
    }
    const err_t err = udp_sendto(net.pcb, p, &to, port);
    pbuf_free(p);
    return err == ERR_OK ? 0 : WM_ERR_BUSY;
}

static uint32_t net_dropped(void *ctx)
{
    (void)ctx;
    return net.dropped + wm_lan9118_dropped();
}

/* ---- addresses ---- */

/* Tell each address once, when it has become valid. */
static void on_change(struct netif *netif)
{
    char text[IP6ADDR_STRLEN_MAX + 2];
    if (!ip4_addr_eq(netif_ip4_addr(netif), &net.said4)) {
        net.said4 = *netif_ip4_addr(netif);
        if (ip4_addr_isany_val(net.said4)) {
            wm_serial_say("address lost", "");
        } else {
            wm_serial_say("address coap://", ip4addr_ntoa_r(&net.said4, text, sizeof text));
        }
    }
    for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++) {
        const bool valid = ip6_addr_isvalid(netif_ip6_addr_state(netif, i));
        if (valid && (net.said6 & 1u << i) == 0) {
            ip6addr_ntoa_r(netif_ip6_addr(netif, i), text + 1, IP6ADDR_STRLEN_MAX);
            text[0] = '[';
            strcat(text, "]");
            wm_serial_say("address coap://", text);
        }
        net.said6 = (uint8_t)((net.said6 & ~(1u << i)) | (unsigned)valid << i);
    }
}

static void on_link_timer(void *arg)
{
    (void)arg;
    const bool up = wm_lan9118_link();
    if (up != netif_is_link_up(&net.netif)) {
        wm_serial_say("network cable ", up ? "connected" : "disconnected");
        if (up) {
            netif_set_link_up(&net.netif);
        } else {
            netif_set_link_down(&net.netif);
        }
    }
    sys_timeout(LINK_POLL_MS, on_link_timer, NULL);
}

/* One word of the settings: ADDRESS/BITS, a gateway, or an IPv6 address. Returns whether it is one. */
static bool take_setting(char *word, ip4_addr_t *address, ip4_addr_t *mask, ip4_addr_t *gateway)
{
    if (strchr(word, ':') != NULL) {
        ip6_addr_t six;
        s8_t slot;
        if (!ip6addr_aton(word, &six) || netif_add_ip6_address(&net.netif, &six, &slot) != ERR_OK) {
            return false;
        }
        return true;
    }
    char *slash = strchr(word, '/');
    if (slash == NULL) {
        return ip4addr_aton(word, gateway) != 0;
    }
    *slash++ = '\0';
    unsigned bits = 0;
    for (; *slash >= '0' && *slash <= '9' && bits < 100; slash++) {
        bits = bits * 10 + (unsigned)(*slash - '0');
    }
    if (*slash != '\0' || bits < 1 || bits > 32) {
        return false;
    }
    ip4_addr_set_u32(mask, lwip_htonl(UINT32_MAX << (32 - bits)));
    return ip4addr_aton(word, address) != 0;
}

/* Settings are a line of text at an address of its own, `wasmote-net WORD...`; without that line all comes from the network. */
static void read_settings(void)
{
    static const char mark[] = "wasmote-net ";
    char text[BOARD_NET_SETTINGS_BYTES + 1];
    ip4_addr_t address = {0}, mask = {0}, gateway = {0};
    memcpy(text, (const void *)(uintptr_t)BOARD_NET_SETTINGS, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    if (memcmp(text, mark, sizeof mark - 1) != 0) {
        return;
    }
    text[strcspn(text, "\r\n")] = '\0';
    for (char *word = text + sizeof mark - 1; *word != '\0';) {
        char *end = word + strcspn(word, " ");
        char *next = end + (*end != '\0');
        *end = '\0';
        if (*word != '\0' && !take_setting(word, &address, &mask, &gateway)) {
            wm_serial_say("network settings: no address: ", word);
        }
        word = next;
    }
    if (!ip4_addr_isany_val(address)) {
        net.is_static = true;
        netif_set_addr(&net.netif, &address, &mask, &gateway);
    }
}

static void join_groups(void)
{
    /* All CoAP Nodes, RFC 7252, 12.8 */
    ip4_addr_t group4;
    ip6_addr_t group6;
    IP4_ADDR(&group4, 224, 0, 1, 187);
    IP6_ADDR(&group6, PP_HTONL(0xff020000), 0, 0, PP_HTONL(0xfd));
    igmp_joingroup_netif(&net.netif, &group4);
    mld6_joingroup_netif(&net.netif, &group6);
}

bool wm_net_init(struct wm_link *link, char mac[13])
{
    lwip_init();
    if (netif_add_noaddr(&net.netif, NULL, wm_lan9118_init, ethernet_input) == NULL) {
        wm_serial_say("no network: no LAN9118 answers", "");
        return false;
    }
    for (unsigned i = 0; i < 12; i++) {
        mac[i] = "0123456789abcdef"[net.netif.hwaddr[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
    }
    mac[12] = '\0';
    netif_set_default(&net.netif);
    netif_set_status_callback(&net.netif, on_change);
    netif_create_ip6_linklocal_address(&net.netif, 1);
    netif_set_ip6_autoconfig_enabled(&net.netif, 1);
    read_settings();
    netif_set_up(&net.netif);
    if (!net.is_static) {
        dhcp_set_struct(&net.netif, &net.dhcp);
        (void)dhcp_start(&net.netif);
    }
    join_groups();
    net.pcb = udp_new_ip_type(IPADDR_TYPE_ANY);
    (void)udp_bind(net.pcb, IP_ANY_TYPE, COAP_PORT);
    udp_recv(net.pcb, on_datagram, NULL);
    on_link_timer(NULL);
    *link = (struct wm_link){.name = "udp", .recv = net_recv, .send = net_send, .dropped = net_dropped};
    return true;
}

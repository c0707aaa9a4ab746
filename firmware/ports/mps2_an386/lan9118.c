/* lan9118.c: registers as in the data sheet of the LAN9118, revision 1.5: FIFOs 3.12 and 3.13, control registers 5.3, MAC 5.4, PHY 5.5. */
#include "lan9118.h"
#include "chip.h"
#include "mps2.h"

#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/pbuf.h"

#define LAN(offset) REG(LAN9118_BASE + (offset))

#define RX_DATA        LAN(0x00)
#define TX_DATA        LAN(0x20)
#define TX_A_FIRST     (1u << 13)
#define TX_A_LAST      (1u << 12)
#define RX_STATUS      LAN(0x40)
#define RX_STATUS_BAD  (1u << 30 | 1u << 15) /* not for us; an error */
#define TX_STATUS      LAN(0x48)
#define ID_REV         LAN(0x50)
#define IRQ_CFG        LAN(0x54)
#define IRQ_CFG_ON     (1u << 8 | 1u << 4 | 1u << 0) /* enabled, active high, push-pull */
#define INT_STS        LAN(0x58)
#define INT_EN         LAN(0x5c)
#define INT_RX         (1u << 3) /* more received frames than FIFO_INT says */
#define BYTE_TEST      LAN(0x64)
#define BYTE_TEST_OK   0x87654321u
#define FIFO_INT       LAN(0x68)
#define FIFO_INT_RX_0  0x48000000u /* each frame counts; the rest as after reset */
#define RX_CFG         LAN(0x6c)
#define RX_CFG_OFFSET(bytes) ((bytes) << 8)
#define TX_CFG         LAN(0x70)
#define TX_CFG_ON      (1u << 1)
#define HW_CFG         LAN(0x74)
#define HW_CFG_RESET   (1u << 0)
#define HW_CFG_FIFO    (1u << 20 | 5u << 16) /* must be one; 5 KB for frames to send, so 10 KB for received ones */
#define RX_FIFO_INF    LAN(0x7c)
#define TX_FIFO_INF    LAN(0x80)
#define PMT_CTRL       LAN(0x84)
#define PMT_READY      (1u << 0)
#define FREE_RUN       LAN(0x9c)
#define MAC_CMD        LAN(0xa4)
#define MAC_CMD_BUSY   (1u << 31)
#define MAC_CMD_READ   (1u << 30)
#define MAC_DATA       LAN(0xa8)

/* Behind MAC_CMD */
#define MAC_CR         1u
#define MAC_CR_ON      (1u << 20 | 1u << 19 | 1u << 3 | 1u << 2) /* full duplex, all multicast, send, receive */
#define MAC_ADDRH      2u
#define MAC_ADDRL      3u
#define MII_ACC        6u
#define MII_ACC_PHY    (1u << 11) /* the PHY inside */
#define MII_ACC_WRITE  (1u << 1)
#define MII_ACC_BUSY   (1u << 0)
#define MII_DATA       7u

/* Behind MII_ACC (IEEE 802.3, 22.2.4) */
#define PHY_CONTROL          0u
#define PHY_CONTROL_AUTO     (1u << 12 | 1u << 9) /* negotiate, now */
#define PHY_STATUS           1u
#define PHY_STATUS_LINK      (1u << 2)

#define POLLS_MAX   100000u
#define CRC_BYTES   4u
#define FRAME_MIN   (14u + CRC_BYTES)
#define FRAME_MAX   (1518u + CRC_BYTES) /* with a VLAN tag, though nobody here wants it */
#define WORDS(bytes) (((bytes) + 3) / 4)

static struct {
    volatile bool waiting; /* set by the interrupt, which stays off until the loop has emptied the FIFO */
    uint32_t      dropped;
} lan;

static bool poll_for(volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0; i < POLLS_MAX; i++) {
        if ((*reg & mask) == value) {
            return true;
        }
    }
    return false;
}

/* ---- MAC and PHY: behind two, and three, registers ---- */

static uint32_t mac_read(uint32_t reg)
{
    MAC_CMD = MAC_CMD_BUSY | MAC_CMD_READ | reg;
    (void)poll_for(&MAC_CMD, MAC_CMD_BUSY, 0);
    return MAC_DATA;
}

static void mac_write(uint32_t reg, uint32_t value)
{
    MAC_DATA = value;
    MAC_CMD = MAC_CMD_BUSY | reg;
    (void)poll_for(&MAC_CMD, MAC_CMD_BUSY, 0);
}

static void mii_wait(void)
{
    for (uint32_t i = 0; i < POLLS_MAX && (mac_read(MII_ACC) & MII_ACC_BUSY) != 0; i++) {
    }
}

static uint32_t phy_read(uint32_t reg)
{
    mac_write(MII_ACC, MII_ACC_PHY | reg << 6 | MII_ACC_BUSY);
    mii_wait();
    return mac_read(MII_DATA);
}

static void phy_write(uint32_t reg, uint32_t value)
{
    mac_write(MII_DATA, value);
    mac_write(MII_ACC, MII_ACC_PHY | reg << 6 | MII_ACC_WRITE | MII_ACC_BUSY);
    mii_wait();
}

bool wm_lan9118_link(void)
{
    return (phy_read(PHY_STATUS) & PHY_STATUS_LINK) != 0;
}

/* ---- frames ---- */

void wm_isr_lan9118(void);
void wm_isr_lan9118(void)
{
    INT_EN = 0;
    lan.waiting = true;
}

bool wm_lan9118_waiting(void)
{
    return lan.waiting;
}

uint32_t wm_lan9118_dropped(void)
{
    return lan.dropped;
}

/* Take a frame's words out of the FIFO: into p, whose parts hold whole words each, or to nowhere (NULL). */
static void take(struct pbuf *p, size_t words)
{
    for (; p != NULL; p = p->next) {
        uint32_t *to = p->payload;
        for (size_t n = WORDS(p->len); n > 0; n--, words--) {
            *to++ = RX_DATA;
        }
    }
    for (; words > 0; words--) {
        (void)RX_DATA;
    }
}

static struct pbuf *take_frame(void)
{
    const uint32_t status = RX_STATUS;
    const uint32_t len = status >> 16 & 0x3fff;
    /* The chip shifts a frame by ETH_PAD_SIZE, so that the IP header behind 14 bytes of Ethernet is aligned. */
    const uint32_t words = WORDS(ETH_PAD_SIZE + len);
    wm_chip_stir(FREE_RUN ^ status << 20);
    struct pbuf *p = NULL;
    if ((status & RX_STATUS_BAD) == 0 && len >= FRAME_MIN && len <= FRAME_MAX) {
        p = pbuf_alloc(PBUF_RAW, (uint16_t)(words * 4), PBUF_POOL);
    }
    take(p, words);
    if (p == NULL) {
        lan.dropped++;
        return NULL;
    }
    pbuf_realloc(p, (uint16_t)(ETH_PAD_SIZE + len - CRC_BYTES));
    return p;
}

struct pbuf *wm_lan9118_receive(void)
{
    bool cleared = false;
    while (lan.waiting) {
        if ((RX_FIFO_INF >> 16 & 0xff) != 0) {
            struct pbuf *p = take_frame();
            if (p != NULL) {
                return p;
            }
        } else if (!cleared) {
            INT_STS = INT_RX; /* and look again: one may have come in between */
            cleared = true;
        } else {
            lan.waiting = false;
            INT_EN = INT_RX; /* one that has come since then is an interrupt now */
        }
    }
    return NULL;
}

/* The bytes of a chain as the words that the FIFO takes. */
static void put(const struct pbuf *p, size_t skip)
{
    uint32_t word = 0;
    unsigned shift = 0;
    for (; p != NULL; p = p->next, skip = 0) {
        const uint8_t *bytes = p->payload;
        for (size_t i = skip; i < p->len; i++) {
            word |= (uint32_t)bytes[i] << shift;
            shift += 8;
            if (shift == 32) {
                TX_DATA = word;
                word = shift = 0;
            }
        }
    }
    if (shift != 0) {
        TX_DATA = word;
    }
}

static err_t send_frame(struct netif *netif, struct pbuf *p)
{
    (void)netif;
    const uint32_t len = p->tot_len - ETH_PAD_SIZE;
    while ((TX_FIFO_INF >> 16 & 0xff) != 0) {
        (void)TX_STATUS; /* what became of former frames: nobody asks */
    }
    if (len > FRAME_MAX - CRC_BYTES || (TX_FIFO_INF & 0xffff) < 2 * 4 + 4 * WORDS(len)) {
        return ERR_WOULDBLOCK; /* lost: CoAP sends it again where it matters */
    }
    TX_DATA = TX_A_FIRST | TX_A_LAST | len;
    TX_DATA = len;
    put(p, ETH_PAD_SIZE);
    return ERR_OK;
}

/* ---- start ---- */

static void address_init(struct netif *netif)
{
    const uint32_t low = mac_read(MAC_ADDRL), high = mac_read(MAC_ADDRH); /* the chip has read its EEPROM, if it has one */
    uint8_t *mac = netif->hwaddr;
    for (unsigned i = 0; i < 4; i++) {
        mac[i] = (uint8_t)(low >> 8 * i);
    }
    mac[4] = (uint8_t)high;
    mac[5] = (uint8_t)(high >> 8);
    if ((mac[0] & 1) != 0 || (low == 0 && (high & 0xffff) == 0)) { /* none: one of our own making, marked as such */
        wm_port_entropy(mac, ETH_HWADDR_LEN);
        mac[0] = 0x02;
        mac_write(MAC_ADDRL, (uint32_t)mac[3] << 24 | (uint32_t)mac[2] << 16 | (uint32_t)mac[1] << 8 | mac[0]);
        mac_write(MAC_ADDRH, (uint32_t)mac[5] << 8 | mac[4]);
    }
    netif->hwaddr_len = ETH_HWADDR_LEN;
}

err_t wm_lan9118_init(struct netif *netif)
{
    if (!poll_for(&PMT_CTRL, PMT_READY, PMT_READY) || BYTE_TEST != BYTE_TEST_OK || ID_REV >> 16 != 0x0118) {
        return ERR_IF;
    }
    HW_CFG = HW_CFG_RESET;
    if (!poll_for(&HW_CFG, HW_CFG_RESET, 0) || !poll_for(&PMT_CTRL, PMT_READY, PMT_READY)) {
        return ERR_IF;
    }
    HW_CFG = HW_CFG_FIFO;
    FIFO_INT = FIFO_INT_RX_0;
    RX_CFG = RX_CFG_OFFSET(ETH_PAD_SIZE);
    TX_CFG = TX_CFG_ON;
    address_init(netif);
    phy_write(PHY_CONTROL, PHY_CONTROL_AUTO);
    mac_write(MAC_CR, MAC_CR_ON);
    INT_STS = UINT32_MAX;
    IRQ_CFG = IRQ_CFG_ON;
    INT_EN = INT_RX;
    NVIC_ISER(LAN9118_IRQ) = NVIC_BIT(LAN9118_IRQ);

    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = send_frame;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    return ERR_OK;
}

/* lwipopts.h: lwIP as one interface's UDP stack in some 8 KB of RAM. lwip/opt.h explains each option. */
#ifndef WM_LWIPOPTS_H
#define WM_LWIPOPTS_H

/* No system: everything is called from the node's loop, nothing from an interrupt. */
#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_SOCKET          0
#define LWIP_NETCONN         0

/* UDP over IPv4 and IPv6, on one interface. */
#define LWIP_IPV6         1
#define LWIP_TCP          0
#define LWIP_RAW          0
#define LWIP_SINGLE_NETIF 1
#define LWIP_STATS        0

/* Addresses from the network: DHCP and SLAAC; groups for discovery. */
#define LWIP_DHCP                     1
#define LWIP_DHCP_DOES_ACD_CHECK      0
#define LWIP_DHCP_MAX_DNS_SERVERS     0
#define LWIP_IGMP                     1
#define LWIP_IPV6_MLD                 1
#define LWIP_NETIF_STATUS_CALLBACK    1
#define LWIP_NETIF_EXT_STATUS_CALLBACK 0

/* A message of the node fits a frame: nothing is sent in fragments, and those of others are dropped. */
#define IP_REASSEMBLY   0
#define IP_FRAG         0
#define LWIP_IPV6_REASS 0
#define LWIP_IPV6_FRAG  0

/* Memory. Received frames: one at a time, the largest in three buffers, and one that waits for recv. Sent frames are borrowed
 * from the node; copies are made where the peer's hardware address has to be asked for first. */
#define MEM_ALIGNMENT        4
#define MEM_SIZE             3584
#define PBUF_POOL_SIZE       6
#define PBUF_POOL_BUFSIZE    512
#define MEMP_NUM_PBUF        4
#define MEMP_NUM_UDP_PCB     2
#define MEMP_NUM_IGMP_GROUP  3
#define MEMP_NUM_MLD6_GROUP  6
#define MEMP_NUM_SYS_TIMEOUT (LWIP_NUM_SYS_TIMEOUT_INTERNAL + 1)
#define MEMP_NUM_ND6_QUEUE   2
#define ARP_TABLE_SIZE       8
#define LWIP_ND6_NUM_NEIGHBORS    8
#define LWIP_ND6_NUM_DESTINATIONS 8
#define LWIP_ND6_NUM_PREFIXES     3
#define LWIP_ND6_NUM_ROUTERS      2

#define ETH_PAD_SIZE 2 /* aligns the IP header */

#endif

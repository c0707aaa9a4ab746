/* wm_config_mps2_an386.h: the defaults, made for a chip of 128 KB, but for what a network brings. */
#ifndef WM_CONFIG_MPS2_AN386_H
#define WM_CONFIG_MPS2_AN386_H

#define WM_LINKS 2
#define WM_PEER_ADDR_BYTES 18 /* IPv6 and port; there is one interface, so no scope */
#define WM_MODULE_NESTING 32    /* what the C stack has room for: boards/README.md */

/* Several clients at once, each of which may repeat a request seconds later: what has been forgotten by then runs twice. */
#define WM_COAP_DEDUP_SLOTS 256
#define WM_COAP_DEDUP_BYTES 8192

#define WM_IMPORT_COMMUNICATION 1

#endif

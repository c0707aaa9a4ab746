/* wm_config_qemu_virt_rv32.h: as a chip of 128 KB would have it. */
#ifndef WM_CONFIG_QEMU_VIRT_RV32_H
#define WM_CONFIG_QEMU_VIRT_RV32_H

#define WM_LINKS 1
#define WM_PEER_ADDR_BYTES 1 /* a serial line has no addresses */
#define WM_MODULE_NESTING 32   /* what the C stack has room for: boards/README.md */

#define WM_IMPORT_COMMUNICATION 1

#endif

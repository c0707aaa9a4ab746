/* wm_config_stm32f4.h: 128 KB of RAM: the defaults were made for it. */
#ifndef WM_CONFIG_STM32F4_H
#define WM_CONFIG_STM32F4_H

#define WM_LINKS 1
#define WM_PEER_ADDR_BYTES 1 /* a serial line has no addresses */
#define WM_MODULE_NESTING 32   /* what the C stack has room for: boards/README.md */

#endif

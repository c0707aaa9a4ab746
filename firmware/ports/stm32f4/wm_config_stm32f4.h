/* wm_config_stm32f4.h: 128 KB of RAM: the defaults were made for it. A board's own limits come first ([limits] of board.toml). */
#ifndef WM_CONFIG_STM32F4_H
#define WM_CONFIG_STM32F4_H

#define WM_LINKS 1
#define WM_PEER_ADDR_BYTES 1 /* a serial line has no addresses */
#ifndef WM_MODULE_NESTING
#define WM_MODULE_NESTING 32 /* what 11 KB of C stack have room for: boards/README.md */
#endif

#endif

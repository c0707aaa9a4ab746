/* wm_config_esp32c3.h: 384 KB of RAM, so the defaults (made for 128 KB) leave most of it to functions. */
#ifndef WM_CONFIG_ESP32C3_H
#define WM_CONFIG_ESP32C3_H

#define WM_LINKS 1
#define WM_PEER_ADDR_BYTES 1 /* a serial line has no addresses */

#endif

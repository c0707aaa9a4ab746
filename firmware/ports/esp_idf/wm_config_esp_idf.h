/* wm_config_esp_idf.h: limits of a node under ESP-IDF. */
#ifndef WM_CONFIG_ESP_IDF_H
#define WM_CONFIG_ESP_IDF_H

#include "sdkconfig.h"

#define WM_LINKS 2
#define WM_PEER_ADDR_BYTES 22 /* IPv6 address, port, scope: ports/common/udp_socket.h */

/* Xtensa has no tail calls, so wasm3's instructions leave a frame each on the C stack until a block ends in a branch back, a call
 * returns, or the function ends. The engine looks at the stack in loops and calls only: between two looks comes at most one function's
 * code, a frame for each byte of it. So functions are small there, and below the limit there is room for the largest. */
#ifdef __XTENSA__
#define WM_NATIVE_STACK_BYTES 24576u
#define WM_MODULE_CODE_BYTES  1024u
#define PORT_STACK_RESERVE_BYTES (48u * WM_MODULE_CODE_BYTES) /* 32 bytes of a register window and 16 of what is spilled */
#else
#define PORT_STACK_RESERVE_BYTES 512u /* interrupts have a stack of their own */
#endif

#endif

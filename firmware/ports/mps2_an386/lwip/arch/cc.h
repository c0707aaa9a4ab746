/* cc.h: what lwIP wants to know of compiler and platform. */
#ifndef WM_LWIP_CC_H
#define WM_LWIP_CC_H

#include <stddef.h>
#include <stdint.h>

void wm_port_entropy(void *dst, size_t len);
_Noreturn void wm_port_panic(const char *file, int line);

static inline uint32_t wm_lwip_random(void)
{
    uint32_t word;
    wm_port_entropy(&word, sizeof word);
    return word;
}

#define LWIP_RAND()             wm_lwip_random()
#define LWIP_PLATFORM_DIAG(x)   ((void)0)
#define LWIP_PLATFORM_ASSERT(x) wm_port_panic("lwip", __LINE__) /* its texts would take 3 KB */

#endif

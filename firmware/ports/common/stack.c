#include "stack.h"
#include "wasmote/port.h"

#define PAINT 0xa5c35a3cu

void wm_stack_paint(void)
{
    /* Our own frame, and a word for luck, stay untouched. */
    uint32_t *const here = (uint32_t *)(uintptr_t)__builtin_frame_address(0) - 16;
    for (volatile uint32_t *p = wm_stack_bottom; p < here; p++) {
        *p = PAINT;
    }
}

uint32_t wm_port_stack_used(void)
{
    const uint32_t *p = wm_stack_bottom;
    while (p < wm_stack_top && *p == PAINT) {
        p++;
    }
    return (uint32_t)((uintptr_t)wm_stack_top - (uintptr_t)p);
}

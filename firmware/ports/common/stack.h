/* stack.h: how much of a bare-metal stack has been used: it is painted at start, and what lost its paint was used.
 * The linker script defines wm_stack_bottom and wm_stack_top. */
#ifndef WM_PORT_STACK_H
#define WM_PORT_STACK_H

#include <stdint.h>

extern uint32_t wm_stack_bottom[], wm_stack_top[];

/* Once, early: paint what lies below the caller. */
void wm_stack_paint(void);

#endif

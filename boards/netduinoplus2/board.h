/* board.h: what ports/stm32f4 has to know of this board. */
#ifndef WM_BOARD_H
#define WM_BOARD_H

#define BOARD_CHIP "stm32f405rg"
#define BOARD_BAUD 115200u

/* Stack that a function may not use: the frames of an interrupt (104 bytes with the float registers, PM0214 2.3.7) and of
 * what it calls. */
#define BOARD_STACK_RESERVE_BYTES 256u

#endif

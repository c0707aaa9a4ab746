/* board.h: what ports/esp32c3 has to know of this board. */
#ifndef WM_BOARD_H
#define WM_BOARD_H

#define BOARD_CHIP "esp32c3"
#define BOARD_BAUD 115200u

/* Stack that a function may not use: the frame of an interrupt (64 bytes) and of what it calls. */
#define BOARD_STACK_RESERVE_BYTES 256u

#endif

/* board.h: what ports/mps2_an386 has to know of this board. */
#ifndef WM_BOARD_H
#define WM_BOARD_H

#define BOARD_CHIP "mps2-an386"
#define BOARD_BAUD 115200u

/* Stack that a function may not use: an interrupt's frame, with the float registers, and what it calls. */
#define BOARD_STACK_RESERVE_BYTES 256u

/* The memory at address 0 that plays flash, and is locked against writes: 4 MB. */
#define BOARD_READ_ONLY_LOG2 22

/* Where a line with network settings may lie: see the README. */
#define BOARD_NET_SETTINGS       0x00100000u
#define BOARD_NET_SETTINGS_BYTES 160u

#endif

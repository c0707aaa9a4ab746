/* board.h: what ports/qemu_virt_rv32 has to know of this board. */
#ifndef WM_BOARD_H
#define WM_BOARD_H

#define BOARD_CHIP "rv32imc"

/* Stack that a function may not use: the frame of an interrupt (64 bytes) and of what it calls. */
#define BOARD_STACK_RESERVE_BYTES 256u

#endif

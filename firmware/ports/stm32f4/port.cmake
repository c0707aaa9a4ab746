# STM32F4, bare metal. board.h, limits.h and the linker script are made from board.toml.
wm_board_files(${WM_PORT_DIR}/generate.py ${WM_PORT_DIR}/chips.toml)
set(WM_PORT_CONFIG ${WM_BOARD_FILES}/limits.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/vectors.c
    ${WM_PORT_DIR}/chip.c
    ${WM_PORT_DIR}/libc.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/cortex_m.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/serial.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/stack.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common ${WM_BOARD_FILES})
# Float instructions with the soft-float ABI. Measured in QEMU with -icount (gcc 12.2, -Os; text in bytes; million instructions):
#            text     fib(24)  i64 loop  f32 loop  f64 loop
#   softfp   102,824  31       38        41        79
#   hard     104,936  32       39        43        79
#   soft     103,400  31       36        82        79
set(WM_PORT_OPTIONS -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=softfp --specs=nano.specs)
set(WM_PORT_LINK_OPTIONS -nostartfiles -Wl,-T,${WM_BOARD_FILES}/link.ld -Wl,--fatal-warnings)
set(WM_PORT_IMAGE_DEPENDS ${WM_BOARD_FILES}/link.ld)

# STM32F405 and its kin, bare metal.
set(WM_PORT_CONFIG ${WM_PORT_DIR}/wm_config_stm32f4.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/startup.c
    ${WM_PORT_DIR}/chip.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/serial.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/stack.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common ${WM_BOARD_DIR})
# Hard-float ABI: wasm3 hands its float accumulator from operation to operation in d0 instead of on the stack.
set(WM_PORT_OPTIONS -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard --specs=nano.specs)
set(WM_PORT_LINK_OPTIONS -nostartfiles -Wl,-T,${WM_BOARD_DIR}/link.ld -Wl,--fatal-warnings)
set(WM_PORT_IMAGE_DEPENDS ${WM_BOARD_DIR}/link.ld)

# Arm's MPS2 with the FPGA image AN386, a Cortex-M4, as QEMU models it: Ethernet, with lwIP.
set(WM_PORT_CONFIG ${WM_PORT_DIR}/wm_config_mps2_an386.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/vectors.c
    ${WM_PORT_DIR}/chip.c
    ${WM_PORT_DIR}/lan9118.c
    ${WM_PORT_DIR}/net.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/cortex_m.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/serial.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/stack.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common ${WM_BOARD_DIR})
set(WM_PORT_OPTIONS -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=softfp --specs=nano.specs)
set(WM_PORT_LINK_OPTIONS -nostartfiles -T${WM_BOARD_DIR}/link.ld -Wl,--fatal-warnings)
set(WM_PORT_IMAGE_DEPENDS ${WM_BOARD_DIR}/link.ld)
# Where lwipopts.h and arch/cc.h are, and which files see lwIP.
set(WM_PORT_LWIP_DIR ${WM_PORT_DIR}/lwip)
set(WM_PORT_LWIP_USERS ${WM_PORT_DIR}/lan9118.c ${WM_PORT_DIR}/net.c)

# QEMU's `virt` machine with a 32-bit core: a RISC-V microcontroller that nobody has to buy.
set(WM_PORT_CONFIG ${WM_PORT_DIR}/wm_config_qemu_virt_rv32.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/startup.c
    ${WM_PORT_DIR}/chip.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/serial.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/stack.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common ${WM_BOARD_DIR})
# The instruction set as of specification 2.2 has the csr instructions in it: -march=rv32imc_zicsr would say the same to the
# compiler, but picks a C library of another kind.
set(WM_PORT_OPTIONS -misa-spec=2.2 -march=rv32imc -mabi=ilp32 -mcmodel=medany -specs=picolibc.specs)
set(WM_PORT_LINK_OPTIONS -nostartfiles -T${WM_BOARD_DIR}/link.ld -Wl,--fatal-warnings)
set(WM_PORT_IMAGE_DEPENDS ${WM_BOARD_DIR}/link.ld)

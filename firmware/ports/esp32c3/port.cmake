# ESP32-C3, bare metal: no vendor SDK. Two images from the same sources: wasmote-node (direct boot: runs from flash) and
# wasmote-node-ram (loaded into RAM through the serial line).
set(WM_PORT_CONFIG ${WM_PORT_DIR}/wm_config_esp32c3.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/startup.c
    ${WM_PORT_DIR}/chip.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/serial.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/stack.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common ${WM_BOARD_DIR})
# As for qemu_virt_rv32: the instruction set of specification 2.2 has the csr instructions in it.
set(WM_PORT_OPTIONS -misa-spec=2.2 -march=rv32imc -mabi=ilp32 -mcmodel=medany -specs=picolibc.specs)
set(WM_PORT_DEFINITIONS IMAGE_IN_FLASH)
set(WM_PORT_LINK_OPTIONS -nostartfiles -T${WM_BOARD_DIR}/link.ld -Wl,--fatal-warnings)
set(WM_PORT_IMAGE_DEPENDS ${WM_BOARD_DIR}/link.ld)

# The second image. esptool packs it (`wasmote build` hands over the Python that has it); without it there is the ELF file alone.
function(wm_port_images)
    wm_image(wasmote-node-ram "" "-nostartfiles;-T${WM_BOARD_DIR}/ram.ld;-Wl,--fatal-warnings" ${WM_BOARD_DIR}/ram.ld)
    find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
    add_custom_command(TARGET wasmote-node POST_BUILD
        COMMAND ${Python3_EXECUTABLE} ${WM_PORT_DIR}/check_image.py wasmote-node.bin VERBATIM)
    execute_process(COMMAND ${Python3_EXECUTABLE} -m esptool version RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
    if(NOT status EQUAL 0)
        message(STATUS "no esptool for ${Python3_EXECUTABLE}: wasmote-node-ram.bin is not made (pip install esptool)")
        return()
    endif()
    add_custom_command(TARGET wasmote-node-ram POST_BUILD
        COMMAND ${Python3_EXECUTABLE} -m esptool --chip esp32c3 elf2image --output wasmote-node-ram.bin
                $<TARGET_FILE:wasmote-node-ram>
        BYPRODUCTS wasmote-node-ram.bin VERBATIM)
endfunction()

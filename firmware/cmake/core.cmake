# The core: everything that is the same on every board, as the library wasmote_core. Included by firmware/CMakeLists.txt, and by
# the ESP-IDF component (ports/esp_idf), so that there is one list of sources. Wanted beforehand: WM_PORT_CONFIG, WM_THIRD_PARTY_DIR.
get_filename_component(WM_FIRMWARE ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
include(${CMAKE_CURRENT_LIST_DIR}/third_party.cmake)

set(WM_CORE_SOURCES
    src/base/blob.c
    src/base/cbor.c
    src/base/fmt.c
    src/base/hash.c
    src/base/heap.c
    src/base/log.c
    src/base/sink.c
    src/coap/client.c
    src/coap/dedup.c
    src/coap/endpoint.c
    src/coap/exchange.c
    src/coap/msg.c
    src/coap/observe.c
    src/coap/problem.c
    src/coap/registration.c
    src/coap/reply.c
    src/coap/request.c
    src/coap/rpc.c
    src/coap/stored.c
    src/coap/ticket.c
    src/link/slipmux.c
    src/wasm/engine.c
    src/wasm/host.c
    src/wasm/host_communication.c
    src/wasm/host_dht.c
    src/wasm/host_env.c
    src/wasm/host_sys.c
    src/wasm/host_wasi.c
    src/wasm/host_wasmote.c
    src/wasm/m3_unit.c
    src/wasm/module.c
    src/wasm/refused.c
    src/wasm/section.c
    src/wasm/validate.c
    src/wasm/validate_code.c
    src/wasm/validate_module.c
    src/wasm/validate_stack.c
    src/store/ram.c
    src/secure/sha256.c
    src/functions/exports.c
    src/functions/image.c
    src/functions/install.c
    src/functions/jobs.c
    src/functions/table.c
    src/functions/tidy.c
    src/functions/values.c
    src/resources/call.c
    src/resources/device.c
    src/resources/function.c
    src/resources/jobs.c
    src/resources/links.c
    src/resources/logs.c
    src/resources/metrics.c
    src/resources/resources.c
    src/resources/upload.c
    src/node.c
)
# A file that is not listed would be missed silently: its tests are built from the library.
file(GLOB_RECURSE WM_CORE_FILES CONFIGURE_DEPENDS RELATIVE ${WM_FIRMWARE} ${WM_FIRMWARE}/src/*.c)
list(REMOVE_ITEM WM_CORE_FILES ${WM_CORE_SOURCES})
if(WM_CORE_FILES)
    message(FATAL_ERROR "firmware/cmake/core.cmake does not list: ${WM_CORE_FILES}")
endif()
list(TRANSFORM WM_CORE_SOURCES PREPEND ${WM_FIRMWARE}/)
add_library(wasmote_core STATIC ${WM_CORE_SOURCES})
set_target_properties(wasmote_core PROPERTIES C_EXTENSIONS OFF)
target_include_directories(wasmote_core PUBLIC ${WM_FIRMWARE}/include ${WM_FIRMWARE}/src)
target_compile_definitions(wasmote_core PUBLIC WM_CONFIG_FILE="${WM_PORT_CONFIG}")
wm_uses(wasmote_core wm_zcbor ${WM_FIRMWARE}/src/base/cbor.c)
wm_uses(wasmote_core wm_sha2 ${WM_FIRMWARE}/src/secure/sha256.c)
wm_uses(wasmote_core wm_wasm3 ${WM_FIRMWARE}/src/wasm/engine.c ${WM_FIRMWARE}/src/wasm/m3_unit.c)
# It is mostly wasm3's code. Out of link-time optimization, which makes its operations up to 1.6 % slower on Cortex-M4.
set_property(SOURCE ${WM_FIRMWARE}/src/wasm/m3_unit.c APPEND PROPERTY COMPILE_OPTIONS ${WM_WASM3_OPTIONS} -fno-lto)

# Flags for all code of our own.
add_library(wm_warnings INTERFACE)
target_compile_options(wm_warnings INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla)
if(WM_WERROR)
    target_compile_options(wm_warnings INTERFACE -Werror)
endif()
target_link_libraries(wasmote_core PRIVATE wm_warnings)

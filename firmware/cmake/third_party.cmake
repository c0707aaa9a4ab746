# Third-party C, compiled as it was published: never changed, so never held to our warnings (-w).
# The archives are pinned and unpacked by the `wasmote build` command; see docs/decisions on source pins.

set(WM_WASM3_DIR ${WM_THIRD_PARTY_DIR}/pywasm3-0.5.0/wasm3)
set(WM_ZCBOR_DIR ${WM_THIRD_PARTY_DIR}/zcbor-0.9.1)
set(WM_TINYDTLS_DIR ${WM_THIRD_PARTY_DIR}/dtlssocket-0.2.3/DTLSSocket/tinydtls)
foreach(dir ${WM_WASM3_DIR} ${WM_ZCBOR_DIR} ${WM_TINYDTLS_DIR})
    if(NOT IS_DIRECTORY ${dir})
        message(FATAL_ERROR "${dir} is missing. `wasmote build --fetch` fetches the sources, "
                            "or set -DWM_THIRD_PARTY_DIR to where they are.")
    endif()
endforeach()

# wm_uses(TARGET THIRD_PARTY_LIBRARY FILE...): these files of TARGET, and no other, see the headers, macros and options that
# THIRD_PARTY_LIBRARY hands on. So a module can only include the library that it is the adapter of.
function(wm_uses target library)
    target_link_libraries(${target} PRIVATE $<LINK_ONLY:${library}>)
    get_target_property(options ${library} INTERFACE_COMPILE_OPTIONS)
    if(NOT options)
        set(options)
    endif()
    get_target_property(dirs ${library} INTERFACE_INCLUDE_DIRECTORIES)
    foreach(dir ${dirs})
        list(APPEND options -isystem ${dir})
    endforeach()
    get_target_property(definitions ${library} INTERFACE_COMPILE_DEFINITIONS)
    foreach(file ${ARGN})
        set_property(SOURCE ${file} APPEND PROPERTY COMPILE_OPTIONS ${options})
        if(definitions)
            set_property(SOURCE ${file} APPEND PROPERTY COMPILE_DEFINITIONS ${definitions})
        endif()
    endforeach()
endfunction()

# ---- wasm3 ----
# All that sees a header of wasm3 must see the same configuration: it is force-included. Always optimized, and with sibling
# calls: without them each wasm instruction would take a C stack frame. m3_compile.c is part of src/wasm/m3_unit.c, which
# puts our own Loop operation into it.
# wasm's square roots set no errno: one instruction where the processor has it, instead of a wrapped call.
set(WM_WASM3_OPTIONS -w -foptimize-sibling-calls -fno-strict-aliasing -fno-math-errno)
if(NOT CMAKE_CROSSCOMPILING)
    list(APPEND WM_WASM3_OPTIONS -O2)
endif()
if(WM_SANITIZE MATCHES "undefined")
    # wasm3 calls through cast function pointers and reads unaligned on purpose.
    list(APPEND WM_WASM3_OPTIONS -fno-sanitize=undefined)
endif()

add_library(wm_wasm3 STATIC
    ${WM_WASM3_DIR}/m3_bind.c
    ${WM_WASM3_DIR}/m3_code.c
    ${WM_WASM3_DIR}/m3_core.c
    ${WM_WASM3_DIR}/m3_emit.c
    ${WM_WASM3_DIR}/m3_env.c
    ${WM_WASM3_DIR}/m3_exec.c
    ${WM_WASM3_DIR}/m3_function.c
    ${WM_WASM3_DIR}/m3_info.c
    ${WM_WASM3_DIR}/m3_module.c
    ${WM_WASM3_DIR}/m3_parse.c
)
target_include_directories(wm_wasm3 SYSTEM PUBLIC ${WM_WASM3_DIR} PRIVATE ${WM_FIRMWARE}/include ${WM_FIRMWARE}/src)
target_compile_definitions(wm_wasm3 PRIVATE WM_CONFIG_FILE="${WM_PORT_CONFIG}")
target_compile_options(wm_wasm3 PUBLIC -include ${WM_FIRMWARE}/src/wasm/m3_config_wasmote.h
                                PRIVATE ${WM_WASM3_OPTIONS})
target_link_libraries(wm_wasm3 PUBLIC m)

# ---- zcbor ----
add_library(wm_zcbor STATIC
    ${WM_ZCBOR_DIR}/src/zcbor_common.c
    ${WM_ZCBOR_DIR}/src/zcbor_decode.c
    ${WM_ZCBOR_DIR}/src/zcbor_encode.c
)
target_include_directories(wm_zcbor SYSTEM PUBLIC ${WM_ZCBOR_DIR}/include)
target_compile_definitions(wm_zcbor PUBLIC ZCBOR_CANONICAL)
target_compile_options(wm_zcbor PRIVATE -w)

# ---- SHA-256 of tinydtls ----
# sha2.h wants tinydtls.h, which wants the configuration of a whole DTLS library: its include guard, defined here, keeps
# both out. NDEBUG removes sha2.c's assertions on null pointers.
add_library(wm_sha2 STATIC ${WM_TINYDTLS_DIR}/sha2/sha2.c)
target_include_directories(wm_sha2 SYSTEM PUBLIC ${WM_TINYDTLS_DIR}/sha2 ${WM_TINYDTLS_DIR})
target_compile_definitions(wm_sha2 PUBLIC _DTLS_TINYDTLS_H_ WITH_SHA256 SHA2_USE_INTTYPES_H PRIVATE HAVE_ASSERT_H NDEBUG)
target_compile_options(wm_sha2 PRIVATE -w)

# ---- lwIP ----
# Only for a port that names the folder of its lwipopts.h. Out of link-time optimization: so its size can be told from the linker's
# map (`wasmote size`).
if(WM_PORT_LWIP_DIR)
    set(WM_LWIP_DIR ${WM_THIRD_PARTY_DIR}/lwip-2.2.1/src)
    if(NOT IS_DIRECTORY ${WM_LWIP_DIR})
        message(FATAL_ERROR "${WM_LWIP_DIR} is missing. `wasmote build ${WM_BOARD}` fetches the sources, "
                            "or set -DWM_THIRD_PARTY_DIR to where they are.")
    endif()
    add_library(wm_lwip STATIC
        ${WM_LWIP_DIR}/core/def.c
        ${WM_LWIP_DIR}/core/inet_chksum.c
        ${WM_LWIP_DIR}/core/init.c
        ${WM_LWIP_DIR}/core/ip.c
        ${WM_LWIP_DIR}/core/mem.c
        ${WM_LWIP_DIR}/core/memp.c
        ${WM_LWIP_DIR}/core/netif.c
        ${WM_LWIP_DIR}/core/pbuf.c
        ${WM_LWIP_DIR}/core/timeouts.c
        ${WM_LWIP_DIR}/core/udp.c
        ${WM_LWIP_DIR}/core/ipv4/dhcp.c
        ${WM_LWIP_DIR}/core/ipv4/etharp.c
        ${WM_LWIP_DIR}/core/ipv4/icmp.c
        ${WM_LWIP_DIR}/core/ipv4/igmp.c
        ${WM_LWIP_DIR}/core/ipv4/ip4.c
        ${WM_LWIP_DIR}/core/ipv4/ip4_addr.c
        ${WM_LWIP_DIR}/core/ipv6/ethip6.c
        ${WM_LWIP_DIR}/core/ipv6/icmp6.c
        ${WM_LWIP_DIR}/core/ipv6/ip6.c
        ${WM_LWIP_DIR}/core/ipv6/ip6_addr.c
        ${WM_LWIP_DIR}/core/ipv6/mld6.c
        ${WM_LWIP_DIR}/core/ipv6/nd6.c
        ${WM_LWIP_DIR}/netif/ethernet.c
    )
    target_include_directories(wm_lwip SYSTEM PUBLIC ${WM_LWIP_DIR}/include ${WM_PORT_LWIP_DIR})
    target_compile_options(wm_lwip PRIVATE -w -fno-lto)
endif()

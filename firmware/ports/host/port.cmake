set(WM_PORT_CONFIG ${WM_PORT_DIR}/wm_config_host.h)
set(WM_PORT_SOURCES
    ${WM_PORT_DIR}/main.c
    ${WM_PORT_DIR}/options.c
    ${WM_PORT_DIR}/pty.c
    ${WM_PORT_DIR}/sensors.c
    ${WM_PORT_DIR}/system.c
    ${WM_PORT_DIR}/udp.c
    ${CMAKE_CURRENT_SOURCE_DIR}/ports/common/udp_socket.c
)
set(WM_PORT_INCLUDES ${CMAKE_CURRENT_SOURCE_DIR}/ports/common)
# recvmmsg, getrandom, ppoll are GNU extensions of the C library.
set(WM_PORT_DEFINITIONS _GNU_SOURCE)

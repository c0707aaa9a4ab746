/* bare.c: an echo that also calls an empty wasm export through plain wasm3, and nothing else: no CoAP, no limits. It
 * stands between the echo and the node and tells what a call itself costs.
 *
 *     bare PORT MODULE EXPORT */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "wasm3.h"

static uint8_t module_bytes[65536];

int main(int argc, char **argv)
{
    FILE *file = argc == 4 ? fopen(argv[2], "rb") : NULL;
    if (file == NULL) {
        fputs("usage: bare PORT MODULE EXPORT\n", stderr);
        return 2;
    }
    const uint32_t len = (uint32_t)fread(module_bytes, 1, sizeof module_bytes, file);
    fclose(file);
    IM3Environment env = m3_NewEnvironment();
    IM3Runtime runtime = m3_NewRuntime(env, 8192, NULL);
    IM3Module module;
    IM3Function function;
    M3Result error = m3_ParseModule(env, &module, module_bytes, len);
    if (error == m3Err_none) {
        error = m3_LoadModule(runtime, module);
    }
    if (error == m3Err_none) {
        error = m3_FindFunction(&function, runtime, argv[3]);
    }
    if (error != m3Err_none) {
        fprintf(stderr, "bare: %s\n", error);
        return 1;
    }
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    const struct sockaddr_in own = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
        perror("bare");
        return 1;
    }
    for (;;) {
        uint8_t buf[1500];
        struct sockaddr_in peer;
        socklen_t peer_len = sizeof peer;
        const ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&peer, &peer_len);
        if (n >= 0 && m3_Call(function, 0, NULL) == m3Err_none) {
            (void)sendto(fd, buf, (size_t)n, 0, (const struct sockaddr *)&peer, peer_len);
        }
    }
}

/* echo.c: a bare UDP echo on the loopback: what a server of datagrams can reach at most, one system call each way.
 *
 *     echo PORT */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: echo PORT\n", stderr);
        return 2;
    }
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    const struct sockaddr_in own = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof own) != 0) {
        perror("echo");
        return 1;
    }
    for (;;) {
        uint8_t buf[1500];
        struct sockaddr_in peer;
        socklen_t peer_len = sizeof peer;
        const ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&peer, &peer_len);
        if (n >= 0) {
            (void)sendto(fd, buf, (size_t)n, 0, (const struct sockaddr *)&peer, peer_len);
        }
    }
}

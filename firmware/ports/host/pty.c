/* pty.c: a pseudo-terminal that behaves like the serial port of a board. */
#include "host.h"
#include "link/slipmux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define FRAME_BYTES (WM_COAP_MESSAGE_BYTES + 3)     /* unescaped: kind, message, FCS */
#define WIRE_BYTES  (2 + 2 * (size_t)FRAME_BYTES)   /* the same at its worst on the line */

static struct {
    int      master, slave;
    char     path[128];
    struct wm_slipmux_reader reader;
    uint8_t  frame[FRAME_BYTES];
    uint8_t  in[4096];
    size_t   in_next, in_count;
    uint8_t  out[WIRE_BYTES]; /* one frame, as far as it has not been taken yet */
    size_t   out_next, out_count;
} pty;

/* Nobody may be reading: never wait for the other side. */
static void push_out(void)
{
    while (pty.out_next < pty.out_count) {
        const ssize_t n = write(pty.master, pty.out + pty.out_next, pty.out_count - pty.out_next);
        if (n <= 0) {
            return;
        }
        pty.out_next += (size_t)n;
    }
    pty.out_next = pty.out_count = 0;
}

bool host_pty_backlog(void)
{
    return pty.out_count > 0;
}

static void put(void *ctx, uint8_t byte)
{
    (void)ctx;
    pty.out[pty.out_count++] = byte;
}

static int say(uint8_t kind, struct wm_span content)
{
    push_out();
    if (pty.out_count > 0) {
        return WM_ERR_BUSY;
    }
    if (content.len > WM_COAP_MESSAGE_BYTES) {
        return WM_ERR_IO;
    }
    wm_slipmux_write(kind, content, put, NULL);
    push_out();
    return 0;
}

void host_pty_say(const char *text)
{
    (void)say(WM_SLIPMUX_TEXT, wm_span_str(text));
}

static int pty_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    (void)ctx;
    (void)peer;
    return say(WM_SLIPMUX_COAP, wm_span(buf, len));
}

static int pty_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    push_out();
    for (;;) {
        if (pty.in_next == pty.in_count) {
            const ssize_t n = read(pty.master, pty.in, sizeof pty.in);
            if (n <= 0) {
                return 0;
            }
            pty.in_next = 0;
            pty.in_count = (size_t)n;
        }
        while (pty.in_next < pty.in_count) {
            uint8_t kind;
            struct wm_span content;
            if (!wm_slipmux_feed(&pty.reader, pty.in[pty.in_next++], &kind, &content) || kind != WM_SLIPMUX_COAP) {
                continue;
            }
            if (content.len == 0 || content.len > cap) {
                pty.reader.dropped++;
                continue;
            }
            peer->addr_len = 0;
            peer->multicast = false;
            memcpy(buf, content.ptr, content.len);
            return (int)content.len;
        }
    }
}

static uint32_t pty_dropped(void *ctx)
{
    (void)ctx;
    return pty.reader.dropped;
}

int host_pty_open(struct wm_link *link)
{
    pty.master = posix_openpt(O_RDWR | O_NOCTTY);
    if (pty.master < 0 || grantpt(pty.master) != 0 || unlockpt(pty.master) != 0) {
        host_fail(EXIT_SYSTEM, "no pseudo-terminal: %s", strerror(errno));
    }
    const char *path = ptsname(pty.master);
    if (path == NULL || strlen(path) >= sizeof pty.path) {
        host_fail(EXIT_SYSTEM, "the pseudo-terminal has no usable name");
    }
    strcpy(pty.path, path);
    /* Held open, so that bytes pass unchanged from the start and the line survives its clients. */
    pty.slave = open(pty.path, O_RDWR | O_NOCTTY);
    struct termios tio;
    if (pty.slave < 0 || tcgetattr(pty.slave, &tio) != 0) {
        host_fail(EXIT_SYSTEM, "%s: %s", pty.path, strerror(errno));
    }
    cfmakeraw(&tio);
    if (tcsetattr(pty.slave, TCSANOW, &tio) != 0 ||
        fcntl(pty.master, F_SETFL, fcntl(pty.master, F_GETFL) | O_NONBLOCK) != 0) {
        host_fail(EXIT_SYSTEM, "%s: %s", pty.path, strerror(errno));
    }
    wm_slipmux_reader_init(&pty.reader, pty.frame, sizeof pty.frame);
    *link = (struct wm_link){.name = "serial", .recv = pty_recv, .send = pty_send, .dropped = pty_dropped};
    return pty.master;
}

const char *host_pty_path(void)
{
    return pty.path;
}

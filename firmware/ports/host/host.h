/* host.h: the parts of the host port. */
#ifndef WM_HOST_H
#define WM_HOST_H

#include "wasmote/port.h"

/* Exit codes, after sysexits.h; --help lists them. */
enum { EXIT_STOPPED = 0, EXIT_BAD_USAGE = 64, EXIT_UNAVAILABLE = 69, EXIT_SYSTEM = 71 };

/* ---- options.c ---- */

struct host_options {
    bool        udp, serial;
    const char *bind; /* "any" or an address */
    uint16_t    port; /* 0: any free one */
    size_t      pool_bytes;
    const char *ep; /* NULL: make one */
    uint32_t    ack_timeout_ms; /* 0: default; the same for max_retransmit */
    uint8_t     max_retransmit;
    const char *directory;  /* coap://HOST[:PORT]; NULL: do not register */
    uint32_t    lifetime_s; /* 0: default */
    const char *sensors;    /* a script; NULL: no sensors */
};

/* Fill opt from the command line. Prints and exits for --help, --version and mistakes. */
void host_options_parse(struct host_options *opt, int argc, char **argv);

/* ---- udp.c: one socket ---- */

/* Open the socket and fill link. Returns the file descriptor, or prints why not and exits. */
int host_udp_open(struct wm_link *link, const char *bind_to, uint16_t port);
uint16_t host_udp_port(void);
const char *host_udp_uri_host(void); /* an address under which this machine reaches the node */

/* Where `coap://HOST[:PORT]` is, as a peer of this socket. Prints why not and exits. */
void host_udp_find(struct wm_peer *peer, const char *uri);

/* Sleep until datagrams have come, a signal, or HOST_NAP_MS have passed; take those that are there.
 * One system call, where there is only this socket to wait for. */
void host_udp_wait(void);

/* Take what is there, without sleeping. */
void host_udp_fetch(void);

#define HOST_NAP_MS 1000 /* longest sleep: bounds how late a signal may be seen */

/* ---- pty.c: a pseudo-terminal that speaks slipmux ---- */

/* Open it and fill link. Returns the file descriptor, or prints why not and exits. */
int host_pty_open(struct wm_link *link);
const char *host_pty_path(void);
void host_pty_say(const char *text); /* a diagnostics frame */
bool host_pty_backlog(void);         /* output waits for the reader: poll for POLLOUT */

/* ---- sensors.c: what wm_port_sensor gives is in a file ---- */

/* Read the script; its time begins now. Prints what is wrong with it and exits. */
void host_sensors_open(const char *path);

/* ---- system.c ---- */

uint64_t host_now_ms(void); /* since the start; wm_port_now_ms is its lower half */

/* Call first, from main: notes where the stack begins. */
void host_system_init(void);
_Noreturn void host_fail(int exit_code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void host_make_ep(char *buf, size_t cap, const char *instance); /* the same for the same machine and instance */
const char *host_chip(void);

#endif

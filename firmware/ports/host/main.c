/* main.c: a node as a process. */
#include "host.h"
#include "wasmote/node.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop = 1;
}

/* Every NUDGE_MS of the process' own time: nothing comes while it sleeps. */
#define NUDGE_MS 5

static void on_timer(int signal_number)
{
    (void)signal_number;
    if (stop && ++stop > 2) { /* after NUDGE_MS and more it can only be a function that runs; nobody waits for its end */
        _exit(EXIT_STOPPED);
    }
    wm_node_nudge();
}

static void start_timer(void)
{
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGVTALRM, &action, NULL);
    const struct timeval every = {.tv_usec = NUDGE_MS * 1000};
    const struct itimerval timer = {.it_interval = every, .it_value = every};
    if (setitimer(ITIMER_VIRTUAL, &timer, NULL) != 0) {
        host_fail(EXIT_SYSTEM, "no timer for looks at the links while a function runs");
    }
}

/* In order: without the timer, which would cut off what sanitizers do at the end. */
static _Noreturn void leave(void)
{
    signal(SIGVTALRM, SIG_IGN);
    exit(EXIT_STOPPED);
}

static int udp_fd = -1, pty_fd = -1;

/* Sleep until something is to be read, or wait_ms have passed. */
void wm_port_wait(uint32_t wait_ms)
{
    if (wait_ms == 0) {
        return;
    }
    if (stop) { /* nobody waits for the end of a function's pause */
        leave();
    }
    if (pty_fd < 0 && wait_ms >= HOST_NAP_MS) {
        host_udp_wait();
        return;
    }
    struct pollfd fds[2] = {
        {.fd = udp_fd, .events = POLLIN},
        {.fd = pty_fd, .events = (short)(POLLIN | (host_pty_backlog() ? POLLOUT : 0))},
    };
    (void)poll(fds, 2, (int)(wait_ms < HOST_NAP_MS ? wait_ms : HOST_NAP_MS));
    if ((fds[0].revents & POLLIN) != 0) {
        host_udp_fetch();
    }
}

int main(int argc, char **argv)
{
    host_system_init();
    struct host_options opt;
    host_options_parse(&opt, argc, argv);

    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a signal ends the sleep */
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    start_timer();
    if (opt.sensors != NULL) {
        host_sensors_open(opt.sensors);
    }

    struct wm_link links[2];
    size_t link_count = 0;
    char ep[32], instance[160];
    if (opt.udp) {
        udp_fd = host_udp_open(&links[link_count++], opt.bind, opt.port);
        snprintf(instance, sizeof instance, "%u", host_udp_port());
    }
    if (opt.serial) {
        pty_fd = host_pty_open(&links[link_count++]);
        if (!opt.udp) {
            snprintf(instance, sizeof instance, "%s", host_pty_path());
        }
    }
    host_make_ep(ep, sizeof ep, instance);

    void *pool = aligned_alloc(64, (opt.pool_bytes + 63) & ~(size_t)63);
    if (pool == NULL) {
        host_fail(EXIT_SYSTEM, "no memory for a pool of %zu bytes; ask for less with --pool", opt.pool_bytes);
    }
    struct wm_peer directory;
    if (opt.directory != NULL) {
        host_udp_find(&directory, opt.directory);
    }
    const struct wm_node_config config = {
        .links = links,
        .link_count = link_count,
        .pool = pool,
        .pool_bytes = opt.pool_bytes,
        .ep = opt.ep != NULL ? opt.ep : ep,
        .board = WM_BOARD_NAME,
        .chip = host_chip(),
        .reset = "power",
        .ack_timeout_ms = opt.ack_timeout_ms,
        .max_retransmit = opt.max_retransmit,
        .register_at = opt.directory != NULL ? &directory : NULL,
        .register_lifetime_s = opt.lifetime_s,
    };
    struct wm_node *node = wm_node_init(&config);

    if (opt.udp) {
        printf("wasmote " WM_VERSION " ready coap://%s:%u\n", host_udp_uri_host(), host_udp_port());
    }
    if (opt.serial) {
        host_pty_say("wasmote " WM_VERSION " " WM_BOARD_NAME);
        printf("wasmote " WM_VERSION " ready serial:%s\n", host_pty_path());
    }
    fflush(stdout);

    while (!stop) {
        wm_port_wait(wm_node_poll(node, wm_port_now_ms()));
    }
    leave();
}

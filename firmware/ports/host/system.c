/* system.c: clock, entropy, stack limit, and the end of the process. */
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* Above main's frame lie the environment and the arguments, which count as stack; below the limit a signal handler and
 * the C library's own calls still need room. */
#define STACK_MARGIN_BYTES  (256u * 1024u)
#define STACK_DEFAULT_BYTES (8u * 1024u * 1024u)

static uintptr_t stack_limit;

void host_system_init(void)
{
    struct rlimit rl;
    size_t bytes = STACK_DEFAULT_BYTES;
    if (getrlimit(RLIMIT_STACK, &rl) == 0) {
        if (rl.rlim_cur < STACK_DEFAULT_BYTES) { /* the main thread's stack grows up to the limit of the moment */
            rl.rlim_cur = rl.rlim_max < STACK_DEFAULT_BYTES ? rl.rlim_max : STACK_DEFAULT_BYTES;
            (void)setrlimit(RLIMIT_STACK, &rl);
            (void)getrlimit(RLIMIT_STACK, &rl);
        }
        if (rl.rlim_cur < bytes) {
            bytes = (size_t)rl.rlim_cur;
        }
    }
    if (bytes < 2 * STACK_MARGIN_BYTES) {
        host_fail(EXIT_SYSTEM, "a stack of %zu bytes is too small; raise it with `ulimit -s 8192`", bytes);
    }
    stack_limit = (uintptr_t)__builtin_frame_address(0) - bytes + STACK_MARGIN_BYTES;
}

uintptr_t wm_port_stack_limit(void)
{
    return stack_limit;
}

uint32_t wm_port_stack_used(void)
{
    return 0; /* the system grows it on demand */
}

uint64_t host_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    static uint64_t start_ms;
    const uint64_t ms = (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
    if (start_ms == 0) {
        start_ms = ms;
    }
    return ms - start_ms;
}

uint32_t wm_port_now_ms(void)
{
    return (uint32_t)host_now_ms();
}

void wm_port_entropy(void *dst, size_t len)
{
    uint8_t *at = dst;
    while (len > 0) {
        const size_t part = len < 256 ? len : 256; /* all that one call gives */
        if (getentropy(at, part) != 0) {
            host_fail(EXIT_SYSTEM, "no entropy from the system");
        }
        at += part;
        len -= part;
    }
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "wasmote-node: internal error at %s:%d; please report it\n", file, line);
    abort();
}

_Noreturn void host_fail(int exit_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("wasmote-node: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(exit_code);
}

static uint64_t fnv1a(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    }
    return hash;
}

void host_make_ep(char *buf, size_t cap, const char *instance)
{
    char id[64] = "", name[256] = "";
    FILE *file = fopen("/etc/machine-id", "r"); /* not on macOS, where the host's name must do */
    if (file != NULL) {
        if (fgets(id, sizeof id, file) == NULL) {
            id[0] = '\0';
        }
        fclose(file);
    }
    (void)gethostname(name, sizeof name - 1);
    const uint64_t hash = fnv1a(fnv1a(fnv1a(0xcbf29ce484222325u, id), name), instance);
    snprintf(buf, cap, "host-%012llx", (unsigned long long)(hash >> 16));
}

const char *host_chip(void)
{
    static struct utsname u;
    return uname(&u) == 0 ? u.machine : "unknown";
}

#include "host.h"
#include "wasmote/node.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "wasmote-node: runs WebAssembly functions and answers CoAP\n"
    "\n"
    "usage: wasmote-node [options]\n"
    "\n"
    "  --port N            UDP port, 0 for any free one (default 5683)\n"
    "  --bind ADDR         IPv4 or IPv6 address, or `any` for all interfaces and the CoAP\n"
    "                      multicast groups (default 127.0.0.1: this machine only)\n"
    "  --no-udp            no UDP at all\n"
    "  --serial            open a pseudo-terminal that speaks slipmux, like a board's serial port\n"
    "  --pool BYTES        memory for functions; a suffix k or M is understood (default 8M)\n"
    "  --ep NAME           the node's identity, at most 63 bytes (default: made from this machine)\n"
    "  --ack-timeout-ms N  CoAP ACK_TIMEOUT (default 2000)\n"
    "  --max-retransmit N  CoAP MAX_RETRANSMIT, 1 to 255 (default 4)\n"
    "  --register URI      make the node known to the CoAP resource directory at coap://HOST[:PORT]\n"
    "  --lifetime SECONDS  of that registration, renewed before it ends (default 900)\n"
    "  --sensors FILE      what sensors say, and when: lines of SECONDS NAME VALUE (boards/host/README.md)\n"
    "  --help, --version\n"
    "\n"
    "Prints a line for each way in when it is ready, and then nothing more on standard output:\n"
    "  wasmote " WM_VERSION " ready coap://127.0.0.1:5683\n"
    "  wasmote " WM_VERSION " ready serial:/dev/pts/7\n"
    "\n"
    "Stops on SIGTERM or SIGINT. Exit codes: 0 stopped, 64 bad usage, 69 the address or port cannot\n"
    "be used, 71 the system refused something else.\n";

static unsigned long long number(const char *option, const char *text, unsigned long long min, unsigned long long max,
                                 bool suffix)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (suffix && (*end == 'k' || *end == 'K')) {
        shift = 10;
        end++;
    } else if (suffix && *end == 'M') {
        shift = 20;
        end++;
    }
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max >> shift || value << shift < min) {
        host_fail(EXIT_BAD_USAGE, "%s %s: expected a number from %llu to %llu", option, text, min, max);
    }
    return value << shift;
}

void host_options_parse(struct host_options *opt, int argc, char **argv)
{
    enum { PORT = 1, BIND, NO_UDP, SERIAL, POOL, EP, ACK_TIMEOUT, MAX_RETRANSMIT, REGISTER, LIFETIME, SENSORS, HELP, VERSION };
    static const struct option options[] = {
        {"port", required_argument, NULL, PORT},
        {"bind", required_argument, NULL, BIND},
        {"no-udp", no_argument, NULL, NO_UDP},
        {"serial", no_argument, NULL, SERIAL},
        {"pool", required_argument, NULL, POOL},
        {"ep", required_argument, NULL, EP},
        {"ack-timeout-ms", required_argument, NULL, ACK_TIMEOUT},
        {"max-retransmit", required_argument, NULL, MAX_RETRANSMIT},
        {"register", required_argument, NULL, REGISTER},
        {"lifetime", required_argument, NULL, LIFETIME},
        {"sensors", required_argument, NULL, SENSORS},
        {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},
        {NULL, 0, NULL, 0},
    };
    *opt = (struct host_options){.udp = true, .bind = "127.0.0.1", .port = 5683, .pool_bytes = 8u << 20};
    int which;
    while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (which) {
        case PORT:
            opt->port = (uint16_t)number("--port", optarg, 0, 65535, false);
            break;
        case BIND:
            opt->bind = optarg;
            break;
        case NO_UDP:
            opt->udp = false;
            break;
        case SERIAL:
            opt->serial = true;
            break;
        case POOL:
            opt->pool_bytes = (size_t)number("--pool", optarg, 16384, 1u << 31, true);
            break;
        case EP:
            if (optarg[0] == '\0' || strlen(optarg) > 63) {
                host_fail(EXIT_BAD_USAGE, "--ep: expected 1 to 63 bytes");
            }
            opt->ep = optarg;
            break;
        case ACK_TIMEOUT:
            opt->ack_timeout_ms = (uint32_t)number("--ack-timeout-ms", optarg, 1, 600000, false);
            break;
        case MAX_RETRANSMIT:
            opt->max_retransmit = (uint8_t)number("--max-retransmit", optarg, 1, 255, false);
            break;
        case REGISTER:
            opt->directory = optarg;
            break;
        case LIFETIME:
            opt->lifetime_s = (uint32_t)number("--lifetime", optarg, 1, 14u * 24u * 3600u, false);
            break;
        case SENSORS:
            opt->sensors = optarg;
            break;
        case HELP:
            fputs(help, stdout);
            exit(EXIT_STOPPED);
        case VERSION:
            puts("wasmote " WM_VERSION);
            exit(EXIT_STOPPED);
        default: /* getopt has said what is wrong */
            fputs("wasmote-node: `wasmote-node --help` lists the options\n", stderr);
            exit(EXIT_BAD_USAGE);
        }
    }
    if (optind < argc) {
        host_fail(EXIT_BAD_USAGE, "unexpected argument '%s'; `wasmote-node --help` lists the options", argv[optind]);
    }
    if (!opt->udp && !opt->serial) {
        host_fail(EXIT_BAD_USAGE, "--no-udp leaves no way in; add --serial");
    }
    if (!opt->udp && opt->directory != NULL) {
        host_fail(EXIT_BAD_USAGE, "--register goes by UDP; leave out --no-udp");
    }
}

/* load.c: a closed-loop CoAP client that costs as little as it can, the same for every server it measures.
 *
 *     load [-p PORT] [-o OUTSTANDING] (-c COUNT | -t SECONDS) (echo | get PATH | post PATH)
 *
 * One connected socket on the loopback. OUTSTANDING requests are in flight; each reply starts the next request. With one
 * outstanding a request is one send and one recv; with more, replies and requests travel in batches (recvmmsg, sendmmsg),
 * whatever the server does. Requests are confirmable with a token of four bytes; a good reply is an acknowledgement of
 * the same message ID with the same token and a code of class 2, and in `echo` the same bytes. What is not answered
 * within a second is lost and replaced. Prints one line of JSON; exit code 1 if a reply was wrong or none came. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WINDOW_MAX    64
#define DATAGRAM_MAX  1500
#define REQUEST_MAX   256
#define TOKEN_BYTES   4
#define LOST_NS       1000000000u
#define BUCKET_NS     100u
#define BUCKETS       1000000u /* latencies up to 100 ms; the last bucket holds the rest */
#define SCAN_INTERVAL 4096u    /* replies between two looks for lost requests */

struct slot {
    uint16_t     mid;
    uint32_t     token;
    uint64_t     sent_ns; /* 0: free */
    uint8_t      request[REQUEST_MAX];
    struct iovec iov;
};

static struct {
    int            fd;
    bool           echo;
    unsigned       window;
    uint64_t       limit; /* requests in all; 0: until end_ns */
    uint64_t       end_ns;
    size_t         request_bytes;
    uint16_t       mid;
    uint32_t       token;
    uint64_t       issued, done, lost, bad;
    struct slot    slots[WINDOW_MAX];
    struct mmsghdr tx[WINDOW_MAX], rx[WINDOW_MAX];
    uint8_t        replies[WINDOW_MAX][DATAGRAM_MAX];
    struct iovec   reply_iov[WINDOW_MAX];
    unsigned       tx_count;
    uint32_t      *buckets;
} load;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static _Noreturn void usage(void)
{
    fputs("usage: load [-p PORT] [-o OUTSTANDING] (-c COUNT | -t SECONDS) (echo | get PATH | post PATH)\n", stderr);
    exit(2);
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* Version 1, CON, a token of four bytes, the path's segments. Message ID and token are filled in for each request. */
static size_t encode(uint8_t *out, uint8_t code, const char *path)
{
    size_t len = 0;
    out[len++] = 0x40 | TOKEN_BYTES;
    out[len++] = code;
    len += 2 + TOKEN_BYTES;
    unsigned delta = 11; /* Uri-Path */
    while (*path != '\0') {
        path += *path == '/';
        const size_t n = strcspn(path, "/");
        if (n == 0) {
            continue;
        }
        if (n > 12 || len + 1 + n > REQUEST_MAX) {
            fputs("load: a path's segments have at most 12 bytes here\n", stderr);
            exit(2);
        }
        out[len++] = (uint8_t)(delta << 4 | n);
        memcpy(out + len, path, n);
        len += n;
        path += n;
        delta = 0;
    }
    return len;
}

static void issue(unsigned i, uint64_t now)
{
    struct slot *slot = &load.slots[i];
    if (load.limit != 0 ? load.issued == load.limit : now >= load.end_ns) {
        slot->sent_ns = 0;
        return;
    }
    load.issued++;
    slot->mid = load.mid++;
    slot->token = (load.token++ << 8) | i; /* the slot is in the token, so a reply finds it at once */
    slot->sent_ns = now;
    slot->request[2] = (uint8_t)(slot->mid >> 8);
    slot->request[3] = (uint8_t)slot->mid;
    memcpy(slot->request + 4, &slot->token, TOKEN_BYTES);
    load.tx[load.tx_count++].msg_hdr.msg_iov = &slot->iov;
}

static void transmit(void)
{
    const unsigned count = load.tx_count;
    load.tx_count = 0;
    if (count == 1) {
        const struct iovec *iov = load.tx[0].msg_hdr.msg_iov;
        if (send(load.fd, iov->iov_base, iov->iov_len, 0) < 0) {
            die("send");
        }
        return;
    }
    for (unsigned sent = 0; sent < count;) {
        const int n = sendmmsg(load.fd, load.tx + sent, count - sent, 0);
        if (n <= 0) {
            die("sendmmsg");
        }
        sent += (unsigned)n;
    }
}

/* Which request this answers; -1: none that waits. */
static int match(const uint8_t *reply, size_t len)
{
    if (len < 4 + TOKEN_BYTES) {
        return -1;
    }
    uint32_t token;
    memcpy(&token, reply + 4, TOKEN_BYTES);
    const unsigned i = token & 0xff;
    return i < load.window && load.slots[i].sent_ns != 0 && load.slots[i].token == token ? (int)i : -1;
}

static bool is_good(const struct slot *slot, const uint8_t *reply, size_t len)
{
    if (load.echo) {
        return len == load.request_bytes && memcmp(reply, slot->request, len) == 0;
    }
    const uint16_t mid = (uint16_t)(reply[2] << 8 | reply[3]);
    return reply[0] == (0x60 | TOKEN_BYTES) && reply[1] >> 5 == 2 && mid == slot->mid;
}

static void take(const uint8_t *reply, size_t len, uint64_t now)
{
    const int i = match(reply, len);
    if (i < 0) {
        load.bad++;
        return;
    }
    const struct slot *slot = &load.slots[i];
    if (!is_good(slot, reply, len)) {
        if (load.bad++ == 0) {
            fprintf(stderr, "load: wrong reply: %zu bytes, first %02x, code %u.%02u\n", len, reply[0], reply[1] >> 5,
                    reply[1] & 31);
        }
    } else {
        load.done++;
        const uint64_t bucket = (now - slot->sent_ns) / BUCKET_NS;
        load.buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    }
    issue((unsigned)i, now);
}

static void replace_lost(uint64_t now)
{
    for (unsigned i = 0; i < load.window; i++) {
        if (load.slots[i].sent_ns != 0 && now - load.slots[i].sent_ns >= LOST_NS) {
            load.lost++;
            issue(i, now);
        }
    }
    transmit();
}

static bool in_flight(void)
{
    for (unsigned i = 0; i < load.window; i++) {
        if (load.slots[i].sent_ns != 0) {
            return true;
        }
    }
    return false;
}

/* Take what has come; waits for the first. Returns the replies, 0 after LOST_NS. */
static unsigned receive(void)
{
    if (load.window == 1) {
        const ssize_t n = recv(load.fd, load.replies[0], DATAGRAM_MAX, 0);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            die("recv");
        }
        load.rx[0].msg_len = n > 0 ? (unsigned)n : 0;
        return n > 0;
    }
    const int n = recvmmsg(load.fd, load.rx, load.window, MSG_WAITFORONE, NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        die("recvmmsg");
    }
    return n > 0 ? (unsigned)n : 0;
}

static double percentile_us(double share)
{
    uint64_t rank = (uint64_t)((double)load.done * share), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += load.buckets[i];
        if (seen > rank) {
            return (i + 0.5) * BUCKET_NS / 1000.0;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    int port = 5683, option;
    double seconds = 0;
    load.window = 1;
    while ((option = getopt(argc, argv, "p:o:c:t:")) != -1) {
        switch (option) {
        case 'p':
            port = atoi(optarg);
            break;
        case 'o':
            load.window = (unsigned)atoi(optarg);
            break;
        case 'c':
            load.limit = strtoull(optarg, NULL, 10);
            break;
        case 't':
            seconds = atof(optarg);
            break;
        default:
            usage();
        }
    }
    const char *mode = optind < argc ? argv[optind] : "";
    const char *path = optind + 1 < argc ? argv[optind + 1] : NULL;
    load.echo = strcmp(mode, "echo") == 0;
    const bool post = strcmp(mode, "post") == 0;
    if (load.window < 1 || load.window > WINDOW_MAX || (load.limit == 0) == (seconds <= 0) ||
        (!load.echo && !post && strcmp(mode, "get") != 0) || (path == NULL) != load.echo) {
        usage();
    }

    const struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval wait = {.tv_sec = 1};
    load.fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (load.fd < 0 || connect(load.fd, (const struct sockaddr *)&server, sizeof server) != 0 ||
        setsockopt(load.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0) {
        die("socket");
    }
    load.buckets = calloc(BUCKETS, sizeof *load.buckets);
    if (load.buckets == NULL) {
        die("memory");
    }
    const uint64_t start = now_ns();
    load.mid = (uint16_t)(start / 1000);
    load.end_ns = start + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; i < load.window; i++) {
        struct slot *slot = &load.slots[i];
        /* An echo gets what the node gets, so that the bytes on the way are the same. */
        load.request_bytes = encode(slot->request, post || load.echo ? 2 : 1, load.echo ? "/f/noop" : path);
        slot->iov = (struct iovec){.iov_base = slot->request, .iov_len = load.request_bytes};
        load.reply_iov[i] = (struct iovec){.iov_base = load.replies[i], .iov_len = DATAGRAM_MAX};
        load.rx[i].msg_hdr = (struct msghdr){.msg_iov = &load.reply_iov[i], .msg_iovlen = 1};
        load.tx[i].msg_hdr = (struct msghdr){.msg_iovlen = 1};
        issue(i, now_ns());
    }
    transmit();

    uint64_t now = start, next_scan = SCAN_INTERVAL;
    while (in_flight()) {
        const unsigned count = receive();
        now = now_ns();
        for (unsigned i = 0; i < count; i++) {
            take(load.replies[i], load.rx[i].msg_len, now);
        }
        if (load.tx_count > 0) {
            transmit();
        }
        if (count == 0 || load.done >= next_scan) {
            next_scan = load.done + SCAN_INTERVAL;
            replace_lost(now);
        }
    }

    const double elapsed_s = (double)(now - start) / 1e9;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"lost\": %llu, \"bad\": %llu}\n",
           (unsigned long long)load.done, elapsed_s, (double)load.done / elapsed_s, percentile_us(0.50),
           percentile_us(0.99), (unsigned long long)load.lost, (unsigned long long)load.bad);
    return load.done == 0 || load.bad != 0;
}

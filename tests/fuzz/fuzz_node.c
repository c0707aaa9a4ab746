/* The whole way from datagram to reply: a node with a fake link. The input is a sequence of datagrams:
 *
 *     kind  length (16 bits, little-endian)  bytes
 *
 * Bits of kind: 0-1 one of four peers; 2 multicast; 3-6 let time pass, 2^n milliseconds; 7 the bytes stand for a PUT
 * of a module to /f/a, so that a mutation of a module needs no luck with the message around it. A datagram of one or two bytes is
 * the server's answer to the node's latest request: its code, and a Block1 option. What the node sends itself is looked at only for
 * being well formed. */
#include <stdlib.h>

#include "coap/msg.h"
#include "test_port.h"
#include "wasmote/node.h"

static _Alignas(8) uint8_t pool[96 * 1024];

static struct {
    uint8_t        bytes[WM_COAP_MESSAGE_BYTES];
    size_t         len;
    struct wm_peer peer;
} waiting;

static struct wm_coap_msg asked; /* by the node */
static const struct wm_peer server = {.addr_len = 1, .addr = {0}};

void wm_port_entropy(void *dst, size_t len)
{
    memset(dst, 0x5a, len); /* runs must repeat */
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)__builtin_frame_address(0) - 4u * 1024u * 1024u;
}

static int fake_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    const size_t len = waiting.len;
    if (len == 0 || len > cap) {
        return 0;
    }
    memcpy(buf, waiting.bytes, len);
    *peer = waiting.peer;
    waiting.len = 0;
    return (int)len;
}

static int fake_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    (void)ctx;
    (void)peer;
    struct wm_coap_msg msg;
    if (wm_coap_parse(&msg, wm_span(buf, len)) != 0) {
        abort();
    }
    if (msg.type == WM_COAP_CON && msg.code == WM_COAP_POST) {
        asked = msg; /* but not its options and payload */
    }
    return 0;
}

static void answer(const uint8_t *bytes, size_t len)
{
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, waiting.bytes, sizeof waiting.bytes, WM_COAP_ACK, bytes[0], asked.mid,
                        wm_span(asked.token, asked.token_len));
    if (len > 1) {
        wm_coap_write_opt_uint(&w, WM_COAP_BLOCK1, bytes[1]);
    }
    waiting.len = (size_t)wm_coap_write_finish(&w);
}

/* A PUT of content-format 42 to /f/a around the module's bytes. */
static void wrap_module(uint16_t mid, const uint8_t *module, size_t len)
{
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, waiting.bytes, sizeof waiting.bytes, WM_COAP_NON, WM_COAP_PUT, mid, wm_span("t", 1));
    wm_coap_write_opt(&w, WM_COAP_URI_PATH, wm_span("f", 1));
    wm_coap_write_opt(&w, WM_COAP_URI_PATH, wm_span("a", 1));
    wm_coap_write_opt_uint(&w, WM_COAP_CONTENT_FORMAT, WM_FORMAT_OCTETS);
    wm_coap_write_payload(&w, wm_span(module, len));
    const int whole = wm_coap_write_finish(&w);
    waiting.len = whole > 0 ? (size_t)whole : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wm_link link = {.name = "fake", .recv = fake_recv, .send = fake_send};
    struct wm_node *node = wm_node_init(&(struct wm_node_config){
        .links = &link, .link_count = 1, .pool = pool, .pool_bytes = sizeof pool,
        .ep = "fuzz", .board = "host", .chip = "none", .reset = "power", .register_at = &server,
    });
    uint16_t mid = 0;
    wm_test_now_ms = 0;
    asked = (struct wm_coap_msg){.code = 0};
    while (size >= 3) {
        const uint8_t kind = data[0];
        size_t        len = data[1] | (size_t)data[2] << 8;
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        if (kind & 0x80) {
            wrap_module(++mid, data, len);
        } else if (len == 1 || len == 2) {
            answer(data, len);
        } else if (len > 0 && len <= sizeof waiting.bytes) {
            memcpy(waiting.bytes, data, len);
            waiting.len = len;
        }
        waiting.peer = (struct wm_peer){.multicast = kind & 4, .addr_len = 1, .addr = {kind & 3}};
        wm_test_now_ms += 1u << (kind >> 3 & 15);
        (void)wm_node_poll(node, wm_test_now_ms);
        data += len;
        size -= len;
    }
    for (int i = 0; i < 4; i++) { /* let the timers run out */
        wm_test_now_ms += 10000;
        (void)wm_node_poll(node, wm_test_now_ms);
    }
    return 0;
}

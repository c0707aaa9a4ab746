#include "serial.h"

#define MASK (WM_SERIAL_RING_BYTES - 1)
_Static_assert((WM_SERIAL_RING_BYTES & MASK) == 0 && WM_SERIAL_RING_BYTES <= 32768, "a power of two");

static struct {
    const struct wm_uart    *uart;
    volatile uint16_t        head, tail; /* free-running; head belongs to the interrupt, tail to the loop */
    volatile bool            masked;
    bool                     ready;      /* content holds a message that recv has not taken */
    struct wm_span           content;
    struct wm_slipmux_reader reader;
    uint8_t                  ring[WM_SERIAL_RING_BYTES];
    uint8_t                  frame[WM_COAP_MESSAGE_BYTES + 3];
} serial;

bool wm_serial_rx_room(void)
{
    const bool room = (uint16_t)(serial.head - serial.tail) < WM_SERIAL_RING_BYTES;
    if (!room) {
        serial.masked = true; /* as the caller is about to do */
    }
    return room;
}

void wm_serial_rx(uint8_t byte)
{
    const uint16_t head = serial.head;
    serial.ring[head & MASK] = byte;
    __atomic_signal_fence(__ATOMIC_RELEASE); /* one core: the byte is there before the index says so */
    serial.head = (uint16_t)(head + 1);
}

bool wm_serial_pump(void)
{
    uint16_t tail = serial.tail;
    while (!serial.ready && serial.head != tail) {
        uint8_t kind;
        __atomic_signal_fence(__ATOMIC_ACQUIRE);
        serial.ready = wm_slipmux_feed(&serial.reader, serial.ring[tail & MASK], &kind, &serial.content) &&
                       kind == WM_SLIPMUX_COAP; /* text is for people, and a node is none */
        serial.tail = ++tail;
    }
    if (serial.masked && (uint16_t)(serial.head - tail) <= WM_SERIAL_RING_BYTES / 2) {
        serial.masked = false;
        serial.uart->unmask();
    }
    return serial.ready;
}

static int serial_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    while (wm_serial_pump()) {
        serial.ready = false;
        if (serial.content.len == 0 || serial.content.len > cap) {
            serial.reader.dropped++;
            continue;
        }
        peer->addr_len = 0;
        peer->multicast = false;
        memcpy(buf, serial.content.ptr, serial.content.len);
        return (int)serial.content.len;
    }
    return 0;
}

static int serial_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    (void)ctx;
    (void)peer;
    wm_slipmux_write(WM_SLIPMUX_COAP, wm_span(buf, len), serial.uart->put, NULL);
    return 0;
}

static uint32_t serial_dropped(void *ctx)
{
    (void)ctx;
    return serial.reader.dropped;
}

void wm_serial_init(struct wm_link *link, const struct wm_uart *uart)
{
    serial.uart = uart;
    wm_slipmux_reader_init(&serial.reader, serial.frame, sizeof serial.frame);
    *link = (struct wm_link){.name = "serial", .recv = serial_recv, .send = serial_send, .dropped = serial_dropped};
}

/* A diagnostics frame around ASCII text, which has nothing to escape. */
#define FRAME_BEGIN "\xc0\x0a"
#define FRAME_END   "\xc0"

static void put_text(const struct wm_uart *uart, const char *text)
{
    for (; *text != '\0'; text++) {
        uart->put(NULL, (uint8_t)*text);
    }
}

static void put_hex(const struct wm_uart *uart, uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4) {
        uart->put(NULL, (uint8_t)"0123456789abcdef"[value >> shift & 15]);
    }
}

void wm_serial_cry(const struct wm_uart *uart, const char *what, const char *where, uint32_t a, uint32_t b)
{
    put_text(uart, FRAME_BEGIN);
    put_text(uart, what);
    put_text(uart, where);
    put_text(uart, " ");
    put_hex(uart, a);
    put_text(uart, " ");
    put_hex(uart, b);
    put_text(uart, FRAME_END);
}

void wm_serial_say(const char *text, const char *more)
{
    put_text(serial.uart, FRAME_BEGIN);
    put_text(serial.uart, text);
    put_text(serial.uart, more);
    put_text(serial.uart, FRAME_END);
}

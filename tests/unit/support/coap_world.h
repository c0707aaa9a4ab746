/* coap_world.h: an endpoint, its handler, and the network around it, for tests. Time moves by world_advance
 * only, and the endpoint is polled only when it asked for it, so a timer that it forgets to announce is a
 * timer that never ends. Include after cmocka.h. */
#ifndef TEST_COAP_WORLD_H
#define TEST_COAP_WORLD_H

#include "coap/endpoint.h"
#include "coap_build.h"

#define WORLD_ACK_TIMEOUT_MS 1000
#define WORLD_MAX_RETRANSMIT 3

/* What the handler says next. */
struct answer {
    uint8_t     code;
    size_t      body_len; /* of world_body_byte */
    int32_t     content_format, max_age_s;
    int64_t     size1;
    const char *etag;
    uint32_t    observe_key;
    bool        defer;
    const char *problem; /* title */
};

static struct {
    struct wm_coap_endpoint ep;
    uint32_t                now_ms, wake_ms;
    struct answer           answer;
    void (*handle)(const struct wm_coap_request *req, struct wm_coap_reply *rep); /* instead of answer */
    int      calls;
    int      ticket;
    uint32_t payload_sum; /* of the last request, so that all of it is read */
    struct {
        struct wm_peer peer;
        uint32_t       ms;
        size_t         len;
        uint8_t        bytes[WM_COAP_MESSAGE_BYTES];
    } sent[256];
    size_t sent_count, seen;
} world;

static const struct wm_peer alice = {.link = 0, .addr_len = 3, .addr = "al"};
static const struct wm_peer bob = {.link = 0, .addr_len = 3, .addr = "bo"};
static const struct wm_peer serial = {.link = 1};

static inline uint8_t world_body_byte(size_t i)
{
    return (uint8_t)(i * 131 + (i >> 8));
}

static inline void world_put_body(struct wm_sink *out, size_t len)
{
    uint8_t piece[37]; /* pieces that do not fall on block borders */
    for (size_t at = 0; at < len;) {
        size_t n = 0;
        while (n < sizeof piece && at < len) {
            piece[n++] = world_body_byte(at++);
        }
        wm_sink_put(out, wm_span(piece, n));
    }
}

static inline void world_fill(struct wm_coap_reply *rep)
{
    const struct answer *a = &world.answer;
    rep->code = a->code;
    rep->content_format = a->content_format;
    rep->max_age_s = a->max_age_s;
    rep->size1 = a->size1;
    rep->observe_key = a->observe_key;
    if (a->etag != NULL) {
        rep->etag_len = (uint8_t)strlen(a->etag);
        memcpy(rep->etag, a->etag, rep->etag_len);
    }
    if (a->problem != NULL) {
        wm_problem(rep, a->code, a->problem, "detail %d", 7);
    } else {
        world_put_body(&rep->body, a->body_len);
    }
}

static void world_handle(void *ctx, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    assert_ptr_equal(ctx, &world);
    world.calls++;
    for (size_t i = 0; i < req->payload.len; i++) {
        world.payload_sum += req->payload.ptr[i];
    }
    if (world.handle != NULL) {
        world.handle(req, rep);
        return;
    }
    if (world.answer.defer) {
        world.ticket = wm_coap_defer(&world.ep, req);
        if (world.ticket < 0) {
            wm_problem(rep, WM_COAP_UNAVAILABLE, "busy", NULL);
        } else {
            rep->deferred = true;
        }
        return;
    }
    world_fill(rep);
}

static void world_send(void *ctx, const struct wm_peer *peer, struct wm_span datagram)
{
    assert_ptr_equal(ctx, &world);
    assert_true(world.sent_count < sizeof world.sent / sizeof world.sent[0]);
    assert_true(datagram.len <= WM_COAP_MESSAGE_BYTES);
    world.sent[world.sent_count].peer = *peer;
    world.sent[world.sent_count].ms = world.now_ms;
    world.sent[world.sent_count].len = datagram.len;
    memcpy(world.sent[world.sent_count].bytes, datagram.ptr, datagram.len);
    world.sent_count++;
}

static inline void world_begin(uint32_t now_ms, uint32_t seed)
{
    memset(&world, 0, sizeof world);
    world.now_ms = now_ms;
    world.answer =
        (struct answer){.code = WM_COAP_CHANGED, .content_format = -1, .max_age_s = -1, .size1 = -1};
    wm_coap_init(&world.ep, &(struct wm_coap_config){
                                .ctx = &world,
                                .handle = world_handle,
                                .send = world_send,
                                .ack_timeout_ms = WORLD_ACK_TIMEOUT_MS,
                                .max_retransmit = WORLD_MAX_RETRANSMIT,
                                .seed = seed,
                            });
    world.wake_ms = now_ms + wm_coap_poll(&world.ep, now_ms);
}

/* For cmocka's setup: time wraps a minute after the start, in every test. */
static int world_setup(void **state)
{
    (void)state;
    world_begin(UINT32_MAX - 60000, 12345);
    return 0;
}

static inline void world_poll(void)
{
    const uint32_t wait_ms = wm_coap_poll(&world.ep, world.now_ms);
    assert_true(wait_ms <= 60000);
    world.wake_ms = world.now_ms + wait_ms;
}

static inline void world_advance(uint32_t ms)
{
    const uint32_t end_ms = world.now_ms + ms;
    while ((int32_t)(end_ms - world.wake_ms) >= 0) {
        world.now_ms = world.wake_ms;
        world_poll();
    }
    world.now_ms = end_ms;
}

/* A datagram arrives, in memory of its exact size that is gone afterwards. */
static inline void world_input(const struct wm_peer *peer, struct wm_span datagram)
{
    uint8_t *copy = malloc(datagram.len ? datagram.len : 1);
    memcpy(copy, datagram.ptr, datagram.len);
    wm_coap_input(&world.ep, peer, wm_span(copy, datagram.len), world.now_ms);
    free(copy);
    world_poll();
}

static inline void world_get(const struct wm_peer *peer, const struct build *b)
{
    world_input(peer, build_span(b));
}

/* The next datagram that was sent and not yet looked at; it must be sound and for peer. */
static inline struct wm_coap_msg world_sent(const struct wm_peer *peer)
{
    struct wm_coap_msg msg = {.code = 0};
    assert_true(world.seen < world.sent_count);
    const size_t i = world.seen++;
    assert_true(world.sent[i].peer.link == peer->link && world.sent[i].peer.addr_len == peer->addr_len);
    assert_memory_equal(world.sent[i].peer.addr, peer->addr, peer->addr_len);
    assert_int_equal(wm_coap_parse(&msg, wm_span(world.sent[i].bytes, world.sent[i].len)), 0);
    return msg;
}

static inline void world_silent(void)
{
    assert_int_equal(world.sent_count - world.seen, 0);
}

/* The next one, and no other after it, is this kind of reply. */
static inline struct wm_coap_msg world_reply(const struct wm_peer *peer, uint8_t type, uint8_t code)
{
    struct wm_coap_msg msg = world_sent(peer);
    assert_int_equal(msg.type, type);
    assert_int_equal(msg.code, code);
    world_silent();
    return msg;
}

static inline void world_empty(const struct wm_peer *peer, uint8_t type, uint16_t mid)
{
    const struct wm_coap_msg msg = world_reply(peer, type, WM_COAP_EMPTY);
    assert_int_equal(msg.mid, mid);
}

static inline void world_send_empty(const struct wm_peer *peer, uint8_t type, uint16_t mid)
{
    const struct build b = build(type, WM_COAP_EMPTY, mid, "");
    world_get(peer, &b);
}

#endif

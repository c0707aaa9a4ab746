/* coap/endpoint.h: requests that a node starts itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coap_world.h"
#include "wasmote/err.h"

/* What on_response was told. */
static struct told {
    int     times, err;
    uint8_t code;
    char    payload[16];
    bool    ask_again; /* begin another request from within the callback */
} told;

static void ask(void);

static void on_response(void *ctx, const struct wm_coap_msg *rsp, int err)
{
    assert_ptr_equal(ctx, &told);
    told.times++;
    told.err = err;
    if (rsp != NULL) {
        told.code = rsp->code;
        assert_true(rsp->payload.len < sizeof told.payload);
        memcpy(told.payload, rsp->payload.ptr ? rsp->payload.ptr : (const uint8_t *)"", rsp->payload.len);
        told.payload[rsp->payload.len] = '\0';
    }
    if (told.ask_again) {
        told.ask_again = false;
        ask();
    }
}

static void ask(void)
{
    struct wm_coap_writer *w = wm_coap_client_begin(&world.ep, &alice, WM_COAP_POST);
    assert_non_null(w);
    wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span_str("rd"));
    wm_coap_write_payload(w, wm_span_str("hello"));
    assert_int_equal(wm_coap_client_commit(&world.ep, on_response, &told, world.now_ms), 0);
    world_poll();
}

static int setup(void **state)
{
    told = (struct told){.times = 0};
    return world_setup(state);
}

static struct wm_coap_msg request(void)
{
    return world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
}

/* A response with the token of req. */
static void respond(const struct wm_coap_msg *req, const struct wm_peer *peer, uint8_t type, uint16_t mid,
                    const char *payload)
{
    struct build b = build(type, WM_COAP_CHANGED, mid, "");
    b.bytes[0] = (uint8_t)(b.bytes[0] | req->token_len);
    memcpy(b.bytes + b.len, req->token, req->token_len);
    b.len += req->token_len;
    build_payload(&b, payload, strlen(payload));
    world_get(peer, &b);
}

static void assert_told(int times, int err, const char *payload)
{
    assert_int_equal(told.times, times);
    assert_int_equal(told.err, err);
    assert_string_equal(told.payload, payload);
}

static void test_client_request_is_what_was_written(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    struct wm_span           path;
    assert_true(find_opt(&req, WM_COAP_URI_PATH, &path) && wm_span_is(path, "rd"));
    assert_true(wm_span_is(req.payload, "hello"));
    assert_int_equal(req.token_len, 4);
}

static void test_client_piggybacked_response(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    respond(&req, &alice, WM_COAP_ACK, req.mid, "yes");
    assert_told(1, 0, "yes");
    assert_int_equal(told.code, WM_COAP_CHANGED);
    respond(&req, &alice, WM_COAP_ACK, req.mid, "again");
    world_advance(300000);
    world_silent();
    assert_told(1, 0, "yes");
}

static void test_client_separate_response(void **state)
{
    (void)state;
    for (int acked = 0; acked < 2; acked++) { /* the ACK may be lost, or overtaken */
        setup(NULL);
        ask();
        const struct wm_coap_msg req = request();
        if (acked) {
            world_send_empty(&alice, WM_COAP_ACK, req.mid);
            world_advance(20000);
            world_silent();
        }
        respond(&req, &alice, WM_COAP_CON, 999, "yes");
        world_empty(&alice, WM_COAP_ACK, 999);
        assert_told(1, 0, "yes");
        respond(&req, &alice, WM_COAP_CON, 999, "yes"); /* our ACK was lost */
        world_empty(&alice, WM_COAP_ACK, 999);
        assert_told(1, 0, "yes");
        respond(&req, &alice, WM_COAP_CON, 1000, "yes"); /* but this one is news, and unasked for */
        world_empty(&alice, WM_COAP_RST, 1000);
        assert_told(1, 0, "yes");
        world_send_empty(&alice, WM_COAP_ACK, req.mid);
        world_advance(300000);
        world_silent();
    }
}

static void test_client_non_response(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    world_send_empty(&alice, WM_COAP_ACK, req.mid);
    respond(&req, &alice, WM_COAP_NON, 5, "yes");
    world_silent();
    assert_told(1, 0, "yes");
}

static void test_client_ignores_what_is_not_for_it(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    struct wm_coap_msg       other = req;
    other.token[0] ^= 1;
    respond(&req, &bob, WM_COAP_ACK, req.mid, "another peer");
    respond(&req, &alice, WM_COAP_ACK, (uint16_t)(req.mid + 1), "another message");
    respond(&other, &alice, WM_COAP_ACK, req.mid, "another token");
    other = req;
    other.token_len--;
    respond(&other, &alice, WM_COAP_NON, 5, "shorter token");
    world_send_empty(&bob, WM_COAP_RST, req.mid);
    struct build reserved = build(WM_COAP_ACK, WM_COAP_CODE(7, 1), req.mid, "");
    reserved.bytes[0] |= 4;
    memcpy(reserved.bytes + 4, req.token, 4);
    reserved.len += 4;
    world_get(&alice, &reserved);
    world_silent();
    assert_int_equal(told.times, 0);
    respond(&req, &alice, WM_COAP_ACK, req.mid, "yes");
    assert_told(1, 0, "yes");
}

static void test_client_reset(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    world_send_empty(&alice, WM_COAP_RST, req.mid);
    assert_told(1, WM_ERR_RESET, "");
    world_advance(300000);
    world_silent();
}

static void test_client_repeats_and_gives_up(void **state)
{
    (void)state;
    ask();
    world_advance(60000);
    assert_int_equal(world.sent_count, 1 + WORLD_MAX_RETRANSMIT);
    for (size_t i = 1; i < world.sent_count; i++) {
        assert_memory_equal(world.sent[0].bytes, world.sent[i].bytes, world.sent[0].len);
    }
    assert_told(1, WM_ERR_TIMEOUT, "");
    assert_int_equal(wm_coap_stats(&world.ep).unanswered, 1);
}

/* MAX_TRANSMIT_WAIT with ACK_TIMEOUT 1 s and MAX_RETRANSMIT 3: 15 * 1.5 s. */
static void test_client_acknowledged_but_never_answered(void **state)
{
    (void)state;
    ask();
    const struct wm_coap_msg req = request();
    world_send_empty(&alice, WM_COAP_ACK, req.mid);
    world_advance(22499);
    assert_int_equal(told.times, 0);
    world_advance(1);
    assert_told(1, WM_ERR_TIMEOUT, "");
    world_silent();
}

static void test_client_asks_again_from_the_callback(void **state)
{
    (void)state;
    told.ask_again = true;
    ask();
    const struct wm_coap_msg req = request();
    respond(&req, &alice, WM_COAP_ACK, req.mid, "one");
    const struct wm_coap_msg next = request();
    assert_int_not_equal(next.mid, req.mid);
    respond(&next, &alice, WM_COAP_ACK, next.mid, "two");
    assert_told(2, 0, "two");
}

static void test_client_exchanges_end(void **state)
{
    (void)state;
    struct wm_coap_msg reqs[WM_COAP_EXCHANGES];
    assert_true(WM_COAP_EXCHANGES >= 8);
    for (int i = 0; i < WM_COAP_EXCHANGES; i++) {
        ask();
        reqs[i] = request();
    }
    assert_null(wm_coap_client_begin(&world.ep, &alice, WM_COAP_GET));
    respond(&reqs[3], &alice, WM_COAP_ACK, reqs[3].mid, "yes");
    assert_told(1, 0, "yes");
    ask();
    request();
}

static void test_client_request_too_large(void **state)
{
    (void)state;
    static const uint8_t big[WM_COAP_EXCHANGE_BYTES];
    for (int i = 0; i < 2 * WM_COAP_EXCHANGES; i++) { /* and takes no exchange away */
        struct wm_coap_writer *w = wm_coap_client_begin(&world.ep, &alice, WM_COAP_POST);
        assert_non_null(w);
        wm_coap_write_payload(w, wm_span(big, sizeof big));
        assert_int_equal(wm_coap_client_commit(&world.ep, on_response, &told, world.now_ms), WM_ERR_NOSPACE);
    }
    world_advance(300000);
    world_silent();
    assert_int_equal(told.times, 0);
}

static void test_client_tokens_differ(void **state)
{
    (void)state;
    uint32_t seen[64];
    for (uint32_t i = 0; i < 64; i++) {
        world_begin(0, i / 32);
        for (uint32_t n = 0; n <= i % 32; n++) {
            world.sent_count = world.seen = 0;
            ask();
            const struct wm_coap_msg req = request();
            memcpy(&seen[i], req.token, sizeof seen[i]);
            respond(&req, &alice, WM_COAP_ACK, req.mid, "ok");
        }
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(seen[i], seen[j]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_client_request_is_what_was_written, setup),
        cmocka_unit_test_setup(test_client_piggybacked_response, setup),
        cmocka_unit_test_setup(test_client_separate_response, setup),
        cmocka_unit_test_setup(test_client_non_response, setup),
        cmocka_unit_test_setup(test_client_ignores_what_is_not_for_it, setup),
        cmocka_unit_test_setup(test_client_reset, setup),
        cmocka_unit_test_setup(test_client_repeats_and_gives_up, setup),
        cmocka_unit_test_setup(test_client_acknowledged_but_never_answered, setup),
        cmocka_unit_test_setup(test_client_asks_again_from_the_callback, setup),
        cmocka_unit_test_setup(test_client_exchanges_end, setup),
        cmocka_unit_test_setup(test_client_request_too_large, setup),
        cmocka_unit_test_setup(test_client_tokens_differ, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

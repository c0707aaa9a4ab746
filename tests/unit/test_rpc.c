/* coap/rpc.h: calls that functions ask for, on their way to the server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "coap/rpc.h"
#include "coap_world.h"

static _Alignas(8) uint8_t memory[256 * 1024];
static struct wm_heap     *pool;
static size_t              pool_free;
static struct wm_rpc       rpc;
static uint8_t             data[WM_RPC_DATA_BYTES + 1];

static int setup(void **state)
{
    (void)world_setup(state);
    wm_log_init();
    pool = wm_heap_init(memory, sizeof memory);
    pool_free = wm_heap_free_bytes(pool);
    wm_rpc_init(&rpc, &world.ep, pool, &alice, "a-node");
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = world_body_byte(i);
    }
    return 0;
}

static void ask(const char *name, const char *context, size_t len)
{
    wm_rpc_ask(&rpc, wm_span_str("fn"), wm_span_str(context), wm_span_str(name), wm_span(data, len), world.now_ms);
    wm_rpc_poll(&rpc, world.now_ms);
    world_poll();
}

/* The next request, as text: /path/segments?query&query; what follows is what fits. */
static struct wm_coap_msg asked(const char *wanted)
{
    char                     text[512] = "";
    const struct wm_coap_msg req = world_sent(&alice);
    struct wm_coap_opt_iter  iter = wm_coap_opts(&req);
    struct wm_coap_opt       opt;
    bool                     first = true;
    assert_int_equal(req.type, WM_COAP_CON);
    assert_int_equal(req.code, WM_COAP_POST);
    while (wm_coap_opts_next(&iter, &opt)) {
        if (opt.number == WM_COAP_URI_PATH || opt.number == WM_COAP_URI_QUERY) {
            strcat(text, opt.number == WM_COAP_URI_PATH ? "/" : first ? "?" : "&");
            strncat(text, (const char *)opt.value.ptr, opt.value.len);
            first = first && opt.number == WM_COAP_URI_PATH;
        }
    }
    assert_string_equal(text, wanted);
    assert_int_equal(find_uint(&req, WM_COAP_CONTENT_FORMAT), WM_FORMAT_OCTETS);
    return req;
}

/* block1 -1: none */
static void respond(const struct wm_coap_msg *req, uint8_t code, int64_t block1)
{
    struct build b = build(WM_COAP_ACK, code, req->mid, "");
    b.bytes[0] = (uint8_t)(b.bytes[0] | req->token_len);
    memcpy(b.bytes + b.len, req->token, req->token_len);
    b.len += req->token_len;
    if (block1 >= 0) {
        build_opt_uint(&b, WM_COAP_BLOCK1, (uint32_t)block1);
    }
    world_get(&alice, &b);
    wm_rpc_poll(&rpc, world.now_ms);
    world_poll();
}

static void nothing_is_left(void)
{
    assert_int_equal(wm_heap_free_bytes(pool), pool_free);
    world_silent();
}

static const char *last_warning(void)
{
    static char        text[WM_LOG_TEXT_BYTES + 1];
    struct wm_log_line line;
    text[0] = '\0';
    for (uint32_t n = 0; wm_log_read(n, &line) == 0; n = line.number + 1) {
        assert_int_equal(line.level, WM_LOG_WARNING);
        snprintf(text, sizeof text, "%.*s", (int)line.text.len, (const char *)line.text.ptr);
    }
    return text;
}

static void test_rpc_is_one_request(void **state)
{
    (void)state;
    ask("alarm", "ctx.1-2", 4);
    struct wm_coap_msg req = asked("/rpc/alarm?from=a-node&f=fn&x=ctx.1-2");
    assert_int_equal(req.payload.len, 4);
    assert_memory_equal(req.payload.ptr, data, 4);
    assert_int_equal(find_uint(&req, WM_COAP_BLOCK1), -1);
    respond(&req, WM_COAP_CREATED, -1);
    assert_int_equal(rpc.queued, 1);
    ask("pre/run/fast", "", 0);
    req = asked("/rpc/pre/run/fast?from=a-node&f=fn");
    assert_int_equal(req.payload.len, 0);
    respond(&req, WM_COAP_CREATED, -1);
    assert_int_equal(rpc.queued, 2);
    nothing_is_left();
    assert_string_equal(last_warning(), "");
}

static void test_rpc_cuts_a_name_at_its_first_slash(void **state)
{
    (void)state;
    struct wm_span value;
    ask("a/b/c", "", 0);
    const struct wm_coap_msg req = world_sent(&alice);
    struct wm_coap_opt_iter  iter = wm_coap_opts(&req);
    struct wm_coap_opt       opt;
    assert_true(wm_coap_opts_next(&iter, &opt) && wm_coap_opts_next(&iter, &opt) && wm_span_is(opt.value, "a"));
    assert_true(wm_coap_opts_next(&iter, &opt) && wm_span_is(opt.value, "b/c"));
    assert_true(find_opt(&req, WM_COAP_URI_QUERY, &value) && wm_span_is(value, "from=a-node"));
}

/* Answers block for block, from the third on with a smaller size if that is not 7. Checks that the data come whole. */
static void transfer(size_t len, uint32_t smaller_szx)
{
    struct wm_span tag, first_tag = {0};
    uint8_t        kept[8];
    size_t         got = 0;
    const uint32_t queued = rpc.queued;
    ask("big", "", len);
    for (unsigned n = 0; rpc.queued == queued; n++) {
        const struct wm_coap_msg req = asked("/rpc/big?from=a-node&f=fn");
        const int64_t            block = find_uint(&req, WM_COAP_BLOCK1);
        const uint32_t           szx = (uint32_t)block & 7u;
        assert_true(block >= 0 && n < 5000);
        assert_int_equal((size_t)(block >> 4) << (szx + 4), got);
        assert_memory_equal(req.payload.ptr, data + got, req.payload.len);
        got += req.payload.len;
        assert_int_equal((block & 8) != 0, got < len);
        assert_int_equal(find_uint(&req, WM_COAP_SIZE1), n == 0 ? (int64_t)len : -1);
        assert_true(find_opt(&req, WM_COAP_REQUEST_TAG, &tag) && tag.len == 2);
        if (n == 0) {
            memcpy(kept, tag.ptr, tag.len);
            first_tag = wm_span(kept, tag.len);
        }
        assert_true(wm_span_eq(tag, first_tag));
        const uint32_t want = n >= 2 && smaller_szx < szx ? smaller_szx : szx;
        if (n > 3 && smaller_szx < 7) {
            assert_int_equal(szx, smaller_szx);
        }
        respond(&req, got < len ? WM_COAP_CONTINUE : WM_COAP_CREATED, (block & ~7) | want);
    }
    assert_int_equal(got, len);
    nothing_is_left();
}

static void test_rpc_sends_large_data_in_blocks(void **state)
{
    (void)state;
    transfer(1025, 7);
    transfer(2048, 7);
    transfer(WM_RPC_DATA_BYTES, 7);
    transfer(9000, 2);
    assert_int_equal(rpc.queued, 4);
    assert_int_equal(rpc.failed + rpc.dropped, 0);
}

static void test_rpc_sends_again_but_asks_once(void **state)
{
    (void)state;
    ask("alarm", "", 4);
    const struct wm_coap_msg first = asked("/rpc/alarm?from=a-node&f=fn");
    const uint16_t           mid = first.mid;
    for (int i = 0; i < WORLD_MAX_RETRANSMIT; i++) {
        world_advance(WORLD_ACK_TIMEOUT_MS * 3 / 2 * (2u << i));
        assert_int_equal(asked("/rpc/alarm?from=a-node&f=fn").mid, mid);
    }
    world_advance(60000);
    wm_rpc_poll(&rpc, world.now_ms);
    assert_int_equal(rpc.failed, 1);
    assert_string_equal(last_warning(), "rpcCall 'alarm': the server does not answer; it may have it");
    nothing_is_left();
}

static void test_rpc_tells_what_the_server_refuses(void **state)
{
    (void)state;
    ask("alarm", "", 4);
    struct wm_coap_msg req = asked("/rpc/alarm?from=a-node&f=fn");
    respond(&req, WM_COAP_NOT_FOUND, -1);
    assert_string_equal(last_warning(), "rpcCall 'alarm': the server says 4.04");
    world_advance(2000);
    ask("alarm", "", 4);
    req = asked("/rpc/alarm?from=a-node&f=fn");
    respond(&req, WM_COAP_TOO_LARGE, -1);
    assert_string_equal(last_warning(), "rpcCall 'alarm': the server says 4.13");
    assert_int_equal(rpc.failed, 2);
    nothing_is_left();
}

static void test_rpc_drops_what_it_cannot_take(void **state)
{
    (void)state;
    char long_name[WM_RPC_NAME_BYTES + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    ask("", "", 1);
    ask(long_name, "", 1);
    ask("x", "", WM_RPC_DATA_BYTES + 1);
    assert_int_equal(rpc.dropped, 3);
    nothing_is_left();
    assert_string_equal(last_warning(), "rpcCall '': its name is empty, or too long"); /* one a second */
    for (size_t i = 0; i < WM_RPCS; i++) {
        ask("x", "", 1);
    }
    assert_int_equal(rpc.dropped, 3);
    world_advance(900);
    ask("x", "", 1);
    assert_int_equal(rpc.dropped, 4);
    world_advance(100);
    ask("x", "", 1);
    assert_int_equal(rpc.dropped, 5);
    assert_string_equal(last_warning(), "rpcCall 'x': too many wait for the server");
    wm_rpc_init(&rpc, &world.ep, pool, NULL, "a-node");
    ask("x", "", 1);
    assert_int_equal(rpc.dropped, 1);
    assert_string_equal(last_warning(), "rpcCall 'x': this node was not told of a server");
}

static void test_rpc_drops_what_the_pool_has_no_room_for(void **state)
{
    (void)state;
    void *all = wm_heap_alloc(pool, wm_heap_largest(pool));
    assert_non_null(all);
    ask("x", "", 60000);
    assert_int_equal(rpc.dropped, 1);
    assert_string_equal(last_warning(), "rpcCall 'x': no memory for its data now");
    wm_heap_free(pool, all);
    nothing_is_left();
}

static void test_rpc_waits_for_an_exchange(void **state)
{
    (void)state;
    struct wm_coap_exchange *ex = world.ep.exchanges;
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        ex[i].state = WM_EXCHANGE_ACKED;
        ex[i].deadline_ms = world.now_ms + 1000000;
    }
    ask("x", "", 1);
    world_silent();
    ex[3].state = WM_EXCHANGE_FREE;
    wm_rpc_poll(&rpc, world.now_ms);
    (void)asked("/rpc/x?from=a-node&f=fn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rpc_is_one_request, setup),
        cmocka_unit_test_setup(test_rpc_cuts_a_name_at_its_first_slash, setup),
        cmocka_unit_test_setup(test_rpc_sends_large_data_in_blocks, setup),
        cmocka_unit_test_setup(test_rpc_sends_again_but_asks_once, setup),
        cmocka_unit_test_setup(test_rpc_tells_what_the_server_refuses, setup),
        cmocka_unit_test_setup(test_rpc_drops_what_it_cannot_take, setup),
        cmocka_unit_test_setup(test_rpc_drops_what_the_pool_has_no_room_for, setup),
        cmocka_unit_test_setup(test_rpc_waits_for_an_exchange, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

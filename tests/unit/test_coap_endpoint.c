/* coap/endpoint.h: messages, duplicates, replies in blocks, tickets, multicast. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "coap/internal.h"
#include "coap_world.h"
#include "wasmote/err.h"

/* ---- messages ---- */

static void test_endpoint_answers_con_in_the_ack(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, WM_COAP_POST, 0x1234, "tok");
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CHANGED);
    assert_int_equal(rsp.mid, 0x1234);
    assert_true(wm_span_eq(wm_span(rsp.token, rsp.token_len), wm_span_str("tok")));
    assert_int_equal(rsp.options.len + rsp.payload.len, 0);
    assert_int_equal(wm_coap_stats(&world.ep).rx, 1);
    assert_int_equal(wm_coap_stats(&world.ep).tx, 1);
}

static void test_endpoint_answers_non_with_non(void **state)
{
    (void)state;
    uint16_t last = 0;
    for (uint16_t mid = 1; mid <= 2; mid++) {
        struct build b = build(WM_COAP_NON, WM_COAP_POST, mid, "12345678");
        world_get(&serial, &b);
        const struct wm_coap_msg rsp = world_reply(&serial, WM_COAP_NON, WM_COAP_CHANGED);
        assert_int_equal(rsp.token_len, 8);
        assert_true(mid == 1 || rsp.mid == (uint16_t)(last + 1));
        last = rsp.mid;
    }
}

static void test_endpoint_resets_pings(void **state)
{
    (void)state;
    world_send_empty(&alice, WM_COAP_CON, 77);
    world_empty(&alice, WM_COAP_RST, 77);
    world_send_empty(&alice, WM_COAP_NON, 78);
    world_send_empty(&alice, WM_COAP_ACK, 79);
    world_send_empty(&alice, WM_COAP_RST, 80);
    world_silent();
    assert_int_equal(world.calls, 0);
}

static void test_endpoint_resets_malformed_con_only(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[6];
        size_t  len;
        bool    reset;
    } cases[] = {
        {{0x40, 0x01, 0, 9, 0xff}, 5, true},  {{0x50, 0x01, 0, 9, 0xff}, 5, false},
        {{0x60, 0x45, 0, 9, 0xff}, 5, false}, {{0x70, 0x00, 0, 9, 0x00}, 5, false},
        {{0x49, 0x01, 0, 9}, 4, true},        {{0x41, 0x00, 0, 9, 1}, 5, true},
        {{0x80, 0x01, 0, 9}, 4, false},       {{0x00, 0x01, 0, 9}, 4, false},
        {{0x40, 0x01, 0}, 3, false},          {{0}, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world_input(&alice, wm_span(cases[i].bytes, cases[i].len));
        if (cases[i].reset) {
            world_empty(&alice, WM_COAP_RST, 9);
        }
        world_silent();
        assert_int_equal(wm_coap_stats(&world.ep).rx_bad, i + 1);
    }
    assert_int_equal(world.calls, 0);
}

static void test_endpoint_resets_what_it_has_no_use_for(void **state)
{
    (void)state;
    static const uint8_t codes[] = {WM_COAP_CODE(1, 0), WM_COAP_CODE(6, 1), WM_COAP_CODE(7, 31),
                                    WM_COAP_CONTENT, WM_COAP_NOT_FOUND};
    for (size_t i = 0; i < sizeof codes; i++) {
        struct build con = build(WM_COAP_CON, codes[i], 5, "t"), non = build(WM_COAP_NON, codes[i], 6, "t");
        struct build ack = build(WM_COAP_ACK, codes[i], 7, "t"), rst = build(WM_COAP_RST, codes[i], 8, "t");
        world_get(&alice, &con);
        world_empty(&alice, WM_COAP_RST, 5);
        world_get(&alice, &non);
        world_get(&alice, &ack);
        world_get(&alice, &rst);
        world_silent();
    }
    struct build ack_get = build(WM_COAP_ACK, WM_COAP_GET, 9, "t");
    world_get(&alice, &ack_get);
    world_silent();
    assert_int_equal(world.calls, 0);
}

static void test_endpoint_passes_on_what_it_cannot_know(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, 31, 1, "t"); /* a method without a name: the handler refuses it */
    world_get(&alice, &b);
    assert_int_equal(world.calls, 1);
}

/* ---- refusals ---- */

/* Whether payload is problem details with this title. */
static void assert_problem(const struct wm_coap_msg *msg, const char *title)
{
    struct wm_cbor_reader in = {.rest = msg->payload};
    struct wm_cbor_item   item;
    assert_int_equal(find_uint(msg, WM_COAP_CONTENT_FORMAT), WM_FORMAT_PROBLEM);
    assert_int_equal(wm_cbor_next(&in, &item), 0);
    assert_int_equal(item.kind, WM_CBOR_MAP);
    assert_int_equal(wm_cbor_next(&in, &item), 0);
    assert_true(item.kind == WM_CBOR_NINT && item.value == 0);
    assert_int_equal(wm_cbor_next(&in, &item), 0);
    assert_true(item.kind == WM_CBOR_TEXT && wm_span_is(item.bytes, title));
}

static void test_endpoint_refuses_bad_options(void **state)
{
    (void)state;
    static const struct {
        uint32_t    number;
        const char *value;
        uint8_t     code;
        const char *title;
        bool        non_too;
    } cases[] = {
        {9, "x", WM_COAP_BAD_OPTION, "bad option", false},
        {WM_COAP_BLOCK1, "\7", WM_COAP_BAD_REQUEST, "bad block option", true},
        {WM_COAP_BLOCK2, "1234", WM_COAP_BAD_REQUEST, "bad block option", true},
        {WM_COAP_PROXY_URI, "coap://x", WM_COAP_PROXYING_UNSUPPORTED, "no proxying", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint8_t type = WM_COAP_CON; type <= WM_COAP_NON; type++) {
            struct build b = build(type, WM_COAP_GET, 4, "t");
            build_opt_str(&b, cases[i].number, cases[i].value);
            world_get(&alice, &b);
            if (type == WM_COAP_NON && !cases[i].non_too) {
                world_silent();
                continue;
            }
            const struct wm_coap_msg rsp =
                world_reply(&alice, type == WM_COAP_CON ? WM_COAP_ACK : WM_COAP_NON, cases[i].code);
            assert_problem(&rsp, cases[i].title);
        }
    }
    struct build b =
        build(WM_COAP_CON, WM_COAP_GET, 4, "t"); /* told from its start, whatever block was asked for */
    build_opt_str(&b, 9, "x");
    build_opt_uint(&b, WM_COAP_BLOCK2, 5 << 4);
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_BAD_OPTION);
    assert_problem(&rsp, "bad option");
    assert_int_equal(world.calls, 0);
}

static void test_endpoint_problem_details_are_printable(void **state)
{
    (void)state;
    struct wm_coap_reply rep;
    uint8_t              buf[256];
    wm_sink_init(&rep.body, buf, sizeof buf, 0);
    wm_coap_reply_reset(&rep);
    rep.max_age_s = 5;
    rep.observe_key = 6;
    rep.etag_len = 7;
    wm_sink_str(&rep.body, "half of a representation");
    wm_problem(&rep, WM_COAP_NOT_FOUND, "t", "no '%.*s'", 3, "a\n\xff");
    assert_int_equal(rep.code, WM_COAP_NOT_FOUND);
    assert_int_equal(rep.max_age_s, 5);
    assert_int_equal(rep.observe_key + rep.etag_len, 0);
    assert_memory_equal(buf, "\xa2\x20\x61t\x21\x68no 'a?\?'", rep.body.total);

    wm_problem_open(&rep, WM_COAP_INTERNAL_ERROR, "trap", NULL, 2);
    assert_memory_equal(buf, "\xa2\x20\x64trap\x72tag:wasmote,2026:p\xa2", rep.body.total);
    wm_problem(&rep, WM_COAP_INTERNAL_ERROR, "t", NULL);
    assert_memory_equal(buf, "\xa1\x20\x61t", rep.body.total);
}

/* ---- duplicates ---- */

static void assert_same_sent(size_t a, size_t b)
{
    assert_int_equal(world.sent[a].len, world.sent[b].len);
    assert_memory_equal(world.sent[a].bytes, world.sent[b].bytes, world.sent[a].len);
}

static void test_endpoint_replays_the_reply_to_a_duplicate(void **state)
{
    (void)state;
    static const uint8_t methods[] = {WM_COAP_POST, WM_COAP_PUT, WM_COAP_DELETE, WM_COAP_PATCH,
                                      WM_COAP_IPATCH};
    for (size_t i = 0; i < sizeof methods; i++) {
        for (uint8_t type = WM_COAP_CON; type <= WM_COAP_NON; type++) {
            world_setup(NULL);
            struct build b = build(type, methods[i], 1, "t");
            build_payload(&b, "hello", 5);
            world.answer.body_len = 20;
            world_get(&alice, &b);
            world.answer.code = WM_COAP_INTERNAL_ERROR;
            world_advance(30000);
            world_get(&alice, &b);
            assert_int_equal(world.calls, 1);
            assert_int_equal(world.sent_count, 2);
            assert_same_sent(0, 1);
            assert_int_equal(wm_coap_stats(&world.ep).duplicates, 1);
        }
    }
}

static void test_endpoint_runs_what_only_looks_like_a_duplicate(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, WM_COAP_POST, 1, "t");
    build_payload(&b, "hello", 5);
    world_get(&alice, &b);
    world_get(&bob, &b);
    world_get(&serial, &b);
    assert_int_equal(world.calls, 3);
    b.bytes[b.len - 1] ^= 1; /* same message ID, another message */
    world_get(&alice, &b);
    assert_int_equal(world.calls, 4);
    b.bytes[3] = 2; /* another message ID */
    world_get(&alice, &b);
    assert_int_equal(world.calls, 5);
    assert_int_equal(wm_coap_stats(&world.ep).duplicates, 0);
}

static void test_endpoint_handles_safe_methods_again(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 2; i++) {
        struct build b = build(WM_COAP_CON, i == 0 ? WM_COAP_GET : WM_COAP_FETCH, 1, "t");
        world_get(&alice, &b);
        world_get(&alice, &b);
        assert_int_equal(world.calls, 2 * (i + 1));
    }
}

/* ACK_TIMEOUT 1 s, MAX_RETRANSMIT 3: 1 * 7 * 1.5 + 200 + 1 s (RFC 7252, 4.8.2). */
static void test_endpoint_forgets_after_the_exchange_lifetime(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, WM_COAP_POST, 1, "t");
    world_get(&alice, &b);
    world_advance(211499);
    world_get(&alice, &b);
    assert_int_equal(world.calls, 1);
    world_advance(1);
    world_get(&alice, &b);
    assert_int_equal(world.calls, 2);
    assert_int_equal(wm_coap_stats(&world.ep).evicted, 0);
    world_get(&alice, &b); /* the new one is remembered beside the old one */
    assert_int_equal(world.calls, 2);
}

static void test_endpoint_counts_duplicates_forgotten_early(void **state)
{
    (void)state;
    for (uint32_t mid = 0; mid <= WM_COAP_DEDUP_SLOTS; mid++) {
        struct build b = build(WM_COAP_CON, WM_COAP_POST, (uint16_t)mid, "t");
        world_get(&alice, &b);
        world.sent_count = world.seen = 0;
    }
    assert_int_equal(wm_coap_stats(&world.ep).evicted, 1);
    world.calls = 0;
    struct build second = build(WM_COAP_CON, WM_COAP_POST, 1, "t"),
                 first = build(WM_COAP_CON, WM_COAP_POST, 0, "t");
    world_get(&alice, &second);
    assert_int_equal(world.calls, 0);
    world_get(&alice, &first);
    assert_int_equal(world.calls, 1);
    assert_int_equal(wm_coap_stats(&world.ep).evicted, 2);

    world_advance(300000); /* what is old anyway does not count */
    for (uint32_t mid = 0; mid < WM_COAP_DEDUP_SLOTS; mid++) {
        struct build b = build(WM_COAP_CON, WM_COAP_POST, (uint16_t)mid, "u");
        world_get(&alice, &b);
        world.sent_count = world.seen = 0;
    }
    assert_int_equal(wm_coap_stats(&world.ep).evicted, 2);
}

static void test_endpoint_never_runs_twice_even_without_the_reply(void **state)
{
    (void)state;
    world.answer.body_len = WM_COAP_PAYLOAD_BYTES;
    const uint16_t enough = WM_COAP_DEDUP_BYTES / WM_COAP_PAYLOAD_BYTES + 2;
    if (enough > WM_COAP_DEDUP_SLOTS) {
        skip(); /* a port whose slots end before its bytes do */
    }
    struct build first = build(WM_COAP_CON, WM_COAP_PUT, 0, "t");
    build_opt_uint(&first, WM_COAP_BLOCK2, 5 << 4);
    world_get(&alice, &first);
    for (uint16_t mid = 1; mid < enough; mid++) {
        struct build b = build(WM_COAP_CON, WM_COAP_PUT, mid, "t");
        world_get(&alice, &b);
        world.sent_count = world.seen = 0;
    }
    assert_int_equal(world.calls, enough);
    const uint32_t evicted = wm_coap_stats(&world.ep).evicted;
    assert_true(evicted >= 1);
    world_get(&alice, &first);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_INTERNAL_ERROR);
    assert_memory_equal(rsp.payload.ptr, "\xa2\x20\x6freply forgott", 16); /* in blocks, from the start */
    assert_int_equal(world.calls, enough);
    assert_int_equal(wm_coap_stats(&world.ep).evicted, evicted);
}

/* ---- blocks of a reply ---- */

/* Fetch the whole representation in blocks of 16 << szx, in any order. */
static void fetch_in_blocks(uint8_t szx, size_t body_len)
{
    const size_t size = (size_t)16 << szx, blocks = (body_len + size - 1) / size;
    world.answer.code = WM_COAP_CONTENT;
    world.answer.body_len = body_len;
    world.answer.etag = "v1";
    for (size_t n = 0; n < blocks; n++) {
        const size_t num = (n * 7 + 3) % blocks; /* 7 divides none of the counts used */
        struct build b = build(WM_COAP_CON, WM_COAP_GET, (uint16_t)n, "t");
        build_opt_uint(&b, WM_COAP_BLOCK2, (uint32_t)(num << 4 | szx));
        world.sent_count = world.seen = 0;
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
        const bool               more = num + 1 < blocks;
        assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), num << 4 | (size_t)more << 3 | szx);
        assert_int_equal(find_uint(&rsp, WM_COAP_SIZE2), num == 0 ? (int64_t)body_len : -1);
        struct wm_span etag;
        assert_true(find_opt(&rsp, WM_COAP_ETAG, &etag) && wm_span_is(etag, "v1"));
        assert_int_equal(rsp.payload.len, more ? size : body_len - num * size);
        for (size_t i = 0; i < rsp.payload.len; i++) {
            assert_int_equal(rsp.payload.ptr[i], world_body_byte(num * size + i));
        }
    }
}

static void test_endpoint_blocks_of_every_size_at_random(void **state)
{
    (void)state;
    for (uint8_t szx = 0; szx <= wm_coap_szx_within(WM_COAP_PAYLOAD_BYTES); szx++) {
        const size_t size = (size_t)16 << szx;
        fetch_in_blocks(szx, 1);
        fetch_in_blocks(szx, size);
        fetch_in_blocks(szx, size + 1);
        fetch_in_blocks(szx, 5 * size - 1);
        fetch_in_blocks(szx, 12 * size);
    }
}

static void test_endpoint_blocks_a_large_reply_unasked(void **state)
{
    (void)state;
    world.answer.code = WM_COAP_CONTENT;
    const size_t size = (size_t)16 << wm_coap_szx_within(WM_COAP_PAYLOAD_BYTES);
    for (size_t len = size - 1; len <= size + 1; len++) {
        world.answer.body_len = len;
        struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
        const bool               blocked = len > size;
        assert_int_equal(rsp.payload.len, blocked ? size : len);
        assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), blocked ? 8 | wm_coap_szx_within(size) : -1);
        assert_int_equal(find_uint(&rsp, WM_COAP_SIZE2), blocked ? (int64_t)len : -1);
    }
}

static void test_endpoint_block_beyond_the_end(void **state)
{
    (void)state;
    world.answer.code = WM_COAP_CONTENT;
    world.answer.body_len = 64;
    world.answer.etag = "v1";
    static const uint32_t nums[] = {4, 5, 0xfffff};
    for (size_t i = 0; i < 3; i++) {
        struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
        build_opt_uint(&b, WM_COAP_BLOCK2, nums[i] << 4);
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_BAD_REQUEST);
        struct wm_span           etag;
        assert_false(find_opt(&rsp, WM_COAP_ETAG, &etag));
        assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), 8); /* blocked as well, from its start */
        assert_int_equal(rsp.payload.len, 16);
    }
    world.answer.body_len = 0; /* an empty representation has one empty block */
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
    build_opt_uint(&b, WM_COAP_BLOCK2, 2);
    world_get(&alice, &b);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
}

static void test_endpoint_errors_come_in_blocks_too(void **state)
{
    (void)state;
    world.answer.code = WM_COAP_NOT_FOUND;
    world.answer.problem = "a title that is longer than one block of sixteen bytes";
    uint8_t whole[128];
    size_t  len = 0;
    for (uint32_t num = 0; num < 9; num++) {
        struct build b = build(WM_COAP_CON, WM_COAP_GET, (uint16_t)num, "t");
        build_opt_uint(&b, WM_COAP_BLOCK2, num << 4);
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_NOT_FOUND);
        memcpy(whole + len, rsp.payload.ptr, rsp.payload.len);
        len += rsp.payload.len;
        if ((find_uint(&rsp, WM_COAP_BLOCK2) & 8) == 0) {
            break;
        }
    }
    assert_int_equal(len, 1 + 1 + 2 + strlen(world.answer.problem) + 1 + 1 + strlen("detail 7"));
    assert_memory_equal(whole + len - 8, "detail 7", 8);
}

/* The representation went away while it was read: the error is told from its start, not from the block asked
 * for. */
static void test_endpoint_error_in_the_middle_of_a_transfer(void **state)
{
    (void)state;
    world.answer.code = WM_COAP_NOT_FOUND;
    world.answer.problem = "gone";
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
    build_opt_uint(&b, WM_COAP_BLOCK2, 3 << 4 | 6);
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_NOT_FOUND);
    assert_problem(&rsp, "gone");
    assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), -1);
    /* A small block behind the end of the problem: the code alone. */
    struct build c = build(WM_COAP_CON, WM_COAP_GET, 2, "t");
    build_opt_uint(&c, WM_COAP_BLOCK2, 30 << 4);
    world_get(&alice, &c);
    assert_int_equal(world_reply(&alice, WM_COAP_ACK, WM_COAP_NOT_FOUND).payload.len, 0);
}

static void say_everything(const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    world_fill(rep);
    rep->block1 = req->block1;
}

static void test_endpoint_writes_every_option_in_order(void **state)
{
    (void)state;
    world.handle = say_everything;
    world.answer = (struct answer){.code = WM_COAP_TOO_LARGE,
                                   .content_format = 65535,
                                   .max_age_s = INT32_MAX,
                                   .size1 = UINT32_MAX,
                                   .etag = "12345678",
                                   .body_len = 2000};
    struct build b = build(WM_COAP_CON, WM_COAP_PUT, 1, "12345678");
    build_opt_uint(&b, WM_COAP_BLOCK2, 0);
    build_opt_uint(&b, WM_COAP_BLOCK1, 0xfffffu << 4 | 8 | 6);
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_TOO_LARGE);
    static const struct {
        uint32_t number;
        uint32_t value;
    } expected[] = {
        {WM_COAP_ETAG, 0},          {WM_COAP_CONTENT_FORMAT, 65535},         {WM_COAP_MAX_AGE, INT32_MAX},
        {WM_COAP_BLOCK2, 8},        {WM_COAP_BLOCK1, 0xfffffu << 4 | 8 | 6}, {WM_COAP_SIZE2, 2000},
        {WM_COAP_SIZE1, UINT32_MAX}};
    struct wm_coap_opt_iter iter = wm_coap_opts(&rsp);
    struct wm_coap_opt      opt;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(wm_coap_opts_next(&iter, &opt));
        assert_int_equal(opt.number, expected[i].number);
        uint32_t value;
        assert_true(opt.number == WM_COAP_ETAG ||
                    (wm_coap_opt_uint(opt.value, &value) == 0 && value == expected[i].value));
    }
    assert_false(wm_coap_opts_next(&iter, &opt));
}

static void test_endpoint_says_valid_when_the_client_has_it(void **state)
{
    (void)state;
    world.answer.code = WM_COAP_CONTENT;
    world.answer.content_format = 60;
    world.answer.max_age_s = 9;
    world.answer.body_len = 3000;
    world.answer.etag = "v2";
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
    build_opt_str(&b, WM_COAP_ETAG, "v1");
    build_opt_str(&b, WM_COAP_ETAG, "v2");
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_VALID);
    struct wm_span           etag;
    assert_true(find_opt(&rsp, WM_COAP_ETAG, &etag) && wm_span_is(etag, "v2"));
    assert_int_equal(find_uint(&rsp, WM_COAP_MAX_AGE), 9);
    assert_int_equal(find_uint(&rsp, WM_COAP_CONTENT_FORMAT), -1);
    assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), -1);
    assert_int_equal(rsp.payload.len, 0);
    build_opt_uint(&b, WM_COAP_BLOCK2, 2 << 4 | 6); /* also in the middle of it */
    world_get(&alice, &b);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_VALID);
    struct build fetch = b; /* of a FETCH the ETag says nothing here */
    fetch.bytes[1] = WM_COAP_FETCH;
    world_get(&alice, &fetch);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    world.answer.etag = "v3";
    world_get(&alice, &b);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
}

/* ---- replies that come later ---- */

static void respond(void)
{
    struct wm_coap_reply *rep = wm_coap_respond_begin(&world.ep, world.ticket, world.now_ms);
    world_fill(rep);
    wm_coap_respond_end(&world.ep, world.ticket);
    world_poll();
}

static struct build defer(const struct wm_peer *peer, uint8_t type, uint8_t method, uint16_t mid)
{
    world.answer.defer = true;
    struct build b = build(type, method, mid, "tk");
    world_get(peer, &b);
    return b;
}

static void test_endpoint_ticket_soon_is_piggybacked(void **state)
{
    (void)state;
    struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, 5);
    world_silent();
    world_advance(WORLD_ACK_TIMEOUT_MS / 2 - 1);
    world_silent();
    world.answer.body_len = WM_COAP_PAYLOAD_BYTES / 16 * 16 >= 1024 ? 1024 : 16;
    respond();
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CHANGED);
    assert_int_equal(rsp.mid, 5);
    assert_int_equal(rsp.payload.len, world.answer.body_len);
    world_get(&alice, &b); /* and replayed */
    assert_same_sent(0, 1);
    assert_int_equal(world.calls, 1);
    world_advance(60000);
    assert_int_equal(world.sent_count, 2);
}

static void test_endpoint_ticket_late_is_a_message_of_its_own(void **state)
{
    (void)state;
    struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, 5);
    world_advance(WORLD_ACK_TIMEOUT_MS / 2);
    world_empty(&alice, WM_COAP_ACK, 5);
    world_advance(5000);
    respond();
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
    assert_true(wm_span_eq(wm_span(rsp.token, rsp.token_len), wm_span_str("tk")));
    world_get(&alice, &b); /* a late duplicate learns that there is nothing to wait for */
    world_empty(&alice, WM_COAP_ACK, 5);
    world_send_empty(&alice, WM_COAP_ACK, rsp.mid);
    world_advance(60000);
    world_silent();
    assert_int_equal(world.calls, 1);
    assert_int_equal(wm_coap_stats(&world.ep).unanswered, 0);
}

static void test_endpoint_ticket_repeated_is_acknowledged(void **state)
{
    (void)state;
    static const uint8_t methods[] = {WM_COAP_POST, WM_COAP_FETCH, WM_COAP_GET};
    for (size_t i = 0; i < sizeof methods; i++) {
        world_setup(NULL);
        struct build b = defer(&alice, WM_COAP_CON, methods[i], 5);
        world_get(&alice, &b);
        world_empty(&alice, WM_COAP_ACK, 5);
        world_get(&alice, &b);
        world_empty(&alice, WM_COAP_ACK, 5);
        assert_int_equal(world.calls, 1);
        assert_int_equal(wm_coap_stats(&world.ep).duplicates, 2);
        respond();
        world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
    }
}

static void test_endpoint_ticket_is_not_for_another_message(void **state)
{
    (void)state;
    defer(&alice, WM_COAP_NON, WM_COAP_POST, 5);
    struct build other = build(WM_COAP_NON, WM_COAP_POST, 5, "tk"); /* all the same but the payload */
    build_payload(&other, "x", 1);
    world.answer.defer = false;
    world_get(&alice, &other);
    world_reply(&alice, WM_COAP_NON, WM_COAP_CHANGED);
    defer(&bob, WM_COAP_NON, WM_COAP_POST, 5);
    assert_int_equal(world.calls, 3);
}

static void test_endpoint_ticket_of_a_non(void **state)
{
    (void)state;
    struct build b = defer(&alice, WM_COAP_NON, WM_COAP_POST, 5);
    world_get(&alice, &b);
    world_advance(30000);
    world_silent();
    respond();
    world_reply(&alice, WM_COAP_NON, WM_COAP_CHANGED);
    world_get(&alice, &b);
    assert_same_sent(0, 1);
    world.seen++;
    world_advance(60000);
    world_silent();
    assert_int_equal(world.calls, 1);
}

static void test_endpoint_separate_reply_backs_off(void **state)
{
    (void)state;
    uint32_t first_min = UINT32_MAX, first_max = 0;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        world_begin(UINT32_MAX - 3000, seed);
        struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, 5);
        world_get(&alice, &b);
        respond();
        world_advance(60000);
        /* ACK, then 1 + MAX_RETRANSMIT times the same, the pause doubling */
        assert_int_equal(world.sent_count, 2 + WORLD_MAX_RETRANSMIT);
        uint32_t pause_ms = world.sent[2].ms - world.sent[1].ms;
        first_min = pause_ms < first_min ? pause_ms : first_min;
        first_max = pause_ms > first_max ? pause_ms : first_max;
        for (size_t i = 2; i < world.sent_count; i++) {
            assert_same_sent(1, i);
            assert_int_equal(world.sent[i].ms - world.sent[i - 1].ms, pause_ms);
            pause_ms *= 2;
        }
        const struct wm_coap_stats stats = wm_coap_stats(&world.ep);
        assert_int_equal(stats.retransmits, WORLD_MAX_RETRANSMIT);
        assert_int_equal(stats.unanswered, 1);
    }
    assert_in_range(first_min, WORLD_ACK_TIMEOUT_MS, WORLD_ACK_TIMEOUT_MS * 11 / 10);
    assert_in_range(first_max, WORLD_ACK_TIMEOUT_MS * 14 / 10, WORLD_ACK_TIMEOUT_MS * 15 / 10);
}

static void test_endpoint_separate_reply_ends_by_ack_or_reset_of_its_peer(void **state)
{
    (void)state;
    for (uint8_t type = WM_COAP_ACK; type <= WM_COAP_RST; type++) {
        world_setup(NULL);
        struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, 5);
        world_get(&alice, &b);
        world_empty(&alice, WM_COAP_ACK, 5);
        respond();
        const uint16_t mid = world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED).mid;
        world_send_empty(&bob, type, mid);
        world_send_empty(&alice, type, (uint16_t)(mid + 1));
        world_advance(WORLD_ACK_TIMEOUT_MS * 2);
        world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
        world_send_empty(&alice, type, mid);
        world_advance(60000);
        world_silent();
        assert_int_equal(wm_coap_stats(&world.ep).unanswered, 0);
    }
}

static void test_endpoint_separate_reply_in_blocks_that_fit_an_exchange(void **state)
{
    (void)state;
    const uint8_t szx = wm_coap_szx_within(WM_COAP_EXCHANGE_BYTES - WM_COAP_HEAD_BYTES);
    const size_t  size = (size_t)16 << szx;
    world.answer.body_len = 3000;
    world.answer.etag = "12345678";
    struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, 5);
    world_get(&alice, &b);
    world_empty(&alice, WM_COAP_ACK, 5);
    respond();
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
    assert_int_equal(rsp.payload.len, size);
    assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), 8 | szx);
    assert_int_equal(find_uint(&rsp, WM_COAP_SIZE2), 3000);

    /* The next block, asked for with that size and late again. */
    struct build c = build(WM_COAP_CON, WM_COAP_POST, 6, "tk");
    build_opt_uint(&c, WM_COAP_BLOCK2, 1 << 4 | szx);
    world_get(&alice, &c);
    world_get(&alice, &c);
    world_empty(&alice, WM_COAP_ACK, 6);
    respond();
    const struct wm_coap_msg next = world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
    assert_int_equal(find_uint(&next, WM_COAP_BLOCK2), 1 << 4 | (3000 > 2 * size ? 8 : 0) | szx);
    assert_int_equal(next.payload.ptr[0], world_body_byte(size));
}

/* A block of 1024 at number 1 asked for, smaller ones given: the number is counted in the size given. */
static void test_endpoint_separate_reply_counts_block_numbers_anew(void **state)
{
    (void)state;
    const uint8_t szx = wm_coap_szx_within(WM_COAP_EXCHANGE_BYTES - WM_COAP_HEAD_BYTES);
    world.answer.body_len = 3000;
    world.answer.defer = true;
    struct build b = build(WM_COAP_CON, WM_COAP_POST, 5, "tk");
    build_opt_uint(&b, WM_COAP_BLOCK2, 1 << 4 | 6);
    world_get(&alice, &b);
    world_get(&alice, &b);
    world_empty(&alice, WM_COAP_ACK, 5);
    respond();
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_CON, WM_COAP_CHANGED);
    assert_int_equal(find_uint(&rsp, WM_COAP_BLOCK2), (1024 >> (szx + 4)) << 4 | 8 | szx);
    assert_int_equal(rsp.payload.ptr[0], world_body_byte(1024));
}

static void test_endpoint_separate_reply_without_a_free_exchange(void **state)
{
    (void)state;
    for (uint16_t mid = 0; mid <= WM_COAP_EXCHANGES; mid++) {
        struct build b = defer(&alice, WM_COAP_CON, WM_COAP_POST, mid);
        world_get(&alice, &b);
        world_empty(&alice, WM_COAP_ACK, mid);
        respond();
        world_reply(&alice, mid < WM_COAP_EXCHANGES ? WM_COAP_CON : WM_COAP_NON, WM_COAP_CHANGED);
    }
}

static void test_endpoint_tickets_end(void **state)
{
    (void)state;
    assert_true(WM_COAP_TICKETS >= 8);
    int tickets[WM_COAP_TICKETS];
    for (uint16_t mid = 0; mid < WM_COAP_TICKETS; mid++) {
        defer(&alice, WM_COAP_NON, WM_COAP_POST, mid);
        tickets[mid] = world.ticket;
    }
    world_silent();
    defer(&alice, WM_COAP_NON, WM_COAP_POST, 1000);
    world_reply(&alice, WM_COAP_NON, WM_COAP_UNAVAILABLE);
    world.ticket = tickets[3]; /* in any order */
    respond();
    world_reply(&alice, WM_COAP_NON, WM_COAP_CHANGED);
    defer(&alice, WM_COAP_NON, WM_COAP_POST, 1001);
    world_silent();
    for (int i = 0; i < WM_COAP_TICKETS; i++) {
        world.ticket = tickets[i];
        respond();
    }
    assert_int_equal(world.sent_count - world.seen, WM_COAP_TICKETS);
}

static void defer_and_forget(const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const int ticket = wm_coap_defer(&world.ep, req);
    assert_true(ticket >= 0);
    wm_coap_forget(&world.ep, ticket);
    world_fill(rep);
}

static void test_endpoint_ticket_forgotten(void **state)
{
    (void)state;
    world.handle = defer_and_forget;
    for (uint16_t mid = 0; mid < 2 * WM_COAP_TICKETS; mid++) {
        struct build b = build(WM_COAP_CON, WM_COAP_POST, mid, "t");
        world_get(&alice, &b);
        world_reply(&alice, WM_COAP_ACK, WM_COAP_CHANGED);
        world_get(&alice, &b);
        world_reply(&alice, WM_COAP_ACK, WM_COAP_CHANGED);
        assert_int_equal(world.calls, mid + 1);
    }
}

/* Other requests go on while a ticket is open, and its own slot may be recycled meanwhile. */
static void test_endpoint_ticket_outlives_its_memory(void **state)
{
    (void)state;
    defer(&alice, WM_COAP_NON, WM_COAP_POST, 5);
    world.answer.defer = false;
    for (uint32_t mid = 0; mid < 2 * WM_COAP_DEDUP_SLOTS; mid++) {
        struct build b = build(WM_COAP_NON, WM_COAP_POST, (uint16_t)mid, "x");
        world_get(&alice, &b);
        world.sent_count = world.seen = 0;
    }
    respond();
    world_reply(&alice, WM_COAP_NON, WM_COAP_CHANGED);
}

/* ---- multicast ---- */

static struct wm_peer multicast(void)
{
    struct wm_peer group = alice;
    group.multicast = true;
    return group;
}

static void test_endpoint_multicast_get_is_answered_at_leisure(void **state)
{
    (void)state;
    const struct wm_peer group = multicast();
    uint32_t             latest = 0, earliest = UINT32_MAX;
    world.answer.code = WM_COAP_CONTENT;
    world.answer.body_len = 20;
    for (uint32_t seed = 1; seed <= 40; seed++) {
        world_begin(UINT32_MAX - 2000, seed);
        world.answer.code = WM_COAP_CONTENT;
        world.answer.body_len = 20;
        struct build b = build(WM_COAP_NON, WM_COAP_GET, 5, "tk");
        build_opt_str(&b, WM_COAP_URI_QUERY, "rt=x");
        const uint32_t start_ms = world.now_ms;
        world_get(&group, &b);
        world_advance(WM_COAP_LEISURE_MS);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
        assert_int_equal(rsp.token_len, 2);
        assert_int_equal(world.calls, 1);
        const uint32_t ms = world.sent[0].ms - start_ms;
        latest = ms > latest ? ms : latest;
        earliest = ms < earliest ? ms : earliest;
    }
    assert_in_range(earliest, 0, WM_COAP_LEISURE_MS / 5);
    assert_in_range(latest, WM_COAP_LEISURE_MS * 4 / 5, WM_COAP_LEISURE_MS);
}

static void test_endpoint_multicast_is_silent_otherwise(void **state)
{
    (void)state;
    const struct wm_peer group = multicast();
    struct build         post = build(WM_COAP_NON, WM_COAP_POST, 5, "t"),
                         con = build(WM_COAP_CON, WM_COAP_GET, 6, "t");
    struct build         option = build(WM_COAP_NON, WM_COAP_GET, 7, "t"),
                         bad = build(WM_COAP_CON, WM_COAP_GET, 8, "t");
    world.answer.code = WM_COAP_CONTENT;
    world.answer.body_len = 20;
    build_opt_str(&option, 9, "critical");
    bad.bytes[bad.len++] = 0xff;
    world_get(&group, &post);
    world_get(&group, &con);
    world_get(&group, &option);
    world_get(&group, &bad);
    world_send_empty(&group, WM_COAP_CON, 9);
    world_advance(2 * WM_COAP_LEISURE_MS);
    world_silent();
    assert_int_equal(world.calls, 0);

    struct build get = build(WM_COAP_NON, WM_COAP_GET, 10, "t");
    world.answer.code = WM_COAP_NOT_FOUND; /* an error */
    world_get(&group, &get);
    world_advance(2 * WM_COAP_LEISURE_MS);
    world.answer.code = WM_COAP_CONTENT; /* nothing that matches */
    world.answer.body_len = 0;
    world_get(&group, &get);
    world_advance(2 * WM_COAP_LEISURE_MS);
    world.answer.defer = true; /* would be late */
    world_get(&group, &get);
    world_advance(2 * WM_COAP_LEISURE_MS);
    world_silent();
    assert_int_equal(world.calls, 3);
}

/* ---- time ---- */

static void test_endpoint_idle_asks_for_nothing(void **state)
{
    (void)state;
    assert_int_equal(wm_coap_poll(&world.ep, world.now_ms), 60000);
    assert_int_equal(wm_coap_poll(&world.ep, world.now_ms + 10), 59990);
    struct build b = build(WM_COAP_CON, WM_COAP_POST, 1, "t");
    world_get(&alice, &b);
    assert_true(wm_coap_poll(&world.ep, world.now_ms + 20) > 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_endpoint_answers_con_in_the_ack, world_setup),
        cmocka_unit_test_setup(test_endpoint_answers_non_with_non, world_setup),
        cmocka_unit_test_setup(test_endpoint_resets_pings, world_setup),
        cmocka_unit_test_setup(test_endpoint_resets_malformed_con_only, world_setup),
        cmocka_unit_test_setup(test_endpoint_resets_what_it_has_no_use_for, world_setup),
        cmocka_unit_test_setup(test_endpoint_passes_on_what_it_cannot_know, world_setup),
        cmocka_unit_test_setup(test_endpoint_refuses_bad_options, world_setup),
        cmocka_unit_test_setup(test_endpoint_problem_details_are_printable, world_setup),
        cmocka_unit_test_setup(test_endpoint_replays_the_reply_to_a_duplicate, world_setup),
        cmocka_unit_test_setup(test_endpoint_runs_what_only_looks_like_a_duplicate, world_setup),
        cmocka_unit_test_setup(test_endpoint_handles_safe_methods_again, world_setup),
        cmocka_unit_test_setup(test_endpoint_forgets_after_the_exchange_lifetime, world_setup),
        cmocka_unit_test_setup(test_endpoint_counts_duplicates_forgotten_early, world_setup),
        cmocka_unit_test_setup(test_endpoint_never_runs_twice_even_without_the_reply, world_setup),
        cmocka_unit_test_setup(test_endpoint_blocks_of_every_size_at_random, world_setup),
        cmocka_unit_test_setup(test_endpoint_blocks_a_large_reply_unasked, world_setup),
        cmocka_unit_test_setup(test_endpoint_block_beyond_the_end, world_setup),
        cmocka_unit_test_setup(test_endpoint_errors_come_in_blocks_too, world_setup),
        cmocka_unit_test_setup(test_endpoint_error_in_the_middle_of_a_transfer, world_setup),
        cmocka_unit_test_setup(test_endpoint_writes_every_option_in_order, world_setup),
        cmocka_unit_test_setup(test_endpoint_says_valid_when_the_client_has_it, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_soon_is_piggybacked, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_late_is_a_message_of_its_own, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_repeated_is_acknowledged, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_is_not_for_another_message, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_of_a_non, world_setup),
        cmocka_unit_test_setup(test_endpoint_separate_reply_backs_off, world_setup),
        cmocka_unit_test_setup(test_endpoint_separate_reply_ends_by_ack_or_reset_of_its_peer, world_setup),
        cmocka_unit_test_setup(test_endpoint_separate_reply_in_blocks_that_fit_an_exchange, world_setup),
        cmocka_unit_test_setup(test_endpoint_separate_reply_counts_block_numbers_anew, world_setup),
        cmocka_unit_test_setup(test_endpoint_separate_reply_without_a_free_exchange, world_setup),
        cmocka_unit_test_setup(test_endpoint_tickets_end, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_forgotten, world_setup),
        cmocka_unit_test_setup(test_endpoint_ticket_outlives_its_memory, world_setup),
        cmocka_unit_test_setup(test_endpoint_multicast_get_is_answered_at_leisure, world_setup),
        cmocka_unit_test_setup(test_endpoint_multicast_is_silent_otherwise, world_setup),
        cmocka_unit_test_setup(test_endpoint_idle_asks_for_nothing, world_setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

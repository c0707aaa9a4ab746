/* coap/request.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coap/request.h"
#include "coap_build.h"
#include "wasmote/err.h"

static struct wm_coap_request req;
static struct build           kept; /* what req borrows from */
static const struct wm_peer   peer;

static int decode(struct build b)
{
    struct wm_coap_msg msg;
    kept = b;
    memset(&req, 0xa5, sizeof req); /* nothing may be left unset */
    assert_int_equal(wm_coap_parse(&msg, build_span(&kept)), 0);
    return wm_coap_request_decode(&req, &peer, &msg);
}

/* Decode a PUT with one option, or with the same one twice. */
static int decode_option(uint32_t number, const void *value, size_t len, int times)
{
    struct build b = build(WM_COAP_CON, WM_COAP_PUT, 1, "");
    while (times-- > 0) {
        build_opt(&b, number, value, len);
    }
    return decode(b);
}

static void test_coap_request_without_options(void **state)
{
    (void)state;
    assert_int_equal(decode(build(WM_COAP_CON, WM_COAP_GET, 1, "t")), 0);
    assert_ptr_equal(req.peer, &peer);
    assert_int_equal(req.method, WM_COAP_GET);
    assert_int_equal(req.msg.token_len, 1);
    assert_int_equal(req.path_count + req.query_count + req.if_match_count + req.etag_count, 0);
    assert_false(req.if_none_match || req.has_request_tag || req.block1.present || req.block2.present);
    assert_int_equal(req.content_format, WM_FORMAT_NONE);
    assert_int_equal(req.accept, WM_FORMAT_NONE);
    assert_int_equal(req.observe, -1);
    assert_int_equal(req.size1, -1);
    assert_int_equal(req.payload.len, 0);
}

static void test_coap_request_with_everything(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, WM_COAP_PUT, 1, "");
    build_opt_str(&b, WM_COAP_IF_MATCH, "");
    build_opt_str(&b, WM_COAP_IF_MATCH, "v1");
    build_opt_str(&b, WM_COAP_URI_HOST, "node.local");
    build_opt_str(&b, WM_COAP_ETAG, "e1");
    build_opt_str(&b, WM_COAP_ETAG, "e2");
    build_opt_str(&b, WM_COAP_IF_NONE_MATCH, "");
    build_opt_uint(&b, WM_COAP_OBSERVE, 0);
    build_opt_uint(&b, WM_COAP_URI_PORT, 5683);
    build_opt_str(&b, WM_COAP_URI_PATH, "f");
    build_opt_str(&b, WM_COAP_URI_PATH, "fib");
    build_opt_uint(&b, WM_COAP_CONTENT_FORMAT, 0);
    build_opt_str(&b, WM_COAP_URI_QUERY, "from=12");
    build_opt_str(&b, WM_COAP_URI_QUERY, "flag");
    build_opt_uint(&b, WM_COAP_ACCEPT, 60);
    build_opt_uint(&b, WM_COAP_BLOCK2, 3 << 4 | 2);
    build_opt_uint(&b, WM_COAP_BLOCK1, 0xfffffu << 4 | 8 | 6);
    build_opt_uint(&b, WM_COAP_SIZE1, UINT32_MAX);
    build_opt_str(&b, WM_COAP_REQUEST_TAG, "r");
    build_payload(&b, "xyz", 3);
    assert_int_equal(decode(b), 0);
    assert_int_equal(req.if_match_count, 2);
    assert_true(wm_span_is(req.if_match[0], "") && wm_span_is(req.if_match[1], "v1"));
    assert_int_equal(req.etag_count, 2);
    assert_true(wm_span_is(req.etag[0], "e1") && wm_span_is(req.etag[1], "e2"));
    assert_true(req.if_none_match);
    assert_int_equal(req.observe, 0);
    assert_int_equal(req.path_count, 2);
    assert_true(wm_span_is(req.path[0], "f") && wm_span_is(req.path[1], "fib"));
    assert_int_equal(req.content_format, WM_FORMAT_TEXT);
    assert_int_equal(req.accept, WM_FORMAT_CBOR);
    assert_true(req.block2.present && !req.block2.more && req.block2.num == 3 && req.block2.szx == 2);
    assert_int_equal(wm_coap_block_size(&req.block2), 64);
    assert_int_equal(wm_coap_block_offset(&req.block2), 192);
    assert_true(req.block1.present && req.block1.more && req.block1.num == 0xfffff && req.block1.szx == 6);
    assert_int_equal(req.size1, UINT32_MAX);
    assert_true(req.has_request_tag && wm_span_is(req.request_tag, "r"));
    assert_true(wm_span_is(req.payload, "xyz"));

    struct wm_span value;
    assert_true(wm_coap_query(&req, "from", &value) && wm_span_is(value, "12"));
    assert_true(wm_coap_query(&req, "flag", &value) && value.len == 0);
    assert_false(wm_coap_query(&req, "fro", &value));
    assert_false(wm_coap_query(&req, "from=1", &value));
}

static void test_coap_request_unknown_options(void **state)
{
    (void)state;
    assert_int_equal(decode_option(9, "", 0, 1), WM_COAP_BAD_OPTION); /* critical: OSCORE, not here */
    assert_int_equal(decode_option(65535, "", 0, 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(2, "", 0, 2), 0); /* elective */
    assert_int_equal(decode_option(65534, "abc", 3, 1), 0);
    assert_int_equal(decode_option(WM_COAP_PROXY_URI, "coap://x", 8, 1), WM_COAP_PROXYING_UNSUPPORTED);
    assert_int_equal(decode_option(WM_COAP_PROXY_SCHEME, "coap", 4, 1), WM_COAP_PROXYING_UNSUPPORTED);
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "");
    build_opt_str(&b, 9, "");
    build_opt_str(&b, WM_COAP_PROXY_URI, "coap://x");
    assert_int_equal(decode(b), WM_COAP_PROXYING_UNSUPPORTED);
}

static void test_coap_request_repeated_options(void **state)
{
    (void)state;
    static const uint16_t critical[] = {WM_COAP_URI_HOST, WM_COAP_URI_PORT, WM_COAP_ACCEPT, WM_COAP_BLOCK1,
                                        WM_COAP_BLOCK2};
    for (size_t i = 0; i < sizeof critical / sizeof *critical; i++) {
        assert_int_equal(decode_option(critical[i], "\1", 1, 1), 0);
        assert_int_equal(decode_option(critical[i], "\1", 1, 2), WM_COAP_BAD_OPTION);
    }
    assert_int_equal(decode_option(WM_COAP_IF_NONE_MATCH, "", 0, 2), WM_COAP_BAD_OPTION);

    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, ""); /* of an elective one, the first counts */
    build_opt_uint(&b, WM_COAP_OBSERVE, 0);
    build_opt_uint(&b, WM_COAP_OBSERVE, 1);
    build_opt_uint(&b, WM_COAP_CONTENT_FORMAT, 42);
    build_opt_uint(&b, WM_COAP_CONTENT_FORMAT, 60);
    assert_int_equal(decode(b), 0);
    assert_int_equal(req.observe, 0);
    assert_int_equal(req.content_format, WM_FORMAT_OCTETS);
}

static void test_coap_request_options_of_a_bad_length(void **state)
{
    (void)state;
    static const uint8_t nine[9] = {0};
    assert_int_equal(decode_option(WM_COAP_IF_MATCH, nine, 9, 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_IF_NONE_MATCH, nine, 1, 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_URI_HOST, nine, 0, 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_ACCEPT, nine, 3, 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_ETAG, nine, 9, 1), 0);
    assert_int_equal(req.etag_count, 0);
    assert_int_equal(decode_option(WM_COAP_ETAG, nine, 0, 1), 0);
    assert_int_equal(req.etag_count, 0);
    assert_int_equal(decode_option(WM_COAP_OBSERVE, nine, 4, 1), 0);
    assert_int_equal(req.observe, -1);
    assert_int_equal(decode_option(WM_COAP_CONTENT_FORMAT, nine, 3, 1), 0);
    assert_int_equal(req.content_format, WM_FORMAT_NONE);
    assert_int_equal(decode_option(WM_COAP_SIZE1, nine, 5, 1), 0);
    assert_int_equal(req.size1, -1);
    assert_int_equal(decode_option(WM_COAP_REQUEST_TAG, nine, 9, 1), 0);
    assert_false(req.has_request_tag);

    static uint8_t long_name[256];
    assert_int_equal(decode_option(WM_COAP_URI_PATH, long_name, 255, 1), 0);
    assert_int_equal(decode_option(WM_COAP_URI_PATH, long_name, 256, 1), WM_COAP_BAD_OPTION);
}

static void test_coap_request_bad_blocks(void **state)
{
    (void)state;
    static const uint16_t blocks[] = {WM_COAP_BLOCK1, WM_COAP_BLOCK2};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(decode_option(blocks[i], "\7", 1, 1), WM_COAP_BAD_REQUEST);
        assert_int_equal(decode_option(blocks[i], "\0\0\0\0", 4, 1), WM_COAP_BAD_REQUEST);
        assert_int_equal(decode_option(blocks[i], "", 0, 1), 0);
        assert_int_equal(decode_option(blocks[i], "\xff\xff\xfe", 3, 1), 0);
    }
}

static void test_coap_request_more_than_it_has_room_for(void **state)
{
    (void)state;
    assert_int_equal(decode_option(WM_COAP_URI_PATH, "p", 1, WM_COAP_PATH_MAX), 0);
    assert_int_equal(decode_option(WM_COAP_URI_PATH, "p", 1, WM_COAP_PATH_MAX + 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_URI_QUERY, "q", 1, WM_COAP_QUERY_MAX + 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_IF_MATCH, "v", 1, WM_COAP_ETAG_MAX + 1), WM_COAP_BAD_OPTION);
    assert_int_equal(decode_option(WM_COAP_ETAG, "e", 1, WM_COAP_ETAG_MAX + 1), 0);
    assert_int_equal(req.etag_count, WM_COAP_ETAG_MAX);
}

static struct wm_span tags(const char *first, const char *second)
{
    struct build b = build(WM_COAP_CON, WM_COAP_PUT, 1, "");
    build_opt_str(&b, WM_COAP_REQUEST_TAG, first);
    if (second != NULL) {
        build_opt_str(&b, WM_COAP_REQUEST_TAG, second);
    }
    assert_int_equal(decode(b), 0);
    static uint8_t copies[4][32];
    static int     next;
    uint8_t       *copy = copies[next++ % 4];
    memcpy(copy, req.request_tag.ptr, req.request_tag.len);
    return wm_span(copy, req.request_tag.len);
}

static void test_coap_request_tags_of_a_list_differ_from_one(void **state)
{
    (void)state;
    assert_true(wm_span_eq(tags("a", NULL), tags("a", NULL)));
    assert_true(wm_span_eq(tags("a", "b"), tags("a", "b")));
    assert_false(wm_span_eq(tags("a", NULL), tags("a", "b")));
    assert_false(wm_span_eq(tags("ab", "c"), tags("a", "bc")));
    assert_false(wm_span_eq(tags("", "a"), tags("a", "")));
    assert_int_equal(tags("", NULL).len, 0);
    assert_true(req.has_request_tag);
    assert_int_equal(tags("12345678", "12345678").len,
                     WM_COAP_REQUEST_TAG_BYTES); /* who keeps it has room for that */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coap_request_without_options),
        cmocka_unit_test(test_coap_request_with_everything),
        cmocka_unit_test(test_coap_request_unknown_options),
        cmocka_unit_test(test_coap_request_repeated_options),
        cmocka_unit_test(test_coap_request_options_of_a_bad_length),
        cmocka_unit_test(test_coap_request_bad_blocks),
        cmocka_unit_test(test_coap_request_more_than_it_has_room_for),
        cmocka_unit_test(test_coap_request_tags_of_a_list_differ_from_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

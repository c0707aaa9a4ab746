/* Block1 reassembly: order, repeats, gaps, room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "resources/upload.h"

static _Alignas(8) uint8_t region[8192];
static struct wm_heap     *heap;
static struct wm_store     store;
static struct wm_uploads   ups;
static struct wm_peer      peer;
static uint32_t            now_ms;
static uint8_t             reply_text[256];
static struct wm_upload   *slot;

static int setup(void **state)
{
    (void)state;
    heap = wm_heap_init(region, sizeof region);
    wm_store_init(&store, heap);
    wm_uploads_init(&ups, &store, heap);
    memset(&peer, 0, sizeof peer);
    now_ms = 1000;
    return 0;
}

struct sent {
    enum wm_upload_result result;
    struct wm_coap_reply  reply;
};

/* One block of 64 bytes of `body` to /f/`name`. */
static struct sent send(const char *name, const char *tag, const uint8_t *body, size_t body_len, uint32_t num,
                        enum wm_upload_kind kind)
{
    const size_t           off = (size_t)num * 64;
    const size_t           len = body_len - off < 64 ? body_len - off : 64;
    struct wm_coap_request req = {
        .peer = &peer, .method = WM_COAP_PUT, .path = {wm_span_str("f"), wm_span_str(name)}, .path_count = 2, .size1 = -1,
        .block1 = {.present = true, .num = num, .szx = 2, .more = off + len < body_len}, .payload = wm_span(body + off, len),
    };
    if (tag != NULL) {
        req.has_request_tag = true;
        req.request_tag = wm_span_str(tag);
    }
    struct sent sent;
    wm_coap_reply_reset(&sent.reply);
    wm_sink_init(&sent.reply.body, reply_text, sizeof reply_text, 0);
    sent.result = wm_upload_take(&ups, &req, &sent.reply, kind, 4096, now_ms, &slot);
    return sent;
}

static uint8_t body[1200];

static void continues(struct sent sent)
{
    assert_int_equal(sent.result, WM_UPLOAD_MORE);
    assert_int_equal(sent.reply.code, WM_COAP_CONTINUE);
    assert_true(sent.reply.block1.present);
}

static void refuses(struct sent sent, uint8_t code)
{
    assert_int_equal(sent.result, WM_UPLOAD_MORE);
    assert_int_equal(sent.reply.code, code);
    assert_int_equal(sent.reply.content_format, WM_FORMAT_PROBLEM);
}

static void test_upload_whole_body_with_repeats(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * 7);
    }
    for (uint32_t num = 0; num < 18; num++) {
        continues(send("a", "t1", body, sizeof body, num, WM_UPLOAD_MODULE));
        continues(send("a", "t1", body, sizeof body, num, WM_UPLOAD_MODULE)); /* our answer was lost */
    }
    assert_int_equal(send("a", "t1", body, sizeof body, 18, WM_UPLOAD_MODULE).result, WM_UPLOAD_WHOLE);
    const struct wm_span module = wm_store_seal(&store, slot->record);
    assert_int_equal(module.len, sizeof body);
    assert_memory_equal(module.ptr, body, sizeof body);

    struct wm_coap_reply created;
    wm_coap_reply_reset(&created);
    created.code = WM_COAP_CREATED;
    created.etag_len = 2;
    created.etag[1] = 9;
    wm_store_drop(&store, slot->record);
    slot->record = -1;
    wm_upload_settle(&ups, slot, &created);
    /* The final block again, in another message: the same answer, nothing else. */
    const struct sent again = send("a", "t1", body, sizeof body, 18, WM_UPLOAD_MODULE);
    assert_int_equal(again.result, WM_UPLOAD_MORE);
    assert_int_equal(again.reply.code, WM_COAP_CREATED);
    assert_int_equal(again.reply.etag[1], 9);
}

static void test_upload_gap_is_4_08(void **state)
{
    (void)state;
    refuses(send("a", NULL, body, sizeof body, 1, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    continues(send("a", NULL, body, sizeof body, 0, WM_UPLOAD_MODULE));
    refuses(send("a", NULL, body, sizeof body, 2, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    continues(send("a", NULL, body, sizeof body, 1, WM_UPLOAD_MODULE)); /* the transfer is still there */
}

static void test_upload_tells_peers_tags_and_names_apart(void **state)
{
    (void)state;
    continues(send("a", "t1", body, sizeof body, 0, WM_UPLOAD_MODULE));
    refuses(send("a", "t2", body, sizeof body, 1, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    refuses(send("a", NULL, body, sizeof body, 1, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    refuses(send("b", "t1", body, sizeof body, 1, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    peer.addr_len = 1;
    refuses(send("a", "t1", body, sizeof body, 1, WM_UPLOAD_MODULE), WM_COAP_INCOMPLETE);
    peer.addr_len = 0;
    continues(send("a", "t1", body, sizeof body, 1, WM_UPLOAD_MODULE));
}

static void test_upload_idle_longest_makes_room(void **state)
{
    (void)state;
    const size_t free_bytes = wm_heap_free_bytes(heap);
    char         name[2] = "a";
    for (int i = 0; i < WM_UPLOADS; i++, name[0]++, now_ms++) {
        continues(send(name, NULL, body, sizeof body, 0, WM_UPLOAD_INPUT));
    }
    continues(send("z", NULL, body, sizeof body, 0, WM_UPLOAD_INPUT));
    assert_int_equal(ups.evicted, 1);
    refuses(send("a", NULL, body, sizeof body, 1, WM_UPLOAD_INPUT), WM_COAP_INCOMPLETE);
    continues(send("z", NULL, body, sizeof body, 1, WM_UPLOAD_INPUT));
    wm_uploads_expire(&ups, now_ms + WM_UPLOAD_IDLE_MS);
    assert_int_equal(wm_heap_free_bytes(heap), free_bytes);
}

static void test_upload_too_large_says_what_fits(void **state)
{
    (void)state;
    static uint8_t huge[5000];
    const size_t   free_bytes = wm_heap_free_bytes(heap);
    struct sent    last = {0};
    for (uint32_t num = 0; num < 65 && (num == 0 || last.reply.code == WM_COAP_CONTINUE); num++) {
        last = send("a", NULL, huge, sizeof huge, num, WM_UPLOAD_INPUT);
    }
    refuses(last, WM_COAP_TOO_LARGE);
    assert_int_equal(last.reply.size1, 4096);
    assert_int_equal(wm_heap_free_bytes(heap), free_bytes);
}

static void test_upload_beyond_memory_leaves_nothing(void **state)
{
    (void)state;
    void        *taken = wm_heap_alloc(heap, wm_heap_largest(heap) - 512);
    const size_t free_bytes = wm_heap_free_bytes(heap);
    struct sent  last = {0};
    assert_non_null(taken);
    for (uint32_t num = 0; num < 18 && (num == 0 || last.reply.code == WM_COAP_CONTINUE); num++) {
        last = send("a", NULL, body, sizeof body, num, WM_UPLOAD_MODULE);
    }
    refuses(last, WM_COAP_TOO_LARGE);
    assert_true(last.reply.size1 > 0 && last.reply.size1 < (int64_t)sizeof body);
    assert_int_equal(wm_heap_free_bytes(heap), free_bytes);
}

static void test_upload_partial_block_in_the_middle_is_refused(void **state)
{
    (void)state;
    struct wm_coap_request req = {
        .peer = &peer, .method = WM_COAP_PUT, .size1 = -1,
        .block1 = {.present = true, .more = true, .szx = 2}, .payload = wm_span(body, 63),
    };
    struct wm_coap_reply rep;
    wm_coap_reply_reset(&rep);
    wm_sink_init(&rep.body, reply_text, sizeof reply_text, 0);
    assert_int_equal(wm_upload_take(&ups, &req, &rep, WM_UPLOAD_INPUT, 4096, now_ms, &slot), WM_UPLOAD_MORE);
    assert_int_equal(rep.code, WM_COAP_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_upload_whole_body_with_repeats, setup),
        cmocka_unit_test_setup(test_upload_gap_is_4_08, setup),
        cmocka_unit_test_setup(test_upload_tells_peers_tags_and_names_apart, setup),
        cmocka_unit_test_setup(test_upload_idle_longest_makes_room, setup),
        cmocka_unit_test_setup(test_upload_too_large_says_what_fits, setup),
        cmocka_unit_test_setup(test_upload_beyond_memory_leaves_nothing, setup),
        cmocka_unit_test_setup(test_upload_partial_block_in_the_middle_is_refused, setup),
    };
    return cmocka_run_group_tests_name("upload", tests, NULL, NULL);
}

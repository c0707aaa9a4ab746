/* A whole node on a link of our own: what comes while a function runs, what is left behind, what is forged.
 *
 * Datagrams that are queued before a poll arrive one after the other. The first call that runs takes the rest of them
 * in through its ticks, so `POST /f/n/spin` and whatever is queued behind it is answered by a busy node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cbor.h"
#include "coap_build.h"
#include "resources/upload.h"
#include "test_port.h"
#include "wasmote/node.h"

#define BLOCK_MORE 8u
#define SZX_64     2u

static _Alignas(8) uint8_t pool[512 * 1024];
static struct wm_node     *node;

static struct {
    struct build in[200];
    size_t       in_next, in_count;
    struct {
        size_t  len;
        uint8_t bytes[WM_COAP_MESSAGE_BYTES];
    } out[512];
    size_t out_count;
    void (*when_empty)(void); /* the link was asked and has nothing */
} net;

static int net_recv(void *ctx, struct wm_peer *peer, uint8_t *buf, size_t cap)
{
    (void)ctx;
    if (net.in_next == net.in_count) {
        if (net.when_empty != NULL) {
            net.when_empty();
        }
        return 0;
    }
    const struct build *b = &net.in[net.in_next++];
    assert_true(b->len <= cap);
    memcpy(buf, b->bytes, b->len);
    *peer = (struct wm_peer){.addr_len = 1, .addr = {7}};
    return (int)b->len;
}

static int net_send(void *ctx, const struct wm_peer *peer, const uint8_t *buf, size_t len)
{
    (void)ctx;
    (void)peer;
    assert_true(net.out_count < sizeof net.out / sizeof net.out[0] && len <= sizeof net.out[0].bytes);
    net.out[net.out_count].len = len;
    memcpy(net.out[net.out_count++].bytes, buf, len);
    return 0;
}

static void poll(void)
{
    (void)wm_node_poll(node, wm_test_now_ms);
}

static void pass(uint32_t ms)
{
    for (uint32_t step; ms > 0; ms -= step) {
        step = ms < 1000 ? ms : 1000;
        wm_test_now_ms += step;
        poll();
    }
}

/* ---- requests and replies ---- */

static uint16_t mid;

/* A confirmable request for a path such as "f/n/spin", whose token is its message ID. */
static struct build request(uint8_t method, const char *path)
{
    char token[8];
    snprintf(token, sizeof token, "%05u", ++mid);
    struct build b = build(WM_COAP_CON, method, mid, token);
    if (method == WM_COAP_PUT && path[0] == 'j') {
        build_opt(&b, WM_COAP_IF_NONE_MATCH, "", 0);
    }
    while (*path != '\0') {
        const size_t len = strcspn(path, "/");
        build_opt(&b, WM_COAP_URI_PATH, path, len);
        path += len + (path[len] == '/');
    }
    return b;
}

static uint16_t queue(const struct build *b)
{
    assert_true(net.in_count < sizeof net.in / sizeof net.in[0]);
    net.in[net.in_count++] = *b;
    return (uint16_t)(b->bytes[2] << 8 | b->bytes[3]);
}

/* The last answer to a request: by its token. Code 0: there is none. */
static struct wm_coap_msg answer(uint16_t to)
{
    struct wm_coap_msg found = {.code = 0};
    char               token[8];
    snprintf(token, sizeof token, "%05u", to);
    for (size_t i = 0; i < net.out_count; i++) {
        struct wm_coap_msg msg;
        assert_int_equal(wm_coap_parse(&msg, wm_span(net.out[i].bytes, net.out[i].len)), 0);
        if (wm_span_is(wm_span(msg.token, msg.token_len), token) && msg.code != 0) {
            found = msg;
        }
    }
    return found;
}

static struct wm_coap_msg ask(const struct build *b)
{
    const uint16_t to = queue(b);
    poll();
    return answer(to);
}

static struct wm_coap_msg ask_plain(uint8_t method, const char *path)
{
    const struct build b = request(method, path);
    return ask(&b);
}

/* The value after this text key anywhere in a CBOR representation: the last one, as a title may read like a key. */
static struct wm_cbor_item member(struct wm_span body, const char *key)
{
    struct wm_cbor_reader in = {.rest = body};
    struct wm_cbor_item   item, found = {.kind = WM_CBOR_BREAK};
    while (wm_cbor_next(&in, &item) == 0) {
        if (item.kind == WM_CBOR_TEXT && wm_span_is(item.bytes, key)) {
            assert_int_equal(wm_cbor_next(&in, &item), 0);
            found = item;
        }
    }
    return found;
}

static uint64_t pool_free(void)
{
    const struct wm_coap_msg device = ask_plain(WM_COAP_GET, "d");
    return member(device.payload, "free").value;
}

static struct build start_job(const char *id, const char *target)
{
    char path[64], query[64];
    snprintf(path, sizeof path, "j/%s", id);
    snprintf(query, sizeof query, "f=%s", target);
    struct build b = request(WM_COAP_PUT, path);
    build_opt_str(&b, WM_COAP_URI_QUERY, query);
    return b;
}

static int setup(void **state)
{
    (void)state;
    static const struct wm_link link = {.name = "test", .recv = net_recv, .send = net_send};
    memset(&net, 0, sizeof net);
    wm_test_now_ms = 5000;
    node = wm_node_init(&(struct wm_node_config){
        .links = &link, .link_count = 1, .pool = pool, .pool_bytes = sizeof pool,
        .ep = "test", .board = "host", .chip = "none", .reset = "power",
    });
    uint8_t module[1024];
    FILE   *file = fopen(WM_MODULES_DIR "/node.wasm", "rb");
    assert_non_null(file);
    const size_t len = fread(module, 1, sizeof module, file);
    fclose(file);
    struct build b = request(WM_COAP_PUT, "f/n");
    build_payload(&b, module, len);
    assert_int_equal(ask(&b).code, WM_COAP_CREATED);
    return 0;
}

/* ---- forged ---- */

/* What wm_request_key makes of PUT path[0]/path[1]?q=N, with another query before it if there is one. */
static uint32_t key_of(const char *first, const char *second, const char *query, uint32_t n)
{
    char text[16];
    snprintf(text, sizeof text, "q=%08x", n);
    struct wm_coap_request req = {
        .method = WM_COAP_PUT, .path = {wm_span_str(first), wm_span_str(second)}, .path_count = 2,
    };
    if (query != NULL) {
        req.query[req.query_count++] = wm_span_str(query);
    }
    req.query[req.query_count++] = wm_span_str(text);
    return wm_request_key(&req);
}

/* The key of a transfer is a hash that anybody can calculate, so a client can make the input of a job and a module meet. */
static void test_node_survives_two_kinds_of_transfer_with_one_key(void **state)
{
    (void)state;
    enum { TRIES = 1 << 18, TABLE = 1 << 20 };
    uint32_t *table = calloc(TABLE, sizeof *table), module_n = 0, job_n = 0;
    for (uint32_t n = 1; n < TRIES; n++) {
        table[key_of("f", "x", NULL, n) % TABLE] = n;
    }
    for (uint32_t n = 1; n < 16 * TRIES && module_n == 0; n++) {
        const uint32_t key = key_of("j", "x", "f=n/bytes", n), other = table[key % TABLE];
        if (other != 0 && key_of("f", "x", NULL, other) == key) {
            module_n = other;
            job_n = n;
        }
    }
    free(table);
    assert_int_not_equal(module_n, 0);

    const uint8_t block[64] = {0};
    char          text[16];
    struct build  b = start_job("x", "n/bytes");
    snprintf(text, sizeof text, "q=%08x", job_n);
    build_opt_str(&b, WM_COAP_URI_QUERY, text);
    build_opt_uint(&b, WM_COAP_BLOCK1, BLOCK_MORE | SZX_64);
    build_payload(&b, block, sizeof block);
    assert_int_equal(ask(&b).code, WM_COAP_CONTINUE);

    b = request(WM_COAP_PUT, "f/x");
    snprintf(text, sizeof text, "q=%08x", module_n);
    build_opt_str(&b, WM_COAP_URI_QUERY, text);
    build_opt_uint(&b, WM_COAP_BLOCK1, 1 << 4 | SZX_64);
    build_payload(&b, block, 8);
    assert_int_equal(ask(&b).code, WM_COAP_INCOMPLETE);
}

static void test_node_calls_the_export_of_the_whole_name(void **state)
{
    (void)state;
    struct build b = request(WM_COAP_POST, "f/n");
    build_opt(&b, WM_COAP_URI_PATH, "a\0b", 3);
    struct wm_coap_msg reply = ask(&b);
    assert_int_equal(reply.code, WM_COAP_CHANGED);
    assert_int_equal(reply.payload.len, 1);
    assert_int_equal(reply.payload.ptr[0], 2);
    assert_int_equal(ask_plain(WM_COAP_POST, "f/n/a").payload.ptr[0], 1);
}

/* ---- left behind ---- */

static void test_node_frees_the_input_of_a_job_that_is_cancelled_while_it_waits(void **state)
{
    (void)state;
    const uint64_t before = pool_free();
    struct build   b = start_job("first", "n/spin");
    (void)queue(&b);
    b = start_job("second", "n/bytes"); /* waits for the first */
    uint8_t input[900] = {1};
    build_payload(&b, input, sizeof input);
    const uint16_t put = queue(&b);
    b = request(WM_COAP_DELETE, "j/second");
    const uint16_t delete = queue(&b);
    b = request(WM_COAP_DELETE, "j/first");
    (void)queue(&b);
    poll();
    assert_int_equal(answer(put).code, WM_COAP_CREATED);
    assert_int_equal(answer(delete).code, WM_COAP_DELETED);
    const struct wm_coap_msg second = ask_plain(WM_COAP_GET, "j/second");
    assert_true(wm_span_is(member(second.payload, "state").bytes, "cancelled"));
    assert_int_equal(pool_free(), before);
}

static void test_node_keeps_no_output_of_a_job_that_trapped(void **state)
{
    (void)state;
    const uint64_t before = pool_free();
    struct build   b = start_job("t", "n/traps");
    assert_int_equal(ask(&b).code, WM_COAP_CREATED);
    const struct wm_coap_msg job = ask_plain(WM_COAP_GET, "j/t");
    assert_true(wm_span_is(member(job.payload, "trap").bytes, "unreachable"));
    assert_int_equal(pool_free(), before);
}

static void test_node_tells_all_of_a_job_s_problem(void **state)
{
    (void)state;
    struct build b = start_job("e", "n/fails");
    assert_int_equal(ask(&b).code, WM_COAP_CREATED);
    b = request(WM_COAP_GET, "j/e");
    const struct wm_coap_msg job = ask(&b);
    assert_int_equal(member(job.payload, "code").value, WM_COAP_NOT_FOUND);
    assert_int_equal(member(job.payload, "status").value, 404);
    assert_int_equal(member(job.payload, "output").bytes.len, 256);
    /* In blocks too, wherever they fall. */
    uint8_t whole[1024];
    size_t  len = 0;
    for (uint32_t num = 0; len < job.payload.len; num++) {
        b = request(WM_COAP_GET, "j/e");
        build_opt_uint(&b, WM_COAP_BLOCK2, num << 4);
        const struct wm_coap_msg part = ask(&b);
        assert_int_equal(part.code, WM_COAP_CONTENT);
        memcpy(whole + len, part.payload.ptr, part.payload.len);
        len += part.payload.len;
        net.in_next = net.in_count = net.out_count = 0;
    }
    b = request(WM_COAP_GET, "j/e");
    const struct wm_coap_msg again = ask(&b);
    assert_int_equal(len, again.payload.len);
    assert_memory_equal(whole, again.payload.ptr, len);
}

/* A finished job makes room for a new one: whoever observes it must hear that it is gone, or would be an observer for ever. */
static void test_node_tells_observers_of_a_job_that_made_room(void **state)
{
    (void)state;
    struct build b = start_job("old", "n/bytes");
    assert_int_equal(ask(&b).code, WM_COAP_CREATED);
    struct build observing = build(WM_COAP_CON, WM_COAP_GET, ++mid, "12345");
    build_opt(&observing, WM_COAP_OBSERVE, "", 0);
    build_opt_str(&observing, WM_COAP_URI_PATH, "j");
    build_opt_str(&observing, WM_COAP_URI_PATH, "old");
    (void)queue(&observing);
    poll();
    assert_int_equal(answer(12345).code, WM_COAP_CONTENT);
    for (int i = 0; i < WM_JOBS; i++) {
        char id[8];
        snprintf(id, sizeof id, "n%d", i);
        b = start_job(id, "n/bytes");
        assert_int_equal(ask(&b).code, WM_COAP_CREATED);
    }
    pass(2000);
    assert_int_equal(answer(12345).code, WM_COAP_NOT_FOUND);
}

/* ---- while a function runs ---- */

static int      asked;
static uint16_t asked_for_device;

static void sleep_a_second(void)
{
    wm_test_now_ms += 1000;
    if (++asked == 120) {
        struct build b = request(WM_COAP_GET, "d");
        asked_for_device = queue(&b);
        b = request(WM_COAP_DELETE, "j/long");
        (void)queue(&b);
    }
}

static void test_node_forgets_idle_transfers_also_while_a_function_runs(void **state)
{
    (void)state;
    const uint64_t before = pool_free();
    const uint8_t  block[64] = {0};
    struct build   b = request(WM_COAP_PUT, "f/x");
    build_opt_uint(&b, WM_COAP_BLOCK1, BLOCK_MORE | SZX_64);
    build_opt_uint(&b, WM_COAP_SIZE1, 2000);
    build_payload(&b, block, sizeof block);
    assert_int_equal(ask(&b).code, WM_COAP_CONTINUE);
    assert_true(pool_free() < before);

    b = start_job("long", "n/spin");
    (void)queue(&b);
    asked = 0;
    net.when_empty = sleep_a_second;
    poll();
    net.when_empty = NULL;
    const struct wm_coap_msg device = answer(asked_for_device);
    assert_int_equal(member(device.payload, "free").value, before);
}

static struct build first_block(const char *path, uint32_t size_bytes)
{
    uint8_t      block[64] = {0};
    struct build b = request(WM_COAP_PUT, path);
    memcpy(block, &size_bytes, sizeof size_bytes); /* or it would be the same block again */
    build_opt_uint(&b, WM_COAP_BLOCK1, BLOCK_MORE | SZX_64);
    build_opt_uint(&b, WM_COAP_SIZE1, size_bytes);
    build_payload(&b, block, sizeof block);
    return b;
}

/* Memory in pieces: room that nobody can get at while a function runs is not refused, but for later. */
static void test_node_puts_the_pool_in_order_once_nothing_runs(void **state)
{
    (void)state;
    const uint64_t before = pool_free();
    const uint32_t wanted = (uint32_t)before - 10000;
    /* The second block 0 of a transfer begins it anew: what it had reserved above the small one is free again. */
    const struct build during[] = {
        start_job("long", "n/spin"),           first_block("f/large", 200 * 1024), first_block("f/small", 2000),
        first_block("f/large", 100),           first_block("f/huge", wanted),      request(WM_COAP_GET, "d"),
        request(WM_COAP_DELETE, "j/long"),
    };
    uint16_t to[7];
    for (size_t i = 0; i < 7; i++) {
        to[i] = queue(&during[i]);
    }
    poll();
    assert_int_equal(answer(to[3]).code, WM_COAP_CONTINUE);
    assert_true(member(answer(to[5]).payload, "largest").value < wanted);
    assert_true(member(answer(to[5]).payload, "free").value > wanted);
    assert_int_equal(answer(to[4]).code, WM_COAP_UNAVAILABLE);
    const struct build later = first_block("f/huge", wanted), beyond = first_block("f/beyond", (uint32_t)before);
    assert_int_equal(ask(&later).code, WM_COAP_CONTINUE);
    assert_true(pool_free() < before - wanted);
    assert_int_equal(ask_plain(WM_COAP_POST, "f/n/a").payload.ptr[0], 1); /* what was moved aside works */
    assert_int_equal(ask(&beyond).code, WM_COAP_TOO_LARGE);
}

static size_t notifications_of(const char *token)
{
    size_t count = 0;
    for (size_t i = 0; i < net.out_count; i++) {
        struct wm_coap_msg msg;
        assert_int_equal(wm_coap_parse(&msg, wm_span(net.out[i].bytes, net.out[i].len)), 0);
        count += wm_span_is(wm_span(msg.token, msg.token_len), token);
    }
    return count;
}

static size_t heard_while_running;
static void   count_then_stop(void)
{
    wm_test_now_ms += 100;
    if (++asked == 40) {
        heard_while_running = notifications_of("54321");
        const struct build b = request(WM_COAP_DELETE, "j/long");
        (void)queue(&b);
    }
}

static void test_node_tells_observers_of_the_log_also_while_a_function_runs(void **state)
{
    (void)state;
    struct build observing = build(WM_COAP_CON, WM_COAP_GET, ++mid, "54321");
    build_opt(&observing, WM_COAP_OBSERVE, "", 0);
    build_opt_str(&observing, WM_COAP_URI_PATH, "d");
    build_opt_str(&observing, WM_COAP_URI_PATH, "log");
    (void)queue(&observing);
    poll();
    pass(2000);
    const size_t before = notifications_of("54321");
    const struct build b = start_job("long", "n/logs");
    (void)queue(&b);
    asked = 0;
    net.when_empty = count_then_stop;
    poll();
    net.when_empty = NULL;
    assert_int_equal(heard_while_running, before + 1);
}

/* ---- block-wise calls ---- */

/* RFC 7959, 2.3: the final reply says which block it answers, whoever gives it. */
static void test_node_echoes_block1_in_the_reply_to_a_call(void **state)
{
    (void)state;
    const uint8_t block[64] = {0};
    struct build  b = request(WM_COAP_POST, "f/n/bytes");
    build_opt_uint(&b, WM_COAP_BLOCK1, BLOCK_MORE | SZX_64);
    build_payload(&b, block, sizeof block);
    struct wm_coap_msg reply = ask(&b);
    assert_int_equal(reply.code, WM_COAP_CONTINUE);
    b = request(WM_COAP_POST, "f/n/bytes");
    build_opt_uint(&b, WM_COAP_BLOCK1, 1 << 4 | SZX_64);
    build_payload(&b, block, 5);
    reply = ask(&b);
    assert_int_equal(reply.code, WM_COAP_CHANGED);
    assert_int_equal(find_uint(&reply, WM_COAP_BLOCK1), 1 << 4 | SZX_64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_node_puts_the_pool_in_order_once_nothing_runs, setup),
        cmocka_unit_test_setup(test_node_survives_two_kinds_of_transfer_with_one_key, setup),
        cmocka_unit_test_setup(test_node_calls_the_export_of_the_whole_name, setup),
        cmocka_unit_test_setup(test_node_frees_the_input_of_a_job_that_is_cancelled_while_it_waits, setup),
        cmocka_unit_test_setup(test_node_keeps_no_output_of_a_job_that_trapped, setup),
        cmocka_unit_test_setup(test_node_tells_all_of_a_job_s_problem, setup),
        cmocka_unit_test_setup(test_node_tells_observers_of_a_job_that_made_room, setup),
        cmocka_unit_test_setup(test_node_forgets_idle_transfers_also_while_a_function_runs, setup),
        cmocka_unit_test_setup(test_node_tells_observers_of_the_log_also_while_a_function_runs, setup),
        cmocka_unit_test_setup(test_node_echoes_block1_in_the_reply_to_a_call, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

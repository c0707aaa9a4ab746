/* coap/endpoint.h: observe (RFC 7641). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coap_world.h"
#include "wasmote/err.h"

#define KEY 42

static int setup(void **state)
{
    world_setup(state);
    world.answer.code = WM_COAP_CONTENT;
    world.answer.body_len = 10;
    world.answer.observe_key = KEY;
    return 0;
}

static struct build observe_request(uint8_t type, uint16_t mid, const char *token, int observe)
{
    struct build b = build(type, WM_COAP_GET, mid, token);
    if (observe >= 0) {
        build_opt_uint(&b, WM_COAP_OBSERVE, (uint32_t)observe);
    }
    build_opt_str(&b, WM_COAP_URI_PATH, "m");
    return b;
}

/* Register; returns the sequence number of the reply. */
static int64_t observe(const struct wm_peer *peer, const char *token)
{
    struct build b = observe_request(WM_COAP_CON, 1, token, 0);
    world_get(peer, &b);
    const struct wm_coap_msg rsp = world_reply(peer, WM_COAP_ACK, WM_COAP_CONTENT);
    return find_uint(&rsp, WM_COAP_OBSERVE);
}

static void change(void)
{
    world.answer.body_len++;
    wm_coap_notify(&world.ep, KEY);
    world_poll();
}

/* The one notification that was sent since. */
static struct wm_coap_msg notification(const struct wm_peer *peer, uint8_t type, const char *token)
{
    const struct wm_coap_msg msg = world_reply(peer, type, WM_COAP_CONTENT);
    assert_true(wm_span_eq(wm_span(msg.token, msg.token_len), wm_span_str(token)));
    assert_int_equal(msg.payload.len, world.answer.body_len);
    return msg;
}

/* Change and take the notification; returns its message ID. */
static uint16_t notified(const struct wm_peer *peer, uint8_t type, const char *token)
{
    world_advance(WM_OBSERVE_MIN_MS);
    change();
    return notification(peer, type, token).mid;
}

static void test_observe_notifies_in_increasing_order(void **state)
{
    (void)state;
    int64_t last = observe(&alice, "t");
    assert_true(last >= 0);
    for (int i = 0; i < 7; i++) {
        world_advance(1000);
        change();
        const struct wm_coap_msg msg = notification(&alice, WM_COAP_NON, "t");
        assert_true(find_uint(&msg, WM_COAP_OBSERVE) > last);
        last = find_uint(&msg, WM_COAP_OBSERVE);
    }
    wm_coap_notify(&world.ep, KEY + 1);
    world_advance(10000);
    world_silent();
}

static void test_observe_sequence_wraps_at_24_bits(void **state)
{
    (void)state;
    world.ep.observe_seq = 0xfffffe;
    assert_int_equal(observe(&alice, "t"), 0xffffff);
    world_advance(1000);
    change();
    const struct wm_coap_msg msg = notification(&alice, WM_COAP_NON, "t");
    assert_int_equal(find_uint(&msg, WM_COAP_OBSERVE), 0);
}

static void test_observe_asks_the_same_question_again(void **state)
{
    (void)state;
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
    build_opt_uint(&b, WM_COAP_OBSERVE, 0);
    build_opt_str(&b, WM_COAP_URI_PATH, "m");
    build_opt_uint(&b, WM_COAP_ACCEPT, 60);
    build_opt_uint(&b, WM_COAP_BLOCK2, 1); /* blocks of 32 */
    world.answer.body_len = 100;
    world_get(&alice, &b);
    const struct wm_coap_msg first = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    assert_true(find_uint(&first, WM_COAP_OBSERVE) >= 0);
    world_advance(1000);
    change();
    const struct wm_coap_msg msg = world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
    assert_int_equal(find_uint(&msg, WM_COAP_BLOCK2), 8 | 1);
    assert_int_equal(find_uint(&msg, WM_COAP_SIZE2), 101);
    assert_int_equal(msg.payload.len, 32);

    /* The rest, with the observation's own token: it goes on. */
    struct build rest = build(WM_COAP_CON, WM_COAP_GET, 2, "t");
    build_opt_str(&rest, WM_COAP_URI_PATH, "m");
    build_opt_uint(&rest, WM_COAP_BLOCK2, 1 << 4 | 1);
    world_get(&alice, &rest);
    const struct wm_coap_msg second = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    assert_int_equal(find_uint(&second, WM_COAP_OBSERVE), -1);
    world_advance(1000);
    change();
    world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
}

static void test_observe_tells_the_latest_state_at_a_bounded_rate(void **state)
{
    (void)state;
    observe(&alice, "t");
    const uint32_t start_ms = world.now_ms;
    size_t         sent = 0;
    for (int ms = 0; ms < 1000; ms += 10) {
        world_advance(10);
        change();
        while (world.seen < world.sent_count) { /* 7 are NON, so no ACK is needed */
            world_sent(&alice);
            sent++;
        }
    }
    assert_in_range(sent, 3, 1 + (world.now_ms - start_ms) / WM_OBSERVE_MIN_MS);
    world_advance(WM_OBSERVE_MIN_MS);
    notification(&alice, WM_COAP_NON, "t"); /* checks that it is the state of now */
    for (size_t i = 1; i < world.sent_count; i++) {
        assert_true(world.sent[i].ms - world.sent[i - 1].ms >= WM_OBSERVE_MIN_MS);
    }
    world_advance(10000);
    world_silent();
}

static void test_observe_every_eighth_is_confirmable(void **state)
{
    (void)state;
    observe(&alice, "t");
    for (int i = 1; i <= 24; i++) {
        const uint16_t mid = notified(&alice, i % 8 == 0 ? WM_COAP_CON : WM_COAP_NON, "t");
        if (i % 8 == 0) {
            world_send_empty(&alice, WM_COAP_ACK, mid);
        }
    }
    assert_int_equal(wm_coap_stats(&world.ep).retransmits, 0);
}

static void test_observe_confirms_once_a_day(void **state)
{
    (void)state;
    observe(&alice, "t");
    notified(&alice, WM_COAP_NON, "t");
    for (int day = 1; day <= 30; day++) { /* half of what 32 bits of milliseconds hold passes without a change */
        for (int s = 0; s < 24 * 3600 + 60 && world.seen == world.sent_count; s++) {
            world_advance(1000);
        }
        const struct wm_coap_msg probe = notification(&alice, WM_COAP_CON, "t");
        world_send_empty(&alice, WM_COAP_ACK, probe.mid);
    }
    notified(&alice, WM_COAP_NON, "t");
}

static void test_observe_ends_when_nobody_is_there_though_nothing_changes(void **state)
{
    (void)state;
    observe(&alice, "t");
    world_advance(25u * 3600u * 1000u);
    assert_int_equal(world.sent_count - world.seen, 1 + WORLD_MAX_RETRANSMIT);
    world.seen = world.sent_count;
    world_advance(48u * 3600u * 1000u);
    change();
    world_silent();
    for (size_t i = 0; i < WM_COAP_OBSERVERS; i++) { /* its place is free again */
        assert_false(world.ep.observers[i].used);
    }
}

/* Up to the first confirmable notification, which stays unanswered; returns its message ID. */
static uint16_t reach_confirmable(void)
{
    observe(&alice, "t");
    for (int i = 1; i < 8; i++) {
        notified(&alice, WM_COAP_NON, "t");
    }
    return notified(&alice, WM_COAP_CON, "t");
}

static void test_observe_repeats_with_the_state_of_now(void **state)
{
    (void)state;
    const uint16_t first = reach_confirmable();
    change(); /* waits for the outstanding one */
    world_advance(WORLD_ACK_TIMEOUT_MS - 1);
    world_silent();
    world_advance(WORLD_ACK_TIMEOUT_MS / 2 + 1);
    const struct wm_coap_msg again = notification(&alice, WM_COAP_CON, "t");
    assert_int_not_equal(again.mid, first);
    world_send_empty(&alice, WM_COAP_ACK, again.mid);
    world_advance(60000);
    world_silent(); /* the change went with the repetition */
    assert_int_equal(wm_coap_stats(&world.ep).retransmits, 1);
    notified(&alice, WM_COAP_NON, "t");
}

static void test_observe_ack_of_an_earlier_try_counts(void **state)
{
    (void)state;
    const uint16_t first = reach_confirmable();
    world_advance(WORLD_ACK_TIMEOUT_MS * 3 / 2);
    notification(&alice, WM_COAP_CON, "t");
    world_send_empty(&alice, WM_COAP_ACK, first);
    world_advance(WM_OBSERVE_MIN_MS); /* it may not have the later one, so it gets the state once more */
    notification(&alice, WM_COAP_NON, "t");
    world_advance(60000);
    world_silent();
}

static void test_observe_change_while_waiting_is_told_after_the_ack(void **state)
{
    (void)state;
    const uint16_t mid = reach_confirmable();
    world_advance(WM_OBSERVE_MIN_MS);
    change();
    world_silent();
    world_send_empty(&alice, WM_COAP_ACK, mid);
    notification(&alice, WM_COAP_NON, "t");
}

static void test_observe_ends_when_nobody_acknowledges(void **state)
{
    (void)state;
    reach_confirmable();
    world_advance(60000);
    assert_int_equal(world.sent_count - world.seen, WORLD_MAX_RETRANSMIT);
    uint32_t pause_ms = world.sent[world.seen].ms - world.sent[world.seen - 1].ms;
    assert_in_range(pause_ms, WORLD_ACK_TIMEOUT_MS, WORLD_ACK_TIMEOUT_MS * 3 / 2);
    for (size_t i = world.seen + 1; i < world.sent_count; i++) {
        pause_ms *= 2;
        assert_int_equal(world.sent[i].ms - world.sent[i - 1].ms, pause_ms);
    }
    assert_int_equal(wm_coap_stats(&world.ep).unanswered, 1);
    world.seen = world.sent_count;
    change();
    world_advance(60000);
    world_silent();
}

static void test_observe_ends_by_reset(void **state)
{
    (void)state;
    for (int back = 0; back < WM_COAP_OBSERVER_MIDS; back++) { /* of an earlier notification too */
        setup(NULL);
        observe(&alice, "t");
        uint16_t mids[WM_COAP_OBSERVER_MIDS];
        for (int i = WM_COAP_OBSERVER_MIDS - 1; i >= 0; i--) {
            mids[i] = notified(&alice, WM_COAP_NON, "t");
            world_send_empty(&bob, WM_COAP_RST, mids[i]); /* not his */
        }
        world_send_empty(&alice, WM_COAP_RST, mids[back]);
        world_advance(1000);
        change();
        world_silent();
    }
    setup(NULL);
    world_send_empty(&alice, WM_COAP_RST, reach_confirmable());
    world_advance(60000);
    world_silent();
}

static void test_observe_reset_of_a_non_registration(void **state)
{
    (void)state;
    struct build b = observe_request(WM_COAP_NON, 1, "t", 0);
    world_get(&alice, &b);
    const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
    assert_true(find_uint(&rsp, WM_COAP_OBSERVE) >= 0);
    world_send_empty(&alice, WM_COAP_RST, rsp.mid);
    world_advance(1000);
    change();
    world_silent();
}

static void test_observe_ends_by_get(void **state)
{
    (void)state;
    for (int value = -1; value <= 1; value += 2) { /* without Observe, and with 1 */
        setup(NULL);
        observe(&alice, "t");
        observe(&alice, "u");
        struct build b = observe_request(WM_COAP_CON, 2, "t", value);
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
        assert_int_equal(find_uint(&rsp, WM_COAP_OBSERVE), -1);
        notified(&alice, WM_COAP_NON, "u"); /* the other one goes on */
    }
}

static void test_observe_again_replaces(void **state)
{
    (void)state;
    const int64_t first = observe(&alice, "t");
    assert_true(observe(&alice, "t") > first);
    notified(&alice, WM_COAP_NON, "t"); /* one, not two */
    observe(&bob, "t");                 /* the same token of another client is another observation */
    world_advance(1000);
    change();
    assert_int_equal(world.sent_count - world.seen, 2);
}

static void test_observe_table_full(void **state)
{
    (void)state;
    assert_true(WM_COAP_OBSERVERS >= 4 && WM_COAP_OBSERVERS < 255);
    for (int i = 0; i < WM_COAP_OBSERVERS; i++) {
        const char token[2] = {(char)(i + 1), 0};
        assert_true(observe(&alice, token) >= 0);
    }
    assert_int_equal(observe(&bob, "x"), -1);
    struct build b = observe_request(WM_COAP_CON, 2, "\1", 1);
    world_get(&alice, &b);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    assert_true(observe(&bob, "x") >= 0);
}

static void test_observe_request_too_large_to_keep(void **state)
{
    (void)state;
    static const char text[WM_COAP_OBSERVE_REQUEST_BYTES + 1];
    for (size_t extra = 0; extra < 2; extra++) {
        struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
        build_opt_uint(&b, WM_COAP_OBSERVE, 0);
        /* 1 byte above, and a head of 2 */
        build_opt(&b, WM_COAP_URI_PATH, text, WM_COAP_OBSERVE_REQUEST_BYTES - 3 + extra);
        world_get(&alice, &b);
        const struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
        assert_int_equal(find_uint(&rsp, WM_COAP_OBSERVE) >= 0, extra == 0);
    }
    world_advance(1000);
    change();
    world_silent(); /* the second one took the place of the first and could not be kept */
}

static void test_observe_only_what_can_be_observed(void **state)
{
    (void)state;
    world.answer.observe_key = 0;
    assert_int_equal(observe(&alice, "t"), -1);
    world.answer.observe_key = KEY;
    world.answer.code = WM_COAP_NOT_FOUND;
    struct build get = observe_request(WM_COAP_CON, 1, "t", 0);
    world_get(&alice, &get);
    world_reply(&alice, WM_COAP_ACK, WM_COAP_NOT_FOUND);
    world.answer.code = WM_COAP_CONTENT;
    struct build post = build(WM_COAP_CON, WM_COAP_POST, 2, "t");
    build_opt_uint(&post, WM_COAP_OBSERVE, 0);
    world_get(&alice, &post);
    struct wm_coap_msg rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    assert_int_equal(find_uint(&rsp, WM_COAP_OBSERVE), -1);
    struct build later = build(WM_COAP_CON, WM_COAP_GET, 3, "t"); /* a block in the middle */
    build_opt_uint(&later, WM_COAP_OBSERVE, 0);
    build_opt_uint(&later, WM_COAP_BLOCK2, 1 << 4);
    world.answer.body_len = 40;
    world_get(&alice, &later);
    rsp = world_reply(&alice, WM_COAP_ACK, WM_COAP_CONTENT);
    assert_int_equal(find_uint(&rsp, WM_COAP_OBSERVE), -1);
    world_advance(1000);
    change();
    world_silent();
}

static void test_observe_ends_with_an_error(void **state)
{
    (void)state;
    observe(&alice, "t");
    world.answer.code = WM_COAP_NOT_FOUND;
    world_advance(1000);
    change();
    const struct wm_coap_msg msg = world_reply(&alice, WM_COAP_NON, WM_COAP_NOT_FOUND);
    assert_int_equal(find_uint(&msg, WM_COAP_OBSERVE), -1);
    world.answer.code = WM_COAP_CONTENT;
    world_advance(1000);
    change();
    world_silent();
}

static void test_observe_ends_when_the_key_changes(void **state)
{
    (void)state;
    observe(&alice, "t");
    world.answer.observe_key = 0;
    world_advance(1000);
    change();
    const struct wm_coap_msg msg = world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
    assert_int_equal(find_uint(&msg, WM_COAP_OBSERVE), -1);
    world_advance(1000);
    change();
    world_silent();
}

/* A notification cannot come later: the handler gets no ticket and has to answer with an error. */
static void test_observe_cannot_be_deferred(void **state)
{
    (void)state;
    observe(&alice, "t");
    world.answer.defer = true;
    world_advance(1000);
    change();
    world_reply(&alice, WM_COAP_NON, WM_COAP_UNAVAILABLE);
}

static void test_observe_says_valid_with_etag(void **state)
{
    (void)state;
    world.answer.etag = "v1";
    struct build b = build(WM_COAP_CON, WM_COAP_GET, 1, "t");
    build_opt_str(&b, WM_COAP_ETAG, "v1");
    build_opt_uint(&b, WM_COAP_OBSERVE, 0);
    world_get(&alice, &b);
    struct wm_coap_msg msg = world_reply(&alice, WM_COAP_ACK, WM_COAP_VALID);
    assert_true(find_uint(&msg, WM_COAP_OBSERVE) >= 0);
    world.answer.etag = "v2";
    world_advance(1000);
    change();
    world_reply(&alice, WM_COAP_NON, WM_COAP_CONTENT);
    world.answer.etag = "v1";
    world_advance(1000);
    change();
    msg = world_reply(&alice, WM_COAP_NON, WM_COAP_VALID);
    assert_true(find_uint(&msg, WM_COAP_OBSERVE) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_observe_notifies_in_increasing_order, setup),
        cmocka_unit_test_setup(test_observe_sequence_wraps_at_24_bits, setup),
        cmocka_unit_test_setup(test_observe_asks_the_same_question_again, setup),
        cmocka_unit_test_setup(test_observe_tells_the_latest_state_at_a_bounded_rate, setup),
        cmocka_unit_test_setup(test_observe_every_eighth_is_confirmable, setup),
        cmocka_unit_test_setup(test_observe_confirms_once_a_day, setup),
        cmocka_unit_test_setup(test_observe_ends_when_nobody_is_there_though_nothing_changes, setup),
        cmocka_unit_test_setup(test_observe_repeats_with_the_state_of_now, setup),
        cmocka_unit_test_setup(test_observe_ack_of_an_earlier_try_counts, setup),
        cmocka_unit_test_setup(test_observe_change_while_waiting_is_told_after_the_ack, setup),
        cmocka_unit_test_setup(test_observe_ends_when_nobody_acknowledges, setup),
        cmocka_unit_test_setup(test_observe_ends_by_reset, setup),
        cmocka_unit_test_setup(test_observe_reset_of_a_non_registration, setup),
        cmocka_unit_test_setup(test_observe_ends_by_get, setup),
        cmocka_unit_test_setup(test_observe_again_replaces, setup),
        cmocka_unit_test_setup(test_observe_table_full, setup),
        cmocka_unit_test_setup(test_observe_request_too_large_to_keep, setup),
        cmocka_unit_test_setup(test_observe_only_what_can_be_observed, setup),
        cmocka_unit_test_setup(test_observe_ends_with_an_error, setup),
        cmocka_unit_test_setup(test_observe_ends_when_the_key_changes, setup),
        cmocka_unit_test_setup(test_observe_cannot_be_deferred, setup),
        cmocka_unit_test_setup(test_observe_says_valid_with_etag, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

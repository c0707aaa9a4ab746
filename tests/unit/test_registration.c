/* coap/registration.h: a node that makes itself known, again before its lifetime ends, and less often while nobody hears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/log.h"
#include "coap/registration.h"
#include "coap_world.h"

#define LIFETIME_S 100

static struct wm_registration reg;

static int setup(void **state)
{
    (void)world_setup(state);
    wm_log_init();
    wm_registration_init(&reg, &world.ep, &alice, "a-node", LIFETIME_S, world.now_ms);
    return 0;
}

/* Second for second, as a node does. */
static void pass(uint32_t seconds)
{
    for (uint32_t i = 0; i < seconds; i++) {
        wm_registration_poll(&reg, world.now_ms);
        world_poll();
        world_advance(1000);
    }
}

/* Until the next request, at most that many seconds; returns how many. */
static uint32_t pass_until_asked(uint32_t seconds)
{
    for (uint32_t passed = 0; passed <= seconds; passed++) {
        wm_registration_poll(&reg, world.now_ms);
        world_poll();
        if (world.seen < world.sent_count) {
            return passed;
        }
        world_advance(1000);
    }
    fail_msg("no request in %u s", seconds);
    return 0;
}

static void respond(const struct wm_coap_msg *req, uint8_t code)
{
    struct build b = build(WM_COAP_ACK, code, req->mid, "");
    b.bytes[0] = (uint8_t)(b.bytes[0] | req->token_len);
    memcpy(b.bytes + b.len, req->token, req->token_len);
    b.len += req->token_len;
    world_get(&alice, &b);
}

static void test_registration_is_what_rfc_9176_asks_for(void **state)
{
    (void)state;
    static const struct {
        uint32_t    number;
        const char *value;
    } wanted[] = {
        {WM_COAP_URI_PATH, ".well-known"},
        {WM_COAP_URI_PATH, "rd"},
        {WM_COAP_URI_QUERY, "ep=a-node"},
        {WM_COAP_URI_QUERY, "lt=100"},
    };
    assert_int_equal(pass_until_asked(0), 0);
    const struct wm_coap_msg req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
    struct wm_coap_opt_iter  iter = wm_coap_opts(&req);
    struct wm_coap_opt       opt;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_true(wm_coap_opts_next(&iter, &opt));
        assert_int_equal(opt.number, wanted[i].number);
        assert_true(wm_span_is(opt.value, wanted[i].value));
    }
    assert_false(wm_coap_opts_next(&iter, &opt));
    assert_int_equal(req.payload.len, 0); /* RFC 9176, 5.1: an empty payload */
}

static void test_registration_is_renewed_in_time(void **state)
{
    (void)state;
    uint32_t least = LIFETIME_S, most = 0;
    for (int i = 0; i < 50; i++) {
        const uint32_t           after = pass_until_asked(LIFETIME_S);
        const struct wm_coap_msg req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
        if (i > 0) {
            least = after < least ? after : least;
            most = after > most ? after : most;
        }
        respond(&req, WM_COAP_CHANGED);
    }
    assert_in_range(least, LIFETIME_S / 2, 65);
    assert_in_range(most, 70, LIFETIME_S * 3 / 4);
}

static void test_registration_backs_off_and_comes_back(void **state)
{
    (void)state;
    static const uint32_t at_most[] = {3, 5, 9, 17, 33, 61, 61, 61}; /* each pause, and the second it takes to notice */
    (void)pass_until_asked(0);
    for (size_t i = 0; i < sizeof at_most / sizeof at_most[0]; i++) {
        const struct wm_coap_msg req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
        respond(&req, i % 2 == 0 ? WM_COAP_UNAVAILABLE : WM_COAP_NOT_FOUND);
        const uint32_t after = pass_until_asked(120);
        assert_in_range(after, (at_most[i] - 1) * 3 / 4, at_most[i]);
    }
    struct wm_coap_msg req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
    respond(&req, WM_COAP_CHANGED);
    assert_in_range(pass_until_asked(LIFETIME_S), LIFETIME_S / 2, LIFETIME_S * 3 / 4);
    req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
    respond(&req, WM_COAP_UNAVAILABLE);
    assert_in_range(pass_until_asked(10), 1, 3); /* the pauses begin anew */
}

static void test_registration_goes_on_after_silence_and_reset(void **state)
{
    (void)state;
    (void)pass_until_asked(0);
    struct wm_coap_msg req = world_sent(&alice);
    pass(60); /* all retransmissions, and the first pauses */
    assert_true(world.seen + WORLD_MAX_RETRANSMIT < world.sent_count);
    bool another = false;
    while (world.seen < world.sent_count) {
        const struct wm_coap_msg sent = world_sent(&alice);
        another = another || sent.mid != req.mid;
        req = sent;
    }
    assert_true(another);
    world_send_empty(&alice, WM_COAP_RST, req.mid);
    (void)pass_until_asked(61);
    req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
    respond(&req, WM_COAP_CHANGED);
    assert_true(pass_until_asked(LIFETIME_S) > 40);
}

static int lines(struct wm_log_line *last)
{
    struct wm_log_line line;
    int                count = 0;
    for (uint32_t from = 0; wm_log_read(from, &line) == 0; from = line.number + 1) {
        *last = line;
        count++;
    }
    return count;
}

/* Why it is not registered is told also of a node that never was. */
static void test_registration_logs_changes_only(void **state)
{
    (void)state;
    static const struct {
        uint8_t     code;
        int         lines;
        const char *last;
    } steps[] = {
        {WM_COAP_FORBIDDEN, 1, "not registered: the directory answers 4.03, the name is another node's"},
        {WM_COAP_FORBIDDEN, 1, "not registered: the directory answers 4.03, the name is another node's"},
        {WM_COAP_CHANGED, 2, "registered"},
        {WM_COAP_CHANGED, 2, "registered"},
        {WM_COAP_UNAVAILABLE, 3, "not registered: the directory answers 5.03"},
        {WM_COAP_CODE(4, 29), 4, "not registered: the directory answers 4.29"},
        {WM_COAP_CHANGED, 5, "registered"},
    };
    struct wm_log_line last = {0};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        (void)pass_until_asked(LIFETIME_S);
        const struct wm_coap_msg req = world_reply(&alice, WM_COAP_CON, WM_COAP_POST);
        respond(&req, steps[i].code);
        assert_int_equal(lines(&last), steps[i].lines);
        assert_true(wm_span_is(last.text, steps[i].last));
    }
    pass(3 * LIFETIME_S); /* nobody answers */
    assert_int_equal(lines(&last), 6);
    assert_true(wm_span_is(last.text, "not registered: the directory does not answer"));
}

/* A node whose exchanges are all taken registers when there is one again. */
static void test_registration_waits_for_an_exchange(void **state)
{
    (void)state;
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        world.ep.exchanges[i].state = WM_EXCHANGE_SENT;
        world.ep.exchanges[i].deadline_ms = world.now_ms + 1000000;
    }
    pass(5);
    world_silent();
    world.ep.exchanges[0].state = WM_EXCHANGE_FREE;
    assert_int_equal(pass_until_asked(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_registration_is_what_rfc_9176_asks_for, setup),
        cmocka_unit_test_setup(test_registration_is_renewed_in_time, setup),
        cmocka_unit_test_setup(test_registration_backs_off_and_comes_back, setup),
        cmocka_unit_test_setup(test_registration_goes_on_after_silence_and_reset, setup),
        cmocka_unit_test_setup(test_registration_logs_changes_only, setup),
        cmocka_unit_test_setup(test_registration_waits_for_an_exchange, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

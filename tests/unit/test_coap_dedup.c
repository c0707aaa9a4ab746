/* coap/dedup.h, against a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "coap/dedup.h"

enum { REQUESTS = 20000, LONGEST = 900, RECORD = 4 };

static struct wm_coap_dedup dd;
static const struct wm_peer peer = {.link = 1, .addr_len = 2, .addr = "ab"};

static struct request {
    bool     stored;
    uint16_t len;
    size_t   at; /* bytes stored in all before it */
} requests[REQUESTS];

static uint32_t random_;
static uint32_t draw(uint32_t below)
{
    random_ = random_ * 1664525u + 1013904223u;
    return (random_ >> 8) % below;
}

/* Many share a bucket, and some the whole hash. */
static uint32_t hash_of(int id)
{
    return (uint32_t)id % 5 * WM_COAP_DEDUP_SLOTS;
}

static uint8_t byte_of(int id, size_t i)
{
    return (uint8_t)((size_t)id * 17 + i * 3);
}

static struct wm_coap_dedup_slot *find(int id, uint32_t now_ms)
{
    return wm_coap_dedup_find(&dd, &peer, (uint16_t)id, hash_of(id), now_ms);
}

static size_t stored_bytes;

static void store(int id, uint32_t now_ms)
{
    struct wm_coap_dedup_slot *slot = find(id, now_ms);
    if (slot == NULL || slot->state != WM_DEDUP_ACKNOWLEDGED) {
        return; /* its slot was recycled meanwhile */
    }
    uint8_t reply[LONGEST];
    for (size_t i = 0; i < requests[id].len; i++) {
        reply[i] = byte_of(id, i);
    }
    wm_coap_dedup_store(&dd, slot, wm_span(reply, requests[id].len), now_ms);
    requests[id].stored = true;
    requests[id].at = stored_bytes;
    stored_bytes += RECORD + ((requests[id].len + 3u) & ~3u);
}

static void check(int id, int newest, uint32_t now_ms, int *answered, int *forgotten)
{
    const struct wm_coap_dedup_slot *slot = find(id, now_ms);
    if (newest - id >= WM_COAP_DEDUP_SLOTS) {
        assert_null(slot);
        return;
    }
    assert_non_null(slot);
    if (!requests[id].stored) {
        assert_int_equal(slot->state, WM_DEDUP_ACKNOWLEDGED);
    } else if (slot->state == WM_DEDUP_FORGOTTEN) {
        /* Only for want of room; a gap at the end of the ring is shorter than the record that did not fit it.
         */
        assert_true(stored_bytes - requests[id].at > WM_COAP_DEDUP_BYTES - 2 * (LONGEST + RECORD));
        ++*forgotten;
    } else {
        assert_int_equal(slot->state, WM_DEDUP_ANSWERED);
        const struct wm_span reply = wm_coap_dedup_reply(&dd, slot);
        assert_int_equal(reply.len, requests[id].len);
        for (size_t i = 0; i < reply.len; i++) {
            assert_int_equal(reply.ptr[i], byte_of(id, i));
        }
        ++*answered;
    }
}

static void test_dedup_agrees_with_a_list(void **state)
{
    (void)state;
    const uint32_t now_ms = UINT32_MAX - 100;
    int            answered = 0, forgotten = 0;
    wm_coap_dedup_init(&dd, 1000);
    for (int id = 0; id < REQUESTS; id++) {
        assert_null(find(id, now_ms));
        const struct wm_coap_dedup_slot *slot =
            wm_coap_dedup_add(&dd, &peer, (uint16_t)id, hash_of(id), now_ms);
        assert_ptr_equal(slot, find(id, now_ms));
        /* In turns: short, of any length, and such that offsets come again in each round of the ring. */
        static const uint16_t lengths[3] = {28, LONGEST, 1};
        requests[id].len = (uint16_t)draw(lengths[id / 500 % 3]);
        if (id / 500 % 3 == 2) {
            requests[id].len = (uint16_t)(16 * draw(5) + 12);
        }
        if (draw(4) != 0) {
            store(id, now_ms);
        }
        if (draw(3) == 0 && id > 3) { /* a late one */
            const int late = id - (int)draw(4);
            if (!requests[late].stored) {
                store(late, now_ms);
            }
        }
        for (int i = 0; i < 4; i++) {
            const int back = (int)draw(WM_COAP_DEDUP_SLOTS + 8);
            if (back <= id) {
                check(id - back, id, now_ms, &answered, &forgotten);
            }
        }
    }
    assert_true(answered > 1000 && forgotten > 100);
    /* Everything was young: each request counts once when it is forgotten, by its reply or as a whole. */
    int lost = REQUESTS - WM_COAP_DEDUP_SLOTS;
    for (int id = REQUESTS - WM_COAP_DEDUP_SLOTS; id < REQUESTS; id++) {
        lost += find(id, now_ms)->state == WM_DEDUP_FORGOTTEN;
    }
    assert_int_equal(dd.evicted, lost);
}

/* One bucket, one message ID: only the hash and the peer tell them apart. */
static void test_dedup_keys_are_exact(void **state)
{
    (void)state;
    struct wm_peer other = peer;
    other.addr[1]++;
    memset(&dd, 0, sizeof dd);
    wm_coap_dedup_init(&dd, 1000);
    const struct wm_coap_dedup_slot *slot = wm_coap_dedup_add(&dd, &peer, 7, 5, 0);
    assert_ptr_equal(wm_coap_dedup_find(&dd, &peer, 7, 5, 999), slot);
    assert_null(wm_coap_dedup_find(&dd, &peer, 7, 5, 1000));
    assert_null(wm_coap_dedup_find(&dd, &peer, 7, 5 + WM_COAP_DEDUP_SLOTS, 0));
    assert_null(wm_coap_dedup_find(&dd, &peer, 8, 5, 0));
    assert_null(wm_coap_dedup_find(&dd, &other, 7, 5, 0));
}

static void test_dedup_hash_looks_at_every_byte(void **state)
{
    (void)state;
    uint8_t bytes[23] = {0};
    for (size_t len = 0; len <= sizeof bytes; len++) {
        const uint32_t h = wm_coap_dedup_hash(&peer, wm_span(bytes, len));
        for (size_t bit = 0; bit < 8 * len; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(wm_coap_dedup_hash(&peer, wm_span(bytes, len)), h);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        struct wm_peer other = peer;
        other.addr[1]++;
        assert_int_not_equal(wm_coap_dedup_hash(&other, wm_span(bytes, len)), h);
    }
}

/* Consecutive message IDs, as a client sends them, spread over the buckets. */
static void test_dedup_hash_spreads(void **state)
{
    (void)state;
    static uint16_t hits[WM_COAP_DEDUP_SLOTS];
    uint8_t         get[] = {0x41, 2, 0, 0, 7, 0xb1, 'f', 3, 'f', 'i', 'b'};
    unsigned        worst = 0;
    for (unsigned mid = 0; mid < 4 * WM_COAP_DEDUP_SLOTS; mid++) {
        get[2] = (uint8_t)(mid >> 8);
        get[3] = (uint8_t)mid;
        get[4] = (uint8_t)mid; /* a token that counts */
        const unsigned n =
            ++hits[wm_coap_dedup_hash(&peer, wm_span(get, sizeof get)) & (WM_COAP_DEDUP_SLOTS - 1)];
        worst = n > worst ? n : worst;
    }
    assert_in_range(worst, 4, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dedup_agrees_with_a_list),
        cmocka_unit_test(test_dedup_keys_are_exact),
        cmocka_unit_test(test_dedup_hash_looks_at_every_byte),
        cmocka_unit_test(test_dedup_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "coap/dedup.h"

#include "base/assert.h"
#include "base/hash.h"
#include "coap/internal.h"

#define NONE 0xffffu

_Static_assert((WM_COAP_DEDUP_SLOTS & (WM_COAP_DEDUP_SLOTS - 1)) == 0 && WM_COAP_DEDUP_SLOTS <= 32768,
               "WM_COAP_DEDUP_SLOTS: a power of two, at most 32768");

/* Before a reply in the ring: whose it is (NONE: nobody's any more) and its length. */
struct record {
    uint16_t slot, len;
};

void wm_coap_dedup_init(struct wm_coap_dedup *dd, uint32_t lifetime_ms)
{
    dd->lifetime_ms = lifetime_ms;
    memset(dd->buckets, 0xff, sizeof dd->buckets);
}

/* The final mixing brings the high bits down, where the buckets look. */
uint32_t wm_coap_dedup_hash(const struct wm_peer *peer, struct wm_span datagram)
{
    const uint32_t h = wm_hash(WM_HASH_START ^ peer->link, wm_span(peer->addr, peer->addr_len));
    const uint32_t whole = wm_hash(h, datagram);
    return whole ^ whole >> 16;
}

static uint16_t *bucket_of(struct wm_coap_dedup *dd, uint32_t hash)
{
    return &dd->buckets[hash & (WM_COAP_DEDUP_SLOTS - 1)];
}

static bool is_young(const struct wm_coap_dedup *dd, const struct wm_coap_dedup_slot *slot, uint32_t now_ms)
{
    return now_ms - slot->time_ms < dd->lifetime_ms;
}

struct wm_coap_dedup_slot *wm_coap_dedup_find(struct wm_coap_dedup *dd, const struct wm_peer *peer,
                                              uint16_t mid, uint32_t hash, uint32_t now_ms)
{
    for (uint16_t i = *bucket_of(dd, hash); i != NONE; i = dd->slots[i].next) {
        struct wm_coap_dedup_slot *slot = &dd->slots[i];
        if (slot->hash == hash && slot->mid == mid && is_young(dd, slot, now_ms) &&
            wm_coap_same_peer(&slot->peer, peer)) {
            return slot;
        }
    }
    return NULL;
}

static void count_eviction(struct wm_coap_dedup *dd, const struct wm_coap_dedup_slot *slot, uint32_t now_ms)
{
    if (is_young(dd, slot, now_ms)) {
        dd->evicted++;
    }
}

/* Make slot i free. */
static void forget(struct wm_coap_dedup *dd, uint16_t i, uint32_t now_ms)
{
    struct wm_coap_dedup_slot *slot = &dd->slots[i];
    uint16_t                  *link = bucket_of(dd, slot->hash);
    while (*link != i) {
        link = &dd->slots[*link].next;
    }
    *link = slot->next;
    if (slot->state == WM_DEDUP_ANSWERED) {
        memcpy(dd->bytes + slot->reply_off, &(uint16_t){NONE}, sizeof(uint16_t));
    }
    if (slot->state != WM_DEDUP_FORGOTTEN) { /* or it was counted when its reply went */
        count_eviction(dd, slot, now_ms);
    }
}

struct wm_coap_dedup_slot *wm_coap_dedup_add(struct wm_coap_dedup *dd, const struct wm_peer *peer,
                                             uint16_t mid, uint32_t hash, uint32_t now_ms)
{
    const uint16_t             i = dd->head;
    struct wm_coap_dedup_slot *slot = &dd->slots[i];
    dd->head = (uint16_t)((i + 1u) & (WM_COAP_DEDUP_SLOTS - 1));
    if (slot->state != WM_DEDUP_FREE) {
        forget(dd, i, now_ms);
    }
    uint16_t *bucket = bucket_of(dd, hash);
    slot->hash = hash;
    slot->time_ms = now_ms;
    slot->mid = mid;
    slot->next = *bucket;
    slot->state = WM_DEDUP_ACKNOWLEDGED;
    slot->peer = *peer;
    *bucket = i;
    return slot;
}

static uint32_t record_bytes(size_t len)
{
    return (uint32_t)(sizeof(struct record) + ((len + 3) & ~(size_t)3));
}

/* Records lie from begin to end, or, once wrapped, from begin to limit and from 0 to end. */
static void drop_oldest_record(struct wm_coap_dedup *dd, uint32_t now_ms)
{
    struct record rec;
    memcpy(&rec, dd->bytes + dd->begin, sizeof rec);
    if (rec.slot != NONE) {
        dd->slots[rec.slot].state = WM_DEDUP_FORGOTTEN;
        count_eviction(dd, &dd->slots[rec.slot], now_ms);
    }
    dd->begin += record_bytes(rec.len);
    dd->records--;
    if (dd->wrapped && dd->begin == dd->limit) {
        dd->begin = 0;
        dd->wrapped = false;
    }
}

static uint32_t take_bytes(struct wm_coap_dedup *dd, uint32_t need, uint32_t now_ms)
{
    for (;;) {
        if (dd->records == 0) {
            dd->begin = dd->end = 0;
            dd->wrapped = false;
        }
        if (!dd->wrapped && need > sizeof dd->bytes - dd->end && need <= dd->begin) {
            dd->limit = dd->end;
            dd->end = 0;
            dd->wrapped = true;
        }
        if (need <= (dd->wrapped ? dd->begin : sizeof dd->bytes) - dd->end) {
            break;
        }
        drop_oldest_record(dd, now_ms);
    }
    const uint32_t off = dd->end;
    dd->end += need;
    dd->records++;
    return off;
}

void wm_coap_dedup_store(struct wm_coap_dedup *dd, struct wm_coap_dedup_slot *slot, struct wm_span reply,
                         uint32_t now_ms)
{
    WM_ASSERT(slot->state == WM_DEDUP_ACKNOWLEDGED && reply.len <= WM_COAP_DEDUP_REPLY_MAX);
    const struct record rec = {.slot = (uint16_t)(slot - dd->slots), .len = (uint16_t)reply.len};
    const uint32_t      off = take_bytes(dd, record_bytes(reply.len), now_ms);
    memcpy(dd->bytes + off, &rec, sizeof rec);
    memcpy(dd->bytes + off + sizeof rec, reply.ptr, reply.len);
    slot->reply_off = off;
    slot->state = WM_DEDUP_ANSWERED;
}

struct wm_span wm_coap_dedup_reply(const struct wm_coap_dedup *dd, const struct wm_coap_dedup_slot *slot)
{
    struct record rec;
    memcpy(&rec, dd->bytes + slot->reply_off, sizeof rec);
    return wm_span(dd->bytes + slot->reply_off + sizeof rec, rec.len);
}

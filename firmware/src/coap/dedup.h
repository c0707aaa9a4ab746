/* dedup.h: which requests were answered, and how, so that a duplicate gets the same bytes and nothing runs
 * twice.
 *
 * A ring of slots, found through hash buckets in O(1), and a ring of bytes with their replies. The oldest
 * make room; what is forgotten before its lifetime has passed is counted. */
#ifndef WM_COAP_DEDUP_H
#define WM_COAP_DEDUP_H

#include "base/span.h"
#include "wasmote/port.h"

enum wm_coap_dedup_state {
    WM_DEDUP_FREE,
    WM_DEDUP_ACKNOWLEDGED, /* the reply is, or will be, a message of its own: a duplicate gets an empty ACK */
    WM_DEDUP_ANSWERED,     /* the reply is in the ring */
    WM_DEDUP_FORGOTTEN,    /* it was; the request must still not run again */
};

struct wm_coap_dedup_slot {
    uint32_t       hash, time_ms;
    uint32_t       reply_off; /* of its record in bytes */
    uint16_t       mid;
    uint16_t       next; /* in its bucket */
    uint8_t        state;
    struct wm_peer peer;
};

struct wm_coap_dedup {
    uint32_t                  lifetime_ms; /* EXCHANGE_LIFETIME */
    uint32_t                  evicted;
    uint16_t                  head; /* slot that is taken next: the oldest, once all are in use */
    bool                      wrapped;
    uint32_t                  records, begin, end, limit; /* of bytes, see dedup.c */
    uint16_t                  buckets[WM_COAP_DEDUP_SLOTS];
    struct wm_coap_dedup_slot slots[WM_COAP_DEDUP_SLOTS];
    uint8_t                   bytes[WM_COAP_DEDUP_BYTES];
};

/* Expects a struct of zeros. */
void wm_coap_dedup_init(struct wm_coap_dedup *dd, uint32_t lifetime_ms);

uint32_t wm_coap_dedup_hash(const struct wm_peer *peer, struct wm_span datagram);

/* The slot of this request, if it is remembered and younger than the lifetime; else NULL. */
struct wm_coap_dedup_slot *wm_coap_dedup_find(struct wm_coap_dedup *dd, const struct wm_peer *peer,
                                              uint16_t mid, uint32_t hash, uint32_t now_ms);

/* Remember a request that is not there yet: as acknowledged, until a reply is stored. */
struct wm_coap_dedup_slot *wm_coap_dedup_add(struct wm_coap_dedup *dd, const struct wm_peer *peer,
                                             uint16_t mid, uint32_t hash, uint32_t now_ms);

/* Keep a copy of the reply, at most WM_COAP_DEDUP_REPLY_MAX bytes. The slot has none yet. */
#define WM_COAP_DEDUP_REPLY_MAX (WM_COAP_DEDUP_BYTES - 4)
void wm_coap_dedup_store(struct wm_coap_dedup *dd, struct wm_coap_dedup_slot *slot, struct wm_span reply,
                         uint32_t now_ms);

/* The reply of a slot that is WM_DEDUP_ANSWERED; borrowed until the next store. */
struct wm_span wm_coap_dedup_reply(const struct wm_coap_dedup *dd, const struct wm_coap_dedup_slot *slot);

#endif

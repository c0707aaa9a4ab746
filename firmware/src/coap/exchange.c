#include "base/assert.h"
#include "coap/internal.h"

struct wm_coap_exchange *wm_coap_exchange_free(struct wm_coap_endpoint *ep)
{
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        if (ep->exchanges[i].state == WM_EXCHANGE_FREE) {
            return &ep->exchanges[i];
        }
    }
    return NULL;
}

void wm_coap_exchange_start(struct wm_coap_endpoint *ep, struct wm_coap_exchange *ex,
                            const struct wm_peer *peer, uint16_t mid, size_t len,
                            wm_coap_on_response *on_response, void *ctx)
{
    WM_ASSERT(ex->state == WM_EXCHANGE_FREE && len <= sizeof ex->buf);
    ex->state = WM_EXCHANGE_SENT;
    ex->tries = 0;
    ex->mid = mid;
    ex->len = (uint16_t)len;
    ex->timeout_ms = wm_coap_first_timeout(ep);
    ex->deadline_ms = ep->now_ms + ex->timeout_ms;
    ex->on_response = on_response;
    ex->ctx = ctx;
    ex->peer = *peer;
    wm_coap_wake_at(ep, ex->deadline_ms);
    wm_coap_send(ep, peer, wm_span(ex->buf, len));
}

void wm_coap_exchange_end(struct wm_coap_exchange *ex, const struct wm_coap_msg *rsp, int err)
{
    ex->state = WM_EXCHANGE_FREE; /* first: the callback may begin the next request here */
    if (ex->on_response != NULL) {
        ex->on_response(ex->ctx, rsp, err);
    }
}

static struct wm_coap_exchange *sent_with(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                                          uint16_t mid)
{
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        struct wm_coap_exchange *ex = &ep->exchanges[i];
        if (ex->state != WM_EXCHANGE_FREE && ex->mid == mid && wm_coap_same_peer(&ex->peer, peer)) {
            return ex;
        }
    }
    return NULL;
}

bool wm_coap_exchange_acked(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid)
{
    struct wm_coap_exchange *ex = sent_with(ep, peer, mid);
    if (ex == NULL) {
        return false;
    }
    if (ex->on_response == NULL) {
        wm_coap_exchange_end(ex, NULL, 0);
    } else if (ex->state == WM_EXCHANGE_SENT) {
        ex->state = WM_EXCHANGE_ACKED;
        ex->deadline_ms = ep->now_ms + ep->response_wait_ms;
        wm_coap_wake_at(ep, ex->deadline_ms);
    }
    return true;
}

bool wm_coap_exchange_reset(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid)
{
    struct wm_coap_exchange *ex = sent_with(ep, peer, mid);
    if (ex != NULL) {
        wm_coap_exchange_end(ex, NULL, WM_ERR_RESET);
    }
    return ex != NULL;
}

static void on_timeout(struct wm_coap_endpoint *ep, struct wm_coap_exchange *ex)
{
    if (ex->state == WM_EXCHANGE_ACKED || ex->tries == ep->config.max_retransmit) {
        ep->stats.unanswered++;
        wm_coap_exchange_end(ex, NULL, WM_ERR_TIMEOUT);
        return;
    }
    ex->tries++;
    ex->timeout_ms = wm_coap_next_timeout(ex->timeout_ms);
    ex->deadline_ms = ep->now_ms + ex->timeout_ms;
    ep->stats.retransmits++;
    wm_coap_wake_at(ep, ex->deadline_ms);
    wm_coap_send(ep, &ex->peer, wm_span(ex->buf, ex->len));
}

void wm_coap_exchange_poll(struct wm_coap_endpoint *ep)
{
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        struct wm_coap_exchange *ex = &ep->exchanges[i];
        if (ex->state == WM_EXCHANGE_FREE) {
            continue;
        }
        if (wm_coap_is_due(ep->now_ms, ex->deadline_ms)) {
            on_timeout(ep, ex);
        } else {
            wm_coap_wake_at(ep, ex->deadline_ms);
        }
    }
}

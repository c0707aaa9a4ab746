#include "base/assert.h"
#include "coap/internal.h"

/* 32 bits, as RFC 7252, 5.3.1 asks for at least where nothing else keeps an off-path attacker out. */
#define TOKEN_BYTES 4

struct wm_coap_writer *wm_coap_client_begin(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                                            uint8_t method)
{
    struct wm_coap_exchange *ex = wm_coap_exchange_free(ep);
    ep->writing = ex;
    if (ex == NULL) {
        return NULL;
    }
    const uint32_t token = wm_coap_random(ep);
    ex->peer = *peer;
    ex->mid = ep->next_mid++;
    wm_coap_write_begin(&ep->writer, ex->buf, sizeof ex->buf, WM_COAP_CON, method, ex->mid,
                        wm_span(&token, TOKEN_BYTES));
    return &ep->writer;
}

int wm_coap_client_commit(struct wm_coap_endpoint *ep, wm_coap_on_response *on_response, void *ctx,
                          uint32_t now_ms)
{
    struct wm_coap_exchange *ex = ep->writing;
    WM_ASSERT(ex != NULL && on_response != NULL);
    ep->writing = NULL;
    ep->now_ms = now_ms;
    const int len = wm_coap_write_finish(&ep->writer);
    if (len < 0) {
        return len;
    }
    const struct wm_peer peer = ex->peer;
    wm_coap_exchange_start(ep, ex, &peer, ex->mid, (size_t)len, on_response, ctx);
    return 0;
}

static bool is_response_to(const struct wm_coap_msg *rsp, const struct wm_peer *peer,
                           const struct wm_coap_exchange *ex)
{
    return ex->state != WM_EXCHANGE_FREE && ex->on_response != NULL &&
           (rsp->type != WM_COAP_ACK || rsp->mid == ex->mid) &&
           wm_span_eq(wm_span(rsp->token, rsp->token_len), wm_span(ex->buf + 4, ex->buf[0] & 0xfu)) &&
           wm_coap_same_peer(&ex->peer, peer);
}

/* A confirmable response comes again if our ACK was lost. By then its exchange is over, so a few are
 * remembered. */
static bool was_acked(const struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid)
{
    for (size_t i = 0; i < WM_COAP_RECENT; i++) {
        if (ep->recent[i].used && ep->recent[i].mid == mid && wm_coap_same_peer(&ep->recent[i].peer, peer)) {
            return true;
        }
    }
    return false;
}

void wm_coap_client_response(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                             const struct wm_coap_msg *rsp)
{
    const bool confirmable = rsp->type == WM_COAP_CON;
    if (confirmable && was_acked(ep, peer, rsp->mid)) {
        ep->stats.duplicates++;
        wm_coap_send_empty(ep, peer, WM_COAP_ACK, rsp->mid);
        return;
    }
    for (size_t i = 0; i < WM_COAP_EXCHANGES; i++) {
        if (!is_response_to(rsp, peer, &ep->exchanges[i])) {
            continue;
        }
        if (confirmable) {
            ep->recent[ep->recent_next].peer = *peer;
            ep->recent[ep->recent_next].mid = rsp->mid;
            ep->recent[ep->recent_next].used = true;
            ep->recent_next = (uint8_t)((ep->recent_next + 1u) % WM_COAP_RECENT);
            wm_coap_send_empty(ep, peer, WM_COAP_ACK, rsp->mid);
        }
        wm_coap_exchange_end(&ep->exchanges[i], rsp, 0);
        return;
    }
    if (confirmable) {
        wm_coap_send_empty(ep, peer, WM_COAP_RST, rsp->mid);
    }
}

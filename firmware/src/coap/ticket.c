#include "base/assert.h"
#include "coap/internal.h"

/* A separate reply has to fit an exchange's buffer, as it may have to be sent again: its blocks are as large
 * as leaves room for the longest head there. The client fetches the rest with Block2. */
#define SEPARATE_PAYLOAD_BYTES (WM_COAP_EXCHANGE_BYTES - WM_COAP_HEAD_BYTES)
_Static_assert(WM_COAP_EXCHANGE_BYTES >= WM_COAP_HEAD_BYTES + 16,
               "WM_COAP_EXCHANGE_BYTES: room for the smallest block");

uint32_t wm_coap_request_hash(struct wm_coap_endpoint *ep, const struct wm_peer *peer)
{
    if (!ep->request_hashed) {
        ep->request_hash = wm_coap_dedup_hash(peer, ep->request);
        ep->request_hashed = true;
    }
    return ep->request_hash;
}

struct wm_coap_ticket *wm_coap_ticket_of(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                                         uint16_t mid, uint32_t hash)
{
    for (size_t i = 0, left = ep->tickets_used; left > 0; i++) {
        struct wm_coap_ticket *ticket = &ep->tickets[i];
        if (!ticket->used) {
            continue;
        }
        if (ticket->hash == hash && ticket->mid == mid && wm_coap_same_peer(&ticket->peer, peer)) {
            return ticket;
        }
        left--;
    }
    return NULL;
}

int wm_coap_defer(struct wm_coap_endpoint *ep, const struct wm_coap_request *req)
{
    if (ep->request.ptr == NULL || ep->tickets_used == WM_COAP_TICKETS) {
        return WM_ERR_NOSPACE;
    }
    int i = 0;
    while (ep->tickets[i].used) {
        i++;
    }
    struct wm_coap_ticket *ticket = &ep->tickets[i];
    ticket->used = true;
    ticket->confirmable = req->msg.type == WM_COAP_CON;
    ticket->acked = false;
    ticket->remembered = false;
    ticket->token_len = req->msg.token_len;
    memcpy(ticket->token, req->msg.token, sizeof ticket->token);
    ticket->mid = req->msg.mid;
    ticket->hash = wm_coap_request_hash(ep, req->peer);
    ticket->ack_ms = ep->now_ms + ep->config.ack_timeout_ms / 2;
    ticket->block1 = req->block1;
    ticket->block2 = req->block2;
    ticket->peer = *req->peer;
    ep->tickets_used++;
    if (ticket->confirmable) {
        wm_coap_wake_at(ep, ticket->ack_ms);
    }
    return i;
}

static struct wm_coap_ticket *ticket_at(struct wm_coap_endpoint *ep, int i)
{
    WM_ASSERT(i >= 0 && i < WM_COAP_TICKETS && ep->tickets[i].used);
    return &ep->tickets[i];
}

static void close_ticket(struct wm_coap_endpoint *ep, struct wm_coap_ticket *ticket)
{
    ticket->used = false;
    ep->tickets_used--;
}

void wm_coap_forget(struct wm_coap_endpoint *ep, int ticket)
{
    close_ticket(ep, ticket_at(ep, ticket));
}

void wm_coap_ticket_ack(struct wm_coap_endpoint *ep, struct wm_coap_ticket *ticket)
{
    if (ticket->confirmable) {
        wm_coap_send_empty(ep, &ticket->peer, WM_COAP_ACK, ticket->mid);
        ticket->acked = true;
    }
}

void wm_coap_ticket_poll(struct wm_coap_endpoint *ep)
{
    for (size_t i = 0, left = ep->tickets_used; left > 0; i++) {
        struct wm_coap_ticket *ticket = &ep->tickets[i];
        if (!ticket->used) {
            continue;
        }
        left--;
        if (!ticket->confirmable || ticket->acked) {
            continue;
        }
        if (wm_coap_is_due(ep->now_ms, ticket->ack_ms)) {
            wm_coap_ticket_ack(ep, ticket);
        } else {
            wm_coap_wake_at(ep, ticket->ack_ms);
        }
    }
}

struct wm_coap_reply *wm_coap_respond_begin(struct wm_coap_endpoint *ep, int i, uint32_t now_ms)
{
    const struct wm_coap_ticket *ticket = ticket_at(ep, i);
    ep->now_ms = now_ms;
    /* Without a free exchange the reply goes out once, non-confirmable (RFC 7252, 5.2.3 leaves the choice).
     */
    ep->reply_exchange = ticket->acked ? wm_coap_exchange_free(ep) : NULL;
    wm_coap_reply_open(ep, &ep->reply, &ticket->block2,
                       ep->reply_exchange != NULL ? wm_coap_szx_within(SEPARATE_PAYLOAD_BYTES)
                                                  : WM_COAP_SZX_ANY);
    ep->reply.block1 = ticket->block1;
    return &ep->reply;
}

void wm_coap_respond_end(struct wm_coap_endpoint *ep, int i)
{
    struct wm_coap_ticket   *ticket = ticket_at(ep, i);
    struct wm_coap_exchange *ex = ep->reply_exchange;
    const bool               piggybacked = ticket->confirmable && !ticket->acked;
    struct wm_coap_reply_to  to = {
        .peer = &ticket->peer,
        .type = piggybacked  ? WM_COAP_ACK
                : ex != NULL ? WM_COAP_CON
                             : WM_COAP_NON,
        .mid = piggybacked ? ticket->mid : ep->next_mid++,
        .token = wm_span(ticket->token, ticket->token_len),
        .block2 = &ticket->block2,
        .observe = -1,
    };
    const struct wm_span message = wm_coap_reply_close(ep, &ep->reply, &to);
    if (ex != NULL) {
        memcpy(ex->buf, message.ptr, message.len);
        wm_coap_exchange_start(ep, ex, &ticket->peer, to.mid, message.len, NULL, NULL);
    } else {
        wm_coap_send(ep, &ticket->peer, message);
    }
    if (ticket->remembered && !ticket->acked) {
        struct wm_coap_dedup_slot *slot =
            wm_coap_dedup_find(&ep->dedup, &ticket->peer, ticket->mid, ticket->hash, ep->now_ms);
        if (slot != NULL) {
            wm_coap_dedup_store(&ep->dedup, slot, message, ep->now_ms);
        }
    }
    close_ticket(ep, ticket);
}

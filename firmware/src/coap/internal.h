/* internal.h: between the files of the endpoint.
 *
 *   endpoint.c  what comes in, and the clock       reply.c     a reply around its payload
 *   ticket.c    replies that come later            dedup.c     duplicates
 *   exchange.c  confirmable messages of our own    observe.c   observers and notifications
 *   client.c    requests of our own                stored.c    a GET kept for later; multicast */
#ifndef WM_COAP_INTERNAL_H
#define WM_COAP_INTERNAL_H

#include "coap/endpoint.h"

/* ---- time: 32 bits of milliseconds, which wrap ---- */

static inline bool wm_coap_is_due(uint32_t now_ms, uint32_t deadline_ms)
{
    return (int32_t)(now_ms - deadline_ms) >= 0;
}

/* Make sure that poll looks at the timers again at deadline_ms. */
static inline void wm_coap_wake_at(struct wm_coap_endpoint *ep, uint32_t deadline_ms)
{
    if ((int32_t)(deadline_ms - ep->wake_ms) < 0) {
        ep->wake_ms = deadline_ms;
    }
}

/* ---- endpoint.c ---- */

void wm_coap_send(struct wm_coap_endpoint *ep, const struct wm_peer *peer, struct wm_span datagram);
void wm_coap_send_empty(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint8_t type, uint16_t mid);
uint32_t wm_coap_random(struct wm_coap_endpoint *ep);
/* ACK_TIMEOUT times 1 to 1.5 (RFC 7252, 4.2), and the one after it. */
uint32_t wm_coap_first_timeout(struct wm_coap_endpoint *ep);
uint32_t wm_coap_next_timeout(uint32_t timeout_ms);

/* ---- reply.c ---- */

/* Where a reply goes and what it answers. All borrowed. */
struct wm_coap_reply_to {
    const struct wm_peer       *peer;
    uint8_t                     type;
    uint16_t                    mid;
    struct wm_span              token;
    const struct wm_coap_block *block2;  /* as asked for */
    int32_t                     observe; /* sequence number; -1: no Observe option */
};

/* The largest SZX whose block fits payload_bytes. */
uint8_t wm_coap_szx_within(size_t payload_bytes);
#define WM_COAP_SZX_ANY 6 /* as much as WM_COAP_PAYLOAD_BYTES allows */

/* Start a reply: its body goes to the window of tx that block2 asks for, in blocks of at most szx_max. */
void wm_coap_reply_open(struct wm_coap_endpoint *ep, struct wm_coap_reply *rep,
                        const struct wm_coap_block *block2, uint8_t szx_max);
/* For a GET: if the client has this representation already, say 2.03 (RFC 7252, 5.10.6.2). */
void wm_coap_reply_validate(struct wm_coap_reply *rep, const struct wm_coap_request *req);
/* Write header and options in front of the body. Returns the message, borrowed from tx. */
struct wm_span wm_coap_reply_close(struct wm_coap_endpoint *ep, struct wm_coap_reply *rep,
                                   const struct wm_coap_reply_to *to);

/* ---- ticket.c ---- */

struct wm_coap_ticket *wm_coap_ticket_of(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                                         uint16_t mid, uint32_t hash);
void wm_coap_ticket_ack(struct wm_coap_endpoint *ep, struct wm_coap_ticket *ticket);
void wm_coap_ticket_poll(struct wm_coap_endpoint *ep);
uint32_t wm_coap_request_hash(struct wm_coap_endpoint *ep, const struct wm_peer *peer);

/* ---- exchange.c ---- */

struct wm_coap_exchange *wm_coap_exchange_free(struct wm_coap_endpoint *ep);
/* Send what is in ex->buf, and again until somebody acknowledges it. */
void wm_coap_exchange_start(struct wm_coap_endpoint *ep, struct wm_coap_exchange *ex,
                            const struct wm_peer *peer, uint16_t mid, size_t len,
                            wm_coap_on_response *on_response, void *ctx);
void wm_coap_exchange_end(struct wm_coap_exchange *ex, const struct wm_coap_msg *rsp, int err);
/* An empty ACK or a RST. Returns whether it was for one of them. */
bool wm_coap_exchange_acked(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid);
bool wm_coap_exchange_reset(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid);
void wm_coap_exchange_poll(struct wm_coap_endpoint *ep);

/* ---- client.c ---- */

void wm_coap_client_response(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                             const struct wm_coap_msg *rsp);

/* ---- stored.c ---- */

/* False: it is too large to keep. */
bool wm_coap_stored_keep(struct wm_coap_stored *st, const struct wm_peer *peer,
                         const struct wm_coap_msg *msg);
/* Ask the handler; the reply is open afterwards. req borrows from st. */
void wm_coap_stored_ask(struct wm_coap_endpoint *ep, const struct wm_coap_stored *st,
                        struct wm_coap_request *req, struct wm_coap_reply *rep);
void wm_coap_delayed_take(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                          const struct wm_coap_msg *msg);
void wm_coap_delayed_poll(struct wm_coap_endpoint *ep);

/* ---- observe.c ---- */

/* A GET came: end the observation that its token stands for, unless it goes on with it. */
void wm_coap_observe_before(struct wm_coap_endpoint *ep, const struct wm_coap_request *req);
/* It was answered: register it if that is asked for and possible. Returns the Observe option's value, or -1.
 * mid: of the reply, if it is not an ACK, else negative. */
int32_t wm_coap_observe_after(struct wm_coap_endpoint *ep, const struct wm_coap_request *req,
                              const struct wm_coap_reply *rep, int32_t mid);
bool wm_coap_observe_acked(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid);
void wm_coap_observe_reset(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid);
void wm_coap_observe_poll(struct wm_coap_endpoint *ep);

#endif

/* endpoint.h: the CoAP message and request/response layers (RFC 7252), observe (RFC 7641).
 *
 * Sans-IO: datagrams come in through wm_coap_input, go out through the send callback, time is a parameter.
 *
 *   datagram -> parse -> duplicate? replay the reply : decode -> handler -> reply -> send
 *
 * A handler answers at once, or takes a ticket and answers later. A ticket's request is acknowledged by
 * itself when it is repeated or after half of ACK_TIMEOUT; its reply is then a message of its own,
 * confirmable if the request was. Handlers may see a safe request twice (GET, FETCH); POST, PUT, DELETE at
 * most once, see docs/PROTOCOL.md 2. */
#ifndef WM_COAP_ENDPOINT_H
#define WM_COAP_ENDPOINT_H

#include "coap/request.h"

struct wm_coap_config {
    void *ctx;
    /* Answer req: fill rep. Leaving rep->code 0 without deferring is a bug. */
    void (*handle)(void *ctx, const struct wm_coap_request *req, struct wm_coap_reply *rep);
    void (*send)(void *ctx, const struct wm_peer *peer, struct wm_span datagram);
    uint32_t ack_timeout_ms; /* 0: WM_COAP_ACK_TIMEOUT_MS */
    uint8_t  max_retransmit; /* 0: WM_COAP_MAX_RETRANSMIT */
    uint32_t seed;           /* unpredictable: first message ID, tokens, jitter */
};

struct wm_coap_stats {
    uint32_t rx, tx, rx_bad, duplicates, evicted, retransmits, unanswered;
};

/* Answers a request of ours. rsp NULL: err says why (WM_ERR_TIMEOUT, WM_ERR_RESET). Borrowed for the call. */
typedef void wm_coap_on_response(void *ctx, const struct wm_coap_msg *rsp, int err);

#include "coap/endpoint_private.h" /* struct wm_coap_endpoint: so that its owner can place it */

void wm_coap_init(struct wm_coap_endpoint *ep, const struct wm_coap_config *config);

/* Take one datagram, and answer it unless its handler defers. */
void wm_coap_input(struct wm_coap_endpoint *ep, const struct wm_peer *peer, struct wm_span datagram,
                   uint32_t now_ms);

/* Retransmissions, late acknowledgements, notifications, leisure. Returns milliseconds until it wants to be
 * called again, at most 60000. */
uint32_t wm_coap_poll(struct wm_coap_endpoint *ep, uint32_t now_ms);

/* ---- tickets: answering later ---- */

/* From within a handler: keep what is needed to answer req later. Returns a ticket >= 0, or WM_ERR_NOSPACE:
 * refuse with 5.03. The handler then sets rep->deferred. Notifications and answers to multicast cannot be
 * deferred: for these it is always WM_ERR_NOSPACE. */
int wm_coap_defer(struct wm_coap_endpoint *ep, const struct wm_coap_request *req);

/* Give a ticket back unused: from within the same handler, which then answers at once. */
void wm_coap_forget(struct wm_coap_endpoint *ep, int ticket);

/* Answer: begin, fill the reply (as in a handler), end. Between the two nothing else of the endpoint may be
 * called. A reply that is a message of its own has blocks that fit WM_COAP_EXCHANGE_BYTES (128 bytes by
 * default); if no exchange is free it is sent once, non-confirmable. */
struct wm_coap_reply *wm_coap_respond_begin(struct wm_coap_endpoint *ep, int ticket, uint32_t now_ms);
void wm_coap_respond_end(struct wm_coap_endpoint *ep, int ticket);

/* ---- observe ---- */

/* What is observed under key has changed: its observers hear of it, at most once in WM_OBSERVE_MIN_MS each,
 * the latest state. */
void wm_coap_notify(struct wm_coap_endpoint *ep, uint32_t key);

/* ---- client ---- */

/* Begin a confirmable request to peer; add options and payload to the writer; commit sends it. One response
 * or one error reaches on_response. Returns NULL: no exchange free. */
struct wm_coap_writer *wm_coap_client_begin(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                                            uint8_t method);
/* Returns 0 or WM_ERR_NOSPACE: the request was too large and is forgotten. */
int wm_coap_client_commit(struct wm_coap_endpoint *ep, wm_coap_on_response *on_response, void *ctx,
                          uint32_t now_ms);

struct wm_coap_stats wm_coap_stats(const struct wm_coap_endpoint *ep);

#endif

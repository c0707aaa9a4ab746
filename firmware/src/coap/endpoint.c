#include "coap/endpoint.h"

#include "base/assert.h"
#include "coap/internal.h"

#define POLL_MAX_MS    60000u
#define TIMEOUT_MAX_MS 0x20000000u /* six days: half of what 32-bit time can tell apart, twice over */

/* RFC 7252, 4.8.2, in milliseconds. */
#define MAX_LATENCY_MS       100000u
#define RESPONSE_WAIT_MAX_MS 247000u

/* ACK_TIMEOUT * (2^tries - 1) * ACK_RANDOM_FACTOR + more */
static uint32_t span_ms(const struct wm_coap_config *config, unsigned tries, uint32_t more)
{
    const uint64_t ms =
        (uint64_t)config->ack_timeout_ms * (((uint64_t)1 << (tries < 31 ? tries : 31)) - 1) * 3 / 2 + more;
    return ms < TIMEOUT_MAX_MS ? (uint32_t)ms : TIMEOUT_MAX_MS;
}

void wm_coap_init(struct wm_coap_endpoint *ep, const struct wm_coap_config *config)
{
    WM_ASSERT(config->handle != NULL && config->send != NULL);
    memset(ep, 0, sizeof *ep);
    ep->config = *config;
    if (ep->config.ack_timeout_ms == 0) {
        ep->config.ack_timeout_ms = WM_COAP_ACK_TIMEOUT_MS;
    }
    if (ep->config.max_retransmit == 0) {
        ep->config.max_retransmit = WM_COAP_MAX_RETRANSMIT;
    }
    const struct wm_coap_config *c = &ep->config;
    wm_coap_dedup_init(&ep->dedup, span_ms(c, c->max_retransmit, 2 * MAX_LATENCY_MS + c->ack_timeout_ms));
    ep->response_wait_ms = span_ms(c, c->max_retransmit + 1u, 0);
    if (ep->response_wait_ms > RESPONSE_WAIT_MAX_MS) {
        ep->response_wait_ms = RESPONSE_WAIT_MAX_MS;
    }
    ep->next_mid = (uint16_t)wm_coap_random(ep);
    ep->wake_now = true;
}

struct wm_coap_stats wm_coap_stats(const struct wm_coap_endpoint *ep)
{
    struct wm_coap_stats stats = ep->stats;
    stats.evicted = ep->dedup.evicted;
    return stats;
}

/* A counter through an integer mixer, started at the seed. Not cryptographic: it keeps tokens and message IDs
 * from being guessed without seeing one, no more. */
uint32_t wm_coap_random(struct wm_coap_endpoint *ep)
{
    uint32_t x = ep->config.seed + 0x9e3779b9u * ++ep->random_count;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

uint32_t wm_coap_first_timeout(struct wm_coap_endpoint *ep)
{
    return ep->config.ack_timeout_ms + wm_coap_random(ep) % (ep->config.ack_timeout_ms / 2 + 1);
}

uint32_t wm_coap_next_timeout(uint32_t timeout_ms)
{
    return timeout_ms < TIMEOUT_MAX_MS / 2 ? timeout_ms * 2 : TIMEOUT_MAX_MS;
}

void wm_coap_send(struct wm_coap_endpoint *ep, const struct wm_peer *peer, struct wm_span datagram)
{
    ep->stats.tx++;
    ep->config.send(ep->config.ctx, peer, datagram);
}

void wm_coap_send_empty(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint8_t type, uint16_t mid)
{
    uint8_t               raw[4];
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, raw, sizeof raw, type, WM_COAP_EMPTY, mid, wm_span(NULL, 0));
    wm_coap_send(ep, peer, wm_span(raw, sizeof raw));
}

/* ---- requests ---- */

static void refuse(struct wm_coap_reply *rep, uint8_t code)
{
    switch (code) {
    case WM_COAP_BAD_OPTION:
        wm_problem(rep, code, "bad option",
                   "a critical option is unknown, repeated, too long or one too many");
        break;
    case WM_COAP_PROXYING_UNSUPPORTED:
        wm_problem(rep, code, "no proxying", "leave out Proxy-Uri and Proxy-Scheme");
        break;
    default:
        wm_problem(rep, code, "bad block option", "at most 3 bytes, SZX 0 to 6");
        break;
    }
}

static void send_reply(struct wm_coap_endpoint *ep, const struct wm_coap_request *req,
                       struct wm_coap_reply *rep, struct wm_coap_dedup_slot *slot)
{
    const bool              confirmable = req->msg.type == WM_COAP_CON;
    struct wm_coap_reply_to to = {
        .peer = req->peer,
        .type = confirmable ? WM_COAP_ACK : WM_COAP_NON,
        .mid = confirmable ? req->msg.mid : ep->next_mid++,
        .token = wm_span(req->msg.token, req->msg.token_len),
        .block2 = &req->block2,
        .observe = -1,
    };
    if (req->method == WM_COAP_GET) {
        wm_coap_reply_validate(rep, req);
        to.observe = wm_coap_observe_after(ep, req, rep, confirmable ? -1 : to.mid);
    }
    const struct wm_span message = wm_coap_reply_close(ep, rep, &to);
    wm_coap_send(ep, req->peer, message);
    if (slot != NULL) {
        wm_coap_dedup_store(&ep->dedup, slot, message, ep->now_ms);
    }
}

/* A request that was here before and must not run again. */
static void answer_again(struct wm_coap_endpoint *ep, const struct wm_coap_request *req,
                         const struct wm_coap_dedup_slot *slot)
{
    ep->stats.duplicates++;
    if (slot->state == WM_DEDUP_ANSWERED) {
        wm_coap_send(ep, req->peer, wm_coap_dedup_reply(&ep->dedup, slot));
    } else if (slot->state == WM_DEDUP_FORGOTTEN) {
        struct wm_coap_reply rep;
        wm_coap_reply_open(ep, &rep, &req->block2, WM_COAP_SZX_ANY);
        rep.body.skip = 0;
        wm_problem(&rep, WM_COAP_INTERNAL_ERROR, "reply forgotten",
                   "the request was carried out; its reply is no longer here");
        send_reply(ep, req, &rep, NULL);
    } else if (req->msg.type == WM_COAP_CON) {
        wm_coap_send_empty(ep, req->peer, WM_COAP_ACK, req->msg.mid);
    }
}

static void handle_request(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                           const struct wm_coap_msg *msg, struct wm_span datagram)
{
    struct wm_coap_request req;
    struct wm_coap_reply   rep;
    ep->request = datagram;
    ep->request_hashed = false;
    if (ep->tickets_used > 0) {
        struct wm_coap_ticket *ticket = wm_coap_ticket_of(ep, peer, msg->mid, wm_coap_request_hash(ep, peer));
        if (ticket != NULL) {
            ep->stats.duplicates++;
            wm_coap_ticket_ack(ep, ticket);
            return;
        }
    }
    const int refusal = wm_coap_request_decode(&req, peer, msg);
    if (refusal != 0) {
        if (refusal == WM_COAP_BAD_OPTION && msg->type == WM_COAP_NON) {
            return; /* RFC 7252, 5.4.1 */
        }
        req.block2.present = false; /* may be the bad one */
        wm_coap_reply_open(ep, &rep, &req.block2, WM_COAP_SZX_ANY);
        refuse(&rep, (uint8_t)refusal);
        send_reply(ep, &req, &rep, NULL);
        return;
    }
    const bool safe = req.method == WM_COAP_GET || req.method == WM_COAP_FETCH;
    if (!safe) {
        const struct wm_coap_dedup_slot *slot =
            wm_coap_dedup_find(&ep->dedup, peer, msg->mid, wm_coap_request_hash(ep, peer), ep->now_ms);
        if (slot != NULL) {
            answer_again(ep, &req, slot);
            return;
        }
    } else if (req.method == WM_COAP_GET) {
        wm_coap_observe_before(ep, &req);
    }
    wm_coap_reply_open(ep, &rep, &req.block2, WM_COAP_SZX_ANY);
    ep->config.handle(ep->config.ctx, &req, &rep);
    struct wm_coap_dedup_slot *slot = NULL;
    if (!safe) {
        slot = wm_coap_dedup_add(&ep->dedup, peer, msg->mid, wm_coap_request_hash(ep, peer), ep->now_ms);
    }
    if (rep.deferred) {
        struct wm_coap_ticket *ticket = wm_coap_ticket_of(ep, peer, msg->mid, wm_coap_request_hash(ep, peer));
        WM_ASSERT(ticket != NULL); /* deferred without a ticket */
        ticket->remembered = !safe;
    } else {
        send_reply(ep, &req, &rep, slot);
    }
}

/* ---- datagrams ---- */

static void take(struct wm_coap_endpoint *ep, const struct wm_peer *peer, const struct wm_coap_msg *msg,
                 struct wm_span datagram)
{
    const unsigned class = msg->code >> 5;
    const bool     is_response = class >= 2 && class <= 5;
    switch (msg->type) {
    case WM_COAP_ACK:
        if (is_response) {
            wm_coap_client_response(ep, peer, msg);
        } else if (msg->code == WM_COAP_EMPTY && !wm_coap_exchange_acked(ep, peer, msg->mid)) {
            (void)wm_coap_observe_acked(ep, peer, msg->mid);
        }
        return;
    case WM_COAP_RST:
        if (msg->code == WM_COAP_EMPTY && !wm_coap_exchange_reset(ep, peer, msg->mid)) {
            wm_coap_observe_reset(ep, peer, msg->mid);
        }
        return;
    default:
        break;
    }
    if (is_response) {
        wm_coap_client_response(ep, peer, msg);
    } else if (class == 0 && msg->code != WM_COAP_EMPTY) {
        handle_request(ep, peer, msg, datagram);
        ep->request = wm_span(NULL, 0);
    } else if (msg->type == WM_COAP_CON) { /* a ping, or a reserved class (RFC 7252, 4.2) */
        wm_coap_send_empty(ep, peer, WM_COAP_RST, msg->mid);
    }
}

void wm_coap_input(struct wm_coap_endpoint *ep, const struct wm_peer *peer, struct wm_span datagram,
                   uint32_t now_ms)
{
    struct wm_coap_msg msg;
    ep->now_ms = now_ms;
    ep->stats.rx++;
    const int err = wm_coap_parse(&msg, datagram);
    if (err != 0) {
        ep->stats.rx_bad++;
        /* Another version is not even reset (RFC 7252, 3). */
        if (err == WM_ERR_MALFORMED && msg.type == WM_COAP_CON && datagram.ptr[0] >> 6 == 1 &&
            !peer->multicast) {
            wm_coap_send_empty(ep, peer, WM_COAP_RST, msg.mid);
        }
    } else if (peer->multicast) {
        wm_coap_delayed_take(ep, peer, &msg);
    } else {
        take(ep, peer, &msg, datagram);
    }
}

uint32_t wm_coap_poll(struct wm_coap_endpoint *ep, uint32_t now_ms)
{
    ep->now_ms = now_ms;
    if (ep->wake_now || wm_coap_is_due(now_ms, ep->wake_ms)) {
        ep->wake_now = false;
        ep->wake_ms = now_ms + POLL_MAX_MS;
        wm_coap_ticket_poll(ep);
        wm_coap_exchange_poll(ep);
        wm_coap_observe_poll(ep);
        wm_coap_delayed_poll(ep);
    }
    if (ep->wake_now || wm_coap_is_due(now_ms, ep->wake_ms)) {
        return 0;
    }
    return ep->wake_ms - now_ms;
}

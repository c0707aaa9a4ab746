#include "coap/internal.h"

bool wm_coap_stored_keep(struct wm_coap_stored *st, const struct wm_peer *peer, const struct wm_coap_msg *msg)
{
    if (msg->options.len > sizeof st->options) {
        return false;
    }
    st->peer = *peer;
    st->token_len = msg->token_len;
    memcpy(st->token, msg->token, sizeof st->token);
    st->options_len = (uint8_t)msg->options.len;
    memcpy(st->options, msg->options.ptr, msg->options.len);
    return true;
}

void wm_coap_stored_ask(struct wm_coap_endpoint *ep, const struct wm_coap_stored *st,
                        struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    struct wm_coap_msg msg = {
        .type = WM_COAP_NON,
        .code = WM_COAP_GET,
        .token_len = st->token_len,
        .options = wm_span(st->options, st->options_len),
    };
    memcpy(msg.token, st->token, sizeof msg.token);
    const int code = wm_coap_request_decode(req, &st->peer, &msg);
    wm_coap_reply_open(ep, rep, &req->block2, WM_COAP_SZX_ANY);
    if (code != 0) {
        rep->code = (uint8_t)code; /* a multicast request: nobody gets to see it */
        return;
    }
    ep->config.handle(ep->config.ctx, req, rep);
    wm_coap_reply_validate(rep, req);
}

/* ---- multicast: RFC 7252, 8 ---- */

void wm_coap_delayed_take(struct wm_coap_endpoint *ep, const struct wm_peer *peer,
                          const struct wm_coap_msg *msg)
{
    if (msg->type != WM_COAP_NON || msg->code != WM_COAP_GET) {
        return;
    }
    for (size_t i = 0; i < WM_COAP_DELAYED; i++) {
        struct wm_coap_delayed *delayed = &ep->delayed[i];
        if (delayed->used || !wm_coap_stored_keep(&delayed->request, peer, msg)) {
            continue;
        }
        delayed->used = true;
        delayed->due_ms = ep->now_ms + wm_coap_random(ep) % (WM_COAP_LEISURE_MS + 1u);
        wm_coap_wake_at(ep, delayed->due_ms);
        return;
    }
}

static void answer(struct wm_coap_endpoint *ep, struct wm_coap_delayed *delayed)
{
    struct wm_coap_request req;
    struct wm_coap_reply   rep;
    delayed->used = false;
    wm_coap_stored_ask(ep, &delayed->request, &req, &rep);
    if (rep.code >= WM_COAP_BAD_REQUEST || rep.body.total == 0) {
        return; /* nothing to say, so say nothing (8.2; RFC 6690, 4.1) */
    }
    const struct wm_coap_reply_to to = {
        .peer = &delayed->request.peer,
        .type = WM_COAP_NON,
        .mid = ep->next_mid++,
        .token = wm_span(delayed->request.token, delayed->request.token_len),
        .block2 = &req.block2,
        .observe = -1,
    };
    const struct wm_span message = wm_coap_reply_close(ep, &rep, &to);
    if (rep.code < WM_COAP_BAD_REQUEST) { /* close refuses a block beyond the end */
        wm_coap_send(ep, to.peer, message);
    }
}

void wm_coap_delayed_poll(struct wm_coap_endpoint *ep)
{
    for (size_t i = 0; i < WM_COAP_DELAYED; i++) {
        struct wm_coap_delayed *delayed = &ep->delayed[i];
        if (!delayed->used) {
            continue;
        }
        if (wm_coap_is_due(ep->now_ms, delayed->due_ms)) {
            answer(ep, delayed);
        } else {
            wm_coap_wake_at(ep, delayed->due_ms);
        }
    }
}

#include "coap/registration.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/log.h"
#include "coap/internal.h"

/* A directory that is away: retransmissions have taken a minute and a half by then (RFC 7252, 4.8.2); one that refuses is
 * asked at this pace. */
#define PAUSE_MIN_MS 2000u
#define PAUSE_MAX_MS 60000u

void wm_registration_init(struct wm_registration *reg, struct wm_coap_endpoint *coap, const struct wm_peer *directory,
                          const char *ep, uint32_t lifetime_s, uint32_t now_ms)
{
    WM_ASSERT(lifetime_s <= WM_REGISTER_LIFETIME_MAX_S);
    *reg = (struct wm_registration){
        .coap = coap,
        .directory = *directory,
        .ep = ep,
        .lifetime_s = lifetime_s != 0 ? lifetime_s : WM_REGISTER_LIFETIME_S,
        .next_ms = now_ms,
        .pause_ms = PAUSE_MIN_MS,
    };
}

/* Say how it stands, each time that this changes. */
static void tell(struct wm_registration *reg, uint8_t outcome)
{
    if (outcome == reg->told) {
        return;
    }
    reg->told = outcome;
    const uint32_t now_ms = reg->coap->now_ms;
    if (outcome == WM_COAP_CHANGED) {
        wm_log_printf(now_ms, WM_LOG_INFO, "registered");
    } else if (outcome == WM_REGISTRATION_SILENT) {
        wm_log_printf(now_ms, WM_LOG_WARNING, "not registered: the directory does not answer");
    } else {
        const unsigned detail = outcome & 0x1fu;
        wm_log_printf(now_ms, WM_LOG_WARNING, "not registered: the directory answers %u.%u%u%s", outcome >> 5, detail / 10,
                      detail % 10, outcome == WM_COAP_FORBIDDEN ? ", the name is another node's" : "");
    }
}

static void on_response(void *ctx, const struct wm_coap_msg *rsp, int err)
{
    (void)err;
    struct wm_registration *reg = ctx;
    const uint32_t          now_ms = reg->coap->now_ms;
    const bool              known = rsp != NULL && rsp->code >> 5 == 2;
    uint32_t                wait_ms;
    reg->asked = false;
    if (known) {
        reg->pause_ms = PAUSE_MIN_MS;
        wait_ms = reg->lifetime_s * 750u; /* a quarter of the lifetime is left for a directory that is away */
    } else {
        wait_ms = reg->pause_ms;
        reg->pause_ms = 2 * wait_ms < PAUSE_MAX_MS ? 2 * wait_ms : PAUSE_MAX_MS;
    }
    tell(reg, known ? (uint8_t)WM_COAP_CHANGED : rsp != NULL ? rsp->code : WM_REGISTRATION_SILENT);
    /* Many nodes that were switched on, or lost their directory, together do not come back together. */
    reg->next_ms = now_ms + wait_ms - wm_coap_random(reg->coap) % (wait_ms / 4 + 1);
}

void wm_registration_poll(struct wm_registration *reg, uint32_t now_ms)
{
    if (reg->asked || !wm_coap_is_due(now_ms, reg->next_ms)) {
        return;
    }
    struct wm_coap_writer *w = wm_coap_client_begin(reg->coap, &reg->directory, WM_COAP_POST);
    if (w == NULL) {
        return; /* all exchanges are in use: at the next poll */
    }
    char      query[3 + 64];
    const int len = wm_format(query, sizeof query, "ep=%s", reg->ep);
    wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span_str(".well-known"));
    wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span_str("rd"));
    wm_coap_write_opt(w, WM_COAP_URI_QUERY, wm_span(query, (size_t)len));
    const int lt_len = wm_format(query, sizeof query, "lt=%lu", (unsigned long)reg->lifetime_s);
    wm_coap_write_opt(w, WM_COAP_URI_QUERY, wm_span(query, (size_t)lt_len));
    reg->asked = true;
    const int err = wm_coap_client_commit(reg->coap, on_response, reg, now_ms);
    WM_ASSERT(err == 0); /* 150 bytes at most; an exchange has more */
}

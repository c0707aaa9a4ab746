/* registration.h: how a node makes itself known: simple registration at a resource directory (RFC 9176, 5.1).
 *
 * The node asks `POST /.well-known/rd?ep=NAME&lt=SECONDS`; the directory then reads /.well-known/core where the request came
 * from. It is done again before the lifetime ends. While nobody answers, or with an error, the pauses get longer. */
#ifndef WM_COAP_REGISTRATION_H
#define WM_COAP_REGISTRATION_H

#include "coap/endpoint.h"

struct wm_registration {
    struct wm_coap_endpoint *coap;
    struct wm_peer           directory;
    const char              *ep;         /* borrowed for good */
    uint32_t                 lifetime_s; /* at most WM_REGISTER_LIFETIME_MAX_S */
    uint32_t                 next_ms, pause_ms;
    bool                     asked; /* a request is under way */
    uint8_t                  told;  /* what the log says: a code; WM_REGISTRATION_SILENT; 0: nothing yet */
};

#define WM_REGISTRATION_SILENT     0xffu /* no response code */
#define WM_REGISTER_LIFETIME_MAX_S (14u * 24u * 3600u) /* below half of what 32 bits of milliseconds tell apart */

/* Begin; the first request goes out at the first poll. directory is copied. lifetime_s 0: WM_REGISTER_LIFETIME_S. */
void wm_registration_init(struct wm_registration *reg, struct wm_coap_endpoint *coap, const struct wm_peer *directory,
                          const char *ep, uint32_t lifetime_s, uint32_t now_ms);

/* Register if it is time. To be called about once a second, before wm_coap_poll. */
void wm_registration_poll(struct wm_registration *reg, uint32_t now_ms);

#endif

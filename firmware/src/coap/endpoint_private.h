/* endpoint_private.h: what an endpoint is made of. Its owner needs the size, nobody else the fields. */
#ifndef WM_COAP_ENDPOINT_PRIVATE_H
#define WM_COAP_ENDPOINT_PRIVATE_H

#include "coap/dedup.h"

/* Room before a reply's payload: header, token, and at most eight options of reply.c with their marker. */
#define WM_COAP_HEAD_BYTES 64
#define WM_COAP_TX_BYTES   (WM_COAP_HEAD_BYTES + WM_COAP_PAYLOAD_BYTES)

#define WM_COAP_DELAYED       2 /* multicast requests that wait for their leisure */
#define WM_COAP_RECENT        4 /* confirmable responses that we acknowledged */
#define WM_COAP_OBSERVER_MIDS 4 /* notifications that an ACK or RST is matched with */

/* A GET that is kept to be asked (again) later. */
struct wm_coap_stored {
    struct wm_peer peer;
    uint8_t        token_len, options_len;
    uint8_t        token[WM_COAP_TOKEN_BYTES];
    uint8_t        options[WM_COAP_OBSERVE_REQUEST_BYTES];
};

/* A request whose reply comes later. */
struct wm_coap_ticket {
    bool                 used, confirmable, acked, remembered;
    uint8_t              token_len;
    uint8_t              token[WM_COAP_TOKEN_BYTES];
    uint16_t             mid;
    uint32_t             hash;
    uint32_t             ack_ms; /* when it is acknowledged by itself at the latest */
    struct wm_coap_block block1, block2;
    struct wm_peer       peer;
};

enum wm_coap_exchange_state { WM_EXCHANGE_FREE, WM_EXCHANGE_SENT, WM_EXCHANGE_ACKED };

/* A confirmable message of our own: a separate reply or a request. */
struct wm_coap_exchange {
    uint8_t              state;
    uint8_t              tries;
    uint16_t             mid, len;
    uint32_t             deadline_ms, timeout_ms;
    wm_coap_on_response *on_response; /* NULL: a reply */
    void                *ctx;
    struct wm_peer       peer;
    uint8_t              buf[WM_COAP_EXCHANGE_BYTES]; /* the message; its token is read from here */
};

struct wm_coap_observer {
    bool                  used, changed;
    bool                  waiting; /* for the ACK of a confirmable notification */
    uint8_t               tries;
    uint8_t               since_con; /* notifications since the last confirmable one */
    uint8_t               mid_count;
    uint16_t              mids[WM_COAP_OBSERVER_MIDS]; /* the latest first */
    uint32_t              key;
    uint32_t              next_ms;                 /* no notification before */
    uint32_t              deadline_ms, timeout_ms; /* while waiting */
    uint32_t              con_ms;                  /* when the client was last known to be there */
    struct wm_coap_stored request;
};

struct wm_coap_delayed {
    bool                  used;
    uint32_t              due_ms;
    struct wm_coap_stored request;
};

struct wm_coap_endpoint {
    struct wm_coap_config config;
    struct wm_coap_stats  stats;
    uint32_t              random_count;
    uint32_t              response_wait_ms; /* for the response to an acknowledged request of ours */
    uint32_t              observe_seq;
    uint32_t              now_ms;  /* of the last call that was given the time */
    uint32_t              wake_ms; /* no timer ends before */
    bool                  wake_now;
    uint16_t              next_mid;
    uint16_t              tickets_used;
    uint16_t              observers_top; /* no observer at or above this place has ever been used */

    /* The request that the handler has now; ptr NULL: it has none that could be deferred. */
    struct wm_span request;
    uint32_t       request_hash;
    bool           request_hashed;

    /* Between respond_begin and respond_end. */
    struct wm_coap_reply     reply;
    struct wm_coap_exchange *reply_exchange;

    struct wm_coap_writer    writer; /* of the request of ours that is being written */
    struct wm_coap_exchange *writing;

    struct {
        struct wm_peer peer;
        uint16_t       mid;
        bool           used;
    } recent[WM_COAP_RECENT];
    uint8_t recent_next;

    struct wm_coap_ticket   tickets[WM_COAP_TICKETS];
    struct wm_coap_exchange exchanges[WM_COAP_EXCHANGES];
    struct wm_coap_observer observers[WM_COAP_OBSERVERS];
    struct wm_coap_delayed  delayed[WM_COAP_DELAYED];
    struct wm_coap_dedup    dedup;
    uint8_t                 tx[WM_COAP_TX_BYTES];
};

#endif

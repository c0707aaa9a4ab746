/* rpc.h: calls of other functions that functions ask for: on to the fleet server, which runs them (docs/PROTOCOL.md 3.8).
 *
 * A request is taken with all its data, or dropped: nobody waits. Its data go out at once, or in blocks; each message is
 * confirmable, and what remains unanswered is not asked again, since the server may have it. */
#ifndef WM_COAP_RPC_H
#define WM_COAP_RPC_H

#include "base/blob.h"
#include "coap/endpoint.h"

#define WM_RPC_NAME_BYTES 127           /* of what is to be called */
#define WM_RPC_DATA_BYTES (64u * 1024u) /* as much as the server takes */

struct wm_rpc;

struct wm_rpc_request {
    struct wm_rpc *rpc;
    struct wm_blob blob; /* name, function, context, data; empty: a free place */
    uint8_t        name_len, function_len, context_len;
    uint8_t        szx;         /* blocks are no larger */
    bool           asked;       /* a message is under way */
    uint16_t       tag;         /* Request-Tag, where there are blocks */
    uint32_t       sent, after; /* bytes of data that the server has, and will have once it has answered */
};

struct wm_rpc {
    struct wm_coap_endpoint *coap;
    struct wm_heap          *pool;
    const struct wm_peer    *server; /* borrowed; NULL: there is none */
    const char              *ep;     /* borrowed */
    uint32_t                 queued, failed, dropped; /* by the server; not by it; not even sent */
    uint32_t                 warned_ms;
    bool                     warned;
    uint16_t                 tag;
    struct wm_rpc_request    requests[WM_RPCS];
};

/* pool: where requests wait. Its keeper calls packed. */
void wm_rpc_init(struct wm_rpc *rpc, struct wm_coap_endpoint *coap, struct wm_heap *pool, const struct wm_peer *server,
                 const char *ep);
void wm_rpc_packed(struct wm_rpc *rpc, const void *first);

/* Take a request from a function: what to call with which data, and the context of its own call, which may be empty. */
void wm_rpc_ask(struct wm_rpc *rpc, struct wm_span function, struct wm_span context, struct wm_span name, struct wm_span data,
                uint32_t now_ms);

/* Send what waits to be sent. Before wm_coap_poll. */
void wm_rpc_poll(struct wm_rpc *rpc, uint32_t now_ms);

#endif

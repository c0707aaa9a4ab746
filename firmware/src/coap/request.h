/* request.h: what a resource sees of a request, and what it says in reply. */
#ifndef WM_COAP_REQUEST_H
#define WM_COAP_REQUEST_H

#include "base/sink.h"
#include "coap/msg.h"
#include "wasmote/port.h"

#define WM_COAP_PATH_MAX  6
#define WM_COAP_QUERY_MAX 4
#define WM_COAP_ETAG_MAX  4
#define WM_COAP_ETAG_BYTES 8
#define WM_COAP_REQUEST_TAG_BYTES 8

bool wm_coap_same_peer(const struct wm_peer *a, const struct wm_peer *b);

struct wm_coap_block {
    bool     present;
    bool     more;
    uint8_t  szx;  /* size = 16 << szx, szx <= 6 */
    uint32_t num;
};

static inline size_t wm_coap_block_size(const struct wm_coap_block *b) { return (size_t)16 << b->szx; }
static inline size_t wm_coap_block_offset(const struct wm_coap_block *b)
{
    return (size_t)b->num << (b->szx + 4);
}

/* A request with its options decoded. Spans are borrowed from the datagram: gone when the handler returns. */
struct wm_coap_request {
    const struct wm_peer *peer;
    struct wm_coap_msg    msg;
    uint8_t               method; /* enum wm_coap_code */
    uint8_t               path_count, query_count, if_match_count, etag_count;
    struct wm_span        path[WM_COAP_PATH_MAX];
    struct wm_span        query[WM_COAP_QUERY_MAX];
    struct wm_span        if_match[WM_COAP_ETAG_MAX]; /* an empty one: any version */
    struct wm_span        etag[WM_COAP_ETAG_MAX];
    bool                  if_none_match;
    bool                  has_request_tag;
    struct wm_span        request_tag; /* at most WM_COAP_REQUEST_TAG_BYTES; of several, their first bytes */
    int32_t               content_format, accept; /* WM_FORMAT_NONE: absent */
    int32_t               observe;                /* -1: absent; 0 register, 1 deregister */
    int64_t               size1;                  /* -1: absent */
    struct wm_coap_block  block1, block2;
    struct wm_span        payload;
};

/* Decode options. Returns 0 or the code to refuse with: 4.02 for an unknown or misused critical option or
 * more segments than the maxima above, 4.00 for a bad block option, 5.05 for proxying. Elective options that
 * are malformed are ignored. */
int wm_coap_request_decode(struct wm_coap_request *req, const struct wm_peer *peer,
                           const struct wm_coap_msg *msg);

/* Value of a query `key=value`; false if absent. A query without `=` has an empty value. */
bool wm_coap_query(const struct wm_coap_request *req, const char *key, struct wm_span *value);

struct wm_coap_reply {
    uint8_t              code;           /* 0 until a handler has set it */
    bool                 deferred;       /* the handler took a ticket (endpoint.h): no reply now */
    int32_t              content_format; /* WM_FORMAT_NONE: none */
    int32_t              max_age_s;      /* -1: none */
    int64_t              size1;          /* -1: none */
    uint8_t              etag_len;
    uint8_t              etag[WM_COAP_ETAG_BYTES];
    struct wm_coap_block block1;         /* echoed to the client if present */
    uint32_t             observe_key;    /* not 0: this representation may be observed under that key */
    struct wm_sink       body;           /* set up by the endpoint for the block that was asked for */
};

/* Forget what was said so far, so that a handler can start again. */
void wm_coap_reply_reset(struct wm_coap_reply *rep);

/* problem.c: an error reply (RFC 9290): code, title, detail as in base/fmt.h (format may be NULL). Replaces
 * body, ETag, content-format and observe key; Max-Age, Size1 and Block1 stay, so they may be set before or
 * after. What is not printable ASCII in the detail becomes '?'. */
void wm_problem(struct wm_coap_reply *rep, uint8_t code, const char *title, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same with `pairs` custom members (docs/PROTOCOL.md 6): the caller writes them to rep->body with
 * wm_cbor_* right after this call, each a text key and a value. detail: UTF-8, or NULL. */
void wm_problem_open(struct wm_coap_reply *rep, uint8_t code, const char *title, const char *detail,
                     size_t pairs);

#endif

/* msg.h: the CoAP message codec (RFC 7252, 3). Pure: no state, no allocation, bounded by its input. */
#ifndef WM_COAP_MSG_H
#define WM_COAP_MSG_H

#include "base/span.h"

enum wm_coap_type { WM_COAP_CON, WM_COAP_NON, WM_COAP_ACK, WM_COAP_RST };

#define WM_COAP_CODE(class, detail) ((uint8_t)((class) << 5 | (detail)))

enum wm_coap_code {
    WM_COAP_EMPTY = 0,
    WM_COAP_GET = 1, WM_COAP_POST, WM_COAP_PUT, WM_COAP_DELETE, WM_COAP_FETCH, WM_COAP_PATCH, WM_COAP_IPATCH,
    WM_COAP_CREATED = WM_COAP_CODE(2, 1),
    WM_COAP_DELETED = WM_COAP_CODE(2, 2),
    WM_COAP_VALID = WM_COAP_CODE(2, 3),
    WM_COAP_CHANGED = WM_COAP_CODE(2, 4),
    WM_COAP_CONTENT = WM_COAP_CODE(2, 5),
    WM_COAP_CONTINUE = WM_COAP_CODE(2, 31),
    WM_COAP_BAD_REQUEST = WM_COAP_CODE(4, 0),
    WM_COAP_UNAUTHORIZED = WM_COAP_CODE(4, 1),
    WM_COAP_BAD_OPTION = WM_COAP_CODE(4, 2),
    WM_COAP_FORBIDDEN = WM_COAP_CODE(4, 3),
    WM_COAP_NOT_FOUND = WM_COAP_CODE(4, 4),
    WM_COAP_METHOD_NOT_ALLOWED = WM_COAP_CODE(4, 5),
    WM_COAP_NOT_ACCEPTABLE = WM_COAP_CODE(4, 6),
    WM_COAP_INCOMPLETE = WM_COAP_CODE(4, 8),
    WM_COAP_CONFLICT = WM_COAP_CODE(4, 9),
    WM_COAP_PRECONDITION_FAILED = WM_COAP_CODE(4, 12),
    WM_COAP_TOO_LARGE = WM_COAP_CODE(4, 13),
    WM_COAP_UNSUPPORTED_FORMAT = WM_COAP_CODE(4, 15),
    WM_COAP_UNPROCESSABLE = WM_COAP_CODE(4, 22),
    WM_COAP_TOO_MANY_REQUESTS = WM_COAP_CODE(4, 29),
    WM_COAP_INTERNAL_ERROR = WM_COAP_CODE(5, 0),
    WM_COAP_UNAVAILABLE = WM_COAP_CODE(5, 3),
    WM_COAP_PROXYING_UNSUPPORTED = WM_COAP_CODE(5, 5),
};

enum wm_coap_option {
    WM_COAP_IF_MATCH = 1,
    WM_COAP_URI_HOST = 3,
    WM_COAP_ETAG = 4,
    WM_COAP_IF_NONE_MATCH = 5,
    WM_COAP_OBSERVE = 6,
    WM_COAP_URI_PORT = 7,
    WM_COAP_LOCATION_PATH = 8,
    WM_COAP_URI_PATH = 11,
    WM_COAP_CONTENT_FORMAT = 12,
    WM_COAP_MAX_AGE = 14,
    WM_COAP_URI_QUERY = 15,
    WM_COAP_ACCEPT = 17,
    WM_COAP_LOCATION_QUERY = 20,
    WM_COAP_BLOCK2 = 23,
    WM_COAP_BLOCK1 = 27,
    WM_COAP_SIZE2 = 28,
    WM_COAP_PROXY_URI = 35,
    WM_COAP_PROXY_SCHEME = 39,
    WM_COAP_SIZE1 = 60,
    WM_COAP_REQUEST_TAG = 292,
};

enum wm_coap_format {
    WM_FORMAT_NONE = -1,
    WM_FORMAT_TEXT = 0,
    WM_FORMAT_LINKS = 40,
    WM_FORMAT_OCTETS = 42,
    WM_FORMAT_CBOR = 60,
    WM_FORMAT_MULTIPART = 62,
    WM_FORMAT_SENML_CBOR = 112,
    WM_FORMAT_PROBLEM = 257,
};

#define WM_COAP_TOKEN_BYTES 8

struct wm_coap_msg {
    uint8_t        type; /* enum wm_coap_type */
    uint8_t        code;
    uint16_t       mid;
    uint8_t        token_len;
    uint8_t        token[WM_COAP_TOKEN_BYTES];
    struct wm_span options; /* checked by parse; borrowed from the datagram */
    struct wm_span payload; /* borrowed likewise; empty: none */
};

/* Parse a datagram. Returns 0; WM_ERR_MALFORMED: a message format error (RFC 7252, 3: version is not 1 also);
 * then type and mid are set if the first four bytes were there (mid to be reset), else WM_ERR_TRUNCATED. */
int wm_coap_parse(struct wm_coap_msg *msg, struct wm_span datagram);

struct wm_coap_opt {
    uint32_t       number; /* at most 65535 */
    struct wm_span value;
};

struct wm_coap_opt_iter {
    struct wm_span rest;
    uint32_t       number;
};

static inline struct wm_coap_opt_iter wm_coap_opts(const struct wm_coap_msg *msg)
{
    return (struct wm_coap_opt_iter){.rest = msg->options};
}

/* Next option in wire order; false at the end. */
bool wm_coap_opts_next(struct wm_coap_opt_iter *iter, struct wm_coap_opt *opt);

/* An option's value as an unsigned integer (RFC 7252, 3.2). WM_ERR_ARG: longer than four bytes. */
int wm_coap_opt_uint(struct wm_span value, uint32_t *out);

/* Writes one message front to back. After the first error every call does nothing and finish tells. An option
 * or payload that does not fit is left out whole. */
struct wm_coap_writer {
    uint8_t *buf;
    size_t   cap, len;
    uint32_t last_number;
    int      err;
};

void wm_coap_write_begin(struct wm_coap_writer *w, uint8_t *buf, size_t cap, uint8_t type, uint8_t code,
                         uint16_t mid, struct wm_span token);
/* Asserts that number is not below the one before. */
void wm_coap_write_opt(struct wm_coap_writer *w, uint32_t number, struct wm_span value);
void wm_coap_write_opt_uint(struct wm_coap_writer *w, uint32_t number, uint32_t value);
void wm_coap_write_payload(struct wm_coap_writer *w, struct wm_span payload); /* empty: no marker */
/* Returns the message's length or WM_ERR_NOSPACE. */
int wm_coap_write_finish(const struct wm_coap_writer *w);

#endif

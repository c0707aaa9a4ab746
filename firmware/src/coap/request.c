#include "coap/request.h"

#include "wasmote/err.h"

bool wm_coap_same_peer(const struct wm_peer *a, const struct wm_peer *b)
{
    return a->link == b->link && a->addr_len == b->addr_len && memcmp(a->addr, b->addr, a->addr_len) == 0;
}

/* Whether an option stands with its number alone, is as long as its definition allows (RFC 7252, 5.10) and
 * may come again. What breaks this counts as not recognized (5.4.3, 5.4.5). */
struct shape {
    uint8_t min, max;
    bool    repeatable;
};

static bool option_shape(uint32_t number, struct shape *shape)
{
    switch (number) {
    case WM_COAP_IF_MATCH:
        *shape = (struct shape){0, WM_COAP_ETAG_BYTES, true};
        return true;
    case WM_COAP_URI_HOST:
        *shape = (struct shape){1, 255, false};
        return true;
    case WM_COAP_ETAG:
        *shape = (struct shape){1, WM_COAP_ETAG_BYTES, true};
        return true;
    case WM_COAP_IF_NONE_MATCH:
        *shape = (struct shape){0, 0, false};
        return true;
    case WM_COAP_OBSERVE:
        *shape = (struct shape){0, 3, false};
        return true;
    case WM_COAP_URI_PORT:
    case WM_COAP_CONTENT_FORMAT:
    case WM_COAP_ACCEPT:
        *shape = (struct shape){0, 2, false};
        return true;
    case WM_COAP_URI_PATH:
    case WM_COAP_URI_QUERY:
        *shape = (struct shape){0, 255, true};
        return true;
    case WM_COAP_SIZE1:
        *shape = (struct shape){0, 4, false};
        return true;
    case WM_COAP_BLOCK1:
    case WM_COAP_BLOCK2:
        *shape = (struct shape){0, 255, false}; /* decode_block looks at the length */
        return true;
    case WM_COAP_REQUEST_TAG:
        *shape = (struct shape){0, WM_COAP_REQUEST_TAG_BYTES, true};
        return true;
    default:
        return false;
    }
}

static uint32_t uint_of(struct wm_span value)
{
    uint32_t n = 0;
    (void)wm_coap_opt_uint(value, &n); /* the shape has bounded it */
    return n;
}

/* RFC 7959, 2.2. SZX 7 is reserved. */
static bool decode_block(struct wm_coap_block *block, struct wm_span value)
{
    if (value.len > 3) {
        return false;
    }
    const uint32_t n = uint_of(value);
    *block = (struct wm_coap_block){.present = true, .more = (n & 8) != 0, .szx = n & 7, .num = n >> 4};
    return block->szx < 7;
}

static bool append(struct wm_span *list, uint8_t *count, size_t max, struct wm_span value)
{
    if (*count == max) {
        return false;
    }
    list[(*count)++] = value;
    return true;
}

/* Take one option of a good shape. Returns 0 or the code to refuse with. */
static int take(struct wm_coap_request *req, uint32_t number, struct wm_span value)
{
    bool ok = true;
    switch (number) {
    case WM_COAP_URI_PATH:
        ok = append(req->path, &req->path_count, WM_COAP_PATH_MAX, value);
        break;
    case WM_COAP_URI_QUERY:
        ok = append(req->query, &req->query_count, WM_COAP_QUERY_MAX, value);
        break;
    case WM_COAP_IF_MATCH:
        ok = append(req->if_match, &req->if_match_count, WM_COAP_ETAG_MAX, value);
        break;
    case WM_COAP_ETAG: /* elective: one too many is only a missed chance for 2.03 */
        (void)append(req->etag, &req->etag_count, WM_COAP_ETAG_MAX, value);
        break;
    case WM_COAP_IF_NONE_MATCH:
        req->if_none_match = true;
        break;
    case WM_COAP_OBSERVE:
        req->observe = (int32_t)uint_of(value);
        break;
    case WM_COAP_CONTENT_FORMAT:
        req->content_format = (int32_t)uint_of(value);
        break;
    case WM_COAP_ACCEPT:
        req->accept = (int32_t)uint_of(value);
        break;
    case WM_COAP_SIZE1:
        req->size1 = uint_of(value);
        break;
    case WM_COAP_BLOCK1:
        return decode_block(&req->block1, value) ? 0 : WM_COAP_BAD_REQUEST;
    case WM_COAP_BLOCK2:
        return decode_block(&req->block2, value) ? 0 : WM_COAP_BAD_REQUEST;
    case WM_COAP_REQUEST_TAG:
        /* Several together are one identity (RFC 9175, 3.2). They lie behind each other in the message, so
         * the bytes from the first value to the end of the last, with the option heads between them, tell
         * most lists apart. */
        if (!req->has_request_tag) {
            req->request_tag = value;
        }
        req->request_tag.len = (size_t)(value.ptr + value.len - req->request_tag.ptr);
        if (req->request_tag.len > WM_COAP_REQUEST_TAG_BYTES) {
            req->request_tag.len = WM_COAP_REQUEST_TAG_BYTES;
        }
        req->has_request_tag = true;
        break;
    default: /* Uri-Host and Uri-Port: one node, one host */
        break;
    }
    return ok ? 0 : WM_COAP_BAD_OPTION;
}

int wm_coap_request_decode(struct wm_coap_request *req, const struct wm_peer *peer,
                           const struct wm_coap_msg *msg)
{
    /* Field by field: the lists are most of the struct and need no clearing. */
    req->peer = peer;
    req->msg = *msg;
    req->method = msg->code;
    req->path_count = req->query_count = req->if_match_count = req->etag_count = 0;
    req->if_none_match = req->has_request_tag = false;
    req->request_tag = wm_span(NULL, 0);
    req->content_format = req->accept = WM_FORMAT_NONE;
    req->observe = -1;
    req->size1 = -1;
    req->block1.present = req->block1.more = req->block2.present = req->block2.more = false;
    req->block1.szx = req->block2.szx = 0;
    req->block1.num = req->block2.num = 0;
    req->payload = msg->payload;

    struct wm_coap_opt_iter iter = wm_coap_opts(msg);
    struct wm_coap_opt      opt;
    uint32_t                last = 0;
    int                     refusal = 0;
    while (wm_coap_opts_next(&iter, &opt)) {
        struct shape shape;
        const bool   again = opt.number == last;
        last = opt.number;
        if (opt.number == WM_COAP_PROXY_URI || opt.number == WM_COAP_PROXY_SCHEME) {
            return WM_COAP_PROXYING_UNSUPPORTED; /* before all else: the other options are another host's */
        }
        int code = WM_COAP_BAD_OPTION;
        if (option_shape(opt.number, &shape) && opt.value.len >= shape.min && opt.value.len <= shape.max &&
            (!again || shape.repeatable)) {
            code = take(req, opt.number, opt.value);
        } else if ((opt.number & 1) == 0) {
            code = 0; /* elective (RFC 7252, 5.4.1) */
        }
        if (refusal == 0) {
            refusal = code;
        }
    }
    return refusal;
}

bool wm_coap_query(const struct wm_coap_request *req, const char *key, struct wm_span *value)
{
    const size_t key_len = strlen(key);
    for (size_t i = 0; i < req->query_count; i++) {
        const struct wm_span q = req->query[i];
        if (q.len < key_len || memcmp(q.ptr, key, key_len) != 0) {
            continue;
        }
        if (q.len == key_len) {
            *value = wm_span(q.ptr + key_len, 0);
            return true;
        }
        if (q.ptr[key_len] == '=') {
            *value = wm_span(q.ptr + key_len + 1, q.len - key_len - 1);
            return true;
        }
    }
    return false;
}

void wm_coap_reply_reset(struct wm_coap_reply *rep)
{
    rep->code = WM_COAP_EMPTY;
    rep->deferred = false;
    rep->content_format = WM_FORMAT_NONE;
    rep->max_age_s = -1;
    rep->size1 = -1;
    rep->etag_len = 0;
    rep->block1 = (struct wm_coap_block){.present = false};
    rep->observe_key = 0;
    rep->body.total = 0;
}

/* capi.c: the codecs as flat C functions, so that Python reaches them through ctypes
 * (test_codec_agreement.py). Built into a shared library by tests/unit/conftest.py. */
#include "base/cbor.h"
#include "coap/msg.h"
#include "wasmote/err.h"

/* ---- CoAP messages ---- */

#define OPTIONS_MAX 2048

/* Offsets count from the datagram's start. Mirrored in codec_library.py. */
struct capi_msg {
    uint32_t type, code, mid, token_len, option_count;
    uint32_t payload_off, payload_len;
    uint8_t  token[WM_COAP_TOKEN_BYTES];
    struct {
        uint32_t number, off, len;
    } options[OPTIONS_MAX];
};

/* wm_coap_parse, and all of the options. WM_ERR_NOSPACE: more than OPTIONS_MAX. */
int capi_coap_parse(const uint8_t *datagram, size_t len, struct capi_msg *out)
{
    struct wm_coap_msg msg;
    const int          err = wm_coap_parse(&msg, wm_span(datagram, len));
    if (err != 0) {
        return err;
    }
    out->type = msg.type;
    out->code = msg.code;
    out->mid = msg.mid;
    out->token_len = msg.token_len;
    memcpy(out->token, msg.token, sizeof out->token);
    out->payload_off = msg.payload.len > 0 ? (uint32_t)(msg.payload.ptr - datagram) : 0;
    out->payload_len = (uint32_t)msg.payload.len;
    out->option_count = 0;
    struct wm_coap_opt_iter iter = wm_coap_opts(&msg);
    struct wm_coap_opt      opt;
    while (wm_coap_opts_next(&iter, &opt)) {
        if (out->option_count == OPTIONS_MAX) {
            return WM_ERR_NOSPACE;
        }
        out->options[out->option_count].number = opt.number;
        out->options[out->option_count].off = (uint32_t)(opt.value.ptr - datagram);
        out->options[out->option_count].len = (uint32_t)opt.value.len;
        out->option_count++;
    }
    return 0;
}

/* Write a message whose option values and payload lie in pool, at the offsets that msg gives. Returns its
 * length. */
int capi_coap_write(const struct capi_msg *msg, const uint8_t *pool, uint8_t *buf, size_t cap)
{
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, buf, cap, (uint8_t)msg->type, (uint8_t)msg->code, (uint16_t)msg->mid,
                        wm_span(msg->token, msg->token_len));
    for (uint32_t i = 0; i < msg->option_count; i++) {
        wm_coap_write_opt(&w, msg->options[i].number,
                          wm_span(pool + msg->options[i].off, msg->options[i].len));
    }
    wm_coap_write_payload(&w, wm_span(pool + msg->payload_off, msg->payload_len));
    return wm_coap_write_finish(&w);
}

/* The value of wm_coap_opt_uint, or a negative error. */
int64_t capi_coap_opt_uint(const uint8_t *value, size_t len)
{
    uint32_t  out;
    const int err = wm_coap_opt_uint(wm_span(value, len), &out);
    return err != 0 ? err : (int64_t)out;
}

/* The bytes that wm_coap_write_opt_uint makes of value. Returns how many. */
int capi_coap_uint_bytes(uint32_t value, uint8_t out[4])
{
    uint8_t               buf[16];
    struct wm_coap_writer w;
    wm_coap_write_begin(&w, buf, sizeof buf, WM_COAP_CON, WM_COAP_GET, 0, wm_span(NULL, 0));
    wm_coap_write_opt_uint(&w, 1, value);
    const int len = wm_coap_write_finish(&w) - 5;
    memcpy(out, buf + 5, (size_t)len);
    return len;
}

/* ---- CBOR ---- */

struct capi_item {
    uint32_t kind, indefinite;
    uint64_t value;
    uint32_t bytes_off, bytes_len;
};

/* Read the item at *off and move on. */
int capi_cbor_next(const uint8_t *bytes, size_t len, size_t *off, struct capi_item *out)
{
    struct wm_cbor_reader in = {.rest = wm_span(bytes + *off, len - *off)};
    struct wm_cbor_item   item;
    const int             err = wm_cbor_next(&in, &item);
    if (err == 0) {
        *off = (size_t)(in.rest.ptr - bytes);
        out->kind = item.kind;
        out->indefinite = item.indefinite;
        out->value = item.value;
        const bool string = item.kind == WM_CBOR_BYTES || item.kind == WM_CBOR_TEXT;
        out->bytes_off = string ? (uint32_t)(item.bytes.ptr - bytes) : 0;
        out->bytes_len = string ? (uint32_t)item.bytes.len : 0;
    }
    return err;
}

/* Bytes of the first item with all that is in it, or a negative error. */
int64_t capi_cbor_skip(const uint8_t *bytes, size_t len)
{
    struct wm_cbor_reader in = {.rest = wm_span(bytes, len)};
    const int             err = wm_cbor_skip(&in);
    return err != 0 ? err : (int64_t)(in.rest.ptr - bytes);
}

/* Append one item to buf at *total, which grows by its length even where cap ends it. what: as in enum below.
 */
enum { PUT_UINT, PUT_INT, PUT_FLOAT32, PUT_FLOAT64, PUT_BOOL, PUT_TEXT, PUT_BYTES, PUT_ARRAY, PUT_MAP };

void capi_cbor_put(uint8_t *buf, size_t cap, size_t *total, int what, uint64_t value, const uint8_t *bytes,
                   size_t len)
{
    struct wm_sink sink;
    wm_sink_init(&sink, buf, cap, 0);
    sink.total = *total;
    switch (what) {
    case PUT_UINT:
        wm_cbor_uint(&sink, value);
        break;
    case PUT_INT:
        wm_cbor_int(&sink, (int64_t)value);
        break;
    case PUT_FLOAT32:
        wm_cbor_float32(&sink, (uint32_t)value);
        break;
    case PUT_FLOAT64:
        wm_cbor_float64(&sink, value);
        break;
    case PUT_BOOL:
        wm_cbor_bool(&sink, value != 0);
        break;
    case PUT_TEXT:
        wm_cbor_text(&sink, wm_span(bytes, len));
        break;
    case PUT_BYTES:
        wm_cbor_bytes(&sink, wm_span(bytes, len));
        break;
    case PUT_ARRAY:
        wm_cbor_array(&sink, (size_t)value);
        break;
    default:
        wm_cbor_map(&sink, (size_t)value);
        break;
    }
    *total = sink.total;
}

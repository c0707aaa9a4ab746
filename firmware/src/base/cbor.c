#include "base/cbor.h"

#include "base/assert.h"
#include "wasmote/err.h"
#include "zcbor_common.h"
#include "zcbor_decode.h"
#include "zcbor_encode.h"

/* RFC 8949, 3: the first byte of an item is three bits of major type and five bits of argument, which say how
 * many bytes of argument follow. zcbor reads and writes the argument as that of an unsigned integer; the
 * major type is put on or taken off here. So one path serves every item, and little of zcbor is linked. */
#define HEAD_BYTES      9
#define MAJOR(byte)     ((byte) >> 5)
#define ARGUMENT(byte)  ((byte)&0x1f)
#define ARG_INDEFINITE  31
#define SKIP_LEVELS     8
#define MAJOR_SHIFT     5

enum { MAJOR_UINT, MAJOR_NINT, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG, MAJOR_SIMPLE };

static void put_head(struct wm_sink *out, unsigned major, uint64_t value)
{
    uint8_t raw[HEAD_BYTES];
    zcbor_state_t state;
    zcbor_new_encode_state(&state, 1, raw, sizeof raw, 1);
    const bool fits = zcbor_uint64_put(&state, value);
    WM_ASSERT(fits);
    raw[0] |= (uint8_t)(major << MAJOR_SHIFT);
    wm_sink_put(out, wm_span(raw, (size_t)(state.payload - raw)));
}

void wm_cbor_uint(struct wm_sink *out, uint64_t value)
{
    put_head(out, MAJOR_UINT, value);
}

void wm_cbor_int(struct wm_sink *out, int64_t value)
{
    if (value < 0) {
        put_head(out, MAJOR_NINT, ~(uint64_t)value); /* n of -1 - n */
    } else {
        put_head(out, MAJOR_UINT, (uint64_t)value);
    }
}

/* The floats go by pointer: passing a signalling NaN by value may quieten it. */
void wm_cbor_float32(struct wm_sink *out, uint32_t bits)
{
    uint8_t raw[1 + sizeof bits];
    float value;
    _Static_assert(sizeof value == sizeof bits, "float is IEEE 754 binary32");
    memcpy(&value, &bits, sizeof value);
    zcbor_state_t state;
    zcbor_new_encode_state(&state, 1, raw, sizeof raw, 1);
    const bool fits = zcbor_float32_encode(&state, &value);
    WM_ASSERT(fits);
    wm_sink_put(out, wm_span(raw, sizeof raw));
}

void wm_cbor_float64(struct wm_sink *out, uint64_t bits)
{
    uint8_t raw[1 + sizeof bits];
    double value;
    _Static_assert(sizeof value == sizeof bits, "double is IEEE 754 binary64");
    memcpy(&value, &bits, sizeof value);
    zcbor_state_t state;
    zcbor_new_encode_state(&state, 1, raw, sizeof raw, 1);
    const bool fits = zcbor_float64_encode(&state, &value);
    WM_ASSERT(fits);
    wm_sink_put(out, wm_span(raw, sizeof raw));
}

void wm_cbor_bool(struct wm_sink *out, bool value)
{
    put_head(out, MAJOR_SIMPLE, value ? 21 : 20);
}

void wm_cbor_text(struct wm_sink *out, struct wm_span utf8)
{
    put_head(out, MAJOR_TEXT, utf8.len);
    wm_sink_put(out, utf8);
}

void wm_cbor_str(struct wm_sink *out, const char *s)
{
    wm_cbor_text(out, wm_span_str(s));
}

void wm_cbor_bytes(struct wm_sink *out, struct wm_span bytes)
{
    wm_cbor_bytes_head(out, bytes.len);
    wm_sink_put(out, bytes);
}

void wm_cbor_bytes_head(struct wm_sink *out, size_t len)
{
    put_head(out, MAJOR_BYTES, len);
}

void wm_cbor_array(struct wm_sink *out, size_t items)
{
    put_head(out, MAJOR_ARRAY, items);
}

void wm_cbor_map(struct wm_sink *out, size_t pairs)
{
    put_head(out, MAJOR_MAP, pairs);
}

/* Read the argument of the head at bytes. Returns the head's length or an error. */
static int get_argument(struct wm_span bytes, uint64_t *value)
{
    uint8_t raw[HEAD_BYTES];
    const size_t len = bytes.len < sizeof raw ? bytes.len : sizeof raw;
    memcpy(raw, bytes.ptr, len);
    raw[0] = ARGUMENT(raw[0]); /* as an unsigned integer */
    zcbor_state_t states[2];   /* the second one carries the error code */
    zcbor_new_decode_state(states, 2, raw, len, 1, NULL, 0);
    states[0].constant_state->enforce_canonical = false; /* RFC 8949, 4.1: a longer form is well formed too */
    if (!zcbor_uint64_decode(states, value)) {
        return zcbor_peek_error(states) == ZCBOR_ERR_NO_PAYLOAD ? WM_ERR_TRUNCATED : WM_ERR_MALFORMED;
    }
    return (int)(states[0].payload - raw);
}

int wm_cbor_next(struct wm_cbor_reader *in, struct wm_cbor_item *item)
{
    if (in->rest.len == 0) {
        return WM_ERR_TRUNCATED;
    }
    const uint8_t first = in->rest.ptr[0];
    const unsigned major = MAJOR(first);
    struct wm_cbor_item got = {.kind = WM_CBOR_BREAK};
    size_t len = 1;

    if (ARGUMENT(first) == ARG_INDEFINITE) {
        switch (major) {
        case MAJOR_ARRAY:
        case MAJOR_MAP:
            got.kind = major == MAJOR_ARRAY ? WM_CBOR_ARRAY : WM_CBOR_MAP;
            got.indefinite = true;
            break;
        case MAJOR_SIMPLE:
            break;
        case MAJOR_BYTES:
        case MAJOR_TEXT:
            return WM_ERR_UNSUPPORTED;
        default:
            return WM_ERR_MALFORMED;
        }
    } else {
        const int head = get_argument(in->rest, &got.value);
        if (head < 0) {
            return head;
        }
        len = (size_t)head;
        if (major == MAJOR_SIMPLE) {
            static const uint8_t by_length[HEAD_BYTES + 1] = {
                [1] = WM_CBOR_SIMPLE, [2] = WM_CBOR_SIMPLE, [3] = WM_CBOR_FLOAT16,
                [5] = WM_CBOR_FLOAT32, [9] = WM_CBOR_FLOAT64,
            };
            if (len == 2 && got.value < 32) {
                return WM_ERR_MALFORMED; /* RFC 8949, 3.3 */
            }
            got.kind = (enum wm_cbor_kind)by_length[len];
        } else {
            static const uint8_t by_major[] = {
                [MAJOR_UINT] = WM_CBOR_UINT, [MAJOR_NINT] = WM_CBOR_NINT,   [MAJOR_BYTES] = WM_CBOR_BYTES,
                [MAJOR_TEXT] = WM_CBOR_TEXT, [MAJOR_ARRAY] = WM_CBOR_ARRAY, [MAJOR_MAP] = WM_CBOR_MAP,
                [MAJOR_TAG] = WM_CBOR_TAG,
            };
            got.kind = (enum wm_cbor_kind)by_major[major];
        }
        if (got.kind == WM_CBOR_BYTES || got.kind == WM_CBOR_TEXT) {
            if (got.value > in->rest.len - len) {
                return WM_ERR_TRUNCATED;
            }
            got.bytes = wm_span(in->rest.ptr + len, (size_t)got.value);
            len += (size_t)got.value;
        }
    }
    in->rest = wm_span(in->rest.ptr + len, in->rest.len - len);
    *item = got;
    return 0;
}

int wm_cbor_skip(struct wm_cbor_reader *in)
{
    /* What is still to come on each level of containers. Every item takes at least one byte of input, so a
     * huge announced count ends as soon as the input does. */
    struct {
        uint64_t items; /* open ended: counts up */
        bool     open, map;
    } level[SKIP_LEVELS + 1] = {{.items = 1}};
    unsigned depth = 0;
    bool tagged = false;
    struct wm_cbor_reader at = *in;

    for (;;) {
        struct wm_cbor_item item;
        const int err = wm_cbor_next(&at, &item);
        if (err) {
            return err;
        }
        if (item.kind == WM_CBOR_BREAK) {
            if (!level[depth].open || tagged || (level[depth].map && level[depth].items % 2 != 0)) {
                return WM_ERR_MALFORMED;
            }
            depth--;
        } else {
            tagged = item.kind == WM_CBOR_TAG; /* belongs to the item after it */
            if (tagged) {
                continue;
            }
            if (level[depth].open) {
                level[depth].items++;
            } else {
                level[depth].items--;
            }
            if (item.kind == WM_CBOR_ARRAY || item.kind == WM_CBOR_MAP) {
                if (depth == SKIP_LEVELS) {
                    return WM_ERR_UNSUPPORTED;
                }
                const bool map = item.kind == WM_CBOR_MAP;
                if (map && item.value > UINT64_MAX / 2) {
                    return WM_ERR_TRUNCATED; /* no input is that long */
                }
                depth++;
                level[depth].items = map ? 2 * item.value : item.value;
                level[depth].open = item.indefinite;
                level[depth].map = map;
            }
        }
        while (!level[depth].open && level[depth].items == 0) {
            if (depth == 0) {
                *in = at;
                return 0;
            }
            depth--;
        }
    }
}

#include "functions/values.h"

#include "wasmote/err.h"

const char *wm_valtype_name(uint8_t type)
{
    switch (type) {
    case WM_I32: return "i32";
    case WM_I64: return "i64";
    case WM_F32: return "f32";
    case WM_F64: return "f64";
    default: return "?";
    }
}

static uint32_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t f64_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Half to single precision without arithmetic, so that a NaN keeps its payload and stays as quiet as it was. */
static uint32_t f16_to_f32_bits(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t       exponent = half >> 10 & 0x1fu;
    uint32_t       fraction = half & 0x3ffu;
    if (exponent == 0x1f) {
        return sign | 0x7f800000u | fraction << 13;
    }
    if (exponent == 0) {
        if (fraction == 0) {
            return sign;
        }
        exponent = 1; /* subnormal: shift the leading one into place */
        while ((fraction & 0x400u) == 0) {
            fraction <<= 1;
            exponent--;
        }
        fraction &= 0x3ffu;
    }
    return sign | (exponent + 112u) << 23 | fraction << 13;
}

static uint64_t f32_to_f64_bits(uint32_t bits)
{
    if ((bits & 0x7f800000u) == 0x7f800000u) { /* infinity, NaN: by hand, an FPU would quieten a NaN */
        return (uint64_t)(bits & 0x80000000u) << 32 | 0x7ff0000000000000u | (uint64_t)(bits & 0x7fffffu) << 29;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return f64_bits((double)value);
}

static uint32_t f64_to_f32_bits(uint64_t bits)
{
    if ((bits & 0x7ff0000000000000u) == 0x7ff0000000000000u) {
        uint32_t fraction = (uint32_t)(bits >> 29) & 0x7fffffu;
        if ((bits & 0xfffffffffffffu) != 0 && fraction == 0) {
            fraction = 0x400000u; /* the payload is cut away, but it stays a NaN */
        }
        return (uint32_t)(bits >> 32 & 0x80000000u) | 0x7f800000u | fraction;
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    return f32_bits((float)value);
}

static const char *decode_float(uint8_t type, const struct wm_cbor_item *item, uint64_t *cell)
{
    uint64_t wide;
    switch (item->kind) {
    case WM_CBOR_FLOAT16: wide = f32_to_f64_bits(f16_to_f32_bits((uint16_t)item->value)); break;
    case WM_CBOR_FLOAT32: wide = f32_to_f64_bits((uint32_t)item->value); break;
    case WM_CBOR_FLOAT64: wide = item->value; break;
    case WM_CBOR_UINT:
    case WM_CBOR_NINT: {
        const uint64_t size = item->value + (item->kind == WM_CBOR_NINT ? 1u : 0u); /* of -1 - n */
        const double   value = (double)size;
        const bool     fits = size >= item->value && value < 18446744073709551616.0 && (uint64_t)value == size;
        if (!fits || (type == WM_F32 && (double)(float)value != value)) {
            return "integer does not convert exactly to a float";
        }
        wide = f64_bits(item->kind == WM_CBOR_NINT ? -value : value);
        break;
    }
    default: return "expected a number";
    }
    *cell = type == WM_F32 ? f64_to_f32_bits(wide) : wide;
    return NULL;
}

static const char *decode_int(uint8_t type, const struct wm_cbor_item *item, uint64_t *cell)
{
    if (item->kind == WM_CBOR_TAG) {
        return "out of range (a bignum)";
    }
    if (item->kind != WM_CBOR_UINT && item->kind != WM_CBOR_NINT) {
        return "expected an integer";
    }
    const bool     negative = item->kind == WM_CBOR_NINT;
    const uint64_t max = type == WM_I32 ? (negative ? INT32_MAX : UINT32_MAX) : (negative ? INT64_MAX : UINT64_MAX);
    if (item->value > max) {
        return "out of range";
    }
    *cell = negative ? ~item->value : item->value; /* -1 - n */
    if (type == WM_I32) {
        *cell &= UINT32_MAX;
    }
    return NULL;
}

static int bad_value(struct wm_bad_value *bad, int index, const char *why)
{
    *bad = (struct wm_bad_value){.index = index, .why = why};
    return WM_ERR_ARG;
}

int wm_values_decode(struct wm_span params, struct wm_span cbor, uint64_t *cells, struct wm_bad_value *bad)
{
    struct wm_cbor_reader in = {.rest = cbor};
    struct wm_cbor_item   item = {.kind = WM_CBOR_ARRAY};
    if (cbor.len > 0 && (wm_cbor_next(&in, &item) != 0 || item.kind != WM_CBOR_ARRAY)) {
        return bad_value(bad, -1, "expected a CBOR array");
    }
    const bool     counted = !item.indefinite;
    const uint64_t count = item.value;
    if (counted && count != params.len) {
        return bad_value(bad, -1, "wrong number of arguments");
    }
    for (size_t i = 0; i < params.len; i++) {
        if (wm_cbor_next(&in, &item) != 0) {
            return bad_value(bad, (int)i, "the array ends too early or is malformed");
        }
        if (item.kind == WM_CBOR_BREAK) {
            return bad_value(bad, -1, "wrong number of arguments");
        }
        const uint8_t type = params.ptr[i];
        const char   *why = type == WM_I32 || type == WM_I64 ? decode_int(type, &item, &cells[i])
                                                             : decode_float(type, &item, &cells[i]);
        if (why != NULL) {
            return bad_value(bad, (int)i, why);
        }
    }
    if (!counted && (wm_cbor_next(&in, &item) != 0 || item.kind != WM_CBOR_BREAK)) {
        return bad_value(bad, -1, "wrong number of arguments");
    }
    if (in.rest.len > 0) {
        return bad_value(bad, -1, "bytes follow the array");
    }
    return 0;
}

void wm_values_encode(struct wm_span results, const uint64_t *cells, struct wm_sink *out)
{
    if (results.len != 1) {
        wm_cbor_array(out, results.len);
    }
    for (size_t i = 0; i < results.len; i++) {
        switch (results.ptr[i]) {
        case WM_I32: wm_cbor_int(out, (int32_t)(uint32_t)cells[i]); break;
        case WM_I64: wm_cbor_int(out, (int64_t)cells[i]); break;
        case WM_F32: wm_cbor_float32(out, (uint32_t)cells[i]); break;
        default: wm_cbor_float64(out, cells[i]); break;
        }
    }
}

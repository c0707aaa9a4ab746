/* validate.c: entry of the validator, and its reader. The parts: validate_module.c, validate_code.c. */
#include "wasm/validate_state.h"

#include "base/assert.h"

_Static_assert(sizeof(struct wm_validation) <= WM_VALIDATE_SCRATCH_BYTES, "see validate.h");
_Static_assert(WM_MODULE_PARAMS <= 255 && WM_MODULE_RESULTS <= 255, "struct wm_block counts them in a byte");
_Static_assert(WM_MODULE_LOCALS < 255, "struct wm_operand names a local in a byte");
_Static_assert(WM_MODULE_PARAMS <= WM_MODULE_LOCALS, "parameters are locals");
_Static_assert(WM_MODULE_TYPES <= 65535 && WM_MODULE_HEIGHT < 32768, "16 bits");

void wm_val_fail(struct wm_validation *v, enum wm_refusal reason, const char *text)
{
    if (v->failed) {
        return;
    }
    v->failed = true;
    /* Of two limits the first one is told; but what is no module at all is told before any limit. */
    const bool worse = reason == WM_REFUSED_MALFORMED || reason == WM_REFUSED_INVALID;
    if (!v->soft || worse) {
        *v->refused = (struct wm_refused){
            .reason = reason,
            .text = text,
            .function = v->function,
            .offset = (int32_t)v->mark,
        };
    }
    v->at = v->end;
}

void wm_val_refuse(struct wm_validation *v, enum wm_refusal reason, const char *text)
{
    if (v->failed || v->soft) {
        return;
    }
    const uint32_t at = v->at;
    wm_val_fail(v, reason, text);
    v->failed = false;
    v->soft = true;
    v->at = at;
}

uint8_t wm_val_read_byte(struct wm_validation *v)
{
    if (v->at >= v->end) {
        v->mark = v->at;
        wm_val_malformed(v, "unexpected end");
        return 0;
    }
    return v->bytes[v->at++];
}

uint64_t wm_val_read_leb(struct wm_validation *v, unsigned bits, bool is_signed)
{
    const uint32_t start = v->at;
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = wm_val_read_byte(v);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (shift + 7 >= bits) {
            /* The last byte: what is beyond the width repeats the sign, or is zero. */
            const unsigned used = bits - shift - (is_signed ? 1 : 0);
            const unsigned rest = (byte & 0x7fu) >> used;
            if ((byte & 0x80) != 0 || (rest != 0 && !(is_signed && rest == 0x7fu >> used))) {
                v->mark = start;
                const char *const text = (byte & 0x80) != 0 ? "integer too long" : "integer too large";
                wm_val_malformed(v, text);
                return 0;
            }
        }
        shift += 7;
    } while ((byte & 0x80) != 0);
    if (is_signed && (byte & 0x40) != 0 && shift < 64) {
        value |= UINT64_MAX << shift;
    }
    return value;
}

uint32_t wm_val_read_u32(struct wm_validation *v)
{
    if (v->at < v->end && v->bytes[v->at] < 0x80) {
        return v->bytes[v->at++];
    }
    return (uint32_t)wm_val_read_leb(v, 32, false);
}

uint32_t wm_val_read_count(struct wm_validation *v)
{
    v->mark = v->at;
    const uint32_t count = wm_val_read_u32(v);
    if (count > v->end - v->at) {
        wm_val_malformed(v, "length out of bounds");
        return 0;
    }
    return count;
}

void wm_val_skip(struct wm_validation *v, uint32_t bytes)
{
    if (bytes > v->end - v->at) {
        v->mark = v->at;
        wm_val_malformed(v, "unexpected end");
        return;
    }
    v->at += bytes;
}

bool wm_val_is_valtype(uint8_t byte)
{
    return byte >= WM_F64 && byte <= WM_I32;
}

uint8_t wm_val_read_valtype(struct wm_validation *v)
{
    v->mark = v->at;
    const uint8_t type = wm_val_read_byte(v);
    if (!wm_val_is_valtype(type)) {
        if (type == 0x7b) {
            wm_val_unsupported(v, "SIMD");
        } else if (type >= 0x63 && type <= 0x74) {
            wm_val_unsupported(v, "reference types");
        } else {
            wm_val_malformed(v, "unknown value type");
        }
        return WM_I32;
    }
    return type;
}

uint32_t wm_val_count_at(const uint8_t *bytes, uint32_t *off)
{
    uint32_t value = 0;
    uint8_t byte;
    unsigned shift = 0;
    do {
        byte = bytes[(*off)++];
        value |= (uint32_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    return value;
}

struct wm_signature_at wm_val_type_at(const struct wm_validation *v, uint32_t type)
{
    struct wm_signature_at s;
    uint32_t off = v->type_off[type];
    s.params.count = wm_val_count_at(v->bytes, &off);
    s.params.off = off;
    off += s.params.count;
    s.results.count = wm_val_count_at(v->bytes, &off);
    s.results.off = off;
    return s;
}

struct wm_signature_at wm_val_function_at(const struct wm_validation *v, uint32_t function)
{
    return wm_val_type_at(v, v->function_type[function]);
}

int wm_validate(struct wm_span module, void *scratch, size_t scratch_bytes, struct wm_refused *refused)
{
    WM_ASSERT((uintptr_t)scratch % 8 == 0);
    if (scratch_bytes < WM_VALIDATE_SCRATCH_BYTES) {
        return WM_ERR_NOSPACE;
    }
    struct wm_validation *v = scratch;
    memset(v, 0, offsetof(struct wm_validation, clear_to));
    *refused = (struct wm_refused){.function = -1, .offset = -1};
    v->bytes = module.ptr;
    v->refused = refused;
    v->function = -1;
    if (module.len > WM_LIMIT(WM_MODULE_MAX_BYTES)) {
        wm_val_fail(v, WM_REFUSED_LIMIT, "the module is too large");
    } else {
        v->end = (uint32_t)module.len;
        wm_val_sections(v);
    }
    return v->failed || v->soft ? WM_ERR_UNSUPPORTED : 0;
}

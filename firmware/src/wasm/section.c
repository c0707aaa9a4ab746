/* The `wasmote` section of a module: docs/PROTOCOL.md 5. */
#include "base/cbor.h"
#include "wasm/module.h"

enum {
    KEY_NAME = 1, KEY_VERSION, KEY_DEFAULT_EXPORT, KEY_ABI, KEY_HEAP, KEY_STACK, KEY_FUEL, KEY_OUTPUT,
    KEY_PERMISSIONS, KEY_PURE, KEY_IDEMPOTENT, KEY_LOG, KEY_NATIVE,
};

static int read_text(struct wm_cbor_reader *in, struct wm_span *out)
{
    struct wm_cbor_item item;
    if (wm_cbor_next(in, &item) || item.kind != WM_CBOR_TEXT) {
        return WM_ERR_MALFORMED;
    }
    *out = item.bytes;
    return 0;
}

static int read_uint(struct wm_cbor_reader *in, uint32_t *out)
{
    struct wm_cbor_item item;
    if (wm_cbor_next(in, &item) || item.kind != WM_CBOR_UINT || item.value > INT64_MAX) {
        return WM_ERR_MALFORMED;
    }
    *out = item.value < WM_SECTION_NONE ? (uint32_t)item.value : WM_SECTION_NONE - 1;
    return 0;
}

/* Read an array of texts; found, if not NULL, tells whether wanted is among them. */
static int read_texts(struct wm_cbor_reader *in, struct wm_span wanted, bool *found)
{
    struct wm_cbor_item head, item;
    if (wm_cbor_next(in, &head) || head.kind != WM_CBOR_ARRAY) {
        return WM_ERR_MALFORMED;
    }
    for (uint64_t i = 0; head.indefinite || i < head.value; i++) {
        if (wm_cbor_next(in, &item)) {
            return WM_ERR_MALFORMED;
        }
        if (head.indefinite && item.kind == WM_CBOR_BREAK) {
            break;
        }
        if (item.kind != WM_CBOR_TEXT) {
            return WM_ERR_MALFORMED;
        }
        if (found && wm_span_eq(item.bytes, wanted)) {
            *found = true;
        }
    }
    return 0;
}

static int read_list(struct wm_cbor_reader *in, struct wm_span *out)
{
    const uint8_t *start = in->rest.ptr;
    const int err = read_texts(in, wm_span(NULL, 0), NULL);
    *out = wm_span(start, (size_t)(in->rest.ptr - start));
    return err;
}

static int read_value(struct wm_cbor_reader *in, uint64_t key, struct wm_section *out)
{
    switch (key) {
    case KEY_NAME:
        return read_text(in, &out->name);
    case KEY_VERSION:
        return read_text(in, &out->version);
    case KEY_DEFAULT_EXPORT:
        return read_text(in, &out->default_export);
    case KEY_ABI:
        return read_uint(in, &out->abi);
    case KEY_HEAP:
        return read_uint(in, &out->heap_bytes);
    case KEY_STACK:
        return read_uint(in, &out->stack_bytes);
    case KEY_FUEL:
        return read_uint(in, &out->fuel);
    case KEY_OUTPUT:
        return read_uint(in, &out->output_bytes);
    case KEY_LOG:
        return read_uint(in, &out->log_lines);
    case KEY_NATIVE:
        return read_uint(in, &out->native_bytes);
    case KEY_PERMISSIONS:
        return read_list(in, &out->permissions);
    case KEY_PURE:
        return read_list(in, &out->pure);
    case KEY_IDEMPOTENT:
        return read_list(in, &out->idempotent);
    default:
        return wm_cbor_skip(in) ? WM_ERR_MALFORMED : 0;
    }
}

int wm_section_read(struct wm_span module, struct wm_section *out)
{
    *out = (struct wm_section){
        .abi = WM_SECTION_NONE, .heap_bytes = WM_SECTION_NONE, .stack_bytes = WM_SECTION_NONE, .fuel = WM_SECTION_NONE,
        .output_bytes = WM_SECTION_NONE, .native_bytes = WM_SECTION_NONE, .log_lines = WM_SECTION_NONE,
    };
    struct wm_cbor_reader in;
    const int err = wm_module_custom(module, "wasmote", &in.rest);
    if (err) {
        return err == WM_ERR_NOTFOUND ? 0 : WM_ERR_MALFORMED;
    }
    struct wm_cbor_item head, key;
    if (wm_cbor_next(&in, &head) || head.kind != WM_CBOR_MAP) {
        return WM_ERR_MALFORMED;
    }
    for (uint64_t i = 0; head.indefinite || i < head.value; i++) {
        if (wm_cbor_next(&in, &key)) {
            return WM_ERR_MALFORMED;
        }
        if (head.indefinite && key.kind == WM_CBOR_BREAK) {
            break;
        }
        if (key.kind != WM_CBOR_UINT && key.kind != WM_CBOR_NINT) {
            return WM_ERR_MALFORMED;
        }
        if (read_value(&in, key.kind == WM_CBOR_UINT ? key.value : UINT64_MAX, out)) {
            return WM_ERR_MALFORMED;
        }
    }
    return in.rest.len == 0 ? 0 : WM_ERR_MALFORMED;
}

bool wm_section_lists(struct wm_span cbor_array, struct wm_span name)
{
    struct wm_cbor_reader in = {cbor_array};
    bool found = false;
    return cbor_array.len != 0 && read_texts(&in, name, &found) == 0 && found;
}

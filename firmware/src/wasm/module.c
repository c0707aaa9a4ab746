#include "wasm/module.h"

/* Section identifiers (WebAssembly core specification, 5.5). */
enum {
    SECTION_CUSTOM, SECTION_TYPE, SECTION_IMPORT, SECTION_FUNCTION, SECTION_TABLE, SECTION_MEMORY,
    SECTION_GLOBAL, SECTION_EXPORT, SECTION_START, SECTION_ELEMENT, SECTION_CODE, SECTION_DATA,
    SECTION_DATA_COUNT,
};
enum { OP_END = 0x0b, OP_GLOBAL_GET = 0x23, OP_I32_CONST = 0x41, OP_I64_CONST, OP_F32_CONST, OP_F64_CONST };

#define HEADER_BYTES 8
#define FORM_FUNC    0x60
#define MAX_PAGES    65536u

/* Reads forward over borrowed bytes; every getter returns 0, WM_ERR_TRUNCATED or WM_ERR_MALFORMED. */
struct reader {
    const uint8_t *at, *end;
};

static struct reader reader(struct wm_span bytes)
{
    return (struct reader){bytes.ptr, bytes.ptr + bytes.len};
}

static int get_byte(struct reader *r, uint8_t *out)
{
    if (r->at == r->end) {
        return WM_ERR_TRUNCATED;
    }
    *out = *r->at++;
    return 0;
}

/* LEB128 of at most 32 bits; what does not fit them is malformed. */
static int get_u32(struct reader *r, uint32_t *out)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte;
        if (get_byte(r, &byte)) {
            return WM_ERR_TRUNCATED;
        }
        if (shift == 28 && byte > 0x0f) {
            return WM_ERR_MALFORMED;
        }
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return 0;
        }
    }
    return WM_ERR_MALFORMED;
}

/* Signed LEB128 of at most 32 bits: in the fifth byte the unused bits repeat the sign. */
static int get_i32(struct reader *r, uint32_t *out)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte;
        if (get_byte(r, &byte)) {
            return WM_ERR_TRUNCATED;
        }
        if (shift == 28 && byte > 0x07 && (byte < 0x78 || byte > 0x7f)) {
            return WM_ERR_MALFORMED;
        }
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if ((byte & 0x40) != 0 && shift < 28) {
                value |= UINT32_MAX << (shift + 7);
            }
            *out = value;
            return 0;
        }
    }
    return WM_ERR_MALFORMED;
}

static int skip_leb(struct reader *r, unsigned max_bytes)
{
    while (max_bytes-- > 0) {
        uint8_t byte;
        if (get_byte(r, &byte)) {
            return WM_ERR_TRUNCATED;
        }
        if (byte < 0x80) {
            return 0;
        }
    }
    return WM_ERR_MALFORMED;
}

static int get_bytes(struct reader *r, size_t len, struct wm_span *out)
{
    if (len > (size_t)(r->end - r->at)) {
        return WM_ERR_TRUNCATED;
    }
    *out = wm_span(r->at, len);
    r->at += len;
    return 0;
}

/* A vector of bytes: a name, or value types. */
static int get_vector(struct reader *r, struct wm_span *out)
{
    uint32_t len;
    const int err = get_u32(r, &len);
    return err ? err : get_bytes(r, len, out);
}

static int get_section(struct reader *r, uint8_t *id, struct wm_span *content)
{
    const int err = get_byte(r, id);
    return err ? err : get_vector(r, content);
}

static int begin(struct wm_span module, struct reader *r)
{
    static const uint8_t header[HEADER_BYTES] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    const size_t len = module.len < sizeof header ? module.len : sizeof header;
    if (len > 0 && memcmp(module.ptr, header, len) != 0) {
        return WM_ERR_MALFORMED;
    }
    if (len < sizeof header) {
        return WM_ERR_TRUNCATED;
    }
    *r = reader(wm_span(module.ptr + len, module.len - len));
    return 0;
}

int wm_module_check(struct wm_span module)
{
    struct reader r;
    int err = begin(module, &r);
    /* Place of each section in a module; data count comes before code. Custom sections go anywhere. */
    static const uint8_t place[] = {
        [SECTION_TYPE] = 1,   [SECTION_IMPORT] = 2, [SECTION_FUNCTION] = 3, [SECTION_TABLE] = 4,
        [SECTION_MEMORY] = 5, [SECTION_GLOBAL] = 6, [SECTION_EXPORT] = 7,   [SECTION_START] = 8,
        [SECTION_ELEMENT] = 9, [SECTION_DATA_COUNT] = 10, [SECTION_CODE] = 11, [SECTION_DATA] = 12,
    };
    unsigned last = 0;
    while (!err && r.at < r.end) {
        uint8_t id;
        struct wm_span content;
        err = get_section(&r, &id, &content);
        if (!err && id != SECTION_CUSTOM) {
            if (id >= sizeof place || place[id] <= last) {
                return WM_ERR_MALFORMED;
            }
            last = place[id];
        }
    }
    return err;
}

/* A reader over the section's content. WM_ERR_NOTFOUND: the module has none. */
static int find_section(struct wm_span module, uint8_t wanted, struct reader *out)
{
    struct reader r;
    int err = begin(module, &r);
    while (!err && r.at < r.end) {
        uint8_t id;
        struct wm_span content;
        err = get_section(&r, &id, &content);
        if (!err && id == wanted) {
            *out = reader(content);
            return 0;
        }
    }
    return err ? WM_ERR_MALFORMED : WM_ERR_NOTFOUND;
}

/* The same with the number of entries that the content starts with. */
static int find_entries(struct wm_span module, uint8_t wanted, struct reader *out, uint32_t *count)
{
    const int err = find_section(module, wanted, out);
    if (err) {
        return err;
    }
    return get_u32(out, count) ? WM_ERR_MALFORMED : 0;
}

static int get_limits(struct reader *r, uint32_t *min, uint32_t *max)
{
    uint8_t flags;
    if (get_byte(r, &flags) || flags > 1 || get_u32(r, min)) {
        return WM_ERR_MALFORMED;
    }
    *max = MAX_PAGES;
    return flags && get_u32(r, max) ? WM_ERR_MALFORMED : 0;
}

/* One entry of the import section; limits go to min and max, a global's two bytes to min. */
static int get_import(struct reader *r, struct wm_import *out, uint32_t *min, uint32_t *max)
{
    uint8_t type;
    *out = (struct wm_import){.type = 0};
    *min = *max = 0;
    if (get_vector(r, &out->module) || get_vector(r, &out->name) || get_byte(r, &out->kind)) {
        return WM_ERR_MALFORMED;
    }
    int err = 0;
    switch (out->kind) {
    case WM_EXTERN_FUNC:
        err = get_u32(r, &out->type);
        break;
    case WM_EXTERN_TABLE:
        err = get_byte(r, &type);
        /* fall through */
    case WM_EXTERN_MEMORY:
        err = err ? err : get_limits(r, min, max);
        break;
    case WM_EXTERN_GLOBAL:
        err = get_byte(r, &type) || get_byte(r, &type);
        break;
    default:
        err = WM_ERR_MALFORMED;
    }
    return err ? WM_ERR_MALFORMED : 0;
}

int wm_module_import(struct wm_span module, uint32_t n, struct wm_import *out)
{
    struct reader r;
    uint32_t count, min, max;
    const int err = find_entries(module, SECTION_IMPORT, &r, &count);
    if (err) {
        return err;
    }
    if (n >= count) {
        return WM_ERR_NOTFOUND;
    }
    for (uint32_t i = 0; i <= n; i++) {
        if (get_import(&r, out, &min, &max)) {
            return WM_ERR_MALFORMED;
        }
    }
    return 0;
}

/* Look for import number n among those of one kind. Returns 0 and the import, or WM_ERR_NOTFOUND and how many
 * of that kind there are, or WM_ERR_MALFORMED. */
static int nth_import(struct wm_span module, uint8_t kind, uint32_t n, struct wm_import *out, uint32_t *min,
                      uint32_t *max, uint32_t *seen)
{
    struct reader r;
    uint32_t count;
    *seen = 0;
    const int err = find_entries(module, SECTION_IMPORT, &r, &count);
    if (err) {
        return err;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (get_import(&r, out, min, max)) {
            return WM_ERR_MALFORMED;
        }
        if (out->kind == kind && (*seen)++ == n) {
            return 0;
        }
    }
    return WM_ERR_NOTFOUND;
}

static int get_export(struct reader *r, struct wm_export *out)
{
    if (get_vector(r, &out->name) || get_byte(r, &out->kind) || out->kind > WM_EXTERN_GLOBAL ||
        get_u32(r, &out->item)) {
        return WM_ERR_MALFORMED;
    }
    return 0;
}

int wm_module_export(struct wm_span module, uint32_t n, struct wm_export *out)
{
    struct reader r;
    uint32_t count;
    const int err = find_entries(module, SECTION_EXPORT, &r, &count);
    if (err) {
        return err;
    }
    if (n >= count) {
        return WM_ERR_NOTFOUND;
    }
    for (uint32_t i = 0; i <= n; i++) {
        if (get_export(&r, out)) {
            return WM_ERR_MALFORMED;
        }
    }
    out->index = n;
    return 0;
}

int wm_module_find_export(struct wm_span module, struct wm_span name, struct wm_export *out)
{
    struct reader r;
    uint32_t count;
    const int err = find_entries(module, SECTION_EXPORT, &r, &count);
    if (err) {
        return err;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (get_export(&r, out)) {
            return WM_ERR_MALFORMED;
        }
        if (wm_span_eq(out->name, name)) {
            out->index = i;
            return 0;
        }
    }
    return WM_ERR_NOTFOUND;
}

static bool all_numbers(struct wm_span types)
{
    for (size_t i = 0; i < types.len; i++) {
        if (types.ptr[i] < WM_F64 || types.ptr[i] > WM_I32) {
            return false;
        }
    }
    return true;
}

int wm_module_signature(struct wm_span module, uint32_t function, struct wm_signature *out)
{
    struct wm_import import;
    uint32_t imported, min, max, count, type = 0;
    struct reader r;
    int err = nth_import(module, WM_EXTERN_FUNC, function, &import, &min, &max, &imported);
    if (err == 0) {
        type = import.type;
    } else if (err == WM_ERR_NOTFOUND) {
        err = find_entries(module, SECTION_FUNCTION, &r, &count);
        if (err) {
            return err;
        }
        if (function - imported >= count) {
            return WM_ERR_NOTFOUND;
        }
        for (uint32_t i = 0; i <= function - imported; i++) {
            if (get_u32(&r, &type)) {
                return WM_ERR_MALFORMED;
            }
        }
    } else {
        return err;
    }
    err = find_entries(module, SECTION_TYPE, &r, &count);
    if (err || type >= count) {
        return WM_ERR_MALFORMED;
    }
    for (uint32_t i = 0; i <= type; i++) {
        uint8_t form;
        if (get_byte(&r, &form) || form != FORM_FUNC || get_vector(&r, &out->params) ||
            get_vector(&r, &out->results)) {
            return WM_ERR_MALFORMED;
        }
    }
    return all_numbers(out->params) && all_numbers(out->results) ? 0 : WM_ERR_MALFORMED;
}

/* Step over one instruction of a constant expression. Returns its opcode or an error. */
static int get_const_op(struct reader *r, uint32_t *i32)
{
    uint8_t op;
    struct wm_span skipped;
    if (get_byte(r, &op)) {
        return WM_ERR_MALFORMED;
    }
    int err = 0;
    switch (op) {
    case OP_END:
        break;
    case OP_GLOBAL_GET:
        err = skip_leb(r, 5);
        break;
    case OP_I32_CONST:
        err = get_i32(r, i32);
        break;
    case OP_I64_CONST:
        err = skip_leb(r, 10);
        break;
    case OP_F32_CONST:
        err = get_bytes(r, 4, &skipped);
        break;
    case OP_F64_CONST:
        err = get_bytes(r, 8, &skipped);
        break;
    default:
        err = WM_ERR_MALFORMED;
    }
    return err ? WM_ERR_MALFORMED : op;
}

int wm_module_global_i32(struct wm_span module, uint32_t global, uint32_t *out)
{
    struct wm_import import;
    uint32_t imported, min, max, count;
    struct reader r;
    int err = nth_import(module, WM_EXTERN_GLOBAL, global, &import, &min, &max, &imported);
    if (err == 0) {
        return WM_ERR_NOTFOUND; /* its value is not in the module */
    }
    if (err == WM_ERR_NOTFOUND) {
        err = find_entries(module, SECTION_GLOBAL, &r, &count);
    }
    if (err) {
        return err;
    }
    if (global - imported >= count) {
        return WM_ERR_NOTFOUND;
    }
    for (uint32_t i = 0;; i++) {
        uint8_t type, mutable;
        uint32_t value = 0;
        if (get_byte(&r, &type) || get_byte(&r, &mutable)) {
            return WM_ERR_MALFORMED;
        }
        const int first = get_const_op(&r, &value);
        int op = first;
        while (op >= 0 && op != OP_END) {
            uint32_t ignored;
            op = get_const_op(&r, &ignored);
        }
        if (op < 0) {
            return WM_ERR_MALFORMED;
        }
        if (i == global - imported) {
            if (type != WM_I32 || mutable != 0 || first != OP_I32_CONST) {
                return WM_ERR_NOTFOUND;
            }
            *out = value;
            return 0;
        }
    }
}

uint32_t wm_module_globals(struct wm_span module)
{
    struct reader r;
    uint32_t count;
    return find_entries(module, SECTION_GLOBAL, &r, &count) == 0 ? count : 0;
}

int wm_module_memory(struct wm_span module, uint32_t *initial_pages, uint32_t *max_pages)
{
    struct wm_import import;
    uint32_t imported, count;
    int err = nth_import(module, WM_EXTERN_MEMORY, 0, &import, initial_pages, max_pages, &imported);
    if (err != WM_ERR_NOTFOUND) {
        return err;
    }
    struct reader r;
    err = find_entries(module, SECTION_MEMORY, &r, &count);
    if (err) {
        return err;
    }
    return count == 0 ? WM_ERR_NOTFOUND : get_limits(&r, initial_pages, max_pages);
}

int wm_module_table(struct wm_span module, uint32_t *elements)
{
    struct reader r;
    uint32_t count, max;
    int err = find_entries(module, SECTION_TABLE, &r, &count);
    if (err) {
        return err;
    }
    uint8_t type;
    err = count == 0 ? WM_ERR_NOTFOUND : get_byte(&r, &type);
    return err ? err : get_limits(&r, elements, &max);
}

int wm_module_custom(struct wm_span module, const char *name, struct wm_span *out)
{
    struct reader r;
    int err = begin(module, &r);
    while (!err && r.at < r.end) {
        uint8_t id;
        struct wm_span content, found;
        err = get_section(&r, &id, &content);
        if (!err && id == SECTION_CUSTOM) {
            struct reader in = reader(content);
            err = get_vector(&in, &found);
            if (!err && wm_span_is(found, name)) {
                *out = wm_span(in.at, (size_t)(in.end - in.at));
                return 0;
            }
        }
    }
    return err ? WM_ERR_MALFORMED : WM_ERR_NOTFOUND;
}

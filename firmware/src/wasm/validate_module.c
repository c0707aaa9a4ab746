/* validate_module.c: the sections of a module, all but the instructions. Core specification, 3.4 and 5.5. */
#include "wasm/validate_state.h"

enum {
    SECTION_CUSTOM, SECTION_TYPE, SECTION_IMPORT, SECTION_FUNCTION, SECTION_TABLE, SECTION_MEMORY,
    SECTION_GLOBAL,
    SECTION_EXPORT, SECTION_START, SECTION_ELEMENT, SECTION_CODE, SECTION_DATA, SECTION_DATA_COUNT,
    SECTION_TAG,
};

#define EXTERN_TAG 4
#define NOT_CONST  UINT64_MAX /* an offset that is only known when imports are */

static void check_utf8(struct wm_validation *v, uint32_t len)
{
    const uint32_t end = v->at + len;
    while (v->at < end) {
        const uint8_t lead = v->bytes[v->at++];
        if (lead < 0x80) {
            continue;
        }
        const unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        uint32_t c = lead & (0x3fu >> more);
        bool ok = lead >= 0xc2 && lead <= 0xf4 && more <= end - v->at;
        for (unsigned i = 0; ok && i < more; i++) {
            const uint8_t next = v->bytes[v->at++];
            ok = (next & 0xc0) == 0x80;
            c = c << 6 | (next & 0x3f);
        }
        /* Overlong, beyond Unicode, half of a pair */
        const bool outside = (more == 2 && c < 0x800) || (more == 3 && (c < 0x10000 || c > 0x10ffff));
        if (!ok || outside || c >> 11 == 0x1b) {
            wm_val_malformed(v, "malformed UTF-8");
            return;
        }
    }
}

static struct wm_span read_name(struct wm_validation *v)
{
    const uint32_t len = wm_val_read_count(v);
    const struct wm_span name = wm_span(v->bytes + v->at, len);
    check_utf8(v, len);
    return name;
}

static void read_extern_name(struct wm_validation *v)
{
    if (read_name(v).len > WM_LIMIT(WM_MODULE_NAME_BYTES)) {
        wm_val_limit(v, "a name is too long");
    }
}

/* Count of items that go into a table of capacity `cap`, which has `used` of them: what does not fit
 * cannot be validated. */
static uint32_t read_table_count(struct wm_validation *v, uint32_t used, uint32_t cap, const char *text)
{
    const uint32_t count = wm_val_read_count(v);
    if (count > cap - used) {
        wm_val_fail(v, WM_REFUSED_LIMIT, text);
        return 0;
    }
    return count;
}

static uint32_t read_index(struct wm_validation *v, uint32_t count, const char *text)
{
    const uint32_t start = v->at;
    const uint32_t index = wm_val_read_u32(v);
    if (index >= count) {
        v->mark = start;
        wm_val_invalid(v, text);
        return 0;
    }
    return index;
}

/* ---- types, imports ---- */

static uint32_t read_types(struct wm_validation *v, uint32_t max, const char *text)
{
    const uint32_t count = wm_val_read_count(v);
    if (count > max) {
        wm_val_fail(v, WM_REFUSED_LIMIT, text);
    }
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        wm_val_read_valtype(v);
    }
    return count;
}

static void type_section(struct wm_validation *v)
{
    const uint32_t count = read_table_count(v, 0, WM_LIMIT(WM_MODULE_TYPES), "too many types");
    for (; v->types < count && !v->failed; v->types++) {
        v->mark = v->at;
        const uint8_t form = wm_val_read_byte(v);
        if (form != 0x60) {
            if (form >= 0x4d && form <= 0x5f) {
                wm_val_unsupported(v, "types of garbage collection");
            } else {
                wm_val_malformed(v, "unknown form of type");
            }
        }
        v->type_off[v->types] = v->at;
        read_types(v, WM_LIMIT(WM_MODULE_PARAMS), "a type has too many parameters");
        read_types(v, WM_LIMIT(WM_MODULE_RESULTS), "a type has too many results");
    }
}

static void add_function(struct wm_validation *v)
{
    v->function_type[v->functions] = (uint16_t)read_index(v, v->types, "unknown type");
    v->functions++;
}

static void read_global_type(struct wm_validation *v)
{
    const uint8_t type = wm_val_read_valtype(v);
    const uint8_t mutability = wm_val_read_byte(v);
    if (mutability > 1) {
        wm_val_malformed(v, "malformed mutability");
    }
    v->global[v->globals++] = mutability != 0 ? type | WM_GLOBAL_MUTABLE : type;
}

static void read_limits(struct wm_validation *v, uint32_t max, const char *text)
{
    v->mark = v->at;
    const uint8_t flags = wm_val_read_byte(v);
    if (flags > 1) {
        if (flags <= 3) {
            wm_val_unsupported(v, "shared memory");
        } else if (flags <= 7) {
            wm_val_unsupported(v, "memory64");
        } else {
            wm_val_malformed(v, "malformed limits flags");
        }
    }
    const uint32_t least = wm_val_read_u32(v);
    const uint32_t most = flags == 1 ? wm_val_read_u32(v) : max;
    if (least > max || most > max) {
        wm_val_invalid(v, text);
    } else if (least > most) {
        wm_val_invalid(v, "size minimum must not be greater than maximum");
    }
}

static void read_table(struct wm_validation *v)
{
    v->mark = v->at;
    const uint8_t type = wm_val_read_byte(v);
    if (type != 0x70) {
        if (type >= 0x63 && type <= 0x74) {
            wm_val_unsupported(v, "reference types");
        } else {
            wm_val_malformed(v, "malformed element type");
        }
    }
    if (v->has_table) {
        wm_val_unsupported(v, "more than one table");
    }
    v->has_table = true;
    read_limits(v, UINT32_MAX, "table size");
}

static void read_memory(struct wm_validation *v)
{
    if (v->has_memory) {
        wm_val_unsupported(v, "more than one memory");
    }
    v->has_memory = true;
    read_limits(v, 65536, "memory size must be at most 65536 pages (4 GiB)");
}

static void import_section(struct wm_validation *v)
{
    const uint32_t count = wm_val_read_count(v);
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        read_extern_name(v);
        read_extern_name(v);
        v->mark = v->at;
        switch (wm_val_read_byte(v)) {
        case WM_EXTERN_FUNC:
            if (v->functions == WM_LIMIT(WM_MODULE_FUNCTIONS)) {
                wm_val_fail(v, WM_REFUSED_LIMIT, "too many functions");
                return;
            }
            add_function(v);
            break;
        case WM_EXTERN_TABLE: /* wasm3 would read on in the middle of the table's type */
            wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, "imported table");
            read_table(v);
            break;
        case WM_EXTERN_MEMORY:
            wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, "imported memory");
            read_memory(v);
            break;
        case WM_EXTERN_GLOBAL:
            if (v->globals == WM_LIMIT(WM_MODULE_GLOBALS)) {
                wm_val_fail(v, WM_REFUSED_LIMIT, "too many globals");
                return;
            }
            read_global_type(v);
            break;
        case EXTERN_TAG:
            wm_val_unsupported(v, "exceptions");
            break;
        default:
            wm_val_malformed(v, "malformed import kind");
        }
    }
    v->imported_functions = v->functions;
    v->imported_globals = v->globals;
}

/* ---- definitions ---- */

static void function_section(struct wm_validation *v)
{
    const uint32_t count = read_table_count(v, v->functions, WM_LIMIT(WM_MODULE_FUNCTIONS), "too many functions");
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        add_function(v);
    }
}

static void table_section(struct wm_validation *v)
{
    const uint32_t count = wm_val_read_count(v);
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        read_table(v);
    }
}

static void memory_section(struct wm_validation *v)
{
    const uint32_t count = wm_val_read_count(v);
    if (count == 0) {
        wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, "a memory section without a memory");
    }
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        read_memory(v);
    }
}

/* A constant expression of this type. Returns the value of an i32.const, else NOT_CONST. */
static uint64_t read_const(struct wm_validation *v, uint8_t type)
{
    uint64_t value = NOT_CONST;
    v->mark = v->at;
    const uint8_t opcode = wm_val_read_byte(v);
    uint8_t got = WM_UNKNOWN;
    switch (opcode) {
    case OP_I32_CONST:
        value = (uint32_t)wm_val_read_leb(v, 32, true);
        got = WM_I32;
        break;
    case OP_I64_CONST:
        wm_val_read_leb(v, 64, true);
        got = WM_I64;
        break;
    case OP_F32_CONST:
        wm_val_skip(v, 4);
        got = WM_F32;
        break;
    case OP_F64_CONST:
        wm_val_skip(v, 8);
        got = WM_F64;
        break;
    case OP_GLOBAL_GET: {
        const uint32_t global = read_index(v, v->imported_globals, "unknown global");
        if (!v->failed && (v->global[global] & WM_GLOBAL_MUTABLE) != 0) {
            wm_val_invalid(v, "constant expression required");
        }
        got = v->failed ? type : v->global[global];
        break;
    }
    case OP_END:
        v->at--;
        break; /* no value: a mismatch */
    case OP_SIMD:
        wm_val_unsupported(v, "SIMD");
        break;
    case 0xd0: case 0xd2:
        wm_val_unsupported(v, "reference types");
        break;
    default:
        wm_val_invalid(v, "constant expression required");
    }
    if (!v->failed && got != type) {
        wm_val_invalid(v, "type mismatch in a constant expression");
    }
    v->mark = v->at;
    if (wm_val_read_byte(v) != OP_END) {
        wm_val_unsupported(v, "a constant expression of more than one instruction");
    }
    return value;
}

static void global_section(struct wm_validation *v)
{
    const uint32_t count = read_table_count(v, v->globals, WM_LIMIT(WM_MODULE_GLOBALS), "too many globals");
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        read_global_type(v);
        read_const(v, v->global[v->globals - 1] & (uint8_t)~WM_GLOBAL_MUTABLE);
    }
}

/* ---- exports, start ---- */

/* Whether one of the first n exports, which are validated and start at off, has this name. */
static bool has_export(const struct wm_validation *v, uint32_t off, uint32_t n, struct wm_span name)
{
    while (n-- > 0) {
        const uint32_t len = wm_val_count_at(v->bytes, &off);
        if (wm_span_eq(wm_span(v->bytes + off, len), name)) {
            return true;
        }
        off += len + 1;
        wm_val_count_at(v->bytes, &off);
    }
    return false;
}

static void export_section(struct wm_validation *v)
{
    const uint32_t count = read_table_count(v, 0, WM_LIMIT(WM_MODULE_EXPORTS), "too many exports");
    const uint32_t first = v->at;
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        const uint32_t start = v->at;
        const struct wm_span name = read_name(v);
        v->mark = start;
        if (name.len > WM_LIMIT(WM_MODULE_NAME_BYTES)) {
            wm_val_limit(v, "a name is too long");
        }
        if (!v->failed && has_export(v, first, i, name)) {
            wm_val_invalid(v, "duplicate export name");
        }
        v->mark = v->at;
        switch (wm_val_read_byte(v)) {
        case WM_EXTERN_FUNC:
            read_index(v, v->functions, "unknown function");
            break;
        case WM_EXTERN_TABLE:
            read_index(v, v->has_table, "unknown table");
            break;
        case WM_EXTERN_MEMORY:
            read_index(v, v->has_memory, "unknown memory");
            break;
        case WM_EXTERN_GLOBAL:
            read_index(v, v->globals, "unknown global");
            break;
        case EXTERN_TAG:
            wm_val_unsupported(v, "exceptions");
            break;
        default:
            wm_val_malformed(v, "malformed export kind");
        }
    }
}

static void start_section(struct wm_validation *v)
{
    v->mark = v->at;
    const uint32_t function = read_index(v, v->functions, "unknown function");
    if (!v->failed) {
        const struct wm_signature_at s = wm_val_function_at(v, function);
        if (s.params.count + s.results.count != 0) {
            wm_val_invalid(v, "the start function has parameters or results");
        }
    }
}

/* ---- elements, code, data ---- */

static uint32_t read_segment_count(struct wm_validation *v)
{
    const uint32_t count = wm_val_read_count(v);
    if (count > WM_LIMIT(WM_MODULE_SEGMENTS)) {
        wm_val_limit(v, "too many segments");
    }
    return count;
}

static void element_section(struct wm_validation *v)
{
    const uint32_t count = read_segment_count(v);
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        v->mark = v->at;
        const uint32_t flags = wm_val_read_u32(v);
        if (flags != 0) {
            if (flags > 7) {
                wm_val_malformed(v, "malformed elements segment kind");
            } else {
                wm_val_unsupported(v, "an element segment that is passive or names its table");
            }
        } else if (!v->has_table) {
            wm_val_invalid(v, "unknown table");
        }
        const uint64_t offset = read_const(v, WM_I32);
        const uint32_t start = v->at;
        const uint32_t n = wm_val_read_count(v);
        if (offset != NOT_CONST && offset + n > WM_LIMIT(WM_MODULE_TABLE)) {
            v->mark = start;
            wm_val_limit(v, "the table is too large");
        }
        for (uint32_t k = 0; k < n && !v->failed; k++) {
            read_index(v, v->functions, "unknown function");
        }
    }
}

static void code_section(struct wm_validation *v)
{
    const uint32_t end = v->end;
    v->mark = v->at;
    const uint32_t count = wm_val_read_count(v);
    if (count != v->functions - v->imported_functions) {
        wm_val_malformed(v, "function and code section have inconsistent lengths");
    }
    for (; v->code_bodies < count && !v->failed; v->code_bodies++) {
        v->function = (int32_t)(v->imported_functions + v->code_bodies);
        const uint32_t size = wm_val_read_count(v);
        if (v->failed) {
            break;
        }
        if (size > WM_LIMIT(WM_MODULE_CODE_BYTES)) {
            wm_val_limit(v, "a function's code is too large");
        }
        v->end = v->at + size;
        wm_val_body(v);
        v->end = end;
    }
    if (!v->failed) {
        v->function = -1;
    }
}

static void data_section(struct wm_validation *v)
{
    v->mark = v->at;
    const uint32_t count = read_segment_count(v);
    v->has_data = true;
    if (v->has_data_count && count != v->data_count) {
        wm_val_malformed(v, "data count and data section have inconsistent lengths");
    }
    for (uint32_t i = 0; i < count && !v->failed; i++) {
        v->mark = v->at;
        const uint32_t flags = wm_val_read_u32(v);
        if (flags != 0) {
            if (flags > 2) {
                wm_val_malformed(v, "malformed data segment kind");
            } else {
                wm_val_unsupported(v, "a data segment that is passive or names its memory");
            }
        } else if (!v->has_memory) {
            wm_val_invalid(v, "unknown memory");
        }
        read_const(v, WM_I32);
        wm_val_skip(v, wm_val_read_count(v));
    }
}

/* wasm3 reads the names of functions, and trusts their lengths: on 32 bits a large one leads it out of the
 * module. The specification has a node ignore such a section, so it is not malformed. */
static void name_section(struct wm_validation *v)
{
    const struct wm_refused refused = *v->refused;
    const bool soft = v->soft;
    const uint32_t end = v->end, mark = v->mark;
    while (v->at < end && !v->failed) {
        const uint8_t id = wm_val_read_byte(v);
        const uint32_t size = wm_val_read_count(v), next = v->at + size;
        if (id > 0x7f) {
            wm_val_malformed(v, "");
        }
        if (id == 1) {
            v->end = next;
            const uint32_t count = wm_val_read_count(v);
            for (uint32_t i = 0; i < count && !v->failed; i++) {
                wm_val_read_u32(v);
                wm_val_skip(v, wm_val_read_count(v));
            }
            v->end = end;
        }
        v->at = next;
    }
    if (v->failed) {
        v->failed = false;
        v->soft = soft;
        v->mark = mark;
        *v->refused = refused;
        wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, "a broken name section");
    }
}

static void custom_section(struct wm_validation *v)
{
    const uint32_t start = v->at;
    const struct wm_span name = read_name(v);
    v->mark = start;
    if (!v->failed && wm_span_is(name, "name")) {
        name_section(v);
    }
    v->at = v->end;
}

/* ---- the module ---- */

static void read_section(struct wm_validation *v, uint8_t id)
{
    switch (id) {
    case SECTION_CUSTOM:
        custom_section(v);
        break;
    case SECTION_TYPE:
        type_section(v);
        break;
    case SECTION_IMPORT:
        import_section(v);
        break;
    case SECTION_FUNCTION:
        function_section(v);
        break;
    case SECTION_TABLE:
        table_section(v);
        break;
    case SECTION_MEMORY:
        memory_section(v);
        break;
    case SECTION_GLOBAL:
        global_section(v);
        break;
    case SECTION_EXPORT:
        export_section(v);
        break;
    case SECTION_START:
        start_section(v);
        break;
    case SECTION_ELEMENT:
        element_section(v);
        break;
    case SECTION_CODE:
        code_section(v);
        break;
    case SECTION_DATA:
        data_section(v);
        break;
    case SECTION_DATA_COUNT:
        v->has_data_count = true;
        v->data_count = wm_val_read_u32(v);
        break;
    }
}

void wm_val_sections(struct wm_validation *v)
{
    static const uint8_t header[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    /* Place of each section in a module, by its identifier; custom sections may be anywhere. */
    static const uint8_t place[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10};

    if (v->end < sizeof header || memcmp(v->bytes, header, sizeof header) != 0) {
        wm_val_malformed(v, v->end >= 4 && memcmp(v->bytes, header, 4) == 0 ? "unknown binary version"
                                                                        : "magic header not detected");
        return;
    }
    v->at = sizeof header;
    const uint32_t end = v->end;
    unsigned last = 0;
    while (v->at < end && !v->failed) {
        v->mark = v->at;
        const uint8_t id = wm_val_read_byte(v);
        if (id == SECTION_TAG) {
            wm_val_unsupported(v, "exceptions");
            return;
        }
        if (id >= sizeof place) {
            wm_val_malformed(v, "malformed section id");
            return;
        }
        if (id != SECTION_CUSTOM) {
            if (place[id] <= last) {
                wm_val_malformed(v, "section out of order, or twice");
                return;
            }
            last = place[id];
        }
        const uint32_t size = wm_val_read_count(v);
        if (v->failed) {
            return;
        }
        v->end = v->at + size;
        read_section(v, id);
        if (v->at != v->end) {
            v->mark = v->at;
            wm_val_malformed(v, "section size mismatch");
        }
        v->end = end;
    }
    v->mark = v->at;
    if (v->code_bodies != v->functions - v->imported_functions) {
        wm_val_malformed(v, "function and code section have inconsistent lengths");
    }
    if (v->has_data_count && !v->has_data && v->data_count != 0) {
        wm_val_malformed(v, "data count and data section have inconsistent lengths");
    }
}

/* wasm_read.c: takes a module apart, as far as it can be read. */
#include "wasm_mutate.h"

#include <string.h>

uint64_t wasm_leb(const uint8_t *bytes, size_t end, size_t *at)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end; shift += 7) {
        const uint8_t byte = bytes[(*at)++];
        if (shift < 64) {
            value |= (uint64_t)(byte & 0x7f) << shift;
        }
        if (byte < 0x80) {
            return value;
        }
    }
    return 0;
}

static void skip(size_t end, size_t *at, uint64_t n)
{
    *at = n > end - *at ? end : *at + (size_t)n;
}

static void skip_const(const uint8_t *bytes, size_t end, size_t *at)
{
    while (*at < end) {
        const uint8_t opcode = bytes[*at];
        const size_t len = wasm_instruction(bytes, end, *at);
        *at = len == 0 ? end : *at + len;
        if (opcode == 0x0b) {
            return;
        }
    }
}

static void skip_limits(const uint8_t *bytes, size_t end, size_t *at)
{
    const uint64_t flags = wasm_leb(bytes, end, at);
    (void)wasm_leb(bytes, end, at);
    if (flags & 1) {
        (void)wasm_leb(bytes, end, at);
    }
}

static void skip_name(const uint8_t *bytes, size_t end, size_t *at)
{
    skip(end, at, wasm_leb(bytes, end, at));
}

/* Step over one entry of a section. */
static void skip_item(const uint8_t *bytes, size_t end, size_t *at, uint8_t id)
{
    uint64_t n;
    uint8_t kind;
    switch (id) {
    case SEC_TYPE:
        skip(end, at, 1);
        skip_name(bytes, end, at); /* a vector of bytes, too */
        skip_name(bytes, end, at);
        break;
    case SEC_IMPORT:
        skip_name(bytes, end, at);
        skip_name(bytes, end, at);
        kind = *at < end ? bytes[*at] : 0;
        skip(end, at, kind == 1 ? 2 : 1);
        if (kind == 1 || kind == 2) {
            skip_limits(bytes, end, at);
        } else if (kind == 3) {
            skip(end, at, 2);
        } else {
            (void)wasm_leb(bytes, end, at);
        }
        break;
    case SEC_TABLE:
        skip(end, at, 1);
        skip_limits(bytes, end, at);
        break;
    case SEC_MEMORY:
        skip_limits(bytes, end, at);
        break;
    case SEC_GLOBAL:
        skip(end, at, 2);
        skip_const(bytes, end, at);
        break;
    case SEC_EXPORT:
        skip_name(bytes, end, at);
        skip(end, at, 1);
        (void)wasm_leb(bytes, end, at);
        break;
    case SEC_ELEMENT:
        (void)wasm_leb(bytes, end, at);
        skip_const(bytes, end, at);
        n = wasm_leb(bytes, end, at);
        while (n-- > 0 && *at < end) {
            (void)wasm_leb(bytes, end, at);
        }
        break;
    case SEC_CODE:
        skip_name(bytes, end, at);
        break;
    case SEC_DATA:
        (void)wasm_leb(bytes, end, at);
        skip_const(bytes, end, at);
        skip_name(bytes, end, at);
        break;
    default: /* function, and what has no entries */
        (void)wasm_leb(bytes, end, at);
    }
}

int wasm_section(const struct wasm *w, uint8_t id)
{
    for (unsigned i = 0; i < w->sections; i++) {
        if (w->section[i].id == id) {
            return (int)i;
        }
    }
    return -1;
}

unsigned wasm_items(const struct wasm *w, unsigned section, struct range *items)
{
    const struct range content = w->section[section].content;
    const size_t end = content.at + content.len;
    size_t at = content.at;
    const uint64_t count = wasm_leb(w->bytes, end, &at);
    unsigned n = 0;
    while (n < count && n < ITEMS_MAX && at < end) {
        const size_t start = at;
        skip_item(w->bytes, end, &at, w->section[section].id);
        items[n++] = (struct range){(uint32_t)start, (uint32_t)(at - start)};
    }
    return n;
}

static void read_functions(struct wasm *w, const struct range *item, unsigned n, bool imports)
{
    for (unsigned i = 0; i < n && w->funcs < FUNCS_MAX; i++) {
        size_t at = item[i].at;
        const size_t end = at + item[i].len;
        uint8_t kind = 0;
        if (imports) {
            skip_name(w->bytes, end, &at);
            skip_name(w->bytes, end, &at);
            kind = at < end ? w->bytes[at++] : 0;
        }
        if (kind == 0) {
            w->func_type[w->funcs++] = (uint16_t)wasm_leb(w->bytes, end, &at);
        } else if (kind == 3 && w->globals < GLOBALS_MAX && at + 2 <= end) {
            w->global[w->globals++] = (uint8_t)(w->bytes[at] | (w->bytes[at + 1] & 1) << 7);
        }
        w->has_table |= kind == 1;
        w->has_memory |= kind == 2;
    }
    w->imported = imports ? w->funcs : w->imported;
}

static void read_section(struct wasm *w, unsigned i)
{
    static struct range item[ITEMS_MAX];
    const uint8_t id = w->section[i].id;
    const unsigned n = id == SEC_CUSTOM || id == SEC_START ? 0 : wasm_items(w, i, item);
    switch (id) {
    case SEC_TYPE:
        for (w->types = 0; w->types < n && w->types < TYPES_MAX; w->types++) {
            size_t at = item[w->types].at + 1;
            const size_t end = item[w->types].at + item[w->types].len;
            struct range *part[] = {&w->type[w->types].params, &w->type[w->types].results};
            for (unsigned k = 0; k < 2; k++) {
                const uint64_t count = at < end ? wasm_leb(w->bytes, end, &at) : 0;
                const size_t start = at;
                skip(end, &at, count);
                *part[k] = (struct range){(uint32_t)start, (uint32_t)(at - start)};
            }
        }
        break;
    case SEC_IMPORT:
        read_functions(w, item, n, true);
        break;
    case SEC_FUNCTION:
        read_functions(w, item, n, false);
        break;
    case SEC_GLOBAL:
        for (unsigned k = 0; k < n && w->globals < GLOBALS_MAX && item[k].len >= 2; k++) {
            w->global[w->globals++] = (uint8_t)(w->bytes[item[k].at] | (w->bytes[item[k].at + 1] & 1) << 7);
        }
        break;
    case SEC_TABLE:
        w->has_table |= n > 0;
        break;
    case SEC_MEMORY:
        w->has_memory |= n > 0;
        break;
    default:
        break;
    }
}

bool wasm_read(struct wasm *w, const uint8_t *bytes, size_t len)
{
    memset(w, 0, sizeof *w);
    w->bytes = bytes;
    w->len = len;
    if (len < 8 || memcmp(bytes, "\0asm", 4) != 0) {
        return false;
    }
    size_t at = 8;
    while (at < len && w->sections < SECTIONS_MAX) {
        const uint8_t id = bytes[at++];
        const uint64_t size = wasm_leb(bytes, len, &at);
        const uint32_t there = size > len - at ? (uint32_t)(len - at) : (uint32_t)size;
        w->section[w->sections].id = id;
        w->section[w->sections].content = (struct range){(uint32_t)at, there};
        w->sections++;
        read_section(w, w->sections - 1);
        at += there;
    }
    return w->sections > 0;
}

size_t wasm_instruction(const uint8_t *bytes, size_t end, size_t at)
{
    const size_t start = at;
    if (at >= end) {
        return 0;
    }
    const uint8_t opcode = bytes[at++];
    if (opcode >= 0x28 && opcode <= 0x3e) { /* loads and stores */
        (void)wasm_leb(bytes, end, &at);
        (void)wasm_leb(bytes, end, &at);
        return at - start;
    }
    uint64_t n;
    switch (opcode) {
    case 0x02: case 0x03: case 0x04: case 0x0c: case 0x0d: case 0x10: case 0x20: case 0x21: case 0x22:
    case 0x23: case 0x24: case 0x3f: case 0x40: case 0x41: case 0x42:
        (void)wasm_leb(bytes, end, &at);
        break;
    case 0x0e:
        n = wasm_leb(bytes, end, &at);
        for (uint64_t i = 0; i <= n && at < end; i++) {
            (void)wasm_leb(bytes, end, &at);
        }
        break;
    case 0x11:
        (void)wasm_leb(bytes, end, &at);
        (void)wasm_leb(bytes, end, &at);
        break;
    case 0x43:
        skip(end, &at, 4);
        break;
    case 0x44:
        skip(end, &at, 8);
        break;
    case 0xfc:
        n = wasm_leb(bytes, end, &at);
        skip(end, &at, n == 8 || n == 10 ? 2 : n > 7 ? 1 : 0);
        break;
    default:
        break;
    }
    return at - start;
}

unsigned wasm_locals(const struct wasm *w, unsigned function, struct range body, uint8_t *types,
                     size_t *code)
{
    unsigned n = 0;
    const unsigned index = w->imported + function;
    const unsigned type = index < w->funcs ? w->func_type[index] : w->types;
    for (uint32_t i = 0; type < w->types && i < w->type[type].params.len && n < LOCALS_MAX; i++) {
        types[n++] = w->bytes[w->type[type].params.at + i];
    }
    size_t at = body.at;
    const size_t end = body.at + body.len;
    (void)wasm_leb(w->bytes, end, &at); /* size */
    uint64_t groups = wasm_leb(w->bytes, end, &at);
    while (groups-- > 0 && at < end) {
        uint64_t count = wasm_leb(w->bytes, end, &at);
        const uint8_t local = at < end ? w->bytes[at++] : 0;
        while (count-- > 0 && n < LOCALS_MAX) {
            types[n++] = local;
        }
    }
    *code = at;
    return n;
}

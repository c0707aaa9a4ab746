/* wasm_mutate.c: libFuzzer's mutation of modules. One change at a time; sizes and counts around it are
 * mended. Now and then bytes are changed as libFuzzer would without this file, and always so with
 * WM_FUZZ_BYTES_ONLY in the environment. */
#include "wasm_mutate.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 65536u

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                 uint8_t *out, size_t max_size, unsigned seed);

static struct range items[ITEMS_MAX];

static struct out *buffer(unsigned which)
{
    static uint8_t bytes[3][BUFFER_BYTES];
    static struct out outs[3];
    outs[which] = (struct out){.bytes = bytes[which], .cap = BUFFER_BYTES};
    return &outs[which];
}

/* ---- putting together ---- */

static void out_section(struct out *o, uint8_t id, const uint8_t *content, size_t len)
{
    out_byte(o, id);
    out_leb(o, len);
    out_bytes(o, content, len);
}

static void out_same_section(struct out *o, const struct wasm *w, unsigned i)
{
    out_section(o, w->section[i].id, w->bytes + w->section[i].content.at, w->section[i].content.len);
}

/* The module with other content in one section. */
static void with_section(struct out *o, const struct wasm *w, unsigned section, const struct out *content)
{
    out_bytes(o, w->bytes, 8);
    for (unsigned i = 0; i < w->sections; i++) {
        if (i == section) {
            out_section(o, w->section[i].id, content->bytes, content->len);
        } else {
            out_same_section(o, w, i);
        }
    }
}

static void out_item(struct out *o, const struct wasm *w, struct range item)
{
    out_bytes(o, w->bytes + item.at, item.len);
}

/* Place of a section in a module, by its number. */
static unsigned place_of(uint8_t id)
{
    static const uint8_t place[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10};
    return id < sizeof place ? place[id] : 13;
}

/* The module with a section more, where it belongs. */
static void with_new_section(struct out *o, const struct wasm *w, uint8_t id, const uint8_t *content,
                             size_t len)
{
    bool done = false;
    out_bytes(o, w->bytes, 8);
    for (unsigned i = 0; i < w->sections; i++) {
        if (!done && id != SEC_CUSTOM && place_of(w->section[i].id) > place_of(id)) {
            out_section(o, id, content, len);
            done = true;
        }
        out_same_section(o, w, i);
    }
    if (!done) {
        out_section(o, id, content, len);
    }
}

/* ---- sections ---- */

static void mutate_sections(struct out *o, const struct wasm *w)
{
    const unsigned victim = chance(w->sections), other = chance(w->sections), what = chance(4);
    out_bytes(o, w->bytes, 8);
    for (unsigned i = 0; i < w->sections; i++) {
        if (what == 0 && i == victim) {
            continue;
        }
        const unsigned from = what != 1 ? i : i == victim ? other : i == other ? victim : i;
        out_same_section(o, w, from);
        if (what == 2 && i == victim) {
            out_same_section(o, w, i);
        }
    }
    if (what == 3) { /* a prefix of it stays */
        o->len = 8 + chance((uint32_t)(o->len - 8));
    }
}

static void mutate_wasmote(struct out *o, const struct wasm *w)
{
    struct out *content = buffer(1);
    gen_wasmote(content);
    for (unsigned i = 0; i < w->sections; i++) {
        const struct range r = w->section[i].content;
        if (w->section[i].id == SEC_CUSTOM && r.len > 8 && memcmp(w->bytes + r.at, "\7wasmote", 8) == 0) {
            if (chance(2)) { /* its bytes */
                const uint32_t len = r.len < 1024 ? r.len : 1024;
                memcpy(content->bytes, w->bytes + r.at, len);
                content->len = 8 + LLVMFuzzerMutate(content->bytes + 8, len - 8, 1024);
            }
            with_section(o, w, i, content);
            return;
        }
    }
    with_new_section(o, w, SEC_CUSTOM, content->bytes, content->len);
}

static void mutate_content(struct out *o, const struct wasm *w)
{
    const unsigned i = chance(w->sections);
    const struct range r = w->section[i].content;
    struct out *content = buffer(1);
    const uint32_t len = r.len < BUFFER_BYTES / 2 ? r.len : BUFFER_BYTES / 2;
    memcpy(content->bytes, w->bytes + r.at, len);
    content->len = LLVMFuzzerMutate(content->bytes, len, BUFFER_BYTES / 2 + 64);
    with_section(o, w, i, content);
}

/* ---- entries ---- */

static void out_random_entry(struct out *o, const struct wasm *w, uint8_t id)
{
    switch (id) {
    case SEC_TYPE:
        out_byte(o, 0x60);
        for (unsigned half = 0; half < 2; half++) {
            const unsigned n = chance(8) == 0 ? chance(40) : chance(4);
            out_leb(o, n);
            for (unsigned i = 0; i < n; i++) {
                out_byte(o, T_F64 + chance(4));
            }
        }
        break;
    case SEC_IMPORT: {
        static const char *const names[] = {"input", "output", "log", "millis"};
        const char *name = names[chance(4)];
        out_byte(o, 7);
        out_bytes(o, (const uint8_t *)"wasmote", 7);
        out_leb(o, strlen(name));
        out_bytes(o, (const uint8_t *)name, strlen(name));
        out_byte(o, 0);
        out_leb(o, chance(w->types));
        break;
    }
    case SEC_TABLE:
        out_byte(o, 0x70);
        out_byte(o, 0);
        out_leb(o, chance(4) ? chance(20) : (uint32_t)edge_value());
        break;
    case SEC_MEMORY:
        out_byte(o, chance(2));
        out_leb(o, chance(2));
        if (o->bytes[o->len - 2] == 1) {
            out_leb(o, chance(4) ? 1 + chance(4) : (uint32_t)edge_value());
        }
        break;
    case SEC_GLOBAL: {
        const uint8_t type = (uint8_t)(T_F64 + chance(4));
        out_byte(o, type);
        out_byte(o, chance(2));
        gen_const(o, type);
        out_byte(o, 0x0b);
        break;
    }
    case SEC_EXPORT:
        out_byte(o, 2);
        out_byte(o, 'a' + chance(26));
        out_byte(o, 'a' + chance(26));
        out_byte(o, chance(8) == 0 ? chance(4) : 0);
        out_leb(o, chance(w->funcs + 1));
        break;
    case SEC_ELEMENT:
    case SEC_DATA:
        out_byte(o, 0);
        out_byte(o, 0x41);
        out_sleb(o, chance(4) ? (int64_t)chance(id == SEC_DATA ? 65600 : 20) : (int32_t)edge_value());
        out_byte(o, 0x0b);
        const unsigned n = chance(6);
        out_leb(o, n);
        for (unsigned i = 0; i < n; i++) {
            out_leb(o, chance(w->funcs));
        }
        break;
    default:
        out_leb(o, chance(w->types));
    }
}

/* Drop, copy, move, replace, add an entry of a section, or one of another kind of bytes in it. */
static void mutate_entries(struct out *o, const struct wasm *w)
{
    const unsigned section = chance(w->sections);
    const uint8_t id = w->section[section].id;
    if (id == SEC_CUSTOM || id == SEC_START || id >= SEC_DATA_COUNT) {
        mutate_content(o, w);
        return;
    }
    const unsigned n = wasm_items(w, section, items);
    struct out *content = buffer(1);
    const unsigned victim = chance(n), other = chance(n), what = n == 0 ? 4 : chance(6);
    const unsigned more = what == 1 || what == 4;
    out_leb(content, n + more - (what == 0));
    for (unsigned i = 0; i < n; i++) {
        if (i != victim) {
            out_item(content, w, items[i]);
            continue;
        }
        if (what == 2 || what == 1) {
            out_item(content, w, items[other]);
        }
        if (what == 3 && id != SEC_CODE) {
            out_random_entry(content, w, id);
        } else if (what == 5) { /* the entry's bytes */
            const size_t at = content->len;
            out_item(content, w, items[i]);
            const size_t len = content->len - at;
            content->len = at + LLVMFuzzerMutate(content->bytes + at, len, len + 8);
        } else if (what != 0 && what != 2) {
            out_item(content, w, items[i]);
        }
    }
    if (what == 4 && id != SEC_CODE) {
        out_random_entry(content, w, id);
    } else if (what == 4) {
        out_bytes(content, (const uint8_t[]){2, 0, 0x0b}, 3);
    }
    with_section(o, w, section, content);
}

/* ---- functions ---- */

static void add_entry(struct out *o, const struct wasm *w, uint8_t id, const struct out *entry)
{
    struct out *content = buffer(1);
    const int section = wasm_section(w, id);
    if (section < 0) {
        out_byte(content, 1);
        out_bytes(content, entry->bytes, entry->len);
        with_new_section(o, w, id, content->bytes, content->len);
        return;
    }
    const unsigned n = wasm_items(w, (unsigned)section, items);
    out_leb(content, n + 1);
    for (unsigned i = 0; i < n; i++) {
        out_item(content, w, items[i]);
    }
    out_bytes(content, entry->bytes, entry->len);
    with_section(o, w, (unsigned)section, content);
}

/* Take the module in place of the one that w was read from. */
static bool again(struct wasm *w, const struct out *o, uint8_t *copy)
{
    memcpy(copy, o->bytes, o->len);
    return !o->full && wasm_read(w, copy, o->len);
}

static void out_body(struct out *o, const struct wasm *w, unsigned type, unsigned size)
{
    static uint8_t raw[BUFFER_BYTES / 4];
    struct out body = {.bytes = raw, .cap = sizeof raw};
    uint8_t local[LOCALS_MAX];
    unsigned locals = 0;
    const struct range params = w->type[type].params, results = w->type[type].results;
    for (uint32_t i = 0; i < params.len && locals < 64; i++) {
        local[locals++] = w->bytes[params.at + i];
    }
    const unsigned groups = chance(4);
    out_leb(&body, groups);
    for (unsigned i = 0; i < groups; i++) {
        const unsigned n = 1 + (chance(16) == 0 ? chance(100) : chance(3));
        const uint8_t kind = (uint8_t)(T_F64 + chance(4));
        out_leb(&body, n);
        out_byte(&body, kind);
        for (unsigned k = 0; k < n && locals < LOCALS_MAX; k++) {
            local[locals++] = kind;
        }
    }
    const struct place p = {w, local, params.len > 64 ? 0 : locals, 0};
    gen_statement(&body, &p, size);
    for (uint32_t i = 0; i < results.len && i < 64; i++) {
        gen_value(&body, &p, w->bytes[results.at + i], size / 2);
    }
    out_byte(&body, 0x0b);
    out_leb(o, body.len);
    out_bytes(o, raw, body.len);
}

/* A new function, exported: an entry each in the sections of functions, exports and code. */
static void add_function(struct out *o, const struct wasm *source)
{
    static uint8_t copy[3][BUFFER_BYTES];
    struct wasm w = *source;
    const uint8_t ids[] = {SEC_FUNCTION, SEC_EXPORT, SEC_CODE};
    if (w.types == 0) {
        struct out *entry = buffer(2);
        out_random_entry(entry, &w, SEC_TYPE);
        add_entry(o, &w, SEC_TYPE, entry);
        return;
    }
    const unsigned type = chance(w.types), index = w.funcs;
    for (unsigned i = 0; i < 3; i++) {
        struct out *entry = buffer(2);
        if (i == 0) {
            out_leb(entry, type);
        } else if (i == 1) {
            out_byte(entry, 3);
            out_byte(entry, 'g');
            out_byte(entry, 'a' + index / 26 % 26);
            out_byte(entry, 'a' + index % 26);
            out_byte(entry, 0);
            out_leb(entry, index);
        } else {
            out_body(entry, &w, type, 2 + chance(24));
        }
        o->len = 0;
        add_entry(o, &w, ids[i], entry);
        if (i < 2 && !again(&w, o, copy[i])) {
            return;
        }
    }
}

/* One body, taken apart: up to ITEMS_MAX instructions. */
struct code {
    struct range body; /* with its size in front */
    size_t       start, end;
    struct range at[ITEMS_MAX];
    unsigned     n;
    uint8_t      local[LOCALS_MAX];
    unsigned     locals;
};

static bool read_code(struct code *c, const struct wasm *w, unsigned section, unsigned which, unsigned n)
{
    if (wasm_items(w, section, items) < n || n == 0) {
        return false;
    }
    c->body = items[which];
    c->end = c->body.at + c->body.len;
    c->locals = wasm_locals(w, which, c->body, c->local, &c->start);
    c->n = 0;
    for (size_t at = c->start; at < c->end && c->n < ITEMS_MAX;) {
        const size_t len = wasm_instruction(w->bytes, c->end, at);
        if (len == 0) {
            break;
        }
        c->at[c->n++] = (struct range){(uint32_t)at, (uint32_t)len};
        at += len;
    }
    return c->n > 0;
}

static unsigned depth_at(const struct wasm *w, const struct code *c, unsigned instruction)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < instruction; i++) {
        const uint8_t opcode = w->bytes[c->at[i].at];
        depth += opcode >= 2 && opcode <= 4;
        depth -= opcode == 0x0b && depth > 0;
    }
    return depth;
}

/* The instruction with another immediate. */
static void out_changed(struct out *o, const struct wasm *w, struct range instruction)
{
    const uint8_t opcode = w->bytes[instruction.at];
    if (opcode >= 0x45) {
        out_byte(o, gen_alike(opcode));
        out_bytes(o, w->bytes + instruction.at + 1, instruction.len - 1);
        return;
    }
    if (opcode >= 0x41) {
        gen_const(o, (uint8_t)(T_I32 - (opcode - 0x41)));
        return;
    }
    out_byte(o, opcode);
    if (opcode >= 0x28 && opcode <= 0x3e) {
        out_leb(o, chance(5));
        out_leb(o, (uint32_t)edge_value());
    } else if (opcode >= 2 && opcode <= 4) {
        if (chance(2)) {
            out_sleb(o, chance(w->types));
        } else {
            out_byte(o, chance(4) == 0 ? 0x40 : T_F64 + chance(4));
        }
    } else if (opcode == 0x0c || opcode == 0x0d) {
        out_leb(o, chance(4));
    } else if (opcode == 0x10) {
        out_leb(o, chance(w->funcs));
    } else if (opcode == 0x11) {
        out_leb(o, chance(w->types));
        out_byte(o, 0);
    } else if (opcode >= 0x20 && opcode <= 0x24) {
        out_leb(o, chance(16) == 0 ? (uint32_t)edge_value() : chance(8));
    } else {
        out_bytes(o, w->bytes + instruction.at + 1, instruction.len - 1);
    }
}

static void out_code(struct out *o, const struct wasm *w, const struct code *c, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to && i < c->n; i++) {
        out_item(o, w, c->at[i]);
    }
}

/* New code of a body: what is at [a, b) becomes something else. */
static void change_code(struct out *o, const struct wasm *w, const struct code *c, const struct wasm *other,
                        const struct code *theirs)
{
    const unsigned a = chance(c->n), span = 1 + chance(chance(4) ? 3 : c->n);
    const unsigned b = a + span < c->n ? a + span : c->n;
    const struct place p = {w, c->local, c->locals, depth_at(w, c, a)};
    out_code(o, w, c, 0, a);
    switch (theirs != NULL ? 9 : chance(9)) {
    case 0: case 1: /* something that leaves nothing, before it */
        gen_statement(o, &p, 1 + chance(12));
        out_code(o, w, c, a, c->n);
        return;
    case 2: case 3:
        out_changed(o, w, c->at[a]);
        out_code(o, w, c, a + 1, c->n);
        return;
    case 4: /* less */
        out_code(o, w, c, b, c->n);
        return;
    case 5: /* twice */
        out_code(o, w, c, a, b);
        out_code(o, w, c, a, c->n);
        return;
    case 6: /* in another order */
        out_code(o, w, c, b, b + 1);
        out_code(o, w, c, a, b);
        out_code(o, w, c, b + 1, c->n);
        return;
    case 7: /* in a block */
        out_byte(o, 2 + chance(2));
        out_byte(o, chance(2) ? 0x40 : T_F64 + chance(4));
        out_code(o, w, c, a, b);
        out_byte(o, 0x0b);
        out_code(o, w, c, b, c->n);
        return;
    case 8: /* a value of some type, and nothing that takes it */
        gen_value(o, &p, (uint8_t)(T_F64 + chance(4)), 1 + chance(8));
        if (chance(2)) {
            out_byte(o, 0x1a);
        }
        out_code(o, w, c, chance(2) ? a : b, c->n);
        return;
    default: { /* code of another module */
        const unsigned from = chance(theirs->n), n = chance(theirs->n - from + 1);
        out_code(o, other, theirs, from, from + n);
        out_code(o, w, c, chance(2) ? a : b, c->n);
    }
    }
}

static struct code ours, theirs;

/* One body changed. other: where code may come from, or NULL. */
static bool mutate_code(struct out *o, const struct wasm *w, const struct wasm *other)
{
    const int section = wasm_section(w, SEC_CODE);
    const unsigned n = section < 0 ? 0 : wasm_items(w, (unsigned)section, items);
    const unsigned which = chance(n);
    if (n == 0 || !read_code(&ours, w, (unsigned)section, which, n)) {
        return false;
    }
    const bool fresh = other == NULL && chance(10) == 0 && w->imported + which < w->funcs &&
                       w->func_type[w->imported + which] < w->types;
    struct out *code = buffer(2);
    struct code *from = NULL;
    if (other != NULL) {
        const int s = wasm_section(other, SEC_CODE);
        const unsigned m = s < 0 ? 0 : wasm_items(other, (unsigned)s, items);
        from = m > 0 && read_code(&theirs, other, (unsigned)s, chance(m), m) ? &theirs : NULL;
        if (from == NULL) {
            return false;
        }
    }
    if (fresh) {
        out_body(code, w, w->func_type[w->imported + which], 2 + chance(32));
    } else {
        size_t at = ours.body.at; /* locals as they are */
        (void)wasm_leb(w->bytes, ours.end, &at);
        out_bytes(code, w->bytes + at, ours.start - at);
        change_code(code, w, &ours, other, from);
    }
    struct out *content = buffer(1);
    const unsigned again_n = wasm_items(w, (unsigned)section, items);
    out_leb(content, n);
    for (unsigned i = 0; i < again_n; i++) {
        if (i != which) {
            out_item(content, w, items[i]);
            continue;
        }
        if (!fresh) {
            out_leb(content, code->len);
        }
        out_bytes(content, code->bytes, code->len);
    }
    with_section(o, w, (unsigned)section, content);
    return true;
}

/* ---- libFuzzer ---- */

static size_t start_anew(struct out *o)
{
    static const uint8_t nothing[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 5, 3, 1, 0, 1};
    out_bytes(o, nothing, sizeof nothing);
    return o->len;
}

static bool bytes_only(void)
{
    static int only = -1;
    if (only < 0) {
        only = getenv("WM_FUZZ_BYTES_ONLY") != NULL;
    }
    return only;
}

static size_t deliver(uint8_t *data, const struct out *o, size_t max_size)
{
    if (o->full || o->len == 0 || o->len > max_size) {
        return 0;
    }
    memcpy(data, o->bytes, o->len);
    return o->len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct wasm w;
    chance_seed(seed);
    struct out *o = buffer(0);
    if (bytes_only() || chance(12) == 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    if (!wasm_read(&w, data, size)) {
        if (chance(2)) {
            return LLVMFuzzerMutate(data, size, max_size);
        }
        start_anew(o);
    } else {
        const unsigned what = chance(20);
        if (what == 0) {
            mutate_sections(o, &w);
        } else if (what == 1) {
            mutate_wasmote(o, &w);
        } else if (what == 2) {
            mutate_content(o, &w);
        } else if (what <= 5) {
            mutate_entries(o, &w);
        } else if (what <= 8) {
            add_function(o, &w);
        } else if (!mutate_code(o, &w, NULL)) {
            add_function(o, &w);
        }
    }
    const size_t len = deliver(data, o, max_size);
    return len > 0 ? len : LLVMFuzzerMutate(data, size, max_size);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                 uint8_t *out, size_t max_size, unsigned seed)
{
    static struct wasm a, b;
    chance_seed(seed);
    struct out *o = buffer(0);
    if (!wasm_read(&a, data1, size1) || !wasm_read(&b, data2, size2)) {
        return 0;
    }
    if (chance(4) != 0) {
        (void)mutate_code(o, &a, &b);
    } else { /* a section of the other one */
        const unsigned theirs_at = chance(b.sections);
        const struct range r = b.section[theirs_at].content;
        struct out *content = buffer(1);
        out_bytes(content, b.bytes + r.at, r.len);
        const int mine = wasm_section(&a, b.section[theirs_at].id);
        if (mine >= 0) {
            with_section(o, &a, (unsigned)mine, content);
        } else {
            with_new_section(o, &a, b.section[theirs_at].id, content->bytes, content->len);
        }
    }
    return deliver(out, o, max_size);
}

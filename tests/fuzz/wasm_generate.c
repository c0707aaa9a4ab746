/* wasm_generate.c: code of any shape that fits a place in a module: right types, what is there to be
 * called and read. It leans towards what wasm3 finds hard: results of blocks, branches that carry values,
 * values in its two registers across blocks, calls among operands. */
#include "wasm_mutate.h"

#include <string.h>

/* ---- output ---- */

void out_byte(struct out *o, unsigned byte)
{
    if (o->len == o->cap) {
        o->full = true;
        return;
    }
    o->bytes[o->len++] = (uint8_t)byte;
}

void out_bytes(struct out *o, const uint8_t *bytes, size_t len)
{
    if (len > o->cap - o->len) {
        o->full = true;
        return;
    }
    memcpy(o->bytes + o->len, bytes, len);
    o->len += len;
}

void out_leb(struct out *o, uint64_t value)
{
    while (value >= 0x80) {
        out_byte(o, (unsigned)(value & 0x7f) | 0x80);
        value >>= 7;
    }
    out_byte(o, (unsigned)value);
}

void out_sleb(struct out *o, int64_t value)
{
    while (value < -64 || value > 63) {
        out_byte(o, (unsigned)(value & 0x7f) | 0x80);
        value >>= 7;
    }
    out_byte(o, (unsigned)value & 0x7f);
}

/* ---- chance ---- */

static uint64_t state = 1;

void chance_seed(uint32_t seed)
{
    state = ((uint64_t)seed << 1 | 1) * 0x9e3779b97f4a7c15u;
}

static uint32_t chance_bits(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

uint32_t chance(uint32_t n)
{
    return n == 0 ? 0 : chance_bits() % n;
}

int64_t edge_value(void)
{
    switch (chance(4)) {
    case 0:
        return (int64_t)chance(16) - 4;
    case 1:
        return (int64_t)(((uint64_t)1 << chance(64)) + chance(3) - 1);
    case 2:
        return (int64_t)(1 - ((uint64_t)1 << chance(64)) - chance(3));
    default:
        return (int64_t)((uint64_t)chance_bits() << 32 | chance_bits());
    }
}

/* ---- instructions by what they take and leave ---- */

/* First and last opcode of a run of instructions alike; how many operands of which type, and the result's. */
static const struct run {
    uint8_t first, last, operands, from, to;
} runs[] = {
    {0x45, 0x45, 1, T_I32, T_I32}, {0x46, 0x4f, 2, T_I32, T_I32}, {0x50, 0x50, 1, T_I64, T_I32},
    {0x51, 0x5a, 2, T_I64, T_I32}, {0x5b, 0x60, 2, T_F32, T_I32}, {0x61, 0x66, 2, T_F64, T_I32},
    {0x67, 0x69, 1, T_I32, T_I32}, {0x6a, 0x78, 2, T_I32, T_I32}, {0x79, 0x7b, 1, T_I64, T_I64},
    {0x7c, 0x8a, 2, T_I64, T_I64}, {0x8b, 0x91, 1, T_F32, T_F32}, {0x92, 0x98, 2, T_F32, T_F32},
    {0x99, 0x9f, 1, T_F64, T_F64}, {0xa0, 0xa6, 2, T_F64, T_F64}, {0xa7, 0xa7, 1, T_I64, T_I32},
    {0xa8, 0xa9, 1, T_F32, T_I32}, {0xaa, 0xab, 1, T_F64, T_I32}, {0xac, 0xad, 1, T_I32, T_I64},
    {0xae, 0xaf, 1, T_F32, T_I64}, {0xb0, 0xb1, 1, T_F64, T_I64}, {0xb2, 0xb3, 1, T_I32, T_F32},
    {0xb4, 0xb5, 1, T_I64, T_F32}, {0xb6, 0xb6, 1, T_F64, T_F32}, {0xb7, 0xb8, 1, T_I32, T_F64},
    {0xb9, 0xba, 1, T_I64, T_F64}, {0xbb, 0xbb, 1, T_F32, T_F64}, {0xbc, 0xbc, 1, T_F32, T_I32},
    {0xbd, 0xbd, 1, T_F64, T_I64}, {0xbe, 0xbe, 1, T_I32, T_F32}, {0xbf, 0xbf, 1, T_I64, T_F64},
    {0xc0, 0xc1, 1, T_I32, T_I32}, {0xc2, 0xc4, 1, T_I64, T_I64},
};
#define RUNS (sizeof runs / sizeof runs[0])

uint8_t gen_alike(uint8_t opcode)
{
    for (size_t i = 0; i < RUNS; i++) {
        if (opcode >= runs[i].first && opcode <= runs[i].last) {
            size_t k = chance(RUNS); /* another run of the same kind, sometimes */
            const bool same = runs[k].operands == runs[i].operands && runs[k].from == runs[i].from &&
                              runs[k].to == runs[i].to;
            k = same ? k : i;
            return (uint8_t)(runs[k].first + chance((uint32_t)(runs[k].last - runs[k].first) + 1));
        }
    }
    return opcode;
}

static uint8_t any_type(void)
{
    return (uint8_t)(T_F64 + chance(4));
}

void gen_const(struct out *o, uint8_t type)
{
    uint8_t raw[8];
    const uint64_t value = (uint64_t)edge_value();
    memcpy(raw, &value, sizeof raw);
    out_byte(o, 0x41u + (unsigned)(T_I32 - type));
    if (type == T_I32) {
        out_sleb(o, (int32_t)value);
    } else if (type == T_I64) {
        out_sleb(o, (int64_t)value);
    } else if (type == T_F32) {
        out_bytes(o, raw + (chance(2) ? 4 : 0), 4);
    } else {
        out_bytes(o, raw, 8);
    }
}

static void gen_access(struct out *o, const struct place *p, uint8_t type, bool store, unsigned size)
{
    static const uint8_t loads[4][6] = {{0x2b}, {0x2a}, {0x29, 0x30, 0x31, 0x32, 0x34, 0x35},
                                        {0x28, 0x2c, 0x2d, 0x2e, 0x2f, 0x28}};
    static const uint8_t stores[4][4] = {{0x39}, {0x38}, {0x37, 0x3c, 0x3d, 0x3e}, {0x36, 0x3a, 0x3b, 0x36}};
    static const uint8_t widest[] = {3, 2, 3, 2};
    const unsigned row = type - T_F64, choices = type <= T_F32 ? 1 : store ? 4 : 6;
    gen_value(o, p, T_I32, size / 2);
    if (store) {
        gen_value(o, p, type, size / 2);
    }
    const unsigned k = chance(choices);
    out_byte(o, store ? stores[row][k] : loads[row][k]);
    out_leb(o, choices == 1 || k == 0 ? chance(widest[row] + 1u) : 0);
    out_leb(o, chance(3) ? chance(70) : (uint32_t)edge_value());
}

static struct place deeper(const struct place *p)
{
    struct place in = *p;
    in.depth++;
    return in;
}

static void gen_types(struct out *o, const struct place *p, struct range types, unsigned size)
{
    for (uint32_t i = 0; i < types.len; i++) {
        gen_value(o, p, p->w->bytes[types.at + i], size / (types.len + 1));
    }
}

/* A block of a type of the module, if it can be called for and its values are not too many. -1: none. */
static int any_signature(const struct place *p)
{
    const unsigned type = chance(p->w->types);
    const bool fits = type < p->w->types && p->w->type[type].params.len + p->w->type[type].results.len <= 8;
    return fits ? (int)type : -1;
}

static void gen_drops(struct out *o, const struct place *p, struct range results)
{
    for (uint32_t i = 0; i < results.len; i++) {
        const uint8_t type = p->w->bytes[results.at + results.len - 1 - i];
        if (type == T_I32 && chance(4) == 0) { /* used once more, in a register */
            out_byte(o, 0x45);
        }
        out_byte(o, 0x1a);
    }
}

/* Arguments and a call, direct or by the table, of something with this signature. Returns false if there
 * is none. */
static bool gen_call(struct out *o, const struct place *p, unsigned function, unsigned size)
{
    if (function >= p->w->funcs || p->w->func_type[function] >= p->w->types) {
        return false;
    }
    const unsigned type = p->w->func_type[function];
    if (p->w->type[type].params.len > 16) {
        return false;
    }
    gen_types(o, p, p->w->type[type].params, size);
    if (p->w->has_table && chance(4) == 0) {
        out_byte(o, 0x41);
        out_sleb(o, chance(8));
        out_byte(o, 0x11);
        out_leb(o, type);
        out_byte(o, 0);
    } else {
        out_byte(o, 0x10);
        out_leb(o, function);
    }
    return true;
}

static void gen_block_value(struct out *o, const struct place *p, uint8_t type, unsigned size)
{
    const struct place in = deeper(p);
    const unsigned opcode = 2 + chance(3);
    if (opcode == 4) {
        gen_value(o, p, T_I32, size / 3);
    }
    out_byte(o, opcode);
    out_byte(o, type);
    if (chance(3) == 0) {
        gen_statement(o, &in, size / 3);
    }
    gen_value(o, &in, type, size / 2);
    if (chance(3) == 0 && opcode == 2) { /* a branch that carries the value, sometimes past another */
        if (chance(3) == 0) {
            gen_value(o, &in, type, size / 3);
            out_byte(o, 0x0c);
            out_leb(o, 0);
        } else {
            gen_value(o, &in, T_I32, size / 3);
            out_byte(o, 0x0d);
            out_leb(o, 0);
        }
    }
    if (opcode == 4) {
        out_byte(o, 0x05);
        gen_value(o, &in, type, size / 2);
    }
    out_byte(o, 0x0b);
}

static bool gen_variable(struct out *o, const struct place *p, uint8_t type)
{
    const unsigned start = chance(p->locals + p->w->globals);
    for (unsigned i = 0; i < p->locals + p->w->globals; i++) {
        const unsigned n = (start + i) % (p->locals + p->w->globals);
        if (n < p->locals ? p->local[n] == type : (p->w->global[n - p->locals] & 0x7f) == (type & 0x7f)) {
            out_byte(o, n < p->locals ? 0x20 : 0x23);
            out_leb(o, n < p->locals ? n : n - p->locals);
            return true;
        }
    }
    return false;
}

void gen_value(struct out *o, const struct place *p, uint8_t type, unsigned size)
{
    if (type < T_F64 || type > T_I32) {
        return;
    }
    if (size <= 1) {
        if (chance(3) == 0 || !gen_variable(o, p, type)) {
            gen_const(o, type);
        }
        return;
    }
    switch (chance(12)) {
    case 0: case 1: case 2: { /* an operation with this result */
        size_t k = chance(RUNS);
        while (runs[k].to != type) {
            k = (k + 1) % RUNS;
        }
        for (unsigned i = 0; i < runs[k].operands; i++) {
            gen_value(o, p, runs[k].from, size / runs[k].operands - (i == 0));
        }
        out_byte(o, runs[k].first + chance((uint32_t)(runs[k].last - runs[k].first) + 1));
        return;
    }
    case 3:
        if (p->w->has_memory) {
            gen_access(o, p, type, false, size - 1);
            return;
        }
        break;
    case 4: case 5:
        gen_block_value(o, p, type, size - 1);
        return;
    case 6:
        gen_value(o, p, type, size / 3);
        gen_value(o, p, type, size / 3);
        gen_value(o, p, T_I32, size / 3);
        out_byte(o, 0x1b);
        return;
    case 7: case 8: { /* a call with one result of this type */
        const unsigned start = chance(p->w->funcs);
        for (unsigned i = 0; i < p->w->funcs && i < 16; i++) {
            const unsigned f = (start + i) % p->w->funcs, t = p->w->func_type[f];
            if (t < p->w->types && p->w->type[t].results.len == 1 &&
                p->w->bytes[p->w->type[t].results.at] == type && gen_call(o, p, f, size - 1)) {
                return;
            }
        }
        break;
    }
    case 9: /* local.tee */
        for (unsigned i = 0, n = chance(p->locals); i < p->locals; i++, n = (n + 1) % p->locals) {
            if (p->local[n] == type) {
                gen_value(o, p, type, size - 1);
                out_byte(o, 0x22);
                out_leb(o, n);
                return;
            }
        }
        break;
    case 10:
        if (type >= T_I64) { /* saturating conversion */
            const unsigned k = chance(4);
            gen_value(o, p, k < 2 ? T_F32 : T_F64, size - 1);
            out_byte(o, 0xfc);
            out_byte(o, k + (type == T_I64 ? 4 : 0));
            return;
        }
        break;
    default:
        if (type == T_I32 && p->w->has_memory) {
            if (chance(2)) {
                out_byte(o, 0x3f);
            } else {
                gen_value(o, p, T_I32, size - 1);
                out_byte(o, 0x40);
            }
            out_byte(o, 0);
            return;
        }
    }
    gen_value(o, p, type, size / 2);
}

static void gen_loop(struct out *o, const struct place *p, unsigned size)
{
    const struct place in = deeper(p);
    out_byte(o, 3);
    out_byte(o, 0x40);
    gen_statement(o, &in, size / 2);
    gen_value(o, &in, T_I32, size / 3);
    out_byte(o, 0x0d);
    out_leb(o, 0);
    out_byte(o, 0x0b);
}

static void gen_switch(struct out *o, const struct place *p, unsigned size)
{
    const unsigned cases = 1 + chance(4);
    for (unsigned i = 0; i < cases; i++) {
        out_byte(o, 2);
        out_byte(o, 0x40);
    }
    struct place in = *p;
    in.depth += cases;
    gen_value(o, &in, T_I32, size / 2);
    out_byte(o, 0x0e);
    out_leb(o, cases);
    for (unsigned i = 0; i <= cases; i++) {
        out_leb(o, chance(cases));
    }
    for (unsigned i = 0; i < cases; i++) {
        out_byte(o, 0x0b);
        in.depth--;
        if (chance(3) == 0) {
            gen_statement(o, &in, size / 4);
        }
    }
}

/* A block of a type of the module: with parameters, and results that are dropped. */
static void gen_typed_block(struct out *o, const struct place *p, unsigned size)
{
    const int type = any_signature(p);
    if (type < 0) {
        return;
    }
    const struct range params = p->w->type[type].params, results = p->w->type[type].results;
    const struct place in = deeper(p);
    const unsigned opcode = 2 + chance(3);
    gen_types(o, p, params, size / 3);
    if (opcode == 4) {
        gen_value(o, p, T_I32, size / 4);
    }
    out_byte(o, opcode);
    out_sleb(o, type);
    for (unsigned half = 0; half < (opcode == 4 ? 2 : 1); half++) {
        if (half == 1) {
            out_byte(o, 5);
        }
        gen_drops(o, p, params);
        gen_types(o, &in, results, size / 2);
        if (chance(3) == 0 && opcode != 3) {
            gen_value(o, &in, T_I32, 1);
            out_byte(o, 0x0d);
            out_leb(o, 0);
        }
    }
    out_byte(o, 0x0b);
    gen_drops(o, p, results);
}

static void gen_set(struct out *o, const struct place *p, unsigned size)
{
    const unsigned n = chance(p->locals + p->w->globals);
    if (p->locals + p->w->globals == 0) {
        return;
    }
    const bool local = n < p->locals;
    const uint8_t type = local ? p->local[n] : p->w->global[n - p->locals] & 0x7f;
    if (!local && (p->w->global[n - p->locals] & 0x80) == 0 && chance(16) != 0) {
        return;
    }
    gen_value(o, p, type, size);
    out_byte(o, local ? 0x21 : 0x24);
    out_leb(o, local ? n : n - p->locals);
}

void gen_statement(struct out *o, const struct place *p, unsigned size)
{
    const struct place in = deeper(p);
    switch (size == 0 ? 0 : chance(14)) {
    case 0:
        gen_value(o, p, any_type(), size);
        out_byte(o, 0x1a);
        break;
    case 1: case 2:
        gen_set(o, p, size);
        break;
    case 3: case 4:
        if (p->w->has_memory) {
            gen_access(o, p, any_type(), true, size);
        }
        break;
    case 5:
        gen_loop(o, p, size);
        break;
    case 6:
        gen_value(o, p, T_I32, size / 3);
        out_byte(o, 4);
        out_byte(o, 0x40);
        gen_statement(o, &in, size / 2);
        if (chance(2)) {
            out_byte(o, 5);
            gen_statement(o, &in, size / 2);
        }
        out_byte(o, 0x0b);
        break;
    case 7: {
        const unsigned f = chance(p->w->funcs);
        if (gen_call(o, p, f, size)) {
            gen_drops(o, p, p->w->type[p->w->func_type[f]].results);
        }
        break;
    }
    case 8:
        gen_switch(o, p, size);
        break;
    case 9: case 10:
        gen_typed_block(o, p, size);
        break;
    case 11:
        if (p->w->has_memory) {
            gen_value(o, p, T_I32, size / 3);
            gen_value(o, p, T_I32, size / 3);
            gen_value(o, p, T_I32, size / 3);
            const bool fill = chance(2);
            out_byte(o, 0xfc);
            out_byte(o, fill ? 11 : 10);
            out_bytes(o, (const uint8_t[]){0, 0}, fill ? 1 : 2);
        }
        break;
    case 12: /* a way out, maybe */
        out_byte(o, 2);
        out_byte(o, 0x40);
        gen_statement(o, &in, size / 2);
        gen_value(o, &in, T_I32, size / 3);
        out_byte(o, 0x0d);
        out_leb(o, chance(8) == 0 ? chance(in.depth + 1) : 0);
        out_byte(o, 0x0b);
        break;
    default: /* code behind it that cannot be reached */
        out_byte(o, 2);
        out_byte(o, 0x40);
        out_byte(o, chance(2) ? 0x0c : 0x00);
        if (o->len > 0 && !o->full && o->bytes[o->len - 1] == 0x0c) {
            out_leb(o, 0);
        }
        gen_statement(o, &in, size / 2);
        out_byte(o, 0x0b);
    }
    if (size > 4 && chance(2)) {
        gen_statement(o, p, size / 2);
    }
}

/* ---- the wasmote section ---- */

static void cbor_head(struct out *o, unsigned major, uint64_t value)
{
    const unsigned bytes = value < 24 ? 0 : value < 256 ? 1 : value < 65536 ? 2 : value <= UINT32_MAX ? 4 : 8;
    const unsigned widths = bytes == 1 ? 24 : bytes == 2 ? 25 : bytes == 4 ? 26 : 27;
    out_byte(o, major << 5 | (bytes == 0 ? (unsigned)value : widths));
    for (unsigned i = bytes; i-- > 0;) {
        out_byte(o, (unsigned)(value >> (8 * i)) & 0xff);
    }
}

static void cbor_text(struct out *o)
{
    static const char *const words[] = {"", "f", "main", "net", "1.0.0", "a name of some length"};
    const char *word = words[chance(sizeof words / sizeof words[0])];
    cbor_head(o, 3, strlen(word));
    out_bytes(o, (const uint8_t *)word, strlen(word));
}

void gen_wasmote(struct out *o)
{
    out_byte(o, 7);
    out_bytes(o, (const uint8_t *)"wasmote", 7);
    const unsigned entries = chance(8);
    cbor_head(o, 5, entries);
    for (unsigned i = 0; i < entries; i++) {
        const unsigned key = 1 + chance(13); /* docs/PROTOCOL.md 5 */
        cbor_head(o, chance(12) == 0 ? 1 : 0, key);
        if (key == 4) {
            cbor_head(o, 0, chance(8) == 0 ? chance(4) : 1);
        } else if (key <= 3) {
            cbor_text(o);
        } else if (key <= 8 || key >= 12) { /* a quota */
            cbor_head(o, 0, chance(3) == 0 ? (uint64_t)edge_value() : chance(5000));
        } else {
            const unsigned n = chance(4);
            cbor_head(o, 4, n);
            for (unsigned k = 0; k < n; k++) {
                cbor_text(o);
            }
        }
    }
}

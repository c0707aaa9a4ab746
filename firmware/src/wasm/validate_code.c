/* validate_code.c: function bodies. Core specification, 3.3, 5.4 and appendix "Validation Algorithm".
 *
 * Beside the types it keeps count of what wasm3 will need: entries of its stack of types (`records`) and pairs of its slots
 * (`fixed`, `peak`, wm_operand.slot), always at least as much as wasm3 really uses. What wasm3 does:
 *  - entries: a parameter, a local, an operand is one; a block keeps two for each of its parameters, one for each
 *    result, until its end;
 *  - slots: of 4 bytes, a 64-bit value takes an even pair. Results of the function and its parameters have a pair each, then
 *    come locals, constants, operands. An operand takes the first free place, so with n others in use it is
 *    among the first n + 1 pairs. Only a call's results are placed above everything in use. */
#include "wasm/validate_state.h"

enum {
    OP_UNREACHABLE = 0x00, OP_NOP, OP_BLOCK, OP_LOOP, OP_IF, OP_ELSE, OP_END = 0x0b, OP_BR, OP_BR_IF, OP_BR_TABLE, OP_RETURN,
    OP_CALL = 0x10, OP_CALL_INDIRECT, OP_DROP = 0x1a, OP_SELECT, OP_LOCAL_GET = 0x20, OP_LOCAL_SET, OP_LOCAL_TEE,
    OP_GLOBAL_GET, OP_GLOBAL_SET, OP_I32_LOAD = 0x28, OP_I32_STORE = 0x36, OP_I64_STORE32 = 0x3e, OP_MEMORY_SIZE,
    OP_MEMORY_GROW, OP_I32_CONST, OP_I64_CONST, OP_F32_CONST, OP_F64_CONST, OP_I32_EQZ, OP_I64_EXTEND32 = 0xc4,
    OP_PREFIX = 0xfc, OP_SIMD, OP_ATOMIC,
};
enum { OP_FC_MEMORY_INIT = 8, OP_FC_DATA_DROP, OP_FC_MEMORY_COPY, OP_FC_MEMORY_FILL, OP_FC_TABLE_FILL = 17 };

#define BLOCK_FUNCTION OP_NOP /* an opcode that opens no block */

/* Numeric instructions: operand type, result type, one operand or two. */
#define I 0 /* WM_I32 - type */
#define L 1
#define F 2
#define D 3
#define ONE(in, out) ((in) << 2 | (out))
#define TWO(in, out) (0x10 | ONE(in, out))

static const uint8_t numeric[] = {
    ONE(I, I), /* 45: i32.eqz and comparisons */
    TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I),
    ONE(L, I),
    TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I), TWO(L, I),
    TWO(F, I), TWO(F, I), TWO(F, I), TWO(F, I), TWO(F, I), TWO(F, I),
    TWO(D, I), TWO(D, I), TWO(D, I), TWO(D, I), TWO(D, I), TWO(D, I),
    ONE(I, I), ONE(I, I), ONE(I, I), /* 67: i32 */
    TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I),
    TWO(I, I), TWO(I, I), TWO(I, I), TWO(I, I),
    ONE(L, L), ONE(L, L), ONE(L, L), /* 79: i64 */
    TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L),
    TWO(L, L), TWO(L, L), TWO(L, L), TWO(L, L),
    ONE(F, F), ONE(F, F), ONE(F, F), ONE(F, F), ONE(F, F), ONE(F, F), ONE(F, F), /* 8b: f32 */
    TWO(F, F), TWO(F, F), TWO(F, F), TWO(F, F), TWO(F, F), TWO(F, F), TWO(F, F),
    ONE(D, D), ONE(D, D), ONE(D, D), ONE(D, D), ONE(D, D), ONE(D, D), ONE(D, D), /* 99: f64 */
    TWO(D, D), TWO(D, D), TWO(D, D), TWO(D, D), TWO(D, D), TWO(D, D), TWO(D, D),
    ONE(L, I), ONE(F, I), ONE(F, I), ONE(D, I), ONE(D, I), /* a7: conversions */
    ONE(I, L), ONE(I, L), ONE(F, L), ONE(F, L), ONE(D, L), ONE(D, L),
    ONE(I, F), ONE(I, F), ONE(L, F), ONE(L, F), ONE(D, F),
    ONE(I, D), ONE(I, D), ONE(L, D), ONE(L, D), ONE(F, D),
    ONE(F, I), ONE(D, L), ONE(I, F), ONE(L, D), /* bc: reinterpretations */
    ONE(I, I), ONE(I, I), ONE(L, L), ONE(L, L), ONE(L, L), /* c0: sign extension */
};
_Static_assert(sizeof numeric == OP_I64_EXTEND32 - OP_I32_EQZ + 1, "one for each opcode");

/* 0xFC 0 to 7: saturating conversions */
static const uint8_t saturating[] = {
    ONE(F, I), ONE(F, I), ONE(D, I), ONE(D, I), ONE(F, L), ONE(F, L), ONE(D, L), ONE(D, L),
};

/* Loads and stores from 0x28: type, and binary logarithm of the natural alignment. */
#define MEM(type, align) ((type) << 2 | (align))
static const uint8_t memory_access[] = {
    MEM(I, 2), MEM(L, 3), MEM(F, 2), MEM(D, 3),
    MEM(I, 0), MEM(I, 0), MEM(I, 1), MEM(I, 1), MEM(L, 0), MEM(L, 0), MEM(L, 1), MEM(L, 1), MEM(L, 2), MEM(L, 2),
    MEM(I, 2), MEM(L, 3), MEM(F, 2), MEM(D, 3), MEM(I, 0), MEM(I, 1), MEM(L, 0), MEM(L, 1), MEM(L, 2),
};
_Static_assert(sizeof memory_access == OP_I64_STORE32 - OP_I32_LOAD + 1, "one for each opcode");

static uint8_t valtype(unsigned code)
{
    return (uint8_t)(WM_I32 - (code & 3));
}

static bool is_64(uint8_t type)
{
    return type == WM_I64 || type == WM_F64;
}

static bool is_float(uint8_t type)
{
    return type == WM_F32 || type == WM_F64;
}

/* ---- the two stacks ---- */

static struct wm_block *top(struct wm_validation *v)
{
    return &v->block[v->depth - 1];
}

/* How many operands fit now. */
static void measure(struct wm_validation *v)
{
    const uint32_t entries = v->locals + v->records;
    const uint32_t used = entries > v->fixed ? entries : v->fixed;
    v->room = used < WM_MODULE_HEIGHT ? WM_MODULE_HEIGHT - used : 0;
}

static void too_high(struct wm_validation *v)
{
    wm_limit(v, "a function has too many parameters, locals and operands");
}

static void push_slot(struct wm_validation *v, uint8_t type, uint32_t slot)
{
    if (v->height >= v->room) {
        too_high(v);
        if (v->height == WM_MODULE_HEIGHT) {
            wm_fail(v, WM_REFUSED_LIMIT, "too many operands");
            return;
        }
    }
    v->operand[v->height++] = (struct wm_operand){.slot = (uint16_t)slot, .type = type};
    if (v->height > v->peak) {
        v->peak = v->height;
    }
}

static void push(struct wm_validation *v, uint8_t type)
{
    push_slot(v, type, v->height > 0 ? v->operand[v->height - 1].slot : 0);
}

static uint8_t pop_any(struct wm_validation *v)
{
    const struct wm_block *block = top(v);
    if (v->height > block->height) {
        return v->operand[--v->height].type;
    }
    if (!block->unreachable) {
        wm_invalid(v, "type mismatch: an operand is missing");
    }
    return WM_UNKNOWN;
}

static void mismatch(struct wm_validation *v)
{
    wm_invalid(v, "type mismatch");
}

static void pop(struct wm_validation *v, uint8_t type)
{
    const uint8_t got = pop_any(v);
    if (got != type && got != WM_UNKNOWN) {
        mismatch(v);
    }
}

static uint8_t type_of(const struct wm_validation *v, struct wm_types types, uint32_t i)
{
    return v->bytes[types.off + i];
}

static bool same_types(const struct wm_validation *v, struct wm_types a, struct wm_types b)
{
    return a.count == b.count && memcmp(v->bytes + a.off, v->bytes + b.off, a.count) == 0;
}

static void pop_types(struct wm_validation *v, struct wm_types types)
{
    for (uint32_t i = types.count; i-- > 0 && !v->failed;) {
        pop(v, type_of(v, types, i));
    }
}

static void push_types(struct wm_validation *v, struct wm_types types)
{
    for (uint32_t i = 0; i < types.count && !v->failed; i++) {
        push(v, type_of(v, types, i));
    }
}

/* The top of the stack must have these types. Leaves it there. */
static void peek_types(struct wm_validation *v, struct wm_types types)
{
    const struct wm_block *block = top(v);
    for (uint32_t i = 0; i < types.count; i++) {
        if (v->height - block->height <= i) {
            if (!block->unreachable) {
                wm_invalid(v, "type mismatch: an operand is missing");
            }
            return;
        }
        const uint8_t got = v->operand[v->height - 1 - i].type;
        if (got != type_of(v, types, types.count - 1 - i) && got != WM_UNKNOWN) {
            mismatch(v);
            return;
        }
    }
}

/* After peek_types: what was not known on top of the stack, or not there, has these types now. */
static void complete(struct wm_validation *v, struct wm_types types)
{
    const uint32_t there = v->height - top(v)->height, base = top(v)->height;
    for (uint32_t missing = there < types.count ? types.count - there : 0; missing > 0 && !v->failed; missing--) {
        push(v, WM_UNKNOWN);
        if (!v->failed) {
            const struct wm_operand added = v->operand[v->height - 1];
            memmove(&v->operand[base + 1], &v->operand[base], (v->height - 1 - base) * sizeof added);
            v->operand[base] = added;
        }
    }
    for (uint32_t i = 0; i < types.count && !v->failed; i++) {
        v->operand[v->height - types.count + i].type = type_of(v, types, i);
    }
}

static struct wm_types params(const struct wm_block *block)
{
    return (struct wm_types){block->params_off, block->params};
}

static struct wm_types results(const struct wm_block *block)
{
    return (struct wm_types){block->results_off, block->results};
}

/* What a branch to the block carries. */
static struct wm_types label(const struct wm_block *block)
{
    return block->opcode == OP_LOOP ? params(block) : results(block);
}

static void set_unreachable(struct wm_validation *v)
{
    v->height = top(v)->height;
    top(v)->unreachable = 1;
}

/* wasm3 leaves the operands of the block on its stack until the block's end, and so must nothing come between. */
static void check_left(struct wm_validation *v)
{
    const uint8_t next = v->at < v->end ? v->bytes[v->at] : OP_END;
    if (v->height != top(v)->height && next != OP_END && next != OP_ELSE) {
        wm_limit(v, "code after a jump to a loop, or after a return that cannot be reached, that leaves operands behind");
    }
}

/* ---- what wasm3 does not survive: see validate.h ---- */

/* wasm3 moves one value out of the way when another is to take its slot. */
static bool is_clobbering(const struct wm_validation *v, struct wm_types types)
{
    bool wide = false;
    unsigned narrow = 0;
    for (uint32_t i = 0; i < types.count; i++) {
        const bool is_wide = is_64(type_of(v, types, i));
        narrow += wide && !is_wide;
        wide |= is_wide;
    }
    return narrow >= 2;
}

static bool ends_in_float(const struct wm_validation *v, struct wm_types types)
{
    return types.count > 0 && is_float(type_of(v, types, types.count - 1));
}

/* Where local changes or a block begins, wasm3 gives the operands that are this local one slot of their own. Of a pair it
 * counts the users of the first half only: the second is free when one of them is gone. */
static void preserve(struct wm_validation *v, uint8_t local)
{
    uint32_t users = 0, last = 0;
    for (uint32_t i = 0; i < v->height; i++) {
        if (v->operand[i].local == local) {
            users++;
            last = i;
        }
    }
    if (users > 1 && is_64(v->local[local - 1])) {
        wm_limit(v, "a 64-bit local changes, or a block begins, while it is an operand twice");
    } else if (users == 1) {
        v->operand[last].local = 0;
    }
}

/* Of the block to be opened, whose parameters are on the stack. */
static void check_block_shape(struct wm_validation *v, uint8_t opcode, struct wm_types in, struct wm_types out)
{
    if (out.count >= 3 && ends_in_float(v, out)) {
        wm_limit(v, "a block with three or more results, the last a float");
    }
    if (out.count == 2 && type_of(v, out, 1) == WM_F64 && !is_64(type_of(v, out, 0))) {
        wm_limit(v, "a block with two results, of 32 bits and f64");
    }
    if (is_clobbering(v, out) || (opcode == OP_LOOP && is_clobbering(v, in))) {
        wm_limit(v, "a block with a 64-bit value before two or more of 32 bits");
    }
    if (in.count == 0) {
        return;
    }
    if (top(v)->unreachable) {
        wm_limit(v, "a block with parameters in code that cannot be reached");
        return;
    }
    for (uint32_t i = v->height - in.count; i < v->height; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (v->operand[i].local != 0 && v->operand[k].local == v->operand[i].local) {
                wm_limit(v, "a block parameter that is the same local as another operand");
            }
        }
    }
}

static void check_branch_shape(struct wm_validation *v, uint8_t opcode, const struct wm_block *to)
{
    const struct wm_types carried = label(to);
    if (carried.count == 0) {
        return;
    }
    if (to->opcode == OP_LOOP) {
        if (opcode == OP_BR && !top(v)->unreachable) {
            wm_limit(v, "br to a loop with parameters: use br_if");
        } else if (opcode != OP_BR && top(v)->unreachable) {
            wm_limit(v, "a branch to a loop with parameters in code that cannot be reached");
        }
        return;
    }
    if (to == &v->block[0] || top(v)->unreachable || !ends_in_float(v, carried)) {
        return;
    }
    uint32_t between = v->height - to->height - carried.count;
    for (const struct wm_block *b = top(v); b != to; b--) {
        between += b->params + b->results;
    }
    if (between != 0 || (opcode == OP_BR_IF && carried.count > 1)) {
        wm_limit(v, "a branch that carries a float past other values or blocks with results");
    }
}

/* ---- control ---- */

/* The parameters are on the stack. */
static void open_block(struct wm_validation *v, uint8_t opcode, struct wm_types in, struct wm_types out)
{
    if (v->depth == WM_MODULE_NESTING) {
        wm_fail(v, WM_REFUSED_LIMIT, "blocks are nested too deeply");
        return;
    }
    const uint32_t height = v->height - in.count;
    if (v->depth > 0) {
        v->records += in.count + out.count;
    }
    v->block[v->depth++] = (struct wm_block){
        .params_off = in.off,
        .results_off = out.off,
        .height = (uint16_t)height,
        .params = (uint8_t)in.count,
        .results = (uint8_t)out.count,
        .opcode = opcode,
    };
    /* wasm3 places the results first, when the parameters are gone, and does not look whether they fit. */
    if (height + out.count > v->peak) {
        v->peak = height + out.count;
    }
    measure(v);
    const uint32_t slots = v->fixed + (opcode == BLOCK_FUNCTION ? 0 : height + out.count);
    if (v->height > v->room || slots > WM_MODULE_HEIGHT) {
        too_high(v);
    }
}

static void read_block(struct wm_validation *v, uint8_t opcode)
{
    struct wm_types in = {0, 0}, out = {v->at, 0};
    const uint32_t start = v->at;
    const uint8_t first = wm_read_byte(v);
    if (wm_is_valtype(first)) {
        out.count = 1; /* its type is the byte just read */
    } else if (first != 0x40 && !v->failed) {
        v->at = start;
        if ((first & 0xc0) == 0x40) { /* negative, so no index */
            wm_read_valtype(v);
            return;
        }
        const uint64_t type = wm_read_leb(v, 33, true);
        if (v->failed) {
            return;
        }
        if (type >= v->types) {
            wm_invalid(v, "unknown type");
            return;
        }
        const struct wm_signature_at s = wm_type_at(v, (uint32_t)type);
        in = s.params;
        out = s.results;
    }
    if (opcode == OP_IF) {
        pop(v, WM_I32);
    }
    peek_types(v, in);
    if (v->failed) {
        return;
    }
    check_block_shape(v, opcode, in, out);
    for (uint32_t i = 0; i < v->height; i++) {
        if (v->operand[i].local != 0) {
            preserve(v, v->operand[i].local);
        }
    }
    complete(v, in);
    if (!v->failed) {
        open_block(v, opcode, in, out);
    }
}

/* The end of the innermost block, or of its first half. */
static void close_block(struct wm_validation *v)
{
    struct wm_block *block = top(v);
    pop_types(v, results(block));
    if (!v->failed && v->height != block->height) {
        wm_invalid(v, "type mismatch: values remain at the end of a block");
    }
}

static void read_else(struct wm_validation *v)
{
    struct wm_block *block = top(v);
    if (block->opcode != OP_IF) {
        wm_malformed(v, "else without if");
        return;
    }
    close_block(v);
    block->opcode = OP_ELSE;
    block->unreachable = 0;
    measure(v);
    push_types(v, params(block));
}

static void read_end(struct wm_validation *v)
{
    struct wm_block *block = top(v);
    const struct wm_types in = params(block), out = results(block);
    close_block(v);
    if (v->failed) {
        return;
    }
    if (block->opcode == OP_IF && !same_types(v, in, out)) {
        wm_invalid(v, "type mismatch: if without else gives other types than it takes");
        return;
    }
    v->depth--;
    if (v->depth > 0) {
        v->records -= in.count + out.count;
        measure(v);
        push_types(v, out);
    }
}

/* The block that a branch goes to; NULL after a failure. */
static const struct wm_block *read_label(struct wm_validation *v)
{
    const uint32_t depth = wm_read_u32(v);
    if (depth >= v->depth) {
        wm_invalid(v, "unknown label");
        return NULL;
    }
    return v->failed ? NULL : &v->block[v->depth - 1 - depth];
}

static void jump(struct wm_validation *v, const struct wm_block *to)
{
    if (to->opcode == OP_LOOP) {
        check_left(v);
    }
    set_unreachable(v);
}

static void read_br(struct wm_validation *v)
{
    const struct wm_block *to = read_label(v);
    if (to == NULL) {
        return;
    }
    peek_types(v, label(to));
    if (!v->failed) {
        check_branch_shape(v, OP_BR, to);
        jump(v, to);
    }
}

static void read_br_if(struct wm_validation *v)
{
    const struct wm_block *to = read_label(v);
    pop(v, WM_I32);
    if (to == NULL) {
        return;
    }
    peek_types(v, label(to));
    if (v->failed) {
        return;
    }
    check_branch_shape(v, OP_BR_IF, to);
    complete(v, label(to));
}

static void read_br_table(struct wm_validation *v)
{
    pop(v, WM_I32);
    const uint32_t mark = v->mark;
    const uint32_t count = wm_read_count(v);
    v->mark = mark;
    if (count > WM_MODULE_BR_TABLE) {
        wm_limit(v, "a br_table has too many targets");
    }
    struct wm_types carried = {0, 0};
    for (uint32_t i = 0; i <= count && !v->failed; i++) {
        const struct wm_block *to = read_label(v);
        if (to == NULL) {
            return;
        }
        if (i == 0) {
            carried = label(to);
        } else if (!same_types(v, label(to), carried)) {
            /* Later versions allow other types where the stack is not known. This is the stricter, older rule. */
            wm_invalid(v, "type mismatch: targets of a br_table carry different values");
            return;
        }
        peek_types(v, label(to));
        if (!v->failed) {
            check_branch_shape(v, OP_BR_TABLE, to);
        }
    }
    if (!v->failed) {
        set_unreachable(v);
    }
}

static void read_return(struct wm_validation *v)
{
    peek_types(v, results(&v->block[0]));
    if (v->failed) {
        return;
    }
    if (top(v)->unreachable) {
        check_left(v);
    }
    set_unreachable(v);
}

/* ---- calls, variables, memory ---- */

/* A call's results go above all slots in use before it, arguments included: so high may they be. */
static uint32_t slots_in_use(const struct wm_validation *v)
{
    const uint32_t first_fit = v->fixed + v->peak, calls = v->height > 0 ? v->operand[v->height - 1].slot : 0;
    return calls > first_fit ? calls : first_fit;
}

static void call(struct wm_validation *v, struct wm_signature_at s, uint32_t slot)
{
    pop_types(v, s.params);
    if (!v->failed && slot + s.results.count > WM_MODULE_HEIGHT) {
        wm_limit(v, "calls whose results are arguments of calls are nested too deeply");
        slot = WM_MODULE_HEIGHT;
    }
    for (uint32_t i = 0; i < s.results.count && !v->failed; i++) {
        push_slot(v, type_of(v, s.results, i), ++slot);
    }
}

static uint32_t read_index(struct wm_validation *v, uint32_t count, const char *text)
{
    const uint32_t index = wm_read_u32(v);
    if (index >= count) {
        wm_invalid(v, text);
    }
    return v->failed ? 0 : index;
}

/* A byte that must be zero: in later versions of WebAssembly it is an index of a table or memory. */
static void read_zero(struct wm_validation *v, const char *padded)
{
    const uint32_t start = v->at;
    if (wm_read_byte(v) == 0) {
        return;
    }
    v->at = start;
    const uint32_t index = wm_read_u32(v);
    if (index == 0) {
        wm_refuse(v, WM_REFUSED_UNSUPPORTED, padded);
    } else {
        wm_malformed(v, "zero byte expected");
    }
}

static void read_memory_index(struct wm_validation *v)
{
    read_zero(v, "a padded memory index");
    if (!v->has_memory) {
        wm_invalid(v, "unknown memory");
    }
}

static void read_call_indirect(struct wm_validation *v)
{
    const uint32_t type = read_index(v, v->types, "unknown type");
    read_zero(v, "a padded table index: compile with -mcpu=mvp and the features that the node has");
    if (!v->has_table) {
        wm_invalid(v, "unknown table");
    }
    const uint32_t slot = slots_in_use(v);
    pop(v, WM_I32);
    if (!v->failed) {
        call(v, wm_type_at(v, type), slot);
    }
}

static void read_local(struct wm_validation *v, uint8_t opcode)
{
    const uint32_t local = read_index(v, v->locals, "unknown local");
    if (v->failed) {
        return;
    }
    const uint8_t type = v->local[local];
    if (opcode != OP_LOCAL_GET) {
        preserve(v, (uint8_t)(local + 1));
        const struct wm_operand *value = v->height > top(v)->height ? &v->operand[v->height - 1] : NULL;
        pop(v, type);
        if (opcode == OP_LOCAL_TEE && value != NULL && value->type == type) {
            v->height++; /* the value stays where it is */
            return;
        }
    }
    if (opcode != OP_LOCAL_SET) {
        push(v, type);
    }
    if (opcode == OP_LOCAL_GET && !v->failed) {
        v->operand[v->height - 1].local = (uint8_t)(local + 1);
    }
}

static void read_global(struct wm_validation *v, uint8_t opcode)
{
    const uint32_t index = read_index(v, v->globals, "unknown global");
    if (v->failed) {
        return;
    }
    const uint8_t global = v->global[index], type = global & (uint8_t)~WM_GLOBAL_MUTABLE;
    if (opcode == OP_GLOBAL_GET) {
        push(v, type);
        return;
    }
    if ((global & WM_GLOBAL_MUTABLE) == 0) {
        wm_invalid(v, "global is immutable");
    }
    pop(v, type);
}

static void read_memory_access(struct wm_validation *v, uint8_t opcode)
{
    const uint8_t access = memory_access[opcode - OP_I32_LOAD];
    const uint32_t align = wm_read_u32(v);
    wm_read_u32(v);
    if (!v->has_memory) {
        wm_invalid(v, "unknown memory");
    }
    if (align > (access & 3u)) {
        if (align >= 32) {
            wm_malformed(v, "malformed memory operation flags");
        } else {
            wm_invalid(v, "alignment must not be larger than natural");
        }
    }
    const uint8_t type = valtype(access >> 2);
    if (opcode >= OP_I32_STORE) {
        pop(v, type);
        pop(v, WM_I32);
    } else {
        pop(v, WM_I32);
        push(v, type);
    }
}

static void compute(struct wm_validation *v, uint8_t operation)
{
    pop(v, valtype(operation >> 2));
    if ((operation & 0x10) != 0) {
        pop(v, valtype(operation >> 2));
    }
    push(v, valtype(operation));
}

static void read_prefixed(struct wm_validation *v)
{
    const uint32_t start = v->at;
    const uint32_t opcode = wm_read_u32(v);
    if (v->failed) {
        return;
    }
    if (v->at - start > 1) {
        wm_refuse(v, WM_REFUSED_UNSUPPORTED, "a padded opcode");
    }
    if (opcode < OP_FC_MEMORY_INIT) {
        compute(v, saturating[opcode]);
    } else if (opcode == OP_FC_MEMORY_COPY || opcode == OP_FC_MEMORY_FILL) {
        read_memory_index(v);
        if (opcode == OP_FC_MEMORY_COPY) {
            read_memory_index(v);
        }
        pop(v, WM_I32);
        pop(v, WM_I32);
        pop(v, WM_I32);
    } else if (opcode <= OP_FC_DATA_DROP) {
        wm_unsupported(v, "memory.init and data.drop");
    } else if (opcode <= OP_FC_TABLE_FILL) {
        wm_unsupported(v, "table instructions");
    } else {
        wm_malformed(v, "unknown opcode");
    }
}

static void read_select(struct wm_validation *v)
{
    pop(v, WM_I32);
    const uint8_t a = pop_any(v), b = pop_any(v);
    if (a != b && a != WM_UNKNOWN && b != WM_UNKNOWN) {
        mismatch(v);
    }
    push(v, a != WM_UNKNOWN ? a : b);
}

/* What the engine has not, and what nobody has. */
static void refuse_opcode(struct wm_validation *v, uint8_t opcode)
{
    switch (opcode) {
    case 0x06: case 0x07: case 0x08: case 0x09: case 0x0a: case 0x18: case 0x19: case 0x1f:
        wm_unsupported(v, "exceptions");
        break;
    case 0x12: case 0x13: case 0x15:
        wm_unsupported(v, "tail calls");
        break;
    case 0x14: case 0x1c: case 0x25: case 0x26: case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xd4: case 0xd5: case 0xd6:
        wm_unsupported(v, "reference types");
        break;
    case 0xfb:
        wm_unsupported(v, "garbage collection");
        break;
    case OP_SIMD:
        wm_unsupported(v, "SIMD");
        break;
    case OP_ATOMIC:
        wm_unsupported(v, "atomic instructions");
        break;
    default:
        wm_malformed(v, "unknown opcode");
    }
}

static void read_instruction(struct wm_validation *v)
{
    v->mark = v->at;
    const uint8_t opcode = wm_read_byte(v);
    if (opcode >= OP_I32_EQZ && opcode <= OP_I64_EXTEND32) {
        compute(v, numeric[opcode - OP_I32_EQZ]);
        return;
    }
    if (opcode >= OP_I32_LOAD && opcode <= OP_I64_STORE32) {
        read_memory_access(v, opcode);
        return;
    }
    switch (opcode) {
    case OP_UNREACHABLE:
        set_unreachable(v);
        break;
    case OP_NOP:
        break;
    case OP_BLOCK: case OP_LOOP: case OP_IF:
        read_block(v, opcode);
        break;
    case OP_ELSE:
        read_else(v);
        break;
    case OP_END:
        read_end(v);
        break;
    case OP_BR:
        read_br(v);
        break;
    case OP_BR_IF:
        read_br_if(v);
        break;
    case OP_BR_TABLE:
        read_br_table(v);
        break;
    case OP_RETURN:
        read_return(v);
        break;
    case OP_CALL: {
        const uint32_t function = read_index(v, v->functions, "unknown function");
        if (!v->failed) {
            call(v, wm_function_at(v, function), slots_in_use(v));
        }
        break;
    }
    case OP_CALL_INDIRECT:
        read_call_indirect(v);
        break;
    case OP_DROP:
        pop_any(v);
        break;
    case OP_SELECT:
        read_select(v);
        break;
    case OP_LOCAL_GET: case OP_LOCAL_SET: case OP_LOCAL_TEE:
        read_local(v, opcode);
        break;
    case OP_GLOBAL_GET: case OP_GLOBAL_SET:
        read_global(v, opcode);
        break;
    case OP_MEMORY_SIZE:
        read_memory_index(v);
        push(v, WM_I32);
        break;
    case OP_MEMORY_GROW:
        read_memory_index(v);
        pop(v, WM_I32);
        push(v, WM_I32);
        break;
    case OP_I32_CONST:
        wm_read_leb(v, 32, true);
        push(v, WM_I32);
        break;
    case OP_I64_CONST:
        wm_read_leb(v, 64, true);
        push(v, WM_I64);
        break;
    case OP_F32_CONST:
        wm_skip(v, 4);
        push(v, WM_F32);
        break;
    case OP_F64_CONST:
        wm_skip(v, 8);
        push(v, WM_F64);
        break;
    case OP_PREFIX:
        read_prefixed(v);
        break;
    default:
        refuse_opcode(v, opcode);
    }
}

/* ---- a body ---- */

/* Parameters and locals. Returns how many there are of 64 and of 32 bits among the locals proper. */
static void read_locals(struct wm_validation *v, struct wm_types in, uint32_t *wide, uint32_t *narrow)
{
    for (uint32_t i = 0; i < in.count; i++) {
        v->local[i] = type_of(v, in, i);
    }
    v->locals = in.count;
    uint64_t total = in.count;
    const uint32_t groups = wm_read_count(v);
    for (uint32_t i = 0; i < groups && !v->failed; i++) {
        v->mark = v->at;
        const uint32_t mark = v->at, n = wm_read_u32(v);
        const uint8_t type = wm_read_valtype(v);
        v->mark = mark;
        total += n;
        if (total > UINT32_MAX) {
            wm_malformed(v, "too many locals");
        }
        if (total <= WM_MODULE_LOCALS) {
            memset(v->local + v->locals, type, n);
            v->locals += n;
            *(is_64(type) ? wide : narrow) += n;
        }
    }
    if (total > WM_MODULE_LOCALS) {
        wm_fail(v, WM_REFUSED_LIMIT, "a function has too many locals");
    }
}

void wm_validate_body(struct wm_validation *v)
{
    const struct wm_signature_at s = wm_function_at(v, (uint32_t)v->function);
    uint32_t wide = 0, narrow = 0;
    read_locals(v, s.params, &wide, &narrow);
    v->height = v->depth = v->records = v->peak = 0;
    /* wasm3 reserves at most this many slots for constants, and two more when the last one is of 64 bits. */
    v->fixed = s.results.count + s.params.count + wide + (narrow + 1) / 2 + (WM_MODULE_CONSTANTS + 3) / 2;
    open_block(v, BLOCK_FUNCTION, (struct wm_types){0, 0}, s.results);
    while (v->depth > 0 && !v->failed) {
        read_instruction(v);
    }
    if (!v->failed && v->at != v->end) {
        v->mark = v->at;
        wm_malformed(v, "instructions after the end of the function");
    }
}

/* validate_code.c: function bodies, instruction by instruction. Core specification, 3.3 and 5.4. */
#include "wasm/validate_state.h"

enum { OP_FC_MEMORY_INIT = 8, OP_FC_DATA_DROP, OP_FC_MEMORY_COPY, OP_FC_MEMORY_FILL, OP_FC_TABLE_FILL = 17 };

/* Numeric instructions: operand type, result type, one operand or two. */
#define I 0 /* WM_I32 - type */
#define L 1
#define F 2
#define D 3
#define ONE(in, out) ((in) << 2 | (out))
#define TWO(in, out) (0x10 | ONE(in, out))
#define X3(op)       op, op, op
#define X4(op)       op, op, op, op
#define X6(op)       X3(op), X3(op)
#define X7(op)       X3(op), X4(op)
#define X10(op)      X6(op), X4(op)
#define X15(op)      X10(op), X3(op), op, op

static const uint8_t numeric[] = {
    ONE(I, I), X10(TWO(I, I)), ONE(L, I), X10(TWO(L, I)), X6(TWO(F, I)), X6(TWO(D, I)), /* 45: comparisons */
    X3(ONE(I, I)), X15(TWO(I, I)),                                                     /* 67: i32 */
    X3(ONE(L, L)), X15(TWO(L, L)),                                                     /* 79: i64 */
    X7(ONE(F, F)), X7(TWO(F, F)),                                                      /* 8b: f32 */
    X7(ONE(D, D)), X7(TWO(D, D)),                                                      /* 99: f64 */
    ONE(L, I), ONE(F, I), ONE(F, I), ONE(D, I), ONE(D, I),                             /* a7: conversions */
    ONE(I, L), ONE(I, L), ONE(F, L), ONE(F, L), ONE(D, L), ONE(D, L),
    ONE(I, F), ONE(I, F), ONE(L, F), ONE(L, F), ONE(D, F),
    ONE(I, D), ONE(I, D), ONE(L, D), ONE(L, D), ONE(F, D),
    ONE(F, I), ONE(D, L), ONE(I, F), ONE(L, D), /* bc: reinterpretations */
    ONE(I, I), ONE(I, I), X3(ONE(L, L)),        /* c0: sign extension */
};
_Static_assert(sizeof numeric == OP_I64_EXTEND32 - OP_I32_EQZ + 1, "one for each opcode");

/* 0xFC 0 to 7: saturating conversions */
static const uint8_t saturating[] = {
    ONE(F, I), ONE(F, I), ONE(D, I), ONE(D, I), ONE(F, L), ONE(F, L), ONE(D, L), ONE(D, L),
};

/* Loads and stores from 0x28: type, and binary logarithm of the natural alignment. */
#define MEM(type, align) ((type) << 2 | (align))
static const uint8_t memory_access[] = {
    MEM(I, 2), MEM(L, 3), MEM(F, 2), MEM(D, 3), MEM(I, 0), MEM(I, 0), MEM(I, 1), MEM(I, 1),
    MEM(L, 0), MEM(L, 0), MEM(L, 1), MEM(L, 1), MEM(L, 2), MEM(L, 2),
    MEM(I, 2), MEM(L, 3), MEM(F, 2), MEM(D, 3), MEM(I, 0), MEM(I, 1), MEM(L, 0), MEM(L, 1), MEM(L, 2),
};
_Static_assert(sizeof memory_access == OP_I64_STORE32 - OP_I32_LOAD + 1, "one for each opcode");

static uint8_t valtype(unsigned code)
{
    return (uint8_t)(WM_I32 - (code & 3));
}

/* ---- control ---- */

static void read_block(struct wm_validation *v, uint8_t opcode)
{
    struct wm_types in = {0, 0}, out = {v->at, 0};
    const uint32_t start = v->at;
    const uint8_t first = wm_val_read_byte(v);
    if (wm_val_is_valtype(first)) {
        out.count = 1; /* its type is the byte just read */
    } else if (first != 0x40 && !v->failed) {
        v->at = start;
        if ((first & 0xc0) == 0x40) { /* negative, so no index */
            wm_val_read_valtype(v);
            return;
        }
        const uint64_t type = wm_val_read_leb(v, 33, true);
        if (v->failed) {
            return;
        }
        if (type >= v->types) {
            wm_val_invalid(v, "unknown type");
            return;
        }
        const struct wm_signature_at s = wm_val_type_at(v, (uint32_t)type);
        in = s.params;
        out = s.results;
    }
    if (opcode == OP_IF) {
        wm_val_pop(v, WM_I32);
    }
    wm_val_peek_types(v, in);
    if (v->failed) {
        return;
    }
    wm_val_check_block_shape(v, opcode, in, out);
    for (uint32_t i = 0; i < v->height; i++) {
        if (v->operand[i].local != 0) {
            wm_val_preserve(v, v->operand[i].local);
        }
    }
    wm_val_complete(v, in);
    if (!v->failed) {
        wm_val_open_block(v, opcode, in, out);
    }
}

static void read_else(struct wm_validation *v)
{
    struct wm_block *block = wm_val_top(v);
    if (block->opcode != OP_IF) {
        wm_val_malformed(v, "else without if");
        return;
    }
    wm_val_close_block(v);
    block->opcode = OP_ELSE;
    block->unreachable = 0;
    block->dead = block[-1].dead;
    wm_val_measure(v);
    wm_val_push_types(v, wm_val_params(block));
}

static void read_end(struct wm_validation *v)
{
    struct wm_block *block = wm_val_top(v);
    const struct wm_types in = wm_val_params(block), out = wm_val_results(block);
    wm_val_close_block(v);
    if (v->failed) {
        return;
    }
    if (block->opcode == OP_IF && !wm_val_same_types(v, in, out)) {
        wm_val_invalid(v, "type mismatch: if without else gives other types than it takes");
        return;
    }
    v->depth--;
    if (v->depth > 0) {
        v->records -= in.count + out.count;
        wm_val_measure(v);
        wm_val_push_types(v, out);
    }
}

/* The block that a branch goes to; NULL after a failure. */
static const struct wm_block *read_label(struct wm_validation *v)
{
    const uint32_t depth = wm_val_read_u32(v);
    if (depth >= v->depth) {
        wm_val_invalid(v, "unknown label");
        return NULL;
    }
    return v->failed ? NULL : &v->block[v->depth - 1 - depth];
}

static void jump(struct wm_validation *v, const struct wm_block *to)
{
    if (to->opcode == OP_LOOP) {
        wm_val_check_left(v);
    }
    wm_val_set_unreachable(v);
}

static void read_br(struct wm_validation *v)
{
    const struct wm_block *to = read_label(v);
    if (to == NULL) {
        return;
    }
    wm_val_peek_types(v, wm_val_label(to));
    if (!v->failed) {
        wm_val_check_branch_shape(v, OP_BR, to);
        jump(v, to);
    }
}

static void read_br_if(struct wm_validation *v)
{
    const struct wm_block *to = read_label(v);
    wm_val_pop(v, WM_I32);
    if (to == NULL) {
        return;
    }
    wm_val_peek_types(v, wm_val_label(to));
    if (v->failed) {
        return;
    }
    wm_val_check_branch_shape(v, OP_BR_IF, to);
    wm_val_complete(v, wm_val_label(to));
}

static void read_br_table(struct wm_validation *v)
{
    wm_val_pop(v, WM_I32);
    const uint32_t mark = v->mark;
    const uint32_t count = wm_val_read_count(v);
    v->mark = mark;
    if (count > WM_LIMIT(WM_MODULE_BR_TABLE)) {
        wm_val_limit(v, "a br_table has too many targets");
    }
    struct wm_types carried = {0, 0};
    for (uint32_t i = 0; i <= count && !v->failed; i++) {
        const struct wm_block *to = read_label(v);
        if (to == NULL) {
            return;
        }
        if (i == 0) {
            carried = wm_val_label(to);
        } else if (!wm_val_same_types(v, wm_val_label(to), carried)) {
            /* Later versions allow other types where the stack is not known. This is the stricter, older
             * rule. */
            wm_val_invalid(v, "type mismatch: targets of a br_table carry different values");
            return;
        }
        wm_val_peek_types(v, wm_val_label(to));
        if (!v->failed) {
            wm_val_check_branch_shape(v, OP_BR_TABLE, to);
        }
    }
    if (!v->failed) {
        wm_val_set_unreachable(v);
    }
}

static void read_return(struct wm_validation *v)
{
    wm_val_peek_types(v, wm_val_results(&v->block[0]));
    if (v->failed) {
        return;
    }
    if (wm_val_top(v)->dead) {
        wm_val_check_left(v);
    }
    wm_val_set_unreachable(v);
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
    wm_val_pop_types(v, s.params);
    if (!v->failed && slot + s.results.count > WM_LIMIT(WM_MODULE_HEIGHT)) {
        wm_val_limit(v, "calls whose results are arguments of calls are nested too deeply");
        slot = WM_LIMIT(WM_MODULE_HEIGHT);
    }
    for (uint32_t i = 0; i < s.results.count && !v->failed; i++) {
        wm_val_push_slot(v, wm_val_type_of(v, s.results, i), ++slot);
    }
}

static uint32_t read_index(struct wm_validation *v, uint32_t count, const char *text)
{
    const uint32_t index = wm_val_read_u32(v);
    if (index >= count) {
        wm_val_invalid(v, text);
    }
    return v->failed ? 0 : index;
}

/* A byte that must be zero: in later versions of WebAssembly it is an index of a table or memory. */
static void read_zero(struct wm_validation *v, const char *padded)
{
    const uint32_t start = v->at;
    if (wm_val_read_byte(v) == 0) {
        return;
    }
    v->at = start;
    const uint32_t index = wm_val_read_u32(v);
    if (index == 0) {
        wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, padded);
    } else {
        wm_val_malformed(v, "zero byte expected");
    }
}

static void read_memory_index(struct wm_validation *v)
{
    read_zero(v, "a padded memory index");
    if (!v->has_memory) {
        wm_val_invalid(v, "unknown memory");
    }
}

static void read_call_indirect(struct wm_validation *v)
{
    const uint32_t type = read_index(v, v->types, "unknown type");
    read_zero(v, "a padded table index: compile with -mcpu=mvp and the features that the node has");
    if (!v->has_table) {
        wm_val_invalid(v, "unknown table");
    }
    const uint32_t slot = slots_in_use(v);
    wm_val_pop(v, WM_I32);
    if (!v->failed) {
        call(v, wm_val_type_at(v, type), slot);
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
        wm_val_preserve(v, (uint8_t)(local + 1));
        const bool there = v->height > wm_val_top(v)->height;
        const struct wm_operand *value = there ? &v->operand[v->height - 1] : NULL;
        wm_val_pop(v, type);
        if (opcode == OP_LOCAL_TEE && value != NULL && value->type == type) {
            v->height++; /* the value stays where it is */
            return;
        }
    }
    if (opcode != OP_LOCAL_SET) {
        wm_val_push(v, type);
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
        wm_val_push(v, type);
        return;
    }
    if ((global & WM_GLOBAL_MUTABLE) == 0) {
        wm_val_invalid(v, "global is immutable");
    }
    wm_val_pop(v, type);
}

static void read_memory_access(struct wm_validation *v, uint8_t opcode)
{
    const uint8_t access = memory_access[opcode - OP_I32_LOAD];
    const uint32_t align = wm_val_read_u32(v);
    wm_val_read_u32(v);
    if (!v->has_memory) {
        wm_val_invalid(v, "unknown memory");
    }
    if (align > (access & 3u)) {
        if (align >= 32) {
            wm_val_malformed(v, "malformed memory operation flags");
        } else {
            wm_val_invalid(v, "alignment must not be larger than natural");
        }
    }
    const uint8_t type = valtype(access >> 2);
    if (opcode >= OP_I32_STORE) {
        wm_val_pop(v, type);
        wm_val_pop(v, WM_I32);
    } else {
        wm_val_pop(v, WM_I32);
        wm_val_push(v, type);
    }
}

static void compute(struct wm_validation *v, uint8_t operation)
{
    wm_val_pop(v, valtype(operation >> 2));
    if ((operation & 0x10) != 0) {
        wm_val_pop(v, valtype(operation >> 2));
    }
    wm_val_push(v, valtype(operation));
}

static void read_prefixed(struct wm_validation *v)
{
    const uint32_t start = v->at;
    const uint32_t opcode = wm_val_read_u32(v);
    if (v->failed) {
        return;
    }
    if (v->at - start > 1) {
        wm_val_refuse(v, WM_REFUSED_UNSUPPORTED, "a padded opcode");
    }
    if (opcode < OP_FC_MEMORY_INIT) {
        compute(v, saturating[opcode]);
    } else if (opcode == OP_FC_MEMORY_COPY || opcode == OP_FC_MEMORY_FILL) {
        read_memory_index(v);
        if (opcode == OP_FC_MEMORY_COPY) {
            read_memory_index(v);
        }
        wm_val_pop(v, WM_I32);
        wm_val_pop(v, WM_I32);
        wm_val_pop(v, WM_I32);
    } else if (opcode <= OP_FC_DATA_DROP) {
        wm_val_unsupported(v, "memory.init and data.drop");
    } else if (opcode <= OP_FC_TABLE_FILL) {
        wm_val_unsupported(v, "table instructions");
    } else {
        wm_val_malformed(v, "unknown opcode");
    }
}

static void read_select(struct wm_validation *v)
{
    wm_val_pop(v, WM_I32);
    const uint8_t a = wm_val_pop_any(v), b = wm_val_pop_any(v);
    if (a != b && a != WM_UNKNOWN && b != WM_UNKNOWN) {
        wm_val_mismatch(v);
    }
    wm_val_push(v, a != WM_UNKNOWN ? a : b);
}

/* What the engine has not, and what nobody has. */
static void refuse_opcode(struct wm_validation *v, uint8_t opcode)
{
    switch (opcode) {
    case 0x06: case 0x07: case 0x08: case 0x09: case 0x0a: case 0x18: case 0x19: case 0x1f:
        wm_val_unsupported(v, "exceptions");
        break;
    case 0x12: case 0x13: case 0x15:
        wm_val_unsupported(v, "tail calls");
        break;
    case 0x14: case 0x1c: case 0x25: case 0x26:
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xd4: case 0xd5: case 0xd6:
        wm_val_unsupported(v, "reference types");
        break;
    case 0xfb:
        wm_val_unsupported(v, "garbage collection");
        break;
    case OP_SIMD:
        wm_val_unsupported(v, "SIMD");
        break;
    case OP_ATOMIC:
        wm_val_unsupported(v, "atomic instructions");
        break;
    default:
        wm_val_malformed(v, "unknown opcode");
    }
}

static void read_instruction(struct wm_validation *v)
{
    v->mark = v->at;
    const uint8_t opcode = wm_val_read_byte(v);
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
        wm_val_set_unreachable(v);
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
            call(v, wm_val_function_at(v, function), slots_in_use(v));
        }
        break;
    }
    case OP_CALL_INDIRECT:
        read_call_indirect(v);
        break;
    case OP_DROP:
        wm_val_pop_any(v);
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
        wm_val_push(v, WM_I32);
        break;
    case OP_MEMORY_GROW:
        read_memory_index(v);
        wm_val_pop(v, WM_I32);
        wm_val_push(v, WM_I32);
        break;
    case OP_I32_CONST:
        wm_val_read_leb(v, 32, true);
        wm_val_push(v, WM_I32);
        break;
    case OP_I64_CONST:
        wm_val_read_leb(v, 64, true);
        wm_val_push(v, WM_I64);
        break;
    case OP_F32_CONST:
        wm_val_skip(v, 4);
        wm_val_push(v, WM_F32);
        break;
    case OP_F64_CONST:
        wm_val_skip(v, 8);
        wm_val_push(v, WM_F64);
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
        v->local[i] = wm_val_type_of(v, in, i);
    }
    v->locals = in.count;
    uint64_t total = in.count;
    const uint32_t groups = wm_val_read_count(v);
    for (uint32_t i = 0; i < groups && !v->failed; i++) {
        v->mark = v->at;
        const uint32_t mark = v->at, n = wm_val_read_u32(v);
        const uint8_t type = wm_val_read_valtype(v);
        v->mark = mark;
        total += n;
        if (total > UINT32_MAX) {
            wm_val_malformed(v, "too many locals");
        }
        if (total <= WM_LIMIT(WM_MODULE_LOCALS)) {
            memset(v->local + v->locals, type, n);
            v->locals += n;
            *(wm_val_is_64(type) ? wide : narrow) += n;
        }
    }
    if (total > WM_LIMIT(WM_MODULE_LOCALS)) {
        wm_val_fail(v, WM_REFUSED_LIMIT, "a function has too many locals");
    }
}

void wm_val_body(struct wm_validation *v)
{
    const struct wm_signature_at s = wm_val_function_at(v, (uint32_t)v->function);
    uint32_t wide = 0, narrow = 0;
    read_locals(v, s.params, &wide, &narrow);
    v->height = v->depth = v->records = v->peak = 0;
    /* wasm3 reserves at most this many slots for constants, and two more when the last one is of 64 bits. */
    const uint32_t constants = (WM_LIMIT(WM_MODULE_CONSTANTS) + 3) / 2;
    v->fixed = s.results.count + s.params.count + wide + (narrow + 1) / 2 + constants;
    wm_val_open_block(v, BLOCK_FUNCTION, (struct wm_types){0, 0}, s.results);
    while (v->depth > 0 && !v->failed) {
        read_instruction(v);
    }
    if (!v->failed && v->at != v->end) {
        v->mark = v->at;
        wm_val_malformed(v, "instructions after the end of the function");
    }
}

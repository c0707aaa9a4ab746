/* validate_stack.c: the two stacks of the validator, operands and open blocks, and what wasm3 does not survive
 * in them. Core specification, appendix "Validation Algorithm".
 *
 * Beside the types it keeps count of what wasm3 will need: entries of its stack of types (`records`) and
 * pairs of its slots (`fixed`, `peak`, wm_operand.slot), always at least as much as wasm3 really uses.
 * What wasm3 does:
 *  - entries: a parameter, a local, an operand is one; a block keeps two for each of its parameters, one
 *    for each result, until its end;
 *  - slots: of 4 bytes, a 64-bit value takes an even pair. Results of the function and its parameters have
 *    a pair each, then come locals, constants, operands. An operand takes the first free place, so with n
 *    others in use it is among the first n + 1 pairs. Only a call's results are placed above everything in
 *    use. */
#include "wasm/validate_state.h"

bool wm_val_is_64(uint8_t type)
{
    return type == WM_I64 || type == WM_F64;
}

static bool is_float(uint8_t type)
{
    return type == WM_F32 || type == WM_F64;
}

/* ---- operands ---- */

/* How many operands fit now. */
void wm_val_measure(struct wm_validation *v)
{
    const uint32_t entries = v->locals + v->records;
    const uint32_t used = entries > v->fixed ? entries : v->fixed;
    v->room = used < WM_LIMIT(WM_MODULE_HEIGHT) ? WM_LIMIT(WM_MODULE_HEIGHT) - used : 0;
}

static void too_high(struct wm_validation *v)
{
    wm_val_limit(v, "a function has too many parameters, locals and operands");
}

void wm_val_push_slot(struct wm_validation *v, uint8_t type, uint32_t slot)
{
    if (v->height >= v->room) {
        too_high(v);
        if (v->height == WM_LIMIT(WM_MODULE_HEIGHT)) {
            wm_val_fail(v, WM_REFUSED_LIMIT, "too many operands");
            return;
        }
    }
    v->operand[v->height++] = (struct wm_operand){.slot = (uint16_t)slot, .type = type};
    if (v->height > v->peak) {
        v->peak = v->height;
    }
}

void wm_val_push(struct wm_validation *v, uint8_t type)
{
    wm_val_push_slot(v, type, v->height > 0 ? v->operand[v->height - 1].slot : 0);
}

uint8_t wm_val_pop_any(struct wm_validation *v)
{
    const struct wm_block *block = wm_val_top(v);
    if (v->height > block->height) {
        return v->operand[--v->height].type;
    }
    if (!block->unreachable) {
        wm_val_invalid(v, "type mismatch: an operand is missing");
    }
    return WM_UNKNOWN;
}

void wm_val_mismatch(struct wm_validation *v)
{
    wm_val_invalid(v, "type mismatch");
}

void wm_val_pop(struct wm_validation *v, uint8_t type)
{
    const uint8_t got = wm_val_pop_any(v);
    if (got != type && got != WM_UNKNOWN) {
        wm_val_mismatch(v);
    }
}

bool wm_val_same_types(const struct wm_validation *v, struct wm_types a, struct wm_types b)
{
    return a.count == b.count && memcmp(v->bytes + a.off, v->bytes + b.off, a.count) == 0;
}

void wm_val_pop_types(struct wm_validation *v, struct wm_types types)
{
    for (uint32_t i = types.count; i-- > 0 && !v->failed;) {
        wm_val_pop(v, wm_val_type_of(v, types, i));
    }
}

void wm_val_push_types(struct wm_validation *v, struct wm_types types)
{
    for (uint32_t i = 0; i < types.count && !v->failed; i++) {
        wm_val_push(v, wm_val_type_of(v, types, i));
    }
}

/* The top of the stack must have these types. Leaves it there. */
void wm_val_peek_types(struct wm_validation *v, struct wm_types types)
{
    const struct wm_block *block = wm_val_top(v);
    for (uint32_t i = 0; i < types.count; i++) {
        if (v->height - block->height <= i) {
            if (!block->unreachable) {
                wm_val_invalid(v, "type mismatch: an operand is missing");
            }
            return;
        }
        const uint8_t got = v->operand[v->height - 1 - i].type;
        if (got != wm_val_type_of(v, types, types.count - 1 - i) && got != WM_UNKNOWN) {
            wm_val_mismatch(v);
            return;
        }
    }
}

/* After peek_types: what was not known on top of the stack, or not there, has these types now. */
void wm_val_complete(struct wm_validation *v, struct wm_types types)
{
    const uint32_t base = wm_val_top(v)->height;
    while (v->height - base < types.count && !v->failed) {
        wm_val_push(v, WM_UNKNOWN);
        if (!v->failed) {
            const struct wm_operand added = v->operand[v->height - 1];
            memmove(&v->operand[base + 1], &v->operand[base], (v->height - 1 - base) * sizeof added);
            v->operand[base] = added;
        }
    }
    for (uint32_t i = 0; i < types.count && !v->failed; i++) {
        v->operand[v->height - types.count + i].type = wm_val_type_of(v, types, i);
    }
}

void wm_val_set_unreachable(struct wm_validation *v)
{
    v->height = wm_val_top(v)->height;
    wm_val_top(v)->unreachable = wm_val_top(v)->dead = 1;
}

/* wasm3 leaves the operands of the block on its stack until the block's end, and so must nothing come
 * between. */
void wm_val_check_left(struct wm_validation *v)
{
    const uint8_t next = v->at < v->end ? v->bytes[v->at] : OP_END;
    if (v->height != wm_val_top(v)->height && next != OP_END && next != OP_ELSE) {
        wm_val_limit(v, "code after a jump to a loop, or an unreachable return, that leaves operands behind");
    }
}

/* ---- what wasm3 does not survive: see validate.h ---- */

/* wasm3 moves one value out of the way when another is to take its slot. */
static bool is_clobbering(const struct wm_validation *v, struct wm_types types)
{
    bool wide = false;
    unsigned narrow = 0;
    for (uint32_t i = 0; i < types.count; i++) {
        const bool is_wide = wm_val_is_64(wm_val_type_of(v, types, i));
        narrow += wide && !is_wide;
        wide |= is_wide;
    }
    return narrow >= 2;
}

static bool ends_in_float(const struct wm_validation *v, struct wm_types types)
{
    return types.count > 0 && is_float(wm_val_type_of(v, types, types.count - 1));
}

/* Where local changes or a block begins, wasm3 gives the operands that are this local one slot of their
 * own. Of a pair it counts the users of the first half only: the second is free when one of them is gone. */
void wm_val_preserve(struct wm_validation *v, uint8_t local)
{
    uint32_t users = 0, last = 0;
    for (uint32_t i = 0; i < v->height; i++) {
        if (v->operand[i].local == local) {
            users++;
            last = i;
        }
    }
    if (users > 1 && wm_val_is_64(v->local[local - 1])) {
        wm_val_limit(v, "a 64-bit local changes, or a block begins, while it is an operand twice");
    } else if (users == 1) {
        v->operand[last].local = 0;
    }
}

/* Of the block to be opened, whose parameters are on the stack. */
void wm_val_check_block_shape(struct wm_validation *v, uint8_t opcode, struct wm_types in,
                              struct wm_types out)
{
    if (out.count >= 3 && ends_in_float(v, out)) {
        wm_val_limit(v, "a block with three or more results, the last a float");
    }
    if (out.count == 2 && wm_val_type_of(v, out, 1) == WM_F64 && !wm_val_is_64(wm_val_type_of(v, out, 0))) {
        wm_val_limit(v, "a block with two results, of 32 bits and f64");
    }
    if (is_clobbering(v, out) || (opcode == OP_LOOP && is_clobbering(v, in))) {
        wm_val_limit(v, "a block with a 64-bit value before two or more of 32 bits");
    }
    if (in.count == 0) {
        return;
    }
    if (wm_val_top(v)->dead) {
        wm_val_limit(v, "a block with parameters in code that cannot be reached");
        return;
    }
    for (uint32_t i = v->height - in.count; i < v->height; i++) {
        for (uint32_t k = 0; k < i; k++) {
            if (v->operand[i].local != 0 && v->operand[k].local == v->operand[i].local) {
                wm_val_limit(v, "a block parameter that is the same local as another operand");
            }
        }
    }
}

void wm_val_check_branch_shape(struct wm_validation *v, uint8_t opcode, const struct wm_block *to)
{
    const struct wm_types carried = wm_val_label(to);
    if (carried.count == 0) {
        return;
    }
    if (to->opcode == OP_LOOP) {
        if (opcode == OP_BR && !wm_val_top(v)->dead) {
            wm_val_limit(v, "br to a loop with parameters: use br_if");
        } else if (opcode != OP_BR && wm_val_top(v)->dead) {
            wm_val_limit(v, "a branch to a loop with parameters in code that cannot be reached");
        }
        return;
    }
    if (to == &v->block[0] || wm_val_top(v)->dead || !ends_in_float(v, carried)) {
        return;
    }
    uint32_t between = v->height - to->height - carried.count;
    for (const struct wm_block *b = wm_val_top(v); b != to; b--) {
        between += b->params + b->results;
    }
    if (between != 0 || (opcode == OP_BR_IF && carried.count > 1)) {
        wm_val_limit(v, "a branch that carries a float past other values or blocks with results");
    }
}

/* ---- blocks ---- */

/* The parameters are on the stack. */
void wm_val_open_block(struct wm_validation *v, uint8_t opcode, struct wm_types in, struct wm_types out)
{
    if (v->depth == WM_LIMIT(WM_MODULE_NESTING)) {
        wm_val_fail(v, WM_REFUSED_LIMIT, "blocks are nested too deeply");
        return;
    }
    const uint32_t height = v->height - in.count;
    if (v->depth > 0) {
        v->records += in.count + out.count;
    }
    const uint8_t dead = v->depth > 0 ? wm_val_top(v)->dead : 0;
    v->block[v->depth++] = (struct wm_block){
        .params_off = in.off,
        .results_off = out.off,
        .height = (uint16_t)height,
        .params = (uint8_t)in.count,
        .results = (uint8_t)out.count,
        .opcode = opcode,
        .dead = dead,
    };
    /* wasm3 places the results first, when the parameters are gone, and does not look whether they fit. */
    if (height + out.count > v->peak) {
        v->peak = height + out.count;
    }
    wm_val_measure(v);
    const uint32_t slots = v->fixed + (opcode == BLOCK_FUNCTION ? 0 : height + out.count);
    if (v->height > v->room || slots > WM_LIMIT(WM_MODULE_HEIGHT)) {
        too_high(v);
    }
}

/* The end of the innermost block, or of its first half. */
void wm_val_close_block(struct wm_validation *v)
{
    struct wm_block *block = wm_val_top(v);
    wm_val_pop_types(v, wm_val_results(block));
    if (!v->failed && v->height != block->height) {
        wm_val_invalid(v, "type mismatch: values remain at the end of a block");
    }
}


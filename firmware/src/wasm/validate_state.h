/* validate_state.h: what the files of the validator share. For validate*.c only. */
#ifndef WM_WASM_VALIDATE_STATE_H
#define WM_WASM_VALIDATE_STATE_H

#include "wasm/limits.h"
#include "wasm/module.h"
#include "wasm/validate.h"

/* Opcodes, as far as they have a name here */
enum {
    OP_UNREACHABLE, OP_NOP, OP_BLOCK, OP_LOOP, OP_IF, OP_ELSE,
    OP_END = 0x0b, OP_BR, OP_BR_IF, OP_BR_TABLE, OP_RETURN, OP_CALL, OP_CALL_INDIRECT,
    OP_DROP = 0x1a, OP_SELECT,
    OP_LOCAL_GET = 0x20, OP_LOCAL_SET, OP_LOCAL_TEE, OP_GLOBAL_GET, OP_GLOBAL_SET,
    OP_I32_LOAD = 0x28, OP_I32_STORE = 0x36, OP_I64_STORE32 = 0x3e, OP_MEMORY_SIZE, OP_MEMORY_GROW,
    OP_I32_CONST, OP_I64_CONST, OP_F32_CONST, OP_F64_CONST, OP_I32_EQZ, OP_I64_EXTEND32 = 0xc4,
    OP_PREFIX = 0xfc, OP_SIMD, OP_ATOMIC,
};

#define BLOCK_FUNCTION OP_NOP /* an opcode that opens no block */

#define WM_UNKNOWN 0 /* type of a value that code beyond reach would have popped; others: enum wm_valtype */

/* Value types as they lie in the module, one byte each. */
struct wm_types {
    uint32_t off, count;
};

struct wm_signature_at {
    struct wm_types params, results;
};

/* One open block. The function itself is the outermost. */
struct wm_block {
    uint32_t params_off, results_off;
    uint16_t height; /* operands below the block, without its parameters */
    uint8_t  params, results;
    uint8_t  opcode;
    uint8_t  unreachable; /* operands may be missing */
    uint8_t  dead;        /* the same to wasm3, for which it holds in inner blocks as well */
};

struct wm_operand {
    uint16_t slot;  /* pairs of wasm3's slots that it and those below it may reach up to, because of calls */
    uint8_t  local; /* local that it may share a slot with, + 1; 0: none */
    uint8_t  type;
};

/* Lives in the caller's scratch memory. Everything behind `clear_to` is written before it is read. */
struct wm_validation {
    const uint8_t     *bytes;
    struct wm_refused *refused;
    uint32_t           at, end; /* of what is being read: at <= end <= module's length */
    uint32_t           mark;    /* where the current item or instruction starts */
    int32_t            function;
    bool               failed; /* malformed, invalid or out of scratch: reading goes on, over nothing */
    bool               soft;   /* a limit or a missing feature: the rest is still validated */

    uint32_t types, functions, globals, imported_functions, imported_globals;
    uint32_t code_bodies; /* functions declared, code bodies seen: must agree at the end */
    uint32_t data_count;
    bool     has_table, has_memory, has_data_count, has_data;

    /* The current function */
    uint32_t locals, height, depth;
    uint32_t records; /* wasm3's entries beside locals and operands: parameters and results of open blocks */
    uint32_t fixed;   /* pairs of slots before the first operand's */
    uint32_t peak;    /* most operands so far */
    uint32_t room;    /* operands that fit */

    char clear_to[1];

    struct wm_block   block[WM_MODULE_NESTING];
    uint32_t          type_off[WM_MODULE_TYPES]; /* of the count of parameters */
    struct wm_operand operand[WM_MODULE_HEIGHT];
    uint16_t          function_type[WM_MODULE_FUNCTIONS];
    uint8_t           global[WM_MODULE_GLOBALS]; /* type, with bit 7 if mutable */
    uint8_t           local[WM_MODULE_LOCALS];
};

#define WM_GLOBAL_MUTABLE 0x80

/* ---- refusing (validate.c) ---- */

/* The first one counts; afterwards nothing is left to read, so that every loop ends. */
void wm_val_fail(struct wm_validation *v, enum wm_refusal reason, const char *text);
/* Refuse, but go on: what follows may be invalid or malformed. */
void wm_val_refuse(struct wm_validation *v, enum wm_refusal reason, const char *text);
#define wm_val_malformed(v, text)   wm_val_fail(v, WM_REFUSED_MALFORMED, text)
#define wm_val_invalid(v, text)     wm_val_fail(v, WM_REFUSED_INVALID, text)
#define wm_val_unsupported(v, text) wm_val_fail(v, WM_REFUSED_UNSUPPORTED, text)
#define wm_val_limit(v, text)       wm_val_refuse(v, WM_REFUSED_LIMIT, text)

/* ---- reading (validate.c): bounded by v->end; 0 after a failure ---- */

uint8_t  wm_val_read_byte(struct wm_validation *v);
uint64_t wm_val_read_leb(struct wm_validation *v, unsigned bits, bool is_signed);
uint32_t wm_val_read_u32(struct wm_validation *v);
/* A count of items of at least one byte each, so at most what is left to read. */
uint32_t wm_val_read_count(struct wm_validation *v);
void     wm_val_skip(struct wm_validation *v, uint32_t bytes);
uint8_t  wm_val_read_valtype(struct wm_validation *v);
bool     wm_val_is_valtype(uint8_t byte);

/* A number at *off that has been validated; *off moves behind it. */
uint32_t wm_val_count_at(const uint8_t *bytes, uint32_t *off);
/* Signature of a type whose index has been checked. */
struct wm_signature_at wm_val_type_at(const struct wm_validation *v, uint32_t type);
struct wm_signature_at wm_val_function_at(const struct wm_validation *v, uint32_t function);

/* ---- the stacks (validate_stack.c) ---- */

static inline struct wm_block *wm_val_top(struct wm_validation *v)
{
    return &v->block[v->depth - 1];
}

static inline struct wm_types wm_val_params(const struct wm_block *block)
{
    return (struct wm_types){block->params_off, block->params};
}

static inline struct wm_types wm_val_results(const struct wm_block *block)
{
    return (struct wm_types){block->results_off, block->results};
}

/* What a branch to the block carries. */
static inline struct wm_types wm_val_label(const struct wm_block *block)
{
    return block->opcode == OP_LOOP ? wm_val_params(block) : wm_val_results(block);
}

static inline uint8_t wm_val_type_of(const struct wm_validation *v, struct wm_types types, uint32_t i)
{
    return v->bytes[types.off + i];
}

/* Operands. A pop of what is not there gives WM_UNKNOWN in unreachable code, and fails elsewhere. */
void    wm_val_push(struct wm_validation *v, uint8_t type);
void    wm_val_push_slot(struct wm_validation *v, uint8_t type, uint32_t slot);
void    wm_val_push_types(struct wm_validation *v, struct wm_types types);
void    wm_val_pop(struct wm_validation *v, uint8_t type);
uint8_t wm_val_pop_any(struct wm_validation *v);
void    wm_val_pop_types(struct wm_validation *v, struct wm_types types);
void    wm_val_peek_types(struct wm_validation *v, struct wm_types types); /* leaves them there */
/* After peek_types: what was not known of them, or not there, has these types now. */
void wm_val_complete(struct wm_validation *v, struct wm_types types);
void wm_val_set_unreachable(struct wm_validation *v);
void wm_val_mismatch(struct wm_validation *v);
bool wm_val_same_types(const struct wm_validation *v, struct wm_types a, struct wm_types b);
bool wm_val_is_64(uint8_t type);

/* Blocks. open expects the parameters on the stack; close takes the results from it and leaves the block
 * open, for the second half of an if; measure is for whoever changes records or the height of the blocks. */
void wm_val_open_block(struct wm_validation *v, uint8_t opcode, struct wm_types in, struct wm_types out);
void wm_val_close_block(struct wm_validation *v);
void wm_val_measure(struct wm_validation *v);

/* What wasm3 does not survive: see validate.h. */
void wm_val_check_block_shape(struct wm_validation *v, uint8_t opcode, struct wm_types in,
                              struct wm_types out);
void wm_val_check_branch_shape(struct wm_validation *v, uint8_t opcode, const struct wm_block *to);
void wm_val_check_left(struct wm_validation *v);
void wm_val_preserve(struct wm_validation *v, uint8_t local);

/* ---- the parts ---- */

void wm_val_sections(struct wm_validation *v); /* validate_module.c */
void wm_val_body(struct wm_validation *v);     /* validate_code.c: v->end is the end of the body */

#endif

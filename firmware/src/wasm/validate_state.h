/* validate_state.h: what the files of the validator share. For validate*.c only. */
#ifndef WM_WASM_VALIDATE_STATE_H
#define WM_WASM_VALIDATE_STATE_H

#include "wasm/module.h"
#include "wasm/validate.h"

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
    uint16_t height;  /* operands below the block, without its parameters */
    uint16_t unused;
    uint8_t  params, results;
    uint8_t  opcode;
    uint8_t  unreachable;
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
    uint32_t records; /* entries that wasm3 keeps beside locals and operands: parameters and results of open blocks */
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
void wm_fail(struct wm_validation *v, enum wm_refusal reason, const char *text);
/* Refuse, but go on: what follows may be invalid or malformed. */
void wm_refuse(struct wm_validation *v, enum wm_refusal reason, const char *text);
#define wm_malformed(v, text)   wm_fail(v, WM_REFUSED_MALFORMED, text)
#define wm_invalid(v, text)     wm_fail(v, WM_REFUSED_INVALID, text)
#define wm_unsupported(v, text) wm_fail(v, WM_REFUSED_UNSUPPORTED, text)
#define wm_limit(v, text)       wm_refuse(v, WM_REFUSED_LIMIT, text)

/* ---- reading (validate.c): bounded by v->end; 0 after a failure ---- */

uint8_t  wm_read_byte(struct wm_validation *v);
uint64_t wm_read_leb(struct wm_validation *v, unsigned bits, bool is_signed);
uint32_t wm_read_u32(struct wm_validation *v);
/* A count of items of at least one byte each, so at most what is left to read. */
uint32_t wm_read_count(struct wm_validation *v);
void     wm_skip(struct wm_validation *v, uint32_t bytes);
uint8_t  wm_read_valtype(struct wm_validation *v);
bool     wm_is_valtype(uint8_t byte);

/* A number at *off that has been validated; *off moves behind it. */
uint32_t wm_count_at(const uint8_t *bytes, uint32_t *off);
/* Signature of a type whose index has been checked. */
struct wm_signature_at wm_type_at(const struct wm_validation *v, uint32_t type);
struct wm_signature_at wm_function_at(const struct wm_validation *v, uint32_t function);

/* ---- the parts ---- */

void     wm_validate_sections(struct wm_validation *v); /* validate_module.c */
void     wm_validate_body(struct wm_validation *v);     /* validate_code.c: v->end is the end of the body */

#endif

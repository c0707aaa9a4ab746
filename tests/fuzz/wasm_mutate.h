/* wasm_mutate.h: mutation of WebAssembly modules for libFuzzer, at the level of sections, entries and
 * instructions. wasm_read.c takes a module apart, wasm_generate.c writes code that fits into it,
 * wasm_mutate.c changes it. The three serve the mutation only: what they cannot read they leave as it is,
 * and nothing here decides on validity. */
#ifndef WM_FUZZ_WASM_MUTATE_H
#define WM_FUZZ_WASM_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SEC_CUSTOM, SEC_TYPE, SEC_IMPORT, SEC_FUNCTION, SEC_TABLE, SEC_MEMORY, SEC_GLOBAL, SEC_EXPORT, SEC_START,
    SEC_ELEMENT, SEC_CODE, SEC_DATA, SEC_DATA_COUNT,
};
enum { T_F64 = 0x7c, T_F32, T_I64, T_I32 };

#define SECTIONS_MAX 48
#define TYPES_MAX    128
#define FUNCS_MAX    512
#define GLOBALS_MAX  128
#define LOCALS_MAX   256
#define ITEMS_MAX    1024

struct range {
    uint32_t at, len;
};

struct wasm {
    const uint8_t *bytes;
    size_t         len;
    struct {
        uint8_t      id;
        struct range content;
    } section[SECTIONS_MAX];
    unsigned sections;
    struct {
        struct range params, results; /* one byte each */
    } type[TYPES_MAX];
    unsigned types;
    uint16_t func_type[FUNCS_MAX];
    unsigned funcs, imported;
    uint8_t  global[GLOBALS_MAX]; /* type; bit 7: mutable */
    unsigned globals;
    bool     has_memory, has_table;
};

/* ---- wasm_read.c ---- */

/* A number; 0 if it is cut off. *at moves on, at most to end. */
uint64_t wasm_leb(const uint8_t *bytes, size_t end, size_t *at);
/* Take bytes apart. False: no module, or one without a section. */
bool wasm_read(struct wasm *w, const uint8_t *bytes, size_t len);
/* Index of the section, -1: none. */
int wasm_section(const struct wasm *w, uint8_t id);
/* The entries of a section that is a vector, up to ITEMS_MAX; behind its count. */
unsigned wasm_items(const struct wasm *w, unsigned section, struct range *items);
/* Length of the instruction at `at`, with its immediates; 0: unknown, or cut off. */
size_t wasm_instruction(const uint8_t *bytes, size_t end, size_t at);
/* Types of parameters and locals of a body (index in the code section) and where its code starts. */
unsigned wasm_locals(const struct wasm *w, unsigned function, struct range body, uint8_t *types,
                     size_t *code);

/* ---- what is written ---- */

struct out {
    uint8_t *bytes;
    size_t   len, cap;
    bool     full;
};
void out_byte(struct out *o, unsigned byte);
void out_bytes(struct out *o, const uint8_t *bytes, size_t len);
void out_leb(struct out *o, uint64_t value);
void out_sleb(struct out *o, int64_t value);

/* ---- chance ---- */

uint32_t chance(uint32_t n); /* below n; 0 for n = 0 */
void     chance_seed(uint32_t seed);
int64_t  edge_value(void); /* a power of two, one beside it, a small number, any number */

/* ---- wasm_generate.c ---- */

/* Where code goes: what is there to be used. */
struct place {
    const struct wasm *w;
    const uint8_t     *local;
    unsigned           locals, depth; /* blocks around */
};
/* Code that leaves a value of this type, or nothing. */
void gen_value(struct out *o, const struct place *p, uint8_t type, unsigned size);
void gen_statement(struct out *o, const struct place *p, unsigned size);
void gen_const(struct out *o, uint8_t type);
/* Another instruction that takes and leaves the same types; the opcode itself if there is none. */
uint8_t gen_alike(uint8_t opcode);
/* The content of a `wasmote` section, its name included. */
void gen_wasmote(struct out *o);

#endif

/* validate.h: decides whether a WebAssembly module may come near the engine.
 *
 * The algorithm of the core specification (appendix, "Validation Algorithm") in one pass over the bytes as they lie in
 * flash or RAM: no heap, no recursion, less than 500 bytes of stack on a Cortex-M4, offsets instead of pointers, so that nothing can
 * wrap. Time grows linearly with the module, but for exports (pairwise).
 *
 * Accepted: the MVP, sign extension, saturating conversions, multi-value, mutable globals, memory.copy and memory.fill.
 * Everything else of WebAssembly is WM_REFUSED_UNSUPPORTED, and so are an imported memory or table, more than one of them,
 * and encodings that the engine does not read (a padded table index of call_indirect, a padded 0xFC opcode, a broken "name" section).
 *
 * The engine is wasm3 0.5.0, which does not survive every valid module. What is refused as WM_REFUSED_LIMIT for its sake, beside
 * the numbers in wasmote/config_default.h:
 *  - block parameters in code that cannot be reached: it writes 60 KB past its tables;
 *  - a branch that carries a float as its last value, out of a block or past other values, while there are values
 *    or blocks with results in between: it stores 240 KB beyond its stack (#465); so does a br_if with two values or more;
 *  - a block of three results or more that ends in a float, or of two, 32 bits and f64: it mixes them up;
 *  - a 64-bit local that is twice an operand when it changes or a block begins: half of it is overwritten, and slots get lost;
 *  - br to a loop with parameters: the values are not taken along; and any branch to one in code that cannot be reached;
 *  - code in the same block after a br to a loop that leaves operands behind, or after such a return that cannot be reached;
 *  - two block parameters, or a parameter and a value below it, that are the same local;
 *  - block results (loop parameters) with a 64-bit value before two of 32 bits: one may be overwritten.
 * A module that is malformed or invalid is reported as such, whatever limits it exceeds as well, except for the
 * limits that bound the scratch memory. */
#ifndef WM_WASM_VALIDATE_H
#define WM_WASM_VALIDATE_H

#include "wasm/refused.h"
#include "wasmote/config.h"
#include "wasmote/err.h"

/* Scratch memory that wm_validate needs, in bytes; 4 KB with the limits of a chip. Aligned to 8. */
#define WM_VALIDATE_SCRATCH_BYTES                                                                                   \
    (4u * WM_MODULE_TYPES + 2u * WM_MODULE_FUNCTIONS + WM_MODULE_GLOBALS + WM_MODULE_LOCALS + 4u * WM_MODULE_HEIGHT + \
     16u * WM_MODULE_NESTING + 192u)

/* Returns 0: valid and within the limits, or
 * WM_ERR_UNSUPPORTED: refused, *refused says why and where (the offset of the instruction, or of the byte that is out of
 *                     format; function -1 outside of code). Its import and need_bytes stay empty.
 * WM_ERR_NOSPACE:     scratch_bytes < WM_VALIDATE_SCRATCH_BYTES.
 * scratch may hold anything before and holds nothing of use afterwards. */
int wm_validate(struct wm_span module, void *scratch, size_t scratch_bytes, struct wm_refused *refused);

#endif

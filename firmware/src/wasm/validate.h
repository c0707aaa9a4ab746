/* validate.h: decides whether a WebAssembly module may come near the engine.
 *
 * The algorithm of the core specification (appendix, "Validation Algorithm") in one pass over the bytes as
 * they lie in flash or RAM: no heap, no recursion, less than 600 bytes of stack on a Cortex-M4, offsets
 * instead of pointers, so that nothing can wrap. Time grows linearly with the module, but for exports
 * (pairwise) and for blocks, which look at all operands below them.
 *
 * Accepted: the MVP, sign extension, saturating conversions, multi-value, mutable globals, memory.copy and
 * memory.fill. The rest of WebAssembly is WM_REFUSED_UNSUPPORTED; so are an imported memory or table, more
 * than one of them, a memory section without a memory, and what the engine cannot read: a padded table
 * index of call_indirect, a padded 0xFC opcode, a broken "name" section.
 *
 * The engine is wasm3 0.5.0, which does not survive every valid module, and gets others wrong. What it
 * must not see is WM_REFUSED_LIMIT: beyond the numbers in wasmote/config_default.h these shapes,
 *  - block parameters in code that cannot be reached: it writes 60 KB past its tables;
 *  - a branch whose last value is a float, out of a block that has other values or past blocks with values
 *    or results: it stores 240 KB beyond its stack (#465). Also a br_if with two such values or more;
 *  - block results that end in a float, three or more, or 32 bits and f64: they are mixed up;
 *  - block results or loop parameters with a 64-bit value before two or more of 32 bits: one is
 *    overwritten;
 *  - br to a loop with parameters: it does not take them along. Any branch to one from code beyond reach;
 *  - a block parameter that is the same local as another operand; a 64-bit local that is an operand twice
 *    when it changes or a block begins: their slots are shared, but not counted so;
 *  - code in the same block after a br to a loop that leaves operands behind, or after such a return in
 *    code that cannot be reached: it keeps them.
 * A module that is malformed or invalid is reported as such, whatever limits it exceeds as well, except for
 * the limits that bound the scratch memory. */
#ifndef WM_WASM_VALIDATE_H
#define WM_WASM_VALIDATE_H

#include "wasm/refused.h"
#include "wasmote/config.h"
#include "wasmote/err.h"

/* Scratch memory that wm_validate needs, in bytes: under 4 KB with the limits of a chip. Aligned to 8. */
#define WM_VALIDATE_SCRATCH_BYTES                                                            \
    (4u * WM_MODULE_TYPES + 2u * WM_MODULE_FUNCTIONS + WM_MODULE_GLOBALS + WM_MODULE_LOCALS + \
     4u * WM_MODULE_HEIGHT + 16u * WM_MODULE_NESTING + 192u)

/* Returns 0: valid and within the limits, or
 * WM_ERR_UNSUPPORTED: refused; *refused says why and where: the offset of the instruction, or of the byte
 *                     that is out of format; the function's index, -1 outside of code; the rest is empty;
 * WM_ERR_NOSPACE:     scratch_bytes < WM_VALIDATE_SCRATCH_BYTES.
 * scratch may hold anything before and holds nothing of use afterwards. */
int wm_validate(struct wm_span module, void *scratch, size_t scratch_bytes, struct wm_refused *refused);

#endif

/* m3_unit.h: what engine.c needs of m3_unit.c, where wasm3's compiler and operations live. */
#ifndef WM_WASM_M3_UNIT_H
#define WM_WASM_M3_UNIT_H

#include <setjmp.h>

#include "base/heap.h"
#include "wasm/engine.h"
#include "wasm3.h"

/* What is running now. One in the process; engine.c saves and restores it around whatever it runs, so that a
 * module may be opened inside the tick of a running function. */
struct wm_m3_run {
    int32_t   left; /* fuel left in this slice; negative: look at the links at once (m3_unit.c) */
    uintptr_t low;  /* the stack has not been deeper than here yet */
    uint32_t  reserve;      /* fuel beyond this slice */
    uintptr_t entry, limit; /* stack pointer at the start; lowest one allowed */
    struct wm_call_env *env;
    uint64_t  declared_bytes;   /* memory that the module believes in; 0: it has all of it */
    uint32_t  table_elements;   /* of the table that the module believes in */
    enum wm_trap_kind trap;     /* set where wm_m3_stopped is returned */

    struct wm_heap *heap;       /* while a module is opened: where wasm3 allocates */
    jmp_buf        *no_memory;  /* and where to go when that is full */
    size_t          wanted_bytes;
    void           *state;      /* if not NULL: what wasm3 may "reallocate" for its memory, as large as it will be */
    uintptr_t       high;       /* end of the highest allocation so far */
};
extern struct wm_m3_run wm_m3;

/* The result of whatever was ended by us; wm_m3.trap says why. */
extern const char wm_m3_stopped[];

/* Start to measure: fuel from full, stack from here. stack_bytes of it may be used, and never more than the
 * port has; SIZE_MAX: all that the port has. */
void wm_m3_begin(struct wm_call_env *env, uint32_t fuel, size_t stack_bytes);

/* Fuel used since wm_m3_begin had this much. */
uint32_t wm_m3_fuel_used(uint32_t fuel);

/* Take this much fuel from the function that runs. False: it had less, and has none now. */
bool wm_m3_spend(uint32_t fuel);

/* The function that runs, if one does, ticks at its next loop turn or call. From an interrupt. */
void wm_m3_nudge(void);

/* Run a compiled function on the runtime's stack, where its arguments are. */
M3Result wm_m3_call(IM3Function function);

size_t wm_m3_stack_bytes(void);

#endif

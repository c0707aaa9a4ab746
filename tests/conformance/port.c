/* What the validator needs to stand alone in a shared library. */
#include <stdio.h>
#include <stdlib.h>

#include "wasm/validate.h"
#include "wasmote/port.h"

size_t conformance_scratch_bytes(void);

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "assertion failed: %s:%d\n", file, line);
    abort();
}

size_t conformance_scratch_bytes(void)
{
    return WM_VALIDATE_SCRATCH_BYTES;
}

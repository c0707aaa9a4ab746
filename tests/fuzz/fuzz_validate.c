/* The validator over any bytes: it stays inside of them, says where it stopped, and what lay in its
 * scratch memory before changes nothing. Good seeds are the modules of tests/conformance. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wasm/validate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok) {
        abort();
    }
}

static int run(const uint8_t *data, size_t size, uint8_t fill, struct wm_refused *refused)
{
    static _Alignas(8) uint8_t scratch[WM_VALIDATE_SCRATCH_BYTES];
    memset(scratch, fill, sizeof scratch);
    memset(refused, fill, sizeof *refused);
    return wm_validate(wm_span(data, size), scratch, sizeof scratch, refused);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wm_refused a, b;
    const int err = run(data, size, 0x00, &a);
    check(run(data, size, 0xff, &b) == err);
    if (err == 0) {
        return 0;
    }
    check(err == WM_ERR_UNSUPPORTED);
    check(a.reason == b.reason && a.text == b.text && a.function == b.function && a.offset == b.offset);
    check(a.reason <= WM_REFUSED_UNSUPPORTED && a.text != NULL && a.text[0] != 0);
    check(a.offset >= 0 && (size_t)a.offset <= size && a.function >= -1);
    return 0;
}

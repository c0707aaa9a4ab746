/* validate_host.c: validates a module again and again, to be counted by callgrind.
 *
 *     validate MODULE TIMES
 *
 * Prints what is wrong with it, or `valid`. */
#include <stdio.h>
#include <stdlib.h>

#include "wasm/validate.h"
#include "wasmote/port.h"

uint32_t wm_port_now_ms(void)
{
    return 0;
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "panic: %s:%d\n", file, line);
    abort();
}

int main(int argc, char **argv)
{
    static uint8_t  module[65536];
    static uint64_t scratch[(WM_VALIDATE_SCRATCH_BYTES + 7) / 8];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fputs("usage: validate MODULE TIMES\n", stderr);
        return 2;
    }
    const size_t len = fread(module, 1, sizeof module, file);
    fclose(file);
    struct wm_refused refused = {.text = "valid"};
    int err = 0;
    for (int times = atoi(argv[2]); times > 0; times--) {
        err = wm_validate(wm_span(module, len), scratch, sizeof scratch, &refused);
    }
    puts(err == 0 ? "valid" : refused.text);
    return err != 0;
}

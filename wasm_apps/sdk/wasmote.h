/* wasmote.h: what an app sees of the node it runs on. ABI version 1, docs/PROTOCOL.md 7.
 *
 * An export takes and returns numbers, or it is of type void(void) or int32_t(void) and reads its request and writes its
 * reply as streams:
 *
 *     WASMOTE_EXPORT("shout")
 *     int32_t shout(void)
 *     {
 *         uint8_t buf[64];
 *         for (int32_t n; (n = wasmote_input(buf, sizeof buf)) > 0;) {
 *             ...
 *             wasmote_output(buf, n);
 *         }
 *         return 0;               // 0: done; 400 to 431 become CoAP 4.00 to 4.31; any other is 4.00
 *     }
 *
 * There is no C library: memcpy, memset, memmove and memcmp are there, malloc is not. Small static buffers keep an instance
 * small; variables live as long as the instance does, that is, from call to call until the function is replaced. */
#ifndef WASMOTE_H
#define WASMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WASMOTE_ABI 1

/* Makes the function that follows callable under this name. */
#define WASMOTE_EXPORT(name) __attribute__((export_name(name), visibility("default")))
/* Declares a function that the node supplies. Modules beyond "wasmote" must be named in app.toml's `permissions`. */
#define WASMOTE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* The next bytes of the request, at most cap. Returns how many; 0 at the end. */
WASMOTE_IMPORT("wasmote", "input") int32_t wasmote_input(void *buf, int32_t cap);

/* Appends len bytes to the reply and returns len. Beyond the output quota the call ends in a trap. */
WASMOTE_IMPORT("wasmote", "output") int32_t wasmote_output(const void *bytes, int32_t len);

/* A line in the node's log, cut at 80 bytes. Beyond the log quota, lines a second, the call ends in a trap. */
enum { WASMOTE_ERROR, WASMOTE_WARNING, WASMOTE_INFO, WASMOTE_DEBUG };
WASMOTE_IMPORT("wasmote", "log") void wasmote_log(int32_t level, const char *text, int32_t len);

/* Milliseconds since the node's start. */
WASMOTE_IMPORT("wasmote", "millis") int64_t wasmote_millis(void);

/* ---- helpers: they cost code only where they are used ---- */

static inline int32_t wasmote_strlen(const char *text)
{
    int32_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}

/* Appends a text to the reply, without its final zero. */
static inline void wasmote_print(const char *text)
{
    wasmote_output(text, wasmote_strlen(text));
}

/* Appends a number in decimal. */
static inline void wasmote_print_u64(uint64_t value)
{
    char digits[20];
    int32_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    wasmote_output(digits + at, (int32_t)sizeof digits - at);
}

/* Appends len bytes in lower-case hexadecimal. */
static inline void wasmote_print_hex(const uint8_t *bytes, int32_t len)
{
    for (int32_t i = 0; i < len; i++) {
        const char pair[2] = { "0123456789abcdef"[bytes[i] >> 4], "0123456789abcdef"[bytes[i] & 15] };
        wasmote_output(pair, 2);
    }
}

#endif

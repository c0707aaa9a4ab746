#include "base/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

struct out {
    char  *dst;
    size_t len, cap;
};

static void put(struct out *out, char c)
{
    if (out->len + 1 < out->cap) {
        out->dst[out->len++] = c;
    }
}

static void put_number(struct out *out, unsigned long value, unsigned base)
{
    char digits[20]; /* 2^64 in decimal */
    int  n = 0;
    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (n > 0) {
        put(out, digits[--n]);
    }
}

int wm_vformat(char *dst, size_t cap, const char *format, va_list ap)
{
    WM_ASSERT(cap > 0);
    struct out out = {.dst = dst, .cap = cap};
    for (const char *p = format; *p != '\0'; p++) {
        if (*p != '%') {
            put(&out, *p);
            continue;
        }
        const char *spec = p++;
        size_t      precision = SIZE_MAX;
        if (p[0] == '.' && p[1] == '*') {
            const int given = va_arg(ap, int);
            precision = given < 0 ? SIZE_MAX : (size_t)given;
            p += 2;
        }
        const bool is_size = *p == 'z', is_long = *p == 'l';
        p += is_size || is_long;
        switch (*p) {
        case 's': /* a string with a precision needs no final zero */
            for (const char *s = va_arg(ap, const char *); precision > 0 && *s != '\0'; precision--) {
                put(&out, *s++);
            }
            break;
        case 'c':
            put(&out, (char)va_arg(ap, int));
            break;
        case 'd': {
            const long value = is_long ? va_arg(ap, long) : va_arg(ap, int);
            if (value < 0) {
                put(&out, '-');
            }
            put_number(&out, value < 0 ? 0ul - (unsigned long)value : (unsigned long)value, 10);
            break;
        }
        case 'u':
        case 'x':
            put_number(&out,
                       is_size   ? va_arg(ap, size_t)
                       : is_long ? va_arg(ap, unsigned long)
                                 : va_arg(ap, unsigned),
                       *p == 'x' ? 16 : 10);
            break;
        case '%':
            put(&out, '%');
            break;
        default:
            /* Not ours. Copy it up to its last character; at the end of the format there is none. */
            for (; spec <= p && *spec != '\0'; spec++) {
                put(&out, *spec);
            }
            if (*p == '\0') {
                p--;
            }
            break;
        }
    }
    dst[out.len] = '\0';
    return (int)out.len;
}

int wm_format(char *dst, size_t cap, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const int len = wm_vformat(dst, cap, format, ap);
    va_end(ap);
    return len;
}

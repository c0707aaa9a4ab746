/* fmt.h: a printf of a few hundred bytes, for messages to people. newlib's vsnprintf costs some 10 KB.
 *
 * Conversions: %s %.*s %c %d %u %x, the last three also as %ld %lu %lx %zu; %%. No width, no padding, no
 * floats. Anything else is copied as it stands. */
#ifndef WM_BASE_FMT_H
#define WM_BASE_FMT_H

#include <stdarg.h>
#include <stddef.h>

/* Write at most cap - 1 characters and a final zero; what does not fit is cut. cap is at least 1.
 * Returns the characters written, without the zero. */
int wm_vformat(char *dst, size_t cap, const char *format, va_list ap) __attribute__((format(printf, 3, 0)));
int wm_format(char *dst, size_t cap, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif

/* string.h: what the validator uses of it. The compiler's own library has these; a freestanding target has no header. */
#ifndef WM_VALIDATOR_STRING_H
#define WM_VALIDATOR_STRING_H

#include <stddef.h>

int    memcmp(const void *a, const void *b, size_t bytes);
void  *memcpy(void *to, const void *from, size_t bytes);
void  *memmove(void *to, const void *from, size_t bytes);
void  *memset(void *to, int value, size_t bytes);
size_t strlen(const char *text);

#endif

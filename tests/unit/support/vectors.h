/* vectors.h: reads files in tests/vectors that keep one vector (a JSON object of plain strings and numbers) a line. */
#ifndef VECTORS_H
#define VECTORS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the value of a member begins: at its quote, digit or bracket; NULL: the line has no such member. */
static inline const char *vector_member(const char *line, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(quoted);
    return at + strspn(at, " ");
}

/* Decode a string of hex digits at its quote. Returns the number of bytes; *end, if not NULL, is behind the closing quote. */
static inline size_t vector_hex(const char *at, unsigned char *buf, size_t cap, const char **end)
{
    size_t len = 0;
    if (at == NULL || *at++ != '"') {
        abort();
    }
    for (; *at != '"'; at += 2) {
        unsigned byte;
        if (!isxdigit((unsigned char)at[0]) || !isxdigit((unsigned char)at[1]) || len == cap ||
            sscanf(at, "%2x", &byte) != 1) {
            abort();
        }
        buf[len++] = (unsigned char)byte;
    }
    if (end != NULL) {
        *end = at + 1;
    }
    return len;
}

/* Call use for each line that has the member `key`. Returns how many there were. */
static inline unsigned vector_each(const char *file_name, const char *key, void (*use)(const char *line))
{
    static char line[16384];
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", WM_VECTORS_DIR, file_name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        abort();
    }
    unsigned count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strchr(line, '\n') == NULL) {
            abort(); /* a line that does not fit */
        }
        if (vector_member(line, key) != NULL) {
            use(line);
            count++;
        }
    }
    fclose(file);
    return count;
}

#endif

/* Counts like wc: the reply is the text "LINES WORDS BYTES\n". A word is a run of bytes other than space, \t, \n, \v, \f
 * and \r, as wc sees it in the C locale.
 *
 * VERSION 2 also tells the longest word: "LINES WORDS BYTES LONGEST\n" with its length in bytes. */
#include "wasmote.h"

#ifndef VERSION
#define VERSION 1
#endif

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

WASMOTE_EXPORT("wordcount")
int32_t wordcount(void)
{
    static uint8_t buf[256];
    uint32_t lines = 0, words = 0, bytes = 0;
    uint32_t length = 0; /* of the word that we are in */
#if VERSION >= 2
    uint32_t longest = 0;
#endif
    for (int32_t n; (n = wasmote_input(buf, sizeof buf)) > 0;) {
        bytes += (uint32_t)n;
        for (int32_t i = 0; i < n; i++) {
            if (buf[i] == '\n') {
                lines++;
            }
            if (is_space(buf[i])) {
                length = 0;
                continue;
            }
            if (length++ == 0) {
                words++;
            }
#if VERSION >= 2
            if (length > longest) {
                longest = length;
            }
#endif
        }
    }
    wasmote_print_u64(lines);
    wasmote_print(" ");
    wasmote_print_u64(words);
    wasmote_print(" ");
    wasmote_print_u64(bytes);
#if VERSION >= 2
    wasmote_print(" ");
    wasmote_print_u64(longest);
#endif
    wasmote_print("\n");
    return 0;
}

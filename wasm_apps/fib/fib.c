/* Fibonacci numbers, recursively: many calls and nothing else, which is what it is for. */
#include "wasmote.h"

WASMOTE_EXPORT("fib")
int32_t fib(int32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* The same by a loop, in 64 bits: right up to n = 93, modulo 2^64 beyond. */
WASMOTE_EXPORT("fib64")
int64_t fib64(int32_t n)
{
    uint64_t a = 0, b = 1;
    for (int32_t i = 0; i < n; i++) {
        uint64_t next = a + b;
        a = b;
        b = next;
    }
    return (int64_t)a;
}

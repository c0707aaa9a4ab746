/* A sum that lasts as long as the instance: what a call leaves behind, the next one finds. */
#include "wasmote.h"

static int32_t sum;

/* Adds and returns the new sum (modulo 2^32). Not idempotent: sent twice, it counts twice. */
WASMOTE_EXPORT("add")
int32_t add(int32_t amount)
{
    sum = (int32_t)((uint32_t)sum + (uint32_t)amount);
    return sum;
}

WASMOTE_EXPORT("get")
int32_t get(void)
{
    return sum;
}

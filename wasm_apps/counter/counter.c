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

/* An i64: the i32 of an export without parameters would be its status (docs/PROTOCOL.md 4). */
WASMOTE_EXPORT("get")
int64_t get(void)
{
    return sum;
}

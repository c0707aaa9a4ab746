/* A module's whole way: validate, read its section, load, link, start, call every export, sleep and wake, and
 * call them again, with arguments that follow from its bytes. The input is the module.
 *
 * Beyond what the sanitizers see: refusals are of the documented kinds, nothing that the validator accepted is
 * malformed or invalid for the engine, fuel and output are kept to, the instance's memory lies where it must and
 * survives sleep, results have no stray bits, an instance can be called again after a trap, and no byte of the
 * pool is lost. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "functions/image.h"
#include "test_port.h"

#define POOL_BYTES   (320u * 1024u)
#define CELLS        (WM_MODULE_PARAMS + WM_MODULE_RESULTS)
#define CALLS_MAX    24
#define OUTPUT_BYTES 256
#define LOG_LINES    8

static struct {
    uint64_t modules, valid, open, calls, returned;
} seen;

static void tell(void)
{
    fprintf(stderr, "fuzz_module: %llu modules, %llu valid, %llu open, %llu calls, %llu returned\n",
            (unsigned long long)seen.modules, (unsigned long long)seen.valid, (unsigned long long)seen.open,
            (unsigned long long)seen.calls, (unsigned long long)seen.returned);
}

static uint32_t state;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint64_t any_argument(void)
{
    switch (next() % 4) {
    case 0:
        return next() % 8;
    case 1: /* NaNs, infinities, subnormals, the ends of integers */
        return (uint64_t)0xfff << (next() % 64);
    case 2:
        return (uint64_t)1 << (next() % 64);
    default:
        return (uint64_t)next() << 32 | next();
    }
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)__builtin_frame_address(0) - 4u * 1024u * 1024u;
}

struct world {
    size_t   output;
    unsigned ticks, lines;
};

static int take_output(void *ctx, struct wm_span bytes)
{
    struct world *world = ctx;
    if (bytes.len > OUTPUT_BYTES - world->output) {
        return WM_ERR_NOSPACE;
    }
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.len; i++) { /* every byte is read */
        sum += bytes.ptr[i];
    }
    state += sum == 1;
    world->output += bytes.len;
    return 0;
}

static int take_log(void *ctx, int level, struct wm_span text)
{
    struct world *world = ctx;
    (void)level;
    world->ticks += text.len > 0 && text.ptr[text.len - 1] == 0xfe;
    wm_engine_nudge(); /* as a timer would */
    return ++world->lines > LOG_LINES ? WM_ERR_NOSPACE : 0;
}

/* Reads all that it is given, for the sanitizers to see. */
static void take_rpc(void *ctx, struct wm_span name, struct wm_span data)
{
    (void)ctx;
    static volatile uint8_t sum;
    for (size_t i = 0; i < name.len; i++) {
        sum = (uint8_t)(sum + name.ptr[i]);
    }
    for (size_t i = 0; i < data.len; i++) {
        sum = (uint8_t)(sum + data.ptr[i]);
    }
}

static bool tick(void *ctx)
{
    struct world *world = ctx;
    wm_test_now_ms += 7;
    return ++world->ticks > 40; /* some are cancelled */
}

static void check_memory(const struct wm_image *image)
{
    const struct wm_span memory = wm_engine_memory(image->engine);
    const uint8_t *state_block = image->state, *end = state_block + image->state_bytes;
    WM_ASSERT(memory.len == image->quotas.memory_bytes || memory.len == 0);
    WM_ASSERT(memory.len == 0 || (memory.ptr >= state_block && memory.ptr + memory.len <= end));
}

static void call(const struct wm_image *image, uint32_t function, const struct wm_signature *type)
{
    uint64_t args[CELLS], results[CELLS];
    struct world world = {.output = 0};
    struct wm_call_env env = {
        .ctx = &world, .input = image->module, .output = take_output, .log = take_log, .rpc = take_rpc, .tick = tick,
    };
    WM_ASSERT(type->params.len <= WM_MODULE_PARAMS && type->results.len <= WM_MODULE_RESULTS);
    for (size_t i = 0; i < type->params.len; i++) {
        args[i] = any_argument();
    }
    const uint32_t fuel = next() % 8 == 0 ? next() % 8 : image->quotas.fuel;
    enum wm_trap_kind trap = WM_TRAP_OTHER;
    const int err = wm_engine_call(image->engine, function, args, results, fuel, &env, &trap);
    WM_ASSERT(err == 0 || err == WM_ERR_TRAP);
    WM_ASSERT((err == 0) == (trap == WM_TRAP_NONE) && trap != WM_TRAP_OTHER);
    WM_ASSERT(env.fuel_used <= fuel && world.output <= OUTPUT_BYTES);
    for (size_t i = 0; err == 0 && i < type->results.len; i++) {
        const bool half = type->results.ptr[i] == WM_I32 || type->results.ptr[i] == WM_F32;
        WM_ASSERT(!half || results[i] >> 32 == 0);
    }
    seen.calls++;
    seen.returned += err == 0;
}

static void call_exports(const struct wm_image *image)
{
    struct wm_export export;
    unsigned calls = 0;
    for (uint32_t n = 0; calls < CALLS_MAX && wm_module_export(image->module, n, &export) == 0; n++) {
        struct wm_signature type;
        if (export.kind != WM_EXTERN_FUNC || wm_module_signature(image->module, export.item, &type) != 0) {
            continue;
        }
        call(image, export.item, &type);
        check_memory(image);
        calls++;
    }
}

static uint32_t checksum(struct wm_span memory)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < memory.len; i++) {
        sum = (sum ^ memory.ptr[i]) * 16777619u;
    }
    return sum;
}

/* Its memory goes on as it was. */
static void sleep_and_wake(struct wm_heap *pool, struct wm_image *image)
{
    struct wm_refused refused;
    const uint32_t before = checksum(wm_engine_memory(image->engine));
    wm_image_sleep(pool, image);
    WM_ASSERT(wm_image_open(pool, image, &refused) == 0);
    check_memory(image);
    WM_ASSERT(checksum(wm_engine_memory(image->engine)) == before);
}

static void check_refused(const struct wm_refused *refused, int err, size_t len)
{
    WM_ASSERT(err == WM_ERR_UNSUPPORTED || err == WM_ERR_NOMEM);
    if (err == WM_ERR_UNSUPPORTED) {
        WM_ASSERT(refused->reason <= WM_REFUSED_SECTION && refused->text != NULL && refused->text[0] != '\0');
    }
    WM_ASSERT(refused->offset >= -1 && refused->offset <= (int64_t)len && refused->function >= -1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return atexit(tell);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(8) uint8_t pool_bytes[POOL_BYTES];
    struct wm_heap *pool = wm_heap_init(pool_bytes, sizeof pool_bytes);
    const size_t free_bytes = wm_heap_free_bytes(pool);
    struct wm_image image = {.module = wm_span(data, size)};
    struct wm_refused refused = {.function = -1, .offset = -1};
    state = 0x2545f491u;
    for (size_t i = 0; i < size; i++) {
        state = (state ^ data[i]) * 16777619u;
    }
    state |= 1;
    wm_test_now_ms = 0;
    seen.modules++;
    int err = wm_image_examine(pool, &image, &refused);
    if (err == 0) {
        seen.valid++;
        err = wm_image_open(pool, &image, &refused);
        const bool broken = refused.reason == WM_REFUSED_INVALID || refused.reason == WM_REFUSED_MALFORMED;
        WM_ASSERT(err != WM_ERR_UNSUPPORTED || !broken);
    }
    if (err != 0) {
        check_refused(&refused, err, size);
    } else {
        seen.open++;
        check_memory(&image);
        call_exports(&image);
        if (next() % 2 == 0) {
            sleep_and_wake(pool, &image);
        }
        call_exports(&image);
        wm_image_close(pool, &image);
    }
    WM_ASSERT(wm_heap_free_bytes(pool) == free_bytes);
    return 0;
}

/* The engine on real modules (tests/unit/modules): calls, streams, refusals, every trap, fuel, memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/log.h"
#include "test_port.h"
#include "wasm/engine.h"
#include "wasmote/port.h"

static uintptr_t stack_floor;
static bool      nudging; /* the clock, which functions may ask, is also the timer */

uint32_t wm_port_now_ms(void)
{
    if (nudging) {
        wm_engine_nudge();
    }
    return wm_test_now_ms;
}

uintptr_t wm_port_stack_limit(void)
{
    return stack_floor;
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    mock_assert(0, "WM_ASSERT", file, line);
    abort();
}

/* ---- one module in one pool ---- */

#define POOL_BYTES (1024u * 1024u)

static struct wm_heap *pool;
static size_t pool_free; /* when it was empty */

static struct {
    uint8_t           bytes[4096];
    struct wm_span    module;
    struct wm_quotas  quotas;
    void             *arena;
    size_t            arena_bytes;
    struct wm_engine *engine;
    struct wm_refused refused;
    struct wm_call_env env;
    enum wm_trap_kind trap;
    uint32_t          fuel;
    uint8_t           out[256];
    size_t            out_len, out_cap;
    char              log[128];
    size_t            log_len;
    int               log_level, log_lines, log_max;
    uint32_t          ticks, cancel_at;
} t;

static int on_output(void *ctx, struct wm_span bytes)
{
    assert_ptr_equal(ctx, &t);
    if (t.out_len + bytes.len > t.out_cap) {
        return WM_ERR_NOSPACE;
    }
    memcpy(t.out + t.out_len, bytes.ptr, bytes.len);
    t.out_len += bytes.len;
    return 0;
}

static int on_log(void *ctx, int level, struct wm_span text)
{
    assert_ptr_equal(ctx, &t);
    assert_true(text.len < sizeof t.log);
    memcpy(t.log, text.ptr, text.len);
    t.log_len = text.len;
    t.log_level = level;
    t.log_lines++;
    return t.log_lines > t.log_max ? WM_ERR_NOSPACE : 0;
}

static bool on_tick(void *ctx)
{
    assert_ptr_equal(ctx, &t);
    t.ticks++;
    return t.cancel_at != 0 && t.ticks == t.cancel_at;
}

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.quotas = (struct wm_quotas){.fuel = 1000000, .stack_bytes = 2048, .output_bytes = 256};
    t.env = (struct wm_call_env){.ctx = &t, .output = on_output, .log = on_log, .tick = on_tick};
    t.fuel = 1000000;
    t.out_cap = sizeof t.out;
    t.log_max = INT32_MAX;
    nudging = false;
    stack_floor = (uintptr_t)__builtin_frame_address(0) - 5 * 1024 * 1024;
    return 0;
}

static void load(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.wasm", WM_MODULES_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t len = fread(t.bytes, 1, sizeof t.bytes, f);
    assert_true(len > 8 && len < sizeof t.bytes);
    fclose(f);
    t.module = wm_span(t.bytes, len);
}

static int try_open(void)
{
    const size_t room = wm_heap_largest(pool);
    t.arena = wm_heap_alloc(pool, room);
    const int used = wm_engine_open(&t.engine, t.arena, room, t.module, &t.quotas, &t.env, &t.refused);
    if (used < 0) {
        assert_null(t.engine);
        wm_heap_free(pool, t.arena);
        t.arena = NULL;
        assert_int_equal(wm_heap_free_bytes(pool), pool_free);
        return used;
    }
    t.arena_bytes = (size_t)used;
    assert_ptr_equal(wm_heap_resize(pool, t.arena, (size_t)used), t.arena);
    return 0;
}

static void open_module(const char *name)
{
    load(name);
    const int err = try_open();
    if (err) {
        print_error("%s: %d %s\n", name, err, t.refused.text ? t.refused.text : "");
    }
    assert_int_equal(err, 0);
}

static int teardown(void **state)
{
    (void)state;
    if (t.engine) {
        wm_engine_close(t.engine);
        wm_heap_free(pool, t.arena);
        t.engine = NULL;
    }
    assert_int_equal(wm_heap_free_bytes(pool), pool_free);
    return 0;
}

static uint32_t function(const char *name)
{
    struct wm_export export;
    if (wm_module_find_export(t.module, wm_span_str(name), &export) != 0) {
        fail_msg("no export %s", name);
    }
    assert_int_equal(export.kind, WM_EXTERN_FUNC);
    return export.item;
}

static int invoke(const char *name, const uint64_t *args, uint64_t *results)
{
    t.trap = WM_TRAP_OTHER;
    t.ticks = 0;
    return wm_engine_call(t.engine, function(name), args, results, t.fuel, &t.env, &t.trap);
}

#define ARGS(...) ((const uint64_t[]){__VA_ARGS__, 0})

static uint64_t call1(const char *name, const uint64_t *args)
{
    uint64_t result = 0xeeeeeeeeeeeeeeee;
    const int err = invoke(name, args, &result);
    if (err) {
        fail_msg("%s trapped: %s", name, wm_trap_name(t.trap));
    }
    assert_int_equal(t.trap, WM_TRAP_NONE);
    return result;
}

static enum wm_trap_kind trap_in(const char *name, const uint64_t *args)
{
    uint64_t results[4];
    assert_int_equal(invoke(name, args, results), WM_ERR_TRAP);
    return t.trap;
}

static uint64_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint64_t f64_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- numbers and streams ---- */

static void test_engine_numbers(void **state)
{
    (void)state;
    open_module("numbers");
    assert_true(call1("add_i32", ARGS(2, 3)) == 5);
    assert_true(call1("add_i32", ARGS(0xffffffff, 0xffffffff)) == 0xfffffffe); /* the high half is 0 */
    assert_true(call1("add_i32", ARGS(0xdeadbeef00000001, 1)) == 2);           /* and not looked at */
    assert_true(call1("add_i64", ARGS(0x7fffffffffffffff, 1)) == 0x8000000000000000);
    assert_true(call1("add_f32", ARGS(f32_bits(1.5f), f32_bits(-0.25f))) == f32_bits(1.25f));
    assert_true(call1("add_f64", ARGS(f64_bits(1e300), f64_bits(1e300))) == f64_bits(2e300));
    assert_true(call1("bits_f32", ARGS(f32_bits(-2.0f))) == 0xc0000000);
    assert_true(call1("bits_f64", ARGS(0x7ff8000000000001)) == 0x7ff8000000000001);
    assert_true(call1("extend8", ARGS(0x80)) == 0xffffff80);
    assert_true(call1("saturate", ARGS(f64_bits(1e10))) == 0x7fffffff);
    assert_true(call1("fib", ARGS(20)) == 6765);
    assert_true(call1("sum16", ARGS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)) == 136);
    uint64_t results[4];
    assert_int_equal(invoke("nothing", NULL, NULL), 0);
    assert_int_equal(invoke("rotate", ARGS(1, 2, f32_bits(3.0f), f64_bits(4.0)), results), 0);
    assert_true(results[0] == f64_bits(4.0) && results[1] == 1);
    assert_true(results[2] == 2 && results[3] == f32_bits(3.0f));
    assert_true(call1("count", NULL) == 41);
    assert_true(call1("count", NULL) == 42); /* an instance keeps its state */
    assert_int_equal(wm_engine_memory(t.engine).len, 0);
}

static void test_engine_keeps_the_bits_of_floats(void **state)
{
    (void)state;
    open_module("float_bits");
    static const uint32_t bits[] = {
        0, 1, 0x3f800000, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000, /* numbers and infinity */
        0x7f800001, 0x7fa00000, 0x7fbfffff,                               /* signalling NaNs */
        0x7fc00000, 0x7fc12345, 0x7fffffff,                               /* quiet ones */
    };
    for (size_t i = 0; i < 2 * sizeof bits / sizeof bits[0]; i++) {
        const uint64_t plus = bits[i / 2], minus = plus | 0x80000000u;
        const uint64_t x = i % 2 ? minus : plus;
        assert_true(call1("copy", ARGS(x)) == x);
        assert_true(call1("copy_to", ARGS(x, 100)) == x);
        assert_true(call1("local", ARGS(x)) == x);
        assert_true(call1("global", ARGS(x)) == plus);
        assert_true(call1("select", ARGS(x, 1)) == plus);
        assert_true(call1("select", ARGS(x, 0)) == f32_bits(1.0f));
        assert_true(call1("select_other", ARGS(x, 1)) == plus);
        assert_true(call1("select_other", ARGS(x, 0)) == f32_bits(1.0f));
        assert_true(call1("abs", ARGS(x)) == plus);
        assert_true(call1("neg", ARGS(x)) == (x ^ 0x80000000u));
        for (unsigned negative = 0; negative < 2; negative++) {
            const uint64_t sign = negative ? f32_bits(-2.0f) : f32_bits(2.0f);
            assert_true(call1("sign", ARGS(x, sign)) == (negative ? minus : plus));
            assert_true(call1("sign_of", ARGS(x, sign)) == (negative ? plus : minus));
            assert_true(call1("sign_both", ARGS(x, sign)) == (negative ? minus : plus));
        }
    }
    assert_int_equal(trap_in("copy_to", ARGS(0, 65529)), WM_TRAP_MEMORY); /* 4 bytes at 65533 */
    assert_true(call1("copy_to", ARGS(7, 65528)) == 7);
}

static void test_engine_makes_nans_quiet(void **state)
{
    (void)state;
    open_module("float_bits");
    static const char *const rounding[] = {"ceil", "floor", "trunc", "nearest"};
    for (size_t i = 0; i < 4; i++) {
        assert_true((call1(rounding[i], ARGS(0x7ff4000000000000)) & 0x7ff8000000000000) == 0x7ff8000000000000);
        assert_true((call1(rounding[i], ARGS(0xfff0000000000001)) & 0x7ff8000000000000) == 0x7ff8000000000000);
        assert_true(call1(rounding[i], ARGS(f64_bits(-3.0))) == f64_bits(i == 1 ? 3.0 : -3.0));
    }
    assert_true(call1("ceil", ARGS(f64_bits(-0.5))) == f64_bits(-0.0));
    assert_true(call1("floor", ARGS(f64_bits(0.5))) == f64_bits(-1.0));
    assert_true(call1("nearest", ARGS(f64_bits(2.5))) == f64_bits(2.0));
    assert_true((call1("add_32", ARGS(0x7fa00000)) & 0x7fc00000) == 0x7fc00000);
}

static void test_engine_streams(void **state)
{
    (void)state;
    open_module("bytes");
    static const char text[] = "forty bytes of text that go in and out..";
    t.env.input = wm_span(text, 40);
    assert_int_equal(invoke("echo", NULL, NULL), 0);
    assert_int_equal(t.out_len, 40);
    assert_memory_equal(t.out, text, 40);
    assert_int_equal(t.env.input_off, 40);
    assert_true(call1("in", ARGS(0, 10)) == 0); /* at the end */
    t.env.input_off = 38;
    assert_true(call1("in", ARGS(100, 10)) == 2);
    assert_memory_equal(wm_engine_memory(t.engine).ptr + 100, "..", 2);
    assert_true(call1("status", ARGS(404)) == 404);
    t.env.input = wm_span(NULL, 0);
    t.env.input_off = 0;
    assert_true(call1("in", ARGS(0, 10)) == 0);
}

static void test_engine_output_quota(void **state)
{
    (void)state;
    open_module("bytes");
    t.out_cap = 8;
    assert_true(call1("out", ARGS(512, 8)) == 8);
    assert_true(call1("out", ARGS(512, 0)) == 0);
    assert_int_equal(trap_in("out", ARGS(512, 1)), WM_TRAP_OUTPUT);
    assert_int_equal(t.out_len, 8);
    t.env.output = NULL;
    assert_int_equal(trap_in("out", ARGS(512, 0)), WM_TRAP_OUTPUT);
}

static void test_engine_log_and_clock(void **state)
{
    (void)state;
    open_module("bytes");
    assert_int_equal(invoke("log", ARGS(1, 512, 19), NULL), 0);
    assert_int_equal(t.log_level, 1);
    assert_int_equal(t.log_len, 19);
    assert_memory_equal(t.log, "the quick brown fox", 19);
    assert_int_equal(invoke("log", ARGS(0xffffffff, 512, 97), NULL), 0);
    assert_int_equal(t.log_len, WM_LOG_TEXT_BYTES);
    assert_int_equal(t.log_level, WM_LOG_ERROR);
    assert_int_equal(invoke("log", ARGS(77, 0, 0), NULL), 0);
    assert_int_equal(t.log_level, WM_LOG_DEBUG);
    assert_int_equal(t.log_lines, 3);
    t.log_max = 3;
    assert_int_equal(trap_in("log", ARGS(1, 512, 19)), WM_TRAP_LOG);
    wm_test_now_ms = 0xfffffff0;
    const uint64_t before = call1("millis", NULL); /* the import itself, exported */
    wm_test_now_ms = 0x10;
    assert_true(call1("millis", NULL) - before == 0x20);
}

static void test_engine_host_checks_addresses(void **state)
{
    (void)state;
    t.quotas.memory_bytes = 1024;
    open_module("bytes");
    t.env.input = wm_span("abc", 3);
    assert_int_equal(wm_engine_memory(t.engine).len, 1024);
    static const char *const names[] = {"in", "out"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(trap_in(names[i], ARGS(1024, 1)), WM_TRAP_MEMORY_QUOTA);
        assert_int_equal(trap_in(names[i], ARGS(1020, 5)), WM_TRAP_MEMORY_QUOTA);
        assert_int_equal(trap_in(names[i], ARGS(0, 0xffffffff)), WM_TRAP_MEMORY_QUOTA);
        assert_int_equal(trap_in(names[i], ARGS(0xffffffff, 0xffffffff)), WM_TRAP_MEMORY);
        assert_int_equal(trap_in(names[i], ARGS(0xffffffff, 1)), WM_TRAP_MEMORY);
        assert_int_equal(trap_in(names[i], ARGS(65536, 0)), WM_TRAP_MEMORY);
    }
    assert_int_equal(trap_in("log", ARGS(0, 1000, 25)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(t.out_len + (size_t)t.log_lines, 0);
    assert_true(call1("in", ARGS(1021, 3)) == 3); /* up to the last byte */
    assert_true(call1("in", ARGS(1024, 0)) == 0);
}

static void test_engine_host_without_memory(void **state)
{
    (void)state;
    open_module("no_memory");
    assert_int_equal(trap_in("out", ARGS(0, 1)), WM_TRAP_MEMORY);
    assert_true(call1("out", ARGS(0, 0)) == 0);
}

/* ---- refusals ---- */

static void expect_refused(const char *name, enum wm_refusal reason)
{
    if (name) {
        load(name);
    }
    assert_int_equal(try_open(), WM_ERR_UNSUPPORTED);
    assert_int_equal(t.refused.reason, reason);
    assert_true(t.refused.text != NULL && t.refused.text[0] != 0);
}

static void test_engine_refuses_imports(void **state)
{
    (void)state;
    expect_refused("import_missing", WM_REFUSED_IMPORT);
    assert_true(wm_span_is(t.refused.import_module, "env") && wm_span_is(t.refused.import_name, "launch"));
    expect_refused("import_wrong_type", WM_REFUSED_IMPORT);
    assert_true(wm_span_is(t.refused.import_module, "wasmote") && wm_span_is(t.refused.import_name, "input"));
    expect_refused("import_wrong_count", WM_REFUSED_IMPORT);
    assert_true(wm_span_is(t.refused.import_name, "log"));
    expect_refused("import_memory", WM_REFUSED_IMPORT);
    assert_true(wm_span_is(t.refused.import_name, "memory"));
}

static void test_engine_refuses_data_beyond_the_memory(void **state)
{
    (void)state;
    t.quotas.memory_bytes = 4096;
    expect_refused("data_far", WM_REFUSED_MEMORY);
    assert_int_equal(t.refused.need_bytes, 5008);
    t.quotas.memory_bytes = 0;
    expect_refused("data_outside", WM_REFUSED_MEMORY);
    assert_int_equal(t.refused.need_bytes, 65537);
    t.quotas.memory_bytes = 5008;
    open_module("data_far");
    assert_memory_equal(wm_engine_memory(t.engine).ptr + 5000, "far away", 8);
}

static void test_engine_refuses_what_is_no_module(void **state)
{
    (void)state;
    memcpy(t.bytes, "\0asm\1\0\0\0", 8);
    t.module = wm_span(t.bytes, 7);
    expect_refused(NULL, WM_REFUSED_MALFORMED);
    t.module = wm_span(t.bytes, 0);
    expect_refused(NULL, WM_REFUSED_MALFORMED);
    load("numbers");
    t.module.len -= 3;
    expect_refused(NULL, WM_REFUSED_MALFORMED);
}

static void test_engine_refuses_a_small_arena(void **state)
{
    (void)state;
    t.quotas.memory_bytes = 2048;
    open_module("three");
    const size_t enough = t.arena_bytes;
    wm_engine_close(t.engine);
    wm_heap_free(pool, t.arena);
    t.engine = NULL;
    /* With every smaller size it ends in order, wherever it runs out. (A region as large as what stays is not
     * always enough: some is used only while opening.) */
    int opened = 0;
    for (size_t bytes = 0; bytes <= enough + 2048; bytes += 8) {
        void *arena = aligned_alloc(8, bytes ? bytes : 8);
        const int used = wm_engine_open(&t.engine, arena, bytes, t.module, &t.quotas, &t.env, &t.refused);
        if (used < 0) {
            assert_int_equal(used, WM_ERR_NOMEM);
            assert_true(t.refused.need_bytes > bytes / 2);
            assert_null(t.engine);
            assert_int_equal(opened, 0);
        } else {
            assert_true((size_t)used <= bytes);
            assert_true(call1("fib", ARGS(10)) == 55);
            wm_engine_close(t.engine);
            t.engine = NULL;
            opened++;
        }
        free(arena);
    }
    assert_true(opened > 0);
    t.quotas.memory_bytes = 0; /* the whole page */
    void *arena = aligned_alloc(8, 16384);
    const int used = wm_engine_open(&t.engine, arena, 16384, t.module, &t.quotas, &t.env, &t.refused);
    assert_int_equal(used, WM_ERR_NOMEM);
    assert_true(t.refused.need_bytes > 65536);
    free(arena);
}

static void test_engine_refuses_a_bad_start(void **state)
{
    (void)state;
    t.quotas.fuel = 5000;
    expect_refused("start_spin", WM_REFUSED_START);
    assert_string_equal(t.refused.text, "fuel");
    assert_int_equal(t.env.fuel_used, 5000);
    expect_refused("start_trap", WM_REFUSED_START);
    assert_string_equal(t.refused.text, "unreachable");
    assert_int_equal(t.refused.function, 0);
}

static void test_engine_runs_start(void **state)
{
    (void)state;
    open_module("start_good");
    assert_int_equal(t.env.fuel_used, 2); /* start itself and log */
    assert_int_equal(t.log_len, 5);
    assert_memory_equal(t.log, "hello", 5);
    assert_true(call1("get", NULL) == 42);
}

static size_t put_leb(uint8_t *at, size_t value)
{
    size_t n = 0;
    do {
        at[n] = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        n++;
        value >>= 7;
    } while (value);
    return n;
}

/* A function of depth blocks of the kind op, each inside the one before it. */
static uint8_t *nest(size_t depth, uint8_t op, size_t *len)
{
    uint8_t *m = malloc(64 + 8 * depth), *at = m;
    static const uint8_t head[] = "\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\7\5\1\1r\0\0\x0a";
    memcpy(at, head, sizeof head - 1);
    at += sizeof head - 1;
    const size_t condition = op == 0x04 ? 2 : 0;
    const size_t body = 1 + depth * (3 + condition) + 1;
    uint8_t size[10];
    const size_t n = put_leb(size, body);
    at += put_leb(at, 1 + n + body);
    *at++ = 1;
    memcpy(at, size, n);
    at += n;
    *at++ = 0;
    for (size_t i = 0; i < depth; i++) {
        if (condition) {
            *at++ = 0x41;
            *at++ = 1;
        }
        *at++ = op;
        *at++ = 0x40;
    }
    for (size_t i = 0; i <= depth; i++) {
        *at++ = 0x0b;
    }
    *len = (size_t)(at - m);
    return m;
}

static void test_engine_refuses_deep_nesting(void **state)
{
    (void)state;
    static const uint8_t ops[] = {0x02, 0x03, 0x04};
    for (size_t i = 0; i < sizeof ops; i++) {
        size_t len;
        uint8_t *deep = nest(200000, ops[i], &len);
        t.module = wm_span(deep, len);
        pool_free = wm_heap_free_bytes(pool);
        const int err = try_open();
        if (err == WM_ERR_UNSUPPORTED) {
            assert_int_equal(t.refused.reason, WM_REFUSED_LIMIT);
            assert_int_equal(t.refused.function, 0);
            assert_true(t.refused.offset > 0);
        } else {
            assert_int_equal(err, WM_ERR_NOMEM);
        }
        free(deep);
        deep = nest(60, ops[i], &len);
        t.module = wm_span(deep, len);
        assert_int_equal(try_open(), 0);
        assert_int_equal(invoke("r", NULL, NULL), 0);
        assert_int_equal(t.env.fuel_used, ops[i] == 0x03 ? 61 : 1);
        wm_engine_close(t.engine);
        wm_heap_free(pool, t.arena);
        t.engine = NULL;
        free(deep);
    }
}

/* ---- traps ---- */

static void test_engine_traps(void **state)
{
    (void)state;
    open_module("traps");
    assert_int_equal(trap_in("unreachable", NULL), WM_TRAP_UNREACHABLE);
    assert_int_equal(trap_in("divide", ARGS(1, 0)), WM_TRAP_DIV_ZERO);
    assert_int_equal(trap_in("divide", ARGS(0x80000000, 0xffffffff)), WM_TRAP_INT_OVERFLOW);
    assert_int_equal(trap_in("remainder", ARGS(1, 0)), WM_TRAP_DIV_ZERO);
    assert_int_equal(trap_in("convert", ARGS(f32_bits(NAN))), WM_TRAP_INT_CONVERT);
    assert_int_equal(trap_in("convert", ARGS(f32_bits(1e20f))), WM_TRAP_INT_OVERFLOW);
    assert_int_equal(trap_in("call", ARGS(1)), WM_TRAP_NULL_CALL);
    assert_int_equal(trap_in("call", ARGS(4)), WM_TRAP_TABLE);
    assert_int_equal(trap_in("call", ARGS(0xffffffff)), WM_TRAP_TABLE);
    assert_int_equal(trap_in("call_one", ARGS(0)), WM_TRAP_SIGNATURE);
    assert_int_equal(trap_in("load", ARGS(65533)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("load64_far", ARGS(0xffffffff)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("output", ARGS(65536, 1)), WM_TRAP_MEMORY);
    assert_true(call1("load", ARGS(65532)) == 0);
    assert_int_equal(invoke("call", ARGS(2), NULL), 0);
    assert_true(call1("divide", ARGS(7, 0xfffffffe)) == 0xfffffffd);
}

static void test_engine_trap_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "none", "fuel", "stack-native", "stack-wasm", "memory", "memory-quota", "table", "null-call",
        "signature", "div-zero", "int-overflow", "int-convert", "unreachable", "output", "log", "cancelled",
        "host", "exit", "other",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_string_equal(wm_trap_name((enum wm_trap_kind)i), names[i]);
    }
}

static void test_engine_traps_on_the_wasm_stack(void **state)
{
    (void)state;
    open_module("traps");
    for (int i = 0; i < 3; i++) { /* again and again */
        assert_int_equal(trap_in("deep", ARGS(1, 2, 3, 4)), WM_TRAP_STACK_WASM);
        assert_int_equal(trap_in("indirect", ARGS(1)), WM_TRAP_STACK_WASM);
    }
    assert_true(call1("size", NULL) == 1);
}

static void test_engine_traps_on_the_native_stack(void **state)
{
    (void)state;
    t.quotas.stack_bytes = 512 * 1024;
    open_module("loops");
    stack_floor = (uintptr_t)__builtin_frame_address(0) - 128 * 1024;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(trap_in("recurse", ARGS(1000000)), WM_TRAP_STACK_NATIVE);
        assert_true(t.env.fuel_used > 100);
    }
    assert_true(wm_engine_native_stack_bytes() > 32 * 1024);
    assert_true(call1("recurse", ARGS(10)) == 10);
    stack_floor = (uintptr_t)__builtin_frame_address(0); /* nothing left: neither to call nor to open */
    assert_int_equal(trap_in("recurse", ARGS(1)), WM_TRAP_STACK_NATIVE);
    uint8_t arena[64] __attribute__((aligned(8)));
    struct wm_engine *engine;
    assert_int_equal(wm_engine_open(&engine, arena, sizeof arena, t.module, &t.quotas, &t.env, &t.refused),
                     WM_ERR_UNSUPPORTED);
    assert_int_equal(t.refused.reason, WM_REFUSED_LIMIT);
}

/* A wasm stack of any size: arguments are written before the callee's check, and must still land inside of
 * the arena. Under AddressSanitizer one byte too far is seen. */
static void test_engine_smallest_wasm_stacks(void **state)
{
    (void)state;
    load("numbers");
    for (uint32_t bytes = 0; bytes <= 400; bytes += 4) {
        t.quotas.stack_bytes = bytes;
        const int err = try_open();
        if (err) { /* its globals could not be initialized */
            assert_true(bytes < 16 && t.refused.reason == WM_REFUSED_LIMIT);
            continue;
        }
        uint64_t result = 0;
        const uint64_t *args = ARGS(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
        if (invoke("sum16", args, &result) == 0) {
            assert_true(result == 136);
        } else {
            assert_int_equal(t.trap, WM_TRAP_STACK_WASM);
        }
        assert_true(invoke("fib", ARGS(15), &result) == 0 ? result == 610 : t.trap == WM_TRAP_STACK_WASM);
        wm_engine_close(t.engine);
        wm_heap_free(pool, t.arena);
        t.engine = NULL;
    }
}

/* ---- memory ---- */

static void test_engine_cut_memory(void **state)
{
    (void)state;
    t.quotas.memory_bytes = 4096;
    open_module("traps");
    assert_int_equal(wm_engine_memory(t.engine).len, 4096);
    assert_true(call1("size", NULL) == 1); /* as declared */
    assert_true(call1("load", ARGS(4092)) == 0);
    assert_int_equal(invoke("store", ARGS(4092, 0x11223344), NULL), 0);
    assert_true(call1("load8", ARGS(4095)) == 0x11);
    assert_int_equal(trap_in("load", ARGS(4093)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("load8", ARGS(4096)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("load8", ARGS(65535)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("load8", ARGS(65536)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("load8", ARGS(0xffffffff)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("load64_far", ARGS(16)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("store", ARGS(4094, 1)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("store", ARGS(70000, 1)), WM_TRAP_MEMORY);
    assert_int_equal(trap_in("store_f64", ARGS(4089, 0)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("copy", ARGS(0, 4000, 97)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("copy", ARGS(4000, 0, 97)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(trap_in("fill", ARGS(0, 1, 4097)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(invoke("fill", ARGS(0, 0x5a, 4096), NULL), 0);
    assert_int_equal(invoke("copy", ARGS(1, 0, 4095), NULL), 0);
    assert_true(call1("load", ARGS(4092)) == 0x5a5a5a5a);
}

/* ---- sleep ---- */

static int open_apart(struct wm_engine_state *apart, size_t room)
{
    t.arena = wm_heap_alloc(pool, room);
    assert_non_null(t.arena);
    const int used = wm_engine_open_apart(&t.engine, t.arena, room, apart, t.module, &t.quotas, &t.env, &t.refused);
    if (used < 0) {
        wm_heap_free(pool, t.arena);
        t.arena = NULL;
        return used;
    }
    assert_ptr_equal(wm_heap_resize(pool, t.arena, (size_t)used), t.arena);
    return 0;
}

static void check_sleeper(uint32_t added, uint32_t stored)
{
    assert_true(call1("i", NULL) == 1077 + added);
    assert_true(call1("l", NULL) == 2 + added);
    assert_true(call1("f", NULL) == 3 + added);
    assert_true(call1("d", NULL) == 4 + added);
    assert_true(call1("load", ARGS(4092)) == stored);
    assert_true(call1("load", ARGS(8)) == (stored ? stored : 0x61746164));
    assert_true(call1("twice", ARGS(21)) == 42);
    assert_int_equal(trap_in("load", ARGS(4096)), WM_TRAP_MEMORY_QUOTA);
    assert_int_equal(t.log_lines, 1); /* of the start function */
}

static void test_engine_sleeps_and_wakes_elsewhere(void **state)
{
    (void)state;
    load("sleeper");
    t.quotas.memory_bytes = 4096;
    const size_t bytes = wm_engine_state_bytes(t.module, &t.quotas);
    assert_true(bytes > 4096 + 5 * 8 && bytes < 4096 + 100);
    struct wm_engine_state apart = {.block = wm_heap_alloc(pool, bytes)};
    memset(apart.block, 0xa5, bytes);
    assert_int_equal(open_apart(&apart, wm_heap_largest(pool)), 0);
    check_sleeper(0, 0);
    uint32_t added = 0;
    const size_t peak = apart.peak_bytes;
    for (uint32_t turn = 1; turn < 5; turn++) {
        assert_int_equal(invoke("set", ARGS(turn), NULL), 0);
        added += turn;
        assert_int_equal(invoke("store", ARGS(4092, turn), NULL), 0);
        assert_int_equal(invoke("store", ARGS(8, turn), NULL), 0);
        wm_engine_suspend(t.engine);
        t.engine = NULL;
        memset(t.arena, 0xff, 64);
        wm_heap_free(pool, t.arena);

        /* The state and the module move. */
        void *moved = wm_heap_alloc_high(pool, bytes);
        memcpy(moved, apart.block, bytes);
        memset(apart.block, 0xff, bytes);
        wm_heap_free(pool, apart.block);
        uint8_t *module = wm_heap_alloc(pool, t.module.len);
        memcpy(module, t.module.ptr, t.module.len);
        const struct wm_span there = t.module;
        t.module.ptr = module;

        /* Its peak is enough, and less is not; but nothing is lost by that. */
        apart = (struct wm_engine_state){.block = moved, .resume = true};
        assert_int_equal(open_apart(&apart, peak - 8), WM_ERR_NOMEM);
        assert_int_equal(open_apart(&apart, peak), 0);
        assert_int_equal(apart.peak_bytes, peak);
        wm_heap_free(pool, module); /* all is compiled; names are looked up where it was */
        t.module = there;
        check_sleeper(added, turn);
    }
    wm_engine_close(t.engine);
    wm_heap_free(pool, t.arena);
    wm_heap_free(pool, apart.block);
    t.engine = NULL;
}

static void test_engine_memory_never_grows(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        t.quotas.memory_bytes = cut ? 4096 : 0;
        open_module("traps");
        const size_t len = wm_engine_memory(t.engine).len;
        assert_true(call1("grow", ARGS(0)) == 1);
        assert_true(call1("grow", ARGS(1)) == 0xffffffff);
        assert_true(call1("grow", ARGS(0xffff)) == 0xffffffff);
        assert_true(call1("grow", ARGS(0xffffffff)) == 0xffffffff);
        assert_true(call1("size", NULL) == 1);
        assert_int_equal(wm_engine_memory(t.engine).len, len);
        wm_engine_close(t.engine);
        wm_heap_free(pool, t.arena);
        t.engine = NULL;
    }
}

static void test_engine_4_gib_declared(void **state)
{
    (void)state;
    load("memory_4gib");
    assert_int_equal(try_open(), WM_ERR_NOMEM);
    t.quotas.memory_bytes = 70000; /* more than a page */
    assert_int_equal(try_open(), 0);
    assert_int_equal(wm_engine_memory(t.engine).len, 70000);
    assert_true(call1("size", NULL) == 65536);
    assert_true(call1("load", ARGS(69996)) == 0);
    assert_int_equal(trap_in("load", ARGS(0xffffffff)), WM_TRAP_MEMORY_QUOTA);
}

/* ---- fuel ---- */

static uint32_t cost(const char *name, const uint64_t *args)
{
    uint64_t result;
    assert_int_equal(invoke(name, args, &result), 0);
    const uint32_t used = t.env.fuel_used;
    /* With exactly that it runs again, with one less it does not. */
    const uint32_t plenty = t.fuel;
    t.fuel = used;
    assert_int_equal(invoke(name, args, &result), 0);
    assert_int_equal(t.env.fuel_used, used);
    t.fuel = used - 1;
    assert_int_equal(trap_in(name, args), WM_TRAP_FUEL);
    assert_int_equal(t.env.fuel_used, used - 1);
    t.fuel = plenty;
    return used;
}

static void test_engine_fuel_is_exact(void **state)
{
    (void)state;
    open_module("loops");
    assert_int_equal(cost("empty", NULL), 1);               /* the call from outside */
    assert_int_equal(cost("turns", ARGS(1)), 1 + 1);
    assert_int_equal(cost("turns", ARGS(100)), 1 + 100);
    assert_int_equal(cost("calls", ARGS(100)), 1 + 100 + 100);
    assert_int_equal(cost("host_calls", ARGS(100)), 1 + 100 + 100);
    assert_int_equal(cost("nested", ARGS(20)), 1 + 20 + 200);
    assert_int_equal(cost("recurse", ARGS(5)), 1 + 5);
    assert_int_equal(cost("turns", ARGS(WM_FUEL_SLICE - 1)), WM_FUEL_SLICE);
    assert_int_equal(cost("turns", ARGS(WM_FUEL_SLICE)), WM_FUEL_SLICE + 1);
    assert_int_equal(cost("turns", ARGS(3 * WM_FUEL_SLICE)), 3 * WM_FUEL_SLICE + 1);
    t.fuel = 0;
    assert_int_equal(trap_in("empty", NULL), WM_TRAP_FUEL);
    assert_int_equal(t.env.fuel_used, 0);
}

static void test_engine_fuel_of_bulk_memory(void **state)
{
    (void)state;
    open_module("traps");
    assert_int_equal(cost("fill", ARGS(0, 1, 63)), 1);
    assert_int_equal(cost("fill", ARGS(0, 1, 64)), 1 + 1);
    assert_int_equal(cost("fill", ARGS(0, 1, 65536)), 1 + 1024);
    assert_int_equal(cost("copy", ARGS(0, 32768, 32768)), 1 + 512);
    assert_int_equal(trap_in("fill", ARGS(0, 1, 0xffffffff)), WM_TRAP_MEMORY);
    assert_int_equal(t.env.fuel_used, 1);
    t.fuel = 100;
    assert_int_equal(trap_in("copy", ARGS(0, 1, 65535)), WM_TRAP_FUEL);
    assert_int_equal(t.env.fuel_used, 100);
}

static void test_engine_endless_loops_end(void **state)
{
    (void)state;
    open_module("loops");
    t.fuel = 100000;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(trap_in("spin", NULL), WM_TRAP_FUEL);
        assert_int_equal(t.env.fuel_used, 100000);
        assert_int_equal(trap_in("spin_if", ARGS(1)), WM_TRAP_FUEL);
        assert_int_equal(trap_in("spin_table", NULL), WM_TRAP_FUEL);
        assert_int_equal(invoke("spin_if", ARGS(0), NULL), 0);
        assert_int_equal(invoke("turns", ARGS(10), NULL), 0);
    }
    t.fuel = UINT32_MAX;
    t.cancel_at = 1;
    assert_int_equal(trap_in("spin", NULL), WM_TRAP_CANCELLED);
}

static void test_engine_ticks_and_cancel(void **state)
{
    (void)state;
    open_module("loops");
    t.fuel = 10 * WM_FUEL_SLICE;
    assert_int_equal(trap_in("spin", NULL), WM_TRAP_FUEL);
    assert_int_equal(t.ticks, 9); /* between its ten slices */
    assert_int_equal(invoke("turns", ARGS(10), NULL), 0);
    assert_int_equal(t.ticks, 0);
    t.cancel_at = 3;
    assert_int_equal(trap_in("spin", NULL), WM_TRAP_CANCELLED);
    assert_int_equal(t.ticks, 3);
    assert_int_equal(t.env.fuel_used, 3 * WM_FUEL_SLICE + 1);
    t.cancel_at = 0;
    t.env.tick = NULL;
    assert_int_equal(trap_in("spin", NULL), WM_TRAP_FUEL);
}

static uint32_t fuel_of(const char *name, uint32_t turns, int *err)
{
    *err = invoke(name, ARGS(turns), NULL);
    return t.env.fuel_used;
}

/* A nudge ticks at once, wherever in a slice it comes, and takes and gives no fuel. */
static void test_engine_nudge_ticks_and_costs_nothing(void **state)
{
    (void)state;
    open_module("nudge");
    for (int fills = 0; fills < 2; fills++) {
        const char *name = fills ? "fill" : "ask";
        const uint32_t turns = 3 * WM_FUEL_SLICE / (fills ? 1026 : 2);
        for (int32_t more = -5; more <= 5; more++) { /* a nudge at and around each end of a slice, and of all fuel */
            t.fuel = 2 * WM_FUEL_SLICE + (uint32_t)more;
            int plain_err, err;
            nudging = false;
            const uint32_t plain = fuel_of(name, turns, &plain_err);
            assert_true(t.ticks <= 2);
            nudging = true;
            assert_int_equal(fuel_of(name, turns, &err), plain);
            assert_int_equal(err, plain_err);
            assert_int_equal(err, WM_ERR_TRAP);
            assert_int_equal(plain, t.fuel);
            assert_true(t.ticks >= t.fuel / (fills ? 1026 : 2) - 1); /* each turn asks for the time once */
        }
    }
    t.fuel = UINT32_MAX;
    nudging = false;
    int err;
    const uint32_t plain = fuel_of("ask", 100000, &err);
    assert_int_equal(err, 0);
    nudging = true;
    assert_int_equal(fuel_of("ask", 100000, &err), plain);
    assert_int_equal(err, 0);
    t.cancel_at = 2;
    assert_int_equal(trap_in("ask", ARGS(100000)), WM_TRAP_CANCELLED);
    assert_true(t.env.fuel_used < 8);
}

/* The C stack of a call is a quota too. */
static void test_engine_native_stack_is_the_quota(void **state)
{
    (void)state;
    uint64_t levels = 0;
    for (uint32_t bytes = 16 * 1024; bytes <= 64 * 1024; bytes *= 4) {
        t.quotas.stack_bytes = 512 * 1024;
        t.quotas.native_bytes = bytes;
        open_module("loops");
        uint64_t low = 1, high = 100000;
        while (low + 1 < high) {
            const uint64_t middle = (low + high) / 2;
            uint64_t result;
            if (invoke("recurse", ARGS(middle), &result) == 0) {
                low = middle;
            } else {
                assert_int_equal(t.trap, WM_TRAP_STACK_NATIVE);
                high = middle;
            }
        }
        if (levels != 0) {
            assert_true(low > levels * 7 / 2 && low < levels * 9 / 2);
        }
        levels = low;
        wm_engine_close(t.engine);
        wm_heap_free(pool, t.arena);
        t.engine = NULL;
    }
}

/* While a function runs, its tick may install another: open, start function and all. */
static uint8_t inner_arena[16384] __attribute__((aligned(8)));
static uint8_t inner_bytes[512];
static struct wm_span inner_module;
static int inner_opened;

static bool open_inside(void *ctx)
{
    (void)ctx;
    struct wm_call_env env = {.ctx = &t, .log = on_log};
    struct wm_quotas quotas = {.fuel = 100, .memory_bytes = 256, .stack_bytes = 256};
    struct wm_engine *engine;
    struct wm_refused refused;
    enum wm_trap_kind trap;
    uint64_t result = 0;
    const size_t room = sizeof inner_arena;
    assert_true(wm_engine_open(&engine, inner_arena, room, inner_module, &quotas, &env, &refused) > 0);
    assert_int_equal(wm_engine_call(engine, 2, NULL, &result, 10, &env, &trap), 0);
    assert_true(result == 42);
    wm_engine_close(engine);
    inner_opened++;
    return false;
}

static void test_engine_open_inside_a_tick(void **state)
{
    (void)state;
    load("start_good");
    memcpy(inner_bytes, t.module.ptr, t.module.len);
    inner_module = wm_span(inner_bytes, t.module.len);
    open_module("loops");
    t.env.tick = open_inside;
    inner_opened = 0;
    t.fuel = 5 * WM_FUEL_SLICE;
    assert_int_equal(trap_in("spin", NULL), WM_TRAP_FUEL);
    assert_int_equal(t.env.fuel_used, 5 * WM_FUEL_SLICE);
    assert_int_equal(inner_opened, 4);
}

/* ---- life ---- */

static void test_engine_open_and_close_leak_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"numbers", "bytes", "traps", "loops", "start_good", "three"};
    size_t first[6] = {0};
    t.quotas.memory_bytes = 4096;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < 6; i++) {
            open_module(names[i]);
            assert_true(first[i] == 0 || t.arena_bytes == first[i]);
            first[i] = t.arena_bytes;
            wm_engine_close(t.engine);
            wm_heap_free(pool, t.arena);
            t.engine = NULL;
            assert_int_equal(wm_heap_free_bytes(pool), pool_free);
        }
    }
}

static void test_engine_several_at_once(void **state)
{
    (void)state;
    struct wm_engine *engines[4];
    void *arenas[4];
    load("numbers");
    for (int i = 0; i < 4; i++) {
        const size_t room = wm_heap_largest(pool);
        arenas[i] = wm_heap_alloc(pool, room);
        const int used =
            wm_engine_open(&engines[i], arenas[i], room, t.module, &t.quotas, &t.env, &t.refused);
        assert_true(used > 0);
        arenas[i] = wm_heap_resize(pool, arenas[i], (size_t)used);
    }
    for (uint64_t round = 1; round <= 3; round++) {
        for (int i = 0; i < 4; i++) {
            uint64_t result;
            for (int times = 0; times <= i; times++) {
                const uint32_t count = function("count");
                assert_int_equal(wm_engine_call(engines[i], count, NULL, &result, 10, &t.env, &t.trap), 0);
            }
            assert_true(result == 40 + round * (uint64_t)(i + 1));
        }
    }
    for (int i = 3; i >= 0; i--) {
        wm_engine_close(engines[i]);
        wm_heap_free(pool, arenas[i]);
    }
}

static void test_engine_sizes(void **state)
{
    (void)state;
    t.quotas.memory_bytes = 2048;
    open_module("three");
    print_message("# three.wat, 2 KiB of memory and of wasm stack: %zu bytes of arena (%u-bit)\n",
                  t.arena_bytes, (unsigned)(8 * sizeof(void *)));
    assert_true(t.arena_bytes < (sizeof(void *) == 4 ? 6300 : 8000));
}

static void test_engine_asserts_bad_calls(void **state)
{
    (void)state;
    open_module("loops");
    expect_assert_failure(wm_engine_call(t.engine, 1000, NULL, NULL, 10, &t.env, &t.trap));
}

static void test_engine_tables_have_their_declared_size(void **state)
{
    (void)state;
    expect_refused("elements_outside", WM_REFUSED_MEMORY);
    open_module("elements_none");
    assert_int_equal(trap_in("call", ARGS(0)), WM_TRAP_NULL_CALL);
    assert_int_equal(trap_in("call", ARGS(2)), WM_TRAP_NULL_CALL);
    assert_int_equal(trap_in("call", ARGS(3)), WM_TRAP_TABLE);
    assert_int_equal(trap_in("call", ARGS(0xffffffff)), WM_TRAP_TABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_engine_##name, setup, teardown)

int main(void)
{
    static uint8_t memory[POOL_BYTES] __attribute__((aligned(8)));
    pool = wm_heap_init(memory, sizeof memory);
    pool_free = wm_heap_free_bytes(pool);
    const struct CMUnitTest tests[] = {
        TEST(numbers),
        TEST(keeps_the_bits_of_floats),
        TEST(makes_nans_quiet),
        TEST(streams),
        TEST(output_quota),
        TEST(log_and_clock),
        TEST(host_checks_addresses),
        TEST(host_without_memory),
        TEST(refuses_imports),
        TEST(refuses_data_beyond_the_memory),
        TEST(refuses_what_is_no_module),
        TEST(refuses_a_small_arena),
        TEST(refuses_a_bad_start),
        TEST(tables_have_their_declared_size),
        TEST(runs_start),
        TEST(refuses_deep_nesting),
        TEST(traps),
        TEST(trap_names),
        TEST(traps_on_the_wasm_stack),
        TEST(traps_on_the_native_stack),
        TEST(smallest_wasm_stacks),
        TEST(cut_memory),
        TEST(sleeps_and_wakes_elsewhere),
        TEST(memory_never_grows),
        TEST(4_gib_declared),
        TEST(fuel_is_exact),
        TEST(fuel_of_bulk_memory),
        TEST(endless_loops_end),
        TEST(ticks_and_cancel),
        TEST(nudge_ticks_and_costs_nothing),
        TEST(native_stack_is_the_quota),
        TEST(open_inside_a_tick),
        TEST(open_and_close_leak_nothing),
        TEST(several_at_once),
        TEST(sizes),
        TEST(asserts_bad_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What functions of other systems import (docs/PROTOCOL.md 7): each called by a real module through the engine. Time moves
 * only in wm_port_wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "test_port.h"
#include "wasm/host.h"

#define FUEL 1000000u

static _Alignas(8) uint8_t arena[256 * 1024];

static struct {
    uint8_t            bytes[4096];
    struct wm_span     module;
    struct wm_engine  *engine;
    struct wm_call_env env;
    char               log[1024]; /* lines, each with a `|` behind it */
    int                lines, lines_max;
    uint32_t           ticks, cancel_at, waits, longest_ms;
    char               name[64], data[64];
    int                asked;
    bool               no_rain;
} t;

void wm_port_wait(uint32_t max_ms)
{
    assert_true(max_ms > 0);
    t.waits++;
    t.longest_ms = max_ms > t.longest_ms ? max_ms : t.longest_ms;
    wm_test_now_ms += max_ms;
}

bool wm_port_sensor(enum wm_sensor sensor, float *value)
{
    *value = wm_test_sensors[sensor];
    return sensor != WM_SENSOR_RAINFALL || !t.no_rain;
}

static int on_log(void *ctx, int level, struct wm_span text)
{
    assert_ptr_equal(ctx, &t);
    assert_int_equal(level, 2); /* info */
    if (t.lines == t.lines_max) {
        return WM_ERR_NOSPACE;
    }
    t.lines++;
    strncat(t.log, (const char *)text.ptr, text.len);
    strcat(t.log, "|");
    return 0;
}

static void on_rpc(void *ctx, struct wm_span name, struct wm_span data)
{
    assert_ptr_equal(ctx, &t);
    t.asked++;
    snprintf(t.name, sizeof t.name, "%.*s", (int)name.len, (const char *)name.ptr);
    snprintf(t.data, sizeof t.data, "%.*s", (int)data.len, (const char *)data.ptr);
}

static bool on_tick(void *ctx)
{
    assert_ptr_equal(ctx, &t);
    return ++t.ticks == t.cancel_at;
}

static const char *file = WM_MODULES_DIR "/host.wasm";

static int open_module(const struct wm_quotas *quotas, struct wm_refused *refused)
{
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    t.module = wm_span(t.bytes, fread(t.bytes, 1, sizeof t.bytes, f));
    fclose(f);
    return wm_engine_open(&t.engine, arena, sizeof arena, t.module, quotas, &t.env, refused);
}

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof t);
    t.env = (struct wm_call_env){.ctx = &t, .log = on_log, .tick = on_tick, .rpc = on_rpc};
    t.lines_max = INT32_MAX;
    wm_test_now_ms = UINT32_MAX - 5; /* it wraps soon */
    struct wm_refused refused;
    assert_true(open_module(&(struct wm_quotas){.fuel = FUEL, .stack_bytes = 2048}, &refused) > 0);
    return 0;
}

static enum wm_trap_kind invoke(const char *name, const uint64_t *args, uint64_t *result)
{
    struct wm_export  export;
    enum wm_trap_kind trap = WM_TRAP_OTHER;
    uint64_t          none;
    assert_int_equal(wm_module_find_export(t.module, wm_span_str(name), &export), 0);
    const int err = wm_engine_call(t.engine, export.item, args, result != NULL ? result : &none, FUEL, &t.env, &trap);
    assert_true((err == 0) == (trap == WM_TRAP_NONE));
    return trap;
}

#define ARGS(...) ((const uint64_t[]){__VA_ARGS__})

static void test_host_millis(void **state)
{
    (void)state;
    uint64_t now;
    wm_test_now_ms = 0x80000001u;
    assert_int_equal(invoke("millis", NULL, &now), WM_TRAP_NONE);
    assert_true(now == 0x80000001u);
}

static void test_host_delay_passes_the_time_and_looks_at_the_links(void **state)
{
    (void)state;
    const uint32_t began_ms = wm_test_now_ms;
    assert_int_equal(invoke("delay", ARGS(123), NULL), WM_TRAP_NONE);
    assert_int_equal(wm_test_now_ms - began_ms, 123);
    assert_int_equal(t.longest_ms, 10);
    assert_int_equal(t.ticks, 13);
    assert_int_equal(t.env.fuel_used, 123002); /* two calls beside */
}

static void test_host_delay_of_nothing(void **state)
{
    (void)state;
    assert_int_equal(invoke("delay", ARGS(0), NULL), WM_TRAP_NONE);
    assert_int_equal(invoke("delay", ARGS(0x80000000u), NULL), WM_TRAP_NONE);
    assert_int_equal(invoke("delay", ARGS(0xffffffffu), NULL), WM_TRAP_NONE);
    assert_int_equal(t.waits, 0);
    assert_int_equal(t.env.fuel_used, 2);
}

static void test_host_delay_is_bounded_by_fuel(void **state)
{
    (void)state;
    assert_int_equal(invoke("delay", ARGS(FUEL / 1000 - 1), NULL), WM_TRAP_NONE);
    static const uint32_t too_long[] = {FUEL / 1000, 4294967, 4294968, 0x7fffffff};
    for (size_t i = 0; i < sizeof too_long / sizeof too_long[0]; i++) {
        t.waits = 0;
        assert_int_equal(invoke("delay", ARGS(too_long[i]), NULL), WM_TRAP_FUEL);
        assert_int_equal(t.waits, 0); /* it says so at once */
        assert_int_equal(t.env.fuel_used, FUEL);
    }
}

static void test_host_delay_is_cancelled(void **state)
{
    (void)state;
    t.cancel_at = 3;
    assert_int_equal(invoke("delay", ARGS(900), NULL), WM_TRAP_CANCELLED);
    assert_int_equal(t.waits, 3);
    assert_int_equal(invoke("delay", ARGS(20), NULL), WM_TRAP_NONE);
}

static void test_host_print_gathers_lines(void **state)
{
    (void)state;
    assert_int_equal(invoke("print", ARGS(0, 16), NULL), WM_TRAP_NONE);
    assert_string_equal(t.log, "one|two|three=x|"); /* the end of a call ends its line, and there are no empty ones */
    t.log[0] = '\0';
    assert_int_equal(invoke("sentence", ARGS((uint32_t)-40), NULL), WM_TRAP_NONE);
    assert_string_equal(t.log, "three=-40|x|");
    t.log[0] = '\0';
    assert_int_equal(invoke("println", ARGS(0x80000000u), NULL), WM_TRAP_NONE);
    assert_string_equal(t.log, "-2147483648|");
    t.log[0] = '\0';
    assert_int_equal(invoke("print_then_trap", NULL, NULL), WM_TRAP_UNREACHABLE);
    assert_string_equal(t.log, "one|");
}

static void test_host_print_cuts_long_lines(void **state)
{
    (void)state;
    uint8_t *memory = (uint8_t *)(uintptr_t)wm_engine_memory(t.engine).ptr;
    memset(memory + 100, 'a', 200);
    assert_int_equal(invoke("print", ARGS(100, 161), NULL), WM_TRAP_NONE);
    assert_int_equal(t.lines, 3);
    assert_int_equal(strlen(t.log), 161 + 3);
    assert_int_equal(strcspn(t.log, "|"), 80);
}

static void test_host_print_is_bounded(void **state)
{
    (void)state;
    t.lines_max = 1;
    assert_int_equal(invoke("print", ARGS(0, 16), NULL), WM_TRAP_LOG);
    assert_int_equal(t.lines, 1);
    assert_int_equal(invoke("print", ARGS(0, 3), NULL), WM_TRAP_LOG); /* where the call ends */
    assert_int_equal(invoke("print", ARGS(9, 0), NULL), WM_TRAP_NONE);
    t.lines_max = INT32_MAX;
    uint8_t *memory = (uint8_t *)(uintptr_t)wm_engine_memory(t.engine).ptr;
    memset(memory, '\n', 65536);
    assert_int_equal(invoke("print", ARGS(0, 65536), NULL), WM_TRAP_NONE);
    assert_int_equal(t.env.fuel_used, 2 + 65536 / 64);
}

static void test_host_rpc_passes_on_what_it_was_given(void **state)
{
    (void)state;
    assert_int_equal(invoke("rpc", ARGS(0, 3, 9, 7), NULL), WM_TRAP_NONE);
    assert_int_equal(t.asked, 1);
    assert_string_equal(t.name, "one");
    assert_string_equal(t.data, "three=x");
    t.env.rpc = NULL;
    assert_int_equal(invoke("rpc", ARGS(0, 3, 9, 7), NULL), WM_TRAP_NONE);
    assert_int_equal(t.asked, 1);
}

static void test_host_checks_every_address(void **state)
{
    (void)state;
    static const uint64_t outside[][2] = {
        {65536, 1}, {65535, 2}, {0, 65537}, {0xffffffffu, 1}, {1, 0xffffffffu}, {0xffffffffu, 0xffffffffu}, {0x80000000u, 0}};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        const uint64_t *o = outside[i];
        assert_int_equal(invoke("print", ARGS(o[0], o[1]), NULL), WM_TRAP_MEMORY);
        assert_int_equal(invoke("rpc", ARGS(o[0], o[1], 0, 1), NULL), WM_TRAP_MEMORY);
        assert_int_equal(invoke("rpc", ARGS(0, 1, o[0], o[1]), NULL), WM_TRAP_MEMORY);
    }
    assert_int_equal(t.asked, 0);
    assert_int_equal(t.lines, 0);
    assert_int_equal(invoke("print", ARGS(65536, 0), NULL), WM_TRAP_NONE); /* nothing, just behind the end */
}

static uint64_t bits(float value)
{
    uint32_t raw;
    memcpy(&raw, &value, sizeof raw);
    return raw;
}

static void test_host_sensors(void **state)
{
    (void)state;
    uint64_t result;
    wm_test_sensors[WM_SENSOR_TEMPERATURE] = -3.25f;
    wm_test_sensors[WM_SENSOR_HUMIDITY] = 61.5f;
    assert_int_equal(invoke("temperature", NULL, &result), WM_TRAP_NONE);
    assert_true(result == bits(-3.25f));
    assert_int_equal(invoke("humidity", NULL, &result), WM_TRAP_NONE);
    assert_true(result == bits(61.5f));
    assert_int_equal(invoke("rain", ARGS(bits(0.5f)), &result), WM_TRAP_NONE);
    assert_true(result == bits(0.5f) && wm_test_sensors[WM_SENSOR_RAINFALL] == 0.5f);
}

static int setup_wasi(void **state)
{
    file = WM_MODULES_DIR "/wasi.wasm";
    return setup(state);
}

static uint32_t number(const char *name, const uint64_t *args)
{
    uint64_t result;
    assert_int_equal(invoke(name, args, &result), WM_TRAP_NONE);
    return (uint32_t)result;
}

static uint8_t *memory(void)
{
    return (uint8_t *)(uintptr_t)wm_engine_memory(t.engine).ptr;
}

static uint64_t at_64(size_t len)
{
    uint64_t value = 0;
    memcpy(&value, memory() + 64, len);
    return value;
}

static void test_host_wasi_streams(void **state)
{
    (void)state;
    assert_int_equal(number("write", ARGS(1, 16, 2)), 0);
    assert_int_equal(at_64(4), 7);
    assert_string_equal(t.log, "one|two|");
    assert_int_equal(number("write", ARGS(2, 16, 0)), 0);
    assert_int_equal(at_64(4), 0);
    assert_int_equal(number("write", ARGS(0, 16, 2)), 8);
    assert_int_equal(number("write", ARGS(3, 16, 2)), 8);
    assert_int_equal(number("write", ARGS(1, 16, 1025)), 28);
    t.env.input = wm_span("abcdefgh", 8);
    assert_int_equal(number("read", ARGS(0, 16, 2)), 0); /* into 0..4 and 4..7 */
    assert_int_equal(at_64(4), 7);
    assert_memory_equal(memory(), "abcdefg", 7);
    assert_int_equal(number("read", ARGS(0, 16, 2)), 0);
    assert_int_equal(at_64(4), 1);
    assert_int_equal(number("read", ARGS(0, 16, 2)), 0);
    assert_int_equal(at_64(4), 0);
    assert_int_equal(number("read", ARGS(1, 16, 2)), 8);
    assert_int_equal(number("seek", ARGS(1)), 70);
    assert_int_equal(number("seek", ARGS(3)), 8);
    assert_int_equal(number("stat", ARGS(1, 64)), 0);
    assert_true(at_64(8) == 2 && memory()[72] == 64);
    assert_int_equal(number("stat", ARGS(3, 64)), 8);
    assert_int_equal(number("close", ARGS(2)), 0);
    assert_int_equal(number("close", ARGS(9)), 8);
}

static void test_host_wasi_takes_as_much_as_the_log(void **state)
{
    (void)state;
    const uint32_t all = 65536 - 128, taken = all < WM_LOG_BYTES ? all : WM_LOG_BYTES;
    const uint32_t pair[2] = {128, all};
    memset(memory() + 128, '\n', all);
    memcpy(memory() + 16, pair, sizeof pair);
    assert_int_equal(number("write", ARGS(1, 16, 2)), 0);
    assert_true(at_64(4) == (taken < WM_LOG_BYTES ? taken + 3 : taken));
    assert_in_range(t.env.fuel_used, 2 + taken / 64, 3 + taken / 64);
}

static void test_host_wasi_has_no_files(void **state)
{
    (void)state;
    assert_int_equal(number("prestat", ARGS(3)), 8);
    assert_int_equal(number("open", ARGS(3)), 8);
    memset(memory() + 64, 0xff, 8);
    assert_int_equal(number("args", NULL), 0);
    assert_true(at_64(8) == 0);
}

static void test_host_wasi_time_and_chance(void **state)
{
    (void)state;
    wm_test_now_ms = 5000;
    assert_int_equal(number("time", ARGS(1, 64)), 0);
    assert_true((at_64(8) & 0xffffffffu) == (wm_host_now_ms() * 1000000u & 0xffffffffu));
    assert_int_equal(number("time", ARGS(0, 64)), 58);
    memset(memory(), 0, 65536);
    assert_int_equal(number("random", ARGS(1, 10000)), 0);
    assert_int_equal(t.ticks, 2);
    assert_int_equal(memory()[0], 0);
    assert_int_equal(memory()[10001], 0);
    size_t zeros = 0;
    for (size_t i = 1; i < 10001; i++) {
        zeros += memory()[i] == 0;
    }
    assert_in_range(zeros, 0, 120);
}

static void test_host_wasi_checks_every_address(void **state)
{
    (void)state;
    const uint32_t beyond[2] = {65535, 2};
    static const uint64_t outside[] = {65529, 65536, 0xffffffffu, 0x80000000u};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(invoke("write", ARGS(1, outside[i], 1), NULL), WM_TRAP_MEMORY);
        t.env.input = wm_span("abc", 3);
        t.env.input_off = 0;
        assert_int_equal(invoke("read", ARGS(0, outside[i], 1), NULL), WM_TRAP_MEMORY);
        assert_int_equal(invoke("stat", ARGS(1, outside[i]), NULL), WM_TRAP_MEMORY);
        assert_int_equal(invoke("time", ARGS(1, outside[i]), NULL), WM_TRAP_MEMORY);
        assert_int_equal(invoke("random", ARGS(outside[i], 8), NULL), WM_TRAP_MEMORY);
    }
    memcpy(memory() + 16, beyond, sizeof beyond);
    assert_int_equal(invoke("write", ARGS(1, 16, 1), NULL), WM_TRAP_MEMORY);
    assert_int_equal(invoke("read", ARGS(0, 16, 1), NULL), WM_TRAP_MEMORY);
    assert_int_equal(t.lines, 0);
}

static void test_host_wasi_begins_and_exits(void **state)
{
    (void)state;
    assert_int_equal(number("begun", NULL), 1);
    assert_int_equal(invoke("exit", ARGS((uint32_t)-3), NULL), WM_TRAP_EXIT);
    assert_int_equal(t.env.exit_status, -3);
    assert_string_equal(wm_trap_name(WM_TRAP_EXIT), "exit");
}

static void test_host_offers_what_the_node_has(void **state)
{
    (void)state;
    static const char *const all[] = {"wasmote", "sys", "communication", "dht", "env", "wasi_snapshot_preview1"};
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(wm_host_module(i)->name, all[i]);
    }
    assert_null(wm_host_module(6));
    assert_null(wm_host_find(wm_span_str("sys"), wm_span_str("input")));
    assert_null(wm_host_find(wm_span_str("sy"), wm_span_str("millis")));
    t.no_rain = true;
    assert_null(wm_host_module(5));
    assert_non_null(wm_host_find(wm_span_str("dht"), wm_span_str("getHumidity")));
    struct wm_refused refused;
    assert_int_equal(open_module(&(struct wm_quotas){.fuel = FUEL, .stack_bytes = 2048}, &refused), WM_ERR_UNSUPPORTED);
    assert_int_equal(refused.reason, WM_REFUSED_IMPORT);
    assert_true(wm_span_is(refused.import_module, "env") && wm_span_is(refused.import_name, "get_rainfall"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_host_millis, setup),
        cmocka_unit_test_setup(test_host_delay_passes_the_time_and_looks_at_the_links, setup),
        cmocka_unit_test_setup(test_host_delay_of_nothing, setup),
        cmocka_unit_test_setup(test_host_delay_is_bounded_by_fuel, setup),
        cmocka_unit_test_setup(test_host_delay_is_cancelled, setup),
        cmocka_unit_test_setup(test_host_print_gathers_lines, setup),
        cmocka_unit_test_setup(test_host_print_cuts_long_lines, setup),
        cmocka_unit_test_setup(test_host_print_is_bounded, setup),
        cmocka_unit_test_setup(test_host_rpc_passes_on_what_it_was_given, setup),
        cmocka_unit_test_setup(test_host_checks_every_address, setup),
        cmocka_unit_test_setup(test_host_sensors, setup),
        cmocka_unit_test_setup(test_host_offers_what_the_node_has, setup),
        cmocka_unit_test_setup(test_host_wasi_streams, setup_wasi),
        cmocka_unit_test_setup(test_host_wasi_takes_as_much_as_the_log, setup_wasi),
        cmocka_unit_test_setup(test_host_wasi_has_no_files, setup_wasi),
        cmocka_unit_test_setup(test_host_wasi_time_and_chance, setup_wasi),
        cmocka_unit_test_setup(test_host_wasi_checks_every_address, setup_wasi),
        cmocka_unit_test_setup(test_host_wasi_begins_and_exits, setup_wasi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Which export a call means, also right after the function has been replaced or removed; what a module's section gets it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "functions/functions.h"

static _Alignas(8) uint8_t region[256 * 1024];
static struct wm_store     store;
static struct wm_functions functions;

static int setup(void **state)
{
    (void)state;
    struct wm_heap *heap = wm_heap_init(region, sizeof region);
    wm_store_init(&store, heap);
    wm_functions_init(&functions, heap, &store);
    return 0;
}

static uint32_t clock_ms, step_ms;

uint32_t wm_port_now_ms(void)
{
    return clock_ms += step_ms;
}

static int try_install_bytes(const char *name, struct wm_span module, struct wm_install *report)
{
    const uint8_t digest[WM_SHA256_BYTES] = {0};
    const int record = wm_store_begin(&store, module.len);
    assert_true(record >= 0);
    assert_int_equal(wm_store_append(&store, record, module), 0);
    const int err = wm_functions_install(&functions, wm_span_str(name), record, digest, report);
    if (err) {
        wm_store_drop(&store, record);
    }
    return err;
}

static int try_install(const char *name, const char *module, struct wm_install *report)
{
    char path[512];
    uint8_t bytes[4096];
    snprintf(path, sizeof path, "%s/%s.wasm", WM_MODULES_DIR, module);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return try_install_bytes(name, wm_span(bytes, len), report);
}

static struct wm_function *install(const char *name, const char *module)
{
    struct wm_install report;
    assert_int_equal(try_install(name, module, &report), 0);
    return wm_functions_find(&functions, wm_span_str(name));
}

static struct wm_target target_of(const struct wm_function *fn, const char *ref)
{
    struct wm_target target;
    assert_int_equal(wm_functions_target(&functions, fn, wm_span_str(ref), &target), 0);
    return target;
}

/* An endless start function ends by its fuel, which is less than a call may have; where its fuel would last too long, by
 * the clock. Either way it is refused, and nothing is left of it. */
static void test_functions_start_is_bounded(void **state)
{
    (void)state;
    struct wm_install report;
    const size_t free_bytes = wm_heap_free_bytes(functions.pool);
    step_ms = 0;
    assert_int_equal(try_install("spin", "start_spin", &report), WM_ERR_UNSUPPORTED);
    assert_int_equal(report.refused.reason, WM_REFUSED_START);
    assert_string_equal(report.refused.text, "fuel");
    step_ms = WM_START_MAX_MS / 4; /* from one look at the clock to the next: after each slice of fuel */
    assert_int_equal(try_install("spin", "start_spin", &report), WM_ERR_UNSUPPORTED);
    assert_int_equal(report.refused.reason, WM_REFUSED_START);
    assert_string_equal(report.refused.text, "the start function takes too long");
    step_ms = 0;
    assert_null(wm_functions_find(&functions, wm_span_str("spin")));
    assert_int_equal(wm_heap_free_bytes(functions.pool), free_bytes);
}

static void test_functions_target_is_the_same_when_asked_again(void **state)
{
    (void)state;
    const struct wm_function *fn = install("f", "target_new");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(target_of(fn, "a").export.index, 1);
        assert_int_equal(target_of(fn, "a").export.index, 1);
        assert_int_equal(target_of(fn, "b").export.index, 0);
        assert_int_equal(target_of(fn, ":1").export.index, 1);
        assert_int_equal(target_of(fn, ":0").export.index, 0);
    }
    struct wm_target target;
    assert_int_equal(wm_functions_target(&functions, fn, wm_span_str("c"), &target), WM_ERR_NOTFOUND);
    assert_int_equal(wm_functions_target(&functions, fn, wm_span_str(""), &target), WM_ERR_NOTFOUND); /* two, no default */
}

static void test_functions_target_follows_a_replacement(void **state)
{
    (void)state;
    const struct wm_function *fn = install("f", "target_old");
    assert_true(target_of(fn, "a").bytes);
    assert_true(target_of(fn, "").bytes);
    fn = install("f", "target_new");
    assert_false(target_of(fn, "a").bytes);
    assert_int_equal(target_of(fn, "a").signature.params.len, 1);
    fn = install("f", "target_old");
    assert_int_equal(target_of(fn, "a").signature.params.len, 0);
}

static void test_functions_target_tells_functions_apart(void **state)
{
    (void)state;
    const struct wm_function *f = install("f", "target_old"), *g = install("g", "target_new");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(target_of(f, "a").export.item, 0);
        assert_int_equal(target_of(g, "a").export.item, 1);
    }
}

static void test_functions_target_is_forgotten_with_its_function(void **state)
{
    (void)state;
    const struct wm_function *fn = install("f", "target_old");
    assert_true(target_of(fn, "a").bytes);
    assert_int_equal(wm_functions_remove(&functions, wm_span_str("f")), 0);
    fn = install("g", "target_new"); /* takes the place in the table that f had */
    assert_false(target_of(fn, "a").bytes);
}

/* Neither static data nor a heap: the page that the module declares must not come instead. */
static void test_functions_memory_of_a_module_that_asks_for_none(void **state)
{
    (void)state;
    static const uint8_t module[] = {
        0, 'a', 's', 'm', 1, 0, 0, 0, 5, 3, 1, 0, 1, 6, 6, 1, 0x7f, 0, 0x41, 0, 0x0b,
        7, 15, 1, 11, '_', '_', 'h', 'e', 'a', 'p', '_', 'b', 'a', 's', 'e', 3, 0,
        0, 11, 7, 'w', 'a', 's', 'm', 'o', 't', 'e', 0xa1, 5, 0, /* heap: 0 */
    };
    struct wm_install report;
    assert_int_equal(try_install_bytes("f", wm_span(module, sizeof module), &report), 0);
    const struct wm_function *fn = wm_functions_find(&functions, wm_span_str("f"));
    assert_in_range(fn->image.quotas.memory_bytes, 1, 16);
    assert_int_equal(wm_engine_memory(fn->image.engine).len, fn->image.quotas.memory_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_functions_target_is_the_same_when_asked_again, setup),
        cmocka_unit_test_setup(test_functions_target_follows_a_replacement, setup),
        cmocka_unit_test_setup(test_functions_target_tells_functions_apart, setup),
        cmocka_unit_test_setup(test_functions_target_is_forgotten_with_its_function, setup),
        cmocka_unit_test_setup(test_functions_start_is_bounded, setup),
        cmocka_unit_test_setup(test_functions_memory_of_a_module_that_asks_for_none, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

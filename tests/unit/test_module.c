/* Reading a WebAssembly binary: one module with an entry of every kind, cut and damaged at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wasm/module.h"
#include "wasmote/port.h"

_Noreturn void wm_port_panic(const char *file, int line)
{
    fprintf(stderr, "assertion failed: %s:%d\n", file, line);
    abort();
}

/* clang-format off */
/* {1: "fib", 2: "1.0", 3: "run", 4: 1, 5: 256, 6: 1024, 7: 100000, 8: 64, 9: ["net", "io"], 10: ["run"],
 *  11: [_ "run"], -1: {1: [2]}, 99: null} */
static const uint8_t section_wasmote[] = {
    7, 'w', 'a', 's', 'm', 'o', 't', 'e', 0xad,
    1, 0x63, 'f', 'i', 'b', 2, 0x63, '1', '.', '0', 3, 0x63, 'r', 'u', 'n', 4, 1, 5, 0x19, 1, 0,
    6, 0x19, 4, 0, 7, 0x1a, 0, 1, 0x86, 0xa0, 8, 0x18, 64, 9, 0x82, 0x63, 'n', 'e', 't', 0x62, 'i', 'o',
    10, 0x81, 0x63, 'r', 'u', 'n', 11, 0x9f, 0x63, 'r', 'u', 'n', 0xff,
    0x20, 0xa1, 1, 0x81, 2, 0x18, 99, 0xf6,
};
static const uint8_t section_type[] = { /* (i32 i64) -> (f32 f64); () -> (i32) */
    2, 0x60, 2, 0x7f, 0x7e, 2, 0x7d, 0x7c, 0x60, 0, 1, 0x7f,
};
static const uint8_t section_import[] = {
    4, 7, 'w', 'a', 's', 'm', 'o', 't', 'e', 5, 'i', 'n', 'p', 'u', 't', 0, 1,
    3, 'e', 'n', 'v', 1, 't', 1, 0x70, 1, 1, 2,
    3, 'e', 'n', 'v', 1, 'g', 3, 0x7f, 0,
    3, 'e', 'n', 'v', 1, 'f', 0, 0,
};
static const uint8_t section_function[] = {2, 1, 0}; /* functions 2 and 3 */
static const uint8_t section_memory[] = {1, 1, 1, 2};
static const uint8_t section_global[] = {
    6, 0x7e, 1, 0x42, 0x7f, 0x0b,                        /* global 1: mutable i64 */
    0x7f, 0, 0x41, 0x80, 0x88, 0x04, 0x0b,               /* 2: i32 66560 */
    0x7f, 1, 0x41, 5, 0x0b,                              /* 3: mutable i32 */
    0x7f, 0, 0x23, 0, 0x0b,                              /* 4: i32, an imported value */
    0x7c, 0, 0x44, 1, 2, 3, 4, 5, 6, 7, 8, 0x0b,         /* 5: f64 */
    0x7f, 0, 0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x0b,   /* 6: i32 -2^31 */
};
static const uint8_t section_export[] = {
    4, 3, 'r', 'u', 'n', 0, 2, 0, 0, 3, 3, 'm', 'e', 'm', 2, 0,
    11, '_', '_', 'h', 'e', 'a', 'p', '_', 'b', 'a', 's', 'e', 3, 2,
};
static const uint8_t section_code[] = {2, 4, 0, 0x41, 0, 0x0b, 2, 0, 0x0b};
static const uint8_t section_name[] = {4, 'n', 'a', 'm', 'e'};
/* clang-format on */

static uint8_t bytes[512];
static struct wm_span module;

static void add(uint8_t id, const uint8_t *content, size_t len)
{
    assert_true(len < 128);
    bytes[module.len] = id;
    bytes[module.len + 1] = (uint8_t)len;
    memcpy(bytes + module.len + 2, content, len);
    module.len += 2 + len;
    assert_true(module.len <= sizeof bytes);
}

static int setup(void **state)
{
    (void)state;
    memcpy(bytes, "\0asm\1\0\0", 8);
    module = wm_span(bytes, 8);
    add(0, section_wasmote, sizeof section_wasmote);
    add(1, section_type, sizeof section_type);
    add(2, section_import, sizeof section_import);
    add(3, section_function, sizeof section_function);
    add(5, section_memory, sizeof section_memory);
    add(6, section_global, sizeof section_global);
    add(7, section_export, sizeof section_export);
    add(10, section_code, sizeof section_code);
    add(0, section_name, sizeof section_name);
    return 0;
}

static void test_module_exports(void **state)
{
    (void)state;
    struct wm_export e;
    assert_int_equal(wm_module_check(module), 0);
    assert_int_equal(wm_module_export(module, 0, &e), 0);
    assert_true(wm_span_is(e.name, "run") && e.kind == WM_EXTERN_FUNC && e.item == 2 && e.index == 0);
    assert_int_equal(wm_module_export(module, 1, &e), 0);
    assert_true(e.name.len == 0 && e.kind == WM_EXTERN_FUNC && e.item == 3 && e.index == 1);
    assert_int_equal(wm_module_export(module, 2, &e), 0);
    assert_true(wm_span_is(e.name, "mem") && e.kind == WM_EXTERN_MEMORY && e.item == 0);
    assert_int_equal(wm_module_export(module, 4, &e), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_export(module, UINT32_MAX, &e), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_find_export(module, wm_span_str("__heap_base"), &e), 0);
    assert_true(e.kind == WM_EXTERN_GLOBAL && e.item == 2 && e.index == 3);
    assert_int_equal(wm_module_find_export(module, wm_span_str(""), &e), 0);
    assert_int_equal(e.index, 1);
    assert_int_equal(wm_module_find_export(module, wm_span_str("ru"), &e), WM_ERR_NOTFOUND);
}

static void test_module_imports(void **state)
{
    (void)state;
    struct wm_import i;
    assert_int_equal(wm_module_import(module, 0, &i), 0);
    assert_true(wm_span_is(i.module, "wasmote") && wm_span_is(i.name, "input"));
    assert_true(i.kind == WM_EXTERN_FUNC && i.type == 1);
    assert_int_equal(wm_module_import(module, 1, &i), 0);
    assert_int_equal(i.kind, WM_EXTERN_TABLE);
    assert_int_equal(wm_module_import(module, 3, &i), 0);
    assert_true(wm_span_is(i.name, "f") && i.kind == WM_EXTERN_FUNC && i.type == 0);
    assert_int_equal(wm_module_import(module, 4, &i), WM_ERR_NOTFOUND);
}

static void expect_signature(uint32_t function, const char *params, const char *results)
{
    struct wm_signature s;
    assert_int_equal(wm_module_signature(module, function, &s), 0);
    assert_true(wm_span_is(s.params, params));
    assert_true(wm_span_is(s.results, results));
}

static void test_module_signatures(void **state)
{
    (void)state;
    struct wm_signature s;
    expect_signature(0, "", "\x7f"); /* imported */
    expect_signature(1, "\x7f\x7e", "\x7d\x7c");
    expect_signature(2, "", "\x7f");
    expect_signature(3, "\x7f\x7e", "\x7d\x7c");
    assert_int_equal(wm_module_signature(module, 4, &s), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_signature(module, UINT32_MAX, &s), WM_ERR_NOTFOUND);
}

static void test_module_globals_and_memory(void **state)
{
    (void)state;
    uint32_t value, initial, max;
    assert_int_equal(wm_module_global_i32(module, 2, &value), 0);
    assert_int_equal(value, 66560);
    assert_int_equal(wm_module_global_i32(module, 6, &value), 0);
    assert_int_equal(value, 0x80000000u);
    static const uint32_t others[] = {0 /* imported */, 1 /* i64 */, 3 /* mutable */, 4, 5, 7, UINT32_MAX};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(wm_module_global_i32(module, others[i], &value), WM_ERR_NOTFOUND);
    }
    assert_int_equal(wm_module_memory(module, &initial, &max), 0);
    assert_true(initial == 1 && max == 2);
}

static void test_module_sections_that_are_not_there(void **state)
{
    (void)state;
    const struct wm_span empty = wm_span(bytes, 8);
    struct wm_export e;
    struct wm_import i;
    struct wm_signature s;
    struct wm_span custom;
    uint32_t value, max;
    assert_int_equal(wm_module_check(empty), 0);
    assert_int_equal(wm_module_export(empty, 0, &e), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_find_export(empty, wm_span_str("x"), &e), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_import(empty, 0, &i), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_signature(empty, 0, &s), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_global_i32(empty, 0, &value), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_memory(empty, &value, &max), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_custom(empty, "wasmote", &custom), WM_ERR_NOTFOUND);
    assert_int_equal(wm_module_custom(module, "name", &custom), 0);
    assert_int_equal(custom.len, 0);
}

static void test_module_check_refuses(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[16];
        size_t  len;
        int     err;
    } cases[] = {
        {{0}, 0, WM_ERR_TRUNCATED},
        {{0, 'a', 's'}, 3, WM_ERR_TRUNCATED},
        {{0, 'a', 's', 'n'}, 4, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 2, 0, 0, 0}, 8, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 1}, 9, WM_ERR_TRUNCATED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 1, 2, 0}, 11, WM_ERR_TRUNCATED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 13, 0}, 10, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 3, 0, 1, 0}, 12, WM_ERR_MALFORMED},           /* order */
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 3, 0, 3, 0}, 12, WM_ERR_MALFORMED},           /* twice */
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 12, 0, 0, 0, 10, 0, 11, 0}, 16, 0},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 10, 0, 12, 0}, 12, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10}, 14, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, 15, WM_ERR_MALFORMED},
        {{0, 'a', 's', 'm', 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, 14, WM_ERR_TRUNCATED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(wm_module_check(wm_span(cases[i].bytes, cases[i].len)), cases[i].err);
    }
    assert_int_equal(wm_module_check(wm_span(NULL, 0)), WM_ERR_TRUNCATED);
}

static void test_module_section_of_wasmote(void **state)
{
    (void)state;
    struct wm_section s;
    assert_int_equal(wm_section_read(module, &s), 0);
    assert_true(wm_span_is(s.name, "fib") && wm_span_is(s.version, "1.0"));
    assert_true(wm_span_is(s.default_export, "run"));
    assert_true(s.abi == 1 && s.heap_bytes == 256 && s.stack_bytes == 1024);
    assert_true(s.fuel == 100000 && s.output_bytes == 64);
    assert_true(wm_section_lists(s.permissions, wm_span_str("net")));
    assert_true(wm_section_lists(s.permissions, wm_span_str("io")));
    assert_false(wm_section_lists(s.permissions, wm_span_str("ne")));
    assert_true(wm_section_lists(s.pure, wm_span_str("run")));
    assert_true(wm_section_lists(s.idempotent, wm_span_str("run")));

    assert_int_equal(wm_section_read(wm_span(bytes, 8), &s), 0); /* none */
    assert_true(s.name.len == 0 && s.abi == WM_SECTION_NONE && s.heap_bytes == WM_SECTION_NONE && s.fuel == WM_SECTION_NONE && s.pure.len == 0);
    assert_false(wm_section_lists(s.pure, wm_span_str("run")));
}

static int read_section(const char *cbor, size_t len, struct wm_section *out)
{
    static uint8_t m[64] = "\0asm\1\0\0\0\0\0\7wasmote";
    m[9] = (uint8_t)(8 + len);
    memcpy(m + 18, cbor, len);
    return wm_section_read(wm_span(m, 18 + len), out);
}

#define READ(cbor) read_section(cbor, sizeof cbor - 1, &s)

static void test_module_section_refuses(void **state)
{
    (void)state;
    struct wm_section s;
    assert_int_equal(READ("\xa0"), 0);
    assert_int_equal(READ("\xbf\x05\x00\xff"), 0);
    assert_int_equal(s.heap_bytes, 0);
    assert_int_equal(READ("\xa1\x07\x1b\x7f\xff\xff\xff\xff\xff\xff\xff"), 0);
    assert_true(s.fuel == WM_SECTION_NONE - 1);
    assert_int_equal(READ("\xa1\x09\x80"), 0);
    assert_false(wm_section_lists(s.permissions, wm_span_str("")));
    assert_int_equal(READ(""), WM_ERR_MALFORMED);
    assert_int_equal(READ("\x80"), WM_ERR_MALFORMED);                 /* not a map */
    assert_int_equal(READ("\xa0\x00"), WM_ERR_MALFORMED);             /* something after it */
    assert_int_equal(READ("\xa1\x61k\x00"), WM_ERR_MALFORMED);        /* a key of text */
    assert_int_equal(READ("\xa1\x01\x00"), WM_ERR_MALFORMED);         /* the name a number */
    assert_int_equal(READ("\xa1\x05\x20"), WM_ERR_MALFORMED);         /* the heap negative */
    assert_int_equal(READ("\xa1\x07\x1b\x80\x00\x00\x00\x00\x00\x00\x00"), WM_ERR_MALFORMED);
    assert_int_equal(READ("\xa1\x09\x61k"), WM_ERR_MALFORMED);        /* a list that is none */
    assert_int_equal(READ("\xa1\x09\x81\x01"), WM_ERR_MALFORMED);
    assert_int_equal(READ("\xa1\x09\x9f\x61k"), WM_ERR_MALFORMED);    /* without its end */
    assert_int_equal(READ("\xbf\x05\x00"), WM_ERR_MALFORMED);
    assert_int_equal(READ("\xa1"), WM_ERR_MALFORMED);
    assert_int_equal(READ("\xa1\x18\x40"), WM_ERR_MALFORMED);
}

/* Whatever the bytes: every reader ends, stays within them, and answers 0, NOTFOUND or MALFORMED. */
static void read_everything(struct wm_span m)
{
    struct wm_export e;
    struct wm_import i;
    struct wm_signature s;
    struct wm_section section;
    struct wm_span custom;
    uint32_t a, b;
    int errs[64];
    size_t n = 0;
    for (uint32_t k = 0; k < 8; k++) {
        errs[n++] = wm_module_export(m, k, &e);
        errs[n++] = wm_module_import(m, k, &i);
        errs[n++] = wm_module_signature(m, k, &s);
        errs[n++] = wm_module_global_i32(m, k, &a);
    }
    errs[n++] = wm_module_memory(m, &a, &b);
    errs[n++] = wm_module_find_export(m, wm_span_str("__heap_base"), &e);
    errs[n++] = wm_module_custom(m, "none", &custom);
    errs[n++] = wm_section_read(m, &section);
    for (size_t k = 0; k < n; k++) {
        assert_true(errs[k] == 0 || errs[k] == WM_ERR_NOTFOUND || errs[k] == WM_ERR_MALFORMED);
    }
}

static void test_module_cut_at_every_byte(void **state)
{
    (void)state;
    int whole_sections = 0;
    for (size_t len = 0; len <= module.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, module.ptr, len);
        const struct wm_span cut = wm_span(exact, len);
        const int err = wm_module_check(cut);
        assert_true(err == 0 || err == WM_ERR_TRUNCATED);
        whole_sections += err == 0;
        read_everything(cut);
        free(exact);
    }
    assert_int_equal(whole_sections, 10); /* after the header and after each of 9 sections */
}

static void test_module_damaged_at_every_byte(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    uint8_t *copy = malloc(module.len);
    for (size_t at = 0; at < module.len; at++) {
        for (size_t v = 0; v < sizeof values; v++) {
            memcpy(copy, module.ptr, module.len);
            copy[at] = values[v];
            (void)wm_module_check(wm_span(copy, module.len));
            read_everything(wm_span(copy, module.len));
        }
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_module_exports),
        cmocka_unit_test(test_module_imports),
        cmocka_unit_test(test_module_signatures),
        cmocka_unit_test(test_module_globals_and_memory),
        cmocka_unit_test(test_module_sections_that_are_not_there),
        cmocka_unit_test(test_module_check_refuses),
        cmocka_unit_test(test_module_section_of_wasmote),
        cmocka_unit_test(test_module_section_refuses),
        cmocka_unit_test(test_module_cut_at_every_byte),
        cmocka_unit_test(test_module_damaged_at_every_byte),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

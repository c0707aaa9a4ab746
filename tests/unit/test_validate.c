/* The validator: every rule with modules made here, and every limit from both sides. The core test suite,
 * where it is present, is in tests/conformance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wasm/module.h"
#include "wasm/validate.h"

/* ---- verdicts ---- */

static struct wm_refused refused;

/* The module is copied to the heap, without a byte to spare, so that AddressSanitizer sees every step
 * beyond it. */
static int verdict(const uint8_t *module, size_t len)
{
    static _Alignas(8) uint8_t scratch[WM_VALIDATE_SCRATCH_BYTES];
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, module, len);
    memset(scratch, 0xa5, sizeof scratch);
    const int err = wm_validate(wm_span(copy, len), scratch, sizeof scratch, &refused);
    free(copy);
    return err;
}

/* With WASMOTE_CASES=FILE every verdict that a test asks for goes to the file, too: the module in hexadecimal digits, the
 * reason, and the text that the refusal must contain. tests/conformance/own_cases.py makes tests for nodes of it. */
static void note_case(const uint8_t *module, size_t len, int reason, const char *text)
{
    const char *path = getenv("WASMOTE_CASES");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        fprintf(file, "%02x", module[i]);
    }
    fprintf(file, " %d %s\n", reason, text);
    fclose(file);
}

/* reason -1: accepted. text: what the refusal must contain. */
static void expect_verdict(const uint8_t *module, size_t len, int reason, const char *text,
    const char *file, int line)
{
    note_case(module, len, reason, text);
    const int err = verdict(module, len);
    const int got = err == 0 ? -1 : (int)refused.reason;
    if (got != reason || (err != 0 && strstr(refused.text, text) == NULL)) {
        print_error("%s:%d: reason %d \"%s\" at %d, expected %d \"%s\"\n", file, line, got,
                    err != 0 ? refused.text : "", (int)refused.offset, reason, text);
        fail();
    }
    if (err != 0) {
        assert_int_equal(err, WM_ERR_UNSUPPORTED);
        assert_in_range(refused.offset, 0, len);
    }
}

/* ---- a builder ---- */

static struct {
    uint8_t bytes[WM_MODULE_CODE_BYTES + 512 * 1024];
    size_t  len;
} m;

static void put(const uint8_t *bytes, size_t len)
{
    assert_true(m.len + len <= sizeof m.bytes);
    memcpy(m.bytes + m.len, bytes, len);
    m.len += len;
}

static void byte(unsigned value)
{
    const uint8_t b = (uint8_t)value;
    put(&b, 1);
}

static void leb(uint32_t value)
{
    while (value >= 0x80) {
        byte((value & 0x7f) | 0x80);
        value >>= 7;
    }
    byte(value);
}

static void repeat(unsigned value, uint32_t n)
{
    while (n-- > 0) {
        byte(value);
    }
}

/* What comes until close() gets its length in front, in five bytes. */
static size_t open_at(void)
{
    const size_t at = m.len;
    repeat(0, 5);
    return at;
}

static void close_at(size_t at)
{
    const uint32_t len = (uint32_t)(m.len - at - 5);
    for (unsigned i = 0; i < 5; i++) {
        m.bytes[at + i] = (uint8_t)((len >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0));
    }
}

#define BYTES(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static void header(void)
{
    m.len = 0;
    put(BYTES(0, 'a', 's', 'm', 1, 0, 0, 0));
}

static void section(unsigned id, const uint8_t *content, size_t len)
{
    byte(id);
    leb((uint32_t)len);
    put(content, len);
}

enum { I = 0x7f, L = 0x7e, F = 0x7d, D = 0x7c };

/* Types 0: of the function under test; 1: () -> (); 2: (i32) -> (i32); 3: (i32 i32) -> (i32); 4: () ->
 * (i64 i32 i32); 5: () -> (i32 f64); 6: () -> (i32 i32 f32); 7: (i64 i64) -> (); 8: (i32) -> (); 9: () ->
 * (i32 i32); 10: () -> (f64 f32). Functions 0: under test; 1: type 1; 2: type 2; 3: type 9. A table, a
 * memory. Globals 0: mutable i32, 1: i64. */
static void begin(const char *params, const char *results)
{
    header();
    byte(1);
    const size_t types = open_at();
    byte(11);
    byte(0x60);
    byte((unsigned)strlen(params));
    put((const uint8_t *)params, strlen(params));
    byte((unsigned)strlen(results));
    put((const uint8_t *)results, strlen(results));
    put(BYTES(0x60, 0, 0, 0x60, 1, I, 1, I, 0x60, 2, I, I, 1, I, 0x60, 0, 3, L, I, I, 0x60, 0, 2, I, D,
        0x60, 0, 3, I, I, F));
    put(BYTES(0x60, 2, L, L, 0, 0x60, 1, I, 0, 0x60, 0, 2, I, I, 0x60, 0, 2, D, F));
    close_at(types);
    section(3, BYTES(4, 0, 1, 2, 9));
    section(4, BYTES(1, 0x70, 0, 4));
    section(5, BYTES(1, 0, 1));
    section(6, BYTES(2, I, 1, 0x41, 0, 0x0b, L, 0, 0x42, 0, 0x0b));
    section(9, BYTES(1, 0, 0x41, 0, 0x0b, 2, 1, 2));
}

static size_t code_section, body;

/* locals: groups, as in the binary format. The code follows by put() or byte(). */
static void begin_code(const uint8_t *locals, size_t len)
{
    byte(10);
    code_section = open_at();
    byte(4);
    body = open_at();
    put(locals, len);
}

static void finish_code(void)
{
    byte(0x0b);
    close_at(body);
    put(BYTES(2, 0, 0x0b, 4, 0, 0x20, 0, 0x0b, 6, 0, 0x41, 1, 0x41, 2, 0x0b));
    close_at(code_section);
}

static void build(const char *params, const char *results, const uint8_t *code, size_t len)
{
    begin(params, results);
    begin_code(BYTES(4, 1, I, 1, L, 1, F, 1, D)); /* locals of each type, after the parameters */
    put(code, len);
    finish_code();
}

#define EXPECT(reason, text) expect_verdict(m.bytes, m.len, reason, text, __FILE__, __LINE__)
#define ACCEPTED()           EXPECT(-1, "")

/* One function of this type with this code, its final `end` aside. "\x7f" is an i32. */
#define CODE(params, results, ...) build(params, results, BYTES(__VA_ARGS__))
#define OK(params, results, ...) (CODE(params, results, __VA_ARGS__), ACCEPTED())
#define REFUSED(reason, text, params, results, ...) \
    (CODE(params, results, __VA_ARGS__), EXPECT(WM_REFUSED_##reason, text))
#define MALFORMED(text, params, results, ...)   REFUSED(MALFORMED, text, params, results, __VA_ARGS__)
#define INVALID(text, params, results, ...)     REFUSED(INVALID, text, params, results, __VA_ARGS__)
#define LIMIT(text, params, results, ...)       REFUSED(LIMIT, text, params, results, __VA_ARGS__)
#define UNSUPPORTED(text, params, results, ...) REFUSED(UNSUPPORTED, text, params, results, __VA_ARGS__)

#define INT  "\x7f"
#define LONG "\x7e"
#define FLT  "\x7d"
#define DBL  "\x7c"

/* Instructions */
#define I0  0x41, 0
#define L0  0x42, 0
#define F0  0x43, 0, 0, 0, 0
#define D0  0x44, 0, 0, 0, 0, 0, 0, 0, 0
#define END 0x0b

/* A module of these sections. */
#define SECTIONS(...) (header(), put(BYTES(__VA_ARGS__)))

static void whole(int reason, const char *text, const uint8_t *content, size_t len, int line)
{
    header();
    put(content, len);
    expect_verdict(m.bytes, m.len, reason, text, __FILE__, line);
}
#define MODULE(reason, text, ...) whole(reason, text, BYTES(__VA_ARGS__), __LINE__)

/* ---- the binary format ---- */

static void test_validate_header(void **state)
{
    (void)state;
    const uint8_t good[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    expect_verdict(good, 8, -1, "", __FILE__, __LINE__);
    for (size_t len = 0; len < 8; len++) {
        expect_verdict(good, len, WM_REFUSED_MALFORMED, len < 4 ? "magic" : "version", __FILE__, __LINE__);
    }
    const uint8_t version[] = {0, 'a', 's', 'm', 2, 0, 0, 0}, magic[] = {0, 'a', 's', 'M', 1, 0, 0, 0};
    expect_verdict(version, 8, WM_REFUSED_MALFORMED, "version", __FILE__, __LINE__);
    expect_verdict(magic, 8, WM_REFUSED_MALFORMED, "magic", __FILE__, __LINE__);
}

static void test_validate_sections_in_order_and_size(void **state)
{
    (void)state;
    MODULE(-1, "", 1, 1, 0, 3, 1, 0, 4, 1, 0, 6, 1, 0, 7, 1, 0, 9, 1, 0, 12, 1, 0, 10, 1, 0, 11, 1, 0);
    MODULE(-1, "", 0, 2, 1, 'a', 1, 1, 0, 0, 2, 1, 'a', 3, 1, 0, 0, 1, 0);
    MODULE(WM_REFUSED_MALFORMED, "out of order", 1, 1, 0, 1, 1, 0);
    MODULE(WM_REFUSED_MALFORMED, "out of order", 3, 1, 0, 1, 1, 0);
    MODULE(WM_REFUSED_MALFORMED, "out of order", 10, 1, 0, 12, 1, 0);
    MODULE(WM_REFUSED_MALFORMED, "section id", 14, 0);
    MODULE(WM_REFUSED_MALFORMED, "size mismatch", 1, 2, 0, 0);
    MODULE(WM_REFUSED_MALFORMED, "length out of bounds", 1, 2, 0);
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 1, 0);
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 1);
    MODULE(WM_REFUSED_MALFORMED, "length out of bounds", 1, 0xff, 0xff, 0xff, 0xff, 0x0f);
    MODULE(WM_REFUSED_MALFORMED, "length out of bounds", 1, 1, 5);
}

static void test_validate_leb128(void **state)
{
    (void)state;
    MODULE(-1, "", 1, 0x85, 0x80, 0x80, 0x80, 0, 0x80, 0x80, 0x80, 0x80, 0);
    MODULE(WM_REFUSED_MALFORMED, "too large", 1, 0x85, 0x80, 0x80, 0x80, 0x10, 0x80, 0x80, 0x80, 0x80, 0);
    MODULE(WM_REFUSED_MALFORMED, "too long", 1, 0x86, 0x80, 0x80, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0);
    OK("", "", 0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x1a, 0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x1a, 0x41,
        0xff, 0x7f, 0x1a);
    MALFORMED("too large", "", "", 0x41, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a);
    MALFORMED("too large", "", "", 0x41, 0x80, 0x80, 0x80, 0x80, 0x70, 0x1a);
    MALFORMED("too long", "", "", 0x41, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x1a);
    OK("", "", 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f, 0x1a);
    OK("", "", 0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x1a);
    MALFORMED("too large", "", "", 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x1a);
    MALFORMED("too long", "", "", 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x1a);
    OK(INT, "", 0x20, 0x80, 0x80, 0x80, 0x80, 0x00, 0x1a);
    MALFORMED("unexpected end", "", "", 0x41, 0x80);
}

static void test_validate_utf8(void **state)
{
    (void)state;
    const struct {
        const char *name;
        bool        good;
    } names[] = {
        {"\x7f", true}, {"\xc2\x80", true}, {"\xdf\xbf", true}, {"\xe0\xa0\x80", true}, {"\xed\x9f\xbf",
            true},
        {"\xee\x80\x80", true}, {"\xef\xbf\xbf", true}, {"\xf0\x90\x80\x80", true}, {"\xf4\x8f\xbf\xbf",
            true},
        {"\x80", false}, {"\xc1\xbf", false}, {"\xc2", false}, {"\xc2\x7f", false}, {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false}, {"\xed\xbf\xbf", false}, {"\xe1\x80", false}, {"\xf0\x8f\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false}, {"\xf5\x80\x80\x80", false}, {"\xff", false}, {"\xe1\x80\xc0", false},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const size_t len = strlen(names[i].name);
        header(); /* a custom section's */
        byte(0);
        leb((uint32_t)len + 1);
        leb((uint32_t)len);
        put((const uint8_t *)names[i].name, len);
        EXPECT(names[i].good ? -1 : WM_REFUSED_MALFORMED, "UTF-8");
        SECTIONS(1, 4, 1, 0x60, 0, 0); /* an import's */
        byte(2);
        const size_t at = open_at();
        byte(1);
        leb((uint32_t)len);
        put((const uint8_t *)names[i].name, len);
        put(BYTES(1, 'b', 0, 0));
        close_at(at);
        EXPECT(names[i].good ? -1 : WM_REFUSED_MALFORMED, "UTF-8");
    }
    MODULE(-1, "", 0, 4, 3, 0, 0, 0);                            /* zeros are characters too */
    MODULE(WM_REFUSED_MALFORMED, "length", 0, 2, 2, 'a');        /* the name leaves its section */
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 0, 0, 0, 1, 0); /* no room for a length */
}

static void test_validate_types(void **state)
{
    (void)state;
    MODULE(-1, "", 1, 9, 1, 0x60, 4, I, L, F, D, 1, I);
    MODULE(WM_REFUSED_MALFORMED, "form", 1, 4, 1, 0x61, 0, 0);
    MODULE(WM_REFUSED_MALFORMED, "value type", 1, 5, 1, 0x60, 1, 0x40, 0);
    MODULE(WM_REFUSED_MALFORMED, "length", 1, 4, 1, 0x60, 3, I);
    MODULE(WM_REFUSED_UNSUPPORTED, "garbage collection", 1, 4, 1, 0x5f, 0, 0);
    MODULE(WM_REFUSED_UNSUPPORTED, "reference", 1, 5, 1, 0x60, 1, 0x70, 0);
    MODULE(WM_REFUSED_UNSUPPORTED, "reference", 1, 5, 1, 0x60, 1, 0x6f, 0);
    MODULE(WM_REFUSED_UNSUPPORTED, "SIMD", 1, 5, 1, 0x60, 1, 0x7b, 0);
}

static void test_validate_imports(void **state)
{
    (void)state;
    MODULE(-1, "", 1, 4, 1, 0x60, 0, 0, 2, 7, 1, 1, 'a', 1, 'b', 0, 0);
    MODULE(-1, "", 2, 8, 1, 1, 'a', 1, 'b', 3, I, 1);
    MODULE(WM_REFUSED_INVALID, "unknown type", 1, 4, 1, 0x60, 0, 0, 2, 7, 1, 1, 'a', 1, 'b', 0, 1);
    MODULE(WM_REFUSED_MALFORMED, "import kind", 2, 7, 1, 1, 'a', 1, 'b', 5, 0);
    MODULE(WM_REFUSED_MALFORMED, "mutability", 2, 8, 1, 1, 'a', 1, 'b', 3, I, 2);
    MODULE(WM_REFUSED_UNSUPPORTED, "imported memory", 2, 8, 1, 1, 'a', 1, 'b', 2, 0, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "imported table", 2, 9, 1, 1, 'a', 1, 'b', 1, 0x70, 0, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "exceptions", 2, 8, 1, 1, 'a', 1, 'b', 4, 0, 0);
    /* What comes after a missing feature is still validated: this module is worse than not supported. */
    MODULE(WM_REFUSED_INVALID, "unknown table", 2, 8, 1, 1, 'a', 1, 'b', 2, 0, 1, 7, 5, 1, 1, 'x', 1, 0);
    MODULE(WM_REFUSED_INVALID, "minimum", 2, 9, 1, 1, 'a', 1, 'b', 2, 1, 2, 1);
}

static void test_validate_tables_and_memories(void **state)
{
    (void)state;
    MODULE(-1, "", 4, 4, 1, 0x70, 0, 1);
    MODULE(-1, "", 4, 9, 1, 0x70, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f);
    MODULE(WM_REFUSED_INVALID, "minimum", 4, 5, 1, 0x70, 1, 2, 1);
    MODULE(WM_REFUSED_MALFORMED, "element type", 4, 4, 1, I, 0, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "reference", 4, 4, 1, 0x6f, 0, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "one table", 4, 7, 2, 0x70, 0, 1, 0x70, 0, 1);
    MODULE(-1, "", 5, 3, 1, 0, 1);
    MODULE(-1, "", 5, 6, 1, 1, 1, 0x80, 0x80, 4);
    MODULE(WM_REFUSED_INVALID, "65536", 5, 5, 1, 0, 0x81, 0x80, 4);
    MODULE(WM_REFUSED_INVALID, "65536", 5, 6, 1, 1, 1, 0x81, 0x80, 4);
    MODULE(WM_REFUSED_INVALID, "minimum", 5, 4, 1, 1, 2, 1);
    MODULE(WM_REFUSED_MALFORMED, "limits", 5, 3, 1, 8, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "one memory", 5, 5, 2, 0, 1, 0, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "without a memory", 5, 1, 0);
    MODULE(WM_REFUSED_UNSUPPORTED, "shared", 5, 4, 1, 3, 1, 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "memory64", 5, 3, 1, 4, 1);
}

static void test_validate_globals(void **state)
{
    (void)state;
    MODULE(-1, "", 6, 6, 1, I, 0, 0x41, 5, 0x0b);
    MODULE(-1, "", 6, 6, 1, L, 1, 0x42, 5, 0x0b);
    MODULE(-1, "", 6, 9, 1, F, 0, 0x43, 0, 0, 0, 0, 0x0b);
    MODULE(-1, "", 6, 13, 1, D, 0, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b);
    MODULE(-1, "", 2, 8, 1, 1, 'a', 1, 'b', 3, I, 0, 6, 6, 1, I, 0, 0x23, 0, 0x0b);
    MODULE(WM_REFUSED_INVALID, "constant expression required", 2, 8, 1, 1, 'a', 1, 'b', 3, I, 1, 6, 6, 1, I,
        0, 0x23, 0, 0x0b);
    MODULE(WM_REFUSED_INVALID, "unknown global", 6, 11, 2, I, 0, 0x41, 0, 0x0b, I, 0, 0x23, 0, 0x0b);
    MODULE(WM_REFUSED_INVALID, "type mismatch", 2, 8, 1, 1, 'a', 1, 'b', 3, L, 0, 6, 6, 1, I, 0, 0x23, 0,
        0x0b);
    MODULE(WM_REFUSED_INVALID, "type mismatch", 6, 6, 1, L, 0, 0x41, 5, 0x0b);
    MODULE(WM_REFUSED_INVALID, "type mismatch", 6, 4, 1, I, 0, 0x0b);
    MODULE(WM_REFUSED_INVALID, "constant expression required", 6, 5, 1, I, 0, 0x01, 0x0b);
    MODULE(WM_REFUSED_UNSUPPORTED, "more than one", 6, 9, 1, I, 0, 0x41, 5, 0x41, 5, 0x6a, 0x0b);
    MODULE(WM_REFUSED_UNSUPPORTED, "reference", 6, 6, 1, I, 0, 0xd0, 0x70, 0x0b);
    MODULE(WM_REFUSED_MALFORMED, "mutability", 6, 6, 1, I, 2, 0x41, 5, 0x0b);
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 6, 6, 1, D, 0, 0x44, 5, 0x0b);
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 6, 5, 1, I, 0, 0x41, 5);
}

/* One function of type () -> () with an empty body around the given sections. */
#define AROUND(reason, text, ...) \
    MODULE(reason, text, 1, 8, 2, 0x60, 0, 0, 0x60, 1, I, 0, 3, 3, 2, 0, 1, 4, 4, 1, 0x70, 0, 1, 5, 3, 1, \
        0, 1, 6, 6, 1, I, 0, \
           0x41, 0, 0x0b, __VA_ARGS__)
#define BODIES 10, 7, 2, 2, 0, 0x0b, 2, 0, 0x0b

static void test_validate_exports(void **state)
{
    (void)state;
    AROUND(-1, "", 7, 17, 4, 1, 'a', 0, 1, 1, 'b', 1, 0, 1, 'c', 2, 0, 1, 'd', 3, 0, BODIES);
    AROUND(-1, "", 7, 13, 3, 1, 'a', 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, BODIES);
    AROUND(WM_REFUSED_INVALID, "duplicate", 7, 9, 2, 1, 'a', 0, 0, 1, 'a', 2, 0, BODIES);
    AROUND(WM_REFUSED_INVALID, "duplicate", 7, 13, 3, 1, 'b', 0, 0x80, 0, 1, 'a', 0, 1, 1, 'b', 2, 0, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown function", 7, 5, 1, 1, 'a', 0, 2, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown table", 7, 5, 1, 1, 'a', 1, 1, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown memory", 7, 5, 1, 1, 'a', 2, 1, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown global", 7, 5, 1, 1, 'a', 3, 1, BODIES);
    AROUND(WM_REFUSED_MALFORMED, "export kind", 7, 5, 1, 1, 'a', 5, 0, BODIES);
    AROUND(WM_REFUSED_UNSUPPORTED, "exceptions", 7, 5, 1, 1, 'a', 4, 0, BODIES);
}

static void test_validate_start(void **state)
{
    (void)state;
    AROUND(-1, "", 8, 1, 0, BODIES);
    AROUND(WM_REFUSED_INVALID, "start function", 8, 1, 1, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown function", 8, 1, 2, BODIES);
}

static void test_validate_elements(void **state)
{
    (void)state;
    AROUND(-1, "", 9, 8, 1, 0, 0x41, 0, 0x0b, 2, 0, 1, BODIES);
    AROUND(WM_REFUSED_INVALID, "unknown function", 9, 7, 1, 0, 0x41, 0, 0x0b, 1, 2, BODIES);
    AROUND(WM_REFUSED_INVALID, "type mismatch", 9, 7, 1, 0, 0x42, 0, 0x0b, 1, 0, BODIES);
    MODULE(WM_REFUSED_INVALID, "unknown table", 9, 6, 1, 0, 0x41, 0, 0x0b, 0);
    AROUND(WM_REFUSED_MALFORMED, "segment kind", 9, 7, 1, 8, 0x41, 0, 0x0b, 1, 0, BODIES);
    for (uint8_t flags = 1; flags < 8; flags++) {
        AROUND(WM_REFUSED_UNSUPPORTED, "element segment", 9, 7, 1, flags, 0x41, 0, 0x0b, 1, 0, BODIES);
    }
    AROUND(WM_REFUSED_MALFORMED, "length", 9, 7, 1, 0, 0x41, 0, 0x0b, 9, 0, BODIES);
}

static void test_validate_data(void **state)
{
    (void)state;
    AROUND(-1, "", 12, 1, 1, BODIES, 11, 8, 1, 0, 0x41, 0, 0x0b, 2, 1, 2);
    AROUND(-1, "", 12, 1, 0, BODIES);
    AROUND(WM_REFUSED_MALFORMED, "data count", 12, 1, 2, BODIES, 11, 8, 1, 0, 0x41, 0, 0x0b, 2, 1, 2);
    AROUND(WM_REFUSED_MALFORMED, "data count", 12, 1, 1, BODIES);
    AROUND(WM_REFUSED_MALFORMED, "length", BODIES, 11, 8, 1, 0, 0x41, 0, 0x0b, 3, 1, 2);
    /* A length that would wrap a 32-bit pointer */
    AROUND(WM_REFUSED_MALFORMED, "length", BODIES, 11, 11, 1, 0, 0x41, 0, 0x0b, 0xf0, 0xff, 0xff, 0xff,
        0x0f, 1);
    AROUND(WM_REFUSED_INVALID, "type mismatch", BODIES, 11, 8, 1, 0, 0x42, 0, 0x0b, 2, 1, 2);
    AROUND(WM_REFUSED_UNSUPPORTED, "data segment", BODIES, 11, 5, 1, 1, 2, 1, 2);
    AROUND(WM_REFUSED_UNSUPPORTED, "data segment", BODIES, 11, 9, 1, 2, 0, 0x41, 0, 0x0b, 2, 1, 2);
    AROUND(WM_REFUSED_MALFORMED, "segment kind", BODIES, 11, 5, 1, 3, 2, 1, 2);
    MODULE(WM_REFUSED_INVALID, "unknown memory", 11, 6, 1, 0, 0x41, 0, 0x0b, 0);
}

static void test_validate_code_section(void **state)
{
    (void)state;
    AROUND(-1, "", BODIES);
    AROUND(WM_REFUSED_MALFORMED, "inconsistent", 10, 4, 1, 2, 0, 0x0b);
    AROUND(WM_REFUSED_MALFORMED, "inconsistent");
    MODULE(WM_REFUSED_MALFORMED, "inconsistent", 10, 4, 1, 2, 0, 0x0b);
    AROUND(WM_REFUSED_MALFORMED, "length", 10, 7, 2, 2, 0, 0x0b, 3, 0, 0x0b);
    AROUND(WM_REFUSED_MALFORMED, "after the end", 10, 8, 2, 2, 0, 0x0b, 3, 0, 0x0b, 0x01);
    AROUND(WM_REFUSED_MALFORMED, "unexpected end", 10, 7, 2, 2, 0, 0x01, 2, 0, 0x0b);
    AROUND(WM_REFUSED_MALFORMED, "unexpected end", 10, 5, 2, 2, 0, 0x0b, 0);
}

static void test_validate_name_section(void **state)
{
    (void)state;
    MODULE(-1, "", 0, 13, 4, 'n', 'a', 'm', 'e', 1, 6, 2, 0, 1, 'f', 1, 0);
    MODULE(-1, "", 0, 11, 4, 'n', 'a', 'm', 'e', 0, 1, 0, 2, 1, 9); /* other subsections: only their frames */
    MODULE(-1, "", 0, 7, 5, 'n', 'a', 'm', 'e', 's', 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "name section", 0, 11, 4, 'n', 'a', 'm', 'e', 1, 0xf0, 0xff, 0xff, 0xff,
        0x0f);
    MODULE(WM_REFUSED_UNSUPPORTED, "name section", 0, 12, 4, 'n', 'a', 'm', 'e', 1, 5, 2, 0, 1, 'f', 1);
    MODULE(WM_REFUSED_UNSUPPORTED, "name section", 0, 11, 4, 'n', 'a', 'm', 'e', 1, 4, 1, 0, 9, 'f');
    MODULE(WM_REFUSED_MALFORMED, "section id", 0, 7, 4, 'n', 'a', 'm', 'e', 1, 9, 20, 0);
}

static void test_validate_later_sections(void **state)
{
    (void)state;
    MODULE(WM_REFUSED_UNSUPPORTED, "exceptions", 13, 3, 1, 0, 0);
}

/* ---- instructions ---- */

static void test_validate_numeric_instructions(void **state)
{
    (void)state;
    /* First opcode, last opcode, operands, result */
    static const struct {
        uint8_t first, last;
        uint8_t operand, operands, result;
    } ops[] = {
        {0x45, 0x45, I, 1, I}, {0x46, 0x4f, I, 2, I}, {0x50, 0x50, L, 1, I}, {0x51, 0x5a, L, 2, I}, {0x5b,
            0x60, F, 2, I},
        {0x61, 0x66, D, 2, I}, {0x67, 0x69, I, 1, I}, {0x6a, 0x78, I, 2, I}, {0x79, 0x7b, L, 1, L}, {0x7c,
            0x8a, L, 2, L},
        {0x8b, 0x91, F, 1, F}, {0x92, 0x98, F, 2, F}, {0x99, 0x9f, D, 1, D}, {0xa0, 0xa6, D, 2, D}, {0xa7,
            0xa7, L, 1, I},
        {0xa8, 0xa9, F, 1, I}, {0xaa, 0xab, D, 1, I}, {0xac, 0xad, I, 1, L}, {0xae, 0xaf, F, 1, L}, {0xb0,
            0xb1, D, 1, L},
        {0xb2, 0xb3, I, 1, F}, {0xb4, 0xb5, L, 1, F}, {0xb6, 0xb6, D, 1, F}, {0xb7, 0xb8, I, 1, D}, {0xb9,
            0xba, L, 1, D},
        {0xbb, 0xbb, F, 1, D}, {0xbc, 0xbc, F, 1, I}, {0xbd, 0xbd, D, 1, L}, {0xbe, 0xbe, I, 1, F}, {0xbf,
            0xbf, L, 1, D},
        {0xc0, 0xc1, I, 1, I}, {0xc2, 0xc4, L, 1, L},
    };
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (unsigned op = ops[i].first; op <= ops[i].last; op++, seen++) {
            /* the right type is taken, the three others are not */
            for (uint8_t type = D; type <= I; type++) {
                const char params[] = {(char)ops[i].operand, (char)type, 0},
                    results[] = {(char)ops[i].result, 0};
                const uint8_t two[] = {0x20, 0, 0x20, 1, (uint8_t)op}, one[] = {0x20, 1, (uint8_t)op};
                build(params, results, ops[i].operands == 2 ? two : one, ops[i].operands == 2 ? 5 : 3);
                EXPECT(type == ops[i].operand ? -1 : WM_REFUSED_INVALID, "type mismatch");
                const char other[] = {(char)(ops[i].result == I ? L : I), 0};
                build(params, other, ops[i].operands == 2 ? two : one, ops[i].operands == 2 ? 5 : 3);
                EXPECT(WM_REFUSED_INVALID, "type mismatch");
            }
        }
    }
    assert_int_equal(seen, 0xc4 - 0x45 + 1);
    static const uint8_t sat_in[] = {F, F, D, D, F, F, D, D}, sat_out[] = {I, I, I, I, L, L, L, L};
    for (uint8_t op = 0; op < 8; op++) {
        const char params[] = {(char)sat_in[op], 0}, results[] = {(char)sat_out[op], 0};
        OK(params, results, 0x20, 0, 0xfc, op);
        INVALID("type mismatch", "", "", I0, 0xfc, op, 0x1a);
    }
}

static void test_validate_memory_instructions(void **state)
{
    (void)state;
    static const struct {
        uint8_t type, align;
    } access[] = {
        {I, 2}, {L, 3}, {F, 2}, {D, 3}, {I, 0}, {I, 0}, {I, 1}, {I, 1}, {L, 0}, {L, 0}, {L, 1}, {L, 1}, {L,
            2}, {L, 2},
        {I, 2}, {L, 3}, {F, 2}, {D, 3}, {I, 0}, {I, 1}, {L, 0}, {L, 1}, {L, 2},
    };
    for (uint8_t i = 0; i < sizeof access / sizeof access[0]; i++) {
        const uint8_t op = (uint8_t)(0x28 + i);
        const char type[] = {(char)access[i].type, 0}, other[] = {(char)(access[i].type == I ? L : I), 0};
        for (uint8_t align = 0; align < 5; align++) {
            if (op < 0x36) {
                CODE("", type, I0, op, align, 0x80, 1);
            } else {
                CODE(type, "", I0, 0x20, 0, op, align, 0x80, 1);
            }
            EXPECT(align <= access[i].align ? -1 : WM_REFUSED_INVALID, "alignment");
        }
        if (op < 0x36) {
            INVALID("type mismatch", "", other, I0, op, 0, 0);
            INVALID("type mismatch", "", type, L0, op, 0, 0);
        } else {
            INVALID("type mismatch", other, "", I0, 0x20, 0, op, 0, 0);
            INVALID("type mismatch", type, "", L0, 0x20, 0, op, 0, 0);
        }
    }
    OK("", INT, 0x3f, 0);
    OK(INT, INT, 0x20, 0, 0x40, 0);
    OK("", "", I0, I0, I0, 0xfc, 10, 0, 0);
    OK("", "", I0, I0, I0, 0xfc, 11, 0);
    INVALID("type mismatch", "", "", I0, L0, I0, 0xfc, 11, 0);
    INVALID("missing", "", "", I0, I0, 0xfc, 10, 0, 0);
    UNSUPPORTED("padded memory index", "", INT, 0x3f, 0x80, 0);
    MALFORMED("zero byte", "", INT, 0x3f, 1);
    /* Without a memory */
    static const uint8_t uses[][8] = {{I0, 0x28, 0, 0, 0x1a}, {I0, I0, 0x36, 0, 0}, {0x3f, 0, 0x1a}, {I0,
        0x40, 0, 0x1a}};
    for (size_t i = 0; i < 4; i++) {
        SECTIONS(1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 12, 1, 10, 0);
        put(uses[i], 8);
        byte(0x0b);
        EXPECT(WM_REFUSED_INVALID, "unknown memory");
    }
}

static void test_validate_variables(void **state)
{
    (void)state;
    OK(INT LONG, LONG, 0x20, 0, 0x21, 2, 0x20, 1, 0x22, 3);
    INVALID("unknown local", INT, "", 0x20, 5, 0x1a);
    INVALID("type mismatch", INT, "", L0, 0x21, 0);
    INVALID("type mismatch", INT, "", L0, 0x22, 0, 0x1a);
    INVALID("missing", INT, "", 0x21, 0);
    OK("", INT, I0, 0x24, 0, 0x23, 0);
    OK("", LONG, 0x23, 1);
    INVALID("immutable", "", "", L0, 0x24, 1);
    INVALID("unknown global", "", "", 0x23, 2, 0x1a);
    INVALID("type mismatch", "", "", L0, 0x24, 0);
}

static void test_validate_parametric(void **state)
{
    (void)state;
    OK("", "", F0, 0x1a);
    INVALID("missing", "", "", 0x1a);
    OK("", DBL, D0, D0, I0, 0x1b);
    INVALID("type mismatch", "", DBL, D0, F0, I0, 0x1b);
    INVALID("type mismatch", "", DBL, D0, D0, L0, 0x1b);
    INVALID("missing", "", DBL, D0, I0, 0x1b);
    OK("", FLT, 0x00, I0, 0x1b);
    OK("", FLT, 0x00, F0, I0, 0x1b);
    INVALID("type mismatch", "", DBL, 0x00, F0, I0, 0x1b);
    UNSUPPORTED("reference", "", INT, I0, I0, I0, 0x1c, 1, I);
}

static void test_validate_blocks(void **state)
{
    (void)state;
    OK("", "", 0x02, 0x40, END, 0x03, 0x40, END, I0, 0x04, 0x40, END, I0, 0x04, 0x40, 0x05, END);
    OK("", INT, 0x02, I, I0, END);
    OK("", INT, I0, 0x04, I, I0, 0x05, I0, END);
    OK("", INT, I0, 0x02, 2, 0x45, END);              /* (i32) -> (i32) */
    OK("", INT, I0, I0, 0x03, 3, 0x6a, END);          /* (i32 i32) -> (i32) */
    OK("", INT, I0, I0, 0x04, 2, 0x45, END);          /* if without else may pass its values through */
    OK("", INT INT, 0x02, 9, I0, I0, END);
    INVALID("missing", "", "", 0x02, I, END, 0x1a);
    INVALID("remain", "", "", 0x02, 0x40, I0, END);
    INVALID("type mismatch", "", "", 0x02, I, L0, END, 0x1a);
    INVALID("missing", "", "", I0, 0x02, 0x40, 0x1a, END, I0); /* what is below a block is not for it */
    INVALID("if without else", "", INT, I0, 0x04, I, I0, END);
    INVALID("missing", "", INT, I0, 0x04, I, I0, 0x05, END);
    INVALID("remain", "", INT, I0, 0x04, I, I0, I0, 0x05, I0, END);
    INVALID("type mismatch", "", "", L0, 0x04, 0x40, END);
    INVALID("missing", "", INT, 0x02, 2, END);
    INVALID("type mismatch", "", INT, L0, 0x02, 2, END);
    INVALID("unknown type", "", "", 0x02, 11, END);
    INVALID("unknown type", "", "", 0x02, 0xff, 0x7f, END); /* -1 in two bytes is no value type */
    MALFORMED("else without if", "", "", 0x05);
    MALFORMED("else without if", "", "", 0x02, 0x40, 0x05, END);
    MALFORMED("else without if", "", "", I0, 0x04, 0x40, 0x05, 0x05, END);
    MALFORMED("after the end", "", "", END, END);
    MALFORMED("value type", "", "", 0x02, 0x41, END);
    UNSUPPORTED("reference", "", "", 0x02, 0x70, END);
    INVALID("missing", "", INT, 0x01);
    INVALID("remain", "", "", I0);
}

static void test_validate_branches(void **state)
{
    (void)state;
    OK("", "", 0x0c, 0, 0x02, 0x40, 0x0c, 1, END);
    OK("", INT, I0, 0x0c, 0);
    OK("", INT, 0x02, I, I0, I0, 0x0d, 0, END);
    OK("", INT, 0x03, I, I0, 0x0c, 1, END);
    OK("", "", 0x03, 0x40, I0, 0x0d, 0, 0x0c, 0, END);
    OK("", INT, I0, 0x03, 2, I0, 0x0d, 0, END);            /* br_if to a loop carries its parameters */
    OK("", INT, 0x02, I, 0x02, I, I0, I0, 0x0e, 2, 0, 1, 1, END, END);
    INVALID("unknown label", "", "", 0x0c, 1);
    INVALID("unknown label", "", "", I0, 0x0d, 1);
    INVALID("unknown label", "", "", I0, 0x0e, 1, 1, 0);
    INVALID("unknown label", "", "", I0, 0x0e, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f);
    INVALID("missing", "", INT, 0x0c, 0);
    INVALID("type mismatch", "", INT, L0, 0x0c, 0);
    INVALID("missing", "", INT, I0, 0x0d, 0);
    INVALID("type mismatch", "", "", L0, 0x0d, 0);
    INVALID("different", "", INT, 0x02, 0x40, I0, I0, 0x0e, 1, 0, 1, END, I0);
    INVALID("type mismatch", "", INT, 0x02, L, I0, I0, 0x0e, 1, 0, 1, END, 0x1a, I0);
    MALFORMED("length", "", "", I0, 0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f, 0); /* count + 4 wraps: #570 */
    OK("", INT, I0, 0x0f);
    INVALID("missing", "", INT, 0x0f);
    INVALID("type mismatch", "", INT, F0, 0x0f);
}

static void test_validate_unreachable_code(void **state)
{
    (void)state;
    OK("", INT, 0x00);
    OK("", INT, 0x00, 0x6a);
    OK("", LONG, 0x00, I0, 0x6a, 0x1a, L0);
    OK("", INT, 0x00, 0x1a, 0x1a, 0x1a);
    OK("", INT, 0x02, 0x40, 0x0c, 0, 0x6a, 0x1a, END, I0);
    OK("", "", 0x00, 0x0d, 0);
    OK("", INT, 0x00, 0x0d, 0);
    INVALID("type mismatch", "", INT, 0x00, L0);
    INVALID("type mismatch", "", INT, 0x00, L0, I0, 0x6a);
    INVALID("remain", "", INT, 0x00, I0, I0);
    /* br_if made it an i32 result... */
    INVALID("type mismatch", "", LONG, 0x02, I, 0x00, 0x0d, 0, 0xac, END, 0x1a, L0);
    INVALID("missing", "", INT, 0x02, 0x40, 0x00, END, 0x1a, I0); /* reachable again after the block */
    INVALID("missing", "", "", 0x00, I0, 0x04, 0x40, 0x1a, 0x05, 0x1a, END);
    INVALID("type mismatch", "", "", 0x00, 0x0d, 0, L0, 0x45, 0x1a);
}

static void test_validate_calls(void **state)
{
    (void)state;
    OK("", INT, 0x10, 1, I0, 0x10, 2);
    OK("", INT, I0, I0, 0x11, 2, 0);
    INVALID("unknown function", "", "", 0x10, 4);
    INVALID("missing", "", INT, 0x10, 2);
    INVALID("type mismatch", "", INT, L0, 0x10, 2);
    INVALID("unknown type", "", "", I0, 0x11, 11, 0);
    INVALID("missing", "", INT, I0, 0x11, 2, 0);
    INVALID("type mismatch", "", INT, I0, L0, 0x11, 2, 0);
    UNSUPPORTED("-mcpu", "", INT, I0, I0, 0x11, 2, 0x80, 0x80, 0x80, 0x80, 0); /* as a linker pads it */
    MALFORMED("zero byte", "", INT, I0, I0, 0x11, 2, 1);
    SECTIONS(1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, I0, 0x11, 0, 0, 0x0b);
    EXPECT(WM_REFUSED_INVALID, "unknown table");
}

static void test_validate_unsupported_instructions(void **state)
{
    (void)state;
    UNSUPPORTED("exceptions", "", "", 0x06, 0x40, END);
    UNSUPPORTED("exceptions", "", "", 0x1f, 0x40, 0, END);
    UNSUPPORTED("tail calls", "", "", 0x12, 1);
    UNSUPPORTED("tail calls", "", "", I0, 0x13, 1, 0);
    UNSUPPORTED("reference", "", "", 0xd0, 0x70, 0x1a);
    UNSUPPORTED("reference", "", "", I0, 0x25, 0, 0x1a);
    UNSUPPORTED("SIMD", "", "", 0xfd, 12);
    UNSUPPORTED("atomic", "", "", 0xfe, 3, 0);
    UNSUPPORTED("garbage", "", "", 0xfb, 0);
    UNSUPPORTED("memory.init", "", "", I0, I0, I0, 0xfc, 8, 0, 0);
    UNSUPPORTED("data.drop", "", "", 0xfc, 9, 0);
    for (uint8_t op = 12; op <= 17; op++) {
        UNSUPPORTED("table instructions", "", "", 0xfc, op, 0);
    }
    UNSUPPORTED("padded opcode", "", INT, F0, 0xfc, 0x80, 0);
    MALFORMED("unknown opcode", "", "", 0xfc, 18);
    static const uint8_t unknown[] = {0x0b + 0x1c, 0xc5, 0xc6, 0xcf, 0xe0, 0xfa, 0xff, 0x16, 0x17, 0x1d,
        0x1e};
    for (size_t i = 0; i < sizeof unknown; i++) {
        MALFORMED("unknown opcode", "", "", unknown[i]);
    }
}

static void test_validate_tells_where(void **state)
{
    (void)state;
    AROUND(WM_REFUSED_INVALID, "type mismatch", 10, 11, 2, 2, 0, 0x0b, 6, 0, 0x01, L0, 0x45, 0x0b);
    assert_int_equal(refused.function, 1);
    assert_int_equal(refused.offset, m.len - 2); /* of i32.eqz */
    AROUND(WM_REFUSED_INVALID, "unknown function", 8, 1, 7, BODIES);
    assert_int_equal(refused.function, -1);
    assert_int_equal(m.bytes[refused.offset], 7);
    MODULE(WM_REFUSED_MALFORMED, "unexpected end", 1, 3, 1, 0x60, 0);
    assert_int_equal(refused.offset, m.len);
}

static void test_validate_needs_its_scratch(void **state)
{
    (void)state;
    static _Alignas(8) uint8_t scratch[WM_VALIDATE_SCRATCH_BYTES];
    header();
    assert_int_equal(wm_validate(wm_span(m.bytes, m.len), scratch, sizeof scratch - 1, &refused),
        WM_ERR_NOSPACE);
    assert_int_equal(wm_validate(wm_span(m.bytes, m.len), scratch, sizeof scratch, &refused), 0);
}

/* ---- limits, from both sides ---- */

static void types(uint32_t n)
{
    header();
    byte(1);
    const size_t at = open_at();
    leb(n);
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(0x60, 0, 0));
    }
    close_at(at);
}

static void test_validate_limit_types(void **state)
{
    (void)state;
    types(WM_MODULE_TYPES);
    ACCEPTED();
    types(WM_MODULE_TYPES + 1);
    EXPECT(WM_REFUSED_LIMIT, "too many types");
}

static void wide_type(uint32_t params, uint32_t results)
{
    header();
    byte(1);
    const size_t at = open_at();
    put(BYTES(1, 0x60));
    leb(params);
    repeat(D, params);
    leb(results);
    repeat(D, results);
    close_at(at);
}

static void test_validate_limit_parameters_and_results(void **state)
{
    (void)state;
    wide_type(WM_MODULE_PARAMS, WM_MODULE_RESULTS);
    ACCEPTED();
    wide_type(WM_MODULE_PARAMS + 1, 0);
    EXPECT(WM_REFUSED_LIMIT, "too many parameters");
    wide_type(0, WM_MODULE_RESULTS + 1);
    EXPECT(WM_REFUSED_LIMIT, "too many results");
    wide_type(0, 900); /* the heap overflow of wasm3 0.5.0 as it comes */
    EXPECT(WM_REFUSED_LIMIT, "too many results");
}

static void functions(uint32_t imports, uint32_t n)
{
    types(1);
    byte(2);
    size_t at = open_at();
    leb(imports);
    for (uint32_t i = 0; i < imports; i++) {
        put(BYTES(1, 'a', 1, 'b', 0, 0));
    }
    close_at(at);
    byte(3);
    at = open_at();
    leb(n);
    repeat(0, n);
    close_at(at);
    byte(10);
    at = open_at();
    leb(n);
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(2, 0, 0x0b));
    }
    close_at(at);
}

static void test_validate_limit_functions(void **state)
{
    (void)state;
    functions(0, WM_MODULE_FUNCTIONS);
    ACCEPTED();
    functions(1, WM_MODULE_FUNCTIONS - 1);
    ACCEPTED();
    functions(0, WM_MODULE_FUNCTIONS + 1);
    EXPECT(WM_REFUSED_LIMIT, "too many functions");
    functions(1, WM_MODULE_FUNCTIONS);
    EXPECT(WM_REFUSED_LIMIT, "too many functions");
    functions(WM_MODULE_FUNCTIONS + 1, 0);
    EXPECT(WM_REFUSED_LIMIT, "too many functions");
}

static void globals(uint32_t imports, uint32_t n)
{
    header();
    byte(2);
    size_t at = open_at();
    leb(imports);
    for (uint32_t i = 0; i < imports; i++) {
        put(BYTES(1, 'a', 1, 'b', 3, I, 0));
    }
    close_at(at);
    byte(6);
    at = open_at();
    leb(n);
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(I, 0, 0x41, 0, 0x0b));
    }
    close_at(at);
}

static void test_validate_limit_globals(void **state)
{
    (void)state;
    globals(0, WM_MODULE_GLOBALS);
    ACCEPTED();
    globals(WM_MODULE_GLOBALS - 1, 1);
    ACCEPTED();
    globals(1, WM_MODULE_GLOBALS);
    EXPECT(WM_REFUSED_LIMIT, "too many globals");
    globals(WM_MODULE_GLOBALS + 1, 0);
    EXPECT(WM_REFUSED_LIMIT, "too many globals");
}

static void exports(uint32_t n, uint32_t name_bytes)
{
    header();
    put(BYTES(5, 3, 1, 0, 1, 7));
    const size_t at = open_at();
    leb(n);
    for (uint32_t i = 0; i < n; i++) {
        leb(name_bytes);
        repeat('x', name_bytes - 3);
        put(BYTES((uint8_t)('0' + i / 400), (uint8_t)('0' + i / 20 % 20), (uint8_t)('0' + i % 20)));
        put(BYTES(2, 0));
    }
    close_at(at);
}

static void test_validate_limit_exports_and_names(void **state)
{
    (void)state;
    exports(WM_MODULE_EXPORTS, 3);
    ACCEPTED();
    exports(WM_MODULE_EXPORTS + 1, 3);
    EXPECT(WM_REFUSED_LIMIT, "too many exports");
    exports(1, WM_MODULE_NAME_BYTES);
    ACCEPTED();
    exports(1, WM_MODULE_NAME_BYTES + 1);
    EXPECT(WM_REFUSED_LIMIT, "a name is too long");
}

static void segments(uint32_t n)
{
    header();
    put(BYTES(5, 3, 1, 0, 1, 11));
    const size_t at = open_at();
    leb(n);
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(0, 0x41, 0, 0x0b, 0));
    }
    close_at(at);
}

static void elements(uint32_t offset)
{
    types(1);
    put(BYTES(3, 2, 1, 0, 4, 4, 1, 0x70, 0, 0, 9));
    const size_t at = open_at();
    put(BYTES(1, 0, 0x41));
    repeat(0x80 | (offset & 0x7f), 1);
    byte(0x80 | (offset >> 7 & 0x7f));
    byte(0x80 | (offset >> 14 & 0x7f));
    byte(offset >> 21 & 0x3f);
    put(BYTES(0x0b, 1, 0));
    close_at(at);
    put(BYTES(10, 4, 1, 2, 0, 0x0b));
}

static void test_validate_limit_segments_and_table(void **state)
{
    (void)state;
    segments(WM_MODULE_SEGMENTS);
    ACCEPTED();
    segments(WM_MODULE_SEGMENTS + 1);
    EXPECT(WM_REFUSED_LIMIT, "too many segments");
    elements(WM_MODULE_TABLE - 1);
    ACCEPTED();
    elements(WM_MODULE_TABLE);
    EXPECT(WM_REFUSED_LIMIT, "table is too large");
}

static void nested(uint32_t depth)
{
    begin("", "");
    begin_code(BYTES(0));
    for (uint32_t i = 0; i < depth; i++) {
        put(BYTES(0x02, 0x40));
    }
    repeat(END, depth);
    finish_code();
}

static void test_validate_limit_nesting(void **state)
{
    (void)state;
    nested(WM_MODULE_NESTING - 1); /* and the function itself */
    ACCEPTED();
    nested(WM_MODULE_NESTING);
    EXPECT(WM_REFUSED_LIMIT, "nested too deeply");
}

static void br_table(uint32_t n)
{
    begin("", "");
    begin_code(BYTES(0));
    put(BYTES(I0, 0x0e));
    leb(n);
    repeat(0, n + 1);
    finish_code();
}

static void test_validate_limit_br_table(void **state)
{
    (void)state;
    br_table(WM_MODULE_BR_TABLE);
    ACCEPTED();
    br_table(WM_MODULE_BR_TABLE + 1);
    EXPECT(WM_REFUSED_LIMIT, "br_table");
}

static void long_code(uint32_t bytes)
{
    begin("", "");
    begin_code(BYTES(0));
    repeat(0x01, bytes - 2);
    finish_code();
}

static void test_validate_limit_sizes(void **state)
{
    (void)state;
    long_code(WM_MODULE_CODE_BYTES);
    ACCEPTED();
    long_code(WM_MODULE_CODE_BYTES + 1);
    EXPECT(WM_REFUSED_LIMIT, "code is too large");
    static uint8_t custom[WM_MODULE_MAX_BYTES + 1] = {0, 'a', 's', 'm', 1, 0, 0, 0, 0};
    for (uint32_t more = 0; more < 2; more++) {
        const uint32_t len = WM_MODULE_MAX_BYTES + more, rest = len - 14;
        for (unsigned i = 0; i < 5; i++) {
            custom[9 + i] = (uint8_t)((rest >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0));
        }
        expect_verdict(custom, len, more == 0 ? -1 : WM_REFUSED_LIMIT, "module is too large", __FILE__,
            __LINE__);
    }
}

static void locals(uint32_t n, uint8_t type)
{
    begin(INT, "");
    begin_code(BYTES(1));
    leb(n);
    byte(type);
    finish_code();
}

static void test_validate_limit_locals(void **state)
{
    (void)state;
    locals(WM_MODULE_LOCALS - 1, I); /* beside the parameter */
    ACCEPTED();
    locals(WM_MODULE_LOCALS, I);
    EXPECT(WM_REFUSED_LIMIT, "too many locals");
    locals(UINT32_MAX - 1, I);
    EXPECT(WM_REFUSED_LIMIT, "too many locals");
    begin(INT, "");
    begin_code(BYTES(2, 0xff, 0xff, 0xff, 0xff, 0x0f, I, 0xff, 0xff, 0xff, 0xff, 0x0f, I));
    finish_code();
    EXPECT(WM_REFUSED_MALFORMED, "too many locals");
    locals(1, 0x40);
    EXPECT(WM_REFUSED_MALFORMED, "value type");
}

/* Pairs of slots that constants take at most (validate_code.c). */
#define CONSTANT_PAIRS ((WM_MODULE_CONSTANTS + 3) / 2)

static void operands(uint32_t n)
{
    begin("", "");
    begin_code(BYTES(0));
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(I0));
    }
    repeat(0x1a, n);
    finish_code();
}

static void test_validate_limit_operands(void **state)
{
    (void)state;
    operands(WM_MODULE_HEIGHT - CONSTANT_PAIRS);
    ACCEPTED();
    operands(WM_MODULE_HEIGHT - CONSTANT_PAIRS + 1);
    EXPECT(WM_REFUSED_LIMIT, "parameters, locals and operands");
    operands(WM_MODULE_HEIGHT + 5);
    EXPECT(WM_REFUSED_LIMIT, "operands");
}

/* A block keeps places for its results: n blocks of two are 2 * n operands. */
static void open_results(uint32_t n)
{
    begin("", "");
    begin_code(BYTES(1, 100, I));
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(0x02, 9));
    }
    put(BYTES(I0, I0));
    repeat(END, n);
    put(BYTES(0x1a, 0x1a));
    finish_code();
}

static void test_validate_limit_results_of_open_blocks(void **state)
{
    (void)state;
    const uint32_t most = (WM_MODULE_HEIGHT - 100 - 2) / 2;
    open_results(most);
    ACCEPTED();
    open_results(most + 1);
    EXPECT(WM_REFUSED_LIMIT, "parameters, locals and operands");
}

/* f(f(f(...))): each result lies above the last one. 300 of them overflow a table of wasm3 0.5.0. */
static void call_chain(uint32_t n)
{
    begin("", "");
    begin_code(BYTES(0));
    put(BYTES(I0));
    for (uint32_t i = 0; i < n; i++) {
        put(BYTES(0x10, 2));
    }
    byte(0x1a);
    finish_code();
}

static void test_validate_limit_chained_calls(void **state)
{
    (void)state;
    const uint32_t most = WM_MODULE_HEIGHT - CONSTANT_PAIRS - 1;
    call_chain(most);
    ACCEPTED();
    call_chain(most + 1);
    EXPECT(WM_REFUSED_LIMIT, "nested too deeply");
    call_chain(300);
    EXPECT(WM_REFUSED_LIMIT, "nested too deeply");
    /* A local between them brings the next result down again. */
    begin("", "");
    begin_code(BYTES(1, 1, I));
    for (uint32_t i = 0; i < 300; i++) {
        put(BYTES(0x20, 0, 0x10, 2, 0x21, 0));
    }
    finish_code();
    ACCEPTED();
}

/* ---- shapes that wasm3 0.5.0 does not survive, or gets wrong; and their nearest neighbours ---- */

static void test_validate_limit_float_branch_past_values(void **state)
{
    (void)state;
    const char *const text = "carries a float past";
    LIMIT(text, "", "", 0x02, F, F0, F0, 0x0c, 0, END, 0x1a); /* #465 */
    LIMIT(text, "", "", 0x02, F, I0, F0, 0x0c, 0, END, 0x1a);
    LIMIT(text, "", "", 0x02, D, D0, D0, I0, 0x0d, 0, 0xa0, END, 0x1a);
    LIMIT(text, "", "", 0x02, D, L0, D0, I0, 0x0e, 0, 0, END, 0x1a);
    /* past the value of another block */
    LIMIT(text, "", "", 0x02, F, I0, 0x02, 0x40, F0, 0x0c, 1, END, 0x1a, F0, END, 0x1a);
    /* past another block's result */
    LIMIT(text, "", "", 0x02, F, 0x02, I, F0, 0x0c, 1, END, 0x1a, F0, END, 0x1a);
    /* br_if with two values */
    LIMIT(text, "", "", 0x02, 10, D0, F0, I0, 0x0d, 0, END, 0x1a, 0x1a);
    OK("", "", 0x02, F, F0, 0x0c, 0, END, 0x1a);
    OK("", "", 0x02, F, F0, I0, 0x0d, 0, END, 0x1a);
    OK("", "", 0x02, F, 0x02, 0x40, F0, 0x0c, 1, END, F0, END, 0x1a);
    OK("", "", 0x02, 10, D0, F0, 0x0c, 0, END, 0x1a, 0x1a);
    OK("", "", 0x02, I, F0, I0, 0x0c, 0, END, 0x1a);     /* integers stay out of the way */
    OK("", FLT, F0, F0, 0x0c, 0);                        /* so do a function's results */
    OK("", "", 0x02, F, 0x00, F0, F0, 0x0c, 0, END, 0x1a); /* it compiles nothing here */
}

static void test_validate_limit_result_mixes(void **state)
{
    (void)state;
    LIMIT("three or more results", "", "", 0x02, 6, I0, I0, F0, END, 0x1a, 0x1a, 0x1a);
    LIMIT("32 bits and f64", "", "", 0x02, 5, I0, D0, END, 0x1a, 0x1a);
    LIMIT("64-bit value before", "", "", 0x02, 4, L0, I0, I0, END, 0x1a, 0x1a, 0x1a);
    OK("", "", 0x02, 10, D0, F0, END, 0x1a, 0x1a);
    OK("", "", 0x02, 9, I0, I0, END, 0x1a, 0x1a);
    OK("", INT INT FLT, I0, I0, F0); /* a function may return what it likes */
    OK("", LONG INT INT, L0, I0, I0);
}

static void test_validate_limit_loop_parameters(void **state)
{
    (void)state;
    LIMIT("br to a loop", "", "", I0, 0x03, 8, 0x1a, I0, 0x0c, 0, END);
    OK("", "", I0, 0x03, 8, 0x22, 0, 0x20, 0, 0x0d, 0, 0x1a, END);
    OK("", "", I0, 0x03, 8, I0, 0x0e, 0, 0, END);
    OK("", "", 0x03, 0x40, 0x0c, 0, END);
    LIMIT("branch to a loop", "", "", I0, 0x03, 8, 0x00, 0x0d, 0, 0x1a, END);
    LIMIT("branch to a loop", "", "", I0, 0x03, 8, 0x00, 0x0e, 0, 0, END);
}

static void test_validate_limit_parameters_beyond_reach(void **state)
{
    (void)state;
    const char *const text = "parameters in code that cannot be reached";
    LIMIT(text, "", "", 0x00, 0x02, 8, 0x1a, END);
    LIMIT(text, "", "", 0x00, 0x03, 2, END, 0x1a);
    LIMIT(text, "", "", 0x00, 0x04, 8, 0x1a, 0x05, 0x1a, END);
    LIMIT(text, "", "", 0x00, I0, 0x02, 8, 0x1a, END);
    LIMIT(text, "", "", 0x00, 0x02, 0x40, I0, 0x02, 8, 0x1a, END, END);
    OK("", "", 0x00, 0x02, 0x40, END);
    OK("", "", 0x02, 0x40, 0x00, END, I0, 0x02, 8, 0x1a, END);
}

static void test_validate_limit_shared_locals(void **state)
{
    (void)state;
    const char *const same = "the same local as another", *const twice = "an operand twice";
    LIMIT(same, INT, "", 0x20, 0, 0x20, 0, 0x02, 3, 0x6a, END, 0x1a);
    LIMIT(same, INT, "", 0x20, 0, 0x20, 0, 0x02, 8, 0x1a, END, 0x1a);
    OK(INT INT, "", 0x20, 0, 0x20, 1, 0x02, 3, 0x6a, END, 0x1a);
    OK(INT, "", 0x20, 0, 0x20, 0, 0x6a, 0x1a);
    LIMIT(twice, LONG, "", 0x20, 0, 0x20, 0, L0, 0x21, 0, 0x7c, 0x1a);
    LIMIT(twice, LONG, "", 0x20, 0, 0x20, 0, 0x21, 0, 0x1a);
    LIMIT(twice, DBL, "", 0x20, 0, 0x20, 0, D0, 0x22, 0, 0x1a, 0xa0, 0x1a);
    LIMIT(twice, LONG, "", 0x20, 0, 0x20, 0, 0x02, 0x40, END, 0x7c, 0x1a);
    /* also where nobody comes */
    LIMIT(twice, LONG, "", 0x00, 0x20, 0, 0x20, 0, I0, 0x0d, 0, L0, 0x21, 0, 0x7c, 0x1a);
    OK(LONG, "", 0x20, 0, 0x20, 0, 0x7c, 0x21, 0);
    OK(LONG, "", 0x20, 0, L0, 0x21, 0, 0x1a);
    /* each has a slot of its own by then */
    OK(LONG, "", 0x20, 0, L0, 0x21, 0, 0x20, 0, L0, 0x21, 0, 0x7c, 0x1a);
    OK(INT, "", 0x20, 0, 0x20, 0, I0, 0x21, 0, 0x6a, 0x1a);              /* 32 bits are counted well */
    OK(LONG LONG, "", 0x20, 0, 0x20, 1, L0, 0x21, 0, 0x7c, 0x1a);
}

static void test_validate_limit_operands_left_behind(void **state)
{
    (void)state;
    const char *const text = "leaves operands behind";
    LIMIT(text, "", "", 0x03, 0x40, I0, 0x0c, 0, 0x01, END);
    LIMIT(text, "", "", 0x00, I0, 0x0f, 0x01);
    LIMIT(text, "", "", 0x00, 0x02, 0x40, I0, 0x0f, 0x01, END); /* blocks inside are as dead to wasm3 */
    LIMIT(text, "", "", 0x00, I0, 0x04, 0x40, 0x05, I0, 0x0f, 0x01, END);
    OK("", "", I0, 0x04, 0x40, 0x00, 0x05, I0, 0x0f, 0x01, END);
    OK("", "", 0x03, 0x40, I0, 0x0c, 0, END);
    OK("", "", 0x03, 0x40, 0x0c, 0, 0x01, END);
    OK("", "", 0x00, I0, 0x0f);
    OK("", "", I0, 0x0f, 0x01);
    OK("", "", I0, 0x0c, 0, 0x01);
}

/* A limit does not hide that a module is invalid: other tools say the same of it then. */
static void test_validate_invalid_beats_limit(void **state)
{
    (void)state;
    INVALID("remain", "", "", 0x02, F, F0, F0, 0x0c, 0, END, 0x1a, I0);
    MALFORMED("unknown opcode", "", "", 0x02, F, F0, F0, 0x0c, 0, END, 0x1a, 0xff);
    /* the first */
    UNSUPPORTED("padded", "", INT, I0, I0, 0x11, 2, 0x80, 0, 0x1a, 0x02, F, F0, F0, 0x0c, 0, END, 0x1a, I0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validate_header),
        cmocka_unit_test(test_validate_sections_in_order_and_size),
        cmocka_unit_test(test_validate_leb128),
        cmocka_unit_test(test_validate_utf8),
        cmocka_unit_test(test_validate_types),
        cmocka_unit_test(test_validate_imports),
        cmocka_unit_test(test_validate_tables_and_memories),
        cmocka_unit_test(test_validate_globals),
        cmocka_unit_test(test_validate_exports),
        cmocka_unit_test(test_validate_start),
        cmocka_unit_test(test_validate_elements),
        cmocka_unit_test(test_validate_data),
        cmocka_unit_test(test_validate_code_section),
        cmocka_unit_test(test_validate_name_section),
        cmocka_unit_test(test_validate_later_sections),
        cmocka_unit_test(test_validate_numeric_instructions),
        cmocka_unit_test(test_validate_memory_instructions),
        cmocka_unit_test(test_validate_variables),
        cmocka_unit_test(test_validate_parametric),
        cmocka_unit_test(test_validate_blocks),
        cmocka_unit_test(test_validate_branches),
        cmocka_unit_test(test_validate_unreachable_code),
        cmocka_unit_test(test_validate_calls),
        cmocka_unit_test(test_validate_unsupported_instructions),
        cmocka_unit_test(test_validate_tells_where),
        cmocka_unit_test(test_validate_needs_its_scratch),
        cmocka_unit_test(test_validate_limit_types),
        cmocka_unit_test(test_validate_limit_parameters_and_results),
        cmocka_unit_test(test_validate_limit_functions),
        cmocka_unit_test(test_validate_limit_globals),
        cmocka_unit_test(test_validate_limit_exports_and_names),
        cmocka_unit_test(test_validate_limit_segments_and_table),
        cmocka_unit_test(test_validate_limit_nesting),
        cmocka_unit_test(test_validate_limit_br_table),
        cmocka_unit_test(test_validate_limit_sizes),
        cmocka_unit_test(test_validate_limit_locals),
        cmocka_unit_test(test_validate_limit_operands),
        cmocka_unit_test(test_validate_limit_results_of_open_blocks),
        cmocka_unit_test(test_validate_limit_chained_calls),
        cmocka_unit_test(test_validate_limit_float_branch_past_values),
        cmocka_unit_test(test_validate_limit_result_mixes),
        cmocka_unit_test(test_validate_limit_loop_parameters),
        cmocka_unit_test(test_validate_limit_parameters_beyond_reach),
        cmocka_unit_test(test_validate_limit_shared_locals),
        cmocka_unit_test(test_validate_limit_operands_left_behind),
        cmocka_unit_test(test_validate_invalid_beats_limit),
    };
    return cmocka_run_group_tests_name("validate", tests, NULL, NULL);
}

/* The allocator against a model: what it hands out keeps its content, is aligned, overlaps nothing, and comes
 * back whole. Under AddressSanitizer the heap also poisons what it has not handed out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "wasmote/err.h"
#include "wasmote/port.h"

_Noreturn void wm_port_panic(const char *file, int line)
{
    mock_assert(0, "WM_ASSERT", file, line); /* jumps back into expect_assert_failure */
    abort();
}

#define REGION 4096
#define HEAD   (sizeof(void *) == 8 ? 16u : 8u) /* before the first tag: a multiple of 8, and 4 bytes more */

static void *region(size_t bytes)
{
    void *mem = aligned_alloc(8, (bytes + 7) / 8 * 8);
    assert_non_null(mem);
    return mem;
}

static void test_heap_refuses_a_region_too_small(void **state)
{
    (void)state;
    void *mem = region(64);
    assert_null(wm_heap_init(mem, 0));
    assert_null(wm_heap_init(mem, 16));
    assert_null(wm_heap_init(mem, HEAD + 8));
    struct wm_heap *h = wm_heap_init(mem, HEAD + 16); /* one piece of the smallest size */
    assert_non_null(h);
    assert_int_equal(wm_heap_total_bytes(h), 4);
    assert_non_null(wm_heap_alloc(h, 4));
    assert_null(wm_heap_alloc(h, 0));
    free(mem);
}

static void test_heap_empty_gives_all_of_it(void **state)
{
    (void)state;
    void *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    const size_t total = wm_heap_total_bytes(h);
    assert_true(total >= REGION - HEAD - 12);
    assert_int_equal(wm_heap_largest(h), total);
    assert_int_equal(wm_heap_free_bytes(h), total);
    assert_null(wm_heap_alloc(h, total + 1));
    void *all = wm_heap_alloc(h, total);
    assert_non_null(all);
    assert_int_equal(wm_heap_largest(h), 0);
    assert_int_equal(wm_heap_free_bytes(h), 0);
    assert_null(wm_heap_alloc(h, 1));
    memset(all, 0x55, total);
    wm_heap_free(h, all);
    assert_int_equal(wm_heap_largest(h), total);
    assert_null(wm_heap_alloc(h, SIZE_MAX));
    assert_null(wm_heap_alloc(h, SIZE_MAX - 7));
    assert_null(wm_heap_alloc(h, (size_t)UINT32_MAX - 2));
    wm_heap_free(h, NULL);
    free(mem);
}

static void test_heap_first_fit_by_address(void **state)
{
    (void)state;
    void *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 100), *b = wm_heap_alloc(h, 20);
    char *c = wm_heap_alloc(h, 300), *d = wm_heap_alloc(h, 20);
    assert_true(a < b && b < c && c < d);
    wm_heap_free(h, c);
    wm_heap_free(h, a);
    assert_ptr_equal(wm_heap_alloc(h, 100), a); /* the lowest that fits, not the one freed last */
    assert_ptr_equal(wm_heap_alloc(h, 200), c);
    wm_heap_free(h, a);
    wm_heap_free(h, b);
    char *e = wm_heap_alloc(h, 124); /* a and b joined */
    assert_ptr_equal(e, a);
    free(mem);
}

static void test_heap_resize_in_place(void **state)
{
    (void)state;
    void *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_resize(h, NULL, 64);
    memset(a, 'a', 64);
    char *b = wm_heap_alloc(h, 64);
    memset(b, 'b', 64);
    assert_ptr_equal(wm_heap_resize(h, a, 10), a);
    assert_ptr_equal(wm_heap_resize(h, a, 60), a); /* what it gave back is still beside it */
    wm_heap_free(h, b);
    assert_ptr_equal(wm_heap_resize(h, a, 1000), a);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(a[i], 'a');
    }
    const size_t total = wm_heap_total_bytes(h);
    assert_null(wm_heap_resize(h, a, total + 1));
    assert_null(wm_heap_resize(h, a, SIZE_MAX));
    assert_ptr_equal(wm_heap_resize(h, a, total), a);
    assert_int_equal(wm_heap_free_bytes(h), 0);
    assert_ptr_equal(wm_heap_resize(h, a, 0), a);
    wm_heap_free(h, a);
    assert_int_equal(wm_heap_free_bytes(h), total);
    free(mem);
}

static void test_heap_resize_moves(void **state)
{
    (void)state;
    void *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 1000), *wall = wm_heap_alloc(h, 8);
    memset(a, 'a', 1000);
    char *moved = wm_heap_resize(h, a, 1500);
    assert_true(moved > wall);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(moved[i], 'a');
    }
    /* 1000 free, the wall, 1500 in use, 1500 free: 2800 fits nowhere, but with the free piece before the wall
     * gone it fits if the piece slides down. */
    wm_heap_free(h, wall);
    char *slid = wm_heap_resize(h, moved, 3900);
    assert_ptr_equal(slid, a);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(slid[i], 'a');
    }
    wm_heap_free(h, slid);
    assert_int_equal(wm_heap_free_bytes(h), wm_heap_total_bytes(h));
    free(mem);
}

static void test_heap_trim_gives_back_the_top(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 100), *b = wm_heap_alloc(h, 200), *c = wm_heap_alloc(h, 300);
    memset(b, 'b', 200);
    wm_heap_free(h, c);
    wm_heap_free(h, a);
    const size_t need = wm_heap_trim(h);
    assert_true(need % 8 == 0 && need <= HEAD + 336 && need >= (size_t)(b + 200 - mem));
    memset(mem + need, 0xff, REGION - need); /* the caller's again */
    assert_int_equal(wm_heap_trim(h), need);
    assert_null(wm_heap_alloc(h, 101));
    assert_ptr_equal(wm_heap_alloc(h, 100), a);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(b[i], 'b');
    }
    wm_heap_free(h, b);
    wm_heap_free(h, a);
    assert_int_equal(wm_heap_free_bytes(h), wm_heap_total_bytes(h));
    assert_int_equal(wm_heap_trim(h), HEAD + 8); /* nothing left: the head and the sentinel */
    assert_null(wm_heap_alloc(h, 1));
    free(mem);
}

static void test_heap_alloc_high_takes_the_far_end(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    const size_t total = wm_heap_total_bytes(h);
    char *low = wm_heap_alloc(h, 100);
    char *high = wm_heap_alloc_high(h, 100), *next = wm_heap_alloc_high(h, 100);
    assert_true(low < next && next < high && high + 108 > mem + REGION - 8);
    memset(high, 'h', 100);
    memset(next, 'n', 100);
    assert_ptr_equal(wm_heap_alloc_high(h, wm_heap_largest(h)), low + 104); /* the piece between, whole */
    assert_int_equal(wm_heap_free_bytes(h), 0);
    assert_null(wm_heap_alloc_high(h, 1));
    wm_heap_free(h, low + 104);
    wm_heap_free(h, high);
    assert_ptr_equal(wm_heap_alloc_high(h, 60), high + 40); /* the end of the last piece that does */
    assert_true((char *)wm_heap_alloc_high(h, 60) < next);
    assert_null(wm_heap_alloc_high(h, SIZE_MAX));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(next[i], 'n');
    }
    assert_true(wm_heap_free_bytes(h) < total);
    free(mem);
}

static void test_heap_alloc_piece_takes_all_of_the_first_that_does(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 100), *b = wm_heap_alloc(h, 20), *c = wm_heap_alloc(h, 300), *d = wm_heap_alloc(h, 20);
    wm_heap_free(h, a);
    wm_heap_free(h, c);
    size_t bytes = 0;
    assert_ptr_equal(wm_heap_alloc_piece(h, 101, &bytes), c); /* a has 100 */
    assert_int_equal(bytes, 300);
    memset(c, 'c', bytes);
    assert_ptr_equal(wm_heap_resize(h, c, 150), c);
    assert_ptr_equal(wm_heap_alloc_piece(h, 60, &bytes), a);
    assert_int_equal(bytes, 100);
    assert_ptr_equal(wm_heap_alloc_piece(h, 60, &bytes), c + 160); /* what c gave back */
    assert_null(wm_heap_alloc_piece(h, wm_heap_largest(h) + 1, &bytes));
    assert_null(wm_heap_alloc_piece(h, SIZE_MAX, &bytes));
    assert_true((char *)wm_heap_alloc_piece(h, wm_heap_largest(h), &bytes) > d);
    assert_int_equal(wm_heap_free_bytes(h), 0);
    assert_true(b < c);
    free(mem);
}

/* Free bytes do not depend on where they lie, so they are the same again after whatever was done and undone. */
static void test_heap_free_bytes_are_the_same_in_pieces(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *first = wm_heap_alloc(h, 200);
    const size_t with_one = wm_heap_free_bytes(h);
    char *second = wm_heap_alloc(h, 200);
    wm_heap_free(h, first); /* a hole, then the second, then the rest */
    assert_int_equal(wm_heap_free_bytes(h), with_one);
    assert_true(wm_heap_largest(h) < with_one);
    wm_heap_free(h, second);
    assert_int_equal(wm_heap_free_bytes(h), wm_heap_total_bytes(h));
    free(mem);
}

static int tidied, tidy_answer;
static const void *tidy_first;

static int count_tidy(void *ctx, const void *first)
{
    assert_ptr_equal(ctx, &tidied);
    tidied++;
    tidy_first = first;
    return tidy_answer;
}

static void test_heap_asks_its_keeper_only_if_that_may_help(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 1000), *b = wm_heap_alloc(h, 1000);
    wm_heap_free(h, a);
    assert_int_equal(wm_heap_tidy(h, 1, NULL), WM_ERR_NOMEM); /* it has none */
    const struct wm_heap_keeper keeper = {.ctx = &tidied, .tidy = count_tidy};
    wm_heap_set_keeper(h, &keeper);
    const size_t all = wm_heap_free_bytes(h);
    assert_int_equal(wm_heap_tidy(h, all + 1, NULL), WM_ERR_NOMEM); /* more than there is */
    assert_int_equal(tidied, 0);
    assert_int_equal(wm_heap_tidy(h, all, NULL), 0);
    assert_int_equal(tidied, 1);
    tidy_answer = WM_ERR_BUSY;
    assert_int_equal(wm_heap_tidy(h, all, NULL), WM_ERR_BUSY);
    assert_int_equal(tidied, 2);
    a = wm_heap_alloc(h, 1000);
    assert_int_equal(wm_heap_tidy(h, 1, NULL), WM_ERR_NOMEM); /* one piece already */
    assert_int_equal(tidied, 2);
    assert_int_equal(wm_heap_tidy(h, 1, a), WM_ERR_BUSY); /* but not beside a */
    assert_ptr_equal(tidy_first, a);
    assert_true(b > a);
    free(mem);
}

static void test_heap_asserts_misuse(void **state)
{
    (void)state;
    char *mem = region(REGION);
    struct wm_heap *h = wm_heap_init(mem, REGION);
    char *a = wm_heap_alloc(h, 100), *b = wm_heap_alloc(h, 100), *c = wm_heap_alloc(h, 100);
    char local[8];
    expect_assert_failure(wm_heap_free(h, local));
    expect_assert_failure(wm_heap_free(h, a + 1));
    expect_assert_failure(wm_heap_free(h, mem + REGION));
    expect_assert_failure(wm_heap_init(mem + 4, 100));
    wm_heap_free(h, a);
    expect_assert_failure(wm_heap_free(h, a));
    wm_heap_free(h, b); /* joins a */
    expect_assert_failure(wm_heap_free(h, b));
    expect_assert_failure(wm_heap_resize(h, b, 8));
    wm_heap_free(h, c);
    assert_int_equal(wm_heap_free_bytes(h), wm_heap_total_bytes(h));
    free(mem);
}

#define PIECES 64

static struct piece {
    uint8_t *ptr;
    size_t   len;
    uint8_t  fill;
} pieces[PIECES];

static void check(const struct piece *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(p->ptr[i], p->fill);
    }
}

static uint32_t seed = 12345;
static uint32_t pick(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

/* As a keeper does it: all pointers, then the pieces. first: NULL, or one of them. */
static void pack(struct wm_heap *h, const struct piece *first)
{
    const uint8_t *const lead = first != NULL ? first->ptr : NULL;
    const size_t         free_before = wm_heap_free_bytes(h);
    for (int i = 0; i < PIECES; i++) {
        if (&pieces[i] != first) {
            pieces[i].ptr = wm_heap_packed(h, lead, pieces[i].ptr);
        }
    }
    uint8_t *const moved = wm_heap_packed(h, lead, lead);
    wm_heap_pack(h, lead);
    if (first != NULL) {
        pieces[first - pieces].ptr = moved;
    }
    for (int i = 0; i < PIECES; i++) {
        check(&pieces[i], pieces[i].len);
        assert_true(first == NULL || pieces[i].ptr == NULL || pieces[i].ptr >= moved);
    }
    assert_int_equal(wm_heap_free_bytes(h), free_before);
    assert_int_equal(wm_heap_largest(h), free_before);
}

/* What is first can grow into all that is free, in place or by sliding down. */
static void grow_first(struct wm_heap *h, struct piece *first)
{
    const size_t all = (first->len + 11) / 8 * 8 - 4 + (wm_heap_free_bytes(h) > 0 ? wm_heap_free_bytes(h) + 4 : 0);
    assert_null(wm_heap_resize(h, first->ptr, all + 1));
    uint8_t *const grown = wm_heap_resize(h, first->ptr, all);
    assert_non_null(grown);
    first->ptr = grown;
    check(first, first->len);
    assert_int_equal(wm_heap_free_bytes(h), 0);
    memset(grown, first->fill, all);
    first->len = all;
}

static void test_heap_random_operations(void **state)
{
    (void)state;
    size_t bytes = 6000;
    uint8_t *mem = region(bytes);
    struct wm_heap *h = wm_heap_init(mem, bytes);
    for (int round = 0; round < 100000; round++) {
        struct piece *p = &pieces[pick(PIECES)];
        const size_t len = 1 + (pick(8) ? pick(200) : pick(2000));
        const uint8_t fill = (uint8_t)pick(256);
        const size_t largest = wm_heap_largest(h), free_before = wm_heap_free_bytes(h);
        assert_true(largest <= free_before);
        if (!p->ptr) {
            size_t got = len;
            switch (pick(3)) {
            case 0: p->ptr = wm_heap_alloc(h, len); break;
            case 1: p->ptr = wm_heap_alloc_high(h, len); break;
            default:
                p->ptr = wm_heap_alloc_piece(h, len, &got);
                if (p->ptr) {
                    assert_true(got >= len && got <= largest);
                    memset(p->ptr, fill, got);
                    assert_ptr_equal(wm_heap_resize(h, p->ptr, len), p->ptr);
                }
                break;
            }
            assert_true((p->ptr != NULL) == (len <= largest));
            if (!p->ptr) {
                assert_int_equal(wm_heap_free_bytes(h), free_before);
                continue;
            }
        } else if (pick(3) == 0) {
            uint8_t *now = wm_heap_resize(h, p->ptr, len);
            const struct piece kept = {.ptr = now ? now : p->ptr, .fill = p->fill};
            check(&kept, now && len < p->len ? len : p->len);
            if (!now) {
                assert_true(len > p->len && len > largest);
                assert_int_equal(wm_heap_free_bytes(h), free_before);
                continue;
            }
            assert_true(len > p->len || now == p->ptr);
            p->ptr = now;
        } else {
            check(p, p->len);
            wm_heap_free(h, p->ptr);
            *p = (struct piece){0};
            continue;
        }
        assert_true((uintptr_t)p->ptr % 8 == 0 && p->ptr >= mem && p->ptr + len <= mem + bytes);
        p->len = len;
        p->fill = fill;
        memset(p->ptr, fill, len);
        if (round % 50 == 49) {
            struct piece *first = &pieces[pick(PIECES)];
            first = first->ptr != NULL ? first : NULL;
            pack(h, first);
            if (first != NULL && pick(4) == 0) {
                grow_first(h, first);
            }
        }
        if (round % 1000 == 999) { /* sometimes also from the top */
            const size_t need = wm_heap_trim(h);
            assert_true(need <= bytes);
            memset(mem + need, 0xff, bytes - need);
            for (int i = 0; i < PIECES; i++) {
                check(&pieces[i], pieces[i].len);
                assert_true(!pieces[i].ptr || pieces[i].ptr + pieces[i].len <= mem + need);
            }
            for (int i = 0; i < PIECES; i++) {
                wm_heap_free(h, pieces[i].ptr);
                pieces[i] = (struct piece){0};
            }
            assert_int_equal(wm_heap_free_bytes(h), wm_heap_total_bytes(h));
            assert_int_equal(wm_heap_largest(h), wm_heap_total_bytes(h));
            free(mem);
            bytes = HEAD + 16 + pick(8000);
            mem = region(bytes);
            h = wm_heap_init(mem, bytes);
        }
    }
    free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_refuses_a_region_too_small),
        cmocka_unit_test(test_heap_empty_gives_all_of_it),
        cmocka_unit_test(test_heap_first_fit_by_address),
        cmocka_unit_test(test_heap_resize_in_place),
        cmocka_unit_test(test_heap_resize_moves),
        cmocka_unit_test(test_heap_trim_gives_back_the_top),
        cmocka_unit_test(test_heap_alloc_high_takes_the_far_end),
        cmocka_unit_test(test_heap_alloc_piece_takes_all_of_the_first_that_does),
        cmocka_unit_test(test_heap_free_bytes_are_the_same_in_pieces),
        cmocka_unit_test(test_heap_asks_its_keeper_only_if_that_may_help),
        cmocka_unit_test(test_heap_asserts_misuse),
        cmocka_unit_test(test_heap_random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit.h"

#include <string.h>

#include "base/arena.h"

START_TEST(pieces_are_aligned_zeroed_and_apart)
{
    struct arena arena;
    ck_assert_int_eq(arena_init(&arena, 256), 0);
    uint8_t *a = arena_take(&arena, 3, 5), *b = arena_take(&arena, 1, 65);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq((uintptr_t)a % 64, 0);
    ck_assert_uint_eq((uintptr_t)b % 64, 0);
    ck_assert_int_ge(b - a, 15);
    memset(a, 0xff, 15);
    for (int i = 0; i < 65; i++)
        ck_assert_uint_eq(b[i], 0);
    arena_fini(&arena);
}
END_TEST

START_TEST(a_full_arena_gives_nothing)
{
    struct arena arena;
    ck_assert_int_eq(arena_init(&arena, 128), 0);
    ck_assert_ptr_nonnull(arena_take(&arena, 64, 1));
    ck_assert_ptr_null(arena_take(&arena, 65, 1));
    ck_assert_ptr_nonnull(arena_take(&arena, 64, 1));
    ck_assert_ptr_null(arena_take(&arena, 1, 1));
    arena_fini(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused)
{
    struct arena arena;
    ck_assert_int_eq(arena_init(&arena, 128), 0);
    ck_assert_ptr_null(arena_take(&arena, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(arena_take(&arena, SIZE_MAX, 1));
    ck_assert_ptr_null(arena_aligned(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(arena_aligned(SIZE_MAX - 5, 1));
    arena_fini(&arena);
    ck_assert_int_eq(arena_init(&arena, SIZE_MAX - 5), HANSE_ENOMEM);
    arena_fini(&arena);
}
END_TEST

START_TEST(reset_gives_the_same_memory_zeroed_again)
{
    struct arena arena;
    ck_assert_int_eq(arena_init(&arena, 100), 0);
    uint8_t *a = arena_take(&arena, 100, 1);
    ck_assert_ptr_nonnull(a);
    memset(a, 0xff, 100);
    arena_reset(&arena);
    uint8_t *b = arena_take(&arena, 100, 1);
    ck_assert_ptr_eq(a, b);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(b[i], 0);
    arena_fini(&arena);
}
END_TEST

START_TEST(aligned_memory_is_zeroed_even_when_empty)
{
    uint8_t *a = arena_aligned(7, 11), *none = arena_aligned(0, 8);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(none);
    ck_assert_uint_eq((uintptr_t)a % 64, 0);
    for (int i = 0; i < 77; i++)
        ck_assert_uint_eq(a[i], 0);
    free(a);
    free(none);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base/arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_test(tcase, pieces_are_aligned_zeroed_and_apart);
    tcase_add_test(tcase, a_full_arena_gives_nothing);
    tcase_add_test(tcase, sizes_that_overflow_are_refused);
    tcase_add_test(tcase, reset_gives_the_same_memory_zeroed_again);
    tcase_add_test(tcase, aligned_memory_is_zeroed_even_when_empty);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}

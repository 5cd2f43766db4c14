/* tests/unit/test_router_rows.c - rows as they travel: bytes, copies, rounding. */
#include "router/rows.h"

#include <math.h>
#include <string.h>

#include "base/random.h"
#include "unit.h"

#define WIDTH 5
#define N_ROWS 11

static const struct kernels *kernels;
static uint8_t bytes[3][4096];

static void draw(float *x, size_t n, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "rows");
    for (size_t i = 0; i < n; i++)
        x[i] = (rng_unit(&rng) * 2 - 1) * (float)(1 + i % 100);
}

static struct rows make(enum numerics form, uint8_t *at, const float *x)
{
    struct rows rows = rows_at(form, at, N_ROWS, WIDTH);
    if (form == NUMERICS_F32)
        memcpy((float *)rows.f32, x, sizeof(float) * N_ROWS * WIDTH);
    else
        ck_assert_int_eq(rows_round(kernels, &rows, x, N_ROWS, WIDTH), 0);
    rows_pad(form, at, N_ROWS);
    return rows;
}

START_TEST(test_layout)
{
    static const size_t n_bytes[] = {4 * N_ROWS * WIDTH, 16 + 2 * N_ROWS * WIDTH, 16 + N_ROWS * WIDTH};
    enum numerics form = (enum numerics)_i;
    float x[N_ROWS * WIDTH];
    draw(x, N_ROWS * WIDTH, 1);
    memset(bytes[0], 0xff, sizeof bytes[0]);
    struct rows rows = make(form, bytes[0], x);
    ck_assert_uint_eq(rows_bytes(form, N_ROWS, WIDTH), n_bytes[form]);
    ck_assert_uint_eq(rows_bytes(form, 8, WIDTH), form == NUMERICS_F32 ? 160 : 8 + 8 * WIDTH * numerics_slices(form));
    ck_assert_int_eq(rows_form(&rows), form);
    ck_assert(rows_are_there(&rows) && !rows_are_there(&(struct rows){0}));
    ck_assert(rows_are_padded(form, bytes[0], N_ROWS));
    if (form != NUMERICS_F32) { /* doc/protocol.md */
        ck_assert_ptr_eq(rows.exponent, (int8_t *)bytes[0]);
        ck_assert_ptr_eq(rows.high, (int8_t *)bytes[0] + 16);
        ck_assert_ptr_eq(rows.low, form == NUMERICS_I8X2 ? (int8_t *)bytes[0] + 16 + N_ROWS * WIDTH : NULL);
    }
    struct buf out;
    buf_init(&out, 4096);
    rows_append(&out, &rows, N_ROWS, WIDTH);
    ck_assert_uint_eq(out.n, n_bytes[form]);
    ck_assert_mem_eq(out.bytes, bytes[0], out.n);
    buf_fini(&out);
    for (size_t i = N_ROWS; form != NUMERICS_F32 && i < 16; i++) {
        bytes[0][i] = 1;
        ck_assert(!rows_are_padded(form, bytes[0], N_ROWS));
        bytes[0][i] = 0;
    }
}
END_TEST

START_TEST(test_copies)
{
    enum numerics form = (enum numerics)_i;
    static const uint32_t pick[] = {3, 0, 10, 3};
    float x[N_ROWS * WIDTH];
    draw(x, N_ROWS * WIDTH, 2);
    struct rows from = make(form, bytes[0], x), to = make(form, bytes[1], x), gathered = rows_at(form, bytes[2], N_ROWS, WIDTH);
    ck_assert(rows_equal(&from, &to, N_ROWS, WIDTH));
    rows_gather(&gathered, &from, pick, 4, WIDTH);
    for (size_t i = 0; i < 4; i++) {
        struct rows a = rows_from(&gathered, i, WIDTH), b = rows_from(&from, pick[i], WIDTH);
        ck_assert(rows_equal(&a, &b, 1, WIDTH));
    }
    ck_assert(!rows_equal(&from, &gathered, 4, WIDTH));
    /* a copy of rows 4 and 5, nothing beside them */
    struct rows here = rows_from(&to, 8, WIDTH), there = rows_from(&from, 4, WIDTH), last = rows_from(&to, 10, WIDTH),
                same = rows_from(&from, 10, WIDTH);
    rows_copy(&here, &there, 2, WIDTH);
    ck_assert(rows_equal(&here, &there, 2, WIDTH));
    ck_assert(rows_equal(&to, &from, 8, WIDTH) && rows_equal(&last, &same, 1, WIDTH));
}
END_TEST

/* Each part counts. */
START_TEST(test_differences_show)
{
    enum numerics form = (enum numerics)_i;
    float x[N_ROWS * WIDTH];
    draw(x, N_ROWS * WIDTH, 3);
    struct rows a = make(form, bytes[0], x), b = make(form, bytes[1], x);
    for (size_t i = 0; i < rows_bytes(form, N_ROWS, WIDTH); i++) {
        bool is_gap = form != NUMERICS_F32 && i >= N_ROWS && i < 16;
        bytes[1][i] ^= 0x10;
        ck_assert_int_eq(rows_equal(&a, &b, N_ROWS, WIDTH), is_gap);
        bytes[1][i] ^= 0x10;
    }
}
END_TEST

START_TEST(test_floats_again)
{
    enum numerics form = (enum numerics)_i;
    static const float error[] = {0, 0x1p-14f, 0x1p-6f}; /* of the largest in the row */
    float x[N_ROWS * WIDTH], y[N_ROWS * WIDTH];
    draw(x, N_ROWS * WIDTH, 4);
    struct rows rows = make(form, bytes[0], x);
    rows_floats(kernels, y, &rows, N_ROWS, WIDTH);
    for (size_t r = 0; r < N_ROWS; r++) {
        float most = 0;
        for (size_t i = r * WIDTH; i < (r + 1) * WIDTH; i++)
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        for (size_t i = r * WIDTH; i < (r + 1) * WIDTH; i++)
            ck_assert(fabsf(x[i] - y[i]) <= most * error[form]);
    }
    ck_assert(rows_are_sane(&rows, N_ROWS, WIDTH));
}
END_TEST

START_TEST(test_rows_that_cannot_be_rounded)
{
    enum numerics form = (enum numerics)_i;
    static const float bad[] = {NAN, INFINITY, -INFINITY, QUANTIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float x[N_ROWS * WIDTH];
        draw(x, N_ROWS * WIDTH, 5);
        struct rows rows = make(form, bytes[0], x), good = make(form, bytes[1], x);
        struct rows tail = rows_from(&rows, 8, WIDTH), good_tail = rows_from(&good, 8, WIDTH);
        x[7 * WIDTH + 2] = bad[i];
        ck_assert_int_eq(rows_round(kernels, &rows, x, N_ROWS, WIDTH), HANSE_EREJECT);
        ck_assert(!rows_are_sane(&rows, N_ROWS, WIDTH));
        ck_assert_int_eq(rows.exponent[7], QUANTIZE_BAD);
        for (size_t j = 0; j < WIDTH; j++)
            ck_assert_int_eq(rows.high[7 * WIDTH + j], 0);
        ck_assert(rows_equal(&rows, &good, 7, WIDTH) && rows_equal(&tail, &good_tail, N_ROWS - 8, WIDTH));
    }
}
END_TEST

/* A stranger's exponents: in the range of roundings or none. */
START_TEST(test_finite_integers)
{
    float x[N_ROWS * WIDTH] = {0};
    struct rows rows = make(NUMERICS_I8X2, bytes[0], x);
    memset(bytes[0] + 16, 0x80, 2 * N_ROWS * WIDTH); /* the largest integers that bytes can say */
    for (int e = -128; e < 128; e++) {
        bytes[0][N_ROWS - 1] = (uint8_t)e;
        bool is_ok = e >= QUANTIZE_EXPONENT_MIN && e <= QUANTIZE_EXPONENT_MAX;
        ck_assert_int_eq(rows_are_sane(&rows, N_ROWS, WIDTH), is_ok);
        ck_assert_int_eq(rows_are_usable(&rows, N_ROWS, WIDTH), is_ok && e <= ROWS_USABLE_EXPONENT_MAX);
        if (is_ok)
            rows_floats(kernels, x, &rows, N_ROWS, WIDTH);
        ck_assert(fabsf(x[N_ROWS * WIDTH - 1]) < 0x1p50f);
    }
    float y[] = {1, -0.0f, NAN, INFINITY, 2};
    ck_assert(rows_are_sane(&(struct rows){.f32 = y}, 2, 1));
    ck_assert(!rows_are_sane(&(struct rows){.f32 = y}, 3, 1));
    ck_assert(!rows_are_sane(&(struct rows){.f32 = y + 3}, 1, 2));
    float large[] = {0x1.fffffep49f, -0x1p50f, 3e38f};
    ck_assert(rows_are_sane(&(struct rows){.f32 = large}, 1, 1));
    ck_assert(!rows_are_sane(&(struct rows){.f32 = large + 1}, 1, 1) && !rows_are_sane(&(struct rows){.f32 = large + 2}, 1, 1));
    float usable[] = {-0x1.fffffep19f, 0x1p20f, -0x1p20f, NAN};
    for (size_t i = 0; i < sizeof usable / sizeof *usable; i++)
        ck_assert_int_eq(rows_are_usable(&(struct rows){.f32 = usable + i}, 1, 1), i == 0);
}
END_TEST

int main(void)
{
    if (kernels_choose(NULL, &kernels))
        return EXIT_FAILURE;
    Suite *suite = suite_create("router/rows");
    TCase *tc = tcase_create("all");
    tcase_add_loop_test(tc, test_layout, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_copies, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_differences_show, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_floats_again, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_rows_that_cannot_be_rounded, NUMERICS_I8X2, N_NUMERICS);
    tcase_add_test(tc, test_finite_integers);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

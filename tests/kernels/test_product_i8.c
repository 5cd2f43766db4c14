/* tests/kernels/test_product_i8.c - every exact-integer product against its definition. */
#include "tests/kernels/integers.h"
#include "tests/kernels/kernels_test.h"

#ifdef AMX_EMULATED
/* The same tests for the source of AMX over emulated instructions, which are slow: a seed takes one of the two widths of
 * the vectors beside them. */
extern const struct kernels amx_avx2_kernels, amx_avx512_kernels;

static void with_each(void (*check)(const struct kernels *k, const struct kernels *ref, int seed), int seed)
{
    const struct kernels *ref, *other;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    if (seed % 2 && kernels_choose("avx512", &other) == 0)
        check(&amx_avx512_kernels, ref, seed);
    else if (kernels_choose("avx2", &other) == 0)
        check(&amx_avx2_kernels, ref, seed);
}
#define with_each_isa with_each
#endif

#define SLACK 5 /* bytes or floats between rows beyond their length */

/* An operand of n lines of K, of exactly the bytes it spans; `is_k_near` says whether a line lies together. */
struct operand {
    int8_t *high, *low;
    size_t ld;
};

static struct operand operand(struct dice *dice, enum fill fill, size_t n_slices, size_t n, size_t K, bool is_k_near)
{
    size_t rows = is_k_near ? n : K, columns = is_k_near ? K : n;
    struct operand x = {.ld = columns + dice_below(dice, 2) * SLACK};
    size_t n_bytes = rows && columns ? (rows - 1) * x.ld + columns : 0;
    x.high = malloc(n_bytes ? n_bytes : 1);
    x.low = malloc(n_bytes ? n_bytes : 1);
    for (size_t i = 0; i < n_bytes; i++) {
        struct integer q = integer_draw(dice, fill, is_k_near ? i % x.ld : i / x.ld, K);
        x.high[i] = q.high;
        x.low[i] = q.low;
    }
    if (n_slices == 1) {
        free(x.low);
        x.low = NULL;
    }
    return x;
}

static void operand_free(struct operand *x)
{
    free(x->high);
    free(x->low);
}

/* Exponents from all of their range, of a small one as data has them, of those whose sum lies about the floor, or some refused. */
static int8_t *exponents(struct dice *dice, size_t n, int kind)
{
    int8_t *e = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        int any = QUANTIZE_EXPONENT_MIN + (int)dice_below(dice, QUANTIZE_EXPONENT_MAX - QUANTIZE_EXPONENT_MIN + 1);
        e[i] = (int8_t)(kind == 0 ? any : kind == 2 ? -52 - (int)dice_below(dice, 5) : -(int)dice_below(dice, 20));
        if (kind == 3 && dice_below(dice, 8) == 0)
            e[i] = QUANTIZE_BAD;
    }
    return e;
}

static void *packed(const struct kernels *k, struct slices b, size_t N, size_t K)
{
    void *p;
    size_t n_bytes = k->packed_bytes(N, K, b.low ? 2 : 1);
    ck_assert_int_eq(posix_memalign(&p, 64, n_bytes ? n_bytes : 1), 0);
    k->pack(p, b, N, K);
    return p;
}

struct shape {
    size_t M, N, K;
};

/* One product both ways.  `way`: a turned, b turned, accumulating, one or two slices, without exponents. */
static void check_way(const struct kernels *k, const struct kernels *ref, struct dice *dice, struct shape s, enum fill fill_a,
                      enum fill fill_b, int way)
{
    size_t n_slices = way & 8 ? 1 : 2, ldc = s.N + dice_below(dice, 2) * SLACK, n_c = s.M * ldc;
    struct operand a = operand(dice, fill_a, n_slices, s.M, s.K, !(way & 1));
    struct operand b = operand(dice, fill_b, n_slices, s.N, s.K, way & 2);
    struct slices as_a = {a.high, a.low, a.ld, way & 1}, as_b = {b.high, b.low, b.ld, way & 2};
    int kind = (int)dice_below(dice, 4);
    int8_t *ea = exponents(dice, s.M, kind), *eb = exponents(dice, s.N, kind);
    float *want = dice_floats(dice, (enum kind)dice_below(dice, NASTY), n_c), *got = copy_floats(want, n_c);
    void *for_k = packed(k, as_b, s.N, s.K), *for_ref = packed(ref, as_b, s.N, s.K);
    const int8_t *give_a = way & 16 ? NULL : ea, *give_b = way & 32 ? NULL : eb;
    ref->multiply(want, ldc, as_a, give_a, for_ref, give_b, s.M, s.N, s.K, way & 4);
    k->multiply(got, ldc, as_a, give_a, for_k, give_b, s.M, s.N, s.K, way & 4);
    char what[100];
    snprintf(what, sizeof what, "multiply %zu x %zu x %zu, fills %d and %d, way %d", s.M, s.N, s.K, fill_a, fill_b, way);
    assert_same(got, want, n_c, k->name, what);
    operand_free(&a), operand_free(&b);
    free(ea), free(eb), free(want), free(got), free(for_k), free(for_ref);
}

static void check_random(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    for (int way = 0; way < 64; way++) {
        struct shape s = {dice_below(&dice, 40), dice_below(&dice, 100), dice_below(&dice, 150)};
        check_way(k, ref, &dice, s, (enum fill)dice_below(&dice, N_FILLS), (enum fill)dice_below(&dice, N_FILLS), way);
    }
}

START_TEST(small_and_odd_shapes_have_the_bits_of_ref)
{
    with_each_isa(check_random, _i);
}
END_TEST

/* Every height of a tile, and every end of a panel. */
static void check_edges(const struct kernels *k, const struct kernels *ref, int seed)
{
    struct dice dice = {(uint64_t)seed};
    size_t K = 1 + dice_below(&dice, 70);
    for (size_t i = 1; i <= 66; i++) {
        struct shape high = {i, 1 + dice_below(&dice, 34), K}, wide = {1 + dice_below(&dice, 13), i, K};
        check_way(k, ref, &dice, high, ANY, ANY, (int)dice_below(&dice, 64));
        check_way(k, ref, &dice, wide, ANY, ANY, (int)dice_below(&dice, 64));
    }
}

START_TEST(all_edges_have_the_bits_of_ref)
{
    with_each_isa(check_edges, _i);
}
END_TEST

/* K about the lengths at which something changes: words, blocks, the width of Z (beyond 516 the most extreme integers leave int32),
 * the rows laid out at once. */
static void check_lengths(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const size_t about[] = {4, 8, 16, 32, 64, 128, 512, 526, 1024, 2048, 4096, 5120};
    struct dice dice = {(uint64_t)seed};
    for (size_t K = about[seed] - 2; K <= about[seed] + 2; K++)
        for (int way = 0; way < 16; way++) {
            struct shape s = {1 + dice_below(&dice, 16), 1 + dice_below(&dice, 40), K};
            enum fill fill = way % 3 == 0 ? EXTREMES : way % 3 == 1 ? GREATEST : LEAST;
            check_way(k, ref, &dice, s, fill, fill, way);
        }
}

START_TEST(lengths_about_a_block_have_the_bits_of_ref)
{
    with_each_isa(check_lengths, _i);
}
END_TEST

/* Several blocks of rows, and sums that wait for longer ones. */
static void check_blocks(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const struct shape shapes[] = {{131, 65, 40},   {250, 33, 130}, {61, 259, 70},   {63, 31, 2100},  {125, 17, 1040},
                                          {49, 260, 6200}, {27, 34, 4200}, {51, 18, 12000}, {50, 270, 5300}, {2, 300, 9000}};
    struct dice dice = {(uint64_t)seed};
    for (int way = 0; way < 16; way += 5)
        check_way(k, ref, &dice, shapes[seed], ANY, EXTREMES, way);
    check_way(k, ref, &dice, shapes[seed], EXTREMES, EXTREMES, 8 | (seed & 7));
}

START_TEST(shapes_beyond_one_block_have_the_bits_of_ref)
{
    with_each_isa(check_blocks, _i);
}
END_TEST

/* Beyond 65,536 terms there is a second part; up to there sums of the most extreme integers just fit. */
static void check_long(const struct kernels *k, const struct kernels *ref, int seed)
{
    static const struct shape shapes[] = {{3, 5, 65536}, {5, 18, 65536 + 70}, {7, 33, 65535}, {1, 1, 131072 + 3}, {2, 3, 65537}};
    static const enum fill fills[][2] = {{GREATEST, GREATEST}, {LEAST, LEAST},         {GREATEST, LEAST}, {LEAST, GREATEST},
                                         {EXTREMES, EXTREMES}, {ALTERNATE, ALTERNATE}, {ANY, ANY},        {ALTERNATE, GREATEST}};
    struct dice dice = {(uint64_t)seed};
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++)
        check_way(k, ref, &dice, shapes[seed], fills[i][0], fills[i][1],
                  (int)(dice_u64(&dice) & 7) | (i + (size_t)seed) % 4 / 3 * 8);
    check_way(k, ref, &dice, shapes[seed], GREATEST, LEAST, 8);
}

START_TEST(sums_at_the_limit_of_int32_have_the_bits_of_ref)
{
    with_each_isa(check_long, _i);
}
END_TEST

/* All exponents that a row and a column can have together, those of a refused row and column among them. */
static void check_exponents(const struct kernels *k, const struct kernels *ref, int seed)
{
    enum { K = 3, N = QUANTIZE_EXPONENT_MAX - QUANTIZE_EXPONENT_MIN + 2 };
    int8_t a[2 * K], b[2 * K * N], ea, eb[N];
    struct dice dice = {(uint64_t)seed};
    for (int n_slices = 1; n_slices <= 2; n_slices++)
        for (int e = QUANTIZE_EXPONENT_MIN; e <= QUANTIZE_EXPONENT_MAX + 1; e++) {
            bool is_bad = e > QUANTIZE_EXPONENT_MAX;
            ea = (int8_t)(is_bad ? QUANTIZE_BAD : e);
            for (size_t i = 0; i < sizeof a; i++)
                a[i] = integer_draw(&dice, ANY, 0, 0).high;
            for (size_t i = 0; i < sizeof b; i++)
                b[i] = integer_draw(&dice, ANY, 0, 0).high;
            for (int j = 0; j < N; j++)
                eb[j] = (int8_t)(j < N - 1 ? QUANTIZE_EXPONENT_MIN + j : QUANTIZE_BAD);
            struct slices as_a = {a, n_slices == 2 ? a + K : NULL, K, false};
            struct slices as_b = {b, n_slices == 2 ? b + K * N : NULL, N, false};
            float got[N], want[N];
            for (int j = 0; j < N; j++)
                got[j] = want[j] = dice_float(&dice, (enum kind)(e & 1 ? TINY : RANGE));
            void *for_k = packed(k, as_b, N, K), *for_ref = packed(ref, as_b, N, K);
            ref->multiply(want, N, as_a, &ea, for_ref, eb, 1, N, K, true);
            k->multiply(got, N, as_a, &ea, for_k, eb, 1, N, K, true);
            assert_same(got, want, N, k->name, "product of all exponents");
            for (int j = 0; j < N; j++)
                ck_assert_int_eq(isnan(got[j]) != 0, is_bad || j == N - 1);
            free(for_k), free(for_ref);
        }
}

START_TEST(all_exponents_have_the_bits_of_ref)
{
    with_each_isa(check_exponents, _i);
}
END_TEST

/* ref itself: a product so small that it can be done by hand. */
START_TEST(ref_multiplies_as_the_definition_says)
{
    const struct kernels *ref;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    int8_t a_high[2] = {3, -2}, a_low[2] = {-128, 5}, b_high[2] = {7, 127}, b_low[2] = {1, -9}, ea = -4, eb = 2;
    struct slices a = {a_high, a_low, 2, false}, b = {b_high, b_low, 1, false};
    void *p = packed(ref, b, 1, 2);
    float c = 0.5f;
    ref->multiply(&c, 1, a, &ea, p, &eb, 1, 1, 2, true);
    /* 256 (21 - 254) + (3 + 18) + (-896 + 635), times 2^(8 - 2) */
    ck_assert_float_eq(c, 0.5f + (256.0f * -233 + 21 - 261) * 64);
    free(p);
    a.low = b.low = NULL;
    p = packed(ref, b, 1, 2);
    ref->multiply(&c, 1, a, &ea, p, &eb, 1, 1, 2, false);
    ck_assert_float_eq(c, -233.0f / 4);
    free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("product_i8");
    TCase *tc = tcase_create("product_i8");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, ref_multiplies_as_the_definition_says);
    tcase_add_loop_test(tc, small_and_odd_shapes_have_the_bits_of_ref, 0, 16);
    tcase_add_loop_test(tc, all_edges_have_the_bits_of_ref, 0, 4);
    tcase_add_loop_test(tc, lengths_about_a_block_have_the_bits_of_ref, 0, 12);
    tcase_add_loop_test(tc, all_exponents_have_the_bits_of_ref, 0, 2);
    suite_add_tcase(suite, tc);
    tc = unit_case(suite, "large", 120);
    tcase_add_loop_test(tc, shapes_beyond_one_block_have_the_bits_of_ref, 0, 10);
    tcase_add_loop_test(tc, sums_at_the_limit_of_int32_have_the_bits_of_ref, 0, 5);
    return unit_run(suite);
}

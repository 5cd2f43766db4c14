/* tests/kernels/test_device_products.c - every way in which a GPU multiplies integers, against the definition. */
#include "kernels/cuda/prove.h"
#include "kernels/linear.h"
#include "tests/kernels/device_test.h"
#include "tests/kernels/integers.h"

#define SLACK 5 /* bytes or floats between rows beyond their length */

/* An operand of n lines of K; `is_k_near` says whether a line lies together.  `ld` may be larger than it must, and in the device's memory the operand
 * begins `shift` bytes behind a multiple of 256. */
struct operand {
    struct slices here, there;
    size_t n_bytes, shift;
    void *memory;
};

static struct operand operand(const struct kernels *k, struct dice *dice, enum fill fill, size_t n_slices, size_t n, size_t K,
                              bool is_k_near, bool is_turned)
{
    size_t rows = is_k_near ? n : K, columns = is_k_near ? K : n, more = dice_below(dice, 3);
    size_t ld = more == 2 ? (columns + 15) / 16 * 16 : columns + more * SLACK;
    struct operand x = {.n_bytes = rows && columns ? (rows - 1) * ld + columns : 0, .shift = more == 2 ? 0 : dice_below(dice, 2)};
    int8_t *high = malloc(2 * x.n_bytes + 1), *low = high + x.n_bytes;
    for (size_t i = 0; i < x.n_bytes; i++) {
        struct integer q = integer_draw(dice, fill, is_k_near ? i % ld : i / ld, K);
        high[i] = q.high;
        low[i] = q.low;
    }
    size_t apart = (x.n_bytes + 255) / 256 * 256;
    x.memory = device_room(k, 2 * apart + 1);
    int8_t *at = (int8_t *)x.memory + x.shift;
    k->put(at, high, x.n_bytes);
    k->put(at + apart, low, x.n_bytes);
    x.here = (struct slices){high, n_slices == 2 ? low : NULL, ld, is_turned};
    x.there = (struct slices){at, n_slices == 2 ? at + apart : NULL, ld, is_turned};
    return x;
}

static void operand_free(const struct kernels *k, struct operand *x)
{
    free((void *)(uintptr_t)x->here.high);
    k->release(x->memory);
}

/* Exponents from all of their range, of a small one as data has them, or of those whose sum lies about the floor; some refused. */
static int8_t *exponents(struct dice *dice, size_t n, int kind)
{
    int8_t *e = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        int any = QUANTIZE_EXPONENT_MIN + (int)dice_below(dice, QUANTIZE_EXPONENT_MAX - QUANTIZE_EXPONENT_MIN + 1);
        e[i] = (int8_t)(kind == 0 ? any : kind == 1 ? -(int)dice_below(dice, 20) : -52 - (int)dice_below(dice, 5));
        if (dice_below(dice, 40) == 0)
            e[i] = QUANTIZE_BAD;
    }
    return e;
}

/* Packed for a set, in its memory. */
static void *packed(const struct kernels *k, struct slices b, size_t N, size_t K)
{
    void *p = k->allot(k->packed_bytes(N, K, b.low ? 2 : 1));
    ck_assert_ptr_nonnull(p);
    k->pack(p, b, N, K);
    return p;
}

struct shape {
    size_t M, N, K;
};

/* `way`: a turned, b turned, accumulating, one slice, without exponents. */
static void check_way(const struct kernels *k, struct dice *dice, struct shape s, enum fill fill_a, enum fill fill_b, int way)
{
    const struct kernels *ref = ref_set();
    size_t n_slices = way & 8 ? 1 : 2, ldc = s.N + dice_below(dice, 2) * SLACK, n_c = s.M * ldc;
    struct operand a = operand(k, dice, fill_a, n_slices, s.M, s.K, !(way & 1), way & 1);
    struct operand b = operand(k, dice, fill_b, n_slices, s.N, s.K, way & 2, way & 2);
    int kind = (int)dice_below(dice, 3);
    int8_t *ea = exponents(dice, s.M, kind), *eb = exponents(dice, s.N, kind);
    int8_t *dea = device_copy(k, ea, s.M), *deb = device_copy(k, eb, s.N);
    float *want = dice_floats(dice, (enum kind)dice_below(dice, NASTY), n_c), *got = device_copy(k, want, n_c * sizeof *want);
    void *for_k = packed(k, b.there, s.N, s.K), *for_ref = packed(ref, b.here, s.N, s.K);
    ref->multiply(want, ldc, a.here, way & 16 ? NULL : ea, for_ref, way & 32 ? NULL : eb, s.M, s.N, s.K, way & 4);
    k->multiply(got, ldc, a.there, way & 16 ? NULL : dea, for_k, way & 32 ? NULL : deb, s.M, s.N, s.K, way & 4);
    char what[100];
    snprintf(what, sizeof what, "multiply %zu x %zu x %zu, fills %d and %d, way %d", s.M, s.N, s.K, fill_a, fill_b, way);
    device_same(k, got, want, n_c, what);
    operand_free(k, &a), operand_free(k, &b);
    free(ea), free(eb), free(want), ref->release(for_ref);
    k->release(dea), k->release(deb), k->release(got), k->release(for_k);
}

/* Calls `check` with each variant that this chip has; names those that it has not.  test_device_wgmma.c has more for the one that is slow to
 * emulate. */
static void with_each_variant(void (*check)(const struct kernels *k, int seed), int seed)
{
    const struct kernels *k = device_set();
    for (size_t i = 0; product_name_of(i); i++) {
        if (strcmp(product_name_of(i), "wgmma") == 0 && seed > 0)
            continue;
        if (device_products_by(product_name_of(i)) != 0) {
            printf("%s: not on this chip, skipped\n", product_name_of(i));
            continue;
        }
        check(k, seed);
    }
    ck_assert_int_eq(device_products_by(NULL), 0);
}

static void check_random(const struct kernels *k, int seed)
{
    struct dice dice = {(uint64_t)seed};
    device_order(seed % DEVICE_ORDERS);
    for (int way = seed; way < 64; way += 8) {
        struct shape s = {dice_below(&dice, 40), dice_below(&dice, 100), dice_below(&dice, 150)};
        check_way(k, &dice, s, (enum fill)dice_below(&dice, N_FILLS), (enum fill)dice_below(&dice, N_FILLS), way);
    }
}

START_TEST(small_and_odd_shapes_have_the_bits_of_ref)
{
    with_each_variant(check_random, _i);
}
END_TEST

/* Every end of a tile. */
static void check_edges(const struct kernels *k, int seed)
{
    struct dice dice = {(uint64_t)seed};
    size_t K = 1 + dice_below(&dice, 70);
    for (size_t i = 1 + (size_t)seed; i <= 66; i += 9) {
        struct shape high = {i, 1 + dice_below(&dice, 34), K}, wide = {1 + dice_below(&dice, 13), i, K};
        check_way(k, &dice, high, ANY, ANY, (int)dice_below(&dice, 64));
        check_way(k, &dice, wide, ANY, ANY, (int)dice_below(&dice, 64));
    }
}

START_TEST(all_edges_have_the_bits_of_ref)
{
    with_each_variant(check_edges, _i);
}
END_TEST

/* K about the lengths at which something changes: words, lines of shared memory, what floats can carry. */
static void check_lengths(const struct kernels *k, int seed)
{
    static const size_t about[] = {4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
    static const enum fill fills[][2] = {{EXTREMES, EXTREMES}, {GREATEST, LEAST}, {POSITIVE, TURNING}};
    struct dice dice = {(uint64_t)seed};
    for (int way = 0; way < 6; way++) {
        struct shape s = {1 + dice_below(&dice, 16), 1 + dice_below(&dice, 32), about[seed] - 1 + (size_t)(way + seed) % 3};
        check_way(k, &dice, s, fills[way / 2][0], fills[way / 2][1], (int)dice_below(&dice, 8) | way % 2 * 8);
    }
}

START_TEST(lengths_about_a_step_have_the_bits_of_ref)
{
    with_each_variant(check_lengths, _i);
}
END_TEST

/* bf16 carries sums of 1024 terms, or 512 pairs, and no more: in a tile that one warp sums up, not several that share k. */
START_TEST(floats_that_carry_integers_are_emptied_in_time)
{
    const struct kernels *k = device_set();
    struct dice dice = {1};
    struct shape one = {64, 70, 4096}, two = {64, 70, 2048};
    if (device_products_by("bf16") != 0)
        return;
    check_way(k, &dice, one, POSITIVE, TURNING, 8);
    check_way(k, &dice, two, POSITIVE, TURNING, 0);
}
END_TEST

/* The greater tiles, which a chip of few units takes; several of them; several groups of them. */
static void check_tiles(const struct kernels *k, int seed)
{
    static const struct shape shapes[] = {{130, 131, 70},  {60, 70, 700},  {257, 130, 65},
                                          {120, 64, 1100}, {65, 129, 260}, {1100, 66, 33}};
    struct dice dice = {(uint64_t)seed};
    device_order(seed % DEVICE_ORDERS);
    for (int way = seed % 4; way < 16; way += 9)
        check_way(k, &dice, shapes[seed], ANY, EXTREMES, way);
}

START_TEST(shapes_of_several_tiles_have_the_bits_of_ref)
{
    with_each_variant(check_tiles, _i);
}
END_TEST

/* Beyond 65,536 terms there is a second part; up to there sums of the most extreme integers just fit. */
static void check_long(const struct kernels *k, int seed)
{
    static const struct shape shapes[] = {{3, 5, 65536}, {3, 2, 65535}, {2, 3, 65537}};
    static const enum fill fills[][2] = {{LEAST, GREATEST}, {POSITIVE, POSITIVE}, {POSITIVE, TURNING}};
    struct dice dice = {(uint64_t)seed};
    check_way(k, &dice, shapes[seed], fills[seed][0], fills[seed][1], (int)dice_below(&dice, 8) | (seed == 2 ? 8 : 0));
}

START_TEST(sums_at_the_limit_of_int32_have_the_bits_of_ref)
{
    with_each_variant(check_long, _i);
}
END_TEST

/* All exponents that a row and a column can have together, and those of refused ones. */
static void check_exponents(const struct kernels *k, int seed)
{
    enum { M = QUANTIZE_EXPONENT_MAX - QUANTIZE_EXPONENT_MIN + 2, N = M, K = 3 };
    const struct kernels *ref = ref_set();
    struct dice dice = {(uint64_t)seed};
    struct operand a = operand(k, &dice, ANY, (size_t)seed % 2 + 1, M, K, true, false),
                   b = operand(k, &dice, ANY, (size_t)seed % 2 + 1, N, K, false, false);
    int8_t e[M];
    for (int i = 0; i < M; i++)
        e[i] = (int8_t)(i == M - 1 ? QUANTIZE_BAD : QUANTIZE_EXPONENT_MIN + i);
    float *want = dice_floats(&dice, seed % 2 ? TINY : RANGE, (size_t)M * N),
          *got = device_copy(k, want, (size_t)M * N * sizeof *want);
    int8_t *de = device_copy(k, e, M);
    void *for_k = packed(k, b.there, N, K), *for_ref = packed(ref, b.here, N, K);
    ref->multiply(want, N, a.here, e, for_ref, e, M, N, K, true);
    k->multiply(got, N, a.there, de, for_k, de, M, N, K, true);
    device_same(k, got, want, (size_t)M * N, "product of all exponents");
    for (size_t i = 0; i < (size_t)M * N; i++)
        ck_assert_int_eq(isnan(want[i]) != 0, i / N == M - 1 || i % N == N - 1);
    operand_free(k, &a), operand_free(k, &b);
    free(want), ref->release(for_ref);
    k->release(de), k->release(got), k->release(for_k);
}

START_TEST(all_exponents_have_the_bits_of_ref)
{
    with_each_variant(check_exponents, _i);
}
END_TEST

/* ---- The gradient of weights, in parts. */

/* Rows of x as a trainer sends them, in both memories. */
struct sent {
    int8_t *exponent, *slices;
    struct rows here, there;
};

static struct sent sent(const struct kernels *k, struct dice *dice, size_t n, size_t M, bool has_two)
{
    struct sent s = {exponents(dice, n, 1), malloc(2 * n * M + 1), {0}, {0}};
    for (size_t i = 0; i < n * M; i++) {
        struct integer q = integer_draw(dice, ANY, 0, 0);
        s.slices[i] = q.high, s.slices[n * M + i] = q.low;
    }
    int8_t *there = device_copy(k, s.slices, 2 * n * M);
    s.here = (struct rows){.exponent = s.exponent, .high = s.slices, .low = has_two ? s.slices + n * M : NULL};
    s.there = (struct rows){.exponent = device_copy(k, s.exponent, n), .high = there, .low = has_two ? there + n * M : NULL};
    return s;
}

static void sent_free(const struct kernels *k, struct sent *s)
{
    k->release((void *)(uintptr_t)s->there.exponent);
    k->release((void *)(uintptr_t)s->there.high);
    free(s->exponent), free(s->slices);
}

/* The set's own way against the loop over the parts that linear.c has for the others. */
static void check_one_grad(const struct kernels *k, struct dice *dice, size_t M, size_t N, size_t n, size_t part, int way)
{
    const struct kernels *ref = ref_set();
    bool is_turned = way & 1, has_two = way & 2;
    struct sent x = sent(k, dice, n, M, has_two);
    float *g = dice_floats(dice, way & 4 ? RANGE : PLAIN, n * N), *want = dice_floats(dice, PLAIN, M * N);
    if (way & 8)
        g[dice_below(dice, n * N)] = INFINITY;
    float *there_g = device_copy(k, g, n * N * sizeof *g), *got = device_copy(k, want, M * N * sizeof *want);
    struct linear l;
    ck_assert_int_eq(linear_init(&l, ref, M, N, has_two ? NUMERICS_I8X2 : NUMERICS_I8X1), 0);
    void *work = ref->allot(linear_work_bytes(&l, n));
    (is_turned ? linear_grad_turned : linear_grad)(&l, want, &x.here, g, work, n, part);
    k->product_grad(got, &x.there, there_g, M, N, n, part, is_turned);
    char what[100];
    snprintf(what, sizeof what, "gradient %zu x %zu over %zu in parts of %zu, way %d", M, N, n, part, way);
    device_same(k, got, want, M * N, what);
    linear_fini(&l);
    ref->release(work), free(g), free(want);
    k->release(there_g), k->release(got);
    sent_free(k, &x);
}

static void check_grad(const struct kernels *k, int seed)
{
    static const struct {
        size_t M, N, n, part;
    } shapes[] = {{37, 29, 23, 256}, {64, 40, 600, 256}, {1, 1, 1, 1},       {130, 140, 300, 256},
                  {20, 33, 50, 7},   {70, 65, 513, 256}, {5, 130, 1100, 512}};
    struct dice dice = {(uint64_t)seed};
    device_order(seed % DEVICE_ORDERS);
    for (int way = seed % 4; way < 16; way += 5)
        check_one_grad(k, &dice, shapes[seed].M, shapes[seed].N, shapes[seed].n, shapes[seed].part, way);
}

START_TEST(gradients_in_parts_have_the_bits_of_ref)
{
    with_each_variant(check_grad, _i);
}
END_TEST

/* ---- Scratch */

static const struct {
    size_t n_rows, width, part;
} scratch_shapes[] = {{40, 33, 16}, {16, 130, 128}, {5000, 24, 256}};

/* Rows turned; gradients either way round. */
static void check_scratch(const struct kernels *k, int seed)
{
    size_t n = scratch_shapes[seed].n_rows, width = scratch_shapes[seed].width, part = scratch_shapes[seed].part;
    struct dice dice = {(uint64_t)seed};
    uint64_t each, taken, more;
    for (int way = 1; way <= 3; way++) {
        struct shape s = {n, width, width};
        check_way(k, &dice, s, ANY, ANY, way);
        check_one_grad(k, &dice, width, width, n, part, way);
    }
    device_scratch(16 * n, 16 * width, part, &more, &taken);
    ck_assert_uint_lt(taken, more);
    device_scratch(n, width, part, &each, &more);
    ck_assert_uint_gt(taken, 0);
    ck_assert_uint_le(taken, each);
    ck_assert_uint_eq(more, taken);
    device_scratch(1, 1, 1, &each, &taken);
    ck_assert_uint_le(taken, each); /* of a thread no more than it is said to need */
}

START_TEST(products_take_no_more_scratch_than_is_said)
{
    uint64_t each, taken;
    device_close();
    device_scratch(1024, 4096, 256, &each, &taken);
    ck_assert(each == 0 && taken == 0);
    if (_i % 2) /* without what cuBLASLt would take */
        ck_assert_int_eq(device_products_by("dp4a"), 0);
    (void)device_set();
    device_scratch(1024, 4096, 256, &each, &taken);
    ck_assert_uint_gt(each, (uint64_t)4 * 1024 * 4096); /* two slices of both operands of a gradient */
    ck_assert_uint_eq(taken, 0);                        /* what the proof took was given back */
    with_each_variant(check_scratch, _i / 2);
    device_close();
}
END_TEST

/* ---- What is tried before it is used. */

START_TEST(every_way_is_proven_or_says_why_not)
{
    const struct kernels *k = device_set();
    for (size_t i = 0; product_name_of(i); i++) {
        ck_assert_int_eq(product_is_proven(i), product_why_not(i) == NULL);
        ck_assert_ptr_nonnull(strstr(device_products(), product_name_of(i)));
        ck_assert_int_eq(device_products_by(product_name_of(i)), product_is_proven(i) ? 0 : HANSE_EUNSUPPORTED);
    }
    ck_assert_int_eq(device_products_by("abacus"), HANSE_EINVAL);
    ck_assert_int_eq(device_products_by(NULL), 0);
    check_random(k, 0);
}
END_TEST

#ifdef CUDA_EMULATED
static size_t number_of(const char *name)
{
    size_t i = 0;
    while (strcmp(product_name_of(i), name) != 0)
        i++;
    return i;
}

/* One way fails on purpose: it alone is left out, and products go on without it. */
START_TEST(a_way_that_fails_its_proof_is_left_out)
{
    static const char *const names[] = {"wgmma", "imma32", "lt", "imma16", "bf16"};
    static const enum product_spoil spoils[] = {PRODUCT_WRONG, PRODUCT_FAILING, PRODUCT_FAILING_LATE};
    const char *name = names[_i / 3];
    product_emulate_proof(false, name, spoils[_i % 3]);
    const struct kernels *k = device_set();
    for (size_t i = 0; product_name_of(i); i++)
        ck_assert_int_eq(product_is_proven(i), i != number_of(name));
    ck_assert_ptr_nonnull(strstr(product_why_not(number_of(name)), _i % 3 ? "" : "not those of dp4a"));
    const char *chosen = strstr(device_products(), "large products");
    ck_assert(strstr(chosen, "dp4a") && !strstr(chosen, name)); /* for no shape, however well it did at first */
    ck_assert_int_eq(device_products_by(name), HANSE_EUNSUPPORTED);
    check_random(k, 1);
}
END_TEST

/* Without a yardstick that holds nothing can be relied on. */
START_TEST(a_gpu_that_cannot_count_is_not_opened)
{
    const struct kernels *k;
    static const enum product_spoil spoils[] = {PRODUCT_WRONG, PRODUCT_FAILING, PRODUCT_FAILING_LATE};
    product_emulate_proof(false, "dp4a", spoils[_i]);
    ck_assert_int_eq(device_open(0, &k), HANSE_EDEVICE);
    ck_assert_int_eq(device_open(0, &k), 0);
    check_random(k, 2);
}
END_TEST

START_TEST(a_gpu_takes_what_it_has_instructions_for)
{
    static const char *const lacks[][4] = {{"wgmma", "imma32", "bf16"}, {"wgmma"}, {"wgmma"}};
    static const int chips[][2] = {{7, 5}, {8, 0}, {12, 0}};
    emulate_chip(chips[_i][0], chips[_i][1], 4, 64 * 1024);
    const struct kernels *k = device_set();
    size_t n_lacking = 0, n_expected = 0;
    for (size_t i = 0; product_name_of(i); i++)
        n_lacking += !product_is_proven(i);
    for (; lacks[_i][n_expected]; n_expected++)
        ck_assert(!product_is_proven(number_of(lacks[_i][n_expected])));
    ck_assert_uint_eq(n_lacking, n_expected);
    check_random(k, 3);
}
END_TEST

START_TEST(a_way_may_be_named_before_the_gpu_is_opened)
{
    const struct kernels *k;
    emulate_chip(7, 5, 4, 64 * 1024);
    ck_assert_int_eq(device_products_by("imma32"), 0);
    ck_assert_int_eq(device_open(0, &k), HANSE_EUNSUPPORTED);
    ck_assert_int_eq(device_products_by("imma16"), 0);
    ck_assert_int_eq(device_open(0, &k), 0);
}
END_TEST

/* The proof as a real GPU has it, for one way that is right. */
START_TEST(the_whole_proof_holds)
{
    product_emulate_proof(true, "", PRODUCT_WELL);
    device_set();
    for (size_t i = 0; product_name_of(i); i++)
        ck_assert(product_is_proven(i));
}
END_TEST
#endif

/* ---- Products of floats by cuBLASLt: near, no more. */

static struct matrix seen(const float *at, size_t rows, size_t columns, bool is_turned)
{
    return is_turned ? matrix_transposed(at, rows + 1) : matrix_of(at, columns + 1);
}

static void check_floats(const struct kernels *k, float most_off)
{
    static const struct shape shapes[] = {{1, 1, 1}, {5, 70, 33}, {64, 17, 128}, {3, 4, 0}};
    struct dice dice = {1};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int way = 0; way < 8; way++) {
            struct shape s = shapes[i];
            size_t n_a = (s.M + 1) * (s.K + 1), n_b = (s.K + 1) * (s.N + 1), n_c = s.M * (s.N + 2);
            float *a = dice_floats(&dice, PLAIN, n_a), *b = dice_floats(&dice, PLAIN, n_b), *c = dice_floats(&dice, PLAIN, n_c);
            float *da = device_copy(k, a, n_a * sizeof *a), *db = device_copy(k, b, n_b * sizeof *b),
                  *dc = device_copy(k, c, n_c * sizeof *c);
            ref_set()->matmul(c, s.N + 2, seen(a, s.M, s.K, way & 1), seen(b, s.K, s.N, way & 2), s.M, s.N, s.K, way & 4);
            k->matmul(dc, s.N + 2, seen(da, s.M, s.K, way & 1), seen(db, s.K, s.N, way & 2), s.M, s.N, s.K, way & 4);
            float *got = device_back(k, dc, n_c * sizeof *c);
            for (size_t j = 0; j < n_c; j++)
                ck_assert_float_le(fabsf(got[j] - c[j]), most_off * sqrtf((float)(s.K + 1)));
            free(a), free(b), free(c), free(got);
            k->release(da), k->release(db), k->release(dc);
        }
}

START_TEST(products_of_floats_by_the_library_are_near)
{
    struct kernels bf16, sgemm, none;
    const struct kernels *k = device_set();
    ck_assert_int_eq(kernels_with_bf16(ref_set(), &none), HANSE_EUNSUPPORTED);
    if (kernels_with_bf16(k, &bf16) != 0) {
        printf("cuBLASLt: not on this machine, skipped\n");
        return;
    }
    check_floats(&bf16, 0.01f);
    ck_assert_int_eq(kernels_with_sgemm(k, &sgemm), 0);
    check_floats(&sgemm, 1e-5f);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("device_products");
    TCase *tc = tcase_create("device_products");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, small_and_odd_shapes_have_the_bits_of_ref, 0, 8);
    tcase_add_loop_test(tc, all_edges_have_the_bits_of_ref, 0, 4);
    tcase_add_loop_test(tc, lengths_about_a_step_have_the_bits_of_ref, 0, 10);
    tcase_add_test(tc, floats_that_carry_integers_are_emptied_in_time);
    tcase_add_loop_test(tc, all_exponents_have_the_bits_of_ref, 0, 2);
    tcase_add_loop_test(tc, products_take_no_more_scratch_than_is_said, 0,
                        2 * (int)(sizeof scratch_shapes / sizeof *scratch_shapes));
    tcase_add_test(tc, every_way_is_proven_or_says_why_not);
    tcase_add_test(tc, products_of_floats_by_the_library_are_near);
#ifdef CUDA_EMULATED
    tcase_add_loop_test(tc, a_way_that_fails_its_proof_is_left_out, 0, 15);
    tcase_add_loop_test(tc, a_gpu_that_cannot_count_is_not_opened, 0, 3);
    tcase_add_loop_test(tc, a_gpu_takes_what_it_has_instructions_for, 0, 3);
    tcase_add_test(tc, a_way_may_be_named_before_the_gpu_is_opened);
#endif
    suite_add_tcase(suite, tc);
    tc = unit_case(suite, "large", 300);
    tcase_add_loop_test(tc, shapes_of_several_tiles_have_the_bits_of_ref, 0, 6);
    tcase_add_loop_test(tc, sums_at_the_limit_of_int32_have_the_bits_of_ref, 0, 3);
    tcase_add_loop_test(tc, gradients_in_parts_have_the_bits_of_ref, 0, 7);
#ifdef CUDA_EMULATED
    tcase_add_test(tc, the_whole_proof_holds);
#endif
    return suite;
}

int main(void)
{
    return device_run(suite());
}

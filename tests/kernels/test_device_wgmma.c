/*
 * tests/kernels/test_device_wgmma.c - products by warpgroups: each form of tile, whole and cut, about the ring's turns.
 *
 * test_device_products.c holds all variants to the definition on small shapes.  Here a chip of one unit makes the number of columns choose
 * the form: 256, 128 or 64 columns with one slice, 128 or 64 with two.  The emulation of the instructions reads operands through their
 * descriptors and finds copies that were not waited for, and buffers that were filled while they were read.
 */
#include "kernels/cuda/prove.h"
#include "kernels/linear.h"
#include "tests/kernels/device_test.h"

/* GPU 0, of which only warpgroups multiply; NULL where it has none. */
static const struct kernels *warpgroups(void)
{
#ifdef CUDA_EMULATED
    emulate_chip(9, 0, 1, 227 * 1024);
#endif
    const struct kernels *k = device_set();
    return device_products_by("wgmma") == 0 ? k : NULL;
}

/* n lines of K in two slices behind each other, all of their range, in both memories. */
struct integers {
    int8_t *here, *there;
    size_t n_bytes;
};

static struct integers integers(const struct kernels *k, struct dice *dice, size_t n_bytes)
{
    struct integers x = {malloc(2 * n_bytes), NULL, n_bytes};
    for (size_t i = 0; i < n_bytes; i++) {
        x.here[i] = (int8_t)((int)dice_below(dice, 255) - 127);
        x.here[n_bytes + i] = (int8_t)((int)dice_below(dice, 256) - 128);
    }
    x.there = device_copy(k, x.here, 2 * n_bytes);
    return x;
}

static struct slices slices(const struct integers *x, bool is_there, size_t n_slices, size_t ld, bool is_turned)
{
    const int8_t *high = is_there ? x->there : x->here;
    return (struct slices){high, n_slices == 2 ? high + x->n_bytes : NULL, ld, is_turned};
}

static int8_t *exponents(struct dice *dice, size_t n)
{
    int8_t *e = malloc(n);
    for (size_t i = 0; i < n; i++)
        e[i] = (int8_t)(dice_below(dice, 60) ? -(int)dice_below(dice, 70) : QUANTIZE_BAD);
    return e;
}

struct shape {
    size_t M, N, K;
};

/* c (rows of ldc) = [c +] a b, a with rows of a multiple of 16, so that it is read where it lies. */
static void check(const struct kernels *k, struct dice *dice, struct shape s, size_t n_slices, bool accumulate)
{
    const struct kernels *ref = ref_set();
    size_t lda = (s.K + 15) / 16 * 16 + 16 * dice_below(dice, 2), ldc = s.N + dice_below(dice, 3);
    struct integers a = integers(k, dice, s.M * lda), b = integers(k, dice, s.N * s.K);
    int8_t *ea = exponents(dice, s.M), *eb = exponents(dice, s.N);
    int8_t *dea = device_copy(k, ea, s.M), *deb = device_copy(k, eb, s.N);
    float *want = dice_floats(dice, RANGE, s.M * ldc), *got = device_copy(k, want, s.M * ldc * sizeof *want);
    void *for_ref = ref->allot(ref->packed_bytes(s.N, s.K, n_slices)), *for_k = k->allot(k->packed_bytes(s.N, s.K, n_slices));
    ref->pack(for_ref, slices(&b, false, n_slices, s.K, true), s.N, s.K);
    k->pack(for_k, slices(&b, true, n_slices, s.K, true), s.N, s.K);
    ref->multiply(want, ldc, slices(&a, false, n_slices, lda, false), ea, for_ref, eb, s.M, s.N, s.K, accumulate);
    k->multiply(got, ldc, slices(&a, true, n_slices, lda, false), dea, for_k, deb, s.M, s.N, s.K, accumulate);
    char what[80];
    snprintf(what, sizeof what, "%zu x %zu x %zu, slices %zu", s.M, s.N, s.K, n_slices);
    device_same(k, got, want, s.M * ldc, what);
    free(a.here), free(b.here), free(ea), free(eb), free(want), ref->release(for_ref);
    k->release(a.there), k->release(b.there), k->release(dea), k->release(deb), k->release(got), k->release(for_k);
}

START_TEST(every_form_of_tile_has_the_bits_of_ref)
{
    static const struct shape shapes[] = {
        {128, 256, 640}, {130, 300, 400}, {64, 255, 900}, {128, 128, 900}, {200, 127, 130},
        {128, 64, 1300}, {5, 63, 1100},   {65, 33, 129},  {128, 192, 31},  {1, 1, 2000},
    };
    const struct kernels *k = warpgroups();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (size_t n_slices = 1; k && n_slices <= 2; n_slices++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            check(k, &dice, shapes[_i], n_slices, accumulate);
}
END_TEST

/* The ring is as long as 3 to 8 steps of 128: sums that end before it is full, just then, and after turns of it. */
START_TEST(every_length_about_the_ring_has_the_bits_of_ref)
{
    const struct kernels *k = warpgroups();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    for (size_t K = 128 * (size_t)_i + 127; k && K <= 128 * (size_t)_i + 129; K++) {
        struct shape narrow = {3, 2, K}, middle = {3, 66, K};
        check(k, &dice, narrow, 1 + K % 2, K & 2);
        check(k, &dice, middle, 2 - K % 2, K & 2);
    }
}
END_TEST

/* Rows of x as a trainer sends them, and one gradient over all of them in parts. */
START_TEST(gradients_stay_in_registers_from_part_to_part)
{
    static const struct shape shapes[] = {{128, 128, 600}, {70, 260, 300}, {130, 64, 1100}, {16, 40, 257}};
    const struct kernels *k = warpgroups(), *ref = ref_set();
    struct dice dice = {(uint64_t)_i};
    struct shape s = shapes[_i / 2];
    bool is_turned = _i % 2;
    for (size_t n_slices = 1; k && n_slices <= 2; n_slices++) {
        struct integers x = integers(k, &dice, s.K * s.M);
        int8_t *e = exponents(&dice, s.K), *de = device_copy(k, e, s.K);
        float *g = dice_floats(&dice, PLAIN, s.K * s.N), *want = dice_floats(&dice, PLAIN, s.M * s.N);
        float *dg = device_copy(k, g, s.K * s.N * sizeof *g), *got = device_copy(k, want, s.M * s.N * sizeof *want);
        struct rows here = {.exponent = e, .high = x.here, .low = n_slices == 2 ? x.here + x.n_bytes : NULL};
        struct rows there = {.exponent = de, .high = x.there, .low = n_slices == 2 ? x.there + x.n_bytes : NULL};
        struct linear l;
        ck_assert_int_eq(linear_init(&l, ref, s.M, s.N, n_slices == 2 ? NUMERICS_I8X2 : NUMERICS_I8X1), 0);
        void *work = ref->allot(linear_work_bytes(&l, s.K));
        (is_turned ? linear_grad_turned : linear_grad)(&l, want, &here, g, work, s.K, 256);
        k->product_grad(got, &there, dg, s.M, s.N, s.K, 256, is_turned);
        device_same(k, got, want, s.M * s.N, "gradient");
        linear_fini(&l);
        ref->release(work), free(x.here), free(e), free(g), free(want);
        k->release(x.there), k->release(de), k->release(dg), k->release(got);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("device_wgmma");
    TCase *tc = tcase_create("device_wgmma");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, every_form_of_tile_has_the_bits_of_ref, 0, 10);
    tcase_add_loop_test(tc, every_length_about_the_ring_has_the_bits_of_ref, 0, 10);
    tcase_add_loop_test(tc, gradients_stay_in_registers_from_part_to_part, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}

int main(void)
{
    return device_run(suite());
}

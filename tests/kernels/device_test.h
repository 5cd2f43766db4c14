/**
 * tests/kernels/device_test.h - what the tests of a GPU's kernels share.
 *
 * One source makes two programs: with -DCUDA_EMULATED it is linked with libkernels_cuda_emulated.a (test_X_emulated), and
 * without with the real archive (test_X_device, which ends with status 77 where there is no GPU).
 *
 *     int main(void) { return device_run(suite()); }
 *
 * kernels/module.am has both for each source (EMULATED_TESTS, DEVICE_TESTS).  Tests call device_set() for the set and
 * ref_set() for the definition, device_copy() and device_room() for tensors on the device, device_same() to compare.
 */
#ifndef TESTS_KERNELS_DEVICE_TEST_H
#define TESTS_KERNELS_DEVICE_TEST_H

#include "kernels/device.h"
#include "tests/kernels/kernels_test.h"

#ifdef CUDA_EMULATED
#include "kernels/cuda/emulate_control.h"
#endif

/** The definition. */
static inline const struct kernels *ref_set(void)
{
    const struct kernels *ref;
    ck_assert_int_eq(kernels_choose("ref", &ref), 0);
    return ref;
}

/** The GPU's set; opens GPU 0 in the test's own process, since CUDA does not outlive a fork. */
static inline const struct kernels *device_set(void)
{
    const struct kernels *k;
    ck_assert_int_eq(device_open(0, &k), 0);
    return k;
}

/** Over the emulation it is: then shapes are small. */
#ifdef CUDA_EMULATED
#define DEVICE_IS_REAL 0
#else
#define DEVICE_IS_REAL 1
#endif

/** Orders of threads that a loop test goes through: _i = 0 forward, 1 reversed, others shuffled.  Nothing on a real GPU. */
#define DEVICE_ORDERS 4
static inline void device_order(int i)
{
#ifdef CUDA_EMULATED
    emulate_order(i == 0 ? EMULATE_FORWARD : i == 1 ? EMULATE_REVERSED : EMULATE_SHUFFLED, (uint64_t)i);
#else
    (void)i;
#endif
}

/** A copy on the device of n_bytes; the set's release() frees.  n_bytes may be 0. */
static inline void *device_copy(const struct kernels *k, const void *from, size_t n_bytes)
{
    void *at = k->allot(n_bytes);
    ck_assert_ptr_nonnull(at);
    k->put(at, from, n_bytes);
    return at;
}

/** Memory on the device that holds nothing in particular. */
static inline void *device_room(const struct kernels *k, size_t n_bytes)
{
    void *at = k->allot(n_bytes);
    ck_assert_ptr_nonnull(at);
    return at;
}

/** Copies n_bytes back into memory that the caller frees, exactly as much. */
static inline void *device_back(const struct kernels *k, const void *at, size_t n_bytes)
{
    void *to = malloc(n_bytes ? n_bytes : 1);
    ck_assert_ptr_nonnull(to);
    ck_assert_int_eq(k->get(to, at, n_bytes), 0);
    return to;
}

/** n floats on the device have the bits of `want`; NaN is NaN. */
static inline void device_same(const struct kernels *k, const float *at, const float *want, size_t n, const char *what)
{
    float *got = device_back(k, at, n * sizeof *got);
    assert_same(got, want, n, k->name, what);
    free(got);
}

/** n_bytes on the device are those of `want`. */
static inline void device_same_bytes(const struct kernels *k, const void *at, const void *want, size_t n_bytes, const char *what)
{
    unsigned char *got = device_back(k, at, n_bytes);
    for (size_t i = 0; i < n_bytes; i++)
        if (got[i] != ((const unsigned char *)want)[i])
            ck_abort_msg("%s %s: byte %zu of %zu is %d, ref says %d", k->name, what, i, n_bytes, got[i],
                         ((const unsigned char *)want)[i]);
    free(got);
}

/** Runs the suite, or says why it cannot and ends with 77. */
static inline int device_run(Suite *suite)
{
    const char *why;
    SRunner *runner = srunner_create(suite);
#ifndef CUDA_EMULATED
    srunner_set_fork_status(runner, CK_NOFORK);
#endif
    int n_failed = 0;
    if (device_count(&why) == 0) {
        printf("skipped: %s\n", why);
        srunner_free(runner);
        return 77;
    }
    srunner_run_all(runner, CK_NORMAL);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

/**
 * tests/kernels/device_tensor.h - the same data twice: what ref works on, and a copy on the device between guards.
 */
#ifndef TESTS_KERNELS_DEVICE_TENSOR_H
#define TESTS_KERNELS_DEVICE_TENSOR_H

#include "tests/kernels/device_test.h"

#define TENSOR_GUARD ((size_t)32)
#define TENSOR_GUARD_BYTE 0x5b

struct tensor {
    void *want; /* n_bytes, exactly, so that a sanitizer sees a step too far */
    void *at;   /* on the device, `shift` bytes behind a multiple of 256 */
    uint8_t *memory;
    size_t n_bytes, shift;
};

/** Takes `from` (malloc).  The device's copy has `shift` bytes before it and a guard behind. */
static inline struct tensor tensor_of(const struct kernels *k, void *from, size_t n_bytes, size_t shift)
{
    size_t n_all = shift + n_bytes + TENSOR_GUARD;
    uint8_t *all = malloc(n_all);
    ck_assert_ptr_nonnull(all);
    memset(all, TENSOR_GUARD_BYTE, n_all);
    if (n_bytes > 0)
        memcpy(all + shift, from, n_bytes);
    struct tensor t = {from, NULL, device_copy(k, all, n_all), n_bytes, shift};
    t.at = t.memory + shift;
    free(all);
    return t;
}

static inline struct tensor tensor_floats(const struct kernels *k, struct dice *dice, enum kind kind, size_t n, size_t shift)
{
    return tensor_of(k, dice_floats(dice, kind, n), n * sizeof(float), shift);
}

static inline struct tensor tensor_bytes(const struct kernels *k, struct dice *dice, size_t n, size_t shift)
{
    uint8_t *byte = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(byte);
    for (size_t i = 0; i < n; i++)
        byte[i] = (uint8_t)dice_u64(dice);
    return tensor_of(k, byte, n, shift);
}

static inline void tensor_free(const struct kernels *k, struct tensor *t)
{
    k->release(t->memory);
    free(t->want);
}

/** What the device has, behind intact guards; the caller frees. */
static inline uint8_t *tensor_got(const struct kernels *k, const struct tensor *t, const char *what)
{
    uint8_t *all = device_back(k, t->memory, t->shift + t->n_bytes + TENSOR_GUARD);
    for (size_t i = 0; i < t->shift + t->n_bytes + TENSOR_GUARD; i++)
        if ((i < t->shift || i >= t->shift + t->n_bytes) && all[i] != TENSOR_GUARD_BYTE)
            ck_abort_msg("%s: writes at byte %zd of %zu", what, (ssize_t)i - (ssize_t)t->shift, t->n_bytes);
    if (t->shift > 0)
        memmove(all, all + t->shift, t->n_bytes);
    return all;
}

/** The device's floats are those of ref, a NaN being like another. */
static inline void tensor_same(const struct kernels *k, const struct tensor *t, const char *what)
{
    uint8_t *got = tensor_got(k, t, what);
    assert_same((const float *)got, t->want, t->n_bytes / sizeof(float), k->name, what);
    free(got);
}

static inline void tensor_same_bytes(const struct kernels *k, const struct tensor *t, const char *what)
{
    uint8_t *got = tensor_got(k, t, what);
    for (size_t i = 0; i < t->n_bytes; i++)
        if (got[i] != ((const uint8_t *)t->want)[i])
            ck_abort_msg("%s: byte %zu of %zu is %d, ref says %d", what, i, t->n_bytes, got[i], ((const uint8_t *)t->want)[i]);
    free(got);
}

#endif

/* cuda/product_imma32.cu - exact-integer products by the int8 instruction of sm_80, m16n8k32. */
#include "kernels/cuda/product_mma.cuh"

static constexpr struct tile one = {IMMA32, 128, 128, 2, 2, 1, 64, 3, 2}, two = {IMMA32, 128, 128, 2, 4, 1, 64, 3, 1};
static constexpr struct tile one_parts = two, two_parts = {IMMA32, 128, 128, 2, 4, 1, 64, 3, 1};
static constexpr struct tile middle = {IMMA32, 64, 64, 2, 2, 1, 64, 4, 3}, few = {IMMA32, 16, 32, 1, 1, 4, 128, 4, 3};
/* Sums and outputs of both slices beside each other leave registers for two blocks, not three. */
static constexpr struct tile middle_two_parts = {IMMA32, 64, 64, 2, 2, 1, 64, 4, 2};

static void multiply(const struct product *p)
{
    switch (product_size(p)) {
    case PRODUCT_LARGE:
        return launch_forms<one, two, one_parts, two_parts>(p);
    case PRODUCT_MIDDLE:
        return launch_forms<middle, middle, middle, middle_two_parts>(p);
    case PRODUCT_SMALL:
        return launch_forms<few, few, few, few>(p);
    }
}

const struct product_variant product_imma32 = {"imma32", 80, 0, NULL, multiply};

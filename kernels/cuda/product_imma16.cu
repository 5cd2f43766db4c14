/* cuda/product_imma16.cu - exact-integer products by the int8 instruction of sm_75, m8n8k16, steps carried through registers. */
#include "kernels/cuda/product_mma.cuh"

static constexpr struct tile one = {IMMA16, 128, 128, 2, 4, 1, 64, 2, 1}, two = one;
static constexpr struct tile one_parts = {IMMA16, 128, 64, 4, 2, 1, 64, 2, 1}, two_parts = one_parts;
static constexpr struct tile middle = {IMMA16, 64, 64, 2, 2, 1, 64, 2, 2}, few = {IMMA16, 16, 32, 1, 1, 4, 128, 2, 3};

static void multiply(const struct product *p)
{
    switch (product_size(p)) {
    case PRODUCT_LARGE:
        return launch_forms<one, two, one_parts, two_parts>(p);
    case PRODUCT_MIDDLE:
        return launch_forms<middle, middle, middle, middle>(p);
    case PRODUCT_SMALL:
        return launch_forms<few, few, few, few>(p);
    }
}

const struct product_variant product_imma16 = {"imma16", 75, 0, NULL, multiply};

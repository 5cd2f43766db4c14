/* cuda/product_bf16.cu - exact-integer products carried in bf16, for chips whose int8 throughput was cut.
 *
 * A bf16 holds every int8 exactly, and float sums of their products are exact while they stay below 2^24: 1024 products of up to 127 * 128, or
 * 512 pairs of cross terms.  Then they go over into int32. */
#include "kernels/cuda/product_mma.cuh"

static constexpr struct tile large = {BF16, 128, 64, 4, 2, 1, 64, 4, 1}, middle = {BF16, 64, 64, 4, 2, 1, 64, 4, 1};
static constexpr struct tile few = {BF16, 16, 32, 1, 1, 4, 128, 4, 3};

static void multiply(const struct product *p)
{
    switch (product_size(p)) {
    case PRODUCT_LARGE:
        return launch_forms<large, large, large, large>(p);
    case PRODUCT_MIDDLE:
        return launch_forms<middle, middle, middle, middle>(p);
    case PRODUCT_SMALL:
        return launch_forms<few, few, few, few>(p);
    }
}

const struct product_variant product_bf16 = {"bf16", 80, 0, NULL, multiply};

/* kernels/cuda/table.cu - the CUDA set. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device_state.h"
#include "kernels/cuda/ops.h"

/* In the order of struct kernels, which C++ demands. */
const struct kernels cuda_kernels = {
    .name = "cuda",
    .is_device = true,
    .allot = cuda_allot,
    .release = cuda_release,
    .put = cuda_put,
    .get = cuda_get,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .wait = cuda_wait,
};

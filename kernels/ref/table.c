/* ref/table.c - the definition as a set. */
#include "kernels/ref/ref.h"

const struct kernels ref_kernels = {
    .name = "ref",
    .matmul = ref_matmul,
    .quantize_rows = ref_quantize_rows,
    .quantize_columns = ref_quantize_columns,
    .dequantize_rows = ref_dequantize_rows,
    .packed_bytes = ref_packed_bytes,
    .pack = ref_pack,
    .multiply = ref_multiply,
    .rmsnorm = ref_rmsnorm,
    .rmsnorm_grad = ref_rmsnorm_grad,
    .swiglu = ref_swiglu,
    .swiglu_grad = ref_swiglu_grad,
    .rope = ref_rope,
    .attention = ref_attention,
    .attention_grad = ref_attention_grad,
    .sigmoid = ref_sigmoid_each,
    .cross_entropy = ref_cross_entropy,
    .sum_squares = ref_sum_squares,
    .axpy = ref_axpy,
    .dot = ref_dot,
    .adamw = ref_adamw,
    .nadamw = ref_nadamw,
    .momentum = ref_momentum,
    .descend = ref_descend,
};

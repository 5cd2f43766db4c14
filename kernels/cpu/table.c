/* cpu/table.c - the kernels of one instruction set. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

const struct kernels CPU(kernels) = {
    .name = CPU_NAME,
    .matmul = CPU(matmul),
    .quantize_rows = ref_quantize_rows,
    .quantize_columns = ref_quantize_columns,
    .dequantize_rows = ref_dequantize_rows,
    .packed_bytes = ref_packed_bytes,
    .pack = ref_pack,
    .multiply = ref_multiply,
    .rmsnorm = CPU(rmsnorm),
    .rmsnorm_grad = CPU(rmsnorm_grad),
    .swiglu = CPU(swiglu),
    .swiglu_grad = CPU(swiglu_grad),
    .rope = CPU(rope),
    .attention = CPU(attention),
    .attention_grad = CPU(attention_grad),
    .sigmoid = CPU(sigmoid),
    .cross_entropy = CPU(cross_entropy),
    .sum_squares = CPU(sum_squares),
    .axpy = CPU(axpy),
    .dot = CPU(dot),
    .adamw = CPU(adamw),
    .nadamw = CPU(nadamw),
    .momentum = CPU(momentum),
    .descend = CPU(descend),
};

/* cpu/table.c - the kernels of one instruction set. */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

const struct kernels CPU(kernels) = {
    .name = CPU_NAME,
#ifdef __x86_64__
    CPU_QUANTIZE,
    .packed_bytes = CPU(packed_bytes),
    .pack = CPU(pack),
    .multiply = CPU(multiply),
#else
    .quantize_rows = ref_quantize_rows,
    .quantize_columns = ref_quantize_columns,
    .dequantize_rows = ref_dequantize_rows,
    .packed_bytes = ref_packed_bytes,
    .pack = ref_pack,
    .multiply = ref_multiply,
#endif
    CPU_SHARED_KERNELS,
};

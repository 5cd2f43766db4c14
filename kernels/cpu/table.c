/* cpu/table.c - the kernels of one instruction set. */
#include "kernels/cpu/cpu.h"

const struct kernels CPU(kernels) = {
    .name = CPU_NAME,
    CPU_QUANTIZE,
    .packed_bytes = CPU(packed_bytes),
    .pack = CPU(pack),
    .multiply = CPU(multiply),
    CPU_SHARED_KERNELS,
};

/**
 * kernels/cuda/product_i8.h - the exact-integer products of a GPU: what a variant is given, and the last rounding, which all share.
 *
 * Both operands lie with k contiguous ("K-major"), slice by slice: rows of a (M, K), and columns of b (N, K).  The sum over
 * k is cut into parts; each has its own Z and its own fma into the output, which stays in registers from part to part.
 * multiply() has parts of PRODUCT_K_MAX and the same exponents for all; product_grad() parts of some hundred rows, each with the exponents
 * that its columns were rounded with.  Integer sums are exact, so variants differ in speed alone, and one that does not is left
 * out at start (prove.cu).
 */
#ifndef KERNELS_CUDA_PRODUCT_I8_H
#define KERNELS_CUDA_PRODUCT_I8_H

#include "kernels/cuda/cuda.h"

/* A packed operand (b) has its columns and its k filled up with zeros to multiples of these, so that tiles of up to 128
 * columns read no byte beyond it. */
#define PRODUCT_N_PAD ((size_t)128)
#define PRODUCT_K_PAD ((size_t)128)

/** One product: c = [c +] sum over parts of float(Z of the part) 2^(exponents of the part). */
struct product {
    float *c; /* (M, N; rows of ldc) */
    size_t ldc;
    /* (M, K; rows of lda), on multiples of 16 as is lda.  What lies between K and lda is any bytes; behind the last row's
     * K there may be no memory.  a_low is NULL with one slice. */
    const int8_t *a_high, *a_low;
    size_t lda;
    /* (N up to a multiple of PRODUCT_N_PAD, ldb), zeros beyond N and K; on multiples of 64; ldb is K up to a multiple of PRODUCT_K_PAD */
    const int8_t *b_high, *b_low;
    size_t ldb;
    const int8_t *a_exponent, *b_exponent;   /* (M), (N) of the first part; NULL: 0 */
    size_t a_exponent_step, b_exponent_step; /* from part to part; 0: all parts have the same */
    size_t M, N, K;                          /* all above 0 */
    size_t part; /* terms of k in a part, a multiple of PRODUCT_K_PAD, at most PRODUCT_K_MAX; the last may be shorter */
    bool accumulate;
};

/** A way to compute it. */
struct product_variant {
    const char *name;
    int chip_min, chip_max; /* 10 * major + minor of the chips that have its instructions; chip_max 0: all later ones */
    bool (*works)(const struct product *p);    /* whether it can do this one here; NULL: any.  Others are then taken */
    void (*multiply)(const struct product *p); /* queues it on this thread's stream; errors go to cuda_note() */
};

extern const struct product_variant product_dp4a, product_imma16, product_imma32, product_bf16, product_lt, product_wgmma;

/** Bytes of scratch of a thread that multiplies up to n_rows rows with weights of up to `width` by `width`, and sums their gradients in parts of
 * `part`: of operands laid out, and of what product_lt needs besides. */
size_t product_operands_bytes(size_t n_rows, size_t width, size_t part);
size_t product_lt_bytes(size_t n_rows, size_t width);

/** Which tiles suit a shape on this chip: 128 x 128, 64 x 64, or 16 rows of 32 columns. */
enum product_size { PRODUCT_LARGE, PRODUCT_MIDDLE, PRODUCT_SMALL };
enum product_size product_size(const struct product *p);

/** Multiprocessors that tiles are shared out over: the chip's, or as many as the proof says there are, so that small products come in large
 * tiles too; 0: the chip's again.  No other thread may be multiplying. */
size_t product_units(void);
void product_pretend_units(size_t n_units);

static inline size_t product_parts(const struct product *p)
{
    return (p->K + p->part - 1) / p->part;
}

/* float(Z) of one slice, and Z = 256 high + cross of two.  The sums fit into int32 and Z into 40 bits.  Z is cut at its
 * 20th bit into two numbers that floats hold exactly, so that the fma's rounding is the only one. */
static __device__ __forceinline__ float product_float(int32_t high)
{
    return __int2float_rn(high);
}
static __device__ __forceinline__ float product_float(int32_t high, int32_t cross)
{
    int32_t above = (high + (cross >> 8)) >> 12;
    uint32_t below = ((uint32_t)high * 256 + (uint32_t)cross) & 0xfffff;
    return __fmaf_rn(__int2float_rn(above), 0x1p20f, __int2float_rn((int32_t)below));
}

/* 2^(ea + eb [+ 8]): 0 below 2^-100; NaN where a group was refused. */
static __device__ __forceinline__ float product_scale(int ea, int eb, bool has_two)
{
    int e = ea + eb + (has_two ? 8 : 0);
    uint32_t bits = e < -100 ? 0 : (uint32_t)((e < 127 ? e : 127) + 127) << 23;
    return __uint_as_float(ea == QUANTIZE_BAD || eb == QUANTIZE_BAD ? 0x7fc00000u : bits);
}

#endif

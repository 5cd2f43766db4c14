/**
 * kernels/cuda/lt_abi.h - what of cuBLASLt's binary interface we call, so that neither its header nor its library is needed to build.
 *
 * Where the header is there, lt.cu compares.
 */
#ifndef KERNELS_CUDA_LT_ABI_H
#define KERNELS_CUDA_LT_ABI_H

#include <stddef.h>
#include <stdint.h>

enum {
    LT_SUCCESS = 0,
    LT_OP_N = 0,
    LT_OP_T = 1,
    LT_COMPUTE_32F = 68,
    LT_COMPUTE_32I = 72,
    LT_R_32F = 0,
    LT_R_8I = 3,
    LT_R_32I = 10,
    LT_R_16BF = 14,
    LT_DESC_TRANSA = 3,
    LT_DESC_TRANSB = 4,
    LT_PREF_WORKSPACE = 1,
    LT_PREF_ALIGN_A = 5, /* then B, C, D */
};

struct lt_algo {
    uint64_t data[8];
};

struct lt_heuristic {
    struct lt_algo algo;
    size_t workspace_bytes;
    int state;
    float n_waves;
    int reserved[4];
};

/* Matrices are column-major in it; all functions give 0 or an error. */
struct lt_library {
    size_t (*version)(void);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int what, const void *value, size_t n_bytes);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*pref_create)(void **pref);
    int (*pref_destroy)(void *pref);
    int (*pref_set)(void *pref, int what, const void *value, size_t n_bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *pref, int n_wanted,
                     struct lt_heuristic *out, int *n_found);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout,
                  const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const struct lt_algo *algo,
                  void *workspace, size_t workspace_bytes, void *stream);
};

#endif

/**
 * kernels/cpu/vec.h - a vector of 16 (AVX-512), 8 (AVX2) or 4 (NEON) floats.
 *
 * The files of kernels/cpu are compiled once for each instruction set, with its compiler flags; CPU(name) gives each its
 * own name.  Every operation here is one IEEE operation a lane, so lanes have the bits of the scalar loop in kernels/ref.
 * A `mask` marks the lanes that take part where fewer than WIDTH elements are left.
 */
#ifndef KERNELS_CPU_VEC_H
#define KERNELS_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#ifdef __aarch64__
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#ifdef __AVX512F__

#define CPU(name) avx512_##name
#define CPU_NAME "avx512"
#define WIDTH ((size_t)16)
#define N_REGISTERS 32
typedef __m512 vec;
typedef __mmask16 mask;

/** The first n lanes; n may exceed WIDTH. */
static inline mask v_first(size_t n)
{
    return n < WIDTH ? (mask)((1u << n) - 1) : (mask)0xffff;
}
static inline vec v_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vec v_all(float x)
{
    return _mm512_set1_ps(x);
}
static inline vec v_load(const float *at)
{
    return _mm512_loadu_ps(at);
}
static inline void v_store(float *at, vec x)
{
    _mm512_storeu_ps(at, x);
}
/** Lanes outside the mask are read as +0, and their memory is not touched. */
static inline vec v_load_part(const float *at, mask m)
{
    return _mm512_maskz_loadu_ps(m, at);
}
static inline void v_store_part(float *at, mask m, vec x)
{
    _mm512_mask_storeu_ps(at, m, x);
}
static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
static inline vec v_sqrt(vec a)
{
    return _mm512_sqrt_ps(a);
}
/** a b + c and c - a b, rounded once. */
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vec v_neg(vec a)
{
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}
static inline vec v_abs(vec a)
{
    return _mm512_abs_ps(a);
}
/** a > b ? a : b */
static inline vec v_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}
static inline mask v_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline mask v_is_nan(vec a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}
static inline vec v_select(mask m, vec yes, vec no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
/** p 2^n, for the n that stands in the low bits of t: see ref_exp. */
static inline vec v_scale(vec p, vec t)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}
/** The upper half of the lanes added to the lower. */
static inline __m256 v_halve(vec a)
{
    return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
}

#elif defined __AVX2__

#define CPU(name) avx2_##name
#define CPU_NAME "avx2"
#define WIDTH ((size_t)8)
#define N_REGISTERS 16
typedef __m256 vec;
typedef __m256 mask;

static inline mask v_first(size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n < WIDTH ? (int)n : (int)WIDTH), lane));
}
static inline vec v_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vec v_all(float x)
{
    return _mm256_set1_ps(x);
}
static inline vec v_load(const float *at)
{
    return _mm256_loadu_ps(at);
}
static inline void v_store(float *at, vec x)
{
    _mm256_storeu_ps(at, x);
}
static inline vec v_load_part(const float *at, mask m)
{
    return _mm256_maskload_ps(at, _mm256_castps_si256(m));
}
static inline void v_store_part(float *at, mask m, vec x)
{
    _mm256_maskstore_ps(at, _mm256_castps_si256(m), x);
}
static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
static inline vec v_sqrt(vec a)
{
    return _mm256_sqrt_ps(a);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vec v_neg(vec a)
{
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}
static inline vec v_abs(vec a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
static inline mask v_less(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline mask v_is_nan(vec a)
{
    return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}
static inline vec v_select(mask m, vec yes, vec no)
{
    return _mm256_blendv_ps(no, yes, m);
}
static inline vec v_scale(vec p, vec t)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}

#else

#define CPU(name) neon_##name
#define CPU_NAME "neon"
#define WIDTH ((size_t)4)
#define N_REGISTERS 32
typedef float32x4_t vec;
typedef uint32x4_t mask;

static inline mask v_first(size_t n)
{
    static const uint32_t lane[4] = {0, 1, 2, 3};
    return vcltq_u32(vld1q_u32(lane), vdupq_n_u32(n < WIDTH ? (uint32_t)n : (uint32_t)WIDTH));
}
static inline vec v_zero(void)
{
    return vdupq_n_f32(0.0f);
}
static inline vec v_all(float x)
{
    return vdupq_n_f32(x);
}
static inline vec v_load(const float *at)
{
    return vld1q_f32(at);
}
static inline void v_store(float *at, vec x)
{
    vst1q_f32(at, x);
}
/* There is no masked access: lane by lane. */
static inline vec v_load_part(const float *at, mask m)
{
    vec x = v_zero();
    if (vgetq_lane_u32(m, 0))
        x = vld1q_lane_f32(at, x, 0);
    if (vgetq_lane_u32(m, 1))
        x = vld1q_lane_f32(at + 1, x, 1);
    if (vgetq_lane_u32(m, 2))
        x = vld1q_lane_f32(at + 2, x, 2);
    if (vgetq_lane_u32(m, 3))
        x = vld1q_lane_f32(at + 3, x, 3);
    return x;
}
static inline void v_store_part(float *at, mask m, vec x)
{
    if (vgetq_lane_u32(m, 0))
        vst1q_lane_f32(at, x, 0);
    if (vgetq_lane_u32(m, 1))
        vst1q_lane_f32(at + 1, x, 1);
    if (vgetq_lane_u32(m, 2))
        vst1q_lane_f32(at + 2, x, 2);
    if (vgetq_lane_u32(m, 3))
        vst1q_lane_f32(at + 3, x, 3);
}
static inline vec v_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return vdivq_f32(a, b);
}
static inline vec v_sqrt(vec a)
{
    return vsqrtq_f32(a);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}
static inline vec v_fnma(vec a, vec b, vec c)
{
    return vfmsq_f32(c, a, b);
}
static inline vec v_neg(vec a)
{
    return vnegq_f32(a);
}
static inline vec v_abs(vec a)
{
    return vabsq_f32(a);
}
/* Not vmaxq, which gives NaN where only a is. */
static inline vec v_max(vec a, vec b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline mask v_less(vec a, vec b)
{
    return vcltq_f32(a, b);
}
static inline mask v_is_nan(vec a)
{
    return vmvnq_u32(vceqq_f32(a, a));
}
static inline vec v_select(mask m, vec yes, vec no)
{
    return vbslq_f32(m, yes, no);
}
static inline vec v_scale(vec p, vec t)
{
    uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(t), 23);
    return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(p), n));
}

#endif

/** The vectors that hold the 32 lanes of a row sum. */
#define SUM_VECS (32 / WIDTH)

#ifdef __aarch64__

/** The tree of a row sum; the same as ref_lanes_sum. */
static inline float v_lanes_sum(const vec sum[SUM_VECS])
{
    vec even = v_add(v_add(sum[0], sum[4]), v_add(sum[2], sum[6]));
    vec odd = v_add(v_add(sum[1], sum[5]), v_add(sum[3], sum[7]));
    vec four = v_add(even, odd);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/** The greatest lane; either all lanes are NaN or none. */
static inline float v_greatest(vec a)
{
    return vmaxvq_f32(a);
}

/** Turns TURN rows of TURN into columns. */
#define TURN ((size_t)4)
static inline void v_turn(float *to, size_t ld_to, const float *from, size_t ld_from)
{
    float32x4x2_t low = vtrnq_f32(v_load(from), v_load(from + ld_from));
    float32x4x2_t high = vtrnq_f32(v_load(from + 2 * ld_from), v_load(from + 3 * ld_from));
    for (size_t i = 0; i < 2; i++) {
        v_store(to + i * ld_to, vcombine_f32(vget_low_f32(low.val[i]), vget_low_f32(high.val[i])));
        v_store(to + (i + 2) * ld_to, vcombine_f32(vget_high_f32(low.val[i]), vget_high_f32(high.val[i])));
    }
}

#else

static inline float v_lanes_sum(const vec sum[SUM_VECS])
{
#ifdef __AVX512F__
    __m256 eight = v_halve(v_add(sum[0], sum[1]));
#else
    __m256 eight = v_add(v_add(sum[0], sum[2]), v_add(sum[1], sum[3]));
#endif
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_shuffle_ps(x, x, 1));
    return _mm_cvtss_f32(x);
}

static inline float v_greatest(vec a)
{
#ifdef __AVX512F__
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
#else
    __m256 eight = a;
#endif
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    x = _mm_max_ss(x, _mm_shuffle_ps(x, x, 1));
    return _mm_cvtss_f32(x);
}

#define TURN ((size_t)8)
static inline void v_turn(float *to, size_t ld_to, const float *from, size_t ld_from)
{
    __m256 r[8], s[8];
    for (size_t i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(from + i * ld_from);
    for (size_t i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (size_t i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    for (size_t i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * ld_to, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * ld_to, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

#endif

#endif

/**
 * kernels/cpu/ivec.h - a vector of WIDTH int32, beside vec.h, and its ways from and to floats and bytes.
 *
 * Conversions round to nearest even: the default of the control register, which nothing here changes.
 */
#ifndef KERNELS_CPU_IVEC_H
#define KERNELS_CPU_IVEC_H

#include <string.h>

#include "kernels/cpu/vec.h"

#ifdef __AVX512F__

typedef __m512i ivec;

static inline ivec iv_zero(void)
{
    return _mm512_setzero_si512();
}
static inline ivec iv_all(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline ivec iv_load(const void *at)
{
    return _mm512_loadu_si512(at);
}
static inline void iv_store(void *at, ivec x)
{
    _mm512_storeu_si512(at, x);
}
static inline ivec iv_add(ivec a, ivec b)
{
    return _mm512_add_epi32(a, b);
}
static inline ivec iv_sub(ivec a, ivec b)
{
    return _mm512_sub_epi32(a, b);
}
static inline ivec iv_and(ivec a, ivec b)
{
    return _mm512_and_si512(a, b);
}
static inline ivec iv_max(ivec a, ivec b)
{
    return _mm512_max_epi32(a, b);
}
static inline ivec iv_min(ivec a, ivec b)
{
    return _mm512_min_epi32(a, b);
}
static inline ivec iv_left(ivec a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}
static inline ivec iv_right(ivec a, int n)
{
    return _mm512_srai_epi32(a, (unsigned)n);
}
/** a > b ? yes : 0 */
static inline ivec iv_if_greater(ivec a, ivec b, ivec yes)
{
    return _mm512_maskz_mov_epi32(_mm512_cmpgt_epi32_mask(a, b), yes);
}
/** sum + the two products of pairs of int16. */
static inline ivec iv_madd(ivec sum, ivec a, ivec b)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
static inline vec v_of_bits(ivec a)
{
    return _mm512_castsi512_ps(a);
}
static inline ivec iv_bits(vec a)
{
    return _mm512_castps_si512(a);
}
static inline vec v_of_ints(ivec a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline ivec iv_rint(vec a)
{
    return _mm512_cvtps_epi32(a);
}
static inline int32_t iv_greatest(ivec a)
{
    return _mm512_reduce_max_epi32(a);
}
/** The first n of WIDTH bytes, sign extended; the others are 0, and their memory is not touched. */
static inline ivec iv_of_bytes(const int8_t *at, size_t n)
{
    return _mm512_cvtepi8_epi32(n < WIDTH ? _mm_maskz_loadu_epi8(v_first(n), at) : _mm_loadu_si128((const __m128i *)at));
}
/** The lowest byte of the first n. */
static inline void iv_to_bytes(int8_t *at, ivec x, size_t n)
{
    if (n < WIDTH)
        _mm512_mask_cvtepi32_storeu_epi8(at, v_first(n), x);
    else
        _mm_storeu_si128((__m128i *)at, _mm512_cvtepi32_epi8(x));
}

/** Doubles to half as many lanes. */
typedef __m512d dvec;
static inline dvec dv_of_ints(ivec a, int half)
{
    return _mm512_cvtepi32_pd(half ? _mm512_extracti64x4_epi64(a, 1) : _mm512_castsi512_si256(a));
}
static inline dvec dv_fma(dvec a, double b, dvec c)
{
    return _mm512_fmadd_pd(a, _mm512_set1_pd(b), c);
}
static inline dvec dv_add(dvec a, dvec b)
{
    return _mm512_add_pd(a, b);
}
static inline dvec dv_load(const double *at)
{
    return _mm512_loadu_pd(at);
}
static inline void dv_store(double *at, dvec x)
{
    _mm512_storeu_pd(at, x);
}
static inline vec v_of_doubles(dvec low, dvec high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}

#elif defined __AVX2__

typedef __m256i ivec;

static inline ivec iv_zero(void)
{
    return _mm256_setzero_si256();
}
static inline ivec iv_all(int32_t x)
{
    return _mm256_set1_epi32(x);
}
static inline ivec iv_load(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}
static inline void iv_store(void *at, ivec x)
{
    _mm256_storeu_si256((__m256i *)at, x);
}
static inline ivec iv_add(ivec a, ivec b)
{
    return _mm256_add_epi32(a, b);
}
static inline ivec iv_sub(ivec a, ivec b)
{
    return _mm256_sub_epi32(a, b);
}
static inline ivec iv_and(ivec a, ivec b)
{
    return _mm256_and_si256(a, b);
}
static inline ivec iv_max(ivec a, ivec b)
{
    return _mm256_max_epi32(a, b);
}
static inline ivec iv_min(ivec a, ivec b)
{
    return _mm256_min_epi32(a, b);
}
static inline ivec iv_left(ivec a, int n)
{
    return _mm256_slli_epi32(a, n);
}
static inline ivec iv_right(ivec a, int n)
{
    return _mm256_srai_epi32(a, n);
}
static inline ivec iv_if_greater(ivec a, ivec b, ivec yes)
{
    return _mm256_and_si256(_mm256_cmpgt_epi32(a, b), yes);
}
static inline ivec iv_madd(ivec sum, ivec a, ivec b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
static inline vec v_of_bits(ivec a)
{
    return _mm256_castsi256_ps(a);
}
static inline ivec iv_bits(vec a)
{
    return _mm256_castps_si256(a);
}
static inline vec v_of_ints(ivec a)
{
    return _mm256_cvtepi32_ps(a);
}
static inline ivec iv_rint(vec a)
{
    return _mm256_cvtps_epi32(a);
}
static inline int32_t iv_greatest(ivec a)
{
    __m128i x = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1));
    return _mm_cvtsi128_si32(x);
}
static inline ivec iv_of_bytes(const int8_t *at, size_t n)
{
    int64_t eight = 0;
    if (n < WIDTH)
        memcpy(&eight, at, n);
    else
        memcpy(&eight, at, WIDTH);
    return _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(eight));
}
static inline void iv_to_bytes(int8_t *at, ivec x, size_t n)
{
    /* the lowest byte of each lane to the front of its half */
    __m256i front = _mm256_set1_epi32(0x0c080400);
    x = _mm256_shuffle_epi8(x, front);
    __m128i eight = _mm_unpacklo_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    int64_t bytes = _mm_cvtsi128_si64(eight);
    if (n < WIDTH)
        memcpy(at, &bytes, n);
    else
        memcpy(at, &bytes, WIDTH);
}

typedef __m256d dvec;
static inline dvec dv_of_ints(ivec a, int half)
{
    return _mm256_cvtepi32_pd(half ? _mm256_extracti128_si256(a, 1) : _mm256_castsi256_si128(a));
}
static inline dvec dv_fma(dvec a, double b, dvec c)
{
    return _mm256_fmadd_pd(a, _mm256_set1_pd(b), c);
}
static inline dvec dv_add(dvec a, dvec b)
{
    return _mm256_add_pd(a, b);
}
static inline dvec dv_load(const double *at)
{
    return _mm256_loadu_pd(at);
}
static inline void dv_store(double *at, dvec x)
{
    _mm256_storeu_pd(at, x);
}
static inline vec v_of_doubles(dvec low, dvec high)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}

#else

typedef int32x4_t ivec;

static inline ivec iv_zero(void)
{
    return vdupq_n_s32(0);
}
static inline ivec iv_all(int32_t x)
{
    return vdupq_n_s32(x);
}
static inline ivec iv_load(const void *at)
{
    return vreinterpretq_s32_u8(vld1q_u8(at));
}
static inline void iv_store(void *at, ivec x)
{
    vst1q_u8(at, vreinterpretq_u8_s32(x));
}
static inline ivec iv_add(ivec a, ivec b)
{
    return vaddq_s32(a, b);
}
static inline ivec iv_sub(ivec a, ivec b)
{
    return vsubq_s32(a, b);
}
static inline ivec iv_and(ivec a, ivec b)
{
    return vandq_s32(a, b);
}
static inline ivec iv_max(ivec a, ivec b)
{
    return vmaxq_s32(a, b);
}
static inline ivec iv_min(ivec a, ivec b)
{
    return vminq_s32(a, b);
}
static inline ivec iv_left(ivec a, int n)
{
    return vshlq_s32(a, vdupq_n_s32(n));
}
static inline ivec iv_right(ivec a, int n)
{
    return vshlq_s32(a, vdupq_n_s32(-n));
}
static inline ivec iv_if_greater(ivec a, ivec b, ivec yes)
{
    return vandq_s32(vreinterpretq_s32_u32(vcgtq_s32(a, b)), yes);
}
static inline ivec iv_madd(ivec sum, ivec a, ivec b)
{
    sum = vmlal_s16(sum, vmovn_s32(a), vmovn_s32(b));
    return vmlal_s16(sum, vshrn_n_s32(a, 16), vshrn_n_s32(b, 16));
}
static inline vec v_of_bits(ivec a)
{
    return vreinterpretq_f32_s32(a);
}
static inline ivec iv_bits(vec a)
{
    return vreinterpretq_s32_f32(a);
}
static inline vec v_of_ints(ivec a)
{
    return vcvtq_f32_s32(a);
}
static inline ivec iv_rint(vec a)
{
    return vcvtnq_s32_f32(a);
}
static inline int32_t iv_greatest(ivec a)
{
    return vmaxvq_s32(a);
}
static inline ivec iv_of_bytes(const int8_t *at, size_t n)
{
    int32_t four = 0;
    if (n < WIDTH)
        memcpy(&four, at, n);
    else
        memcpy(&four, at, WIDTH);
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
}
static inline void iv_to_bytes(int8_t *at, ivec x, size_t n)
{
    int16x4_t words = vmovn_s32(x);
    int32_t four = vget_lane_s32(vreinterpret_s32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
    if (n < WIDTH)
        memcpy(at, &four, n);
    else
        memcpy(at, &four, WIDTH);
}

typedef float64x2_t dvec;
static inline dvec dv_of_ints(ivec a, int half)
{
    return vcvtq_f64_s64(vmovl_s32(half ? vget_high_s32(a) : vget_low_s32(a)));
}
static inline dvec dv_fma(dvec a, double b, dvec c)
{
    return vfmaq_f64(c, a, vdupq_n_f64(b));
}
static inline dvec dv_add(dvec a, dvec b)
{
    return vaddq_f64(a, b);
}
static inline dvec dv_load(const double *at)
{
    return vld1q_f64(at);
}
static inline void dv_store(double *at, dvec x)
{
    vst1q_f64(at, x);
}
static inline vec v_of_doubles(dvec low, dvec high)
{
    return vcvt_high_f32_f64(vcvt_f32_f64(low), high);
}

#endif

/** 2^e for e in -126..127, as ref_power. */
static inline vec v_power(ivec e)
{
    return v_of_bits(iv_left(iv_add(e, iv_all(127)), 23));
}

/** |x| as bits. */
static inline ivec iv_magnitude(vec x)
{
    return iv_and(iv_bits(x), iv_all(0x7fffffff));
}

#endif

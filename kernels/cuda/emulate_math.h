/**
 * kernels/cuda/emulate_math.h - CUDA's intrinsic functions on a CPU (kernels/cuda/emulate.h includes it).
 *
 * Floats are IEEE single precision without contraction (-ffp-contract=off), as the device's _rn intrinsics are.
 */
#ifndef KERNELS_CUDA_EMULATE_MATH_H
#define KERNELS_CUDA_EMULATE_MATH_H

#define EMULATE_FN static __forceinline__

/* ---- floats */

EMULATE_FN float __fmaf_rn(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
EMULATE_FN float __fadd_rn(float a, float b)
{
    return a + b;
}
EMULATE_FN float __fsub_rn(float a, float b)
{
    return a - b;
}
EMULATE_FN float __fmul_rn(float a, float b)
{
    return a * b;
}
EMULATE_FN float __fdiv_rn(float a, float b)
{
    return a / b;
}
EMULATE_FN float __frcp_rn(float a)
{
    return 1.0f / a;
}
EMULATE_FN float __fsqrt_rn(float a)
{
    return __builtin_sqrtf(a);
}
EMULATE_FN double __dadd_rn(double a, double b)
{
    return a + b;
}
EMULATE_FN double __dmul_rn(double a, double b)
{
    return a * b;
}
EMULATE_FN double __fma_rn(double a, double b, double c)
{
    return __builtin_fma(a, b, c);
}

template <class To, class From> EMULATE_FN To emulate_bits(From from)
{
    To to;
    static_assert(sizeof to == sizeof from, "bits of one size");
    memcpy(&to, &from, sizeof to);
    return to;
}
EMULATE_FN int __float_as_int(float x)
{
    return emulate_bits<int>(x);
}
EMULATE_FN unsigned __float_as_uint(float x)
{
    return emulate_bits<unsigned>(x);
}
EMULATE_FN float __int_as_float(int x)
{
    return emulate_bits<float>(x);
}
EMULATE_FN float __uint_as_float(unsigned x)
{
    return emulate_bits<float>(x);
}
EMULATE_FN long long __double_as_longlong(double x)
{
    return emulate_bits<long long>(x);
}
EMULATE_FN double __longlong_as_double(long long x)
{
    return emulate_bits<double>(x);
}

/* Conversions saturate, and NaN gives 0. */
EMULATE_FN int emulate_to_int(float x)
{
    return x != x ? 0 : x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : (int)x;
}
EMULATE_FN unsigned emulate_to_uint(float x)
{
    return !(x > 0) ? 0 : x >= 0x1p32f ? UINT32_MAX : (unsigned)x;
}
EMULATE_FN int __float2int_rn(float x)
{
    return emulate_to_int(__builtin_rintf(x));
}
EMULATE_FN int __float2int_rz(float x)
{
    return emulate_to_int(x);
}
EMULATE_FN int __float2int_rd(float x)
{
    return emulate_to_int(__builtin_floorf(x));
}
EMULATE_FN int __float2int_ru(float x)
{
    return emulate_to_int(__builtin_ceilf(x));
}
EMULATE_FN unsigned __float2uint_rn(float x)
{
    return emulate_to_uint(__builtin_rintf(x));
}
EMULATE_FN unsigned __float2uint_rz(float x)
{
    return emulate_to_uint(x);
}
EMULATE_FN float __int2float_rn(int x)
{
    return (float)x;
}
EMULATE_FN float __uint2float_rn(unsigned x)
{
    return (float)x;
}
EMULATE_FN float __ll2float_rn(long long x)
{
    return (float)x;
}
EMULATE_FN float __ull2float_rn(unsigned long long x)
{
    return (float)x;
}
EMULATE_FN float __double2float_rn(double x)
{
    return (float)x;
}
EMULATE_FN double __int2double_rn(int x)
{
    return (double)x;
}
EMULATE_FN double __ll2double_rn(long long x)
{
    return (double)x;
}

/* ---- integers */

EMULATE_FN int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
EMULATE_FN int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
EMULATE_FN int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
EMULATE_FN int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
EMULATE_FN int __ffs(int x)
{
    return __builtin_ffs(x);
}
EMULATE_FN int __mulhi(int a, int b)
{
    return (int)(((long long)a * b) >> 32);
}
EMULATE_FN unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}
EMULATE_FN unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
EMULATE_FN unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by)
{
    return by & 31 ? high << (by & 31) | low >> (32 - (by & 31)) : high;
}
EMULATE_FN unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by)
{
    return by & 31 ? high << (32 - (by & 31)) | low >> (by & 31) : low;
}

EMULATE_FN unsigned __byte_perm(unsigned a, unsigned b, unsigned pick)
{
    uint64_t both = (uint64_t)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned p = pick >> (4 * i), byte = (unsigned)(both >> (8 * (p & 7))) & 255;
        r |= (p & 8 ? (byte & 128 ? 255 : 0) : byte) << (8 * i);
    }
    return r;
}

/* c + the products of four signed bytes; sums wrap as the device's do. */
EMULATE_FN int __dp4a(int a, int b, int c)
{
    unsigned sum = (unsigned)c;
    for (int i = 0; i < 32; i += 8)
        sum += (unsigned)((int8_t)((unsigned)a >> i) * (int8_t)((unsigned)b >> i));
    return (int)sum;
}
EMULATE_FN unsigned __dp4a(unsigned a, unsigned b, unsigned c)
{
    for (int i = 0; i < 32; i += 8)
        c += (uint8_t)(a >> i) * (unsigned)(uint8_t)(b >> i);
    return c;
}

#define EMULATE_MIN_MAX(T)                                                                                                       \
    EMULATE_FN T min(T a, T b)                                                                                                   \
    {                                                                                                                            \
        return a < b ? a : b;                                                                                                    \
    }                                                                                                                            \
    EMULATE_FN T max(T a, T b)                                                                                                   \
    {                                                                                                                            \
        return a > b ? a : b;                                                                                                    \
    }
EMULATE_MIN_MAX(int)
EMULATE_MIN_MAX(unsigned)
EMULATE_MIN_MAX(long)
EMULATE_MIN_MAX(unsigned long)
EMULATE_MIN_MAX(long long)
EMULATE_MIN_MAX(unsigned long long)
/* Of a number and NaN: the number. */
EMULATE_FN float min(float a, float b)
{
    return __builtin_fminf(a, b);
}
EMULATE_FN float max(float a, float b)
{
    return __builtin_fmaxf(a, b);
}

/* ---- memory */

template <class T> EMULATE_FN T __ldg(const T *at)
{
    return *at;
}
template <class T> EMULATE_FN T __ldcs(const T *at)
{
    return *at;
}
template <class T> EMULATE_FN T __ldcg(const T *at)
{
    return *at;
}
template <class T> EMULATE_FN T __ldca(const T *at)
{
    return *at;
}
template <class T> EMULATE_FN void __stcs(T *at, T value)
{
    *at = value;
}
template <class T> EMULATE_FN void __stcg(T *at, T value)
{
    *at = value;
}

/* Threads of a launch take turns on one CPU thread, so a plain step is atomic. */
template <class T> struct emulate_same {
    typedef T type;
};
#define EMULATE_ATOMIC(name, new_value)                                                                                          \
    template <class T> EMULATE_FN T name(T *at, typename emulate_same<T>::type x)                                                \
    {                                                                                                                            \
        T old = *at;                                                                                                             \
        *at = (T)(new_value);                                                                                                    \
        return old;                                                                                                              \
    }
EMULATE_ATOMIC(emulate_add, old + x)
EMULATE_ATOMIC(emulate_sub, old - x)
EMULATE_ATOMIC(atomicMax, old > x ? old : x)
EMULATE_ATOMIC(atomicMin, old < x ? old : x)
EMULATE_ATOMIC(atomicOr, old | x)
EMULATE_ATOMIC(atomicAnd, old &x)
EMULATE_ATOMIC(atomicXor, old ^ x)
EMULATE_ATOMIC(atomicExch, x)
EMULATE_FN int atomicAdd(int *at, int x)
{
    return (int)emulate_add((unsigned *)at, (unsigned)x);
}
EMULATE_FN unsigned atomicAdd(unsigned *at, unsigned x)
{
    return emulate_add(at, x);
}
EMULATE_FN unsigned long long atomicAdd(unsigned long long *at, unsigned long long x)
{
    return emulate_add(at, x);
}
EMULATE_FN int atomicSub(int *at, int x)
{
    return (int)emulate_sub((unsigned *)at, (unsigned)x);
}
EMULATE_FN unsigned atomicSub(unsigned *at, unsigned x)
{
    return emulate_sub(at, x);
}
template <class T> EMULATE_FN T atomicCAS(T *at, typename emulate_same<T>::type expected, typename emulate_same<T>::type value)
{
    T old = *at;
    if (old == expected)
        *at = value;
    return old;
}

#endif

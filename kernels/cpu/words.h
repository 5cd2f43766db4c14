/**
 * kernels/cpu/words.h - slices of an operand, laid out as the words that a multiplying instruction takes.
 *
 * Such an instruction multiplies bytes or int16 in the lanes of 32 bits and adds up each lane.  So an operand becomes words:
 *
 *   QUAD    four k of one slice, as bytes             vpdpbusd, tdpbssd, sdot
 *   PAIR    two k of the only slice, as int16         vpmaddwd
 *   LEFT    one k: 256 high + low, then high          vpmaddwd of LEFT and RIGHT is one term of the product of two
 *   RIGHT   one k: high, then low                     slices: (256 high + low) high' + high low'
 *
 * Word s of line i holds k = s n .. s n + n - 1, n being words_k().  Both operands come either way round in memory, k near or
 * lines near; a left one is wanted with the words of a line together, a right one with those of a step together.
 */
#ifndef KERNELS_CPU_WORDS_H
#define KERNELS_CPU_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __aarch64__
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

enum word { QUAD, PAIR, LEFT, RIGHT };

/** Terms in a word. */
static inline size_t words_k(enum word kind)
{
    return kind == QUAD ? 4 : kind == PAIR ? 2 : 1;
}

/** Slices to be laid out: element (line i, k) is at [i * line + k * k_apart], and one of the two strides is 1. */
struct source {
    const int8_t *high, *low;
    size_t line, k_apart;
    bool is_k_near;
};

/** Word s of line i goes to at[i * line + s * step], one of which is 1, with `flip` xored in. */
struct words {
    int32_t *at;
    size_t line, step;
    bool is_line_together;
    int32_t flip;
};

/* One word of up to words_k() terms; what is beyond them is zero. */
static inline uint32_t word_of(enum word kind, const struct source *x, size_t i, size_t k, size_t n_k)
{
    size_t at = i * x->line + k * x->k_apart;
    uint32_t high = (uint32_t)x->high[at], word = 0;
    if (kind == LEFT)
        return ((high << 8) + (uint32_t)x->low[at]) % 65536 + (high << 16);
    if (kind == RIGHT)
        return high % 65536 + ((uint32_t)x->low[at] << 16);
    for (size_t t = 0; t < n_k; t++) {
        uint32_t term = (uint32_t)x->high[at + t * x->k_apart];
        word |= kind == QUAD ? term % 256 << 8 * t : term % 65536 << 16 * t;
    }
    return word;
}

#ifdef __aarch64__

typedef int32x4x2_t eight;

static inline eight load_8(const int8_t *at)
{
    int16x8_t x = vmovl_s8(vld1_s8(at));
    return (eight){{vmovl_s16(vget_low_s16(x)), vmovl_s16(vget_high_s16(x))}};
}

/* Lower halves of `low` lanes and upper halves from those of `high`. */
static inline eight join_halves(eight low, eight high)
{
    return (eight){{vsliq_n_s32(low.val[0], high.val[0], 16), vsliq_n_s32(low.val[1], high.val[1], 16)}};
}

/* Words of LEFT and RIGHT are the same whichever way eight elements lie. */
static inline eight terms_8(enum word kind, const int8_t *high, const int8_t *low)
{
    eight h = load_8(high), l = load_8(low);
    if (kind == RIGHT)
        return join_halves(h, l);
    for (int i = 0; i < 2; i++)
        l.val[i] = vaddq_s32(vshlq_n_s32(h.val[i], 8), l.val[i]);
    return join_halves(l, h);
}

/* Eight words that follow each other on a line, k being near. */
static inline eight along(enum word kind, const struct source *x, size_t at)
{
    const int8_t *h = x->high + at;
    if (kind == QUAD)
        return (eight){{vreinterpretq_s32_s8(vld1q_s8(h)), vreinterpretq_s32_s8(vld1q_s8(h + 16))}};
    if (kind == PAIR)
        return (eight){{vreinterpretq_s32_s16(vmovl_s8(vld1_s8(h))), vreinterpretq_s32_s16(vmovl_s8(vld1_s8(h + 8)))}};
    return terms_8(kind, h, x->low + at);
}

/* The words of eight lines at one step, lines being near. */
static inline eight across(enum word kind, const struct source *x, size_t at)
{
    const int8_t *h = x->high + at;
    size_t d = x->k_apart;
    if (kind == QUAD) {
        int8x8x2_t even = vzip_s8(vld1_s8(h), vld1_s8(h + d)), odd = vzip_s8(vld1_s8(h + 2 * d), vld1_s8(h + 3 * d));
        int16x8_t e = vreinterpretq_s16_s8(vcombine_s8(even.val[0], even.val[1]));
        int16x8_t o = vreinterpretq_s16_s8(vcombine_s8(odd.val[0], odd.val[1]));
        return (eight){{vreinterpretq_s32_s16(vzip1q_s16(e, o)), vreinterpretq_s32_s16(vzip2q_s16(e, o))}};
    }
    if (kind == PAIR)
        return join_halves(load_8(h), load_8(h + d));
    return terms_8(kind, h, x->low + at);
}

/* Turns 4 rows of 4 words into columns: half `from` of rows r..r+3 to half `to` of rows s..s+3 of `out`. */
static inline void turn_4(eight *out, int s, int to, const eight *in, int r, int from)
{
    int32x4x2_t a = vzipq_s32(in[r].val[from], in[r + 2].val[from]), b = vzipq_s32(in[r + 1].val[from], in[r + 3].val[from]);
    int32x4x2_t low = vzipq_s32(a.val[0], b.val[0]), high = vzipq_s32(a.val[1], b.val[1]);
    out[s].val[to] = low.val[0];
    out[s + 1].val[to] = low.val[1];
    out[s + 2].val[to] = high.val[0];
    out[s + 3].val[to] = high.val[1];
}

/* Turns 8 rows of 8 words into 8 columns. */
static inline void turn_8(eight r[8])
{
    eight s[8];
    turn_4(s, 0, 0, r, 0, 0);
    turn_4(s, 0, 1, r, 4, 0);
    turn_4(s, 4, 0, r, 0, 1);
    turn_4(s, 4, 1, r, 4, 1);
    memcpy(r, s, sizeof s);
}

static inline void put_8(const struct words *to, size_t i, size_t s, eight words)
{
    int32_t *at = to->at + i * to->line + s * to->step;
    vst1q_s32(at, veorq_s32(words.val[0], vdupq_n_s32(to->flip)));
    vst1q_s32(at + 4, veorq_s32(words.val[1], vdupq_n_s32(to->flip)));
}

#else

typedef __m256i eight;

static inline __m256i load_8(const int8_t *at)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at));
}

static inline __m256i join_halves(__m256i low, __m256i high)
{
    return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
}

static inline __m256i terms_8(enum word kind, const int8_t *high, const int8_t *low)
{
    __m256i h = load_8(high), l = load_8(low);
    return kind == LEFT ? join_halves(_mm256_add_epi32(_mm256_slli_epi32(h, 8), l), h) : join_halves(h, l);
}

static inline __m256i along(enum word kind, const struct source *x, size_t at)
{
    if (kind == QUAD)
        return _mm256_loadu_si256((const __m256i *)(x->high + at));
    if (kind == PAIR)
        return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(x->high + at)));
    return terms_8(kind, x->high + at, x->low + at);
}

static inline __m256i across(enum word kind, const struct source *x, size_t at)
{
    const int8_t *h = x->high + at;
    size_t d = x->k_apart;
    if (kind == QUAD) {
        __m128i even = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)h), _mm_loadl_epi64((const __m128i *)(h + d)));
        __m128i odd = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(h + 2 * d)),
                                        _mm_loadl_epi64((const __m128i *)(h + 3 * d)));
        return _mm256_setr_m128i(_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd));
    }
    if (kind == PAIR)
        return join_halves(load_8(h), load_8(h + d));
    return terms_8(kind, h, x->low + at);
}

static inline void turn_8(__m256i r[8])
{
    __m256i s[8];
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        s[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        s[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    memcpy(r, s, sizeof s);
}

static inline void put_8(const struct words *to, size_t i, size_t s, __m256i words)
{
    int32_t *at = to->at + i * to->line + s * to->step;
    _mm256_storeu_si256((__m256i *)at, _mm256_xor_si256(words, _mm256_set1_epi32(to->flip)));
}

#endif

/* Lines i..i_end-1 of steps s..s_end-1, one word at a time: the edges. */
static inline void lay_singly(enum word kind, const struct words *to, const struct source *x, size_t i, size_t i_end, size_t s,
                              size_t s_end, size_t K)
{
    size_t n = words_k(kind);
    for (; i < i_end; i++)
        for (size_t t = s; t < s_end; t++) {
            uint32_t word = word_of(kind, x, i, t * n, K - t * n < n ? K - t * n : n);
            to->at[i * to->line + t * to->step] = (int32_t)word ^ to->flip;
        }
}

/* Source and words lie the same way: eight neighbours go at once. */
static inline __attribute__((always_inline)) void lay_straight(const enum word kind, const struct words *to,
                                                               const struct source *x, size_t n_lines, size_t n_whole, size_t K)
{
    size_t n = words_k(kind);
    if (x->is_k_near) {
        for (size_t i = 0; i < n_lines; i++) {
            size_t s = 0;
            for (; s + 8 <= n_whole; s += 8)
                put_8(to, i, s, along(kind, x, i * x->line + s * n));
            lay_singly(kind, to, x, i, i + 1, s, n_whole, K);
        }
        return;
    }
    for (size_t s = 0; s < n_whole; s++) {
        size_t i = 0;
        for (; i + 8 <= n_lines; i += 8)
            put_8(to, i, s, across(kind, x, s * n * x->k_apart + i));
        lay_singly(kind, to, x, i, n_lines, s, s + 1, K);
    }
}

/* Eight lines by eight steps, turned. */
static inline __attribute__((always_inline)) void lay_block(const enum word kind, const struct words *to, const struct source *x,
                                                            size_t i, size_t s)
{
    size_t n = words_k(kind);
    eight r[8];
    for (size_t t = 0; t < 8; t++)
        r[t] = x->is_k_near ? along(kind, x, (i + t) * x->line + s * n) : across(kind, x, (s + t) * n * x->k_apart + i);
    turn_8(r);
    for (size_t t = 0; t < 8; t++)
        put_8(to, x->is_k_near ? i : i + t, x->is_k_near ? s + t : s, r[t]);
}

/* They lie crosswise.  Blocks follow each other the way the source lies, so that a line of the cache is read once. */
static inline __attribute__((always_inline)) void lay_turned(const enum word kind, const struct words *to, const struct source *x,
                                                             size_t n_lines, size_t n_whole, size_t K)
{
    size_t i_end = n_lines / 8 * 8, s_end = n_whole / 8 * 8;
    if (x->is_k_near)
        for (size_t i = 0; i < i_end; i += 8)
            for (size_t s = 0; s < s_end; s += 8)
                lay_block(kind, to, x, i, s);
    else
        for (size_t s = 0; s < s_end; s += 8)
            for (size_t i = 0; i < i_end; i += 8)
                lay_block(kind, to, x, i, s);
    lay_singly(kind, to, x, 0, i_end, s_end, n_whole, K);
    lay_singly(kind, to, x, i_end, n_lines, 0, n_whole, K);
}

/** Lays out all steps of K terms of n_lines; terms beyond K count as 0. */
static inline __attribute__((always_inline)) void words_lay(const enum word kind, const struct words *to, const struct source *x,
                                                            size_t n_lines, size_t K)
{
    size_t n = words_k(kind), n_whole = K / n;
    if (x->is_k_near == to->is_line_together)
        lay_straight(kind, to, x, n_lines, n_whole, K);
    else
        lay_turned(kind, to, x, n_lines, n_whole, K);
    lay_singly(kind, to, x, 0, n_lines, n_whole, (K + n - 1) / n, K);
}

#endif

/**
 * kernels/cpu/words.h - slices of an operand, laid out as the words that a multiplying instruction takes.
 *
 * Such an instruction multiplies bytes or int16 in the lanes of 32 bits and adds up each lane.  So an operand becomes words:
 *
 *   QUAD    four k of one slice, as bytes             vpdpbusd, tdpbssd
 *   PAIR    two k of the only slice, as int16         vpmaddwd
 *   LEFT    one k: 256 high + low, then high          vpmaddwd of LEFT and RIGHT is one term of the product of two
 *   RIGHT   one k: high, then low                     slices: (256 high + low) high' + high low'
 *
 * Word s of line i holds k = s n .. s n + n - 1, n being words_k().  Both operands come either way round in memory, k near or
 * lines near; a left one is wanted with the words of a line together, a right one with those of a step together.
 */
#ifndef KERNELS_CPU_WORDS_H
#define KERNELS_CPU_WORDS_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

static inline __m256i load_8(const int8_t *at)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at));
}

/* Lower halves of `low` lanes and upper halves from those of `high`. */
static inline __m256i join_halves(__m256i low, __m256i high)
{
    return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xaa);
}

/* Words of LEFT and RIGHT are the same whichever way eight elements lie. */
static inline __m256i terms_8(enum word kind, const int8_t *high, const int8_t *low)
{
    __m256i h = load_8(high), l = load_8(low);
    return kind == LEFT ? join_halves(_mm256_add_epi32(_mm256_slli_epi32(h, 8), l), h) : join_halves(h, l);
}

/* Eight words that follow each other on a line, k being near. */
static inline __m256i along(enum word kind, const struct source *x, size_t at)
{
    if (kind == QUAD)
        return _mm256_loadu_si256((const __m256i *)(x->high + at));
    if (kind == PAIR)
        return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(x->high + at)));
    return terms_8(kind, x->high + at, x->low + at);
}

/* The words of eight lines at one step, lines being near. */
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

/* Turns 8 rows of 8 words into 8 columns. */
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

/* They lie crosswise: blocks of 8 by 8 are turned. */
static inline __attribute__((always_inline)) void lay_turned(const enum word kind, const struct words *to, const struct source *x,
                                                             size_t n_lines, size_t n_whole, size_t K)
{
    size_t n = words_k(kind), i = 0;
    for (; i + 8 <= n_lines; i += 8) {
        size_t s = 0;
        for (; s + 8 <= n_whole; s += 8) {
            __m256i r[8];
            for (size_t t = 0; t < 8; t++)
                r[t] = x->is_k_near ? along(kind, x, (i + t) * x->line + s * n) : across(kind, x, (s + t) * n * x->k_apart + i);
            turn_8(r);
            for (size_t t = 0; t < 8; t++)
                put_8(to, x->is_k_near ? i : i + t, x->is_k_near ? s + t : s, r[t]);
        }
        lay_singly(kind, to, x, i, i + 8, s, n_whole, K);
    }
    lay_singly(kind, to, x, i, n_lines, 0, n_whole, K);
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

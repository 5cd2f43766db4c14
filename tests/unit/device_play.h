/**
 * tests/unit/device_play.h - a set of kernels that plays a device, for tests of what is above kernels/ on machines without one.
 *
 * It computes with kernels/ref, but its memory is its own and every pointer that an operation is given must lie in it, whole; so a tensor
 * of the CPU that is handed to a device ends the test, and says which operation had it.  Whoever uses memory in which another thread's
 * operations may still be at work, which has not called get() or wait() since, ends the test, too.  New memory is poisoned.
 * It fails when it is told to: memory is limited, operations find no scratch, or the device is lost.
 *
 * Of the operations it has those of experts and hosts.
 */
#ifndef TESTS_UNIT_DEVICE_PLAY_H
#define TESTS_UNIT_DEVICE_PLAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/kernels.h"
#include "unit.h"

#define PLAY_BLOCKS_MAX 4096
#define PLAY_GUARD_BYTES ((size_t)64)
#define PLAY_POISON 0xa9 /* as kernels/cuda/emulate_control.h has it */

struct play_block {
    uint8_t *at;
    size_t n_bytes;
    uint64_t readers, writers; /* threads whose operations may be under way: a bit each */
};

static struct {
    pthread_mutex_t lock; /* of all below */
    struct play_block block[PLAY_BLOCKS_MAX];
    size_t n_blocks, n_bytes, most_bytes;
    size_t max_bytes;       /* allot() gives no more than that; 0: no end */
    uint64_t n_operations;  /* since device_play() */
    uint64_t lost_after;    /* so many operations the device is lost; 0: never */
    uint64_t scratch_after; /* so many operations find no scratch... */
    uint64_t n_scratchless; /* ...for so many */
    uint64_t n_puts, n_gets, put_bytes;
    bool is_lost;
} played = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct kernels *play_ref;
static _Thread_local int play_err;
static _Thread_local uint64_t play_bit;
static atomic_uint play_n_threads;

/* -- What an operation may touch ------------------------------------------------------------------- */

static inline uint64_t play_me(void)
{
    if (!play_bit)
        play_bit = (uint64_t)1 << (atomic_fetch_add(&play_n_threads, 1) % 64);
    return play_bit;
}

static inline struct play_block *play_find(const void *at, size_t n_bytes)
{
    const uint8_t *p = at;
    for (size_t i = 0; i < played.n_blocks; i++) {
        struct play_block *b = &played.block[i];
        if (p >= b->at && p <= b->at + b->n_bytes && n_bytes <= (size_t)(b->at + b->n_bytes - p))
            return b;
    }
    return NULL;
}

/* One tensor of operation `what`; NULL is no tensor. */
static inline void play_touch(const char *what, const void *at, size_t n_bytes, bool is_written)
{
    if (!at || n_bytes == 0)
        return;
    uint64_t me = play_me();
    pthread_mutex_lock(&played.lock);
    struct play_block *b = play_find(at, n_bytes);
    uint64_t others = b ? (is_written ? b->readers | b->writers : b->writers) & ~me : 0;
    if (b)
        *(is_written ? &b->writers : &b->readers) |= me;
    pthread_mutex_unlock(&played.lock);
    if (!b)
        ck_abort_msg("%s: %zu bytes do not lie in memory of the device", what, n_bytes);
    if (others)
        ck_abort_msg("%s: another thread did not wait for its operations on this memory", what);
}

#define READS(at, n_bytes) play_touch(__func__, (at), (n_bytes), false)
#define WRITES(at, n_bytes) play_touch(__func__, (at), (n_bytes), true)

/* Counts one; true when it is to do nothing. */
static inline bool play_is_idle(void)
{
    pthread_mutex_lock(&played.lock);
    uint64_t n = ++played.n_operations;
    if (played.lost_after && n > played.lost_after)
        played.is_lost = true;
    if (played.scratch_after && n > played.scratch_after && n <= played.scratch_after + played.n_scratchless)
        play_err = HANSE_ENOMEM;
    bool is_idle = played.is_lost || play_err;
    pthread_mutex_unlock(&played.lock);
    return is_idle;
}

/* -- Memory ---------------------------------------------------------------------------------------- */

static inline void *play_allot(size_t n_bytes)
{
    uint64_t me = play_me();
    uint8_t *at = NULL;
    pthread_mutex_lock(&played.lock);
    bool has_room = !played.is_lost && (played.max_bytes == 0 || played.n_bytes + n_bytes <= played.max_bytes);
    if (has_room && played.n_blocks < PLAY_BLOCKS_MAX) {
        at = aligned_alloc(256, (n_bytes + PLAY_GUARD_BYTES + 255) / 256 * 256);
        memset(at, PLAY_POISON, n_bytes + PLAY_GUARD_BYTES);
        played.block[played.n_blocks++] = (struct play_block){at, n_bytes, 0, me};
        played.n_bytes += n_bytes;
        played.most_bytes = played.n_bytes > played.most_bytes ? played.n_bytes : played.most_bytes;
    }
    pthread_mutex_unlock(&played.lock);
    return at;
}

static inline void play_release(void *memory)
{
    uint64_t me = play_me(), others = 0;
    bool is_ours = !memory, is_whole = true;
    pthread_mutex_lock(&played.lock);
    for (size_t i = 0; memory && i < played.n_blocks; i++) {
        struct play_block *b = &played.block[i];
        if (b->at != memory)
            continue;
        is_ours = true;
        others = (b->readers | b->writers) & ~me;
        for (size_t j = 0; j < PLAY_GUARD_BYTES; j++)
            is_whole &= b->at[b->n_bytes + j] == PLAY_POISON;
        played.n_bytes -= b->n_bytes;
        *b = played.block[--played.n_blocks];
        break;
    }
    pthread_mutex_unlock(&played.lock);
    ck_assert_msg(is_ours, "release: not what allot() gave");
    ck_assert_msg(!others, "release: another thread did not wait for its operations on this memory");
    ck_assert_msg(is_whole, "release: somebody wrote behind its end");
    free(memory);
}

static inline int play_wait(void)
{
    uint64_t me = play_me();
    pthread_mutex_lock(&played.lock);
    for (size_t i = 0; i < played.n_blocks; i++) {
        played.block[i].readers &= ~me;
        played.block[i].writers &= ~me;
    }
    int err = played.is_lost ? HANSE_EDEVICE : play_err;
    pthread_mutex_unlock(&played.lock);
    play_err = 0;
    return err;
}

static inline void play_is_here(const char *what, const void *at)
{
    pthread_mutex_lock(&played.lock);
    bool is_there = play_find(at, 1) != NULL;
    pthread_mutex_unlock(&played.lock);
    ck_assert_msg(!is_there, "%s: memory of the device where the CPU's is wanted", what);
}

static inline void play_put(void *to, const void *from, size_t n_bytes)
{
    WRITES(to, n_bytes);
    play_is_here(__func__, from);
    if (play_is_idle())
        return;
    play_ref->copy(to, from, n_bytes);
    pthread_mutex_lock(&played.lock);
    played.n_puts++;
    played.put_bytes += n_bytes;
    pthread_mutex_unlock(&played.lock);
}

static inline int play_get(void *to, const void *from, size_t n_bytes)
{
    READS(from, n_bytes);
    play_is_here(__func__, to);
    bool is_idle = play_is_idle();
    int err = play_wait();
    if (!is_idle && !err)
        play_ref->copy(to, from, n_bytes);
    pthread_mutex_lock(&played.lock);
    played.n_gets++;
    pthread_mutex_unlock(&played.lock);
    return err;
}

static inline void play_copy(void *to, const void *from, size_t n_bytes)
{
    WRITES(to, n_bytes), READS(from, n_bytes);
    if (!play_is_idle())
        play_ref->copy(to, from, n_bytes);
}

static inline void play_zero(void *at, size_t n_bytes)
{
    WRITES(at, n_bytes);
    if (!play_is_idle())
        play_ref->zero(at, n_bytes);
}

/* -- Operations ------------------------------------------------------------------------------------ */

#define FLOATS(n) ((n) * sizeof(float))

/* Rows or columns that lie `ld` apart, the last of them `width` long. */
static inline size_t play_span(size_t n, size_t ld, size_t width)
{
    return n == 0 || width == 0 ? 0 : (n - 1) * ld + width;
}

static inline size_t play_matrix(struct matrix m, size_t M, size_t N)
{
    return m.col == 1 ? FLOATS(play_span(M, m.row, N)) : FLOATS(play_span(N, m.col, M));
}

static inline size_t play_slices(struct slices s, size_t M, size_t N)
{
    return s.is_turned ? play_span(N, s.ld, M) : play_span(M, s.ld, N);
}

static inline void play_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K,
                               bool accumulate)
{
    WRITES(c, FLOATS(play_span(M, ldc, N))), READS(a.at, play_matrix(a, M, K)), READS(b.at, play_matrix(b, K, N));
    if (!play_is_idle())
        play_ref->matmul(c, ldc, a, b, M, N, K, accumulate);
}

static inline void play_quantize_rows(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx, const int8_t *fold,
                                      size_t R, size_t C)
{
    WRITES(high, R * C), WRITES(low, R * C), WRITES(exponent, R), READS(x, FLOATS(play_span(R, ldx, C))), READS(fold, C);
    if (!play_is_idle())
        play_ref->quantize_rows(high, low, exponent, x, ldx, fold, R, C);
}

static inline void play_quantize_columns(int8_t *high, int8_t *low, int8_t *exponent, const float *x, size_t ldx,
                                         const int8_t *fold, size_t R, size_t C)
{
    WRITES(high, R * C), WRITES(low, R * C), WRITES(exponent, C), READS(x, FLOATS(play_span(R, ldx, C))), READS(fold, R);
    if (!play_is_idle())
        play_ref->quantize_columns(high, low, exponent, x, ldx, fold, R, C);
}

static inline size_t play_packed_bytes(size_t N, size_t K, size_t n_slices)
{
    return play_ref->packed_bytes(N, K, n_slices);
}

static inline void play_pack(void *packed, struct slices b, size_t N, size_t K)
{
    WRITES(packed, play_packed_bytes(N, K, b.low ? 2 : 1));
    READS(b.high, play_slices(b, K, N)), READS(b.low, play_slices(b, K, N));
    if (!play_is_idle())
        play_ref->pack(packed, b, N, K);
}

static inline void play_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                                 const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    WRITES(c, FLOATS(play_span(M, ldc, N))), READS(a.high, play_slices(a, M, K)), READS(a.low, play_slices(a, M, K));
    READS(a_exponent, M), READS(b_exponent, N), READS(packed, play_packed_bytes(N, K, a.low ? 2 : 1));
    if (!play_is_idle())
        play_ref->multiply(c, ldc, a, a_exponent, packed, b_exponent, M, N, K, accumulate);
}

static inline void play_shift_exponents(int8_t *to, const int8_t *from, int by, size_t n)
{
    WRITES(to, n), READS(from, n);
    if (!play_is_idle())
        play_ref->shift_exponents(to, from, by, n);
}

static inline void play_check_below(uint32_t *is_bad, const float *x, size_t n, float limit)
{
    WRITES(is_bad, sizeof *is_bad), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->check_below(is_bad, x, n, limit);
}

static inline void play_check_rows(uint32_t *is_bad, const struct rows *rows, size_t n, size_t D, int8_t exponent_max)
{
    WRITES(is_bad, sizeof *is_bad), READS(rows->exponent, n), READS(rows->high, n * D), READS(rows->low, n * D);
    if (!play_is_idle())
        play_ref->check_rows(is_bad, rows, n, D, exponent_max);
}

static inline void play_gather(void *to, const void *from, const uint32_t *row, size_t n, size_t row_bytes)
{
    WRITES(to, n * row_bytes), READS(row, n * sizeof *row);
    if (play_is_idle())
        return;
    for (size_t i = 0; i < n; i++)
        READS((const char *)from + row[i] * row_bytes, row_bytes);
    play_ref->gather(to, from, row, n, row_bytes);
}

static inline void play_weigh(float *y, const float *weight, const float *x, size_t R, size_t C)
{
    WRITES(y, FLOATS(R * C)), READS(weight, FLOATS(R)), READS(x, FLOATS(R * C));
    if (!play_is_idle())
        play_ref->weigh(y, weight, x, R, C);
}

static inline void play_transpose(float *out, const float *x, size_t M, size_t N)
{
    WRITES(out, FLOATS(M * N)), READS(x, FLOATS(M * N));
    if (!play_is_idle())
        play_ref->transpose(out, x, M, N);
}

static inline void play_hash_leaves(uint8_t *digest, const void *bytes, size_t n_bytes, size_t leaf_bytes)
{
    WRITES(digest, (n_bytes + leaf_bytes - 1) / leaf_bytes * 32), READS(bytes, n_bytes);
    if (!play_is_idle())
        play_ref->hash_leaves(digest, bytes, n_bytes, leaf_bytes);
}

static inline void play_swiglu(float *h, const float *g, const float *u, size_t n)
{
    WRITES(h, FLOATS(n)), READS(g, FLOATS(n)), READS(u, FLOATS(n));
    if (!play_is_idle())
        play_ref->swiglu(h, g, u, n);
}

static inline void play_swiglu_grad(float *gg, float *gu, const float *gh, const float *g, const float *u, size_t n)
{
    WRITES(gg, FLOATS(n)), WRITES(gu, FLOATS(n)), READS(gh, FLOATS(n)), READS(g, FLOATS(n)), READS(u, FLOATS(n));
    if (!play_is_idle())
        play_ref->swiglu_grad(gg, gu, gh, g, u, n);
}

static inline void play_scale(float *y, float a, const float *x, size_t n)
{
    WRITES(y, FLOATS(n)), READS(x, FLOATS(n));
    if (!play_is_idle())
        play_ref->scale(y, a, x, n);
}

/* Waits, and leaves what went wrong to the next get(). */
static inline float play_sum_squares(const float *x, size_t n)
{
    READS(x, FLOATS(n));
    bool is_idle = play_is_idle();
    play_err = play_wait();
    return is_idle || play_err ? __builtin_nanf("") : play_ref->sum_squares(x, n);
}

static inline void play_nadamw(float *p, float *m, float *v, const float *g, const struct adam_step *step, size_t n)
{
    WRITES(p, FLOATS(n)), WRITES(m, FLOATS(n)), WRITES(v, FLOATS(n)), READS(g, FLOATS(n));
    play_is_here(__func__, step);
    if (!play_is_idle())
        play_ref->nadamw(p, m, v, g, step, n);
}

/* -- The set --------------------------------------------------------------------------------------- */

/** The device, sound and with all its memory.  What was allotted before must have been given back. */
static inline const struct kernels *device_play(void)
{
    static const struct kernels set = {.name = "played",
                                       .is_device = true,
                                       .allot = play_allot,
                                       .release = play_release,
                                       .put = play_put,
                                       .get = play_get,
                                       .copy = play_copy,
                                       .zero = play_zero,
                                       .wait = play_wait,
                                       .matmul = play_matmul,
                                       .quantize_rows = play_quantize_rows,
                                       .quantize_columns = play_quantize_columns,
                                       .packed_bytes = play_packed_bytes,
                                       .pack = play_pack,
                                       .multiply = play_multiply,
                                       .shift_exponents = play_shift_exponents,
                                       .check_below = play_check_below,
                                       .check_rows = play_check_rows,
                                       .gather = play_gather,
                                       .weigh = play_weigh,
                                       .transpose = play_transpose,
                                       .hash_leaves = play_hash_leaves,
                                       .swiglu = play_swiglu,
                                       .swiglu_grad = play_swiglu_grad,
                                       .scale = play_scale,
                                       .sum_squares = play_sum_squares,
                                       .nadamw = play_nadamw};
    ck_assert_int_eq(kernels_choose("ref", &play_ref), 0);
    ck_assert_uint_eq(played.n_blocks, 0);
    played.n_operations = played.lost_after = played.scratch_after = played.n_scratchless = 0;
    played.n_puts = played.n_gets = played.put_bytes = 0;
    played.max_bytes = played.most_bytes = 0;
    played.is_lost = false;
    play_err = 0;
    return &set;
}

/** All was given back. */
static inline void device_play_end(void)
{
    ck_assert_uint_eq(played.n_blocks, 0);
}

/** From n operations on the device is lost. */
static inline void device_play_lose(uint64_t n)
{
    played.lost_after = played.n_operations + n;
    played.is_lost |= n == 0;
}

/** After n more, n_times operations find no scratch. */
static inline void device_play_scratchless(uint64_t n, uint64_t n_times)
{
    played.scratch_after = played.n_operations + n;
    played.n_scratchless = n_times;
}

#endif

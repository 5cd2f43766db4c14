/**
 * tests/kernels/emulate_play.h - small kernels, right and wrong ones, for tests/kernels/test_emulate.c.
 *
 * Each runs n_blocks blocks of n_threads threads; thread i of all writes out[i] unless it says otherwise.
 */
#ifndef TESTS_KERNELS_EMULATE_PLAY_H
#define TESTS_KERNELS_EMULATE_PLAY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void play(uint32_t *out, const uint32_t *in, unsigned n_blocks, unsigned n_threads);

play play_turn;           /* in[] of the block from behind, by way of shared memory */
play play_turn_hastily;   /* the same without its barrier */
play play_where;          /* the thread's place in a grid of two and a block of three dimensions; n_threads = 24 a block */
play play_unwritten;      /* what shared memory holds that nobody wrote: dynamic ^ declared */
play play_halves;         /* barriers of unequal halves of the block: the first half returns early */
play play_forked_barrier; /* wrong: two barriers in two branches */
play play_lone_barrier;   /* wrong: lane 0 does not come to a meeting of its warp */
play play_shuffles;       /* a chain of xor, down, up and plain shuffles of width 32 and 8 */
play play_lower_half;     /* lanes 0..15 and 16..31 with masks of their own */
play play_votes;          /* ballot, any, all, and the block's count */
play play_early_lanes;    /* lanes above 20 return; the rest votes */
play play_groups;         /* 128 threads meet: out is the sum of what they brought */
play play_hand_over;      /* named barriers: one half of 64 writes, the other reads, 8 times */
play play_atomics;        /* out[0] sum, out[1] largest, out[2] or, out[3] of a compare and swap, over all threads */
play play_arithmetic;     /* intrinsics of in[i]: n_blocks and n_threads are 1, out has 32 */

#ifdef __cplusplus
}
#endif

#endif

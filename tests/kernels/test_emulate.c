/* tests/kernels/test_emulate.c - the emulation of CUDA has its threads, barriers and lanes, and shows what is wrong. */
#include <signal.h>

#include "tests/kernels/device_test.h"
#include "tests/kernels/emulate_play.h"

#define N_MAX 4096

static uint32_t in[N_MAX], out[N_MAX], want[N_MAX];

static void setup(void)
{
    struct dice dice = {11};
    device_set();
    emulate_eager(true); /* the kernels of this test read and write the memory of the CPU, which nobody waits for */
    for (size_t i = 0; i < N_MAX; i++) {
        in[i] = (uint32_t)dice_below(&dice, 100);
        out[i] = want[i] = 0xdeadbeef;
    }
}

static void assert_out(size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (out[i] != want[i])
            ck_abort_msg("thread %zu of %zu gives %u, expected %u", i, n, out[i], want[i]);
}

START_TEST(a_barrier_holds_the_block)
{
    device_order(_i);
    play_turn(out, in, 5, 96);
    for (size_t i = 0; i < 5 * 96; i++)
        want[i] = in[i / 96 * 96 + 95 - i % 96];
    assert_out(5 * 96 + 1);
    play_turn(out, in, 3, 1024);
    for (size_t i = 0; i < 3 * 1024; i++)
        want[i] = in[i / 1024 * 1024 + 1023 - i % 1024];
    assert_out(3 * 1024);
}
END_TEST

/* Whatever the order, some thread reads what is not there yet; and which one it is depends on the order. */
START_TEST(a_missing_barrier_shows)
{
    static uint32_t first[96];
    size_t n_wrong = 0;
    emulate_order(EMULATE_REVERSED, 0);
    play_turn_hastily(first, in, 1, 96);
    device_order(_i);
    play_turn_hastily(out, in, 1, 96);
    for (size_t i = 0; i < 96; i++)
        n_wrong += out[i] != in[95 - i];
    ck_assert_uint_ge(n_wrong, 20);
    ck_assert(_i == 1 || memcmp(first, out, sizeof first) != 0);
}
END_TEST

START_TEST(threads_know_their_place)
{
    device_order(_i);
    play_where(out, NULL, 2, 24);
    for (uint32_t i = 0; i < 2 * 3 * 24; i++) {
        uint32_t block = i / 24, thread = i % 24;
        want[i] = block % 2 << 24 | block / 2 << 16 | thread % 4 << 8 | thread / 4 % 3 << 4 | thread / 12;
    }
    assert_out(2 * 3 * 24 + 1);
}
END_TEST

START_TEST(every_block_finds_the_pattern)
{
    device_order(_i);
    play_unwritten(out, NULL, 8, 64);
    for (size_t i = 0; i < 8 * 64; i++)
        want[i] = EMULATE_POISON * 0x01010101u;
    assert_out(8 * 64);
}
END_TEST

START_TEST(who_has_returned_has_arrived)
{
    device_order(_i);
    play_halves(out, NULL, 3, 70);
    for (uint32_t i = 0; i < 3 * 70; i++)
        want[i] = i % 70 < 35 ? 7 : i % 70 - 35;
    assert_out(3 * 70);
}
END_TEST

START_TEST(two_barriers_are_not_one)
{
    play_forked_barrier(out, NULL, 1, 64);
}
END_TEST

START_TEST(a_barrier_that_is_never_full_ends_the_program)
{
    play_lone_barrier(out, NULL, 1, 64);
}
END_TEST

static uint32_t from_lane(const uint32_t *x, int lane, int from, int width)
{
    return x[from >= (lane & -width) && from < (lane & -width) + width ? from : lane];
}

enum { XOR, DOWN, UP, FROM };

static void shuffle_step(uint32_t *x, int what, int by, int width)
{
    uint32_t old[32];
    memcpy(old, x, sizeof old);
    for (int lane = 0; lane < 32; lane++) {
        int from = what == XOR ? lane ^ by : what == DOWN ? lane + by : what == UP ? lane - by : (lane & -width) + by % width;
        x[lane] = 3 * old[lane] + from_lane(old, lane, from, width);
    }
}

START_TEST(shuffles_are_cudas)
{
    device_order(_i);
    play_shuffles(out, in, 2, 64);
    memcpy(want, in, sizeof want);
    for (uint32_t *x = want; x < want + 128; x += 32) {
        uint32_t old[32];
        shuffle_step(x, XOR, 5, 32);
        shuffle_step(x, DOWN, 7, 32);
        shuffle_step(x, UP, 9, 32);
        memcpy(old, x, sizeof old);
        for (int lane = 0; lane < 32; lane++)
            x[lane] = 3 * old[lane] + old[31 - lane];
        shuffle_step(x, XOR, 3, 8);
        shuffle_step(x, DOWN, 2, 8);
        shuffle_step(x, UP, 1, 8);
        memcpy(old, x, sizeof old);
        for (int lane = 0; lane < 32; lane++)
            x[lane] = 3 * old[lane] + old[(lane & -8) + (lane + 11) % 8];
    }
    assert_out(128);
}
END_TEST

START_TEST(halves_of_a_warp_go_their_own_ways)
{
    device_order(_i);
    play_lower_half(out, in, 2, 64);
    for (size_t first = 0; first < 128; first += 16) {
        uint32_t r = 0;
        for (size_t i = first; i < first + 16; i++)
            r = first % 32 == 0 ? r + in[i] : r ^ in[i];
        for (size_t i = first; i < first + 16; i++)
            want[i] = r;
    }
    assert_out(128);
}
END_TEST

START_TEST(votes_are_counted)
{
    device_order(_i);
    play_votes(out, in, 4, 96);
    for (size_t block = 0; block < 4; block++) {
        const uint32_t *x = in + 96 * block;
        uint32_t n = 0, has = 0, is_all = 1;
        for (size_t i = 0; i < 96; i++) {
            n += x[i] >> 1 & 1;
            has |= x[i] == 17;
            is_all &= x[i] < 99;
        }
        for (size_t i = 0; i < 96; i++) {
            uint32_t ballot = 0, any = 0, all = 1;
            for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++) {
                ballot |= (x[j] & 1) << j % 32;
                any |= x[j] == 5;
                all &= x[j] < 90;
            }
            want[96 * block + i] = ballot + 1000 * any + 2000 * all + 10000 * n + 100000 * has + 200000 * is_all;
        }
    }
    assert_out(4 * 96);
}
END_TEST

START_TEST(lanes_may_return_early)
{
    device_order(_i);
    play_early_lanes(out, in, 2, 64);
    for (size_t i = 0; i < 128; i++) {
        want[i] = 0;
        for (size_t j = i / 32 * 32; j <= i / 32 * 32 + 20 && i % 32 <= 20; j++)
            want[i] |= (in[j] & 1) << j % 32;
    }
    assert_out(128);
}
END_TEST

START_TEST(four_warps_meet)
{
    device_order(_i);
    play_groups(out, in, 2, 256);
    for (size_t first = 0; first < 512; first += 128) {
        uint32_t sum = 0;
        for (size_t i = first; i < first + 128; i++)
            sum += in[i];
        for (size_t i = first; i < first + 128; i++)
            want[i] = 128 * sum + 127 * 64;
    }
    assert_out(512);
}
END_TEST

START_TEST(named_barriers_hand_over)
{
    device_order(_i);
    play_hand_over(out, in, 2, 64);
    for (size_t i = 0; i < 128; i++) {
        want[i] = 0;
        for (uint32_t n = 0; n < 8 && i % 64 >= 32; n++)
            want[i] = 5 * want[i] + in[i / 64 * 64 + 31 - i % 32] + n;
    }
    assert_out(128);
}
END_TEST

START_TEST(atomics_lose_nothing)
{
    device_order(_i);
    memset(out, 0, sizeof out);
    memset(want, 0, sizeof want);
    play_atomics(out, in, 10, 100);
    for (size_t i = 0; i < 1000; i++) {
        want[0] += in[i];
        want[1] = want[1] > in[i] ? want[1] : in[i];
        want[2] |= in[i];
    }
    want[3] = 1000;
    assert_out(5);
}
END_TEST

START_TEST(intrinsics_are_cudas)
{
    const uint32_t given[] = {0x80ff027f, 0x7f03feff, 0x3f800001, 0x3f800001};
    const uint32_t expected[] = {
        (uint32_t)(-128 * 127 - 1 * 3 + 2 * -2 + 127 * -1 + 10),
        128 * 127 + 255 * 3 + 2 * 254 + 127 * 255 + 10,
        0x40000001,
        0x40000001,
        2,
        0x80000000,
        0,
        31,
        32,
        0x77225500,
        0x00000108,
        0x57800001,
        8,
        3,
        (uint32_t)-2,
        0x40400000,
    };
    memcpy(in, given, sizeof given);
    play_arithmetic(out, in, 1, 1);
    memcpy(want, expected, sizeof expected);
    assert_out(sizeof expected / sizeof *expected);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels/emulate");
    TCase *tests = tcase_create("emulate");
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, a_barrier_holds_the_block, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, a_missing_barrier_shows, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, threads_know_their_place, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, every_block_finds_the_pattern, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, who_has_returned_has_arrived, 0, DEVICE_ORDERS);
    tcase_add_test_raise_signal(tests, two_barriers_are_not_one, SIGABRT);
    tcase_add_test_raise_signal(tests, a_barrier_that_is_never_full_ends_the_program, SIGABRT);
    tcase_add_loop_test(tests, shuffles_are_cudas, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, halves_of_a_warp_go_their_own_ways, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, votes_are_counted, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, lanes_may_return_early, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, four_warps_meet, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, named_barriers_hand_over, 0, DEVICE_ORDERS);
    tcase_add_loop_test(tests, atomics_lose_nothing, 0, DEVICE_ORDERS);
    tcase_add_test(tests, intrinsics_are_cudas);
    suite_add_tcase(suite, tests);
    return device_run(suite);
}

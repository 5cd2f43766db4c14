/* tests/kernels/test_gate.c - which experts a token gets, and what its answers weigh. */
#include "kernels/ref/gate.h"
#include "tests/kernels/kernels_test.h"

#define E 6
static const uint8_t all_allowed[E] = {1, 1, 1, 1, 1, 1};
static const float no_bias[E];

START_TEST(ties_go_to_the_lower_index)
{
    static const float score[E] = {0.5f, 0.7f, 0.7f, 0.5f, 0.7f, 0.1f};
    int32_t pick[5];
    ref_gate_topk(pick, score, no_bias, all_allowed, 1, 5, E);
    static const int32_t want[] = {1, 2, 4, 0, 3};
    ck_assert_mem_eq(pick, want, sizeof pick);
}
END_TEST

START_TEST(bias_moves_the_choice)
{
    static const float score[E] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f}, bias[E] = {0.9f, 0, 0, 0, 0, -0.9f};
    int32_t pick[2];
    ref_gate_topk(pick, score, bias, all_allowed, 1, 2, E);
    ck_assert(pick[0] == 0 && pick[1] == 4);
}
END_TEST

START_TEST(only_allowed_experts_are_picked_and_a_lack_shows)
{
    static const float score[E] = {0.9f, 0.2f, 0.3f, 0.4f, NAN, 0.6f};
    static const uint8_t allowed[E] = {0, 0, 1, 0, 1, 1}, none[E];
    int32_t pick[3];
    ref_gate_topk(pick, score, no_bias, allowed, 1, 3, E);
    ck_assert(pick[0] == 5 && pick[1] == 2 && pick[2] == -1); /* and never the NaN */
    ref_gate_topk(pick, score, no_bias, none, 1, 3, E);
    ck_assert(pick[0] == -1 && pick[1] == -1 && pick[2] == -1);
}
END_TEST

/* Against picking the largest left over, again and again. */
START_TEST(picks_are_the_largest_in_order)
{
    enum { T = 20, N = 33, K = 4 };
    struct dice dice = {(uint64_t)_i};
    float *score = dice_floats(&dice, PLAIN, T * N), *bias = dice_floats(&dice, PLAIN, N);
    uint8_t allowed[N];
    int32_t pick[T * K];
    for (int e = 0; e < N; e++)
        allowed[e] = dice_below(&dice, 3) != 0;
    for (int i = 0; i < T * N; i++)
        score[i] = floorf(score[i] * 4.0f); /* many ties */
    ref_gate_topk(pick, score, bias, allowed, T, K, N);
    for (int t = 0; t < T; t++) {
        bool is_taken[N] = {false};
        for (int k = 0; k < K; k++) {
            int best = -1;
            for (int e = 0; e < N; e++)
                if (allowed[e] && !is_taken[e] && (best < 0 || score[t * N + e] + bias[e] > score[t * N + best] + bias[best]))
                    best = e;
            ck_assert_int_eq(pick[t * K + k], best);
            if (best >= 0)
                is_taken[best] = true;
        }
    }
    free(score), free(bias);
}
END_TEST

START_TEST(weights_of_the_answered_sum_to_one)
{
    static const float score[E] = {0.2f, 0.6f, 0.3f, 0.1f, 0.5f, 0.4f};
    static const int32_t pick[3] = {1, 4, 5};
    static const uint8_t answered[3] = {1, 0, 1};
    float weight[3], alone[3];
    ref_gate_weight(weight, score, pick, answered, 1, 3, E);
    ck_assert_float_eq_tol(weight[0], 0.6f, 1e-6f);
    ck_assert(weight[1] == 0.0f);
    ck_assert_float_eq_tol(weight[0] + weight[2], 1.0f, 1e-6f);
    static const uint8_t one[3] = {0, 0, 1};
    ref_gate_weight(alone, score, pick, one, 1, 3, E);
    ck_assert(alone[2] == 1.0f);
}
END_TEST

START_TEST(a_token_without_answers_gets_nothing_and_gives_no_gradient)
{
    static const float score[E] = {0.2f, 0.6f, 0.3f, 0.1f, 0.5f, 0.4f}, gweight[2] = {1.0f, -1.0f};
    static const int32_t pick[2] = {1, 4};
    static const uint8_t answered[2];
    float weight[2] = {9, 9}, gscore[E], y[2 * 3], out[3] = {0};
    for (int i = 0; i < 6; i++)
        y[i] = NAN; /* must not be looked at */
    ref_gate_weight(weight, score, pick, answered, 1, 2, E);
    ref_gate_combine(out, weight, y, 1, 2, 3);
    for (int i = 0; i < 3; i++)
        ck_assert(out[i] == 0.0f);
    ref_gate_weight_grad(gscore, gweight, weight, score, pick, answered, 1, 2, E);
    for (int e = 0; e < E; e++)
        ck_assert(gscore[e] == 0.0f);
    float gout[3] = {1, 1, 1}, gw[2] = {9, 9};
    ref_gate_combine_grad(gw, gout, y, pick, answered, 1, 2, 3);
    ck_assert(gw[0] == 0.0f && gw[1] == 0.0f);
}
END_TEST

START_TEST(scores_of_zero_weigh_nothing)
{
    static const float score[E];
    static const int32_t pick[2] = {0, 1};
    static const uint8_t answered[2] = {1, 1};
    float weight[2], gscore[E], gweight[2] = {1, 1};
    ref_gate_weight(weight, score, pick, answered, 1, 2, E);
    ck_assert(weight[0] == 0.0f && weight[1] == 0.0f);
    ref_gate_weight_grad(gscore, gweight, weight, score, pick, answered, 1, 2, E);
    for (int e = 0; e < E; e++)
        ck_assert(gscore[e] == 0.0f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gate");
    TCase *tc = tcase_create("gate");
    tcase_add_test(tc, ties_go_to_the_lower_index);
    tcase_add_test(tc, bias_moves_the_choice);
    tcase_add_test(tc, only_allowed_experts_are_picked_and_a_lack_shows);
    tcase_add_loop_test(tc, picks_are_the_largest_in_order, 0, 8);
    tcase_add_test(tc, weights_of_the_answered_sum_to_one);
    tcase_add_test(tc, a_token_without_answers_gets_nothing_and_gives_no_gradient);
    tcase_add_test(tc, scores_of_zero_weigh_nothing);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

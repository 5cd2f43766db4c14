/* tests/kernels/test_device_attention.c - attention and its gradient on a GPU against their definition. */
#include "tests/kernels/device_test.h"

enum { Q, K, V, GOUT, N_IN };

/* A call: its inputs here and there. */
struct play {
    size_t B, T, n_heads, hd;
    size_t n, n_prob;
    float *here[N_IN], *there[N_IN];
    float *slack[N_IN]; /* what there[] lies in */
};

/* `askew`: the tensors do not lie on multiples of 16 bytes. */
static struct play play_of(const struct kernels *k, struct dice *dice, enum kind kind, const size_t shape[4], bool askew)
{
    struct play p = {.B = shape[0], .T = shape[1], .n_heads = shape[2], .hd = shape[3]};
    p.n = p.B * p.T * p.n_heads * p.hd;
    p.n_prob = p.B * p.n_heads * p.T * p.T;
    for (int i = 0; i < N_IN; i++) {
        p.here[i] = dice_floats(dice, kind, p.n);
        p.slack[i] = device_room(k, (p.n + askew) * sizeof(float));
        p.there[i] = p.slack[i] + askew;
        k->put(p.there[i], p.here[i], p.n * sizeof(float));
    }
    return p;
}

static void play_free(const struct kernels *k, struct play *p)
{
    for (int i = 0; i < N_IN; i++) {
        free(p->here[i]);
        k->release(p->slack[i]);
    }
}

static float *room(size_t n)
{
    float *x = malloc(n ? n * sizeof *x : 1);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* prob (of ref) is what the gradient goes by. */
static void check_forward(const struct kernels *k, const struct play *p, float *prob, float scale)
{
    float *out = room(p->n), *out_there = device_room(k, p->n * sizeof(float));
    float *prob_there = device_room(k, p->n_prob * sizeof(float));
    ref_set()->attention(out, prob, p->here[Q], p->here[K], p->here[V], scale, p->B, p->T, p->n_heads, p->hd);
    k->attention(out_there, prob_there, p->there[Q], p->there[K], p->there[V], scale, p->B, p->T, p->n_heads, p->hd);
    device_same(k, prob_there, prob, p->n_prob, "attention's probabilities");
    device_same(k, out_there, out, p->n, "attention");
    free(out);
    k->release(out_there);
    k->release(prob_there);
}

static void check_grad(const struct kernels *k, const struct play *p, const float *prob, float scale)
{
    static const char *const name[] = {"gq", "gk", "gv"};
    float *want[3], *got[3], *prob_there = device_copy(k, prob, p->n_prob * sizeof(float));
    float *work = room(p->T * p->T), *work_there = device_room(k, p->T * p->T * sizeof(float));
    for (int i = 0; i < 3; i++) {
        want[i] = room(p->n);
        got[i] = device_room(k, p->n * sizeof(float));
    }
    ref_set()->attention_grad(want[0], want[1], want[2], work, p->here[GOUT], prob, p->here[Q], p->here[K], p->here[V], scale,
                              p->B, p->T, p->n_heads, p->hd);
    k->attention_grad(got[0], got[1], got[2], work_there, p->there[GOUT], prob_there, p->there[Q], p->there[K], p->there[V],
                      scale, p->B, p->T, p->n_heads, p->hd);
    for (int i = 0; i < 3; i++) {
        device_same(k, got[i], want[i], p->n, name[i]);
        free(want[i]);
        k->release(got[i]);
    }
    free(work);
    k->release(work_there);
    k->release(prob_there);
}

static void check(const struct kernels *k, struct dice *dice, enum kind kind, const size_t shape[4], bool askew)
{
    struct play p = play_of(k, dice, kind, shape, askew);
    float *prob = room(p.n_prob);
    check_forward(k, &p, prob, 0.3f);
    check_grad(k, &p, prob, 0.3f);
    free(prob);
    play_free(k, &p);
}

/* (B, T, heads, hd): one row, a block, a row more or less, several blocks and tiles of scores; heads of every width. */
static const size_t shapes[][4] = {{1, 1, 1, 1},   {2, 31, 1, 8},   {1, 32, 2, 16},  {1, 33, 1, 64},
                                   {1, 70, 2, 33}, {2, 64, 1, 32},  {1, 97, 1, 4},   {1, 160, 1, 8},
                                   {1, 36, 3, 96}, {1, 40, 1, 130}, {1, 132, 1, 20}, {3, 5, 2, 0}};
#define N_SHAPES ((int)(sizeof shapes / sizeof *shapes))

START_TEST(attention_has_the_bits_of_ref)
{
    const struct kernels *k = device_set();
    struct dice dice = {(uint64_t)_i};
    device_order(_i % DEVICE_ORDERS);
    check(k, &dice, (enum kind)(_i / N_SHAPES), shapes[_i % N_SHAPES], _i % 3 == 2);
}
END_TEST

START_TEST(nothing_to_do_is_done)
{
    const struct kernels *k = device_set();
    struct dice dice = {1};
    check(k, &dice, PLAIN, (const size_t[4]){0, 4, 1, 8}, false);
    check(k, &dice, PLAIN, (const size_t[4]){1, 0, 1, 8}, false);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("device_attention");
    TCase *tc = tcase_create("device_attention");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, attention_has_the_bits_of_ref, 0, N_SHAPES * N_KINDS);
    tcase_add_test(tc, nothing_to_do_is_done);
    suite_add_tcase(suite, tc);
    return device_run(suite);
}

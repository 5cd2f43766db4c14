/*
 * tests/golden/test_expert_digest.c - a thousand updates of experts of odd shapes, from rows that hurt, as one SHA-256 for each form
 * of numbers.  The golden digests are those of every set of kernels, compiler, number of threads and batching.
 *
 * A row that is refused takes its whole call with it, so calls that may be refused are not cut; all others are cut at random.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "base/team.h"
#include "experts/expert.h"
#include "tests/unit/unit.h"

#define N_UPDATES 1000
#define ROWS_MAX 40
#define WIDTH_MAX 45
#define HIDDEN_MAX 32

/* Whoever changes a definition of doc/numerics.md on purpose writes here what the test then prints. */
static const char *const golden[N_NUMERICS] = {
    [NUMERICS_F32] = "4739ea4bda792f74337848d70fc68931143150e839378658dfd602de8e8010c5",
    [NUMERICS_I8X2] = "77010513c692215ac4ae7f50e8a394f96f1c677a89e6908b20869825b133dac7",
    [NUMERICS_I8X1] = "25f99ec750e084dc8bd3c891540717839a14ab9a68028b67b9004f1a5e507bcd",
};

/* Rows are multiplied by 2^-(smallness..smallness + 7): gradients go with the square of x, so these two have first and second
 * moments about the limits at which they are flushed.  The last but one has more than SUM_PIECE parameters, so that its norm is
 * a tree; the last one fills more than a block of rows an update. */
static const struct shape {
    uint32_t D, H, slots_per_update;
    int smallness;
} shapes[] = {{1, 1, 8, 0}, {1, 9, 8, 39}, {9, 1, 8, 22}, {13, 11, 8, 0}, {45, 31, 6, 0}, {3, 2, 300, 0}};

#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* -- A team of threads ------------------------------------------------------------------------------ */

/* Products are far too small to be worth sharing; here one in SHARED is, whatever its size, cut by rows or by columns. */
#define SHARED 29

static struct sharing {
    const struct kernels *k;
    struct team *team;
    pthread_t helper[3];
    unsigned n_helpers, n_products;
    pthread_mutex_t lock;
    pthread_cond_t has_work;
    bool is_ending;
} sharing = {.lock = PTHREAD_MUTEX_INITIALIZER, .has_work = PTHREAD_COND_INITIALIZER};

struct product {
    float *c;
    size_t ldc;
    struct matrix a, b;
    struct slices left;
    const int8_t *a_exponent, *b_exponent;
    const void *packed;
    size_t M, N, K, n_parts;
    bool accumulate, by_columns;
};

static void run_part(void *arg, size_t i)
{
    const struct product *p = arg;
    size_t all = p->by_columns ? p->N : p->M, first = all * i / p->n_parts, n = all * (i + 1) / p->n_parts - first;
    float *c = p->c + first * (p->by_columns ? 1 : p->ldc);
    struct matrix a = p->a, b = p->b;
    struct slices left = p->left;
    if (p->packed) {
        size_t at = first * (left.is_turned ? 1 : left.ld);
        left.high += at;
        left.low = left.low ? left.low + at : NULL;
        sharing.k->multiply(c, p->ldc, left, p->a_exponent ? p->a_exponent + first : NULL, p->packed, p->b_exponent, n, p->N,
                            p->K, p->accumulate);
    } else if (p->by_columns) {
        b.at += first * b.col;
        sharing.k->matmul(c, p->ldc, a, b, p->M, n, p->K, p->accumulate);
    } else {
        a.at += first * a.row;
        sharing.k->matmul(c, p->ldc, a, b, n, p->N, p->K, p->accumulate);
    }
}

static void share(struct product *p)
{
    unsigned n = sharing.n_products++;
    p->by_columns = !p->packed && n / SHARED % 2;
    p->n_parts = n % SHARED ? 1 : sharing.n_helpers + 2;
    team_run(sharing.team, run_part, p, p->n_parts);
}

static void shared_matmul(float *c, size_t ldc, struct matrix a, struct matrix b, size_t M, size_t N, size_t K, bool accumulate)
{
    struct product p = {.c = c, .ldc = ldc, .a = a, .b = b, .M = M, .N = N, .K = K, .accumulate = accumulate};
    share(&p);
}

static void shared_multiply(float *c, size_t ldc, struct slices a, const int8_t *a_exponent, const void *packed,
                            const int8_t *b_exponent, size_t M, size_t N, size_t K, bool accumulate)
{
    struct product p = {c, ldc, {0}, {0}, a, a_exponent, b_exponent, packed, M, N, K, 0, accumulate, false};
    share(&p);
}

static void call_help(void *arg, size_t n)
{
    (void)arg, (void)n;
    pthread_mutex_lock(&sharing.lock);
    pthread_cond_broadcast(&sharing.has_work);
    pthread_mutex_unlock(&sharing.lock);
}

static void *help(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&sharing.lock);
    while (!sharing.is_ending) {
        if (!team_is_open(sharing.team)) {
            pthread_cond_wait(&sharing.has_work, &sharing.lock);
            continue;
        }
        pthread_mutex_unlock(&sharing.lock);
        team_help(sharing.team);
        pthread_mutex_lock(&sharing.lock);
    }
    pthread_mutex_unlock(&sharing.lock);
    return NULL;
}

static struct kernels sharing_begin(const struct kernels *k, unsigned n_threads)
{
    struct kernels shared = *k;
    shared.matmul = shared_matmul;
    shared.multiply = shared_multiply;
    sharing.k = k;
    sharing.n_helpers = n_threads - 1;
    ck_assert_int_eq(team_new(n_threads, call_help, NULL, &sharing.team), 0);
    for (unsigned i = 0; i < sharing.n_helpers; i++)
        ck_assert_int_eq(pthread_create(&sharing.helper[i], NULL, help, NULL), 0);
    return shared;
}

static void sharing_end(void)
{
    pthread_mutex_lock(&sharing.lock);
    sharing.is_ending = true;
    pthread_cond_broadcast(&sharing.has_work);
    pthread_mutex_unlock(&sharing.lock);
    for (unsigned i = 0; i < sharing.n_helpers; i++)
        pthread_join(sharing.helper[i], NULL);
    team_free(sharing.team);
}

/* -- Rows that hurt --------------------------------------------------------------------------------- */

enum kind { PLAIN, ZEROS, SIGNED_ZEROS, SUBNORMAL, FAR_APART, TINY, BUMP, MIXED, HUGE_ROW, REFUSED, N_KINDS };

struct call {
    size_t n;
    bool is_whole, is_refused; /* not to be cut; must be refused */
    uint64_t version;
    float lr_scale;
    bool has_weight;
    float weight[ROWS_MAX], x[ROWS_MAX * WIDTH_MAX], gy[ROWS_MAX * WIDTH_MAX];
};

static float signed_unit(struct rng *rng)
{
    return 2 * rng_unit(rng) - 1;
}

/* The least magnitudes that take the next exponent, with their neighbours, and ties of the integers beside them. */
static float bump(struct rng *rng)
{
    static const uint32_t bumps[] = {0x3fff0000u, 0x3ffeff00u}; /* 127.5 / 64, 32639.5 / 16384 */
    uint32_t bits = bumps[rng_below(rng, 2)] - 1;
    bits += (uint32_t)rng_below(rng, 3);
    int by = rng_below(rng, 2) ? -6 : -14; /* compilers differ in which of two arguments they draw first */
    float x, tie = ldexpf((float)rng_below(rng, 64) + 0.5f, by);
    memcpy(&x, &bits, sizeof x);
    x = rng_below(rng, 2) ? x : tie;
    return rng_below(rng, 2) ? x : -x;
}

static float value_of(enum kind kind, struct rng *rng)
{
    float u = signed_unit(rng);
    switch (kind) {
    case ZEROS:
        return 0;
    case SIGNED_ZEROS:
        return u < 0 ? -0.0f : u < 0.9f ? 0.0f : u;
    case SUBNORMAL:
        return u * 0x1p-126f;
    case FAR_APART:
        return u < 0 ? 1e-30f : 100 * u;
    case TINY:
        return ldexpf(u, -(int)rng_below(rng, 120));
    case BUMP:
        return bump(rng);
    case HUGE_ROW:
        return u < 0 ? -1e-30f : 1e5f;
    default:
        return u;
    }
}

static const float refused[] = {1e30f, -1e30f, INFINITY, -INFINITY, NAN, 0x1p20f, -0x1p100f};

static void draw_call(struct call *call, struct rng *rng, const struct expert *x, int smallness)
{
    static const uint64_t back[] = {0, 0, 0, 1, 2, 5, 9, 30};
    size_t D = x->config.D, most = x->config.slots_per_update > 8 ? ROWS_MAX : 5;
    enum kind common = (enum kind)rng_below(rng, N_KINDS);
    call->is_refused = common == REFUSED && rng_below(rng, 2);
    call->is_whole = call->is_refused || common == HUGE_ROW;
    call->n = common == HUGE_ROW ? 1 : 1 + rng_below(rng, most);
    float scale = smallness ? ldexpf(1, -smallness - (int)rng_below(rng, 8)) : 1;
    for (size_t i = 0; i < call->n * D; i++) {
        enum kind kind = common == MIXED && i % D == 0 ? (enum kind)rng_below(rng, MIXED) : common;
        call->x[i] = value_of(kind, rng) * scale;
        call->gy[i] = value_of(kind == HUGE_ROW ? PLAIN : kind, rng) * 0x1p-6f;
    }
    call->has_weight = rng_below(rng, 2);
    for (size_t r = 0; r < call->n; r++)
        call->weight[r] = rng_below(rng, 8) ? rng_unit(rng) : rng_below(rng, 2) ? 0 : 1e-30f;
    uint64_t age = back[rng_below(rng, sizeof back / sizeof *back)];
    call->version = age > x->version ? x->version + age : x->version - age;
    call->lr_scale = rng_unit(rng);
    float bad = refused[rng_below(rng, sizeof refused / sizeof *refused)];
    float *at = rng_below(rng, 2) ? call->x : call->gy;
    if (call->is_refused)
        at[rng_below(rng, call->n * D)] = bad;
}

/* -- One run ---------------------------------------------------------------------------------------- */

/* ck_assert writes to a file each time it is met. */
#define MUST(what)                                                                                                               \
    do {                                                                                                                         \
        if (!(what))                                                                                                             \
            ck_abort_msg("not so: %s", #what);                                                                                   \
    } while (0)

struct run {
    struct expert *x;
    struct rng cuts; /* where calls are cut: leaves no trace in the digest */
    bool is_cut;
    struct hash_stream digest;
    struct call call;
    int8_t exponent[2][ROWS_MAX], slices[2][2 * ROWS_MAX * WIDTH_MAX];
    float y[ROWS_MAX * WIDTH_MAX];
    void *work;
};

/* Rows as a trainer sends them: floats, or integers that it rounds with its own kernels. */
static struct rows as_sent(struct run *run, int which, const float *x, size_t n)
{
    size_t D = run->x->config.D;
    enum numerics numerics = run->x->config.numerics;
    if (numerics == NUMERICS_F32)
        return (struct rows){.f32 = x};
    int8_t *high = run->slices[which], *low = numerics == NUMERICS_I8X2 ? high + ROWS_MAX * WIDTH_MAX : NULL;
    run->x->kernels->quantize_rows(high, low, run->exponent[which], x, D, NULL, n, D);
    MUST(run->call.is_refused || !memchr(run->exponent[which], QUANTIZE_BAD, n));
    return (struct rows){.exponent = run->exponent[which], .high = high, .low = low};
}

static struct hash state_of(const struct expert *x)
{
    struct hash_stream s;
    size_t n_bytes = expert_n_params(&x->config) * sizeof(float);
    const uint64_t count[] = {x->version, x->n_slots, x->grad_slots};
    const float scalar[] = {x->lr_scale_sum, x->beta1_power, x->beta2_power};
    hash_begin(&s);
    hash_add(&s, x->param, n_bytes);
    hash_add(&s, x->moment1, n_bytes);
    hash_add(&s, x->moment2, n_bytes);
    hash_add(&s, count, sizeof count);
    hash_add(&s, scalar, sizeof scalar);
    return hash_end(&s);
}

/* Rows first.. of a call, forward and backward.  No answer that is hashed holds a NaN, since which NaN is left open. */
static void ask(struct run *run, size_t first, size_t n, int *err, uint64_t *staleness)
{
    struct expert *x = run->x;
    struct call *call = &run->call;
    size_t D = x->config.D;
    struct rows rows = as_sent(run, 0, call->x + first * D, n), gy = as_sent(run, 1, call->gy + first * D, n);
    float *gx = call->gy + first * D; /* with integers gy is free; with floats it has been read when it is overwritten... */
    float apart[ROWS_MAX * WIDTH_MAX];
    err[0] = expert_forward(x, run->y + first * D, &rows, run->work, n);
    err[1] = expert_backward(x, apart, &rows, &gy, call->has_weight ? call->weight + first : NULL, run->work, n, call->version,
                             call->lr_scale, staleness);
    memcpy(gx, apart, n * D * sizeof *gx); /* ...by way of this */
}

static void add_answers(struct run *run, const float *answer, int err, size_t n)
{
    const int32_t code = err;
    hash_add(&run->digest, &code, sizeof code);
    for (size_t i = 0; !err && i < n; i++)
        MUST(isfinite(answer[i]));
    if (!err)
        hash_add(&run->digest, answer, n * sizeof *answer);
}

static void play_call(struct run *run)
{
    struct call *call = &run->call;
    size_t D = run->x->config.D;
    int err[2];
    uint64_t staleness = 0;
    struct hash before = call->is_refused ? state_of(run->x) : (struct hash){{0}};
    for (size_t at = 0, n; at < call->n; at += n) {
        n = run->is_cut && !call->is_whole ? 1 + rng_below(&run->cuts, call->n - at) : call->n - at;
        ask(run, at, n, err, &staleness);
        MUST(call->is_whole || (err[0] == 0 && err[1] == 0));
    }
    hash_add(&run->digest, &staleness, sizeof staleness);
    add_answers(run, run->y, err[0], call->n * D);
    add_answers(run, call->gy, err[1], call->n * D);
    if (call->is_refused) {
        struct hash after = state_of(run->x);
        MUST(err[1] == HANSE_EREJECT);
        MUST(hash_equal(&before, &after));
    }
}

static void play_shape(struct run *run, const struct kernels *k, enum numerics numerics, const struct shape *shape)
{
    struct expert_config config = {.D = shape->D,
                                   .H = shape->H,
                                   .lr = 1e-2f,
                                   .beta1 = 0.99f,
                                   .beta2 = 0.95f,
                                   .eps = 1e-8f,
                                   .weight_decay = 0.1f,
                                   .clip = 1,
                                   .warmup_updates = 10,
                                   .slots_per_update = shape->slots_per_update,
                                   .max_staleness = 20,
                                   .numerics = numerics};
    struct hash birth = hash_bytes("digest", 6), state;
    struct rng rng;
    rng_init(&rng, shape->D * 1000 + shape->H, "rows of a digest");
    ck_assert_int_eq(expert_new(&config, k, &birth, "L0.0", &run->x), 0);
    run->work = aligned_alloc(64, (expert_work_bytes(run->x, ROWS_MAX) + 63) / 64 * 64);
    while (run->x->version < N_UPDATES) {
        draw_call(&run->call, &rng, run->x, shape->smallness);
        play_call(run);
        if (!expert_update_due(run->x))
            continue;
        expert_update(run->x);
        state = state_of(run->x);
        hash_add(&run->digest, &state, sizeof state);
    }
    free(run->work);
    expert_free(run->x);
}

static void check_digest(const struct kernels *k, enum numerics numerics, uint64_t cuts)
{
    static struct run run;
    char text[2 * HASH_BYTES + 1];
    run.is_cut = cuts != 0;
    rng_init(&run.cuts, cuts, "cuts");
    hash_begin(&run.digest);
    for (size_t s = 0; s < N_SHAPES; s++)
        play_shape(&run, k, numerics, &shapes[s]);
    struct hash digest = hash_end(&run.digest);
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest.byte[i]);
    ck_assert_msg(strcmp(text, golden[numerics]) == 0, "%s, %s: %s", numerics_name[numerics], k->name, text);
}

/* -- Tests ------------------------------------------------------------------------------------------ */

START_TEST(every_set_of_kernels_gives_the_golden_digest)
{
    const struct kernels *k;
    const char *name = kernels_name[_i % N_KERNELS];
    int err = kernels_choose(name, &k);
    if (err == HANSE_EUNSUPPORTED)
        return;
    ck_assert_int_eq(err, 0);
    check_digest(k, (enum numerics)(_i / N_KERNELS), (uint64_t)_i + 1);
}
END_TEST

START_TEST(rows_in_whole_calls_give_the_golden_digest)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    check_digest(k, (enum numerics)_i, 0);
}
END_TEST

START_TEST(two_to_four_threads_give_the_golden_digest)
{
    const struct kernels *k;
    ck_assert_int_eq(kernels_choose(NULL, &k), 0);
    struct kernels shared = sharing_begin(k, 2 + (unsigned)_i % 3);
    check_digest(&shared, (enum numerics)(_i / 3), (uint64_t)_i + 100);
    sharing_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("expert digest");
    TCase *tc = tcase_create("digest");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, every_set_of_kernels_gives_the_golden_digest, 0, N_NUMERICS * N_KERNELS);
    tcase_add_loop_test(tc, rows_in_whole_calls_give_the_golden_digest, 0, N_NUMERICS);
    suite_add_tcase(suite, tc);
    tc = tcase_create("threads");
    tcase_set_tags(tc, "slow"); /* left out under an emulator */
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, two_to_four_threads_give_the_golden_digest, 0, 3 * N_NUMERICS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

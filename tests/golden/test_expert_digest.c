/*
 * tests/golden/test_expert_digest.c - a thousand updates of experts of odd shapes, from rows that hurt, as one SHA-256 for each form
 * of numbers.  The golden digests are those of every set of kernels, compiler, number of threads and batching.
 *
 * A row that is refused takes its whole call with it, so calls that may be refused are not cut; all others are cut at random.
 *
 * Over the emulation of a GPU (-DCUDA_EMULATED) all shapes begin, and one goes on with i8x2; on a GPU (-DON_DEVICE) all come to the end.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "base/log.h"
#include "base/random.h"
#include "base/team.h"
#include "experts/expert.h"
#include "kernels/device.h"
#include "tests/unit/unit.h"

/* Each of the programs that this source makes leaves out some of it. */
#define ONE_OF_THREE __attribute__((unused))

#define N_UPDATES 1000
#define N_EARLY 25 /* after so many there is a digest of each shape by itself, */
#define N_LATE 250 /* and of this shape one more after so many */
#define I_LATE 3
#ifdef __SANITIZE_ADDRESS__ /* which takes minutes for what only the bits can show */
#define N_PLAYED N_LATE
#else
#define N_PLAYED N_UPDATES
#endif
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

/* Of each shape by itself, and of what follows in one of them up to N_LATE. */
static const char *const golden_early[N_NUMERICS][N_SHAPES] = {
    [NUMERICS_F32] =
        {
            "61f789ea98e88f8e64ae431fffca5f681dfe0644d68f033e6b5206d6cc44d62f",
            "9a7c74d70ec53c0dbde416483b495b9246bf99f3499e5ac2050feffbe4410349",
            "63a22a3ea4618868366ce79dbb3fcb98f15770b28ca099bf00ebd50dd31964dd",
            "6046155378cfb360835189425a6ea73be2ac2584b7dbfc29868a06895b0f4a85",
            "3518aae4287061f48aae64b70013ed802d8bc2215f33b18c909071aa596b277f",
            "233b061112ba55c72764dd3dff020c5c5516073c634ad2d551348af4ede3ac36",
        },
    [NUMERICS_I8X2] =
        {
            "989bf67db7683d4a0a74321940438fa75d77a2304d05d7ac60820ad6ceaeb7c1",
            "ccd412c7023c0386df06fbfa7bfd1067a8f278e9e28d5bb0f53a81c8069043d3",
            "8c773d84a4f8842503258acd2268f6d046d6ac647d70d412687db22012215cfa",
            "312f406cb1367c3110b78a4ffa39a2529ab3f6de6c13c146893f661c088246ec",
            "9b5249ff1b55e905f0d7b5bd9bba514be5c529b750a482bcaab7972a434e952f",
            "13c8a7fdac06f10dd0332c0b6f18c43f9db0d66e6a57a0814da7f282a863e18a",
        },
    [NUMERICS_I8X1] =
        {
            "489e794b30f7980ab843751b45eed5b3866010f1e40f9d1b5a96d5100727d35d",
            "c8c556aaf9e4a802595cd3f3c82a652486ac6cc609c37a811b002bc45fef0601",
            "7c014b5e63a16abece3363f30bbb9b6e3b31156fa4a6284cff349766fb86b0ed",
            "d7c5b67895ec510936f377feb84833df454a0c35506d1d5c869ee6398b7eb147",
            "8354f0b4be60fefd34bae0767e115c7f040ce248aa55a138e1b3e43ffa1b98a1",
            "b4fbf2ccb7240556f4525c1623f463e27de12ebc4f60ed0a461b29579902618f",
        },
};
static const char *const golden_late[N_NUMERICS] = {
    [NUMERICS_F32] = "a9c865cb95b5067a76ce423b142c0bafe8412ab576d111da0c8638c1efd87fcb",
    [NUMERICS_I8X2] = "6448d47df79ab9af09a19a636c988a1dfab3862b4743ab1537744baea22f35cf",
    [NUMERICS_I8X1] = "03b6fdd7310ecc21086a3812113ece76011c7d7c942f9e3deac2cad8af910f2d",
};

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

ONE_OF_THREE static struct kernels sharing_begin(const struct kernels *k, unsigned n_threads)
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

ONE_OF_THREE static void sharing_end(void)
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
    const struct kernels *cpu; /* of the trainer */
    struct rng cuts;           /* where calls are cut: leaves no trace in the digest */
    bool is_cut;
    struct hash_stream digest, of_shape;
    struct call call;
    int8_t exponent[2][ROWS_MAX], slices[2][2 * ROWS_MAX * WIDTH_MAX];
    float y[ROWS_MAX * WIDTH_MAX];
    struct { /* in the memory of the expert's kernels */
        void *exponent[2], *slices[2], *floats[2], *weight, *out, *work;
    } there;
};

static void add(struct run *run, const void *bytes, size_t n_bytes)
{
    hash_add(&run->digest, bytes, n_bytes);
    hash_add(&run->of_shape, bytes, n_bytes);
}

/* Rows as a trainer sends them: floats, or integers that it rounds with its own kernels. */
static struct rows as_sent(struct run *run, int which, const float *x, size_t n)
{
    size_t D = run->x->config.D;
    const struct kernels *k = run->x->kernels;
    enum numerics numerics = run->x->config.numerics;
    if (numerics == NUMERICS_F32) {
        k->put(run->there.floats[which], x, n * D * sizeof *x);
        return (struct rows){.f32 = run->there.floats[which]};
    }
    bool has_low = numerics == NUMERICS_I8X2;
    int8_t *high = run->slices[which], *low = has_low ? high + ROWS_MAX * WIDTH_MAX : NULL, *slices = run->there.slices[which];
    run->cpu->quantize_rows(high, low, run->exponent[which], x, D, NULL, n, D);
    MUST(run->call.is_refused || !memchr(run->exponent[which], QUANTIZE_BAD, n));
    k->put(run->there.exponent[which], run->exponent[which], n);
    k->put(slices, high, n * D);
    if (low)
        k->put(slices + ROWS_MAX * WIDTH_MAX, low, n * D);
    return (struct rows){
        .exponent = run->there.exponent[which], .high = slices, .low = low ? slices + ROWS_MAX * WIDTH_MAX : NULL};
}

static void add_floats(struct hash_stream *s, const struct expert *x, const float *at)
{
    static float floats[3 * WIDTH_MAX * HIDDEN_MAX];
    size_t n_bytes = expert_n_params(&x->config) * sizeof *floats;
    MUST(n_bytes <= sizeof floats);
    MUST(x->kernels->get(floats, at, n_bytes) == 0);
    hash_add(s, floats, n_bytes);
}

static struct hash state_of(const struct expert *x)
{
    struct hash_stream s;
    const uint64_t count[] = {x->version, x->n_slots, x->grad_slots};
    const float scalar[] = {x->lr_scale_sum, x->beta1_power, x->beta2_power};
    hash_begin(&s);
    add_floats(&s, x, x->param);
    add_floats(&s, x, x->moment1);
    add_floats(&s, x, x->moment2);
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
    const struct kernels *k = x->kernels;
    struct rows rows = as_sent(run, 0, call->x + first * D, n), gy = as_sent(run, 1, call->gy + first * D, n);
    float *out = run->there.out, *weight = call->has_weight ? run->there.weight : NULL;
    if (weight)
        k->put(weight, call->weight + first, n * sizeof *weight);
    err[0] = expert_forward(x, out, &rows, run->there.work, n);
    MUST(k->get(run->y + first * D, out, n * D * sizeof *out) == 0);
    err[1] = expert_backward(x, out, &rows, &gy, weight, run->there.work, n, call->version, call->lr_scale, staleness);
    MUST(k->get(call->gy + first * D, out, n * D * sizeof *out) == 0); /* gy was read by now */
}

static void add_answers(struct run *run, const float *answer, int err, size_t n)
{
    const int32_t code = err;
    add(run, &code, sizeof code);
    for (size_t i = 0; !err && i < n; i++)
        MUST(isfinite(answer[i]));
    if (!err)
        add(run, answer, n * sizeof *answer);
}

static void play_call(struct run *run)
{
    struct call *call = &run->call;
    size_t D = run->x->config.D;
    int err[2] = {0};
    uint64_t staleness = 0;
    struct hash before = call->is_refused ? state_of(run->x) : (struct hash){{0}};
    for (size_t at = 0, n; at < call->n; at += n) {
        n = run->is_cut && !call->is_whole ? 1 + rng_below(&run->cuts, call->n - at) : call->n - at;
        ask(run, at, n, err, &staleness);
        MUST(call->is_whole || (err[0] == 0 && err[1] == 0));
    }
    add(run, &staleness, sizeof staleness);
    add_answers(run, run->y, err[0], call->n * D);
    add_answers(run, call->gy, err[1], call->n * D);
    if (call->is_refused) {
        struct hash after = state_of(run->x);
        MUST(err[1] == HANSE_EREJECT);
        MUST(hash_equal(&before, &after));
    }
}

static void open_run(struct run *run, const struct kernels *k)
{
    size_t n_values = ROWS_MAX * WIDTH_MAX;
    for (int i = 0; i < 2; i++) {
        run->there.exponent[i] = k->allot(ROWS_MAX);
        run->there.slices[i] = k->allot(2 * n_values);
        run->there.floats[i] = k->allot(n_values * sizeof(float));
        MUST(run->there.exponent[i] && run->there.slices[i] && run->there.floats[i]);
    }
    run->there.weight = k->allot(ROWS_MAX * sizeof(float));
    run->there.out = k->allot(n_values * sizeof(float));
    run->there.work = k->allot(expert_work_bytes(run->x, ROWS_MAX));
    MUST(run->there.weight && run->there.out && run->there.work);
}

static void close_run(struct run *run, const struct kernels *k)
{
    for (int i = 0; i < 2; i++) {
        k->release(run->there.exponent[i]);
        k->release(run->there.slices[i]);
        k->release(run->there.floats[i]);
    }
    k->release(run->there.weight);
    k->release(run->there.out);
    k->release(run->there.work);
    expert_free(run->x);
}

static void expect_digest(struct hash digest, const char *golden_text, const char *what, const struct expert *x)
{
    char text[2 * HASH_BYTES + 1];
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest.byte[i]);
    ck_assert_msg(strcmp(text, golden_text) == 0, "%s, %u x %u, %s, %s: %s", numerics_name[x->config.numerics], x->config.D,
                  x->config.H, x->kernels->name, what, text);
}

/* Both digests go on from here. */
static void play_updates(struct run *run, const struct shape *shape, struct rng *rng, uint64_t until)
{
    while (run->x->version < until) {
        draw_call(&run->call, rng, run->x, shape->smallness);
        play_call(run);
        if (!expert_update_due(run->x))
            continue;
        MUST(expert_update(run->x) == 0);
        struct hash state = state_of(run->x);
        add(run, &state, sizeof state);
    }
}

static void play_shape(struct run *run, const struct kernels *k, enum numerics numerics, size_t s, uint64_t n_updates)
{
    const struct shape *shape = &shapes[s];
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
    struct hash birth = hash_bytes("digest", 6);
    struct rng rng;
    rng_init(&rng, shape->D * 1000 + shape->H, "rows of a digest");
    ck_assert_int_eq(expert_new(&config, k, &birth, "L0.0", &run->x), 0);
    open_run(run, k);
    hash_begin(&run->of_shape);
    play_updates(run, shape, &rng, N_EARLY);
    expect_digest(hash_end(&run->of_shape), golden_early[numerics][s], "early", run->x);
    hash_begin(&run->of_shape);
    play_updates(run, shape, &rng, n_updates < N_LATE ? n_updates : N_LATE);
    struct hash late = hash_end(&run->of_shape);
    if (s == I_LATE && n_updates >= N_LATE)
        expect_digest(late, golden_late[numerics], "late", run->x);
    hash_begin(&run->of_shape);
    play_updates(run, shape, &rng, n_updates);
    hash_end(&run->of_shape);
    close_run(run, k);
}

static void begin_run(struct run *run, uint64_t cuts)
{
    run->is_cut = cuts != 0;
    rng_init(&run->cuts, cuts, "cuts");
    ck_assert_int_eq(kernels_choose(NULL, &run->cpu), 0);
    hash_begin(&run->digest);
}

static struct run the_run;

ONE_OF_THREE static void check_digest(const struct kernels *k, enum numerics numerics, uint64_t cuts)
{
    struct run *run = &the_run;
    char text[2 * HASH_BYTES + 1];
    begin_run(run, cuts);
    for (size_t s = 0; s < N_SHAPES; s++)
        play_shape(run, k, numerics, s, N_PLAYED);
    struct hash digest = hash_end(&run->digest);
    if (N_PLAYED < N_UPDATES)
        return;
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest.byte[i]);
    ck_assert_msg(strcmp(text, golden[numerics]) == 0, "%s, %s: %s", numerics_name[numerics], k->name, text);
}

/* -- Tests ------------------------------------------------------------------------------------------ */

ONE_OF_THREE static const struct kernels *device_set(void)
{
    const struct kernels *k;
    ck_assert_int_eq(device_open(0, &k), 0);
    return k;
}

/* What CUDA has in a process does not outlive a fork. */
ONE_OF_THREE static int device_run(Suite *suite)
{
    const char *why;
    if (device_count(&why) == 0) {
        printf("skipped: %s\n", why);
        return 77;
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#if defined CUDA_EMULATED
START_TEST(each_shape_begins_with_the_golden_digest)
{
    size_t s = (size_t)_i % N_SHAPES;
    enum numerics numerics = (enum numerics)((size_t)_i / N_SHAPES);
    bool is_long = N_PLAYED == N_UPDATES && s == I_LATE && numerics == NUMERICS_I8X2;
    begin_run(&the_run, is_long ? 0 : (uint64_t)_i % 3);
    play_shape(&the_run, device_set(), numerics, s, is_long ? N_LATE : N_EARLY);
    hash_end(&the_run.digest);
    device_close();
}
END_TEST
#elif defined ON_DEVICE
START_TEST(a_gpu_gives_the_golden_digest)
{
    check_digest(device_set(), (enum numerics)_i, (uint64_t)_i);
}
END_TEST
#else
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

#endif

int main(void)
{
    Suite *suite = suite_create("expert digest");
    TCase *tc = tcase_create("digest");
    tcase_set_timeout(tc, 120);
#if defined CUDA_EMULATED
    tcase_add_loop_test(tc, each_shape_begins_with_the_golden_digest, 0, N_NUMERICS * N_SHAPES);
    suite_add_tcase(suite, tc);
    return device_run(suite);
#elif defined ON_DEVICE
    tcase_add_loop_test(tc, a_gpu_gives_the_golden_digest, 0, N_NUMERICS);
    suite_add_tcase(suite, tc);
    return device_run(suite);
#else
    tcase_add_loop_test(tc, every_set_of_kernels_gives_the_golden_digest, 0, N_NUMERICS * N_KERNELS);
    tcase_add_loop_test(tc, rows_in_whole_calls_give_the_golden_digest, 0, N_NUMERICS);
    suite_add_tcase(suite, tc);
    tcase_add_loop_test(unit_case(suite, "slow", 120), two_to_four_threads_give_the_golden_digest, 0, 3 * N_NUMERICS);
    return unit_run(suite);
#endif
}

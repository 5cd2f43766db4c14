#include "base/arena.h"
#include "batch_play.h"

static struct script together, alone;

START_TEST(test_a_batch_does_not_show)
{
    form = (enum numerics)(_i % N_NUMERICS);
    struct expert *x = new_expert(), *y = new_expert();
    draw_script(&together, (uint64_t)_i);
    draw_script(&alone, (uint64_t)_i);
    struct batch_counts joined = compute(x, &together, _i % 2 ? N_ITEMS : 7);
    struct batch_counts single = compute(y, &alone, 1);
    expect_same_expert(x, y);
    expect_same_answers(&together, &alone);
    ck_assert_uint_ge(x->version, 1); /* updates did fall in between */
    ck_assert_uint_lt(joined.n_products, single.n_products);
    ck_assert_uint_eq(joined.n_updates, single.n_updates);
    ck_assert_uint_eq(joined.n_reject, single.n_reject);
    ck_assert_uint_eq(joined.n_stale, single.n_stale);
    ck_assert_uint_eq(joined.n_backward_slots, single.n_backward_slots);
    expert_free(x);
    expert_free(y);
}
END_TEST

/* The plain meaning: each request by the expert's own functions, an update right behind the one that made it due. */
START_TEST(test_alone_is_what_the_expert_does)
{
    static float row_bytes[2][SLOTS_MAX * (WIDTH + 2)], out[SLOTS_MAX * WIDTH];
    static _Alignas(64) uint8_t work[1 << 17];
    form = (enum numerics)(_i % N_NUMERICS);
    struct rows rows = rows_at(form, row_bytes[0], SLOTS_MAX, WIDTH), gy = rows_at(form, row_bytes[1], SLOTS_MAX, WIDTH);
    struct expert *x = new_expert(), *y = new_expert();
    ck_assert_uint_le(expert_work_bytes(x, SLOTS_MAX), sizeof work);
    draw_script(&together, 99 + (uint64_t)_i);
    compute(x, &together, N_ITEMS);
    for (size_t i = 0; i < N_ITEMS; i++) {
        const struct batch_item *item = &together.item[i];
        const struct message_group *g = item->group;
        if (item->is_backward && item->is_done_before)
            continue;
        rows_gather(&rows, &item->x, g->row, g->n_slots, WIDTH);
        rows_gather(&gy, &item->gy, g->row, g->n_slots, WIDTH);
        ck_assert_uint_eq(g->version, y->version);
        uint64_t staleness;
        int err = item->is_backward ? expert_backward(y, out, &rows, &gy, g->weight, work, g->n_slots, item->version,
                                                      item->lr_scale, &staleness)
                                    : expert_forward(y, out, &rows, work, g->n_slots);
        ck_assert_uint_eq(g->status, err ? STATUS_REJECT : STATUS_OK);
        if (!err)
            ck_assert(is_made_of(&g->values, out, g->n_slots));
        if (expert_update_due(y))
            ck_assert_int_eq(expert_update(y), 0);
    }
    y->log_head = x->log_head; /* the one thing that expert.h leaves to others */
    expect_same_expert(x, y);
    expert_free(x);
    expert_free(y);
}
END_TEST

#define N_LARGE (2 * ROOM_SLOTS_MAX + 100)

struct large {
    struct message_group group;
    uint32_t row[N_LARGE];
    float weight[N_LARGE], x[N_LARGE * WIDTH], gy[N_LARGE * WIDTH];
    float bytes[3][N_LARGE * (WIDTH + 1)]; /* of rows, gradients, values */
};

static void draw_large(struct large *l, struct rng *rng)
{
    for (uint32_t i = 0; i < N_LARGE; i++) {
        l->row[i] = i;
        l->weight[i] = draw(rng);
    }
    for (size_t i = 0; i < N_LARGE * WIDTH; i++) {
        l->x[i] = draw(rng);
        l->gy[i] = draw(rng);
    }
    l->group = (struct message_group){.n_slots = N_LARGE, .row = l->row, .weight = l->weight};
    l->group.values = rows_at(rows_answer_form(form), l->bytes[2], N_LARGE, WIDTH);
}

static void expect_large(const struct large *l, const float *out)
{
    for (size_t first = 0; first < N_LARGE; first += SLOTS_MAX) {
        struct rows part = rows_from(&l->group.values, first, WIDTH);
        ck_assert(is_made_of(&part, out + first * WIDTH, N_LARGE - first < SLOTS_MAX ? N_LARGE - first : SLOTS_MAX));
    }
}

/* Piece after piece. */
static void backward_large(struct expert *x, float *gx, const struct large *l, const struct rows *rows, const struct rows *gy,
                           void *work)
{
    for (size_t first = 0; first < N_LARGE; first += ROOM_SLOTS_MAX) {
        size_t n = N_LARGE - first < ROOM_SLOTS_MAX ? N_LARGE - first : ROOM_SLOTS_MAX;
        struct rows r = rows_from(rows, first, WIDTH), g = rows_from(gy, first, WIDTH);
        uint64_t staleness;
        ck_assert_int_eq(expert_backward(x, gx + first * WIDTH, &r, &g, l->weight + first, work, n, 0, 1, &staleness), 0);
    }
}

/* A request larger than a product counts wholly or not at all. */
START_TEST(test_large_requests)
{
    static struct large l;
    static float gx[N_LARGE * WIDTH];
    form = (enum numerics)_i;
    struct rng rng;
    rng_init(&rng, 1, "large");
    draw_large(&l, &rng);
    struct rows rows = travelling(l.x, l.bytes[0], N_LARGE), gy = travelling(l.gy, l.bytes[1], N_LARGE);
    struct expert *x = new_expert(), *y = new_expert();
    void *work = arena_aligned(expert_work_bytes(x, N_LARGE), 1);
    x->config.slots_per_update = y->config.slots_per_update = 2 * N_LARGE;
    struct batch_item item = {.group = &l.group, .x = rows, .gy = gy, .is_backward = true, .lr_scale = 1, .caller = &caller};
    struct room room = {0};
    struct batch_counts counts = {0};
    ck_assert_int_eq(batch_compute(x, &item, &room, &counts), 0);
    ck_assert_uint_eq(l.group.status, STATUS_OK);
    backward_large(y, gx, &l, &rows, &gy, work);
    expect_large(&l, gx);
    expert_log_backward(y, &caller, 0, 0, N_LARGE);
    expect_same_expert(x, y);

    l.gy[(N_LARGE - 1) * WIDTH] = INFINITY; /* in its last piece */
    travelling(l.gy, l.bytes[1], N_LARGE);
    ck_assert_int_eq(batch_compute(x, &item, &room, &counts), 0);
    ck_assert_uint_eq(l.group.status, STATUS_REJECT);
    expect_same_expert(x, y);

    item.is_backward = false;
    ck_assert_int_eq(batch_compute(x, &item, &room, &counts), 0);
    ck_assert_uint_eq(l.group.status, STATUS_OK);
    ck_assert_int_eq(expert_forward(y, gx, &rows, work, N_LARGE), 0);
    expect_large(&l, gx);
    free(work);
    room_fini(&room);
    expert_free(x);
    expert_free(y);
}
END_TEST

START_TEST(test_done_before_has_no_effect)
{
    form = (enum numerics)_i;
    draw_script(&together, 5);
    struct expert *x = new_expert(), *y = new_expert();
    struct batch_item *item = &together.item[0];
    item->x = together.x;
    item->gy = together.gy;
    item->is_backward = true;
    item->is_done_before = true;
    struct room room = {0};
    struct batch_counts counts = {0};
    ck_assert_int_eq(batch_compute(x, item, &room, &counts), 0);
    ck_assert_uint_eq(together.group[0].status, STATUS_OK);
    ck_assert(together.values[0][2] != 0); /* behind the exponents */
    expect_same_expert(x, y);
    ck_assert_uint_eq(counts.n_backward_slots, 0);
    room_fini(&room);
    expert_free(x);
    expert_free(y);
}
END_TEST

/* An expert whose gradients pass every check of its own, but grow too large to travel on the way to gx. */
static struct expert *new_giant(void)
{
    struct expert *x = new_expert();
    size_t D = config.D, H = config.H;
    for (size_t i = 0; i < D * H; i++) {
        x->param[i] = i < H;                       /* Wg: g is the first value of a row */
        x->param[D * H + i] = i < H ? 0 : 0x1p36f; /* Wu: u is 0 where the others are */
        x->param[2 * D * H + i] = 1;               /* Wd */
    }
    expert_params_changed(x);
    return x;
}

/* REJECT says that nothing was done, so it must show before the gradient counts that its answer cannot travel. */
START_TEST(test_an_answer_too_large_to_travel_has_no_effect)
{
    static const uint32_t row[] = {0};
    static const float weight[] = {1}, floats[2][WIDTH] = {{1}, {1, 1, 1, 1, 1, 1, 1, 1}};
    static float bytes[2][WIDTH + 2], values[WIDTH + 2];
    form = (enum numerics)_i;
    struct expert *x = new_giant(), *y = new_giant();
    struct message_group group = {.n_slots = 1, .row = row, .weight = weight};
    group.values = rows_at(NUMERICS_I8X2, values, 1, WIDTH);
    struct batch_item item = {.group = &group, .is_backward = true, .lr_scale = 1, .caller = &caller};
    item.x = travelling(floats[0], bytes[0], 1);
    item.gy = travelling(floats[1], bytes[1], 1);
    struct room room = {0};
    struct batch_counts counts = {0};
    ck_assert_int_eq(batch_compute(x, &item, &room, &counts), 0);
    ck_assert_uint_eq(group.status, STATUS_REJECT);
    ck_assert_uint_eq(counts.n_reject, 1);
    expect_same_expert(x, y);
    room_fini(&room);
    expert_free(x);
    expert_free(y);
}
END_TEST

START_TEST(test_nothing_to_do)
{
    struct expert *x = new_expert();
    struct room room = {0};
    struct batch_counts counts = {0};
    ck_assert_int_eq(batch_compute(x, NULL, &room, &counts), 0);
    ck_assert_uint_eq(counts.n_products, 0);
    expert_free(x);
}
END_TEST

int main(void)
{
    if (kernels_choose("ref", &kernels))
        return EXIT_FAILURE;
    Suite *suite = suite_create("node/host_batch");
    TCase *tc = tcase_create("all");
    tcase_add_loop_test(tc, test_a_batch_does_not_show, 0, 30);
    tcase_add_loop_test(tc, test_alone_is_what_the_expert_does, 0, 3 * N_NUMERICS);
    tcase_add_loop_test(tc, test_large_requests, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_done_before_has_no_effect, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_an_answer_too_large_to_travel_has_no_effect, NUMERICS_I8X2, N_NUMERICS);
    tcase_add_test(tc, test_nothing_to_do);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

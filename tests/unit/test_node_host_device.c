/* Batches of requests on the set "cuda": the same answers and the same expert as on the CPU. */
#include "batch_play.h"
#include "experts/checkpoint.h"
#include "tests/kernels/device_test.h"

static struct kept kept;
static struct script here, there;

static struct expert *new_expert_there(const struct kernels *device)
{
    struct expert_config numbered = config;
    struct expert *x;
    numbered.numerics = form;
    ck_assert_int_eq(expert_new(&numbered, device, &run, "L0.3", &x), 0);
    return x;
}

/* A message of all rows, from which the items take theirs. */
static struct kept_message *pack_script(struct script *s)
{
    static struct script bytes;
    bytes = *s;
    struct kept_message *message = kept_message_new(&bytes, sizeof bytes);
    ck_assert_ptr_nonnull(message);
    message->device = &kept.device;
    struct script *in = (struct script *)(void *)message->byte;
    for (size_t i = 0; i < N_ITEMS; i++) {
        struct batch_item *item = &s->item[i];
        bool is_bad[2] = {item->x.f32 == s->bad.f32 && item->x.high == s->bad.high,
                          item->gy.f32 == s->bad.f32 && item->gy.high == s->bad.high};
        struct rows rows[3];
        for (int which = 0; which < 3; which++)
            rows[which] = rows_at(form, form == NUMERICS_F32 ? (void *)in->floats[which] : (void *)in->bytes[which], N_ROWS,
                                  WIDTH);
        item->x = rows[is_bad[0] ? 2 : 0];
        item->gy = rows[is_bad[1] ? 2 : 1];
        item->message = item->x_message = message;
        s->group[i].row = in->row[i];
        s->group[i].weight = in->weight[i];
    }
    return message;
}

START_TEST(test_a_gpu_gives_the_bits_of_a_cpu)
{
    const struct kernels *device = device_set();
    form = (enum numerics)(_i % N_NUMERICS);
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(kept_init(&kept, 1 << 20), 0);
    kept_use_device(&kept, device, _i < N_NUMERICS ? 0 : 1 << 20);
    struct expert *x = new_expert_there(device), *y = new_expert(), *copy;
    struct hash root[2];
    draw_script(&there, (uint64_t)_i);
    draw_script(&here, (uint64_t)_i);
    struct kept_message *message = pack_script(&there);
    compute(x, &there, _i % 2 ? N_ITEMS : 7);
    compute(y, &here, 1);
    expect_same_answers(&there, &here);
    ck_assert_int_eq(expert_root(x, &root[0]), 0);
    ck_assert_int_eq(expert_root(y, &root[1]), 0);
    ck_assert(hash_equal(&root[0], &root[1]));
    ck_assert_int_eq(expert_copy(x, &copy), 0);
    expect_same_expert(copy, y);
    ck_assert_uint_eq(kept_device_bytes(&kept), _i < N_NUMERICS ? 0 : sizeof(struct script));
    expert_free(copy);
    expert_free(x);
    expert_free(y);
    kept_message_free(message);
    kept_fini(&kept);
    device_close();
}
END_TEST

#ifdef CUDA_EMULATED
/* It fails after some launches: what was said to be lost is, and everything else has the bits of the CPU. */
START_TEST(test_a_gpu_that_fails)
{
    form = (enum numerics)(_i % N_NUMERICS);
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    const struct kernels *device = device_set();
    struct expert *x = new_expert_there(device), *y = new_expert();
    draw_script(&there, 5);
    draw_script(&here, 5);
    struct room room = {0};
    struct batch_counts counts = {0};
    struct hash log = x->log_head;
    size_t i = 0;
    compute(y, &here, 1);
    emulate_fail(_i / N_NUMERICS % 2 ? EMULATE_FAULT : EMULATE_LOST, 100 + 60 * (uint64_t)_i);
    for (int err = 0; i < N_ITEMS && !err; i++) {
        there.item[i].next = NULL;
        log = x->log_head;
        err = batch_compute(x, &there.item[i], &room, &counts);
        ck_assert(err == 0 || err == HANSE_EDEVICE);
        ck_assert_int_eq(there.group[i].status, err ? STATUS_NOT_HERE : here.group[i].status);
        if (there.group[i].status == STATUS_OK)
            ck_assert(rows_equal(&there.group[i].values, &here.group[i].values, there.group[i].n_slots, WIDTH));
        if (err)
            ck_assert(hash_equal(&log, &x->log_head));
    }
    ck_assert_uint_lt(i, N_ITEMS);
    room_fini(&room);
    expert_free(x);
    expert_free(y);
}
END_TEST

/* Launches of one forward and one backward of an expert, for who makes them fewer. */
START_TEST(test_launches_are_few)
{
    static const struct {
        uint32_t D, H;
        size_t n;
    } shapes[] = {{128, 256, 16}, {1024, 512, 16}};
    const size_t n = shapes[_i].n;
    const struct kernels *device = device_set();
    struct expert_config c = config;
    c.D = shapes[_i].D, c.H = shapes[_i].H, c.numerics = form = NUMERICS_I8X2;
    c.slots_per_update = 1 << 20;
    struct expert *x;
    struct room room = {0};
    ck_assert_int_eq(expert_new(&c, device, &run, "L0.3", &x), 0);
    ck_assert_uint_eq(room_make(&room, x, n), n);
    device->zero(room.at, room_bytes(x, n));
    struct rows rows = room.rows, gy = room.gy;
    uint64_t staleness, launches[3], calls[3];
    for (int i = 0; i < 3; i++) {
        uint64_t before = emulate_launches(), calls_before = emulate_calls();
        if (i == 0)
            ck_assert_int_eq(expert_forward(x, room.out, &rows, room.work, n), 0);
        else if (i == 1)
            ck_assert_int_eq(expert_backward(x, room.out, &rows, &gy, room.weight, room.work, n, 0, 1, &staleness), 0);
        else
            ck_assert_int_eq(expert_update(x), 0);
        ck_assert_int_eq(device->wait(), 0);
        launches[i] = emulate_launches() - before;
        calls[i] = emulate_calls() - calls_before;
    }
    printf("%u x %u: forward %d launches of %d calls, backward %d of %d, update %d of %d\n", c.D, c.H, (int)launches[0],
           (int)calls[0], (int)launches[1], (int)calls[1], (int)launches[2], (int)calls[2]);
    ck_assert_uint_le(launches[0], 12);
    ck_assert_uint_le(launches[1], 30);
    room_fini(&room);
    expert_free(x);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("node/host on a GPU");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_a_gpu_gives_the_bits_of_a_cpu, 0, 2 * N_NUMERICS);
#ifdef CUDA_EMULATED
    tcase_add_loop_test(tc, test_a_gpu_that_fails, 0, 2 * N_NUMERICS);
    tcase_add_loop_test(tc, test_launches_are_few, 0, 2);
#endif
    suite_add_tcase(suite, tc);
    return device_run(suite);
}

/* Experts on a device that is played: the same bits as on the CPU, with rows that are brought once, and failures at every place. */
#include <pthread.h>

#include "base/log.h"
#include "batch_play.h"
#include "device_play.h"
#include "experts/checkpoint.h"

static const struct kernels *device;
static struct kept kept; /* for the memory of messages */
static struct script here, there;

static void setup(void)
{
    device = device_play();
    ck_assert_int_eq(kernels_choose("ref", &kernels), 0);
    ck_assert_int_eq(kept_init(&kept, 1 << 20), 0);
    kept_use_device(&kept, device, 1 << 20);
}

static void teardown(void)
{
    kept_fini(&kept);
    device_play_end();
}

static struct expert *new_expert_there(void)
{
    struct expert_config numbered = config;
    struct expert *x;
    numbered.numerics = form;
    ck_assert_int_eq(expert_new(&numbered, device, &run, "L0.3", &x), 0);
    return x;
}

/* -- Messages -------------------------------------------------------------------------------------- */

/* What the items of a script point to, as a message that holds it all. */
struct packed {
    uint32_t row[N_ITEMS][SLOTS_MAX];
    float weight[N_ITEMS][SLOTS_MAX];
    float rows[3][N_ROWS * (WIDTH + 2)];
};

static const void *moved(const struct packed *to, const struct script *s, const void *at)
{
    size_t which = 0;
    const uint8_t *from[] = {(const uint8_t *)s->bytes, (const uint8_t *)s->floats};
    const uint8_t *p = at;
    size_t rows_bytes_here = form == NUMERICS_F32 ? sizeof s->floats[0] : sizeof s->bytes[0];
    if (!at)
        return NULL;
    size_t offset = (size_t)(p - from[form == NUMERICS_F32]);
    which = offset / rows_bytes_here;
    return (const uint8_t *)to->rows[which] + offset % rows_bytes_here;
}

static struct rows rows_moved(const struct packed *to, const struct script *s, const struct rows *rows)
{
    return (struct rows){moved(to, s, rows->f32), moved(to, s, rows->exponent), moved(to, s, rows->high),
                         moved(to, s, rows->low)};
}

static struct kept_message *pack_script(struct script *s)
{
    static struct packed p;
    memcpy(p.row, s->row, sizeof p.row);
    memcpy(p.weight, s->weight, sizeof p.weight);
    for (size_t i = 0; i < 3; i++)
        if (form == NUMERICS_F32)
            memcpy(p.rows[i], s->floats[i], sizeof s->floats[i]);
        else
            memcpy(p.rows[i], s->bytes[i], sizeof s->bytes[i]);
    struct kept_message *message = kept_message_new(&p, sizeof p);
    ck_assert_ptr_nonnull(message);
    message->device = &kept.device;
    const struct packed *to = (const struct packed *)(const void *)message->byte;
    for (size_t i = 0; i < N_ITEMS; i++) {
        struct batch_item *item = &s->item[i];
        item->message = item->x_message = message;
        item->x = rows_moved(to, s, &item->x);
        item->gy = rows_moved(to, s, &item->gy);
        s->group[i].row = to->row[i];
        s->group[i].weight = to->weight[i];
    }
    return message;
}

/* -- The same bits --------------------------------------------------------------------------------- */

static void expect_same_over_there(const struct expert *x, const struct expert *y)
{
    struct expert *copy;
    ck_assert_int_eq(expert_copy(x, &copy), 0);
    expect_same_expert(copy, y);
    expert_free(copy);
}

enum { WITHOUT_MESSAGE, WITH_MESSAGE, WITHOUT_BUDGET, N_WAYS };

START_TEST(test_a_device_gives_the_bits_of_a_cpu)
{
    int way = _i / N_NUMERICS % N_WAYS;
    form = (enum numerics)(_i % N_NUMERICS);
    kept_use_device(&kept, device, way == WITHOUT_BUDGET ? 0 : 1 << 20);
    struct expert *x = new_expert_there(), *y = new_expert();
    draw_script(&there, (uint64_t)_i);
    draw_script(&here, (uint64_t)_i);
    struct kept_message *message = way == WITHOUT_MESSAGE ? NULL : pack_script(&there);
    struct batch_counts counts = compute(x, &there, _i % 2 ? N_ITEMS : 7), alone = compute(y, &here, 1);
    expect_same_answers(&there, &here);
    expect_same_over_there(x, y);
    ck_assert_uint_ge(x->version, 1);
    ck_assert_uint_eq(counts.n_reject, alone.n_reject);
    ck_assert_uint_eq(counts.n_backward_slots, alone.n_backward_slots);
    ck_assert_uint_eq(kept_device_bytes(&kept), way == WITH_MESSAGE ? sizeof(struct packed) : 0);
    kept_message_free(message);
    expert_free(x);
    expert_free(y);
}
END_TEST

/* A row more is no operation more, and what is in a message goes over once. */
START_TEST(test_rows_cost_no_operations)
{
    form = (enum numerics)(_i % N_NUMERICS);
    bool is_backward = _i >= N_NUMERICS;
    uint64_t n_operations[2], n_puts[2];
    struct expert *x = new_expert_there();
    x->config.slots_per_update = 1 << 20;
    draw_script(&there, 5);
    struct kept_message *message = pack_script(&there);
    struct room room = {0};
    struct batch_counts counts = {0};
    for (int many = 0; many < 2; many++) {
        struct batch_item *item = &there.item[many];
        *item = (struct batch_item){
            .group = item->group, .x = there.item[2].x, .gy = there.item[2].gy, .message = message, .x_message = message};
        item->x = item->gy = rows_moved((const void *)message->byte, &there, &there.x);
        item->is_backward = is_backward;
        item->lr_scale = 1;
        item->caller = &caller;
        item->group->n_slots = many ? SLOTS_MAX : 2;
        item->group->values = rows_at(rows_answer_form(form), there.values[many], item->group->n_slots, WIDTH);
        uint64_t before = played.n_operations, puts_before = played.n_puts;
        ck_assert_int_eq(batch_compute(x, item, &room, &counts), 0);
        ck_assert_int_eq(item->group->status, STATUS_OK);
        n_operations[many] = played.n_operations - before;
        n_puts[many] = played.n_puts - puts_before;
    }
    ck_assert_uint_eq(n_puts[0], 1);
    ck_assert_uint_eq(n_puts[1], 0);
    ck_assert_uint_eq(n_operations[0], n_operations[1] + 1);
    room_fini(&room);
    kept_message_free(message);
    expert_free(x);
}
END_TEST

START_TEST(test_an_expert_takes_what_it_says)
{
    form = (enum numerics)(_i % N_NUMERICS);
    size_t before = played.n_bytes;
    struct expert *x = new_expert_there();
    ck_assert_uint_eq(played.n_bytes - before, expert_bytes(&x->config, device));
    expert_free(x);
}
END_TEST

START_TEST(test_a_root_is_hashed_there)
{
    form = (enum numerics)(_i % N_NUMERICS);
    struct expert *x = new_expert_there(), *y = new_expert();
    struct hash root[2];
    draw_script(&there, 3);
    draw_script(&here, 3);
    compute(x, &there, N_ITEMS);
    compute(y, &here, N_ITEMS);
    uint64_t n_gets = played.n_gets;
    ck_assert_int_eq(expert_root(x, &root[0]), 0);
    ck_assert_uint_eq(played.n_gets, n_gets + 1);
    ck_assert_int_eq(expert_root(y, &root[1]), 0);
    ck_assert(hash_equal(&root[0], &root[1]));
    expert_free(x);
    expert_free(y);
}
END_TEST

/* -- Short of memory ------------------------------------------------------------------------------- */

static void link_items(struct script *s)
{
    for (size_t i = 0; i < N_ITEMS; i++)
        s->item[i].next = i + 1 < N_ITEMS ? &s->item[i + 1] : NULL;
}

/* Requests that were not too busy for have had their effect on x, and no others. */
static void expect_effect_of_the_answered(const struct expert *x, const struct script *s, struct script *again)
{
    struct expert *y = new_expert();
    struct batch_counts counts = {0};
    struct room room = {0};
    for (size_t i = 0; i < N_ITEMS; i++)
        if (s->group[i].status != STATUS_BUSY) {
            again->item[i].next = NULL;
            ck_assert_int_eq(batch_compute(y, &again->item[i], &room, &counts), 0);
            ck_assert_int_eq(s->group[i].status, again->group[i].status);
            if (s->group[i].status == STATUS_OK)
                ck_assert(rows_equal(&s->group[i].values, &again->group[i].values, s->group[i].n_slots, WIDTH));
        }
    expect_same_over_there(x, y);
    room_fini(&room);
    expert_free(y);
}

START_TEST(test_little_memory_makes_small_products)
{
    form = (enum numerics)(_i % N_NUMERICS);
    struct expert *x = new_expert_there();
    draw_script(&there, (uint64_t)_i);
    draw_script(&here, (uint64_t)_i);
    struct room room = {0};
    struct batch_counts counts = {0};
    link_items(&there);
    played.max_bytes = played.n_bytes + room_bytes(x, SLOTS_MAX + 8);
    ck_assert_int_eq(batch_compute(x, there.item, &room, &counts), 0);
    for (size_t i = 0; i < N_ITEMS; i++)
        ck_assert_int_ne(there.group[i].status, STATUS_BUSY);
    expect_effect_of_the_answered(x, &there, &here);
    room_fini(&room);
    expert_free(x);
}
END_TEST

START_TEST(test_without_memory_all_are_busy_until_there_is_some)
{
    form = (enum numerics)(_i % N_NUMERICS);
    struct expert *x = new_expert_there();
    draw_script(&there, (uint64_t)_i);
    draw_script(&here, (uint64_t)_i);
    struct room room = {0};
    struct batch_counts counts = {0};
    link_items(&there);
    played.max_bytes = played.n_bytes;
    ck_assert_int_eq(batch_compute(x, there.item, &room, &counts), 0);
    for (size_t i = 0; i < N_ITEMS; i++)
        ck_assert_int_eq(there.group[i].status, STATUS_BUSY);
    ck_assert_uint_eq(counts.n_forward_slots + counts.n_backward_slots + counts.n_updates, 0);
    played.max_bytes = 0;
    ck_assert_int_eq(batch_compute(x, there.item, &room, &counts), 0);
    for (size_t i = 0; i < N_ITEMS; i++)
        ck_assert_int_ne(there.group[i].status, STATUS_BUSY);
    expect_effect_of_the_answered(x, &there, &here);
    room_fini(&room);
    expert_free(x);
}
END_TEST

static void blame_no_gradient(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    ck_assert_msg(!strstr(line, "not finite"), "%s", line);
}

/* Once or for a while, at any operation: either the expert says that it is lost, or it is what its answers say. */
START_TEST(test_scratch_may_fail_anywhere)
{
    form = (enum numerics)(_i % N_NUMERICS);
    log_set_sink(blame_no_gradient, NULL);
    size_t n_lost = 0, n_busy = 0, n_well = 0;
    for (uint64_t at = 1; at < 900; at += 13) {
        struct expert *x = new_expert_there();
        draw_script(&there, 7);
        draw_script(&here, 7);
        struct kept_message *message = pack_script(&there);
        struct room room = {0};
        struct batch_counts counts = {0};
        struct hash log = x->log_head;
        link_items(&there);
        device_play_scratchless(at, _i < N_NUMERICS ? 1 : 200);
        int err = batch_compute(x, there.item, &room, &counts);
        bool is_busy = false;
        for (size_t i = 0; i < N_ITEMS; i++) {
            is_busy |= there.group[i].status == STATUS_BUSY;
            ck_assert(!err || there.group[i].status == STATUS_BUSY);
        }
        played.scratch_after = 0;
        if (err) {
            ck_assert_int_eq(err, HANSE_ENOMEM);
            ck_assert(hash_equal(&log, &x->log_head));
            ck_assert_uint_eq(counts.n_updates + counts.n_products, 0);
            n_lost++;
        } else {
            expect_effect_of_the_answered(x, &there, &here);
            *(is_busy ? &n_busy : &n_well) += 1;
        }
        room_fini(&room);
        kept_message_free(message);
        expert_free(x);
    }
    ck_assert_uint_gt(n_lost, 0);
    ck_assert_uint_gt(n_well, 0);
    ck_assert(_i < N_NUMERICS || n_busy > 0);
    log_set_sink(NULL, NULL);
}
END_TEST

START_TEST(test_a_lost_device_answers_and_logs_nothing)
{
    form = (enum numerics)(_i % N_NUMERICS);
    size_t n_lost = 0, n_well = 0;
    for (uint64_t at = 1; at < 20000; at += at / 4 + 1) {
        struct expert *x = new_expert_there(), *copy;
        draw_script(&there, 7);
        struct kept_message *message = pack_script(&there);
        struct room room = {0};
        struct batch_counts counts = {0};
        struct hash log = x->log_head;
        link_items(&there);
        device_play_lose(at);
        int err = batch_compute(x, there.item, &room, &counts);
        ck_assert(err == 0 || err == HANSE_EDEVICE);
        ck_assert_int_eq(expert_copy(x, &copy), played.is_lost ? HANSE_EDEVICE : 0);
        for (size_t i = 0; err && i < N_ITEMS; i++)
            ck_assert_int_eq(there.group[i].status, STATUS_NOT_HERE);
        ck_assert(!err || hash_equal(&log, &x->log_head));
        ck_assert(!err || counts.n_updates + counts.n_products == 0);
        *(err ? &n_lost : &n_well) += 1;
        if (!played.is_lost)
            expert_free(copy);
        room_fini(&room);
        kept_message_free(message);
        expert_free(x);
        played.is_lost = false;
        played.lost_after = 0;
    }
    ck_assert_uint_gt(n_lost, 0);
    ck_assert_uint_gt(n_well, 0);
}
END_TEST

/* -- Threads --------------------------------------------------------------------------------------- */

struct job {
    struct expert *x;
    struct script *script;
    int err;
};

static void *do_job(void *arg)
{
    struct job *job = arg;
    struct room room = {0};
    struct batch_counts counts = {0};
    link_items(job->script);
    job->err = batch_compute(job->x, job->script->item, &room, &counts);
    room_fini(&room);
    return NULL;
}

/* Several experts of one call at the same time: one of them brings the message.  Then each goes on in another thread. */
START_TEST(test_experts_share_a_message)
{
    enum { N_JOBS = 4 };
    static struct script script[N_JOBS];
    form = (enum numerics)(_i % N_NUMERICS);
    struct job job[N_JOBS];
    pthread_t thread[N_JOBS];
    draw_script(&there, 11);
    struct kept_message *message = pack_script(&there);
    for (int i = 0; i < N_JOBS; i++)
        job[i] = (struct job){.x = new_expert_there(), .script = &script[i]};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N_JOBS; i++) {
            struct script *s = &script[(i + round) % N_JOBS];
            *s = there;
            for (size_t j = 0; j < N_ITEMS; j++) {
                s->item[j].group = &s->group[j];
                s->group[j].values = rows_at(rows_answer_form(form), s->values[j], s->group[j].n_slots, WIDTH);
            }
            ck_assert_int_eq(pthread_create(&thread[i], NULL, do_job, &job[(i + round) % N_JOBS]), 0);
        }
        for (int i = 0; i < N_JOBS; i++)
            pthread_join(thread[i], NULL);
        for (int i = 0; i < N_JOBS; i++) {
            ck_assert_int_eq(job[i].err, 0);
            expect_same_answers(&script[i], &script[0]);
        }
    }
    ck_assert_uint_eq(kept_device_bytes(&kept), sizeof(struct packed));
    kept_message_free(message);
    ck_assert_uint_eq(kept_device_bytes(&kept), 0);
    for (int i = 0; i < N_JOBS; i++)
        expert_free(job[i].x);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node/host_room");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_a_device_gives_the_bits_of_a_cpu, 0, N_NUMERICS * N_WAYS * 2);
    tcase_add_loop_test(tc, test_rows_cost_no_operations, 0, 2 * N_NUMERICS);
    tcase_add_loop_test(tc, test_an_expert_takes_what_it_says, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_a_root_is_hashed_there, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_little_memory_makes_small_products, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_without_memory_all_are_busy_until_there_is_some, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_scratch_may_fail_anywhere, 0, 2 * N_NUMERICS);
    tcase_add_loop_test(tc, test_a_lost_device_answers_and_logs_nothing, 0, N_NUMERICS);
    tcase_add_loop_test(tc, test_experts_share_a_message, 0, N_NUMERICS);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

/* tests/unit/test_sim_disk.c - files, and what a crash may take back. */
#include <stdio.h>

#include "sim_toy.h"

static int put(const struct disk *disk, const char *name, const char *text)
{
    return disk->ops->write(disk->ctx, name, text, strlen(text));
}

/* The file as text; "-" when it is not there. */
static const char *get(const struct disk *disk, const char *name)
{
    static char text[64];
    struct buf out;
    buf_init(&out, sizeof text - 1);
    int err = disk->ops->read(disk->ctx, name, &out);
    snprintf(text, sizeof text, "%.*s", (int)out.n, out.n ? (const char *)out.bytes : "");
    buf_fini(&out);
    ck_assert(err == 0 || err == HANSE_ENOENT);
    return err ? "-" : text;
}

#define NAMES_BYTES 128

static void join(void *arg, const char *entry)
{
    char *names = arg;
    size_t n = strlen(names);
    snprintf(names + n, NAMES_BYTES - n, "%s ", entry);
}

START_TEST(files_are_kept_replaced_listed_and_removed)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    const struct disk *disk = world_disk(toy->node);
    char names[NAMES_BYTES] = "";
    ck_assert_str_eq(get(disk, "a/x"), "-");
    ck_assert_int_eq(put(disk, "a/x", "one"), 0);
    ck_assert_int_eq(put(disk, "a/x", "two"), 0);
    ck_assert_int_eq(put(disk, "a/d/y", "deep"), 0);
    ck_assert_int_eq(put(disk, "a.b/z", "near"), 0);
    ck_assert_int_eq(put(disk, "a/d/w", "deep"), 0);
    ck_assert_str_eq(get(disk, "a/x"), "two");
    ck_assert(disk->ops->exists(disk->ctx, "a/x") && !disk->ops->exists(disk->ctx, "a"));
    ck_assert_int_eq(disk->ops->list(disk->ctx, "a", join, names), 0);
    ck_assert_str_eq(names, "d x ");
    names[0] = 0;
    ck_assert_int_eq(disk->ops->list(disk->ctx, "", join, names), 0);
    ck_assert_str_eq(names, "a a.b ");
    names[0] = 0;
    ck_assert_int_eq(disk->ops->list(disk->ctx, "missing", join, names), 0);
    ck_assert_str_eq(names, "");
    ck_assert_int_eq(disk->ops->remove(disk->ctx, "a/x"), 0);
    ck_assert_int_eq(disk->ops->remove(disk->ctx, "a/x"), HANSE_ENOENT);
    ck_assert_str_eq(get(disk, "a/x"), "-");
    world_free(world);
    free(toy);
}
END_TEST

START_TEST(a_file_larger_than_the_buffer_is_refused)
{
    struct world *world = toy_world(1);
    struct toy *toy = toy_new(world);
    const struct disk *disk = world_disk(toy->node);
    struct buf out;
    ck_assert_int_eq(put(disk, "f", "0123456789"), 0);
    buf_init(&out, 9);
    ck_assert_int_eq(disk->ops->read(disk->ctx, "f", &out), HANSE_EFULL);
    buf_fini(&out);
    world_free(world);
    free(toy);
}
END_TEST

/* -- Crashes ---------------------------------------------------------------------------------------- */

static const struct disk *work_disk;

/* old -> new1, then a second file, then remove a third */
static void write_in_turn(struct io_work *work)
{
    (void)work;
    ck_assert_int_eq(put(work_disk, "first", "new"), 0);
    ck_assert_int_eq(put(work_disk, "second", "new"), 0);
    ck_assert_int_eq(work_disk->ops->remove(work_disk->ctx, "third"), 0);
    ck_assert_str_eq(get(work_disk, "second"), "new"); /* the writer sees what it wrote */
}

static struct toy *prepare(struct world *world, struct io_work *work)
{
    struct toy *toy = toy_new(world);
    work_disk = world_disk(toy->node);
    ck_assert_int_eq(put(work_disk, "first", "old"), 0);
    ck_assert_int_eq(put(work_disk, "third", "old"), 0);
    toy_pass(world, 10);
    *work = (struct io_work){.run = write_in_turn, .cost_us = 1000};
    toy->io->ops->work(toy->io->ctx, work);
    return toy;
}

static unsigned outcomes;

/* What a crash amidst a piece of work leaves is a prefix of its writes; over many seeds each prefix is met. */
START_TEST(a_crash_keeps_the_first_few_writes)
{
    outcomes = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        struct world *world = toy_world(seed);
        struct io_work work;
        struct toy *toy = prepare(world, &work);
        toy_pass(world, 500);
        world_crash(toy->node);
        bool first = strcmp(get(work_disk, "first"), "new") == 0;
        bool second = strcmp(get(work_disk, "second"), "new") == 0;
        bool third = strcmp(get(work_disk, "third"), "-") == 0;
        ck_assert(first || strcmp(get(work_disk, "first"), "old") == 0);
        ck_assert(second <= first && third <= second);
        outcomes |= 1u << (first + second + third);
        world_free(world);
        free(toy);
    }
    ck_assert_uint_eq(outcomes, 0xf);
}
END_TEST

START_TEST(what_has_returned_stays)
{
    struct world *world = toy_world((uint64_t)_i);
    struct io_work work;
    struct toy *toy = prepare(world, &work);
    toy_pass(world, 2000);
    ck_assert_uint_eq(toy_n(toy, IO_WORK_DONE), 1);
    world_crash(toy->node);
    ck_assert_str_eq(get(work_disk, "first"), "new");
    ck_assert_str_eq(get(work_disk, "second"), "new");
    ck_assert_str_eq(get(work_disk, "third"), "-");
    world_free(world);
    free(toy);
}
END_TEST

static void write_again(struct io_work *work)
{
    (void)work;
    ck_assert_int_eq(put(work_disk, "first", "newer"), 0);
}

/* A shorter piece of work overwrites what a longer one wrote: the one that ended is not undone by the other. */
START_TEST(overlapping_work_keeps_its_order)
{
    struct world *world = toy_world((uint64_t)_i);
    struct io_work work, again = {.run = write_again, .cost_us = 100};
    struct toy *toy = prepare(world, &work);
    toy->io->ops->work(toy->io->ctx, &again);
    toy_pass(world, 500);
    ck_assert_str_eq(get(work_disk, "first"), "newer");
    world_crash(toy->node);
    ck_assert_str_eq(get(work_disk, "first"), "newer");
    world_free(world);
    free(toy);
}
END_TEST

START_TEST(an_orderly_stop_keeps_all)
{
    struct world *world = toy_world((uint64_t)_i);
    struct io_work work;
    struct toy *toy = prepare(world, &work);
    toy->stops_when_asked = true;
    world_ask_stop(toy->node);
    toy_pass(world, 10);
    ck_assert(!world_is_running(toy->node));
    ck_assert_str_eq(get(work_disk, "second"), "new");
    world_free(world);
    free(toy);
}
END_TEST

/* -- Faults on purpose ------------------------------------------------------------------------------ */

START_TEST(writes_fail_as_often_as_told)
{
    struct world *world = toy_world((uint64_t)_i);
    struct toy *toy = toy_new(world);
    const struct disk *disk = world_disk(toy->node);
    int n_failed = 0;
    world_disk_fault_rate(toy->node, 0.25);
    for (int i = 0; i < 2000; i++) {
        int err = put(disk, "f", i % 2 ? "odd" : "even");
        ck_assert(err == 0 || err == HANSE_EIO);
        n_failed += err != 0;
    }
    ck_assert_int_gt(n_failed, 400);
    ck_assert_int_lt(n_failed, 600);
    world_disk_fault_rate(toy->node, 0);
    ck_assert_int_eq(put(disk, "f", "good"), 0);
    ck_assert_str_eq(get(disk, "f"), "good");
    world_free(world);
    free(toy);
}
END_TEST

START_TEST(a_spoilt_file_differs_in_one_bit)
{
    struct world *world = toy_world((uint64_t)_i);
    struct toy *toy = toy_new(world);
    const struct disk *disk = world_disk(toy->node);
    uint8_t zeros[32] = {0};
    struct buf out;
    unsigned n_bits = 0;
    ck_assert(!world_disk_spoil(toy->node, "f"));
    ck_assert_int_eq(disk->ops->write(disk->ctx, "f", zeros, sizeof zeros), 0);
    ck_assert(world_disk_spoil(toy->node, "f"));
    buf_init(&out, sizeof zeros);
    ck_assert_int_eq(disk->ops->read(disk->ctx, "f", &out), 0);
    for (size_t i = 0; i < out.n; i++)
        n_bits += (unsigned)__builtin_popcount(out.bytes[i]);
    ck_assert_uint_eq(n_bits, 1);
    buf_fini(&out);
    world_free(world);
    free(toy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/disk");
    TCase *tc = tcase_create("disk");
    tcase_add_test(tc, files_are_kept_replaced_listed_and_removed);
    tcase_add_test(tc, a_file_larger_than_the_buffer_is_refused);
    tcase_add_test(tc, a_crash_keeps_the_first_few_writes);
    tcase_add_loop_test(tc, what_has_returned_stays, 0, 8);
    tcase_add_loop_test(tc, overlapping_work_keeps_its_order, 0, 16);
    tcase_add_loop_test(tc, an_orderly_stop_keeps_all, 0, 4);
    tcase_add_loop_test(tc, writes_fail_as_often_as_told, 0, 4);
    tcase_add_loop_test(tc, a_spoilt_file_differs_in_one_bit, 0, 4);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}

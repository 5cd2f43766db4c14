/* tests/unit/test_sim_network.c - loss, delay, links in order, partitions, and how a link ends. */
#include "sim_toy.h"

static struct world *world;
static struct toy *a, *b;

static void setup_with(const struct world_config *config)
{
    ck_assert_int_eq(world_new(config, &world), 0);
    a = toy_new(world);
    b = toy_new(world);
    toy_pass(world, 1);
}

static void setup_seed(int seed)
{
    struct world_config config = {
        .seed = (uint64_t)seed, .delay_min_us = 10000, .delay_mean_us = 30000, .connect_timeout_us = 5000000};
    setup_with(&config);
}

static void teardown(void)
{
    world_free(world);
    free(a);
    free(b);
}

/* A link from a to b, up on both sides. */
static io_link connect_ab(void)
{
    io_link link = toy_open(a, b);
    toy_pass(world, 10000000);
    ck_assert_ptr_nonnull(toy_find(a, IO_LINK_UP, 0));
    ck_assert_ptr_nonnull(toy_find(b, IO_LINK_UP, 0));
    return link;
}

/* -- Datagrams -------------------------------------------------------------------------------------- */

START_TEST(datagrams_are_lost_and_doubled_as_often_as_told)
{
    struct world_config config = {.seed = (uint64_t)_i, .datagram_loss = 0.2, .datagram_duplicate = 0.1};
    setup_with(&config);
    for (int i = 0; i < 3000; i++)
        toy_datagram(a, b, &i, sizeof i);
    toy_pass(world, 1000000);
    size_t n = toy_n(b, IO_DATAGRAM);
    ck_assert_uint_gt(n, 2500); /* 3000 * 0.8 * 1.1 = 2640 */
    ck_assert_uint_lt(n, 2780);
    teardown();
}
END_TEST

START_TEST(delays_have_their_minimum_and_mean)
{
    setup_seed(_i);
    uint64_t sent_us = world_now(world);
    double sum = 0;
    for (int i = 0; i < 3000; i++)
        toy_datagram(a, b, &i, sizeof i);
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(b, IO_DATAGRAM), 3000);
    size_t n_overtaken = 0;
    for (size_t i = 0; i < 3000; i++) {
        const struct toy_seen *seen = &b->seen[1 + i];
        int number;
        memcpy(&number, seen->bytes, sizeof number);
        n_overtaken += number != (int)i;
        ck_assert_uint_ge(seen->now_us - sent_us, 10000);
        sum += (double)(seen->now_us - sent_us);
        struct addr from = world_addr(a->node);
        ck_assert(addr_equal(&seen->from, &from));
    }
    ck_assert_double_gt(sum / 3000, 28500);
    ck_assert_double_lt(sum / 3000, 31500);
    ck_assert_uint_gt(n_overtaken, 2000); /* UDP keeps no order */
    teardown();
}
END_TEST

START_TEST(datagrams_to_nobody_and_too_large_vanish)
{
    static const uint8_t big[IO_DATAGRAM_MAX + 1];
    setup_seed(1);
    struct addr nobody = {.family = 4, .ip = {10, 200, 0, 1}, .port = 4100}, wrong_port = world_addr(b->node);
    wrong_port.port++;
    a->io->ops->datagram(a->io->ctx, &nobody, big, 5);
    a->io->ops->datagram(a->io->ctx, &wrong_port, big, 5);
    toy_datagram(a, b, big, sizeof big);
    toy_datagram(a, b, big, sizeof big - 1);
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(b, IO_DATAGRAM), 1);
    teardown();
}
END_TEST

/* -- Links ------------------------------------------------------------------------------------------ */

START_TEST(a_link_comes_up_on_both_sides_and_proves_the_keys)
{
    setup_seed(_i);
    struct peer_id id_a = key_peer_id(world_key(a->node)), id_b = key_peer_id(world_key(b->node));
    uint64_t opened_us = world_now(world);
    struct addr to = world_addr(b->node);
    io_link link = a->io->ops->link_open(a->io->ctx, &to, &id_b);
    toy_pass(world, 10000000);
    const struct toy_seen *up_a = toy_find(a, IO_LINK_UP, 0), *up_b = toy_find(b, IO_LINK_UP, 0);
    ck_assert(up_a && up_b);
    ck_assert_uint_eq(up_a->link, link);
    ck_assert(peer_id_equal(&up_a->peer, &id_b) && peer_id_equal(&up_b->peer, &id_a));
    ck_assert(!up_a->is_incoming && up_b->is_incoming);
    ck_assert_uint_ge(up_a->now_us, opened_us + 4 * 10000); /* TCP, then TLS: two round trips */
    ck_assert_uint_ge(up_b->now_us, up_a->now_us + 10000);
    ck_assert(addr_equal(&up_a->from, &to));
    ck_assert_uint_ne(up_b->from.port, 4100); /* dialed from a port of the moment */
    teardown();
}
END_TEST

START_TEST(a_link_carries_whole_messages_in_order_despite_loss)
{
    struct world_config config = {.seed = (uint64_t)_i,
                                  .delay_min_us = 10000,
                                  .delay_mean_us = 40000,
                                  .datagram_loss = 0.2,
                                  .connect_timeout_us = 60000000};
    setup_with(&config);
    io_link link = connect_ab();
    for (uint32_t i = 0; i < 300; i++)
        toy_send(a, link, &i, sizeof i, false);
    toy_pass(world, 600000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 300);
    for (uint32_t i = 0; i < 300; i++) {
        const struct toy_seen *seen = toy_find(b, IO_MESSAGE, i);
        ck_assert_uint_eq(seen->n_bytes, sizeof i);
        ck_assert_mem_eq(seen->bytes, &i, sizeof i);
    }
    teardown();
}
END_TEST

START_TEST(what_is_sent_before_a_link_is_up_follows_it)
{
    setup_seed(_i);
    io_link link = toy_open(a, b);
    toy_send(a, link, "early", 5, false);
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 1);
    ck_assert_mem_eq(toy_find(b, IO_MESSAGE, 0)->bytes, "early", 5);
    teardown();
}
END_TEST

START_TEST(bandwidth_takes_time_and_urgent_overtakes)
{
    struct world_config config = {
        .seed = 1, .delay_min_us = 1000, .delay_mean_us = 1000, .bytes_per_s = 1e6, .connect_timeout_us = 1000000};
    setup_with(&config);
    io_link link = connect_ab();
    uint64_t sent_us = world_now(world);
    toy_send(a, link, NULL, 1000000, false);
    toy_send(a, link, NULL, 1000000, false);
    toy_send(a, link, "quick", 5, true);
    ck_assert_uint_eq(a->io->ops->link_queued(a->io->ctx, link), 2000005);
    toy_pass(world, 500000);
    size_t queued = a->io->ops->link_queued(a->io->ctx, link);
    ck_assert(queued > 1400000 && queued < 1600000);
    toy_pass(world, 10000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 3);
    const struct toy_seen *quick = toy_find(b, IO_MESSAGE, 0), *first = toy_find(b, IO_MESSAGE, 1),
                          *second = toy_find(b, IO_MESSAGE, 2);
    ck_assert_uint_eq(quick->n_bytes, 5);
    ck_assert_uint_lt(quick->now_us - sent_us, 100000); /* behind one frame, not behind one message */
    ck_assert_uint_eq(first->n_bytes, 1000000);
    ck_assert_uint_ge(first->now_us - sent_us, 1000000);
    ck_assert_uint_lt(first->now_us - sent_us, 1010000);
    ck_assert_uint_ge(second->now_us - sent_us, 2000000);
    ck_assert_uint_eq(a->io->ops->link_queued(a->io->ctx, link), 0);
    teardown();
}
END_TEST

START_TEST(a_link_to_nobody_fails_after_the_timeout)
{
    setup_seed(_i);
    world_crash(b->node);
    uint64_t opened_us = world_now(world);
    io_link link = toy_open(a, b);
    toy_pass(world, 60000000);
    const struct toy_seen *down = toy_find(a, IO_LINK_DOWN, 0);
    ck_assert_ptr_nonnull(down);
    ck_assert_uint_eq(down->link, link);
    ck_assert_int_eq(down->err, HANSE_ETIMEOUT);
    ck_assert_uint_eq(down->now_us, opened_us + 5000000);
    ck_assert_uint_eq(toy_n(a, IO_LINK_UP), 0);
    teardown();
}
END_TEST

START_TEST(a_link_to_the_wrong_peer_is_refused)
{
    setup_seed(_i);
    struct peer_id not_b = key_peer_id(world_key(a->node));
    struct addr to = world_addr(b->node);
    a->io->ops->link_open(a->io->ctx, &to, &not_b);
    toy_pass(world, 60000000);
    ck_assert_int_eq(toy_find(a, IO_LINK_DOWN, 0)->err, HANSE_EIDENTITY);
    ck_assert_uint_eq(toy_n(a, IO_LINK_UP) + toy_n(b, IO_LINK_UP) + toy_n(b, IO_LINK_DOWN), 0);
    teardown();
}
END_TEST

/* -- How a link ends -------------------------------------------------------------------------------- */

START_TEST(closing_lets_out_what_is_queued)
{
    struct world_config config = {
        .seed = (uint64_t)_i, .delay_min_us = 1000, .delay_mean_us = 5000, .bytes_per_s = 1e5, .connect_timeout_us = 1000000};
    setup_with(&config);
    io_link link = connect_ab();
    toy_send(a, link, NULL, 100000, false);
    a->io->ops->link_close(a->io->ctx, link);
    toy_send(a, link, NULL, 1, false); /* too late: dropped */
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 1);
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), 1);
    ck_assert_uint_eq(toy_n(b, IO_LINK_DOWN), 1);
    ck_assert_uint_ge(toy_find(b, IO_LINK_DOWN, 0)->now_us, toy_find(b, IO_MESSAGE, 0)->now_us);
    toy_send(a, link, NULL, 1, false);
    ck_assert_uint_eq(a->io->ops->link_queued(a->io->ctx, link), 0);
    a->io->ops->link_close(a->io->ctx, link);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), 1); /* nothing follows */
    teardown();
}
END_TEST

START_TEST(closing_before_it_is_up_is_quiet_on_the_other_side)
{
    setup_seed(_i);
    io_link link = toy_open(a, b);
    toy_pass(world, 20000u * (unsigned)_i);
    if (toy_n(a, IO_LINK_UP) == 0) {
        a->io->ops->link_close(a->io->ctx, link);
        toy_pass(world, 60000000);
        ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), 1);
        ck_assert_uint_eq(toy_n(a, IO_LINK_UP), 0);
        ck_assert_uint_eq(toy_n(b, IO_LINK_UP), toy_n(b, IO_LINK_DOWN));
    }
    teardown();
}
END_TEST

START_TEST(a_crash_is_heard_after_what_was_on_the_way)
{
    setup_seed(_i);
    io_link link = connect_ab();
    toy_send(a, link, "last", 4, false);
    uint64_t crashed_us = world_now(world);
    world_crash(a->node);
    toy_pass(world, 60000000);
    const struct toy_seen *message = toy_find(b, IO_MESSAGE, 0), *down = toy_find(b, IO_LINK_DOWN, 0);
    ck_assert(message && down);
    ck_assert_int_eq(down->err, HANSE_ECLOSED);
    ck_assert_uint_ge(down->now_us, message->now_us);
    ck_assert_uint_ge(down->now_us, crashed_us + 10000);
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), 0);
    teardown();
}
END_TEST

START_TEST(a_crash_while_connecting_leaves_no_half_links)
{
    setup_seed(_i);
    toy_open(a, b);
    toy_pass(world, 15000u * (unsigned)_i);
    world_crash(_i % 2 ? a->node : b->node);
    toy_pass(world, 60000000);
    struct toy *alive = _i % 2 ? b : a;
    ck_assert_uint_eq(toy_n(alive, IO_LINK_DOWN), alive == a ? 1 : toy_n(alive, IO_LINK_UP));
    teardown();
}
END_TEST

START_TEST(a_stop_flushes_and_closes)
{
    setup_seed(_i);
    a->stops_when_asked = true;
    io_link link = connect_ab();
    toy_send(a, link, "bye", 3, false);
    world_ask_stop(a->node);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 1);
    ck_assert_uint_eq(toy_n(b, IO_LINK_DOWN), 1);
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN), 0);
    teardown();
}
END_TEST

/* -- Partitions ------------------------------------------------------------------------------------- */

START_TEST(nothing_crosses_a_cut)
{
    setup_seed(_i);
    toy_datagram(a, b, "on the way", 10); /* it would arrive during the cut */
    world_cut(a->node, b->node, true);
    toy_datagram(a, b, "x", 1);
    toy_datagram(b, a, "x", 1);
    toy_open(a, b);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(a, IO_DATAGRAM) + toy_n(b, IO_DATAGRAM) + toy_n(b, IO_LINK_UP), 0);
    ck_assert_int_eq(toy_find(a, IO_LINK_DOWN, 0)->err, HANSE_ETIMEOUT);
    world_cut(a->node, b->node, false);
    toy_datagram(a, b, "x", 1);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(b, IO_DATAGRAM), 1);
    teardown();
}
END_TEST

START_TEST(a_link_outlives_a_short_cut)
{
    setup_seed(_i);
    io_link link = connect_ab();
    toy_send(a, link, "1", 1, false);
    world_cut(a->node, b->node, true);
    toy_send(a, link, "2", 1, false);
    ck_assert_uint_eq(a->io->ops->link_queued(a->io->ctx, link), 1);
    toy_pass(world, 4000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 0);
    world_cut(b->node, a->node, false);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 2);
    ck_assert_int_eq(toy_find(b, IO_MESSAGE, 0)->bytes[0], '1');
    ck_assert_int_eq(toy_find(b, IO_MESSAGE, 1)->bytes[0], '2');
    ck_assert_uint_eq(toy_n(a, IO_LINK_DOWN) + toy_n(b, IO_LINK_DOWN), 0);
    teardown();
}
END_TEST

START_TEST(a_link_dies_of_a_long_cut_on_both_sides)
{
    setup_seed(_i);
    io_link link = connect_ab();
    uint64_t cut_us = world_now(world);
    world_cut(a->node, b->node, true);
    toy_send(a, link, "lost", 4, false);
    toy_pass(world, 60000000);
    const struct toy_seen *down_a = toy_find(a, IO_LINK_DOWN, 0), *down_b = toy_find(b, IO_LINK_DOWN, 0);
    ck_assert(down_a && down_b);
    ck_assert_int_eq(down_a->err, HANSE_ETIMEOUT);
    ck_assert_uint_eq(down_a->now_us, cut_us + 5000000);
    ck_assert_uint_eq(down_b->now_us, cut_us + 5000000);
    world_cut(a->node, b->node, false);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_n(b, IO_MESSAGE), 0);
    teardown();
}
END_TEST

/* kill -9 of a machine that is itself cut off: the other side learns it by its own timeout */
START_TEST(a_crash_behind_a_cut_is_heard_after_the_timeout)
{
    setup_seed(_i);
    connect_ab();
    uint64_t cut_us = world_now(world);
    world_cut(a->node, b->node, true);
    world_crash(a->node);
    toy_pass(world, 60000000);
    ck_assert_uint_eq(toy_find(b, IO_LINK_DOWN, 0)->now_us, cut_us + 5000000);
    teardown();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim/network");
    TCase *datagrams = tcase_create("datagrams"), *links = tcase_create("links"), *cuts = tcase_create("cuts");
    tcase_add_loop_test(datagrams, datagrams_are_lost_and_doubled_as_often_as_told, 0, 5);
    tcase_add_loop_test(datagrams, delays_have_their_minimum_and_mean, 0, 5);
    tcase_add_test(datagrams, datagrams_to_nobody_and_too_large_vanish);
    tcase_add_loop_test(links, a_link_comes_up_on_both_sides_and_proves_the_keys, 0, 5);
    tcase_add_loop_test(links, a_link_carries_whole_messages_in_order_despite_loss, 0, 5);
    tcase_add_loop_test(links, what_is_sent_before_a_link_is_up_follows_it, 0, 5);
    tcase_add_test(links, bandwidth_takes_time_and_urgent_overtakes);
    tcase_add_loop_test(links, a_link_to_nobody_fails_after_the_timeout, 0, 5);
    tcase_add_loop_test(links, a_link_to_the_wrong_peer_is_refused, 0, 5);
    tcase_add_loop_test(links, closing_lets_out_what_is_queued, 0, 5);
    tcase_add_loop_test(links, closing_before_it_is_up_is_quiet_on_the_other_side, 0, 12);
    tcase_add_loop_test(links, a_crash_is_heard_after_what_was_on_the_way, 0, 5);
    tcase_add_loop_test(links, a_crash_while_connecting_leaves_no_half_links, 0, 24);
    tcase_add_loop_test(links, a_stop_flushes_and_closes, 0, 5);
    tcase_add_loop_test(cuts, nothing_crosses_a_cut, 0, 5);
    tcase_add_loop_test(cuts, a_link_outlives_a_short_cut, 0, 5);
    tcase_add_loop_test(cuts, a_link_dies_of_a_long_cut_on_both_sides, 0, 5);
    tcase_add_loop_test(cuts, a_crash_behind_a_cut_is_heard_after_the_timeout, 0, 5);
    suite_add_tcase(suite, datagrams);
    suite_add_tcase(suite, links);
    suite_add_tcase(suite, cuts);
    return unit_run(suite);
}
